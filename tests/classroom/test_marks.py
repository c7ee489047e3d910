"""Marks of a rubric: what a person types into the comment box, the score that comes of it, and what students see."""

import copy
import json
from html import unescape

import nbformat
import pytest
from traitlets.config import Config

from autograder import curriculum
from autograder.classroom import beside, feedback, marks
from autograder.cli import main
from autograder.curriculum import Question, RubricLine

from .conftest import MODULE

FIRST, SECOND = curriculum.load(MODULE).questions
LINES = tuple(RubricLine(points, f"line {points}") for points in (1.0, 0.5, 0.5))

READ = {
    "1 0.5 0": (1, 0.5, 0),
    "x x x": (1, 0.5, 0.5),
    "X - ✓": (1, 0, 0.5),
    "  .5   0,25\t0  ": (0.5, 0.25, 0),
    "1, .5, 0": (1, 0.5, 0),
    "1. 0.50 00": (1, 0.5, 0),
}
UNREADABLE = {
    "1 0.5": "2 marks for a rubric of 3 lines",
    "1": "1 mark for a rubric of 3 lines",
    "1 0.5 0 0": "4 marks for a rubric of 3 lines",
    "1 1 0": "1 is more than the 0.5 of its line",
    "-1 0.5 0": "'-1' is no mark: write a number, x for all points or - for none",
    "1 0.5 1.2.3": "'1.2.3' is no mark",
    "1 0.5 9999999999999999999999999": "'99999999999999999999' is no mark",
    "1 .5 0 well done": "'well' is no mark: words go on the line below the marks",
}
WORDS = [
    "",
    None,
    "Well done.",
    "2 points for this",
    "x is a vector, not a number",
    "- first\n- second",
    "1. One\n2. Two",
]


@pytest.mark.parametrize("text", READ)
def test_marks_are_read(text):
    found = marks.read(f"{text}\n\nWell *done*.", LINES)
    assert (found.points, found.problem, found.comment) == (READ[text], "", "Well *done*.")
    assert found.total == sum(READ[text])


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_is_wrong_with_marks_is_said(text):
    found = marks.read(f"{text}\nWell done.", LINES)
    assert found.points is None and found.total is None
    assert found.comment == ("Well done." if "well" not in text else f"{text}\nWell done."), "no word is lost"
    assert found.problem.startswith(UNREADABLE[text])


@pytest.mark.parametrize("text", ["- 1 point: you forgot the units.", "2 - see (b).\n\nWell.", "1 000 steps would do"])
def test_a_remark_that_begins_like_marks_reaches_the_student_whole(text):
    found = marks.read(text, LINES)
    assert found.points is None and found.comment == text


@pytest.mark.parametrize("text", WORDS)
def test_a_comment_of_words_has_no_marks(text):
    assert marks.read(text, LINES) is None
    assert marks.read("1 0.5 0", ()) is None, "nor has one beside a question without a rubric"


@pytest.fixture
def graded(folder, answer, hand_in, grade):
    """The class after grading: ada has answered both questions in words."""
    hand_in("ada", answer("passed", written="Because <b>it</b> is."))
    grade()
    return folder


@pytest.fixture
def save(graded):
    """Save a comment or a score as formgrader does."""

    def put(question: str = FIRST.name, **values) -> None:
        with graded.gradebook() as book:
            comment = book.find_comment(question, MODULE, MODULE, "ada")
            given = book.find_grade(question, MODULE, MODULE, "ada")
            if "comment" in values:
                comment.manual_comment = values["comment"]
            else:  # what formgrader's handler does with a score
                given.manual_score, given.extra_credit = values["score"], values.get("extra")
                given.needs_manual_grade = given.manual_score is None and given.auto_score is None
            book.db.commit()

    return put


def test_the_sum_of_the_marks_is_the_score(save, scores):
    assert scores()["ada"][FIRST.name] == (None, None, True)
    save(comment="x .5 0.25 -\nYou forgot the units.")
    assert scores()["ada"][FIRST.name] == (None, 1.25, False)
    assert scores()["ada"][SECOND.name] == (None, None, True), "the other question waits"
    save(comment="x x 0.25 -\nYou forgot the units.")
    assert scores()["ada"][FIRST.name] == (None, 1.25, False)
    save(comment="x x x -\nYou forgot the units.")
    assert scores()["ada"][FIRST.name] == (None, 1.5, False)


