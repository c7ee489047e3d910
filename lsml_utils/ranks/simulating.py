"""Ranks in this process, one at a time: greenlets that give way where they wait."""

import contextlib
import math
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lsml_utils.ranks.comm import MESSAGES, Comm, RankError, deadlock, not_too_much, unreceived


class Message(NamedTuple):
    """One array on its way: who sent it to whom, its bytes, and when it began and ended, in simulated seconds."""

    source: int
    to: int
    bytes: int
    start: float
    end: float


class Simulated(NamedTuple):
    """What came of `simulate`."""

    results: list[Any]  # what each rank returned
    messages: list[Message]  # in the order in which they were sent
    sent: np.ndarray  # (size,), bytes that each rank sent
    seconds: float  # the simulated clock when the last rank had ended


def simulate(
    program: Callable[[Comm], Any], size: int, *, latency: float = 0.0, bandwidth: float = math.inf
) -> Simulated:
    """`program(comm)` once for each rank, in this process: one rank runs until it waits or ends, then the next one.

    size: the number of ranks, at least 1. latency: seconds a message, alpha. bandwidth: bytes a second, beta. A message
    of n bytes takes alpha + n / beta. It occupies an outgoing port of its sender and an incoming port of its receiver,
    each of which serves one message at a time, in the order of `send` and of `recv`. `comm.work(seconds)` is the only
    other thing that takes simulated time. (The model of Hockney, "The communication challenge for MPP", Parallel
    Computing 20, 1994, with one port each way.)

    The same program gives the same result, message for message, each time. Raises RankError where every rank waits for
    a message that nobody has sent, where a message is never received, or where a rank sends more than 100,000 messages
    or 1 GiB that nobody receives. An error of the program is raised as it is; a note says on which rank.

    >>> def ring(comm):
    ...     comm.send((comm.rank + 1) % comm.size, np.full(1000, comm.rank))
    ...     return comm.recv((comm.rank - 1) % comm.size)[0].item()
    >>> done = simulate(ring, 4, latency=1.0, bandwidth=8000.0)
    >>> done.results, done.sent.tolist(), done.seconds
    ([3, 0, 1, 2], [8000, 8000, 8000, 8000], 2.0)
    """
    if not latency >= 0 or not bandwidth > 0:
        raise ValueError(f"latency = {latency}, bandwidth = {bandwidth}: the one at least 0, the other above 0")
    clock, out_free, in_free = [0.0] * size, [0.0] * size, [0.0] * size
    messages: list[Message] = []
    waiting: dict[tuple[int, int], deque] = {}

    def post(source, to, array):
        start = max(clock[source], out_free[source])
        out_free[source] = end = start + latency + array.nbytes / bandwidth
        waiting.setdefault((source, to), deque()).append((len(messages), array))
        messages.append(Message(source, to, array.nbytes, start, end))

    def fetch(source, to):
        number, array = waiting[source, to].popleft()
        message = messages[number]
        end = max(message.end, in_free[to] + latency + array.nbytes / bandwidth)
        messages[number] = message._replace(end=end)
        in_free[to], clock[to] = end, max(clock[to], end)
        return array

    def work(rank, seconds):
        clock[rank] += seconds

    results = interleave(program, size, post, fetch, work)
    sent = np.zeros(size, int)
    for message in messages:
        sent[message.source] += message.bytes
    return Simulated(results, messages, sent, max(clock))


def interleave(program, size: int, post, fetch, work=None, gather=None, most: int = MESSAGES) -> list[Any]:
    """What `program(comm)` returns on each rank; where arrays go is decided by whoever calls.

    post(source, to, array) takes a message, fetch(source, to) gives the oldest that is there and was not fetched. With
    `gather`, programs get `all_reduce` as their second argument: `all_reduce(comm, x)` calls `gather(rank, x)`, waits
    until each rank has, and returns what `gather(rank, None)` gives then. most: messages that a rank may send. Raises
    RankError as `simulate` does.

    >>> box = {}
    >>> interleave(
    ...     lambda comm: [comm.send(1 - comm.rank, comm.rank), comm.recv(1 - comm.rank)][1],
    ...     2,
    ...     post=lambda source, to, array: box.update({(source, to): array.item()}),
    ...     fetch=lambda source, to: box[source, to],
    ... )
    [1, 0]
    """
    if size < 1:
        raise ValueError(f"size = {size}: at least one rank")
    import greenlet  # here, because who only launches needs none

    hub = greenlet.getcurrent()
    counts, afloat = [0] * size, 0
    pending: dict[tuple[int, int], deque] = {}
    waits: list[tuple[str, Callable[[], bool]] | None] = [None] * size
    rounds, shapes = [0] * size, {}
    results: list[Any] = [None] * size

    class _Comm(Comm):
        def _post(self, to, array):
            nonlocal afloat
            counts[self.rank] += 1
            afloat += array.nbytes
            not_too_much(self.rank, counts[self.rank], afloat, most)
            post(self.rank, to, array)
            pending.setdefault((self.rank, to), deque()).append(array.nbytes)

        def _fetch(self, source):
            nonlocal afloat
            key = source, self.rank
            self._wait(f"rank {source}", lambda: bool(pending.get(key)))
            afloat -= pending[key].popleft()
            return fetch(source, self.rank)

        def work(self, seconds):
            if not seconds >= 0:
                raise ValueError(f"rank {self.rank} works for {seconds} seconds")
            if work is not None:
                work(self.rank, seconds)

        def _wait(self, whom, ready):
            if not ready():
                waits[self.rank] = whom, ready
                hub.switch()

    def all_reduce(comm, x):
        rank, x = comm.rank, np.array(x)
        rounds[rank] += 1
        mine = rounds[rank]
        first, shape = shapes.setdefault(mine, (rank, x.shape))
        if x.shape != shape:
            what = f"rank {first} gives an array of shape {shape}, rank {rank} one of shape {x.shape}"
            raise ValueError(f"an all-reduce adds arrays of one shape: {what}")
        gather(rank, x)
        comm._wait("all ranks in an all-reduce", lambda: min(rounds) >= mine)
        return gather(rank, None)

    def run(rank):
        comm = _Comm(rank, size)
        results[rank] = program(comm) if gather is None else program(comm, all_reduce)

    lets = [greenlet.greenlet(lambda rank=rank: run(rank)) for rank in range(size)]
    alive = list(range(size))
    try:
        while alive:
            moved = False
            for rank in list(alive):
                if waits[rank] is None or waits[rank][1]():
                    waits[rank], moved = None, True
                    _of_rank(rank, lets[rank].switch)
                    if lets[rank].dead:
                        alive.remove(rank)
            if not moved:
                raise RankError(deadlock({rank: waits[rank][0] for rank in alive}, size))
    finally:
        for one in lets:
            with contextlib.suppress(BaseException):
                one.throw()  # GreenletExit: whoever still waits, ends
    for (source, to), left in sorted(pending.items()):
        if left:
            raise RankError(unreceived(source, to, len(left)))
    return results


def _of_rank(rank, switch):
    try:
        switch()
    except Exception as error:
        error.add_note(f"This was rank {rank}.")
        raise
