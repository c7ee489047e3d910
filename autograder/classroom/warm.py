"""The grader of a process, kept open from one notebook to the next: to open one takes seconds."""

import atexit
import contextlib
import gc
from pathlib import Path
from typing import TYPE_CHECKING

from autograder import startup
from autograder.sandbox import Limits

if TYPE_CHECKING:
    from autograder.grading import Grader


class WarmGrader:
    """Opens a grader when it is asked for one, and another when the next job wants another. `close` ends it."""

    def __init__(self):
        self._stack = contextlib.ExitStack()
        self._wanted: tuple | None = None
        self._grader: Grader | None = None

    def get(self, secret: str, limits: Limits, kept: Path | None) -> "Grader":
        """The grader for one class. SandboxUnavailable where there can be none."""
        if self._wanted != (secret, limits, kept):
            with startup.importing():
                from autograder.grading import Grader

            self.close()
            self._grader = self._stack.enter_context(Grader("bubblewrap", secret=secret, limits=limits, kept=kept))
            self._wanted = secret, limits, kept
            gc.freeze()  # all that was imported for it stays, and need not be looked at again
        return self._grader

    def close(self) -> None:
        """End the grader, if there is one."""
        self._wanted = self._grader = None
        self._stack.close()


of_this_process = WarmGrader()
atexit.register(of_this_process.close)
