"""Speaking for the agent: bytes on every descriptor, a patched agent, frames sent early, twice or broken.

Stopped by there being nothing to say that helps: an answer is judged elsewhere, against values that were never here.
What is not an answer is refused, and costs the one who sent it.
"""

import contextlib
import time

import numpy as np
import pytest

from autograder.judging import Contract, close, floats, student_side
from autograder.submission import (
    Remote,
    StudentCrashed,
    StudentError,
    StudentMisbehaved,
    StudentTimeout,
    SubmissionError,
)

WRITES = {
    "a pass": 'b\'{"passed": true, "score": 100}\'',
    "a pytest report": "b'1 passed in 0.01s\\n'",
    "a pickle": "b'\\x80\\x04cos\\nsystem\\n(S\"id\"\\ntR.'",
    "zeros": "bytes(100_000)",
    "a frame of nonsense": "b'LSML' + bytes([4, 0, 0, 0] + [0] * 8) + b'nope'",
    "a frame that never ends": "b'LSML' + bytes([255, 255, 0, 0] + [0] * 8) + b'{'",
    "a frame of 4 GiB": "b'LSML' + bytes([255] * 12)",
    "words of the server": 'b\'{"ready": true}\\n{"fault": "x"}\\n\'',
    "the mark of a fault": "b'FAULT of the grader'",
}


@pytest.mark.parametrize("what", WRITES)
def test_writing_to_every_descriptor_gives_no_answer(attack, honest, what):
    submission = attack(
        f"""
        import os
        def attack():
            for fd in range(256):
                try:
                    os.write(fd, {WRITES[what]})
                except OSError:
                    pass
            return 42
        """,
        call_seconds=2.0,
    )
    with pytest.raises((StudentMisbehaved, StudentTimeout, StudentCrashed)):
        submission.attack()
    assert honest()


def wired(body):
    """A cell that can write whole frames to the wire."""
    return f"""
        import json, os, struct, sys
        def send(message, values=(), sizes=(), data=b""):
            header = json.dumps({{"m": message, "v": list(values), "b": list(sizes)}}).encode()
            os.write(3, struct.pack("<4sIQ", b"LSML", len(header), sum(sizes)) + header + data)
        def attack(*args):
            {body}
    """


FORGED = {
    "for another question": ("send({'n': 10**6, 'kind': 'value'}, [42])", StudentMisbehaved),
    "for the last question": ("send({'n': 1, 'kind': 'value'}, [42])", StudentMisbehaved),
    "of no kind": ("send({'n': 2}, [42])", StudentMisbehaved),
    "of an unknown kind": ("send({'n': 2, 'kind': 'passed'}, [42])", StudentMisbehaved),
    "with two values": ("send({'n': 2, 'kind': 'value'}, [1, 2])", StudentMisbehaved),
    "with no value": ("send({'n': 2, 'kind': 'value'})", StudentMisbehaved),
    "with a lying array": (
        "send({'n': 2, 'kind': 'value'}, [{'t': 'array', 'dtype': '<f8', 'shape': [2**70], 'b': 0}], [8], bytes(8))",
        StudentMisbehaved,
    ),
    "with objects": (
        "send({'n': 2, 'kind': 'value'}, [{'t': 'array', 'dtype': '|O', 'shape': [1], 'b': 0}], [8], bytes(8))",
        StudentMisbehaved,
    ),
    "with a handle of a strange number": (
        "send({'n': 2, 'kind': 'value'}, [{'t': 'handle', 'id': -1}])",
        StudentMisbehaved,
    ),
    "with a callback for a value": ("send({'n': 2, 'kind': 'value'}, [{'t': 'callback', 'id': 0}])", StudentMisbehaved),
    "with code for a value": (
        "send({'n': 2, 'kind': 'value'}, [{'t': 'code', 'name': 'f', 'source': 'f = 1'}])",
        StudentMisbehaved,
    ),
    "as an error whose parts are no text": (
        "send({'n': 2, 'kind': 'error', 'type': 3, 'bases': {'a': 1}, 'text': [], 'frames': [[1], 2, [1, 'x', {}]]})",
        StudentError,
    ),
    "as an error with escapes": (
        "send({'n': 2, 'kind': 'error', 'type': '\\x1b[2J', 'bases': [], 'text': '\\x1b]0;x\\x07\\u202e\\r'})",
        StudentError,
    ),
    "as a callback that nobody passed": ("send({'kind': 'callback', 'id': 0}, [[], {}])", StudentMisbehaved),
    "as a callback of no number": ("send({'kind': 'callback', 'id': 'x'}, [[], {}])", StudentMisbehaved),
}


