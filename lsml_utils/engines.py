"""Real engines beside the reader's own code, in demo and scale cells.

What is missing, cannot start, or dies says so in one line, and the cell goes on without it: `library` and `run` give
None then. No process is left behind: `stop()` runs when Python ends, and an engine ends when its Python is killed.
"""

import atexit
import contextlib
import importlib
import logging
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

# The extra of pyproject.toml that brings a package.
EXTRAS = {
    "pandas": "data",
    "pyarrow": "data",
    "faiss": "search",
    "implicit": "search",
    "datasketches": "search",
    "datasketch": "search",
    "pyspark": "spark",
    "opacus": "privacy",
    "phe": "privacy",
    "captum": "explain",
    "fairlearn": "explain",
    "shap": "explain",
    "librosa": "speech",
    "uvicorn": "serve",
    "fastapi": "serve",
    "river": "serve",
    "dimod": "quantum",
    "dwave": "quantum",
    "qiskit": "quantum-circuits",
    "qiskit_aer": "quantum-circuits",
    "triton": "triton",
}
# Packages that PyPI names differently.
DISTRIBUTIONS = {"faiss": "faiss-cpu", "dwave": "dwave-samplers", "qiskit_aer": "qiskit-aer"}
PROGRAMS = {"prometheus": "serve", "promtool": "serve"}  # the extra with which they come
JAVA = 17  # the oldest that Spark 4 runs on
CORES = 2


class Shuffled(NamedTuple):
    """What Spark wrote for other partitions to read: bytes as stored (serialised, compressed), and records."""

    bytes: int
    records: int


class _Unavailable(Exception):
    """Why an engine cannot run: one line."""


def library(name: str):
    """The module of that name, or None after one line that says how to get it.

    name: as in an import. Of one package ("triton", then "triton.language") the line is printed once.

    >>> library("json").dumps([1])
    '[1]'
    """
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if name == package or package not in _said_missing:
            _said_missing.add(package)
            absent = isinstance(error, ModuleNotFoundError) and error.name == package
            _say(_missing(package) if absent else f"{package} does not import ({error})")
        return None


def program(name: str) -> str | None:
    """The path of a program, or None after one line: beside this Python (`make setup` puts it there), else in PATH.

    >>> program("prometheus")  # doctest: +SKIP
    '.venv/bin/prometheus'
    """
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")
    if not found and name not in _said_missing:
        _said_missing.add(name)
        _say(f'{name} is not installed (make setup EXTRAS="{PROGRAMS[name]}")')
    return found


def run(engine: str, job: Callable):
    """`job(session)` on a real engine: what it returns, or None after one line.

    engine: "spark" (`job` gets a SparkSession: 2 cores, of which every process runs on this machine) or "dask" (it gets
    a distributed.Client with 2 worker processes of one thread). The first call starts the engine, later calls use the
    same one. None where a package is missing, the engine cannot start, or dies while the job runs; the next call then
    tries to start it again. An error of the job's own is raised as it is. Raises ValueError for another name.

    >>> run("dask", lambda client: client.submit(sum, [1, 2]).result())  # doctest: +SKIP
    3
    """
    if engine not in _ENGINES:
        raise ValueError(f"engine {engine!r}: there are {', '.join(map(repr, _ENGINES))}")
    try:
        with _quiet():
            return job(_session(engine))
    except _Unavailable as why:
        _say(str(why))
    except Exception as error:
        if not (died := _running[engine].died(error)):
            raise
        with _quiet():
            _stop(engine)
        _say(f"{engine.capitalize()} ended in the middle ({died})")
    return None


def start_seconds(engine: str) -> float:
    """How long the engine that is running took to start, in seconds; nan where none is running.

    >>> start_seconds("spark")
    nan
    """
    return _running[engine].seconds if engine in _running else float("nan")


