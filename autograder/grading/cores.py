"""Keeps the two sides of a conversation on one core of the machine.

They take turns, so a second core gains them nothing; and to wake another, idle core takes longer than most answers do
(60 against 4 microseconds there and back, between two Linux processes of a virtual machine).
"""

import contextlib
import ctypes
import os

from autograder.submission import Submission, SubmissionError


class SameCore:
    """The core that a thread shares with the child it talks to. The system chooses it, anew for each child."""

    def __init__(self):
        self._all = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self._current = getattr(ctypes.CDLL(None), "sched_getcpu", None) if len(self._all) > 1 else None
        self._core: int | None = None

    def stay(self) -> None:
        """Keep this thread on the core where the system has it now."""
        if self._current is not None:
            with contextlib.suppress(OSError):  # a core that was taken away
                os.sched_setaffinity(0, self._all)
                core = self._current()
                os.sched_setaffinity(0, {core})
                self._core = core

    def bring(self, child: Submission) -> None:
        """Have a child run there too."""
        if self._core not in (None, child.core):
            with contextlib.suppress(SubmissionError):  # its next answer will tell
                child.move(self._core)

    def leave(self) -> None:
        """Let this thread run anywhere."""
        if self._current is not None:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, self._all)
