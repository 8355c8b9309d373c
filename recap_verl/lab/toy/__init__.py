"""The two-task toy problem of RECAP (arXiv 2510.21978, figure 13) on a CPU, in numpy.

python -m recap_verl.lab.toy --out DIR
"""
