"""Nothing lost, nothing twice: what a class's bookkeeping promises whatever interrupts it."""

import hashlib
import json
import os
import tracemalloc

import pytest

from autograder import curriculum
from autograder.classroom import autograde as grading
from autograder.classroom import entering, reports, status
from autograder.classroom.reports import ReportStore
from autograder.errors import UserError

from .conftest import MODULE, FakeEngine, fake_report


def contents(folder):
    """Everything under autograded/, by path."""
    return {
        path.relative_to(folder.path): path.read_bytes()
        for path in sorted((folder.path / "autograded").rglob("*"))
        if path.is_file()
    }


def test_scores_enter_from_the_report(answer, hand_in, grade, scores):
    hand_in("ada", answer("passed", written="Because."))
    hand_in("ben", answer(mse_loss="partial", mse_gradient="grader_fault"))
    grade()
    found = scores()
    assert found["ada"]["check_mse_loss"] == (1.0, None, False)
    assert found["ben"]["check_mse_loss"] == (0.5, None, False)
    assert found["ben"]["check_nesterov"] == (0.0, None, False)
    assert found["ben"]["check_mse_gradient"] == (None, None, True), "a grader fault is no zero; a person decides"
    written = [name for name in found["ada"] if not name.startswith("check_")]
    assert written
    assert all(found["ada"][name] == (None, None, True) for name in written)
    assert all(found["ben"][name] == (0.0, None, False) for name in written), "left as it was released"


def test_second_run_does_nothing(folder, answer, hand_in, grade):
    for number in range(5):
        hand_in(f"s{number}", answer(mse_loss="passed" if number % 2 else "failed"))
    first, _ = grade()
    before, stamps = contents(folder), {path: os.stat(folder.path / path).st_mtime_ns for path in contents(folder)}
    second, engine = grade()
    assert (first.graded, first.written) == (5, 5)
    assert (second.graded, second.written, engine.graded) == (0, 0, [])
    assert contents(folder) == before
    assert {path: os.stat(folder.path / path).st_mtime_ns for path in before} == stamps


def test_interrupted_run_goes_on_to_the_same_gradebook(folder, answer, hand_in, grade, scores, monkeypatch):
    for number in range(12):
        hand_in(f"s{number:02}", answer(mse_loss="passed", nesterov=f"partial {number}"))
    monkeypatch.setattr(grading, "BATCH", 3)
    with pytest.raises(KeyboardInterrupt):
        grade(FakeEngine(stop_after=7))
    assert 0 < len(scores()) < 12
    _, engine = grade()
    assert len(engine.graded) == 5, "the seven Reports that were made are not made again"
    interrupted, files = scores(), contents(folder)
    for path in (folder.private / "recorded" / MODULE).iterdir():
        path.unlink()
    grade(force=True)
    assert interrupted == scores()
    assert files == contents(folder)


@pytest.mark.parametrize("moment", ["autograded", "database", "recorded"])
def test_kill_while_writing_is_mended(folder, answer, hand_in, grade, scores, monkeypatch, moment):
    for number in range(4):
        hand_in(f"s{number}", answer(mse_loss=f"passed {number}"))
    with monkeypatch.context() as patched:
        target = {"autograded": grading._Writer, "database": entering.record, "recorded": entering}[moment]
        name = {"autograded": "_put", "database": "write", "recorded": "note_recorded"}[moment]
        real, calls = getattr(target, name), []

        def die(*arguments, **options):
            calls.append(1)
            if len(calls) == (1 if moment == "database" else 3):
                raise KeyboardInterrupt
            return real(*arguments, **options)

        patched.setattr(target, name, die)
        with pytest.raises(KeyboardInterrupt):
            grade()
    grade()
    assert {student: cells["check_mse_loss"][0] for student, cells in scores().items()} == dict.fromkeys(
        ["s0", "s1", "s2", "s3"], 1.0
    )
    assert len([path for path in contents(folder) if path.suffix == ".ipynb"]) == 4


