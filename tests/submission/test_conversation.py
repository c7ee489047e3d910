"""What a hidden test can do with a submission; the same in the sandbox, without one, and in our own process."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from autograder.judging import student_side
from autograder.sandbox import Limits
from autograder.submission import (
    MissingName,
    Remote,
    StudentCrashed,
    StudentError,
    StudentMemory,
    StudentMisbehaved,
    StudentTimeout,
    SubmissionError,
)

LIMITS = Limits(cell_seconds=5.0, call_seconds=5.0, notebook_seconds=60.0, memory_mb=256)

IDENTITY = "def same(*args, **kwargs): return [list(args), kwargs]"


def test_arguments_and_results_cross_by_value(load):
    submission = load(IDENTITY)
    array, tensor = np.arange(6.0).reshape(2, 3).T, torch.arange(3)
    args, kwargs = submission.same(1, 2.5, "é", None, array, (1, [2]), key=tensor)
    assert args[:4] == [1, 2.5, "é", None] and args[5] == (1, [2])
    np.testing.assert_array_equal(args[4], array)
    assert torch.equal(kwargs["key"], tensor)


def test_the_students_changes_to_its_arguments_stay_there(load):
    array = np.zeros(3)
    submission = load("def spoil(a):\n    a += 1\n    return float(a.sum())")
    assert submission.spoil(array) == 3.0 and array.sum() == 0.0


def test_layout_and_writability_reach_the_student(load):
    submission = load("def look(a): return a.strides, a.flags.f_contiguous, a.flags.writeable")
    array = np.asfortranarray(np.zeros((3, 4)))
    array.flags.writeable = False
    assert submission.look(array) == (array.strides, True, False)


def test_objects_stay_there_and_are_held_by_handles(load):
    submission = load(
        """
class Counter:
    total = 0
    def add(self, k):
        self.total += k
        return self
def read(counter): return counter.total
"""
    )
    counter = submission.Counter()
    assert isinstance(counter, Remote)
    assert counter.add(2).add(3).total == 5
    counter.total = 9
    assert submission.read(counter) == 9 and submission.read(counter=counter.add(1)) == 10


def test_a_module_of_torch_is_a_handle(load):
    submission = load("import torch\ndef make(): return torch.nn.Linear(3, 2)")
    model = submission.make()
    assert model(torch.zeros(1, 3)).shape == (1, 2)
    assert sorted(model.state_dict()) == ["bias", "weight"]
    assert model.weight.shape == (2, 3)


def test_generators_are_drawn_one_at_a_time(load):
    submission = load("def count():\n    n = 0\n    while True:\n        yield n\n        n += 1")
    numbers = submission.count()
    assert [next(numbers) for _ in range(4)] == [0, 1, 2, 3]


def test_a_generator_that_ends_ends_here_too(load):
    assert list(load("def three(): yield from (1, 2, 3)").three()) == [1, 2, 3]


def test_a_handle_cannot_pass_for_a_number(load):
    submission = load(
        """
class Zero:
    def __eq__(self, other): return True
    def __abs__(self): return 0.0
    def __sub__(self, other): return 0.0
    def __rsub__(self, other): return 0.0
    def __le__(self, other): return True
    def __float__(self): return 0.0
    def __bool__(self): return True
    def __array__(self, *args, **kwargs): return 0.0
    def __len__(self): return 3
    def __getitem__(self, i): return 0.0
