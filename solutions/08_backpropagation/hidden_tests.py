"""Hidden tests of module 08. A docstring is the sentence that a student reads when the test fails.

The oracle is torch.autograd in float64, central differences, or a closed form. Rounding: results are sums of
some hundred products, layer after layer, so they are off by at most some hundred eps of their largest entry; where
float32 came, eps is that of float32.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from autograder.judging import (
    EPS,
    SEEDS,
    Asked,
    Contract,
    close,
    floats,
    frozen,
    is_array,
    labels,
    numbers,
    one_of,
    raises_student,
    stepped,
    student_side,
)

SMALL_SEEDS = [seed for seed in SEEDS if seed < 2**32]


def doubles(*shape, **settings):
    """What `floats` holds, but float64 only."""
    argument = floats(*shape, **settings)
    return replace(argument, forms={name: form for name, form in argument.forms.items() if "float32" not in name})


def alike(cases):
    """The cases whose float arrays have one dtype."""
    return [case for case in cases if ": float32" not in case.form]


def usual(cases):
    """The cases that a core test asks for: float64 arrays of usual size, in the usual order of memory."""
    return [
        case
        for case in cases
        if not case.form.startswith("times")
        and all(a.dtype in (np.float64, np.int64) and a.flags.carray for a in case if isinstance(a, np.ndarray))
    ]


def near(got, expected, eps=EPS, slack=500, dtype=None):
    """Whether lists of arrays agree to `slack` eps of each array's largest entry; with a dtype, also of that dtype."""
    if not isinstance(got, list | tuple) or len(got) != len(expected):
        return close(got, expected)
    for mine, theirs in zip(got, expected, strict=True):
        size = float(np.abs(theirs).max(initial=0.0))
        want = theirs if dtype is None else theirs.astype(dtype)
        if not (same := close(mine, want, atol=slack * eps * size, typed=dtype is not None)):
            return same
    return close(True, True)


@student_side
def draws_after(name, args):
    """What NumPy's global generator draws next, after a call."""
    np.random.seed(5)
    getattr(student, name)(*args)  # noqa: F821
    return np.random.random(3)


def leaves_the_global_generator(submission, name, args):
    return close(submission.run(draws_after, name, list(args)), np.random.RandomState(5).random_sample(3))


# ------------------------------------------------------------------------------------------------- gradient_check


def cubes(theta):
    """A function whose differences are known exactly: at eps they are 3 theta^2 + eps^2, times the weights."""
    return float((np.arange(1, theta.size + 1).reshape(theta.shape) * theta**3).sum())


def error_of(theta, gradient, eps):
    """What the docstring returns for `cubes`."""
    found = np.arange(1, theta.size + 1).reshape(theta.shape) * (3 * theta**2 + eps**2)
    size = max(np.abs(found).max(), np.abs(gradient).max())
    return float(np.abs(found - gradient).max() / size)


@pytest.mark.exercise("gradient_check", weight=3, core=True)
def test_check_is_the_largest_relative_error(submission, rng):
    """The error is that of the central differences: the largest one, divided by the largest entry."""
    for shape, eps in itertools.product([(4,), (1,), (2, 3), (3, 1, 2)], [0.5, 2.0]):
        theta = rng.standard_normal(shape)
        gradient = 3 * theta**2 + rng.standard_normal(shape)
        got = submission.gradient_check(Asked(cubes), theta, gradient, eps)
        assert close(got, error_of(theta, gradient, eps), rtol=1e-9)


@pytest.mark.exercise("gradient_check", weight=2, hint=3)
def test_check_does_not_depend_on_the_scale(submission, rng):
    """The error is relative, whatever the size of the gradient, and is 0.0 where all is 0; it is a Python float."""
    for scale in (2.0**-60, 1.0, 2.0**60):
        theta, gradient = rng.standard_normal(5), scale * rng.standard_normal(5)
        slopes = scale * rng.standard_normal(5)
        slopes[0], gradient[1] = 0.0, 0.0
        size = max(np.abs(slopes).max(), np.abs(gradient).max())
        got = submission.gradient_check(Asked(lambda t, s=slopes: float(s @ t)), theta, gradient, 0.5)
        assert close(got, float(np.abs(slopes - gradient).max() / size), rtol=1e-9, typed=True)
        got = submission.gradient_check(Asked(lambda t, s=slopes: s @ t), theta, 0 * gradient)
        assert close(got, 1.0, rtol=1e-6, typed=True)
    assert close(submission.gradient_check(Asked(lambda t: 5.0), rng.standard_normal(3), np.zeros(3)), 0.0, typed=True)


@pytest.mark.exercise("gradient_check", weight=2)
def test_check_keeps_to_eps(submission):
    """The differences are taken with the step that was given, from tiny to large ones; 1e-5 where none was."""
    # At 0 the difference of a cube is eps^2 exactly, up to a few roundings.
    theta = np.zeros(2)
    for eps in (1e-9, 3e-8, 1e-5, 0.1, 10.0, 97.0):
        given = np.array([eps**2, eps**2])  # the second entry's difference is 2 eps^2
        assert close(submission.gradient_check(Asked(cubes), theta, given, eps), 0.5, rtol=1e-12)
    assert close(submission.gradient_check(Asked(cubes), theta, np.full(2, 1e-10)), 0.5, rtol=1e-12)


@pytest.mark.exercise("gradient_check", weight=2, hint=2)
def test_check_asks_twice_for_each_entry(submission, rng):
    """f is called exactly twice for each entry, with theta plus and minus eps in this entry, as an array."""
    for shape, scale, eps in [((5,), 1.0, 0.25), ((2, 3), 1e-8, 1e-9), ((2, 2), 1e9, 0.5)]:
        theta = scale * rng.standard_normal(shape)
        asked = Asked(lambda t: 1.0)
        got = submission.gradient_check(asked, theta, np.ones(shape), eps)
        assert close(got, 1.0, typed=True) and close(len(asked.calls), 2 * theta.size)
        assert all(is_array(call[0], shape, np.float64) for call in asked.calls)
        moves = np.array([call[0] - theta for call in asked.calls]).reshape(len(asked.calls), -1)
        order = np.lexsort((moves.sum(axis=1), np.abs(moves).argmax(axis=1)))
        expected = np.kron(np.eye(theta.size), np.array([[-eps], [eps]]))
        assert close(moves[order], expected, atol=4 * EPS * np.abs(theta).max())


@student_side
def slopes_of_two(theta):
    """The sum of two late entries (runs over there, as an argument)."""
    return float(theta[5] + 3 * theta[1050])


@pytest.mark.exercise("gradient_check")
def test_check_looks_at_every_entry(submission):
    """The last of many entries counts as much as the first."""
    gradient = np.zeros(1100)
    gradient[5] = 1.0
    for late, expected in ((3.0, 0.0), (1.0, 2 / 3), (4.0, 1 / 4)):
        gradient[1050] = late
        got = submission.gradient_check(slopes_of_two, np.zeros(1100), gradient, 0.5)
        assert close(got, expected, atol=1e-12)


@student_side
def spoiling(theta):
    """A function that writes to its argument (runs over there, as an argument)."""
    value = float((theta**3).sum())
    theta[...] = 9.0
    return value


@student_side
def kept_by_f(theta, eps):
    """The arrays that f was called with, as they are when the check is over (runs over there)."""
    kept = []

    def keeping(t):
        kept.append(t)
        return float((t**3).sum())

    student.gradient_check(keeping, theta, 0 * theta, eps)  # noqa: F821
    return [np.array(t, dtype=np.float64) for t in kept]


@pytest.mark.exercise("gradient_check")
def test_check_gives_f_an_array_of_its_own(submission, rng):
    """f gets a new array each time: what it writes there changes nothing, and what it keeps does not change."""
    theta = rng.standard_normal((2, 2))
    found = 3 * theta**2 + 0.25
    assert close(submission.gradient_check(spoiling, theta, 0 * theta, 0.5), 1.0, rtol=1e-9)
    off = found + np.array([[0.0, 0.0], [1.0, 0.0]])
    size = np.abs([found, off]).max()
    assert close(submission.gradient_check(spoiling, theta, off, 0.5), 1 / size, rtol=1e-9)
    kept = submission.run(kept_by_f, theta, 0.5)
    assert close(len(kept), 8) and all(is_array(t, (2, 2)) for t in kept)
    moves = np.array(kept).reshape(8, 4) - theta.ravel()
    order = np.lexsort((moves.sum(axis=1), np.abs(moves).argmax(axis=1)))
    assert close(moves[order], np.kron(np.eye(4), np.array([[-0.5], [0.5]])), atol=4 * EPS * (1 + np.abs(theta).max()))


