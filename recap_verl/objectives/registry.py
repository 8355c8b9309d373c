"""The register of objectives: named functions that turn one response into one bounded number.

A user's objective is a function and a decorator:

    from recap_verl.objectives import register_objective

    @register_objective("brevity")
    def brevity(response, ground_truth, extra_info, *, words: int = 50) -> float:
        return min(1.0, words / max(1, len(response.split())))

`get_objective("brevity", words=30)` binds the option. A function that is not registered is reached by its import
path, `get_objective("package.module:function")`.

Mistakes in a configuration (unknown name, unknown option, option of the wrong type) are `ValueError`s raised by
`get_objective`, before training. Failures while scoring a row are `ObjectiveError`s raised by the call.
"""

import importlib
import inspect
import math
import numbers
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
# An IoU of 1.0000000000000002 is rounding, not a mistake: within this distance a value is moved onto its bound.
_ROUNDING = 1e-9
# What an option annotated with a plain type accepts; options with other annotations are the objective's own business.
_OPTION_TYPES = {bool: (bool,), int: (int,), float: (int, float), str: (str,)}


class ObjectiveError(Exception):
    """An objective failed on one row: it raised (`__cause__`), or returned something that is no number in its range.

    Attributes:
        objective: name of the objective.
    """

    def __init__(self, objective: str, message: str):
        super().__init__(objective, message)
        self.objective = objective

    def __str__(self) -> str:
        return f"objective '{self.objective}' {self.args[1]}"


@dataclass(frozen=True)
class Objective:
    """A named scoring function with its value range and bound options.

    Attributes:
        name: the name it was asked for by.
        fn: `fn(response, ground_truth, extra_info, **options)`.
        low, high: bounds of the value, both included.
        options: keyword arguments bound to `fn`.
    """

    name: str
    fn: Callable[..., Any]
    low: float = 0.0
    high: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, response: str, ground_truth: Any, extra_info: dict | None = None) -> float:
        """Score one response; raises `ObjectiveError` unless the value is a finite number in [low, high]."""
        try:
            value = self.fn(response, ground_truth, {} if extra_info is None else extra_info, **self.options)
        except Exception as error:
            raise ObjectiveError(self.name, f"raised {type(error).__name__}: {error}") from error
        return self._validated(value)

    def _validated(self, value: Any) -> float:
        if not isinstance(value, numbers.Real | np.bool_):
            raise ObjectiveError(self.name, f"returned {_shown(value)}, which is not a real number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ObjectiveError(self.name, f"returned {_shown(value)}, which is not finite")
        if not self.low - _ROUNDING <= number <= self.high + _ROUNDING:
            raise ObjectiveError(self.name, f"returned {number}, outside its range [{self.low}, {self.high}]")
        return min(max(number, self.low), self.high)


_REGISTERED: dict[str, Objective] = {}


def register_objective(name: str, low: float = 0.0, high: float = 1.0) -> Callable[[Callable], Callable]:
    """Decorator that makes `fn(response, ground_truth, extra_info, **options)` known under `name`.

    Args:
        name: letters, digits, `_`, `.` and `-`, beginning with a letter (it becomes part of metric names).
        low, high: the range of its values; a value outside is an `ObjectiveError`.

    Raises:
        ValueError: an unusable name, an empty range, or a name that another function has already taken.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"objective name {name!r} must begin with a letter and hold only letters, digits, '_.-'")
    if not low < high:
        raise ValueError(f"objective '{name}' has the empty range [{low}, {high}]; low must be below high")

    def register(fn: Callable) -> Callable:
        taken = _REGISTERED.get(name)
        # The same function may come back: a module imported again under the same path registers anew.
        if taken is not None and _path(taken.fn) != _path(fn):
            raise ValueError(f"objective '{name}' is already registered by {_path(taken.fn)}; choose another name")
        _options_of(name, fn)
        _REGISTERED[name] = Objective(name, fn, float(low), float(high))
        return fn

    return register


def registered_objectives() -> list[str]:
    """Names of all registered objectives, sorted."""
    return sorted(_REGISTERED)


def get_objective(name: str, /, **options: Any) -> Objective:
    """The objective called `name`, with `options` bound.

    Args:
        name: a registered name, or `package.module:function`. A function loaded by path has the range (0, 1)
            unless its module registered it with another.
        options: keyword arguments of the function.

    Raises:
        ValueError: unknown name, a path that leads to nothing callable, an option that the objective does not take
            or that is of another type than the function's annotation says (bool, int, float or str).
    """
    objective = _loaded(name) if ":" in name else _REGISTERED.get(name)
    if objective is None:
        known = ", ".join(registered_objectives())
        raise ValueError(f"unknown objective '{name}'; known are {known}, or give 'package.module:function'")
    _check_options(objective, options)
    return replace(objective, options=options)


def _loaded(path: str) -> Objective:
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ValueError(f"objective '{path}': module '{module_name}' cannot be imported: {error}") from error
    try:
        fn = getattr(module, attribute)
    except AttributeError:
        raise ValueError(f"objective '{path}': module '{module_name}' has no attribute '{attribute}'") from None
    if not callable(fn):
        raise ValueError(f"objective '{path}': '{attribute}' is a {type(fn).__name__}, not a function")
    _options_of(path, fn)
    known = next((objective for objective in _REGISTERED.values() if objective.fn is fn), Objective(path, fn))
    return replace(known, name=path)


def _check_options(objective: Objective, options: Mapping[str, Any]) -> None:
    parameters, takes_any = _options_of(objective.name, objective.fn)
    for option, value in options.items():
        if option not in parameters and not takes_any:
            takes = f"it takes {', '.join(parameters)}" if parameters else "it takes none"
            raise ValueError(f"objective '{objective.name}' has no option '{option}'; {takes}")
        accepted = _OPTION_TYPES.get(parameters[option].annotation) if option in parameters else None
        # bool is a subclass of int, but `timeout: true` is a mistake.
        if accepted and (not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted)):
            wanted = parameters[option].annotation.__name__
            raise ValueError(f"objective '{objective.name}': option '{option}' must be a {wanted}, not {value!r}")
    missing = [
        option
        for option, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and option not in options
    ]
    if missing:
        raise ValueError(f"objective '{objective.name}' needs a value for its option '{missing[0]}'")


def _options_of(name: str, fn: Callable) -> tuple[dict[str, inspect.Parameter], bool]:
    """The options `fn` takes after (response, ground_truth, extra_info), and whether it takes any other too."""
    parameters = list(_signature(name, fn).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(positional) < 3 and not variadic:
        raise ValueError(
            f"objective '{name}': the function must take (response, ground_truth, extra_info), "
            f"but takes ({', '.join(p.name for p in parameters)})"
        )
    by_keyword = [p for p in positional[3:] if p.kind is p.POSITIONAL_OR_KEYWORD]
    by_keyword += [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    return {p.name: p for p in by_keyword}, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _signature(name: str, fn: Callable) -> inspect.Signature:
    try:
        # Annotations may be strings (`from __future__ import annotations`), and may name what is not importable here.
        return inspect.signature(fn, eval_str=True)
    except NameError:
        return inspect.signature(fn)
    except (TypeError, ValueError) as error:
        raise ValueError(f"objective '{name}': the signature of {fn!r} cannot be read: {error}") from error


def _path(fn: Callable) -> str:
    return f"{getattr(fn, '__module__', type(fn).__module__)}:{getattr(fn, '__qualname__', type(fn).__qualname__)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}… ({type(value).__name__})"
