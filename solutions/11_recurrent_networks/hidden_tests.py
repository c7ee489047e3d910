"""Hidden tests of module 11. A docstring is the sentence that a student reads when the test fails.

The oracles are torch.nn.RNN, LSTM, LSTMCell and torch.autograd in float64, central differences, and definitions
written as loops. Rounding: a result is a sum of some hundred or thousand products, layer after layer. So it is off by
some hundred or thousand eps of its largest entry, where eps is that of float32 if float32 came.
"""

# Helpers run where `student` is defined, maybe under another Python.
# ruff: noqa: F821, B905, RUF059

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

from autograder.judging import (
    EPS,
    Contract,
    close,
    constant,
    floats,
    frozen,
    integers,
    labels,
    raises_student,
    student_side,
    sum_rounding,
)

EPS32 = float(np.finfo(np.float32).eps)
TIGHT = {"rtol": 1e-9, "atol": 1e-9}
LEVEL = 1e-6  # of each test of a law


def doubles(*shape, **settings):
    """What `floats` holds, but float64 only."""
    argument = floats(*shape, **settings)
    return replace(argument, forms={name: form for name, form in argument.forms.items() if "float32" not in name})


def alike(cases):
    """The cases whose float arrays have one dtype."""
    return [case for case in cases if ": float32" not in case.form]


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


def fits(counts, shares):
    """Whether counts follow the law `shares`, by chi-squared; what has no probability must not come."""
    counts, shares = np.asarray(counts, float), np.asarray(shares, float) / np.sum(shares)
    if counts.shape != shares.shape or counts[shares == 0].any():
        return close(False, True)
    kept = shares > 0
    if kept.sum() == 1:
        return close(True, True)
    return close(bool(scipy.stats.chisquare(counts[kept], counts.sum() * shares[kept]).pvalue > LEVEL), True)


# ------------------------------------------------------------------------------------------------------ embedding

WORDS = [f"w{j}" for j in range(6)]
VOCABULARY = {word: j for j, word in enumerate(WORDS)} | {"<unk>": 4}
TOKENS = ["w3", "w0", "new", "w5", "w3", "W3", "w1"]
LOOKUP = Contract("embedding", table=floats(6, 3, scales=(1e-30, 1e30)), vocabulary=VOCABULARY, tokens=TOKENS)
PUSH = Contract("embedding_gradient", ids=integers(4, 5, high=7), slopes=floats(4, 5, 3, scales=(1e-20, 1e20)))


def looked_up(table, vocabulary, tokens):
    ids = [vocabulary[token] if token in vocabulary else vocabulary["<unk>"] for token in tokens]
    vectors = np.array([table[j] for j in ids], table.dtype).reshape(len(ids), table.shape[1])
    return np.array(ids, np.int64), vectors


def pushed(ids, slopes):
    """The definition in float64, row by row."""
    found = {}
    for place in np.ndindex(ids.shape):
        found.setdefault(int(ids[place]), []).append(np.asarray(slopes[place], np.float64))
    rows = sorted(found)
    return np.array(rows, np.int64), np.array([np.sum(found[row], axis=0) for row in rows])


def is_pushed(got, ids, slopes, typed=False):
    rows, sums = pushed(ids, slopes)
    size = float(np.abs(np.asarray(slopes, np.float64)).max()) * ids.size
    atol = sum_rounding(ids.size, size, np.finfo(slopes.dtype).eps)
    wanted = (rows, sums.astype(slopes.dtype))
    return (
        close(got, wanted, atol=math.inf)
        and close(got[0], rows, typed=typed)
        and (close(got[1], wanted[1], atol=atol, typed=typed))
    )


@pytest.mark.exercise("embedding", weight=2, core=True, hint=1)
def test_lookup_of_words(submission, rng):
    """Each known word gives its row of the table, each unknown one that of "<unk>"."""
    table = rng.standard_normal((6, 3))
    assert close(submission.embedding(table, VOCABULARY, TOKENS), looked_up(table, VOCABULARY, TOKENS))


@pytest.mark.exercise("embedding", weight=3, core=True, hint=3)
def test_gradient_adds_up(submission, rng):
    """The gradient has each row that was read once, in ascending order, with the sum over all its places."""
    for shape, high in [((9,), 4), ((3, 4), 6), ((2, 3, 4), 30), ((7,), 1)]:
        ids, slopes = rng.integers(0, high, shape), rng.standard_normal((*shape, 3))
        assert is_pushed(submission.embedding_gradient(ids, slopes), ids, slopes)


@pytest.mark.exercise("embedding", weight=1, hint=1)
def test_lookup_of_every_kind(submission, rng):
    """Tables of every layout and size, no words, unknown ones only, very many: int64, and the dtype of the table."""
    for case in LOOKUP.cases(rng):
        assert close(submission.embedding(*case), looked_up(*case), typed=True)
    large = rng.standard_normal((1500, 2))
    many = {f"w{j}": (7 * j) % 1500 for j in range(1500)}
    tokens = [f"w{j}" for j in rng.integers(0, 1500, 1300)]
    assert close(submission.embedding(large, many, tokens), looked_up(large, many, tokens), typed=True)
    for table, vocabulary, tokens in (
        (large[:, :1], {"<unk>": 3}, ["a", "b"]),
        (large[:1], {"a": 0}, ["a"]),
        (large[:1], {"a": 0}, []),
        (large.astype(np.float32), {}, []),
        (large, {"": 5, "<unk>": 1}, ["", " "]),
    ):
        assert close(submission.embedding(table, vocabulary, tokens), looked_up(table, vocabulary, tokens), typed=True)
    with raises_student(KeyError):
        submission.embedding(large, {"a": 0}, ["a", "b"])


@pytest.mark.exercise("embedding", weight=2, hint=2)
def test_gradient_of_every_kind(submission, rng):
    """ids of every integer kind and shape, slopes of every layout and size: int64, and the dtype of the slopes."""
    for case in PUSH.cases(rng):
        ids, slopes = case.args
        assert is_pushed(submission.embedding_gradient(ids, slopes), case.exact[0], slopes, typed=True)
    for shape in ((), (1,), (1, 1), (1200,), (2, 700)):
        ids, slopes = rng.integers(0, 900, shape), rng.standard_normal((*shape, 2))
        assert is_pushed(submission.embedding_gradient(np.asarray(ids), slopes), np.asarray(ids), slopes, typed=True)
    ids = np.array([0, 10**12, 2**33, 2**33 + 1, 0, 2**33, 70_000])
    slopes = rng.standard_normal((7, 1))
    assert is_pushed(submission.embedding_gradient(ids, slopes), ids, slopes, typed=True)
    slopes[[0, 4]] = [[1.0], [-1.0]]  # a row whose sum is 0 was read all the same
    assert is_pushed(submission.embedding_gradient(ids, slopes), ids, slopes, typed=True)


