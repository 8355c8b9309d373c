"""Text without a picture goes through a vision-language model of verl's, which `import verl` mends."""

import copy

import pytest
import torch
from verl.models.transformers import qwen2_vl

from recap_verl.lab.tiny_vl import build_model, build_processor


@pytest.fixture(scope="module")
def model():
    return build_model(build_processor().tokenizer).model


def test_text_is_embedded_and_every_rank_goes_through_the_tower(model):
    model = copy.deepcopy(model)
    ids = torch.arange(12).view(2, 6)
    embedded, mask = qwen2_vl._get_input_embeds(model, ids, attention_mask=torch.ones(2, 6))
    torch.testing.assert_close(embedded, model.get_input_embeddings()(ids))
    assert mask.shape == (2, 6)
    embedded.sum().backward()
    gradients = [parameter.grad for parameter in model.visual.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def test_pictures_are_left_to_verl(model):
    ours, verls = qwen2_vl._get_input_embeds, qwen2_vl._get_input_embeds.__wrapped__
    image = model.config.image_token_id
    ids = torch.tensor([[1, image, image, image, image, 2]])
    pixels = torch.randn(16, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(0))
    inputs = {"pixel_values": pixels, "image_grid_thw": torch.tensor([[1, 4, 4]])}
    mask = torch.ones(1, 6)
    for mine, theirs in zip(ours(model, ids, mask, **inputs), verls(model, ids, mask, **inputs), strict=True):
        assert torch.equal(mine, theirs)


def test_verl_alone_still_fails(model):
    """The day that it does not, the mend can go."""
    with pytest.raises(AttributeError, match="mean"):
        qwen2_vl._get_input_embeds.__wrapped__(model, torch.arange(6)[None])
