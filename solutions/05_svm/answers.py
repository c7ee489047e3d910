"""Wrong and right answers that prove the hidden tests of module 05, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import numpy as np
import scipy.sparse
import torch

from autograder.answers import equivalent, right, wrong

# ----------------------------------------------------------------------------------------------------- hinge_loss

wrong(
    "hinge_loss",
    "sums the losses instead of averaging them",
    fails=["test_hinge_of_every_shape"],
    edit={".mean()": ".sum()"},
)
wrong(
    "hinge_loss",
    "charges the penalty in full, without the half",
    fails=["test_hinge_of_every_shape"],
    edit={"penalty / 2 *": "penalty *"},
)
wrong(
    "hinge_loss",
    "halves the penalty in the subgradient, too",
    fails=["test_hinge_of_every_shape"],
    edit={"penalty * theta -": "penalty / 2 * theta -"},
)
wrong(
    "hinge_loss",
    "lets the losses push the wrong way",
    fails=["test_hinge_of_every_shape"],
    edit={"theta - (y": "theta + (y"},
)
wrong(
    "hinge_loss",
    "counts a row at margin exactly 1",
    fails=["test_hinge_at_a_margin_of_one"],
    edit={"margin < 1": "margin <= 1"},
)
wrong(
    "hinge_loss",
    "counts rows on the wrong side of the line only, a perceptron",
    fails=["test_hinge_of_every_shape"],
    edit={"margin < 1": "margin < 0"},
)
wrong(
    "hinge_loss",
    "takes labels 0 and 1 without a word",
    fails=["test_hinge_refuses_other_labels"],
    edit={"signs(y, len(X))": "np.asarray(y, dtype=np.float64)"},
)
wrong(
    "hinge_loss",
    "copies the rows that violate the margin",
    fails=["test_hinge_of_a_large_X"],
    edit={"(y * (margin < 1)) @ X": "y[margin < 1] @ X[margin < 1]"},
)
wrong(
    "hinge_loss",
    "averages the subgradient over the features",
    fails=["test_hinge_of_every_shape"],
    edit={"@ X / len(X)": "@ X / X.shape[1]"},
)


@right("hinge_loss", "a loop over the rows")
def hinge_by_loop(X, y, theta, penalty):
    y = signs(y, len(X))
    theta = np.array(theta, dtype=np.float64)
    loss, pull = 0.0, np.zeros(len(theta))
    for row, label in zip(X, y, strict=True):
        row = row.astype(np.float64)
        margin = label * np.dot(row, theta)
        if margin < 1:
            loss += 1 - margin
            pull -= label * row
    return penalty * np.dot(theta, theta) / 2 + loss / len(y), penalty * theta + pull / len(y)


@right("hinge_loss", "torch, differentiated by autograd, as a list")
def hinge_by_torch(X, y, theta, penalty):
    y = torch.from_numpy(signs(y, len(X)).copy())
    rows = torch.from_numpy(np.ascontiguousarray(X, dtype=np.float64))
    weights = torch.tensor(np.array(theta, np.float64), requires_grad=True)
    J = penalty / 2 * weights @ weights + torch.relu(1 - y * (rows @ weights)).mean()
    J.backward()
    return [J.item(), weights.grad.numpy()]


# -------------------------------------------------------------------------------------------------------- pegasos

wrong(
    "pegasos",
    "shrinks all of theta in every step, millions of entries of it",
    fails=["test_pegasos_of_eight_million_columns"],
    edit={
        "        if t == 1 or y[i] * (values @ total[columns]) < penalty * (t - 1):\n            total[columns] +=": (
            "        violated = y[i] * (values @ total[columns]) < 1\n        total *= 1 - 1 / t\n"
            "        if violated:\n            total[columns] += 1 / (penalty * t) *"
        ),
        "total / (penalty * (len(order) or 1))": "total",
    },
)
wrong(
    "pegasos",
    "makes each row dense",
    fails=["test_pegasos_of_eight_million_columns"],
    edit={
        "        columns, values = X.indices[row], X.data[row]": (
            "        columns, values = slice(None), np.zeros(len(total))\n        values[X.indices[row]] = X.data[row]"
        )
    },
)
wrong(
    "pegasos",
    "counts a margin of exactly 1 as violated",
    fails=["test_pegasos_at_a_margin_of_one"],
    edit={"< penalty * (t - 1)": "<= penalty * (t - 1)"},
)
wrong(
    "pegasos",
    "forgets that the first step violates whatever the row",
    fails=["test_pegasos_walks_as_it_says"],
    edit={"t == 1 or ": ""},
)
wrong(
    "pegasos",
    "takes steps of 1/t, without the penalty",
    fails=["test_pegasos_walks_as_it_says"],
    edit={"< penalty * (t - 1)": "< t - 1", "(penalty * (len(order) or 1))": "(len(order) or 1)"},
)
wrong(
    "pegasos",
    "compares with the theta after the step's shrinking",
    fails=["test_pegasos_walks_as_it_says"],
    edit={"< penalty * (t - 1)": "< penalty * t"},
)
wrong(
    "pegasos",
    "shrinks theta only in steps that violate the margin",
    fails=["test_pegasos_walks_as_it_says"],
    edit={
        "    for t, i in": "    hits = 0\n    for t, i in",
        "if t == 1 or y[i] * (values @ total[columns]) < penalty * (t - 1):": (
            "scale = penalty * max(hits, 1)\n        if y[i] * (values @ total[columns]) / scale < 1:\n"
            "            hits = t\n"
        ),
        "len(order) or 1": "hits or 1",
    },
)
wrong(
    "pegasos",
    "takes any labels",
    fails=["test_pegasos_refuses"],
    edit={"signs(y, X.shape[0])": "np.asarray(y, dtype=np.float64)"},
)

wrong(
    "pegasos",
    "sorts the columns of the matrix that it was given",
    fails=["test_pegasos_leaves_no_trace"],
    edit={"    total = np.zeros": "    X = X.tocsr()\n    X.sort_indices()\n    total = np.zeros"},
)

equivalent(
    "pegasos",
    diff="""
    - return total / (penalty * (len(order) or 1))
    + return total / (penalty * (len(order) or 2))
    """,
    reason="without steps the total is all zeros, whatever it is divided by",
)
equivalent(
    "pegasos", diff="~ pegasos: numbers beyond 1e+06 in size are cut off", reason="labels are -1 and +1, X is sparse"
)
equivalent(
    "pegasos", diff="~ pegasos: numbers below 1e-6 in size count as 0", reason="labels are -1 and +1, X is sparse"
)


@right("pegasos", "theta as a number times a vector, the number shrinking")
def pegasos_by_scale(X, y, penalty, order):
    y = signs(y, X.shape[0])
    if not penalty > 0:
        raise ValueError("penalty")
    vector, scale = np.zeros(X.shape[1]), 1.0
    for step, i in enumerate(np.asarray(order).tolist()):
        t = step + 1
        begin, end = X.indptr[i], X.indptr[i + 1]
        where, what = X.indices[begin:end], X.data[begin:end].astype(np.float64)
        violated = scale * np.dot(what, vector[where]) * y[i] < 1
        if t > 1:
            scale *= 1 - 1 / t
        if violated:
            vector[where] += what * (y[i] / (penalty * t * scale))
    return scale * vector


@right("pegasos", "a dict of the columns that were touched, in plain Python")
def pegasos_by_dict(X, y, penalty, order):
    labels = signs(y, X.shape[0]).tolist()
    if not penalty > 0:
        raise ValueError("penalty")
    u = {}
    for done, i in enumerate(order):
        begin, end = int(X.indptr[i]), int(X.indptr[i + 1])
        row = list(zip(X.indices[begin:end].tolist(), X.data[begin:end].tolist(), strict=True))
        score = sum(value * u.get(column, 0.0) for column, value in row)
        if done == 0 or labels[i] * score / (penalty * done) < 1:
            for column, value in row:
                u[column] = u.get(column, 0.0) + labels[i] * value
    theta = np.zeros(X.shape[1])
    for column, value in u.items():
        theta[column] = value / (penalty * len(order))
    return theta


@right("pegasos", "rows cut out by scipy")
def pegasos_by_slices(X, y, penalty, order):
    y = signs(y, X.shape[0])
    if not penalty > 0:
        raise ValueError("penalty")
    u, rows = np.zeros(X.shape[1]), scipy.sparse.csr_array(X).astype(np.float64)
    for done, i in enumerate(order):
        row = rows[[int(i)]]
        if done == 0 or (row @ u)[0] * y[i] < penalty * done:
            u[row.indices] += y[i] * row.data
    if len(order):
        u /= penalty * len(order)
    return u


# ---------------------------------------------------------------------------------------------------- one_vs_rest

wrong(
    "one_vs_rest",
    "trains with labels 0 and 1",
    fails=["test_one_machine_for_each_class"],
    edit={"np.where(y == label, 1.0, -1.0)": "np.where(y == label, 1.0, 0.0)"},
)
wrong(
    "one_vs_rest",
    "returns positions instead of classes",
    fails=["test_the_largest_score_wins"],
    edit={"classes[np.argmax(X @ Theta.T, axis=1)]": "np.argmax(X @ Theta.T, axis=1)"},
)
wrong(
    "one_vs_rest",
    "takes the labels for 0 to C - 1",
    fails=["test_one_machine_for_each_class"],
    edit={"classes = np.unique(y)": "classes = np.arange(np.max(y) + 1)"},
)
wrong(
    "one_vs_rest",
    "trains one machine only where there are two classes",
    fails=["test_one_machine_for_each_class"],
    edit={"for label in classes]": "for label in (classes if len(classes) > 2 else classes[1:])]"},
)
wrong(
    "one_vs_rest",
    "keeps what fit returned without a copy",
    fails=["test_fit_may_keep_its_signs_and_its_buffer"],
    edit={
        "np.array(fit(X, np.where(y == label, 1.0, -1.0)), dtype=np.float64)": "fit(X, np.where(y == label, 1.0, -1.0))"
    },
)
wrong(
    "one_vs_rest",
    "gives fit whole numbers as labels",
    fails=["test_fit_is_called_once_a_class"],
    edit={"np.where(y == label, 1.0, -1.0)": "np.where(y == label, 1, -1)"},
)
wrong(
    "one_vs_rest",
    "predicts the highest class where scores tie",
    fails=["test_the_largest_score_wins"],
    edit={
        "classes[np.argmax(X @ Theta.T, axis=1)]": "classes[::-1][np.argmax((X @ Theta.T)[:, ::-1], axis=1)]",
    },
)
wrong(
    "one_vs_rest",
    "predicts in int64, whatever the classes are",
    fails=["test_predictions_have_the_dtype_of_the_classes"],
    edit={"classes[np.argmax(X @ Theta.T, axis=1)]": "classes[np.argmax(X @ Theta.T, axis=1)].astype(np.int64)"},
)
wrong(
    "one_vs_rest",
    "trains on a single class",
    fails=["test_one_class_is_refused"],
    edit={"len(classes) < 2": "len(classes) < 1"},
)


@right("one_vs_rest", "a loop that fills Theta, classes from a sorted set")
def one_vs_rest_by_loop(X, y, fit):
    classes = np.array(sorted(set(y.tolist())), dtype=y.dtype)
    if classes.size == 1:
        raise ValueError("one class")
    Theta = np.empty((classes.size, X.shape[1]))
    for row, label in enumerate(classes):
        s = -np.ones(len(y))
        s[y == label] = 1
        Theta[row] = fit(X, s)
    return [classes, Theta]


@right("one_vs_rest", "one row at a time", replaces="predict_one_vs_rest")
def predict_by_loop(X, classes, Theta):
    rows = X.toarray() if scipy.sparse.issparse(X) else X
    out = np.empty(len(rows), dtype=classes.dtype)
    for i, row in enumerate(rows):
        out[i] = classes[int(np.argmax([np.dot(theta, row) for theta in Theta]))]
    return out


# -------------------------------------------------------------------------------------------------- kernel_matrix

wrong(
    "kernel_matrix",
    "does not use gamma",
    fails=["test_kernel_of_every_pair"],
    edit={"np.exp(-gamma * squared.clip(min=0))": "np.exp(-squared.clip(min=0))"},
)
wrong(
    "kernel_matrix",
    "takes the distance, not its square",
    fails=["test_kernel_of_every_pair"],
    edit={"squared.clip(min=0)": "np.sqrt(squared.clip(min=0))"},
)
wrong(
    "kernel_matrix",
    "takes gamma for a sigma",
    fails=["test_kernel_of_every_pair"],
    edit={"-gamma * squared.clip(min=0)": "-squared.clip(min=0) / (2 * gamma**2)"},
)
wrong(
    "kernel_matrix",
    "lets squared distances fall below 0, and the kernel rise above 1",
    fails=["test_kernel_of_close_rows_is_at_most_one"],
    edit={"squared.clip(min=0)": "squared"},
)
wrong(
    "kernel_matrix",
    "builds the differences of all pairs, d times the memory of the result",
    fails=["test_kernel_of_many_rows"],
    edit={
        "(A * A).sum(axis=1)[:, None] + (B * B).sum(axis=1) - 2 * products": (
            "((A[:, None, :] - B[None, :, :]) ** 2).sum(axis=2)"
        )
    },
)
wrong(
    "kernel_matrix",
    "computes in the dtype that comes, where int8 overflows",
    fails=["test_kernel_of_every_kind_of_array"],
    edit={"np.asarray(A, dtype=np.float64), np.asarray(B, dtype=np.float64)": "np.asarray(A), np.asarray(B)"},
)
wrong(
    "kernel_matrix",
    "computes the linear kernel in the dtype that comes, where int8 overflows",
    fails=["test_kernel_of_every_kind_of_array"],
    edit={
        "    A, B = np.asarray": "    plain = A @ B.T\n    A, B = np.asarray",
        "return products": "return plain.astype(float)",
    },
)
wrong(
    "kernel_matrix",
    "takes any other kind for RBF",
    fails=["test_kernel_refuses"],
    edit={'kind != "rbf" or not gamma > 0': "not gamma > 0"},
)
wrong(
    "kernel_matrix",
    "asks for a gamma where the linear kernel does not need one",
    fails=["test_kernel_refuses"],
    edit={"    products = A @ B.T": '    if not gamma > 0:\n        raise ValueError("gamma")\n    products = A @ B.T'},
)


@right("kernel_matrix", "column by column, with differences")
def kernel_by_columns(A, B, kind="rbf", gamma=1.0):
    A, B = np.array(A, float), np.array(B, float)
    if kind not in ("linear", "rbf") or A.shape[1] != B.shape[1] or (kind == "rbf" and not gamma > 0):
        raise ValueError("arguments")
    if kind == "linear":
        return np.einsum("id,jd->ij", A, B)
    out = np.zeros((len(A), len(B)))
    for k in range(A.shape[1]):
        out += np.subtract.outer(A[:, k], B[:, k]) ** 2
    return np.exp(-gamma * out)


@right("kernel_matrix", "torch, one row of A at a time")
def kernel_by_torch(A, B, kind="rbf", gamma=1.0):
    A, B = (torch.from_numpy(np.array(array, dtype=np.float64)) for array in (A, B))
    if A.shape[1] != B.shape[1]:
        raise ValueError("columns")
    if kind == "linear":
        return (A @ B.T).numpy()
    if kind != "rbf" or not gamma > 0:
        raise ValueError("kind or gamma")
    out = torch.empty(len(A), len(B), dtype=torch.float64)
    for i, a in enumerate(A):
        out[i] = torch.exp(-gamma * ((a - B) ** 2).sum(dim=1))
    return out.numpy()


# ------------------------------------------------------------------------------------------------------- svm_dual

wrong(
    "svm_dual",
    "returns alpha with the signs of the labels",
    fails=["test_the_duality_gap_is_as_small_as_asked"],
    edit={"np.abs(beta), float(b)": "beta, float(b)"},
)
wrong(
    "svm_dual",
    "takes f = v - b",
    fails=["test_the_duality_gap_is_as_small_as_asked"],
    edit={"np.abs(beta), float(b)": "np.abs(beta), -float(b)"},
)
wrong(
    "svm_dual",
    "has no bias",
    fails=["test_the_duality_gap_is_as_small_as_asked"],
    edit={"np.abs(beta), float(b)": "np.abs(beta), 0.0"},
)
wrong(
    "svm_dual",
    "leaves the factor 1/2 out of the dual, and so climbs to half of alpha",
    fails=["test_the_duality_gap_is_as_small_as_asked"],
    edit={
        "G = y - v": "G = y - 2 * v",
        "gap <= tol * C * m": "G[i] - G[j] <= tol",
        "/ curvature if": "/ (2 * curvature) if",
    },
)
wrong(
    "svm_dual",
    "takes b from the free support vectors, and 0 where there are none",
    fails=["test_the_duality_gap_is_as_small_as_asked"],
    edit={
        "return np.abs(beta), float(b)": (
            "free = (np.abs(beta) > 0) & (np.abs(beta) < C)\n"
            "            return np.abs(beta), float(np.mean(G[free])) if np.any(free) else 0.0"
        )
    },
)
wrong(
    "svm_dual",
    "has no upper bound: C is not used",
    fails=["test_the_duality_gap_is_as_small_as_asked"],
    edit={"(C * y).clip(max=0), (C * y).clip(min=0)": "(1e6 * y).clip(max=0), (1e6 * y).clip(min=0)"},
)
wrong(
    "svm_dual",
    "stops when no row violates by much, whatever tol says",
    fails=["test_the_duality_gap_is_as_small_as_asked"],
    edit={"gap <= tol * C * m": "G[i] - G[j] <= 1e-3"},
)
wrong(
    "svm_dual",
    "stops at a gap of tol times C, summed over all rows",
    fails=["test_dual_of_two_thousand_rows"],
    edit={"gap <= tol * C * m": "gap <= tol * C * m * m"},
)
wrong(
    "svm_dual",
    "builds the matrix y_i y_j K_ij, as large as K",
    fails=["test_dual_of_two_thousand_rows"],
    edit={
        "    lowest, highest": "    signed = K * y[:, None] * y[None, :]\n    lowest, highest",
        "float(K[i, i]) + float(K[j, j])": "float(signed[i, i]) + float(signed[j, j])",
    },
)
wrong(
    "svm_dual",
    "trains with a single class",
    fails=["test_dual_refuses"],
    edit={" or np.abs(y.sum()) == m": ""},
)
wrong(
    "svm_dual",
    "takes labels 0 for -1 without a word",
    fails=["test_dual_refuses"],
    edit={"y = signs(y, m)": "y = signs(np.where(np.equal(y, 0), -1, y), m)"},
)
wrong(
    "svm_dual",
    "updates K's rows in the precision in which they come",
    fails=["test_dual_of_every_kind"],
    edit={"step * (K[i].astype(np.float64) - K[j])": "step * (K[i] - K[j])"},
)

equivalent(
    "svm_dual",
    diff="""
    - lowest, highest = ((C * y).clip(max=0), (C * y).clip(min=0))
    + lowest, highest = ((C / y).clip(max=0), (C * y).clip(min=0))
    """,
    reason="y is -1 or +1, so to divide by it is to multiply by it",
)
equivalent(
    "svm_dual",
    diff="""
    - lowest, highest = ((C * y).clip(max=0), (C * y).clip(min=0))
    + lowest, highest = ((C * y).clip(max=0), (C / y).clip(min=0))
    """,
    reason="y is -1 or +1, so to divide by it is to multiply by it",
)
equivalent(
    "svm_dual",
    diff="""
    - best = (G[i] - G[j]) / curvature if curvature > 0 else np.inf
    + best = (G[i] - G[j]) / (curvature + 1e-08) if curvature > 0 else np.inf
    """,
    reason="a step that is a little shorter goes uphill, too, and the same gap says when to stop",
)
equivalent(
    "svm_dual",
    diff="""
    - if gap <= tol * C * m:
    + if gap < tol * C * m:
    """,
    reason="a gap exactly as large as asked is small enough, and so is a smaller one",
)
equivalent(
    "svm_dual",
    diff="""
    - if gap <= tol * C * m:
    + if gap <= tol * C / m:
    """,
    reason="a gap that is smaller than asked is asked for by nobody, and refused by nobody",
)
equivalent(
    "svm_dual",
    diff="""
    - beta[i] = np.clip(beta[i] + step, lowest[i], highest[i])
    + beta[i] = np.clip(lowest[i], beta[i] + step, highest[i])
    """,
    reason="both are the middle one of the three numbers, since lowest is below highest",
)
equivalent(
    "svm_dual",
    diff="~ svm_dual: tol becomes min(x, 10.0)",
    reason="at alpha = 0 and b = 0, where it begins, the gap is C m, so every tol from 1 on gives the same",
)
equivalent(
    "svm_dual",
    diff="~ svm_dual: an array is read in the order of its memory",
    reason="K is symmetric, so both orders are the same matrix",
)


@wrong(
    "svm_dual", "climbs one alpha at a time, which breaks the rule on their sum", fails=["test_two_rows_in_closed_form"]
)
def dual_by_single_rows(K, y, C, tol=1e-3):
    y = signs(y, len(K))
    alpha = np.zeros(len(y))
    for _ in range(40):
        for i in range(len(y)):
            slope = 1 - y[i] * (K[i] @ (alpha * y))
            alpha[i] = np.clip(alpha[i] + slope / max(K[i, i], 1e-12), 0, C)
    free = (alpha > 0) & (alpha < C)
    rows = free if free.any() else alpha >= 0
    return alpha, float(np.mean((y - K @ (alpha * y))[rows]))


@right("svm_dual", "the second row chosen by the gain, as LIBSVM does")
def dual_by_second_order(K, y, C, tol=1e-3):
    m = len(K)
    y = signs(y, m)
    if K.shape != (m, m) or len(np.unique(y)) < 2 or not C > 0 or not tol > 0:
        raise ValueError("arguments")
    alpha, v, diagonal = np.zeros(m), np.zeros(m), np.array(np.diagonal(K), dtype=np.float64)
    while True:
        wish = y - v
        up = np.where(y > 0, alpha < C, alpha > 0)
        down = np.where(y > 0, alpha > 0, alpha < C)
        i = int(np.argmax(np.where(up, wish, -np.inf)))
        b = (wish[i] + wish[down].min()) / 2
        if C * np.clip(1 - y * (v + b), 0, None).sum() + (alpha * y) @ v - alpha.sum() <= tol * C * m:
            return alpha, b
        curvature = np.maximum(diagonal[i] + diagonal - 2 * K[i].astype(np.float64), 1e-12)
        gain = np.where(down & (wish < wish[i]), (wish[i] - wish) ** 2 / curvature, -1)
        j = int(np.argmax(gain))
        room_i = C - alpha[i] if y[i] > 0 else alpha[i]
        room_j = alpha[j] if y[j] > 0 else C - alpha[j]
        step = min((wish[i] - wish[j]) / curvature[j], room_i, room_j)
        alpha[i] = (C if y[i] > 0 else 0.0) if step == room_i else alpha[i] + y[i] * step
        alpha[j] = (0.0 if y[j] > 0 else C) if step == room_j else alpha[j] - y[j] * step
        v = v + step * K[i].astype(np.float64) - step * K[j].astype(np.float64)


@right("svm_dual", "sweeps over the rows, each paired with the one that disagrees most; a list")
def dual_by_sweeps(K, y, C, tol=1e-3):
    m = len(K)
    y = signs(y, m)
    if K.shape != (m, m) or abs(np.sum(y)) == m or min(C, tol) <= 0 or np.isnan(C + tol):
        raise ValueError("arguments")
    low, high = np.where(y > 0, 0.0, -C), np.where(y > 0, C, 0.0)
    beta, wish = np.zeros(m), y.copy()
    while True:
        for i in range(m):
            highest, lowest = np.where(beta < high, wish, -np.inf), np.where(beta > low, wish, np.inf)
            up, down = int(np.argmax(highest)), int(np.argmin(lowest))
            if highest[i] - lowest[down] >= highest[up] - lowest[i]:
                up = i
            else:
                down = i
            if not wish[up] > wish[down] or beta[up] >= high[up] or beta[down] <= low[down]:
                continue
            bend = float(K[up, up]) - 2 * float(K[up, down]) + float(K[down, down])
            room = min(high[up] - beta[up], beta[down] - low[down])
            step = min(room, (wish[up] - wish[down]) / bend) if bend > 1e-12 else room
            beta[up] = min(beta[up] + step, high[up])
            beta[down] = max(beta[down] - step, low[down])
            wish -= step * np.subtract(K[up], K[down], dtype=np.float64)
        b = (wish[beta < high].max() + wish[beta > low].min()) / 2
        gap = C * np.maximum(0, y * (wish - b)).sum() - beta @ wish
        if gap <= tol * C * m:
            return [np.abs(beta), float(b)]


# ---------------------------------------------------------------------------------------------- decision_function

wrong(
    "decision_function",
    "leaves the bias out",
    fails=["test_scores_are_sums_over_the_rows"],
    edit={"np.full(len(X), b, dtype=np.float64)": "np.zeros(len(X))"},
)
wrong(
    "decision_function",
    "leaves the labels out",
    fails=["test_scores_are_sums_over_the_rows"],
    edit={"(alpha * y)[support]": "alpha[support]"},
)
wrong(
    "decision_function",
    "asks the kernel for every row of the training set",
    fails=["test_kernel_is_asked_for_support_vectors_alone"],
    edit={"np.flatnonzero(alpha > 0)": "np.arange(len(alpha))"},
)
wrong(
    "decision_function",
    "swaps the arguments of kernel",
    fails=["test_kernel_is_asked_for_support_vectors_alone"],
    edit={"kernel(X[part], vectors) @ coefficients": "np.transpose(kernel(vectors, X[part])) @ coefficients"},
)
wrong(
    "decision_function",
    "asks for all new rows at once",
    fails=["test_at_most_block_rows_in_a_call"],
    edit={"range(0, len(X), block)": "range(0, len(X), len(X) or 1)", "start + block": "start + len(X)"},
)
wrong(
    "decision_function",
    "takes small alphas for 0",
    fails=["test_kernel_is_asked_for_support_vectors_alone"],
    edit={"alpha > 0": "alpha > 1e-8"},
)
wrong(
    "decision_function",
    "replaces the support vectors of each class by their mean",
    fails=["test_scores_are_sums_over_the_rows"],
    edit={
        "coefficients, vectors = (alpha * y)[support], rows[support]": (
            "beta, sides = (alpha * y)[support], [y[support] < 0, y[support] > 0]\n"
            "        coefficients = np.array([beta[side].sum() for side in sides if side.any()])\n"
            "        vectors = np.stack([rows[support][side].mean(axis=0) for side in sides if side.any()])"
        )
    },
)
wrong(
    "decision_function",
    "puts the bias outside the sum, as a sign and an offset",
    fails=["test_scores_are_sums_over_the_rows"],
    edit={"return scores": "return np.sign(scores - b) + b"},
)
wrong(
    "decision_function",
    "calls the kernel although there is no support vector",
    fails=["test_no_support_vectors_or_no_new_rows"],
    edit={"if len(support):": "if True:"},
)

equivalent(
    "decision_function",
    diff="~ decision_function: block becomes min(x, 100)",
    reason="at most `block` rows are allowed in a call, and so are fewer",
)
equivalent(
    "decision_function",
    diff="""
