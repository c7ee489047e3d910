"""Grades a person's own notebooks again and again: of each only the exercises whose result may be another now."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from autograder import curriculum
from autograder.curriculum import Module
from autograder.grading import plugin, rebuild, resting, verdicts
from autograder.grading.grade import Grader, NotInTime, Tested
from autograder.grading.reading import Unreadable
from autograder.grading.rebuild import Rebuilt
from autograder.grading.report import ExerciseResult, Report, grading_key

LOOK_SECONDS = 2.0  # that an exercise first has, so that one which never ends keeps no other waiting


@dataclass
class _Known:
    """What is known of one module's notebook. `keys` tell what each of the `results` rests on."""

    grading: str  # all that a result rests on besides the notebook
    depends: dict[str, set[str]]
    keys: dict[str, str] = field(default_factory=dict)
    results: dict[str, ExerciseResult] = field(default_factory=dict)
    unexplained: dict[str, Tested] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)  # exercises that needed more than a first look


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
        self.keys = resting.keys(rebuilt, known.depends)
        self.waiting = [e.name for e in module.exercises if known.keys.get(e.name) != self.keys[e.name]]
        for name in self.waiting:
            known.unexplained.pop(name, None)

    def test(self) -> None:
        """Test what waits, one after the other. A first look is short; who is not done within it comes last."""
        known, waiting = self.known, sorted(self.waiting, key=self.known.slow.__contains__)
        late: list[str] = []
        while waiting or late:
            self.waiting = [*waiting, *late]
            self.regrader.tell(self.report(self.waiting), self.waiting)
            name, hurried = (waiting or late).pop(0), bool(waiting) and self.waiting[0] not in known.slow
            done = self._done(name)
            try:
                tested = self.regrader.grader.test(self.module, self.rebuilt, done, LOOK_SECONDS if hurried else None)
            except NotInTime:
                known.slow.add(name)
                late.append(name)
                continue
            known.results[name] = self._concluded(name, tested, explain=False)
            known.keys[name] = self.keys[name]
            if known.results[name].verdict not in ("passed", "unanswered"):
                known.unexplained[name] = tested
        self.waiting = []

    def explain(self) -> None:
        """Find out why what failed has failed: which known mistake it is, or on whose fault it depends."""
        known = self.known
        for name in [e.name for e in self.module.exercises if e.name in known.unexplained]:
            self.regrader.tell(self.report([]), [])
            known.results[name] = self._concluded(name, known.unexplained[name], explain=True)
            del known.unexplained[name]

    def _concluded(self, name: str, tested: Tested, explain: bool) -> ExerciseResult:
        grader = self.regrader.grader
        results = grader.conclude(self.module, self.rebuilt, tested, False, self._done(name), explain)
        return next(result for result in results if result.id == name)

    def _done(self, name: str) -> dict[str, ExerciseResult]:
        """The results of all other exercises; what is not known yet counts as not answered."""
        return {
            e.name: self.known.results[e.name]
            if self.known.keys.get(e.name) == self.keys[e.name]
            else verdicts.exercise_result(e, "unanswered", 0.0)
            for e in self.module.exercises
            if e.name != name
        }

    def report(self, waiting: list[str]) -> Report:
        """The Report as far as it is known."""
        results = [self.known.results[e.name] for e in self.module.exercises if e.name not in waiting]
        path, seconds = self.module.name + ".ipynb", round(self.seconds(), 3)
        return self.regrader.grader.report(path, self.module.name, self.module, seconds, results, self.rebuilt.notes)
