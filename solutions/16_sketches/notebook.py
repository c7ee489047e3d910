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
# # 16 · Sketches and sampling
#
# **What you will be able to do.** Answer how many, which, how often and how similar about a stream, in kilobytes. Give
# each answer an error bound that you can prove. Merge the summaries of many machines into the summary of all their
# data. You write the structures that search engines, databases and routers use for this: a fair sample, a Bloom filter,
# a count-min sketch, a summary of heavy hitters, HyperLogLog, MinHash with its index, and feature hashing. At the end,
# your own sketches run on a cluster of processes, beside Apache DataSketches and Spark.
#
# **You need** merging of summaries from module 00; expectation, variance, the binomial distribution, and that the
# probabilities of independent events multiply.
#
# **Skills it trains**: hashing, probability bounds, one-pass algorithms, summaries that merge, counting what a
# computation costs.
#
# **Time**: about four and a half hours, three of them in eight exercises and a bug to find. Take a break after 16.5.
# Each exercise says how important it is (essential, important, optional), its level, which is also its points, and its
# minutes.
#
# **Symbols**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $n$ | `n` | | how many items a stream has, or how many different keys a sketch has seen (each section says which) |
# | $k$ | `k` | | size of a sample; number of counters |
# | $m$, $p$ | `bits`, `2**p` | | bits of a filter; registers of HyperLogLog, then $m = 2^p$ |
# | $h$ | `hashes` | | number of hash functions |
# | $w$, $D$ | `width`, `depth` | table $(D, w)$ | columns and rows of a count-min sketch |
# | $f_x$, $\hat f_x$ | `counts` | | how often key $x$ occurs; its estimate |
# | $N$ | | | the sum of all $f_x$ |
# | $M_j$ | `registers[j]` | $(2^p,)$ | register $j$ of HyperLogLog |
# | $\lambda$, $V$ | | | keys for each register, $n/m$; number of registers that are 0 |
# | $u$ | `mix64(...) / 2**64` | | a hash as a point of $[0, 1)$ |
# | $\sigma$ | | | a standard deviation, relative to the true value |
# | $\mu$, $H$ | | | the probability of a head, and the number of heads in $h$ tosses |
# | $q$ | `rate` | | the share of false alarms of a filter |
# | $S$ | | | the sum of all counters that are left |
# | $J(A, B)$ | | | Jaccard similarity, $\lvert A\cap B\rvert / \lvert A\cup B\rvert$ |
# | $s$ | | | a similarity |
# | $b$, $r$ | `bands`, `rows` | | bands of a signature, and hashes in a band; $b\, r = h$ |
# | $\varphi(x)$, $c(t)$, $\xi(t)$ | `feature_hash` | $(w,)$ | the hashed vector of a document; column and sign of a token |
# | $\delta$ | `LEVEL` | | the probability with which a bound may fail: here always $10^{-6}$ |

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, engines, plotting
    from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_shape, expect_unchanged
    from lsml_utils.hashing import mix64
    from lsml_utils.tables import Table, bytes_text, seconds_text
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import itertools
import math
import pickle
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse
import scipy.stats
from threadpoolctl import threadpool_limits

plotting.use()
threadpool_limits(1)
checking.start("16_sketches", total=9)

LEVEL = 1e-6  # the probability with which a bound of this module may fail
ALL_ONES = 2**64 - 1  # the largest hash


def sub_seed(seed: int, number: int) -> int:
    """The seed of hash function `number` (0, 1, ...) of a sketch whose own seed is `seed`."""
    return int(mix64(number, seed))


# %% [markdown]
# ## Derive
#
# ### One hash turns any stream into coin tosses
#
# A **sketch** is a summary of a stream that is much smaller than the stream, answers one kind of question with a known
# error, and merges: from the summaries of two streams alone one gets a summary of both streams together, with the same
# guarantee. So a stream can be cut into parts, in any way; each machine sketches its part, and only sketches are sent.
#
# Nearly all sketches of this module rest on one tool. A **hash function** gives each key a number of 64 bits. It is a
# fixed function: the same key gets the same number, today and on every machine. But the numbers look as if each new key
# had tossed 64 fair coins. We compute as if it were so: hashes of different keys are independent and uniform. Divided
# by $2^{64}$, a hash is a point $u$ in $[0, 1)$. In this module, `mix64(keys, seed)` is the hash function, and each
# seed gives another one. (Python's `hash` is not such a function: the hash of an integer is the integer itself, and
# that of a text differs from one process to the next.)
#
# The figure shows the points of $n$ different keys, for three $n$. Each key occurs in the stream many times, but a
# repeated key falls on its own point. So the picture depends only on the *set* of keys, and it says a lot about it. The
# leftmost point lies at $1/(n+1)$ on average, so it tells how many keys there are, though a single such point varies as
# much as that; section 16.6 averages many. The $k$ leftmost points are a fair sample of the keys. Two sets with many
# common keys often have the same leftmost point. Whether a place is empty tells whether a key was seen. Each section
# below makes one of these remarks exact.

# %% tags=["demo"]
figure, ax = plt.subplots(figsize=(9, 2.8))
for row, n_keys in enumerate((8, 32, 128)):
    points = mix64(np.repeat(np.arange(n_keys), 5), seed=3) / 2.0**64
    ax.plot(points, np.full(len(points), row), "|", markersize=16, color=plotting.COLOURS[0], alpha=0.6)
    ax.plot(points.min(), row, "v", markersize=9, color=plotting.COLOURS[1], label="the smallest" if row == 0 else None)
    ax.plot(
        1 / (n_keys + 1), row + 0.33, "x", color="#222222", label="1 / (n + 1), its expectation" if row == 0 else None
    )
ax.set_yticks(range(3), ["n = 8", "n = 32", "n = 128"])
ax.set(
    xlabel="hash / 2⁶⁴",
    ylabel="different keys",
    ylim=(-0.6, 3.4),
    title="Each key has one point, however often it occurs",
)
ax.grid(False)
ax.legend(loc="upper right", ncols=2)
plt.show()

# %% [markdown]
# ### Three bounds
#
# What can be promised of a random quantity $X$? Three steps, each from the one before.
#
# **Markov.** If $X \ge 0$ and $a > 0$, then $X \ge a\cdot [X \ge a]$, where the bracket is 1 if the event happens and 0
# otherwise. Take expectations:
#
# $$P(X \ge a) \le \frac{\mathbb E X}{a} .$$
#
# **Repeat.** If $D$ independent copies each fail with probability at most $\rho$, all of them fail with probability at
# most $\rho^D$. This turns a weak bound into a strong one, at the price of $D$ copies.
#
# **Chernoff.** Let $H$ be the number of heads in $h$ independent tosses with probability $\mu$. Markov for
# $e^{\tau H}$, with any $\tau > 0$, gives
# $P(H \ge h(\mu + t)) \le e^{-\tau h(\mu+t)}\,\mathbb E e^{\tau H} = \left(e^{-\tau(\mu+t)}(1 - \mu + \mu e^{\tau})\right)^h$.
# Now $\ln(1 - \mu + \mu e^\tau) \le \tau\mu + \tau^2/8$: both sides are 0 at $\tau = 0$ and have the slope $\mu$ there,
# and the second derivative of the left side is $v(1 - v)$ with $v = \mu e^\tau/(1 - \mu + \mu e^\tau)$, so it is at
# most $\frac14$ (Hoeffding's lemma). So the bound is at most $e^{h(\tau^2/8 - \tau t)}$, which is smallest at
# $\tau = 4t$. The same holds below $\mu$, and together
#
# $$P\left(\left|\tfrac{H}{h} - \mu\right| \ge t\right) \le 2 e^{-2ht^2} .$$
#
# At the level $\delta = 10^{-6}$ this means $t = \sqrt{\ln(2/\delta) / (2h)} \approx 2.7/\sqrt h$: a share that is
# estimated from 400 tosses is off by at most 0.135, whatever $\mu$ is, except once in a million. If $\mu$ is known, the
# exact binomial distribution gives an even smaller interval. The hidden tests judge your sketches at this level: a
# right answer fails by bad luck once in a million tests.
#
# ## Implement
#
# ### 16.1 `reservoir` · essential · level 2 of 4 · 15 min
#
# First the simplest summary: a fair sample. Keep $k$ items of a stream such that all sets of $k$ positions are equally
# likely, without knowing how long the stream is. Let the first $k$ items in. When item number $i > k$ arrives (counted
# from 1), keep it with probability $k/i$, and then let it replace one of the $k$ kept items, each with the same
# probability.
#
# Why is this fair? Suppose that after $i - 1$ items each of them is kept with probability $k/(i-1)$. A kept item leaves
# at step $i$ with probability $\frac{k}{i}\cdot\frac1k = \frac1i$, so it stays with $\frac{i-1}{i}$. It is kept after
# step $i$ with probability $\frac{k}{i-1}\cdot\frac{i-1}{i} = \frac ki$, and so is the new one. For $i = k$ all are
# kept, and induction does the rest. (The same argument for sets instead of single items shows that all sets of $k$ are
# equally likely.)


# %% exercise="reservoir" points=2 minutes=15 trains=["one-pass algorithms"]
def reservoir(stream: Iterable, k: int, seed: int) -> list:
    """A fair sample of k items of a stream, without replacement, in one pass.

    stream: any iterable, such as a generator, of any length (0 as well); it can be gone through
      once. Items may be anything: do not compare or copy them, and do not ask for their hash.
    k: the size of the sample, >= 0.
    seed: a Python integer, 0 <= seed < 2^63.

    Returns a new list, in any order: k items, or all items if the stream has no more than k. Each
    set of k positions of the stream is equally likely as the seed varies, also over neighbouring
    seeds; equal items at different positions are different items. The same stream, k and seed give
    the same sample, in another process, too. Neither uses nor changes the global random states of
    Python and NumPy.
    Memory for a few k items, however long the stream is.
    """
    ### BEGIN SOLUTION
    rng = random.Random(seed)
    sample = []
    for i, item in enumerate(stream):
        if i < k:
            sample.append(item)
        else:
            place = rng.randrange(i + 1)
            if place < k:
                sample[place] = item
    return sample
    ### END SOLUTION


# %% [markdown] hints="reservoir"
# <details><summary>Hint 1: a generator of its own</summary>
#
# `random.Random(seed)` and `np.random.default_rng(seed)` make generators that nobody else uses. For single numbers,
# `random.Random` is several times faster.
# </details>
# <details><summary>Hint 2: one draw for two questions</summary>
#
# With `for i, item in enumerate(stream)`, the item at index $i$ is item number $i + 1$. Draw a whole number from 0 to
# $i$, both included. It is below $k$ with probability $k/(i+1)$, and then it is a random place in the sample.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# If `i < k`, append the item. Otherwise `place = rng.randrange(i + 1)`, and `if place < k: sample[place] = item`. With
# `k = 0` nothing is ever appended or replaced.
# </details>

# %% check="reservoir"
with check("reservoir"):
    assert reservoir(iter([]), 3, seed=0) == [], "an empty stream has an empty sample"
    assert reservoir(iter("abc"), 0, seed=0) == [], "k = 0: an empty sample"
    assert sorted(reservoir(iter("abc"), 5, seed=0)) == ["a", "b", "c"], "a stream of 3 items, k = 5: all three"
    got = reservoir(iter(range(100)), 10, seed=1)
    assert len(set(got)) == 10, f"10 different items of range(100), and not {got}"
    assert sorted(reservoir(iter(range(100)), 10, seed=1)) == sorted(got), "the same seed gives the same sample"
    # Items 0 to 5, k = 2: each is in a sample with probability 2/6. Of 3000 samples 1000 hold it, give or take
    # sqrt(3000 * 1/3 * 2/3) = 26; five times that is 130.
    held = Counter(item for seed in range(3000) for item in reservoir(iter(range(6)), 2, seed))
    expect_close(
        [held[item] for item in range(6)],
        np.full(6, 1000.0),
        atol=130,
        hint="keep item i (from 1) with probability k / i, and let it replace a random one of the k",
    )
    # All 15 pairs of positions are equally likely: 200 of 3000 each, give or take 14.
    pairs = Counter(tuple(sorted(reservoir(iter(range(6)), 2, seed))) for seed in range(3000))
    expect_close(
        [pairs[pair] for pair in itertools.combinations(range(6), 2)],
        np.full(15, 200.0),
        atol=75,
        hint="all sets of k positions are equally likely, not only all positions",
    )

# %% [markdown]
# How often is each position of a stream sampled? The dots are shares over many runs of your function, with $k = 20$.
# The band around $k/n$ holds a dot of a fair sample with probability $1 - 10^{-6}$ (exact binomial). The crosses are a
# common mistake: each new item replaces a random one *with probability one half*. Then the newest items are sampled far
# too often. (A share of 0 is drawn at the lower border.)


# %% tags=["demo"]
def half_of_the_time(stream, k, seed):
    """Not fair: each item after the first k gets in with probability 1/2."""
    rng, sample = random.Random(seed), []
    for item in stream:
        if len(sample) < k:
            sample.append(item)
        elif rng.random() < 0.5:
            sample[rng.randrange(k)] = item
    return sample


n_items, k_kept, runs = 200, 20, demo_size(full=3000, small=300)
figure, ax = plt.subplots(figsize=(7.5, 4))
for number, (name, sampler) in enumerate({"yours": reservoir, "probability 1/2": half_of_the_time}.items()):
    taken = np.zeros(n_items)
    for seed in range(runs):
        taken[sampler(range(n_items), k_kept, seed)] += 1
    ax.plot(np.maximum(taken / runs, 1.2e-4), "ox"[number], markersize=4, color=plotting.COLOURS[number], label=name)
