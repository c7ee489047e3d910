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
# # 11 · Recurrent networks
#
# **What you will be able to do.** Turn words into vectors that are learnt. Write a network that reads a sequence of any
# length with a fixed number of weights, and its gradient through time. Say why that gradient vanishes or explodes, and
# build the cell that keeps it. Train on sentences of different lengths as if each were alone, and on a text of any
# length in memory that does not grow. At the end two of your networks work: one reads reviews in which "not"
# reverses the meaning, the other writes English one character at a time.
#
# **You need** the chain rule and backpropagation (module 08), cross-entropy (module 03), and the basics of
# `torch.nn.Module`.
#
# **Skills it trains**: sparse data structures, gradients through time, gates, masks, state and its graph, memory that
# stays constant, sampling.
#
# **Time**: five to six hours, three of them in eight exercises and a bug to find. Each exercise says how important it
# is (essential, important, optional), its level, which is also its points, and its minutes. The optional one gives no
# points.
#
# **Symbols of the whole module**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $B$, $T$ | `B`, `T` | | sequences in a batch; positions of a sequence |
# | $N$, $e$ | `N`, `e` | | words (or characters) of the vocabulary ($V$ in modules 03 and 12); numbers of a word's vector |
# | $E$ | `table` | $(N, e)$ | the **embedding**: row $j$ is the vector of word $j$ |
# | $x_t$ | `X[:, t]` | $(B, d)$ | what is read at position $t = 1, \dots, T$ (in code from 0), one row a sequence |
# | $d$, $n$ | `d`, `n` | | numbers that are read at one position; numbers of a state |
# | $h_t$, $h_0$ | `H[:, t]`, `h0` | $(B, n)$ | the state after position $t$; the state at the start |
# | $W$, $U$, $b$ | `W`, `U`, `b` | $(n, d)$, $(n, n)$, $(n,)$ | weights for what is read, for the state before, and the bias |
# | $V$, $v$ | | $(C, n)$, $(C,)$ | weights and bias that make logits of a state, for $C$ classes |
# | $z$, $y$ | `logits`, `targets` | $(B, T, C)$, $(B, T)$ | the logits, and the true classes, 0 to $C - 1$ |
# | $M$ | `mask` | $(B, T)$ | 1 (True) where a position is real, 0 where it is padding |
# | $J$ | | a number | the loss |
# | $s_t$ | `slopes[:, t]` | $(B, n)$ | the derivative of $J$ with respect to $h_t$ alone, the later states held fixed |
# | $\bar h_t = \partial J / \partial h_t$ | | $(B, n)$ | the derivative of $J$ with respect to $h_t$, through all paths |
# | $\delta_t$ | `delta` | $(B, n)$ | the derivative of $J$ with respect to the input of tanh at position $t$ |
# | $\theta$ | | | all parameters together |
# | $i_t, f_t, o_t$ | `i`, `f`, `o` | $(B, n)$ | the **gates** of an LSTM: input, forget, output |
# | $\tilde c_t$, $c_t$ | `g`, `c` | $(B, n)$ | what an LSTM might store, and what it has stored: its **memory** |
# | $\sigma$, $\odot$ | | | the sigmoid $1/(1 + e^{-a})$; multiplication entry by entry |
# | $K$ | `window` | | positions of a window of truncated backpropagation |
# | $\tau$, $k$ | `temperature`, `top_k` | | temperature of sampling; how many words may be drawn |
#
# Other letters, such as $p$, $u$ and $r$, mean something in one section only, and it says what.

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
import re
import weakref
from collections import Counter
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

plotting.use()
torch.set_num_threads(1)  # the steps of a recurrent network are small: a second thread costs more than it helps
checking.start("11_recurrent_networks", total=10)


class Adam:
    """Adam (module 02) for some parameters. `step()` clips their gradients to a norm of 1 in all and moves them."""

    def __init__(self, parameters: Sequence[nn.Parameter], lr: float = 0.01):
        self.parameters, self.lr, self.count = list(parameters), lr, 0
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        self.count += 1
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in self.parameters))
        for p, first, second in zip(self.parameters, self.first, self.second, strict=True):
            gradient = p.grad * min(1.0, 1.0 / (norm + 1e-12))
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient**2 - second)
            size = torch.sqrt(second / (1 - 0.999**self.count)) + 1e-8
            p.data -= self.lr * first / (1 - 0.9**self.count) / size


def same_weights(mine: nn.Module, torchs: nn.Module, layer: str = "l0") -> None:
    """Copy the weights of a layer of torch.nn.LSTM or RNN into a cell with weight_ih, weight_hh, bias_ih, bias_hh."""
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(mine, name).copy_(getattr(torchs, f"{name}_{layer}"))


# %% [markdown]
# ## Derive
#
# ### One network for all lengths
#
# The layers of module 08 take inputs of one size. A sentence has any length. One could cut it or fill it up to 1,000
# words and use a layer for all of them. Then each place has weights of its own, and what is learnt about "not" at
# place 3 says nothing about place 4. A **recurrent network** reads one word after the other with the *same* weights,
# and keeps what it has to remember in a **state**:
#
# $$h_t = \tanh(W x_t + U h_{t-1} + b), \qquad \hat y_t = \operatorname{softmax}(V h_t + v) .$$
#
# Here $x_t$ and $h_t$ are columns, for one sequence. For a batch they are rows, as everywhere in the course:
#
# $$\underbrace{H_t}_{(B,\, n)} = \tanh\big( \underbrace{X_t}_{(B,\, d)} \underbrace{W^\top}_{(d,\, n)} +
# \underbrace{H_{t-1}}_{(B,\, n)} \underbrace{U^\top}_{(n,\, n)} + b \big) .$$
#
# This is how torch stores its weights, too (with two biases, which are added). There are $n d + n^2 + n$ of them,
# whatever $T$ is. A step costs $B n (d + n)$ multiplications, so a sequence costs $T$ times that: linear in its
# length. But the steps cannot run at the same time, since each needs the state before it. The picture draws the
# network **unrolled**: one copy for each position. Read it as a deep network with $T$ layers which share their
# weights, and with an input and an output at each layer. (The dashed arrows are explained in 11.3.) A task may use
# all outputs (the writer of 11.7 predicts at each position) or only the last one (the reader of 11.6 judges a whole
# review).

# %% tags=["demo"]
figure, ax = plt.subplots(figsize=(11, 3.9))
box = {"boxstyle": "round,pad=0.45", "facecolor": plotting.PAPER}
words = ["the", "lid", "is", "not", "bad"]
for t, word in enumerate(words):
    x = 2.2 * t
    ax.text(x, 0, f"“{word}”\n$x_{t + 1}$", ha="center", va="center")
    ax.text(x, 1.6, f"$h_{t + 1}$", ha="center", va="center", bbox=box | {"edgecolor": plotting.COLOURS[0]})
    ax.text(x, 3.1, f"$\\hat y_{t + 1}$", ha="center", va="center")
    line = {"arrowstyle": "-|>", "color": plotting.COLOURS[0], "lw": 1.5}
    ax.annotate("", (x, 1.2), (x, 0.42), arrowprops=line)
    ax.annotate("", (x, 2.8), (x, 2.0), arrowprops=line)
    ax.text(x + 0.1, 0.72, "$W$")
    ax.text(x + 0.1, 2.32, "$V$")
    ax.annotate("", (x - 0.42, 1.7), (x - 1.78, 1.7), arrowprops=line)
    ax.text(x - 1.15, 1.83, "$U$", ha="center")
    back = {"arrowstyle": "-|>", "color": plotting.COLOURS[1], "lw": 1.5, "ls": "--"}
    ax.annotate("", (x - 1.78, 1.42), (x - 0.42, 1.42), arrowprops=back)
    ax.annotate("", (x - 0.18, 2.0), (x - 0.18, 2.8), arrowprops=back)
    ax.text(x - 0.5, 2.32, f"$s_{t + 1}$", color=plotting.COLOURS[1])
    ax.text(x - 1.1, 1.02, f"$\\delta_{t + 1} U$", ha="center", color=plotting.COLOURS[1])
ax.text(-2.2, 1.6, "$h_0$", ha="center", va="center", bbox=box | {"edgecolor": plotting.MUTED})
ax.set(
    xlim=(-2.9, 9.6), ylim=(-0.5, 3.5), title="The same W, U and V at each position; the gradient goes back (dashed)"
)
ax.axis("off")
plt.show()

# %% [markdown]
# The plan follows the picture. How does a word become numbers (11.1)? How does the state run forward (11.2), and the
# gradient backward (11.3)? That gradient is a product of $T$ matrices. So it shrinks or grows exponentially, and the
# cell of 11.4 is built against this. Then: how to read many sentences of different lengths together (11.5), in
# several layers and in both directions (11.6)? How to train on one endless text (11.7), and what goes wrong there
# (11.8)? Finally, how does a network that predicts the next character write (11.9)?
#
# ### Where tutorials disagree
#
# | question | seen elsewhere | here |
# | --- | --- | --- |
# | order of an LSTM's gates | i, f, o, g; f, i, g, o; with c for our g: i, c, f, o | i, f, g, o, as torch |
# | biases of a cell | one, or two that are added | two, as torch, so that weights can be exchanged |
# | last output of a bidirectional net | the outputs at the last position | each direction after it has read *everything* |
# | mean loss of a padded batch | over all positions; the mean of the rows' means | over the real positions, each the same |
# | clipping | each entry alone | all gradients together, by their norm: the direction stays |
# | truncated backpropagation | the state starts anew in each window | the state goes on, the gradient is cut |

# %% [markdown]
# ## Implement
#
# ### 11.1 `embedding` · essential · level 2 of 4 · 15 min
#
# A word is a category, not a number: word 7 is not "more" than word 3. As input of a network it could be **one-hot**, a
# vector of $N$ zeros with a 1 at its place. Multiplied by a matrix $E$ of shape $(N, e)$ this gives
#
# $$\underbrace{(0, \dots, 1, \dots, 0)}_{(N,)} \underbrace{E}_{(N, e)} = \text{row } j \text{ of } E .$$
#
# The product reads $N e$ numbers and uses $e$ of them. So nobody multiplies: one reads row $j$. This is an
# **embedding**, and $E$ is learnt like every other weight.
#
# Its gradient follows from the same picture. With word $j_p$ at place $p$ of the batch, and $s_p$ the derivative of
# $J$ with respect to the vector that was read there,
#
# $$\frac{\partial J}{\partial E_{j,:}} = \sum_{p \,:\, j_p = j} s_p .$$
#
# A row that was not read has gradient 0. A batch of 1,000 places reads at most 1,000 different rows, and the vocabulary
# may have a million. So the gradient is kept **sparse**: which rows, and their sums. A word that stands in three places
# gets three terms. `G[ids] += slopes` in NumPy adds only one of them, because it first computes the right-hand side and
# then writes each row once for each place: what was written last stays.