@pytest.mark.exercise("gradient_check")
def test_check_of_every_layout(submission, rng):
    """theta and gradient may be views, in any order of memory, and read-only."""
    contract = Contract("f", theta=doubles(3, 2, scales=(1e-7, 1e7)), gradient=doubles(3, 2, scales=(1e-14, 1e15)))
    for case in contract.cases(rng):
        got = submission.gradient_check(Asked(cubes), *case, 2.0**-10)
        theta = case.exact[0]
        # Two values of f, each rounded, divided by 2 eps and by the largest entry.
        rounding = 20 * EPS * np.abs(theta**3).sum() * 6 * 2.0**10
        size = max(np.abs(18 * theta**2).max(), np.abs(case.exact[1]).max())
        assert close(got, error_of(*case.exact, 2.0**-10), rtol=1e-9, atol=rounding / size, typed=True)


@student_side
def quiet_cubes(theta):
    """A function to be checked (runs over there, as an argument)."""
    return float((theta**3).sum())


@student_side
def theta_while_f_runs(theta, eps):
    """How many calls of f find theta as it was (runs over there)."""
    before, same = theta.copy(), []

    def looking(t):
        same.append(np.array_equal(theta, before))
        return float((t**3).sum())

    student.gradient_check(looking, theta, 0 * theta, eps)  # noqa: F821
    return sum(same)


@pytest.mark.exercise("gradient_check", forgeable=True, hint=1)
def test_check_leaves_theta_while_f_runs(submission, rng):
    """theta is left as it is also while f is called: the entry is moved in a copy, not in theta itself."""
    assert close(submission.run(theta_while_f_runs, rng.standard_normal((2, 3)), 0.5), 12)


@pytest.mark.exercise("gradient_check", forgeable=True)
def test_check_leaves_no_trace(submission, rng):
    """theta and gradient are the same after the call."""
    trace = Contract("gradient_check", f=quiet_cubes, theta=doubles(3, 2), gradient=doubles(3, 2), eps=0.5)
    assert trace.leaves_no_trace(submission, rng, then=[{}, {"gradient": np.zeros((3, 2))}])


# ---------------------------------------------------------------------------------------------------- mlp_forward

NETWORK = {"X": floats(7, 3), "W1": floats(3, 5), "b1": floats(5), "W2": floats(5, 4), "b2": floats(4)}
NETWORK |= {"W3": floats(4, 2), "b3": floats(2)}
FORWARD = Contract("mlp_forward", **NETWORK | {"X": floats(7, 3, scales=(1e-8, 1e11))})


def forward(X, weights, biases, activation="tanh"):
    """By definition, in float64."""
    outputs, H = [], np.array(X, np.float64)
    for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
        A = np.einsum("ij,jk->ik", H, np.array(W, np.float64)) + np.array(b, np.float64)
        H = A if layer == len(weights) - 1 else np.tanh(A) if activation == "tanh" else np.where(A > 0, A, 0.0)
        outputs.append(H)
    return outputs


def network(rng, widths, m):
    """X, weights and biases with signals of size 1."""
    pairs = list(itertools.pairwise(widths))
    weights = [rng.standard_normal(pair) / math.sqrt(pair[0]) for pair in pairs]
    return rng.standard_normal((m, widths[0])), weights, [rng.standard_normal(n) / 2 for _, n in pairs]


@pytest.mark.exercise("mlp_forward", weight=3, core=True)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_outputs_of_all_layers(submission, rng, activation):
    """All outputs are right, from H_1 to the logits, with an activation after each layer but the last."""
    for widths, m in [((3, 4, 2), 6), ((5, 7, 3, 4), 4), ((2, 3, 3, 3, 2), 3)]:
        X, weights, biases = network(rng, widths, m)
        got = submission.mlp_forward(X, weights, biases, activation)
        assert near(got, forward(X, weights, biases, activation), slack=1e6)


@pytest.mark.exercise("mlp_forward", weight=2)
def test_outputs_of_small_and_large_networks(submission, rng):
    """One layer, one row, one unit, one feature and a thousand rows are all fine; tanh is the default."""
    for widths, m in [((3, 2), 4), ((3, 4, 2), 1), ((1, 1, 1), 3), ((1, 5, 1), 2), ((4, 60, 3), 1300), ((2,) * 260, 2)]:
        X, weights, biases = network(rng, widths, m)
        for activation in ("tanh", "relu"):
            got = submission.mlp_forward(X, weights, biases, activation)
            assert near(got, forward(X, weights, biases, activation), dtype=np.float64, slack=2000)
        assert near(submission.mlp_forward(X, weights, biases), forward(X, weights, biases), slack=2000)


@pytest.mark.exercise("mlp_forward", weight=2)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_outputs_of_every_kind(submission, rng, activation):
    """Arrays of every layout give their dtype, large and small entries too; float32 stays float32."""
    for case in alike(FORWARD.cases(rng)):
        X, W1, b1, W2, b2, W3, b3 = case
        got = submission.mlp_forward(X, [W1, W2, W3], [b1, b2, b3], activation)
        X, W1, b1, W2, b2, W3, b3 = case.exact
        assert near(got, forward(X, [W1, W2, W3], [b1, b2, b3], activation), case.eps, 2000, case.dtype)


@pytest.mark.exercise("mlp_forward")
def test_another_activation_is_refused(submission, rng):
    """Another activation raises ValueError, also with one layer and with many."""
    for widths in [(3, 2), (3, 4, 2), (3, 4, 4, 2)]:
        X, weights, biases = network(rng, widths, 3)
        for bad in ("sigmoid", "Tanh", " relu", ""):
            with raises_student(ValueError):
                submission.mlp_forward(X, weights, biases, bad)


def networks(rng):
    return network(rng, (3, 4, 4, 2), 5)


def listed(part, shape=(3, 4, 4, 2)):
    """The weights (1) or the biases (2) of a network, as an argument of a contract."""
    return replace(floats(2), plain=lambda rng: network(rng, shape, 5)[part], exact=lambda value: value, forms={})


@pytest.mark.exercise("mlp_forward", forgeable=True)
def test_forward_leaves_no_trace(submission, rng):
    """X and the parameters are left as they are, and every output is a new array."""
    contract = Contract("mlp_forward", X=doubles(5, 3), weights=listed(1), biases=listed(2), activation="relu")
    one = [np.ones((3, 2))], [np.ones(2)]
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"activation": "tanh"}], activation=["elu"])
    assert Contract("mlp_forward", X=doubles(5, 3), weights=one[0], biases=one[1]).leaves_no_trace(submission, rng)


# --------------------------------------------------------------------------------------------------- mlp_backward


def backward(X, y, weights, outputs, activation="tanh", biases=None):
    """The gradients of the mean cross-entropy by torch.autograd, in float64.

    A zero is added to each layer's input before its activation, whose gradient is that of the bias. What the layers
    put out is taken from `outputs`, so that these may be anything.
    """
    del biases
    tensors = [torch.tensor(np.array(W, np.float64), requires_grad=True) for W in weights]
    shifts = [torch.zeros(W.shape[1], dtype=torch.float64, requires_grad=True) for W in weights]
    H = torch.tensor(np.array(X, np.float64))
    for layer, (W, shift) in enumerate(zip(tensors, shifts, strict=True)):
        made = torch.tensor(np.array(outputs[layer], np.float64))
        A = H @ W + shift
        if layer == len(tensors) - 1:
            H = A - A.detach() + made
        else:
            slope = 1 - made**2 if activation == "tanh" else (made > 0).double()
            H = (A - A.detach()) * slope + made
    loss = torch.nn.functional.cross_entropy(H, torch.tensor(np.array(y, np.int64)))
    grads = torch.autograd.grad(loss, [*tensors, *shifts])
    return [g.numpy() for g in grads[: len(tensors)]], [g.numpy() for g in grads[len(tensors) :]]


def is_gradient(got, expected, eps=EPS, slack=2000, dtype=None):
    if not isinstance(got, tuple | list) or len(got) != 2:
        return close(got, expected)
    return near(got[0], expected[0], eps, slack, dtype) and near(got[1], expected[1], eps, slack, dtype)


def every_class(rng, classes, m):
    """Labels of m rows, m >= classes, in which every class occurs."""
    return rng.permutation(np.concatenate([np.arange(classes), rng.integers(0, classes, m - classes)]))


