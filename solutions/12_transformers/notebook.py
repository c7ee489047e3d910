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
# # 12 · Transformers
#
# **What you will be able to do.** Build a GPT from matrix products and a softmax: attention with every kind of mask,
# rotary positions, heads, the block, the model. Train it on real text and watch it learn to write. Make it write
# fast, with a cache that repeats no work. Then compute the same attention over any length without ever holding its
# matrix, which is the idea behind FlashAttention. At each step you can say what it costs, in operations and in bytes.
#
# **You need** softmax, cross-entropy and `online_logsumexp` (module 03), Adam and learning rate schedules (module 02),
# the chain rule (module 08), residual connections (module 10) and the basics of `torch.nn.Module`. Autograd computes
# the gradients here. Module 11 (recurrent networks) helps, and is not needed.
#
# **Skills it trains**: masks, parts that fit together, a cache that gives the same result as computing again,
# summaries that merge.
#
# **Time**: about five hours, three and a half of them in eight exercises and a bug to find. Take a break after 12.5.
# Each exercise says how important it is (essential, important, optional), its level, which is also its points, and
# its minutes.
#
# **Symbols of the whole module**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $B$ | `B` | | sequences in the batch |
# | $T$, $S$ | `T`, `S` | | queries (positions that ask) and keys (positions that are asked) |
# | $D$, $h$, $d$ | `d_model`, `heads`, `d` | | width of the model, number of heads, width of a head: $d = D / h$ |
# | $e$ | | | width of a value, mostly $d$ (Euler's power is written exp) |
# | $q$, $k$, $v$ | `q`, `k`, `v` | $(\dots, T, d)$, $(\dots, S, d)$, $(\dots, S, e)$ | queries, keys, values |
# | $A$, $M$ | `scores`, `mask` | $(\dots, T, S)$ | scores; mask: True where the query may see the key |
# | $\alpha$ | `weights` | $(\dots, T, S)$ | attention weights: each row is at least 0 and sums to 1 |
# | $W_q^{(j)}$, $W_k^{(j)}$, $W_v^{(j)}$; $W_o$ | `query`, `key`, `value`; `out` | $(D, d)$ each; $(D, D)$ | learnt matrices, three for each head $j$ |
# | $m$, $\ell$, $u$ | | number, number, $(e,)$ | in 12.9, for one query: the largest score so far, the sum of exp(score − $m$) ($t$ and $s$ in module 03), and that sum with the values |
# | $x$ | `x` | $(B, T, D)$ | a vector for each position: the input of a block, and its output |
# | $p$ | `positions` | $(T,)$ | the place of each query in its sequence, from 0 |
# | $P$ | | | positions that a cache holds (12.5) |
# | $V$, $L$ | `vocab`, `layers` | | tokens in the vocabulary, blocks in the model |
# | $E$ | `embedding.weight` | $(V, D)$ | the table of the embedding |
#
# Dots ($\dots$) stand for leading axes, such as batch and heads. In other modules $d$ is the number of columns of
# $X$.

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

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

plotting.use()
torch.set_num_threads(1)  # one core for everybody: the comparisons below are of algorithms
checking.start("12_transformers", total=9)


@dataclass(frozen=True)
class Config:
    """The sizes of a GPT."""

    vocab: int
    d_model: int = 64
    heads: int = 4
    layers: int = 2


def parameter_count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


# %% [markdown]
# ## Derive
#
# ### A dictionary that can be differentiated
#
# A sentence is a sequence of vectors, one for each word. To understand "it" in "the cat sat on the mat because it was
# tired" a network needs the vector of "cat", which stands six words earlier. A convolution reaches a fixed distance.
# A recurrent network carries everything through one state, step by step. What we want is a *lookup*: the word "it"
# asks, and the word that fits answers, wherever it stands.
#
# A Python dictionary does that. It compares a **query** $q$ with each **key** $k_s$ and returns the **value** $v_s$
# of the key that is equal. With one-hot weights $\alpha_s = 1$ if $k_s = q$ and else 0, it returns $\sum_s \alpha_s
# v_s$. But a step from 0 to 1 has no gradient, so nothing could learn which keys to have. Soften it in two steps.
#
# - *Equal* becomes *similar*: of keys of equal length, the score $a_s = q \cdot k_s$ is largest for the one that
#   points in the query's direction.
# - *One-hot* becomes *softmax*: $\alpha_s = \exp(a_s) / \sum_r \exp(a_r)$, which is positive, sums to 1, and is smooth.
#
# $$o = \sum_{s} \alpha_s\, v_s, \qquad \alpha = \operatorname{softmax}(q \cdot k_1, \dots, q \cdot k_S) .$$
#
# This is **attention**: a weighted mean of the values, and the weights say how much each value counts. With scores
# times $\beta$, a large $\beta$ gives the dictionary back (its nearest key answers), and $\beta = 0$ the plain mean. (In
# 12.8, $1 / \beta$ is called the temperature $\tau$.)
# The figure shows it for six keys on a circle. The left panel shows the weights that one query gives, the right panel
# the output as the query goes around.

# %% tags=["demo"]
angles = 2 * np.pi * np.arange(6) / 6
values = np.array([3.0, 5.0, 1.0, 2.0, 6.0, 4.0])
asked = np.linspace(0, 2 * np.pi, 400)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for i, (beta, line) in enumerate({0: ":", 2: "-.", 10: "--", 300: "-"}.items()):

    def soft(query, beta=beta):
        scores = beta * np.cos(np.subtract.outer(query, angles))  # q · k of unit vectors
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return weights / weights.sum(axis=-1, keepdims=True)

    left.bar(np.arange(6) + 0.2 * (i - 1.5), soft(np.array(1.35)), 0.2, label=rf"$\beta$ = {beta}")
    right.plot(np.degrees(asked), soft(asked) @ values, line, label=rf"$\beta$ = {beta}")
left.set_xticks(range(6), [f"{np.degrees(a):.0f}°" for a in angles])
left.set(xlabel="direction of the key", ylabel="weight", title="Weights for a query at 77°")
right.plot(np.degrees(angles), values, "o", color=plotting.MUTED, label="keys and their values")
right.set(xlabel="direction of the query", ylabel="output", title="From the mean to a dictionary")
right.set_ylim(0.5, 8.5)
right.legend(ncols=2, fontsize=8, loc="upper center")
left.legend()
plt.show()

# %% [markdown]
# That is the whole idea. What is left are questions, and each section answers one. Which query may see which key
# (12.1)? How do we hide a key so that it has no influence (12.2)? What keeps the softmax soft in many dimensions
# (12.3)? A weighted mean does not know the order of the words: how does it learn it (12.4)? How can a word ask
# several questions at once (12.5)? What is done with the answers (12.6), and what does a model need around it (12.7)?
# How does it write without computing everything again for each word (12.8)? And what if $T \times S$ weights do not
# fit into memory (12.9)?
#
# ### Where tutorials disagree
#
# | question | seen elsewhere | here |
# | --- | --- | --- |
# | True in a mask | may be seen (torch's `scaled_dot_product_attention`), or is hidden (torch's `nn.MultiheadAttention`) | may be seen |
# | causal mask with $T < S$ | the first query stands at the first key (torch's `is_causal`), or the last at the last (FlashAttention, since its version 2.1) | the last query at the last key |
# | a query that may see no key | nan, the mean of all values, or zeros | zeros, with gradient 0 |
# | positions | a vector for each place, added: learnt (GPT-2, BERT) or of sines (the paper of 2017) | rotary: queries and keys turn (12.4) |
# | pairs in rotary embeddings | $(0, 1), (2, 3), \dots$ (the paper), or $(0, d/2), (1, d/2 + 1), \dots$ (many models) | $(0, 1), (2, 3), \dots$ |
# | layer normalisation | after the sum (the paper of 2017), or before each part (since GPT-2) | before each part |
# | output weights | a matrix of their own, or the embedding again | the embedding again (12.7) |

# %% [markdown]
# ## Implement
#
# ### 12.1 `causal_mask` · essential · level 1 of 4 · 5 min
#
# A model that writes predicts the next word from the words before it. In training all words of a text are there, and
# position $t$ must not see what comes after it: this is a **causal** mask. Row $t$ of the mask belongs to a query,
# column $s$ to a key.
#
# When a model writes, the keys of all $S$ positions are there, but only the last $T$ positions ask. Query $t$ then
# stands at position $S - T + t$ of the sequence. It sees that position and all before it.


# %% exercise="causal_mask" points=1 minutes=5 trains=["masks"]
def causal_mask(T: int, S: int) -> torch.Tensor:
    """Who may see whom, where the T queries are the last T of S positions.

    T, S: integers, 1 <= T <= S.
    Returns a new bool tensor, (T, S), on the CPU. Entry [t, s] is True where query t, which stands
      at position S - T + t, may see key s: where s <= S - T + t.
    Raises ValueError where T > S or T < 1.
    """
    ### BEGIN SOLUTION
    if not 1 <= T <= S:
        raise ValueError(f"{T} queries are not the last of {S} positions")
    return torch.ones(T, S, dtype=torch.bool).tril(S - T)
    ### END SOLUTION


# %% [markdown] hints="causal_mask"
# <details><summary>Hint 1: compare positions</summary>
#
# `torch.arange(S)` are the positions of the keys. Which are those of the queries?
# </details>
# <details><summary>Hint 2: nearly the solution</summary>
#
# The queries stand at `torch.arange(S - T, S)`. Compare them as a column, `[:, None]`, with those of the keys.
# (`torch.tril` with its second argument does it, too.)
# </details>

# %% check="causal_mask"
with check("causal_mask"):
    expect_dtype(causal_mask(2, 2), torch.bool)
    expect_close(
        causal_mask(2, 2).int(),
        [[1, 0], [1, 1]],
        mistakes={
            "True means: may be seen.": [[0, 1], [0, 0]],
            "A position sees itself, too.": [[0, 0], [1, 0]],
            "Rows are queries, columns are keys.": [[1, 1], [0, 1]],
        },
    )
    expect_close(
        causal_mask(2, 4).int(),
        [[1, 1, 1, 0], [1, 1, 1, 1]],  # the queries stand at positions 2 and 3
        mistakes={"The last query stands at the last key, not the first at the first.": [[1, 0, 0, 0], [1, 1, 0, 0]]},
    )
    with expect_raises(ValueError, hint="three queries cannot be the last of two positions"):
        causal_mask(3, 2)

# %% [markdown]
# The figure shows $T = 3$ queries and $S = 8$ keys; blue means that the query sees the key. The left panel shows your
# mask. The right panel shows what torch makes of `is_causal=True`: its first query stands at the first key. For a
# model that writes, this is wrong, and nothing warns you: all shapes are right.

# %% tags=["demo"]
zeros, eye = torch.zeros(3, 1), torch.eye(8)
torch_sees = F.scaled_dot_product_attention(zeros, torch.zeros(8, 1), eye, is_causal=True) > 0
figure, axes = plt.subplots(1, 2, figsize=(9, 2.2))
for ax, sees, title in zip(axes, (causal_mask(3, 8), torch_sees), ("Yours", "torch's is_causal"), strict=True):
    ax.imshow(sees, cmap="Blues", vmin=0, vmax=1.6)
    ax.set(xlabel="key", ylabel="query", title=title, xticks=range(8), yticks=range(3))
    ax.grid(False)
plt.show()

# %% [markdown]
# ### 12.2 `masked_softmax` · essential · level 1 of 4 · 10 min
#
# How does a mask enter? The sum in the softmax must run over the allowed keys only, and this means *before* the
# exponentials are divided:
#
# $$\alpha_{ts} = \frac{M_{ts} \exp(A_{ts})}{\sum_r M_{tr} \exp(A_{tr})} .$$
#
# If no key is allowed, this is 0/0. Such rows exist: a sequence of length 0 in a batch, or, under a causal mask, the
# first rows of a text that is padded on the left. We define them as zeros. Then the output is 0, and no gradient flows. (A nan would spread to all
# weights of the model with the first update.)
#
# **Find the bug.** The function below is a tempting way to do it. Its weights are 0 where they should be, its shape
# is right, and a model trains with it. But hidden entries still change the result.


