"""Prompt lengths as verl counts them when it drops what is too long."""

from data_prep.errors import DataError
from data_prep.rows import MARK
from recap_verl.objectives.frames import MAX_PIXELS, MIN_PIXELS, ResizeRule, smart_resize

_SIDE = 28  # pixels of a token: 14 a patch, merged two by two
_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


class PromptLength:
    """Tokens of a row's prompt in the tokenizer's chat template, images as Qwen2-VL and Qwen2.5-VL count them.

    Args:
        tokenizer: a local folder or a hub name.
        max_pixels: of an image, as the run's processor limits it.
    """

    def __init__(self, tokenizer: str, max_pixels: int | None = None):
        # Takes seconds, and most checks go without.
        from transformers import AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        except (OSError, ValueError) as error:
            raise DataError(f"--tokenizer {tokenizer} cannot be loaded: {str(error).partition(chr(10))[0]}") from error
        self._rule = ResizeRule(min(MIN_PIXELS, max_pixels or MIN_PIXELS), max_pixels or MAX_PIXELS, _SIDE)

    def __call__(self, row: dict, sizes: list[tuple[int, int]]) -> int:
        """
        Args:
            sizes: width and height of each image.
        """
        turns = [{**turn, "content": turn["content"].replace(MARK, _QWEN_IMAGE)} for turn in row["prompt"]]
        text = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        tokens = len(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        return tokens + sum(self._image_tokens(*size) - 1 for size in sizes)

    def _image_tokens(self, width: int, height: int) -> int:
        resized_height, resized_width = smart_resize(height, width, self._rule)
        return resized_height * resized_width // _SIDE**2
