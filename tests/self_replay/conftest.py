"""Prompt files, a rollout without a model, and a tiny random Qwen2.5-VL made without a network."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from recap_verl.lab.tiny import END_OF_TEXT, TURN_END, TURN_START, build_model, build_tokenizer, byte_symbols
from recap_verl.self_replay.parts import Answer
from recap_verl.self_replay.settings import Filters, Generation, Settings

VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
SPECIAL = [TURN_START, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ item['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ hint }}<|im_start|>assistant\n{% endif %}"
)


def build_processor() -> Qwen2_5_VLProcessor:
    """28 x 28 pixels are one token; one token per byte."""
    tokens = [*byte_symbols(), END_OF_TEXT, TURN_END, *SPECIAL]
    tokenizer = Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=[],
        unk_token=None,
        pad_token=END_OF_TEXT,
        eos_token=TURN_END,
        additional_special_tokens=SPECIAL,
    )
    pixels = {"min_pixels": 28 * 28, "max_pixels": 28 * 28 * 64}
    return Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(**pixels), tokenizer, Qwen2VLVideoProcessor(**pixels), chat_template=TEMPLATE
    )


def build_vl_model(processor: Qwen2_5_VLProcessor) -> Qwen2_5_VLForConditionalGeneration:
    """head_dim is 32 in both towers, the smallest that vLLM's CPU attention takes."""
    tokenizer = processor.tokenizer
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "out_hidden_size": 128,
            "fullatt_block_indexes": [1],
        },
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
        vision_start_token_id=tokenizer.convert_tokens_to_ids(VISION_START),
        vision_end_token_id=tokenizer.convert_tokens_to_ids(VISION_END),
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Qwen2_5_VLForConditionalGeneration(config)


def row(index: int, source: str = "text/last", **columns) -> dict:
    """A row as data_prep writes it."""
    return {
        "data_source": source,
        "prompt": [{"role": "user", "content": f"say {index}"}],
        "ability": "toy",
        "reward_model": {"style": "rule", "ground_truth": json.dumps(f"label {index}")},
        "extra_info": {"split": "train", "index": index, "question": f"say {index}", "answer": "x", "metadata": None},
        **columns,
    }


def png(width: int = 56, height: int = 84, color: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), color).save(buffer, "PNG")
    return buffer.getvalue()


class ScriptedRollout:
    """Gives the answers of `script(row, sample)`; dies before batch number `dies_at`."""

    def __init__(self, script: Callable[[int, int], Answer], n: int = 1, dies_at: int | None = None):
        self.script, self.n, self.dies_at = script, n, dies_at
        self.asked: list[range] = []

    def check(self, rows: range) -> None:
        assert len(rows)

    def answer(self, rows: range) -> list[Answer]:
        if len(self.asked) == self.dies_at:
            raise KeyboardInterrupt
        self.asked.append(rows)
        return [self.script(row, sample) for row in rows for sample in range(self.n)]


def spoken(row: int, sample: int = 0, text: str | None = None, tokens: int = 5, top_k: int = 0) -> Answer:
    """An answer of distinct tokens, ended by token 0."""
    token_ids = [*range(row + 1, row + 1 + tokens), 0]
    return Answer(
        row,
        sample,
        f"answer {row} {sample}" if text is None else text,
        token_ids,
        ended=True,
        topk_ids=[[token, *range(1000, 999 + top_k)] for token in token_ids] if top_k else None,
        topk_log_probs=[[-0.5, *(-2.0 - k for k in range(top_k - 1))] for _ in token_ids] if top_k else None,
    )


@pytest.fixture
def make_row():
    return row


@pytest.fixture
def make_png():
    return png


@pytest.fixture
def make_answer():
    return spoken


@pytest.fixture
def scripted():
    return ScriptedRollout


@pytest.fixture
def write_prompts(tmp_path):
    """Write rows (10 plain ones by default) to a parquet file."""

    def write(rows: list[dict] | None = None, name: str = "prompts.parquet") -> Path:
        path = tmp_path / name
        pq.write_table(pa.Table.from_pylist([row(i) for i in range(10)] if rows is None else rows), path)
        return path

    return write


@pytest.fixture
def settings_for():
    """Settings for a checked prompt file: `settings_for(file, n=2, temperature=1.0, filters={...})`."""

    def build(file, filters: dict | None = None, data_source: str | None = None, **generation) -> Settings:
        generation = {"batch_size": 4, "model": "base", "vllm": "0", **generation}
        return Settings(Generation(prompts_sha256=file.sha256, **generation), Filters(**filters or {}), data_source)

    return build


@pytest.fixture(scope="session")
def text_model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("text") / "model"
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(folder)
    build_model(tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def vl_model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vl") / "model"
    processor = build_processor()
    processor.save_pretrained(folder)
    build_vl_model(processor).save_pretrained(folder)
    return folder
