"""The instructor's commands, as they are typed: one line and exit 2 for what is wrong, and nothing half-written."""

import errno
import json
import os
import stat
from datetime import datetime

import pytest

from autograder import cli
from autograder.classroom import engine
from autograder.classroom.folder import ClassFolder

from .conftest import MODULE, fake_report


def lsml(capsys, *arguments: str) -> tuple[int, str, str]:
    """Run one command; its exit status and what it printed."""
    capsys.readouterr()
    status = cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture(autouse=True)
def fake_grader(monkeypatch):
    """Commands that grade do so in this process, without a sandbox."""
    monkeypatch.setattr(engine, "grade_dict", lambda job: fake_report(job).to_dict())
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


def one_line(err: str, *said: str) -> None:
    assert err.startswith("lsml: "), err
    assert err.count("\n") == 1, err
    for text in said:
        assert text in err


def test_class_new_makes_what_nbgrader_expects(capsys, tmp_path):
    roster = tmp_path / "list.csv"
    roster.write_text("id,first_name\nada,Ada\n")
    status, out, _ = lsml(capsys, "class", "new", tmp_path / "c", "--modules", "01", "--roster", roster)
    assert status == 0
    assert out.splitlines()[0] == "1 student"
    folder = ClassFolder(tmp_path / "c")
    for name in ("gradebook.db", "nbgrader_config.py", "roster.csv", f"source/{MODULE}/{MODULE}.ipynb",
                 f"release/{MODULE}/{MODULE}.ipynb", "submitted"):  # fmt: skip
        assert (folder.path / name).exists(), name
    secret = folder.private / "secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.private.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700, "what was handed in is nobody else's, either"
    assert len(folder.secret) == 64
    released = (folder.path / "release" / MODULE / f"{MODULE}.ipynb").read_text()
    assert "BEGIN SOLUTION" not in released
    assert "write your answer here" in released
    status, _, err = lsml(capsys, "class", "new", tmp_path / "c")
    assert status == 2
    one_line(err, "exists and is not empty")


def test_whole_class_by_commands(capsys, folder, answer, hand_in, tmp_path):
    at = ("-C", folder.path)
    hand_in("ada", answer("passed"))
    hand_in("ben", answer(mse_loss="partial", written="Because."))
    status, out, _ = lsml(capsys, "status", *at)
    assert status == 0
    status, out, err = lsml(capsys, "autograde", "01", *at)
    assert (status, err) == (0, ""), "quiet where there is no terminal"
    assert "2 submissions" in out
    status, out, _ = lsml(capsys, "autograde", *at, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["student"], line["score"], line["cached"]) for line in lines] == [
        ("ada", 15, True),
        ("ben", 0.5, True),
    ]
    status, out, _ = lsml(capsys, "status", *at)
    assert "15" in out
    assert "0.5 + ?" in out
    assert "person" in out
    status, out, _ = lsml(capsys, "feedback", *at)
    assert status == 0
    assert (folder.path / "feedback/ben" / MODULE / f"{MODULE}.html").exists()
    status, out, _ = lsml(capsys, "export", *at, "--format", "moodle", "--output", tmp_path / "m.csv")
    assert status == 0
    assert "1 score left blank" in out
    status, out, _ = lsml(capsys, "extend", "01", "ada", "--days", "2", *at)
    assert status == 0
    assert "no due date yet" in out


