"""The arguments that a docstring allows, declared once each: what may stand there, in every form of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Draw = Callable[[np.random.Generator], Any]

WHOLE = (-9, 9)  # the default of whole numbers: products overflow int8, and sums of products do so soon
KINDS = (np.int64, np.int32, np.int16, np.int8, np.uint8, np.uint64)
REQUIRED = object()  # in place of a default


@dataclass(frozen=True)
class Argument:
    """`plain`: the usual form. `forms`: others by name, those with another dtype or value marked by `alone`.

    `exact` makes what an oracle may compute with. `default`: what it is where a call leaves it out.
    """

    plain: Draw
    forms: dict[str, Draw]
    alone: frozenset[str]
    exact: Callable[[Any], Any] = lambda value: value
    default: Any = REQUIRED


def floats(*shape: int, draw: Draw | None = None, scales: tuple[float, ...] = (), lists: bool = False) -> Argument:
    """float64 and float32 of this shape, standard normal unless `draw(rng)` makes them (float64, any shape).

    In steps of 2 and -3, backwards, in Fortran order, read-only; times each of the `scales`; as lists where allowed;
    about half of them 0 or -0.0, unless `draw` makes them.
    Without a shape, one number: a Python float, a 0-d array and NumPy's scalars.
    """
    plain = draw or (lambda rng: rng.standard_normal(shape))
    if not shape and draw is None:
        return _number(plain, {"a float32 scalar": np.float32, "a 0-d array": np.asarray, "a NumPy scalar": np.float64})
    forms = _layouts(plain) | {
        "float32": lambda rng: plain(rng).astype(np.float32),
        "float32 in steps": lambda rng: stepped(plain(rng).astype(np.float32)),
    }
    if draw is None:
        forms["zeros among them"] = lambda rng: plain(rng) * rng.integers(0, 2, shape)
    forms |= {f"times {scale:g}": lambda rng, scale=scale: scale * plain(rng) for scale in scales}
    if lists:
        forms["lists"] = lambda rng: plain(rng).tolist()
    return Argument(plain, forms, frozenset({"float32"}), _as_float)


def numbers(
    *shape: int,
    draw: Draw | None = None,
    whole: tuple[int, int] = WHOLE,
    scales: tuple[float, ...] = (),
    lists: bool = False,
    bools: bool = False,
    limits: bool = False,
) -> Argument:
    """What `floats` holds, and integers of every kind from the range `whole`; uint8 up to 255 where it is not given.

    With `limits` also the smallest and the largest integers of each kind: differences and negatives overflow.
    """
    of_floats = floats(*shape, draw=draw, scales=scales, lists=lists)
    forms = of_floats.forms | _integers(shape, *whole, full=whole == WHOLE)
    if limits:
        forms |= _limits(shape)
    if bools:
        forms["bool"] = lambda rng: rng.integers(0, 2, shape).astype(bool)
    if not shape:
        forms = {name: _scalar(form) for name, form in forms.items()}
    return Argument(of_floats.plain, forms, of_floats.alone | (forms.keys() - of_floats.forms.keys()), _as_float)


def integers(*shape: int, low: int = 0, high: int = 9, lists: bool = False, bools: bool = False) -> Argument:
    """Integers of every kind from `low` to `high`, both included, with `bools` also bool. `plain` is int64."""

    def plain(rng: np.random.Generator) -> np.ndarray:
        return rng.integers(low, high, shape, endpoint=True)

    forms = _layouts(plain) | _integers(shape, low, high, full=False)
    if lists:
        forms["lists"] = lambda rng: plain(rng).tolist()
    if bools:
        forms["bool"] = lambda rng: rng.integers(0, 2, shape).astype(bool)
    return Argument(plain, forms, frozenset(name for name in forms if "int" in name or name == "bool"), _as_int)


def labels(*shape: int, classes: int, lists: bool = False) -> Argument:
    """Class labels 0 to classes - 1, of every kind of integer."""
    return integers(*shape, high=classes - 1, lists=lists)


def one_of(*values: Any, default: Any = REQUIRED) -> Argument:
    """One of these values; the first is the usual one. `default`: the docstring's, where it may be left out."""
    forms = {_short(value): lambda rng, value=value: value for value in values[1:]}
    return Argument(lambda rng: values[0], forms, frozenset(forms), default=default)


def constant(value: Any) -> Argument:
    """Always the same value."""
    return one_of(value)


def frozen(array: Any) -> np.ndarray:
    """A read-only copy."""
    array = np.array(array)
    array.flags.writeable = False
    return array


def stepped(array: np.ndarray) -> np.ndarray:
    """The same numbers, as every second entry along the first axis and every third, backwards, along the last."""
    if array.ndim == 0:
        return array
    steps = [1] * array.ndim
    steps[-1] = -3
    steps[0] = 2 if array.ndim > 1 else -2
    view = np.zeros([n * abs(step) for n, step in zip(array.shape, steps, strict=True)], array.dtype)
    view = view[tuple(slice(None, None, step) for step in steps)]
    view[...] = array
    return view


def _layouts(plain: Draw) -> dict[str, Draw]:
    return {
        "in steps": lambda rng: stepped(plain(rng)),
        "backwards": lambda rng: np.flip(np.flip(plain(rng)).copy()),
        "in Fortran order": lambda rng: np.array(plain(rng), order="F"),
        "read-only": lambda rng: frozen(plain(rng)),
    }


def _integers(shape: tuple[int, ...], low: int, high: int, full: bool) -> dict[str, Draw]:
    """Integers of every kind that holds a part of this range; with `full`, all of uint8's."""

    def form(dtype: type) -> Draw:
        limits = np.iinfo(dtype)
        first, last = max(low, limits.min), min(high, limits.max)
        if full and dtype is np.uint8:
            last = limits.max
        return lambda rng: np.asarray(rng.integers(first, last, shape, dtype, endpoint=True))

    return {dtype.__name__: form(dtype) for dtype in KINDS if high >= 0 or np.iinfo(dtype).min < 0}


def _limits(shape: tuple[int, ...]) -> dict[str, Draw]:
    """The smallest and the largest integers of every kind, and one between them."""

    def form(dtype: type) -> Draw:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        return lambda rng: rng.choice(np.array([low, low + 1, high // 2, high - 1, high], dtype), shape)

    return {f"limits of {dtype.__name__}": form(dtype) for dtype in KINDS}


def _number(plain: Draw, kinds: dict[str, Callable]) -> Argument:
    forms = {name: lambda rng, kind=kind: kind(plain(rng)) for name, kind in kinds.items()}
    return Argument(lambda rng: float(plain(rng)), forms, frozenset(forms), _as_float)


def _scalar(form: Draw) -> Draw:
    """The same as a Python int where it is an int64."""

    def scalar(rng: np.random.Generator) -> Any:
        value = form(rng)
        return int(value) if getattr(value, "dtype", None) == np.int64 else value

    return scalar


def _as_float(value: Any) -> Any:
    return np.array(value, np.float64) if np.ndim(value) else float(value)


def _as_int(value: Any) -> Any:
    return np.array(value, np.int64) if np.ndim(value) else int(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 40 else text[:40]
