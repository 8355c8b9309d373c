#!/usr/bin/env bash
# The Hybrid setting on SmolLM2-135M-Instruct: two domains by GRPO, one by next-token loss on its reference answers, in
# one weighted loss (docs/hybrid.md). Sets everything up by itself, as recipes/quickstart.sh does.
#
#   bash recipes/run_hybrid_smollm2.sh [hydra overrides]
#
# STEPS, PROMPTS, ROLLOUTS, LR, PRESET, WINDOW, TEMPERATURE, MODEL_PATH, VENV, WORK: see recipes/quickstart.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

# ---- user-adjustable -------------------------------------------------------------------------------------------
export TASKS=${TASKS:-last,upper,capitals}      # the first is the target
SFT_TASK=${SFT_TASK:-capitals}                  # learnt from its reference answers
TEMPLATE=${TEMPLATE:-'<answer>{}</answer>'}     # as they are to be written
# ----------------------------------------------------------------------------------------------------------------

exec bash recipes/quickstart.sh \
  "+recap.domains.$SFT_TASK.kind=sft" \
  "+recap.domains.$SFT_TASK.template='$TEMPLATE'" \
  "$@"
