"""What the fixtures draw and write with: every picture follows from its number, nothing binary is kept in git."""

import io
import json
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

IMAGE = datasets.Image()
TEXT = datasets.Value("string")
TEXTS = datasets.List(TEXT)


def picture(number: int, width: int = 64, height: int = 56, mode: str = "RGB") -> Image.Image:
    """Blocks of random colours: two numbers never look alike."""
    cells = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.NEAREST).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def png(number: int, width: int = 64, height: int = 56, mode: str = "RGB") -> bytes:
    return encoded(picture(number, width, height, mode))


def jpeg(number: int, width: int = 64, height: int = 56) -> bytes:
    return encoded(picture(number, width, height), "JPEG")


def bmp(number: int, width: int = 64, height: int = 56) -> bytes:
    """Uncompressed: the same bytes from every encoder."""
    return encoded(picture(number, width, height), "BMP")


def image(number: int, width: int = 64, height: int = 56) -> dict:
    """A cell of a hub's image column."""
    return {"bytes": png(number, width, height), "path": None}


def parquet(path: Path, rows: list[dict], features: dict) -> None:
    """As the hub stores it, with the features among the file's metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows, features=datasets.Features(features)).to_parquet(path)


def json_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def json_list(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1))


def files(folder: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
