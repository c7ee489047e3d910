"""The Dask engine: closed to strangers, and a worker's death costs no more than its notebook."""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from autograder.classroom import scratch
from autograder.classroom.engine import CONFIG, DaskEngine, Job, LocalEngine
from autograder.errors import UserError
from autograder.grading.report import Report
from autograder.sandbox import Limits

from .conftest import MODULE


def job(name: str, content: bytes = b"") -> Job:
    return Job(name, MODULE, content, "secret", Limits())


def echo(job: Job) -> dict:
    """A worker's work: what came, and where."""
    import os

    if job.content == b"die":
        os.kill(os.getpid(), 9)
    if job.content.startswith(b"die once"):
        flag = job.content.removeprefix(b"die once ").decode()
        if not os.path.exists(flag):
            open(flag, "w").close()
            os.kill(os.getpid(), 9)
    exercises = [
        {"id": job.content.decode(errors="replace"), "verdict": "passed", "score": 1.0, "points": 1, "tests": []}
    ]
    return {
        "notebook": str(os.getpid()),
        "module": job.module,
        "status": "graded",
        "score": 1.0,
        "max_score": 1.0,
        "seconds": 0.0,
        "exercises": exercises,
        "notes": [],
    }


@pytest.fixture(scope="module")
def engine():
    with DaskEngine(workers=2, work=echo) as engine:
        engine._start()
        yield engine


def run(engine, jobs) -> dict[str, Report]:
    reports = {}
    for one in jobs:
        engine.submit(one)
        while engine.busy >= engine.window:
            key, report = engine.next()
            reports[key] = report
    while engine.busy:
        key, report = engine.next()
        reports[key] = report
    return reports


def test_every_job_comes_back_from_workers(engine):
    reports = run(engine, [job(f"k{number}", str(number).encode()) for number in range(30)])
    assert {key: report.exercises[0].id for key, report in reports.items()} == {f"k{n}": str(n) for n in range(30)}
    assert str(os.getpid()) not in {report.notebook for report in reports.values()}


def test_worker_that_dies_once_costs_nothing(engine, tmp_path):
    flag = tmp_path / "died"
    reports = run(engine, [job("once", f"die once {flag}".encode()), job("other", b"x")])
    assert flag.exists()
    assert {report.status for report in reports.values()} == {"graded"}


def test_notebook_that_kills_every_worker_asks_for_a_person(engine):
    reports = run(engine, [job("deadly", b"die"), job("after", b"x")])
    assert reports["deadly"].status == "grader_fault"
    assert reports["deadly"].score is None
    assert reports["after"].status == "graded"


def test_workers_take_their_settings_from_us(engine):
    """Or each would look at itself ten to a hundred times a second."""
    engine.submit(job("one"))
    engine.next()
    (there,) = {tuple(one.items()) for one in engine._client.run(settings).values()}
    assert dict(there) == {name: CONFIG[name] for name in dict(there)} and len(there) == 3


def settings() -> dict:
    import dask

    names = "admin.tick.interval", "worker.memory.monitor-interval", "worker.profile.enabled"
    return {f"distributed.{name}": dask.config.get(f"distributed.{name}") for name in names}


def test_unrelated_process_cannot_join(engine):
    """Neither as a client nor as a worker, in plain text or with a certificate of its own."""
    address = engine._client.scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    stranger = textwrap.dedent(
        """
        import asyncio, sys
        from distributed import Client, Worker
        from distributed.security import Security
        address = sys.argv[1]
        def join_as_client(address, security):
            with Client(address, security=security, timeout=3) as client:
                client.submit(lambda: 1).result(timeout=3)
        async def join_as_worker(address, security):
            async with Worker(address, security=security, death_timeout=3):
                pass
        plain = address.replace("tls://", "tcp://")
        for where, security in ((plain, None), (address, Security.temporary())):
            for how in (join_as_client, lambda *a: asyncio.run(join_as_worker(*a))):
                try:
                    how(where, security)
                except Exception as error:
                    print("refused", type(error).__name__)
                else:
                    print("JOINED")
        """
    )
    found = subprocess.run([sys.executable, "-c", stranger, address], capture_output=True, text=True, timeout=120)
    assert found.stdout.count("refused") == 4, found.stderr[-2000:]
    assert "JOINED" not in found.stdout
    assert len(engine._client.scheduler_info(n_workers=-1)["workers"]) <= 2, "our own two"


def test_scheduler_that_is_not_there_is_one_line():
    with pytest.raises(UserError, match=r"the Dask scheduler tls://127.0.0.1:9 cannot be used") as caught:
        DaskEngine(scheduler="127.0.0.1:9").__enter__()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "tcp://127.0.0.1:9"])
def test_refused_connection_leaves_no_client_behind(address, monkeypatch):
    """One that is left closes itself as garbage, under a lock that the next client holds while it starts."""
    from distributed import Client

    monkeypatch.setattr("autograder.classroom.engine.CONNECT_SECONDS", 1.0)
    with pytest.raises(UserError):
        DaskEngine(scheduler=address).__enter__()
    left = [one.status for one in gc.get_objects() if isinstance(one, Client)]
    assert set(left) <= {"closed", "running"}, "the one that runs is the module's engine"


