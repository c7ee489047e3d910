"""A whole class on PostgreSQL, release to export, with a kill and a resume.

The server is Debian's own, started for these tests on a private port and folder by an ordinary user.
"""

import csv
import os
import shutil
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from autograder.classroom import autograde as grading
from autograder.classroom import feedback
from autograder.classroom.autograde import autograde, plan
from autograder.classroom.export import FORMATS
from autograder.classroom.extend import extend
from autograder.classroom.folder import ClassFolder
from autograder.classroom.release import release

from .conftest import MODULE, FakeEngine, put

pytest.importorskip("psycopg2")


def binaries() -> Path | None:
    """Where PostgreSQL's own programs are; Debian keeps them off PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The URL of an empty database."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    user = "postgres" if os.geteuid() == 0 else None  # initdb refuses to run as root
    if user is not None and subprocess.run(["id", user], capture_output=True).returncode:
        user = "nobody"
    top = Path(tmp_path_factory.mktemp("pg"))
    data, sockets = top / "data", top / "s"
    data.mkdir(mode=0o700)
    sockets.mkdir()
    if user is not None:
        for path in (top, *top.parents):
            if path.stat().st_uid == os.geteuid() and not path.stat().st_mode & 0o001:
                path.chmod(path.stat().st_mode | 0o011)
        shutil.chown(data, user)
        shutil.chown(sockets, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {"user": user, "cwd": "/", "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}}

    def run(program, *arguments):
        return subprocess.run([str(programs / program), *arguments], capture_output=True, text=True, **options)

    made = run("initdb", "-D", str(data), "-U", "lsml", "-A", "trust", "-N", "-E", "UTF8")
    assert made.returncode == 0, made.stderr
    command = [
        str(programs / "postgres"),
        "-D",
        str(data),
        "-p",
        str(port),
        "-h",
        "127.0.0.1",
        "-k",
        str(sockets),
        "-F",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        for _ in range(300):
            if run("pg_isready", "-h", "127.0.0.1", "-p", str(port)).returncode == 0:
                break
            time.sleep(0.1)
        else:
            pytest.fail("PostgreSQL did not start")
        assert run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "lsml", "gradebook").returncode == 0
        yield f"postgresql://lsml@127.0.0.1:{port}/gradebook"
    finally:
        process.send_signal(2)  # fast shutdown
        process.wait(timeout=30)


def test_whole_class(server, tmp_path, answer):
    folder = ClassFolder.new(tmp_path / "class", db=server)
    release(folder, MODULE, due=datetime(2026, 1, 10))
    for number in range(10):
        put(folder, f"s{number}", answer("passed", nesterov=f"partial {number}"), stamp="2026-01-09 12:00:00 UTC")

    # Killed with SIGKILL in the middle, in a process of its own.
    script = tmp_path / "half.py"
    script.write_text(
        "import os, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from classroom.conftest import MODULE, FakeEngine, fake_report\n"
        "from autograder.classroom import autograde as grading\n"
        "from autograder.classroom.folder import ClassFolder\n"
        "class Deadly(FakeEngine):\n"
        "    def next(self):\n"
        "        if len(self.graded) == 6:\n"
        "            os.kill(os.getpid(), 9)\n"
        "        return super().next()\n"
        "grading.BATCH = 2\n"
        f"folder = ClassFolder({str(folder.path)!r})\n"
        "with folder.lock():\n"
        "    grading.autograde(folder, grading.plan(folder, [MODULE], None), Deadly())\n"
    )
    killed = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    with folder.gradebook() as book:
        done = len(book.assignment_submissions(MODULE))
    assert 0 < done < 10

    with folder.lock():  # the dead process holds no lock
        engine = FakeEngine()
        summary = autograde(folder, plan(folder, [MODULE], None), engine)
    assert len(engine.graded) == 4
    assert summary.submissions == 10
    with folder.gradebook() as book:
        found = {one.student.id: one.score for one in book.assignment_submissions(MODULE)}
    assert found == {f"s{number}": 13.5 for number in range(10)}

    extend(folder, MODULE, "s1", 1)
    assert len(feedback.generate(folder, MODULE, "s1")) == 1
    exporter = FORMATS["canvas"](parent=folder.app)
    exporter.to = str(tmp_path / "out.csv")
    with folder.gradebook() as book:
        exporter.export(book)
    with open(exporter.to, newline="") as file:
        assert [row[-1] for row in csv.reader(file)][2:] == ["13.5"] * 10
    assert grading.BATCH > 2
