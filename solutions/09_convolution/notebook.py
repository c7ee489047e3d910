# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 09 · Convolution and pooling
#
# **What you will be able to do.** Write the layers of a convolutional network, forward and backward, for any stride and
# padding, and show that they equal torch's. You can say what a layer costs in weights, operations and bytes before you
# run it, which of three algorithms (loops, matrix product, Fourier transform) suits its sizes, and what a depthwise
# separable layer saves and gives up. You know how one line of NumPy makes a picture more than a hundred times as large
# in memory, and how to prevent it.
#
# **You need** NumPy's slices and broadcasting, matrix products, and the chain rule as in module 08: the gradient of a
# loss with respect to each input of a layer.
#
# **Skills it trains**: index arithmetic that is right at the borders, strided memory, adjoint linear maps, counting
# what a computation costs.
#
# **Time**: about three hours for eight exercises (one of them is a bug to find), 20 minutes for an extra, and one hour
# for reading and for the figures. The written answer is not counted. Take a break after 9.4. Each exercise says how
# important it is (essential, important, optional), its level, which is also its points, and its minutes.
#
# **Symbols**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $B$ | `B` | | pictures (or sequences) in the batch |
# | $C$, $F$ | `C`, `F` | | channels of the input; filters, which are the channels of the output |
# | $H$, $W$ | `H`, `W` | | height and width of a picture |
# | $x$ | `x` | $(B, C, H, W)$ | the input; a sequence is $(B, C, T)$ |
# | $w$, $b$ | `w`, `b` | $(F, C, k_h, k_w)$, $(F,)$ | the kernels and the biases |
# | $k_h$, $k_w$ | `kh`, `kw` | | height and width of a kernel; $k$ where both are equal, or where there is one axis |
# | $s$, $p$, $d$ | `stride`, `padding`, `dilation` | | step of the window; zeros at each border; distance between neighbouring kernel entries (1: they touch) |
# | $\tilde x$ | | $(B, C, H + 2p, W + 2p)$ | $x$ with $p$ rows and columns of zeros at each of the four borders |
# | $y$ | `out` | $(B, F, H', W')$ | the output of a layer, $H'$ by $W'$ numbers for each filter |
# | $g = \partial J / \partial y$ | `dout` | as $y$ | the gradient of the loss $J$ with respect to the output |
# | $n$; $f$, $c$ | `n`; `f`, `c` | | number of the picture; of the filter and of the channel |
# | $i, j$; $a, e$; $u, v$ | `i`, `j`; `a`, `e` | | place in the output; in the kernel; in the (padded) input |
#
# In other modules $C$ is the number of classes, $d$ the number of columns and $H$ the Hessian. Here they are channels,
# dilation and height, as in all texts on the subject.

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, plotting, scaling
    from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_shape, expect_unchanged
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import time
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np
import torch
from threadpoolctl import threadpool_limits

plotting.use()
threadpool_limits(1)  # one core for everybody: the comparisons below are of algorithms
torch.set_num_threads(1)
checking.start("09_convolution", total=9)

# %% [markdown]
# ## Derive
#
# ### Two assumptions instead of $10^{11}$ weights
#
# A picture of 224 by 224 pixels with 3 colours holds 150,528 numbers. A dense layer that makes 64 maps of the same size
# from it has $150{,}528 \cdot 64 \cdot 224^2$ weights, about $4.8 \cdot 10^{11}$. Nobody has the memory, or enough
# pictures, to learn them. What do we know about pictures that saves weights?
#
# Take one channel and one row of pixels, $x_0, x_1, \dots$ Every linear layer is $y_i = \sum_u A_{iu}\, x_u$ with a
# matrix $A$. We assume two things:
#
# - **The same pattern can stand anywhere.** If the input moves by $t$ pixels, the output must move by $t$ pixels and
#   otherwise stay the same. Then $A_{i+t,\,u+t} = A_{iu}$ for every $t$, so $A_{iu}$ depends on the difference $u - i$
#   alone. Write $A_{iu} = w_{u-i}$. (This holds on an endless row of pixels; the border comes below.)
# - **Patterns are local.** $y_i$ depends only on pixels near $i$: $w_a = 0$ unless $0 \le a < k$.
#
# Together they leave
#
# $$y_i = \sum_{a=0}^{k-1} w_a\, x_{i+a} .$$
#
# So a linear layer with these two properties *must* be a sliding weighted sum with one **kernel** $w$. It is not one
# choice among many. With 3 by 3 kernels, the layer above has $64 \cdot 3 \cdot 3 \cdot 3 = 1728$ weights.
#
# ### All of it: batch, channels, stride, padding
#
# A picture has two axes and $C$ channels; a pattern may involve all channels, so a kernel covers all of them. $F$
# kernels give $F$ output maps. The window moves by $s$ pixels, the **stride**. The **padding** puts $p$ rows and
# columns of zeros around the picture, which gives $\tilde x$, so that the window can also stand at the border. (With
# $s = 1$, an odd $k$ and $p = (k - 1)/2$ the output is as large as the picture: libraries call this "same" padding. With a
# stride, the output moves with the input only if the input moves by a multiple of $s$.) For picture $n$, filter $f$ and
# output position $(i, j)$:
#
# $$y_{n f i j} = b_f + \sum_{c=0}^{C-1} \sum_{a=0}^{k_h-1} \sum_{e=0}^{k_w-1}
#   w_{f c a e}\; \tilde x_{n,\, c,\, i s + a,\, j s + e} .$$
#
# How many rows $H'$ does the output have? The padded picture has rows $0$ to $H + 2p - 1$. The window of output row $i$
# ends in row $i s + k_h - 1$, and it must not run past the border: $i s + k_h - 1 \le H + 2p - 1$. The largest such $i$
# is $\lfloor (H + 2p - k_h)/s \rfloor$, and counting starts at 0:
#
# $$H' = \left\lfloor \frac{H + 2p - k_h}{s} \right\rfloor + 1 .$$
#
# If $s$ does not divide $H + 2p - k_h$, the last rows of $\tilde x$ are in no window; if $s > k_h$, rows between two
# windows are in none either. They have no influence on the output. The same holds for columns.
# With **dilation** $d$, neighbouring kernel entries lie $d$ pixels apart. The kernel then spans $d(k-1) + 1$ pixels,
# and this span takes the place of $k_h$ in the formula. Each output takes $C k_h k_w$ multiplications, so the layer
# takes $B F H' W' C k_h k_w$.
#
# The next figure shows the formula for $H = 5$, $W = 6$, $k_h = k_w = 3$, $s = 2$, $p = 1$.

# %% tags=["demo"]
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), width_ratios=[8, 4])
for (i, j), colour in {(0, 0): plotting.COLOURS[0], (0, 1): plotting.COLOURS[1], (2, 2): plotting.COLOURS[2]}.items():
    left.add_patch(plt.Rectangle((2 * j + 0.06, 2 * i + 0.06), 2.88, 2.88, fc=colour, alpha=0.3))
    left.add_patch(plt.Rectangle((2 * j + 0.06, 2 * i + 0.06), 2.88, 2.88, fill=False, ec=colour, lw=2.5))
    right.add_patch(plt.Rectangle((j, i), 1, 1, fc=colour, alpha=0.3))
for i, j in np.ndindex(3, 3):
    right.text(j + 0.5, i + 0.5, f"y[{i}, {j}]", ha="center", va="center", fontsize=9)
for row in range(7):
    for column in range(8):
        inside = 1 <= row <= 5 and 1 <= column <= 6
        label = f"{row - 1},{column - 1}" if inside else "0"
        left.text(
            column + 0.5,
            row + 0.5,
            label,
            ha="center",
            va="center",
            fontsize=8,
            color="k" if inside else plotting.MUTED,
        )
left.add_patch(plt.Rectangle((1, 1), 6, 5, fill=False, ec="k", lw=2))
for ax, width, height, title in [
    (left, 8, 7, "Padded input: the last column is in no window"),
    (right, 3, 3, "Output, 3 by 3"),
]:
    ax.set(xlim=(-0.1, width + 0.1), ylim=(height + 0.1, -0.1), aspect="equal", title=title)
    ax.set_xticks(range(width + 1), [])
    ax.set_yticks(range(height + 1), [])
plt.show()

# %% [markdown]
# ### Where tutorials disagree
#
# | question | versions | here |
# | --- | --- | --- |
# | What is "convolution"? | $\sum_a w_a x_{i+a}$ is **cross-correlation**; mathematics calls $\sum_a w_a x_{i-a}$ convolution, which turns the kernel by 180 degrees | cross-correlation, as in all deep-learning libraries; `flip=True` gives the other |
# | Does the difference matter? | A learnt kernel comes out turned by 180 degrees, and the network is the same. A given kernel is applied backwards. Only true convolution is commutative and associative | 9.1, where the last two lines of output show $u$ with $v$ and $v$ with $u$ |
# | Windows past the border | cut off at the border, filled with zeros, or left out | left out; zeros only by `padding` |
# | Order of the axes | $(B, C, H, W)$ in torch, $(B, H, W, C)$ in TensorFlow and Flax | $(B, C, H, W)$ |
# | Ties in max pooling | gradient to the first, to all, or divided | to the first, as in torch (exercise 9.7 says what is wrong with "to all") |

# %% [markdown]
# ## Implement
#
# ### 9.1 `conv2d` · essential · level 2 of 4 · 30 min
#
# In the whole module your answers do without torch, scipy and NumPy's `sliding_window_view`: you write what they do.
#
# Turn the formula into code. A loop over the output positions is fine here; 9.9 makes it fast. You may add up the
# products in any order: the tests allow for rounding.
#
# True convolution turns the kernel by 180 degrees, along both axes: $w'_{f c a e} = w_{f,\, c,\, k_h-1-a,\, k_w-1-e}$.
# For two signals, $u * v = v * u$ holds only if the kernel is turned.


