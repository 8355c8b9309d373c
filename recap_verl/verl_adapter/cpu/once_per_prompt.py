"""What verl does anew for every response, although the answer is known.

Beside a small model on a CPU the agent loop takes longer than sampling does: preparing text and images, three times for
each response, and building the loop itself from its configuration. The trainer looks at a prompt's picture as often as
there are responses (docs/lab.md has the figures).
"""

import functools
import hashlib
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
import wrapt
from PIL import Image
from torch import Tensor

# For each processor of a process; the oldest answers go first.
KEPT_BYTES = 2**28


class Kept:
    """Answers of a processor by everything that it was asked, up to a number of bytes."""

    def __init__(self, most: int = KEPT_BYTES):
        self._most = most
        self._bytes = 0
        self._answers = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes, ask: Callable[[], Any]) -> Any:
        """The answer to `key`, from `ask` if it is not known: a dictionary of the caller's own, with shared tensors."""
        # Rollouts of a prompt are prepared by several threads: the first computes, the others wait for it.
        with self._lock:
            if key not in self._answers:
                self._answers[key] = answer = ask()
                self._bytes += _size(answer)
            answer = self._answers[key]
            while self._bytes > self._most:
                self._bytes -= _size(self._answers.popitem(last=False)[1])
        return type(answer)(dict(answer))


def _size(answer: Any) -> int:
    return sum(getattr(value, "nbytes", 0) for value in answer.values())


def _key(images: Sequence[Any], inputs: dict[str, Any]) -> bytes | None:
    """A digest of all pixels and every other input; None where an image is of another kind than PIL's."""
    digest = hashlib.blake2b(repr(sorted(inputs.items())).encode())
    for image in images:
        if not isinstance(image, Image.Image):
            return None
        digest.update(f"{image.mode} {image.size}".encode())
        digest.update(image.tobytes())
    return digest.digest()


def keep_processed_inputs() -> None:
    """``verl/utils/tokenizer/tokenizer.py:build_multimodal_processor_inputs`` of the same text and images, once.

    The agent loop asks for the prompt's tokens for every rollout of a prompt, and for the whole row twice, for the
    reward and for the trainer. Videos and audio are prepared every time.
    """
    from verl.utils.tokenizer import tokenizer

    original = tokenizer.build_multimodal_processor_inputs
    if hasattr(original, "__wrapped__"):
        return
    of_processors = weakref.WeakKeyDictionary()

    @functools.wraps(original)
    def build(processor, *, images=None, videos=None, audio=None, **inputs):
        ask = functools.partial(original, processor, images=images, videos=videos, audio=audio, **inputs)
        key = _key(images, inputs) if images and not videos and not audio else None
        return ask() if key is None else of_processors.setdefault(processor, Kept()).get(key, ask)

    # verl's own start imports some of those that have it by name; the rest find it here.
    for name, module in list(sys.modules.items()):
        if name.startswith("verl.") and vars(module).get(original.__name__) is original:
            setattr(module, original.__name__, build)


def build_agent_loops_directly() -> None:
    """``verl/experimental/agent_loop/agent_loop.py`` has hydra build an agent loop for every response, by merging
    configurations: one that is registered by its class alone is that class, called."""
    import hydra

    if not isinstance(hydra.utils.instantiate, wrapt.FunctionWrapper):
        wrapt.wrap_function_wrapper("hydra.utils", "instantiate", _build)


def _build(instantiate: Callable, instance: Any, args: tuple, kwargs: dict) -> Any:
    import hydra

    config = kwargs.get("config")
    plain = not args and type(config) is dict and set(config) == {"_target_"}
    if not plain or any(name.startswith("_") for name in kwargs):
        return instantiate(*args, **kwargs)
    return hydra.utils.get_class(config["_target_"])(**{name: own for name, own in kwargs.items() if name != "config"})


def see_equal_pictures_once() -> None:
    """Have the vision tower of transformers' Qwen2.5-VL look at equal pictures once, in training as well."""
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

    tower = modeling_qwen2_5_vl.Qwen2_5_VisionTransformerPretrainedModel
    if not isinstance(vars(tower)["forward"], wrapt.FunctionWrapper):
        wrapt.wrap_function_wrapper(tower, "forward", _see)


def _see(see: Callable, instance: Any, args: tuple, kwargs: dict) -> Any:
    return seen_once(see, *args, **kwargs)


def seen_once(see: Callable, hidden_states: Tensor, grid_thw: Tensor, **options) -> Any:
    """The vision tower's output with equal pictures computed once.

    What is repeated is `pooler_output`, all that a language model is given; the last layer's states are those of the
    pictures that were seen.

    Args:
        see: the tower's `forward`.
        hidden_states: (patches, values) pixels, picture after picture.
        grid_thw: (pictures, 3) patches of each; pictures of several sizes are passed on as they are.
    """
    if (grid_thw != grid_thw[0]).any():
        return see(hidden_states, grid_thw=grid_thw, **options)
    pictures = hidden_states.view(len(grid_thw), -1)
    # As bytes, since numpy knows no bfloat16.
    digests = [
        hashlib.blake2b(picture).digest() for picture in pictures.detach().contiguous().view(torch.uint8).cpu().numpy()
    ]
    places = {digest: place for place, digest in enumerate(dict.fromkeys(digests))}
    new = [digests.index(digest) for digest in places]
    output = see(pictures[new].view(-1, hidden_states.shape[1]), grid_thw=grid_thw[new], **options)
    tokens = output.pooler_output.unflatten(0, (len(new), -1))
    output.pooler_output = tokens[[places[digest] for digest in digests]].flatten(0, 1)
    return output