# %% exercise="masked_softmax" points=1 minutes=10 bug=true trains=["masks"]
def masked_softmax(scores: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Softmax along the last axis over the allowed entries only.

    scores: (..., S), float32 or float64, finite, up to 1e30 in size; not modified.
    allowed: bool, of a shape that broadcasts to that of scores; True: takes part. Not modified.
    Returns a new tensor of the shape and dtype of scores. Entries that are not allowed are
      exactly 0. The others are the softmax over the allowed entries of their row and sum to 1, to
      rounding: nothing is added to the divisor. A row without any allowed entry is all zeros.
    What stands in an entry that is not allowed changes nothing. Gradients flow to scores; they are
      exactly 0 at entries that are not allowed, and everywhere finite.
    """
    ### BEGIN SOLUTION
    weights = torch.softmax(scores.masked_fill(~allowed, torch.finfo(scores.dtype).min), dim=-1)
    return weights.masked_fill(~allowed, 0)
    ### END SOLUTION
    ### BEGIN BUG
    # weights = torch.softmax(scores, dim=-1)
    # return weights.masked_fill(~allowed, 0)
    ### END BUG


# %% [markdown] hints="masked_softmax"
# <details><summary>Hint 1: look at a row</summary>
#
# Print the sum of a row of which one entry is hidden. Then change the score of the hidden entry. What happens to the
# others?
# </details>
# <details><summary>Hint 2: before the softmax</summary>
#
# Which score $a$ makes $\exp(a)$ equal to 0? `scores.masked_fill(~allowed, ...)` puts it there. Keep the last line: it makes
# rows without any allowed entry zero. With it, no small number is needed in a divisor.
# </details>

# %% check="masked_softmax"
with check("masked_softmax"):
    scores = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64).log().requires_grad_()  # e^a = 1, 2, 5
    allowed = torch.tensor([True, True, False])
    with expect_unchanged(scores=scores, allowed=allowed):
        got = masked_softmax(scores, allowed)
    expect_close(
        got,
        [1 / 3, 2 / 3, 0],  # 1 + 2 = 3
        mistakes={
            "The hidden entry is still in the sum: mask before the softmax.": [1 / 8, 2 / 8, 0],
            "A score of 0 is not hidden: e^0 is 1.": [1 / 4, 2 / 4, 0],
        },
    )
    assert abs(got.sum().item() - 1) < 1e-14, f"1 - {1 - got.sum().item():.0e}: nothing is added to the divisor"
    got[0].backward()
    expect_close(scores.grad, [1 / 3 * 2 / 3, -1 / 3 * 2 / 3, 0], hint="w_0 (1 - w_0), -w_0 w_1, and nothing")
    far = torch.tensor([[0.0, 0.0, 1e9], [-1e30, -1e30, 0.0]])
    expect_close(masked_softmax(far, allowed), [[0.5, 0.5, 0]] * 2, hint="whatever stands in the hidden entry")
    nobody = torch.zeros(2, 3, requires_grad=True)
    got = masked_softmax(nobody, torch.zeros(1, 3, dtype=torch.bool))
    expect_close(got, np.zeros((2, 3)), hint="nobody is allowed: zeros")
    got.sum().backward()
    expect_close(nobody.grad, np.zeros((2, 3)), hint="and no gradient")

# %% [markdown]
# One row with three allowed entries, and a hidden one whose score grows. Masked before the softmax, the allowed
# weights sum to 1, whatever it is. Masked after it, they fade: **the future takes part in the sum**. In training the loss
# looks better than it is, because the model can see from a small sum that a later token has a large score. When the
# model writes, there is no future: each row sums to 1, which almost no row did in training.

# %% tags=["demo"]
hidden = torch.linspace(-4, 8, 60)
rows = torch.cat((torch.tensor([0.5, 0.0, -1.0]).expand(60, 3), hidden[:, None]), dim=1)
allowed = torch.tensor([True, True, True, False])
ax = plotting.curves(
    {
        "yours": (hidden, masked_softmax(rows, allowed).sum(dim=1)),
        "mask after the softmax": (hidden, torch.softmax(rows, dim=1).masked_fill(~allowed, 0).sum(dim=1)),
    },
    xlabel="score of the hidden entry",
    ylabel="sum of the allowed weights",
    title="A mask after the softmax leaks",
)
ax.set_ylim(-0.05, 1.1)
plt.show()

# %% [markdown]
# ### 12.3 `attention` · essential · level 2 of 4 · 20 min
#
# All queries at once, as matrix products:
#
# $$\underbrace{A}_{(\dots, T, S)} = \frac{1}{\sqrt d}\; \underbrace{q}_{(\dots, T, d)}\; \underbrace{k^\top}_{(\dots, d, S)}, \qquad
#   \alpha = \operatorname{softmax}(A \text{ where } M), \qquad \underbrace{o}_{(\dots, T, e)} = \alpha\, \underbrace{v}_{(\dots, S, e)} .$$
#
# Why $\sqrt d$? Suppose that the $d$ entries of a query and of a key are independent, with mean 0 and variance 1.
# Then $q \cdot k$ is a sum of $d$ independent products with mean 0 and variance 1, so its standard deviation is
# $\sqrt d$. For $d = 64$ two scores typically differ by about 11, and in many rows one weight is nearly 1; the larger
# $d$ is, the more rows are like that. The derivative of the softmax is $\partial \alpha_s / \partial a_r = \alpha_s
# (\delta_{sr} - \alpha_r)$, with $\delta_{sr} = 1$ if $s = r$ and else 0. In such a row it is nearly 0: the
# dictionary is hard again, and hardly learns. Divided by $\sqrt d$, scores have standard deviation 1 for every $d$.
#
# The cost: $T S d$ multiplications for the scores and $T S e$ for the output, and **$T S$ numbers in memory** for
# each head. Remember this number until 12.9.


# %% exercise="attention" points=2 minutes=20 forbids=["torch.nn.functional.scaled_dot_product_attention", "torch.nn.MultiheadAttention", "torch.nn.functional.multi_head_attention_forward", "torch.nn.attention"] trains=["masks"]
def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Scaled dot-product attention.

    q: (..., T, d), k: (..., S, d), v: (..., S, e), all float32 or all float64 (a demo passes
      bfloat16, too), finite, up to 1e4 in size; all sizes >= 1. The leading axes (...) are the same
      or broadcast. Not modified.
    mask: None (each query sees each key) or bool, of a shape that broadcasts to (..., T, S); True
      where query t may see key s. Not modified. Raises ValueError for a mask of another dtype.
    Returns a new tensor (..., T, e) of v's dtype: row t is the mean of the values that query t may
      see, weighted by the softmax of q_t · k_s / sqrt(d) over those s. A query that may see none
      gets zeros.
    Keys and values that a query may not see change nothing of its row. Gradients flow to q, k and
      v; they are finite, and 0 where nothing is seen.
    You may call your masked_softmax. Not allowed: torch.nn.functional.scaled_dot_product_attention,
    torch.nn.MultiheadAttention, torch.nn.functional.multi_head_attention_forward,
    torch.nn.attention.
    """
    ### BEGIN SOLUTION
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is None:
        return torch.softmax(scores, dim=-1) @ v
    if mask.dtype != torch.bool:
        raise ValueError(f"the mask is {mask.dtype}, not bool")
    return masked_softmax(scores, mask) @ v
    ### END SOLUTION


# %% [markdown] hints="attention"
# <details><summary>Hint 1: the last two axes</summary>
#
# `@` multiplies the last two axes and lets the others come along. `k.mT` exchanges the last two axes of k. Which of
# the sizes in `q.shape` is d?
# </details>
# <details><summary>Hint 2: the mask</summary>
#
# The softmax runs along the last axis, over the keys. With a mask it is your `masked_softmax`, and queries that see
# nothing are done already.
# </details>

# %% check="attention"
with check(
    "attention",
    forbids=[
        "torch.nn.functional.scaled_dot_product_attention",
        "torch.nn.MultiheadAttention",
        "torch.nn.functional.multi_head_attention_forward",
        "torch.nn.attention",
    ],
):
    q = torch.tensor([[2 * math.log(3), 0, 0, 0], [0, 0, 0, 0]], dtype=torch.float64)
    k = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]], dtype=torch.float64)
    v = torch.tensor([[8.0, 0], [0, 4]], dtype=torch.float64)
    with expect_unchanged(q=q, k=k, v=v):
        got = attention(q, k, v)
    # The scores of the first query are 2 log 3 / sqrt(4) = log 3 and 0, its weights 3/4 and 1/4.
    expect_close(
        got,
        [[6.0, 1.0], [4.0, 2.0]],
        mistakes={
            "Divide the scores by the root of d.": [[7.2, 0.4], [4.0, 2.0]],
            "Divide by the root of d, not by d.": [[8 * 3**0.5 / (3**0.5 + 1), 4 / (3**0.5 + 1)], [4.0, 2.0]],
            "d is the width of q and k, not that of v.": [[8 - 8 / (3**2**0.5 + 1), 4 / (3**2**0.5 + 1)], [4.0, 2.0]],
            "The softmax runs over the keys, the last axis.": [[6.0, 2.0], [2.0, 2.0]],
        },
    )
    seen = torch.tensor([[False, True], [False, False]])
    expect_close(attention(q, k, v, seen), [[0.0, 4.0], [0.0, 0.0]], hint="the second query sees nothing: zeros")
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 5, generator=draw, dtype=torch.float64) for n in (4, 6, 6))
    mask = torch.rand(2, 1, 4, 6, generator=draw) < 0.6
    mask[..., 0] = True
    peer = F.scaled_dot_product_attention(q, k, v, mask)
    expect_close(attention(q, k, v, mask), peer, hint="torch's, with a mask that all heads share")
    with expect_raises(ValueError, hint="a mask of floats"):
        attention(q, k, v, mask.double())

# %% [markdown]
# A trick for looking inside: with the identity as values, the output *is* the weights. The figure draws random
# queries and keys, 32 of them, with $d$ from 2 to 1024. The left panel shows the largest weight of a row. The right
# panel shows the size of the derivative, the root of $\sum_{s,r} (\partial \alpha_s / \partial a_r)^2$, as the median of
# the rows. (The mean would be that of a few rows in which two keys are nearly equal.) With the scale both stay where
# they are. Without it, the largest weight goes to 1; the derivative first rises a little, and falls fast once one key
# takes nearly all. (Without: the queries are multiplied by $\sqrt d$ first, so the scale is undone.)

# %% tags=["demo"]
torch.manual_seed(0)
widths = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for name, undo, line in (("with", 0.0, "-"), ("without", 0.5, "--")):
    largest, slope = [], []
    for d in widths:
        q, k = torch.randn(200, 1, d), torch.randn(200, 32, d)
        w = attention(q * d**undo, k, torch.eye(32))[:, 0]
        largest.append(w.amax(dim=1).mean())
        jacobian = torch.diag_embed(w) - w[:, :, None] * w[:, None, :]
        slope.append(jacobian.square().sum(dim=(1, 2)).sqrt().median())
    left.semilogx(widths, largest, line, marker="o", base=2, label=f"{name} the scale")
    right.loglog(widths, slope, line, marker="o", base=2, label=f"{name} the scale")
left.set(xlabel="d", ylabel="largest of 32 weights", title="Without a scale, one key takes all", ylim=(0, 1.05))
right.set(xlabel="d", ylabel="size of the derivative (median)", title="... and the derivative vanishes")
left.legend()
right.legend()
plt.show()

# %% [markdown]
# ### 12.4 `rotary` · essential · level 2 of 4 · 20 min
#
# Shuffle keys and values together, and the output stays the same: a weighted mean has no order. "Dog bites man" and
# "man bites dog" are the same to it. So positions must enter somehow. What should they do? For language, "the word
# before" matters, and "the word at position 1,204" does not. So we want scores that depend on positions only through
# their **difference**.
#
# Take two dimensions and turn the query by the angle $p \theta$ and the key by $r \theta$, where $p$ and $r$ are
# their positions. Let $R_\varphi$ be the rotation by $\varphi$. It keeps lengths, and $R_\varphi^\top R_\psi =
# R_{\psi - \varphi}$. So
#
# $$(R_{p\theta}\, q) \cdot (R_{r\theta}\, k) = q^\top R_{p\theta}^\top R_{r\theta}\, k = q^\top R_{(r - p)\theta}\, k ,$$
#
# and only $r - p$ is left. That is a **rotary embedding**. One angle repeats itself after $2\pi/\theta$ positions. So
# the $d$ numbers are cut into $d/2$ pairs, and each pair turns at its own speed, from fast, which tells neighbours
# apart, to slow, which tells pages apart:
#
# $$\begin{pmatrix} y_{2i} \\ y_{2i+1} \end{pmatrix} =
#   \begin{pmatrix} \cos p\theta_i & -\sin p\theta_i \\ \sin p\theta_i & \cos p\theta_i \end{pmatrix}
#   \begin{pmatrix} x_{2i} \\ x_{2i+1} \end{pmatrix}, \qquad \theta_i = \text{base}^{-2i/d}, \quad i = 0, \dots, d/2 - 1 .$$
#
# Values are not turned: positions should decide who is asked, not what the answer says. The cost is $O(T d)$, little
# compared with the matrix products.
#
# **Digits.** A float32 number near $10^5$ has steps of 0.008. An angle of that size, computed in float32, is off by
# up to 0.004, and so are its cosine and sine. In bfloat16 (8 bits for the digits of a number) it is noise. So compute
# angles, cosines and sines in float64, and round only the cosines and sines.


# %% exercise="rotary" points=2 minutes=20 trains=["parts that fit together"]
def rotary(x: torch.Tensor, positions: torch.Tensor, base: float = 10000.0) -> torch.Tensor:
    """Turn pairs of neighbouring entries by angles that grow with the position.

    x: (..., T, d), float32 or float64, d even, all sizes >= 1; not modified.
    positions: (T,), int64, from 0 to 1e6, in any order; not modified. base: at least 1.
    Returns a new tensor of the shape and dtype of x. In row t, with p = positions[t], the pair
      (x[2i], x[2i + 1]) is turned by the angle p * base ** (-2 i / d), for i = 0, ..., d/2 - 1:
      (c x[2i] - s x[2i + 1], s x[2i] + c x[2i + 1]), with c and s the cosine and sine of the angle.
    Right to 1e-6 of a pair's length in float32, to 1e-9 in float64, at each position up to 1e6.
    Gradients flow to x. Raises ValueError where d is odd or where positions is not of shape (T,).
    """
    ### BEGIN SOLUTION
    T, d = x.shape[-2:]
    if d % 2 or positions.shape != (T,):
        raise ValueError(f"d = {d}, positions {tuple(positions.shape)} for {T} rows")
    speed = base ** -(torch.arange(0, d, 2, dtype=torch.float64) / d)
    angles = positions.cpu()[:, None] * speed  # (T, d/2), float64
    cos, sin = angles.cos().to(x), angles.sin().to(x)
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = torch.stack((cos * even - sin * odd, sin * even + cos * odd), dim=-1)  # (..., T, d/2, 2)
    return turned.flatten(-2)
    ### END SOLUTION


