"""Attacks are carried out, in a student's cells, against the real sandbox; nothing here is simulated.

After each of them no process, mount or file may be left behind: `nothing_stays` looks.
"""

import dataclasses
import os
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from autograder.sandbox import Limits, SandboxUnavailable, open_sandbox
from autograder.submission import SourceCell, Submission

LIMITS = Limits(
    cell_seconds=5.0,
    call_seconds=5.0,
    notebook_seconds=30.0,
    memory_mb=128,
    processes=32,
    disk_mb=16,
    files=256,
)
MARK = "lsml-was-here"  # the name of every file that an attack tries to leave
CANARY = "CANARY-7f3a91"  # stands in the grader's process and files; no attack may bring it back


@pytest.fixture(scope="session")
def sandbox():
    try:
        with open_sandbox("bubblewrap", LIMITS) as box:
            yield box
    except SandboxUnavailable as error:
        if sys.platform == "linux":
            raise
        pytest.skip(str(error))


@pytest.fixture
def attack(sandbox):
    """Load an attacker's cells; the submission's functions are the attacks."""
    opened = []

    def attack(*sources, **limits):
        cells = [SourceCell(f"cell {i}", textwrap.dedent(source)) for i, source in enumerate(sources, 1)]
        opened.append(Submission.load(sandbox, cells, dataclasses.replace(LIMITS, **limits)))
        return opened[-1]

    yield attack
    for submission in opened:
        submission.close()


@pytest.fixture
def honest(sandbox):
    """Whether an honest submission still gets its answer, now."""

    def honest():
        with Submission.load(sandbox, [SourceCell("cell 1", "def double(x): return 2 * x")]) as submission:
            return submission.double(21) == 42

    return honest


def traces(sandbox):
    """Processes of the box, mounts that we see, and files with the attackers' mark where they could be."""
    server = psutil.Process(sandbox._process.pid)
    places = [Path.cwd(), Path.home(), Path("/tmp"), Path("/dev/shm"), Path("/var/tmp"), Path(__file__).parent]
    return {
        "processes": sorted(process.pid for process in [server, *server.children(recursive=True)]),
        "mounts": Path("/proc/self/mounts").read_text(),
        "files": [str(path) for place in places if place.is_dir() for path in place.glob(f"*{MARK}*")],
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


@pytest.fixture(autouse=True)
def nothing_stays(request):
    if "sandbox" not in request.fixturenames:
        yield
        return
    box = request.getfixturevalue("sandbox")
    before = traces(box)
    # The attack's submission is closed before this looks again: `attack` is set up after, so torn down earlier.
    yield
    after = traces(box)
    # What an earlier test left to the garbage collector may be gone by now.
    assert after.pop("descriptors") <= before.pop("descriptors")
    assert after == before
