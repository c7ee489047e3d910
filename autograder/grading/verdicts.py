"""Points, verdict and sentences of an exercise, from how its hidden tests ended."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from autograder.curriculum import Exercise
from autograder.grading.messages import LIST_CAME, safe, shown, what_happened
from autograder.grading.plugin import Outcome, Spec
from autograder.grading.rebuild import Rebuilt
from autograder.grading.report import ExerciseResult, TestResult
from autograder.submission import CellError, MissingName, StudentError

OUR_FAULT = "The grader failed here, not you. A person will look at it."
NOT_JUDGED = "What comes back is wrong, so this could not be judged yet."
STOPPED = {
    "timeout": "took too long and was stopped",
    "memory": "used too much memory and was stopped",
    "crashed": "ended its own process",
}


def is_faulty(outcomes: Sequence[Outcome]) -> bool:
    """Whether the grader failed on an exercise."""
    return not outcomes or any(outcome.cause == "fault" for outcome in outcomes)


def exercise_result(
    exercise: Exercise, verdict: str, score: float | None, tests: Sequence[TestResult] = (), message: str = ""
) -> ExerciseResult:
    """The result of one exercise."""
    return ExerciseResult(exercise.name, verdict, score, exercise.points, exercise.extra, tuple(tests), message)


def untested(exercise: Exercise) -> ExerciseResult:
    """The result of an exercise whose package is not installed here: neither a failure nor a fault."""
    message = f"Not tested: it needs {exercise.needs}, which is not installed here. It costs nothing."
    return exercise_result(exercise, "untested", 0.0, message=message)


def runs_of(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The runs of each test function, one for each set of its parameters."""
    runs: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        runs.setdefault(outcome.spec.name, []).append(outcome)
    return runs


def share(outcomes: Sequence[Outcome]) -> float:
    """Which part of an exercise's points these outcomes are worth: by weight, and nothing where a core test failed."""
    runs = [(own[0].spec, all(outcome.cause == "passed" for outcome in own)) for own in runs_of(outcomes).values()]
    if not runs or any(spec.core and not passed for spec, passed in runs):
        return 0.0
    return sum(spec.weight for spec, passed in runs if passed) / sum(spec.weight for spec, _ in runs)


def judged(
    exercise: Exercise,
    outcomes: Sequence[Outcome],
    errors: Mapping[str, CellError],
    rebuilt: Rebuilt,
    misconceptions: Mapping[str, str],
    lists: Collection[str],
    show: bool,
) -> ExerciseResult:
    """Points, verdict and sentences of an exercise whose tests were run. `errors`: of the cells, by label.

    By the name of a run that failed: what is known of it, `misconceptions`; `lists`, that a list came for an array.
    """
    if is_faulty(outcomes):
        return exercise_result(exercise, "grader_fault", None, message=OUR_FAULT)
    own_error = _own_cell_error(exercise, outcomes, errors, rebuilt)
    tests, failures = [], []
    wrong = any(run.spec.core and run.cause == "failed" and not _is_about_cost(run.spec) for run in outcomes)
    for own in runs_of(outcomes).values():
        spec = own[0].spec
        failure = next((outcome for outcome in own if outcome.cause != "passed"), None)
        if failure is None:
            tests.append(TestResult(spec.name, True, spec.sentence))
            continue
        failures.append(failure)
        known = misconceptions.get(failure.item)
        test = _failed(failure, own_error, rebuilt, known, failure.item in lists, show)
        if wrong and _is_about_cost(failure.spec) and failure.cause == "failed" and failure.comparison is not None:
            test = replace(test, message=f"{failure.spec.sentence}\n{NOT_JUDGED}")
        tests.append(test)
    if not failures:
        return exercise_result(exercise, "passed", float(exercise.points), tests)
    score = round(exercise.points * share(outcomes), 4)
    if score > 0:
        verdict, message = "partial", f"{len(tests) - len(failures)} of {len(tests)} tests passed."
    else:
        decisive = next((failure for failure in failures if failure.spec.core), failures[0])
        verdict = decisive.cause
        message = "No points yet: a test of what matters most failed." if len(failures) < len(tests) else ""
    if own_error is not None:
        verdict, message = own_error.kind, _cell_message(own_error, rebuilt)
    elif any(_is_missing(failure.error) for failure in failures):
        message = "\n".join(filter(None, [message, *_stopped(errors, rebuilt)]))
    return exercise_result(exercise, verdict, score, tests, message)


