"""What `make test` promises of itself: a hang ends, and only the project's own files are looked at."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HANG = """
import threading

def test_that_never_ends():
    threading.Event().wait()

def test_that_ends():
    pass
"""


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_a_hang_ends_with_the_stacks_of_all_threads(tmp_path, workers):
    (tmp_path / "test_hang.py").write_text(HANG)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    options = ["-o", "faulthandler_timeout=2", "-p", "no:cacheprovider", *workers, "test_hang.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    assert "in test_that_never_ends" in done.stderr
    if workers:
        assert "1 failed, 1 passed" in done.stdout, "another worker goes on"


def test_ruff_looks_at_the_projects_own_files_only(tmp_path):
    """A class folder or a solved notebook in the checkout must not turn `make test` red."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in ("autograder/ours.py", "myclass/submitted/ada/theirs.py", "mine.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("import os, sys\n")
    cell = '{"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": null, "source": ["import os"]}'
    for name in ("solved.ipynb", "myclass/release/01.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f'{{"cells": [{cell}], "metadata": {{}}, "nbformat": 4, "nbformat_minor": 5}}')
    ruff = [sys.executable, "-m", "ruff", "check", ".", "--no-cache", "--output-format=concise"]
    done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False)
    complaints = {line.split(":")[0] for line in done.stdout.splitlines() if ".py:" in line or ".ipynb:" in line}
    assert complaints == {str(Path("autograder/ours.py"))}


def test_ruff_looks_at_every_file_of_the_project():
    ruff = [sys.executable, "-m", "ruff", "check", ".", "--show-files"]
    seen = subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    files = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {str(ROOT / name) for name in files.split() if (ROOT / name).exists()} <= set(seen)


PYTHON = """#!/bin/bash
[ "$1" != --version ] || { echo Python 3.99; exit; }
mkdir -p .venv/bin
printf '#!/bin/bash\necho "Collecting torch ($*)"\n' > .venv/bin/pip
chmod +x .venv/bin/pip
"""


def test_set_up_shows_what_is_being_done(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "scripts").mkdir()
    for name, text in {"python": PYTHON, "scripts/system_packages.sh": "#!/bin/bash\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["make", "setup", "PYTHON=./python"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},  # as from a shell
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[0] == "making .venv with Python 3.99", done.stderr
    assert lines[2].startswith("Collecting torch") and "-q" not in lines[2].split()


@pytest.mark.skipif(sys.platform != "linux", reason="it installs on Linux only")
@pytest.mark.parametrize("status", [0, 100])
def test_installing_a_system_package_shows_what_is_being_done(tmp_path, status):
    says = "Reading package lists...\nGet:1 bubblewrap\nUnpacking bubblewrap\nE: at the end\n"
    (tmp_path / "apt-get").write_text(f"#!/bin/bash\nprintf '{says}'\nexit {status}\n")
    (tmp_path / "sudo").write_text('#!/bin/bash\n[ "$1" != -n ] || shift\n"$@"\n')
    for name in ("apt-get", "sudo"):
        (tmp_path / name).chmod(0o755)
    for name in ("bash", "id", "uname", "mktemp", "tee", "grep", "tail", "rm"):
        (tmp_path / name).symlink_to(shutil.which(name))
    script = ROOT / "scripts" / "system_packages.sh"
    done = subprocess.run(
        [script, "bwrap"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False
    )
    shown = done.stdout.splitlines()
    assert done.returncode == 0 and shown[0] == "installing bubblewrap with apt-get"
    assert "Unpacking bubblewrap" in shown and "Reading package lists..." not in shown
    assert any("could not install bubblewrap; run: " in line for line in shown) == (status != 0)
    assert ("E: at the end" in shown) == (status != 0)


def test_a_file_stays_on_one_worker():
    files = "tests/test_architecture.py", "tests/test_packaging.py"
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "-v", *files, "-k", "imports or bound"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    workers = re.findall(r"\[(gw\d)\].* PASSED tests/test_architecture.py", done.stdout)
    assert len(workers) > 5 and len(set(workers)) == 1, done.stdout
