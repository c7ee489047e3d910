"""Every module's setup cell finds an lsml_utils that is not installed, and without any says in one line what to do."""

import shutil
import subprocess
import sys

import pytest

from autograder import curriculum

NOT_INSTALLED = (
    "import sys; sys.meta_path = [finder for finder in sys.meta_path if 'editable' not in repr(finder).lower()];"
    "sys.path_hooks = [hook for hook in sys.path_hooks if 'editable' not in repr(hook).lower()]\n"
)


def setup(module: str) -> str:
    return "\n".join(curriculum.load(module).setup)


def how_it_looks(module: str) -> str:
    """The lines of a setup cell that look for lsml_utils, without the names that it imports."""
    before, _, rest = setup(module).partition("try:")
    return before + rest[rest.index("except ModuleNotFoundError") :].partition("from None")[0]


ONE_OF_EACH = {how_it_looks(module): module for module in reversed(curriculum.names())}.values()


@pytest.mark.parametrize("module", ONE_OF_EACH)
def test_with_course_and_lsml_utils_alone_it_finds_lsml_utils(module, tmp_path):
    shutil.copytree(curriculum.ROOT / "lsml_utils", tmp_path / "given" / "lsml_utils")
    folder = tmp_path / "given" / "course" / module
    folder.mkdir(parents=True)
    cell = f"{NOT_INSTALLED}{setup(module)}\nimport lsml_utils; print(lsml_utils.__file__)"
    command = [sys.executable, "-P", "-c", cell]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "given" / "lsml_utils" / "__init__.py")
    elsewhere = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert elsewhere.returncode == 1 and "lsml_utils/ belongs in a folder above this notebook" in elsewhere.stderr


@pytest.mark.parametrize("module", curriculum.names())
def test_the_setup_cell_says_how_to_install(module):
    cell = setup(module)
    missing = "import sys; sys.modules['lsml_utils'] = None\n"
    done = subprocess.run([sys.executable, "-c", missing + cell], capture_output=True, text=True, timeout=60)
    *_, message = done.stderr.splitlines()
    assert done.returncode == 1 and "lsml_utils" in message and ("run" in message or "install" in message)
    assert len(done.stderr.splitlines()) <= 4
