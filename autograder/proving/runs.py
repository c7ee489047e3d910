"""Tries answers: each is graded as a student's would be, in a few warm processes side by side.

The answers are ours, so they run without bubblewrap, in forked children with deadlines: mutants loop for ever.
"""

import itertools
import multiprocessing
import multiprocessing.util
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from autograder import answers, curriculum
from autograder.answers import Answer
from autograder.curriculum import Module
from autograder.errors import UserError
from autograder.grading import plugin, syntax, verdicts
from autograder.grading.diagnosis import TOLERANCES, Diagnosis, alike
from autograder.grading.explaining import KNOWN_SECONDS
from autograder.grading.grade import Grader
from autograder.grading.plugin import BrokenTests, Outcome, Spec
from autograder.grading.reference import reference_cells
from autograder.proving import mistakes, trivial
from autograder.proving.calibrate import Row, Trial, TrialResult, row, trials
from autograder.sandbox import Limits
from autograder.submission import MissingName, SandboxFault, SourceCell, StudentError, SubmissionError

# How long one call of a mutant may take: a second, and several times what all the reference's calls took together.
LEAST_SECONDS, TIMES_REFERENCE = 1.0, 3.0

Task = tuple[str, Trial]  # a trial of a module


def calibrate(
    names: Sequence[str],
    *,
    root: Path = curriculum.ROOT,
    only: Collection[str] | None = None,
    jobs: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    quick: bool = False,
    bench: "Bench | None" = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Row]:
    """Calibrate modules, in `jobs` processes (None: one for each core), or in a `bench`. A row an exercise
    that can be tested here.

    `only` these exercises, if it is given; and at most `sample` mutants of each, drawn by `seed`, if that is given.
    `quick`: a wrong answer meets the tests that it must fail (and the others where its visible check sees nothing),
    and what its student would be told is left out.
    `progress(done, total)` is told after each trial. UserError where a module's hidden tests cannot be collected.
    """
    modules = {name: curriculum.load(name, root) for name in names}
    galleries = {name: answers.load(name, root) for name in names}
    specs = {name: hidden_tests(module, root) for name, module in modules.items()}
    wanted = {
        name: [e for e in module.exercises if e.testable and (only is None or e.name in only)]
        for name, module in modules.items()
    }
    todo = [
        (name, trial)
        for name in names
        for exercise in wanted[name]
        for trial in trials(modules[name], exercise, galleries[name], sample=sample, seed=seed, quick=quick)
    ]
    found: dict[Task, TrialResult] = {}
    with _Workers(jobs or cores(), root) if bench is None else nullcontext(bench) as workers:
        # The references first: how long they take says how long a mutant may.
        for groups in (_groups(todo, ("reference",)), _groups(todo, ("right", "wrong"), ("trivial",), ("mutant",))):
            waits = [_patience(found, group) for group in groups]
            for group, verdicts in workers.attempts(groups, waits):
                found |= zip(group, verdicts, strict=True)
                progress(len(found), len(todo))
    return [
        row(
            module,
            exercise,
            galleries[name],
            [spec for spec in specs[name] if spec.exercise == exercise.name],
            [(trial, found[n, trial]) for n, trial in todo if n == name and trial.exercise == exercise.name],
        )
        for name, module in modules.items()
        for exercise in wanted[name]
    ]


def _groups(todo: Sequence[Task], *kinds: tuple[str, ...]) -> list[list[Task]]:
    """The trials of these kinds, put together as a process tries them in one go.

    Known answers of an exercise are compared with one another, so they stay together; of others, a few.
    """
    groups = []
    for wanted in kinds:
        longest = len(todo) if "wrong" in wanted else 4
        for _, own in itertools.groupby((t for t in todo if t[1].kind in wanted), lambda t: (t[0], t[1].exercise)):
            tasks = list(own)
            groups += [tasks[i : i + longest] for i in range(0, len(tasks), longest)]
    return groups


def _patience(found: dict[Task, TrialResult], group: list[Task]) -> float:
    """How many seconds one call of a mutant may take."""
    name, first = group[0]
    reference = [
        v.seconds for (n, t), v in found.items() if (n, t.exercise, t.kind) == (name, first.exercise, "reference")
    ]
    return LEAST_SECONDS + TIMES_REFERENCE * sum(reference)


