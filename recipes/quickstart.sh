#!/usr/bin/env bash
# Train a real language model with RECAP from nothing: environment, model, data, training, report.
#
#   bash recipes/quickstart.sh [hydra overrides]
#
# Run again, it reuses the environment, the model and the data, and goes on from the last checkpoint of a run that was
# interrupted (a finished one is reported again; RUN=name starts another).
set -euo pipefail
cd "$(dirname "$0")/.."

# ---- user-adjustable -------------------------------------------------------------------------------------------
STEPS=${STEPS:-20}                  # training steps
PROMPTS=${PROMPTS:-6}               # prompts a step, over all domains
ROLLOUTS=${ROLLOUTS:-6}             # responses to each
MIXTURE=${MIXTURE:-uniform}         # uniform | proportional | target_only | coreset | {name:share,...}
PRESET=${PRESET:-recap}             # recap | paper | release | dwa | static | uniform
WINDOW=${WINDOW:-4}                 # short, so that the weights act within 20 steps (the paper: 10)
TEMPERATURE=${TEMPERATURE:-2}       # with so few rollouts lower ones follow noise; the paper's 5 hardly acts
LR=${LR:-1e-5}
TASKS=${TASKS:-}                    # the first is the target; `python -m data_prep list` shows them, and names with
                                    # the prefix reasoning_gym/ are reasoning-gym's (for larger models)
MODEL_PATH=${MODEL_PATH:-}          # a folder or hub name; default SmolLM2-135M-Instruct out of a PyPI wheel
SELF_REPLAY=${SELF_REPLAY:-0}       # 1: also learn the base model's own answers to prompts that are not replayed
SELF_TASKS=${SELF_TASKS:-repeat,larger}   # the tasks of those prompts; validated as probes
SELF_SHARE=${SELF_SHARE:-0.5}       # their share of a batch, a domain's being 1
VENV=${VENV:-.venv}
MAX_PROMPT=${MAX_PROMPT:-}          # tokens; default 256, for reasoning-gym 1024
MAX_RESPONSE=${MAX_RESPONSE:-}      # tokens; default 16, for reasoning-gym 512
WORK=${WORK:-.quickstart}
# ----------------------------------------------------------------------------------------------------------------