def shuffled(spark) -> Shuffled:
    """What Spark has written into its shuffles since the last call, or since it started: bytes and records.

    spark: the SparkSession of `run`. The numbers are those of Spark's own status store, which its web page shows, too.

    >>> run("spark", lambda spark: (spark.range(100).distinct().count(), shuffled(spark)))  # doctest: +SKIP
    (100, Shuffled(bytes=1432, records=102))
    """
    context = spark._jsparkSession.sparkContext()
    context.listenerBus().waitUntilEmpty()
    gateway = spark.sparkContext._gateway
    no_quantiles = gateway.new_array(gateway.jvm.double, 0)
    found = context.statusStore().stageList(None, False, False, no_quantiles, None)
    stages = [found.apply(i) for i in range(found.size())]
    seen = _running["spark"].stages_read
    new = [stage for stage in stages if stage.stageId() >= seen]
    _running["spark"].stages_read = max((stage.stageId() + 1 for stage in stages), default=seen)
    return Shuffled(sum(s.shuffleWriteBytes() for s in new), sum(s.shuffleWriteRecords() for s in new))


def stop() -> None:
    """End every engine that `run` has started, with its processes.

    >>> stop()
    """
    for engine in list(_running):
        with _quiet():
            _stop(engine)


class _Spark:
    def __init__(self):
        self.stages_read, self.session, self.seconds = 0, None, 0.0
        if library("pyspark") is None:
            raise _Unavailable("")
        _find_java()
        self.folder = tempfile.TemporaryDirectory(prefix="lsml-spark-", ignore_cleanup_errors=True)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        others = psutil.Process().children()
        try:
            with _descriptor_2_into(Path(self.folder.name, "log")):
                self.session = self._start()
        except Exception as error:
            reason = self._reason(error)
            self.stop()
            for process in set(psutil.Process().children()) - set(others):  # started, and not reached
                process.kill()
                process.wait()
            raise _Unavailable(f"Spark could not start ({reason})") from None

    def _start(self):
        import py4j.java_gateway
        from pyspark.sql import SparkSession

        # A thread of py4j tells Java, at any time, what Python needs no more. Where Java ends before it answers, py4j
        # says so through the root logger, which prints; through its own one, only who asks for it reads it.
        py4j.java_gateway.logging = py4j.java_gateway.logger
        folder = self.folder.name
        settings = {
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": "800m",
            # Short jobs: the second compiler and the parallel collector cost more than they bring. The temporary
            # folder of Java is ours, which is removed.
            "spark.driver.extraJavaOptions": f"-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djava.io.tmpdir={folder}",
            "spark.local.dir": folder,
            "spark.sql.warehouse.dir": f"{folder}/warehouse",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": str(2 * CORES),
        }
        builder = SparkSession.builder.master(f"local[{CORES}]").appName("lsml")
        for key, value in settings.items():
            builder = builder.config(key, value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        session.sparkContext._accumulatorServer.handle_error = lambda *request: None  # where Java ends before it
        return session

    def _reason(self, error: Exception) -> str:
        log = Path(self.folder.name, "log").read_text(errors="replace")
        causes = re.findall(r"^(?:Exception in thread \S+|Caused by:)?\s*([\w.]+(?:Exception|Error): .+)$", log, re.M)
        java = getattr(error, "java_exception", None)
        text = java.toString() if java is not None else causes[-1] if causes else str(error)
        return " ".join(text.split())[:300]

    def died(self, error: Exception) -> str | None:
        from pyspark import SparkContext

        gateway = SparkContext._gateway
        try:
            status = gateway.proc.wait(1) if gateway else None
        except subprocess.TimeoutExpired:
            return self._lost(error)
        return "its Java process was stopped" if status is None or status < 0 else f"Java's exit status is {status}"

    def _lost(self, error: Exception) -> str | None:
        """Why a Java that still runs is of no more use; None where it is fine."""
        if "java.lang.OutOfMemoryError" in str(error):
            return "Java ran out of memory"
        try:
            stopped = self.session.sparkContext._jsc.sc().isStopped()
        except Exception:
            return "its Java process does not answer"
        return "Spark stopped itself" if stopped else None

    def stop(self) -> None:
        from pyspark import SparkContext

        gateway = SparkContext._gateway
        with contextlib.suppress(Exception):
            if gateway.proc.poll() is None:
                self.session.stop()
        if gateway:
            gateway.proc.kill()
            gateway.proc.wait()
            with contextlib.suppress(Exception):
                gateway.shutdown()
            gateway.proc.stdin.close()
        SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None
        with contextlib.suppress(Exception):
            from pyspark.sql import SparkSession

            SparkSession._instantiatedSession = None
        self.folder.cleanup()


class _Dask:
    def __init__(self):
        import dask
        from distributed import Client, LocalCluster

        self.cluster = None
        settings = {
            "distributed.comm.timeouts.connect": "5s",
            # silence_logs forgets workers that are started again.
            "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
        }
        try:
            with dask.config.set(settings):
                self.cluster = LocalCluster(
                    n_workers=CORES,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                )
            self.session = Client(self.cluster)
        except Exception as error:
            self.session = None
            self.stop()
            raise _Unavailable(f"Dask could not start ({' '.join(str(error).split())[:300]})") from None

    def died(self, error: Exception) -> str | None:
        from distributed import KilledWorker

        return "its workers were stopped again and again" if isinstance(error, KilledWorker) else None

    def stop(self) -> None:
        # distributed cannot close a worker that it is just starting again (AssertionError in AsyncProcess.join).
        with contextlib.suppress(Exception):
            self.session.wait_for_workers(CORES, timeout=10)
        for part in (self.session, self.cluster):
            if part is not None:
                with contextlib.suppress(Exception):
                    part.close()
        for process in multiprocessing.active_children():
            if process.name.startswith("Dask Worker"):
                process.kill()
                process.join()


_ENGINES = {"spark": _Spark, "dask": _Dask}
_running: dict[str, _Spark | _Dask] = {}
_said_missing: set[str] = set()


def _session(engine: str):
    if engine not in _running:
        start = time.perf_counter()
        started = _ENGINES[engine]()
        started.seconds = time.perf_counter() - start
        _running[engine] = started
    return _running[engine].session


def _stop(engine: str) -> None:
    _running.pop(engine).stop()


def _find_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home, "bin")) if home else None)
    how = f"Spark needs Java {JAVA} or newer (Debian and Ubuntu: sudo apt-get install openjdk-{JAVA}-jre-headless)"
    if java is None:
        raise _Unavailable(f"{how}; JAVA_HOME is {home} and has none" if home else how)
    said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
    version = re.search(r'version "(?:1\.)?(\d+)', said)
    if version is None or int(version.group(1)) < JAVA:
        raise _Unavailable(f"{how}; {java} is {'Java ' + version.group(1) if version else 'none that answers'}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Engines report their end in tracebacks, through Python's logging and from their processes: not below the cell."""
    nowhere = logging.NullHandler()
    logging.root.addHandler(nowhere)  # or the first message through the root logger sets up one that prints
    logging.getLogger("SQLQueryContextLogger").disabled = True
    try:
        with warnings.catch_warnings(), _descriptor_2_into(Path(os.devnull)):
            warnings.filterwarnings("ignore", category=FutureWarning, module="pyspark")
            yield
    finally:
        logging.root.removeHandler(nowhere)


@contextlib.contextmanager
def _descriptor_2_into(path: Path) -> Iterator[None]:
    """What processes that are started meanwhile write to their standard error, now or later, goes to this file; what
    Python writes to sys.stderr comes where it always does."""
    kept = os.dup(2)
    ours = contextlib.nullcontext()
    with contextlib.suppress(OSError, AttributeError):  # Jupyter's sys.stderr is no file
        if sys.stderr.fileno() == 2:
            ours = contextlib.redirect_stderr(open(kept, "w", buffering=1, closefd=False))  # noqa: SIM115
    try:
        with open(path, "ab") as file, ours:
            os.dup2(file.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _missing(package: str) -> str:
    make = f'make setup EXTRAS="{EXTRAS[package]}", or: ' if package in EXTRAS else ""
    return f"{package} is not installed ({make}pip install {DISTRIBUTIONS.get(package, package)})"


def _say(why: str) -> None:
    if why:
        print(f"{why}: this cell goes on without it.", flush=True)


atexit.register(stop)
