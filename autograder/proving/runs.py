"""Tries answers: each is graded as a student's would be, in a few warm processes side by side.

The answers are ours, so they run without bubblewrap, in forked children with deadlines: mutants loop for ever.
"""

import multiprocessing
import multiprocessing.util
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from autograder import calibration, curriculum
from autograder.curriculum import Module
from autograder.errors import UserError
from autograder.grading import plugin, syntax
from autograder.grading.diagnosis import alike
from autograder.grading.grade import Grader, reference_cells
from autograder.grading.plugin import BrokenTests, Outcome, Spec
from autograder.grading.rebuild import Rebuilt
from autograder.proving.calibrate import Row, Trial, Verdict, row, trials
from autograder.sandbox import Limits
from autograder.submission import SandboxFault, SourceCell

# How long one call of a mutant may take: a second, and several times what all the reference's calls took together.
LEAST_SECONDS, TIMES_REFERENCE = 1.0, 5.0


def calibrate(
    names: Sequence[str],
    *,
    root: Path = curriculum.ROOT,
    only: Collection[str] | None = None,
    jobs: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Row]:
    """Calibrate modules, in `jobs` processes (None: one for each core; 1: in this one). An exercise a row.

    `only` these exercises, if it is given; and at most `sample` mutants of each, drawn by `seed`, if that is given.
    `progress(done, total)` is told after each trial. UserError where a module's hidden tests cannot be collected.
    """
    modules = {name: curriculum.load(name, root) for name in names}
    galleries = {name: calibration.load(name, root) for name in names}
    specs = {name: hidden_tests(module, root) for name, module in modules.items()}
    todo = [
        (name, trial)
        for name in names
        for exercise in modules[name].exercises
        if only is None or exercise.name in only
        for trial in trials(modules[name], exercise, galleries[name], sample=sample, seed=seed)
    ]
    found: dict[tuple[str, Trial], Verdict] = {}
    patience: dict[tuple[str, str], float] = {}

    def note(task: tuple[str, Trial], verdict: Verdict) -> None:
        found[task] = verdict
        if task[1].kind == "reference":
            patience[task[0], task[1].exercise] = LEAST_SECONDS + TIMES_REFERENCE * verdict.seconds
        progress(len(found), len(todo))

    with _Workers(min(jobs or cores(), len(todo)), root) as workers:
        for first in (True, False):  # the references, which say how long the others may take
            tasks = [task for task in todo if (task[1].kind == "reference") == first]
            for task, verdict in workers.map((n, t, patience.get((n, t.exercise), 0.0)) for n, t in tasks):
                note(task, verdict)
    return [
        row(
            module,
            exercise,
            galleries[name],
            [spec for spec in specs[name] if spec.exercise == exercise.name],
            [(trial, found[n, trial]) for n, trial in todo if n == name and trial.exercise == exercise.name],
        )
        for name, module in modules.items()
        for exercise in module.exercises
        if only is None or exercise.name in only
    ]


