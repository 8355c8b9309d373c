"""Processes that work on a stream of tasks, each on one task at a time."""

import contextlib
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from data_prep.errors import DataError

Task = tuple


def run_tasks(function: Callable[..., Any], tasks: Iterable[Task], processes: int) -> Iterator[Any]:
    """`function(*task)` of each task, in the order they finish.

    The stream is read only as fast as processes become free, so a task for each process and one more are in memory.
    An error of a task ends the stream. With one process everything happens in this one.

    Processes are spawned (forking is unsafe beside the threads of pyarrow), so `function` and the tasks are pickled.
    They end when this process ends, however it does.
    """
    if processes == 1:
        for task in tasks:
            yield function(*task)
        return
    with _started(function, processes) as connections:
        free, busy = list(connections), []
        for task in tasks:
            if not free:
                yield from _results(busy, free)
            connection = free.pop()
            try:
                connection.send(task)
            except ConnectionError:
                raise _died() from None
            busy.append(connection)
        while busy:
            yield from _results(busy, free)


def _results(busy: list[Connection], free: list[Connection]) -> Iterator[Any]:
    for connection in wait(busy):
        try:
            result, error = connection.recv()
        except (EOFError, ConnectionError):
            raise _died() from None
        if error is not None:
            raise error
        busy.remove(connection)
        free.append(connection)
        yield result


def _died() -> DataError:
    return DataError(
        "a process died, as a rule for want of memory: take a smaller --num-proc and run the same command again, it "
        "goes on from here"
    )


@contextlib.contextmanager
def _started(function: Callable, processes: int) -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(processes)]
    workers = [context.Process(target=_work, args=(function, theirs), daemon=True) for _, theirs in pairs]
    with _ignoring_interrupts():
        for worker in workers:
            worker.start()
    for _, theirs in pairs:
        theirs.close()
    try:
        yield [ours for ours, _ in pairs]
    finally:
        # Shards are written whole or not at all, so nothing is lost by ending a process in the middle of one.
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Processes started here inherit it: Ctrl-C reaches all of them, and only this one is to answer."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(function: Callable, connection: Connection) -> None:
    # Without its parent a process has nobody to work for: it ends without a word.
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            connection.send(_outcome(function, connection.recv()))


def _outcome(function: Callable, task: Task) -> tuple[Any, Exception | None]:
    try:
        return function(*task), None
    except (DataError, OSError) as error:
        return None, error
    except Exception:
        return None, RuntimeError(f"in another process:\n{traceback.format_exc()}")
