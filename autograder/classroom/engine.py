"""Where Reports are made: in this process, or by Dask workers, each with one warm grader.

An engine takes jobs and gives Reports back in any order. It never holds more than a window of jobs, so 10,000 queued
submissions cost the client and the scheduler no more memory than a hundred.
"""

import contextlib
import logging
import os
import signal
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from autograder import curriculum
from autograder.classroom import warm
from autograder.errors import UserError
from autograder.grading.report import ExerciseResult, Report
from autograder.sandbox import Limits, SandboxUnavailable

CONNECT_SECONDS = 30.0

# One worker's death may be bad luck; at the second, the notebook is the cause. Saturation 1: a worker holds no more
# than it runs, for Dask counts a death against all that a worker holds. The pages that Dask serves over HTTP would
# tell any process of the machine what is being graded.
CONFIG = {"distributed.scheduler.allowed-failures": 1, "distributed.scheduler.worker-saturation": 1.0}
CONFIG |= {"distributed.admin.log-length": 0, "distributed.comm.timeouts.connect": "120s"}  # a machine may be busy
CONFIG |= {"distributed.worker.profile.enabled": False}  # it looks at each worker's stack every 10 ms: 20 % more work
# And it asks itself fifty times a second whether it is late, and ten times how much memory it has: 10 % of a core.
CONFIG |= {"distributed.admin.tick.interval": "1s", "distributed.admin.system-monitor.interval": "5s"}
CONFIG |= {"distributed.worker.memory.monitor-interval": "1s"}
CONFIG |= {f"distributed.{part}.http.routes": [] for part in ("scheduler", "worker", "nanny")}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One notebook to grade: its bytes travel, so that a worker needs no view of the class folder."""

    key: str
    module: str
    content: bytes
    secret: str = field(repr=False)
    limits: Limits
    kept: Path | None = None  # a folder for what a grader finds out once for the class; elsewhere there is none
    done: tuple[ExerciseResult, ...] = ()  # of an earlier Report, and still right


def fault(module: str, why: str) -> Report:
    """The Report of a notebook that the grader failed on: no score, and a person asked for."""
    return Report(f"{module}.ipynb", module, "grader_fault", None, None, 0.0, (), (why,))


class LocalEngine:
    """Grades in this process, one notebook after the other. For a handful of submissions, and for tests."""

    window = 1
    workers = 1

    def __init__(self):
        self._jobs: deque[Job] = deque()

    def __enter__(self) -> "LocalEngine":
        return self

    def __exit__(self, *failure) -> None:
        warm.of_this_process.close()

    @property
    def busy(self) -> int:
        """How many jobs have been submitted and not given back."""
        return len(self._jobs)

    def submit(self, job: Job) -> None:
        """Take a job."""
        self._jobs.append(job)

    def next(self) -> tuple[str, Report]:
        """Wait for the next Report; its key and itself."""
        job = self._jobs.popleft()
        return job.key, _report(job, grade_dict(job))


class DaskEngine:
    """Grades on a Dask cluster: one on this machine, or the one at `scheduler`.

    The cluster of its own is closed to other processes of the machine: its connections are encrypted with a
    certificate that exists only in the memory of this process and its workers. `work` is what a worker does with a
    job; the benchmark puts a stub there.
    """

    def __init__(
        self,
        workers: int | None = None,
        scheduler: str | None = None,
        tls: dict[str, str] | None = None,
        work: Callable[[Job], dict] | None = None,
    ):
        self.scheduler = scheduler
        self._work = work or grade_dict
        self._wanted = workers
        self._tls = tls or {}
        self._stack = contextlib.ExitStack()
        self._client: Any = None
        self._keys: dict[str, Job] = {}
        self.workers = workers or 1
        self.window = 1

    def __enter__(self) -> "DaskEngine":
        if self.scheduler is not None:
            self._start()  # an address that is wrong is said at once
        return self

    def _start(self) -> None:
        """Connect; for a cluster of our own only at the first job, for a run may find every Report kept."""
        from distributed import as_completed

        with contextlib.ExitStack() as stack:
            self._client = stack.enter_context(self._connect(stack))
            self._done = as_completed(with_results=False)
            self.workers = sum(self._client.nthreads().values()) or 1
            # Enough that no worker waits for the client, few enough to hold in memory.
            self.window = 2 * self.workers + 2
            self._same_sources()
            self._stack = stack.pop_all()

    def __exit__(self, *failure) -> None:
        self._stack.close()

    @property
    def busy(self) -> int:
        """How many jobs have been submitted and not given back."""
        return len(self._keys)

    def submit(self, job: Job) -> None:
        """Send a job to the cluster."""
        if self._client is None:
            self._start()
        self._keys[job.key] = job
        with _cluster_may_go():
            self._done.add(self._client.submit(self._work, job, key=job.key, pure=False))

    def next(self) -> tuple[str, Report]:
        """Wait for the next Report; its key and itself. UserError where the cluster is gone."""
        from distributed.scheduler import KilledWorker

        with _cluster_may_go():
            future = next(self._done)
            job = self._keys.pop(future.key)
            try:
                return job.key, _report(job, future.result())
            except KilledWorker:
                return job.key, fault(job.module, "the worker that graded it died, more than once")
            finally:
                future.release()

    def _connect(self, stack: contextlib.ExitStack) -> Any:
        import dask
        from distributed import LocalCluster
        from distributed.security import Security

        stack.enter_context(dask.config.set(CONFIG))
        if self.scheduler is None:
            try:
                with _without_interrupts():
                    cluster = stack.enter_context(
                        LocalCluster(
                            n_workers=self._wanted or os.cpu_count() or 1,
                            threads_per_worker=1,
                            processes=True,
                            host="127.0.0.1",
                            dashboard_address="127.0.0.1:0",
                            security=Security.temporary(),
                            silence_logs="CRITICAL",
                        )
                    )
                return _client(cluster)
            except (OSError, RuntimeError, TimeoutError) as error:
                why = type(error).__name__
                raise UserError(f"the workers did not start ({why}); `--workers 1` needs none") from error
        address = self.scheduler if "://" in self.scheduler else f"tls://{self.scheduler}"
        security = None
        if address.startswith("tls://"):
            security = Security(require_encryption=True, **self._tls)
        try:
            client = _client(address, security=security, timeout=CONNECT_SECONDS)
            try:
                client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            except BaseException:
                client.close()
                raise
            return client
        except (OSError, TimeoutError, ValueError, TypeError) as error:
            why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(f"the Dask scheduler {address} cannot be used: {why}") from None

    def _same_sources(self) -> None:
        """Workers that have another version of the course would grade by other tests than the Reports' keys say."""
        if self.scheduler is None:
            return
        here = fingerprint()
        for worker, there in self._client.run(fingerprint).items():
            if there != here:
                raise UserError(f"the Dask worker {worker} has another version of the course or its packages than this")