@student_side
def gradient_large(n):
    """The gradient of n places, each word twice, from a huge vocabulary."""
    rng = np.random.default_rng(3)
    half = rng.integers(0, 10**12, n // 2)
    rows, sums = student.embedding_gradient(np.concatenate([half, half[::-1]]), rng.standard_normal((n, 4)))
    return rows[:50], sums[:50], rows.shape, sums.shape


@pytest.mark.exercise("embedding", weight=5, hint=2, memory_mb=60, seconds=5)
def test_gradient_stays_sparse(submission):
    """A huge vocabulary and many words take no more memory than a few times the slopes."""
    # The slopes take 1.3 MB. A table of places against rows has 800 million entries, a row for each id 1e12.
    n = 40_000
    rng = np.random.default_rng(3)
    half = rng.integers(0, 10**12, n // 2)
    slopes = rng.standard_normal((n, 4))
    order = np.argsort(half)[:50]
    sums = slopes[order] + slopes[n - 1 - order]
    got = submission.run(gradient_large, n)
    assert close(got, (half[order], sums, (n // 2,), (n // 2, 4)), atol=1e-12)


@pytest.mark.exercise("embedding", weight=1, forgeable=True)
def test_embedding_leaves_no_trace(submission, rng):
    """The arguments are left as they are, and what is returned is new."""
    assert LOOKUP.leaves_no_trace(submission, rng)
    assert PUSH.leaves_no_trace(submission, rng)
    one = {"ids": np.array([3]), "slopes": np.ones((1, 2))}
    assert PUSH.leaves_no_trace(submission, rng, then=[one])


# ---------------------------------------------------------------------------------------------------- rnn_forward

SIZES = {"X": (3, 4, 2), "h0": (3, 5), "W": (5, 2), "U": (5, 5), "b": (5,)}
FORWARD = Contract("rnn_forward", **{name: floats(*shape) for name, shape in SIZES.items()})
STEP = Contract("rnn_step", **{name: floats(*shape) for name, shape in (SIZES | {"X": (3, 2)}).items()})


def step(x, h, W, U, b):
    return np.tanh(np.einsum("bd,nd->bn", x, W) + np.einsum("bm,nm->bn", h, U) + b)


def states(X, h0, W, U, b):
    """By definition, in float64."""
    X, h, W, U, b = (np.array(part, np.float64) for part in (X, h0, W, U, b))
    H = []
    for t in range(X.shape[1]):
        h = step(X[:, t], h, W, U, b)
        H.append(h)
    return np.stack(H, axis=1)


def network(rng, B, T, d, n, radius=0.9):
    """Arguments of rnn_forward in which errors do not grow with T."""
    U = rng.standard_normal((n, n))
    U *= radius / np.linalg.norm(U, 2)
    return (
        rng.standard_normal((B, T, d)),
        rng.standard_normal((B, n)),
        rng.standard_normal((n, d)) / math.sqrt(d),
        U,
        rng.standard_normal(n) / 2,
    )


SHAPES = [(1, 1, 1, 1), (1, 5, 3, 2), (4, 1, 2, 3), (2, 3, 1, 4), (3, 4, 5, 1), (2, 120, 2, 3), (1100, 2, 1, 2)]
SHAPES += [(2, 2, 130, 3), (2, 3, 2, 120)]


def scaled(rng):
    """Arguments at extreme scales, whose products are near 1; then biases that cancel what is read."""
    for large in (2.0**30, 2.0**-30):
        X, h0, W, U, b = network(rng, 2, 1, 3, 4)
        yield X * large, h0, W / large, U, b
        yield X, h0 * large, W, U / large, b
    X, h0, W, U, b = network(rng, 2, 3, 1, 4)
    X[...] = -(2.0**24)
    yield X, h0, np.ones((4, 1)), U, 2.0**24 + rng.integers(-8, 8, 4) / 8


@pytest.mark.exercise("rnn_forward", weight=2, core=True, hint=1)
def test_one_step(submission, rng):
    """One step is tanh(x W^T + h U^T + b)."""
    for B, d, n in [(3, 2, 4), (2, 3, 3), (4, 4, 2)]:
        X, h, W, U, b = network(rng, B, 1, d, n)
        assert close(submission.rnn_step(X[:, 0], h, W, U, b), step(X[:, 0], h, W, U, b), atol=1e-6)


@pytest.mark.exercise("rnn_forward", weight=3, core=True, hint=2)
def test_states_of_all_positions(submission, rng):
    """The states of all positions are right: each step starts from the state before, the first one from h0."""
    for sizes in [(3, 4, 2, 5), (2, 6, 3, 3), (5, 2, 4, 2)]:
        arguments = network(rng, *sizes)
        assert close(submission.rnn_forward(*arguments), states(*arguments), atol=1e-6)


@pytest.mark.exercise("rnn_forward", weight=2, hint=1)
def test_states_agree_with_torch(submission, rng):
    """With the same weights the states are those of torch.nn.RNN, for any size and length."""
    for B, T, d, n in SHAPES:
        X, h0, W, U, b = arguments = network(rng, B, T, d, n)
        peer = torch.nn.RNN(d, n, batch_first=True).double()
        weights = {"weight_ih_l0": W, "weight_hh_l0": U, "bias_ih_l0": b, "bias_hh_l0": 0 * b}
        peer.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
        with torch.no_grad():
            expected = peer(torch.from_numpy(X), torch.from_numpy(h0)[None])[0].numpy()
        # ||U|| < 1, so errors do not add up along the sequence.
        assert close(submission.rnn_forward(*arguments), expected, atol=1e-12, typed=True)


@pytest.mark.exercise("rnn_forward", weight=2)
def test_states_of_every_kind(submission, rng):
    """Arrays of every layout and scale give their dtype; float32 stays float32."""
    for case in alike(FORWARD.cases(rng)):
        # Random U of 5 units multiplies an error by up to 5 in each of 4 steps.
        expected = states(*case.exact).astype(case.dtype)
        assert close(submission.rnn_forward(*case), expected, atol=1e5 * case.eps, typed=True)
    for case in alike(STEP.cases(rng)):
        assert close(submission.rnn_step(*case), step(*case.exact).astype(case.dtype), atol=50 * case.eps, typed=True)
    for arguments in scaled(rng):  # sums near 2^24 cancel: they are off by a few 2^24 eps
        assert close(submission.rnn_forward(*arguments), states(*arguments), atol=1e-7, typed=True)
        X, *rest = arguments
        assert close(submission.rnn_step(X[:, 0], *rest), step(X[:, 0], *rest), atol=1e-7, typed=True)
    for B, d, n in [(1, 1, 1), (1200, 2, 3)]:
        X, *rest = network(rng, B, 1, d, n)
        assert close(submission.rnn_step(X[:, 0], *rest), step(X[:, 0], *rest), atol=1e-12, typed=True)


@pytest.mark.exercise("rnn_forward", forgeable=True)
def test_forward_leaves_no_trace(submission, rng):
    """The arguments are left as they are, and what is returned is new."""
    assert FORWARD.leaves_no_trace(submission, rng)
    assert STEP.leaves_no_trace(submission, rng)


# --------------------------------------------------------------------------------------------------- rnn_backward


def backward(X, h0, W, U, H, slopes):
    """The five gradients by torch.autograd, in float64. The states are taken from `H`, whatever they are."""
    X, h0, W, U, H, slopes = (torch.tensor(np.array(part, np.float64)) for part in (X, h0, W, U, H, slopes))
    leaves = [part.clone().requires_grad_() for part in (X, h0, W, U, torch.zeros(len(U), dtype=torch.float64))]
    X, h, W, U, b = leaves
    J = 0.0
    for t in range(X.shape[1]):
        A = X[:, t] @ W.T + h @ U.T + b
        h = (A - A.detach()) * (1 - H[:, t] ** 2) + H[:, t]
        J = J + (h * slopes[:, t]).sum()
    return [part.numpy() for part in torch.autograd.grad(J, leaves)]


def given(rng, *sizes, radius=0.9):
    """Arguments of rnn_backward."""
    X, h0, W, U, b = network(rng, *sizes, radius=radius)
    H = states(X, h0, W, U, b)
    return X, h0, W, U, H, rng.standard_normal(H.shape)


@pytest.mark.exercise("rnn_backward", weight=3, core=True, hint=2)
def test_gradients_of_all_arguments(submission, rng):
    """The gradients for X, h0, W, U and b agree with those of automatic differentiation."""
    for sizes in [(3, 4, 2, 5), (2, 6, 3, 3), (4, 1, 2, 2), (5, 2, 4, 3)]:
        arguments = given(rng, *sizes)
        assert near(submission.rnn_backward(*arguments), backward(*arguments), slack=1e7)


@pytest.mark.exercise("rnn_backward", weight=2, hint=3)
def test_gradients_agree_with_differences(submission, rng):
    """Moving any argument a little moves the loss as its gradient says."""
    X, h0, W, U, b = parts = network(rng, 3, 6, 2, 4)
    slopes = rng.standard_normal((3, 6, 4))
    got = submission.rnn_backward(X, h0, W, U, states(*parts), slopes)
    assert close(len(got), 5)
    for k in range(5):
        way = rng.standard_normal(parts[k].shape)
        ends = [
            float((slopes * states(*parts[:k], parts[k] + move * way, *parts[k + 1 :])).sum()) for move in (1e-5, -1e-5)
        ]
        # 1e-10 times a third derivative, which is below 1e4 here, and rounding of 1e-15 / 1e-5.
        assert close(float((got[k] * way).sum()), (ends[0] - ends[1]) / 2e-5, atol=1e-6)


@pytest.mark.exercise("rnn_backward", weight=2, hint=2)
def test_gradients_of_every_size(submission, rng):
    """Any size and length, small and large weights: the gradients are those of torch.nn.RNN, float64."""
    for B, T, d, n in SHAPES:
        X, h0, W, U, H, slopes = arguments = given(rng, B, T, d, n)
        assert near(submission.rnn_backward(*arguments), backward(*arguments), slack=1e4, dtype=np.float64)
    peer = torch.nn.RNN(d, n, batch_first=True).double()
    bias = torch.zeros(n, dtype=torch.float64)
    weights = {"weight_ih_l0": W, "weight_hh_l0": U, "bias_ih_l0": bias, "bias_hh_l0": bias}
    peer.load_state_dict({key: torch.as_tensor(value) for key, value in weights.items()})
    x, h = torch.tensor(X, requires_grad=True), torch.tensor(h0, requires_grad=True)
    out = peer(x, h[None])[0]
    (out * torch.from_numpy(slopes)).sum().backward()
    expected = [part.grad.numpy() for part in (x, h, peer.weight_ih_l0, peer.weight_hh_l0, peer.bias_ih_l0)]
    got = submission.rnn_backward(X, h0, W, U, out.detach().numpy(), slopes)
    assert near(got, expected, slack=1e4, dtype=np.float64)
    for place, size in itertools.product(range(4), (2.0**30, 2.0**-30)):
        arguments = list(given(rng, 3, 1 if place == 3 else 3, 2, 3))
        arguments[place] = arguments[place] * size
        if place == 3 and size > 1:
            arguments[5][:] *= 1e-9
        assert near(submission.rnn_backward(*arguments), backward(*arguments), slack=1e4)
    arguments[5] = arguments[5] * 2.0**40
    assert near(submission.rnn_backward(*arguments), backward(*arguments), slack=1e4)


BACKWARD = {"X": floats(3, 4, 2), "h0": floats(3, 5), "W": floats(5, 2), "U": floats(5, 5)}
BACKWARD |= {"H": floats(3, 4, 5, draw=lambda rng: rng.uniform(-1, 1, (3, 4, 5))), "slopes": floats(3, 4, 5)}
BACKWARD = Contract("rnn_backward", **BACKWARD)
CLIP = Contract("clip_by_norm", gradients=constant([np.ones(3), np.full((2, 2), -2.0)]), limit=1.5)


@pytest.mark.exercise("rnn_backward", weight=1)
def test_gradients_of_every_kind(submission, rng):
    """Arrays of every layout give gradients in the dtype of X; float32 stays float32."""
    for case in alike(BACKWARD.cases(rng)):
        expected = backward(*case.exact)
        assert near(submission.rnn_backward(*case), expected, case.eps, 5000, case.dtype)


@pytest.mark.exercise("rnn_backward", weight=2, core=True, hint=3)
def test_clipping_by_the_common_norm(submission, rng):
    """All gradients are shortened by one factor, so that their common norm is the limit; short ones stay."""
    parts = [rng.standard_normal(shape) for shape in ((3, 4), (5,), (2, 1, 3))]
    norm = math.sqrt(sum(float((part**2).sum()) for part in parts))
    for limit in (0.5, 2.0, 0.99 * norm, 1.01 * norm, 1000.0):
        got = submission.clip_by_norm(parts, limit)
        expected = [part * min(1.0, limit / norm) for part in parts]
        assert close(got, (expected, norm), rtol=1e-6)


@pytest.mark.exercise("rnn_backward", weight=2, hint=3)
def test_clipping_of_every_kind(submission, rng):
    """Tiny, huge and zero gradients of any dtype and layout, one and many: the norm does not overflow or vanish."""
    for dtype, digits in ((np.float64, 1e-10), (np.float32, 1e-5)):
        for size, limit in itertools.product((1e-30, 1e-9, 1.0, 1e9, 1e29), (1e-12, 1.0, 1e12)):
            parts = [np.asarray(size * rng.uniform(1, 9, shape), dtype) for shape in ((3, 4), (1,), (2, 1, 3))]
            parts[0][0] = 0.0
            norm = math.sqrt(sum(float((part.astype(np.float64) ** 2).sum()) for part in parts))
            factor = min(1.0, limit / norm)
            expected = [np.asarray(part.astype(np.float64) * factor, dtype) for part in parts]
            got = submission.clip_by_norm(parts, limit)
            assert close(got, (expected, norm), rtol=digits, atol=1e-44, typed=True)
    mixed = [np.ones(2, np.float32), np.ones((1, 2)), np.zeros((1200, 1)), frozen(np.ones((4, 1)))[::-2]]
    mixed[2][-1] = 3.0
    expected = [part * np.asarray(0.5, part.dtype) for part in mixed]  # the norm is the root of 2 + 2 + 9 + 2
    got = submission.clip_by_norm(mixed, 0.5 * math.sqrt(15))
    assert close(got, (expected, math.sqrt(15)), rtol=1e-6, typed=True)
    many = [np.full(1, 2.0) for _ in range(400)]
    assert close(submission.clip_by_norm(many, 20.0), ([np.full(1, 1.0)] * 400, 40.0), rtol=1e-10, typed=True)
    exact = [np.array([3.0, 4.0])]
    assert close(submission.clip_by_norm(exact, 5.0), (exact, 5.0), rtol=1e-15, typed=True)
    assert close(submission.clip_by_norm([np.zeros((2, 2))], 1e-9), ([np.zeros((2, 2))], 0.0), typed=True)


@student_side
def backward_large(B, T, n, d):
    """The gradients of long sequences, or of many; a part of them."""
    rng = np.random.default_rng(8)
    X, W, U = rng.standard_normal((B, T, d)), rng.standard_normal((n, d)), rng.standard_normal((n, n))
    U *= 0.9 / np.abs(U).sum(axis=1).max()
    H, slopes = rng.uniform(-0.5, 0.5, (B, T, n)), rng.standard_normal((B, T, n))
    found = student.rnn_backward(X, np.zeros((B, n)), W, U, H, slopes)
    return found[0][0, :3], found[1], found[2][:3], found[3][:3, :3], found[4]


def expected_large(B, T, n, d):
    rng = np.random.default_rng(8)
    X, W, U = rng.standard_normal((B, T, d)), rng.standard_normal((n, d)), rng.standard_normal((n, n))
    U *= 0.9 / np.abs(U).sum(axis=1).max()
    H, slopes = rng.uniform(-0.5, 0.5, (B, T, n)), rng.standard_normal((B, T, n))
    found = backward(X, np.zeros((B, n)), W, U, H, slopes)
    return found[0][0, :3], found[1], found[2][:3], found[3][:3, :3], found[4]


@pytest.mark.exercise("rnn_backward", weight=4, hint=1, memory_mb=80, seconds=3)
def test_gradients_without_jacobians(submission):
    """No matrix (n, n) is kept for each position or row: the memory is that of a few arrays of the size of H."""
    # H takes 0.3 MB, 100 matrices of 400 x 400 would take 128 MB; a first matrix product takes up to 33 MB.
    for B, T in ((1, 100), (100, 1)):
        assert near(submission.run(backward_large, B, T, 400, 2), list(expected_large(B, T, 400, 2)), slack=1e5)


@pytest.mark.exercise("rnn_backward", weight=4, hint=1, seconds=2)
def test_gradients_in_linear_time(submission):
    """Time grows linearly with the length: one loop goes back, not one for each position."""
    # 1,500 steps take less than 0.1 s; all 1.1 million pairs of positions would take half a minute.
    got = submission.run(backward_large, 1, 1500, 3, 2)
    assert near(got, list(expected_large(1, 1500, 3, 2)), slack=1e5)


@pytest.mark.exercise("rnn_backward", forgeable=True)
def test_backward_leaves_no_trace(submission, rng):
    """The arguments are left as they are, and every gradient is a new array."""
    assert BACKWARD.leaves_no_trace(submission, rng)
    assert CLIP.leaves_no_trace(submission, rng, then=[{}, {"limit": 100.0}, {"gradients": [np.zeros(2)]}])
    one = [np.array([3.0])]
    assert CLIP.leaves_no_trace(submission, rng, then=[{"gradients": one, "limit": 9.0}])


# ------------------------------------------------------------------------------------------------------- LSTMCell

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@student_side
def cell_run(sizes, weights, x, state, slopes, double, steps=1):
    """The states of a cell with these weights after some steps with x, and all gradients."""
    net = student.LSTMCell(*sizes)
    net = net.double() if double else net
    if weights is not None:
        net.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    x = x.clone().requires_grad_()
    leaves = [] if state is None else [part.clone().requires_grad_() for part in state]
    now = tuple(leaves) or None
    for _ in range(steps):
        now = net(x) if now is None else net(x, now)
    if type(now) is not tuple or len(now) != 2:
        return "no tuple of two"
    J = sum((part * slope).sum() for part, slope in zip(now, slopes))
    if J.requires_grad:
        J.backward()
    named = dict(net.named_parameters())
    grads = [
        [None if part.grad is None else part.grad.numpy().copy() for part in some]
        for some in ((x, *leaves), [named[key] for key in sorted(named)])
    ]
    return [part.detach() for part in now], *grads


def cell_expected(sizes, weights, x, state, slopes, steps=1):
    """The same from torch.nn.LSTMCell in float64."""
    net = torch.nn.LSTMCell(*sizes).double()
    net.load_state_dict({key: torch.from_numpy(np.asarray(value, np.float64)) for key, value in weights.items()})
    x = x.double().clone().requires_grad_()
    leaves = [] if state is None else [part.double().clone().requires_grad_() for part in state]
    now = tuple(leaves) or None
    for _ in range(steps):
        now = net(x, now)
    sum((part * slope).sum() for part, slope in zip(now, slopes, strict=True)).backward()
    named = dict(net.named_parameters())
    grads = [part.grad.numpy() for part in (x, *leaves)]
    return [part.detach() for part in now], grads, [named[key].grad.numpy() for key in sorted(named)]


def cell_case(rng, B, d, n, dtype=torch.float64, scale=1.0):
    shapes = {"weight_ih": (4 * n, d), "weight_hh": (4 * n, n), "bias_ih": (4 * n,), "bias_hh": (4 * n,)}
    kind = np.float64 if dtype == torch.float64 else np.float32
    weights = {key: (scale * rng.standard_normal(shape)).astype(kind) for key, shape in shapes.items()}
    for key in ("weight_ih", "weight_hh"):
        weights[key] /= math.sqrt(weights[key].shape[1])
    x, h, c, *slopes = (torch.from_numpy(rng.standard_normal((B, k))).to(dtype) for k in (d, n, n, n, n))
    return (d, n), weights, x, (h, c), slopes


def same_cell(submission, case, double=True, steps=1, **tolerance):
    sizes, weights, x, state, slopes = case
    got = submission.run(cell_run, sizes, weights, x, state, slopes, double, steps)
    return close(got, cell_expected(sizes, weights, x, state, slopes, steps), **(tolerance or TIGHT))


@pytest.mark.exercise("LSTMCell", weight=3, core=True, hint=2)
def test_cell_computes(submission, rng):
    """With given weights the new h and c are those of torch.nn.LSTMCell."""
    for sizes in [(3, 2, 4), (2, 5, 3)]:
        sizes, weights, x, state, slopes = cell_case(rng, *sizes)
        got = submission.run(cell_run, sizes, weights, x, state, slopes, True)
        expected = cell_expected(sizes, weights, x, state, slopes)
        assert close(got[0], expected[0], atol=1e-6)


@pytest.mark.exercise("LSTMCell", weight=2, core=True, hint=3)
def test_cell_starts_from_zeros(submission, rng):
    """Without a state, h and c of before are zeros."""
    sizes, weights, x, _, slopes = cell_case(rng, 3, 2, 4)
    got = submission.run(cell_run, sizes, weights, x, None, slopes, True)
    assert close(got[0], cell_expected(sizes, weights, x, None, slopes)[0], atol=1e-6)


@pytest.mark.exercise("LSTMCell", weight=2, hint=3)
def test_cell_gradients(submission, rng):
    """Gradients flow to x, to h and c, and to all parameters, as those of torch.nn.LSTMCell, of any size."""
    for B, d, n in [(3, 2, 4), (1, 1, 1), (1, 3, 2), (4, 1, 2), (2, 3, 1), (1100, 1, 2), (2, 103, 3), (2, 2, 105)]:
        assert same_cell(submission, cell_case(rng, B, d, n))
    case = list(cell_case(rng, 3, 2, 4))
    case[3] = None
    assert same_cell(submission, case)


@pytest.mark.exercise("LSTMCell", weight=3, hint=3)
def test_cell_keeps_its_memory(submission, rng):
    """Over 300 steps with an open forget gate, memory and gradient arrive as with torch.nn.LSTMCell."""
    sizes, weights, x, state, slopes = cell_case(rng, 2, 2, 3, scale=0.5)
    weights["bias_hh"][3:6] += 9.0
    # c moves by up to 300 sigma(a_i); each step adds an error of eps, which is kept.
    assert same_cell(submission, (sizes, weights, x, state, slopes), steps=300, rtol=1e-8, atol=1e-8)


@pytest.mark.exercise("LSTMCell", weight=1)
def test_cell_of_every_kind(submission, rng):
    """float32 stays float32; views, tiny and huge inputs are read right."""
    case = cell_case(rng, 4, 3, 5, torch.float32)
    got = submission.run(cell_run, *case[:4], case[4], False)
    expected = cell_expected(*case)
    # A sum of 10 terms near 1, then two slopes of at most 1: some ten eps of float32; gradients add up 4 rows of 5.
    assert close(got[0], [part.float() for part in expected[0]], rtol=1e-5, atol=1e-5, typed=True)
    wanted = [[part.astype(np.float32) for part in some] for some in expected[1:]]
    assert close(got[1:], tuple(wanted), rtol=1e-4, atol=1e-4, typed=True)
    sizes, weights, x, (h, c), slopes = cell_case(rng, 4, 3, 5)
    views = [part.mT.contiguous().mT for part in (x, h, c)]
    got = submission.run(cell_run, sizes, weights, views[0], tuple(views[1:]), slopes, True)
    expected = cell_expected(sizes, weights, x, (h, c), slopes)
    assert close(got, expected, **TIGHT) and close(got[0], expected[0], typed=True, **TIGHT)
    for large in (2.0**30, 2.0**-30):
        thin = weights | {"weight_ih": weights["weight_ih"] / large, "weight_hh": weights["weight_hh"] / large}
        scaled_case = sizes, thin, x * large, (h * large, c * large), slopes
        got, expected = submission.run(cell_run, *scaled_case, True), cell_expected(*scaled_case)
        for mine, theirs in zip(got, expected, strict=True):
            assert near([np.asarray(part) for part in mine], [np.asarray(part) for part in theirs], slack=1e4)


@pytest.mark.exercise("LSTMCell", weight=1, hint=2)
def test_cell_with_gates_wide_open_or_shut(submission, rng):
    """h, c and the gradients are right, and finite, where the inputs of the gates are near 1e4 or -1e4."""
    for dtype in (torch.float64, torch.float32):
        sizes, weights, x, state, slopes = cell_case(rng, 6, 2, 3, dtype)
        weights["bias_ih"] = np.where(rng.random(12) < 0.5, -9e3, 9e3).astype(weights["bias_ih"].dtype)
        assert same_cell(submission, (sizes, weights, x, state, slopes), dtype == torch.float64, rtol=1e-4, atol=1e-4)


@student_side
def cell_start(seed, sizes):
    torch.manual_seed(seed)
    net = student.LSTMCell(*sizes)
    learnt = sorted(key for key, part in net.named_parameters() if part.requires_grad)
    return {key: value.numpy().copy() for key, value in sorted(net.state_dict().items())}, learnt


@pytest.mark.exercise("LSTMCell", weight=1, hint=1)
def test_cell_has_four_parameters(submission):
    """The state is the four parameters in their shapes, float32; the biases are 0, but 1 for the forget gate."""
    for d, n in ((6, 4), (1, 1), (3, 130)):
        state, learnt = submission.run(cell_start, 1, (d, n))
        assert close(learnt, sorted(NAMES)) and close(list(state), sorted(NAMES))
        ones = np.repeat(np.array([0, 1, 0, 0], np.float32), n)
        assert close([state["bias_ih"], state["bias_hh"]], [ones, 0 * ones], typed=True)
        for key, columns in (("weight_ih", d), ("weight_hh", n)):
            assert close(state[key], np.zeros((4 * n, columns), np.float32), typed=True, atol=math.inf)


@pytest.mark.exercise("LSTMCell", weight=1, hint=1)
def test_cell_draws_its_weights(submission):
    """torch draws both weights, uniformly from -1 / sqrt(n) to 1 / sqrt(n), whatever d is."""
    for d, n in ((60, 40), (1, 1), (3, 130)):
        state, _ = submission.run(cell_start, 1, (d, n))
        other, _ = submission.run(cell_start, 2, (d, n))
        for key in ("weight_ih", "weight_hh"):
            assert close(state[key], 0 * state[key], atol=1.00001 / math.sqrt(n))
            assert close(bool((state[key] != other[key]).any()), True)
            if state[key].size > 2000:
                uniform = scipy.stats.uniform(-1 / math.sqrt(n), 2 / math.sqrt(n))
                assert close(bool(scipy.stats.kstest(state[key].ravel(), uniform.cdf).pvalue > LEVEL), True)
                assert close(len(np.unique(state[key])) > 0.9 * state[key].size, True)
        assert close(submission.run(cell_start, 1, (d, n))[0], state)


@student_side
def cell_trace():
    """In words, what calls of a cell leave behind."""
    torch.manual_seed(0)
    net = student.LSTMCell(2, 3)
    first, second = ([torch.rand(4, k) for k in (2, 3, 3)] for _ in range(2))
    kept = [part.clone() for part in first]
    with torch.no_grad():
        one = net(first[0], tuple(first[1:]))
        before = [part.clone() for part in one]
        two, three = net(second[0], tuple(second[1:])), net(second[0])
        net(second[0] + 1)
    if not all(map(torch.equal, kept, first)):
        return "the call changes its arguments"
    if not all(map(torch.equal, before, one)):
        return "a later call changes what an earlier one returned"
    every = [*first, *second, *one, *two, *three]
    if len({part.untyped_storage().data_ptr() for part in every}) < len(every):
        return "what is returned shares memory with an argument or with another result"
    with torch.no_grad():
        for mine, theirs in zip(first, second):
            mine.copy_(theirs)
        if not all(map(torch.allclose, net(first[0], tuple(first[1:])), two)):
            return "the call does not see that a tensor has changed since the last one"
    return ""


@pytest.mark.exercise("LSTMCell", forgeable=True)
def test_cell_leaves_no_trace(submission):
    """x and the state are left as they are, and what is returned is new."""
    assert close(submission.run(cell_trace), "")


# --------------------------------------------------------------------------------------------------- masked_batch


def padded(sequences, length=None):
    """By definition."""
    length = length or max(1, max(map(len, sequences)))
    ids, mask = np.zeros((len(sequences), length), np.int64), np.zeros((len(sequences), length), bool)
    for i, sequence in enumerate(sequences):
        for t, number in enumerate(sequence):
            ids[i, t], mask[i, t] = int(number), True
    return torch.from_numpy(ids), torch.from_numpy(mask)


def some_sequences(rng, count, longest, high=50):
    return [rng.integers(1, high, rng.integers(0, longest + 1)) for _ in range(count)]


@pytest.mark.exercise("masked_batch", weight=2, core=True, hint=1)
def test_batch_of_sequences(submission, rng):
    """Each row begins with its sequence, 0 follows, and the mask is True where a number of the sequence stands."""
    for count, longest in ((4, 6), (1, 3), (7, 2)):
        sequences = [*some_sequences(rng, count, longest), rng.integers(1, 9, longest)]
        assert close(submission.masked_batch(sequences), padded(sequences))
        assert close(submission.masked_batch(sequences, longest + 2), padded(sequences, longest + 2))


@pytest.mark.exercise("masked_batch", weight=1, hint=1)
def test_batch_of_every_kind(submission, rng):
    """Lists and arrays of every integer kind, empty and many sequences, zeros, numbers up to 2^40: int64 and bool."""
    argument = integers(5, low=0, high=100, lists=True)
    for form in (argument.plain, *argument.forms.values()):
        sequences = [form(rng), np.array([3]), form(rng)]
        assert close(submission.masked_batch(sequences), padded(sequences), typed=True)
    cases = [[np.array([2**40, 0, 2**33 + 1])], [[2**40], [0, 0]], [[]], [[], []], [np.array([], int), [4]]]
    cases += [some_sequences(rng, 1200, 3), [list(range(1300))], ([1], [2, 3]), [np.array([], np.uint8), [2**35 + 1]]]
    for sequences in cases:
        assert close(submission.masked_batch(sequences), padded(sequences), typed=True)
    for length in (3, 4, 150):
        sequences = [np.array([1, 2, 3], np.uint64), [], [7]]
        assert close(submission.masked_batch(sequences, length), padded(sequences, length), typed=True)
    assert close(submission.masked_batch([[]], 1), padded([[]], 1), typed=True)
    for sequences, length in (([[1, 2], [1]], 1), ([[], list(range(200))], 199), ([[1], [1, 2, 3]], 2)):
        with raises_student(ValueError):
            submission.masked_batch(sequences, length)


@student_side
def loss_run(logits, targets, mask):
    """The loss, and its gradient."""
    logits = logits.clone().requires_grad_()
    loss = student.masked_loss(logits, targets, mask)
    loss.backward()
    return loss.detach(), logits.grad


def loss_expected(logits, targets, mask):
    """By definition, in float64."""
    z = logits.double().numpy()
    loss, slope, count = 0.0, np.zeros(z.shape), int(mask.sum())
    for place in zip(*np.nonzero(mask.numpy()), strict=True):
        row = z[place] - z[place].max()
        logs = row - math.log(np.exp(row).sum())
        loss -= logs[int(targets[place])] / count
        slope[place] = np.exp(logs) / count
        slope[(*place, int(targets[place]))] -= 1 / count
    return torch.tensor(loss).to(logits.dtype), torch.from_numpy(slope).to(logits.dtype)


def loss_case(rng, B, T, C, dtype=torch.float64, scale=1.0):
    mask = torch.from_numpy(rng.random((B, T)) < 0.6)
    mask[rng.integers(B), rng.integers(T)] = True
    logits = torch.from_numpy(scale * rng.standard_normal((B, T, C))).to(dtype)
    return logits, torch.from_numpy(rng.integers(0, C, (B, T))), mask


@pytest.mark.exercise("masked_batch", weight=2, core=True, hint=2)
def test_loss_is_the_mean_over_real_positions(submission, rng):
    """The loss is the mean cross-entropy over the real positions of all rows, each counted the same."""
    for sizes in [(3, 4, 5), (2, 6, 2)]:
        case = loss_case(rng, *sizes)
        assert close(submission.masked_loss(*case).detach(), loss_expected(*case)[0], rtol=1e-6)


@pytest.mark.exercise("masked_batch", weight=2, hint=2)
def test_loss_of_every_kind(submission, rng):
    """Both dtypes, any size, rows of padding only, tiny and huge logits: a 0-d tensor of that dtype; its gradient."""
    for sizes in [(1, 1, 3), (1, 5, 1), (2, 3, 2), (1100, 2, 2), (2, 1200, 2), (2, 3, 150)]:
        case = loss_case(rng, *sizes)
        assert close(submission.run(loss_run, *case), loss_expected(*case), rtol=1e-9, atol=1e-13, typed=True)
    for scale in (1e-7, 1e8, 3e9):
        case = loss_case(rng, 3, 4, 5, scale=scale)
        assert close(submission.run(loss_run, *case), loss_expected(*case), rtol=1e-12, atol=1e-14, typed=True)
    case = loss_case(rng, 3, 4, 5, torch.float32)  # a sum of 5 exponentials, then of up to 12 losses: 20 eps
    assert close(submission.run(loss_run, *case), loss_expected(*case), rtol=1e-5, atol=1e-6, typed=True)
    logits, targets, mask = case
    views = logits.permute(2, 1, 0).contiguous().permute(2, 1, 0), targets.T.contiguous().T, mask.T.contiguous().T
    assert close(submission.run(loss_run, *views), loss_expected(*case), rtol=1e-5, atol=1e-6)
    every = (logits, targets, torch.ones_like(mask))
    assert close(submission.run(loss_run, *every), loss_expected(*every), rtol=1e-5, atol=1e-6)


@pytest.mark.exercise("masked_batch", weight=5, hint=2)
def test_padding_has_no_influence(submission, rng):
    """Padding to any length, with anything in it (inf, nan, impossible targets), changes no value and no gradient."""
    for dtype, digits in ((torch.float64, 1e-12), (torch.float32, 1e-5)):  # far above 20 eps, as before
        logits, targets, mask = loss_case(rng, 3, 4, 5, dtype)
        expected = loss_expected(logits, targets, mask)
        for extra in (0, 1, 7, 40):
            wide = torch.cat([logits, torch.full((3, extra, 5), math.nan, dtype=dtype)], dim=1)
            ids = torch.cat([targets, torch.full((3, extra), -7)], dim=1)
            real = torch.cat([mask, torch.zeros(3, extra, dtype=torch.bool)], dim=1)
            fill = [math.nan, math.inf, -math.inf, 1e30, 0.0]
            wide[~real] = torch.tensor(fill, dtype=dtype)[rng.integers(0, 5, (int((~real).sum()), 5))]
            ids[~real] = torch.from_numpy(rng.choice([-7, 999, -100, 0, 2**40], int((~real).sum())))
            value, slope = submission.run(loss_run, wide, ids, real)
            assert close(value, expected[0], rtol=digits)
            assert close(slope[:, :4], expected[1], atol=digits)
            assert close(slope[~real], torch.zeros(int((~real).sum()), 5))


@student_side
def loss_trace(first, second):
    """In words, what calls leave behind."""
    kept = [part.clone() for part in first]
    one = student.masked_loss(*first)
    before = one.clone()
    two = student.masked_loss(*second)
    three = student.masked_loss(*second)
    if not all(map(torch.equal, kept, first)):
        return "the call changes its arguments"
    if not torch.equal(one, before):
        return "a later call changes what an earlier one returned"
    places = [part.untyped_storage().data_ptr() for part in (*first, *second, one, two, three)]
    if len(set(places)) < len(places):
        return "what is returned shares memory with an argument or with another result"
    for mine, theirs in zip(first, second):
        mine.copy_(theirs)
    if not torch.allclose(student.masked_loss(*first), two):
        return "the call does not see that a tensor has changed since the last one"
    return ""


@pytest.mark.exercise("masked_batch", forgeable=True)
def test_masked_batch_leaves_no_trace(submission, rng):
    """The arguments are left as they are, and what is returned is new."""
    listed = replace(
        integers(3), plain=lambda rng: list(rng.integers(0, 9, (4, 3))), exact=lambda value: value, forms={}
    )
    assert Contract("masked_batch", sequences=listed).leaves_no_trace(submission, rng)
    both = Contract("masked_batch", sequences=constant([np.array([1, 2]), [3]]), length=4)
    assert both.leaves_no_trace(submission, rng, length=[1])
    assert close(submission.run(loss_trace, loss_case(rng, 2, 3, 4), loss_case(rng, 2, 3, 4)), "")


# --------------------------------------------------------------------------------------------------- stacked_lstm


@student_side
def stack_run(x, layers, mask, settings, slope):
    """The output of a stack of torch's cells with these weights, all gradients, and how the cells were called."""
    cells, calls = [], []

    class Cell:
        def __init__(self, weights):
            n = weights[1].shape[1]
            self.net = torch.nn.LSTMCell(weights[0].shape[1], n).to(x.dtype)
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            self.net.load_state_dict({key: torch.from_numpy(value) for key, value in zip(names, weights)})
            self.calls = []
            calls.append(self.calls)

        def __call__(self, x_t, state):
            self.calls.append((tuple(x_t.shape), None if state is None else type(state).__name__))
            return self.net(x_t, state)

    cells = [[Cell(weights) for weights in layer] for layer in layers]
    x = x.clone().requires_grad_()
    rest = () if mask is None and not settings else (mask,)
    out = student.stacked_lstm(x, cells, *rest, **settings)
    if out.requires_grad:
        (out * slope).sum().backward()
    every = [list(cell.net.parameters()) for layer in cells for cell in layer]
    grads = [[None if part.grad is None else part.grad.numpy().copy() for part in some] for some in every]
    return out.detach(), x.grad, grads, calls


def stack_weights(rng, d, n, layers, directions, dtype=np.float64):
    """For each layer and direction, four arrays."""
    found = []
    for layer in range(layers):
        size = d if layer == 0 else directions * n
        shapes = ((4 * n, size), (4 * n, n), (4 * n,), (4 * n,))
        found.append([[rng.uniform(-0.6, 0.6, shape).astype(dtype) for shape in shapes] for _ in range(directions)])
    return found


def peer_stack(layers):
    """torch.nn.LSTM with these weights, in float64."""
    (size, n), count = (layers[0][0][k].shape[1] for k in (0, 1)), len(layers)
    net = torch.nn.LSTM(size, n, count, batch_first=True, bidirectional=len(layers[0]) == 2).double()
    weights = {}
    for layer, pair in enumerate(layers):
        for reverse, four in enumerate(pair):
            for name, value in zip(NAMES, four, strict=True):
                weights[f"{name}_l{layer}{'_reverse' * reverse}"] = torch.from_numpy(value.astype(np.float64))
    net.load_state_dict(weights)
    return net


def held(net, x, mask, n):
    """The outputs of one sequence: the real positions alone go through the net, between them states stay."""
    places, zeros = np.flatnonzero(mask).tolist(), torch.zeros(1, n, dtype=torch.float64)
    both = 1 + net.bidirectional
    out = net(x[None, places])[0][0] if places else torch.zeros(0, n * both, dtype=torch.float64)
    before = [sum(p <= t for p in places) for t in range(len(x))]
    parts = [torch.cat([zeros, out[:, :n]])[before]]
    if both == 2:
        parts.append(torch.cat([out[:, n:], zeros])[[sum(p < t for p in places) for t in range(len(x))]])
    return torch.cat(parts, dim=1)


def stack_expected(x, layers, mask, slope, return_sequences=True):
    """Each row's real positions through torch.nn.LSTM; at padding each direction shows the state that it had."""
    net, n = peer_stack(layers), layers[0][0][1].shape[1]
    x = x.double().clone().requires_grad_()
    both = len(layers[0]) == 2
    rows = () if mask is None else [held(net, row, real, n) for row, real in zip(x, mask.numpy(), strict=True)]
    out = net(x)[0] if mask is None else torch.stack(rows)
    if not return_sequences:
        out = torch.cat([out[:, -1, :n], out[:, 0, n:]], dim=1)
    (out * slope).sum().backward()
    grads = []
    for layer in range(len(layers)):
        for reverse in range(1 + both):
            grads.append([getattr(net, f"{name}_l{layer}{'_reverse' * reverse}").grad.numpy() for name in NAMES])
    return out.detach(), x.grad, grads


def same_stack(submission, rng, B, T, d, n, layers, directions, mask=None, return_sequences=True):
    """Whether output and gradients are torch.nn.LSTM's."""
    weights = stack_weights(rng, d, n, layers, directions)
    x = torch.from_numpy(rng.standard_normal((B, T, d)))
    shape = (B, T, directions * n) if return_sequences else (B, directions * n)
    slope = torch.from_numpy(rng.standard_normal(shape))
    settings = {} if return_sequences else {"return_sequences": False}
    got = submission.run(stack_run, x, weights, mask, settings, slope)
    return close(tuple(got[:3]), stack_expected(x, weights, mask, slope, return_sequences), **TIGHT)


@pytest.mark.exercise("stacked_lstm", weight=3, core=True, hint=1)
def test_stack_of_one_layer(submission, rng):
    """One layer, in one direction and in both, puts out what torch.nn.LSTM does with the same weights."""
    for directions in (1, 2):
        weights, x = stack_weights(rng, 2, 4, 1, directions), torch.from_numpy(rng.standard_normal((3, 5, 2)))
        got = submission.run(stack_run, x, weights, None, {}, 1.0)
        assert close(got[0], stack_expected(x, weights, None, 1.0)[0], atol=1e-6)


@pytest.mark.exercise("stacked_lstm", weight=2, core=True, hint=2)
def test_stack_gives_the_last_states(submission, rng):
    """With several layers, each reads the outputs of the one before; the last states are those after all positions."""
    for directions, sequences in itertools.product((1, 2), (True, False)):
        weights, x = stack_weights(rng, 2, 3, 2, directions), torch.from_numpy(rng.standard_normal((3, 4, 2)))
        got = submission.run(stack_run, x, weights, None, {"return_sequences": sequences}, 1.0)
        assert close(got[0], stack_expected(x, weights, None, 1.0, sequences)[0], atol=1e-6)


@pytest.mark.exercise("stacked_lstm", weight=2, hint=1)
def test_stack_of_every_size(submission, rng):
    """Any size, length and depth: outputs and gradients are torch.nn.LSTM's, and each cell is called T times."""
    cases = [(1, 1, 1, 1, 1, 1), (2, 4, 3, 2, 3, 2), (3, 1, 2, 2, 2, 2), (1, 130, 1, 2, 1, 2), (1100, 2, 1, 1, 1, 1)]
    for sizes in cases:
        for sequences in (True, False):
            assert same_stack(submission, rng, *sizes, return_sequences=sequences)
    weights, x = stack_weights(rng, 2, 3, 2, 2), torch.from_numpy(rng.standard_normal((3, 5, 2)))
    calls = submission.run(stack_run, x, weights, None, {}, 1.0)[3]
    wide = [(3, 2)] * 2 + [(3, 6)] * 2
    expected = [[(shape, None)] + [(shape, "tuple")] * 4 for shape in wide]
    assert close([list(map(tuple, c)) for c in calls], expected)
    mask = torch.tensor([[True, False, True, True, False]] * 3)
    calls = submission.run(stack_run, x, weights, mask, {}, 1.0)[3]
    assert close([list(map(tuple, c)) for c in calls], expected)
    weights = stack_weights(rng, 2, 3, 1, 2, np.float32)
    x, slope = (torch.from_numpy(rng.standard_normal((3, 5, k))).float() for k in (2, 6))
    out = stack_expected(x, weights, None, slope)[0].float()
    for view in (x, x.permute(2, 1, 0).contiguous().permute(2, 1, 0)):
        assert close(submission.run(stack_run, view, weights, None, {}, slope)[0], out, atol=1e-5, typed=True)
    weights, x = stack_weights(rng, 1, 2, 1, 1), torch.from_numpy(rng.standard_normal((2, 3, 1)))
    for large in (2.0**30, 2.0**-30):
        weights[0][0][0] = weights[0][0][0] / large
        got = submission.run(stack_run, x * large, weights, None, {}, 1.0)[0]
        assert close(got, stack_expected(x * large, weights, None, 1.0)[0], **TIGHT)
        weights[0][0][0] = weights[0][0][0] * large


@pytest.mark.exercise("stacked_lstm", weight=3, hint=3)
def test_stack_keeps_the_state_at_padding(submission, rng):
    """Where the mask is False, h and c stay as they were, in both directions; outputs and gradients are right."""
    for B, T, layers, directions in [(4, 5, 1, 1), (4, 6, 2, 2), (3, 4, 2, 1)]:
        mask = torch.from_numpy(rng.random((B, T)) < 0.6)
        mask[0], mask[1], mask[2, 0] = False, True, False
        for sequences in (True, False):
            assert same_stack(submission, rng, B, T, 2, 3, layers, directions, mask, sequences)


@pytest.mark.exercise("stacked_lstm", weight=5, hint=3)
def test_stack_with_padding_of_any_length(submission, rng):
    """Padding to any length, with any numbers in it, changes no output of a real position and no gradient."""
    for directions, dtype in itertools.product((1, 2), (torch.float64, torch.float32)):
        kind = np.float64 if dtype == torch.float64 else np.float32
        digits = 1e-11 if dtype == torch.float64 else 1e-4  # a few hundred sums of products near 1
        weights = stack_weights(rng, 2, 3, 2, directions, kind)
        x = torch.from_numpy(rng.standard_normal((3, 5, 2))).to(dtype)
        mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3, [True] * 4 + [False]])
        slope = torch.from_numpy(rng.standard_normal((3, 5, 3 * directions))).to(dtype) * mask[:, :, None]
        out, slope_x, grads = stack_expected(x, weights, mask, slope)
        for extra in (0, 3, 60):
            wide = torch.cat([x, torch.zeros(3, extra, 2, dtype=dtype)], dim=1)
            real = torch.cat([mask, torch.zeros(3, extra, dtype=torch.bool)], dim=1)
            wide[~real] = torch.from_numpy(50 * rng.standard_normal((int((~real).sum()), 2))).to(dtype)
            longer = torch.cat([slope, torch.zeros(3, extra, slope.shape[2], dtype=dtype)], dim=1)
            got = submission.run(stack_run, wide, weights, real, {}, longer)
            assert close(got[0][real], out[mask].to(dtype), atol=digits)
            assert close(got[1][real], slope_x[mask].to(dtype), atol=digits)
            assert close(got[1][~real], torch.zeros(int((~real).sum()), 2))
            assert close(got[2], grads, atol=digits)


@student_side
def dropped(seed, sizes, layers, directions, p):
    """What comes out of a stack of cells that show what they read, all ones at first; what each layer read."""
    torch.manual_seed(seed)
    read = []

    def shows(x_t, state):
        read.append(x_t.clone())
        return x_t, x_t

    x = torch.ones(sizes, dtype=torch.float64)
    if p is None:
        out = student.stacked_lstm(x, [[shows] * directions] * layers)
    else:
        out = student.stacked_lstm(x, [[shows] * directions] * layers, dropout=p)
    return out, torch.rand(3), [float((part - 1).abs().max()) for part in read[: sizes[1] * directions]]


@pytest.mark.exercise("stacked_lstm", weight=2, hint=3)
def test_stack_drops_between_layers(submission):
    """Each entry between two layers is dropped with probability p, on its own, and divided by 1 - p otherwise."""
    for seed, p in enumerate((0.25, 0.75, 0.05)):
        out, _, first = submission.run(dropped, seed, (25, 30, 4), 2, 2, p)
        assert close(first, [0.0] * 60)  # nothing is dropped before the first layer
        out = out.numpy()
        # Both cells of the second layer show the same 8 entries of each position.
        assert close(out[:, :, :8], out[:, :, 8:])
        gone = out[:, :, :8] == 0
        assert close(out[:, :, :8], np.where(gone, 0.0, 1 / (1 - p)), rtol=1e-12)
        assert fits([gone.sum(), (~gone).sum()], [p, 1 - p])
        pairs = (gone[:-1], gone[1:]), (gone[:, :-1], gone[:, 1:]), (gone[:, :, :-1], gone[:, :, 1:])
        for one, other in (*pairs, (gone[:, :, :4], gone[:, :, 4:])):
            # Pairs that overlap are counted once: every second one.
            counts = np.bincount((2 * one + other).ravel(), minlength=4)
            law = np.outer([1 - p, p], [1 - p, p]).ravel()
            # Overlapping pairs of independent entries are uncorrelated; half of the count is on the safe side.
            assert fits(counts / 2, law)
    one, *_ = submission.run(dropped, 1, (5, 6, 3), 2, 1, 0.5)
    other, *_ = submission.run(dropped, 2, (5, 6, 3), 2, 1, 0.5)
    assert close(bool((one != other).any()), True)


@pytest.mark.exercise("stacked_lstm", weight=1, hint=3)
def test_stack_without_dropout(submission):
    """Nothing is dropped with one layer or with p = 0, and then nothing is drawn; 0 is the default."""
    torch.manual_seed(5)
    rest = torch.rand(3)
    for layers, p in ((3, 0.0), (3, None), (1, None)):
        out, left, _ = submission.run(dropped, 5, (3, 4, 2), layers, 1, p)
        assert close([out, left], [torch.ones(3, 4, 2), rest])
    assert close(submission.run(dropped, 5, (3, 4, 2), 1, 1, 0.9)[0], torch.ones(3, 4, 2))
    out = submission.run(dropped, 6, (20, 30, 4), 3, 1, 0.5)[0].numpy()
    assert fits([(out == 0).sum(), (out == 4.0).sum()], [3, 1]) and close(
        set(np.unique(out).tolist()) <= {0.0, 4.0}, True
    )


@student_side
def stack_trace(first, second, mask):
    """In words, what calls leave behind."""

    def sums(x_t, state):
        h, c = (torch.zeros_like(x_t), torch.zeros_like(x_t)) if state is None else state
        return h + x_t, c + h

    kept = [first.clone(), mask.clone()]
    for cells in ([[sums]], [[sums, sums], [sums]]):
        for real in (mask, None):
            one = student.stacked_lstm(first, cells, real)
            before = one.clone()
            two, three = student.stacked_lstm(second, cells, real), student.stacked_lstm(second, cells, real)
            if not (torch.equal(kept[0], first) and torch.equal(kept[1], mask)):
                return "the call changes its arguments"
            if not torch.equal(one, before):
                return "a later call changes what an earlier one returned"
            if len({part.untyped_storage().data_ptr() for part in (first, second, one, two, three)}) < 5:
                return "what is returned shares memory with an argument or with another result"
            kept_first = first.clone()
            first.copy_(second)
            if not torch.allclose(student.stacked_lstm(first, cells, real), two):
                return "the call does not see that a tensor has changed since the last one"
            first.copy_(kept_first)
    return ""


@pytest.mark.exercise("stacked_lstm", forgeable=True)
def test_stack_leaves_no_trace(submission, rng):
    """x and the mask are left as they are, and what is returned is new."""
    first, second = (torch.from_numpy(rng.standard_normal((3, 4, 2))) for _ in range(2))
    mask = torch.from_numpy(rng.random((3, 4)) < 0.7)
    assert close(submission.run(stack_trace, first, second, mask), "")


# ------------------------------------------------------------------------------------------------- truncated_step


@student_side
def truncated(weights, x, y, window, state, before=None, parts=None):
    """(J, the state, gradients, parameters, calls) of a small network whose state is a tuple within a tuple."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for key, value in weights.items():
                setattr(self, key, torch.nn.Parameter(value.clone()))
            self.calls = []

        def forward(self, x, state):
            h, (mean, none) = (torch.zeros(len(x), len(self.U)).to(x.device), (0.0, None)) if state is None else state
            needs = state is not None and (h.requires_grad or mean.requires_grad)
            values = None if state is None else (h.detach().clone(), mean.detach().clone())
            self.calls.append((tuple(x.shape), values, needs, self.training))
            h, logits = h.to(self.U.dtype), []
            for t in range(x.shape[1]):
                h = torch.tanh(self.E[x[:, t]] + h @ self.U.T)
                mean = 0.9 * mean + h * h
                logits.append((h + mean) @ self.V.T)
            return torch.stack(logits, dim=1), (h, (mean, none))

    net = Net()
    for part in net.parameters():
        part.grad = None if before is None else torch.full_like(part, before)
    net.train(before is None)
    kept = [part.clone() for part in (x, y)]
    if state is None:
        J, state = student.truncated_step(net, x, y, window)
    else:
        h, mean = (part.clone().requires_grad_() for part in state)
        J, after = student.truncated_step(net, x, y, window, (h, (mean, None)))
        if not (torch.equal(h, state[0]) and torch.equal(mean, state[1]) and h.requires_grad and mean.requires_grad):
            return "the state that was passed in has changed"
        state = after
    if not all(map(torch.equal, kept, (x, y))):
        return "x or y has changed"
    left = state[0].requires_grad or state[1][0].requires_grad or state[1][1] is not None
    grads = [part.grad.clone() for part in net.parameters()]
    moved = [p.detach() for p in net.parameters()]
    return J, [state[0].detach(), state[1][0].detach()], grads, moved, net.calls, left, net.training


def truncated_expected(weights, x, y, window, state=None):
    """By definition, one window after the other, in float64."""
    leaves = {key: value.double().clone().requires_grad_() for key, value in weights.items()}
    E, U, V = leaves["E"], leaves["U"], leaves["V"]
    h, mean = (
        (torch.zeros(len(x), len(U), dtype=torch.float64), 0.0) if state is None else map(torch.Tensor.double, state)
    )
    J, incoming = 0.0, []
    for t in range(x.shape[1]):
        if t % window == 0 and t > 0:
            h, mean = h.detach(), mean.detach()
        if t % window == 0:
            incoming.append((h, mean))
        h = torch.tanh(E[x[:, t]] + h @ U.T)
        mean = 0.9 * mean + h * h
        J = J + torch.nn.functional.cross_entropy((h + mean) @ V.T, y[:, t], reduction="sum") / y.numel()
    grads = torch.autograd.grad(J, list(leaves.values()))
    return float(J), [h.detach(), mean.detach()], list(grads), incoming


def text_case(rng, B, T, n=4, N=5, dtype=torch.float64):
    shapes = {"E": (N, n), "U": (n, n), "V": (N, n)}
    weights = {key: torch.from_numpy(rng.uniform(-0.7, 0.7, shape)).to(dtype) for key, shape in shapes.items()}
    x, y = (torch.from_numpy(rng.integers(0, N, (B, T))) for _ in range(2))
    return weights, x, y


@pytest.mark.exercise("truncated_step", weight=3, core=True, hint=2)
def test_truncated_loss_and_full_gradient(submission, rng):
    """J is the mean over all positions, whatever the window; with one window the gradient is the full one."""
    for B, T in ((2, 7), (3, 4)):
        case = text_case(rng, B, T)
        for window in (T, T + 3):
            got, expected = submission.run(truncated, *case, window, None), truncated_expected(*case, window)
            assert close((got[0], got[2]), (expected[0], expected[2]), rtol=1e-6, atol=1e-6)
        for window in (1, 2, 3):
            got = submission.run(truncated, *case, window, None)
            assert close(got[0], truncated_expected(*case, window)[0], rtol=1e-6)


@pytest.mark.exercise("truncated_step", weight=3, core=True, hint=3)
def test_truncated_gradient(submission, rng):
    """The gradient is the sum over the windows, in which the incoming state is a constant."""
    for window in (1, 2, 3, 5):
        case = text_case(rng, 2, 7)
        got, expected = submission.run(truncated, *case, window, None), truncated_expected(*case, window)
        assert close(got[2], expected[2], atol=1e-6)


@pytest.mark.exercise("truncated_step", weight=2, hint=3)
def test_truncated_state_goes_on(submission, rng):
    """The state goes from window to window and from call to call, detached, and each window is read once, in order."""
    weights, x, y = text_case(rng, 2, 9)
    state = None
    for part in (slice(0, 5), slice(5, 9)):
        for window in (2, 4):
            got = submission.run(truncated, weights, x[:, part], y[:, part], window, state)
            expected = truncated_expected(weights, x[:, part], y[:, part], window, state)
            length = part.stop - part.start
            sizes = [(2, min(window, length - k)) for k in range(0, length, window)]
            assert close([tuple(call[0]) for call in got[4]], sizes)
            assert close([got[5], *[call[2] for call in got[4]]], [False] * (len(sizes) + 1))
            assert close(got[1], expected[1], atol=1e-9)
            assert close(got[2], expected[2], atol=1e-9)
            assert close(got[4][0][1] is None, state is None)
            for call, (h, mean) in list(zip(got[4], expected[3], strict=True))[state is None :]:
                assert close([call[1][0], call[1][1]], [h.detach(), mean.detach()], atol=1e-9)
        state = [part.clone() for part in got[1]]


@pytest.mark.exercise("truncated_step", weight=2, hint=1)
def test_truncated_of_every_size(submission, rng):
    """Any size, window and dtype; old gradients do not count, no parameter moves, J is a Python float."""
    cases = [(1, 1, 1), (3, 5, 1), (2, 130, 115), (2, 300, 1), (1100, 2, 1), (1, 7, 500)]
    for B, T, window in cases:
        case = text_case(rng, B, T)
        got, expected = submission.run(truncated, *case, window, None, 3.0), truncated_expected(*case, window)
        assert close(got[0], expected[0], rtol=1e-11, typed=True)
        assert close(got[2], expected[2], atol=1e-11)
        assert close(got[3], list(case[0].values()))
        assert close(len(got[4]), -(-T // window))
    case = text_case(rng, 3, 6, dtype=torch.float32)  # 18 positions of 6 steps with 4 products each: 500 eps
    got, expected = submission.run(truncated, *case, 2, None), truncated_expected(*case, 2)
    assert close((got[0], got[2]), (expected[0], expected[2]), rtol=1e-4, atol=1e-5)
    weights, x, y = case
    views = submission.run(truncated, weights, x.T.contiguous().T, y.T.contiguous().T, 2, None)
    assert close(views[2], expected[2], atol=1e-5)


@pytest.mark.exercise("truncated_step", weight=1)
def test_truncated_keeps_the_mode(submission, rng):
    """net stays in the mode in which it came, train or eval."""
    case = text_case(rng, 2, 4)
    for before, mode in ((None, True), (3.0, False)):
        got = submission.run(truncated, *case, 2, None, before)
        assert close([call[3] for call in got[4]] + [got[6]], [mode] * 3)


@student_side
def truncated_long(T, window, N):
    """J of a long text, with a state that changes slowly; how many calls there were."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(N))
            self.calls = 0

        def forward(self, x, state):
            self.calls += 1
            state = torch.zeros(1) if state is None else state
            logits = self.w + (x[:, :, None] * 0.001 + state) * torch.ones(N)
            return logits.tanh() * 1.0, 0.5 * state + self.w.mean()

    net = Net()
    x = torch.ones(1, T, dtype=torch.int64)
    J, _ = student.truncated_step(net, x, x, window)
    return J, net.calls, net.w.grad.clone()[:3]


@pytest.mark.exercise("truncated_step", weight=6, hint=1, memory_mb=70, seconds=5)
def test_truncated_memory_of_a_window(submission):
    """The memory does not grow with the length: a window's graph and logits are gone before the next window is read."""
    # A window's logits take 1 MB, and its graph a few times that. All 80 windows take 80 MB, and more with graphs.
    T, N = 4000, 5000
    J, calls, grad = submission.run(truncated_long, T, 50, N)
    assert close((J, calls), (math.log(N), T // 50), rtol=1e-4)
    # By symmetry the probability of each class is 1/N; its slope through tanh near 0.001 is 1.
    assert close(grad, np.array([1 / N, 1 / N - 1, 1 / N]), rtol=1e-2)


# ----------------------------------------------------------------------------------------------------- train_step


@student_side
def trained(weights, batches, lr, record, before=None):
    """What each step returns and leaves behind: losses, gradients at the update, calls, bytes and tensors held."""
    import gc
    import weakref

    class Held:
        alive = 0

        def __init__(self, tensor):
            self.tensor = tensor
            Held.alive += 1
            weakref.finalize(self, Held.gone)

        @staticmethod
        def gone():
            Held.alive -= 1

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for key, value in weights.items():
                setattr(self, key, torch.nn.Parameter(value.clone()))
            self.states = []

        def forward(self, x, state):
            self.states.append(None if state is None else "a state")
            h = torch.zeros(len(x), len(self.U), dtype=self.U.dtype) if state is None else state
            for t in range(x.shape[1]):
                h = torch.tanh(self.E[x[:, t]] + h @ self.U.T)
            return h @ self.V.T, h

    net, found, grads = Net(), [], []
    for part in net.parameters():
        part.grad = None if before is None else torch.full_like(part, before)

    def update():
        grads.append([part.grad.clone() for part in net.parameters()])
        for part in net.parameters():
            part.data -= lr * part.grad

    held = []
    with torch.autograd.graph.saved_tensors_hooks(Held, lambda h: h.tensor):
        for x, y in batches:
            kept = x.clone(), y.clone()
            found.append(student.train_step(net, x, y, update, record))
            gc.collect()
            held.append(Held.alive)
            if not (torch.equal(kept[0], x) and torch.equal(kept[1], y)):
                return "x or y has changed"
    kinds = [type(loss).__name__ for loss in (*found, *record.get("losses", []))]
    plain = [float(loss) for loss in found]
    losses = [float(loss) for loss in record.get("losses", [])]
    return plain, losses, grads, net.states, held, kinds, sorted(record), [p.detach() for p in net.parameters()]


def trained_expected(weights, batches, lr):
    """The same by definition, in float64: losses, gradients at each step, and the weights at the end."""
    weights, losses, steps = {key: value.double().clone() for key, value in weights.items()}, [], []
    for x, y in batches:
        leaves = {key: value.clone().requires_grad_() for key, value in weights.items()}
        h = torch.zeros(len(x), len(leaves["U"]), dtype=torch.float64)
        for t in range(x.shape[1]):
            h = torch.tanh(leaves["E"][x[:, t]] + h @ leaves["U"].T)
        loss = torch.nn.functional.cross_entropy(h @ leaves["V"].T, y)
        grads = torch.autograd.grad(loss, list(leaves.values()))
        losses.append(float(loss))
        steps.append(list(grads))
        weights = {key: value - lr * grad for (key, value), grad in zip(weights.items(), grads, strict=True)}
    return losses, steps, list(weights.values())


def training(rng, steps, B=3, T=4, dtype=torch.float64):
    weights, *_ = text_case(rng, B, T, dtype=dtype)
    return weights, [
        (torch.from_numpy(rng.integers(0, 5, (B, T))), torch.from_numpy(rng.integers(0, 5, B))) for _ in range(steps)
    ]


@pytest.mark.exercise("train_step", weight=3, core=True, hint=2)
def test_each_step_starts_anew(submission, rng):
    """Losses and gradients are those of the batch alone: the state starts anew in each step."""
    weights, batches = training(rng, 4)
    got, expected = submission.run(trained, weights, batches, 0.5, {}), trained_expected(weights, batches, 0.5)
    assert close((got[0], got[2]), (expected[0], expected[1]), rtol=1e-6, atol=1e-6)
    assert close(got[3], [None] * 4)


@pytest.mark.exercise("train_step", weight=3, core=True, hint=2)
def test_losses_are_numbers(submission, rng):
    """The loss is returned and recorded as a Python float, and nothing else stands in the record."""
    weights, batches = training(rng, 3)
    got = submission.run(trained, weights, batches, 0.5, {})
    assert close(got[5], ["float"] * 6)
    assert close(got[6], ["losses"])
    assert close(got[0], got[1])


@pytest.mark.exercise("train_step", weight=2)
def test_old_gradients_do_not_count(submission, rng):
    """What stands in .grad before a step is cleared before the backward pass, also in the first step."""
    weights, batches = training(rng, 2)
    got = submission.run(trained, weights, batches, 0.5, {}, 3.0)
    assert close(got[2], trained_expected(weights, batches, 0.5)[1], rtol=1e-6, atol=1e-6)


@pytest.mark.exercise("train_step", weight=4, hint=1, seconds=3)
def test_no_graph_stays(submission, rng):
    """After a step nothing of its graph is alive, also after many steps."""
    weights, batches = training(rng, 120, B=2, T=2)
    got = submission.run(trained, weights, batches, 0.01, {})
    assert close(got[4], [0] * 120)
    assert close(len(got[1]), 120)


@pytest.mark.exercise("train_step", weight=2)
def test_steps_of_every_kind(submission, rng):
    """Any size, a record that has losses already, float32; update is called once in each step."""
    for B, T, lr, dtype in [(1, 1, 0.0, 0), (1100, 2, 1.0, 0), (3, 130, 0.1, 0), (4, 3, 1e-7, 0), (3, 4, 0.5, 1)]:
        kind, digits = (torch.float32, 1e-4) if dtype else (torch.float64, 1e-9)
        weights, batches = training(rng, 3, B, T, kind)
        record = {"losses": [7.0, 8.0]}
        got, expected = submission.run(trained, weights, batches, lr, record), trained_expected(weights, batches, lr)
        assert close((got[0], got[1]), (expected[0], [7.0, 8.0, *expected[0]]), rtol=digits)
        assert close((got[2], got[7]), (expected[1], expected[2]), rtol=digits, atol=digits)


# --------------------------------------------------------------------------------------------------------- sample


@student_side
def drawn(logits, times, seed, settings):
    """The words drawn for all rows, `times` times each; the generator's next number."""
    rng = np.random.default_rng(seed)
    got = student.sample(np.repeat(logits, times, axis=0), rng, **settings)
    return got, rng.random()


def law(row, temperature=1.0, top_k=None):
    """Probabilities by definition."""
    z = np.asarray(row, np.float64)
    kept = sorted(range(len(z)), key=lambda j: (-z[j], j))[: len(z) if top_k is None else top_k]
    shares = np.zeros(len(z))
    shares[kept] = np.exp((z[kept] - z.max()) / temperature)
    return shares / shares.sum()


def follows(submission, rows, times, seed, **settings):
    """Whether the draws of each row follow its law, all rows together."""
    rows = np.atleast_2d(rows)
    got, _ = submission.run(drawn, rows, times, seed, settings)
    if not (same := close(got, np.zeros(len(rows) * times, np.int64), atol=1e9)):
        return same
    found, wanted = [], []
    for row, words in zip(rows, got.reshape(len(rows), times), strict=True):
        if words.min() < 0 or words.max() >= len(row):
            return close(False, True)
        found.append(np.bincount(words, minlength=len(row)))
        wanted.append(law(row, settings.get("temperature", 1.0), settings.get("top_k")))
        if not (same := fits(found[-1], wanted[-1])):
            return same
    return fits(np.ravel(found), np.ravel(wanted))


@pytest.mark.exercise("sample", weight=3, core=True, hint=3)
def test_sample_follows_softmax(submission, rng):
    """Each word is drawn with its probability, the softmax of its row."""
    rows = rng.uniform(-2, 2, (3, 6))
    assert follows(submission, rows, 3000, 1)
    rows[0, 2] = rows[1, 0] = rows[2, 5] = -math.inf
    assert follows(submission, rows, 3000, 2)


@pytest.mark.exercise("sample", weight=2, core=True, hint=1)
def test_sample_with_a_temperature(submission, rng):
    """The logits are divided by the temperature; with 0 the largest logit is taken, the first of equal ones."""
    row = rng.permutation([-2.0, -1.0, 0.0, 0.5, 1.0])
    for temperature in (0.5, 2.0):
        assert follows(submission, row, 5000, 3, temperature=temperature)
    rows = rng.standard_normal((4, 6))
    assert close(submission.run(drawn, rows, 3, 1, {"temperature": 0})[0], np.repeat(rows.argmax(axis=1), 3))
    equal = np.array([[1.0, 2, 2, 0], [-math.inf, 3, -math.inf, 3], [0.0, 0, 0, 0]])
    assert close(submission.run(drawn, equal, 2, 1, {"temperature": 0.0})[0], [1, 1, 1, 1, 0, 0])


@pytest.mark.exercise("sample", weight=2, core=True, hint=2)
def test_sample_of_the_k_largest(submission, rng):
    """Only the top_k largest logits are drawn, with their probabilities among each other."""
    row = rng.permutation([-2.0, -1.0, 0.0, 0.5, 1.0])
    for top_k in (1, 2, 4, 5):
        assert follows(submission, row, 4000, 4, top_k=top_k)


@pytest.mark.exercise("sample", weight=3, hint=2)
def test_sample_at_the_borders(submission, rng):
    """Equal logits, huge ones, cold and hot temperatures, single words and hundreds of them: the law is kept."""
    equal = np.array([[1.0, 0.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0, 2.0], [0.0, 1.0, 0.0, 0.0, 0.0]])
    for top_k in (2, 3, 4):
        assert follows(submission, equal, 1500, 5, top_k=top_k)
    assert follows(submission, np.tile([0.0, 1.0], 30), 1500, 5, top_k=45)
    for shift in (1e4, -9990.0):
        assert follows(submission, shift + np.array([-1.0, 0.0, -2.0]), 3000, 6)
    assert follows(submission, np.array([9999.0, 1e4, -1e4]), 500, 7, temperature=1e-6)
    assert follows(submission, np.array([1e-9, 0.0, -1e-9]), 3000, 7, temperature=1e-9)
    assert follows(submission, np.array([1e4, 0.0, -1e4]), 3000, 8, temperature=1e4)
    assert follows(submission, np.array([1e4, 0.0, -1e4]), 3000, 8, temperature=1e6)
    assert follows(submission, np.array([20.0, 0.0, -20.0]), 3000, 8, temperature=20.0)
    assert follows(submission, np.array([-math.inf, 5.0, -math.inf]), 500, 9, temperature=0.3, top_k=3)
    assert follows(submission, np.array([0.0, -math.inf, 1.0, 0.5]), 3000, 9, temperature=0.5, top_k=2)
    assert follows(submission, np.array([[7.0], [-1e4]]), 3, 9)
    wide = rng.uniform(-1, 1, 150)
    assert follows(submission, wide, 3000, 10)
    assert follows(submission, wide, 3000, 11, top_k=120)
    late = np.full(1300, -math.inf)
    late[[3, 1250, 1299]] = 0.0, 1.0, -1.0
    assert follows(submission, late, 200, 12)
    many = rng.standard_normal((1300, 4))
    many[-1] = [-math.inf, -math.inf, 0.0, -math.inf]
    got, _ = submission.run(drawn, many, 1, 13, {})
    shares = np.sum([law(row) for row in many[:-1]], axis=0)
    # The counts of rows with different laws vary less than those of one law.
    assert fits(np.bincount(got[:-1], minlength=4), shares) and close(got[-1], 2)


@pytest.mark.exercise("sample", weight=2)
def test_sample_of_every_kind(submission, rng):
    """float32 and views are read right, and words come back as int64."""
    rows = np.array([[40.0, 0, 0], [0, 0, 40], [0, 40, 0], [40, 0, 0]])  # the others come once in 1e17 times
    contract = Contract("sample", logits=floats(4, 3, draw=lambda rng: rows + rng.uniform(-1, 1, rows.shape)))
    for settings in ({}, {"temperature": 0}, {"top_k": 2}, {"temperature": 0.1, "top_k": 1}, {"temperature": 0.3}):
        for case in contract.cases(rng):
            got, _ = submission.run(asked_once, case.args[0], 1, settings)
            assert close(got, np.argmax(case.exact[0], axis=1), typed=True)
    for one in (np.array([[3.0]]), np.array([[3.0, 50.0]])):
        assert close(submission.run(asked_once, one, 1, {})[0], [one.shape[1] - 1], typed=True)


@student_side
def asked_once(logits, seed, settings):
    """One call with the logits as they are."""
    return student.sample(logits, np.random.default_rng(seed), **settings), 0


@student_side
def draws_twice(logits, seed):
    """Two calls with one generator, the first again, one under another seed, and after other random numbers."""
    rng = np.random.default_rng(seed)
    one, two = student.sample(logits, rng), student.sample(logits, rng)
    np.random.seed(5)
    again = student.sample(logits, np.random.default_rng(seed))
    free = np.random.random(3)
    return one, two, again, student.sample(logits, np.random.default_rng(seed + 1)), free


@pytest.mark.exercise("sample", weight=2)
def test_sample_draws_from_rng(submission, rng):
    """All randomness comes from rng, each call draws anew, and rows are independent of each other."""
    logits = np.tile(rng.uniform(-1, 1, 3), (8000, 1))
    one, two, again, other, free = submission.run(draws_twice, logits, 4)
    assert close(again, one) and close(free, np.random.RandomState(5).random_sample(3))
    shares = law(logits[0])
    for first, second in ((one, two), (one, other), (one[::2], one[1::2]), (one[:4000], one[4000:])):
        assert fits(np.bincount(3 * first + second, minlength=9), np.outer(shares, shares).ravel())


@student_side
def sample_trace(first, second):
    """In words, what calls leave behind."""
    for settings in ({}, {"temperature": 0}, {"top_k": 1}, {"top_k": 2, "temperature": 0.5}):
        kept = first.copy()
        one = student.sample(first, np.random.default_rng(1), **settings)
        before = one.copy()
        two, three = (student.sample(second, np.random.default_rng(1), **settings) for _ in range(2))
        if not np.array_equal(kept, first):
            return "the call changes its logits"
        if not np.array_equal(one, before):
            return "a later call changes what an earlier one returned"
        if np.shares_memory(one, two) or np.shares_memory(one, three) or np.shares_memory(two, three):
            return "two results share memory"
        first[...] = second
        if not np.array_equal(student.sample(first, np.random.default_rng(1), **settings), two):
            return "the call does not see that an array has changed since the last one"
        first[...] = kept
    return ""


@pytest.mark.exercise("sample", forgeable=True)
def test_sample_leaves_no_trace(submission, rng):
    """The logits are left as they are, and what is returned is new."""
    assert close(submission.run(sample_trace, *rng.standard_normal((2, 9, 4))), "")


# ------------------------------------------------------------------------------------------------------ skip_gram

GRAM = Contract(
    "skip_gram",
    P=doubles(6, 3, scales=(1e-9, 1e3)),
    Q=doubles(6, 3, scales=(1e-9, 1e3)),
    centres=labels(8, classes=6),
    contexts=labels(8, classes=6),
    negatives=integers(8, 4, high=5),
)


def gram(A, C, centres, contexts, negatives):
    """By torch.autograd with dense gradients, then the rows that were read."""
    A, C = (torch.tensor(np.array(part), requires_grad=True) for part in (A, C))
    centres, contexts, negatives = (torch.tensor(np.array(part, np.int64)) for part in (centres, contexts, negatives))
    true = (A[centres] * C[contexts]).sum(dim=1)
    false = (A[centres][:, None] * C[negatives]).sum(dim=2)
    softplus = torch.logaddexp(torch.zeros(1, dtype=torch.float64), torch.cat([-true[:, None], false], dim=1))
    J = softplus.sum() / len(true)
    grads = torch.autograd.grad(J, [A, C])
    rows = np.unique(centres.numpy()), np.unique(np.concatenate([contexts.numpy(), negatives.numpy().ravel()]))
    return float(J), *[(row, grad.numpy()[row]) for row, grad in zip(rows, grads, strict=True)]


def is_gram(got, expected, digits=1e-11, typed=False):
    if not (same := close(got, expected, rtol=1.0, atol=math.inf, typed=typed)):
        return same
    if not (same := close(got[0], expected[0], rtol=digits, typed=typed)):
        return same
    for mine, theirs in zip(got[1:], expected[1:], strict=True):
        size = float(np.abs(theirs[1]).max())
        if not (same := close(mine[0], theirs[0], typed=typed) and close(mine[1], theirs[1], atol=digits * size)):
            return same
    return close(True, True)


def gram_case(rng, N, e, m, k):
    A, C = rng.standard_normal((2, N, e))
    return A, C, *rng.integers(0, N, (2, m)), rng.integers(0, N, (m, k))


@pytest.mark.exercise("skip_gram", weight=3, core=True, hint=3)
def test_gram_loss_and_gradients(submission, rng):
    """The loss is the mean over the pairs, and both gradients agree with those of automatic differentiation."""
    for sizes in [(7, 3, 5, 2), (4, 2, 9, 3)]:
        case = gram_case(rng, *sizes)
        assert is_gram(submission.skip_gram(*case), gram(*case), 1e-6)


@pytest.mark.exercise("skip_gram", weight=2, hint=2)
def test_gram_of_every_kind(submission, rng):
    """Arrays of every layout and integer kind, any size, products up to 1e4: nothing overflows."""
    for case in GRAM.cases(rng):
        if case.form.startswith("times 1000"):
            continue
        assert is_gram(submission.skip_gram(*case), gram(*case.exact), typed=True)
    for sizes in [(1, 1, 1, 1), (5, 1, 1100, 1), (1500, 2, 900, 1), (9, 130, 3, 4), (4, 3, 2, 120)]:
        case = gram_case(rng, *sizes)
        assert is_gram(submission.skip_gram(*case), gram(*case), typed=True)
    A, C, *words = gram_case(rng, 5, 3, 6, 2)
    for size in (40.0, 1.0 / 40, 1e7):
        other = 60.0 / size if size > 1e6 else size
        assert is_gram(submission.skip_gram(size * A, other * C, *words), gram(size * A, other * C, *words))


@student_side
def gram_large(N, e):
    """The loss and its gradients for a few pairs of a large vocabulary."""
    rng = np.random.default_rng(2)
    A, C = rng.standard_normal((N, e)), rng.standard_normal((N, e))
    J, one, other = student.skip_gram(A, C, np.array([5, N - 1]), np.array([7, 7]), np.array([[9], [N - 2]]))
    return J, one[0], other[0], one[1].shape, other[1].shape


@pytest.mark.exercise("skip_gram", weight=3, hint=1, memory_mb=225)
def test_gram_stays_sparse(submission):
    """No array of the size of the vectors is made: only the rows that were read are touched."""
    # A and C take 80 MB each; a dense gradient would take another 80. A first matrix product takes up to 33 MB.
    J, rows, others, *shapes = submission.run(gram_large, 625_000, 16)
    assert close((rows, others, *shapes), ([5, 624_999], [7, 9, 624_998], (2, 16), (3, 16)))
    assert close(J > 0, True)


@pytest.mark.exercise("skip_gram", forgeable=True)
def test_gram_leaves_no_trace(submission, rng):
    """The arguments are left as they are, and what is returned is new."""
    assert GRAM.leaves_no_trace(submission, rng)
