"""Whole functions wrapped so that they break a sentence of their docstring: each does what it says."""

import contextlib
import timeit
import tracemalloc
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest

from autograder import curriculum
from autograder.grading import syntax
from autograder.proving.calibrate import authored_cell
from autograder.proving.contracts import TABLE
from autograder.proving.mutants import mutants, sample

SCALED = '''
def scaled(X: np.ndarray, factor: float = 2.0, steps: int = 3) -> np.ndarray:
    """X times factor, divided by the number of its rows.

    X: (m, d) finite floats or integers of any dtype, m >= 0 and d >= 1. Takes O(m d) time and memory.
    factor: a number, ValueError where it is not finite. steps: >= 0.
    Returns a new array of that shape and float64, also where X is float32. Leaves X as it is. Raises ValueError
    where X is empty.
    """
    if len(X) == 0 or not np.isfinite(factor):
        raise ValueError("no rows, or no number")
    return np.array(X, dtype=float) * factor * steps / len(X)
'''
SIGNED = '''
def signed(x: np.ndarray) -> np.ndarray:
    """-x, elementwise, in the dtype of x. x: finite or -inf, any shape, bool too; log(0) gives -inf.

    A result below 1e-12 keeps its digits, and 0 is exactly 0: no overflow.
    """
    return -1 * x
'''
TOTAL = '''
def total(x: np.ndarray, start: float) -> float:
    """The sum of x, (m,), and start. Returns a Python float. Takes O(m) time and O(m + d) memory."""
    return float(x.sum() + start)
'''
ROUND = '''
def walk(grad: Callable[[np.ndarray], np.ndarray], theta: np.ndarray) -> np.ndarray:
    """theta - grad(theta), twice. What grad returns may not be modified; grad is called once a step with an array."""
    first = grad(theta)
    return theta - first - grad(theta - first)
'''
NAMED = '''
def named(kind: str) -> int:
    """The kind "one" gives 1, "two" gives 2. Raises ValueError for another word."""
    return ["one", "two"].index(kind) + 1
'''
STREAM = '''
def longest(chunks: Iterable[np.ndarray], path: str) -> int:
    """The length of the longest chunk, gone through once: memory holds one. A file is read once.

    Returns a Python int.
    """
    return max(len(chunk) for chunk in chunks)
'''
DRAWN = '''
def drawn(m: int, seed: int) -> np.ndarray:
    """A random order of m rows: 1-D integer arrays. seed: >= 0. Leaves NumPy's global random state as it is."""
    return np.random.default_rng(seed).permutation(m)
'''
SUMS = '''
def sums(Z: np.ndarray, axis: int = -1) -> np.ndarray:
    """The sums along an axis."""
    return Z.sum(axis=axis)
'''
HALVES = '''
def halves(m: int) -> Iterator[np.ndarray]:
    """Two halves of m, one by one."""
    for part in np.array_split(np.arange(m), 2):
        given.append(part)
        yield part
'''
BIG = '''
def ranked(x: np.ndarray) -> np.ndarray:
    """The places of x, (m,), int64 beyond 2**53 too."""
    return np.argsort(x)
'''
X = np.arange(1.0, 7.0).reshape(2, 3)


def definition(source):
    """What a cell defines; `given` and `opened` tell what it has handed out, and opened."""

    def recorded_open(*arguments):
        names["opened"].append(arguments)
        return open(*arguments)

    names = {"np": np, "Callable": Callable, "Iterable": Iterable, "Iterator": Iterator, "given": [], "opened": []}
    names["open"] = recorded_open
    exec(source, names)
    return names


def again(f, *arguments):
    """Whether a second call leaves what the first returned as it is, and a third call follows its arguments."""
    first = f(*arguments)
    kept = first.copy()
    f(*(x + 1 for x in arguments))
    return np.array_equal(first, kept)


def follows(f, new):
    """Whether the result is another one after the array that came has changed, or one of its shape has come."""
    x = X.copy()
    before = f(x)
    x += 1
    return not np.array_equal(f(x.copy() if new else x), before)


