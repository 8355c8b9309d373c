"""Real runs on the CPU: a tiny random Qwen2, verl's own trainer, vLLM's own engine."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from recap_verl.lab import tiny, tiny_vl

HERE = Path(__file__).parent

# What Ray, torch, gloo and glibc write when a process dies of something else than a Python error.
CRASH = re.compile(r"SIG[A-Z]{3,}|terminate called|what\(\)|EnforceNotMet|Fatal|Aborted|core dumped|OutOfMemory")
# Ray's words for a worker that is gone without a word of its own.
WORKER_DEATH = "Worker unexpectedly exits with a connection error"

DOMAINS = """
a: {role: target, data_sources: [toy/a], objectives: {letters: {fn: "toy_objectives:letters"}, think_format: {}}}
b: {data_sources: [toy/b], objectives: {letters: {fn: "toy_objectives:letters"}, answer_format: {}}}
c: {data_sources: [toy/c], objectives: {accuracy: {}}}
"""


# The third domain learns the reference answers of its rows, "2", "5", "8" and so on.
HYBRID_DOMAINS = """
a: {role: target, data_sources: [toy/a], objectives: {letters: {fn: "toy_objectives:letters"}, think_format: {}}}
b: {data_sources: [toy/b], objectives: {letters: {fn: "toy_objectives:letters"}, answer_format: {}}}
c: {kind: sft, data_sources: [toy/c], template: "say {}"}
"""


@dataclass(frozen=True)
class Workspace:
    """What every run shares."""

    model: str
    train: str
    val: str
    domains: str
    hybrid_domains: str


@dataclass(frozen=True)
class CompletedRun:
    """A finished run: its exit status, everything it printed, and verl's metrics by step."""

    returncode: int
    log: str
    metrics: dict[int, dict]

    @property
    def end(self) -> str:
        """How it ended: the lines that tell of a crash in any process, wherever they stand, and the last ones."""
        crashes = [line[:500] for line in self.log.splitlines() if CRASH.search(line)]
        return "\n".join([*crashes[:40], "...", self.log[-3000:]])


def rows(split: str, count: int, sources=("toy/a", "toy/b", "toy/c")) -> list[dict]:
    return [
        {
            "data_source": sources[i % len(sources)],
            "prompt": [{"role": "user", "content": f"say {i}"}],
            "ability": "toy",
            "reward_model": {"style": "rule", "ground_truth": json.dumps(str(i))},
            "extra_info": {"split": split, "index": i},
        }
        for i in range(count)
    ]


@pytest.fixture(scope="session")
def write_rows():
    """A function that writes rows of other data sources, with answers: `write_rows(path, count, sources, answer)`."""

    def write(path: Path, count: int, sources: tuple[str, ...], answer: Callable[[int], str] = str) -> Path:
        table = rows("train", count, sources)
        for i, row in enumerate(table):
            row["reward_model"]["ground_truth"] = json.dumps(answer(i))
        pq.write_table(pa.Table.from_pylist(table), path)
        return path

    return write


@pytest.fixture(scope="session")
def workspace(tmp_path_factory) -> Workspace:
    folder = tmp_path_factory.mktemp("e2e")
    tiny.main(folder / "model")
    for split, count in (("train", 90), ("val", 9)):
        pq.write_table(pa.Table.from_pylist(rows(split, count)), folder / f"{split}.parquet")
    (folder / "domains.yaml").write_text(DOMAINS)
    (folder / "hybrid.yaml").write_text(HYBRID_DOMAINS)
    names = ("model", "train.parquet", "val.parquet", "domains.yaml", "hybrid.yaml")
    return Workspace(*(str(folder / name) for name in names))


@pytest.fixture
def hybrid(workspace) -> str:
    """The override that makes the third domain one of next-token loss."""
    return f"recap.domains_file={workspace.hybrid_domains}"


VISION_DOMAINS = """
find: {role: target, objectives: {letters: {fn: "toy_objectives:letters"}}}
read: {kind: sft, objectives: {exact_match: {tag: false}}}
"""


@pytest.fixture(scope="session")
def vision_data(tmp_path_factory) -> tuple[str, list[str]]:
    """A tiny vision-language model, and the overrides for rows with an image, generated and answered ones."""
    folder = tmp_path_factory.mktemp("vision")
    tiny_vl.main(folder / "model")
    table = rows("train", 24, ("find", "read"))
    for i, row in enumerate(table):
        image = io.BytesIO()
        Image.new("RGB", (84, 56), (10 * i, 100, 200)).save(image, format="PNG")
        row["prompt"][0]["content"] = f"<image>say {i}"
        row["images"] = [{"bytes": image.getvalue(), "path": None}]
    pq.write_table(pa.Table.from_pylist(table), folder / "rows.parquet")
    (folder / "domains.yaml").write_text(VISION_DOMAINS)
    data = [f"data.{split}_files={folder / 'rows.parquet'}" for split in ("train", "val")]
    return str(folder / "model"), [*data, f"recap.domains_file={folder / 'domains.yaml'}"]


