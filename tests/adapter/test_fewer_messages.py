"""Fewer messages say the same: rows arrive as they were, rewards are what they were, servers may still change."""

import asyncio
import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from run_config import change
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
from verl.experimental.reward_loop.reward_loop import RewardLoopManager, RewardLoopWorker
from verl.utils.tensordict_utils import list_of_dict_to_tensordict
from verl.workers.rollout.llm_server import FullyAsyncLLMServerClient, LLMServerClient

from recap_verl.lab import tiny
from recap_verl.verl_adapter.cpu import fewer_messages
from recap_verl.verl_adapter.cpu.fewer_messages import PutTogether, merged


class Balancer:
    """verl's balancer as its clients see it; counts what it is asked."""

    def __init__(self, *servers: str):
        self.servers, self.asked, self.listed = servers, [], 0
        for name in ("acquire_server", "release_server", "get_all_servers"):
            setattr(self, name, SimpleNamespace(remote=getattr(self, f"_{name}")))
        for name in ("require_acquire_fields", "require_release_fields"):
            setattr(self, name, SimpleNamespace(remote=self._no_fields))

    async def _no_fields(self):
        return []

    async def _acquire_server(self, request_id):
        self.asked.append("acquire")
        return self.servers[0], f"handle of {self.servers[0]}"

    def _release_server(self, server_id):
        self.asked.append("release")

    async def _get_all_servers(self):
        self.listed += 1
        return list(self.servers)


def served(client: LLMServerClient, requests: int) -> list:
    async def serve():
        found = []
        for request in range(requests):
            found.append(await client._acquire_server(str(request)))
            client._release_server(found[-1][0])
        return found

    return asyncio.run(serve())


@pytest.fixture
def asks_once():
    fewer_messages.ask_for_the_only_server_once()


def test_the_only_server_is_asked_for_once(asks_once):
    balancer = Balancer("a")
    assert served(LLMServerClient(None, balancer), 3) == [("a", "handle of a")] * 3
    assert balancer.asked == ["acquire"]


@pytest.mark.parametrize(("kind", "servers"), [(LLMServerClient, "ab"), (FullyAsyncLLMServerClient, "a")])
def test_servers_of_which_there_are_or_will_be_others_are_asked_for_every_time(asks_once, kind, servers):
    balancer = Balancer(*servers)
    assert served(kind(None, balancer), 3) == [("a", "handle of a")] * 3
    assert balancer.asked == ["acquire", "release"] * 3 and balancer.listed <= 1


def test_importing_verl_makes_all_of_it_so():
    import transfer_queue

    assert isinstance(transfer_queue.async_kv_batch_put, PutTogether)
    wrapped = [LLMServerClient._acquire_server, AgentLoopWorker.__init__, RewardLoopManager._init_reward_loop_workers]
    assert all(hasattr(function, "__wrapped__") for function in wrapped)


def rows(keys: str, **more) -> TensorDict:
    """A row for each letter, of different lengths."""
    return list_of_dict_to_tensordict(
        [{"tokens": torch.arange(ord(key) % 8), "uid": key, "inputs": {}, **more} for key in keys]
    )


class Queue:
    """The function that `PutTogether` stands before: holds every put until it is let go."""

    def __init__(self):
        self.puts, self.gate = [], asyncio.Event()

    async def __call__(self, keys, partition_id, fields=None, tags=None, data_parser=None):
        self.puts.append((partition_id, keys, fields, tags))
        await self.gate.wait()
        if "!" in keys:
            raise RuntimeError("no such row")
        return KVBatchMeta(keys=keys, tags=tags, partition_id=partition_id)


def put_at_once(*asked: tuple[str, str, dict]) -> tuple[list, list]:
    """What arrives, and what each caller gets, if all of (keys, partition, more columns) are put at the same time."""

    async def put():
        queue = Queue()
        together = PutTogether(queue)
        calls = [
            asyncio.ensure_future(
                together(
                    keys=list(keys), partition_id=to, fields=rows(keys, **more), tags=[{"of": key} for key in keys]
                )
            )
            for keys, to, more in asked
        ]
        await asyncio.sleep(0.01)
        first = len(queue.puts)
        queue.gate.set()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        return queue.puts, answers, first

    puts, answers, first = asyncio.run(put())
    assert first == len({(to, *more) for _, to, more in asked}), "one of a kind is under way at a time"
    return puts, answers


def test_rows_that_wait_go_together_and_each_caller_gets_its_own():
    puts, answers = put_at_once(("a", "train", {}), ("b", "train", {}), ("cd", "train", {}), ("e", "train", {}))
    assert [keys for _, keys, _, _ in puts] == [["a"], ["b", "c", "d", "e"]]
    assert [meta.keys for meta in answers] == [["a"], ["b"], ["c", "d"], ["e"]]
    assert [meta.tags for meta in answers] == [[{"of": key} for key in keys] for keys in ("a", "b", "cd", "e")]
    _, _, fields, tags = puts[1]
    assert [len(value) for value in fields["tokens"].unbind()] == [ord(key) % 8 for key in "bcde"]
    assert list(fields["uid"]) == list("bcde") and [tag["of"] for tag in tags] == list("bcde")


