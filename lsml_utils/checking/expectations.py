"""The expect_* helpers: one property each, with a failure that says what was returned, what was expected, and where to
look."""

import copy
import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager

import numpy as np

from lsml_utils.checking import sources
from lsml_utils.checking.failures import Card, CheckFailed
from lsml_utils.checking.values import as_array, describe, difference, list_came

_TITLE = "This does not hold yet"


def expect_close(
    got,
    expected,
    *,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    hint: str | None = None,
    mistakes: Mapping[str, object] | None = None,
) -> None:
    """`got` agrees with `expected` entry by entry: |got - expected| <= atol + rtol·|expected|; NaN never agrees.

    got, expected: numbers, arrays, tensors or sparse matrices of the same shape (nothing is broadcast), or lists,
        tuples and dicts of them. Other values are compared with ==.
    hint: one sentence on where to look. mistakes: {sentence: the value that this mistake gives}; where `got` is that
        value, the sentence is shown as the likely cause.
    Raises CheckFailed.

    >>> expect_close([0.1 + 0.2, 1.0], [0.3, 1.0])
    >>> expect_close(2.0, 1.0, mistakes={"You forgot the 1/2.": 2.0})
    Traceback (most recent call last):
    lsml_utils.checking.failures.CheckFailed: 2.0 was returned, 1.0 was expected. You forgot the 1/2.
    """
    found = difference(got, expected, rtol, atol)
    if found is None:
        return
    found = difference(got, expected, rtol, atol, sizes=sources.sizes(sys._getframe(1))) or found
    cause = next((why for why, wrong in (mistakes or {}).items() if difference(got, wrong, rtol, atol) is None), None)
    card = _card(sys._getframe(1))
    card.add("Returned", describe(got), True).add("Expected", describe(expected), True)
    card.add("Difference", found.what)
    card.add("Likely cause", cause or found.pattern).add("Hint", hint)
    simple = as_array(got) is not None and as_array(got).ndim == 0 and as_array(expected) is not None
    short = (
        f"{describe(got)} was returned, {describe(expected)} was expected."
        if simple and as_array(expected).ndim == 0
        else None
    )
    _fail(short or _sentence(found.what), cause or found.pattern, card)


def expect_shape(got, shape: tuple[int | None, ...], *, hint: str | None = None) -> None:
    """`got` (array, tensor, nested list) has this shape; None stands for any length of an axis. Raises CheckFailed.

    >>> expect_shape(np.zeros((5, 3)), (None, 3))
    """
    array = as_array(got)
    actual = None if array is None else tuple(array.shape)
    wanted = (shape,) if isinstance(shape, int) else tuple(shape)
    fits = actual is not None and len(actual) == len(wanted)
    if fits and all(want is None or want == have for want, have in zip(wanted, actual, strict=True)):
        return
    card = _card(sys._getframe(1)).add("Returned", describe(got), True)
    if isinstance(got, list | tuple) and actual is not None and len(actual) == len(wanted) == 1:
        card.add("Its length", actual[0]).add("Expected", f"length {wanted[0]}").add("Hint", hint)
        _fail(f"Length {actual[0]}; expected {wanted[0]}.", None, card)
    came = f"shape {actual}" if actual is not None else f"{type(got).__name__}, which has no shape"
    text = str(wanted).replace("None", "any")
    card.add("Its shape", actual).add("Expected", f"shape {text}").add("Hint", hint)
    _fail(f"{came[0].upper()}{came[1:]}; expected {text}.", None, card)


def expect_dtype(got, dtype, *, hint: str | None = None) -> None:
    """`got` (array or tensor) has this dtype: a numpy or torch dtype, or a kind such as np.floating. Raises
    CheckFailed.

    >>> expect_dtype(np.zeros(3), np.float64)
    >>> expect_dtype(np.zeros(3, np.float32), np.floating)
    """
    actual = getattr(got, "dtype", None)
    wanted = str(dtype).removeprefix("torch.") if str(dtype).startswith("torch.") else None
    if wanted is None and isinstance(dtype, type) and issubclass(dtype, np.generic):
        wanted = dtype.__name__
        if actual is not None and not str(actual).startswith("torch.") and np.issubdtype(actual, dtype):
            return
    wanted = wanted or np.dtype(dtype).name
    name = str(actual).removeprefix("torch.")
    if actual is not None and name == wanted:
        return
    card = _card(sys._getframe(1)).add("Returned", describe(got), True).add("Its dtype", name if actual else None)
    if isinstance(got, list | tuple):
        _fail(list_came(got), None, card.add("Expected", f"an array of dtype {wanted}").add("Hint", hint))
    came = f"dtype {name}" if actual is not None else f"a {type(got).__name__}, which has no dtype"
    _fail(f"{came[0].upper()}{came[1:]}; expected {wanted}.", None, card.add("Expected", wanted).add("Hint", hint))


