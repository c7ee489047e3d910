"""Hidden tests of module 09. A docstring is the sentence that a student reads when the test fails.

Rounding, throughout: an output is a sum of n products, so two right answers differ by at most 4 n eps times the sum of
the products' absolute values (`sum_rounding`). The same layer on absolute values gives that sum. The oracles compute
in float64, by torch, by its autograd, or by the definition.
"""

import itertools

import numpy as np
import pytest
import scipy.signal
import torch

from autograder.judging import Case, Contract, close, floats, one_of, raises_student, student_side, sum_rounding

SCALES = (2.0**-30, 2.0**30)


def tensors(*arrays):
    return [torch.from_numpy(np.array(a, np.float64)) for a in arrays]  # a copy: torch knows no negative strides


def cases(contract, rng):
    """Those of the contract, and float32 in any of the arrays with float64 in the others."""
    yield from contract.cases(rng)
    plain = contract.plain(rng).args
    arrays = [i for i, value in enumerate(plain) if isinstance(value, np.ndarray)]
    for kinds in itertools.product((np.float64, np.float32), repeat=len(arrays)):
        args = list(plain)
        for i, kind in zip(arrays, kinds, strict=True):
            args[i] = plain[i].astype(kind)
        yield Case(tuple(args), tuple(np.array(a, float) if i in arrays else a for i, a in enumerate(args)))


def windows_along(n, k, stride, padding=0, dilation=1):
    """How many windows fit, by trying each start."""
    end = n + 2 * padding
    return sum(1 for start in range(0, end, stride) if start + dilation * (k - 1) < end)


def geometries(rng, count, smallest=1, steps=(1, 5), paddings=(0, 5)):
    """Random (B, C, F, H, W, kh, kw, stride, padding), the kernel no larger than the padded picture."""
    found = []
    while len(found) < count:
        B, C, F, kh, kw = rng.integers(smallest, 5, 5).tolist()
        H, W = rng.integers(smallest, 9, 2).tolist()
        stride, padding = int(rng.integers(*steps)), int(rng.integers(*paddings))
        if kh <= H + 2 * padding and kw <= W + 2 * padding and len({B, C, F}) + smallest > 2:
            found.append((B, C, F, H, W, kh, kw, stride, padding))
    return found


# --------------------------------------------------------------------------------------------------------- conv2d


def conv(x, w, b, stride=1, padding=0, flip=False):
    x, w, b = tensors(x, w[:, :, ::-1, ::-1] if flip else w, b)
    return torch.nn.functional.conv2d(x, w, b, stride=stride, padding=padding).numpy()


def conv_slack(x, w, b, *rest, eps=2.0**-52):
    return sum_rounding(w[0].size + 1, conv(np.abs(x), np.abs(w), np.abs(b), *rest), eps)


def layer(rng, B, C, F, H, W, kh, kw):
    return rng.standard_normal((B, C, H, W)), rng.standard_normal((F, C, kh, kw)), rng.standard_normal(F)


def layers(name, **more):
    return Contract(
        name,
        x=floats(2, 3, 5, 6, scales=SCALES),
        w=floats(4, 3, 3, 2, scales=SCALES),
        b=floats(4, scales=SCALES),
        stride=one_of(1, 2, 5, default=1),
        padding=one_of(0, 1, 4, default=0),
        **more,
    )


CONV = layers("conv2d", flip=one_of(False, True, default=False))
TOO_LARGE = [lambda w: np.ones((4, 3, 6, 2)), lambda w: np.ones((4, 3, 1, 7))]
EXTREME = [
    (1001, 1, 2, 1, 1, 1, 1, 1, 0),
    (2, 1, 1001, 1, 1, 1, 1, 1, 0),
    (2, 1, 2, 2300, 3, 2, 3, 1108, 0),
    (1, 1, 1, 3, 2, 2, 2, 1106, 1105),
    (1, 2, 1, 1140, 1, 1130, 1, 4, 0),
    (1, 1, 2, 2, 1106, 2, 1103, 1, 0),
    (1, 1101, 2, 2, 3, 2, 1, 1, 0),
    (1, 2, 1, 2, 1200, 1, 2, 1, 0),
    (1, 1, 2, 1200, 1, 3, 1, 1, 1),
]


def agrees(submission, name, rng, geometry, *rest):
    *sizes, stride, padding = geometry
    args = (*layer(rng, *sizes), stride, padding, *rest)
    return close(submission[name](*args), conv(*args), atol=conv_slack(*args))


@pytest.mark.exercise("conv2d", weight=2, core=True)
def test_each_window_meets_the_kernel(submission, rng):
    """With stride 1 and no padding, each output is the weighted sum of its window over all channels, plus the bias."""
    for geometry in geometries(rng, 6, 2, (1, 2), (0, 1)):
        assert agrees(submission, "conv2d", rng, geometry)


@pytest.mark.exercise("conv2d", weight=2, core=True, hint=2)
def test_any_stride_and_padding(submission, rng):
    """The output is right for any stride, padding, kernel, picture, batch and number of channels."""
    for geometry in geometries(rng, 30):
        assert agrees(submission, "conv2d", rng, geometry)


@pytest.mark.exercise("conv2d", weight=2, core=True, hint=3)
def test_flip_is_true_convolution(submission, rng):
    """With flip the result is convolution: it agrees with scipy's, and u with v equals v with u."""
    u, v = rng.standard_normal((2, 4, 4))
    zero = np.zeros(1)
    for first, second in [(u, v), (v, u)]:
        got = submission.conv2d(first[None, None], second[None, None], zero, 1, 3, True)
        assert close(got, scipy.signal.convolve2d(u, v)[None, None], atol=1e-13)
    for geometry in geometries(rng, 8):
        assert agrees(submission, "conv2d", rng, geometry, True)


@pytest.mark.exercise("conv2d", weight=1.5, core=True, hint=1)
def test_output_size_counts_windows(submission, rng):
    """output_size is the number of windows that lie inside, for any kernel, stride, padding and dilation."""
    drawn = rng.integers([1, 1, 1, 0, 1], [20, 6, 6, 5, 5], (80, 5)).tolist()
    for n, k, stride, padding, dilation in [
        *drawn,
        (4, 3, 1, 1, 1),
        (1500, 1130, 1, 0, 1),
        (2500, 3, 1120, 0, 1),
        (10, 3, 1, 1130, 1),
        (2500, 3, 1, 0, 1140),
    ]:
        if (expected := windows_along(n, k, stride, padding, dilation)) > 0:
            assert close(submission.output_size(n, k, stride, padding, dilation), expected)


