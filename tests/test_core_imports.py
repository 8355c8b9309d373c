"""The core stands alone: it imports where verl, Ray and vLLM (for most of it torch as well) are not installed."""

import subprocess
import sys

import pytest

BLOCKING_IMPORT = """
import importlib, sys

blocked, module = sys.argv[1].split(","), sys.argv[2]

class Blocker:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocker)
importlib.import_module(module)
loaded = {name.partition(".")[0] for name in sys.modules} & set(blocked)
assert not loaded, loaded
"""
TRAINING = "verl,ray,vllm,transfer_queue"


def import_without(blocked: str, module: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", BLOCKING_IMPORT, blocked, module], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("module", "blocked"),
    [
        ("recap_verl.scheduler", f"{TRAINING},torch"),
        ("recap_verl.replay", f"{TRAINING},torch"),
        ("recap_verl.objectives", f"{TRAINING},torch"),
        ("recap_verl.domains", f"{TRAINING},torch"),
        ("recap_verl.advantage", TRAINING),
        ("recap_verl.loss", TRAINING),
        ("recap_verl.self_replay", f"{TRAINING},torch"),
        ("recap_verl.report", TRAINING),
    ],
)
def test_imports_without(module, blocked):
    result = import_without(blocked, module)
    assert result.returncode == 0, result.stderr


def test_the_blocker_blocks():
    result = import_without(TRAINING, "recap_verl.verl_adapter.config")
    assert result.returncode != 0 and "is blocked" in result.stderr
