"""The children that one submission's tests talk to, and the time that each exercise may take of the notebook's."""

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace

from autograder.grading import plugin
from autograder.grading.plugin import Outcome, Spec
from autograder.sandbox import Child, Limits, Sandbox
from autograder.submission import CellError, SandboxFault, SourceCell, StudentTimeout, Submission

SLOW_LOAD = 2.0  # seconds; cells that take longer are not run again for each exercise
LOST = ("timeout", "memory", "crashed")  # what costs a child its life
TIMEOUTS = 2  # after so many, the exercise's other tests are not waited for
TIMES = ("cell_seconds", "call_seconds", "notebook_seconds")  # limits that are kept on our side
PATIENCE = 4.0  # time limits stretch at most so far where the machine has more work than cores
USED_UP = "not run: the time of this exercise is used up"


def patience() -> float:
    """What clocks are multiplied by, so that a busy machine takes no marks from honest work: 1 on a quiet one."""
    if not hasattr(os, "getloadavg"):
        return 1.0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(os.getloadavg()[0] / cores, 1.0), PATIENCE)


class Ahead:
    """A sandbox whose next child is started, and whose last is ended, while tests talk to the present one.

    Stands in a Sandbox's place for `Submission.load`. To start and to end a child takes as long as most tests do.
    """

    def __init__(self, sandbox: Sandbox):
        self.sandbox, self.limits = sandbox, sandbox.limits
        self._worker = ThreadPoolExecutor(1, "lsml-children")
        self._next: Future | None = None
        self._ending: list[Future] = []

    def start(self, limits: Limits | None = None) -> Child:
        """A fresh child, at once where the next one has the same limits on all but time."""
        limits = limits or self.limits
        child = self._take(limits) or self.sandbox.start(limits)
        if self._next is None:
            self._next = self._worker.submit(self.sandbox.start, self.limits)
        return child

    def _take(self, limits: Limits) -> Child | None:
        same = replace(limits, **{name: getattr(self.limits, name) for name in TIMES}) == self.limits
        if not same or self._next is None:
            return None
        waiting, self._next = self._next, None
        try:
            child = waiting.result()
            if child.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"":  # it died with its server
                return None
        except BlockingIOError:
            pass  # it is not ready yet
        except (SandboxFault, OSError):
            return None
        child.limits = limits
        return child

    def end(self, submission: Submission) -> None:
        """Begin to end a child."""
        self._ending.append(self._worker.submit(submission.close))

    def settle(self) -> None:
        """Wait until all children that were to end have ended, with everything that they started."""
        ending, self._ending = self._ending, []
        wait(ending)
        for future in ending:
            future.result()

    def close(self) -> None:
        """No more children. The one that is ready ends with the sandbox."""
        self._worker.shutdown(cancel_futures=True)


class Children:
    """The children that one submission's tests talk to: a fresh one for each exercise, and another when one died."""

    def __init__(self, ahead: Ahead, cells: Sequence[SourceCell], limits: Limits, exercises: int):
        self.ahead, self.cells, self.patience = ahead, list(cells), patience()
        limits = replace(limits, **{name: getattr(limits, name) * self.patience for name in TIMES})
        self.limits = limits
        self.left = limits.notebook_seconds  # of which `share` is for the exercise at hand
        self.share = 0.0
        self.waiting = exercises  # that have not begun
        self.errors: dict[str, CellError] = {}  # of the cells, by label
        self.skip: frozenset[str] = frozenset()  # labels of cells that had to be killed
        self.exercise, self.timeouts = None, 0
        self.child: Submission | None = None
        self.slow = False

    def close(self) -> None:
        """End what still runs."""
        self._end_shared()
        self.ahead.settle()

    def _end_shared(self) -> None:
        if self.child is not None:
            self.ahead.end(self.child)
            self.child = None

    @contextlib.contextmanager
    def open(self, outcome: Outcome) -> Iterator[Submission]:
        """The child that a test talks to, whose outcome is known when it is left."""
        spec = outcome.spec
        if spec.exercise != self.exercise:
            # No exercise may use up the time of those behind it; what it leaves is theirs.
            self.exercise, self.timeouts = spec.exercise, 0
            self.share = self.left / max(self.waiting, 1)
            self.waiting -= 1
            if self.child is not None and not (self.slow and self.child.seconds_left >= self.share / 2):
                self._end_shared()
        if self.timeouts >= TIMEOUTS or self.share <= 0:
            raise StudentTimeout(USED_UP)
        own = spec.memory_mb is not None or spec.seconds is not None
        if own or self.child is None:
            child, before = self._load(spec), self.share
        else:
            child, before = self.child, self.child.seconds_left
        if not own:
            self.child = child
        try:
            yield child
        finally:
            self.left -= before - child.seconds_left
            self.share -= before - child.seconds_left
            causes = {outcome.cause, *(plugin.cause_of(call.error) for call in child.calls)}
            self.timeouts += "timeout" in causes
            if own:
                self.ahead.end(child)
            elif causes & {*LOST, "fault"}:
                self._end_shared()

    def _load(self, spec: Spec) -> Submission:
        limits = replace(
            self.limits,
            notebook_seconds=self.share,
            memory_mb=spec.memory_mb or self.limits.memory_mb,
            call_seconds=spec.seconds * self.patience if spec.seconds else self.limits.call_seconds,
        )
        child = Submission.load(self.ahead, self.cells, limits, self.skip)
        # Not slow because of a cell that had to be killed: that one is not tried again.
        self.slow = self.share - child.seconds_left > SLOW_LOAD and child.skip == self.skip
        self.skip |= child.skip
        for error in child.cell_errors:
            self.errors[error.label] = error
        setup = self.errors.get(self.cells[0].label) if self.cells[0].kind == "setup" else None
        if setup is not None:
            child.close()
            if setup.kind == "timeout" and self.left < self.limits.notebook_seconds:
                raise StudentTimeout(USED_UP)
            raise SandboxFault(f"the setup cell cannot be run: {setup.reason}")
        return child
