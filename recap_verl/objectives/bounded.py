"""Symbolic equality under a hard deadline.

A formula that a language model wrote can keep sympy busy for hours (`9^9^9^9`), and no in-process timeout stops it:
reward functions run in threads, where signals do not arrive, and C code does not look at them anyway. So formulas are
compared in one warm child process, which is killed and replaced when the deadline passes.

The child is a plain `subprocess`: daemonic processes such as Ray's and multiprocessing's may start one.
"""

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from recap_verl.objectives.events import count_event
from recap_verl.objectives.mathtext import as_latex, has_notation, has_words, is_mathematical, quantity, tidied

MAX_LENGTH = 1000  # characters; longer answers are no formulas but prose, or an attack
MAX_TIMEOUT = 60.0  # seconds
_START_SECONDS = 120.0  # importing sympy takes about one on an idle machine
_CHILD = Path(__file__).with_name("symbolic_child.py")


def symbolic_equal(gold: str | Sequence[str], answer: str, timeout: float = 2.0) -> bool:
    """Whether the answer equals the gold (or any of several) mathematically, by math-verify.

    Args:
        gold: a formula, plain or LaTeX, or a number with a unit (`12 apples`: then words in the answer must include
            the unit). Golds of other words are never equal to anything here; compare them as text.
        answer: a formula, or prose that ends in one.
        timeout: seconds for all golds together, at most 60; at or below 0 nothing is compared. The start of the
            child does not count.

    Events (see `collect_events`): `symbolic_cutoff` if time ran out, `symbolic_crashed` if the comparison ended the
    child twice (memory), `symbolic_skipped_long` if the answer was too long to be compared; False in all three.

    Raises:
        RuntimeError: the child does not start (is math-verify installed?).
    """
    # "I do not know" holds no formula: asking about it would only cost the round trip.
    if not timeout > 0 or not has_notation(answer):
        return False
    golds = [gold] if isinstance(gold, str) else gold
    too_long = len(answer) > MAX_LENGTH
    text = "" if too_long else tidied(answer)
    formulas = [formula for gold in golds if (formula := _formula(gold, text)) is not None]
    if not formulas:
        return False
    if too_long:
        count_event("symbolic_skipped_long")
        return False
    prose = has_words(text)
    # Prose keeps its dollar signs: they tell where its formulas are.
    outcome = _child.ask(formulas, answer if prose else as_latex(text), prose, min(timeout, MAX_TIMEOUT))
    if isinstance(outcome, bool):
        return outcome
    count_event(outcome)
    return False


def _formula(gold: str, answer: str) -> str | None:
    """The gold as LaTeX, None if it is no formula or its unit contradicts the answer's words."""
    if len(gold) > MAX_LENGTH:
        return None
    gold = tidied(gold)
    if is_mathematical(gold):
        return as_latex(gold)
    parts = quantity(gold)
    if parts is None:
        return None
    number, unit = parts
    same_unit = unit.lower().removesuffix("s") in answer.lower()
    return as_latex(number) if same_unit or not has_words(answer) else None


class ComparisonProcess:
    """One child process, started when first asked, replaced whenever it is gone. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._channel: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the child, None before the first question and after `close`."""
        return self._process.pid if self._process else None

    def ask(self, golds: list[str], answer: str, prose: bool, timeout: float) -> bool | str:
        """Whether they are equal, or the name of the event that kept us from knowing."""
        # One second more than we wait: the child's own alarm is for when we are no longer there.
        request = json.dumps([timeout + 1, golds, answer, prose]).encode() + b"\n"
        with self._lock:
            # A child that died since the last question (killed from outside, grown too large) is only noticed here.
            # The second try is on a fresh one.
            for _ in range(2):
                self._ensure_started()
                try:
                    reply = self._exchange(request, timeout)
                except TimeoutError:
                    return "symbolic_cutoff"
                if reply:
                    return reply == b"1"
            return "symbolic_crashed"

    def close(self) -> None:
        """End the child; the next question starts another."""
        with self._lock:
            self._stop()

    def _ensure_started(self) -> None:
        if self._process is not None:
            return
        self._channel, theirs = socket.socketpair()
        # The child finds the packages we find, but not the files next to its script (-P): they shadow no module.
        # A session of its own keeps a Ctrl-C meant for us from it; it ends when our end of the socket closes.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_CHILD)],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        try:
            ready = self._exchange(b"", _START_SECONDS)
        except TimeoutError:
            ready = b""
        if not ready:
            raise RuntimeError(
                "the process that compares formulas did not start; check that math-verify is installed: "
                f"{sys.executable} -c 'import math_verify'"
            )

    def _exchange(self, request: bytes, timeout: float) -> bytes:
        """The one-byte reply, empty if the child is gone; raises TimeoutError.

        However it ends without a reply (a Ctrl-C too), the child ends with it: a reply that comes late must not
        answer the next question.
        """
        reply = b""
        try:
            self._channel.settimeout(timeout)
            self._channel.sendall(request)
            reply = self._channel.recv(1)
        except ConnectionError:
            return b""
        finally:
            if not reply:
                self._stop()
        return reply

    def _stop(self) -> None:
        if self._process is None:
            return
        self._channel.close()
        self._process.kill()
        self._process.wait()
        self._process = self._channel = None


_child = ComparisonProcess()


def _start_over_after_fork() -> None:
    """A forked process gets a child of its own; the inherited one, and perhaps a held lock, belong to its parent."""
    global _child
    _child = ComparisonProcess()


@atexit.register
def _close_at_exit() -> None:
    _child.close()


os.register_at_fork(after_in_child=_start_over_after_fork)