def left_alone(f, *arguments):
    before = [np.copy(x) for x in arguments]
    with contextlib.suppress(ValueError):
        f(*arguments)
    return all(np.array_equal(a, b) for a, b in zip(arguments, before, strict=True))


def raises(f, *arguments):
    try:
        f(*arguments)
    except (ValueError, IndexError) as error:
        return type(error)
    return None


def holds(effect, names):
    try:
        return bool(effect(names))
    except (ValueError, IndexError, RuntimeError, AttributeError):
        return False


def warnings_of(f, *arguments):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        f(*arguments)
    return seen


def peak(f, *arguments):
    tracemalloc.start()
    f(*arguments)
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return size


def calls(f):
    seen = []
    f(lambda theta: seen.append(theta) or np.ones(3), np.ones(3))
    return seen


def kept_by_callback(f):
    given = []

    def grad(theta):
        given.append(np.ones(3))
        return given[-1]

    f(grad, np.ones(3))
    return all(x.all() for x in given)


class Passes:
    """A list that counts how often it is gone through."""

    def __init__(self):
        self.count = 0

    def __iter__(self):
        self.count += 1
        return iter([X])


def passes(f):
    data = Passes()
    f(data, "/dev/null")
    return data.count


def most_chunks_alive(f):
    chunks, most = [], []

    def one_by_one():
        for _ in range(3):
            chunk = np.ones(3)
            chunks.append(weakref.ref(chunk))
            most.append(sum(reference() is not None for reference in chunks))
            yield chunk
            del chunk

    f(one_by_one(), "/dev/null")
    return max(most)


def seconds(f, *arguments):
    return min(timeit.repeat(lambda: f(*arguments), number=1, repeat=3))


def global_state_kept(f):
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    f(5, 3)
    return np.array_equal(before, np.random.get_state()[1])


def first_half(names):
    next(iter(names["halves"](4)))
    return len(names["given"])


