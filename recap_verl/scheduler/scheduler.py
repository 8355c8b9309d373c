"""The scheduler: one mean per objective and step in, one weight per objective out."""

import math
from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np

from recap_verl.scheduler.presets import PRESETS
from recap_verl.scheduler.signals import Signals, TwoWindows

STATE_VERSION = 2
KINDS = ("reward", "loss")
# What counts as finite: far above any real reward or loss, with a square that is far below the largest float64.
LARGEST_VALUE = 1e100


class RecapScheduler:
    """Weights for K objectives from the recent history of each (RECAP, arXiv 2510.21978).

    objectives: name -> "reward" (higher is better) or "loss" (lower is better). A name is any string,
        "domain/objective" included; the order of the names changes no result.
    window: W >= 2. A window holds W of the objective's own observations; signals need two of them.
    temperature: T > 0 of the softmax over priorities.
    preset: one of `PRESETS`.
    alpha: share of convergence in the priority s = 2 (alpha c + (1 - alpha) i), so 0.5 gives s = c + i.
    static_weights: name -> positive number, 1 for a name left out. Preset "static" needs them: scaled to mean 1 they
        ARE the weights. With any other preset they are a prior p: the weights are p times the preset's, scaled back to
        mean 1, which for one softmax is K softmax(s / T + log p).
    c_max: > 1, bounds convergence to [1 / c_max, c_max] and the magnitude of instability to c_max.

    Until an objective has signals (2W observations; 2 for presets "release" and "dwa") its weight is its prior, 1 by
    default, and the objectives that have signals share the rest among themselves. The mean is 1 at all times, and an
    objective that is never observed holds nobody back.

    Every argument out of its range raises a ValueError that names it.
    """

    def __init__(
        self,
        objectives: Mapping[str, str],
        window: int = 10,
        temperature: float = 5.0,
        preset: str = "recap",
        alpha: float = 0.5,
        static_weights: Mapping[str, float] | None = None,
        c_max: float = 10.0,
    ):
        _check_objectives(objectives)
        if isinstance(window, bool) or not isinstance(window, Integral) or window < 2:
            raise ValueError(f"window must be a whole number of observations, at least 2, but is {window!r}")
        if not _is_number(temperature) or temperature <= 0:
            raise ValueError(f"temperature must be a positive finite number, but is {temperature!r}")
        if preset not in tuple(PRESETS):
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, but is {preset!r}")
        if not _is_number(alpha) or not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be a number between 0 and 1, but is {alpha!r}")
        if not _is_number(c_max) or c_max <= 1:
            raise ValueError(f"c_max must be a finite number above 1, but is {c_max!r}")
        if preset == "static" and not static_weights:
            raise ValueError("static_weights must give at least one weight when preset is 'static'")
        _check_static_weights(static_weights or {}, objectives)

        # Sorted, so that sums run in one order however the configuration lists the names.
        self._names = sorted(objectives)
        self._row = {name: row for row, name in enumerate(self._names)}
        self._config = {
            "objectives": {name: str(objectives[name]) for name in self._names},
            "window": int(window),
            "temperature": float(temperature),
            "preset": str(preset),
            "alpha": float(alpha),
            "static_weights": {name: float((static_weights or {}).get(name, 1.0)) for name in self._names},
            "c_max": float(c_max),
        }
        self._preset = PRESETS[preset]
        series = np.array([self._preset.series[objectives[name]] for name in self._names])
        self._offset, self._sign = series[:, 0], series[:, 1]
        self._is_loss = np.array([objectives[name] == "loss" for name in self._names])
        prior = np.array(list(self._config["static_weights"].values()))
        self._prior = _scaled(prior / prior.max(), len(prior))
        self._windows = TwoWindows(len(self._names), int(window))
        self._update()

    @property
    def weights(self) -> dict[str, float]:
        """Objective -> weight; the mean over all objectives is 1."""
        return dict(self._weights)

    @property
    def signals(self) -> dict[str, Signals]:
        """Objective -> its signals, NaN before there are enough observations."""
        columns = (column.tolist() for column in self._signals)
        return {name: Signals(*row) for name, *row in zip(self._names, *columns, strict=True)}

    def observe(self, means: Mapping[str, float]) -> None:
        """Take in one step: objective -> its mean over the samples of the step that carry it.

        An objective left out is not observed, and its windows stand still. A name that is not an objective (KeyError)
        or a value that is no finite number (ValueError) rejects the whole step.
        """
        try:
            rows = np.array([self._row[name] for name in means], dtype=np.intp)
        except KeyError as error:
            raise KeyError(f"{error.args[0]!r} is not an objective; objectives are {', '.join(self._names)}") from None
        self._windows.push(rows, self._offset[rows] + self._sign[rows] * _finite_values(means))
        self._update()

    def metrics(self) -> dict[str, float]:
        """`recap/weight/<objective>`, and `recap/convergence/...`, `recap/instability/...` once they are known."""
        metrics = {f"recap/weight/{name}": weight for name, weight in self._weights.items()}
        for name, signals in self.signals.items():
            metrics[f"recap/convergence/{name}"] = signals.convergence
            metrics[f"recap/instability/{name}"] = signals.instability
        return {key: value for key, value in metrics.items() if not math.isnan(value)}

    def state_dict(self) -> dict:
        """Configuration, and the first level and the last 2W values of every series, as plain JSON types."""
        series = {
            name: {
                "count": int(self._windows.count[row]),
                "first": float(self._windows.first[row]),
                "values": self._windows.history(row),
            }
            for name, row in self._row.items()
        }
        config = {key: dict(value) if isinstance(value, dict) else value for key, value in self._config.items()}
        return {"version": STATE_VERSION, "config": config, "series": series}

    def load_state_dict(self, state: Mapping) -> None:
        """Continue from `state_dict()` of a scheduler with the same configuration, to the last bit.

        Anything else raises a ValueError that names what differs, and changes nothing.
        """
        _check_keys("scheduler state", state, ("version", "config", "series"))
        if state["version"] != STATE_VERSION:
            raise ValueError(f"scheduler state: version is {state['version']!r}, this code reads {STATE_VERSION}")
        _check_keys("scheduler state: config", state["config"], self._config)
        for key, own in self._config.items():
            if state["config"][key] != own:
                raise ValueError(
                    f"scheduler state: {key} is {state['config'][key]!r} there but {own!r} here; "
                    "resume with the configuration the state was saved with"
                )
        _check_keys("scheduler state: series", state["series"], self._names)
        window = self._config["window"]
        for name in self._names:
            _check_series(name, state["series"][name], 2 * window)
        series = [state["series"][name] for name in self._names]
        columns = ([of_name[key] for of_name in series] for key in ("count", "values", "first"))
        self._windows = TwoWindows.restored(window, *columns)
        self._update()

    def _update(self) -> None:
        alpha, temperature = self._config["alpha"], self._config["temperature"]
        convergence, instability = self._preset.measure(self._windows, self._is_loss, self._config["c_max"])
        priority = self._preset.priority(convergence, instability, alpha)
        self._signals = Signals(convergence, instability, priority)
        weights, known = self._prior.copy(), ~np.isnan(convergence)
        if known.any():
            prior = self._prior[known]
            factor = self._preset.weigh(convergence[known], instability[known], priority[known], alpha, temperature)
            weights[known] = _scaled(prior * factor, math.fsum(prior))
        self._weights = dict(zip(self._names, weights.tolist(), strict=True))