def test_a_typed_score_holds_until_the_marks_change(save, scores):
    save(comment="x x - -")
    save(score=2.0)
    save(comment="x x - -\nWith an excellent remark.")
    assert scores()["ada"][FIRST.name] == (None, 2.0, False)
    save(comment="x x x -\nWith an excellent remark.")
    assert scores()["ada"][FIRST.name] == (None, 1.5, False)
    save(score=1.0)
    save(comment="With an excellent remark.")
    assert scores()["ada"][FIRST.name] == (None, 1.0, False)


def test_marks_that_go_take_their_score_with_them(save, scores):
    for gone in ("", None, "Well done.", "x x", "x x x x x"):
        save(comment="x x - -")
        assert scores()["ada"][FIRST.name] == (None, 1.0, False)
        save(comment=gone)
        assert scores()["ada"][FIRST.name] == (None, None, True), gone


def test_an_empty_score_box_does_not_undo_the_marks(save, scores, graded):
    """formgrader's page does not know of the sum before it is loaded again."""
    save(comment="x x - -")
    save(score=None, extra=0.5)
    assert scores()["ada"][FIRST.name] == (None, 1.0, False)
    with graded.gradebook() as book:
        assert book.find_grade(FIRST.name, MODULE, MODULE, "ada").score == 1.5


def test_a_score_box_of_before_does_not_undo_the_marks(save, scores):
    """The page is as it was loaded, and sends its box with the extra credit and with "Resolve"."""
    name = FIRST.name
    save(score=0.5)
    save(comment="x x x -")
    save(score=0.5, extra=0.25)
    assert scores()["ada"][name] == (None, 1.5, False), "the box was loaded before the marks"
    save(score=0.5)
    assert scores()["ada"][name] == (None, 0.5, False), "and now it shows 1.5, so this was typed"
    save(comment="x x - -")
    save(comment="x x x x")
    save(score=0.5)
    assert scores()["ada"][name] == (None, 2.0, False), "marks changed twice"
    save(comment="x x x -")
    save(score=1.25)
    assert scores()["ada"][name] == (None, 1.25, False), "another number was typed"
    save(score=2.0)
    assert scores()["ada"][name] == (None, 2.0, False), "on a box that showed 1.25"


def test_resolve_after_a_new_submission_keeps_the_new_marks(save, scores, grade, hand_in, answer):
    save(comment="x - - -")
    hand_in("ada", answer("failed", written="Because it was."))
    grade()
    loaded = scores()["ada"][FIRST.name]
    assert loaded == (None, 0.5, True)
    save(comment="x x x -")
    save(score=loaded[1])  # Resolve
    assert scores()["ada"][FIRST.name] == (None, 1.5, False)


def test_a_new_answer_waits_with_no_marks_of_the_one_before(save, graded, grade, hand_in, answer):
    save(comment="x .5 0.25 -\nYou forgot the units.")
    assert "read by a person" in feedback_page(graded)
    hand_in("ada", answer("failed", written="Because it was."))
    grade()
    page = feedback_page(graded)
    assert "Because it was." in page and "read by a person" not in page and 'class="rubric"' not in page
    assert page.count("waits for a person</span>") == 2


def test_a_regrade_keeps_the_persons_points(save, scores, graded, grade, hand_in, answer):
    save(comment="x .5 0.25 -\nYou forgot the units.")
    grade(force=True)
    assert scores()["ada"][FIRST.name] == (None, 1.25, False)
    hand_in("ada", answer("failed", written="Because it was."))
    grade()
    assert scores()["ada"][FIRST.name] == (None, 1.25, True), "kept, and to be looked at again"
    with graded.gradebook() as book:
        comment = book.find_comment(FIRST.name, MODULE, MODULE, "ada").manual_comment
    assert comment == "x .5 0.25 -\nYou forgot the units."


