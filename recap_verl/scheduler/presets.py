"""From window statistics to weights: every published variant of the rule is one entry of `PRESETS`.

Equations: arXiv 2510.21978 (RECAP), arXiv 1803.10704 (dynamic weight average).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recap_verl.scheduler.signals import TwoWindows

# Denominators are floored relative to the series' own scale, so that a change of unit changes no signal.
RELATIVE_FLOOR = 1e-8
ABSOLUTE_FLOOR = 1e-300
# Standard errors up to which preset "confident" takes a change for noise.
SURE = 2.0

# Series kept for a value x of each kind, as (offset, sign): offset + sign * x.
HIGHER_IS_BETTER = {"reward": (0.0, 1.0), "loss": (0.0, -1.0)}
LOWER_IS_BETTER = {"reward": (1.0, -1.0), "loss": (0.0, 1.0)}
AS_OBSERVED = {"reward": (0.0, 1.0), "loss": (0.0, 1.0)}


def _floor(*scales: np.ndarray) -> np.ndarray:
    return np.maximum(RELATIVE_FLOOR * sum(np.abs(scale) for scale in scales), ABSOLUTE_FLOOR)


def _signed(values: np.ndarray, floor: np.ndarray) -> np.ndarray:
    return np.copysign(np.maximum(np.abs(values), floor), values)


def _unbiased_std(windows: TwoWindows) -> np.ndarray:
    return np.sqrt(windows.squares / (2 * windows.window - 1))


def _known(known: np.ndarray, *signals: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.where(known, signal, np.nan) for signal in signals)


def _worsening(before: np.ndarray, now: np.ndarray, floor: np.ndarray, c_max: float) -> np.ndarray:
    """By which factor series that are better when higher got worse: above 1 for worse, whatever their sign."""
    # Above zero the series gets worse by shrinking, below zero by growing in magnitude.
    shrinks = before + now > 0
    before, now = np.abs(before), np.abs(now)
    larger, smaller = np.where(shrinks, before, now), np.where(shrinks, now, before)
    return np.clip(np.maximum(larger, floor) / np.maximum(smaller, floor), 1 / c_max, c_max)


def measure_recap(windows: TwoWindows, is_loss: np.ndarray, c_max: float) -> tuple[np.ndarray, np.ndarray]:
    """c > 1 when the objective is getting worse, for rewards and for losses of either sign; i relative to |means|."""
    std = _unbiased_std(windows)
    old, new = windows.previous, windows.recent
    floor = _floor(old, new, std)
    instability = np.minimum(std / np.maximum(np.abs(old) + np.abs(new), floor), c_max)
    return _known(windows.full(), _worsening(old, new, floor, c_max), instability)


def measure_paper(windows: TwoWindows, is_loss: np.ndarray, c_max: float) -> tuple[np.ndarray, np.ndarray]:
    """The paper's formula to the letter: c = old mean / new mean of a loss, i = std / (sum of the means)."""
    std = _unbiased_std(windows)
    old, new = windows.previous, windows.recent
    floor = _floor(old, new, std)
    convergence = np.clip(_signed(old, floor) / _signed(new, floor), 1 / c_max, c_max)
    instability = np.clip(std / _signed(old + new, floor), -c_max, c_max)
    return _known(windows.full(), convergence, instability)


def measure_release(windows: TwoWindows, is_loss: np.ndarray, c_max: float) -> tuple[np.ndarray, np.ndarray]:
    """The authors' code: c = old/new for rewards, new/old for losses, i = population std / mean, from 2 values on."""
    old, new, mean, std = windows.halves()
    floor = _floor(old, new, std)
    before, after = np.where(is_loss, new, old), np.where(is_loss, old, new)
    convergence = np.clip(_signed(before, floor) / _signed(after, floor), 1 / c_max, c_max)
    instability = np.clip(std / _signed(mean, floor), -c_max, c_max)
    return _known(windows.count >= 2, convergence, instability)


def measure_dwa(windows: TwoWindows, is_loss: np.ndarray, c_max: float) -> tuple[np.ndarray, np.ndarray]:
    """Dynamic weight average: c = the last loss over the one before it (1 - reward for a reward); no instability."""
    new, old = windows.last(0), windows.last(1)
    floor = _floor(old, new)
    convergence = np.clip(_signed(new, floor) / _signed(old, floor), 1 / c_max, c_max)
    return _known(windows.count >= 2, convergence, np.full_like(convergence, np.nan))


