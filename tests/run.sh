#!/usr/bin/env bash
# Everything that must pass: lint, unit tests, and real verl + vLLM runs on the CPU. Sets up its own environment.
#
#   bash tests/run.sh [pytest arguments]
#
# VENV   the environment to use (default .venv-test)
# SUITE  unit | e2e | all (default)
# RUNS   end-to-end runs side by side (default 2 where there are 20 GiB of memory, else 1)
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
# Unit tests share the cores among a few processes, each with a torch of its own.
unit() { suite "not e2e" -n auto --maxprocesses 4 "$@"; }
# Much of an end-to-end test is one process after the other starting: two tests at a time use the cores better.
memory=$("$python" -c 'import os; print(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30)')
runs=${RUNS:-$((memory >= 20 ? 2 : 1))}
e2e() { suite e2e -n "$runs" --dist loadfile --durations 40 "$@"; }
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
