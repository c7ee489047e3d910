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
# # 24 · Serving and monitoring
#
# **What you will be able to do.** Put a model behind an address that stays up. Say what its slowest requests wait for,
# and how much a batch helps. Measure latency in a form that adds up over machines. Tell whether today's requests are
# still like those of the training data, without an alarm every week. Decide on a new version with evidence that you may
# look at after every request. Choose the number of machines. At the end your own server answers real requests on this
# computer, a real Prometheus watches it, and its percentile equals yours.
#
# **You need** quantiles and tests of module 04; the key-value cache of module 12 helps in 24.4, and leases and pods of
# module 18 in 24.9, but each is explained where it is used. Expectation, conditional probability, the binomial law.
#
# **Skills it trains**: queues and tail latency, batching, paged memory, HTTP interfaces, mergeable histograms, drift
# detection, sequential tests, autoscaling, manifests of a cluster, counting what a computation costs.
#
# **Time**: about five hours, of which a little over three are eight exercises and a bug to find. Take a break after
# 24.5. Each exercise says how important it is (essential, important, optional), its level, which is also its points,
# and its minutes (the reading is not in them).
#
# **Symbols**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $n$ | `len(arrivals)`, ... | | number of requests, or of values that a histogram has seen |
# | $a_i$, $s_i$, $f_i$ | `arrivals`, `start`, `finish` | $(n,)$ | when request $i$ arrives, when its service starts, and when it ends |
# | $S$, $L_q$, $W_q$ | | | in 24.3: fixed time of a service; mean number of requests that wait for theirs; mean time that they wait |
# | $\lambda$ | `rate` | | mean number of requests that arrive in a second |
# | $W$, $L$ | | | mean time that a request spends in the system; mean number of requests in the system |
# | $\rho$ | | | utilisation: the share of time in which the server works |
# | $S(b)$ | `service[b - 1]` | $(B,)$ | time that a batch of $b$ requests takes |
# | $B$ | `max_batch` | | requests in the largest batch |
# | $u_j$, $c_j$ | `bounds[j]` | $(k,)$, $(k + 1,)$ | in 24.1 and 24.2, with $k$ bounds: upper bound of bucket $j$; number of values that are at most $u_j$ (the last: all values) |
# | $q$ | `q` | | the quantile that is asked for, $0 < q \le 1$; 0.99 is written p99 |
# | $g$ | `block_size` | | tokens that a block of the cache holds |
# | $p_j$, $r_j$ | | | in 24.6: share of the live and of the reference values in bin $j$ |
# | $F$, $G$, $D$ | | | in 24.6: share of the reference values, and of the live values, that are at most $x$; the largest distance of the two |
# | $m$ | `len(reference)` | | number of reference values; $n$ is the number of live values |
# | $k$, $s$ | | | in 24.7: pairs that differ, so far; those among them in which the new version failed |
# | $\theta$, $E_k$ | | | in 24.7: probability that it is the new version that fails, if one of the two does; evidence after $k$ such pairs |
# | $\alpha$ | `alpha` | | probability of a false alarm that we admit |
# | $R$, $x$ | `current`, `metric` | | replicas that run; load of one replica, measured |

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, engines, manifests, plotting, serving
    from lsml_utils.checking import check, expect_close, expect_raises, expect_unchanged
    from lsml_utils.tables import Table, bytes_text, seconds_text
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import asyncio
import json
import math
import time
from collections import deque
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import scipy.special
from threadpoolctl import threadpool_limits

plotting.use()
threadpool_limits(1)
checking.start("24_serving_monitoring", total=9)

MAX_BODY = 65_536  # bytes; a longer body is refused
Response = tuple[int, dict[str, str], bytes]  # status, headers with names in lower case, body

# %% [markdown]
# ## Derive
#
# ### One request, and many
#
# A client sends a **request** to an address, and waits for a **response**. The time between the two is the **latency**.
# It has two parts: the time in which the server computes the answer, and the time in which the request waits for
# others. The first part is about the same for every request. The second one is not, and it is what users complain of.
#
# One law needs no assumption about how requests arrive. Let $\lambda$ be the mean number of arrivals in a second, $W$
# the mean time that a request spends in the system, and $L$ the mean number of requests in the system. Watch for $T$
# seconds, and add up the time that all requests spend inside. Counted by requests it is about $\lambda T \cdot W$.
# Counted by moments it is $T \cdot L$. So
#
# $$L = \lambda W \qquad \text{(Little's law)} .$$
#
# The two sides differ only by requests that are inside at the beginning or the end. A server that gets 100 requests a
# second and answers each in 50 ms has 5 of them inside, on average, whatever it does with them.
#
# The mean says little about the requests that annoy. A user whose page needs 50 requests waits for the slowest of them:
# if 1% of requests take longer than 1 s and they are independent, $1 - 0.99^{50} = 39\%$ of the pages do. So services
# are measured by **tail** quantiles: p99 is the latency that 99% of the requests do not exceed.

