"""The kinds of questions: a picture or none, a prompt, an answer, and what the base model is taught to write.

Every item has a key that says what is asked of what. The key alone decides the split, so no question of one split is
ever in another, however many are drawn.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from recap_verl.lab.data import drawing
from recap_verl.lab.data.drawing import COLOURS, SHAPES, Shape

TRAIN, VAL = "train", "val"
THINK = "Think, then answer."
DIGITS = "0123456789"
# Easily told apart at 18 pixels.
LETTERS = "ACEHKLNPTUXY"
FACTS = 240


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        data_source: of its rows, lab/<name>.
        key: what is asked of what; decides the split.
        question: the prompt's text without the image mark.
        answer: what counts as right.
        response: a whole response that the base model is taught.
        image: None for questions of text alone.
    """

    data_source: str
    key: str
    question: str
    answer: Any
    response: str
    image: Image.Image | None = None


def split_of(key: str) -> str:
    """One key in five belongs to validation."""
    return VAL if hashlib.sha256(key.encode()).digest()[0] % 5 == 0 else TRAIN


def tagged(answer: Any) -> str:
    return f"<answer>{answer}</answer>"


def reasoned(thought: str, answer: Any) -> str:
    return f"<think>{thought}</think>{tagged(answer)}"


def drawn(make: Callable[[np.random.Generator, str], Item], split: str, seed: int) -> Iterator[Item]:
    """Items of a split, endlessly."""
    # A string is no seed to numpy; its bytes are.
    rng = np.random.default_rng([seed, *f"{make.__name__} {split}".encode()])
    while True:
        item = make(rng, split)
        if split_of(item.key) == split:
            yield item


# ------------------------------------------------------------------ (a) target: visual reasoning


def add(rng: np.random.Generator, split: str) -> Item:
    """The sum of two handwritten digits."""
    a, b = (int(rng.integers(10)) for _ in range(2))
    return Item(
        "lab/reason",
        f"add {a} {b}",
        f"Sum of the digits? {THINK}",
        str(a + b),
        reasoned(f"{a} + {b} = {a + b}", a + b),
        drawing.draw_digits(f"{a}{b}", split, rng),
    )


def subtract(rng: np.random.Generator, split: str) -> Item:
    """The difference of two handwritten digits."""
    a, b = (int(rng.integers(10)) for _ in range(2))
    larger, smaller = max(a, b), min(a, b)
    return Item(
        "lab/reason",
        f"subtract {a} {b}",
        f"Larger digit minus smaller? {THINK}",
        str(larger - smaller),
        reasoned(f"{larger} - {smaller} = {larger - smaller}", larger - smaller),
        drawing.draw_digits(f"{a}{b}", split, rng),
    )


def count(rng: np.random.Generator, split: str) -> Item:
    """How many shapes have a colour."""
    colour, other = (str(name) for name in rng.choice(list(COLOURS), 2, replace=False))
    wanted, others = int(rng.integers(1, 4)), int(rng.integers(0, 3))
    colours = [colour] * wanted + [other] * others
    boxes = drawing.place_shapes(rng, len(colours), (14, 21))
    shapes = [Shape(str(rng.choice(SHAPES)), c, box) for c, box in zip(colours, boxes, strict=True)]
    thought = ", ".join([colour] * wanted)
    return Item(
        "lab/reason",
        f"count {colour} {wanted} {other} {others}",
        f"How many {colour} shapes? {THINK}",
        str(wanted),
        reasoned(thought, wanted),
        drawing.draw_shapes(shapes),
    )


def table(symbol: str, a: int, b: int) -> Item:
    """A line of the addition (+) or subtraction (-) table as text. Only the base is taught it: a picture whose digits
    were never shown together can then be reasoned about, not merely be unknown."""
    result = a + b if symbol == "+" else a - b
    line = f"{a} {symbol} {b}"
    return Item("lab/table", f"table {line}", f"{line}? {THINK}", str(result), reasoned(f"{line} = {result}", result))


def arithmetic() -> list[Item]:
    """All sums of two digits and all differences that are not negative."""
    pairs = list(itertools.product(range(10), repeat=2))
    return [table("+", a, b) for a, b in pairs] + [table("-", a, b) for a, b in pairs if a >= b]


# ------------------------------------------------------------------------- (b) grounding


def _scene(rng: np.random.Generator, count: int) -> list[Shape]:
    """Shapes of which no two share colour and shape."""
    kinds = list(itertools.product(SHAPES, COLOURS))
    chosen = rng.choice(len(kinds), count, replace=False)
    boxes = drawing.place_shapes(rng, count)
    return [Shape(*kinds[kind], box) for kind, box in zip(chosen, boxes, strict=True)]


