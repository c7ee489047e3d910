"""Which notebooks `lsml grade` means: a path, a module's in work/, or the one of the folder one stands in."""

import os

import pytest

from autograder import curriculum
from autograder.errors import UserError
from autograder.grading.chosen import notebooks

MODULE = curriculum.names()[1]


@pytest.fixture
def root(tmp_path):
    """A checkout with the course's modules, and a notebook of one of them in work/."""
    (tmp_path / "solutions").symlink_to(curriculum.ROOT / "solutions")
    for module in (MODULE, curriculum.names()[2]):
        (tmp_path / "work" / module).mkdir(parents=True)
    (tmp_path / "work" / MODULE / f"{MODULE}.ipynb").touch()
    return tmp_path


@pytest.mark.parametrize("said", [MODULE, MODULE[:2]])
def test_a_module_means_its_notebook_in_work(root, monkeypatch, said):
    monkeypatch.chdir(root)
    assert notebooks([said], root) == [os.path.join("work", MODULE, f"{MODULE}.ipynb")]
    monkeypatch.chdir(root / "work")  # where a folder has that name too
    assert notebooks([said], root) == [os.path.join(MODULE, f"{MODULE}.ipynb")]


def test_a_module_that_is_not_in_work_yet(root):
    with pytest.raises(UserError, match="`make lab`"):
        notebooks([curriculum.names()[2]], root)


def test_a_path_is_a_path_and_must_exist(root, monkeypatch):
    monkeypatch.chdir(root)
    path = f"work/{MODULE}/{MODULE}.ipynb"
    assert notebooks([path, path], root) == [path, path]
    with pytest.raises(UserError, match=r"no such file: 1\.ipynb"):
        notebooks([path, "1.ipynb"], root)
    with pytest.raises(UserError, match=f"no module '99'; there are: .*{MODULE}"):
        notebooks(["99"], root)


def test_without_an_argument_it_is_the_notebook_of_this_folder(root, monkeypatch):
    folder = root / "work" / MODULE
    monkeypatch.chdir(folder)
    assert notebooks([], root) == [f"{MODULE}.ipynb"]
    (folder / f"{MODULE}-Copy1.ipynb").touch()
    (folder / ".ipynb_checkpoints").mkdir()
    assert notebooks([], root) == [f"{MODULE}.ipynb"], "the one that is named as the module is"
    (folder / f"{MODULE}.ipynb").rename(folder / "mine.ipynb")
    with pytest.raises(UserError, match=r"several notebooks.*mine\.ipynb.*lsml grade 01"):
        notebooks([], root)


def test_without_an_argument_where_there_is_none(root, monkeypatch):
    monkeypatch.chdir(root / "work")
    with pytest.raises(UserError, match=r"no notebook in this folder.*lsml grade 01"):
        notebooks([], root)
