"""Processes that work on a stream: what they hold of it, and what is said when one dies."""

import os
import time
from pathlib import Path

import pytest

from data_prep.errors import DataError
from data_prep.source.files import count_rows
from data_prep.workers import run_tasks


def test_no_more_of_the_stream_is_read_than_is_worked_on():
    drawn, finished, ahead = [], [], []

    def tasks():
        for number in range(40):
            drawn.append(number)
            ahead.append(len(drawn) - len(finished))
            yield (0.001,)

    for result in run_tasks(time.sleep, tasks(), 2):
        finished.append(result)
    assert len(finished) == 40 and max(ahead) <= 2 + 1


def test_a_process_that_dies_is_one_sentence():
    with pytest.raises(DataError, match=r"^a process died, as a rule for want of memory: take a smaller --num-proc"):
        list(run_tasks(os._exit, [(9,)] * 5, 2))
    # Too large to be sent before the process ends: the connection is reset, not closed.
    with pytest.raises(DataError, match=r"^a process died"):
        list(run_tasks(unknown_to_others, [(bytes(1 << 22),)] * 5, 2))


def unknown_to_others(_):
    """No spawned process can import it."""


def test_an_error_of_a_task_ends_the_stream():
    with pytest.raises(DataError, match=r"nowhere\.parquet is damaged or truncated"):
        list(run_tasks(count_rows, [(Path("nowhere.parquet"),)] * 5, 2))
    with pytest.raises(RuntimeError, match=r"(?s)in another process:.*ValueError: sleep length must be"):
        list(run_tasks(time.sleep, [(-1,)], 2))
