"""Objectives: functions that score one response with one bounded number, by name.

    get_objective("accuracy", timeout=1.0)(response, ground_truth, extra_info) -> float

Built in are accuracy, think_format, answer_format and exact_match, and the metrics of the paper's data sets
(docs/objectives.md); `register_objective` adds another, and `get_objective("package.module:function")` takes any
function by path. The built-in ones are total: any text gives a value in range within bounded time.
"""

from recap_verl.objectives import (  # noqa: F401  importing registers them
    accuracy,
    anls,
    detection,
    exact_match,
    formats,
    iou,
    mathvista,
    mmmu,
    multiple_choice,
    ocrbench_v2,
    relaxed_accuracy,
    vqa_accuracy,
)
from recap_verl.objectives.bounded import symbolic_equal
from recap_verl.objectives.events import collect_events, count_event
from recap_verl.objectives.registry import (
    Objective,
    ObjectiveError,
    get_objective,
    register_objective,
    registered_objectives,
)
from recap_verl.objectives.tags import last_answer
from recap_verl.objectives.truths import acceptable_answers

__all__ = [
    "Objective",
    "ObjectiveError",
    "acceptable_answers",
    "collect_events",
    "count_event",
    "get_objective",
    "last_answer",
    "register_objective",
    "registered_objectives",
    "symbolic_equal",
]
