"""Scores per second of each built-in objective, one thread, on the cases that training meets.

Run: python benchmarks/objectives.py
"""

import time

from recap_verl.objectives import get_objective, symbolic_equal

REASONED = f"<think>{'The two numbers are added. ' * 20}</think>\n<answer>{{}}</answer>"
SYMBOLIC = [
    (r"\frac{1}{2}", "0.5"),
    ("x^2+2x+1", "(x+1)^2"),
    ("[0,1]", "(0,1)"),
    (r"2\sqrt{3}", "sqrt(12)"),
    (r"\frac{3\pi}{4}", r"\frac{3}{4}\pi"),
    ("1,234", "1234"),
    ("x=5", "5"),
    (r"\{1,2\}", "2, 1"),
]


def rate(score, seconds: float = 1.0) -> float:
    """Calls of `score(i)` per second."""
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for index in range(calls, calls + 50):
            score(index)
        calls += 50
    return calls / elapsed


def main() -> None:
    accuracy, exact = get_objective("accuracy"), get_objective("exact_match")
    think, strict = get_objective("think_format"), get_objective("think_format", strict=True)
    answer_only = get_objective("answer_format")
    right, option, prose = REASONED.format("12"), REASONED.format("B. A dog"), REASONED.format("I do not know")
    symbolic = [(gold, REASONED.format(answer)) for gold, answer in SYMBOLIC]
    # Numbers that change every time, so that no parser cache answers.
    fresh = [(f"{i}/7", REASONED.format(rf"\frac{{{i}}}{{8}}")) for i in range(100_000)]
    symbolic_equal("1/2", "2/4")  # starts the child, which no rate should include

    cases = {
        "accuracy, number right": lambda i: accuracy(right, "12", {}),
        "accuracy, number wrong": lambda i: accuracy(right, "13", {}),
        "accuracy, option letter": lambda i: accuracy(option, "B", {}),
        "accuracy, words for a number": lambda i: accuracy(prose, "13", {}),
        "accuracy, formulas": lambda i: accuracy(symbolic[i % 8][1], symbolic[i % 8][0], {}),
        "accuracy, new fractions": lambda i: accuracy(fresh[i % 100_000][1], fresh[i % 100_000][0], {}),
        "think_format": lambda i: think(right, None, {}),
        "think_format, strict": lambda i: strict(right, None, {}),
        "answer_format": lambda i: answer_only("<answer>[1, 2, 3, 4]</answer>", None, {}),
        "exact_match": lambda i: exact(right, '["12", "twelve"]', {}),
    }
    print(f"{'objective':32}{'scores/s':>12}")
    for name, score in cases.items():
        print(f"{name:32}{rate(score):>12,.0f}")


if __name__ == "__main__":
    main()
