"""Wrong and right answers that prove the hidden tests of module 21, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821, B905

import math
import random

import numpy as np

from autograder.answers import equivalent, right, wrong

equivalent(
    "k_anonymise",
    diff="~ k_anonymise: what is returned is rounded to float32",
    reason="int64 arrays come back, and classes are whole numbers up to 10^4",
)
equivalent(
    "k_anonymise",
    diff="~ possible: a 0-d array is returned in place of a number",
    reason="a set is returned, into which this change does not look",
)
equivalent(
    "k_anonymise",
    diff="~ possible: np.int64 is returned in place of a Python int",
    reason="a set is returned, into which this change does not look",
)

# ---------------------------------------------------------------------------------------------------- k_anonymise

wrong(
    "k_anonymise",
    "asks for classes of more than k rows",
    fails=["test_the_least_coarse_release", "test_borders_are_allowed"],
    edit={"total[member] >= k": "total[member] > k"},
)
wrong(
    "k_anonymise",
    "counts the different kinds of rows in a class, and not the rows",
    fails=["test_the_least_coarse_release"],
    edit={"np.bincount(member, counts)": "np.bincount(member)"},
)
wrong(
    "k_anonymise",
    "allows suppressed kinds in place of suppressed rows",
    fails=["test_the_least_coarse_release"],
    edit={"counts[~stays].sum() <= suppress * len(rows)": "np.sum(~stays) <= suppress * len(kinds)"},
)
wrong(
    "k_anonymise",
    "takes the lexicographically first vector that is allowed, whatever its sum",
    fails=["test_ties_go_to_the_first_vector"],
    edit={"key=lambda h: (sum(h), h)": "key=lambda h: h"},
)
wrong(
    "k_anonymise",
    "takes the last of several vectors with the same sum",
    fails=["test_ties_go_to_the_first_vector"],
    edit={"key=lambda h: (sum(h), h)": "key=lambda h: (sum(h), [-x for x in h])"},
)
wrong(
    "k_anonymise",
    "raises each column by the same height",
    fails=["test_the_least_coarse_release"],
    edit={
        "sorted(itertools.product(*(range(len(column)) for column in heights)), key=lambda h: (sum(h), h))": (
            "[tuple(min(h, len(column) - 1) for column in heights) for h in range(max(map(len, heights)))]"
        )
    },
)
wrong(
    "k_anonymise",
    "lets the small classes stay in the release",
    fails=["test_the_least_coarse_release"],
    edit={"np.flatnonzero(stays[kind])": "np.arange(len(rows))"},
)
wrong(
    "k_anonymise",
    "unites the secrets of all releases",
    fails=["test_secrets_that_are_left"],
    edit={"left & found": "left | found"},
)
wrong(
    "k_anonymise",
    "looks at the last release only",
    fails=["test_secrets_that_are_left"],
    edit={"left = found if left is None else left & found": "left = found"},
)
wrong(
    "k_anonymise",
    "compares one column of the person's class",
    fails=["test_secrets_that_are_left"],
    edit={".all(axis=1)": ".any(axis=1)"},
)
wrong(
    "k_anonymise",
    "takes a release without the person as one that excludes every secret",
    fails=["test_a_person_who_was_left_out"],
    edit={"        if found:\n            left = found": "        if True:\n            left = found"},
)


@right("k_anonymise", "dictionaries of tuples, over kinds")
def by_dictionaries(rows, heights, k, suppress):
    from collections import Counter

    tuples = [tuple(row) for row in np.asarray(rows).tolist()]
    kinds, m = Counter(tuples), len(tuples)
    ladders = [[rung.tolist() for rung in column] for column in heights]
    vectors = [()]
    for column in ladders:
        vectors = [(*v, h) for v in vectors for h in range(len(column))]
    best = None
    for v in sorted(vectors, key=sum):  # the sort is stable, and the vectors came in order
        rungs = [column[h] for column, h in zip(ladders, v)]
        names = {kind: tuple(rung[value] for rung, value in zip(rungs, kind)) for kind in kinds}
        sizes = Counter()
        for kind, count in kinds.items():
            sizes[names[kind]] += count
        gone = sum(size for size in sizes.values() if size < k)
        if gone <= suppress * m:
            best = names, sizes
            break
    if best is None:
        raise ValueError("none")
    names, sizes = best
    kept = [i for i, row in enumerate(tuples) if sizes[names[row]] >= k]
    released = np.array([names[tuples[i]] for i in kept], np.int64).reshape(len(kept), len(heights))
    return released, np.array(kept, np.int64)


@right("k_anonymise", "np.unique by rows, twice")
def by_unique_rows(rows, heights, k, suppress):
    kinds, kind, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    kind = kind.reshape(-1)
    ranges = [range(len(column)) for column in heights]
    allowed = suppress * len(rows)
    by_sum = {}
    for h in itertools.product(*ranges):
        by_sum.setdefault(sum(h), []).append(h)
    for total in sorted(by_sum):
        for h in by_sum[total]:
            coarse = np.column_stack([heights[j][h[j]][kinds[:, j]] for j in range(len(h))])
            _, inverse = np.unique(coarse, axis=0, return_inverse=True)
            inverse = inverse.reshape(-1)
            size = np.zeros(inverse.max() + 1, np.int64)
            np.add.at(size, inverse, counts)
            small = size[inverse] < k
            if counts[small].sum() <= allowed:
                kept = np.nonzero(~small[kind])[0].astype(np.int64)
                return coarse[kind][kept].astype(np.int64), kept
    raise ValueError("no release")


@right("k_anonymise", "the person's rows by a loop", replaces="possible")
def by_loop(releases, person):
    sets, everything = [], set()
    for released, secrets_of, maps in releases:
        mine = tuple(int(maps[j][person[j]]) for j in range(len(maps)))
        everything |= {int(s) for s in secrets_of}
        here = {int(s) for row, s in zip(released, secrets_of) if tuple(int(v) for v in row) == mine}
        if here:
            sets.append(here)
    return set.intersection(*sets) if sets else everything


wrong(
    "k_anonymise",
    "rounds the number of rows that may be left out",
    fails=["test_the_least_coarse_release"],
    edit={"<= suppress * len(rows)": "<= round(suppress * len(rows))"},
)
wrong(
    "k_anonymise",
    "takes the values themselves at height 0, whatever the ladder says",
    fails=["test_the_least_coarse_release"],
    edit={"heights[j][h][kinds[:, j]] for": "(heights[j][h][kinds[:, j]] if h else kinds[:, j]) for"},
)

# --------------------------------------------------------------------------------------------------- private_mean

equivalent(
    "private_mean",
    diff="- low, high = (ratio, high) if tail > delta else (low, ratio)\n"
    "+ low, high = (ratio, high) if tail >= delta else (low, ratio)",
    reason="at equality sigma itself is found from the other side",
)
equivalent(
    "private_mean",
    diff="- low, high = (0.1, 10000.0)\n+ low, high = (0.1, 20000.0)",
    reason="a wider interval has the same root",
)
equivalent(
    "private_mean",
    diff="- return float(mean + np.random.default_rng(seed).laplace(scale=scale))\n"
    "+ return float(mean - np.random.default_rng(seed).laplace(scale=scale))",
    reason="the noise has the same law with either sign",
)
equivalent(
    "private_mean",
    diff="~ gaussian_sigma: delta becomes min(x, 10.0)",
    reason="delta is at most 0.5",
)
equivalent(
    "private_mean",
    diff="~ gaussian_sigma: epsilon becomes x if x <= 0 else max(x, 1e-6)",
    reason="epsilon is at least 1e-3",
)

wrong(
    "private_mean",
    "adds noise to the mean of the numbers as they are, without bounds",
    fails=["test_the_mean_of_clipped_numbers"],
    edit={".clip(low, high).mean()": ".mean()"},
)
wrong(
    "private_mean",
    "leaves out the numbers beyond the bounds",
    fails=["test_the_mean_of_clipped_numbers"],
    edit={
        "mean = np.asarray(x, np.float64).clip(low, high).mean()": (
            "x = np.asarray(x, np.float64)\n    inside = (x >= low) & (x <= high)\n"
            "    mean = x[inside].mean() if inside.any() else (low + high) / 2"
        )
    },
)
wrong(
    "private_mean",
    "clips the mean and not the numbers",
    fails=["test_the_mean_of_clipped_numbers"],
    edit={".clip(low, high).mean()": ".mean().clip(low, high)"},
)
wrong(
    "private_mean",
    "takes epsilon times the sensitivity as the scale",
    fails=["test_the_noise_has_the_law_of_laplace"],
    edit={"(high - low) / len(x) / epsilon": "(high - low) / len(x) * epsilon"},
)
wrong(
    "private_mean",
    "divides epsilon by the sensitivity",
    fails=["test_the_noise_has_the_law_of_laplace"],
    edit={"(high - low) / len(x) / epsilon": "epsilon / ((high - low) / len(x))"},
)
wrong(
    "private_mean",
    "forgets that a mean moves by a share of 1 / m only",
    fails=["test_the_noise_has_the_law_of_laplace"],
    edit={"(high - low) / len(x) / epsilon": "(high - low) / epsilon"},
)
wrong(
    "private_mean",
    "takes the larger bound as the sensitivity",
    fails=["test_the_noise_has_the_law_of_laplace"],
    edit={"(high - low) / len(x) / epsilon": "max(abs(low), abs(high)) / len(x) / epsilon"},
)
wrong(
    "private_mean",
    "draws normal noise of the standard deviation of the Laplace law",
    fails=["test_the_noise_has_the_law_of_laplace"],
    edit={".laplace(scale=scale)": ".normal(0.0, math.sqrt(2) * scale)"},
)
wrong(
    "private_mean",
    "draws one-sided noise",
    fails=["test_the_noise_has_the_law_of_laplace"],
    edit={".laplace(scale=scale)": ".exponential(scale)"},
)
wrong(
    "private_mean",
    "clips the noisy answer to the bounds",
    fails=["test_the_noise_has_the_law_of_laplace"],
    edit={
        "float(mean + np.random.default_rng(seed).laplace(scale=scale))": (
            "float(np.clip(mean + np.random.default_rng(seed).laplace(scale=scale), low, high))"
        )
    },
)
wrong(
    "private_mean",
    "lets the noise depend on the data",
    fails=["test_the_noise_depends_on_the_seed_alone"],
    edit={"np.random.default_rng(seed)": "np.random.default_rng([seed, abs(int(mean * 1e6))])"},
)
wrong(
    "private_mean",
    "uses the textbook's formula for sigma",
    fails=["test_sigma_is_the_smallest"],
    edit={"return sensitivity * high": "return sensitivity * math.sqrt(2 * math.log(1.25 / delta)) / epsilon"},
)
wrong(
    "private_mean",
    "leaves out the second term of the exact condition",
    fails=["test_sigma_is_the_smallest"],
    edit={" - math.exp(epsilon + log_ndtr(-0.5 / ratio - shift))": ""},
)
wrong(
    "private_mean",
    "leaves out the factor e^epsilon of the exact condition",
    fails=["test_sigma_is_the_smallest"],
    edit={"math.exp(epsilon + log_ndtr(-0.5 / ratio - shift))": "math.exp(log_ndtr(-0.5 / ratio - shift))"},
)


@right("private_mean", "the inverse of the distribution function, and Python's generator")
def by_inverse(x, low, high, epsilon, seed):
    m = len(x)
    clipped = [low if v < low else high if v > high else float(v) for v in x]
    u = random.Random(f"noise {seed}").random() - 0.5
    noise = -math.copysign(math.log1p(-2 * abs(u)), u) if abs(u) < 0.5 else 0.0
    return math.fsum(clipped) / m + noise * ((high - low) / m) / epsilon


@right("private_mean", "a difference of two exponential numbers")
def by_exponentials(x, low, high, epsilon, seed):
    values = np.minimum(np.maximum(np.asarray(x, dtype=float), low), high)
    a, b = np.random.default_rng(seed).exponential(size=2)
    return (np.sum(values) / values.size + (a - b) * (high - low) / (values.size * epsilon)).item()


@right("private_mean", "a root finder on the logarithm of sigma", replaces="gaussian_sigma")
def by_root(sensitivity, epsilon, delta):
    from scipy.optimize import brentq

    def excess(log_ratio):
        ratio = math.exp(log_ratio)
        a = 1 / (2 * ratio) - epsilon * ratio
        first, second = log_ndtr(a), epsilon + log_ndtr(a - 1 / ratio)
        return first + np.log1p(-np.exp(min(second - first, -1e-300))) - math.log(delta)

    return float(sensitivity * math.exp(brentq(excess, -5, 10, xtol=1e-12)))


# ---------------------------------------------------------------------------------------------------- rdp_epsilon

equivalent(
    "rdp_epsilon",
    diff="~ rdp_epsilon: sigma becomes x if x <= 0 else max(x, 1e-6)",
    reason="sigma is at least 0.3",
)
equivalent("rdp_epsilon", diff="~ rdp_epsilon: delta becomes min(x, 10.0)", reason="delta is at most 0.5")
equivalent(
    "rdp_epsilon",
    diff="- return max(min(found), 0.0)\n+ return max(0.0, min(found))",
    reason="the larger of two numbers in either order",
)

wrong(
    "rdp_epsilon",
    "forgets to divide the logarithm of the sum by alpha - 1",
    fails=["test_without_subsampling"],
    edit={"logsumexp(terms) / (order - 1)": "logsumexp(terms)"},
)
wrong(
    "rdp_epsilon",
    "divides the logarithm of the sum by alpha",
    fails=["test_without_subsampling"],
    edit={"logsumexp(terms) / (order - 1)": "logsumexp(terms) / order"},
)
wrong(
    "rdp_epsilon",
    "uses the older conversion",
    fails=["test_without_subsampling"],
    edit={
        "math.log((order - 1) / order) - (math.log(delta) + math.log(order)) / (order - 1)": (
            "-math.log(delta) / (order - 1)"
        )
    },
)
wrong(
    "rdp_epsilon",
    "leaves alpha - 1 out of the conversion",
    fails=["test_without_subsampling"],
    edit={"(math.log(delta) + math.log(order)) / (order - 1)": "(math.log(delta) + math.log(order))"},
)
wrong(
    "rdp_epsilon",
    "multiplies the divergence without subsampling by q squared",
    fails=["test_the_sampled_divergence_by_quadrature"],
    edit={"divergence = logsumexp(terms) / (order - 1)": "divergence = q**2 * order / (2 * sigma**2)"},
)
wrong(
    "rdp_epsilon",
    "has k squared in the exponent, in place of k squared minus k",
    fails=["test_the_sampled_divergence_by_quadrature"],
    edit={"k * (k - 1)": "k * k"},
)
wrong(
    "rdp_epsilon",
    "divides by sigma and not by its square",
    fails=["test_without_subsampling"],
    edit={"(2 * sigma**2)": "(2 * sigma)"},
)
wrong(
    "rdp_epsilon",
    "leaves out the binomial coefficients",
    fails=["test_the_sampled_divergence_by_quadrature"],
    edit={"log_binomial + xlog1py": "xlog1py"},
)
wrong(
    "rdp_epsilon",
    "adds up the terms themselves, which overflow",
    fails=["test_log_space"],
    edit={"logsumexp(terms)": "np.log(np.exp(np.minimum(terms, 700.0)).sum())"},
)
wrong(
    "rdp_epsilon",
    "takes the largest epsilon over the orders",
    fails=["test_the_smallest_over_the_orders"],
    edit={"max(min(found), 0.0)": "max(*found, 0.0)"},
)
wrong(
    "rdp_epsilon",
    "multiplies the whole epsilon of one step by the steps",
    fails=["test_without_subsampling"],
    edit={"steps * float(divergence) + rest": "steps * (float(divergence) + rest)"},
)
wrong(
    "rdp_epsilon",
    "lets the divergence grow with the root of the steps",
    fails=["test_without_subsampling"],
    edit={"steps * float(divergence) + rest": "math.sqrt(steps) * float(divergence) + rest"},
)


@right("rdp_epsilon", "a running logarithm of the sum in plain Python")
def by_running_sum(q, sigma, steps, delta, orders):
    found = []
    for a in orders:
        logs, binomial = [], 0.0
        for k in range(a + 1):
            if k:
                binomial += math.log(a - k + 1) - math.log(k)
            if q < 1 or k == a:
                rest = (a - k) * math.log1p(-q) if k < a else 0.0
                logs.append(binomial + rest + k * math.log(q) + (k * k - k) / (2 * sigma * sigma))
        top = max(logs)
        divergence = (top + math.log(math.fsum(math.exp(x - top) for x in logs))) / (a - 1)
        found.append(steps * divergence + math.log1p(-1 / a) - math.log(delta * a) / (a - 1))
    return max(0.0, min(found))


@right("rdp_epsilon", "exact binomials and math.fsum around the largest term")
def by_exact_binomials(q, sigma, steps, delta, orders):
    def one(alpha):
        terms = []
        for k in range(alpha + 1):
            if q == 1 and k < alpha:
                continue
            log_rest = 0.0 if k == alpha else (alpha - k) * math.log1p(-q)
            terms.append(math.log(math.comb(alpha, k)) + log_rest + k * math.log(q) + k * (k - 1) / 2 / sigma**2)
        largest = max(terms)
        return (largest + math.log(math.fsum(math.exp(t - largest) for t in terms))) / (alpha - 1)

    best = None
    for alpha in sorted(set(orders)):
        value = steps * one(alpha) + math.log(alpha - 1) - math.log(alpha) - math.log(alpha * delta) / (alpha - 1)
        best = value if best is None else min(best, value)
    return best if best > 0 else 0.0


# --------------------------------------------------------------------------------------------------- clipped_sum

wrong(
    "clipped_sum",
    "does not clip",
    fails=["test_the_rows_gradients_by_autograd"],
    edit={"where=norm > clip": "where=np.zeros(len(norm), bool)"},
)
wrong(
    "clipped_sum",
    "clips the gradient of each layer by itself",
    fails=["test_the_rows_gradients_by_autograd", "test_one_norm_for_all_layers"],
    edit={
        "        scaled = D * factor[:, None]\n": (
            "        norm = np.sqrt(np.einsum('bo,bo->b', D, D) * (np.einsum('bi,bi->b', A, A) + 1))\n"
            "        scaled = D * np.minimum(1.0, clip / np.where(norm > 0, norm, 1.0))[:, None]\n"
        ),
    },
)
wrong(
    "clipped_sum",
    "clips the sum over the batch, and not each row",
    fails=["test_the_rows_gradients_by_autograd"],
    edit={
        "    norm = np.sqrt(square)\n": (
            "    whole = sum(np.sum((D.T @ A) ** 2) + np.sum(D.sum(axis=0) ** 2) for A, D in layers)\n"
            "    norm = np.full(len(layers[0][0]), math.sqrt(whole))\n"
        )
    },
)
wrong(
    "clipped_sum",
    "leaves the bias out of the norm",
    fails=["test_the_rows_gradients_by_autograd"],
    edit={'np.einsum("bi,bi->b", A, A) + 1': 'np.einsum("bi,bi->b", A, A)'},
)
wrong(
    "clipped_sum",
    "scales each row to the norm clip, also a shorter one",
    fails=["test_the_rows_gradients_by_autograd"],
    edit={"where=norm > clip": "where=norm > 0"},
)
wrong(
    "clipped_sum",
    "divides by a norm that may be 0",
    fails=["test_rows_without_a_gradient"],
    edit={"np.divide(clip, norm, out=np.ones(len(norm)), where=norm > clip)": "np.minimum(norm, clip) / norm"},
)
wrong(
    "clipped_sum",
    "returns the mean over the rows",
    fails=["test_the_rows_gradients_by_autograd"],
    edit={
        "sums.append((scaled.T @ A, scaled.sum(axis=0)))": (
            "sums.append((scaled.T @ A / max(len(A), 1), scaled.sum(axis=0) / max(len(A), 1)))"
        )
    },
)
wrong(
    "clipped_sum",
    "compares the squared norm with the clip",
    fails=["test_the_rows_gradients_by_autograd"],
    edit={"np.sqrt(square)": "1.0 * square"},
)
wrong(
    "clipped_sum",
    "scales the inputs and the signals by the factor",
    fails=["test_the_rows_gradients_by_autograd"],
    edit={"scaled.T @ A, scaled": "scaled.T @ (A * factor[:, None]), scaled"},
)


@wrong("clipped_sum", "holds the gradients of all rows at once", fails=["test_a_large_layer_in_little_memory"])
def by_all_gradients(layers, clip):
    rows = [(D[:, :, None] * A[:, None, :], D) for A, D in layers]
    square = sum((W**2).sum(axis=(1, 2)) + (v**2).sum(axis=1) for W, v in rows)
    norms = np.sqrt(square)
    factor = np.where(norms > clip, clip / np.where(norms > 0, norms, 1.0), 1.0)
    return [((W * factor[:, None, None]).sum(axis=0), (v * factor[:, None]).sum(axis=0)) for W, v in rows]


@right("clipped_sum", "one row after the other")
def with_rows(layers, clip):
    sums = [[np.zeros((D.shape[1], A.shape[1])), np.zeros(D.shape[1])] for A, D in layers]
    for b in range(layers[0][0].shape[0]):
        norm = math.sqrt(sum(float(D[b] @ D[b]) * (1.0 + float(A[b] @ A[b])) for A, D in layers))
        factor = clip / norm if norm > clip else 1.0
        for (W, v), (A, D) in zip(sums, layers):
            W += np.multiply.outer(factor * D[b], A[b])
            v += factor * D[b]
    return [(W, v) for W, v in sums]


@right("clipped_sum", "norms of the inputs with a column of ones, and einsum")
def with_ones(layers, clip):
    norms = np.zeros(layers[0][1].shape[0])
    for A, D in layers:
        norms = np.hypot(norms, np.hypot(np.linalg.norm(A, axis=1), 1.0) * np.linalg.norm(D, axis=1))
    long = norms > clip
    factor = np.ones_like(norms)
    factor[long] = clip / norms[long]
    return [(np.einsum("b,bo,bi->oi", factor, D, A, optimize=True), factor @ D) for A, D in layers]


# --------------------------------------------------------------------------------------------------------- dp_sgd

equivalent(
    "dp_sgd",
    diff="- rows = np.flatnonzero(rng.random(m) < q)\n+ rows = np.flatnonzero(rng.random(m) <= q)",
    reason="a draw equals q with a probability of 2^-53",
)
equivalent(
    "dp_sgd",
    diff="- rows = np.flatnonzero(rng.random(m) < q)\n+ rows = np.flatnonzero(rng.random(m) < q + 1e-09)",
    reason="to see 1e-9 in a probability takes 10^17 draws",
)
equivalent(
    "dp_sgd",
    diff="- theta = theta - lr * (gradient_sum(theta, rows) + noise) / (q * m)\n"
    "+ theta = theta - lr * (gradient_sum(theta, rows) - noise) / (q * m)",
    reason="the noise has the same law with either sign",
)

wrong(
    "dp_sgd",
    "divides by the size of the batch that was drawn",
    fails=["test_division_by_the_expected_batch"],
    edit={"/ (q * m)": "/ max(len(rows), 1)"},
)
wrong(
    "dp_sgd",
    "divides by all rows",
    fails=["test_division_by_the_expected_batch"],
    edit={"/ (q * m)": "/ m"},
)
wrong(
    "dp_sgd",
    "adds noise of standard deviation sigma, whatever the clip",
    fails=["test_the_noise_is_sigma_times_clip"],
    edit={"sigma * clip * rng.standard_normal": "sigma * rng.standard_normal"},
)
wrong(
    "dp_sgd",
    "adds the noise to the mean, after the division",
    fails=["test_the_noise_is_sigma_times_clip"],
    edit={"lr * (gradient_sum(theta, rows) + noise) / (q * m)": "lr * (gradient_sum(theta, rows) / (q * m) + noise)"},
)
wrong(
    "dp_sgd",
    "draws one number of noise for all parameters",
    fails=["test_the_noise_is_sigma_times_clip"],
    edit={"rng.standard_normal(len(theta))": "rng.standard_normal()"},
)
wrong(
    "dp_sgd",
    "draws the noise once for all steps",
    fails=["test_noise_of_steps_and_seeds_is_unrelated"],
    edit={
        "        noise = sigma * clip * rng.standard_normal(len(theta))\n": "",
        "    theta = theta0.copy()\n": (
            "    theta = theta0.copy()\n    noise = sigma * clip * rng.standard_normal(len(theta))\n"
        ),
    },
)
wrong(
    "dp_sgd",
    "draws a batch of fixed size",
    fails=["test_batches_by_poisson_sampling"],
    edit={
        "np.flatnonzero(rng.random(m) < q)": (
            "np.sort(rng.choice(m, int(q * m) + int(rng.random() < q * m % 1), replace=False))"
        )
    },
)
wrong(
    "dp_sgd",
    "goes through the rows in epochs of shuffled batches",
    fails=["test_batches_by_poisson_sampling"],
    edit={
        "    for _ in range(steps):\n": "    order = []\n    for _ in range(steps):\n",
        "        rows = np.flatnonzero(rng.random(m) < q)\n": (
            "        size = max(1, round(q * m))\n"
            "        if len(order) < size:\n            order = rng.permutation(m).tolist()\n"
            "        rows, order = np.sort(np.array(order[:size])), order[size:]\n"
        ),
    },
)
wrong(
    "dp_sgd",
    "draws one batch for all steps",
    fails=["test_batches_by_poisson_sampling"],
    edit={
        "        rows = np.flatnonzero(rng.random(m) < q)\n": "",
        "    theta = theta0.copy()\n": ("    theta = theta0.copy()\n    rows = np.flatnonzero(rng.random(m) < q)\n"),
    },
)
wrong(
    "dp_sgd",
    "leaves out the steps with an empty batch",
    fails=["test_empty_batches"],
    edit={"        noise = sigma": "        if not len(rows):\n            continue\n        noise = sigma"},
)
wrong(
    "dp_sgd",
    "moves with the noisy sum, and not against it",
    fails=["test_all_rows_without_noise"],
    edit={"theta - lr": "theta + lr"},
)


@right("dp_sgd", "a generator for each step, and binomial sizes")
def by_sizes(gradient_sum, theta0, m, q, sigma, clip, lr, steps, seed):
    theta = np.array(theta0, dtype=np.float64)
    for step in range(steps):
        draw = np.random.default_rng([seed, step + 1])
        size = draw.binomial(m, q)
        batch = np.sort(draw.choice(m, size, replace=False)).astype(np.int64)
        total = np.array(gradient_sum(theta.copy(), batch), dtype=np.float64)
        total += draw.normal(0.0, 1.0, theta.shape) * (sigma * clip)
        theta -= total * (lr / (q * m))
    return theta


@right("dp_sgd", "all masks are drawn by a generator of their own")
def by_two_generators(gradient_sum, theta0, m, q, sigma, clip, lr, steps, seed):
    of_rows, of_noise = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
    theta, step = theta0 + 0.0, 0
    while step < steps:
        rows = np.arange(m)[of_rows.uniform(size=m) <= q]
        noisy = gradient_sum(theta, rows) + of_noise.normal(scale=sigma * clip, size=theta.size)
        theta = theta - lr / (m * q) * noisy
        step += 1
    return theta


# -------------------------------------------------------------------------------------------------- audit_epsilon

equivalent("audit_epsilon", diff="~ audit_epsilon: level becomes min(x, 10.0)", reason="level is at most 0.5")
equivalent("audit_epsilon", diff="~ audit_epsilon: delta becomes min(x, 10.0)", reason="delta is at most 0.5")
equivalent(
    "audit_epsilon",
    diff="- return np.log(np.fmax((low - delta) / high, 1.0))\n+ return np.log(np.fmax(1.0, (low - delta) / high))",
    reason="the larger of two numbers in either order",
)

wrong(
    "audit_epsilon",
    "reports the best of all thresholds without paying for the choice",
    fails=["test_pure_noise_is_rarely_convicted", "test_the_value_of_the_text"],
    edit={
        "inside[half::2]": "inside",
        "outside[half::2]": "outside",
        "values(1, thresholds[[place]])[attack].item()": "float(tried[attack, place])",
    },
)
wrong(
    "audit_epsilon",
    "reports the best of twenty thresholds without paying for the choice",
    fails=["test_pure_noise_is_rarely_convicted"],
    edit={
        "inside[half::2]": "inside",
        "outside[half::2]": "outside",
        "values(1, thresholds[[place]])[attack].item()": "float(tried[attack, place])",
        "    tried = values(0, thresholds)": (
            "    thresholds = np.unique(np.quantile(np.concatenate([inside, outside]), np.linspace(0.02, 0.98, 20)))\n"
            "    tried = values(0, thresholds)"
        ),
    },
)
wrong(
    "audit_epsilon",
    "chooses the threshold on the runs by which it is judged",
    fails=["test_pure_noise_is_rarely_convicted", "test_the_value_of_the_text"],
    edit={"values(1, thresholds[[place]])": "values(0, thresholds[[place]])"},
)
wrong(
    "audit_epsilon",
    "chooses the threshold on all runs, those by which it is judged among them",
    fails=["test_nothing_is_chosen", "test_the_value_of_the_text"],
    edit={
        "inside[half::2]": "inside[half :: 2 if half else 1]",
        "outside[half::2]": "outside[half :: 2 if half else 1]",
    },
)
wrong(
    "audit_epsilon",
    "takes the shares of hits as the probabilities, without intervals",
    fails=["test_never_above_the_truth", "test_the_value_of_the_text"],
    edit={
        "scipy.stats.beta.ppf(level / 2, hits, runs - hits + 1)": "hits / runs",
        "scipy.stats.beta.isf(level / 2, false + 1, runs[::-1] - false)": ("np.maximum(false, 0.5) / runs[::-1]"),
    },
)
wrong(
    "audit_epsilon",
    "takes the wrong ends of the intervals",
    fails=["test_never_above_the_truth", "test_the_value_of_the_text"],
    edit={
        "beta.ppf(level / 2": "beta.isf(level / 2",
        "beta.isf(level / 2": "beta.ppf(level / 2",
    },
)
wrong(
    "audit_epsilon",
    "gives each end of the intervals the whole level",
    fails=["test_the_value_of_the_text"],
    edit={
        "beta.ppf(level / 2": "beta.ppf(level",
        "beta.isf(level / 2": "beta.isf(level",
    },
)
wrong(
    "audit_epsilon",
    "does not subtract delta",
    fails=["test_delta_is_subtracted", "test_the_value_of_the_text"],
    edit={"low - delta": "low"},
)
wrong(
    "audit_epsilon",
    "only looks for scores that the row makes larger",
    fails=["test_half_of_the_truth"],
    edit={
        "np.argmax(tried)": "np.argmax(tried[:1])",
    },
)
wrong(
    "audit_epsilon",
    "uses the median of all scores as its only threshold",
    fails=["test_the_value_of_the_text"],
    edit={
        "    tried = values(0, thresholds)": (
            "    thresholds = np.median(np.concatenate([inside[::2], outside[::2]]))[None]\n"
            "    tried = values(0, thresholds)"
        )
    },
)
wrong(
    "audit_epsilon",
    "divides by the lower end for the runs without the row, which may be 0",
    fails=["test_perfect_separation"],
    edit={"(low - delta) / high": "(low - delta) / np.where(false > 0, high, 1e-300)"},
)
wrong(
    "audit_epsilon",
    "takes normal intervals in place of exact ones",
    fails=["test_perfect_separation"],
    edit={
        "scipy.stats.beta.ppf(level / 2, hits, runs - hits + 1)": (
            "np.maximum(hits / runs - scipy.stats.norm.isf(level / 2)"
            " * np.sqrt(hits / runs * (1 - hits / runs) / runs), 0)"
        ),
        "scipy.stats.beta.isf(level / 2, false + 1, runs[::-1] - false)": (
            "np.maximum(false / runs[::-1] + scipy.stats.norm.isf(level / 2)"
            " * np.sqrt(false / runs[::-1] * (1 - false / runs[::-1]) / runs[::-1]), 1e-300)"
        ),
    },
)


@right("audit_epsilon", "loops over thresholds and attacks, with the incomplete beta function")
def by_incomplete_beta(inside, outside, delta, level):
    from scipy.special import betaincinv

    known = {}

    def low(hits, n):
        if (hits, n) not in known:
            known[hits, n] = float(betaincinv(hits, n - hits + 1, level / 2)) if hits else 0.0
        return known[hits, n]

    def attacks(some, others, t):
        a, b = int(np.count_nonzero(some >= t)), int(np.count_nonzero(others >= t))
        n, k = len(some), len(others)
        for x, p, y, q in ((a, n, b, k), (n - a, n, k - b, k), (b, k, a, n), (k - b, k, n - a, n)):
            ratio = (low(x, p) - delta) / (1 - low(q - y, q))
            yield math.log(ratio) if ratio > 1 else 0.0

    thresholds = sorted({*inside[::2].tolist(), *outside[::2].tolist()})
    u = len(thresholds)
    if u > 500:
        thresholds = [thresholds[j * (u - 1) // 499] for j in range(500)]
    best, chosen = 0.0, None
    tried = [list(attacks(inside[::2], outside[::2], t)) for t in thresholds]
    for number in range(4):
        for t, found in zip(thresholds, tried):
            if found[number] > best:
                best, chosen = found[number], (number, t)
    if chosen is None:
        return 0.0
    number, t = chosen
    return list(attacks(inside[1::2], outside[1::2], t))[number]


@right("audit_epsilon", "counts of all thresholds by comparison, one attack after the other")
def by_comparison(inside, outside, delta, level):
    import scipy.stats as st

    halves = [(np.array(inside[i::2]), np.array(outside[i::2])) for i in (0, 1)]
    cuts = np.unique(np.append(*halves[0]))
    if cuts.size > 500:
        cuts = cuts[(cuts.size - 1) * np.arange(500) // 499]

    def lower(x, size):
        return np.nan_to_num(st.beta.ppf(level / 2, x, size + 1 - x))

    def value(attack, pair, cuts):
        some, others = pair if attack < 2 else pair[::-1]
        in_set = (lambda scores: scores[:, None] < cuts) if attack % 2 else (lambda scores: scores[:, None] >= cuts)
        hits, false = in_set(some).sum(axis=0), in_set(others).sum(axis=0)
        upper = 1 - lower(len(others) - false, len(others))
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(lower(hits, len(some)) - delta) - np.log(upper)
        return np.where(logs > 0, logs, 0.0)

    best = 0.0, 0, 0
    for attack in range(4):
        found = value(attack, halves[0], cuts)
        place = int(found.argmax())
        best = max(best, (found[place], -attack, place))
    top, attack, place = best
    return float(value(-attack, halves[1], cuts[[place]])[0]) if top > 0 else 0.0


# ------------------------------------------------------------------------------------------------------- Paillier

wrong(
    "Paillier",
    "takes the next prime after p as q",
    fails=["test_primes_are_drawn_independently"],
    edit={
        "            self.q = random_prime(bits // 2, rng)\n": (
            "            q = self.p + 2\n"
            "            while any(pow(a, q - 1, q) != 1 for a in (2, 3, 5)):\n                q += 2\n"
            "            self.q = q\n"
        )
    },
)
wrong(
    "Paillier",
    "encrypts without randomness",
    fails=["test_randomness_is_fresh_and_uniform"],
    edit={"(1 + m * self.n) * pow(r, self.n, self.square) % self.square": "(1 + m * self.n) % self.square"},
)
wrong(
    "Paillier",
    "draws r from small numbers",
    fails=["test_randomness_is_fresh_and_uniform"],
    edit={"r = rng.randrange(1, self.n)\n        while": "r = rng.randrange(1, 2**16)\n        while"},
)
wrong(
    "Paillier",
    "takes the seed itself as r",
    fails=["test_randomness_is_fresh_and_uniform"],
    edit={"r = rng.randrange(1, self.n)\n        while": "r = 2 + seed % (self.n - 2)\n        while"},
)
wrong(
    "Paillier",
    "draws r from the generator that made the key",
    fails=["test_a_seed_does_not_tell_the_key"],
    edit={'random.Random(f"a ciphertext\'s r, by seed {seed}")': "random.Random(seed)"},
)
wrong(
    "Paillier",
    "gives no negative numbers back",
    fails=["test_round_trips"],
    edit={"x - self.n if x > self.n // 2 else x": "x"},
)
wrong(
    "Paillier",
    "takes n // 2 for a negative number",
    fails=["test_round_trips"],
    edit={"x > self.n // 2": "x >= self.n // 2"},
)
wrong(
    "Paillier",
    "adds the ciphertexts",
    fails=["test_sums_and_multiples"],
    edit={"a * b % self.square": "(a + b) % self.square"},
)
wrong(
    "Paillier",
    "multiplies the ciphertext by k",
    fails=["test_sums_and_multiples"],
    edit={"pow(c, k, self.square)": "c * k % self.square"},
)
wrong(
    "Paillier",
    "leaves out the remainder of a product",
    fails=["test_sums_and_multiples"],
    edit={"a * b % self.square": "a * b"},
)
wrong(
    "Paillier",
    "reduces modulo n and not modulo its square",
    fails=["test_sums_and_multiples"],
    edit={"a * b % self.square": "a * b % self.n"},
)
wrong(
    "Paillier",
    "multiplies by a negative number as if it were positive",
    fails=["test_sums_and_multiples"],
    edit={"pow(c, k, self.square)": "pow(c, abs(k), self.square)"},
)
wrong(
    "Paillier",
    "wraps numbers that do not fit",
    fails=["test_numbers_that_do_not_fit"],
    edit={"if abs(m) > self.n // 2:": "if False:"},
)
wrong(
    "Paillier",
    "makes primes of `bits` bits each",
    fails=["test_keys"],
    edit={
        "random_prime(bits // 2, rng)\n        while": "random_prime(bits, rng)\n        while",
        "self.q = random_prime(bits // 2, rng)\n        self.n": "self.q = random_prime(bits, rng)\n        self.n",
    },
)


@right("Paillier", "phi in place of lambda, and the Chinese remainder theorem")
class ByRemainders:
    def __init__(self, bits, seed):
        generator = random.Random(f"key {seed} {bits}")
        p, q = 0, 0
        while p == q:
            p, q = random_prime(bits // 2, generator), random_prime(bits // 2, generator)
        self.p, self.q, self.n = p, q, p * q
        self._hp = pow((pow(1 + self.n, p - 1, p * p) - 1) // p % p, -1, p)
        self._hq = pow((pow(1 + self.n, q - 1, q * q) - 1) // q % q, -1, q)

    def encrypt(self, m, seed):
        if not -(self.n // 2) <= m <= self.n // 2:
            raise ValueError("too large")
        generator = random.Random(f"number {seed}")
        while True:
            r = generator.randint(1, self.n - 1)
            if r % self.p and r % self.q:
                break
        return pow(1 + self.n, m % self.n, self.n**2) * pow(r, self.n, self.n**2) % self.n**2

    def decrypt(self, c):
        a = (pow(c, self.p - 1, self.p**2) - 1) // self.p * self._hp % self.p
        b = (pow(c, self.q - 1, self.q**2) - 1) // self.q * self._hq % self.q
        x = (a + (b - a) * pow(self.p, -1, self.q) % self.q * self.p) % self.n
        return x if x <= self.n // 2 else x - self.n

    def add(self, a, b):
        return (a * b) % (self.n * self.n)

    def scale(self, c, k):
        base = c if k >= 0 else pow(c, -1, self.n**2)
        return pow(base, abs(k), self.n**2)


@right("Paillier", "NumPy's generator for the bits of r")
class ByNumpyBits(Paillier):
    def encrypt(self, m, seed):
        if m > self.n // 2 or m < -(self.n // 2):
            raise ValueError("it does not fit")
        generator, size = np.random.default_rng([seed, 77]), self.n.bit_length()
        r = 0
        while not 0 < r < self.n or math.gcd(r, self.n) != 1:
            r = int.from_bytes(generator.bytes(size // 8 + 1), "little") >> (8 - size % 8)
        n2 = self.n * self.n
        return ((self.n * (m % self.n) + 1) * pow(r, self.n, n2)) % n2


# ---------------------------------------------------------------------------------------------------- seal_chunks

wrong(
    "seal_chunks",
    "begins each file at the same nonce",
    fails=["test_no_nonce_twice_under_a_key"],
    edit={"secrets.token_bytes(7)": "bytes(7)"},
)
wrong(
    "seal_chunks",
    "makes the header from Python's generator for simulations",
    fails=["test_the_header_comes_from_the_system"],
    edit={"secrets.token_bytes(7)": "random.randbytes(7)"},
)
wrong(
    "seal_chunks",
    "makes the header from a hash of the key",
    fails=["test_no_nonce_twice_under_a_key"],
    edit={"secrets.token_bytes(7)": "int(mix64(int.from_bytes(key[:7], 'big'))).to_bytes(8, 'big')[:7]"},
)
wrong(
    "seal_chunks",
    "does not mark the last chunk, and opens a file that was cut off",
    fails=["test_the_format_of_a_file", "test_a_file_that_was_cut_off"],
    edit={
        'to_bytes(4, "big") + b"\\x01", waiting or b"", None)': 'to_bytes(4, "big") + b"\\x00", waiting or b"", None)',
        'b"\\x01" if following is None else b"\\x00"': 'b"\\x00"',
    },
)
wrong(
    "seal_chunks",
    "takes any mark of the last chunk when it opens",
    fails=["test_a_file_that_was_cut_off"],
    edit={
        "        except InvalidTag:\n            raise ValueError": (
            "        except InvalidTag:\n            try:\n"
            '                other = b"\\x00" if last == b"\\x01" else b"\\x01"\n'
            '                chunk = cipher.decrypt(header + number.to_bytes(4, "big") + other, waiting, None)\n'
            "            except InvalidTag:\n                chunk = None\n"
            "        if chunk is None:\n            raise ValueError"
        ),
        " from None\n        yield chunk": "\n        yield chunk",
    },
)
wrong(
    "seal_chunks",
    "does not say in the nonce where a chunk stands",
    fails=["test_the_format_of_a_file"],
    edit={"            number += 1\n": "            number = 0\n", "number + 1": "0"},
)
wrong(
    "seal_chunks",
    "opens a file of which only the header is left",
    fails=["test_a_file_that_was_cut_off"],
    edit={'raise ValueError("the file ends before its first chunk")': "return"},
)
wrong(
    "seal_chunks",
    "writes no chunk for a file without any",
    fails=["test_the_format_of_a_file"],
    edit={
        '    yield cipher.encrypt(header + number.to_bytes(4, "big") + b"\\x01", waiting or b"", None)': (
            "    if waiting is not None:\n"
            '        yield cipher.encrypt(header + number.to_bytes(4, "big") + b"\\x01", waiting, None)'
        )
    },
)
wrong(
    "seal_chunks",
    "collects all pieces of a file before it opens the first",
    fails=["test_a_large_file_in_little_memory"],
    edit={"pieces = iter(sealed)": "pieces = iter(list(sealed))"},
)
wrong(
    "seal_chunks",
    "ends without an error at the first piece that does not open",
    fails=["test_a_file_that_was_cut_off"],
    edit={
        'raise ValueError(f"chunk {number} was changed, moved, or is not the last one") from None': "return",
    },
)


@right("seal_chunks", "a look ahead with a marker for the end", replaces="seal_chunks")
def with_marker(chunks, key):
    prefix, cipher, nothing = secrets.token_bytes(7), AESGCM(key), object()
    yield prefix
    source, counter = iter(chunks), 0
    now = next(source, nothing)
    if now is nothing:
        now = b""
    while now is not nothing:
        then = next(source, nothing)
        nonce = b"".join([prefix, bytes([counter >> s & 255 for s in (24, 16, 8, 0)]), bytes([then is nothing])])
        yield cipher.encrypt(nonce, bytes(now), None)
        now, counter = then, counter + 1


@right("seal_chunks", "an opener that tries what comes as the last one at the end", replaces="open_chunks")
def with_pairs(sealed, key):
    cipher, prefix, held, number = AESGCM(key), None, None, 0

    def opened(piece, last):
        try:
            return cipher.decrypt(prefix + number.to_bytes(4, "big") + (b"\x01" if last else b"\x00"), piece, None)
        except InvalidTag as error:
            raise ValueError("it does not open") from error

    for piece in sealed:
        if prefix is None:
            prefix = piece
            if len(prefix) != 7:
                raise ValueError("header")
        elif held is None:
            held = piece
        else:
            yield opened(held, False)
            held, number = piece, number + 1
    if held is None:
        raise ValueError("no chunk")
    yield opened(held, True)
