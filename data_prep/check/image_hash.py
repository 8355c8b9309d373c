"""Perceptual hashes: pictures that look the same, whatever their size, format or compression.

A difference hash says where brightness rises from one cell of a 16 x 17 grid to the next: 256 bits. Small rises count
as none, so the white ground of diagrams stays 0 under JPEG noise; a diagram then has some twenty bits, a photograph a
hundred.
"""

import hashlib

import numpy as np
from PIL import Image

_SIDE = 16
_RISE = 4  # of 255
# Of the bits that either picture has, one in four may differ (measured on drawn triangles: shrunk to 40 % and saved as
# JPEG, 2 of 600 were missed and no two of 600 confused), but never more than 20.
_SHARE, _MOST = 4, 20
# Fewer bits are a blank picture, and all blank pictures look the same.
_BLANK = 4


def difference_hash(image: Image.Image) -> np.ndarray:
    """(4,) uint64. Transparent ground is white, as Qwen's processors see it."""
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    gray = image.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.LANCZOS)
    cells = np.asarray(gray, np.int16)
    return np.packbits(cells[:, 1:] - cells[:, :-1] > _RISE).view(np.uint64)


def digest_of(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


class ImageIndex:
    """Finds images that look like a given one. A blank image is found by its bytes alone.

    Args:
        hashes: one for each image, see `difference_hash`.
        digests: of each image's bytes.
    """

    def __init__(self, hashes: list[np.ndarray], digests: list[bytes]):
        self._hashes = np.array(hashes, np.uint64).reshape(len(hashes), 4)
        self._of_digest: dict[bytes, list[int]] = {}
        for number, digest in enumerate(digests):
            self._of_digest.setdefault(digest, []).append(number)

    def like(self, hashed: np.ndarray, digest: bytes) -> list[int]:
        """Numbers of all images like this one, ascending."""
        bits = np.bitwise_count(self._hashes | hashed).sum(axis=1)
        different = np.bitwise_count(self._hashes ^ hashed).sum(axis=1)
        alike = (bits >= _BLANK) & (different <= np.minimum(bits // _SHARE, _MOST))
        return sorted({*np.flatnonzero(alike).tolist(), *self._of_digest.get(digest, ())})
