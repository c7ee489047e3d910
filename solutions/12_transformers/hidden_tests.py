"""Hidden tests of module 12. A docstring is the sentence that a student reads when the test fails.

Oracles: torch's own attention and layers in float64, complex numbers, loops by definition. Rounding: what is compared
is made of at most four sums of a hundred products of numbers near 1, after each other, with a softmax of scores up to
about 10 in between, which multiplies a relative error by 10. So a result is off by a few hundred eps of max(1, its
largest entry), and 4,000 eps are allowed: 1e-12 in float64, 5e-4 in float32. A wrong mask, position or scale moves it
by 1e-2 and more.
"""

# Helpers run where `student` is defined, maybe under another Python.
# ruff: noqa: F821, B905, SIM105

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F

from autograder.judging import SEEDS, Comparison, Contract, close, one_of, raises_student, student_side
from autograder.judging.arguments import Argument
from autograder.judging.closeness import noted

DTYPES = (torch.float64, torch.float32)


def near(got, expected, dtype=torch.float64, typed=False, scale=1.0):
    """Whether tensors, arrays or lists of them agree to 4,000 eps of max(1, largest entry)."""
    if isinstance(expected, list | tuple):
        if not isinstance(got, list | tuple) or len(got) != len(expected):
            return close(got, list(expected))
        pairs = zip(got, expected, strict=True)
        return next((c for c in (near(*pair, dtype, typed, scale) for pair in pairs) if not c), close(0, 0))
    expected = expected.detach() if isinstance(expected, torch.Tensor) else torch.as_tensor(expected)
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    atol = 4000 * torch.finfo(dtype).eps * scale * max(1.0, largest)
    return close(got, expected.to(dtype) if typed else expected, atol=atol, typed=typed)


def normal(rng, *shape):
    return torch.from_numpy(rng.standard_normal(shape))


def told(why):
    """Whether a helper found nothing; what it found, in its words, for the student."""
    why = why if isinstance(why, str) else "it could not be looked at"
    return close(why, "") if not why else noted(Comparison(False, why, "", why, f"{why[:1].upper()}{why[1:]}."))


def strided(x):
    """The same numbers, each second entry of a larger tensor, in another order of axes."""
    wide = torch.zeros([*x.shape, 2], dtype=x.dtype)
    wide[..., 0] = x
    return wide[..., 0] if x.ndim < 2 else wide.transpose(0, 1).contiguous().transpose(0, 1)[..., 0]


def tensors(*shape, draw=None, forms=("float32", "in steps", "zeros among them")):
    """float64 tensors of this shape; all float32; views in steps; with zeros among them."""
    plain = draw or (lambda rng: normal(rng, *shape))
    made = {
        "float32": lambda rng: plain(rng).float(),
        "in steps": lambda rng: strided(plain(rng)),
        "zeros among them": lambda rng: plain(rng) * torch.from_numpy(rng.integers(0, 2, shape)),
    }
    return Argument(plain, {name: made[name] for name in forms}, frozenset(), lambda value: value.double())


def masks(*shape, share=0.6):
    """bool tensors; the first key of each row is allowed."""

    def plain(rng):
        mask = torch.from_numpy(rng.random(shape) < share)
        mask[..., 0] = True
        return mask

    return Argument(plain, {"in steps": lambda rng: strided(plain(rng))}, frozenset(), lambda value: value)


def same_dtype(case):
    return case.args[0].dtype


# ---------------------------------------------------------------------------------------------------- causal_mask


@pytest.mark.exercise("causal_mask", weight=3, core=True, hint=1)
def test_mask_of_the_last_queries(submission):
    """Query t of T stands at position S - T + t, and sees the keys up to that position, itself included."""
    for T, S in ((1, 1), (1, 5), (3, 3), (2, 7), (6, 7), (5, 5)):
        expected = [[s <= S - T + t for s in range(S)] for t in range(T)]
        assert close(submission.causal_mask(T, S), torch.tensor(expected))


@pytest.mark.exercise("causal_mask", weight=2)
def test_mask_of_any_size(submission):
    """The mask is a bool tensor, also for one query and a thousand keys, and for a thousand of both."""
    for T, S in ((1, 1), (1, 1300), (1100, 1300), (1030, 1030), (300, 301)):
        expected = torch.arange(S) <= torch.arange(S - T, S)[:, None]
        assert close(submission.causal_mask(T, S), expected, typed=True)


@pytest.mark.exercise("causal_mask")
def test_mask_refuses(submission):
    """More queries than positions, or none, raise ValueError; as many as positions do not."""
    for T, S in ((2, 1), (3, 2), (0, 0), (0, 4), (-1, 3), (1001, 1000)):
        with raises_student(ValueError):
            submission.causal_mask(T, S)
    assert close(submission.causal_mask(2, 2), torch.tensor([[True, False], [True, True]]))


@pytest.mark.exercise("causal_mask", forgeable=True)
def test_mask_leaves_no_trace(submission, rng):
    """Each call returns a new mask."""
    assert Contract("causal_mask", T=3, S=5).leaves_no_trace(submission, rng, T=[7])


# ------------------------------------------------------------------------------------------------- masked_softmax

SOFT = Contract("masked_softmax", scores=tensors(3, 2, 5), allowed=masks(3, 2, 5))


def softmax_by_definition(scores, allowed):
    """In float64, row by row, with plain sums."""
    scores, allowed = scores.double().numpy(), np.broadcast_to(allowed.numpy(), scores.shape)
    out = np.zeros(scores.shape)
    for row in np.ndindex(scores.shape[:-1]):
        at = np.flatnonzero(allowed[row])
        if len(at):
            powers = np.exp(scores[row][at] - scores[row][at].max())
            out[row][at] = powers / powers.sum()
    return torch.from_numpy(out)


@pytest.mark.exercise("masked_softmax", weight=3, core=True, hint=2)
def test_softmax_over_the_allowed(submission, rng):
    """The weights are the softmax over the allowed entries alone, 0 elsewhere, and sum to 1."""
    for _ in range(3):
        scores, allowed = SOFT.plain(rng)
        assert close(submission.masked_softmax(scores, allowed), softmax_by_definition(scores, allowed), atol=1e-6)


@pytest.mark.exercise("masked_softmax", weight=2, hint=2)
def test_softmax_of_nobody(submission, rng):
    """A row without any allowed entry is all zeros, beside rows that have some."""
    for dtype in DTYPES:
        scores, allowed = normal(rng, 4, 6).to(dtype), torch.from_numpy(rng.random((4, 6)) < 0.5)
        allowed[1], allowed[2] = False, True
        expected = softmax_by_definition(scores, allowed)
        assert near(submission.masked_softmax(scores, allowed), expected, dtype, typed=True)
        none = torch.zeros(6, dtype=torch.bool)
        assert close(submission.masked_softmax(scores, none), torch.zeros(4, 6, dtype=dtype), typed=True)


@pytest.mark.exercise("masked_softmax", weight=3, hint=1)
def test_softmax_ignores_what_is_hidden(submission, rng):
    """The score of an entry that is not allowed changes nothing, however large or small it is."""
    for dtype, far in itertools.product(DTYPES, (1e12, 1e30, -1e30)):
        scores, allowed = SOFT.plain(rng)
        scores = scores.to(dtype)
        expected = softmax_by_definition(scores, allowed)
        moved = scores.where(allowed, far * torch.from_numpy(rng.uniform(0.5, 1, (3, 2, 5))).to(dtype))
        got = submission.masked_softmax(moved, allowed)
        assert near(got, expected, dtype)
        assert close(got.masked_select(~allowed), np.zeros(int((~allowed).sum())))
        low = submission.masked_softmax(scores - 1000, allowed)  # scores of 1,000 have steps of 1,000 eps
        assert near(low, expected, dtype, scale=2)
    for size in (1e4, 1e8, 1e16, 1e30, -1e30):  # the larger one takes all, be it near or far from 0
        got = submission.masked_softmax(size * torch.tensor([1.0, 0.5, 2.0]), torch.tensor([True, True, False]))
        assert near(got, [float(size > 0), float(size < 0), 0.0])
    for low in (-1e30, -1e20):  # the allowed ones are the smallest: equal, so each gets its share
        scores = torch.tensor([low, low, 0.0, 1e30])
        assert near(submission.masked_softmax(scores, torch.tensor([True, True, False, False])), [0.5, 0.5, 0, 0])


@student_side
def softmax_gradient(scores, allowed, slope):
    """The gradient of sum(slope * weights) with respect to the scores."""
    scores = scores.clone().requires_grad_()
    (student.masked_softmax(scores, allowed) * slope).sum().backward()
    return scores.grad


@pytest.mark.exercise("masked_softmax", weight=3, hint=2)
def test_softmax_gradient(submission, rng):
    """Gradients are right and finite, and exactly 0 at entries that are not allowed, rows without any included."""
    for dtype in DTYPES:
        scores, allowed = normal(rng, 3, 4, 5).to(dtype), torch.from_numpy(rng.random((3, 4, 5)) < 0.6)
        allowed[0, 0], allowed[1, 1], slope = False, True, normal(rng, 3, 4, 5).to(dtype)
        w = softmax_by_definition(scores, allowed)
        expected = w * (slope - (w * slope).sum(dim=-1, keepdim=True))  # the softmax's derivative, times the slope
        got = submission.run(softmax_gradient, scores, allowed, slope)
        assert near(got, expected, dtype)
        assert close(got.masked_select(~allowed), np.zeros(int((~allowed).sum())))


