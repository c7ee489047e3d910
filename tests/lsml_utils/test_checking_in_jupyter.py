"""Checks as a notebook shows them: the kernel's own messages, nbgrader's Validate, IPython in a terminal."""

import io
import os
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

SETUP = """
import numpy as np
from lsml_utils import checking
from lsml_utils.checking import check, expect_close
checking.start("00_example", total=2)
"""
ANSWERS = """
def double(x):
    return 3 * x

def halve(x):
    wrong = x[5]
    return wrong / 2

def endless(x):
    while True:
        print("still here")

def stub(x):
    raise NotImplementedError("stub: write your answer here")
"""
CHECKS = {
    "passes": "with check('passes'):\n    expect_close(3.0, 3.0)",
    "double": "with check('double'):\n    expect_close(double(np.ones(2)), 2 * np.ones(2), hint='<i>2</i>')",
    "halve": "with check('halve'):\n    expect_close(halve(np.ones(2)), 2 * np.ones(2))",
    "endless": "with check('endless', seconds=1.0):\n    endless(1.0)",
    "stub": "with check('stub'):\n    expect_close(stub(np.ones(2)), 1.0)",
}


@pytest.fixture(scope="module")
def outputs():
    """{check: its outputs}, all run in one kernel."""
    cells = [new_code_cell(SETUP), new_code_cell(ANSWERS.strip()), *map(new_code_cell, CHECKS.values())]
    notebook = new_notebook(cells=cells)
    NotebookClient(notebook, allow_errors=True, timeout=60, kernel_name="python3").execute()
    assert notebook.cells[0].outputs == [] and notebook.cells[1].outputs == []
    return {name: cell.outputs for name, cell in zip(CHECKS, notebook.cells[2:], strict=True)}


def test_success_is_one_line_on_stdout_and_nothing_else(outputs):
    (only,) = outputs["passes"]
    assert (only.output_type, only.name, only.text) == ("stream", "stdout", "✓ passes passes its check (1 of 2)\n")


def test_failure_is_a_card_and_an_error_of_one_line(outputs):
    card, error = outputs["double"]
    assert card.output_type == "display_data"
    assert "double(np.ones(2))" in card.data["text/html"] and "double(np.ones(2))" in card.data["text/plain"]
    assert "&lt;i&gt;2&lt;/i&gt;" in card.data["text/html"]
    assert error.output_type == "error" and error.ename == "CheckFailed"
    assert "Largest difference" in error.evalue
    # The card has said why: the red line beneath does not say it again.
    assert error.traceback == ["✗ double does not pass its check yet (1 of 2 done)"]


def test_a_loop_and_its_flood_end_in_one_card_and_the_kernel_goes_on(outputs):
    printed = "".join(output.text for output in outputs["endless"] if output.output_type == "stream")
    assert printed.count("the rest is left out") == 1 and len(printed) < 25_000
    card, error = (output for output in outputs["endless"] if output.output_type != "stream")
    assert "endless took too long" in card.data["text/plain"] and "still here" in card.data["text/plain"]
    assert error.ename == "CheckFailed" and outputs["stub"]


def test_the_students_error_shows_the_cell_and_the_line(outputs):
    card, error = outputs["halve"]
    text = card.data["text/plain"]
    assert "halve raised IndexError" in text and "Called      halve(np.ones(2))\n" in text
    assert "Cell In[2], line 5, in halve" in text and "→   5     wrong = x[5]" in text
    assert "lsml_utils" not in text and len(error.traceback) == 1


def test_a_stub_is_one_friendly_line_and_an_error(outputs):
    (error,) = outputs["stub"]
    assert error.output_type == "error"
    assert error.traceback == [
        "stub has no answer yet: write it in the cell above, run that cell, then this one (1 of 2 done)"
    ]


def test_run_all_stops_at_the_first_failure():
    notebook = new_notebook(cells=[new_code_cell(SETUP), new_code_cell(ANSWERS.strip()), new_code_cell(CHECKS["stub"])])
    from nbclient.exceptions import CellExecutionError

    with pytest.raises(CellExecutionError, match="has no answer yet"):
        NotebookClient(notebook, timeout=60, kernel_name="python3").execute()


def test_nbgraders_validate_tells_failure_from_success(tmp_path):
    """What Validate prints for a failed check is our line, and our line only."""
    from nbgrader.validator import Validator

    def validate(*names):
        cells = [new_code_cell(SETUP), new_code_cell(ANSWERS.strip())]
        for name in names:
            cells.append(new_code_cell(CHECKS[name]))
            cells[-1].metadata["nbgrader"] = {
                "grade": True, "solution": False, "locked": True, "task": False,
                "points": 1, "grade_id": f"check_{name}", "schema_version": 3, "cell_type": "code",
            }  # fmt: skip
        notebook = new_notebook(cells=cells)
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, tmp_path / f"{names[0]}.ipynb")
        validator = Validator()
        validator.stream = said = io.StringIO()  # it would be the stdout of the time when nbgrader was imported
        validator.validate_and_print(str(tmp_path / f"{names[0]}.ipynb"))
        return said.getvalue()

    assert "Success" in validate("passes")
    failed = validate("double", "stub")
    assert "VALIDATION FAILED ON 2 CELL" in failed and "✗ double does not pass its check yet" in failed
    assert "Traceback" not in failed and "running.py" not in failed
    assert "stub has no answer yet" in failed


def test_ipython_in_a_terminal_shows_the_text(tmp_path):
    source = "\n".join([SETUP, ANSWERS, CHECKS["double"]])
    (tmp_path / "homework.ipy").write_text(source)
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "IPython", "--colors=NoColor", "--quick", str(tmp_path / "homework.ipy")],
        env={**os.environ, "IPYTHONDIR": str(tmp_path), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    shown = done.stdout + done.stderr
    assert "Called        double(np.ones(2))" in shown and "<div" not in shown and "running.py" not in shown
    assert "✗ double does not pass its check yet (0 of 2 done)" in shown