@pytest.mark.exercise("mlp_backward", weight=3, core=True)
def test_gradient_of_one_layer(submission, rng):
    """For one layer the gradient is right: the input, transposed, times (P - Y) / m, and the sum of its rows."""
    for widths, m in [((3, 4), 5), ((5, 2), 8), ((2, 3), 3)]:
        X, weights, biases = network(rng, widths, m)
        y, outputs = every_class(rng, widths[-1], m), forward(X, weights, biases)
        assert is_gradient(submission.mlp_backward(X, y, outputs, weights), backward(X, y, weights, outputs), slack=1e7)


@pytest.mark.exercise("mlp_backward", weight=1)
def test_gradient_where_a_class_has_no_row(submission, rng):
    """Where the batch has no row of the last class, or of another one, every class still has its column."""
    for widths, m, there in [((3, 4), 5, [0, 2]), ((5, 2), 4, [0]), ((2, 3, 4), 3, [0, 1, 2]), ((2, 3, 3), 6, [1, 2])]:
        X, weights, biases = network(rng, widths, m)
        y, outputs = rng.choice(there, m), forward(X, weights, biases)
        assert is_gradient(submission.mlp_backward(X, y, outputs, weights), backward(X, y, weights, outputs))


@pytest.mark.exercise("mlp_backward", weight=3, core=True, hint=3)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_gradient_of_deep_networks(submission, rng, activation):
    """The gradients for all layers agree with those of automatic differentiation."""
    for widths, m in [((3, 4, 2), 6), ((5, 7, 3, 4), 5), ((3, 3, 3, 3, 3), 7)]:
        X, weights, biases = network(rng, widths, m)
        y, outputs = every_class(rng, widths[-1], m), forward(X, weights, biases, activation)
        got = submission.mlp_backward(X, y, outputs, weights, activation)
        assert is_gradient(got, backward(X, y, weights, outputs, activation), slack=1e7)


@pytest.mark.exercise("mlp_backward", weight=2)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_gradient_agrees_with_differences(submission, rng, activation):
    """Moving a parameter a little moves the loss as the gradient says."""
    X, weights, biases = network(rng, (4, 6, 5, 3), 9)
    y = rng.integers(0, 3, 9)
    got = submission.mlp_backward(X, y, forward(X, weights, biases, activation), weights, activation)
    assert close(len(got), 2)

    def loss(weights, biases):
        Z = forward(X, weights, biases, activation)[-1]
        return float(np.mean(scipy.special.logsumexp(Z, axis=1) - Z[np.arange(9), y]))

    for _ in range(6):
        way = [rng.standard_normal(W.shape) for W in weights], [rng.standard_normal(b.shape) for b in biases]
        ends = []
        for step in (1e-5, -1e-5):
            moved = [
                [p + step * v for p, v in zip(*pair, strict=True)] for pair in zip((weights, biases), way, strict=True)
            ]
            ends.append(loss(*moved))
        slope = sum(float((g * v).sum()) for part in range(2) for g, v in zip(got[part], way[part], strict=True))
        # eps^2 times a third derivative, which is below 1000 here, and rounding of 1e-16 / 1e-5.
        assert close(slope, (ends[0] - ends[1]) / 2e-5, atol=1e-6)


@pytest.mark.exercise("mlp_backward", weight=2)
def test_gradient_of_small_and_large_networks(submission, rng):
    """One row, one unit, one feature, one class and a thousand rows are all fine; tanh is the default."""
    shapes = [((3, 4, 2), 1), ((1, 1, 2), 3), ((3, 2, 1), 4), ((1, 5, 3), 2), ((4, 60, 3), 1300), ((2,) * 260, 2)]
    for widths, m in shapes:
        X, weights, biases = network(rng, widths, m)
        y = rng.integers(0, widths[-1], m)
        for activation in ("tanh", "relu"):
            outputs = forward(X, weights, biases, activation)
            got = submission.mlp_backward(X, y, outputs, weights, activation)
            assert is_gradient(got, backward(X, y, weights, outputs, activation), dtype=np.float64)
        outputs = forward(X, weights, biases)
        assert is_gradient(submission.mlp_backward(X, y, outputs, weights), backward(X, y, weights, outputs))


@pytest.mark.exercise("mlp_backward", weight=1, hint=3)
def test_gradient_where_a_unit_is_off(submission, rng):
    """The derivative of relu is 0 where a unit's output is 0, and that of tanh is 1 there."""
    X, weights, biases = network(rng, (3, 6, 5, 2), 8)
    y = rng.integers(0, 2, 8)
    for activation in ("tanh", "relu"):
        outputs = forward(X, weights, biases, activation)
        outputs[0][:, 1], outputs[0][:, 2], outputs[1][2] = 0.0, 1.0, 0.0
        got = submission.mlp_backward(X, y, outputs, weights, activation)
        assert is_gradient(got, backward(X, y, weights, outputs, activation))


@pytest.mark.exercise("mlp_backward", weight=1, hint=1)
def test_gradient_of_large_logits(submission, rng):
    """Logits of 1e4 give finite gradients, and they are right."""
    X, weights, biases = network(rng, (3, 4, 5), 6)
    y, outputs = rng.integers(0, 5, 6), forward(X, weights, biases)
    for scale in (300.0, 5000.0):
        outputs[-1] = np.clip(scale * outputs[-1], -1e4, 1e4)
        outputs[-1][0], outputs[-1][1] = 1e4, -1e4
        # Each logit is off by eps of its size, so the exponentials are by 1e4 eps.
        expected = backward(X, y, weights, outputs)
        assert is_gradient(submission.mlp_backward(X, y, outputs, weights), expected, slack=1e6)


# What relu gives back is never negative.
BACKWARD = {
    activation: Contract(
        "mlp_backward",
        X=floats(9, 3, scales=(1e-9, 1e9)),
        y=labels(9, classes=4),
        H1=floats(9, 5, draw=lambda rng, lowest=lowest: np.maximum(rng.uniform(-1, 1, (9, 5)), lowest)),
        Z=floats(9, 4),
        W1=floats(3, 5),
        W2=floats(5, 4, scales=(1e-8, 1e8)),
    )
    for activation, lowest in {"tanh": -1.0, "relu": 0.0}.items()
}


@pytest.mark.exercise("mlp_backward", weight=2)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_gradient_of_every_kind(submission, rng, activation):
    """Arrays of every layout, labels of every kind, large and small entries give gradients in the dtype of X."""
    for case in alike(BACKWARD[activation].cases(rng)):
        X, y, H1, Z, W1, W2 = case
        got = submission.mlp_backward(X, y, [H1, Z], [W1, W2], activation)
        X, y, H1, Z, W1, W2 = case.exact
        expected = backward(X, y, [W1, W2], [H1, Z], activation)
        assert is_gradient(got, expected, case.eps, dtype=case.dtype)


@pytest.mark.exercise("mlp_backward")
def test_backward_refuses_another_activation(submission, rng):
    """Another activation raises ValueError, also with one layer."""
    for widths in [(3, 2), (3, 4, 2)]:
        X, weights, biases = network(rng, widths, 3)
        outputs = forward(X, weights, biases)
        for bad in ("sigmoid", "Tanh", " relu", ""):
            with raises_student(ValueError):
                submission.mlp_backward(X, np.array([0, 1, 1]), outputs, weights, bad)


def made(rng, activation="tanh"):
    return forward(*network(rng, (3, 4, 4, 2), 5), activation)


@pytest.mark.exercise("mlp_backward", weight=2, forgeable=True)
def test_backward_leaves_no_trace(submission, rng):
    """The batch, the outputs and the weights are left as they are, and every gradient is a new array."""
    outputs = replace(listed(1), plain=made)
    contract = Contract("mlp_backward", X=doubles(5, 3), y=labels(5, classes=2), outputs=outputs, weights=listed(1))
    assert contract.leaves_no_trace(submission, rng)
    outputs = replace(listed(1), plain=lambda rng: made(rng, "relu"))
    contract = Contract(
        "mlp_backward", X=doubles(5, 3), y=labels(5, classes=2), outputs=outputs, weights=listed(1), activation="relu"
    )
    assert contract.leaves_no_trace(submission, rng, activation=["elu"])


# ----------------------------------------------------------------------------------------------------- train_step


def stepped_down(X, y, W1, b1, w2, b2, lr):
    """The step by torch.autograd."""
    tensors = [torch.tensor(np.array(p), dtype=torch.float64, requires_grad=True) for p in (W1, b1, w2, b2)]
    a = torch.tanh(torch.tensor(np.array(X, np.float64)) @ tensors[0] + tensors[1]) @ tensors[2] + tensors[3]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(a, torch.tensor(np.array(y, np.float64)))
    found = torch.autograd.grad(loss, tensors)
    new = [(t.detach() - lr * g).numpy() for t, g in zip(tensors, found, strict=True)]
    return (*new[:3], float(new[3]))


