"""The process in which formulas are compared. `bounded.py` starts this file as a script and owns its life.

Standard input is a socket. A request is one line of JSON, `[seconds, [gold, …], answer, prose]`, the reply one byte:
`1` equal, `0` not. It begins with `r` once everything is imported. The process ends when the socket closes, when a
request outlives its time (even if nobody is left to kill it), or when it has grown too large.

The text compared comes from a language model, and sympy's `parse_expr`, which math-verify uses for plain arithmetic,
calls `eval`. math-verify admits only digits and operators there; should another way ever open, `lock_down` keeps the
process from running programs, opening connections and writing files.
"""

import json
import logging
import os
import resource
import signal
import socket
import sys
from pathlib import Path

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

ADDRESS_SPACE = 2 << 30  # bytes
# Parser caches grow with every new input. A child beyond this resident size hands over to a fresh one between
# requests, long before it would fail every request for want of memory.
RESIDENT_LIMIT = ADDRESS_SPACE // 2

_STATM = Path("/proc/self/statm")

FORMULA = [LatexExtractionConfig()]
PROSE = [LatexExtractionConfig(), ExprExtractionConfig()]

_READING = ("os.listdir", "os.scandir")  # the import system needs these for modules sympy loads late
_FORBIDDEN = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pty.")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def equal(golds: list[str], answer: str, prose: bool) -> bool:
    """Whether the answer equals any gold. Golds are formulas between dollar signs; so is the answer unless `prose`."""
    # Timeouts of math-verify are off: they are signal handlers that C code does not see.
    found = parse(answer, PROSE if prose else FORMULA, fallback_mode="no_fallback", parsing_timeout=None)
    return bool(found) and any(
        verify(parse(gold, FORMULA, fallback_mode="no_fallback", parsing_timeout=None), found, timeout_seconds=None)
        for gold in golds
    )


def lock_down() -> None:
    """Give up, for good, memory beyond the limit, core dumps, programs, connections and files for writing."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    space = ADDRESS_SPACE if hard == resource.RLIM_INFINITY else min(hard, ADDRESS_SPACE)
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.dont_write_bytecode = True
    sys.addaudithook(_refuse)


def _refuse(event: str, args: tuple) -> None:
    forbidden = event.startswith(_FORBIDDEN) and event not in _READING
    if forbidden or (event == "open" and isinstance(args[2], int) and args[2] & _WRITING):
        raise PermissionError(f"{event} is not allowed while formulas are compared")


def serve(channel: socket.socket) -> None:
    for line in channel.makefile("rb"):
        seconds, golds, answer, prose = json.loads(line)
        # The default action of SIGALRM ends the process, also inside a C loop: nobody has to be there to kill it.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        result = equal(golds, answer, prose)
        signal.setitimer(signal.ITIMER_REAL, 0)
        channel.sendall(b"1" if result else b"0")
        if resident() > RESIDENT_LIMIT:
            return


def resident() -> int:
    """Bytes in memory. The peak that `getrusage` tells is inherited from the process that started this one: below a
    large one the child would end after every question."""
    if not _STATM.exists():  # not on Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(_STATM.read_bytes().split()[1]) * resource.getpagesize()


def main() -> None:
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    channel = socket.socket(fileno=0)
    equal(["$x^2+1$"], r"$\frac{x}{2}$", False)  # builds regexes and parser tables, imports what sympy loads late
    lock_down()
    channel.sendall(b"r")
    serve(channel)


if __name__ == "__main__":
    main()