def test_rows_of_another_partition_or_with_other_columns_do_not_wait_for_these():
    puts, answers = put_at_once(("a", "train", {}), ("b", "val", {}), ("c", "train", {"extra": 1}), ("d", "train", {}))
    assert [keys for _, keys, _, _ in puts] == [["a"], ["b"], ["c"], ["d"]]
    assert [meta.partition_id for meta in answers] == ["train", "val", "train", "train"]


def test_a_put_that_fails_fails_for_those_in_it_alone():
    puts, answers = put_at_once(("a", "train", {}), ("b", "train", {}), ("!", "train", {}))
    assert len(puts) == 2 and answers[0].keys == ["a"]
    assert [str(error) for error in answers[1:]] == ["no such row"] * 2

    async def afterwards():
        queue = Queue()
        queue.gate.set()
        together = PutTogether(queue)
        with pytest.raises(RuntimeError, match="no such row"):
            await together(keys=["!"], partition_id="train", fields=rows("a"), tags=[{}])
        return await together(keys=["a"], partition_id="train", fields=rows("a"), tags=[{}])

    assert asyncio.run(afterwards()).keys == ["a"]


@pytest.mark.parametrize("changed", [{"fields": None}, {"tags": None}, {"data_parser": print}])
def test_what_is_not_rows_with_tags_alone_is_put_as_it_comes(changed):
    asked = {"keys": ["a"], "partition_id": "train", "fields": rows("a"), "tags": [{}], "data_parser": None, **changed}
    seen = []

    async def original(keys, partition_id, **others):
        seen.append({"keys": keys, "partition_id": partition_id, **others})
        return "its answer"

    assert asyncio.run(PutTogether(original)(**asked)) == "its answer"
    assert len(seen) == 1 and all(seen[0][name] is value for name, value in asked.items())


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3), min_size=1, max_size=4))
def test_merged_is_what_verl_makes_of_all_rows(lengths):
    def row(length):
        return {
            "tokens": torch.arange(length),
            "positions": torch.arange(4 * length).view(4, length),
            "score": length / 2,
            "inputs": {"pixel_values": torch.ones(length)},
        }

    found = merged([list_of_dict_to_tensordict([row(length) for length in part]) for part in lengths])
    expected = [row(length) for part in lengths for length in part]
    assert set(found.keys()) == set(expected[0]) and len(found) == len(expected)
    for name in ("tokens", "positions"):
        for ours, theirs in zip(found[name].unbind(), expected, strict=True):
            assert torch.equal(ours, theirs[name])
    assert list(found["score"]) == [own["score"] for own in expected]
    for ours, theirs in zip(found["inputs"], expected, strict=True):
        assert torch.equal(ours["pixel_values"], theirs["inputs"]["pixel_values"])


def notes(response, ground_truth, extra_info):
    """A reward function that writes to what it is given."""
    extra_info["seen"] = extra_info.get("seen", 0) + 1
    return 1.0 / extra_info["seen"]


@pytest.fixture
def rules(config, tmp_path):
    tiny.build_tokenizer().save_pretrained(tmp_path / "model")
    change(
        config,
        **{
            "actor_rollout_ref.model.path": str(tmp_path / "model"),
            "reward.reward_manager.name": "recap",
            "recap.domains": {"toy": {"role": "target", "objectives": {"notes": {"fn": f"{__name__}:notes"}}}},
        },
    )
    return config


def loop_worker(config, handles):
    """An agent loop's worker as far as rewards go."""

    worker = SimpleNamespace(config=config, reward_loop_worker_handles=handles)
    fewer_messages._init_with_reward_worker(lambda: None, worker, (), {})
    return worker


def response(extra_info: dict) -> DataProto:
    return DataProto(
        batch=TensorDict(
            {"responses": torch.tensor([[5, 6]]), "attention_mask": torch.ones(1, 2, dtype=torch.int64)}, batch_size=1
        ),
        non_tensor_batch={
            "data_source": np.array(["toy"]),
            "reward_model": np.array([{"ground_truth": "x"}]),
            "extra_info": np.array([extra_info]),
        },
    )


def test_the_agent_loop_scores_as_a_reward_worker_does_and_what_functions_write_stays_with_them(rules):
    async def score():
        worker = loop_worker(rules, [])
        theirs = await RewardLoopWorker(rules).compute_score(response({}))
        shared = {}
        ours = [await worker.reward_loop_worker_handles[0].compute_score.remote(response(shared)) for _ in range(2)]
        return theirs, ours, shared

    theirs, ours, shared = asyncio.run(score())
    assert theirs["reward_score"] == 1.0 and ours == [theirs, theirs] and shared == {}


def test_a_reward_model_keeps_its_workers(rules):
    model = copy.deepcopy(rules)
    OmegaConf.update(model, "reward.reward_model.enable", True)
    assert loop_worker(model, ["an actor"]).reward_loop_worker_handles == ["an actor"]
    assert loop_worker(rules, None).reward_loop_worker_handles is None
    for config, expected in ((rules, []), (model, ["started"])):
        manager = SimpleNamespace(config=config)
        fewer_messages._init_workers_of_reward_models(
            lambda manager=manager: setattr(manager, "reward_loop_workers", ["started"]), manager, (), {}
        )
        assert manager.reward_loop_workers == expected
