"""Settings of RECAP that the study compares: sweep -> variant -> keys of the config section `recap`."""

TEMPERATURES = (0.1, 0.2, 0.5, 1, 2, 5, 10)
WINDOWS = (5, 10, 20, 50)
PRESETS = ("recap", "paper", "release", "confident", "distance", "dwa")
# One prompt in sixteen from each domain that is replayed: what forgets even so.
SCARCE = {"reason": 14, "ground": 1, "ocr": 1}


def _scheduler(**settings) -> dict:
    return {"scheduler": settings}


SWEEPS = {
    "temperature": {f"T={value}": _scheduler(temperature=value) for value in TEMPERATURES},
    "window": {f"W={value},T=0.5": _scheduler(window=value, temperature=0.5) for value in WINDOWS},
    "preset": {f"preset={name},T=0.5": _scheduler(preset=name, temperature=0.5) for name in PRESETS},
    "weight_per": {
        f"weight_per={value},T=0.5": {"weight_per": value, **_scheduler(temperature=0.5)}
        for value in ("objective", "domain_objective")
    },
    "weight_on": {
        f"weight_on={value},T=0.5": {"weight_on": value, **_scheduler(temperature=0.5)}
        for value in ("advantage", "reward")
    },
    # Of the study `vl`; to be compared with its own preset uniform.
    "scarce": {
        f"scarce,preset={name},T=0.2": {"mixture": SCARCE, **_scheduler(preset=name, temperature=0.2)}
        for name in ("uniform", "recap", "distance")
    },
}