@pytest.fixture
def command(workspace):
    """A function from overrides and a run's folder to the command line of `recap_verl.main_ppo`."""

    def build(overrides: list[str], run_dir: Path) -> list[str]:
        return [
            *(sys.executable, "-m", "recap_verl.main_ppo"),
            f"data.train_files={workspace.train}",
            f"data.val_files={workspace.val}",
            "data.train_batch_size=6",
            "data.max_prompt_length=64",
            "data.max_response_length=16",
            f"recap.domains_file={workspace.domains}",
            "recap.scheduler.window=2",
            "recap.scheduler.temperature=0.2",
            "algorithm.adv_estimator=grpo",
            f"actor_rollout_ref.model.path={workspace.model}",
            "actor_rollout_ref.actor.ppo_mini_batch_size=6",
            "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=24",
            "actor_rollout_ref.actor.optim.lr=1e-3",
            "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=24",
            "actor_rollout_ref.rollout.n=4",
            "trainer.logger=[file]",
            "trainer.test_freq=100",
            f"trainer.default_local_dir={run_dir}/checkpoints",
            *overrides,
        ]

    return build


@pytest.fixture
def environment():
    """A function from a run's folder to the environment of its process."""

    def build(run_dir: Path, extra: dict | None = None) -> dict:
        return {
            **os.environ,
            "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}",
            "HF_HUB_OFFLINE": "1",
            # Models are tiny: a second thread of each of a run's processes would only wait, and keep a core busy.
            "OMP_NUM_THREADS": "1",
            "VERL_FILE_LOGGER_PATH": f"{run_dir}/metrics.jsonl",
            **(extra or {}),
        }

    return build


@pytest.fixture
def launch(command, environment):
    """Run to the end: `launch(overrides, run_dir, env=None, timeout=1200)`.

    A run from nothing whose worker process died of no Python error (seen once, not reproduced) is started
    once more, with a warning that shows what is known of it: such a death says nothing about what is tested.
    """

    def once(overrides: list[str], run_dir: Path, env: dict | None, timeout: float) -> CompletedRun:
        process = start(command(overrides, run_dir), environment(run_dir, env), run_dir)
        try:
            process.wait(timeout=timeout)
        finally:
            kill_all(process)
        return CompletedRun(process.returncode, (run_dir / "log.txt").read_text(), read_metrics(run_dir))

    def run(overrides: list[str], run_dir: Path, env: dict | None = None, timeout: float = 1200) -> CompletedRun:
        run_dir.mkdir(parents=True, exist_ok=True)
        from_nothing = not (run_dir / "checkpoints").exists()
        result = once(overrides, run_dir, env, timeout)
        if result.returncode != 0 and from_nothing and WORKER_DEATH in result.log:
            warnings.warn(f"a worker process died, starting once more:\n{result.end}", stacklevel=2)
            shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
            (run_dir / "metrics.jsonl").unlink(missing_ok=True)
            result = once(overrides, run_dir, env, timeout)
        return result

    return run


@pytest.fixture
def launch_and_kill(command, environment):
    """Run until `reached()`, then SIGKILL every process of the run at once."""

    def run(overrides: list[str], run_dir: Path, reached: Callable[[], bool], timeout: float = 1200) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        process = start(command(overrides, run_dir), environment(run_dir), run_dir)
        deadline = time.monotonic() + timeout
        try:
            while not reached():
                ended = process.poll() is not None or time.monotonic() > deadline
                assert not ended, f"the run did not get there:\n{(run_dir / 'log.txt').read_text()[-3000:]}"
                time.sleep(0.02)
        finally:
            kill_all(process)

    return run


def start(arguments: list[str], env: dict, run_dir: Path) -> subprocess.Popen:
    with open(run_dir / "log.txt", "w") as log:
        return subprocess.Popen(
            arguments, env=env, cwd=run_dir, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def kill_all(process: subprocess.Popen) -> None:
    """SIGKILL the run and what it left behind: Ray and vLLM start sessions of their own, found by their environment."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    marker = f"VERL_FILE_LOGGER_PATH={_run_dir(process)}/metrics.jsonl".encode()
    for _ in range(3):
        for pid in _pids_with(marker):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.2)


def _run_dir(process: subprocess.Popen) -> str:
    key = "trainer.default_local_dir="
    return next(a for a in process.args if a.startswith(key))[len(key) : -len("/checkpoints")]


def _pids_with(marker: bytes) -> list[int]:
    pids = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if marker in (folder / "environ").read_bytes().split(b"\0"):
                    pids.append(int(folder.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
    return pids


def read_metrics(run_dir: Path) -> dict[int, dict]:
    """Step -> metrics; the last record of a step wins."""
    path = run_dir / "metrics.jsonl"
    if not path.exists():
        return {}
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return {record["step"]: record["data"] for record in records}