- coefficients, vectors = ((alpha * y)[support], rows[support])
+ coefficients, vectors = ((alpha / y)[support], rows[support])
""",
    reason="y is -1 or +1, so to divide by it is to multiply by it",
)


@right("decision_function", "a list of blocks, the bias added at the end")
def decision_by_blocks(X, rows, y, alpha, b, kernel, block=1000):
    chosen = alpha > 0
    if not np.any(chosen) or len(X) == 0:
        return np.zeros(len(X)) + float(b)
    weights = np.asarray(alpha[chosen], dtype=np.float64) * y[chosen]
    parts = np.array_split(X, -(-len(X) // block))
    return np.concatenate([np.asarray(kernel(part, rows[chosen])) @ weights for part in parts]) + float(b)


@right("decision_function", "one new row at a time, whatever the block")
def decision_by_rows(X, rows, y, alpha, b, kernel, block=1000):
    support = [i for i in range(len(alpha)) if alpha[i] > 0]
    weights, vectors = np.array([float(alpha[i]) * float(y[i]) for i in support]), rows[support]
    out = np.empty(len(X))
    for n in range(len(X)):
        out[n] = b
        if support:
            out[n] += np.dot(kernel(X[n : n + 1], vectors)[0], weights)
    return out


# ---------------------------------------------------------------------------------------------------- rbf_predict

wrong(
    "rbf_predict",
    "repairs the labels and forgets the width",
    fails=["test_the_width_is_used"],
    edit={'kernel_matrix(A, B, "rbf", gamma)': 'kernel_matrix(A, B, "rbf")'},
)
wrong(
    "rbf_predict",
    "repairs the width and multiplies class 0 by its label",
    fails=["test_both_classes_pull"],
    edit={"np.where(y, 1.0, -1.0)": "y"},
)
wrong(
    "rbf_predict",
    "turns 0 into -1 by 2y - 1, which is 255 in uint8",
    fails=["test_labels_of_every_kind"],
    edit={"np.where(y, 1.0, -1.0)": "(2 * y - 1)"},
)
wrong(
    "rbf_predict",
    "says 0 where the score is exactly 0",
    fails=["test_a_score_of_zero_is_class_one"],
    edit={"scores >= 0": "scores > 0"},
)
wrong(
    "rbf_predict",
    "leaves the bias outside the comparison",
    fails=["test_both_classes_pull"],
    edit={
        "alpha, b, lambda": "alpha, 0.0, lambda",
        "(scores >= 0).astype(np.int64)": "((scores >= 0) + b > 0.5).astype(np.int64)",
    },
)
wrong(
    "rbf_predict",
    "returns bools",
    fails=["test_predictions_are_int64"],
    edit={"(scores >= 0).astype(np.int64)": "scores >= 0"},
)
wrong(
    "rbf_predict",
    "returns labels -1 and +1",
    fails=["test_both_classes_pull"],
    edit={"(scores >= 0).astype(np.int64)": "np.where(scores >= 0, 1, -1)"},
)


@right("rbf_predict", "the two classes summed apart")
def predict_by_sides(X, rows, y, alpha, b, gamma):
    y = np.asarray(y).astype(bool)
    K = np.exp(-gamma * np.stack([((X - row) ** 2).sum(axis=1) for row in rows], axis=1))
    return np.where(K[:, y] @ alpha[y] - K[:, ~y] @ alpha[~y] + b >= 0, 1, 0)


@right("rbf_predict", "torch.cdist, and labels made signed first")
def predict_by_torch(X, rows, y, alpha, b, gamma):
    distance = torch.cdist(*(torch.from_numpy(np.array(array, float)) for array in (X, rows)))
    return (np.exp(-gamma * distance.numpy() ** 2) @ (alpha * (2 * y.astype(int) - 1)) + b >= 0).astype(int)


# ---------------------------------------------------------------------------------------- random_fourier_features

wrong(
    "random_fourier_features",
    "gives omega the variance gamma",
    fails=["test_inner_products_are_the_kernel_on_average"],
    edit={"np.sqrt(2 * gamma)": "np.sqrt(gamma)"},
)
wrong(
    "random_fourier_features",
    "gives rng.normal the variance, where it takes the standard deviation",
    fails=["test_inner_products_are_the_kernel_on_average"],
    edit={"np.sqrt(2 * gamma)": "2 * gamma"},
)
wrong(
    "random_fourier_features",
    "divides by the root of F, half of what is due",
    fails=["test_inner_products_are_the_kernel_on_average"],
    edit={"np.sqrt(2 / features)": "np.sqrt(1 / features)"},
)
wrong(
    "random_fourier_features",
    "takes cosines only, without a phase",
    fails=["test_inner_products_are_the_kernel_on_average"],
    edit={"np.sin(angles)": "np.cos(angles)"},
)
wrong(
    "random_fourier_features",
    "draws the angles for the rows at hand, so that new rows get other features",
    fails=["test_features_of_a_row_are_its_own"],
    edit={"default_rng(seed)": "default_rng(seed + len(X))"},
)
wrong(
    "random_fourier_features",
    "subtracts the mean of the rows first",
    fails=["test_features_of_a_row_are_its_own"],
    edit={"angles = X @ omega": "angles = (X - X.mean(axis=0)) @ omega"},
)
wrong(
    "random_fourier_features",
    "does not use the seed",
    fails=["test_seeds"],
    edit={"default_rng(seed)": "default_rng(0)"},
)
wrong(
    "random_fourier_features",
    "cuts the seed to 32 bits",
    fails=["test_seeds"],
    edit={"default_rng(seed)": "default_rng(seed % 2**32)"},
)
wrong(
    "random_fourier_features",
    "draws a hundred frequencies and repeats them",
    fails=["test_the_error_falls_like_one_over_the_root"],
    edit={
        "size=(X.shape[1], features // 2))": (
            "size=(X.shape[1], min(features // 2, 100)))\n    omega = np.resize(omega.T, (features // 2, X.shape[1])).T"
        )
    },
)
wrong(
    "random_fourier_features",
    "builds the kernel matrix on the way",
    fails=["test_features_of_many_rows"],
    edit={"    angles = X @ omega": "    gram = X @ X.T\n    angles = X @ omega + 0 * gram[0, 0]"},
)
wrong(
    "random_fourier_features",
    "leaves a column of zeros for an odd number of features",
    fails=["test_features_refuse"],
    edit={"features < 2 or features % 2 or": "features < 2 or"},
)

equivalent(
    "random_fourier_features",
    diff="""