# %% exercise="conv2d" points=2 minutes=30 forbids=["torch", "scipy", "numpy.fft", "numpy.lib.stride_tricks.sliding_window_view"] trains=["index arithmetic that is right at the borders"]
def output_size(n: int, k: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """How many windows fit along one axis of n >= 1 pixels, as a Python int.

    n may be as large as 10^13: compute the number, do not count the windows one by one.
    k >= 1, stride >= 1, padding >= 0 (zeros at each of the two ends), dilation >= 1: neighbouring
    entries of the window lie dilation pixels apart, so it spans dilation (k - 1) + 1 pixels.
    Pixels behind the last window do not count: output_size(6, 3, stride=2) is 2.
    Raises ValueError if not even one window fits.
    """
    ### BEGIN SOLUTION
    span = dilation * (k - 1) + 1
    if span > n + 2 * padding:
        raise ValueError(f"a window of {span} does not fit into {n + 2 * padding} pixels")
    return (n + 2 * padding - span) // stride + 1
    ### END SOLUTION


def conv2d(
    x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int = 1, padding: int = 0, flip: bool = False
) -> np.ndarray:
    """Cross-correlate each picture with each kernel, over all channels, and add the bias.

    x: (B, C, H, W); w: (F, C, kh, kw); b: (F,). Each may be float64 or float32, in any memory layout
    (also read-only), finite. All sizes are >= 1; stride >= 1, padding >= 0, both for both axes.
    padding: rows and columns of zeros at each of the four borders. It may be larger than the kernel.
    flip: turn each kernel by 180 degrees first, along both of its last axes (true convolution).

    Returns a new array (B, F, output_size(H, kh, ...), output_size(W, kw, ...)): the formula above.
    It is float32 if x, w and b all are float32, else float64.
    Raises ValueError if the kernel is larger than the padded picture.
    Leaves its arguments as they are. Not allowed: torch, scipy, numpy.fft and
    numpy.lib.stride_tricks.sliding_window_view.
    """
    ### BEGIN SOLUTION
    kh, kw = w.shape[2:]
    oh = output_size(x.shape[2], kh, stride, padding)
    ow = output_size(x.shape[3], kw, stride, padding)
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    if flip:
        w = w[:, :, ::-1, ::-1]
    out = np.empty((len(x), len(w), oh, ow), np.result_type(x, w, b))
    for i in range(oh):
        for j in range(ow):
            window = x[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw]  # (B, C, kh, kw)
            out[:, :, i, j] = np.tensordot(window, w, axes=([1, 2, 3], [1, 2, 3])) + b
    return out
    ### END SOLUTION


# %% [markdown] hints="conv2d"
# <details><summary>Hint 1: the output size</summary>
#
# A window that starts at pixel `i * stride` of the padded axis ends at `i * stride + span - 1`, where
# `span = dilation * (k - 1) + 1`. The largest possible `i` is `(n + 2 * padding - span) // stride`.
# </details>
# <details><summary>Hint 2: one output position</summary>
#
# Pad with `np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))`. The window of output (i, j), for all
# pictures and channels, is `x[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw]`.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# `out[:, :, i, j] = np.tensordot(window, w, axes=([1, 2, 3], [1, 2, 3])) + b` sums over channels and kernel entries and
# gives (B, F). With `flip`, use `w[:, :, ::-1, ::-1]`. Make `out` with the dtype `np.result_type(x, w, b)`.
# </details>

# %% check="conv2d"
with check("conv2d", forbids=["torch", "scipy", "numpy.fft", "numpy.lib.stride_tricks.sliding_window_view"]):
    assert output_size(6, 3, stride=2, padding=1) == 3, (
        "windows start at 0, 2, 4 of 8 pixels; one at 6 would need a ninth"
    )
    assert output_size(4, 3, padding=1) == 4, "one zero at each end: 6 pixels, and windows start at 0, 1, 2, 3"
    assert output_size(7, 3, dilation=3) == 1, "the kernel spans 3 (3 - 1) + 1 = 7 pixels"
    x = np.array([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])  # one picture, one channel, 2 by 3
    w, b = np.array([[[[1.0, 10.0], [0.0, 100.0]]]]), np.array([0.5])
    with expect_unchanged(x=x, w=w, b=b):
        got = conv2d(x, w, b)
    expect_shape(got, (1, 1, 1, 2))
    expect_close(
        got,
        [[[[521.5, 632.5]]]],  # 1 + 10 * 2 + 100 * 5 + 0.5 and 2 + 10 * 3 + 100 * 6 + 0.5
        rtol=1e-12,
        mistakes={
            "You turned the kernel by 180 degrees: that is convolution, for flip=True only.": [[[[145.5, 256.5]]]],
            "You left out the bias.": [[[[521.0, 632.0]]]],
        },
    )
    expect_close(
        conv2d(x, w, b, flip=True),
        [[[[145.5, 256.5]]]],  # 100 * 1 + 0 * 2 + 10 * 4 + 5 + 0.5, ...
        rtol=1e-12,
        mistakes={
            "You did not turn the kernel: turn its last two axes, the places.": [[[[521.5, 632.5]]]],
            "You turned its rows only, not its columns.": [[[[254.5, 365.5]]]],
        },
    )
    expect_close(
        conv2d(np.array([[[[1.0, 2.0]], [[3.0, 4.0]]]]), np.array([[[[1.0, 10.0]], [[100.0, 1000.0]]]]), b, flip=True),
        [[[[3412.5]]]],  # 10 * 1 + 1 * 2 + 1000 * 3 + 100 * 4 + 0.5: each channel keeps its own kernel
        rtol=1e-12,
        hint="turn the last two axes, places; the axes of filters and channels stay",
        mistakes={"You turned the axis of the channels, too.": [[[[1234.5]]]]},
    )
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(2, 3, 5, 8)), rng.normal(size=(4, 3, 2, 3)), rng.normal(size=4)
    for stride, padding in [(1, 0), (2, 0), (1, 1), (3, 2)]:
        peer = torch.nn.functional.conv2d(*map(torch.from_numpy, (x, w, b)), stride=stride, padding=padding)
        expect_close(
            conv2d(x, w, b, stride, padding),
            peer.numpy(),
            hint=f"this is torch with stride {stride}, padding {padding}",
        )
    expect_dtype(conv2d(*(a.astype(np.float32) for a in (x, w, b))), np.float32)
    expect_dtype(conv2d(x.astype(np.float32), w, b), np.float64, hint="one of the three is float64")
    with expect_raises(ValueError, hint="a kernel with 3 columns does not fit into 2"):
        conv2d(x[:, :, :, :2], w, b)

# %% [markdown]
# **Your function is a matrix.** A layer without bias is linear, so it is a matrix that maps the $HW$ numbers of a
# picture to the $H'W'$ numbers of its output. Send the unit pictures through it (one pixel is 1, all others are 0) and
# you get the columns of the matrix. The figure shows it for a 6 by 6 picture. Left, every row holds the same nine
# numbers, shifted: these are the two assumptions, made visible. Right, with stride 2, three of four rows are gone. Keep
# this picture in mind: the backward pass (9.4) multiplies by the transpose of this matrix.

