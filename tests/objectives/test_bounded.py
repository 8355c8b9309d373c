"""The comparison process: deadline, recovery, threads, daemonic and forked processes, and that nothing gets out."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recap_verl.objectives import bounded, collect_events, count_event, get_objective, symbolic_equal

# Comparisons that keep sympy busy for minutes at least: a deadline is what ends them.
ENDLESS = ["9999999!", "9^{9^{9^{9}}}", "(x+1)^{2000}-x", "(" * 450 + "1" + ")" * 450]


@pytest.fixture
def fresh(monkeypatch):
    """A comparison process of the test's own."""
    process = bounded.ComparisonProcess()
    monkeypatch.setattr(bounded, "_child", process)
    yield process
    process.close()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    """Fails if the process outlives any reasonable delay."""
    for _ in range(600):
        if not is_running(pid):
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    pytest.fail(f"process {pid} is still running")


def test_equal_and_not():
    assert symbolic_equal(r"\frac{1}{2}", "0.5")
    assert symbolic_equal(["7", "x+1"], "1+x")
    assert not symbolic_equal("x+1", "x+2")
    assert not symbolic_equal([], "1")


@pytest.mark.parametrize("answer", ENDLESS)
def test_an_endless_comparison_is_cut_off_and_counted(answer):
    with collect_events() as events:
        assert symbolic_equal("x+5", answer, timeout=0.2) is False
    assert events == {"symbolic_cutoff": 1}
    with collect_events() as events:
        assert symbolic_equal("x+5", "5+x", timeout=60)
    assert not events


def test_several_golds_share_one_deadline():
    with collect_events() as events:
        assert symbolic_equal([f"x+{i}" for i in range(50)], "9999999!", timeout=0.2) is False
    assert events == {"symbolic_cutoff": 1}


def test_start_does_not_count_against_the_first_deadline(fresh, tmp_path, monkeypatch):
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import socket, time\ntime.sleep(1)\nc = socket.socket(fileno=0)\nc.send(b'r'); c.recv(9); c.send(b'1')\n"
    )
    monkeypatch.setattr(bounded, "_CHILD", slow)
    assert symbolic_equal("1/2", "2/4", timeout=0.5)


def test_a_killed_child_is_replaced(fresh):
    assert symbolic_equal("1/2", "2/4")
    first = fresh.pid
    os.kill(first, signal.SIGKILL)
    with collect_events() as events:
        assert symbolic_equal("1/2", "2/4")
    assert fresh.pid != first
    assert not events


def test_a_closed_process_starts_again(fresh):
    assert fresh.pid is None
    assert symbolic_equal("1/2", "2/4")
    first = fresh.pid
    fresh.close()
    assert not is_running(first)
    assert symbolic_equal("1/2", "2/4")


def test_a_comparison_that_ends_the_child_twice_is_counted(fresh, tmp_path, monkeypatch):
    dying = tmp_path / "dying.py"
    dying.write_text("import socket\nc = socket.socket(fileno=0)\nc.send(b'r'); c.recv(9)\n")
    monkeypatch.setattr(bounded, "_CHILD", dying)
    with collect_events() as events:
        assert symbolic_equal("1/2", "2/4") is False
    assert events == {"symbolic_crashed": 1}


def test_a_child_that_cannot_start_is_an_error(fresh, tmp_path, monkeypatch):
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(3)\n")
    monkeypatch.setattr(bounded, "_CHILD", broken)
    with pytest.raises(RuntimeError, match="did not start; check that math-verify is installed"):
        symbolic_equal("1/2", "2/4")
    assert fresh.pid is None


def test_an_interrupt_leaves_no_late_reply_behind(fresh):
    assert symbolic_equal("1/2", "2/4")
    first = fresh.pid

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            symbolic_equal("5", "9999999!", timeout=60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert not is_running(first)
    assert not symbolic_equal("1/2", "3/4")


def test_many_threads_get_their_own_answers_and_events():
    def compare(i: int) -> tuple[bool, dict]:
        with collect_events() as events:
            return symbolic_equal(f"{i}/7", f"{2 * i + i % 2}/14"), dict(events)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(compare, range(1, 201)))
    assert results == [(i % 2 == 0, {}) for i in range(1, 201)]


def test_events_stay_in_their_thread():
    inside = threading.Event()
    seen = {}

    def other():
        with collect_events() as events:
            inside.wait(30)
            seen.update(events)

    thread = threading.Thread(target=other)
    with collect_events() as events:
        thread.start()
        count_event("mine")
        inside.set()
        thread.join()
    assert (events, seen) == ({"mine": 1}, {})


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_from_a_daemonic_process(method):
    assert symbolic_equal("1/2", "2/4")  # so that the forked one inherits a child that is not its own
    with multiprocessing.get_context(method).Pool(1) as pool:  # the workers of a pool are daemonic
        assert pool.apply(get_objective("accuracy"), ("<answer>2/4</answer>", "1/2", {})) == 1.0
    assert symbolic_equal("1/2", "3/6")


def test_a_process_forked_while_another_thread_compares():
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(symbolic_equal, "x+5", "9999999!", 1.0)
        while not bounded._child._lock.locked():
            assert not busy.done()
        with multiprocessing.get_context("fork").Pool(1) as forked:
            assert forked.apply(symbolic_equal, ("1/2", "2/4"))
        assert busy.result() is False


HOLDER = """
import sys, threading, time
from recap_verl.objectives import bounded, symbolic_equal
assert symbolic_equal("1/2", "2/4")
if sys.argv[1] == "busy":
    threading.Thread(target=symbolic_equal, args=("x+5", "9999999!", 1.0)).start()
    while not bounded._child._lock.locked():
        pass
    time.sleep(0.2)
print(bounded._child.pid, flush=True)
if sys.argv[1] != "exits":
    time.sleep(600)
"""