@pytest.mark.exercise("conv2d")
def test_output_size_at_its_borders(submission):
    """output_size has its defaults, gives a Python int, and raises ValueError where no window fits."""
    for args in [(7, 3), (7, 3, 2), (7, 3, 2, 1), (7, 3, 2, 1, 4), (5, 5), (1, 1), (1, 3, 1, 1), (7, 3, 1, 0, 3)]:
        assert close(submission.output_size(*args), windows_along(*args[:2], *(args[2:] or (1,))), typed=True)
    assert close(submission.output_size(10**13, 7, 3), (10**13 - 7) // 3 + 1, typed=True)
    for args in [(2, 3), (2, 5, 1, 1), (7, 3, 1, 0, 4), (1, 2, 9), (6, 3, 5, 1, 4)]:
        with raises_student(ValueError):
            submission.output_size(*args)


@pytest.mark.exercise("conv2d", hint=3)
def test_conv2d_of_every_kind_of_data(submission, rng):
    """float32 and float64 in any layout and of any size are right; float32 comes back only where all are float32."""
    for case in cases(CONV, rng):
        expected = conv(*case.exact).astype(case.dtype)
        assert close(submission.conv2d(*case), expected, atol=conv_slack(*case.exact, eps=case.eps), typed=True)
    for geometry in EXTREME:
        assert agrees(submission, "conv2d", rng, geometry)


@pytest.mark.exercise("conv2d", weight=0.5, hint=1)
def test_conv2d_refuses_a_kernel_that_does_not_fit(submission, rng):
    """A kernel larger than the padded picture raises ValueError; one of exactly its size does not."""
    CONV.refuses(submission, rng, ValueError, w=TOO_LARGE)
    assert agrees(submission, "conv2d", rng, (1, 2, 3, 2, 4, 4, 6, 3, 1))


@pytest.mark.exercise("conv2d", weight=0.5, forgeable=True)
def test_conv2d_leaves_no_trace(submission, rng):
    """No argument changes, and the result shares memory with nothing."""
    assert CONV.leaves_no_trace(submission, rng, then=[{}, {"flip": True}, {"padding": 2}], w=TOO_LARGE)


# --------------------------------------------------------------------------------------------------------- conv1d


def sequence(x, w, b, stride=1, dilation=1, causal=False):
    """By torch's conv2d on pictures of one row: padding by hand, so that it is on one side only."""
    before = dilation * (w.shape[2] - 1) if causal else 0
    x, w, b = tensors(np.concatenate([np.zeros((*x.shape[:2], before)), x], axis=2)[:, :, None], w[:, :, None], b)
    return torch.nn.functional.conv2d(x, w, b, stride=(1, stride), dilation=(1, dilation))[:, :, 0].numpy()


def sequence_slack(x, w, b, *rest, eps=2.0**-52):
    return sum_rounding(w[0].size + 1, sequence(np.abs(x), np.abs(w), np.abs(b), *rest), eps)


CONV1D = Contract(
    "conv1d",
    x=floats(2, 3, 12, scales=SCALES),
    w=floats(4, 3, 3, scales=SCALES),
    b=floats(4, scales=SCALES),
    stride=one_of(1, 2, 5, default=1),
    dilation=one_of(1, 2, 4, default=1),
    causal=one_of(False, True, default=False),
)


def sequence_agrees(submission, rng, B, C, F, T, k, *rest):
    args = (rng.standard_normal((B, C, T)), rng.standard_normal((F, C, k)), rng.standard_normal(F), *rest)
    return close(submission.conv1d(*args), sequence(*args), atol=sequence_slack(*args))


@pytest.mark.exercise("conv1d", weight=2, core=True, hint=2, depends=("conv2d",))
def test_sequences_agree_with_torch(submission, rng):
    """The output is right for any stride, dilation, kernel, length, batch and number of channels."""
    for _ in range(25):
        B, C, F, k, stride, dilation = rng.integers(1, 5, 6).tolist()
        T = dilation * (k - 1) + int(rng.integers(1, 12))
        assert sequence_agrees(submission, rng, B, C, F, T, k, stride, dilation)


@pytest.mark.exercise("conv1d", weight=2, core=True, hint=1, depends=("conv2d",))
def test_causal_sequences_agree_with_torch(submission, rng):
    """With causal, d (k - 1) zeros stand before the first sample, also where the sequence is the shorter one."""
    for _ in range(25):
        B, C, F, T, k, stride, dilation = rng.integers(1, 6, 7).tolist()
        assert sequence_agrees(submission, rng, B, C, F, T, k, stride, dilation, True)


@pytest.mark.exercise("conv1d", weight=2, hint=1, depends=("conv2d",))
def test_no_output_depends_on_the_future(submission, rng):
    """With causal, no sample has an influence on an earlier output, and the present has one on its own."""
    w, b = rng.uniform(1, 2, (3, 2, 4)), rng.standard_normal(3)
    for dilation, t in itertools.product((1, 3), (0, 5, 19)):
        x = rng.standard_normal((2, 2, 20))
        other = x.copy()
        other[:, :, t:] += 1e12
        before, after = (np.asarray(submission.conv1d(a, w, b, 1, dilation, True)) for a in (x, other))
        assert close(after[:, :, :t], before[:, :, :t], atol=1e-12)
        assert after.shape == (2, 3, 20) and (np.abs(after - before)[:, :, t] > 1e11).all()


@pytest.mark.exercise("conv1d", hint=3, depends=("conv2d",))
def test_conv1d_of_every_kind_of_data(submission, rng):
    """float32 and float64 in any layout and of any size are right; float32 comes back only where all are float32."""
    for case in cases(CONV1D, rng):
        expected = sequence(*case.exact).astype(case.dtype)
        assert close(submission.conv1d(*case), expected, atol=sequence_slack(*case.exact, eps=case.eps), typed=True)
    for sizes in [
        (1001, 1, 2, 1, 1),
        (2, 1, 1001, 1, 1),
        (1, 2, 2, 2300, 3, 1110),
        (1, 1101, 2, 1200, 2),
        (2, 1, 1, 2500, 3, 2, 1130),
        (1, 1, 2, 7, 1120, 1, 1, True),
    ]:
        assert sequence_agrees(submission, rng, *sizes)


@pytest.mark.exercise("conv1d", weight=0.5, depends=("conv2d",))
def test_conv1d_refuses_a_kernel_that_does_not_fit(submission, rng):
    """A kernel that spans more than the sequence raises ValueError unless it is causal; an equal span does not."""
    CONV1D.refuses(submission, rng, ValueError, w=[lambda w: np.ones((4, 3, 13))], dilation=[6, 50])
    assert sequence_agrees(submission, rng, 1, 2, 3, 13, 3, 2, 6)


@pytest.mark.exercise("conv1d", weight=0.5, forgeable=True, depends=("conv2d",))
def test_conv1d_leaves_no_trace(submission, rng):
    """No argument changes, and the result shares memory with nothing."""
    one = Contract("conv1d", x=floats(1, 1, 6), w=np.ones((1, 1, 1)), b=np.zeros(1))
    assert one.leaves_no_trace(submission, rng)
    assert CONV1D.leaves_no_trace(submission, rng, then=[{}, {"causal": True}], dilation=[9])


# --------------------------------------------------------------------------------------------------------- im2col


def windows_of(x, kh, kw, stride=1):
    """By definition, or for large windows through NumPy."""
    if kh * kw > 100:
        return np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(2, 3))[:, :, ::stride, ::stride]
    oh, ow = windows_along(x.shape[2], kh, stride), windows_along(x.shape[3], kw, stride)
    out = np.empty((*x.shape[:2], oh, ow, kh, kw), x.dtype)
    for i, j, a, e in itertools.product(range(oh), range(ow), range(kh), range(kw)):
        out[:, :, i, j, a, e] = x[:, :, i * stride + a, j * stride + e]
    return out


