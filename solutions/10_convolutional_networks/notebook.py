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
# # 10 · Convolutional networks
#
# **What you will be able to do.** Count what a network costs before you build it. Write batch normalisation and the
# residual block, and say why a deep network trains with them and not without. Predict the widths that meet a parameter
# budget. Train in mixed precision, stop at any step and go on without losing a bit. Then use the same network to find
# objects (detection) and to give each pixel a class (segmentation), and measure both.
#
# **You need** convolution and pooling as in module 09, the chain rule, softmax and cross-entropy (module 03), Adam
# (module 02), and the basics of `torch.nn.Module`. Convolution itself is taken from torch here.
#
# **Skills it trains**: counting what a computation costs, statistics inside a network, parts that fit together, state
# that must survive, greedy algorithms, index arithmetic that is right at the borders, honest evaluation.
#
# **Time**: about five hours, about three of them in seven exercises and a bug to find; two more are extra. Each exercise
# says how important it is (essential, important, optional), its level, which is also its points, and its minutes.
#
# **Symbols of the whole module**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $x$ | `x`, `images` | $(B, C, H, W)$ | a batch of $B$ images with $C$ channels, height $H$ and width $W$ |
# | $O$, $k$, $s$, $p$ | `out`, `kernel`, ... | | channels that leave a convolution ($F$ in module 09), its kernel, its stride, its padding |
# | $G$ | `groups` | | groups of channels that a convolution keeps apart |
# | $n$ | | | numbers of one channel in a batch: $n = B H W$ (in 10.8: boxes) |
# | $\mu$, $\sigma^2$ | | $(C,)$ | mean and variance of each channel over the batch |
# | $\gamma$, $\beta$ | `weight`, `bias` | $(C,)$ | scale and shift that are learnt |
# | $\alpha$ | `momentum` | | share of the new batch in the running statistics |
# | $F$, $S$, $L$ | | | what a residual block adds to its input (`F` in code is torch.nn.functional), its shortcut, the number of blocks |
# | $q$ | `dropout` | | probability that a feature is set to 0 ($p$ in module 08) |
# | $J$, $m$ | | | the loss; the number of images in all |
# | $\eta$, $t$, $T$ | `lr`, `t`, `steps` | | learning rate, number of the step (from 0; $k$ in module 02), steps in all (in 10.10: frames) |
# | $P$ | | | machines |

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, device, plotting, scaling
    from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_shape, expect_unchanged
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import copy
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

plotting.use()
checking.start("10_convolutional_networks", total=10)


# The layers that `count_costs` knows. A stack is a list of them.
def conv(out: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1, bias: bool = True) -> dict:
    sizes = {"out": out, "kernel": kernel, "stride": stride, "padding": padding}
    return {"kind": "conv", **sizes, "groups": groups, "bias": bias}


def norm() -> dict:
    return {"kind": "norm"}


def relu() -> dict:
    return {"kind": "relu"}


def pool(kernel: int, stride: int, padding: int = 0) -> dict:
    return {"kind": "pool", "kernel": kernel, "stride": stride, "padding": padding}


def average() -> dict:
    return {"kind": "average"}


def flatten() -> dict:
    return {"kind": "flatten"}


def linear(out: int, bias: bool = True) -> dict:
    return {"kind": "linear", "out": out, "bias": bias}


def residual(body: list[dict], shortcut: Sequence[dict] = ()) -> dict:
    return {"kind": "residual", "body": list(body), "shortcut": list(shortcut)}


class PlainBlock(nn.Module):
    """Two 3 × 3 convolutions with batch normalisation and ReLU after each. The first one has the stride."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


def parameter_count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def batch_rows(m: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """The rows of one step, (min(batch_size, m),) int64, all different. They depend on these four numbers only."""
    return np.random.default_rng([seed, step]).choice(m, min(batch_size, m), replace=False)


def as_input(images: np.ndarray) -> torch.Tensor:
    """Pictures (n, h, w, 3) uint8 as the input of a network: (n, 3, h, w) float32, from -0.5 to 0.5."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32) / 255 - 0.5)


def cut_out(image: np.ndarray, box: Sequence[float], size: int = 16) -> np.ndarray:
    """The part of a picture (h, w, 3) in a box x0, y0, x1, y1, as (size, size, 3) by the nearest pixels."""
    x0, y0, x1, y1 = box
    at = (np.arange(size) + 0.5) / size
    rows = np.clip(np.floor(y0 + at * (y1 - y0)).astype(int), 0, image.shape[0] - 1)
    columns = np.clip(np.floor(x0 + at * (x1 - x0)).astype(int), 0, image.shape[1] - 1)
    return image[rows[:, None], columns]


NAMES = ("nothing", *datasets.shapes(1, size=16).names)


