"""Messages between a run's processes that verl sends for every response, although fewer would do.

Beside a small model on a CPU a message takes longer than the tokens it is about (docs/lab.md has the figures).
"""

import asyncio
import copy
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import wrapt
from omegaconf import DictConfig
from tensordict import NonTensorStack, TensorDict
from torch import Tensor


def ask_for_the_only_server_once() -> None:
    """``verl/workers/rollout/llm_server.py`` asks a balancer for a server and gives it back, two messages for every
    response: where there is one server, the first answer holds.

    Runs in which servers come and go have clients of classes of their own, which go on asking.
    """
    from verl.workers.rollout import llm_server

    client = llm_server.LLMServerClient
    if not isinstance(vars(client)["_acquire_server"], wrapt.FunctionWrapper):
        wrapt.wrap_function_wrapper(client, "_acquire_server", _acquire)
        wrapt.wrap_function_wrapper(client, "_release_server", _release)


async def _acquire(acquire: Callable, client: Any, args: tuple, kwargs: dict) -> tuple[str, Any]:
    from verl.workers.rollout import llm_server

    only = _only_server(client)
    if only is not None:
        return only
    server = await acquire(*args, **kwargs)
    if type(client) is llm_server.LLMServerClient and not hasattr(client, "_only_server"):
        servers = await client._load_balancer.get_all_servers.remote()
        client._only_server = server if len(servers) == 1 else None
    return server


def _release(release: Callable, client: Any, args: tuple, kwargs: dict) -> None:
    if _only_server(client) is None:
        release(*args, **kwargs)


def _only_server(client: Any) -> tuple[str, Any] | None:
    return getattr(client, "_only_server", None)


def score_in_the_agent_loop() -> None:
    """``verl/experimental/agent_loop/agent_loop.py`` sends every response, images and all, to a process that scores it:
    let the process that has it do so, with a reward worker of its own."""
    from verl.experimental.agent_loop import agent_loop

    if not isinstance(vars(agent_loop.AgentLoopWorker)["__init__"], wrapt.FunctionWrapper):
        wrapt.wrap_function_wrapper(agent_loop.AgentLoopWorker, "__init__", _init_with_reward_worker)


def _init_with_reward_worker(init: Callable, loop_worker: Any, args: tuple, kwargs: dict) -> None:
    init(*args, **kwargs)
    # None: the trainer has the scores computed when all responses are there.
    if loop_worker.reward_loop_worker_handles is None or not _rewards_are_rules(loop_worker.config):
        return
    from verl.experimental.reward_loop.reward_loop import RewardLoopWorker

    score = RewardLoopWorker(loop_worker.config).compute_score
    # What the loop calls is an actor's method.
    actor = SimpleNamespace(compute_score=SimpleNamespace(remote=lambda data: score(_as_if_sent(data))))
    loop_worker.reward_loop_worker_handles = [actor]


def start_no_reward_workers() -> None:
    """``verl/experimental/reward_loop/reward_loop.py`` starts processes, of 0.8 GB each, that nobody asks then."""
    from verl.experimental.reward_loop import reward_loop

    manager = reward_loop.RewardLoopManager
    if not isinstance(vars(manager)["_init_reward_loop_workers"], wrapt.FunctionWrapper):
        wrapt.wrap_function_wrapper(manager, "_init_reward_loop_workers", _init_workers_of_reward_models)


def _init_workers_of_reward_models(init: Callable, manager: Any, args: tuple, kwargs: dict) -> None:
    if _rewards_are_rules(manager.config):
        manager.reward_loop_workers = []
    else:
        init(*args, **kwargs)


def _rewards_are_rules(config: DictConfig) -> bool:
    """Whether there is no reward model, a server whose address verl's own workers alone are told."""
    return not config.reward.reward_model.enable


def _as_if_sent(data: Any) -> Any:
    """With copies of what a reward function may write to: all rollouts of a prompt share the original."""
    for name in ("extra_info", "reward_model"):
        if name in data.non_tensor_batch:
            data.non_tensor_batch[name] = copy.deepcopy(data.non_tensor_batch[name])
    return data


def put_rows_together() -> None:
    """``verl/trainer/ppo/v1/agent_loop_tq.py`` puts every response into TransferQueue by itself, in four messages: let
    those that come while others are on their way go together."""
    import transfer_queue

    if not isinstance(transfer_queue.async_kv_batch_put, PutTogether):
        transfer_queue.async_kv_batch_put = PutTogether(transfer_queue.async_kv_batch_put)


class _Put(NamedTuple):
    keys: list[str]
    fields: TensorDict
    tags: list[dict]
    answer: asyncio.Future


class PutTogether:
    """``transfer_queue.async_kv_batch_put`` that merges what waits: rows of one partition with the same fields.

    While one put is under way those that come wait for it, and the first of them takes all with it. A caller returns
    when its own rows have arrived, as without this; a put that fails, fails for all that went with it.
    """

    def __init__(self, put: Callable):
        self._put = put
        # Event loop -> (partition, fields) -> who may send, and what waits.
        self._queues = weakref.WeakKeyDictionary()

    async def __call__(self, keys, partition_id, fields=None, tags=None, data_parser=None):
        if fields is None or tags is None or data_parser is not None:
            return await self._put(keys, partition_id, fields=fields, tags=tags, data_parser=data_parser)
        loop = asyncio.get_running_loop()
        alike = (partition_id, frozenset(fields.keys()))
        lock, waiting = self._queues.setdefault(loop, {}).setdefault(alike, (asyncio.Lock(), []))
        own = _Put(keys, fields, tags, loop.create_future())
        waiting.append(own)
        async with lock:
            if not own.answer.done():
                puts = waiting.copy()
                waiting.clear()
                await self._send(puts, partition_id)
        return (await own.answer).select_keys(keys)

    async def _send(self, puts: list[_Put], partition_id: str) -> None:
        try:
            meta = await self._put(
                [key for put in puts for key in put.keys],
                partition_id,
                fields=puts[0].fields if len(puts) == 1 else merged([put.fields for put in puts]),
                tags=[tag for put in puts for tag in put.tags],
            )
        except BaseException as error:
            for put in puts:
                put.answer.set_exception(error)
        else:
            for put in puts:
                put.answer.set_result(meta)


def merged(parts: list[TensorDict]) -> TensorDict:
    """All rows of some batches with the same columns, one after another; tensors' lengths may differ."""
    from verl.utils.tensordict_utils import list_of_dict_to_tensordict

    names = list(parts[0].keys())
    columns = [[value for part in parts for value in _values(part.get(name))] for name in names]
    return list_of_dict_to_tensordict([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)])


def _values(column: Tensor | NonTensorStack) -> list[Any]:
    return list(column.unbind()) if isinstance(column, Tensor) else [value.data for value in column.unbind(0)]