# (violation, cell, what is true of the reference and not of the violation)
EFFECTS = [
    ("results_in_one_buffer", SCALED, lambda n: again(n["scaled"], X)),
    ("results_in_two_buffers", SCALED, lambda n: again(lambda x: (n["scaled"](0 * x), n["scaled"](x))[1], X)),
    ("remembered_by_shape", SCALED, lambda n: follows(n["scaled"], new=True)),
    ("remembered_by_object", SCALED, lambda n: follows(n["scaled"], new=False)),
    ("returns_an_argument", SCALED, lambda n: not np.shares_memory(x := X[:1], n["scaled"](x, 1.0, 1))),
    ("rounded_to_float32", SCALED, lambda n: n["scaled"](X, 0.1)[0, 0] == 1 * 0.1 * 3 / 2),
    ("always_float64", SIGNED, lambda n: n["signed"](np.float32([1])).dtype == np.float32),
    ("always_float32", SCALED, lambda n: n["scaled"](X).dtype == np.float64),
    ("integers_as_floats", DRAWN, lambda n: n["drawn"](5, 0).dtype.kind == "i"),
    ("arrays_as_lists", SCALED, lambda n: isinstance(n["scaled"](X), np.ndarray)),
    ("numbers_as_arrays", TOTAL, lambda n: not isinstance(n["total"](X, 1.0), np.ndarray)),
    ("ints_as_numpy_scalars", STREAM, lambda n: type(n["longest"]([X], "/dev/null")) is int),
    ("infinity_made_finite", SIGNED, lambda n: np.isinf(n["signed"](np.array([np.inf])))[0]),
    ("at_least_tiny", SIGNED, lambda n: n["signed"](np.zeros(1))[0] == 0),
    ("tiny_made_zero", SIGNED, lambda n: n["signed"](np.array([1e-13]))[0] == -1e-13),
    ("overflows", SIGNED, lambda n: not warnings_of(n["signed"], np.ones(1))),
    ("collected", HALVES, lambda n: first_half(n) == 1),
    ("writes_to", SCALED, lambda n: left_alone(n["scaled"], X.copy())),
    ("writes_before_it_raises", SCALED, lambda n: left_alone(lambda x: n["scaled"](x, np.inf), X.copy())),
    ("float32_as_it_came", SCALED, lambda n: n["scaled"](np.float32(X)).dtype == np.float64),
    ("first_rows", SCALED, lambda n: len(n["scaled"](np.ones((2000, 1)))) == 2000),
    ("cut_off", SCALED, lambda n: n["scaled"](np.array([[1e9]])) == 6e9),
    ("tiny_as_zero", SCALED, lambda n: n["scaled"](np.array([[1e-9]])) > 0),
    ("minus_infinity_as_finite", SIGNED, lambda n: np.isinf(n["signed"](np.array([-np.inf])))[0]),
    ("integers_by_float32", SCALED, lambda n: n["scaled"](np.array([[2**24 + 1]]), 1.0, 1) == 2**24 + 1),
    ("integers_by_int32", BIG, lambda n: n["ranked"](np.array([2**40 + 1, 2**41]))[0] == 0),
    ("read_in_memory_order", SCALED, lambda n: np.array_equal(n["scaled"](X), n["scaled"](np.asfortranarray(X)))),
    ("at_least_one_axis", SIGNED, lambda n: np.shape(n["signed"](np.array(1.0))) == ()),
    ("refused", SIGNED, lambda n: raises(n["signed"], np.ones((2, 2, 2))) is None),
    ("refused", SIGNED, lambda n: raises(n["signed"], np.array([True])) is None),
    ("refused", SCALED, lambda n: raises(n["scaled"], np.ones((0, 2))) is ValueError),
    ("refused", SCALED, lambda n: raises(n["scaled"], np.ones((1, 2))) is None),
    ("refused", SCALED, lambda n: raises(n["scaled"], np.ones((2, 1))) is None),
    ("refused", SCALED, lambda n: raises(n["scaled"], np.ones((4, 3))[::2]) is None),
    ("refused", SCALED, lambda n: raises(n["scaled"], np.broadcast_to(1.0, (2, 3))) is None),
    ("refused", SCALED, lambda n: raises(n["scaled"], np.ones((2, 3), np.uint8)) is None),
    ("argument_through", SCALED, lambda n: n["scaled"](X, 3.0)[0, 0] == 4.5),
    ("argument_through", SCALED, lambda n: n["scaled"](X, steps=200)[0, 0] == 200),
    ("argument_through", SCALED, lambda n: n["scaled"](X, steps=0)[0, 0] == 0),
    ("argument_through", SCALED, lambda n: n["scaled"](X, 40.0)[0, 0] == 60),
    ("argument_through", SCALED, lambda n: n["scaled"](X, 1e-8)[0, 0] < 1e-7),
    ("argument_through", SUMS, lambda n: n["sums"](X, -2)[0] == 5),
    ("argument_through", DRAWN, lambda n: not np.array_equal(n["drawn"](50, 1), n["drawn"](50, 1001))),
    ("argument_through", DRAWN, lambda n: not np.array_equal(n["drawn"](50, 1), n["drawn"](50, 2**32 + 1))),
    ("argument_through", NAMED, lambda n: raises(n["named"], " One") is ValueError),
    ("first_items", STREAM, lambda n: n["longest"]([*[X] * 200, np.ones(9)], "/dev/null") == 9),
    ("stays_as_first", TOTAL, lambda n: n["total"](X, 1.0) != n["total"](X, 2.0)),
    ("seed_counts_calls", DRAWN, lambda n: np.array_equal(n["drawn"](50, 1), n["drawn"](50, 1))),
    ("seeds_numpy", DRAWN, lambda n: global_state_kept(n["drawn"])),
    ("raises_another_error", SCALED, lambda n: raises(n["scaled"], np.ones((0, 2))) is ValueError),
    ("square_array", SCALED, lambda n: peak(n["scaled"], np.ones((1, 2000))) < 1e6),
    ("copies_its_arguments", TOTAL, lambda n: peak(n["total"], np.ones(10**6), 1.0) < 1e6),
    ("square_time", TOTAL, lambda n: seconds(n["total"], np.ones(5000), 1.0) < 0.01),
    ("reads_all_first", STREAM, lambda n: passes(n["longest"]) and not n["opened"]),
    ("reads_twice", STREAM, lambda n: passes(n["longest"]) and not n["opened"]),
    ("lists_first", STREAM, lambda n: most_chunks_alive(n["longest"]) <= 2),
    ("goes_through_twice", STREAM, lambda n: passes(n["longest"]) == 1),
    ("calls_once_more", ROUND, lambda n: len(calls(n["walk"])) == 2),
    ("passes_lists", ROUND, lambda n: isinstance(calls(n["walk"])[0], np.ndarray)),
    ("writes_to_what_it_returned", ROUND, lambda n: kept_by_callback(n["walk"])),
]


