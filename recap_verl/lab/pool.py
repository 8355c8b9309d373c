"""Several trials side by side."""

import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
import transformers

from recap_verl.lab import results
from recap_verl.lab.run import Laboratory, Trial, run_trial
from recap_verl.lab.study import Study


def run_pool(
    laboratory: Laboratory,
    trials: Sequence[Trial],
    study: Study,
    engine: str,
    work: Path,
    table: Path,
    processes: int,
) -> None:
    """Run all trials, `processes` at a time, and append each to the table when it is done."""
    if processes == 1:
        _set_up(os.cpu_count() or 1)
        for trial in trials:
            run_into(laboratory, trial, study, engine, work, table)
        return
    threads = max(1, (os.cpu_count() or 1) // processes)
    # A forked process would share torch's pool of threads with its parent, and hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_set_up_worker, initargs=(threads,)) as pool:
        started = [pool.submit(run_into, laboratory, trial, study, engine, work, table) for trial in trials]
        try:
            for future in as_completed(started):
                future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a run was killed, for want of memory perhaps: start again, what ended is kept"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def run_into(laboratory: Laboratory, trial: Trial, study: Study, engine: str, work: Path, table: Path) -> None:
    """Run one trial, with a line at each validation of the fast engine, and append it to the table."""
    started = time.perf_counter()
    variant = f" {trial.variant}" if trial.variant else ""
    name = f"{engine} {trial.arm}{variant}, seed {trial.seed}"

    def tell(step: int) -> None:
        if step % study.validate_every == 0:
            print(f"{name}: step {step} of {study.steps}, {time.perf_counter() - started:.0f} s", flush=True)

    results.append(table, run_trial(laboratory, trial, study, engine, work, tell))
    print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)


def _set_up_worker(threads: int) -> None:
    _set_up(threads)
    # A command that is killed takes its runs with it: they would go on for minutes, and write to the table.
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _set_up(threads: int) -> None:
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