IM2COL = Contract(
    "im2col",
    x=floats(2, 3, 5, 7, scales=SCALES),
    kh=one_of(2, 1, 5),
    kw=one_of(3, 1, 7),
    stride=one_of(1, 2, 6, default=1),
)


@pytest.mark.exercise("im2col", weight=2, core=True, hint=2, depends=("conv2d",))
def test_windows_hold_the_right_pixels(submission, rng):
    """v[n, c, i, j, a, e] is the pixel x[n, c, i stride + a, j stride + e], and there are as many windows as fit."""
    for B, C, _, H, W, kh, kw, stride, _ in geometries(rng, 25, paddings=(0, 1)):
        x = rng.standard_normal((B, C, H, W))
        assert close(submission.im2col(x, kh, kw, stride), windows_of(x, kh, kw, stride))


@student_side
def some_windows(seed, shape, kh, kw, stride, places, turned):
    """The shape of all windows, and some of them (runs over there)."""
    x = np.random.default_rng(seed).standard_normal(shape)
    windows = student.im2col(x.transpose(0, 1, 3, 2) if turned else x, kh, kw, stride)  # noqa: F821
    return windows.shape, [np.array(windows[tuple(place)]) for place in places]


def large_windows(submission, rng, shape, kh, kw, stride, turned=False):
    """Whether the corners and some other windows of a large picture are right."""
    seed = int(rng.integers(2**30))
    x = np.random.default_rng(seed).standard_normal(shape)
    x = x.transpose(0, 1, 3, 2) if turned else x
    expected = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(2, 3))[:, :, ::stride, ::stride]
    places = [[0, 0, 0, 0], [s - 1 for s in expected.shape[:4]]]
    places += rng.integers(0, expected.shape[:4], (5, 4)).tolist()
    size, got = submission.run(some_windows, seed, shape, kh, kw, stride, places, turned)
    assert close(list(size), list(expected.shape))
    return close(got, [expected[tuple(place)] for place in places])


@pytest.mark.exercise("im2col", weight=3, core=True, hint=3, memory_mb=64, depends=("conv2d",))
@pytest.mark.parametrize("stride", [1, 3])
def test_windows_of_a_picture_too_large_to_copy(submission, rng, stride):
    """All windows of a large picture take no memory: they are a view, and a copy would not fit."""
    assert large_windows(submission, rng, (1, 2, 900, 1100), 41, 31, stride)  # x: 16 MB; a copy at stride 3: 1.9 GB


@pytest.mark.exercise("im2col", weight=2, hint=2, memory_mb=64, depends=("conv2d",))
def test_windows_of_a_large_view(submission, rng):
    """The windows of a picture that is itself a view take no memory either: not even the picture is copied."""
    assert large_windows(submission, rng, (3, 1, 1000, 1500), 3, 2, 1, turned=True)  # x: 36 MB


@pytest.mark.exercise("im2col", weight=1.5, hint=2, depends=("conv2d",))
def test_windows_of_every_kind_of_picture(submission, rng):
    """The pixels are right for float32 and float64 in any memory layout, and the dtype is that of x."""
    for case in IM2COL.cases(rng):
        x = case.args[0]
        expected = windows_of(np.asarray(x), *case.exact[1:])
        assert close(submission.im2col(*case), expected, typed=True)
    for shape, kh, kw, stride in [
        ((1001, 1, 2, 2), 2, 1, 1),
        ((1, 1101, 2, 2), 1, 2, 1),
        ((1, 1, 1200, 1), 2, 1, 1),
        ((1, 1, 1, 1200), 1, 2, 1),
        ((1, 1, 2300, 2), 1120, 2, 1108),
        ((1, 1, 2, 2300), 2, 1120, 1108),
        ((1, 1, 1, 1), 1, 1, 200),
    ]:
        x = rng.standard_normal(shape)
        assert close(submission.im2col(x, kh, kw, stride), windows_of(x, kh, kw, stride))


@student_side
def windows_follow(x, kh, kw, stride):
    """The windows after x has changed behind them (runs over there)."""
    windows = student.im2col(x, kh, kw, stride)  # noqa: F821
    shared = bool(np.shares_memory(windows, x))
    x *= 2
    return shared, np.array(windows)


@pytest.mark.exercise("im2col", weight=1, forgeable=True, hint=3, depends=("conv2d",))
def test_windows_share_memory_with_the_picture(submission, rng):
    """The windows are a view of x: they share its memory and follow its changes; the call itself changes nothing."""
    x = rng.standard_normal((2, 2, 4, 5))
    for kh, kw, stride in [(2, 3, 1), (1, 1, 1), (4, 5, 1), (2, 2, 2)]:
        shared, after = submission.run(windows_follow, x, kh, kw, stride)
        assert shared and close(after, windows_of(2 * x, kh, kw, stride))
    assert IM2COL.leaves_no_trace(submission, rng, fresh=False, kh=[6])