@pytest.mark.exercise("masked_softmax", weight=2)
def test_softmax_of_every_kind(submission, rng):
    """Masks of every shape that broadcasts, float64 and float32, views, one entry, a thousand entries."""
    for case in SOFT.cases(rng):
        got = submission.masked_softmax(*case)
        assert near(got, softmax_by_definition(*case), same_dtype(case), typed=True)
    for of_scores, of_mask in (((5,), (5,)), ((3, 2, 5), (5,)), ((3, 2, 5), (2, 5)), ((3, 2, 5), (3, 1, 5))):
        scores, allowed = normal(rng, *of_scores), torch.from_numpy(rng.random(of_mask) < 0.6)
        assert near(submission.masked_softmax(scores, allowed), softmax_by_definition(scores, allowed), typed=True)
    for shape in ((1,), (4, 1), (1, 1300), (1100, 2)):
        scores, allowed = normal(rng, *shape), torch.from_numpy(rng.random(shape) < 0.7)
        allowed[..., -1] = torch.from_numpy(np.asarray(rng.random(shape[:-1]) < 0.8))
        assert near(submission.masked_softmax(scores, allowed), softmax_by_definition(scores, allowed), typed=True)
    scores, allowed = 1e-7 * normal(rng, 3, 4), torch.tensor([True, True, False, True])
    assert near(submission.masked_softmax(scores, allowed), softmax_by_definition(scores, allowed))
    column = torch.tensor([[True], [False], [True]])
    assert near(submission.masked_softmax(scores := normal(rng, 3, 4), column), softmax_by_definition(scores, column))


@pytest.mark.exercise("masked_softmax", forgeable=True)
def test_softmax_leaves_no_trace(submission, rng):
    """Scores and mask are left as they are, and what is returned is new."""
    assert SOFT.leaves_no_trace(submission, rng, then=[{}, {"allowed": torch.zeros(5, dtype=torch.bool)}])


# ------------------------------------------------------------------------------------------------------ attention

ATTEND = Contract(
    "attention",
    q=tensors(2, 3, 4, 5),
    k=tensors(2, 3, 6, 5),
    v=tensors(2, 3, 6, 7),
    mask=masks(2, 1, 4, 6),
)


def torch_attention(q, k, v, mask=None):
    """torch's own, in float64; zeros where a query sees nothing."""
    q, k, v = q.double(), k.double(), v.double()
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v)
    shape = (*torch.broadcast_shapes(q.shape[:-2], k.shape[:-2]), q.shape[-2], k.shape[-2])
    mask = mask.expand(shape)
    some = mask.any(dim=-1, keepdim=True)
    found = F.scaled_dot_product_attention(q, k, v, mask | ~some)
    return torch.where(some, found, torch.zeros((), dtype=torch.float64))


@pytest.mark.exercise("attention", weight=3, core=True, hint=1)
def test_attention_is_torchs(submission, rng):
    """Without a mask, each row is the mean of the values, weighted by the softmax of q · k / sqrt(d) over the keys."""
    for d, e in ((5, 7), (16, 2), (3, 3)):
        q, k, v = normal(rng, 2, 4, d), normal(rng, 2, 6, d), normal(rng, 2, 6, e)
        assert near(submission.attention(q, k, v), torch_attention(q, k, v))


@pytest.mark.exercise("attention", weight=3, core=True, hint=2, depends=("masked_softmax",))
def test_attention_with_masks(submission, rng):
    """With a mask, the softmax runs over the keys that a query may see; one that may see none gets zeros."""
    for share in (0.8, 0.3):
        q, k, v, _ = ATTEND.plain(rng)
        mask = torch.from_numpy(rng.random((2, 3, 4, 6)) < share)
        mask[0, 0, 1] = False
        assert near(submission.attention(q, k, v, mask), torch_attention(q, k, v, mask))


@pytest.mark.exercise("attention", weight=3, hint=2, depends=("masked_softmax",))
def test_attention_with_every_mask(submission, rng):
    """Every mask that broadcasts: causal, padding, one for all heads, all True, all False; in float64 and float32."""
    q, k, v, _ = ATTEND.plain(rng)
    causal = torch.ones(4, 6, dtype=torch.bool).tril(2)
    padding = torch.tensor([3, 0])[:, None, None, None] > torch.arange(6)  # the second sequence is all padding
    shapes = ((6,), (1, 6), (4, 1), (4, 6), (3, 4, 6), (2, 1, 1, 6), (2, 1, 4, 6), (1, 3, 1, 6))
    drawn = [torch.from_numpy(rng.random(shape) < 0.5) for shape in shapes]
    whole = [torch.full((4, 6), value) for value in (True, False)]
    for mask, dtype in itertools.product([causal, padding, causal & padding, *drawn, *whole], DTYPES):
        case = [part.to(dtype) for part in (q, k, v)]
        assert near(submission.attention(*case, mask), torch_attention(*case, mask), dtype, typed=True)


@student_side
def attention_gradients(q, k, v, mask, slope):
    """The gradients of sum(slope * output) with respect to q, k and v."""
    parts = [part.clone().requires_grad_() for part in (q, k, v)]
    (student.attention(*parts, mask) * slope).sum().backward()
    return [part.grad for part in parts]


def gradients(function, parts, slope):
    """Of sum(slope * function(*parts)), by autograd in float64."""
    parts = [part.double().clone().requires_grad_() for part in parts]
    (function(*parts) * slope).sum().backward()
    return [part.grad for part in parts]


@pytest.mark.exercise("attention", weight=3, hint=2, depends=("masked_softmax",))
def test_attention_gradients(submission, rng):
    """Gradients to q, k and v are torch's, with and without a mask, and 0 where nothing is seen."""
    mask = torch.from_numpy(rng.random((2, 1, 4, 6)) < 0.5)
    mask[1], mask[0, 0, 0] = False, False
    mask[0, 0, 1] = True
    for dtype, seen in itertools.product(DTYPES, (None, mask)):
        case = [part.to(dtype) for part in ATTEND.plain(rng).args[:3]]
        slope = normal(rng, 2, 3, 4, 7)
        got = submission.run(attention_gradients, *case, seen, slope.to(dtype))
        expected = gradients(lambda q, k, v, seen=seen: torch_attention(q, k, v, seen), case, slope)
        assert near(got, expected, dtype)


@pytest.mark.exercise("attention", weight=2, depends=("masked_softmax",))
def test_attention_of_every_shape(submission, rng):
    """Leading axes that broadcast or are missing, sizes of 1, a thousand keys, views, float32, no mask by default."""
    for case in ATTEND.cases(rng):
        assert near(submission.attention(*case), torch_attention(*case), same_dtype(case), typed=True)
        assert near(submission.attention(*case.args[:3]), torch_attention(*case.args[:3]), same_dtype(case), typed=True)
    shapes = [((1, 1), (1, 1), (1, 1)), ((4, 5), (6, 5), (6, 1)), ((2, 1, 4, 5), (3, 6, 5), (2, 3, 6, 2))]
    shapes += [((3, 1, 1), (3, 1, 1), (3, 1, 4)), ((1, 9), (1300, 9), (1300, 2)), ((1100, 2), (3, 2), (3, 2))]
    for shape in shapes:
        q, k, v = (normal(rng, *part) for part in shape)
        mask = torch.from_numpy(rng.random((q.shape[-2], k.shape[-2])) < 0.7)
        for seen in (None, mask):
            expected = torch_attention(q, k, v, seen)
            assert near(submission.attention(q, k, v, seen), expected, typed=True)


@pytest.mark.exercise("attention", weight=2, hint=2, depends=("masked_softmax",))
def test_attention_of_what_is_far(submission, rng):
    """Entries of 10,000 stay finite: the best key takes all. Hidden keys and values of that size change nothing."""
    gap = 0.0
    while gap < 0.01:  # the best key is ahead by 0.01 · 2000² / sqrt(5) > 10,000, far above float32's rounding of a few
        q, k, v, mask = ATTEND.plain(rng)
        two = (q @ k.mT).topk(2, dim=-1).values
        gap = float((two[..., 0] - two[..., 1]).min())
    best = (q @ k.mT).argmax(dim=-1)
    for dtype in DTYPES:
        q, k, v = (part.to(dtype) for part in (q, k, v))
        expected = v.gather(2, best[..., None].expand(2, 3, 4, 7))
        assert near(submission.attention(2000 * q, 2000 * k, v), expected, dtype)
        hidden = torch.tensor([True, True, False, True, False, True])
        moved = [torch.where(hidden[:, None], part, 9000 * torch.sign(part)) for part in (k, v)]
        assert near(submission.attention(q, *moved, hidden), torch_attention(q, k, v, hidden), dtype)
        for size in (9000, 1e-9):
            assert near(submission.attention(q, k, size * v, mask) / size, torch_attention(q, k, v, mask), dtype)
        low = torch.full((2, 200), -1e4, dtype=dtype) * torch.tensor([[1], [0]])  # scores of -1e8 · 200 / sqrt(200), 0
        got = submission.attention(-low[:1], low, v[0, 0, :2], torch.tensor([True, False]))
        assert near(got, v[0, 0, :1], dtype)


@pytest.mark.exercise("attention")
def test_attention_refuses(submission, rng):
    """A mask that is not bool raises ValueError."""
    bad = [torch.zeros(4, 6), torch.ones(4, 6, dtype=torch.int64), torch.ones(4, 6, dtype=torch.uint8)]
    ATTEND.refuses(submission, rng, ValueError, mask=bad)


@pytest.mark.exercise("attention", forgeable=True)
def test_attention_leaves_no_trace(submission, rng):
    """Arguments are left as they are, and what is returned is new."""
    assert ATTEND.leaves_no_trace(submission, rng, then=[{}, {"mask": None}], mask=[torch.zeros(4, 6)])


# --------------------------------------------------------------------------------------------------------- rotary

TURN = Contract(
    "rotary",
    x=tensors(2, 4, 6),
    positions=Argument(
        lambda rng: torch.from_numpy(rng.integers(0, 50, 4)),
        {"in steps": lambda rng: strided(torch.from_numpy(rng.integers(0, 50, 4)))},
        frozenset(),
    ),
    base=one_of(100.0, 1.0, 2.5, 500_000.0, 10_000, default=10_000.0),
)


def turned(x, positions, base=10000.0):
    """Pairs as complex numbers, times e^(i p θ), in float64."""
    x = x.double()
    speed = float(base) ** (-np.arange(0, x.shape[-1], 2) / x.shape[-1])
    turn = np.exp(1j * np.multiply.outer(positions.numpy(), speed))
    pairs = (x[..., 0::2].numpy() + 1j * x[..., 1::2].numpy()) * turn
    return torch.from_numpy(np.stack((pairs.real, pairs.imag), axis=-1).reshape(x.shape))


