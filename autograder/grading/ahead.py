"""The child that is needed next is loaded, and the last one ended, while the tests talk to the present one.

One ahead and no more: it may hold as much memory as the one in use.
"""

import contextlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace

from autograder.grading.budget import TIMES, CellPurse
from autograder.sandbox import Limits, Sandbox
from autograder.submission import SandboxFault, SourceCell, Submission


class Ahead:
    """Gives loaded children. To fork one, to run the cells in it and to end it takes as long as most tests do."""

    def __init__(self, sandbox: Sandbox):
        self.sandbox = sandbox
        self._worker = ThreadPoolExecutor(1, "lsml-children")
        self._next: tuple[tuple, Future[Submission]] | None = None
        self._ending: list[Future] = []

    def load(self, cells: Sequence[SourceCell], limits: Limits, skip: frozenset[str], purse: CellPurse) -> Submission:
        """A child in which the cells have been run, within a purse that is in its `purse` then. Raises SandboxFault."""
        if self._next is not None and self._next[0] == _key(cells, limits, skip):
            (_, loading), self._next = self._next, None
            with contextlib.suppress(SandboxFault, OSError):
                child = loading.result()
                if child.alive:  # and not gone with its server
                    return child
                child.close()
        return Submission.load(self.sandbox, cells, limits, skip, purse)

    def prepare(self, cells: Sequence[SourceCell], limits: Limits, skip: frozenset[str], purse: CellPurse) -> None:
        """Begin to load the child that will be asked for next. Its limits on time may be others then."""
        key = _key(cells, limits, skip)
        if self._next is None or self._next[0] != key:
            self._discard()
            self._next = key, self._worker.submit(Submission.load, self.sandbox, cells, limits, skip, purse)

    def _discard(self) -> None:
        if self._next is not None:
            (_, loading), self._next = self._next, None
            if not loading.cancel():
                self._ending.append(self._worker.submit(_close, loading))

    def end(self, submission: Submission) -> None:
        """Begin to end a child."""
        self._ending.append(self._worker.submit(submission.close))

    def settle(self) -> None:
        """Wait until all children that were to end have ended, with everything that they started."""
        self._discard()
        ending, self._ending = self._ending, []
        wait(ending)
        for future in ending:
            future.result()

    def close(self) -> None:
        """No more children."""
        self._discard()
        self._worker.shutdown(cancel_futures=True)  # what is loaded ends with the sandbox


def _key(cells: Sequence[SourceCell], limits: Limits, skip: frozenset[str]) -> tuple:
    return tuple(cells), replace(limits, **dict.fromkeys(TIMES, 0.0)), skip


def _close(loading: "Future[Submission]") -> None:
    with contextlib.suppress(Exception):  # nothing was loaded; the next load meets the reason
        loading.result().close()
