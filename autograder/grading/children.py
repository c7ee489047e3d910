"""The children that one submission's tests talk to, and the time that each exercise may take of the notebook's."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from autograder.grading import plugin
from autograder.grading.ahead import TIMES, Ahead
from autograder.grading.plugin import Outcome, Spec
from autograder.sandbox import Limits
from autograder.submission import CellError, SandboxFault, SourceCell, StudentTimeout, Submission

SLOW_LOAD = 2.0  # seconds; cells that take longer are not run again for each exercise
LOST = ("timeout", "memory", "crashed")  # what costs a child its life
TIMEOUTS = 2  # after so many, the exercise's other tests are not waited for
PATIENCE = 4.0  # time limits stretch at most so far where the machine has more work than cores
USED_UP = "not run: the time of this exercise is used up"


def patience() -> float:
    """What clocks are multiplied by, so that a busy machine takes no marks from honest work: 1 on a quiet one."""
    if not hasattr(os, "getloadavg"):
        return 1.0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(os.getloadavg()[0] / cores, 1.0), PATIENCE)


def own(spec: Spec) -> bool:
    """Whether a test has a child to itself, because it has limits of its own."""
    return spec.memory_mb is not None or spec.seconds is not None


class Children:
    """The children that one submission's tests talk to: a fresh one for each exercise, and another when one died."""

    def __init__(self, ahead: Ahead, cells: Sequence[SourceCell], limits: Limits, exercises: int):
        self.ahead, self.cells, self.patience = ahead, tuple(cells), patience()
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
        first = replace(limits, notebook_seconds=limits.notebook_seconds / max(exercises, 1))
        ahead.prepare(self.cells, first, self.skip)

    def close(self) -> None:
        """End what still runs."""
        self._end_shared()
        self.ahead.settle()

    def _end_shared(self) -> None:
        if self.child is not None:
            self.ahead.end(self.child)
            self.child = None

    @contextlib.contextmanager
    def open(self, outcome: Outcome, following: Sequence[Spec] = ()) -> Iterator[Submission]:
        """The child that a test talks to, whose outcome is known when it is left. `following`: the tests after it."""
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
        if own(spec) or self.child is None:
            child, before = self._load(spec), self.share
            self._prepare(following)
        else:
            child, before = self.child, self.child.seconds_left
        if not own(spec):
            self.child = child
        self.ahead.talk_to(child)
        try:
            yield child
        finally:
            self.left -= before - child.seconds_left
            self.share -= before - child.seconds_left
            causes = {outcome.cause, *(plugin.cause_of(call.error) for call in child.calls)}
            self.timeouts += "timeout" in causes
            if own(spec):
                self.ahead.end(child)
            elif causes & {*LOST, "fault"}:
                self._end_shared()

    def _limits(self, spec: Spec, notebook_seconds: float) -> Limits:
        return replace(
            self.limits,
            notebook_seconds=notebook_seconds,
            memory_mb=spec.memory_mb or self.limits.memory_mb,
            call_seconds=spec.seconds * self.patience if spec.seconds else self.limits.call_seconds,
        )

    def _prepare(self, following: Sequence[Spec]) -> None:
        """Begin to load the child that will be needed after this one.

        For no longer than its exercise can have, or cells that hang only here would take the whole time over and over.
        """
        for spec in following:
            here = spec.exercise == self.exercise
            if own(spec) or not (here or self.slow):
                seconds = self.share if here else self.left / max(self.waiting, 1)
                self.ahead.prepare(self.cells, self._limits(spec, seconds), self.skip)
                return

    def _load(self, spec: Spec) -> Submission:
        child = self.ahead.load(self.cells, self._limits(spec, self.share), self.skip)
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
