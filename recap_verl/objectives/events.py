"""Counting what happened while a row was scored (a comparison cut off, an answer too long to parse …).

Scores alone cannot tell a wrong answer from one that was never compared, so objectives count such events and the
caller collects them per row, from any thread:

    with collect_events() as events:
        score = objective(response, ground_truth, extra_info)
    events["symbolic_cutoff"]
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_collector: ContextVar[Counter[str] | None] = ContextVar("recap_objective_events", default=None)


@contextmanager
def collect_events() -> Iterator[Counter[str]]:
    """Yield a counter of the events counted inside the block by this thread or task; a nested block has its own."""
    events: Counter[str] = Counter()
    token = _collector.set(events)
    try:
        yield events
    finally:
        _collector.reset(token)


def count_event(name: str) -> None:
    """Count `name` once for the innermost enclosing `collect_events`; without one nothing is recorded."""
    events = _collector.get()
    if events is not None:
        events[name] += 1
