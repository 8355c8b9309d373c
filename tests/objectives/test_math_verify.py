"""Accuracy on random formulas, against math-verify itself."""

import functools
import random
from fractions import Fraction

from math_verify import LatexExtractionConfig, parse, verify

from recap_verl.objectives import get_objective

FORMULA = [LatexExtractionConfig()]


def notations(rng):
    """One value, written in several ways."""
    a, b, c = rng.randint(1, 60), rng.randint(2, 24), rng.randint(2, 9)
    share = Fraction(a, b)
    kinds = [
        [str(a), f"{a}.0", rf"\frac{{{a * c}}}{{{c}}}", f"{a * c}/{c}", f"{a - c}+{c}"],
        [f"{a}/{b}", rf"\frac{{{a}}}{{{b}}}", rf"\dfrac{{{share.numerator}}}{{{share.denominator}}}"],
        [f"{a}/8", str(a / 8), rf"{100 * a / 8}\%"],
        [rf"{c}\sqrt{{{a}}}", rf"\sqrt{{{c * c * a}}}", rf"\sqrt{{{a}}} \cdot {c}"],
        [rf"\frac{{{a}\pi}}{{{b}}}", rf"\frac{{{a}}}{{{b}}}\pi", rf"{a}\pi/{b}"],
        [f"(x+{c})^2", f"x^2+{2 * c}x+{c * c}", f"x^2 + {c * c} + {2 * c} x"],
        [f"{a}x-{c}", f"-{c}+{a}x", f"{a}(x-{c}/{a})"],
        [rf"{c}^{{-2}}", f"1/{c * c}", rf"\frac{{1}}{{{c}^2}}"],
        [rf"\{{{a}, {a + c}\}}", rf"\{{{a + c}, {a}\}}"],
    ]
    # Comparing what comes later takes sympy ten times as long.
    return rng.choices(kinds, [16, 16, 16, 2, 2, 1, 1, 4, 1])[0]


def test_ten_thousand_pairs_as_in_math_verify():
    rng = random.Random(0)
    values = [notations(rng) for _ in range(60)]
    accuracy, outcomes = get_objective("accuracy"), []

    @functools.cache
    def read(formula):
        number = formula.removesuffix(r"\%")
        # It takes a percent sign for one behind the dollar signs alone.
        text = f"${number}${'%' if number != formula else ''}"
        return parse(text, FORMULA, fallback_mode="no_fallback", parsing_timeout=None)

    @functools.cache
    def equal(gold, answer):
        return verify(read(gold), read(answer), timeout_seconds=None)

    for _ in range(10_000):
        first = rng.choice(values)
        gold, answer = rng.choice(first), rng.choice(first if rng.random() < 0.9 else rng.choice(values))
        theirs = equal(gold, answer)
        outcomes.append(theirs)
        assert accuracy(f"<answer>{answer}</answer>", gold) == theirs, (gold, answer)
    assert 0.05 < outcomes.count(False) / len(outcomes) < 0.15
