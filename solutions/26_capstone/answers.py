"""Wrong and right answers that prove the hidden tests of module 26, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

import bisect
import math

import numpy as np
import scipy.optimize
import scipy.stats

from autograder.answers import equivalent, right, wrong

# ----------------------------------------------------------------------------------------------------------- audit

wrong(
    "audit",
    "asks for an AUC of 0.99 or more only, and misses the leak that points the other way",
    fails=["test_each_fault_alone"],
    edit={"abs(auc(values[~missing], y[~missing]) - 0.5) >= 0.49": "auc(values[~missing], y[~missing]) >= 0.99"},
)
wrong(
    "audit",
    "looks for identifiers before it has dropped rows that agree",
    fails=["test_the_first_code_that_holds"],
    edit={"count == len(y) or": "count == len(kinds) or"},
)
wrong(
    "audit",
    "calls a column of floats that all differ an identifier",
    fails=["test_a_clean_table"],
    edit={"(text or integer) and not missing.any()": "not missing.any()"},
)
wrong(
    "audit",
    "does not see an identifier of the group",
    fails=["test_each_fault_alone"],
    edit={"(count == len(y) or count == pairs == groups.max() + 1)": "count == len(y)"},
)
wrong(
    "audit",
    "compares times with the end of the table instead of the row's own time",
    fails=["test_each_fault_alone"],
    edit={"np.any(values > time)": "np.any(values > time.max())"},
)
wrong(
    "audit",
    "reports every code that holds for a column",
    fails=["test_the_first_code_that_holds"],
    edit={
        "elif not text and abs(auc": "if not text and abs(auc",
        "elif chi_squared(missing, y) > 23.93": "if chi_squared(missing, y) > 23.93",
    },
)


wrong(
    "audit",
    "calls a column an identifier where each value has one group, though a group has several values",
    fails=["test_a_clean_table"],
    edit={"count == pairs == groups.max() + 1": "count == pairs"},
)
wrong(
    "audit",
    "calls a bool column an identifier",
    fails=["test_equal_columns_and_rows"],
    edit={'values.dtype.kind in "iu"': 'values.dtype.kind in "iub"'},
)
wrong(
    "audit",
    "compares numbers in float32",
    fails=["test_equal_columns_and_rows"],
    edit={"values[rows].astype(float)": "values[rows].astype(np.float32)"},
)
wrong(
    "audit",
    "takes two missing values of equal columns for different",
    fails=["test_equal_columns_and_rows"],
    edit={', equal_nan=one.dtype.kind != "U"': ""},
)


@right("audit", "rows as tuples in a set, pairs by binary search")
def by_tuples(columns, y, time, group):
    def plain(values):
        values = np.asarray(values)
        if values.dtype.kind == "U":
            return [None if v == "" else v for v in values.tolist()]
        return [None if v != v else float(v) for v in values.tolist()]

    lists = {name: plain(values) for name, values in columns.items()}
    everything = [*lists.values(), plain(y), plain(time), [int(g) for g in np.asarray(group).tolist()]]
    kept = list(dict.fromkeys(zip(*everything, strict=True)))
    doubled = len(kept) < len(y)
    lists, (labels, times, groups) = (
        dict(zip(lists, zip(*kept, strict=True), strict=False)),
        list(zip(*kept, strict=True))[-3:],
    )
    result, before = [], []
    for name, values in lists.items():
        kind = np.asarray(columns[name]).dtype.kind
        signature = (kind == "U", values)
        distinct = set(values)
        present = [(v, label) for v, label in zip(values, labels, strict=True) if v is not None]
        if len(distinct) == 1:
            code = "constant"
        elif any(signature[0] == old[0] and signature[1] == old[1] for old in before):
            code = "duplicate"
        elif (
            kind in "iuU"
            and len(present) == len(values)
            and (
                len(distinct) == len(values)
                or len(distinct) == len(set(groups)) == len(set(zip(values, groups, strict=True)))
            )
        ):
            code = "identifier"
        elif (
            kind != "U"
            and name.endswith("_at")
            and any(v is not None and v > t for v, t in zip(values, times, strict=True))
        ):
            code = "future"
        else:
            code = None
            if kind != "U":
                zeros = sorted(v for v, label in present if label == 0)
                ones = [v for v, label in present if label == 1]
                if zeros and ones:
                    wins = sum(bisect.bisect_left(zeros, v) + bisect.bisect_right(zeros, v) for v in ones) / 2
                    share = wins / len(zeros) / len(ones)
                    code = "leak" if share >= 0.99 or share <= 0.01 else None
            if code is None:
                table = np.zeros((2, 2))
                for v, label in zip(values, labels, strict=True):
                    table[int(v is None), int(label)] += 1
                full = table.sum(0).all() and table.sum(1).all()
                if full and scipy.stats.chi2_contingency(table, correction=False)[0] > 23.93:
                    code = "missing_tells"
        if code:
            result.append((name, code))
        before.append(signature)
    return [*result, ("", "doubled_rows")] if doubled else result


@right("audit", "a structured array for the rows, sklearn for the AUC")
def by_records(columns, y, time, group):
    from sklearn.metrics import roc_auc_score

    everything = [np.asarray(v) for v in (*columns.values(), y, time, group)]
    codes = np.stack([np.unique(v, return_inverse=True)[1] for v in everything], axis=1)
    order = np.lexsort(codes.T)
    new = np.append(True, np.any(np.diff(codes[order], axis=0) != 0, axis=1))
    rows = np.sort(order[new])
    out = []
    labels = np.asarray(y)[rows].astype(int)
    for k, name in enumerate(columns):
        v, code = everything[k][rows], codes[rows, k]
        text = v.dtype.kind == "U"
        absent = (v == "") if text else np.array(v != v)

        def twin(j, v=v, text=text, absent=absent):
            w = everything[j][rows]
            if (w.dtype.kind == "U") != text:
                return False
            if text:
                return bool(np.all(v == w))
            other = np.array(w != w)
            return bool(np.all(absent == other) and np.all(v[~absent].astype(float) == w[~absent].astype(float)))

        if len(np.unique(code)) == 1:
            out.append((name, "constant"))
            continue
        if any(twin(j) for j in range(k)):
            out.append((name, "duplicate"))
            continue
        if v.dtype.kind in "iuU" and not absent.any():
            both = np.unique(np.stack([code, codes[rows, -1]], axis=1), axis=0)
            sizes = len(np.unique(code)), len(np.unique(codes[rows, -1]))
            if sizes[0] == len(rows) or sizes == (len(both), len(both)):
                out.append((name, "identifier"))
                continue
        here = ~absent
        if (
            not text
            and name.endswith("_at")
            and (v[here].astype(float) > everything[-2][rows][here].astype(float)).any()
        ):
            out.append((name, "future"))
            continue
        if not text and len(np.unique(labels[here])) == 2:
            area = roc_auc_score(labels[here], v[here].astype(float))
            if max(area, 1 - area) >= 0.99:
                out.append((name, "leak"))
                continue
        n, share = len(rows), labels.mean()
        gone = int(absent.sum())
        if 0 < gone < n and 0 < share < 1:
            z = (labels[absent].mean() - labels[here].mean()) / math.sqrt(
                share * (1 - share) * (1 / gone + 1 / (n - gone))
            )
            if z * z > 23.93:
                out.append((name, "missing_tells"))
    if len(rows) < len(y):
        out.append(("", "doubled_rows"))
    return out


# ---------------------------------------------------------------------------------------------- grouped_time_split

wrong(
    "grouped_time_split",
    "splits the rows at random",
    fails=["test_the_latest_rows_are_tested"],
    edit={
        "    time = time.astype(np.float64)\n": (
            "    time = np.random.default_rng(0).permutation(time.astype(np.float64))\n"
        )
    },
)
wrong(
    "grouped_time_split",
    "cuts the gap out of the test instead of the train",
    fails=["test_nothing_of_the_gap"],
    edit={
        "    later = time >= first\n": "    later = time >= first + gap\n",
        "(time < first - gap)": "(time < first)",
    },
)
wrong(
    "grouped_time_split",
    "leaves groups of the test in train",
    fails=["test_no_group_on_both_sides"],
    edit={" & ~np.isin(group, group[later])": ""},
)
wrong(
    "grouped_time_split",
    "drops the groups that stand on both sides from the test",
    fails=["test_no_group_on_both_sides"],
    edit={
        " & ~np.isin(group, group[later])": "",
        "return train, np.flatnonzero(later)": ("return train, np.flatnonzero(later & ~np.isin(group, group[train]))"),
    },
)
wrong(
    "grouped_time_split",
    "trains on rows just at the begin of the gap",
    fails=["test_nothing_of_the_gap"],
    edit={"time < first - gap": "time <= first - gap"},
)


wrong(
    "grouped_time_split",
    "leaves no gap between train and test",
    fails=["test_nothing_of_the_gap"],
    edit={"time < first - gap": "time < first"},
)
wrong(
    "grouped_time_split",
    "tests no row where share * m is less than one",
    fails=["test_the_latest_rows_are_tested"],
    edit={"-max(1, int(share * len(time)))": "-int(share * len(time))"},
)


equivalent(
    "grouped_time_split",
    diff="~ grouped_time_split: float32 is returned",
    reason="row numbers are int64, and no float comes back",
)


@right("grouped_time_split", "a stable order and a set of groups")
def by_order(time, group, share, gap):
    if not (share > 0 and share < 1) or math.isnan(gap) or gap < 0:
        raise ValueError("share or gap")
    times = [float(t) for t in np.asarray(time).tolist()]
    order = sorted(range(len(times)), key=times.__getitem__)
    border = times[order[len(times) - max(1, int(share * len(times)))]]
    groups = np.asarray(group).tolist()
    test = [i for i, t in enumerate(times) if t >= border]
    taken = {groups[i] for i in test}
    train = [i for i, t in enumerate(times) if t < border - gap and groups[i] not in taken]
    if not train:
        raise ValueError("nothing to train on")
    return np.array(train, dtype=np.int64), np.array(test, dtype=np.int64)


@right("grouped_time_split", "partition, and the latest time of each group")
def by_partition(time, group, share, gap):
    if not 0 < share < 1:
        raise ValueError("share")
    if not gap >= 0:
        raise ValueError("gap")
    t = np.array(time, dtype=float)
    m = len(t)
    k = max(1, int(share * m))
    border = np.partition(t, m - k)[m - k]
    names = np.unique(group, return_inverse=True)[1]
    last = np.full(names.max() + 1, -np.inf)
    np.maximum.at(last, names, t)
    train = np.nonzero((last[names] < border) & (t < border - gap))[0]
    if train.size == 0:
        raise ValueError("train is empty")
    return train.astype(np.int64), np.nonzero(t >= border)[0].astype(np.int64)


# ---------------------------------------------------------------------------------------------- cheapest_threshold

wrong(
    "cheapest_threshold",
    "always decides at one half",
    fails=["test_no_threshold_is_cheaper"],
    edit={"    best = int(np.argmin(total))\n": "    best = int(np.count_nonzero(values >= 0.5))\n"},
)
wrong(
    "cheapest_threshold",
    "reads cost[i, j] as the cost of decision i where the truth is j",
    fails=["test_no_threshold_is_cheaper"],
    edit={"np.asarray(cost, np.float64)": "np.asarray(cost, np.float64).T"},
)
wrong(
    "cheapest_threshold",
    "counts the two mistakes alone, without the diagonal",
    fails=["test_costs_of_any_sign"],
    edit={"np.asarray(cost, np.float64)": "np.asarray(cost, np.float64) * [[0, 1], [1, 0]]"},
)
wrong(
    "cheapest_threshold",
    "returns the sum of the costs instead of their mean",
    fails=["test_no_threshold_is_cheaper"],
    edit={"total[best] / len(y)": "total[best]"},
)
wrong(
    "cheapest_threshold",
    "has no candidate that never decides 1",
    fails=["test_always_and_never"],
    edit={"    best = int(np.argmin(total))\n": "    best = 1 + int(np.argmin(total[1:]))\n"},
)
wrong(
    "cheapest_threshold",
    "has no candidate that always decides 1",
    fails=["test_always_and_never"],
    edit={"    best = int(np.argmin(total))\n": "    best = int(np.argmin(total[:-1]))\n"},
)
wrong(
    "cheapest_threshold",
    "returns the smallest of the thresholds that cost the same",
    fails=["test_equal_values_and_equal_costs"],
    edit={"    best = int(np.argmin(total))\n": "    best = len(total) - 1 - int(np.argmin(total[::-1]))\n"},
)


@right("cheapest_threshold", "one walk over the sorted rows")
def by_walk(p, y, cost):
    rows = sorted(zip(np.asarray(p).tolist(), np.asarray(y).astype(int).tolist(), strict=True), reverse=True)
    c = [[float(cost[i][j]) for j in (0, 1)] for i in (0, 1)]
    counts = [0, 0]
    every = [sum(1 for _, label in rows if label == k) for k in (0, 1)]

    def price():
        return sum(c[k][1] * counts[k] + c[k][0] * (every[k] - counts[k]) for k in (0, 1))

    best, place = price(), math.inf
    for i, (value, label) in enumerate(rows):
        counts[label] += 1
        if i + 1 < len(rows) and rows[i + 1][0] == value:
            continue
        if (now := price()) < best:
            best, place = now, float(value)
    return place, best / len(rows)


@right("cheapest_threshold", "argsort and cumulative sums of the change in cost")
def by_changes(p, y, cost):
    order = np.argsort(-np.asarray(p, np.float64), kind="stable")
    label = np.asarray(y)[order].astype(int)
    cost = np.array(cost, dtype=float)
    counts = np.stack([np.cumsum(label == 0), np.cumsum(label == 1)])
    counts = np.concatenate([np.zeros((2, 1)), counts], axis=1)
    totals = (counts * cost[:, 1:] + (counts[:, -1:] - counts) * cost[:, :1]).sum(axis=0)
    ordered = np.asarray(p)[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    totals[1:][~last] = np.inf
    k = int(np.argmin(totals))
    return (math.inf if k == 0 else float(ordered[k - 1])), float(totals[k]) / len(label)


# -------------------------------------------------------------------------------------------------- learning_curve

wrong(
    "learning_curve",
    "fits a straight line in log n and log error: a curve without a floor",
    fails=["test_a_planted_curve"],
    edit={"np.stack([1 / std, scaled": "np.stack([0 / std, scaled"},
)
wrong(
    "learning_curve",
    "gives all measurements the same weight",
    fails=["test_the_least_weighted_squares"],
    edit={
        "[1 / std, scaled**-c / std]": "[0 * std + 1, scaled**-c]",
        "lstsq(columns, error / std)": "lstsq(columns, error)",
        "@ [a, b] - error / std)": "@ [a, b] - error)",
    },
)
wrong(
    "learning_curve",
    "weighs by 1 / std instead of 1 / std^2",
    fails=["test_the_least_weighted_squares"],
    edit={
        "[1 / std, scaled**-c / std]": "[std**-0.5, scaled**-c * std**-0.5]",
        "lstsq(columns, error / std)": "lstsq(columns, error * std**-0.5)",
        "@ [a, b] - error / std)": "@ [a, b] - error * std**-0.5)",
    },
)
wrong(
    "learning_curve",
    "takes the exponent for known in the interval",
    fails=["test_the_interval"],
    edit={"derivatives / lengths)[0]": "(derivatives / lengths)[:, :2])[0]"},
)
wrong(
    "learning_curve",
    "gives rows for a target below the floor",
    fails=["test_rows_for_a_target"],
    edit={
        "math.inf if target <= a else 0.0 if b < 0 else float((b / (target - a)) ** (1 / c))": (
            "0.0 if b < 0 else float((b / max(abs(target - a), 1e-9)) ** (1 / c))"
        )
    },
)
wrong(
    "learning_curve",
    "searches c from 0.1 to 1 only",
    fails=["test_exponents_at_their_ends"],
    edit={"0.1, 2.0)": "0.1, 1.0)"},
)
wrong(
    "learning_curve",
    "gives an interval of two standard errors instead of 1.96",
    fails=["test_the_interval"],
    edit={"half = 1.96": "half = 2.0"},
)
wrong(
    "learning_curve",
    "gives nan for the rows where the errors rise with n",
    fails=["test_rows_for_a_target"],
    edit={"0.0 if b < 0 else float(": "float("},
)


equivalent(
    "learning_curve",
    diff="- half = 1.96 * float(np.linalg.norm(np.linalg.pinv(derivatives / lengths)[0])) / lengths[0]\n"
    "+ half = 1.96 * float(np.linalg.norm(np.linalg.pinv(derivatives / (lengths + 1e-08))[0])) / lengths[0]",
    reason="the length of a column divides and multiplies; a change of 1e-8 is below the tolerance",
)


equivalent(
    "learning_curve",
    diff="- return (a, b, np.linalg.norm(columns @ [a, b] - error / std))\n"
    "+ return (a, b, np.linalg.norm(error / std - columns @ [a, b]))",
    reason="a norm has no sign",
)
equivalent(
    "learning_curve",
    diff="- derivatives = np.stack([np.ones(len(n)), power, np.log(n) * power], axis=1) / std[:, None]\n"
    "+ derivatives = np.stack([np.ones(len(n), dtype=np.float32), power, np.log(n) * power], axis=1) / std[:, None]",
    reason="1 is the same number in float32",
)


@right("learning_curve", "scipy's curve_fit from several starts")
def by_curve_fit(n, error, std, target):
    n, error, std = (np.array(v, dtype=float) for v in (n, error, std))
    if len(set(n.tolist())) < 3 or not (std > 0).all():
        raise ValueError("not enough")
    scale = n.min()

    def curve(x, a, b, c):
        return a + b * (x / scale) ** -c

    best = None
    for start in (0.3, 1.2):
        x = (n / scale) ** -start
        w = 1 / std
        (a0, b0), *_ = np.linalg.lstsq(np.stack([w, x * w], axis=1), error * w, rcond=None)
        low, high = ([-np.inf, -np.inf, 0.1], [np.inf, np.inf, 2.0])
        found = scipy.optimize.least_squares(
            lambda v: (curve(n, *v) - error) / std,
            [a0, b0, min(max(start, 0.1001), 1.9999)],
            bounds=(low, high),
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
            x_scale=[max(abs(a0), 1e-3), max(abs(b0), 1e-3), 1.0],
        )
        for c in (found.x[2], 0.1, 2.0):
            x = (n / scale) ** -c
            (a, b), *_ = np.linalg.lstsq(np.stack([w, x * w], axis=1), error * w, rcond=None)
            S = float(np.sum(((a + b * x - error) / std) ** 2))
            if best is None or best[0] > S:
                best = S, float(a), float(b * scale**c), float(c)
    _, a, b, c = best
    J = np.stack([np.ones_like(n), n**-c, -b * np.log(n) * n**-c], axis=1) / std[:, None]
    size = np.sqrt((J**2).sum(axis=0))
    C = np.linalg.inv((J / size).T @ (J / size)) / np.outer(size, size)
    half = 1.96 * math.sqrt(C[0, 0])
    rows = 0.0 if a < target else math.inf
    if a < target and b > 0:
        rows = math.exp(math.log(b / (target - a)) / c)
    return {"rows_needed": float(rows), "interval": (a - half, a + half), "a": a, "b": b, "c": c}


@right("learning_curve", "golden section on a coarse grid, QR for each c")
def by_golden_section(n, error, std, target):
    n, error, std = np.asarray(n, np.float64), np.asarray(error, np.float64), np.asarray(std, np.float64)
    if np.unique(n).size < 3:
        raise ValueError("three sizes")
    if not np.all(std > 0):
        raise ValueError("std")
    top = n.min()

    def fit(c):
        X = np.column_stack([1 / std, (top / n) ** c / std])
        Q, R = np.linalg.qr(X)
        a, b = np.linalg.solve(R, Q.T @ (error / std))
        return float(np.sum((X @ [a, b] - error / std) ** 2)), a, b

    grid = np.linspace(0.1, 2.0, 39)
    k = int(np.argmin([fit(c)[0] for c in grid]))
    low, high = grid[max(k - 1, 0)], grid[min(k + 1, 38)]
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        one, two = high - ratio * (high - low), low + ratio * (high - low)
        if fit(one)[0] < fit(two)[0]:
            high = two
        else:
            low = one
    c = min([(low + high) / 2, 0.1, 2.0], key=lambda c: fit(c)[0])
    _, a, b = fit(c)
    b = b * top**c
    J = np.column_stack([np.ones(len(n)), n**-c, -b * np.log(n) * n**-c]) / std[:, None]
    sizes = np.linalg.norm(J, axis=0)
    R = np.linalg.qr(J / sizes)[1]
    inverse = np.linalg.inv(R)
    half = 1.96 * float(np.linalg.norm(inverse[0])) / sizes[0]
    needed = float("inf") if target <= a else 0.0 if b < 0 else float((b / (target - a)) ** (1.0 / c))
    ends = (float(a - half), float(a + half))
    return {"a": float(a), "b": float(b), "c": float(c), "interval": ends, "rows_needed": needed}


# ------------------------------------------------------------------------------------------------------ cost_curve

wrong(
    "cost_curve",
    "has no fixed part, so that the slope looks too flat",
    fails=["test_a_floor_hides_the_slope"],
    edit={"np.stack([1 / seconds, scaled": "np.stack([0 / seconds, scaled"},
)
wrong(
    "cost_curve",
    "minimises absolute errors, so that the largest size decides alone",
    fails=["test_the_least_relative_squares"],
    edit={
        "[1 / seconds, scaled**power / seconds]": "[1 + 0 * seconds, scaled**power]",
        "nnls(columns, np.ones(len(n)))": "nnls(columns, seconds)",
    },
)
wrong(
    "cost_curve",
    "prices the future linearly: seconds for one row times rows",
    fails=["test_rows_for_a_budget"],
    edit={"float(((budget - fixed) / per) ** (1 / power))": "float(n.max() * budget / seconds[np.argmax(n)])"},
)
wrong(
    "cost_curve",
    "gives rows for a budget that does not pay the fixed part",
    fails=["test_rows_for_a_budget"],
    edit={"0.0 if budget <= fixed else ": "", "((budget - fixed) / per)": "(abs(budget - fixed) / per)"},
)
wrong(
    "cost_curve",
    "lets power grow beyond 3",
    fails=["test_costs_at_their_limits"],
    edit={"0.5, 3.0)": "0.5, 5.0)"},
)
wrong(
    "cost_curve",
    "fits a fixed part of any sign, and sets it to 0 afterwards",
    fails=["test_costs_at_their_limits"],
    edit={
        "        found, length = scipy.optimize.nnls(columns, np.ones(len(n)))\n": (
            "        found = np.linalg.lstsq(columns, np.ones(len(n)))[0]\n"
            "        length = np.linalg.norm(columns @ found - 1)\n"
        ),
        "    per /= n.max() ** power\n": "    fixed, per = max(fixed, 0.0), per / n.max() ** power\n",
    },
)
equivalent(
    "cost_curve",
    diff="- found, length = scipy.optimize.nnls(columns, np.ones(len(n)))\n"
    "+ found, length = scipy.optimize.nnls(columns, np.ones(len(n), dtype=np.float32))",
    reason="1 is the same number in float32",
)
equivalent(
    "cost_curve",
    diff="- if len(np.unique(n)) < 3 or not np.all(seconds > 0):\n"
    "+ if len(np.unique(n)) < 3 or not np.all(seconds >= 0):",
    reason="1 / 0 is infinite, and nnls raises ValueError for it",
)
wrong(
    "cost_curve",
    "divides by per where per is 0",
    fails=["test_rows_for_a_budget"],
    edit={
        "math.inf if per == 0 else float(((budget - fixed) / per) ** (1 / power))": (
            "(float(budget - fixed) / float(per)) ** (1 / power)"
        )
    },
)


@right("cost_curve", "three lines for each power, the best that is allowed")
def by_cases(n, seconds, budget):
    n, seconds = np.array(n, dtype=float), np.array(seconds, dtype=float)
    if len(set(n.tolist())) < 3 or not (seconds > 0).all():
        raise ValueError("not enough")
    top = n.max()

    def fit(power):
        u, v = 1 / seconds, (n / top) ** power / seconds
        options = [(0.0, v.sum() / (v @ v)), (u.sum() / (u @ u), 0.0)]
        (f, q), *_ = np.linalg.lstsq(np.stack([u, v], axis=1), np.ones(len(n)), rcond=None)
        if f >= 0 and q >= 0:
            options.append((f, q))
        return min((float(np.sum((f * u + q * v - 1) ** 2)), f, q) for f, q in options)

    low, high = 0.5, 3.0
    for _ in range(9):
        grid = np.linspace(low, high, 31)
        k = int(np.argmin([fit(power)[0] for power in grid]))
        low, high = grid[max(k - 2, 0)], grid[min(k + 2, 30)]
    power = float(grid[k])
    _, fixed, per = fit(power)
    per = per / top**power
    rows = 0.0
    if budget > fixed:
        rows = math.exp(math.log((budget - fixed) / per) / power) if per else math.inf
    return {"affordable": float(rows), "power": power, "per": float(per), "fixed": float(fixed)}


@right("cost_curve", "bounded least squares in all three, then exact in two")
def by_least_squares(n, seconds, budget):
    n, seconds = np.asarray(n, np.float64), np.asarray(seconds, np.float64)
    if np.unique(n).size < 3 or not np.all(seconds > 0):
        raise ValueError("three sizes, positive seconds")
    x = n / n.max()

    def line(power):
        A = np.stack([1 / seconds, x**power / seconds], axis=1)
        return scipy.optimize.nnls(A, np.ones(len(n)))

    best = None
    for middle in np.linspace(0.55, 2.95, 25):
        result = scipy.optimize.minimize_scalar(
            lambda power: line(power)[1] ** 2,
            bounds=(middle - 0.051, middle + 0.051),
            method="bounded",
            options={"xatol": 1e-11},
        )
        for power in (min(max(result.x, 0.5), 3.0), 0.5, 3.0):
            S = line(power)[1]
            if best is None or best[0] > S:
                best = S, power
    power = float(best[1])
    (fixed, per), _ = line(power)
    per = float(per / n.max() ** power)
    fixed = float(fixed)
    return {
        "fixed": fixed,
        "per": per,
        "power": power,
        "affordable": 0.0 if fixed >= budget else float(((budget - fixed) / per) ** (1 / power)) if per else math.inf,
    }


# ---------------------------------------------------------------------------------------------- successive_halving

wrong(
    "successive_halving",
    "charges only the last round",
    fails=["test_every_run_is_charged"],
    edit={"spent += rows * len(left)": "spent = rows * len(left)"},
)
wrong(
    "successive_halving",
    "returns the budget, and not what was spent",
    fails=["test_every_run_is_charged"],
    edit={"return left[0], spent": "return left[0], budget if rounds else 0"},
)
wrong(
    "successive_halving",
    "keeps the worse half",
    fails=["test_rounds_and_survivors"],
    edit={"ranked[: (len(left) + 1) // 2]": "ranked[len(left) // 2 :]"},
)
wrong(
    "successive_halving",
    "spreads the whole budget over the survivors in each round",
    fails=["test_rounds_and_survivors"],
    edit={"budget // rounds // len(left)": "budget // len(left)"},
)
wrong(
    "successive_halving",
    "rounds half of the survivors down",
    fails=["test_rounds_and_survivors"],
    edit={"(len(left) + 1) // 2": "max(1, len(left) // 2)"},
)
wrong(
    "successive_halving",
    "lets a run that diverged survive",
    fails=["test_ties_and_divergence"],
    edit={"math.inf if math.isnan(losses[arm])": "-math.inf if math.isnan(losses[arm])"},
)
wrong(
    "successive_halving",
    "ranks by the least loss of all rounds so far",
    fails=["test_rounds_and_survivors"],
    edit={
        "    left, spent = list(range(arms)), 0\n": "    left, spent, losses = list(range(arms)), 0, {}\n",
        "losses = {arm: run(arm, rows) for arm in left}": (
            "losses |= {arm: min(losses.get(arm, math.inf), run(arm, rows)) for arm in left}"
        ),
    },
)
wrong(
    "successive_halving",
    "keeps the higher numbers where losses tie",
    fails=["test_ties_and_divergence"],
    edit={"sorted(left, key=": "sorted(left[::-1], key="},
)


@right("successive_halving", "recursion over the rounds")
def by_recursion(run, arms, budget):
    R = 0
    while arms > 2**R:
        R += 1
    if arms < 1 or budget < R * arms:
        raise ValueError("budget")

    def go(left, spent):
        if len(left) == 1:
            return left[0], spent
        each = (budget // R) // len(left)
        losses = []
        for arm in left:
            loss = run(arm, each)
            losses.append((float("inf") if loss != loss else loss, arm))
        keep = sorted(arm for _, arm in sorted(losses)[: math.ceil(len(left) / 2)])
        return go(keep, spent + each * len(left))

    return go(list(range(arms)), 0)


@right("successive_halving", "arrays and a stable argsort, arms from the last to the first")
def by_argsort(run, arms, budget):
    rounds = math.ceil(math.log2(arms)) if arms > 0 else 0
    if arms < 1 or budget < rounds * arms:
        raise ValueError("too little")
    left, total = np.arange(arms), 0
    for _ in range(rounds):
        share = budget // rounds // len(left)
        loss = np.array([run(int(arm), share) for arm in left[::-1]])[::-1]
        total += share * len(left)
        order = np.argsort(np.where(np.isnan(loss), np.inf, loss), kind="stable")
        left = np.sort(left[order[: -(-len(left) // 2)]])
    return int(left[0]), int(total)


# ---------------------------------------------------------------------------------------------------------- decide

wrong(
    "decide",
    "compares the losses at an equal share of the budget, and never looks ahead",
    fails=["test_regret_over_worlds"],
    edit={'curve["a"] + curve["b"] * rows[name] ** -curve["c"] + serving[name]': "measured[0, 0] + serving[name]"},
)
wrong(
    "decide",
    "extrapolates a straight line in log n and log loss, which has no floor",
    fails=["test_regret_over_worlds"],
    edit={
        "        curve = learning_curve(sizes, *measured.T, 0.0)\n": (
            "        line = np.polyfit(np.log(sizes), np.log(measured[:, 0]), 1)\n"
        ),
        'curve["a"] + curve["b"] * rows[name] ** -curve["c"] + serving[name]': (
            "math.exp(np.polyval(line, math.log(rows[name]))) + serving[name]"
        ),
    },
)
wrong(
    "decide",
    "guesses the exponent 0.6 and extrapolates from two sizes",
    fails=["test_regret_over_worlds"],
    edit={
        "        curve = learning_curve(sizes, *measured.T, 0.0)\n": (
            "        (e, _), (f, _), *_ = measured\n"
            "        b = (f - e) / (sizes[1] ** -0.6 - sizes[0] ** -0.6)\n"
            '        curve = {"a": e - b * sizes[0] ** -0.6, "b": b, "c": 0.6}\n'
        )
    },
)
wrong(
    "decide",
    "leaves the cost of serving out",
    fails=["test_serving_counts"],
    edit={'-curve["c"] + serving[name]': '-curve["c"]'},
)
wrong(
    "decide",
    "spends the whole budget on each name",
    fails=["test_regret_over_worlds"],
    edit={"(budget / len(able) - 5": "(budget - 5"},
)
wrong(
    "decide",
    "takes values within 0.01 for a near tie",
    fails=["test_near_ties_go_to_the_cheaper"],
    edit={"best + 0.002": "best + 0.01"},
)
equivalent(
    "decide",
    diff="- curve = learning_curve(sizes, *measured.T, 0.0)\n+ curve = learning_curve(sizes, *measured.T, 1.0)",
    reason="a target makes rows_needed only, which is not used",
)
equivalent(
    "decide",
    diff="- curve = learning_curve(sizes, *measured.T, 0.0)\n"
    "+ curve = learning_curve(sizes, *measured.T, np.float32(0))",
    reason="a target makes rows_needed only, which is not used",
)
equivalent(
    "decide",
    diff="- return able[0]\n+ return able[-1]",
    reason="there is one name",
)
equivalent(
    "decide",
    diff="- if not able:\n- raise ValueError('the budget trains none of them')\n+ pass",
    reason="the least value of no name raises ValueError, too",
)
wrong(
    "decide",
    "takes the least value, also in a near tie",
    fails=["test_near_ties_go_to_the_cheaper"],
    edit={"best + 0.002": "best"},
)


@right("decide", "a ladder of six sizes, a third apart, fitted in all three unknowns")
def by_ladder(names, price, serving, run, budget):
    able = {name: math.floor((budget - price[name][0]) / price[name][1]) for name in names}
    able = {name: n for name, n in able.items() if n >= 1}
    if not able:
        raise ValueError("nothing can be paid")
    if len(able) == 1:
        return next(iter(able))
    values = {}
    for name, n in able.items():
        fixed, each = price[name]
        share = budget / len(able) * 0.998 - 6 * fixed
        sizes = [max(1, int(share / each / 1.5 / 3**k)) for k in range(6)]
        losses = [run(name, size)[0] for size in sizes]
        std = 1.0
        best = None
        for c in np.linspace(0.1, 2, 400):
            x = np.array(sizes, float) ** -c
            A = np.stack([np.ones(6), x / x.max()], axis=1) / std
            (a, b), *_ = np.linalg.lstsq(A, np.array(losses), rcond=None)
            S = float(np.sum((A @ [a, b] - losses) ** 2))
            if best is None or best[0] > S:
                best = S, a + b / x.max() * n**-c
        values[name] = best[1] + serving[name]
    low = min(values.values())
    ties = [name for name, value in values.items() if value - low <= 0.002]
    ties.sort(key=lambda name: serving[name])
    return ties[0]


@right("decide", "two stages: all names, then the best two again")
def by_stages(names, price, serving, run, budget):
    goal = {name: int((budget - price[name][0]) / price[name][1]) for name in names}
    able = [name for name in names if goal[name] > 0]
    if len(able) < 2:
        if able:
            return able[0]
        raise ValueError("no name can be trained")
    seen = {name: [] for name in able}

    def stage(some, share):
        value = {}
        for name in some:
            fixed, each = price[name]
            n = (share - 4 * fixed) / each / 1.875
            for k in range(4):
                size = max(1, int(n / 2**k))
                seen[name].append((size, *run(name, size)))
            table = np.array(seen[name])
            found = learning_curve(table[:, 0], table[:, 1], table[:, 2], 0.0)  # noqa: F821
            value[name] = found["a"] + found["b"] * goal[name] ** -found["c"] + serving[name]
        return value

    value = stage(able, 0.499 * budget / len(able))
    two = sorted(value, key=value.get)[:2]
    value |= stage(two, 0.499 * budget / 2)
    least_value = min(value.values())
    return min((name for name in able if value[name] <= least_value + 0.002), key=serving.get)


# ----------------------------------------------------------------------------------------------------- Leaderboard

wrong(
    "Leaderboard",
    "shows scores exactly",
    fails=["test_only_progress_is_reported"],
    edit={"self.best = round(error / self.step) * self.step": "self.best = error"},
)
wrong(
    "Leaderboard",
    "shows each submission its own error, rounded",
    fails=["test_only_progress_is_reported"],
    edit={
        "        if error < self.best - self.step:\n            self.best": "        if True:\n            self.best"
    },
)
wrong(
    "Leaderboard",
    "shows any progress, however small",
    fails=["test_only_progress_is_reported"],
    edit={"error < self.best - self.step": "error < self.best"},
)
wrong(
    "Leaderboard",
    "compares with the last submission instead of the best",
    fails=["test_compared_with_the_best"],
    edit={
        "        return self.best\n": "        report, self.best = self.best, error\n        return report\n",
    },
)
wrong(
    "Leaderboard",
    "lets final be asked again",
    fails=["test_final_closes_the_board"],
    edit={"        self.over = True\n": ""},
)
wrong(
    "Leaderboard",
    "closes the board before it looks at the shape",
    fails=["test_final_closes_the_board"],
    edit={
        '            raise RuntimeError("final was called before")\n': (
            '            raise RuntimeError("final was called before")\n        self.over = True\n'
        )
    },
)


equivalent(
    "Leaderboard",
    diff="- self.best, self.over = (math.inf, False)\n+ self.best, self.over = (1e+30, False)",
    reason="no error is above 1",
)
equivalent(
    "Leaderboard",
    diff="- error = float(np.mean(predicted != self.y))\n"
    "+ error = float(np.mean(predicted != self.y, dtype=np.float32))",
    reason="no error is so near a limit that rounding decides",
)
equivalent(
    "Leaderboard",
    diff="~ Leaderboard.final: numbers below 1e-6 in size count as 0",
    reason="predictions are integers",
)


@right("Leaderboard", "a list of reports, counts of errors")
class Board:
    def __init__(self, y, step):
        self.labels, self.step, self.reports, self.closed = np.array(y), float(step), [], False

    def errors(self, predicted):
        if self.closed:
            raise RuntimeError("closed")
        if np.shape(predicted) != self.labels.shape:
            raise ValueError("shape")
        return int(np.count_nonzero(np.asarray(predicted) != self.labels)) / len(self.labels)

    def submit(self, predicted):
        error = self.errors(predicted)
        if not self.reports or error < self.reports[-1] - self.step:
            self.reports.append(float(round(error / self.step) * self.step))
        return self.reports[-1]

    def final(self, predicted):
        error = self.errors(predicted)
        self.closed = True
        return float(error)


@right("Leaderboard", "plain lists, labels gone after final")
class Lists:
    def __init__(self, y, step):
        self.labels, self.step, self.shown = y.tolist(), step, None

    def error(self, predicted):
        if self.labels is None:
            raise RuntimeError("over")
        if predicted.ndim != 1 or len(predicted) != len(self.labels):
            raise ValueError("length")
        return sum(int(a) != int(b) for a, b in zip(predicted.tolist(), self.labels, strict=True)) / len(self.labels)

    def submit(self, predicted):
        error = self.error(predicted)
        if self.shown is None or error < self.shown - self.step:
            self.shown = round(error / self.step) * self.step
        return self.shown

    def final(self, predicted):
        error = self.error(predicted)
        self.labels = None
        return error


# ---------------------------------------------------------------------------------------------------------- report

wrong(
    "report",
    "chooses by the test rows and publishes that number",
    fails=["test_the_test_rows_do_not_choose"],
    edit={"wrong[:, validation].sum(axis=1)": "wrong[:, test].sum(axis=1)"},
)
wrong(
    "report",
    "publishes the error on the validation rows",
    fails=["test_the_test_rows_do_not_choose"],
    edit={"wrong[best, test].mean()": "wrong[best, validation].mean()"},
)
wrong(
    "report",
    "chooses by validation and test rows together",
    fails=["test_the_test_rows_do_not_choose"],
    edit={"wrong[:, validation].sum(axis=1)": "wrong[:, np.append(validation, test)].sum(axis=1)"},
)
wrong(
    "report",
    "gives the standard deviation of one row instead of the mean's standard error",
    fails=["test_the_test_rows_do_not_choose"],
    edit={"math.sqrt(error * (1 - error) / len(test))": "math.sqrt(error * (1 - error))"},
)
wrong(
    "report",
    "divides by the number of validation rows in the standard error",
    fails=["test_the_test_rows_do_not_choose"],
    edit={"/ len(test))": "/ len(validation))"},
)
wrong(
    "report",
    "lets the test rows choose where candidates tie",
    fails=["test_reports_of_every_kind"],
    edit={"wrong[:, validation].sum(axis=1)": "wrong[:, validation].sum(axis=1) + wrong[:, test].mean(axis=1) / 2"},
)


@right("report", "loops and counts")
def by_loops(predictions, y, validation, test):
    best, fewest = 0, None
    for k in range(len(predictions)):
        errors = sum(1 for i in validation if predictions[k, i] != y[i])
        if fewest is None or errors < fewest:
            best, fewest = k, errors
    wrong = sum(1 for i in test if predictions[best, i] != y[i])
    share = wrong / len(test)
    return best, share, (share * (1 - share) / len(test)) ** 0.5


@right("report", "means of slices, numpy's std over the test rows")
def by_std(predictions, y, validation, test):
    share = (predictions[:, validation] != y[validation]).mean(axis=1)
    best = int(share.argmin())
    missed = (predictions[best][test] != y[test]).astype(float)
    return best, float(missed.mean()), float(missed.std() / np.sqrt(len(test)))
