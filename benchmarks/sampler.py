"""ReplaySampler at 10 million rows: construction, time a batch and memory, each input kind in its own process.

Usage: python benchmarks/sampler.py
"""

import multiprocessing
import resource
import threading
import time
from itertools import islice

import numpy as np
import pyarrow as pa

from recap_verl.replay import ReplaySampler

ROWS, DOMAINS, BATCH_SIZE, BATCHES = 10_000_000, 100, 1024, 4_000
MIB = 2**20


def make_domains(kind: str):
    names = [f"domain_{i:03d}" for i in range(DOMAINS)]
    # Unequal domains: the largest holds about 200 times the smallest.
    shares = np.geomspace(1, 200, DOMAINS)
    codes = np.random.default_rng(0).choice(DOMAINS, ROWS, p=shares / shares.sum()).astype(np.int32)
    if kind == "pyarrow dictionary":
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names))
    return np.array(names, dtype=object if kind == "numpy object" else str)[codes]


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


class PeakMemory(threading.Thread):
    """Highest resident memory seen while it runs, above where it started."""

    def __init__(self):
        super().__init__(daemon=True)
        self.start_bytes = self.peak_bytes = resident_bytes()
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(0.002):
            self.peak_bytes = max(self.peak_bytes, resident_bytes())

    def mebibytes(self) -> float:
        return (self.peak_bytes - self.start_bytes) / MIB


def measure(kind: str, mixture: str) -> None:
    domains = make_domains(kind)
    # A first small use loads pyarrow's and numpy's own code, which is not the sampler's memory.
    next(iter(ReplaySampler(domains[:1000], 10)))
    memory = PeakMemory()
    memory.start()
    start = time.perf_counter()
    sampler = ReplaySampler(domains, BATCH_SIZE, mixture=mixture)
    construction = time.perf_counter() - start
    construction_peak = memory.mebibytes()

    indices = iter(sampler)
    times = []
    for _ in range(BATCHES):
        start = time.perf_counter()
        list(islice(indices, BATCH_SIZE))
        times.append(time.perf_counter() - start)
    memory.done.set()
    memory.join()
    milliseconds = 1000 * np.array(times)
    print(
        f"{kind:<18} {mixture:<13} {construction:6.2f} s {milliseconds.mean():10.3f} {np.median(milliseconds):8.3f} "
        f"{np.percentile(milliseconds, 99):8.3f} {construction_peak:14.0f} {memory.mebibytes():10.0f}",
        flush=True,
    )


def main() -> None:
    print(f"{ROWS:,} rows, {DOMAINS} domains, {BATCHES:,} batches of {BATCH_SIZE}; memory in MiB above the input")
    print("input              mixture       construct  mean ms a batch  p50      p99  peak construct  peak all")
    context = multiprocessing.get_context("spawn")
    for kind in ("numpy str", "numpy object", "pyarrow dictionary"):
        for mixture in ("uniform", "proportional"):
            process = context.Process(target=measure, args=(kind, mixture))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"measuring {kind} failed with exit code {process.exitcode}")


if __name__ == "__main__":
    main()
