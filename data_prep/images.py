"""Images of a source as the files verl will open: checked, resized if asked, otherwise byte for byte."""

import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from data_prep.errors import Skip

# Qwen's vision towers see nothing smaller than one merged patch, and qwen_vl_utils refuses longer strips.
MIN_SIDE = 28
MAX_ASPECT = 200
# Pillow can read formats that start other programs (EPS); sources are not trusted that far.
_READABLE = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
# MPO is what Pillow calls a JPEG file with more pictures behind the first.
_KEPT = ("PNG", "JPEG", "MPO")
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
_JPEG_QUALITY = 95


class StoredImage(NamedTuple):
    """An encoded PNG or JPEG file, and its size here and in the source."""

    data: bytes
    width: int
    height: int
    original_width: int
    original_height: int

    @property
    def size(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self._fields[1:]}


def read_image(value: object, folders: tuple[Path, ...]) -> bytes:
    """The encoded file behind what sources hold: bytes, `{"bytes", "path"}`, or a path below one of `folders`."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str) or not value:
        raise Skip("no image", type(value).__name__)
    try:
        for folder in folders:
            file = (folder / value).resolve()
            # A source is data: it must not be able to name any file of this machine.
            if file.is_relative_to(folder.resolve()) and file.is_file():
                return file.read_bytes()
    except (OSError, ValueError) as error:
        raise Skip("image file cannot be read", f"{value}: {error}") from error
    raise Skip("image file not found", value)


def store_image(data: bytes, max_side: int | None = None, drop_small: bool = False) -> StoredImage:
    """Decode once, to be sure that training can; re-encode only what has another size or another format.

    The longer side is brought down to `max_side`. After that the shorter side is brought up to 28 pixels (or the row
    dropped); the aspect ratio is kept.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=_READABLE)
        image.load()
    except UnidentifiedImageError:
        # Its text names a memory address: the list of skipped rows would be another each time.
        raise Skip("broken image", "not of a known format") from None
    except Exception as error:  # Pillow raises about any type on broken files; the row is counted and listed
        raise Skip("broken image", f"{type(error).__name__}: {error}") from error
    width, height = image.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise Skip(f"aspect ratio over {MAX_ASPECT}", f"{width}x{height}")
    if drop_small and min(width, height) < MIN_SIDE:
        raise Skip(f"image side under {MIN_SIDE} pixels", f"{width}x{height}")
    size = target_size(width, height, max_side)
    if size != image.size or image.format not in _KEPT:
        data = _encoded(image, size)
    return StoredImage(data, *size, width, height)


def target_size(width: int, height: int, max_side: int | None) -> tuple[int, int]:
    """The size to store an image at: see `store_image`."""
    scale = 1.0 if max_side is None else min(1.0, max_side / max(width, height))
    scale = max(scale, MIN_SIDE / min(width, height)) if min(width, height) * scale < MIN_SIDE else scale
    return max(MIN_SIDE, round(width * scale)), max(MIN_SIDE, round(height * scale))


def _encoded(image: Image.Image, size: tuple[int, int]) -> bytes:
    kind = "JPEG" if image.format in ("JPEG", "MPO") else "PNG"
    if size != image.size:
        if image.mode in ("P", "1", "PA"):
            image = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
        image = image.resize(size, Image.Resampling.BICUBIC)
    if kind == "PNG" and image.mode not in _PNG_MODES:
        image = image.convert("RGB")
    file = io.BytesIO()
    # Never pass on what came with the source (colour profiles, comments): only pixels.
    image.save(file, kind, **({"quality": _JPEG_QUALITY} if kind == "JPEG" else {}))
    return file.getvalue()
