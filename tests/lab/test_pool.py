"""Runs side by side end with the command that started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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
