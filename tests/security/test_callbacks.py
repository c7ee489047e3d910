"""Functions that a test passes in run on our side: how a student's process may use them, and how not."""

import contextlib

import numpy as np
import pytest

from autograder.submission import Remote, StudentError, StudentMisbehaved, StudentTimeout, SubmissionError


def echo(*args, **kwargs):
    return 1.0


def test_endless_calls_end_at_the_deadline(attack, honest):
    submission = attack("def attack(f):\n    while True: f(1)", call_seconds=1.0)
    with pytest.raises(StudentTimeout):
        submission.attack(echo)
    assert honest()


def test_calls_are_counted_and_capped(attack):
    seen = []
    submission = attack("def attack(f):\n    while True: f(1)", callback_calls=50)
    with pytest.raises(StudentMisbehaved, match="too many times"):
        submission.attack(seen.append)
    assert len(seen) == 50


def test_calls_are_capped_over_all_requests_together(attack):
    submission = attack("def attack(f):\n    for _ in range(30): f(1)", callback_calls=50)
    submission.attack(echo)
    with pytest.raises(StudentMisbehaved):
        submission.attack(echo)


def test_bytes_are_capped(attack):
    submission = attack(
        "import numpy as np\ndef attack(f, x):\n    while True: f(x)",
        callback_mb=4,
        callback_kb=2048,
        call_seconds=20.0,
    )
    with pytest.raises(StudentMisbehaved, match="too much data"):
        submission.attack(echo, np.zeros(1 << 17))


@pytest.mark.parametrize("size", [1 << 20, 1 << 28])
def test_huge_arguments_do_not_reach_the_function(attack, size):
    seen = []
    submission = attack(
        f"import numpy as np\ndef attack(f): return f(np.zeros({size}, np.uint8))", memory_mb=1024, call_seconds=20.0
    )
    with pytest.raises(SubmissionError):
        submission.attack(seen.append)
    assert seen == []


def test_what_was_given_may_come_back(attack):
    submission = attack("def attack(f, x): return f(2 * x)")
    big = np.ones(1 << 20)
    assert submission.attack(lambda x: float(x.sum()), big) == 2.0 * big.size


MALFORMED = {
    "no arguments": "f()",
    "too many arguments": "f(*range(1000))",
    "keywords": "f(1, **{'x' * 1000: 1})",
    "keywords that are no text": "call(f, [[1]], {'t': 'dict', 'k': [1], 'v': [1]})",
    "arguments that are a dict": "call(f, {'t': 'dict', 'k': [], 'v': []}, {'t': 'dict', 'k': [], 'v': []})",
    "text for a number": "f('1')",
    "nothing": "f(None)",
    "an object": "f(object())",
    "a class": "f(dict)",
    "itself": "f(f)",
    "nested 60 deep": "f(deep(60))",
    "nested 1000 deep": "f(deep(1000))",
    "nan": "f(float('nan'))",
    "an integer that is no float": "f(10 ** 4000)",
    "an array of strings": "f(np.array(['a']))",
    "an empty array of many columns": "f(np.zeros((0, 1 << 20)))",
    "eight dimensions": "f(np.zeros((1,) * 8))",
    "a surrogate": "f('\\ud800')",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_arguments_harm_nobody(attack, honest, what):
    seen = []

    def gradient(theta):
        seen.append(theta)
        return np.asarray(theta, dtype=float) @ np.ones(3)

    submission = attack(
        f"""
        import sys
        import numpy as np
        def deep(n): return [deep(n - 1)] if n else []
        def call(f, args, kwargs):
            wire = sys.modules["lsml_box.wire"]
            plain = wire.Encoder.encode
            wire.Encoder.encode = lambda self, value, depth=0: value if self.opaque else plain(self, value, depth)
            agent = next(cell.cell_contents for cell in f.__closure__ if hasattr(cell.cell_contents, "ask"))
            return agent.ask(wire.frame({{"kind": "callback", "id": 0}}, args, kwargs, encoder=wire.Encoder(len)))
        def attack(f):
            return {MALFORMED[what]}
        """
    )
    with pytest.raises(SubmissionError):
        submission.attack(gradient)
    allowed = (type(None), str, int, float, list, np.ndarray, Remote)
    assert all(type(theta) in allowed for theta in seen)
    assert honest()


def test_an_object_that_comes_in_a_callback_cannot_call_back_into_itself(attack):
    def greedy(thing):
        return thing.secret  # would wait for a process that waits for us

    submission = attack("class T:\n    secret = 1\ndef attack(f): return f(T())", call_seconds=3.0)
    with pytest.raises(StudentError) as raised:
        submission.attack(greedy)
    assert raised.value.type_name == "Exception"


def test_a_function_that_was_not_passed_cannot_be_called(attack):
    submission = attack(
        """
        import sys
        def attack(f):
            agent = next(cell.cell_contents for cell in f.__closure__ if hasattr(cell.cell_contents, "ask"))
            return agent._callback(7, [], {})
        """
    )
    with pytest.raises(StudentMisbehaved):
        submission.attack(echo)


def test_threads_that_call_back_all_at_once(attack):
    submission = attack(
        """
        from multiprocessing.pool import ThreadPool
        def attack(f):
            with ThreadPool(8) as pool:
                return sum(pool.map(f, range(200)))
        """,
        call_seconds=20.0,
    )
    assert submission.attack(lambda x: 2 * x) == 2 * sum(range(200))


def test_a_forked_process_that_calls_back_too_gets_nowhere(attack, honest):
    submission = attack(
        """
        import os
        def attack(f):
            os.fork()
            return sum(f(i) for i in range(1000))
        """,
        call_seconds=3.0,
    )
    with contextlib.suppress(SubmissionError):
        assert type(submission.attack(lambda x: x)) in (int, float)
    assert honest()


def test_a_stream_is_not_drawn_further_than_it_lasts(attack):
    submission = attack("def attack(stream):\n    return [next(stream, None) for _ in range(5)]")
    assert submission.attack(iter([1, 2])) == [1, 2, None, None, None]
