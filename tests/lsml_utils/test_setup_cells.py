"""Every module's setup cell, where lsml_utils is missing (Colab, a bare laptop), says in one line what to do."""

import subprocess
import sys
from pathlib import Path

import pytest

MODULES = sorted((Path(__file__).parents[2] / "solutions").glob("*/notebook.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.parent.name)
def test_the_setup_cell_says_how_to_install(path):
    after = path.read_text(encoding="utf-8").partition('# %% tags=["setup"]\n')[2]
    cell = after.partition("\n# %%")[0]
    missing = "import sys; sys.modules['lsml_utils'] = None\n"
    done = subprocess.run([sys.executable, "-c", missing + cell], capture_output=True, text=True, timeout=60)
    *_, message = done.stderr.splitlines()
    assert done.returncode == 1 and "lsml_utils" in message and ("run" in message or "install" in message)
    assert len(done.stderr.splitlines()) <= 4
