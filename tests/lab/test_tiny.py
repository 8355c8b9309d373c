"""The tiny model: loads, speaks ChatML, decodes whatever it samples, is the same every time."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from recap_verl.lab.tiny import build_model, build_tokenizer, main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("lab") / "tiny"
    main(path)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


def test_every_text_survives_and_a_newline_is_one_token(tokenizer):
    text = "Größe 日本 don't\t<answer>1 2</answer>\r\n\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) == len(text.encode())
    assert len(tokenizer.encode("\n")) == 1


def test_chat_template_marks_turns_with_one_token_each(tokenizer):
    messages = [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == "<|im_start|>system\nbe<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids == tokenizer.encode(text)
    assert ids.count(tokenizer.eos_token_id) == 2
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_the_model_loads_and_fits_vllm(folder, tokenizer):
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.hidden_size // model.config.num_attention_heads == 32
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert 0.2e6 < model.num_parameters() < 0.5e6
    sampled = model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=5, do_sample=False)
    assert sampled.shape[0] == 1 and sampled.shape[1] > 3


def test_weights_follow_the_seed_and_leave_the_global_one_alone():
    def weights(seed):
        return build_model(build_tokenizer(), seed).model.embed_tokens.weight

    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first = weights(0)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1))
