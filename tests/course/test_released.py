"""What students receive is what solutions/ makes, tells no answer, and stops where their work begins."""

import ast
import re

import nbclient
import nbformat
import pytest

from autograder.authoring.build import course_path, differences, strays


@pytest.fixture
def released(module):
    return nbformat.read(course_path(module.name), as_version=nbformat.NO_CONVERT)


def test_is_up_to_date(module):
    assert differences([module.name]) == [], "run `lsml build` and commit course/"


def test_nothing_else_stands_in_course():
    assert strays() == []


def test_any_editor_reads_it(module, released):
    """Valid nbformat 4.5 with unique ids, which JupyterLab, VS Code and Colab all open without a conversion."""
    nbformat.validate(released)
    assert (released.nbformat, released.nbformat_minor) == (4, 5)
    assert len({cell.id for cell in released.cells}) == len(released.cells)
    assert released.metadata.language_info.name == "python"


def test_holds_no_solution_and_no_output(module, released):
    text = nbformat.writes(released)
    for marker in ("SOLUTION", "BEGIN BUG", "END BUG", "HIDDEN TESTS"):
        assert marker not in text
    cells = {cell.id: cell for cell in released.cells}
    for exercise in module.exercises:
        secret = set(lines(exercise.solution)) - set(lines(exercise.released))
        assert secret, f"nothing of {exercise.name} was left to write"
        assert not secret & set(lines(cells[exercise.name].source)), f"{exercise.name} is released with its answer"
    for cell in released.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


def lines(source: str) -> list[str]:
    """The lines of the code alone, however they were commented or spaced."""
    return [line for line in ast.unparse(ast.parse(source)).split("\n") if line.strip()]


def test_the_setup_imports_no_peer_that_only_demo_cells_use(module):
    """Grading runs the setup cell, in the grader's process and in the sandbox, and no demo cell."""
    setup = next(ast.parse(cell.source) for cell in module.cells if cell.role == "setup")
    others = [ast.parse(cell.source) for cell in module.cells if cell.role in ("exercise", "check")]
    used = {node.id for tree in [setup, *others] for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for library in ("scipy", "sklearn"):
        imported = set()
        for node in ast.walk(setup):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [(getattr(node, "module", None) or one.name, one.asname or one.name) for one in node.names]
                imported |= {name.split(".")[0] for source, name in names if source.split(".")[0] == library}
        assert not imported or imported & used, f"{library}: a demo cell may import it"


def test_untouched_it_runs_to_its_first_exercise_and_says_so(module, released, execute, monkeypatch):
    monkeypatch.setenv("LSML_DEMO", "small")
    first = module.exercises[0]
    with pytest.raises(nbclient.exceptions.CellExecutionError):
        execute(released, seconds_a_cell=60)
    ran = [cell for cell in released.cells if cell.cell_type == "code" and cell.execution_count]
    assert ran[-1].id == f"check_{first.name}", "the first cell that fails is the check of the first exercise"
    (error,) = [output for output in ran[-1].outputs if output.output_type == "error"]
    assert error.ename == "Unanswered"
    asked = {node.name for node in ast.parse(first.solution).body if hasattr(node, "name")}  # a cell may ask for two
    missing, _, how = error.evalue.partition(" has no answer yet: ")
    assert missing in asked and how.startswith("write it in the cell above")
    assert len(error.traceback) == 1, "one line, no traceback"


def test_every_exercise_has_hidden_tests_that_point_at_hints_it_has(module):
    path = module.files.hidden_tests
    marks = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.exercise"
    ]
    assert {mark.args[0].value for mark in marks} == {exercise.name for exercise in module.exercises}
    for mark in marks:
        for hint in (ast.literal_eval(keyword.value) for keyword in mark.keywords if keyword.arg == "hint"):
            assert hint is None or 1 <= hint <= module.exercise(mark.args[0].value).hints


def test_its_hints_are_folded_and_numbered(module):
    for cell in module.cells:
        if cell.role == "hints":
            assert cell.source.count("<details") == cell.source.count("</details>")
            numbers = re.findall(r"<summary>\s*Hint (\d)", cell.source)
            assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
            assert len(numbers) == module.exercise(cell.name).hints
