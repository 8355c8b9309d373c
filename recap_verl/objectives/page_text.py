"""How well a page was read or translated, as OCRBench v2 scores it (its repository's
`eval_scripts/page_ocr_metric.py`)."""

import functools
import re
import sys
from collections.abc import Sequence

from nltk.metrics import f_measure
from nltk.translate.bleu_score import sentence_bleu
from nltk.translate.meteor_score import meteor_score
from rapidfuzz.distance import Levenshtein

_CHINESE = re.compile("[\u4e00-\u9fa5]")


def page_score(answer: str, truth: str) -> float:
    """Mean of BLEU-4, METEOR, the F measure of the sets of words, and 1 - normalised edit distance, in [0, 1].

    Words are cut at white space, or by jieba if either text has a Chinese character. METEOR matches synonyms only if
    NLTK finds its WordNet (`python -m nltk.downloader wordnet`); without it equal words and equal stems alone match,
    which can only lower the score.

    Raises:
        ValueError: the truth is blank.
    """
    if not truth.strip():
        raise ValueError("ground_truth of a page must not be blank")
    if not answer.strip():
        return 0.0
    cut = _chinese_words().lcut if _CHINESE.search(answer) or _CHINESE.search(truth) else str.split
    given, right = cut(answer), cut(truth)
    parts = (
        sentence_bleu([right], given, smoothing_function=_tiny_for_none),
        meteor_score([right], given, wordnet=_synonyms()),
        f_measure(set(right), set(given)) or 0.0,
        Levenshtein.normalized_similarity(answer, truth),
    )
    return min(1.0, max(0.0, sum(parts) / len(parts)))


def _tiny_for_none(precisions: Sequence, **_) -> list[float]:
    """NLTK's default for n-grams without a match, but for its warning."""
    return [float(p) if p.numerator else sys.float_info.min for p in precisions]


class _NoSynonyms:
    @staticmethod
    def synsets(word: str) -> list:
        return []


@functools.cache
def _synonyms():
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        return _NoSynonyms()
    return wordnet


@functools.cache
def _chinese_words():
    # Chinese rows alone need the dictionary, which takes a second to load.
    import jieba

    tokenizer = jieba.Tokenizer()
    # What `initialize` does, without the cache file that it reads from a folder anyone may write to.
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True
    return tokenizer