@pytest.mark.exercise("im2col", weight=0.5, hint=1, depends=("conv2d",))
def test_im2col_refuses_a_window_that_does_not_fit(submission, rng):
    """A window larger than the picture raises ValueError."""
    IM2COL.refuses(submission, rng, ValueError, kh=[6, 40], kw=[8, 9])


# ------------------------------------------------------------------------------------------------ conv2d_backward


def gradients(dout, x, w, stride=1, padding=0):
    """By autograd."""
    x, w, b = (t.requires_grad_() for t in tensors(x, w, np.zeros(len(w))))
    out = torch.nn.functional.conv2d(x, w, b, stride=stride, padding=padding)
    (out * tensors(dout)[0]).sum().backward()
    return tuple(t.grad.numpy() for t in (x, w, b))


def right_gradients(got, dout, x, w, *rest, eps=2.0**-52, dtype=None):
    expected = gradients(dout, x, w, *rest)
    sizes = gradients(np.abs(dout), np.abs(x), np.abs(w), *rest)
    n = max(dout[0].size, dout[:, 0].size)  # no sum has more terms
    if not close([*got], [*expected], atol=np.inf):
        return close([*got], [*expected])
    found = [
        close(mine, theirs.astype(dtype or float), atol=sum_rounding(n, size, eps), typed=dtype is not None)
        for mine, theirs, size in zip(got, expected, sizes, strict=True)
    ]
    return next((each for each in found if not each), found[0])


def backward_problem(rng, geometry):
    *sizes, stride, padding = geometry
    B, _, F, H, W, kh, kw = sizes
    x, w, _ = layer(rng, *sizes)
    dout = rng.standard_normal((B, F, windows_along(H, kh, stride, padding), windows_along(W, kw, stride, padding)))
    return dout, x, w, stride, padding


@pytest.mark.exercise("conv2d_backward", weight=3, core=True)
def test_gradients_agree_with_autograd(submission, rng):
    """With stride 1 and no padding, the gradients with respect to x, w and b are those of torch's autograd."""
    for geometry in geometries(rng, 8, 2, (1, 2), (0, 1)):
        problem = backward_problem(rng, geometry)
        assert right_gradients(submission.conv2d_backward(*problem), *problem)


@pytest.mark.exercise("conv2d_backward", weight=3, core=True)
def test_gradients_for_any_stride_and_padding(submission, rng):
    """The gradients are right for every stride, padding, kernel, picture, batch and number of channels."""
    for geometry in geometries(rng, 40):
        problem = backward_problem(rng, geometry)
        assert right_gradients(submission.conv2d_backward(*problem), *problem)


@pytest.mark.exercise("conv2d_backward", weight=1.5, hint=1)
def test_pixels_in_no_window_have_no_gradient(submission, rng):
    """A pixel that no window covers has gradient exactly 0, and the others are right."""
    for geometry in [(2, 2, 3, 9, 8, 2, 1, 4, 0), (1, 1, 1, 8, 8, 3, 3, 2, 0), (2, 1, 2, 3, 3, 2, 2, 5, 4)]:
        problem = backward_problem(rng, geometry)
        got = submission.conv2d_backward(*problem)
        assert right_gradients(got, *problem)
        covered = gradients(*(np.abs(a) + 1 for a in problem[:3]), *problem[3:])[0] > 0
        assert not covered.all() and not np.asarray(got[0])[~covered].any()


@pytest.mark.exercise("conv2d_backward", weight=1.5, hint=3)
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (3, 4)])
def test_gradients_of_every_kind_of_data(submission, rng, stride, padding):
    """float32 and float64 in any layout and of any size are right; float32 comes back only where all are float32."""
    oh, ow = windows_along(5, 3, stride, padding), windows_along(6, 2, stride, padding)
    x, w, dout = (
        floats(2, 3, 5, 6, scales=SCALES),
        floats(4, 3, 3, 2, scales=SCALES),
        floats(2, 4, oh, ow, scales=SCALES),
    )
    steps = {"stride": one_of(stride, default=1), "padding": one_of(padding, default=0)} if stride == 1 else {}
    steps = steps or {"stride": stride, "padding": padding}
    for case in cases(Contract("conv2d_backward", dout=dout, x=x, w=w, **steps), rng):
        got = submission.conv2d_backward(*case)
        assert right_gradients(got, *case.exact, eps=case.eps, dtype=case.dtype)


@pytest.mark.exercise("conv2d_backward")
def test_gradients_of_large_sizes(submission, rng):
    """The gradients are right for more than 1,000 pictures or filters, and for large steps, paddings and kernels."""
    for geometry in EXTREME:
        problem = backward_problem(rng, geometry)
        assert right_gradients(submission.conv2d_backward(*problem), *problem)


@pytest.mark.exercise("conv2d_backward", weight=1, forgeable=True)
@pytest.mark.parametrize(("padding", "rows"), [(0, 4), (1, 6)])
def test_backward_leaves_no_trace(submission, rng, padding, rows):
    """No argument changes, and the gradients share memory with nothing."""
    x, w, dout = floats(2, 3, 5, 6), floats(4, 3, 2, 2), floats(2, 4, rows, rows + 1)
    assert Contract("conv2d_backward", dout=dout, x=x, w=w, stride=1, padding=padding).leaves_no_trace(submission, rng)


# ------------------------------------------------------------------------------------------------ pool2d_tutorial

TUTORIAL = Contract("pool2d_tutorial", x=floats(6, 7, scales=SCALES), size=one_of(2, 3, 6), stride=one_of(2, 1, 3, 9))


def pooled(x, size, stride, kind="max"):
    """By definition."""
    windows = windows_of(np.asarray(x, np.float64), size, size, stride)
    return windows.max(axis=(4, 5)) if kind == "max" else windows.sum(axis=(4, 5)) / size**2


@pytest.mark.exercise("pool2d_tutorial", weight=3, core=True, hint=2)
def test_tutorial_windows_keep_inside_and_step(submission, rng):
    """There is one maximum for each window that lies inside, at each multiple of the stride."""
    for _ in range(25):
        size, stride = rng.integers(1, 5, 2).tolist()
        x = rng.standard_normal(rng.integers(size, size + 8, 2))
        assert close(submission.pool2d_tutorial(x, size, stride), pooled(x[None, None], size, stride)[0, 0])