def is_step(got, expected, given, slack=2000, typed=False):
    """Whether a step agrees, in relation to what moved and to what was there."""
    if not isinstance(got, tuple | list) or len(got) != 4:
        return close(got, expected)
    for mine, theirs, old in zip(got, expected, given, strict=True):
        size = float(np.abs(theirs).max() + np.abs(old).max() + np.abs(theirs - old).max())
        if not (same := close(mine, theirs, atol=slack * EPS * size, typed=typed)):
            return same
    return close(True, True)


STEP = Contract(
    "train_step",
    X=doubles(8, 3, scales=(1e-7, 1e7)),
    y=labels(8, classes=2),
    W1=doubles(3, 5),
    b1=doubles(5),
    w2=doubles(5, scales=(1e-8, 40.0)),
    b2=one_of(0.3, 0.0, 35.0, -40.0, 3e-8),
    lr=one_of(0.5, 0.0, 100.0, 1e-7, 0.1),
)


@pytest.mark.exercise("train_step", weight=3, core=True, hint=3)
def test_step_goes_down(submission, rng):
    """The step subtracts lr times the gradient, taken at the old parameters, for W1, b1 and b2."""
    for case in usual(STEP.cases(rng, plain=4)):
        got, expected = submission.train_step(*case), stepped_down(*case.exact)
        assert close(len(got), 4)
        chosen = [0, 1, 3]
        given = [case.exact[2 + i] for i in chosen]
        for i, old in zip(chosen, given, strict=True):
            size = float(np.abs(expected[i]).max() + np.abs(old).max() + np.abs(expected[i] - old).max())
            assert close(got[i], expected[i], atol=1e-9 * size)


@pytest.mark.exercise("train_step", weight=3, core=True, hint=2)
def test_step_of_the_output_weights(submission, rng):
    """The output's weights move by the layer's input, transposed, times its delta."""
    for case in usual(STEP.cases(rng, plain=4)):
        got, expected = submission.train_step(*case), stepped_down(*case.exact)
        assert close(len(got), 4)
        assert close(got[2], expected[2], rtol=1e-9, atol=1e-9 * case.exact[6])


@pytest.mark.exercise("train_step", weight=1)
def test_step_of_every_kind_and_size(submission, rng):
    """One row, one feature, one hidden unit, many rows, every layout and every kind of labels are fine."""
    for case in STEP.cases(rng):
        assert is_step(submission.train_step(*case), stepped_down(*case.exact), case.exact[2:6], typed=True)
    for m, d, k in [(1, 3, 2), (5, 1, 2), (5, 2, 1), (1, 1, 1), (1500, 3, 4), (7, 3, 150)]:
        args = [rng.standard_normal((m, d)), rng.integers(0, 2, m), rng.standard_normal((d, k)), rng.standard_normal(k)]
        args += [rng.standard_normal(k) / k, 0.25, 1.0]
        assert is_step(submission.train_step(*args), stepped_down(*args), args[2:6], typed=True)
    for lr in (0.1, 1e-9, 900.0):
        args = [np.ones((2, 1)), np.array([0, 0]), np.ones((1, 1)), np.zeros(1), np.zeros(1), 0.0, lr]
        # p is 1/2 in both rows, so the gradient of b2 is 1/2 and that of w2 is tanh(1) / 2.
        assert close(submission.train_step(*args)[3], -lr / 2, rtol=1e-12)
        assert close(submission.train_step(*args)[2], np.array([-lr / 2 * np.tanh(1)]), rtol=1e-12)
    for b2 in (1e-9, 300.0, 0.1):
        assert close(submission.train_step(np.ones((2, 1)), np.array([0, 1]), *args[2:5], b2, 0.0)[3], b2, rtol=1e-12)


@pytest.mark.exercise("train_step", weight=1, forgeable=True)
def test_step_leaves_no_trace(submission, rng):
    """The batch and the parameters are left as they are; the new parameters are new arrays, also where lr is 0."""
    assert STEP.leaves_no_trace(submission, rng, then=[{}, {"lr": 0.0}])


# --------------------------------------------------------------------------------------------------------- Tensor


@student_side
def run_graph(program, leaves, seed):
    """Build a graph of the student's Tensors, go backwards from the last one; all values, and all gradients."""
    nodes = [student.Tensor(leaf) for leaf in leaves]  # noqa: F821
    for op, i, other in program:
        a = nodes[i]
        if op == "add":
            nodes.append(a + nodes[other])
        elif op == "mul":
            nodes.append(a * nodes[other])
        elif op == "matmul":
            nodes.append(a @ nodes[other])
        elif op == "plus":
            nodes.append(a + other)
        elif op == "times":
            nodes.append(a * other)
        elif op == "number plus":
            nodes.append(other + a)
        elif op == "number times":
            nodes.append(other * a)
        elif op == "sum":
            nodes.append(a.sum(axis=other))
        else:
            nodes.append(getattr(a, op)())
    nodes[-1].backward() if seed is None else nodes[-1].backward(seed)
    return [node.data for node in nodes], [node.grad for node in nodes]


def in_torch(program, leaves, seed):
    """The same by torch.autograd; None where the last node does not depend on a node."""
    nodes = [torch.tensor(np.array(leaf, dtype=np.float64), requires_grad=True) for leaf in leaves]
    for op, i, other in program:
        nodes.append(apply(op, nodes, i, other))
    root = nodes[-1]
    given = torch.ones_like(root) if seed is None else torch.tensor(np.array(seed, dtype=np.float64))
    grads = torch.autograd.grad(root, nodes, given, allow_unused=True)
    return [n.detach().numpy() for n in nodes], [None if g is None else g.numpy() for g in grads]


def apply(op, nodes, i, other):
    a = nodes[i]
    if op in ("add", "plus", "number plus"):
        return a + (nodes[other] if op == "add" else other)
    if op in ("mul", "times", "number times"):
        return a * (nodes[other] if op == "mul" else other)
    if op == "matmul":
        return a @ nodes[other]
    if op == "sum":
        return a.sum() if other is None else a.sum(dim=other)
    return getattr(torch, op)(a)


def unwrapped(value):
    """The docstring allows one number of NumPy's for an array of shape ()."""
    return np.array(value) if isinstance(value, np.float64) else value


def agrees(submission, program, leaves, seed=None, typed=True, slack=1e-11):
    """Whether values and gradients of all nodes agree, in relation to the largest gradient of a node."""
    values, grads = (list(map(unwrapped, part)) for part in submission.run(run_graph, program, leaves, seed))
    expected, slopes = in_torch(program, leaves, seed)
    same = near(values, expected, slack=slack / EPS, dtype=np.float64 if typed else None)
    if not same or not close(len(grads), len(slopes)):
        return close(values, expected, rtol=slack)
    for mine, theirs in zip(grads, slopes, strict=True):
        # A gradient may be a difference of larger ones: look at the largest of all.
        size = max(float(np.abs(g).max(initial=0.0)) for g in slopes if g is not None)
        want = theirs if theirs is not None else None
        if not (same := close(mine, want, atol=slack * size, typed=typed and theirs is not None)):
            return same
    return close(True, True)


def one_by_one(rng):
    """(program, leaves) for each operation alone, without broadcasting."""
    a, b, c = rng.standard_normal((3, 4)), rng.standard_normal((3, 4)), rng.standard_normal((4, 2))
    return {
        "add": ([("add", 0, 1)], [a, b]),
        "mul": ([("mul", 0, 1)], [a, b]),
        "matmul": ([("matmul", 0, 1)], [a, c]),
        "tanh": ([("tanh", 0, None)], [a]),
        "relu": ([("relu", 0, None)], [a]),
        "sum": ([("sum", 0, None)], [a]),
        "sum over an axis": ([("sum", 0, 1), ("tanh", 1, None)], [a]),
    }


@pytest.mark.exercise("Tensor", weight=3, core=True)
@pytest.mark.parametrize("op", list(one_by_one(np.random.default_rng(0))))
def test_each_operation(submission, rng, op):
    """Each operation by itself has the right value, and passes on the right gradients."""
    program, leaves = one_by_one(rng)[op]
    for _ in range(2):
        program, leaves = one_by_one(rng)[op]
        expected = in_torch(program, leaves, None)[0][-1]
        assert agrees(submission, program, leaves, rng.standard_normal(expected.shape), typed=False)
        assert agrees(submission, program, leaves, None, typed=False)