# %% [markdown] hints="rotary"
# <details><summary>Hint 1: all angles</summary>
#
# `torch.arange(0, d, 2, dtype=torch.float64)` is 2i. The angles have shape (T, d/2): positions as a column times
# speeds as a row. They broadcast over the leading axes of x.
# </details>
# <details><summary>Hint 2: pairs</summary>
#
# `x[..., 0::2]` are the first entries of all pairs, `x[..., 1::2]` the second ones. Compute both results, each (...,
# T, d/2).
# </details>
# <details><summary>Hint 3: put together</summary>
#
# `torch.stack((first, second), dim=-1)` is (..., T, d/2, 2); `.flatten(-2)` makes d neighbours of them again. Speeds
# and angles are float64 throughout; only cosine and sine are cast, `angles.cos().to(x)`.
# </details>

# %% check="rotary"
with check("rotary"):
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]] * 2, dtype=torch.float64)
    where = torch.tensor([0, 1])
    with expect_unchanged(x=x, where=where):
        got = rotary(x, where, base=100.0)
    c, s = np.cos([1, 0.1]), np.sin([1, 0.1])  # the speeds are 100^0 = 1 and 100^(-2/4) = 0.1
    expect_close(got[0], [1, 2, 3, 4], hint="nothing turns at position 0")
    expect_close(
        got[1],
        [c[0] - 2 * s[0], s[0] + 2 * c[0], 3 * c[1] - 4 * s[1], 3 * s[1] + 4 * c[1]],
        mistakes={
            "The pairs are neighbours, (0, 1) and (2, 3).": [
                c[0] - 3 * s[0],
                2 * c[1] - 4 * s[1],
                s[0] + 3 * c[0],
                2 * s[1] + 4 * c[1],
            ],
            "This turns the other way: look at the signs.": [
                c[0] + 2 * s[0],
                -s[0] + 2 * c[0],
                3 * c[1] + 4 * s[1],
                -3 * s[1] + 4 * c[1],
            ],
            "All pairs turn at the same speed.": [
                c[0] - 2 * s[0],
                s[0] + 2 * c[0],
                3 * c[0] - 4 * s[0],
                3 * s[0] + 4 * c[0],
            ],
        },
    )
    swapped = rotary(x.float().reshape(2, 1, 4), torch.tensor([999_999]))
    expect_dtype(swapped, torch.float32)
    expect_close(
        swapped[0, 0, 2:],
        [3 * math.cos(9999.99) - 4 * math.sin(9999.99), 3 * math.sin(9999.99) + 4 * math.cos(9999.99)],
        atol=5e-6,
        hint="base ** (-2/4) = 0.01; compute the angles in float64",
    )
    with expect_raises(ValueError, hint="d = 3 has no pairs"):
        rotary(torch.ones(2, 3), torch.arange(2))
    with expect_raises(ValueError, hint="two rows, one position"):
        rotary(torch.ones(2, 4), torch.arange(1))

# %% [markdown]
# One query and one key, moved together through a long text. The left panel shows your rotary embedding: the score
# against their distance, with the key at position 0, 1,000 and 50,000. The three curves coincide. The right panel
# shows the older **sinusoidal** embedding, which *adds* $(\sin p\theta_i, \cos p\theta_i)$ to query and key: the score depends on
# where the two stand, because $(q + s_p) \cdot (k + s_r)$, with the added vectors $s_p$ and $s_r$, has the terms $q
# \cdot s_r$ and $s_p \cdot k$. A model has to learn to ignore them.

# %% tags=["demo"]
torch.manual_seed(3)
d = 32
base_vector = torch.randn(d, dtype=torch.float64)
q, k = base_vector + 0.3 * torch.randn(d, dtype=torch.float64), base_vector
distance = torch.arange(0, 200)


def sinusoidal(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    angles = positions[:, None] * 10000.0 ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    return x + torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
for ax, embed, title in zip(axes, (rotary, sinusoidal), ("rotary: distance alone", "sinusoidal, added"), strict=True):
    for start, line in ((0, "-"), (1000, "--"), (50_000, ":")):
        queries = embed(q.expand(len(distance), d), start + distance)
        keys = embed(k.expand(len(distance), d), torch.full((len(distance),), start))
        ax.plot(distance, (queries * keys).sum(dim=1) / math.sqrt(d), line, label=f"key at {start:,}")
    ax.set(xlabel="how far back the key is", title=title)
    ax.legend()
axes[0].set_ylabel("score")
plt.show()

# %% [markdown]
# ### 12.5 `MultiHeadAttention` · essential · level 4 of 4 · 50 min
#
# Where do queries, keys and values come from? From the same $x$, by three learnt matrices: each position says what it
# looks for, what it offers, and what it answers. This is **self-attention**. If keys and values come from another
# sequence, the **memory**, it is **cross-attention**: a sentence in French asks a sentence in English.
#
# One softmax gives one mean. A verb that needs its subject *and* its object gets a mixture of both. So the width $D$
# is cut into $h$ **heads** of $d = D / h$ columns, each with its own softmax, and a fourth matrix mixes what they
# found:
#
# $$\text{head}_j = \operatorname{attention}(x W_q^{(j)},\; y W_k^{(j)},\; y W_v^{(j)}), \qquad
#   o = [\text{head}_1, \dots, \text{head}_h]\; W_o, \qquad y = x \text{ or the memory.}$$
#
# That costs the same weights and multiplications as one head of full width: four matrices of $D^2$ weights, whatever
# $h$ is. Only the scores are more, $h T S$ numbers. In memory, cutting is a view: $(B, T, D) \to (B, T, h, d) \to (B,
# h, T, d)$, and the heads become one more leading axis for your `attention`.
#
# **The cache.** A model that writes is called once for each new token (12.8). A position's key and value depend on
# that position and those before it. (Under a causal mask nothing later reaches them.) So a model that writes need not
# compute them again. The module returns the keys and values of all positions so far, and takes them back at the next
# call. The new rows then stand at positions $P, P + 1, \dots$, where $P$ is the number of positions in the cache. The
# new queries ask all $S = P + T$ keys, so the causal mask is the one of 12.1, with $T$ rows and $S$ columns.
#
# Do it in this order, and run the check in between: heads and back; then the masks; then `rotate`; then the cache.


# %% exercise="MultiHeadAttention" points=4 minutes=50 forbids=["torch.nn.functional.scaled_dot_product_attention", "torch.nn.MultiheadAttention", "torch.nn.functional.multi_head_attention_forward"] trains=["masks", "parts that fit together", "a cache that gives the same result as computing again"]
class MultiHeadAttention(nn.Module):
    """Attention with several heads, for sequences that ask themselves or a memory.

    MultiHeadAttention(d_model, heads, attend=attention, rotate=rotary). Raises ValueError where
    heads does not divide d_model. Its parameters are query.weight, key.weight, value.weight and
    out.weight: four nn.Linear(d_model, d_model, bias=False) as torch makes them. `state_dict()` has
    no other entry.

    Calling it: (x, memory=None, mask=None, causal=False, cache=None), by name or in this order.
      x: (B, T, d_model). memory: None (self-attention) or (B, S, d_model). All of the parameters'
      dtype, all sizes >= 1; not modified.
      1. q = query(x), k = key(y), v = value(y), with y = x or the memory. Head j = 0, 1, ... takes
        the columns j d up to, not including, (j + 1) d of each, d = d_model / heads: three tensors
        (B, heads, T or S, d).
      2. In self-attention, if rotate is not None: q = rotate(q, p), k = rotate(k, p), with
         p = P, P + 1, ..., P + T - 1, an int64 tensor (T,). P is 0, or the positions in the cache.
         rotate is called just these two times. With a memory nothing is turned.
      3. cache: None, or the pair (k, v) that an earlier call returned, (B, heads, P, d) each; only
         in self-attention. Its rows come before the new ones, so S = P + T. Not modified.
      4. mask: None, or bool of a shape that broadcasts to (B, heads, T, S). causal (never True with
         a memory: no need to check): the query at position P + t sees the keys at positions 0 to
         P + t. With both, a key must be allowed by both.
      5. o = attend(q, k, v, allowed) is called once, with four arguments by position; `allowed` is
         a bool tensor of a shape that broadcasts to (B, heads, T, S), or None if mask is None and
         causal False.
      6. o, (B, heads, T, d), becomes (B, T, d_model) again, head after head, and goes through out.
    Returns (what out gives, (k, v)): k, turned, and v of all S positions, (B, heads, S, d) each.
    They share no memory with what was given.
    Calling it in several parts, each with the cache of the one before, gives the same rows as
    calling it once, with causal=True, to rounding. Raises ValueError where both memory and cache
    are given.
    Not allowed: torch.nn.functional.scaled_dot_product_attention, torch.nn.MultiheadAttention,
    torch.nn.functional.multi_head_attention_forward.
    """

    def __init__(self, d_model: int, heads: int, attend: Callable = attention, rotate: Callable | None = rotary):
        super().__init__()
        ### BEGIN SOLUTION
        if d_model % heads:
            raise ValueError(f"{d_model} columns cannot be cut into {heads} heads")
        self.heads, self.attend, self.rotate = heads, attend, rotate
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        ### END SOLUTION

    def forward(
        self,
        x: torch.Tensor,
        memory: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        causal: bool = False,
        cache: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        ### BEGIN SOLUTION
        if memory is not None and cache is not None:
            raise ValueError("a cache is for self-attention")
        y = x if memory is None else memory
        projected = (self.query(x), self.key(y), self.value(y))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in projected)  # (B, heads, ., d)
        past = 0 if cache is None else cache[0].shape[2]
        if memory is None and self.rotate is not None:
            positions = torch.arange(past, past + x.shape[1], device=x.device)
            q, k = self.rotate(q, positions), self.rotate(k, positions)
        if cache is not None:
            k, v = torch.cat((cache[0], k), dim=2), torch.cat((cache[1], v), dim=2)
        allowed = mask
        if causal:
            allowed = causal_mask(q.shape[2], k.shape[2]).to(x.device)
            allowed = allowed if mask is None else allowed & mask
        o = self.attend(q, k, v, allowed)
        return self.out(o.transpose(1, 2).flatten(2)), (k, v)
        ### END SOLUTION


# %% [markdown] hints="MultiHeadAttention"
# <details><summary>Hint 1: to heads and back</summary>
#
# `a.unflatten(-1, (heads, -1))` is (B, T, heads, d), and `.transpose(1, 2)` makes it (B, heads, T, d). Back:
# `.transpose(1, 2).flatten(2)`. A `reshape` to (B, heads, T, d) at once would mix positions and heads.
# </details>
# <details><summary>Hint 2: the order of things</summary>
#
# Turn the *new* keys only, with their positions, and then put the cache in front (`torch.cat`, along the axis of
# positions). What is in the cache is turned already. If parts with a cache differ from the whole, look at three
# things: the positions begin at P, old keys are not turned again, and the causal mask is there with a cache, too.
# </details>
# <details><summary>Hint 3: the masks</summary>
#
# `causal_mask(T, S)` with S = P + T is what `causal` means, with a cache and without, and two masks are joined by `&`.
# Shapes (T, S) and (B, 1, 1, S) broadcast. On a GPU the mask has to follow x: `.to(x.device)`.
# </details>

# %% check="MultiHeadAttention"
with check(
    "MultiHeadAttention",
    forbids=[
        "torch.nn.functional.scaled_dot_product_attention",
        "torch.nn.MultiheadAttention",
        "torch.nn.functional.multi_head_attention_forward",
    ],
):

    def plain(q, k, v, allowed=None):
        allowed = None if allowed is None else allowed.expand(*q.shape[:-1], k.shape[-2])
        return F.scaled_dot_product_attention(q, k, v, allowed)

    torch.manual_seed(1)
    net, peer = MultiHeadAttention(6, 3, plain, None), nn.MultiheadAttention(6, 3, bias=False, batch_first=True)
    named = {name: tuple(part.shape) for name, part in net.state_dict().items()}
    wanted = {f"{name}.weight": (6, 6) for name in ("query", "key", "value", "out")}
    assert named == wanted, f"the parameters are {named}"
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat((net.query.weight, net.key.weight, net.value.weight)))
        peer.out_proj.weight.copy_(net.out.weight)
    x, memory = torch.randn(2, 4, 6), torch.randn(2, 5, 6)
    copies = MultiHeadAttention(6, 3, lambda q, k, v, allowed: v, None)
    with torch.no_grad():
        copies.value.weight.copy_(torch.eye(6))
        copies.out.weight.copy_(torch.eye(6))
    expect_close(copies(x)[0], x, hint="cut into heads and put together, nothing moves: transpose back, then flatten")
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    out, _ = net(x, memory, real[:, None, None, :])
    theirs, _ = peer(x, memory, memory, key_padding_mask=~real)  # in this module of torch, True is hidden
    expect_close(out, theirs, rtol=1e-4, atol=1e-5, hint="torch's module, with the same weights: cross-attention")
    out, (k, v) = net(x, causal=True)
    theirs, _ = peer(x, x, x, attn_mask=~torch.ones(4, 4, dtype=torch.bool).tril())
    expect_close(out, theirs, rtol=1e-4, atol=1e-5, hint="torch's module, with the same weights: causal")
    expect_close(k[:, 1], net.key(x)[:, :, 2:4], rtol=1e-4, hint="head 1 takes columns 2 and 3")
    asked = []

    def turn(a, positions):
        asked.append(positions.tolist())
        return a * (1 + positions[:, None])

    net = MultiHeadAttention(6, 3, plain, turn)
    out, (k, v) = net(x, causal=True)
    assert asked == [[0, 1, 2, 3]] * 2, f"queries and keys are turned, nothing else; the positions were {asked}"
    first, cache = net(x[:, :2], causal=True)
    kept = cache[0].clone()
    last, cache = net(x[:, 2:], causal=True, cache=cache)
    expect_close(torch.cat((first, last), dim=1), out, rtol=1e-4, atol=1e-5, hint="in two parts: the same rows")
    expect_close(cache[0], k, rtol=1e-4, atol=1e-5, hint="new keys stand at positions 2 and 3")
    expect_close(kept, k[:, :, :2], rtol=1e-4, atol=1e-5, hint="the cache holds turned keys")
    count = len(asked)
    net(x, memory)
    assert len(asked) == count, "with a memory nothing is turned"
    hidden = torch.tensor([False, True, True, True])
    seen = []
    MultiHeadAttention(6, 3, lambda q, k, v, allowed: seen.append(allowed) or plain(q, k, v), None)(
        x, None, hidden, True
    )
    expect_close(
        seen[0].expand(2, 3, 4, 4)[0, 0].int(),
        [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 1]],
        hint="mask and causal together: a key must be allowed by both",
    )
    with expect_raises(ValueError, hint="6 columns are not 4 heads"):
        MultiHeadAttention(6, 4)
    with expect_raises(ValueError, hint="a cache is for self-attention"):
        net(x, memory, cache=cache)

