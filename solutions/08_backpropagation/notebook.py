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
# # 08 · Backpropagation
#
# **What you will be able to do.** Derive and write the gradient of a neural network of any depth, and check with
# differences that it is right. Build a small automatic differentiation that finds the gradient of every program made of
# its operations. Choose initial weights that keep signals alive through many layers. And train networks whose stored
# values do not fit into memory: store some of them, and compute the others again.
#
# **You need** the chain rule, matrix products, gradient descent (modules 01 and 02) and the cross-entropy (module 03).
#
# **Skills it trains**: deriving a gradient, derivatives of programs, checking a gradient, graphs and their order,
# variance, memory against time.
#
# **Time**: about five and a half hours, three and a half of them in six exercises, a bug to find and a written question.
# A further exercise, 8.7, is an extra one: it takes ten minutes more and gives no points. Each exercise says how
# important it is, its level, which is also its points, and its minutes.
#
# **Symbols of the whole module**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$, $L$ | `m`, `L` | | rows of a batch ($B$ in other modules); layers |
# | $l$; $i$; $j$, $k$ | `layer`; `i` | | number of a layer; of a row; of a column of its input, of a column of its output |
# | $d_0, d_1, \dots, d_L$ | `widths` | | features of the input, widths of the layers; $d_L$ = classes $C$ |
# | $X = H_0$, $y$ | `X`, `y` | $(m, d_0)$, $(m,)$ | the batch and its labels 0 to $C - 1$ |
# | $Y$ | | $(m, C)$ | the labels one-hot: 1 in column $y_i$ of row $i$, else 0 |
# | $W_l$, $b_l$ | `weights`, `biases` | $(d_{l-1}, d_l)$, $(d_l,)$ | the parameters of layer $l = 1, \dots, L$ |
# | $A_l$, $H_l$ | `outputs` (the $H_l$) | $(m, d_l)$ | layer $l$ before and after its activation |
# | $\varphi$, $\varphi'$ | `activation` | | tanh or relu, entry by entry, and its derivative |
# | $Z = H_L$, $P$ | `outputs[-1]` | $(m, C)$ | logits, and their softmax, row by row |
# | $J$ | | a number | the loss: the mean cross-entropy of the rows |
# | $\delta_l = \partial J / \partial A_l$ | `delta` | $(m, d_l)$ | the **delta** of layer $l$ |
# | $\bar v = \partial J / \partial v$ | `v.grad` | that of $v$ | the gradient for any value $v$ on the way |
# | $\theta$, $n$, $\varepsilon$ | `theta`, `eps` | | all parameters, how many they are, the step of a difference |
# | $n_{\text{in}}, n_{\text{out}}$ | `n_in`, `n_out` | | $d_{l-1}$ and $d_l$, the inputs and outputs of one layer |
# | $\eta$ | `lr` | a number | the learning rate |
# | $\sigma(a)$, $q$ | `sigmoid`, `q` | entry by entry, $(m,)$ | $1/(1 + e^{-a})$; the probability of class 1 where there are two |
# | $\sigma_w^2$ | | a number | the variance of an initial weight |
# | $p$, $M$ | `p`, `factor` is $M/(1-p)$ | a number, that of $H$ | the share of the values that dropout drops; its mask of 0 and 1 |
# | $s$ | `segment` | | layers from one checkpoint to the next |

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

import itertools
import math
import time
import tracemalloc
import weakref
from collections.abc import Callable, Sequence
from typing import Self

import matplotlib.pyplot as plt
import numpy as np
import torch
from threadpoolctl import threadpool_limits

plotting.use()
checking.start("08_backpropagation", total=8)


def softmax(Z: np.ndarray) -> np.ndarray:
    """The softmax of each row of Z (m, C), a new array in the dtype of Z; large logits do not overflow."""
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def cross_entropy(Z: np.ndarray, y: np.ndarray) -> float:
    """The mean cross-entropy of logits Z (m, C) for labels y (m,)."""
    Z = Z - Z.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(Z).sum(axis=1)) - Z[np.arange(len(y)), y]))


def sigmoid(a: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-a)), entry by entry, for |a| up to 700."""
    return 1 / (1 + np.exp(-a))


def random_network(widths: Sequence[int], seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weights and biases for pictures and checks: standard normal, divided by the root of the layer's inputs."""
    rng = np.random.default_rng(seed)
    pairs = list(itertools.pairwise(widths))
    weights = [rng.standard_normal(pair) / math.sqrt(pair[0]) for pair in pairs]
    return weights, [rng.standard_normal(n) / 10 for _, n in pairs]


class Alive:
    """Counts the bytes of the arrays given to `watch` that are still in memory: `now`, and `most` at any time."""

    def __init__(self):
        self.now = self.most = 0

    def watch(self, array: np.ndarray) -> np.ndarray:
        self.now += array.nbytes
        self.most = max(self.most, self.now)
        weakref.finalize(array, self._gone, array.nbytes)
        return array

    def _gone(self, size: int) -> None:
        self.now -= size


# %% [markdown]
# ## Derive
#
# ### A network is a chain
#
# One layer multiplies, adds, and applies the activation:
#
# $$A_l = \underbrace{H_{l-1}}_{(m,\, d_{l-1})} \underbrace{W_l}_{(d_{l-1},\, d_l)} + \underbrace{b_l}_{(d_l,)},
# \qquad H_l = \varphi(A_l), \qquad H_0 = X .$$
#
# The vector $b_l$ is added to each row. Without the activation $\varphi$ two layers would be one, since $X W_1 W_2$ is
# linear in $X$. The last layer has no activation: its outputs are the logits $Z$, and the loss is the mean
# cross-entropy of module 03,
#
# $$J = -\frac1m \sum_{i=1}^m \log P_{i, y_i}, \qquad P = \text{softmax of each row of } Z .$$
#
# A forward pass costs $m \sum_l d_{l-1} d_l$ multiplications, one for each weight and row. To train, we need $\partial
# J / \partial W_l$ and $\partial J / \partial b_l$ for every layer. How do we get them, and what do they cost?
#
# ### Why backwards?
#
# One way is to change one parameter a little, compute $J$, and go on to the next. With $n$ parameters this costs $n$
# forward passes or more. Networks have a million parameters and more, so one gradient would cost as much as millions of
# passes.
#
# The chain rule gives a cheaper way. Let $h_0 \to h_1 \to \dots \to h_L \to J$ be a chain of vectors with $d$ entries
# each, and let $D_l = \partial h_l / \partial h_{l-1}$ be the $(d, d)$ matrix of derivatives of one step, its
# **Jacobian**. Then
#
# $$\frac{\partial J}{\partial h_0} = \underbrace{\frac{\partial J}{\partial h_L}}_{(d,)}
# \underbrace{D_L}_{(d, d)} D_{L-1} \cdots D_1 .$$
#
# The product may be taken in any order. From the right (with the input first) each step multiplies two matrices, which
# takes $d^3$ multiplications (**forward mode**). From the left (with the loss first) each step multiplies a *vector* by
# a matrix: $d^2$ (**reverse mode**). The loss is one number, so its derivative is one vector, and this vector travels
# from the loss to the input. That is **backpropagation**. On the way it passes every layer. Where it passes layer $l$,
# one more product gives the gradient of $W_l$ and $b_l$ (8.3 shows how). So one journey gives the gradient for all
# parameters.
#
# The price: step $l$ of the way back, the **backward pass**, needs $D_l$, which depends on what the forward pass
# computed at layer $l$. So the forward pass stores its outputs, elsewhere called **activations**. The picture shows
# both passes of a network with three layers, with all shapes.

# %% tags=["demo"]
figure, ax = plt.subplots(figsize=(11, 3.6))
names = ["$X = H_0$\n$(m, d_0)$", "$H_1$\n$(m, d_1)$", "$H_2$\n$(m, d_2)$", "$Z = H_3$\n$(m, C)$", "$J$\na number"]
deltas = ["", "$\\delta_1$\n$(m, d_1)$", "$\\delta_2$\n$(m, d_2)$", "$\\delta_3$\n$(m, C)$", "1"]
box = {"boxstyle": "round,pad=0.4", "facecolor": plotting.PAPER}
for i, (name, delta) in enumerate(zip(names, deltas, strict=True)):
    ax.text(2.5 * i, 2, name, ha="center", va="center", bbox=box | {"edgecolor": plotting.COLOURS[0]})
    if delta:
        ax.text(2.5 * i, 0, delta, ha="center", va="center", bbox=box | {"edgecolor": plotting.COLOURS[1]})
for i in range(4):
    forward = {"arrowstyle": "-|>", "color": plotting.COLOURS[0], "lw": 1.6}
    ax.annotate("", (2.5 * i + 1.85, 2), (2.5 * i + 0.65, 2), arrowprops=forward)
    ax.text(2.5 * i + 1.25, 2.18, f"$W_{i + 1}, b_{i + 1}$" if i < 3 else "$y$", ha="center")
    if i:
        backward = {"arrowstyle": "-|>", "color": plotting.COLOURS[1], "lw": 1.6}
        ax.annotate("", (2.5 * i + 0.65, 0), (2.5 * i + 1.85, 0), arrowprops=backward)
        ax.text(2.5 * i + 1.25, 0.18, f"$W_{i + 1}^\\top$, $\\varphi'$" if i < 3 else "$(P - Y)/m$", ha="center")
    if i < 3:
        stored = {"arrowstyle": "-|>", "color": plotting.MUTED, "lw": 1.1, "ls": ":"}
        ax.annotate("", (2.5 * i + 2.0, 0.45), (2.5 * i + 0.45, 1.55), arrowprops=stored)
        ax.text(2.5 * i + 1.32, 1.02, f"$\\partial J/\\partial W_{i + 1} = H_{i}^\\top \\delta_{i + 1}$", fontsize=10)
ax.set(xlim=(-1, 11), ylim=(-0.7, 2.7), title="Forward (above) stores the layers' inputs; backward (below) needs them")
ax.axis("off")
plt.show()

# %% [markdown]
# ### Is it right?
#
# Training rarely stops because of a wrong gradient. The network learns less well, and nobody sees why. So the first
# tool is the one that finds such errors. By Taylor's theorem the **central difference** has an error of the order
# $\varepsilon^2$:
#
# $$\frac{f(\theta + \varepsilon e_i) - f(\theta - \varepsilon e_i)}{2 \varepsilon}
# = \frac{\partial f}{\partial \theta_i} + \frac{\varepsilon^2}{6} \frac{\partial^3 f}{\partial \theta_i^3} + \dots$$
#
# (with $e_i$ the unit vector of entry $i$.) A one-sided difference would be off by $\varepsilon / 2$ times the second
# derivative. Each value of $f$ is rounded, which adds an error of about $u |f| / \varepsilon$, with the machine epsilon
# $u = 2.2 \cdot 10^{-16}$. A small $\varepsilon$ is good for the first error and bad for the second. Their sum is
# smallest for $\varepsilon$ of the size of $u^{1/3} \approx 6 \cdot 10^{-6}$.

# %% [markdown]
# ## Implement
#
# ### 8.1 `gradient_check` · essential · level 1 of 4 · 10 min


# %% exercise="gradient_check" points=1 minutes=10 forbids=["scipy", "torch"] trains=["checking a gradient"]
def gradient_check(
    f: Callable[[np.ndarray], float], theta: np.ndarray, gradient: np.ndarray, eps: float = 1e-5
) -> float:
    """The largest error of a gradient against central differences of f, relative to the largest entry.

    f: takes an array of theta's shape, float64, and returns a number. It gets a new array each time,
      which it may keep or write to.
    theta: any shape with at least one axis and one entry, float64; not modified, not even while f
      is called.
    gradient: theta's shape, float64: the gradient of f at theta, to be checked; not modified.
    eps: from 1e-9 to 100.

    With the differences n_i = (f(theta + eps e_i) - f(theta - eps e_i)) / (2 eps), returns
      max_i |n_i - gradient_i|, divided by the largest of all |n_i| and |gradient_i|,
    a Python float; 0.0 where all of these are 0. f is called exactly twice for each entry.
    Not allowed: scipy, torch.
    """
    ### BEGIN SOLUTION
    differences = np.empty(theta.shape)
    for i in np.ndindex(theta.shape):
        values = []
        for step in (eps, -eps):
            moved = np.array(theta)
            moved[i] += step
            values.append(f(moved))
        differences[i] = (values[0] - values[1]) / (2 * eps)
    size = np.abs([differences, gradient]).max()
    return float(np.abs(differences - gradient).max() / size) if size > 0 else 0.0
    ### END SOLUTION


