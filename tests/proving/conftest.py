"""A small module in a tree of its own, and one bench to try its answers on."""

import pytest

from autograder import calibration, curriculum
from autograder.authoring.new import create
from autograder.proving.runs import Bench, calibrate

NAME = "98_proving"


class Tree:
    """The skeleton of a new module, whose files a test may change; `calibrate` says what comes of it."""

    def __init__(self, root, bench):
        self.root, self.bench = root, bench
        self.module_file, self.tests_file, self.calibration_file = create(NAME, "Proving", root)

    @property
    def module(self):
        return curriculum.load(NAME, self.root)

    @property
    def gallery(self):
        return calibration.load(NAME, self.root)

    def change(self, file, old, new):
        text = file.read_text()
        assert text.count(old) >= 1, f"{old!r} does not stand in {file.name}"
        file.write_text(text.replace(old, new))

    def calibrate(self, exercise, sample=1):
        (row,) = calibrate([NAME], root=self.root, only=[exercise], sample=sample, bench=self.bench)
        return row


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with Bench(tmp_path_factory.mktemp("tree")) as bench:
        yield bench


@pytest.fixture
def tree(bench):
    tree = Tree(bench.root, bench)
    yield tree
    for file in (tree.module_file, tree.tests_file, tree.calibration_file):
        file.unlink()
