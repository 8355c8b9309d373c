#!/usr/bin/env bash
# The study of forgetting (docs/lab.md) from nothing: environment, drawn data, base, arms, report.
#
#   bash recipes/run_lab.sh [options of `python -m recap_verl.lab run`]
#
# Run again, it goes on: what is in the table of results is not run twice.
set -euo pipefail
cd "$(dirname "$0")/.."

# ---- user-adjustable -------------------------------------------------------------------------------------------
ARMS=${ARMS:-reasoning_only,uniform,recap}
SEEDS=${SEEDS:-1}                   # how many, or first:last
ENGINE=${ENGINE:-fast}              # fast: plain torch, minutes a run | verl: verl's trainer with vLLM
STUDY=${STUDY:-vl}                  # vl: a small Qwen2.5-VL, trained first (a quarter of an hour) | text: SmolLM2-135M
VENV=${VENV:-.venv}
WORK=${WORK:-.lab}
# ----------------------------------------------------------------------------------------------------------------

bash recipes/install.sh "$VENV" lab reasoning-gym
export HF_HUB_OFFLINE=1
table=$WORK/results.csv
"$VENV/bin/python" -m recap_verl.lab run --arms "$ARMS" --seeds "$SEEDS" --engine "$ENGINE" --study "$STUDY" \
  --work "$WORK" --table "$table" "$@"
"$VENV/bin/python" -m recap_verl.lab report --study "$STUDY" --table "$table" --out "$WORK/report"
