"""Checkpoint engine ``gloo``: weights from the trainer to standalone rollout workers, through main memory.

``trainer.v1.trainer_mode=separate_async`` refuses verl's naive transfer, and the engines that verl 0.9.1 brings
(``verl/checkpoint_engine``) need an accelerator or its network. Chosen by

    actor_rollout_ref.rollout.checkpoint_engine.backend=gloo
    actor_rollout_ref.rollout.checkpoint_engine.custom_backend_module=recap_verl.verl_adapter.cpu.checkpoint_engine

The trainer's rank 0 broadcasts; every rollout worker receives. A bucket is one flat tensor; its layout, the names and
shapes of the weights in it, is announced in the store that the group was built from.
"""

import pickle
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
import torch
from torch.distributed import PrefixStore, ProcessGroupGloo, TCPStore
from verl.checkpoint_engine import CheckpointEngine, CheckpointEngineRegistry

SENDER = 0
LEFT_OUT = -1  # Rank of a trainer worker that takes part in gathering the weights, but not in sending them.

Weight = tuple[str, torch.Tensor]


@dataclass
class Layout:
    """What a bucket holds: its weights, in order, as names and shapes of one ``dtype``."""

    dtype: torch.dtype
    weights: list[tuple[str, torch.Size]]


@CheckpointEngineRegistry.register("gloo")
class GlooCheckpointEngine(CheckpointEngine):
    """Broadcast over a gloo group of its own, built anew for each transfer: replicas may have come or gone.

    Args:
        bucket_size: bytes sent at once, at most; a larger weight is a bucket by itself.
        is_master: True in the trainer's rank 0, which sends.
        timeout: seconds to wait for another worker before giving up.
    """

    def __init__(self, bucket_size: int, is_master: bool = False, timeout: float = 600.0) -> None:
        self.bucket_size = bucket_size
        self.is_master = is_master
        self.timeout = timedelta(seconds=timeout)
        self.rank = LEFT_OUT
        self._store: TCPStore | None = None
        self._group: ProcessGroupGloo | None = None

    def prepare(self) -> tuple[str, int] | None:
        """Open the store all workers meet at: its (host, port) from the master, None from the others."""
        if not self.is_master:
            return None
        host = ray.util.get_node_ip_address().strip("[]")
        self._store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=self.timeout)
        return host, self._store.port

    @classmethod
    def build_topology(
        cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[tuple[str, int] | None]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Arguments of ``init_process_group`` for the trainer's and for the rollout workers."""
        ranks = [SENDER] + [LEFT_OUT] * (actor_wg_world_size - 1) + list(range(1, rollout_world_size + 1))
        arguments = {
            "rank": ranks,
            "world_size": [rollout_world_size + 1] * len(ranks),
            "address": [metadata[0]] * len(ranks),
        }
        actor = {name: values[:actor_wg_world_size] for name, values in arguments.items()}
        rollout = {name: values[actor_wg_world_size:] for name, values in arguments.items()}
        return actor, rollout

    def init_process_group(self, rank: int, world_size: int, address: tuple[str, int]) -> None:
        """Join the group; returns when all of its members have."""
        self.rank = rank
        if rank == LEFT_OUT:
            return
        if not self.is_master:
            self._store = TCPStore(*address, is_master=False, timeout=self.timeout)
        self._group = ProcessGroupGloo(PrefixStore("group", self._store), rank, world_size, self.timeout)

    def finalize(self) -> None:
        """Leave the group and close the store; verl calls this once every worker is done."""
        self._group = None
        self._store = None

    async def send_weights(self, weights: Iterable[Weight], global_steps: int | None = None) -> None:
        """Broadcast all weights from the master.

        The other trainer workers walk through theirs as well: each weight is gathered by all of them together.
        """
        number = 0
        for number, bucket in enumerate(self._buckets(weights), start=1):
            if self.rank == SENDER:
                self._send(number, bucket)
        if self.rank == SENDER:
            self._announce(number + 1, None)

    async def receive_weights(self, global_steps: int | None = None) -> AsyncGenerator[Weight, None]:
        """Yield (name, tensor) in the order they were sent."""
        number = 1
        while (layout := pickle.loads(self._store.get(f"bucket/{number}"))) is not None:
            sizes = [shape.numel() for _, shape in layout.weights]
            flat = torch.empty(sum(sizes), dtype=layout.dtype)
            self._broadcast(flat)
            for (name, shape), part in zip(layout.weights, flat.split(sizes), strict=True):
                yield name, part.view(shape)
            number += 1

    def _buckets(self, weights: Iterable[Weight]) -> Iterator[list[Weight]]:
        """Weights of one dtype together, as many as fit in ``bucket_size``."""
        bucket: list[Weight] = []
        filled = 0
        for name, weight in weights:
            if bucket and (filled + weight.nbytes > self.bucket_size or weight.dtype != bucket[0][1].dtype):
                yield bucket
                bucket, filled = [], 0
            bucket.append((name, weight.detach()))
            filled += weight.nbytes
        if bucket:
            yield bucket

    def _send(self, number: int, bucket: list[Weight]) -> None:
        self._announce(number, Layout(bucket[0][1].dtype, [(name, weight.shape) for name, weight in bucket]))
        self._broadcast(torch.cat([weight.reshape(-1) for _, weight in bucket]))

    def _announce(self, number: int, layout: Layout | None) -> None:
        """Publish the layout of the next bucket; None ends the transfer."""
        self._store.set(f"bucket/{number}", pickle.dumps(layout))

    def _broadcast(self, flat: torch.Tensor) -> None:
        # As bytes, since gloo does not know every dtype (float8).
        self._group.broadcast(flat.view(torch.uint8), SENDER).wait()