def crops(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut-outs of n rendered pictures: each object, and two windows that are not centred on an object.

    Returns images (m, 16, 16, 3) uint8 and classes (m,) int64: 0 is nothing, 1 to 4 are the shapes.
    """
    pictures, rng = datasets.shapes(n, size=64, most=3, seed=seed), np.random.default_rng([seed, 1])
    images, classes = [], []
    for image, boxes, labels in zip(pictures.images, pictures.boxes, pictures.labels, strict=True):
        middles = (boxes[:, 2:] + boxes[:, :2]) / 2
        for middle, box, label in zip(middles, boxes, labels, strict=True):
            side = (box[2:] - box[:2]).max()
            at, half = middle + 0.1 * side * rng.uniform(-1, 1, 2), side * rng.uniform(0.5, 0.65)
            images.append(cut_out(image, (*(at - half), *(at + half))))
            classes.append(label + 1)
        for _ in range(2):
            half = rng.uniform(8, 15)
            tries = rng.uniform(half, 64 - half, (30, 2))
            distance = np.abs(tries[:, None] - middles).max(axis=2).min(axis=1)  # to the nearest object's middle
            at = tries[np.argmax(np.minimum(distance, 0.6 * half))]  # the first one far enough, or else the farthest
            images.append(cut_out(image, (*(at - half), *(at + half))))
            classes.append(0)
    return np.array(images), np.array(classes)


# %% [markdown]
# ## Derive
#
# ### From a filter to a network
#
# Module 09 ended with a fast convolution and its gradient. A **convolutional network** stacks them. Early layers see
# edges, later ones see parts and whole objects, and at the end a linear layer says which class it is. Two things
# come for free. A filter is used at each place, so what is learnt in one corner holds in all of them. And a layer with
# stride 2 halves both sides, so the next filter sees four times the area of the picture, at a quarter of the cost.
#
# So why not stack fifty of them? The picture below shows what happens before the first step of training. It takes
# stacks of 3 × 3 convolutions with ReLU, with random weights, sends random images through, and draws two sizes: that of
# the last output beside the input (left), and that of the loss's gradient at the first layer (right). (The line with the
# skip begins lower on the right, because each of its layers is multiplied by 0.1.)

# %% tags=["demo"]


class Skip(nn.Module):
    """x plus a fraction of what the body makes of it."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.1 * self.body(x)


def stack(depth: int, kind: str) -> nn.Sequential:
    """`depth` layers of 8 channels, "plain" (or with the start of "He"), with "norm", or with a "skip" around each."""
    layers = []
    for _ in range(depth):
        convolution = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        if kind == "He":
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        body = [convolution, *([nn.BatchNorm2d(8)] if kind in ("norm", "skip") else []), nn.ReLU()]
        layers.append(Skip(nn.Sequential(*body)) if kind == "skip" else nn.Sequential(*body))
    return nn.Sequential(*layers)


torch.manual_seed(0)
x = torch.randn(16, 8, 8, 8)
depths = [1, 2, 4, 8, 16, 32]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
kinds = {"plain": ("plain", "-"), "He": ("plain, He's start", "-."), "norm": ("batch norm", "--")}
for kind, (name, line) in (kinds | {"skip": ("batch norm + skip", ":")}).items():
    forward, backward = [], []
    for depth in depths:
        net = stack(depth, kind)
        out = net(x)
        (out * torch.randn_like(out)).mean().backward()
        forward.append((out.std() / x.std()).item())
        backward.append(next(net.parameters()).grad.norm().item())
    left.loglog(depths, forward, line, marker="o", label=name)
    right.loglog(depths, backward, line, marker="o", label=name)
left.set(xlabel="layers", ylabel="size of the output / of the input", title="Forward: a plain stack fades out")
right.set(xlabel="layers", ylabel="gradient at the first layer", title="Backward: the gradient fades, too")
left.legend()
plt.show()

# %% [markdown]
# The plain stack loses both, by about the same factor in each layer. (The axis of the layers is logarithmic, too, so the
# line bends down.) At 32 layers its output is next to nothing, and so is
# the gradient at its first layer. The start of module 08 (He) repairs most of this before the first step. But training then
# moves the weights, and nothing holds the size. Two ideas hold it at each step.
# **Batch normalisation** gives each channel mean 0 and variance 1 again after each layer. A **residual block** adds what
# it computes to its input, so that the input itself always goes through. Batch normalisation alone keeps the output in
# range, while the gradient now grows with the depth. With the residual block, the gradient stays in range, too.
#
# That is the plan: what does a network cost (10.1)? How do we keep the numbers in range (10.2), and what trap comes
# with it (10.3)? How do we keep the signal (10.4)? Then we put it together (10.5), train it (10.6), and make few pictures
# go further (10.7). At last we let it say where things are (10.8) and which pixel belongs to what (10.9).
#
# ### Where tutorials disagree
#
# | question | seen elsewhere | here |
# | --- | --- | --- |
# | operations of a layer | multiply-adds (MACs), or multiplications plus additions: twice as many | multiply-adds |
# | variance in batch normalisation | biased, or unbiased | biased to normalise, unbiased in the running one (as torch) |
# | momentum 0.1 | share of the new batch (torch), or of the old value (papers, Keras) | share of the new batch |
# | x1, y1 of a box | its last pixel, or one past it | one past it: the width is x1 − x0 |
# | boxes that overlap by exactly the threshold | suppressed, or kept | kept |
# | a class that no pixel has | IoU 0, 1, or left out | left out |

# %% [markdown]
# ## Implement
#
# ### 10.1 `count_costs` · essential · level 2 of 4 · 25 min
#
# A convolution with $O$ filters over $C$ channels in $G$ groups has $O \cdot \frac CG \cdot k^2$ weights, and $O$ biases
# if it has any. Its output has
#
# $$H' = \left\lfloor \frac{H + 2p - k}{s} \right\rfloor + 1, \qquad W' = \left\lfloor \frac{W + 2p - k}{s} \right\rfloor + 1$$
#
# rows and columns, and each of the $O H' W'$ numbers takes one multiply-add for each weight of its filter. So the
# operations are the weights times $H' W'$: **a weight of a convolution is used $H' W'$ times, a weight of a linear layer
# once.** That is why in old networks most parameters are in the last layers, and most of the work is in the first.
#
# The third cost is what has to be kept. To compute gradients, backpropagation needs the outputs of the layers again: the
# **activations**. Parameters are paid once. Activations are paid for each image of the batch.


# %% exercise="count_costs" points=2 minutes=25 forbids=["torch"] trains=["counting what a computation costs"]
def count_costs(layers: Sequence[dict], shape: tuple[int, ...]) -> dict[str, int | tuple[int, ...]]:
    """What a stack of layers costs for one image.

    shape: what comes in, (C, H, W) or (n,), a tuple of integers >= 1.
    layers: a sequence, maybe empty, of dicts as the functions of the setup cell make them. All keys
      are always there:
      {"kind": "conv", "out", "kernel", "stride", "padding", "groups", "bias"}: from (C, H, W). Kernel,
        stride and padding are the same for both sides. `bias` is a bool.
      {"kind": "pool", "kernel", "stride", "padding"}: output size as that of conv; C stays.
      {"kind": "norm"}: a scale and a shift for each of the C channels, or of the n entries.
      {"kind": "relu"}. {"kind": "average"}: (C, H, W) becomes (C, 1, 1).
      {"kind": "flatten"}: (C, H, W) becomes (C H W,); (n,) stays.
      {"kind": "linear", "out", "bias"}: from (n,).
      {"kind": "residual", "body", "shortcut"}: two such sequences, both from the same input, whose
        outputs are added. Residuals may stand in residuals, up to 20 deep.

    Returns a dict with these four entries:
      "parameters": an int, all weights, biases, scales and shifts.
      "multiply_adds": an int, those of conv and linear; the rest, bias included, counts as 0.
      "activations": an int, the sum of the sizes of all outputs. Flatten makes none, and a residual
        makes those of its body and its shortcut, and one for each number of the sum.
      "shape": what comes out, a tuple.
    All numbers are exact Python ints, up to 10^30. Time grows as the number of layers, those in
    residuals included. Leaves `layers` as it is.
    Raises ValueError for another kind; where an output would have no row or column; where C or
    `out` is no multiple of `groups`; where conv, pool or average meets (n,), or linear (C, H, W);
    where the two outputs of a residual differ in shape.
    Count by the formulas: torch is not allowed.
    """
    ### BEGIN SOLUTION
    parameters = multiply_adds = activations = 0
    for layer in layers:
        kind = layer["kind"]
        if kind in ("conv", "pool", "average", "linear") and len(shape) != (1 if kind == "linear" else 3):
            raise ValueError(f"{kind} cannot follow {shape}")
        if kind in ("conv", "pool"):
            kernel, stride, padding = layer["kernel"], layer["stride"], layer["padding"]
            height, width = ((side + 2 * padding - kernel) // stride + 1 for side in shape[1:])
            if min(height, width) < 1:
                raise ValueError(f"nothing is left of {shape}")
        if kind == "conv":
            out, groups = layer["out"], layer["groups"]
            if shape[0] % groups or out % groups:
                raise ValueError(f"{groups} groups of {shape[0]} and {out} channels")
            weights = out * (shape[0] // groups) * kernel**2
            parameters += weights + out * layer["bias"]
            multiply_adds += weights * height * width
            shape = (out, height, width)
        elif kind == "pool":
            shape = (shape[0], height, width)
        elif kind == "norm":
            parameters += 2 * shape[0]
        elif kind == "average":
            shape = (shape[0], 1, 1)
        elif kind == "flatten":
            shape = (math.prod(shape),)
            continue
        elif kind == "linear":
            parameters += layer["out"] * (shape[0] + layer["bias"])
            multiply_adds += layer["out"] * shape[0]
            shape = (layer["out"],)
        elif kind == "residual":
            body, shortcut = (count_costs(layer[side], shape) for side in ("body", "shortcut"))
            if body["shape"] != shortcut["shape"]:
                raise ValueError("body and shortcut differ in shape")
            parameters += body["parameters"] + shortcut["parameters"]
            multiply_adds += body["multiply_adds"] + shortcut["multiply_adds"]
            activations += body["activations"] + shortcut["activations"]
            shape = body["shape"]
        elif kind != "relu":
            raise ValueError(f"no such layer: {kind!r}")
        activations += math.prod(shape)
    return {"parameters": parameters, "multiply_adds": multiply_adds, "activations": activations, "shape": shape}
    ### END SOLUTION


# %% [markdown] hints="count_costs"
# <details><summary>Hint 1: one layer after the other</summary>
#
# Keep the shape in a variable. Each layer reads it, adds to three counters, and replaces it. Write conv first; the
# others have a part of it.
# </details>
# <details><summary>Hint 2: groups and residuals</summary>
#
# A filter sees C / groups channels, so it has C / groups · k² weights. A residual calls your own function twice, for its
# body and for its shortcut, with the same shape. An empty shortcut costs nothing and gives its input back.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# `weights = out * (shape[0] // groups) * kernel**2`; parameters get `weights + out * bias`, multiply-adds
# `weights * height * width`; then `activations += math.prod(shape)` with the new shape, for all layers but flatten.
# </details>

# %% check="count_costs"
with check("count_costs", forbids=["torch"]):
    expect_close(
        count_costs([conv(4, 3, padding=1)], (3, 8, 8)),
        # 4 filters of 3 · 3² = 27 weights, and 4 biases; 108 weights at 8 · 8 places; 4 · 8 · 8 outputs
        {"parameters": 112, "multiply_adds": 6912, "activations": 256, "shape": (4, 8, 8)},
        mistakes={
            "Each filter has one bias, not one for each place.": {
                "parameters": 108 + 256,
                "multiply_adds": 6912,
                "activations": 256,
                "shape": (4, 8, 8),
            },
            "You counted multiplications and additions apart; a multiply-add is one operation here.": {
                "parameters": 112,
                "multiply_adds": 2 * 6912,
                "activations": 256,
                "shape": (4, 8, 8),
            },
        },
    )
    expect_close(
        count_costs([conv(4, 3, stride=2, padding=1, groups=2, bias=False), norm()], (2, 6, 5)),
        # (6 + 2 - 3) // 2 + 1 = 3 rows and 3 columns; 4 filters of 1 · 3² weights, at 9 places; norm 2 · 4
        {"parameters": 44, "multiply_adds": 324, "activations": 72, "shape": (4, 3, 3)},
        hint="with groups, a filter sees C / groups channels; the division that gives the size rounds down",
    )
    expect_close(
        count_costs([pool(2, 2), relu(), flatten(), linear(5)], (2, 4, 4)),
        # the outputs have 8, 8 and 5 numbers, and flatten makes none
        {"parameters": 45, "multiply_adds": 40, "activations": 21, "shape": (5,)},
    )
    expect_close(
        count_costs([residual([conv(2, 1), norm()], [conv(2, 1, bias=False)]), average()], (1, 2, 3)),
        # body 4 + 4 parameters, shortcut 2; outputs 12 + 12 + 12, the sum 12, the average 2
        {"parameters": 10, "multiply_adds": 24, "activations": 50, "shape": (2, 1, 1)},
    )
    expect_close(count_costs([], (7,))["shape"], (7,))
    for wrong_stack in (
        [conv(2, 5)],
        [linear(2)],
        [{"kind": "tanh"}],
        [residual([conv(4, 1)])],
        [conv(3, 1, groups=2)],
    ):
        with expect_raises(ValueError, hint="a kernel that does not fit, a linear layer on (C, H, W), an unknown kind"):
            count_costs(wrong_stack, (2, 4, 4))

# %% [markdown]
# Four networks from 1998 to 2015. LeNet-5 (1998, as it is mostly built today) reads digits. AlexNet (2012, with
# its two groups), VGG-16 (2014) and ResNet-50 (2015) read pictures of 224 or 227 pixels and tell 1,000 classes apart.
# The bars show which share of each cost of VGG-16 each layer has, all from your function.

# %% tags=["demo"]
vgg, places = [], []
for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
    vgg += [part for _ in range(count) for part in (conv(width, 3, padding=1), relu())] + [pool(2, 2)]
vgg += [flatten(), linear(4096), relu(), linear(4096), relu(), linear(1000)]


def bottleneck(width: int, stride: int, first: bool) -> dict:
    body = [conv(width, 1, bias=False), norm(), relu(), conv(width, 3, stride, 1, bias=False), norm(), relu()]
    shortcut = [conv(4 * width, 1, stride, bias=False), norm()] if first else []
    return residual([*body, conv(4 * width, 1, bias=False), norm()], shortcut)


resnet = [conv(64, 7, 2, 3, bias=False), norm(), relu(), pool(3, 2, 1)]
for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
    for i in range(count):
        resnet += [bottleneck(width, stride if i == 0 else 1, i == 0), relu()]
resnet += [average(), flatten(), linear(1000)]
lenet = [conv(6, 5, padding=2), relu(), pool(2, 2), conv(16, 5), relu(), pool(2, 2)]
lenet += [flatten(), linear(120), relu(), linear(84), relu(), linear(10)]
alexnet = [conv(96, 11, 4), relu(), pool(3, 2), conv(256, 5, padding=2, groups=2), relu(), pool(3, 2)]
alexnet += [conv(384, 3, padding=1), relu(), conv(384, 3, padding=1, groups=2), relu()]
alexnet += [conv(256, 3, padding=1, groups=2), relu(), pool(3, 2), flatten()]
alexnet += [linear(4096), relu(), linear(4096), relu(), linear(1000)]
zoo = {
    "LeNet-5": (lenet, (1, 28, 28)),
    "AlexNet": (alexnet, (3, 227, 227)),
    "VGG-16": (vgg, (3, 224, 224)),
    "ResNet-50": (resnet, (3, 224, 224)),
}
print(f"{'':10}{'parameters':>14}{'multiply-adds':>18}{'activations':>14}")
for name, (layers, shape) in zoo.items():
    cost = count_costs(layers, shape)
    print(f"{name:10}{cost['parameters']:14,}{cost['multiply_adds']:18,}{cost['activations']:14,}")

ends = [i + 1 for i, layer in enumerate(vgg) if layer["kind"] in ("conv", "linear")]
totals = [count_costs(vgg[:end], (3, 224, 224)) for end in ends]
figure, ax = plt.subplots(figsize=(11, 3.8))
for k, key in enumerate(("parameters", "multiply_adds", "activations")):
    shares = np.diff([0] + [total[key] for total in totals]) / totals[-1][key]
    ax.bar(np.arange(len(ends)) + 0.27 * (k - 1), shares, 0.27, label=key.replace("_", "-"), hatch=("", "//", "..")[k])
ax.set_xticks(range(len(ends)), [vgg[end - 1]["kind"] for end in ends], fontsize=8)
ax.set(xlabel="layers of VGG-16 that have weights", ylabel="share of the whole", title="Where each cost is")
ax.legend(loc="upper center")
plt.show()

# %% [markdown]
# Most parameters of VGG-16 are in one linear layer, which sees the flattened picture. The work is spread over the
# convolutions, and most activations are in the first ones. ResNet-50 has a global average in place of the large
# linear layers. It is deeper, has fewer parameters and does less work. So depth is cheap in parameters and
# work, though not in activations: there ResNet-50 needs more than VGG-16. Can it be trained?
#
# ### 10.2 `BatchNorm2d` · essential · level 3 of 4 · 30 min
#
# Let $x_i$, $i = 1, \dots, n$ with $n = B H W$, be all numbers of one channel in the batch. In **training**
#
# $$\mu = \frac1n \sum_i x_i, \qquad \sigma^2 = \frac1n \sum_i (x_i - \mu)^2, \qquad
#   y_i = \gamma \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta .$$
#
# Each channel has its own $\mu$, $\sigma^2$, $\gamma$, $\beta$. The factor $\gamma$ and the shift $\beta$ are learnt, so
# the layer can learn to be the identity, if that is better. Two consequences:
#
# - **The scale of the weights before it does not matter.** $x \to a x$ with $a > 0$ changes $y$ only through $\epsilon$.
#   So the signal cannot fade or explode from layer to layer, which is what the first picture showed.
# - **$\mu$ and $\sigma^2$ are functions of $x$**, and gradients flow through them. With $g_i = \partial J / \partial y_i$ and
#   $\hat x_i = (x_i - \mu) / \sqrt{\sigma^2 + \epsilon}$, the chain rule gives
#
# $$\frac{\partial J}{\partial x_i} = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}
#   \left( g_i - \frac1n \sum_j g_j - \hat x_i \cdot \frac1n \sum_j g_j \hat x_j \right).$$
#
#   The gradient has no part along the constant direction, and almost none along $\hat x$. Autograd does this for you, if
#   you do not detach the statistics.
#
# At **test** time there may be one image only, and its answer must not depend on its neighbours. So the layer remembers:
# $\text{running} \leftarrow (1 - \alpha) \cdot \text{running} + \alpha \cdot \text{batch}$ after each training batch, with
# momentum $\alpha$. The running variance takes the unbiased estimate $\frac{n}{n-1} \sigma^2$, because it estimates the variance of
# the population. In eval mode the running values stand in for $\mu$ and $\sigma^2$, and nothing changes.
#
# **Digits.** $\sigma^2 = \overline{x^2} - \mu^2$ is the same on paper. In float32 with $\mu = 10^4$ and $\sigma = 1$ both
# terms are near $10^8$, where float32 has steps of 8: nothing is left of the variance. Subtract the mean first, then
# square. And where $x$ comes in bfloat16, with eight bits in all for a number's digits, sums need float32.


# %% exercise="BatchNorm2d" points=3 minutes=30 forbids=["torch.nn.functional", "torch.nn.BatchNorm2d", "torch.nn.modules.batchnorm", "torch.nn.BatchNorm1d", "torch.nn.BatchNorm3d", "torch.nn.SyncBatchNorm", "torch.nn.LazyBatchNorm2d", "torch.nn.InstanceNorm2d", "torch.nn.GroupNorm", "torch.nn.LayerNorm", "torch.batch_norm", "torch.native_batch_norm", "torch.instance_norm", "torch.layer_norm", "torch.group_norm"] trains=["statistics inside a network", "state that must survive"]
class BatchNorm2d(nn.Module):
    """Batch normalisation of images, a scale and a shift for each channel.

    BatchNorm2d(channels, eps=1e-5, momentum=0.1): channels >= 1, eps >= 0, momentum from 0 to 1.
    Parameters `weight` (ones) and `bias` (zeros), buffers `running_mean` (zeros) and `running_var`
    (ones), (channels,) float32 each. `state_dict()` has these four entries and no other.

    Calling it with x, (B, channels, H, W), each >= 1, returns a new tensor of x's shape and dtype:
      weight * (x - mean) / sqrt(var + eps) + bias, channel by channel.
      In train mode mean and var are those of the batch, over B, H and W; var is biased (divided by
        n = B H W). Gradients flow through both. Then each buffer becomes
        (1 - momentum) * buffer + momentum * (mean, or var * n / (n - 1)); no gradient flows there.
      In eval mode they are the buffers, which stay as they are.
    x has the dtype of the parameters (float64 after `.double()`), or bfloat16, float16. For the
    latter two, all is computed in the dtype of the parameters, and only the result is rounded.
    In float32 right to within 0.01, also where a channel's mean is 1e4 times its spread. Entries go
    up to 1e6. Leaves x as it is, which may be a view with any strides.
    Raises ValueError where x has not 4 axes or another number of channels, and in train mode where
    n is 1; the buffers stay as they were.
    Not allowed: torch.nn.functional, torch.nn.BatchNorm2d, and torch's other normalisations
    (torch.nn.BatchNorm1d, torch.nn.BatchNorm3d, torch.nn.SyncBatchNorm, torch.nn.LazyBatchNorm2d,
    torch.nn.InstanceNorm2d, torch.nn.GroupNorm, torch.nn.LayerNorm, torch.nn.modules.batchnorm,
    torch.batch_norm, torch.native_batch_norm, torch.instance_norm, torch.layer_norm,
    torch.group_norm).
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        ### BEGIN SOLUTION
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        if x.ndim != 4 or x.shape[1] != len(self.weight):
            raise ValueError(f"x has shape {tuple(x.shape)}, for {len(self.weight)} channels")
        wide = x.to(self.weight.dtype)
        if self.training:
            n = x.numel() // x.shape[1]
            if n == 1:
                raise ValueError("one number has no variance")
            mean = wide.mean(dim=(0, 2, 3))
            var = ((wide - mean[:, None, None]) ** 2).mean(dim=(0, 2, 3))
            with torch.no_grad():
                self.running_mean += self.momentum * (mean - self.running_mean)
                self.running_var += self.momentum * (var * n / (n - 1) - self.running_var)
        else:
            mean, var = self.running_mean, self.running_var
        scale = self.weight / torch.sqrt(var + self.eps)
        return (scale[:, None, None] * (wide - mean[:, None, None]) + self.bias[:, None, None]).to(x.dtype)
        ### END SOLUTION


# %% [markdown] hints="BatchNorm2d"
# <details><summary>Hint 1: what belongs to the state</summary>
#
# `nn.Parameter` makes what is learnt, `self.register_buffer(name, tensor)` what is remembered. Both are in
# `state_dict()` and move with `.to(...)`. `self.training` says which mode it is.
# </details>
# <details><summary>Hint 2: the axes, and two variances</summary>
#
# `x.mean(dim=(0, 2, 3))` has shape (C,); `mean[:, None, None]` lines it up with the channels. The same var, times
# n / (n − 1), goes into the running variance, within `torch.no_grad()`.
# </details>
# <details><summary>Hint 3: digits, and half precision</summary>
#
# Subtract the mean, square, take the mean. For bfloat16 begin with `x.to(self.weight.dtype)`, and end with
# `.to(x.dtype)`.
# </details>

# %% check="BatchNorm2d"
with check(
    "BatchNorm2d",
    forbids=[
        "torch.nn.functional",
        "torch.nn.BatchNorm2d",
        "torch.nn.modules.batchnorm",
        "torch.nn.BatchNorm1d",
        "torch.nn.BatchNorm3d",
        "torch.nn.SyncBatchNorm",
        "torch.nn.LazyBatchNorm2d",
        "torch.nn.InstanceNorm2d",
        "torch.nn.GroupNorm",
        "torch.nn.LayerNorm",
        "torch.batch_norm",
        "torch.native_batch_norm",
        "torch.instance_norm",
        "torch.layer_norm",
        "torch.group_norm",
    ],
):
    x = torch.tensor([1.0, 3.0, 5.0, 7.0]).reshape(2, 1, 1, 2)  # mean 4, squares 9 + 1 + 1 + 9: variance 5 = 20 / 4
    bn = BatchNorm2d(1)
    assert sorted(bn.state_dict()) == ["bias", "running_mean", "running_var", "weight"], "four entries, these names"
    expect_close(
        bn(x).flatten(),
        np.array([-3.0, -1.0, 1.0, 3.0]) / np.sqrt(5 + 1e-5),
        rtol=1e-5,
        mistakes={
            "You divided by n - 1; to normalise, divide by n.": np.array([-3.0, -1.0, 1.0, 3.0]) / np.sqrt(20 / 3),
            "You divided by the variance, not by its root.": np.array([-3.0, -1.0, 1.0, 3.0]) / 5,
            "This normalises each image alone.": [-1.0, 1.0, -1.0, 1.0],
        },
    )
    expect_close(
        [bn.running_mean.item(), bn.running_var.item()],
        [0.4, 0.9 + 0.1 * 20 / 3],  # a tenth of the batch's values; 20 / 3 is the unbiased variance
        rtol=1e-5,
        mistakes={
            "The running variance takes the unbiased estimate, n / (n - 1) times the other.": [0.4, 0.9 + 0.1 * 5],
            "momentum is the share of the new batch.": [0.9 * 4, 0.1 + 0.9 * 20 / 3],
        },
    )
    expect_close(bn.eval()(x[:1]).flatten(), (np.array([1, 3]) - 0.4) / np.sqrt(0.9 + 2 / 3 + 1e-5), rtol=1e-5)
    expect_close([bn.running_mean.item(), bn.running_var.item()], [0.4, 0.9 + 2 / 3], hint="eval mode changes nothing")
    two = BatchNorm2d(2, eps=1e-3, momentum=0.5).double()
    x = torch.tensor([[0.0, 2.0, 4.0], [1.0, 1.0, 7.0]], dtype=torch.float64).reshape(1, 2, 1, 3).requires_grad_()
    (two(x) * torch.tensor([0.0, 0.0, 1.0])).sum().backward()
    # g = (0, 0, 1), mean 1/3; x^ = (-2, 0, 2) / r with r² = 8/3 + 0.001; mean of g x^ is 2 / (3 r)
    r = np.sqrt(8 / 3 + 1e-3)
    expect_close(
        x.grad[0, 0, 0],
        np.array([-1 / 3 + 4 / (3 * r**2), -1 / 3, 2 / 3 - 4 / (3 * r**2)]) / r,
        mistakes={"No gradient flows through the statistics: do not detach them.": np.array([0, 0, 1]) / r},
    )
    far = torch.tensor([9999.0, 10001.0] * 8).reshape(4, 1, 2, 2)  # mean 1e4, variance 1
    expect_close(BatchNorm2d(1)(far).flatten()[:2], [-1.0, 1.0], atol=1e-2, hint="subtract the mean before you square")
    expect_dtype(BatchNorm2d(1)(far.bfloat16()), torch.bfloat16)
    with expect_raises(ValueError, hint="one number has no variance"):
        BatchNorm2d(1)(torch.ones(1, 1, 1, 1))
    with expect_raises(ValueError, hint="another number of channels"):
        BatchNorm2d(1)(torch.ones(4, 2, 1, 1))

# %% [markdown]
# Left: a stack of 24 convolutions again, and the spread of the numbers after each layer. With your layer after each
# convolution it stays at the same level, at each depth. Right: your layer sees batches from a population with mean 3,
# again and again. Its running mean starts at 0, and after $j$ batches it has come $1 - (1 - \alpha)^j$ of the way (the
# line). So the running statistics lag behind: after ten batches with $\alpha = 0.1$ a third of the way is left.

# %% tags=["demo"]
torch.manual_seed(1)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for name, line in (("without", "-"), ("with your BatchNorm2d", "--")):
    x, spread = torch.randn(16, 8, 8, 8), []
    with torch.no_grad():
        for _ in range(24):
            x = nn.Conv2d(8, 8, 3, padding=1, bias=False)(x)
            x = F.relu(BatchNorm2d(8)(x) if name != "without" else x)
            spread.append(x.std().item())
    left.semilogy(range(1, 25), spread, line, marker=".", label=name)
left.set(xlabel="layer", ylabel="standard deviation", title="It keeps the numbers in range")
left.legend()
for momentum, marker in ((0.1, "o"), (0.5, "s")):
    bn, seen = BatchNorm2d(1, momentum=momentum), [0.0]
    for _ in range(30):
        bn(3 + torch.randn(16, 1, 8, 8))
        seen.append(bn.running_mean.item())
    (drawn,) = right.plot(3 * (1 - (1 - momentum) ** np.arange(31)), label=f"predicted, α = {momentum}")
    right.plot(seen, marker, color=drawn.get_color(), markersize=4, label=f"running mean, α = {momentum}")
right.set(xlabel="batches seen", ylabel="running mean", title="What it remembers lags behind")
right.legend(loc="lower right")
plt.show()

# %% [markdown]
# ### 10.3 `evaluate` · essential · level 2 of 4 · 10 min
#
# Two modes are a trap: they differ in what they return, and nothing warns you. In train mode an image's answer depends
# on the other images of its batch. And each call moves the running statistics, so measuring changes what is measured.
# The same switch turns dropout off (10.5).
#
# **Find the bug.** Many training scripts have this function. It gives sensible numbers. Yet they change with
# the batch size and with the order of the images, and calling it changes the network.


# %% exercise="evaluate" points=2 minutes=10 bug=true trains=["statistics inside a network", "honest evaluation"]
def evaluate(net: nn.Module, X: torch.Tensor, y: torch.Tensor, batch_size: int = 256) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of a network, in eval mode.

    X: (m, ...), m >= 1, and y: (m,) int64 classes, on the network's device; not modified.
    net is called on X[i : i + batch_size] for i = 0, batch_size, ... (the last batch may be short), in
      eval mode and without recording gradients. It returns logits, (rows, classes).
    Afterwards each part of net is in the mode that it was in before, also where a call raises; its
      parameters and buffers are as before.

    Returns (loss, accuracy), Python floats: means over the m images, whatever the batches. The logits
    of all batches are never in memory together. The prediction is the class with the largest logit.
    """
    ### BEGIN SOLUTION
    modes = [(part, part.training) for part in net.modules()]
    loss, right = 0.0, 0
    net.eval()
    try:
        with torch.no_grad():
            for i in range(0, len(X), batch_size):
                logits, classes = net(X[i : i + batch_size]), y[i : i + batch_size]
                loss += F.cross_entropy(logits, classes, reduction="sum").item()
                right += (logits.argmax(dim=1) == classes).sum().item()
    finally:
        for part, training in modes:
            part.training = training
    return loss / len(X), right / len(X)
    ### END SOLUTION
    ### BEGIN BUG
    # modes = [(part, part.training) for part in net.modules()]
    # loss, right = 0.0, 0
    # try:
    #     with torch.no_grad():
    #         for i in range(0, len(X), batch_size):
    #             logits, classes = net(X[i : i + batch_size]), y[i : i + batch_size]
    #             loss += F.cross_entropy(logits, classes, reduction="sum").item()
    #             right += (logits.argmax(dim=1) == classes).sum().item()
    # finally:
    #     for part, training in modes:
    #         part.training = training
    # return loss / len(X), right / len(X)
    ### END BUG


# %% [markdown] hints="evaluate"
# <details><summary>Hint 1: look</summary>
#
# Call it twice, with batch_size 2 and 100, on a network that has an `nn.BatchNorm2d`. Print the running mean before and
# after.
# </details>
# <details><summary>Hint 2: no_grad is not eval</summary>
#
# `torch.no_grad()` switches the recording of gradients off. It does not change what a layer computes. Which call does?
# </details>

# %% check="evaluate"
with check("evaluate"):
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten())  # the running statistics are 0 and 1: it passes x on
    x = torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(3.0)], [math.log(3.0), 0.0]]).reshape(3, 1, 1, 2)
    # The logits (0, log 3) mean the probabilities 1/4 and 3/4. Two images are right, one is wrong.
    loss, accuracy = evaluate(net, x, torch.tensor([1, 1, 1]), batch_size=2)
    expect_close(accuracy, 2 / 3)
    expect_close(loss, (2 * math.log(4 / 3) + math.log(4)) / 3, rtol=1e-4, hint="the network is to be in eval mode")
    expect_close(net[0].running_mean, [0.0], hint="measuring must not change the network")
    assert net.training and net[0].training, "afterwards the network is in the mode that it was in before"
    net[0].eval()  # a frozen part
    evaluate(net, x, torch.tensor([1, 1, 1]))
    assert net.training and not net[0].training, "each part has its own mode: give each its own one back"