# %% [markdown] hints="gradient_check"
# <details><summary>Hint 1: one entry</summary>
#
# Copy theta, change one entry of the copy, call f. Do this once with plus eps and once with minus eps, and make a new
# copy for each of the two calls.
# </details>
# <details><summary>Hint 2: any shape</summary>
#
# `for i in np.ndindex(theta.shape):` goes through all positions. With `moved = np.array(theta)`, a new copy for each
# call, `moved[i] += eps` changes one of them.
# </details>
# <details><summary>Hint 3: one number at the end</summary>
#
# `size = max(np.abs(differences).max(), np.abs(gradient).max())`, and `np.abs(differences - gradient).max() / size`,
# but 0.0 where size is 0.
# </details>

# %% check="gradient_check"
with check("gradient_check", forbids=["scipy", "torch"]):

    def cubic(t):
        return t[0, 0] ** 3 + 4 * t[0, 1]

    theta = np.array([[2.0, 1.0]])  # the gradient is (3 · 2^2, 4) = (12, 4)
    with expect_unchanged(theta=theta):
        right = gradient_check(cubic, theta, np.array([[12.0, 4.0]]), 0.5)
    expect_close(
        right,
        0.25 / 12.25,  # (2.5^3 - 1.5^3) / 1 = 12.25, and the other difference is exact
        rtol=1e-9,
        mistakes={
            "This is a one-sided difference; take f(theta + eps e_i) - f(theta - eps e_i).": 3.25 / 15.25,
            "Divide by 2 eps.": 12.5 / 24.5,
            "Divide by the largest of |n_i| and |gradient_i|, which is 12.25.": 0.25,
        },
    )
    if not isinstance(right, float):
        raise AssertionError("return a Python float")
    expect_close(
        gradient_check(cubic, theta, np.array([[12.0, 5.0]])), 1 / 12, rtol=1e-6, hint="the entry 4 is 1 off, of 12"
    )
    expect_close(gradient_check(lambda t: 3.0, theta, np.zeros((1, 2))), 0.0, hint="all are 0")

# %% [markdown]
# Here is the error of the difference against $\varepsilon$, for a function whose gradient is known exactly. It falls
# with $\varepsilon^2$ while Taylor's remainder is the larger error, and rises with $1 / \varepsilon$ when rounding is.
# The error is smallest between the two, and a gradient check cannot do better than this value. The fitted slopes stand
# in the legend.
#
# How small is small enough? As a rule of thumb, in float64, with $\varepsilon = 10^{-5}$ and a smooth function, a right
# gradient has an error of $10^{-7}$ or less, and a wrong one mostly more than $10^{-2}$. Two warnings. With relu, a
# difference may step over the kink at 0 and be wrong where the gradient is right. And a small entry can hide behind a
# large one; so check each array of parameters by itself, as the cell in 8.3 does.

# %% tags=["demo"]
point = np.random.default_rng(0).standard_normal(20)
exact = np.cos(point) * np.exp(np.sin(point))
steps = np.logspace(0, -11, 34)
errors = np.array([gradient_check(lambda t: float(np.exp(np.sin(t)).sum()), point, exact, e) for e in steps])
lines = {"relative error": (steps, np.maximum(errors, 1e-17))}
for name, part in {"Taylor": (steps < 0.3) & (steps > 1e-4), "rounding": (steps < 1e-7)}.items():
    slope, start = np.polyfit(np.log(steps[part]), np.log(errors[part] + 1e-17), 1)
    lines[f"{name}: slope {slope:.1f}"] = (steps[part], np.exp(start) * steps[part] ** slope)
ax = plotting.curves(
    lines, xlabel="ε", ylabel="relative error", title="Not too large, not too small", logx=True, logy=True
)
plt.show()

# %% [markdown]
# ### 8.2 `mlp_forward` · essential · level 2 of 4 · 12 min
#
# The forward pass of a **multilayer perceptron**: layers as above, with an activation after each but the last. It
# returns the outputs of all layers, because the backward pass will need them.
#
# It does not return the $A_l$. With $a$ an entry of $A_l$ and $h$ that of $H_l$, the derivative of both activations
# follows from the output alone, so $H_l$ is enough:
#
# $$\tanh'(a) = 1 - \tanh^2 a = 1 - h^2, \qquad \text{relu}(a) = \max(a, 0), \quad
# \text{relu}'(a) = \begin{cases} 1 & h > 0 \\ 0 & h = 0 \end{cases}$$
#
# (At $a = 0$ relu has no derivative. The usual libraries take 0 there, and so do we.)


# %% exercise="mlp_forward" points=2 minutes=12 trains=["derivatives of programs"]
def mlp_forward(
    X: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray], activation: str = "tanh"
) -> list[np.ndarray]:
    """The outputs of all layers of a network, from the first to the last.

    X: (m, d_0), m >= 1, entries up to 1e12 in size. weights: L >= 1 arrays (d_0, d_1), (d_1, d_2), ...
    biases: L arrays (d_1,), (d_2,), ... No product overflows. All arrays are float64, or all are
    float32; those that are returned have this dtype.
    activation: "tanh" or "relu", after each layer but the last.

    Returns a list of L new arrays [H_1, ..., H_L], H_l of shape (m, d_l):
      H_l = activation(H_{l-1} W_l + b_l) with H_0 = X, and H_L = H_{L-1} W_L + b_L, the logits.
    Leaves its arguments as they are. Raises ValueError for another activation, also with one layer.
    """
    ### BEGIN SOLUTION
    if activation not in ("tanh", "relu"):
        raise ValueError(f"activation {activation!r}")
    outputs, H = [], X
    for W, b in zip(weights, biases):  # noqa: B905
        H = H @ W + b
        if len(outputs) < len(weights) - 1:
            H = np.tanh(H) if activation == "tanh" else np.maximum(H, 0)
        outputs.append(H)
    return outputs
    ### END SOLUTION


# %% [markdown] hints="mlp_forward"
# <details><summary>Hint 1: a loop over the layers</summary>
#
# Start with `H = X`. In each layer compute `H @ W + b`; NumPy adds b to every row.
# </details>
# <details><summary>Hint 2: the last layer</summary>
#
# Count the layers, and leave out the activation in layer L. With one layer there is no activation at all.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# Apply the activation first, `H = np.tanh(H)` or `H = np.maximum(H, 0)`, and append then: the list must hold $H_l$, not
# $A_l$.
# </details>

# %% check="mlp_forward"
with check("mlp_forward"):
    X = np.array([[1.0, 2.0], [3.0, 0.0]])
    weights = [np.array([[1.0, 0.0], [0.0, -1.0]]), np.array([[2.0], [-5.0]])]
    biases = [np.array([0.0, 1.0]), np.array([-4.0])]
    with expect_unchanged(X=X, weights=weights, biases=biases):
        outputs = mlp_forward(X, weights, biases, "relu")
    # A_1 is (1, 0 - 2 + 1) = (1, -1) and (3, 0 - 0 + 1) = (3, 1)
    if len(outputs) != 2:
        raise AssertionError("return the outputs of all layers, H_1 and H_2, without X")
    expect_close(
        outputs[0],
        [[1.0, 0.0], [3.0, 1.0]],
        hint="H_1 = relu(X W_1 + b_1)",
        mistakes={"The bias is missing.": [[1.0, 0.0], [3.0, 0.0]]},
    )
    expect_close(
        outputs[1],
        [[-2.0], [-3.0]],  # 2 · 1 - 5 · 0 - 4 and 2 · 3 - 5 · 1 - 4
        mistakes={"The last layer has no activation.": [[0.0], [0.0]]},
    )
    t = np.tanh(1.0)
    expect_close(mlp_forward(X[:1], weights, biases)[1], [[2 * t + 5 * t - 4]], hint="tanh is the default")
    expect_close(
        mlp_forward(X, weights[:1], biases[:1], "relu")[0], [[1.0, -1.0], [3.0, 1.0]], hint="one layer: logits"
    )
    single = [array.astype(np.float32) for array in (X, weights[0], biases[0])]
    expect_dtype(mlp_forward(single[0], single[1:2], single[2:])[0], np.float32, hint="float32 stays float32")
    with expect_raises(ValueError, hint="raise ValueError for an unknown activation"):
        mlp_forward(X, weights, biases, "sigmoid")

# %% [markdown]
# Which functions can such a network compute? Here your function draws two networks with one input and random weights.
# With relu the output is made of straight pieces: at each kink one unit switches on or off. With tanh it is smooth.

# %% tags=["demo"]
line = np.linspace(-3, 3, 400)[:, None]
drawn = {}
for activation in ("relu", "tanh"):
    weights, biases = random_network([1, 20, 20, 1], seed=5)
    values = mlp_forward(line, weights, [10 * b for b in biases], activation)[-1][:, 0]
    drawn[activation] = (line[:, 0], values - values.mean())
plotting.curves(drawn, xlabel="input", ylabel="output, mean taken off", title="Straight pieces, or a smooth curve")
plt.show()

# %% [markdown]
# ### 8.3 `mlp_backward` · essential · level 3 of 4 · 35 min
#
# Now the backward pass. There are four formulas; each uses the one before.
#
# **The logits.** Module 03 showed for one row that the derivative of its cross-entropy with respect to its logits is
# $P - Y$, with $Y$ the one-hot labels, $(m, C)$. $J$ is a mean of $m$ rows, so
#
# $$\delta_L = \frac1m (P - Y), \qquad (m, C) .$$
#
# **The weights.** Entry by entry, $(A_l)_{ik} = \sum_j (H_{l-1})_{ij} (W_l)_{jk} + (b_l)_k$. The weight $(W_l)_{jk}$
# acts on column $k$ of every row $i$, with the factor $(H_{l-1})_{ij}$. Add up the effects on all rows:
#
# $$\frac{\partial J}{\partial (W_l)_{jk}} = \sum_i (\delta_l)_{ik} (H_{l-1})_{ij}, \qquad
# \frac{\partial J}{\partial W_l} = \underbrace{H_{l-1}^\top}_{(d_{l-1},\, m)} \underbrace{\delta_l}_{(m,\, d_l)}, \qquad
# \frac{\partial J}{\partial b_l} = \sum_i (\delta_l)_{i, :} .$$
#
# In words: *the layer's input, transposed, times its own delta*. The result has the shape of $W_l$; use this to
# remember which factor is transposed. The $1/m$ is in the delta already, so nothing is divided again.
#
# **The input of the layer.** $(H_{l-1})_{ij}$ acts on all columns $k$ of its own row, with the factors $(W_l)_{jk}$,
# and it was made from $A_{l-1}$ by $\varphi$:
#
# $$\frac{\partial J}{\partial H_{l-1}} = \underbrace{\delta_l}_{(m,\, d_l)} \underbrace{W_l^\top}_{(d_l,\, d_{l-1})}, \qquad
# \delta_{l-1} = \frac{\partial J}{\partial H_{l-1}} \odot \varphi'(A_{l-1}),$$
#
# where $\odot$ multiplies entry by entry. Each layer costs two matrix products in the backward pass, and one in the
# forward pass: a gradient costs about as much as three forward passes, whatever $n$ is.


