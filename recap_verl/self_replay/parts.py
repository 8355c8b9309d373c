"""Answers on disk while a run goes on: one file per batch of prompts, each complete or absent."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recap_verl.self_replay.errors import SelfReplayError
from recap_verl.self_replay.settings import Generation

TOKENS = pa.list_(pa.int32())
_SCHEMA = pa.schema(
    {
        "row": pa.int64(),
        "sample": pa.int32(),
        "text": pa.string(),
        "token_ids": TOKENS,
        "ended": pa.bool_(),
        "topk_ids": pa.list_(TOKENS),
        "topk_log_probs": pa.list_(pa.list_(pa.float32())),
    }
)


@dataclass(frozen=True)
class Answer:
    """One answer to one prompt, as the model gave it.

    Attributes:
        row: of the prompt in its file.
        sample: 0 to n - 1.
        token_ids: with the token that ended the turn; None when the prompt was too long to be asked.
        text: what `spoken` decodes to, special tokens included.
        ended: whether the model ended its turn; else it was cut.
        topk_ids, topk_log_probs: for each of `token_ids` the most likely tokens, most likely first, and their
            log-probabilities at temperature 1; None unless asked for.
    """

    row: int
    sample: int = 0
    text: str | None = None
    token_ids: list[int] | None = None
    ended: bool = False
    topk_ids: list[list[int]] | None = None
    topk_log_probs: list[list[float]] | None = None

    @property
    def spoken(self) -> list[int]:
        """The tokens without the one that ended the turn."""
        return self.token_ids[:-1] if self.ended else self.token_ids


class Parts:
    """The folder ``FILE.parquet.parts``: `settings.json`, then a file for each `batch_size` rows of prompts, in order.

    Raises SelfReplayError: the folder cannot be made or written, or holds answers of other settings.
    """

    def __init__(self, folder: Path, generation: Generation, rows: int):
        self.folder = folder
        self._batch_size = generation.batch_size
        self._rows = rows
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._open(json.loads(json.dumps(asdict(generation))))
        except OSError as error:
            raise SelfReplayError(f"cannot write to {folder.parent} ({error.strerror}): name another --out") from error

    def _open(self, asked: dict) -> None:
        settings = self.folder / "settings.json"
        if not any(self.folder.glob("part-*")):
            # No answer yet, so none that could be mixed: an earlier run may have failed to start.
            write_atomically(settings, lambda path: path.write_text(json.dumps(asked, indent=1)))
            return
        if not settings.exists():
            raise SelfReplayError(f"{self.folder} has lost its settings.json: remove it or name another --out")
        found = json.loads(settings.read_text())
        differing = [key for key in {**found, **asked} if found.get(key) != asked.get(key)]
        if differing:
            raise SelfReplayError(
                f"{self.folder} holds answers made with other settings ({', '.join(sorted(differing))}): "
                f"remove the folder or name another --out"
            )

    def __len__(self) -> int:
        """Complete parts, without a gap from the first."""
        count = 0
        while self._part(count).exists():
            count += 1
        return count

    @property
    def answered_rows(self) -> int:
        return min(len(self) * self._batch_size, self._rows)

    def missing(self) -> Iterator[range]:
        """The rows of each batch that is still to be asked, in order."""
        for start in range(self.answered_rows, self._rows, self._batch_size):
            yield range(start, min(start + self._batch_size, self._rows))

    def write(self, rows: range, answers: Sequence[Answer]) -> None:
        """Write the part of the batch `rows` (see `missing`); `answers` hold at least one for each of them."""
        table = pa.Table.from_pylist([vars(answer) for answer in answers], schema=_SCHEMA)
        write_atomically(self._part(rows.start // self._batch_size), lambda path: pq.write_table(table, path))

    def answers(self) -> Iterator[Answer]:
        """All answers in the order of their prompts; one part is in memory at a time."""
        for number in range(len(self)):
            for record in pq.read_table(self._part(number)).to_pylist():
                yield Answer(**record)

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file that then takes the name `path`: whatever interrupts it, `path` is whole or as before.

    The temporary name is always the same, so what a killed run left is overwritten, not added to.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
