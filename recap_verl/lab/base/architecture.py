"""A Qwen2.5-VL of about a million parameters and a byte-level tokenizer of the study's own words."""

import json
from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from recap_verl.lab.data.drawing import SIDE
from recap_verl.lab.tiny import END_OF_TEXT, TURN_END, TURN_START, byte_symbols
from recap_verl.lab.tiny_vl import CHATML_TEMPLATE, IMAGE, VIDEO, VISION_END, VISION_START, VISION_TOKENS

# Bytes, the words of prompts and answers, and special tokens.
VOCABULARY = 640


def build_processor(texts: Iterable[str]) -> Qwen2_5_VLProcessor:
    """Tokenizer with merges learnt from `texts`, and Qwen's image processor, which leaves the study's pictures as they
    are."""
    special = [END_OF_TEXT, TURN_START, TURN_END, VISION_START, VISION_END, IMAGE, VIDEO]
    vocabulary, merges = _learn_merges(texts, VOCABULARY - len(special))
    vocabulary |= {token: len(vocabulary) + index for index, token in enumerate(special)}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        unk_token=None,
        pad_token=END_OF_TEXT,
        eos_token=TURN_END,
        additional_special_tokens=[TURN_START, VISION_START, VISION_END, IMAGE, VIDEO],
    )
    tokenizer.chat_template = CHATML_TEMPLATE
    pixels = {"shortest_edge": SIDE**2, "longest_edge": SIDE**2}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=pixels),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=pixels),
        chat_template=CHATML_TEMPLATE,
    )


def _learn_merges(texts: Iterable[str], size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-pair encoding over words cut as Qwen's tokenizer cuts them."""
    learner = Tokenizer(models.BPE())
    cut = Qwen2Tokenizer(vocab={symbol: i for i, symbol in enumerate(byte_symbols())}, merges=[], unk_token=None)
    learner.pre_tokenizer = cut.backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    learnt = learner.get_vocab()
    # Learnt symbols in their order, after the bytes: the same texts give the same ids.
    words = sorted((token for token in learnt if token not in set(byte_symbols())), key=learnt.get)
    vocabulary = {token: index for index, token in enumerate([*byte_symbols(), *words])}
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    return vocabulary, merges


def build_model(tokenizer: Qwen2Tokenizer, seed: int) -> Qwen2_5_VLForConditionalGeneration:
    """About 1.3 million parameters, drawn from `seed`; head_dim is 32, the smallest of vLLM's CPU attention."""
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in VISION_TOKENS.items()}
    width = 160
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 3 * width,
            "num_hidden_layers": 3,
            "num_attention_heads": width // 32,
            "num_key_value_heads": width // 32,
            "max_position_embeddings": 512,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 96,
            "intermediate_size": 192,
            "num_heads": 3,
            "out_hidden_size": width,
            # The study's pictures are seen whole in every block.
            "fullatt_block_indexes": [0, 1],
            "window_size": 112,
        },
        tie_word_embeddings=False,
        **ids,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2_5_VLForConditionalGeneration(config)