def expect_finite(got, *, hint: str | None = None) -> None:
    """Every number in `got` (number, array, tensor, or containers of them) is finite. Raises CheckFailed.

    >>> expect_finite([1.0, 2.0])
    """
    parts = list(_arrays(got))
    bad = [(place, array) for place, array in parts if not np.isfinite(array).all()]
    if parts and not bad:
        return
    card = _card(sys._getframe(1)).add("Returned", describe(got), True)
    if not parts:
        text = f"Not a number or an array: {type(got).__name__}."
    else:
        place, array = bad[0]
        flat = int(np.argmin(np.isfinite(np.atleast_1d(array))))
        index = ", ".join(str(int(i)) for i in np.unravel_index(flat, np.atleast_1d(array).shape))
        value = np.atleast_1d(array).flat[flat]
        count = np.size(array) - np.count_nonzero(np.isfinite(array))
        where = f" of element {place}" if place else ""
        text = f"{value} at [{index}]{where}; {count} of {np.size(array)} entries are not finite."
    _fail(text, None, card.add("Expected", "finite numbers").add("Difference", text).add("Hint", hint))


@contextmanager
def expect_unchanged(*, hint: str | None = None, **values):
    """What is named is the same after the block, bit for bit (also dtype and shape). Raises CheckFailed.

    values: name=array, tensor, or containers of them.

    >>> X = np.ones(3)
    >>> with expect_unchanged(X=X):
    ...     total = X.sum()
    """
    before = {name: _copy(value) for name, value in values.items()}
    frame = sys._getframe(2)  # contextlib's __enter__ stands between
    line = frame.f_lineno
    yield
    changed = [name for name, value in values.items() if not _same(value, before[name])]
    if not changed:
        return
    card = Card(_TITLE).add("Called", sources.with_body(frame, line), True)
    for name in changed:
        card.add(f"{name} before", describe(before[name]), True).add(f"{name} after", describe(values[name]), True)
    cause = "An operation in place (`+=`, `x[...] = `, `.sort()`, `out=`) works on the caller's data: copy first."
    names = " and ".join(f"`{name}`" for name in changed)
    card.add("Expected", f"{names} as before").add("Likely cause", cause).add("Hint", hint)
    _fail(f"The call changed its input {names}.", None, card)


class _Raised:
    """What `expect_raises` caught."""

    error: BaseException | None = None


@contextmanager
def expect_raises(
    kind: type[Exception] | tuple[type[Exception], ...], *, match: str | None = None, hint: str | None = None
):
    """The block raises an exception of this kind, whose message contains `match` if given. Raises CheckFailed.

    Yields an object whose `error` is the exception. Another kind of exception is shown as the student's own, and
    an exercise that still holds its stub counts as unanswered whatever the kind.

    >>> with expect_raises(ZeroDivisionError) as caught:
    ...     1 / 0
    >>> caught.error
    ZeroDivisionError('division by zero')
    """
    frame = sys._getframe(2)
    line = frame.f_lineno
    caught = _Raised()
    try:
        yield caught
    except kind as error:
        if isinstance(error, NotImplementedError | CheckFailed):
            raise
        caught.error = error
    names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
    if caught.error is not None and (match is None or match in str(caught.error)):
        return
    card = Card(_TITLE).add("Called", sources.with_body(frame, line), True)
    if caught.error is None:
        text = f"Nothing was raised; expected {names}."
    else:
        text = f"The message of the {type(caught.error).__name__} does not contain {match!r}."
        card.add("Raised", f"{type(caught.error).__name__}: {caught.error}", True)
    card.add("Expected", names + (f" with {match!r} in its message" if match else "")).add("Hint", hint)
    _fail(text, None, card)


def _card(frame) -> Card:
    call: Callable = sources.first_argument(frame)
    return Card(_TITLE).add("Called", call, True)


def _fail(sentence: str, cause: str | None, card: Card) -> None:
    raise CheckFailed(f"{sentence} {cause}" if cause else sentence, card)


def _sentence(text: str) -> str:
    return f"Largest difference {text}." if text[0].isdigit() else f"{text[0].upper()}{text[1:]}."


def _arrays(value, place: str = ""):
    array = as_array(value)
    if array is not None:
        yield place, array
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _arrays(part, f"{place}[{key!r}]")
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from _arrays(part, f"{place}[{i}]")


def _copy(value):
    return value.detach().clone() if hasattr(value, "detach") else copy.deepcopy(value)


def _same(now, before) -> bool:
    if isinstance(before, Mapping):
        return list(now) == list(before) and all(_same(now[key], before[key]) for key in before)
    if isinstance(before, list | tuple):
        return len(now) == len(before) and all(_same(a, b) for a, b in zip(now, before, strict=True))
    ours, theirs = as_array(now), as_array(before)
    if isinstance(before, np.ndarray) and theirs is None:  # of texts or objects
        return (now.dtype, now.shape) == (before.dtype, before.shape) and bool(np.all(now == before))
    if theirs is None:
        return bool(now == before)
    if str(getattr(now, "dtype", "")) != str(getattr(before, "dtype", "")) or ours.shape != theirs.shape:
        return False
    return np.ascontiguousarray(ours).tobytes() == np.ascontiguousarray(theirs).tobytes()
