"""While `lsml grade` works: what a terminal shows, what a pipe does not, and what Ctrl-C does at any moment."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import nbformat
import pytest

from autograder import curriculum, interrupts
from autograder.authoring.release import solved_notebook

COMMAND = [sys.executable, "-m", "autograder.cli"]
MODULE = curriculum.load(curriculum.names()[0])


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    path = tmp_path_factory.mktemp("solved") / f"{MODULE.name}.ipynb"
    nbformat.write(solved_notebook(MODULE), path)
    return path


def with_a_terminal(*arguments) -> tuple[str, str]:
    """Run `lsml` with its standard error on a terminal; what it wrote to standard output and to the terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 65_536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not data:
            break
        shown += data
    out = process.communicate()[0].decode()
    os.close(ours)
    assert process.returncode == 0
    return out, shown.decode()


def test_a_terminal_shows_a_line_for_each_exercise(solved):
    out, shown = with_a_terminal("grade", solved)
    names = ["starting the sandbox", *(exercise.name for exercise in MODULE.exercises)]
    places = [shown.find(name) for name in names]
    assert -1 not in places and places == sorted(places)
    assert re.search(r"\d:\d\d:\d\d", shown), "and for how long"
    assert "all right" in out and "\x1b" not in out and "sandbox" not in out


def test_json_shows_nothing_else(solved):
    out, shown = with_a_terminal("grade", "--json", solved)
    assert json.loads(out)["status"] == "graded" and out.count("\n") == 1 and shown == ""


LAST = {"grade": " points", "doctor": "a deadline ends it"}  # what the last line of each says


@pytest.mark.parametrize("command", ["grade", "doctor"])
@pytest.mark.parametrize("steps", [1, 3, 10, 30])
def test_ctrl_c_is_one_line_at_any_moment(solved, command, steps):
    """From the moment on at which Python itself has started, which is no business of ours."""
    started = "import sys; print('started', flush=True); sys.argv[0] = 'lsml'; from autograder.cli import main;"
    arguments = [command, str(solved)] if command == "grade" else [command]
    code = f"{started} sys.exit(main({arguments!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        process.stdout.readline()
        time.sleep(0.06 * steps)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    if LAST[command] in out:  # on a quick machine it was done, and only Python itself had still to end
        return
    assert (process.returncode, err) == (interrupts.INTERRUPTED, interrupts.MESSAGE)


def test_ctrl_c_during_an_import_that_swallows_it(tmp_path):
    """As torch does, here and there: the command must not go on as if nothing had happened."""
    code = (
        "import os, signal\nfrom autograder import interrupts\n"
        "with interrupts.at_once():\n"
        "    try:\n        os.kill(os.getpid(), signal.SIGINT)\n    except BaseException:\n        pass\n"
        "    print('went on')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (interrupts.INTERRUPTED, "", interrupts.MESSAGE)


def test_after_loading_ctrl_c_is_an_exception_again():
    with interrupts.at_once():
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
