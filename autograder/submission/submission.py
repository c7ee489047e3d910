"""A submission as a hidden test sees it: its cells, executed in a fresh process, and its functions to call."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from autograder.sandbox import Limits, Sandbox, sharing
from autograder.sandbox.limits import DEFAULT
from autograder.submission.errors import (
    StudentCrashed,
    StudentError,
    StudentMemory,
    StudentMisbehaved,
    StudentTimeout,
    SubmissionError,
)
from autograder.submission.peer import ChildPeer, LocalPeer, Peer
from autograder.submission.remote import Remote

TRACE_CALLS = 200
TRACE_BYTES = 16 << 20

# Run before the cells, in a process that stands for one started anew: there texts hash otherwise (PEP 456).
ELSEWHERE = """
def _elsewhere():
    import builtins, random, sys
    import numpy
    plain = builtins.hash

    def hash(value, /):
        if type(value) is tuple:
            return plain(tuple(map(hash, value)))
        return plain(value) if isinstance(value, (int, float, complex)) else plain((plain(value), 0.5))

    builtins.hash = hash
    random.seed(plain("elsewhere"))
    numpy.random.seed(7)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(7)

_elsewhere()
del _elsewhere
"""


@dataclass(frozen=True)
class SourceCell:
    """One code cell to execute, plain Python. `label` names it to people ("cell 7") and is unique in its notebook.

    `kind` is setup, exercise or added; `exercises` are those that it defines, first the one whose cell it is.
    """

    label: str
    source: str
    kind: str = "exercise"
    exercises: tuple[str, ...] = ()

    @property
    def exercise(self) -> str | None:
        """The exercise whose cell it is; None for a cell of another kind."""
        return self.exercises[0] if self.kind == "exercise" and self.exercises else None


@dataclass(frozen=True)
class CellError:
    """A cell that did not run through: `kind` is error, timeout, memory or crashed; `reason` one readable line."""

    label: str
    kind: str
    error: StudentError | None
    reason: str


@dataclass
class Call:
    """One thing that was asked of the submission, with what came of it."""

    name: str
    args: tuple = ()
    kwargs: dict = field(default_factory=dict)
    result: Any = None
    error: SubmissionError | None = None


class Purse:
    """The time that the cells of one load may take: here, all of them together."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def left(self, cell: SourceCell) -> float:
        """How long a cell may run now."""
        return self.seconds

    def spend(self, cell: SourceCell, seconds: float) -> None:
        """Take note that a cell ran for so long."""
        self.seconds -= seconds