# %% exercise="mlp_backward" points=3 minutes=35 forbids=["torch"] trains=["deriving a gradient", "derivatives of programs"]
def mlp_backward(
    X: np.ndarray, y: np.ndarray, outputs: list[np.ndarray], weights: list[np.ndarray], activation: str = "tanh"
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The gradient of the mean cross-entropy of a network with respect to all its parameters.

    X: (m, d_0), m >= 1. y: (m,), labels from 0 to C - 1, integers of any kind; a class may have no row.
    outputs: [H_1, ..., H_L] as `mlp_forward` returns them; the last one holds the logits (m, C), up
      to 1e4 in size. weights: [W_1, ..., W_L]. All float arrays are float64, or all are float32, and
      no product overflows.
    activation: "tanh" or "relu", as in the forward pass. The derivative of relu is 0 where H_l is 0.

    Returns (grad_weights, grad_biases), two lists of L new arrays: the derivatives of
    J = mean over the rows of -log softmax(H_L)[i, y_i], with the shapes of W_l and of b_l (d_l,)
    and the dtype of X.
    Leaves its arguments as they are. Raises ValueError for another activation, also with one layer.
    Not allowed: torch.
    """
    ### BEGIN SOLUTION
    if activation not in ("tanh", "relu"):
        raise ValueError(f"activation {activation!r}")
    m, L = len(X), len(weights)
    delta = softmax(outputs[-1])
    delta[np.arange(m), y] -= 1
    delta /= m
    grad_weights, grad_biases = [], []
    for layer in reversed(range(L)):
        H = outputs[layer - 1] if layer > 0 else X
        grad_weights.insert(0, H.T @ delta)
        grad_biases.insert(0, delta.sum(axis=0))
        if layer > 0:
            delta = (delta @ weights[layer].T) * (1 - H * H if activation == "tanh" else H > 0)
    return grad_weights, grad_biases
    ### END SOLUTION


# %% [markdown] hints="mlp_backward"
# <details><summary>Hint 1: the first delta</summary>
#
# `softmax` stands in the first code cell. `delta = softmax(outputs[-1])`, then subtract 1 in column y_i of row i, and
# divide by m.
# </details>
# <details><summary>Hint 2: one layer</summary>
#
# With `H` the *input* of the layer (X for the first one): `H.T @ delta` and `delta.sum(axis=0)`. Print the shapes.
# </details>
# <details><summary>Hint 3: to the layer below</summary>
#
# `delta = (delta @ W.T) * slope`. The slope is that of the activation which made `H`: `1 - H * H` for tanh, `H > 0` for
# relu.
# </details>

# %% check="mlp_backward"
with check("mlp_backward", forbids=["torch"]):
    X, y, W = np.array([[1.0], [2.0], [6.0]]), np.array([0, 1, 0]), np.array([[3.0, 3.0]])
    Z = X @ W  # equal logits, so each row of P is (1/2, 1/2)
    with expect_unchanged(X=X, y=y, Z=Z, W=W):
        grad_weights, grad_biases = mlp_backward(X, y, [Z], [W])
    expect_close(
        grad_weights[0],
        [[-2.5 / 3, 2.5 / 3]],  # (-1/2 · 1 + 1/2 · 2 - 1/2 · 6) / 3
        rtol=1e-12,
        mistakes={
            "This is a sum over the rows; divide by m = 3.": [[-2.5, 2.5]],
            "This is Y - P; the derivative is P - Y.": [[2.5 / 3, -2.5 / 3]],
            "Divide by m = 3, not by all entries of the logits.": [[-2.5 / 6, 2.5 / 6]],
        },
    )
    expect_close(grad_biases[0], [-0.5 / 3, 0.5 / 3], rtol=1e-12, hint="the sum of the deltas over the rows")
    expect_close(
        mlp_backward(X, np.zeros(3, int), [Z], [W])[0][0],
        [[-1.5, 1.5]],  # no row has class 1: (-1/2 · 9) / 3 and (1/2 · 9) / 3
        rtol=1e-12,
        hint="C is the number of columns of the logits, also where the last class has no row in the batch",
        mistakes={"The one-hot labels need C = 2 columns: the largest label does not tell C.": [[-1.5, -1.5]]},
    )
    single = [array.astype(np.float32) for array in (X, Z, W)]
    expect_dtype(mlp_backward(single[0], y, [single[1]], [single[2]])[0][0], np.float32)
    draw = np.random.default_rng(1)
    X, y = draw.standard_normal((5, 2)), np.array([2, 0, 1, 2, 2])
    for activation in ("tanh", "relu"):
        weights, biases = random_network([2, 4, 4, 3], seed=4)
        outputs = [X]  # computed here, so that nothing depends on your mlp_forward
        for W, b in zip(weights, biases, strict=True):
            A = outputs[-1] @ W + b
            last = len(outputs) == len(weights)
            outputs.append(A if last else np.tanh(A) if activation == "tanh" else np.maximum(A, 0))
        found = mlp_backward(X, y, outputs[1:], weights, activation)
        for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
            tensors = [torch.tensor(p, requires_grad=p is W or p is b) for p in (*weights, *biases)]
            H = torch.tensor(X)
            for k in range(3):
                H = H @ tensors[k] + tensors[3 + k]
                H = H if k == 2 else getattr(H, activation)()
            torch.nn.functional.cross_entropy(H, torch.tensor(y)).backward()
            where = f"layer {layer + 1} of 3, {activation}"
            expect_close(found[0][layer], tensors[layer].grad, rtol=1e-9, atol=1e-12, hint=f"W of {where}")
            expect_close(found[1][layer], tensors[3 + layer].grad, rtol=1e-9, atol=1e-12, hint=f"b of {where}")
    with expect_raises(ValueError, hint="raise ValueError for an unknown activation"):
        mlp_backward(X, y, outputs[1:], weights, "sigmoid")

# %% [markdown]
# Your two tools meet: `gradient_check` moves each parameter of a network and compares with `mlp_backward`, for both
# activations. The last column repeats this for tanh with an error built in, the missing $1/m$ (with $m = 20$ it is
# $19/20$). The last line says what each way costs.

# %% tags=["demo"]
X, y = np.random.default_rng(2).standard_normal((20, 8)), np.arange(20) % 3
weights, biases = random_network([8, 16, 16, 3], seed=6)
print(f"{'parameter':<12}{'shape':<12}{'tanh':<12}{'relu':<12}tanh without 1/m")
for layer, part in itertools.product(range(3), (0, 1)):
    errors = []
    for activation, factor in (("tanh", 1), ("relu", 1), ("tanh", 20)):
        outputs = mlp_forward(X, weights, biases, activation)
        gradient = mlp_backward(X, y, outputs, weights, activation)[part][layer]

        def loss(value, part=part, layer=layer, activation=activation):
            both = [list(weights), list(biases)]
            both[part][layer] = value
            return cross_entropy(mlp_forward(X, *both, activation)[-1], y)

        errors.append(gradient_check(loss, (weights, biases)[part][layer], factor * gradient))
    shape = str((weights, biases)[part][layer].shape)
    print(f"{'Wb'[part] + str(layer + 1):<12}{shape:<12}{errors[0]:<12.1e}{errors[1]:<12.1e}{errors[2]:.2f}")
count = sum(p.size for p in (*weights, *biases))
print(f"\n{count} parameters: the differences take {2 * count:,} forward passes, one gradient takes about three")

# %% [markdown]
# ### 8.4 `train_step` · essential · level 2 of 4 · 15 min
#
# Now a step of training: forward, backward, and a step *down*. With the gradient $g = \nabla J(\theta)$ and $J(\theta -
# \eta g) \approx J(\theta) - \eta \|g\|^2$, the minus sign is what makes the loss fall. The function below trains a
# network with one hidden layer and one output for two classes: $q = \sigma(H w_2 + b_2)$ is the probability of class 1.
# For the mean binary cross-entropy the delta of the output is $(q - y)/m$, exactly as with the softmax.
#
# **Find the bug.** The code is a common form in tutorials, and it runs without an error message. It has **two**
# mistakes. Find both, with the shapes and with your `gradient_check`.


# %% exercise="train_step" points=2 minutes=15 bug=true trains=["deriving a gradient", "checking a gradient"]
def train_step(
    X: np.ndarray, y: np.ndarray, W1: np.ndarray, b1: np.ndarray, w2: np.ndarray, b2: float, lr: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """One step of gradient descent for a network with one hidden layer, and one output for two classes.

    H = tanh(X W1 + b1), q = sigmoid(H w2 + b2), and J is the mean of the rows' cross-entropies
    -y log q - (1 - y) log(1 - q).
    X: (m, d_0), m >= 1. y: (m,), 0 or 1, integers of any kind. W1: (d_0, d_1). b1 and w2: (d_1,). All
    float arrays are float64. b2: a float. lr: a float, 0 to 1000. H w2 + b2 is at most 500 in size.

    Returns the new (W1, b1, w2, b2): each minus lr times the derivative of J; three new arrays with
    the shapes of the old ones, float64, and a Python float. Leaves its arguments as they are.
    """
    ### BEGIN SOLUTION
    H = np.tanh(X @ W1 + b1)
    q = sigmoid(H @ w2 + b2)
    delta = (q - y) / len(y)
    grad_w2 = H.T @ delta
    grad_b2 = delta.sum()
    delta1 = np.outer(delta, w2) * (1 - H**2)
    grad_W1 = X.T @ delta1
    grad_b1 = delta1.sum(axis=0)
    return W1 - lr * grad_W1, b1 - lr * grad_b1, w2 - lr * grad_w2, float(b2 - lr * grad_b2)
    ### END SOLUTION
    ### BEGIN BUG
    # H = np.tanh(X @ W1 + b1)
    # q = sigmoid(H @ w2 + b2)
    # delta = (q - y) / len(y)
    # grad_w2 = q.T @ delta
    # grad_b2 = delta.sum()
    # delta1 = np.outer(delta, w2) * (1 - H**2)
    # grad_W1 = X.T @ delta1
    # grad_b1 = delta1.sum(axis=0)
    # return W1 + lr * grad_W1, b1 + lr * grad_b1, w2 + lr * grad_w2, float(b2 + lr * grad_b2)
    ### END BUG


# %% [markdown] hints="train_step"
# <details><summary>Hint 1: print the shapes</summary>
#
# Each gradient must have the shape of its parameter. Which of the four has not? (The product of two vectors is one
# number.)
# </details>
# <details><summary>Hint 2: the rule</summary>
#
# The layer's *input*, transposed, times its own delta. What is the input of the last layer?
# </details>
# <details><summary>Hint 3: the sign</summary>
#
# `delta` is (q − y)/m. It is the derivative of the loss, so the loss falls in the opposite direction. All four
# derivatives are taken at the old parameters; so change the parameters at the end.
# </details>

# %% check="train_step"
with check("train_step"):
    X, y = np.array([[1.0], [-1.0], [1.0]]), np.array([1, 0, 0])
    W1, b1, w2, t = np.array([[1.0, 2.0]]), np.zeros(2), np.zeros(2), np.tanh(np.array([1.0, 2.0]))
    with expect_unchanged(X=X, y=y, W1=W1, b1=b1, w2=w2):
        new = train_step(X, y, W1, b1, w2, 0.0, 6.0)
    # q is 1/2 in each row, delta (-1, 1, 1) / 6, and H is t, -t, t: the derivative of w2 is -t / 6
    expect_close(
        new[2],
        t,
        rtol=1e-12,
        mistakes={
            "The update must subtract: this is a step up.": -t,
            "The gradient of w2 has the factor q, the layer's output; take its input H.": [-0.5, -0.5],
            "Both mistakes are still there: the factor of the gradient of w2, and the sign.": [0.5, 0.5],
        },
    )
    expect_close(
        new[3],
        -1.0,
        rtol=1e-12,
        hint="b2 - lr · sum of delta = 0 - 6 · 1/6",
        mistakes={"This is the mean of the deltas; 1/m is in them already, so take their sum.": -1 / 3},
    )
    expect_close(
        new[0],
        W1,
        rtol=1e-12,
        hint="w2 is 0, so W1 stays",
        mistakes={"The derivative of W1 needs the old w2: change all parameters at the end.": W1 + t * (1 - t**2)},
    )

    def loss(W):
        q = sigmoid(np.tanh(X @ W + b1) @ np.array([1.0, -2.0]))
        return -np.mean(np.log(np.where(y == 1, q, 1 - q)))

    w2 = np.array([1.0, -2.0])
    new = train_step(X, y, W1, b1, w2, 0.0, 1.0)
    slopes = [(loss(W1 + e) - loss(W1 - e)) / 2e-5 for e in 1e-5 * np.eye(2)[:, None]]
    H = np.tanh(X @ W1)
    behind = np.outer((sigmoid(H @ w2) - y) / 3, w2)  # the derivative of H
    expect_close(
        (W1 - new[0])[0],
        slopes,
        rtol=1e-5,
        hint="the derivative of W1, by differences",
        mistakes={
            "h (1 - h) belongs to the sigmoid; the derivative of tanh is 1 - h^2.": X[:, 0] @ (behind * H * (1 - H)),
            "The derivative of tanh, 1 - h^2, is missing.": X[:, 0] @ behind,
        },
    )

# %% [markdown]
# The repaired step trains. Left, the predicted class at each point of the plane after training on the moons. Right, the
# loss, with your step and with the sign that tutorials get wrong: if the same code adds, the loss climbs from the first
# step on.

# %% tags=["demo"]
moons = datasets.moons(demo_size(full=400, small=100), noise=0.2, seed=8)
start = np.random.default_rng(0)
parameters = (start.standard_normal((2, 20)), start.standard_normal(20), start.standard_normal(20) / 4, 0.0)


def moon_loss(W1, b1, w2, b2):
    a = np.tanh(moons.X @ W1 + b1) @ w2 + b2
    return float(np.mean(np.logaddexp(0, a) - moons.y * a))


trained, climbing, falls, climbs = parameters, parameters, [moon_loss(*parameters)], [moon_loss(*parameters)]
for _ in range(demo_size(full=1500, small=200)):
    trained = train_step(moons.X, moons.y, *trained, lr=1.0)
    falls.append(moon_loss(*trained))
for _ in range(30):
    down = train_step(moons.X, moons.y, *climbing, lr=1.0)
    climbing = tuple(2 * old - new for old, new in zip(climbing, down, strict=True))
    climbs.append(moon_loss(*climbing))
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
W1, b1, w2, b2 = trained
plotting.decision_regions(
    lambda Q: (np.tanh(Q @ W1 + b1) @ w2 + b2 > 0).astype(int), moons.X, moons.y, title="Trained by your step", ax=left
)
plotting.curves(
    {"subtracts": (np.arange(1, len(falls) + 1), falls), "adds": (np.arange(1, len(climbs) + 1), climbs)},
    xlabel="step + 1",
    ylabel="loss",
    title="The update subtracts",
    logx=True,
    logy=True,
    ax=right,
)
plt.show()

# %% [markdown]
# ### Where tutorials disagree
#
# Some of this is convention: take one, and say which.
#
# | question | seen elsewhere | here |
# | --- | --- | --- |
# | loss of a batch | a sum, or a mean | a mean: the factor $1/m$ stands in $\delta_L$, and so in all others |
# | shapes | rows are examples, or columns are | rows are examples |
# | sign of the delta | $Y - P$, with an update that adds | $P - Y$, with an update that subtracts |
# | a second backward pass (you meet it in 8.5) | adds to the gradients (torch), or replaces them | replaces them |
# | dropout (you meet it in 8.7) | $p$ is what is kept, or what is dropped | $p$ is what is dropped |
#
# And some of it is wrong:
#
# | mistake | right |
# | --- | --- |
# | the gradient of a weight matrix from the layer's own output, or from the next layer's delta | the layer's *input*, transposed, times its *own* delta |
# | $W + \eta\,\partial J / \partial W$ with $\delta = P - Y$ | $W - \eta\,\partial J / \partial W$ |
# | $\sigma'(a)$ written as a function of $a$, then called with $h = \sigma(a)$ | from the output: $h (1 - h)$, and $1 - h^2$ for tanh |
# | `np.sigmoid` | NumPy has no such function |

# %% [markdown]
# ### 8.5 `Tensor` · essential · level 4 of 4 · 70 min
#
# You have derived one network by hand. With a skip connection (the input of a layer is added to its output), a second
# loss or weights that two layers share, you would have to begin again. But look at what you did: you took the program
# apart into operations, wrote a local rule for each, and went through them backwards. A machine can do that. It needs
# three things.
#
# **1. A record.** Each operation makes a new tensor that knows its **parents**, the tensors that it was computed from.
# Tensors and parents form a directed graph without cycles, the **computational graph**.
#
# **2. A local rule for each operation.** It gets $\bar v$, the gradient for its result, and says what each parent
# receives. Such a rule is a **vector-Jacobian product**. (Here $J$ is the sum of the entries of the tensor on which
# `backward` is called. If a seed is given, each entry is multiplied by its entry of the seed before the sum.)
#
# | tensor $v$ | its parents receive |
# | --- | --- |
# | $a + b$ | $\bar v$ and $\bar v$ |
# | $a \odot b$ | $\bar v \odot b$ and $\bar v \odot a$ |
# | $a\, b$, a matrix product | $\bar v\, b^\top$ and $a^\top \bar v$ |
# | $\tanh a$ | $\bar v \odot (1 - v^2)$ |
# | relu $a$ | $\bar v$ where $a > 0$, else 0 |
# | sum of $a$ over an axis | $\bar v$, repeated along this axis |
#
# **3. An order.** A value that is used several times acts on the loss along several paths, and the derivatives of all
# paths are *added up*: $\bar a = \sum_{v \text{ uses } a} \bar v\, \partial v / \partial a$. So $\bar a$ is complete
# only after all users of $a$ have been visited. An order in which every tensor comes after all its parents is a
# **topological order**; go through it from the back. Following each path by itself gives the right value, but takes too
# long: in `x = x + x`, fifty times, there are $2^{50}$ paths and 51 tensors.
#
# To find such an order, walk from the result to the parents, and write a tensor down *when all its parents are written
# down*. As a recursive function these are five lines, and they fail on a chain of a thousand operations, because Python
# limits the depth of recursion. Keep a list of tensors that wait (a **stack**) instead.
#
# **An example on paper.** Take $z = x \cdot x + x$ at $x = 3$. The program makes two new tensors, $s = x \cdot x = 9$ with
# the parents $(x, x)$, and $z = s + x = 12$ with the parents $(s, x)$. A topological order is $x, s, z$. Set all three
# gradients to 0, and that of the result to 1. Then go through the order from the back:
#
# | visit | its rule sends | $\bar x$ now | $\bar s$ now | $\bar z$ now |
# | --- | --- | --- | --- | --- |
# | at the start | | 0 | 0 | 1 |
# | $z = s + x$ | $\bar z = 1$ to $s$, and $\bar z = 1$ to $x$ | 1 | 1 | 1 |
# | $s = x \cdot x$ | $\bar s \cdot x = 3$ to $x$, and once more $\bar s \cdot x = 3$ to $x$ | 7 | 1 | 1 |
# | $x$ | nothing: it has no parents | 7 | 1 | 1 |
#
# The derivative is $2x + 1 = 7$. With "overwrite" in place of "add", $\bar x$ would be 3. In the order $z, x, s$ nothing
# would go wrong here, because $x$ sends nothing. But if $x$ had a parent itself, this parent would receive a share of
# $\bar x = 1$, which is not complete.
#
# **Broadcasting.** $(m, d) + (d,)$ uses each entry of the vector $m$ times. By the rule above its gradients are added
# up: sum $\bar v$ over every axis that the parent does not have, and over every axis where the parent has length 1,
# until the shape is the parent's.


# %% exercise="Tensor" points=4 minutes=70 forbids=["torch"] trains=["derivatives of programs", "graphs and their order"]
class Tensor:
    """A float64 array that records how it was computed, so that gradients can be found.

    data: the values, an array of any shape; grad: None, and after `backward` a float64 array of the
    same shape (for shape () one number of type np.float64 will do, too).
    Operations give new Tensors and change nothing. In a + b and a * b the shapes follow
    NumPy's broadcasting, and `other` may be a Tensor or a Python number; a number may stand on the
    left, too. Graphs with 20,000 operations in a row work without a change of Python's recursion
    limit; time and memory grow with the number of operations, not with the number of paths.
    `parents` and `rule` are a proposal: your __init__ may have others in their place, with defaults.
    Not allowed: torch.
    """

    def __init__(self, data: np.ndarray | float, parents: tuple = (), rule: Callable | None = None):
        """data: an array of numbers of any kind and any shape, or a number; it is copied as float64."""
        ### BEGIN SOLUTION
        self.data = np.array(data, dtype=np.float64)
        self.grad = None
        self._parents, self._rule = parents, rule
        ### END SOLUTION

    def __add__(self, other: Self | float) -> Self:
        """The sum, entry by entry."""
        ### BEGIN SOLUTION
        other = other if isinstance(other, Tensor) else Tensor(other)
        return Tensor(self.data + other.data, (self, other), lambda g: (g, g))
        ### END SOLUTION

    def __mul__(self, other: Self | float) -> Self:
        """The product, entry by entry."""
        ### BEGIN SOLUTION
        other = other if isinstance(other, Tensor) else Tensor(other)
        return Tensor(self.data * other.data, (self, other), lambda g: (g * other.data, g * self.data))
        ### END SOLUTION

    __radd__ = __add__
    __rmul__ = __mul__

    def __matmul__(self, other: Self) -> Self:
        """The matrix product of two Tensors with two axes each."""
        ### BEGIN SOLUTION
        return Tensor(self.data @ other.data, (self, other), lambda g: (g @ other.data.T, self.data.T @ g))
        ### END SOLUTION

    def tanh(self) -> Self:
        """The hyperbolic tangent, entry by entry."""
        ### BEGIN SOLUTION
        result = Tensor(np.tanh(self.data), (self,))
        value = result.data
        result._rule = lambda g: (g * (1 - value * value),)
        return result
        ### END SOLUTION

    def relu(self) -> Self:
        """max(a, 0), entry by entry; its derivative at 0 is 0."""
        ### BEGIN SOLUTION
        return Tensor(np.maximum(self.data, 0), (self,), lambda g: (g * (self.data > 0),))
        ### END SOLUTION

    def sum(self, axis: int | None = None) -> Self:
        """The sum of all entries, of shape (); or over one axis, which may be negative and is removed."""
        ### BEGIN SOLUTION
        spread = (lambda g: g) if axis is None else (lambda g: np.expand_dims(g, axis))
        shape = self.data.shape
        return Tensor(self.data.sum(axis=axis), (self,), lambda g: (np.broadcast_to(spread(g), shape),))
        ### END SOLUTION

    def backward(self, seed: np.ndarray | None = None) -> None:
        """Set `grad` of this Tensor and of every Tensor that it was computed from.

        seed: an array of this Tensor's shape, float64, not modified; by default all ones. v.grad is
        the derivative of (seed * self.data).sum() with respect to v.data, so self.grad equals seed.
        Each grad is an array, new at each backward, that no other Tensor shares; it replaces what an
        earlier backward has set, and does not write into it. Other Tensors keep theirs.
        """
        ### BEGIN SOLUTION
        order, seen, waiting = [], set(), [(self, False)]
        while waiting:
            node, parents_done = waiting.pop()
            if parents_done:
                order.append(node)
            elif id(node) not in seen:
                seen.add(id(node))
                waiting.append((node, True))
                waiting.extend((parent, False) for parent in node._parents)
        for node in order:
            node.grad = np.zeros(node.data.shape)
        self.grad += 1.0 if seed is None else seed
        for node in reversed(order):
            received = node._rule(node.grad) if node._parents else ()
            for parent, g in zip(node._parents, received):  # noqa: B905
                g = g.sum(axis=tuple(range(g.ndim - parent.data.ndim)))
                short = tuple(axis for axis, length in enumerate(parent.data.shape) if length == 1)
                parent.grad += g.sum(axis=short, keepdims=True)
        ### END SOLUTION


# %% [markdown] hints="Tensor"
# <details><summary>Hint 1: what a Tensor keeps</summary>
#
# Beside `data` and `grad`: a tuple of its parents, and a function that takes its gradient and returns one array for
# each parent. A `lambda` inside `__mul__` sees `self` and `other`, also later.
# </details>
# <details><summary>Hint 2: the order without recursion</summary>
#
# A stack of pairs (tensor, are its parents done?). Pop one. If its parents are done, append it to the order. Else, if
# you see it for the first time, push it back with True, and push its parents with False. Use `id(tensor)` to remember
# what you have seen.
# </details>
# <details><summary>Hint 3: adding up, and broadcasting</summary>
#
# Set all grads to zeros first. Then go through the reversed order and do `parent.grad += g`, after `g` was summed over
# its first `g.ndim - parent.data.ndim` axes, and, with `keepdims=True`, over the axes where the parent has length 1.
# </details>

# %% check="Tensor"
with check("Tensor", forbids=["torch"]):
    x = Tensor(3.0)
    z = x * x + x
    z.backward()
    expect_close(z.data, 12.0)
    expect_close(
        x.grad,
        7.0,  # 2 · 3 + 1
        mistakes={"x is used three times: add up what all uses send, and do not overwrite.": 3.0},
    )
    z.backward()
    expect_close(x.grad, 7.0, hint="a second backward replaces the gradients", mistakes={"They were added.": 14.0})
    u = Tensor(2.0)
    v = u * u  # used at once, and again two steps later: its gradient must be complete before u's is computed
    for total in (v + v * 3 * 5, v * 3 * 5 + v):  # 16 u^2
        total.backward()
        expect_close(u.grad, 64.0, hint="32 u = 64: visit v after everything that uses it")
    given = np.array([[1.0, -2.0], [0.5, 3.0], [0.0, 1.0]])
    a, b, w = Tensor(given), Tensor(np.array([1.0, 2.0])), Tensor(np.array([[2.0], [-1.0]]))
    product = (a + b) @ w
    product.backward(np.array([[1.0], [10.0], [100.0]]))
    expect_close(product.data, [[4.0], [-2.0], [-1.0]])  # 2 · 2 - 0, 2 · 1.5 - 5, 2 · 1 - 3
    expect_close(a.grad, [[2.0, -1.0], [20.0, -10.0], [200.0, -100.0]], hint="the seed, times w transposed")
    expect_close(b.grad, [222.0, -111.0], hint="b was added to three rows: sum over them")
    expect_close(w.grad, [[2.0 + 15 + 100], [0.0 + 50 + 300]], hint="(a + b) transposed, times the seed")
    total = (2 * a.relu()).sum(axis=1).tanh().sum()
    total.backward()
    slope = 2 - 2 * np.tanh([2.0, 7.0, 2.0]) ** 2  # rows of relu(a), doubled: 2, 1 + 6, 2
    expect_close(a.grad, slope[:, None] * (given > 0), rtol=1e-9, hint="the derivative of relu at 0 is 0")
    rows = a.sum(axis=-1)
    rows.backward(np.array([1.0, 10.0, 100.0]))
    expect_close(rows.data, [-1.0, 3.5, 1.0], hint="axis -1 is the last axis")
    expect_close(a.grad, [[1.0] * 2, [10.0] * 2, [100.0] * 2], hint="each row's seed, repeated along the last axis")
    column = Tensor(np.array([[1.0], [2.0]]))
    (column * Tensor(np.array([[1.0, 2.0, 4.0]])) + 1).sum().backward()
    expect_close(column.grad, [[7.0], [7.0]], hint="an axis of length 1 that was repeated: sum over it, keep it")
    chain = Tensor(1.0)
    for _ in range(20_000):
        chain = chain + 0.5
    chain.backward()
    doubled = x
    for _ in range(50):
        doubled = doubled + doubled
    doubled.backward()
    expect_close(x.grad, 2.0**50, hint="each tensor is visited once")

# %% [markdown]
# Your class against your own derivation: the network of 8.3 is written with `Tensor`, the seed of `backward` is $(P -
# Y)/m$ (derived by hand, since `Tensor` has neither exp nor log), and the gradients are compared with `mlp_backward`.
# Then your class fits a curve (dots: the target), with the squared error and two hidden layers. No gradient was derived
# by hand for it. This is what torch does: its `autograd` keeps such a graph, in C++.

# %% tags=["demo"]
X, y = np.random.default_rng(2).standard_normal((20, 8)), np.arange(20) % 3
weights, biases = random_network([8, 16, 16, 3], seed=6)
gradients = mlp_backward(X, y, mlp_forward(X, weights, biases), weights)
W, b = [Tensor(w) for w in weights], [Tensor(v) for v in biases]
Z = ((Tensor(X) @ W[0] + b[0]).tanh() @ W[1] + b[1]).tanh() @ W[2] + b[2]
Z.backward((softmax(Z.data) - np.eye(3)[y]) / len(y))
for name, tensors, mine in zip("Wb", (W, b), gradients, strict=True):
    apart = [np.abs(t.grad - g).max() / np.abs(g).max() for t, g in zip(tensors, mine, strict=True)]
    print(f"{name}: by hand and by the graph differ by", ", ".join(f"{a:.0e}" for a in apart), "of the largest entry")
x = np.linspace(-3, 3, 60)[:, None]
target = np.sin(1.5 * x) + 0.3 * x
weights, biases = random_network([1, 30, 30, 1], seed=0)
W, b = [Tensor(w) for w in weights], [Tensor(10 * v) for v in biases]
record, fits, steps = [], {}, demo_size(full=1500, small=150)
for step in range(steps + 1):
    predicted = ((Tensor(x) @ W[0] + b[0]).tanh() @ W[1] + b[1]).tanh() @ W[2] + b[2]
    error = predicted + Tensor(-target)
    loss = (error * error).sum() * (1 / len(x))
    loss.backward()
    record.append(float(loss.data))
    if step in (0, steps // 10, steps):
        fits[f"step {step}"] = (x[:, 0], predicted.data[:, 0])
    for parameter in (*W, *b):
        parameter.data -= 0.03 * parameter.grad
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
plotting.curves(fits, xlabel="x", ylabel="prediction", title="Your Tensor fits a curve", ax=left)
left.plot(x[:, 0], target[:, 0], ".", color=plotting.MUTED, markersize=4)
plotting.curves(
    {"": (np.arange(1, steps + 2), record)}, xlabel="step + 1", ylabel="squared error", logx=True, logy=True, ax=right
)
right.set_title("and its loss falls")
plt.show()

# %% [markdown]
# ### 8.6 `initialise` · essential · level 2 of 4 · 12 min
#
# Which weights does training start from? Not from zero: then every delta below the last layer is 0, since it has the
# factor $W_l^\top$, and nothing moves but the last biases. Nor from another constant: if all weights of each layer are
# equal, the units of a layer get equal gradients and stay equal. So weights are drawn at random, with mean 0. The
# question is how large.
#
# Take one unit, $a = \sum_{j=1}^{n_{\text{in}}} h_j w_j$, with inputs $h_j$ and independent weights of mean 0 and
# variance $\sigma_w^2$. With $\mathbb E[h^2]$ the mean of $h_j^2$ over the inputs,
#
# $$\operatorname{Var}(a) = n_{\text{in}}\, \sigma_w^2\, \mathbb E[h^2] .$$
#
# **tanh.** Near 0 it is the identity, so $\mathbb E[h^2]$ of the next layer is $\operatorname{Var}(a)$, and the signal
# keeps its size if $n_{\text{in}} \sigma_w^2 = 1$. The gradient goes through the transposed matrix, so it keeps its
# size if $n_{\text{out}} \sigma_w^2 = 1$. Both at once are possible only in square layers. Glorot and Bengio (2010)
# take the harmonic mean of the two: $\sigma_w^2 = 2 / (n_{\text{in}} + n_{\text{out}})$.
#
# **relu.** With weights that are symmetric around 0, $a$ is symmetric around 0, too, and relu keeps one half of it:
# $\mathbb E[h^2] = \operatorname{Var}(a) / 2$. The variance must be doubled to compensate: $\sigma_w^2 = 2 /
# n_{\text{in}}$ (He et al., 2015).
#
# An error in the factor is raised to the power $L$. If each layer halves the variance, then after 30 layers $2^{-30}$
# of it is left, a billionth; even the factor 0.9 leaves $0.9^{100} \approx 3 \cdot 10^{-5}$ after 100 layers. Such
# signals and gradients are called **vanishing**, and where they grow, **exploding**. Skip connections are another
# remedy (module 10).


# %% exercise="initialise" points=2 minutes=12 forbids=["torch"] trains=["variance"]
def initialise(widths: Sequence[int], seed: int, activation: str = "tanh") -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Random weights and biases of zeros for a network with these widths.

    widths: a list or a tuple (d_0, d_1, ..., d_L), L >= 1, numbers from 1 to 10,000.
    seed: an integer, 0 <= seed < 2^32: the same seed gives the same weights in every process, and two
    seeds give unrelated ones. The global random state of NumPy is neither used nor changed.
    activation: "tanh" for the variance 2 / (n_in + n_out) (Glorot), "relu" for 2 / n_in (He). All
    layers have this variance, the last one, too.

    Returns (weights, biases), two lists of L new float64 arrays (d_{l-1}, d_l) and (d_l,): the weights
    independent and normally distributed with mean 0, also from layer to layer; the biases 0.
    Raises ValueError for another activation. Not allowed: torch.
    """
    ### BEGIN SOLUTION
    if activation not in ("tanh", "relu"):
        raise ValueError(f"activation {activation!r}")
    rng = np.random.default_rng(seed)
    weights, biases = [], []
    for n_in, n_out in itertools.pairwise(widths):
        variance = 2 / (n_in + n_out) if activation == "tanh" else 2 / n_in
        weights.append(rng.standard_normal((n_in, n_out)) * np.sqrt(variance))
        biases.append(np.zeros(n_out))
    return weights, biases
    ### END SOLUTION


# %% [markdown] hints="initialise"
# <details><summary>Hint 1: pairs</summary>
#
# `itertools.pairwise(widths)` gives (d_0, d_1), (d_1, d_2), ... These are the n_in and n_out of the layers.
# </details>
# <details><summary>Hint 2: variance and standard deviation</summary>
#
# A standard normal number times c has the variance c². So multiply by the *root* of the variance.
# </details>
# <details><summary>Hint 3: one generator</summary>
#
# Make `rng = np.random.default_rng(seed)` once, before the loop, and draw all layers from it. A new generator with the
# same seed in each layer would give layers of the same shape the same weights.
# </details>

# %% check="initialise"
with check("initialise", forbids=["torch"]):
    weights, biases = initialise([200, 400, 100, 100, 100], seed=3)
    for layer, pair in enumerate([(200, 400), (400, 100), (100, 100), (100, 100)]):
        expect_shape(weights[layer], pair)
        expect_close(biases[layer], np.zeros(pair[1]), atol=0, hint="biases are zeros of shape (n_out,)")
    expect_close(
        weights[0].std(),
        math.sqrt(2 / 600),
        rtol=0.02,
        mistakes={
            "This is the variance; take its root.": 2 / 600,
            "The layer's inputs alone are counted; Glorot counts outputs, too.": math.sqrt(1 / 200),
        },
    )
    expect_close(weights[1].mean(), 0.0, atol=0.002, hint="the mean is 0")
    if np.abs(weights[0]).max() < 3 * weights[0].std():  # uniform numbers end at 1.73 standard deviations
        raise AssertionError("the weights are normally distributed; of 80,000 some are far from the mean")
    he, _ = initialise((200, 400), seed=3, activation="relu")
    expect_close(he[0].std(), math.sqrt(2 / 200), rtol=0.02, hint="He: 2 / n_in")
    expect_close(
        initialise([200, 400], seed=3, activation="relu")[0], he, atol=0, hint="the same seed, the same weights"
    )
    if np.allclose(weights[2], weights[3]):
        raise AssertionError("two layers of the same shape have the same weights: make the generator once")
    (_, second), (first, _) = (initialise([9, 9, 9], seed)[0] for seed in (1, 2))
    if np.allclose(second, first):
        raise AssertionError("layer 2 of seed 1 equals layer 1 of seed 2: do not add the layer's number to the seed")
    with expect_raises(ValueError, hint="raise ValueError for an unknown activation"):
        initialise([2, 2], 0, "sigmoid")

# %% [markdown]
# The prediction, tested with your functions. Left: the root mean square of $H_l$ in relu networks whose variance is
# yours, half of it, and twice as much. In theory it stays, falls as $2^{-l/2}$, and grows as $2^{l/2}$ (thin grey
# lines, which start where the curves do).
#
# Right: the root mean square of $\partial J / \partial W_l$ in tanh networks. With a quarter of the variance, each
# layer halves the signal in the forward pass and the gradient in the backward pass. The gradient $H_{l-1}^\top
# \delta_l$ has all layers below $l$ in its first factor and all layers above in the second one. So every layer,
# wherever it stands, gets about $2^{-L}$ of what it would get if the signal kept its size, and nothing is learnt. (The
# line below the figure prints the share of what it gets with Glorot's variance. This share is larger than $2^{-L}$,
# since tanh makes Glorot's own signal smaller, too.) With nine times the variance most units sit where tanh is flat,
# but the weights are so large that the gradients still grow on the way back: the first layers get far more than the
# last ones.

# %% tags=["demo"]
depth, width = demo_size(full=40, small=12), demo_size(full=256, small=64)
draw = np.random.default_rng(1)
X, y = draw.standard_normal((64, width)), draw.integers(width, size=64)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
layers = np.arange(1, depth)
sizes = {}
for name, factor in {"He": 1.0, "half the variance": 0.5, "twice the variance": 2.0}.items():
    weights, biases = initialise([width] * (depth + 1), seed=2, activation="relu")
    outputs = mlp_forward(X, [math.sqrt(factor) * W for W in weights], biases, "relu")
    sizes[name] = (layers, [math.sqrt(np.mean(H**2)) for H in outputs[:-1]])
    left.plot(layers, sizes[name][1][0] * factor ** ((layers - 1) / 2), ":", color=plotting.MUTED, lw=1)
plotting.curves(sizes, xlabel="layer", ylabel="root mean square of H", title="relu: what arrives", logy=True, ax=left)
sizes = {}
for name, factor in {"Glorot": 1.0, "a quarter of the variance": 0.25, "nine times the variance": 9.0}.items():
    weights, biases = initialise([width] * (depth + 1), seed=2)
    weights = [math.sqrt(factor) * W for W in weights]
    found, _ = mlp_backward(X, y, mlp_forward(X, weights, biases), weights)
    sizes[name] = (np.arange(1, depth + 1), [math.sqrt(np.mean(g**2)) for g in found])
plotting.curves(
    sizes, xlabel="layer", ylabel="root mean square of ∂J/∂W", title="tanh: what comes back", logy=True, ax=right
)
plt.show()
share = np.array(sizes["a quarter of the variance"][1]) / sizes["Glorot"][1]
print(
    f"a quarter of the variance: {share.min():.1e} to {share.max():.1e} of Glorot's gradient; 2^-L = {2.0**-depth:.1e}"
)

# %% [markdown]
# ### 8.7 `dropout` · optional · level 1 of 4 · 10 min
#
# *Extra: it is graded, but its points are not added to your sum.*
#
# A large network can fit its training rows almost exactly, the noise included. **Dropout** (Srivastava et al., 2014) is
# one remedy: in each step of training, set each value of a layer to 0 with probability $p$, independently of the
# others. No unit can rely on another one being there, and each step trains a different network, out of very many that
# share their weights.
#
# In training a value $h$ is kept with probability $1 - p$, so its mean would be $(1 - p) h$, and the next layer would
# see smaller values in training than at **test time**, when the network is used. **Inverted dropout** divides the kept
# values by $1 - p$:
#
# $$\mathbb E\left[\frac{h\, M}{1 - p}\right] = h, \qquad M = 1 \text{ with probability } 1 - p, \text{ else } 0 .$$
#
# $M$ is called the **mask**. At test time nothing has to be done: there dropout is the identity. The backward pass
# multiplies by the same factor, $\bar h = \bar v\, M/(1 - p)$, so the function returns the factor, too. It takes a
# seed, so that a second call can repeat the first one exactly. Exercise 8.8 shows when this is needed.


# %% exercise="dropout" points=1 minutes=10 extra=true forbids=["torch"] trains=["variance"]
def dropout(H: np.ndarray, p: float, seed: int, training: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Inverted dropout: each entry of H is dropped with probability p, the others are divided by 1 - p.

    H: any shape, may be empty, float64 or float32. p: the share that is dropped, 0 <= p <= 0.999.
    seed: an integer, 0 <= seed < 2^32: the same seed drops the same entries in every process, for
    every H of this shape and dtype; two seeds drop unrelated ones. The global random state of NumPy
    is neither used nor changed.
    training: True in training. Where it is False, nothing is dropped.

    Returns (output, factor), two new arrays with the shape and dtype of H: factor is 0 where an entry
    is dropped (independently, with probability p) and 1 / (1 - p) elsewhere, output is H * factor.
    With training=False, factor is all ones and output equals H.
    Leaves H as it is. Raises ValueError for p < 0 and for p >= 1, also with training=False.
    Not allowed: torch.
    """
    ### BEGIN SOLUTION
    if not 0 <= p < 1:
        raise ValueError(f"p = {p}")
    factor = np.ones_like(H)
    if training:
        kept = np.random.default_rng(seed).random(H.shape) >= p
        factor = (kept / (1 - p)).astype(H.dtype)
    return H * factor, factor
    ### END SOLUTION


# %% [markdown] hints="dropout"
# <details><summary>Hint 1: who is kept</summary>
#
# `np.random.default_rng(seed).random(H.shape)` gives numbers that are uniform from 0 to 1. Which share of them is at
# least p?
# </details>
# <details><summary>Hint 2: the factor</summary>
#
# True counts as 1 and False as 0, so `kept / (1 - p)` is the factor, in float64. `.astype(H.dtype)` gives it the dtype
# of H.
# </details>
# <details><summary>Hint 3: both branches</summary>
#
# Begin with the `ValueError` for p, then `factor = np.ones_like(H)`, and replace it only `if training`. In both cases
# return `H * factor, factor`.
# </details>

# %% check="dropout"
with check("dropout", forbids=["torch"]):
    H = np.arange(1.0, 4001).reshape(40, 100)
    with expect_unchanged(H=H):
        output, factor = dropout(H, 0.2, seed=1)
    expect_close(
        float(np.mean(factor == 0)),
        0.2,
        atol=0.04,  # six standard deviations
        hint="p is the share that is dropped, not the share that is kept",
    )
    expect_close(
        np.unique(factor),
        [0.0, 1.25],
        rtol=1e-12,
        hint="kept entries are divided by 1 - p = 0.8",
        mistakes={"Divide the kept entries by 1 - p.": [0.0, 1.0]},
    )
    expect_close(output, H * factor, rtol=1e-12, hint="the output is H times the factor")
    if np.array_equal(factor[0], factor[1]) or np.array_equal(factor[:, 0], factor[:, 1]):
        raise AssertionError("each entry is dropped by itself, not whole rows or columns")
    expect_close(dropout(H, 0.2, seed=1)[1], factor, atol=0, hint="the same seed drops the same entries")
    if np.array_equal(dropout(H, 0.2, seed=2)[1], factor):
        raise AssertionError("another seed must drop other entries")
    output, factor = dropout(H, 0.2, seed=1, training=False)
    expect_close(output, H, atol=0, hint="at test time, dropout is the identity")
    expect_close(factor, np.ones((40, 100)), atol=0, hint="at test time, the factor is 1")
    expect_dtype(dropout(H.astype(np.float32), 0.2, 1)[0], np.float32, hint="the dtype of H")
    with expect_raises(ValueError, hint="p = 1 would drop everything"):
        dropout(H, 1.0, 0)

# %% [markdown]
# Now everything together: `initialise`, `mlp_forward`, `dropout`, `mlp_backward` and steps that subtract. The data are
# a few handwritten digits, and a fifth of the training rows has a label drawn at random: noise, which the network can
# memorise. A network with dropout is run in pieces: the first layer by itself, dropout, the rest. The peer is the same
# network in torch, with the same initial weights and the same batches. Without dropout the two training losses
# coincide.
#
# Without dropout, the loss on fresh rows (the test rows) falls and then rises again: the network has begun to learn the
# noise. With dropout both losses fall more slowly. On fresh rows the loss is higher at first and lower in the end. The
# cell prints the errors on both kinds of rows. (With Python loops in your functions it takes several times as long.)

# %% tags=["demo"]
digits = datasets.digits()
shuffled = np.random.default_rng(0).permutation(len(digits.y))
few = demo_size(full=300, small=100)
X, y = digits.X[shuffled[:few]] / 16, digits.y[shuffled[:few]]
draw = np.random.default_rng(3)
y = np.where(draw.random(few) < 0.2, draw.integers(10, size=few), y)  # noise in the labels
fresh_X, fresh_y = digits.X[shuffled[900:]] / 16, digits.y[shuffled[900:]]
widths, epochs, lr = [64, 128, 10], demo_size(full=150, small=100), 0.2
runs = {}
with threadpool_limits(limits=1):  # small products: more threads would wait for each other
    for p in (0.0, 0.5):
        weights, biases = initialise(widths, seed=1, activation="relu")
        history, order = [], np.random.default_rng(2)
        for epoch in range(epochs):
            rows = order.permutation(few)
            for first in range(0, few, 50):
                part = rows[first : first + 50]
                (hidden,) = mlp_forward(X[part], weights[:1], biases[:1], "relu")
                dropped, factor = dropout(np.maximum(hidden, 0), p, seed=epoch * 1000 + first)
                (Z,) = mlp_forward(dropped, weights[1:], biases[1:], "relu")
                (top_W,), (top_b,) = mlp_backward(dropped, y[part], [Z], weights[1:], "relu")
                delta = softmax(Z)
                delta[np.arange(len(part)), y[part]] -= 1
                delta = delta / len(part) @ weights[1].T * factor * (hidden > 0)
                steps = [X[part].T @ delta, top_W], [delta.sum(axis=0), top_b]
                for old, new in zip((weights, biases), steps, strict=True):
                    for parameter, gradient in zip(old, new, strict=True):
                        parameter -= lr * gradient
            said, fresh = (mlp_forward(rows, weights, biases, "relu")[-1] for rows in (X, fresh_X))
            history.append((cross_entropy(said, y), cross_entropy(fresh, fresh_y)))
        runs[p] = np.array(history)
        wrong = np.mean(fresh.argmax(axis=1) != fresh_y), np.mean(said.argmax(axis=1) != y)
        print(f"p = {p}: error {wrong[0]:.3f} on fresh rows, {wrong[1]:.3f} on training rows", end="; ")
        print(f"loss {runs[p][-1, 1]:.3f} and {runs[p][-1, 0]:.3f}")
    start = initialise(widths, seed=1, activation="relu")
    theirs = [torch.tensor(value, requires_grad=True) for value in (*start[0], *start[1])]
    peer, order = [], np.random.default_rng(2)
    for _ in range(epochs):
        rows = order.permutation(few)
        for first in range(0, few, 50):
            part = rows[first : first + 50]
            Z = torch.relu(torch.tensor(X[part]) @ theirs[0] + theirs[2]) @ theirs[1] + theirs[3]
            gradients = torch.autograd.grad(torch.nn.functional.cross_entropy(Z, torch.tensor(y[part])), theirs)
            with torch.no_grad():
                for parameter, gradient in zip(theirs, gradients, strict=True):
                    parameter -= lr * gradient
        with torch.no_grad():
            Z = torch.relu(torch.tensor(X) @ theirs[0] + theirs[2]) @ theirs[1] + theirs[3]
            peer.append(float(torch.nn.functional.cross_entropy(Z, torch.tensor(y))))
print(f"largest difference to torch's training loss without dropout: {np.abs(runs[0.0][:, 0] - peer).max():.0e}")
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
count = np.arange(1, epochs + 1)
for ax, column, title in ((left, 0, "On training rows"), (right, 1, "On fresh rows")):
    lines = {f"p = {p}": (count, runs[p][:, column]) for p in runs}
    if column == 0:
        lines["torch, p = 0"] = (count, peer)
    plotting.curves(lines, xlabel="epoch", ylabel="loss", title=title, logy=True, logx=True, ax=ax)
plt.show()

# %% [markdown]
# ### 8.8 `checkpointed` · essential · level 4 of 4 · 40 min
#
# The weights take $d_{l-1} d_l$ numbers a layer, whatever the batch. The forward pass stores $m\, d_l$ numbers a layer
# for the backward pass. With many more rows than units these are most of the memory (the weights and their gradients
# take $2 d_{l-1} d_l$), and each further layer adds to them. But stored values can be computed again.
#
# Cut a chain of $L$ layers into segments of $s$ layers. On the way forward, keep only the inputs of the segments,
# $\lceil L / s \rceil$ arrays: the **checkpoints**. In the backward pass take the segments from the last to the first:
# from its checkpoint compute the inputs of its $s$ layers again, go backwards through them, and delete them. So at any
# time about
#
# $$\frac Ls + s$$
#
# arrays are stored in place of $L$. The derivative with respect to $s$, $1 - L / s^2$, is 0 at $s = \sqrt L$: then $2
# \sqrt L$ arrays are enough. The price is one more forward pass, at most. For 100 layers, a fifth of the memory costs up
# to a third more work. The next table counts memory in arrays of a layer's output, and work in forward passes (with a
# matrix product in each layer, its way back costs two).
#
# | | everything stored | checkpoints, segments of $s$ layers |
# | --- | --- | --- |
# | memory on the way forward | $L$ | $\lceil L/s \rceil$ checkpoints |
# | memory on the way back | $L$ | the checkpoints that are left, and one segment: $\le \lceil L/s \rceil + s$ |
# | forward pass | 1 | 1 |
# | forward once more | 0 | 1 at most: all layers but the last one of each segment |
# | backward pass | 2 | 2 |
# | all work | 3 | 4 at most |
# | in this exercise, where `backward` computes its layer again | 4 | 5 at most |
#
# The second pass must compute *the same*. A layer with dropout must drop the same entries again. Therefore `dropout`
# takes a seed and not a generator that moves on.
#
# Your function does not know what a layer is: it gets two functions. `forward` computes the output of layer number
# `layer` from its input. `backward` gets this input again, together with the gradient for the output. It returns the
# gradient for the input, and puts the gradients for the layer's weights wherever the caller wants them. Because it gets
# the input and not the output, it computes the layer once more itself: this is the last line of the table. A real
# system stores what `backward` needs, and pays what the line above says.


# %% exercise="checkpointed" points=4 minutes=40 forbids=["torch"] trains=["derivatives of programs", "memory against time"]
def checkpointed(
    forward: Callable[[int, np.ndarray], np.ndarray],
    backward: Callable[[int, np.ndarray, np.ndarray], np.ndarray],
    loss_gradient: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    depth: int,
    segment: int,
) -> np.ndarray:
    """The gradient of a loss with respect to the input of a chain of layers, with few arrays stored.

    The layers have the numbers 0 to depth - 1. forward(layer, h) returns the output of this layer for
    the input h, a new array; the same each time. loss_gradient(output) returns the derivative of the
    loss with respect to the last layer's output. backward(layer, h, g) gets the input h of the layer
    and the derivative g with respect to its output; it returns that with respect to h.
    x: the input of layer 0, any shape; every output has this shape. depth >= 1. segment >= 1, may be
    larger than depth.

    Returns the derivative with respect to x: what backward(0, ...) returned, or a copy of it.
    Memory, with c = ceil(depth / segment) checkpoints: at any time, at most c + segment + 3 arrays of
    x's size are held besides x, inputs and gradients together. What forward and backward use inside
    is not counted.
    Calls: loss_gradient once; backward once for each layer, from the last to the first; forward
    at most 2 depth - c times (with segment 1 this is depth), at most twice for each layer. Neither x
    nor what these functions return may be modified.
    Not allowed: torch.
    """
    ### BEGIN SOLUTION
    kept, h = {}, x
    for layer in range(depth):
        if layer % segment == 0:
            kept[layer] = h
        h = forward(layer, h)
    g = loss_gradient(h)
    for start in reversed(range(0, depth, segment)):
        inputs = [kept.pop(start)]
        for layer in range(start, min(start + segment, depth) - 1):
            inputs.append(forward(layer, inputs[-1]))
        while inputs:
            g = backward(start + len(inputs) - 1, inputs.pop(), g)
    return g
    ### END SOLUTION


# %% [markdown] hints="checkpointed"
# <details><summary>Hint 1: what to keep</summary>
#
# On the way forward, put `h` into a dictionary where `layer % segment == 0`, before you call `forward`. Everything else
# may go: a variable that is overwritten frees its array.
# </details>
# <details><summary>Hint 2: one segment of the way back</summary>
#
# Begin a list with the checkpoint. Append `forward(layer, inputs[-1])` for all layers of the segment but its last: the
# output of the last one is not needed. The last segment may be shorter.
# </details>
# <details><summary>Hint 3: forgetting</summary>
#
# Take the inputs off the end: `g = backward(layer, inputs.pop(), g)`. With `kept.pop(start)` the checkpoint goes, too.
# </details>

# %% check="checkpointed"
with check("checkpointed", forbids=["torch"]):
    calls, alive = [], Alive()

    def square(layer, h):
        calls.append(("forward", layer))
        return alive.watch(h * h)

    def square_back(layer, h, g):
        calls.append(("backward", layer))
        return 2 * h * g

    x = np.array([1.5, -1.0])
    with expect_unchanged(x=x):
        got = checkpointed(square, square_back, lambda h: np.ones(2), x, depth=3, segment=2)
    expect_close(
        got,
        [8 * 1.5**7, -8.0],  # the output is x^8, its derivative 8 x^7
        rtol=1e-12,
        hint="each layer's backward gets the *input* of this layer",
    )
    back = [layer for kind, layer in calls if kind == "backward"]
    expect_close(back, [2, 1, 0], atol=0, hint="backward once for each layer, from the last to the first")
    count = sum(kind == "forward" for kind, _ in calls)
    if count > 4:
        raise AssertionError(f"forward was called {count} times; 2 · 3 - 2 = 4 are allowed")
    calls.clear()
    checkpointed(square, square_back, lambda h: np.ones(2), x, depth=4, segment=1)
    count = sum(kind == "forward" for kind, _ in calls)
    if count > 4:
        raise AssertionError(f"with segment = 1 all inputs are kept: forward 4 times, and not {count} times")
    alive = Alive()

    def halve(layer, h):
        return alive.watch(h / 2)

    big = np.ones(1000)
    got = checkpointed(halve, lambda layer, h, g: g / 2, lambda h: np.ones(1000), big, depth=40, segment=7)
    expect_close(got, np.full(1000, 2.0**-40), rtol=1e-12, atol=0)
    if alive.most > 8000 * (6 + 7 + 3):
        raise AssertionError(
            f"{alive.most // 8000} outputs of forward were in memory at the same time; 6 + 7 + 3 arrays are allowed"
        )

# %% [markdown]
# The stored bytes, counted. A network of layers $H \mapsto \tanh(H W_l + b_l)$ is differentiated by your function for
# every length of the segments. `Alive` counts the outputs of `forward` that are in memory. Left, the most at any time,
# beside $L/s + s$: the valley lies at $\sqrt L$. The counts are one to three arrays lower: $x$ is not among them, and $L/s
# + s$ counts the first input of a segment twice, although it is the segment's checkpoint. Right, the calls of
# `forward`; `backward` computes each layer once more. Where the second pass repeats the same operations, the gradients
# of all runs are equal; the cell prints the largest difference.

# %% tags=["demo"]
depth, width, rows = demo_size(full=64, small=16), 64, demo_size(full=128, small=32)
weights, biases = initialise([width] * (depth + 1), seed=4)
x = np.random.default_rng(5).standard_normal((rows, width))


def stack(weights, biases, alive=None, calls=None):
    """forward and backward of a stack of tanh layers, for `checkpointed`; gradients go into a dictionary."""
    gradients = {}

    def forward(layer, h):
        if calls is not None:
            calls.append(layer)
        out = h @ weights[layer] + biases[layer]
        out = np.tanh(out, out=out)
        return out if alive is None else alive.watch(out)

    def backward(layer, h, g):
        out = np.tanh(h @ weights[layer] + biases[layer])
        delta = g * (1 - out * out)
        gradients[layer] = h.T @ delta, delta.sum(axis=0)
        return delta @ weights[layer].T

    return forward, backward, gradients


segments = [s for s in (1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 64) if s <= depth]
stored, called, first, apart = [], [], None, 0.0
for s in segments:
    alive, calls = Alive(), []
    forward, backward, gradients = stack(weights, biases, alive, calls)
    checkpointed(forward, backward, lambda h: h / len(h), x, depth, s)
    stored.append(alive.most)
    called.append(len(calls))
    first = first or gradients
    for k in range(depth):
        apart = max(apart, *(np.abs(a - b).max() for a, b in zip(first[k], gradients[k], strict=True)))
print(f"largest difference between the gradients of two runs: {apart:.0e}")
print(f"one output: {x.nbytes:,} bytes. Most in memory: {max(stored):,} (all), {min(stored):,} (best)")
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
theory = [x.nbytes * (depth / s + s) for s in segments]
plotting.curves(
    {"counted": (segments, stored), "L/s + s arrays": (segments, theory)},
    xlabel="layers of a segment, s",
    ylabel="bytes stored",
    title="The valley lies at √L",
    logx=True,
    logy=True,
    ax=left,
)
plotting.curves(
    {"counted": (segments, called), "2L": (segments, np.full(len(segments), 2 * depth))},
    xlabel="layers of a segment, s",
    ylabel="calls of forward",
    title="One more forward pass at most",
    logx=True,
    ax=right,
)
right.set_ylim(0, 2.2 * depth)
plt.show()

# %% [markdown]
# ## Scale it
#
# ### The memory of a graph
#
# What must be stored to compute a gradient? Count it: the bytes of all arrays that live when the forward pass is over,
# without the parameters and without the input. For checkpoints count the most at any time, since the backward pass
# makes outputs again. Your `mlp_forward` keeps one array a layer. Your `Tensor` keeps the product, the sum and the
# activation, so three, and more if its rules keep copies of their own. torch's autograd keeps what its rules need;
# `saved_tensors_hooks` tells what this is. For tanh it is the output, so one array a layer, as you have by hand.
# Checkpoints are an idea of Griewank (1992); Chen et al. (2016) made them common in deep learning. In torch they are
# called `torch.utils.checkpoint`.
#
# All four grow with the depth, three of them in proportion to it. On this log-log plot the fitted slopes stand in the
# legend. Checkpoints grow with the root, as about $2\sqrt L - 1$ arrays, so their slope is a little above 1/2 here.


# %% tags=["demo"]
def held(make):
    """Bytes that NumPy holds for what `make` returns."""
    tracemalloc.start()
    kept = make()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size if kept is not None else 0


def by_tensor(weights, biases, x):
    H = Tensor(x)
    parameters = [(Tensor(W), Tensor(b)) for W, b in zip(weights, biases, strict=True)]
    for W, b in parameters:
        H = (H @ W + b).tanh()
    return H, parameters


def by_torch(weights, biases, x):
    parameters = [(torch.tensor(W, requires_grad=True), torch.tensor(b)) for W, b in zip(weights, biases, strict=True)]
    known = {W.data_ptr() for W, _ in parameters}
    saved = {}

    def note(tensor):
        if tensor.data_ptr() not in known:
            saved[tensor.data_ptr()] = tensor.nbytes
        return tensor

    H = torch.tensor(x)
    known.add(H.data_ptr())
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        for W, b in parameters:
            H = torch.tanh(H @ W + b)
    return sum(saved.values()) if H is not None else 0


depths = demo_size(full=[16, 36, 64, 100, 144], small=[4, 9, 16])  # squares, so that the root is a whole number
bytes_held = {"Tensor": [], "mlp_forward": [], "torch.autograd": [], "checkpointed, s = √L": []}
x = np.random.default_rng(5).standard_normal((demo_size(full=512, small=128), 32))
for count in depths:
    weights, biases = initialise([32] * (count + 1), seed=4)
    own = sum(p.nbytes for p in (*weights, *biases)) + x.nbytes  # the copies of parameters and input
    bytes_held["Tensor"].append(held(lambda w=weights, b=biases: by_tensor(w, b, x)) - own)
    bytes_held["mlp_forward"].append(held(lambda w=weights, b=biases: mlp_forward(x, w, b)))
    bytes_held["torch.autograd"].append(by_torch(weights, biases, x))
    alive = Alive()
    forward, backward, _ = stack(weights, biases, alive)
    checkpointed(forward, backward, lambda h: h, x, count, round(math.sqrt(count)))
    bytes_held["checkpointed, s = √L"].append(alive.most)
lines = {}
for name, sizes in bytes_held.items():
    slope = np.polyfit(np.log(depths), np.log(sizes), 1)[0]
    lines[f"{name}: slope {slope:.2f}"] = (depths, sizes)
    print(f"{name:<22}{sizes[-1] / x.nbytes / depths[-1]:6.2f} arrays a layer at depth {depths[-1]}")
plotting.curves(
    lines, xlabel="layers", ylabel="bytes stored", title="Checkpoints grow with the root", logx=True, logy=True
)
plt.show()

# %% [markdown]
# ### Batch size against throughput
#
# How many rows a second do your two functions, `Tensor` and torch process, forward and backward? All on one core, on
# the same network, in float64. What follows was seen on the author's machine, for functions without a Python loop over
# the rows. Look whether it is so on yours.
#
# With few rows, the time goes into the *calls*: each operation costs Python, or torch's dispatcher, some microseconds,
# whatever its size. There twice the rows are nearly free. The hand-written pass makes the fewest calls, so it wins.
# Your `Tensor` pays for objects, copies, and gradients that are set to zero first.
#
# With many rows the time goes into *work*. The hand-written pass and torch make the same matrix products, so they come
# close to each other; which one leads depends on the two libraries' products. `Tensor` makes one product more: it
# computes the gradient of $X$, too, which nobody needs. torch leaves it out, since $X$ does not have `requires_grad`.
# `Tensor` also makes more passes over memory: for each sum, each copy and each zero. So it stays behind. When the
# arrays no longer fit into the caches, throughput stops growing, and may fall. The table says by how much on this
# machine.
#
# Right, counted by formula: the stored outputs grow with the batch, in all three. That is the price of throughput, and
# the reason for checkpoints.

# %% tags=["demo"]
net_weights, net_biases = initialise([64, 256, 256, 10], seed=7)
torch_net = [torch.tensor(p, requires_grad=True) for p in (*net_weights, *net_biases)]
tensor_net = [Tensor(p) for p in (*net_weights, *net_biases)]


def by_hand(X, y):
    mlp_backward(X, y, mlp_forward(X, net_weights, net_biases), net_weights)


def with_tensor(X, y):
    W, b = tensor_net[:3], tensor_net[3:]
    Z = ((Tensor(X) @ W[0] + b[0]).tanh() @ W[1] + b[1]).tanh() @ W[2] + b[2]
    delta = softmax(Z.data)
    delta[np.arange(len(y)), y] -= 1
    Z.backward(delta / len(y))


def with_torch(X, y):
    W, b = torch_net[:3], torch_net[3:]
    for parameter in torch_net:
        parameter.grad = None
    H = torch.tanh(torch.addmm(b[0], torch.from_numpy(X), W[0]))
    Z = torch.addmm(b[2], torch.tanh(torch.addmm(b[1], H, W[1])), W[2])
    torch.nn.functional.cross_entropy(Z, torch.from_numpy(y)).backward()


def batch(m):
    draw = np.random.default_rng(m)
    return draw.standard_normal((m, 64)), draw.integers(10, size=m)


before = torch.get_num_threads()
torch.set_num_threads(1)
speed = scaling.measure(
    {"mlp_forward and mlp_backward": by_hand, "Tensor": with_tensor, "torch.autograd": with_torch},
    sizes=demo_size(full=[1, 4, 16, 64, 256, 1024, 4096], small=[1, 8, 64]),
    setup=batch,
    budget=demo_size(full=9.0, small=2.0),
    label="rows of a batch m",
    threads=1,
    memory=None,
)
torch.set_num_threads(before)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8))
plotting.curves(
    {name: (speed.sizes, speed.sizes / seconds) for name, seconds in speed.seconds.items()},
    xlabel="rows of a batch m",
    ylabel="rows a second",
    title="Few rows: calls. Many rows: work",
    logx=True,
    logy=True,
    ax=left,
)
left.set_ylim(bottom=0.3 * min(np.nanmin(speed.sizes / seconds) for seconds in speed.seconds.values()))
plotting.curves(
    {
        "stored outputs": (speed.sizes, speed.sizes * 8 * (256 + 256 + 10)),
        "the parameters": (speed.sizes, np.full(len(speed.sizes), sum(p.nbytes for p in (*net_weights, *net_biases)))),
    },
    xlabel="rows of a batch m",
    ylabel="bytes",
    title="What is stored grows with the batch",
    logx=True,
    logy=True,
    ax=right,
)
plt.show()
speed.table()

# %% [markdown]
# ### What adds up
#
# $J$ is a mean over rows, so its gradient is one, too. Cut a batch into parts of $m_1, m_2, \dots$ rows with the
# gradients $g_1, g_2, \dots$, each a mean over its own part. Then
#
# $$g = \frac{m_1}{m}\, g_1 + \frac{m_2}{m}\, g_2 + \dots$$
#
# This rule has two uses. On one machine, take the parts one after the other: the stored outputs are those of one part,
# and the batch may have any size (**gradient accumulation**). On many machines, each takes a part, and in each step
# each machine sends one array of the size of the parameters and receives one, the sum, however many rows it has. The
# cell counts both. A plain mean of $g_1, g_2, \dots$ is wrong where the parts differ in size, and the cell shows by how much.

# %% tags=["demo"]
X, y = batch(1000)
whole, _ = mlp_backward(X, y, mlp_forward(X, net_weights, net_biases), net_weights)
total = [np.zeros_like(W) for W in net_weights]
plain = [np.zeros_like(W) for W in net_weights]
cuts, most = [0, 300, 600, 900, 1000], 0
for first, end in itertools.pairwise(cuts):
    part_outputs = mlp_forward(X[first:end], net_weights, net_biases)
    most = max(most, sum(H.nbytes for H in part_outputs))
    part, _ = mlp_backward(X[first:end], y[first:end], part_outputs, net_weights)
    for sums, mean, gradient in zip(total, plain, part, strict=True):
        sums += (end - first) / len(y) * gradient
        mean += gradient / (len(cuts) - 1)
for name, found in {"weighted by rows": total, "plain mean": plain}.items():
    apart = max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(found, whole, strict=True))
    print(f"{name:<18} differs from the gradient of the whole batch by {apart:.0e} of its largest entry")
print(f"stored outputs: whole batch {8 * 1000 * (256 + 256 + 10):,} bytes, one part at most {most:,} bytes")
size = sum(p.nbytes for p in (*net_weights, *net_biases))
print(f"a machine sends {size:,} bytes a step and receives as many, however many rows it has")

# %% [markdown]
# ### Where it breaks
#
# Below, your stack of 64 layers once more, timed on one core: with $s = 1$ all inputs are stored; with $s = \sqrt L$
# there are checkpoints; with $s = L$ there is one segment, which stores everything and still computes everything twice.
# By theory a second forward pass is a third more work. Here `backward` computes its layer's output again in all runs,
# so with $s = L$ a layer takes five matrix products in place of four, a quarter more. But it also takes three tanh in
# place of two. With 64 columns one tanh may cost as much as one product; then the ratio is $8/6$, a third more. The
# cell prints the measured ratio to $s = 1$. Objects and memory cost time, too, and other programs on your machine
# disturb: run the cell twice before you believe a difference of a tenth.
#
# What breaks next? When the weights themselves no longer fit, layers are spread over machines, and $H_l$ and $\delta_l$
# cross the wire in place of gradients (module 17). In half precision the values take half the bytes, but small deltas
# are rounded to 0 (module 14). And in a recurrent network of module 11, "depth" is the length of a text: thousands of
# layers that share one $W$.

# %% tags=["demo"]
weights, biases = initialise([width] * (depth + 1), seed=4)
x = np.random.default_rng(5).standard_normal((demo_size(full=1024, small=32), width))
first = None
with threadpool_limits(limits=1):
    for s in (1, round(math.sqrt(depth)), depth):
        took, alive = [], Alive()
        for attempt in range(4):
            forward, backward, _ = stack(weights, biases, alive if attempt == 0 else None)
            begun = time.perf_counter()
            checkpointed(forward, backward, lambda h: h, x, depth, s)
            took.append(time.perf_counter() - begun)
        first = first or min(took[1:])
        ratio = f"{min(took[1:]) / first:.2f} times s = 1"
        print(f"s = {s:<4}{alive.most:>12,} bytes of outputs{min(took[1:]):>9.3f} s, {ratio}")

# %% [markdown] written="fit_the_batch" points=2
# **Written question (2 points, 20 min).** A network of 96 layers is trained with dropout on one accelerator with 40 GB.
# Weights, gradients and the optimiser's numbers take 12 GB. For a batch of 64 rows, each layer's output takes 0.5 GB,
# and nothing else is stored. A colleague proposes to train with 32 rows, "it is the same in the end". Which ways are
# there to take the *same* step as with 64 rows? For each, say what it stores, what it costs in work, and what must be
# done so that the step is really the same. Which one do you choose here? And with 960 such layers, if their weights
# took no more than the 12 GB?
#
# ### BEGIN SOLUTION
# 96 · 0.5 = 48 GB of outputs, and 28 GB are free. Gradient accumulation: two parts of 32 rows, 24 GB at a time, no more
# work (a little less throughput on small parts). The gradients must be weighted by the rows of each part (equal here,
# so the mean of two), the update comes once, after both, and the random numbers of dropout must be those that the rows
# would have had in the whole batch; they are a different, equally good draw otherwise. Layers that look at the whole
# batch (batch normalisation, module 10) would differ. Checkpoints: s = 10 keeps 10 + 10 arrays of 0.5 GB, 10 GB, for
# about a third more work; dropout must draw the same entries in the second pass, so keep its seeds. Half precision
# halves the outputs (24 GB) but rounds: not the same step. Spreading layers over two machines works, but needs a second
# machine and moves outputs. 32 rows alone: the gradient has twice the variance and the step is another one; it is not
# the same without another learning rate. With 96 layers: accumulation, because it costs no work. With 960 layers even
# one part of 4 rows would store 30 GB and of 3 rows 22.5 GB: parts so small waste the machine; checkpoints with s = 31
# keep about 62 arrays of 0.5 GB, which is 31 GB for 64 rows and too much, but 15.5 GB for parts of 32 rows: take both.
#
# ### RUBRIC
# - 0.5: Gradient accumulation: two parts of 32 rows store 24 GB at a time, and there is no more work.
# - 0.5: A second way with what it stores and costs, such as checkpoints: about 10 GB, and about a third more work.
# - 0.5: What makes the step the same: gradients weighted by the rows of each part, one update, the same dropout.
# - 0.5: A choice for 96 layers and one for 960 that follow from the numbers of bytes.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. Checkpoints inside checkpoints: apply `checkpointed` to the segments, too. How many arrays remain for $L$ layers
#    with $r$ levels, and how many forward passes? Which $r$ is best if the forward pass may be computed $\log L$ times?
#    (Griewank and Walther.)
# 2. A layer $y_1 = x_1 + F(x_2)$, $y_2 = x_2 + G(y_1)$ can be inverted. What must be stored for the way back? What
#    happens to the last digits after 1,000 layers?
# 3. Forward mode multiplies the chain from the input's side. For which functions is it the cheaper one? How do both
#    modes together give the product of the Hessian with a vector, for the price of a few passes?
# 4. In a tanh network with Glorot's variance, the outputs still shrink slowly with the depth. Which power of the depth
#    do you measure, and why is it not exponential?
# 5. relu has no derivative at 0. Does backpropagation always return a subgradient? Look at $\text{relu}(x) -
#    \text{relu}(-x)$ at 0.
#
# References:
#
# - D. E. Rumelhart, G. E. Hinton and R. J. Williams, "Learning representations by back-propagating errors", *Nature*,
#   1986. The paper that made it known, four pages.
# - A. Griewank and A. Walther, *Evaluating Derivatives*, second edition, SIAM, 2008. Everything on modes, costs and
#   checkpoints of automatic differentiation.
# - X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", *AISTATS*,
#   2010. Look at the signals, layer by layer, and then choose the variance.
# - K. He, X. Zhang, S. Ren and J. Sun, "Delving deep into rectifiers", *ICCV*, 2015. The factor 2 of relu.
# - N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever and R. Salakhutdinov, "Dropout: a simple way to prevent neural
#   networks from overfitting", *JMLR*, 2014. Why it works, and what $p$ to take.
# - T. Chen, B. Xu, C. Zhang and C. Guestrin, "Training deep nets with sublinear memory cost", *arXiv:1604.06174*, 2016.
#   Checkpoints at $\sqrt L$, in practice.
# - A. G. Baydin, B. A. Pearlmutter, A. A. Radul and J. M. Siskind, "Automatic differentiation in machine learning: a
#   survey", *JMLR*, 2018. Where the idea was invented, several times.
#
# At work: torch or JAX. Both have checkpoints (`torch.utils.checkpoint`, `jax.checkpoint`) and checks by differences
# (`torch.autograd.gradcheck`).
