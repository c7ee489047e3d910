"""Windows and macOS grade one's own work with `--sandbox none`: here without what Windows lacks."""

import json
import os
import subprocess
import sys

import nbformat
import pytest

from autograder import curriculum
from autograder.authoring.release import solved_notebook

# Read by every interpreter that the command starts, before anything else. What others use on
# Linux has to stay: os.register_at_fork (torch), os.uname (numpy), os.getuid (platformdirs), SIGKILL (subprocess).
WITHOUT_UNIX = """
import os, signal, socket, sys

for module in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[module] = None
for name in (
    "O_NOFOLLOW O_NONBLOCK O_CLOEXEC O_DIRECTORY geteuid getegid fork forkpty setsid killpg getpgid "
    "getloadavg sched_getaffinity sched_setaffinity fchmod mkfifo statvfs"
).split():
    delattr(os, name)
for name in ("SIGALRM", "SIGHUP", "SIGUSR1"):
    delattr(signal, name)
del socket.AF_UNIX
"""


@pytest.fixture
def windows(tmp_path):
    """Run `lsml` where these names do not exist."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_UNIX)

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "autograder.cli", *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(curriculum.ROOT)])},
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.parametrize(
    "name",
    ["00_orientation", pytest.param("01_gradient_descent", marks=pytest.mark.slow)],  # a process an exercise
)
def test_ones_own_work_is_graded(windows, tmp_path, name):
    module, path = curriculum.load(name), tmp_path / f"{name}.ipynb"
    nbformat.write(solved_notebook(module), path)
    graded = windows("grade", "--sandbox", "none", "--json", str(path))
    assert graded.returncode == 0, graded.stderr
    report = json.loads(graded.stdout)
    assert (report["score"], report["status"]) == (module.max_score, "graded"), report["notes"]


@pytest.mark.parametrize("command", [["--help"], ["grade", "no_such.ipynb"], ["build", "--help"]])
def test_commands_start(windows, command):
    done = windows(*command)
    assert done.returncode == (2 if "grade" in command else 0), done.stderr
    assert "Traceback" not in done.stderr
