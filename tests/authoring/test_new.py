"""`lsml new`: the skeleton is a module like any other."""

import ast
import subprocess
import sys

import nbclient
import pytest

from autograder import curriculum
from autograder.authoring.build import build, differences
from autograder.authoring.new import create
from autograder.authoring.release import solved_notebook
from autograder.authoring.rules import problems
from autograder.errors import UserError

NAME = "27_bandits"


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "solutions").mkdir()
    create(NAME, "Bandits: explore, exploit", tmp_path)
    return tmp_path


def test_builds_and_keeps_every_rule(checkout):
    module = curriculum.load(NAME, checkout)
    assert module.title == "27 Bandits: explore, exploit"
    assert problems(module) == []
    build([NAME], checkout)
    assert differences([NAME], checkout) == []


def test_shows_every_role_and_a_bug(checkout):
    module = curriculum.load(NAME, checkout)
    assert {cell.role for cell in module.cells} == set(curriculum.ROLES)
    assert any(exercise.bug for exercise in module.exercises)
    assert any(exercise.forbids for exercise in module.exercises)


def test_every_exercise_has_hidden_tests_and_answers(checkout):
    names = {exercise.name for exercise in curriculum.load(NAME, checkout).exercises}
    for path, decorators in [
        (checkout / "solutions/27_bandits/hidden_tests.py", {"exercise"}),
        (checkout / "solutions/27_bandits/answers.py", {"wrong"}),
        (checkout / "solutions/27_bandits/answers.py", {"right"}),
    ]:
        text = path.read_text(encoding="utf-8")
        assert "NN_topic" not in text
        calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        assert names == {
            call.args[0].value for call in calls if ast.unparse(call.func).split(".")[-1] in decorators and call.args
        }


def test_its_notebook_runs(checkout, monkeypatch):
    monkeypatch.setenv("LSML_DEMO", "small")
    notebook = solved_notebook(curriculum.load(NAME, checkout))
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()


def test_keeps_to_the_style_of_the_house(checkout):
    """An author starts from files that `ruff` leaves as they are."""
    files = [checkout / "solutions"]
    config = str(curriculum.ROOT / "pyproject.toml")
    for command in (["check"], ["format", "--check"]):
        run = [sys.executable, "-m", "ruff", *command, "--config", config, *map(str, files)]
        done = subprocess.run(run, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["bandits", "7_bandits", "27-bandits", "27_Bandits", "27_", "../27_x", "27_x/y", ""])
def test_a_name_that_no_module_can_have(tmp_path, name):
    with pytest.raises(UserError, match="cannot name a module"):
        create(name, "Bandits", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("title", ["", "  ", "two\nlines"])
def test_a_title_that_is_none(tmp_path, title):
    with pytest.raises(UserError, match="the title must be one line"):
        create(NAME, title, tmp_path)


def test_never_over_what_is_there(checkout):
    with pytest.raises(UserError, match="the number 27 belongs to 27_bandits"):
        create("27_other", "Other", checkout)
    left = checkout / "solutions" / "28_more" / "answers.py"
    left.parent.mkdir()
    left.write_text("mine")
    with pytest.raises(UserError, match=r"solutions/28_more/answers\.py is there already"):
        create("28_more", "More", checkout)
    assert left.read_text() == "mine"
    assert curriculum.names(checkout) == [NAME]