# %% [markdown]
# What are heads for? The task: at each position, report the vectors of the *last two* positions, both, without mixing
# them. One head has one mean, $a\, x_{t-1} + b\, x_{t-2}$. From it, the best linear guess of $x_{t-1}$ explains the
# share $a^2 / (a^2 + b^2)$ of its variance, and that of $x_{t-2}$ the share $b^2 / (a^2 + b^2)$. The shares sum to at
# most 1 of 2: **one head leaves at least half of the variance**, whatever it does (as long as its weights depend on
# positions only). Two heads can leave nothing. The left panel shows the share that is left while your module
# learns, the right panel what the two heads look at in the end (of the full run). They need not take one position
# each: two different mixtures are enough, because $W_o$ can solve for both.

# %% tags=["demo"]


def last_two(B: int, T: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random signs with two constant entries in front, and the signs of the last two positions."""
    signs = torch.randint(0, 2, (B, T, width)).float() * 2 - 1
    x = torch.cat((torch.ones(B, T, 2), signs, torch.zeros(B, T, 32 - 2 - width)), dim=2)
    return x, torch.cat((signs.roll(1, 1), signs.roll(2, 1)), dim=2)


looked = []


def watched(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    looked[:] = attention(q, k, torch.eye(k.shape[2]), allowed)[0].detach()
    return attention(q, k, v, allowed)


lines = {}
for count in (1, 2):
    torch.manual_seed(0)
    net = MultiHeadAttention(32, count, watched)
    optimizer, left_over = torch.optim.Adam(net.parameters(), lr=0.01), []
    for _ in range(demo_size(full=400, small=20)):
        x, target = last_two(32, 12, 6)
        loss = (net(x, causal=True)[0][:, 2:, :12] - target[:, 2:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        left_over.append(loss.item())
    lines[f"{count} head{'s' * (count > 1)}"] = (range(len(left_over)), left_over)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=[1, 1.3])
plotting.curves(lines, xlabel="step", ylabel="share of the variance left", title="One mean is not enough", ax=left)
left.axhline(0.5, color=plotting.MUTED, linestyle=":")
left.set_ylim(0, 1.6)
right.imshow(torch.cat((looked[0], torch.full((12, 1), math.nan), looked[1]), dim=1), cmap="Blues", vmin=0, vmax=1)
right.set(xlabel="key (head 1, then head 2)", ylabel="query", title="Weights of the two heads")
right.set_xticks([0, 5, 11, 13, 18, 24], [0, 5, 11, 0, 5, 11])
right.grid(False)
plt.show()

# %% [markdown]
# ### 12.6 `Block` · essential · level 3 of 4 · 25 min
#
# Attention moves information between positions, but it only takes means. What is done *with* it happens at each
# position by itself: a small network with one hidden layer of width $4D$, the same for all positions. Both are
# wrapped as in module 10: each **adds** to its input, so that depth does not hurt, and each sees a normalised copy.
# **Layer normalisation** takes mean and variance over the $D$ entries of one position. It needs neither a batch nor
# running statistics, so a model may be fed one word at a time:
#
# $$x \leftarrow x + \operatorname{attention}(\operatorname{norm}_1(x)), \qquad
#   x \leftarrow x + \operatorname{mlp}(\operatorname{norm}_2(x)) .$$
#
# With $\mu$ and $\sigma^2$ the mean and the (biased) variance of one position's $D$ entries, $\Phi$ the distribution
# function of the normal distribution, and learnt $\gamma$, $b$ and $b_2$ of shape $(D,)$, $b_1$ of shape $(4D,)$, $W_1$
# of shape $(4D, D)$ and $W_2$ of shape $(D, 4D)$:
#
# $$\operatorname{norm}(x) = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + b, \qquad
#   \operatorname{mlp}(x) = W_2 \operatorname{gelu}(W_1 x + b_1) + b_2, \qquad
#   \operatorname{gelu}(z) = z\, \Phi(z) .$$
#
# `nn.LayerNorm`, `nn.Linear` and `nn.GELU` compute them; gelu is a smooth $\max(0, z)$. Here and in the
# code of `Block`, attention is a module of 12.5, not the function of 12.3.
#
# The mask and the memory decide which of three kinds of network it is.
#
# | | who sees whom | known as | good for |
# | --- | --- | --- | --- |
# | **decoder** | `causal=True` | GPT | writing: each position predicts the next one |
# | **encoder** | all see all, but no padding | BERT | reading: label, find, compare |
# | decoder **with memory** | causal, and cross-attention to an encoder's output | the Transformer of 2017 | translating |
#
# A block has $4 D^2$ weights in its attention and $8 D^2$ in its small network, and uses each of them once for each
# position.


# %% exercise="Block" points=3 minutes=25 trains=["parts that fit together"]
class Block(nn.Module):
    """A transformer block with normalisation before each part.

    Block(d_model, heads, cross=False, attention=MultiHeadAttention). Its parts, in state_dict() by
      these names:
      norm1, norm2: nn.LayerNorm(d_model). attention: attention(d_model, heads).
      mlp: nn.Sequential of nn.Linear(d_model, 4 * d_model), nn.GELU() and
        nn.Linear(4 * d_model, d_model).
      Only with cross=True: norm_cross, nn.LayerNorm(d_model), and cross, a second
        attention(d_model, heads).
    The two `attention` parts are called as MultiHeadAttention is, once each, and return a pair as
      it does.

    Calling it: (x, memory=None, mask=None, causal=False, cache=None, memory_mask=None), by name or
      in this order: that of MultiHeadAttention, whose masks and cache they are.
      x: (B, T, d_model); not modified. memory: (B, S, d_model) where cross is True, else None.
        memory_mask is for cross alone.
      1. x + the output of attention for norm1(x), with this mask, causal and cache.
      2. With cross: plus the output of cross for norm_cross of the result, with the memory and
         memory_mask as its mask, not causal and without cache. The memory is not normalised.
      3. Plus mlp of norm2 of the result of that.
    Returns (the result, (B, T, d_model); the cache that `attention` returned, as it is).
    Raises ValueError where cross is True and memory None, or cross False and memory given.
    """

    def __init__(self, d_model: int, heads: int, cross: bool = False, attention: Callable = MultiHeadAttention):
        super().__init__()
        ### BEGIN SOLUTION
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attention = attention(d_model, heads)
        self.mlp = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model))
        self.has_cross = cross
        if cross:
            self.norm_cross, self.cross = nn.LayerNorm(d_model), attention(d_model, heads)
        ### END SOLUTION

    def forward(
        self,
        x: torch.Tensor,
        memory: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        causal: bool = False,
        cache: tuple | None = None,
        memory_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, tuple]:
        ### BEGIN SOLUTION
        if (memory is not None) != self.has_cross:
            raise ValueError("a memory is for a block with cross=True, and needed there")
        found, cache = self.attention(self.norm1(x), mask=mask, causal=causal, cache=cache)
        x = x + found
        if self.has_cross:
            x = x + self.cross(self.norm_cross(x), memory=memory, mask=memory_mask)[0]
        return x + self.mlp(self.norm2(x)), cache
        ### END SOLUTION


# %% [markdown] hints="Block"
# <details><summary>Hint 1: three sums</summary>
#
# Each line has the form `x = x + part(norm(x))`. `x += ...` would change the caller's tensor.
# </details>
# <details><summary>Hint 2: what goes where</summary>
#
# `self.attention(self.norm1(x), mask=mask, causal=causal, cache=cache)` returns a pair. The second part of the pair
# that `cross` returns is not needed.
# </details>

# %% check="Block"
with check("Block"):

    class Tell(nn.Module):
        """An attention that answers with 10 times what it is shown, and remembers how it was asked."""

        def __init__(self, d_model, heads):
            super().__init__()
            self.sizes, self.asked = (d_model, heads), []

        def forward(self, x, memory=None, mask=None, causal=False, cache=None):
            self.asked.append((memory, mask, causal, cache))
            return 10 * x, "the new cache"

    torch.manual_seed(2)
    block = Block(4, 2, attention=Tell)
    parts = sorted({name.split(".")[0] for name in block.state_dict()})
    assert parts == ["mlp", "norm1", "norm2"], f"the parts that have parameters are {parts}"
    assert block.attention.sizes == (4, 2) and [type(part).__name__ for part in block.mlp] == [
        "Linear",
        "GELU",
        "Linear",
    ]
    expect_shape(block.mlp[0].weight, (16, 4))
    expect_close(
        block.mlp[1](torch.ones(1, dtype=torch.float64)),
        [0.841344746],  # 1 · Φ(1)
        mistakes={"This is its tanh formula. nn.GELU() without arguments is z Φ(z).": [0.841191990]},
    )
    nn.init.zeros_(block.mlp[2].weight)
    nn.init.zeros_(block.mlp[2].bias)
    x = torch.tensor([[[1.0, 1.0, 3.0, 3.0]]])  # normalised: -1, -1, 1, 1
    with expect_unchanged(x=x):
        out, cache = block(x, causal=True, mask="the mask", cache="the cache")
    expect_close(
        out.detach().flatten(),
        [-9.0, -9.0, 13.0, 13.0],  # x + 10 · (-1, -1, 1, 1)
        rtol=1e-3,
        mistakes={
            "Normalise before the attention.": [11.0, 11.0, 33.0, 33.0],
            "Add the input again.": [-10.0, -10.0, 10.0, 10.0],
            "Normalise before, not after the sum.": [-1.0, -1.0, 1.0, 1.0],
            "Add x, not the normalised x.": [-11.0, -11.0, 11.0, 11.0],
        },
    )
    expect_close(cache, "the new cache", hint="the cache that attention returned")
    asked = block.attention.asked
    assert asked == [(None, "the mask", True, "the cache")], f"(memory, mask, causal, cache) for attention: {asked}"
    nn.init.ones_(block.mlp[2].bias)
    expect_close(
        block(x)[0].detach().flatten(), [-8.0, -8.0, 14.0, 14.0], rtol=1e-3, hint="plus the small network: 1 here"
    )
    with torch.no_grad():
        block.mlp[2].weight.copy_(torch.eye(4, 16))
        block.mlp[0].weight.copy_(100 * torch.eye(16, 4))
        block.mlp[0].bias.zero_()
        block.norm2.weight.fill_(2.0)
    expect_close(
        block(x)[0].detach().flatten(),
        [-8.0, -8.0, 214.0, 214.0],  # norm2, with weight 2, makes -2, -2, 2, 2; GELU(200) = 200, GELU(-200) = 0
        rtol=1e-3,
        hint="the small network sees the normalised sum",
    )
    block = Block(4, 2, True, Tell)
    nn.init.zeros_(block.mlp[2].weight)
    nn.init.zeros_(block.mlp[2].bias)
    nn.init.constant_(block.norm_cross.weight, 2.0)
    memory = torch.tensor([[[5.0, 6.0, 7.0, 9.0]]])
    out, cache = block(x, memory, "the mask", True, "the cache", "its mask")
    # after the first sum: -9, -9, 13, 13; norm_cross, with weight 2, makes -2, -2, 2, 2 of it
    expect_close(out.detach().flatten(), [-29.0, -29.0, 33.0, 33.0], rtol=1e-3)
    asked = block.cross.asked
    assert len(asked) == 1 and asked[0][1:] == ("its mask", False, None), f"(mask, causal, cache) for cross: {asked}"
    expect_close(asked[0][0], memory, hint="the memory is given to cross as it is, not normalised")
    asked = block.attention.asked
    assert asked == [(None, "the mask", True, "the cache")], f"(memory, mask, causal, cache) for attention: {asked}"
    expect_close(cache, "the new cache", hint="the cache that attention returned")
    with expect_raises(ValueError, hint="cross=True needs a memory"):
        block(x)
    with expect_raises(ValueError, hint="cross=False has no use for one"):
        Block(4, 2, attention=Tell)(x, torch.ones(1, 2, 4))

# %% [markdown]
# GPT and BERT, side by side: **one** block, the same weights, two ways to call it. The picture shows how much output
# $i$ moves if input $j$ moves: the norm of $\partial\, \text{out}_i / \partial x_j$, on a logarithmic scale, computed
# by autograd. White is exactly 0. In the left panel, with `causal=True`, there is nothing above the diagonal. In the
# right panel all see all, in a sequence whose last three positions are padding, hidden by the mask: their columns are
# white except on the diagonal. The diagonal is strong in both, because $x$ itself is added.

# %% tags=["demo"]
torch.manual_seed(4)
block, x = Block(16, 2), torch.randn(1, 12, 16)
real = (torch.arange(12) < 9)[None, None, None, :]
figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.4))
for ax, title, how in (
    (axes[0], "GPT: causal=True", {"causal": True}),
    (axes[1], "BERT: all except padding", {"mask": real}),
):
    moved = torch.autograd.functional.jacobian(lambda x, how=how: block(x, **how)[0][0], x)[:, :, 0]  # (12, 16, 12, 16)
    size = moved.square().sum(dim=(1, 3)).sqrt()
    picture = ax.imshow(size.where(size > 0, math.nan).log10(), cmap="viridis", vmin=-2, vmax=1)
    ax.set(xlabel="input j", ylabel="output i", title=title)
    ax.grid(False)
figure.colorbar(picture, ax=axes, label="log10 of the norm")
plt.show()

# %% [markdown]
# The third kind of network asks a memory. It is the dictionary of the beginning, learnt. The memory holds eight pairs,
# each a letter and a digit, drawn anew for each example and in random order. The block is given the eight letters in
# another order, and has to answer with their digits. No weight can store which digit belongs to a letter, since this
# changes from example to example: what is learnt is how to look it up. The left panel shows the loss. The right panel
# shows the weights of `cross` for one new example, with a circle at the right pair: in the full run, each letter finds
# it. (Positions do not help here, and with a memory nothing is turned.)

# %% tags=["demo"]


class Lookup(nn.Module):
    """A block that is asked for letters, with pairs of a letter and a digit as its memory."""

    def __init__(self):
        super().__init__()
        self.letters, self.digits = nn.Embedding(26, 32), nn.Embedding(10, 32)
        self.block = Block(32, 1, cross=True, attention=lambda *sizes: MultiHeadAttention(*sizes, watched))
        self.last = nn.Linear(32, 10)

    def forward(self, asked: torch.Tensor, letters: torch.Tensor, digits: torch.Tensor) -> torch.Tensor:
        return self.last(self.block(self.letters(asked), self.letters(letters) + self.digits(digits))[0])


def dictionaries(B: int) -> tuple[torch.Tensor, ...]:
    """Letters that are asked for, the pairs (letters, digits), and which pair is the right one: (B, 8) each."""
    letters, order = torch.rand(B, 26).argsort(dim=1)[:, :8], torch.rand(B, 8).argsort(dim=1)
    return letters.gather(1, order), letters, torch.randint(10, (B, 8)), order


torch.manual_seed(7)
net, lost = Lookup(), []
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for _ in range(demo_size(full=100, small=5)):
    asked, letters, digits, order = dictionaries(64)
    loss = F.cross_entropy(net(asked, letters, digits).flatten(0, 1), digits.gather(1, order).flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    lost.append(loss.item())
asked, letters, digits, order = dictionaries(1)
net(asked, letters, digits)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
plotting.curves({"lookup": (range(len(lost)), lost)}, xlabel="step", ylabel="loss", title="A lookup is learnt", ax=left)
left.axhline(math.log(10), color=plotting.MUTED, linestyle=":", label="chance, ln 10")
left.legend()
right.imshow(looked[0], cmap="Blues", vmin=0, vmax=1)
right.plot(order[0], range(8), "o", mfc="none", ms=16, color="C1")
right.set_xticks(range(8), [f"{chr(97 + a)}: {b}" for a, b in zip(letters[0], digits[0], strict=True)])
right.set_yticks(range(8), [chr(97 + a) for a in asked[0]])
right.set(xlabel="pairs in the memory", ylabel="asked for", title="Weights of cross for a new example")
right.grid(False)
plt.show()

# %% [markdown]
# ### 12.7 `GPT` · essential · level 3 of 4 · 20 min
#
# `Config`, defined in the first cell of code, holds the sizes. A model needs three things around its blocks: a vector
# for each token at the start, a last normalisation, and **logits** over the vocabulary at the end. A table of $V$
# rows of width $D$, the **embedding**, does the first. The logits answer: which row of the table points in the
# direction of $x$? So the same table, transposed, gives the logits:
#
# $$\text{logits} = \operatorname{norm}(x)\; E^\top, \qquad (B, T, D) \cdot (D, V) .$$
#
# Position $t$ predicts token $t + 1$. One pass gives $T$ predictions, each from its own past, because of the causal
# mask. That is why a transformer trains faster than a recurrent network: all positions at once, in matrix products,
# without a chain of $T$ steps.
#
# **What it costs.** $L$ blocks and the table have $12 L D^2 + V D$ weights, and some vectors beside them. A token
# passes each matrix once: one multiplication and one addition for each weight. The backward pass does it twice, for
# the gradient of the input and for that of the matrix. So training takes about 6 operations for each weight and
# token, where attention itself is small ($T$ far below $6 D$, see the end of this module).
#
# How large may the table's entries be at the start? norm(x) has length about $\sqrt D$. With entries of variance 1,
# as `nn.Embedding` draws them, a logit has standard deviation $\sqrt D$, and the first loss is far above $\ln V$, the
# loss of a model that knows nothing. With standard deviation 0.02 all logits begin near 0, and the loss near $\ln V$.


# %% exercise="GPT" points=3 minutes=20 trains=["parts that fit together"]
class GPT(nn.Module):
    """A decoder: embedding, causal blocks, a last normalisation, and the embedding again.

    GPT(config, block=Block): config has vocab, d_model, heads and layers, all >= 1. Its parts, in
      state_dict() by these names:
      embedding: nn.Embedding(vocab, d_model), its entries drawn from a normal distribution with
        mean 0 and standard deviation 0.02, by torch's generator.
      blocks: nn.ModuleList of `layers` blocks, each block(d_model, heads), made in order.
      norm: nn.LayerNorm(d_model). No other parameters or buffers.

    Calling it: (tokens, caches=None). tokens: (B, T) integers, int64, 0 to vocab - 1; not modified.
      caches: None, or the list that an earlier call returned; not modified.
      Each block is called once, in order, with what the one before returned, causal=True, and
      cache=caches[i] (None where caches is None); it returns a pair (x, its cache). A cache may be
      anything: it is not looked into.
    Returns (logits, caches): logits (B, T, vocab) = norm(x) times the embedding, transposed,
      without bias; caches is a new list with what the blocks returned, one entry for each.
    """

    def __init__(self, config: Config, block: Callable = Block):
        super().__init__()
        ### BEGIN SOLUTION
        self.embedding = nn.Embedding(config.vocab, config.d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(block(config.d_model, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.d_model)
        ### END SOLUTION

    def forward(self, tokens: torch.Tensor, caches: list | None = None) -> tuple[torch.Tensor, list]:
        ### BEGIN SOLUTION
        x, new = self.embedding(tokens), []
        for i, block in enumerate(self.blocks):
            x, cache = block(x, causal=True, cache=None if caches is None else caches[i])
            new.append(cache)
        return self.norm(x) @ self.embedding.weight.T, new
        ### END SOLUTION


# %% [markdown] hints="GPT"
# <details><summary>Hint 1: the parts</summary>
#
# `nn.init.normal_(table, std=0.02)` draws again, in place. The table of an `nn.Embedding` is its `weight`, (V, D).
# </details>
# <details><summary>Hint 2: the pass</summary>
#
# `x, cache = block(x, causal=True, cache=...)` in a loop. Collect the caches in a new list, and end with
# `self.norm(x) @ self.embedding.weight.T`.
# </details>

# %% check="GPT"
with check("GPT"):
    made = []

    class Add(nn.Module):
        """A block that adds a number to all entries, and counts its calls in its cache."""

        def __init__(self, d_model, heads):
            super().__init__()
            self.number, self.asked = len(made), []
            made.append((d_model, heads))

        def forward(self, x, memory=None, mask=None, causal=False, cache=None, memory_mask=None):
            self.asked.append((causal, cache))
            return x + 10**self.number * torch.eye(x.shape[-1])[0], (
                self.number,
                0 if cache is None else cache[1] + 1,
            )

    torch.manual_seed(0)
    net = GPT(Config(vocab=3, d_model=4, heads=2, layers=2), block=Add)
    assert made == [(4, 2)] * 2, f"the blocks were made with {made}"
    names = sorted(net.state_dict())
    assert names == ["embedding.weight", "norm.bias", "norm.weight"], f"the state has {names}"
    with torch.no_grad():
        net.embedding.weight.copy_(torch.tensor([[0.0, 11, 11, 0], [1, 2, 3, 4], [0, 1, 0, 0]]))
    logits, caches = net(torch.tensor([[0]]))
    # (0, 11, 11, 0) + 1 + 10 in the first entry: (11, 11, 11, 0), mean 8.25; normalised 1, 1, 1, -3 over root 3
    unit = np.array([1, 1, 1, -3]) / 3**0.5
    expect_close(
        logits.detach().flatten(),
        [unit @ [0, 11, 11, 0], unit @ [1, 2, 3, 4], unit @ [0, 1, 0, 0]],
        rtol=1e-4,
        atol=1e-4,
        mistakes={"The last normalisation is missing.": [242.0, 66.0, 11.0]},
    )
    assert caches == [(0, 0), (1, 0)], f"a list, one cache for each block; it is {caches}"
    again = net(torch.tensor([[0]]), caches)[1]
    assert caches == [(0, 0), (1, 0)], "the list of caches that was given is not changed: make a new one"
    assert again == [(0, 1), (1, 1)], f"each block gets its own cache back, and what it returns is listed: {again}"
    asked = [block.asked for block in net.blocks]
    assert asked == [[(True, None), (True, (i, 0))] for i in range(2)], f"(causal, cache) for each block: {asked}"
    many = GPT(Config(vocab=2000, d_model=16, heads=2, layers=1), block=Add)
    expect_close(many.embedding.weight.std().item(), 0.02, rtol=0.05, hint="the start of the table")
    loss = F.cross_entropy(many(torch.arange(2000)[None])[0][0], torch.arange(2000).roll(1))
    expect_close(loss.item(), math.log(2000), rtol=0.02, hint="before training: the loss of knowing nothing, ln V")

# %% [markdown]
# ### A model that writes
#
# The text is what Python's own `help()` prints: read from your interpreter, a few hundred thousand characters of real
# English with code in it. Tokens are characters here; module 13 makes better ones. The first nine tenths are for
# training, the rest is held out.
#
# A number to compare with: models that *count*. One of order $n$ looks at the last $n - 1$ characters and predicts
# what followed them in the training text, mixed with the next lower order where it has seen little. Order 1 knows how
# frequent characters are, order 2 knows pairs, order 3 triples. Their losses on the held-out text are the horizontal
# lines. A model that is clearly below a line has most likely found more than these characters. (The held-out tenth is
# not the same text for all: the GPT is measured on pieces of it, in which the first characters have little before
# them. The held-out loss may lie below that of training, where this part of the text is the easier one.) The cell
# takes up to a minute, and several if your attention has loops.
#
# The learning rate warms up, because Adam's estimates rest on few gradients in its first steps, and then falls along
# a cosine (module 02). With normalisation before each part, the warm-up matters less than in the model of 2017 (Xiong
# et al.).

# %% tags=["demo"]
text = datasets.python_help().text
frequent = sorted(char for char, count in Counter(text).items() if count >= 20)
text = "".join(char for char in text if char in set(frequent))
number = {char: i for i, char in enumerate(frequent)}
data = torch.tensor([number[char] for char in text])
vocab, cut = len(frequent), 9 * len(data) // 10
train_text, held_text = data[:cut], data[cut:]
print(f"{len(data):,} characters, {vocab} different ones")


def counting_losses(orders: int = 3) -> list[float]:
    """Mean loss on the held-out text of models that count, order 1 up to `orders`."""
    losses, given = [], np.full(len(held_text) - orders + 1, 1 / vocab)
    for n in range(1, orders + 1):

        def code(ids: np.ndarray, length: int) -> np.ndarray:  # every run of so many characters as one number
            return sum(ids[i : len(ids) - length + 1 + i] * vocab ** (length - 1 - i) for i in range(length))

        seen, held = code(train_text.numpy(), n), code(held_text.numpy(), n)[orders - n :]
        whole = np.bincount(seen, minlength=vocab**n)
        before = whole.reshape(-1, vocab).sum(axis=1)
        given = (whole[held] + 5 * given) / (before[held // vocab] + 5)
        losses.append(-np.log(given).mean())
    return losses


def learning_rate(step: int, steps: int, highest: float) -> float:
    return highest * min((step + 1) / 30, 0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)


def draw(tokens: torch.Tensor, B: int, T: int) -> torch.Tensor:
    """B pieces of T + 1 tokens from random places."""
    return tokens[torch.randint(len(tokens) - T, (B, 1)) + torch.arange(T + 1)]


def train(net: nn.Module, loss_of: Callable, held: Callable, steps: int, lr: float) -> tuple[list, list]:
    """Train with AdamW: the loss of each step, and (step, held-out loss) now and then."""
    optimizer, losses, held_out = torch.optim.AdamW(net.parameters(), betas=(0.9, 0.98)), [], []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, lr)
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % math.ceil(steps / 8) == 0 or step == steps - 1:
            with torch.no_grad():
                held_out.append((step, held().item()))
    return losses, held_out


def next_loss(net: nn.Module, pieces: torch.Tensor) -> torch.Tensor:
    """The mean loss of predicting each next token."""
    return F.cross_entropy(net(pieces[:, :-1])[0].flatten(0, 1), pieces[:, 1:].flatten())


where = device.best()
steps, T = demo_size(full=400, small=12, gpu=2000), demo_size(full=48, small=16, gpu=256)
rows, width = demo_size(full=20, small=4, gpu=64), demo_size(full=64, small=16, gpu=384)
torch.manual_seed(0)
gpt = GPT(Config(vocab, width, heads=2, layers=demo_size(full=2, small=1, gpu=6))).to(where)
fixed = draw(held_text, demo_size(full=64, small=8), T).to(where)
begun = time.perf_counter()
losses, held_out = train(
    gpt,
    lambda: next_loss(gpt, draw(train_text, rows, T).to(where)),
    lambda: next_loss(gpt, fixed),
    steps,
    demo_size(full=3e-3, small=3e-3, gpu=1e-3),
)
seconds = time.perf_counter() - begun
print(
    f"{parameter_count(gpt):,} parameters, {steps} steps of {rows * T:,} tokens, {rows * T * steps / seconds:,.0f} tokens a second"
)
fig, ax = plt.subplots(figsize=(9, 4.2))
smooth = np.convolve(losses, np.ones(9) / 9, "valid")
ax.plot(np.arange(len(smooth)) + 4, smooth, alpha=0.6, label="training, mean of 9 steps")
ax.plot(*zip(*held_out, strict=True), "o--", label="held out")
counted = counting_losses()
for n, loss in enumerate(counted, 1):
    ax.axhline(loss, color=plotting.MUTED, linestyle=":")
    ax.text(1.01, loss, f"counting, order {n}", transform=ax.get_yaxis_transform(), va="center", fontsize=8)
print("held out, bits a character: " + f"{held_out[-1][1] / math.log(2):.2f}; models that count:", end=" ")
print(", ".join(f"{loss / math.log(2):.2f}" for loss in counted), f"; knowing nothing: {math.log2(vocab):.2f}")
passed = sum(held_out[-1][1] < loss for loss in counted)
title = f"Below {passed} of {len(counted)} models that count"
ax.set(xlabel="step", ylabel="loss (natural logarithm, a character)", title=title)
ax.set_ylim(top=5.9)
ax.legend(loc="upper right")
plt.show()

# %% [markdown]
# It has never been told what a word is. Now let it write.
#
# ### 12.8 `generate` · essential · level 4 of 4 · 30 min
#
# Writing is a loop: ask for the logits of the last position, choose a token, append it, ask again. After a short
# prompt, a loop that gives the whole text so far to the model each time computes $1 + 2 + \dots + n \approx n^2/2$
# rows to write $n$ tokens. But all rows but the last were computed before, and under a causal mask they have not
# changed. So give the model **the new token only, and the cache**: $n$ rows in all. Each row still looks at all
# cached keys, so the attention itself stays quadratic, with a small constant. The matrices of the blocks, which are
# most of the work in a large model, are used once for each token.
#
# The logits are turned into a token at a **temperature** $\tau$: draw from $\operatorname{softmax}(\text{logits} /
# \tau)$. For $\tau = 1$ this is what the model believes; small $\tau$ prefers what is likely; $\tau = 0$ stands for
# the limit, the most likely token, and needs no random numbers. (Module 11 also cuts off all but the likeliest tokens.)


# %% exercise="generate" points=4 minutes=30 trains=["a cache that gives the same result as computing again"]
def generate(
    model: Callable, prompt: torch.Tensor, steps: int, temperature: float = 1.0, seed: int = 0
) -> torch.Tensor:
    """Continue each row of a prompt by `steps` tokens.

    model: called with two arguments by position, model(tokens, caches). tokens is int64, (B, T); it
      returns (logits, (B, T, V), float32 or float64; new caches). Caches are whatever the model
      returns: they are given back as they are, not looked into.
    The first call is model(prompt, None). Each further one is model(new, caches): `new`, (B, 1),
      are the tokens chosen last, and caches are those of the call before. There are exactly `steps`
      calls. So the tokens of the last step are never given to the model, and each other token once.
      No call records gradients.
    prompt: (B, T) integers, int64, B >= 1, T >= 1; not modified. steps >= 0.
    The next token of a row comes from its logits at the last position. temperature 0: the token
      with the largest logit, the first one where several are equal. temperature > 0: a draw
      from softmax(logits / temperature), independent for each row and step. Logits are up to 1e4 in
      size, temperature is 0 or from 1e-3 to 1e3.
    All draws come from one generator, a torch.Generator that is seeded once, with `seed` (0 to
      2**32 - 1): the same call gives the same tokens, another seed others. torch's global generator
      is not used and stays as it is, also while the model is called.
    Returns a new tensor, (B, T + steps), int64: the prompt, and what was chosen.
    Raises ValueError, before any call, if T is 0, if steps < 0 or if temperature < 0.
    """
    ### BEGIN SOLUTION
    if prompt.shape[1] == 0 or steps < 0 or temperature < 0:
        raise ValueError(f"prompt {tuple(prompt.shape)}, steps {steps}, temperature {temperature}")
    generator = torch.Generator().manual_seed(seed)
    chosen, new, caches = [prompt], prompt, None
    with torch.no_grad():
        for _ in range(steps):
            logits, caches = model(new, caches)
            last = logits[:, -1].cpu()
            if temperature == 0:
                new = last.argmax(dim=-1, keepdim=True)
            else:
                new = torch.multinomial(torch.softmax(last / temperature, dim=-1), 1, generator=generator)
            new = new.to(prompt.device)
            chosen.append(new)
    return torch.cat(chosen, dim=1)
    ### END SOLUTION


# %% [markdown] hints="generate"
# <details><summary>Hint 1: two variables</summary>
#
# Keep `new`, what the model has not seen yet, and `caches`. At first they are the prompt and None. After a step they
# are the (B, 1) tokens that were chosen, and what the model returned.
# </details>
# <details><summary>Hint 2: choosing</summary>
#
# `logits[:, -1]` is (B, V). `argmax(dim=-1, keepdim=True)` and `torch.multinomial(probabilities, 1, generator=...)`
# both give (B, 1).
# </details>
# <details><summary>Hint 3: a generator of its own</summary>
#
# `generator = torch.Generator().manual_seed(seed)`, once, before the loop. A generator that is made anew in each step
# repeats its first draw. It lives on the CPU, so on a GPU `.cpu()` brings the logits to it. `with torch.no_grad():`
# around the loop keeps the calls from recording gradients.
# </details>

# %% check="generate"
with check("generate"):
    asked = []

    def counter(tokens, caches):
        """Gives the largest logit to the sum of all tokens so far, modulo 5; the cache is that sum."""
        asked.append((tokens.tolist(), caches))
        total = (0 if caches is None else caches) + tokens.sum(dim=1)
        logits = torch.full((len(tokens), tokens.shape[1], 5), -20.0)
        logits[:, -1] = -20.0 * (torch.arange(5) != total[:, None] % 5)
        assert not torch.is_grad_enabled(), "no call records gradients: torch.no_grad()"
        return logits, total

    prompt = torch.tensor([[1, 2], [2, 0]])
    with expect_unchanged(prompt=prompt):
        got = generate(counter, prompt, 3, temperature=0)
    # 1 + 2 = 3; 3 + 3 = 6, so 1; 6 + 1 = 7, so 2. And 2, then 4, then 8, so 3.
    expect_close(got, [[1, 2, 3, 1, 2], [2, 0, 2, 4, 3]])
    assert [len(tokens[0]) for tokens, _ in asked] == [2, 1, 1], (
        f"the prompt first, then one new token at a time; the widths were {[len(tokens[0]) for tokens, _ in asked]}"
    )
    assert asked[0][1] is None and [caches.tolist() for _, caches in asked[1:]] == [[3, 2], [6, 4]], "each cache once"
    expect_close(generate(counter, prompt, 3), [[1, 2, 3, 1, 2], [2, 0, 2, 4, 3]], hint="here e^-20 is next to nothing")
    expect_close(generate(counter, prompt, 0), prompt, hint="no step: the prompt")

    def tie(tokens, caches):
        return torch.tensor([0.0, math.log(3), math.log(3), 0.0]).expand(*tokens.shape, 4), None

    expect_close(generate(tie, prompt, 1, 0)[:, 2], [1, 1], hint="of equal logits the first")
    state = torch.get_rng_state()
    many = torch.zeros(4000, 1, dtype=torch.int64)
    one, two = generate(tie, many, 2, seed=5), generate(tie, many, 2, seed=5)
    assert torch.equal(one, two), "the same seed gives the same tokens"
    assert not torch.equal(one, generate(tie, many, 2, seed=6)), "another seed gives others"
    assert torch.equal(state, torch.get_rng_state()), "torch's global generator stays as it is"
    assert not torch.equal(one[:, 1], one[:, 2]), "each step draws anew"
    assert len(set(one[:, 1].tolist())) == 4, "each row draws for itself"
    expect_close((one[:, 1:] == 1).double().mean().item(), 3 / 8, atol=0.03, hint="1 : 3 : 3 : 1, and their sum is 8")
    cold = (generate(tie, many, 2, temperature=0.5)[:, 1:] == 1).double().mean().item()
    expect_close(
        cold,
        9 / 20,  # 1 : 9 : 9 : 1
        atol=0.03,
        mistakes={"Divide the logits by the temperature, do not multiply.": 3**0.5 / (2 * 3**0.5 + 2)},
    )
    for bad in ({"steps": -1}, {"temperature": -0.5}, {"prompt": prompt[:, :0]}):
        with expect_raises(ValueError):
            generate(**({"model": tie, "prompt": prompt, "steps": 1} | bad))

# %% [markdown]
# Your model, your loop. The same prompt at three temperatures: at a low one it repeats itself, at a high one it makes
# spelling mistakes.

# %% tags=["demo"]
opening = "The statement "
prompt = torch.tensor([[number[char] for char in opening]], device=where)
for temperature in (0.0, 0.7, 1.2):
    written = generate(gpt, prompt, demo_size(full=220, small=30), temperature, seed=1)[0].tolist()
    print(f"temperature {temperature}:\n{''.join(frequent[i] for i in written)}\n")

# %% [markdown]
# The cache must change nothing but the cost. The cell wraps your model in one without a cache: it keeps the *tokens*
# and computes everything again at each call. Both write the same text, token for token. The left panel shows the rows
# of the model that are computed: counted up to 64 tokens, and by the formula beyond that. The legend has the slope, $n$
# being the tokens written. With the cache it tends to 1, without it to 2; the tokens of the prompt, there at every $n$,
# make both smaller here. The right panel shows seconds, measured on this machine; at its left end you see the overhead of
# calls.

# %% tags=["demo"]


class Counting:
    """Counts the rows that a model computes. Not cached: it keeps the tokens so far, and computes all of them again."""

    def __init__(self, model: Callable, cached: bool):
        self.model, self.cached, self.rows = model, cached, 0

    def __call__(self, tokens: torch.Tensor, caches: object) -> tuple[torch.Tensor, object]:
        if not self.cached and caches is not None:
            tokens = torch.cat((caches, tokens), dim=1)
        logits, new = self.model(tokens, caches if self.cached else None)
        self.rows += tokens.shape[1]
        return logits, new if self.cached else tokens


torch.manual_seed(5)
writer = GPT(Config(vocab, 128, heads=4, layers=2)).double()
start = prompt.cpu()
lengths, counted, same = demo_size(full=[8, 16, 32, 64, 128, 256], small=[4, 8, 16]), {"cache": [], "recompute": []}, []
for n in lengths:
    texts = {}
    for name in counted:
        counting = Counting(writer, cached=name == "cache")
        if n <= 64:
            texts[name] = generate(counting, start, n, seed=n)
            counted[name].append(counting.rows)
        else:
            counted[name].append(
                len(opening) + n - 1 if name == "cache" else sum(range(len(opening), len(opening) + n))
            )
    same.append(not texts or torch.equal(*texts.values()))
print("the same tokens at each length that was compared:", all(same))
speed = scaling.measure(
    {
        "recompute": lambda n: generate(Counting(writer, cached=False), start, n),
        "cache": lambda n: generate(Counting(writer, cached=True), start, n),
    },
    sizes=lengths,
    budget=demo_size(full=8.0, small=1.5),
    repeat=1,
    label="tokens written",
    memory=None,
    threads=1,
)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
plotting.curves(
    {
        f"{name}: $n^{{{scaling.exponent(lengths, rows):.2f}}}$": (lengths, rows)
        for name, rows in reversed(counted.items())
    },
    xlabel="tokens written",
    ylabel="rows of the model",
    title="Counted",
    logx=True,
    logy=True,
    ax=left,
)
speed.plot(peer="recompute", ax=right)
right.set_title("Measured")
for ax in (left, right):
    ax.set_xticks(lengths, lengths)
    ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
plt.show()

# %% [markdown]
# ### Reading instead of writing
#
# The same blocks, without the causal mask: an encoder, trained as BERT is. Some characters are hidden behind a
# special token, and the model must say which they were. What does it gain from seeing both sides? The cell trains two
# readers with the same start and the same batches on the same task. They differ in one word, `causal`. One sees only
# what comes before a gap, the other one all of it. The task is small: a word of 4 random letters is followed by
# itself, backwards (`abcddcba`), and one letter of it is hidden. If it stands in the second half, both readers can
# find it. If it stands in the first half, only the reader of both sides can, and the other one is left with chance,
# $\ln 26$, or worse (it may guess that a letter is repeated, and be sure of it). After so few steps neither is done, but in the full run the difference is plain.

# %% tags=["demo"]


class Reader(nn.Module):
    """Blocks that fill gaps: 26 letters, and token 26 for the gap."""

    def __init__(self, causal: bool):
        super().__init__()
        self.causal, self.embedding = causal, nn.Embedding(27, 64)
        self.blocks = nn.ModuleList(Block(64, 4) for _ in range(2))
        self.last = nn.Linear(64, 26)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            x, _ = block(x, causal=self.causal)
        return self.last(x)


def gap_losses(net: nn.Module, m: int) -> torch.Tensor:
    """Loss at the gap, for each of m mirrored words, and where the gap was."""
    word = torch.randint(26, (m, 4))
    word, at, row = torch.cat((word, word.flip(1)), dim=1), torch.randint(8, (m,)), torch.arange(m)
    hidden = word.clone()
    hidden[row, at] = 26
    return F.cross_entropy(net(hidden)[row, at], word[row, at], reduction="none"), at


figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for name, causal, line in (("both sides (BERT's mask)", False, "-"), ("the past only (GPT's mask)", True, "--")):
    torch.manual_seed(6)
    reader = Reader(causal)
    losses, _ = train(
        reader,
        lambda reader=reader: gap_losses(reader, 64)[0].mean(),
        lambda: torch.tensor(0.0),
        demo_size(full=300, small=10),
        3e-3,
    )
    with torch.no_grad():
        loss, at = gap_losses(reader, 2000)
    smooth = np.convolve(losses, np.ones(9) / 9, "valid")
    left.plot(np.arange(len(smooth)) + 4, smooth, line, label=name)
    right.plot(range(8), [loss[at == i].mean() for i in range(8)], line, marker="o", label=name)
for ax in (left, right):
    ax.axhline(math.log(26), color=plotting.MUTED, linestyle=":", label="chance, ln 26")
left.set(xlabel="step", ylabel="loss at the gap", title="Both sides learn faster", ylim=(0, 4.4))
right.set(xlabel="place of the gap", title="The past alone: not enough for the first half", ylim=(-0.2, 4.4))
left.legend(fontsize=8, loc="upper right")
plt.show()

# %% [markdown]
# ## Scale it
#
# ### 12.9 `blockwise_attention` · essential · level 4 of 4 · 35 min
#
# The wall of the transformer is the matrix of scores: $T S$ numbers for each head of each layer. At $T = S =
# 100{,}000$, in float32, one head takes 40 GB, while its queries, keys, values and output ($d = 64$) take 26 MB each.
# Is the matrix needed at all? The output of a query is a ratio of two sums over the keys,
#
# $$o = \frac{\sum_s \exp(a_s)\, v_s}{\sum_s \exp(a_s)} ,$$
#
# and sums can be taken in any order, block by block. The one thing that is not a sum is the maximum, which has to be
# subtracted so that nothing overflows. Module 03 solved this in `online_logsumexp`: subtract the largest score *so
# far*, and correct when a larger one comes. Keep three things for each query: the maximum $m$, the sum $\ell = \sum
# \exp(a_s - m)$ and the vector $u = \sum \exp(a_s - m)\, v_s$. A block with scores $a_s$ then gives
#
# $$m' = \max(m, \max_s a_s), \qquad
#   \ell' = \exp(m - m')\, \ell + \sum_s \exp(a_s - m'), \qquad
#   u' = \exp(m - m')\, u + \sum_s \exp(a_s - m')\, v_s , $$
#
# and in the end $o = u / \ell$. At the start $m = -\infty$, $\ell = 0$, $u = 0$, and $\exp(-\infty) = 0$. The result
# is that of the dense formula up to rounding: nothing is approximated. The multiplications are the same; the memory
# is $T \cdot \text{block}$ in place of $T S$. (One number can stand for two: $m + \ln \ell$ is the logarithm of the
# sum of all $\exp(a_s)$. FlashAttention keeps it for its backward pass.)


# %% exercise="blockwise_attention" points=4 minutes=35 forbids=["torch.nn.functional.scaled_dot_product_attention", "torch.nn.MultiheadAttention", "torch.nn.functional.multi_head_attention_forward", "torch.nn.attention"] trains=["summaries that merge"]
def blockwise_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool = False, block: int = 128
) -> torch.Tensor:
    """Attention that looks at a block of keys at a time, and never holds all scores of a query.

    q: (..., T, d), k: (..., S, d), v: (..., S, e), all float32 or all float64, finite, up to 1e3 in
      size, with the same leading axes; all sizes >= 1. Not modified. No gradients are asked for.
    causal: if True, T <= S, and query t sees the keys s <= S - T + t, as in causal_mask. If False,
      all.
    block: at least 1; it need not divide S, and may be larger. It changes the result by rounding
      only.
    Returns a new tensor (..., T, e) of the dtype of q: the same as
      attention(q, k, v, causal_mask(T, S) if causal else None).
    Its error is at most 1e-5 (float32) or 1e-12 (float64) times max(1, the largest |score|) times
      max(1, the largest |v|).
    Memory: for each entry of the leading axes, besides the arguments, at most ten arrays of
      (T, block) numbers and ten of (T, d), (T, e), (block, d) or (block, e). So no array of S
      numbers: no scores of all keys, not even for one query at a time, and no torch.arange(S).
    T = S = 4096 with block = 128 is asked for: a Python loop over single queries is slow there.
    Raises ValueError where causal is True and T > S.
    Not allowed: torch.nn.functional.scaled_dot_product_attention, torch.nn.MultiheadAttention,
    torch.nn.functional.multi_head_attention_forward, torch.nn.attention.
    """
    ### BEGIN SOLUTION
    T, S = q.shape[-2], k.shape[-2]
    if causal and T > S:
        raise ValueError(f"{T} queries are not the last of {S} positions")
    top = q.new_full((*q.shape[:-1], 1), -math.inf)
    total, out = torch.zeros_like(top), q.new_zeros((*q.shape[:-1], v.shape[-1]))
    for start in range(0, S, block):
        keys, values = k[..., start : start + block, :], v[..., start : start + block, :]
        scores = q @ keys.mT / math.sqrt(q.shape[-1])
        if causal:
            ahead = torch.arange(keys.shape[-2]) + start > torch.arange(S - T, S)[:, None]
            scores = scores.masked_fill(ahead.to(q.device), -math.inf)
        new = scores.amax(dim=-1, keepdim=True).maximum(top)
        weights, shrink = torch.exp(scores - new), torch.exp(top - new)
        total = shrink * total + weights.sum(dim=-1, keepdim=True)
        out = shrink * out + weights @ values
        top = new
    return out / total
    ### END SOLUTION


# %% [markdown] hints="blockwise_attention"
# <details><summary>Hint 1: what is kept</summary>
#
# `top` and `total` of shape (..., T, 1), `out` of shape (..., T, e). Begin with −inf, 0 and 0 (all scores may be far
# below 0), and loop over `range(0, S, block)`, all queries in each turn. First without `causal`.
# </details>
# <details><summary>Hint 2: one block</summary>
#
# `new = torch.maximum(top, scores.amax(dim=-1, keepdim=True))`. Both old sums are multiplied by `torch.exp(top -
# new)`, and the block adds `weights = torch.exp(scores - new)`: its sum to `total`, and `weights @ v_block` to `out`.
# </details>
# <details><summary>Hint 3: causal</summary>
#
# Compare the positions of this block's keys with those of the queries, `torch.arange(S - T, S)[:, None]`, and fill
# with −inf: a (T, block) mask. A query that has seen no key yet has `top` −inf, and −inf − (−inf) is nan. It does not
# happen if you go from the first key to the last: key 0 is seen by all.
# </details>

# %% check="blockwise_attention"
with check(
    "blockwise_attention",
    forbids=[
        "torch.nn.functional.scaled_dot_product_attention",
        "torch.nn.MultiheadAttention",
        "torch.nn.functional.multi_head_attention_forward",
        "torch.nn.attention",
    ],
):
    q = torch.ones(1, 1, dtype=torch.float64)
    k = torch.tensor([[0.0], [math.log(2)], [math.log(5)]], dtype=torch.float64)
    v = torch.tensor([[8.0], [0.0], [16.0]], dtype=torch.float64)
    with expect_unchanged(q=q, k=k, v=v):
        got = blockwise_attention(q, k, v, block=2)
    expect_close(
        got,
        [[11.0]],  # weights 1 : 2 : 5, so (8 + 5 · 16) / 8
        mistakes={
            "Blocks have different weights: this is the mean of their means.": [[(8 / 3 + 16) / 2]],
            "Shrink the old sums when a larger score comes.": [[(4 + 16) / (0.5 + 1 + 1)]],
            "Shrink both sums.": [[(4 + 16) / (0.2 + 0.4 + 1)]],
        },
    )
    draw = torch.Generator().manual_seed(0)
    for T, S, block in ((5, 5, 2), (3, 7, 3), (1, 6, 4), (4, 4, 1), (6, 6, 100)):
        q, k = torch.randn(2, T, 3, generator=draw), torch.randn(2, S, 3, generator=draw)
        v = torch.randn(2, S, 4, generator=draw)
        for causal in (False, True):
            seen = torch.ones(T, S, dtype=torch.bool).tril(S - T) if causal else None
            expect_close(
                blockwise_attention(q, k, v, causal, block),
                F.scaled_dot_product_attention(q, k, v, seen),
                rtol=1e-4,
                atol=1e-5,
                hint=f"torch's, for T = {T}, S = {S}, block = {block}, causal = {causal}",
            )
    got = blockwise_attention(1000 * q, 1000 * k, v, block=3)
    expect_close(
        got, v[torch.arange(2)[:, None], (q @ k.mT).argmax(dim=-1)], rtol=1e-4, hint="huge scores: a dictionary"
    )
    got = blockwise_attention(
        torch.full((1, 1), -1000.0), torch.ones(4, 1), torch.tensor([[1.0], [2], [3], [6]]), block=2
    )
    expect_close(got, [[3.0]], rtol=1e-2, hint="four scores of -1000: the plain mean; the maximum begins at -inf")
    with expect_raises(ValueError, hint="three queries cannot be the last of two positions"):
        blockwise_attention(torch.ones(3, 1), torch.ones(2, 1), torch.ones(2, 1), causal=True)
    q, k = torch.zeros(30, 1), torch.zeros(2_000_000, 1)  # scores of all keys would take 240 MB
    with device.peak_memory("cpu") as peak:
        expect_close(blockwise_attention(q, k, k + 1, block=5000), np.ones((30, 1)), rtol=0.05)
    assert peak.bytes < 120e6, f"{peak.bytes / 1e6:.0f} MB more were held; the scores of one block take 0.6 MB"

# %% [markdown]
# ### Dense, blockwise, fused
#
# Three programs, the same numbers, on one core: your `attention`, your `blockwise_attention`, and the peer, torch's
# `scaled_dot_product_attention`. Float32, one head with $d = 32$, and $T = S$ grows. The left panel shows seconds: all
# three make $2 T^2 d$ multiplications, so on an idle machine the slopes tend to 2. The dense one may be steeper for a
# while, where its matrix no longer fits into the fast memory near the processor. The right panel shows the bytes of the
# largest tensor that each of them makes, counted: slope 2 for the matrix of scores, slope 1 for blocks. (What the fused
# kernel uses inside is not seen. It is a few small blocks; the largest tensor is its result.)

# %% tags=["demo"]


def problem(T: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(T)
    return torch.randn(1, T, 32), torch.randn(1, T, 32), torch.randn(1, T, 32)


lengths = demo_size(full=[256, 512, 1024, 2048, 4096, 8192], small=[64, 128, 256, 512])
ways = {
    "dense": attention,
    "blockwise": blockwise_attention,
    "torch, fused": lambda q, k, v: F.scaled_dot_product_attention(q[None], k[None], v[None])[0],
}
gaps = {name: (way(*problem(512)) - ways["dense"](*problem(512))).abs().max().item() for name, way in ways.items()}
print("largest difference from the dense one, float32:", ", ".join(f"{name} {gap:.0e}" for name, gap in gaps.items()))


class Largest(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that any operation of torch returns."""

    bytes = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **(kwargs or {}))
        for part in found if isinstance(found, tuple) else (found,):
            if isinstance(part, torch.Tensor):
                self.bytes = max(self.bytes, part.nbytes)
        return found