def _client(address: Any, **options: Any) -> Any:
    """A Dask client, closed at once if it cannot connect.

    Otherwise it closes itself when it is collected as garbage, and takes a lock for that. Where this happens while
    another client starts, which holds the lock, neither goes on.
    """
    from distributed import Client

    class ClosedOnFailure(Client):
        def start(self, **more: Any) -> None:
            try:
                super().start(**more)
            except BaseException:
                self.close()
                raise

    return ClosedOnFailure(address, **options)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal; what is started here never sees it, and is ended by this process.

    The threads and processes of the cluster inherit the mask, workers that are started later too. An interrupt that
    comes meanwhile is delivered at the end.
    """
    resource_tracker.ensure_running()  # multiprocessing starts it at the first process, and unblocks the signal then
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _cluster_may_go() -> Iterator[None]:
    from distributed import CancelledError
    from distributed.client import ClosedClientError

    try:
        yield
    except (CancelledError, ClosedClientError, OSError, StopIteration, TimeoutError) as error:
        why = type(error).__name__
        raise UserError(f"the Dask cluster is gone ({why}); run the command again to go on") from None


def fingerprint() -> str:
    """One hash of the course and the grader as this process has them."""
    import hashlib

    from autograder.grading.report import report_key

    keys = [report_key(b"", name, "", Limits()) for name in curriculum.names()]
    return hashlib.sha256("".join(keys).encode()).hexdigest()


def grade(job: Job) -> Report:
    """Grade one notebook with this process's grader. SandboxUnavailable where there can be none."""
    with tempfile.TemporaryDirectory(prefix="lsml-") as scratch:
        path = Path(scratch) / f"{job.module}.ipynb"
        path.write_bytes(job.content)
        grader = warm.of_this_process.get(job.secret, job.limits, job.kept)
        return grader.grade(path, expected_module=job.module, done=job.done)


def grade_dict(job: Job) -> dict:
    """`grade`, as plain values that Dask can carry; a grader that cannot start says why under "unavailable"."""
    try:
        return grade(job).to_dict()
    except SandboxUnavailable as refusal:
        return {"unavailable": str(refusal)}
    except Exception as error:  # one notebook on which the grader breaks must not stop the class
        log.exception("grading %s failed", job.key)
        return fault(job.module, f"the grader failed: {type(error).__name__}").to_dict()


def _report(job: Job, values: dict) -> Report:
    if "unavailable" in values:
        raise UserError(f"other people's work cannot be graded here: {values['unavailable']}")
    return Report.from_dict(values)
