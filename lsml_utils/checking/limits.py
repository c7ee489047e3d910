"""How long the body of a check may take, and how much it may print: a loop that never ends must not stop a notebook.

A thread of its own raises `TookTooLong` in the thread that runs the check, on any system. Python looks for it between
two of its own steps, so a call in C (a factorisation of a large matrix) has to return first; it is said then.
"""

import contextlib
import ctypes
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TextIO

SECONDS = 60.0  # for the body of a check, on any machine
PATIENCE = 5.0  # seconds until a student is told that it still goes on, and until it is tried again
MOST_PRINTED = 20_000  # characters
_DEBUGGERS = {"bdb", "pdb", "IPython.core.debugger"}


class TookTooLong(BaseException):
    """The body of a check did not end in time. No Exception, so that `except Exception` in a loop lets it through."""


class Deadline:
    """From `start` to `stop` the thread that called has `seconds` of time; TookTooLong is raised in it then."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._thread, self._stream = threading.get_ident(), sys.stdout
        self._lock = threading.Lock()
        self._over, self._begun = threading.Event(), threading.Event()

    def start(self) -> None:
        """Begin to count. Daemonic, so that nothing waits for it when the process ends."""
        threading.Thread(target=self._watch, name="deadline of a check", daemon=True).start()
        self._begun.set()  # to make a thread may take longer than the time itself

    def stop(self) -> None:
        """Stop counting. What was raised and has not arrived yet does not arrive any more."""
        try:
            self._end()
        except TookTooLong:  # it arrived just now
            self._end()

    def _end(self) -> None:
        with self._lock:
            self._over.set()
            _raise_in(self._thread, None)

    def _watch(self) -> None:
        wait, told = self.seconds, False
        self._begun.wait()
        while not self._over.wait(wait):
            wait = PATIENCE  # until it is tried again: a bare `except` may have caught it
            if _is_debugged(sys._current_frames().get(self._thread)):
                continue
            with self._lock:
                if not self._over.is_set():
                    _raise_in(self._thread, TookTooLong)
            if not told and not self._over.wait(PATIENCE):
                told = True
                text = f"This check has run for more than {self.seconds:.0f} s, in a call that Python cannot interrupt."
                print(f"{text} Wait for its end, or choose Kernel > Restart.", file=self._stream, flush=True)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise in another thread, at its next step in Python; None takes back what has not been raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error) if error else None)


def _is_debugged(frame: FrameType | None) -> bool:
    """Whether somebody steps through the student's function, and takes all the time they like."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module in _DEBUGGERS or module.startswith(("pydevd", "_pydevd")):
            return True
        frame = frame.f_back
    return False


class _Cut:
    """A stream that lets so many characters through, and then says once that it lets no more."""

    def __init__(self, stream: TextIO):
        self._stream, self._left = stream, MOST_PRINTED

    def write(self, text: str) -> int:
        if self._left > 0:
            self._stream.write(text[: self._left])
            self._left -= len(text)
            if self._left <= 0:
                self._stream.write(f"\n… the check has printed {MOST_PRINTED:,} characters; the rest is left out.\n")
        return len(text)

    def writelines(self, lines) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


@contextlib.contextmanager
def printing_cut() -> Iterator[None]:
    """Cut what is printed when it becomes a flood."""
    with contextlib.redirect_stdout(_Cut(sys.stdout)), contextlib.redirect_stderr(_Cut(sys.stderr)):
        yield