def test_status_and_feedback_name_what_does_not_add_up(save, graded, capsys):
    save(comment="x x - -")
    save(score=2.0)
    save(SECOND.name, comment="x 7 - -\nUnits?")
    assert main(["status", "-C", str(graded.path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"ada │ {MODULE} │ {FIRST.name} │ the marks add up to 1, and the score is 2" in out
    assert f"ada │ {MODULE} │ {SECOND.name} │ 7 is more than the 0.5 of its line, and there is no score" in out
    assert main(["feedback", "-C", str(graded.path)]) == 0
    assert f"ada, {FIRST.name}: the marks add up to 1, and the score is 2" in capsys.readouterr().err
    save(score=1.0)
    save(SECOND.name, comment="x x - -\nUnits?")
    assert main(["status", "-C", str(graded.path)]) == 0
    assert "add up" not in capsys.readouterr().out


def feedback_page(folder) -> str:
    (written,) = feedback.generate(folder, MODULE)
    return written.read_text(encoding="utf-8")


def test_the_feedback_page_adds_up_the_lines(save, graded):
    save(comment="x .25 0 0.5\n**Units**, <script>alert(1)</script>")
    page = feedback_page(graded)
    rows = [
        row.split("</td></tr>")[0].split("<td>")[-1] for row in page.split('<table class="rubric">')[1].split("<tr")
    ]
    assert rows[1:6] == ["0.5 of 0.5", "0.25 of 0.5", "0 of 0.5", "0.5 of 0.5", "1.25 of 2"]
    assert page.count('class="rubric"') == 1, "the second question is not marked yet"
    assert "The lowest loss and the best predictions stay the same" in page
    assert "<strong>Units</strong>" in page and "<script" not in page and "x .25 0 0.5" not in page
    save(score=2.0, extra=0.5)
    page = feedback_page(graded)
    assert "+ 0.5" in page and "Your instructor set the score to 2.5." in page
    save(comment="- 1 point: you forgot the units.")
    assert "1 point: you forgot the units." in feedback_page(graded)


def test_nobody_sees_rubric_or_model_answer_before_or_besides(save, graded):
    """Before grading nothing of a rubric is on the page; of the model answer nothing ever; autograded/ has neither."""
    save(SECOND.name, comment="x 7 - -")  # unreadable, so not graded
    page = feedback_page(graded)
    rubric = [line.text.split("$")[0][:40].rstrip() for question in (FIRST, SECOND) for line in question.rubric]
    model = [line[-40:] for question in (FIRST, SECOND) for line in question.answer.splitlines()]
    assert "waits for a person" in page and "x 7" not in page
    assert not [text for text in rubric if len(text) > 20 and text in page]
    save(comment="x x x x")
    save(SECOND.name, comment="x x x x")
    page = feedback_page(graded)
    autograded = graded.autograded("ada", MODULE).read_text(encoding="utf-8")
    assert [text for text in rubric if len(text) > 20 and text in page]
    assert not [line for line in model if line in page]
    assert not [line for line in model + rubric if len(line) > 20 and json.dumps(line)[1:-1] in autograded]


def test_what_stands_beside_an_answer_is_one_line_of_harmless_html():
    hostile = '<script>alert("%s")</script> <img src=x onerror=alert(1)> `</div>`'
    question = Question("why", 2, hostile % "answer" + "\n\nSecond *paragraph*.", (RubricLine(2.0, hostile % "line"),))
    for given in (None, marks.Marks((0.5,), "", ""), marks.Marks(None, hostile % "problem", "")):
        shown = beside.two_columns("Two\n\nparagraphs", beside.rubric(question, given))
        assert "\n" not in shown and "<script" not in shown and "<img" not in shown
        assert "<em>paragraph</em>" in shown and shown.count("<div") == shown.count("</div>")
    assert "0.5 of 2" in beside.rubric(question, marks.Marks((0.5,), "", ""))


def test_a_module_that_cannot_be_read_costs_the_rubric_and_not_the_page(graded):
    config = Config()
    config.CourseDirectory.root = str(graded.path)
    notebook = nbformat.read(graded.autograded("ada", MODULE), as_version=4)
    for resources, said in (
        ({"notebook_id": "99_none", "submission_id": "x"}, "The rubric cannot be read: no module"),
        ({"notebook_id": MODULE, "submission_id": "x"}, "Model answer"),
        ({"notebook_id": MODULE}, ""),  # not a page of formgrader's
    ):
        shown, _ = beside.ShowRubric(config=config).preprocess(copy.deepcopy(notebook), resources)
        texts = [cell.source for cell in shown.cells if cell.metadata.lsml.role == "written"]
        assert len(texts) == 2
        for text in texts:
            assert said in unescape(text) and "Because" in text and ("flex" in text) == bool(said)


def test_a_question_without_a_rubric_shows_its_model_answer():
    shown = beside.rubric(Question("why", 2, "For the *sum*.", ()), None)
    assert "Model answer" in shown and "<em>sum</em>" in shown and "Rubric" not in shown
