"""Let a vision-language model train on micro-batches without a picture.

verl 0.9.1 sends an empty picture, times 0, through the vision tower of a micro-batch that has none, so that every rank
takes part in the tower's collectives. For Qwen2-VL and Qwen2.5-VL it then takes the mean of what the tower returned
(`models/transformers/qwen2_vl.py:_get_input_embeds`), which since transformers 5 is no tensor but an object with one:
"BaseModelOutputWithPooling has no attribute mean". A run that mixes domains of text and of pictures gets there as soon
as the rows of a micro-batch are all text.
"""

from collections.abc import Callable
from typing import Any

import wrapt
from torch import Tensor
from verl.utils.transformers_compat import unpack_visual_output


class _WithPlainTower:
    """The parts of a model that a micro-batch of text needs, with a vision tower that returns a tensor."""

    def __init__(self, model: Any):
        self.config, self.get_input_embeddings, self._tower = model.config, model.get_input_embeddings, model.visual

    def visual(self, pixel_values: Tensor, **options) -> Tensor:
        return unpack_visual_output(self._tower(pixel_values, **options))[0]


def _embed(original: Callable, _instance: None, args: tuple, kwargs: dict) -> tuple:
    def embed(model, input_ids, attention_mask=None, pixel_values=None, pixel_values_videos=None, *grids, **others):
        if pixel_values is None and pixel_values_videos is None:
            model = _WithPlainTower(model)
        return original(model, input_ids, attention_mask, pixel_values, pixel_values_videos, *grids, **others)

    return embed(*args, **kwargs)


wrapt.wrap_function_wrapper("verl.models.transformers.qwen2_vl", "_get_input_embeds", _embed)
