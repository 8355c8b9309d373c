"""The normalisation of answers of the VQA challenge, described at visualqa.org/evaluation.

In this order: punctuation, case, number words to digits, articles dropped, missing apostrophes put back. Where the
description leaves room, the challenge's evaluation code decides:

- A period goes unless a digit follows it.
- Apostrophe and colon stay. Any other mark becomes a space; but it goes without one where somewhere in the text that
  mark has a space beside it, and all marks do where somewhere a comma stands between two digits (`100,978`).
"""

import re

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0", **{word: str(number) for number, word in enumerate(_NUMBER_WORDS)}}
_ARTICLES = {"a", "an", "the"}

# The contractions that are put back. What would be another word without its apostrophe (we'll, she'd, I'd) is left
# alone; "notve" is the challenge's.
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _without_one_apostrophe(word: str) -> list[str]:
    return [word[:index] + word[index + 1 :] for index, char in enumerate(word) if char == "'"]


_COMPLETED = {short: word for word in _CONTRACTIONS.split() for short in _without_one_apostrophe(word)}


def normalized(text: str) -> str:
    """The text as the VQA challenge compares it."""
    return _words(_without_marks(text.replace("\n", " ").replace("\t", " ").strip()))


def normalized_for_evalai(text: str) -> str:
    """The same as the EvalAI server (and lmms-eval, for VizWiz) does it: commas, question marks and 's come first."""
    return normalized(text.lower().replace(",", "").replace("?", "").replace("'s", " 's"))


def _without_marks(text: str) -> str:
    numeric = _COMMA_IN_NUMBER.search(text) is not None
    spaced = {mark: not numeric and f"{mark} " not in text and f" {mark}" not in text for mark in _MARKS}
    return _PERIOD.sub("", text.translate(str.maketrans({mark: " " * spaced[mark] for mark in _MARKS})))


def _words(text: str) -> str:
    digits = (_DIGITS.get(word, word) for word in text.lower().split())
    return " ".join(_COMPLETED.get(word, word) for word in digits if word not in _ARTICLES)