def test_regrade_requests(capsys, folder, answer, hand_in):
    at = ("-C", folder.path)
    hand_in("ada", answer(mse_loss="grader_fault"))
    status, _, _ = lsml(capsys, "autograde", *at)
    assert status == 1, "the grader failed"
    lsml(capsys, "regrade", "01", "ada", "--ask", "I think it is right", *at)
    _, out, _ = lsml(capsys, "regrade", *at)
    assert "I think it is right" in out
    assert "the grader failed on mse_loss" in out
    hand_in("ada", answer(mse_loss="passed"))
    status, out, _ = lsml(capsys, "regrade", "01", "ada", *at)
    assert status == 0
    assert "1 graded" in out
    _, out, _ = lsml(capsys, "regrade", *at)
    assert "nothing waits" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["autograde", "01"], "nobody has handed in"),
        (["autograde"], "nobody has handed in anything"),
        (["autograde", "99"], "no module '99'"),
        (["autograde", "03"], "was never released in this class"),
        (["feedback", "01"], "is not graded yet"),
        (["feedback"], "nothing is graded yet"),
        (["extend", "01", "zoe", "--days", "1"], "no student 'zoe'"),
        (["extend", "01", "zoe", "--days", "-1"], "--days must be"),
        (["regrade", "01", "zoe"], "has handed in nothing"),
        (["regrade", "01", "--ask", "x"], "whose?"),
        (["release", "01", "--due", "sometime"], "is not a time that can be read"),
        (["collect", "01"], "this class has no exchange"),
        (["collect", "01", "--from", "/no/such/file"], "no such file"),
    ],
)
def test_bad_input_is_one_line(capsys, folder, arguments, said):
    before = sorted(str(path) for path in folder.path.rglob("*"))
    status, _, err = lsml(capsys, *arguments, "-C", folder.path)
    assert status == 2
    one_line(err, said)
    assert sorted(str(path) for path in folder.path.rglob("*") if path.name != "lock") == [
        path for path in before if not path.endswith("/lock")
    ]


def test_not_a_class_folder(capsys, tmp_path):
    for where in (tmp_path, tmp_path / "nowhere"):
        status, _, err = lsml(capsys, "autograde", "-C", where)
        assert status == 2
        one_line(err)


def test_student_who_handed_nothing_in(capsys, folder, answer, hand_in):
    hand_in("ada", answer())
    status, _, err = lsml(capsys, "autograde", "01", "--student", "zoe", "-C", folder.path)
    assert status == 2
    one_line(err, "'zoe'")


def test_nothing_is_left_out_in_silence(capsys, folder, answer, hand_in):
    hand_in("ada", answer("passed"))
    hand_in("zoë", answer("passed"))
    renamed = hand_in("ben", answer("passed"))
    renamed.rename(renamed.with_name("my work.ipynb"))
    odd = folder.path / "submitted" / "who is this" / MODULE
    odd.mkdir(parents=True)
    status, out, err = lsml(capsys, "autograde", "01", "-C", folder.path)
    assert status == 0
    assert "3 submissions" in out
    assert "submitted/who is this is not graded" in err
    assert f"there is no {MODULE}.ipynb, but my work.ipynb" in out.replace("\n", " ")


def test_corrupt_gradebook(capsys, folder, answer, hand_in):
    hand_in("ada", answer())
    (folder.path / "gradebook.db").write_bytes(b"this is no database" * 500)
    status, _, err = lsml(capsys, "autograde", "01", "-C", folder.path)
    assert status == 2
    one_line(err, "gradebook.db", "cannot be used")


def test_broken_configuration(capsys, folder):
    (folder.path / "nbgrader_config.py").write_text("c = (")
    status, _, err = lsml(capsys, "status", "-C", folder.path)
    assert status == 2
    one_line(err, "nbgrader_config.py", "line")


def test_database_that_is_not_there(capsys, folder, answer, hand_in):
    pytest.importorskip("psycopg2")
    hand_in("ada", answer())
    config = folder.path / "nbgrader_config.py"
    config.write_text(
        config.read_text() + 'c.CourseDirectory.db_url = "postgresql+psycopg2://me:hush@127.0.0.1:9/none"\n'
    )
    status, _, err = lsml(capsys, "autograde", "01", "-C", folder.path)
    assert status == 2
    one_line(err, "cannot be used")
    assert "hush" not in err


def test_full_disk(capsys, folder, answer, hand_in, monkeypatch):
    hand_in("ada", answer("passed"))
    real = os.replace

    def full(source, target):
        if "autograded" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        status, _, err = lsml(capsys, "autograde", "01", "-C", folder.path)
    assert status == 2
    one_line(err, "No space left on device", "to go on")
    assert [path for path in folder.path.rglob(".*") if path.name.startswith(f".{MODULE}")] == []
    status, out, _ = lsml(capsys, "autograde", "01", "-C", folder.path)
    assert status == 0
    assert "0 graded, 1 graded before, 1 written" in out


def test_second_run_is_refused_with_a_line(capsys, folder, answer, hand_in):
    hand_in("ada", answer())
    with folder.lock():
        status, _, err = lsml(capsys, "autograde", "01", "-C", folder.path)
    assert status == 2
    one_line(err, f"lsml process {os.getpid()}", "is at work")


