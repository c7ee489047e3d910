"""What takes long to import is imported once, by the server that forks the children."""

import pytest

from autograder.sandbox import Limits, Sandbox, SandboxUnavailable
from autograder.submission import SourceCell, Submission

OPTIMISE = """
import sys, torch
READY = "torch._dynamo" in sys.modules
def optimise(): return torch.optim.SGD([torch.nn.Parameter(torch.ones(1))]).defaults["lr"]
"""


@pytest.mark.parametrize("kind", ["none", "bubblewrap"])
def test_what_an_optimiser_imports_is_imported_once_for_all_children(kind):
    """It takes a second, which each child would take again; one without optimisers waits for nothing."""
    try:
        sandbox = Sandbox(kind, Limits(call_seconds=60.0, cell_seconds=60.0), preload=["numpy", "torch"])
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    found = []
    with sandbox:
        for cell in (OPTIMISE.replace("torch.optim", "torch.nn"), OPTIMISE, OPTIMISE):
            with Submission.load(sandbox, [SourceCell("cell 1", cell)]) as submission:
                found.append(submission.value("READY"))
        with Submission.load(sandbox, [SourceCell("cell 1", OPTIMISE)]) as submission:
            assert submission.optimise() == 1e-3
    assert found == [False, True, True]
