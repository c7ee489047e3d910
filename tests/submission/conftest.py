"""One sandbox of each kind, warm for all tests of this folder."""

import sys

import pytest

from autograder.sandbox import Limits, SandboxUnavailable, open_sandbox
from autograder.submission import LocalSubmission, SourceCell, Submission

LIMITS = Limits(cell_seconds=5.0, call_seconds=5.0, notebook_seconds=60.0, memory_mb=256)


def boxes(kind):
    try:
        with open_sandbox(kind, LIMITS) as box:
            yield box
    except SandboxUnavailable as error:
        if sys.platform == "linux":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def bubblewrap():
    yield from boxes("bubblewrap")


@pytest.fixture(scope="session")
def unboxed():
    yield from boxes("none")


@pytest.fixture(params=["bubblewrap", "unboxed", "local"])
def load(request):
    """Load cells into a submission, in each of the three places where cells are run."""
    opened = []

    def load(*sources, **options):
        cells = [SourceCell(f"cell {i}", source) for i, source in enumerate(sources, 1)]
        if request.param == "local":
            submission = LocalSubmission(cells)
        else:
            submission = Submission.load(request.getfixturevalue(request.param), cells, **options)
        opened.append(submission)
        return submission

    yield load
    for submission in opened:
        submission.close()


@pytest.fixture(params=["bubblewrap", "unboxed"])
def process(request):
    """The same, in a process of its own only."""
    opened = []

    def process(*sources, **options):
        cells = [SourceCell(f"cell {i}", source) for i, source in enumerate(sources, 1)]
        submission = Submission.load(request.getfixturevalue(request.param), cells, **options)
        opened.append(submission)
        return submission

    yield process
    for submission in opened:
        submission.close()
