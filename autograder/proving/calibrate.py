"""What a module's hidden tests are tried with, and the bars that the results must reach.

Nothing runs here: `trials` says what is to be tried, `runs` tries it, and `row` judges what came of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from autograder.answers import Gallery
from autograder.curriculum import Cell, Exercise, Module
from autograder.grading.plugin import Spec
from autograder.proving import mistakes, mutants, trivial

OF_A_MODULE, OF_AN_EXERCISE = 0.97, 0.90  # of the mutants that are killed or explained
EQUIVALENT_SHARE = 1 / 20  # that may be marked as equivalent; one always may
ENOUGH = 2  # wrong answers, and right ones, that every exercise has


@dataclass(frozen=True)
class Trial:
    """One answer to be graded as a student's: `cell` is the whole exercise cell."""

    exercise: str
    kind: str  # "reference", "right", "wrong", "trivial" or "mutant"
    name: str  # of a mutant: its diff
    cell: str
    line: int = 0  # of a mutant: in the module's file
    operator: str = ""  # of a mutant: what changed it
    explained: bool = False  # a mutant that is marked as equivalent
    quick: bool = False  # of a wrong answer: by the tests that it must fail only, undiagnosed


@dataclass(frozen=True)
class TrialResult:
    """How a trial ended. `share` of the points; `failed`: each failed test with its cause; `passed`: the others run.

    Of a wrong answer. `diagnosed`: for each failed test the misconception that its student is told, if any; `agrees`:
    the other misconceptions that no hidden input tells from this one; `diagnosable`: whether it returns something that
    no right answer does; `unseen`: whether the visible check lets it pass. `mistakes`: sentences of the visible check
    whose value it returns there. `fault`: why nothing can be said.
    """

    share: float
    failed: dict[str, str] = field(default_factory=dict)
    passed: tuple[str, ...] = ()
    diagnosed: dict[str, str] = field(default_factory=dict)
    agrees: tuple[str, ...] = ()
    diagnosable: bool = True
    unseen: bool = False
    mistakes: frozenset[str] = frozenset()
    seconds: float = 0.0
    fault: str = ""


@dataclass(frozen=True)
class Row:
    """What calibration says of an exercise: counts as (how many did well, of how many), and the bars it misses."""

    module: str
    exercise: str
    right: tuple[int, int]
    wrong: tuple[int, int]
    intended: tuple[int, int]
    diagnosed: tuple[int, int]
    trivial: float  # the highest share of the points that a trivial answer got
    killed: int
    explained: int
    mutants: int  # how many were tried
    mutants_in_all: int
    seconds: float
    problems: tuple[str, ...]
    survivors: tuple[str, ...]  # unexplained ones: where, and the diff


def trials(
    module: Module,
    exercise: Exercise,
    gallery: Gallery,
    *,
    sample: int | None = None,
    seed: int = 0,
    quick: bool = False,
) -> Iterator[Trial]:
    """Everything that an exercise is tried with; at most `sample` mutants, if it is given."""
    yield Trial(exercise.name, "reference", "the reference", exercise.solution)
    for answer in (*gallery.right(exercise.name), *gallery.wrong(exercise.name)):
        yield Trial(exercise.name, answer.kind, answer.name, answer.cell(exercise.solution), quick=quick)
    for answer in trivial.answers(exercise):
        yield Trial(exercise.name, "trivial", answer.name, answer.source)
    authored = authored_cell(module, exercise)
    found = mutants.mutants(authored.source)
    marked = [equivalent.diff for equivalent in gallery.equivalent(exercise.name)]
    for mutant in found if sample is None else mutants.sample(found, sample, seed):
        explained = any(mutants.same_change(mutant.diff, diff) for diff in marked)
        yield Trial(
            exercise.name, "mutant", mutant.diff, mutant.source, authored.line + mutant.line, mutant.operator, explained
        )


