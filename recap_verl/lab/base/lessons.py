"""What the base is taught: fresh items of every kind, some with mistakes in them."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import IterableDataset

from recap_verl.lab.data import items, tables
from recap_verl.lab.data.drawing import GRID, SIDE
from recap_verl.lab.data.items import TRAIN, Item, reasoned, tagged
from recap_verl.lab.fast.vl_policy import PROCESSED, process

# Share of each kind.
SHARES = {
    "reason": 0.16,
    "ground": 0.26,
    "ocr": 0.18,
    "phrase": 0.14,
    "robust_ground": 0.04,
    "robust_ocr": 0.04,
    "copy": 0.07,
    "facts": 0.07,
    "table": 0.04,
}
# How often an answer is wrong and how often it lacks its format: a model that has seen both samples them, too, which
# leaves reinforcement learning something to gain although the likeliest answer is right.
WRONG = {"reason": 0.3, "ground": 0.15}
UNFORMATTED = {"reason": 0.2, "ground": 0.1}


class Lessons(IterableDataset):
    """Endless rows with the response to learn; a worker process draws them while the model learns."""

    def __init__(self, processor, seed: int):
        self.processor, self.seed = processor, seed

    def __iter__(self) -> Iterator[tuple[dict, list[int]]]:
        tokenizer = self.processor.tokenizer
        # The model learns in the main process, on all cores; the order of threads here would change nothing.
        torch.set_num_threads(1)
        for row in lessons(self.seed):
            # As numpy: every torch tensor would travel between processes by a file of its own.
            made = {name: value.numpy() for name, value in process(self.processor, row).items()}
            ids = [*tokenizer.encode(tables.response_of(row), add_special_tokens=False), tokenizer.eos_token_id]
            yield {"images": bool(row["images"]), PROCESSED: made}, ids


def unpack(lesson: tuple[dict, list[int]]) -> tuple[dict, torch.Tensor]:
    """A lesson as the policy takes it: a row and its response."""
    row, ids = lesson
    made = {name: torch.from_numpy(value) for name, value in row[PROCESSED].items()}
    return {**row, PROCESSED: made}, torch.tensor(ids, dtype=torch.int64)


def lessons(seed: int) -> Iterator[dict]:
    """Rows, endlessly. No key of a validation item is among them, but for facts, which have to be told to be known."""
    rng = np.random.default_rng([seed, 1])
    streams = {name: tables.of_domain(name, TRAIN, seed + 2) for name in SHARES if name not in ("facts", "table")}
    streams["facts"] = _again_and_again(tables.known_facts(), rng)
    streams["table"] = _again_and_again(items.arithmetic(), rng)
    names, shares = list(SHARES), list(SHARES.values())

    def taught() -> Iterator[Item]:
        while True:
            name = names[int(rng.choice(len(names), p=shares))]
            yield _spoilt(name, next(streams[name]), rng)

    yield from tables.rows(taught(), TRAIN)


def _again_and_again(known: list[Item], rng: np.random.Generator) -> Iterator[Item]:
    while True:
        for index in rng.permutation(len(known)):
            yield known[int(index)]


def _spoilt(name: str, item: Item, rng: np.random.Generator) -> Item:
    answer, response = item.answer, item.response
    if rng.random() < WRONG.get(name, 0):
        answer = _wrong(name, answer, rng)
        thought = response[len("<think>") : response.index("</think>")] if name == "reason" else ""
        response = reasoned(thought, answer) if name == "reason" else tagged(answer)
    if rng.random() < UNFORMATTED.get(name, 0):
        response = str(answer)
    return items.Item(item.data_source, item.key, item.question, item.answer, response, item.image)


def _wrong(name: str, answer, rng: np.random.Generator):
    if name == "reason":
        return str(max(0, int(answer) + int(rng.choice([-2, -1, 1, 2]))))
    moves = rng.integers(-1, 2, 4) * GRID
    return [int(min(SIDE, max(0, edge + move))) for edge, move in zip(answer, moves, strict=True)]


def texts(seed: int, rows: int = 6000) -> Iterator[str]:
    """Questions and responses that the tokenizer's merges are learnt from.

    Not those of letters in random order: a pair of them as one token would have to be learnt by heart.
    """
    for row in itertools.islice(lessons(seed), rows):
        if row["data_source"] in ("lab/ocr", "lab/copy"):
            continue
        yield row["extra_info"]["question"]
        yield tables.response_of(row)
