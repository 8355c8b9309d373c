"""The register: names, options, import paths, and the validation of every value."""

import math
import pickle
import sys
from fractions import Fraction

import numpy as np
import pytest

from recap_verl.objectives import Objective, ObjectiveError, get_objective, register_objective, registered_objectives
from recap_verl.objectives import registry as registry_module


@pytest.fixture(autouse=True)
def own_register(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry_module, "_REGISTERED", dict(registry_module._REGISTERED))


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write `source` as an importable module and return its name."""

    def write(source: str) -> str:
        name = f"objective_plugin_{len(list(tmp_path.iterdir()))}"
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    monkeypatch.syspath_prepend(tmp_path)
    return write


def constant(value):
    return Objective("constant", lambda response, ground_truth, extra_info: value)


def test_a_user_adds_an_objective_in_a_few_lines():
    @register_objective("brevity")
    def brevity(response, ground_truth, extra_info, *, words: int = 50) -> float:
        return min(1.0, words / max(1, len(response.split())))

    assert get_objective("brevity")("a b", None, {}) == 1.0
    assert get_objective("brevity", words=1)("a b", None, {}) == 0.5
    assert "brevity" in registered_objectives()


def test_built_ins_are_registered_with_range_zero_to_one():
    for name in ("accuracy", "think_format", "answer_format", "exact_match"):
        objective = get_objective(name)
        assert (objective.name, objective.low, objective.high) == (name, 0.0, 1.0)


def test_extra_info_and_ground_truth_reach_the_function():
    @register_objective("sees", low=0, high=10)
    def sees(response, ground_truth, extra_info):
        return len(response) + ground_truth + extra_info.get("bonus", 0)

    assert get_objective("sees")("ab", 3, {"bonus": 4}) == 9.0
    assert get_objective("sees")("ab", 3) == 5.0
    assert get_objective("sees")("ab", 3, None) == 5.0


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown objective 'acuracy'; known are accuracy, .*answer_format"):
        get_objective("acuracy")


def test_unknown_option_names_objective_and_option_at_once():
    with pytest.raises(ValueError, match=r"'accuracy' has no option 'tiemout'; it takes timeout, require_tag"):
        get_objective("accuracy", tiemout=1.0)
    with pytest.raises(ValueError, match=r"'answer_format' has no option 'strict'; it takes none"):
        get_objective("answer_format", strict=True)
    with pytest.raises(ValueError, match="has no option 'response'"):
        get_objective("accuracy", response="x")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("think_format", {"strict": "false"}),
        ("think_format", {"strict": 1}),
        ("accuracy", {"timeout": "2"}),
        ("accuracy", {"timeout": True}),
        ("exact_match", {"tag": None}),
    ],
)
def test_option_of_the_wrong_type(name, options):
    with pytest.raises(ValueError, match=rf"'{name}': option '{next(iter(options))}' must be a (bool|float)"):
        get_objective(name, **options)


def test_an_int_serves_as_a_float_option():
    assert get_objective("accuracy", timeout=1).options == {"timeout": 1}


def test_option_without_default_must_be_given():
    @register_objective("needs")
    def needs(response, ground_truth, extra_info, *, threshold):
        return float(len(response) > threshold)

    with pytest.raises(ValueError, match="'needs' needs a value for its option 'threshold'"):
        get_objective("needs")
    assert get_objective("needs", threshold=1)("ab", None, {}) == 1.0


def test_function_with_any_options_takes_any_option():
    @register_objective("open_ended")
    def open_ended(response, ground_truth, extra_info, **options):
        return options["a"]

    assert get_objective("open_ended", a=0.25)("", None, {}) == 0.25


def test_name_is_taken_by_the_first_function():
    def other(response, ground_truth, extra_info):
        return 0.0

    with pytest.raises(
        ValueError, match=r"'accuracy' is already registered by recap_verl.objectives.accuracy:accuracy"
    ):
        register_objective("accuracy")(other)


def test_the_same_function_may_register_again():
    for value in (0.0, 1.0):

        @register_objective("reloaded")
        def reloaded(response, ground_truth, extra_info, value=value):
            return value

    assert get_objective("reloaded")("", None, {}) == 1.0


@pytest.mark.parametrize("name", ["", "1st", "a/b", "a:b", "with space", None])
def test_unusable_names(name):
    with pytest.raises(ValueError, match="must begin with a letter"):
        register_objective(name)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (1, 0), (math.nan, 1)])
def test_empty_range(low, high):
    with pytest.raises(ValueError, match="empty range"):
        register_objective("ranged", low=low, high=high)


def test_function_must_take_three_arguments():
    with pytest.raises(ValueError, match=r"'short': the function must take \(response, ground_truth, extra_info\)"):
        register_objective("short")(lambda response: 0.0)


def test_import_path(module):
    name = module("def score(response, ground_truth, extra_info, *, factor: float = 1.0):\n    return factor * 0.5\n")
    assert get_objective(f"{name}:score")("", None, {}) == 0.5
    objective = get_objective(f"{name}:score", factor=2)
    assert (objective("", None, {}), objective.name, objective.low, objective.high) == (1.0, f"{name}:score", 0.0, 1.0)
    with pytest.raises(ValueError, match=f"'{name}:score' has no option 'x'"):
        get_objective(f"{name}:score", x=1)


def test_import_path_keeps_the_range_the_module_registered(module):
    name = module(
        "from recap_verl.objectives import register_objective\n"
        "@register_objective('signed', low=-1, high=1)\n"
        "def score(response, ground_truth, extra_info):\n    return -0.5\n"
    )
    assert get_objective(f"{name}:score")("", None, {}) == -0.5
    assert get_objective("signed")("", None, {}) == -0.5


def test_import_path_that_leads_nowhere(module):
    with pytest.raises(ValueError, match=r"module 'no_such_module' cannot be imported: No module named"):
        get_objective("no_such_module:score")
    name = module("value = 3\ndef short(response):\n    return 0.0\n")
    with pytest.raises(ValueError, match=f"module '{name}' has no attribute 'score'"):
        get_objective(f"{name}:score")
    with pytest.raises(ValueError, match="'value' is a int, not a function"):
        get_objective(f"{name}:value")
    with pytest.raises(ValueError, match=f"'{name}:short': the function must take"):
        get_objective(f"{name}:short")
    broken = module("1/0\n")
    with pytest.raises(ValueError, match="cannot be imported: division by zero"):
        get_objective(f"{broken}:score")
    with pytest.raises(ValueError, match="cannot be imported"):
        get_objective(":score")


def test_string_annotations_are_checked_too(module):
    name = module(
        "from __future__ import annotations\n"
        "def score(response: str, ground_truth, extra_info: Missing, *, strict: bool = False):\n    return 0.0\n"
        "def fine(response: str, ground_truth, extra_info: dict, *, strict: bool = False):\n    return 0.0\n"
    )
    assert get_objective(f"{name}:score", strict=True)("", None, {}) == 0.0
    with pytest.raises(ValueError, match="option 'strict' must be a bool"):
        get_objective(f"{name}:fine", strict="yes")


@pytest.mark.parametrize("value", [0, 1, True, 0.5, np.float32(0.5), np.int64(1), np.bool_(True), Fraction(1, 3)])
def test_real_numbers_become_floats(value):
    score = constant(value)("", None, {})
    assert type(score) is float
    assert score == float(value)


def test_rounding_at_the_bounds_is_forgiven():
    assert constant(1.0000000000000002)("", None, {}) == 1.0
    assert constant(-1e-17)("", None, {}) == 0.0


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "not a real number"),
        ("0.5", "not a real number"),
        (1j, "not a real number"),
        ([0.5], "not a real number"),
        (np.array(0.5), "not a real number"),
        (math.nan, "not finite"),
        (-math.inf, "not finite"),
        (10**400, "not finite"),
        (1.001, r"outside its range \[0.0, 1.0\]"),
        (-0.5, "outside its range"),
    ],
)
def test_other_values_are_errors_that_name_objective_and_value(value, why):
    with pytest.raises(ObjectiveError, match=why) as caught:
        constant(value)("", None, {})
    assert caught.value.objective == "constant"
    assert str(caught.value).startswith(f"objective 'constant' returned {repr(value)[:100]}")


def test_an_exception_is_wrapped_with_its_cause():
    @register_objective("faulty")
    def faulty(response, ground_truth, extra_info):
        return ground_truth["missing"]

    with pytest.raises(ObjectiveError, match="objective 'faulty' raised KeyError: 'missing'") as caught:
        get_objective("faulty")("", {}, {})
    assert isinstance(caught.value.__cause__, KeyError)
    assert not isinstance(caught.value, ValueError)


def test_an_interrupt_is_not_swallowed():
    def interrupted(response, ground_truth, extra_info):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Objective("interrupted", interrupted)("", None, {})


def test_objectives_and_errors_survive_pickling():
    objective = pickle.loads(pickle.dumps(get_objective("think_format", strict=True)))
    assert objective("<think>a</think><answer>b</answer>", None, {}) == 0.0
    error = pickle.loads(pickle.dumps(ObjectiveError("iou", "returned 3")))
    assert (error.objective, str(error)) == ("iou", "objective 'iou' returned 3")
