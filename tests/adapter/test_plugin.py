"""What `import verl` does once recap_verl is installed, each in a fresh interpreter."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from recap_verl.verl_adapter.audible_warnings import GENERAL_LEVEL, LEVEL
from recap_verl.verl_adapter.cpu.compat import ENVIRONMENT

REPORT = """
import functools, json, os, sys
before = dict(os.environ)
import verl
from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
from verl.plugin.platform import PlatformRegistry, get_platform
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY
from verl.utils import distributed, fsdp_utils
print("REPORT", json.dumps({
    "estimator": "recap" in ADV_ESTIMATOR_REGISTRY,
    "reward_manager": get_reward_manager_cls("recap").__name__,
    "registered": "cpu" in PlatformRegistry.registered_names(),
    "platform": get_platform().device_name,
    "changed": sorted(key for key in os.environ if os.environ[key] != before.get(key) and not key.startswith("RAY_")),
    "patched": sorted(
        name
        for name, function in {
            "gloo": distributed.initialize_global_process_group_ray,
            "weights": fsdp_utils.fsdp2_sharded_save_to_cpu,
        }.items()
        if isinstance(function, functools.partial) or hasattr(function, "__wrapped__")
    ),
    "finders": [type(f).__name__ for f in sys.meta_path if type(f).__module__.startswith("recap_verl")],
}))
"""

BROKEN = """
import sys

class Blocker:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "recap_verl.verl_adapter.estimators":
            raise ImportError("deliberately broken")

sys.meta_path.insert(0, Blocker)
import verl
print("verl goes on", verl.__version__)
from verl.trainer.ppo import core_algos
print("without RECAP")
"""

# What none of a run's smaller processes asks for.
PARTS = """
import sys
import verl
print("PARTS", [name for name in sys.modules if name in (
    "recap_verl.verl_adapter.estimators", "recap_verl.verl_adapter.reward_manager", "recap_verl.objectives",
    "recap_verl.verl_adapter.teacher_forced", "verl.experimental.agent_loop", "verl.utils.model")])
from verl.experimental.agent_loop.agent_loop import _agent_loop_registry
print("REGISTERED", "recap_teacher_forced" in _agent_loop_registry)
"""


# What vLLM's servers import, in a process that has imported verl.
WARNS = """
import logging
import verl
import model_hosting_container_standards.logging_config
logging.getLogger("recap_verl.anything").warning("a warning")
"""


def run(code: str, platform: str | None, **variables: str) -> subprocess.CompletedProcess:
    """`code` in an interpreter whose environment is that of a machine's fresh shell."""
    environment = {key: value for key, value in os.environ.items() if key not in {*ENVIRONMENT, LEVEL, GENERAL_LEVEL}}
    if platform is not None:
        environment["VERL_PLATFORM"] = platform
    environment.update(variables)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)


def report(platform: str | None) -> dict:
    result = run(REPORT, platform)
    assert result.returncode == 0, result.stderr
    assert "recap_verl" not in result.stderr
    return json.loads(next(line for line in result.stdout.splitlines() if line.startswith("REPORT"))[7:])


def test_verl_learns_the_estimator_the_reward_manager_and_the_platform():
    found = report("cpu")
    assert found["estimator"] and found["reward_manager"] == "RecapRewardManager" and found["registered"]
    assert found["platform"] == "cpu"
    assert {*found["changed"], "VERL_PLATFORM"} == {*ENVIRONMENT, LEVEL}
    assert found["patched"] == ["gloo", "weights"]


def test_another_platform_is_left_as_verl_made_it():
    found = report("nvidia")
    assert found["estimator"] and found["reward_manager"] == "RecapRewardManager"
    assert found["platform"] == "cuda"
    assert found["changed"] == [LEVEL] and found["patched"] == [] and found["finders"] == []


def test_a_process_loads_the_parts_that_it_uses():
    result = run(PARTS, "cpu")
    assert "PARTS []" in result.stdout and "REGISTERED True" in result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize("platform", ["cpu", "nvidia"])
def test_a_part_that_cannot_load_stops_whoever_needs_it(platform):
    result = run(BROKEN, platform)
    assert "verl goes on" in result.stdout and "without RECAP" not in result.stdout and result.returncode == 1
    assert "recap_verl: the verl plugin failed to load" in result.stderr
    assert "ImportError: deliberately broken" in result.stderr


@pytest.mark.skipif(
    importlib.util.find_spec("model_hosting_container_standards") is None, reason="a package of vLLM's is not there"
)
@pytest.mark.parametrize("platform", ["cpu", "nvidia"])
@pytest.mark.parametrize(
    ("variables", "heard"), [({}, True), ({GENERAL_LEVEL: "ERROR"}, False), ({LEVEL: "50"}, False)]
)
def test_warnings_are_heard_beside_vllm_unless_the_user_wants_silence(platform, variables, heard):
    result = run(WARNS, platform, **variables)
    assert result.returncode == 0 and ("a warning" in result.stderr) == heard, result.stderr
