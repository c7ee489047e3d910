"""The zip for people without make or git: what is in it, what is not, and that its two commands work."""

import gzip
import json
import os
import re
import subprocess
import sys
import zipfile

import pytest

from autograder import curriculum
from autograder.authoring import bundle
from autograder.cli import main


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The whole course, unpacked."""
    folder = tmp_path_factory.mktemp("bundle")
    bundle.make(folder / "course.zip", curriculum.names())
    with zipfile.ZipFile(folder / "course.zip") as made:
        made.extractall(folder)
    return folder / bundle.FOLDER


def text_of(path):
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def test_it_holds_what_a_student_needs(unpacked):
    for name in curriculum.names():
        notebook = unpacked / "notebooks" / name / f"{name}.ipynb"
        assert notebook.read_bytes() == (curriculum.ROOT / "course" / name / notebook.name).read_bytes()
    assert (unpacked / "lsml_utils" / "checking" / "__init__.py").is_file()
    assert {"README.md", "install.py", "lab.py", "requirements.txt", "environment.yml", "LICENSE"} <= {
        path.name for path in unpacked.iterdir()
    }
    needed = {re.match(r"[\w-]+", line)[0] for line in (unpacked / "requirements.txt").read_text().splitlines()}
    assert {"numpy", "torch", "scikit-learn", "matplotlib", "jupyterlab", "distributed"} <= needed
    assert not {"nbgrader", "pytest", "copydetect"} & needed


def test_nothing_of_a_solution_is_in_it(unpacked):
    """Each line of a solution, a model answer or a rubric that stands in no released cell is a canary."""
    everything = {path: text_of(path) for path in unpacked.rglob("*") if path.is_file()}
    assert not any(re.search(r"hidden_tests|answers|solutions", path.name) for path in everything)
    course = "\n".join(everything.values())
    for word in ("### BEGIN SOLUTION", curriculum.RUBRIC, "pytest.mark.exercise", "from autograder"):
        assert word not in course
    sources = []
    for name in curriculum.names():
        text = json.loads((curriculum.ROOT / "course" / name / f"{name}.ipynb").read_bytes())
        sources += ["".join(cell["source"]) for cell in text["cells"]]
    released = "\n".join(sources)  # what one module asks for, another may give
    modules = [curriculum.load(name) for name in curriculum.names()]
    questions = [question for module in modules for question in module.questions]
    texts = [exercise.solution for module in modules for exercise in module.exercises]
    texts += [question.answer for question in questions]
    texts += [line.text for question in questions for line in question.rubric]
    lines = {line.strip() for text in texts for line in text.splitlines()}
    assert questions and all(question.rubric for question in questions)
    canaries = {line for line in lines if len(line) > 30 and line not in released}
    assert len(canaries) > 500
    for line in canaries:
        assert json.dumps(line)[1:-1] not in course and line not in course


def test_what_editors_and_python_leave_behind_stays_out(monkeypatch, tmp_path):
    for name in ("a.py", "__pycache__/a.pyc", ".hidden", ".ipynb_checkpoints/a.ipynb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.setattr(bundle, "TEMPLATES", tmp_path)
    names = [name for name, _ in bundle.contents([])]
    assert "a.py" in names and not {"a.pyc", ".hidden", "a.ipynb"} & set(names)


def test_the_same_course_makes_the_same_zip(tmp_path):
    one, other = tmp_path / "one.zip", tmp_path / "other.zip"
    assert bundle.make(one, ["00_orientation"]) == bundle.make(other, ["00_orientation"])
    assert one.read_bytes() == other.read_bytes()


def test_the_command_needs_no_class(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["release", "--bundle", "c.zip", "01", "02"]) == 0
    assert "no solutions and no hidden tests" in capsys.readouterr().out
    names = zipfile.ZipFile("c.zip").namelist()
    assert [name for name in names if name.endswith(".ipynb")] == [
        f"lsml/notebooks/{name}/{name}.ipynb" for name in ("01_gradient_descent", "02_sgd")
    ]
    assert main(["release", "--bundle", "c.zip", "77"]) == 2


def test_lab_without_install_says_so(unpacked):
    done = subprocess.run([sys.executable, unpacked / "lab.py"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "first: python install.py\n"


@pytest.mark.slow
def test_two_commands_set_it_up(unpacked):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([sys.executable, unpacked / "install.py"], check=True, env=environment)
    version = subprocess.run(
        [sys.executable, unpacked / "lab.py", "--version"], check=True, env=environment, capture_output=True, text=True
    )
    assert re.match(r"\d+\.\d+", version.stdout)
    module = curriculum.load("00_orientation")
    python = unpacked / ".venv" / "bin" / "python"
    subprocess.run(
        [python, "-c", "\n".join(module.setup)], check=True, cwd=unpacked / "notebooks" / module.name, env=environment
    )