@pytest.mark.parametrize(
    ("violation", "cell", "effect"), EFFECTS, ids=[f"{i}-{name}" for i, (name, *_) in enumerate(EFFECTS)]
)
def test_a_violation_changes_what_the_reference_does(violation, cell, effect):
    wrapped = [mutant for mutant in mutants(cell) if mutant.operator == violation]
    assert holds(effect, definition(cell))
    assert not all(holds(effect, definition(mutant.source)) for mutant in wrapped)


def test_every_violation_is_tried_here():
    assert {violation.name for violation in TABLE} == {name for name, *_ in EFFECTS}


def test_a_violation_says_in_one_line_what_it_does():
    wrapped = [mutant for mutant in mutants(SCALED) if mutant.operator == "cut_off"]
    assert [(mutant.diff, mutant.line) for mutant in wrapped] == [
        ("~ scaled: numbers beyond 1e+06 in size are cut off", 2)
    ]


@pytest.mark.parametrize(
    ("sentence", "violation"),
    [
        ("Leaves X as it is.", "writes_to"),
        ("Raises ValueError\n    where X is empty.", "raises_another_error"),
        ("O(m d) time and memory", "square_array"),
        ("finite floats or integers of any dtype", "integers_by_float32"),
    ],
)
def test_what_the_docstring_does_not_forbid_is_no_violation(sentence, violation):
    assert sentence in SCALED
    assert any(mutant.operator == violation for mutant in mutants(SCALED))
    without = SCALED.replace(sentence, "").replace("ValueError where", "an error where")
    assert not any(mutant.operator == violation for mutant in mutants(without))


COUNTER = '''
class Counter:
    """Counts keys. Leaves keys as they are."""

    def __init__(self, width: int):
        self.width, self.keys = width, []

    def add(self, keys: np.ndarray) -> None:
        """Add keys, (m,)."""
        self.keys = [*self.keys, *keys.tolist()]

    def counts(self) -> np.ndarray:
        """How often each key came, (width,)."""
        return np.bincount(self.keys, minlength=self.width)
'''


def test_methods_are_wrapped_like_functions():
    found = {mutant.operator: definition(mutant.source)["Counter"] for mutant in mutants(COUNTER)}
    keys = np.array([1, 1, 2])
    found["writes_to"](3).add(keys)
    assert not keys.any()
    counter = found["results_in_one_buffer"](3)
    before = counter.counts()
    counter.add(np.array([2]))
    assert counter.counts() is before


FORBIDDING = [
    (name, exercise.name)
    for name in curriculum.names()
    for exercise in curriculum.load(name).exercises
    if exercise.forbids
]


@pytest.mark.parametrize(("name", "exercise"), FORBIDDING)
def test_no_wrapper_breaks_the_rule_on_names_and_is_killed_by_it(name, exercise):
    module = curriculum.load(name)
    rules = {exercise: module.exercise(exercise).forbids}
    found = mutants(authored_cell(module, module.exercise(exercise)).source)
    for mutant in sample([mutant for mutant in found if mutant.diff.startswith("~")], 8):
        assert syntax.forbidden(rules, [*module.setup, mutant.source]) == {}, mutant.diff
