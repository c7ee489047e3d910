"""Wrong and right answers that prove the hidden tests of module 20, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821, B905

import random

import numpy as np

from autograder.answers import equivalent, right, wrong

equivalent(
    "split_dirichlet",
    diff="""- cuts = np.rint(np.cumsum(shares)[:-1] * len(rows)).astype(int)
+ cuts = (np.cumsum(shares)[:-1] * len(rows)).astype(int)""",
    reason="a client's number of rows may be rounded up or down; both cuts keep it within 1 of its share",
)

equivalent(
    "quantize_update",
    diff="~ quantize_update: float32 is returned",
    reason="int8 and a Python float are returned, never an array of float64",
)
equivalent(
    "quantize_update",
    diff="""- size = np.floor(level + np.random.default_rng(seed).random(len(x)))
+ size = np.ceil(level + np.random.default_rng(seed).random(len(x))) - 1""",
    reason="they differ only where level + u is a whole number, which has the probability of rounding errors",
)

# ------------------------------------------------------------------------------------------------ split_dirichlet

wrong(
    "split_dirichlet",
    "draws the shares of the clients once, for all classes",
    fails=["test_classes_are_drawn_independently"],
    edit={
        "    for label in np.unique(labels):\n": (
            "    shares = rng.dirichlet(np.full(clients, alpha))\n    for label in np.unique(labels):\n"
        ),
        "        shares = rng.dirichlet(np.full(clients, alpha))\n": "",
        "rng.permutation(clients)": "range(clients)",
    },
)
wrong(
    "split_dirichlet",
    "draws each row's client by the shares, so that numbers vary by more than rounding",
    fails=["test_numbers_follow_the_shares"],
    edit={
        "cuts = np.rint(np.cumsum(shares)[:-1] * len(rows)).astype(int)": (
            "cuts = np.cumsum(rng.multinomial(len(rows), shares))[:-1]"
        )
    },
)
wrong(
    "split_dirichlet",
    "gives each client a block of neighbouring rows of a class",
    fails=["test_rows_are_drawn_at_random"],
    edit={"rng.permutation(np.flatnonzero(labels == label))": "np.flatnonzero(labels == label)"},
)
wrong(
    "split_dirichlet",
    "divides gamma variables by their sum, which may be 0 for a small alpha",
    fails=["test_shares_have_the_law"],
    edit={
        "shares = rng.dirichlet(np.full(clients, alpha))": (
            "shares = rng.gamma(alpha, size=clients)\n        shares = shares / max(shares.sum(), 5e-324)"
        ),
        "rng.permutation(clients)": "range(clients)",
    },
)
wrong(
    "split_dirichlet",
    "takes the rows for a poor client from the first one that can spare some, not from one that has most",
    fails=["test_nobody_has_too_few"],
    edit={"sizes.index(max(sizes))": "next(i for i, size in enumerate(sizes) if size > least)"},
)
wrong(
    "split_dirichlet",
    "gives two neighbouring seeds the same parts",
    fails=["test_a_split_depends_on_its_seed_alone"],
    edit={"np.random.default_rng(seed)": "np.random.default_rng(seed // 2)"},
)
wrong(
    "split_dirichlet",
    "leaves clients with fewer rows than `least`",
    fails=["test_nobody_has_too_few"],
    edit={"while min(sizes) < least:": "while min(sizes) < min(least, 1):"},
)
wrong(
    "split_dirichlet",
    "draws the shares from uniform numbers divided by their sum",
    fails=["test_shares_have_the_law"],
    edit={
        "shares = rng.dirichlet(np.full(clients, alpha))": (
            "shares = rng.random(clients) ** (1 / alpha) + 1e-300\n        shares = shares / shares.sum()"
        )
    },
)


@right("split_dirichlet", "a heap of sizes, and pieces taken one by one")
def by_pieces(labels, clients, alpha, seed, least=1):
    import heapq

    labels = np.asarray(labels)
    if least * clients > labels.size:
        raise ValueError("too few rows")
    rng = np.random.default_rng([seed, 20])
    owner = np.empty(labels.size, np.int64)
    for label in set(labels.tolist()):
        rows = [i for i, value in enumerate(labels.tolist()) if value == label]
        rng.shuffle(rows)
        share = rng.dirichlet([alpha] * clients)
        left, begun, drawn = len(rows), 0, 0.0
        for client in range(clients):
            drawn += share[client]
            end = len(rows) if client == clients - 1 else min(len(rows), int(drawn * len(rows)))
            owner[rows[begun:end]] = client
            left, begun = left - (end - begun), max(begun, end)
    parts = [np.flatnonzero(owner == client).tolist() for client in range(clients)]
    while True:
        small = min(range(clients), key=lambda c: len(parts[c]))
        if len(parts[small]) >= least:
            break
        (large,) = heapq.nlargest(1, range(clients), key=lambda c: len(parts[c]))
        parts[small].append(parts[large].pop(0))
    return [np.array(sorted(part), dtype=np.int64) for part in parts]


@right("split_dirichlet", "largest remainders, and Python's generator for the rows")
def by_remainders(labels, clients, alpha, seed, least=1):
    if len(labels) < clients * least:
        raise ValueError("rows")
    draw, shuffle = np.random.default_rng(seed), random.Random(seed)
    parts = {client: set() for client in range(clients)}
    classes, places = np.unique(labels, return_inverse=True)
    for k in range(len(classes)):
        rows = np.flatnonzero(places == k).tolist()
        shuffle.shuffle(rows)
        wanted = draw.dirichlet(alpha * np.ones(clients)) * len(rows)
        number = np.floor(wanted).astype(int)
        for client in np.argsort(number - wanted)[: len(rows) - number.sum()]:
            number[client] += 1
        for client in range(clients):
            parts[client].update(rows.pop() for _ in range(number[client]))
    while (poor := min(parts, key=lambda c: len(parts[c]))) is not None and len(parts[poor]) < least:
        rich = max(parts, key=lambda c: len(parts[c]))
        parts[poor].add(parts[rich].pop())
    return [np.fromiter(sorted(part), np.int64, len(part)) for part in parts.values()]


# --------------------------------------------------------------------------------------------------------- fedavg

wrong(
    "fedavg",
    "gives every client the same weight",
    fails=["test_weights_are_rows"],
    edit={"count / total * array": "array / len(counts)"},
)
wrong(
    "fedavg",
    "adds the weighted models up and does not divide",
    fails=["test_weights_are_rows"],
    edit={"count / total * array": "count * array"},
)
wrong(
    "fedavg",
    "makes floats of integers",
    fails=["test_dtypes_are_kept"],
    edit={".astype(dtypes[key])": ".astype(np.float32 if dtypes[key] == np.float32 else np.float64)"},
)
wrong(
    "fedavg",
    "cuts the digits behind the point of an integer's mean",
    fails=["test_dtypes_are_kept"],
    edit={"np.rint(value)": "np.trunc(value)"},
)
wrong(
    "fedavg",
    "multiplies the arrays of an absent client by 0, and gets nan",
    fails=["test_an_absent_client_has_no_influence"],
    edit={"if count > 0:": "if count >= 0:"},
)
wrong(
    "fedavg",
    "adds up in the dtype of the arrays",
    fails=["test_sums_are_taken_in_float64"],
    edit={
        "np.zeros(np.shape(array)) for key": (
            "np.zeros(np.shape(array), np.float32 if array.dtype == np.float32 else np.float64) for key"
        )
    },
)


@wrong("fedavg", "collects all models in a list first", fails=["test_a_hundred_models_one_at_a_time"])
def collected(updates, counts):
    updates = [{key: np.array(array) for key, array in update.items()} for update in updates]
    if len(updates) != len(counts) or sum(counts) == 0 or any(u.keys() != updates[0].keys() for u in updates):
        raise ValueError("bad federation")
    found = {}
    for key, first in updates[0].items():
        mean = np.asarray(sum(c / sum(counts) * np.asarray(u[key], float) for u, c in zip(updates, counts) if c))
        found[key] = np.asarray(np.rint(mean) if first.dtype.kind in "iu" else mean).astype(first.dtype)
    return found


@wrong("fedavg", "keeps references to models that are filled anew", fails=["test_a_hundred_models_one_at_a_time"])
def referenced(updates, counts):
    updates = list(updates)
    if len(updates) != len(counts) or sum(counts) == 0 or any(u.keys() != updates[0].keys() for u in updates):
        raise ValueError("bad federation")
    found = {}
    for key, first in updates[0].items():
        mean = np.zeros(np.shape(first))
        for update, count in zip(updates, counts):
            if count:
                mean += count / sum(counts) * update[key]
        found[key] = np.asarray(np.rint(mean) if first.dtype.kind in "iu" else mean).astype(first.dtype)
    return found


@right("fedavg", "a running mean, client by client")
def running(updates, counts):
    seen, means, kinds, number = 0, {}, {}, 0
    counts = list(counts)
    for number, update in enumerate(updates, start=1):
        if number > len(counts):
            raise ValueError("more updates than counts")
        if number == 1:
            kinds = {key: np.asarray(array).dtype for key, array in update.items()}
            means = {key: np.zeros(np.asarray(array).shape) for key, array in update.items()}
        if set(update) != set(kinds):
            raise ValueError("other keys")
        count = counts[number - 1]
        seen += count
        for key in kinds if count else ():
            means[key] = means[key] + (np.asarray(update[key], float) - means[key]) * (count / seen)
    if number < len(counts) or seen == 0:
        raise ValueError("fewer updates than counts, or no rows")
    for key, kind in kinds.items():
        mean = np.floor(means[key] + 0.5) if kind.kind in "iu" else means[key]
        means[key] = np.array(mean, dtype=kind)
    return means


@right("fedavg", "sums times counts, divided at the end")
def divided(updates, counts):
    source, kinds = iter(updates), None
    total, whole = {}, sum(counts)
    for count in counts:
        update = next(source, None)
        if update is None:
            raise ValueError("too few updates")
        kinds = {key: array.dtype for key, array in update.items()} if kinds is None else kinds
        if sorted(kinds) != sorted(update):
            raise ValueError("keys")
        for key in kinds:
            term = np.float64(0) if count == 0 else np.multiply(count / whole, update[key], dtype=np.float64)
            total[key] = np.add(total.get(key, np.zeros(np.shape(update[key]))), term)
    if whole == 0 or next(source, None) is not None:
        raise ValueError("no rows, or too many updates")
    return {
        key: np.asarray(np.round(total[key]) if kind.kind in "iu" else total[key]).astype(kind)
        for key, kind in kinds.items()
    }


# --------------------------------------------------------------------------------------------------- local_update

wrong(
    "local_update",
    "pulls towards zero, and not towards the server's parameters",
    fails=["test_the_proximal_term"],
    edit={"mu * (y - theta)": "mu * y"},
)
wrong(
    "local_update",
    "subtracts the shift from the gradient",
    fails=["test_the_shift"],
    edit={"direction + shift": "direction - shift"},
)
wrong(
    "local_update",
    "asks for the gradient at theta in every step",
    fails=["test_steps_along_the_gradient"],
    edit={"grad(y)": "grad(theta)"},
)
wrong(
    "local_update",
    "pushes away from the server's parameters",
    fails=["test_the_proximal_term"],
    edit={"grad(y) + mu": "grad(y) - mu"},
)
wrong(
    "local_update",
    "stops when values are not finite",
    fails=["test_a_walk_that_diverges"],
    edit={
        "        direction = grad": "        if not np.isfinite(y).all():\n            break\n        direction = grad"
    },
)
wrong(
    "local_update",
    "changes the array that grad was given",
    fails=["test_local_update_leaves_no_trace"],
    edit={"y = y - lr * direction": "y -= lr * direction"},
)


@right("local_update", "the terms one by one, in a buffer of its own")
def term_by_term(theta, grad, steps, lr, mu=0.0, shift=None):
    drift = np.zeros(np.shape(theta))  # y - theta
    constant = np.zeros_like(drift) if shift is None else np.array(shift)
    for _ in range(steps):
        drift = (1 - lr * mu) * drift - lr * (np.asarray(grad(theta + drift)) + constant)
    return np.array(theta + drift)


@right("local_update", "recursion-free loop over numbers")
def by_numbers(theta, grad, steps, lr, mu=0.0, shift=None):
    start = theta.tolist()
    extra = [0.0] * len(start) if shift is None else shift.tolist()
    y = list(start)
    while steps > 0:
        g = grad(np.array(y)).tolist()
        y = [v - lr * (s + mu * (v - o) + e) for v, s, o, e in zip(y, g, start, extra)]
        steps -= 1
    return np.array(y)


# ------------------------------------------------------------------------------------------------- scaffold_round

wrong(
    "scaffold_round",
    "takes the shift with the wrong sign",
    fails=["test_parameters_move_by_the_mean"],
    edit={"shift=control - controls[i]": "shift=controls[i] - control"},
)
wrong(
    "scaffold_round",
    "uses the new controls of other clients before the round has ended",
    fails=["test_parameters_move_by_the_mean"],
    edit={
        "    for i in chosen:\n": "    control = control.copy()\n    for i in chosen:\n",
        "        moved += after[i] - controls[i]\n": (
            "        moved += after[i] - controls[i]\n        control += (after[i] - controls[i]) / len(controls)\n"
        ),
        "control + moved / len(controls)": "control",
    },
)
wrong(
    "scaffold_round",
    "divides the path by the steps, and not by steps * lr",
    fails=["test_new_controls"],
    edit={"/ (steps * lr)": "/ steps"},
)
wrong(
    "scaffold_round",
    "ignores that only some of the clients changed their controls",
    fails=["test_the_control_of_the_server"],
    edit={"moved / len(controls)": "moved / len(chosen)"},
)
wrong(
    "scaffold_round",
    "makes the server's control the mean of the new controls, whatever it was before",
    fails=["test_the_control_of_the_server"],
    edit={"control + moved / len(controls)": "np.mean(after, axis=0)"},
)
wrong(
    "scaffold_round",
    "divides the change of the parameters by the number of all clients",
    fails=["test_parameters_move_by_the_mean"],
    edit={"change / len(chosen)": "change / len(controls)"},
)
wrong(
    "scaffold_round",
    "keeps the gradient at the server's parameters as the control (option I)",
    fails=["test_new_controls"],
    edit={
        "after[i] = controls[i] - control + (theta - y) / (steps * lr)": "after[i] = np.array(grad(i, theta))",
    },
)
wrong(
    "scaffold_round",
    "leaves the controls as they are, and so is federated averaging",
    fails=["test_new_controls"],
    edit={"after[i] = controls[i] - control + (theta - y) / (steps * lr)": "after[i] = controls[i].copy()"},
)


@right("scaffold_round", "the walk written out, and means of gradients for the controls")
def written_out(theta, control, controls, chosen, grad, steps, lr):
    new, ends = {}, {}
    for i in chosen:
        y, sum_of_slopes = np.array(theta), np.zeros(len(theta))
        for _ in range(steps):
            slope = grad(i, np.array(y))
            sum_of_slopes = sum_of_slopes + slope
            y = y - lr * (slope - controls[i] + control)
        new[i], ends[i] = sum_of_slopes / steps, y
    n = len(controls)
    after = [new.get(i, np.array(controls[i])) for i in range(n)]
    server = control + sum((new[i] - controls[i]) / n for i in chosen)
    return sum(ends[i] / len(chosen) for i in chosen), server, after


@right("scaffold_round", "arrays of all clients at once")
def stacked(theta, control, controls, chosen, grad, steps, lr):
    old, chosen = np.array(controls), list(chosen)
    Y = np.tile(theta, (len(chosen), 1))
    for _ in range(steps):
        Y = Y - lr * (np.array([grad(i, y.copy()) for i, y in zip(chosen, Y)]) + control - old[chosen])
    after = old.copy()
    after[chosen] += (theta - Y) / (steps * lr) - control
    return Y.mean(axis=0), control + (after - old).mean(axis=0), [row.copy() for row in after]


# ---------------------------------------------------------------------------------------------------- server_step

wrong(
    "server_step",
    "goes against the mean change",
    fails=["test_the_plain_step"],
    edit={"return theta + lr * delta, {}": "return theta - lr * delta, {}"},
)
wrong(
    "server_step",
    "averages the velocity: 0.9 g + 0.1 delta",
    fails=["test_the_step_with_momentum"],
    edit={'0.9 * state.get("g", 0.0) + delta': '0.9 * state.get("g", 0.0) + 0.1 * delta'},
)
wrong(
    "server_step",
    "puts the 1e-3 under the root",
    fails=["test_the_step_of_adam"],
    edit={"(np.sqrt(h) + 1e-3)": "np.sqrt(h + 1e-3)"},
)
wrong(
    "server_step",
    "takes module 02's 0.999 for the squares",
    fails=["test_the_step_of_adam"],
    edit={'h = 0.99 * state.get("h", 0.0) + 0.01 * delta**2': 'h = 0.999 * state.get("h", 0.0) + 0.001 * delta**2'},
)
wrong(
    "server_step",
    "corrects the bias of g and h",
    fails=["test_the_step_of_adam"],
    edit={
        "        return theta + lr * g / (np.sqrt(h) + 1e-3)": (
            '        k = state.get("k", 0) + 1\n'
            "        return theta + lr * g / (1 - 0.9**k) / (np.sqrt(h / (1 - 0.99**k)) + 1e-3)"
        ),
        '{"g": g, "h": h}': '{"g": g, "h": h, "k": k}',
    },
)
wrong(
    "server_step",
    "writes the new velocity into the old state",
    fails=["test_a_round_can_be_done_again"],
    edit={
        'g = 0.9 * state.get("g", 0.0) + delta': (
            'g = state.setdefault("g", np.zeros(len(theta)))\n        g *= 0.9\n        g += delta'
        ),
        'g = 0.9 * state.get("g", 0.0) + 0.1 * delta': (
            'g = state.setdefault("g", np.zeros(len(theta)))\n        g *= 0.9\n        g += 0.1 * delta'
        ),
    },
)


@right("server_step", "one table of rules")
def by_table(theta, delta, state, kind, lr):
    zeros = np.zeros(len(theta))
    first, second = state.get("first", zeros), state.get("second", zeros)
    if kind not in ("sgd", "momentum", "adam"):
        raise ValueError(kind)
    keep, take = {"sgd": (0.0, 1.0), "momentum": (0.9, 1.0), "adam": (0.9, 0.1)}[kind]
    first = keep * first + take * delta
    second = 0.99 * second + 0.01 * np.square(delta)
    below = 0.001 + np.sqrt(second) if kind == "adam" else 1.0
    return theta + lr * first / below, {"first": first, "second": second, "rounds": state.get("rounds", 0) + 1}


@right("server_step", "the history of all changes")
def by_history(theta, delta, state, kind, lr):
    if kind == "sgd":
        return np.add(theta, lr * delta), state.copy()
    if kind not in {"momentum", "adam"}:
        raise ValueError("kind")
    past = np.vstack([*state.get("past", np.zeros((0, len(theta)))), delta])
    ages = np.arange(len(past) - 1, -1, -1)[:, None]
    m = np.sum(0.9**ages * past, axis=0)
    if kind == "adam":
        m = 0.1 * m / (np.sqrt(0.01 * np.sum(0.99**ages * past**2, axis=0)) + 1e-3)
    return theta + lr * m, {"past": past}


# ------------------------------------------------------------------------------------------------ quantize_update

wrong(
    "quantize_update",
    "rounds to the nearest level",
    fails=["test_rounding_has_no_bias"],
    edit={"np.floor(level + np.random.default_rng(seed).random(len(x)))": "np.rint(level)"},
)
wrong(
    "quantize_update",
    "rounds towards zero",
    fails=["test_rounding_has_no_bias"],
    edit={"np.floor(level + np.random.default_rng(seed).random(len(x)))": "np.floor(level)"},
)
wrong(
    "quantize_update",
    "rounds up or down with probability one half, wherever the level lies",
    fails=["test_rounding_has_no_bias"],
    edit={
        "np.floor(level + np.random.default_rng(seed).random(len(x)))": (
            "np.where(np.random.default_rng(seed).random(len(x)) < 0.5, np.floor(level), np.ceil(level))"
        )
    },
)
wrong(
    "quantize_update",
    "divides by the largest entry instead of the norm",
    fails=["test_the_norm_and_whole_levels"],
    edit={"float(np.linalg.norm(x))": "float(np.abs(x).max())"},
)
wrong(
    "quantize_update",
    "draws one random number for the whole vector",
    fails=["test_entries_are_rounded_independently"],
    edit={".random(len(x))": ".random()"},
)
wrong(
    "quantize_update",
    "gives two neighbouring seeds the same random numbers",
    fails=["test_codes_depend_on_the_seed_alone"],
    edit={"np.random.default_rng(seed)": "np.random.default_rng(seed // 2)"},
)
wrong(
    "quantize_update",
    "divides by zero where the update is zero",
    fails=["test_zeros"],
    edit={"if norm == 0:\n        return np.zeros(len(x), np.int8), 0.0": "if norm == 0:\n        norm = np.nan"},
)
wrong(
    "quantize_update",
    "computes the norm of float32 in float32",
    fails=["test_updates_of_every_kind"],
    edit={"    x = x.astype(np.float64)\n": "    x = x.copy()\n"},
)


@right("quantize_update", "compares the rest with a uniform number")
def by_rest(x, levels, seed):
    values = np.array(x, dtype=float)
    largest = np.max(np.abs(values))
    if largest == 0:
        return np.zeros(values.shape, dtype=np.int8), 0.0
    norm = float(largest * np.sqrt(np.sum((values / largest) ** 2)))
    whole, uniform = np.divmod(np.abs(values) * levels / norm, 1), np.random.default_rng([seed, 3]).uniform(size=len(x))
    size = whole[0] + (uniform < whole[1])
    return np.clip(np.copysign(size, values), -levels, levels).astype(np.int8), norm


@right("quantize_update", "number by number, with Python's generator")
def number_by_number(x, levels, seed):
    import math

    rng, values = random.Random(seed), [float(v) for v in x]
    norm = math.hypot(*values)
    codes = []
    for v in values:
        level = levels * v / norm if norm else 0.0
        low = math.floor(level)
        code = low + (rng.random() < level - low)
        codes.append(max(-levels, min(levels, code)))
    return np.array(codes, np.int8), float(norm)


# --------------------------------------------------------------------------------------------------- share_secret

wrong(
    "share_secret",
    "draws a polynomial of degree `threshold`, so that one more share is needed",
    fails=["test_any_threshold_shares_recover"],
    edit={"range(threshold - 1)": "range(threshold)"},
)
wrong(
    "share_secret",
    "draws a polynomial of a smaller degree, so that fewer shares recover the secret",
    fails=["test_fewer_shares_fit_every_secret"],
    edit={"range(threshold - 1)": "range(max(threshold - 2, min(threshold - 1, 1)))"},
)
wrong(
    "share_secret",
    "gives the first client the share at 0, which is the secret",
    fails=["test_any_threshold_shares_recover"],
    edit={"value * place + coefficient": "value * (place - 1) + coefficient"},
)
wrong(
    "share_secret",
    "draws small coefficients only",
    fails=["test_coefficients_are_uniform"],
    edit={"rng.randrange(PRIME)": "rng.randrange(2**32)"},
)
wrong(
    "share_secret",
    "draws the first coefficient only, and takes 1 for all others",
    fails=["test_coefficients_are_uniform"],
    edit={"rng.randrange(PRIME) for _ in": "rng.randrange(PRIME) if k == 0 else 1 for k in"},
)
wrong(
    "share_secret",
    "gives two neighbouring seeds the same coefficients",
    fails=["test_shares_depend_on_the_seed_alone"],
    edit={"random.Random(seed)": "random.Random(seed // 2)"},
)
wrong(
    "share_secret",
    "uses the seed as the only random coefficient",
    fails=["test_coefficients_are_uniform"],
    edit={"[rng.randrange(PRIME) for _ in": "[(seed + 1) * (k + 1) % PRIME for k in"},
)
wrong(
    "share_secret",
    "divides numbers in floating point",
    fails=["test_any_threshold_shares_recover"],
    edit={
        "secret += share * above * pow(below, -1, PRIME)": "secret += int(share * above / (below or 1))",
    },
)
wrong(
    "share_secret",
    "hands out the id 0",
    fails=["test_bad_shares_are_refused"],
    edit={"if 0 in ids:": "if -1 in ids:"},
)


@right("share_secret", "a sum of powers, with NumPy's generator")
def by_powers(secret, ids, threshold, seed):
    if threshold < 1 or threshold > len(ids) or min(ids) == 0:
        raise ValueError("threshold or id")
    generator = np.random.default_rng([seed, 1])
    random_part = [int(generator.integers(PRIME)) for _ in range(1, threshold)]
    return {i: (secret + sum(a * pow(i, k, PRIME) for k, a in enumerate(random_part, 1))) % PRIME for i in ids}


@right("share_secret", "Neville's scheme, point by point", replaces="recover_secret")
def by_neville(shares):
    if len(shares) == 0:
        raise ValueError("empty")
    places, values = list(shares), list(shares.values())
    for width in range(1, len(places)):
        for k in range(len(places) - width):
            low, high = places[k], places[k + width]
            over = pow((low - high) % PRIME, PRIME - 2, PRIME)
            values[k] = (low * values[k + 1] - high * values[k]) * over % PRIME
    return values[0]


# ---------------------------------------------------------------------------------------------------- mask_update

wrong(
    "mask_update",
    "adds the mask of a pair on both sides",
    fails=["test_masks_are_added_and_subtracted"],
    edit={"masked -= expand(seed, d)": "masked += expand(seed, d)"},
)
wrong(
    "mask_update",
    "leaves the own mask out",
    fails=["test_masks_are_added_and_subtracted"],
    edit={"masked = x + expand(own, d)": "masked = x.copy()"},
)
wrong(
    "mask_update",
    "forgets the pairs with clients that dropped out",
    fails=["test_any_set_of_dropouts"],
    edit={"for (low, _), seed in pairs.items():": "for (low, _), seed in list(pairs.items())[:0]:"},
)
wrong(
    "mask_update",
    "removes the mask of a dropped pair with the sign of the survivor's partner",
    fails=["test_any_set_of_dropouts"],
    edit={"if low in masked:": "if low not in masked:"},
)
wrong(
    "mask_update",
    "takes pairs of two clients that both dropped out",
    fails=["test_wrong_seeds_are_refused"],
    edit={"(low in masked) == (high in masked)": "low in masked and high in masked"},
)
wrong(
    "mask_update",
    "expands the ids of a pair and not its seed, so that each round has the same masks",
    fails=["test_masks_are_added_and_subtracted"],
    edit={"masked += expand(seed, d)": "masked += expand(other, d)"},
)
wrong(
    "mask_update",
    "adds masks as floating-point numbers",
    fails=["test_masks_are_added_and_subtracted"],
    edit={"masked = x + expand(own, d)": "masked = x.astype(np.float32) + expand(own, d).astype(np.float32)"},
)
wrong(
    "mask_update",
    "makes all masks first and adds them up at the end",
    fails=["test_a_hundred_masks_on_one_client"],
    edit={
        "    for other, seed in pairs.items():\n": (
            "    rows = {other: expand(seed, d) for other, seed in pairs.items()}\n"
            "    for other, seed in pairs.items():\n"
        ),
        "masked += expand(seed, d)": "masked += rows[other]",
        "masked -= expand(seed, d)": "masked -= rows[other]",
    },
)
wrong(
    "mask_update",
    "sums the survivors in 64 bits and removes the masks without remainders",
    fails=["test_the_sum_of_all"],
    edit={"total = np.zeros(d, np.uint32)": "total = np.zeros(d, np.int64)"},
)


@right("mask_update", "signs, and 64-bit sums with one remainder", replaces="mask_update")
def by_signs(x, me, own, pairs):
    total = x.astype(np.uint64) + expand(own, len(x))
    for other in sorted(pairs):
        mask = expand(pairs[other], len(x)).astype(np.uint64)
        total += mask if other > me else np.uint64(2**32) - mask
    return (total % np.uint64(2**32)).astype(np.uint32)


@right("mask_update", "blocks of words, and signs of one bit", replaces="unmask_sum")
def by_survivor(masked, own, pairs):
    alive = set(masked)
    if set(own) != alive:
        raise ValueError("own")
    for pair in pairs:
        if len(alive.intersection(pair)) != 1:
            raise ValueError(f"pair {pair}")
    first = min(alive)
    total = np.array(masked[first])
    for i in alive - {first}:
        np.add(total, masked[i], out=total)
    for seed in own.values():
        np.subtract(total, expand(seed, len(total)), out=total)
    for low, high in sorted(pairs):
        change = np.add if high in alive else np.subtract
        change(total, expand(pairs[low, high], len(total)), out=total)
    return total


# ---------------------------------------------------------------------------------------------- shares_to_release

wrong(
    "shares_to_release",
    "remembers the last request only, and so gives out both kinds",
    fails=["test_never_both_kinds"],
    edit={"settled.setdefault(client, kind) == kind": "settled.update({client: kind}) is None"},
)
wrong(
    "shares_to_release",
    "answers each client once only",
    fails=["test_the_same_kind_again"],
    edit={"settled.setdefault(client, kind) == kind": "settled.setdefault(client, len(answers)) == len(answers)"},
)
wrong(
    "shares_to_release",
    "refuses keys only: the own seed is given out after a key",
    fails=["test_never_both_kinds"],
    edit={"settled.setdefault(client, kind) == kind": 'settled.setdefault(client, kind) in (kind, "key")'},
)
wrong(
    "shares_to_release",
    "takes a share that is 0 for none",
    fails=["test_unknown_clients_and_zeros"],
    edit={"if client in held and": "if held.get(client) and"},
)


@right("shares_to_release", "looks for the first request for the client each time")
def by_looking_back(own, key, requests):
    first = dict(reversed(requests))
    shares = {"own": own, "key": key}
    return [shares[kind].get(client) if first[client] == kind else None for client, kind in requests]


@right("shares_to_release", "two sets of refused clients")
def by_two_sets(own, key, requests):
    only_own, only_key, answers = set(), set(), []
    for request in requests:
        client = request[0]
        answer = None
        if request[1] == "own":
            if client not in only_key:
                only_own.add(client)
                answer = own.get(client)
        elif client not in only_own:
            only_key.add(client)
            answer = key.get(client)
        answers.append(answer)
    return answers
