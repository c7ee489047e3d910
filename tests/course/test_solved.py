"""With every answer filled in, a module runs top to bottom, and within the curriculum's limits at full size."""

import io
import os
from datetime import datetime

import nbformat
import pytest
from nbformat.v4 import new_code_cell
from nbgrader.validator import Validator

from autograder.authoring.build import course_path
from autograder.authoring.release import solved_notebook

SECONDS_A_CELL = 20
SECONDS_IN_ALL = dict.fromkeys(("10", "11", "12", "13", "17", "19", "20", "23", "26"), 120)  # all other modules: 60
MEMORY_MB = 2048
PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"


def test_runs_top_to_bottom(module, execute, monkeypatch):
    monkeypatch.setenv("LSML_DEMO", "small")
    notebook = solved_notebook(module)
    execute(notebook, seconds_a_cell=120)
    assert_every_check_passes(module, notebook)
    assert_nothing_is_complained_about(notebook)


@pytest.mark.slow
def test_keeps_the_limits_at_full_size(module, execute, monkeypatch):
    """60 s in all (some modules: 120 s), no cell over 20 s, 2 GiB, on two cores without a GPU."""
    monkeypatch.delenv("LSML_DEMO", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    notebook = solved_notebook(module)
    notebook.cells.append(new_code_cell(PEAK))
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:2])
    others = os.getloadavg()[0]
    try:
        execute(notebook, seconds_a_cell=10 * SECONDS_A_CELL)
    finally:
        os.sched_setaffinity(0, allowed)
    assert_every_check_passes(module, notebook)
    assert_nothing_is_complained_about(notebook)
    assert int(notebook.cells[-1].outputs[0].text) <= MEMORY_MB

    seconds = {cell.id: took(cell) for cell in notebook.cells if cell.cell_type == "code"}
    limit = SECONDS_IN_ALL.get(module.name[:2], 60)
    slow = [f"{name} {taken:.0f} s" for name, taken in seconds.items() if taken > SECONDS_A_CELL]
    if sum(seconds.values()) > limit:
        slow.append(f"all cells {sum(seconds.values()):.0f} s")
    if slow and others > 1:
        pytest.skip(f"too slow, on a machine that was busy before (load {others:.1f}): {', '.join(slow)}")
    assert not slow


def took(cell) -> float:
    """Seconds from a cell's start to its end, as nbclient wrote them down."""
    times = cell.metadata.execution
    began, ended = (datetime.fromisoformat(times[what]) for what in ("iopub.execute_input", "shell.execute_reply"))
    return (ended - began).total_seconds()


@pytest.mark.slow
def test_nbgraders_own_validate_button_agrees(module, tmp_path, monkeypatch):
    """Validate shows every visible check failing on the untouched notebook, and none on the solved one."""
    monkeypatch.setenv("LSML_DEMO", "small")
    untouched = validated(nbformat.read(course_path(module.name), as_version=4), tmp_path, monkeypatch)
    questions = sum(cell.role in ("exercise", "written") for cell in module.cells)
    assert f"VALIDATION FAILED ON {questions} CELL(S)" in untouched
    assert "has no answer yet" in untouched
    assert "Success! Your notebook passes all the tests." in validated(solved_notebook(module), tmp_path, monkeypatch)


def validated(notebook, folder, monkeypatch) -> str:
    path = folder / "notebook.ipynb"
    nbformat.write(notebook, path)
    monkeypatch.chdir(folder)
    validator = Validator()
    validator.stream = io.StringIO()
    validator.validate_and_print(str(path))
    return validator.stream.getvalue()


def assert_every_check_passes(module, notebook) -> None:
    cells = {cell.id: cell for cell in notebook.cells}
    number = 0
    for exercise in module.exercises:
        number += exercise.testable
        printed = "".join(output.get("text", "") for output in cells[f"check_{exercise.name}"].outputs)
        if not exercise.testable:
            assert f"– {exercise.name} cannot be checked here: it needs {exercise.needs}" in printed
            continue
        assert f"✓ {exercise.name} passes its check ({number} of {len(module.exercises)})" in printed


def assert_nothing_is_complained_about(notebook) -> None:
    """No warning reaches a student, and nbgrader would score a line on stderr as 0."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", f"{cell.id} writes on stderr: {output.text}"
