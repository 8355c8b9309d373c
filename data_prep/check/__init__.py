"""The checker: what would go wrong, or silently missing, in training on parquet files.

report = check_files([Path("train.parquet"), Path("test.parquet")])
print(report); report.ok
"""

from data_prep.check.files import check_files
from data_prep.check.findings import KINDS, Report

__all__ = ["KINDS", "Report", "check_files"]
