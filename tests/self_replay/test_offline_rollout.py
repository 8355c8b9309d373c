"""What the model is asked is what verl's own rollout would ask; then vLLM itself."""

import asyncio
import json
import subprocess
import sys
import types

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.config import HFModelConfig
from verl.workers.rollout.replica import TokenOutput

from recap_verl.self_replay.errors import SelfReplayError
from recap_verl.self_replay.settings import Generation
from recap_verl.verl_adapter import offline_rollout
from recap_verl.verl_adapter.offline_rollout import OfflineRollout


def generation(model, **settings) -> Generation:
    return Generation(model=str(model), prompts_sha256="", vllm="", **settings)


class RecordingServer:
    """Stands for verl's vLLM server, and keeps what the agent loop sends it."""

    async def generate(self, **request):
        self.request = request
        return TokenOutput(token_ids=[1], log_probs=None)


def verls_request(prompts, model, row: int, **data) -> dict:
    """What verl's single-turn agent sends for a row."""
    config = HFModelConfig(path=str(model), override_config={"attn_implementation": "sdpa"})
    data = OmegaConf.create({"filter_overlong_prompts": False, **data})
    dataset = RLHFDataset(str(prompts), config.tokenizer, data, config.processor)
    server = RecordingServer()

    async def ask() -> None:
        trainer = OmegaConf.create({"actor_rollout_ref": {"rollout": {"prompt_length": 512, "response_length": 8}}})
        agent = SingleTurnAgentLoop(
            DictConfigWrap(trainer),
            server,
            config.tokenizer,
            config.processor,
            RLHFDataset,
            DictConfigWrap(data),
            hf_model_type=config.hf_config.model_type,
        )
        await agent.run({}, raw_prompt=dataset[row]["raw_prompt"])

    asyncio.run(ask())
    return server.request


@pytest.fixture
def image_rows(make_row, make_png):
    """No image, one, two of other sizes, none again."""

    def turn(text: str) -> list[dict]:
        return [{"role": "system", "content": "Look."}, {"role": "user", "content": text}]

    two = [{"bytes": make_png(56, 84)}, {"bytes": make_png(140, 28)}]
    return [
        make_row(0, images=[]),
        make_row(1, images=[{"bytes": make_png(90, 61)}], prompt=turn("<image>read")),
        make_row(2, images=two, prompt=turn("a<image>b<image>")),
        make_row(3, images=None),
    ]


def test_text_prompts_are_verls_token_for_token(write_prompts, make_row, text_model):
    turns = [
        {"role": "system", "content": "Be <image> brief."},
        {"role": "user", "content": "ä\n"},
        {"role": "assistant", "content": "so"},
        {"role": "user", "content": "and?"},
    ]
    prompts = write_prompts([make_row(0), make_row(1, prompt=turns)])
    rollout = OfflineRollout(prompts, generation(text_model))
    for row in range(2):
        tokens, images = rollout.prompt(row)
        assert tokens == verls_request(prompts, text_model, row)["prompt_ids"] and images is None
        assert rollout.engine_prompt(tokens, images) == {"prompt_token_ids": tokens, "multi_modal_data": {}}


def test_image_prompts_are_verls_token_for_token_and_pixel_for_pixel(write_prompts, image_rows, vl_model):
    prompts = write_prompts(image_rows)
    rollout = OfflineRollout(prompts, generation(vl_model))
    pad = AutoProcessor.from_pretrained(vl_model).image_token_id
    for row, count in enumerate([0, 1, 2, 0]):
        tokens, images = rollout.prompt(row)
        request = verls_request(prompts, vl_model, row)
        assert tokens == request["prompt_ids"]
        if not count:
            assert images is None and request["image_data"] is None
            continue
        for ours, theirs in zip(images, request["image_data"], strict=True):
            assert np.array_equal(np.asarray(ours), np.asarray(theirs))
        asked = rollout.engine_prompt(tokens, images)
        assert tokens.count(pad) > asked["prompt_token_ids"].count(pad) == count, "vLLM expands them itself"
        assert asked["multi_modal_data"]["image"] is images
        assert all(isinstance(image, Image.Image) for image in images)


def test_template_and_processor_options_reach_the_prompt(write_prompts, image_rows, vl_model):
    prompts = write_prompts(image_rows)
    options = {"mm_processor_kwargs": {"do_convert_rgb": False}, "chat_template_kwargs": {"hint": "Read it."}}
    rollout = OfflineRollout(prompts, generation(vl_model, **options))
    tokens, images = rollout.prompt(2)
    request = verls_request(
        prompts,
        vl_model,
        2,
        mm_processor_kwargs=options["mm_processor_kwargs"],
        apply_chat_template_kwargs=options["chat_template_kwargs"],
    )
    assert tokens == request["prompt_ids"]
    assert rollout.engine_prompt(tokens, images)["mm_processor_kwargs"] == request["mm_processor_kwargs"]
    assert len(tokens) == len(OfflineRollout(prompts, generation(vl_model)).prompt(2)[0]) + len("Read it.")


