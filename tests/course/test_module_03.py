"""Module 03: a peer's function is no answer, and a mistake that people make is told by the test that names it."""

import pytest

from autograder import answers, curriculum
from autograder.grading import syntax
from autograder.grading.grade import Grader
from autograder.grading.reference import reference_cells

NAME = "03_softmax"
MODULE = curriculum.load(NAME)

PEERS = [
    ("binary_cross_entropy", "torch.binary_cross_entropy_with_logits(torch.tensor(z), torch.tensor(y))"),
    ("binary_cross_entropy", "np.mean(np.logaddexp(0, z) - y * z)"),
    ("logsumexp", "torch.logcumsumexp(torch.tensor(z), 0)[-1]"),
    ("logsumexp", "np.logaddexp.reduce(z)"),
    ("softmax", "torch._softmax(torch.tensor(z), 0, False)"),
    ("log_softmax", "torch.log_softmax(torch.tensor(z), 0)"),
    ("cross_entropy", "-torch.log_softmax(torch.tensor(z), 1)[:, y].mean()"),
    ("cross_entropy", "torch._C._nn.cross_entropy_loss(torch.tensor(z), torch.tensor(y))"),
    ("cross_entropy_gradient", "functorch.grad(loss)(z)"),
    ("fit_softmax_regression", "torch.optim.SGD(z, 0.1)"),
    ("fit_softmax_regression", "torch.nn.functional.cross_entropy(torch.tensor(z), torch.tensor(y)).backward()"),
    ("online_logsumexp", "np.logaddexp.reduce(z), 1"),
]


@pytest.mark.parametrize(("exercise", "call"), PEERS)
def test_a_peer_is_no_answer(exercise, call):
    cell = f"import functorch\n\ndef {exercise}(z, y=0):\n    return {call}\n"
    assert syntax.forbidden({exercise: MODULE.exercise(exercise).forbids}, [*MODULE.setup, cell])[exercise]


TOLD = [
    ("softmax", "mixes the axes: shifts along the first and sums along the one that was asked for", "along the axis"),
    ("softmax", "normalises over the batch instead of the classes", "along the axis"),
    ("cross_entropy", "takes the log of clipped probabilities", "clipped"),
    ("binary_cross_entropy", "takes logarithms of clipped probabilities", "clipped"),
    ("fit_softmax_regression", "adds the gradient and goes uphill", "downhill"),
    ("cross_entropy_gradient", "builds the Jacobian of softmax", "memory"),
    ("online_logsumexp", "keeps all the chunks", "memory"),
]


@pytest.fixture(scope="module")
def grader():
    with Grader("none") as grader:
        yield grader


def first_failure(grader, exercise, cell):
    """The sentence of the first hidden test that an answer fails."""
    cells = [replaced(one, cell) if one.label == exercise else one for one in reference_cells(MODULE)]
    return next(run.spec.sentence for run in grader.outcomes(MODULE, cells, exercise) if run.cause != "passed")


def replaced(cell, source):
    return type(cell)(cell.label, source, cell.kind)


@pytest.mark.parametrize(("exercise", "says", "named"), TOLD)
def test_the_first_test_that_fails_names_the_mistake(grader, exercise, says, named):
    (answer,) = [answer for answer in answers.load(NAME).wrong(exercise) if answer.says == says]
    assert named in first_failure(grader, exercise, answer.cell(MODULE.exercise(exercise).solution))


def test_a_sigmoid_that_numpy_does_not_have(grader):
    cell = MODULE.exercise("binary_cross_entropy").solution.replace("z = as_float(z)", "return np.sigmoid(z)")
    assert "1 / (1 + exp(-z))" in first_failure(grader, "binary_cross_entropy", cell)