# %% tags=["demo"]
units = np.eye(36).reshape(36, 1, 6, 6)
kernel = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
for ax, stride in zip(axes, (1, 2), strict=True):
    matrix = conv2d(units, kernel, np.zeros(1), stride).reshape(36, -1).T
    ax.imshow(np.where(matrix == 0, np.nan, matrix), aspect="auto")
    ax.set_yticks(range(0, len(matrix), 4 // stride**2))
    ax.grid(False)
    share = np.mean(matrix != 0)
    ax.set(title=f"stride {stride}: {matrix.shape[0]} × 36, {share:.0%} not zero", xlabel="pixel of the input")
    ax.set_ylabel("pixel of the output")
plt.show()

# %% [markdown]
# **What a kernel sees.** Two kernels, called Sobel's, measure (up to a factor) how fast the brightness changes along a
# row and along a column. They look at each place in the same way, so one kernel finds all edges of this kind in the
# picture. The right panel shows both together: the square root of the sum of their squares. The bright frame is an
# edge, too: the one between the picture and the zeros of the padding. The first line below the figure tests the first
# assumption: a picture that moves by 5 pixels gives an output that moves by 5 pixels. The other two lines print how
# much $u$ with $v$ and $v$ with $u$ differ, at padding $k - 1$: clearly for correlation, only by rounding for
# convolution.

# %% tags=["demo"]
picture = datasets.shapes(3, size=demo_size(full=128, small=48), seed=4).images[1].mean(axis=2)
sobel = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
edges = conv2d(picture[None, None], np.stack([sobel, sobel.T])[:, None], np.zeros(2), padding=1)[0]
figure, axes = plt.subplots(1, 2, figsize=(9, 4.2))
for ax, image, title in zip(axes, [picture, np.hypot(*edges)], ["A picture", "How fast it changes"], strict=True):
    ax.imshow(image, cmap="gray")
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(False)
plt.show()
moved = np.zeros((1, 1, *picture.shape))
moved[0, 0, :, 5:] = picture[:, :-5]
shifted = conv2d(moved, sobel[None, None], np.zeros(1))[0, 0]
still = conv2d(picture[None, None], sobel[None, None], np.zeros(1))[0, 0]
print(f"moved by 5 pixels, the output differs by {np.abs(shifted[:, 5:] - still[:, :-5]).max():.1e} where both exist")
u, v = np.random.default_rng(0).normal(size=(2, 1, 1, 4, 4))
for flip, name in [(False, "cross-correlation"), (True, "true convolution")]:
    difference = conv2d(u, v, np.zeros(1), padding=3, flip=flip) - conv2d(v, u, np.zeros(1), padding=3, flip=flip)
    print(f"{name}: u with v and v with u differ by {np.abs(difference).max():.1e}")

# %% [markdown]
# ### 9.2 `conv1d` · important · level 2 of 4 · 20 min
#
# Text and speech have one axis: time. Two things are new. With **dilation** $d$ the kernel looks at every $d$-th
# sample, so it sees far with few weights. A **causal** layer must not look into the future: its output at time $t$ may
# depend on $x_0, \dots, x_t$ only (with a stride $s$: on $x_0, \dots, x_{ts}$). It needs zeros *before* the first
# sample, as many as the kernel looks back, which are $d(k-1)$, and none after the last:
#
# $$y_{n f t} = b_f + \sum_{c} \sum_{a=0}^{k-1} w_{f c a}\; x_{n,\, c,\, t s + a d - q}, \qquad
# q = d (k-1) \text{ if causal, else } 0, \qquad x_{n,c,u} = 0 \text{ for } u < 0 .$$
#
# The last kernel entry is multiplied by the present sample, the first one by the oldest.


# %% exercise="conv1d" points=2 minutes=20 forbids=["torch", "scipy", "numpy.fft", "numpy.convolve", "numpy.correlate", "numpy.lib.stride_tricks.sliding_window_view"] trains=["index arithmetic that is right at the borders"]
def conv1d(
    x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int = 1, dilation: int = 1, causal: bool = False
) -> np.ndarray:
    """Cross-correlate sequences with kernels over all channels; see the formula above.

    x: (B, C, T); w: (F, C, k); b: (F,). Each may be float64 or float32, in any memory layout (also
    read-only), finite. All sizes are >= 1, stride >= 1, dilation from 1 to 100,000.
    causal: dilation (k - 1) zeros stand before the first sample. Without it there are no zeros.

    Returns a new array (B, F, T'), where T' is the number of windows that fit: your `output_size`
    for T, or for T + dilation (k - 1) if causal. It is float32 if x, w and b all are, else float64.
    Raises ValueError if the dilated kernel is longer than T and causal is False.
    Leaves its arguments as they are. Not allowed: torch, scipy, numpy.fft, numpy.convolve,
    numpy.correlate and numpy.lib.stride_tricks.sliding_window_view.
    """
    ### BEGIN SOLUTION
    k = w.shape[2]
    if causal:
        x = np.pad(x, ((0, 0), (0, 0), (dilation * (k - 1), 0)))
    length = output_size(x.shape[2], k, stride, dilation=dilation)
    out = b[:, None]
    for a in range(k):
        first = a * dilation
        out = out + w[:, :, a] @ x[:, :, first : first + (length - 1) * stride + 1 : stride]  # (F, C) @ (B, C, T')
    return out
    ### END SOLUTION


# %% [markdown] hints="conv1d"
# <details><summary>Hint 1: the future</summary>
#
# `np.pad(x, ((0, 0), (0, 0), (before, 0)))` puts zeros at one end only. How far back does the first kernel entry look?
# </details>
# <details><summary>Hint 2: loop over the kernel</summary>
#
# Kernel entry a meets the samples `a * dilation + t * stride` for t = 0, ..., T' − 1. This is a slice with a step,
# `x[:, :, first : first + (length - 1) * stride + 1 : stride]`, for all outputs at once.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# Begin with `out = b[:, None]` and add `w[:, :, a] @ that_slice` for each a: (F, C) times (B, C, T') is (B, F, T').
# </details>

# %% check="conv1d"
with check(
    "conv1d",
    forbids=[
        "torch",
        "scipy",
        "numpy.fft",
        "numpy.convolve",
        "numpy.correlate",
        "numpy.lib.stride_tricks.sliding_window_view",
    ],
):
    x, w, b = np.array([[[1.0, 2.0, 3.0, 4.0, 5.0]]]), np.array([[[1.0, 10.0]]]), np.array([0.0])
    with expect_unchanged(x=x, w=w, b=b):
        got = conv1d(x, w, b)
    expect_close(
        got,
        [[[21.0, 32.0, 43.0, 54.0]]],  # 1 + 10 * 2, 2 + 10 * 3, ...
        rtol=1e-12,
        mistakes={"You turned the kernel.": [[[12.0, 23.0, 34.0, 45.0]]]},
    )
    expect_close(conv1d(x, w, b, dilation=2), [[[31.0, 42.0, 53.0]]], rtol=1e-12, hint="1 + 10 * 3: two samples apart")
    expect_close(
        conv1d(x, w, b, causal=True),
        [[[10.0, 21.0, 32.0, 43.0, 54.0]]],  # the first output sees x_0 alone, with the last kernel entry
        rtol=1e-12,
        mistakes={"The zeros stand after the last sample.": [[[21.0, 32.0, 43.0, 54.0, 5.0]]]},
    )
    expect_close(conv1d(x, w, b, stride=2, causal=True), [[[10.0, 32.0, 54.0]]], rtol=1e-12)
    expect_close(conv1d(x, w, b, dilation=2, causal=True), [[[10.0, 20.0, 31.0, 42.0, 53.0]]], rtol=1e-12)
    rng = np.random.default_rng(1)
    x, w, b = rng.normal(size=(2, 3, 11)), rng.normal(size=(4, 3, 3)), rng.normal(size=4)
    peer = torch.nn.functional.conv1d(*map(torch.from_numpy, (x, w, b)), stride=2, dilation=3)
    expect_close(conv1d(x, w, b, stride=2, dilation=3), peer.numpy(), hint="this is torch with stride 2, dilation 3")
    expect_dtype(conv1d(*(a.astype(np.float32) for a in (x, w, b))), np.float32)
    expect_dtype(conv1d(x.astype(np.float32), w, b), np.float64, hint="one of the three is float64")
    with expect_raises(ValueError, hint="the kernel spans 6 (3 - 1) + 1 = 13 samples, and there are 11"):
        conv1d(x, w, b, dilation=6)

# %% [markdown]
# **How far back does a stack of layers see?** Four causal layers with kernels of 2 entries: with dilations 1, 2, 4, 8
# they see $1 + (1 + 2 + 4 + 8) = 16$ samples, without dilation only 5. Doubling the dilation makes the span grow
# exponentially with the depth, while the weights grow linearly; WaveNet (2016) generates speech in this way. The figure
# sends a sequence with a single 1 through your function and shows which outputs it changes. None of them lies before
# the 1. With strides, too, a stack of layers sees $1 + \sum_l (k_l - 1) \prod_{m<l} s_m$ pixels along an axis, its
# **receptive field**. (Dilation puts $d_l (k_l - 1)$ in place of $k_l - 1$.) Two layers of 3 by 3 see as much as one of
# 5 by 5, with 18 weights for 25.
#
# So the formula is settled. But your loop takes one Python step for each output. Can the processor do many at once?

# %% tags=["demo"]
impulse = np.zeros((1, 1, 32))
impulse[0, 0, 8] = 1
ones, nothing = np.ones((1, 1, 2)), np.zeros(1)
figure, axes = plt.subplots(1, 2, figsize=(11, 3), sharey=True)
for ax, dilations in zip(axes, [(1, 1, 1, 1), (1, 2, 4, 8)], strict=True):
    layers = [impulse]
    for dilation in dilations:
        layers.append(conv1d(layers[-1], ones, nothing, dilation=dilation, causal=True))
    seen = np.concatenate(layers)[:, 0] != 0
    ax.imshow(seen, aspect="auto", cmap="Blues", vmin=0, vmax=1.4)
    ax.axvline(7.5, color=plotting.COLOURS[1], lw=1.5)
    ax.set(title=f"dilations {dilations}: {seen[-1].sum()} outputs see it", xlabel="time", ylabel="layer")
    ax.grid(False)
plt.show()

# %% [markdown]
# ### 9.3 `im2col` · essential · level 2 of 4 · 15 min
#
# Processors are fastest at products of large matrices. To make the layer one such product, lay the windows side by
# side: row $(n, i, j)$ of a matrix holds the $C k_h k_w$ numbers under that window, and the layer is this matrix times
# the kernels. The arrangement is called **im2col**, from image to columns.
#
# Neighbouring windows overlap: at stride 1 each pixel is in $k_h k_w$ windows. Does it have to be *stored* $k_h k_w$
# times? An array is a piece of memory plus a rule. The entry with indices $(n, c, u, v)$ stands
# $n S_0 + c S_1 + u S_2 + v S_3$ bytes behind the first one, and $(S_0, S_1, S_2, S_3)$ are its **strides** (not the
# stride of the window). Window $(i, j)$ holds at $(a, e)$ the pixel $(i s + a,\, j s + e)$, which stands
#
# $$n S_0 + c S_1 + (i s + a) S_2 + (j s + e) S_3
#   = n S_0 + c S_1 + i\,(s S_2) + j\,(s S_3) + a\, S_2 + e\, S_3$$
#
# bytes behind the first. This is a rule of the same form, with six strides. So all windows together are a *view* of the
# picture: the same memory read by another rule. `np.lib.stride_tricks.as_strided(x, shape, strides)` makes such a view.
# It believes what you say: with a shape that is too large, it reads the memory of something else. Your function stops
# before the matrix: it gives the view.


# %% exercise="im2col" points=2 minutes=15 forbids=["torch", "scipy", "sklearn", "numpy.lib.stride_tricks.sliding_window_view"] trains=["strided memory", "index arithmetic that is right at the borders"]
def im2col(x: np.ndarray, kh: int, kw: int, stride: int = 1) -> np.ndarray:
    """All windows of kh by kw pixels, as a view of x: no pixel is copied.

    x: (B, C, H, W), float64 or float32, in any memory layout (also a view with steps, backwards or
    transposed, and read-only), sizes >= 1. There is no padding. To have some, pad x before the call.
    kh, kw and stride are at least 1.

    Returns v of shape (B, C, H', W', kh, kw), with the dtype of x and H', W' as in `output_size`:
    v[n, c, i, j, a, e] is the pixel x[n, c, i * stride + a, j * stride + e].
    v shares the memory of x, and the call takes no memory that grows with x. It may be read-only.
    Raises ValueError if the window is larger than the picture.
    Leaves x as it is. Not allowed: torch, scipy, sklearn, and
    numpy.lib.stride_tricks.sliding_window_view, which is what you are writing.
    """
    ### BEGIN SOLUTION
    B, C, H, W = x.shape
    shape = (B, C, output_size(H, kh, stride), output_size(W, kw, stride), kh, kw)
    S0, S1, S2, S3 = x.strides
    strides = (S0, S1, stride * S2, stride * S3, S2, S3)
    return np.lib.stride_tricks.as_strided(x, shape, strides)
    ### END SOLUTION


# %% [markdown] hints="im2col"
# <details><summary>Hint 1: the shape</summary>
#
# `output_size` gives H' and W'. One row of windows too many, and the view reads memory behind the picture.
# </details>
# <details><summary>Hint 2: the strides</summary>
#
# Take them from `x.strides`, never from the shape: x may itself be a view. The formula above names the six of v.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# `S0, S1, S2, S3 = x.strides`, then
# `np.lib.stride_tricks.as_strided(x, shape, (S0, S1, stride * S2, stride * S3, S2, S3))`. (With `writeable=False`
# nobody can write to it by mistake: one write would change many windows.)
# </details>

# %% check="im2col"
with check("im2col", forbids=["torch", "scipy", "sklearn", "numpy.lib.stride_tricks.sliding_window_view"]):
    x = np.arange(12.0).reshape(1, 1, 3, 4)  # rows 0 1 2 3, 4 5 6 7, 8 9 10 11
    with expect_unchanged(x=x):
        windows = im2col(x, 2, 3)
    expect_shape(windows, (1, 1, 2, 2, 2, 3), hint="(B, C, H', W', kh, kw)")
    expect_close(windows[0, 0, 1, 0], [[4.0, 5.0, 6.0], [8.0, 9.0, 10.0]], atol=0, hint="the window at row 1, column 0")
    expect_close(windows[0, 0, 0, 1], [[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]], atol=0, hint="the window at row 0, column 1")
    assert np.shares_memory(windows, x), "the windows are a copy: take a view"
    steps = im2col(np.arange(30.0).reshape(1, 1, 5, 6), 2, 2, stride=3)
    expect_shape(steps, (1, 1, 2, 2, 2, 2), hint="rows 0 and 3, columns 0 and 3: a window at column 6 does not exist")
    expect_close(steps[0, 0, 1, 1], [[21.0, 22.0], [27.0, 28.0]], atol=0, hint="the window at row 3, column 3")
    turned = im2col(x.transpose(0, 1, 3, 2)[:, :, ::-1], 2, 2)  # rows 3 7 11, 2 6 10, 1 5 9, 0 4 8
    expect_close(
        turned[0, 0, 0, 1], [[7.0, 11.0], [6.0, 10.0]], atol=0, hint="x may be a view: take its strides from x.strides"
    )
    many = im2col(np.arange(24.0).reshape(2, 3, 2, 2), 2, 2)
    expect_close(many[1, 2, 0, 0], [[20.0, 21.0], [22.0, 23.0]], atol=0, hint="the last channel of the second picture")
    expect_dtype(im2col(x.astype(np.float32), 2, 2), np.float32)
    with expect_raises(ValueError, hint="a window with 4 rows does not fit into 3"):
        im2col(x, 4, 1)

# %% [markdown]
# The view takes memory for its rule only, however large the picture is. But what can you do with it? The next cell
# counts bytes. A matrix product wants a *matrix*, with one stride for each axis, and the numbers of a window do not lie
# at equal distances. So `reshape` has to copy, and it does so without a warning. The line with `reshape` makes nearly
# all of the memory below. It is the subject of 9.9. (Nearly all bytes of the view are Jupyter's: plain Python makes
# about 1,000.)

# %% tags=["demo"]
x = np.zeros((1, 3, 256, 256))
windows = im2col(x, 11, 11)
tracemalloc.start()
view = im2col(x, 11, 11)
made_view = tracemalloc.get_traced_memory()[1]
tracemalloc.reset_peak()
matrix = view.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 3 * 11 * 11)
made_matrix = tracemalloc.get_traced_memory()[1]
tracemalloc.stop()
print(f"the picture:            {x.nbytes:13,} bytes, strides {x.strides}")
print(
    f"all windows, as a view: {made_view:13,} bytes made, though they hold {view.size:,} numbers; strides {view.strides}"
)
print(f"after reshape:          {made_matrix:13,} bytes made: {made_matrix / x.nbytes:.0f} times the picture")
del matrix, windows, view

# %% [markdown]
# ### 9.4 `conv2d_backward` · essential · level 4 of 4 · 40 min
#
# The loss $J$ depends on $x$, $w$ and $b$ through $y$ only. Write $g = \partial J/\partial y$, of shape
# $(B, F, H', W')$. By the chain rule the gradient with respect to any number $z$ is
# $\sum g_{nfij}\, \partial y_{nfij}/\partial z$. The layer is linear in each of its inputs, so read the derivatives off
# the formula:
#
# $$\frac{\partial J}{\partial b_f} = \sum_{n,i,j} g_{nfij}, \qquad
# \frac{\partial J}{\partial w_{fcae}} = \sum_{n,i,j} g_{nfij}\; \tilde x_{n,c,\,is+a,\,js+e} .$$
#
# For the picture start from one pixel, and ask which outputs it enters. Pixel $\tilde x_{ncuv}$ appears in $y_{nfij}$
# with weight $w_{fcae}$ whenever $i s + a = u$ and $j s + e = v$. Each of these adds to its gradient:
#
# $$\frac{\partial J}{\partial \tilde x_{ncuv}}
#   = \sum_{f} \; \sum_{\substack{i,\, a:\; i s + a = u \\ j,\, e:\; j s + e = v}} g_{nfij}\; w_{fcae} .$$
#
# A loop over $(a, e)$ fulfils the condition. For one kernel entry, all output positions $(i, j)$ together use the
# pixels $(is + a, js + e)$: a slice with step $s$, without overlap. The forward pass *reads* this slice; the gradient
# of $w$ reads it too; the gradient of $\tilde x$ *adds to* it. In the end cut the padding off. A pixel that was in no
# window has gradient 0.
#
# Another way to see all of this: let $P_{iau}$ be 1 where $u = i s + a$ and else 0, and $Q_{jev}$ be 1 where
# $v = j s + e$ and else 0. Then $y_{nfij} = b_f + \sum w_{fcae}\, P_{iau}\, Q_{jev}\, \tilde x_{ncuv}$ (over
# $c, a, e, u, v$) is linear in $w$ and linear in $\tilde x$, that is, **bilinear**. So put $g_{nfij}$ in front, sum over
# all indices but those of $w$, and you have the gradient of $w$. Sum the same product, with $w$ in place of
# $\tilde x$, over all indices but those of $\tilde x$, and you have the gradient of $\tilde x$.
#
# With the matrix $A$ of 9.1, $y = A x$ gives $\partial J/\partial x = A^\top g$. At stride 1 this is again a
# sliding sum: put $k - 1$ zeros around $g$, turn each kernel by 180 degrees, exchange its axes $f$ and $c$, and
# correlate. The result is the gradient of $\tilde x$; cut the padding off to have that of $x$. So correlation forward
# means true convolution backward.


# %% exercise="conv2d_backward" points=4 minutes=40 forbids=["torch", "scipy", "numpy.fft", "numpy.lib.stride_tricks.sliding_window_view"] trains=["adjoint linear maps", "index arithmetic that is right at the borders"]
def conv2d_backward(
    dout: np.ndarray, x: np.ndarray, w: np.ndarray, stride: int = 1, padding: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients of a loss through `conv2d` (without flip): with respect to x, w and b.

    dout: (B, F, H', W'), the gradient with respect to the output: sums, no averaging over the batch.
    x: (B, C, H, W); w: (F, C, kh, kw). Each may be float64 or float32, in any memory layout (also
    read-only), finite. stride and padding: as in the forward call. Every geometry that `conv2d`
    takes is allowed: strides that do not divide or are larger than the kernel, any padding.
    dout always has the shape of the output.

    Returns (dx, dw, db), new arrays with the shapes of x, w and b. All three are float32 if dout, x
    and w all are float32, else float64. A pixel that is in no window has gradient exactly 0.
    Leaves its arguments as they are. Not allowed: torch, scipy, numpy.fft and
    numpy.lib.stride_tricks.sliding_window_view.
    """
    ### BEGIN SOLUTION
    H, W = x.shape[2:]
    kh, kw = w.shape[2:]
    dtype = np.result_type(dout, x, w)
    rows, columns = stride * (dout.shape[2] - 1) + 1, stride * (dout.shape[3] - 1) + 1
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    dx, dw = np.zeros(x.shape, dtype), np.empty(w.shape, dtype)
    for a in range(kh):
        for e in range(kw):
            met = np.s_[:, :, a : a + rows : stride, e : e + columns : stride]  # these pixels meet w[:, :, a, e]
            dw[:, :, a, e] = np.tensordot(dout, x[met], axes=([0, 2, 3], [0, 2, 3]))
            dx[met] += np.tensordot(dout, w[:, :, a, e], axes=(1, 0)).transpose(0, 3, 1, 2)
    return dx[:, :, padding : padding + H, padding : padding + W], dw, dout.sum(axis=(0, 2, 3), dtype=dtype)
    ### END SOLUTION


# %% [markdown] hints="conv2d_backward"
# <details><summary>Hint 1: which pixels</summary>
#
# Kernel entry (a, e) meets the padded pixels `x[:, :, a : a + rows : stride, e : e + columns : stride]` with
# `rows = stride * (H' - 1) + 1`. This slice has the shape (B, C, H', W').
# </details>
# <details><summary>Hint 2: two sums</summary>
#
# For dw sum over pictures and positions, which leaves (F, C):
# `np.tensordot(dout, that_slice, axes=([0, 2, 3], [0, 2, 3]))`. For dx sum over the filters, which leaves
# (B, H', W', C): `np.tensordot(dout, w[:, :, a, e], axes=(1, 0))`; move its last axis to place 1.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# Keep dx in an array with the padded shape, full of zeros, and use `dx[slice] += ...` for each (a, e). At the end
# return `dx[:, :, padding : padding + H, padding : padding + W]`. `db` is `dout.sum(axis=(0, 2, 3), dtype=dtype)`, with
# `dtype = np.result_type(dout, x, w)` for all three.
# </details>

# %% check="conv2d_backward"
with check("conv2d_backward", forbids=["torch", "scipy", "numpy.fft", "numpy.lib.stride_tricks.sliding_window_view"]):
    x, w = np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), np.array([[[[5.0, 6.0], [7.0, 8.0]]]])
    dout = np.array([[[[10.0]]]])  # one window: y = 5 + 12 + 21 + 32 + b
    with expect_unchanged(dout=dout, x=x, w=w):
        dx, dw, db = conv2d_backward(dout, x, w)
    expect_close(
        dx,
        10 * w,
        rtol=1e-12,
        mistakes={"You turned the kernel: pixel (0, 0) met w[0, 0].": 10 * w[..., ::-1, ::-1]},
    )
    expect_close(dw, 10 * x, rtol=1e-12, hint="kernel entry (a, e) met pixel (a, e)")
    expect_close(db, [10.0], rtol=1e-12, hint="b is added once at each output position")
    x, w, dout = np.ones((2, 1, 1, 4)), np.array([[[[5.0, 6.0]]]]), np.array([[[[1.0, 10.0, 100.0]]]] * 2)
    dx, dw, db = conv2d_backward(dout, x, w)  # two equal pictures; windows that are neighbours share a pixel
    expect_close(
        dx,
        [[[[5.0, 56.0, 560.0, 600.0]]]] * 2,  # 5 * 1, then 6 * 1 + 5 * 10, ...
        rtol=1e-12,
        hint="dx: the second pixel is in two windows, as the last entry and as the first",
        mistakes={
            "Where windows overlap, one overwrites the other: add. (dx[index] += ... with arrays of indices adds once.)": [
                [[[5.0, 50.0, 500.0, 600.0]]]
            ]
            * 2,
            "Where windows overlap, a later kernel entry overwrites an earlier one: add.": [[[[5.0, 6.0, 60.0, 600.0]]]]
            * 2,
            "You divided by the number of pictures; nothing is averaged over the batch.": [
                [[[2.5, 28.0, 280.0, 300.0]]]
            ]
            * 2,
        },
    )
    expect_close(dw, [[[[222.0, 222.0]]]], rtol=1e-12, hint="dw: 1 + 10 + 100 in each of the two pictures")
    expect_close(
        db,
        [222.0],
        rtol=1e-12,
        hint="db: the sum over pictures and positions",
        mistakes={"You divided by the number of output positions.": [74.0]},
    )
    rng = np.random.default_rng(2)
    for shape, (F, kh, kw), stride, padding in [
        ((2, 3, 5, 6), (4, 3, 2), 1, 0),
        ((2, 3, 6, 7), (4, 2, 3), 2, 1),
        ((3, 1, 8, 8), (2, 1, 2), 3, 0),  # steps over pixels, which get 0
        ((1, 2, 2, 3), (3, 2, 2), 2, 3),  # whole windows of zeros
    ]:
        x, w = rng.normal(size=shape), rng.normal(size=(F, shape[1], kh, kw))
        inputs = [torch.tensor(a, requires_grad=True) for a in (x, w, np.zeros(F))]
        out = torch.nn.functional.conv2d(*inputs, stride=stride, padding=padding)
        dout = rng.normal(size=out.shape)
        (out * torch.from_numpy(dout)).sum().backward()
        for got, peer, name in zip(
            conv2d_backward(dout, x, w, stride, padding), inputs, ("dx", "dw", "db"), strict=True
        ):
            where = f"{name} of autograd, picture {shape}, kernel {(kh, kw)}, stride {stride}, padding {padding}"
            expect_shape(got, peer.shape, hint=f"{where}; cut the padding off (with padding 0 nothing, not [0:-0])")
            expect_close(got, peer.grad.numpy(), hint=where)
    for got in conv2d_backward(*(a.astype(np.float32) for a in (dout, x, w)), stride, padding):
        expect_dtype(got, np.float32)
    for got in conv2d_backward(dout.astype(np.float32), x, w, stride, padding):
        expect_dtype(got, np.float64, hint="one of the three is float64")

# %% [markdown]
# **A kernel learnt from its effect.** Someone applies an unknown 3 by 3 kernel to a picture and shows you the input and
# the output. Start from zeros and descend the mean of squared differences with your two functions: gradient descent
# with momentum 0.9, so the loss swings while it falls. The figure shows the loss, the kernel that was used and yours.
# One picture is enough here: every pixel is the centre of a window, so a picture gives as many examples as it has
# pixels. This is what weight sharing does for learning. The first line of output tests the backward pass without any
# library: with $y = A x$ and $\partial J/\partial x = A^\top g$, the sums $\sum g\,(A x)$ and $\sum (A^\top g)\, x$ are
# equal. The second line compares the two kernels.

# %% tags=["demo"]
size = demo_size(full=28, small=20)
seen = datasets.shapes(1, size=size, seed=1).images.mean(axis=3)[:, None] / 255
seen -= seen.mean()
target = conv2d(seen, sobel[None, None] / 4, np.zeros(1), padding=1)
learnt, bias, losses = np.zeros((1, 1, 3, 3)), np.zeros(1), []
velocity = np.zeros_like(learnt)
for _ in range(demo_size(full=150, small=100)):
    error = conv2d(seen, learnt, bias, padding=1) - target
    losses.append(np.mean(error**2))
    _, gradient, db = conv2d_backward(2 * error / error.size, seen, learnt, padding=1)
    velocity = 0.9 * velocity - 0.2 * gradient / (9 * np.mean(seen**2))  # half the curvature is at most 9 mean(x²)
    learnt, bias = learnt + velocity, bias - 0.1 * db
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4))
left.semilogy(losses)
left.set(title="The loss falls to nearly nothing", xlabel="step", ylabel="mean squared difference")
both = np.hstack([sobel / 4, np.full((3, 1), np.nan), learnt[0, 0]])
right.imshow(both, vmin=-0.8, vmax=0.8, cmap="RdBu")
for (a, e), value in np.ndenumerate(both):
    if np.isfinite(value):
        right.text(e, a, f"{round(value, 2) + 0:.2f}", ha="center", va="center")
right.set(title="Left the kernel that was used, right the one learnt", xticks=[], yticks=[])
right.grid(False)
plt.show()
draw = np.random.default_rng(0)
some_x, some_w = draw.normal(size=(2, 3, 6, 7)), draw.normal(size=(4, 3, 2, 3))
result = conv2d(some_x, some_w, np.zeros(4), stride=2, padding=1)
some_g = draw.normal(size=result.shape)
pulled_back = conv2d_backward(some_g, some_x, some_w, stride=2, padding=1)[0]
print(
    f"stride 2, padding 1: sum of g (A x) = {np.sum(some_g * result):.12f}, of (A' g) x = {np.sum(pulled_back * some_x):.12f}"
)
print(f"largest difference between the two kernels: {np.abs(learnt[0, 0] - sobel / 4).max():.1e}")

# %% [markdown]
# ### 9.5 `pool2d_tutorial` · essential · level 1 of 4 · 6 min
#
# A network that must say *what* is in the picture has to forget, step by step, *where* exactly it is. **Pooling**
# replaces each window by one number, its maximum or its mean, and moves by a stride of several pixels. The maps become
# smaller, and an input that moves by one pixel changes them less.
#
# **Find the bug.** The next function runs without an error, and for some pictures it is right. Repair it.


# %% exercise="pool2d_tutorial" points=1 minutes=6 bug=true forbids=["torch", "scipy", "numpy.lib.stride_tricks.sliding_window_view"] trains=["index arithmetic that is right at the borders"]
def pool2d_tutorial(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """The maximum of each window of size by size pixels of one picture.

    x: (H, W), float64, finite, in any memory layout, also read-only; size and stride are at least
    1, and size is at most H and W. The windows start at the rows and columns 0, stride,
    2 stride, ..., and only windows that lie wholly inside the picture count.

    Returns a new array (H', W'), float64, one entry for each such window, with H' and W' as in
    `output_size`. Leaves x as it is. Not allowed: torch, scipy and
    numpy.lib.stride_tricks.sliding_window_view.
    """
    H, W = x.shape
    ### BEGIN SOLUTION
    rows, columns = range(0, H - size + 1, stride), range(0, W - size + 1, stride)
    ### END SOLUTION
    ### BEGIN BUG
    # rows, columns = range(0, H, stride), range(0, W, stride)
    ### END BUG
    return np.array([[x[i : i + size, j : j + size].max() for j in columns] for i in rows])


# %% [markdown] hints="pool2d_tutorial"
# <details><summary>Hint 1: an experiment</summary>
#
# Which shape should come out for a picture of 5 by 5, size 2 and stride 2? Which one does come out? (With 4 by 4 both
# are the same.)
# </details>
# <details><summary>Hint 2: the border</summary>
#
# In which row may the last window begin, so that it ends inside the picture? A slice that runs past the end of an array
# is cut off without an error.
# </details>

# %% check="pool2d_tutorial"
with check("pool2d_tutorial", forbids=["torch", "scipy", "numpy.lib.stride_tricks.sliding_window_view"]):
    x = np.array([[1.0, 9.0, 2.0, 3.0, 7.0], [4.0, 5.0, 6.0, 8.0, 9.0], [7.0, 0.0, 1.0, 2.0, 3.0]])
    with expect_unchanged(x=x):
        got = pool2d_tutorial(x, size=2, stride=2)
    expect_close(
        got,
        [[9.0, 8.0]],  # rows 0 and 1, columns 0 and 1, then 2 and 3; nothing else fits
        atol=0,
        mistakes={
            "Windows run over the border: the last ones are cut off.": [[9.0, 8.0, 9.0], [7.0, 2.0, 3.0]],
            "The windows stay inside, but the stride is ignored.": [[9.0, 9.0, 8.0, 9.0], [7.0, 6.0, 8.0, 9.0]],
        },
    )
    expect_close(
        pool2d_tutorial(x, size=1, stride=2), [[1.0, 2.0, 7.0], [7.0, 1.0, 3.0]], atol=0, hint="stride above size"
    )
    expect_close(
        pool2d_tutorial(x, size=2, stride=1),
        [[9.0, 9.0, 8.0, 9.0], [7.0, 6.0, 8.0, 9.0]],
        atol=0,
        hint="windows may overlap",
    )

# %% [markdown]
# ### 9.6 `pool2d` · essential · level 2 of 4 · 10 min
#
# The whole layer: a batch, channels, a maximum or a mean. Each channel is pooled on its own. There is no padding here.
# Libraries that pad must choose what the padding holds: for the maximum it must be $-\infty$ (a zero would win over
# negative numbers), and for the mean torch counts the zeros by default (`count_include_pad=True`) while TensorFlow
# leaves them out.


# %% exercise="pool2d" points=2 minutes=10 forbids=["torch", "scipy", "numpy.lib.stride_tricks.sliding_window_view"] trains=["index arithmetic that is right at the borders"]
def pool2d(x: np.ndarray, size: int, stride: int, kind: str = "max") -> np.ndarray:
    """The maximum or the mean of each window of size by size pixels, in each channel.

    x: (B, C, H, W), float64 or float32, in any memory layout (also read-only), finite, sizes >= 1.
    No sum over a window overflows.
    size >= 1, stride >= 1, for both axes; the stride may be smaller or larger than the size.
    kind: "max" or "average". No padding.

    Returns a new array (B, C, H', W') with the dtype of x, H' and W' as in `output_size`.
    Raises ValueError for any other kind, and if the window is larger than the picture.
    Leaves x as it is. Not allowed: torch, scipy and
    numpy.lib.stride_tricks.sliding_window_view.
    """
    ### BEGIN SOLUTION
    if kind not in ("max", "average"):
        raise ValueError(f"kind = {kind!r}: it must be 'max' or 'average'")
    windows = im2col(x, size, size, stride)
    return windows.max(axis=(4, 5)) if kind == "max" else windows.mean(axis=(4, 5))
    ### END SOLUTION


# %% [markdown] hints="pool2d"
# <details><summary>Hint 1: you have the windows</summary>
#
# `im2col(x, size, size, stride)` holds all windows, in its last two axes. A reduction over a view makes no copy.
# </details>
# <details><summary>Hint 2: nearly the solution</summary>
#
# `windows.max(axis=(4, 5))` or `windows.mean(axis=(4, 5))`, after the kind has been checked.
# </details>

# %% check="pool2d"
with check("pool2d", forbids=["torch", "scipy", "numpy.lib.stride_tricks.sliding_window_view"]):
    x = -np.array([[[[1.0, 9.0, 2.0, 3.0, 7.0], [4.0, 5.0, 6.0, 8.0, 9.0], [7.0, 0.0, 1.0, 2.0, 3.0]]]])
    with expect_unchanged(x=x):
        got = pool2d(x, 2, 2)
    expect_close(
        got,
        [[[[-1.0, -2.0]]]],
        atol=0,
        mistakes={
            "Your maximum starts at 0, but all entries are negative.": [[[[0.0, 0.0]]]],
            "You returned the means: kind is 'max' by default.": [[[[-4.75, -4.75]]]],
        },
    )
    expect_close(pool2d(x, 2, 2, "average"), [[[[-4.75, -4.75]]]], rtol=1e-12, hint="(1 + 9 + 4 + 5) / 4")
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 3, 6, 9))
    for size, stride in [(2, 2), (3, 2), (2, 3), (1, 4), (6, 1)]:
        for kind, peer in [("max", torch.nn.functional.max_pool2d), ("average", torch.nn.functional.avg_pool2d)]:
            expected = peer(torch.from_numpy(x), size, stride).numpy()
            expect_close(
                pool2d(x, size, stride, kind), expected, hint=f"torch with size {size}, stride {stride}, {kind}"
            )
    for kind in ("max", "average"):
        expect_dtype(pool2d(x.astype(np.float32), 2, 2, kind), np.float32)
    with expect_raises(ValueError, hint="a window with 7 rows does not fit into 6"):
        pool2d(x, 7, 1)
    with expect_raises(ValueError, hint="only 'max' and 'average' are known"):
        pool2d(x, 2, 2, "mean")

# %% [markdown]
# **Does pooling forget the place?** Move a picture by 1 to 8 pixels and see by how much the edge maps change, relative
# to their size: without pooling, and with windows of 4 pixels and stride 4. Right: the pooled maps have a sixteenth of
# the pixels. Pooling helps most where the shift is small against the window: the printed numbers at 1 and 2 pixels are
# about half as large. After 8 pixels the pooled maps, too, have changed by nearly their own size: a shift by a whole
# window is a shift of the pooled map, and a stride of 4 keeps every fourth window only. (Blurring before the stride
# helps: Zhang, 2019.)

# %% tags=["demo"]
larger = datasets.shapes(3, size=demo_size(full=128, small=64), seed=4).images[1].mean(axis=2)
edge_map = np.hypot(*conv2d(larger[None, None], np.stack([sobel, sobel.T])[:, None], np.zeros(2))[0])
shifts = np.arange(1, 9)
margin = 8


def seen_at(shift):
    """A part of the edge map that moves by so many pixels."""
    return edge_map[None, None, margin:-margin, margin - shift : edge_map.shape[1] - margin - shift]


layers = {
    "no pooling": lambda m: m,
    "average, 4 by 4": lambda m: pool2d(m, 4, 4, "average"),
    "maximum, 4 by 4": lambda m: pool2d(m, 4, 4),
}
changes = {
    name: (
        shifts,
        [np.linalg.norm(layer(seen_at(t)) - layer(seen_at(0))) / np.linalg.norm(layer(seen_at(0))) for t in shifts],
    )
    for name, layer in layers.items()
}
figure, (left, *others) = plt.subplots(1, 4, figsize=(12.5, 3.6), width_ratios=[1.7, 1, 1, 1])
plotting.curves(
    changes,
    xlabel="the picture moves by so many pixels",
    ylabel="relative change",
    title="Pooling: half the change at 1 and 2 pixels",
    ax=left,
)
left.set_ylim(bottom=0)
plotting.legend_below(left, columns=1)
for ax, (name, layer) in zip(others, layers.items(), strict=True):
    image = layer(seen_at(0))[0, 0]
    ax.imshow(image, cmap="gray")
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"{name.split(',')[0]}: {image.shape[0]} × {image.shape[1]}", fontsize=10)
    ax.grid(False)
plt.show()
for name, (_, change) in changes.items():
    print(f"{name:16} relative change: {change[0]:.2f} at 1 pixel, {change[1]:.2f} at 2, {change[-1]:.2f} at 8")

# %% [markdown]
# ### 9.7 `pool2d_backward` · important · level 3 of 4 · 25 min
#
# The **mean** of a window depends on each of its pixels with weight $1/\text{size}^2$, so each gets that share of the
# window's gradient. The **maximum** depends, near the point where we are, on its largest pixel alone, so that pixel
# gets everything and the others get 0. Where windows overlap, a pixel is in several of them, and their contributions
# add up.
#
# **Ties.** If two pixels are equally large, the maximum has a kink, and no gradient exists. The maximum is convex, so
# there are *subgradients*: $g$ with $\max(x + h) \ge \max(x) + g^\top h$ for all $h$. They are all ways to divide one
# unit of gradient among the largest pixels, in shares $\ge 0$: everything to the first, or equal shares. To give the
# whole unit to each of them is *not* a subgradient: raise two equal pixels by $\varepsilon$ each; the maximum rises by
# $\varepsilon$, and this $g$ claims $2\varepsilon$. Ties are common in flat regions of a picture: where neighbouring
# pixels are equal, the outputs of the convolution before the pooling are equal, too, and there such a layer multiplies
# gradients. (Ties between zeros after a ReLU
# do no harm: the ReLU passes no gradient to them.) We do what torch does: the **first** of the largest pixels in
# reading order (row by row, from left to right) gets everything.


# %% exercise="pool2d_backward" points=3 minutes=25 forbids=["torch", "scipy", "numpy.lib.stride_tricks.sliding_window_view"] trains=["adjoint linear maps", "index arithmetic that is right at the borders"]
def pool2d_backward(dout: np.ndarray, x: np.ndarray, size: int, stride: int, kind: str = "max") -> np.ndarray:
    """The gradient of a loss through `pool2d`, with respect to x.

    dout: (B, C, H', W'), the gradient with respect to the output; x: (B, C, H, W). Each may be
    float64 or float32, in any memory layout (also read-only), finite.
    size, stride, kind: as in the forward call, every geometry that `pool2d` takes; dout fits to them.
    "max": each window gives its dout to its largest pixel; among equal ones (-0.0 equals 0.0) to
    the first in reading order: the uppermost row, there the leftmost column.
    "average": each window gives dout / size^2 to each of its pixels.
    What a pixel gets from several windows is added up; a pixel that gets nothing has exactly 0.
    Memory: a copy of all windows, size^2 numbers for each entry of dout, may be made several times;
    size may be several hundred, so nothing that grows with size^4 fits.

    Returns a new array with the shape of x, float32 if dout and x both are float32, else float64.
    Raises ValueError for any other kind.
    Leaves its arguments as they are. Not allowed: torch, scipy and
    numpy.lib.stride_tricks.sliding_window_view.
    """
    ### BEGIN SOLUTION
    if kind not in ("max", "average"):
        raise ValueError(f"kind = {kind!r}: it must be 'max' or 'average'")
    dx = np.zeros(x.shape, np.result_type(dout, x))
    rows, columns = stride * (dout.shape[2] - 1) + 1, stride * (dout.shape[3] - 1) + 1
    windows = im2col(x, size, size, stride)
    largest = windows.reshape(*dout.shape, size * size).argmax(axis=4)  # (B, C, H', W'); reshape copies
    for a in range(size):
        for e in range(size):
            share = np.where(largest == a * size + e, dout, 0) if kind == "max" else dout / size**2
            dx[:, :, a : a + rows : stride, e : e + columns : stride] += share
    return dx
    ### END SOLUTION


# %% [markdown] hints="pool2d_backward"
# <details><summary>Hint 1: the slice again</summary>
#
# As in 9.4, place (a, e) of all windows together is the slice
# `dx[:, :, a : a + rows : stride, e : e + columns : stride]` with `rows = stride * (H' - 1) + 1`. Add to it.
# </details>
# <details><summary>Hint 2: the winner of each window</summary>
#
# `np.argmax` gives the first of equal entries. Over windows that are reshaped to (B, C, H', W', size²) it gives the
# place `a * size + e`.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# For each (a, e) add `np.where(largest == a * size + e, dout, 0)` for the maximum, or `dout / size**2` for the mean.
# </details>

# %% check="pool2d_backward"
with check("pool2d_backward", forbids=["torch", "scipy", "numpy.lib.stride_tricks.sliding_window_view"]):
    x = np.array([[[[1.0, 3.0, 2.0], [3.0, 0.0, 5.0]]]])
    dout = np.array([[[[10.0, 100.0]]]])  # two windows of 2 by 2 that share the middle column
    with expect_unchanged(x=x, dout=dout):
        got = pool2d_backward(dout, x, 2, 1)
    expect_close(
        got,
        [[[[0.0, 10.0, 0.0], [0.0, 0.0, 100.0]]]],
        atol=0,
        mistakes={
            "Both of two equal pixels get the whole gradient.": [[[[0.0, 10.0, 0.0], [10.0, 0.0, 100.0]]]],
            "You divide the gradient between equal pixels: here the first gets it.": [
                [[[0.0, 5.0, 0.0], [5.0, 0.0, 100.0]]]
            ],
            "The last of two equal pixels gets the gradient.": [[[[0.0, 0.0, 0.0], [10.0, 0.0, 100.0]]]],
        },
    )
    expect_close(
        pool2d_backward(dout, np.array([[[[1.0, 9.0, 2.0], [3.0, 0.0, 5.0]]]]), 2, 1),
        [[[[0.0, 110.0, 0.0], [0.0, 0.0, 0.0]]]],
        atol=0,
        hint="the pixel 9 is the largest of both windows: 10 + 100",
        mistakes={
            "Where windows overlap, the later one overwrites: add. (dx[index] += ... with arrays of indices adds once.)": [
                [[[0.0, 100.0, 0.0], [0.0, 0.0, 0.0]]]
            ],
            "Where windows overlap, one place of the window overwrites another: add.": [
                [[[0.0, 10.0, 0.0], [0.0, 0.0, 0.0]]]
            ],
        },
    )
    expect_close(
        pool2d_backward(dout, x, 2, 1, "average"),
        [[[[2.5, 27.5, 25.0], [2.5, 27.5, 25.0]]]],
        rtol=1e-12,
        hint="the middle column is in both windows: 10 / 4 + 100 / 4",
        mistakes={"Where windows overlap, one overwrites the other: add.": [[[[2.5, 2.5, 25.0], [2.5, 2.5, 25.0]]]]},
    )
    flat = pool2d_backward(dout, np.zeros((1, 1, 2, 3)), 2, 1)
    expect_close(flat, [[[[10.0, 100.0, 0.0], [0.0, 0.0, 0.0]]]], atol=0, hint="all equal: the first of each window")
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2, 3, 6, 9))
    for size, stride in [(2, 2), (3, 2), (2, 3), (3, 1)]:
        for kind, peer in [("max", torch.nn.functional.max_pool2d), ("average", torch.nn.functional.avg_pool2d)]:
            leaf = torch.tensor(x, requires_grad=True)
            out = peer(leaf, size, stride)
            dout = rng.normal(size=out.shape)
            (out * torch.from_numpy(dout)).sum().backward()
            got = pool2d_backward(dout, x, size, stride, kind)
            expect_close(got, leaf.grad.numpy(), hint=f"autograd with size {size}, stride {stride}, {kind}")
    expect_dtype(pool2d_backward(dout.astype(np.float32), x.astype(np.float32), size, stride), np.float32)
    with expect_raises(ValueError, hint="only 'max' and 'average' are known"):
        pool2d_backward(dout, x, size, stride, "mean")

# %% [markdown]
# **A network from your functions.** Handwritten digits of 8 by 8 pixels: 8 filters of 3 by 3 with padding, ReLU
# ($\max(\cdot, 0)$), max pooling, then one dense layer and the cross-entropy of the softmax. Every gradient below comes
# from your functions or is one line of module 03. The same loop without the convolution trains a linear model for
# comparison. The figure shows the test accuracy after each pass, and what the learnt layer makes of one digit: the
# filters answer to different parts of the strokes, and some may answer to none (each map has its own scale). (If this
# cell takes longer than a minute, because your functions loop over single numbers, set `epochs` to 2.)
#
# Both learn. Do not read too much into the distance of the curves: every digit stands in the middle of its picture, and
# a linear model that is trained ten times as long comes close to the network: see the first line below the figure. The
# second line tests the first assumption of this module: it moves the test digits by one pixel, up, down, left and
# right. It shows the network and the linear model after the same number of passes, and the linear model after ten times
# as many. No model has seen a moved digit in training. A linear model knows only which pixel has which weight; the
# network loses much, too (its dense layer knows places), but less.


# %% tags=["demo"]
def trained(convolve, epochs, seed=0, lr=0.5, filters=8):
    """Test accuracy after each pass, the same at the end on digits moved by one pixel, the kernels and the biases."""
    draw = np.random.default_rng(seed)
    w, b = draw.normal(size=(filters, 1, 3, 3)) / 3, np.zeros(filters)
    V = draw.normal(size=(16 * filters if convolve else 64, 10)) * 0.1
    found = []

    def forward(x):
        if not convolve:
            return None, None, x.reshape(len(x), -1)
        maps = conv2d(x, w, b, padding=1)
        active = np.maximum(maps, 0)
        return maps, active, pool2d(active, 2, 2).reshape(len(x), -1)

    def right(x):
        return np.mean(np.argmax(forward(x)[2] @ V, axis=1) == test_y)

    for _ in range(epochs):
        order = draw.permutation(len(train_x))
        for rows in np.array_split(order, len(order) // 50):
            maps, active, features = forward(train_x[rows])
            scores = features @ V
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            p[np.arange(len(rows)), train_y[rows]] -= 1  # softmax minus one-hot: the gradient of the sum of the losses
            dV = features.T @ p / len(rows)
            if convolve:
                dpooled = (p @ V.T / len(rows)).reshape(len(rows), filters, 4, 4)
                dmaps = pool2d_backward(dpooled, active, 2, 2) * (maps > 0)
                _, dw, db = conv2d_backward(dmaps, train_x[rows], w, padding=1)
                w, b = w - lr * dw, b - lr * db
            V = V - lr * dV
        found.append(right(test_x))
    framed = np.pad(test_x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    moved = [right(framed[:, :, i : i + 8, j : j + 8]) for i, j in [(0, 1), (2, 1), (1, 0), (1, 2)]]
    return found, np.mean(moved), w, b


digits = datasets.digits()
pictures = np.asarray(digits.X, dtype=float).reshape(-1, 1, 8, 8)
pictures = pictures / pictures.max()
order = np.random.default_rng(0).permutation(len(pictures))
train, test = order[:1200], order[1200:]
if demo_size(full=False, small=True):
    train, test = train[:600], test[:200]
train_x, train_y, test_x, test_y = pictures[train], digits.y[train], pictures[test], digits.y[test]
epochs = demo_size(full=10, small=15)
accuracy, moved_accuracy, *learnt_layer = trained(True, epochs)
linear, moved_linear, *_ = trained(False, epochs)
long, moved_long, *_ = trained(False, 10 * epochs)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
passes = np.arange(1, epochs + 1)
plotting.curves(
    {"convolution, ReLU, pooling, dense": (passes, accuracy), "dense alone": (passes, linear)},
    xlabel="passes over the training digits",
    ylabel="share right on digits never seen",
    title="Right answers on fresh digits",
    ax=left,
)
maps = np.maximum(conv2d(test_x[:1], *learnt_layer, padding=1)[0], 0)
grid = np.full((17, 45), np.nan)
grid[4:12, :8] = test_x[0, 0]
for f in range(8):
    row, column = 9 * (f // 4), 10 + 9 * (f % 4)
    grid[row : row + 8, column : column + 8] = maps[f] / max(maps[f].max(), 1e-12)
right.imshow(grid, cmap="gray")
right.set(title="A digit, and its 8 maps after the ReLU", xticks=[], yticks=[])
right.grid(False)
left.xaxis.get_major_locator().set_params(integer=True)
plt.show()
print(
    f"right on {len(test_y)} digits never seen: {accuracy[-1]:.1%} with the convolution, {linear[-1]:.1%} without; "
    f"{long[-1]:.1%} without, after {10 * epochs} passes"
)
print(
    f"the same digits moved by one pixel: {moved_accuracy:.1%} with, {moved_linear:.1%} without; "
    f"{moved_long:.1%} without, after {10 * epochs} passes"
)

# %% [markdown]
# ### 9.8 `depthwise_separable` · optional · level 3 of 4 · 20 min
#
# *Extra: it is graded, but its points are not added to your sum.*
#
# A full kernel mixes *places* and *channels* in one step: $F C k_h k_w$ weights. A **depthwise separable** layer does
# it in two steps:
#
# 1. **depthwise**: each channel has one kernel of its own, $m_{ncij} = \sum_{a,e} D_{cae}\, \tilde x_{n,c,is+a,js+e}$,
#    with $D$ of shape $(C, k_h, k_w)$: places only;
# 2. **pointwise**: each pixel's channels are mixed by one matrix, $y_{nfij} = \sum_c P_{fc}\, m_{ncij}$, with
#    $P$ of shape $(F, C)$: channels only. This is a "1 by 1 convolution".
#
# Insert the first into the second: it is a full layer with the kernels $w_{fcae} = P_{fc} D_{cae}$. So nothing new can
# be computed, but it costs less. For one picture with $H' W'$ outputs:
#
# | | weights | multiplications |
# | --- | --- | --- |
# | full | $F C k_h k_w$ | $F C k_h k_w \cdot H' W'$ |
# | separable | $C k_h k_w + F C$ | $(C k_h k_w + F C) \cdot H' W'$ |
#
# The ratio is $\frac1F + \frac1{k_h k_w}$. With 3 by 3 kernels and many filters nearly a ninth of the work is left.
# L. Sifre's thesis (2014) has such layers; Xception and MobileNet (both 2017) are built of them.


# %% exercise="depthwise_separable" points=3 minutes=20 extra=true forbids=["torch", "scipy", "numpy.fft", "numpy.lib.stride_tricks.sliding_window_view"] trains=["counting what a computation costs"]
def depthwise_separable(
    x: np.ndarray, depth: np.ndarray, point: np.ndarray, stride: int = 1, padding: int = 0
) -> np.ndarray:
    """A depthwise layer (with stride and padding), then a pointwise one; see the formulas above.

    x: (B, C, H, W); depth: (C, kh, kw); point: (F, C). Each may be float64 or float32, in any memory
    layout (also read-only), finite. All sizes are >= 1; stride >= 1, padding >= 0. No bias.

    Returns a new array (B, F, H', W'), H' and W' as in `output_size`; float32 if x, depth and point
    all are float32, else float64. Raises ValueError if the kernel is larger than the padded picture.
    Does not form the full kernel of F C kh kw numbers, nor a copy of all windows: besides the
    arguments, copies of them and the result, at most eight float64 arrays in all, each as large as
    the padded x or the result, whichever is larger.
    Leaves its arguments as they are. Not allowed: torch, scipy, numpy.fft and
    numpy.lib.stride_tricks.sliding_window_view.
    """
    ### BEGIN SOLUTION
    C, kh, kw = depth.shape
    oh = output_size(x.shape[2], kh, stride, padding)
    ow = output_size(x.shape[3], kw, stride, padding)
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    mixed = np.zeros((len(x), C, oh, ow), np.result_type(x, depth))
    for a in range(kh):
        for e in range(kw):
            met = x[:, :, a : a + stride * (oh - 1) + 1 : stride, e : e + stride * (ow - 1) + 1 : stride]
            mixed += depth[:, a, e, None, None] * met
    return (point @ mixed.reshape(len(x), C, oh * ow)).reshape(len(x), len(point), oh, ow)
    ### END SOLUTION


def layer_cost(C: int, F: int, kh: int, kw: int, oh: int, ow: int, separable: bool) -> tuple[int, int]:
    """(weights, multiplications) of a layer for one picture with an output of oh by ow.

    separable: of `depthwise_separable`, else of `conv2d`. No biases; multiplications by the zeros of
    the padding count. Exact Python integers of any size.
    """
    ### BEGIN SOLUTION
    weights = C * kh * kw + F * C if separable else F * C * kh * kw
    return weights, weights * oh * ow
    ### END SOLUTION


# %% [markdown] hints="depthwise_separable"
# <details><summary>Hint 1: places first</summary>
#
# Loop over the kernel entries (a, e), as in 9.4: each adds `depth[:, a, e, None, None] * slice` to an array (B, C, H',
# W').
# </details>
# <details><summary>Hint 2: then channels</summary>
#
# `point @ mixed.reshape(B, C, H' * W')` is a matrix product for each picture, with the result (B, F, H' W').
# </details>
# <details><summary>Hint 3: the cost</summary>
#
# Each weight is used once at each output position, in the full layer and in both parts of the separable one.
# </details>

# %% check="depthwise_separable"
with check(
    "depthwise_separable", forbids=["torch", "scipy", "numpy.fft", "numpy.lib.stride_tricks.sliding_window_view"]
):
    x = np.array([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # one picture, two channels, 1 by 2
    depth, point = np.array([[[1.0, 10.0]], [[2.0, 1.0]]]), np.array([[1.0, 0.0], [1.0, 100.0], [0.0, -1.0]])
    with expect_unchanged(x=x, depth=depth, point=point):
        got = depthwise_separable(x, depth, point)
    # depthwise: 1 + 20 = 21 and 6 + 4 = 10; pointwise: 21, 21 + 1000, -10
    expect_close(
        got,
        [[[[21.0]], [[1021.0]], [[-10.0]]]],
        rtol=1e-12,
        mistakes={"You turned the kernels.": [[[[12.0]], [[1112.0]], [[-11.0]]]]},
    )
    rng = np.random.default_rng(5)
    x, depth, point = rng.normal(size=(2, 3, 6, 7)), rng.normal(size=(3, 2, 3)), rng.normal(size=(4, 3))
    full = torch.from_numpy(point[:, :, None, None] * depth)  # the full kernel that does the same
    for stride, padding in [(1, 0), (2, 1), (3, 2)]:
        expected = torch.nn.functional.conv2d(torch.from_numpy(x), full, stride=stride, padding=padding).numpy()
        got = depthwise_separable(x, depth, point, stride, padding)
        expect_close(got, expected, hint=f"a full layer with point * depth, stride {stride}, padding {padding}")
    expect_dtype(depthwise_separable(*(a.astype(np.float32) for a in (x, depth, point))), np.float32)
    with expect_raises(ValueError, hint="a kernel with 2 rows does not fit into 1"):
        depthwise_separable(x[:, :, :1], depth, point)
    for (C, F, side, k), most, avoid in [  # all windows: 255 MB; the full kernel of 600 to 600 channels: 26 MB
        ((2, 3, 280, 15), 60, "do not copy all windows"),
        ((600, 600, 3, 3), 15, "do not form the full kernel"),
    ]:
        x, depth, point = rng.normal(size=(1, C, side, side)), rng.normal(size=(C, k, k)), rng.normal(size=(F, C))
        tracemalloc.start()
        depthwise_separable(x, depth, point)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        assert peak < most, f"{C} channels of {side} by {side}, kernels {k} by {k}: {peak:.0f} MB are made; {avoid}"
    expect_close(layer_cost(2, 3, 5, 7, 11, 13, separable=False), (210, 210 * 143), atol=0)
    expect_close(
        layer_cost(2, 3, 5, 7, 11, 13, separable=True),
        (76, 76 * 143),  # 2 * 5 * 7 + 3 * 2 weights
        atol=0,
        mistakes={"The depthwise kernels are one for each channel, not one for each filter.": (111, 111 * 143)},
    )

# %% [markdown]
# The table shows layers of the sizes that real networks have, and one with a large kernel, with the costs from your
# function. "ratio" compares the counts, "timed" the seconds that torch takes for the two layers and four pictures on
# this machine. The two may differ much, in both directions: a depthwise step does few multiplications for each number
# that it reads, so memory decides its time, and the routine for a full layer is faster for some sizes than for others.
# The last column shows what the cheaper layer gives up: a full kernel has many more numbers to choose than
# $P_{fc} D_{cae}$. It is the share of a full kernel's sum of squares that the best separable kernel keeps, for at most
# four random channels. For each channel $c$ the best one is the first singular vector pair of the $(F, k_h k_w)$ matrix
# $w_{f c \cdot}$. A random kernel is nearly the worst case: its size is spread over all directions. A learnt kernel is
# often smoother and loses less. And a separable network is not made by cutting a full one: it is trained as such from
# the start.

# %% tags=["demo"]
conv = torch.nn.functional.conv2d


def seconds(call):
    """The shortest of four calls."""
    taken = []
    for _ in range(4):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)


draw = np.random.default_rng(0)
print(f"{'C':>5}{'F':>5}{'kernel':>8}{'output':>11}{'full':>17}{'separable':>16}{'ratio':>8}{'timed':>8}{'kept':>7}")
for C, F, k, side in [(3, 64, 7, 112), (64, 128, 3, 56), (256, 256, 3, 28), (512, 512, 3, 14), (512, 512, 7, 14)]:
    (_, full), (_, cheap) = (layer_cost(C, F, k, k, side, side, separable) for separable in (False, True))
    x, w = torch.randn(4, C, side, side), torch.randn(F, C, k, k)
    depth, point = torch.randn(C, 1, k, k), torch.randn(F, C, 1, 1)
    whole = seconds(lambda x=x, w=w: conv(x, w, padding=w.shape[2] // 2))
    parts = seconds(lambda x=x, d=depth, p=point: conv(conv(x, d, padding=d.shape[2] // 2, groups=len(d)), p))
    kernels = draw.normal(size=(min(C, 4), F, k * k))
    values = np.linalg.svd(kernels, compute_uv=False)
    kept = np.mean(values[:, 0] ** 2 / (values**2).sum(axis=1))
    print(
        f"{C:5}{F:5}{k:>6}×{k}{side:>7}×{side:<3}{full:17,}{cheap:16,}{cheap / full:8.3f}{parts / whole:8.3f}{kept:7.0%}"
    )

# %% [markdown]
# ## Scale it
#
# ### Where the copy does not fit
#
# The matrix of im2col has $B H' W'$ rows and $C k_h k_w$ columns. At stride 1 it is about $k_h k_w$ times as large as
# the picture. In numbers: 32 photographs of 1024 by 1024 pixels, 3 channels, float64: 805 MB. With kernels of 11 by 11
# their im2col matrix is 121 times as large, about 97 GB. But the product does not need the whole matrix at once. Output
# rows are independent of each other: copy the windows of *some* outputs, multiply, and use the memory again for the
# next ones. The work is the same, the matrices are still large, and the memory is whatever you allow. Libraries go
# further: they copy such blocks into the cache or the registers of the processor, so that the whole matrix never
# exists in main memory at all ("implicit GEMM", general matrix multiplication).
#
# ### 9.9 `conv2d_blocked` · essential · level 3 of 4 · 40 min
#
# The same result as 9.1, at a size where the copy does not fit and where a loop over the outputs takes too long. The
# hints lay each window into a *column*: then the product comes out as (F, outputs), in the order of the result.


# %% exercise="conv2d_blocked" points=3 minutes=40 forbids=["torch", "scipy", "numpy.fft", "numpy.lib.stride_tricks.sliding_window_view"] trains=["strided memory", "counting what a computation costs"]
def conv2d_blocked(x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    """`conv2d` (without flip) by matrix products on blocks of windows.

    Arguments, result, dtypes and errors are those of `conv2d`. In addition:
    - Memory: besides the arguments, a float64 copy of w and the result, at most one float64 copy of
      the padded x and 32 MB (2^25 bytes), whatever the shapes, the dtypes and the memory layout of x:
      also for one very wide picture, for very many small ones, and for many filters. np.pad keeps
      the memory layout and the dtype of x, so a reshape or an astype after it is a second copy. One
      window never has more than 10,000 numbers, and F is at most 10,000.
    - Time: no Python loop over single output positions. Loops over pictures, over blocks, over
      output rows and over kernel entries are fine.
    Leaves its arguments as they are. Not allowed: torch, scipy, numpy.fft and
    numpy.lib.stride_tricks.sliding_window_view.
    """
    ### BEGIN SOLUTION
    F, C, kh, kw = w.shape
    dtype = np.result_type(x, w, b)
    oh = output_size(x.shape[2], kh, stride, padding)
    ow = output_size(x.shape[3], kw, stride, padding)
    if padding:
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows, kernels = im2col(x, kh, kw, stride), w.reshape(F, C * kh * kw)
    out = np.empty((len(x), F, oh, ow), dtype)
    some = 2**20 // max(C * kh * kw, F)  # so many outputs at a time: three blocks of at most 8 MB
    columns = min(ow, some)
    rows = some // columns
    for n in range(len(x)):
        for i in range(0, oh, rows):
            for j in range(0, ow, columns):
                block = windows[n, :, i : i + rows, j : j + columns]  # (C, r, c, kh, kw), a view
                r, c = block.shape[1:3]
                matrix = block.transpose(0, 3, 4, 1, 2).reshape(C * kh * kw, r * c)  # the copy, of this block only
                made = (kernels @ matrix).reshape(F, r, c)
                out[n, :, i : i + rows, j : j + columns] = made + b[:, None, None]
    return out
    ### END SOLUTION


# %% [markdown] hints="conv2d_blocked"
# <details><summary>Hint 1: how much at a time</summary>
#
# One output position needs C kh kw numbers for its window and F for its results, 8 bytes each. How many positions fit
# into, say, 8 MB? Take one picture at a time, and cut it.
# </details>
# <details><summary>Hint 2: one block</summary>
#
# `windows = im2col(x, kh, kw, stride)` is a view. `windows[n, :, i : i + rows, j : j + columns]` is still one. Its
# `transpose(0, 3, 4, 1, 2).reshape(C * kh * kw, -1)` is a copy, of this block only: one column for each output.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# `w.reshape(F, -1) @ matrix` is (F, rows · columns). Write it, plus the bias, into
# `out[n, :, i : i + rows, j : j + columns]`. Choose `columns = min(ow, some)` and `rows = some // columns`, so that a
# picture that is wider than a block is cut along its width, too.
# </details>

# %% check="conv2d_blocked"
with check("conv2d_blocked", forbids=["torch", "scipy", "numpy.fft", "numpy.lib.stride_tricks.sliding_window_view"]):
    rng = np.random.default_rng(6)
    for shape, (F, kh, kw), stride, padding in [
        ((2, 3, 5, 8), (4, 2, 3), 1, 0),
        ((3, 2, 7, 6), (1, 3, 2), 2, 1),
        ((1, 1, 4, 4), (2, 1, 1), 3, 2),
    ]:
        x, w, b = rng.normal(size=shape), rng.normal(size=(F, shape[1], kh, kw)), rng.normal(size=F)
        with expect_unchanged(x=x, w=w, b=b):
            got = conv2d_blocked(x, w, b, stride, padding)
        peer = torch.nn.functional.conv2d(*map(torch.from_numpy, (x, w, b)), stride=stride, padding=padding)
        expect_close(got, peer.numpy(), hint=f"torch on {shape}, kernel {(kh, kw)}, stride {stride}, padding {padding}")
    expect_dtype(conv2d_blocked(*(a.astype(np.float32) for a in (x, w, b))), np.float32)
    expect_dtype(conv2d_blocked(x.astype(np.float32), w, b), np.float64, hint="one of the three is float64")
    with expect_raises(ValueError, hint="a kernel with 3 columns does not fit into 2"):
        conv2d_blocked(np.ones((1, 1, 9, 2)), np.ones((1, 1, 1, 3)), np.ones(1))
    for shape, F, k in [  # all windows at once are more than 120 MB; with 1,000 filters all products are 77 MB
        ((1, 1, 280, 280), 1, 15),
        ((1, 1, 15, 70_000), 1, 15),  # one wide picture
        ((200, 1, 40, 40), 1, 9),  # many small ones
        ((1, 1, 100, 100), 1000, 3),  # many filters
    ]:
        x, w, b = rng.normal(size=shape), rng.normal(size=(F, 1, k, k)), np.zeros(F)
        tracemalloc.start()
        got = conv2d_blocked(x, w, b)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        allowed = (x.nbytes + w.nbytes + got.nbytes + 2**25) / 1e6  # copies of x and w, the result, and 32 MB
        assert peak < allowed, f"pictures {shape}, {F} filters: {peak:.0f} MB are made, {allowed:.0f} MB are allowed"
    w, b = np.ones((1, 1, 3, 3)), np.zeros(1)
    for kind, order, side in [
        (np.float64, "F", 2800),
        (np.float32, "C", 4000),
    ]:  # what np.pad makes is no copy to spare
        x = np.ones((1, 1, side, side), kind, order)
        tracemalloc.start()
        conv2d_blocked(x, w, b, stride=40, padding=1)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        allowed = (8 * (side + 2) ** 2 + 2**25) / 1e6  # one float64 copy of the padded x, and 32 MB
        assert peak < allowed, (
            f"{side} by {side}, {x.dtype} in {order} order: {peak:.0f} MB are made, {allowed:.0f} MB are allowed"
        )

# %% [markdown]
# ### What the copy costs
#
# The cell convolves one picture of growing size with an 11 by 11 kernel, once with the whole matrix and once in your
# blocks, and counts the bytes that each of them makes. The bytes of the whole matrix grow with the number of pixels.
# Your blocks stop growing when a block is full; from there on only the result grows. The last line is arithmetic: how
# large a picture may become in 2 GB.


# %% tags=["demo"]
def whole_matrix(x, w, b):
    """The textbook's im2col: one copy of all windows, one product."""
    windows = im2col(x, *w.shape[2:])
    B, C, oh, ow, kh, kw = windows.shape
    matrix = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, C * kh * kw)
    return (matrix @ w.reshape(len(w), -1).T + b).reshape(B, oh, ow, -1).transpose(0, 3, 1, 2)


sides = demo_size(full=[64, 128, 256, 384, 512], small=[48, 96, 192])
peaks = {"whole matrix": [], "blocks": []}
for side in sides:
    arguments = (np.ones((1, 1, side, side)), np.ones((1, 1, 11, 11)), np.zeros(1))
    for name, layer in [("whole matrix", whole_matrix), ("blocks", conv2d_blocked)]:
        tracemalloc.start()
        layer(*arguments)
        peaks[name].append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
ax = plotting.curves(
    {
        "whole matrix": (sides, peaks["whole matrix"]),
        "your blocks": (sides, peaks["blocks"]),
        "the picture": (sides, [8 * side**2 for side in sides]),
    },
    xlabel="side of the picture",
    ylabel="bytes made",
    logx=True,
    logy=True,
    title="The whole matrix is two powers of ten above the picture",
)
ax.set_xticks(sides, sides)
ax.minorticks_off()
plt.show()
fits = int(np.sqrt(2e9 / 121 / 8))
print(
    f"the whole matrix at side {sides[-1]}: {peaks['whole matrix'][-1]:,} bytes; blocks: {peaks['blocks'][-1]:,} bytes"
)
print(
    f"in 2 GB the whole matrix fits up to a side of about {fits:,}; the picture itself fits up to {int(np.sqrt(2e9 / 8)):,}"
)

# %% [markdown]
# ### A third way: the Fourier transform
#
# Loops and matrix products need $k_h k_w$ multiplications for each output and pair of channels. There is a way whose
# cost does not depend on the kernel. Continue $x$ periodically and expand it into waves. A shift by $a$ multiplies the
# wave of frequency $\omega$ by $e^{\mathrm{i}\omega a}$, so a weighted sum of shifts multiplies it by one number:
#
# $$y_i = \sum_a w_a x_{i+a} \quad\Longrightarrow\quad
# \hat y(\omega) = \Bigl(\sum_a w_a e^{\mathrm{i}\omega a}\Bigr)\, \hat x(\omega) = \overline{\hat w(\omega)}\, \hat x(\omega) .$$
#
# Here $e$ and $\mathrm{i}$ are Euler's number and the imaginary unit, as nowhere else in this module; $\hat y(\omega)$
# is the amplitude (a complex number) of the wave with frequency $\omega$ in $y$, and $w$ is real. (The bar is there because it is a
# correlation: true convolution has none.) Transform picture and kernels with the fast Fourier transform, multiply, sum
# over the channels, and transform back. Outputs whose window stays inside the picture do not notice the periodic
# continuation. The costs for one picture with $N = H W$ pixels and $k$ by $k$ kernels, at stride 1:
#
# | | multiplications | memory besides input and result |
# | --- | --- | --- |
# | loops | $F C k^2 N$ | one window |
# | im2col | $F C k^2 N$, in one matrix product | $C k^2 N$, or a block |
# | FFT | $\approx (C + F + F C) N \log N$ for the transforms, then $\approx 2 F C N$; the logarithm is to base 2 | $(C + F + F C) N$: each kernel becomes as large as a picture |
# | depthwise separable (another layer) | $(C k^2 + F C) N$ | $C N$ |
#
# Loops and im2col do the *same* multiplications. If they differ in time, the difference is what a Python step costs,
# and the order in which memory is read. The FFT must win for large kernels, and must lose for small ones. A stride
# makes the first two cheaper by $s^2$; the FFT computes all outputs and throws most of them away.
#
# Now measure. Four programs on one core, float32, $C = F = 4$: loops over the output positions, your `conv2d_blocked`,
# the FFT below, and the peer, torch. Left the picture grows, with kernels of 5 by 5; right the kernel grows, on a
# picture of 64 by 64. Both axes are logarithmic. The cell prints where the curves cross *on this machine*, and for so
# few channels: four are chosen for time. Real layers have 64 and more. They give a matrix product more to gain, and
# share each transform of a picture among more filters.


# %% tags=["demo"]
import scipy.fft


def by_loops(x, w, b):
    """Every output position in turn, as in 9.1."""
    (B, _, H, W), (F, _, kh, kw) = x.shape, w.shape
    out = np.empty((B, F, H - kh + 1, W - kw + 1), x.dtype)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = np.tensordot(x[:, :, i : i + kh, j : j + kw], w, axes=([1, 2, 3], [1, 2, 3])) + b
    return out


def by_fft(x, w, b):
    """Correlation as a product of waves; outputs whose window would run past the border are cut off."""
    (H, W), (kh, kw) = x.shape[2:], w.shape[2:]
    size = scipy.fft.next_fast_len(H, real=True), scipy.fft.next_fast_len(W, real=True)
    waves = np.einsum("nchw,fchw->nfhw", scipy.fft.rfft2(x, size), scipy.fft.rfft2(w, size).conj(), optimize=True)
    return scipy.fft.irfft2(waves, size)[:, :, : H - kh + 1, : W - kw + 1] + b[:, None, None]


def by_torch(x, w, b):
    return torch.nn.functional.conv2d(*map(torch.from_numpy, (x, w, b))).numpy()


def problem(side, k, channels=4):
    draw = np.random.default_rng(side + k)
    shapes = [(1, channels, side, side), (channels, channels, k, k), (channels,)]
    return tuple(draw.normal(size=shape).astype(np.float32) for shape in shapes)


def last_crossing(sizes, one, other):
    """(where, who is faster beyond it): the last crossing of two measured curves, straight between points on log axes."""
    known = np.isfinite(one) & np.isfinite(other)
    at, gap = np.log(np.asarray(sizes)[known]), np.log(other[known] / one[known])  # above 0: `one` is faster
    turns = np.flatnonzero(np.sign(gap[:-1]) != np.sign(gap[1:]))
    if not len(turns):
        return None, gap[-1] > 0, np.exp(at[-1])
    t = turns[-1]
    where = at[t] + (at[t + 1] - at[t]) * gap[t] / (gap[t] - gap[t + 1])
    return np.exp(where), gap[-1] > 0, np.exp(at[-1])


def sentence(found, one, other, what):
    where, first_wins, end = last_crossing(found.sizes, found.seconds[one], found.seconds[other])
    winner, loser = (one, other) if first_wins else (other, one)
    both = np.isfinite(found.seconds[one] + found.seconds[other]).sum()
    measured = f"both measured up to {end:.0f}" if both > 2 else f"only {both} sizes of both: run it on an idle machine"
    if where is None:
        return f"{winner} is faster than {loser} at every {what} measured ({measured})."
    return f"{winner} overtakes {loser} at a {what} of about {where:.0f} ({measured})."


ways = {"loops": by_loops, "im2col": conv2d_blocked, "FFT": by_fft, "torch": by_torch}
gaps = [np.abs(way(*problem(24, 5)) - by_torch(*problem(24, 5))).max() for way in ways.values()]
print("largest difference to torch, float32:", ", ".join(f"{n} {g:.0e}" for n, g in zip(ways, gaps, strict=True)))
settings = {"threads": 1, "memory": None, "budget": demo_size(full=9.0, small=1.5)}
grown = scaling.measure(
    ways,
    sizes=demo_size(full=[8, 16, 32, 64, 128, 256, 512], small=[8, 16, 32]),
    setup=lambda n: problem(n, 5),
    label="side of the picture",
    **settings,
)
side = demo_size(full=64, small=24)
kernels = scaling.measure(
    ways,
    sizes=demo_size(full=[1, 3, 5, 9, 15, 25, 45], small=[1, 3, 7, 13]),
    setup=lambda k: problem(side, k),
    label="side of the kernel",
    **settings,
)
figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5))
grown.plot(peer="torch", ax=left)
left.set_title("The picture grows, kernels 5 × 5")
kernels.plot(peer="torch", ax=right)
right.set_title(f"The kernel grows, picture {side} × {side}")
for line in right.lines:  # these curves are no powers of k: names without exponents
    line.set_label(line.get_label().split(":")[0])
