"""Why tests failed, as far as it can be found out by trying: which known mistake it is, and whose fault."""

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from autograder import answers
from autograder.answers import Answer
from autograder.curriculum import Exercise, Module
from autograder.grading import verdicts
from autograder.grading.diagnosis import TOLERANCES, Diagnosis, Kept
from autograder.grading.lending import Lent
from autograder.grading.plugin import Outcome
from autograder.grading.rebuild import Rebuilt
from autograder.grading.reference import reference_cells, uses
from autograder.grading.report import grading_key
from autograder.submission import SandboxFault, SourceCell

if TYPE_CHECKING:
    from autograder.grading.grade import Grader

KNOWN_SECONDS = 3.0  # for one call of a known wrong answer, some of which loop

log = logging.getLogger(__name__)


class OutOfTime(Exception):
    """The time for an explanation is used up."""


class Explainer:
    """Explains what a grader's tests found. What it learns of known answers it keeps from one notebook to the next.

    `until`, in what follows, is when there is no more time for it, as time.monotonic() counts. No failure of its own,
    whatever a student's answer does to it, costs anybody a grade: there is no explanation then.
    """

    def __init__(self, grader: "Grader"):
        self.grader = grader
        self._diagnoses: dict[tuple, Diagnosis] = {}

    def known(self, module: Module, exercise: str) -> Diagnosis:
        """What the known answers of an exercise do in its tests, found out when it is asked for."""
        grader, files = self.grader, vars(module.files).values()
        key = (module.name, exercise, *(file.stat().st_mtime_ns if file.is_file() else 0 for file in files))
        if key not in self._diagnoses:

            def outcomes_of(answer: Answer | None) -> list[Outcome]:
                seconds = min(grader.limits.call_seconds, KNOWN_SECONDS)
                limits = replace(grader.limits, call_seconds=seconds) if answer else None
                return grader.outcomes(module, reference_cells(module, answer), exercise, limits=limits)

            kept = None
            if grader.kept:
                kept = Kept(grader.kept, grading_key(module.name, grader.secret, grader.limits, grader.root))
            self._diagnoses[key] = Diagnosis(answers.load(module.name, grader.root), exercise, outcomes_of, kept)
        return self._diagnoses[key]

    def diagnose(
        self,
        module: Module,
        exercise: Exercise,
        outcomes: list[Outcome],
        rebuilt: Rebuilt,
        passed: set[str],
        until: float,
    ) -> tuple[dict[str, str], set[str]]:
        """Of the runs that failed, by name: misconceptions, and those that failed because a list came.

        What no known answer did with the reference's other answers is tried again with the student's that `passed`.
        """
        if verdicts.is_faulty(outcomes) or all(outcome.cause == "passed" for outcome in outcomes):
            return {}, set()
        try:
            diagnosis = self.known(module, exercise.name)
            found = diagnosis.misconceptions(outcomes)
            helpers = sorted(uses(module, exercise.name) & passed)
            if helpers and any(run.cause == "failed" and run.item not in found for run in outcomes):
                with contextlib.suppress(OutOfTime):
                    found = self._with_helpers(module, diagnosis, outcomes, rebuilt, helpers, until) | found
            return found, diagnosis.lists(outcomes, mentioned="list" in exercise.docstring)
        except ValueError:  # its text quotes the reference
            log.error("diagnosing %s failed: is there a known answer that does not fit the reference?", exercise.name)
            return {}, set()
        except Exception:
            log.exception("diagnosing %s failed", exercise.name)
            return {}, set()

    def to_blame(
        self, module: Module, rebuilt: Rebuilt, outcomes: Mapping[str, list[Outcome]], wrong: set[str], until: float
    ) -> dict[str, list[str]]:
        """For each failed test those of the `wrong` exercises it depends on without whose fault it would pass.

        Found out by doing it: the reference's answer stands in for the student's. Nothing where there is no time left.
        """
        found: dict[str, list[str]] = {}
        try:
            for exercise, own in outcomes.items():
                failed = [run for run in own if run.cause not in ("passed", "fault") and wrong & {*run.spec.depends}]
                names = list(dict.fromkeys(name for run in failed for name in run.spec.depends if name in wrong))
                for tried in [[name] for name in names] + ([names] if len(names) > 1 else []):
                    waiting = {run.spec.name for run in failed if {*tried} <= {*run.spec.depends}} - found.keys()
                    if not waiting:
                        continue
                    runs = self._lending(module, rebuilt.cells, exercise, reference_cells(module), tried, until)
                    for name, again in verdicts.runs_of(runs).items():
                        if name in waiting and all(run.cause == "passed" for run in again):
                            found[name] = tried
        except OutOfTime:
            pass
        except Exception:
            log.exception("finding out what %s depends on failed", module.name)
        return found

    def _with_helpers(
        self,
        module: Module,
        diagnosis: Diagnosis,
        outcomes: list[Outcome],
        rebuilt: Rebuilt,
        helpers: list[str],
        until: float,
    ) -> dict[str, str]:
        """The misconceptions that show once known answers use the student's own `helpers`, where those differ."""

        def outcomes_of(answer: Answer | None) -> list[Outcome]:
            return self._lending(
                module, reference_cells(module, answer), diagnosis.exercise, rebuilt.cells, helpers, until
            )

        right = outcomes_of(None)
        if all(diagnosis.known(None).did(run, TOLERANCES[0]) for run in right):
            return {}
        return Diagnosis(
            diagnosis.gallery, diagnosis.exercise, lambda answer: outcomes_of(answer) if answer else right
        ).misconceptions(outcomes)

    def _lending(
        self,
        module: Module,
        cells: Sequence[SourceCell],
        exercise: str,
        others: Sequence[SourceCell],
        names: list[str],
        until: float,
    ) -> list[Outcome]:
        """The outcomes of an exercise's tests on these cells, which use the functions of these `names` in others."""
        limits, seconds = self.grader.limits, until - time.monotonic()
        if seconds <= 0:
            raise OutOfTime
        limits = replace(limits, notebook_seconds=min(seconds, limits.notebook_seconds))
        try:
            with self.grader.load(others, limits) as owner:
                return self.grader.outcomes(module, cells, exercise, limits=limits, lent=Lent(owner, names))
        except SandboxFault:
            return []
