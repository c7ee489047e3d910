"""Runs functions of ours on a stranger's text in a process of its own, with a limit on its time and memory.

A parser may have inputs that cost it hours. Here that costs the one submission that holds such a text: its process is
killed, and a fresh one serves the next. No code of the stranger's runs in it, so what comes back is ours.
"""

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

CPU_SECONDS = 60.0  # of one call: what a process uses itself does not depend on what else the machine does
WALL_SECONDS = 600.0  # of one call, in case it waits
MEMORY = 4 << 30  # bytes of address space

_START = "import sys; sys.path[:] = {path!r}; from autograder.apart import _serve; _serve()"


class TooCostly(Exception):
    """A text took more time or memory than may be spent on it."""


class Reader:
    """A process that calls functions for us, one at a time. It starts when it is needed, and again when it was killed.

    `cpu_seconds`: what one call may use.
    """

    def __init__(self, cpu_seconds: float = CPU_SECONDS):
        self.cpu_seconds = cpu_seconds
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()

    def call(self, function: Callable, *args: Any) -> Any:
        """What a function of a module gives, or raises, for these arguments. TooCostly where that takes too much."""
        request = pickle.dumps((self.cpu_seconds, function, args))
        with self._lock:
            process = self._started()
            watch = threading.Timer(WALL_SECONDS, process.kill)
            watch.daemon = True
            watch.start()
            try:
                pickled = self._exchange(process, request)
            finally:
                watch.cancel()
            if pickled is None:
                self._stop()
                raise TooCostly("takes too much time or memory to read")
        result, error = pickle.loads(pickled)
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stop()

    def _started(self) -> subprocess.Popen:
        if self._process is None or self._process.poll() is not None:
            self._stop()
            path = [str(Path(__file__).parents[1]), *sys.path]
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START.format(path=path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # its threads' buffers count as address space
            )
        return self._process

    def _exchange(self, process: subprocess.Popen, request: bytes) -> bytes | None:
        try:
            _send(process.stdin, request)
            return _receive(process.stdout)
        except (OSError, EOFError):  # it was killed
            return None

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what was not sent cannot be any more
                    pipe.close()
            process.wait()


def _send(pipe, data: bytes) -> None:
    pipe.write(len(data).to_bytes(8, "little") + data)
    pipe.flush()


def _receive(pipe) -> bytes:
    head = pipe.read(8)
    data = pipe.read(int.from_bytes(head, "little")) if len(head) == 8 else b""
    if len(head) < 8 or len(data) < int.from_bytes(head, "little"):
        raise EOFError
    return data


def _serve() -> None:
    """The process: calls what it is asked to until the other side closes the pipe."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed is no reply
    with contextlib.suppress(ImportError):  # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            request = _receive(requests)
        except EOFError:
            return
        seconds, function, args = pickle.loads(request)
        _limit_cpu(seconds)
        try:
            reply = function(*args), None
        except (MemoryError, RecursionError):
            os._exit(1)
        except Exception as error:
            reply = None, error
        _limit_cpu(0)
        _send(replies, pickle.dumps(reply))


def _limit_cpu(seconds: float) -> None:
    """Be killed by the kernel (SIGPROF) after so many seconds of this process's own; 0 ends that."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


_reader = Reader()
atexit.register(_reader.close)

call = _reader.call