def test_release_after_submissions_says_what_nbgrader_refuses(capsys, folder, answer, hand_in, monkeypatch):
    """The module gains a graded cell after students have handed it in."""
    hand_in("ada", answer("passed"))
    lsml(capsys, "autograde", "01", "-C", folder.path)
    status, _, _ = lsml(capsys, "release", "01", "-C", folder.path)
    assert status == 0, "nothing has changed, so nothing is refused"
    from autograder.authoring import release as authoring

    real = authoring.source_notebook

    def with_one_more(module):
        notebook = real(module)
        checks = [cell for cell in notebook.cells if cell.metadata.lsml.role == "check"]
        twin = json.loads(json.dumps(checks[-1]))
        twin["metadata"]["nbgrader"]["grade_id"] = twin["id"] = "check_new"
        notebook.cells.append(type(notebook.cells[0])(twin))
        return notebook

    before = (folder.path / "release" / MODULE / f"{MODULE}.ipynb").read_bytes()
    monkeypatch.setattr(authoring, "source_notebook", with_one_more)
    status, _, err = lsml(capsys, "release", "01", "-C", folder.path)
    assert status == 2
    one_line(err, "does not add or remove graded cells")
    assert (folder.path / "release" / MODULE / f"{MODULE}.ipynb").read_bytes() == before


def test_due_date_is_said_in_both_zones(capsys, tmp_path):
    at = tmp_path / "c"
    status, _, err = lsml(capsys, "class", "new", tmp_path / "d", "--timezone", "Europe/Atlantis")
    assert status == 2
    one_line(err, "is not a time zone")
    assert not (tmp_path / "d").exists()
    assert lsml(capsys, "class", "new", at, "--timezone", "Europe/Paris")[0] == 0
    status, out, _ = lsml(capsys, "release", "01", "--due", "2026-11-20 23:59 +0100", "-C", at)
    assert status == 0
    assert "due 2026-11-20 23:59 +0100 (Europe/Paris; 2026-11-20 22:59 UTC)" in out
    with ClassFolder(at).gradebook() as book:
        assert book.find_assignment(MODULE).duedate == datetime(2026, 11, 20, 22, 59)
        book.add_student("ada")
    status, out, _ = lsml(capsys, "extend", "01", "ada", "--days", "1", "-C", at)
    assert "until 2026-11-21 23:59 +0100 (Europe/Paris; 2026-11-21 22:59 UTC)" in out
    for text in ("2026-11-20 23:59 PST", "01.12.2026 23:59", "5", ""):
        status, _, err = lsml(capsys, "release", "01", "--due", text, "-C", at)
        assert status == 2
        one_line(err)
    config = at / "nbgrader_config.py"
    config.write_text(config.read_text().replace("Europe/Paris", "Paris"))
    status, _, err = lsml(capsys, "extend", "01", "ada", "--days", "1", "-C", at)
    assert status == 2
    one_line(err, "NbGraderAPI.timezone", "'Paris' is not a time zone")


def test_penalty_and_due_date_changed_after_grading(capsys, folder, answer, hand_in):
    """Neither needs --force: what is shown, given back and exported follows them."""
    at = ("-C", folder.path)
    hand_in("ada", answer("passed"), stamp="2026-01-10 12:00:00 UTC")
    lsml(capsys, "autograde", *at)

    def penalty():
        with ClassFolder(folder.path).gradebook() as book:
            return book.find_submission_notebook(MODULE, MODULE, "ada").late_submission_penalty

    lsml(capsys, "release", "01", "--due", "2026-01-10 00:00", *at)
    assert penalty() is None, "lateness costs nothing yet"
    config = folder.path / "nbgrader_config.py"
    config.write_text(config.read_text().replace('penalty_method = "none"', 'penalty_method = "zero"'))
    status, out, _ = lsml(capsys, "autograde", *at)
    assert "0 graded, 1 graded before, 0 written" in out
    assert penalty() == 15.0
    lsml(capsys, "release", "01", "--due", "2026-01-11 00:00", *at)
    assert penalty() is None
    with folder.gradebook() as book:  # as formgrader's page does
        book.update_or_create_assignment(MODULE, duedate="2026-01-09 00:00 UTC")
    lsml(capsys, "export", *at, "--output", folder.path / "c.csv")
    assert penalty() == 15.0
    assert (folder.path / "c.csv").read_text().splitlines()[-1].endswith(",0")
    config.write_text(config.read_text().replace('penalty_method = "zero"', 'penalty_method = "sometimes"'))
    status, _, err = lsml(capsys, "autograde", *at)
    assert status == 2
    one_line(err, "nbgrader_config.py", "late penalty")


