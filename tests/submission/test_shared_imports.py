"""What takes long to import is imported once, by the server that forks the children."""

import pytest

from autograder.sandbox import Limits, Sandbox, SandboxUnavailable, sharing
from autograder.submission import SourceCell, Submission

SEES = """
import sys, torch
READY = "torch._dynamo" in sys.modules
def optimise(): return torch.optim.SGD([torch.nn.Parameter(torch.ones(1))]).defaults["lr"]
"""


@pytest.mark.parametrize("kind", ["none", "bubblewrap"])
def test_what_an_optimiser_imports_is_imported_once_for_all_children(kind):
    """It takes a second, which each child would take again; one without optimisers waits for nothing."""
    try:
        sandbox = Sandbox(kind, Limits(call_seconds=60.0, cell_seconds=60.0))
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    found = []
    with sandbox:
        for cell in (SEES.replace("torch.optim", "torch.nn"), SEES, SEES):
            with Submission.load(sandbox, [SourceCell("cell 1", cell)]) as submission:
                found.append(submission.value("READY"))
        with Submission.load(sandbox, [SourceCell("cell 1", SEES)]) as submission:
            assert submission.optimise() == 1e-3
    assert found == [False, True, True]


def test_a_text_names_modules_by_all_their_parts():
    text = "from sklearn.linear_model import Ridge\nimport scipy\n# stats"
    assert sharing.named(text) == ("scipy.stats", "sklearn", "sklearn.linear_model")
    assert sharing.named("numpy.linalg", "import torch; torch.optim.SGD")[-2:] == ("torch", sharing.OF_OPTIMISERS)
    assert sharing.named("pytorch mytorch") == ()
    assert sharing.named("import torch\n# do not use torch.optim") == ("torch",)
    assert sharing.named("import torch\nfrom torch.optim import Adam")[-1] == sharing.OF_OPTIMISERS


def test_hidden_tests_send_tensors_to_cells_that_import_no_torch():
    """The child reads them with a torch that its server has; its own import would count as the student's time."""
    assert sharing.received("import torch\nimport sklearn, matplotlib.pyplot") == ["torch"]
    assert sharing.received("from scipy import sparse") == ["scipy.sparse"]
    with Sandbox("none", Limits()) as box:
        box.share(["torch"])
        with Submission.load(box, [SourceCell("cell 1", "import sys\nREADY = 'torch' in sys.modules")]) as child:
            assert child.value("READY") is True


def test_a_name_that_is_no_module_is_passed_over():
    with Sandbox("none", Limits()) as box:
        box.share(["no_such_module", "json"])
        with Submission.load(box, [SourceCell("cell 1", "x = 1")]) as child:
            assert child.value("x") == 1
