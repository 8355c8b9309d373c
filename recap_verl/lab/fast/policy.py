"""What the engine asks of a model."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Policy(Protocol):
    """A model that answers rows of the parquet contract."""

    model: torch.nn.Module

    def sample(
        self, rows: Sequence[dict], temperature: float, generator: torch.Generator, max_new_tokens: int
    ) -> list[Tensor]:
        """A response to each row, (length,) token ids with the one that ends the turn; greedy at temperature 0."""

    def log_probs(self, rows: Sequence[dict], responses: Sequence[Tensor]) -> Tensor:
        """Log-probabilities at temperature 1 of the responses' tokens, (rows, longest response), 0 behind each end;
        with gradient."""

    def decode(self, response: Tensor) -> str:
        """The text that objectives judge: without special tokens."""

    def encode(self, answer: str) -> Tensor:
        """(length,) token ids of a reference answer with the one that ends the turn."""