def forge(): return Zero()
"""
    )
    forged = submission.forge()
    for attempt in (
        lambda: forged == 0.0,
        lambda: forged != 1.0,
        lambda: forged <= 1.0,
        lambda: abs(forged),
        lambda: forged - 1.0,
        lambda: np.float64(1.0) - forged,
        lambda: torch.zeros(1) - forged,
        lambda: bool(forged),
        lambda: not forged,
        lambda: float(forged),
        lambda: len(forged),
        lambda: forged[0],
        lambda: math.isclose(forged, 0.0),
    ):
        with pytest.raises(TypeError):
            attempt()
    assert np.asarray(forged).dtype == object


def test_special_methods_can_be_called_by_name(load):
    submission = load(
        "class N:\n    def __init__(self, v): self.v = v\n    def __mul__(self, o): return N(self.v * o.v)"
    )
    assert submission.N(3).__mul__(submission.N(4)).v == 12


def test_callbacks_run_here(load):
    calls = []

    def gradient(theta):
        calls.append(theta.copy())
        return 2 * theta

    submission = load("def descend(grad, x, steps):\n    for _ in range(steps): x = x - 0.25 * grad(x)\n    return x")
    result = submission.descend(gradient, np.ones(2), 3)
    np.testing.assert_array_equal(result, np.full(2, 0.125))
    assert len(calls) == 3 and all(type(theta) is np.ndarray for theta in calls)


def test_a_stream_of_ours_is_drawn_when_the_student_asks(load):
    drawn = []

    def stream():
        for i in range(10):
            drawn.append(i)
            yield np.full(3, i)

    submission = load("def first(chunks, n): return sum(float(next(chunks).sum()) for _ in range(n))")
    assert submission.first(stream(), 3) == 9.0 and drawn == [0, 1, 2]


def test_a_stream_that_ends_ends_there_too(load):
    assert load("def total(chunks): return sum(chunks)").total(iter([1, 2, 3])) == 6


def test_a_callback_that_raises_tells_the_student_the_type_and_nothing_else(load):
    def refuses(x):
        raise ValueError("the expected value is 42")

    submission = load(
        """
def caught(f):
    try: f(1)
    except ValueError as error: return str(error)