def hidden_tests(module: Module, root: Path = curriculum.ROOT) -> list[Spec]:
    """A module's hidden tests, as their markers tell of them. UserError where they break a rule."""
    try:
        return plugin.specs(module)
    except BrokenTests as error:
        raise UserError(str(error)) from None


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Bench:
    """Grades trials, one after the other, in one warm sandbox without isolation. A context manager."""

    def __init__(self, root: Path = curriculum.ROOT):
        self.root, self.grader = root, Grader("none", root=root)
        # Of one exercise's known answers, by name: results may be large, and exercises come one after the other.
        self._runs: tuple[tuple, dict[str | None, list[Outcome]]] = ((), {})
        self._told: tuple[tuple, Diagnosis | None] = ((), None)

    def __enter__(self) -> "Bench":
        self.grader.__enter__()
        return self

    def __exit__(self, *failure) -> None:
        self.grader.__exit__(*failure)

    def attempts(
        self, groups: Sequence[list[Task]], waits: Sequence[float]
    ) -> Iterator[tuple[list[Task], list[TrialResult]]]:
        """The verdicts of each group of trials, in order."""
        for group, patience in zip(groups, waits, strict=True):
            yield group, [self.attempt(name, trial, patience) for name, trial in group]

    def attempt(self, name: str, trial: Trial, patience: float) -> TrialResult:
        """Grade one trial of a module. `patience`: seconds that a call of a mutant may take."""
        module, started = curriculum.load(name, self.root), time.perf_counter()
        try:
            result = self._judged(module, trial, patience)
        except (BrokenTests, SandboxFault, OSError) as error:
            result = TrialResult(0.0, fault=str(error) or type(error).__name__)
        return replace(result, seconds=time.perf_counter() - started)

    def _judged(self, module: Module, trial: Trial, patience: float) -> TrialResult:
        forbids = module.exercise(trial.exercise).forbids
        if forbids and syntax.forbidden({trial.exercise: forbids}, [*module.setup, trial.cell]):
            return TrialResult(0.0, failed={"the rule on names that may not be used": "failed"})
        cells = [
            replace(cell, source=trial.cell) if cell.label == trial.exercise else cell
            for cell in reference_cells(module)
        ]
        limits = Limits(call_seconds=patience) if trial.kind == "mutant" else None
        if trial.kind == "wrong" and trial.quick:
            return self._caught(module, trial, cells)
        if trial.kind == "wrong":
            result = self._diagnosed(module, trial)
        elif trial.kind in ("reference", "right"):
            result = _result(self._outcomes(module, trial.exercise, self._known(module, trial)))
        else:
            enough = {"mutant": _lost, "trivial": _lost_core}[trial.kind]
            result = _result(self.grader.outcomes(module, cells, trial.exercise, enough, limits, patient=False))
        if trial.kind in ("reference", "wrong") or trial.name == trivial.BUG:
            passes, met = self._checked(module, trial, cells)
            unseen = passes and trial.kind == "wrong" and result.share == 0 and not result.fault
            result = replace(result, unseen=unseen, mistakes=met)
        return result

    def _caught(self, module: Module, trial: Trial, cells: list[SourceCell]) -> TrialResult:
        """A wrong answer's result by the tests that it must fail, or by all where its visible check lets it pass."""
        unseen, met = self._checked(module, trial, cells)
        answer = self._known(module, trial)
        if unseen:
            outcomes = self._outcomes(module, trial.exercise, answer)
        else:
            limits = replace(self.grader.limits, call_seconds=KNOWN_SECONDS)
            outcomes = self.grader.outcomes(module, cells, trial.exercise, limits=limits, tests=answer.fails)
        result = _result(outcomes)
        return replace(result, unseen=unseen and result.share == 0, mistakes=met, diagnosable=False)

    def _checked(self, module: Module, trial: Trial, cells: list[SourceCell]) -> tuple[bool, frozenset[str]]:
        """Whether an answer passes the visible check of its exercise, run after the checks that it needs; and which
        sentences of that check it meets."""
        own = module.exercise(trial.exercise)
        needed = [*mistakes.checks_before(module, own), own]
        checks = [SourceCell(f"check of {e.name}", e.check, "added") for e in needed]
        said = bool(mistakes.sentences(own))
        recorder = [SourceCell("recorder", mistakes.recorder(module, own), "added")] if said else []
        with self.grader.load([*cells, *checks, *recorder]) as submission:
            passes = checks[-1].label not in {error.label for error in submission.cell_errors}
            try:
                return passes, frozenset(submission.value("_met") if said else ())
            except SubmissionError:  # it does not end: nothing came
                return passes, frozenset()

    def _diagnosed(self, module: Module, trial: Trial) -> TrialResult:
        """A wrong answer's result, with what its student would be told."""
        outcomes = self._outcomes(module, trial.exercise, self._known(module, trial))
        result = _result(outcomes)
        if result.fault:
            return result
        if slips := [str(o.error) for o in outcomes if _is_slip(o.error)]:
            return replace(result, fault=f"cannot be run as it stands: {slips[0]}")
        diagnosis = self._diagnosis(module, trial.exercise)
        found, told = diagnosis.misconceptions(outcomes), {}
        for outcome in outcomes:  # a student is told of the first that fails of a test's parameters
            if outcome.cause != "passed":
                told.setdefault(outcome.spec.name, found.get(outcome.item))
        told = {name: misconception for name, misconception in told.items() if misconception}
        others = [a for a in diagnosis.gallery.wrong(trial.exercise) if a.name != trial.name]
        agrees = [a.says for a in others if alike(outcomes, diagnosis.known(a).runs)]
        # Of two that nothing tells apart neither is named.
        diagnosable = bool(told) or (not agrees and _shows(outcomes, diagnosis))
        return replace(result, diagnosed=told, agrees=tuple(agrees), diagnosable=diagnosable)

    def _known(self, module: Module, trial: Trial) -> Answer | None:
        """The known answer that is tried; None: the reference."""
        gallery = answers.load(module.name, self.root)
        known = {"right": gallery.right, "wrong": gallery.wrong}.get(trial.kind, lambda exercise: ())
        return next((answer for answer in known(trial.exercise) if answer.name == trial.name), None)

    def _diagnosis(self, module: Module, exercise: str) -> Diagnosis:
        if self._told[0] != (key := _state(module, exercise)):
            gallery = answers.load(module.name, self.root)
            self._told = key, Diagnosis(gallery, exercise, lambda answer: self._outcomes(module, exercise, answer))
        return self._told[1]

    def _outcomes(self, module: Module, exercise: str, answer: Answer | None) -> list[Outcome]:
        """All outcomes of a known answer: what it is graded by, and what others are compared with."""
        if self._runs[0] != (key := _state(module, exercise)):
            self._runs = (key, {})
        name = answer.name if answer is not None else None
        if name not in self._runs[1]:
            wrong = answer is not None and answer.kind == "wrong"  # some loop
            limits = replace(self.grader.limits, call_seconds=KNOWN_SECONDS) if wrong else None
            outcomes = self.grader.outcomes(module, reference_cells(module, answer), exercise, limits=limits)
            if any(outcome.cause == "fault" for outcome in outcomes):
                return outcomes
            self._runs[1][name] = outcomes
        return self._runs[1][name]


