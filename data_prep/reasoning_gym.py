"""Procedurally generated reasoning tasks of the reasoning-gym package, checked by its own scorers.

Each task's rows have the data source `reasoning_gym/<task>`. They are scored by the objective
`data_prep.reasoning_gym:score`, or by an exact one where the task has one right answer.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from types import ModuleType

from data_prep.errors import DataError
from data_prep.rows import make_row, split_of
from recap_verl.objectives import last_answer

DEFAULT_TASKS = ("chain_sum", "leg_counting", "spell_backward")
INSTRUCTION = (
    "Reason about the question inside <think>...</think>, then give only the final answer inside <answer>...</answer>."
)
OBJECTIVES = {"score": {"fn": "data_prep.reasoning_gym:score"}, "think_format": {}}
# A task with few questions, or none left in a split, ends after this many draws for each row asked for.
DRAWS_PER_ROW = 50


def data_source(task: str) -> str:
    return f"reasoning_gym/{task}"


def _package() -> ModuleType:
    try:
        import reasoning_gym
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the package reasoning-gym is not installed: pip install 'recap-verl[reasoning-gym]'"
        ) from error
    return reasoning_gym


def score(response: str, ground_truth: str, extra_info: dict) -> float:
    """reasoning-gym's score of the last `<answer>` block in [0, 1]; 0 without one.

    Args:
        ground_truth: not used, a task may accept many answers.
        extra_info: of a row of this module; its `metadata` holds the task's name and the generated entry.
    """
    answer = last_answer(response)
    if answer is None:
        return 0.0
    metadata = json.loads(extra_info["metadata"])
    return _entry_score(metadata["task"], answer.strip(), metadata["entry"])


def _entry_score(task: str, answer: str, entry: dict) -> float:
    return float(_package().get_score_answer_fn(task)(answer=answer, entry=entry))


def rows(split: str, tasks: Sequence[str], seed: int, limit: int) -> Iterator[dict]:
    """Rows of the named tasks, one task after the other, `limit` of each (fewer where a task has not as many).

    Raises DataError for a task that reasoning-gym does not know, and for one whose right answers do not survive
    the way through a parquet file.
    """
    index = itertools.count()
    for task in tasks:
        for entry in itertools.islice(_entries(task, split, seed, limit), limit):
            question, answer = entry["question"], entry["answer"]
            yield make_row(
                data_source=data_source(task),
                prompt=[{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": question}],
                ability="reasoning",
                answer="" if answer is None else str(answer),
                question=question,
                split=split,
                index=next(index),
                metadata={"task": task, "entry": entry},
            )


def _entries(task: str, split: str, seed: int, limit: int) -> Iterator[dict]:
    """Entries of `split`, each question once, as they read after a round trip through JSON."""
    try:
        generated = _package().create_dataset(task, seed=seed, size=limit * DRAWS_PER_ROW)
    except (ValueError, AssertionError) as error:
        raise DataError(f"reasoning-gym cannot make the task '{task}': {error}") from error
    seen = set()
    for entry in generated:
        question = entry["question"]
        if split_of(question) != split or question in seen:
            continue
        seen.add(question)
        stored = json.loads(json.dumps(entry))
        answer = entry["answer"]
        # Some scorers compare tuples and arrays, which JSON turns into lists: every model would score 0 there.
        if answer is not None and _entry_score(task, str(answer), stored) < 1:
            raise DataError(
                f"reasoning-gym's scorer for '{task}' rejects its own answer when stored as JSON: leave it out"
            )
        yield stored
