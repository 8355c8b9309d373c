"""Two runs on one machine, each in a Ray cluster of its own, send weights through verl's own sockets at once."""

import os
import subprocess
import sys

from recap_verl.verl_adapter.weight_socket import own_name

HANDLE = "ipc:///tmp/rl-colocate-zmq-01000000-replica-{}-rank-0.sock"

RUN = """
import asyncio, sys, threading
import torch, verl
from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import BucketedWeightReceiver, BucketedWeightSender

handle, value = sys.argv[1], float(sys.argv[2])
weights = [(f"layer.{i}", torch.full((64,), value)) for i in range(3)]
for _ in range(40):
    sender = BucketedWeightSender(zmq_handle=handle, bucket_size_mb=1, use_shm=True)
    sending = threading.Thread(target=lambda: asyncio.run(sender.async_send_weights(iter(weights))), daemon=True)
    sending.start()
    received = []
    receiver = BucketedWeightReceiver(handle, torch.device("cpu"), use_shm=True)
    receiver.receive_weights(lambda part, last: received.extend((name, own.clone()) for name, own in part))
    sending.join()
    assert len(received) == 3 and all(own.eq(value).all() for _, own in received), "the other run's weights"
print("done")
"""


def test_each_of_two_runs_receives_its_own_weights():
    handle = HANDLE.format(os.getpid())
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, handle, str(value)],
            env={**os.environ, "RAY_RAYLET_PID": str(value), "VERL_PLATFORM": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for value in (1, 2)
    ]
    try:
        printed = [run.communicate(timeout=300)[0] for run in runs]
    finally:
        for run in runs:
            run.kill()
    assert [run.returncode for run in runs] == [0, 0], printed


def test_the_name_outside_of_ray_is_verls(monkeypatch):
    monkeypatch.delenv("RAY_RAYLET_PID", raising=False)
    assert own_name(HANDLE) == HANDLE


def test_the_name_says_whose_raylet_it_is(monkeypatch):
    monkeypatch.setenv("RAY_RAYLET_PID", "77")
    assert own_name(HANDLE) == HANDLE.replace("zmq-", "zmq-77-")