def _state(module: Module, exercise: str) -> tuple:
    """An exercise, and what its answers and tests are made of now."""
    return exercise, *((file, file.stat().st_mtime_ns) for file in vars(module.files).values())


def _shows(outcomes: Sequence[Outcome], diagnosis: Diagnosis) -> bool:
    """Whether an answer returned, in a test that it failed, something that no right answer returns there.

    If not (it is slow, it keeps too much in memory), there is nothing to know it by.
    """
    right = [diagnosis.known(answer) for answer in (None, *diagnosis.gallery.right(diagnosis.exercise))]
    failed = [run for run in outcomes if run.cause in ("failed", "error", "broken") and run.calls]
    return any(not any(answer.did(run, TOLERANCES[-1]) for answer in right) for run in failed)


def _is_slip(error: BaseException | None) -> bool:
    """Whether an answer failed by a mistake of its author, not by the misconception that it stands for."""
    return isinstance(error, MissingName) or (
        isinstance(error, StudentError) and error.type_name in ("NameError", "SyntaxError", "ModuleNotFoundError")
    )


def _lost(outcome: Outcome) -> bool:
    return outcome.cause != "passed"


def _lost_core(outcome: Outcome) -> bool:
    return outcome.cause != "passed" and outcome.spec.core


def _result(outcomes: Sequence[Outcome]) -> TrialResult:
    """Which tests failed, and the share of the points that the others are worth."""
    failed: dict[str, str] = {}
    for outcome in outcomes:
        if outcome.cause != "passed":
            failed.setdefault(outcome.spec.name, _cause(outcome))
    passed = tuple(name for name in verdicts.runs_of(outcomes) if name not in failed)
    faults = [f"{outcome.item}: {outcome.error}" for outcome in outcomes if outcome.cause == "fault"]
    fault = "; ".join(faults) if outcomes else "no test ran"
    return TrialResult(verdicts.share(outcomes), failed, passed, fault=fault)


def _cause(outcome: Outcome) -> str:
    why = outcome.comparison.why if outcome.comparison is not None else ""
    if outcome.cause in ("error", "broken"):
        why = str(outcome.error).splitlines()[0][:200] if str(outcome.error) else type(outcome.error).__name__
    return f"{outcome.cause}: {why}" if why else outcome.cause


class _Workers:
    """Several processes with a bench in each. A context manager."""

    def __init__(self, jobs: int, root: Path):
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(jobs, context, initializer=_open_bench, initargs=(root,))

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *failure) -> None:
        self.pool.shutdown(wait=failure[0] is None, cancel_futures=True)
        if failure[0] is not None:
            for process in multiprocessing.active_children():
                process.terminate()

    def attempts(
        self, groups: Sequence[list[Task]], waits: Sequence[float]
    ) -> Iterator[tuple[list[Task], list[TrialResult]]]:
        """The verdicts of each group of trials, as they come."""
        with _ignoring_interrupts():
            futures = {self.pool.submit(_attempts, *pair): pair[0] for pair in zip(groups, waits, strict=True)}
        for future in as_completed(futures):
            yield futures[future], future.result()


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Processes started in here never hear Ctrl-C: the command that started them hears it, and tells them to stop."""
    if threading.current_thread() is not threading.main_thread():  # Python sets signal handlers in the main thread only
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_bench: Bench  # of a worker process


def _open_bench(root: Path) -> None:
    global _bench
    _bench = Bench(root).__enter__()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave a trial half done, but tidy up
    multiprocessing.util.Finalize(None, _bench.__exit__, (None, None, None), exitpriority=10)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed command cannot tell its workers to stop, and one that waits for a mutant would go on for minutes."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _attempts(group: list[Task], patience: float) -> list[TrialResult]:
    return [_bench.attempt(name, trial, patience) for name, trial in group]
