"""Grades a person's own notebooks again and again: of each only the exercises whose result may be another now."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograder import curriculum
from autograder.curriculum import Module
from autograder.grading import plugin, rebuild, resting, verdicts
from autograder.grading.grade import Grader, NotInTime, Tested
from autograder.grading.reading import Unreadable
from autograder.grading.rebuild import Rebuilt
from autograder.grading.report import ExerciseResult, Report, grading_key
from autograder.grading.resting import Rest

LOOK_SECONDS = 2.0  # that an exercise first has, so that one which never ends keeps no other waiting


@dataclass
class _Known:
    """What is known of one module's notebook. `rests` tell what each of the `results` rests on."""

    grading: str  # all that a result rests on besides the notebook
    depends: dict[str, set[str]]
    rests: dict[str, Rest] = field(default_factory=dict)
    results: dict[str, ExerciseResult] = field(default_factory=dict)
    unexplained: dict[str, Tested] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)  # exercises that needed more than a first look
    killed: dict[tuple[str, str], Any] = field(default_factory=dict)  # CellErrors, by a cell's label and source

    def holds(self, name: str, rest: Rest) -> bool:
        """Whether a result still says the same. Where an exercise passed, no message names a cell."""
        known, result = self.rests.get(name), self.results.get(name)
        return known == rest or (known is not None and known.code == rest.code and result.verdict == "passed")


class Regrader:
    """Wraps a Grader, and remembers. For one thread.

    `tell` is given the Report so far whenever more is known, with the exercises that are still to be tested.
    """

    def __init__(self, grader: Grader, tell: Callable[[Report, list[str]], None] = lambda report, waiting: None):
        self.grader, self.tell = grader, tell
        self._known: dict[str, _Known] = {}

    def regrade(self, path: Path | str, expected: str) -> Report:
        """The Report of the notebook as it is now. Abandoned keeps what was found out until then."""
        started = time.perf_counter()
        self.grader.begin()
        try:
            _, rebuilt = rebuild.read(path, self.grader.root, expected)
            module = curriculum.load(expected, self.grader.root)
            work = _Work(self, module, rebuilt, self._of(module), lambda: time.perf_counter() - started)
            work.test()
            work.explain()
            return work.report([])
        except Unreadable:
            return self.grader.grade(path, expected)
        except Exception:
            self._known.pop(expected, None)
            return self.grader.grade(path, expected)  # which says in its Report what is the matter

    def _of(self, module: Module) -> _Known:
        """What is known; nothing where the module or the grader has changed since."""
        key = grading_key(module.name, self.grader.secret, self.grader.limits, self.grader.root)
        if module.name not in self._known or self._known[module.name].grading != key:
            depends: dict[str, set[str]] = {}
            for spec in plugin.specs(module):
                depends.setdefault(spec.exercise, set()).update(spec.depends)
            self._known[module.name] = _Known(key, depends)
        return self._known[module.name]


class _Work:
    """What is to be done for one state of a notebook."""

    def __init__(self, regrader: Regrader, module: Module, rebuilt: Rebuilt, known: _Known, seconds):
        self.regrader, self.module, self.rebuilt, self.known, self.seconds = regrader, module, rebuilt, known, seconds
        self.rests = resting.rests(rebuilt, known.depends)
        self.waiting = [e.name for e in module.exercises if not known.holds(e.name, self.rests[e.name])]
        for name in self.waiting:
            known.unexplained.pop(name, None)
        # The time of a whole notebook, as if what is known had taken none of it.
        settled = {*rebuilt.unanswered, *rebuilt.forbidden}
        answered = [e.name for e in module.exercises if e.testable and e.name not in settled]
        self.answered, self.budget = answered, regrader.grader.budget(answered)
        sources = {(cell.label, cell.source) for cell in rebuilt.cells}
        known.killed = {cell: error for cell, error in known.killed.items() if cell in sources}
        self.budget.stopped = frozenset(label for label, _ in known.killed)

    def test(self) -> None:
        """Test what waits, one after the other. A first look is short; who is not done within it comes last."""
        known, waiting = self.known, sorted(self.waiting, key=self.known.slow.__contains__)
        late: list[str] = []
        while waiting or late:
            self.waiting = [*waiting, *late]
            self.regrader.tell(self.report(self.waiting), self.waiting)
            if not waiting:
                self.explain(but=set(late))
            hurried = len(waiting) > 1 and waiting[0] not in known.slow  # the last keeps no other waiting
            name = (waiting or late).pop(0)
            try:
                tested = self._tested(name, LOOK_SECONDS if hurried else None)
            except NotInTime:
                known.slow.add(name)
                late.append(name)
                continue
            result = self._concluded(name, tested, explain=False)
            known.results[name] = result
            if result.verdict == "grader_fault":  # it says nothing of the notebook
                known.rests.pop(name, None)
            else:
                known.rests[name] = self.rests[name]
            if result.verdict not in ("passed", "unanswered", "untested", "grader_fault"):
                known.unexplained[name] = tested
        self.waiting = []

    def _tested(self, name: str, look: float | None) -> Tested:
        if name in self.answered:
            for earlier in self.answered[: self.answered.index(name)]:
                self.budget.begin(earlier)
        outcomes, errors = self.regrader.grader.test(
            self.module, self.rebuilt, self._done(name), self.budget, look if name in self.answered else None
        )
        known = self.known
        for cell in self.rebuilt.cells:
            if cell.label in self.budget.stopped and cell.label in errors:
                known.killed[cell.label, cell.source] = errors[cell.label]
        return outcomes, {label: error for (label, _), error in known.killed.items()} | errors

    def explain(self, but: Collection[str] = ()) -> None:
        """Find out why what failed has failed: which known mistake it is, or on whose fault it depends.

        `but`: exercises that are not tested yet, so that nobody can be said to depend on their fault.
        """
        known = self.known
        for name in [e.name for e in self.module.exercises if e.name in known.unexplained]:
            if not known.depends.get(name, set()).isdisjoint(but):
                continue
            self.regrader.tell(self.report(self.waiting), self.waiting)
            known.results[name] = self._concluded(name, known.unexplained[name], explain=True)
            del known.unexplained[name]

    def _concluded(self, name: str, tested: Tested, explain: bool) -> ExerciseResult:
        grader = self.regrader.grader
        results = grader.conclude(self.module, self.rebuilt, tested, False, self._done(name), explain)
        return next(result for result in results if result.id == name)

    def _done(self, name: str) -> dict[str, ExerciseResult]:
        """The results of all other exercises; what is not known yet counts as not answered."""
        known = self.known
        return {
            e.name: known.results[e.name]
            if known.holds(e.name, self.rests[e.name])
            else verdicts.exercise_result(e, "unanswered", 0.0)
            for e in self.module.exercises
            if e.name != name
        }

    def report(self, waiting: list[str]) -> Report:
        """The Report as far as it is known."""
        results = [self.known.results[e.name] for e in self.module.exercises if e.name not in waiting]
        path, seconds = self.module.name + ".ipynb", round(self.seconds(), 3)
        return self.regrader.grader.report(path, self.module.name, self.module, seconds, results, self.rebuilt.notes)