OPS = ("add", "mul", "matmul", "tanh", "relu", "sum", "plus", "times", "number plus", "number times")


def random_graph(rng, size, shapes, ops=OPS):
    """(program, leaves): operations on random earlier tensors, all of which end in one sum; values stay moderate."""
    leaves = [rng.standard_normal(shape) for shape in shapes]
    nodes, program = [torch.tensor(leaf) for leaf in leaves], []

    def do(op, i, other):
        program.append((op, i, other))
        nodes.append(apply(op, nodes, i, other))

    while len(program) < size:
        op, i = ops[rng.integers(len(ops))], int(rng.integers(len(nodes)))
        a = nodes[i]
        if op in ("add", "mul", "matmul"):
            fitting = [j for j, b in enumerate(nodes) if fits(op, a.shape, b.shape)]
            if not fitting:
                continue
            other = int(fitting[rng.integers(len(fitting))])
        elif op == "sum":
            if not a.ndim:
                continue
            other = None if rng.random() < 0.3 else int(rng.integers(-a.ndim, a.ndim))
        else:
            other = float(rng.uniform(-2, 2)) if " " in op or op in ("plus", "times") else None
        do(op, i, other)
        if float(nodes[-1].abs().max()) > 3:
            do("tanh", len(nodes) - 1, None)
    used = {i for _, i, _ in program} | {j for op, _, j in program if op in ("add", "mul", "matmul")}
    ends = [i for i in range(len(nodes)) if i not in used]
    total = None
    for end in ends:
        if nodes[end].ndim:
            do("sum", end, None)
            end = len(nodes) - 1
        if total is not None:
            do("add", total, end)
        total = len(nodes) - 1 if total is not None else end
    if total != len(nodes) - 1:
        do("times", total, 1.0)
    return program, leaves


def fits(op, a, b):
    if op == "matmul":
        return len(a) == 2 and len(b) == 2 and a[1] == b[0]
    try:
        return len(np.broadcast_shapes(a, b)) <= 4
    except ValueError:
        return False


@pytest.mark.exercise("Tensor", weight=4, core=True)
def test_shared_tensors(submission, rng):
    """Where tensors are used several times, gradients are added up, and are complete before they are passed on."""
    for _ in range(25):
        program, leaves = random_graph(rng, int(rng.integers(3, 25)), [(3, 3)] * 2, ("add", "mul", "tanh", "matmul"))
        assert agrees(submission, program, leaves, typed=False)
    for program in (
        [("mul", 0, 0)],
        [("add", 0, 0), ("mul", 1, 0), ("add", 1, 2)],
        [("matmul", 0, 0), ("matmul", 1, 0)],
    ):
        assert agrees(submission, program, [rng.standard_normal((3, 3))], rng.standard_normal((3, 3)), typed=False)


@pytest.mark.exercise("Tensor", weight=4, hint=3)
def test_broadcasting(submission, rng):
    """Where a shape was broadcast, the gradient is summed back to it: missing axes, and axes of length 1."""
    shapes = [(), (1,), (4,), (1, 4), (3, 1), (3, 4), (1, 1), (2, 3, 4), (2, 1, 1), (1, 3, 1)]
    for a, b in itertools.product(shapes, shapes):
        if fits("add", a, b):
            leaves = [rng.standard_normal(a), rng.standard_normal(b)]
            seed = rng.standard_normal(np.broadcast_shapes(a, b))
            for op in ("add", "mul"):
                assert agrees(submission, [(op, 0, 1)], leaves, seed)


@pytest.mark.exercise("Tensor", weight=4)
def test_random_graphs(submission, rng):
    """Random expressions of all operations, with sharing, broadcasting and numbers, have the right gradients."""
    for _ in range(40):
        shapes = [(3, 4), (4, 3), (4,), (3, 1), (), (1, 1), (2, 3, 4)]
        chosen = [shapes[i] for i in rng.integers(len(shapes), size=4)] + [(3, 4), (4, 3)]
        program, leaves = random_graph(rng, int(rng.integers(5, 60)), chosen)
        assert agrees(submission, program, leaves)


@pytest.mark.exercise("Tensor", weight=2)
def test_values_at_the_borders(submission, rng):
    """The derivative of relu at 0 is 0; tanh of large numbers is flat; sums over any axis, long and short ones."""
    x = np.array([[0.0, -0.0, 1e-300, -1e-300], [3.0, -2.0, 0.0, 800.0]])
    for op in ("relu", "tanh"):
        assert agrees(submission, [(op, 0, None)], [x], rng.standard_normal(x.shape))
    for shape in [(4,), (1,), (2, 1), (1, 3), (2, 3, 4), (1500, 2)]:
        for axis in (None, *range(-len(shape), len(shape))):
            x = rng.standard_normal(shape)
            seed = rng.standard_normal(x.sum(axis=axis).shape)
            assert agrees(submission, [("sum", 0, axis)], [x], seed)
    for a, b in [((1, 1), (1, 1)), ((1, 5), (5, 1)), ((5, 1), (1, 5)), ((2, 150), (150, 3))]:
        leaves = [rng.standard_normal(a), rng.standard_normal(b)]
        assert agrees(submission, [("matmul", 0, 1)], leaves, rng.standard_normal((a[0], b[1])))
    for form in (stepped, frozen, np.asfortranarray):
        leaves = [rng.standard_normal((3, 4)), rng.standard_normal(4)]
        assert agrees(submission, [("mul", 0, 1)], leaves, form(rng.standard_normal((3, 4))))
    for number in (2, -3, 0, 0.1, 1e9, 1e-9):
        for op in ("plus", "times", "number plus", "number times"):
            assert agrees(submission, [(op, 0, number)], [rng.standard_normal((2, 3))], rng.standard_normal((2, 3)))
    for scale in (1e-9, 1e9):
        leaves = [scale * rng.standard_normal((2, 3)), scale * rng.standard_normal((3, 2))]
        assert agrees(submission, [("matmul", 0, 1), ("mul", 2, 2)], leaves, scale * rng.standard_normal((2, 2)))


@student_side
def long_chain(length):
    """A chain of operations that uses one tensor at every step, and its gradients (runs over there)."""
    start, factor = student.Tensor(np.array([1.0, 2.0])), student.Tensor(1.0)  # noqa: F821
    node = start
    for k in range(length):
        node = node * factor if k % 2 else node + start
    node.backward()
    return node.data, start.grad, factor.grad


@pytest.mark.exercise("Tensor", weight=4, hint=2)
def test_deep_graphs(submission):
    """A chain of twenty thousand operations is no problem, and the recursion limit stays as it is."""
    half = 10_000
    value, start, factor = submission.run(long_chain, 2 * half)
    # With the factor 1, the value is (1 + half) times the start. The factor of step k = 2 j - 1 is multiplied with
    # (1 + j) times the start, j = 1 to half.
    assert close(value, (1 + half) * np.array([1.0, 2.0]), rtol=1e-12)
    assert close(start, np.full(2, 1.0 + half), rtol=1e-12)
    assert close(factor, 3.0 * (half + half * (half + 1) / 2), rtol=1e-12)


@student_side
def many_paths(levels):
    """A graph with few tensors and very many paths (runs over there)."""
    node = start = student.Tensor(np.array([1.0, 0.5]))  # noqa: F821
    for _ in range(levels):
        node = node + node * 0.5
    node.backward()
    return node.data, start.grad


@pytest.mark.exercise("Tensor", weight=3, hint=2, seconds=3)
def test_many_paths(submission):
    """The work grows with the number of tensors, not with the number of paths."""
    for levels in (10, 60):
        value, grad = submission.run(many_paths, levels)
        assert close(value, 1.5**levels * np.array([1.0, 0.5]), rtol=1e-12)
        assert close(grad, np.full(2, 1.5**levels), rtol=1e-12)


@student_side
def several_backwards():
    """Gradients after several passes over graphs that share tensors (runs over there)."""
    a, b, c = (student.Tensor(np.array([[1.0, 2.0], [3.0, 4.0]]) * k) for k in (1, 2, 3))  # noqa: F821
    before = [a.grad, b.grad]
    first, second = a * b, a * c
    first.backward()
    found = [[t.grad for t in (a, b, c, first, second)]]
    first.backward(np.array([[2.0, 0.0], [0.0, 1.0]]))
    found.append([t.grad for t in (a, b, c, first, second)])
    second.backward()
    found.append([t.grad for t in (a, b, c, first, second)])
    a.backward()
    found.append([t.grad for t in (a, b, c, first, second)])
    return before, found