def _is_about_cost(spec: Spec) -> bool:
    return spec.memory_mb is not None or spec.seconds is not None


def _own_cell_error(exercise: Exercise, outcomes: Sequence[Outcome], errors: Mapping[str, CellError], rebuilt: Rebuilt):
    """The error of the exercise's own cell, where that is why its function does not exist."""
    missing = any(isinstance(outcome.error, MissingName) for outcome in outcomes)
    own = [errors[cell.label] for cell in rebuilt.cells if exercise.name in cell.exercises and cell.label in errors]
    return own[0] if missing and own else None


def _is_missing(error: BaseException | None) -> bool:
    """Whether a name was not there that another cell may have been meant to define."""
    return isinstance(error, MissingName) or (isinstance(error, StudentError) and "NameError" in error.bases)


def _stopped(errors: Mapping[str, CellError], rebuilt: Rebuilt) -> list[str]:
    """A sentence for each added cell that was stopped or is not Python."""
    found = []
    for cell in rebuilt.cells:
        error = errors.get(cell.label) if cell.kind == "added" else None
        why = STOPPED.get(error.kind) if error is not None else None
        if error is not None and error.error is not None and "SyntaxError" in error.error.bases:
            why = f"is not valid Python ({safe(error.reason, 200)})"
        if why:
            label = safe(cell.label[:1].upper() + cell.label[1:], 100)
            found.append(f"{label}, which you added, {why}, so what it defines is missing.")
    return found


def _cell_message(error, rebuilt: Rebuilt) -> str:
    detail = what_happened(error.error, rebuilt) if error.error is not None else ""
    reason = {
        "error": "The cell could not be run:",
        "timeout": f"The cell took too long and was stopped: {safe(error.reason, 300)}.",
        "memory": f"The cell used too much memory and was stopped: {safe(error.reason, 300)}.",
        "crashed": f"The cell ended its own process: {safe(error.reason, 300)}.",
    }[error.kind]
    return f"{reason}\n{detail}" if detail else reason


def _failed(
    outcome: Outcome, own_error, rebuilt: Rebuilt, misconception: str | None, is_list: bool, show: bool
) -> TestResult:
    spec = outcome.spec
    lines = [spec.sentence]
    if own_error is not None and isinstance(outcome.error, MissingName):
        lines.append("Its cell could not be run, so there is nothing to test.")
    elif is_list:
        lines.append(LIST_CAME)
    elif outcome.error is not None:
        lines += filter(None, [what_happened(outcome.error, rebuilt, outcome.comparison, outcome.spec.memory_mb)])
    return TestResult(
        spec.name, False, "\n".join(lines), misconception, _hint(spec, misconception), shown(outcome) if show else None
    )


def _hint(spec: Spec, misconception: str | None) -> str | None:
    """Which hint fits. Who fails what matters most is at the beginning, and the last hint is nearly the answer."""
    if not spec.hint:
        return None
    if spec.core and spec.hint >= 3 and misconception is None:
        return f"Read the hints of {spec.exercise} in order, hint 1 first."
    return f"Read hint {spec.hint} of {spec.exercise}."


def with_dependencies(
    results: Sequence[ExerciseResult], to_blame: Mapping[str, Sequence[str]]
) -> tuple[ExerciseResult, ...]:
    """Say of a failed test which other exercises are `to_blame` for it, by the test's name."""

    def told(test: TestResult) -> TestResult:
        names = to_blame.get(test.name, ()) if not test.passed else ()
        said = " ".join(f"It depends on `{name}`, which fails." for name in names)
        return replace(test, message=f"{test.message}\n{said}") if said else test

    return tuple(replace(result, tests=tuple(map(told, result.tests))) for result in results)
