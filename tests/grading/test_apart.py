"""A text that costs too much costs its own call, and nothing else."""

import os
import time

import pytest

from autograder.apart import MEMORY, Reader, TooCostly
from autograder.grading import reading
from autograder.grading.reading import Unreadable


@pytest.fixture
def reader():
    reader = Reader(cpu_seconds=1.0)
    yield reader
    reader.close()


def test_results_and_errors_come_back(reader):
    assert reader.call(divmod, 7, 3) == (2, 1)
    assert reader.call(bytes.upper, b"a" * 1_000_000) == b"A" * 1_000_000
    with pytest.raises(Unreadable, match="is empty"):
        reader.call(reading.parse, b"")
    process = reader.call(os.getpid)
    assert process != os.getpid() and reader.call(os.getpid) == process


# None of these can be interrupted from Python.
COSTLY = {
    "time": (pow, 7, 10**9),
    "memory": (bytes, MEMORY + 1),
    "a regular expression": (__import__("re").match, "(a+)+b", "a" * 60),
    "death": (os._exit, 0),
}


@pytest.mark.parametrize("call", COSTLY.values(), ids=COSTLY)
def test_what_costs_too_much_is_given_up_and_the_next_is_read(reader, call):
    with pytest.raises(TooCostly):
        reader.call(*call)
    assert reader.call(divmod, 7, 3) == (2, 1)


def test_time_counts_for_each_call_and_is_the_processs_own(reader):
    for _ in range(3):
        reader.call(time.sleep, 0.6)
        assert len(reader.call(list, range(3_000_000))) == 3_000_000


def test_nothing_is_left_behind(reader):
    process = reader.call(os.getpid)
    reader.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
