"""Values as they are shown and compared: numpy arrays, torch tensors, sparse matrices, numbers, nested containers."""

import reprlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MOST_SIZES = 8  # of arguments, for a multiple to be one of them

_short = reprlib.Repr()  # its settings are arguments from Python 3.12 on
_short.maxstring = _short.maxother = 200
_short.maxlist = _short.maxtuple = _short.maxdict = 10
_short.maxlevel = 4


def as_array(value) -> np.ndarray | None:
    """A numpy array for anything that is one at heart (tensor, sparse matrix, number, regular nested list), else
    None."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a torch tensor, without importing torch
        value = value.detach().cpu()
        value = value if str(value.layout) == "torch.strided" else value.to_dense()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        return value.resolve_conj().resolve_neg().numpy()
    if hasattr(value, "toarray"):
        return np.asarray(value.toarray())
    if value is None or isinstance(value, str | bytes | Mapping | set | frozenset):
        return None
    try:
        array = np.asarray(value)
    except Exception:  # ragged, or an object whose conversion fails
        return None
    return array if array.dtype.kind in "biufc" else None


def describe(value) -> str:
    """A value in a few lines: arrays with shape and dtype, the rest as a bounded repr."""
    try:
        if isinstance(value, bool | int | float | complex | np.generic):
            return f"{value.item()!r} ({value.dtype})" if isinstance(value, np.generic) else repr(value)
        if hasattr(value, "shape") and (array := as_array(value)) is not None:
            kind = "tensor" if hasattr(value, "detach") else "array"
            dtype = str(value.dtype).removeprefix("torch.")
            text = np.array2string(array, precision=6, threshold=24, edgeitems=3, max_line_width=90)
            return f"{text}\n{kind} of shape {tuple(array.shape)}, {dtype}"
        if isinstance(value, list | tuple) and value and all(isinstance(v, int | float) for v in value):
            inner = ", ".join(f"{v:.6g}" if isinstance(v, float) else repr(v) for v in value[:10])
            inner += ", …" if len(value) > 10 else ""
            return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(value) == 1 else ''})"
        return _short.repr(value)
    except Exception as error:
        return f"a {type(value).__name__} that cannot be shown ({type(error).__name__} in its repr)"


def list_came(value: list | tuple) -> str:
    """The sentence for a list, or a tuple, that came where only an array will do."""
    return f"A {'list' if isinstance(value, list) else 'tuple'} came where an array is due."


@dataclass(frozen=True)
class Difference:
    """Why two values do not agree: what differs, where, and a pattern in it if there is one."""

    what: str
    pattern: str | None = None


def difference(
    got, expected, rtol: float, atol: float, where: str = "", sizes: Collection[int] = ()
) -> Difference | None:
    """None where every part of `got` agrees with `expected`: |got - expected| <= atol + rtol·|expected|, NaN never.

    sizes: lengths of the arguments at hand; a multiple by one of them, or by 2, is a pattern.
    """
    array = as_array(expected)
    if array is None:
        return _container_difference(got, expected, rtol, atol, where, sizes)
    found = as_array(got)
    if found is None:
        return Difference(f"{where or 'it'} is {_article(got)}, not a number or an array".strip(), _missing_return(got))
    if found.shape != array.shape:
        if isinstance(got, list | tuple) and found.ndim == array.ndim == 1:
            return Difference(_at(where, f"length {found.size}, expected {array.size}"))
        return Difference(_at(where, f"shape {found.shape}, expected {array.shape}"), _shape_pattern(found, array))
    agrees = _agrees(found, array, rtol, atol)
    if agrees.all():
        return None
    return Difference(_at(where, _largest(found, array, agrees)), _pattern(found, array, rtol, atol, sizes))


def _container_difference(got, expected, rtol, atol, where, sizes) -> Difference | None:
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping):
            return Difference(_at(where, f"it is {_article(got)}, not a dict"), _missing_return(got))
        missing = [key for key in expected if key not in got]
        extra = [key for key in got if key not in expected]
        if missing or extra:
            parts = [
                f"{word} {', '.join(map(repr, keys))}"
                for word, keys in (("lacks", missing), ("also has", extra))
                if keys
            ]
            return Difference(_at(where, "the dict " + " and ".join(parts)))
        pairs = [(f"{where}[{key!r}]", got[key], expected[key]) for key in expected]
    elif isinstance(expected, Sequence) and not isinstance(expected, str | bytes):
        if not isinstance(got, Sequence | np.ndarray) or isinstance(got, str | bytes):
            return Difference(_at(where, f"it is {_article(got)}, not {_article(expected)}"), _missing_return(got))
        if len(got) != len(expected):
            return Difference(_at(where, f"{len(got)} elements, expected {len(expected)}"))
        pairs = [(f"{where}[{i}]", got[i], expected[i]) for i in range(len(expected))]
    else:
        return None if _equal(got, expected) else Difference(_at(where, "the two are not equal"), _missing_return(got))
    for place, ours, theirs in pairs:
        if (found := difference(ours, theirs, rtol, atol, place, sizes)) is not None:
            return found
    return None


def _equal(got, expected) -> bool:
    try:
        return bool(got == expected)
    except Exception:  # an array's == is no truth value, and an object's may fail
        return False


def _agrees(got, expected, rtol, atol) -> np.ndarray:
    if got.dtype.kind in "biu" and expected.dtype.kind in "biu" and rtol == 0 and atol == 0:
        return np.atleast_1d(got == expected)  # exact, also beyond 2**53
    got, expected = _inexact(got), _inexact(expected)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(got - expected) <= atol + rtol * np.abs(expected)
    return np.atleast_1d((got == expected) | (near & np.isfinite(expected) & np.isfinite(got)))


def _inexact(array):
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _largest(got, expected, agrees) -> str:
    scalar = got.ndim == 0
    got, expected = np.atleast_1d(_inexact(got)), np.atleast_1d(_inexact(expected))
    bad = np.isnan(got) | (np.isinf(got) & (got != expected))
    count = f"{np.count_nonzero(~agrees):,} of {agrees.size:,} entries differ" if agrees.size > 1 else ""
    if bad.any():
        place = np.unravel_index(np.argmax(bad), got.shape)
        text = f"{got[place]:g} where {expected[place]:.6g} is expected"
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.where(agrees, -1.0, np.nan_to_num(np.abs(got - expected), nan=np.inf))
        place = np.unravel_index(np.argmax(error), got.shape)
        ours, theirs = got[place], expected[place]
        digits = next((n for n in range(6, 18) if f"{ours:.{n}g}" != f"{theirs:.{n}g}"), 6)  # so many that they differ
        text = f"{error[place]:.3g} (returned {ours:.{digits}g}, expected {theirs:.{digits}g})"
    where = "" if scalar else f" at [{', '.join(str(int(i)) for i in place)}]"
    return text + where + (f"; {count}" if count else "")


def _pattern(got, expected, rtol, atol, sizes=()) -> str | None:
    """A simple relation that holds for every entry, in words; these are facts, not guesses."""
    ours, theirs = np.atleast_1d(_inexact(got)), np.atleast_1d(_inexact(expected))
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return "NaN or infinity came out: look for 0/0, log(0), or an overflow." if np.isfinite(theirs).all() else None
    rtol = max(rtol, 1e-9)

    def same(other):
        return bool(_agrees(other, theirs, rtol, atol).all())

    if same(ours):
        return None  # off by less than what these relations are looked up with
    if same(-ours):
        return "Every entry has the wrong sign."
    if not ours.any():
        return "Every entry is zero."
    if same(ours[..., ::-1]) or same(ours[::-1]):
        return "The entries are right, in reversed order."
    if ours.ndim == 2 and ours.shape[0] == ours.shape[1] and same(ours.T):
        return "It is the transpose of what is expected."
    if np.array_equal(ours, np.trunc(theirs.real)) or (got.dtype.kind in "iu" and np.abs(ours - theirs).max() < 1):
        return "The decimals are lost: integers where floating-point numbers are needed."
    square = np.vdot(theirs, theirs)
    factor = np.vdot(theirs, ours) / square if 1e-200 < abs(square) < 1e200 else 0.0
    other = abs(abs(factor) - 1) > 1e-3  # else too little is wrong to call it a factor
    if factor and other and _is_known(abs(factor), {*expected.shape, *sizes}) and same(ours / factor):
        size = f"{abs(factor):.4g} times" if abs(factor) >= 1 else f"1/{1 / abs(factor):.4g} of"
        return (
            f"{'Every entry is' if ours.size > 1 else 'It is'} {'−' if factor.real < 0 else ''}{size} what is expected."
        )
    if ours.size > 1 and same(ours - (ours - theirs).mean()):
        return f"Every entry is off by the same amount, {(ours - theirs).mean():.4g}."
    return None


def _is_known(factor: float, sizes: Collection[int]) -> bool:
    """Whether a multiple is one of those that a mistake brings: 2, a length, its square, one less, or the inverse."""
    known = {1, 2}
    for size in sorted(sizes)[:MOST_SIZES]:
        known |= {size, size - 1, 2 * size} if size > 1 else set()
    multiples = {*known, *(a / b for a in known for b in known if b), *(size**2 for size in known)}
    return any(abs(factor - one) <= 1e-6 * one or abs(factor * one - 1) <= 1e-6 for one in multiples if one > 0)


def _shape_pattern(got, expected) -> str | None:
    if got.shape == expected.shape[::-1] and got.ndim > 1:
        return "It has the shape of the transpose."
    if got.size == expected.size:
        return "It has as many entries as expected, in another shape."
    if got.ndim == 0:
        return "A single number was returned where an array is expected."
    if expected.ndim == 1 and got.ndim == 2 and got.shape[0] == got.shape[1] == expected.size:
        return "A column (n, 1) met a row (n,) and broadcasting made a square of them."
    return None


def _missing_return(got) -> str | None:
    return "The function gives None: is there a `return`?" if got is None else None


def _article(value) -> str:
    return "None" if value is None else f"{'an' if type(value).__name__[0] in 'aeiou' else 'a'} {type(value).__name__}"


def _at(where: str, text: str) -> str:
    return f"in element {where}: {text}" if where else text
