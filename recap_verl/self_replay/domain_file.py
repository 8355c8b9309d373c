"""Answers and their prompts to the parquet file of an sft domain."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recap_verl.self_replay.errors import SelfReplayError
from recap_verl.self_replay.filters import sift
from recap_verl.self_replay.parts import TOKENS, Answer, write_atomically
from recap_verl.self_replay.prompt_file import DISTRIBUTION, PROMPT, PromptFile, last_user_text
from recap_verl.self_replay.settings import Settings

PROVENANCE = b"recap_verl.self_replay"
SELF = "self"

# Of data_prep's types: files with and without it can then be concatenated.
EXTRA_INFO = pa.struct(
    {
        "split": pa.string(),
        "index": pa.int64(),
        "question": pa.string(),
        "answer": pa.string(),
        "metadata": pa.string(),
    }
)
_DISTRIBUTION = pa.struct(
    {
        "token_ids": TOKENS,
        "topk_ids": pa.list_(TOKENS),
        "topk_log_probs": pa.list_(pa.list_(pa.float32())),
    }
)
# Arrow counts a column's bytes in 32 bits: a few hundred rows with images stay far below.
_ROWS_AT_ONCE = 256


@dataclass
class Summary:
    """What became of the prompts.

    Attributes:
        prompts: rows of the prompt file.
        kept: rows of the domain file.
        tokens: of the kept answers, with the tokens that ended them.
        dropped: reason -> answers (or prompts that were not asked).
        data_sources: of the kept rows, -> rows.
    """

    prompts: int
    kept: int = 0
    tokens: int = 0
    dropped: Counter = field(default_factory=Counter)
    data_sources: Counter = field(default_factory=Counter)


def read_provenance(path: Path | str) -> dict[str, Any] | None:
    """The settings that a file of self-replay was made with; None for any other parquet file."""
    stored = (pq.read_schema(path).metadata or {}).get(PROVENANCE)
    return None if stored is None else json.loads(stored)


def dropped_file(out: Path) -> Path:
    return out.with_suffix(".dropped.jsonl")


def domains_file(out: Path) -> Path:
    return out.with_suffix(".domains.yaml")


def domains_snippet(data_sources: Iterable[str]) -> str:
    """The entry of ``recap.domains``; JSON's quotes are YAML's, whatever the names hold."""
    names = json.dumps(sorted(data_sources), ensure_ascii=False)
    return f"{SELF}: {{role: general, kind: sft, source: self, data_sources: {names}}}\n"


def write_domain(prompts: PromptFile, answers: Iterator[Answer], settings: Settings, out: Path) -> Summary:
    """Write `out`, its list of dropped rows and its config snippet; `out` comes last and appears at once.

    Args:
        answers: at least one for each row of `prompts`, in their order.

    Raises SelfReplayError when no answer is left; the list of dropped rows is then all that is written.
    """
    summary = Summary(prompts.rows)
    dropped: list[dict] = []

    def write(path: Path) -> None:
        schema = domain_schema(prompts.schema, settings)
        with pq.ParquetWriter(path, schema) as writer:
            for table, kept in _kept_by_batch(prompts, answers, settings, summary, dropped):
                for start in range(0, len(kept), _ROWS_AT_ONCE):
                    rows = domain_rows(table, kept[start : start + _ROWS_AT_ONCE], schema)
                    writer.write_table(rows)
        lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in dropped)
        write_atomically(dropped_file(out), lambda path: path.write_text(lines, encoding="utf-8"))
        if not summary.kept:
            reasons = ", ".join(f"{reason}: {count}" for reason, count in summary.dropped.most_common())
            raise SelfReplayError(
                f"no answer is left ({reasons}; listed in {dropped_file(out)}): "
                f"run again with other filters, which asks the model nothing twice"
            )
        snippet = domains_snippet(summary.data_sources)
        write_atomically(domains_file(out), lambda path: path.write_text(snippet, encoding="utf-8"))

    write_atomically(out, write)
    return summary


@dataclass(frozen=True)
class KeptAnswer:
    """An answer for the file: the position of its prompt in a batch, and the name its row gets."""

    position: int
    answer: Answer
    data_source: str


def _kept_by_batch(
    prompts: PromptFile, answers: Iterator[Answer], settings: Settings, summary: Summary, dropped: list[dict]
) -> Iterator[tuple[pa.Table, list[KeptAnswer]]]:
    """Each batch of prompts with the answers kept; counts and lists the others."""
    by_row = itertools.groupby(answers, key=lambda answer: answer.row)
    numbers = itertools.count()
    for batch in pq.ParquetFile(prompts.path).iter_batches(_ROWS_AT_ONCE):
        table = pa.Table.from_batches([batch])
        originals = _data_sources(table)
        kept = []
        for position, original in enumerate(originals):
            row, given = next(by_row)
            if row != next(numbers):
                raise RuntimeError(f"the answers to row {row} stand where those to another row belong")
            for answer, reason in sift(given, settings.filters):
                if reason is not None:
                    summary.dropped[reason] += 1
                    entry = {"index": row, "sample": answer.sample, "data_source": original, "reason": reason}
                    dropped.append(entry)
                    continue
                name = settings.data_source or (SELF if original is None else f"{SELF}/{original}")
                kept.append(KeptAnswer(position, answer, name))
                summary.kept += 1
                summary.tokens += len(answer.token_ids)
                summary.data_sources[name] += 1
        yield table, kept


def _data_sources(table: pa.Table) -> list[Any]:
    if "data_source" not in table.column_names:
        return [None] * len(table)
    return table.column("data_source").to_pylist()


def domain_schema(prompts: pa.Schema, settings: Settings) -> pa.Schema:
    """The prompts' columns with their types, the columns of verl's contract that they lack, and the provenance."""
    schema = _with(prompts, "data_source", _text_type(prompts, "data_source"))
    schema = _with(schema, "reward_model", _reward_model_type(prompts))
    if "extra_info" not in schema.names:
        schema = _with(schema, "extra_info", EXTRA_INFO)
    if settings.generation.top_k:
        schema = _with(schema, DISTRIBUTION, _DISTRIBUTION)
    provenance = json.dumps(settings.provenance(), sort_keys=True, ensure_ascii=False).encode()
    return schema.with_metadata({**(prompts.metadata or {}), PROVENANCE: provenance})


def domain_rows(prompts: pa.Table, kept: Sequence[KeptAnswer], schema: pa.Schema) -> pa.Table:
    """The rows of the file for `kept`, whose positions are those of `prompts`."""
    rows = prompts.take(pa.array([one.position for one in kept], pa.int64()))
    columns = {name: rows.column(name) for name in rows.column_names}
    columns["data_source"] = [one.data_source for one in kept]
    columns["reward_model"] = _reward_models(rows, [one.answer.text for one in kept])
    if "extra_info" not in columns:
        columns["extra_info"] = _extra_infos(rows, [one.answer for one in kept])
    if DISTRIBUTION in schema.names:
        columns[DISTRIBUTION] = [
            {name: getattr(one.answer, name) for name in ("token_ids", "topk_ids", "topk_log_probs")} for one in kept
        ]
    arrays = [_array(columns[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _reward_models(rows: pa.Table, texts: Sequence[str]) -> list[dict]:
    """What the prompts' structs hold besides style and ground truth stays."""
    given = rows.column("reward_model").to_pylist() if "reward_model" in rows.column_names else [None] * len(texts)
    truths = (json.dumps(text, ensure_ascii=False) for text in texts)
    return [{**(old or {}), "style": "rule", "ground_truth": truth} for old, truth in zip(given, truths, strict=True)]


