"""Names the misconception behind a wrong answer: the known wrong answer that did the same on every hidden input.

Every known answer of a module's `answers.py` is run through the exercise's hidden tests as a student's would be, once
for each class secret, and what it returned is kept. It happens on the grader's side, when there is something to name.
"""

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autograder.answers import Answer, Gallery
from autograder.files import write_atomically
from autograder.grading.plugin import Outcome
from autograder.submission import Call, Remote, StudentError, wire

# The first catches an answer that differs in its precision only; the second forgives another order of summation.
TOLERANCES = (1e-12, 1e-6)
HANDLE = "<handle>"
KEPT_BYTES = 4 << 20  # of one known answer's results
_LIMITS = ("timeout", "memory", "crashed", "fault")


@dataclass(frozen=True)
class Run:
    """How one run of a hidden test ended, and what each call of it brought: what is compared of an Outcome.

    Kept as long as the grader lives, so it holds no inputs, frames or children.
    """

    cause: str
    calls: tuple[tuple[str, Any], ...]  # (name, result)
    error: BaseException | None = None

    @classmethod
    def of(cls, outcome: Outcome) -> "Run":
        if outcome.error is not None:
            outcome.error.__traceback__ = outcome.error.__context__ = outcome.error.__cause__ = None
        return cls(outcome.cause, tuple((call.name, _result(call)) for call in outcome.calls), outcome.error)


@dataclass(frozen=True)
class Known:
    """A known answer and how it ended in each run of a hidden test, by the run's name."""

    answer: Answer | None  # None: the reference
    runs: dict[str, Run]

    def did(self, run: Outcome, tolerance: float) -> bool:
        """Whether it returned, in the same run, all that the student's answer did up to where that failed."""
        own = self.runs.get(run.item)
        if own is None or own.cause in _LIMITS or not run.calls or len(own.calls) < len(run.calls):
            return False
        if own.cause != "passed" and len(own.calls) != len(run.calls):
            return False
        return all(
            mine.name == name and agree(_result(mine), result, tolerance)
            for mine, (name, result) in zip(run.calls, own.calls, strict=False)
        )

    def passes(self, runs: Sequence[Outcome]) -> bool:
        """Whether it passed what the student's answer passed."""
        return all(
            run.item in self.runs and self.runs[run.item].cause == "passed" for run in runs if run.cause == "passed"
        )

    def did_all(self, runs: Sequence[Outcome], tolerance: float) -> bool:
        """Whether it passed the runs that the student's answer passed, and did the same in the others."""
        return self.passes(runs) and all(self.did(run, tolerance) for run in runs if run.cause != "passed")


class Kept:
    """Runs of known answers on disk, for a class's other workers and later days. Private to it: they tell answers."""

    def __init__(self, folder: Path, key: str):
        self._folder, self._key = folder, key

    def _path(self, exercise: str, answer: str) -> Path:
        return self._folder / f"{hashlib.sha256(repr((self._key, exercise, answer)).encode()).hexdigest()}.runs"

    def get(self, exercise: str, answer: str) -> dict[str, Run] | None:
        """What was kept; None where nothing was, or it is damaged."""
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):  # WireError is a ValueError
            _, trees, buffers = wire.memory_frame([self._path(exercise, answer).read_bytes()])
            found = wire.Decoder(buffers).decode(trees[0])
            return {item: Run(cause, tuple(calls)) for item, (cause, calls) in found.items()}
        return None

    def put(self, exercise: str, answer: str, runs: dict[str, Run]) -> None:
        """Keep runs, if they can be: what is large or no plain data is made again where it is needed."""
        values = {item: (run.cause, run.calls) for item, run in runs.items()}
        with contextlib.suppress(OSError, wire.WireError):
            frame = wire.frame({}, values, encoder=wire.Encoder(limits=wire.WireLimits(buffer_bytes=KEPT_BYTES)))
            write_atomically(self._path(exercise, answer), b"".join(frame), mode=0o600)


