"""What is taken out of a class is gone from its lists and grades, and lost nowhere."""

import shutil

import pytest

from autograder.classroom import roster
from autograder.classroom.collect import collect_download
from autograder.classroom.extend import extend
from autograder.classroom.reports import extensions, record_of
from autograder.classroom.versions import keep_version

from .conftest import MODULE
from .test_commands import lsml


@pytest.fixture
def listed(folder, tmp_path):
    (tmp_path / "list.csv").write_text("id,first_name\nada,Ada\nben,Ben\n")
    roster.enter(folder, tmp_path / "list.csv")
    return folder


def test_student_is_removed_and_their_work_is_kept(capsys, listed, answer, hand_in, grade, scores):
    for student in ("ada", "ben"):
        hand_in(student, answer("passed"))
    grade()
    keep_version(listed, "ada", MODULE)
    extend(listed, MODULE, "ada", 3)
    status, _, err = lsml(capsys, "class", "remove", listed.path, "ada")
    assert status == 2
    assert "--force" in err
    assert sorted(scores()) == ["ada", "ben"]
    status, out, _ = lsml(capsys, "class", "remove", listed.path, "ada", "--force")
    assert status == 0
    assert sorted(scores()) == ["ben"]
    assert roster.listed(listed) == {"ben"}
    assert listed.submitted(MODULE) == listed.graded(MODULE) == ["ben"]
    assert extensions(listed, MODULE) == {}
    assert record_of(listed, MODULE, "ada") == {}
    kept = list((listed.private / "removed" / "ada").rglob("*.ipynb"))
    assert len(kept) == 2, "the submission and its earlier version"
    assert str(kept[0].parents[3]) in out or str(listed.private / "removed" / "ada") in out
    assert lsml(capsys, "class", "remove", listed.path, "ada")[0] == 2
    assert lsml(capsys, "class", "remove", listed.path, "../ben")[0] == 2
    assert listed.submitted(MODULE) == ["ben"]


def test_student_without_grades_is_removed_at_once(capsys, listed):
    assert lsml(capsys, "class", "remove", listed.path, "ben")[0] == 0
    with listed.gradebook() as book:
        assert [student.id for student in book.students] == ["ada"]


def test_collection_is_undone_in_the_gradebook_too(capsys, listed, answer, grade, scores, tmp_path):
    import nbformat

    for number, words in enumerate((("ada",), ("ada", "ben"))):
        source = tmp_path / str(number)
        for student in words:
            (source / student).mkdir(parents=True)
            notebook = answer("failed" if number else "passed")
            (source / student / f"{MODULE}.ipynb").write_text(nbformat.writes(notebook))
        collect_download(listed, MODULE, source)
        grade()
    assert scores()["ada"]["check_mse_loss"][0] == 0.0
    status, out, _ = lsml(capsys, "collect", "01", "--undo", "-C", listed.path)
    assert status == 0
    assert "ada: what was there before is back" in out
    assert "ben: had handed in nothing before" in out
    grade()
    assert scores().keys() == {"ada"}
    assert scores()["ada"]["check_mse_loss"][0] == 1.0
    assert listed.graded(MODULE) == ["ada"]
    shutil.rmtree(listed.path / "submitted")
    assert lsml(capsys, "collect", "01", "--undo", "-C", listed.path)[0] == 0
    status, _, err = lsml(capsys, "collect", "01", "--undo", "-C", listed.path)
    assert status == 2
    assert "no collection" in err
