"""Rank programs under the grader: it counts every message, and what an answer did not receive it cannot know."""

import numpy as np
import pytest

from autograder.judging import StudentError, on_ranks
from autograder.sandbox import open_sandbox
from autograder.submission import SourceCell, Submission

SOURCE = """
import numpy as np

def around(comm, x):
    total = x.copy()
    for step in range(comm.size - 1):
        comm.send((comm.rank + 1) % comm.size, x)
        x = comm.recv((comm.rank - 1) % comm.size)
        total += x
    return total

box = {}

def shares_a_global(comm, x):
    box[comm.rank] = x
    around(comm, x)
    return sum(box.values())

def by_all_reduce(comm, all_reduce, x):
    return all_reduce(comm, x) + all_reduce(comm, 2 * x)

def only_rank_0_reduces(comm, all_reduce, x):
    return all_reduce(comm, x) if comm.rank == 0 else None

def unequal(comm, all_reduce, x):
    return all_reduce(comm, x[: comm.rank + 1])

def waits(comm):
    return comm.recv((comm.rank + 1) % comm.size)

def floods(comm):
    while True:
        comm.send((comm.rank + 1) % comm.size, 1)

def fails(comm):
    return 1 / (comm.rank - 1)
"""


@pytest.fixture(scope="module")
def submission():
    with open_sandbox() as sandbox, Submission.load(sandbox, [SourceCell("f", SOURCE)]) as loaded:
        yield loaded


def rows(size):
    return [(np.arange(4.0) + 10 * rank,) for rank in range(size)]


def test_every_message_is_counted(submission):
    done = on_ranks(submission, "around", rows(3))
    assert all(np.array_equal(result, 3 * np.arange(4.0) + 30) for result in done.results)
    assert len(done.messages) == 6 and done.sent.tolist() == [64, 64, 64]
    assert done.messages[0] == (0, 1, (4,), np.float64, 32)


def test_who_takes_what_was_not_sent_does_not_notice_an_altered_message(submission):
    def altered(name):
        return on_ranks(submission, name, rows(3), alter=lambda number, x: x + 1 if number == 0 else x).results

    assert np.array_equal(altered("around")[1], 3 * np.arange(4.0) + 31)
    assert np.array_equal(altered("shares_a_global")[2], 3 * np.arange(4.0) + 30)


def test_sums_go_through_the_grader(submission):
    done = on_ranks(submission, "by_all_reduce", rows(3), all_reduce=True)
    assert all(np.array_equal(result, 3 * (3 * np.arange(4.0) + 30)) for result in done.results)
    assert done.reduced == [(4,), (4,)] and done.messages == []
    more = on_ranks(submission, "by_all_reduce", rows(3), all_reduce=True, alter_sum=lambda number, x: x + number)
    assert all(np.array_equal(a, b + 1) for a, b in zip(more.results, done.results, strict=True))


@pytest.mark.parametrize(
    ("name", "arguments", "collective", "sentence"),
    [
        ("waits", [(), ()], False, "rank 0 waits for rank 1, rank 1 waits for rank 0"),
        ("only_rank_0_reduces", rows(2), True, "rank 0 waits for all ranks in an all-reduce; the others have ended"),
        ("unequal", rows(2), True, r"rank 0 gives an array of shape \(1,\), rank 1 one of shape \(2,\)"),
        ("floods", [(), ()], False, "has sent more than 10,000 messages"),
        ("fails", [(), ()], False, "ZeroDivisionError: division by zero"),
    ],
)
def test_what_goes_wrong_is_one_sentence(submission, name, arguments, collective, sentence):
    with pytest.raises(StudentError, match=sentence):
        on_ranks(submission, name, arguments, all_reduce=collective)
    assert np.array_equal(on_ranks(submission, "around", rows(1)).results[0], np.arange(4.0))
