"""Take one layer away and its attack succeeds: so the attack tests would notice if the layer were gone.

Each test starts a sandbox from a copy of one of its files in which one line is changed.
"""

import contextlib

import pytest

from autograder.sandbox import SandboxFault, bubblewrap
from autograder.sandbox.box import Sandbox
from autograder.submission import SourceCell, StudentError, StudentMemory, Submission, SubmissionError

from .conftest import LIMITS


@pytest.fixture
def without(monkeypatch, tmp_path):
    """A sandbox in which `line` of `file` reads otherwise."""
    boxes = []

    def without(file, line, instead="pass"):
        source = bubblewrap.FILES[file].read_text()
        assert source.count(line) == 1, f"{line!r} is not in {file} once"
        (tmp_path / file).write_text(source.replace(line, instead))
        tmp_path.chmod(0o755)
        monkeypatch.setitem(bubblewrap.FILES, file, tmp_path / file)
        boxes.append(Sandbox("bubblewrap", LIMITS))
        return boxes[-1]

    yield without
    for box in boxes:
        box.close()


def carry_out(sandbox, source):
    with Submission.load(sandbox, [SourceCell("cell 1", source)]) as submission:
        assert submission.cell_errors == []
        return submission.attack()


CTYPES = "import ctypes, os, socket\nlibc = ctypes.CDLL(None)\n"
SINGLE = {
    "the seccomp filter, memfd": (
        ("confine.py", "seccomp.install(libc)"),
        CTYPES + "def attack(): return libc.memfd_create(b'x', 0) >= 0",
    ),
    "the seccomp filter, namespaces": (
        ("confine.py", "seccomp.install(libc)"),
        CTYPES + "def attack(): return libc.unshare(0x10000000) == 0",
    ),
    "the seccomp filter, network families": (
        ("confine.py", "seccomp.install(libc)"),
        CTYPES + "def attack(): return socket.socket(socket.AF_INET).fileno() > 3",
    ),
    "the limit of inodes": (
        ("confine.py", ",nr_inodes={limits['files']}", ""),
        "def attack():\n    for i in range(1000): open(f'/tmp/{i}', 'w').close()\n    return True",
    ),
    "the limit of processes": (
        ("confine.py", '"RLIMIT_NPROC": limits["processes"],', '"RLIMIT_NPROC": 500,'),
        "import os, time\ndef attack():\n    [os.fork() or time.sleep(60) for _ in range(60)]\n    return True",
    ),
    "the pid namespace": (
        ("server.py", "confine.fork_into_new_pids() if self.boxed else os.fork()", "os.fork()"),
        "import os\ndef attack(): return os.getpid() > 1 and len([p for p in os.listdir('/proc') if p.isdigit()]) > 1",
    ),
    "closing descriptors": (
        ("server.py", "os.closerange(4, 4096)"),
        "import os\ndef attack(): return len(os.listdir('/proc/self/fd')) > 5",
    ),
    "dropping capabilities": (
        ("confine.py", "    drop_capabilities()\n", "    pass\n"),
        "def attack(): return 'CapEff:\\t0000000000000000' not in open('/proc/self/status').read()",
    ),
    "the scratch folder": (
        ("confine.py", "    _scratch(limits, keep)\n", "    pass\n"),
        "import os\ndef attack(): return os.statvfs('/tmp').f_blocks * os.statvfs('/tmp').f_frsize > 20 << 20",
    ),
    "swallowed output": (
        ("server.py", "os.dup2(null, descriptor)"),
        "import os\ndef attack(): return os.readlink('/proc/self/fd/2') != '/dev/null'",
    ),
}


@pytest.mark.parametrize("layer", SINGLE)
def test_without_the_layer_the_attack_succeeds(without, layer):
    change, source = SINGLE[layer]
    assert carry_out(without(*change), source) is True


HOARD = """
import os, time
def attack():
    for _ in range(10):
        if os.fork() == 0:
            keep = bytearray(b"x") * (40 << 20)
            open(f"/tmp/{os.getpid()}", "w").close()
            time.sleep(60)
    while len(os.listdir("/tmp")) < 10: time.sleep(0.01)
    return True
"""


def test_without_the_watch_the_memory_of_many_is_unbounded(without, sandbox):
    with pytest.raises(StudentMemory):
        carry_out(sandbox, HOARD)
    assert carry_out(without("server.py", "if used > child.limit_kb:", "if False:"), HOARD) is True


HIDING = """
import mmap
def attack():
    keep = mmap.mmap(-1, 400 << 20)
    for at in range(0, len(keep), 1 << 20):
        keep[at : at + (1 << 20)] = bytes(1 << 20)
        keep.madvise(mmap.MADV_DONTNEED, at, 1 << 20)
    return True
"""


def test_without_the_rule_for_shared_memory_it_grows_where_the_watch_cannot_see_it(without, sandbox):
    with pytest.raises(StudentError, match="not permitted"):
        carry_out(sandbox, HIDING)
    rule = "MMAP, SHARED_ANONYMOUS = (9, 222), 0x01 | 0x20"
    assert carry_out(without("seccomp.py", rule, "MMAP, SHARED_ANONYMOUS = (9, 222), 1 << 31"), HIDING) is True


KILL = "import os, signal\ndef attack():\n    os.kill(0, signal.SIGKILL)\n    return True"


def test_without_a_session_of_its_own_a_signal_reaches_the_server(without):
    box = without("confine.py", "os.setsid()  # kill(0) reaches the process group, in whatever namespace it is")
    server = box._process
    with contextlib.suppress(SandboxFault, SubmissionError):  # process 1 itself may live for a moment longer
        carry_out(box, KILL)
    assert server.wait(timeout=10) != 0