low, high = scipy.stats.binom.ppf([LEVEL / 2, 1 - LEVEL / 2], runs, k_kept / n_items) / runs
ax.axhspan(low, high, color=plotting.COLOURS[2], alpha=0.15, label="1 − 10⁻⁶ of all fair dots")
ax.axhline(k_kept / n_items, color="#222222", linewidth=0.8, linestyle="-")
ax.set(
    xlabel="position in the stream",
    ylabel="share of runs that sample it",
    yscale="log",
    ylim=(1e-4, 1),
    title="Yours samples every position equally often",
)
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# ### 16.2 `merge_reservoirs` · essential · level 1 of 4 · 10 min
#
# Two machines have each sampled their own part of a stream: $n_a$ items and $n_b$ items. Both send their samples. What
# is a fair sample of all $n = n_a + n_b$ items? Imagine drawing it one by one without replacement. The first draw comes
# from part $a$ with probability $n_a/n$. If it does, part $a$ has $n_a - 1$ items left, and the second draw comes from
# it with probability $(n_a - 1)/(n - 1)$, and so on. So only the *number* of items from each part needs the lengths.
# Which items they are is settled by the samples: a random subset of a fair sample is a fair sample. It must be drawn at
# random, because a sample may lie there in any order. At most $\min(k, n_a)$ items come from part $a$, and the sample
# has that many. So what merges is the pair of a sample and the length of its stream.
#
# **Find the bug.** The function below is found in this form in pipelines that "combine the samples". It runs, returns
# $k$ items, and is wrong. Find out why, and repair it.


# %% exercise="merge_reservoirs" points=1 minutes=10 bug=true trains=["summaries that merge"]
def merge_reservoirs(a: list, n_a: int, b: list, n_b: int, k: int, seed: int) -> list:
    """A fair sample of two streams together, from a fair sample of each.

    a: a fair sample of min(k, n_a) items of a stream of n_a items, such as `reservoir` returns;
      b the same for another stream, of n_b items. 0 <= n_a, n_b <= 10^15 (more than NumPy's
      hypergeometric takes). Neither is modified.
    k: the size of the sample, >= 0. seed: a Python integer, 0 <= seed < 2^63.

    Returns a new list, in any order: min(k, n_a + n_b) items of a and b, none of them twice. If a
    and b are fair, each set of so many positions of both streams together is equally likely. The
    order of the items in a and in b is not random: they may be sorted, say, or as `reservoir` left
    them.
    The same arguments give the same result. Neither uses nor changes the global random states of
    Python and NumPy.
    """
    ### BEGIN SOLUTION
    rng = random.Random(seed)
    a, b = rng.sample(a, len(a)), rng.sample(b, len(b))
    merged = []
    for _ in range(min(k, n_a + n_b)):
        if rng.randrange(n_a + n_b) < n_a:
            merged.append(a.pop())
            n_a -= 1
        else:
            merged.append(b.pop())
            n_b -= 1
    return merged
    ### END SOLUTION
    ### BEGIN BUG
    # rng = random.Random(seed)
    # pool = a + b
    # return rng.sample(pool, min(k, len(pool)))
    ### END BUG


# %% [markdown] hints="merge_reservoirs"
# <details><summary>Hint 1: look at two numbers</summary>
#
# Which of the arguments does the function never use? Try a stream of 9,000 items beside one of 1,000, with samples of
# ten.
# </details>
# <details><summary>Hint 2: one item at a time</summary>
#
# The next item comes from part $a$ with probability `n_a / (n_a + n_b)`. After it has been taken, one of the two
# numbers is one smaller. `rng.randrange(n_a + n_b) < n_a` is exact for integers of any size.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Shuffle copies of both lists: `rng.sample(a, len(a))`. Then, `min(k, n_a + n_b)` times: draw, pop an item from the
# chosen list, and reduce `n_a` or `n_b` by one.
# </details>

# %% check="merge_reservoirs"
with check("merge_reservoirs"):
    from_a, from_b = list(range(10)), list(range(100, 110))
    with expect_unchanged(a=from_a, b=from_b):
        got = merge_reservoirs(from_a, 9000, from_b, 1000, 10, seed=0)
    assert len(set(got)) == 10, f"10 different items, and not {got}"
    long = merge_reservoirs(from_a, 9 * 10**14, from_b, 10**14, 10, seed=0)
    assert len(set(long)) == 10, "streams may have up to 10^15 items (NumPy's hypergeometric stops at 10^9)"
    # 90 of 100 items live in part a: of ten that are drawn, 9 on average. The standard deviation is below
    # sqrt(10 * 0.9 * 0.1) = 0.95; the mean of 400 merges is within 5 * 0.95 / 20 = 0.24.
    counts = [sum(item < 100 for item in merge_reservoirs(from_a, 9000, from_b, 1000, 10, seed)) for seed in range(400)]
    expect_close(
        np.mean(counts),
        9.0,
        atol=0.24,
        hint="part a is nine times as long as part b, so nine of ten items come from it",
        mistakes={"Items were drawn as though both streams were equally long.": 5.0},
    )
    # Two items of a stream of two, and three of a stream of three: no draw may ask for a third item of the first.
    everything = merge_reservoirs([1, 2], 2, [3, 4, 5], 3, 9, seed=0)
    assert sorted(everything) == [1, 2, 3, 4, 5], f"k = 9 and five items: all five, and not {everything}"
    sizes = [sum(item < 3 for item in merge_reservoirs([1, 2], 2, [3, 4, 5], 3, 3, seed)) for seed in range(400)]
    expect_close(np.mean(sizes), 1.2, atol=0.16, hint="3 of 5 items: 3 * 2/5 from part a on average")
    equal = [merge_reservoirs(from_a, 10, from_b, 10, 10, seed) for seed in range(400)]
    firsts = sum(0 in merged for merged in equal)
    expect_close(firsts, 200, atol=50, hint="a random subset of a: item 0 is taken in half of the merges")
    # Ten of twenty items without replacement: the number from a has the variance 10 * 1/2 * 1/2 * 10/19 = 1.32.
    expect_close(
        np.var([sum(item < 100 for item in merged) for merged in equal]),
        1.32,
        atol=0.6,
        hint="what has been drawn from a part is missing there: n_a or n_b is one smaller",
        mistakes={"The parts did not become shorter.": 2.5},
    )
    assert merge_reservoirs([], 0, [], 0, 3, seed=0) == [], "nothing and nothing is nothing"

# %% [markdown]
# Sixteen machines have parts of very different lengths. Each samples 200 items of its part, and the samples are merged
# in a tree, pair by pair. The bars show how many items of the final sample come from each part. The diamonds show how
# many should: $k\, n_j/n$. Pooling would give every part the same bar, whatever its length.

# %% tags=["demo"]
part_sizes = [demo_size(full=1000, small=100) * (j + 1) for j in range(16)]
states = []
for part, size in enumerate(part_sizes):
    states.append((reservoir(((part, i) for i in range(size)), 200, seed=part), size))
numbers = itertools.count(1000)
while len(states) > 1:
    states = [
        (merge_reservoirs(*states[i], *states[i + 1], 200, seed=next(numbers)), states[i][1] + states[i + 1][1])
        for i in range(0, len(states), 2)
    ]
sample, n_items = states[0]
came = np.bincount([part for part, _ in sample], minlength=16)
figure, ax = plt.subplots(figsize=(7.5, 3.6))
ax.bar(range(16), came, color=plotting.COLOURS[5], label="items of the merged sample (yours)")
ax.plot(range(16), 200 * np.array(part_sizes) / n_items, "D", color=plotting.COLOURS[1], label="expected")
ax.set(xlabel="part", ylabel="items", title="After a tree of merges, long parts have more items")
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# ### 16.3 `Bloom` · essential · level 2 of 4 · 30 min
#
# A sample says what is frequent. It cannot say whether one given key has ever been seen. A set can, and it takes tens
# of bytes a key. A **Bloom filter** takes ten *bits* a key, and pays with false alarms: it may say "seen" of a new key,
# and never "new" of a seen one. It is an array of $m$ bits, all 0 at first. Each key has $h$ places in it, by $h$ hash
# functions. `add` sets the bits at the places of a key; `contains` says whether all of them are set.
#
# **How often does it err?** After $n$ different keys, $hn$ places have been drawn. A given bit is still 0 with
# probability $(1 - 1/m)^{hn} \approx e^{-hn/m}$. The share of bits that are 1 hardly varies when $m$ is large, so a new
# key finds its $h$ bits set with probability
#
# $$q = \left(1 - e^{-hn/m}\right)^h .$$
#
# Solve for $m$ and see what $h$ costs: $m = h\,n \,/ -\ln\left(1 - q^{1/h}\right)$. Let $x = q^{1/h}$ be the share of
# bits that are 1. Then $h = \ln q/\ln x$, and $m = n \ln(1/q)\, /\, (\ln x \ln(1-x))$. The product $\ln x\ln(1 - x)$ is
# symmetric in $x$ and $1 - x$ and goes to 0 at both ends, and it is largest in the middle, at $x = \frac12$: a filter
# is best when half of its bits are set. So $h = \log_2(1/q)$, and $m = n\log_2(1/q)/\ln 2$, which is 1.44 bits for each
# halving of the error rate.
#
# Tutorials disagree about the last step: $h$ must be a whole number. Some round $h$ and keep the $m$ above; the
# promised rate is then missed, because this $m$ belongs to the other $h$. Here $h$ is rounded to the nearest whole
# number first (a convention), and then $m$ is computed *for this* $h$.
#
# **It merges.** The filter of two streams together has a 1 wherever one of the two filters has one: bitwise *or*,
# exact. The filters must have the same size and the same hash functions.
#
# NumPy has two traps. `table[i] |= x` with repeated places in `i` keeps only one of the updates for each place; the
# unbuffered `np.bitwise_or.at(table, i, x)` keeps all. And an array of `bool` takes a byte for each bit.


# %% exercise="Bloom" points=2 minutes=30 forbids=["datasketch", "datasketches"] trains=["hashing", "probability bounds"]
def bloom_size(n: int, rate: float) -> tuple[int, int]:
    """The sizes (bits, hashes) of a Bloom filter for n different keys.

    n: >= 1. rate: the share of false alarms that is allowed, 1e-12 <= rate < 1.
    Returns two Python ints. hashes: log2(1 / rate), rounded to the nearest whole number, but at least 1.
    bits: the smallest whole number >= hashes * n / -ln(1 - rate^(1 / hashes)): with these hashes and
    bits, (1 - exp(-hashes * n / bits))^hashes is at most `rate`. (bits may be off by one, or by
    1e-12 of itself: rounding.)
    """
    ### BEGIN SOLUTION
    hashes = max(1, round(-math.log2(rate)))
    return math.ceil(-hashes * n / math.log1p(-(rate ** (1 / hashes)))), hashes
    ### END SOLUTION