class Diagnosis:
    """Diagnoses one exercise. `outcomes_of(answer)` runs its hidden tests on a known answer, None for the reference."""

    def __init__(
        self,
        gallery: Gallery,
        exercise: str,
        outcomes_of: Callable[[Answer | None], list[Outcome]],
        kept: Kept | None = None,
    ):
        self.exercise, self.gallery = exercise, gallery
        self._outcomes_of, self._kept = outcomes_of, kept
        self._known: dict[str | None, Known] = {}

    def known(self, answer: Answer | None) -> Known:
        """The runs of a known answer, made once, unless they say more of the machine than of the answer."""
        name = answer.name if answer is not None else None
        if name in self._known:
            return self._known[name]
        runs = self._kept.get(self.exercise, name) if self._kept is not None and name is not None else None
        known = Known(answer, runs or {outcome.item: Run.of(outcome) for outcome in self._outcomes_of(answer)})
        causes = {run.cause for run in known.runs.values()}
        if "fault" not in causes and (answer is not None or causes == {"passed"}):
            self._known[name] = known
            if self._kept is not None and name is not None and runs is None and not causes & {"timeout"}:
                self._kept.put(self.exercise, name, known.runs)
        return known

    def forget(self, answer: Answer | None) -> None:
        """Have a known answer run again when it is asked for next."""
        self._known.pop(answer.name if answer is not None else None, None)

    def lists(self, outcomes: Sequence[Outcome], mentioned: bool) -> set[str]:
        """The names of the failed runs in which a list came where the reference gives the equal array.

        None where the docstring has `mentioned` lists, and one passed another run: then something else is wrong.
        """
        sound = self.known(None).runs
        found = {outcome.item: outcome.cause for outcome in outcomes if _came_as_list(outcome, sound.get(outcome.item))}
        allowed = mentioned and "passed" in found.values()
        return set() if allowed else {item for item, cause in found.items() if cause == "failed"}

    def misconceptions(self, outcomes: Sequence[Outcome]) -> dict[str, str]:
        """For each failed run that can be explained, by its name: the misconception of the wrong answer like it.

        Of one wrong answer: where several did the same there, and no other run tells them apart, none is named.
        """
        failed = [outcome for outcome in outcomes if outcome.cause != "passed" and outcome.cause not in _LIMITS]
        if not failed or not self.gallery.wrong(self.exercise):
            return {}
        right = [self.known(None), *map(self.known, self.gallery.right(self.exercise))]
        wrong = [self.known(answer) for answer in self.gallery.wrong(self.exercise)]
        found: dict[str, str] = {}
        for tolerance in TOLERANCES:
            unexplained = [run for run in failed if run.item not in found]
            unexplained = [run for run in unexplained if not any(known.did(run, tolerance) for known in right)]
            for run in unexplained:
                # One that did the same everywhere explains whatever it did; else only what is no coincidence.
                alike = [known for known in wrong if known.did(run, tolerance) and known.passes(outcomes)]
                named = [known for known in alike if known.did_all(outcomes, tolerance)]
                named = named or (alike if _telling(run) else [])
                says = {known.answer.says for known in named}
                if len(says) == 1:
                    found[run.item] = says.pop()
        return found


def alike(one: Sequence[Outcome], other: Mapping[str, Run], tolerance: float = TOLERANCES[-1]) -> bool:
    """Whether two answers ended alike in every run of the hidden tests, and where they failed returned the same."""
    return len(one) == len(other) and Known(None, dict(other)).did_all(one, tolerance)


def _came_as_list(mine: Outcome, sound: Run | None) -> bool:
    pairs = zip(mine.calls, sound.calls, strict=False) if sound is not None else ()
    return any(
        call.error is None
        and call.name == name
        and agree(call.result, result, TOLERANCES[-1])
        and is_listed(call.result, result)
        for call, (name, result) in pairs
    )


def is_listed(mine: Any, theirs: Any) -> bool:
    """Whether a list stands anywhere in `mine` where `theirs`, which agrees with it, has an array."""
    if isinstance(mine, list | tuple):
        if isinstance(theirs, np.ndarray | torch.Tensor):
            return True
        return any(is_listed(a, b) for a, b in zip(mine, theirs, strict=True))
    return isinstance(mine, dict) and any(is_listed(mine[key], theirs[key]) for key in mine)