def test_resubmission_regrades_only_that_student(answer, hand_in, grade, scores):
    for student in ("ada", "ben", "cleo"):
        hand_in(student, answer(mse_loss="failed", nesterov=f"failed {student}"))
    grade()
    hand_in("ben", answer(mse_loss="passed"), stamp="2026-01-11 12:00:00 UTC")
    summary, engine = grade()
    assert (summary.graded, summary.written, len(engine.graded)) == (1, 1, 1)
    assert [scores()[student]["check_mse_loss"][0] for student in ("ada", "ben", "cleo")] == [0.0, 1.0, 0.0]


def test_a_changed_hidden_test_regrades_its_exercise_only(answer, hand_in, grade, monkeypatch):
    hand_in("ada", answer(mse_loss="passed", nesterov="failed"))
    hand_in("ben", answer(mse_loss="grader_fault", nesterov="passed"))
    _, engine = grade()
    assert [job.done for job in engine.jobs] == [(), ()]
    key, keys = reports.report_key, reports.exercise_keys
    monkeypatch.setattr(reports, "report_key", lambda *args: hashlib.sha256(key(*args).encode()).hexdigest())
    monkeypatch.setattr(reports, "exercise_keys", lambda *args: keys(*args) | {"nesterov": "another"})
    summary, engine = grade()
    ada, ben = sorted((job for job in engine.jobs), key=lambda job: len(job.done), reverse=True)
    everything = [exercise.name for exercise in curriculum.load(MODULE).exercises]
    assert [result.id for result in ada.done] == [name for name in everything if name != "nesterov"]
    assert ada.done[0].verdict == "passed"
    assert ben.done == (), "of what the grader failed on nothing is kept"
    assert (summary.graded, summary.written) == (2, 2)
    assert [job.done for job in grade(force=True)[1].jobs] == [(), ()]


def test_equal_notebooks_are_graded_once(answer, hand_in, grade, scores):
    for number in range(8):
        hand_in(f"s{number}", answer())
    summary, engine = grade()
    assert (summary.written, len(engine.graded)) == (8, 1)
    assert len(scores()) == 8


def test_manual_score_survives_and_is_looked_at_again_only_after_a_change(folder, answer, hand_in, grade, scores):
    hand_in("ada", answer(mse_loss="failed", written="Because."))
    grade()
    with folder.gradebook() as book:
        for name in ("check_mse_loss", next(n for n in scores()["ada"] if not n.startswith("check_"))):
            found = book.find_grade(name, MODULE, MODULE, "ada")
            found.manual_score, found.needs_manual_grade = 0.75, False
        book.find_comment("mse_loss", MODULE, MODULE, "ada").manual_comment = "Nearly."
        book.db.commit()
    grade(force=True)
    assert scores()["ada"]["check_mse_loss"] == (0.0, 0.75, False)
    hand_in("ada", answer(mse_loss="partial", written="Because of this."))
    grade()
    assert scores()["ada"]["check_mse_loss"] == (0.5, 0.75, True)
    with folder.gradebook() as book:
        assert book.find_comment("mse_loss", MODULE, MODULE, "ada").comment == "Nearly."
        assert book.find_submission_notebook(MODULE, MODULE, "ada").score >= 0.75


def test_best_of_a_students_submissions(folder, answer, hand_in, grade, scores):
    from autograder.classroom.versions import keep_version

    folder.set_options(resubmissions="best")
    hand_in("ada", answer("passed"), stamp="2026-01-01 12:00:00 UTC")
    grade()
    keep_version(folder, "ada", MODULE)
    hand_in("ada", answer(mse_loss="passed"), stamp="2026-01-02 12:00:00 UTC")
    grade()
    assert scores()["ada"]["check_nesterov"][0] == 3.0
    folder.set_options(resubmissions="last")
    grade()
    assert scores()["ada"]["check_nesterov"][0] == 0.0
    with folder.gradebook() as book:
        assert book.find_submission(MODULE, "ada").timestamp.day == 2


