"""Wrong and right answers that prove the hidden tests of module 07, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import math

import numpy as np
import scipy.linalg
import scipy.sparse
import torch
from scipy.spatial.distance import cdist

from autograder.answers import equivalent, right, wrong

# ----------------------------------------------------------------------------------------------- kmeans_plus_plus

wrong(
    "kmeans_plus_plus",
    "draws with probabilities proportional to the distances, not to their squares",
    fails=["test_centres_are_drawn_by_squared_distances"],
    edit={"p=D2 / total": "p=np.sqrt(D2) / np.sqrt(D2).sum()"},
)
wrong(
    "kmeans_plus_plus",
    "always takes the farthest row",
    fails=["test_centres_are_drawn_by_squared_distances"],
    edit={"rng.choice(m, p=D2 / total)": "int(D2.argmax())"},
)
wrong(
    "kmeans_plus_plus",
    "draws all rows with equal probability",
    fails=["test_centres_are_drawn_by_squared_distances"],
    edit={"rng.choice(m, p=D2 / total)": "rng.choice(np.flatnonzero(D2))"},
)
wrong(
    "kmeans_plus_plus",
    "looks at the distance from the last centre only",
    fails=["test_centres_are_drawn_by_squared_distances"],
    edit={"np.minimum(D2, ((X - X[rows[-1]]) ** 2).sum(axis=1))": "((X - X[rows[-1]]) ** 2).sum(axis=1)"},
)
wrong(
    "kmeans_plus_plus",
    "always begins with row 0",
    fails=["test_centres_are_drawn_by_squared_distances"],
    edit={"[rng.integers(m)]": "[0]"},
)
wrong(
    "kmeans_plus_plus",
    "draws three candidates for each centre and keeps the best (greedy k-means++)",
    fails=["test_centres_are_drawn_by_squared_distances"],
    edit={
        "rows.append(rng.choice(m, p=D2 / total) if total > 0 else rng.integers(m))": (
            "some = rng.choice(m, 3, p=D2 / total) if total > 0 else rng.integers(m, size=3)\n"
            "        rows.append(min(some, key=lambda i: np.minimum(D2, ((X - X[i]) ** 2).sum(axis=1)).sum()))"
        )
    },
)
wrong(
    "kmeans_plus_plus",
    "divides 0 by 0 where every row is a centre",
    fails=["test_centres_of_equal_rows"],
    edit={" if total > 0 else rng.integers(m)": ""},
)
wrong(
    "kmeans_plus_plus",
    "expands the squared distance, which loses all digits far from zero",
    fails=["test_centres_keep_their_digits"],
    edit={
        "D2 = ((X - X[rows[0]]) ** 2).sum(axis=1)": (
            "far = lambda c: np.maximum((X**2).sum(axis=1) - 2 * X @ c + c @ c, 0)\n    D2 = far(X[rows[0]])"
        ),
        "((X - X[rows[-1]]) ** 2).sum(axis=1)": "far(X[rows[-1]])",
    },
)
wrong(
    "kmeans_plus_plus",
    "keeps the distances from all centres, an array of shape (m, k)",
    fails=["test_centres_cost_one_pass_each"],
    edit={
        "    while len(rows)": "    each = [D2]\n    while len(rows)",
        "D2 = np.minimum(D2, ((X - X[rows[-1]]) ** 2).sum(axis=1))": (
            "each.append(((X - X[rows[-1]]) ** 2).sum(axis=1))\n        D2 = np.minimum(D2, each[-1])"
        ),
    },
)
wrong(
    "kmeans_plus_plus",
    "computes the distances from all centres anew for each further one",
    fails=["test_centres_cost_one_pass_each"],
    edit={
        "D2 = np.minimum(D2, ((X - X[rows[-1]]) ** 2).sum(axis=1))": (
            "D2 = np.full(m, np.inf)\n        for row in rows:\n"
            "            D2 = np.minimum(D2, ((X - X[row]) ** 2).sum(axis=1))"
        )
    },
)
wrong(
    "kmeans_plus_plus",
    "keeps 32 bits of the seed",
    fails=["test_centres_depend_on_the_seed_alone"],
    edit={"default_rng(seed)": "default_rng(seed % 2**32)"},
)


@right("kmeans_plus_plus", "cumulative sums and a uniform number, centred rows, torch for distances")
def by_inversion(X, k, seed):
    X = np.array(X, dtype=np.float64)
    if k < 1 or k > X.shape[0]:
        raise ValueError("k")
    rng = np.random.default_rng(seed)
    T = torch.from_numpy(X - X.mean(axis=0))
    chosen = [int(rng.random() * len(X))]
    nearest = torch.full((len(X),), math.inf, dtype=torch.float64)
    for _ in range(k - 1):
        nearest = torch.minimum(nearest, (T - T[chosen[-1]]).square().sum(1))
        sums = np.cumsum(nearest.numpy())
        if sums[-1] == 0:
            chosen.append(0)
        else:
            chosen.append(int(np.searchsorted(sums, rng.random() * sums[-1], side="right")))
    return X[chosen].copy()


@right("kmeans_plus_plus", "numbers of a legacy generator that is seeded by default_rng, cdist")
def by_cdist(X, k, seed):
    X = np.ascontiguousarray(X).astype(float)
    m = X.shape[0]
    if not (0 < k <= m):
        raise ValueError
    rng = np.random.default_rng(seed)
    out = np.zeros((k, X.shape[1]))
    out[0] = X[rng.permutation(m)[0]]
    near = cdist(X, out[:1], "sqeuclidean")[:, 0]
    for j in range(1, k):
        weight = near if near.max() > 0 else np.ones(m)
        out[j] = X[rng.choice(m, p=weight / np.sum(weight))]
        near = np.minimum(near, cdist(X, out[j : j + 1], "sqeuclidean")[:, 0])
    return out


# --------------------------------------------------------------------------------------------------------- kmeans

wrong(
    "kmeans",
    "leaves the centre of an empty cluster where it is",
    fails=["test_clusters_are_never_lost"],
    edit={
        "np.setdiff1d(np.arange(k), labels)": "[]",
        "np.stack([X[labels == j].mean(axis=0) for j in range(k)])": (
            "np.stack([X[labels == j].mean(axis=0) if (labels == j).any() else centers[j] for j in range(k)])"
        ),
    },
)
wrong(
    "kmeans",
    "takes the farthest row also from a cluster of one row, which is empty then",
    fails=["test_clusters_are_never_lost"],
    edit={
        "crowded[np.argsort(error[crowded])[-1]]": "error.argmax()",
        "X[labels == j].mean(axis=0)": "X[labels == j].sum(axis=0) / max((labels == j).sum(), 1)",
    },
)
wrong(
    "kmeans",
    "compares the labels from before the repair",
    fails=["test_clusters_stop_when_nothing_changes"],
    edit={
        "labels, history = None, []": "labels, history, last = None, [], None",
        "        error = D2": "        assigned = labels.copy()\n        error = D2",
        "if np.array_equal(labels, before):": (
            "last, before = assigned, last\n        if np.array_equal(assigned, before):"
        ),
    },
)
wrong(
    "kmeans",
    "takes the row that is nearest to its centre for an empty cluster",
    fails=["test_clusters_are_never_lost"],
    edit={"np.argsort(error[crowded])[-1]": "np.argsort(error[crowded])[0]"},
)
wrong(
    "kmeans",
    "tells J before the centres are updated",
    fails=["test_clusters_follow_the_steps"],
    edit={"float(((X - centers[labels]) ** 2).sum())": "float(D2[np.arange(m), labels].sum())"},
)
wrong(
    "kmeans",
    "tells the mean of the squared distances instead of their sum",
    fails=["test_clusters_follow_the_steps"],
    edit={"float(((X - centers[labels]) ** 2).sum())": "float(((X - centers[labels]) ** 2).sum() / m)"},
)
wrong(
    "kmeans",
    "does not count the step that changes no label",
    fails=["test_clusters_stop_when_nothing_changes"],
    edit={
        "        history.append(float(((X - centers[labels]) ** 2).sum()))\n": "",
        "            break": "            break\n        history.append(float(((X - centers[labels]) ** 2).sum()))",
    },
)
wrong(
    "kmeans",
    "measures distances as sums of absolute differences",
    fails=["test_clusters_follow_the_steps"],
    edit={"((X - c) ** 2).sum(axis=1) for c in": "np.abs(X - c).sum(axis=1) for c in"},
)
wrong(
    "kmeans",
    "expands the squared distance, which loses all digits far from zero",
    fails=["test_clusters_keep_their_digits"],
    edit={"((X - c) ** 2).sum(axis=1) for c in": "(X**2).sum(axis=1) - 2 * X @ c + c @ c for c in"},
)
wrong(
    "kmeans",
    "makes all differences at once, an array of shape (m, k, d)",
    fails=["test_clusters_need_no_array_of_all_differences"],
    edit={
        "np.stack([((X - c) ** 2).sum(axis=1) for c in centers], axis=1)": ("((X[:, None] - centers) ** 2).sum(axis=2)")
    },
)


@right("kmeans", "cdist, sums by np.add.at, an integer type of 32 bits, ties to the last")
def kmeans_by_sums(X, start, max_steps=100):
    X, C = np.array(X, float), np.array(start, float)
    (m, d), k = X.shape, len(C)
    if k < 1 or k > m:
        raise ValueError("k")
    old, J = np.full(m, -1, dtype=np.int32), []
    for _ in range(max_steps):
        D = cdist(X, C)
        lab = (k - 1 - D[:, ::-1].argmin(1)).astype(np.int32)
        far = D[np.arange(m), lab]
        while True:
            n = np.bincount(lab, minlength=k)
            gone = np.where(n == 0)[0]
            if not len(gone):
                break
            i = max((i for i in range(m) if n[lab[i]] >= 2), key=lambda i: far[i])
            lab[i] = gone[0]
        C = np.zeros((k, d))
        np.add.at(C, lab, X / m)
        C *= m / n[:, None]
        C += np.stack([(X[lab == j] - C[j]).mean(0) for j in range(k)])
        J.append(float(np.square(X - C[lab]).sum()))
        if (old == lab).all():
            break
        old = lab
    return C, lab, J


@right("kmeans", "torch, a loop over the centres")
def kmeans_in_a_torch_loop(X, start, max_steps=100):
    X, C = (torch.tensor(np.array(a, dtype=np.float64)) for a in (X, start))
    if len(C) > len(X):
        raise ValueError("k")
    before, history = None, []
    for _ in range(max_steps):
        error, labels = torch.stack([((X - c) ** 2).sum(1) for c in C]).min(0)
        for j in range(len(C)):
            counts = torch.bincount(labels, minlength=len(C))
            if counts[j] == 0:
                labels[torch.where(counts[labels] > 1, error, -torch.ones_like(error)).argmax()] = j
        C = torch.stack([X[labels == j].mean(0) for j in range(len(C))])
        history.append(((X - C[labels]) ** 2).sum().item())
        if before is not None and bool((labels == before).all()):
            break
        before = labels.clone()
    return C.numpy(), labels.numpy(), history


@right("kmeans", "torch on rows that were centred and scaled")
def kmeans_in_torch(X, start, max_steps=100):
    X, C = (torch.from_numpy(np.array(a, dtype=np.float64)) for a in (X, start))
    m, k = len(X), len(C)
    if not 1 <= k <= m:
        raise ValueError("k")
    shift = X.mean(0)
    scale = float((X - shift).abs().max()) or 1.0
    X, C, last, history = (X - shift) / scale, (C - shift) / scale, None, []
    for _ in range(max_steps):
        D = torch.cdist(X, C, compute_mode="donot_use_mm_for_euclid_dist").square()
        error, labels = D.min(1)
        for j in range(k):
            if not (labels == j).any():
                n = torch.bincount(labels, minlength=k)
                labels[torch.where(n[labels] > 1, error, torch.tensor(-1.0, dtype=torch.float64)).argmax()] = j
        C = torch.stack([X[labels == j].mean(0) for j in range(k)])
        history.append(float((X - C[labels]).square().sum()) * scale * scale)
        if last is not None and torch.equal(last, labels):
            break
        last = labels.clone()
    return (C * scale + shift).numpy(), labels.numpy(), history


# ----------------------------------------------------------------------------------------------- responsibilities

wrong(
    "responsibilities",
    "leaves out the weights",
    fails=["test_responsibilities_are_right"],
    edit={"logs = np.stack(logs, axis=1)": "logs = np.stack(logs, axis=1) - np.log(weights)"},
)
wrong(
    "responsibilities",
    "adds a tiny number to the densities, so that far rows belong to nobody",
    fails=["test_responsibilities_far_from_every_mean"],
    edit={
        "np.exp(logs - top)": "np.exp(logs)",
        "joint.sum(axis=1, keepdims=True)": "joint.sum(axis=1, keepdims=True) + 1e-300",
        "(top + np.log(total))": "np.log(total)",
    },
)
wrong(
    "responsibilities",
    "subtracts log p before exp, which is rounded far away, so that rows do not sum to 1",
    fails=["test_responsibilities_far_from_every_mean"],
    edit={"joint / total": "np.exp(logs - (top + np.log(total)))"},
)
wrong(
    "responsibilities",
    "subtracts one largest logarithm for all rows together",
    fails=["test_responsibilities_far_from_every_mean"],
    edit={"top = logs.max(axis=1, keepdims=True)": "top = np.full((len(X), 1), logs.max())"},
)
wrong(
    "responsibilities",
    "does not add the largest logarithm again",
    fails=["test_responsibilities_are_right"],
    edit={"(top + np.log(total))": "np.log(total)"},
)
wrong(
    "responsibilities",
    "normalises over the rows instead of the Gaussians",
    fails=["test_responsibilities_are_right"],
    edit={"joint / total": "np.exp(logs - np.logaddexp.reduce(logs, axis=0))"},
)


@right("responsibilities", "scipy's softmax and logaddexp")
def by_logaddexp(X, weights, means, covariances):
    X = np.array(X, dtype=float)
    columns = [log_gaussian(X, np.array(means[j]), np.array(covariances[j])) for j in range(len(weights))]
    logs = np.column_stack(columns) + np.log(np.asarray(weights))[None]
    log_p = np.logaddexp.reduce(logs, axis=1)
    E = np.exp(logs - np.max(logs, axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True), log_p


@right("responsibilities", "torch, with densities by eigenvalues")
def by_eigenvalues(X, weights, means, covariances):
    X, w, mu, S = (torch.tensor(np.array(a, dtype=np.float64)) for a in (X, weights, means, covariances))
    logs = []
    for j in range(len(w)):
        values, V = torch.linalg.eigh(S[j])
        Z = (X - mu[j]) @ V
        logs.append(
            w[j].log() - 0.5 * ((Z * Z / values).sum(1) + values.log().sum() + X.shape[1] * math.log(2 * math.pi))
        )
    logs = torch.stack(logs, 1)
    return torch.softmax(logs, 1).numpy(), torch.logsumexp(logs, 1).numpy()


# ----------------------------------------------------------------------------------------------- gaussian_mixture

wrong(
    "gaussian_mixture",
    "divides the covariances by the number of all rows",
    fails=["test_mixture_follows_the_steps"],
    edit={"@ D / n[j])": "@ D / len(X))"},
)
wrong(
    "gaussian_mixture",
    "divides the covariances by n_j - 1",
    fails=["test_mixture_follows_the_steps"],
    edit={"@ D / n[j])": "@ D / (n[j] - 1))"},
)
wrong(
    "gaussian_mixture",
    "takes the variances only, without the products of different columns",
    fails=["test_mixture_follows_the_steps"],
    edit={"(R[:, j] * D.T) @ D / n[j]": "np.diag(np.diag((R[:, j] * D.T) @ D / n[j]))"},
)
wrong(
    "gaussian_mixture",
    "gives each row to its most likely Gaussian",
    fails=["test_mixture_follows_the_steps"],
    edit={
        "        history.append": "        R = np.eye(len(n))[R.argmax(axis=1)]\n        history.append",
    },
)
wrong(
    "gaussian_mixture",
    "tells the sum of the log-likelihoods over the rows",
    fails=["test_mixture_follows_the_steps"],
    edit={"log_p.mean()": "log_p.sum()"},
)
wrong(
    "gaussian_mixture",
    "adds the floor to every eigenvalue",
    fails=["test_mixture_raises_small_eigenvalues"],
    edit={"np.maximum(values, floor)": "(values + floor)"},
)
wrong(
    "gaussian_mixture",
    "raises the variances on the diagonal, not the eigenvalues",
    fails=["test_mixture_raises_small_eigenvalues"],
    edit={
        "values, vectors = np.linalg.eigh((R[:, j] * D.T) @ D / n[j])": "S = (R[:, j] * D.T) @ D / n[j]",
        "covariances.append((vectors * np.maximum(values, floor)) @ vectors.T)": (
            "covariances.append(S + np.diag(np.maximum(floor - np.diag(S), 0)))"
        ),
    },
)
wrong(
    "gaussian_mixture",
    "takes the mean of the squares minus the square of the mean, which loses digits far from zero",
    fails=["test_mixture_keeps_its_digits"],
    edit={
        "D = X - means[j]": "D = X",
        "np.linalg.eigh((R[:, j] * D.T) @ D / n[j])": (
            "np.linalg.eigh((R[:, j] * D.T) @ D / n[j] - np.outer(means[j], means[j]))"
        ),
    },
)
wrong(
    "gaussian_mixture",
    "makes the differences of all rows and all means at once, an array of shape (m, k, d)",
    fails=["test_mixture_treats_one_gaussian_at_a_time"],
    edit={
        "        for j in range(len(n)):": "        every = X[:, None] - means\n        for j in range(len(n)):",
        "D = X - means[j]": "D = every[:, j]",
    },
)
wrong(
    "gaussian_mixture",
    "takes a floor of 0",
    fails=["test_mixture_refuses_a_floor_that_is_not_positive"],
    edit={"if not floor > 0:": "if not floor >= 0:"},
)


@right("gaussian_mixture", "einsum and a singular value decomposition of the weighted rows")
def mixture_by_svd(X, R, steps, floor=1e-6):
    if not floor > 0:
        raise ValueError("floor")
    X, R = np.array(X, dtype=float), np.array(R, dtype=float)
    m, d = X.shape
    history = []
    for _ in range(steps):
        n = np.sum(R, axis=0)
        centre = X.mean(axis=0)
        mu = centre + np.einsum("ij,id->jd", R, X - centre) / n[:, None]
        S = np.zeros((len(n), d, d))
        for j in range(len(n)):
            A = np.sqrt(R[:, j] / n[j])[:, None] * (X - mu[j])
            _, s, V = np.linalg.svd(A.T @ A)
            S[j] = np.einsum("ab,a,ac->bc", V, np.where(s > floor, s, floor), V)
        R, log_p = responsibilities(X, n / m, mu, S)
        history.append(float(np.sum(log_p) / m))
    return n / m, mu, S, history


@right("gaussian_mixture", "torch in the M step, rows that were centred once")
def mixture_in_torch(X, R, steps, floor=1e-6):
    if not (floor > 0):
        raise ValueError
    X = np.array(X, dtype=np.float64)
    shift = X.mean(axis=0)
    T, R, history = torch.from_numpy(X - shift), torch.tensor(np.array(R, dtype=np.float64)), []
    while len(history) < steps:
        n, means, covs = R.sum(0), [], []
        for j in range(R.shape[1]):
            mean = (R[:, j : j + 1] * T).sum(0) / n[j]
            D = (T - mean) * R[:, j : j + 1].sqrt()
            w, V = torch.linalg.eigh(D.T @ D / n[j])
            means.append(mean)
            covs.append(V @ torch.diag(w.clamp(min=floor)) @ V.T)
        means, covs = torch.stack(means), torch.stack(covs)
        R, log_p = responsibilities(T.numpy(), (n / len(T)).numpy(), means.numpy(), covs.numpy())
        R = torch.from_numpy(R)
        history.append(float(np.mean(log_p)))
    return (n / len(T)).numpy(), means.numpy() + shift, covs.numpy(), history


# ------------------------------------------------------------------------------------------------- randomized_pca

wrong(
    "randomized_pca",
    "does not subtract the mean",
    fails=["test_components_are_those_of_the_centred_rows"],
    edit={"X @ V - mean @ V": "X @ V", "X.T @ U - np.outer(mean, U.sum(axis=0))": "X.T @ U"},
)
wrong(
    "randomized_pca",
    "subtracts the mean in one of the two products only",
    fails=["test_components_are_those_of_the_centred_rows"],
    edit={"X.T @ U - np.outer(mean, U.sum(axis=0))": "X.T @ U"},
)
wrong(
    "randomized_pca",
    "divides the singular values by the square root of m",
    fails=["test_components_are_those_of_the_centred_rows"],
    edit={"s[:k]": "s[:k] / np.sqrt(m)"},
)
wrong(
    "randomized_pca",
    "squares the singular values",
    fails=["test_components_are_those_of_the_centred_rows"],
    edit={"s[:k]": "s[:k] ** 2"},
)
wrong(
    "randomized_pca",
    "leaves the signs as they come",
    fails=["test_components_are_those_of_the_centred_rows"],
    edit={"largest_positive(V[:k])": "V[:k]"},
)
wrong(
    "randomized_pca",
    "makes the sum of each component positive, not its largest entry",
    fails=["test_components_are_those_of_the_centred_rows"],
    edit={"largest_positive(V[:k])": "V[:k] * np.sign(V[:k].sum(axis=1))[:, None]"},
)
wrong(
    "randomized_pca",
    "makes no power iterations",
    fails=["test_components_where_the_method_converges"],
    edit={"range(power)": "range(0)"},
)
wrong(
    "randomized_pca",
    "takes no more columns than components",
    fails=["test_components_where_the_method_converges"],
    edit={"min(k + oversample, *X.shape)": "min(k, *X.shape)"},
)
wrong(
    "randomized_pca",
    "takes a basis only once, at the end, so that small singular values are lost",
    fails=["test_components_keep_small_singular_values"],
    edit={
        "Q = np.linalg.qr(times(rng": "Q = (times(rng",
        "*X.shape)))))[0]": "*X.shape)))))",
        "Z = np.linalg.qr(transposed(Q))[0]": "Z = transposed(Q)",
        "Q = np.linalg.qr(times(Z))[0]": "Q = times(Z)",
        "    _, s, V": "    Q = np.linalg.qr(Q)[0]\n    _, s, V",
    },
)
wrong(
    "randomized_pca",
    "makes one power iteration where none is asked for",
    fails=["test_components_after_few_iterations"],
    edit={"range(power)": "range(max(power, 1))"},
)
wrong(
    "randomized_pca",
    "computes on a centred copy of X",
    fails=["test_components_need_no_second_array", "test_components_of_sparse_rows"],
    edit={
        "X @ V - mean @ V": "Xc @ V",
        "X.T @ U - np.outer(mean, U.sum(axis=0))": "Xc.T @ U",
        "    rng = np": "    Xc = (X.toarray() if scipy.sparse.issparse(X) else X) - mean\n    rng = np",
    },
)
wrong(
    "randomized_pca",
    "keeps 32 bits of the seed",
    fails=["test_components_depend_on_the_seed_alone"],
    edit={"default_rng(seed)": "default_rng(seed % 2**32)"},
)


@wrong("randomized_pca", "computes all singular values exactly", fails=["test_components_need_no_second_array"])
def pca_exact(X, k, oversample=10, power=2, seed=0):
    if not 1 <= k <= min(X.shape):
        raise ValueError("k")
    X = X.toarray() if scipy.sparse.issparse(X) else np.asarray(X, dtype=float)
    _, s, V = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    V = V[:k]
    return V * np.sign(V[np.arange(k), np.abs(V).argmax(axis=1)])[:, None], s[:k]


@right("randomized_pca", "scipy's qr, the mean by a product with ones, eigenvalues left alone")
def pca_by_scipy(X, k, oversample=10, power=2, seed=0):
    m, d = X.shape
    if k < 1 or k > m or k > d:
        raise ValueError("k")
    X = X if scipy.sparse.issparse(X) else np.asarray(X, dtype=np.float64)
    ones = np.ones(m)
    mu = X.T @ (ones / m)
    basis = lambda Y: scipy.linalg.qr(Y, mode="economic")[0]  # noqa: E731
    forward = lambda V: X.dot(V) - np.outer(ones, mu @ V)  # noqa: E731
    back = lambda U: X.T.dot(U) - mu[:, None] * (ones @ U)  # noqa: E731
    Q = basis(forward(np.random.default_rng(seed).normal(size=(d, min(m, d, k + oversample)))))
    for _ in range(power):
        Q = basis(forward(basis(back(Q))))
    V, s, _ = scipy.linalg.svd(back(Q), full_matrices=False)
    V = V.T[:k].copy()
    for row in V:
        if row[np.argmax(np.abs(row))] < 0:
            row *= -1
    return V, s[:k].copy()


@right("randomized_pca", "the small decomposition from a second basis, the transposed random matrix")
def pca_by_two_bases(X, k, oversample=10, power=2, seed=0):
    m, d = X.shape
    if not 0 < k <= min(m, d):
        raise ValueError
    if not scipy.sparse.issparse(X):
        X = np.asarray(X, dtype=np.float64)
    mean = X.sum(axis=0) / m
    Z = np.random.default_rng(seed).standard_normal((min(k + oversample, m, d), d)).T
    for _ in range(power + 1):
        Q, _ = np.linalg.qr(X @ Z - mean @ Z)
        Z, T = np.linalg.qr(X.T @ Q - np.outer(mean, Q.sum(axis=0)))
    _, s, Wt = np.linalg.svd(T.T)
    V = (Z @ Wt.T).T[:k]
    largest = np.take_along_axis(V, np.abs(V).argmax(axis=1)[:, None], axis=1)
    return np.where(largest < 0, -V, V), s[:k]


# ---------------------------------------------------------------------------------------------- label_propagation

wrong(
    "label_propagation",
    "divides by the neighbours' sums of weights instead of the node's own",
    fails=["test_labels_spread_step_by_step"],
    edit={"(W @ F) / total": "W @ (F / total)"},
)
wrong(
    "label_propagation",
    "adds the neighbours up without dividing",
    fails=["test_labels_spread_step_by_step"],
    edit={"(W @ F) / total": "W @ F"},
)
wrong(
    "label_propagation",
    "lets labelled nodes change",
    fails=["test_labels_spread_step_by_step"],
    edit={"        new[known] = F[known]\n": ""},
)
wrong(
    "label_propagation",
    "counts neighbours and does not look at the weights",
    fails=["test_labels_spread_step_by_step"],
    edit={"    total = W": "    W = W.astype(np.float64).sign()\n    total = W"},
)
wrong(
    "label_propagation",
    "gives class 0 to a node that no label reaches",
    fails=["test_labels_arrive_at_the_harmonic_answer"],
    edit={"np.where(F.max(axis=1) > 0, F.argmax(axis=1), -1)": "F.argmax(axis=1)"},
)
wrong(
    "label_propagation",
    "divides 0 by 0 at a node without neighbours",
    fails=["test_labels_spread_step_by_step"],
    edit={"    total[total == 0] = 1\n": ""},
)
wrong(
    "label_propagation",
    "starts unlabelled nodes with equal shares of all classes",
    fails=["test_labels_spread_step_by_step"],
    edit={"F[known, labels[known]] = 1": "F[~known] = 1 / F.shape[1]\n    F[known, labels[known]] = 1"},
)
wrong(
    "label_propagation",
    "returns F from before the last step",
    fails=["test_labels_stop_spreading_when_little_changes"],
    edit={"        F = new\n": "", "            break": "            break\n        F = new"},
)
wrong(
    "label_propagation",
    "makes W dense",
    fails=["test_labels_spread_over_a_large_graph"],
    edit={"    total = W": "    W = W.toarray()\n    total = W"},
)


@wrong(
    "label_propagation",
    "goes through the nodes in a loop",
    fails=["test_labels_spread_over_a_large_graph"],
)
def node_by_node(W, labels, max_steps=1000, tol=1e-6):
    labels = np.asarray(labels)
    if not (labels >= 0).any():
        raise ValueError("labels")
    F = np.zeros((len(labels), int(labels.max()) + 1))
    for i, label in enumerate(labels):
        if label >= 0:
            F[i, label] = 1
    W = W.astype(float)
    for _ in range(max_steps):
        new = F.copy()
        for i in np.flatnonzero(labels < 0):
            part = slice(W.indptr[i], W.indptr[i + 1])
            total = W.data[part].sum()
            new[i] = W.data[part] @ F[W.indices[part]] / total if total > 0 else 0
        change, F = np.abs(new - F).max(), new
        if change <= tol:
            break
    return np.where(F.max(axis=1) > 0, F.argmax(axis=1), -1), F


@right("label_propagation", "a diagonal matrix, only the unlabelled rows of W")
def by_rows(W, labels, max_steps=1000, tol=1e-6):
    labels = np.array(labels, dtype=np.int64)
    free, fixed = np.where(labels == -1)[0], np.where(labels != -1)[0]
    if fixed.size == 0:
        raise ValueError
    F = np.zeros((labels.size, labels.max() + 1), dtype=np.float64)
    F[fixed, labels[fixed]] = 1.0
    rows = scipy.sparse.csr_array(W, dtype=np.float64)[free]
    sums = rows @ np.ones(labels.size)
    sums[sums == 0] = 1
    P = scipy.sparse.diags_array(1 / sums) @ rows
    steps = 0
    while steps < max_steps and len(free):
        new = P @ F
        change = np.max(np.abs(new - F[free]), initial=0.0)
        F[free] = new
        steps += 1
        if not change > tol:
            break
    predicted = np.argmax(F, axis=1)
    predicted[~F.any(axis=1)] = -1
    return predicted.astype(np.int32), F


@right("label_propagation", "one class after another, coordinates instead of rows")
def by_bincount(W, labels, max_steps=1000, tol=1e-6):
    labels = np.asarray(labels).astype(int)
    C, n = labels.max() + 1, len(labels)
    if C == 0:
        raise ValueError("no label")
    coo = W.tocoo()
    i, j, w = coo.coords[0], coo.coords[1], coo.data.astype(float)
    total = np.bincount(i, weights=w, minlength=n)
    total = np.where(total == 0, np.inf, total)
    known = labels > -1
    start = np.where(known[:, None], np.eye(C)[labels], 0)
    F = start
    for _ in range(max_steps):
        new = np.stack([np.bincount(i, weights=w * F[j, c], minlength=n) / total for c in range(C)], axis=1)
        new[known] = start[known]
        done = np.all(np.abs(new - F) <= tol)
        F = new
        if done:
            break
    return np.where((F > 0).any(axis=1), F.argmax(axis=1), -1), F.copy()


# -------------------------------------------------------------------------------------------------- self_training

wrong(
    "self_training",
    "makes one round only",
    fails=["test_training_goes_on_in_rounds"],
    edit={"range(max_rounds)": "range(min(max_rounds, 1))"},
)
wrong(
    "self_training",
    "labels all rows in the first round, however unsure",
    fails=["test_training_goes_on_in_rounds"],
    edit={"P.max(axis=1) >= threshold": "P.max(axis=1) >= 0"},
)
wrong(
    "self_training",
    "asks for more than the threshold",
    fails=["test_training_asks_for_the_largest_probability"],
    edit={">= threshold": "> threshold"},
)
wrong(
    "self_training",
    "labels the rows anew in each round, also those that have a label already",
    fails=["test_training_goes_on_in_rounds"],
    edit={
        "    for _ in range": "    given = y >= 0\n    for _ in range",
        "waiting = np.flatnonzero(y < 0)": "waiting = np.flatnonzero(~given)",
        "if len(waiting) == 0:": "if (y >= 0).all():",
    },
)
wrong(
    "self_training",
    "trains on the given labels only",
    fails=["test_training_goes_on_in_rounds"],
    edit={
        "    for _ in range": "    given = y >= 0\n    for _ in range",
        "X[y >= 0], y[y >= 0]": "X[given], y[given]",
    },
)
wrong(
    "self_training",
    "asks about no rows where all have a label",
    fails=["test_training_ends"],
    edit={
        "        if len(waiting) == 0:\n            break\n": "",
        "P.max(axis=1)": "P.max(axis=1, initial=0)",
    },
)


@right("self_training", "a mask of waiting rows and a loop that counts down")
def by_masks(classify, X, y, threshold, max_rounds=50):
    labels = np.asarray(y).astype(np.int64).copy()
    rounds = max_rounds
    while rounds > 0 and np.any(labels == -1):
        rounds -= 1
        known = labels != -1
        P = np.asarray(classify(X[known].copy(), labels[known].copy(), X[~known].copy()))
        best = np.argmax(P, axis=1)
        good = np.take_along_axis(P, best[:, None], axis=1)[:, 0] >= threshold
        if good.sum() == 0:
            break
        made = np.full(len(best), -1)
        made[good] = best[good]
        labels[~known] = made
    return labels


@right("self_training", "recursion")
def by_recursion(classify, X, y, threshold, max_rounds=50):
    y = np.array(y, dtype="int64")
    rows = np.nonzero(y < 0)[0]
    if max_rounds == 0 or rows.size == 0:
        return y
    P = classify(np.delete(X, rows, axis=0), np.delete(y, rows), X[rows])
    sure = [i for i in range(len(rows)) if max(P[i]) >= threshold]
    if not sure:
        return y
    for i in sure:
        y[rows[i]] = int(np.argmax(P[i]))
    return by_recursion(classify, X, y, threshold, max_rounds - 1)


# ----------------------------------------------------------------------------------------------- minibatch_kmeans

wrong(
    "minibatch_kmeans",
    "moves each centre to the mean of the last batch",
    fails=["test_batches_move_centres_to_running_means"],
    edit={"len(mine) / counts[j] * (mine": "1.0 * (mine"},
)
wrong(
    "minibatch_kmeans",
    "divides by the count from before the batch",
    fails=["test_batches_move_centres_to_running_means"],
    edit={"len(mine) / counts[j]": "len(mine) / max(counts[j] - len(mine), len(mine))"},
)
wrong(
    "minibatch_kmeans",
    "moves each centre by 1 / counts instead of b / counts",
    fails=["test_batches_move_centres_to_running_means"],
    edit={"len(mine) / counts[j] * (mine": "1 / counts[j] * (mine"},
)
wrong(
    "minibatch_kmeans",
    "counts the first centres as rows",
    fails=["test_batches_move_centres_to_running_means"],
    edit={"np.zeros(len(centers), dtype=np.int64)": "np.ones(len(centers), dtype=np.int64)"},
)
wrong(
    "minibatch_kmeans",
    "forgets the counts that were passed in",
    fails=["test_batches_move_centres_to_running_means"],
    edit={"np.array(counts, dtype=np.int64)": "np.zeros(len(centers), dtype=np.int64)"},
)


@wrong(
    "minibatch_kmeans",
    "assigns each row to centres that have moved already",
    fails=["test_batches_are_assigned_before_centres_move"],
)
def row_by_row(batches, centers, counts=None):
    C = np.array(centers, dtype=np.float64)
    n = np.zeros(len(C), dtype=np.int64) if counts is None else np.array(counts, dtype=np.int64)
    for X in batches:
        for x in np.asarray(X, dtype=np.float64):
            j = ((C - x) ** 2).sum(axis=1).argmin()
            n[j] += 1
            C[j] += (x - C[j]) / n[j]
    return C, n


@wrong("minibatch_kmeans", "keeps all batches", fails=["test_batches_are_held_one_at_a_time"])
def all_at_once(batches, centers, counts=None):
    C = np.array(centers, dtype=np.float64)
    n = np.zeros(len(C), dtype=np.int64) if counts is None else np.array(counts, dtype=np.int64)
    for X in [np.array(batch, dtype=np.float64) for batch in batches]:
        labels = np.stack([((X - c) ** 2).sum(axis=1) for c in C], axis=1).argmin(axis=1)
        for j in np.unique(labels):
            mine = X[labels == j]
            n[j] += len(mine)
            C[j] += len(mine) / n[j] * (mine.mean(axis=0) - C[j])
    return C, n


wrong(
    "minibatch_kmeans",
    "expands the squared distance, which loses all digits far from zero",
    fails=["test_batches_of_every_kind_of_data"],
    edit={"((X - c) ** 2).sum(axis=1) for c in": "(X**2).sum(axis=1) - 2 * X @ c + c @ c for c in"},
)


@right("minibatch_kmeans", "weighted averages of sums, cdist")
def by_weighted_sums(batches, centers, counts=None):
    C = np.asarray(centers).astype(np.float64).copy()
    n = np.zeros(len(C)) if counts is None else np.asarray(counts).astype(np.float64)
    for X in batches:
        X = np.asarray(X).astype(np.float64)
        if X.shape[0] == 0:
            continue
        lab = cdist(X, C).argmin(axis=1)
        for j in range(len(C)):
            b = np.count_nonzero(lab == j)
            if b:
                C[j] += (X[lab == j] - C[j]).sum(axis=0) / (n[j] + b)
                n[j] += b
    return C, n.astype(np.int64)


@right("minibatch_kmeans", "torch, one running mean a row once the rows are assigned")
def by_running_means(batches, centers, counts=None):
    C = torch.tensor(np.array(centers, dtype=np.float64))
    n = [0] * len(C) if counts is None else [int(c) for c in counts]
    for X in batches:
        X = torch.tensor(np.array(X, dtype=np.float64))
        labels = torch.stack([(X - c).square().sum(1) for c in C], 1).argmin(1)
        for j in torch.unique(labels).tolist():
            mine = X[labels == j]
            n[j] += len(mine)
            C[j] = C[j] + (mine - C[j]).sum(0) / n[j]
    return C.numpy(), np.array(n, dtype=np.int64)


# ---------------------------------------------------------------------------------------------- merge_covariances

wrong(
    "merge_covariances",
    "divides the scatter by the number of rows",
    fails=["test_state_of_rows"],
    edit={"(X - mean).T @ (X - mean)": "(X - mean).T @ (X - mean) / max(len(X), 1)"},
)
wrong(
    "merge_covariances",
    "does not subtract the mean",
    fails=["test_state_of_rows"],
    edit={"(X - mean).T @ (X - mean)": "X.T @ X"},
)
wrong(
    "merge_covariances",
    "takes sums of squares minus n times the square of the mean, which loses digits far from zero",
    fails=["test_state_of_rows"],
    edit={"(X - mean).T @ (X - mean)": "X.T @ X - len(X) * np.outer(mean, mean)"},
)
wrong(
    "merge_covariances",
    "adds the scatters and leaves out the distance of the means",
    fails=["test_merged_states_are_the_state_of_all"],
    edit={" + a[0] * share * np.outer(delta, delta)": ""},
)
wrong(
    "merge_covariances",
    "takes the mean of the two means without weights",
    fails=["test_merged_states_are_the_state_of_all"],
    edit={"a[1] + share * delta": "(a[1] + b[1]) / 2"},
)
wrong(
    "merge_covariances",
    "divides by 0 where there is no row",
    fails=["test_merged_states_are_the_state_of_all"],
    edit={"b[0] / max(n, 1)": "np.float64(b[0]) / n"},
)
wrong(
    "merge_covariances",
    "goes back to sums of squares to merge, which loses digits far from zero",
    fails=["test_merged_states_are_the_state_of_all"],
    edit={
        "a[2] + b[2] + a[0] * share * np.outer(delta, delta)": (
            "a[2] + b[2] + a[0] * np.outer(a[1], a[1]) + b[0] * np.outer(b[1], b[1])"
            " - n * np.outer(a[1] + share * delta, a[1] + share * delta)"
        )
    },
)
wrong(
    "merge_covariances",
    "takes the columns of the eigenvectors for rows",
    fails=["test_streaming_components_are_exact"],
    edit={"vectors.T[::-1][:k]": "vectors[:, ::-1][:k]"},
)
wrong(
    "merge_covariances",
    "takes the smallest eigenvalues",
    fails=["test_streaming_components_are_exact"],
    edit={"vectors.T[::-1][:k]": "vectors.T[:k]", "values[::-1][:k]": "values[:k]"},
)
wrong(
    "merge_covariances",
    "returns eigenvalues, not their roots",
    fails=["test_streaming_components_are_exact"],
    edit={"np.sqrt(values[::-1][:k].clip(min=0))": "values[::-1][:k].clip(min=0)"},
)
wrong(
    "merge_covariances",
    "reads the whole stream before it computes",
    fails=["test_streaming_components_hold_one_chunk"],
    edit={"for chunk in chunks:": "for chunk in [np.array(chunk) for chunk in chunks]:"},
)


@right("merge_covariances", "the mean by np.mean, products by einsum", replaces="covariance_state")
def state_by_einsum(X):
    X = np.array(X, dtype=float)
    n, d = X.shape
    if n == 0:
        return 0, np.zeros(d), np.zeros((d, d))
    mean = X.mean(axis=0)
    D = X - mean
    return n, mean, np.einsum("ia,ib->ab", D, D)


@right("merge_covariances", "the distances of both means from the new one", replaces="merge_covariances")
def merge_by_both_means(a, b):
    (na, ma, Sa), (nb, mb, Sb) = a, b
    n = na + nb
    if n == 0:
        return 0, np.array(ma), np.array(Sa)
    mean = ma * (na / n) + mb * (nb / n)
    S = np.array(Sa) + Sb
    S += (na * (nb / n) ** 2 + nb * (na / n) ** 2) * np.outer(mb - ma, mb - ma)
    return np.int64(n), mean, S


@right("merge_covariances", "the singular value decomposition of the scatter", replaces="streaming_pca")
def streaming_by_svd(chunks, k):
    stream = iter(chunks)
    state = covariance_state(next(stream))
    for chunk in stream:
        state = merge_covariances(covariance_state(chunk), state)
    V, values, _ = np.linalg.svd(state[2])
    V = V.T[:k]
    return np.array([row * np.sign(row[np.abs(row).argmax()]) for row in V]), np.sqrt(values[:k])


# ------------------------------------------------------------------------------------ mutants that change nothing

equivalent(
    "merge_covariances",
    diff="- mean = X.sum(axis=0) / (len(X) or 1)\n+ mean = X.sum(axis=0) / (len(X) or 2)",
    reason="the sum over no row is 0",
)
equivalent(
    "merge_covariances",
    diff="- share = b[0] / max(n, 1)\n+ share = b[0] / max(1, n)",
    reason="the larger of two numbers, in whichever order",
)
equivalent(
    "merge_covariances",
    diff="- state = new if state is None else merge_covariances(state, new)\n"
    "+ state = new if state is None else merge_covariances(new, state)",
    reason="states merge in any order",
)
equivalent(
    "label_propagation",
    diff="- total[total == 0] = 1\n+ total[total == 0] = 2",
    reason="what is divided is 0",
)
equivalent(
    "kmeans",
    diff="- before, labels = (labels, D2.argmin(axis=1))\n"
    "+ before, labels = (labels, D2.shape[1] - 1 - np.flip(D2, 1).argmin(axis=1))",
    reason="a row may go to any of equally near centres",
)
equivalent(
    "minibatch_kmeans",
    diff="- labels = D2.argmin(axis=1)\n+ labels = D2.shape[1] - 1 - np.flip(D2, 1).argmin(axis=1)",
    reason="a row may go to any of equally near centres",
)
equivalent(
    "kmeans_plus_plus",
    diff="- D2 = ((X - X[rows[0]]) ** 2).sum(axis=1)\n+ D2 = ((X - X[rows[-1]]) ** 2).sum(axis=1)",
    reason="there is one row so far",
)
equivalent(
    "kmeans",
    diff="- D2 = np.stack([((X - c) ** 2).sum(axis=1) for c in centers], axis=1)\n"
    "+ D2 = np.stack([((X - c) ** 2).mean(axis=1) for c in centers], axis=1)",
    reason="the nearest and the farthest are the same",
)
equivalent(
    "minibatch_kmeans",
    diff="- D2 = np.stack([((X - c) ** 2).sum(axis=1) for c in centers], axis=1)\n"
    "+ D2 = np.stack([((X - c) ** 2).mean(axis=1) for c in centers], axis=1)",
    reason="the nearest and the farthest are the same",
)
equivalent(
    "kmeans",
    diff="- if np.array_equal(labels, before):\n+ if np.array_equal(before, labels):",
    reason="the same comparison",
)
equivalent(
    "kmeans_plus_plus",
    diff="- D2 = np.minimum(D2, ((X - X[rows[-1]]) ** 2).sum(axis=1))\n"
    "+ D2 = np.minimum(((X - X[rows[-1]]) ** 2).sum(axis=1), D2)",
    reason="the smaller of two numbers, in whichever order",
)
equivalent(
    "randomized_pca",
    diff="- return X @ V - mean @ V\n+ return mean @ V - X @ V",
    reason="a basis may have either sign",
)
equivalent(
    "randomized_pca",
    diff="- return X.T @ U - np.outer(mean, U.sum(axis=0))\n+ return np.outer(mean, U.sum(axis=0)) - X.T @ U",
    reason="a basis may have either sign, and signs are settled at the end",
)
equivalent(
    "gaussian_mixture",
    diff="- D = X - means[j]\n+ D = means[j] - X",
    reason="the product of two signs",
)
equivalent(
    "gaussian_mixture",
    diff="- covariances.append(vectors * np.maximum(values, floor) @ vectors.T)\n"
    "+ covariances.append(vectors * np.maximum(floor, values) @ vectors.T)",
    reason="the larger of two numbers, in whichever order",
)
