#!/usr/bin/env bash
# A setting of the RECAP paper (arXiv 2510.21978) on GPUs, with RECAP or with a baseline: environment, data, training.
#
#   bash recipes/run_paper_setting.sh rlvr_only|hybrid [hydra overrides]
#
# Data and model come from their hub unless SOURCES and MODEL_PATH name folders. More than one node: start Ray on all of
# them (`ray start --head`, `ray start --address=HEAD:6379`), then this on the head with NNODES and RAY_ADDRESS=auto.
set -euo pipefail
cd "$(dirname "$0")/.."

# ---- user-adjustable -------------------------------------------------------------------------------------------
SETTING=${1:?rlvr_only or hybrid}; shift
BASELINE=${BASELINE:-}              # docs/baselines.md; empty: RECAP
SOURCES=${SOURCES:-}                # a folder with folders named after data sets; those missing come from the hub
DATA=${DATA:-.data/$SETTING}
MAX_SIDE=${MAX_SIDE:-633}           # longer side of an image: never more than the paper's 401,408 pixels
NUM_PROC=${NUM_PROC:-8}
GPUS=${GPUS:-8}                     # of a node
NNODES=${NNODES:-1}
LR=${LR:-1e-6}
VENV=${VENV:-.venv}
RUNS=${RUNS:-runs}
case $SETTING in
  rlvr_only) MODEL_PATH=${MODEL_PATH:-Qwen/Qwen2.5-VL-3B-Instruct} STEPS=${STEPS:-328} MAX_RESPONSE=${MAX_RESPONSE:-256} ;;
  hybrid) MODEL_PATH=${MODEL_PATH:-Qwen/Qwen2.5-VL-7B-Instruct} STEPS=${STEPS:-500} MAX_RESPONSE=${MAX_RESPONSE:-2048} ;;
  *) echo "the setting is rlvr_only or hybrid, not $SETTING" >&2; exit 2 ;;
esac
# ----------------------------------------------------------------------------------------------------------------

bash recipes/install.sh "$VENV"
python=$VENV/bin/python

if [[ ! -f $DATA/domains.yaml ]]; then
  "$python" -m data_prep all --setting "$SETTING" --out "$DATA" --max-side "$MAX_SIDE" --num-proc "$NUM_PROC" \
    ${SOURCES:+--sources "$SOURCES"}
fi
list() { local IFS=,; echo "[$*]"; }
train_files=$(list "$DATA"/*/train.parquet)
shopt -s extglob
val_files=$(list "$DATA"/*/!(train).parquet)

name=$SETTING-${BASELINE:-recap}
model=(
  actor_rollout_ref.model.path="$MODEL_PATH"
  actor_rollout_ref.actor.optim.lr="$LR"
  # The paper's rate falls to 0 in a straight line; FSDP in verl 0.9.1 has constant and cosine.
  actor_rollout_ref.actor.optim.lr_scheduler_type=cosine
  actor_rollout_ref.actor.optim.lr_warmup_steps_ratio=0.1
  actor_rollout_ref.actor.strategy=fsdp2
  actor_rollout_ref.ref.strategy=fsdp2
  actor_rollout_ref.actor.ppo_mini_batch_size=16
  actor_rollout_ref.actor.use_dynamic_bsz=true
  actor_rollout_ref.actor.ppo_max_token_len_per_gpu=16384
  actor_rollout_ref.rollout.name=vllm
  actor_rollout_ref.rollout.n=4
  actor_rollout_ref.rollout.tensor_model_parallel_size=1
  actor_rollout_ref.rollout.gpu_memory_utilization=0.6
)
data=(
  data.train_files="$train_files"
  data.val_files="$val_files"
  data.train_batch_size=16
  data.max_prompt_length=2048
  data.max_response_length="$MAX_RESPONSE"
)
recap=(
  recap.domains_file="$DATA/domains.yaml"
  algorithm.adv_estimator=grpo
  ${BASELINE:++baseline="$BASELINE"}
)
trainer=(
  trainer.logger='[console,file]'
  trainer.project_name=recap_paper
  trainer.experiment_name="$name"
  trainer.default_local_dir="$RUNS/$name/checkpoints"
  trainer.n_gpus_per_node="$GPUS"
  trainer.nnodes="$NNODES"
  trainer.total_training_steps="$STEPS"
  trainer.test_freq=100
  trainer.save_freq=50
  trainer.max_actor_ckpt_to_keep=2
)
if [[ -n ${RAY_ADDRESS:-} ]]; then trainer+=("+ray_kwargs.ray_init.address=$RAY_ADDRESS"); fi

mkdir -p "$RUNS/$name"
export VERL_FILE_LOGGER_PATH=$RUNS/$name/metrics.jsonl
"$python" -m recap_verl.main_ppo "${model[@]}" "${data[@]}" "${recap[@]}" "${trainer[@]}" "$@"
"$python" -m recap_verl.report "$RUNS/$name"
