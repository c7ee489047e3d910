"""Wrong and right answers that prove the hidden tests of module 04, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import bisect
import itertools
import math
from fractions import Fraction

import numpy as np
import torch

from autograder.answers import equivalent, right, wrong

# ---------------------------------------------------------------------------------------------------------- ridge

wrong(
    "ridge",
    "penalises the intercept as well",
    fails=["test_ridge_agrees_with_sklearn"],
    edit={
        "Xc, yc = X - x_mean, y - y_mean": "Xc, yc = np.column_stack([X, np.ones(len(X))]), y",
        "m, d = X.shape": "m, d = Xc.shape",
        "theta, float(y_mean - x_mean @ theta)": "theta[:-1], float(theta[-1])",
    },
)
wrong(
    "ridge",
    "multiplies the penalty by the number of rows",
    fails=["test_ridge_agrees_with_sklearn"],
    edit={"m, d = X.shape": "m, d = X.shape\n    penalty = m * penalty"},
)
wrong(
    "ridge",
    "does not subtract the means",
    fails=["test_ridge_agrees_with_sklearn", "test_ridge_keeps_its_digits_far_from_zero"],
    edit={"X - x_mean, y - y_mean": "X, y"},
)
wrong(
    "ridge",
    "leaves out the penalty",
    fails=["test_ridge_agrees_with_sklearn"],
    edit={" + penalty * np.eye(d)": "", " + penalty * np.eye(m)": ""},
)
wrong(
    "ridge",
    "always solves the system of d equations, which is too large for a wide X",
    fails=["test_ridge_solves_the_smaller_system"],
    edit={"if d < m:": "if True:"},
)
wrong(
    "ridge",
    "centres X in place",
    fails=["test_ridge_leaves_no_trace"],
    edit={"Xc, yc = X - x_mean, y - y_mean": "X -= x_mean\n    Xc, yc = X, y - y_mean"},
)


wrong(
    "ridge",
    "takes a penalty of nan",
    fails=["test_ridge_refuses_a_penalty_that_is_not_positive"],
    edit={"if not penalty > 0:": "if penalty <= 0:"},
)


@right("ridge", "the singular value decomposition")
def ridge_by_svd(X, y, penalty):
    if not penalty > 0:
        raise ValueError("penalty")
    X, y = np.array(X, dtype=np.float64), np.array(y, dtype=np.float64)
    U, s, Vt = np.linalg.svd(X - X.mean(0), full_matrices=False)
    theta = Vt.T @ (s / (s**2 + penalty) * (U.T @ (y - y.mean())))
    return theta, y.mean() - np.dot(X.mean(0), theta)


@right("ridge", "torch, with einsum and a Cholesky factor")
def ridge_in_torch(X, y, penalty):
    if not penalty > 0:
        raise ValueError("penalty")
    X, y = (torch.from_numpy(np.array(a, dtype=np.float64)) for a in (X, y))
    Z, t = X - X.mean(0, keepdim=True), (y - y.mean())[:, None]
    wide = Z.shape[1] > Z.shape[0]
    gram = torch.einsum("ik,jk->ij", Z, Z) if wide else torch.einsum("ki,kj->ij", Z, Z)
    factor = torch.linalg.cholesky(gram + penalty * torch.eye(len(gram), dtype=gram.dtype))
    theta = (Z.T @ torch.cholesky_solve(t, factor) if wide else torch.cholesky_solve(Z.T @ t, factor))[:, 0]
    return theta.numpy(), float(y.mean() - X.mean(0) @ theta)


# ---------------------------------------------------------------------------------------------------------- lasso

wrong(
    "lasso",
    "keeps what lies above the threshold as it is (a hard threshold)",
    fails=["test_soft_threshold_is_a_step_towards_zero"],
    edit={"z - z.clip(-t, t)": "np.where(np.abs(z) > t, z, 0.0)"},
)
wrong(
    "lasso",
    "pulls every number down by t, negative ones too",
    fails=["test_soft_threshold_is_a_step_towards_zero"],
    edit={"z - z.clip(-t, t)": "np.maximum(z - t, 0.0)"},
)
wrong(
    "lasso",
    "leaves the half out of the squared error, so that the penalty counts half",
    fails=["test_lasso_finds_the_minimum", "test_lasso_follows_the_recursion"],
    edit={"L = np.linalg.norm(X, 2) ** 2": "L, penalty = np.linalg.norm(X, 2) ** 2, penalty / 2"},
)
wrong(
    "lasso",
    "takes the mean of the squared errors, so that the penalty counts m times",
    fails=["test_lasso_finds_the_minimum", "test_lasso_follows_the_recursion"],
    edit={"L = np.linalg.norm(X, 2) ** 2": "L, penalty = np.linalg.norm(X, 2) ** 2, penalty * len(y)"},
)
wrong(
    "lasso",
    "takes plain proximal steps, without the look-ahead",
    fails=["test_lasso_follows_the_recursion"],
    edit={"theta + k / (k + 3) * (theta - before)": "theta"},
)
wrong(
    "lasso",
    "does not shrink the residual for its bound, which is no bound then",
    fails=["test_lasso_reports_the_gap_of_its_result"],
    edit={"v * (penalty / max(penalty, np.abs(X.T @ v).max()))": "v"},
)
wrong(
    "lasso",
    "tests the gap only after a step",
    fails=["test_lasso_stops_when_the_gap_is_small"],
    edit={"if gap <= tol * (y @ y) / 2 or": "if (k > 0 and gap <= tol * (y @ y) / 2) or"},
)
wrong(
    "lasso",
    "forms X^T X, which is too large for a wide X",
    fails=["test_lasso_forms_no_square_matrix"],
    edit={"X.T @ (y - X @ z)": "(X.T @ y - (X.T @ X) @ z)"},
)


@right("lasso", "torch, with the gradient of the residual kept")
def lasso_in_torch(X, y, penalty, tol=1e-6, max_steps=10_000):
    X, y = (torch.from_numpy(np.array(a, dtype=np.float64)) for a in (X, y))
    L = torch.linalg.svdvals(X)[0] ** 2
    theta = torch.zeros(X.shape[1], dtype=torch.float64)
    z, k = theta.clone(), 0
    while True:
        v = y - X @ theta
        scale = min(1.0, penalty / max(float((X.T @ v).abs().max()), 1e-300))
        u = scale * v
        gap = float(0.5 * v.square().sum() + penalty * theta.abs().sum() - u @ y + 0.5 * u.square().sum())
        if gap <= tol * float(y @ y) / 2 or k >= max_steps:
            return theta.numpy(), gap
        w = z - X.T @ (X @ z - y) / L
        new = w.sign() * (w.abs() - penalty / L).clamp(min=0)
        z, theta, k = new + (new - theta) * (k / (k + 3)), new, k + 1


@right("lasso", "the smaller side of the decomposition for L, products with einsum, the dual value written out")
def lasso_with_einsum(X, y, penalty, tol=1e-6, max_steps=10_000):
    X, y = np.array(X, dtype=float), np.array(y, dtype=float)
    G = X.T @ X if X.shape[1] < X.shape[0] else X @ X.T
    L = np.linalg.eigvalsh(G)[-1]
    old = theta = np.zeros(X.shape[1])
    for k in range(max_steps + 1):
        residual = y - np.einsum("ij,j->i", X, theta)
        correlation = np.abs(np.einsum("ij,i->j", X, residual)).max()
        dual = residual if correlation <= penalty else residual * penalty / correlation
        gap = 0.5 * residual @ residual + penalty * np.sum(np.abs(theta)) - (dual @ y - 0.5 * dual @ dual)
        if gap <= tol * 0.5 * y @ y or k == max_steps:
            break
        ahead = theta + max(k - 1, 0) / (k + 2) * (theta - old)
        old, w = theta, ahead - X.T @ (X @ ahead - y) / L
        theta = np.sign(w) * np.maximum(np.abs(w) - penalty / L, 0)
    return theta, float(gap)


@right("lasso", "soft_threshold by cases", replaces="soft_threshold")
def threshold_by_cases(z, t):
    z = np.asarray(z, dtype=np.float64)
    return np.where(z > t, z - t, np.where(z < -t, z + t, 0.0))


# ---------------------------------------------------------------------------------------------------------- kfold

wrong(
    "kfold",
    "cuts the rows in their old order",
    fails=["test_folds_are_shuffled"],
    edit={"np.random.default_rng(seed).permutation(m)": "np.arange(m)"},
)
wrong(
    "kfold",
    "shuffles the folds, but not the rows between them",
    fails=["test_folds_are_shuffled"],
    edit={
        "np.random.default_rng(seed).permutation(m)": "np.roll(np.arange(m), np.random.default_rng(seed).integers(m))"
    },
)
wrong(
    "kfold",
    "makes folds of m // k rows and puts all that remain into the last",
    fails=["test_folds_have_equal_sizes"],
    edit={"np.arange(k + 1) * m // k": "[*range(0, m // k * k, m // k), m]"},
)
wrong(
    "kfold",
    "gives (test, train) instead of (train, test)",
    fails=["test_folds_cut_the_rows"],
    edit={"yield np": "yield order[first:last], np", ", order[first:last]": ""},
)
wrong(
    "kfold",
    "draws each fold anew, so that the folds overlap",
    fails=["test_folds_cut_the_rows"],
    edit={
        "order = np.random.default_rng(seed).permutation(m)": "draw = np.random.default_rng(seed)",
        "yield np": "order = draw.permutation(m)\n        yield np",
    },
)
wrong(
    "kfold",
    "makes all the training sets before it gives the first",
    fails=["test_folds_are_made_one_by_one"],
    edit={
        "    for first, last in": "    folds = []\n    for first, last in",
        "yield np": "folds.append((np",
        ", order[first:last]": ", order[first:last]))\n    return folds",
    },
)


wrong(
    "kfold",
    "keeps 32 bits of the seed",
    fails=["test_folds_depend_on_the_seed_alone"],
    edit={"default_rng(seed)": "default_rng(seed % 2**32)"},
)
wrong(
    "kfold",
    "shuffles with NumPy's global generator",
    fails=["test_folds_leave_no_trace"],
    edit={
        "    order = np.random.default_rng(seed)": "    np.random.seed(np.random.default_rng(seed).integers(2**32))\n"
        "    order = np.random"
    },
)
wrong(
    "kfold",
    "gives each training set in the same array, which the next one overwrites",
    fails=["test_folds_stay_as_they_are"],
    edit={
        "    for first, last in": "    kept = np.empty(m, dtype=order.dtype)\n    for first, last in",
        "yield np": "train = np",
        ", order[first:last]": "\n        kept[: len(train)] = train\n"
        "        yield kept[: len(train)], order[first:last]",
    },
)


@right("kfold", "array_split and a mask")
def folds_by_mask(m, k, seed):
    if k < 2 or k > m:
        raise ValueError("2 <= k <= m")
    rows = np.arange(m)
    np.random.default_rng(seed).shuffle(rows)
    for test in np.array_split(rows, k):
        mask = np.ones(m, dtype=bool)
        mask[test] = False
        yield np.flatnonzero(mask), np.sort(test)


@right("kfold", "a fold number for each row, shuffled, in an ordinary function")
def folds_by_number(m, k, seed):
    if not (k >= 2 and m >= k):
        raise ValueError("2 <= k <= m")
    fold = np.random.default_rng(seed).permutation(np.arange(m) % k)
    return ((np.nonzero(fold != i)[0], np.nonzero(fold == i)[0]) for i in range(k))


# ---------------------------------------------------------------------------------------------------- group_kfold

wrong(
    "group_kfold",
    "needs groups that are numbered from 0",
    fails=["test_groups_are_never_torn"],
    edit={"np.unique(groups, return_inverse=True)": "np.arange(np.max(groups) + 1), np.asarray(groups)"},
)
wrong(
    "group_kfold",
    "gives (test, train) instead of (train, test)",
    fails=["test_groups_are_never_torn"],
    edit={"np.flatnonzero(~inside), np.flatnonzero(inside)": "np.flatnonzero(inside), np.flatnonzero(~inside)"},
)
wrong(
    "group_kfold",
    "cuts the groups in the order of their numbers",
    fails=["test_groups_are_shuffled"],
    edit={
        "for _, chosen in kfold(len(values), k, seed):": "if not 2 <= k <= len(values):\n        raise ValueError(k)\n"
        "    for chosen in np.array_split(np.arange(len(values)), k):"
    },
)


@wrong("group_kfold", "cuts rows, not groups", fails=["test_groups_are_never_torn"])
def rows_not_groups(groups, k, seed):
    return kfold(len(groups), k, seed)


@wrong("group_kfold", "fills folds until they have m / k rows", fails=["test_folds_have_equally_many_groups"])
def filled_with_rows(groups, k, seed):
    values, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if not 2 <= k <= len(values):
        raise ValueError(k)
    order = np.random.default_rng(seed).permutation(len(values))
    fold_of = np.empty(len(values), dtype=int)
    filled = np.zeros(k)
    for group in order:
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    for fold in range(k):
        yield np.flatnonzero(fold_of[group_of] != fold), np.flatnonzero(fold_of[group_of] == fold)


@wrong(
    "group_kfold",
    "gives the largest group first, each to the fold with the fewest rows",
    fails=["test_folds_have_equally_many_groups", "test_groups_are_shuffled"],
)
def balanced_by_rows(groups, k, seed):
    values, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if not 2 <= k <= len(values):
        raise ValueError(k)
    fold_of, filled = np.empty(len(values), dtype=int), np.zeros(k)
    for group in np.argsort(-sizes, kind="stable"):
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    for fold in range(k):
        yield np.flatnonzero(fold_of[group_of] != fold), np.flatnonzero(fold_of[group_of] == fold)


@right("group_kfold", "a fold number for each group, in plain Python")
def fold_of_each_group(groups, k, seed):
    names = sorted(set(np.asarray(groups).tolist()))
    if k < 2 or k > len(names):
        raise ValueError("2 <= k <= number of groups")
    numbers = np.random.default_rng(seed).permutation([i % k for i in range(len(names))])
    fold_of = dict(zip(names, numbers.tolist(), strict=True))
    folds = np.array([fold_of[name] for name in np.asarray(groups).tolist()])
    for i in range(k):
        yield np.where(folds != i)[0], np.where(folds == i)[0]


@right("group_kfold", "an ordinary function that returns a generator")
def by_array_split(groups, k, seed):
    values = np.unique(groups)
    if not 2 <= k <= len(values):
        raise ValueError("k")
    parts = np.array_split(np.random.default_rng([seed, 1]).permutation(values), k)
    return ((np.flatnonzero(~np.isin(groups, part)), np.flatnonzero(np.isin(groups, part))) for part in parts)


# ---------------------------------------------------------------------------------------------------- out_of_fold

wrong(
    "out_of_fold",
    "standardises the rows of test by their own mean and deviation",
    fails=["test_predictions_agree_with_a_pipeline"],
    edit={
        "predicted[test] =": "own = X[test].std(axis=0)\n        own[own == 0] = 1\n        predicted[test] =",
        "X[test] / std @ theta + b": "(X[test] - X[test].mean(axis=0)) / own @ theta + y[train].mean()",
    },
)
wrong(
    "out_of_fold",
    "takes the means from the training rows, but the deviations from all rows",
    fails=["test_a_tested_row_moves_no_other_prediction_of_its_fold"],
    edit={"X[train].std(axis=0)": "X.std(axis=0)"},
)
wrong(
    "out_of_fold",
    "fits on all rows",
    fails=["test_predictions_agree_with_a_pipeline"],
    edit={"X[train].std(axis=0)": "X.std(axis=0)", "X[train] / std, y[train]": "X / std, y"},
)
wrong(
    "out_of_fold",
    "does not standardise at all",
    fails=["test_predictions_agree_with_a_pipeline"],
    edit={"X[train].std(axis=0)": "np.ones(X.shape[1])"},
)
wrong(
    "out_of_fold",
    "divides by a deviation of zero",
    fails=["test_predictions_from_any_folds"],
    edit={"        std[std == 0] = 1\n": ""},
)


@right("out_of_fold", "parameters carried back to the unscaled features")
def scaled_back(X, y, folds, penalty):
    X, y = np.array(X, dtype=float), np.array(y, dtype=float)
    out = np.full(len(X), np.nan)
    for train, test in folds:
        A = X[train]
        scale = np.array([c.std() if c.std() > 0 else 1.0 for c in A.T])
        theta, b = ridge(A / scale, y[train], penalty)
        out[test] = X[test] @ (theta / scale) + b
    return out


@right("out_of_fold", "row by row, with a helper that returns a predictor")
def row_by_row(X, y, folds, penalty):
    def predictor(A, t):
        mean, std = np.mean(A, axis=0), np.sqrt(np.mean((A - np.mean(A, axis=0)) ** 2, axis=0))
        std = np.where(std == 0, 1.0, std)
        theta, b = ridge((A - mean) / std, t, penalty)
        return lambda x: float(sum((x - mean) / std * theta) + b)

    X, y = np.array(X, dtype=float), np.array(y, dtype=float)
    found = [0.0] * len(y)
    for train, test in folds:
        predict = predictor(X[train], y[train])
        for i in test:
            found[i] = predict(X[i])
    return np.array(found)


# ---------------------------------------------------------------------------------------------------- loocv_ridge

wrong(
    "loocv_ridge",
    "gives the residuals of the fit on all rows",
    fails=["test_residuals_are_those_of_m_fits"],
    edit={" / (1 - leverage)": ""},
)
wrong(
    "loocv_ridge",
    "leaves the 1/m of the intercept out of the leverage",
    fails=["test_residuals_are_those_of_m_fits"],
    edit={"1 / len(y) + ": ""},
)
wrong(
    "loocv_ridge",
    "divides by the mean of 1 - leverage, which is generalised cross-validation",
    fails=["test_residuals_are_those_of_m_fits"],
    edit={"(1 - leverage)": "(1 - leverage).mean(axis=1, keepdims=True)"},
)
wrong(
    "loocv_ridge",
    "gives prediction minus y",
    fails=["test_residuals_are_those_of_m_fits"],
    edit={"yc - fitted": "fitted - yc"},
)
wrong(
    "loocv_ridge",
    "forms the whole hat matrix for the sake of its diagonal",
    fails=["test_residuals_of_many_rows"],
    edit={"shrink @ U.T**2": "np.array([np.diag((U * row) @ U.T) for row in shrink])"},
)


@wrong("loocv_ridge", "fits once for each row", fails=["test_residuals_of_many_rows"])
def by_m_fits(X, y, penalties):
    X, y = np.asarray(X, float), np.asarray(y, float)
    E = np.empty((len(penalties), len(y)))
    for j, penalty in enumerate(penalties):
        for i in range(len(y)):
            theta, b = ridge(np.delete(X, i, axis=0), np.delete(y, i), penalty)
            E[j, i] = y[i] - X[i] @ theta - b
    return E


wrong(
    "loocv_ridge",
    "decomposes X anew for each penalty",
    fails=["test_residuals_for_many_penalties"],
    edit={
        "    U, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)\n": "",
        "shrink = s**2 / (s**2 + penalties[:, None])": "found = []\n"
        "    for penalty in np.asarray(penalties, dtype=float):\n"
        "        U, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)\n"
        "        found.append(s**2 / (s**2 + penalty))\n"
        "    shrink = np.array(found)",
    },
)


@wrong("loocv_ridge", "solves a system for each penalty", fails=["test_residuals_for_many_penalties"])
def by_gram_matrices(X, y, penalties):
    X, y = np.array(X, dtype=float), np.array(y, dtype=float)
    Z, t = X - X.mean(axis=0), y - y.mean()
    m, d = Z.shape
    rows = []
    for penalty in np.asarray(penalties, dtype=float):
        if d <= m:
            B = np.linalg.solve(Z.T @ Z + penalty * np.eye(d), Z.T)
            fit, h = Z @ (B @ t), np.einsum("ij,ji->i", Z, B)
        else:
            G = Z @ Z.T
            S = np.linalg.solve(G + penalty * np.eye(m), G)
            fit, h = S @ t, np.diag(S)
        rows.append((t - fit) / (1 - h - 1 / m))
    return np.stack(rows)


@right("loocv_ridge", "eigenvectors of the smaller Gram matrix, a loop over the penalties")
def by_eigenvectors(X, y, penalties):
    X, y = np.array(X, dtype=float), np.array(y, dtype=float)
    Z, t = X - X.mean(axis=0), y - y.mean()
    m, d = Z.shape
    if d <= m:
        values, V = np.linalg.eigh(Z.T @ Z)
        A, numerator = Z @ V, np.ones(d)
    else:
        values, A = np.linalg.eigh(Z @ Z.T)
        numerator = values
    E = np.empty((len(penalties), m))
    squares, projected = A**2, A.T @ t
    for j, penalty in enumerate(np.asarray(penalties, dtype=float)):
        w = numerator / (values + penalty)
        E[j] = (t - A @ (w * projected)) / (1 - 1 / m - squares @ w)
    return E


@right("loocv_ridge", "torch")
def loocv_in_torch(X, y, penalties):
    X, y, p = (torch.from_numpy(np.array(a, dtype=np.float64)) for a in (X, y, penalties))
    U, s, _ = torch.linalg.svd(X - X.mean(0), full_matrices=False)
    t = y - y.mean()
    found = torch.empty(len(p), len(y), dtype=torch.float64)
    for j in range(len(p)):
        w = s.square() / (s.square() + p[j])
        found[j] = (t - U @ (w * (U.T @ t))) / (1 - 1 / len(y) - (U.square() * w).sum(1))
    return found.numpy()


# --------------------------------------------------------------------------------------------- bootstrap_interval

wrong(
    "bootstrap_interval",
    "cuts 1 - level off each end",
    fails=["test_interval_cuts_both_tails"],
    edit={"[(1 - level) / 2, (1 + level) / 2]": "[1 - level, level]"},
)
wrong(
    "bootstrap_interval",
    "gives the smallest and the largest value",
    fails=["test_interval_cuts_both_tails"],
    edit={"np.quantile(values, [(1 - level) / 2, (1 + level) / 2])": "min(values), max(values)"},
)
wrong(
    "bootstrap_interval",
    "gives the mean of the values plus and minus 1.96 deviations",
    fails=["test_interval_cuts_both_tails"],
    edit={
        "np.quantile(values, ": "np.mean(values) + np.std(values) * np.array(",
        "[(1 - level) / 2, (1 + level) / 2]": "[-1.96, 1.96]",
    },
)
wrong(
    "bootstrap_interval",
    "draws without replacement, so that each resample is the data in another order",
    fails=["test_resamples_are_drawn_with_replacement"],
    edit={"draw.integers(m, size=m)": "draw.permutation(m)"},
)
wrong(
    "bootstrap_interval",
    "starts the generator anew for each resample, so that all are the same",
    fails=["test_resamples_are_drawn_with_replacement"],
    edit={"draw.integers(m, size=m)": "np.random.default_rng(seed).integers(m, size=m)"},
)
wrong(
    "bootstrap_interval",
    "never draws the last row",
    fails=["test_resamples_are_drawn_with_replacement"],
    edit={"draw.integers(m, size=m)": "draw.integers(max(m - 1, 1), size=m)"},
)
wrong(
    "bootstrap_interval",
    "draws all the resamples at once",
    fails=["test_resamples_are_made_one_by_one"],
    edit={"draw.integers(m, size=m)]) for _ in range(resamples)": "i]) for i in draw.integers(m, size=(resamples, m))"},
)
wrong(
    "bootstrap_interval",
    "draws every column on its own",
    fails=["test_rows_stay_whole"],
    edit={"rows[draw.integers(m, size=m)]": "np.apply_along_axis(draw.choice, 0, rows, m)"},
)


wrong(
    "bootstrap_interval",
    "gives every resample in the same array",
    fails=["test_a_resample_is_a_new_array"],
    edit={
        "draw, m = np.random.default_rng(seed), len(rows)": "draw, m, kept = np.random.default_rng(seed), len(rows), "
        "np.array(rows)",
        "rows[draw.integers(m, size=m)]": "np.take(rows, draw.integers(m, size=m), axis=0, out=kept)",
    },
)
wrong(
    "bootstrap_interval",
    "draws from NumPy's global generator",
    fails=["test_interval_depends_on_the_seed_alone"],
    edit={
        "draw, m = np.random.default_rng(seed), len(rows)": "draw, m = np.random, len(rows)",
        "draw.integers(m,": "draw.randint(m,",
    },
)


@right("bootstrap_interval", "choice, sorted values, interpolation by hand")
def by_sorting(rows, statistic, level=0.95, resamples=1000, seed=0):
    draw = np.random.default_rng(seed)
    values = np.empty(resamples)
    for i in range(resamples):
        values[i] = statistic(draw.choice(rows, size=len(rows), replace=True, axis=0))
    values.sort()
    at = np.arange(resamples)
    tail = (1 - level) / 2
    ends = np.interp([tail * (resamples - 1), (1 - tail) * (resamples - 1)], at, values)
    return ends[0], ends[1]


@right("bootstrap_interval", "uniform numbers, percentiles")
def by_percentiles(rows, statistic, level=0.95, resamples=1000, seed=0):
    generator, values = np.random.default_rng(seed), []
    while len(values) < resamples:
        index = (generator.random(len(rows)) * len(rows)).astype(int)
        values.append(float(statistic(np.take(rows, index, axis=0))))
    half = 100 * (1 - level) / 2
    return tuple(float(v) for v in np.percentile(values, [half, 100 - half]))


# ------------------------------------------------------------------------------------------------------ confusion

wrong(
    "confusion",
    "has the predictions as rows",
    fails=["test_confusion_agrees_with_sklearn"],
    edit={"index((y, predicted),": "index((predicted, y),"},
)
wrong(
    "confusion",
    "computes the cell in the type of the labels, which overflows",
    fails=["test_confusion_of_every_kind_of_labels"],
    edit={
        "cells = np.ravel_multi_index((y, predicted), (classes, classes))": "np.ravel_multi_index((y, predicted), "
        "(classes, classes))\n    cells = y * classes + predicted"
    },
)
wrong(
    "confusion",
    "spreads the labels out into one column a class",
    fails=["test_confusion_of_many_rows_and_classes"],
    edit={
        "return np.bincount(cells, minlength=classes**2)": "one_hot = np.eye(classes)\n"
        "    return (one_hot[y].T @ one_hot[predicted]).astype(np.int64)"
    },
)
wrong(
    "confusion",
    "counts a label of -1 as the last class",
    fails=["test_confusion_refuses_labels_that_are_no_class"],
    edit={"index((y, predicted),": "index(tuple(a + classes * (a < 0) for a in (y, predicted)),"},
)
wrong(
    "confusion",
    "takes precision for recall and recall for precision",
    fails=["test_scores_agree_with_sklearn"],
    edit={"ratio(hits, said)": "ratio(hits, truth)", "ratio(hits, truth)": "ratio(hits, said)"},
)
wrong(
    "confusion",
    "gives the harmonic mean of macro precision and macro recall as macro F1",
    fails=["test_scores_agree_with_sklearn"],
    edit={
        "in scores.items()}": "in scores.items()}\n"
        '        p, r = scores["precision"], scores["recall"]\n'
        '        scores["f1"] = 2 * p * r / (p + r) if p + r > 0 else zero_division'
    },
)
wrong(
    "confusion",
    "gives 0 for 0/0, whatever zero_division says",
    fails=["test_scores_where_nothing_is_to_divide", "test_scores_of_no_rows"],
    edit={"np.full(np.shape(whole), zero_division, dtype=float)": "np.zeros(np.shape(whole))"},
)
wrong(
    "confusion",
    "leaves classes that never occur out of the macro average",
    fails=["test_scores_where_nothing_is_to_divide"],
    edit={"float(values.mean())": "float(values[truth > 0].mean())"},
)
wrong(
    "confusion",
    "computes F1 from precision and recall, and so has 0/0 wherever one of them is undefined",
    fails=["test_scores_where_nothing_is_to_divide"],
    edit={
        ', "f1": ratio(2 * hits, truth + said)}': "}\n"
        '    p, r = scores["precision"], scores["recall"]\n'
        '    scores["f1"] = ratio(2 * p * r, p + r)'
    },
)


@right("confusion", "counted one after another")
def confusion_by_add_at(y, predicted, classes):
    N = np.zeros((classes, classes), dtype=np.int64)
    a, b = np.asarray(y).astype(np.int64), np.asarray(predicted).astype(np.int64)
    for labels in (a, b):
        if np.any(labels < 0) or np.any(labels >= classes):
            raise ValueError("a label is no class")
    np.add.at(N, (a, b), 1)
    return N


@right("confusion", "a loop over the classes, in plain Python", replaces="classification_scores")
def scores_by_loop(counts, average="macro", zero_division=0.0):
    if average not in {"none", "macro", "micro"}:
        raise ValueError("average")
    rows = np.asarray(counts).tolist()
    classes = range(len(rows))

    def over(a, b):
        return a / b if b else zero_division

    total, hits = sum(map(sum, rows)), sum(rows[i][i] for i in classes)
    result = {"accuracy": float(over(hits, total))}
    if average == "micro":
        return result | dict.fromkeys(("precision", "recall", "f1"), float(over(hits, total)))
    said = [sum(row[j] for row in rows) for j in classes]
    truth = [sum(row) for row in rows]
    each = {
        "precision": [over(rows[i][i], said[i]) for i in classes],
        "recall": [over(rows[i][i], truth[i]) for i in classes],
        "f1": [over(2 * rows[i][i], said[i] + truth[i]) for i in classes],
    }
    for name, values in each.items():
        result[name] = np.array(values, dtype=float) if average == "none" else math.fsum(values) / len(values)
    return result


# -------------------------------------------------------------------------------------------------------- roc_auc

wrong("roc_auc", "counts a tie as lost", fails=["test_auc_with_heavy_ties"], edit={"below + negatives / 2": "below"})
wrong("roc_auc", "counts a tie as won", fails=["test_auc_with_heavy_ties"], edit={"negatives / 2": "negatives"})
wrong(
    "roc_auc",
    "takes high scores as evidence for y = 0",
    fails=["test_auc_without_ties"],
    edit={"return float": "return 1 - float"},
)
wrong(
    "roc_auc",
    "gives equal scores different ranks, in the order in which they come",
    fails=["test_auc_with_heavy_ties"],
    edit={"_, group = np.unique(score, return_inverse=True)": 'group = np.argsort(np.argsort(score, kind="stable"))'},
)
wrong(
    "roc_auc",
    "gives at least one half, by turning the scores round",
    fails=["test_auc_without_ties"],
    edit={"return float": "auc = float", "/ pairs)": "/ pairs)\n    return max(auc, 1 - auc)"},
)
wrong(
    "roc_auc",
    "compares every positive with every negative",
    fails=["test_auc_of_many_rows"],
    edit={
        "return float(positives @ (below + negatives / 2) / pairs)": "a, b = score[y == 1][:, None], score[y == 0]\n"
        "    return float(np.mean((a > b) + 0.5 * (a == b)))"
    },
)
wrong(
    "roc_auc",
    "takes scores that are nearly equal for ties",
    fails=["test_auc_knows_only_the_order"],
    edit={"np.unique(score,": "np.unique(np.round(np.asarray(score, float), 6),"},
)
wrong(
    "roc_auc",
    "converts scores to float64",
    fails=["test_auc_compares_scores_in_their_own_dtype"],
    edit={"np.unique(score,": "np.unique(np.asarray(score, float),"},
)
wrong(
    "roc_auc",
    "gives one half where only one class occurs",
    fails=["test_auc_refuses_a_single_class"],
    edit={'raise ValueError("AUC needs a positive and a negative")': "return 0.5"},
)


@wrong("roc_auc", "compares all pairs, in blocks that fit into memory", fails=["test_auc_of_many_rows"])
def all_pairs_in_blocks(score, y):
    score, y = np.asarray(score), np.asarray(y).astype(bool)
    positive, negative = score[y], score[~y]
    if not len(positive) or not len(negative):
        raise ValueError("one class")
    won = 0.0
    for first in range(0, len(positive), 64):
        block = positive[first : first + 64, None]
        won += np.count_nonzero(block > negative) + np.count_nonzero(block == negative) / 2
    return won / len(positive) / len(negative)


@right("roc_auc", "binary search in the sorted negatives")
def by_searchsorted(score, y):
    score, y = np.asarray(score), np.asarray(y).astype(bool)
    negative, positive = np.sort(score[~y]), score[y]
    if not len(negative) or not len(positive):
        raise ValueError("one class")
    won = np.searchsorted(negative, positive, "left").sum() + np.searchsorted(negative, positive, "right").sum()
    return float(won) / 2 / (len(negative) * len(positive))


@right("roc_auc", "the trapezoids under the curve")
def by_trapezoids(score, y):
    y = np.asarray(y).astype(bool)
    if y.all() or not y.any():
        raise ValueError("one class")
    order = np.argsort(score)[::-1]
    s, labels = np.asarray(score)[order], y[order]
    last = np.append(s[1:] != s[:-1], True)
    tpr = np.append(0.0, np.cumsum(labels)[last] / labels.sum())
    fpr = np.append(0.0, np.cumsum(~labels)[last] / (~labels).sum())
    return float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2))


@right("roc_auc", "plain Python lists")
def by_bisection(score, y):
    pairs = list(zip(np.asarray(score).tolist(), np.asarray(y).tolist(), strict=True))
    negative = sorted(s for s, label in pairs if not label)
    positive = [s for s, label in pairs if label]
    if not negative or not positive:
        raise ValueError("one class")
    won = sum(bisect.bisect_left(negative, s) + bisect.bisect_right(negative, s) for s in positive)
    return won / 2 / (len(negative) * len(positive))


# ----------------------------------------------------------------------------------------------------- auc_bounds

wrong(
    "auc_bounds",
    "rounds to the nearest bin",
    fails=["test_counts_of_the_bins"],
    edit={"np.asarray(score, dtype=np.float64) * bins,": "np.rint(np.asarray(score, dtype=np.float64) * bins),"},
)
wrong(
    "auc_bounds",
    "puts an edge into the bin below it",
    fails=["test_counts_at_the_edges"],
    edit={"np.minimum(np": "np.maximum(np.ceil(np", "* bins, bins - 1)": "* bins) - 1, 0)"},
)
wrong(
    "auc_bounds",
    "cuts the range of the scores it sees, which differs from part to part",
    fails=["test_counts_merge"],
    edit={
        "bin_of = ": "low, high = np.min(score, initial=1), np.max(score, initial=0)\n    bin_of = ",
        "np.minimum(np": "np.minimum((np",
        "* bins, bins": "- low) / max(high - low, 1e-9) * bins, bins",
    },
)
wrong(
    "auc_bounds",
    "spreads the rows out over the bins",
    fails=["test_counts_of_many_rows"],
    edit={"np.bincount(bin_of": "((bin_of", ", minlength=2 * bins)": ")[:, None] == np.arange(2 * bins)).sum(axis=0)"},
)
wrong(
    "auc_bounds",
    "has the positives in row 0",
    fails=["test_counts_of_the_bins"],
    edit={"bins * np.asarray(y, dtype=np.int64)": "bins * (1 - np.asarray(y, dtype=np.int64))"},
)
wrong(
    "auc_bounds",
    "counts the pairs within a bin one half, twice",
    fails=["test_bounds_are_attained"],
    edit={
        "up_to - negatives": "up_to - negatives / 2",
        "positives @ up_to / pairs": "positives @ (up_to - negatives / 2) / pairs",
    },
)
wrong(
    "auc_bounds",
    "takes row 0 for the positives",
    fails=["test_bounds_are_attained"],
    edit={"negatives, positives = np": "positives, negatives = np"},
)
wrong(
    "auc_bounds",
    "multiplies counts as integers, which overflow",
    fails=["test_bounds_of_huge_counts"],
    edit={"np.asarray(counts, dtype=float)": "np.asarray(counts, dtype=np.int64)"},
)


@wrong(
    "auc_bounds",
    "takes np.histogram, whose edges are rounded otherwise",
    fails=["test_counts_at_the_edges"],
    replaces="score_counts",
)
def counts_by_histogram(score, y, bins):
    score, y = np.asarray(score, dtype=float), np.asarray(y)
    return np.array([np.histogram(score[y == k], bins, (0, 1))[0] for k in (0, 1)])


wrong(
    "auc_bounds",
    "sums all pairs of bins",
    fails=["test_counts_of_many_rows"],
    edit={"np.cumsum(negatives)": "np.tri(len(negatives)) @ negatives"},
)


@right("auc_bounds", "fractions of whole numbers")
def with_fractions(counts):
    n, p = np.asarray(counts).tolist()
    if not sum(n) or not sum(p):
        raise ValueError("one class")
    pairs = Fraction(sum(n) * sum(p))
    won = sum(positive * below for positive, below in zip(p, itertools.accumulate(n, initial=0), strict=False))
    tied = sum(positive * negative for positive, negative in zip(p, n, strict=True))
    return float(won / pairs), float((won + tied) / pairs)


@right("auc_bounds", "torch, from the top down")
def from_the_top(counts):
    n, p = torch.from_numpy(np.array(counts, dtype=np.float64))
    if float(n.sum()) == 0 or float(p.sum()) == 0:
        raise ValueError("one class")
    q, p = n / n.sum(), p / p.sum()
    above = torch.cumsum(p.flip(0), 0).flip(0)
    return float((q * (above - p)).sum()), float((q * above).sum())


@right("auc_bounds", "two histograms of bin numbers", replaces="score_counts")
def two_histograms(score, y, bins):
    score, y = np.asarray(score).astype(np.float64), np.asarray(y).astype(bool)
    bin_of = np.floor(score * bins).astype(np.int64)
    bin_of[bin_of == bins] = bins - 1
    return np.stack([np.bincount(bin_of[~y], minlength=bins), np.bincount(bin_of[y], minlength=bins)])


# ---------------------------------------------------------------------------------------------------- kfold_ridge

wrong(
    "kfold_ridge",
    "fits on all rows, the held-out ones too",
    fails=["test_errors_are_those_of_k_fits"],
    edit={"train = total - held": "train = total"},
)
wrong(
    "kfold_ridge",
    "gives the sum of the squared errors",
    fails=["test_errors_are_those_of_k_fits"],
    edit={"errors / total[0, 0]": "errors"},
)
wrong(
    "kfold_ridge",
    "gives the mean of the folds' means, where folds have different sizes",
    fails=["test_every_row_counts_alike"],
    edit={"v @ held @ v": "v @ held @ v / held[0, 0]", "errors / total[0, 0]": "errors / k"},
)
wrong(
    "kfold_ridge",
    "centres by the means of all rows",
    fails=["test_errors_are_those_of_k_fits"],
    edit={"mean = train[0] / train[0, 0]": "mean = total[0] / total[0, 0]"},
)
wrong(
    "kfold_ridge",
    "does not centre, and so has no intercept",
    fails=["test_errors_are_those_of_k_fits"],
    edit={"mean = train[0] / train[0, 0]": "mean = 0 * train[0]"},
)


@wrong("kfold_ridge", "keeps all rows and fits fold by fold", fails=["test_rows_are_not_kept"])
def kept_rows(chunks, k, penalties):
    parts = [tuple(np.array(part, dtype=float) for part in chunk) for chunk in chunks]
    X, y, fold = (np.concatenate(column) for column in zip(*parts, strict=True))
    errors = np.zeros(len(penalties))
    for j, penalty in enumerate(np.asarray(penalties, dtype=float)):
        for f in range(k):
            theta, b = ridge(X[fold != f], y[fold != f], penalty)
            errors[j] += np.sum((y[fold == f] - X[fold == f] @ theta - b) ** 2) / len(y)
    return errors


@right("kfold_ridge", "a dictionary of sums for each fold")
def named_sums(chunks, k, penalties):
    folds = [dict.fromkeys(("n", "x", "y", "xx", "xy", "yy"), 0.0) for _ in range(k)]
    for X, y, fold in chunks:
        for f, sums in enumerate(folds):
            A, t = np.array(X[fold == f], dtype=float), np.array(y[fold == f], dtype=float)
            terms = {"n": len(t), "x": A.sum(0), "y": t.sum(), "xx": A.T @ A, "xy": A.T @ t, "yy": t @ t}
            for name, term in terms.items():
                sums[name] = sums[name] + term
    total = {name: sum(sums[name] for sums in folds) for name in folds[0]}
    out = []
    for penalty in np.asarray(penalties, dtype=float).tolist():
        error = 0.0
        for held in folds:
            n, x, y, xx, xy = (total[name] - held[name] for name in ("n", "x", "y", "xx", "xy"))
            theta = np.linalg.solve(xx - np.outer(x, x) / n + penalty * np.eye(len(x)), xy - x * y / n)
            b = (y - x @ theta) / n
            error += held["yy"] + theta @ held["xx"] @ theta + b * b * held["n"]
            error += 2 * (b * (held["x"] @ theta) - theta @ held["xy"] - b * held["y"])
        out.append(error / total["n"])
    return np.array(out)


@right("kfold_ridge", "torch, one decomposition a fold for all penalties")
def one_decomposition_a_fold(chunks, k, penalties):
    sums = None
    for X, y, fold in chunks:
        Z = torch.from_numpy(np.column_stack([np.array(y, dtype=float), np.array(X, dtype=float), np.ones(len(y))]))
        if sums is None:
            sums = torch.zeros(k, Z.shape[1], Z.shape[1], dtype=torch.float64)
        for f in range(k):
            rows = Z[torch.from_numpy(np.array(fold) == f)]
            sums[f] += rows.T @ rows
    errors = np.zeros(len(penalties))
    for held in sums:
        train = sums.sum(0) - held
        n, mean = train[-1, -1], train[-1] / train[-1, -1]
        centred = train - n * torch.outer(mean, mean)
        values, V = torch.linalg.eigh(centred[1:-1, 1:-1])
        for j, penalty in enumerate(penalties):
            theta = V @ ((V.T @ centred[1:-1, 0]) / (values + float(penalty)))
            v = torch.cat([torch.tensor([-1.0], dtype=torch.float64), theta, (mean[0] - mean[1:-1] @ theta)[None]])
            errors[j] += float(v @ held @ v)
    return errors / float(sums[:, -1, -1].sum())


# ----------------------------------------------------------------------------------------------- equivalent mutants

equivalent(
    "ridge",
    diff="- if d < m:\n+ if d <= m:",
    reason="for a square X both systems have the same size and the same solution",
)
equivalent(
    "lasso",
    diff="- for k in range(max_steps + 1):\n+ for k in range(0, max_steps + 1 + 1):",
    reason="the loop is left at k = max_steps",
)
equivalent(
    "lasso",
    diff="- for k in range(max_steps + 1):\n+ for k in range(max_steps + 2):",
    reason="the loop is left at k = max_steps",
)
equivalent(
    "lasso",
    diff="""
