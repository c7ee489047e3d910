"""The `answers.py` of modules: what an author writes is what an answer runs as."""

import pytest

from autograder import answers, curriculum
from autograder.errors import UserError

FILE = '''"""A gallery."""

import math

from autograder.answers import equivalent, right, wrong


@wrong("double", "squares instead", fails=["test_doubles"])
def squares(x):
    return x**2  # a comment that stays


@right("double", "adds")
def adds(x):
    return math.fsum([x, x])


@wrong("double", "forgets the state", fails=["test_state"], replaces="Doubler")
class Forgetful(Doubler):
    pass


def helper():
    return 0


equivalent("double", diff="- 2 * x\\n+ x * 2", reason="products commute")
'''


def write(tmp_path, text, name="99_doubling"):
    file = curriculum.files(name, tmp_path).answers
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return name


def test_answers_are_read_with_what_their_decorators_say(tmp_path):
    gallery = answers.load(write(tmp_path, FILE), tmp_path)
    squares, forgetful = gallery.wrong("double")
    assert (squares.name, squares.says, squares.fails) == ("squares", "squares instead", ("test_doubles",))
    assert forgetful.replaces == "Doubler"
    assert [a.name for a in gallery.right("double")] == ["adds"]
    assert [e.reason for e in gallery.equivalent("double")] == ["products commute"]
    assert gallery.wrong("another") == ()


def test_an_answer_runs_behind_the_reference_and_takes_its_name(tmp_path):
    gallery = answers.load(write(tmp_path, FILE), tmp_path)
    space = {}
    exec(gallery.wrong("double")[0].cell("def double(x):\n    return 2 * x\n"), space)
    assert space["double"](3) == 9
    exec(gallery.right("double")[0].cell("def double(x):\n    return 2 * x\n"), space)
    assert space["double"](3) == 6
    exec(gallery.wrong("double")[1].cell("class Doubler:\n    kept = 1\n"), space)
    assert space["Doubler"].__name__ == "Forgetful"
    assert space["Doubler"].kept == 1


def test_comments_stay_and_the_graders_own_names_do_not_come_along(tmp_path):
    source = answers.load(write(tmp_path, FILE), tmp_path).wrong("double")[0].source
    assert "# a comment that stays" in source
    assert "import math" in source
    assert "autograder" not in source


def test_the_decorators_of_an_answer_itself_stay(tmp_path):
    text = FILE.replace("def squares", "@np.vectorize\n@math.keep\ndef squares")
    source = answers.load(write(tmp_path, text), tmp_path).wrong("double")[0].source
    assert "@np.vectorize\n@math.keep\ndef squares" in source and "@wrong" not in source


def test_a_module_without_a_file_has_an_empty_gallery(tmp_path):
    assert answers.load("99_doubling", tmp_path) == answers.Gallery("99_doubling")


def test_a_changed_file_is_read_again(tmp_path):
    name = write(tmp_path, FILE)
    assert len(answers.load(name, tmp_path).answers) == 3
    write(tmp_path, FILE.replace('@right("double", "adds")\n', ""))
    assert len(answers.load(name, tmp_path).answers) == 2


MODULE = """# %% [markdown]
# # 99 Doubling

# %% exercise="double" points=1 minutes=5
def double(x: float) -> float:
    \"\"\"Twice x: return 2 * x.\"\"\"
    ### BEGIN SOLUTION
    y = 2 * x
    return y
    ### END SOLUTION


# %% check="double"
assert double(1) == 2
"""
EDIT = 'wrong("double", "adds", fails=["test_doubles"], edit={})\n'


def test_an_edit_changes_the_reference(tmp_path):
    name = write(tmp_path, EDIT.format('{"2 * x": "2 + x", "return y": "return -y"}'))
    curriculum.files(name, tmp_path).notebook.write_text(MODULE)
    (answer,) = answers.load(name, tmp_path).wrong("double")
    cell = answer.cell(curriculum.load(name, tmp_path).exercise("double").solution)
    assert "y = 2 + x\n    return -y" in cell
    assert "Twice x: return 2 * x." in cell, "a docstring is not changed"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (EDIT.format('{"3 * x": "x"}'), r"answers\.py:1: edit: '3 \* x' stands 0 times"),
        (EDIT.format('{"y": "x"}'), "stands 2 times"),
        (EDIT.format('{"Twice": "Thrice"}'), "stands 0 times"),
        (EDIT.format('{"2 * x": "x", "y = 2": "y = 3"}'), "overlap"),
        (EDIT.format('{"2 * x": "2 *"}'), "not valid Python"),
        (EDIT.format("{}"), "say edit="),
        (EDIT.replace("double", "treble").format('{"y": "x"}'), "99_doubling has no exercise 'treble'"),
        ("@" + EDIT.format('{"2 * x": "x"}') + "def f(x): ...\n", "an edit stands alone"),
    ],
    ids=["nowhere", "twice", "in the docstring", "overlapping", "no Python", "empty", "no exercise", "decorator"],
)
def test_an_edit_that_does_not_fit_is_told_with_its_line(tmp_path, text, says):
    name = write(tmp_path, text)
    curriculum.files(name, tmp_path).notebook.write_text(MODULE)
    with pytest.raises(UserError, match=says):
        answers.load(name, tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def f(:\n", ":1: "),
        ('@wrong("f", "does", fails=[])\ndef g(): ...\n', "at least one hidden test"),
        ('@wrong("f", "does", fails="test_x")\ndef g(): ...\n', "at least one hidden test"),
        ('@wrong("f", "does")\ndef g(): ...\n', "fails"),
        ('@wrong("f", "does", fails=[name])\ndef g(): ...\n', ":1: "),
        ('@right("f", "a")\ndef g(): ...\n\n\n@right("f", "b")\ndef g(): ...\n', "`g` is defined twice"),
    ],
    ids=["syntax", "no test", "a string", "fails missing", "not a literal", "twice"],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path, text, says):
    with pytest.raises(UserError, match=says) as caught:
        answers.load(write(tmp_path, text), tmp_path)
    assert "\n" not in str(caught.value)