@pytest.fixture
def cluster_elsewhere(tmp_path):
    """A scheduler with TLS and one worker, as a university runs them: (address, TLS options, the scheduler)."""
    from distributed.security import Security

    tls, options = Security.temporary().get_tls_config_for_role("scheduler"), []
    files = {"ca_file": tls["ca_file"], "cert": tls["cert"], "key": tls["key"]}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        options += [f"--tls-{name.replace('_', '-')}", str(tmp_path / name)]
    where = tmp_path / "scheduler.json"
    # Scheduler and workers need what the client has; here that is this file too.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    common = [*options, "--no-dashboard"]
    ours = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "tls://127.0.0.1", "--port", "0"]
    scheduler = subprocess.Popen([*ours, "--scheduler-file", str(where), *common], **quiet)
    theirs = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1", "--death-timeout", "60"]
    worker = subprocess.Popen([*theirs, "--scheduler-file", str(where), *common], **quiet)
    try:
        deadline = time.monotonic() + 60
        while not where.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        address = json.loads(where.read_text())["address"]
        yield (
            address,
            {"tls_ca_file": str(tmp_path / "ca_file")}
            | {f"tls_client_{part}": str(tmp_path / part) for part in ("cert", "key")},
            scheduler,
        )
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait(timeout=30)


def test_cluster_elsewhere_and_its_end(cluster_elsewhere):
    address, tls, scheduler = cluster_elsewhere
    assert address.startswith("tls://")
    with DaskEngine(scheduler=address, tls=tls, work=echo) as engine:
        assert set(run(engine, [job("a", b"x"), job("b", b"y")])) == {"a", "b"}
        scheduler.kill()
        with pytest.raises(UserError, match="run the command again to go on"):
            run(engine, [job("c", b"z"), job("d", b"z")])


def test_killed_command_leaves_no_process_behind(tmp_path):
    """SIGKILL to the command: its workers must end by themselves."""
    script = textwrap.dedent(
        """
        import sys, time
        from autograder.classroom.engine import CONFIG, DaskEngine, Job
        def main():
            engine = DaskEngine(workers=1).__enter__()
            engine._start()
            print(*engine._client.run(lambda: __import__("os").getpid()).values(), flush=True)
            time.sleep(600)
        if __name__ == "__main__":
            main()
        """
    )
    path = tmp_path / "command.py"
    path.write_text(script)
    command = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True)
    worker = int(command.stdout.readline())
    assert Path(f"/proc/{worker}").exists()
    command.send_signal(signal.SIGKILL)
    command.wait()
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(worker).wait(timeout=60)


INTERRUPTED = """
    import contextlib, os, sys, time
    from autograder import cli
    from autograder.classroom import commands, engine, scratch
    def forever(job):
        import tempfile
        tempfile.mkdtemp(prefix="of-a-worker-")
        time.sleep(600)
    def run(arguments):
        with scratch.scratch(), engine.DaskEngine(workers=2, work=forever) as cluster:
            cluster._start()
            for number in range(4):
                cluster.submit(engine.Job(str(number), "01_gradient_descent", b"", "s", engine.Limits()))
            print("ready", flush=True)
            cluster.next()
    commands._status = run
    if __name__ == "__main__":
        sys.exit(cli.main(["status"]))
"""


def interrupted(tmp_path, how) -> tuple[int, str, list[str]]:
    """A run on two workers that gets a signal as from a terminal: exit status, stderr, and what it left behind."""
    (tmp_path / "command.py").write_text(textwrap.dedent(INTERRUPTED))
    (tmp_path / "temporary").mkdir(exist_ok=True)
    command = subprocess.Popen(
        [sys.executable, str(tmp_path / "command.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
    )
    assert command.stdout.readline() == "ready\n", command.communicate()[1]
    how(command.pid)
    _, err = command.communicate(timeout=120)
    return command.returncode, err, os.listdir(tmp_path / "temporary")


def test_interrupt_is_one_line_and_leaves_nothing(tmp_path):
    status, err, left = interrupted(tmp_path, lambda pid: os.killpg(pid, signal.SIGINT))
    assert (status, err) == (130, "lsml: interrupted; run the same command again to go on\n")
    assert left == []


def test_next_run_clears_what_a_killed_one_left(tmp_path, monkeypatch):
    status, _, left = interrupted(tmp_path, lambda pid: os.kill(pid, signal.SIGKILL))
    assert status == -signal.SIGKILL
    assert len(left) == 1
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with scratch.scratch() as mine:
        assert [path.name for path in (tmp_path / "temporary").iterdir()] == [mine.name], "the dead one's is gone"
        with scratch.scratch() as other:
            assert mine.exists()
            assert other != mine
    assert os.listdir(tmp_path / "temporary") == []


def test_local_engine_gives_back_what_it_got(monkeypatch):
    from autograder.classroom import engine as engines

    monkeypatch.setattr(engines, "grade_dict", echo)
    with LocalEngine() as engine:
        assert set(run(engine, [job("a", b"1"), job("b", b"2")])) == {"a", "b"}
