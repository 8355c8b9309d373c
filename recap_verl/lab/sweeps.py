"""Settings of RECAP that the study compares: sweep -> pairs of an arm and keys of the config section `recap`."""

from collections.abc import Mapping
from typing import Any

TEMPERATURES = (0.1, 0.2, 0.5, 1, 2, 5, 10)
WINDOWS = (5, 10, 20, 50)
PRESETS = ("recap", "paper", "release", "confident", "distance", "dwa")
EXTENSIONS = ("recap", "distance")
# One prompt in sixteen from each domain that is replayed: what forgets even so.
SCARCE = {"reason": 14, "ground": 1, "ocr": 1}
# At the paper's temperature presets hardly differ; at this one they do.
TELLING = 0.5


def _recap(temperature: float = TELLING, **settings) -> tuple[str, dict[str, Any]]:
    return "recap", {"scheduler": {"temperature": temperature, **settings}}


def _with(pair: tuple[str, dict[str, Any]], **settings) -> tuple[str, dict[str, Any]]:
    return pair[0], {**pair[1], **settings}


SWEEPS: dict[str, list[tuple[str, Mapping[str, Any]]]] = {
    "temperature": [_recap(temperature=value) for value in TEMPERATURES],
    "window": [_recap(window=value) for value in WINDOWS],
    "preset": [_recap(preset=name) for name in PRESETS],
    # With the base's own answers there are two domains of next-token loss, which may share its weight or not.
    "weight_per": [
        ("recap_self_replay", {"scheduler": {"temperature": TELLING}, "weight_per": value})
        for value in ("objective", "domain_objective")
    ],
    "weight_on": [_with(_recap(), weight_on=value) for value in ("advantage", "reward")],
    "sampling": [_with(_recap(temperature=0.2, preset=name), mixture_follows_weights=True) for name in EXTENSIONS],
    # Of the study `vl`.
    "scarce": [
        _with(pair, mixture=SCARCE)
        for pair in (
            ("uniform", {}),
            _recap(temperature=0.2),
            _recap(temperature=0.2, preset="distance"),
            _with(_recap(temperature=0.2), mixture_follows_weights=True),
            _with(_recap(temperature=0.2, preset="distance"), mixture_follows_weights=True),
        )
    ],
}