plotting.legend_below(right, columns=1)
for ax, found in [(left, grown), (right, kernels)]:
    ax.set_xticks(found.sizes, [f"{n:.0f}" for n in found.sizes])
    ax.minorticks_off()
plt.show()
print(f"The picture grows, kernels 5 × 5 (on one core of this machine, {time.strftime('%Y-%m-%d')}):")
for pair in [("im2col", "loops"), ("FFT", "loops"), ("FFT", "im2col"), ("torch", "im2col")]:
    print("  " + sentence(grown, *pair, "side"))
print(f"The kernel grows, picture {side} × {side}:")
for pair in [("im2col", "loops"), ("FFT", "im2col"), ("FFT", "torch")]:
    print("  " + sentence(kernels, *pair, "kernel side"))
counted = np.sqrt((4 + 4 + 16) / 16 * np.log2(side**2) + 2)  # F C k² = (C + F + F C) log N + 2 F C
print(f"  The counts in the table above are equal for FFT and im2col at a kernel side of {counted:.1f}.")

# %% [markdown]
# **How to read it.** In the left panel the work of all four grows in proportion to the number of pixels (times a
# logarithm for the FFT), so for large pictures all slopes tend to 2 on an idle machine; a slope is steeper where a
# larger picture no longer fits into the cache. Loops pay a fixed price for each output, mostly Python's, and stay above
# by a constant factor. Where a curve is flat at its left end, you see the overhead of a call, not work. In the right
# panel the FFT is flat, or falls: its work does not depend on the kernel, and larger kernels leave fewer outputs. Loops
# cost a fixed time for each output, so their curve falls as larger kernels leave fewer outputs. im2col grows with $k^2$
# at first, because its copy and its product do. Its work is $k^2 (H - k + 1)^2$, which is largest where the kernel is
# half as wide as the picture; beyond that there are fewer and fewer outputs. So im2col and the FFT cross. The measured
# crossing may lie at a larger kernel than the counted one, which the last line prints: a matrix product does more
# multiplications in a second than a transform, which moves data in every step. If your im2col copies slowly, the
# crossing lies lower, and loops may even overtake im2col at the largest kernels, where few outputs are left. Counts
# give the order of growth, not the constant.
#
# **Who wins, and why.** torch calls routines that are compiled for this processor. They read the windows from the cache
# and need not write a matrix of windows to memory; for 3 by 3 kernels some use Winograd's algorithm, which needs fewer
# multiplications. So on large pictures torch wins as long as kernels are small, which is nearly everywhere in practice.
# On small pictures the overhead of a call decides, and your blocks may win. If a crossing of torch and FFT is printed,
# a few lines with scipy's FFT win beyond it: $k^2$ grows, and its own cost does not. (In the small setting there may
# be no crossing.) This is why libraries choose the algorithm for each layer by its sizes, and why people with large
# kernels (astronomy, physics, long one-dimensional filters) use transforms.
#
# **Where it breaks.** A picture that does not fit into one machine is cut into tiles. Each tile needs a border from its
# neighbours, the **halo**: $(k - 1)/2$ pixels on each side, so $k - 1$ rows and $k - 1$ columns in all, and with $L$
# layers at stride 1 $L$ times as much. The share of the halo decides how small tiles may be. And in training, the maps
# of *all* layers have to stay in memory until the backward pass. They, and not the weights, fill the GPU; module 08
# recomputes them, and module 17 cuts layers over machines.

