r"""OCRBench v2, one score per type of question (arXiv 2501.00321; its repository's `eval_scripts/eval.py`).

The benchmark's total is the mean of 8 English and of 5 Chinese abilities, each the mean over the
rows of its types.

As a reward most of these invite listing: a short truth only has to occur in the answer.
"""

import re
from collections.abc import Callable
from typing import Any

from recap_verl.objectives.anls import distance_share
from recap_verl.objectives.answers import given_answer
from recap_verl.objectives.boxes import parse_boxes, true_boxes
from recap_verl.objectives.documents import document_score
from recap_verl.objectives.facts import fact, needed_fact
from recap_verl.objectives.fields import read_fields, true_fields, true_object
from recap_verl.objectives.iou import pairwise_iou
from recap_verl.objectives.page_text import page_score
from recap_verl.objectives.registry import register_objective
from recap_verl.objectives.spotting import spotting_score
from recap_verl.objectives.tables import chart_score, html_table_score, markdown_table_score
from recap_verl.objectives.truths import acceptable_answers

_TEXT_TAG = re.compile(r"\\text\{([^{}]*+)\}")
_FIRST_NUMBER = re.compile(r"[0-9]+")
_LONGEST_NUMBER = 18  # digits
_SEPARATORS = ("", ".", ". ", ",", ", ", "、", ";", "; ", " ", "和")
_BOX_SCALE = 1000


@register_objective("ocrbench_v2")
def ocrbench_v2(response: str, ground_truth: Any, extra_info: dict, *, tag: bool = True) -> float:
    """The score of OCRBench v2 for the row's type, in [0, 1].

    Args:
        ground_truth: the data set's `answers`, JSON-encoded.
        extra_info: the data set's `type`; also its `eval`, `question`, `bbox`, `bbox_list` and `content` where the
            type has them.
        tag: the answer is the content of the last `<answer>` block, and a response without one scores 0; false takes
            the response behind `</think>`.

    Raises:
        ValueError: a type that the benchmark does not have, or a row that lacks what its type needs.
    """
    kind = needed_fact(extra_info, "type", "ocrbench_v2")
    score = SCORES.get(kind) if isinstance(kind, str) else None
    if score is None:
        raise ValueError(f"ocrbench_v2 has no type {kind!r}; it has {', '.join(SCORES)}")
    # The truth is read even where there is no answer: a row that cannot be scored must not pass for a wrong answer.
    answer = given_answer(response, tag)
    value = score(answer or "", ground_truth, extra_info)
    return 0.0 if answer is None else value


def question_score(answer: str, ground_truth: Any, extra_info: dict) -> float:
    """Short answers: by `eval` the letters of the answer, or `_contained` with or without case."""
    truths = acceptable_answers(ground_truth)
    method = fact(extra_info, "eval")
    if method == "multiple choice":
        return float("".join(filter(str.isalpha, answer)) == truths[0])
    if method == "case sensitive":
        return _contained(_one_line(answer), [_one_line(truth) for truth in truths])
    return _contained(_one_line(answer.lower()), [_one_line(truth.lower()) for truth in truths])


def chinese_question_score(answer: str, ground_truth: Any, extra_info: dict) -> float:
    """The same without spaces, and with truths of fewer than 4 parts between commas for short ones."""
    if fact(extra_info, "eval") in ("multiple choice", "case sensitive"):
        return question_score(answer, ground_truth, extra_info)
    truths = [_unspaced(truth.lower()) for truth in acceptable_answers(ground_truth)]
    return _contained(_unspaced(answer.lower()), truths, _has_few_parts)


def counting_score(answer: str, ground_truth: Any, extra_info: dict) -> float:
    """By `eval`: whether a truth occurs in the answer, or 1 - relative error of its first number if above 0.5."""
    truths = [_one_line(truth.lower()) for truth in acceptable_answers(ground_truth)]
    if needed_fact(extra_info, "eval", "text counting") != "regression":
        return float(any(truth in _one_line(answer) for truth in truths))
    counts = [_true_count(truth) for truth in truths]
    number = _FIRST_NUMBER.search(answer)
    if not number or len(number[0]) > _LONGEST_NUMBER:
        return 0.0
    closeness = max(1 - abs(int(number[0]) - count) / count for count in counts)
    return closeness if closeness > 0.5 else 0.0


def formula_score(answer: str, ground_truth: Any, extra_info: dict) -> float:
    """Whether the true formula occurs in the answer, both without spaces."""
    truths = acceptable_answers(ground_truth)
    return float(any(_unspaced(truth) in _unspaced(answer) for truth in truths))


def chinese_formula_score(answer: str, ground_truth: Any, extra_info: dict) -> float:
    r"""The same, both without `\text{}` too."""
    truths = [_TEXT_TAG.sub(r"\1", truth) for truth in acceptable_answers(ground_truth)]
    return formula_score(_TEXT_TAG.sub(r"\1", answer), truths, extra_info)


def handwriting_score(answer: str, ground_truth: Any, extra_info: dict) -> float:
    """Whether the true letters occur in the answer in a row, with one of several separators between them; for short
    answers (简答) `page_score`."""
    truth = acceptable_answers(ground_truth)[0]
    if "简答" in str(fact(extra_info, "question")):
        return page_score(answer, truth)
    return float(any(separator.join(truth) in answer for separator in _SEPARATORS))


def read_page_score(answer: str, ground_truth: Any, extra_info: dict) -> float:
    """`page_score` of the first truth."""
    return page_score(answer, acceptable_answers(ground_truth)[0])


