"""Ranks as real processes: a fork server that has imported torch, gloo, and one pipe a rank."""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import types
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from lsml_utils.ranks.comm import Comm, RankError, deadlock, not_too_much, unreceived

START = 120.0  # seconds until all ranks are there: a busy machine imports torch slowly
PRINTED = 1_000_000  # bytes that a rank may print
SHOWN = 4_000  # characters of it that are shown
LOOK = 0.2  # seconds between two looks at what the ranks are doing
GRACE = 1.0  # after a first failure: it makes other ranks fail, and the true cause may be told later
DTYPES = [np.dtype(kind) for kind in ("?", "b", "B", "h", "H", "i", "I", "q", "Q", "e", "f", "d", "F", "D")]
HEADER = 2 + 32  # dtype, dimensions, shape
NOBODY = -1


class Launched(NamedTuple):
    """What came of `launch`."""

    results: list[Any]  # what each rank returned
    sent: np.ndarray  # (size,), bytes that each rank sent with comm.send
    seconds: float  # of the slowest rank's program, from the moment when all ranks were there
    start_seconds: float  # until then


def launch(program: Callable[[Comm], Any], size: int, *, seconds: float = 60.0) -> Launched | None:
    """`program(comm)` in `size` processes of this machine, each a rank of torch.distributed; None where that fails.

    In each process torch.distributed is initialised (gloo; for CUDA tensors nccl where there is a GPU a rank), so that
    `dist.all_reduce` and all that builds on it work beside `comm`; NumPy and torch have one thread. program: any
    function, also one of a notebook, with what it uses; what it returns is sent back. seconds: how long the ranks may
    take, start-up apart. What ranks print comes after they have ended. The first call starts a process that has
    imported torch, from which the ranks are forked; later calls start faster. No process of a rank is left behind.

    Prints one line and returns None where a rank dies, prints more than 1 MB or sends as `simulate` does not allow,
    where all ranks wait for each other, a message is never received, or time is up. An error of the program is raised
    as it is; a note says on which rank.

    >>> launch(lambda comm: comm.rank, 2).results  # doctest: +SKIP
    [0, 1]
    """
    if size < 1:
        raise ValueError(f"size = {size}: at least one rank")
    try:
        return _launch(program, size, seconds)
    except RankError as why:
        print(f"The ranks ended in the middle ({why}): this cell goes on without them.", flush=True)
        return None


def _launch(program, size, seconds) -> Launched:
    """As `launch`, and raises RankError where that prints a line."""
    import cloudpickle

    began = time.perf_counter()
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":  # not on Windows
        from multiprocessing import forkserver

        context.set_forkserver_preload(["torch.distributed", "sklearn", __name__])
        with _ignoring_interrupts():
            forkserver.ensure_running()
    code = cloudpickle.dumps(program)
    shared = context.RawArray("q", _Board.numbers(size))
    board = _Board(shared, size)
    board.waits[:] = NOBODY
    pipes, processes = [], []
    # The ranks end when the other end of `life` is closed: here, or with this Python, however that ends.
    life, held = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="lsml-ranks-") as folder:
        try:
            # A child would import __main__, and a script without its `if __name__` would launch again.
            with mock.patch.dict(sys.modules, {"__main__": types.ModuleType("__main__")}):
                for rank in range(size):
                    ours, theirs = context.Pipe()
                    process = context.Process(
                        target=_rank, args=(rank, size, folder, code, shared, theirs, life, seconds), daemon=True
                    )
                    process.start()
                    theirs.close()
                    pipes.append(ours)
                    processes.append(process)
            told = _Listener(folder, board, pipes, processes)
            told.until(lambda: len(told.ready) == size, START, "the ranks have not started")
            start_seconds = time.perf_counter() - began
            for pipe in pipes:
                pipe.send("go")
            told.until(lambda: len(told.results) == size, seconds, "the ranks have not ended")
        finally:
            held.close()
            for process in processes:
                process.kill()
            for process in processes:
                process.join()
            _show_prints(folder, size)
    left = board.sent - board.received
    for source, to in np.argwhere(left > 0):
        raise RankError(unreceived(source, to, left[source, to]))
    results = [cloudpickle.loads(told.results[rank][0]) for rank in range(size)]
    slowest = max(told.results[rank][1] for rank in range(size))
    return Launched(results, board.bytes_sent.sum(axis=1), slowest, start_seconds)


