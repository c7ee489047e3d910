"""`lsml lab` copies what is missing to work/, and leaves alone what is there."""

import pytest

from autograder.authoring.build import build
from autograder.authoring.work import copy_missing
from autograder.errors import UserError

from .conftest import NAME, TEXT, with_module


@pytest.fixture
def built(checkout):
    build([NAME], checkout)
    return checkout


def test_copies_once_and_never_over_work(built):
    mine = built / "work" / NAME / f"{NAME}.ipynb"
    assert copy_missing(built) == [mine]
    assert mine.read_bytes() == (built / "course" / NAME / f"{NAME}.ipynb").read_bytes()
    mine.write_text("my answers")
    assert copy_missing(built) == []
    assert mine.read_text() == "my answers"


def test_copies_a_new_module_beside_the_old(built):
    copy_missing(built)
    with_module(built, TEXT.replace("01", "02").replace("02_sums", "02_more"), "02_more")
    build([NAME, "02_more"], built)
    assert copy_missing(built) == [built / "work" / "02_more" / "02_more.ipynb"]


def test_leaves_links_and_checkpoints_alone(built, tmp_path):
    target = built / "work" / NAME / f"{NAME}.ipynb"
    target.parent.mkdir(parents=True)
    target.symlink_to(tmp_path / "elsewhere.ipynb")
    aside = built / "course" / NAME / ".ipynb_checkpoints"
    aside.mkdir()
    (aside / "x.ipynb").write_text("{}")
    assert copy_missing(built) == []
    assert not (tmp_path / "elsewhere.ipynb").exists()


def test_without_a_course(checkout):
    with pytest.raises(UserError, match="run `lsml build` first"):
        copy_missing(checkout)