@pytest.mark.parametrize("how", FORGED)
def test_forged_answers(attack, honest, how):
    body, error = FORGED[how]
    submission = attack(wired(f"{body}; return 1"), call_seconds=2.0)
    with pytest.raises(error) as raised:
        submission.attack()
    assert not set("\x1b\x07\u202e\r") & set(str(raised.value))
    assert honest()


def test_an_answer_forged_in_advance_is_only_an_answer(attack):
    # It may answer before it is asked, with what it likes; the question's input it has not seen, nor what is expected.
    submission = attack(wired("return 0") + "\n        for n in range(2, 20): send({'n': n, 'kind': 'value'}, [42.0])")
    expected = float(np.random.default_rng(0).normal())
    with contextlib.suppress(SubmissionError):
        assert not close(submission.attack(), expected, rtol=1e-9)


PATCHES = {
    "its answers": "Agent.answer = lambda *a: wire.frame({'n': 2, 'kind': 'value'}, True)",
    "its encoder": "wire.Encoder.encode = lambda self, value, depth=0: True",
    "its frames": "wire.frame = lambda *a, **k: [b'LSML' + bytes(12)]",
    "its limits": "wire.WireLimits.__init__.__defaults__ = (1 << 40,) * 4",
    "its magic": "wire.MAGIC = b'ABCD'",
    "its description of errors": "Agent.describe = lambda *a: {'type': 'Passed', 'bases': [], 'frames': []}",
    "json": "import json; json.dumps = lambda *a, **k: '{}'",
    "struct": "wire.PREFIX = __import__('struct').Struct('<4s')",
    "the interpreter's builtins": "import builtins; builtins.isinstance = lambda *a: True; builtins.len = lambda *a: 0",
    "the clock": "import time; time.monotonic = time.time = time.perf_counter = lambda: 0.0",
    "numpy's comparisons": "np.allclose = np.array_equal = np.isclose = lambda *a, **k: True; np.abs = lambda x: 0 * x",
    "numpy's arrays": "np.asarray = np.array = lambda *a, **k: 0",
    "torch's comparisons": "torch.equal = torch.allclose = lambda *a, **k: True",
    "pytest": "import types, sys; sys.modules['pytest'] = types.ModuleType('pytest')",
    "the judge": "import types, sys; sys.modules['autograder.judging'] = types.ModuleType('j')",
    "the random generator": "np.random.default_rng = lambda *a: type('R', (), {'normal': lambda *a, **k: 0.0})()",
}


@pytest.mark.parametrize("what", PATCHES)
def test_whatever_it_patches_a_wrong_answer_stays_wrong(attack, honest, what):
    submission = attack(
        f"""
        import sys
        import numpy as np, torch
        wire, Agent = sys.modules["lsml_box.wire"], sys.modules["lsml_box.agent"].Agent
        def attack(x): return 42.0
        try:
            {PATCHES[what]}
        except Exception:
            pass
        """,
        call_seconds=2.0,
    )
    rng = np.random.default_rng(1)
    with contextlib.suppress(SubmissionError):
        answer = submission.attack(rng.normal(size=3))
        assert not isinstance(answer, Remote)
        assert not close(answer, float(rng.normal()), rtol=1e-6)
    # And nothing of ours was patched.
    assert not np.allclose(0.0, 1.0) and time.monotonic() > 0 and honest()


ANSWER = Contract("answer", x=floats(3))

# What a wrong answer may do before it is asked whether it leaves its argument alone, and returns a new array.
HELPER_PATCHES = {
    "array_equal": "np.array_equal = lambda *a, **k: True",
    "shares_memory": "np.shares_memory = np.may_share_memory = lambda *a, **k: False",
    "array": "np.array = np.asarray = lambda x, *a, **k: x",
    "all": "import builtins; builtins.all = lambda parts: True; builtins.any = lambda parts: False",
    "zip": "import builtins; builtins.zip = lambda *a, **k: iter(())",
    "isinstance": "import builtins; builtins.isinstance = lambda *a: False",
    "ndim": "np.ndim = lambda x: 0",
    "the modules": "import sys, types; sys.modules['numpy'] = sys.modules['torch'] = types.ModuleType('x')",
}