def authored_cell(module: Module, exercise: Exercise) -> Cell:
    """The exercise's cell as its author wrote it, with the markers of the solution."""
    return next(cell for cell in module.cells if cell.role == "exercise" and cell.name == exercise.name)


def row(
    module: Module,
    exercise: Exercise,
    gallery: Gallery,
    specs: Sequence[Spec],
    results: Sequence[tuple[Trial, TrialResult]],
) -> Row:
    """Judge an exercise by the results of all its trials. `specs` are its hidden tests."""
    of = {kind: [] for kind in ("reference", "right", "wrong", "trivial", "mutant")}
    for trial, result in results:
        of[trial.kind].append((trial, result))
    says = {answer.name: answer for answer in gallery.wrong(exercise.name)}
    in_all = len(mutants.mutants(authored_cell(module, exercise).source))
    survived = [(trial, result) for trial, result in of["mutant"] if result.share >= 1]
    unexplained = [trial for trial, _ in survived if not trial.explained]
    intended = [trial for trial, result in of["wrong"] if set(says[trial.name].fails) <= result.failed.keys()]
    shown = "/".join(module.files.notebook.parts[-3:])
    problems = [
        *_of_tests(exercise, specs, gallery),
        *(f"{trial.name}: {result.fault}" for trial, result in results if result.fault),
        *_of_right(of["reference"] + of["right"]),
        *_of_wrong(of["wrong"], says, specs),
        *_of_trivial(of["trivial"], exercise),
        *_of_check(exercise, of["reference"], of["wrong"] + of["trivial"]),
        *_of_mutants(of["mutant"], unexplained, in_all, gallery, exercise),
    ]
    return Row(
        module.name,
        exercise.name,
        right=_count(result.share >= 1 for _, result in of["right"]),
        wrong=_count(result.share < 1 for _, result in of["wrong"]),
        intended=(len(intended), len(of["wrong"])),
        diagnosed=_count(_named(says[t.name].says, result) for t, result in of["wrong"] if result.diagnosable),
        trivial=max((result.share for _, result in of["trivial"]), default=0.0),
        killed=len(of["mutant"]) - len(survived),
        explained=len(survived) - len(unexplained),
        mutants=len(of["mutant"]),
        mutants_in_all=in_all,
        seconds=sum(result.seconds for _, result in results),
        problems=tuple(problems),
        survivors=tuple(f"{shown}:{trial.line}\n{trial.name}" for trial in unexplained),
    )


def _count(good: Iterator[bool]) -> tuple[int, int]:
    found = list(good)
    return sum(found), len(found)


def _of_tests(exercise: Exercise, specs: Sequence[Spec], gallery: Gallery) -> Iterator[str]:
    """What must hold before anything is tried; weights, docstrings and what can be forged the plugin sees to."""
    if not any(spec.core for spec in specs):
        yield "no hidden test is marked core=True, so nothing keeps a trivial answer at 0"
    for kind, answers in (("wrong", gallery.wrong(exercise.name)), ("right", gallery.right(exercise.name))):
        if len(answers) < ENOUGH:
            yield f"{len(answers)} {kind} answers, where at least {ENOUGH} are needed"
    known = {spec.name for spec in specs}
    for answer in gallery.wrong(exercise.name):
        for name in answer.fails:
            if name not in known:
                yield f"wrong answer {answer.name} names the test {name}, which the exercise does not have"


def _of_right(results: list[tuple[Trial, TrialResult]]) -> Iterator[str]:
    for trial, result in results:
        if result.share < 1 and not result.fault:
            what = trial.name if trial.kind == "reference" else f"right answer {trial.name}"
            yield f"{what} loses points: {_failures(result)}"


def _failures(result: TrialResult) -> str:
    return ", ".join(f"{name} ({cause})" for name, cause in result.failed.items()) or "no test failed"


