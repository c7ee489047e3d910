"""One notebook in, one Report out: read safely, rebuild, run in the sandbox, test from here, judge."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from autograder import curriculum, startup
from autograder.curriculum import Module
from autograder.errors import UserError
from autograder.grading import lending, plugin, rebuild, verdicts
from autograder.grading.ahead import Ahead
from autograder.grading.budget import Budget, patience
from autograder.grading.children import Children
from autograder.grading.explaining import Explainer
from autograder.grading.lending import Lent
from autograder.grading.messages import safe
from autograder.grading.opening import Opening
from autograder.grading.plugin import BrokenTests, Outcome, Spec
from autograder.grading.reading import Unreadable
from autograder.grading.rebuild import Rebuilt
from autograder.grading.reference import reference_cells
from autograder.grading.report import ExerciseResult, Report
from autograder.sandbox import Limits, SandboxUnavailable, sharing
from autograder.submission import (
    CellError,
    LocalSubmission,
    SandboxFault,
    SourceCell,
    Submission,
)

SPARE_SECONDS = 15.0  # for one notebook, to find out why more than that its tests fail

log = logging.getLogger(__name__)


# Of each exercise the outcomes of its tests, and the errors of the cells.
Tested = tuple[dict[str, list[Outcome]], dict[str, CellError]]


class Abandoned(BaseException):
    """The grading at hand was given up. No Exception, so that nobody on the way takes it for a failure to report."""


class NotInTime(Exception):
    """What was asked for is not known within the time that it was given."""


class Grader:
    """Grades notebooks, one after the other, in one warm sandbox. A context manager; not for several threads.

    `sandbox`: its kind, or one that is being opened. `secret` fixes the hidden inputs of a class. `kept`: a private
    folder, where there is one, for what known wrong answers do on them, so that it is found out once. `begun` is told
    the exercise before each of its tests. SandboxUnavailable where the sandbox asked for cannot be had.
    """

    def __init__(
        self,
        sandbox: str | Opening = "bubblewrap",
        secret: str = "lsml",
        limits: Limits | None = None,
        root: Path = curriculum.ROOT,
        kept: Path | None = None,
        begun: Callable[[str], None] = lambda exercise: None,
    ):
        self.secret, self.limits, self.root = secret, limits or Limits(), root
        self._wanted = sandbox
        self.kept = kept if kept is not None and kept.is_dir() else None
        self.begun = begun
        self._stack = contextlib.ExitStack()
        self._references: dict[str, tuple[tuple, LocalSubmission]] = {}
        self._explainer = Explainer(self)
        self._stretch = 1.0  # of the clocks, for the notebook at hand
        self._giving_up, self._given_up = threading.Lock(), False
        self._present: Submission | None = None  # what a test talks to
        self.trouble: list[str] = []  # what went wrong on our side with the notebook graded last, for a person

    def __enter__(self) -> "Grader":
        if "MPLBACKEND" not in os.environ:  # the reference's setup cells run here
            os.environ["MPLBACKEND"] = "Agg"
            self._stack.callback(os.environ.pop, "MPLBACKEND", None)
        self._stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)  # its threads would all be kept on the core that one conversation takes place on
        try:
            self._opening = self._wanted
            if not isinstance(self._opening, Opening):
                self._opening = self._stack.enter_context(Opening(self._wanted, self.limits))
            self._data = self._opening.data
            for module in self._opening.expected:  # what its setup imports takes seconds, in which the sandbox starts
                with contextlib.suppress(BrokenTests):  # told with the grade
                    self._reference(module)
                    plugin.specs(module)  # imports its hidden tests
            self._opening.prepare_reader()
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *failure) -> None:
        self._stack.close()

    def _open(self) -> None:
        self._box = contextlib.ExitStack()
        self._stack.push(self._box.__exit__)
        self._sandbox = self._box.enter_context(self._opening.sandbox())
        self._ahead = self._box.enter_context(contextlib.closing(Ahead(self._sandbox)))

    def _reopen(self) -> None:
        with contextlib.suppress(Exception):  # it may be dead already
            self._box.close()
        self._open()

    def grade(
        self,
        path: Path | str,
        expected_module: str | None = None,
        show: bool = False,
        done: Sequence[ExerciseResult] = (),
    ) -> Report:
        """Grade one notebook. Whatever it holds, a Report comes back; `show` is for one's own work only.

        `done`: results of an earlier Report of this notebook that still hold; those exercises are not run.
        """
        started = time.perf_counter()
        self.begin()
        name, module, exercises, notes = None, None, (), ()
        try:
            name, rebuilt = rebuild.read(path, self.root, expected_module)
            module = curriculum.load(name, self.root)
            notes = rebuilt.notes
            exercises = self.judge(module, rebuilt, show, {result.id: result for result in done})
        except Unreadable as refusal:
            name = refusal.module
            known = expected_module or name
            points = curriculum.load(known, self.root).max_score if known else None
            return Report(str(path), known, "unreadable", 0.0, points, _since(started), (), (str(refusal),))
        except Exception as error:
            # Never the student's doing, and the next notebook must be graded whatever it was.
            name = name or getattr(error, "module", None)
            if not isinstance(error, BrokenTests | SandboxFault | SandboxUnavailable | UserError | OSError):
                log.exception("grading %s failed", path)
            self.trouble.append(f"the grader failed: {safe(str(error), 500) or type(error).__name__}")
            all_of = module.exercises if module is not None else ()
            exercises = tuple(
                verdicts.exercise_result(e, "grader_fault", None, message=verdicts.OUR_FAULT) for e in all_of
            )
        return self.report(path, name, module, _since(started), exercises, notes)

    def report(self, path, name: str | None, module: Module | None, seconds: float, exercises, notes) -> Report:
        """The Report that these results make; where one of them is a fault, with what went wrong."""
        faulty = not exercises or any(exercise.score is None for exercise in exercises)
        score = None if faulty else round(sum(e.score for e in exercises if not e.extra), 4)
        return Report(
            str(path),
            name,
            "grader_fault" if faulty else "graded",
            score,
            module.max_score if module is not None else None,
            seconds,
            tuple(exercises),
            (*notes, *dict.fromkeys(self.trouble if faulty else ())),
        )

    def begin(self) -> None:
        """Of another notebook from now on; `grade` says so itself."""
        self.trouble, self._stretch = [], patience()

    def judge(
        self, module: Module, rebuilt: Rebuilt, show: bool, done: Mapping[str, ExerciseResult]
    ) -> tuple[ExerciseResult, ...]:
        """The results of a rebuilt submission, an exercise each, in the module's order; some may be done already.

        BrokenTests, SandboxUnavailable and the like are ours; `grade` turns them into a grader fault.
        """
        return self.conclude(module, rebuilt, self.test(module, rebuilt, done), show, done)

    def budget(self, names: Collection[str]) -> Budget:
        """The time of one notebook with answers to these exercises."""
        return Budget(self.limits, names, self._stretch)

    def test(
        self,
        module: Module,
        rebuilt: Rebuilt,
        done: Collection[str],
        budget: Budget | None = None,
        look: float | None = None,
    ) -> Tested:
        """Run the hidden tests of the exercises that are not `done`: the first half of `judge`.

        `look`: seconds that the one exercise has at first; NotInTime where it needs more.
        """
        self._stretch = max(self._stretch, patience())  # a second look: the first may have met a quiet moment
        settled = {*done, *rebuilt.unanswered, *rebuilt.forbidden}
        names = [e.name for e in module.exercises if e.testable and e.name not in settled]
        budget = budget or self.budget(names)
        if look is None or not names:
            return self._outcomes(module, rebuilt, names, budget)
        stopped = budget.stopped
        budget.look(*names, look)
        try:
            tested = self._outcomes(module, rebuilt, names, budget)
        finally:
            over = budget.end_look()
        if over:
            budget.stopped = stopped  # its own cell may only have been too slow for the look
            raise NotInTime
        return tested

    def conclude(
        self,
        module: Module,
        rebuilt: Rebuilt,
        tested: Tested,
        show: bool,
        done: Mapping[str, ExerciseResult],
        explain: bool = True,
    ) -> tuple[ExerciseResult, ...]:
        """What follows from the outcomes: the second half of `judge`. To `explain` failures takes the most time."""
        outcomes, errors = tested
        results: list[ExerciseResult] = []
        spare = time.monotonic() + SPARE_SECONDS * self._stretch
        for exercise in module.exercises:
            if exercise.name in done:
                results.append(done[exercise.name])
            elif exercise.name in rebuilt.unanswered:
                results.append(verdicts.exercise_result(exercise, "unanswered", 0.0, message="Not answered yet."))
            elif not exercise.testable:
                results.append(verdicts.untested(exercise))
            elif exercise.name in rebuilt.forbidden:
                message = rebuilt.objection(exercise.name)
                results.append(verdicts.exercise_result(exercise, "failed", 0.0, message=message))
            else:
                own = outcomes[exercise.name]
                passed = {result.id for result in results if result.verdict == "passed"}
                misconceptions, lists = {}, set()
                if explain:
                    misconceptions, lists = self._explainer.diagnose(module, exercise, own, rebuilt, passed, spare)
                results.append(verdicts.judged(exercise, own, errors, rebuilt, misconceptions, lists, show))
        if not explain:
            return tuple(results)
        wrong = {result.id for result in results if result.verdict not in ("passed", "untested", "grader_fault")}
        to_blame = self._explainer.to_blame(module, rebuilt, outcomes, wrong, spare)
        return verdicts.with_dependencies(results, to_blame)

    def outcomes(
        self,
        module: Module,
        cells: Sequence[SourceCell],
        exercise: str,
        enough: Callable[[Outcome], bool] | None = None,
        limits: Limits | None = None,
        lent: Lent | None = None,
        patient: bool = True,
        tests: Collection[str] | None = None,
    ) -> list[Outcome]:
        """How each run of an exercise's hidden tests ends on these cells, up to the first that is `enough`.

        Only of the `tests` of these names, if they are given.

        It is what calibration and diagnosis compare. Nothing is tried again, and "broken" is not yet blamed on anyone.
        Of a mutant nobody need be `patient`: its clock does not stretch on a busy machine. `limits` that are given are
        firm where nothing is lent: a test cannot allow a call more time.

        Nor are slow cells left out, but where another answer's are lent: a machine that is busy makes any cell slow.
        """
        stretch = self._stretch
        if lent is None:  # or the processes that it is lent from live, and may be what keeps the machine busy
            stretch = max(stretch, patience())
        stretch = stretch if patient else 1.0
        budget = Budget(limits or self.limits, [exercise], stretch, firm=limits is not None and lent is None)
        everything = lent is None
        return self._run(module, cells, [exercise], budget, everything, enough=enough, lent=lent, tests=tests)[0]

    def abandon(self) -> None:
        """From another thread: have what is being graded raise Abandoned, at once where a test waits for an answer.

        (A cell that is being run before that may still take its time.)
        """
        with self._giving_up:
            self._given_up = True
            if self._present is not None:
                self._present.hang_up()

    def load(self, cells: Sequence[SourceCell], limits: Limits | None = None) -> Submission:
        """A fresh child in which these cells were run, for whoever asks something else than hidden tests of it."""
        return Submission.load(self._sandbox, cells, limits or self.limits)

    # ------------------------------------------------------------------------------------------------- running

    def _outcomes(self, module: Module, rebuilt: Rebuilt, names: list[str], budget: Budget) -> Tested:
        """The outcomes of each exercise's tests, and the errors of the cells. Our own failures are tried once more.

        Within one budget: who brings a failure about gains no time by it.
        """
        outcomes: dict[str, list[Outcome]] = {name: [] for name in names}
        errors: dict[str, CellError] = {}
        pending = list(names)
        for last in (False, True):
            if not pending:
                break
            try:
                found = self._tested(module, rebuilt.cells, pending, budget, errors)
                for name in pending:
                    outcomes[name] = found[name]
                    self._blame(module, name, outcomes[name])
            except (SandboxFault, OSError) as error:
                self.trouble.append(f"the grader failed: {safe(str(error), 500)}")
                outcomes |= {name: [] for name in pending}
            pending = [name for name in pending if verdicts.is_faulty(outcomes[name])]
            for outcome in (outcome for name in pending for outcome in outcomes[name] if outcome.cause == "fault"):
                self.trouble.append(f"the grader failed in {outcome.item}: {_why(outcome)}")
            if not last and any(_is_sandbox_fault(outcomes[name]) for name in pending):
                self._reopen()
        return outcomes, errors

    def _tested(self, module, cells, names: list[str], budget: Budget, errors) -> dict[str, list[Outcome]]:
        """The outcomes of each exercise: judged without cells that are slow, and again with them where it failed so."""
        found, children = self._run(module, cells, names, budget)
        errors |= children.errors
        by_name = {name: [outcome for outcome in found if outcome.spec.exercise == name] for name in names}
        again = [
            name
            for name, own in by_name.items()
            if children.without.get(name) and any(outcome.cause != "passed" for outcome in own)
        ]
        if again:
            found, children = self._run(module, cells, again, budget, everything=True)
            errors |= children.errors
            by_name |= {name: [outcome for outcome in found if outcome.spec.exercise == name] for name in again}
        return by_name

    def _run(
        self,
        module: Module,
        cells: Sequence[SourceCell],
        names: list[str],
        budget,
        everything=False,
        enough=None,
        lent: Lent | None = None,
        tests: Collection[str] | None = None,
    ):
        self._sandbox.share(sharing.received(module.files.hidden_tests.read_text(encoding="utf-8")))
        children = Children(self._ahead, cells, budget, names, everything)

        @contextlib.contextmanager
        def opened(outcome: Outcome, following: Sequence[Spec]) -> Iterator[Submission]:
            self.begun(outcome.spec.exercise)
            with children.open(outcome, following) as child:
                with self._giving_up:
                    if self._given_up:
                        raise Abandoned
                    self._present = child
                try:
                    if lent is not None:
                        lending.lend(lent.owner, lent.names, to=child)
                    yield child
                finally:
                    with self._giving_up:
                        self._present = None

        def ended(outcome: Outcome) -> bool:
            return self._given_up or (enough is not None and enough(outcome))

        with contextlib.closing(children):
            outcomes = plugin.run(
                module,
                opened,
                self._reference(module),
                secret=self.secret,
                data_dir=self._data,
                exercises=names,
                tests=tests,
                enough=ended,
            )
        with self._giving_up:
            given_up, self._given_up = self._given_up, False
        if given_up:
            raise Abandoned
        return outcomes, children

    def _reference(self, module: Module) -> LocalSubmission:
        stamp = (module.files.notebook, module.files.notebook.stat().st_mtime_ns)
        if self._references.get(module.name, (None,))[0] != stamp:
            with startup.importing():  # most of what a setup cell does
                reference = LocalSubmission(reference_cells(module))
            for error in reference.cell_errors:
                raise BrokenTests(f"the reference of {module.name} cannot be run: {error.label}: {error.reason}")
            self._stack.callback(reference.close)
            self._references[module.name] = stamp, reference
        return self._references[module.name][1]

    # ------------------------------------------------------------------------------------------------- judging

    def _blame(self, module: Module, exercise: str, outcomes: list[Outcome]) -> None:
        """Tell what the student's code brought about from what is wrong with a test, its reference or this machine.

        The second happens to the reference too, in the student's place. Where a test itself broke, that is tried now:
        what the reference did before says nothing of a disk that is full by now.
        """
        suspects = [outcome for outcome in outcomes if outcome.cause not in ("passed", "fault")]
        if not suspects:
            return
        diagnosis = self._explainer.known(module, exercise)
        if any(outcome.cause == "broken" for outcome in suspects):
            diagnosis.forget(None)
        sound = diagnosis.known(None).runs
        for outcome in suspects:
            reference = sound.get(outcome.item)
            if reference is None or reference.cause != "passed":
                outcome.cause, outcome.error = "fault", reference and reference.error
            elif outcome.cause == "broken":
                outcome.cause = "failed"


def _why(outcome: Outcome) -> str:
    """What went wrong on our side, for a person, and without what a failed comparison says of the expected value."""
    if outcome.error is None or isinstance(outcome.error, AssertionError):
        return "the reference fails it too"
    return safe(f"{type(outcome.error).__name__}: {outcome.error}".splitlines()[0], 500)


def _is_sandbox_fault(outcomes: list[Outcome]) -> bool:
    return not outcomes or any(isinstance(outcome.error, SandboxFault) for outcome in outcomes)


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