- if features < 2 or features % 2 or (not gamma > 0):
+ if features < 1 or features % 2 or (not gamma > 0):
""",
    reason="1 is odd, and refused for that",
)
equivalent(
    "random_fourier_features",
    diff="~ random_fourier_features: gamma becomes float(np.float32(x))",
    reason="a width that is off by 6e-8 changes the kernel by less than any number of random features can show",
)


@right("random_fourier_features", "cosines with a random phase each")
def fourier_by_phase(X, features, gamma, seed):
    if features % 2 or features < 2 or not gamma > 0:
        raise ValueError("arguments")
    rng = np.random.default_rng([seed, 7])
    X = np.array(X, dtype=float)
    omega = np.sqrt(2 * gamma) * rng.standard_normal((features, X.shape[1]))
    phase = rng.uniform(0, 2 * np.pi, features)
    return np.cos(X @ omega.T + phase) * (2 / features) ** 0.5


@right("random_fourier_features", "cos and sin side by side in pairs, filled frequency by frequency")
def fourier_by_loop(X, features, gamma, seed):
    if features <= 0 or features % 2 == 1 or not gamma > 0:
        raise ValueError("arguments")
    rng = np.random.default_rng(seed)
    X, Z = np.asarray(X, dtype=np.float64), np.empty((len(X), features))
    for k in range(features // 2):
        angle = X @ rng.normal(scale=(2 * gamma) ** 0.5, size=X.shape[1])
        Z[:, 2 * k], Z[:, 2 * k + 1] = np.cos(angle), np.sin(angle)
    return Z / np.sqrt(features / 2)


# ------------------------------------------------------------------------------------------------ svm_from_stream

wrong(
    "svm_from_stream",
    "returns the last theta",
    fails=["test_stream_walks_as_it_says"],
    edit={"2 * sum_of_u / (penalty * steps * (steps + 1))": "u / (penalty * steps)"},
)
wrong(
    "svm_from_stream",
    "weighs all steps alike",
    fails=["test_stream_walks_as_it_says"],
    edit={
        "sum_of_u = sum_of_u + u": "sum_of_u = sum_of_u + u / (penalty * (steps + 1))",
        "2 * sum_of_u / (penalty * steps * (steps + 1))": "sum_of_u / steps",
    },
)
wrong(
    "svm_from_stream",
    "sums over a chunk's rows instead of averaging",
    fails=["test_stream_walks_as_it_says"],
    edit={"@ Z / len(y)": "@ Z"},
)
wrong(
    "svm_from_stream",
    "averages over the rows that violate the margin only",
    fails=["test_stream_walks_as_it_says"],
    edit={"@ Z / len(y)": "@ Z / max(np.sum(np.broadcast_to(violated, len(y))), 1)"},
)
wrong(
    "svm_from_stream",
    "counts a margin of exactly 1 as violated",
    fails=["test_stream_at_a_margin_of_one"],
    edit={"< penalty * steps if": "<= penalty * steps if"},
)
wrong(
    "svm_from_stream",
    "counts an empty chunk as a step",
    fails=["test_a_chunk_of_no_rows_is_no_step"],
    edit={
        "        if not len(y):\n": "        if not len(y):\n            steps += 1\n",
    },
)
wrong(
    "svm_from_stream",
    "does not look at the labels of an empty chunk",
    fails=["test_stream_refuses"],
    edit={
        "        y = signs(labels, len(X))\n        if not len(y):\n": "        if not len(X):\n",
        "        Z = features(X)\n": "        y, Z = signs(labels, len(X)), features(X)\n",
    },
)
wrong(
    "svm_from_stream",
    "makes the features of all rows before it begins",
    fails=["test_stream_of_twenty_thousand_rows"],
    edit={
        "    for X, labels in chunks:\n": (
            "    made = [(X, labels, np.array(features(X)) if len(X) else None) for X, labels in chunks]\n"
            "    for X, labels, Z in made:\n"
        ),
        "        Z = features(X)\n": "",
    },
)
wrong(
    "svm_from_stream",
    "collects the chunks first, though the producer reuses its arrays",
    fails=["test_stream_of_twenty_thousand_rows"],
    edit={"for X, labels in chunks:": "for X, labels in list(chunks):"},
)
wrong(
    "svm_from_stream",
    "goes through the chunks twice, once to count them",
    fails=["test_stream_is_gone_through_once"],
    edit={"    steps = 0\n": "    steps = 0\n    expected = sum(1 for _ in chunks)\n"},
)
wrong(
    "svm_from_stream",
    "makes the features twice, for the margins and for the step",
    fails=["test_stream_is_gone_through_once"],
    edit={"(y * violated) @ Z": "(y * violated) @ features(X)"},
)
wrong(
    "svm_from_stream",
    "takes any labels",
    fails=["test_stream_refuses"],
    edit={"signs(labels, len(X))": "np.asarray(labels, dtype=np.float64)"},
)
wrong(
    "svm_from_stream",
    "returns 0 for a stream without rows",
    fails=["test_stream_refuses"],
    edit={'        raise ValueError("there is no row to learn from")': "        return np.zeros(1), 0"},
)


@right("svm_from_stream", "theta itself, and its running weighted mean; a list")
def stream_by_theta(chunks, features, penalty):
    if not penalty > 0:
        raise ValueError("penalty")
    theta = average = None
    t = 0
    for X, y in chunks:
        y = signs(y, len(X))
        if len(y) == 0:
            continue
        Z = features(X)
        t += 1
        if theta is None:
            theta = average = np.zeros(Z.shape[1])
        violated = y * (Z @ theta) < 1
        gradient = penalty * theta - np.where(violated, y, 0) @ Z / len(y)
        theta = theta - gradient / (penalty * t)
        average = average + 2 / (t + 1) * (theta - average)
    if t == 0:
        raise ValueError("no rows")
    return [average, t]


@right("svm_from_stream", "row by row in plain loops, in float64")
def stream_by_rows(chunks, features, penalty):
    if penalty <= 0 or np.isnan(penalty):
        raise ValueError("penalty")
    steps, theta, total = 0, None, None
    for X, labels in chunks:
        labels = signs(labels, len(X))
        if not labels.size:
            continue
        Z = np.array(features(X), dtype=np.float64)
        if theta is None:
            theta, total = np.zeros(Z.shape[1]), np.zeros(Z.shape[1])
        pull = np.zeros(len(theta))
        for z, label in zip(Z, labels, strict=True):
            if label * float(z @ theta) < 1:
                pull += label * z
        steps += 1
        theta = (1 - 1 / steps) * theta + pull / (len(Z) * penalty * steps)
        total += steps * theta
    if not steps:
        raise ValueError("no rows")
    return total / (steps * (steps + 1) / 2), steps