@pytest.mark.exercise("rotary", weight=3, core=True, hint=1)
def test_rotary_turns_pairs(submission, rng):
    """The pair (x[2i], x[2i + 1]) is turned by p · base^(-2i/d)."""
    for d, base in ((2, 10000.0), (4, 100.0), (6, 10000.0)):
        x = normal(rng, 5, d)
        assert close(submission.rotary(x, torch.arange(5), base), turned(x, torch.arange(5), base), atol=1e-5)


@pytest.mark.exercise("rotary", weight=3, hint=3)
def test_rotary_keeps_distances(submission, rng):
    """The product of a turned query and a turned key depends on the difference of their positions only."""
    q, k = normal(rng, 1, 8), normal(rng, 1, 8)
    for m, n in ((0, 0), (3, 1), (2, 9), (40, 41)):
        products = [
            float((submission.rotary(q, torch.tensor([m + s])) * submission.rotary(k, torch.tensor([n + s]))).sum())
            for s in (0, 1, 17, 1000)
        ]
        assert close(products, [products[0]] * 4, atol=3e-8)
        assert close(products[0], float((turned(q, torch.tensor([m])) * turned(k, torch.tensor([n]))).sum()), atol=3e-8)


@pytest.mark.exercise("rotary", weight=3, hint=3)
def test_rotary_keeps_its_digits(submission, rng):
    """At positions up to a million the result is right to 1e-6 of a pair's length in float32, to 1e-9 in float64."""
    positions = torch.tensor([0, 1, 4097, 99_999, 999_983, 1_000_000])
    for dtype, digits in ((torch.float32, 1e-6), (torch.float64, 1e-9)):
        for size in (1.0, 1e-9, 1e9):
            x = (size * normal(rng, 3, 6, 10)).to(dtype)
            length = torch.from_numpy(np.repeat(np.hypot(x[..., 0::2].numpy(), x[..., 1::2].numpy()), 2, axis=-1))
            got = submission.rotary(x, positions)
            assert close(got, turned(x, positions).to(dtype), atol=(digits * length.double()).numpy(), typed=True)


@pytest.mark.exercise("rotary", weight=2)
def test_rotary_of_every_kind(submission, rng):
    """float64 and float32, views, every base and its default, any order of positions, sizes of 1, a thousand rows."""
    for case in TURN.cases(rng):
        x, positions, base = case.exact
        eps = 1e-6 if same_dtype(case) == torch.float32 else 1e-9
        got = submission.rotary(*case)
        assert close(
            got, turned(x, positions, base).to(same_dtype(case)), atol=eps * float(x.abs().max() + 1), typed=True
        )
    for shape in ((1, 2), (7, 4), (2, 3, 1, 8), (1300, 2), (2, 70), (1, 1, 1, 1, 2)):
        x, positions = normal(rng, *shape), torch.from_numpy(rng.integers(0, 3000, shape[-2]))
        assert close(submission.rotary(x, positions), turned(x, positions), atol=1e-9, typed=True)


@student_side
def rotary_gradient(x, positions, slope):
    """The gradient of sum(slope * output) with respect to x."""
    x = x.clone().requires_grad_()
    (student.rotary(x, positions) * slope).sum().backward()
    return x.grad


@pytest.mark.exercise("rotary")
def test_rotary_gradient(submission, rng):
    """Gradients flow to x: they are turned back."""
    for dtype in DTYPES:
        x, slope, positions = normal(rng, 2, 5, 6).to(dtype), normal(rng, 2, 5, 6).to(dtype), torch.arange(3, 8)
        assert near(submission.run(rotary_gradient, x, positions, slope), turned(slope, -positions), dtype)


@pytest.mark.exercise("rotary")
def test_rotary_refuses(submission, rng):
    """An odd d, and positions of another shape than (T,), raise ValueError."""
    TURN.refuses(submission, rng, ValueError, x=[normal(rng, 4, 5), normal(rng, 2, 4, 1)])
    bad = [torch.arange(3), torch.arange(5), torch.arange(1), torch.arange(4)[:, None], torch.arange(4)[None]]
    TURN.refuses(submission, rng, ValueError, positions=[*bad, torch.tensor(3)])
    for d, count in ((5, 4), (6, 3)):  # with the usual base, too
        with raises_student(ValueError):
            submission.rotary(normal(rng, 4, d), torch.arange(count))


@pytest.mark.exercise("rotary", forgeable=True)
def test_rotary_leaves_no_trace(submission, rng):
    """Arguments are left as they are, and what is returned is new."""
    then = [{}, {"positions": torch.zeros(4, dtype=torch.int64)}]
    assert TURN.leaves_no_trace(submission, rng, then=then, x=[normal(rng, 4, 5)])


# --------------------------------------------------------------------------------------------- MultiHeadAttention

PARTS = ("query", "key", "value", "out")


@student_side
def heads_run(sizes, state, calls, turning=True, slope=None, dtype="float64", fused=True):
    """What a MultiHeadAttention answers to a chain of calls; the cache "last" is that of the call before.

    Returns outputs, caches, what attend and rotate were given, and with a slope the gradients of the last call.
    """
    given, positions = [], []

    def attend(q, k, v, allowed):
        given.append([tuple(q.shape), tuple(k.shape), tuple(v.shape), None if allowed is None else allowed.clone()])
        allowed = None if allowed is None else allowed.expand(*q.shape[:-1], k.shape[-2])
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, allowed)

    def rotate(x, p):
        positions.append((str(p.dtype), p.tolist()))
        return x + torch.sin(p.to(x.dtype))[:, None] * x.flip(-1)

    more = [attend, rotate if turning else None] if fused else []
    net = student.MultiHeadAttention(*sizes, *more).to(getattr(torch, dtype))
    net.load_state_dict(state)
    outs, caches, cache, grads = [], [], None, []
    for call in calls:
        call = dict(call)
        if call.get("cache") == "last":
            call["cache"] = cache
        x = call.pop("x")
        if slope is not None:
            x = x.clone().requires_grad_()
        out, cache = net(x, **call)
        if slope is not None:
            (out * slope).sum().backward()
            grads = [x.grad] + [getattr(net, name).weight.grad for name in ("query", "key", "value", "out")]
        outs.append(out.detach())
        caches.append([part.detach() for part in cache])
    return outs, caches, given, positions, grads


def heads_state(rng, D, dtype=torch.float64):
    return {f"{name}.weight": (normal(rng, D, D) / math.sqrt(D)).to(dtype) for name in PARTS}


def heads(state, count, x, memory=None, mask=None, causal=False, turning=True):
    """By definition in float64, head by head, on the whole sequence."""
    wide = {name: state[f"{name}.weight"].double() for name in PARTS}
    x = x.double()
    y = x if memory is None else memory.double()
    d, found, keys, values = x.shape[2] // count, [], [], []
    for j in range(count):
        columns = slice(j * d, (j + 1) * d)
        q, k, v = x @ wide["query"][columns].T, y @ wide["key"][columns].T, y @ wide["value"][columns].T
        if memory is None and turning:
            sine = torch.sin(torch.arange(x.shape[1]).double())[:, None]
            q, k = q + sine * q.flip(-1), k + sine * k.flip(-1)
        allowed = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool)
        if causal:
            allowed = allowed.tril(k.shape[1] - q.shape[1])
        if mask is not None:
            full = mask.expand(x.shape[0], count, *allowed.shape)
            allowed = allowed & full[:, j]
        found.append(torch_attention(q, k, v, allowed))
        keys.append(k)
        values.append(v)
    return torch.cat(found, dim=2) @ wide["out"].T, [torch.stack(keys, dim=1), torch.stack(values, dim=1)]


@pytest.mark.exercise("MultiHeadAttention", weight=3, core=True, hint=1)
def test_heads_are_torchs(submission, rng):
    """With the same weights and no positions, the output is torch's, in self-attention and with a memory."""
    for D, count in ((6, 3), (8, 2), (4, 1), (3, 3)):
        state, x, memory = heads_state(rng, D), normal(rng, 2, 4, D), normal(rng, 2, 5, D)
        peer = torch.nn.MultiheadAttention(D, count, bias=False, batch_first=True).double()
        with torch.no_grad():
            peer.in_proj_weight.copy_(torch.cat([state[f"{name}.weight"] for name in PARTS[:3]]))
            peer.out_proj.weight.copy_(state["out.weight"])
        calls = [{"x": x}, {"x": x, "memory": memory}]
        outs, *_ = submission.run(heads_run, (D, count), state, calls, False)
        assert near(outs, [peer(x, x, x)[0], peer(x, memory, memory)[0]])


@pytest.mark.exercise("MultiHeadAttention", weight=2, core=True, hint=2)
def test_heads_with_positions(submission, rng):
    """In self-attention queries and keys are turned by their positions, values are not; with a memory nothing is."""
    state, x, memory = heads_state(rng, 8), normal(rng, 2, 5, 8), normal(rng, 2, 3, 8)
    outs, *_ = submission.run(heads_run, (8, 2), state, [{"x": x}, {"x": x, "memory": memory}])
    assert near(outs, [heads(state, 2, x)[0], heads(state, 2, x, memory)[0]])