@pytest.mark.parametrize("how", ["exits", "idle", "busy"])
def test_the_child_dies_with_its_parent(how):
    parent = subprocess.Popen([sys.executable, "-c", HOLDER, how], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    if how != "exits":
        assert is_running(pid)
        parent.kill()
    assert parent.wait() == (0 if how == "exits" else -signal.SIGKILL)
    parent.stdout.close()
    wait_until_gone(pid)


def run_in_child_module(code: str) -> str:
    """Run code with the child's module loaded as the child loads it, and return what it prints."""
    load = f"import runpy, sys\nchild = runpy.run_path({str(bounded._CHILD)!r})\n"
    done = subprocess.run([sys.executable, "-P", "-c", load + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_child_imports_neither_torch_nor_our_package():
    loaded = run_in_child_module("print({'torch', 'numpy', 'verl', 'ray', 'vllm', 'recap_verl'} & set(sys.modules))")
    assert loaded == "set()"


def test_the_memory_of_the_child_is_limited(fresh):
    assert symbolic_equal("1/2", "2/4")
    limits = Path(f"/proc/{fresh.pid}/limits").read_text()
    line = next(line for line in limits.splitlines() if line.startswith("Max address space"))
    assert int(line.split()[3]) <= 2 << 30


def test_a_child_grown_too_large_hands_over_after_its_reply():
    code = """
import os, socket, threading
serve = child["serve"]
serve.__globals__["RESIDENT_LIMIT"] = 0
ours, theirs = socket.socketpair()
ours.sendall(b'[60, ["$1$"], "$1$", false]\\n' * 2)
serve(theirs)
theirs.close()
print(ours.recv(2))
"""
    assert run_in_child_module(code) == "b'1'"


def test_a_child_of_a_large_process_answers_more_than_one_question(fresh):
    """A trainer or reward worker is larger than the child may grow, and Linux counts a parent's peak as the child's."""
    ballast = bytearray(b"x") * (1100 << 20)
    assert fresh.ask(["$1/2$"], "$2/4$", False, 2.0) is True
    pid = fresh.pid
    assert fresh.ask(["$1/2$"], "$3/6$", False, 2.0) is True and fresh.pid == pid
    del ballast


def test_lock_down_leaves_no_way_to_run_or_write_anything(tmp_path):
    code = f"""
import os, socket, subprocess
target = {str(tmp_path / "written")!r}
child["lock_down"]()
ways = [
    lambda: os.system("touch " + target),
    lambda: subprocess.run(["touch", target]),
    lambda: os.execv("/bin/touch", ["touch", target]),
    lambda: os.fork(),
    lambda: open(target, "w"),
    lambda: os.open(target, os.O_CREAT | os.O_WRONLY),
    lambda: os.remove({str(tmp_path)!r}),
    lambda: socket.create_connection(("127.0.0.1", 9), 1),
]
for way in ways:
    try:
        way()
    except PermissionError as error:
        print("refused")
    else:
        print("done")
open("/proc/self/limits").read()
"""
    assert run_in_child_module(code).split() == ["refused"] * 8
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "${}$",
        "1 + {}",
        "1+({})",
        "the answer is {} or 1",
        "final answer is ${}$. I hope",
        r"\text{{{}}}",
        r"\operatorname{{{}}}(1)",
        r"\frac{{{}}}{{2}}",
        r"\boxed{{{}}}",
        "x_{{{}}} = 1",
        "[{}, 1]",
    ],
)
@pytest.mark.parametrize("quote", ["'", '"'])
def test_nothing_a_response_says_is_executed(form, quote, tmp_path):
    target = tmp_path / "written"
    attacks = [
        f"__import__({quote}os{quote}).system({quote}touch {target}{quote})",
        f"open({quote}{target}{quote},{quote}w{quote})",
        f"().__class__.__base__.__subclasses__()[0]({quote}{target}{quote})",
        f"exec({quote}open({target!s}){quote})",
    ]
    accuracy = get_objective("accuracy", timeout=5.0)
    for attack in attacks:
        for truth in ("1", "x+1", form.format(attack)):
            assert accuracy(f"<answer>{form.format(attack)}</answer>", truth, {}) in (0.0, 1.0)
    assert list(tmp_path.iterdir()) == []


def test_plain_arithmetic_reaches_eval_with_digits_and_operators_alone(monkeypatch):
    """math-verify hands plain expressions to sympy's parse_expr, which evals: its regex is what lets only these in."""
    import math_verify.parser as parser

    seen = []
    prose = [parser.LatexExtractionConfig(), parser.ExprExtractionConfig()]  # as in the child
    monkeypatch.setattr(parser, "parse_expr", lambda text, **options: seen.append(text))
    parser.parse_expr_cached.cache_clear()
    for text in ("sum 1+2 os.system(1)", "is 3*(4+__import__('os'))", "a 5/6 b", "7 + x(8) * 9", "1+1 for x in (2,3)"):
        parser.parse(text, prose, fallback_mode="no_fallback", parsing_timeout=None)
    parser.parse_expr_cached.cache_clear()
    assert seen
    assert all(set(text) <= set("0123456789+-*/()×÷. \n\t") for text in seen), seen


def test_socket_is_not_inherited_by_other_programs(fresh):
    assert symbolic_equal("1/2", "2/4")
    assert isinstance(fresh._channel, socket.socket)
    assert not fresh._channel.get_inheritable()
