"""How the memory of a box is measured: a look stops it, ends in time, and leaves honest work alone."""

import subprocess
import sys
import time

import psutil
import pytest

from autograder.sandbox import Limits, bubblewrap
from autograder.sandbox.box import Sandbox
from autograder.submission import SourceCell, StudentMemory, Submission

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is read from Linux's /proc")
FORKS = "import os, time\nfor _ in range(3): os.fork()\nwhile True: time.sleep(0.01)"
# Eight processes that share 60 MB: 500 MB by the cheap counters.
SHARING = """
import os, time
keep = bytearray(b"x") * (60 << 20)
def work():
    children = []
    for _ in range(7):
        pid = os.fork()
        if pid == 0:
            time.sleep(1)
            os._exit(0)
        children.append(pid)
    for pid in children: os.waitpid(pid, 0)
    return "done"
"""


def test_all_processes_of_a_box_stand_still_during_a_look_and_go_on_after_it():
    from autograder.sandbox import memory

    first = subprocess.Popen([sys.executable, "-c", FORKS])
    box = [psutil.Process(first.pid)]
    try:
        until = time.monotonic() + 60
        while len(box) < 8 and time.monotonic() < until:
            box = [box[0], *box[0].children(recursive=True)]
            time.sleep(0.01)
        with memory.frozen(first.pid) as pids:
            assert sorted(pids) == sorted(process.pid for process in box)
            while any(process.status() != psutil.STATUS_STOPPED for process in box) and time.monotonic() < until:
                time.sleep(0.01)
            assert {process.status() for process in box} == {psutil.STATUS_STOPPED}
        while any(process.status() == psutil.STATUS_STOPPED for process in box) and time.monotonic() < until:
            time.sleep(0.01)
        assert psutil.STATUS_STOPPED not in {process.status() for process in box}
    finally:
        for process in box:
            process.kill()
        first.wait()


@pytest.mark.parametrize("seconds, ends", [("2.0", False), ("-1.0", True)])
def test_a_look_that_takes_too_long_is_itself_a_verdict(monkeypatch, tmp_path, seconds, ends):
    source = bubblewrap.FILES["memory.py"].read_text()
    assert source.count("LOOK_SECONDS = 2.0") == 1
    (tmp_path / "memory.py").write_text(source.replace("LOOK_SECONDS = 2.0", f"LOOK_SECONDS = {seconds}"))
    tmp_path.chmod(0o755)
    monkeypatch.setitem(bubblewrap.FILES, "memory.py", tmp_path / "memory.py")
    limits = Limits(memory_mb=128, call_seconds=60.0)
    with (
        Sandbox("bubblewrap", limits) as sandbox,
        Submission.load(sandbox, [SourceCell("cell 1", SHARING)]) as submission,
    ):
        if ends:
            with pytest.raises(StudentMemory):
                submission.work()
        else:
            assert submission.work() == "done"


HONEST = {
    "multiprocessing's values": """
import multiprocessing
def add(value):
    with value.get_lock(): value.value += 1
def work():
    context = multiprocessing.get_context("fork")
    value = context.Value("i", 0)
    others = [context.Process(target=add, args=(value,)) for _ in range(3)]
    for other in others: other.start()
    for other in others: other.join()
    return value.value == 3
""",
    "multiprocessing's shared memory": """
from multiprocessing.shared_memory import SharedMemory
def work():
    block = SharedMemory(create=True, size=1 << 20)
    block.buf[:3] = b"abc"
    other = SharedMemory(block.name)
    same = bytes(other.buf[:3]) == b"abc"
    block.unlink()
    return same
""",
    "torch's shared tensors": """
import os, torch
def work():
    shared = torch.zeros(1000).share_memory_()
    if os.fork() == 0:
        shared.add_(1)
        os._exit(0)
    os.wait()
    return bool((shared == 1).all())
""",
    "a map of a file": """
import numpy as np
def work():
    table = np.memmap("/tmp/table", dtype=np.float32, mode="w+", shape=(1000, 10))
    table[:] = 1
    table.flush()
    return float(np.memmap("/tmp/table", dtype=np.float32, mode="r", shape=(1000, 10)).sum()) == 10_000
""",
    "a lock on a file": """
import fcntl
def work():
    with open("/tmp/lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return True
""",
    "SQLite in memory": """
import sqlite3
def work():
    with sqlite3.connect(":memory:") as base:
        base.execute("create table t (x)")
        base.execute("insert into t values (1)")
        return base.execute("select x from t").fetchall() == [(1,)]
""",
}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox("bubblewrap", Limits(call_seconds=60.0, cell_seconds=60.0), preload=["numpy", "torch"]) as box:
        yield box


@pytest.mark.parametrize("what", HONEST)
def test_honest_sharing_still_works(sandbox, what):
    with Submission.load(sandbox, [SourceCell("cell 1", HONEST[what])]) as submission:
        assert submission.cell_errors == [] and submission.work() is True
