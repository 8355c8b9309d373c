"""Coverage-guided fuzzing of objectives, their parsers, converters and readers of files (needs `pip install atheris`).

    python tests/fuzz/fuzz.py [symbolic|converters|readers] -runs=1000000 -max_len=2000 -dict=tests/fuzz/objectives.dict

Stops with the input at the first exception, value out of range, or input that takes longer than 50 ms (2 s for what
compares trees, and for accuracy's symbolic mathematics, which is fuzzed instead of everything else if the first
argument is `symbolic`). After the last run it prints how many inputs there were and the slowest. Not collected by
pytest; `test_total_metrics.py` and `test_total_converters.py` run the same targets over fixed and random texts.
"""

import sys
import time
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
# Lets it see comparisons of texts, which decide more here than branches do.
atheris.enabled_hooks.add("str")
with atheris.instrument_imports(include=["recap_verl.objectives", "data_prep"]):
    from converters import converter_targets
    from readers import reader_targets
    from targets import SYMBOLIC_TARGETS, TARGETS

MODES = {"symbolic": lambda: SYMBOLIC_TARGETS, "converters": converter_targets, "readers": reader_targets}
MODE = sys.argv.pop(1) if sys.argv[1:2] and sys.argv[1] in MODES else ""
SYMBOLIC = MODE == "symbolic"
ACTIVE = MODES[MODE]() if MODE else TARGETS
# Seconds. Comparing two trees takes the square of their size; what would take longer than about two seconds scores 0.
LIMITS = {name: 2.0 if SYMBOLIC or " parsing " in name else 0.05 for name, _ in ACTIVE}
# Processor time, whatever else the machine does; symbolic mathematics happens in another process.
_clock = time.perf_counter if SYMBOLIC else time.thread_time
_slowest = dict.fromkeys((name for name, _ in ACTIVE), 0.0)
_inputs = 0


def test_one_input(data: bytes) -> None:
    """The first two bytes choose the target, the rest is the text: UTF-8, and lone surrogates where it is not."""
    global _inputs
    name, target = ACTIVE[int.from_bytes(data[:2].ljust(2, b"\x00")) * len(ACTIVE) // 2**16]
    text = data[2:].decode("utf-8", "surrogateescape")
    seconds = _seconds(target, text)
    if seconds > LIMITS[name]:
        # Caches and memory are shared with whatever else runs: what is slow is slow again.
        seconds = min(seconds, _seconds(target, text), _seconds(target, text))
    assert seconds <= LIMITS[name], f"{name} took {seconds:.3f} s"
    _slowest[name] = max(_slowest[name], seconds)
    _inputs += 1
    if _inputs == _planned:
        _report()


def _seconds(target, text: str) -> float:
    start = _clock()
    target(text)
    return _clock() - start


def _report() -> None:
    name = max(_slowest, key=_slowest.__getitem__)
    print(f"{_inputs} inputs to {len(ACTIVE)} targets, none failed; slowest {_slowest[name] * 1000:.1f} ms ({name})")
    sys.stdout.flush()


_planned = next((int(argument.partition("=")[2]) for argument in sys.argv if argument.startswith("-runs=")), 0)

if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