class _Board:
    """What all processes see: for whom a rank waits in `recv`; messages and bytes, sent and received, [source, to]."""

    def __init__(self, shared, size):
        numbers = np.frombuffer(shared, np.int64)
        self.waits = numbers[:size]
        counts = numbers[size:].reshape(4, size, size)
        self.sent, self.received, self.bytes_sent, self.bytes_received = counts

    @staticmethod
    def numbers(size):
        return size + 4 * size * size

    def stuck(self, alive):
        """For whom each of the living waits, where nothing is on its way to any of them; else None."""
        waits = {rank: int(self.waits[rank]) for rank in alive}
        if all(s != NOBODY and self.sent[s, rank] == self.received[s, rank] for rank, s in waits.items()):
            return waits
        return None


class _Listener:
    """What the ranks have told so far."""

    def __init__(self, folder, board, pipes, processes):
        self.folder, self.board, self.pipes, self.processes = folder, board, pipes, processes
        self.size = len(pipes)
        self.ready: set[int] = set()
        self.results: dict[int, tuple] = {}
        self.errors: dict[int, tuple] = {}  # when, and the pickled error
        self.dead: dict[int, str] = {}

    def until(self, done, seconds, late):
        """Listen until `done()`. Raises the first error of a program, or RankError."""
        end, before = time.monotonic() + seconds, None
        while not done():
            self._listen(LOOK)
            if self.errors or self.dead:
                self._listen(GRACE)
                self._fail()
            if (now := self._stuck()) and now == before:
                raise RankError(deadlock({rank: f"rank {source}" for rank, source in now[0].items()}, self.size))
            before = now
            for rank, file in enumerate(_printed(self.folder, self.size)):
                if file.exists() and file.stat().st_size > PRINTED:
                    raise RankError(f"rank {rank} has printed more than {PRINTED:,} bytes")
            if time.monotonic() > end and not done():
                raise RankError(f"{late} after {seconds:g} s")

    def _listen(self, seconds):
        """Take what is told within so many seconds; before a failure, no longer than until something is told."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            closed = self.dead.keys() | self.results.keys() | self.errors.keys()
            listening = {pipe: rank for rank, pipe in enumerate(self.pipes) if rank not in closed}
            heard = connection.wait(listening, left) if listening else []
            for pipe in heard:
                self._take(listening[pipe], pipe)
            if not listening or (heard and not (self.errors or self.dead)):
                return

    def _take(self, rank, pipe):
        try:
            kind, *rest = pipe.recv()
        except (EOFError, OSError):
            self.processes[rank].join()
            status = self.processes[rank].exitcode
            by_signal = f"by signal {-status}, {signal.strsignal(-status)}" if status < 0 else None
            self.dead[rank] = by_signal or f"with exit status {status}"
            return
        if kind == "ready":
            self.ready.add(rank)
        else:
            (self.results if kind == "result" else self.errors)[rank] = tuple(rest)

    def _fail(self):
        import cloudpickle

        if self.dead:
            rank, how = next(iter(self.dead.items()))
            raise RankError(f"the process of rank {rank} was ended {how}")
        rank, (_, pickled) = min(self.errors.items(), key=lambda told: told[1][0])
        error = cloudpickle.loads(pickled)
        if not isinstance(error, RankError):
            error.add_note(f"This was rank {rank}.")
        raise error

    def _stuck(self):
        if len(self.ready) < self.size:
            return None
        waits = self.board.stuck([rank for rank in range(self.size) if rank not in self.results])
        return (waits, int(self.board.sent.sum()), int(self.board.received.sum())) if waits else None


class _Gloo(Comm):
    """A rank whose messages travel through gloo: a header, and the bytes."""

    def __init__(self, rank, size, board):
        super().__init__(rank, size)
        self._board = board
        self._under_way = [deque() for _ in range(size)]  # what gloo still reads must not be freed

    def _post(self, to, array):
        import torch
        import torch.distributed as dist

        array = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)
        header = np.zeros(HEADER, np.int64)
        header[:2] = DTYPES.index(array.dtype), array.ndim
        header[2 : 2 + array.ndim] = array.shape
        parts = [header] + ([array.reshape(-1).view(np.uint8)] if array.nbytes else [])
        board, me = self._board, self.rank
        board.sent[me, to] += 1
        board.bytes_sent[me, to] += array.nbytes
        self._under_way[to].append([(dist.isend(torch.from_numpy(part), to), part) for part in parts])
        while len(self._under_way[to]) > board.sent[me, to] - board.received[me, to]:
            self._under_way[to].popleft()
        not_too_much(me, board.sent[me].sum(), (board.bytes_sent[me] - board.bytes_received[me]).sum())

    def _fetch(self, source):
        import torch
        import torch.distributed as dist

        board, me = self._board, self.rank
        board.waits[me] = source
        header = torch.zeros(HEADER, dtype=torch.int64)
        dist.recv(header, source)
        kind, dimensions, *shape = header.tolist()
        array = np.empty(shape[:dimensions], DTYPES[kind])
        if array.nbytes:
            dist.recv(torch.from_numpy(array.reshape(-1).view(np.uint8)), source)
        board.waits[me] = NOBODY
        board.received[source, me] += 1
        board.bytes_received[source, me] += array.nbytes
        return array


def _rank(rank, size, folder, code, shared, pipe, life, seconds):
    """What a rank's process does."""
    threading.Thread(target=_end_with, args=(life,), daemon=True).start()
    _print_into(os.devnull)  # gloo warns of names that it cannot resolve
    import cloudpickle
    import torch
    import torch.distributed as dist
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)
    try:
        backend = "gloo"
        if torch.cuda.device_count() >= size:
            torch.cuda.set_device(rank)
            backend = "cpu:gloo,cuda:nccl"
        dist.init_process_group(
            backend,
            init_method=f"file://{folder}/meet",
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=START + seconds),
        )
    except Exception as error:
        why = RankError(f"torch.distributed cannot start: {' '.join(str(error).split())[:200]}")
        pipe.send(("error", time.time(), cloudpickle.dumps(why)))
        return
    _print_into(_printed(folder, size)[rank])
    pipe.send(("ready",))
    pipe.recv()
    comm = _Gloo(rank, size, _Board(shared, size))  # kept to the end: it holds what the others have yet to read
    try:
        program = cloudpickle.loads(code)
        dist.barrier()
        began = time.perf_counter()
        result = program(comm)
        took = time.perf_counter() - began
        told = "result", cloudpickle.dumps(result), took
    except BaseException as error:
        told = "error", time.time(), _pickled(error)
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        pipe.send(told)
        pipe.recv()  # never comes: the others may still read what this rank has sent, until all are ended


def _pickled(error):
    import cloudpickle

    with contextlib.suppress(Exception):
        cloudpickle.loads(code := cloudpickle.dumps(error))  # some errors cannot be made again
        return code
    return cloudpickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))


def _print_into(file):
    printed = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    os.close(printed)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)


def _end_with(life):
    with contextlib.suppress(EOFError, OSError):
        life.recv()
    os._exit(1)


@contextlib.contextmanager
def _ignoring_interrupts():
    """A process started in here does not hear Ctrl-C, which Jupyter sends to all: who hears it, ends the ranks."""
    if threading.current_thread() is not threading.main_thread():  # where signal handlers cannot be set
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _printed(folder, size):
    return [Path(folder, f"printed_{rank}") for rank in range(size)]


def _show_prints(folder, size):
    for rank, file in enumerate(_printed(folder, size)):
        text = file.read_text(errors="replace")[:SHOWN] if file.exists() else ""
        for line in text.splitlines():
            print(f"rank {rank}: {line}")
