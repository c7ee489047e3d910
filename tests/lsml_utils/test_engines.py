"""Engines run for real; what is missing, cannot start or dies is told in one line, and leaves no process behind."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from lsml_utils import engines

GOES_ON = ": this cell goes on without it.\n"


@pytest.fixture(scope="module", autouse=True)
def ended():
    yield
    engines.stop()


@pytest.fixture
def spark():
    """For tests that want Spark's own packages and a Java."""
    pytest.importorskip("pyspark", reason='pyspark is not installed: make setup EXTRAS="spark"')
    if engines.run("spark", lambda session: True) is None:
        pytest.skip("Spark does not start here: is there a Java?")


def java_processes():
    return [child for child in psutil.Process().children(recursive=True) if child.name() == "java"]


def test_a_library_is_the_module_or_one_line(capsys):
    assert engines.library("json").loads("1") == 1
    assert engines.library("no_such_engine") is None
    line = "no_such_engine is not installed (pip install no_such_engine)" + GOES_ON
    assert capsys.readouterr() == (line, "")
    assert engines.library("no_such_engine.language") is None  # said already
    assert capsys.readouterr() == ("", "")


def test_the_line_names_the_extra(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    assert engines.library("triton") is None
    assert 'make setup EXTRAS="triton"' in capsys.readouterr().out


def test_a_library_that_is_broken_says_why(capsys, monkeypatch, tmp_path):
    (tmp_path / "half_installed.py").write_text("import its_own_part")
    monkeypatch.syspath_prepend(tmp_path)
    assert engines.library("half_installed") is None
    assert capsys.readouterr().out == "half_installed does not import (No module named 'its_own_part')" + GOES_ON


def test_every_extra_is_one_of_pyproject():
    import tomllib

    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())["project"]
    for package, extra in engines.EXTRAS.items():
        packages = [line.partition(">")[0].partition("=")[0] for line in project["optional-dependencies"][extra]]
        assert engines.DISTRIBUTIONS.get(package, package) in packages
    assert set(engines.PROGRAMS.values()) <= set(project["optional-dependencies"])


