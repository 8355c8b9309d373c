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
suite() { # marker, then pytest's arguments; 5 is pytest's status where nothing was selected
  "$python" -m pytest -q -m "$@"
}
# Unit tests share the cores among a few processes, each with a torch of its own; an end-to-end run needs all of them.
unit() { suite "not e2e" -n auto --maxprocesses 4 "$@"; }
e2e() { suite e2e "$@"; }
case ${SUITE:-all} in
  unit) unit "$@" ;;
  e2e) e2e "$@" ;;
  all)
    first=0 second=0
    unit "$@" || first=$?
    if ((first != 0 && first != 5)); then exit "$first"; fi
    e2e "$@" || second=$?
    # Arguments may select tests of one kind alone.
    if ((second == 5)); then exit "$first"; fi
    exit "$second"
    ;;
  *) echo "SUITE must be unit, e2e or all, not $SUITE" >&2; exit 2 ;;
esac
