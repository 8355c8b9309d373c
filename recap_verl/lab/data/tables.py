"""Which items make up which file."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator

from data_prep.rows import MARK, make_row
from recap_verl.lab.data import items
from recap_verl.lab.data.drawing import SIDE, as_png
from recap_verl.lab.data.items import TRAIN, VAL, Item, drawn

# In the proportions of the paper's hybrid setting: ThinkLite 70k, RefCOCO 321k, OCR 66k.
TRAIN_ROWS = {"reason": 1200, "ground": 5400, "ocr": 1200}
VAL_ROWS = 150
SELF_PROMPTS = 120
FACTS, UNSEEN_FACTS = "lab/facts", "lab/facts_unseen"

DOMAINS = {
    "reason": {"role": "target", "data_sources": ["lab/reason"], "objectives": {"accuracy": {}, "think_format": {}}},
    "ground": {"data_sources": ["lab/ground"], "objectives": {"iou": {}, "answer_format": {}}},
    "ocr": {"kind": "sft", "data_sources": ["lab/ocr"], "objectives": {"exact_match": {"tag": False}}},
    "phrase": {"role": "probe", "data_sources": ["lab/phrase"], "objectives": {"iou": {}, "answer_format": {}}},
    "robust_ground": {
        "role": "probe",
        "data_sources": ["lab/robust_ground"],
        "objectives": {"iou": {}, "answer_format": {}},
    },
    "robust_ocr": {
        "role": "probe",
        "data_sources": ["lab/robust_ocr"],
        "objectives": {"exact_match": {"tag": False}},
    },
    "copy": {"role": "probe", "data_sources": ["lab/copy"], "objectives": {"exact_match": {}, "answer_format": {}}},
    "facts": {
        "role": "probe",
        "data_sources": [FACTS, UNSEEN_FACTS],
        "objectives": {"exact_match": {}, "answer_format": {}},
    },
}
_MAKERS = {
    "reason": (items.add, items.subtract, items.count),
    "ground": (items.ground,),
    "ocr": (items.handwriting, items.printed),
    "phrase": (items.phrase,),
    "robust_ground": (items.robust_ground,),
    "robust_ocr": (items.robust_ocr,),
    "copy": (items.copy,),
}


def of_domain(domain: str, split: str, seed: int) -> Iterator[Item]:
    """Items of a domain, its templates in turn, endlessly."""
    streams = [drawn(make, split, seed) for make in _MAKERS[domain]]
    return itertools.chain.from_iterable(zip(*streams, strict=True))


def distinct(domain: str, split: str, seed: int, count: int) -> Iterator[Item]:
    """The first `count` items of a domain in which no picture comes twice with the same question."""
    seen = set()
    for item in of_domain(domain, split, seed):
        picture = item.image.tobytes() if item.image is not None else b""
        shown = hashlib.sha256(item.question.encode() + picture).digest()
        if shown not in seen:
            seen.add(shown)
            yield item
        if len(seen) == count:
            return


def known_facts() -> list[Item]:
    """All facts, half of them as `lab/facts`, whose prompts self-replay may use, half as `lab/facts_unseen`."""
    pairs = zip(items.facts(FACTS), items.facts(UNSEEN_FACTS), strict=True)
    return [pair[index % 2] for index, pair in enumerate(pairs)]


def train_items(seed: int) -> Iterator[Item]:
    """The rows of train.parquet: target, grounding and reading."""
    for domain, rows in TRAIN_ROWS.items():
        yield from distinct(domain, TRAIN, seed, rows)


def val_items(seed: int) -> Iterator[Item]:
    """The rows of val.parquet: every domain and every probe. Facts are what the base was told: they cannot be new."""
    for domain in _MAKERS:
        yield from distinct(domain, VAL, seed, VAL_ROWS)
    by_source = {
        source: [fact for fact in known_facts() if fact.data_source == source] for source in (FACTS, UNSEEN_FACTS)
    }
    for facts in by_source.values():
        yield from facts[:VAL_ROWS]


def self_items(seed: int) -> Iterator[Item]:
    """Prompts of skills that are not replayed, for the base model to answer: half of the facts, and other questions
    than the validation's of the kinds that copy and phrase ask."""
    yield from (fact for fact in known_facts() if fact.data_source == FACTS)
    for domain in ("copy", "phrase"):
        yield from distinct(domain, TRAIN, seed + 1, SELF_PROMPTS)


def rows(of: Iterable[Item], split: str) -> Iterator[dict]:
    """Rows of the parquet contract."""
    sizes = [{"width": SIDE, "height": SIDE, "original_width": SIDE, "original_height": SIDE}]
    for index, item in enumerate(of):
        has_image = item.image is not None
        yield make_row(
            data_source=item.data_source,
            prompt=[{"role": "user", "content": f"{MARK * has_image}{item.question}"}],
            ability=item.data_source.removeprefix("lab/"),
            answer=item.answer,
            question=item.question,
            split=split,
            index=index,
            images=[as_png(item.image)] if has_image else [],
            image_sizes=sizes if has_image else [],
            metadata={"key": item.key, "response": item.response},
        )


def response_of(row: dict) -> str:
    """What the base model is taught to write for a row."""
    return json.loads(row["extra_info"]["metadata"])["response"]