@pytest.mark.exercise("pool2d_tutorial")
def test_tutorial_of_every_kind_of_picture(submission, rng):
    """Pictures in any memory layout and of any size are right, and float64 comes back."""
    for case in TUTORIAL.cases(rng):
        if case.args[0].dtype == np.float64:
            x, size, stride = case.exact
            got = submission.pool2d_tutorial(*case)
            assert close(got, pooled(x[None, None], size, stride)[0, 0], typed=True)
    for shape, size, stride in [((1200, 2), 1, 1), ((2, 1200), 2, 1), ((2300, 4), 2, 1108), ((215, 213), 210, 3)]:
        x = rng.standard_normal(shape)
        assert close(submission.pool2d_tutorial(x, size, stride), pooled(x[None, None], size, stride)[0, 0])


@pytest.mark.exercise("pool2d_tutorial", weight=0.5, forgeable=True)
def test_tutorial_leaves_no_trace(submission, rng):
    """x is the same after the call, and what is returned is a new array."""
    assert TUTORIAL.leaves_no_trace(submission, rng, then=[{}, {"size": 1, "stride": 1}])


# --------------------------------------------------------------------------------------------------------- pool2d


def poolings(name, **more):
    return Contract(
        name,
        x=floats(2, 3, 6, 7, scales=SCALES),
        size=one_of(2, 1, 3, 6),
        stride=one_of(2, 1, 3, 9),
        kind=one_of("max", "average", default="max"),
        **more,
    )


POOL = poolings("pool2d")
UNKNOWN = ["mean", "Max", "MAX", " max", "average ", "Average", "min", "", "avg", "maximum", "averages"]


def pool_geometries(rng, count):
    for _ in range(count):
        size, stride = rng.integers(1, 5, 2).tolist()
        yield (*rng.integers(1, 4, 2).tolist(), *rng.integers(size, size + 8, 2).tolist()), size, stride


@pytest.mark.exercise("pool2d", weight=2, core=True, hint=1, depends=("im2col", "conv2d"))
def test_maximum_of_each_window(submission, rng):
    """Each output is the maximum of its window in its channel, for any window, stride, picture, batch and channels."""
    for shape, size, stride in pool_geometries(rng, 20):
        x = rng.standard_normal(shape) - 3  # nearly all negative
        expected = torch.nn.functional.max_pool2d(torch.from_numpy(x), size, stride).numpy()
        assert close(submission.pool2d(x, size, stride, "max"), expected)


