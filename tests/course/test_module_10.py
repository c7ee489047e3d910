"""Module 10: what its optimisers import is imported once, and on a GPU a run in mixed precision goes on."""

import math

import pytest
import torch

from autograder import curriculum
from autograder.sandbox import Limits, Sandbox, SandboxUnavailable
from autograder.submission import SourceCell, Submission

MODULE = curriculum.load("10_convolutional_networks")


@pytest.fixture(scope="module")
def reference():
    """The names that the setup cells and the reference's answers define."""
    names = {"__name__": "reference"}
    for source in (*MODULE.setup, *(exercise.solution for exercise in MODULE.exercises)):
        exec(compile(source, "reference", "exec"), names)
    return names


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU, and torch sees none here")
def test_mixed_precision_trains_on_a_gpu(reference, tmp_path):
    X, classes = reference["crops"](60, seed=0)
    X, y = reference["as_input"](X), torch.from_numpy(classes)

    def stop(t, loss):
        if t == 40:
            raise InterruptedError

    run = {"steps": 60, "device": "cuda", "precision": "bfloat16", "path": str(tmp_path / "net.pt"), "every": 20}
    with pytest.raises(InterruptedError):
        reference["train"](reference["ConvNet"](3, 5, dropout=0.1), X, y, on_step=stop, **run)
    net = reference["ConvNet"](3, 5, dropout=0.1)
    losses = reference["train"](net, X, y, **run)
    assert len(losses) == 60
    assert all(part.dtype == torch.float32 and part.is_cuda for part in net.parameters())
    assert sum(losses[-10:]) / 10 < 0.7 * math.log(5)


OPTIMISE = """
import sys, torch
def ready(): return "torch._dynamo" in sys.modules
def optimise(): torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
"""


@pytest.mark.parametrize("kind", ["none", "bubblewrap"])
def test_what_an_optimiser_imports_is_there_for_the_next_child(kind):
    """It takes a second, which each child of a submission would take again."""
    try:
        sandbox = Sandbox(kind, Limits(call_seconds=60.0, cell_seconds=60.0), preload=["numpy", "torch"])
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    with sandbox:
        found = []
        for _ in range(2):
            with Submission.load(sandbox, [SourceCell("cell 1", OPTIMISE)]) as submission:
                found.append(submission.ready())
                submission.optimise()
    assert found == [False, True]
