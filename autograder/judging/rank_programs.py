"""A rank program of a student's, run so that every message passes through the grader, which counts it or alters it.

All ranks run in the student's process, one at a time (`lsml_utils.ranks.interleave`). What they hold, an answer could
share through a global variable instead of sending it; one that does does not notice when a message is altered.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from autograder.judging.over_there import call_on_ranks


class Sent(NamedTuple):
    """One message that a rank sent to another: its shape, dtype and bytes."""

    source: int
    to: int
    shape: tuple[int, ...]
    dtype: np.dtype
    bytes: int


class OnRanks(NamedTuple):
    """What came of `on_ranks`."""

    results: list[Any]  # what each rank returned
    messages: list[Sent]  # in the order in which they were sent
    sent: np.ndarray  # (size,), bytes that each rank sent
    reduced: list[tuple[int, ...]]  # the shape of the arrays of each all-reduce that went through `all_reduce`


def on_ranks(
    submission,
    name: str,
    arguments: Sequence[tuple],
    *,
    alter: Callable[[int, np.ndarray], np.ndarray] | None = None,
    all_reduce: bool = False,
    alter_sum: Callable[[int, np.ndarray], np.ndarray] | None = None,
) -> OnRanks:
    """Call the student's `name(comm, *arguments[rank])` once on each rank; `submission` may be the reference, too.

    alter(number, array): what arrives of message `number` (0, 1, ... in the order of sending) in place of the array.
    all_reduce: the functions get `all_reduce(comm, x)` after comm: the sum of all ranks' x, formed here.
    alter_sum(number, total): what all ranks get from all-reduce `number` in place of the sum. Raises StudentError where
    the program fails, waits for ever or floods.
    """
    waiting: dict[tuple[int, int], deque] = {}
    messages: list[Sent] = []
    given: list[deque] = [deque() for _ in arguments]
    reduced: list[tuple[int, ...]] = []
    sums: list[tuple[np.ndarray, set]] = []

    def post(source, to, array):
        number = len(messages)
        messages.append(Sent(source, to, array.shape, array.dtype, array.nbytes))
        waiting.setdefault((source, to), deque()).append(array if alter is None else alter(number, array.copy()))

    def fetch(source, to):
        return waiting[source, to].popleft()

    def gather(rank, array):
        if array is not None:
            given[rank].append(array)
            return None
        if all(given):
            parts = [one.popleft() for one in given]
            total = np.sum(parts, axis=0, dtype=parts[0].dtype)
            if alter_sum is not None:
                total = alter_sum(len(reduced), total)
            reduced.append(total.shape)
            sums.append((total, set(range(len(arguments)))))
        for total, left in sums:
            if rank in left:
                left.discard(rank)
                return total
        raise AssertionError("a rank asked for a sum before all had given their part")

    results = submission.run(
        call_on_ranks, name, [list(one) for one in arguments], post, fetch, gather if all_reduce else None
    )
    sent = np.zeros(len(arguments), int)
    for message in messages:
        sent[message.source] += message.bytes
    return OnRanks(results, messages, sent, reduced)