def measure_confident(windows: TwoWindows, is_loss: np.ndarray, c_max: float) -> tuple[np.ndarray, np.ndarray]:
    """`measure_recap`'s convergence as far as the windows' means differ by more than chance; no instability.

    c^f with f = max(0, 1 - (2 / z)²), z the difference of the means in standard errors: a change within two of them
    leaves c at 1, and the surer a change is the more of c is kept. Ours, not the paper's.
    """
    convergence, _ = measure_recap(windows, is_loss, c_max)
    difference = windows.recent - windows.previous
    within = np.maximum(windows.squares - windows.window / 2 * difference**2, 0)
    error = np.sqrt(within / (windows.window - 1) / windows.window)
    floor = _floor(windows.previous, windows.recent)
    sure = np.maximum(0.0, 1 - (SURE * error / np.maximum(np.abs(difference), floor)) ** 2)
    return _known(windows.full(), convergence**sure, np.full_like(convergence, np.nan))


def measure_distance(windows: TwoWindows, is_loss: np.ndarray, c_max: float) -> tuple[np.ndarray, np.ndarray]:
    """How far an objective is below its level at the start of the run: c = first window / recent one if that is worse,
    1 where nothing is lost; no instability. Ours, not the paper's: what is forgotten slowly moves no adjacent windows.
    """
    first, new = windows.first, windows.recent
    lost = np.maximum(_worsening(first, new, _floor(first, new, _unbiased_std(windows)), c_max), 1.0)
    return _known(windows.full(), lost, np.full_like(lost, np.nan))


def mixed_priority(convergence: np.ndarray, instability: np.ndarray, alpha: float) -> np.ndarray:
    """s = 2 (alpha c + (1 - alpha) i): alpha = 0.5 gives the paper's Eq. 1, s = c + i, at its own temperature."""
    return 2 * (alpha * convergence + (1 - alpha) * instability)


def convergence_priority(convergence: np.ndarray, instability: np.ndarray, alpha: float) -> np.ndarray:
    return convergence


def _softmax(scores: np.ndarray, temperature: float) -> np.ndarray:
    exponential = np.exp((scores - scores.max()) / temperature)
    return exponential * (len(scores) / exponential.sum())


def softmax_of_priority(c: np.ndarray, i: np.ndarray, s: np.ndarray, alpha: float, temperature: float) -> np.ndarray:
    """K softmax(s / T)."""
    return _softmax(s, temperature)


def mixture_of_softmaxes(c: np.ndarray, i: np.ndarray, s: np.ndarray, alpha: float, temperature: float) -> np.ndarray:
    """K (alpha softmax(c / T) + (1 - alpha) softmax(i / T))."""
    return alpha * _softmax(c, temperature) + (1 - alpha) * _softmax(i, temperature)


def equal(c: np.ndarray, i: np.ndarray, s: np.ndarray, alpha: float, temperature: float) -> np.ndarray:
    """1 for every objective."""
    return np.ones_like(c)


@dataclass(frozen=True)
class Preset:
    """One weighting rule.

    series: the series kept for a reward and for a loss, as (offset, sign).
    measure: (windows, is_loss (K,) bool, c_max) -> convergence and instability, (K,) each. Convergence is NaN exactly
        where the objective has too few observations.
    priority: (convergence, instability, alpha) -> s, (K,).
    weigh: (c, i, s, alpha, temperature) -> weights of mean 1; called with the objectives alone whose c is known.
    """

    series: dict[str, tuple[float, float]]
    measure: Callable[..., tuple[np.ndarray, np.ndarray]]
    priority: Callable[..., np.ndarray]
    weigh: Callable[..., np.ndarray]


# `static` and `uniform` measure what `recap` does, so that a baseline run logs the same curves.
PRESETS = {
    "recap": Preset(HIGHER_IS_BETTER, measure_recap, mixed_priority, softmax_of_priority),
    "paper": Preset(LOWER_IS_BETTER, measure_paper, mixed_priority, softmax_of_priority),
    "release": Preset(AS_OBSERVED, measure_release, mixed_priority, mixture_of_softmaxes),
    "confident": Preset(HIGHER_IS_BETTER, measure_confident, convergence_priority, softmax_of_priority),
    "distance": Preset(HIGHER_IS_BETTER, measure_distance, convergence_priority, softmax_of_priority),
    "dwa": Preset(LOWER_IS_BETTER, measure_dwa, convergence_priority, softmax_of_priority),
    "static": Preset(HIGHER_IS_BETTER, measure_recap, mixed_priority, equal),
    "uniform": Preset(HIGHER_IS_BETTER, measure_recap, mixed_priority, equal),
}