@pytest.mark.parametrize("what", HELPER_PATCHES)
def test_patched_libraries_do_not_reach_our_helpers(attack, what):
    submission = attack(
        f"""
        import numpy as np
        def answer(x):
            x[0] = 7.0
            return x
        {HELPER_PATCHES[what]}
        """,
    )
    with contextlib.suppress(SubmissionError):
        assert not ANSWER.leaves_no_trace(submission, np.random.default_rng(0))


def test_what_helpers_see_is_whole(attack):
    """A control: with nothing patched they tell right from wrong, with numpy's inner modules and torch."""
    submission = attack("import numpy as np\ndef answer(x): return x + 1")
    assert ANSWER.leaves_no_trace(submission, np.random.default_rng(0))
    assert submission.run(sees_libraries) == [True, True, True]


@student_side
def sees_libraries():
    """Whether random numbers, linear algebra and torch work (runs over there)."""
    random = float(np.random.default_rng(0).normal()) == float(np.random.default_rng(0).normal())
    return [random, bool(np.linalg.norm(np.ones(4)) == 2.0), bool(torch.equal(torch.ones(2), torch.ones(2)))]  # noqa: F821


LIARS = {
    "a class that says it is a float": "class Liar:\n    __class__ = property(lambda self: float)",
    "a class whose every question answers yes": (
        "class Meta(type):\n    def __instancecheck__(self, other): return True\n"
        "    def __subclasscheck__(self, other): return True\n"
        "class Liar(metaclass=Meta):\n    def __getattr__(self, name): return self\n"
        "    def __call__(self, *a): return self"
    ),
    "a class that raises whatever it is asked": (
        "class Liar:\n    def __getattribute__(self, name): raise SystemExit\n"
        "    def __del__(self): raise KeyboardInterrupt"
    ),
    "an array of its own": (
        "class Liar(np.ndarray):\n    def __new__(cls): return np.zeros(3).view(cls)\n"
        "    def __array_finalize__(self, other): pass\n    def __eq__(self, other): return True\n"
        "    def __array_function__(self, *a): return True\n    def __array_ufunc__(self, *a, **k): return True"
    ),
    "a tensor of its own": (
        "class Liar(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, *a, **k): return True"
    ),
    "something that says it is an array": (
        "class Liar:\n    shape = (3,)\n    dtype = np.dtype(float)\n"
        "    def __array__(self, *a, **k): return np.zeros(3)\n"
        "    __array_interface__ = {'shape': (3,), 'typestr': '<f8', 'data': (0, False), 'version': 3}"
    ),
    "a dict that lies of its items": (
        "class Liar(dict):\n    def items(self): return iter([(i, i) for i in range(10)])\n"
        "    def keys(self): raise OSError"
    ),
    "a list without an end": "class Liar(list):\n    def __iter__(self):\n        while True: yield 0",
    "an integer that lies": (
        "class Liar(int):\n    def __index__(self): return 7\n    def __eq__(self, other): return True"
    ),
    "a string that lies": "class Liar(str):\n    def __str__(self): return 3\n    def __eq__(self, other): return True",
}


@pytest.mark.parametrize("what", LIARS)
def test_objects_that_lie_arrive_as_plain_data_or_not_at_all(attack, what):
    submission = attack(
        "import numpy as np, torch",
        LIARS[what],
        "def attack(): return Liar()\ndef nested(): return [Liar()]",
        call_seconds=2.0,
    )
    for ask in (submission.attack, submission.nested):
        try:
            answer = ask()
        except SubmissionError:
            continue
        answer = answer[0] if isinstance(answer, list) and answer else answer
        assert type(answer).__module__ in ("builtins", "numpy", "torch", "autograder.submission.remote")
        assert type(answer).__name__ in ("int", "str", "dict", "list", "ndarray", "Tensor", "Remote")


@pytest.mark.parametrize(
    "value", ["float('nan')", "np.nan", "np.full(3, np.nan)", "complex('nan')", "torch.tensor(float('nan'))"]
)
def test_nan_is_never_close(attack, value):
    answer = attack(f"import numpy as np, torch\ndef attack(): return {value}").attack()
    expected = np.zeros(np.shape(answer))
    assert not close(answer, expected, rtol=1.0, atol=1e300)
    assert not close(answer, 0.0 if not np.shape(answer) else expected.tolist(), rtol=1e300)