def test_extension_that_is_no_number_of_days(capsys, folder, answer, hand_in):
    hand_in("ada", answer("passed"))
    (folder.private / "extensions.json").write_text(json.dumps({MODULE: {"ada": 1e300}}))
    status, _, err = lsml(capsys, "autograde", "-C", folder.path)
    assert status == 2
    one_line(err, "extensions.json is damaged")


def test_names_reach_the_terminal_as_they_are(capsys, folder, answer, hand_in, tmp_path):
    at = ("-C", folder.path)
    roster = tmp_path / "list.csv"
    roster.write_text("id,first_name,last_name\nada,[/],x\nben,[red]Ben,\x1b[2J\x1b]0;owned\x07\ncleo,Zoë\xa0Ann,O'B\n")
    assert lsml(capsys, "class", "roster", folder.path, roster)[0] == 0
    status, out, _ = lsml(capsys, "status", *at)
    assert status == 0
    assert "\x1b" not in out
    assert "\x07" not in out
    for text in ("[/]", "[red]Ben", "Zoë\xa0Ann"):
        assert text in out
    hand_in("ada", answer(mse_loss="grader_fault"))
    lsml(capsys, "autograde", *at)
    lsml(capsys, "regrade", "01", "ada", "--ask", "[/] \x1b[2J look", *at)
    status, out, _ = lsml(capsys, "regrade", *at)
    assert status == 0
    assert "\x1b" not in out
    assert "[/]" in out


def test_status_shows_what_was_handed_in_again_and_whole_names(capsys, folder, answer, hand_in):
    hand_in("ada", answer("passed"))
    hand_in("ben", answer("passed"))
    lsml(capsys, "autograde", "-C", folder.path)
    hand_in("ada", answer("failed"), stamp="2026-02-01 12:00:00 UTC")
    _, out, _ = lsml(capsys, "status", "-C", folder.path)
    (ada,) = [line for line in out.splitlines() if "ada" in line]
    (ben,) = [line for line in out.splitlines() if "ben" in line]
    assert "handed in again" in ada
    assert "again" not in ben
    assert MODULE in out
    _, out, _ = lsml(capsys, "export", "-C", folder.path, "--output", folder.path / "x.csv")
    assert "1 score left blank" in out


def test_whole_names_of_many_modules_in_a_narrow_terminal():
    from rich.console import Console

    from autograder.classroom.status import ClassStatus, table

    names = [f"{number:02}_a_rather_long_topic" for number in range(8)]
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(table(ClassStatus(names, dict.fromkeys(names, 10.0), [("ada", "Ada")]), "title"))
    assert "…" not in console.export_text()


def test_what_has_no_readable_file_is_listed(capsys, folder, answer, hand_in):
    hand_in("ada", answer("passed"))
    hand_in("ben", answer("passed")).unlink()
    renamed = hand_in("cleo", answer("passed"))
    renamed.rename(renamed.with_name("my work.ipynb"))
    literal = hand_in("dan", b"cannot be opened: No such file or directory")
    lsml(capsys, "autograde", "-C", folder.path)
    _, out, _ = lsml(capsys, "regrade", "-C", folder.path)
    text = " ".join(out.split())
    assert f"ben │ {MODULE} │ unreadable; there is no {MODULE}.ipynb" in text
    assert "my work.ipynb" in text
    assert "not valid JSON" in text, "dan's text is his own, and not that of a missing file"
    literal.unlink()
    _, out, _ = lsml(capsys, "regrade", "-C", folder.path)
    assert "not valid JSON" not in " ".join(out.split())


def test_commands_are_listed(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    for name in (
        "class",
        "release",
        "collect",
        "autograde",
        "feedback",
        "export",
        "status",
        "extend",
        "regrade",
        "demo",
    ):
        assert f"\n    {name}" in text