def _scaled(values: np.ndarray, total: float) -> np.ndarray:
    """The positive values in proportion, with the sum `total` up to the last bit of the largest."""
    values = values * (total / values.sum())
    values[values.argmax()] += total - math.fsum(values)
    return values


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and abs(value) <= LARGEST_VALUE


def _float_or_nan(value: object) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _finite_values(means: Mapping[str, float]) -> np.ndarray:
    values = np.array([_float_or_nan(value) for value in means.values()])
    accepted = np.abs(values) <= LARGEST_VALUE
    if not accepted.all():
        name = list(means)[accepted.argmin()]
        raise ValueError(f"observation of {name!r} must be a finite number, but is {means[name]!r}; step not observed")
    return values


def _check_objectives(objectives: Mapping[str, str]) -> None:
    if not isinstance(objectives, Mapping) or not objectives:
        raise ValueError(f"objectives must map at least one name to 'reward' or 'loss', but is {objectives!r}")
    for name, kind in objectives.items():
        if not isinstance(name, str):
            raise ValueError(f"objectives: a name must be a string, but one is {name!r}")
        if kind not in KINDS:
            raise ValueError(f"objectives: kind of {name!r} must be 'reward' or 'loss', but is {kind!r}")


def _check_static_weights(static_weights: Mapping[str, float], objectives: Mapping[str, str]) -> None:
    if not isinstance(static_weights, Mapping):
        raise ValueError(f"static_weights must map objectives to positive numbers, but is {static_weights!r}")
    for name, weight in static_weights.items():
        if name not in objectives:
            raise ValueError(f"static_weights: {name!r} is not an objective; objectives are {', '.join(objectives)}")
        # The bound keeps a product of a prior and a softmax clear of underflow.
        if not _is_number(weight) or weight < 1 / LARGEST_VALUE:
            raise ValueError(f"static_weights: weight of {name!r} must be a positive finite number, but is {weight!r}")


def _check_keys(what: str, found: object, expected) -> None:
    if not isinstance(found, Mapping):
        raise ValueError(f"{what} must be a dict, but is {type(found).__name__}")
    missing, unknown = sorted(set(expected) - set(found)), sorted(set(map(str, found)) - set(expected))
    if missing or unknown:
        raise ValueError(f"{what}: missing keys {missing}, unknown keys {unknown}")


def _check_series(name: str, series: object, capacity: int) -> None:
    what = f"scheduler state: series of {name!r}"
    _check_keys(what, series, ("count", "first", "values"))
    count, values = series["count"], series["values"]
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 2**53:
        raise ValueError(f"{what}: count must be a whole number of observations, but is {count!r}")
    if not isinstance(values, list) or len(values) != min(count, capacity):
        raise ValueError(f"{what}: values must be a list of {min(count, capacity)} numbers for a count of {count}")
    for value in (*values, series["first"]):
        if not _is_number(value):
            raise ValueError(f"{what}: values must be finite numbers, but one is {value!r}")