# %% [markdown]
# We put one image into two hundred batches, each time with 7 other images. What is its output? In train mode it is a
# cloud, as wide as you see on the left. In eval mode it is one number.
# The right panel shows the spread against the batch size: a batch's mean has a standard error of about $1/\sqrt B$, so the
# cloud shrinks by about that law, and a larger batch hides the mistake and does not repair it. The line of the eval mode
# need not stand in the middle of the cloud: in train mode the image itself is in each batch.

# %% tags=["demo"]
torch.manual_seed(2)
net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
net.append(nn.Linear(8, 1))
pictures = as_input(crops(demo_size(full=150, small=30), seed=3)[0])
with torch.no_grad():
    for i in range(40):
        net(pictures[batch_rows(len(pictures), 64, 0, i)])  # fills the running statistics
    kept, said, spreads = copy.deepcopy(net.state_dict()), [], []
    sizes = [4, 8, 16, 32, 64]
    for size in sizes:
        draws = []
        for i in range(200):
            batch = pictures[batch_rows(len(pictures) - 1, size - 1, size, i) + 1]
            draws.append(net(torch.cat([pictures[:1], batch]))[0, 0].item())
        spreads.append(np.std(draws))
        said = draws if size == 8 else said
    net.load_state_dict(kept)
    truth = net.eval()(pictures[:1]).item()
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
left.hist(said, 30, label="train mode, 200 batches of 8")
left.axvline(truth, color=plotting.COLOURS[1], label="eval mode")
left.set(xlabel="what it says of one image", ylabel="batches", title="Who else is in the batch decides")
left.set_ylim(0, 1.35 * left.get_ylim()[1])
left.legend(loc="upper left")
right.loglog(sizes, spreads, "o-", label=f"fitted slope {np.polyfit(np.log(sizes), np.log(spreads), 1)[0]:.2f}")
right.loglog(sizes, spreads[0] * (sizes[0] / np.array(sizes)) ** 0.5, "--", label="slope -0.5")
right.set(xlabel="batch size B", ylabel="standard deviation", title="A larger batch only hides it")
right.set_xticks(sizes, sizes)
right.xaxis.minorticks_off()
right.legend()
plt.show()

# %% [markdown]
# ### 10.4 `ResidualBlock` · essential · level 2 of 4 · 15 min
#
# With batch normalisation the output of a deep stack stays in range. Yet the first picture shows that gradients still
# change by a factor from layer to layer, and He et al. (2016) saw plain networks get *worse* with depth, on the training
# data. So it was not overfitting. A block of two layers should at least be able to do nothing at all, and plain
# layers find it hard to learn the identity.
#
# So make the identity the starting point. A **residual block** computes
#
# $$y = \mathrm{relu}(F(x) + S(x)), \qquad \text{with } S(x) = x \text{ where the shapes agree.}$$
#
# Without the last relu, a stack of $L$ blocks gives $x_L = x_0 + \sum_l F_l(x_l)$, and by the chain rule
#
# $$\frac{\partial J}{\partial x_0} = \frac{\partial J}{\partial x_L} + \text{terms that go through the } F_l :$$
#
# the loss reaches each block directly, however many lie in between. (The relu lets all of it through where its input is
# positive.) If $\gamma$ of the last normalisation starts at 0, then $F = 0$ at the start: the deepest network begins as
# a shallow one, and adds what helps.
#
# Where the block changes the shape (more channels, or stride 2), $S$ is a 1 × 1 convolution with the same stride,
# followed by a normalisation.