def test_unreadable_submission_waits_for_a_person(folder, answer, hand_in, grade, scores, tmp_path):
    hand_in("ada", answer("passed"))
    hand_in("ben", b"{")
    hand_in("cleo", b"")
    link = hand_in("dan", b"")
    link.unlink()
    secret = tmp_path / "secret.ipynb"
    secret.write_text("THE SECRET")
    link.symlink_to(secret)
    os.mkfifo(hand_in("eve", b"").with_name("pipe"))
    summary, _ = grade()
    assert {student for student, _, _ in summary.people} == {"ben", "cleo", "dan", "eve"}
    for student in ("ben", "cleo", "dan", "eve"):
        assert set(scores()[student].values()) == {(None, None, True)}
    assert scores()["ada"]["check_mse_loss"][0] == 1.0
    assert (folder.path / "refused/eve" / MODULE / "pipe").is_fifo(), "set aside, not lost"
    assert not any(b"THE SECRET" in content for content in contents(folder).values())
    assert secret.read_text() == "THE SECRET"


def test_folder_that_is_a_link_is_set_aside(folder, answer, hand_in, grade, tmp_path):
    hand_in("ada", answer("passed"))
    outside = tmp_path / "outside" / MODULE
    outside.mkdir(parents=True)
    (outside / f"{MODULE}.ipynb").write_text("{}")
    (folder.path / "submitted" / "mallory").symlink_to(outside.parent)
    summary, _ = grade()
    assert summary.submissions == 2
    assert (folder.path / "refused" / "mallory").is_symlink()
    assert (outside / f"{MODULE}.ipynb").read_text() == "{}"


def test_only_what_formgrader_may_serve_is_in_autograded(folder, answer, hand_in, grade):
    path = hand_in("ada", answer("passed"))
    (path.parent / "page.html").write_text("<script>1</script>")
    (path.parent / "more").mkdir()
    (path.parent / "more" / "x.svg").write_text("<svg/>")
    grade()
    assert sorted(os.listdir(folder.autograded("ada", MODULE).parent)) == [f"{MODULE}.ipynb", "timestamp.txt"]
    assert (path.parent / "page.html").exists(), "what was handed in stays"


def test_late_work_loses_what_nbgrader_takes(folder, answer, hand_in, grade, scores):
    config = folder.path / "nbgrader_config.py"
    config.write_text(config.read_text().replace('penalty_method = "none"', 'penalty_method = "zero"'))
    with folder.gradebook() as book:
        book.update_or_create_assignment(MODULE, duedate="2026-01-10 00:00:00 UTC")
    hand_in("ada", answer("passed"), stamp="2026-01-09 12:00:00 UTC")
    hand_in("ben", answer("passed"), stamp="2026-01-10 12:00:00 UTC")
    hand_in("cleo", answer("passed"), stamp="2026-01-10 12:00:00 UTC")
    from autograder.classroom.extend import extend

    assert "2026-01-11 00:00" in extend(folder, MODULE, "cleo", 1)
    grade()
    with folder.gradebook() as book:
        notebooks = {name: book.find_submission_notebook(MODULE, MODULE, name) for name in ("ada", "ben", "cleo")}
        assert notebooks["ada"].late_submission_penalty is None
        assert notebooks["ben"].late_submission_penalty == notebooks["ben"].score == 15.0
        assert notebooks["cleo"].late_submission_penalty is None
    extend(folder, MODULE, "cleo", 0)
    extend(folder, MODULE, "ben", 2)
    with folder.gradebook() as book:
        notebooks = {name: book.find_submission_notebook(MODULE, MODULE, name) for name in ("ben", "cleo")}
        assert notebooks["ben"].late_submission_penalty is None
        assert notebooks["cleo"].late_submission_penalty == 15.0