class Bloom:
    """A Bloom filter: a set of keys in a fixed number of bits, with false alarms and no misses.

    bits: the number of bits, 1 <= bits <= 2^32, not always a multiple of 8.
    hashes: how many bits a key sets, >= 1. (Two of its places may be equal.)
    seed: a Python integer, 0 <= seed < 2^64. Filters with different seeds use unrelated hash
      functions: also seeds such as 5 and 6. Function i may be mix64(keys, sub_seed(seed, i)) % bits.
    keys: 1-D arrays of integers of any kind (int8 to uint64), of any length, also 0; not modified.
    The same number is the same key in every kind; a negative one counts modulo 2^64, as in mix64.

    Memory: bits / 8 bytes and a few hundred more, for as long as the filter lives; and during a call a
    few arrays of hashes * len(keys) numbers. Forbidden: the libraries datasketch and datasketches.
    """

    def __init__(self, bits: int, hashes: int, seed: int):
        ### BEGIN SOLUTION
        self.bits, self.hashes, self.seed = bits, hashes, seed
        self.packed = np.zeros(-(-bits // 8), np.uint8)

    def places(self, keys):
        for i in range(self.hashes):
            yield (mix64(keys, sub_seed(self.seed, i)) % self.bits).astype(np.int64)
            ### END SOLUTION

    def add(self, keys: np.ndarray) -> None:
        """Put the keys into the set."""
        ### BEGIN SOLUTION
        for place in self.places(keys):
            np.bitwise_or.at(self.packed, place >> 3, np.left_shift(1, place & 7).astype(np.uint8))
        ### END SOLUTION

    def contains(self, keys: np.ndarray) -> np.ndarray:
        """For each key whether all of its bits are set: a new array, np.bool_, of the length of keys.

        True for each key that was added. A key that was not is reported as True with the probability
        (share of bits that are 1)^hashes.
        """
        ### BEGIN SOLUTION
        found = np.ones(len(keys), bool)
        for place in self.places(keys):
            found &= (self.packed[place >> 3] >> (place & 7)) & 1 == 1
        return found
        ### END SOLUTION

    def merge(self, other: "Bloom") -> "Bloom":
        """A new filter: the one that would have got the keys of both. Neither of the two changes,
        and what is added later to one of the three has no influence on the others.

        Raises ValueError where other's bits, hashes or seed differ.
        """
        ### BEGIN SOLUTION
        if (self.bits, self.hashes, self.seed) != (other.bits, other.hashes, other.seed):
            raise ValueError("these filters have different sizes or hash functions")
        merged = Bloom(self.bits, self.hashes, self.seed)
        merged.packed = self.packed | other.packed
        return merged
        ### END SOLUTION


# %% [markdown] hints="Bloom"
# <details><summary>Hint 1: eight bits in a byte</summary>
#
# Keep `np.zeros((bits + 7) // 8, np.uint8)`. Bit number $j$ stands in byte `j >> 3` ($\lfloor j/8\rfloor$), as the bit
# with the value `1 << (j & 7)` there.
# </details>
# <details><summary>Hint 2: places</summary>
#
# For hash function $i$: `(mix64(keys, sub_seed(self.seed, i)) % self.bits).astype(np.int64)`. Neither `seed + i` (then
# the filter with seed 1 shares functions with that of seed 0) nor one hash with `i` added (then all places of a key
# follow from the first one).
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `add`: for each function, `np.bitwise_or.at(self.packed, place >> 3, np.left_shift(1, place & 7).astype(np.uint8))`.
# `contains`: begin with all True, and `&=` the bits `(self.packed[place >> 3] >> (place & 7)) & 1 == 1`. `merge`: a new
# filter whose bytes are `self.packed | other.packed`. For the size: `round(...)` gives the nearest whole number, and
# `math.log1p(-x)` is $\ln(1 - x)$.
# </details>

# %% check="Bloom"
with check("Bloom", forbids=["datasketch", "datasketches"]):
    # rate 1/4: log2(4) = 2 functions; 2 * 1000 / -ln(1 - 1/2) = 2000 / 0.693147 = 2885.4.
    expect_close(bloom_size(1000, 0.25), (2886, 2), atol=1, hint="2 functions, and bits rounded up")
    # rate 0.4: log2(2.5) = 1.32, so 1 function; 100 / -ln(0.6) = 195.8. The formula without rounding gives 190.7.
    expect_close(
        bloom_size(100, 0.4),
        (196, 1),
        atol=1,
        hint="round log2(1 / rate) to the nearest whole number first, then compute the bits for it",
        mistakes={
            "These bits belong to hashes that were not rounded.": (191, 1),
            "You rounded log2(1 / rate) up: take the nearest whole number.": (200, 2),
        },
    )
    expect_close(bloom_size(100, 0.99), (22, 1), atol=1, hint="at least one hash function")
    keys = np.arange(0, 10_000, 7)
    bloom = Bloom(14_285, 7, seed=3)
    with expect_unchanged(keys=keys):
        bloom.add(keys[:500])
        bloom.add(keys[500:])
        got = bloom.contains(keys)
    expect_dtype(got, bool, hint="`contains` returns an array of bool")
    assert got.all(), f"{np.sum(~got)} of the keys that were added are missed: did an update overwrite another one?"
    # 1429 keys in 14,285 bits with 7 functions: (1 - exp(-0.7))^7 = 0.0082, so 164 of 20,000 new keys.
    false_alarms = int(bloom.contains(np.arange(10**6, 10**6 + 20_000)).sum())
    expect_close(
        false_alarms,
        164,
        atol=90,
        hint="20,000 new keys have 164 false alarms on average: are the hash functions unrelated?",
    )
    assert not Bloom(64, 3, seed=0).contains(keys).any(), "an empty filter contains nothing"
    # 250 keys and 4 functions fill 63% of 1000 bits: a filter has 0.63^4 = 16% false alarms, two unrelated ones the same
    # alarm for 0.16^2 = 2.5% of all keys.
    one, two = Bloom(1000, 4, seed=5), Bloom(1000, 4, seed=6)
    one.add(np.arange(250))
    two.add(np.arange(250))
    both = np.mean(one.contains(np.arange(5000, 25_000)) & two.contains(np.arange(5000, 25_000)))
    expect_close(both, 0.025, atol=0.018, hint="the filters with seeds 5 and 6 have no hash function in common")
    left, right = Bloom(14_285, 7, seed=3), Bloom(14_285, 7, seed=3)
    left.add(keys[:700])
    right.add(keys[700:])
    merged, others = left.merge(right), np.arange(20_000)
    assert np.array_equal(merged.contains(others), bloom.contains(others)), "a merged filter has the bits of both"
    assert not left.contains(keys[700:]).all(), "merge makes a new filter: neither of the two changes"
    with expect_raises(ValueError, hint="filters of different sizes do not merge"):
        left.merge(Bloom(14_286, 7, seed=3))

# %% [markdown]
# The dots are the false alarms of your filters, measured on keys that they never saw. The lines are the formula. One
# function wants few bits, seven want more: the lines cross, and the best number grows with the bits. Each dot's
# interval contains the true rate with probability $1 - 10^{-6}$.

# %% tags=["demo"]
n_keys, asked = demo_size(full=20_000, small=2000), demo_size(full=200_000, small=20_000)
seen, unseen = np.arange(n_keys), np.arange(10**9, 10**9 + asked)
bits_per_key = np.array([2, 4, 6, 8, 10, 12])
figure, ax = plt.subplots(figsize=(7, 4.2))
for number, hashes in enumerate((1, 3, 7)):
    rates = []
    for bits in bits_per_key * n_keys:
        bloom = Bloom(int(bits), hashes, seed=number)
        bloom.add(seen)
        rates.append(bloom.contains(unseen).mean())
    wide = np.linspace(2, 12, 100)
    ax.plot(
        wide, (1 - np.exp(-hashes / wide)) ** hashes, color=plotting.COLOURS[number], linestyle=plotting.DASHES[number]
    )
    alarms = np.array(rates) * asked
    low = scipy.stats.beta.ppf(LEVEL / 2, np.maximum(alarms, 0.5), asked - alarms + 1)
    high = scipy.stats.beta.ppf(1 - LEVEL / 2, alarms + 1, asked - alarms)
    ax.errorbar(
        bits_per_key,
        rates,
        [np.maximum(rates - low, 0), high - rates],
        fmt="os^"[number],
        color=plotting.COLOURS[number],
        capsize=3,
        label=f"{hashes} hash function{'s' * (hashes > 1)}",
    )
ax.set(
    xlabel="bits for each key",
    ylabel="share of false alarms",
    yscale="log",
    title="Measured false alarms follow the formula",
)
ax.legend()
plt.show()
for rate in (0.1, 0.01, 0.001):
    bits, hashes = bloom_size(n_keys, rate)
    bloom = Bloom(bits, hashes, seed=9)
    bloom.add(seen)
    print(
        f"rate {rate}: {bits / n_keys:.1f} bits a key, {hashes} functions; measured {bloom.contains(unseen).mean():.5f}"
    )

# %% [markdown]
# ### 16.4 `CountMin` · essential · level 2 of 4 · 20 min
#
# Not only whether, but how often. Replace the bits by counters. A **count-min sketch** has a table of $D$ rows and $w$
# columns. In row $j$, hash function $j$ gives each key a column, and the counter there grows by the key's count. Other
# keys fall on the same counter, so each of the $D$ counters of a key is its true count $f_x$ plus what the others
# added. All errors are $\ge 0$. So the *smallest* of the $D$ counters is the best of them; a mean would add errors for
# nothing.
#
# **The bound.** Let $E_j$ be the error in row $j$. Each other key $y$ falls on the counter of $x$ with probability
# $1/w$, so $\mathbb E E_j \le \sum_{y\ne x} f_y / w \le N/w$. Markov with $a = eN/w$ gives $P(E_j \ge eN/w) \le 1/e$.
# The rows are independent, and the estimate fails only if all rows fail:
#
# $$f_x \le \hat f_x \quad\text{always, and}\quad P\left(\hat f_x > f_x + \tfrac{eN}{w}\right) \le e^{-D} .$$
#
# Fourteen rows put the failure below $10^{-6}$. So for an error of at most $\varepsilon N$ with probability
# $1 - \delta$, take $w = e/\varepsilon$ columns and $D = \ln(1/\delta)$ rows. This holds for one key that was chosen
# before. For $K$ keys together the failure is at most $K e^{-D}$. The bound is about the *total* $N$: it says much
# about heavy keys, and nothing about a key that occurs once. Tables add, so sketches merge exactly. (A variant,
# *conservative update*, raises only the smallest counters of a key. It is more accurate, but the result depends on the
# order of the stream, and its tables do not add.)


# %% exercise="CountMin" points=2 minutes=20 forbids=["datasketch", "datasketches"] trains=["hashing", "probability bounds", "summaries that merge"]
class CountMin:
    """A count-min sketch: how often each key occurred, never too low.

    width, depth: columns and rows of the table of counters, >= 1.
    seed: a Python integer, 0 <= seed < 2^64. The hash functions of the rows are unrelated, and so are
      those of sketches with different seeds, also seeds such as 5 and 6. The column of a key in row j
      may be mix64(keys, sub_seed(seed, j)) % width.
    keys: 1-D arrays of integers of any kind (int8 to uint64), of any length, also 0, with any repeats;
    not modified. The same number is the same key in every kind; a negative one counts modulo 2^64.

    Memory: the table, with 8 bytes a counter, and a few hundred bytes more; and during a call a few
    arrays of depth * len(keys) numbers. Forbidden: the libraries datasketch and datasketches.
    """

    def __init__(self, width: int, depth: int, seed: int):
        ### BEGIN SOLUTION
        self.seed = seed
        self.table = np.zeros((depth, width), np.int64)

    def columns(self, keys, row):
        return (mix64(keys, sub_seed(self.seed, row)) % self.table.shape[1]).astype(np.int64)
        ### END SOLUTION

    def add(self, keys: np.ndarray, counts: np.ndarray | None = None) -> None:
        """Key keys[i] occurred counts[i] more times; with counts=None, once for each i.

        counts: integers of any kind >= 0, an array of the length of keys, not modified; all counts
        that a sketch gets, those of merged sketches included, sum to less than 2^53.
        """
        ### BEGIN SOLUTION
        for row, counters in enumerate(self.table):
            np.add.at(counters, self.columns(keys, row), 1 if counts is None else counts.astype(np.int64))
        ### END SOLUTION

    def estimate(self, keys: np.ndarray) -> np.ndarray:
        """The estimated count of each key: a new int64 array, of the length of keys.

        The smallest of the key's counters, one in each row. So it is never below the true count, and
        it is exact if there is a row in which no other key shares the key's column.
        """
        ### BEGIN SOLUTION
        found = [counters[self.columns(keys, row)] for row, counters in enumerate(self.table)]
        return np.min(found, axis=0)
        ### END SOLUTION

    def merge(self, other: "CountMin") -> "CountMin":
        """A new sketch: the one that would have got the keys of both. Neither of the two changes,
        and what is added later to one of the three has no influence on the others.

        Raises ValueError where other's width, depth or seed differ.
        """
        ### BEGIN SOLUTION
        if (self.table.shape, self.seed) != (other.table.shape, other.seed):
            raise ValueError("these sketches have different sizes or hash functions")
        merged = CountMin(*self.table.shape[::-1], self.seed)
        merged.table += self.table + other.table
        return merged
        ### END SOLUTION


# %% [markdown] hints="CountMin"
# <details><summary>Hint 1: repeated keys</summary>
#
# `row[columns] += counts` keeps one update for each column, and loses the others. `np.add.at(row, columns, counts)`
# adds all of them; so does `row += np.bincount(columns, counts, minlength=width).astype(np.int64)`.
# </details>
# <details><summary>Hint 2: no overflow</summary>
#
# Counters are int64, whatever kind the counts have. Counts of dtype uint64 do not mix with int64 (NumPy goes to float64
# for both): convert them first, `counts.astype(np.int64)`.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Row `j` has the columns `(mix64(keys, sub_seed(self.seed, j)) % width).astype(np.int64)`. `estimate` is the `np.min`
# over the rows of `table[j][columns]`; `merge` adds the tables.
# </details>

# %% check="CountMin"
with check("CountMin", forbids=["datasketch", "datasketches"]):
    sketch = CountMin(1000, 4, seed=2)
    keys, counts = np.array([7, -7, 7, 7]), np.array([10, 5, 1, 0])
    with expect_unchanged(keys=keys, counts=counts):
        sketch.add(keys, counts)
        sketch.add(keys)
        got = sketch.estimate(np.array([7, -7, 8]))
    # 7 has 10 + 1 + 0 and three times 1, -7 has 5 + 1, and 8 was never there. Three keys hardly meet in all four rows.
    expect_close(
        got,
        [14, 6, 0],
        atol=0,
        hint="7 occurs 10 + 1 + 0 times, and then three times more",
        mistakes={"Repeated keys in one call lost all counts but the last: use np.add.at.": [1, 6, 0]},
    )
    expect_dtype(got, np.int64, hint="estimates are int64")
    rng = np.random.default_rng(0)
    stream = rng.integers(0, 3000, 30_000)
    sketch = CountMin(500, 5, seed=0)
    sketch.add(stream)
    truth, found = np.bincount(stream, minlength=3000), sketch.estimate(np.arange(3000))
    assert np.all(found >= truth), "an estimate is below the true count"
    # One row errs by N / w = 60 on average, with a spread of 25; the smallest of five errs by about 35.
    expect_close(
        np.mean(found - truth),
        35,
        atol=12,
        hint="the smallest of the counters, of rows with unrelated hash functions",
        mistakes={"This is the error of the mean of the counters: take the smallest.": 60},
    )
    left, right = CountMin(500, 5, seed=0), CountMin(500, 5, seed=0)
    left.add(stream[:10_000])
    right.add(stream[10_000:])
    merged = left.merge(right)
    expect_close(merged.estimate(np.arange(3000)), found, atol=0, hint="tables add")
    assert left.estimate(np.arange(3000)).sum() < found.sum(), "merge makes a new sketch: neither of the two changes"
    with expect_raises(ValueError, hint="sketches with different hash functions do not merge"):
        left.merge(CountMin(500, 5, seed=1))
    # 30 keys take 45% of 50 columns. An unseen key finds taken counters in all rows of two unrelated sketches with
    # probability 0.45^10: 8 of 20,000.
    one, two = CountMin(50, 5, seed=5), CountMin(50, 5, seed=6)
    one.add(np.arange(30))
    two.add(np.arange(30))
    asked = np.arange(1000, 21_000)
    both = np.sum((one.estimate(asked) > 0) & (two.estimate(asked) > 0))
    assert both < 60, "the sketches with seeds 5 and 6 have no hash function in common"

# %% [markdown]
# How often does an error exceed $eN/w$? The bound says: for a share $e^{-D}$ of the keys at most. The circles are a
# Zipf stream: most of its weight lies on few keys, and Markov's bound is far from tight. The squares are the worst
# stream that we know: $0.98\, w/e$ keys with equal counts, a little above $eN/w$ each. Then one collision in each row
# is enough to fail. A row fails with probability 0.30, and Markov's bound is 0.37. A proof without assumptions must
# hold for this stream, too. A dot is missing where no key of all that were asked failed.

# %% tags=["demo"]
width, asked = 200, demo_size(full=200_000, small=20_000)
depths = np.arange(1, 9)
rng = np.random.default_rng(4)
heavy = int(0.98 * width / math.e)
streams = {
    "Zipf stream": (np.arange(20_000), np.bincount(np.minimum(rng.zipf(1.3, 100_000), 20_000) - 1, minlength=20_000)),
    "the worst stream": (np.arange(heavy), np.full(heavy, 1000)),
}
ax = plotting.curves({"the bound, exp(−D)": (depths, np.exp(-depths))}, xlabel="rows D", logy=True)
for number, (name, (keys, counts)) in enumerate(streams.items(), start=1):
    shares = []
    for depth in depths:
        sketch = CountMin(width, int(depth), seed=int(depth))
        sketch.add(keys, counts)
        shares.append(np.mean(sketch.estimate(np.arange(10**6, 10**6 + asked)) > math.e * counts.sum() / width))
    ax.plot(
        depths,
        np.where(np.array(shares) > 0, shares, np.nan),
        " os"[number],
        color=plotting.COLOURS[number],
        label=name,
    )
ax.set(ylabel="share of keys with an error above eN/w", title="All dots lie below the bound")
ax.legend()
plt.show()

# %% [markdown]
# ### 16.5 `misra_gries` · essential · level 2 of 4 · 20 min
#
# A count-min sketch answers for a key that you name. Which keys are heavy? The following summary needs no hash and
# fails with probability 0. Keep at most $k$ **counters**, each for one key:
#
# - the item has a counter: add 1 to it;
# - it has none, and fewer than $k$ counters exist: give it one, with the value 1;
# - otherwise subtract 1 from all $k$ counters, and remove those that reach 0. The new item is not stored.
#
# **The bound.** A counter never exceeds the true count. How far below can it be? Each subtraction throws away $k + 1$
# occurrences: one of each of the $k$ counters, and the new item. If there were $z$ subtractions, then
# $n = S + (k+1)\,z$, where $n$ is the length of the stream and $S$ the sum of the counters. A key loses at most 1 in
# each subtraction, so
#
# $$f_x - \hat f_x \;\le\; z = \frac{n - S}{k + 1} \;\le\; \frac{n}{k + 1}, \qquad\text{with } \hat f_x = 0 \text{ for keys without a counter.}$$
#
# All keys that occur more than $n/(k+1)$ times are among the counters. This bound does not depend on luck.
#
# **It merges.** Add the counters of two summaries; up to $2k$ keys have one. Sort the counters. Let the *cut* be the
# $(k+1)$-th largest (0 if there are no more than $k$). Subtract the cut from all, and keep the positive ones: at most
# $k$. Each key loses at most the cut more than it had lost before. And the sum $S$ falls by at least $(k+1)$ times the
# cut, since the $k + 1$ largest lose it each. So $(k+1)\cdot$(largest error) $\le n - S$ holds for both parts, for
# their sum, and after the subtraction. The bound survives every tree of merges. Keeping the $k$ largest counters
# *without* subtracting looks better, and breaks the proof: a key that is a little too small in each part is dropped in
# each merge (Agarwal et al., 2012).


# %% exercise="misra_gries" points=2 minutes=20 forbids=["datasketch", "datasketches"] trains=["one-pass algorithms", "counting what a computation costs"]
def misra_gries(stream: Iterable, k: int) -> dict:
    """The counters of a stream after Misra and Gries: {item: counter}, at most k of them.

    stream: any iterable, of any length (0 as well); it can be gone through once. Its items can be
      keys of a dict.
    k: the number of counters, >= 1.

    Returns a new dict with Python ints >= 1, in any order. With n items and S the sum of all
    counters: each counter is at most the item's true count, and below it by at most (n - S) / (k + 1);
    for an item without a counter this holds with 0. Memory for a few k items, however long the stream
    is; time O(n). Forbidden: the libraries datasketch and datasketches.
    """
    ### BEGIN SOLUTION
    counters = {}
    for item in stream:
        if item in counters:
            counters[item] += 1
        elif len(counters) < k:
            counters[item] = 1
        else:
            counters = {key: count - 1 for key, count in counters.items() if count > 1}
    return counters
    ### END SOLUTION


def merge_counters(a: dict, b: dict, k: int) -> dict:
    """The counters of two streams together, from the counters of each: at most k.

    a, b: as misra_gries or merge_counters returns them, for the same k >= 1; maybe empty, not modified.

    Returns a new dict with Python ints >= 1, in any order. The bound of misra_gries holds with n the
    length of both streams together and S the sum of the returned counters.
    """
    ### BEGIN SOLUTION
    total = Counter(a)
    total.update(b)
    cut = sorted(total.values(), reverse=True)[k] if len(total) > k else 0
    return {key: count - cut for key, count in total.items() if count > cut}
    ### END SOLUTION


# %% [markdown] hints="misra_gries"
# <details><summary>Hint 1: three cases</summary>
#
# `if item in counters`, `elif len(counters) < k`, `else`. In the third case the new item is thrown away together with
# one occurrence of each of the $k$ others.
# </details>
# <details><summary>Hint 2: subtracting</summary>
#
# Do not remove keys from a dict while you go through it: make a new one,
# `{key: count - 1 for key, count in counters.items() if count > 1}`. It costs $k$ steps, but it happens at most once in
# $k + 1$ items on average, because each counter had to be counted up before.
# </details>
# <details><summary>Hint 3: merging</summary>
#
# Add both into one dict. With more than $k$ keys, `cut = sorted(total.values(), reverse=True)[k]`; otherwise `cut = 0`.
# Keep `count - cut` where `count > cut`. With equal counters it may be that fewer than $k$ are left.
# </details>

# %% check="misra_gries"
with check("misra_gries", forbids=["datasketch", "datasketches"]):
    # k = 2. a a b: a 2, b 1. c: subtract, a 1. b: b 1. c: subtract, nothing left. a: a 1.
    got = misra_gries(iter("aabcbca"), 2)
    expect_close(
        got,
        {"a": 1},
        hint="a 2, b 1; c subtracts; b again; c subtracts; a again",
        mistakes={"Nothing was subtracted: an item without a place was ignored.": {"a": 3, "b": 2}},
    )
    expect_close(
        misra_gries(iter("abb"), 1),
        {"b": 1},
        hint="a 1; b subtracts, and is thrown away itself; b 1",
        mistakes={
            "The new item was stored after a subtraction: it is thrown away, too.": {"b": 2},
            "Nothing was subtracted: an item without a place was ignored.": {"a": 1},
        },
    )
    expect_close(misra_gries(iter("abacab"), 3), {"a": 3, "b": 2, "c": 1}, hint="k counters are enough: exact")
    assert misra_gries(iter([]), 2) == {}, "an empty stream has no counters"
    a, b = {"x": 6, "y": 3}, {"x": 1, "z": 4}
    with expect_unchanged(a=a, b=b):
        got = merge_counters(a, b, 2)
    expect_close(
        got,
        {"x": 4, "z": 1},
        hint="x 7, z 4, y 3: subtract the third largest, 3, from all",
        mistakes={
            "You kept the k largest counters without subtracting.": {"x": 7, "z": 4},
            "More than k counters are left.": {"x": 7, "y": 3, "z": 4},
            "You subtracted the k-th largest, not the one after it.": {"x": 3},
        },
    )
    expect_close(merge_counters({"x": 2}, {}, 2), {"x": 2}, hint="one counter, k = 2: nothing is subtracted")
    # x 6, z 4, y 3, w 2: four keys, and the cut is the third largest of their counters.
    got = merge_counters({"x": 6, "y": 3}, {"z": 4, "w": 2}, 2)
    assert len(got) <= 2, f"k = 2 allows two counters, and not {got}: subtract the (k + 1)-th largest, not the smallest"

    # Two counters, and 500 parts that hold x ten times, each beside two others that occur eleven times.
    total = {"p": 11, "q": 11}
    for _ in range(500):
        total = merge_counters(total, {"x": 10}, 2)
    # n = 5022 and k + 1 = 3, so x is low by at most 1674.
    assert total.get("x", 0) >= 5000 - 1674, f"x occurred 5000 times, and its counter says {total.get('x', 0)}"

# %% [markdown]
# The largest error of your counters on a Zipf stream, in one run and after 64 parts were merged in a random tree,
# beside the two bounds. The sharp bound $(n - S)/(k + 1)$ is known to the summary itself: it can say how wrong it may
# be.

# %% tags=["demo"]
rng = np.random.default_rng(5)
n_items = demo_size(full=200_000, small=5000)
stream = np.minimum(rng.zipf(1.2, n_items), 10**6).tolist()
truth = Counter(stream)
tried = [2, 5, 10, 20, 50, 100, 200]
errors, sharp = {"one pass": [], "64 parts, merged": []}, []
for k_kept in tried:
    whole = misra_gries(stream, k_kept)
    parts = [misra_gries(stream[i::64], k_kept) for i in range(64)]
    while len(parts) > 1:
        rng.shuffle(parts)
        parts.append(merge_counters(parts.pop(), parts.pop(), k_kept))
    for name, found in zip(errors, (whole, parts[0]), strict=True):
        errors[name].append(max(count - found.get(key, 0) for key, count in truth.items()))
    sharp.append((n_items - sum(parts[0].values())) / (k_kept + 1))
ax = plotting.curves(
    {"the bound n / (k + 1)": (tried, n_items / (np.array(tried) + 1)), "(n − S) / (k + 1), merged": (tried, sharp)},
    xlabel="counters k",
    ylabel="largest error",
    logx=True,
    logy=True,
    title="No error exceeds the bound, whatever the tree of merges",
)
for number, (name, found) in enumerate(errors.items()):
    style = {"markersize": (10, 5)[number], "markerfacecolor": ("none", None)[number], "linestyle": "none"}
    ax.plot(tried, np.maximum(found, 0.5), marker="os"[number], color=plotting.COLOURS[2 + number], label=name, **style)
ax.legend()
plt.show()

# %% [markdown]
# ### 16.6 `HyperLogLog` · essential · level 3 of 4 · 35 min
#
# How many *different* keys are in the stream? Look at the first bits of their hashes. One key in two begins with 1, one
# in four with 01, one in eight with 001. A hash that begins with nine zeros is a sign of about $2^9$ different keys,
# and repeats do not change that. So keep the largest **rank**: the place of the first 1 among the bits, counted from 1.
# One such number is very noisy, so split the keys into $m = 2^p$ groups by $p$ bits of the hash, and keep for each
# group the largest rank of the other $64 - p$ bits. This is **register** $M_j$; an empty group has $M_j = 0$. It fits
# into a byte.
#
# **From registers to a number.** Let $\lambda = n/m$ keys fall into each group (a Poisson number of them). The rank of
# a key is at most $r$ with probability $1 - 2^{-r}$, so all keys of a group have ranks of at most $r$ with probability
# $P(M \le r) = e^{-\lambda 2^{-r}}$. Which mean of the $2^{M_j}$ tells $\lambda$? The arithmetic mean does not: for
# large $r$, $P(M = r) \approx \lambda 2^{-r}$, so $\mathbb E\,2^{M} = \sum_r 2^r P(M = r)$ is infinite. A mean of such
# numbers never settles. But the numbers $2^{-M}$ lie between 0 and 1, so *their* mean settles fast. With
# $x_r = \lambda 2^{-r}$,
#
# $$\mathbb E\, 2^{-M} = \sum_r 2^{-r}\left(e^{-x_r} - e^{-2x_r}\right) \approx \frac{1}{\lambda\ln 2}\int_0^\infty \left(e^{-x} - e^{-2x}\right)dx
# = \frac{1}{2\lambda\ln 2},$$
#
# because $x_r$ runs in steps of a factor 2, which are steps of $\ln 2$ in $\ln x$, and $dx = x\, d\ln x$. So
# $\lambda \approx \frac{1}{2\ln 2}\, \big/$ (mean of the $2^{-M_j}$): the *harmonic* mean of the $2^{M_j}$, times
# $0.7213$. And the spread? In the same way
# $\mathbb E\,2^{-2M} \approx \frac{1}{\lambda^2\ln 2}\int x\,(e^{-x} - e^{-2x})\,dx = \frac{3}{4\lambda^2\ln 2}$. The
# variance of $2^{-M}$, relative to the square of its mean, is
#
# $$\frac{3}{4\ln 2}\,(2\ln 2)^2 - 1 = 3\ln 2 - 1 = 1.079 .$$
#
# The mean of $m$ registers has the relative standard deviation $\sqrt{1.079/m} = 1.04/\sqrt m$: this is the number
# behind HyperLogLog. And since $\mathbb E[1/Z] \approx \frac{1}{\mathbb E Z}(1 + \text{relative variance of } Z)$, the
# estimate is a little too large on average, by $1.079/m$. Divide by that:
#
# $$\hat n = \alpha_m\, m^2 \Big/ \sum_j 2^{-M_j}, \qquad \alpha_m = \frac{0.7213}{1 + 1.079/m}, \qquad \sigma = \frac{1.04}{\sqrt m} .$$
# For example, four registers $(2, 3, 1, 2)$ have the numbers $2^{-M}$ of $\frac14, \frac18, \frac12, \frac14$, with the
# sum $\frac98$. With $\alpha = 0.7213$ the estimate is $0.7213\cdot 16 / \frac98 = 10.3$ keys. (For $m = 4$ the spread
# is as large as one half of that; the constants are for large $m$.)
#
# **Small numbers.** The integral starts at $x = 0$ and goes to infinity, but ranks start at 1. Where $n$ is not much
# larger than $m$, many registers are still 0, and the formula breaks: with no key at all it says $0.72\,m$. But then
# the number $V$ of zeros tells more. A register is empty with probability $(1 - 1/m)^n \approx e^{-n/m}$, so
# $\hat n = m\ln(m/V)$: with the registers $(2, 0, 1, 0)$, $\hat n = 4\ln(4/2) = 2.8$. Use this where the first formula
# gives at most $2.5\,m$ and $V > 0$.
#
# **The honest bound.** Often one reads "$\pm 5\sigma$, so it never fails". Three things are missing. Near $2.5\,m$,
# where the formulas change, the first one is still too large by 2.4%. For small $m$ the errors have longer tails than a
# Gaussian, because an estimate is one over a mean: it errs further above than below. And with ten keys, a single
# collision is an error of 10%. Here the bound is
#
# $$|\hat n - n| \;\le\; 3 + \left(6\cdot\tfrac{1.04}{\sqrt m} + 0.03\right) n \qquad\text{for } m \ge 2^{10}.$$
#
# **It merges.** The largest rank of both streams is the larger one of the two largest ranks. So registers merge by
# their maximum, exactly: it makes no difference whether a key was on one machine or on all of them.


# %% exercise="HyperLogLog" points=3 minutes=35 forbids=["datasketch", "datasketches"] trains=["hashing", "probability bounds", "summaries that merge"]
class HyperLogLog:
    """The number of different keys of a stream, in 2^p bytes.

    p: 4 <= p <= 16. seed: a Python integer, 0 <= seed < 2^64; another seed gives other hashes. The
    hash of the keys is mix64(keys, seed) or another function of 64 bits made from mix64.
    registers: an attribute, a uint8 array (2^p,). p bits of a key's hash choose its register (which
      p of the 64 is up to you). Its rank is the place, counted from 1, of the first 1 in the other
      64 - p bits, read from either end; 65 - p if they are all 0. A register holds the largest rank of
      its keys, and 0 if it has none.

    Memory: 2^p bytes and a few hundred more; and during a call some ten arrays of len(keys) numbers.
    Forbidden: the libraries datasketch and datasketches.
    """

    def __init__(self, p: int, seed: int):
        ### BEGIN SOLUTION
        self.p, self.seed = p, seed
        self.registers = np.zeros(2**p, np.uint8)
        ### END SOLUTION

    def add(self, keys: np.ndarray) -> None:
        """Count these keys.

        keys: a 1-D array of integers of any kind (int8 to uint64), of any length, also 0; not modified.
        Neither their order nor repeats make a difference. The same number is the same key in every
        kind; a negative one counts modulo 2^64.
        """
        ### BEGIN SOLUTION
        hashes = mix64(keys, self.seed)
        rest = hashes | 2 ** (64 - self.p)  # read from the low end; this 1 ends all that are 0
        rank = np.bitwise_count(~rest & (rest - 1)) + 1  # the zeros below the first 1, plus 1
        np.maximum.at(self.registers, (hashes >> (64 - self.p)).astype(np.int64), rank)
        ### END SOLUTION

    def estimate(self) -> float:
        """The estimated number n of different keys, a Python float; 0.0 before the first key.

        For p >= 10 it is off by at most 3 + (6 * 1.04 / sqrt(2^p) + 0.03) * n with probability
        1 - 1e-6, from n = 0 to 10^9. For p >= 8 the mean of the estimates over all seeds is off by
        less than 0.03 n.
        It depends on the registers only, and does not change them.
        """
        ### BEGIN SOLUTION
        m = len(self.registers)
        raw = 0.7213 / (1 + 1.079 / m) * m**2 / np.sum(0.5 ** self.registers.astype(float))
        zeros = np.count_nonzero(self.registers == 0)
        if raw <= 2.5 * m and zeros > 0:
            return m * math.log(m / zeros)
        return float(raw)
        ### END SOLUTION

    def merge(self, other: "HyperLogLog") -> "HyperLogLog":
        """A new sketch: the one that would have got the keys of both. Neither of the two changes,
        and what is added later to one of the three has no influence on the others.

        Raises ValueError where other's p or seed differ.
        """
        ### BEGIN SOLUTION
        if (self.p, self.seed) != (other.p, other.seed):
            raise ValueError("these sketches have different sizes or hash functions")
        merged = HyperLogLog(self.p, self.seed)
        merged.registers = np.maximum(self.registers, other.registers)
        return merged
        ### END SOLUTION


# %% [markdown] hints="HyperLogLog"
# <details><summary>Hint 1: two parts of a hash</summary>
#
# `hashes >> (64 - p)` are the upper $p$ bits: the register. The lower $64 - p$ bits give the rank. If both are taken
# from the same bits, the rank follows from the register, and nothing is estimated.
# </details>
# <details><summary>Hint 2: the rank</summary>
#
# Read from the low end. `~x & (x - 1)` has a 1 exactly where `x` has the zeros below its lowest 1, and
# `np.bitwise_count` counts them; the rank is one more. Set the bit $2^{64-p}$ first, so that there is always a 1.
# (`np.log2` of a 64-bit number rounds, and is wrong for some keys.)
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `np.maximum.at(self.registers, register, rank)`, because one call may hold a register many times. `estimate`: the two
# formulas of the text, with `0.5 ** self.registers.astype(float)`; in uint8, `-registers` is no negative number.
# `merge`: `np.maximum` of both.
# </details>

# %% check="HyperLogLog"
with check("HyperLogLog", forbids=["datasketch", "datasketches"]):
    sketch = HyperLogLog(12, seed=1)
    expect_shape(sketch.registers, (4096,), hint="2^p registers")
    expect_dtype(sketch.registers, np.uint8, hint="a rank is at most 61: a byte is enough")
    expect_close(
        sketch.estimate(),
        0.0,
        atol=0,
        hint="no key: all 4096 registers are 0, and 4096 * ln(4096 / 4096) = 0",
        mistakes={
            "Without the formula for small numbers an empty sketch says 0.72 m.": 0.7213 / (1 + 1.079 / 4096) * 4096
        },
    )
    keys = np.arange(50_000)
    with expect_unchanged(keys=keys):
        sketch.add(keys)
    # A register is 0 with probability exp(-50000 / 4096), at most r with exp(-50000 / 4096 / 2^r): its median is near
    # log2(12.2 / ln 2) = 4.1. The mean of all is near log2(12.2) + 1.33 = 4.94, with a spread of 1.9 / 64 = 0.03.
    expect_close(
        np.mean(sketch.registers.astype(float)),
        4.94,
        atol=0.15,
        hint="the largest rank of each register; one call holds a register many times",
        mistakes={"Ranks count from 1: the zeros before the first 1, plus 1.": 3.94},
    )
    expect_close(
        sketch.estimate(),
        50_000.0,
        rtol=0.08,
        hint="alpha * m^2 / sum of 2^-M",
        mistakes={"The estimate is twice too low: is a rank one too low?": 25_000.0},
    )
    registers = np.array(sketch.registers)
    sketch.add(keys[::-7])
    assert np.array_equal(sketch.registers, registers), "repeated keys change nothing"
    left, right = HyperLogLog(12, seed=1), HyperLogLog(12, seed=1)
    left.add(keys[:30_000])
    right.add(keys[20_000:])
    merged = left.merge(right)
    expect_close(merged.registers, registers, atol=0, hint="merge by the maximum: common keys count once")
    assert left.estimate() < 40_000, "merge makes a new sketch: neither of the two changes"
    for n_keys in (1, 100, 3000, 12_000, 400_000):
        sketch = HyperLogLog(12, seed=2)
        sketch.add(np.arange(n_keys))
        expect_close(
            sketch.estimate(),
            float(n_keys),
            atol=3 + (6 * 1.04 / 64 + 0.03) * n_keys,
            hint=f"{n_keys:,} different keys: up to 2.5 m count the zeros, and take the harmonic mean above",
        )
    with expect_raises(ValueError, hint="sketches with different hashes do not merge"):
        left.merge(HyperLogLog(12, seed=2))

# %% [markdown]
# The dots are relative errors of your sketches with $p = 10$, for many seeds, at numbers of keys from 1 to $10^5$; the
# black line is their mean. The right panel computes the estimate without the formula for small numbers, from the same
# registers. The grey line in it is not fitted: it is the bias that the exact sum $\sum_r 2^{-r}(e^{-x_r} - e^{-2x_r})$
# over the ranks $r \ge 1$, with the term $e^{-\lambda}$ for empty registers, predicts. On the left, the mean rises to
# about 0.02 where the first formula begins, just above $2.5\,m$: this is the rest of that bias.


# %% tags=["demo"]
def raw_estimate(registers):
    """The first formula alone, whatever the number of zeros."""
    m = len(registers)
    return 0.7213 / (1 + 1.079 / m) * m**2 / np.sum(0.5 ** np.asarray(registers, float))


p_shown = 10
sizes = np.unique(np.geomspace(1, demo_size(full=100_000, small=20_000), 50).astype(int))
seeds = range(demo_size(full=80, small=6))
found = {"switched": [], "raw": []}
for seed in seeds:
    sketch, before = HyperLogLog(p_shown, seed=seed), 0
    for size in sizes:
        sketch.add(np.arange(before, size))
        before = size
        found["switched"].append(sketch.estimate() / size - 1)
        found["raw"].append(raw_estimate(sketch.registers) / size - 1)
wide = np.geomspace(1, sizes[-1], 200)
bound = 3 / wide + 6 * 1.04 / 2 ** (p_shown / 2) + 0.03
figure, axes = plt.subplots(1, 2, figsize=(12, 4.2))
for ax, name in zip(axes, found, strict=True):
    ax.plot(
        np.tile(sizes, len(seeds)), found[name], ".", markersize=3, color=plotting.COLOURS[0], label="a sketch of yours"
    )
    ax.axvline(2.5 * 2**p_shown, color=plotting.COLOURS[3], linestyle=":", label="2.5 m")
    ax.set(xscale="log", xlabel="different keys n", ylabel="relative error")
axes[0].plot(wide, bound, "-", color=plotting.COLOURS[1], label="the bound")
axes[0].plot(wide, -bound, "-", color=plotting.COLOURS[1])
axes[0].plot(
    sizes, np.reshape(found["switched"], (len(seeds), -1)).mean(axis=0), "-", color="#222222", label="their mean"
)
axes[0].set(ylim=(-0.3, 0.3), title="Zeros below 2.5 m, harmonic mean above: inside the bound")
plotting.legend_below(axes[0])
rates = wide / 2**p_shown
ranks = np.arange(1, 60)[:, None]
exact = np.exp(-rates) + np.sum(0.5**ranks * (np.exp(-rates * 0.5**ranks) - np.exp(-2 * rates * 0.5**ranks)), axis=0)
axes[1].plot(wide, 1 / (2 * math.log(2) * rates * exact) - 1, color="#6b6b6b", label="predicted bias")
axes[1].set(ylim=(-0.5, 4), title="Without the correction: far off below 2.5 m")
axes[1].legend(loc="upper right")
plt.show()
inside = np.mean(np.abs(found["switched"]) <= np.tile(3 / sizes + 6 * 1.04 / 2 ** (p_shown / 2) + 0.03, len(seeds)))
print(f"{len(found['switched']):,} estimates, {inside:.2%} of them inside the bound")

# %% [markdown]
# ### 16.7 `minhash` · essential · level 2 of 4 · 15 min
#
# How similar are two sets, such as the words of two documents? Their **Jaccard similarity** is
# $J(A, B) = |A\cap B| / |A\cup B|$: 1 for equal sets, 0 for disjoint ones. Hash all elements, and look at the smallest
# hash of each set. Both sets have the *same* smallest hash exactly if the element with the smallest hash of the union
# lies in both sets. Each of the $|A\cup B|$ elements is that one with the same probability, so
#
# $$P\left(\min_{x\in A} u(x) = \min_{x\in B} u(x)\right) = \frac{|A\cap B|}{|A\cup B|} = J(A, B) .$$
#
# One hash function is one coin toss with probability $J$. The **signature** of a set has the minima of $h$ unrelated
# hash functions, and the share of places where two signatures agree estimates $J$. It is a share of heads in $h$
# tosses, so Chernoff's bound holds: off by at most $2.7/\sqrt h$ at the level $10^{-6}$.
#
# The functions must be unrelated. Shifts of *one* hash, $u(x) + a_i$ (modulo 1), are not, and neither are its
# multiples: many of the $h$ tosses are then decided together. The share is still right on average, but it varies much
# more than the bound says.


# %% exercise="minhash" points=2 minutes=15 forbids=["datasketch", "datasketches"] trains=["hashing"]
def minhash(sets: list[np.ndarray], hashes: int, seed: int) -> np.ndarray:
    """The MinHash signatures of sets: for each set and each hash function the smallest hash.

    sets: a list, maybe empty, of 1-D arrays of integers of any kind (int8 to uint64), of any length,
      also 0; not modified. An element that occurs twice counts once. The same number is the same
      element in every kind, also where a list holds several kinds; a negative one counts modulo 2^64.
    hashes: how many hash functions, >= 1. They are unrelated, as are those of different seeds, also
      of seeds such as 5 and 6. Each is uniform on all 64 bits. Function j may be
      mix64(elements, sub_seed(seed, j)).
    seed: a Python integer, 0 <= seed < 2^64.

    Returns a new uint64 array (len(sets), hashes). The same set has the same signature in every call,
    wherever it stands. An empty set has ALL_ONES = 2^64 - 1 everywhere: so two empty sets agree, and an
    empty one and another do not.
    Memory: the signatures, and some five arrays as long as all sets together; not `hashes` of them.
    Forbidden: the libraries datasketch and datasketches.
    """
    ### BEGIN SOLUTION
    signatures = np.full((len(sets), hashes), ALL_ONES, np.uint64)
    filled = [i for i, elements in enumerate(sets) if len(elements)]
    if filled:
        joined = np.concatenate([sets[i].astype(np.uint64) for i in filled])
        starts = np.cumsum([0] + [len(sets[i]) for i in filled[:-1]])
        for j in range(hashes):
            signatures[filled, j] = np.minimum.reduceat(mix64(joined, sub_seed(seed, j)), starts)
    return signatures
    ### END SOLUTION


# %% [markdown] hints="minhash"
# <details><summary>Hint 1: what is compared later</summary>
#
# `signatures[i, j]` is the minimum over the elements of set `i` under hash function `j`. The loop over `j` is outside
# or inside; the hash function depends on `j` only, never on the set.
# </details>
# <details><summary>Hint 2: empty sets</summary>
#
# Begin with `np.full((len(sets), hashes), ALL_ONES, np.uint64)`, and leave out sets of length 0: the minimum of no
# numbers is an error.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# For each `j`: `function = sub_seed(seed, j)`; for each set `i` with elements:
# `signatures[i, j] = mix64(elements, function).min()`. With many small sets it is faster to join all sets once, and to
# take the minima of all pieces by `np.minimum.reduceat(mix64(joined, function), starts)`.
# </details>

# %% check="minhash"
with check("minhash", forbids=["datasketch", "datasketches"]):
    # The first two sets have 100 of 300 elements in common, J = 1/3.
    sets = [np.arange(200), np.arange(100, 300), np.array([], np.int64), np.arange(200)[::-1].astype(np.int16)]
    with expect_unchanged(sets=sets):
        signatures = minhash(sets, 900, seed=5)
    expect_shape(signatures, (4, 900))
    expect_dtype(signatures, np.uint64, hint="the minima are hashes: uint64")
    assert np.all(signatures[2] == np.uint64(ALL_ONES)), "an empty set has 2^64 - 1 everywhere"
    assert np.array_equal(signatures[0], signatures[3]), "neither order nor dtype of the elements makes a difference"
    # 900 tosses: 300 agreements, with a standard deviation of sqrt(900 * 1/3 * 2/3) = 14.
    agree = int(np.sum(signatures[0] == signatures[1]))
    expect_close(agree, 300, atol=75, hint="the share of agreements is the Jaccard similarity, 1/3")
    # With two elements each, {1, 2} and {1, 3}: J = 1/3 again. Shifts of one hash are far off here.
    pairs = [(np.array([3 * i, 3 * i + 1]), np.array([3 * i, 3 * i + 2])) for i in (0, 1, 36, 44, 159)]
    for first, second in pairs:
        both = minhash([first, second], 900, seed=6)
        expect_close(
            int(np.sum(both[0] == both[1])), 300, atol=75, hint="900 unrelated functions, also for two small sets"
        )
    expect_shape(minhash([], 4, seed=0), (0, 4), hint="no sets: no rows, and 4 columns")

# %% [markdown]
# Pairs of sets with known similarity. The dots are the agreements of your signatures. The inner band holds a dot with
# probability $1 - 10^{-6}$ by the exact binomial distribution, the outer lines are $J \pm 2.7/\sqrt h$ from Chernoff.

# %% tags=["demo"]
planted = datasets.near_duplicates(demo_size(full=2000, small=400), seed=1)
sets = [planted.sets[i] for i in planted.pairs.ravel()]  # the sets 2i and 2i + 1 are a pair
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
for ax, hashes in zip(axes, (100, 400), strict=True):
    signatures = minhash(sets, hashes, seed=hashes)
    agree = np.mean(signatures[::2] == signatures[1::2], axis=1)
    truth = np.linspace(0, 1, 200)
    low, high = (scipy.stats.binom.ppf(q, hashes, truth) / hashes for q in (LEVEL / 2, 1 - LEVEL / 2))
    ax.fill_between(truth, low, high, color=plotting.COLOURS[2], alpha=0.15, label="exact, 1 − 10⁻⁶")
    ax.plot(truth, truth + 2.7 / math.sqrt(hashes), "-", color=plotting.COLOURS[1], label="Chernoff")
    ax.plot(truth, truth - 2.7 / math.sqrt(hashes), "-", color=plotting.COLOURS[1])
    ax.plot(planted.jaccard, agree, ".", color=plotting.COLOURS[0], label="pairs (yours)")
    ax.set(xlabel="true Jaccard similarity", ylim=(0, 1), title=f"{hashes} hash functions")
axes[0].set_ylabel("share of agreements")
axes[0].legend(loc="upper left")
plt.show()

# %% [markdown]
# ### 16.8 `lsh_pairs` · important · level 2 of 4 · 20 min
#
# *Which* of $10^6$ sets are similar? There are $5\cdot 10^{11}$ pairs, too many to compare. Cut each signature into $b$
# **bands** of $r$ hashes. Two sets become a **candidate pair** if they agree on all $r$ hashes of at least one band.
# With similarity $s$, a band agrees with probability $s^r$, and
#
# $$P(\text{candidate}) = 1 - \left(1 - s^r\right)^b .$$
#
# This is an S-shaped curve with its steep part near $s = (1/b)^{1/r}$: pairs well above become candidates nearly
# always, pairs well below nearly never. More rows in a band move it to the right, more bands to the left. This is
# **locality-sensitive hashing**.
#
# To find the candidates, put the sets into buckets, band by band: sets whose band is equal land in the same bucket, and
# only sets in a common bucket are paired. Each band needs buckets of its own. With one table for all bands, a set whose
# *first* band equals the *second* band of another would be paired with it.


# %% exercise="lsh_pairs" points=2 minutes=20 forbids=["datasketch", "datasketches"] trains=["probability bounds", "counting what a computation costs"]
def lsh_pairs(signatures: np.ndarray, bands: int) -> set[tuple[int, int]]:
    """The candidate pairs: rows that are equal in all columns of at least one band.

    signatures: (n, h) integers of any kind, in any memory layout, n >= 0, h >= 1; not modified.
    bands: 1 <= bands <= h. Band i is columns i * h / bands to (i + 1) * h / bands, the end left out.
    Raises ValueError if h is not a multiple of bands.

    Returns a new set of tuples (i, j) of Python ints with i < j: exactly those pairs of row numbers. (A
    hash of 64 bits may stand for a band, a shorter one not.)
    Time and memory grow about with n * h (a sort is fine) and with the number of pairs that are
    found (counted once for each band in which they agree), not with all n^2 / 2 pairs. Forbidden:
    the libraries datasketch and datasketches.
    """
    ### BEGIN SOLUTION
    h = signatures.shape[1]
    if h % bands:
        raise ValueError(f"{h} columns do not make {bands} bands of equal width")
    rows = h // bands
    pairs = set()
    for band in range(bands):
        buckets = defaultdict(list)
        for i, key in enumerate(signatures[:, band * rows : (band + 1) * rows]):
            buckets[key.tobytes()].append(i)
        for members in buckets.values():
            pairs.update(itertools.combinations(members, 2))
    return pairs
    ### END SOLUTION


# %% [markdown] hints="lsh_pairs"
# <details><summary>Hint 1: a dict of lists</summary>
#
# For one band, the key of a row is what it holds in the band's columns; `row[first:last].tobytes()` can be a key of a
# dict. The value is the list of row numbers.
# </details>
# <details><summary>Hint 2: pairs of a bucket</summary>
#
# `itertools.combinations(members, 2)` gives the pairs with the smaller number first, because rows entered in order. A
# set keeps each pair once, although it may agree in several bands.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `if h % bands: raise ValueError(...)`. For each band a new `defaultdict(list)`; fill it row by row; then
# `pairs.update(itertools.combinations(members, 2))` for each bucket.
# </details>

# %% check="lsh_pairs"
with check("lsh_pairs", forbids=["datasketch", "datasketches"]):
    signatures = np.array([[1, 2, 3, 4], [1, 2, 9, 9], [3, 4, 9, 9], [1, 9, 3, 4], [7, 7, 3, 8]], np.uint64)
    with expect_unchanged(signatures=signatures):
        got = lsh_pairs(signatures, 2)
    # First bands: 1 2, 1 2, 3 4, 1 9, 7 7: rows 0 and 1. Second bands: 3 4, 9 9, 9 9, 3 4, 3 8: rows 0, 3 and rows 1, 2.
    assert isinstance(got, set), f"a set of pairs, and not a {type(got).__name__}"
    assert (0, 2) not in got, "the first band of row 2 equals the second band of row 0: each band has its own buckets"
    assert got == {(0, 1), (0, 3), (1, 2)}, f"rows 0 and 1, 0 and 3, 1 and 2 agree in a band, and not {sorted(got)}"
    assert lsh_pairs(signatures, 1) == set(), "one band: no two rows are equal everywhere"
    got = lsh_pairs(signatures, 4)
    wanted = {(0, 1), (0, 3), (0, 4), (1, 2), (1, 3), (3, 4)}
    assert got == wanted, f"four bands of one column: {sorted(wanted)}, and not {sorted(got)}"
    assert all(type(i) is int for pair in got for i in pair), "row numbers are Python ints"
    assert lsh_pairs(signatures[:0], 2) == set(), "no rows, no pairs"
    with expect_raises(ValueError, hint="3 bands of 4 columns: not a whole number"):
        lsh_pairs(signatures, 3)

# %% [markdown]
# The same pairs as above, with your two functions. The dots are shares of pairs that became candidates, in bins of
# similarity, over two seeds, with exact intervals at the level $10^{-6}$. The lines are the formula. All three use 100
# hashes; only the bands differ.

# %% tags=["demo"]
figure, ax = plt.subplots(figsize=(7, 4.2))
edges = np.linspace(0.05, 0.95, 10)
where = np.digitize(planted.jaccard, edges) - 1
middle = np.array([planted.jaccard[where == i].mean() if np.any(where == i) else np.nan for i in range(9)])
for number, (bands, rows) in enumerate([(50, 2), (20, 5), (10, 10)]):
    hit = np.zeros(len(planted.pairs))
    for seed in range(demo_size(full=2, small=1)):
        found = lsh_pairs(minhash(sets, bands * rows, seed=seed), bands)
        hit += [(2 * i, 2 * i + 1) in found for i in range(len(hit))]
    tries = (seed + 1) * np.array([np.sum(where == i) for i in range(9)])
    hits = np.array([hit[where == i].sum() for i in range(9)])
    share = hits / np.maximum(tries, 1)
    low = np.where(hits > 0, scipy.stats.beta.ppf(LEVEL / 2, np.maximum(hits, 1), tries - hits + 1), 0)
    high = np.where(hits < tries, scipy.stats.beta.ppf(1 - LEVEL / 2, hits + 1, np.maximum(tries - hits, 1)), 1)
    s = np.linspace(0, 1, 200)
    style = {"color": plotting.COLOURS[number], "linestyle": plotting.DASHES[number]}
    ax.plot(s, 1 - (1 - s**rows) ** bands, **style)
    style = {"color": plotting.COLOURS[number], "fmt": "os^"[number], "label": f"{bands} bands of {rows}", "capsize": 2}
    ax.errorbar(middle, share, [share - low, high - share], alpha=0.7, **style)
    others = sum((i + 1 != j) or i % 2 == 1 for i, j in found)
    print(
        f"{bands} bands of {rows}: {len(found):,} of {math.comb(len(sets), 2):,} pairs are candidates, {others} of them of disjoint sets"
    )
ax.set(xlabel="Jaccard similarity s", ylabel="share of candidates", title="Bands cut off below, and keep above")
plotting.legend_below(ax, columns=3)
plt.show()

# %% [markdown]
# ### 16.9 `feature_hash` · important · level 2 of 4 · 15 min
#
# The last question: how do texts become rows of numbers for a linear model? A vocabulary gives each token a column. But
# a vocabulary must be collected in a first pass, sent to all machines, and grows without end. **Feature hashing** needs
# none: the column of a token is its hash modulo a width $w$. Tokens that share a column add up, and this adds an error
# to every inner product. A *sign* makes this error 0 on average. Let $x_t$ be the count of token $t$ in a document,
# $c(t)$ its column, and $\xi(t) = \pm 1$ a sign from another part of the hash:
#
# $$\varphi(x)_j = \sum_{t:\, c(t) = j} \xi(t)\, x_t , \qquad
# \varphi(x)\cdot\varphi(y) = \sum_t x_t y_t + \sum_{t\ne s} [c(t) = c(s)]\;\xi(t)\,\xi(s)\; x_t\, y_s .$$
#
# Since $\xi(t)$ and $\xi(s)$ are independent fair signs, every term of the second sum is 0 on average: the inner
# product is **unbiased**. Without signs, each term is $+x_t y_s$ with probability $1/w$, so the error is
# $(\sum_t x_t \sum_s y_s - x\cdot y)/w$ on average. With signs, its variance is
# $\frac1w \sum_{t\ne s} (x_t^2 y_s^2 + x_t y_t x_s y_s) \le \frac{2}{w} \lVert x\rVert^2\lVert y\rVert^2$ (the squares
# of the terms, and the product of the terms $(t, s)$ and $(s, t)$; all other products have mean 0). By Chebyshev
# (Markov for the squared error), an error of at least $t$ has probability at most
# $2\lVert x\rVert^2\lVert y\rVert^2/(w t^2)$. This is weak at the level $10^{-6}$, but it shows the law: doubling $w$
# halves the variance.
#
# The sign must not come from the bits that choose the column. With an even width, the lowest bit of the hash says
# whether the column is even. If it is the sign, too, then all tokens of a column have the same sign, and the bias is
# back.


# %% exercise="feature_hash" points=2 minutes=15 forbids=["sklearn"] trains=["hashing"]
def feature_hash(docs: list[list[str]], width: int, seed: int) -> scipy.sparse.csr_matrix:
    """Documents as rows of a fixed width: each token adds +1 or -1 in one column.

    docs: a list, maybe empty, of documents: lists of tokens, maybe empty. A token is any text that
      can be written in UTF-8. Not modified.
    width: the number of columns, 1 <= width <= 2^24.
    seed: a Python integer, 0 <= seed < 2^64; other seeds give unrelated columns and signs.

    Returns a new csr_matrix (or csr_array) (len(docs), width), float64. Column and sign of a token depend on
    the token, the width and the seed, never on the document or the call, and are the same in every
    process. Each occurrence counts: a token that occurs three times adds 3 or -3. Columns are uniform;
    signs are fair and independent of the columns, also where width is even. (mix64 takes a list of texts.
    Two texts may have the same hash, with probability 2^-32.)
    Time and memory grow with the number of tokens and documents, not with len(docs) * width.
    Forbidden: sklearn.
    """
    ### BEGIN SOLUTION
    hashes = mix64([token for doc in docs for token in doc], seed)
    columns = (hashes >> 1) % width
    signs = 1.0 - 2.0 * (hashes & 1).astype(float)
    ends = np.cumsum([0, *map(len, docs)])
    return scipy.sparse.csr_matrix((signs, columns, ends), shape=(len(docs), width))  # equal columns add up
    ### END SOLUTION


# %% [markdown] hints="feature_hash"
# <details><summary>Hint 1: all tokens at once</summary>
#
# `mix64([token for doc in docs for token in doc], seed)` hashes all tokens of all documents in one call, and gives an
# empty array for no tokens.
# </details>
# <details><summary>Hint 2: two independent parts</summary>
#
# The lowest bit as the sign, `hashes & 1`; the column from the other 63, `(hashes >> 1) % width`. Or a second call of
# `mix64` with another seed, such as `sub_seed(seed, 1)`.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `scipy.sparse.csr_matrix((signs, columns, ends), shape=(len(docs), width))` with
# `ends = np.cumsum([0, *map(len, docs)])`: document `i` has the entries `ends[i]` to `ends[i + 1]`. Equal columns in a
# row add up.
# </details>

# %% check="feature_hash"
with check("feature_hash", forbids=["sklearn"]):
    docs = [["to", "be", "or", "not", "to", "be"], [], ["to"]]
    with expect_unchanged(docs=docs):
        hashed = feature_hash(docs, 1000, seed=0)
    assert scipy.sparse.issparse(hashed) and hashed.format == "csr", f"a csr_matrix, and not a {type(hashed).__name__}"
    expect_shape(hashed, (3, 1000))
    dense = hashed.toarray()
    # to 2, be 2, or 1, not 1, each with its sign; in 1000 columns, with seed 0, hardly two of them meet.
    expect_close(
        np.sort(np.abs(dense[0]))[-4:],
        [1, 1, 2, 2],
        atol=0,
        hint="'to' and 'be' occur twice: their column holds 2 or -2",
        mistakes={"Repeated tokens count each time.": [1, 1, 1, 1]},
    )
    assert not dense[1].any(), "an empty document is a row of zeros"
    expect_close(np.abs(dense[2]).sum(), 1.0, atol=0, hint="one token: one entry, 1 or -1")
    expect_close(dense[0] @ dense[2], 2.0, atol=0, hint="'to' has the same column and the same sign in every document")
    words = [[f"word {i}"] for i in range(4000)]
    signs = feature_hash(words, 64, seed=1).sum(axis=1)
    expect_close(
        np.mean(signs == 1),
        0.5,
        atol=0.05,
        hint="half of all tokens have the sign 1",
        mistakes={"There is no sign.": 1.0},
    )
    # 4000 words in 64 columns: 62 of each sum to 0, give or take 8. If the sign follows from the column, they sum to 62.
    sums = np.asarray(feature_hash(words, 64, seed=1).sum(axis=0)).ravel()
    assert np.abs(sums).mean() < 20, "all words of a column have the same sign: take it from other bits of the hash"
    expect_shape(feature_hash([], 8, seed=0), (0, 8), hint="no documents: no rows, and 8 columns")

# %% [markdown]
# The error of one inner product, over many seeds. Left: with your signs it is 0 on average, and without signs (the
# absolute values of your hashed tokens, added up) it is not; the line is the predicted bias. Right: the root of the
# mean squared error falls like $1/\sqrt w$, as predicted.

# %% tags=["demo"]
rng = np.random.default_rng(6)
vocabulary = [f"token {i}" for i in range(300)]
x, y = rng.integers(0, 4, (2, 300)).astype(float)  # how often each token occurs in two documents
true_product = x @ y
widths = [16, 32, 64, 128, 256, 512]
errors = {"signed (yours)": [], "no signs": []}
for width in widths:
    runs = np.zeros((demo_size(full=100, small=20), 2))
    for seed in range(len(runs)):
        tokens = feature_hash([[token] for token in vocabulary], width, seed)
        signed, unsigned = (x @ tokens) @ (y @ tokens), (x @ abs(tokens)) @ (y @ abs(tokens))
        runs[seed] = [signed - true_product, unsigned - true_product]
    for name, column in zip(errors, runs.T, strict=True):
        errors[name].append(column / true_product)
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
for number, (name, found) in enumerate(errors.items()):
    means, spread = np.mean(found, axis=1), np.std(found, axis=1) / math.sqrt(len(found[0]))
    axes[0].errorbar(
        widths, means, 4.9 * spread, fmt="os"[number], color=plotting.COLOURS[number], capsize=3, label=name
    )
    axes[1].plot(
        widths, np.sqrt(np.mean(np.square(found), axis=1)), "os"[number], color=plotting.COLOURS[number], label=name
    )
wide = np.geomspace(widths[0], widths[-1], 50)
bias = (x.sum() * y.sum() - true_product) / true_product
axes[0].plot(wide, bias / wide, color=plotting.COLOURS[1], label="predicted bias")
axes[0].axhline(0, color="#222222", linewidth=0.8, linestyle="-")
axes[0].set(xscale="log", xlabel="width w", ylabel="mean relative error", title="Signs remove the bias")
variance = np.sum(x**2) * np.sum(y**2) - np.sum(x**2 * y**2) + true_product**2 - np.sum((x * y) ** 2)
axes[1].plot(wide, np.sqrt(variance / wide) / true_product, color=plotting.COLOURS[0], label="predicted, signed")
axes[1].set(
    xscale="log",
    yscale="log",
    xlabel="width w",
    ylabel="root mean squared relative error",
    title="And the rest falls like 1/√w",
)
for ax in axes:
    ax.set_xticks(widths, widths)
    ax.minorticks_off()
    ax.legend()
plt.show()

# %% [markdown]
# ## Scale it
#
# ### Different users of a log, chunk by chunk
#
# A log of page visits, in chunks that are read and forgotten. How many different users are there? The exact way keeps
# every user that it has met, in a sorted array. Yours keeps $2^{12}$ bytes. Two libraries keep a HyperLogLog of the
# same size: Apache DataSketches (C++) and datasketch (Python). Both take one key at a time from Python, so they get a
# smaller log. The table shows the seconds of counting only; the reading of chunks is not in them. The cell after it
# counts with Spark's `approx_count_distinct`, on Parquet files; its time is that of the query, without the start of
# Spark. A library that is missing here says so in one line.


# %% tags=["demo"]
class Exact:
    """All different keys, in a sorted array."""

    def __init__(self):
        self.keys = np.array([], np.int64)

    def add(self, keys):
        both = np.sort(np.concatenate([self.keys, keys]))
        self.keys = both[np.append(True, both[1:] != both[:-1])]

    def estimate(self):
        return float(len(self.keys))

    def bytes(self):
        return self.keys.nbytes


class Yours:
    def __init__(self):
        self.sketch = HyperLogLog(12, seed=0)
        self.add, self.estimate = self.sketch.add, self.sketch.estimate

    def bytes(self):
        return self.sketch.registers.nbytes


class DataSketches:
    def __init__(self, library):
        self.sketch = library.hll_sketch(12, library.tgt_hll_type.HLL_8)
        self.estimate = self.sketch.get_estimate

    def add(self, keys):
        for key in keys.tolist():
            self.sketch.update(key)

    def bytes(self):
        return len(self.sketch.serialize_compact())


class Datasketch:
    def __init__(self, library):
        self.sketch = library.HyperLogLogPlusPlus(p=12)
        self.estimate = self.sketch.count

    def add(self, keys):
        for key in keys:
            self.sketch.update(key.tobytes())

    def bytes(self):
        return self.sketch.reg.nbytes


sizes = demo_size(full=[100_000, 1_000_000, 10_000_000], small=[10_000, 100_000])
apache, pure = engines.library("datasketches"), engines.library("datasketch")
rows, bytes_kept = [], defaultdict(list)
for size in sizes:
    log = datasets.visits(size, seed=1)
    truth = int(np.sum(log.count("user") > 0))
    counting = {"exact": Exact(), "yours": Yours()}
    if apache and size <= 1_000_000:
        counting["Apache DataSketches"] = DataSketches(apache)
    if pure and size <= 100_000:
        counting["datasketch"] = Datasketch(pure)
    seconds = dict.fromkeys(counting, 0.0)
    for start in range(0, size, 1_000_000):
        users = log.columns(start, min(start + 1_000_000, size))["user"]
        for name, sketch in counting.items():
            begun = time.perf_counter()
            sketch.add(users)
            seconds[name] += time.perf_counter() - begun
    for name, sketch in counting.items():
        bytes_kept[name].append(sketch.bytes())
        error = sketch.estimate() / truth - 1
        rows.append((f"{size:,}", name, seconds_text(seconds[name]), bytes_text(sketch.bytes()), f"{error:+.2%}"))
Table(("visits", "counted by", "seconds", "bytes kept", "error"), rows, numeric=(0, 2, 3, 4))


# %% tags=["demo"]
def distinct_in_spark(spark, path, tiny):
    """The approximate number of different users in a Parquet file; seconds and shuffled bytes of the second query,
    and the seconds of the same query on a tiny file."""
    from pyspark.sql import functions

    def count(source):  # a new query each time: a DataFrame that is collected again keeps what was shuffled
        users = spark.read.parquet(*([source] if isinstance(source, str) else source))
        return users.select(functions.approx_count_distinct("user", rsd=1.04 / 64)).collect()[0][0]

    count(path)  # the first query of a session compiles its plan
    engines.shuffled(spark)  # forget what has been written so far
    begun = time.perf_counter()
    answer = count(path)
    seconds, sent = time.perf_counter() - begun, engines.shuffled(spark)
    begun = time.perf_counter()
    count(tiny)
    return float(answer), seconds, sent, time.perf_counter() - begun


size = demo_size(full=1_000_000, small=20_000)
log = datasets.visits(size, seed=1)
arrow = engines.library("pyarrow.parquet")
if arrow:
    import pyarrow

    with tempfile.TemporaryDirectory() as folder:
        for part in range(4):  # several files, so that several tasks read them
            users = log.columns(part * size // 4, (part + 1) * size // 4)["user"]
            arrow.write_table(pyarrow.table({"user": users}), f"{folder}/{part}.parquet")
        tiny = f"{folder}/tiny"
        Path(tiny).mkdir()
        arrow.write_table(pyarrow.table({"user": [1]}), f"{tiny}/0.parquet")
        files = [f"{folder}/{part}.parquet" for part in range(4)]
        answer = engines.run("spark", lambda spark: distinct_in_spark(spark, files, tiny))
    if answer:
        error = answer[0] / np.sum(log.count("user") > 0) - 1
        print(f"Spark: {size:,} visits in {seconds_text(answer[1])}, error {error:+.2%}")
        print(f"the same query on a file with one row: {seconds_text(answer[3])}")
        print(f"its tasks sent {bytes_text(answer[2].bytes)} to each other, in {answer[2].records} records (sketches)")
        print(f"the start of Spark took {engines.start_seconds('spark'):.1f} s")

# %% [markdown]
# Your sketch stays at its 4,096 bytes, and the exact answer grows with the users. Who wins in seconds? On the smaller
# logs, sorting the users is about as fast as sketching: then memory is all that the sketch saves. But the sort goes
# through all users that it keeps, again for each chunk, and the sketch does not. A sketch that handles whole arrays
# does its work per key in compiled loops. The two libraries get one key in each Python call, and pay for every call;
# DataSketches does not, where it is called from C++ or Java. The second line of Spark is the same query on a file with
# a single row: most of the time is the fixed cost of planning and scheduling a job. Spark is the right tool where the
# file does not fit on one machine, and its tasks send each other what yours will send below: one sketch for each
# partition, not the users. (For $10^8$ visits, add `100_000_000` to the sizes: the reading alone takes some ten times
# as long.)

# %% tags=["demo"]
figure, ax = plt.subplots(figsize=(7, 4))
for number, (name, kept) in enumerate(bytes_kept.items()):
    ax.plot(sizes[: len(kept)], kept, marker="os^D"[number], label=name)
ax.set(
    xscale="log", yscale="log", xlabel="visits", ylabel="bytes kept", title="The exact answer grows, sketches do not"
)
ax.legend(loc="upper left")
plt.show()
ps = range(8, 17, 2)
errors = []
size = demo_size(full=1_000_000, small=50_000)
log = datasets.visits(size, seed=2)
users = np.unique(log.columns(0, size)["user"])  # repeats change nothing, and this is faster
truth = len(users)
for p in ps:
    found = []
    for seed in range(demo_size(full=60, small=5)):
        sketch = HyperLogLog(p, seed=seed)
        sketch.add(users)
        found.append(sketch.estimate() / truth - 1)
    errors.append(np.sqrt(np.mean(np.square(found))))
registers = 2.0 ** np.array(ps)
load = truth / registers  # keys for each register: below 2.5 the zeros are counted, and their variance is known
few = np.minimum(load, 2.5)
of_zeros = np.sqrt(np.exp(few) - few - 1) / (few * np.sqrt(registers))
predicted = np.where(load < 2.5, of_zeros, 1.04 / np.sqrt(registers))
ax = plotting.curves(
    {"1.04 / √m": (registers, 1.04 / np.sqrt(registers)), "predicted": (registers, predicted)},
    xlabel="bytes of the sketch",
    ylabel="root mean squared relative error",
    logx=True,
    logy=True,
    title=f"Four times the bytes, half the error or less; exact: {8 * truth:,} bytes",
)
ax.plot(2.0 ** np.array(ps), errors, "o", color=plotting.COLOURS[1], label="yours, over seeds")
ax.legend()
plt.show()

# %% [markdown]
# ### Heavy users, with an interval that always holds the truth
#
# Misra–Gries gives a lower bound for the count of each key, and count-min an upper one. Both bounds always hold; luck
# decides only how far the upper one lies above the truth. (A counter plus the bound that is printed is certain, too.)
# The table shows the users with the largest counters, beside Apache
# DataSketches' summary of frequent items, a descendant of Misra–Gries with as many counters. The count-min table has 80
# kB, and the 200 counters are a small dict.

# %% tags=["demo"]
size = demo_size(full=2_000_000, small=50_000)
log = datasets.visits(size, seed=1)
truth = log.count("user")
counters, table, kept, seconds = {}, CountMin(2000, 5, seed=0), 200, [0.0] * 3
peer = apache.frequent_items_sketch(8) if apache else None  # 2^8 places, of which it fills 192
for start in range(0, size, 500_000):
    users = log.columns(start, min(start + 500_000, size))["user"]
    begun = time.perf_counter()
    counters = merge_counters(counters, misra_gries(users.tolist(), kept), kept)
    middle = time.perf_counter()
    table.add(users)
    end = time.perf_counter()
    for user in users.tolist() if peer else ():
        peer.update(user)
    for i, spent in enumerate((middle - begun, end - middle, time.perf_counter() - end)):
        seconds[i] += spent
heaviest = sorted(counters, key=counters.get, reverse=True)[:8]
above = table.estimate(np.array(heaviest))
rows = [
    (f"{user}", f"{counters[user]:,}", f"{truth[user]:,}", f"{upper:,}")
    for user, upper in zip(heaviest, above, strict=True)
]
lost = (size - sum(counters.values())) / (kept + 1)
print(
    f"{size:,} visits; no counter is low by more than {lost:,.0f}; CountMin is high by at most "
    f"{math.e * size / 2000:,.0f}, for each key with probability {1 - math.exp(-5):.3f}"
)
print(f"misra_gries {seconds_text(seconds[0])}, CountMin {seconds_text(seconds[1])}")
columns = ["user", "misra_gries, at least", "true visits", "CountMin, at most"]
if peer:
    print(
        f"Apache DataSketches {seconds_text(seconds[2])}, its upper bounds are high by at most {peer.get_upper_bound(-1):,}"
    )
    columns += ["DataSketches, at least", "and at most"]
    rows = [
        (*row, f"{peer.get_lower_bound(user):,}", f"{peer.get_upper_bound(user):,}")
        for row, user in zip(rows, heaviest, strict=True)
    ]
Table(tuple(columns), rows, numeric=tuple(range(len(columns))))

# %% [markdown]
# ### A tree of merges over 64 partitions
#
# Now for real processes. Dask starts two workers. Each of 64 partitions of the log is read *by a worker*, which
# sketches it and keeps only the sketches: your HyperLogLog, your count-min table and your counters. They are merged in
# a binary tree, in the workers. Each merge needs the result of another task, which may lie in another process. So we
# count the bytes of every edge of the tree, as Dask would send them: the pickled size of a result (with the code of
# your class, which travels with the object). The same tree is run with the exact set of users.


# %% tags=["demo"]
log_size, partitions = demo_size(full=2_000_000, small=64_000), 64


def sketch_part(number):
    """The sketches of one partition, made where it is read."""
    share = log_size // partitions
    users = datasets.visits(log_size, seed=1).columns(number * share, (number + 1) * share)["user"]
    distinct, often = HyperLogLog(12, seed=0), CountMin(1000, 5, seed=0)
    distinct.add(users)
    often.add(users)
    return {"distinct": distinct, "often": often, "heavy": misra_gries(users.tolist(), 100)}


def merge_parts(a, b):
    return {
        "distinct": a["distinct"].merge(b["distinct"]),
        "often": a["often"].merge(b["often"]),
        "heavy": merge_counters(a["heavy"], b["heavy"], 100),
    }


def exact_part(number):
    share = log_size // partitions
    return np.unique(datasets.visits(log_size, seed=1).columns(number * share, (number + 1) * share)["user"])


def tree_of_merges(client, leaf, merge):
    """The root's result, and for each level of the tree the bytes that its results have when they are pickled."""
    from distributed.protocol import serialize_bytes

    def weigh(result):
        return len(serialize_bytes(result))

    level, levels = client.map(leaf, range(partitions), pure=False), []
    while len(level) > 1:
        levels.append(level)
        level = [client.submit(merge, *level[i : i + 2], pure=False) for i in range(0, len(level), 2)]
    sent = [sum(client.gather(client.map(weigh, results, pure=False))) for results in levels]
    return level[0].result(), sent


def both_trees(client):
    answers = []
    for leaf, merge in ((sketch_part, merge_parts), (exact_part, np.union1d)):
        begun = time.perf_counter()
        answers.append((*tree_of_merges(client, leaf, merge), time.perf_counter() - begun))
    return answers


answers = engines.run("dask", both_trees)
if answers:
    (sketches, sent, seconds), (exact, exact_sent, exact_seconds) = answers
    print(f"{log_size:,} visits in {partitions} partitions")
    print(
        f"sketches: {bytes_text(sum(sent))} in {len(sent)} levels, {seconds:.1f} s; exact: {bytes_text(sum(exact_sent))}, {exact_seconds:.1f} s"
    )
    parts = {
        name: len(pickle.dumps(vars(part) if hasattr(part, "__dict__") else part)) for name, part in sketches.items()
    }
    print("bytes of one result:", ", ".join(f"{name} {size:,}" for name, size in parts.items()))
    print(f"different users: {sketches['distinct'].estimate():,.0f} by sketches, {len(exact):,} exactly")
    whole = HyperLogLog(12, seed=0)
    for start in range(0, log_size, 500_000):
        whole.add(datasets.visits(log_size, seed=1).columns(start, min(start + 500_000, log_size))["user"])
    same = np.array_equal(whole.registers, sketches["distinct"].registers)
    print(f"registers of the tree and of a single pass are {'equal' if same else 'DIFFERENT'}")
    counts = datasets.visits(log_size, seed=1).count("user")
    lost = max(int(count) - sketches["heavy"].get(user, 0) for user, count in enumerate(counts))
    print(f"largest error of the merged counters: {lost:,}; the bound: {log_size / 101:,.0f}")
    ax = plotting.curves(
        {"sketches": (range(1, len(sent) + 1), sent), "exact sets": (range(1, len(sent) + 1), exact_sent)},
        xlabel="level of the tree (1: the 64 leaves)",
        ylabel="bytes sent",
        logy=True,
        title="Each level of sketches sends half of the level before",
    )
    plt.show()

# %% [markdown]
# All sketches of one kind have the same size, so each level of the tree sends half of what the level below it sent. The
# sets grow on their way up. The line "bytes of one result" shows which part weighs: the count-min table, which has the
# same size however small its partition is. Where partitions hold few users, their exact sets are smaller than these
# sketches, and the exact way sends less. Real systems (HyperLogLog++, Apache DataSketches) therefore begin with a list
# of hashes, and change to registers when these are smaller.
#
# ### Text to a fixed width: what is lost?
#
# A click log with six categorical fields. Each row becomes six tokens, `feature_hash` makes $w$ columns of them, and a
# logistic regression learns in one pass. scikit-learn's `FeatureHasher` does the same. The dotted line uses one column
# for each value that occurred in training: a vocabulary, collected in a pass of its own.

# %% tags=["demo"]
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import SGDClassifier

count = demo_size(full=20_000, small=4000)
clicks = datasets.clicks(2 * count, seed=3).read(0, 2 * count)
docs = [[f"{field}={value}" for field, value in enumerate(row)] for row in clicks.hashed.tolist()]
widths = 2 ** np.arange(3, 19, demo_size(full=3, small=5))


def held_out_loss(X):
    """Mean cross-entropy on the second half of the rows, of a model that was fitted on the first half."""
    model = SGDClassifier(
        loss="log_loss", alpha=1e-5, learning_rate="invscaling", eta0=0.3, power_t=0.3, max_iter=1, tol=None
    )
    model.fit(X[:count], clicks.y[:count])
    p = np.clip(model.predict_proba(X[count:])[:, 1], 1e-9, 1 - 1e-9)
    return -np.mean(np.where(clicks.y[count:], np.log(p), np.log(1 - p)))


losses, seconds = (
    {"feature_hash (yours)": [], "FeatureHasher": []},
    dict.fromkeys(["feature_hash (yours)", "FeatureHasher"], 0.0),
)
for width in widths.tolist():
    hashers = {
        "feature_hash (yours)": lambda width=width: feature_hash(docs, width, 0),
        "FeatureHasher": lambda width=width: FeatureHasher(width, input_type="string").transform(docs),
    }
    for name, hasher in hashers.items():
        begun = time.perf_counter()
        X = hasher()
        seconds[name] += time.perf_counter() - begun
        losses[name].append(held_out_loss(scipy.sparse.csr_matrix(X)))
known = {token: i for i, token in enumerate(dict.fromkeys(token for doc in docs[:count] for token in doc))}
entries = [(i, known[token]) for i, doc in enumerate(docs) for token in doc if token in known]
vocabulary = scipy.sparse.csr_matrix((np.ones(len(entries)), np.array(entries).T), shape=(len(docs), len(known)))
ax = plotting.curves(
    {name: (widths, found) for name, found in losses.items()},
    xlabel="width w",
    ylabel="held-out loss",
    logx=True,
    title=f"A fixed width instead of a vocabulary of {len(known):,} tokens",
)
ax.axhline(held_out_loss(vocabulary), color="#222222", linestyle=":", label="vocabulary")
ax.legend()
plt.show()
print(", ".join(f"{name}: {seconds_text(value)} for {len(widths)} widths" for name, value in seconds.items()))

# %% [markdown]
# The loss falls with the width, and then stays: most values that matter have a column of their own. Both hashers lose
# about the same; their collisions differ. `FeatureHasher` hashes in compiled code; `mix64` takes the CRC-32 of each
# text in a Python loop.
#
# ### Where it breaks
#
# - **An adversary.** All bounds of hashed sketches assume that keys were chosen without knowledge of the hash function.
#   (Misra–Gries needs no such assumption.) Somebody who knows the seed of a Bloom filter can make keys that fill it.
#   Somebody who asks a sketch many questions, and chooses each by the answers to those before, can find keys for which
#   it errs. Keep the seed secret, or use a keyed hash such as SipHash.
# - **More different keys than planned.** A Bloom filter that was made for $n$ keys reports nearly everything as seen
#   after $10\, n$. It cannot grow, since the keys are gone. HyperLogLog does not have this problem.
# - **Small counts.** Count-min's error is a share of the *total*. On a flat stream its estimates are mostly noise.
# - **Deletions and intersections.** A maximum and a bit cannot be undone. HyperLogLogs have a union but no
#   intersection: $|A| + |B| - |A\cup B|$ carries the errors of the large sets, so a small intersection drowns in them.
#   MinHash is better there.
# - **Similar by other measures.** Jaccard similarity of a short text and a long one that contains it is small. And
#   banding finds pairs: where half of all sets are alike, the number of pairs itself is quadratic.

# %% [markdown] written="which_merges" points=2
# **Written question (2 points).** A shop keeps, on each of 40 servers, for the orders that the server has seen: a
# reservoir of orders, a Bloom filter of customers, a count-min table of products, Misra–Gries counters of products, a
# HyperLogLog of customers. (a) A customer asks to be forgotten, by the filter and the HyperLogLog. An order is
# cancelled, in the reservoir and, with its product, in the table and the counters. Which of the five can take the
# deletion exactly, which can be changed to do so and how, and which cannot? (b) By mistake some orders were logged on
# two servers. After merging all 40, which of the five count these orders twice (or sample them twice as often), and
# which give the same as without the mistake? Say why in each case.
#
# ### BEGIN SOLUTION
# (a) The count-min table is linear: subtract the count in every row, and it is exactly the table of the stream without
# the order, as long as no true count becomes negative. The Bloom filter cannot clear a bit, because other customers may
# share it; with small counters in place of bits (a counting Bloom filter) it can. HyperLogLog keeps maxima, and the
# second largest rank is gone: it cannot. Misra-Gries: if the product has a counter, subtract 1, otherwise do nothing;
# no error grows, so it stays below (number of insertions)/(k + 1). The bound in the length that is left is lost, and
# after many deletions it says nothing. The reservoir: remove the order if it is in it; what is left is a fair sample of
# what is left, but smaller than k, and it cannot be filled up again. (b) Idempotent merges do not double-count: the or
# of bits and the maximum of registers, because they depend on the set of keys only. Count-min and Misra-Gries add
# counts, so these orders count twice. The reservoir: orders on two servers have two positions, are drawn twice as
# often, and can be in the sample twice. A remedy is to sample by hash: keep the k orders with the smallest hash of the
# order's number, which merges by a union.
#
# ### RUBRIC
# - 0.5: Count-min takes a deletion by subtraction because its table is linear; a Bloom filter needs counters in place
#   of bits.
# - 0.5: HyperLogLog cannot delete since a maximum does not know the second largest; Misra-Gries keeps only a bound in
#   the number of insertions, or the reservoir shrinks.
# - 0.5: Bloom filter and HyperLogLog do not double-count, because "or" and maximum depend on the set of keys only.
# - 0.5: Count-min and Misra-Gries count the orders twice, and the reservoir draws them twice as often.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. Vitter's and Li's algorithms draw how many items to *skip* until the next one enters the reservoir. How many random
#    numbers does a stream of $n$ items then need? Derive $k\,(1 + \ln(n/k))$, about.
# 2. Give each item with weight $a$ the number $u^{1/a}$, with $u$ uniform, and keep the $k$ largest. Show that the
#    largest one is each item with a probability in proportion to its weight. What does this mean for $k$ of them, and
#    does it merge (Efraimidis and Spirakis, 2006)?
# 3. Let each row of a count-min table add the count with a random sign, and take the median of the rows (count sketch).
#    What replaces $N$ in the bound, and for which streams is that better?
# 4. Write the estimate of HyperLogLog as one formula without a switch (Ertl, 2017): put the exact sum over $r \ge 1$ in
#    place of the integral. Measure the bump again.
# 5. Replace the $h$ minima of MinHash by the $h$ smallest hashes of *one* function. Which question does this answer
#    with one hash a key, and what does its merge look like?
#
# References:
#
# - J. S. Vitter, "Random sampling with a reservoir", *ACM Transactions on Mathematical Software*, 1985. Algorithm R,
#   and how to skip.
# - K.-H. Li, "Reservoir-sampling algorithms of time complexity O(n(1 + log(N/n)))", *ACM Transactions on Mathematical
#   Software*, 1994. The short way to skip.
# - P. S. Efraimidis and P. G. Spirakis, "Weighted random sampling with a reservoir", *Information Processing Letters*,
#   2006. Question 2.
# - B. H. Bloom, "Space/time trade-offs in hash coding with allowable errors", *Communications of the ACM*, 1970. Two
#   pages of idea, and still used everywhere.
# - G. Cormode and S. Muthukrishnan, "An improved data stream summary: the count-min sketch and its applications",
#   *Journal of Algorithms*, 2005. Sketch and proof.
# - J. Misra and D. Gries, "Finding repeated elements", *Science of Computer Programming*, 1982. Heavy hitters, before
#   streams had a name.
# - P. K. Agarwal, G. Cormode, Z. Huang, J. M. Phillips, Z. Wei and K. Yi, "Mergeable summaries", *PODS*, 2012. What
#   merging means, and the proof of 16.5.
# - P. Flajolet, É. Fusy, O. Gandouet and F. Meunier, "HyperLogLog: the analysis of a near-optimal cardinality
#   estimation algorithm", *AofA*, 2007. The constants, rigorously.
# - S. Heule, M. Nunkesser and A. Hall, "HyperLogLog in practice", *EDBT*, 2013. 64-bit hashes, the bump and how to
#   remove it, and lists of hashes for small sets.
# - O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", arXiv:1702.01284, 2017. The estimate
#   without a switch.
# - A. Z. Broder, "On the resemblance and containment of documents", *Compression and Complexity of Sequences*, 1997.
#   MinHash.
# - P. Indyk and R. Motwani, "Approximate nearest neighbors: towards removing the curse of dimensionality", *STOC*,
#   1998. Locality-sensitive hashing.
# - K. Weinberger, A. Dasgupta, J. Langford, A. Smola and J. Attenberg, "Feature hashing for large scale multitask
#   learning", *ICML*, 2009. Signs, and why the inner product is unbiased.
# - J. Leskovec, A. Rajaraman and J. D. Ullman, *Mining of Massive Datasets*, Cambridge University Press, third edition,
#   2020. Chapters 3 and 4 derive about half of this module in other words.
#
# At work: Apache DataSketches (C++, Java, Python) for all kinds with error bounds; `datasketch` for MinHash and its
# index in Python; Spark's and BigQuery's `approx_count_distinct`; Redis for HyperLogLog and Bloom filters;
# scikit-learn's `FeatureHasher` and `HashingVectorizer`.