def _plain(result: Any) -> Any:
    """A result without its child: what matters of a handle are the calls that follow."""
    return HANDLE if isinstance(result, Remote) else result


def _result(call: Call) -> Any:
    if call.error is None:
        return _plain(call.result)
    return (type(call.error).__name__, call.error.type_name if isinstance(call.error, StudentError) else None)


def agree(mine: Any, theirs: Any, tolerance: float) -> bool:
    """Whether two results are the same kind of thing, with the same numbers: |a - b| <= tolerance * largest |b|.

    A list or tuple of numbers is as good as the equal array.
    """
    if isinstance(mine, torch.Tensor) and isinstance(theirs, torch.Tensor):
        mine, theirs = (value.detach().cpu().to_dense() for value in (mine, theirs))
        if mine.dtype != theirs.dtype:
            return False
        if mine.dtype == torch.bfloat16:
            mine, theirs = mine.float(), theirs.float()
        mine, theirs = mine.numpy(), theirs.numpy()
    if isinstance(mine, np.ndarray) and isinstance(theirs, list | tuple):
        theirs = _as_array(theirs, mine)
    elif isinstance(theirs, np.ndarray) and isinstance(mine, list | tuple):
        mine = _as_array(mine, theirs)
    if isinstance(mine, list | tuple) and isinstance(theirs, list | tuple):
        return len(mine) == len(theirs) and all(agree(a, b, tolerance) for a, b in zip(mine, theirs, strict=True))
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return mine.keys() == theirs.keys() and all(agree(mine[key], theirs[key], tolerance) for key in mine)
    numeric = (np.ndarray, np.generic, bool, int, float, complex)
    if isinstance(mine, numeric) and isinstance(theirs, numeric):
        if isinstance(mine, np.ndarray) != isinstance(theirs, np.ndarray):
            return False
        mine, theirs = np.asarray(mine), np.asarray(theirs)
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
            return False
        if mine.dtype.kind not in "fc":
            return bool((mine == theirs).all())
        finite = np.isfinite(theirs)
        if not np.array_equal(mine[~finite], theirs[~finite], equal_nan=True) or not np.isfinite(mine[finite]).all():
            return False
        mine, theirs = mine[finite], theirs[finite]
        return mine.size == 0 or bool(np.abs(mine - theirs).max() <= tolerance * np.abs(theirs).max())
    if isinstance(mine, str | bytes | None):
        dropped = isinstance(mine, str) and mine.endswith("not kept>")  # too large for the trace, so it is not known
        return type(mine) is type(theirs) and mine == theirs and not dropped
    return type(mine) is type(theirs)


def _as_array(values: Sequence, like: np.ndarray) -> Any:
    """A list of numbers, or of arrays, as an array of the type of another; as it is where it cannot be one."""
    try:
        array = np.asarray(values) if like.shape[:1] == (len(values),) else None
    except (ValueError, TypeError, OverflowError, RuntimeError):
        array = None
    if array is None:
        return values
    kinds = {array.dtype.kind, like.dtype.kind}
    numbers = kinds <= set("iuf") or (len(kinds) == 1 and kinds <= set("bc"))
    return array.astype(like.dtype) if numbers and array.shape == like.shape else values


def _telling(run: Outcome) -> bool:
    """Whether a run returned a number that two answers would not share by chance."""
    return any(value not in (0, 1, -1) for call in run.calls if call.error is None for value in _floats(call.result))


def _floats(value: Any) -> list[float]:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().to_dense().double().numpy() if not value.is_complex() else None
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        return [float(number) for number in value.ravel()[:100] if np.isfinite(number)]
    if isinstance(value, list | tuple):
        return [number for item in value[:100] for number in _floats(item)]
    if isinstance(value, dict):
        return [number for item in value.values() for number in _floats(item)]
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf"):
        return [value]
    return []