DATA=quickstart
if [[ $TASKS == reasoning_gym/* ]]; then
  DATA=reasoning-gym
  TASKS=${TASKS//reasoning_gym\//}
  MAX_PROMPT=${MAX_PROMPT:-1024} MAX_RESPONSE=${MAX_RESPONSE:-512}
fi
MAX_PROMPT=${MAX_PROMPT:-256} MAX_RESPONSE=${MAX_RESPONSE:-16}
self_settings=
if [[ $SELF_REPLAY == 1 ]]; then self_settings=-self-$SELF_TASKS-$SELF_SHARE; fi
# Everything that changes the run is in its name, so that other settings never resume this one's checkpoint.
settings="$STEPS $PROMPTS $ROLLOUTS $WINDOW $TEMPERATURE $LR $TASKS $MODEL_PATH $MAX_PROMPT $MAX_RESPONSE"
settings=$(printf '%s\n' "$settings" "$@" | cksum | cut -d' ' -f1)
RUN=${RUN:-$DATA-$PRESET-$MIXTURE-$settings${self_settings}}

say() { printf '\n== %s\n' "$*"; }
run_dir=$WORK/runs/${RUN//[^A-Za-z0-9._-]/_}
mkdir -p "$run_dir"

say "Environment: $VENV"
extras=()
if [[ $DATA == reasoning-gym ]]; then extras=(reasoning-gym); fi
bash recipes/install.sh "$VENV" ${extras[@]+"${extras[@]}"}
python=$VENV/bin/python

# Nothing is fetched from a hub unless a hub name is asked for.
if [[ -z $MODEL_PATH ]]; then
  say "Model: SmolLM2-135M-Instruct"
  MODEL_PATH=$WORK/smollm2
  "$python" -m recap_verl.lab.smollm2 --out "$MODEL_PATH"
fi
if [[ -d $MODEL_PATH ]]; then export HF_HUB_OFFLINE=1; fi

data=$WORK/data/$DATA${TASKS:+-${TASKS//,/-}}
if [[ ! -f $data/domains.yaml ]]; then
  say "Data: $data"
  "$python" -m data_prep "$DATA" --out "$data" --tasks "$TASKS"
fi

train_files=$data/train.parquet
val_files=$data/val.parquet
self_replay=()
if [[ $SELF_REPLAY == 1 ]]; then
  probes=$WORK/data/quickstart-${SELF_TASKS//,/-}
  answers=$WORK/data/self-${SELF_TASKS//,/-}-$(cksum <<<"$MODEL_PATH $MAX_PROMPT $MAX_RESPONSE" | cut -d' ' -f1).parquet
  if [[ ! -f $probes/domains.yaml ]]; then
    "$python" -m data_prep quickstart --out "$probes" --tasks "$SELF_TASKS"
  fi
  say "Self-replay: the base model answers prompts of $SELF_TASKS"
  "$python" -m recap_verl.self_replay "$probes/train.parquet" --model "$MODEL_PATH" --out "$answers" \
    --data-source self --max-prompt-length "$MAX_PROMPT" --max-response-length "$MAX_RESPONSE"
  train_files=$train_files,$answers
  val_files=$val_files,$probes/val.parquet
  self_replay=('+recap.domains.self={kind: sft, source: self}')
  for task in ${SELF_TASKS//,/ }; do
    self_replay+=("+recap.domains.$task={role: probe, data_sources: [text/$task], objectives: [exact_match, answer_format]}")
  done
  if [[ $MIXTURE == uniform ]]; then
    MIXTURE="{$(sed -n 's/^\([A-Za-z0-9_]*\):$/\1:1/p' "$data/domains.yaml" | paste -sd, -),self:$SELF_SHARE}"
  fi
fi

model=(
  actor_rollout_ref.model.path="$MODEL_PATH"
  # Recomputing activations saves memory that a small model does not need.
  actor_rollout_ref.model.enable_gradient_checkpointing="${CHECKPOINTING:-false}"
  actor_rollout_ref.actor.optim.lr="$LR"
  actor_rollout_ref.actor.ppo_mini_batch_size="$PROMPTS"
  # Micro-batches by tokens, so that any PROMPTS and ROLLOUTS fit.
  actor_rollout_ref.actor.use_dynamic_bsz=true
  actor_rollout_ref.actor.ppo_max_token_len_per_gpu="${MAX_TOKENS:-2048}"
  actor_rollout_ref.rollout.n="$ROLLOUTS"
  actor_rollout_ref.rollout.name=vllm
  actor_rollout_ref.rollout.tensor_model_parallel_size=1
)
# CPUs with bfloat16 units are faster in it (1.8 times, measured on SmolLM2); the weights stay in float32.
if grep -qsE 'amx_bf16|avx512_bf16' /proc/cpuinfo && ! command -v nvidia-smi >/dev/null; then
  model+=(actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype=bf16)
fi
if ! "$python" -c 'import flash_attn' 2>/dev/null; then
  model+=(
    ++actor_rollout_ref.model.override_config.attn_implementation=sdpa
    actor_rollout_ref.model.use_remove_padding=false
  )
fi
data_options=(
  data.train_files="[$train_files]"
  data.val_files="[$val_files]"
  data.train_batch_size="$PROMPTS"
  data.max_prompt_length="$MAX_PROMPT"
  data.max_response_length="$MAX_RESPONSE"
)
recap=(
  recap.domains_file="$data/domains.yaml"
  recap.weight_per=domain_objective
  recap.mixture="$MIXTURE"
  recap.scheduler.preset="$PRESET"
  recap.scheduler.window="$WINDOW"
  recap.scheduler.temperature="$TEMPERATURE"
  ${self_replay[@]+"${self_replay[@]}"}
  algorithm.adv_estimator=grpo
)
trainer=(
  trainer.logger='[console,file]'
  trainer.project_name=recap_quickstart
  trainer.experiment_name="${run_dir##*/}"
  trainer.default_local_dir="$run_dir/checkpoints"
  trainer.n_gpus_per_node=1
  trainer.total_training_steps="$STEPS"
  trainer.test_freq="$STEPS"
  trainer.save_freq=10
  trainer.max_actor_ckpt_to_keep=2
)

tracker=$run_dir/checkpoints/latest_checkpointed_iteration.txt
if [[ -f $tracker && $(<"$tracker") == "$STEPS" ]]; then
  say "Training: step $STEPS was reached before; RUN=<name> starts another run"
else
  say "Training: $STEPS steps, log in $run_dir/train.log"
  VERL_FILE_LOGGER_PATH=$run_dir/metrics.jsonl "$python" -m recap_verl.main_ppo \
    "${model[@]}" "${data_options[@]}" "${recap[@]}" "${trainer[@]}" "$@" >"$run_dir/train.log" 2>&1 &
  pid=$!
  trap 'kill "$pid" 2>/dev/null || true' EXIT
  "$python" -m recap_verl.report.follow "$run_dir" --pid "$pid" --steps "$STEPS"
  trap - EXIT
  if ! wait "$pid"; then
    grep -E '^recap_verl: |Error' "$run_dir/train.log" | tail -n 5 >&2 || tail -n 20 "$run_dir/train.log" >&2
    echo "Training failed; see $run_dir/train.log" >&2
    exit 1
  fi
fi

say "Report"
"$python" -m recap_verl.report "$run_dir"