def table_score(answer: str, ground_truth: Any, extra_info: dict) -> float:
    """TEDS of the table in the form that the question asks for, HTML or Markdown."""
    truth = acceptable_answers(ground_truth)[0]
    question = str(needed_fact(extra_info, "question", "table parsing")).lower()
    if "html" in question:
        return html_table_score(answer, truth)
    if "markdown" in question:
        return markdown_table_score(answer, truth)
    raise ValueError("the question of table parsing must ask for html or markdown")


def chinese_table_score(answer: str, ground_truth: Any, extra_info: dict) -> float:
    """TEDS of an HTML table."""
    return html_table_score(answer, acceptable_answers(ground_truth)[0])


def read_chart_score(answer: str, ground_truth: Any, extra_info: dict) -> float:
    """TEDS of the chart's values as a dictionary."""
    return chart_score(answer, true_object(ground_truth))


def parsed_document_score(answer: str, ground_truth: Any, extra_info: dict) -> float:
    """Similarity of the trees of headings."""
    return document_score(answer, acceptable_answers(ground_truth)[0])


def fields_score(answer: str, ground_truth: Any, extra_info: dict) -> float:
    """Share of the fields, true and given, whose value is among the true ones, spaces and case aside."""
    truths, given = true_fields(ground_truth), read_fields(answer)
    right = sum(
        _unspaced(given[key].lower()) in [_unspaced(value.lower()) for value in values]
        for key, values in truths.items()
        if key in given
    )
    return right / len(truths.keys() | given.keys())


def grounding_score(answer: str, ground_truth: Any, extra_info: dict) -> float:
    """IoU of the answer's last box, in 0-1000, with the true one."""
    boxes = [box for box in parse_boxes(answer) if all(0 <= value <= _BOX_SCALE for value in box.corners)]
    return _overlap(boxes[-1].corners if boxes else None, _corners(ground_truth))


def positioned_answer_score(answer: str, ground_truth: Any, extra_info: dict) -> float:
    """Half `question_score` of the field `answer`, half the IoU of the field `bbox` with the row's `bbox`."""
    given = read_fields(answer)
    truth = _corners(needed_fact(extra_info, "bbox", "VQA with position"))
    boxes = parse_boxes(given.get("bbox", ""), limit=1)
    text = question_score(given["answer"], ground_truth, {}) if "answer" in given else 0.0
    return 0.5 * text + 0.5 * _overlap(boxes[0].corners if boxes else None, truth)


def spotted_words_score(answer: str, ground_truth: Any, extra_info: dict) -> float:
    """F measure of the words found where they are; see `spotting_score`."""
    polygons = needed_fact(extra_info, "bbox_list", "text spotting")
    words = needed_fact(extra_info, "content", "text spotting")
    return spotting_score(answer, polygons, words)


def _has_few_words(truth: str) -> bool:
    return len(truth.split()) < 5


def _has_few_parts(truth: str) -> bool:
    return len(truth.split(",")) < 4


def _contained(answer: str, truths: list[str], is_short: Callable[[str], bool] = _has_few_words) -> float:
    """1 if a short truth occurs in the answer; for a long one 1 - normalised edit distance where at least 0.5."""
    return max(
        float(truth in answer) if is_short(truth) else 1 - distance_share(answer, truth, cutoff=0.5) for truth in truths
    )


def _one_line(text: str) -> str:
    return text.strip().replace("\n", " ")


def _unspaced(text: str) -> str:
    return _one_line(text).replace(" ", "")


def _true_count(truth: str) -> int:
    if not truth.isdecimal() or len(truth) > _LONGEST_NUMBER or int(truth) == 0:
        raise ValueError(f"ground_truth of text counting by regression must be a positive integer, not {truth!r}")
    return int(truth)


def _corners(value: Any) -> tuple[float, float, float, float]:
    """The true box from four numbers, which the data set stores as texts."""
    return true_boxes(f"[{', '.join(acceptable_answers(value))}]")[0].corners


def _overlap(box: tuple[float, float, float, float] | None, truth: tuple[float, float, float, float]) -> float:
    return 0.0 if box is None else float(pairwise_iou([box], [truth])[0, 0])


_QUESTIONS_EN = (
    "APP agent en",
    "ASCII art classification en",
    "math QA en",
    "reasoning VQA en",
    "science QA en",
    "text recognition en",
    "document classification en",
    "cognition VQA en",
    "diagram QA en",
)
_PAGES = ("full-page OCR en", "full-page OCR cn", "fine-grained text recognition en", "text translation cn")
SCORES: dict[str, Callable[[str, Any, dict], float]] = {
    **dict.fromkeys(_QUESTIONS_EN, question_score),
    "cognition VQA cn": chinese_question_score,
    "reasoning VQA cn": chinese_question_score,
    "text counting en": counting_score,
    "formula recognition en": formula_score,
    "formula recognition cn": chinese_formula_score,
    "handwritten answer extraction cn": handwriting_score,
    **dict.fromkeys(_PAGES, read_page_score),
    "table parsing en": table_score,
    "table parsing cn": chinese_table_score,
    "chart parsing en": read_chart_score,
    "document parsing en": parsed_document_score,
    "document parsing cn": parsed_document_score,
    "key information extraction en": fields_score,
    "key information extraction cn": fields_score,
    "key information mapping en": fields_score,
    "text grounding en": grounding_score,
    "VQA with position en": positioned_answer_score,
    "text spotting en": spotted_words_score,
}
