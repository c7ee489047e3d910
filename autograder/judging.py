"""What a hidden test imports: inputs of every kind, how close an answer is, what runs on the student's side.

    from autograder.judging import close, kinds, student_side

Everything here judges as `error <= tolerance`, never as `not error > tolerance`, so that NaN never passes.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from autograder.submission import StudentError

__all__ = [
    "EPS",
    "Comparison",
    "StudentError",
    "close",
    "fresh",
    "frozen",
    "is_array",
    "kinds",
    "raises_student",
    "relative_error",
    "student_side",
    "sum_rounding",
    "unchanged",
]

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Comparison:
    """What `close` found; true where `got` is close enough. `why` says what is wrong.

    `kind` is the part of it that gives no value away: completes "What was returned has ...", "" where values differ.
    """

    ok: bool
    got: Any
    expected: Any
    why: str = ""

    def __bool__(self) -> bool:
        return self.ok

    @property
    def kind(self) -> str:
        kind = self.why.partition(":")[0]
        return "" if kind == "other values" else kind

    def __repr__(self) -> str:
        return "close" if self.ok else f"not close: {self.why}"


_failed: ContextVar[list[Comparison] | None] = ContextVar("failed", default=None)


@contextlib.contextmanager
def failures() -> Iterator[list[Comparison]]:
    """The comparisons that fail in this block, in order: what `lsml grade --show` tells of a test."""
    found: list[Comparison] = []
    token = _failed.set(found)
    try:
        yield found
    finally:
        _failed.reset(token)


class NothingRaised(AssertionError):
    """The student's code did not raise where it should."""


def close(got: Any, expected: Any, *, rtol: float = 0.0, atol: float | np.ndarray = 0.0) -> Comparison:
    """Whether `got` equals `expected` within `atol + rtol * |expected|`, element by element; `atol` may be an array.

    `expected` is a number, an array, a tensor, or a list, tuple or dict of such, nested; where it is anything else
    (a string, None, a bool), `got` must be equal to it. A wrong type, shape or length is not close, nor is a value
    that is not finite where the expected one is. A list of numbers counts as an array, and a dtype does not matter.
    """
    why = _difference(got, expected, rtol, atol)
    comparison = Comparison(not why, got, expected, why)
    if why and (failed := _failed.get()) is not None:
        failed.append(comparison)
    return comparison


def relative_error(got: Any, expected: Any) -> float:
    """`|got - expected| / |expected|` in the Euclidean norm; inf for a wrong type or shape and for what is not finite.

    Where `expected` is all zeros, the norm of `got` itself.
    """
    left, right = _numbers(got), _numbers(expected)
    if left is None or right is None or left.shape != right.shape or not np.isfinite(left).all():
        return float("inf")
    size = np.linalg.norm(right.ravel())
    error = float(np.linalg.norm((left - right).ravel()) / (size if size > 0 else 1.0))
    return error if np.isfinite(error) else float("inf")


def is_array(x: Any, shape: tuple[int | None, ...] | None = None, dtype: Any = None) -> bool:
    """Whether x is a numpy array or a torch tensor, of that shape (None fits any length) and that dtype."""
    if not isinstance(x, np.ndarray | torch.Tensor):
        return False
    if shape is not None and (
        len(shape) != x.ndim or any(want not in (None, have) for want, have in zip(shape, x.shape, strict=True))
    ):
        return False
    if dtype is None:
        return True
    if isinstance(x, torch.Tensor) or isinstance(dtype, torch.dtype):
        return x.dtype == dtype
    return x.dtype == np.dtype(dtype)


def sum_rounding(n: int, size: float | np.ndarray, eps: float = EPS) -> float | np.ndarray:
    """How far two sums of the same n products may lie apart, in whatever order each is taken: 4 n eps size.

    `size` is the sum of the products' absolute values. One sum is off by at most n eps size (Higham 2002, section 3.1);
    both sides err, and a right answer may round once or twice more than the reference.
    """
    return 4 * n * eps * size


def frozen(array: Any) -> np.ndarray:
    """A read-only copy."""
    array = np.array(array)
    array.flags.writeable = False
    return array


def kinds(rng: np.random.Generator, *shapes: tuple[int, ...]) -> dict[str, tuple[np.ndarray, ...]]:
    """Arrays as they come in practice, name -> one array of each shape.

    Standard normal in float64 (strided with a step of 2 along the first axis and of -3 along the last; in Fortran
    order; read-only) and float32; whole numbers from -9 to 9 in int64 and int8, from 0 to 255 in uint8. No axis may
    have length 0.
    """
    normal = [np.asarray(rng.standard_normal(shape)) for shape in shapes]
    whole = [np.asarray(rng.integers(-9, 10, shape)) for shape in shapes]
    return {
        "strided": tuple(_strided(array) for array in normal),
        "Fortran order": tuple(np.array(array, order="F") for array in normal),
        "read-only": tuple(frozen(array) for array in normal),
        "float32": tuple(array.astype(np.float32) for array in normal),
        "int64": tuple(whole),
        "int8": tuple(array.astype(np.int8) for array in whole),
        "uint8": tuple(np.asarray(rng.integers(0, 256, shape, np.uint8)) for shape in shapes),
    }