@pytest.mark.exercise("MultiHeadAttention", weight=5, hint=2)
def test_heads_with_a_cache(submission, rng):
    """Given in parts, each with the cache of the one before, a sequence has the same rows as given at once."""
    for dtype, cuts in itertools.product(DTYPES, ((3, 4), (1, 1, 1, 1, 1, 1, 1), (1, 5, 1), (6, 1), (7,))):
        state, x = heads_state(rng, 6, dtype), normal(rng, 2, 7, 6).to(dtype)
        edges = np.cumsum([0, *cuts])
        calls = [{"x": x[:, a:b], "causal": True} for a, b in itertools.pairwise(edges)]
        for call in calls[1:]:
            call["cache"] = "last"
        name = str(dtype).removeprefix("torch.")
        outs, caches, _, positions, _ = submission.run(heads_run, (6, 3), state, calls, dtype=name)
        expected, (k, v) = heads(state, 3, x, causal=True)
        assert near(outs, [expected[:, a:b] for a, b in itertools.pairwise(edges)], dtype, typed=True)
        assert near(caches, [[k[:, :, :b], v[:, :, :b]] for b in edges[1:]], dtype, typed=True)
        asked = [("torch.int64", list(range(a, b))) for a, b in itertools.pairwise(edges)]
        assert close(positions, [part for part in asked for _ in range(2)])


@pytest.mark.exercise("MultiHeadAttention", weight=3, hint=3)
def test_heads_with_masks(submission, rng):
    """Mask and causal together allow what both allow; masks broadcast; their columns are all keys, the cache's too."""
    state, x, memory = heads_state(rng, 6), normal(rng, 2, 5, 6), normal(rng, 2, 4, 6)
    padding = torch.tensor([4, 2])[:, None, None, None] > torch.arange(5)
    drawn = torch.from_numpy(rng.random((2, 3, 5, 5)) < 0.7)
    drawn[..., 0] = True
    for mask, causal in itertools.product((None, padding, drawn, drawn[:, :1], drawn[0, 0]), (False, True)):
        outs, *_ = submission.run(heads_run, (6, 3), state, [{"x": x, "mask": mask, "causal": causal}])
        assert near(outs[0], heads(state, 3, x, mask=mask, causal=causal)[0])
    real = torch.tensor([4, 1])[:, None, None, None] > torch.arange(4)
    outs, *_ = submission.run(heads_run, (6, 3), state, [{"x": x, "memory": memory, "mask": real}])
    assert near(outs[0], heads(state, 3, x, memory, real)[0])
    calls = [{"x": x[:, :3], "causal": True, "mask": drawn[:, :, :3, :3]}]
    calls += [{"x": x[:, 3:], "causal": True, "mask": drawn[:, :, 3:], "cache": "last"}]
    outs, *_ = submission.run(heads_run, (6, 3), state, calls)
    assert near(torch.cat(list(outs), dim=1), heads(state, 3, x, mask=drawn, causal=True)[0])


@pytest.mark.exercise("MultiHeadAttention", weight=2)
def test_heads_gradients(submission, rng):
    """Gradients to x and to all four matrices are right, in float64 and float32."""
    for dtype, turning in itertools.product(DTYPES, (True, False)):
        state, x, slope = heads_state(rng, 6, dtype), normal(rng, 2, 4, 6).to(dtype), normal(rng, 2, 4, 6)

        def function(x, *wide, turning=turning):
            named = {f"{name}.weight": part for name, part in zip(PARTS, wide, strict=True)}
            return heads(named, 2, x, causal=True, turning=turning)[0]

        expected = gradients(function, [x, *state.values()], slope)
        name = str(dtype).removeprefix("torch.")
        call = [{"x": x, "causal": True}]
        *_, grads = submission.run(heads_run, (6, 2), state, call, turning, slope.to(dtype), name)
        assert near(grads, expected, dtype, scale=4)


@pytest.mark.exercise("MultiHeadAttention")
def test_heads_of_every_size(submission, rng):
    """Sizes of 1, a thousand rows, long sequences, one column a head; with a memory and without."""
    for (B, T, S, D), count in (
        ((1, 1, 1, 1), 1),
        ((1100, 1, 2, 2), 1),
        ((2, 300, 7, 4), 4),
        ((1, 2, 1100, 2), 2),
        ((1, 2, 3, 110), 110),
    ):
        state, x, memory = heads_state(rng, D), normal(rng, B, T, D), normal(rng, B, S, D)
        calls = [{"x": x}, {"x": x, "causal": True}, {"x": x, "memory": memory}]
        outs, *_ = submission.run(heads_run, (D, count), state, calls)
        expected = [heads(state, count, x), heads(state, count, x, causal=True), heads(state, count, x, memory)]
        assert near(outs, [part[0] for part in expected], scale=4)
    for size in (1e8, 1e-8):  # scores stay near 1, so that no key takes all
        state, x, memory = heads_state(rng, 4), size * normal(rng, 2, 3, 4), size * normal(rng, 2, 5, 4)
        for name in ("query.weight", "key.weight"):
            state[name] = state[name] / size
        outs, *_ = submission.run(heads_run, (4, 2), state, [{"x": x}, {"x": x, "memory": memory}])
        for out, part in zip(outs, (heads(state, 2, x), heads(state, 2, x, memory)), strict=True):
            assert near(out / size, part[0] / size, scale=4)


@pytest.mark.exercise("MultiHeadAttention", hint=3)
def test_heads_ask_once(submission, rng):
    """attend is called once, with all heads, and a bool mask that broadcasts, or None where nothing is hidden."""
    state, x, memory = heads_state(rng, 4), normal(rng, 3, 2, 4), normal(rng, 3, 5, 4)
    mask = torch.tensor([True, False])
    calls = [{"x": x}, {"x": x, "causal": True}, {"x": x, "memory": memory}, {"x": x, "mask": mask}]
    _, _, given, _, _ = submission.run(heads_run, (4, 2), state, calls)
    shapes = [[(3, 2, 2, 2), (3, 2, S, 2), (3, 2, S, 2)] for S in (2, 2, 5, 2)]
    assert close([list(part[:3]) for part in given], shapes)
    assert close([given[0][3], given[2][3]], [None, None])
    for i, expected in ((1, [[True, False], [True, True]]), (3, [[True, False], [True, False]])):
        assert close(given[i][3].dtype == torch.bool, True)
        assert close(given[i][3].expand(3, 2, 2, 2)[1, 1], torch.tensor(expected))


@student_side
def module_state(name, arguments):
    """The entries of a new module's state and which of them are learnt; two of them, to see that they differ."""
    torch.manual_seed(3)
    nets = [getattr(student, name)(*arguments) for _ in range(2)]
    learnt = [key for key, part in nets[0].named_parameters() if part.requires_grad]
    return [{key: value.clone() for key, value in net.state_dict().items()} for net in nets], sorted(learnt)


@pytest.mark.exercise("MultiHeadAttention")
def test_heads_state(submission):
    """The state is four matrices, drawn as nn.Linear draws them; what does not fit raises ValueError."""
    for D, count in ((6, 2), (1, 1), (70, 7), (12, 12)):
        (state, other), learnt = submission.run(module_state, "MultiHeadAttention", (D, count))
        expected = {f"{name}.weight": (D, D) for name in PARTS}
        assert close({key: tuple(state[key].shape) for key in sorted(state)}, dict(sorted(expected.items())))
        assert close(learnt, sorted(expected))
        if D == 70:
            for key in expected:  # nn.Linear: uniform up to 1/sqrt(D); 4,900 draws, 5 standard errors are 3%
                assert close(float(state[key].std()), 1 / math.sqrt(3 * D), rtol=0.05)
                assert close(float(state[key].abs().max()), 1 / math.sqrt(D), rtol=0.05)
                assert close(bool((state[key] == other[key]).double().mean() < 0.01), True)
    for D, count in ((6, 4), (3, 2), (5, 10), (7, 3)):
        with raises_student(ValueError):
            submission.MultiHeadAttention(D, count)
    net = submission.MultiHeadAttention(4, 2)
    x = torch.ones(1, 2, 4)
    cache = (torch.ones(1, 2, 3, 2), torch.ones(1, 2, 3, 2))
    with raises_student(ValueError):
        net(x, x, None, False, cache)


@pytest.mark.exercise("MultiHeadAttention", depends=("attention", "rotary", "causal_mask"))
def test_heads_by_default(submission, rng):
    """Without other parts, your attention and your rotary are used, and parts with a cache equal the whole."""
    state, x = heads_state(rng, 8), normal(rng, 2, 6, 8)
    calls = [{"x": x, "causal": True}, {"x": x[:, :2], "causal": True}]
    calls += [{"x": x[:, 2:], "causal": True, "cache": "last"}, {"x": x, "memory": x[:, :3]}]
    outs, caches, *_ = submission.run(heads_run, (8, 2), state, calls, fused=False)
    assert near(torch.cat((outs[1], outs[2]), dim=1), outs[0])
    k = torch.stack([x @ state["key.weight"][columns].T for columns in (slice(0, 4), slice(4, 8))], dim=1)
    assert near(caches[0][0], turned(k, torch.arange(6)))
    assert near(outs[3], heads(state, 2, x, x[:, :3])[0])


@student_side
def heads_trace(first, second):
    """In words, what calls of a module leave behind."""
    net = student.MultiHeadAttention(4, 2)
    with torch.no_grad():
        _, cache = net(first[:, :2], causal=True)
        mask = torch.tensor([True, True, True])
        given = [first, second, *cache, mask]
        kept = [part.clone() for part in given]
        one, ones = net(first[:, 2:], None, mask, True, cache)
        two, twos = net(second[:, 2:], None, mask, True, cache)
        three, _ = net(second, memory=first)
        said = [part.clone() for part in (one, *ones)]
        for more in (mask, None):
            net(second[:, 2:], None, more, True, cache)
        try:
            net(second, first, None, False, cache)
        except ValueError:
            pass
    if not all(torch.equal(a, b) for a, b in zip(given, kept)):
        return "a call changes its arguments"
    if not all(torch.equal(a, b) for a, b in zip(said, (one, *ones))):
        return "a later call changes what an earlier one returned"
    groups = [(first, second, *cache), (one, *ones), (two, *twos), (three,)]
    places = [{part.untyped_storage().data_ptr() for part in group} for group in groups]
    if len(set().union(*places)) < sum(map(len, places)):
        return "what is returned shares memory with an argument or with another result"
    with torch.no_grad():
        again, _ = net(first[:, 2:], None, mask, True, cache)
        if not torch.allclose(again, one):
            return "the same call returns something else after another call"
        first.copy_(second)
        moved = net(first[:, 2:], None, mask, True, cache)[0], net(second, memory=first)[0]
        if not all(torch.allclose(*pair) for pair in zip(moved, (two, net(second.clone(), memory=second)[0]))):
            return "the call does not see that a tensor has changed since the last one"
    return ""


