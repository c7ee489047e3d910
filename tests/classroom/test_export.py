"""Exports as Canvas and Moodle import them; what is not final stays blank."""

import csv

import pytest

from autograder import cli
from autograder.classroom import roster, status
from autograder.classroom.export import FORMATS

from .conftest import MODULE


@pytest.fixture
def graded(folder, answer, hand_in, grade, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(
        'id,first_name,last_name,email,lms_user_id\nada,Ada,"Adler, de",ada@example.org,11\n'
        "ben,Ben,Brook,ben@example.org,12\ncleo,Cleo,Costa,,13\ndan,,,,\n"
    )
    roster.enter(folder, path)
    hand_in("ada", answer("passed"))
    hand_in("ben", answer("passed", mse_loss="grader_fault"))
    hand_in("cleo", answer("passed", mse_loss="partial", written="Waits for its reader."))
    grade()
    return folder


def rows(folder, kind: str, path) -> tuple[list[list[str]], int]:
    exporter = FORMATS[kind](parent=folder.app)
    exporter.to = str(path)
    with folder.gradebook() as book:
        exporter.export(book)
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file)), exporter.waiting


def test_canvas(graded, tmp_path):
    found, waiting = rows(graded, "canvas", tmp_path / "c.csv")
    assert found[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", MODULE]
    assert found[1][0].strip() == "Points Possible"
    assert float(found[1][-1]) == 19
    scores = {row[3]: row[-1] for row in found[2:]}
    assert scores == {"ada": "15", "ben": "", "cleo": "", "dan": ""}
    assert next(row for row in found if row[3] == "ada")[:2] == ["Adler, de, Ada", "11"]
    assert waiting == 2


def test_moodle(graded, tmp_path):
    found, waiting = rows(graded, "moodle", tmp_path / "m.csv")
    assert found[0] == ["Username", "First name", "Last name", "Email address", MODULE]
    assert {row[0]: row[-1] for row in found[1:]} == {"ada": "15", "ben": "", "cleo": "", "dan": ""}
    assert waiting == 2


def test_manual_score_makes_it_final(graded, tmp_path):
    with graded.gradebook() as book:
        given = book.find_grade("check_mse_loss", MODULE, MODULE, "ben")
        given.manual_score, given.needs_manual_grade = 0.25, False  # as formgrader does
        book.db.commit()
    found, waiting = rows(graded, "canvas", tmp_path / "c.csv")
    assert {row[3]: row[-1] for row in found[2:]}["ben"] == "14.25"
    assert waiting == 1


def test_score_that_waits_for_another_look_is_not_final(graded, hand_in, grade, answer, tmp_path):
    """Graded by hand, then handed in again: nbgrader keeps the score and asks for a person."""
    with graded.gradebook() as book:
        given = book.find_grade("check_mse_loss", MODULE, MODULE, "ada")
        given.manual_score, given.needs_manual_grade = 0.5, False
        book.db.commit()
    hand_in("ada", answer("passed", mse_loss="failed"), stamp="2026-01-11 12:00:00 UTC")
    assert "ada" in status.ungraded(graded, MODULE)
    grade()
    assert status.ungraded(graded, MODULE) == set()
    found, waiting = rows(graded, "canvas", tmp_path / "c.csv")
    assert {row[3]: row[-1] for row in found[2:]}["ada"] == ""
    assert waiting == 3


def test_no_name_is_a_formula(folder, tmp_path):
    names = {"eq": "=1+1", "plus": "+1", "minus": "-1", "at": "@SUM(A1)", "tab": "\t=1"}
    with folder.gradebook() as book:
        for student, name in names.items():
            book.add_student(student, first_name=name, last_name=name, lms_user_id=name, email=f"{name}@example.org")
    for kind in FORMATS:
        found, _ = rows(folder, kind, tmp_path / "x.csv")
        fields = [field for row in found[1:] for field in row]
        assert [field for field in fields if field[:1] in ("=", "+", "-", "@", "\t")] == []
        assert sum(name in field for name in names.values() for field in fields) >= 10, "they are all there"


def test_canvas_column_with_its_number(capsys, graded, tmp_path):
    at, path = ("-C", graded.path), tmp_path / "c.csv"
    assert cli.main(["export", *map(str, at), "--output", str(path)]) == 0
    assert f"Canvas makes a new assignment of {MODULE}" in capsys.readouterr().out
    assert cli.main(["class", "set", str(graded.path), "--canvas-id", "01=12345"]) == 0
    assert cli.main(["export", *map(str, at), "--output", str(path)]) == 0
    assert "makes a new assignment" not in capsys.readouterr().out
    with open(path, newline="") as file:
        assert next(csv.reader(file))[-1] == f"{MODULE} (12345)"
    assert cli.main(["class", "set", str(graded.path), "--canvas-id", "01=abc"]) == 2


def test_export_is_whole_or_not_at_all(graded, tmp_path, monkeypatch):
    path = tmp_path / "c.csv"
    path.write_text("the old one")
    monkeypatch.setattr(FORMATS["canvas"], "rows", lambda *arguments: _broken())
    with pytest.raises(ZeroDivisionError):
        rows(graded, "canvas", path)
    assert path.read_text() == "the old one"
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


def _broken():
    yield ["half"]
    yield [1 / 0]
