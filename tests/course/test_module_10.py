"""Module 10 on a GPU: mixed precision trains there, and an interrupted run goes on. Skipped where there is none."""

import math

import pytest
import torch

from autograder import curriculum

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
