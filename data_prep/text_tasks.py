"""Small English tasks with exact answers, short enough to train a 135 M model on a laptop.

A prompt is a system turn, four worked examples as user and assistant turns, and the question. With the examples a
small instruction-tuned model answers in tags nearly always; without them it hardly ever does.

To add a task, write a function that returns all its questions with their answers, and decorate it:

    @text_task("spell", ability="spelling", instruction="Spell the word.")
    def spell() -> list[tuple[str, str]]:
        return [(word, "-".join(word)) for word in WORDS]

It is then `--tasks spell`, and its rows have the data source `text/spell`.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from data_prep.errors import DataError
from data_prep.rows import make_row, split_of
from data_prep.vocabulary import CAPITALS, WORDS

# Measured for SmolLM2-135M-Instruct at temperature 1 before training: 0.2, 0.4 and 0.2, so all can rise and fall.
DEFAULT_TASKS = ("last", "upper", "capitals")
OBJECTIVES = {"exact_match": {}, "answer_format": {}}
EXAMPLES = 4

Questions = list[tuple[str, str]]


@dataclass(frozen=True)
class TextTask:
    """A task: `questions()` lists every (question, answer) there is, each question once."""

    name: str
    ability: str
    instruction: str
    questions: Callable[[], Questions]


TEXT_TASKS: dict[str, TextTask] = {}


def data_source(task: str) -> str:
    return f"text/{task}"


def text_task(name: str, *, ability: str, instruction: str) -> Callable[[Callable[[], Questions]], Callable]:
    """Register the decorated function as the task `name`."""

    def register(questions: Callable[[], Questions]) -> Callable[[], Questions]:
        if name in TEXT_TASKS:
            raise DataError(f"text task '{name}' is registered already: choose another name")
        TEXT_TASKS[name] = TextTask(name, ability, instruction, questions)
        return questions

    return register


def _either_order(pairs: Sequence[tuple]) -> list[tuple]:
    """Each pair in one of its two orders, by a fixed draw: its mirror image never reaches another split."""
    draw = random.Random(0)
    return [pair if draw.random() < 0.5 else pair[::-1] for pair in pairs]


def _three_words() -> list[str]:
    """20,000 draws of three different words, each choice once."""
    draw = random.Random(0)
    chosen = {frozenset(words): " ".join(words) for words in (draw.sample(WORDS, 3) for _ in range(20_000))}
    return list(chosen.values())


@text_task("larger", ability="comparison", instruction="Which number is larger?")
def larger() -> Questions:
    pairs = _either_order(list(itertools.combinations(range(10, 100), 2)))
    return [(f"{a} or {b}", str(max(a, b))) for a, b in pairs]


@text_task("sum", ability="arithmetic", instruction="Add the numbers.")
def one_digit_sum() -> Questions:
    pairs = _either_order(list(itertools.combinations_with_replacement(range(10), 2)))
    return [(f"{a} + {b}", str(a + b)) for a, b in pairs]


@text_task("repeat", ability="copying", instruction="Repeat the words.")
def repeat() -> Questions:
    return [(words, words) for words in _three_words()]


@text_task("capitals", ability="knowledge", instruction="Answer the question.")
def capitals() -> Questions:
    return [(f"What is the capital of {country}?", capital) for country, capital in CAPITALS.items()]


@text_task("upper", ability="spelling", instruction="Write the word in capitals.")
def upper() -> Questions:
    return [(word, word.upper()) for word in WORDS]


@text_task("last", ability="selection", instruction="Write the last word.")
def last() -> Questions:
    return [(words, words.split()[-1]) for words in _three_words()]


@text_task("first", ability="selection", instruction="Write the first word.")
def first() -> Questions:
    return [(words, words.split()[0]) for words in _three_words()]


def chat_prompt(instruction: str, examples: Questions, question: str) -> list[dict[str, str]]:
    """Chat turns: how to answer, the worked examples, the question."""
    turns = [{"role": "system", "content": f"{instruction} Reply as <answer>...</answer>"}]
    for asked, answer in examples:
        turns.append({"role": "user", "content": asked})
        turns.append({"role": "assistant", "content": f"<answer>{answer}</answer>"})
    return [*turns, {"role": "user", "content": question}]


def rows(split: str, tasks: Sequence[str], seed: int, limit: int) -> Iterator[dict]:
    """Rows of the named tasks, one task after the other, at most `limit` of each in an order drawn from `seed`.

    DataError for a task that is not registered.
    """
    if unknown := [name for name in tasks if name not in TEXT_TASKS]:
        raise DataError(f"unknown text task '{unknown[0]}': choose from {', '.join(TEXT_TASKS)}")
    index = itertools.count()
    for name in tasks:
        task = TEXT_TASKS[name]
        examples, questions = draw_questions(task, split, seed)
        for question, answer in questions[:limit]:
            yield make_row(
                data_source=data_source(name),
                prompt=chat_prompt(task.instruction, examples, question),
                ability=task.ability,
                answer=answer,
                question=question,
                split=split,
                index=next(index),
            )


def draw_questions(task: TextTask, split: str, seed: int) -> tuple[Questions, Questions]:
    """The task's worked examples, and all its questions of `split` in an order drawn from `seed`.

    The examples are the same for every row (an inference engine then computes them once) and are in no split.
    """
    questions = task.questions()
    random.Random(task.name).shuffle(questions)
    examples, questions = questions[:EXAMPLES], questions[EXAMPLES:]
    questions = [pair for pair in questions if split_of(pair[0]) == split]
    random.Random(f"{seed} {task.name} {split}").shuffle(questions)
    return examples, questions
