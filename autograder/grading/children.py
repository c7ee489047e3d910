"""The children that one submission's tests talk to: one for all exercises while all goes well, and fresh ones else.

To fork a child and to run the cells in it costs more than most tests do. What an earlier exercise's tests left behind
in it must not cost this one its points, so only success counts there: any other outcome is void, and the test is run
again in a fresh child.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from autograder.grading import plugin
from autograder.grading.ahead import Ahead
from autograder.grading.budget import LEAST, SLOW, Budget, CellPurse
from autograder.grading.plugin import Outcome, Spec
from autograder.sandbox import Limits
from autograder.submission import CellError, SandboxFault, SourceCell, StudentTimeout, Submission

LOST = ("timeout", "memory", "crashed")  # a child whose test ends so is not used again
TIMEOUTS = 2  # after so many, the exercise's other tests are not waited for
SHARED_SECONDS = 1.0  # for a test in a child that has served another exercise
USED_UP = "not run: the time of this exercise is used up"


def own(spec: Spec) -> bool:
    """Whether a test has a child to itself, because it has limits of its own."""
    return spec.memory_mb is not None or spec.seconds is not None


class Children:
    """Gives each test of a submission its child, within the notebook's `budget`.

    `everything`: slow cells are run for every exercise, not only for their own.
    """

    def __init__(
        self, ahead: Ahead, cells: Sequence[SourceCell], budget: Budget, exercises: Sequence[str], everything=False
    ):
        self.ahead, self.cells, self.budget, self.everything = ahead, tuple(cells), budget, everything
        self.errors: dict[str, CellError] = {}  # of the cells, by label
        self.without: dict[str, frozenset[str]] = {}  # labels of the cells that were left out, for each exercise
        self.exercise, self.timeouts = None, 0
        self.child: Submission | None = None
        self.served: set[str] = set()  # the exercises that `child` has answered for
        self.slow = False  # whether the cells of the last child took long
        self._prepare_for(exercises[0])

    def close(self) -> None:
        """End what still runs."""
        self._end_shared()
        self.ahead.settle()

    def _end_shared(self) -> None:
        if self.child is not None:
            self.ahead.end(self.child)
            self.child, self.served = None, set()

    @contextlib.contextmanager
    def open(self, outcome: Outcome, following: Sequence[Spec] = ()) -> Iterator[Submission]:
        """The child that a test talks to, whose outcome is known when it is left. `following`: the tests after it.

        An outcome that does not count is `void` then: whoever runs the tests runs this one again.

        StudentTimeout where the exercise has no time left; SandboxFault where there is no child to be had.
        """
        spec = outcome.spec
        if spec.exercise != self.exercise:
            self.exercise, self.timeouts = spec.exercise, 0
            self.budget.begin(spec.exercise)
            if not self._serves(spec.exercise):
                self._end_shared()
        if self.timeouts >= TIMEOUTS or self.budget.left(spec.exercise) < LEAST:
            raise StudentTimeout(USED_UP)
        fresh = own(spec) or self.child is None
        child = self._load(spec) if fresh else self.child
        if not own(spec):
            self.child = child
            if spec.exercise not in self.served:
                self.served.add(spec.exercise)
                self._note_errors(child, spec.exercise)
        if fresh:
            self._prepare(following)
        if spec.memory_mb is not None:
            child.grant(spec.memory_mb)
        child.limit(self._limits(spec))
        before = child.seconds_left
        try:
            yield child
        finally:
            causes = {outcome.cause, *(plugin.cause_of(call.error) for call in child.calls)}
            lost = bool(causes & {*LOST, "fault"})
            outcome.void = self._void_unless_passed(spec) and (lost or outcome.cause != "passed")
            if own(spec):
                self.ahead.end(child)
            elif lost or outcome.void:
                self._end_shared()
            if not outcome.void:
                self.budget.spend(spec.exercise, before - child.seconds_left)
                if "timeout" in causes:
                    self.timeouts += 1
                    self.budget.late.add(spec.exercise)

    def _void_unless_passed(self, spec: Spec) -> bool:
        """Whether the child at hand has served another exercise; where slow cells are run for all, nobody minds."""
        return not own(spec) and len(self.served) > 1 and not (self.everything and self.slow)

    def _serves(self, exercise: str) -> bool:
        """Whether the child at hand was loaded as a fresh one would be for this exercise."""
        return self.child is not None and self._left_out(exercise) == self.child.skip

    def _limits(self, spec: Spec) -> Limits:
        """What holds while a test runs."""
        limits = self.budget.limits
        seconds = spec.seconds * self.budget.stretch if spec.seconds else limits.call_seconds
        seconds *= self.budget.hurried(spec.exercise)
        left = self.budget.left(spec.exercise)
        if self._void_unless_passed(spec):
            left = min(left, SHARED_SECONDS * self.budget.stretch)
        return replace(
            limits,
            notebook_seconds=left,
            memory_mb=spec.memory_mb or limits.memory_mb,
            call_seconds=min(seconds, limits.call_seconds) if self.budget.firm else seconds,
        )

    def _limits_of_cells(self, spec: Spec | None = None) -> Limits:
        """What holds while the cells are run: a test's limit on memory is for what the test asks for."""
        limits = self.budget.limits
        return replace(limits, memory_mb=max(limits.memory_mb, (spec and spec.memory_mb) or 0))

    def _prepare(self, following: Sequence[Spec]) -> None:
        """Begin to load the child that will be needed after this one."""
        for spec in following:
            if own(spec) or (spec.exercise != self.exercise and not self._serves(spec.exercise)):
                self._prepare_for(spec.exercise, spec)
                return

    def _prepare_for(self, exercise: str, spec: Spec | None = None) -> None:
        self.ahead.prepare(self.cells, self._limits_of_cells(spec), self._left_out(exercise), self._purse(exercise))

    def _purse(self, exercise: str) -> CellPurse:
        return self.budget.purse(exercise, self.everything)

    def _left_out(self, exercise: str) -> frozenset[str]:
        slow = frozenset() if self.everything else self.budget.left_out(self.cells, exercise)
        return self.budget.stopped | slow

    def _load(self, spec: Spec) -> Submission:
        left_out = self._left_out(spec.exercise)
        child = self.ahead.load(self.cells, self._limits_of_cells(spec), left_out, self._purse(spec.exercise))
        self.budget.settle(child.purse)
        self.slow = sum(child.purse.took.values()) > SLOW
        self.without[spec.exercise] = self.without.get(spec.exercise, frozenset()) | (left_out - self.budget.stopped)
        self.budget.stopped |= child.skip - left_out
        self._note_errors(child, spec.exercise)
        if self.cells[0].kind == "setup" and any(e.label == self.cells[0].label for e in child.cell_errors):
            child.close()
            raise SandboxFault(f"the setup cell cannot be run: {self.errors[self.cells[0].label].reason}")
        return child

    def _note_errors(self, child: Submission, exercise: str) -> None:
        """Keep what went wrong in cells; of another exercise's cell only that it had to be killed."""
        others = {cell.label for cell in self.cells if cell.kind == "exercise" and exercise not in cell.exercises}
        for error in child.cell_errors:
            if error.label not in others or error.label in self.budget.stopped:
                self.errors[error.label] = error