@pytest.mark.exercise("Tensor", weight=2)
def test_backward_replaces(submission):
    """grad is None at first; each backward replaces the gradients of its graph and touches no other Tensor's."""
    before, found = submission.run(several_backwards)
    x, one, seed = np.array([[1.0, 2.0], [3.0, 4.0]]), np.ones((2, 2)), np.array([[2.0, 0.0], [0.0, 1.0]])
    expected = [
        [2 * x, x, None, one, None],
        [2 * x * seed, x * seed, None, seed, None],
        [3 * x, x * seed, x, seed, one],
        [one, x * seed, x, seed, one],
    ]
    assert before == [None, None]
    for mine, theirs in zip(found, expected, strict=True):
        for grad, slope in zip(mine, theirs, strict=True):
            assert close(grad, slope, typed=True)


@student_side
def held_data(x):
    """What a Tensor holds, and what it holds after the array that was given has changed (runs over there)."""
    kept = student.Tensor(x)  # noqa: F821
    first = kept.data.copy()
    if isinstance(x, np.ndarray) and x.flags.writeable:
        x[...] = 1
    return first, kept.data, [str(kept.data.dtype), list(kept.data.shape), type(kept.data).__name__]


@pytest.mark.exercise("Tensor")
def test_data_of_every_kind(submission, rng):
    """data is a copy in float64 of what was given, numbers of any kind and any shape."""
    kinds = numbers(5, 3, scales=(1e-12, 1e12), bools=True, whole=(-(2**40), 2**40))
    cases = [case.args[0] for case in Contract("Tensor", data=kinds).cases(rng)]
    cases += [
        2,
        2.5,
        np.float32(0.25),
        np.array(7.0),
        np.zeros((0, 2)),
        rng.standard_normal((1200, 1)),
        np.ones((1, 1, 2)),
    ]
    for x in cases:
        first, later, said = submission.run(held_data, x)
        expected = np.array(x, dtype=np.float64)
        assert close(unwrapped(first), expected, typed=True) and close(unwrapped(later), expected, typed=True)
        assert said in (["float64", list(expected.shape), "ndarray"], ["float64", [], "float64"])


@student_side
def sharing():
    """What of a graph's arrays share memory or changed, in words (runs over there)."""
    rng = np.random.default_rng(3)
    given, seed = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    kept, kept_seed = given.copy(), seed.copy()
    a, b, c = student.Tensor(given), student.Tensor(given), student.Tensor(0.5)  # noqa: F821
    nodes = [a, b, c, a + b, a * b, a + c, a * 2]
    nodes += [nodes[3] + nodes[4], nodes[5].relu(), nodes[6].tanh()]
    nodes += [nodes[7] + nodes[8] + nodes[9]]
    values = [node.data.copy() for node in nodes]
    nodes[-1].backward(seed)
    changed = any(not np.array_equal(node.data, value) for node, value in zip(nodes, values, strict=True))
    if changed or not np.array_equal(given, kept) or not np.array_equal(seed, kept_seed):
        return "backward changes data or the seed"
    if any(np.shares_memory(node.grad, seed) for node in nodes):
        return "the caller's seed is kept as a gradient"
    arrays = [node.grad for node in nodes] + [node.data for node in nodes] + [given]
    for i in range(len(arrays)):
        for j in range(i):
            if np.shares_memory(arrays[i], arrays[j]):
                return "two arrays share memory"
    before = [node.grad for node in nodes]
    copies = [g.copy() for g in before]
    nodes[-1].backward(2 * seed)
    if any(not np.array_equal(g, k) for g, k in zip(before, copies, strict=True)):
        return "a second backward writes into the gradients of the first"
    if any(not np.allclose(node.grad, 2 * k) for node, k in zip(nodes, copies, strict=True)):
        return "the second backward is wrong"
    for axis in (None, 0):
        leaf = student.Tensor(given)  # noqa: F821
        total = leaf.sum(axis=axis)
        total.backward()
        if np.shares_memory(leaf.grad, total.grad) or not leaf.grad.flags.writeable:
            return "the gradient of what was summed is no array of its own"
    seed *= 5
    nodes[-1].backward(seed)
    if any(not np.allclose(node.grad, 5 * k) for node, k in zip(nodes, copies, strict=True)):
        return "a backward with a seed that has changed is wrong"
    return ""


@pytest.mark.exercise("Tensor", weight=3, forgeable=True)
def test_arrays_are_not_shared(submission):
    """backward changes neither data nor the seed, and each grad is a new array: no other Tensor's, nor the seed."""
    assert close(submission.run(sharing), "")


# ----------------------------------------------------------------------------------------------------- initialise


def scaled(submission, widths, seed, activation):
    """The weights divided by the standard deviation that they should have; [] where shapes are wrong."""
    got = submission.initialise(widths, seed, activation)
    pairs = list(itertools.pairwise(widths))
    if not isinstance(got, tuple | list) or len(got) != 2 or not close([len(part) for part in got], [len(pairs)] * 2):
        return []
    found = []
    for (n_in, n_out), W, b in zip(pairs, *got, strict=True):
        if not is_array(W, (n_in, n_out), np.float64) or not close(b, np.zeros(n_out), typed=True):
            return []
        found.append(W / math.sqrt(2 / (n_in + n_out) if activation == "tanh" else 2 / n_in))
    return found


def standard(values, level=1e-6):
    """Whether numbers may be independent draws of a standard normal: Kolmogorov and Smirnov, and chi-squared."""
    values = np.ravel(values)
    n = len(values)
    if not close(bool(np.isfinite(values).all()), True):
        return False
    fit = scipy.stats.kstest(values, "norm").pvalue
    total = float((values**2).sum())
    spread = min(scipy.stats.chi2.cdf(total, n), scipy.stats.chi2.sf(total, n))
    centre = scipy.stats.norm.sf(abs(float(values.sum())) / math.sqrt(n))
    return close(bool(min(fit, spread, centre) > level), True)


@pytest.mark.exercise("initialise", weight=3, core=True)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_variance_of_the_weights(submission, rng, activation):
    """Each layer has its shapes, its biases are 0, and its weights have the variance of Glorot or of He."""
    for widths in [[60, 40, 90], [20, 200, 5], [300, 30, 30, 40]]:
        layers = scaled(submission, widths, 1, activation)
        assert close(len(layers), len(widths) - 1)
        for W in layers:
            # A standard deviation of n normal numbers is off by 1 / sqrt(2 n), eight of these here.
            assert close(float(W.std()), 1.0, atol=8 / math.sqrt(2 * W.size))
            assert close(float(W.mean()), 0.0, atol=8 / math.sqrt(W.size))


@pytest.mark.exercise("initialise", weight=3)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_law_of_the_weights(submission, rng, activation):
    """All weights together are independent and normally distributed, within a layer and from layer to layer."""
    widths = (50, 50, 50, 50, 120, 1, 30)
    for seed in (0, 7):
        layers = scaled(submission, widths, seed, activation)
        assert close(len(layers), 6)
        assert standard(np.concatenate([W.ravel() for W in layers]))
        assert all(standard(W) for W in layers)
        square = np.array([W.ravel() for W in layers[:3]])
        for a, b in itertools.combinations(square, 2):
            assert close(float(a @ b) / a.size, 0.0, atol=6 / math.sqrt(a.size))
        W = layers[0]
        for moved in (np.roll(W, 1, axis=0), np.roll(W, 1, axis=1), W.T * (1 - np.eye(50)), np.flip(W)):
            assert close(float((W * moved).sum()) / W.size, 0.0, atol=6 / math.sqrt(W.size))


@pytest.mark.exercise("initialise", weight=2)
def test_small_and_large_layers(submission):
    """A list or a tuple, two widths or many, widths of 1 and of thousands; the default is tanh."""
    for widths in [(1, 1), [1, 3, 1], (2, 1, 1, 5), [2] * 260, (1200, 3), (3, 9000)]:
        for activation in ("tanh", "relu"):
            layers = scaled(submission, widths, 3, activation)
            assert close(len(layers), len(widths) - 1)
            assert standard(np.concatenate([W.ravel() for W in layers]))
    assert close(submission.initialise([30, 70], 5), submission.initialise([30, 70], 5, "tanh"), typed=True)