# %% exercise="embedding" points=2 minutes=15 forbids=["torch"] trains=["sparse data structures"]
def embedding(table: np.ndarray, vocabulary: dict[str, int], tokens: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The ids of some words, and their vectors.

    table: (N, e), N >= 1 and e >= 1, float64 or float32, entries of any size.
    vocabulary: the row of each word, from 0 to N - 1. tokens: a list of T >= 0 words.
    A word that is not in the vocabulary counts as "<unk>"; KeyError where that is not there either.

    Returns (ids, vectors): ids (T,), int64, and vectors (T, e), a new array in the dtype of table,
    with vectors[t] = table[ids[t]]. Leaves its arguments as they are. Not allowed: torch.
    """
    ### BEGIN SOLUTION
    known = [token if token in vocabulary else "<unk>" for token in tokens]
    ids = np.array([vocabulary[token] for token in known], dtype=np.int64)
    return ids, table[ids]
    ### END SOLUTION


def embedding_gradient(ids: np.ndarray, slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gradient for the table, without the rows that no word has read.

    ids: any shape, with one entry or more: integers of any kind, from 0 to 1e12.
    slopes: the shape of ids and one axis more, (..., e), float64 or float32: the derivative of J
      with respect to the vector that was read at each place.

    Returns (rows, sums): rows (r,), int64, the r different ids in ascending order; sums (r, e), a
    new array in the dtype of slopes: sums[j] adds up the slopes of all places that have rows[j].
    Leaves its arguments as they are.
    Besides slopes it takes the memory of a few arrays of that size, or of lists and dictionaries of
    its rows: there is no room for a row for each id up to the largest, nor for a table of all
    places against all rows.
    Not allowed, for both functions: torch.
    """
    ### BEGIN SOLUTION
    rows, places = np.unique(ids, return_inverse=True)
    sums = np.zeros((len(rows), slopes.shape[-1]), dtype=slopes.dtype)
    np.add.at(sums, places.ravel(), slopes.reshape(-1, slopes.shape[-1]))
    return rows.astype(np.int64), sums
    ### END SOLUTION


# %% [markdown] hints="embedding"
# <details><summary>Hint 1: reading</summary>
#
# `vocabulary.get(token)` is None for an unknown word. Collect the ids in a list and make an int64 array of it;
# `table[ids]` reads all rows in one go and makes a new array.
# </details>
# <details><summary>Hint 2: which rows, and where</summary>
#
# `np.unique(ids, return_inverse=True)` gives the different ids, sorted, and for each place the number of its id among
# them. (`.ravel()` makes that one-dimensional.) The ids keep their dtype there, so return
# `rows.astype(np.int64)`.
# </details>
# <details><summary>Hint 3: adding up, repeated words included</summary>
#
# `np.add.at(sums, places, slopes.reshape(-1, e))` adds term by term, also where a place repeats. `sums` has a row for
# each *different* id only: `np.zeros((len(rows), e), dtype=slopes.dtype)`.
# </details>

# %% check="embedding"
with check("embedding", forbids=["torch"]):
    table = np.array([[0.5, 0.25], [1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    vocabulary = {"<unk>": 0, "not": 1, "bad": 2}
    with expect_unchanged(table=table):
        ids, vectors = embedding(table, vocabulary, ["bad", "weather", "not", "bad"])
    expect_close(ids, [2, 0, 1, 2], hint="'weather' is not in the vocabulary, so it has the row of '<unk>'")
    expect_dtype(ids, np.int64)
    expect_close(vectors, [[3.0, 4.0], [0.5, 0.25], [1.0, 2.0], [3.0, 4.0]])
    expect_dtype(vectors, np.float32)
    expect_shape(embedding(table, vocabulary, [])[1], (0, 2))
    with expect_raises(KeyError, hint="there is no '<unk>' to stand for it"):
        embedding(table, {"not": 1}, ["bad"])
    ids = np.array([[7, 2], [7, 10**12]])  # 7 stands in two places
    slopes = np.array([[[1.0, 2.0], [4.0, 8.0]], [[16.0, 32.0], [64.0, 128.0]]])
    with expect_unchanged(ids=ids, slopes=slopes):
        rows, sums = embedding_gradient(ids, slopes)
    expect_close(rows, [2, 7, 10**12], hint="each id once, in ascending order")
    expect_close(
        sums,
        [[4.0, 8.0], [17.0, 34.0], [64.0, 128.0]],  # row 7: 1 + 16 and 2 + 32
        mistakes={
            "Only the last place of a word counts here: add up all of them.": [[4, 8], [16, 32], [64, 128]],
            "The gradient is the sum over the places, not their mean.": [[4, 8], [8.5, 17], [64, 128]],
        },
    )
    expect_dtype(embedding_gradient(ids, slopes.astype(np.float32))[1], np.float32)
    expect_dtype(embedding_gradient(ids[:, 0].astype(np.uint8), slopes[:, 0])[0], np.int64)

# %% [markdown]
# How sparse is it? Words are used very unevenly: the $r$-th commonest word of a text comes about $1/r$ as often as
# the first (**Zipf's law**). The picture counts the words of Python's own help texts. Left: how often each comes,
# against its rank. Right: your function is given batches of the text, and the bytes of its gradient stand beside
# those of a dense one, which has a row for each word of the vocabulary. With float32 and int64 a row takes $4e + 8$
# bytes.

# %% tags=["demo"]
help_words = re.findall("[a-z]+", datasets.python_help().text.lower())
counted = Counter(help_words).most_common()
help_vocabulary = {"<unk>": 0} | {word: j + 1 for j, (word, _) in enumerate(counted)}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
counts = np.array([count for _, count in counted])
ranks = np.arange(1, len(counts) + 1)
part = (ranks >= 5) & (ranks <= 500)
slope, start = np.polyfit(np.log(ranks[part]), np.log(counts[part]), 1)
left.loglog(ranks, counts, label="words of Python's help")
left.loglog(ranks, np.exp(start) * ranks**slope, "--", label=f"fit: slope {slope:.2f}")
left.set(xlabel="rank", ylabel="how often", title="Few words come often, most are rare")
left.legend()
table = np.random.default_rng(0).standard_normal((len(help_vocabulary), 64)).astype(np.float32)
batches, sizes = [10, 30, 100, 300, 1000, 3000, 10_000, 30_000], []
for places in batches:
    ids, vectors = embedding(table, help_vocabulary, help_words[:places])
    rows, sums = embedding_gradient(ids, vectors)
    sizes.append(rows.nbytes + sums.nbytes)
right.loglog(batches, sizes, marker="o", label="your sparse gradient")
right.loglog(batches, [table.nbytes] * len(batches), "--", label="dense: a row for each word")
right.loglog(batches, [places * (4 * 64 + 8) for places in batches], ":", label="if no word came twice")
right.set(xlabel="words in the batch", ylabel="bytes", title="The gradient has only the rows that were read")
right.legend()
plt.show()
print(f"{len(help_words):,} words, {len(counted):,} different ones; the commonest: {counted[0][0]!r}")

# %% [markdown]
# The sparse gradient follows the dotted line at first and stays below it, because words repeat. When a model is
# trained on many machines, these are the bytes that are sent (module 17). For recommendation (module 19) the "words"
# are millions of users and items, and a dense gradient would not fit into memory.
#
# A word that does not occur in the training text has no vector. So in practice the rarest words of the training text
# are read as `<unk>`, too: then its vector is learnt.
#
# ### 11.2 `rnn_forward` · essential · level 2 of 4 · 10 min
#
# Now the state. One step takes what is read at one position and the state before it. The forward pass is a loop over
# the positions, and it keeps all states, because the backward pass needs them.


# %% exercise="rnn_forward" points=2 minutes=10 forbids=["torch"] trains=["gradients through time"]
def rnn_step(x: np.ndarray, h: np.ndarray, W: np.ndarray, U: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One step of a recurrent network: tanh(x W^T + h U^T + b).

    x: (B, d), B >= 1 and d >= 1. h: (B, n), the state before. W: (n, d). U: (n, n). b: (n,). All
    are float64, or all are float32; no product overflows.
    Returns the new state, a new array (B, n) in the dtype of x. Leaves its arguments as they are.
    """
    ### BEGIN SOLUTION
    return np.tanh(x @ W.T + h @ U.T + b)
    ### END SOLUTION


def rnn_forward(X: np.ndarray, h0: np.ndarray, W: np.ndarray, U: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The states of a recurrent network at all positions.

    X: (B, T, d), each >= 1. h0: (B, n). W, U, b: as for `rnn_step`. All are float64, or all are
    float32; no product overflows.
    Returns H, a new array (B, T, n) in the dtype of X: H[:, 0] is the step from h0 with X[:, 0],
    and H[:, t] the step from H[:, t - 1] with X[:, t]. Leaves its arguments as they are.
    Not allowed, for both functions: torch.
    """
    ### BEGIN SOLUTION
    H, h = np.empty((*X.shape[:2], len(U)), dtype=X.dtype), h0
    for t in range(X.shape[1]):
        h = rnn_step(X[:, t], h, W, U, b)
        H[:, t] = h
    return H
    ### END SOLUTION


# %% [markdown] hints="rnn_forward"
# <details><summary>Hint 1: shapes</summary>
#
# `X[:, t]` has shape (B, d). W has shape (n, d), so what is read needs `W.T` on its right, and the state needs `U.T`.
# </details>
# <details><summary>Hint 2: the loop</summary>
#
# Keep the current state in a variable that starts as `h0`. In each step replace it, and write it to `H[:, t]`. Make H
# with
# `np.empty((B, T, n), dtype=X.dtype)`.
# </details>

# %% check="rnn_forward"
with check("rnn_forward", forbids=["torch"]):
    x, h, W = np.array([[1.0]]), np.array([[0.5, -0.5]]), np.array([[1.0], [2.0]])
    U, b = np.array([[0.0, 1.0], [3.0, 0.0]]), np.array([0.5, 0.0])
    # before tanh: 1 · 1 + 1 · (-0.5) + 0.5 = 1 and 2 · 1 + 3 · 0.5 + 0 = 3.5
    expect_close(
        rnn_step(x, h, W, U, b),
        np.tanh([[1.0, 3.5]]),
        mistakes={
            "U stands the wrong way round: the product is h U^T.": np.tanh([[0.0, 2.5]]),
            "The bias is missing.": np.tanh([[0.5, 3.5]]),
            "The tanh is missing.": [[1.0, 3.5]],
            "The state before is missing.": np.tanh([[1.5, 2.0]]),
        },
    )
    X = np.array([[[1.0], [0.0], [-1.0]], [[2.0], [1.0], [0.5]]])  # B = 2, T = 3, d = 1
    h0 = np.array([[0.5, -0.5], [0.25, 1.0]])
    with expect_unchanged(X=X, h0=h0, W=W, U=U, b=b):
        H = rnn_forward(X, h0, W, U, b)
    expect_shape(H, (2, 3, 2), hint="rows, positions, units")
    first = np.tanh(X[:, 0] @ W.T + h0 @ U.T + b)
    expect_close(H[:, 0], first, hint="the first step starts from h0")
    second = np.tanh(X[:, 1] @ W.T + first @ U.T + b)
    expect_close(H[:, 1], second, mistakes={"Each step starts from h0.": np.tanh(X[:, 1] @ W.T + h0 @ U.T + b)})
    expect_close(H[:, 2], np.tanh(X[:, 2] @ W.T + second @ U.T + b))
    expect_dtype(rnn_forward(*(array.astype(np.float32) for array in (X, h0, W, U, b))), np.float32)

# %% [markdown]
# What can a state remember? Here two networks with one unit and hand-made weights read the same input: a pulse at
# position 5, and one of the other sign at position 25. With $U = 0.5$ the state forgets in a few steps. With $U = 3$
# it is a switch: it stays where the pulse put it, until the other pulse comes. A network has to find such weights by
# training. Is there a gradient that leads there?

# %% tags=["demo"]
pulse = np.zeros((1, 40, 1))
pulse[0, 5], pulse[0, 25] = 2.0, -2.0
lines = {}
for weight, says in ((0.5, "forgets"), (3.0, "remembers")):
    states = rnn_forward(pulse, np.zeros((1, 1)), np.full((1, 1), 4.0), np.full((1, 1), weight), np.zeros(1))
    lines[f"U = {weight:g}: {says}"] = states[0, :, 0]
lines["input / 2"] = pulse[0, :, 0] / 2
plotting.curves(lines, xlabel="position", ylabel="state", title="One unit: a trace that fades, or a switch")
plt.show()

# %% [markdown]
# ### 11.3 `rnn_backward` · essential · level 4 of 4 · 35 min
#
# The unrolled network is a deep one, so its gradient goes backward through all positions: **backpropagation through
# time**. From here on $x_t$, $h_t$ and $\delta_t$ stand for the rows of a batch, as in the code. Two things are new.
#
# **A state acts in two ways**: on the output at its own position, and on the next state. Both derivatives are added.
# With $s_t$ for the first path, and $\delta_{t+1}$ for the input of the next tanh,
#
# $$\bar h_t = \underbrace{s_t}_{(B, n)} + \underbrace{\delta_{t+1}}_{(B, n)} \underbrace{U}_{(n, n)}, \qquad
# \delta_t = \bar h_t \odot (1 - h_t^2), \qquad \delta_{T+1} = 0 .$$
#
# The product is $\delta U$, not $\delta U^\top$: forward, entry $j$ of $h_t$ went into entry $i$ of the next input
# with the factor $U_{ij}$, so backward we sum over $i$. The slope of tanh is $1 - h_t^2$, as in module 08.
#
# **A weight is used at each position**, so its gradient is the sum of what each position gives:
#
# $$\frac{\partial J}{\partial W} = \sum_{t} \underbrace{\delta_t^\top}_{(n, B)} \underbrace{x_t}_{(B, d)}, \qquad
# \frac{\partial J}{\partial U} = \sum_t \underbrace{\delta_t^\top}_{(n, B)} \underbrace{h_{t-1}}_{(B, n)}, \qquad
# \frac{\partial J}{\partial b} = \sum_t \sum_{\text{rows}} \delta_t ,$$
#
# $$\frac{\partial J}{\partial x_t} = \delta_t W, \qquad \frac{\partial J}{\partial h_0} = \delta_1 U .$$
#
# One loop from $T$ to 1 does it all. It carries one array $(B, n)$, and takes about twice as many multiplications as
# the forward pass.
#
# **What the product of Jacobians does.** From one position to an earlier one the gradient is multiplied by $U$ and by
# slopes of at most 1, once for each step. So in each step its length is multiplied by at most $\|U\|$, the largest
# singular value. This bounds each single step. Over many steps, as long as the slopes are near 1, the largest
# eigenvalue of $U$ (in size), $\rho$, decides, since $\|U^r\|^{1/r} \to \rho$ for many steps $r$. If $\rho < 1$, the
# gradient **vanishes** exponentially, like $\rho^r$. If $\rho > 1$, it **explodes**: one step of training may throw
# the weights away.
#
# There is a trap in it. The switch of 11.2 had $U = 3$, so one expects explosion. But it remembers because it is
# saturated: at $h = 0.995$ the slope is $1 - h^2 \approx 0.01$, and the factor of a step is $3 \cdot 0.01 = 0.03$.
# *Where a plain network keeps something safely, its gradient vanishes.* This was shown in 1994, and it is why the
# cell of 11.4 was built.
#
# Against explosion one **clips**: with $\theta$ all parameters together, and a limit $\ell$,
#
# $$\text{gradient} \leftarrow \text{gradient} \cdot \min\Big(1, \frac{\ell}{\|\text{gradient}\|}\Big), \qquad
# \|\text{gradient}\|^2 = \sum_{\text{all entries of all arrays}} (\dots)^2 .$$
#
# The direction stays, only the length is limited. Clipping each array by itself, or each entry, would turn the
# gradient. An exploded gradient may be so large that its square overflows in float32 although it itself does not
# ($10^{20}$ is enough). So the norm is computed in float64. (torch divides by the norm plus $10^{-6}$; we do not.)


# %% exercise="rnn_backward" points=4 minutes=35 forbids=["torch"] trains=["gradients through time"]
def rnn_backward(
    X: np.ndarray, h0: np.ndarray, W: np.ndarray, U: np.ndarray, H: np.ndarray, slopes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The gradients of a loss J that depends on the states of `rnn_forward`.

    X: (B, T, d), each >= 1. h0: (B, n). W: (n, d). U: (n, n), as in the forward pass.
    H: (B, T, n), the states that it returned. slopes: (B, T, n), the derivative of J with respect
    to each state alone, the later states held fixed. All are float64, or all are float32; no
    product overflows.

    Returns the derivatives of J with respect to X, h0, W, U and b, in this order: five new arrays
    in the shapes of these and in the dtype of X. They are sums over rows and positions, divided by
    nothing.
    Leaves its arguments as they are. Not allowed: torch.
    Time grows linearly with T. Besides arguments and results, it takes the memory of a few arrays
    of the size of H: there is no room for a matrix (n, n) for each row or position.
    """
    ### BEGIN SOLUTION
    grad_X, grad_W, grad_U = np.empty_like(X), np.zeros_like(W), np.zeros_like(U)
    grad_b, later = np.zeros(len(U), dtype=X.dtype), np.zeros_like(h0)
    for t in reversed(range(X.shape[1])):
        delta = (slopes[:, t] + later) * (1 - H[:, t] ** 2)
        grad_X[:, t] = delta @ W
        grad_W += delta.T @ X[:, t]
        grad_U += delta.T @ (H[:, t - 1] if t > 0 else h0)
        grad_b += delta.sum(axis=0)
        later = delta @ U
    return grad_X, later, grad_W, grad_U, grad_b
    ### END SOLUTION


def clip_by_norm(gradients: Sequence[np.ndarray], limit: float) -> tuple[list[np.ndarray], float]:
    """Gradients, shortened together where they are longer than a limit.

    gradients: one array or more, with one axis or more each, in any layout, float64 or float32,
      entries 0 or from 1e-30 to 1e30 in size. limit: a float, from 1e-12 to 1e12.
    Returns (clipped, norm): norm is the root of the sum of the squares of all entries of all
    arrays, before clipping, a Python float. clipped is a list of new arrays of the same shapes and
    dtypes: each times limit / norm where norm > limit, the same numbers otherwise.
    The relative error of each number is at most 1e-10 in float64, and 1e-5 in float32 (where the
    result is not below 1e-38). Leaves its arguments as they are. Not allowed: torch.
    """
    ### BEGIN SOLUTION
    wide = [np.array(g, dtype=np.float64) for g in gradients]
    norm = math.sqrt(sum(float(np.sum(g * g)) for g in wide))
    factor = limit / norm if norm > limit else 1.0
    return [(g * factor).astype(old.dtype) for g, old in zip(wide, gradients)], norm  # noqa: B905
    ### END SOLUTION


# %% [markdown] hints="rnn_backward"
# <details><summary>Hint 1: what the loop carries</summary>
#
# Go through the positions from the last to the first. Carry one array (B, n): what comes back through the next state,
# `delta @ U`. Before the loop it is zero.
# </details>
# <details><summary>Hint 2: one position</summary>
#
# `delta = (slopes[:, t] + later) * (1 - H[:, t] ** 2)`. From delta come four things: `delta @ W` for X,
# `delta.T @ X[:, t]` for W, `delta.T @` *the state before* for U, `delta.sum(axis=0)` for b.
# </details>
# <details><summary>Hint 3: the ends</summary>
#
# The state before position 0 is h0 (`H[:, -1]` would be the last one). After the loop, `later` is the gradient for h0.
# For clipping: `float(np.sum(g.astype(np.float64) ** 2))` for each array, add them up, one root at the end. Multiply in
# float64, too, and go back to the dtype at the end.
# </details>

# %% check="rnn_backward"
with check("rnn_backward", forbids=["torch"]):
    # B = 1, T = 2, one unit. H is what you are given, so choose h_1 = 0.5 and h_2 = -0.5; the slopes are 0.25 and 2
    X, h0 = np.array([[[2.0], [3.0]]]), np.array([[5.0]])
    W, U, H = np.array([[7.0]]), np.array([[0.5]]), np.array([[[0.5], [-0.5]]])
    with expect_unchanged(X=X, h0=h0, W=W, U=U, H=H):
        found = rnn_backward(X, h0, W, U, H, np.array([[[0.25], [2.0]]]))
    # delta_2 = 2 (1 - 0.25) = 1.5; delta_1 = (0.25 + 1.5 · 0.5) (1 - 0.25) = 0.75
    expect_close(len(found), 5, hint="return the gradients for X, h0, W, U and b")
    expect_close(found[0], [[[5.25], [10.5]]], hint="for X: delta W, 0.75 · 7 and 1.5 · 7")
    expect_close(
        found[2],
        [[6.0]],  # 0.75 · 2 + 1.5 · 3
        hint="for W",
        mistakes={
            "What comes back through the next state is missing.": [[0.25 * 0.75 * 2 + 1.5 * 3]],
            "The slope of tanh, 1 - h^2, is missing.": [[1.25 * 2 + 2 * 3]],
            "Add up over the positions: this is what the first one gives.": [[1.5]],
        },
    )
    expect_close(
        found[3],
        [[4.5]],  # 0.75 · h_0 + 1.5 · h_1 = 0.75 · 5 + 1.5 · 0.5
        hint="for U",
        mistakes={
            "U meets the state *before* each position.": [[0.75 * 0.5 - 1.5 * 0.5]],
            "The state before the first position is h0, not the last state.": [[-0.75 * 0.5 + 1.5 * 0.5]],
        },
    )
    expect_close([found[1].item(), found[4].item()], [0.375, 2.25], hint="for h0: delta_1 U; for b: the sum of delta")
    draw = np.random.default_rng(2)
    X, h0, W, U = (draw.standard_normal(shape) / 2 for shape in ((3, 4, 2), (3, 5), (5, 2), (5, 5)))
    b, slopes, states, h = draw.standard_normal(5), draw.standard_normal((3, 4, 5)), [], h0
    for t in range(4):  # computed here, so that nothing depends on your rnn_forward
        h = np.tanh(X[:, t] @ W.T + h @ U.T + b)
        states.append(h)
    found = rnn_backward(X, h0, W, U, np.stack(states, axis=1), slopes)
    tensors = [torch.tensor(array, requires_grad=True) for array in (X, h0, W, U, b)]
    peer, h = 0.0, tensors[1]
    for t in range(4):
        h = torch.tanh(tensors[0][:, t] @ tensors[2].T + h @ tensors[3].T + tensors[4])
        peer = peer + (h * torch.tensor(slopes[:, t])).sum()
    for name, mine, theirs in zip(["X", "h0", "W", "U", "b"], found, torch.autograd.grad(peer, tensors), strict=True):
        expect_close(mine, theirs, rtol=1e-9, atol=1e-12, hint=f"the gradient for {name}")
    single = [array.astype(np.float32) for array in (X, h0, W, U, np.stack(states, axis=1), slopes)]
    expect_dtype(rnn_backward(*single)[4], np.float32)

    parts = [np.array([[3.0, 0.0]]), np.array([4.0])]  # 3^2 + 4^2 = 5^2
    with expect_unchanged(parts=parts):
        clipped, norm = clip_by_norm(parts, 1.0)
    expect_close(norm, 5.0, hint="the norm of all arrays together")
    expect_close(
        clipped,
        [np.array([[0.6, 0.0]]), np.array([0.8])],
        mistakes={"Clip all arrays together, by one factor.": [np.array([[1.0, 0.0]]), np.array([1.0])]},
    )
    expect_close(clip_by_norm(parts, 10.0)[0], parts, hint="what is short enough stays as it is")
    expect_close(
        clip_by_norm([np.array([3e-6, 4e-6])], 1e-6)[0][0],
        [6e-7, 8e-7],
        atol=0.0,
        mistakes={"Divide by the norm alone; torch adds 1e-6 to it.": [5e-7, 4e-6 / 6]},
    )
    large = clip_by_norm([np.array([3e25, 4e25], dtype=np.float32)], 5.0)
    expect_close(large[0][0], [3.0, 4.0], hint="its squares overflow in float32: take the norm in float64")
    expect_dtype(large[0][0], np.float32)

# %% [markdown]
# Your function shows what the derivation predicts. Random networks of 64 units read random input, and the loss looks
# at the last state only. The curves are the lengths of the gradient for the input at each position, against the
# distance from the end. $U$ is scaled so that its largest eigenvalue has the size $\rho$ in the legend. On the log axis
# the curves are straight on the whole (complex eigenvalues make them wiggle): the gradient shrinks or grows
# exponentially.
#
# The right-hand picture trains a network of 32 units whose $U$ has an eigenvalue of size 1.5 at the start. At the end
# it must output the first of 20 numbers, each uniform from -1 to 1, so the best constant has the loss 1/3 (grey). The
# start, the data and the rate are the same with clipping and without it: a few exploded gradients are enough to throw
# away what was learnt.
#
# The line below the pictures is the trap: the switch still holds the pulse at the end, and no gradient arrives there.

# %% tags=["demo"]
draw = np.random.default_rng(0)
d, n, T = 4, 64, 60
random_U = draw.standard_normal((n, n))
random_U /= np.abs(np.linalg.eigvals(random_U)).max()
W, b = draw.standard_normal((n, d)) / 20, np.zeros(n)
X, h0, slopes = draw.standard_normal((1, T, d)) / 20, np.zeros((1, n)), np.zeros((1, T, n))
slopes[0, -1] = draw.standard_normal(n)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
lines = {}
for radius in (0.6, 0.9, 1.0, 1.1):
    U = radius * random_U
    found = rnn_backward(X, h0, W, U, rnn_forward(X, h0, W, U, b), slopes)
    size = np.linalg.norm(found[0][0], axis=1)[::-1]
    rate = np.exp(np.polyfit(np.arange(10, T), np.log(size[10:]), 1)[0])
    lines[f"$\\rho = {radius:g}$: {rate:.2f} a step"] = size
plotting.curves(
    lines,
    xlabel="steps back in time",
    ylabel="length of the gradient",
    title="Exponentially: straight lines",
    logy=True,
    ax=left,
)


def repeats_the_first(limit: float, steps: int, T: int = 20, n: int = 32, lr: float = 0.3) -> list[float]:
    """The losses of a network whose first unit is to end at the first number; gradients are clipped to `limit`."""
    draw = np.random.default_rng(0)
    U = draw.standard_normal((n, n))
    U *= 1.5 / np.abs(np.linalg.eigvals(U)).max()
    W, b, h0, found = draw.standard_normal((n, 1)), np.zeros(n), np.zeros((32, n)), []
    for _ in range(steps):
        X = draw.uniform(-1, 1, (32, T, 1))
        H = rnn_forward(X, h0, W, U, b)
        miss, slopes = H[:, -1, 0] - X[:, 0, 0], np.zeros_like(H)
        slopes[:, -1, 0] = 2 * miss / 32
        clipped, _ = clip_by_norm(rnn_backward(X, h0, W, U, H, slopes)[2:], limit)
        W, U, b = (part - lr * gradient for part, gradient in zip((W, U, b), clipped, strict=True))
        found.append(float(np.mean(miss**2)))
    return found


steps, lines = demo_size(full=300, small=60), {}
for limit, says in ((1e12, "not clipped"), (0.5, "clipped to norm 0.5")):
    lines[says] = np.convolve(repeats_the_first(limit, steps), np.ones(10) / 10, "valid")
plotting.curves(lines, xlabel="step", ylabel="loss (mean of 10)", title="Does clipping keep what was learnt?", ax=right)
right.axhline(1 / 3, color=plotting.MUTED, linewidth=0.8)
plotting.legend_below(right)
plt.show()
switch = [np.full((1, 1), 4.0), np.full((1, 1), 3.0)]
kept = rnn_forward(pulse[:, :20], np.zeros((1, 1)), *switch, np.zeros(1))
last = np.zeros_like(kept)
last[0, -1] = 1.0
found = rnn_backward(pulse[:, :20], np.zeros((1, 1)), *switch, kept, last)
print(f"the switch of 11.2: state {kept[0, -1, 0]:.3f} after the pulse; gradient for the pulse {found[0][0, 5, 0]:.0e}")

# %% [markdown]
# Clipping cannot repair the other side. The gradient of a weight adds up all positions. What comes from far back is a
# tiny part of the sum, and no factor changes its share. What could keep it alive over 60 steps, other than an
# eigenvalue of exactly 1?
#
# ### 11.4 `LSTMCell` · essential · level 3 of 4 · 25 min
#
# The gradient is multiplied by a matrix at each step because the state is *computed anew* at each step. The **long
# short-term memory** (LSTM) keeps a second state $c_t$, its memory, to which it only *adds*:
#
# $$c_t = f_t \odot c_{t-1} + i_t \odot \tilde c_t, \qquad h_t = o_t \odot \tanh(c_t) .$$
#
# The three **gates** are numbers from 0 to 1: $f_t$ says how much of the memory is kept, $i_t$ how much of the new
# candidate $\tilde c_t$ is stored, $o_t$ how much of the memory is shown. Gates and candidate are computed as in a
# plain network, from what is read and from $h_{t-1}$:
#
# $$\begin{pmatrix} a_i \\ a_f \\ a_g \\ a_o \end{pmatrix} = \underbrace{W}_{(4n,\, d)} x_t + \underbrace{U}_{(4n,\, n)} h_{t-1}
# + b, \qquad i = \sigma(a_i), \quad f = \sigma(a_f), \quad \tilde c = \tanh(a_g), \quad o = \sigma(a_o) .$$
#
# One product makes all four, and then the $4n$ columns are cut into four parts. Their order is a convention. Here it
# is i, f, g, o, as in torch, and we also keep torch's two biases `bias_ih` and `bias_hh`, which are added. So weights
# can be carried from one to the other.
#
# **Why it helps.** Along the memory the derivative is $\partial c_t / \partial c_{t-1} = f_t$ (there is a second
# path, through $h$). No matrix stands there. With $f_t = 1$ the gradient passes unchanged, over any distance, and the
# network learns *when* to forget. (The cell of 1997 had no forget gate, $f_t = 1$ always; it was added in 2000.) At
# the start of training $f_t$ should not be small: with $\sigma(0) = 1/2$ the memory halves in each step. The usual
# start for the part of the bias that belongs to $f$ is 1, with $\sigma(1) \approx 0.73$; all other biases start at 0.
# The pictures below show whether that is enough.
#
# **A smaller cousin.** The gated recurrent unit (GRU) has one state and two gates, $u_t$ and $r_t$, each a sigmoid of
# $x_t$ and $h_{t-1}$ as above:
#
# $$h_t = (1 - u_t) \odot \tilde h_t + u_t \odot h_{t-1}, \qquad
# \tilde h_t = \tanh\big(W x_t + r_t \odot (U h_{t-1}) + b\big) .$$
#
# Again something is kept and something added, with three quarters of the weights.


# %% exercise="LSTMCell" points=3 minutes=25 forbids=["torch.nn.LSTM", "torch.nn.LSTMCell", "torch.nn.RNN", "torch.nn.RNNCell", "torch.nn.RNNBase", "torch.nn.RNNCellBase", "torch.nn.GRU", "torch.nn.GRUCell", "torch.nn.modules.rnn", "torch.lstm", "torch.lstm_cell", "torch.ops"] trains=["gates"]
class LSTMCell(nn.Module):
    """One step of a long short-term memory.

    LSTMCell(d, n), with d >= 1 and n >= 1. Its state_dict holds four parameters, float32:
      weight_ih (4 n, d) and weight_hh (4 n, n), drawn by torch uniformly from -1 / sqrt(n) to
      1 / sqrt(n); bias_ih (4 n,), zeros, but ones in rows n to 2 n; bias_hh (4 n,), zeros.
    The rows are those of i, f, g, o, n each, in this order.

    Calling it with x, (B, d), B >= 1, and state, a tuple (h, c) of (B, n) each, or None (zeros),
    returns a tuple (h, c) of new tensors (B, n) in the dtype of x:
      a = x weight_ih^T + bias_ih + h weight_hh^T + bias_hh, cut into a_i, a_f, a_g, a_o of (B, n);
      c = sigmoid(a_f) * (c of before) + sigmoid(a_i) * tanh(a_g);
      h = sigmoid(a_o) * tanh(c).
    x, the state and the parameters are float32, or float64 after `.double()`; no product overflows.
    Gradients flow to x, to the state and to the parameters. h, c and the gradients are right, and
    finite, for entries of a up to 1e4 in size.
    Leaves x and state as they are.
    Not allowed: torch.nn.LSTM, torch.nn.LSTMCell, torch.nn.RNN, torch.nn.RNNCell, torch.nn.RNNBase,
    torch.nn.RNNCellBase, torch.nn.GRU, torch.nn.GRUCell, torch.nn.modules.rnn, torch.lstm,
    torch.lstm_cell, torch.ops.
    """

    def __init__(self, d: int, n: int):
        super().__init__()
        ### BEGIN SOLUTION
        bound = 1 / math.sqrt(n)
        self.weight_ih = nn.Parameter(torch.empty(4 * n, d).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(4 * n, n).uniform_(-bound, bound))
        self.bias_ih = nn.Parameter(torch.zeros(4 * n))
        self.bias_hh = nn.Parameter(torch.zeros(4 * n))
        self.bias_ih.data[n : 2 * n] = 1
        ### END SOLUTION

    def forward(
        self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ### BEGIN SOLUTION
        n = self.weight_hh.shape[1]
        h, c = (x.new_zeros(len(x), n), x.new_zeros(len(x), n)) if state is None else state
        a = x @ self.weight_ih.T + self.bias_ih + h @ self.weight_hh.T + self.bias_hh
        i, f, g, o = a.chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
        ### END SOLUTION


# %% [markdown] hints="LSTMCell"
# <details><summary>Hint 1: the parameters</summary>
#
# `nn.Parameter(torch.empty(4 * n, d).uniform_(-bound, bound))` with `bound = 1 / math.sqrt(n)`. For the ones in the
# bias: `self.bias_ih.data[n : 2 * n] = 1`.
# </details>
# <details><summary>Hint 2: one product, four parts</summary>
#
# Compute a of shape (B, 4 n), then `i, f, g, o = a.chunk(4, dim=1)`. Three of them get `torch.sigmoid`, g gets
# `torch.tanh`. (`1 / (1 + torch.exp(-a))` overflows, and then its gradient is nan.)
# </details>
# <details><summary>Hint 3: the new state</summary>
#
# First c, from f times the old c, plus i times the candidate. Then h from the *new* c. Write nothing in place: `c =
# ...`, not `c *= ...`, or you change the state that you were given.
# </details>

# %% check="LSTMCell"
with check(
    "LSTMCell",
    forbids=[
        "torch.nn.LSTM",
        "torch.nn.LSTMCell",
        "torch.nn.RNN",
        "torch.nn.RNNCell",
        "torch.nn.RNNBase",
        "torch.nn.RNNCellBase",
        "torch.nn.GRU",
        "torch.nn.GRUCell",
        "torch.nn.modules.rnn",
        "torch.lstm",
        "torch.lstm_cell",
        "torch.ops",
    ],
):
    cell = LSTMCell(2, 3)
    shapes = {key: tuple(value.shape) for key, value in cell.state_dict().items()}
    wanted = {"weight_ih": (12, 2), "weight_hh": (12, 3), "bias_ih": (12,), "bias_hh": (12,)}
    assert shapes == wanted, f"the state is {shapes}; it should be {wanted}"
    expect_close(cell.bias_ih.detach(), [0] * 3 + [1] * 3 + [0] * 6, hint="ones for the forget gate, rows n to 2 n")
    expect_close(cell.bias_hh.detach(), np.zeros(12))
    reach = 1 / math.sqrt(3)
    assert 0 < float(cell.weight_hh.detach().abs().max()) <= reach + 1e-6, "weights lie from -1/sqrt(n) to 1/sqrt(n)"
    cell = LSTMCell(1, 1).double()
    with torch.no_grad():
        for name, numbers in (("weight_ih", [1, 2, 3, 4]), ("weight_hh", [0.5, -1, 1, 2])):
            getattr(cell, name).copy_(torch.tensor(numbers)[:, None])
        cell.bias_ih.copy_(torch.tensor([0.0, 0.5, 0.0, -1.0]))
        cell.bias_hh.copy_(torch.tensor([0.25, 0.0, 0.0, 0.0]))
    x, h, c = (torch.tensor([[value]], dtype=torch.float64) for value in (0.5, -0.5, 2.0))
    with expect_unchanged(x=x, h=h, c=c):
        new_h, new_c = cell(x, (h, c))

    def sigmoid_of(a):
        return 1 / (1 + np.exp(-a))

    # a = (0.5 - 0.25 + 0.25, 1 + 0.5 + 0.5, 1.5 - 0.5, 2 - 1 - 1) = (0.5, 2, 1, 0)
    stored = sigmoid_of(2) * 2 + sigmoid_of(0.5) * np.tanh(1)
    expect_close(
        new_c.item(),
        stored,
        mistakes={
            "The order of the rows is i, f, g, o; this is f, i, g, o.": sigmoid_of(0.5) * 2
            + sigmoid_of(2) * np.tanh(1),
            "The order of the rows is i, f, g, o; this is i, f, o, g.": sigmoid_of(2) * 2
            + sigmoid_of(0.5) * np.tanh(0),
            "The candidate g goes through tanh.": sigmoid_of(2) * 2 + sigmoid_of(0.5) * sigmoid_of(1),
            "Both biases are added.": sigmoid_of(2) * 2 + sigmoid_of(0.25) * np.tanh(1),
        },
    )
    expect_close(
        new_h.item(),
        0.5 * np.tanh(stored),
        mistakes={
            "h shows the new memory through tanh.": 0.5 * stored,
            "h shows the new memory, not the old one.": 0.5 * np.tanh(2.0),
        },
    )
    at_zero = cell(x)  # a = (0.75, 1.5, 1.5, 1) without the state
    expect_close(at_zero[1].item(), sigmoid_of(0.75) * np.tanh(1.5), hint="without a state, h and c are zeros")
    torch.manual_seed(0)
    cell, peer, grads = LSTMCell(3, 4), nn.LSTMCell(3, 4), []
    peer.load_state_dict(cell.state_dict())
    x, h, c = torch.randn(5, 3), torch.randn(5, 4), torch.randn(5, 4)
    for mine, theirs in zip(cell(x, (h, c)), peer(x, (h, c)), strict=True):
        expect_close(mine.detach(), theirs.detach(), rtol=1e-4, atol=1e-6, hint="torch.nn.LSTMCell with your weights")
    for net in (cell, peer):
        leaves = [part.clone().requires_grad_() for part in (x, h, c)]
        sum(part.square().sum() for part in net(leaves[0], tuple(leaves[1:]))).backward()
        grads.append([part.grad for part in leaves])
    for mine, theirs in zip(*grads, strict=True):
        assert mine is not None, "gradients flow to x, to h and to c: detach nothing"
        expect_close(mine, theirs, rtol=1e-3, atol=1e-5, hint="the gradients for x, h and c")
    cell.bias_hh.data -= 1e3  # all gates shut
    cell.zero_grad()
    cell(x)[0].sum().backward()
    expect_close(cell.bias_hh.grad, np.zeros(16), atol=1e-30, hint="a shut gate has gradient 0, not nan")

# %% [markdown]
# Does the memory keep the gradient alive? The picture repeats the one of 11.3 with new cells of 32 units that read
# 100 random inputs: the length of the gradient of a function of the last state, for each input. The fitted factor of
# a step stands in the legend. Along the memory alone it would be $\sigma(1) \approx 0.73$ for your cell; with the
# second path, through $h$, it is larger. With the forget bias at 5, $\sigma(5) \approx 0.993$, and nothing vanishes.
#
# The right-hand picture is the test by learning: the class of a sequence is the sign of its *first* number, and 30
# numbers of noise follow. The usual bias of 1 is not enough for that distance: in these few steps the cell stays at
# guessing, like the plain one. With bias 5 it learns. So choose the start by how long something has to be kept.

# %% tags=["demo"]


def length_by_distance(cell: nn.Module, T: int) -> np.ndarray:
    """The gradient's length for each input, the last one first, of a random function of the last state."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(T, 8, 4, generator=generator, dtype=torch.float64).requires_grad_()
    cell, state = cell.double(), None
    for t in range(T):
        state = cell(x[t], state)
    h = state[0] if isinstance(state, tuple) else state
    (h * torch.randn(h.shape, generator=generator, dtype=torch.float64)).sum().backward()
    return x.grad.flatten(1).norm(dim=1).flip(0).numpy()


class Keeps(nn.Module):
    """A cell whose last state says which of two classes a sequence (B, T, 1) has."""

    def __init__(self, cell: nn.Module, n: int):
        super().__init__()
        self.cell, self.last = cell, nn.Linear(n, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = None
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.last(state[0] if isinstance(state, tuple) else state)


def first_sign(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences of 31 numbers, and whether the first one is positive."""
    x = torch.randn(count, 31, 1)
    return x, (x[:, 0, 0] > 0).long()


def with_forget_bias(cell: nn.Module, value: float) -> nn.Module:
    n = cell.weight_hh.shape[1]
    cell.bias_ih.data[n : 2 * n] = value
    return cell


torch.manual_seed(0)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
makers = {
    "plain": lambda d, n: nn.RNNCell(d, n),
    "LSTM, forget bias 1": lambda d, n: LSTMCell(d, n),
    "LSTM, forget bias 5": lambda d, n: with_forget_bias(LSTMCell(d, n), 5.0),
}
lines = {}
for name, make in makers.items():
    size = length_by_distance(make(4, 32), 100)
    lines[f"{name}: {np.exp(np.polyfit(np.arange(20, 100), np.log(size[20:]), 1)[0]):.2f} a step"] = size
plotting.curves(
    lines, xlabel="steps back in time", ylabel="length of the gradient", title="What is left of it", logy=True, ax=left
)
lines = {}
for name, make in makers.items():
    torch.manual_seed(2)
    net, shares = Keeps(make(1, 16), 16), []
    update = Adam(net.parameters(), lr=0.01)
    for _ in range(demo_size(full=150, small=3)):
        x, y = first_sign(32)
        logits = net(x)
        net.zero_grad()
        F.cross_entropy(logits, y).backward()
        update.step()
        shares.append(float((logits.argmax(dim=1) == y).float().mean()))
    lines[name] = np.convolve(shares, np.ones(10) / 10, "valid") if len(shares) > 10 else shares
plotting.curves(lines, xlabel="step", ylabel="accuracy (mean of 10)", title="Which number stood first?", ax=right)
right.axhline(0.5, color=plotting.MUTED, linewidth=0.8)
plt.show()

# %% [markdown]
# A word of caution: the gradient of the memory is no longer multiplied by a matrix, but gates below 1 still make it
# shrink, and the path through $h$ may still explode, as the curve with bias 5 begins to do. So LSTMs are clipped, too.
#
# ### 11.5 `masked_batch` · essential · level 2 of 4 · 12 min
#
# One sequence at a time makes poor use of the machine: one product with 64 rows costs far less than 64 products with
# one row. Sequences of different lengths are put into one array by **padding**: a fill value up to the longest one. A
# **mask** says which positions are real. Padding must then change *nothing*: no output, no loss, no gradient. Each
# place where positions are mixed has to be looked at. There are two: the loss, which takes a mean over positions, and
# the state, which runs from one position to the next (11.6).
#
# For the loss, two other means are not what we want. The mean over all $B T$ positions counts padding, so it depends
# on the longest sequence in the batch. The mean of the rows' means gives a word in a short sentence more weight than
# one in a long sentence. We take the mean over the real positions:
#
# $$J = \frac{1}{\sum_{b,t} M_{b,t}} \sum_{b, t \,:\, M_{b,t} = 1} -\log \operatorname{softmax}(z_{b,t})_{y_{b,t}} .$$
#
# **A trap**: to multiply the losses by the mask is not the same as to leave positions out. What stands at padding may
# be infinite, and $0 \cdot \infty$ is nan, in the loss or in its gradient. Select the real positions first, then
# compute.


# %% exercise="masked_batch" points=2 minutes=12 trains=["masks"]
def masked_batch(
    sequences: Sequence[np.ndarray | list[int]], length: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences of different lengths in one tensor, and a mask that says what is real.

    sequences: B >= 1 of them, each a 1-D array of integers of any kind (also unsigned), or a list
      of ints, from 0 to 2^40; some may be empty. length: T >= 1, or None for the length of the
      longest one (at least 1).
    Returns (ids, mask), two new tensors: ids (B, T), int64, has sequences[i] at the start of row i
    and 0 after it; mask (B, T), Booleans, is True where a number of the sequence stands.
    Raises ValueError where a sequence is longer than `length`. Leaves its arguments as they are.
    """
    ### BEGIN SOLUTION
    longest = max(map(len, sequences))
    if length is None:
        length = max(longest, 1)
    elif longest > length:
        raise ValueError(f"a sequence has {longest} entries, more than {length}")
    ids = torch.zeros(len(sequences), length, dtype=torch.int64)
    mask = torch.zeros(len(sequences), length, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(np.array(sequence, dtype=np.int64))
        mask[row, : len(sequence)] = True
    return ids, mask
    ### END SOLUTION


def masked_loss(logits: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy over the real positions, in nats.

    logits: (B, T, C), float64 or float32, up to 1e10 in size where mask is True.
    targets: int64, (B, T), from 0 to C - 1 where mask is True.
    mask: (B, T), Booleans, with one True or more; a row may have none.
    Returns a 0-d tensor in the dtype of logits, from which gradients flow to logits. Each real
    position counts the same. What stands elsewhere has no influence on value and gradient, even
    where it is inf or nan or a target of -7, and the gradient there is 0. Leaves its arguments as
    they are.
    torch.nn.functional is allowed.
    """
    ### BEGIN SOLUTION
    return F.cross_entropy(logits[mask], targets[mask])
    ### END SOLUTION


# %% [markdown] hints="masked_batch"
# <details><summary>Hint 1: start with what is not real</summary>
#
# `torch.zeros(B, T, dtype=torch.int64)` and `torch.zeros(B, T, dtype=torch.bool)`; then fill the beginning of each row.
# An unsigned array does not go into torch directly: `np.array(sequence, dtype=np.int64)` first.
# </details>
# <details><summary>Hint 2: select</summary>
#
# `logits[mask]` has shape (number of real positions, C). What was not selected gets gradient 0. On what is selected,
# `F.cross_entropy` gives the mean, also where logits are large.
# </details>

# %% check="masked_batch"
with check("masked_batch"):
    ids, mask = masked_batch([[5, 6, 7], [], np.array([8], dtype=np.uint8)])
    expect_close(ids, [[5, 6, 7], [0, 0, 0], [8, 0, 0]])
    expect_close(mask, [[True, True, True], [False, False, False], [True, False, False]])
    expect_dtype(ids, torch.int64)
    expect_dtype(mask, torch.bool)
    expect_shape(masked_batch([[1], [2]], 4)[0], (2, 4), hint="`length` may be longer than the longest")
    expect_shape(masked_batch([[]])[0], (1, 1))
    with expect_raises(ValueError, hint="a sequence is longer than `length`"):
        masked_batch([[1, 2, 3]], 2)
    # Row 1 has two real positions, row 2 has one. With two classes and logits (0, a) the loss is log(1 + e^a) or ... - a
    logits = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[0.0, 3.0], [5.0, -5.0]]], requires_grad=True)
    targets, mask = torch.tensor([[0, 1], [0, -7]]), torch.tensor([[True, True], [True, False]])
    loss, half, third = masked_loss(logits, targets, mask), math.log(2), math.log(1 + math.exp(3))
    expect_close(
        loss.item(),
        (2 * half + third) / 3,
        rtol=1e-5,
        mistakes={
            "Padding counts here: divide by the number of real positions.": (2 * half + third) / 4,
            "This is the mean of the rows' means; each position counts the same.": (half + third) / 2,
        },
    )
    loss.backward()
    expect_close(logits.grad[1, 1], [0.0, 0.0], hint="no gradient at padding")
    expect_close(logits.grad[0, 0], [-1 / 6, 1 / 6], rtol=1e-5)
    empty = masked_loss(torch.zeros(2, 1, 2), torch.zeros(2, 1, dtype=torch.int64), torch.tensor([[True], [False]]))
    expect_close(empty.item(), half, rtol=1e-5, hint="a row without a real position adds nothing")
    wild = logits.detach().clone()
    wild[1, 1] = torch.tensor([math.inf, math.nan])
    wild.requires_grad_()
    again = masked_loss(wild, targets, mask)
    again.backward()
    expect_close(again.item(), (2 * half + third) / 3, rtol=1e-5, hint="0 · inf is nan: select instead of multiplying")
    expect_close(wild.grad, logits.grad, hint="what stands at padding has no influence on the gradient")

# %% [markdown]
# How much padding is there? The reviews that come below are short or long (printed). The cell puts 4,000 of them into
# batches of 64, once in random order and once with sequences of about the same length together, and counts with your
# mask. The share of padding is the share of the work that is thrown away. So one sorts by length (within limits, or a
# batch has only short sentences).

# %% tags=["demo"]
sizes = [len(tokens) for tokens in datasets.reviews(demo_size(full=4000, small=400), seed=0).tokens]
print(f"{min(sizes)} to {max(sizes)} words and punctuation marks, {np.mean(sizes):.0f} on average")
ordered = {"random order": sizes, "sorted by length": sorted(sizes)}
shares = {}
for name, some in ordered.items():
    batches = [some[i : i + 64] for i in range(0, len(some), 64)]
    shares[name] = [1 - masked_batch([[1] * size for size in batch])[1].float().mean().item() for batch in batches]
    print(f"{name}: {np.mean(shares[name]):.0%} of the positions are padding")

# %% [markdown]
# ### 11.6 `stacked_lstm` · important · level 3 of 4 · 30 min
#
# Three ways to make a recurrent network stronger:
#
# - **Layers.** A second cell reads the outputs $h_1, \dots, h_T$ of the first as its inputs, and so on.
# - **Both directions.** "Not" stands before the word that it concerns, "even if" after the clause that counts. A
#   second cell reads the sequence from the end to the start, and both states at a position are put side by side:
#   $(B, 2n)$. Such a network needs the whole sequence. It cannot predict the next word, because it has read it.
# - **Dropout** (module 08) between the layers: with probability $p$ an entry that goes from one layer to the next is
#   set to 0, and the others are divided by $1 - p$. It is left out at test time.
#
# **Padding and the state.** At padding a row's state must stay as it is: $h_t = h_{t-1}$ and $c_t = c_{t-1}$. Then
# the state after position $T$ is the state after the row's last real word. In the other direction the cell meets the
# padding first, and the state stays at zero until the row's last word.
#
# **Which output is the last?** To classify a sentence we need one vector. For the first direction, it is the state
# after position $T$. For the second one, it is the state after it has read everything, which is the output at the
# *first* position. Its output at the last position has seen one word only. Many programs take that one by mistake, as
# `outputs[:, -1]`.


# %% exercise="stacked_lstm" points=3 minutes=30 forbids=["torch.nn.LSTM", "torch.nn.RNNBase", "torch.nn.modules.rnn", "torch.lstm", "torch.ops"] trains=["gates", "masks"]
def stacked_lstm(
    x: torch.Tensor,
    cells: Sequence[Sequence[Callable]],
    mask: torch.Tensor | None = None,
    return_sequences: bool = True,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Layers of cells, each of which reads what the layer before it puts out.

    x: (B, T, d), each >= 1, float64 or float32. cells: L >= 1 layers, each a sequence of one cell
      or of two. A cell is called as cell(x_t, state) with x_t (B, size), and returns the new
      state, a tuple (h, c) of (B, n) each. state is None the first time (the cell then takes
      zeros), a tuple later.
      The first cell of a layer reads the positions from the first to the last, the second one from
      the last to the first. Each is called exactly T times, whatever the mask is.
    mask: (B, T), Booleans, or None where all is real. Where it is False, the row keeps the h and c
      that it had before (zeros, if nothing has been real yet). What stands there in x, any finite
      number, has no influence on any output, and gets gradient 0.
    A layer's output at position t is the first cell's h after it has read position t, (B, n); with
    two cells, the second cell's h after it has read position t stands behind it, (B, 2 n).
    dropout: a probability p, 0 <= p < 1. Each entry that goes from one layer to the next is made 0
      with probability p, independently of all others, and divided by 1 - p otherwise; nothing
      before the first layer, nothing after the last one. torch draws; with p = 0 nothing is drawn.

    Returns a new tensor in the dtype of x. With return_sequences the last layer's outputs,
    (B, T, n) or (B, T, 2 n). Otherwise, (B, n) or (B, 2 n): for each cell of the last layer its h
    after its last call, side by side.
    Gradients flow to x and to the cells. Leaves its arguments as they are. Not allowed:
    torch.nn.LSTM, torch.nn.RNNBase, torch.nn.modules.rnn, torch.lstm, torch.ops.
    """
    ### BEGIN SOLUTION
    for layer, pair in enumerate(cells):
        if layer > 0 and dropout > 0:
            x = x * (torch.rand_like(x) >= dropout) / (1 - dropout)
        outputs, last = [], []
        for reverse, cell in enumerate(pair):
            state, states = None, [None] * x.shape[1]
            for t in reversed(range(x.shape[1])) if reverse else range(x.shape[1]):
                new = cell(x[:, t], state)
                if mask is not None:
                    old = [torch.zeros_like(part) for part in new] if state is None else state
                    new = tuple(torch.where(mask[:, t, None], *parts) for parts in zip(new, old, strict=True))
                state = new
                states[t] = state[0]
            outputs.append(torch.stack(states, dim=1))
            last.append(state[0])
        x = torch.cat(outputs, dim=2)
    return x if return_sequences else torch.cat(last, dim=1)
    ### END SOLUTION


# %% [markdown] hints="stacked_lstm"
# <details><summary>Hint 1: from the inside out</summary>
#
# Write one cell over one sequence first: a loop over the positions, the state in a variable, h in a list,
# `torch.stack(list, dim=1)`. Then two cells, then the loop over the layers, where x becomes what came out.
# </details>
# <details><summary>Hint 2: the other direction, and the last state</summary>
#
# Go through `reversed(range(T))`, but write each h to *its own* position t. Keep the state after the loop: for
# `return_sequences=False` it is what you need, in both directions.
# </details>
# <details><summary>Hint 3: mask and dropout</summary>
#
# `torch.where(mask[:, t, None], new_h, old_h)`, and the same for c; old is zeros at the first call. Before each layer
# but the first: `x * (torch.rand_like(x) >= p) / (1 - p)`.
# </details>

# %% check="stacked_lstm"
with check(
    "stacked_lstm", forbids=["torch.nn.LSTM", "torch.nn.RNNBase", "torch.nn.modules.rnn", "torch.lstm", "torch.ops"]
):

    def adds(x_t, state):  # a "cell" that adds up what it reads, and remembers 10 times as much
        h, c = (0 * x_t, 0 * x_t) if state is None else state
        return h + x_t, c + 10 * x_t

    def last_c(x_t, state):  # shows the c of before, so c has to be kept, too
        c = 0 * x_t if state is None else state[1]
        return c, c + x_t

    x = torch.tensor([[[1.0], [2.0], [4.0]], [[8.0], [16.0], [32.0]]])
    expect_close(stacked_lstm(x, [[adds]])[:, :, 0], [[1, 3, 7], [8, 24, 56]], hint="running sums")
    expect_close(
        stacked_lstm(x, [[adds, adds]])[0],
        [[1, 7], [3, 6], [7, 4]],
        mistakes={"The second cell's outputs belong to the positions that it has just read.": [[1, 4], [3, 6], [7, 7]]},
    )
    expect_close(
        stacked_lstm(x, [[adds, adds]], return_sequences=False),
        [[7, 7], [56, 56]],
        mistakes={"The second cell has read everything at the *first* position.": [[7, 4], [56, 32]]},
    )
    expect_close(stacked_lstm(x, [[adds], [adds]])[0, :, 0], [1, 4, 11], hint="the second layer reads the first one's")
    expect_close(
        stacked_lstm(x, [[adds, adds], [adds]])[0],
        [[1, 7], [4, 13], [11, 17]],  # sums of 1, 3, 7 and of 7, 6, 4
        hint="the second layer reads both directions of the first one",
    )
    expect_close(
        stacked_lstm(x, [[adds], [adds]], return_sequences=False), [[11], [88]], hint="the last state of the last layer"
    )
    mask = torch.tensor([[True, True, False], [True, True, True]])
    with expect_unchanged(x=x, mask=mask):
        held = stacked_lstm(x, [[adds, adds]], mask)
    expect_close(
        held[0],
        [[1, 3], [3, 2], [3, 0]],
        mistakes={
            "The mask is not used: at padding a row keeps its state.": [[1, 7], [3, 6], [7, 4]],
            "At padding the state stays; it does not become zero.": [[1, 3], [3, 2], [0, 0]],
        },
    )
    expect_close(stacked_lstm(x, [[adds]], mask, False), [[3], [56]])
    gap = torch.tensor([[True, False, True], [True, True, True]])
    expect_close(stacked_lstm(x, [[last_c]], gap)[0, :, 0], [0, 0, 1], hint="at padding c stays as it was, too")
    torch.manual_seed(0)
    ones = torch.ones(40, 50, 1)

    def shows(x_t, state):
        return x_t, x_t

    expect_close(
        stacked_lstm(ones, [[shows]], dropout=0.75), ones, hint="no dropout before the first or after the last"
    )
    dropped = stacked_lstm(ones, [[shows], [shows]], dropout=0.75)
    expect_close(sorted(set(dropped.flatten().tolist())), [0.0, 4.0], hint="what is kept is divided by 1 - p, here 1/4")
    share = (dropped == 0).float().mean().item()
    assert 0.65 < share < 0.85, f"p = 0.75 is the share that is dropped; yours is {share:.2f}"

# %% [markdown]
# ### Reading reviews in which "not" matters
#
# The generated reviews are of one to three sentences, such as these below. What is said may be negated ("is not
# poor"), and a subordinate clause may say the opposite of the main one ("although ..."). The mood is that of the main
# clauses. A **bag of words** sees how often each word comes, but not where. "Great, not poor" and "poor, not great"
# are exactly the same to it.
#
# Here `masked_batch`, `stacked_lstm` and your `LSTMCell`, one for each direction, work together on an embedding. The
# peer is scikit-learn's logistic regression on counts of words; a second one gets counts of pairs and triples of
# neighbours, too.

# %% tags=["demo"]
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression


def tokens_of(reviews) -> list[list[str]]:
    return [[word.lower() for word in tokens] for tokens in reviews.tokens]


class Reader(nn.Module):
    """Words to logits of two classes: an embedding, both directions, a linear layer."""

    def __init__(self, words: int, e: int = 16, n: int = 32):
        super().__init__()
        self.table = nn.Parameter(0.3 * torch.randn(words, e))
        self.cells = nn.ModuleList([LSTMCell(e, n), LSTMCell(e, n)])
        self.last = nn.Linear(2 * n, 2)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.last(stacked_lstm(self.table[ids], [self.cells], mask, return_sequences=False))


train_reviews = datasets.reviews(demo_size(full=3000, small=100), seed=0)
test_reviews = datasets.reviews(demo_size(full=1000, small=100), seed=1)
train_tokens, test_tokens = tokens_of(train_reviews), tokens_of(test_reviews)
y_train, y_test = torch.tensor(train_reviews.sentiment), torch.tensor(test_reviews.sentiment)
for k in range(3):
    print(("bad:  ", "good: ")[y_train[k]], train_reviews.texts[k])
vocabulary = {"<unk>": 0} | {w: j + 1 for j, w in enumerate(sorted({w for tokens in train_tokens for w in tokens}))}
coded = [[vocabulary.get(word, 0) for word in tokens] for tokens in train_tokens]
test_ids, test_mask = masked_batch([[vocabulary.get(word, 0) for word in tokens] for tokens in test_tokens])

scores = {}
for name, longest in (("bag of words", 1), ("bag of words, pairs, triples", 3)):
    counts = CountVectorizer(analyzer="word", tokenizer=str.split, token_pattern=None, ngram_range=(1, longest))
    fitted = LogisticRegression(max_iter=1000).fit(counts.fit_transform(map(" ".join, train_tokens)), y_train)
    scores[name] = fitted.score(counts.transform(map(" ".join, test_tokens)), y_test)

torch.manual_seed(0)
reader, rng = Reader(len(vocabulary)), np.random.default_rng(0)
update, accuracy, epochs = Adam(reader.parameters(), lr=0.01), [], demo_size(full=6, small=2)
for _ in range(epochs):
    order = sorted(range(len(coded)), key=lambda i: len(coded[i]) + 4 * rng.random())
    for start in rng.permutation(range(0, len(order), 64)):
        rows = order[start : start + 64]
        loss = F.cross_entropy(reader(*masked_batch([coded[i] for i in rows])), y_train[rows])
        reader.zero_grad()
        loss.backward()
        update.step()
    with torch.no_grad():
        accuracy.append(float((reader(test_ids, test_mask).argmax(dim=1) == y_test).float().mean()))
ax = plotting.curves(
    {"your bidirectional LSTM": (range(1, epochs + 1), accuracy)}
    | {f"{name}: {share:.0%}": ([1, max(epochs, 2)], [share, share]) for name, share in scores.items()},
    xlabel="passes over the reviews",
    ylabel="accuracy on new reviews",
    title="Does the order of the words matter?",
)
ax.set_ylim(0.45, 1.02)
plt.show()
print(f"your bidirectional LSTM, at the end: {accuracy[-1]:.1%} of {len(y_test)} new reviews")

# %% [markdown]
# The bag of words stays not far above guessing. Pairs and triples help, since "not poor" is a pair. But each pair has
# a weight of its own, and none says which clause is the main one. The recurrent net reads nearly all new reviews
# right.
#
# **What has it learnt?** Nobody told it about negation and clauses. The cell asks it for the probability that a
# sentence is good, and marks what a reader of English says. The first six are of the kind that it was trained on. In
# the last two (other colour) the clauses stand in the other order, which the grammar of the reviews never does with
# "although".

# %% tags=["demo"]
sentences = {  # and whether they are good
    "the lid is great .": 1,
    "the lid is not great .": 0,
    "the lid is not poor .": 1,
    "although the lid is great , the battery is poor .": 0,
    "although the lid is poor , the battery is great .": 1,
    "the lid is great , even if the battery is poor .": 1,
    "the lid is great , although the battery is poor .": 1,
    "the lid is poor , although the battery is great .": 0,
}
asked = [[vocabulary.get(word, 0) for word in sentence.split()] for sentence in sentences]
with torch.no_grad():
    good = torch.softmax(reader(*masked_batch(asked)), dim=1)[:, 1].numpy()
figure, ax = plt.subplots(figsize=(8, 3.6))
ax.barh(range(8), good, color=[plotting.COLOURS[0]] * 6 + [plotting.COLOURS[1]] * 2)
ax.plot(list(sentences.values()), range(8), "D", color=plotting.MUTED, label="a reader of English")
for place, share in enumerate(good):
    ax.text(
        share + 0.03 if share < 0.5 else share - 0.03,
        place,
        f"{share:.2f}",
        va="center",
        ha="left" if share < 0.5 else "right",
        color=plotting.COLOURS[1] if place > 5 and share < 0.5 else "black",
    )
ax.set_yticks(range(8), sentences)
ax.invert_yaxis()
ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
ax.set(xlim=(-0.04, 1.04), xlabel="probability of “good”", title="Does it follow English, or its data?")
plt.show()

# %% [markdown]
# Negation it reads right, and the clauses in the order that it knows. With the clauses exchanged (last two bars) a
# reader of English would say good, then bad. The network never saw this order. In its data the *last* clause counted
# wherever "although" stood, and this is enough for a low loss. It has learnt what lowers the loss, and no more.
#
# ### 11.7 `truncated_step` · essential · level 4 of 4 · 28 min
#
# A language model predicts the next character of a text, and a text is *one* sequence of maybe a million positions.
# The forward pass is no problem: it needs one state at a time. The backward pass needs all of them. Its memory grows
# with $T$, and so does the time before the first update.
#
# **Truncated backpropagation through time** cuts the text into windows of $K$ positions. The state goes on from
# window to window, so the network still knows what came long before. The gradient stops at the border: the state that
# comes in counts as a constant. With $J_w$ the part of the loss that window $w$ gives, and $h_{(w)}$ the state that
# comes into it,
#
# $$J = \sum_w J_w\big(\theta, h_{(w)}\big), \qquad
# \frac{\mathrm{d} J}{\mathrm{d} \theta} = \sum_w \Big( \underbrace{\frac{\partial J_w}{\partial \theta}}_{\text{kept}} +
# \underbrace{\frac{\partial J_w}{\partial h_{(w)}} \frac{\mathrm{d} h_{(w)}}{\mathrm{d} \theta}}_{\text{left out}} \Big).$$
#
# While the parameters stand still the loss itself is exact, whatever $K$ is: only its gradient is an approximation.
# What is left out are the paths that cross a border. So a link over $K$ positions or more is never learnt directly,
# and of the shorter links those that cross a border are not: a position reaches $(K - 1)/2$ earlier ones on average.
# With $K \ge T$ nothing is left out. The memory is that of one window, and the sum over windows adds up in `.grad`,
# one window at a time.
#
# Two mistakes are common. If the state starts at zero in each window, the network forgets at each border what it has
# read. If the graph is not cut, either torch raises an error (the graph of the last window is gone), or, with
# `retain_graph=True`, memory grows until the program ends. `.detach()` gives the same numbers without the graph.


# %% exercise="truncated_step" points=4 minutes=28 trains=["gradients through time", "state and its graph", "memory that stays constant"]
def truncated_step(
    net: nn.Module, x: torch.Tensor, y: torch.Tensor, window: int, state: object = None
) -> tuple[float, object]:
    """The loss of a network on long sequences, and its gradient by truncated backpropagation.

    net: an nn.Module, called as net(x_w, state) with x_w (B, K), int64. Returns (logits, new
      state), logits (B, K, C). A state is None, a tensor, or a tuple of states (so tuples may
      stand in tuples). None is the start.
    x and y: (B, T), int64, T >= 1: what is read and the class at each position, 0 or 1 or more.
    window: >= 1.
    The T positions are cut into windows of `window` each; the last one may be shorter. net is
    called exactly once for each of them, in order: the first time with `state`, later with the
    state that the call before returned, and each time with all its tensors detached: the same
    numbers, no graph.

    J is the mean cross-entropy of all B T positions; it depends on each parameter. Afterwards
    `.grad` of each parameter of net is the sum over the windows of the gradient of their part of
    J, in which the incoming state is a constant; what stood in `.grad` before does not count. No
    parameter is changed.
    Returns (J, state): J a Python float; the last state, detached. Leaves x, y and `state` as they
    are, and net in its mode (train or eval).
    Memory for a few windows' graphs and logits: those of all positions do not fit, so what a
    window's graph has saved is freed before the next window is read.
    """

    ### BEGIN SOLUTION
    def detached(part):
        if isinstance(part, tuple):
            return tuple(map(detached, part))
        return part if part is None else part.detach()

    net.zero_grad()
    total = 0.0
    for start in range(0, x.shape[1], window):
        logits, state = net(x[:, start : start + window], detached(state))
        targets = y[:, start : start + window]
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum") / y.numel()
        loss.backward()
        total += loss.item()
    return total, detached(state)
    ### END SOLUTION


# %% [markdown] hints="truncated_step"
# <details><summary>Hint 1: one window</summary>
#
# Cut `x[:, start : start + window]`, call net, compute the loss, call `loss.backward()`. It *adds* to `.grad`, and it
# lets the graph go. Call `net.zero_grad()` once, before the first window.
# </details>
# <details><summary>Hint 2: the factor</summary>
#
# `F.cross_entropy(..., reduction="sum") / y.numel()`: then the parts add up to the mean, also where the last window
# is short. `logits.flatten(0, 1)` has shape (B K, C). Add up `loss.item()`, a number, and not the tensor, which holds
# its graph.
# </details>
# <details><summary>Hint 3: any state</summary>
#
# A function that calls itself: None stays None, of a tuple each part is detached (`tuple(map(detached, part))`), a
# tensor becomes `part.detach()`.
# </details>

# %% check="truncated_step"
with check("truncated_step"):

    class Sums(nn.Module):
        """Logits (s, 0) with s = w · (sum of what was read so far); the state is s, half of it in each of two parts."""

        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
            self.seen = []

        def forward(self, x, state):
            before = 0.0 if state is None else (state[0] + state[1][0])[:, None]
            sums = self.w * torch.cumsum(x, dim=1) + before
            self.seen.append((tuple(x.shape), state))
            return torch.stack([sums, torch.zeros_like(sums)], dim=2), (sums[:, -1] / 2, (sums[:, -1] / 2, None))

    net, x, y = Sums(), torch.tensor([[1, 2, -3, 1, 4], [0, 1, 1, -2, 1]]), torch.tensor([[0, 1, 1, 0, 0]] * 2)
    net.w.grad = torch.tensor(1000.0, dtype=torch.float64)  # from an earlier step: it does not count
    with expect_unchanged(x=x, y=y):
        J, state = truncated_step(net, x, y, 2)
    reads = [shape for shape, _ in net.seen]
    assert reads == [(2, 2), (2, 2), (2, 1)], f"net should read windows of 2, 2 and 1 positions; it read {reads}"
    sums = 0.5 * np.cumsum(x.numpy(), axis=1)
    signs = 1 - 2 * y.numpy()  # the loss is log(1 + exp(-sign · s)), and its slope is -sign · sigmoid(-sign · s)
    losses = np.log1p(np.exp(-signs * sums))
    expect_close(
        J,
        losses.mean(),
        mistakes={
            "This is the sum of the windows' means; divide by all B T positions.": losses[:, :2].mean()
            + losses[:, 2:4].mean()
            + losses[:, 4].mean(),
            "This is the mean of the windows' means, and the last window is shorter.": (
                losses[:, :2].mean() + losses[:, 2:4].mean() + losses[:, 4].mean()
            )
            / 3,
        },
        hint="the state goes on from window to window, so J does not depend on the window",
    )
    assert isinstance(J, float), "return the loss as a Python float"
    slopes = -signs / (1 + np.exp(signs * sums)) / 10
    inside = np.concatenate([np.cumsum(x.numpy()[:, k : k + 2], axis=1) for k in (0, 2, 4)], axis=1)
    expect_close(
        net.w.grad.item(),
        (slopes * inside).sum(),  # inside its window, s depends on w by what was read in that window
        mistakes={
            "The gradient goes over the borders: detach the state.": (slopes * np.cumsum(x.numpy(), axis=1)).sum(),
            "What stood in .grad before does not count: call zero_grad first.": 1000 + (slopes * inside).sum(),
            "Only the last window counts here: call zero_grad once, before the windows.": (slopes * inside)[:, 4].sum(),
        },
    )
    assert isinstance(state, tuple) and isinstance(state[1], tuple), "a state that is a tuple stays a tuple"
    expect_close([state[0], state[1][0]], [sums[:, -1] / 2] * 2, hint="return the state after the last window")
    assert state[1][1] is None, "a part of the state that is None stays None"
    for part in (state, *[seen for _, seen in net.seen if seen is not None]):
        assert not part[0].requires_grad and not part[1][0].requires_grad, "detach every part of each state"
    truncated_step(net, x, y, 5)
    expect_close(net.w.grad.item(), (slopes * np.cumsum(x.numpy(), axis=1)).sum(), hint="one window: the full gradient")
    net.seen.clear()
    half = state[0].clone().requires_grad_()
    truncated_step(net, x[:, :2], y[:, :2], 2, (half, (half, None)))
    first = net.seen[0][1]
    expect_close(first[0].detach(), sums[:, -1] / 2, hint="the first call gets `state`")
    assert not first[0].requires_grad and not first[1][0].requires_grad, "detach the `state` that you are given, too"
    assert half.requires_grad, "leave `state` itself as it is: `.detach()`, not `.detach_()`"

# %% [markdown]
# ### A model of characters
#
# Now the English text of Python's own help (its length is printed). It is cut into 32 long rows, which are read side
# by side. In each step `truncated_step` gets the next 32 positions of each row, one window, and the state from the
# step before; then Adam moves the parameters. So the state goes over the whole row, and the gradient over one window.
# (The state was made by slightly older parameters. In practice one accepts this.) The rate falls from 0.02 to 0 in a
# straight line. At the end of the rows the reading begins again, with a new state. What is read is always the true
# text, also where the network would have guessed another character: this is called **teacher forcing**.
#
# The loss is in nats for each character, and $e^{\text{loss}}$ is the **perplexity**: the network is as uncertain as
# if it had to guess among so many characters. Two lines to compare with: the entropy of single characters, which is
# what a model gets that knows their frequencies only, and that of pairs minus that of single ones, for a model that
# knows the character before.
# The last 5% of each row are not trained on: the loss there is printed.

# %% tags=["demo"]
help_text = re.sub(r"[^\n -~]|[|+]|(?<= ) +|[-=*]{2,}", "", datasets.python_help().text)  # ASCII, without tables
characters = sorted(set(help_text))
code = {character: j for j, character in enumerate(characters)}
coded_text = torch.tensor([code[character] for character in help_text])


class Writer(nn.Module):
    """Characters to logits of the next one: an embedding, one cell, a linear layer."""

    def __init__(self, N: int, e: int = 24, n: int = 96):
        super().__init__()
        self.table = nn.Parameter(0.3 * torch.randn(N, e))
        self.cell, self.last = LSTMCell(e, n), nn.Linear(n, N)

    def forward(self, x: torch.Tensor, state: tuple | None = None) -> tuple[torch.Tensor, tuple]:
        vectors, outputs = self.table[x], []
        for t in range(x.shape[1]):
            state = self.cell(vectors[:, t], state)
            outputs.append(state[0])
        return self.last(torch.stack(outputs, dim=1)), state


def entropy(counts: Sequence[int]) -> float:
    shares = np.array(counts) / np.sum(counts)
    return float(-(shares * np.log(shares)).sum())


singles = Counter(help_text[1:])
pairs = Counter(itertools.pairwise(help_text))
of_one, of_two = entropy(list(singles.values())), entropy(list(pairs.values()))
streams = coded_text[: len(coded_text) // 32 * 32].view(32, -1)
streams, unseen = streams.split([streams.shape[1] - streams.shape[1] // 20, streams.shape[1] // 20], dim=1)
torch.manual_seed(0)
writer, state, writer_losses = Writer(len(characters)), None, []
update, steps = Adam(writer.parameters()), demo_size(full=700, small=5)
for step in range(steps):
    start = 32 * (step % ((streams.shape[1] - 1) // 32))
    part, state = streams[:, start : start + 33], state if start else None
    loss, state = truncated_step(writer, part[:, :-1], part[:, 1:], 32, state)
    update.lr = 0.02 * (1 - step / steps)
    update.step()
    writer_losses.append(loss)
plotting.curves(
    {
        "your LSTM": writer_losses,
        f"single characters: {of_one:.2f}": ([0, len(writer_losses)], [of_one] * 2),
        f"one character before: {of_two - of_one:.2f}": ([0, len(writer_losses)], [of_two - of_one] * 2),
    },
    xlabel="step",
    ylabel="nats a character",
    title="Does it learn more than pairs of characters?",
)
plt.show()
with torch.no_grad():
    unseen_loss = float(F.cross_entropy(writer(unseen[:, :-1])[0].flatten(0, 1), unseen[:, 1:].flatten()))
print(f"{len(help_text):,} characters, {len(characters)} different ones")
for name, loss in (("training, at the end", np.mean(writer_losses[-30:])), ("text that it has not seen", unseen_loss)):
    print(f"{name}: {loss:.2f} nats, perplexity {math.exp(loss):.1f}")

# %% [markdown]
# ### 11.8 `train_step` · essential · level 2 of 4 · 10 min
#
# For one long text the state is carried on. For sentences that have nothing to do with each other it must not be:
# each starts anew. The code below was made from a loop over a text. It trains a network on batches of separate
# sequences. At the second step torch complained, "Trying to backward through the graph a second time". So somebody
# added what the message recommends, and now it runs. It becomes slower at each step, takes more memory at each step,
# and its answer to a sentence depends on the sentences before.
#
# **Find the bug.** The code keeps things from the step before, in more than one place.


# %% exercise="train_step" points=2 minutes=10 bug=true trains=["state and its graph"]
def train_step(net: nn.Module, x: torch.Tensor, y: torch.Tensor, update: Callable[[], None], record: dict) -> float:
    """One step of training on sequences that have nothing to do with those of the steps before.

    net: an nn.Module, called once, as net(x, None): None stands for the state at the start. Returns
      (logits, state), logits (B, C).
    x: B sequences of T numbers, int64, and y: their B classes, int64, each 0 or 1 or more. They
      stay as they are.
    update: is called once, without arguments, when `.grad` of each parameter is the gradient of
      the mean cross-entropy of this batch, and of nothing else. It moves the parameters.
    record: a dict; record["losses"] is a list of Python floats, one for each step, to which this
      step's loss (before the update) is appended. An empty dict gets that list. record gets no
      other key.

    Returns the loss, a Python float. When the function has returned, nothing of the graph is alive.
    """
    ### BEGIN SOLUTION
    net.zero_grad()
    logits, _ = net(x, None)
    loss = F.cross_entropy(logits, y)
    loss.backward()
    update()
    record.setdefault("losses", []).append(loss.item())
    return loss.item()
    ### END SOLUTION
    ### BEGIN BUG
    # net.zero_grad()
    # logits, record["state"] = net(x, record.get("state"))
    # loss = F.cross_entropy(logits, y)
    # loss.backward(retain_graph=True)
    # update()
    # record.setdefault("losses", []).append(loss)
    # return loss
    ### END BUG


# %% [markdown] hints="train_step"
# <details><summary>Hint 1: who holds the graph?</summary>
#
# A tensor holds its graph, and the graph holds each tensor of the forward pass. Which tensors are still there after
# the call, and where?
# </details>
# <details><summary>Hint 2: three places</summary>
#
# The state in `record`, the losses in `record`, and what is returned (`loss.item()` makes a number of a tensor). Without
# them nobody needs `retain_graph=True`.
# </details>

# %% check="train_step"
with check("train_step"):

    class Last(nn.Module):
        """Logits (w · (last number + state), 0); the state is w times the last number."""

        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor(1.0))
            self.states = []

        def forward(self, x, state):
            self.states.append(state)
            s = self.w * (x[:, -1] + (0.0 if state is None else state))
            return torch.stack([s, torch.zeros_like(s)], dim=1), self.w * x[:, -1]

    net, record, grads = Last(), {}, []
    net.w.grad = torch.tensor(1000.0)  # from something else: it does not count

    def update():
        grads.append(net.w.grad.item())
        net.w.data -= 1.0 * net.w.grad

    x, y = torch.tensor([[5, 0], [7, 2]]), torch.tensor([0, 0])
    first = train_step(net, x, y, update, record)
    # s = (0, 2) and w = 1: the loss is (log 2 + log(1 + e^-2)) / 2, its slope -(0 · 1/2 + 2 · sigmoid(-2)) / 2
    w = 1 + 1 / (1 + math.exp(2))
    expect_close(
        first,
        (math.log(2) + math.log1p(math.exp(-2))) / 2,
        rtol=1e-5,
        mistakes={"This is the loss after the update.": (math.log(2) + math.log1p(math.exp(-2 * w))) / 2},
    )
    expect_close(
        grads,
        [-1 / (1 + math.exp(2))],
        rtol=1e-5,
        mistakes={
            "What stood in .grad before does not count: clear it before backward.": [1000 - 1 / (1 + math.exp(2))]
        },
    )
    second = train_step(net, x, y, update, record)
    expect_close(
        second,
        (math.log(2) + math.log1p(math.exp(-2 * w))) / 2,
        rtol=1e-5,
        hint="these sequences have nothing to do with those of the first step: start from no state",
    )
    expect_close(grads[1], -1 / (1 + math.exp(2 * w)), rtol=1e-5, hint="the gradient of this batch only")
    assert len(net.states) == 2, f"net is called once in a step; in two steps you called it {len(net.states)} times"
    assert net.states == [None, None], "net is called with None for the state"
    assert list(record) == ["losses"], f"the record holds {list(record)}; it should hold the losses and nothing else"
    assert all(type(loss) is float for loss in (first, second, *record["losses"])), "a loss is kept as a Python float"
    expect_close(record["losses"], [first, second])

# %% [markdown]
# How would you notice such a bug in your own program? Count what stays. The cell runs your function on 40 batches,
# and the code that you were given, and counts after each batch the bytes that autograd still holds (left). A line
# that is not flat is the sign. The task is to name the first of ten numbers, 0 to 3, so guessing has the loss $\log 4$.
# With states that come from other sequences nothing tells the network what is wrong: it only learns worse (right).

# %% tags=["demo"]


class Held:
    """A saved tensor whose bytes are counted as long as somebody holds it."""

    now = most = 0

    def __init__(self, tensor: torch.Tensor, size: int):
        self.tensor = tensor
        Held.now += size
        Held.most = max(Held.most, Held.now)
        weakref.finalize(self, Held.gone, size).atexit = False

    @staticmethod
    def gone(size: int) -> None:
        Held.now -= size


def counting_saved(net: nn.Module) -> torch.autograd.graph.saved_tensors_hooks:
    """Within it, `Held` counts the bytes that autograd keeps for backward passes, net's own parameters left out."""
    Held.now = Held.most = 0

    def keep(tensor: torch.Tensor) -> Held:
        own = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
        return Held(tensor, 0 if tensor.untyped_storage().data_ptr() in own else tensor.nbytes)

    return torch.autograd.graph.saved_tensors_hooks(keep, lambda held: held.tensor)


def as_given(
    net: nn.Module, x: torch.Tensor, y: torch.Tensor, update: Callable[[], None], record: dict
) -> torch.Tensor:
    net.zero_grad()
    logits, record["state"] = net(x, record.get("state"))
    loss = F.cross_entropy(logits, y)
    loss.backward(retain_graph=True)
    update()
    record.setdefault("losses", []).append(loss)
    return loss


class OneAnswer(Writer):
    """The same network with one answer for a sequence: that after its last position."""

    def forward(self, x: torch.Tensor, state: tuple | None = None) -> tuple[torch.Tensor, tuple]:
        logits, state = super().forward(x, state)
        return logits[:, -1], state


figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6))
held, losses = {}, {}
for name, function in (("your train_step", train_step), ("as it was given", as_given)):
    torch.manual_seed(0)
    net, record, draw, held[name] = OneAnswer(4, e=4, n=16), {}, torch.Generator().manual_seed(0), []
    update = Adam(net.parameters(), lr=0.01)
    with counting_saved(net):
        for _ in range(demo_size(full=40, small=10)):
            x = torch.randint(0, 4, (32, 10), generator=draw)
            function(net, x, x[:, 0], update.step, record)
            held[name].append(Held.now / 1e6)
    losses[name] = [torch.as_tensor(loss).item() for loss in record["losses"]]
    record.clear()
plotting.curves(held, xlabel="step", ylabel="MB held after the step", title="What stays", ax=left)
plotting.curves(losses, xlabel="step", ylabel="loss", title="What it learns", ax=right)
right.axhline(math.log(4), color=plotting.MUTED, linewidth=0.8)
plt.show()

# %% [markdown]
# ### 11.9 `sample` · essential · level 2 of 4 · 15 min
#
# The network gives logits $z$ for the next character. To write, draw one, feed it back as the next input, and go on.
# Which one to draw?
#
# - The likeliest one, always (**greedy**): the text soon repeats itself.
# - From $\operatorname{softmax}(z)$: this is what the model believes. But now and then an unlikely character is
#   drawn, and from then on the network reads text of a kind that it never saw in training, where it always read the
#   true one.
# - In between: divide by a **temperature** $\tau$ first, $p_j \propto e^{z_j / \tau}$. For $\tau \to 0$ this is
#   greedy, $\tau = 1$ is the model, for $\tau \to \infty$ all are alike. Or keep only the $k$ largest logits
#   (**top-k**) and draw among them.
#
# To draw $j$ with probability $p_j$ from a uniform number $u$ in $[0, 1)$: take the first $j$ whose cumulated sum
# $p_1 + \dots + p_j$ is larger than $u$.


# %% exercise="sample" points=2 minutes=15 forbids=["torch", "scipy"] trains=["sampling"]
def sample(
    logits: np.ndarray, rng: np.random.Generator, temperature: float = 1.0, top_k: int | None = None
) -> np.ndarray:
    """One word for each row of logits, drawn with probabilities proportional to exp(logits / temperature).

    logits: (m, N), m >= 1 and N >= 1, float64 or float32: numbers up to 1e4 in size, or -inf; in
      each row at least one is finite. A word with logit -inf is never drawn. Leaves logits as they
      are.
    rng: all randomness comes from it. Rows are drawn independently of each other.
    temperature: 0, or from 1e-9 to 1e6. With 0 each row gives its largest logit, the first of
      equal ones.
    top_k: None for all words, or an integer from 1 to N: only the top_k largest logits of a row
      can be drawn; of equal ones those with the smaller index are taken first.
    Returns (m,), int64. Not allowed: torch, scipy.
    """
    ### BEGIN SOLUTION
    if temperature == 0:
        return np.argmax(logits, axis=1)
    z = np.array(logits, dtype=np.float64)
    if top_k is not None:
        order = np.argsort(-z, axis=1, kind="stable")
        np.put_along_axis(z, order[:, top_k:], -np.inf, axis=1)
    p = np.exp((z - z.max(axis=1, keepdims=True)) / temperature)
    sums = np.add.accumulate(p, axis=1)
    return (sums <= rng.random((len(z), 1)) * sums[:, -1:]).sum(axis=1)
    ### END SOLUTION


# %% [markdown] hints="sample"
# <details><summary>Hint 1: large logits, small temperatures</summary>
#
# Subtract the largest logit of each row *before* you divide by the temperature: then exp gets 0 and negative numbers
# only. Compute in float64.
# </details>
# <details><summary>Hint 2: the k largest</summary>
#
# `np.argsort(-z, axis=1, kind="stable")` puts the largest first and keeps equal ones in order. Set all from place k
# on to minus infinity: exp makes 0 of it.
# </details>
# <details><summary>Hint 3: drawing</summary>
#
# `sums = np.cumsum(p, axis=1)`, one uniform number u for each row, and count how many sums are at most u times the
# last sum: that is the index. (Or `rng.choice(N, p=...)` row by row.)
# </details>

# %% check="sample"
with check("sample", forbids=["torch", "scipy"]):
    rng = np.random.default_rng(0)
    row = np.array([0.0, math.log(2.0), -math.inf, math.log(5.0)])  # probabilities 1/8, 2/8, 0, 5/8
    logits = np.tile(row, (4000, 1))

    def shares(temperature=1.0, top_k=None):
        drawn = sample(logits, rng, temperature, top_k)
        expect_shape(drawn, (4000,))
        expect_dtype(drawn, np.int64)
        return np.bincount(drawn, minlength=4) / 4000

    with expect_unchanged(logits=logits):
        got = shares()
    slack = {"atol": 0.05, "rtol": 0.0}  # more than five standard deviations of a share, 0.008
    expect_close(got, np.array([1, 2, 0, 5]) / 8, **slack, hint="softmax of the logits; -inf is never drawn")
    expect_close(
        shares(0.5),
        np.array([1, 4, 0, 25]) / 30,  # squares of 1, 2, 5
        **slack,
        mistakes={
            "Divide by the temperature; do not multiply.": np.array([1, 2**0.5, 0, 5**0.5]) / (1 + 2**0.5 + 5**0.5)
        },
    )
    expect_close(shares(1.0, 2), np.array([0, 2, 0, 5]) / 7, **slack, hint="top_k = 2: two can be drawn")
    expect_close(shares(0), [0, 0, 0, 1], hint="temperature 0 takes the largest")
    expect_close(sample(np.array([[1.0, 2, 2]]), rng, 0), [1], hint="temperature 0 takes the first of equal ones")
    equal = sample(np.zeros((300, 3)), rng, 1.0, 2)
    assert set(equal.tolist()) == {0, 1}, "of equal logits those with the smaller index are taken first"
    large = sample(np.array([[1e4 - 1e-4, 1e4, 0.0]] * 50), rng, 1e-6)  # the first one has probability e^-100
    expect_close(large, np.ones(50), hint="subtract the largest logit first: exp(1e10) overflows")
    first = sample(logits, np.random.default_rng(5))
    expect_close(sample(logits, np.random.default_rng(5)), first, hint="all randomness comes from rng")
    assert not np.array_equal(sample(logits, rng), sample(logits, rng)), "each call draws anew"

# %% [markdown]
# ### It writes
#
# The network of 11.7 writes with your `sample`, at three temperatures. Below each sample: the share of its words (of
# three letters or more) that occur in the help text. The last line says the same for characters that are drawn by
# their frequency, which is what the network would do if it had learnt nothing else.

# %% tags=["demo"]
known_words = set(re.findall("[a-z]{3,}", help_text.lower()))


def share_of_words(text: str) -> str:
    found = re.findall("[a-z]{3,}", text.lower())
    return f"{np.mean([word in known_words for word in found] or [0]):.0%} of {len(found)} words are in the help"


@torch.no_grad()
def write(net: nn.Module, start: str, length: int, temperature: float, rng: np.random.Generator) -> str:
    logits, state = net(torch.tensor([[code[character] for character in start]]), None)
    for _ in range(length):
        drawn = sample(logits[:, -1].numpy(), rng, temperature, top_k=30)
        start += characters[drawn[0]]
        logits, state = net(torch.tensor(drawn)[:, None], state)
    return start


rng = np.random.default_rng(1)
for temperature in (0.0, 0.5, 1.0):
    text = write(writer, "The ", demo_size(full=400, small=60), temperature, rng)
    print(f"--- temperature {temperature}\n{text}\n    ({share_of_words(text)})\n")
shares = np.array(list(singles.values()), dtype=float)
drawn = rng.choice(list(singles), 4000, p=shares / shares.sum())
print(f"--- characters by their frequency: {share_of_words(''.join(drawn))}")

# %% [markdown]
# At temperature 0 it repeats itself. At 0.5 most words are words of the help, with spaces, capitals and full stops
# between them, and nobody has told it what a word is. At 1 it invents words. (Repetition makes the share of words
# larger, too.) Some brackets and quotation marks stay open, and the text as a whole has no meaning. Its gradient sees
# 32 positions, and its state has 192 numbers. Larger networks of this kind write paragraphs that hold together for
# some sentences. Module 12 takes the other way: it looks at all positions at once.
#
# ### 11.10 `skip_gram` · optional · level 3 of 4 · 25 min
#
# An embedding can be learnt on its own, from which words stand near each other. In **skip-gram with negative
# sampling** each word has two vectors, one as centre ($p$, row of $P$) and one as context ($q$, row of $Q$). For each
# of $m$ pairs of a centre and a word near it, and $k$ words drawn at random ($q_j^-$; here $k$ counts these
# **negatives**), the model tells the true pair from the others:
#
# $$J = \frac1m \sum_{\text{pairs}} \Big( -\log \sigma(p^\top q) - \sum_{j=1}^k \log \sigma(-p^\top q_j^-) \Big) .$$
#
# A softmax over $N$ words would cost $N e$ for each pair; this costs $(k + 1) e$. The derivative of $-\log \sigma(a)$
# is $\sigma(a) - 1$, and that of $-\log \sigma(-a)$ is $\sigma(a)$. A pair touches one row of $P$ and $k + 1$ rows of
# $Q$: your sparse gradient of 11.1 is made for it.


# %% exercise="skip_gram" points=3 minutes=25 extra=true forbids=["torch"] trains=["sparse data structures"]
def skip_gram(
    P: np.ndarray, Q: np.ndarray, centres: np.ndarray, contexts: np.ndarray, negatives: np.ndarray
) -> tuple[float, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The loss of skip-gram with negative sampling, and its sparse gradients.

    P, Q: (N, e), float64: the vectors of the words as centres, and as contexts. centres, contexts:
      (m,), m >= 1, and negatives: (m, k), k >= 1: rows of P, of Q and of Q, integers of any kind.
    J is the mean over the m pairs of
      -log sigmoid(p . q) - sum over j of log sigmoid(-p . q_j)
    with p = P[centres[i]], q = Q[contexts[i]], q_j = Q[negatives[i, j]]. A word may come more than
    once, among the negatives of one pair, too: each time counts.

    Returns (J, (rows, sums) for P, (rows, sums) for Q): J a Python float; rows int64, the different
    rows that were read, ascending; sums float64, the derivative of J with respect to
    each of these rows.
    Products are up to 1e4 in size. J is off by at most 1e-11 max(1, J), and each sum by at most
    1e-11 of the largest entry of its array. Leaves its arguments as they are.
    Takes no array of the size of P or Q. Not allowed: torch.
    """
    ### BEGIN SOLUTION
    m = len(centres)
    p = P[centres]
    words = np.concatenate([np.asarray(contexts)[:, None], negatives], axis=1).astype(np.int64)
    q = Q[words]
    signs = np.ones(words.shape)
    signs[:, 0] = -1
    s = signs * np.einsum("me,mke->mk", p, q)
    J = float(np.logaddexp(0, s).sum() / m)
    slopes = signs * np.exp(-np.logaddexp(0, -s)) / m
    return (
        J,
        embedding_gradient(centres, np.einsum("mk,mke->me", slopes, q)),
        embedding_gradient(words, slopes[:, :, None] * p[:, None, :]),
    )
    ### END SOLUTION


# %% [markdown] hints="skip_gram"
# <details><summary>Hint 1: one array of words</summary>
#
# Put context and negatives into one array (m, k + 1): the first column is true, the others are not. `Q[words]` has
# shape (m, k + 1, e), and the products are `np.einsum("me,mke->mk", p, q)`.
# </details>
# <details><summary>Hint 2: stable</summary>
#
# -log sigmoid(s) is `np.logaddexp(0, -s)`. The sigmoid itself is `np.exp(-np.logaddexp(0, -s))`.
# </details>
# <details><summary>Hint 3: the gradients</summary>
#
# With `slopes` the derivatives for the products (m, k + 1), divided by m: for P, `embedding_gradient(centres, sum
# over k of slopes · q)`, for Q `embedding_gradient(words, slopes[:, :, None] * p[:, None, :])`.
# </details>

# %% check="skip_gram"
with check("skip_gram", forbids=["torch"]):
    P, Q = np.array([[1.0, 0.0], [0.0, 2.0], [5.0, 5.0]]), np.array([[0.0, 0.0], [1.0, 1.0], [0.0, -1.0]])
    centres, contexts, negatives = np.array([0, 1]), np.array([1, 2]), np.array([[0, 0], [0, 1]])
    with expect_unchanged(P=P, Q=Q, centres=centres, contexts=contexts, negatives=negatives):
        J, (rows_P, sums_P), (rows_Q, sums_Q) = skip_gram(P, Q, centres, contexts, negatives)
    # products: 1 and 0, 0 for the first pair; -2 and 0, 2 for the second one
    plus = np.logaddexp(0, np.array([-1.0, 0, 0, 2, 0, 2]))
    expect_close(J, plus.sum() / 2, mistakes={"Divide by the number of pairs, m.": plus.sum()})
    expect_close(rows_P, [0, 1], hint="row 2 of P was not read")
    low, high = 1 / (1 + math.exp(1)), 1 / (1 + math.exp(-2))  # sigmoid(-1) and sigmoid(2)
    expect_close(
        sums_P,
        [[-low / 2, -low / 2], [high / 2, high]],
        hint="(sigmoid - 1) q for the true word, sigmoid q for the others",
    )
    expect_close(rows_Q, [0, 1, 2])
    expect_close(
        sums_Q, [[0.5, 0.5], [-low / 2, high], [0, -high]], hint="row 0 of Q comes three times: each time counts"
    )
    expect_close(skip_gram(70.0 * P, 70.0 * Q, centres, contexts, negatives)[0], 9800, rtol=1e-3, hint="no overflow")

# %% [markdown]
# Vectors of the words of the reviews, learnt from neighbours at most two places away, with five negatives. For some
# words, the four nearest ones by the cosine. Words that stand in the same places become alike: names beside names,
# parts beside parts, and good words beside bad ones, because both stand after "is". To know which is which one needs
# more than neighbours: the mood of the reviews.

# %% tags=["demo"]
near_vocabulary = {word: j for j, (word, _) in enumerate(Counter(w for t in train_tokens for w in t).most_common())}
found_pairs = [
    (near_vocabulary[tokens[i]], near_vocabulary[tokens[j]])
    for tokens in train_tokens
    for i in range(len(tokens))
    for j in range(max(0, i - 2), min(len(tokens), i + 3))
    if i != j
]
centres, contexts = np.array(found_pairs).T
frequency = np.bincount(centres) ** 0.75
rng = np.random.default_rng(0)
P, Q = rng.standard_normal((2, len(near_vocabulary), 16)) / 4
for _ in range(demo_size(full=600, small=20)):
    picked = rng.integers(0, len(centres), 500)
    negatives = rng.choice(len(frequency), (500, 5), p=frequency / frequency.sum())
    J, grad_P, grad_Q = skip_gram(P, Q, centres[picked], contexts[picked], negatives)
    for vectors, (rows, sums) in ((P, grad_P), (Q, grad_Q)):
        vectors[rows] -= 10.0 * sums
unit = P / np.linalg.norm(P, axis=1, keepdims=True)
names = list(near_vocabulary)
for word in ("great", "battery", "rosa", "lisbon"):
    if word in near_vocabulary:
        nearest = np.argsort(-unit @ unit[near_vocabulary[word]])[1:5]
        print(f"{word:>10}: {', '.join(names[j] for j in nearest)}")

# %% [markdown]
# ## Scale it
#
# ### Time against length
#
# A recurrent network takes time linear in $T$. The picture measures the forward pass (left), and forward and backward
# together (right), yours in NumPy and torch.nn.RNN, which is the peer: it has the same weights, the same batch,
# float32 and one thread. On a busy machine run the cell again. Two effects to look for:
#
# - **All slopes are about 1**: the steps wait for each other, however long the text. More processors help within a step
#   only.
# - **Nobody wins by much.** Both do the same products, one step after the other. The peer takes $X W^\top$ for all
#   positions in one product, and its loop does not run in Python: this pays where $n$ is large. NumPy's calls are
#   cheaper than torch's, and in the backward pass torch keeps a graph besides: where $n$ is small, as here, your loop
#   may be ahead. On a GPU a loop in Python pays for launching a few programs in each step, and torch hands the whole
#   loop to one library call.

# %% tags=["demo"]
d, n, B = 32, 64, 16
torch.manual_seed(0)
peer_rnn = nn.RNN(d, n, batch_first=True)
weights = [getattr(peer_rnn, name).detach().numpy() for name in ("weight_ih_l0", "weight_hh_l0")]
bias = (peer_rnn.bias_ih_l0 + peer_rnn.bias_hh_l0).detach().numpy()
start = np.zeros((B, n), np.float32)


def your_forward(X: np.ndarray) -> np.ndarray:
    return rnn_forward(X, start, *weights, bias)


def your_both(X: np.ndarray) -> tuple:
    H = rnn_forward(X, start, *weights, bias)
    return rnn_backward(X, start, *weights, H, H)


def peer_forward(X: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return peer_rnn(torch.from_numpy(X))[0]


def peer_both(X: np.ndarray) -> None:
    out = peer_rnn(torch.from_numpy(X).requires_grad_())[0]
    (out * out.detach()).sum().backward()


X = np.random.default_rng(0).standard_normal((B, 50, d)).astype(np.float32)
print(f"largest difference of the outputs: {np.abs(your_forward(X) - peer_forward(X).numpy()).max():.1e}")
figure, axes = plt.subplots(1, 2, figsize=(11, 4))
pairs = {"forward": (your_forward, peer_forward), "both passes": (your_both, peer_both)}
for ax, (title, (yours, peers)) in zip(axes, pairs.items(), strict=True):
    speed = scaling.measure(
        {"yours": yours, "torch.nn.RNN": peers},
        sizes=demo_size(full=[10, 30, 100, 300, 1000], small=[4, 8, 16]),
        setup=lambda T: np.random.default_rng(0).standard_normal((B, T, d)).astype(np.float32),
        budget=demo_size(full=1.0, small=0.3),
        label="positions T",
        memory=None,
        threads=1,
    )
    speed.plot(ax=ax, peer="torch.nn.RNN").set_title(f"Time grows with the length: {title}")
plt.show()

# %% [markdown]
# ### Many sequences at a time
#
# What can be done at the same time is the batch. The cell measures positions read a second against the number of
# sequences $B$, forward and backward, for your cell and for torch.nn.LSTM with the same weights. While $B$ is small
# each step is mostly overhead, so twice as many sequences cost nearly nothing. Then the arithmetic takes over, and
# the curves flatten; they may fall where a batch no longer fits into the processor's cache. Here the peer's advantage
# is largest where $B$ is small, because it saves calls and not multiplications.

# %% tags=["demo"]
n, T = 64, 20
cell, peer_lstm = LSTMCell(d, n), nn.LSTM(d, n, batch_first=True)
same_weights(cell, peer_lstm)


def your_pass(x: torch.Tensor) -> None:
    stacked_lstm(x, [[cell]]).square().mean().backward()


def peer_pass(x: torch.Tensor) -> None:
    peer_lstm(x)[0].square().mean().backward()


x = torch.randn(3, T, d)
gap = float((stacked_lstm(x, [[cell]]) - peer_lstm(x)[0]).detach().abs().max())
print(f"largest difference of the outputs: {gap:.1e}")
width = scaling.measure(
    {"yours": your_pass, "torch.nn.LSTM": peer_pass},
    sizes=demo_size(full=[1, 4, 16, 64, 256, 1024], small=[1, 4, 8]),
    setup=lambda B: torch.randn(B, T, d),
    budget=demo_size(full=2.0, small=0.3),
    repeat=4,
    label="sequences B",
    memory=None,
    threads=1,
)
plotting.curves(
    {name: (width.sizes, T * width.sizes / seconds) for name, seconds in width.seconds.items()},
    xlabel="sequences in the batch",
    ylabel="positions a second",
    title="The batch is what runs in parallel",
    logx=True,
    logy=True,
)
plt.show()

# %% [markdown]
# ### Memory, and what truncation costs
#
# Left: the bytes that autograd holds at most (the weights left out) while your `truncated_step` reads $T$ characters
# with the trained model, in one window (full backpropagation) and in windows of 10. The first grows with $T$, the
# second does not. Right: the price. With windows of $K$, the gradient is compared with the full one on 200 positions,
# by the cosine of the angle between them. It is an approximation that becomes better with $K$. The loss is the same
# for all $K$, up to rounding (printed).

# %% tags=["demo"]
lengths, most = demo_size(full=[10, 30, 100, 300, 1000], small=[10, 20, 40]), {}
for name, window in (("one window", None), ("windows of 10", 10)):
    most[name] = []
    for T in lengths:
        part = streams[:1, : T + 1]
        with counting_saved(writer):
            truncated_step(writer, part[:, :-1], part[:, 1:], window or T)
        most[name].append(Held.most)


def gradient_by(window: int, part: torch.Tensor) -> tuple[np.ndarray, float]:
    loss, _ = truncated_step(writer, part[:, :-1], part[:, 1:], window)
    return np.concatenate([p.grad.numpy().ravel() for p in writer.parameters()]), loss


part = streams[:8, : demo_size(full=201, small=9)]
full, full_loss = gradient_by(part.shape[1], part)
windows, cosines, gaps = [w for w in (1, 2, 4, 8, 16, 32, 64, 128) if w < part.shape[1]], [], []
for window in windows:
    found, loss = gradient_by(window, part)
    cosines.append(float(found @ full / np.linalg.norm(found) / np.linalg.norm(full)))
    gaps.append(abs(loss - full_loss))
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for (name, values), marker in zip(most.items(), "os", strict=True):
    slope = np.polyfit(np.log(lengths), np.log(values), 1)[0]
    left.loglog(lengths, values, marker=marker, label=f"{name}: slope {slope:.2f}")
left.set(xlabel="positions T", ylabel="bytes held at most", title="A window's memory does not grow")
left.legend()
right.semilogx(windows, cosines, marker="o")
right.set(xlabel="window K", ylabel="cosine with the full gradient", title="A short window bends the gradient")
plt.show()
print(f"the loss differs by {max(gaps):.0e} at most")

# %% [markdown]
# ### On many machines, and where it breaks
#
# The gradient is a sum over rows and windows. So machines can each take some rows of the text, keep the states of
# *their own* rows, and send gradients only: the states never cross the wire. Of the embedding they send the rows of
# 11.1. The number of bytes is that of the parameters, whatever $T$ is.
#
# What cannot be split is time: step $t$ waits for step $t - 1$. On a GPU, which wants a million multiplications at
# once, a recurrent network with a small batch leaves most of the machine idle. And all that was read must fit into a
# state of fixed size: a translator (module 13) must put a whole sentence into it. The transformer of module 12 has
# neither limit: each position looks at all others directly, in parallel. The price is work that grows with $T^2$.
# Recurrent networks stay where a stream has no end, or where memory for each position is too dear: speech (module 23)
# that is recognised while it is spoken, or the clicks of a user (module 19) as they come.

# %% [markdown] written="what_is_kept" points=2
# **Written question (2 points).** A team predicts the next click of users with an LSTM. They train on batches of 64
# sessions, padded to 500 clicks, with truncated backpropagation in windows of 50 and the state carried from each
# window to the next. The loss is the mean over all positions of the batch. In the report: (a) the loss is far lower
# than on the validation sessions, which are evaluated one at a time without padding; (b) purchases that depend on the
# first click of a session are predicted no better than by chance; (c) at the end of the first hour the process is
# killed for its memory. Give for each a cause in terms of this module, a measurement that would confirm it, and the
# cure.
#
# ### BEGIN SOLUTION
# (a) Padding counts in the training loss: the network quickly learns to predict the fill value after the end, where
# the loss is nearly 0, and these positions pull the mean down. Confirm: compute the training loss on real positions
# only, or pad to 1,000 and see it fall. Cure: the mean over the mask. (Also accepted: the state of one batch carried
# into the next one, which belongs to other sessions, so that training sees another input than evaluation.) (b) The
# gradient is cut after 50 positions, so no link longer than that is learnt directly; the state carries the
# information only if something else taught the network to keep it. Besides, the gradient may vanish within a window:
# forget gates. Confirm: accuracy against the distance of the first click; the length of the gradient by distance;
# retrain with a longer window. Cure: longer windows for these sessions (memory), a forget bias near 5, the first
# click as an input at each position, attention. (c) A graph is kept: a state that is not detached with
# retain_graph=True, or losses appended as tensors. Confirm: bytes held after each step grow in a line. Cure: detach,
# keep floats.
#
# ### RUBRIC
# - 0.5: (a) The padding counts in the training loss, and the cure is a mean over real positions. (Also right: the
#   state of other sessions is carried over.)
# - 0.5: (b) The gradient is cut after 50 positions, or vanishes, and a cure that fits, such as longer windows or
#   attention.
# - 0.5: (c) A graph is kept, by a state that is not detached or by losses kept as tensors, and the cure is to detach.
# - 0.5: For each of the three a measurement that would confirm it.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. A gate that is a number between 0 and 1 for each unit keeps a memory for $1 / (1 - f)$ steps. How are these times
#    distributed in the trained character model, and what does a unit with the longest one remember?
# 2. If the recurrence is linear, $h_t = a_t \odot h_{t-1} + b_t$ with $a_t$ that does not depend on $h$, all states
#    can be computed in $\log T$ parallel steps (a scan). What is lost when the dependence on $h$ is given up, and
#    what does it gain on a GPU?
# 3. Truncation gives a biased gradient. If the length of each window is drawn at random, the terms can be weighted so
#    that the gradient is right on average. What happens to its variance?
# 4. Dropout between layers draws anew at each position. What changes if one mask is used for all positions of a
#    sequence, and may it then act on $h_{t-1}$, too?
#
# References:
#
# - J. L. Elman, "Finding structure in time", *Cognitive Science*, 1990. The plain network of 11.2, on letters and
#   sentences.
# - P. J. Werbos, "Backpropagation through time: what it does and how to do it", *Proceedings of the IEEE*, 1990. 11.3.
# - R. J. Williams and J. Peng, "An efficient gradient-based algorithm for on-line training of recurrent network
#   trajectories", *Neural Computation*, 1990. Truncated backpropagation, with its memory counted.
# - Y. Bengio, P. Simard and P. Frasconi, "Learning long-term dependencies with gradient descent is difficult", *IEEE
#   Transactions on Neural Networks*, 1994. Why gradients vanish where a state is kept safely.
# - S. Hochreiter and J. Schmidhuber, "Long short-term memory", *Neural Computation*, 1997. The memory that is added to.
# - F. A. Gers, J. Schmidhuber and F. Cummins, "Learning to forget: continual prediction with LSTM", *Neural
#   Computation*, 2000. The forget gate.
# - M. Schuster and K. K. Paliwal, "Bidirectional recurrent neural networks", *IEEE Transactions on Signal
#   Processing*, 1997. 11.6.
# - K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation",
#   *EMNLP*, 2014. The GRU, and a network that writes what another has read.
# - R. Jozefowicz, W. Zaremba and I. Sutskever, "An empirical exploration of recurrent network architectures",
#   *ICML*, 2015. Thousands of cells tried; the forget bias matters more than most.
# - R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural networks", *ICML*, 2013.
#   Clipping by norm, and the geometry of exploding gradients.
# - T. Mikolov, I. Sutskever, K. Chen, G. Corrado and J. Dean, "Distributed representations of words and phrases and
#   their compositionality", *NeurIPS*, 2013. Skip-gram with negative sampling.
# - W. Zaremba, I. Sutskever and O. Vinyals, "Recurrent neural network regularization", arXiv, 2014. Dropout between
#   layers, not within the recurrence.
#
# In practice: `torch.nn.LSTM` with `torch.nn.utils.rnn.pack_padded_sequence`, which skips padding, and
# `torch.nn.EmbeddingBag` or `torch.nn.Embedding(sparse=True)` for large vocabularies.
