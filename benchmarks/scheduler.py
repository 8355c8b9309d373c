"""Cost of one scheduler step, observe and then weights, against the window length; every preset at one length.

Run: python benchmarks/scheduler.py
"""

import time

import numpy as np

from recap_verl.scheduler import PRESETS, RecapScheduler

OBJECTIVES = 64
WINDOWS = (10, 50, 500, 5000)


def microseconds_per_step(window: int, preset: str = "recap") -> float:
    """Mean cost of a step once the windows are full, over whole blocks of the window (a block's end costs more)."""
    names = [f"objective_{k}" for k in range(OBJECTIVES)]
    static = {names[0]: 2.0} if preset == "static" else None
    scheduler = RecapScheduler(dict.fromkeys(names, "reward"), window=window, preset=preset, static_weights=static)
    rng = np.random.default_rng(0)
    steps = [dict(zip(names, row, strict=True)) for row in rng.random((256, OBJECTIVES)).tolist()]
    for step in range(2 * window):
        scheduler.observe(steps[step % 256])
    measured = window * max(1, 5000 // window)
    start = time.perf_counter()
    for step in range(measured):
        scheduler.observe(steps[step % 256])
        scheduler.weights  # noqa: B018
    return (time.perf_counter() - start) / measured * 1e6


def main() -> None:
    print(f"observe + weights, {OBJECTIVES} objectives, all present in every step")
    costs = {window: microseconds_per_step(window) for window in WINDOWS}
    for window, cost in costs.items():
        print(f"  W = {window:5d}   {cost:6.1f} µs   {cost / costs[WINDOWS[0]]:5.2f} x the cost at W = {WINDOWS[0]}")
    print("by preset, W = 50")
    for preset in PRESETS:
        print(f"  {preset:8s}   {microseconds_per_step(50, preset):6.1f} µs")


if __name__ == "__main__":
    main()