@pytest.mark.exercise("initialise", weight=2)
def test_seeds_of_the_weights(submission):
    """The same seed gives the same weights in every process; no two layers of two seeds are related."""
    found = {}
    for seed in SMALL_SEEDS:
        layers = scaled(submission, (20, 30, 10), seed, "relu")
        assert close(len(layers), 2)
        found[seed] = np.concatenate([W.ravel() for W in layers])
    for a, b in itertools.combinations(found.values(), 2):
        assert close(float(a @ b) / a.size, 0.0, atol=7 / math.sqrt(a.size))
    layers = [layer.ravel() for seed in range(4) for layer in scaled(submission, (20,) * 5, seed, "relu")]
    for a, b in itertools.combinations(layers, 2):
        assert close(float(a @ b) / a.size, 0.0, atol=7 / math.sqrt(a.size))
    with submission.elsewhere() as other:
        for seed in (0, 1001):
            assert close(other.initialise((20, 30, 10), seed), submission.initialise((20, 30, 10), seed))


@pytest.mark.exercise("initialise", forgeable=True)
def test_initialise_leaves_the_global_generator(submission):
    """The global random state of NumPy is neither used nor changed."""
    assert leaves_the_global_generator(submission, "initialise", [(3, 4), 9])


@pytest.mark.exercise("initialise", weight=2)
def test_signals_keep_their_size(submission, rng):
    """Through thirty relu layers the mean square of the signal stays within a small factor."""
    # The rows share the weights, so their mean moves nearly as much as one row: each layer changes the logarithm of the
    # mean square by about sqrt(5 / 400), and 30 layers by sqrt(30 · 5 / 400) = 0.6. Five of these.
    layers = scaled(submission, [400] * 31, 11, "relu")
    assert close(len(layers), 30)
    H = rng.standard_normal((64, 400))
    for W in layers:
        H = np.maximum(H @ (W * math.sqrt(2 / 400)), 0)
    assert close(math.log(float(np.mean(H**2))), 0.0, atol=3.0)


@pytest.mark.exercise("initialise")
def test_initialise_refuses(submission, rng):
    """Another activation raises ValueError."""
    contract = Contract("initialise", widths=[3, 4], seed=1, activation="relu")
    contract.refuses(submission, rng, ValueError, activation=["sigmoid", "ReLU", " tanh", ""])


@pytest.mark.exercise("initialise", forgeable=True)
def test_initialise_leaves_no_trace(submission, rng):
    """Every call returns new arrays."""
    contract = Contract("initialise", widths=one_of([3, 4, 4]), seed=1, activation="relu")
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"activation": "tanh"}])


# -------------------------------------------------------------------------------------------------------- dropout

DROPOUT = Contract("dropout", H=floats(30, 8, scales=(1e-30, 1e30)), p=one_of(0.3, 0.0, 0.9, 0.1), seed=one_of(5, 0))


def dropped(got, H, p, dtype=None):
    """Whether (output, factor) is what dropout may return: factors of 0 and 1 / (1 - p), and the products."""
    if not isinstance(got, tuple | list) or len(got) != 2 or not all(is_array(part, H.shape, dtype) for part in got):
        return close(got, (H, np.ones_like(H)), typed=True)
    output, factor = (np.array(part, np.float64) for part in got)
    eps = float(np.finfo(got[1].dtype).eps)
    return (
        close(bool(np.isfinite(factor).all()), True)
        and close(factor, np.where(factor == 0, 0.0, 1 / (1 - p)), rtol=4 * eps)
        and close(output, np.array(H, np.float64) * factor, rtol=4 * eps)
    )


@pytest.mark.exercise("dropout", weight=3, core=True)
def test_share_that_is_dropped(submission, rng):
    """The share p is dropped, and the kept entries are divided by 1 - p."""
    H = rng.uniform(1, 2, (100, 60))
    for p in (0.5, 0.2, 0.8):
        got = submission.dropout(H, p, 3)
        assert dropped(got, H, p)
        # Six standard deviations of a share of 6,000 draws.
        assert close(float(np.mean(got[1] == 0)), p, atol=6 * math.sqrt(p * (1 - p) / H.size))
        assert close(submission.dropout(H, p, 3, False)[0], H)


@pytest.mark.exercise("dropout", weight=2)
def test_dropout_in_use_is_the_identity(submission, rng):
    """With training=False the output is H, bit for bit, and the factor is all ones; so it is with p = 0."""
    for H in (rng.standard_normal((4, 5)), rng.standard_normal(7).astype(np.float32), np.zeros((0, 3))):
        for p in (0.5, 0.0, 0.999):
            assert close(submission.dropout(H, p, 1, False), (H, np.ones_like(H)), typed=True)
            assert close(submission.dropout(H, p, 1, training=False), (H, np.ones_like(H)), typed=True)
        assert close(submission.dropout(H, 0.0, 1), (H, np.ones_like(H)), typed=True)
        assert close(submission.dropout(H, 0.0, 1, True), (H, np.ones_like(H)), typed=True)


@pytest.mark.exercise("dropout", weight=2)
def test_law_of_dropout(submission):
    """Entries are dropped independently of each other, of their values, and with the same probability everywhere."""
    p, draws, H = 0.3, 300, np.ones((6, 10))
    H[:, ::2] = -5.0
    gone = np.array([submission.dropout(H, p, 1000 + seed)[1] == 0 for seed in range(draws)])  # (draws, 6, 10)
    assert close(gone.shape, (draws, 6, 10))
    z = (gone - p) / math.sqrt(p * (1 - p))
    # Each place, and each pair of places: sums of independent terms of variance 1, 60 and 1,770 of them.
    assert close(z.sum(axis=0) / math.sqrt(draws), np.zeros((6, 10)), atol=6.5)
    flat = z.reshape(draws, 60)
    pairs = flat.T @ flat / math.sqrt(draws)
    assert close(pairs[np.triu_indices(60, 1)], np.zeros(1770), atol=7.0)
    counts = np.bincount(gone.sum(axis=(1, 2)), minlength=61)
    law = draws * scipy.stats.binom.pmf(np.arange(61), 60, p)
    groups = [slice(0, 14), slice(14, 17), slice(17, 19), slice(19, 22), slice(22, 61)]
    got, expected = (np.array([part[group].sum() for group in groups]) for part in (counts, law))
    assert close(bool(scipy.stats.chisquare(got, expected * got.sum() / expected.sum()).pvalue > 1e-6), True)


@pytest.mark.exercise("dropout", weight=2)
def test_seeds_of_dropout(submission):
    """The same seed drops the same entries, whatever H holds, in every process; other seeds drop unrelated ones."""
    H, found = np.ones((20, 30)), {}
    for seed in SMALL_SEEDS:
        found[seed] = submission.dropout(H, 0.5, seed)[1]
        assert dropped((H * found[seed], found[seed]), H, 0.5)
        assert close(submission.dropout(-7 * H, 0.5, seed)[1], found[seed])
    for a, b in itertools.combinations(found.values(), 2):
        assert close(float(((a - 1) * (b - 1)).mean()), 0.0, atol=7 / math.sqrt(H.size))
    with submission.elsewhere() as other:
        for seed in (0, 1001):
            assert close(other.dropout(H, 0.5, seed)[1], found[seed])


@pytest.mark.exercise("dropout", forgeable=True)
def test_dropout_leaves_the_global_generator(submission):
    """The global random state of NumPy is neither used nor changed."""
    assert leaves_the_global_generator(submission, "dropout", [np.ones((20, 30)), 0.5, 9])


@pytest.mark.exercise("dropout", weight=2, hint=2)
def test_dropout_of_every_kind(submission, rng):
    """Any shape and layout, float64 and float32, large and small entries: output and factor have the dtype of H."""
    for case in DROPOUT.cases(rng):
        assert dropped(submission.dropout(*case), case.args[0], case.exact[1], case.dtype)
        off = submission.dropout(*case, False)
        assert close(off, (np.array(case.args[0]), np.ones_like(case.args[0])), typed=True)
    for shape in [(5,), (1,), (2, 3, 4), (0,), (3, 0), (1500, 2), (1, 1, 1, 2)]:
        H = rng.uniform(1, 2, shape)
        for p in (0.5, 0.999, 0.01, 1 / 3):
            assert dropped(submission.dropout(H, p, 4), H, p, np.float64)
    factor = submission.dropout(np.ones((4000, 5)), 0.999, 8)[1]
    assert close(float(np.mean(factor != 0)), 0.001, atol=6 * math.sqrt(0.001 / 20_000))
    factor = submission.dropout(np.ones((4000, 5)), 0.001, 8)[1]
    assert close(float(np.mean(factor == 0)), 0.001, atol=6 * math.sqrt(0.001 / 20_000))