def largest(way: Callable, T: int) -> int:
    arguments = problem(T)
    with Largest() as counted:
        way(*arguments)
    return counted.bytes


grown = scaling.measure(
    ways,
    sizes=lengths,
    setup=problem,
    budget=demo_size(full=10.0, small=2.0),
    repeat=2,
    label="T = S",
    memory=None,
    threads=1,
)
counted = {name: [largest(way, T) for T in lengths] for name, way in ways.items()}
figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5))
grown.plot(ax=left, peer="torch, fused")
left.set_title("Time: all three make the same products")
plotting.curves(
    {f"{name}: $T^{{{scaling.exponent(lengths, sizes):.2f}}}$": (lengths, sizes) for name, sizes in counted.items()},
    xlabel="T = S",
    ylabel="bytes of the largest tensor",
    title="Memory: quadratic or linear",
    logx=True,
    logy=True,
    ax=right,
)
for ax in (left, right):
    ax.set_xticks(lengths, lengths)
    ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
plt.show()
print(
    f"bytes of one matrix of scores at T = S = 100,000: {4 * 100_000**2:,}; of a block of 128 keys: {4 * 100_000 * 128:,}"
)

# %% [markdown]
# **Who wins, and why.** torch's fused kernel does what yours does, and cuts the queries into blocks, too, so that a
# block of scores stays in the fastest memory as long as it is needed. Yours writes each block of scores to slower
# memory and reads it back several times, for the maximum, the exponential, the sum and the product. The
# multiplications are the same. So what is saved is *traffic*, and that is the point of FlashAttention: on a GPU the
# products are fast, and moving the matrix is what takes the time. On short sequences the dense form may be faster
# than your blockwise one: it makes fewer calls. At work, take the fused one. Yours shows why it is exact.
#
# ### Tokens a second in training, by precision
#
# The cell measures the forward and backward pass of one `Block`, causal, with the same number of tokens in each batch,
# cut into longer and longer sequences: with your `attention` inside and with torch's fused one (`attend=` takes both),
# in float32 and with bfloat16 under `torch.autocast`. A token passes $12 D^2$ weights, and is compared with $T$ keys,
# which takes $2 T D$ multiplications. The two are equal at $T = 6 D$, the dotted line. Far to the left of it the curves
# would be flat if multiplications were all; where they fall, the attention is what you pay for. bfloat16 is faster only
# on hardware that multiplies it directly. (The block passes a mask of its own. On a GPU torch then takes another fused
# kernel than FlashAttention, and that kernel computes the hidden half, too.) While the machine does other work, the
# curves jump.