@pytest.mark.exercise("MultiHeadAttention", weight=1, forgeable=True)
def test_heads_leave_no_trace(submission, rng):
    """x, the mask and the cache are left as they are, and what is returned is new."""
    first, second = (normal(rng, 2, 3, 4).float() for _ in range(2))
    assert told(submission.run(heads_trace, first, second))


# ---------------------------------------------------------------------------------------------------------- Block


@student_side
def block_run(sizes, cross, state, call, slope, dtype):
    """A block with torch's MultiheadAttention in it: output, cache, gradients, and how its attention was asked."""
    asked = []

    class Peer(torch.nn.Module):
        def __init__(self, d_model, heads):
            super().__init__()
            self.number = len(asked)
            asked.append([(d_model, heads)])
            self.net = torch.nn.MultiheadAttention(d_model, heads, batch_first=True)

        def forward(self, x, memory=None, mask=None, causal=False, cache=None):
            asked[self.number].append((mask is not None, causal, cache))
            T, y = x.shape[1], x if memory is None else memory
            hidden = torch.ones(T, T, dtype=torch.bool).triu(1) if causal else None
            padding = None if mask is None else ~mask
            out, _ = self.net(x, y, y, key_padding_mask=padding, attn_mask=hidden)
            return out, "cache of " + str(self.number)

    block = student.Block(*sizes, cross, Peer) if cross else student.Block(*sizes, attention=Peer)
    block = block.to(getattr(torch, dtype))
    block.load_state_dict(state)
    call = dict(call)
    x = call.pop("x").clone()
    kept = x.clone()
    leaf = x.requires_grad_()
    out, cache = block(leaf, **call)
    (out * slope).sum().backward()
    return [out.detach(), leaf.grad, block.mlp[0].weight.grad], cache, asked, torch.equal(kept, x.detach())


def torch_block(rng, D, count, cross):
    """torch's own layer with normalisation first, and its state by the names of Block."""
    kind = torch.nn.TransformerDecoderLayer if cross else torch.nn.TransformerEncoderLayer
    layer = kind(D, count, 4 * D, 0.0, F.gelu, batch_first=True, norm_first=True).double()
    names = {"self_attn": "attention.net", "linear1": "mlp.0", "linear2": "mlp.2", "norm1": "norm1", "norm2": "norm2"}
    if cross:
        names |= {"multihead_attn": "cross.net", "norm2": "norm_cross", "norm3": "norm2"}
    state = {}
    with torch.no_grad():
        for key, part in layer.named_parameters():
            part.copy_(normal(rng, *part.shape) / math.sqrt(D) + (key.startswith("norm") and key.endswith("weight")))
            first, _, rest = key.partition(".")
            state[f"{names[first]}.{rest}"] = part.detach().clone()
    return layer, state


def same_block(submission, rng, D, count, cross, dtype=torch.float64, T=4, S=3, B=2, size=1.0, **how):
    """Whether output and gradients are those of torch's layer; then the cache and what the attention was asked."""
    layer, state = torch_block(rng, D, count, cross)
    state = {key: part.to(dtype) for key, part in state.items()}
    x, slope = (size * normal(rng, B, T, D)).to(dtype), normal(rng, B, T, D)
    call, peer = {"x": x, **how}, {}
    if how.get("causal"):
        peer["tgt_mask" if cross else "src_mask"] = torch.ones(T, T, dtype=torch.bool).triu(1)
    if how.get("mask") is not None:
        peer["tgt_key_padding_mask" if cross else "src_key_padding_mask"] = ~how["mask"]
    if cross:
        call["memory"] = (size * normal(rng, B, S, D)).to(dtype)
        peer["memory"] = call["memory"].double()
        if how.get("memory_mask") is not None:
            peer["memory_key_padding_mask"] = ~how["memory_mask"]
    leaf = x.double().clone().requires_grad_()
    layer.load_state_dict({key: part.to(dtype).double() for key, part in layer.state_dict().items()})
    out = layer(leaf, **peer)
    (out * slope).sum().backward()
    name = str(dtype).removeprefix("torch.")
    got, *rest = submission.run(block_run, (D, count), cross, state, call, slope.to(dtype), name)
    return near(got, [out, leaf.grad, layer.linear1.weight.grad], dtype, typed=True, scale=8), *rest


@pytest.mark.exercise("Block", weight=3, core=True, hint=1)
def test_block_is_torchs(submission, rng):
    """With the same weights, the block is torch's layer with normalisation first: attention and network, each added."""
    for D, count, causal in ((4, 2, False), (6, 3, True)):
        assert same_block(submission, rng, D, count, False, causal=causal)[0]


@pytest.mark.exercise("Block", weight=3, core=True, hint=1)
def test_block_with_a_memory(submission, rng):
    """With cross=True, the memory is asked between attention and network, as torch's decoder layer does."""
    for causal in (False, True):
        assert same_block(submission, rng, 4, 2, True, causal=causal)[0]


@pytest.mark.exercise("Block", weight=2, hint=2)
def test_block_passes_on(submission, rng):
    """Each mask, causal and the cache reach the part that they belong to; x stays as it is; the cache comes back."""
    mask, memory_mask = torch.tensor([[True, False, True, True]] * 2), torch.tensor([[True, True, False]] * 2)
    for causal in (True, False):
        same, cache, asked, kept = same_block(
            submission, rng, 4, 2, True, causal=causal, mask=mask, memory_mask=memory_mask, cache="one"
        )
        assert same and close(cache, "cache of 0") and close(kept, True)
        assert close(asked, [[(4, 2), (True, causal, "one")], [(4, 2), (True, False, None)]])
        same, cache, asked, kept = same_block(submission, rng, 6, 2, False, causal=causal, mask=mask, cache="two")
        assert same and close(cache, "cache of 0") and close(kept, True)
        assert close(asked, [[(6, 2), (True, causal, "two")]])
    for more, first, second in (({"mask": mask}, True, False), ({"memory_mask": memory_mask}, False, True)):
        same, _, asked, _ = same_block(submission, rng, 4, 2, True, **more)
        assert same and close(asked, [[(4, 2), (first, False, None)], [(4, 2), (second, False, None)]])


@pytest.mark.exercise("Block", weight=2, hint=1)
def test_block_of_every_size(submission, rng):
    """Sizes of 1 and larger ones, in float64 and float32: output and gradients are torch's."""
    for cross in (False, True):
        assert same_block(submission, rng, 2, 1, cross, T=1, S=1, B=1100)[0]
        assert same_block(submission, rng, 110, 110, cross, T=1, S=2)[0]
        assert same_block(submission, rng, 3, 1, False, size=1e8 if cross else 1e-8)[0]
    for (D, count, T), cross, dtype in itertools.product(((2, 1, 1), (12, 4, 5), (3, 3, 130)), (False, True), DTYPES):
        assert same_block(submission, rng, D, count, cross, dtype, T, T + 1)[0]


@pytest.mark.exercise("Block", weight=1)
def test_block_state(submission, rng):
    """The state has the names and shapes of the docstring, drawn as torch draws them."""
    for D, cross in ((4, False), (6, True), (110, False)):
        (state, _), learnt = submission.run(module_state, "Block", (D, 2, cross))
        shapes = {f"{name}.{part}": (D,) for name in ("norm1", "norm2") for part in ("weight", "bias")}
        shapes |= {f"norm_cross.{part}": (D,) for part in ("weight", "bias") if cross}
        shapes |= {f"{name}.{part}.weight": (D, D) for name in ("attention", "cross")[: 1 + cross] for part in PARTS}
        shapes |= {"mlp.0.weight": (4 * D, D), "mlp.0.bias": (4 * D,), "mlp.2.weight": (D, 4 * D), "mlp.2.bias": (D,)}
        assert close({key: tuple(state[key].shape) for key in sorted(state)}, dict(sorted(shapes.items())))
        assert close(learnt, sorted(shapes))
        assert close(float(state["mlp.0.weight"].abs().max()), 1 / math.sqrt(D), rtol=0.25)
        assert close([state["norm1.weight"], state["norm2.bias"]], [np.ones(D), np.zeros(D)])


@pytest.mark.exercise("Block")
def test_block_refuses(submission):
    """A memory without cross=True, and cross=True without a memory, raise ValueError."""
    x, mask = torch.ones(1, 2, 4), torch.ones(2, dtype=torch.bool)
    for cross, memory in ((False, x), (True, None)):
        for more in ([], [mask, True, (torch.ones(1, 2, 0, 2), torch.ones(1, 2, 0, 2)), mask]):
            with raises_student(ValueError):
                submission.Block(4, 2, cross)(x, memory, *more)


@student_side
def module_trace(name, first, second):
    """In words, what calls of a Block or a GPT leave behind. Its parts add a projection."""

    class Part(torch.nn.Module):
        def __init__(self, d_model, heads):
            super().__init__()
            self.net = torch.nn.Linear(d_model, d_model)

        def forward(self, x, memory=None, mask=None, causal=False, cache=None, memory_mask=None):
            return x + self.net(x), x.sum()

    class Config:
        vocab, d_model, heads, layers = 7, 4, 2, 2

    net = student.Block(4, 2, attention=Part) if name == "Block" else student.GPT(Config(), block=Part)
    kept = first.clone(), second.clone()
    out = net(first)[0]
    out.square().sum().backward()
    if any(part.grad is None for part in net.parameters()):
        return "gradients do not reach all parameters"
    said = [(out, out.detach().clone())]
    with torch.no_grad():
        for given in (second, first, second):
            out = net(given)[0]
            said.append((out, out.clone()))
        if name == "Block":
            masks = torch.tensor([True, False, True]), torch.tensor([False, True, True])
            student.Block(4, 2, True, Part)(first, second, masks[0], False, None, masks[1])
            if masks[0].tolist() != [True, False, True] or masks[1].tolist() != [False, True, True]:
                return "a call changes a mask"
            try:
                net(first, second)
            except ValueError:
                pass
        if not (torch.equal(first, kept[0]) and torch.equal(second, kept[1])):
            return "a call changes its arguments"
        if not all(torch.equal(*pair) for pair in said):
            return "a later call changes what an earlier one returned"
        if len({part.untyped_storage().data_ptr() for part in (first, second, *(out for out, _ in said))}) < 6:
            return "what is returned shares memory with an argument or with another result"
        if not torch.allclose(said[0][1], said[2][1]):
            return "the same call returns something else after another call"
        first.copy_(second)
        if not torch.allclose(net(first)[0], said[1][1]):
            return "the call does not see that a tensor has changed since the last one"
    return ""