def _of_wrong(results: list[tuple[Trial, TrialResult]], says: dict, specs: Sequence[Spec]) -> Iterator[str]:
    # What is stopped for its cost is no surprise that a check, on its few numbers, could have prevented.
    decisive = {spec.name for spec in specs if spec.core and spec.memory_mb is None and spec.seconds is None}
    for trial, result in results:
        answer = says[trial.name]
        if result.fault:
            continue
        if result.share >= 1:
            yield f"wrong answer {trial.name} gets all points; it {answer.says}"
            continue
        for name in answer.fails:
            if name in result.passed:
                yield f"wrong answer {trial.name} passes {name}, which it must fail; it {answer.says}"
        if result.unseen and decisive & result.failed.keys():
            yield f"wrong answer {trial.name} gets no points, and the visible check lets it pass; it {answer.says}"
        if result.diagnosable and not _named(answer.says, result):
            told = " and ".join(sorted({f'"{text}"' for text in result.diagnosed.values()})) or "nothing"
            yield f"wrong answer {trial.name} is diagnosed as {told}, not as one that {answer.says}"


def _named(misconception: str, result: TrialResult) -> bool:
    """Whether a student with this wrong answer is told so, or of one that no hidden input tells from it."""
    told = set(result.diagnosed.values())
    return bool(told) and told <= {misconception, *result.agrees}


def _of_trivial(results: list[tuple[Trial, TrialResult]], exercise: Exercise) -> Iterator[str]:
    for trial, result in results:
        if result.share > 0:
            yield f"an answer that {trial.name} scores {result.share * exercise.points:g} of {exercise.points}"


def _of_check(
    exercise: Exercise, reference: list[tuple[Trial, TrialResult]], others: list[tuple[Trial, TrialResult]]
) -> Iterator[str]:
    right, wrong = ({sentence for _, result in of for sentence in result.mistakes} for of in (reference, others))
    for sentence in sorted(mistakes.sentences(exercise) - wrong):
        yield f'the visible check says "{sentence}" of a value that no wrong answer returns there'
    for sentence in sorted(right):
        yield f'the visible check says "{sentence}" of a value that the reference returns there, too'


def _of_mutants(
    results: list[tuple[Trial, TrialResult]],
    unexplained: list[Trial],
    in_all: int,
    gallery: Gallery,
    exercise: Exercise,
) -> Iterator[str]:
    """Judged against all the exercise's mutants, so that a sample never fails where the whole would pass."""
    if len(unexplained) > (1 - OF_AN_EXERCISE) * in_all + 1e-9:
        yield _too_few(len(results), len(unexplained), OF_AN_EXERCISE)
    marked = gallery.equivalent(exercise.name)
    allowed = max(1, int(EQUIVALENT_SHARE * in_all))
    if len(marked) > allowed:
        yield f"{len(marked)} mutants are marked as equivalent; {allowed} of {in_all} may be"
    complete = len(results) == in_all
    for equivalent in marked:
        same = [result for trial, result in results if mutants.same_change(trial.name, equivalent.diff)]
        if complete and not same:
            yield f"marked as equivalent, but no mutant of the reference: {_in_one_line(equivalent.diff)}"
        elif same and all(result.share < 1 for result in same):
            yield (f"marked as equivalent, but it fails {_failures(same[0])}: {_in_one_line(equivalent.diff)}")


def _too_few(tried: int, unexplained: int, bar: float) -> str:
    return f"{tried - unexplained} of {tried} mutants are killed or explained; the bar is {bar:.0%}"


def of_module(module: Module, rows: Sequence[Row]) -> tuple[str, ...]:
    """What a module's exercises miss together; nothing where not all of them were tried."""
    own = [row for row in rows if row.module == module.name]
    unexplained = sum(row.mutants - row.killed - row.explained for row in own)
    missing = sum(exercise.testable for exercise in module.exercises) > len(own)
    if missing or unexplained <= (1 - OF_A_MODULE) * sum(r.mutants_in_all for r in own) + 1e-9:
        return ()
    return (_too_few(sum(row.mutants for row in own), unexplained, OF_A_MODULE),)


def _in_one_line(diff: str) -> str:
    return " / ".join(line.strip() for line in diff.strip().splitlines())