@pytest.mark.exercise("pool2d", weight=2, core=True, hint=2, depends=("im2col", "conv2d"))
def test_mean_of_each_window(submission, rng):
    """Each output is the mean of its window in its channel, for any window, stride, picture, batch and channels."""
    for shape, size, stride in pool_geometries(rng, 20):
        x = rng.standard_normal(shape)
        expected = torch.nn.functional.avg_pool2d(torch.from_numpy(x), size, stride).numpy()
        assert close(submission.pool2d(x, size, stride, "average"), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.exercise("pool2d", weight=1.5, depends=("im2col", "conv2d"))
def test_pooling_of_every_kind_of_picture(submission, rng):
    """float32 and float64 in any layout and of any size are right, and the dtype is that of x."""
    for kind in ("max", "average"):
        for case in [*POOL.cases(rng), POOL.shortest(rng)]:
            x, size, stride, given = case.exact
            args = (*case.args[:3], *([kind] if len(case.args) > 3 else []))
            kind_now = kind if len(case.args) > 3 else given
            expected = pooled(x, size, stride, kind_now).astype(case.dtype)
            atol = 0 if kind_now == "max" else sum_rounding(size**2, pooled(np.abs(x), size, stride, kind), case.eps)
            assert close(submission.pool2d(*args), expected, atol=atol, typed=True)
        for shape, size, stride in [
            ((1001, 1, 2, 2), 1, 1),
            ((1, 1101, 2, 2), 2, 1),
            ((1, 1, 2, 1200), 2, 1),
            ((1, 1, 1200, 2), 2, 1),
            ((1, 1, 2300, 4), 2, 1108),
            ((1, 1, 215, 216), 210, 3),
        ]:
            x = rng.standard_normal(shape)
            assert close(submission.pool2d(x, size, stride, kind), pooled(x, size, stride, kind), atol=1e-12)


@pytest.mark.exercise("pool2d", weight=0.5, depends=("im2col", "conv2d"))
def test_pooling_refuses(submission, rng):
    """Another kind and a window that does not fit raise ValueError; a window of the picture's size does not."""
    POOL.refuses(submission, rng, ValueError, kind=UNKNOWN, size=[7, 8, 100])
    wide = Contract("pool2d", x=floats(1, 1, 9, 3), size=4, stride=1, kind="average")
    wide.refuses(submission, rng, ValueError, size=[4, 9])


@pytest.mark.exercise("pool2d", weight=0.5, forgeable=True, depends=("im2col", "conv2d"))
def test_pooling_leaves_no_trace(submission, rng):
    """x is the same after the call, and what is returned is a new array."""
    then = [{"kind": kind} | sizes for kind in ("max", "average") for sizes in ({}, {"size": 1, "stride": 1})]
    assert POOL.leaves_no_trace(submission, rng, then=then, kind=["mean"])


# ------------------------------------------------------------------------------------------------ pool2d_backward


def pool_gradient(dout, x, size, stride, kind="max"):
    """By definition: window by window, the first of the largest."""
    dx = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(dout.shape):
        rows, columns = slice(i * stride, i * stride + size), slice(j * stride, j * stride + size)
        if kind == "average":
            dx[n, c, rows, columns] += dout[n, c, i, j] / size**2
        else:
            window = x[n, c, rows, columns]
            a, e = np.argwhere(window == window.max())[0]
            dx[n, c, i * stride + a, j * stride + e] += dout[n, c, i, j]
    return dx


def pool_slack(dout, x, size, stride, kind="max", eps=2.0**-52):
    overlap = (size // stride + 1) ** 2 + 2
    return sum_rounding(overlap, pool_gradient(np.abs(dout), x, size, stride, kind), eps)


def pool_problem(rng, shape, size, stride, whole=0):
    x = rng.standard_normal(shape) if not whole else rng.integers(-whole, 1, shape).astype(float)
    return rng.standard_normal((*shape[:2], *(windows_along(n, size, stride) for n in shape[2:]))), x, size, stride


@pytest.mark.exercise("pool2d_backward", weight=2, core=True, depends=("im2col", "conv2d"))
@pytest.mark.parametrize("kind", ["max", "average"])
def test_pool_gradient_agrees_with_autograd(submission, rng, kind):
    """Where no two entries are equal, the gradient is that of torch's autograd, for any window, stride and picture."""
    peer = {"max": torch.nn.functional.max_pool2d, "average": torch.nn.functional.avg_pool2d}[kind]
    for geometry in pool_geometries(rng, 20):
        problem = pool_problem(rng, *geometry)
        leaf = torch.tensor(problem[1], requires_grad=True)
        (peer(leaf, *problem[2:]) * torch.from_numpy(problem[0])).sum().backward()
        got = submission.pool2d_backward(*problem, kind)
        assert close(got, leaf.grad.numpy(), atol=pool_slack(*problem, kind))


@pytest.mark.exercise("pool2d_backward", weight=3, hint=2, depends=("im2col", "conv2d"))
def test_ties_go_to_the_first(submission, rng):
    """Among equal largest entries (-0.0 equals 0.0), the first in reading order gets the window's whole gradient."""
    for geometry in pool_geometries(rng, 20):
        problem = pool_problem(rng, *geometry, whole=int(rng.integers(1, 3)))
        assert close(submission.pool2d_backward(*problem), pool_gradient(*problem), atol=pool_slack(*problem))
    flat = rng.standard_normal((1, 2, 3, 3)), np.zeros((1, 2, 4, 4)), 2, 1
    assert close(submission.pool2d_backward(*flat), pool_gradient(*flat), atol=pool_slack(*flat))
    one = np.zeros((1, 1, 330, 330))  # a window of many pixels
    one[0, 0, -1, 5] = 1.0
    assert close(submission.pool2d_backward(np.ones((1, 1, 1, 1)), one, 330, 1), one)
    signed = flat[0], np.where(rng.random((1, 2, 4, 4)) < 0.5, -0.0, 0.0), 2, 1
    assert close(submission.pool2d_backward(*signed), pool_gradient(*signed), atol=pool_slack(*signed))


@pytest.mark.exercise("pool2d_backward", weight=1.5, hint=1, depends=("im2col", "conv2d"))
def test_the_gradient_is_conserved(submission, rng):
    """What the pixels get adds up to what the windows give, and a pixel in no window, or no largest one, gets 0."""
    for kind in ("max", "average"):
        for shape, size, stride in [((2, 3, 9, 9), 3, 1), ((2, 1, 9, 8), 2, 4), ((1, 2, 10, 10), 4, 3)]:
            problem = pool_problem(rng, shape, size, stride, whole=2)
            got = np.asarray(submission.pool2d_backward(*problem, kind))
            assert got.shape == shape
            total = np.abs(problem[0]).sum(axis=(2, 3))
            assert close(got.sum(axis=(2, 3)), problem[0].sum(axis=(2, 3)), atol=1e-13 * total)
            nothing = pool_gradient(np.abs(problem[0]), *problem[1:], kind) == 0
            assert not got[nothing].any()


@pytest.mark.exercise("pool2d_backward", weight=1.5, depends=("im2col", "conv2d"))
@pytest.mark.parametrize("kind", ["max", "average"])
def test_pool_gradient_of_every_kind_of_data(submission, rng, kind):
    """float32 and float64 in any layout and of any size are right; float32 comes back only where both are float32."""
    for size, stride in [(2, 2), (3, 1), (2, 4)]:
        dout = floats(2, 3, windows_along(6, size, stride), windows_along(7, size, stride), scales=SCALES)
        default = {"default": "max"} if kind == "max" else {}
        x = floats(2, 3, 6, 7, scales=SCALES)
        contract = Contract("pool2d_backward", dout=dout, x=x, size=size, stride=stride, kind=one_of(kind, **default))
        for case in cases(contract, rng):
            expected = pool_gradient(*case.exact).astype(case.dtype)
            atol = pool_slack(*case.exact, eps=case.eps)
            assert close(submission.pool2d_backward(*case), expected, atol=atol, typed=True)
    for shape, size, stride in [
        ((1001, 1, 2, 2), 2, 1),
        ((1, 1101, 2, 2), 2, 1),
        ((1, 1, 2, 1200), 2, 1),
        ((1, 1, 1200, 2), 2, 1),
        ((1, 1, 2300, 4), 2, 1108),
        ((1, 1, 211, 210), 210, 1),
    ]:
        problem = pool_problem(rng, shape, size, stride)
        slack = 3 * pool_slack(*problem, kind)
        assert close(submission.pool2d_backward(*problem, kind), pool_gradient(*problem, kind), atol=slack)


@pytest.mark.exercise("pool2d_backward", weight=0.5, depends=("im2col", "conv2d"))
def test_pool_backward_refuses_another_kind(submission, rng):
    """Another kind raises ValueError."""
    contract = Contract("pool2d_backward", dout=floats(2, 2, 2, 3), x=floats(2, 2, 4, 6), size=2, stride=2, kind="max")
    contract.refuses(submission, rng, ValueError, kind=UNKNOWN)


@pytest.mark.exercise("pool2d_backward", weight=0.5, forgeable=True, depends=("im2col", "conv2d"))
def test_pool_backward_leaves_no_trace(submission, rng):
    """No argument changes, and the gradient shares memory with nothing."""
    for size, rest in [(2, (3, 5)), (1, (4, 6))]:
        contract = Contract(
            "pool2d_backward", dout=floats(2, 2, *rest), x=floats(2, 2, 4, 6), size=size, stride=1, kind="max"
        )
        assert contract.leaves_no_trace(submission, rng, then=[{}, {"kind": "average"}], kind=["mean"])


# -------------------------------------------------------------------------------------------- depthwise_separable


def separable(x, depth, point, stride=1, padding=0):
    """By torch's grouped layer, then a matrix product."""
    x, depth, point = tensors(x, depth, point)
    mixed = torch.nn.functional.conv2d(x, depth[:, None], stride=stride, padding=padding, groups=len(depth))
    return torch.einsum("fc,nchw->nfhw", point, mixed).numpy()


def separable_slack(x, depth, point, *rest, eps=2.0**-52):
    n = depth.size + len(depth)
    return sum_rounding(n, separable(np.abs(x), np.abs(depth), np.abs(point), *rest), eps)


SEPARABLE = Contract(
    "depthwise_separable",
    x=floats(2, 3, 5, 6, scales=SCALES),
    depth=floats(3, 3, 2, scales=SCALES),
    point=floats(4, 3, scales=SCALES),
    stride=one_of(1, 2, 5, default=1),
    padding=one_of(0, 1, 4, default=0),
)


def separable_problem(rng, B, C, F, H, W, kh, kw, *rest):
    x, w, _ = layer(rng, B, C, F, H, W, kh, kw)
    return x, w[0], rng.standard_normal((F, C)), *rest


@pytest.mark.exercise("depthwise_separable", weight=3, core=True, hint=1, depends=("im2col", "conv2d"))
def test_separable_is_a_full_layer(submission, rng):
    """The output is that of the full layer with the kernels point[f, c] depth[c], for any stride and padding."""
    for geometry in geometries(rng, 30):
        x, depth, point, stride, padding = args = separable_problem(rng, *geometry)
        full = point[:, :, None, None] * depth
        expected = conv(x, full, np.zeros(len(full)), stride, padding)
        assert close(submission.depthwise_separable(*args), expected, atol=separable_slack(*args))


@pytest.mark.exercise("depthwise_separable", weight=2.5, hint=1, memory_mb=80, depends=("im2col", "conv2d"))
def test_no_full_kernel_is_formed(submission, rng):
    """With 1,200 channels and 1,200 filters, memory is enough for both factors, and not for the full kernels."""
    args = separable_problem(rng, 1, 1200, 1200, 3, 3, 3, 3)  # full: 104 MB; point: 11.5 MB
    assert close(submission.depthwise_separable(*args), separable(*args), atol=separable_slack(*args))


@pytest.mark.exercise("depthwise_separable", weight=2.5, hint=1, memory_mb=96, depends=("im2col", "conv2d"))
def test_no_windows_are_copied(submission, rng):
    """A picture with large kernels works in a few times its own memory: the windows are not copied."""
    # Windows: 2 * 225 * 266^2 * 8 bytes = 255 MB; the padded picture 1.3 MB. A product's library takes 33 MB.
    args = separable_problem(rng, 1, 2, 3, 280, 280, 15, 15, 1, 0)
    got = submission.depthwise_separable(*args)
    assert close(got, separable(*args), atol=separable_slack(*args))


@pytest.mark.exercise("depthwise_separable", weight=1.5, depends=("im2col", "conv2d"))
def test_separable_of_every_kind_of_data(submission, rng):
    """float32 and float64 in any layout and of any size are right; float32 comes back only where all are float32."""
    for case in cases(SEPARABLE, rng):
        expected = separable(*case.exact).astype(case.dtype)
        atol = separable_slack(*case.exact, eps=case.eps)
        assert close(submission.depthwise_separable(*case), expected, atol=atol, typed=True)
    for geometry in EXTREME:
        args = separable_problem(rng, *geometry)
        assert close(submission.depthwise_separable(*args), separable(*args), atol=separable_slack(*args))


def cost(C, F, kh, kw, oh, ow, separable):
    weights = C * kh * kw + F * C if separable else F * C * kh * kw
    return weights, weights * oh * ow


@pytest.mark.exercise("depthwise_separable", weight=1.5, core=True, hint=3)
def test_layer_cost_counts(submission, rng):
    """The weights and the multiplications of both kinds of layer are counted exactly."""
    for sizes in [*rng.integers(1, 300, (20, 6)).tolist(), [1] * 6]:
        for separable in (False, True):
            assert close(submission.layer_cost(*sizes, separable), cost(*sizes, separable))


@pytest.mark.exercise("depthwise_separable", weight=0.5)
def test_layer_cost_in_python_integers(submission):
    """layer_cost returns Python integers, which stay exact however large they are."""
    for sizes in ([2, 3, 4, 5, 6, 7], [10**5, 10**6, 1101, 1103, 10**5, 10**4]):
        for separable in (False, True):
            assert close(submission.layer_cost(*sizes, separable), cost(*sizes, separable), typed=True)


@pytest.mark.exercise("depthwise_separable", weight=0.5, depends=("im2col", "conv2d"))
def test_separable_refuses_a_kernel_that_does_not_fit(submission, rng):
    """A kernel larger than the padded picture raises ValueError; one of exactly its size does not."""
    SEPARABLE.refuses(submission, rng, ValueError, depth=[lambda d: np.ones((3, 6, 2)), lambda d: np.ones((3, 1, 7))])
    args = separable_problem(rng, 1, 2, 3, 2, 4, 4, 6, 3, 1)
    assert close(submission.depthwise_separable(*args), separable(*args), atol=separable_slack(*args))


@pytest.mark.exercise("depthwise_separable", weight=0.5, forgeable=True, depends=("im2col", "conv2d"))
def test_separable_leaves_no_trace(submission, rng):
    """No argument changes, and the result shares memory with nothing."""
    too_large = [lambda d: np.ones((3, 9, 9))]
    assert SEPARABLE.leaves_no_trace(submission, rng, then=[{}, {"padding": 2}], depth=too_large)


# ------------------------------------------------------------------------------------------------- conv2d_blocked

BLOCKED = layers("conv2d_blocked")


@pytest.mark.exercise("conv2d_blocked", weight=2, core=True, hint=2, depends=("im2col", "conv2d"))
def test_blocks_give_the_same_layer(submission, rng):
    """The output is that of conv2d, for any stride, padding, kernel, picture, batch and number of channels."""
    for geometry in geometries(rng, 30):
        assert agrees(submission, "conv2d_blocked", rng, geometry)


@student_side
def some_outputs(seed, shapes, rest, places):
    """The shape and the dtype of a large layer's output, and some entries (runs over there)."""
    rng = np.random.default_rng(seed)
    out = student.conv2d_blocked(*[rng.standard_normal(shape) for shape in shapes], *rest)  # noqa: F821
    return list(out.shape), str(out.dtype), [float(out[tuple(place)]) for place in places]


def large_layer(submission, rng, sizes, stride=1, padding=0):
    """Whether a layer drawn over there has the right shape, and the right numbers at its corners and 300 places."""
    B, C, F, H, W, kh, kw = sizes
    shapes, seed = [(B, C, H, W), (F, C, kh, kw), (F,)], int(rng.integers(2**30))
    draw = np.random.default_rng(seed)
    x, w, b = (draw.standard_normal(shape) for shape in shapes)
    x = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2)) if padding else x
    shape = [B, F, (x.shape[2] - kh) // stride + 1, (x.shape[3] - kw) // stride + 1]
    places = [[0] * 4, [n - 1 for n in shape], *rng.integers(0, shape, (300, 4)).tolist()]
    size, dtype, got = submission.run(some_outputs, seed, shapes, (stride, padding), places)
    assert close(size, shape) and dtype == "float64"
    expected, slack = [], []
    for n, f, i, j in places:
        products = x[n, :, i * stride : i * stride + kh, j * stride : j * stride + kw] * w[f]
        expected.append(products.sum() + b[f])
        slack.append(sum_rounding(products.size + 1, np.abs(products).sum() + abs(b[f])))
    return close(np.array(got), np.array(expected), atol=np.array(slack))


@pytest.mark.exercise("conv2d_blocked", weight=2, core=True, hint=1, memory_mb=100, depends=("im2col", "conv2d"))
def test_a_picture_whose_windows_do_not_fit(submission, rng):
    """A picture whose windows take 465 MB works in 32 MB besides the padded picture and the result."""
    assert large_layer(submission, rng, (1, 3, 4, 400, 400, 11, 11), 1, 1)


@pytest.mark.exercise("conv2d_blocked", weight=1.5, hint=1, memory_mb=124, depends=("im2col", "conv2d"))
@pytest.mark.parametrize(
    "sizes", [(1, 1, 1, 6, 150_000, 5, 31), (600, 2, 2, 32, 32, 5, 5), (1, 100, 6, 62, 62, 10, 10)]
)
def test_other_shapes_whose_windows_do_not_fit(submission, rng, sizes):
    """A very wide picture, many small ones and many channels work in 32 MB besides the picture and the result."""
    # All windows take 372, 188 and 225 MB. The limit: twice x (10 MB), the result (8 MB), 32 MB, and the product's
    # library, 33 MB, which leaves 31 MB.
    assert large_layer(submission, rng, sizes)


@pytest.mark.exercise("conv2d_blocked", weight=1, hint=1, memory_mb=172, depends=("im2col", "conv2d"))
def test_many_filters(submission, rng):
    """With many filters the product is made in blocks, too: there is no second array of the size of the result."""
    assert large_layer(submission, rng, (1, 1, 1300, 100, 100, 1, 1))  # the result: 104 MB


@pytest.mark.exercise("conv2d_blocked", weight=2, core=True, hint=2, seconds=3, depends=("im2col", "conv2d"))
def test_a_million_outputs(submission, rng):
    """A million outputs take less than a few seconds: no Python loop goes over single output positions."""
    # The reference takes a quarter of a second, a loop over the outputs a hundred times as long.
    assert large_layer(submission, rng, (1, 1, 1, 1000, 1000, 3, 3))


@student_side
def padded_layer(seed, shape, turned, kind, w, b, stride):
    """A layer with padding 1 of a large picture that is drawn over there, in Fortran order where it is turned."""
    x = np.random.default_rng(seed).random(shape, dtype=kind)
    x = x.transpose(0, 1, 3, 2) if turned else x
    return student.conv2d_blocked(x, w, b, stride, 1)  # noqa: F821


@pytest.mark.exercise("conv2d_blocked", weight=1, memory_mb=293, depends=("im2col", "conv2d"))
@pytest.mark.parametrize(("kind", "side", "turned"), [("float64", 3900, True), ("float32", 4480, False)])
def test_the_picture_is_copied_once(submission, rng, kind, side, turned):
    """Padding is the only copy of a large picture, in any memory layout, and in float64 at most: there is no second."""
    # In MiB: x (113; 75 in float32), one float64 copy of the padded picture (113; 150), 32, and the product's library,
    # 32, make 290 and 289. A second copy takes 113; one in float32 75, which makes 305 with next to nothing else.
    w, b, seed = rng.standard_normal((2, 1, 3, 2)), rng.standard_normal(2), int(rng.integers(2**30))
    shape, stride = (1, 1, side, side - 100), 41
    got = submission.run(padded_layer, seed, shape, turned, kind, w, b, stride)
    x = np.random.default_rng(seed).random(shape, dtype=kind)
    x = np.pad(x.transpose(0, 1, 3, 2) if turned else x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    seen = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))[0, 0, ::stride, ::stride]
    products = seen * w[:, 0, None, None]
    slack = sum_rounding(7, np.abs(products).sum(axis=(3, 4)) + np.abs(b)[:, None, None])
    assert close(got, (products.sum(axis=(3, 4)) + b[:, None, None])[None], atol=slack[None], typed=True)