@pytest.mark.exercise("Block", forgeable=True)
def test_block_leaves_no_trace(submission, rng):
    """x and the memory are left as they are, what is returned is new, and gradients reach all parameters."""
    first, second = (normal(rng, 2, 3, 4).float() for _ in range(2))
    assert told(submission.run(module_trace, "Block", first, second))


# ------------------------------------------------------------------------------------------------------------ GPT


@student_side
def gpt_run(config, state, parts, dtype):
    """What a GPT says to a chain of parts, each with the caches of the one before; and the calls of its blocks.

    A block adds a projection of the mean of all positions so far; its cache is their sum and their number.
    """
    calls, made = [], []

    class Sums(torch.nn.Module):
        def __init__(self, d_model, heads):
            super().__init__()
            self.number = len(made)
            made.append((d_model, heads))
            self.net = torch.nn.Linear(d_model, d_model)

        def forward(self, x, memory=None, mask=None, causal=False, cache=None, memory_mask=None):
            calls.append((self.number, causal, cache is None, memory is None and mask is None and memory_mask is None))
            before, count = (0.0, 0) if cache is None else cache
            sums = x.cumsum(dim=1) + before
            counts = torch.arange(1, x.shape[1] + 1)[:, None] + count
            return x + self.net(sums / counts).tanh(), (sums[:, -1:], count + x.shape[1])

    class Config:
        vocab, d_model, heads, layers = config

    net = student.GPT(Config(), block=Sums).to(getattr(torch, dtype))
    net.load_state_dict(state)
    caches, new = None, []
    for part in parts:
        before = list(caches) if caches is not None else None
        said, after = net(part, caches)
        if before is not None and (after is caches or any(a is not b for a, b in zip(before, caches))):
            return "the list of caches that was given is changed"
        caches = after
        new.append(said.detach())
    return new, type(caches).__name__, [count for _, count in caches], calls, made


def gpt_state(rng, config):
    vocab, D, _, layers = config
    state = {"embedding.weight": normal(rng, vocab, D), "norm.weight": normal(rng, D), "norm.bias": normal(rng, D)}
    for i in range(layers):
        state |= {f"blocks.{i}.net.weight": normal(rng, D, D), f"blocks.{i}.net.bias": normal(rng, D)}
    return state


def gpt_logits(state, config, tokens):
    """By definition in float64."""
    x = state["embedding.weight"].double()[tokens]
    for i in range(config[3]):
        means = x.cumsum(dim=1) / torch.arange(1, x.shape[1] + 1)[:, None]
        x = x + (means @ state[f"blocks.{i}.net.weight"].double().T + state[f"blocks.{i}.net.bias"].double()).tanh()
    unit = (x - x.mean(dim=2, keepdim=True)) / (x.var(dim=2, keepdim=True, correction=0) + 1e-5).sqrt()
    unit = unit * state["norm.weight"].double() + state["norm.bias"].double()
    return unit @ state["embedding.weight"].double().T


@pytest.mark.exercise("GPT", weight=3, core=True, hint=2)
def test_gpt_logits(submission, rng):
    """With given weights: embedding, blocks in order, last normalisation, and the embedding again."""
    for config in ((7, 4, 2, 2), (5, 6, 3, 3)):
        state, tokens = gpt_state(rng, config), torch.from_numpy(rng.integers(0, config[0], (2, 6)))
        new, *_ = submission.run(gpt_run, config, state, [tokens], "float64")
        assert near(new[0], gpt_logits(state, config, tokens))


@pytest.mark.exercise("GPT", weight=3, hint=2)
def test_gpt_with_caches(submission, rng):
    """Each block gets its own cache back and is asked causal, once; parts of a text have the logits of the whole."""
    config = (7, 4, 2, 3)
    for dtype, cuts in itertools.product(DTYPES, ((2, 1, 1, 2), (6,), (5, 1))):
        state = {key: part.to(dtype) for key, part in gpt_state(rng, config).items()}
        tokens = torch.from_numpy(rng.integers(0, 7, (2, 6)))
        name = str(dtype).removeprefix("torch.")
        got = submission.run(gpt_run, config, state, list(tokens.split(cuts, dim=1)), name)
        assert told(got if isinstance(got, str) else "")
        new, kind, counts, calls, made = got
        expected = gpt_logits(state, config, tokens).split(cuts, dim=1)
        assert near(new, list(expected), dtype, typed=True)
        assert close([kind, counts, made], ["list", [6] * 3, [(4, 2)] * 3])
        assert close(calls, [(i, True, part == 0, True) for part in range(len(cuts)) for i in range(3)])


@pytest.mark.exercise("GPT", weight=2, hint=2)
def test_gpt_of_every_size(submission, rng):
    """One token, one layer, one row, and larger ones."""
    for config, shape in (
        ((1, 2, 1, 1), (1, 1)),
        ((1200, 3, 1, 1), (3, 5)),
        ((5, 2, 1, 1), (1100, 1)),
        ((4, 2, 2, 12), (1, 3)),
        ((3, 9, 1, 2), (2, 140)),
    ):
        state, tokens = gpt_state(rng, config), torch.from_numpy(rng.integers(0, config[0], shape))
        tokens[0, -1] = config[0] - 1
        new, *_ = submission.run(gpt_run, config, state, [tokens], "float64")
        assert near(new[0], gpt_logits(state, config, tokens), scale=8)


@pytest.mark.exercise("GPT", forgeable=True)
def test_gpt_leaves_no_trace(submission):
    """The tokens are left as they are, what is returned is new, and gradients reach all parameters."""
    first, second = torch.tensor([[0, 1, 2], [3, 4, 5]]), torch.tensor([[6, 5, 1], [2, 2, 0]])
    assert told(submission.run(module_trace, "GPT", first, second))


@student_side
def gpt_start(config):
    """The state of a new GPT, its logits of all tokens, and whether torch's seed decides them."""
    made = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        made.append(student.GPT(student.Config(*config)))
    with torch.no_grad():
        logits, caches = made[0](torch.arange(config[0]).reshape(1, -1))
    tables = [net.embedding.weight.detach() for net in made]
    same = [torch.equal(tables[0], tables[1]), torch.equal(tables[0], tables[2])]
    learnt = sorted(key for key, part in made[0].named_parameters() if part.requires_grad)
    state = {key: part.clone() for key, part in made[0].state_dict().items()}
    return state, logits, len(caches), same, learnt


@pytest.mark.exercise("GPT", weight=2, hint=1, depends=("Block", "MultiHeadAttention", "attention", "rotary"))
def test_gpt_at_the_start(submission, rng):
    """The table is normal with standard deviation 0.02, so the first loss is near ln V; there is nothing else."""
    vocab, D, layers = 400, 32, 2
    state, logits, count, same, learnt = submission.run(gpt_start, (vocab, D, 4, layers))
    table = state["embedding.weight"]
    assert close(
        [float(table.mean()), float(table.std())], [0.0, 0.02], atol=0.001
    )  # 12,800 draws: 5 errors are 0.0009
    assert close(scipy.stats.kstest(table.numpy().ravel() / 0.02, "norm").pvalue > 1e-6, True)
    loss = F.cross_entropy(logits[0], torch.from_numpy(rng.integers(0, vocab, vocab)))
    assert close(float(loss), math.log(vocab), atol=0.1)
    assert close([count, same], [layers, [True, False]])
    outside = sorted(key for key in state if not key.startswith("blocks."))
    assert close(outside, ["embedding.weight", "norm.bias", "norm.weight"])
    assert close(learnt, sorted(state))
    assert close(sum(part.numel() for part in state.values()), vocab * D + 2 * D + layers * (12 * D * D + 9 * D))


@student_side
def gpt_whole(tokens, other, cut, dtype):
    """A GPT of the student's parts: logits of two texts, and of the first one in two parts."""
    torch.manual_seed(1)
    net = student.GPT(student.Config(11, 16, 2, 2)).to(getattr(torch, dtype))
    with torch.no_grad():
        for part in net.parameters():
            part.add_(0.3 * torch.randn(part.shape).to(part.dtype))
        one, caches = net(tokens[:, :cut])
        two, _ = net(tokens[:, cut:], caches)
        return net(tokens)[0], net(other)[0], torch.cat((one, two), dim=1)


@pytest.mark.exercise("GPT", weight=2, depends=("Block", "MultiHeadAttention", "attention", "rotary", "causal_mask"))
def test_gpt_does_not_look_ahead(submission, rng):
    """With your own blocks, no logits depend on later tokens, and a cache changes nothing, in float64 and float32."""
    for dtype, cut in itertools.product(DTYPES, (1, 5, 8)):
        tokens = torch.from_numpy(rng.integers(0, 11, (3, 9)))
        other = tokens.clone()
        other[:, cut:] = (tokens[:, cut:] + 1 + torch.from_numpy(rng.integers(0, 9, (3, 9 - cut)))) % 11
        whole, moved, parts = submission.run(gpt_whole, tokens, other, cut, str(dtype).removeprefix("torch."))
        assert near(moved[:, :cut], whole[:, :cut], dtype, scale=8)
        assert close(bool((moved[:, cut:] - whole[:, cut:]).abs().max() > 0.01), True)
        assert near(parts, whole, dtype, scale=8)


