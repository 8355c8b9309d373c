"""A tiny random Qwen2.5-VL with a byte-level tokenizer: images go the whole way through verl and vLLM within seconds.

python -m recap_verl.lab.tiny_vl --out DIR
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from recap_verl.lab.model_folder import create_model_folder
from recap_verl.lab.tiny import END_OF_TEXT, TURN_END, TURN_START, byte_symbols

VISION_START, VISION_END, IMAGE, VIDEO = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
VISION_TOKENS = {
    "vision_start_token_id": VISION_START,
    "vision_end_token_id": VISION_END,
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
}
# A patch is 14 pixels, and 2 x 2 of them make one token.
TOKEN_SIDE = 28

CHATML_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_processor(max_tokens: int = 16) -> Qwen2_5_VLProcessor:
    """Byte-level tokenizer and Qwen's image processor, with at most `max_tokens` tokens to an image."""
    special = [END_OF_TEXT, TURN_START, TURN_END, VISION_START, VISION_END, IMAGE, VIDEO]
    tokenizer = Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate([*byte_symbols(), *special])},
        merges=[],
        unk_token=None,
        pad_token=END_OF_TEXT,
        eos_token=TURN_END,
        additional_special_tokens=[TURN_START, VISION_START, VISION_END, IMAGE, VIDEO],
    )
    tokenizer.chat_template = CHATML_TEMPLATE
    pixels = {"shortest_edge": TOKEN_SIDE**2, "longest_edge": max_tokens * TOKEN_SIDE**2}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=pixels),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=pixels),
        chat_template=CHATML_TEMPLATE,
    )


def build_model(tokenizer: Qwen2Tokenizer, seed: int = 0) -> Qwen2_5_VLForConditionalGeneration:
    """About 0.5 million parameters, drawn from `seed`; the global random state is left as it was."""
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in VISION_TOKENS.items()}
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
            "window_size": 4 * TOKEN_SIDE,
        },
        tie_word_embeddings=False,
        **ids,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2_5_VLForConditionalGeneration(config)


def main(
    out: Annotated[Path, typer.Option(help="Folder to write; kept as it is when it already holds a model.")],
    seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0,
) -> None:
    """Write a tiny random Qwen2.5-VL and its processor."""

    def fill(folder: Path) -> None:
        processor = build_processor()
        processor.save_pretrained(folder)
        model = build_model(processor.tokenizer, seed)
        forbid_vision_tokens(model, processor.tokenizer)
        model.save_pretrained(folder)

    written = create_model_folder(out, fill)
    print(f"{'Wrote' if written else 'Kept'} {out}")


@torch.no_grad()
def forbid_vision_tokens(model: Qwen2_5_VLForConditionalGeneration, tokenizer: Qwen2Tokenizer) -> None:
    """Make them improbable: a sampled one without an image breaks the position index of every later pass.

    Channel 0 of the residual stream is given the same value for every token, so its sign is known at the end, and the
    vision tokens' logits are read from it alone.
    """
    model.get_input_embeddings().weight[:, 0] = 0.2
    model.lm_head.weight[:, 0] = 0.0
    for token in VISION_TOKENS.values():
        row = model.lm_head.weight[tokenizer.convert_tokens_to_ids(token)]
        row.zero_()
        row[0] = -5.0


if __name__ == "__main__":
    typer.run(main)