@pytest.mark.exercise("conv2d_blocked", depends=("im2col", "conv2d"))
def test_blocks_of_every_kind_of_data(submission, rng):
    """float32 and float64 in any layout and of any size are right; float32 comes back only where all are float32."""
    for case in cases(BLOCKED, rng):
        expected = conv(*case.exact).astype(case.dtype)
        got = submission.conv2d_blocked(*case)
        assert close(got, expected, atol=conv_slack(*case.exact, eps=case.eps), typed=True)
    for geometry in EXTREME:
        assert agrees(submission, "conv2d_blocked", rng, geometry)


@pytest.mark.exercise("conv2d_blocked", weight=0.5, depends=("im2col", "conv2d"))
def test_blocks_refuse_a_kernel_that_does_not_fit(submission, rng):
    """A kernel larger than the padded picture raises ValueError; one of exactly its size does not."""
    BLOCKED.refuses(submission, rng, ValueError, w=TOO_LARGE)
    assert agrees(submission, "conv2d_blocked", rng, (1, 2, 3, 2, 4, 4, 6, 3, 1))


@pytest.mark.exercise("conv2d_blocked", weight=0.5, forgeable=True, depends=("im2col", "conv2d"))
def test_blocks_leave_no_trace(submission, rng):
    """No argument changes, and the result shares memory with nothing."""
    alike = {"w": rng.standard_normal((3, 3, 3, 3)), "b": np.ones(3), "padding": 1}  # the result has the shape of x
    assert BLOCKED.leaves_no_trace(submission, rng, then=[{}, {"padding": 2}, alike], w=TOO_LARGE)