# ------------------------------------------------------------------------------------------------------- generate


class Believer:
    """A model on this side. Logits depend on all tokens so far; its cache are these tokens. It remembers its calls."""

    def __init__(self, table, dtype=torch.float64):
        self.table, self.dtype, self.calls = table, dtype, []

    def __call__(self, tokens, caches):
        self.calls.append((tokens.clone(), None if caches is None else caches.clone()))
        so_far = tokens if caches is None else torch.cat((caches, tokens), dim=1)
        state = (so_far * torch.arange(1, so_far.shape[1] + 1)).cumsum(dim=1) % len(self.table)
        return self.table[state[:, -tokens.shape[1] :]].to(self.dtype), so_far


def apart(rng):
    """A table in which no two logits of a row are closer than 0.9, so that neither rounding nor chance prefers another.

    Of normal logits, in one table of 25 two are so close that a draw at a temperature of 1e-3 takes the smaller one.
    """
    order = rng.permuted(np.tile(np.arange(6), (13, 1)), axis=1) - 2.5
    return torch.from_numpy(order + rng.uniform(-0.05, 0.05, (13, 6)))


def greedy(table, prompt, steps):
    """By definition, token by token, without a cache; of equal logits the first."""
    rows = [list(map(int, row)) for row in prompt]
    for row in rows:
        for _ in range(steps):
            state = sum((i + 1) * token for i, token in enumerate(row)) % len(table)
            row.append(int(np.argmax(table[state].numpy())))
    return torch.tensor(rows)


@pytest.mark.exercise("generate", weight=3, core=True, hint=2)
def test_generate_the_likeliest(submission, rng):
    """At temperature 0 each token is the one with the largest logit at the last position."""
    table, prompt = normal(rng, 13, 6), torch.from_numpy(rng.integers(0, 6, (3, 4)))
    assert close(submission.generate(Believer(table), prompt, 9, 0), greedy(table, prompt, 9))


@pytest.mark.exercise("generate", weight=5, core=True, hint=1)
def test_generate_gives_each_token_once(submission, rng):
    """The model gets the prompt, then only the tokens chosen last, each time with the caches of the call before."""
    for P, steps, temperature in ((4, 6, 0), (1, 5, 1.0), (3, 1, 1.0), (2, 0, 1.0)):
        model, prompt = Believer(normal(rng, 13, 6)), torch.from_numpy(rng.integers(0, 6, (3, P)))
        got = submission.generate(model, prompt, steps, temperature)
        assert close(len(model.calls), steps)
        edges = [0, *range(P, P + steps)]
        for (tokens, caches), a, b in zip(model.calls, edges, edges[1:], strict=False):
            assert close(tokens, got[:, a:b])
            assert close(caches is None, a == 0)
            assert close(caches if a else 0, got[:, :a] if a else 0)


@pytest.mark.exercise("generate", weight=3, hint=2)
def test_generate_draws(submission, rng):
    """Draws follow softmax(logits / temperature), and are independent between rows and steps."""
    rows = 2500
    for temperature, seed, dtype in ((1.0, 0, torch.float64), (0.5, 5, torch.float32), (2.0, 2**31, torch.float64)):
        logits = normal(rng, 4)
        model = lambda tokens, caches, logits=logits, dtype=dtype: (  # noqa: E731
            logits.to(dtype).expand(*tokens.shape, 4).clone(),
            None,
        )
        more = [] if temperature == 1.0 else [temperature, seed]
        got = submission.generate(model, torch.zeros(rows, 1, dtype=torch.int64), 3, *more)
        p = torch.softmax(logits / temperature, dim=0).numpy()
        assert close(got.shape == (rows, 4), True)
        drawn = got.numpy()[:, 1:]
        pairs = [(drawn[:, 0], drawn[:, 1]), (drawn[:, 1], drawn[:, 2]), (drawn[:-1].ravel(), drawn[1:].ravel())]
        for one, two in pairs:  # each pair has its own probability; a level of 1e-6 for each of 9 tests
            counts = np.bincount(4 * one + two, minlength=16)
            wanted = np.outer(p, p).ravel() * len(one)
            large = wanted > 5
            counts, wanted = [np.append(a[large], a[~large].sum() + 1e-9) for a in (counts, wanted)]
            value = ((counts - wanted) ** 2 / wanted).sum()
            assert close(bool(scipy.stats.chi2.sf(value, len(counts)) > 1e-7), True)
    model = Believer(apart(rng))  # logits of the last position, given all tokens so far; e^-900 is chance's share
    got = submission.generate(model, torch.from_numpy(rng.integers(0, 6, (2, 3))), 20, 1e-3)
    assert close(got, greedy(model.table, got[:, :3], 20))


@pytest.mark.exercise("generate", weight=2, hint=3)
def test_generate_with_seeds(submission, rng):
    """The same seed gives the same tokens, also in another process; another seed gives others; the default is 0."""
    prompt, table = torch.zeros(40, 1, dtype=torch.int64), normal(rng, 7, 50)
    seeds = [*(seed for seed in SEEDS if seed < 2**32), 2**32 - 1]
    drawn = {seed: submission.generate(Believer(table), prompt, 2, 1.0, seed) for seed in seeds}
    for one, two in itertools.combinations(seeds, 2):
        assert close(torch.equal(drawn[one], drawn[two]), False)
    assert close(submission.generate(Believer(table), prompt, 2), drawn[0])
    flat = lambda tokens, caches: (torch.zeros(*tokens.shape, 50), None)  # noqa: E731
    columns = [column for seed in (5, 6) for column in submission.generate(flat, prompt, 3, 1.0, seed)[:, 1:].T]
    for one, two in itertools.combinations(columns, 2):  # no step of a seed repeats one of another seed
        assert close(torch.equal(one, two), False)
    with submission.elsewhere() as other:
        assert close(other.generate(Believer(table), prompt, 2, 1.0, 1001), drawn[1001])


@student_side
def generate_watched(prompt, temperature):
    """In words, what a call touches that it must leave alone."""
    weight, seen, moved, kept = torch.ones(3, 4, requires_grad=True), [], [], prompt.clone()

    def model(tokens, caches):
        moved.append(not torch.equal(state, torch.get_rng_state()))
        logits = weight[tokens % 3] * torch.randn(1)[0].abs()  # a model may use torch's own generator
        seen.append(logits.requires_grad)
        torch.set_rng_state(state)
        return logits, None

    state = torch.get_rng_state()
    out = student.generate(model, prompt, 3, temperature)
    moved.append(not torch.equal(state, torch.get_rng_state()))
    if any(seen) or out.requires_grad:
        return "calls of the model record gradients"
    if any(moved):
        return "torch's global generator is used or changed"
    if not torch.is_grad_enabled():
        return "gradients are switched off for what comes afterwards"
    return "" if torch.equal(prompt, kept) else "the prompt is changed"


@student_side
def generate_often(first, second):
    """In words, what calls leave behind."""

    def model(tokens, caches):
        return torch.eye(5, dtype=torch.float64)[(tokens + 1) % 5], None

    kept, said = (first.clone(), second.clone()), []
    for given, steps in ((first, 2), (second, 2), (first, 0), (second, 2), (first, 2)):
        out = student.generate(model, given, steps, 0)
        said.append((out, out.clone()))
    try:
        student.generate(model, first, -1, 0)
    except ValueError:
        pass
    if not (torch.equal(first, kept[0]) and torch.equal(second, kept[1])):
        return "a call changes its prompt"
    if not all(torch.equal(*pair) for pair in said):
        return "a later call changes what an earlier one returned"
    places = {part.untyped_storage().data_ptr() for part in (first, second, *(out for out, _ in said))}
    return "" if len(places) == 7 else "what is returned shares memory with a prompt or with another result"


@pytest.mark.exercise("generate", weight=1, hint=3, forgeable=True)
def test_generate_leaves_no_trace(submission):
    """No call records gradients; torch's global generator and the prompt stay as they are."""
    prompt = torch.tensor([[0, 1], [2, 1]])
    for temperature in (0, 1.0):
        assert told(submission.run(generate_watched, prompt, temperature))


@pytest.mark.exercise("generate", weight=1, forgeable=True)
def test_generate_returns_anew(submission):
    """What is returned is a new tensor, also for steps = 0, and no later call changes it."""
    assert told(submission.run(generate_often, torch.tensor([[0, 1], [2, 1]]), torch.tensor([[1, 2], [3, 2]])))


@pytest.mark.exercise("generate", weight=2, hint=2)
def test_generate_of_every_size(submission, rng):
    """One row, no step, 300 steps, logits of float32 and of 10,000, ties, extreme temperatures; int64 comes back."""
    table = apart(rng)
    for shape, steps, dtype in (
        ((1, 1), 300, torch.float64),
        ((3, 2), 0, torch.float32),
        ((1300, 1), 2, torch.float32),
    ):
        prompt = torch.from_numpy(rng.integers(0, 6, shape))
        got = submission.generate(Believer(table, dtype), prompt, steps, 0)
        assert close(got, greedy(table, prompt, steps), typed=True)
        got = submission.generate(Believer(2e3 * table, dtype), prompt, steps, 1e-3)
        assert close(got, greedy(table, prompt, steps), typed=True)
    ties = torch.tensor([[0.0, 2, 2, 1, 2]]).double()
    prompt = torch.zeros(2, 1, dtype=torch.int64)
    assert close(submission.generate(Believer(ties), prompt, 3, 0), [[0, 1, 1, 1]] * 2)
    flat = submission.generate(Believer(10 * torch.arange(5.0)[None]), torch.zeros(2000, 1, dtype=torch.int64), 1, 1e3)
    shares = np.bincount(flat[:, 1], minlength=5) / 2000
    assert close(
        shares, np.full(5, 0.2), atol=0.05
    )  # 5 standard errors of a share are 0.045, and e^0.04 changes them by 0.004
    wide = torch.zeros(1, 1200)
    wide[0, -1] = 30.0
    assert close(submission.generate(Believer(wide), prompt, 1)[:, 1], [1199, 1199])


