"""A class graded for real, with an attacker in it who knows every path: nothing of the others reaches what he gets.

Canaries stand in another student's notebook, in the gradebook (a comment), and in the class's secret.
"""

import copy

import nbformat
import pytest

from autograder import curriculum
from autograder.authoring.release import released_notebook, solved_notebook
from autograder.classroom import feedback
from autograder.classroom.autograde import autograde, plan
from autograder.classroom.engine import LocalEngine
from autograder.classroom.folder import ClassFolder
from autograder.classroom.release import release

from .conftest import CANARY

MODULE = "01_gradient_descent"
LOOT = """
import glob, os, socket, sys
def loot():
    found = [repr(dict(os.environ)), repr(os.listdir("/proc")), repr(sys.argv)]
    for path in {paths!r} + glob.glob("/proc/*/environ") + glob.glob("/tmp/**", recursive=True):
        try:
            found.append(open(path, "rb").read(1 << 16).decode("latin-1"))
        except OSError as error:
            found.append(type(error).__name__)
        try:
            open(path + ".owned", "w").write("owned")
        except OSError:
            pass
    return " ".join(found)
"""


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The class folder after autograde and feedback."""
    folder = ClassFolder.new(tmp_path_factory.mktemp("class") / "class")
    release(folder, MODULE)
    module = curriculum.load(MODULE)
    alice = solved_notebook(module)
    alice.cells[0].source += f"\n\n{CANARY}-alice"
    alice.cells.append(nbformat.v4.new_code_cell(f"note = '{CANARY}-alice'"))
    bob = copy.deepcopy(released_notebook(module))
    paths = [str(folder.path / "gradebook.db"), str(folder.submission("alice", MODULE)), str(folder.private / "secret")]
    paths += [str(path) for path in (curriculum.ROOT / "solutions").glob("*/*.py")]
    for cell in bob.cells:
        if cell.metadata.lsml.role == "exercise":
            name = cell.metadata.lsml.name
            cell.source = LOOT.format(paths=paths) + f"def {name}(*args, **kwargs):\n    raise ValueError(loot())"
    for student, notebook in (("alice", alice), ("bob", bob)):
        path = folder.submission(student, MODULE)
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)
    planned = plan(folder, [MODULE], None)
    with folder.lock(), LocalEngine() as engine:
        summary = autograde(folder, planned, engine)
    assert summary.faults == 0
    with folder.gradebook() as book:
        cell = book.find_submission_notebook(MODULE, MODULE, "alice")
        cell.comments[0].manual_comment = f"{CANARY}-gradebook"
        book.db.commit()
    feedback.generate(folder, MODULE)
    return folder


def written_for(folder, student):
    """Every file that a student, or somebody who looks at the student's work, is given."""
    for place in ("autograded", "feedback"):
        for path in (folder.path / place / student).rglob("*"):
            if path.is_file():
                yield path, path.read_bytes()


def test_the_attacker_gets_nothing_of_the_others(graded):
    files = list(written_for(graded, "bob"))
    assert len(files) >= 2
    for path, content in files:
        assert CANARY.encode() not in content, path
        assert graded.secret.encode() not in content, path


def test_the_attacker_gets_no_points_and_leaves_nothing(graded):
    with graded.gradebook() as book:
        assert book.find_submission(MODULE, "bob").score == 0
        assert book.find_submission(MODULE, "alice").score > 0
    assert list(graded.path.rglob("*.owned")) == []
    assert list((curriculum.ROOT / "solutions").rglob("*.owned")) == []


def test_the_search_would_find_a_canary_where_one_belongs(graded):
    assert any(CANARY.encode() in content for _, content in written_for(graded, "alice"))