# %% exercise="ResidualBlock" points=2 minutes=15 trains=["parts that fit together"]
class ResidualBlock(nn.Module):
    """relu(norm2(conv2(relu(norm1(conv1(x))))) + shortcut(x)).

    ResidualBlock(c_in, c_out, stride=1, norm=nn.BatchNorm2d). norm(c) makes a normalisation of c
    channels, which has a parameter `weight`. It is called once for each normalisation.

    Its parts have these names, so `state_dict()` has the keys that follow from them:
      conv1: 3 × 3, padding 1, from c_in to c_out, with the stride. conv2: 3 × 3, padding 1, from
        c_out to c_out, stride 1. No convolution has a bias.
      norm1, norm2: norm(c_out). The weight of norm2 starts at 0.
      shortcut: where c_in != c_out or stride != 1, an nn.Sequential of a 1 × 1 convolution with the
        stride (no bias) and norm(c_out). Otherwise the identity, without parameters.

    Calling it with x, (B, c_in, H, W), returns (B, c_out, ceil(H / stride), ceil(W / stride)); x is
    left as it is. Convolutions start as torch starts them.
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1, norm: Callable = nn.BatchNorm2d):
        super().__init__()
        ### BEGIN SOLUTION
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
        self.norm1 = norm(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.norm2 = norm(c_out)
        self.shortcut = nn.Identity()
        if c_in != c_out or stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), norm(c_out))
        nn.init.zeros_(self.norm2.weight)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(inner + self.shortcut(x))
        ### END SOLUTION


# %% [markdown] hints="ResidualBlock"
# <details><summary>Hint 1: compare</summary>
#
# `PlainBlock` in the setup cell has the same two convolutions. What is new: the shortcut, where the last relu stands,
# and how norm2 starts.
# </details>
# <details><summary>Hint 2: nearly the solution</summary>
#
# `nn.init.zeros_(self.norm2.weight)`. The shortcut is `nn.Identity()`, or
# `nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), norm(c_out))`. Add before the last relu.
# </details>

# %% check="ResidualBlock"
with check("ResidualBlock"):
    block = ResidualBlock(2, 2)
    x = torch.tensor([-3.0, -1.0, 2.0, 4.0]).reshape(1, 2, 1, 2)
    with expect_unchanged(x=x):
        got = block(x)
    expect_close(got.flatten(), [0.0, 0.0, 2.0, 4.0], hint="norm2's weight is 0 at first, so this is relu(0 + x)")
    assert parameter_count(block) == 2 * 36 + 2 * 4, "two convolutions of 2 · 2 · 9 weights, two norms of 4; no more"
    assert "shortcut.0.weight" in ResidualBlock(2, 2, 2).state_dict(), "stride 2 alone needs a shortcut, too"
    wide = ResidualBlock(2, 6, 2)
    expect_shape(wide(torch.ones(1, 2, 5, 8)), (1, 6, 3, 4))
    # 2 · 6 · 9 + 6 · 6 · 9 weights, two norms of 12; the shortcut has 2 · 6 weights and a norm of 12
    expect_close(parameter_count(wide), 108 + 324 + 24 + 12 + 12, hint="no convolution has a bias")
    assert "shortcut.0.weight" in wide.state_dict(), "the shortcut is an nn.Sequential of a convolution and a norm"
    assert "conv1.weight" in wide.state_dict() and "norm2.bias" in wide.state_dict(), "the names of the docstring"
    block = ResidualBlock(1, 1).eval()
    with torch.no_grad():
        for part in (block.conv1, block.conv2):
            part.weight.zero_()
            part.weight[0, 0, 1, 1] = 1.0  # passes its input on
        block.norm2.weight.fill_(-3.0)
        block.norm2.bias.fill_(1.0)
    # x = 2: relu(norm1) = 2, norm2 = -3 · 2 + 1 = -5, plus x is -3, relu 0. x = -2: 0, then 1, plus x is -1, relu 0.
    # x = 0.25: 0.25, then 0.25, plus x 0.5.
    got = block(torch.tensor([2.0, -2.0, 0.25]).reshape(3, 1, 1, 1)).flatten()
    expect_close(
        got,
        [0.0, 0.0, 0.5],
        atol=1e-4,
        mistakes={
            "The relu comes after the sum.": [2.0, -1.0, 0.5],
            "You left out the relu between norm1 and conv2.": [0.0, 5.0, 0.5],
        },
    )
    made = []
    ResidualBlock(2, 3, norm=lambda c: made.append(c) or nn.BatchNorm2d(c))
    assert made == [3, 3, 3], "norm is called for each of the three normalisations"

# %% [markdown]
# The first picture again, now with whole blocks: how much of the gradient reaches the first block? Plain blocks with
# batch normalisation change it by a factor for each block. Your blocks begin as the identity, so it does not depend on
# their number. The right panel takes the same blocks with $\gamma$ of norm2 set to 1. In short stacks both
# kinds are alike then; from about eight blocks on, the gradient changes far less than in the plain stack.

# %% tags=["demo"]
figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), sharey=True)
depths = [1, 2, 4, 8, demo_size(full=24, small=12)]
for ax, start in zip(axes, (0.0, 1.0), strict=True):
    for kind, line in ((PlainBlock, "-"), (ResidualBlock, "--")):
        reached = []
        for depth in depths:
            torch.manual_seed(depth)
            blocks = nn.Sequential(*[kind(8, 8) for _ in range(depth)])
            for block in blocks if kind is ResidualBlock else ():
                nn.init.constant_(block.norm2.weight, start)
            x = torch.rand(16, 8, 8, 8, requires_grad=True)
            out = blocks(x)
            (gradient,) = torch.autograd.grad((out * torch.randn_like(out)).sum(), x)
            reached.append(gradient.norm().item() / math.sqrt(x.numel()))
        ax.loglog(depths, reached, line, marker="o", label=kind.__name__)
    ax.set(xlabel="blocks", title=f"γ of norm2 starts at {start:g}")
    ax.legend()
axes[0].set_ylabel("size of the gradient that arrives")
plt.show()

# %% [markdown]
# ### 10.5 `ConvNet` · essential · level 3 of 4 · 25 min
#
# Now put the parts together, in the way most networks since 2015 are built:
#
# - a **stem**: one convolution to the first width;
# - **stages**: each has `depth` blocks of one width; from the second stage on, its first block has stride 2. Half the
#   side and twice the channels: a quarter of the places, and four times the weights. So by your `count_costs`, a block
#   costs as many operations as one of the stage before (the first one of a stage about a fifth less);
# - a **head**: features for the linear layer. *Flattening* keeps the places, needs a fixed image size, and has
#   $C H W \cdot \text{classes}$ weights. *Global pooling* takes the mean of each channel, works for each size, and has $C
#   \cdot \text{classes}$.
# - **Dropout** stands before the linear layer: in train mode each feature is 0 with probability $q$, and the others are
#   divided by $1 - q$, so that the mean stays. In eval mode it does nothing.
#
# With blocks of two 3 × 3 convolutions, a stage of width $w$ has about $18\, w^2$ parameters a block. If the widths double,
# the last stage has about three quarters of all. So a **parameter budget** says what its width $w$ may be:
# $\frac43 \cdot 18\, w^2 \cdot \text{depth} = \text{budget}$.


# %% exercise="ConvNet" points=3 minutes=25 trains=["parts that fit together"]
class ConvNet(nn.Module):
    """A classifier of images: stem, stages of blocks, head.

    ConvNet(c_in, classes, widths=(8, 16, 32), depth=1, block=PlainBlock, dropout=0.0, head="pool",
    size=None)

    c_in, classes: >= 1. widths: one or more, a tuple or list. depth: blocks in each stage, >= 1.
    block(a, b, stride) makes a block from a to b channels: an nn.Module that divides both sides by
      the stride, rounded up. It is called len(widths) * depth times, in order. The first block of
      each stage but the first has stride 2, and all others stride 1.
    dropout: from 0 to below 1, the probability that a feature is set to 0.
    head: "pool" (the mean of each channel over all places) or "flatten" (all numbers in the order of
      torch's flatten). size: (H, W) of the images, needed for "flatten" only.

    Its parts have these names, and `state_dict()` has the keys that follow from them:
      stem: an nn.Sequential of a 3 × 3 convolution, padding 1, no bias, to widths[0] channels, an
        nn.BatchNorm2d and a ReLU.
      blocks: an nn.Sequential of all blocks. head: an nn.Linear from the features to classes.
    Other parts have no parameters and no buffers.

    Calling it with x, (B, c_in, H, W), returns logits (B, classes): stem, blocks, features, dropout,
    linear layer. With "pool", any H, W >= 1 will do. x is left as it is.
    Raises ValueError for another head, for "flatten" without size, and for dropout below 0, or 1
    or more, all when it is made.
    """

    def __init__(
        self,
        c_in: int,
        classes: int,
        widths: Sequence[int] = (8, 16, 32),
        depth: int = 1,
        block: Callable = PlainBlock,
        dropout: float = 0.0,
        head: str = "pool",
        size: tuple[int, int] | None = None,
    ):
        super().__init__()
        ### BEGIN SOLUTION
        if head not in ("pool", "flatten") or (head == "flatten" and size is None) or not 0 <= dropout < 1:
            raise ValueError(f"head {head!r} with size {size} and dropout {dropout}")
        convolution = nn.Conv2d(c_in, widths[0], 3, padding=1, bias=False)
        self.stem = nn.Sequential(convolution, nn.BatchNorm2d(widths[0]), nn.ReLU())
        blocks, width, features = [], widths[0], widths[-1]
        for stage, wider in enumerate(widths):
            for i in range(depth):
                blocks.append(block(width, wider, 2 if stage > 0 and i == 0 else 1))
                width = wider
        if head == "flatten":
            features *= math.prod(math.ceil(side / 2 ** (len(widths) - 1)) for side in size)
        self.blocks = nn.Sequential(*blocks)
        self.pooled = head == "pool"
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        x = self.blocks(self.stem(x))
        features = x.mean(dim=(2, 3)) if self.pooled else x.flatten(start_dim=1)
        return self.head(self.dropout(features))
        ### END SOLUTION


# %% [markdown] hints="ConvNet"
# <details><summary>Hint 1: collect the blocks</summary>
#
# Make a Python list of blocks in two loops, over the stages and over `depth`; keep the width so far in a variable. A
# block's stride is 2 exactly where the stage is not the first and the block is the first of its stage. `head` is an
# argument (a word) and a part (the linear layer): do not mix them up.
# </details>
# <details><summary>Hint 2: how many features?</summary>
#
# A stride of 2 turns a side of n into ⌈n / 2⌉, and halving again and again, always rounded up, is ⌈n / 2^j⌉ after j
# times. The features are widths[-1], times both sides for "flatten".
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# forward: `x = self.blocks(self.stem(x))`, then `x.mean(dim=(2, 3))` or `x.flatten(start_dim=1)`, then
# `self.head(self.dropout(features))` with `nn.Dropout(dropout)`.
# </details>

# %% check="ConvNet"
with check("ConvNet"):
    net = ConvNet(3, 5)
    expect_shape(net(torch.zeros(2, 3, 16, 16)), (2, 5))
    # stem 3·8·9 + 16; blocks (a + b) b 9 + 4 b for (8, 8), (8, 16), (16, 32); head 33 · 5
    expect_close(parameter_count(net), 232 + 1184 + 3520 + 13952 + 165, hint="count part by part, with count_costs")
    net = ConvNet(1, 2, (4, 6), depth=2, head="flatten", size=(5, 8))
    expect_close(net.head.weight.shape, (2, 6 * 3 * 4), hint="5 rows become 3, 8 columns become 4")
    expect_shape(net(torch.zeros(2, 1, 5, 8)), (2, 2))
    made = []

    def spy(a, b, stride):
        made.append((a, b, stride))
        return nn.Conv2d(a, b, 1, stride)

    net = ConvNet(1, 4, widths=[2, 2, 3], depth=2, block=spy, dropout=0.5)
    assert made == [(2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 1), (2, 3, 2), (3, 3, 1)], f"the blocks are {made}"
    expect_shape(net(torch.ones(2, 1, 1, 3)), (2, 4))
    net = ConvNet(1, 1, (1,), block=lambda a, b, stride: nn.Identity()).eval()
    with torch.no_grad():
        net.stem[0].weight.copy_(torch.eye(3)[1].outer(torch.eye(3)[1]))  # the stem passes its input on
        got = net(torch.tensor([1.0, 3.0, 5.0]).reshape(1, 1, 1, 3)).item()
    expect_close(got, (3 * net.head.weight + net.head.bias).item(), rtol=1e-3, hint="the mean of 1, 3 and 5 is 3")
    wide = ConvNet(1, 1, widths=(500,), block=lambda a, b, stride: nn.Identity(), dropout=0.9)
    torch.nn.init.ones_(wide.head.weight)
    torch.nn.init.ones_(wide.stem[1].bias)
    torch.nn.init.zeros_(wide.stem[1].weight)  # so each of the 500 features is 1
    with torch.no_grad():
        x = torch.zeros(400, 1, 2, 2)
        said = (wide(x) - wide.head.bias).flatten()
        assert 0.9 < said.mean() / 500 < 1.1 and said.std() > 50, (
            "in train mode, nine of ten features are to be dropped"
        )
        expect_close((wide.eval()(x) - wide.head.bias).flatten(), np.full(400, 500.0), rtol=1e-4)
    for bad in ({"head": "mean"}, {"head": "flatten"}, {"dropout": 1.0}):
        with expect_raises(ValueError):
            ConvNet(1, 2, **bad)

# %% [markdown]
# The same network with two heads, for pictures of growing size. Only the parameters of the flattened head grow with the
# picture. The last lines compare two ways to meet a budget of 100,000 parameters: the formula above, and trying widths from
# large to small. The formula counts too much for the first block of each stage, which has fewer channels at its input.

# %% tags=["demo"]
print(f"{'side':>6}{'pool':>12}{'flatten':>12}   parameters")
for side in (16, 32, 64, 224):
    flat = ConvNet(3, 5, block=ResidualBlock, head="flatten", size=(side, side))
    print(f"{side:6}{parameter_count(ConvNet(3, 5, block=ResidualBlock)):12,}{parameter_count(flat):12,}")
for width in range(64, 0, -1):
    net = ConvNet(3, 5, (width, 2 * width, 4 * width), block=ResidualBlock)
    if parameter_count(net) <= 100_000:
        break
print(f"last width by the formula: {math.sqrt(100_000 / 24):.1f}")
print(f"last width by trying: {4 * width}; {width}, {2 * width}, {4 * width} have {parameter_count(net):,} parameters")

# %% [markdown]
# ### 10.6 `train` · essential · level 4 of 4 · 50 min
#
# A loop that trains is short. A loop that can be trusted has three more properties.
#
# **It can be stopped.** A machine that works for a week will be interrupted, and then nobody wants to begin again. A
# **checkpoint** is all that the remaining steps depend on. Go through a step and ask where each number comes from: the
# weights; the running statistics (buffers); the two moments of Adam and its own count; the number of the step, because
# the learning rate depends on it; the rows of the batch (here a function of the step's number, so they need nothing); and
# the state of the random generator, because dropout draws from it. Forget one, and the resumed run is another run. Its
# loss curve looks normal, so nobody sees the bug. So the test is strict: interrupted and resumed, the weights
# are **the same bit for bit**. (On one CPU with a fixed number of threads. Other hardware adds up in another order.)
#
# **A checkpoint is there or not, never half.** If the machine stops while the file is written, the old checkpoint must
# survive. So write to another name in the same folder, then rename: `os.replace` puts the new file in place in one step.
#
# **It can use short numbers.** A **bfloat16** number has the range of float32 in two bytes, with 8 significant bits in
# place of 24. Products and convolutions take half the memory, and on a GPU they are several times as quick. But an
# update of $10^{-3}$ of a weight would be rounded away. So in **mixed precision** the weights, the moments and the updates
# stay in float32, and only the forward pass runs in bfloat16: `torch.autocast` casts what goes into convolutions and
# products, and computes the loss in float32 again. (float16 has more bits and less range: small gradients become 0, so
# the loss has to be scaled up first. bfloat16 needs no scaling.)
#
# The learning rate falls along half a cosine, as in module 02: $\eta_t = \eta \cdot \frac12 (1 + \cos(\pi t / T))$.


# %% exercise="train" points=4 minutes=50 trains=["state that must survive"]
def train(
    net: nn.Module,
    X: torch.Tensor,
    y: torch.Tensor,
    steps: int,
    batch_size: int = 32,
    lr: float = 0.01,
    seed: int = 0,
    precision: str = "float32",
    device: str = "cpu",
    path: str | None = None,
    every: int = 100,
    transform: Callable | None = None,
    on_step: Callable | None = None,
) -> list[float]:
    """Train a classifier in place with AdamW, from the start or from a checkpoint.

    net: gives logits (rows, classes) or, for a class at each pixel, (rows, classes, H, W); float32 or
      float64. X: (m, ...) of net's dtype and y: (m,) or (m, H, W), int64 classes, both on the CPU;
      not modified. steps >= 1, in all. net is moved to `device`.
    A run from the start begins with torch.manual_seed(seed). Then, for t = 0, 1, ..., steps - 1:
      rows = batch_rows(len(X), batch_size, seed, t). The inputs are X[rows], or, where transform is
        not None, transform(X[rows], t), a tensor, called on the CPU. Inputs and y[rows] go to `device`.
      loss: torch.nn.functional.cross_entropy(logits, y[rows]); net is called once. It is put into
        train mode before each step, because on_step may have changed the mode.
      One step of torch.optim.AdamW(net.parameters()) with its defaults, but with the learning rate
        lr * (1 + cos(pi t / steps)) / 2. Gradients that net had before do not count.
      A checkpoint, where one is due. Then on_step(t, loss), where on_step is not None; the loss is a
        Python float. What transform or on_step raises goes to the caller.
    precision: "float32" computes in net's own dtype. "bfloat16" runs the forward pass and the loss
      under torch.autocast with bfloat16. Parameters, gradients and moments keep net's dtype.
    path: a checkpoint replaces the file `path` whenever t + 1 is a multiple of `every`, and after the
      last step. It is written under another name in the same folder first, then renamed, so that the
      old one stays whole if writing fails. No other file stays there. None: nothing is written.
      If `path` is there when `train` is called, training goes on from it, whatever state net and
      torch's generator are in: only the missing steps are made (none, if all were). With the same
      other arguments, and where transform and on_step draw nothing from torch's generator, net's
      state_dict and the losses are those of a run without interruption, bit for bit on one CPU,
      dropout included. The file alone is enough, also under another name.

    Returns the losses of all `steps` steps, those before the checkpoint included: Python floats.
    Raises ValueError for another precision.
    A test trains a small network of two convolutions for 60 steps of 32 rendered shapes. In both
    precisions it must be right on at least 80% of 300 shapes that it has not seen. A loop that does
    what is said above passes.
    """
    ### BEGIN SOLUTION
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision {precision!r}")
    kind, losses = torch.device(device).type, []
    net.to(device)
    optimizer = torch.optim.AdamW(net.parameters())
    torch.manual_seed(seed)
    if path is not None and os.path.exists(path):
        kept = torch.load(path, map_location="cpu")
        net.load_state_dict(kept["net"])
        optimizer.load_state_dict(kept["optimizer"])
        torch.set_rng_state(kept["random"])
        if kind == "cuda":
            torch.cuda.set_rng_state(kept["random_cuda"], device)
        losses = kept["losses"]
    for t in range(len(losses), steps):
        net.train()
        rows = torch.from_numpy(batch_rows(len(X), batch_size, seed, t))
        inputs = X[rows] if transform is None else transform(X[rows], t)
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            loss = F.cross_entropy(net(inputs.to(device)), y[rows].to(device))
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 + math.cos(math.pi * t / steps)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if path is not None and ((t + 1) % every == 0 or t + 1 == steps):
            state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "losses": losses}
            state["random"] = torch.get_rng_state()
            if kind == "cuda":
                state["random_cuda"] = torch.cuda.get_rng_state(device)
            torch.save(state, f"{path}.new")
            os.replace(f"{path}.new", path)
        if on_step is not None:
            on_step(t, losses[-1])
    return losses
    ### END SOLUTION


# %% [markdown] hints="train"
# <details><summary>Hint 1: first without a checkpoint</summary>
#
# Write the loop for path = None. The optimiser is made once; before each step set `group["lr"]` for each `group` in
# `optimizer.param_groups`. `net.train()` and `zero_grad()` stand at the beginning of each step: `on_step` may have
# switched to eval mode. The number of losses so far is the number of the next step.
# </details>
# <details><summary>Hint 2: what belongs in the file</summary>
#
# `net.state_dict()` (it holds the buffers), `optimizer.state_dict()`, the list of losses, `torch.get_rng_state()`, and on a
# GPU also `torch.cuda.get_rng_state(device)`. After loading: `load_state_dict` twice, `torch.set_rng_state`, and begin at `len(losses)`. Save to `f"{path}.new"`, then
# `os.replace(f"{path}.new", path)`.
# </details>
# <details><summary>Hint 3: mixed precision</summary>
#
# `with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):` around the
# call of net and the cross-entropy, and around nothing else.
# </details>

# %% check="train"


def small_net():
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 2)
    )


with check("train"):
    draw = torch.Generator().manual_seed(1)
    X, y = torch.randn(20, 1, 6, 6, generator=draw), torch.arange(20) % 2
    told, net = [], nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    nn.init.zeros_(net[1].weight)
    nn.init.zeros_(net[1].bias)
    got = train(net, X, 0 * y, steps=2, batch_size=8, lr=0.001, on_step=lambda t, loss: told.append((t, loss)))
    expect_close(len(got), 2)
    expect_close(got[0], math.log(2), hint="two classes, and all logits are 0 at first")
    expect_close(told, list(enumerate(got)), hint="on_step(t, loss) after each step")
    # All are of class 0, so both gradients of a bias are nearly equal, and then a step of Adam is as long as the
    # learning rate: 0.001, then 0.001 · (1 + cos(π / 2)) / 2.
    expect_close(
        net[1].bias,
        [0.0015, -0.0015],
        rtol=0.05,
        mistakes={"The learning rate stays as it is; let it fall along the cosine.": [0.002, -0.002]},
    )
    with tempfile.TemporaryDirectory() as folder:
        path, whole, parts, calls = os.path.join(folder, "net.pt"), small_net(), small_net(), []
        losses = train(whole, X, y, steps=6, batch_size=8)

        def stop(t, loss):
            if t == 4:
                raise InterruptedError

        with expect_raises(InterruptedError):
            train(parts, X, y, steps=6, batch_size=8, path=path, every=2, on_step=stop)
        other = small_net()
        torch.randn(3)  # moves the random generator
        got = train(other, X, y, 6, 8, path=path, every=2, on_step=lambda t, loss: calls.append(t))
        assert calls == [4, 5], f"four steps are in the checkpoint, so two are left; {calls} were made"
        assert os.listdir(folder) == ["net.pt"], "no other file stays in the folder"
        expect_close(
            got, losses, rtol=0, atol=0, hint="all losses, and the moments and the generator go on as they were"
        )
        for mine, theirs in zip(whole.state_dict().values(), other.state_dict().values(), strict=True):
            expect_close(theirs, mine, rtol=0, atol=0, hint="the same weights, bit for bit")
    seen = []
    net = small_net()
    net[0].register_forward_hook(lambda part, x, out: seen.append(out.dtype))
    train(net, X, y, 1, precision="bfloat16")
    assert seen == [torch.bfloat16], "under autocast a convolution gives bfloat16"
    assert net[0].weight.dtype == torch.float32, "the weights stay in float32"
    train(net, X, y, 1, 8, transform=lambda batch, t: seen.append(batch.shape) or batch)
    assert seen[1] == (8, 1, 6, 6), "transform gets the rows of the batch, and the step's number"
    modes = []
    net[0].register_forward_hook(lambda part, x, out: modes.append(part.training))
    train(net, X, y, 2, 8, on_step=lambda t, loss: net.eval())
    assert modes == [True, True], "on_step may switch to eval mode, so put net into train mode before each step"
    with expect_raises(ValueError, hint="no such precision"):
        train(net, X, y, 1, precision="float8")

# %% [markdown]
# Now for real: cut-outs of rendered pictures, circles, squares, triangles, crosses and nothing, partly hidden, turned, in
# all colours. Your residual `ConvNet` is stopped by an error in the middle and started again. `on_step` prints a bar of
# progress, and stops the run. Test images come from another seed.

# %% tags=["demo"]
X, y = (
    part(data)
    for part, data in zip((as_input, torch.from_numpy), crops(demo_size(full=800, small=60), seed=0), strict=True)
)
X_test, y_test = (
    part(data)
    for part, data in zip((as_input, torch.from_numpy), crops(demo_size(full=300, small=40), seed=1), strict=True)
)
steps = demo_size(full=400, small=12)
where = device.best()


def progress(t: int, loss: float) -> None:
    if (t + 1) % math.ceil(steps / 4) == 0:
        print("▪" * (10 * (t + 1) // steps) + "▫" * (10 - 10 * (t + 1) // steps), f"step {t + 1}, loss {loss:.3f}")


def power_cut(t: int, loss: float) -> None:
    progress(t, loss)
    if t == steps * 5 // 8:
        raise InterruptedError("the power is gone")


torch.manual_seed(0)
classifier = ConvNet(3, 5, block=ResidualBlock)
with tempfile.TemporaryDirectory() as folder:
    run = {"steps": steps, "batch_size": 64, "device": where, "path": f"{folder}/net.pt", "every": steps // 4}
    try:
        train(classifier, X, y, on_step=power_cut, **run)
    except InterruptedError as error:
        print(error)
    losses = train(classifier, X, y, on_step=progress, **run)
classifier.to("cpu")
test_loss, test_accuracy = evaluate(classifier, X_test, y_test)
print(f"{len(X):,} cut-outs to learn from, accuracy {evaluate(classifier, X, y)[1]:.1%};", end=" ")
print(f"{len(X_test):,} that it never saw, {test_accuracy:.1%}; 'nothing' for each would be right on", end=" ")
print(f"{(y_test == 0).float().mean():.1%}")
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=[1.3, 1])
left.plot(losses, alpha=0.35, color=plotting.COLOURS[0])
mean = np.convolve(losses, np.ones(9) / 9, "valid")
left.plot(np.arange(len(mean)) + 4, mean, color=plotting.COLOURS[0], label="mean of 9 steps")
left.axvline(steps * 5 // 8, color=plotting.MUTED, linestyle="--", label="interrupted")
left.axvline(steps // 4 * 2, color=plotting.MUTED, linestyle=":", label="resumed from")
left.set(xlabel="step", ylabel="loss", title="One run in two parts")
left.legend()
with torch.no_grad():
    guesses = classifier.eval()(X_test).argmax(dim=1)
counts = np.zeros((5, 5), int)
np.add.at(counts, (y_test.numpy(), guesses.numpy()), 1)
plotting.confusion_matrix(counts, NAMES, title=f"Unseen cut-outs, {test_accuracy:.0%} right", ax=right)
plt.show()

# %% [markdown]
# And was all of this needed? The next cell trains four networks with the same widths for the same number of steps: one
# and four blocks a stage, plain and residual. The left panel shows the losses of the deep ones, the right one the accuracy
# of all four on unseen images. About half of these are "nothing", so a constant answer gets about 50%. Read off what depth
# does to the plain network in so few steps, and what it does to yours.

# %% tags=["demo"]
steps = demo_size(full=120, small=6)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for kind, line in ((PlainBlock, "-"), (ResidualBlock, "--")):
    reached = []
    for depth in (1, 4):
        torch.manual_seed(1)
        net = ConvNet(3, 5, depth=depth, block=kind)
        found = train(net, X, y, steps, batch_size=32, device=where)
        reached.append(evaluate(net.to("cpu"), X_test, y_test)[1])
    width = min(15, steps // 2)
    mean = np.convolve(found, np.ones(width) / width, "valid")
    left.plot(mean, line, label=kind.__name__)
    right.plot([1 + 6 * 1 + 1, 1 + 6 * 4 + 1], reached, line, marker="o", label=kind.__name__)
left.set(xlabel="step", ylabel=f"loss, mean of {width} steps", title="26 layers")
left.legend()
right.set(xlabel="layers", ylabel="accuracy on unseen images", title=f"After {steps} steps", ylim=(0, 1))
right.set_xticks([8, 26])
right.legend()
plt.show()

# %% [markdown]
# ### 10.7 `augment` · optional · level 2 of 4 · 20 min
#
# *Extra: it is graded, but its points are not added to your sum.*
#
# A network with many more parameters than images can often remember each of them. More images would help, and some come
# for free: a circle that is moved by a pixel is a circle, and so is its mirror image. **Augmentation** draws such a change
# anew for each image and each step, so the network seldom sees exactly the same picture twice. It tells the network what
# does *not* matter. Choose only changes that keep the class: a mirrored 3 is no digit any more.
#
# Two details decide whether it works. Each image draws *its own* change; one change for the whole batch teaches
# much less. And all channels of an image move together; so does its mask, which can be one more channel.


# %% exercise="augment" points=2 minutes=20 extra=true forbids=["torch", "scipy.ndimage"] trains=["index arithmetic that is right at the borders"]
def augment(images: np.ndarray, seed: int, pad: int = 2) -> np.ndarray:
    """Images, each mirrored with probability 1/2 and shifted by up to `pad` pixels.

    images: (B, C, H, W), each axis >= 1, numbers of any kind; not modified.
    seed: an integer >= 0. pad: >= 0, may be more than H or W.
    For each image alone: first, with probability 1/2, the order of its columns is reversed. Then all
    is moved down by dy and to the right by dx, each uniform on the integers -pad, ..., pad. Where
    nothing comes from, there is 0; what leaves the picture is lost. All channels of an image move
    together. The draws of an image are independent of each other and of those of other images.

    Returns (B, C, H, W), the dtype of images, a new array. The same seed gives the same result, other
    seeds give unrelated ones. NumPy's global random state is not touched.
    Besides images and the result, memory for two arrays of the size of images, in bytes. (One that is
    wider by a small `pad` on each side counts as such an array.)
    Raises ValueError for pad < 0. Not allowed: torch, scipy.ndimage.
    """
    ### BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    B, C, H, W = images.shape
    dy, dx = rng.integers(-pad, pad, (2, B, 1), endpoint=True)  # raises ValueError for pad < 0
    mirrored = rng.random((B, 1)) < 0.5
    padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    rows = np.arange(H) + pad - dy
    columns = np.arange(W) - dx
    columns = np.where(mirrored, W - 1 - columns, columns) + pad
    B, C = np.arange(B)[:, None, None, None], np.arange(C)[:, None, None]
    return padded[B, C, rows[:, None, :, None], columns[:, None, None, :]]
    ### END SOLUTION


# %% [markdown] hints="augment"
# <details><summary>Hint 1: one image</summary>
#
# Put the picture into the middle of a larger one of zeros, `pad` wider on each side. A shift is then a choice of which
# H × W window you cut out. A loop over the images is fine.
# </details>
# <details><summary>Hint 2: nearly the solution</summary>
#
# Draw dy, dx and the mirror for all images at once. For image i: `padded[i, :, pad - dy : pad - dy + H, pad - dx : pad -
# dx + W]`, where `padded` holds `images[i, :, :, ::-1]` if it is mirrored. Copy it into an empty array like images.
# </details>

# %% check="augment"
with check("augment", forbids=["torch", "scipy.ndimage"]):
    x = np.arange(1, 9).reshape(1, 2, 2, 2)
    alone = augment(np.repeat(x, 40, axis=0), seed=3, pad=0)
    kinds = {tuple(image.ravel().tolist()) for image in alone}
    assert kinds == {(1, 2, 3, 4, 5, 6, 7, 8), (2, 1, 4, 3, 6, 5, 8, 7)}, "without a shift: itself, or columns reversed"
    with expect_unchanged(x=x):
        moved = augment(np.repeat(x, 2000, axis=0).astype(np.uint8), seed=3, pad=1)
    expect_dtype(moved, np.uint8)
    kinds = {tuple(image.ravel().tolist()) for image in moved}
    # nine shifts of a picture and of its mirror image. Shifted up by one and to the right by one, 1 2 / 3 4 is 0 3 / 0 0.
    expect_close(len(kinds), 18, hint="dx and dy are -1, 0 or 1, independent of each other and of the mirror")
    assert (0, 3, 0, 0, 0, 7, 0, 0) in kinds, "zeros come in, and both channels move together"
    share = np.mean(
        [tuple(image.ravel().tolist()) in {(1, 2, 3, 4, 5, 6, 7, 8), (2, 1, 4, 3, 6, 5, 8, 7)} for image in moved]
    )
    assert 0.07 < share < 0.16, f"one shift in nine moves nothing; here it was {share:.2f}"
    expect_close(augment(moved, 5), augment(moved, 5), hint="the same seed, the same result")
    assert (augment(moved, 5) != augment(moved, 6)).any(), "another seed, another result"
    expect_shape(augment(x, 0, pad=9), (1, 2, 2, 2))
    with expect_raises(ValueError, hint="pad below 0"):
        augment(x, 0, pad=-1)

# %% [markdown]
# A few images to learn from, and the same number of steps with and without your function, and with dropout. Look at both
# bars of each pair: the images that the network learnt from, and others. With your function, at full size, it no longer
# remembers each image. What the unseen ones gain in so few steps is small: the title has the standard error of such a share, and a
# difference within twice that is noise. Dropout of half the features costs steps, too, and a net this small has few to spare.

# %% tags=["demo"]
few, steps = demo_size(full=200, small=30), demo_size(full=250, small=6)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=[1, 1.1])
plain = ((X[:1].numpy() + 0.5) * 255).astype(np.uint8).repeat(16, axis=0)
shown = augment(plain, seed=1, pad=2).transpose(0, 2, 3, 1)
left.imshow(np.vstack([np.hstack(shown[i : i + 4]) for i in range(0, 16, 4)]))
left.set(title="One image, sixteen times")
left.set_axis_off()
settings = {
    "nothing": (0.0, None),
    "dropout 0.5": (0.5, None),
    "augment": (0.0, lambda batch, t: torch.from_numpy(augment(batch.numpy(), seed=t))),
}
bars = []
for dropout, change in settings.values():
    torch.manual_seed(2)
    net = ConvNet(3, 5, block=ResidualBlock, dropout=dropout)
    train(net, X[:few], y[:few], steps, batch_size=32, device=where, transform=change)
    net.to("cpu")
    bars.append((evaluate(net, X[:few], y[:few])[1], evaluate(net, X_test, y_test)[1]))
for k, name in enumerate(("learnt from", "unseen")):
    spots = np.arange(len(settings)) + 0.4 * (k - 0.5)
    drawn = right.bar(spots, [bar[k] for bar in bars], 0.4, label=name, hatch=("", "//")[k])
    right.bar_label(drawn, [f"{bar[k]:.0%}" for bar in bars], fontsize=8)
right.set_xticks(range(len(settings)), settings)
right.set(ylabel="accuracy", ylim=(0, 1.3), title=f"{few} images; standard error {0.43 / math.sqrt(len(X_test)):.1%}")
right.legend(loc="upper right", ncols=2)
plt.show()

# %% [markdown]
# ### 10.8 `non_max_suppression` · important · level 3 of 4 · 25 min
#
# So far the network says *what*. To say *where*, ask it about many windows of a picture: **detection**. Two windows that
# are a few pixels apart show the same object, so each object is found many times. How much two boxes agree is their
# **intersection over union**,
#
# $$\mathrm{IoU}(a, b) = \frac{|a \cap b|}{|a \cup b|} = \frac{|a \cap b|}{|a| + |b| - |a \cap b|} \in [0, 1].$$
#
# The intersection of two boxes is a box: its left edge is the larger of the two left edges, its right edge the smaller
# of the right ones. If the width is negative, they do not meet. (Two negative sides have a positive product, so replace a
# negative side by 0 *before* you multiply.)
#
# **Non-maximum suppression** is greedy: keep the box with the best score, drop all that overlap it by more than a
# threshold, repeat with what is left. It takes one row of IoUs for each box that is *kept*. The full table of all pairs
# is neither needed nor affordable: a detector has $10^5$ windows.


# %% exercise="non_max_suppression" points=3 minutes=25 forbids=["torch", "torchvision"] trains=["greedy algorithms"]
def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of each box of a, (n, 4), with each of b, (k, 4).

    A box is x0, y0, x1, y1, numbers of any kind up to 1e9 in size; it is x1 - x0 wide and y1 - y0
    high. Where one of these is 0 or negative, the box is empty: its IoU with anything is 0. n and k
    may be 0. Computed in float64. Returns (n, k) float64, new, right to 1e-9. Leaves a and b as they are.
    """
    ### BEGIN SOLUTION
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    low = np.maximum(a[:, None, :2], b[:, :2])
    high = np.minimum(a[:, None, 2:], b[:, 2:])
    both = np.maximum(high - low, 0).prod(axis=2)
    size_a, size_b = (np.maximum(box[:, 2:] - box[:, :2], 0).prod(axis=1) for box in (a, b))
    union = size_a[:, None] + size_b - both
    return both / np.where(both > 0, union, 1)
    ### END SOLUTION


def non_max_suppression(
    boxes: np.ndarray, scores: np.ndarray, threshold: float = 0.5, labels: np.ndarray | None = None
) -> np.ndarray:
    """The boxes that stay: a box that is kept removes those that overlap it too much.

    boxes: (n, 4) as in `iou`, n >= 0; scores: (n,), numbers of any kind (integers up to 2^53), none
      is nan. threshold: from 0 to 1. labels: (n,) integers, or None: all are of one class.
    Boxes are looked at from the largest score to the smallest; of equal scores, the one with the
    smaller index comes first. A box is dropped where its IoU with a box that was kept *exceeds* the
    threshold and both have the same label. So an empty box is always kept.

    Returns (kept,) int64, the indices of the kept boxes in the order in which they were looked at.
    O(n log n + n · kept) time; no (n, n) array, memory for a few arrays of the size of boxes.
    Leaves its arguments as they are. Not allowed: torch, torchvision.
    """
    ### BEGIN SOLUTION
    order, kept = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable"), []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        near = iou(boxes[[best]], boxes[order])[0] > threshold
        if labels is not None:
            near &= labels[order] == labels[best]
        order = order[~near]
    return np.array(kept, dtype=np.int64)
    ### END SOLUTION


# %% [markdown] hints="non_max_suppression"
# <details><summary>Hint 1: iou by broadcasting</summary>
#
# `np.maximum(a[:, None, :2], b[:, :2])` has shape (n, k, 2): the upper left corners of all intersections. The lower right
# ones are the minimum of the other two columns. Make float64 of integers first: uint8 has no negative numbers.
# </details>
# <details><summary>Hint 2: ties and empty boxes</summary>
#
# `np.argsort(-np.asarray(scores, dtype=float), kind="stable")` leaves equal scores in their order (uint8 has no
# negatives). Where the intersection is 0, the answer is 0, whatever the union is: divide by 1 there.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# While `order` is not empty: take its first one, compute `iou(boxes[[best]], boxes[rest])[0]`, and keep the part of the
# rest that is `<= threshold` or has another label.
# </details>

# %% check="non_max_suppression"
with check("non_max_suppression", forbids=["torch", "torchvision"]):
    expect_close(
        iou(np.array([[0, 0, 4, 2]]), np.array([[9, 9, 10, 10]])),
        [[0.0]],  # they do not meet: the intersection would be -5 wide and -7 high
        mistakes={"Two negative sides have a positive product: replace a negative side by 0 first.": [[35 / -26]]},
    )
    a = np.array([[0, 0, 4, 2], [0, 0, 0, 5]])
    b = np.array([[2, 1, 6, 3], [0, 0, 4, 2], [9, 9, 10, 10], [0, 0, 0, 5]])
    expect_close(
        iou(a, b),
        # the first two share 2 · 1 of 8 + 8 - 2; a box equals itself; far apart; an empty box meets nothing
        [[2 / 14, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]],
        mistakes={
            "You divided by the sum of both areas; take the intersection off once.": [
                [2 / 16, 0.5, 0.0, 0.0],
                [0.0] * 4,
            ],
            "x1 and y1 are one past the last pixel: the width is x1 - x0.": [
                [6 / 24, 1.0, 0.0, 3 / 18],
                [0.0, 3 / 18, 0.0, 1.0],
            ],
        },
    )
    expect_close(iou(np.array([[0, 0, 200, 200]], np.uint8), np.array([[100, 0, 201, 200]], np.uint8)), [[100 / 201]])
    boxes = np.array([[0.0, 0, 4, 4], [0, 0, 4, 3], [0, 0, 2, 4], [8, 8, 9, 9], [0, 0, 4, 4]])
    scores = np.array([0.5, 0.9, 0.7, 0.7, 0.5])
    # Box 1 first. Box 2 shares 6 of 14 with it and stays, box 3 as well. Boxes 0 and 4 share 12 of 16 with box 1.
    got = non_max_suppression(boxes, scores)
    expect_close(got, [1, 2, 3], hint="from the best score down; of equal scores the smaller index comes first")
    expect_dtype(got, np.int64)
    row = np.array([[0.0, 0, 4, 4], [1, 0, 5, 4], [2, 0, 6, 4]])  # neighbours share 12 of 20, the outer two 8 of 24
    expect_close(non_max_suppression(row, np.array([3.0, 2, 1])), [0, 2], hint="a box that was dropped drops no other")
    expect_close(non_max_suppression(boxes, scores, 0.75), [1, 2, 3, 0], hint="0.75 does not exceed 0.75")
    expect_close(
        non_max_suppression(boxes, scores, labels=np.array([0, 1, 1, 1, 0])), [1, 2, 3, 0], hint="labels apart"
    )
    expect_close(non_max_suppression(np.zeros((2, 4)), np.zeros(2), 0.0), [0, 1], hint="empty boxes stay")
    expect_close(non_max_suppression(np.zeros((0, 4)), np.zeros(0)), np.zeros(0))

# %% [markdown]
# Your classifier as a detector. Windows of four sizes slide over new pictures; the network of 10.6 says what is in each.
# Those in which it sees a shape with a probability of at least 0.9 are drawn on top, and what your function leaves of them
# below. Do not expect each object: the cell counts those that are found (recall) and how many of the kept boxes are right
# (precision). Hidden or small ones are often missed. Over all thresholds together, the two give the *average precision*
# that papers report. (Viola and Jones slid windows in this way in 2001. R-CNN (2014) put a
# convolutional network on about 2,000 proposed regions in place of all windows. Today one pass of the network serves all.)

# %% tags=["demo"]
pictures = datasets.shapes(demo_size(full=60, small=6), size=64, most=3, seed=11)
windows = np.array(
    [(x, y, x + s, y + s) for s in (16, 20, 24, 30) for y in range(0, 65 - s, 4) for x in range(0, 65 - s, 4)]
)
found, raw = [], []
classifier.eval()
for image in pictures.images:
    with torch.no_grad():
        logits = classifier(as_input(np.stack([cut_out(image, window) for window in windows])))
    chance = torch.softmax(logits, dim=1).numpy()
    sure = np.flatnonzero(chance[:, 1:].max(axis=1) >= 0.9)
    scores, labels = chance[sure, 1:].max(axis=1), chance[sure, 1:].argmax(axis=1)
    kept = non_max_suppression(windows[sure], scores, 0.25)
    raw.append(windows[sure])
    found.append((windows[sure][kept], labels[kept]))
matched = wanted = 0
for (boxes, labels), truth, names in zip(found, pictures.boxes, pictures.labels, strict=True):
    overlap = iou(truth, boxes) * (names[:, None] == labels)
    matched += (overlap.max(axis=1, initial=0) >= 0.5).sum()
    wanted += len(truth)
claimed = sum(len(boxes) for boxes, _ in found)
print(
    f"{len(windows)} windows in each of {len(found)} pictures; in {sum(map(len, raw))} of them all the network sees a shape;"
)
print(f"{claimed} stay. {matched} of {wanted} objects are found with the right class and an IoU of at least 0.5:")
print(f"recall {matched / wanted:.0%}, precision {matched / max(claimed, 1):.0%}")
plotting.image_grid(
    pictures.images[:6], columns=6, boxes=raw[:6], titles=[f"windows: {len(boxes)}" for boxes in raw[:6]], size=1.8
)
names = [", ".join(NAMES[label + 1][:2] for label in labels) for _, labels in found[:6]]
plotting.image_grid(pictures.images[:6], columns=6, boxes=[boxes for boxes, _ in found[:6]], titles=names, size=1.8)
plt.show()

# %% [markdown]
# ### 10.9 `mean_iou` · important · level 2 of 4 · 10 min
#
# A box is a coarse answer. **Segmentation** gives each pixel a class. The share of right pixels is a poor measure for it:
# if nine tenths of a picture are background, "all background" is right on nine tenths. So take the IoU of each class, as sets
# of pixels, and the mean over the classes:
#
# $$\mathrm{IoU}_c = \frac{\#\{\text{both say } c\}}{\#\{\text{one of them says } c\}} = \frac{N_{cc}}{\sum_j N_{cj} + \sum_i N_{ic} - N_{cc}}$$
#
# with $N_{ij}$ the pixels whose true class is $i$ and whose predicted class is $j$. **The counts add up over batches and
# over machines; the IoUs do not.** A mean of the batches' means is another number, and depends on how the data was cut.


# %% exercise="mean_iou" points=2 minutes=10 forbids=["sklearn", "torch"] trains=["honest evaluation"]
def mean_iou(batches: Iterable, classes: int, ignore: int | None = None) -> tuple[float, np.ndarray]:
    """Mean intersection over union of predicted and true classes, over all pixels of all batches.

    batches: an iterable, gone through once, of pairs (predicted, true): two arrays of one shape, any
      shape, of integers of any dtype, from 0 to classes - 1. classes: >= 1.
    ignore: pixels whose true class is this number do not count, whatever is predicted there, even a
      number that is no class. None: all count.

    Returns (mean, each): each (classes,) float64 is the IoU of each class over all pixels of all
    batches together, nan for a class that neither side has anywhere; mean, a Python float, is the
    mean of the others, nan where there are none. Computed from exact counts.
    Memory for one batch at a time and O(classes^2). Leaves the arrays as they are.
    Raises ValueError where the shapes of a pair differ, and for a class outside the range.
    Not allowed: sklearn, torch.
    """
    ### BEGIN SOLUTION
    counts = np.zeros(classes**2, dtype=np.int64)
    for predicted, true in batches:
        if predicted.shape != true.shape:
            raise ValueError(f"shapes {predicted.shape} and {true.shape}")
        if ignore is not None:
            counted = true != ignore
            predicted, true = predicted[counted], true[counted]
        for side in (predicted, true):
            if side.size and not 0 <= int(side.min()) <= int(side.max()) < classes:
                raise ValueError("a class outside the range")
        pairs = true.astype(np.int64) * classes + predicted.astype(np.int64)
        counts += np.bincount(pairs.ravel(), minlength=classes**2)
    table = counts.reshape(classes, classes)
    both = table.diagonal()
    either = table.sum(axis=0) + table.sum(axis=1) - both
    each = np.full(classes, np.nan)
    np.divide(both, either, out=each, where=either > 0)
    present = each[either > 0]
    return float(present.mean()) if len(present) else math.nan, each
    ### END SOLUTION


# %% [markdown] hints="mean_iou"
# <details><summary>Hint 1: one table of counts</summary>
#
# Number the pairs: true · classes + predicted, in int64 (uint8 overflows). `np.bincount(..., minlength=classes**2)` counts
# them. Add each batch's counts to one table and keep nothing else of the batch. Compute the IoUs once, at the end.
# </details>
# <details><summary>Hint 2: classes that nobody has</summary>
#
# Their union is 0. Leave them as nan in `each`, and take the mean over those with a union above 0.
# </details>

# %% check="mean_iou"
with check("mean_iou", forbids=["sklearn", "torch"]):
    first = np.array([0, 0, 1, 1], np.uint8), np.array([0, 1, 1, 1], np.uint8)
    second = np.array([[0, 0]], np.uint8), np.array([[0, 1]], np.uint8)
    mean, each = mean_iou(iter([first, second]), 3)
    # class 0: both say it twice, one of them four times; class 1: twice of four. Nobody says 2.
    expect_close(each[:2], [1 / 2, 1 / 2])
    assert math.isnan(each[2]), "a class that neither side has is nan"
    expect_close(
        mean,
        1 / 2,
        mistakes={
            "Add up counts over the batches, not means: first 7/12, then 1/4.": (7 / 12 + 1 / 4) / 2,
            "A class that nobody has is left out of the mean.": 1 / 3,
            "This is the share of right pixels.": 4 / 6,
        },
    )
    odd = np.array([1, 0, 7], np.uint8), np.array([1, 1, 255], np.uint8)
    expect_close(mean_iou([odd], 2, ignore=255)[0], 0.25, hint="class 0 has IoU 0, class 1 has 1/2; 255 does not count")
    high = np.array([30, 39], np.uint8)
    expect_close(mean_iou([(high, high)], 40)[0], 1.0, hint="30 · 40 does not fit into uint8")
    for bad in ((np.array([2]), np.array([0])), (np.array([0]), np.array([-1])), (np.array([0]), np.array([0, 0]))):
        with expect_raises(ValueError):
            mean_iou([bad], 2)
    assert math.isnan(mean_iou([], 2)[0]), "without a pixel the mean is nan"

# %% [markdown]
# A **fully convolutional net** has no linear layer at the end: a 1 × 1 convolution gives logits for each place. Strides on
# the way down let it see far, and on the way up `nn.Upsample` brings the size back. An early layer is added to the late
# one, so that edges stay sharp. It has the skip of your residual block, across the whole network. It trains with cross-entropy over
# all pixels. In so few steps it mixes up the shapes, triangles above all, so expect some low IoUs: that is the network,
# not your function. `train` takes it as it is, because logits (B, classes, H, W) and classes (B, H, W) are what torch's
# cross-entropy expects.

# %% tags=["demo"]


class FullyConvolutional(nn.Module):
    """Logits for each pixel: down by 4, up by 4, and the first layer is added at the end."""

    def __init__(self, classes: int):
        super().__init__()
        self.first = ResidualBlock(3, 8)
        self.down = nn.Sequential(ResidualBlock(8, 16, 2), ResidualBlock(16, 32, 2), ResidualBlock(32, 32))
        self.up = nn.Sequential(nn.Conv2d(32, 8, 1), nn.Upsample(scale_factor=4, mode="bilinear"))
        self.last = nn.Conv2d(8, classes, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        early = self.first(x)
        return self.last(F.relu(early + self.up(self.down(early))))


learn = datasets.shapes(demo_size(full=300, small=20), size=32, most=2, noise=4, seed=21)
unseen = datasets.shapes(demo_size(full=100, small=10), size=32, most=2, noise=4, seed=22)
torch.manual_seed(3)
segmenter = FullyConvolutional(5)
steps = demo_size(full=300, small=4)
pixels, classes = as_input(learn.images), torch.from_numpy(learn.masks.astype(np.int64))
losses = train(segmenter, pixels, classes, steps, batch_size=16, device=where)
segmenter.to("cpu").eval()
with torch.no_grad():
    guesses = segmenter(as_input(unseen.images)).argmax(dim=1).numpy()
mean, each = mean_iou(zip(guesses, unseen.masks, strict=True), 5)
nothing, _ = mean_iou([(np.zeros_like(guesses), unseen.masks)], 5)
print(f"mean IoU {mean:.2f} on {len(unseen)} unseen pictures; ", end="")
print(", ".join(f"{name} {value:.2f}" for name, value in zip(NAMES, each, strict=True)))
print(f"'nothing' for each pixel: mean IoU {nothing:.2f}, {np.mean(unseen.masks == 0):.0%} of the pixels are right")
shown = np.concatenate([unseen.images[:8], unseen.images[:8]])
masks = np.concatenate([unseen.masks[:8], guesses[:8].astype(np.uint8)])
scores = [f"IoU {mean_iou([(guesses[i], unseen.masks[i])], 5)[0]:.2f}" for i in range(8)]
plotting.image_grid(shown, columns=8, masks=masks, titles=["truth", *[""] * 7, *scores], size=1.35)
plt.show()

# %% [markdown]
# ### 10.10 `temporal_conv` · optional · level 2 of 4 · 15 min
#
# *Extra: it is graded, but its points are not added to your sum.*
#
# A video has one axis more, time, and some questions have their answer in that axis only. In the data set `clips` a shape
# moves right, down, left or up, and what leaves on one side comes in on the other. Each single frame looks the same for
# all four directions, and the set of all frames is the same for left and right. So a network that averages over frames
# cannot tell them apart. A convolution over time can: it sees frames in their order.
#
# Over time, **causal** is the natural choice (module 09): an output depends on this frame and earlier ones, never on
# later ones, so it can run on a live video.


# %% exercise="temporal_conv" points=2 minutes=15 extra=true forbids=["torch.nn.functional", "torch.conv1d", "torch.conv2d", "torch.conv3d", "torch.convolution", "torch.nn.Conv1d", "torch.nn.Conv2d", "torch.nn.Conv3d"] trains=["index arithmetic that is right at the borders"]
def temporal_conv(x: torch.Tensor, weight: torch.Tensor, dilation: int = 1) -> torch.Tensor:
    """A causal convolution over time, the same at each pixel.

    x: (B, T, C, H, W) and weight: (O, C, K), each axis >= 1, both float32 or both float64. K may
      exceed T. dilation: >= 1, the frames from one tap of the kernel to the next.
    Returns (B, T, O, H, W), a new tensor of that dtype:
      out[b, t, o] = sum over c and k of weight[o, c, k] * x[b, t - (K - 1 - k) * dilation, c],
      where frames before the first count as 0: weight[:, :, K - 1] meets the frame t itself.
    Gradients flow to x and to weight. Leaves both as they are. Either may be a view with any strides.
    Memory for a few arrays of the size of x and the result, not for a copy of x for each of K taps.
    Not allowed: torch.nn.functional, torch.conv1d, torch.conv2d, torch.conv3d, torch.convolution,
    torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d.
    """
    ### BEGIN SOLUTION
    T, K = x.shape[1], weight.shape[2]
    out = x.new_zeros(*x.shape[:2], len(weight), *x.shape[3:])
    for k in range(K):
        late = (K - 1 - k) * dilation
        if late < T:
            out[:, late:] += torch.einsum("btchw,oc->btohw", x[:, : T - late], weight[:, :, k])
    return out
    ### END SOLUTION


# %% [markdown] hints="temporal_conv"
# <details><summary>Hint 1: one tap at a time</summary>
#
# Tap k meets frames that lie (K − 1 − k) · dilation back. So it adds to the outputs from that number on, and reads
# the frames from the first on.
# </details>
# <details><summary>Hint 2: one tap is a product over channels</summary>
#
# `torch.einsum("btchw,oc->btohw", frames, weight[:, :, k])`. Where a tap lies T frames back or more, it meets nothing:
# leave it out.
# </details>

# %% check="temporal_conv"
with check(
    "temporal_conv",
    forbids=[
        "torch.nn.functional",
        "torch.conv1d",
        "torch.conv2d",
        "torch.conv3d",
        "torch.convolution",
        "torch.nn.Conv1d",
        "torch.nn.Conv2d",
        "torch.nn.Conv3d",
    ],
):
    x = torch.tensor([1.0, 2.0, 4.0, 8.0]).reshape(1, 4, 1, 1, 1)
    w = torch.tensor([[[10.0, 1.0]], [[0.0, 3.0]]])  # two outputs; the last tap meets the frame itself
    with expect_unchanged(x=x, w=w):
        got = temporal_conv(x, w)
    expect_close(
        got[0, :, :, 0, 0].T,
        [[1.0, 12.0, 24.0, 48.0], [3.0, 6.0, 12.0, 24.0]],  # 10 · 1 + 2, 10 · 2 + 4, 10 · 4 + 8
        mistakes={
            "The kernel is turned round: the last tap meets the frame itself.": [[10, 21, 42, 84], [0, 3, 6, 12]],
            "An output may not see later frames.": [[21, 42, 84, 8], [3, 6, 12, 24]],
        },
    )
    expect_close(temporal_conv(x, w, dilation=2)[0, :, 0, 0, 0], [1.0, 2.0, 14.0, 28.0])
    expect_shape(temporal_conv(torch.ones(2, 1, 3, 4, 5), torch.ones(6, 3, 2)), (2, 1, 6, 4, 5))
    v = torch.ones(1, 1, 3, requires_grad=True)
    temporal_conv(x, v).sum().backward()
    expect_close(v.grad.flatten(), [3.0, 7.0, 15.0])  # the last tap met all four frames, the first one two

# %% [markdown]
# Two networks for `clips`, with the same features of each frame. One adds your convolution over time; the other averages
# over the frames. The dashed line is chance for four directions, the dotted one what a perfect network reaches that ignores
# the order: it knows the axis of the motion, but not its sign.

# %% tags=["demo"]


class ClipNet(nn.Module):
    """Frames (B, T, 1, H, W) -> logits of four directions, with a convolution over time or without."""

    def __init__(self, ordered: bool):
        super().__init__()
        self.ordered = ordered
        self.frame = nn.Sequential(nn.Conv2d(1, 8, 5, 2, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.time = nn.Parameter(0.2 * torch.randn(16, 8, 2))
        self.mix = nn.Sequential(nn.Conv2d(16 if ordered else 8, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T = x.shape[:2]
        features = self.frame(x.flatten(0, 1))
        if self.ordered:
            features = temporal_conv(features.unflatten(0, (B, T)), self.time)[:, 1:].flatten(0, 1)
        mixed = self.mix(features).unflatten(0, (B, -1))
        return self.head(mixed.mean(dim=(1, 3, 4)))


learn, unseen = (datasets.clips(n, frames=5, size=16, seed=n) for n in (demo_size(600, 40), demo_size(200, 20)))
video, test_video = (torch.from_numpy(part.frames[:, :, None] / 255 - 0.5).float() for part in (learn, unseen))
reached, steps = {}, demo_size(full=200, small=4)
for name, ordered in (("averages frames", False), ("temporal_conv", True)):
    torch.manual_seed(4)
    net = ClipNet(ordered)
    train(net, video, torch.from_numpy(learn.y), steps, batch_size=32, lr=0.02, device=where)
    reached[name] = evaluate(net.to("cpu"), test_video, torch.from_numpy(unseen.y))[1]
plotting.image_grid(
    learn.frames[:2].reshape(-1, 16, 16),
    columns=5,
    titles=[title for k in learn.y[:2] for title in (learn.names[k], *[""] * 4)],
)
figure, ax = plt.subplots(figsize=(6, 3))
ax.bar_label(
    ax.barh(list(reached), list(reached.values()), height=0.5),
    [f"{value:.0%}" for value in reached.values()],
    padding=3,
)
ax.axvline(0.25, color=plotting.MUTED, linestyle="--")
ax.axvline(0.5, color=plotting.MUTED, linestyle=":")
ax.set(xlabel="accuracy on unseen clips", xlim=(0, 1.1), title="The direction is in the order of the frames")
plt.show()

# %% [markdown]
# ## Scale it
#
# ### What a batch costs in memory
#
# Training keeps the activations of the batch until the backward pass. How many bytes is that? The cell below asks torch:
# a hook sees each tensor that autograd saves, and its bytes are counted, each storage once. Weights and running
# statistics are saved, too, but do not grow with the batch. Beside it stands the prediction of your `count_costs`: its
# activations times the bytes of a number. Each convolution saves its input, and each normalisation saves its own. The
# output of a normalisation before a ReLU is not needed again, and neither is the sum of a residual. So
# **bytes = constant + c · B · activations · bytes of a number**, with a factor c < 1 that does not depend on B. The cell
# prints c. In bfloat16 most take two bytes in place of four.

# %% tags=["demo"]


def saved_bytes(net: nn.Module, x: torch.Tensor, precision: str) -> int:
    """Bytes that autograd keeps for the backward pass of net(x), each storage counted once."""
    held = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        held[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        net(x)
    return sum(count for count, _ in held.values())


def same_stack(widths: Sequence[int]) -> list[dict]:
    """ConvNet(3, 5, widths, block=ResidualBlock) as `count_costs` reads it."""
    layers = [conv(widths[0], 3, padding=1, bias=False), norm(), relu()]
    for stage, wider in enumerate(widths):
        stride = 2 if stage else 1
        body = [conv(wider, 3, stride, 1, bias=False), norm(), relu(), conv(wider, 3, padding=1, bias=False), norm()]
        shortcut = [conv(wider, 1, stride, bias=False), norm()] if stage else []
        layers += [residual(body, shortcut), relu()]
    return [*layers, average(), flatten(), linear(5)]


cost = count_costs(same_stack((8, 16, 32)), (3, 32, 32))
batches = [1, 2, 4, 8, 16, 32, 64, 128]
lines = {"count_costs, 4 bytes each": (batches, [4 * B * cost["activations"] for B in batches])}
for precision in ("float32", "bfloat16"):
    net = ConvNet(3, 5, block=ResidualBlock)
    assert parameter_count(net) == cost["parameters"]
    lines[f"torch keeps, {precision}"] = (
        batches,
        [saved_bytes(net, torch.randn(B, 3, 32, 32), precision) for B in batches],
    )
ax = plotting.curves(
    lines, xlabel="batch size", ylabel="bytes", title="Activations grow with the batch", logx=True, logy=True
)
ax.set_xticks(batches, batches)
ax.xaxis.minorticks_off()
plt.show()
weights = 4 * cost["parameters"]
print(f"weights {weights:,} bytes; with gradients and two moments {4 * weights:,}")
kept = lines["torch keeps, float32"][1]
print(f"activations of a batch of 128: {kept[-1]:,} bytes;", end=" ")
print(f"c = {(kept[-1] - kept[0]) / (127 * 4 * cost['activations']):.2f}")

# %% [markdown]
# The weights are small beside the activations, and it is the batch that fills a GPU. Four numbers are kept for each
# weight (itself, its gradient, two moments), but one for each activation of *each image*. Module 08's checkpointing
# trades these bytes for a second forward pass, and module 17 splits weights and moments over machines.
#
# ### Throughput
#
# Images a second in training (forward and backward), against the batch size. The peer is the same network of
# torch.nn's own parts: torch's BatchNorm2d in place of yours everywhere. All with one thread of the CPU, and on a GPU if there is
# one. Three effects to look for:
#
# - **Small batches pay for calls.** Each layer costs some microseconds, whatever the batch. So images a second rise with
#   the batch until the arithmetic takes over, on a CPU early, on a GPU late.
# - **The peer wins**, because its normalisation is one compiled pass with a backward pass of its own. Yours is a handful
#   of calls, each of which reads and writes the whole batch. Its *result* is the same. That is the usual way: write it
#   to understand it, then use the fused one.
# - **bfloat16** pays where the hardware multiplies it directly. On a GPU it does. Many CPUs convert back and forth, and
#   then it is slower than float32: the figure and the table show what yours does.

# %% tags=["demo"]


def with_norms(c_in: int, classes: int, widths: Sequence[int], kind: type) -> ConvNet:
    """A residual ConvNet in which each normalisation is of this kind."""
    torch.manual_seed(0)
    net = ConvNet(c_in, classes, widths, block=lambda a, b, stride: ResidualBlock(a, b, stride, norm=kind))
    net.stem[1] = kind(widths[0])
    return net


def one_step(net: nn.Module, precision: str, place: str) -> Callable:
    def step(x: torch.Tensor) -> None:
        x = x.to(place)
        with torch.autocast(torch.device(place).type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            loss = net(x).float().square().mean()
        net.zero_grad()
        loss.backward()

    return step


places = ["cpu"] + ["cuda"] * torch.cuda.is_available()
runners = {}
for place in places:
    for precision in ("float32", "bfloat16"):
        net = with_norms(3, 5, (8, 16, 32), BatchNorm2d).to(place)
        runners[f"yours, {place}, {precision}"] = one_step(net, precision, place)
    net = with_norms(3, 5, (8, 16, 32), nn.BatchNorm2d).to(place)
    runners[f"torch.nn, {place}, float32"] = one_step(net, "float32", place)
threads = torch.get_num_threads()
torch.set_num_threads(1)
speed = scaling.measure(
    runners,
    sizes=demo_size(full=[1, 4, 16, 64, 256], small=[1, 4], gpu=[1, 4, 16, 64, 256, 1024, 4096]),
    setup=lambda B: torch.randn(B, 3, 16, 16),
    budget=demo_size(full=9.0, small=2.0),
    repeat=2,
    label="batch size",
    memory=None,
    threads=1,
)
torch.set_num_threads(threads)
ax = plotting.curves(
    {name: (speed.sizes, speed.sizes / seconds) for name, seconds in speed.seconds.items()},
    xlabel="batch size",
    ylabel="images a second",
    title="Larger batches, until the arithmetic takes over",
    logx=True,
    logy=True,
)
ax.set_xticks(speed.sizes, speed.sizes)
ax.xaxis.minorticks_off()
plt.show()
if not torch.cuda.is_available():
    print("No GPU here: only the CPU is measured.")
speed.table()

# %% [markdown]
# ### The same accuracy as the peer
#
# Is your network as accurate as torch's? Both train on the digits of module 03, 8 × 8 pixels, with the same
# start, the same batches and the same loop. The only difference is who normalises. The losses are the same up to
# rounding for many steps. Then rounding errors grow, as they do in each training run, and the two runs slowly move
# apart. For MNIST or CIFAR-10, set `DOWNLOAD` to True where there is a network.

# %% tags=["demo"]
DOWNLOAD = False
if DOWNLOAD:
    data = datasets.mnist()
    print(data)
digits = datasets.digits()
order = np.random.default_rng(0).permutation(len(digits.y))
pixels, truth = torch.from_numpy(digits.images[order, None] / 16).float(), torch.from_numpy(digits.y[order]).long()
fresh, start = pixels[:400], 400
lines, ended = {}, {}
for name, kind in (("yours", BatchNorm2d), ("torch.nn", nn.BatchNorm2d)):
    net = with_norms(1, 10, (8, 16), kind)
    found = train(net, pixels[start:], truth[start:], demo_size(full=150, small=5), batch_size=64, device="cpu")
    lines[name] = np.arange(len(found)), np.array(found)
    ended[name] = evaluate(net, fresh, truth[:400])[1]
    print(f"{name}: {ended[name]:.1%} of 400 unseen digits")
gap = np.abs(lines["yours"][1] - lines["torch.nn"][1])
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6))
plotting.curves(lines, xlabel="step", ylabel="loss", title="Two runs, one loop", ax=left)
right.semilogy(np.maximum(gap, 1e-9))
right.set(xlabel="step", ylabel="difference of the losses", title="Rounding errors grow")
plt.show()

# %% [markdown]
# ### On many machines, and where it breaks
#
# With the batch on $P$ machines, gradients are averaged, which is exact (module 17). The statistics of batch normalisation
# are not: each machine normalises with its own part, so the result depends on $P$, and with one or two images for each
# machine it becomes noise. The cure is again a summary that adds up. Each machine sends the count, the mean and the sum
# of squared differences of each channel, and two such summaries merge exactly:
#
# $$n = n_1 + n_2, \qquad \mu = \mu_1 + \frac{n_2}{n} (\mu_2 - \mu_1), \qquad
#   M = M_1 + M_2 + \frac{n_1 n_2}{n} (\mu_2 - \mu_1)^2 .$$
#
# The cell splits one batch over 2 to 32 machines. Normalising each part alone moves away from the answer of the whole
# batch. Merged summaries give it up to rounding. For each machine and layer they cost $2 C + 1$ numbers in the forward pass;
# in the backward pass the two sums over the batch in the formula of 10.2 have to be added up, too: $2 C$ more.
# Where even that is too slow, or where batches have to be small (video) or examples differ in length (language), networks
# use a normalisation within each example: transformers (module 12) take **layer normalisation**.

# %% tags=["demo"]
torch.manual_seed(0)
x = torch.randn(64, 4, 8, 8) * (1 + torch.rand(64, 1, 1, 1)) + torch.randn(64, 1, 1, 1)
whole = BatchNorm2d(4)(x).detach()
apart, merged = [], []
machines = [2, 4, 8, 16, 32]
for P in machines:
    parts = x.chunk(P)
    apart.append((torch.cat([BatchNorm2d(4)(part) for part in parts]) - whole).square().mean().sqrt().item())
    n, mean, squares = 0, torch.zeros(4), torch.zeros(4)
    for part in parts:
        k, own = part.numel() // 4, part.mean(dim=(0, 2, 3))
        inner = (part - own[:, None, None]).square().sum(dim=(0, 2, 3))
        squares += inner + n * k / (n + k) * (own - mean) ** 2
        mean += k / (n + k) * (own - mean)
        n += k
    again = (x - mean[:, None, None]) / torch.sqrt(squares / n + 1e-5)[:, None, None]
    merged.append((again - whole).square().mean().sqrt().item())
ax = plotting.curves(
    {"each part alone": (machines, apart), "merged summaries": (machines, np.maximum(merged, 1e-9))},
    xlabel="machines",
    ylabel="difference from the whole batch",
    title="Batch statistics do not split, their summaries do",
    logx=True,
    logy=True,
)
ax.set_xticks(machines, machines)
ax.xaxis.minorticks_off()
plt.show()

# %% [markdown] written="which_mode" points=2
# **Written question (2 points).** A team trains a residual network with batch normalisation and dropout on 8 GPUs, 2 images
# on each, in bfloat16. On the training images the loss is low. The validation accuracy, computed by the script in the
# training loop with batches of 256 sorted by class, is excellent. The deployed model gets one image at a time and is poor.
# After a crash they resume from a file with the weights and the step number, and the loss jumps. For each of the three
# observations (too good in validation, poor when deployed, the jump), give one reason, a measurement that would confirm it,
# and the cure. (About 15 minutes.)
#
# ### BEGIN SOLUTION
# Validation too good: the script evaluates in train mode. A batch of one class shares its statistics, so the
# normalisation itself can tell the class, and each evaluation moves the running statistics. Confirm: shuffle the
# validation images, or change the batch size; the number changes. Cure: eval mode, restore afterwards. (Augmented or
# duplicated images in both sets are a valid further reason.) Deployed is poor: in eval mode the running statistics are
# used. They come from batches of 2 images for each GPU (noisy variances, other statistics than in training), and were
# moved by the validation batches of one class. In train mode with one image, statistics would be those of that image.
# Confirm: compare the running variance with that of a large sample of training activations. Cure: statistics merged over
# the GPUs, larger batches, or re-estimate the running statistics in one pass; or a normalisation without batch. Also
# bfloat16 statistics or weights, if the model was cast as a whole. Crash: the moments of Adam, the running statistics (if
# only parameters were saved), the state of the random generator, the place in the data and the schedule are missing.
# Confirm: interrupt and resume a short run on one CPU, compare bit for bit. Cure: save all, write to a second name and
# rename.
#
# ### RUBRIC
# - 0.5: Too good in validation: a reason with its cure, such as evaluation in train mode, where a batch of one class
#   shares its statistics.
# - 0.5: Poor when deployed: a reason with its cure, such as running statistics that come from 2 images at a time.
# - 0.5: The jump: what the file lacks, such as the moments of the optimiser or the running statistics, and that all
#   of it is saved.
# - 0.5: For each of the three a measurement that would confirm it.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. Batch normalisation makes a layer independent of the scale of its weights. What, then, does weight decay do to them, and what
#    to the *effective* learning rate, the angle by which a step turns the weights?
# 2. A residual network of $L$ blocks is a sum over $2^L$ paths. How are their lengths distributed, and which of them carry
#    the gradient at the start? Which lengths are left if you remove one block after training?
# 3. Your checkpoint is exact on one CPU. On a GPU some kernels add up in an order that changes from run to run. Which of
#    this module's operations are affected, and what does `torch.use_deterministic_algorithms` cost?
# 4. Greedy suppression drops a second object that stands close behind the first. What would a network have to do so that no
#    suppression is needed? (Module 12 has a part of the answer: attention.)
# 5. A shift of the input by one pixel moves the output of a layer with stride 2 by half a pixel, which does not exist. How
#    far is your network from being unchanged by shifts, and what does `augment` do about it?
#
# References:
#
# - Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition", *Proceedings
#   of the IEEE*, 1998. LeNet, and a whole system around it.
# - A. Krizhevsky, I. Sutskever and G. E. Hinton, "ImageNet classification with deep convolutional neural networks",
#   *NeurIPS*, 2012. AlexNet, on two GPUs, with augmentation and dropout.
# - K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image recognition", *ICLR*, 2015. VGG:
#   3 × 3 everywhere.
# - S. Ioffe and C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate shift",
#   *ICML*, 2015. The method; its explanation is disputed.
# - S. Santurkar, D. Tsipras, A. Ilyas and A. Madry, "How does batch normalization help optimization?", *NeurIPS*, 2018. The
#   dispute, with experiments.
# - K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", *CVPR*, 2016. The block of 10.4, and
#   the plain networks that got worse with depth.
# - N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever and R. Salakhutdinov, "Dropout: a simple way to prevent neural
#   networks from overfitting", *JMLR*, 2014. Why it works, and rates that do.
# - P. Micikevicius et al., "Mixed precision training", *ICLR*, 2018. Which numbers may be short, and loss scaling.
# - R. Girshick, J. Donahue, T. Darrell and J. Malik, "Rich feature hierarchies for accurate object detection and semantic
#   segmentation", *CVPR*, 2014. R-CNN: the detector of 10.8 with better windows.
# - J. Long, E. Shelhamer and T. Darrell, "Fully convolutional networks for semantic segmentation", *CVPR*, 2015. The net of
#   10.9.
# - P. Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", arXiv, 2017. The zero start of norm2, and
#   statistics on many machines.
#
# At work: torchvision or timm for networks with trained weights, `torch.nn.SyncBatchNorm` on several GPUs,
# `torch.compile` to fuse what you wrote by hand, Lightning or Accelerate for loops with checkpoints.
