#!/usr/bin/env bash
# Make a virtual environment with recap_verl in it, or bring an existing one up to date.
#
#   bash recipes/install.sh VENV [EXTRA ...]
#
# Installs extra `gpu` where the machine has an NVIDIA driver, `cpu` elsewhere, plus the extras named.
# PYTHON      the interpreter to build with (default python3.11)
# TORCH_ARGS  more arguments for `pip install torch`, such as an --index-url that serves CPU builds
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$1
shift
backend=cpu
if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then backend=gpu; fi
extras=$(IFS=,; echo "${backend}${*:+,$*}")

stamp=$venv/.recap-verl-installed
wanted=$(cat pyproject.toml <(echo "$extras") | sha256sum)
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
  exit 0
fi

if [[ ! -x $venv/bin/python ]]; then
  "${PYTHON:-python3.11}" -m venv "$venv"
fi
export PIP_DISABLE_PIP_VERSION_CHECK=1
if [[ $backend == cpu ]]; then
  # First and alone: any other order lets a resolver choose the CUDA build of another version.
  # shellcheck disable=SC2086
  "$venv/bin/python" -m pip install --quiet torch==2.13.0 ${TORCH_ARGS:-}
fi
"$venv/bin/python" -m pip install --quiet -e ".[$extras]"
if [[ $backend == gpu ]] && ! "$venv/bin/python" -c 'import flash_attn' 2>/dev/null; then
  # Builds against the torch that is installed now; without it verl runs on sdpa.
  "$venv/bin/python" -m pip install --quiet --no-build-isolation 'flash-attn>=2.8,<2.9' ||
    echo "flash-attn could not be installed; set attn_implementation=sdpa and use_remove_padding=false" >&2
fi
echo "$wanted" >"$stamp"
