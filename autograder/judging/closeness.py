"""How close an answer is to what is expected.

Everything here judges as `error <= tolerance`, never as `not error > tolerance`, so that NaN never passes.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

EPS = float(np.finfo(np.float64).eps)
VALUES = "other values"


@dataclass(frozen=True)
class Comparison:
    """What a comparison found; true where all is well. `why` says what is wrong, values included.

    `sentence` is what a student may read of it: it gives no value away, and is "" where only values differ.
    """

    ok: bool
    got: Any
    expected: Any
    why: str = ""
    sentence: str = ""

    def __bool__(self) -> bool:
        return self.ok

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


def close(
    got: Any, expected: Any, *, rtol: float = 0.0, atol: float | np.ndarray = 0.0, typed: bool = False
) -> Comparison:
    """Whether `got` equals `expected` within `atol + rtol * |expected|`, element by element; `atol` may be an array.

    `expected` is a number, an array, a tensor, or a list, tuple or dict of such, nested; where it is anything else
    (a string, None, a bool), `got` must be equal to it. A wrong type, shape or length is not close, nor is a value
    that is not finite where the expected one is.

    A list of numbers counts as an array, and a dtype does not matter, unless `typed`: then an array must be an array
    of the expected dtype (a tensor a tensor), and a Python int, float or bool one of its type (np.float64 is a float).
    """
    why = (typed and _other_type(got, expected)) or _difference(got, expected, rtol, atol)
    kind = why.partition(":")[0]
    return noted(Comparison(not why, got, expected, why, f"What was returned has {kind}." if kind != VALUES else ""))


def noted(comparison: Comparison) -> Comparison:
    """The comparison; where it fails, `failures` will tell of it."""
    if not comparison and (failed := _failed.get()) is not None:
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
    return "" if got == expected else f"{VALUES}: not equal"


def _numeric_difference(got: Any, right: np.ndarray, rtol: float, atol: float) -> str:
    left = _numbers(got)
    if left is None:
        return f"the wrong type: {type(got).__name__}, where numbers are expected"
    if left.shape != right.shape:
        if isinstance(got, list | tuple) and right.ndim == 1:
            return f"the wrong length: {len(got)}, where {len(right)} is expected"
        return f"the wrong shape: {left.shape}, where {right.shape} is expected"
    kinds = left.dtype.kind, right.dtype.kind
    if (kinds[0] == "b") != (kinds[1] == "b") or (kinds[0] == "c" and kinds[1] != "c"):
        return f"the wrong type: {left.dtype}, where {right.dtype} is expected"
    if kinds[1] == "b" or (set(kinds) <= {"i", "u"} and not rtol and not np.any(atol)):
        return "" if bool((left == right).all()) else f"{VALUES}: not equal"
    common = np.complex128 if kinds[1] == "c" else np.float64
    left, right = left.astype(common), right.astype(common)
    finite = np.isfinite(right)
    if not np.isfinite(left[finite]).all():
        return "nan or inf in it: where a finite value is expected"
    if not np.array_equal(left[~finite], right[~finite], equal_nan=True):
        return f"{VALUES}: where nan or inf is expected"
    atol = np.broadcast_to(atol, right.shape)[finite]
    left, right = left[finite], right[finite]
    with np.errstate(all="ignore"):
        error, allowed = np.abs(left - right), atol + rtol * np.abs(right)
    if bool((error <= allowed).all()):
        return ""
    return f"{VALUES}: off by {np.max(error):.3g}, where {np.max(allowed):.3g} is allowed"


def _other_type(got: Any, expected: Any) -> str:
    """What is wrong with the type of `got`, "" where nothing is; lengths and keys are looked at elsewhere."""
    if isinstance(expected, np.ndarray | torch.Tensor):
        wanted = "an array" if isinstance(expected, np.ndarray) else "a tensor"
        if not isinstance(got, np.ndarray if isinstance(expected, np.ndarray) else torch.Tensor):
            return f"the wrong type ({_named(got)} came where {wanted} is due)"
        if got.dtype == expected.dtype:
            return ""
        return f"the wrong dtype: {got.dtype}, where {expected.dtype} is expected"
    if isinstance(expected, np.generic):
        good = isinstance(got, np.generic | int | float) and np.asarray(got).dtype.kind == expected.dtype.kind
        return "" if good else f"the wrong type ({_named(got)} came where one number is due)"
    if isinstance(expected, bool | int | float):
        good = isinstance(got, type(expected)) and isinstance(got, bool) == isinstance(expected, bool)
        due = "a bool" if isinstance(expected, bool) else f"a Python {type(expected).__name__}"
        return "" if good else f"the wrong type ({_named(got)} came where {due} is due)"
    if isinstance(expected, dict) and isinstance(got, dict):
        return next(filter(None, (_other_type(got[key], expected[key]) for key in expected if key in got)), "")
    if isinstance(expected, list | tuple) and isinstance(got, list | tuple):
        return next(filter(None, map(_other_type, got, expected)), "")
    return ""


def _named(value: Any) -> str:
    """What a value is, with its article."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    name = "None" if value is None else type(value).__name__
    return name if value is None else f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"