- u = v * (penalty / max(penalty, np.abs(X.T @ v).max()))
+ u = v * (penalty / max(np.abs(X.T @ v).max(), penalty))
""",
    reason="the maximum of two numbers, in the other order",
)
equivalent(
    "out_of_fold",
    diff="- std[std == 0] = 1\n+ std[std == 0] = 2",
    reason="a column that is constant in train has the parameter 0, whatever it is divided by",
)
equivalent(
    "loocv_ridge",
    diff="""
- U, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
+ U, s, _ = np.linalg.svd(X.mean(axis=0) - X, full_matrices=False)
""",
    reason="changes the sign of V alone, which is not used",
)
equivalent(
    "roc_auc",
    diff="""
- positives, negatives = (np.bincount(group, weights=y), np.bincount(group, weights=1 - y))
+ positives, negatives = (np.bincount(group, weights=y), np.bincount(group, weights=y - 1))
""",
    reason="numerator and denominator change their sign together",
)
equivalent(
    "auc_bounds",
    diff="""
- bin_of = np.minimum(np.asarray(score, dtype=np.float64) * bins, bins - 1).astype(np.int64)
+ bin_of = np.minimum(bins - 1, np.asarray(score, dtype=np.float64) * bins).astype(np.int64)
""",
    reason="the minimum of two numbers, in the other order",
)
equivalent(
    "auc_bounds",
    diff="~ auc_bounds: only the first 1000 rows are looked at",
    reason="counts has two rows",
)
equivalent(
    "kfold_ridge",
    diff="- sums = 0.0\n+ sums = np.float32(0)",
    reason="a float64 array is added to it",
)
equivalent(
    "kfold_ridge",
    diff="""
- sums = sums + np.array([Z[fold == f].T @ Z[fold == f] for f in range(k)])
+ sums = sums + np.array([Z[fold == f].T @ Z[fold == f] for f in range(0, k + 1)])
""",
    reason="a fold without rows adds no error",
)
equivalent(
    "auc_bounds",
    diff="- if pairs == 0:\n+ if np.isclose(pairs, 0):",
    reason="pairs is a whole number",
)