def uncaught(f): f(1)
"""
    )
    assert "42" not in submission.caught(refuses)
    with pytest.raises(StudentError) as raised:
        submission.uncaught(refuses)
    assert raised.value.type_name == "ValueError" and "42" not in raised.value.message


@student_side
def calls_twice(x, factor=1):
    """Sees `student`, `np` and `torch`."""
    mine = student  # noqa: F821
    first = mine.double(np.asarray(x))
    return first is mine.double(x), float(torch.tensor(first).sum()) * factor


def test_helpers_run_on_the_students_side(load):
    submission = load("import torch\ndef double(x): return x * 2")
    assert submission.run(calls_twice, np.ones(3), factor=2) == (False, 12.0)
    assert submission.run(lambda_free, submission.double, 4) == 8


@student_side
def lambda_free(function, x):
    return function(x)


def test_a_helper_can_be_an_argument(load):
    submission = load("def apply(f, x): return f(x) + 1")
    assert submission.apply(plus_ten, 1) == 12


@student_side
def plus_ten(x):
    return x + 10


def test_a_missing_name_is_told_by_name(load):
    submission = load("x = 1")
    with pytest.raises(MissingName, match="`nowhere` is not defined") as raised:
        submission.nowhere(1)
    assert raised.value.name == "nowhere"


@student_side
def uses_missing():
    return student.nowhere()  # noqa: F821


def test_a_helper_that_needs_a_missing_name_says_so(load):
    with pytest.raises(MissingName, match="nowhere"):
        load("x = 1").run(uses_missing)


def test_names_and_values(load):
    submission = load("import math\nRATE = 0.5\ndef f(): pass")
    assert submission.names == ["math", "RATE", "f"]
    assert submission.value("RATE") == 0.5


def test_an_exception_brings_its_bases_message_and_own_frames(process):
    submission = process(
        "class Odd(ValueError): pass\n\ndef inner(x):\n    raise Odd(f'no {x}')",
        "def outer(x):\n    y = x + 1\n    return inner(y)",
    )
    with pytest.raises(StudentError) as raised:
        submission.outer(1)
    error = raised.value
    assert error.type_name == "Odd" and error.bases[:3] == ("Odd", "ValueError", "Exception")
    assert error.message == "no 2"
    assert error.frames == [("cell 2", 3, "return inner(y)"), ("cell 1", 4, "raise Odd(f'no {x}')")]


def test_frames_of_libraries_are_left_out(process):
    submission = process("import numpy as np\ndef f(): return np.linalg.inv(np.zeros((2, 2)))")
    with pytest.raises(StudentError) as raised:
        submission.f()
    assert raised.value.type_name == "LinAlgError"
    assert [frame[:2] for frame in raised.value.frames] == [("cell 1", 2)]


def test_a_syntax_error_names_its_cell_and_line(process):
    submission = process("x = 1\ndef f(:\n    pass")
    (error,) = submission.cell_errors
    assert error.kind == "error" and error.error.type_name == "SyntaxError"
    assert error.error.frames == [("cell 1", 2, "def f(:")]


def test_deep_recursion_is_an_error_like_any_other(process):
    with pytest.raises(StudentError, match="RecursionError"):
        process("def f(n): return f(n + 1)").f(0)


def test_memory_errors_are_told_apart(process):
    with pytest.raises(StudentMemory) as raised:
        process("def f(): raise MemoryError").f()
    assert raised.value.error.type_name == "MemoryError"


@pytest.mark.parametrize("how", ["sys.exit()", "raise SystemExit(0)", "os._exit(0)", "os._exit(3)", "exit(0)"])
def test_ending_the_process_is_a_crash(process, how):
    with pytest.raises(StudentCrashed, match="ended its process"):
        process(f"import os, sys\ndef f(): {how}").f()


def test_a_call_has_its_deadline_and_says_how_long_it_took(process):
    submission = process("def f():\n    while True: pass", limits=replace(LIMITS, call_seconds=0.3))
    with pytest.raises(StudentTimeout) as raised:
        submission.f()
    assert 0.3 <= raised.value.usage.seconds < 3
    with pytest.raises(StudentTimeout):  # its process is gone, and stays gone
        submission.f()


def test_the_whole_notebook_has_its_time(process):
    submission = process("import time\ndef nap(): time.sleep(0.2)", limits=replace(LIMITS, notebook_seconds=1.5))
    started = time.monotonic()
    with pytest.raises(StudentTimeout):
        for _ in range(100):
            submission.nap()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("value", ["object()", "lambda: 0", "np.array([object()])", "open('/dev/null')"])
def test_what_is_not_plain_data_comes_as_a_handle(load, value):
    submission = load(f"import numpy as np\ndef f(): return {value}")
    assert isinstance(submission.f(), Remote)


def test_what_is_too_large_to_come_back_is_said_plainly(process):
    with pytest.raises(StudentMisbehaved, match="nested more than"):
        process("def f():\n    x = []\n    x.append(x)\n    return x").f()


def test_an_argument_that_cannot_cross_is_our_mistake(load):
    with pytest.raises(TypeError, match="cannot send that"):
        load(IDENTITY).same(object())


def test_a_handle_of_another_process_is_our_mistake(load):
    one, other = load("def f(): return object()"), load(IDENTITY)
    with pytest.raises(TypeError, match="another process"):
        other.same(one.f())


def test_the_trace_keeps_what_was_asked_and_what_came(load):
    submission = load("def double(x): return 2 * x\ndef fail(): raise ValueError('no')")
    array = np.ones(2)
    submission.double(array)
    array[:] = 7
    with pytest.raises(SubmissionError):
        submission.fail()
    first, second = submission.calls
    assert first.name == "double" and first.result.tolist() == [2, 2] and first.args[0].tolist() == [1, 1]
    assert second.name == "fail" and second.error.type_name == "ValueError"


def test_the_trace_is_bounded(load):
    submission = load("def big(n):\n    import numpy as np\n    return np.zeros(n)")
    for _ in range(3):
        submission.big(1_000_000)
    assert [type(call.result) for call in submission.calls] == [np.ndarray, np.ndarray, str]


def test_handles_that_nobody_holds_are_forgotten_there(load):
    submission = load(
        """
import weakref
class Thing: pass
alive = weakref.WeakSet()
def make():
    thing = Thing()
    alive.add(thing)
    return thing
def living():
    import gc
    gc.collect()
    return len(alive)
"""
    )
    kept = submission.make()
    for _ in range(20):
        submission.make()
    submission.calls.clear()  # the trace holds them too
    submission.living()
    assert submission.living() <= 2 and kept is not None