# %% [markdown] written="which_algorithm" points=2
# **Written question (2 points).** A satellite delivers pictures of 20,000 by 20,000 pixels with 8 channels in float32.
# A first layer is to have 32 filters of 31 by 31 at stride 1; a colleague plans im2col with one large matrix product.
# (a) Compute the bytes of the picture, of the im2col matrix and of the output. (b) Name two other ways to compute the
# same layer, with their multiplications for each output pixel, and say which one you would take. (c) Name one change of
# the *layer* that makes it at least ten times as cheap, and what it gives up. (d) The work is cut into tiles over 100
# machines: what travels between machines, and how much of it at 2000 by 2000 pixels a tile?
#
# ### BEGIN SOLUTION
# (a) Picture: 20,000² · 8 · 4 bytes = 12.8 GB. im2col: about 31² = 961 times as much, 12.3 TB. Output: 20,000² · 32 · 4
# = 51.2 GB. The matrix does not fit anywhere; blocks of it do. (b) Direct or blocked: 32 · 8 · 961, about 246,000
# multiplications for each pixel of the plane. FFT on tiles, counted as in the table: 8 + 32 transforms of a tile (the
# kernels' transforms are reused for all tiles), each log2(N) = 22 per pixel for N = 2030², so 880, plus the products, 2
# · 32 · 8 = 512: about 1,400, more than a hundred times less. (Another constant for the transform is as good.) Take the
# FFT on tiles that overlap ("overlap-save"). (c) Depthwise separable: 8 · 961 + 256, about 31 times less; gives up
# kernels that differ by filter. Or stride 4: 16 times less, gives up resolution and shift equivariance below 4 pixels.
# Or a stack of 3 × 3 layers, or dilation: the same span with fewer weights, gives up general kernels. (d) The halo: 30
# rows and columns in all (15 on each side), of 8 channels: (2030² − 2000²) · 8 · 4 bytes, about 3.9 MB a tile, 3 % of
# its 128 MB; weights are 1 MB and are sent once. In training the gradients of the weights are added up over machines,
# and the halo of the gradient travels back.
#
# ### RUBRIC
# - 0.5: (a) 12.8 GB, 12.3 TB and 51.2 GB. Slips in arithmetic do not matter, here and below.
# - 0.5: (b) Two ways with their multiplications for each pixel, such as direct (246,000) and FFT on tiles (about
#   1,400), and the cheaper one is taken.
# - 0.5: (c) A change of the layer that saves a factor of ten, such as depthwise separable or a stride of 4, and what
#   it gives up.
# - 0.5: (d) The halo travels, 30 rows and columns in all: about 3.9 MB a tile.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. The gradient with respect to $x$ at stride $s$ is called a *transposed convolution*, and is used to enlarge
#    pictures. Which pixels of its output get contributions from how many inputs at $k = 3$, $s = 2$? What pattern does
#    this leave in generated pictures?
# 2. A layer with padding knows where the border is. Can a network with zero padding tell a pixel's position? Is the
#    first assumption of this module still true?
# 3. Winograd's algorithm computes two outputs of a 3-tap filter with four multiplications instead of six. Derive it for
#    one axis. Why do float16 networks use it with care?
# 4. Max pooling with ties: all subgradients divide one unit. Does the choice matter for where training ends? How would
#    you measure it?
# 5. Attention (module 12) has no locality and no weight sharing over places. What must it learn from data that a
#    convolution has built in, and when is that an advantage?
#
# References:
#
# - K. Fukushima, "Neocognitron: a self-organizing neural network model for a mechanism of pattern recognition
#   unaffected by shift in position", *Biological Cybernetics*, 1980. Shared local weights and pooling, before
#   backpropagation.
# - Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
#   *Proceedings of the IEEE*, 1998. LeNet-5: a larger network of the kind in 9.7.
# - V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", arXiv, 2016. All output sizes, with
#   drawings.
# - K. Chellapilla, S. Puri and P. Simard, "High performance convolutional neural networks for document processing",
#   *IWFHR*, 2006. Where im2col and the matrix product were first used for networks.
# - S. Chetlur and others, "cuDNN: efficient primitives for deep learning", arXiv, 2014. The im2col product without
#   the matrix in main memory: implicit GEMM.
# - M. Mathieu, M. Henaff and Y. LeCun, "Fast training of convolutional networks through FFTs", *ICLR*, 2014. When
#   transforms pay.
# - A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", *CVPR*, 2016. Winograd's algorithm for
#   small kernels.
# - A. van den Oord and others, "WaveNet: a generative model for raw audio", arXiv, 2016. Causal and dilated, for
#   speech.
# - A. G. Howard and others, "MobileNets: efficient convolutional neural networks for mobile vision applications",
#   arXiv, 2017. Depthwise separable layers, counted.
# - R. Zhang, "Making convolutional networks shift-invariant again", *ICML*, 2019. Why pooling with a stride is not
#   invariant.
#
# At work: `torch.nn.functional.conv2d` (on a GPU through cuDNN, with `channels_last` and bfloat16);
# `scipy.signal.oaconvolve` where kernels are large; `scipy.ndimage` for filters on pictures.
