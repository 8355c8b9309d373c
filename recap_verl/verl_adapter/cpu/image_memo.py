"""Rollouts of one prompt share its images: what an image processor made of them is kept for the next.

verl 0.9.1's agent loop prepares the images of every rollout twice (`verl/experimental/agent_loop`: the prompt's tokens,
then the trainer's inputs), for eight rollouts sixteen times. Beside a small model on a CPU that is half of its work.
"""

import copy
import functools
import hashlib
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import wrapt
from PIL import Image

# Prompts whose rollouts are prepared at the same time.
KEPT = 32


class ImageMemo(wrapt.ObjectProxy):
    """An image processor of transformers that answers for the images of its last calls from memory.

    Pixels, their size and mode and all options decide; anything but PIL images, or lists of them, is passed on.
    """

    def __init__(self, image_processor):
        super().__init__(image_processor)
        self._self_lock = threading.Lock()
        self._self_kept = OrderedDict()

    def __call__(self, images, *args, **options):
        key = _key(images, args, options)
        if key is None:
            return self.__wrapped__(images, *args, **options)
        # Rollouts are prepared by several threads: the first computes, the others wait for it.
        with self._self_lock:
            if key not in self._self_kept:
                self._self_kept[key] = self.__wrapped__(images, *args, **options)
            self._self_kept.move_to_end(key)
            while len(self._self_kept) > KEPT:
                self._self_kept.popitem(last=False)
            found = self._self_kept[key]
        # Callers add and remove entries.
        return type(found)(dict(found))

    # A proxy has to say how it is copied; what is kept stays here.
    def __copy__(self):
        return ImageMemo(copy.copy(self.__wrapped__))

    def __deepcopy__(self, memo):
        return ImageMemo(copy.deepcopy(self.__wrapped__, memo))

    def __reduce_ex__(self, protocol):
        return ImageMemo, (self.__wrapped__,)


def _key(images: Any, *options) -> bytes | None:
    digest = hashlib.blake2b(repr(options).encode())
    for image in _flat(images):
        if not isinstance(image, Image.Image):
            return None
        digest.update(f"{image.mode} {image.size}".encode())
        digest.update(image.tobytes())
    return digest.digest()


def _flat(images: Any) -> Iterable[Any]:
    for part in images if isinstance(images, list | tuple) else [images]:
        yield from _flat(part) if isinstance(part, list | tuple) else [part]


def share_image_processing() -> None:
    """``verl/utils/tokenizer/tokenizer.py:build_multimodal_processor_inputs``, with its processor's images kept."""
    from verl.utils.tokenizer import tokenizer

    original = tokenizer.build_multimodal_processor_inputs
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def build(processor, **inputs):
        image_processor = getattr(processor, "image_processor", None)
        if image_processor is not None and not isinstance(image_processor, ImageMemo):
            processor.image_processor = ImageMemo(image_processor)
        return original(processor, **inputs)

    # verl's own start imports some of those that have it by name; the rest find it here.
    for name, module in list(sys.modules.items()):
        if name.startswith("verl.") and vars(module).get(original.__name__) is original:
            setattr(module, original.__name__, build)