def _extra_infos(rows: pa.Table, answers: Sequence[Answer]) -> list[dict]:
    return [
        {
            "split": "train",
            "index": answer.row,
            "question": last_user_text(prompt),
            "answer": answer.text,
            "metadata": None,
        }
        for prompt, answer in zip(rows.column(PROMPT).to_pylist(), answers, strict=True)
    ]


def _array(values: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    return values if isinstance(values, pa.ChunkedArray) else pa.array(values, kind)


def _with(schema: pa.Schema, name: str, kind: pa.DataType) -> pa.Schema:
    """`schema` with the field `name` of type `kind`, in its place if it is there."""
    if name in schema.names:
        index = schema.get_field_index(name)
        return schema.set(index, schema.field(index).with_type(kind))
    return schema.append(pa.field(name, kind))


def _reward_model_type(prompts: pa.Schema) -> pa.StructType:
    """The prompts' own struct, its style and ground truth text."""
    struct = prompts.field("reward_model").type if "reward_model" in prompts.names else pa.struct([])
    if not pa.types.is_struct(struct):
        raise SelfReplayError(f"column 'reward_model' must be a struct with ground_truth, but is {struct}")
    fields = pa.schema(list(struct))
    for name in ("style", "ground_truth"):
        fields = _with(fields, name, _text_type(fields, name))
    return pa.struct(list(fields))


def _text_type(schema: pa.Schema, name: str) -> pa.DataType:
    """The field's own type where it holds text; plain text otherwise."""
    kind = schema.field(name).type if name in schema.names else pa.string()
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)
    return kind if is_text else pa.string()
