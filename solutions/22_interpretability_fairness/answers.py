"""Wrong and right answers that prove the hidden tests of module 22, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

import itertools
import math

import numpy as np

from autograder.answers import right, wrong

# ----------------------------------------------------------------------------------------- permutation_importance

wrong(
    "permutation_importance",
    "shuffles each column of a group by a permutation of its own",
    fails=["test_columns_of_a_group_move_together"],
    edit={
        "            shuffled[:, columns] = X[np.ix_(rng.permutation(len(X)), columns)]\n": (
            "            for j in set(columns):\n                shuffled[:, j] = X[rng.permutation(len(X)), j]\n"
        )
    },
)
wrong(
    "permutation_importance",
    "uses one permutation for all groups and repeats",
    fails=["test_permutations_are_drawn_anew"],
    edit={
        "    before = loss(y, predict(X.copy()))\n": (
            "    before = loss(y, predict(X.copy()))\n    once = rng.permutation(len(X))\n"
        ),
        "X[np.ix_(rng.permutation(len(X)), columns)]": "X[np.ix_(once, columns)]",
    },
)
wrong(
    "permutation_importance",
    "leaves the columns of earlier groups shuffled",
    fails=["test_a_linear_model"],
    edit={
        "    change = np.zeros((len(groups), repeats))\n": (
            "    change = np.zeros((len(groups), repeats))\n    shuffled = X.copy()\n"
        ),
        "            shuffled = X.copy()\n": "",
    },
)
wrong(
    "permutation_importance",
    "returns the loss after shuffling, without subtracting the loss before",
    fails=["test_columns_of_a_group_move_together"],
    edit={"loss(y, predict(shuffled)) - before": "loss(y, predict(shuffled))"},
)
wrong(
    "permutation_importance",
    "sets the columns to their mean instead of shuffling them",
    fails=["test_a_linear_model"],
    edit={"X[np.ix_(rng.permutation(len(X)), columns)]": "X[:, columns].mean(axis=0)"},
)
wrong(
    "permutation_importance",
    "divides by repeats - 1 in the standard deviation",
    fails=["test_mean_and_std_over_repeats"],
    edit={"change.std(axis=1)": "change.std(axis=1, ddof=min(1, repeats - 1))"},
)


@right("permutation_importance", "repeats outside, a generator for each draw")
def by_repeats(predict, X, y, loss, repeats, seed, groups=None):
    m, d = X.shape
    chosen = groups if groups is not None else [[j] for j in range(d)]
    differences = [[] for _ in chosen]
    base = float(loss(y, predict(np.array(X))))
    for r in range(repeats):
        for g, columns in enumerate(chosen):
            order = np.random.default_rng([seed, r + 1, g + 1]).permutation(m)
            rows = np.array(X)
            for j in columns:
                rows[:, j] = X[order, j]
            differences[g].append(float(loss(y, predict(rows))) - base)
    table = np.array(differences, dtype=np.float64)
    mean = table.sum(axis=1) / repeats
    return mean, np.sqrt(((table - mean[:, None]) ** 2).sum(axis=1) / repeats)


@right("permutation_importance", "sorting random keys, the loss of X last")
def by_keys(predict, X, y, loss, repeats, seed, groups=None):
    draws = np.random.Generator(np.random.PCG64(seed))
    groups = [[j] for j in range(np.shape(X)[1])] if groups is None else list(groups)
    after = np.empty((len(groups), repeats))
    for (g, columns), r in itertools.product(enumerate(groups), range(repeats)):
        order = np.argsort(draws.random(len(X)))
        belongs = np.isin(np.arange(X.shape[1]), columns)
        after[g, r] = loss(y, predict(np.where(belongs, X[order], X)))
    after -= loss(y, predict(X))
    return np.mean(after, axis=1), np.std(after, axis=1)


# --------------------------------------------------------------------------------------------- partial_dependence

wrong(
    "partial_dependence",
    "predicts for one row, the mean of X",
    fails=["test_interactions_are_seen"],
    edit={
        "    rows = np.array(X, np.float64)\n": "    rows = np.array(X, np.float64).mean(axis=0, keepdims=True)\n",
    },
)
wrong(
    "partial_dependence",
    "takes the median of the predictions",
    fails=["test_interactions_are_seen"],
    edit={"np.mean(predict(": "np.median(predict("},
)
wrong(
    "partial_dependence",
    "keeps the dtype of X, so that the grid is cut to whole numbers",
    fails=["test_dependence_of_every_kind"],
    edit={"np.array(X, np.float64)": "np.array(X)"},
)


@right("partial_dependence", "np.where for each value")
def by_where(predict, X, column, grid):
    mask = np.arange(X.shape[1]) == column
    means = [float(np.asarray(predict(np.where(mask, u, X.astype(np.float64)))).mean()) for u in grid]
    return np.array(means, dtype=np.float64)


@right("partial_dependence", "row by row of X")
def by_rows(predict, X, column, grid):
    total = np.zeros(len(grid))
    for i, u in enumerate(grid):
        for start in range(0, len(X), 100):
            block = X[start : start + 100].astype(np.float64)
            block[:, column] = u
            total[i] += np.sum(predict(block))
    return total / len(X)


# ------------------------------------------------------------------------------------------------- shapley_values

wrong(
    "shapley_values",
    "weighs a coalition by s! (d - s)! / d!",
    fails=["test_mean_gain_over_all_orders"],
    edit={"1 / (d * math.comb(d - 1, s))": "1 / math.comb(d, s)"},
)
wrong(
    "shapley_values",
    "takes the plain mean of the gains over all coalitions",
    fails=["test_mean_gain_over_all_orders"],
    edit={"1 / (d * math.comb(d - 1, s))": "1 / 2 ** (d - 1)"},
)
wrong(
    "shapley_values",
    "takes only what a player adds to nobody and to all others",
    fails=["test_mean_gain_over_all_orders"],
    edit={"1 / (d * math.comb(d - 1, s))": "(0.5 if d > 1 else 1.0) if s in (0, d - 1) else 0.0"},
)
wrong(
    "shapley_values",
    "takes the empty coalition to be worth nothing",
    fails=["test_mean_gain_over_all_orders"],
    edit={"    phi = np.zeros(d)\n": "    phi = np.zeros(d)\n    v[0] = 0.0\n"},
)
wrong(
    "shapley_values",
    "asks for the coalitions of each player again",
    fails=["test_each_coalition_is_asked_once"],
    edit={
        "(v[without | (1 << j)] - v[without])": (
            "(np.concatenate([value(member[part]) for part in np.array_split(without | (1 << j), 16) if len(part)])"
            " - v[without])"
        )
    },
)
wrong(
    "shapley_values",
    "asks for all coalitions in one call",
    fails=["test_each_coalition_is_asked_once"],
    edit={
        "np.concatenate([value(member[start : start + 4096]) for start in range(0, 2**d, 4096)])": (
            "np.array(value(member))"
        )
    },
)


@right("shapley_values", "an array with one axis of length 2 for each player")
def by_axes(value, d):
    rows = np.array(list(itertools.product([False, True], repeat=d)))
    v = np.concatenate([np.asarray(value(rows[i : i + 1000])) for i in range(0, len(rows), 1000)]).reshape([2] * d)
    size = np.zeros([2] * (d - 1), int)
    for axis in range(d - 1):
        shape = [1] * (d - 1)
        shape[axis] = 2
        size = size + np.arange(2).reshape(shape)
    weight = np.array([math.factorial(s) * math.factorial(d - s - 1) / math.factorial(d) for s in range(d)])[size]
    return np.array([float(np.sum(weight * np.diff(v, axis=j).squeeze(axis=j))) for j in range(d)])


@right("shapley_values", "a dictionary from coalitions to values, loops")
def by_dictionary(value, d):
    worth = {}
    for start in range(0, 2**d, 4096):
        numbers = range(start, min(start + 4096, 2**d))
        rows = np.array([[bool(number >> j & 1) for j in range(d)] for number in numbers])
        worth.update(zip(numbers, np.asarray(value(rows)).tolist(), strict=True))
    phi = [0.0] * d
    gains = [[[] for _ in range(d)] for _ in range(d)]
    for number, here in worth.items():
        size = bin(number).count("1")
        for j in range(d):
            if not number >> j & 1:
                gains[j][size].append(worth[number | 1 << j] - here)
    for j in range(d):
        for parts in gains[j]:
            phi[j] += math.fsum(part / len(parts) for part in parts) / d
    return np.array(phi)


# ---------------------------------------------------------------------------------------------------- kernel_shap

wrong(
    "kernel_shap",
    "leaves out the constraint: the values do not add up",
    fails=["test_all_coalitions_are_exact"],
    edit={
        "    others = np.linalg.lstsq(A, root * (v - last * total), rcond=None)[0]\n": "",
        "    A = root[:, None] * (member[:, :-1] - last[:, None])\n": "    A = root[:, None] * member\n",
        "    return np.append(others, total - others.sum())": (
            "    return np.linalg.lstsq(A, root * v, rcond=None)[0]"
        ),
    },
)
wrong(
    "kernel_shap",
    "draws without complements",
    fails=["test_complements_are_paired"],
    edit={
        "size = rng.choice(sizes, samples // 2,": "size = rng.choice(sizes, samples,",
        "rng.random((samples // 2, d))": "rng.random((samples, d))",
        "np.concatenate([drawn, ~drawn]), np.ones(samples)": "drawn, np.ones(samples)",
    },
)
wrong(
    "kernel_shap",
    "weighs all coalitions alike where all are asked",
    fails=["test_all_coalitions_are_exact"],
    edit={"weight[member.sum(axis=1)]": "1.0 * (weight[member.sum(axis=1)] > 0)"},
)
wrong(
    "kernel_shap",
    "asks for all coalitions in one call",
    fails=["test_calls_of_4096"],
    edit={
        "np.concatenate([value(member[start : start + 4096]) for start in range(0, len(member), 4096)])": (
            "np.array(value(member))"
        )
    },
)
wrong(
    "kernel_shap",
    "draws every size with the same probability",
    fails=["test_the_law_of_the_draws"],
    edit={"law = 1 / (sizes * (d - sizes))": "law = np.ones(d - 1)"},
)
wrong(
    "kernel_shap",
    "draws each player by a fair coin, and skips nothing",
    fails=["test_the_law_of_the_draws"],
    edit={
        "        drawn = place < size[:, None]\n": (
            "        drawn = rng.random((samples // 2, d)) < 0.5\n"
            "        drawn[:, 0] |= ~drawn.any(axis=1)\n        drawn[:, 0] &= ~drawn.all(axis=1)\n"
        )
    },
)
wrong(
    "kernel_shap",
    "gives the draws the kernel's weight a second time",
    fails=["test_the_fit_is_the_best_one"],
    edit={
        "member, weight = np.concatenate([drawn, ~drawn]), np.ones(samples)": (
            "member, weight = np.concatenate([drawn, ~drawn]), np.tile(law[size - 1], 2)"
        )
    },
)
wrong(
    "kernel_shap",
    "solves the normal equations, and fails where draws are few",
    fails=["test_few_draws_raise_no_error"],
    edit={
        "np.linalg.lstsq(A, root * (v - last * total), rcond=None)[0]": (
            "np.linalg.solve(A.T @ A, A.T @ (root * (v - last * total)))"
        )
    },
)


@right("kernel_shap", "projected on the values with the right sum, draws one by one")
def projected(value, d, samples, seed):
    ends = np.asarray(value(np.stack([np.zeros(d, bool), np.ones(d, bool)])))
    gap = float(ends[1] - ends[0])
    rows, weights = [], []
    if d <= 60 and samples >= 2**d - 2:
        for s in range(1, d):
            for members in itertools.combinations(range(d), s):
                row = np.zeros(d, bool)
                row[list(members)] = True
                rows.append(row)
                weights.append((d - 1) / (math.comb(d, s) * s * (d - s)))
    else:
        draws = np.random.default_rng([seed, 22])
        chances = np.array([1 / s / (d - s) for s in range(1, d)])
        chances /= chances.sum()
        for _ in range(samples // 2):
            row = np.zeros(d, bool)
            row[draws.choice(d, 1 + draws.choice(d - 1, p=chances), replace=False)] = True
            rows += [row, ~row]
            weights += [1.0, 1.0]
    if not rows:
        return np.array([gap])
    Z, scale = np.array(rows), np.sqrt(weights)
    answers = [np.asarray(value(part)) for part in np.array_split(Z, -(-len(Z) // 4000))]
    target = np.concatenate(answers) - ends[0] - Z.sum(axis=1) * (gap / d)
    centred = Z - Z.sum(axis=1, keepdims=True) / d  # acts on values that sum to 0
    free = np.linalg.lstsq(centred * scale[:, None], target * scale, rcond=1e-12)[0]
    return gap / d + free - free.mean()


@right("kernel_shap", "the fit by pseudo-inverse, rows permuted")
def by_pinv(value, d, samples, seed):
    full_mask = np.ones((1, d), bool)
    empty = float(np.asarray(value(~full_mask))[0])
    total = float(np.asarray(value(full_mask))[0]) - empty
    if d == 1:
        return np.array([total])
    if samples >= 2**d - 2:
        Z = np.array(list(itertools.product([False, True], repeat=d)))[1:-1]
        s = Z.sum(axis=1)
        w = np.array([(d - 1) / math.comb(d, k) / k / (d - k) for k in s.tolist()])
    else:
        rng = np.random.default_rng(seed)
        p = np.array([1 / (k * (d - k)) for k in range(1, d)])
        k = 1 + np.searchsorted(np.cumsum(p / p.sum())[:-1], rng.random(samples // 2), side="right")
        first = rng.permuted(np.arange(d) < k[:, None], axis=1)
        Z, w = np.stack([first, ~first], axis=1).reshape(-1, d), np.ones(samples)
    v = np.empty(len(Z))
    for start in range(0, len(Z), 512):
        v[start : start + 512] = value(Z[start : start + 512])
    M = (Z[:, 1:].astype(float) - Z[:, :1]) * np.sqrt(w)[:, None]
    rest = np.linalg.pinv(M) @ (np.sqrt(w) * (v - empty - Z[:, 0] * total))
    return np.concatenate([[total - rest.sum()], rest])


# ------------------------------------------------------------------------------------------------------ tree_shap

wrong(
    "tree_shap",
    "counts a column once for each of its tests on the way",
    fails=["test_columns_count_once"],
    edit={
        "mine, theirs = passed.get(j, (True, np.ones(rows, bool)))": "mine, theirs = True, np.ones(rows, bool)",
        "passed | {j: (mine and goes, theirs & go)}": "passed | {(j, node): (mine and goes, theirs & go)}",
        "passed | {j: (mine and not goes, theirs & ~go)}": "passed | {(j, node): (mine and not goes, theirs & ~go)}",
        "        phi[list(passed)] += tree[": "        np.add.at(phi, [j for j, _ in passed], tree[",
        "(alone @ gain - other @ loss)": "(alone @ gain - other @ loss))",
    },
)
wrong(
    "tree_shap",
    "lets a row go left only below the threshold",
    fails=["test_thresholds_go_left"],
    edit={"x[j] <= threshold, background[:, j] <= threshold": "x[j] < threshold, background[:, j] < threshold"},
)
wrong(
    "tree_shap",
    "compares in float32",
    fails=["test_comparisons_in_float64"],
    edit={
        "x[j] <= threshold, background[:, j] <= threshold": (
            "np.float32(x[j]) <= np.float32(threshold), background[:, j].astype(np.float32) <= np.float32(threshold)"
        )
    },
)
wrong(
    "tree_shap",
    "takes the columns of B to lose nothing",
    fails=["test_tree_values_are_shapley_values"],
    edit={"(alone @ gain - other @ loss)": "(alone @ gain)"},
)
wrong(
    "tree_shap",
    "adds up the background rows and does not average them",
    fails=["test_tree_values_are_shapley_values"],
    edit={"phi / rows": "phi"},
)
wrong(
    "tree_shap",
    "counts leaves that neither row can reach by some column",
    fails=["test_tree_values_are_shapley_values"],
    edit={"reached = np.all(ours[:, None] | bg, axis=0)": "reached = np.ones(rows, bool)"},
)
wrong(
    "tree_shap",
    "takes absent columns to be 0",
    fails=["test_tree_values_are_shapley_values"],
    edit={"    rows = len(background)\n": "    background, rows = np.zeros((1, len(x))), 1\n"},
)


@wrong("tree_shap", "asks for all coalitions of the columns", fails=["test_sixty_columns"])
def by_all_coalitions(tree, x, background):
    d, inner = len(x), np.asarray(tree["children_left"]) >= 0
    used = np.unique(np.asarray(tree["feature"])[inner]).tolist()
    k = len(used)
    if k > 12:
        raise MemoryError("too many coalitions")
    member = (np.arange(2**k)[:, None] >> np.arange(k)) & 1 == 1
    v = np.zeros(2**k)
    for z in background:
        rows = np.tile(z, (2**k, 1))
        rows[:, used] = np.where(member, x[used], z[used])
        for i, row in enumerate(rows):
            node = 0
            while tree["children_left"][node] >= 0:
                left = row[tree["feature"][node]] <= tree["threshold"][node]
                node = tree["children_left"][node] if left else tree["children_right"][node]
            v[i] += tree["value"][node] / len(background)
    phi = np.zeros(d)
    for i, j in enumerate(used):
        without = np.flatnonzero(~member[:, i])
        weight = np.array([1 / (k * math.comb(k - 1, int(s))) for s in member[without].sum(axis=1)])
        phi[j] = weight @ (v[without | 1 << i] - v[without])
    return phi


@right("tree_shap", "a walk that follows both rows, one background row after the other")
def walking(tree, x, background):
    left, right = tree["children_left"].tolist(), tree["children_right"].tolist()
    feature, threshold, leaf = tree["feature"].tolist(), tree["threshold"].tolist(), tree["value"].tolist()
    mine, phi = x.tolist(), np.zeros(len(x))

    def walk(node, z, A, B):
        while left[node] >= 0:
            j = feature[node]
            for_x = left[node] if mine[j] <= threshold[node] else right[node]
            for_z = left[node] if z[j] <= threshold[node] else right[node]
            if for_x == for_z or j in A:
                node = for_x
            elif j in B:
                node = for_z
            else:
                walk(for_x, z, A | {j}, B)
                node, B = for_z, B | {j}
        a, b = len(A), len(B)
        orders = math.factorial(a + b)
        for j in A:
            phi[j] += leaf[node] * (math.factorial(a - 1) * math.factorial(b) / orders)
        for j in B:
            phi[j] -= leaf[node] * (math.factorial(a) * math.factorial(b - 1) / orders)

    for z in background.tolist():
        walk(0, z, frozenset(), frozenset())
    return phi / len(background)


@right("tree_shap", "leaves as boxes")
def boxes(tree, x, background):
    phi, b = np.zeros(len(x)), len(background)
    stack = [(0, {})]
    while stack:
        node, box = stack.pop()
        if tree["children_left"][node] != -1:
            j, t = int(tree["feature"][node]), float(tree["threshold"][node])
            low, high = box.get(j, (-np.inf, np.inf))
            stack.append((int(tree["children_left"][node]), {**box, j: (low, min(high, t))}))
            stack.append((int(tree["children_right"][node]), {**box, j: (max(low, t), high)}))
            continue
        inside = {}
        for j, (low, high) in box.items():
            above = low == -np.inf or x[j] > low
            others = np.ones(b, bool) if low == -np.inf else background[:, j] > low
            inside[j] = (bool(above and x[j] <= high), others & (background[:, j] <= high))
        for i in range(b):
            A = [j for j, (me, them) in inside.items() if me and not them[i]]
            B = [j for j, (me, them) in inside.items() if not me and them[i]]
            if any(not me and not them[i] for me, them in inside.values()):
                continue
            p, q, value = len(A), len(B), float(tree["value"][node]) / b
            for j in A:
                phi[j] += value * math.exp(math.lgamma(p) + math.lgamma(q + 1) - math.lgamma(p + q + 1))
            for j in B:
                phi[j] -= value * math.exp(math.lgamma(p + 1) + math.lgamma(q) - math.lgamma(p + q + 1))
    return phi


# ------------------------------------------------------------------------------------------- integrated_gradients

wrong(
    "integrated_gradients",
    "takes left endpoints",
    fails=["test_exact_on_quadratics"],
    edit={"(number % steps + 0.5) / steps": "(number % steps) / steps"},
)
wrong(
    "integrated_gradients",
    "takes right endpoints",
    fails=["test_exact_on_quadratics"],
    edit={"(number % steps + 0.5) / steps": "(number % steps + 1) / steps"},
)
wrong(
    "integrated_gradients",
    "leaves out the factor x - baseline",
    fails=["test_exact_on_quadratics"],
    edit={"(x - baseline) * (total / steps)": "total / steps"},
)
wrong(
    "integrated_gradients",
    "multiplies by x in place of x - baseline",
    fails=["test_exact_on_quadratics"],
    edit={"(x - baseline) * (total / steps)": "x * (total / steps)"},
)
wrong(
    "integrated_gradients",
    "loses points of a row that stand in one call",
    fails=["test_midpoints"],
    edit={
        "np.add.at(total, row, gradient(baseline + share[:, None] * (x[row] - baseline)))": (
            "total[row] += gradient(baseline + share[:, None] * (x[row] - baseline))"
        )
    },
)
wrong(
    "integrated_gradients",
    "makes all points before the first call",
    fails=["test_points_that_do_not_fit"],
    edit={
        "    points = len(x) * steps\n": (
            "    points = len(x) * steps\n    everything = np.empty((points, x.shape[1]))\n"
            "    for i in range(steps):\n        everything[i::steps] = baseline + (i + 0.5) / steps * (x - baseline)\n"
        ),
        "row, share = number // steps, (number % steps + 0.5) / steps": "row = number // steps",
        "gradient(baseline + share[:, None] * (x[row] - baseline))": "gradient(everything[number])",
    },
)


@right("integrated_gradients", "a loop over steps, rows in pieces")
def by_steps(gradient, x, baseline, steps):
    start = np.array(baseline, dtype=np.float64)
    way = np.array(x, dtype=np.float64) - start
    total = np.zeros_like(way)
    for i in range(steps):
        for first in range(0, len(way), 1024):
            part = slice(first, first + 1024)
            total[part] += gradient(start + (2 * i + 1) / (2 * steps) * way[part])
    return way * total / steps


@right("integrated_gradients", "row by row")
def row_by_row(gradient, x, baseline, steps):
    result = np.empty(x.shape)
    baseline = baseline.astype(float)
    for r in range(len(x)):
        delta, total = x[r].astype(float) - baseline, 0.0
        for start in range(0, steps, 1000):
            alpha = (np.arange(start, min(start + 1000, steps)) + 0.5) / steps
            total = total + np.sum(gradient(baseline + np.outer(alpha, delta)), axis=0)
        result[r] = delta * (total / steps)
    return result


# ---------------------------------------------------------------------------------------------------- group_rates

wrong(
    "group_rates",
    "gives PPV as TPR, and TPR as PPV",
    fails=["test_rates_by_loops"],
    edit={
        '"tpr": share(hit, positive)': '"tpr": share(hit, selected)',
        '"ppv": share(hit, selected)': '"ppv": share(hit, positive)',
    },
)
wrong(
    "group_rates",
    "divides the false positives by all rows that are selected",
    fails=["test_rates_by_loops"],
    edit={"share(selected - hit, count - positive)": "share(selected - hit, selected)"},
)
wrong(
    "group_rates",
    "takes the share of nobody to be 0",
    fails=["test_shares_of_nobody"],
    edit={"out=np.full(groups, np.nan)": "out=np.zeros(groups)"},
)
wrong(
    "group_rates",
    "leaves out groups without a row",
    fails=["test_shares_of_nobody"],
    edit={
        "    groups = int(group.max()) + 1 if len(group) else 0\n": (
            "    group = np.unique(group, return_inverse=True)[1].reshape(-1)\n"
            "    groups = int(group.max()) + 1 if len(group) else 0\n"
        )
    },
)


@wrong("group_rates", "goes through all rows once for each group", fails=["test_a_hundred_thousand_groups"])
def group_by_group(y, predicted, group):
    groups = int(max(group)) + 1 if len(group) else 0
    if groups * len(group) > 10**9:  # it would take an hour
        raise TimeoutError("too many groups")
    found = {key: np.full(groups, np.nan) for key in ("prevalence", "selection", "tpr", "fpr", "ppv")}
    found["count"] = np.zeros(groups, np.int64)
    for g in range(groups):
        mine = np.asarray(group) == g
        t, p = np.asarray(y)[mine] == 1, np.asarray(predicted)[mine] == 1
        found["count"][g] = mine.sum()
        parts = {"prevalence": t, "selection": p, "tpr": p[t], "fpr": p[~t], "ppv": t[p]}
        for key, part in parts.items():
            if len(part):
                found[key][g] = part.mean()
    return found


@right("group_rates", "one table of counts for the four kinds of row")
def by_table(y, predicted, group):
    g = np.asarray(group).astype(np.int64)
    G = int(g.max(initial=-1)) + 1
    kind = 4 * g + 2 * (np.asarray(y) != 0) + (np.asarray(predicted) != 0)
    tn, fp, fn, tp = np.bincount(kind, minlength=4 * G).reshape(G, 4).T.astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "count": (tn + fp + fn + tp).astype(np.int64),
            "prevalence": (fn + tp) / (tn + fp + fn + tp),
            "selection": (fp + tp) / (tn + fp + fn + tp),
            "tpr": tp / (tp + fn),
            "fpr": fp / (fp + tn),
            "ppv": tp / (tp + fp),
        }


@right("group_rates", "sorted by group, sums between borders")
def by_sorting(y, predicted, group):
    group = np.asarray(group, dtype=np.int64)
    order = np.argsort(group, kind="stable")
    t, p = (np.asarray(part, dtype=bool)[order] for part in (y, predicted))
    G = 0 if group.size == 0 else int(np.max(group)) + 1
    borders = np.searchsorted(group[order], np.arange(G + 1))

    def total(values):
        sums = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
        return sums[borders[1:]] - sums[borders[:-1]] if G else np.zeros(0, np.int64)

    def ratio(a, b):
        return np.array([u / v if v else math.nan for u, v in zip(a.tolist(), b.tolist(), strict=True)], dtype=float)

    rows, real, chosen, both = total(np.ones(len(t), int)), total(t), total(p), total(t & p)
    result = {"count": rows, "ppv": ratio(both, chosen), "tpr": ratio(both, real)}
    result |= {"fpr": ratio(chosen - both, rows - real), "prevalence": ratio(real, rows)}
    return result | {"selection": ratio(chosen, rows)}


# ------------------------------------------------------------------------------------------------- equalised_odds


wrong(
    "equalised_odds",
    "looks for crossings of neighbouring groups only",
    fails=["test_crossings_of_every_pair"],
    edit={
        "        for b in hulls:\n": (
            "        for b in [g for g in hulls if abs([*hulls].index(g) - [*hulls].index(a)) == 1]:\n"
        )
    },
)


@wrong("equalised_odds", "takes one threshold for all groups for equalised odds", fails=["test_rates_are_equal"])
def one_threshold(score, y, group):
    score, y, group = np.asarray(score, float), np.asarray(y), np.asarray(group)
    for g in np.unique(group):
        if len(np.unique(y[group == g])) < 2:
            raise ValueError("one class")
    order = np.argsort(-score)
    gain = np.cumsum(2 * (y[order] == 1) - 1)
    best = int(np.argmax(gain))
    threshold = float(score[order][best]) if gain[best] > 0 else math.inf
    return {int(g): [(threshold, 1.0)] for g in np.unique(group)}


wrong(
    "equalised_odds",
    "makes only TPR equal: better groups keep their own FPR",
    fails=["test_rates_are_equal"],
    edit={
        "        top = float(np.interp(f_best, f, t))\n": (
            "        f_own = float(np.interp(t_best, t, f))\n        top = float(np.interp(f_own, f, t))\n"
        ),
        "keep = (t_best - f_best) / (top - f_best) if top > t_best else 1.0": "keep = 1.0",
        "int(np.searchsorted(f, f_best))": "int(np.searchsorted(f, f_own))",
        "part = (f_best - f[right - 1])": "part = (f_own - f[right - 1])",
    },
)
wrong(
    "equalised_odds",
    "looks for the common point at the corners only, and not where borders cross",
    fails=["test_errors_are_the_least"],
    edit={"candidates.append(candidates[0][k] + share * (candidates[0][k + 1] - candidates[0][k]))": "pass"},
)
wrong(
    "equalised_odds",
    "takes the points of the curve and not of its hull",
    fails=["test_errors_are_the_least"],
    edit={"                corners.pop()\n            corners": "                break\n            corners"},
)
wrong(
    "equalised_odds",
    "separates equal scores",
    fails=["test_equal_scores_stay_together"],
    edit={"np.append(s[1:] != s[:-1], True)": "np.ones(len(s), bool)"},
)
wrong(
    "equalised_odds",
    "weighs both kinds of error alike, whatever the numbers of rows are",
    fails=["test_errors_are_the_least"],
    edit={"np.argmin(np.sum(~truth) * f_all - np.sum(truth) * t_all)": "np.argmin(f_all - t_all)"},
)
wrong(
    "equalised_odds",
    "is content with deciding at random",
    fails=["test_errors_are_the_least"],
    edit={"t_all = np.min([np.interp(f_all, f, t) for f, t, _ in hulls.values()], axis=0)": "t_all = f_all"},
)
wrong(
    "equalised_odds",
    "reads no rate into a group of one class, and goes on",
    fails=["test_groups_of_one_class_are_refused"],
    edit={"        if positive.all() or not positive.any():\n": "        if len(positive) == 0:\n"},
)


@right("equalised_odds", "hulls as lines, the lower envelope, mixing from the upper corners and the diagonal")
def by_lines(score, y, group):
    score, y, group = np.asarray(score).astype(np.float64), np.asarray(y).astype(np.int64), np.asarray(group)
    names = [int(g) for g in np.unique(group)]
    curves = {}
    for g in names:
        s, t = score[group == g], y[group == g]
        n1 = int(t.sum())
        n0 = len(t) - n1
        if not n0 or not n1:
            raise ValueError("a class is missing")
        levels, inverse = np.unique(-s, return_inverse=True)
        tp = np.cumsum(np.bincount(inverse.ravel(), weights=t, minlength=len(levels)))
        fp = np.cumsum(np.bincount(inverse.ravel(), weights=1 - t, minlength=len(levels)))
        hull = []
        for point in [(0.0, 0.0, math.inf), *zip(fp.tolist(), tp.tolist(), (-levels).tolist(), strict=True)]:
            while len(hull) >= 2:
                ax, ay = hull[-1][0] - hull[-2][0], hull[-1][1] - hull[-2][1]
                bx, by = point[0] - hull[-1][0], point[1] - hull[-1][1]
                if ax * by - ay * bx < 0:
                    break
                hull.pop()
            hull.append(point)
        curves[g] = [(a / n0, b / n1, c) for a, b, c in hull]

    def height(g, f):
        best = 0.0
        for (f0, t0, _), (f1, t1, _) in itertools.pairwise(curves[g]):
            if f0 <= f <= f1:
                best = max(best, t1 if f1 == f0 else t0 + (t1 - t0) * (f - f0) / (f1 - f0))
        return best

    # The lower envelope is concave: golden corners by repeated cutting with the lines at its optimum.
    def lines_at(f):
        return min(height(g, f) for g in names)

    n1, n0 = int(y.sum()), int(len(y) - y.sum())
    spots = sorted({corner[0] for g in names for corner in curves[g]})
    low, high = 0, len(spots) - 1
    values = {}

    def worth(i):
        if i not in values:
            values[i] = n1 * lines_at(spots[i]) - n0 * spots[i]
        return values[i]

    if len(spots) > 400:
        while high - low > 50:
            a, b = low + (high - low) // 3, high - (high - low) // 3
            if worth(a) < worth(b):
                low = a
            else:
                high = b
        low, high = max(low - 1, 0), min(high + 1, len(spots) - 1)
    tried = list(spots[low : high + 1])
    for f0, f1 in itertools.pairwise(spots[low : high + 1]):
        ends = [(height(g, f0), height(g, f1)) for g in names]
        if f0 == 0.0:
            ends = [(max([c[1] for c in curves[g] if c[0] == 0.0]), height(g, f1)) for g in names]
        for (a0, a1), (b0, b1) in itertools.combinations(ends, 2):
            if (a0 - b0) * (a1 - b1) < 0:
                tried.append(f0 + (f1 - f0) * (a0 - b0) / ((a0 - b0) - (a1 - b1)))
    f_best = max(tried, key=lambda f: n1 * lines_at(f) - n0 * f)
    t_best = lines_at(f_best)
    rules = {}
    for g in names:
        top = height(g, f_best)
        keep = 1.0 if top <= t_best else (t_best - f_best) / (top - f_best)
        pairs = [(math.inf, (1 - keep) * (1 - f_best)), (-math.inf, (1 - keep) * f_best)]
        for (f0, _, c0), (f1, _, c1) in itertools.pairwise(curves[g]):
            if f0 < f1 and f0 <= f_best <= f1:
                share = (f_best - f0) / (f1 - f0)
                pairs += [(c0, keep * (1 - share)), (c1, keep * share)]
                break
        else:
            pairs.append((curves[g][-1][2], keep))
        rules[g] = pairs
    return rules


@right("equalised_odds", "rules on every score, dominated thresholds with probability 0")
def with_zeros(score, y, group):
    score, group = np.asarray(score), np.asarray(group)
    labels = np.asarray(y).astype(bool)
    fronts = {}
    for g in np.unique(group).tolist():
        here = group == g
        s, t = score[here], labels[here]
        if t.sum() in (0, len(t)):
            raise ValueError("a class is missing")
        place = np.lexsort((s,))[::-1]
        s, t = s[place], t[place]
        ends = np.flatnonzero(np.concatenate([s[:-1] > s[1:], [True]]))
        up = np.concatenate([[0], np.cumsum(t)[ends]]).tolist()
        out = np.concatenate([[0], np.cumsum(~t)[ends]]).tolist()
        cut = [math.inf, *s[ends].astype(float).tolist()]
        keep = []
        for i in range(len(up)):
            while len(keep) > 1:
                a, b = keep[-2], keep[-1]
                if (up[b] - up[a]) * (out[i] - out[a]) > (up[i] - up[a]) * (out[b] - out[a]):
                    break
                keep.pop()
            keep.append(i)
        f = np.array([out[i] for i in keep]) / out[-1]
        h = np.array([up[i] for i in keep]) / up[-1]
        cuts = [cut[i] for i in keep]
        while len(f) > 1 and f[1] == 0:
            f, h, cuts = f[1:], h[1:], cuts[1:]
        fronts[g] = (f, h, cuts)
    grid = np.unique(np.concatenate([f for f, _, _ in fronts.values()]))
    table = np.array([np.interp(grid, f, h) for f, h, _ in fronts.values()])
    extra = []
    for a, b in itertools.combinations(range(len(table)), 2):
        d = table[a] - table[b]
        for k in np.flatnonzero(np.sign(d[:-1]) * np.sign(d[1:]) < 0):
            extra.append(grid[k] + d[k] / (d[k] - d[k + 1]) * (grid[k + 1] - grid[k]))
    grid = np.concatenate([grid, extra])
    low = np.min([np.interp(grid, f, h) for f, h, _ in fronts.values()], axis=0)
    at = int(np.argmax(labels.sum() * low - (~labels).sum() * grid))
    f_star, t_star = float(grid[at]), float(low[at])
    answer = {}
    for g, (f, h, cuts) in fronts.items():
        chances = np.zeros(len(f))
        k = min(int(np.searchsorted(f, f_star, side="right")) - 1, len(f) - 1)
        part = (f_star - f[k]) / (f[k + 1] - f[k]) if k + 1 < len(f) else 0.0
        chances[k] = 1 - part
        if k + 1 < len(f):
            chances[k + 1] = part
        top = float(chances @ h)
        own = 1.0 if top - t_star <= 0 else (t_star - f_star) / (top - f_star)
        pairs = [(float(c), float(own * p)) for c, p in zip(cuts, chances, strict=True)]
        answer[int(g)] = [*pairs, (-math.inf, float((1 - own) * f_star)), (math.inf, float((1 - own) * (1 - f_star)))]
    return answer


# ------------------------------------------------------------------------------------------------- counterfactual

wrong(
    "counterfactual",
    "changes the column with the largest coefficient, whatever it costs",
    fails=["test_the_cheapest_change"],
    edit={"np.argsort(cost[useful] / np.abs(w[useful]))": "np.argsort(-np.abs(w[useful]))"},
)
wrong(
    "counterfactual",
    "changes the column with the least cost, whatever it gains",
    fails=["test_the_cheapest_change"],
    edit={"np.argsort(cost[useful] / np.abs(w[useful]))": "np.argsort(cost[useful])"},
)
wrong(
    "counterfactual",
    "raises columns only, and never lowers one",
    fails=["test_the_cheapest_change"],
    edit={"end = high[j] if w[j] > 0 else low[j]": "end = high[j] if w[j] > 0 else x[j]"},
)
wrong(
    "counterfactual",
    "changes one column only",
    fails=["test_the_cheapest_change"],
    edit={
        "        missing -= min(gain, missing)\n": (
            "        if gain >= missing:\n            missing = 0.0\n        else:\n            result[j] = x[j]\n"
        )
    },
)
wrong(
    "counterfactual",
    "goes beyond the bounds",
    fails=["test_bounds_are_kept"],
    edit={
        "        if gain <= missing:\n": "        if gain <= missing and w[j] > np.inf:\n",
        "np.clip(x[j] + missing / w[j], low[j], high[j])": "x[j] + missing / w[j]",
        "missing -= min(gain, missing)": "missing = 0.0",
    },
)
wrong(
    "counterfactual",
    "returns the nearest try where nothing is enough",
    fails=["test_nothing_to_change_and_nothing_possible"],
    edit={"return result if missing <= 0 else None": "return result"},
)


@right("counterfactual", "cumulative gains in the order of the prices")
def by_cumulative(w, b, x, cost, low, high):
    short = -(float(np.dot(w, x)) + b)
    if short <= 0:
        return x.copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        price = np.where(w != 0, cost / np.abs(w), np.inf)
        ends = np.where(w > 0, high, low)
        gains = np.where(w != 0, w * (ends - x), 0.0)
    order = np.argsort(price, kind="stable")
    reached = np.cumsum(gains[order])
    if not reached[-1] >= short:
        return None
    last = int(np.argmax(reached >= short))
    changed = x.copy()
    changed[order[:last]] = ends[order[:last]]
    changed[order[:last][w[order[:last]] == 0]] = x[order[:last][w[order[:last]] == 0]]
    before = reached[last - 1] if last else 0.0
    j = order[last]
    changed[j] = min(max(x[j] + (short - before) / w[j], low[j]), high[j])
    return changed


@right("counterfactual", "a list of prices, the cheapest taken out again and again")
def by_list(w, b, x, cost, low, high):
    point = [float(number) for number in x]
    sellers = sorted((float(c) / abs(float(v)), j) for j, (c, v) in enumerate(zip(cost, w, strict=True)) if v != 0)
    score = float(w @ x) + b
    for _, j in sellers:
        if score >= 0:
            break
        limit = float(high[j]) if w[j] > 0 else float(low[j])
        wanted = point[j] - score / float(w[j])
        inside = wanted <= limit if w[j] > 0 else wanted >= limit
        if inside:
            point[j], score = wanted, 0.0
        else:
            score += float(w[j]) * (limit - point[j])
            point[j] = limit
    return np.array(point) if score >= 0 else None
