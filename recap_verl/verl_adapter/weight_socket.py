"""Let several runs of verl on one machine send their weights through sockets of their own.

verl 0.9.1 names the socket between trainer and vLLM after Ray's job (`workers/rollout/vllm_rollout/vllm_rollout.py`),
which is 01000000 in every cluster that a run starts for itself. Two such runs on one machine took each other's weights
or waited for each other for good. Both ends of a socket are workers of one raylet, or children of one, so its process
id, which no other run has, is put into the name.
"""

import os
from collections.abc import Callable
from typing import Any

import wrapt

TRANSFER = "verl.workers.rollout.vllm_rollout.bucketed_weight_transfer"
_FROM, _TO = "rl-colocate-zmq-", "rl-colocate-zmq-{}-"


def own_name(handle: str) -> str:
    """The socket's address with the raylet's process id in its name; as it is outside of Ray."""
    raylet = os.environ.get("RAY_RAYLET_PID")
    return handle.replace(_FROM, _TO.format(raylet), 1) if raylet else handle


def _open(init: Callable, instance: Any, args: tuple, kwargs: dict) -> None:
    def opened(zmq_handle: str, *others, **named) -> None:
        init(own_name(zmq_handle), *others, **named)

    opened(*args, **kwargs)


for _end in ("BucketedWeightSender", "BucketedWeightReceiver"):
    wrapt.wrap_function_wrapper(TRANSFER, f"{_end}.__init__", _open)
