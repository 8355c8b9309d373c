"""The gloo checkpoint engine: what one thread sends, the others receive."""

import asyncio
import threading

import pytest
import torch

pytest.importorskip("verl")

from recap_verl.verl_adapter.cpu.checkpoint_engine import GlooCheckpointEngine

WEIGHTS = {
    "embedding": torch.arange(30, dtype=torch.float32).view(10, 3),
    "scalar": torch.tensor(2.5),
    "odd": torch.arange(7, dtype=torch.bfloat16),
    "transposed": torch.arange(12, dtype=torch.float32).view(3, 4).T,
    "empty": torch.empty(0, 4),
    "float8": torch.arange(5, dtype=torch.float32).to(torch.float8_e4m3fn),
    "after": torch.nn.Parameter(torch.ones(5)),
}


async def _collect(engine):
    return [(name, weight.clone()) async for name, weight in engine.receive_weights()]


def _transfer(engines, trainers, weights):
    """One transfer as verl's CheckpointEngineManager does it, a thread per worker; what each worker returned."""
    metadata = [engine.prepare() for engine in engines]
    actor, rollout = GlooCheckpointEngine.build_topology(trainers, len(engines) - trainers, metadata)
    results = [None] * len(engines)

    def work(index):
        arguments = {name: (actor[name] + rollout[name])[index] for name in actor}
        engines[index].init_process_group(**arguments)
        job = engines[index].send_weights(iter(weights)) if index < trainers else _collect(engines[index])
        results[index] = asyncio.run(job)

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(engines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    for engine in engines:
        engine.finalize()
    return results


@pytest.fixture(autouse=True)
def _local_address(monkeypatch):
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "127.0.0.1")


def _engines(trainers, rollouts, bucket_size):
    return [GlooCheckpointEngine(bucket_size, is_master=index == 0, timeout=30) for index in range(trainers + rollouts)]


@pytest.mark.parametrize("bucket_size", [1, 50, 1 << 20])
@pytest.mark.parametrize(("trainers", "rollouts"), [(1, 1), (2, 2)])
def test_every_rollout_worker_receives_every_weight_in_order(bucket_size, trainers, rollouts):
    results = _transfer(_engines(trainers, rollouts, bucket_size), trainers, list(WEIGHTS.items()))
    assert results[:trainers] == [None] * trainers
    for received in results[trainers:]:
        assert [name for name, _ in received] == list(WEIGHTS)
        for name, weight in received:
            sent = WEIGHTS[name]
            assert weight.dtype == sent.dtype and weight.shape == sent.shape
            assert torch.equal(weight.float(), sent.detach().float())


def test_an_engine_transfers_again_with_another_number_of_workers():
    engines = _engines(1, 2, 64)
    _transfer(engines, 1, list(WEIGHTS.items()))
    newer = [("embedding", torch.full((2, 2), 7.0))]
    for kept in (engines, engines[:2]):
        for received in _transfer(kept, 1, newer)[1:]:
            assert len(received) == 1 and torch.equal(received[0][1], newer[0][1])


def test_no_weights_is_no_bucket():
    assert _transfer(_engines(1, 1, 64), 1, [])[1] == []
