"""Rows of the text study: sums to reason about, word tasks to replay, and probes that no arm replays."""

import itertools
import random
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from data_prep import text_tasks
from data_prep.rows import make_row, split_of
from data_prep.writer import atomic_file, write_parquet
from recap_verl.lab.text.instructions import instructions

TRAIN_ROWS, VAL_ROWS, SELF_ROWS = 400, 40, 60
TERMS = {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2}
SUM_INSTRUCTION = "Work out the result. Reply as <think>...</think><answer>...</answer>"
SUM_EXAMPLES = (("3 + 14 =", "3 + 14 = 17", "17"), ("20 - 6 + 5 =", "20 - 6 = 14, 14 + 5 = 19", "19"))
# The parts of Python's own documentation that are prose.
_PROSE = re.compile(r"(?:[A-Z][^\n]{40,}\n)(?:[^\n ][^\n]+\n){2,6}")

DOMAINS = {
    "sums": {"role": "target", "data_sources": ["lab/sums"], "objectives": {"accuracy": {}, "think_format": {}}},
    "last": {"data_sources": ["text/last"], "objectives": {"exact_match": {}, "answer_format": {}}},
    "upper": {
        "kind": "sft",
        "data_sources": ["text/upper"],
        "template": "<answer>{}</answer>",
        "objectives": {"exact_match": {}},
    },
    "first": {"role": "probe", "data_sources": ["text/first"], "objectives": {"exact_match": {}, "answer_format": {}}},
    "capitals": {
        "role": "probe",
        "data_sources": ["text/capitals"],
        "objectives": {"exact_match": {}, "answer_format": {}},
    },
    "instructions": {
        "role": "probe",
        "data_sources": ["lab/instructions"],
        "objectives": {"follows": {"fn": "recap_verl.lab.text.instructions:follows"}},
    },
    "prose": {"role": "probe", "kind": "sft", "data_sources": ["lab/prose"]},
}


def sums(split: str, seed: int, count: int) -> Iterator[dict]:
    """Sums of the reasoning-gym package; a sum belongs to one split, whatever the seed."""
    # Only this study asks for the package.
    import reasoning_gym

    entries = reasoning_gym.create_dataset("chain_sum", seed=seed, size=20 * count, **TERMS)
    expressions = dict.fromkeys(entry["metadata"]["expression"] for entry in entries)
    answers = {entry["metadata"]["expression"]: entry["answer"] for entry in entries}
    chosen = (expression for expression in expressions if split_of(expression) == split)
    for index, expression in enumerate(itertools.islice(chosen, count)):
        turns = [{"role": "system", "content": SUM_INSTRUCTION}]
        for asked, thought, answer in SUM_EXAMPLES:
            turns.append({"role": "user", "content": asked})
            turns.append({"role": "assistant", "content": f"<think>{thought}</think><answer>{answer}</answer>"})
        turns.append({"role": "user", "content": f"{expression} ="})
        yield _row("lab/sums", turns, answers[expression], expression, split, index)


def instruction_rows(split: str, count: int) -> Iterator[dict]:
    """Requests with a rule that the response has to keep."""
    chosen = (pair for pair in instructions() if split_of(pair[0]) == split)
    for index, (request, rule) in enumerate(itertools.islice(chosen, count)):
        yield _row("lab/instructions", [{"role": "user", "content": request}], rule, request, split, index)


def prose(count: int) -> Iterator[dict]:
    """Paragraphs of the Python documentation that every installation carries."""
    from pydoc_data.topics import topics

    paragraphs = [" ".join(found.split()) for topic in sorted(topics) for found in _PROSE.findall(topics[topic])]
    random.Random(0).shuffle(paragraphs)
    for index, paragraph in enumerate(paragraphs[:count]):
        turns = [{"role": "user", "content": "Write a paragraph of the Python documentation."}]
        yield _row("lab/prose", turns, paragraph[:400], paragraph[:60], "val", index)


def _row(source: str, turns: list[dict], answer, question: str, split: str, index: int) -> dict:
    return make_row(
        data_source=source,
        prompt=turns,
        ability=source.removeprefix("lab/"),
        answer=answer,
        question=question,
        split=split,
        index=index,
    )


def train_rows(seed: int) -> Iterator[dict]:
    yield from sums("train", seed, TRAIN_ROWS)
    yield from text_tasks.rows("train", ("last", "upper"), seed, TRAIN_ROWS)


def val_rows(seed: int) -> Iterator[dict]:
    yield from sums("val", seed, VAL_ROWS)
    yield from text_tasks.rows("val", ("last", "upper", "first", "capitals"), seed, VAL_ROWS)
    yield from instruction_rows("val", VAL_ROWS)
    yield from prose(VAL_ROWS)


def self_rows(seed: int) -> Iterator[dict]:
    """Other questions than the validation's of the kinds that probes ask, for the base to answer."""
    yield from text_tasks.rows("train", ("first", "capitals"), seed, SELF_ROWS)
    yield from instruction_rows("train", SELF_ROWS)


FILES = {"train": train_rows, "val": val_rows, "self_prompts": self_rows}


def write(out: Path, seed: int = 0) -> None:
    """Write the files that are not there yet; the same seed gives the same rows."""
    for name, rows in FILES.items():
        path = out / f"{name}.parquet"
        if not path.exists():
            print(f"{path}: {write_parquet(rows(seed), path)} rows")
    with atomic_file(out / "domains.yaml") as file:
        file.write(yaml.safe_dump(DOMAINS, sort_keys=False).encode())
