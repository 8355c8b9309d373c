#!/usr/bin/env bash
# Everything that must pass: lint, unit tests, and real verl + vLLM runs on the CPU. Sets up its own environment.
#
#   bash tests/run.sh [pytest arguments]
#
# VENV   the environment to use (default .venv-test)
# SUITE  unit | e2e | all (default)
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${VENV:-.venv-test}
bash recipes/install.sh "$venv" test reasoning-gym
python=$venv/bin/python

"$python" -m ruff check .
"$python" -m ruff format --check .

# The tests are about the CPU path, on every machine.
export VERL_PLATFORM=cpu HF_HUB_OFFLINE=1
case ${SUITE:-all} in
  unit) "$python" -m pytest -q -m "not e2e" "$@" ;;
  e2e) "$python" -m pytest -q -m e2e "$@" ;;
  all) "$python" -m pytest -q "$@" ;;
  *) echo "SUITE must be unit, e2e or all, not $SUITE" >&2; exit 2 ;;
esac
