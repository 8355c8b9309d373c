"""A tiny random Qwen2 with a byte-level tokenizer: real verl and real vLLM run on it within seconds.

python -m recap_verl.lab.tiny --out DIR
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from recap_verl.lab.model_folder import create_model_folder

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

CHATML_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_symbols() -> list[str]:
    """The printable character that byte-level BPE (GPT-2's) writes for each of the 256 bytes."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    substitutes = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(substitutes)) for byte in range(256)]


def build_tokenizer() -> Qwen2Tokenizer:
    """One token per byte, then the three ChatML tokens; 259 in all, so every id a model samples can be decoded."""
    tokens = [*byte_symbols(), END_OF_TEXT, TURN_START, TURN_END]
    tokenizer = Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=[],
        unk_token=None,
        pad_token=END_OF_TEXT,
        eos_token=TURN_END,
        additional_special_tokens=[TURN_START],
    )
    tokenizer.chat_template = CHATML_TEMPLATE
    return tokenizer


def build_model(tokenizer: Qwen2Tokenizer, seed: int = 0) -> Qwen2ForCausalLM:
    """About 0.33 million parameters, drawn from `seed`; the global random state is left as it was.

    head_dim is 128 / 4 = 32, the smallest that vLLM's CPU attention takes.
    """
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(config)


def main(
    out: Annotated[Path, typer.Option(help="Folder to write; kept as it is when it already holds a model.")],
    seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0,
) -> None:
    """Write a tiny random Qwen2 and its tokenizer."""

    def fill(folder: Path) -> None:
        tokenizer = build_tokenizer()
        tokenizer.save_pretrained(folder)
        build_model(tokenizer, seed).save_pretrained(folder)

    written = create_model_folder(out, fill)
    print(f"{'Wrote' if written else 'Kept'} {out}")


if __name__ == "__main__":
    typer.run(main)
