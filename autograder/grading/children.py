"""The children that one submission's tests talk to: one for all exercises while all goes well, another one for all
tests with a limit on memory, and fresh ones else.

To fork a child and to run the cells in it costs more than most tests do. What earlier tests left behind in it must not
cost this one its points, so only success counts there: any other outcome is void, and the test is run again in a fresh
child. A limit on memory counts from what the child held before its first such test, so what that one left behind can
only make it harder to pass.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from autograder.grading import plugin
from autograder.grading.ahead import Ahead
from autograder.grading.budget import LEAST, SLOW, Budget, CellPurse
from autograder.grading.plugin import Outcome, Spec
from autograder.sandbox import Limits
from autograder.submission import CellError, SandboxFault, SourceCell, StudentTimeout, Submission

LOST = ("timeout", "memory", "crashed")  # a child whose test ends so is not used again
TIMEOUTS = 2  # after so many, the exercise's other tests are not waited for
SHARED_SECONDS = 1.0  # for a test in a child that others were run in, where its outcome may be void
BRIEF_SECONDS = 0.5  # after a test with a limit on memory that took longer, the next one has a fresh child at once
USED_UP = "not run: the time of this exercise is used up"


@dataclass
class Place:
    """A child, and what has been asked of it."""

    limited: bool  # for tests with a limit on memory
    child: Submission | None = None
    memory_mb: int = 0  # that it may have at most
    slow: bool = False  # whether its cells took long
    exercises: set[str] = field(default_factory=set)
    tests: int = 0

    @property
    def used(self) -> bool:
        """Whether a fresh child might serve the present test better."""
        return self.tests > 1 if self.limited else len(self.exercises) > 1


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
        self.shared, self.limited = Place(limited=False), Place(limited=True)
        self._prepare_for(exercises[0])

    def close(self) -> None:
        """End what still runs."""
        self._leave(self.shared)
        self._leave(self.limited)
        self.ahead.settle()

    def _leave(self, place: Place) -> None:
        if place.child is not None:
            self.ahead.end(place.child)
            place.child, place.exercises, place.tests = None, set(), 0

    def _place(self, spec: Spec) -> Place:
        """Where a test is run; a test with a time of its own alone, because it is expected to take long."""
        limited = spec.memory_mb is not None
        return Place(limited) if spec.seconds is not None else self.limited if limited else self.shared

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
        if self.timeouts >= TIMEOUTS or self.budget.left(spec.exercise) < LEAST:
            raise StudentTimeout(USED_UP)
        place = self._place(spec)
        if fresh := not self._serves(place, spec):
            self._leave(place)
            self._load(place, spec)
        elif spec.exercise not in place.exercises:
            self._note_errors(place.child, spec.exercise)
        place.exercises.add(spec.exercise)
        place.tests += 1
        child = place.child
        if fresh:
            self._prepare(following)
        if spec.memory_mb is not None:
            child.grant(spec.memory_mb)
        child.limit(self._limits(place, spec))
        before = child.seconds_left
        try:
            yield child
        finally:
            causes = {outcome.cause, *(plugin.cause_of(call.error) for call in child.calls)}
            lost, took = bool(causes & {*LOST, "fault"}), before - child.seconds_left
            outcome.void = self._void_unless_passed(place) and (lost or outcome.cause != "passed")
            long = place.limited and took > BRIEF_SECONDS * self.budget.stretch
            if lost or long or outcome.void or spec.seconds is not None:
                self._leave(place)
            if not outcome.void:
                self.budget.spend(spec.exercise, took)
                if "timeout" in causes:
                    self.timeouts += 1
                    self.budget.late.add(spec.exercise)

    def _void_unless_passed(self, place: Place) -> bool:
        """Whether other tests were run in the child; where slow cells are run for all exercises, nobody minds."""
        return place.used and not (self.everything and place.slow)

    def _serves(self, place: Place, spec: Spec) -> bool:
        """Whether the child at hand was loaded as a fresh one would be for this test."""
        if place.child is None or place.memory_mb < self._limits_of_cells(spec).memory_mb:
            return False
        if place.limited and place.slow and self.everything:  # its outcome would count, and its limit be too strict
            return False
        return spec.exercise in place.exercises or self._left_out(spec.exercise) == place.child.skip

    def _limits(self, place: Place, spec: Spec) -> Limits:
        """What holds while a test runs."""
        limits = self.budget.limits
        seconds = spec.seconds * self.budget.stretch if spec.seconds else limits.call_seconds
        seconds *= self.budget.hurried(spec.exercise)
        left = self.budget.left(spec.exercise)
        if self._void_unless_passed(place):
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
            if not self._serves(self._place(spec), spec):
                self._prepare_for(spec.exercise, spec)
                return

    def _prepare_for(self, exercise: str, spec: Spec | None = None) -> None:
        self.ahead.prepare(self.cells, self._limits_of_cells(spec), self._left_out(exercise), self._purse(exercise))

    def _purse(self, exercise: str) -> CellPurse:
        return self.budget.purse(exercise, self.everything)

    def _left_out(self, exercise: str) -> frozenset[str]:
        slow = frozenset() if self.everything else self.budget.left_out(self.cells, exercise)
        return self.budget.stopped | slow

    def _load(self, place: Place, spec: Spec) -> None:
        left_out, limits = self._left_out(spec.exercise), self._limits_of_cells(spec)
        child = self.ahead.load(self.cells, limits, left_out, self._purse(spec.exercise))
        self.budget.settle(child.purse)
        self.without[spec.exercise] = self.without.get(spec.exercise, frozenset()) | (left_out - self.budget.stopped)
        self.budget.stopped |= child.skip - left_out
        self._note_errors(child, spec.exercise)
        if self.cells[0].kind == "setup" and any(e.label == self.cells[0].label for e in child.cell_errors):
            child.close()
            raise SandboxFault(f"the setup cell cannot be run: {self.errors[self.cells[0].label].reason}")
        place.child, place.memory_mb = child, limits.memory_mb
        place.slow = sum(child.purse.took.values()) > SLOW

    def _note_errors(self, child: Submission, exercise: str) -> None:
        """Keep what went wrong in cells; of another exercise's cell only that it had to be killed."""
        others = {cell.label for cell in self.cells if cell.kind == "exercise" and exercise not in cell.exercises}
        for error in child.cell_errors:
            if error.label not in others or error.label in self.budget.stopped:
                self.errors[error.label] = error