def hidden_tests(module: Module, root: Path = curriculum.ROOT) -> list[Spec]:
    """A module's hidden tests, as their markers tell of them. UserError where they break a rule."""
    try:
        return plugin.specs(root / "autograder" / "hidden_tests" / f"test_{module.name}.py", module)
    except BrokenTests as error:
        raise UserError(str(error)) from None


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Bench:
    """Grades trials, one after the other, in one warm sandbox of the kind that protects nobody. A context manager."""

    def __init__(self, root: Path = curriculum.ROOT):
        self.root, self.grader = root, Grader("none", root=root)

    def __enter__(self) -> "Bench":
        self.grader.__enter__()
        return self

    def __exit__(self, *failure) -> None:
        self.grader.__exit__(*failure)

    def attempt(self, name: str, trial: Trial, patience: float) -> Verdict:
        """Grade one trial of a module. `patience`: seconds that a call of a mutant may take."""
        module, started = curriculum.load(name, self.root), time.perf_counter()
        try:
            verdict = self._judged(module, trial, patience)
        except (BrokenTests, SandboxFault, OSError) as error:
            verdict = Verdict(0.0, fault=str(error) or type(error).__name__)
        return replace(verdict, seconds=time.perf_counter() - started)

    def _judged(self, module: Module, trial: Trial, patience: float) -> Verdict:
        forbids = module.exercise(trial.exercise).forbids
        if syntax.forbidden(trial.cell, module.setup, forbids):
            return Verdict(0.0, failed={"the rule on names that may not be used": "failed"})
        cells = [
            replace(cell, source=trial.cell) if cell.label == trial.exercise else cell
            for cell in reference_cells(module)
        ]
        if trial.kind == "wrong":
            return self._diagnosed(module, trial, cells)
        self.grader.limits = Limits(call_seconds=patience) if trial.kind == "mutant" else Limits()
        enough = {"mutant": _lost, "trivial": _lost_core}.get(trial.kind)
        return _verdict(self.grader.outcomes(module, cells, trial.exercise, enough=enough))

    def _diagnosed(self, module: Module, trial: Trial, cells: list[SourceCell]) -> Verdict:
        """A wrong answer's verdict, with what its student would be told."""
        self.grader.limits = Limits()
        rebuilt = Rebuilt(tuple(cells), {trial.exercise: trial.cell}, frozenset())
        (result,) = self.grader.judge(module, rebuilt, only=[trial.exercise])
        if result.score is None:
            return Verdict(0.0, fault="; ".join(self.grader.trouble) or result.message)
        told = {test.name: test.misconception for test in result.tests if test.misconception}
        gallery = calibration.load(module.name, self.root)
        own = next(answer for answer in gallery.wrong(trial.exercise) if answer.name == trial.name)
        others = [a for a in gallery.wrong(trial.exercise) if a.says in told.values() and a.says != own.says]
        return Verdict(
            result.score / result.points,
            failed={test.name: "failed" for test in result.tests if not test.passed},
            passed=tuple(test.name for test in result.tests if test.passed),
            diagnosed=told,
            agrees=tuple(other.says for other in others if self._alike(module, own, other)),
        )

    def _alike(self, module: Module, *answers) -> bool:
        """Whether two known answers return the same on every hidden input."""
        one, other = (self.grader.outcomes(module, reference_cells(module, a), a.exercise) for a in answers)
        return alike(one, other)


def _lost(outcome: Outcome) -> bool:
    return outcome.cause != "passed"


def _lost_core(outcome: Outcome) -> bool:
    return outcome.cause != "passed" and outcome.spec.core


def _verdict(outcomes: Sequence[Outcome]) -> Verdict:
    """Which tests failed, and the share of the points: that of the weight, or nothing where a core test failed."""
    failed: dict[str, str] = {}
    for outcome in outcomes:
        if outcome.cause != "passed":
            failed.setdefault(outcome.spec.name, _cause(outcome))
    weights = {outcome.spec.name: outcome.spec.weight for outcome in outcomes}
    passed = tuple(name for name in weights if name not in failed)
    faults = [f"{outcome.item}: {outcome.error}" for outcome in outcomes if outcome.cause == "fault"]
    core = any(outcome.spec.core and outcome.cause != "passed" for outcome in outcomes)
    share = 0.0 if core or not weights else sum(weights[name] for name in passed) / sum(weights.values())
    return Verdict(share, failed, passed, fault="" if weights and not faults else "; ".join(faults) or "no test ran")


def _cause(outcome: Outcome) -> str:
    why = outcome.comparison.why if outcome.comparison is not None else ""
    if outcome.cause in ("error", "broken"):
        why = str(outcome.error).splitlines()[0][:200] if str(outcome.error) else type(outcome.error).__name__
    return f"{outcome.cause}: {why}" if why else outcome.cause


class _Workers:
    """A bench in each of `jobs` processes, or one in this process if `jobs` is 1. A context manager."""

    def __init__(self, jobs: int, root: Path):
        self.jobs, self.root = jobs, root

    def __enter__(self) -> "_Workers":
        if self.jobs > 1:
            context = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(self.jobs, context, initializer=_open_bench, initargs=(self.root,))
        else:
            self.bench = Bench(self.root).__enter__()
        return self

    def __exit__(self, *failure) -> None:
        if self.jobs > 1:
            self.pool.shutdown(wait=failure[0] is None, cancel_futures=True)
        else:
            self.bench.__exit__(*failure)

    def map(self, tasks: Iterable[tuple[str, Trial, float]]) -> Iterator[tuple[tuple[str, Trial], Verdict]]:
        """The verdict of each task (module, trial, patience), as it comes."""
        if self.jobs == 1:
            yield from (((task[0], task[1]), self.bench.attempt(*task)) for task in tasks)
            return
        futures = {self.pool.submit(_attempt, *task): (task[0], task[1]) for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()


_bench: Bench  # of a worker process


def _open_bench(root: Path) -> None:
    global _bench
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command that started us tells us when to stop
    _bench = Bench(root).__enter__()
    multiprocessing.util.Finalize(None, _bench.__exit__, (None, None, None), exitpriority=10)


def _attempt(name: str, trial: Trial, patience: float) -> Verdict:
    return _bench.attempt(name, trial, patience)
