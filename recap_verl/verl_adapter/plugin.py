"""Entry point ``verl.plugins``: what ``import verl`` learns about RECAP.

verl 0.9.1 imports this module at the end of its own ``__init__`` and swallows any exception with a DEBUG line, so a
failure is reported here, in full, before it is passed on.

A run is a dozen processes that import verl, and most of them need one part of RECAP or none: each part is imported
right after the module of verl whose register it goes into.
"""

import importlib
import sys
import traceback
from types import ModuleType

import wrapt

# Module of verl -> ours that registers there: the estimator and the reward manager, both named "recap", and the agent
# loop "recap_teacher_forced"; or that mends it.
PARTS = {
    "verl.trainer.ppo.core_algos": "recap_verl.verl_adapter.estimators",
    "verl.experimental.reward_loop.reward_manager": "recap_verl.verl_adapter.reward_manager",
    "verl.experimental.agent_loop": "recap_verl.verl_adapter.teacher_forced",
    "verl.models.transformers.qwen2_vl": "recap_verl.verl_adapter.text_only_batches",
    "verl.workers.rollout.vllm_rollout.bucketed_weight_transfer": "recap_verl.verl_adapter.weight_socket",
}


def load_part(module: ModuleType) -> None:
    """Register our part of a module of verl that has just been imported."""
    try:
        importlib.import_module(PARTS[module.__name__])
    except Exception:
        report()
        raise


def report() -> None:
    """Say what is missing, and why: verl itself would swallow it."""
    print("recap_verl: the verl plugin failed to load:", file=sys.stderr)
    traceback.print_exc()


try:
    from recap_verl.verl_adapter.audible_warnings import keep_warnings
    from recap_verl.verl_adapter.cpu import compat, platform

    keep_warnings()
    if platform.is_selected():
        compat.install()
    for name in PARTS:
        wrapt.register_post_import_hook(load_part, name)
except Exception:
    report()
    raise
