"""Runs side by side end with the command that started them, and tell how far they are."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recap_verl.lab import results, tiny
from recap_verl.lab.fast.text_policy import TextPolicy
from recap_verl.lab.pool import run_pool
from recap_verl.lab.run import Laboratory, Trial
from recap_verl.lab.study import Study

COMMAND = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from recap_verl.lab.pool import _set_up_worker

def run():
    print(os.getpid(), flush=True)
    time.sleep(600)


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_set_up_worker, initargs=(1,)) as pool:
        pool.submit(run).result()
"""


def test_a_killed_command_leaves_no_run_behind(tmp_path):
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    command = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    worker = int(command.stdout.readline())
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    for _ in range(600):
        if not is_running(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    raise AssertionError("the run goes on")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_run_tells_how_far_it_is_and_ends_in_the_table(tmp_path, capsys):
    tiny.main(tmp_path / "model")
    row = {
        "data_source": "a",
        "prompt": [{"role": "user", "content": "say 1"}],
        "reward_model": {"style": "rule", "ground_truth": json.dumps("1")},
        "extra_info": {"index": 0},
    }
    for name in ("train", "val"):
        pq.write_table(pa.Table.from_pylist([row] * 4), tmp_path / f"{name}.parquet")
    (tmp_path / "domains.yaml").write_text("a: {role: target, objectives: {exact_match: {}}}\n")
    laboratory = Laboratory("toy", tmp_path / "model", tmp_path, TextPolicy)
    study = Study(steps=4, prompts=2, rollouts=2, max_response_length=2, validate_every=2)
    table = tmp_path / "results.csv"
    capsys.readouterr()
    run_pool(laboratory, [Trial("uniform", 3)], study, "fast", tmp_path / "work", table, processes=1)
    lines = [line.rsplit(" ", 2)[0] for line in capsys.readouterr().out.splitlines()]
    name = "fast uniform, seed 3:"
    assert lines == [f"{name} step 2 of 4,", f"{name} step 4 of 4,", name]
    assert results.finished(table) == {("fast", "toy", laboratory.base, "uniform", "", 3)}