def _strided(array: np.ndarray) -> np.ndarray:
    """The same numbers, as every second entry along the first axis and every third, backwards, along the last."""
    if array.ndim == 0:
        return array
    steps = [1] * array.ndim
    steps[-1] = -3
    steps[0] = 2 if array.ndim > 1 else -2
    view = np.zeros([n * abs(step) for n, step in zip(array.shape, steps, strict=True)])
    view = view[tuple(slice(None, None, step) for step in steps)]
    view[...] = array
    return view


def student_side(function: Callable) -> Callable:
    """Mark a helper that runs in the student's process. Its source is sent there, so it may hold nothing secret.

    Over there it sees `student` (what the student defined), `np`, `torch` and the builtins, and nothing else of the
    file that it stands in. What it reports can be forged: see `forgeable`.
    """
    function.__lsml_student_side__ = True
    return function


@student_side
def unchanged(name, arguments):
    """Whether a call leaves its arguments as they are, dtypes included (runs over there)."""
    before = [np.array(argument, copy=True) for argument in arguments]
    getattr(student, name)(*arguments)  # noqa: F821
    pairs = zip(before, arguments, strict=True)
    return all(a.dtype == np.asarray(b).dtype and bool(np.array_equal(a, b)) for a, b in pairs)


@student_side
def fresh(name, arguments):
    """Whether no array that a call returns shares memory with an argument (runs over there)."""
    answer = getattr(student, name)(*arguments)  # noqa: F821
    parts = answer if isinstance(answer, (list, tuple)) else [answer]
    return not any(np.shares_memory(a, b) for a in parts for b in arguments if np.ndim(a) and np.ndim(b))


@contextlib.contextmanager
def raises_student(*wanted: type[BaseException] | str) -> Iterator[None]:
    """Pass where the student's code raises one of these exceptions or a subclass of one, as `pytest.raises` does.

    A time or memory limit, or a function that is missing, is no such exception and goes on its way.
    """
    names = [name if isinstance(name, str) else name.__name__ for name in wanted]
    try:
        yield
    except StudentError as error:
        if not {error.type_name, *error.bases} & set(names):
            raise
    else:
        raise NothingRaised(f"nothing was raised, where {' or '.join(names)} should be")


def _numbers(value: Any) -> np.ndarray | None:
    """`value` as an array of numbers, or None where it is something else. Scalars have shape ()."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.to(torch.float32) if value.dtype == torch.bfloat16 else value).resolve_conj().resolve_neg()
        return value.numpy()
    if not isinstance(value, np.ndarray | np.generic | bool | int | float | complex | list | tuple):
        return None
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError, RuntimeError):
        return None
    return array if array.dtype.kind in "biufc" else None


def _difference(got: Any, expected: Any, rtol: float, atol: float) -> str:
    """What is wrong with `got`, "" where nothing is: what kind of thing, a colon, and then the particulars."""
    if isinstance(expected, dict):
        if not isinstance(got, dict):
            return f"the wrong type: {type(got).__name__}, where a dict is expected"
        if got.keys() != expected.keys():
            return f"the wrong keys: {list(got)}, where {list(expected)} are expected"
        return next(filter(None, (_difference(got[key], expected[key], rtol, atol) for key in expected)), "")
    right = _numbers(expected)
    if isinstance(expected, list | tuple) and (right is None or not isinstance(got, np.ndarray | torch.Tensor)):
        if not isinstance(got, list | tuple):
            return f"the wrong type: {type(got).__name__}, where a list or tuple is expected"
        if len(got) != len(expected):
            return f"the wrong length: {len(got)}, where {len(expected)} is expected"
        pairs = zip(got, expected, strict=True)
        return next(filter(None, (_difference(mine, theirs, rtol, atol) for mine, theirs in pairs)), "")
    if right is not None:
        return _numeric_difference(got, right, rtol, atol)
    if type(got) is not type(expected):
        return f"the wrong type: {type(got).__name__}, where {type(expected).__name__} is expected"
    return "" if got == expected else "other values: not equal"


def _numeric_difference(got: Any, right: np.ndarray, rtol: float, atol: float) -> str:
    left = _numbers(got)
    if left is None:
        return f"the wrong type: {type(got).__name__}, where numbers are expected"
    if left.shape != right.shape:
        return f"the wrong shape: {left.shape}, where {right.shape} is expected"
    kinds = left.dtype.kind, right.dtype.kind
    if (kinds[0] == "b") != (kinds[1] == "b") or (kinds[0] == "c" and kinds[1] != "c"):
        return f"the wrong type: {left.dtype}, where {right.dtype} is expected"
    if kinds[1] == "b" or (set(kinds) <= {"i", "u"} and not rtol and not np.any(atol)):
        return "" if bool((left == right).all()) else "other values: not equal"
    common = np.complex128 if kinds[1] == "c" else np.float64
    left, right = left.astype(common), right.astype(common)
    finite = np.isfinite(right)
    if not np.isfinite(left[finite]).all():
        return "nan or inf in it: where a finite value is expected"
    if not np.array_equal(left[~finite], right[~finite], equal_nan=True):
        return "other values: where nan or inf is expected"
    atol = np.broadcast_to(atol, right.shape)[finite]
    left, right = left[finite], right[finite]
    with np.errstate(all="ignore"):
        error, allowed = np.abs(left - right), atol + rtol * np.abs(right)
    if bool((error <= allowed).all()):
        return ""
    return f"other values: off by {np.max(error):.3g}, where {np.max(allowed):.3g} is allowed"