def test_window_bounds_what_is_held(folder, answer, hand_in, grade):
    for number in range(40):
        hand_in(f"s{number:03}", answer(mse_loss=f"passed {number}"))
    tracemalloc.start()
    try:
        _, engine = grade(FakeEngine(window=3))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert engine.most <= 3
    assert peak < 60e6


def test_plan_says_who_is_missing(folder, answer, hand_in):
    with pytest.raises(UserError, match="nobody has handed in"):
        grading.plan(folder, [MODULE], None)
    hand_in("ada", answer())
    with pytest.raises(UserError, match="'zoe' has handed in nothing"):
        grading.plan(folder, [MODULE], ["zoe"])


def test_damaged_report_is_made_again(folder, answer, hand_in, grade):
    hand_in("ada", answer("passed"))
    grade()
    (kept,) = (folder.private / "reports").rglob("*.json")
    kept.write_text(kept.read_text()[:100])
    summary, engine = grade(force=False)
    assert len(engine.graded) == 1
    assert summary.written == 0, "the Report is the same, and recorded already"


def test_submission_is_read_once(folder, answer, hand_in, grade, scores):
    """A file that changes while it is being graded: what is written is what was graded, and then the change is."""
    hand_in("ada", answer(mse_loss="failed first"))

    class Slow(FakeEngine):
        def next(self):
            key, report = super().next()
            hand_in("ada", answer(mse_loss="passed second"))
            return key, report

    summary, _ = grade(Slow())
    assert summary.written == 1
    text = folder.autograded("ada", MODULE).read_text()
    assert "failed first" in text
    assert "passed second" not in text
    assert status.ungraded(folder, MODULE) == {"ada"}
    _, engine = grade()
    assert len(engine.graded) == 1
    assert scores()["ada"]["check_mse_loss"][0] == 1.0
    assert status.ungraded(folder, MODULE) == set()


def test_what_cannot_be_read_is_each_students_own(folder, hand_in):
    """Nothing is kept under "No such file or directory", which every missing notebook would share."""
    made = reports.Reports(folder)
    for student, name in (("ada", "hers.ipynb"), ("ben", "his.ipynb")):
        path = hand_in(student, b"{}")
        path.rename(path.with_name(name))
    hand_in("cleo", reports.current(folder, "ada", MODULE).refusal.encode())
    versions = {student: reports.current(folder, student, MODULE) for student in ("ada", "ben", "cleo")}
    found = {student: made.get(version, MODULE) for student, version in versions.items() if student != "cleo"}
    assert "hers.ipynb" in found["ada"][1].notes[0]
    assert "his.ipynb" in found["ben"][1].notes[0]
    assert len({made.key(version, MODULE) for version in versions.values()}) == 3
    assert not (folder.private / "reports").exists()


def test_report_store_keeps_a_report_exactly(tmp_path, answer):
    store = ReportStore(tmp_path)
    import nbformat

    from autograder.classroom.engine import Job
    from autograder.sandbox import Limits

    job = Job("ab" * 32, MODULE, nbformat.writes(answer("partial misconception")).encode(), "s", Limits())
    report = fake_report(job)
    store.put(job.key, report)
    assert json.dumps(store.get(job.key).to_dict() | {"notebook": ""}) == json.dumps(
        report.to_dict() | {"notebook": ""}
    )
    assert store.get("cd" * 32) is None


def test_fault_that_repeats_is_kept(folder, answer, hand_in, grade):
    hand_in("ada", answer(mse_loss="grader_fault"))
    hand_in("ben", answer("passed"))
    assert len(grade()[1].graded) == 2
    assert len(grade()[1].graded) == 1, "a fault may pass"
    summary, engine = grade()
    assert engine.graded == [] and summary.faults == 1
    assert "lsml regrade" in summary.people[0][2], "a person is told how it is tried again"
    assert len(grade(force=True)[1].graded) == 2
    hand_in("ada", answer("passed", mse_loss="partial"))
    summary, engine = grade()
    assert len(engine.graded) == 1 and summary.faults == 0