# %% tags=["demo"]
fused = lambda q, k, v, allowed: F.scaled_dot_product_attention(q, k, v, allowed)  # noqa: E731
here, D = device.best(), demo_size(full=64, small=32, gpu=512)
tokens = demo_size(full=1024, small=128, gpu=32_768)


def training_step(attend: Callable, precision: str) -> Callable:
    torch.manual_seed(0)
    turn = lambda a, positions: rotary(a.float(), positions).to(a.dtype)  # noqa: E731  # yours is not asked for bfloat16
    block = Block(D, 4, attention=lambda width, heads: MultiHeadAttention(width, heads, attend, turn)).to(here)

    def step(x: torch.Tensor) -> None:
        with torch.autocast(torch.device(here).type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            loss = block(x, causal=True)[0].float().square().mean()
        block.zero_grad()
        loss.backward()

    return step


runners = {
    f"{name}, {precision}": training_step(attend, precision)
    for name, attend in (("yours", attention), ("fused", fused))
    for precision in ("float32", "bfloat16")
}
speed = scaling.measure(
    runners,
    sizes=demo_size(full=[32, 64, 128, 256, 512, 1024], small=[16, 64], gpu=[128, 256, 512, 1024, 2048, 4096]),
    setup=lambda T: torch.randn(tokens // T, T, D, device=here),
    budget=demo_size(full=9.0, small=2.0),
    repeat=2,
    label="T",
    memory=None,
    threads=1,
)
ax = plotting.curves(
    {name: (speed.sizes, tokens / seconds) for name, seconds in speed.seconds.items()},
    xlabel="length of a sequence, T",
    ylabel="tokens a second",
    title=f"One block with D = {D}, {tokens:,} tokens a step, on {here}",
    logx=True,
    logy=True,
)
ax.set_xticks(speed.sizes, speed.sizes)
ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
ax.axvline(6 * D, color=plotting.MUTED, linestyle=":")
plt.show()
if not torch.cuda.is_available():
    print("No GPU here: only the CPU is measured.")

# %% [markdown]
# ### On many machines
#
# The summary of a query is its maximum $m$, its sum $\ell$ and its vector $u$: $e + 2$ numbers. Summaries **merge**,
# like those of modules 00 and 03: two sets of keys give two summaries, and the same formula makes one of them, in any
# order. So the keys may lie on many machines. Each gets all queries, and computes their summaries over its own keys.
# What crosses the wire is $T d$ numbers to each machine and $T (e + 2)$ back, whatever the number of keys is. The
# cell splits 4,096 keys over 2 to 64 machines and merges. The mean of the machines' outputs, which ignores that the
# machines have different sums, is drawn beside it. **Ring attention** turns this around for training: queries stay,
# and blocks of keys and values travel from machine to machine, while the next product is computed.
#
# **Where it breaks.** Memory is linear now, but time is still $T^2$. Twice the text is four times the work, and more
# machines shorten the wait, not the work. What changes that is another model: windows of fixed length, states as in
# module 11, or keys that are looked up rather than scored one by one. And in writing, the cache grows with the text:
# module 24 serves such models.

# %% tags=["demo"]
T, S, e = 64, 4096, 32
torch.manual_seed(2)
q, k, v = (torch.randn(n, e, dtype=torch.float64) for n in (T, S, S))
k = k * torch.linspace(0.1, 2.0, S)[:, None]  # some machines have the keys that matter


def summary(k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    scores = q @ k.mT / math.sqrt(e)
    top = scores.amax(dim=1, keepdim=True)
    weights = torch.exp(scores - top)
    return top, weights.sum(dim=1, keepdim=True), weights @ v


def merge(one: tuple, other: tuple) -> tuple:
    top = torch.maximum(one[0], other[0])
    a, b = torch.exp(one[0] - top), torch.exp(other[0] - top)
    return top, a * one[1] + b * other[1], a * one[2] + b * other[2]


whole, machines, errors = blockwise_attention(q, k, v), [2, 4, 8, 16, 32, 64], {"merged": [], "mean of outputs": []}
for count in machines:
    parts = [summary(*part) for part in zip(k.chunk(count), v.chunk(count), strict=True)]
    together = parts[0]
    for part in parts[1:]:
        together = merge(together, part)
    mean = sum(u / total for _, total, u in parts) / count
    errors["merged"].append(max(1e-17, (together[2] / together[1] - whole).abs().max().item()))
    errors["mean of outputs"].append((mean - whole).abs().max().item())
ax = plotting.curves(
    {name: (machines, values) for name, values in errors.items()},
    xlabel="machines that hold the keys",
    ylabel="largest error",
    title="Outputs do not merge, summaries do",
    logx=True,
    logy=True,
)
ax.set_xticks(machines, machines)
ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
plt.show()
print(
    f"a machine gets {8 * T * e:,} bytes and sends {8 * T * (e + 2):,}; its keys and values, with 2 machines, take {8 * 2 * S // 2 * e:,}"
)

# %% [markdown] written="serving" points=2
# **Written question (2 points).** A GPT has 32 blocks of width 4096 with 32 heads, $7 \cdot 10^9$ parameters, and
# runs in bfloat16 (two bytes a number). The GPU has 80 GB of memory and reads $2 \cdot 10^{12}$ bytes a second. Texts
# are up to 8,192 tokens long. (a) How many bytes does the cache take for each token, and for a whole text? How many
# texts fit beside the weights? (b) To write one token, all weights and the caches have to be read once. Bound the
# tokens a second for one text, from its first token to its last, and for as many texts of full length as fit. What limits each? (c) Name two changes that make the
# cache about four times as small, and what they give up. (d) A colleague proposes blockwise attention to make
# *writing* need less memory. Does it help? Where does it? (e) After they built in the cache, the first token is right
# and all others are nonsense; nothing has a wrong shape. Name two likely causes, and a test that tells them apart.
#
# ### BEGIN SOLUTION
# (a) A key and a value of 4096 numbers in each of 32 blocks: 2 · 32 · 4096 · 2 bytes = 524,288 bytes a token, 4.3 GB
# a text. Weights take 14 GB, so (80 − 14) / 4.3: 15 texts. (b) One text: 2e12 / (14e9 + up to 4.3e9): between 109 and
# 143 tokens a second, limited by reading the weights for a single row; the arithmetic units idle. 15 texts: 78 GB are
# read for 15 tokens, so about 380 a second; now the caches are most of what is read. (c) Keys and values shared by
# groups of heads (grouped-query or multi-query attention): some quality, and the model must be trained so. 4-bit
# numbers in the cache: rounding errors (8 bits give only a factor of 2). A window of the last 2,048 tokens: what is
# older is not seen. (d) Not in writing: there T = 1, and the scores of one query are 8,192 numbers a head; the cache
# itself is the memory. It helps where T is large: in training and while the prompt is read. (e) Positions: the new
# token is turned as if it stood at position 0. Or the causal mask is aligned at the first key (is_causal with T = 1,
# S > 1): it sees the first key only. Or turned keys are turned again. Test in float64: compare the logits of the
# second token with a recomputation, once without rotary embedding: if they agree then, positions are the cause, else
# the mask.
#
# ### RUBRIC
# - 0.5: (a) and (b): 524,288 bytes a token, 15 texts; 109 to 143 tokens a second for one text, limited by the
#   weights, and about 380 for 15, limited by the caches. Slips in arithmetic do not matter.
# - 0.5: (c) Two changes that make the cache about four times as small, and what each gives up.
# - 0.5: (d) It does not help in writing, where there is one query; it helps in training and while the prompt is read.
# - 0.5: (e) Two causes, such as the wrong position and the wrong alignment of the mask, and a test that tells them
#   apart.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. Rotary embeddings allow any position, but a model that was trained on 256 positions fails at 2,000. Which
#    pairs see angles that they have never seen, and what happens if you divide all positions by eight?
# 2. The weights of a head sum to 1, so a head cannot say "nothing here". What do trained models do instead, and on
#    which token? What changes if 1 is added to the denominator of the softmax?
# 3. `blockwise_attention` has no backward pass of its own: autograd would keep each block of weights. Which two
#    numbers for each query suffice to compute the weights again, block by block?
# 4. Softmax attention compares with $\exp(q \cdot k)$. If it were $\varphi(q) \cdot \varphi(k)$, with a feature map as in
#    module 05, the sums could be reordered, and time would be linear in $T$. What is lost?
# 5. Dropping the mask turns a writer into a reader. Can a model be both, and what must be predicted then?
#
# References:
#
# - D. Bahdanau, K. Cho and Y. Bengio, "Neural machine translation by jointly learning to align and translate",
#   *ICLR*, 2015. Attention, still beside a recurrent network.
# - A. Vaswani et al., "Attention is all you need", *NeurIPS*, 2017. Most of 12.3, 12.5 and 12.6, with
#   normalisation after the sum.
# - J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", arXiv, 2016. Why one position can be normalised
#   by itself.
# - R. Xiong et al., "On layer normalization in the transformer architecture", *ICML*, 2020. Before or after the
#   sum, and what it has to do with warm-up.
# - A. Radford, K. Narasimhan, T. Salimans and I. Sutskever, "Improving language understanding by generative
#   pre-training", OpenAI, 2018. GPT: the decoder alone, trained on text.
# - D. Hendrycks and K. Gimpel, "Gaussian error linear units (GELUs)", arXiv, 2016. The smooth max(0, z) of 12.6.
# - J. Devlin, M.-W. Chang, K. Lee and K. Toutanova, "BERT: pre-training of deep bidirectional transformers for
#   language understanding", *NAACL*, 2019. Reading with both sides; module 13 goes on here.
# - J. Su et al., "RoFormer: enhanced transformer with rotary position embedding", arXiv, 2021. The derivation of
#   12.4.
# - O. Press and L. Wolf, "Using the output embedding to improve language models", *EACL*, 2017. One table for both
#   ends.
# - N. Shazeer, "Fast transformer decoding: one write-head is all you need", arXiv, 2019. What the cache costs, and
#   how to share it.
# - M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax", arXiv, 2018. Two of the three lines of
#   12.9.
# - M. N. Rabe and C. Staats, "Self-attention does not need O(n²) memory", arXiv, 2021. The same, in a page of
#   code.
# - T. Dao, D. Y. Fu, S. Ermon, A. Rudra and C. Ré, "FlashAttention: fast and memory-efficient exact attention with
#   IO-awareness", *NeurIPS*, 2022. Why traffic, not arithmetic, is what counts.
# - H. Liu, M. Zaharia and P. Abbeel, "Ring attention with blockwise transformers for near-infinite context",
#   *ICLR*, 2024. Blocks on many machines.
#
# At work: `torch.nn.functional.scaled_dot_product_attention` (it chooses FlashAttention where it can: on a GPU, in 16
# bits, without a mask of your own), the transformers library for models with trained weights, vLLM to serve them with
# a cache in pages.
