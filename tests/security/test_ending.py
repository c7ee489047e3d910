"""Ending the process, or trying to outlive it: exits, signals, threads, daemons, delayed forks.

Stopped by the pid namespace (its first process takes all others with it) and by judging what came, not how it ended.
"""

import contextlib
import time

import pytest

from autograder.submission import StudentCrashed, StudentTimeout, SubmissionError

from .conftest import MARK

EXITS = {
    "sys.exit": "sys.exit(0)",
    "os._exit": "os._exit(0)",
    "an exit status that looks like ours": "os._exit(77)",
    "quit": "quit()",
    "abort": "os.abort()",
    "a signal to itself": "os.kill(os.getpid(), signal.SIGKILL) or os.kill(os.getpid(), signal.SIGTERM)",
    "a segmentation fault": "ctypes.string_at(0)",
    "a stack overflow": "sys.setrecursionlimit(10**9) or (lambda f: f(f))(lambda f: f(f) + 1)",
    "a limit of its own that kills": "resource.setrlimit(resource.RLIMIT_CPU, (1, 1)); spin()",
    "a stricter filter of its own": "ctypes.CDLL(None).prctl(22, 1, 0, 0, 0) and spin()",
    "another program": "os.execv(sys.executable, ['python', '-c', 'pass'])",
    "closing the conversation": "os.close(3)",
    "shutting the conversation down": "socket.socket(fileno=3).shutdown(2)",
}
IMPORTS = "import ctypes, os, resource, signal, socket, sys\ndef spin():\n    for i in range(10**8): pass\n"


@pytest.mark.parametrize("how", EXITS)
def test_ending_in_a_call_gives_no_answer(attack, honest, how):
    submission = attack(IMPORTS + f"def attack():\n    {EXITS[how]}\n    os._exit(0)")
    with pytest.raises(SubmissionError):
        submission.attack()
    assert honest()


@pytest.mark.parametrize("how", EXITS)
def test_ending_in_a_cell_costs_that_cell_only(attack, honest, how):
    submission = attack("def before(): return 1", IMPORTS + f"{EXITS[how]}\nos._exit(0)", "def after(): return 2")
    assert [error.label for error in submission.cell_errors] == ["cell 2"]
    assert (submission.before(), submission.after()) == (1, 2)
    assert honest()


SIGNALS = {
    "the parent": "os.kill(os.getppid(), signal.SIGKILL)",
    "all": "os.kill(-1, signal.SIGKILL)",
    "the process group": "os.kill(0, signal.SIGTERM)",
    "the process group of the parent": "os.killpg(os.getpgid(0), signal.SIGKILL)",
    "every number there is": "[kill(pid) for pid in range(2, 40_000)]",
    "whoever owns the socket": "fcntl.fcntl(3, fcntl.F_SETOWN, -1)",
}


@pytest.mark.parametrize("target", SIGNALS)
def test_signals_reach_nobody_else(attack, honest, target):
    submission = attack(
        f"""
        import fcntl, os, signal
        def kill(pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        def attack():
            try:
                {SIGNALS[target]}
            except OSError:
                pass
            return "still here"
        """
    )
    with contextlib.suppress(StudentCrashed):  # it may well have killed itself
        assert submission.attack() == "still here"
    assert honest()


def test_ignoring_every_signal_does_not_help(attack):
    submission = attack(
        """
        import signal
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        def attack():
            while True:
                try:
                    while True: pass
                except BaseException:
                    pass
        """,
        call_seconds=0.5,
    )
    started = time.monotonic()
    with pytest.raises(StudentTimeout):
        submission.attack()
    assert time.monotonic() - started < 5


SURVIVORS = {
    "a thread": "threading.Thread(target=late).start()",
    "a daemon thread": "threading.Thread(target=late, daemon=True).start()",
    "a forked process": "os.fork() or late()",
    "a daemon": "os.fork() or os.setsid() or os.fork() or late()",
    "a process that forks on and on": "os.fork() or hop()",
    "an exit handler": "atexit.register(late)",
    "a handler of a signal": "[signal.signal(n, late) for n in (1, 2, 3, 10, 12, 13, 14, 15)]",
    "a timer": "signal.signal(signal.SIGALRM, late) and signal.setitimer(signal.ITIMER_REAL, 0.5)",
    "a subprocess": "subprocess.Popen([sys.executable, '-c', 'while True: pass'])",
    "a stopped process": "os.fork() or os.kill(os.getpid(), signal.SIGSTOP) or late()",
    "a process with its own group": "os.fork() or os.setpgid(0, 0) or late()",
}


@pytest.mark.parametrize("how", SURVIVORS)
def test_nothing_outlives_the_submission(attack, how):
    # `nothing_stays` compares the box's processes before and after.
    submission = attack(
        f"""
        import atexit, os, signal, subprocess, sys, threading, time
        def late(*args):
            while True:
                time.sleep(0.2)
                open("/tmp/{MARK}", "a").write("x")
        def hop():
            while True:
                time.sleep(0.02)
                if os.fork():
                    os._exit(0)
        def attack():
            {SURVIVORS[how]}
            return os.getpid()
        """
    )
    with contextlib.suppress(SubmissionError):
        assert submission.attack() in (1, 2)  # the process between a daemon and its parent answers too
    started = time.monotonic()
    submission.close()
    assert time.monotonic() - started < 3


def test_a_late_thread_cannot_change_an_answer_that_was_given(attack):
    submission = attack(
        """
        import threading, time
        import numpy as np
        kept = []
        def attack():
            answer = np.zeros(3)
            kept.append(answer)
            def later():
                time.sleep(0.05)
                answer[:] = 42
            threading.Thread(target=later).start()
            return answer
        """
    )
    answer = submission.attack()
    time.sleep(0.2)
    assert answer.tolist() == [0, 0, 0]


def test_a_death_leaves_the_sandbox_as_it_was(attack, sandbox, honest):
    server = sandbox._process
    for _ in range(3):
        submission = attack("import os\ndef attack(): os._exit(1)")
        with pytest.raises(StudentCrashed):
            submission.attack()
    assert honest() and sandbox._process is server and server.poll() is None
