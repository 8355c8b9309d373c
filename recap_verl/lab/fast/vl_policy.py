"""A Qwen2.5-VL as a policy of the fast engine."""

import functools
import io
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from data_prep.rows import MARK
from recap_verl.lab.fast.text_policy import DEVICE, ROWS_AT_ONCE, TextPolicy
from recap_verl.lab.tiny_vl import VISION_TOKENS
from recap_verl.verl_adapter.cpu.once_per_prompt import seen_once

PROCESSED = "processed"


class VLPolicy(TextPolicy):
    """A vision-language model in float32; rows with images and without may stand in one batch.

    What the processor makes of a row is kept in the row.
    """

    def __init__(self, folder: Path | str, rows_at_once: int = ROWS_AT_ONCE):
        processor = AutoProcessor.from_pretrained(folder)
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self._set_up(processor, model, rows_at_once)

    @classmethod
    def of(cls, processor, model: Qwen2_5_VLForConditionalGeneration, rows_at_once: int = ROWS_AT_ONCE) -> "VLPolicy":
        """A policy of a model in memory."""
        policy = cls.__new__(cls)
        policy._set_up(processor, model, rows_at_once)
        return policy

    def _set_up(self, processor, model, rows_at_once: int) -> None:
        # By default a GPU would see pictures at ten bits: Qwen's patches go through a convolution.
        torch.backends.cudnn.allow_tf32 = False
        self.processor, self.tokenizer, self.model = processor, processor.tokenizer, model.train(False).to(DEVICE)
        # The responses to a prompt show the model its picture as often as there are responses.
        model.model.visual.forward = functools.partial(seen_once, model.model.visual.forward)
        self.rows_at_once, self.autocast = rows_at_once, False
        self._end, self._pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        self._image = self.tokenizer.convert_tokens_to_ids(processor.image_token)
        # An image token without an image has no position; the study's base makes such tokens all but impossible.
        self.never = self.tokenizer.convert_tokens_to_ids(list(VISION_TOKENS.values()))

    def _processed_row(self, row: dict) -> dict[str, Tensor]:
        if PROCESSED not in row:
            row[PROCESSED] = process(self.processor, row)
        return row[PROCESSED]

    def prompt_ids(self, row: dict) -> Tensor:
        """(length,) as verl's agent loop tokenises a row's prompt, a token for each 28 x 28 pixels."""
        return self._processed_row(row)["input_ids"][0]

    def inputs(self, rows: Sequence[dict], ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        inputs = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": (ids == self._image).int()}
        made = [self._processed_row(row) for row in rows if row.get("images")]
        if made:
            for name in ("pixel_values", "image_grid_thw"):
                inputs[name] = torch.cat([of_row[name] for of_row in made])
        return inputs


def process(processor, row: dict) -> dict[str, Tensor]:
    """What verl's agent loop makes of a row's prompt and images."""
    images = [Image.open(io.BytesIO(image["bytes"])).convert("RGB") for image in row.get("images") or ()]
    turns = [{**turn, "content": _parts(turn["content"])} for turn in row["prompt"]]
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    return dict(processor(text=[text], images=images or None, return_tensors="pt"))


def _parts(content: str) -> list[dict[str, str]]:
    """verl's reading of `<image>` marks."""
    parts = []
    for position, text in enumerate(content.split(MARK)):
        if position:
            parts.append({"type": "image"})
        if text:
            parts.append({"type": "text", "text": text})
    return parts