@pytest.mark.exercise("dropout")
def test_dropout_refuses(submission, rng):
    """p below 0 and from 1 on raise ValueError, in use, too."""
    DROPOUT.refuses(submission, rng, ValueError, p=[1, 1.0, -0.1, -1e-9, 2.0])
    for bad in (1.0, -0.5, 1.5):
        with raises_student(ValueError):
            submission.dropout(np.ones(3), bad, 0, False)


@pytest.mark.exercise("dropout", forgeable=True)
def test_dropout_leaves_no_trace(submission, rng):
    """H is left as it is, and both arrays are new, also where nothing is dropped."""
    contract = Contract("dropout", H=floats(6, 4), p=0.5, seed=2, training=True)
    then = [{}, {"training": False}, {"p": 0.0}]
    assert contract.leaves_no_trace(submission, rng, then=then, p=[1.0])


# --------------------------------------------------------------------------------------------------- checkpointed


class Layers:
    """A chain of layers h -> tanh(h W + b) that remembers what it was asked."""

    def __init__(self, rng, depth, shape=(4, 3)):
        self.W = rng.standard_normal((depth, shape[-1], shape[-1])) / math.sqrt(shape[-1])
        self.b = rng.standard_normal((depth, shape[-1])) / 2
        self.x, self.depth = rng.standard_normal(shape), depth
        self.weights = rng.standard_normal(shape)
        self.calls = []

    def forward(self, layer, h):
        self.calls.append(("forward", layer, np.array(h), type(h)))
        return np.tanh(h @ self.W[layer] + self.b[layer])

    def loss_gradient(self, h):
        self.calls.append(("loss", self.depth, np.array(h), type(h)))
        return self.weights * h

    def backward(self, layer, h, g):
        self.calls.append(("backward", layer, np.array(h), type(h)))
        out = np.tanh(h @ self.W[layer] + self.b[layer])
        return (g * (1 - out**2)) @ self.W[layer].T

    def run(self, submission, segment, x=None):
        x = self.x if x is None else x
        parts = [lambda *args, f=f: f(*args) for f in (self.forward, self.backward, self.loss_gradient)]
        return submission.checkpointed(*parts, x, self.depth, segment)

    def of(self, kind):
        return [layer for name, layer, *_ in self.calls if name == kind]

    def inputs(self):
        """The input of each layer, and the output of the last one."""
        found = [np.array(self.x)]
        for layer in range(self.depth):
            found.append(np.tanh(found[-1] @ self.W[layer] + self.b[layer]))
        return found

    def gradient(self):
        """By torch.autograd."""
        x = torch.tensor(np.array(self.x, dtype=np.float64), requires_grad=True)
        h = x
        for layer in range(self.depth):
            h = torch.tanh(h @ torch.tensor(self.W[layer]) + torch.tensor(self.b[layer]))
        return torch.autograd.grad((torch.tensor(self.weights) * h**2 / 2).sum(), x)[0].numpy()


CHAINS = [(6, 3), (9, 1), (1, 1), (1, 5), (2, 1), (2, 2), (3, 2), (7, 3), (8, 3), (5, 9), (16, 4), (130, 11)]


@pytest.mark.exercise("checkpointed", weight=3, core=True, hint=2)
def test_checkpoints_give_the_gradient(submission, rng):
    """The gradient is that of automatic differentiation, for every depth and every length of the segments."""
    for depth, segment in CHAINS:
        layers = Layers(rng, depth)
        expected = layers.gradient()
        assert close(layers.run(submission, segment), expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.exercise("checkpointed", weight=2, hint=3)
def test_each_layer_gets_its_input(submission, rng):
    """backward is called once for each layer, from the last to the first, with the input that the layer had."""
    for depth, segment in CHAINS:
        layers = Layers(rng, depth)
        layers.run(submission, segment)
        inputs = layers.inputs()
        assert close(layers.of("backward"), list(range(depth))[::-1])
        assert close(layers.of("loss"), [depth])
        for _, layer, h, kind in layers.calls:
            assert close(h, inputs[layer]) and close(kind is np.ndarray, True)


@pytest.mark.exercise("checkpointed", weight=4, hint=2)
def test_second_pass_is_the_only_one(submission, rng):
    """forward is called at most twice for each layer, and in all no more often than the docstring allows."""
    for depth, segment in CHAINS:
        layers = Layers(rng, depth)
        layers.run(submission, segment)
        asked = layers.of("forward")
        assert close(asked[:depth], list(range(depth)))
        assert close(bool(max(map(asked.count, range(depth))) <= 2), True)
        assert close(bool(len(asked) <= 2 * depth - math.ceil(depth / segment)), True)


@student_side
def heavy(depth, segment, size):
    """The gradient through layers with large outputs, which are made over there."""

    def forward(layer, h):
        out = h + layer % 3
        out *= 0.5
        return out

    def backward(layer, h, g):
        out = g * 0.5
        out += h[0] * 0.0
        return out

    def slope(h):
        return np.full(size, 1.0)

    got = student.checkpointed(forward, backward, slope, np.arange(size) / size, depth, segment)  # noqa: F821
    return got[:3] * 2.0**depth, len(got)


@pytest.mark.exercise("checkpointed", weight=6, hint=3, memory_mb=30)
@pytest.mark.parametrize("depth, segment", [(64, 8), (100, 4), (90, 30), (49, 7)])
def test_few_arrays_are_stored(submission, depth, segment):
    """At no time are more arrays held than checkpoints, one segment and three more."""
    # What is allowed takes 20 MB: x, and as many arrays as the docstring says. Storing all takes 44 MB and more.
    size = 20_000_000 // 8 // (math.ceil(depth / segment) + segment + 4)
    got, length = submission.run(heavy, depth, segment, size)
    assert close(got, np.ones(3), rtol=1e-12) and close(length, size)


@student_side
def long_way(depth, segment):
    """The gradient through a very deep chain, and the layers that were asked (runs over there)."""
    asked = []

    def forward(layer, h):
        return h * (layer + 3) / (layer + 2)

    def backward(layer, h, g):
        asked.append(layer)
        return g * (layer + 3) / (layer + 2) * (h > 0)

    def slope(h):
        return h * 0 + 1.0

    return student.checkpointed(forward, backward, slope, np.array([0.1, 0.2]), depth, segment), asked  # noqa: F821


@pytest.mark.exercise("checkpointed")
def test_very_deep_chains(submission):
    """A chain of more than a thousand layers is no problem, with short segments and long ones."""
    for depth, segment in [(1100, 33), (1100, 5), (1201, 1100), (1100, 2000)]:
        got, asked = submission.run(long_way, depth, segment)
        assert close(asked, list(range(depth))[::-1])
        assert close(got, np.full(2, (depth + 2) / 2), rtol=1e-12)


@pytest.mark.exercise("checkpointed")
def test_checkpoints_of_every_array(submission, rng):
    """x may have any shape and layout, and be read-only."""
    for shape in [(3,), (2, 3), (2, 2, 3), (1, 1), (1200, 2)]:
        for form in (np.array, stepped, frozen, np.asfortranarray):
            layers = Layers(rng, 5, shape)
            layers.x = form(layers.x)
            expected = layers.gradient()
            assert close(layers.run(submission, 2), expected, atol=1e-9 * np.abs(expected).max(), typed=True)
    for scale in (1e-9, 1e9):
        layers = Layers(rng, 3, (2, 3))
        layers.W, layers.b, layers.x = layers.W * 1e-9, 0 * layers.b, layers.x * scale
        expected = layers.gradient()
        assert close(layers.run(submission, 2), expected, atol=1e-9 * np.abs(expected).max())


@student_side
def squares(layer, h):
    """A layer (runs over there, as an argument)."""
    return h * h + layer


@student_side
def squares_back(layer, h, g):
    """Its way back (runs over there, as an argument)."""
    return 2 * h * g


@student_side
def ones_like(h):
    """The derivative of a sum (runs over there, as an argument)."""
    return np.ones_like(h)


@pytest.mark.exercise("checkpointed", weight=2, forgeable=True)
def test_checkpoints_leave_no_trace(submission, rng):
    """Neither x nor anything that the functions return is changed."""
    arguments = {"forward": squares, "backward": squares_back, "loss_gradient": ones_like}
    contract = Contract("checkpointed", **arguments, x=doubles(2, 3), depth=5, segment=2)
    assert contract.leaves_no_trace(submission, rng, fresh=False, then=[{}, {"segment": 1}, {"depth": 1}])
