"""Pictures of shapes, of rendered text and of handwritten digits, all on one small square canvas."""

import functools
import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.datasets import load_digits

# 3 x 3 tokens of 28 pixels for Qwen2.5-VL.
SIDE = 84
PAPER = (236, 236, 230)
INK = (20, 20, 40)
COLOURS = {"red": (208, 40, 40), "green": (40, 150, 60), "blue": (40, 80, 208), "yellow": (230, 190, 20)}
SHAPES = ("square", "circle", "triangle")
# Edges of shapes lie on this grid, so that coordinates are few.
GRID = 7
SIZES = (21, 28, 35)
FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Bold.ttf")
FONT_SIZES = (18, 21, 24)
# A letter or a digit has a square of this side, which is a token.
CELL = 28

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Shape:
    """A coloured shape; `box` is (left, top, right, bottom) in pixels, right and bottom excluded."""

    shape: str
    colour: str
    box: Box

    @property
    def size(self) -> int:
        return self.box[2] - self.box[0]

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


def canvas() -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), PAPER)


def draw_shapes(shapes: list[Shape]) -> Image.Image:
    """One picture of all of them."""
    image = canvas()
    draw = ImageDraw.Draw(image)
    for shape in shapes:
        left, top, right, bottom = shape.box[0], shape.box[1], shape.box[2] - 1, shape.box[3] - 1
        fill = COLOURS[shape.colour]
        if shape.shape == "square":
            draw.rectangle((left, top, right, bottom), fill=fill)
        elif shape.shape == "circle":
            draw.ellipse((left, top, right, bottom), fill=fill)
        else:
            draw.polygon([((left + right) / 2, top), (right, bottom), (left, bottom)], fill=fill)
    return image


def place_shapes(rng: np.random.Generator, count: int, sizes: tuple[int, ...] = SIZES) -> list[Box]:
    """`count` boxes on the grid with a grid step of space between them."""
    while True:
        boxes: list[Box] = []
        for _ in range(40):
            size = int(rng.choice(sizes))
            left, top = (int(rng.integers((SIDE - size) // GRID + 1)) * GRID for _ in range(2))
            box = (left, top, left + size, top + size)
            if all(_apart(box, other) for other in boxes):
                boxes.append(box)
            if len(boxes) == count:
                return boxes


def _apart(a: Box, b: Box) -> bool:
    return a[2] + GRID <= b[0] or b[2] + GRID <= a[0] or a[3] + GRID <= b[1] or b[3] + GRID <= a[1]


def draw_letters(text: str, font: str, size: int, rng: np.random.Generator) -> Image.Image:
    """Up to three printed letters in a row, each about the middle of its cell."""
    image, face = canvas(), _font(font, size)
    draw = ImageDraw.Draw(image)
    top = int(rng.integers(3)) * CELL
    for position, letter in enumerate(text):
        x, y = (CELL // 2 + int(step) for step in rng.integers(-2, 3, 2))
        draw.text((position * CELL + x, top + y), letter, fill=INK, font=face, anchor="mm")
    return image


@functools.cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


@functools.cache
def handwritten(split: str) -> dict[int, list[np.ndarray]]:
    """Digit -> pictures of it, (8, 8) in 0..16, from the UCI test set in scikit-learn; no picture is in two splits."""
    pictures, labels = load_digits(return_X_y=True)
    of_split = {digit: [] for digit in range(10)}
    for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        if (index % 5 == 0) == (split == "val"):
            of_split[int(label)].append(picture.reshape(8, 8))
    return of_split


def draw_digits(digits: str, split: str, rng: np.random.Generator) -> Image.Image:
    """Up to three handwritten digits in a row."""
    image = canvas()
    top = int(rng.integers(3)) * CELL
    for position, digit in enumerate(digits):
        pictures = handwritten(split)[int(digit)]
        strength = pictures[int(rng.integers(len(pictures)))] / 16
        colour = np.array(PAPER) + strength[..., None] * (np.array(INK) - np.array(PAPER))
        picture = Image.fromarray(colour.astype(np.uint8)).resize((CELL, CELL), Image.Resampling.BILINEAR)
        image.paste(picture, (position * CELL, top))
    return image


def disturb(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blur, noise or a small rotation."""
    kind = int(rng.integers(3))
    if kind == 0:
        return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.8, 1.6))))
    if kind == 1:
        noisy = np.asarray(image, dtype=float) + rng.normal(0, 28, (SIDE, SIDE, 3))
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    return image.rotate(float(rng.uniform(-7, 7)), Image.Resampling.BILINEAR, fillcolor=PAPER)


def as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
