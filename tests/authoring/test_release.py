"""From an authored module to notebooks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbgrader.apps import NbGraderAPI
from nbgrader.utils import compute_checksum, is_grade, is_solution
from traitlets.config import Config

from autograder import curriculum
from autograder.authoring.build import build, course_path, differences, released_text, strays
from autograder.authoring.preprocessors import RELEASE_STEPS
from autograder.authoring.release import released_notebook, solved_notebook, source_notebook

from .conftest import NAME, TEXT, with_module


def by_id(notebook) -> dict:
    return {cell.id: cell for cell in notebook.cells}


def test_is_what_nbgrader_itself_releases(module, tmp_path, monkeypatch):
    """`nbgrader generate_assignment` in a class folder, gradebook and all, gives the same bytes."""
    course = tmp_path / "class"
    source = course / "source" / NAME / f"{NAME}.ipynb"
    source.parent.mkdir(parents=True)
    nbformat.write(source_notebook(module), source)
    config = Config()
    config.CourseDirectory.root = str(course)
    config.CourseDirectory.db_url = f"sqlite:///{tmp_path}/gradebook.db"
    config.GenerateAssignment.preprocessors = RELEASE_STEPS
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # nbgrader calls `alembic`
    result = NbGraderAPI(config=config).generate_assignment(NAME)
    assert result["success"], result["log"]
    released = (course / "release" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8")
    assert released.rstrip("\n") == released_text(NAME, tmp_path).rstrip("\n")


def test_holds_no_solution_and_the_reference_text_of_stub_and_bug(module):
    notebook = released_notebook(module)
    text = nbformat.writes(notebook)
    for secret in (
        "SOLUTION",
        "BUG",
        "result += value",
        "total(x) / len(x)",
        "self.n",
        "Because.",
        "RUBRIC",
        "*cause*",
        "example",
    ):
        assert secret not in text
    for exercise in module.exercises:
        assert by_id(notebook)[exercise.name].source == exercise.released
    assert by_id(notebook)["why_sum"].source == "Why?\n\nYOUR ANSWER HERE"


def test_every_cell_is_known_by_its_metadata_as_well_as_by_its_id(module):
    notebook = released_notebook(module)
    assert notebook.metadata.lsml == {"module": NAME}
    assert notebook.metadata.kernelspec.name == "python3"
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    for cell, authored in zip(notebook.cells, module.cells, strict=True):
        assert cell.id == authored.id
        assert cell.metadata.lsml == {"role": authored.role, "name": authored.name or authored.id}
        if "nbgrader" in cell.metadata:
            assert cell.metadata.nbgrader.grade_id == authored.id


def test_points_and_locks(module):
    cells = by_id(released_notebook(module))
    points = {name: cell.metadata.nbgrader.points for name, cell in cells.items() if is_grade(cell)}
    assert points == {"check_total": 2, "check_Counter": 0, "check_mean": 4, "why_sum": 3}
    assert {name for name, cell in cells.items() if is_solution(cell)} == {"total", "Counter", "mean", "why_sum"}
    fixed = {name.split("-")[0] for name, cell in cells.items() if cell.metadata.get("editable") is False}
    assert fixed == {"setup", "check_total", "check_Counter", "check_mean"}
    for cell in cells.values():
        if "nbgrader" in cell.metadata:
            assert cell.metadata.nbgrader.checksum == compute_checksum(cell)


def test_the_solved_notebook_differs_in_its_answers_alone(module):
    released, solved = by_id(released_notebook(module)), by_id(solved_notebook(module))
    changed = {name for name in released if released[name] != solved[name]}
    assert changed == {"total", "Counter", "mean", "why_sum"}
    assert solved["mean"].source == module.exercise("mean").solution
    assert solved["why_sum"].source == "Why?\n\nBecause."
    for marker in ("SOLUTION", "RUBRIC"):
        assert marker not in nbformat.writes(solved_notebook(module))


def test_the_same_bytes_in_another_process(checkout):
    """No id, order or hash depends on the run."""
    code = (
        "import sys; from pathlib import Path; from autograder.authoring.build import released_text; "
        f"sys.stdout.buffer.write(released_text({NAME!r}, Path(sys.argv[1])).encode())"
    )
    command = [sys.executable, "-c", code, str(checkout)]
    first, second = (
        subprocess.run(command, capture_output=True, check=True, env={"PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    )
    assert first == second == released_text(NAME, checkout).encode()


def test_build_writes_once(checkout):
    path = course_path(NAME, checkout)
    assert build([NAME], checkout) == [(path, True)]
    nbformat.validate(nbformat.read(path, as_version=4))
    before = path.stat().st_mtime_ns
    assert build([NAME], checkout) == [(path, False)]
    assert path.stat().st_mtime_ns == before
    assert differences([NAME], checkout) == []
    assert strays(checkout) == []


def bent(notebook: dict, how: str) -> None:
    cells = {cell["id"]: cell for cell in notebook["cells"]}
    if how == "source":
        cells["total"]["source"][0] = "def other():\n"
    elif how == "points":
        cells["check_total"]["metadata"]["nbgrader"]["points"] = 3
    elif how == "output":
        cells["check_total"]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["x"]}]
    elif how == "deleted":
        notebook["cells"].remove(cells["hints_total"])
    elif how == "added":
        notebook["cells"].append({**cells["hints_total"], "id": "mine"})
    elif how == "order":
        notebook["cells"].reverse()
    elif how == "twice":
        notebook["cells"].append(cells["total"])
    elif how == "kernel":
        notebook["metadata"]["kernelspec"]["name"] = "other"
    else:
        raise ValueError(how)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("source", "cell total differs in its source"),
        ("points", "cell check_total differs in its metadata"),
        ("output", "cell check_total differs in its outputs"),
        ("deleted", "cell hints_total is missing"),
        ("added", "cell mine has no source in solutions/"),
        ("order", "its cells stand in another order, or twice"),
        ("twice", "its cells stand in another order, or twice"),
        ("kernel", "the notebook's own metadata differs"),
    ],
)
def test_check_names_file_and_cell(checkout, how, said):
    build([NAME], checkout)
    path = course_path(NAME, checkout)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    bent(notebook, how)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert differences([NAME], checkout) == [f"course/{NAME}/{NAME}.ipynb: {said}"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "missing"),
        (b"", "is not a notebook"),
        (b"[]", "is not a notebook"),
        (b'{"cells": [1]}', "is not a notebook"),
        (b"\xff", "is not a notebook"),
    ],
)
def test_check_of_a_file_that_is_no_notebook(checkout, content, said):
    build([NAME], checkout)
    path = course_path(NAME, checkout)
    path.unlink() if content is None else path.write_bytes(content)
    assert differences([NAME], checkout) == [f"course/{NAME}/{NAME}.ipynb: {said}"]


def test_check_sees_what_json_does_not(checkout):
    build([NAME], checkout)
    path = course_path(NAME, checkout)
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert differences([NAME], checkout) == [
        f"course/{NAME}/{NAME}.ipynb: differs in its white space or its order of keys"
    ]


def test_check_names_folders_that_nothing_makes(checkout):
    build([NAME], checkout)
    (checkout / "course" / "09_old").mkdir()
    assert strays(checkout) == ["course/09_old: no solutions/09_old/ makes this"]


def test_one_malformed_module_keeps_all_from_being_written(checkout):
    with_module(checkout, TEXT.replace("points=2", "points=9"), "02_more")
    with pytest.raises(curriculum.UserError, match=r"^solutions/02_more/notebook\.py:17: points must be"):
        build([NAME, "02_more"], checkout)
    assert not (checkout / "course").exists()
