"""Copies are found, however they were dressed up; answers that were written independently are not."""

import ast
import os
import re
import subprocess
import sys

from autograder import answers, curriculum
from autograder.classroom import similar
from autograder.cli import main

from .conftest import MODULE, put

COURSE = curriculum.load(MODULE)
WORK = {exercise.name: exercise.solution for exercise in COURSE.exercises}


def renamed(source):
    """With other names for all local variables, other strings and comments, in another layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            mine = node.id
            for other in ast.walk(tree):
                if isinstance(other, ast.Name) and other.id == mine:
                    other.id = f"{mine}_of_mine"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = "Something else."
    return "# my own work\n" + ast.unparse(tree).replace("\n    ", "\n\n        ")


def in_another_style(name):
    """A right answer of the gallery that is no edit of the reference; None where there is none."""
    return next((answer.source for answer in answers.load(MODULE).right(name) if not answer.edit), None)


def found(**codes):
    return {pair.students: pair for pair in similar.pairs(codes, COURSE)}


def test_copies_are_found_however_they_are_dressed_up():
    code = "\n\n".join(WORK.values())
    backwards = "\n\n".join(reversed(WORK.values()))
    for copy in (code, renamed(code), backwards, re.sub(r"  +#.*", "", code).replace("    ", "  ")):
        ((students, pair),) = found(ada=code, ben=copy).items()
        assert students == ("ada", "ben") and pair.share > 0.75
        for text, passages in zip(pair.codes, pair.passages, strict=True):
            assert sum(end - start for start, end in passages) > 0.3 * len(text)


def test_every_process_finds_the_same():
    """Python hashes text in another way in each process."""
    code = "\n\n".join(WORK.values())
    ask = (
        "import sys; from autograder import curriculum; from autograder.classroom import similar; "
        f"print(similar.pairs(dict(a=sys.argv[1], b=sys.argv[2]), curriculum.load({MODULE!r})))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", ask, code, renamed(code)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1 and b"share=0." in said.pop()


def test_docstrings_are_left_out():
    source = 'def f(x):\n    """One\n    two."""\n    y = """kept"""\n    return x\n\n\nclass A:\n    "Three."\n'
    assert similar.without_docstrings(source) == 'def f(x):\n    y = """kept"""\n    return x\n\n\nclass A:\n'
    assert similar.without_docstrings("def f(:") == "def f(:"


def test_what_was_handed_out_is_nobodys():
    released = "\n\n".join(exercise.released for exercise in COURSE.exercises)
    assert found(ada=released, ben=released) == {}


def test_what_everyone_has_is_nobodys():
    code = "\n\n".join(WORK.values())
    assert len(found(**{f"s{i}": code for i in range(4)})) == 6
    assert found(**{f"s{i}": code for i in range(5)}) == {}


def test_independent_answers_are_left_alone():
    own = [in_another_style(name) for name in WORK]
    assert sum(source is not None for source in own) >= 4
    assert found(ada="\n\n".join(WORK.values()), ben="\n\n".join(filter(None, own))) == {}


def test_the_pieces_of_a_page_are_the_code():
    ((_, pair),) = found(ada="\n\n".join(WORK.values()), ben=renamed("\n\n".join(WORK.values()))).items()
    for code, passages in zip(pair.codes, pair.passages, strict=True):
        pieces = similar.marked(code, passages)
        assert "".join(text for text, _ in pieces) == code and any(shared for _, shared in pieces)
    html = similar.render([pair], COURSE)
    assert "cheat" not in html.lower() and "<script" not in html and "ada and ben" in html


def test_the_command(folder, answer, capsys):
    def lsml():
        status = main(["similar", "01", "-C", str(folder.path)])
        return status, *capsys.readouterr()

    status, out, err = lsml()
    assert (status, out) == (2, "") and "fewer than two" in err
    for student, change in (("ada", str), ("ben", renamed)):
        notebook = answer()
        for cell in notebook.cells:
            if cell.metadata.lsml.role == "exercise":
                cell.source = change(WORK[cell.metadata.lsml.name])
        put(folder, student, notebook)
    put(folder, "cyd", answer("passed"))
    put(folder, "dan", b"no notebook")
    status, out, _ = lsml()
    page = folder.path / "similar" / f"{MODULE}.html"
    assert status == 0 and "ada" in out and "ben" in out and "cyd" not in out and str(page) in out
    assert page.stat().st_mode & 0o077 == 0 and "<mark>" in page.read_text()