@pytest.mark.exercise("generate")
def test_generate_refuses(submission, rng):
    """An empty prompt and negative steps or temperatures raise ValueError, before the model is asked."""
    model, prompt = Believer(normal(rng, 13, 6)), torch.zeros(2, 1, dtype=torch.int64)
    for bad in (
        (prompt[:, :0], 2, 1.0),
        (prompt, -1, 1.0),
        (prompt, 2, -1e-3),
        (prompt, 0, -1.0),
        (prompt[:, :0], 0, 0),
    ):
        for seed in ([], [7]):
            with raises_student(ValueError):
                submission.generate(model, *bad, *seed)
    assert close(len(model.calls), 0)


@student_side
def generate_both(prompt, steps, temperature, dtype):
    """What a GPT of the student's parts writes, with its cache and without; its logits on the way, and of the whole."""
    torch.manual_seed(2)
    net = student.GPT(student.Config(9, 16, 2, 2)).to(getattr(torch, dtype))
    with torch.no_grad():
        for part in net.parameters():
            part.add_(0.3 * torch.randn(part.shape).to(part.dtype))
    said = []

    def cached(tokens, caches):
        logits, caches = net(tokens, caches)
        said.append(logits[:, -1:].detach())
        return logits, caches

    def again(tokens, so_far):
        tokens = tokens if so_far is None else torch.cat((so_far, tokens), dim=1)
        return net(tokens)[0], tokens

    texts = [student.generate(model, prompt, steps, temperature, 4) for model in (cached, again)]
    with torch.no_grad():
        return *texts, torch.cat(said, dim=1), net(texts[0][:, :-1])[0][:, prompt.shape[1] - 1 :]


@pytest.mark.exercise(
    "generate", weight=1, depends=("GPT", "Block", "MultiHeadAttention", "attention", "rotary", "causal_mask")
)
def test_generate_as_if_computed_again(submission, rng):
    """With your GPT and its cache, logits and text are those of a model that computes all of it at each step."""
    # A draw falls between two tokens by rounding in one case of 1e12 (float64) or 1e4 (float32): there logits only.
    for dtype, temperature in itertools.product(DTYPES, (0, 1.0)):
        prompt, name = torch.from_numpy(rng.integers(0, 9, (2, 3))), str(dtype).removeprefix("torch.")
        cached, computed, said, whole = submission.run(generate_both, prompt, 15, temperature, name)
        assert near(said, whole, dtype, scale=8)
        assert close(dtype == torch.float32 or torch.equal(cached, computed), True)


# -------------------------------------------------------------------------------------------- blockwise_attention

BLOCKS = Contract(
    "blockwise_attention",
    q=tensors(2, 3, 5, 4),
    k=tensors(2, 3, 7, 4),
    v=tensors(2, 3, 7, 6),
    causal=one_of(False, True, default=False),
    block=one_of(3, 1, 7, 100, 4, default=128),
)


def dense(q, k, v, causal=False):
    T, S = q.shape[-2], k.shape[-2]
    return torch_attention(q, k, v, torch.ones(T, S, dtype=torch.bool).tril(S - T) if causal else None)


def as_dense(got, q, k, v, causal=False, dtype=torch.float64, typed=False):
    """Whether the error is within the docstring's bound; scores have some rounding of their own size."""
    largest = float((q.double() @ k.double().mT).abs().max()) / math.sqrt(q.shape[-1])
    atol = (1e-12 if dtype == torch.float64 else 1e-5) * max(1.0, largest) * max(1.0, float(v.abs().max()))
    expected = dense(q, k, v, causal)
    return close(got, expected.to(dtype) if typed else expected, atol=atol, typed=typed)


@pytest.mark.exercise("blockwise_attention", weight=3, core=True, hint=2)
def test_blockwise_is_dense(submission, rng):
    """In blocks of any size, the output is that of dense attention."""
    q, k, v = (normal(rng, *shape) for shape in ((2, 5, 4), (2, 7, 4), (2, 7, 3)))
    for block in (2, 7, 100, 3):
        assert as_dense(submission.blockwise_attention(q, k, v, False, block), q, k, v)


@pytest.mark.exercise("blockwise_attention", weight=2, hint=3)
def test_blockwise_causal(submission, rng):
    """With causal=True, query t sees the keys up to S - T + t, wherever blocks begin."""
    for T, S, block in ((5, 5, 2), (5, 7, 3), (1, 7, 2), (6, 6, 1), (4, 9, 4), (9, 9, 20), (7, 8, 7)):
        q, k, v = normal(rng, 2, T, 4), normal(rng, 2, S, 4), normal(rng, 2, S, 3)
        assert as_dense(submission.blockwise_attention(q, k, v, True, block), q, k, v, True)


@pytest.mark.exercise("blockwise_attention", weight=3, hint=1)
def test_blockwise_of_large_scores(submission, rng):
    """Scores far above and far below 0, which rise or fall from block to block by millions, give no nan or inf."""
    for dtype, size, causal in itertools.product(DTYPES, (1.0, 4.0, 30.0, 500.0), (False, True)):
        for order in (torch.linspace(-2, 2, 9), torch.linspace(2, -2, 9), -2 * torch.ones(9)):
            q, v = (size * (1 + normal(rng, 9, 4).abs())).to(dtype), normal(rng, 9, 3).to(dtype)
            k = (size * order[:, None].double() * (1 + 0.1 * normal(rng, 9, 4).abs())).to(dtype)
            assert as_dense(submission.blockwise_attention(q, k, v, causal, 2), q, k, v, causal, dtype)


@pytest.mark.exercise("blockwise_attention", weight=2)
def test_blockwise_of_every_kind(submission, rng):
    """float64 and float32, views, defaults, leading axes or none, sizes of 1, a thousand of each."""
    for case in BLOCKS.cases(rng):
        got, (q, k, v, causal, _) = submission.blockwise_attention(*case), case.exact
        assert as_dense(got, q, k, v, causal, same_dtype(case), typed=True)
    for lead, T, S, d, e in (((), 4, 6, 3, 2), ((1,), 1, 1, 1, 1), ((2, 2, 2), 3, 3, 2, 5), ((), 1100, 1100, 2, 1)):
        q, k, v = normal(rng, *lead, T, d), normal(rng, *lead, S, d), normal(rng, *lead, S, e)
        for causal in (False, True):
            assert as_dense(submission.blockwise_attention(q, k, v, causal), q, k, v, causal, typed=True)
    q, k, v = normal(rng, 3, 2), normal(rng, 400, 2), normal(rng, 400, 2)
    assert as_dense(submission.blockwise_attention(q, k, v, True, 1), q, k, v, True)
    with raises_student(ValueError):
        submission.blockwise_attention(k, q, q, True)
    with raises_student(ValueError):
        submission.blockwise_attention(k[:4], q, q, True, 2)


@student_side
def blockwise_large(T, S, d, causal, block):
    """Some entries of the attention over many keys, and inputs that give them."""
    draw = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(n, d, generator=draw, dtype=torch.float64) for n in (T, S, S))
    with torch.no_grad():
        return student.blockwise_attention(q, k, v, causal, block)[[0, T // 2, T - 1]].clone()


def some_rows(T, S, d, causal):
    """The same rows here, one at a time."""
    draw = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(n, d, generator=draw, dtype=torch.float64) for n in (T, S, S))
    ends = [S - T + t + 1 if causal else S for t in (0, T // 2, T - 1)]
    rows = zip((0, T // 2, T - 1), ends, strict=True)
    return torch.cat([torch_attention(q[t : t + 1], k[:end], v[:end]) for t, end in rows])


@pytest.mark.exercise("blockwise_attention", weight=4, hint=1, memory_mb=90)
@pytest.mark.parametrize("causal", [False, True])
def test_blockwise_in_linear_memory(submission, causal):
    """4,096 queries and keys need no matrix of all scores."""
    # All scores take 134 MB; those of a block of 128 keys 4 MB, and a few such arrays at a time.
    got = submission.run(blockwise_large, 4096, 4096, 4, causal, 128)
    assert near(got, some_rows(4096, 4096, 4, causal))


@pytest.mark.exercise("blockwise_attention", weight=4, hint=1, memory_mb=90)
def test_blockwise_over_many_keys(submission):
    """A few queries and very many keys: not even one block of queries has the scores of all keys at once."""
    # Keys and values take 6 MB, the scores of 128 queries 205 MB, those of a block of 500 keys half a MB.
    got = submission.run(blockwise_large, 128, 200_000, 2, False, 500)
    assert near(got, some_rows(128, 200_000, 2, False))


@student_side
def blockwise_of_equal_keys(S, block):
    """Attention of two queries to equal keys, all views of one: the mean of 64 MB of values, and their true mean."""
    q, v = torch.ones(2, 1), torch.rand(S, 1, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        got = student.blockwise_attention(q, torch.ones(1, 1).expand(S, 1), v, False, block)
    return got.clone(), sum(part.double().sum() for part in v.split(block)) / S


@pytest.mark.exercise("blockwise_attention", weight=2, hint=1, memory_mb=115)
def test_blockwise_query_by_query(submission):
    """Two queries and sixteen million keys: not even the scores of one query stand in memory at once."""
    # Values take 64 MB, torch's first product 33; the scores of one query 64 MB more, those of a block 0.5 MB.
    # Sums of 2^24 floats in 256 blocks are off by some hundred eps, 1e-5.
    got, mean = submission.run(blockwise_of_equal_keys, 2**24, 2**16)
    assert close(got, torch.full((2, 1), float(mean)), atol=1e-4)


@pytest.mark.exercise("blockwise_attention", forgeable=True)
def test_blockwise_leaves_no_trace(submission, rng):
    """Arguments are left as they are, and what is returned is new."""
    assert BLOCKS.leaves_no_trace(submission, rng, then=[{}, {"causal": True}, {"block": 100}])
    causal = Contract("blockwise_attention", **BLOCKS.arguments | {"causal": True})
    assert causal.leaves_no_trace(submission, rng, q=[normal(rng, 2, 3, 8, 4)])