class Answers:
    """What the student's submission and our own answers have in common: `answers.f(...)`, `run`, `calls`."""

    def __init__(self, peer: Peer, limits: Limits):
        self._limits = limits
        self._left = limits.notebook_seconds
        self._trace_left = TRACE_BYTES
        self.calls: list[Call] = []
        self.cell_errors: list[CellError] = []
        self._use(peer)

    def _use(self, peer):
        self._peer = peer
        peer.ask = self._ask

    def __getattr__(self, name: str) -> Remote:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Remote:
        """The student's `name`, also where this class has a method called so. Looked up when it is used."""
        return Remote(self._peer, {"t": "name", "name": name}, name)

    def value(self, name: str) -> Any:
        """The value of a name that is not a function."""
        return self._ask(name, (), {}, {"op": "value"}, self[name])

    def run(self, helper, *args, **kwargs) -> Any:
        """Run a `@student_side` helper over there; its globals have `student`, `np` and `torch`."""
        return self._ask(helper.__name__, args, kwargs, {"op": "run"}, helper, list(args), kwargs)

    @property
    def names(self) -> list[str]:
        """The names that the cells define (as the submission says)."""
        names = self._request({"op": "names"}, seconds=self._limits.call_seconds)
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    def _ask(self, title, args, kwargs, message, *values):
        call = Call(title, self._snapshot(args), self._snapshot(kwargs))
        if len(self.calls) < TRACE_CALLS:
            self.calls.append(call)
        try:
            result = self._request(message, *values, seconds=self._limits.call_seconds)
        except SubmissionError as error:
            call.error = error
            raise
        call.result = self._snapshot(result)
        return result

    def _request(self, message, *values, seconds):
        """One request within what is left of the whole Submission's time."""
        started = time.monotonic()
        try:
            return self._peer.request(message, *values, seconds=min(seconds, self._left))
        finally:
            self._left = max(0.0, self._left - (time.monotonic() - started))

    def _snapshot(self, value, depth=0):
        """A copy for the trace: arrays that a test may yet change are copied while there is room for them."""
        if isinstance(value, tuple | list) and depth < 4 and len(value) <= 1000:
            items = [self._snapshot(item, depth + 1) for item in value]
            return items if isinstance(value, list) else tuple(items)
        if isinstance(value, dict) and depth < 4 and len(value) <= 1000:
            return {key: self._snapshot(item, depth + 1) for key, item in value.items()}
        size = getattr(value, "nbytes", 0) if not isinstance(value, Remote) else 0
        if not size:
            return value
        if size > self._trace_left:
            return f"<{type(value).__name__} of shape {tuple(value.shape)}, not kept>"
        self._trace_left -= size
        return value.copy() if isinstance(value, np.ndarray) else value.clone() if hasattr(value, "clone") else value

    @property
    def seconds_left(self) -> float:
        """What is left of `notebook_seconds`. Only the time that requests took counts, not that of making a child."""
        return self._left

    def close(self) -> None:
        """End the process. When this returns nothing of it runs any more."""
        self._peer.end()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class Submission(Answers):
    """A student's cells in a child of a sandbox. Make one with `Submission.load`.

    Every use may raise a SubmissionError. After one that ended the process (timeout, memory, crash), each further use
    raises the same again.
    """

    def __init__(self, sandbox: Sandbox, limits: Limits):
        super().__init__(ChildPeer(sandbox.start(limits)), limits)
        self._sandbox = sandbox
        self._death: SubmissionError | None = None
        self.skip: frozenset[str] = frozenset()  # labels of cells that no later child needs to try
        self.purse: Purse | None = None  # out of which its cells were paid
        self._cells: tuple[SourceCell, ...] = ()

    def limit(self, limits: Limits) -> None:
        """Keep to other limits on time from now on."""
        self._limits = self._peer.limits = limits
        self._left = max(0.0, limits.notebook_seconds)

    def grant(self, memory_mb: int) -> None:
        """From now on allow so much memory beyond what the cells left behind. Raises SandboxFault."""
        with contextlib.suppress(SubmissionError):  # a process that has ended says so when it is asked for something
            self._request({"op": "settle"}, seconds=self._limits.call_seconds)
        self._peer.child.grant(memory_mb)

    @property
    def alive(self) -> bool:
        """Whether its process still listens."""
        return self._peer.alive

    def hang_up(self) -> None:
        """From another thread: what is being asked of the process ends now, as if the process had."""
        self._peer.hang_up()

    @classmethod
    def load(
        cls,
        sandbox: Sandbox,
        cells: Sequence[SourceCell],
        limits: Limits | None = None,
        skip: Iterable[str] = (),
        purse: Purse | None = None,
    ) -> "Submission":
        """Execute the cells one by one in a fresh child; one that fails or is slow does not stop the next.

        A cell that kills its process (or had to be killed) is left out and the cells before it run again in another
        child; its label is in `.skip`, to be passed to the next load of the same notebook. Errors are in
        `.cell_errors`, those of skipped labels are not repeated. Their time is taken out of `purse`; without one it
        counts like that of calls. Raises SandboxFault only.
        """
        sandbox.share(sharing.named(*(cell.source for cell in cells)))
        return cls._loaded(sandbox, cells, limits, skip, purse)

    @classmethod
    def _loaded(cls, sandbox, cells, limits, skip, purse=None):
        submission = cls(sandbox, limits or sandbox.limits)
        try:
            submission._cells = tuple(cells)
            own = Purse(submission._left)
            submission.purse = own if purse is None else purse
            submission._load(cells, frozenset(skip), submission.purse)
            submission._left = max(0.0, own.seconds)
        except BaseException:
            submission.close()
            raise
        return submission

    @contextlib.contextmanager
    def elsewhere(self) -> Iterator["Submission"]:
        """The same cells, run in another process where `hash` and the global random generators say something else.

        (A fork cannot change the order of a set of texts.) Its time is this one's. Raises a SubmissionError.
        """
        cells = [SourceCell("elsewhere", ELSEWHERE, "added"), *self._cells]
        limits = replace(self._limits, notebook_seconds=self._left)
        with self._loaded(self._sandbox, cells, limits, self.skip) as other:
            try:
                yield other
            finally:
                self._left = min(self._left, other._left)
                self.calls += other.calls

    def _load(self, cells, skip, purse):
        deadly: dict[str, CellError] = {}
        while True:
            errors: dict[str, CellError] = {}
            for cell in cells:
                if cell.label in skip or cell.label in deadly:
                    continue
                error = self._execute(cell, purse)
                if error is not None:
                    errors[cell.label] = error
                if self._death is not None:
                    deadly[cell.label] = errors.pop(cell.label)
                    break
            else:
                break
            self._death = None
            self._use(ChildPeer(self._sandbox.start(self._limits)))
        order = {cell.label: place for place, cell in enumerate(cells)}
        self.cell_errors = sorted({**errors, **deadly}.values(), key=lambda error: order[error.label])
        self.skip = skip | frozenset(deadly)

    def _execute(self, cell, purse):
        """The CellError of one cell, or None."""
        message = {"op": "exec", "label": cell.label, "source": cell.source, "kind": cell.kind}
        seconds = min(self._limits.cell_seconds, purse.left(cell))
        if seconds <= 0:
            return CellError(cell.label, "timeout", None, "the time for it was used up before it began")
        started, self._left = time.monotonic(), seconds
        try:
            self._request(message, seconds=seconds)
            return None
        except StudentError as error:
            return CellError(cell.label, "error", error, str(error))
        except SubmissionError as error:
            kinds = {StudentTimeout: "timeout", StudentMemory: "memory"}
            return CellError(cell.label, kinds.get(type(error), "crashed"), getattr(error, "error", None), str(error))
        finally:
            purse.spend(cell, time.monotonic() - started)

    def _request(self, message, *values, seconds):
        if self._death is not None:
            raise self._death
        if self._left <= 0:
            self._peer.end()
            self._death = StudentTimeout("the time for the whole notebook is used up")
            raise self._death
        try:
            return super()._request(message, *values, seconds=seconds)
        except (StudentTimeout, StudentMemory, StudentCrashed, StudentMisbehaved) as error:
            if self._peer.ended:
                self._death = error
            raise


class LocalSubmission(Answers):
    """Our own answers (reference, calibration), with the same interface and the same copying, in this process.

    Never a student's code: there is no isolation and no deadline.
    """

    def __init__(self, cells: Sequence[SourceCell], limits: Limits = DEFAULT):
        super().__init__(LocalPeer(limits), limits)
        for cell in cells:
            try:
                self._request({"op": "exec", "label": cell.label, "source": cell.source, "kind": cell.kind}, seconds=0)
            except SubmissionError as error:
                student = error if isinstance(error, StudentError) else None
                self.cell_errors.append(CellError(cell.label, "error", student, str(error)))