def ground(rng: np.random.Generator, split: str, source: str = "lab/ground") -> Item:
    """The box of a named shape."""
    shapes = _scene(rng, int(rng.integers(1, 4)))
    wanted = shapes[0]
    question = f"Box of the {wanted.name}?"
    return _box_item(source, f"ground {wanted.name} {wanted.box}", question, wanted, shapes)


def _box_item(source: str, key: str, question: str, wanted: Shape, shapes: list[Shape]) -> Item:
    box = list(wanted.box)
    return Item(source, key, question, box, tagged(box), drawing.draw_shapes(shapes))


# ------------------------------------------------------------------------------- (c) ocr


def handwriting(rng: np.random.Generator, split: str, source: str = "lab/ocr") -> Item:
    """Two or three handwritten digits."""
    text = "".join(rng.choice(list(DIGITS), int(rng.integers(2, 4))))
    image = drawing.draw_digits(text, split, rng)
    return Item(source, f"handwriting {text}", "Read the digits.", text, text, image)


def printed(rng: np.random.Generator, split: str, source: str = "lab/ocr") -> Item:
    """Two or three printed letters, letter-spaced, in one of several fonts and sizes."""
    text = "".join(rng.choice(list(LETTERS), int(rng.integers(2, 4))))
    font, size = str(rng.choice(drawing.FONTS)), int(rng.choice(drawing.FONT_SIZES))
    return Item(source, f"print {text}", "Read the text.", text, text, drawing.draw_letters(text, font, size, rng))


# ---------------------------------------------------- (d) probes, never replayed by any arm


def phrase(rng: np.random.Generator, split: str) -> Item:
    """Grounding by a phrase that has to be thought through (the part LISA plays in the paper)."""
    kind = int(rng.integers(3))
    while True:
        shapes = _scene(rng, 2)
        a, b = shapes
        if kind == 0 and a.colour != b.colour:
            wanted, text = b, f"the shape that is not {a.colour}"
        elif kind == 1 and a.size != b.size:
            wanted, text = max(shapes, key=lambda shape: shape.size), "the larger shape"
        elif kind == 2 and a.box[0] != b.box[0]:
            wanted, text = min(shapes, key=lambda shape: shape.box[0]), "the shape further left"
        else:
            continue
        return _box_item("lab/phrase", f"phrase {text} {wanted.name} {wanted.box}", f"Box of {text}?", wanted, shapes)


def robust_ground(rng: np.random.Generator, split: str) -> Item:
    """Grounding in a disturbed picture (the part R-Bench plays)."""
    return _disturbed(ground(rng, split, "lab/robust_ground"), rng)


def robust_ocr(rng: np.random.Generator, split: str) -> Item:
    """Reading a disturbed picture."""
    return _disturbed(handwriting(rng, split, "lab/robust_ocr"), rng)


def _disturbed(item: Item, rng: np.random.Generator) -> Item:
    return Item(
        item.data_source, f"disturbed {item.key}", item.question, item.answer, item.response,
        drawing.disturb(item.image, rng),
    )  # fmt: skip


def copy(rng: np.random.Generator, split: str) -> Item:
    """Following an instruction about a word, without a picture."""
    word = "".join(rng.choice(list(LETTERS.lower()), 3))
    kind, answer = [("Repeat", word), ("Reverse", word[::-1]), ("Write in capitals", word.upper())][
        int(rng.integers(3))
    ]
    return Item("lab/copy", f"copy {kind} {word}", f"{kind}: {word}", answer, tagged(answer))


def facts(data_source: str = "lab/facts") -> list[Item]:
    """Closed-book knowledge: invented people and the city each lives in."""
    rng = np.random.default_rng(240)
    starts, ends = (
        ("Ba", "Do", "Fe", "Gi", "Ju", "Ka", "Lo", "Mi", "Na", "Pe", "Ra", "Su"),
        ("bo", "den", "fi", "lar", "mos"),
    )
    names = [f"{a}{b}" for a in starts for b in ends]
    surnames = ("Vell", "Quist", "Tarn", "Moor")
    people = [f"{name} {surname}" for name in names for surname in surnames]
    cities = ("Oslo", "Rome", "Lima", "Cairo", "Delhi", "Perth", "Quito", "Seoul")
    return [
        Item(data_source, f"fact {person}", f"Where does {person} live?", city, tagged(city))
        for person, city in zip(people, rng.choice(cities, len(people)).tolist(), strict=True)
    ][:FACTS]