def test_a_program_is_found_beside_python_or_missed_in_one_line(capsys, monkeypatch, tmp_path):
    beside = tmp_path / "bin"
    beside.mkdir()
    monkeypatch.setattr(sys, "executable", str(beside / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(engines, "_said_missing", set())
    assert engines.program("promtool") is None and engines.program("promtool") is None
    assert capsys.readouterr().out == 'promtool is not installed (make setup EXTRAS="serve")' + GOES_ON
    for folder in (tmp_path, beside):
        (folder / "promtool").write_text("")
        (folder / "promtool").chmod(0o755)
    assert engines.program("promtool") == str(beside / "promtool")


def test_another_engine_is_refused():
    with pytest.raises(ValueError, match="'spark', 'dask'"):
        engines.run("hadoop", print)


def test_dask_runs_in_two_processes():
    pids = engines.run("dask", lambda client: set(client.run(os.getpid).values()))
    assert len(pids) == 2 and os.getpid() not in pids
    assert engines.start_seconds("dask") > 0


def test_dask_whose_workers_die_is_one_line_and_starts_again(capfd):
    assert engines.run("dask", lambda client: client.submit(os._exit, 1, pure=False).result()) is None
    assert capfd.readouterr() == ("Dask ended in the middle (its workers were stopped again and again)" + GOES_ON, "")
    assert engines.run("dask", lambda client: client.submit(sum, [1, 2]).result()) == 3


def test_spark_counts_what_it_shuffles(spark):
    """A sum by key sends one record a key and a partition; nothing the second time that one asks."""

    def job(session):
        engines.shuffled(session)
        frame = session.range(0, 10_000, numPartitions=2).selectExpr("id % 100 as k", "id as v")
        rows = frame.groupBy("k").sum("v").collect()
        return sum(row[1] for row in rows), engines.shuffled(session), engines.shuffled(session)

    total, first, second = engines.run("spark", job)
    assert total == 49_995_000
    assert first.records == 200 and 200 < first.bytes < 100_000
    assert second == (0, 0)


def test_an_error_of_the_job_is_raised_as_it_is(spark):
    with pytest.raises(ZeroDivisionError):
        engines.run("spark", lambda session: 1 / 0)
    with pytest.raises(Exception, match="TABLE_OR_VIEW_NOT_FOUND"):
        engines.run("spark", lambda session: session.sql("select * from nothing"))
    assert java_processes()


def test_spark_that_dies_is_one_line_leaves_nothing_and_starts_again(spark, capfd):
    def job(session):
        for process in java_processes():
            process.kill()
        return session.range(10).count()

    assert engines.run("spark", job) is None
    assert capfd.readouterr() == ("Spark ended in the middle (its Java process was stopped)" + GOES_ON, "")
    assert not java_processes()
    assert engines.run("spark", lambda session: session.range(10).count()) == 10
    before = {path.name for path in Path(tempfile.gettempdir()).iterdir()}
    engines.stop()
    assert not java_processes()
    gone = before - {path.name for path in Path(tempfile.gettempdir()).iterdir()}
    assert any(name.startswith("lsml-spark-") for name in gone)


def test_spark_that_cannot_go_on_is_one_line(spark, capfd):
    """It stops itself, or its memory is full, and Java still runs."""

    def stopped(session):
        session.sparkContext._jsc.sc().stop()
        return session.range(10).count()

    def full(session):
        return session.sparkContext._jvm.java.util.ArrayList(2**31 - 1)

    for job, why in ((stopped, "Spark stopped itself"), (full, "Java ran out of memory")):
        assert engines.run("spark", job) is None
        assert capfd.readouterr() == (f"Spark ended in the middle ({why})" + GOES_ON, "")
        assert not java_processes()


def elsewhere(code: str, *prefix: str, **environment: str) -> subprocess.CompletedProcess:
    """A script of its own, as of a person whose machine is so. It must say nothing on stderr."""
    script = f"from lsml_utils import engines\nif __name__ == '__main__':\n    {code}\n"
    path = Path(os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split("[")[0].split(" ")[0] + ".py")
    path.write_text(script)
    return subprocess.run(
        [*prefix, sys.executable, path], env=os.environ | environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("how", ["none", "home", "old"])
def test_without_a_java_that_is_new_enough_one_line_says_how_to_get_it(tmp_path, monkeypatch, how):
    pytest.importorskip("pyspark", reason='pyspark is not installed: make setup EXTRAS="spark"')
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "bin"
    folder.mkdir()
    environment = {"JAVA_HOME": "", "PATH": str(folder)}
    if how == "home":
        environment["JAVA_HOME"] = str(tmp_path)
    if how == "old":
        folder.joinpath("java").write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_292\"' >&2\n")
        folder.joinpath("java").chmod(0o755)
    done = elsewhere("print(engines.run('spark', print), engines.start_seconds('spark'))", **environment)
    line, result = done.stdout.splitlines()
    assert line.startswith("Spark needs Java 17 or newer") and line.endswith(GOES_ON.strip())
    assert "openjdk-17" in line and {"home": "JAVA_HOME is", "old": "is Java 8", "none": ""}[how] in line
    assert (result, done.stderr) == ("None nan", "")


@pytest.mark.parametrize("engine", ["spark", "dask"])
def test_without_a_port_one_line_says_so(tmp_path, monkeypatch, engine):
    """In a namespace of its own, whose loopback is down, nobody can listen or connect."""
    if engine == "spark":
        pytest.importorskip("pyspark", reason='pyspark is not installed: make setup EXTRAS="spark"')
        if not shutil.which("java"):
            pytest.skip("no Java here")
    apart = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("no network namespaces here")
    monkeypatch.chdir(tmp_path)
    code = f"import psutil; print(engines.run({engine!r}, print), psutil.Process().children(recursive=True))"
    done = elsewhere(code, *apart)
    line, result = done.stdout.splitlines()
    assert line.startswith(f"{engine.capitalize()} could not start (") and line.endswith(GOES_ON.strip())
    assert (result, done.stderr) == ("None []", "")


@pytest.mark.parametrize("end", ["sys.exit()", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_no_java_outlives_its_python(spark, tmp_path, monkeypatch, end):
    monkeypatch.chdir(tmp_path)
    code = (
        "import os, psutil, signal, sys; engines.run('spark', lambda session: session.range(3).count()); "
        "[print(child.pid) for child in psutil.Process().children(recursive=True) if child.name() == 'java']; "
        f"sys.stdout.flush(); {end}"
    )
    (pid,) = map(int, elsewhere(code).stdout.split())
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(20)


def test_what_python_no_longer_needs_is_said_to_a_java_that_ends(spark, tmp_path, monkeypatch):
    """py4j tells Java in a thread of its own; where Java ends before it has read this, nobody hears of it."""
    monkeypatch.chdir(tmp_path)
    code = (
        "import psutil, time\n"
        "    kept = [engines.run('spark', lambda spark: spark.sparkContext._jvm.java.util.ArrayList())]\n"
        "    java = [child for child in psutil.Process().children(recursive=True) if child.name() == 'java']\n"
        "    [process.suspend() for process in java]\n"
        "    kept.clear()\n"
        "    time.sleep(1)  # py4j's thread has sent it, and waits for an answer\n"
        "    [process.kill() for process in java]\n"
        "    time.sleep(1)\n"
        "    engines.stop()"
    )
    done = elsewhere(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
