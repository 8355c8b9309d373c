"""The parquet file with the prompts, as verl's ``RLHFDataset`` reads it (verl 0.9.1)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recap_verl.self_replay.errors import SelfReplayError

PROMPT = "prompt"
DISTRIBUTION = "ntp_distribution"


@dataclass(frozen=True)
class PromptFile:
    """A file that was found in order: `rows` prompts, none of them empty."""

    path: Path
    schema: pa.Schema
    rows: int
    sha256: str


def open_prompts(path: Path) -> PromptFile:
    """Check the file's form and every prompt in it.

    Raises SelfReplayError: no such file, not parquet, no column ``prompt`` of chat turns, no rows, an empty prompt.
    """
    if not path.is_file():
        raise SelfReplayError(f"there is no file {path}: name a parquet file with a column {PROMPT!r}")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SelfReplayError(f"{path} cannot be read as parquet ({error})") from error
    schema, rows = file.schema_arrow, file.metadata.num_rows
    if PROMPT not in schema.names:
        raise SelfReplayError(f"{path} has no column {PROMPT!r}, only {', '.join(schema.names)}")
    if not _is_chat(schema.field(PROMPT).type):
        raise SelfReplayError(f"{path}: column {PROMPT!r} must be a list of {{role, content}}, but is of another type")
    if DISTRIBUTION in schema.names:
        raise SelfReplayError(f"{path} has a column {DISTRIBUTION!r}: it holds answers already, give the prompts' file")
    if not rows:
        raise SelfReplayError(f"{path} has no rows")
    row = 0
    for batch in file.iter_batches(columns=[PROMPT]):
        for prompt in batch.column(0).to_pylist():
            if not any(_says_something(turn["content"]) for turn in prompt or []):
                raise SelfReplayError(f"{path}: the prompt in row {row} is empty")
            row += 1
    with open(path, "rb") as raw:
        digest = hashlib.file_digest(raw, "sha256").hexdigest()
    return PromptFile(path, schema, rows, digest)


def last_user_text(prompt: list[dict[str, Any]]) -> str | None:
    """The last user turn of a prompt; None where it is no plain text."""
    texts = [turn["content"] for turn in prompt if turn["role"] == "user"]
    return texts[-1] if texts and isinstance(texts[-1], str) else None


def _says_something(content: str | list | None) -> bool:
    return bool(content.strip() if isinstance(content, str) else content)


def _is_chat(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_list or not pa.types.is_struct(kind.value_type):
        return False
    return {"role", "content"} <= {field.name for field in kind.value_type}
