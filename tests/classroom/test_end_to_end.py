"""`lsml demo` with the real grader: what each of its six students deserves, and the same again from what is kept."""

from html import escape

from autograder import curriculum
from autograder.classroom import demo, status
from autograder.classroom.folder import ClassFolder

from .test_nbgrader import gradebook, tree


def test_demo_class(tmp_path, capsys):
    assert demo.demo(tmp_path / "demo") == 0
    out = capsys.readouterr().out
    folder = ClassFolder(tmp_path / "demo")
    found = status.read(folder, [demo.MODULE], reports=True)
    standing = {student: found.standings[student, demo.MODULE] for student, _ in found.students}
    verdicts = {
        student: {result.id: result.verdict for result in one.report.exercises} for student, one in standing.items()
    }
    names = list(verdicts["ada"])
    whole = found.max_scores[demo.MODULE]

    assert set(verdicts["ada"].values()) == {"passed"}
    assert standing["ada"].final
    assert standing["ada"].score == whole, "full marks, its written answers scored by a person"
    assert set(verdicts["ben"].values()) == {"passed", "unanswered"}
    assert not standing["ben"].final
    assert set(verdicts["cleo"].values()) == {"unanswered"}
    assert standing["cleo"].score == 0.0
    assert standing["cleo"].final
    wrong = [result for result in standing["dan"].report.exercises if result.verdict in ("failed", "partial")]
    assert wrong
    assert any(test.misconception for result in wrong for test in result.tests), "the misconception is named"
    assert verdicts["eve"][names[0]] == "timeout"
    assert verdicts["eve"][names[1]] == "passed", "what loops costs the others nothing"
    assert verdicts["finn"][names[0]] == "error"
    assert standing["finn"].score == 0.0
    for student in standing:
        assert f"{folder.path}/feedback/{student}/{demo.MODULE}/{demo.MODULE}.html" in out

    # What nobody else may see is in nothing that the demo wrote for students.
    solutions = [exercise.solution for exercise in curriculum.load(demo.MODULE).exercises]
    hidden = curriculum.files(demo.MODULE).hidden_tests.read_text()
    secrets = [line for line in hidden.splitlines() if line.startswith("    assert")]
    assert solutions
    assert secrets
    for student in ("cleo", "finn"):
        text = (folder.path / "feedback" / student / demo.MODULE / f"{demo.MODULE}.html").read_text()
        assert not [line for line in secrets if line.strip() in text]
        assert not [line for line in solutions if escape(line) in text or line in text]
        assert folder.secret not in text

    before = gradebook(folder), tree(folder, "autograded"), tree(folder, "feedback")
    assert demo.demo(tmp_path / "demo") == 0
    assert "0 graded, 6 graded before, 0 written" in capsys.readouterr().out
    assert before == (gradebook(folder), tree(folder, "autograded"), tree(folder, "feedback"))
