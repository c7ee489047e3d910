"""A sandbox that starts in the background."""

import sys

import pytest

from autograder import apart, curriculum
from autograder.errors import UserError
from autograder.grading import Grader, rebuild
from autograder.grading.opening import Opening
from autograder.sandbox import Limits, SandboxUnavailable, box
from autograder.submission import SourceCell, Submission

SEES = SourceCell("cell [1]", "import sys\ndef sees(*names): return [name in sys.modules for name in names]")


def test_it_is_ready_with_what_a_module_needs_and_without_the_rest():
    with Opening("none", Limits(), ["08_backpropagation"]) as opening, opening.sandbox() as first:
        assert opening.data.is_dir() and opening.expected == (curriculum.load("08_backpropagation"),)
        with Submission.load(first, [SEES]) as child:
            assert child.sees("numpy", "torch", "matplotlib.pyplot", "sklearn", "pandas") == [True] * 3 + [False] * 2
        with opening.sandbox() as other:
            assert other is not first, "the first was given away"
    assert not opening.data.exists()


def test_what_nobody_took_is_closed():
    with Opening("none", Limits()) as opening:
        begun = opening._begun
    assert begun.result()._process is None


def test_a_module_that_cannot_be_read_leaves_nothing_behind(monkeypatch):
    boxes = []
    monkeypatch.setattr(box.Sandbox, "_boot", lambda self, boot=box.Sandbox._boot: (boxes.append(self), boot(self)))
    with pytest.raises(UserError), Opening("none", Limits(), ["no_such_module"]):
        raise AssertionError
    assert [one._process for one in boxes] == [None]


def test_a_sandbox_that_cannot_be_had_is_told_to_who_asks_for_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with Opening("bubblewrap", Limits()) as opening, pytest.raises(SandboxUnavailable):
        opening.sandbox()
    with Opening("bubblewrap", Limits()):
        pass


LOADED = "[path.parent.name for path in __import__('autograder.curriculum').curriculum._loaded]"


def test_the_reader_of_notebooks_gets_ready_too():
    rebuild.get_ready(["08_backpropagation", "no_such_module"])
    assert "08_backpropagation" in apart.call(eval, LOADED)


def test_a_grader_meanwhile_imports_the_hidden_tests_and_has_the_reader_get_ready():
    sys.modules.pop("12_transformers.hidden_tests", None)
    with Opening("none", Limits(), ["12_transformers"]) as opening, Grader(opening):
        assert "12_transformers.hidden_tests" in sys.modules
    assert "12_transformers" in apart.call(eval, LOADED)
