"""Wrong and right answers that prove the hidden tests of module 09, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import itertools

import numpy as np

from autograder.answers import right, wrong

# --------------------------------------------------------------------------------------------------------- conv2d

wrong(
    "conv2d",
    "turns the kernel where it should not, and leaves it where it should",
    fails=["test_each_window_meets_the_kernel"],
    edit={"if flip:": "if not flip:"},
)
wrong(
    "conv2d",
    "turns the kernel along one axis only",
    fails=["test_flip_is_true_convolution"],
    edit={"w[:, :, ::-1, ::-1]": "w[:, :, ::-1, :]"},
)
wrong(
    "conv2d",
    "turns the kernel along the axis of the channels, too",
    fails=["test_flip_is_true_convolution"],
    edit={"w[:, :, ::-1, ::-1]": "w[:, ::-1, ::-1, ::-1]"},
)
wrong(
    "conv2d",
    "ignores the stride in the picture",
    fails=["test_any_stride_and_padding"],
    edit={"i * stride : i * stride + kh, j * stride : j * stride + kw": "i : i + kh, j : j + kw"},
)
wrong(
    "conv2d",
    "counts the padding once in the output size",
    fails=["test_output_size_counts_windows"],
    edit={"(n + 2 * padding - span) // stride + 1": "(n + padding - span) // stride + 1"},
)
wrong(
    "conv2d",
    "rounds the number of windows up, so that the last one runs over the border",
    fails=["test_output_size_counts_windows"],
    edit={"(n + 2 * padding - span) // stride + 1": "-(-(n + 2 * padding - span) // stride) + 1"},
)
wrong(
    "conv2d",
    "leaves out the bias",
    fails=["test_each_window_meets_the_kernel"],
    edit={"axes=([1, 2, 3], [1, 2, 3])) + b": "axes=([1, 2, 3], [1, 2, 3]))"},
)
wrong(
    "conv2d",
    "returns float64 whatever came",
    fails=["test_conv2d_of_every_kind_of_data"],
    edit={"np.empty((len(x), len(w), oh, ow), np.result_type(x, w, b))": "np.empty((len(x), len(w), oh, ow))"},
)
wrong(
    "conv2d",
    "does not multiply the gap of the dilation by the number of steps",
    fails=["test_output_size_counts_windows"],
    edit={"dilation * (k - 1) + 1": "k + dilation - 1"},
)


wrong(
    "conv2d",
    "forgets the bias in the dtype of the result",
    fails=["test_conv2d_of_every_kind_of_data"],
    edit={"np.result_type(x, w, b)": "np.result_type(x, w)"},
)


@right("conv2d", "seven loops over single numbers")
def conv_by_seven_loops(x, w, b, stride=1, padding=0, flip=False):
    B, C, H, W = x.shape
    F, _, kh, kw = w.shape
    oh, ow = (H + 2 * padding - kh) // stride + 1, (W + 2 * padding - kw) // stride + 1
    if H + 2 * padding < kh or W + 2 * padding < kw:
        raise ValueError("kernel")
    single = {x.dtype, w.dtype, b.dtype} == {np.dtype(np.float32)}
    out = np.zeros((B, F, oh, ow), np.float32 if single else np.float64)
    X, K = x.astype(float).tolist(), (w[:, :, ::-1, ::-1] if flip else w).astype(float).tolist()
    for n, f, i, j in np.ndindex(out.shape):
        total = float(b[f])
        for a, e in itertools.product(range(kh), range(kw)):
            u, v = i * stride + a - padding, j * stride + e - padding
            if 0 <= u < H and 0 <= v < W:
                for c in range(C):
                    total += X[n][c][u][v] * K[f][c][a][e]
        out[n, f, i, j] = total
    return out


@right("conv2d", "a view of all windows and einsum")
def conv_by_einsum(x, w, b, stride=1, padding=0, flip=False):
    big = np.zeros((*x.shape[:2], x.shape[2] + 2 * padding, x.shape[3] + 2 * padding), x.dtype)
    big[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]] = x
    if big.shape[2] < w.shape[2] or big.shape[3] < w.shape[3]:
        raise ValueError("the kernel is larger than the padded picture")
    every = big.shape[2] - w.shape[2] + 1, big.shape[3] - w.shape[3] + 1
    shape = (*big.shape[:2], *every, *w.shape[2:])
    windows = np.lib.stride_tricks.as_strided(big, shape, (*big.strides, *big.strides[2:]))[:, :, ::stride, ::stride]
    kernel = np.flip(w, axis=(2, 3)) if flip else w
    return np.einsum("ncijae,fcae->nfij", windows, kernel, optimize=True) + np.reshape(b, (1, -1, 1, 1))


@right("conv2d", "one slice for each kernel entry")
def conv_by_entries(x, w, b, stride=1, padding=0, flip=False):
    oh = output_size(x.shape[2], w.shape[2], stride, padding)
    ow = output_size(x.shape[3], w.shape[3], stride, padding)
    x = np.pad(x, [(0, 0)] * 2 + [(padding, padding)] * 2)
    out = 0
    for a in range(w.shape[2]):
        for e in range(w.shape[3]):
            entry = w[:, :, -1 - a, -1 - e] if flip else w[:, :, a, e]
            out = out + np.einsum("fc,ncij->nfij", entry, x[:, :, a::stride, e::stride][:, :, :oh, :ow])
    return out + b[None, :, None, None]


# --------------------------------------------------------------------------------------------------------- conv1d

wrong(
    "conv1d",
    "puts the zeros behind the last sample",
    fails=["test_causal_sequences_agree_with_torch"],
    edit={"(dilation * (k - 1), 0)": "(0, dilation * (k - 1))"},
)
wrong(
    "conv1d",
    "puts k - 1 zeros before the first sample, whatever the dilation",
    fails=["test_causal_sequences_agree_with_torch"],
    edit={"(dilation * (k - 1), 0)": "(k - 1, 0)"},
)
wrong(
    "conv1d",
    "dilates the output and not the kernel",
    fails=["test_sequences_agree_with_torch"],
    edit={"first = a * dilation": "first = a", "length - 1) * stride + 1": "length - 1) * stride + 1"},
)
wrong(
    "conv1d",
    "turns the kernel by 180 degrees",
    fails=["test_sequences_agree_with_torch"],
    edit={"w[:, :, a] @": "w[:, :, k - 1 - a] @"},
)
wrong(
    "conv1d",
    "adds the bias once for each kernel entry",
    fails=["test_sequences_agree_with_torch"],
    edit={"out = b[:, None]": "out = b[:, None] * k"},
)


@right("conv1d", "time step by time step")
def sequence_by_steps(x, w, b, stride=1, dilation=1, causal=False):
    (B, _, T), (F, _, k) = x.shape, w.shape
    behind = dilation * (k - 1)
    starts = range(-behind if causal else 0, T - behind, stride)
    if len(starts) == 0:
        raise ValueError("too short")
    out = np.zeros((B, F, len(starts)), np.result_type(x.dtype, w.dtype, b.dtype))
    for t, start in enumerate(starts):
        seen = [a for a in range(k) if start + a * dilation >= 0]
        times = [start + a * dilation for a in seen]
        out[:, :, t] = np.einsum("nca,fca->nf", x[:, :, times], w[:, :, seen]) + b
    return out


@right("conv1d", "a table of sample numbers")
def sequence_by_table(x, w, b, stride=1, dilation=1, causal=False):
    k = w.shape[-1]
    q = dilation * (k - 1) * causal
    x = np.concatenate([np.zeros((*x.shape[:2], q), x.dtype), x], axis=-1)
    if x.shape[-1] <= dilation * (k - 1):
        raise ValueError("the sequence is too short")
    at = np.arange(0, x.shape[-1] - dilation * (k - 1), stride)[:, None] + dilation * np.arange(k)
    return np.tensordot(x[:, :, at], w, axes=((1, 3), (1, 2))).swapaxes(1, 2) + b[:, None]


# --------------------------------------------------------------------------------------------------------- im2col

wrong(
    "im2col",
    "copies all windows",
    fails=["test_windows_of_a_picture_too_large_to_copy"],
    edit={"shape, strides)": "shape, strides).copy()"},
)
wrong(
    "im2col",
    "computes the strides from the shape, as if x were no view",
    fails=["test_windows_of_every_kind_of_picture"],
    edit={"= x.strides": "= np.cumprod([x.itemsize, W, H, C])[::-1].tolist()"},
)
wrong(
    "im2col",
    "copies a picture that is a view",
    fails=["test_windows_of_a_large_view"],
    edit={"B, C, H, W = x.shape": "x = np.ascontiguousarray(x)\n    B, C, H, W = x.shape"},
)
wrong(
    "im2col",
    "moves the window by one pixel whatever the stride",
    fails=["test_windows_hold_the_right_pixels"],
    edit={"stride * S2, stride * S3": "S2, S3"},
)
wrong(
    "im2col",
    "swaps the rows and the columns of a window",
    fails=["test_windows_hold_the_right_pixels"],
    edit={"stride * S3, S2, S3)": "stride * S3, S3, S2)"},
)


@right("im2col", "one axis at a time")
def windows_axis_by_axis(x, kh, kw, stride=1):
    def along(v, axis, k):
        n = (v.shape[axis] - k) // stride + 1
        if v.shape[axis] < k:
            raise ValueError("window")
        shape, steps = list(v.shape), list(v.strides)
        shape[axis], steps[axis] = n, stride * steps[axis]
        return np.lib.stride_tricks.as_strided(v, [*shape, k], [*steps, v.strides[axis]])

    return along(along(x, 2, kh), 3, kw)


@right("im2col", "as_strided with a full set of windows, then a slice with the stride")
def windows_by_slice(x, kh, kw, stride=1):
    if kh > x.shape[-2] or kw > x.shape[-1]:
        raise ValueError("the window is larger than the picture")
    shape = (*x.shape[:2], x.shape[2] - kh + 1, x.shape[3] - kw + 1, kh, kw)
    every = np.lib.stride_tricks.as_strided(x, shape=shape, strides=x.strides + x.strides[2:], writeable=False)
    return every[:, :, ::stride, ::stride]


# ------------------------------------------------------------------------------------------------ conv2d_backward

wrong(
    "conv2d_backward",
    "averages over the batch",
    fails=["test_gradients_agree_with_autograd"],
    edit={"rows, columns =": "dout = dout / len(x)\n    rows, columns ="},
)
wrong(
    "conv2d_backward",
    "turns the kernel by 180 degrees in the gradient of x",
    fails=["test_gradients_agree_with_autograd"],
    edit={"np.tensordot(dout, w[:, :, a, e], axes=(1, 0))": "np.tensordot(dout, w[:, :, -1 - a, -1 - e], axes=(1, 0))"},
)
wrong(
    "conv2d_backward",
    "overwrites the gradient of x where windows overlap, kernel entry by kernel entry",
    fails=["test_gradients_agree_with_autograd"],
    edit={"dx[met] += ": "dx[met] = "},
)
wrong(
    "conv2d_backward",
    "cuts the padding off at the wrong end",
    fails=["test_gradients_for_any_stride_and_padding"],
    edit={"dx[:, :, padding : padding + H, padding : padding + W]": "dx[:, :, :H, :W]"},
)
wrong(
    "conv2d_backward",
    "ignores the stride",
    fails=["test_gradients_for_any_stride_and_padding"],
    edit={
        "stride * (dout.shape[2] - 1) + 1, stride * (dout.shape[3] - 1) + 1": "dout.shape[2], dout.shape[3]",
        "a : a + rows : stride, e : e + columns : stride": "a : a + rows, e : e + columns",
    },
)
wrong(
    "conv2d_backward",
    "averages the gradient of the bias over the positions",
    fails=["test_gradients_agree_with_autograd"],
    edit={"dout.sum(axis=(0, 2, 3), dtype=dtype)": "dout.mean(axis=(2, 3), dtype=dtype).sum(axis=0)"},
)


wrong(
    "conv2d_backward",
    "makes the gradient of x as large as the windows reach, as if strides always divided",
    fails=["test_gradients_for_any_stride_and_padding"],
    edit={"np.zeros(x.shape, dtype)": "np.zeros((*x.shape[:2], rows + kh - 1, columns + kw - 1), dtype)"},
)


@wrong(
    "conv2d_backward",
    "adds to the gradient of x with arrays of indices, where a pixel that stands twice in them counts once",
    fails=["test_gradients_agree_with_autograd"],
)
def gradients_with_lost_duplicates(dout, x, w, stride=1, padding=0):
    (kh, kw), (oh, ow), (H, W), p = w.shape[2:], dout.shape[2:], x.shape[2:], padding
    kind = np.result_type(dout, x, w)
    X = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    u = (stride * np.arange(oh)[:, None] + np.arange(kh))[:, None, :, None]
    v = (stride * np.arange(ow)[:, None] + np.arange(kw))[None, :, None, :]
    dw = np.einsum("nfij,ncijae->fcae", dout, X[:, :, u, v], optimize=True)
    dX = np.zeros(X.shape, kind)
    dX[:, :, u, v] += np.einsum("nfij,fcae->ncijae", dout, w, optimize=True).astype(kind)
    return dX[:, :, p : p + H, p : p + W].copy(), dw.astype(kind), dout.sum(axis=(0, 2, 3), dtype=kind)


@right("conv2d_backward", "output position by output position")
def gradients_by_positions(dout, x, w, stride=1, padding=0):
    kh, kw, p = *w.shape[2:], padding
    kind = np.result_type(dout, x, w)
    X = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p))).astype(float)
    dX, dw = np.zeros_like(X), np.zeros(w.shape)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            part = np.s_[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw]
            g = dout[:, :, i, j].astype(float)
            dw += np.einsum("nf,ncae->fcae", g, X[part])
            dX[part] += np.einsum("nf,fcae->ncae", g, w)
    dx = dX[:, :, p : p + x.shape[2], p : p + x.shape[3]]
    return dx.astype(kind), dw.astype(kind), dout.astype(float).sum((0, 2, 3)).astype(kind)


@right("conv2d_backward", "a full convolution of the gradient, with zeros between its entries")
def gradients_by_full_convolution(dout, x, w, stride=1, padding=0):
    (kh, kw), (H, W), p = w.shape[2:], x.shape[2:], padding
    X = np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)])
    windows = im2col(X, kh, kw, stride)
    dw = np.einsum("nfij,ncijae->fcae", dout, windows, optimize=True)
    spread = np.zeros((*dout.shape[:2], H + 2 * p + kh - 1, W + 2 * p + kw - 1), dout.dtype)
    for i, j in np.ndindex(dout.shape[2:]):
        spread[:, :, kh - 1 + i * stride, kw - 1 + j * stride] = dout[:, :, i, j]
    dX = np.einsum("nfuvae,fcae->ncuv", im2col(spread, kh, kw), w[:, :, ::-1, ::-1], optimize=False)
    kind = np.result_type(dout, x, w)
    found = dX[:, :, p : p + H, p : p + W], dw, np.einsum("nfij->f", dout)
    return tuple(np.array(one, kind) for one in found)


# ------------------------------------------------------------------------------------------------ pool2d_tutorial

wrong(
    "pool2d_tutorial",
    "ignores the stride, and lets windows run over the border",
    fails=["test_tutorial_windows_keep_inside_and_step"],
    edit={"range(0, H - size + 1, stride), range(0, W - size + 1, stride)": "range(H), range(W)"},
)
wrong(
    "pool2d_tutorial",
    "ignores the stride",
    fails=["test_tutorial_windows_keep_inside_and_step"],
    edit={"range(0, H - size + 1, stride), range(0, W - size + 1, stride)": "range(H - size + 1), range(W - size + 1)"},
)
wrong(
    "pool2d_tutorial",
    "leaves out the last window that fits",
    fails=["test_tutorial_windows_keep_inside_and_step"],
    edit={
        "range(0, H - size + 1, stride), range(0, W - size + 1, stride)": (
            "range(0, max(H - size, 1), stride), range(0, max(W - size, 1), stride)"
        )
    },
)


@right("pool2d_tutorial", "a table that is filled")
def tutorial_by_table(x, size, stride):
    out = np.full(((x.shape[0] - size) // stride + 1, (x.shape[1] - size) // stride + 1), -np.inf)
    for i, j in np.ndindex(out.shape):
        for a, e in itertools.product(range(size), repeat=2):
            out[i, j] = max(out[i, j], x[i * stride + a, j * stride + e])
    return out


@right("pool2d_tutorial", "the maximum over all windows, then a slice")
def tutorial_by_windows(x, size, stride):
    windows = im2col(x[None, None], size, size)
    return windows[0, 0].max(axis=(2, 3))[::stride, ::stride].copy()


# --------------------------------------------------------------------------------------------------------- pool2d

wrong(
    "pool2d",
    "starts the maximum at 0",
    fails=["test_maximum_of_each_window"],
    edit={"windows.max(axis=(4, 5))": "np.maximum(windows.max(axis=(4, 5)), 0)"},
)
wrong(
    "pool2d",
    "ignores the stride",
    fails=["test_maximum_of_each_window"],
    edit={"im2col(x, size, size, stride)": "im2col(x, size, size)"},
)
wrong(
    "pool2d",
    "takes the size as the stride",
    fails=["test_maximum_of_each_window"],
    edit={"im2col(x, size, size, stride)": "im2col(x, size, size, size)"},
)
wrong(
    "pool2d",
    "pools over the channels as well",
    fails=["test_maximum_of_each_window"],
    edit={"windows.max(axis=(4, 5))": "windows.max(axis=(1, 4, 5), keepdims=True)[..., 0, 0]"},
)
wrong(
    "pool2d",
    "adds up in place of the mean",
    fails=["test_mean_of_each_window"],
    edit={"windows.mean(axis=(4, 5))": "windows.sum(axis=(4, 5))"},
)
wrong(
    "pool2d",
    "takes every other kind for the mean",
    fails=["test_pooling_refuses"],
    edit={'kind not in ("max", "average")': "kind is None"},
)
wrong(
    "pool2d",
    "takes the mean where no kind is given",
    fails=["test_pooling_of_every_kind_of_picture"],
    edit={'kind: str = "max"': 'kind: str = "average"'},
)


@right("pool2d", "loops over output positions")
def pool_by_positions(x, size, stride, kind="max"):
    reduce = {"max": np.max, "average": np.mean}.get(kind)
    if reduce is None or size > min(x.shape[2:]):
        raise ValueError(kind)
    out = np.zeros((*x.shape[:2], *((n - size) // stride + 1 for n in x.shape[2:])), x.dtype)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = reduce(x[:, :, i * stride :, j * stride :][:, :, :size, :size], axis=(-2, -1))
    return out


@right("pool2d", "one slice for each place in the window")
def pool_by_places(x, size, stride, kind="max"):
    if kind != "max" and kind != "average":
        raise ValueError("kind")
    oh, ow = output_size(x.shape[2], size, stride), output_size(x.shape[3], size, stride)
    parts = (x[:, :, a::stride, e::stride][:, :, :oh, :ow] for a in range(size) for e in range(size))
    out = next(parts).copy()
    for part in parts:
        out = np.maximum(out, part) if kind == "max" else out + part
    return out if kind == "max" else out / size**2


# ------------------------------------------------------------------------------------------------ pool2d_backward

wrong(
    "pool2d_backward",
    "gives the whole gradient to each of equal entries",
    fails=["test_ties_go_to_the_first"],
    edit={"largest == a * size + e": "windows[..., a, e] == windows.max(axis=(4, 5))"},
)
wrong(
    "pool2d_backward",
    "gives the gradient to the last of equal entries",
    fails=["test_ties_go_to_the_first"],
    edit={
        "size * size).argmax(axis=4)": "size * size)[..., ::-1].argmax(axis=4)",
        "largest == a": "size**2 - 1 - largest == a",
    },
)
wrong(
    "pool2d_backward",
    "divides the gradient between equal entries",
    fails=["test_ties_go_to_the_first"],
    edit={
        "np.where(largest == a * size + e, dout, 0)": (
            "np.where(windows[..., a, e] == windows.max(axis=(4, 5)), dout, 0)"
            " / (windows == windows.max(axis=(4, 5), keepdims=True)).sum(axis=(4, 5))"
        )
    },
)
wrong(
    "pool2d_backward",
    "overwrites the gradient where windows overlap, place by place",
    fails=["test_pool_gradient_agrees_with_autograd"],
    edit={"+= share": "= share"},
)
wrong(
    "pool2d_backward",
    "gives each pixel of a mean the whole gradient",
    fails=["test_pool_gradient_agrees_with_autograd"],
    edit={"dout / size**2": "dout"},
)
wrong(
    "pool2d_backward",
    "searches for the largest down the columns first",
    fails=["test_ties_go_to_the_first"],
    edit={"windows.reshape(": "windows.swapaxes(4, 5).reshape(", "a * size + e": "e * size + a"},
)


wrong(
    "pool2d_backward",
    "adds with arrays of indices, where a pixel that is the largest of two windows counts once",
    fails=["test_pool_gradient_agrees_with_autograd"],
    edit={
        "    for a in range(size):\n": (
            '    if kind == "max":\n'
            "        n, c, i, j = np.indices(dout.shape)\n"
            "        dx[n, c, i * stride + largest // size, j * stride + largest % size] += dout\n"
            "        return dx\n"
            "    for a in range(size):\n"
        ),
    },
)


@right("pool2d_backward", "window by window")
def pool_gradient_by_windows(dout, x, size, stride, kind="max"):
    if kind not in {"max", "average"}:
        raise ValueError(kind)
    dx = np.zeros(x.shape, np.result_type(dout.dtype, x.dtype))
    for n, c, i, j in np.ndindex(dout.shape):
        u, v = i * stride, j * stride
        window = x[n, c, u : u + size, v : v + size]
        if kind == "average":
            dx[n, c, u : u + size, v : v + size] += dout[n, c, i, j] / window.size
        else:
            a, e = np.unravel_index(np.argmax(window), window.shape)
            dx[n, c, u + a, v + e] += dout[n, c, i, j]
    return dx


@right("pool2d_backward", "np.add.at on flat numbers of pixels")
def pool_gradient_by_add_at(dout, x, size, stride, kind="max"):
    if kind == "average":
        dx = np.zeros(x.shape, np.result_type(dout, x))
        for i, j in np.ndindex(dout.shape[2:]):
            dx[:, :, i * stride : i * stride + size, j * stride : j * stride + size] += (
                dout[:, :, i, j, None, None] / size / size
            )
        return dx
    if kind != "max":
        raise ValueError("kind")
    C, H, W = x.shape[1:]
    windows = im2col(x, size, size)[:, :, ::stride, ::stride]
    place = windows.reshape(*windows.shape[:4], -1).argmax(axis=-1)
    n, c, i, j = np.indices(place.shape)
    flat = ((n * C + c) * H + i * stride + place // size) * W + j * stride + place % size
    dx = np.zeros(x.size, np.result_type(dout, x))
    np.add.at(dx, flat, dout)
    return dx.reshape(x.shape)


# -------------------------------------------------------------------------------------------- depthwise_separable

wrong(
    "depthwise_separable",
    "turns the kernels by 180 degrees",
    fails=["test_separable_is_a_full_layer"],
    edit={"depth[:, a, e, None, None]": "depth[:, -1 - a, -1 - e, None, None]"},
)
wrong(
    "depthwise_separable",
    "counts the kernels once for each filter",
    fails=["test_layer_cost_counts"],
    edit={"C * kh * kw + F * C if separable": "F * kh * kw + F * C if separable"},
)
wrong(
    "depthwise_separable",
    "multiplies the weights by the positions along one axis only",
    fails=["test_layer_cost_counts"],
    edit={"weights * oh * ow": "weights * oh"},
)


@wrong("depthwise_separable", "forms the full kernel", fails=["test_no_full_kernel_is_formed"])
def by_the_full_kernel(x, depth, point, stride=1, padding=0):
    w = point[:, :, None, None] * depth
    oh = output_size(x.shape[2], w.shape[2], stride, padding)
    ow = output_size(x.shape[3], w.shape[3], stride, padding)
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    out = np.zeros((len(x), len(w), oh, ow), np.result_type(x, w))
    for i in range(oh):
        for j in range(ow):
            window = x[:, :, i * stride : i * stride + w.shape[2], j * stride : j * stride + w.shape[3]]
            out[:, :, i, j] = np.tensordot(window, w, axes=([1, 2, 3], [1, 2, 3]))
    return out


@wrong("depthwise_separable", "copies all windows", fails=["test_no_windows_are_copied"])
def by_copied_windows(x, depth, point, stride=1, padding=0):
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = im2col(x, *depth.shape[1:], stride)
    B, C, oh, ow, kh, kw = windows.shape
    mixed = (windows.reshape(B, C, oh * ow, kh * kw) @ depth.reshape(C, kh * kw, 1))[..., 0]
    return (point @ mixed).reshape(B, len(point), oh, ow)


@right("depthwise_separable", "einsum over the view of the windows")
def separable_by_einsum(x, depth, point, stride=1, padding=0):
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    mixed = np.einsum("ncijae,cae->ncij", im2col(x, *depth.shape[1:], stride), depth)
    return np.einsum("fc,ncij->nfij", point, mixed, optimize=True)


@right("depthwise_separable", "channel by channel, position by position")
def separable_by_channels(x, depth, point, stride=1, padding=0):
    B, C, H, W = x.shape
    kh, kw = depth.shape[1:]
    oh, ow = output_size(H, kh, stride, padding), output_size(W, kw, stride, padding)
    out = np.zeros((B, len(point), oh, ow))
    for c in range(C):
        plane = np.zeros((B, H + 2 * padding, W + 2 * padding))
        plane[:, padding : padding + H, padding : padding + W] = x[:, c]
        for i in range(oh):
            for j in range(ow):
                patch = plane[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
                out[:, :, i, j] += np.outer((patch * depth[c]).sum(axis=(1, 2)), point[:, c])
    return out.astype(np.result_type(x, depth, point))


# ------------------------------------------------------------------------------------------------- conv2d_blocked

wrong(
    "conv2d_blocked",
    "makes the matrix of all windows of a picture",
    fails=["test_a_picture_whose_windows_do_not_fit"],
    edit={"2**20 // max(C * kh * kw, F)": "oh * ow"},
)
wrong(
    "conv2d_blocked",
    "cuts a picture into rows only, however wide they are",
    fails=["test_other_shapes_whose_windows_do_not_fit"],
    edit={"min(ow, some)": "ow", "rows = some // columns": "rows = max(1, some // columns)"},
)
wrong(
    "conv2d_blocked",
    "does not count the filters in the size of a block",
    fails=["test_many_filters"],
    edit={"max(C * kh * kw, F)": "(C * kh * kw)"},
)
wrong(
    "conv2d_blocked",
    "writes the windows as rows where the product wants columns",
    fails=["test_blocks_give_the_same_layer"],
    edit={"transpose(0, 3, 4, 1, 2)": "transpose(0, 1, 2, 3, 4)"},
)


wrong(
    "conv2d_blocked",
    "copies the padded picture once more, because it is not in the usual order",
    fails=["test_the_picture_is_copied_once"],
    edit={"    windows, kernels = im2col(": "    x = np.ascontiguousarray(x)\n    windows, kernels = im2col("},
)
wrong(
    "conv2d_blocked",
    "makes the padded picture in its own dtype and then again in that of the result",
    fails=["test_the_picture_is_copied_once"],
    edit={"    windows, kernels = im2col(": "    x = x.astype(dtype, copy=False)\n    windows, kernels = im2col("},
)


@wrong("conv2d_blocked", "loops over the output positions", fails=["test_a_million_outputs"])
def blocked_by_positions(x, w, b, stride=1, padding=0):
    kh, kw = w.shape[2:]
    oh = output_size(x.shape[2], kh, stride, padding)
    ow = output_size(x.shape[3], kw, stride, padding)
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    out = np.empty((len(x), len(w), oh, ow), np.result_type(x, w, b))
    for i in range(oh):
        for j in range(ow):
            window = x[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw]
            out[:, :, i, j] = np.tensordot(window, w, axes=([1, 2, 3], [1, 2, 3])) + b
    return out


@wrong(
    "conv2d_blocked", "makes the windows of all pictures at once", fails=["test_other_shapes_whose_windows_do_not_fit"]
)
def blocked_by_rows_of_all_pictures(x, w, b, stride=1, padding=0):
    (F, C, kh, kw), B = w.shape, len(x)
    oh = output_size(x.shape[2], kh, stride, padding)
    ow = output_size(x.shape[3], kw, stride, padding)
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding))) if padding else x
    windows = im2col(x, kh, kw, stride)
    out = np.empty((B, F, oh, ow), np.result_type(x, w, b))
    rows = max(1, 2**20 // (ow * max(C * kh * kw, F)))
    for i in range(0, oh, rows):
        matrix = windows[:, :, i : i + rows].transpose(0, 2, 3, 1, 4, 5).reshape(-1, C * kh * kw)
        made = (matrix @ w.reshape(F, -1).T).reshape(B, -1, ow, F)
        out[:, :, i : i + rows] = made.transpose(0, 3, 1, 2) + b[:, None, None]
    return out


@right("conv2d_blocked", "kernel entry by kernel entry, added up by rows of the output")
def blocked_by_entries(x, w, b, stride=1, padding=0):
    F, C, kh, kw = w.shape
    oh = output_size(x.shape[2], kh, stride, padding)
    ow = output_size(x.shape[3], kw, stride, padding)
    if padding:
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    out = np.empty((len(x), F, oh, ow), np.result_type(x, w, b))
    pictures = max(1, 2**18 // (ow * max(C, F)))
    step = 2**18 // max(C, F)
    for n in range(0, len(x), pictures):
        for i in range(oh):
            for j in range(0, ow, step):
                part = out[n : n + pictures, :, i, j : j + step]
                part[...] = b[:, None]
                for a in range(kh):
                    for e in range(kw):
                        left = j * stride + e
                        row = x[n : n + pictures, :, i * stride + a, left : left + part.shape[2] * stride : stride]
                        part += w[:, :, a, e] @ row[:, :, : part.shape[2]]
    return out


@right("conv2d_blocked", "blocks of numbered outputs, across pictures")
def blocked_by_numbers(x, w, b, stride=1, padding=0):
    F, C, kh, kw = w.shape
    windows = im2col(np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)]), kh, kw, stride)
    B, _, oh, ow = windows.shape[:4]
    out = np.empty((B, F, oh, ow), np.result_type(x, w, b))
    flat = w.reshape(F, -1).T
    some = max(1, 500_000 // max(C * kh * kw, F))
    for first in range(0, B * oh * ow, some):
        at = np.arange(first, min(first + some, B * oh * ow))
        n, i, j = at // (oh * ow), at // ow % oh, at % ow
        block = windows[n, :, i, j].reshape(len(at), -1)
        out[n, :, i, j] = block @ flat + b
    return out