@pytest.mark.parametrize(
    ("images", "text", "what"),
    [
        ([{"bytes": b"no image"}], "<image>", "UnidentifiedImageError"),
        ([{"bytes": "cut"}], "<image>", "OSError: image file is truncated"),
        ([{"bytes": None}], "<image>", "UnidentifiedImageError"),
        ([{"bytes": "whole"}], "no mark", "image_offset 0 != len(images) 1"),
        ([{"bytes": "whole"}], "<image><image>", "image_offset 1 >= len(images) 1"),
    ],
)
def test_an_image_that_cannot_be_read_names_its_row(write_prompts, make_row, make_png, vl_model, images, text, what):
    whole = make_png(300, 300)
    named = {"cut": whole[: len(whole) // 2], "whole": whole}
    images = [{"bytes": named.get(image["bytes"], image["bytes"])} for image in images]
    fine = [{"bytes": whole}]
    bad = make_row(2, images=images, prompt=[{"role": "user", "content": text}])
    good = [make_row(i, images=fine, prompt=[{"role": "user", "content": "<image>"}]) for i in range(2)]
    rollout = OfflineRollout(write_prompts([*good, bad]), generation(vl_model))
    rollout.check(range(0, 2))
    with pytest.raises(SelfReplayError, match="the prompt in row 2 cannot be prepared") as error:
        rollout.check(range(0, 3))
    assert what in str(error.value) and "\n" not in str(error.value)


def test_images_for_a_model_that_cannot_see(write_prompts, image_rows, text_model):
    rollout = OfflineRollout(write_prompts(image_rows), generation(text_model))
    with pytest.raises(SelfReplayError, match=r"row 1 cannot be prepared .*processor is needed"):
        rollout.check(range(4))


def test_a_row_without_a_usable_template_stops_before_vllm(write_prompts, make_row, text_model):
    rollout = OfflineRollout(
        write_prompts([make_row(0)]), generation(text_model, chat_template_kwargs={"chat_template": "{{ 1 / 0 }}"})
    )
    with pytest.raises(SelfReplayError, match="row 0 cannot be prepared for the model \\(ZeroDivisionError"):
        rollout.check(range(1))


def test_prompts_that_are_too_long_are_not_asked(write_prompts, make_row, text_model):
    """All are too long here, so vLLM need not even start."""
    rollout = OfflineRollout(
        write_prompts([make_row(i) for i in range(3)]), generation(text_model, max_prompt_length=9)
    )
    answers = rollout.answer(range(1, 3))
    assert [(answer.row, answer.token_ids) for answer in answers] == [(1, None), (2, None)]


@pytest.mark.parametrize("on_cpu", [True, False])
def test_the_engine_suits_the_machine(write_prompts, make_row, text_model, monkeypatch, on_cpu):
    """Options for GPUs reach vLLM; what only a CPU needs stays away from them."""
    asked = {}
    engine = types.SimpleNamespace(LLM=lambda model, **options: asked.update(model=model, **options))
    monkeypatch.setitem(sys.modules, "vllm", engine)
    monkeypatch.setattr(offline_rollout.atexit, "register", lambda function: None)
    monkeypatch.setattr(offline_rollout.platform, "is_selected", lambda: on_cpu)
    settings = generation(text_model, top_k=30, max_prompt_length=100, max_response_length=50, dtype="bfloat16")
    rollout = OfflineRollout(write_prompts([make_row(0)]), settings, 2, 0.5)
    assert rollout._engine is None
    assert asked == {
        "model": str(text_model),
        "dtype": "bfloat16",
        "seed": 0,
        "max_model_len": 150,
        "enforce_eager": on_cpu,
        "logprobs_mode": "raw_logprobs",
        "max_logprobs": 30,
        "tensor_parallel_size": 2,
        "gpu_memory_utilization": 0.5,
    }


@pytest.mark.e2e
def test_a_vision_language_model_answers_about_its_images(make_row, make_png, write_prompts, vl_model, tmp_path):
    """A real vLLM: the stored log-probabilities are those of transformers on the same prompt and pixels."""
    asks = [{"role": "user", "content": "<image>say"}]
    rows = [make_row(i, images=[{"bytes": make_png(84 + 28 * i, 56, (60 * i, 9, 200))}], prompt=asks) for i in range(4)]
    two = [{"bytes": make_png(56, 84)}, {"bytes": make_png(140, 56)}]
    rows += [make_row(4, images=[]), make_row(5, images=two, prompt=[{"role": "user", "content": "<image>or<image>"}])]
    prompts, out = write_prompts(rows), tmp_path / "self.parquet"
    options = ["--n=2", "--temperature=1.5", "--max-response-length=6", "--keep-cut", "--top-k=3", "--dtype=float32"]
    command = [sys.executable, "-m", "recap_verl.self_replay", str(prompts), "--model", str(vl_model)]
    done = subprocess.run([*command, "--out", str(out), *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]

    written = pq.read_table(out).to_pylist()
    assert len(written) == 12
    assert written[0]["images"] == rows[0]["images"]
    processor = AutoProcessor.from_pretrained(vl_model)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(vl_model, dtype=torch.float32)
    rollout = OfflineRollout(prompts, generation(vl_model))
    for row in written:
        expected = log_probs(model, processor, rollout, row)
        stored = row["ntp_distribution"]
        top = expected.topk(3)
        assert stored["topk_ids"] == top.indices.tolist()
        assert torch.allclose(torch.tensor(stored["topk_log_probs"]), top.values, atol=1e-3)
        assert json.loads(row["reward_model"]["ground_truth"])
        assert processor.image_token_id not in stored["token_ids"]


def log_probs(model, processor, rollout, row) -> torch.Tensor:
    """(response length, vocabulary), at temperature 1."""
    tokens, images = rollout.prompt(row["extra_info"]["index"])
    response = row["ntp_distribution"]["token_ids"]
    inputs = {"input_ids": torch.tensor([tokens + response])}
    if images:
        inputs |= processor.image_processor(images=images, return_tensors="pt")
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == processor.image_token_id).int()
    with torch.no_grad():
        logits = model(**inputs).logits[0, len(tokens) - 1 : -1]
    return logits.float().log_softmax(-1)