# %% tags=["demo"]
day = datasets.requests(hours=24, rate=demo_size(full=3.0, small=0.5), seed=0)
print(day)
per_minute = np.bincount((day.time // 60).astype(int), minlength=24 * 60)
minutes = np.arange(24 * 60) / 60
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
left.plot(minutes, per_minute / 60, color="#AAAAAA", linewidth=0.8, label="counted, by the minute")
left.plot(minutes, day.intensity(minutes * 3600 + 30), color=plotting.COLOURS[0], label="the law it is drawn from")
left.set(xlabel="hour of the day", ylabel="requests in a second", title="A rhythm, and bursts on top of it")
left.set_ylim(0, 1.35 * per_minute.max() / 60)
left.legend(loc="upper left")
hours = (day.time // 3600).astype(int)
means = np.array([day.X[hours == hour, 0].mean() for hour in range(24)])
errors = 1 / np.sqrt(np.bincount(hours, minlength=24))
right.errorbar(
    np.arange(24) + 0.5, means, yerr=2 * errors, fmt="o", color=plotting.COLOURS[1], label="mean ± 2 standard errors"
)
right.plot([0, 24], [0, day.drift_per_day], color="#222222", label="the planted drift")
right.set(xlabel="hour of the day", ylabel="mean of column 0", title="One column drifts, slower than its noise")
right.legend(loc="upper left")
plt.show()

# %% [markdown]
# These are the requests of one day, generated with known truth: a daily rhythm, bursts of a few minutes, and a column
# of the features that drifts slowly. We keep the day until the end.
#
# ## Implement
#
# ### 24.1 `LatencyHistogram` · essential · level 3 of 4 · 25 min
#
# How do we get p99 of a service that runs on 40 machines? To sort all latencies of all machines we would have to store
# and send all of them. And p99 of each machine does not help: there is no way to combine quantiles (24.2). What adds up
# is *counts*. A **histogram** has fixed upper bounds $u_0 < u_1 < \dots < u_{k-1}$, and counts how many values were at
# most $u_j$. Its memory is $k + 1$ integers, however many values there are, and the histogram of two machines is the
# sum of theirs, exactly.
#
# Prometheus, the most used system of this kind, stores **cumulative** counts: $c_j$ is the number of all values
# $\le u_j$ (`le`, "less or equal"), also of those in lower buckets, and the last one, `+Inf`, counts all $n$ values. So
# a bound can be left out later, and the rest stays right.
#
# **A quantile from counts.** The value of rank $qn$ lies in the first bucket $j$ with $c_j \ge qn$. Inside a bucket we
# know nothing, so assume that its values lie evenly between $u_{j-1}$ and $u_j$ (with $u_{-1} = 0$ and $c_{-1} = 0$):
#
# $$Q(q) = u_{j-1} + (u_j - u_{j-1})\, \frac{q n - c_{j-1}}{c_j - c_{j-1}} .$$
#
# If $j$ is the last bucket, `+Inf`, it has no upper end, and Prometheus answers $u_{k-1}$, the highest bound that there
# is. So a histogram whose bounds end at 1 s reports a p99 of 1 s, also if the p99 is a minute. The error is otherwise
# at most the width of a bucket.
#
# **The sum.** A scrape also has the sum of all values, for the mean. Floating-point sums depend on the order, so two
# machines merged in another order would give other last digits. Integers do not have this problem: we add whole
# microseconds.
#
# **The text.** Prometheus fetches a page of text by HTTP. For a histogram named `wait` with one label, after two
# values:
#
# ```
# # HELP wait Seconds.
# # TYPE wait histogram
# wait_bucket{path="/v1",le="0.1"} 1
# wait_bucket{path="/v1",le="+Inf"} 2
# wait_sum{path="/v1"} 0.75
# wait_count{path="/v1"} 2
# ```
#
# A label's value is anything that a program puts there, so three characters are escaped: a backslash becomes two, a
# double quote gets one before it, and a line feed becomes a backslash and the letter n. Otherwise a value from outside
# could end the quotation and write metrics of its own.


# %% exercise="LatencyHistogram" points=3 minutes=25 trains=["mergeable histograms"]
class LatencyHistogram:
    """Counts of values by upper bounds, which merge exactly and read as Prometheus' text.

    bounds: k >= 1 numbers, a list or an array (k,), float64: positive, finite, each larger than the
      one before; not modified, and later changes of it have no influence. ValueError otherwise.
    Memory: the bounds and k + 1 counts and a sum. Values are not kept.
    """

    def __init__(self, bounds: list[float] | np.ndarray):
        ### BEGIN SOLUTION
        edges = np.array(bounds, np.float64)
        if not len(edges) or not edges[0] > 0 or not np.all(np.diff(edges) > 0) or not np.isfinite(edges).all():
            raise ValueError("bounds are positive, finite and increase")
        self.bounds = edges
        self.counts = np.zeros(len(edges) + 1, np.int64)  # of each bucket alone
        self.micros = 0
        ### END SOLUTION

    def observe(self, values: np.ndarray) -> None:
        """Count values: shape (n,), n >= 0, float64, seconds from 0 to 1e6; not modified.

        A value equal to a bound counts for that bound. To the sum, each value adds whole
        microseconds: 1e6 * value, rounded as by round() or np.rint.
        """
        ### BEGIN SOLUTION
        places = np.searchsorted(self.bounds, values, side="left")
        self.counts += np.bincount(places, minlength=len(self.counts))
        self.micros += int(np.rint(1e6 * values).astype(np.int64).sum())
        ### END SOLUTION

    def merge(self, other: "LatencyHistogram") -> "LatencyHistogram":
        """A new histogram, as if it had observed the values of both.

        Neither of the two changes, now or later. Raises ValueError if the bounds of the two are not the same.
        """
        ### BEGIN SOLUTION
        if not np.array_equal(self.bounds, other.bounds):
            raise ValueError("histograms with different bounds do not merge")
        merged = LatencyHistogram(self.bounds)
        merged.counts = self.counts + other.counts
        merged.micros = self.micros + other.micros
        return merged
        ### END SOLUTION

    def quantile(self, q: float) -> float:
        """Prometheus' estimate of the q-quantile, a Python float.

        With n values, the rank is q * n (in float64), and the bucket is the first one whose
        cumulative count is at least the rank. Between its two bounds (the lower one of the first
        bucket is 0) the estimate is linear in the rank, within 1e-12 of the upper bound. In the last
        bucket, which has no upper bound, it is bounds[k - 1]. Without any values it is nan.
        Raises ValueError unless 0 < q <= 1.
        """
        ### BEGIN SOLUTION
        if not 0 < q <= 1:
            raise ValueError("0 < q <= 1")
        upto = np.cumsum(self.counts)
        if upto[-1] == 0:
            return math.nan
        rank = q * int(upto[-1])
        j = int(np.searchsorted(upto, rank, side="left"))
        if j == len(self.bounds):
            return float(self.bounds[-1])
        low, before = (self.bounds[j - 1], upto[j - 1]) if j else (0.0, 0)
        return float(low + (self.bounds[j] - low) * (rank - before) / self.counts[j])
        ### END SOLUTION

    def exposition(self, name: str, labels: dict[str, str]) -> str:
        """The histogram as Prometheus' text, lines that end in a line feed:

        # HELP name, and any text; # TYPE name histogram;
        name_bucket with the label le, one line for each bound, ascending, then one for "+Inf":
        cumulative counts; name_sum, in seconds: the whole microseconds divided by 1e6; name_count.
        Each of these has the labels in braces, in the order of `labels`, then le: a="x",le="0.5". No
        braces where there is no label at all. A space, and the number. Numbers are written in any form
        that float() reads back as the same number. In values of labels, a backslash, a double quote
        and a line feed are escaped as above. name and the labels' names are words such as http_seconds.
        """
        ### BEGIN SOLUTION
        escapes = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
        pairs = [f'{key}="{value.translate(escapes)}"' for key, value in labels.items()]

        def line(suffix, number, *more):
            inside = ",".join([*pairs, *more])
            return f"{name}{suffix}{{{inside}}} {number}\n" if inside else f"{name}{suffix} {number}\n"

        upto = np.cumsum(self.counts).tolist()
        text = f"# HELP {name} Seconds.\n# TYPE {name} histogram\n"
        for bound, count in zip([*map(repr, self.bounds.tolist()), "+Inf"], upto, strict=True):
            text += line("_bucket", count, f'le="{bound}"')
        return text + line("_sum", self.micros / 1e6) + line("_count", upto[-1])
        ### END SOLUTION


# %% [markdown] hints="LatencyHistogram"
# <details><summary>Hint 1: which bucket?</summary>
#
# `np.searchsorted(bounds, values, side="left")` gives, for each value, the number of bounds that are smaller than it:
# the place of the first bound that is not, and so a value that equals a bound stays in that bound's bucket. Count the
# places with `np.bincount(..., minlength=k + 1)`.
# </details>
# <details><summary>Hint 2: the quantile</summary>
#
# `upto = np.cumsum(counts)` are the cumulative counts, and `rank = q * upto[-1]`. The bucket is the first one with
# `upto[j] >= rank`. The line runs from the lower bound, at rank `upto[j - 1]`, to the upper one, at rank `upto[j]`.
# Treat the first bucket (lower bound 0, count before it 0) and the last one (no upper bound) apart.
# </details>
# <details><summary>Hint 3: text, sum and merge</summary>
#
# Escape the backslash first, or you escape the backslashes that you have just written. Keep the sum as a Python int of
# microseconds, `int(np.rint(1e6 * values).astype(np.int64).sum())`, and divide only in `exposition`. `merge` makes a
# new object and adds counts and microseconds.
# </details>

# %% check="LatencyHistogram"
with check("LatencyHistogram"):
    small = LatencyHistogram([1.0, 2.0, 4.0])
    assert math.isnan(small.quantile(0.5)), "without values, the quantile is nan"
    observed = np.array([0.5, 1.0, 2.5, 3.0, 9.0])
    with expect_unchanged(observed=observed):
        small.observe(observed)
    # Cumulative counts: 2 up to 1, 2 up to 2, 4 up to 4, 5 in all. q = 0.6 has the rank 3, half of the third bucket.
    expect_close(
        small.quantile(0.6),
        3.0,
        rtol=1e-12,
        hint="the first bucket with c_j >= 3 is (2, 4], with ranks 2 to 4",
        mistakes={"This is the upper bound of the bucket; go to the rank inside it.": 4.0},
    )
    expect_close(
        small.quantile(0.2),
        0.5,
        rtol=1e-12,
        hint="rank 1 of 2 in the bucket from 0 to 1",
        mistakes={"A value equal to a bound counts for that bound (le).": 1.0},
    )
    expect_close(small.quantile(0.99), 4.0, rtol=1e-12, hint="in the bucket +Inf: the highest bound")
    for bad in (0.0, 1.5):
        with expect_raises(ValueError):
            small.quantile(bad)
    other = LatencyHistogram([1.0, 2.0, 4.0])
    other.observe(np.array([1.5, 0.25]))
    both = small.merge(other)
    lines = both.exposition("wait", {"path": 'a"b\\c\nd'}).splitlines()
    numbers = [line for line in lines if not line.startswith("#")]
    counts = [float(line.rsplit(" ", 1)[1]) for line in numbers]
    expect_close(
        counts,
        [3.0, 4.0, 6.0, 7.0, 17.75, 7.0],
        hint="cumulative counts for 1, 2, 4 and +Inf, the sum, the count",
        mistakes={"These are the counts of each bucket alone; add those below.": [3.0, 1.0, 2.0, 1.0, 17.75, 7.0]},
    )
    written = 'path="a\\"b\\\\c\\nd"'  # as it stands in the text: a \" b \\ c \n d
    assert numbers[4].startswith(f"wait_sum{{{written}}} "), (
        f"backslash, quote and line feed are escaped: {numbers[4]!r}"
    )
    assert numbers[3].startswith(f'wait_bucket{{{written},le="+Inf"}} '), f"le comes last: {numbers[3]!r}"
    assert lines[1] == "# TYPE wait histogram", "the second line tells the type"
    bare = small.exposition("wait", {}).splitlines()
    assert bare[-1].startswith("wait_count "), f"without labels there are no braces: {bare[-1]!r}"
    expect_close(small.quantile(0.6), 3.0, rtol=1e-12, hint="merge changes neither of the two")
    # 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in floating point; in microseconds it is.
    parts = []
    for value in (0.1, 0.2, 0.3):
        part = LatencyHistogram([1.0])
        part.observe(np.array([value]))
        parts.append(part)
    sums = [x.merge(y).merge(z).exposition("t", {}) for x, y, z in (parts, parts[::-1])]
    assert sums[0] == sums[1], "merges in any order give the same sum: add whole microseconds"
    for bad in ([], [2.0, 1.0], [0.0, 1.0], [1.0, math.inf], [math.nan]):
        with expect_raises(ValueError):
            LatencyHistogram(bad)
    for others in ([1.0, 2.0], [1.0, 2.0, 5.0]):
        with expect_raises(ValueError):
            small.merge(LatencyHistogram(others))

# %% [markdown]
# The left panel shows a histogram with eight bounds against the values themselves: the dots are exact, and between two
# dots your quantile goes straight. The right panel makes the buckets narrower. On a straight piece the error of a
# smooth curve falls like the square of its width, so the error of the quantile should fall with the slope $-2$ in the
# number of bounds.


# %% tags=["demo"]
def geometric_bounds(k, low=0.005, high=20.0):
    return np.geomspace(low, high, k)


rng = np.random.default_rng(0)
latencies = np.exp(rng.normal(-1.5, 0.7, demo_size(full=200_000, small=20_000)))  # seconds, with a long tail
levels = np.linspace(0.02, 0.995, 60)
truth = np.quantile(latencies, levels)
coarse = LatencyHistogram(geometric_bounds(8))
coarse.observe(latencies)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
left.plot(truth, levels, color="#AAAAAA", linewidth=3, label="all values, sorted")
left.plot([coarse.quantile(q) for q in levels.tolist()], levels, label="quantile() from 8 bounds")
dots = geometric_bounds(8)
left.plot(dots, [np.mean(latencies <= bound) for bound in dots], "o", color="#222222", label="the bounds' counts")
left.set(
    xlabel="latency, seconds", ylabel="share of values", xlim=(0, 1.6), title="Exact at the bounds, straight between"
)
left.legend(loc="lower right")
counts, gaps = [5, 8, 12, 20, 32, 50, 80], []
for k in counts:
    histogram = LatencyHistogram(geometric_bounds(k))
    histogram.observe(latencies)
    gaps.append(np.mean(np.abs([histogram.quantile(q) for q in levels.tolist()] / truth - 1)))
slope = np.polyfit(np.log(counts[2:]), np.log(gaps[2:]), 1)[0]
right.loglog(counts, gaps, marker="o", label=f"mean error over 60 quantiles, slope {slope:.1f}")
right.set_xticks(counts, [str(k) for k in counts])
right.minorticks_off()
right.set(
    xlabel="number of bounds", ylabel="relative error of the quantile", title="Twice the bounds, a quarter of the error"
)
right.legend(loc="upper right")
plt.show()
capped = LatencyHistogram([0.05, 0.1, 0.2])
capped.observe(latencies)
print(
    f"p99 of the values {np.quantile(latencies, 0.99):.3f} s; by bounds that end at 0.2 s: {capped.quantile(0.99):.3f} s"
)

# %% [markdown]
# ### 24.2 `fleet_quantile` · essential · level 1 of 4 · 10 min
#
# **Find the bug.** Forty machines, each with its histogram. The dashboard shall show p99 of the whole service. The code
# below, found in many places, computes p99 of each machine and averages, and it even weighs each machine by its
# requests. Take two machines: one answers 900 requests in 10 ms each, the other one 100 requests in 2 s each. Of all
# requests, 10% take 2 s, so p99 is 2 s. The mean of the two p99 is $0.9 \cdot 0.01 + 0.1 \cdot 2 = 0.21$ s, a latency
# that no request had. Repair the code.


# %% exercise="fleet_quantile" points=1 minutes=10 trains=["mergeable histograms"] bug=true
def fleet_quantile(bounds: np.ndarray, counts: np.ndarray, q: float) -> float:
    """The q-quantile of the values of all machines, estimated as by `LatencyHistogram.quantile`.

    bounds: shape (k,), float64, positive, ascending; not modified.
    counts: shape (machines, k + 1), int64, machines >= 1: values of each machine in each bucket alone
      (not cumulative); column j has those above bounds[j - 1] and up to bounds[j], the last column
      those above all bounds. Not modified. A machine may have no values.
    q: 0 < q <= 1.

    Returns a Python float: what one histogram gives that has seen the values of all machines; nan
    where no machine has any.
    """

    def quantile_of(row: np.ndarray) -> float:  # of one histogram; there is no error in here
        upto = np.cumsum(row)
        if upto[-1] == 0:
            return math.nan
        rank = q * int(upto[-1])
        j = int(np.searchsorted(upto, rank, side="left"))
        if j == len(bounds):
            return float(bounds[-1])
        low, before = (bounds[j - 1], upto[j - 1]) if j else (0.0, 0)
        return float(low + (bounds[j] - low) * (rank - before) / row[j])

    ### BEGIN SOLUTION
    return quantile_of(counts.sum(axis=0))
    ### END SOLUTION
    ### BEGIN BUG
    # busy = counts[counts.sum(axis=1) > 0]
    # return float(np.average([quantile_of(row) for row in busy], weights=busy.sum(axis=1)))
    ### END BUG


# %% [markdown] hints="fleet_quantile"
# <details><summary>Hint 1</summary>
#
# Write down the counts of the two machines of the text, for bounds of 0.01 s, 0.1 s and 2 s. What are the counts of a
# histogram that has seen all 1,000 values?
# </details>
# <details><summary>Hint 2</summary>
#
# Counts of the same bucket add up over machines; quantiles do not. Add first, then call `quantile_of` once.
# </details>

# %% check="fleet_quantile"
with check("fleet_quantile"):
    edges = np.array([0.01, 0.1, 2.0])
    machines = np.array([[900, 0, 0, 0], [0, 0, 100, 0], [0, 0, 0, 0]])
    # 1,000 values; rank 950 of 900 to 1,000 in the bucket from 0.1 to 2: half of it.
    expect_close(
        fleet_quantile(edges, machines, 0.95),
        1.05,
        rtol=1e-12,
        hint="add the counts of all machines, then one quantile",
        mistakes={"This is the mean of the machines' quantiles, weighted by their requests.": 0.19905},
    )
    assert math.isnan(fleet_quantile(edges, np.zeros((2, 4), int), 0.5)), "no values at all: nan"

# %% [markdown]
# ### A queue
#
# Before we can measure latencies, a server must make some. One server, and requests that arrive one by one. Let them
# come at random with rate $\lambda$, independently (a Poisson process), and let each take the fixed time $S$. The
# server is busy during the share $\rho = \lambda S$ of the time, the **utilisation**. How long does a request wait
# before its service starts? A request that arrives finds $L_q$ others waiting, each of which takes $S$. With
# probability $\rho$ it also finds one in service, of which $S/2$ is left on average. (Arrivals that come at random see
# the time average.) So $W_q = L_q S + \rho\, S / 2$. Little's law for the waiting line says $L_q = \lambda W_q$, so
# $L_q S = \rho W_q$, and
#
# $$W_q = \frac{\rho\, S}{2\,(1 - \rho)} \qquad \text{(Pollaczek and Khinchine, for a fixed service time)} .$$
#
# At $\rho = 0.5$ a request waits half a service time; at 0.9 it waits 4.5 of them, at 0.99 almost 50. So full
# utilisation is no target: the last tenth of a machine costs more latency than the first nine. And above $\rho = 1$ the
# queue grows for ever. A queue without end does not lose requests; it makes all of them late.
#
# ### 24.3 `dynamic_batches` · essential · level 3 of 4 · 25 min
#
# A model reads its weights from memory once for a whole batch (module 14), so a batch of 16 takes hardly longer than a
# single row: $S(16) \ll 16\,S(1)$. Under load it pays to wait a little and serve several requests together. The rule
# that servers use has two numbers: a batch starts when it is full, or when its oldest request has waited for
# `max_wait`. It is the *oldest* one that counts. If each new request started the clock again, a steady trickle of
# requests would make the first one wait for ever.
#
# The second safety is a **deadline**. A client that has waited too long has gone. To compute its answer anyway takes
# the server's time from those who still wait, and makes these late, too. So a request that cannot start in time is
# dropped.


# %% exercise="dynamic_batches" points=3 minutes=25 trains=["queues and tail latency", "batching", "counting what a computation costs"]
def dynamic_batches(
    arrivals: np.ndarray, service: np.ndarray, max_wait: float, deadline: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """When each request starts and ends on one server that serves batches, first come first served.

    arrivals: shape (n,), float64, n >= 0, ascending (equal ones are possible), >= 0; not modified.
    service: shape (B,), float64, B >= 1: a batch of b requests takes service[b - 1] > 0; not modified.
    max_wait, deadline: 0 <= max_wait <= deadline; both may be math.inf.

    The server is free at time 0. Whenever it gets free, at time f, it first drops each waiting
    request i with arrivals[i] + deadline < f. Of those that are left and those that will come,
    the one with the smallest number is the oldest. The next batch starts as soon as the server is free
    and one of these holds:
    - B requests wait (all that arrived up to and at that moment, the dropped ones not counted);
    - the time is arrivals[oldest] + max_wait or later.
    (As max_wait <= deadline, no other request passes its deadline between f and the start.) It takes
    the waiting requests in order, B at most: also those that arrive at exactly this moment.
    It ends service[b - 1] later. If max_wait is inf and fewer than B requests are left, these never
    start and count as dropped.

    Returns (start, finish, dropped), new arrays (n,): float64, float64, bool. All requests of a batch
    have the same start and the same finish; both are nan for a dropped request. Sums as written here,
    in float64: start is a time of the list above (f, an arrival, or an arrival plus max_wait).
    """
    ### BEGIN SOLUTION
    n, most = len(arrivals), len(service)
    times, takes = arrivals.tolist(), service.tolist()
    start, finish, dropped = np.full(n, math.nan), np.full(n, math.nan), np.ones(n, bool)
    oldest, free = 0, 0.0
    while oldest < n:
        if times[oldest] + deadline < free:
            oldest += 1
            continue
        full = times[oldest + most - 1] if oldest + most <= n else math.inf
        now = max(free, min(full, times[oldest] + max_wait))
        if now == math.inf:
            break
        end = oldest
        while end < min(n, oldest + most) and times[end] <= now:
            end += 1
        free = now + takes[end - oldest - 1]
        start[oldest:end], finish[oldest:end], dropped[oldest:end] = now, free, False
        oldest = end
    return start, finish, dropped
    ### END SOLUTION


# %% [markdown] hints="dynamic_batches"
# <details><summary>Hint 1: one loop over batches</summary>
#
# Keep two numbers: `oldest`, the first request that is neither served nor dropped, and `free`, when the server gets
# free. Requests leave in order, so everything before `oldest` is done. No clock that ticks is needed: compute when the
# next batch starts.
# </details>
# <details><summary>Hint 2: when does it start?</summary>
#
# First move `oldest` past all requests with `arrivals[oldest] + deadline < free`. The batch is full when request
# `oldest + B - 1` arrives (never, if there is none). So it starts at
# `max(free, min(arrivals[oldest + B - 1], arrivals[oldest] + max_wait))`.
# </details>
# <details><summary>Hint 3: who is in it?</summary>
#
# All requests from `oldest` on with `arrivals <= start`, at most `B`. Walk forward one by one: over all batches this is
# $n$ steps. To search the whole array in each batch would be $n^2$.
# </details>

# %% check="dynamic_batches"
with check("dynamic_batches"):
    came, takes = np.array([0.0, 1.0, 1.5, 9.0, 9.5]), np.array([4.0, 5.0])
    with expect_unchanged(came=came, takes=takes):
        began, ended, lost = dynamic_batches(came, takes, 2.0, math.inf)
    # 0 and 1 fill a batch at 1, until 6. 2 has waited for 2 at 3.5, so it starts alone at 6, until 10. 3, 4 at 10.
    expect_close(
        began,
        [1.0, 1.0, 6.0, 10.0, 10.0],
        rtol=1e-12,
        hint="a batch starts when it is full, or when its oldest request has waited for max_wait",
        mistakes={
            "The batch started with the first request; it may wait for more.": [0.0, 4.0, 4.0, 9.0, 13.0],
            "Each batch waited for max_wait, also where it was full.": [2.0, 2.0, 7.0, 11.0, 11.0],
        },
    )
    expect_close(ended, [6.0, 6.0, 10.0, 15.0, 15.0], rtol=1e-12, hint="a batch of b takes service[b - 1]")
    assert not np.any(lost), "no deadline: nobody is dropped"
    # B = 4: the oldest has waited for 3 at time 3. The request that comes at exactly 3 joins.
    began, _, _ = dynamic_batches(np.array([0.0, 2.0, 3.0]), np.array([1.0, 1.0, 1.0, 1.0]), 3.0, math.inf)
    expect_close(
        began,
        [3.0, 3.0, 3.0],
        hint="the oldest request's wait counts, and who arrives at that moment joins",
        mistakes={"The clock started again with the newest request.": [6.0, 6.0, 6.0]},
    )
    # One at a time, 5 each, deadline 4: 1 could start at 5 = 1 + 4, just in time. At 10, 2 is dropped; 3 starts.
    began, _, lost = dynamic_batches(np.array([0.0, 1.0, 2.0, 7.0]), np.array([5.0]), 0.0, 4.0)
    assert lost.tolist() == [False, False, True, False], (
        f"request 2 alone is dropped, not {lost}: arrival + deadline < f"
    )
    expect_close(began[[0, 1, 3]], [0.0, 5.0, 10.0], rtol=1e-12, hint="a dropped request takes no time of the server")
    assert np.isnan(began[2]), "a dropped request has the start nan"
    began, _, lost = dynamic_batches(np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0]), math.inf, math.inf)
    assert lost.tolist() == [False, False, True], (
        f"max_wait inf: a batch that never fills never starts; dropped: {lost}"
    )
    empty = dynamic_batches(np.zeros(0), np.array([1.0]), 0.0, 1.0)
    assert [len(part) for part in empty] == [0, 0, 0], "no requests: empty arrays"

# %% [markdown]
# The left panel serves one request at a time, at growing utilisation. The line is Pollaczek and Khinchine's formula;
# the dots are means over your simulated requests (they scatter near 1, where one long queue is most of the sample). p99
# lies far above the mean, and grows in the same way. The right panel lets the server take batches, with $S(b) =
# 4\,\text{ms} + b \cdot 0.25\,\text{ms}$ and a `max_wait` of 5 ms. At low load a larger batch costs a few milliseconds
# of waiting. At high load it is the only one that still answers: the dotted lines are the rates $B / S(B)$, beyond
# which the queue grows without end.

# %% tags=["demo"]
rng = np.random.default_rng(1)
n = demo_size(full=20_000, small=4_000)
gaps = rng.exponential(1.0, n)  # mean 1: divided by a rate below
utilisation = np.array([0.2, 0.4, 0.6, 0.75, 0.85, 0.92])
means, tails = [], []
for rho in utilisation:
    arrivals = np.cumsum(gaps / rho)  # service takes 1
    start, _, _ = dynamic_batches(arrivals, np.array([1.0]), 0.0, math.inf)
    means.append(np.mean(start - arrivals))
    tails.append(np.quantile(start - arrivals, 0.99))
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
line = np.linspace(0.1, 0.95, 100)
left.semilogy(line, line / (2 * (1 - line)), color="#222222", linestyle="-", label="mean, by the formula")
left.semilogy(utilisation, means, "o", color=plotting.COLOURS[0], label="mean, simulated")
left.semilogy(utilisation, tails, "s", color=plotting.COLOURS[1], label="p99, simulated")
left.set(xlabel="utilisation ρ", ylabel="waiting time, in service times", title="The last tenth costs the most")
left.legend(loc="lower right")
rates = np.array([50, 100, 150, 200, 300, 500, 800, 1200, 1700, 2200])
for number, most in enumerate((1, 4, 16)):
    service, tail = 0.004 + 0.00025 * np.arange(1, most + 1), []
    for rate in rates:
        arrivals = np.cumsum(gaps[: n // 2] / rate)
        _, finish, _ = dynamic_batches(arrivals, service, 0.005 if most > 1 else 0.0, math.inf)
        tail.append(np.quantile(finish - arrivals, 0.99) if rate < 1.3 * most / service[-1] else np.nan)
    right.loglog(rates, tail, marker="o", color=plotting.COLOURS[number], label=f"batches of up to {most}")
    right.axvline(most / service[-1], color=plotting.COLOURS[number], linestyle=":", linewidth=1)
    print(f"batches of up to {most:2d}: at most {most / service[-1]:.0f} requests a second")
right.set(
    xlabel="requests in a second",
    ylabel="p99 of the latency, seconds",
    title="Batches raise the highest rate",
    ylim=(0.004, 20),
)
right.legend(loc="upper left")
plt.show()

# %% [markdown]
# ### 24.4 `continuous_batching` · essential · level 3 of 4 · 30 min
#
# A language model answers in tokens, one in each step, and requests differ: one wants 5 tokens, the next one 500. A
# batch that starts and ends together (static batching) runs until its longest answer is done, and most of its places
# stand empty. **Continuous batching** (Yu et al., 2022) changes the batch after every step: who is done leaves, who
# waits comes in.
#
# What limits the batch is memory. The model keeps a key and a value for every token of a request that runs: its prompt
# and all it has produced so far (the cache of module 12). Nobody knows in advance how long an answer will be. To
# reserve the longest possible place for each request wastes most of it. **Paged** caches (Kwon et al., 2023) hand out
# memory in blocks of $g$ tokens, as needed: a request that keeps $t$ tokens holds $\lceil t / g \rceil$ blocks, and
# less than one block is wasted.
#
# Then the blocks can run out in the middle, when running requests grow. Somebody must give way: the youngest request is
# **preempted**. It gives all its blocks back and waits again, in front of all others. The tokens that it has produced
# are not lost. When it comes back, its prompt and these tokens are read again together, and it goes on where it
# stopped. Why the youngest? The oldest request then never gives way, so it ends; then the next one is the oldest.
# Nobody starves.


# %% exercise="continuous_batching" points=3 minutes=30 trains=["batching", "paged memory"]
def continuous_batching(
    prompt: np.ndarray, output: np.ndarray, arrival: np.ndarray, blocks: int, block_size: int, slots: int
) -> tuple[np.ndarray, np.ndarray]:
    """When each request gets its first token and its last one, in steps of a model with a paged cache.

    prompt: shape (n,), n >= 0, int64, tokens of each prompt, >= 1. output: shape (n,), int64, tokens
      that it produces, >= 1. arrival: shape (n,), int64, the step in which it arrives, from 0 to
      10^12, ascending (equal ones are possible). None is modified.
    blocks, block_size, slots: each >= 1; all of the cache, tokens in a block, requests that may run
      at the same time.

    Step t = 0, 1, 2, ...; in each of them, in this order:
    1. Each running request must have blocks for its tokens: prompt + produced so far + 1, for the one
       that comes now, divided by block_size and rounded up. While all running requests together need
       more than `blocks`, the one with the highest number is preempted: it stops running, gives all
       its blocks back and waits again. What it has produced stays produced.
    2. While fewer than `slots` run: the waiting request with the lowest number, of those with
       arrival <= t, comes in if its blocks are free; they are counted as in 1. If they are not, nobody
       comes in in this step any more. (Reading the prompt takes no time of its own.)
    3. Each running request produces one token, at time t + 1. Who has produced all its tokens leaves;
       its slot and blocks are free from the next step on.

    Returns (first_token, finish), new arrays (n,) of int64: the times t + 1 of the first token and of
    the last token. Steps in which nobody runs cost nothing: arrivals may lie far apart.
    Raises ValueError if a request needs more than `blocks` for prompt + output tokens, even alone.
    """
    ### BEGIN SOLUTION
    n = len(prompt)
    if np.any(prompt + output > blocks * block_size):
        raise ValueError("a request does not fit into the cache")
    kept, left, comes = prompt.tolist(), output.tolist(), arrival.tolist()
    first_token, finish = np.zeros(n, np.int64), np.zeros(n, np.int64)

    def need(i):
        return -(-(kept[i] + 1) // block_size)

    running, preempted, new, t = [], [], 0, 0  # running ascends; preempted descends: its last is the lowest number
    while running or preempted or new < n:
        if not running and not preempted:
            t = max(t, comes[new])
        used = sum(map(need, running))
        while used > blocks:
            preempted.append(running.pop())
            used -= need(preempted[-1])
        while len(running) < slots and (preempted or (new < n and comes[new] <= t)):
            i = preempted[-1] if preempted else new
            if used + need(i) > blocks:
                break
            used += need(i)
            running.append(i)
            if preempted:
                preempted.pop()
            else:
                new += 1
        t += 1
        for i in running:
            kept[i] += 1
            left[i] -= 1
            if first_token[i] == 0:
                first_token[i] = t
            if left[i] == 0:
                finish[i] = t
        running = [i for i in running if left[i]]
    return first_token, finish
    ### END SOLUTION


# %% [markdown] hints="continuous_batching"
# <details><summary>Hint 1: what to keep</summary>
#
# For each request the tokens that it keeps (`prompt + produced`) and those that are left to produce. A list of running
# requests, and those that wait. Running requests always have lower numbers than waiting ones (why?), so both can be
# kept in order without sorting: append to and pop from the end of `running`.
# </details>
# <details><summary>Hint 2: blocks</summary>
#
# `need(i) = ceil((kept[i] + 1) / block_size)`; in integers `-(-(kept[i] + 1) // block_size)`. There is no need to
# number the blocks: `used` is the sum of `need(i)` over the running requests, computed anew at the beginning of each
# step. Blocks of who left or was preempted are then free by themselves.
# </details>
# <details><summary>Hint 3: the loop</summary>
#
# While anybody runs or waits: if nobody runs and all waiting ones arrive later, set `t` to the next arrival. Then 1:
# pop from `running` while `used > blocks`. Then 2: bring in the lowest waiting number while there is a slot, it has
# arrived, and `used + need(i) <= blocks`; stop at the first that does not fit. Then 3, with the time `t + 1`.
# </details>

# %% check="continuous_batching"
with check("continuous_batching"):

    def tokens(*columns):
        return [np.array(column) for column in columns]

    p, o, a = tokens([2, 2, 2], [3, 1, 2], [0, 0, 0])
    with expect_unchanged(p=p, o=o, a=a):
        got = continuous_batching(p, o, a, 100, 4, 2)
    # Two slots: 0 and 1 run in step 0, and 2 waits. 1 is done and leaves; 2 takes its slot in step 1.
    expect_close(got[0], [1, 1, 2], rtol=0, atol=0, hint="request 2 comes in as soon as request 1 has left")
    expect_close(
        got[1],
        [3, 1, 3],
        rtol=0,
        atol=0,
        hint="one token for each running request in each step",
        mistakes={"A batch ran until its longest answer was done, before anybody came in.": [3, 1, 5]},
    )
    # Blocks of 2 tokens, 4 of them. In step 0 both need ceil(4/2) = 2. In step 1 both need ceil(5/2) = 3: 1 gives way.
    # 0 goes on alone and ends at 3. In step 3, 1 keeps 3 + 1 tokens, needs 3 blocks, and produces tokens 2 and 3; 2 has
    # just come, and the fourth block is enough for it.
    p, o, a = tokens([3, 3, 1], [3, 3, 1], [0, 0, 3])
    got = continuous_batching(p, o, a, 4, 2, 8)
    expect_close(got[0], [1, 1, 4], rtol=0, atol=0, hint="0 and 1 have their first token after step 0, 2 after step 3")
    expect_close(
        got[1],
        [3, 5, 4],
        rtol=0,
        atol=0,
        hint="the youngest is preempted and goes on later, with the tokens that it has",
        mistakes={
            "The preempted request began again from its first token.": [3, 6, 4],
            "Nobody was preempted, although the blocks had run out.": [3, 3, 4],
        },
    )
    # In step 0 they need 2 + 1 + 1 blocks, in step 1 they would need 3 + 2 + 2: 2 gives way, and 1, too. 0 ends at 3.
    p, o, a = tokens([3, 1, 1], [3, 3, 2], [0, 0, 0])
    got = continuous_batching(p, o, a, 4, 2, 8)
    expect_close(got[1], [3, 5, 4], rtol=0, atol=0, hint="preempt until all that run fit, not only one")
    # Request 0 needs 3 of 4 blocks; 1 needs 2 and waits; 2 would fit, but nobody overtakes.
    p, o, a = tokens([5, 3, 1], [1, 1, 1], [0, 0, 0])
    got = continuous_batching(p, o, a, 4, 2, 8)
    expect_close(
        got[1],
        [1, 2, 2],
        rtol=0,
        atol=0,
        hint="the waiting request with the lowest number comes first, or nobody",
        mistakes={"A later request overtook one that did not fit.": [1, 2, 1]},
    )
    p, o, a = tokens([1, 1], [1, 1], [3, 10**12])
    expect_close(continuous_batching(p, o, a, 1, 2, 1)[1], [4, 10**12 + 1], rtol=0, atol=0, hint="skip empty steps")
    with expect_raises(ValueError):
        continuous_batching(*tokens([4], [1], [0]), 2, 2, 1)
    assert [len(part) for part in continuous_batching(*(np.zeros(0, int),) * 3, 1, 1, 1)] == [0, 0], "no requests"

# %% [markdown]
# Eight slots and 40 requests, all there at the beginning. Each bar is a request in its slot; white is a slot in which
# nobody works. On the left the batch is static, on the right it is your `continuous_batching` with enough blocks. The
# table below takes blocks away. "Reserved" means that a request comes in only if the longest possible answer has room;
# this is your function with the cache divided into places of that length.

# %% tags=["demo"]
rng = np.random.default_rng(3)
count, slots = 40, 8
prompt = rng.integers(5, 60, count)
output = np.clip(rng.geometric(0.04, count), 1, 120)
arrival = np.zeros(count, int)
first_token, finish = continuous_batching(prompt, output, arrival, 10_000, 16, slots)


def bars(begin, end):
    """A slot for each request, so that no two overlap: (slot, begin, end) of each."""
    free, placed = [0] * slots, []
    for i in np.argsort(begin, kind="stable"):
        slot = next(j for j in range(slots) if free[j] <= begin[i])
        free[slot] = end[i]
        placed.append((slot, begin[i], end[i]))
    return placed


groups = np.arange(count) // slots
longest = np.array([output[groups == group].max() for group in range(groups[-1] + 1)])
begins = np.concatenate([[0], np.cumsum(longest)])[groups]
figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), sharex=True, sharey=True)
for axis, name, begin, end in (
    (axes[0], "Static", begins, begins + output),
    (axes[1], "Continuous", first_token - 1, finish),
):
    for number, (slot, a, b) in enumerate(bars(begin, end)):
        axis.barh(slot, b - a, left=a, color=plotting.COLOURS[number % 6], edgecolor="white", linewidth=0.6)
    used = output.sum() / (slots * end.max())
    axis.set(xlabel="step", ylabel="slot", title=f"{name}: {end.max()} steps, {used:.0%} of the places work")
plt.show()
rows, block_size = [], 16
place = -(-(prompt.max() + output.max()) // block_size)  # blocks that the longest possible request needs
for blocks in (12, 16, 24, 40, 80):
    paged = continuous_batching(prompt, output, arrival, blocks, block_size, slots)[1]
    reserved = continuous_batching(prompt, output, arrival, 10_000, block_size, max(1, min(slots, blocks // place)))[1]
    times = [f"{values.max()}" for values in (paged, reserved)] + [
        f"{values.mean():.0f}" for values in (paged, reserved)
    ]
    rows.append((str(blocks), *times))
Table(
    ("blocks of 16 tokens", "steps, paged", "steps, reserved", "mean finish, paged", "mean finish, reserved"),
    rows,
    numeric=(0, 1, 2, 3, 4),
)

# %% [markdown]
# ### 24.5 `ModelServer` · essential · level 4 of 4 · 45 min
#
# Now the server itself. It speaks HTTP: a request has a method (`GET` to ask, `POST` to hand in), a path, headers and a
# body of bytes; a response has a status, headers and a body. The status tells the client *whose turn it is*:
#
# | status | meaning | what the client does |
# | --- | --- | --- |
# | 200 | done | uses the answer |
# | 400, 422 | the body is not JSON; it is JSON, but not what the model takes | mends the request; the same one fails again |
# | 404, 405 | no such path or version; not with this method | mends the request |
# | 413 | the body is too long | sends less |
# | 429 | too many requests wait; `retry-after` says for how many seconds to wait | comes again later |
# | 500 | the server failed | nothing; somebody must look at the server |
# | 503 | the server does not take predictions now, or not yet | asks another machine |
#
# Each line is one lesson. **A queue has an end** (429): the derivation above showed that a queue without end makes all
# requests late. The check costs nothing, so it stands *before* the body is parsed: a server that is too busy to answer
# should not be busy with parsing. **Ready is not alive**: `/healthz` tells that the process runs, `/readyz` that it can
# predict. The load balancer sends traffic by the second one. A server that says ready before its model is loaded
# answers the first users with errors. **An error tells nothing about the inside**: a trace with paths and values
# belongs in a log, not in a response. **Draining**: before a machine is stopped it takes no new requests, and answers
# those that wait. **A promotion moves nobody**: a request that was accepted while version 1 was the default is answered
# by version 1; otherwise one client sees answers of two models mixed, and a roll-back cannot say who got what.
#
# There is no socket in it. `submit` takes a request and gives the response, or a **ticket** if the request must wait;
# `step` serves one batch and gives the responses of tickets. What has no socket can be tested by a table. The adapter
# below connects it with **ASGI**, the interface that Python's web servers (uvicorn and others) share. Read it
# now: it is what calls your class.


# %% tags=["demo"]
class Adapter:
    """An ASGI application around a ModelServer: it waits for tickets, and makes a step while anybody waits."""

    def __init__(self, server, latency=None, pause=0.0):
        """latency: a histogram of what predictions took, shown in /metrics. pause: seconds from a ticket to its step."""
        self.server, self.latency, self.pause, self.waiting, self.planned = server, latency, pause, {}, False

    async def __call__(self, scope, receive, send):
        began, body, more = time.perf_counter(), b"", True
        while more and len(body) <= MAX_BODY:  # a body that is too long is not read to its end
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        answer = self.server.submit(scope["method"], scope["path"], headers, body)
        if not isinstance(answer, tuple):  # a ticket
            self.waiting[answer] = future = asyncio.get_running_loop().create_future()
            self.plan()
            answer = await future
        status, headers, content = answer
        if self.latency is not None and scope["path"].startswith("/v1/predict"):
            self.latency.observe(np.array([time.perf_counter() - began]))
        if self.latency is not None and scope["path"] == "/metrics":
            content += self.latency.exposition("http_seconds", {"path": "/v1/predict"}).encode()
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        pairs.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": content})

    def plan(self):
        if self.waiting and not self.planned:
            self.planned = True
            asyncio.get_running_loop().call_later(self.pause, self.step)

    def step(self):
        self.planned = False
        for ticket, response in self.server.step():
            future = self.waiting.pop(ticket)
            if not future.done():  # the client may have gone
                future.set_result(response)
        self.plan()


# %% exercise="ModelServer" points=4 minutes=45 trains=["HTTP interfaces", "queues and tail latency", "batching"]
class ModelServer:
    """A server of predictions without sockets: requests come by `submit`, batches run by `step`.

    capacity: >= 1, how many requests may wait. max_batch: >= 1, how many `step` serves at once.

    A response is a tuple (status: int, headers: dict[str, str], body: bytes), header names in lower
    case. If the request has a header "x-request-id", its response has it too, with the same value.
    "content-type" is "application/json", but for /metrics "text/plain; version=0.0.4". A JSON body
    is UTF-8 as by json.dumps. Every response with status 400 or more has the JSON body
    {"error": TEXT}, any text that tells the client what is wrong.
    """

    def __init__(self, capacity: int, max_batch: int):
        ### BEGIN SOLUTION
        self.capacity, self.max_batch = capacity, max_batch
        self.versions, self.default, self.draining = {}, None, False
        self.waiting, self.tickets, self.answered = deque(), 0, {}
        ### END SOLUTION

    def load(self, version: str, predict: Callable[[np.ndarray], np.ndarray], width: int) -> None:
        """Add a version, a word without "/". It answers under its own path; the default does not change.

        predict: takes rows, a new float64 array (b, width) with 1 <= b <= max_batch, and gives an array
          (b,) of floats. Here it is not called. width: >= 1.
        Raises ValueError if the version is there already.
        """
        ### BEGIN SOLUTION
        if version in self.versions:
            raise ValueError(f"version {version} is loaded already")
        self.versions[version] = predict, width
        ### END SOLUTION

    def promote(self, version: str) -> None:
        """Make a version the default of later requests. ValueError, and no change, if it is not loaded."""
        ### BEGIN SOLUTION
        if version not in self.versions:
            raise ValueError(f"version {version} is not loaded")
        self.default = version
        ### END SOLUTION

    def drain(self) -> None:
        """Take no predictions any more, for ever. What waits is still served by `step`."""
        ### BEGIN SOLUTION
        self.draining = True
        ### END SOLUTION

    def submit(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Response | int:
        """The response, or a ticket (an int, each once) if the request waits for `step`.

        headers: names in lower case; not modified. The first line that applies decides:

        /healthz, GET: 200, JSON {"status": "ok"}.
        /readyz, GET: 200, JSON {"status": "ok"} if there is a default and the server does not drain,
          else 503.
        /metrics, GET: 200, Prometheus' text, see below.
        /v1/predict (by the default) or /v1/predict/VERSION, POST, in this order:
          503 if the server drains;
          without VERSION: 503 if there is no default yet; with it: 404 if it is not loaded;
          413 if the body is longer than MAX_BODY bytes (MAX_BODY is allowed);
          429, with the header "retry-after": "1", if `capacity` requests wait, whatever the body holds;
          400 if the body is not JSON: json.loads raises whatever error, or it has NaN, Infinity or
            -Infinity, which json.loads accepts, and JSON does not;
          422 unless it is an object whose "x" is a list of `width` numbers that are finite as floats
            (true and false are no numbers; other keys are ignored);
          else a ticket: it waits for the version that is the default now, or for VERSION.
        One of these paths (VERSION loaded or not) with any other method: 405, with the header
          "allow": "GET" or "POST".
        Any other path: 404.

        /metrics has two metrics, each with its lines # HELP and # TYPE: the counter
        model_requests_total{status="200"}, a line for each status that occurred, with the number of
        responses so far, from `submit` and `step` together, to requests whose path is /v1/predict or
        begins with /v1/predict/; and the gauge model_queue_length, the number of waiting requests.
        """
        ### BEGIN SOLUTION
        predicts = path == "/v1/predict" or path.startswith("/v1/predict/")
        answer = self._predict(method, path, headers, body) if predicts else self._other(method, path)
        if isinstance(answer, int):
            return answer
        return self._respond(headers, predicts, *answer)
        ### END SOLUTION

    def step(self) -> list[tuple[int, Response]]:
        """Serve the max_batch requests that have waited longest, or all if fewer wait.

        For each version among them `predict` is called exactly once, with the rows of its requests in
        order of arrival, versions in order of their first request; not at all if nobody waits.
        Response: 200, JSON {"y": NUMBER, "version": VERSION}. If predict raises an Exception, or gives
        anything but a NumPy array (b,) of finite floats (lists are not tried), each request of this
        call has 500, and its text tells nothing of the error; the other versions' requests and later
        steps are not affected.

        Returns (ticket, response) of each served request, in order of arrival.
        """
        ### BEGIN SOLUTION
        batch = [self.waiting.popleft() for _ in range(min(self.max_batch, len(self.waiting)))]
        groups = {}
        for ticket, version, headers, row in batch:
            groups.setdefault(version, []).append((ticket, headers, row))
        done = {}
        for version, members in groups.items():
            rows = np.array([row for _, _, row in members])
            try:
                values = np.asarray(self.versions[version][0](rows), np.float64)
                if values.shape != (len(members),) or not np.isfinite(values).all():
                    raise ValueError("not one finite number for each row")
                answers = [(200, {"y": y, "version": version}) for y in values.tolist()]
            except Exception:
                answers = [(500, "the model failed")] * len(members)
            for (ticket, headers, _), answer in zip(members, answers, strict=True):
                done[ticket] = self._respond(headers, True, *answer)
        return [(ticket, done[ticket]) for ticket, _, _, _ in batch]

    def _other(self, method, path):
        if path not in ("/healthz", "/readyz", "/metrics"):
            return 404, "no such path"
        if method != "GET":
            return 405, "GET only", {"allow": "GET"}
        if path == "/readyz" and (self.default is None or self.draining):
            return 503, "not ready"
        return (200, self._metrics()) if path == "/metrics" else (200, {"status": "ok"})

    def _predict(self, method, path, headers, body):
        if method != "POST":
            return 405, "POST only", {"allow": "POST"}
        if self.draining:
            return 503, "this server is being stopped"
        version = self.default if path == "/v1/predict" else path.removeprefix("/v1/predict/")
        if version is None:
            return 503, "no version is ready"
        if version not in self.versions:
            return 404, "no such version"
        if len(body) > MAX_BODY:
            return 413, f"at most {MAX_BODY} bytes"
        if len(self.waiting) >= self.capacity:
            return 429, "too many requests wait", {"retry-after": "1"}
        try:
            sent = json.loads(body, parse_constant=self._refuse)
        except Exception:
            return 400, "the body is not JSON"
        row, width = sent.get("x") if isinstance(sent, dict) else None, self.versions[version][1]
        wanted = 422, f'the body is an object with "x", a list of {width} finite numbers'
        if not isinstance(row, list) or len(row) != width or not all(type(x) in (int, float) for x in row):
            return wanted
        try:
            row = [float(x) for x in row]
        except OverflowError:
            return wanted
        if not all(map(math.isfinite, row)):
            return wanted
        self.tickets += 1
        self.waiting.append((self.tickets, version, dict(headers), row))
        return self.tickets

    def _metrics(self):
        lines = [
            "# HELP model_requests_total Responses to requests for predictions, by status.",
            "# TYPE model_requests_total counter",
            *(f'model_requests_total{{status="{status}"}} {count}' for status, count in sorted(self.answered.items())),
            "# HELP model_queue_length Requests that wait for a step.",
            "# TYPE model_queue_length gauge",
            f"model_queue_length {len(self.waiting)}",
        ]
        return "\n".join(lines) + "\n"

    def _respond(self, asked, predicts, status, content, more=None):
        if predicts:
            self.answered[status] = self.answered.get(status, 0) + 1
        plain = status == 200 and isinstance(content, str)
        headers = {"content-type": "text/plain; version=0.0.4" if plain else "application/json"} | (more or {})
        if "x-request-id" in asked:
            headers["x-request-id"] = asked["x-request-id"]
        content = content if status == 200 else {"error": content}
        return status, headers, (content if plain else json.dumps(content)).encode()

    @staticmethod
    def _refuse(name):
        raise ValueError(f"{name} is not JSON")
        ### END SOLUTION


# %% [markdown] hints="ModelServer"
# <details><summary>Hint 1: one place makes responses</summary>
#
# Write a method `_respond(request_headers, is_prediction, status, content, more_headers)`. It counts the status, adds
# `content-type` and `x-request-id`, wraps an error's text into `{"error": ...}` and makes bytes. Then no path can
# forget one of them. The state is small: a dict of versions, the default, a flag, a `deque` of what waits `(ticket,
# version, headers, row)`, and a dict of counts.
# </details>
# <details><summary>Hint 2: submit</summary>
#
# Write the lines of the docstring as `if` lines, in its order. `json.loads(body, parse_constant=f)` calls `f` for
# `NaN`, `Infinity` and `-Infinity`; let it raise. Catch `Exception`, since a body of 60,000 `[` raises a
# RecursionError. Of each number ask `type(x) in (int, float)`, because `isinstance(True, int)` holds; `float(10**400)`
# raises an OverflowError, and `1e999` is read as infinity. Decide the version here, and put it into the queue.
# </details>
# <details><summary>Hint 3: step</summary>
#
# Take up to `max_batch` entries from the left of the queue. Group them by version: a dict keeps the order of first
# insertion. Per group: one array, one call inside `try`, a check of the shape and of `np.isfinite`. Write the answers
# into a dict by ticket, and return them in the order in which you took them.
# </details>

# %% check="ModelServer"
with check("ModelServer"):
    sizes = []

    def total(rows):
        sizes.append(rows.shape)
        return rows.sum(axis=1)

    def ask(server, row, path="/v1/predict", **headers):
        return server.submit("POST", path, headers, json.dumps({"x": row}).encode())

    def status(answer):
        assert isinstance(answer, tuple), f"a response (status, headers, body) was expected, not {answer!r}"
        assert answer[0] < 400 or isinstance(json.loads(answer[2])["error"], str), (
            'an error has the body {"error": TEXT}'
        )
        return answer[0]

    server = ModelServer(4, 3)
    assert status(server.submit("GET", "/healthz", {}, b"")) == 200, "alive at once"
    assert status(server.submit("GET", "/readyz", {}, b"")) == 503, "not ready: nothing is loaded"
    server.load("v1", total, 2)
    assert status(server.submit("GET", "/readyz", {}, b"")) == 503, "loaded, and not promoted: not ready"
    assert status(ask(server, [1, 2])) == 503, "no default yet"
    server.promote("v1")
    assert status(server.submit("GET", "/readyz", {}, b"")) == 200, "ready"
    server.load("v2", lambda rows: 10 * rows.sum(axis=1), 2)
    table = [
        ("GET", "/nothing", b"", 404),
        ("DELETE", "/healthz", b"", 405),
        ("GET", "/v1/predict", b"", 405),
        ("GET", "/v1/predict/v9", b"", 405),
        ("POST", "/v1/predict/v9", b"{}", 404),
        ("POST", "/v1/predict", b" " * (MAX_BODY + 1), 413),
        ("POST", "/v1/predict", b"{", 400),
        ("POST", "/v1/predict", b'{"x": [1, NaN]}', 400),
        ("POST", "/v1/predict", b"[" * 60_000, 400),  # json.loads raises a RecursionError
        ("POST", "/v1/predict", b'{"x": [1, 2, 3]}', 422),
        ("POST", "/v1/predict", b'{"x": [1, true]}', 422),
        ("POST", "/v1/predict", b'{"x": [1, 1e999]}', 422),
        ("POST", "/v1/predict", b'{"x": [1, 1' + b"0" * 400 + b"]}", 422),  # float() raises an OverflowError
        ("POST", "/v1/predict", b"{}", 422),
        ("POST", "/v1/predict", b"[1, 2]", 422),
    ]
    for method, path, body, expected in table:
        came = status(server.submit(method, path, {}, body))
        assert came == expected, f"{method} {path} with {body[:20]!r}: {came}, where {expected} is expected"
    refused = server.submit("GET", "/v1/predict", {"x-request-id": "r7"}, b"")[1]
    assert refused.get("allow") == "POST", f'405 has the header "allow": "POST": {refused}'
    assert refused.get("x-request-id") == "r7", f"an error has the request's x-request-id, too: {refused}"
    assert status(server.submit("POST", "/v1/predict", {}, b" " * MAX_BODY)) == 400, "MAX_BODY bytes are allowed"
    first = [ask(server, [1, 2], **{"x-request-id": "abc"}), ask(server, [3, 4], "/v1/predict/v2")]
    server.promote("v2")
    first += [ask(server, [5, 6]), ask(server, [7, 8], "/v1/predict/v1")]
    assert len({*first}) == 4 and all(isinstance(ticket, int) for ticket in first), f"four tickets, not {first}"
    full = ask(server, [9, 9])
    assert status(full) == 429 and full[1]["retry-after"] == "1", "capacity 4: the fifth is told to come again"
    assert not sizes, "predict is called by step, not before"
    server.drain()
    assert status(ask(server, [1, 1])) == 503, "a draining server takes nothing new"
    served = server.step() + server.step()
    assert [ticket for ticket, _ in served] == first, "the longest waiting first, 3 in the first step"
    values = [json.loads(answer[2]) for _, answer in served]
    expect_close(
        [value["y"] for value in values],
        [3.0, 70.0, 110.0, 15.0],
        hint="each request is answered by the version that it was accepted for",
        mistakes={"A promotion moved a request that waited already.": [30.0, 70.0, 110.0, 15.0]},
    )
    assert [value["version"] for value in values] == ["v1", "v2", "v2", "v1"], "and the answer names it"
    assert served[0][1][1].get("x-request-id") == "abc", "the response has the request's x-request-id"
    assert sizes == [(1, 2), (1, 2)], f"v1: one row in each of the two steps, not {sizes}"
    assert server.step() == [], "nobody waits"
    metrics = server.submit("GET", "/metrics", {}, b"")[2].decode().splitlines()
    assert 'model_requests_total{status="200"} 4' in metrics, (
        "four predictions with status 200, and health does not count"
    )
    assert 'model_requests_total{status="503"} 2' in metrics, "two predictions with status 503"

    def broken(rows):
        raise RuntimeError("secret.txt")

    fragile = ModelServer(9, 9)
    fragile.load("bad", broken, 1)
    fragile.load("nan", lambda rows: rows[:, 0] * math.inf, 1)
    fragile.load("good", lambda rows: rows[:, 0], 1)
    waits = [ask(fragile, [1], f"/v1/predict/{name}") for name in ("bad", "nan", "good")]
    answers = [answer for _, answer in fragile.step()]
    assert [status(answer) for answer in answers] == [500, 500, 200], "a broken version does not harm the others"
    assert b"secret" not in answers[0][2], "an error tells nothing about the inside"

# %% [markdown]
# A real model behind it: softmax regression on the digits of module 03. The server has two versions, trained on 100 and
# on 1,400 pictures. Everything below is one process, without a socket.

# %% tags=["demo"]
from sklearn.linear_model import LogisticRegression

digits = datasets.digits()
order = np.random.default_rng(0).permutation(len(digits.y))
pictures, labels = digits.X[order] / 16, digits.y[order]
models = {
    f"v{i + 1}": LogisticRegression(max_iter=500).fit(pictures[:m], labels[:m]) for i, m in enumerate((100, 1400))
}
server = ModelServer(capacity=8, max_batch=4)
for version, model in models.items():
    server.load(version, lambda rows, model=model: model.predict(rows).astype(float), 64)
server.promote("v1")
asked = [("GET", "/readyz", b""), ("POST", "/v1/predict", b'{"x": [1, 2]}'), ("POST", "/v1/predict/v7", b"{}")]
for method, path, body in asked:
    status, headers, content = server.submit(method, path, {}, body)
    print(method, path, "->", status, content.decode())
for number in range(1400, 1410):
    answer = server.submit("POST", "/v1/predict", {}, json.dumps({"x": pictures[number].tolist()}).encode())
    if number == 1403:
        server.promote("v2")
    if isinstance(answer, tuple):
        print(f"request {number - 1400}:", answer[0], answer[1]["retry-after"], answer[2].decode())
while batch := server.step():
    print([json.loads(content) for _, (_, _, content) in batch])
print("truth:", labels[1400:1408].tolist())
print(server.submit("GET", "/metrics", {}, b"")[2].decode())

# %% [markdown]
# ### 24.6 `drift` · important · level 2 of 4 · 15 min
#
# The server is up and fast. Are its answers still right? The truth about today's requests often comes weeks later, or
# never. What can be seen today is whether the *inputs* still look like those of the training data. Two numbers are
# common.
#
# **The Kolmogorov-Smirnov distance** compares the two distribution functions. $F(x)$ is the share of the $m$ reference
# values that are at most $x$, $G(x)$ that of the $n$ live values, and $D = \max_x \lvert F(x) - G(x)\rvert$. If both
# samples come from one continuous law, $D$ does not depend on that law, and for large samples
#
# $$P\!\left(D\sqrt{\tfrac{mn}{m+n}} > z\right) \to K(z) = 2\sum_{i=1}^{\infty} (-1)^{i-1} e^{-2 i^2 z^2} .$$
#
# **The population stability index** (PSI) is used in banks. Cut the reference at its own quantiles into bins of equal
# share, and compare the shares $r_j$ of the reference with the shares $p_j$ of the live values:
#
# $$\text{PSI} = \sum_j (p_j - r_j) \ln\frac{p_j}{r_j} .$$
#
# Each term is at least 0, since both factors have the same sign. It is the sum of the two Kullback-Leibler divergences
# between the shares. An empty bin makes the logarithm infinite. To leave such a bin out, as if its term were 0, is
# worse than infinity: the largest change that there is, a region where nobody is any more, would not count at all. We
# count half a value in an empty bin.
#
# The two answer different questions. The $p$-value says whether a difference is *real*; with a million values, a
# difference of no importance is. PSI says how *large* it is, and knows nothing of chance: with few values it is large
# without any drift. (If both come from one law, its mean is about $(\text{bins} - 1)(\frac1m + \frac1n)$.) So look at
# both.


# %% exercise="drift" points=2 minutes=15 trains=["drift detection"] forbids=["scipy.stats"]
def drift(reference: np.ndarray, live: np.ndarray, bins: int = 10) -> dict[str, float]:
    """How far live values are from reference values: {"psi": ..., "ks": ..., "p": ...}, Python floats.

    reference: shape (m,), m >= 1. live: shape (n,), n >= 1. Both float64, finite, in any order, with
      equal values among them; not modified. bins: >= 2. m and n may be 10^6: sort, compare no pairs.

    psi: the borders are np.quantile(reference, j / bins) for j = 1, ..., bins - 1, equal borders once.
      Bin 0 holds the values up to and including the first border, each next bin those above its
      lower border up to and including its upper one, the last bin those above the last border. The
      share of a bin is its count divided by m (by n), and a count of 0 is taken as 0.5; the shares
      are not rescaled. psi is the sum over all bins of (p - r) * log(p / r).
    ks: the largest |F(x) - G(x)| over all x; F and G count values <= x.
    p: with z = ks * sqrt(m n / (m + n)), the sum 2 * (-1)^(i-1) * exp(-2 i^2 z^2), i = 1 to 100, cut to
      [0, 1]; exactly 1 where z < 0.2 (there the endless sum is 1 to 12 digits).
    Each within 1e-9. Do not use scipy.stats.
    """
    ### BEGIN SOLUTION
    m, n = len(reference), len(live)
    borders = np.unique(np.quantile(reference, np.arange(1, bins) / bins))

    def shares(values):
        counts = np.bincount(np.searchsorted(borders, values, side="left"), minlength=len(borders) + 1)
        return np.where(counts == 0, 0.5, counts) / len(values)

    r, p = shares(reference), shares(live)
    psi = np.sum((p - r) * np.log(p / r))
    everywhere = np.concatenate([reference, live])
    F = np.searchsorted(np.sort(reference), everywhere, side="right") / m
    G = np.searchsorted(np.sort(live), everywhere, side="right") / n
    ks = np.max(np.abs(F - G))
    z = ks * math.sqrt(m * n / (m + n))
    i = np.arange(1, 101)
    tail = 1.0 if z < 0.2 else np.clip(2 * np.sum((-1.0) ** (i - 1) * np.exp(-2 * i**2 * z**2)), 0, 1)
    return {"psi": float(psi), "ks": float(ks), "p": float(tail)}
    ### END SOLUTION


# %% [markdown] hints="drift"
# <details><summary>Hint 1: bins</summary>
#
# `np.unique` of the quantiles gives the borders, and `np.searchsorted(borders, values, side="left")` the bin of each
# value. `np.bincount(..., minlength=len(borders) + 1)` counts, also the empty ones.
# </details>
# <details><summary>Hint 2: the distance</summary>
#
# F and G change at data points only, so compare them at all $m + n$ values. `np.searchsorted(np.sort(reference), x,
# side="right")` counts the values $\le x$. With equal values, both steps are made before the comparison; a walk that
# looks after each single value sees differences that are not there.
# </details>
# <details><summary>Hint 3: p</summary>
#
# `i = np.arange(1, 101)` and the formula; the sign is `(-1.0) ** (i - 1)`. `np.clip(..., 0, 1)`.
# </details>

# %% check="drift"
with check("drift", forbids=["scipy.stats"]):
    old, new = np.array([9.0, 1.0, 2.0, 4.0]), np.array([9.0, 20.0, 9.0, 2.0])
    with expect_unchanged(old=old, new=new):
        found = drift(old, new, bins=2)
    # One border, the median 3. Shares (1/2, 1/2) and (1/4, 3/4): -1/4 ln(1/2) + 1/4 ln(3/2) = ln(3) / 4.
    expect_close(found["psi"], math.log(3) / 4, rtol=1e-9, hint="bins at the quantiles of the reference")
    # At x = 4: F = 3/4 and G = 1/4. At x = 9: F = 1 and G = 3/4, after both steps of G.
    expect_close(
        found["ks"],
        0.5,
        rtol=1e-9,
        hint="F and G count values <= x; compare them after all values that are equal",
        mistakes={"Equal values were taken one after the other.": 0.75},
    )
    expect_close(
        drift(new, old, bins=2)["ks"], 0.5, rtol=1e-9, hint="|F - G|: the same where the samples are exchanged"
    )
    # z = 0.5 * sqrt(16 / 8) = 0.7071: 2 (e^-1 - e^-4 + e^-9 - ...)
    expect_close(found["p"], 2 * (math.exp(-1) - math.exp(-4) + math.exp(-9) - math.exp(-16)), rtol=1e-9, hint="z")
    gone = drift(np.arange(8.0), np.full(8, 7.0), bins=2)  # shares (1/2, 1/2) and (0.5/8, 1)
    expected = (1 / 16 - 1 / 2) * math.log(1 / 8) + (1 - 1 / 2) * math.log(2)
    expect_close(
        gone["psi"],
        expected,
        rtol=1e-9,
        hint="an empty bin counts as half a value",
        mistakes={"The empty bin was left out.": 0.5 * math.log(2)},
    )
    same = drift(np.full(3, 5.0), np.full(6, 5.0))  # one border, two bins: (1, 0.5 / 3) and (1, 0.5 / 6)
    expect_close(same["psi"], (1 / 12 - 1 / 6) * math.log(1 / 2), rtol=1e-9, hint="nine equal borders count once")
    expect_close([same["ks"], same["p"]], [0.0, 1.0], hint="z < 0.2: p is 1")

# %% [markdown]
# Forty days of requests. The first three are the reference, and each later day is compared with them, in column 0,
# whose mean moves by 0.3 standard deviations in ten days here, and in column 1, which never changes. The left panel
# shows the $p$-values. The drift is found within days, and then $p$ says no more: it only gets smaller. But look at the
# stable column, too: with a test every day at 5%, about one day in twenty raises an alarm for nothing. PSI, on the
# right, tells how far it has gone. Its level without drift depends on the sample: the dotted line is the mean
# $(\text{bins} - 1)(1/m + 1/n)$ for these sizes. The rule of thumb "0.1 is worth a look, 0.25 is a change" forgets it:
# the last lines below compare 50 values of the stable column with 50 others.

# %% tags=["demo"]
days = demo_size(full=40, small=12)
stream = datasets.requests(hours=24 * days, rate=0.02, seed=5)
number_of_day = (stream.time // 86_400).astype(int)
slow = stream.X[:, 0] - 0.9 * stream.drift_per_day * stream.time / 86_400  # a tenth of the planted drift
columns = {"column 0, drifting": slow, "column 1, stable": stream.X[:, 1]}
reference_rows = number_of_day < 3
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
for number, (name, values) in enumerate(columns.items()):
    found = [drift(values[reference_rows], values[number_of_day == one]) for one in range(3, days)]
    p = np.array([one["p"] for one in found])
    left.semilogy(
        np.arange(3, days), np.maximum(p, 1e-12), "o-", color=plotting.COLOURS[number], markersize=4, label=name
    )
    right.plot(
        np.arange(3, days),
        [one["psi"] for one in found],
        "o-",
        color=plotting.COLOURS[number],
        markersize=4,
        label=name,
    )
    print(f"{name}: p below 5% on {np.sum(p < 0.05)} of {len(p)} days")
m, per_day = reference_rows.sum(), len(stream.time) / days
left.axhline(0.05, color="#222222", linestyle=":", label="5%")
left.set(
    xlabel="day", ylabel="p (cut at 1e-12)", title="p finds the drift, and also alarms for nothing", ylim=(1e-13, 20)
)
left.legend(loc="center right")
right.axhline(9 * (1 / m + 1 / per_day), color="#222222", linestyle=":", label="mean without drift")
right.set(xlabel="day", ylabel="PSI", title="PSI says how far it has gone")
right.legend(loc="upper left")
plt.show()
few = [drift(stream.X[:50, 1], stream.X[50 * i : 50 * (i + 1), 1])["psi"] for i in range(1, 20)]
print(f"stable column, 50 values against 50: PSI {np.mean(few):.2f} on average; the formula says {9 * (2 / 50):.2f}")
print(
    f"above 0.1 in {np.sum(np.array(few) > 0.1)} of {len(few)} comparisons, above 0.25 in {np.sum(np.array(few) > 0.25)}"
)

# %% [markdown]
# ### 24.7 `canary` · essential · level 3 of 4 · 15 min
#
# Version 2 is trained. Is it worse? Do not ask all users. First **shadow traffic**: each request goes to both versions,
# users get the old answer, and both answers are judged later (by the truth, a rule or a person). So each request $i$
# gives a pair: did the old version fail, did the new one? A pair in which both fail, or none, says nothing about the
# difference. Of the pairs that differ, let $\theta$ be the probability that it was the new one that failed. The new
# version is no worse if $\theta \le \frac12$.
#
# We want to stop a bad version early, so we look at the evidence after each request. A $p$-value does not allow that.
# It keeps its promise (5% false alarms) for *one* look that was fixed beforehand. With a look every day, chance has a
# new opportunity every day; the figure below counts it.
#
# **Evidence that may be watched.** Bet against the hypothesis. Start with 1. If the new version fails in a pair,
# multiply by $2\theta'$, else by $2(1 - \theta')$, for some $\theta' > \frac12$. Under the true $\theta \le \frac12$
# the expected factor is $2\theta\theta' + 2(1 - \theta)(1 - \theta') = 1 + (2\theta - 1)(2\theta' - 1) \le 1$. So the
# capital does not grow on average, whatever the past: it is a *supermartingale*. Ville's inequality (1939) says that a
# supermartingale that is never negative and starts at 1 *ever* reaches $1/\alpha$ with probability at most $\alpha$. So
# stop at $1/\alpha$: no more than a share $\alpha$ of the good versions is ever rolled back, however often we look.
#
# Which $\theta'$? Spread the stake evenly over all of $(\frac12, 1)$, and average what the bets are worth. After $k$
# pairs that differ, $s$ of them failures of the new version,
#
# $$E_k = \int_{1/2}^{1} 2\, (2\theta')^{s}\, (2 (1 - \theta'))^{k - s}\, d\theta'
# = 2^{k+1}\, \mathrm{B}(s + 1, k - s + 1)\; P(\text{Bin}(k + 1, \tfrac12) \le s) ,$$
#
# where $\mathrm{B}$ (upright; not the largest batch) is the beta function. The last factor is the share of the beta
# density that lies above $\frac12$: of $k + 1$ independent uniform numbers, the one of rank $s + 1$ has this density,
# and it is above $\frac12$ exactly if at most $s$ of the numbers are below. $E_k$ is called an **e-value** (a mixture
# of bets is again a fair bet). The power $2^{k+1}$ and the beta function leave the range of floats near $k = 1000$, so
# compute with logarithms.


# %% exercise="canary" points=3 minutes=15 trains=["sequential tests"]
def canary(failed: np.ndarray, alpha: float, most: int) -> tuple[str, int]:
    """Decide on a new version, with a look after every pair.

    failed: shape (n, 2), bool, n >= 0, in order of time: did the old version fail (column 0), did the
      new one (column 1)? Not modified. alpha: from 1e-9 to 0.5. most: >= 1. n may be 10^6.

    The pairs come one by one. After each of them, with k the pairs so far whose two entries differ
    and s those of them in which the new version failed, the evidence is
      E = 2^(k+1) * B(s + 1, k - s + 1) * P(Bin(k + 1, 1/2) <= s), computed so that it does not overflow;
      without any pair that differs, 1.
    If E >= 1 / alpha: ("rollback", number of pairs so far, this one and equal ones included).
    Otherwise, if this was pair number `most`: ("promote", most). Pairs after a decision have no
    influence. If the pairs end before any decision: ("continue", n).

    Returns (decision, used): a str and a Python int. (Where E is within 1e-6 of 1 / alpha, relatively,
    either answer is right.)
    """
    ### BEGIN SOLUTION
    seen = failed[:most]
    differ = np.flatnonzero(seen[:, 0] != seen[:, 1])
    s, k = np.cumsum(seen[differ, 1]), np.arange(1, len(differ) + 1)
    with np.errstate(divide="ignore"):
        below = np.log(scipy.special.bdtr(s, k + 1, 0.5))
    evidence = (k + 1) * math.log(2) + scipy.special.betaln(s + 1, k - s + 1) + below
    alarms = np.flatnonzero(evidence >= -math.log(alpha))
    if len(alarms):
        return "rollback", int(differ[alarms[0]]) + 1
    return ("promote", most) if len(failed) >= most else ("continue", len(failed))
    ### END SOLUTION


# %% [markdown] hints="canary"
# <details><summary>Hint 1: which pairs?</summary>
#
# Only rows with `failed[:, 0] != failed[:, 1]` change the evidence. All rows count for `most` and for the number that
# you return. Cut the array at `most` first.
# </details>
# <details><summary>Hint 2: logarithms</summary>
#
# `scipy.special.betaln(a, b)` is the logarithm of the beta function, `scipy.special.bdtr(s, k + 1, 0.5)` the
# probability $P(\text{Bin}(k + 1, \frac12) \le s)$. Compare $\ln E$ with $-\ln\alpha$. Where the new version is much
# better, the probability is 0 in floats and its logarithm $-\infty$: no evidence, as it should be.
# </details>
# <details><summary>Hint 3: all at once</summary>
#
# `s = np.cumsum(new failed, among the differing rows)` and `k = 1, 2, ...` are arrays, and so is the evidence. The
# first place at which it reaches $-\ln\alpha$ decides; `differ[place] + 1` pairs were used.
# </details>

# %% check="canary"
with check("canary"):

    def pairs(text):  # "n": only the new one failed, "o": only the old one, "=": both, ".": none
        return np.array([[c in "o=", c in "n="] for c in text], bool).reshape(len(text), 2)

    # s = k: E = 2^(k+1) * 1 / (k + 1) * (1 - 2^-(k+1)) = (2^(k+1) - 1) / (k + 1): 1.5, 2.33, 3.75, 6.2, 10.5, 18.1, 31.9
    expect_close(canary(pairs("nnnnnnnn"), 0.1, 100)[1], 5, hint="E reaches 10 at the fifth pair that differs")
    assert canary(pairs("nnnnnnnn"), 0.1, 100)[0] == "rollback", "E >= 10: rollback"
    got = canary(pairs("n.=n.=n.=n.=n.="), 0.1, 100)
    assert got == ("rollback", 13), f"equal pairs change no evidence, and are counted as used: {got}"
    assert canary(pairs("nnnn....n"), 0.1, 8) == ("promote", 8), "no alarm among the first 8: promote"
    assert canary(pairs("nnnn....n"), 0.1, 9) == ("rollback", 9), "the alarm at pair number `most` comes first"
    assert canary(pairs("nnnn"), 0.1, 9) == ("continue", 4), "no decision yet"
    assert canary(pairs("ooooooooo"), 0.1, 50) == ("continue", 9), "failures of the old version are no alarm"
    # k = 3, s = 2: E = 2^4 * (2! 1! / 4!) * P(Bin(4, 1/2) <= 2) = 16 / 12 * 11 / 16 = 0.917; k = 4, s = 3: 1.3;
    # k = 5, s = 4: 64 / 30 * 57 / 64 = 1.9; k = 6, s = 5: 2.857142...
    assert canary(pairs("onnnnn"), 1 / 2.85, 99) == ("rollback", 6), "E = 2.857 after one o and five n"
    assert canary(pairs("onnnnn"), 1 / 2.86, 99) == ("continue", 6), "E = 2.857 after one o and five n"
    long = canary(np.tile(pairs("no"), (5000, 1)), 0.05, 20_000)
    assert long == ("continue", 10_000), f"10,000 pairs: no overflow, and no alarm: {long}"
    assert canary(np.zeros((0, 2), bool), 0.1, 5) == ("continue", 0), "no pairs at all"

# %% [markdown]
# Two versions that are equally good: each fails in 10% of the requests, independently. We look once a day, after every
# 200 pairs, and ask in the left panel which share of such pairs of versions has *ever* raised an alarm. The $z$-test of
# the difference (one-sided, 5%) is right at its first look, up to chance. Then the share grows with every look. The evidence of your
# `canary` stays below 5%, up to chance (the bands are one standard error), although it is looked at after each pair.
# The right panel shows how many pairs it takes to stop a version that is really worse, on average. The dotted line is a
# $z$-test with one look, planned by somebody who knew the true difference $\delta$ beforehand. If a share $v$ of the
# pairs differs, it takes $(1.645 + 0.84)^2\, v / \delta^2$ pairs for 5% false alarms (the quantile 1.645) and a power
# of 80% (0.84). The worse the version, the earlier it is stopped: the number of pairs grows like one over the square of
# the difference, a slope near $-2$.

# %% tags=["demo"]
runs, looks, each, alpha = demo_size(full=400, small=60), 40, 200, 0.05
rng = np.random.default_rng(8)
z_alarms, e_alarms = np.zeros((runs, looks), bool), np.zeros((runs, looks), bool)
for run in range(runs):
    failed = rng.random((looks * each, 2)) < 0.1
    k = np.cumsum(failed[:, 0] != failed[:, 1])[each - 1 :: each]
    s = np.cumsum(failed[:, 1] & ~failed[:, 0])[each - 1 :: each]
    z_alarms[run] = (2 * s - k) / np.sqrt(np.maximum(k, 1)) > 1.645
    decision, used = canary(failed, alpha, looks * each)
    if decision == "rollback":
        e_alarms[run, (used - 1) // each :] = True
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
for name, alarms, colour in (("z-test every day", z_alarms, 1), ("e-value, every pair", e_alarms, 0)):
    share = np.mean(np.maximum.accumulate(alarms, axis=1), axis=0)
    error = np.sqrt(share * (1 - share) / runs)
    left.plot(np.arange(1, looks + 1), share, color=plotting.COLOURS[colour], label=name)
    left.fill_between(np.arange(1, looks + 1), share - error, share + error, color=plotting.COLOURS[colour], alpha=0.2)
    print(f"{name}: {share[0]:.1%} false alarms after one day, {share[-1]:.1%} after {looks}")
left.axhline(alpha, color="#222222", linestyle=":", label="5%")
left.set(
    xlabel="day", ylabel="share that ever raised an alarm", title="Daily looks at p raise false alarms", ylim=(0, 0.5)
)
left.legend(loc="upper left")
worse = np.array([0.02, 0.03, 0.05, 0.08, 0.13, 0.2])
needed = []
for extra in worse:
    used = [canary(rng.random((60_000, 2)) < [0.1, 0.1 + extra], alpha, 60_000)[1] for _ in range(max(10, runs // 10))]
    needed.append(np.mean(used))
slope = np.polyfit(np.log(worse), np.log(needed), 1)[0]
right.loglog(worse, needed, marker="o", label=f"pairs until the roll-back, mean; slope {slope:.1f}")
p_old, p_new = 0.1, 0.1 + worse
spread = p_old * (1 - p_new) + p_new * (1 - p_old)  # share of pairs that differ
right.loglog(
    worse, (1.645 + 0.84) ** 2 * spread / worse**2, color="#222222", linestyle=":", label="one planned look, power 80%"
)
right.set_xticks(worse, [f"{extra:.0%}" for extra in worse])
right.minorticks_off()
right.set(
    xlabel="how much more often the new version fails", ylabel="pairs", title="The worse it is, the sooner it stops"
)
right.legend(loc="upper right")
plt.show()

# %% [markdown]
# ### 24.8 `replicas` · important · level 2 of 4 · 10 min
#
# How many machines? Little's law gives the load: with $\lambda$ requests a second and $W$ seconds for each, $L =
# \lambda W$ requests are inside at any time, and each needs a place. What a single replica bears, we know from the
# queue: at a utilisation of 0.6 a request waits $0.6 / (2 \cdot 0.4) = 0.75$ service times, at 0.9 it is 4.5. So the
# **target** is well below 1, and the rest is room for bursts, until new replicas have started.
#
# An **autoscaler** measures the mean load $x$ of a replica, and wants it at the target. $R$ replicas share a load of
# $R x$ in all, so $R x / \text{target}$ of them are needed. Kubernetes' autoscaler uses this rule with three cautions.
# Within 10% of the target it does nothing, or noise would move it. It scales up at once, since users wait. It scales
# down only if it would have wanted fewer during the whole last window, since a replica that was removed too early costs
# a start.


# %% exercise="replicas" points=2 minutes=10 trains=["autoscaling"]
def replicas(current: int, metric: float, target: float, low: int, high: int, recent: list[int]) -> int:
    """How many replicas shall run now: the rule of Kubernetes' autoscaler.

    current: >= 1, how many run. metric: >= 0, mean load of a replica, measured. target: > 0, what it
      should be. low, high: 1 <= low <= high. recent: what was wanted before, during the last window
      (any number of ints, in any order, maybe none); not modified.

    1. ratio = metric / target. Wanted are `current` if |ratio - 1| <= 0.1, else current * ratio,
       rounded up. (Values at which rounding errors would decide are not used.)
    2. If wanted is less than current: it becomes the largest of wanted and all of `recent`, and at
       most current. Otherwise `recent` plays no part.
    3. At least low, at most high.

    Returns a Python int.
    """
    ### BEGIN SOLUTION
    ratio = metric / target
    wanted = current if abs(ratio - 1) <= 0.1 else math.ceil(current * ratio)
    if wanted < current:
        wanted = min(current, max([wanted, *recent]))
    return int(min(max(wanted, low), high))
    ### END SOLUTION


# %% [markdown] hints="replicas"
# <details><summary>Hint 1</summary>
#
# Follow 1, 2, 3 of the docstring, one line for each. `math.ceil` rounds up.
# </details>
# <details><summary>Hint 2</summary>
#
# In step 2, `max([wanted, *recent])` also works for an empty list. Then `min(current, ...)`: caution slows down the way
# down, and never adds replicas.
# </details>

# %% check="replicas"
with check("replicas"):
    expect_close(replicas(4, 96.0, 64.0, 1, 20, []), 6, hint="4 * 1.5 = 6")
    expect_close(
        replicas(5, 80.0, 64.0, 1, 20, []),
        7,
        hint="5 * 1.25 = 6.25, rounded up",
        mistakes={"It was rounded to the nearest: 6 replicas are too few for 6.25.": 6},
    )
    expect_close(replicas(10, 69.0, 64.0, 1, 20, []), 10, hint="within 10% of the target nothing changes")
    expect_close(replicas(10, 32.0, 64.0, 1, 20, []), 5, hint="no recent wishes: down at once")
    expect_close(
        replicas(10, 32.0, 64.0, 1, 20, [7, 8, 6]),
        8,
        hint="down only to the largest that was wanted recently",
        mistakes={"It went down at once.": 5, "It took the latest wish.": 6},
    )
    expect_close(replicas(10, 32.0, 64.0, 1, 20, [15]), 10, hint="a recent wish does not add replicas now")
    expect_close(replicas(4, 96.0, 64.0, 1, 20, [3, 15]), 6, hint="on the way up, `recent` plays no part")
    expect_close(replicas(10, 0.0, 64.0, 2, 20, []), 2, hint="at least low")
    expect_close(replicas(10, 640.0, 64.0, 2, 20, []), 20, hint="at most high")

# %% [markdown]
# Now everything together, for the day with which the module began, its rates scaled up 24 times. A replica serves one
# request in 50 ms. Each minute the autoscaler sees the mean number of busy places of a replica, $x = \lambda W / R$,
# and wants 0.6; a replica that it adds works one minute later. Of each quarter of an hour we simulate the fullest
# minute, from an empty queue. Requests go to the replicas in turn, your `dynamic_batches` serves them, and p99 comes
# from your `LatencyHistogram`, merged over all replicas. In the shadow runs a new version, which fails in 6% of the
# requests, where the old one fails in 4%.

# %% tags=["demo"]
SERVICE, TARGET, factor = 0.05, 0.6, 24.0
rng = np.random.default_rng(11)
asked_for = factor * day.intensity(np.arange(1440) * 60.0 + 30)  # requests in a second, minute by minute
running, wishes, history = 4, [], []
for minute in range(1440):
    history.append(running)
    busy = asked_for[minute] * SERVICE / running
    wanted = replicas(running, busy, TARGET, 2, 60, wishes[-10:])
    wishes.append(replicas(running, busy, TARGET, 2, 60, []))
    running = wanted
history = np.array(history)
part = demo_size(full=60, small=15)  # seconds that are simulated of each minute
bounds, tails, fullest = np.geomspace(0.05, 200, 50), [], []
for quarter in range(0, 1440, 15):
    minute = quarter + int(np.argmax((asked_for / history)[quarter : quarter + 15]))  # the fullest of this quarter
    fullest.append(minute / 60)
    arrivals = np.sort(part * rng.random(rng.poisson(part * asked_for[minute])))
    total = LatencyHistogram(bounds)
    for replica in range(history[minute]):
        mine = arrivals[replica :: history[minute]]
        _, finish, _ = dynamic_batches(mine, np.array([SERVICE]), 0.0, math.inf)
        one = LatencyHistogram(bounds)
        one.observe(finish - mine)
        total = total.merge(one)
    tails.append(total.quantile(0.99))
shadow = day.time[:: demo_size(full=20, small=10)]  # a share of the requests goes to both versions
pairs = rng.random((len(shadow), 2)) < [0.04, 0.06]
decision, used = canary(pairs, 0.01, 10_000)
figure, (top, bottom) = plt.subplots(2, 1, figsize=(11, 6.4), sharex=True)
hours = np.arange(1440) / 60
top.plot(
    hours, asked_for * SERVICE, color="#999999", linewidth=0.9, linestyle="-", label="busy places that are needed (λW)"
)
top.step(hours, history, color=plotting.COLOURS[0], linestyle="-", label="replicas that run")
top.set(ylabel="replicas", title="Up at once, down with caution", ylim=(0, 1.45 * history.max()))
top.legend(loc="upper left")
bottom.semilogy(fullest, tails, color=plotting.COLOURS[1], label="p99, all replicas merged")
when = shadow[used - 1] / 3600
bottom.axvline(when, color="#222222", linestyle="--", label=f"canary: {decision} after {used:,} pairs")
bottom.set(
    xlabel="hour of the day",
    ylabel="p99, seconds",
    title="A burst is faster than a new replica",
    ylim=(0.5 * min(tails), 8 * max(tails)),
    xlim=(0, 24),
)
bottom.legend(loc="upper right")
plt.show()
changes = int(np.sum(np.diff(history) != 0))
print(
    f"{changes} changes of the number of replicas in a day; {history.mean():.1f} run on average, {history.max()} at most"
)
print(f"p99: {np.median(tails):.2f} s in the median quarter, {np.max(tails):.2f} s in the worst")

# %% [markdown]
# ### 24.9 `manifest_problems` · optional · level 1 of 4 · 15 min
#
# All of this is written down for a cluster in **manifests**, documents of nested dictionaries. A Kubernetes
# *Deployment* keeps a number of equal replicas (pods) running, and its pods carry labels. A *Service* is the address in
# front of them: it sends to all pods that have the labels of its selector. A *PodDisruptionBudget* says how many pods
# must stay while machines are emptied for repair. A schema finds a misspelt field. But four mistakes, all of them valid
# documents, can take a service down:
#
# - the selector of a Service or a budget matches no pod (the address leads nowhere);
# - a Service sends to a port that no container declares (a name then leads nowhere; a number is at best undocumented);
# - a container has no limit of memory, so one leak takes the memory of all others on its machine;
# - a budget that allows no eviction at all, and the machine can never be emptied.


# %% exercise="manifest_problems" points=1 minutes=15 trains=["manifests of a cluster"]
def manifest_problems(documents: list[dict]) -> list[tuple[str, str]]:
    """What a schema lets pass: (name, code) of each problem, each once, sorted. name: metadata.name.

    documents: Kubernetes objects of one namespace, all valid; not modified. Kinds (entry "kind") other
      than these three are ignored:
    - Deployment. Its pods: spec.replicas of them (1 where absent), with the labels
      spec.template.metadata.labels and the containers spec.template.spec.containers.
    - Service: spec.selector, a dict of labels, at least one; spec.ports, a list.
    - PodDisruptionBudget: spec.selector.matchLabels, a dict of labels, at least one; and either
      spec.minAvailable or spec.maxUnavailable, an int.
    A selector matches a Deployment if all its pairs are among the labels of its pods.

    (service or budget, "selector"): its selector matches no Deployment.
    (service, "port"): it matches, and one of its ports leads nowhere: the target (entry "targetPort",
      an int or a str; where absent, entry "port") is the containerPort (an int) or the name (a str) of
      no port in the containers of the matched Deployments, all together. A container's "ports", and
      a port's "name", may be absent.
    (deployment, "memory"): a container has no entry resources.limits.memory; each of these three may
      be absent.
    (budget, "budget"): it matches, and minAvailable is at least the number of pods of the matched
      Deployments together, or maxUnavailable is 0.
    """
    ### BEGIN SOLUTION
    deployments = [document for document in documents if document["kind"] == "Deployment"]
    problems = set()

    def matched(selector):
        templates = [(one["spec"], one["spec"]["template"]["metadata"]["labels"]) for one in deployments]
        return [spec for spec, labels in templates if selector.items() <= labels.items()]

    def containers(specs):
        return [container for spec in specs for container in spec["template"]["spec"]["containers"]]

    for document in documents:
        kind, name, spec = document["kind"], document["metadata"]["name"], document.get("spec", {})
        if kind == "Deployment":
            limits = [one.get("resources", {}).get("limits", {}) for one in containers([spec])]
            if not all("memory" in limit for limit in limits):
                problems.add((name, "memory"))
        elif kind == "Service":
            found = matched(spec["selector"])
            ports = [port for one in containers(found) for port in one.get("ports", [])]
            opened = {port["containerPort"] for port in ports} | {port.get("name") for port in ports}
            if not found:
                problems.add((name, "selector"))
            elif not all(port.get("targetPort", port["port"]) in opened for port in spec["ports"]):
                problems.add((name, "port"))
        elif kind == "PodDisruptionBudget":
            found = matched(spec["selector"]["matchLabels"])
            pods = sum(one.get("replicas", 1) for one in found)
            if not found:
                problems.add((name, "selector"))
            elif spec.get("minAvailable", 0) >= pods or spec.get("maxUnavailable", 1) == 0:
                problems.add((name, "budget"))
    return sorted(problems)
    ### END SOLUTION


# %% [markdown] hints="manifest_problems"
# <details><summary>Hint 1: labels</summary>
#
# `selector.items() <= labels.items()` asks whether all pairs of one dictionary are in the other. Collect the
# Deployments first: they may stand after the Service that selects them.
# </details>
# <details><summary>Hint 2: what may be absent</summary>
#
# `container.get("resources", {}).get("limits", {})` gives an empty dictionary where nothing is there. For a port:
# `port.get("targetPort", port["port"])`. Take numbers from `containerPort` and texts from `name`. Collect the problems
# in a set, and return it sorted.
# </details>

# %% check="manifest_problems"
with check("manifest_problems"):

    def deployment(name, labels, replicas, limits, ports):
        box = {"name": "main", "image": "m:1", "resources": {"limits": limits}, "ports": ports}
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [box]}}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
        about = {"name": name, "labels": {"team": "models"}}  # its own labels are not those of its pods
        return {"kind": "Deployment", "metadata": about, "spec": spec}

    def service(name, selector, **port):
        return {"kind": "Service", "metadata": {"name": name}, "spec": {"selector": selector, "ports": [port]}}

    def budget(name, labels, **rule):
        spec = {"selector": {"matchLabels": labels}, **rule}
        return {"kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec}

    web = deployment(
        "web", {"app": "web", "tier": "a"}, 3, {"memory": "1Gi"}, [{"containerPort": 8000, "name": "http"}]
    )
    fine = [service("s", {"app": "web"}, port=80, targetPort="http"), web, budget("b", {"app": "web"}, minAvailable=2)]
    with expect_unchanged(fine=fine):
        got = manifest_problems(fine)
    assert got == [], f"nothing is wrong with these: {got}"
    bad = [
        budget("b1", {"app": "web"}, minAvailable=3),
        budget("b2", {"app": "web"}, maxUnavailable=0),
        service("s1", {"app": "wbe"}, port=80, targetPort=8000),
        service("s2", {"app": "web"}, port=80),
        service("s3", {"app": "web", "tier": "b"}, port=8000),
        deployment("d", {"app": "other"}, 1, {"cpu": "2"}, []),
        {"kind": "ConfigMap", "metadata": {"name": "c"}},
    ]
    expected = [
        ("b1", "budget"),
        ("b2", "budget"),
        ("d", "memory"),
        ("s1", "selector"),
        ("s2", "port"),
        ("s3", "selector"),
    ]
    got = manifest_problems([*bad, *fine])
    assert got == expected, f"expected {expected}, got {got}"

# %% [markdown]
# ## Scale it
#
# ### Real requests
#
# Your `ModelServer` now answers on this machine, behind uvicorn and the adapter. The model is a network with two layers
# of 3,000 units, whose weights (72 MB) are read from memory for each batch. First we measure how long a batch takes,
# then we send requests. The load is **open**: requests are sent at random times that were drawn beforehand, whatever
# becomes of the earlier ones, and a latency counts from the moment at which the request was due. A **closed** loop,
# which waits for an answer before it sends the next request, slows down with the server: while the server hangs, it
# sends nothing, and its p99 is the latency of a service that nobody waits for.
#
# Three servers: yours with batches of 1, yours with batches of up to 16, and FastAPI with the endpoint of its
# tutorial, one row a call. All have the same model and one thread for it. The rates are a part and a multiple of what a
# server without batches can do at best, by the measured time of a single row. Everything runs on the same cores, the
# load generator included (it is a process of its own), so take differences of a factor, not of a percent.


# %% tags=["demo"]
class Network:
    """Two layers with a tanh between them; all weights are read once for each batch."""

    def __init__(self, width=32, units=3000, seed=0):
        rng = np.random.default_rng(seed)
        self.first, self.last = rng.standard_normal((width, units)), rng.standard_normal(units)
        self.middle = rng.standard_normal((units, units)) / units**0.5

    def __call__(self, rows):
        return np.tanh(np.tanh(rows @ self.first) @ self.middle) @ self.last


network = Network()
rng = np.random.default_rng(0)


def seconds_for(size):
    rows, best = rng.standard_normal((size, 32)), math.inf
    for _ in range(5):
        began = time.perf_counter()
        network(rows)
        best = min(best, time.perf_counter() - began)
    return best


single, sixteen = seconds_for(1), seconds_for(16)
print(
    f"one row: {seconds_text(single)}; a batch of 16: {seconds_text(sixteen)}, {sixteen / 16 / single:.2f} of it for each row"
)


def fastapi_app():
    """FastAPI with one endpoint, as its tutorial has it; None where FastAPI is missing."""
    fastapi = engines.library("fastapi")
    if fastapi is None:
        return None
    from pydantic import create_model

    body = create_model("Row", x=(list[float], ...))
    app = fastapi.FastAPI()

    async def predict(row):
        return {"y": float(network(np.array([row.x]))[0]), "version": "v1"}

    predict.__annotations__ = {"row": body}
    app.post("/v1/predict")(predict)
    return app


def served(max_batch, capacity=64, latency=None, pause=0.0):
    """Your server with the network as v1, in the adapter."""
    server = ModelServer(capacity, max_batch)
    server.load("v1", network, 32)
    server.promote("v1")
    return Adapter(server, latency, pause)


def under_load(port, rate, seconds, seed=0):
    """Open-loop load with random arrivals: (answered a second, p50, p99 of the admitted, share of 429, no answer).

    A request without an answer 8 s after the end counts as one that took for ever.
    """
    rng = np.random.default_rng(seed)
    due = np.cumsum(rng.exponential(1 / rate, int(rate * seconds))).tolist()
    rows = rng.standard_normal((16, 32)).round(4).tolist()
    requests = [("/v1/predict", json.dumps({"x": row}).encode()) for row in rows]
    sent = serving.load(port, due, requests, connections=400, seconds=seconds + 8)
    took = np.array([one.done - one.due if one.status == 200 else math.inf for one in sent if one.status != 429])
    answered = [one.done for one in sent if one.status == 200]
    p50, p99 = np.quantile(took, [0.5, 0.99], method="lower") if len(took) else (math.inf, math.inf)
    refused = np.mean([one.status == 429 for one in sent])
    return (
        len(answered) / max(answered, default=1.0),
        p50,
        p99,
        refused,
        len(sent) - len(answered) - round(refused * len(sent)),
    )


rows, seconds = [], demo_size(full=12, small=7) / 10
competitors = [
    ("yours, one by one", served(1), (0.3, 1.5)),
    ("yours, up to 16", served(16), (0.3, 1.5)),
    ("the same, waits 5 ms", served(16, pause=0.005), (0.3,)),
    ("FastAPI, one by one", fastapi_app(), (0.3, 1.5)),
]
for name, app, loads in competitors:
    if app is None:
        continue
    with serving.serve(app) as port:
        if port is None:
            break
        for load in loads:
            rate = min(load / single, 800)
            answered, p50, p99, refused, lost = under_load(port, rate, seconds)
            times = (f"{1000 * p50:.1f}", f"{1000 * p99:.1f}")
            asked = (f"{rate:.0f}", f"{rate * single:.0%}")
            rows.append((name, *asked, f"{answered:.0f}", *times, f"{refused:.0%}", str(lost)))
Table(
    ("server", "requests a second", "of one by one", "answered a second", "p50, ms", "p99, ms", "429", "no answer"),
    rows,
    numeric=(1, 2, 3, 4, 5, 6, 7),
)

# %% [markdown]
# The third column is the rate as a share of what one by one can do at best, without HTTP. Read the lines in which it is
# above 100%. One by one, the server cannot do it, so its queue of 64 is full: who is admitted waits for 64 others, and
# the rest is told at once to come again (429). With batches the same machine answers more, since a batch of 16 costs
# much less than 16 rows. To wait 5 ms for a batch to fill helps nobody at this low rate: whoever comes while the model
# works waits anyway, and so batches fill by themselves when they are needed. FastAPI, as its tutorial starts it,
# refuses nobody: its queue has no end, so its latency grows for as long as the load lasts. (uvicorn's option
# `limit_concurrency` would refuse with 503.) What FastAPI does better is not in this table: types, documentation,
# validation with exact messages, authentication. It can be put in front of a batching queue, and this is what real
# servers do.
#
# How large should the batch be? The next figure sends the same overload to your server with batches of up to 1 to 16.
# The throughput grows until the arithmetic, not the reading of weights, takes the time. p99 falls with it. The dotted
# line is Little's law: the queue of 64 is nearly always full, so an admitted request waits on average for 64 /
# throughput seconds, and p99 lies above this mean.

# %% tags=["demo"]
sizes, throughput, tail = [1, 2, 4, 8, 16], [], []
for size in sizes:
    with serving.serve(served(size)) as port:
        if port is None:
            break
        answered, _, p99, _, _ = under_load(port, min(3 / single, 800), demo_size(full=10, small=5) / 10, seed=size)
        throughput.append(answered)
        tail.append(p99)
if throughput:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    left.plot(sizes, throughput, marker="o")
    left.set(xlabel="largest batch", ylabel="answers in a second", title="Larger batches answer more", ylim=(0, None))
    right.plot(sizes, tail, marker="o", color=plotting.COLOURS[1], label="p99")
    right.plot(sizes, 64 / np.array(throughput), color="#222222", linestyle=":", label="64 / throughput")
    right.legend(loc="upper right")
    right.set(xlabel="largest batch", ylabel="p99, seconds", title="A full queue passes sooner", ylim=(0, None))
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, [str(size) for size in sizes])
    plt.show()

# %% [markdown]
# ### A real Prometheus
#
# Now a real Prometheus, the program that clusters run, fetches `/metrics` of your server each second while requests
# come. Its function `histogram_quantile` must answer what your `quantile` answers, and `promtool`, its checker, must
# accept your text. Both get the same counts: we wait until the scraped count has caught up. Prometheus needs some
# seconds for its first scrape.

# %% tags=["demo"]
latency = LatencyHistogram([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5])
rows, pages = [], ""
with serving.serve(served(16, latency=latency)) as port:
    if port is not None:
        with serving.prometheus({"model": port}, interval=1.0) as watcher:
            answered, p50, p99, refused, lost = under_load(port, min(0.5 / single, 300), 1.0)
            total = float(latency.exposition("a", {}).split()[-1])
            if watcher is not None and watcher.wait("http_seconds_count", total):
                for q in (0.5, 0.9, 0.99, 0.999):
                    theirs = watcher.number(f"histogram_quantile({q}, http_seconds_bucket)")
                    rows.append((f"{q:g}", repr(latency.quantile(q)), repr(theirs)))
                waited = watcher.number("model_requests_total{status='200'}")
                print(f"ready in {watcher.ready_seconds:.2f} s; it has seen {waited:.0f} answers with status 200")
                print(f"sorted latencies at the client: p50 {p50:.4f} s, p99 {p99:.4f} s")
            pages = serving.get(port, "/metrics")[2].decode()
found = serving.check_metrics(pages) if pages else None
if found is not None:
    print(f"promtool: {found or 'the text is accepted'}")
gaps = [abs(float(mine) - float(theirs)) for _, mine, theirs in rows]
Table(("q", "your quantile, s", "histogram_quantile, s"), rows, numeric=(0, 1, 2))

# %% [markdown]
# Equal but for rounding, and different from the sorted latencies at the client. Two reasons, and you have met both: the
# buckets, and a clock that starts in the server, after the connection and the queue of the network.

# %% [markdown] written="silent_alert" points=2
# **In words** (2 points, 15 minutes). The alert "p99 above 1 s" has been silent all week, and users complain that pages
# take ten seconds. The code that raises the alert works. Name three ways in which p99 may have been measured wrongly,
# and say for each why the number comes out too low.
#
# ### BEGIN SOLUTION
# (1) p99 was computed on each machine and averaged: one slow machine of forty barely moves the mean, though all its
# users wait. (2) The bounds of the histogram end below the latency (or at 1 s): everything in the bucket +Inf is
# reported as the highest bound, which is not above 1 s. (3) The clock starts when the handler starts: the time in the
# queue before it is not measured, and under load this is most of it. (4) Requests that were dropped, timed out or
# refused are not in the histogram: it holds only those that were answered. (5) The load generator waits for each
# answer before it sends the next (closed loop): while the server hangs, no requests are sent, and the slow time has a
# single sample. (6) A page needs many requests, and p99 of a request is not p99 of a page. (7) A mean over a long
# window, or fast health checks counted together with the slow requests, hides the slow ones.
#
# ### RUBRIC
# - 0.5: Names one way that makes the number too low, such as averaging p99 over machines, bounds that end too early, a clock that starts after the queue, lost or refused requests left out, closed-loop load, health checks mixed in, or pages of many requests.
# - 0.5: Names a second such way.
# - 0.5: Names a third such way.
# - 0.5: Says for at least two of them why the number is too low (for instance, the bucket +Inf answers its highest finite bound).
# ### END SOLUTION

# %% [markdown]
# ### Fixed buckets, or a sketch?
#
# Bounds must be chosen before the first value. Sketches (module 16) choose for themselves: a KLL sketch has a bounded
# error of the *rank* (and draws at random, so its line differs from run to run), a t-digest (Dunning and Ertl, 2019)
# keeps more detail at both ends than in the middle. Both merge. We give the same latencies to all of them. Look at the
# bytes, at the errors, and at what happens to a histogram whose bounds were made for another service.

# %% tags=["demo"]
rng = np.random.default_rng(2)
n = demo_size(full=1_000_000, small=100_000)
values = np.exp(rng.normal(-3, 1, n))
exact = np.quantile(values, [0.5, 0.99, 0.999])
rows = []


def line(name, estimates, size, took):
    errors = [f"{abs(mine / true - 1):.2%}" for mine, true in zip(estimates, exact, strict=True)]
    rows.append((name, *errors, bytes_text(size), seconds_text(took)))


for name, bounds in (
    ("histogram, 60 bounds", np.geomspace(0.001, 60, 60)),
    ("made for slow jobs", np.geomspace(0.1, 600, 60)),
):
    began = time.perf_counter()
    parts = []
    for half in np.split(values, 2):
        part = LatencyHistogram(bounds)
        part.observe(half)
        parts.append(part)
    merged = parts[0].merge(parts[1])
    line(name, [merged.quantile(q) for q in (0.5, 0.99, 0.999)], 8 * (2 * len(bounds) + 2), time.perf_counter() - began)
sketches = engines.library("datasketches")
if sketches is not None:
    for name, make in (
        ("KLL", lambda: sketches.kll_floats_sketch(200)),
        ("t-digest", lambda: sketches.tdigest_double(100)),
    ):
        began = time.perf_counter()
        parts = []
        for half in np.split(values, 2):
            part = make()
            part.update(half.astype(np.float32) if name == "KLL" else half)
            parts.append(part)
        parts[0].merge(parts[1])
        estimates = [parts[0].get_quantile(q) for q in (0.5, 0.99, 0.999)]
        line(f"{name} (datasketches)", estimates, len(parts[0].serialize()), time.perf_counter() - began)
Table(("two halves, merged", "error of p50", "of p99", "of p99.9", "bytes", "time"), rows, numeric=(1, 2, 3, 4, 5))

# %% [markdown]
# With bounds that fit, the histogram's errors are those of the t-digest in size, in fewer bytes. KLL bounds the error
# of the rank: in the far tail a small error of the rank is a large one of the value. With bounds that do not fit, its
# error is that of a bucket, and nothing in its answer says so. So sketches win where nobody knows the range beforehand.
# The histogram wins where many machines are added up on a dashboard, over any window of time: its counts can be
# subtracted, so "the last five minutes" is the difference of two scrapes. KLL and t-digest cannot do that. (Prometheus
# has "native" histograms by now, with buckets that grow by a constant factor: no bounds to choose, and counts all the
# same.)
#
# ### Drift, value by value
#
# `drift` compares two samples. A detector in a stream has to find the moment. river's ADWIN keeps a window of recent
# values, and drops its older part whenever two parts of it differ by more than chance allows. Below, a latency shifts
# once, by half a standard deviation. The same question, asked by your `drift` once in 200 values, with the last 400
# values against the first 400.

# %% tags=["demo"]
change, length = 2000, 4000
rng = np.random.default_rng(4)
series = rng.standard_normal(length) + 0.5 * (np.arange(length) >= change)
alarms = []
for end in range(800, length + 1, 200):
    if drift(series[:400], series[end - 400 : end])["p"] < 0.001:
        alarms.append(end)
print(
    f"the change is at {change}; your drift (p < 0.001, every 200): first alarm at {alarms[0] if alarms else 'no time'}"
)
river = engines.library("river.drift")
if river is not None:
    for name, detector in (("ADWIN", river.ADWIN()), ("Page-Hinkley", river.PageHinkley())):
        found = []
        for place, value in enumerate(series.tolist()):
            detector.update(value)
            if detector.drift_detected:
                found.append(place)
        print(f"river's {name}: alarms at {found if found else 'no time'}")

# %% [markdown]
# ADWIN needs no reference and no hour at which to look. Page-Hinkley, with its default threshold, also raises alarms
# where nothing changes: a detector has a rate of false alarms, whether its documentation tells it or not.
#
# ### Manifests
#
# Kubernetes checks each document against its schema before it takes it. The definitions of Kubernetes 1.37 come with
# `lsml_utils` (without their descriptions), so the same check runs here. The table shows what the schema says
# of each document, and what your `manifest_problems` says.

# %% tags=["demo"]
labels = {"app": "model"}
box = {
    "name": "server",
    "image": "registry.example/model:2",
    "ports": [{"name": "http", "containerPort": 8000}],
    "resources": {"requests": {"memory": "1Gi", "cpu": "1"}, "limits": {"memory": "1Gi"}},
    "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}},
    "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
}
pod = {"metadata": {"labels": labels}, "spec": {"containers": [box]}}
good = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "model"},
    "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": pod},
}


def address(name, **spec):
    spec = {"selector": labels, "ports": [{"port": 80, "targetPort": "http"}]} | spec
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def disruption(name, **rule):
    spec = {"selector": {"matchLabels": labels}, **rule}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec}


documents = [
    good,
    address("fine"),
    address("misspelt", selektor=labels),
    address("wrong-type", ports=[{"port": "80", "targetPort": "http"}]),
    address("nobody", selector={"app": "modle"}),
    address("closed", ports=[{"port": 80}]),
    disruption("two-stay", minAvailable=2),
    disruption("all-stay", minAvailable=3),
]
mine, rows = dict(manifest_problems(documents)), []
for document in documents:
    name, schema = document["metadata"]["name"], manifests.schema_problems(document)
    rows.append((name, schema[0] if schema else "valid", mine.get(name, "no problem")))
Table(("document", "Kubernetes' schema", "manifest_problems"), rows)

# %% [markdown]
# The two find different things, and neither finds the other's. A schema looks at one document, and what takes a service
# down lies between two of them.
#
# **Where it breaks.** One process has one event loop: while `step` runs the model, no request is even refused. Real
# servers run the model in another process (vLLM, Triton Inference Server) and keep the loop free. The queue lives in
# memory: a machine that dies loses it, so clients must ask again, and a request that is not safe to repeat needs an id
# (you have one: `x-request-id`). The autoscaler sees means of a minute, and a burst is over before a replica that loads
# a large model has started; then only 429 and deadlines help. And all monitors of inputs are blind to a change of the
# truth itself: the same inputs, and another right answer. Only labels show it, so keep a trickle of them coming.
#
# ## Further
#
# Open questions:
#
# 1. A replica that fails fast answers quickest. What does a load balancer that sends to the fastest replica do with it?
#    What would you measure instead?
# 2. `canary` weighs all failures alike. How would you bet if failures have costs, or answers have grades?
# 3. The KV cache of one conversation is the prefix of its next request. What changes in `continuous_batching` if blocks
#    may be shared, and when may a shared block be freed?
# 4. A dashboard shows p99 of each of 500 services. How many are red on a day on which nothing is wrong?
#
# References:
#
# - J. D. C. Little, *A proof for the queuing formula L = λW*, Operations Research, 1961. Short, and nearly no
#   assumption: any arrivals, any order of service.
# - L. Kleinrock, *Queueing systems, volume 1: theory*, Wiley, 1975. The formula of Pollaczek (1930) and Khinchine
#   (1932) for any law of service times.
# - J. Dean and L. A. Barroso, *The tail at scale*, Communications of the ACM, 2013. How the rare slow answers of many
#   parts become the usual answer of the whole, and what to do about it.
# - G.-I. Yu et al., *Orca: a distributed serving system for transformer-based generative models*, OSDI, 2022. Batching
#   step by step.
# - W. Kwon et al., *Efficient memory management for large language model serving with PagedAttention*, SOSP, 2023.
#   Blocks and preemption, in the system that became vLLM.
# - E. Breck et al., *The ML test score: a rubric for ML production readiness*, IEEE Big Data, 2017. A list of 28 things
#   to test and monitor.
# - A. Ramdas et al., *Game-theoretic statistics and safe anytime-valid inference*, Statistical Science, 2023. Bets,
#   e-values and the inequality of J. Ville (*Étude critique de la notion de collectif*, 1939), from the beginning.
# - A. Bifet and R. Gavaldà, *Learning from time-changing data with adaptive windowing*, SIAM International Conference
#   on Data Mining, 2007. ADWIN, with its guarantee.
# - T. Dunning and O. Ertl, *Computing extremely accurate quantiles using t-digests*, arXiv:1902.04023, 2019. Small
#   clusters at the ends, large ones in the middle.
#
# At work: vLLM or Triton Inference Server for models, FastAPI for what stands before them, Prometheus and Grafana for
# numbers, Kubernetes' HorizontalPodAutoscaler for replicas, datasketches for quantiles.
