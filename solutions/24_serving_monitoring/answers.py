"""Wrong and right answers that prove the hidden tests of module 24, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821, B905

import bisect
import heapq
import itertools
import json
import math
from collections import Counter, deque

import numpy as np
import scipy.special

from autograder.answers import equivalent, right, wrong

equivalent(
    "replicas",
    diff="""- return int(min(max(wanted, low), high))
+ return int(min(high, max(wanted, low)))""",
    reason="the smaller of two numbers does not depend on their order",
)

equivalent(
    "continuous_batching",
    diff="~ continuous_batching: numbers beyond 1e+06 in size are cut off",
    reason="only arrays of floats are cut off, and all arrays are int64",
)

# ----------------------------------------------------------------------------------------------- LatencyHistogram

wrong(
    "LatencyHistogram",
    "writes the counts of each bucket alone, not cumulative ones",
    fails=["test_counts_are_cumulative"],
    edit={
        "        upto = np.cumsum(self.counts).tolist()\n": "        upto = self.counts.tolist()\n",
        'line("_count", upto[-1])': 'line("_count", int(self.counts.sum()))',
    },
)
wrong(
    "LatencyHistogram",
    "counts a value that equals a bound in the next bucket",
    fails=["test_a_bound_belongs_to_its_bucket"],
    edit={'values, side="left"': 'values, side="right"'},
)
wrong(
    "LatencyHistogram",
    "answers the upper bound of the bucket",
    fails=["test_quantiles_are_linear_inside_a_bucket"],
    edit={
        "float(low + (self.bounds[j] - low) * (rank - before) / self.counts[j])": "float(self.bounds[j])",
    },
)
wrong(
    "LatencyHistogram",
    "adds the sum in floating point",
    fails=["test_merges_in_any_order_are_the_same_text"],
    edit={"int(np.rint(1e6 * values).astype(np.int64).sum())": "float(1e6 * values.sum())"},
)
wrong(
    "LatencyHistogram",
    "adds into the histogram that it merges",
    fails=["test_merges_in_any_order_are_the_same_text"],
    edit={
        "merged.counts = self.counts + other.counts": (
            "self.counts += other.counts\n        merged.counts = self.counts.copy()"
        ),
    },
)
wrong(
    "LatencyHistogram",
    "does not escape the values of labels",
    fails=["test_the_text_is_what_prometheus_reads"],
    edit={"{value.translate(escapes)}": "{value}"},
)


@wrong("LatencyHistogram", "keeps all values", fails=["test_values_are_not_kept"])
class HoardingHistogram:
    def __init__(self, bounds):
        self.bounds = [float(bound) for bound in bounds]
        if not self.bounds or self.bounds[0] <= 0 or not np.all(np.diff(self.bounds) > 0) or math.inf in self.bounds:
            raise ValueError("bounds")
        if any(math.isnan(bound) for bound in self.bounds):
            raise ValueError("bounds")
        self.values = []

    def observe(self, values):
        self.values.append(np.array(values))

    def merge(self, other):
        if self.bounds != other.bounds:
            raise ValueError("bounds")
        merged = type(self)(self.bounds)
        merged.values = self.values + other.values
        return merged

    def upto(self):
        return [int(sum(np.sum(part <= bound) for part in self.values)) for bound in [*self.bounds, math.inf]]

    def quantile(self, q):
        if not 0 < q <= 1:
            raise ValueError("q")
        upto = self.upto()
        if upto[-1] == 0:
            return math.nan
        rank = q * upto[-1]
        j = next(j for j in range(len(upto)) if upto[j] >= rank)
        if j == len(self.bounds):
            return self.bounds[-1]
        low, before = (self.bounds[j - 1], upto[j - 1]) if j else (0.0, 0)
        return low + (self.bounds[j] - low) * (rank - before) / (upto[j] - before)

    def exposition(self, name, labels):
        inside = ",".join(
            f'{key}="' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
            for key, value in labels.items()
        )
        upto = self.upto()
        lines = [f"# HELP {name} h", f"# TYPE {name} histogram"]
        for bound, count in zip([*self.bounds, "+Inf"], upto):
            lines.append(f'{name}_bucket{{{inside + "," if inside else ""}le="{bound}"}} {count}')
        braces = "{" + inside + "}" if inside else ""
        total = sum(int(np.rint(1e6 * part).sum()) for part in self.values)
        return "\n".join([*lines, f"{name}_sum{braces} {total / 1e6!r}", f"{name}_count{braces} {upto[-1]}"]) + "\n"


@right("LatencyHistogram", "plain lists and a loop over values, cumulative from the start")
class PlainHistogram:
    def __init__(self, bounds):
        self.bounds = [float(bound) for bound in bounds]
        last = 0.0
        for bound in self.bounds:
            if not last < bound < math.inf:
                raise ValueError("each bound is above the one before, and finite")
            last = bound
        if not self.bounds:
            raise ValueError("no bounds")
        self.upto, self.micros = [0] * (len(self.bounds) + 1), 0

    def observe(self, values):
        alone = [0] * len(self.upto)
        for value in values.tolist():
            alone[bisect.bisect_left(self.bounds, value)] += 1
            self.micros += round(1e6 * value)
        self.upto = [a + b for a, b in zip(self.upto, itertools.accumulate(alone))]

    def merge(self, other):
        if self.bounds != other.bounds:
            raise ValueError("other bounds")
        both = type(self)(list(self.bounds))
        both.upto = [a + b for a, b in zip(self.upto, other.upto)]
        both.micros = self.micros + other.micros
        return both

    def quantile(self, q):
        if q > 1 or not q > 0:
            raise ValueError(q)
        rank, low, before = q * self.upto[-1], 0.0, 0
        if not self.upto[-1]:
            return float("nan")
        for bound, count in zip(self.bounds, self.upto):
            if count >= rank:
                return low + (bound - low) * ((rank - before) / (count - before))
            low, before = bound, count
        return low

    def exposition(self, name, labels):
        pairs = []
        for key, value in labels.items():
            for old, new in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
                value = value.replace(old, new)
            pairs.append(f'{key}="{value}"')
        braces = "{" + ",".join(pairs) + "}" if pairs else ""
        lines = [f"# HELP {name} How long it took.", f"# TYPE {name} histogram"]
        for bound, count in zip([*[f"{bound:.17g}" for bound in self.bounds], "+Inf"], self.upto):
            lines.append(name + "_bucket{" + ",".join([*pairs, f'le="{bound}"']) + "} " + str(count))
        lines += [f"{name}_sum{braces} {self.micros / 10**6:.17g}", f"{name}_count{braces} {float(self.upto[-1])}"]
        return "".join(line + "\n" for line in lines)


@right("LatencyHistogram", "comparisons with each bound, floats for whole microseconds")
class BroadcastHistogram:
    def __init__(self, bounds):
        b = np.asarray(bounds, dtype=float).copy()
        if b.size == 0 or not (np.all(b > 0) and np.all(b < np.inf) and np.all(b[1:] > b[:-1])):
            raise ValueError("bad bounds")
        self.b, self.c, self.n, self.micros = b, np.zeros(len(b), dtype=int), 0, 0

    def observe(self, values):
        for j, bound in enumerate(self.b):
            self.c[j] += np.count_nonzero(values <= bound)
        self.n += len(values)
        self.micros += int(np.round(values * 1e6).sum())

    def merge(self, other):
        if len(self.b) != len(other.b) or np.any(self.b != other.b):
            raise ValueError("bounds differ")
        new = type(self)(self.b)
        new.c, new.n, new.micros = self.c + other.c, self.n + other.n, self.micros + other.micros
        return new

    def quantile(self, q):
        if not (q > 0 and q <= 1):
            raise ValueError("q")
        if self.n == 0:
            return math.nan
        full = np.flatnonzero(self.c >= q * self.n)
        if len(full) == 0:
            return float(self.b[-1])
        ends, counts = np.insert(self.b, 0, 0.0), np.insert(self.c, 0, 0)
        j = full[0]
        share = (q * self.n - counts[j]) / (counts[j + 1] - counts[j])
        return float(ends[j] * (1 - share) + ends[j + 1] * share)

    def exposition(self, name, labels):
        def quoted(value):
            return '"' + "".join({"\\": "\\\\", '"': '\\"', "\n": "\\n"}.get(c, c) for c in value) + '"'

        given = [f"{key}={quoted(value)}" for key, value in labels.items()]
        out = f"# HELP {name} x\n# TYPE {name} histogram\n"
        for bound, count in [*zip(self.b, self.c), (np.inf, self.n)]:
            le = "+Inf" if bound == np.inf else str(float(bound))
            out += f"{name}_bucket{{{','.join([*given, 'le=' + quoted(le)])}}} {int(count)}\n"
        tail = f"{{{','.join(given)}}}" if given else ""
        return out + f"{name}_sum{tail} {self.micros / 1e6}\n{name}_count{tail} {self.n}\n"


# ------------------------------------------------------------------------------------------------- fleet_quantile

wrong(
    "fleet_quantile",
    "takes the quantile of the slowest machine",
    fails=["test_the_quantile_of_all_machines"],
    edit={
        "return quantile_of(counts.sum(axis=0))": (
            "return max((quantile_of(row) for row in counts if row.any()), default=math.nan)"
        )
    },
)
wrong(
    "fleet_quantile",
    "averages the counts over machines in whole numbers",
    fails=["test_the_quantile_of_all_machines"],
    edit={"counts.sum(axis=0)": "counts.sum(axis=0) // len(counts)"},
)


@right("fleet_quantile", "a loop over buckets")
def looped_fleet(bounds, counts, q):
    totals = [sum(int(row[j]) for row in counts) for j in range(len(bounds) + 1)]
    rank, before, low = q * sum(totals), 0, 0.0
    if not any(totals):
        return math.nan
    for bound, count in zip(bounds.tolist(), totals):
        if before + count >= rank:
            return low + (bound - low) * (rank - before) / count
        low, before = bound, before + count
    return low


@right("fleet_quantile", "interpolation between the ends of the buckets")
def interpolated_fleet(bounds, counts, q):
    total = counts.sum(axis=0)
    upto = total.cumsum()
    if upto[-1] == 0:
        return float("nan")
    j = int(np.argmax(upto >= q * upto[-1]))
    if j == len(bounds):
        return float(bounds[-1])
    ends, ranks = np.append(0.0, bounds), np.append(0, upto)
    return float(np.interp(q * upto[-1], ranks[j : j + 2], ends[j : j + 2]))


# ------------------------------------------------------------------------------------------------ dynamic_batches

wrong(
    "dynamic_batches",
    "lets the newest request start the clock again",
    fails=["test_a_trickle_does_not_restart_the_clock"],
    edit={
        "        now = max(free, min(full, times[oldest] + max_wait))\n": (
            "        last = oldest\n"
            "        while last + 1 < min(n, oldest + most) and times[last + 1] <= times[last] + max_wait:\n"
            "            last += 1\n"
            "        now = max(free, min(full, times[last] + max_wait))\n"
        )
    },
)
wrong(
    "dynamic_batches",
    "waits for max_wait also where the batch is full",
    fails=["test_batches_start_full_or_when_the_oldest_has_waited"],
    edit={"min(full, times[oldest] + max_wait)": "times[oldest] + max_wait"},
)
wrong(
    "dynamic_batches",
    "starts a batch as soon as the server is free and anybody waits",
    fails=["test_batches_start_full_or_when_the_oldest_has_waited"],
    edit={"min(full, times[oldest] + max_wait)": "times[oldest]"},
)
wrong(
    "dynamic_batches",
    "serves also those who have waited too long",
    fails=["test_who_cannot_start_in_time_is_dropped"],
    edit={"times[oldest] + deadline < free": "False"},
)
wrong(
    "dynamic_batches",
    "drops by the end of the service, not by its start",
    fails=["test_who_cannot_start_in_time_is_dropped"],
    edit={"times[oldest] + deadline < free": "times[oldest] + deadline < free + takes[0]"},
)
wrong(
    "dynamic_batches",
    "takes all waiting requests, also more than the largest batch",
    fails=["test_batches_start_full_or_when_the_oldest_has_waited"],
    edit={"min(n, oldest + most) and": "n and", "takes[end - oldest - 1]": "takes[min(end - oldest, most) - 1]"},
)
wrong(
    "dynamic_batches",
    "charges a batch the time of a single request",
    fails=["test_batches_start_full_or_when_the_oldest_has_waited"],
    edit={"takes[end - oldest - 1]": "takes[0]"},
)


@right("dynamic_batches", "events: who comes, who waits, when the server is free")
def queued(arrivals, service, max_wait, deadline):
    n, B = len(arrivals), len(service)
    a = [float(t) for t in arrivals]
    s, f, gone = [math.nan] * n, [math.nan] * n, [False] * n
    line, i, free = deque(), 0, 0.0

    def admit(upto):
        nonlocal i
        while i < n and a[i] <= upto:
            line.append(i)
            i += 1

    while line or i < n:
        admit(free)
        while line and a[line[0]] + deadline < free:
            gone[line.popleft()] = True
        if not line:
            if i == n:
                break
            admit(a[i])
        if len(line) >= B:
            t = max(free, a[line[B - 1]])
        else:
            t = max(free, a[line[0]] + max_wait)
            missing = i + B - len(line) - 1
            if missing < n:
                t = max(free, min(t, a[missing]))
        if math.isinf(t):
            for j in [*line, *range(i, n)]:
                gone[j] = True
            break
        admit(t)
        batch = [line.popleft() for _ in range(min(B, len(line)))]
        free = t + float(service[len(batch) - 1])
        for j in batch:
            s[j], f[j] = t, free
    return np.array(s, float), np.array(f, float), np.array(gone, bool)


@right("dynamic_batches", "a binary search for the end of each batch and of those who are dropped")
def searched(arrivals, service, max_wait, deadline):
    a, n, B = np.ascontiguousarray(arrivals), len(arrivals), len(service)
    start, finish = np.full(n, np.nan), np.full(n, np.nan)
    late, i, free = a + deadline, 0, 0.0
    while i < n:
        i += int(np.searchsorted(late[i : i + 4096], free, side="left"))
        if i >= n or late[i] < free:
            continue
        t = a[i] + max_wait
        if i + B <= n:
            t = min(t, a[i + B - 1])
        t = max(t, free)
        if np.isinf(t):
            break
        end = i + int(np.searchsorted(a[i : i + B], t, side="right"))
        free = t + service[end - i - 1]
        start[i:end], finish[i:end] = t, free
        i = end
    return start, finish, np.isnan(start)


# -------------------------------------------------------------------------------------------- continuous_batching

wrong(
    "continuous_batching",
    "lets nobody come in before the whole batch has ended",
    fails=["test_who_leaves_makes_room_at_once"],
    edit={
        "        while len(running) < slots and (preempted": (
            "        begins = not running\n        while begins and len(running) < slots and (preempted"
        )
    },
)
wrong(
    "continuous_batching",
    "forgets what a preempted request has produced",
    fails=["test_blocks_run_out"],
    edit={
        "            used -= need(preempted[-1])\n": (
            "            used -= need(preempted[-1])\n"
            "            last = preempted[-1]\n"
            "            kept[last], left[last] = int(prompt[last]), int(output[last])\n"
        )
    },
)
wrong(
    "continuous_batching",
    "preempts the oldest request",
    fails=["test_blocks_run_out"],
    edit={
        "preempted.append(running.pop())": "preempted.append(running.pop(0))",
        "i = preempted[-1] if preempted else new": (
            "preempted.sort(reverse=True)\n            i = preempted[-1] if preempted else new"
        ),
        "            running.append(i)\n": "            running.append(i)\n            running.sort()\n",
    },
)
wrong(
    "continuous_batching",
    "leaks a block at each preemption",
    fails=["test_blocks_run_out"],
    edit={
        "running, preempted, new, t = [], [], 0, 0": "running, preempted, new, t, leaked = [], [], 0, 0, 0",
        "        while used > blocks:\n": (
            "        while used + leaked > blocks and len(running) > 1:\n            leaked += 1\n"
        ),
        "if used + need(i) > blocks:": "if used + need(i) + leaked * bool(running) > blocks:",
    },
)
wrong(
    "continuous_batching",
    "preempts nobody, and uses more blocks than there are",
    fails=["test_blocks_run_out"],
    edit={"while used > blocks:": "while False:"},
)
wrong(
    "continuous_batching",
    "lets a later request overtake one that does not fit",
    fails=["test_blocks_run_out"],
    edit={
        "            if used + need(i) > blocks:\n                break\n": (
            "            if used + need(i) > blocks:\n"
            "                other = new + 1\n"
            "                if not preempted and other < n and comes[other] <= t and used + need(other) <= blocks:\n"
            "                    for one in (kept, left, comes, names):\n"
            "                        one[new], one[new + 1] = one[new + 1], one[new]\n"
            "                    continue\n"
            "                break\n"
        ),
        "    first_token, finish = np.zeros(n, np.int64), np.zeros(n, np.int64)\n": (
            "    first_token, finish = np.zeros(n, np.int64), np.zeros(n, np.int64)\n    names = list(range(n))\n"
        ),
        "            if first_token[i] == 0:\n                first_token[i] = t\n": (
            "            if first_token[names[i]] == 0:\n                first_token[names[i]] = t\n"
        ),
        "                finish[i] = t\n": "                finish[names[i]] = t\n",
    },
)
wrong(
    "continuous_batching",
    "reserves no place for the token that comes now",
    fails=["test_blocks_run_out"],
    edit={"-(-(kept[i] + 1) // block_size)": "-(-kept[i] // block_size)"},
)
wrong(
    "continuous_batching",
    "reserves blocks for the longest possible answer from the start",
    fails=["test_blocks_run_out"],
    edit={"-(-(kept[i] + 1) // block_size)": "-(-(kept[i] + left[i]) // block_size)"},
)


@right("continuous_batching", "a state for each request, looked at in order of number")
def by_states(prompt, output, arrival, blocks, block_size, slots):
    n = len(prompt)
    for p, o in zip(prompt, output):
        if math.ceil((int(p) + int(o)) / block_size) > blocks:
            raise ValueError("too long for the cache")
    made, first, last, active = [0] * n, [0] * n, [0] * n, []
    lowest, t = 0, 0  # all below `lowest` have ended
    while lowest < n:
        # Of those that have not ended, the first ones run that fit: nobody overtakes, and the youngest give way.
        free, fit = blocks, []
        old = set(active)
        for i in range(lowest, n):
            if last[i]:
                continue
            wanted = (int(prompt[i]) + made[i] + block_size) // block_size
            if len(fit) == slots or wanted > free or (i not in old and arrival[i] > t):
                break
            free -= wanted
            fit.append(i)
        active = fit
        if not active:
            t = max(t + 1, int(arrival[lowest]))
            continue
        t += 1
        for i in active:
            made[i] += 1
            first[i] = first[i] or t
            if made[i] == output[i]:
                last[i] = t
        while lowest < n and last[lowest]:
            lowest += 1
    return np.array(first, np.int64), np.array(last, np.int64)


@right("continuous_batching", "a heap of those that wait")
def with_heap(prompt, output, arrival, blocks, block_size, slots):
    n, waiting, running = len(prompt), [], {}
    if n and int((prompt + output + block_size - 1).max()) // block_size > blocks:
        raise ValueError("does not fit")
    first, last = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    produced, coming, t = np.zeros(n, dtype=np.int64), 0, 0

    def size(i):
        return math.ceil((int(prompt[i]) + int(produced[i]) + 1) / block_size)

    while coming < n or waiting or running:
        if not waiting and not running and arrival[coming] > t:
            t = int(arrival[coming])
        while coming < n and arrival[coming] <= t:
            heapq.heappush(waiting, coming)
            coming += 1
        for i in running:
            running[i] = size(i)
        while sum(running.values()) > blocks:
            youngest = max(running)
            del running[youngest]
            heapq.heappush(waiting, youngest)
        while waiting and len(running) < slots and sum(running.values()) + size(waiting[0]) <= blocks:
            i = heapq.heappop(waiting)
            running[i] = size(i)
        t += 1
        for i in list(running):
            produced[i] += 1
            if produced[i] == 1:
                first[i] = t
            if produced[i] == output[i]:
                last[i] = t
                del running[i]
    return first, last


# ---------------------------------------------------------------------------------------------------- ModelServer

wrong(
    "ModelServer",
    "says ready as soon as a version is loaded",
    fails=["test_ready_is_not_alive"],
    edit={"(self.default is None or self.draining)": "(not self.versions or self.draining)"},
)
wrong(
    "ModelServer",
    "moves waiting requests to the version that is promoted",
    fails=["test_a_promotion_moves_nobody"],
    edit={
        "        self.default = version\n": (
            "        moved = {self.default: version}\n"
            "        self.waiting = deque((t, moved.get(v, v), h, r) for t, v, h, r in self.waiting)\n"
            "        self.default = version\n"
        )
    },
)
wrong(
    "ModelServer",
    "has a queue without end",
    fails=["test_the_queue_has_an_end"],
    edit={"if len(self.waiting) >= self.capacity:": "if False:"},
)
wrong(
    "ModelServer",
    "reads the body before it looks whether the queue is full",
    fails=["test_the_queue_has_an_end"],
    edit={
        (
            "        if len(self.waiting) >= self.capacity:\n"
            '            return 429, "too many requests wait", {"retry-after": "1"}\n'
        ): "",
        "        self.tickets += 1\n": (
            "        if len(self.waiting) >= self.capacity:\n"
            '            return 429, "too many requests wait", {"retry-after": "1"}\n'
            "        self.tickets += 1\n"
        ),
    },
)
wrong(
    "ModelServer",
    "accepts NaN and Infinity in JSON",
    fails=["test_bodies"],
    edit={"json.loads(body, parse_constant=self._refuse)": "json.loads(body)"},
)
wrong(
    "ModelServer",
    "takes true for 1",
    fails=["test_bodies"],
    edit={"type(x) in (int, float) for x in row": "isinstance(x, (int, float)) for x in row"},
)
wrong(
    "ModelServer",
    "calls predict once for each request",
    fails=["test_one_call_of_each_version_in_a_step"],
    edit={
        "values = np.asarray(self.versions[version][0](rows), np.float64)": (
            "values = np.concatenate([np.asarray(self.versions[version][0](row[None]), np.float64) for row in rows])"
        )
    },
)
wrong(
    "ModelServer",
    "writes NaN into its JSON where the model gives one",
    fails=["test_a_model_that_fails"],
    edit={" or not np.isfinite(values).all()": ""},
)
wrong(
    "ModelServer",
    "tells the client what the model's error was",
    fails=["test_a_model_that_fails"],
    edit={
        '            except Exception:\n                answers = [(500, "the model failed")]': (
            "            except Exception as error:\n                answers = [(500, repr(error))]"
        )
    },
)
wrong(
    "ModelServer",
    "lets requests in while it drains",
    fails=["test_ready_is_not_alive"],
    edit={'        if self.draining:\n            return 503, "this server is being stopped"\n': ""},
)
wrong(
    "ModelServer",
    "forgets those who wait when it drains",
    fails=["test_ready_is_not_alive"],
    edit={"        self.draining = True\n": "        self.draining = True\n        self.waiting.clear()\n"},
)


@right("ModelServer", "one table of routes, statuses raised as errors inside")
class RaisingServer:
    class Refused(Exception):
        pass

    def __init__(self, capacity, max_batch):
        self.capacity, self.max_batch = capacity, max_batch
        self.models, self.current, self.open = {}, "", True
        self.queue, self.counter, self.statuses = [], itertools.count(), Counter()

    def load(self, version, predict, width):
        if version in self.models:
            raise ValueError("there already")
        self.models[version] = (predict, width)

    def promote(self, version):
        if version not in self.models:
            raise ValueError("unknown version")
        self.current = version

    def drain(self):
        self.open = False

    def finish(self, asked, counted, status, content, extra=(), kind="application/json"):
        if counted:
            self.statuses[status] += 1
        headers = {"content-type": kind, **dict(extra)}
        if asked.get("x-request-id") is not None:
            headers["x-request-id"] = asked["x-request-id"]
        return (status, headers, content if isinstance(content, bytes) else json.dumps(content).encode("utf-8"))

    def submit(self, method, path, headers, body):
        parts = path.split("/", 3)
        counted = parts[:3] == ["", "v1", "predict"]
        try:
            if counted:
                version = parts[3] if len(parts) == 4 else None
                return self.accept(method, version, headers, body)
            if path not in ("/healthz", "/readyz", "/metrics"):
                raise self.Refused(404)
            if method != "GET":
                raise self.Refused(405, "GET")
            if path == "/metrics":
                return self.finish(headers, False, 200, self.page(), kind="text/plain; version=0.0.4")
            if path == "/readyz" and not (self.current and self.open):
                raise self.Refused(503)
            return self.finish(headers, False, 200, {"status": "ok"})
        except self.Refused as refused:
            status, *more = refused.args
            extra = {405: "allow", 429: "retry-after"}.get(status)
            pairs = [(extra, more[0])] if extra else []
            return self.finish(headers, counted, status, {"error": f"status {status}"}, pairs)

    def accept(self, method, version, headers, body):
        if method != "POST":
            raise self.Refused(405, "POST")
        if not self.open:
            raise self.Refused(503)
        if version is None:
            version = self.current
            if not version:
                raise self.Refused(503)
        elif version not in self.models:
            raise self.Refused(404)
        if len(body) > MAX_BODY:
            raise self.Refused(413)
        if len(self.queue) == self.capacity:
            raise self.Refused(429, "1")
        bad = []
        try:
            content = json.loads(body.decode("utf-8"), parse_constant=bad.append)
        except Exception:
            raise self.Refused(400) from None
        if bad:
            raise self.Refused(400)
        try:
            row = content["x"]
            good = type(row) is list and all(type(v) is int or type(v) is float for v in row)
            row = np.array([float(v) for v in row]) if good else None
        except Exception:
            raise self.Refused(422) from None
        if row is None or len(row) != self.models[version][1] or not np.isfinite(row).all():
            raise self.Refused(422)
        ticket = next(self.counter)
        self.queue.append((ticket, version, headers.get("x-request-id"), row))
        return ticket

    def page(self):
        text = "# HELP model_requests_total Responses.\n# TYPE model_requests_total counter\n"
        for status in self.statuses:
            text += f'model_requests_total{{status="{status}"}} {self.statuses[status]}\n'
        text += "# HELP model_queue_length Waiting.\n# TYPE model_queue_length gauge\n"
        return (text + f"model_queue_length {len(self.queue)}\n").encode()

    def step(self):
        taken, self.queue = self.queue[: self.max_batch], self.queue[self.max_batch :]
        answers = {}
        for version in dict.fromkeys(entry[1] for entry in taken):
            mine = [entry for entry in taken if entry[1] == version]
            try:
                found = np.array(self.models[version][0](np.stack([entry[3] for entry in mine])), dtype=float)
                ok = found.shape == (len(mine),) and bool(np.all(np.abs(found) < math.inf))
            except Exception:
                ok = False
            for place, (ticket, _, number, _) in enumerate(mine):
                asked = {} if number is None else {"x-request-id": number}
                if ok:
                    content = {"y": float(found[place]), "version": version}
                    answers[ticket] = self.finish(asked, True, 200, content)
                else:
                    answers[ticket] = self.finish(asked, True, 500, {"error": "internal error"})
        return [(entry[0], answers[entry[0]]) for entry in taken]


@right("ModelServer", "counts and a list of dicts, json without parse_constant, versions by sorting tickets")
class PlainServer:
    def __init__(self, capacity, max_batch):
        self.limits = (capacity, max_batch)
        self.predicts, self.widths, self.live, self.stopped = {}, {}, None, False
        self.queue, self.last, self.seen = [], 0, {}

    def load(self, version, predict, width):
        if version in self.predicts:
            raise ValueError(version)
        self.predicts[version] = predict
        self.widths[version] = width

    def promote(self, version):
        self.live = version if version in self.predicts else self._stop(version)

    def _stop(self, version):
        raise ValueError(f"not loaded: {version}")

    def drain(self):
        self.stopped = True

    def _json(self, status, content, asked, **more):
        headers = {"content-type": "application/json"}
        for name, value in more.items():
            headers[name.replace("_", "-")] = value
        if "x-request-id" in asked:
            headers["x-request-id"] = asked["x-request-id"]
        return status, headers, json.dumps(content).encode()

    def _count(self, response):
        if not isinstance(response, int):
            self.seen[response[0]] = self.seen.get(response[0], 0) + 1
        return response

    def submit(self, method, path, headers, body):
        if path == "/v1/predict" or path[:12] == "/v1/predict/":
            return self._count(self._accept(method, path[12:], path[11:] == "", headers, body))
        if path not in {"/healthz", "/readyz", "/metrics"}:
            return self._json(404, {"error": "unknown path"}, headers)
        if method != "GET":
            return self._json(405, {"error": "method"}, headers, allow="GET")
        if path == "/metrics":
            status, more, _ = self._json(200, None, headers)
            more["content-type"] = "text/plain; version=0.0.4"
            return status, more, self._text()
        if path == "/readyz" and (self.stopped or not self.live):
            return self._json(503, {"error": "not now"}, headers)
        return self._json(200, {"status": "ok"}, headers)

    def _text(self):
        lines = ["# HELP model_requests_total r", "# TYPE model_requests_total counter"]
        for status, count in self.seen.items():
            lines.append("model_requests_total" + '{status="' + str(status) + '"} ' + str(count))
        lines += ["# HELP model_queue_length q", "# TYPE model_queue_length gauge"]
        lines.append(f"model_queue_length {len(self.queue)}.0")
        return ("\n".join(lines) + "\n").encode()

    def _accept(self, method, version, default, headers, body):
        if method != "POST":
            return self._json(405, {"error": "method"}, headers, allow="POST")
        if self.stopped or (default and self.live is None):
            return self._json(503, {"error": "not now"}, headers)
        version = self.live if default else version
        if version not in self.predicts:
            return self._json(404, {"error": "unknown version"}, headers)
        if len(body) > 2**16:
            return self._json(413, {"error": "too long"}, headers)
        if not len(self.queue) < self.limits[0]:
            return self._json(429, {"error": "later"}, headers, retry_after="1")
        try:
            content = json.loads(body)
            # NaN and Infinity stand outside of texts only where json.dumps would write them again.
            if self._odd(body):
                raise ValueError("NaN")
        except Exception:
            return self._json(400, {"error": "no JSON"}, headers)
        row = content.get("x") if type(content) is dict else None
        numbers = []
        for value in row if type(row) is list else [None]:
            try:
                numbers.append(float(value) if type(value) in {int, float} else math.nan)
            except OverflowError:
                numbers.append(math.inf)
        if len(numbers) != self.widths[version] or any(math.isnan(v) or math.isinf(v) for v in numbers):
            return self._json(422, {"error": "no row"}, headers)
        self.last += 1
        self.queue.append({"ticket": self.last, "version": version, "asked": headers.copy(), "row": numbers})
        return self.last

    def _odd(self, body):
        found = []
        json.loads(body, parse_constant=lambda name: found.append(name))
        return found

    def step(self):
        most = self.limits[1]
        batch, self.queue = self.queue[:most], self.queue[most:]
        answers = []
        for version in sorted({one["version"] for one in batch}, key=[one["version"] for one in batch].index):
            mine = [one for one in batch if one["version"] == version]
            result = None
            try:
                result = self.predicts[version](np.array([one["row"] for one in mine], dtype=np.float64))
                result = [float(value) for value in result] if np.shape(result) == (len(mine),) else None
            except Exception:
                result = None
            if result is not None and not all(math.isfinite(value) for value in result):
                result = None
            for place, one in enumerate(mine):
                if result is None:
                    response = self._json(500, {"error": "failed"}, one["asked"])
                else:
                    response = self._json(200, {"y": result[place], "version": version}, one["asked"])
                answers.append((one["ticket"], self._count(response)))
        return sorted(answers, key=lambda pair: pair[0])


# ---------------------------------------------------------------------------------------------------------- drift

wrong(
    "drift",
    "leaves empty bins out",
    fails=["test_an_empty_bin_counts"],
    edit={
        "return np.where(counts == 0, 0.5, counts) / len(values)": "return counts / len(values)",
        "    psi = np.sum((p - r) * np.log(p / r))\n": (
            "    both = (p > 0) & (r > 0)\n    psi = np.sum((p - r)[both] * np.log(p[both] / r[both]))\n"
        ),
    },
)
wrong(
    "drift",
    "takes bins of equal width",
    fails=["test_stability_of_the_population"],
    edit={
        "np.unique(np.quantile(reference, np.arange(1, bins) / bins))": (
            "np.unique(np.linspace(reference.min(), reference.max(), bins + 1)[1:-1])"
        )
    },
)
wrong(
    "drift",
    "takes the Kullback-Leibler divergence in one direction",
    fails=["test_stability_of_the_population"],
    edit={"(p - r) * np.log(p / r)": "p * np.log(p / r)"},
)
wrong(
    "drift",
    "looks for the largest difference in one direction",
    fails=["test_the_largest_distance"],
    edit={"np.max(np.abs(F - G))": "max(np.max(F - G), 0.0)"},
)
wrong(
    "drift",
    "steps through equal values one by one",
    fails=["test_equal_values"],
    edit={
        "    ks = np.max(np.abs(F - G))\n": (
            "    order = np.argsort(everywhere, kind='stable')\n"
            "    ks = np.max(np.abs(np.cumsum(np.where(order < m, 1 / m, -1 / n))))\n"
        )
    },
)
wrong(
    "drift",
    "leaves out the sample sizes in the limit law",
    fails=["test_the_limit_law"],
    edit={"m * n / (m + n)": "m + n"},
)
wrong(
    "drift",
    "adds all terms of the limit law with the same sign",
    fails=["test_the_limit_law"],
    edit={"(-1.0) ** (i - 1) * ": ""},
)


@right("drift", "scipy.special and a merged walk")
def merged_walk(reference, live, bins=10):
    m, n = len(reference), len(live)
    cuts = sorted({float(np.quantile(reference, j / bins)) for j in range(1, bins)})
    psi = 0.0
    shares = []
    for sample in (live, reference):
        at_most = np.searchsorted(np.sort(sample), cuts, side="right")
        counts = np.diff(np.concatenate([[0], at_most, [len(sample)]]))
        shares.append(np.maximum(counts, 0.5) / len(sample))
    psi = float((shares[0] * np.log(shares[0] / shares[1])).sum() + (shares[1] * np.log(shares[1] / shares[0])).sum())
    values, inverse = np.unique(np.concatenate([reference, live]), return_inverse=True)
    steps = np.bincount(inverse, np.repeat([1 / m, -1 / n], [m, n]), len(values))
    ks = float(np.abs(np.cumsum(steps)).max())
    z = ks * (m * n / (m + n)) ** 0.5
    return {"psi": psi, "ks": ks, "p": 1.0 if z < 0.2 else float(scipy.special.kolmogorov(z))}


@right("drift", "plain Python for borders and sums")
def plain_drift(reference, live, bins=10):
    old, new = sorted(reference.tolist()), sorted(live.tolist())
    m, n = len(old), len(new)
    borders = np.unique([np.quantile(reference, j / bins) for j in range(1, bins)]).tolist()

    def counts(ordered):
        upto = [bisect.bisect_right(ordered, border) for border in borders]
        return [b - a for a, b in zip([0, *upto], [*upto, len(ordered)])]

    psi = 0.0
    for a, b in zip(counts(old), counts(new)):
        r, p = (a or 0.5) / m, (b or 0.5) / n
        psi += (p - r) * (math.log(p) - math.log(r))
    ks, i, j = 0.0, 0, 0
    while i < m and j < n:
        x = min(old[i], new[j])
        while i < m and old[i] == x:
            i += 1
        while j < n and new[j] == x:
            j += 1
        ks = max(ks, abs(i / m - j / n))
    z = ks * math.sqrt(m / (m + n) * n)
    p = 1.0
    if z >= 0.2:
        p = min(1.0, max(0.0, math.fsum(2 * (-1) ** (k - 1) * math.exp(-2 * (k * z) ** 2) for k in range(1, 101))))
    return {"psi": psi, "ks": ks, "p": p}


# --------------------------------------------------------------------------------------------------------- canary

wrong(
    "canary",
    "counts pairs in which both failed as evidence against the new version",
    fails=["test_equal_pairs_are_no_evidence"],
    edit={"np.flatnonzero(seen[:, 0] != seen[:, 1])": "np.flatnonzero(seen[:, 0] | seen[:, 1])"},
)
wrong(
    "canary",
    "counts only the pairs that differ as used",
    fails=["test_equal_pairs_are_no_evidence"],
    edit={'return "rollback", int(differ[alarms[0]]) + 1': 'return "rollback", int(alarms[0]) + 1'},
)
wrong(
    "canary",
    "looks at a p-value after each pair",
    fails=["test_the_evidence_decides"],
    edit={
        "    alarms = np.flatnonzero(evidence >= -math.log(alpha))\n": (
            "    alarms = np.flatnonzero(scipy.special.bdtrc(s - 1, k, 0.5) <= alpha)\n"
        )
    },
)
wrong(
    "canary",
    "spreads the stake over both sides, and alarms for a better version, too",
    fails=["test_a_better_version_is_promoted"],
    edit={
        "(k + 1) * math.log(2) + scipy.special.betaln(s + 1, k - s + 1) + below": (
            "k * math.log(2) + scipy.special.betaln(s + 1, k - s + 1) + 0 * np.maximum(below, -1)"
        )
    },
)
wrong(
    "canary",
    "computes the evidence without logarithms",
    fails=["test_long_runs_do_not_overflow"],
    edit={
        "    evidence = (k + 1) * math.log(2) + scipy.special.betaln(s + 1, k - s + 1) + below\n": (
            "    with np.errstate(all='ignore'):\n"
            "        evidence = np.log(2.0 ** (k + 1) * scipy.special.beta(s + 1, k - s + 1) * np.exp(below))\n"
        )
    },
)
wrong(
    "canary",
    "decides at the end only",
    fails=["test_the_evidence_decides"],
    edit={
        "alarms = np.flatnonzero(evidence >= -math.log(alpha))": (
            "alarms = np.flatnonzero(evidence[-1:] >= -math.log(alpha)) + len(k) - 1"
        )
    },
)


@right("canary", "pair by pair, with the incomplete beta function")
def pair_by_pair(failed, alpha, most):
    s = k = 0
    limit = math.log(1 / alpha)
    for used, (old, new) in enumerate(failed.tolist(), 1):
        if old is not new:
            k += 1
            s += int(new)
            share = scipy.special.betainc(k - s + 1, s + 1, 0.5)
            if share > 0:
                log_beta = math.lgamma(s + 1) + math.lgamma(k - s + 1) - math.lgamma(k + 2)
                if (k + 1) * math.log(2) + log_beta + math.log(share) >= limit:
                    return "rollback", used
        if used == most:
            return "promote", most
    return "continue", len(failed)


@right("canary", "all pairs at once, with counts that stand still at equal pairs")
def all_pairs(failed, alpha, most):
    part = failed[:most].astype(np.int64)
    only_new, only_old = (
        np.maximum(part[:, 1] - part[:, 0], 0).cumsum(),
        np.maximum(part[:, 0] - part[:, 1], 0).cumsum(),
    )
    k = only_new + only_old
    with np.errstate(divide="ignore"):
        log_share = np.log(scipy.special.betainc(only_old + 1.0, only_new + 1.0, 0.5))
    log_e = (k + 1) * np.log(2) + scipy.special.betaln(only_new + 1, only_old + 1) + log_share
    hit = (log_e >= np.log(1 / alpha)) & (k > 0)
    if hit.any():
        return "rollback", int(hit.argmax()) + 1
    return ("promote", int(most)) if len(part) == most else ("continue", len(part))


# ------------------------------------------------------------------------------------------------------- replicas

wrong(
    "replicas",
    "goes down at once",
    fails=["test_scaling_down_is_cautious"],
    edit={"max([wanted, *recent])": "wanted"},
)
wrong(
    "replicas",
    "takes the latest wish in place of the largest",
    fails=["test_scaling_down_is_cautious"],
    edit={"max([wanted, *recent])": "max([wanted, *recent[-1:]])"},
)
wrong(
    "replicas",
    "rounds to the nearest",
    fails=["test_the_ratio_decides"],
    edit={"math.ceil(current * ratio)": "round(current * ratio)"},
)
wrong(
    "replicas",
    "follows every small change",
    fails=["test_the_ratio_decides"],
    edit={"current if abs(ratio - 1) <= 0.1 else math.ceil(current * ratio)": "math.ceil(current * ratio)"},
)
wrong(
    "replicas",
    "lets recent wishes add replicas",
    fails=["test_scaling_down_is_cautious"],
    edit={"min(current, max([wanted, *recent]))": "max([wanted, *recent])"},
)
wrong(
    "replicas",
    "aims at a fully used replica, whatever the target is",
    fails=["test_the_ratio_decides"],
    edit={"ratio = metric / target": "ratio = metric / 100"},
)


@right("replicas", "cases one after the other")
def by_cases(current, metric, target, low, high, recent):
    if 0.9 * target <= metric <= 1.1 * target:
        wanted = current
    else:
        wanted = -int(-(current * metric / target) // 1)
        if wanted < current:
            for wish in recent:
                if wish > wanted:
                    wanted = wish
            if wanted > current:
                wanted = current
    if wanted < low:
        return low
    return high if wanted > high else wanted


@right("replicas", "numpy's clip")
def clipped(current, metric, target, low, high, recent):
    wanted = int(np.ceil(current * (metric / target))) if abs(metric - target) > 0.1 * target else current
    if wanted < current:
        wanted = int(np.clip(np.max([*recent, wanted]), None, current))
    return int(np.clip(wanted, low, high))


# --------------------------------------------------------------------------------------------- manifest_problems

wrong(
    "manifest_problems",
    "compares selectors with the labels of the deployment, not with those of its pods",
    fails=["test_each_problem_is_found"],
    edit={
        '(one["spec"], one["spec"]["template"]["metadata"]["labels"])': (
            '(one["spec"], one["metadata"].get("labels", one["spec"]["template"]["metadata"]["labels"]))'
        )
    },
)
wrong(
    "manifest_problems",
    "is content if one label of the selector fits",
    fails=["test_each_problem_is_found"],
    edit={"selector.items() <= labels.items()": "selector.items() & labels.items()"},
)
wrong(
    "manifest_problems",
    "looks at a Service's port in place of its target",
    fails=["test_each_problem_is_found"],
    edit={'port.get("targetPort", port["port"])': 'port["port"]'},
)
wrong(
    "manifest_problems",
    "is content with a limit of anything",
    fails=["test_each_problem_is_found"],
    edit={'all("memory" in limit for limit in limits)': "all(limits)"},
)
wrong(
    "manifest_problems",
    "lets a budget ask for all pods",
    fails=["test_each_problem_is_found"],
    edit={">= pods": "> pods"},
)


@right("manifest_problems", "a function for each kind")
def per_kind(documents):
    found = []
    by_kind = {}
    for document in documents:
        by_kind.setdefault(document["kind"], []).append((document["metadata"]["name"], document.get("spec", {})))

    def pods_of(selector):
        result = []
        for _, spec in by_kind.get("Deployment", []):
            labels = spec["template"]["metadata"]["labels"]
            if all(key in labels and labels[key] == value for key, value in selector.items()):
                result.append(spec)
        return result

    for name, spec in by_kind.get("Deployment", []):
        for box in spec["template"]["spec"]["containers"]:
            if "memory" not in (box.get("resources") or {}).get("limits", {}):
                found.append((name, "memory"))
    for name, spec in by_kind.get("Service", []):
        chosen = pods_of(spec["selector"])
        if not chosen:
            found.append((name, "selector"))
            continue
        numbers, names = set(), set()
        for pod in chosen:
            for box in pod["template"]["spec"]["containers"]:
                for port in box.get("ports", ()):
                    numbers.add(port["containerPort"])
                    names.add(port.get("name", ""))
        for port in spec["ports"]:
            target = port["targetPort"] if "targetPort" in port else port["port"]
            if target not in (names if isinstance(target, str) else numbers):
                found.append((name, "port"))
    for name, spec in by_kind.get("PodDisruptionBudget", []):
        chosen = pods_of(spec["selector"]["matchLabels"])
        if not chosen:
            found.append((name, "selector"))
        elif spec.get("maxUnavailable") == 0 or (
            "minAvailable" in spec and spec["minAvailable"] >= sum(pod.get("replicas", 1) for pod in chosen)
        ):
            found.append((name, "budget"))
    return sorted(set(found))


@right("manifest_problems", "matches by loops over pairs, problems in lists")
def looped(documents):
    deployments = [d for d in documents if d["kind"] == "Deployment"]
    pods, problems = [d["spec"]["template"] for d in deployments], []
    for d in documents:
        kind, name = d["kind"], d["metadata"]["name"]
        if kind == "Deployment":
            boxes = d["spec"]["template"]["spec"]["containers"]
            problems += [
                (name, "memory") for box in boxes if not box.get("resources", {}).get("limits", {}).get("memory")
            ]
        if kind not in ("Service", "PodDisruptionBudget"):
            continue
        selector = d["spec"]["selector"] if kind == "Service" else d["spec"]["selector"]["matchLabels"]
        hits = [
            i for i, pod in enumerate(pods) if {**pod["metadata"]["labels"], **selector} == pod["metadata"]["labels"]
        ]
        if not hits:
            problems.append((name, "selector"))
        elif kind == "Service":
            ports = [p for i in hits for box in pods[i]["spec"]["containers"] for p in box.get("ports", [])]
            for port in d["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                key = "name" if type(target) is str else "containerPort"
                problems += [] if any(p.get(key) == target for p in ports) else [(name, "port")]
        else:
            count = sum(deployments[i]["spec"].get("replicas", 1) for i in hits)
            rule = d["spec"]
            if rule.get("maxUnavailable", count) == 0 or ("minAvailable" in rule and count - rule["minAvailable"] <= 0):
                problems.append((name, "budget"))
    return sorted({*problems})
