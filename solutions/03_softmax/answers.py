"""Wrong and right answers that prove the hidden tests of module 03, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import math

import numpy as np

from autograder.answers import equivalent, right, wrong

# ------------------------------------------------------------------------------------------- binary_cross_entropy

wrong(
    "binary_cross_entropy",
    "exponentiates the logit itself, which overflows for large ones",
    fails=["test_sigmoid_of_huge_and_tiny_logits"],
    edit={"np.exp(z.clip(max=0)) / (1 + np.exp(-np.abs(z)))": "np.exp(z) / (1 + np.exp(z))"},
)
wrong(
    "binary_cross_entropy",
    "computes 1 / (1 + exp(-z)) on both sides, so that exp overflows for very negative logits",
    fails=["test_binary_functions_leave_no_trace_and_do_not_overflow"],
    edit={"np.exp(z.clip(max=0)) / (1 + np.exp(-np.abs(z)))": "1 / (1 + np.exp(-z))"},
)
wrong(
    "binary_cross_entropy",
    "takes the sigmoid from tanh, where small probabilities are lost beside the 1",
    fails=["test_sigmoid_of_huge_and_tiny_logits"],
    edit={"np.exp(z.clip(max=0)) / (1 + np.exp(-np.abs(z)))": "(1 + np.tanh(z / 2)) / 2"},
)
wrong(
    "binary_cross_entropy",
    "takes logarithms of clipped probabilities",
    fails=["test_binary_loss_of_huge_logits"],
    edit={
        "losses = ": "p, q = np.stack([sigmoid(z), 1 - sigmoid(z)]).clip(1e-12, 1)\n    losses = ",
        "z.clip(min=0) - z * y + np.log1p(np.exp(-np.abs(z)))": "-(y * np.log(p) + (1 - y) * np.log(q))",
    },
)
wrong(
    "binary_cross_entropy",
    "sums over the rows instead of averaging",
    fails=["test_binary_loss_agrees_with_the_formula"],
    edit={"losses.mean()": "losses.sum()"},
)
wrong(
    "binary_cross_entropy",
    "subtracts two large numbers, and loses the digits of a small loss",
    fails=["test_small_binary_losses_keep_their_digits"],
    edit={"- z * y + np.log1p(np.exp(-np.abs(z)))": "+ np.log1p(np.exp(-np.abs(z))) - z * y"},
)
wrong(
    "binary_cross_entropy",
    "chooses between two formulas by the label, and so takes every label for 0 or 1",
    fails=["test_binary_loss_of_soft_labels_and_other_kinds"],
    edit={
        "losses = ": "z = np.where(y > 0.5, -z, z)\n    losses = ",
        "z.clip(min=0) - z * y": "z.clip(min=0)",
    },
)


@right("binary_cross_entropy", "both losses in log space, weighted by the label")
def bce_by_two_logs(z, y):
    z, y = np.asarray(z, np.float64), np.asarray(y, np.float64)
    of_one, of_zero = (np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s))) for s in (-z, z))
    return np.mean(y * of_one + (1 - y) * of_zero)


@right("binary_cross_entropy", "a loop over the rows in plain Python")
def bce_by_loop(z, y):
    total = 0.0
    for logit, label in zip(np.asarray(z, float).tolist(), np.asarray(y, float).tolist(), strict=True):
        small = math.log1p(math.exp(-abs(logit)))
        of_one, of_zero = (small, small + logit) if logit >= 0 else (small - logit, small)
        total += label * of_one + (1 - label) * of_zero
    return total / len(z)


@right("binary_cross_entropy", "the two halves of the sigmoid by masks", replaces="sigmoid")
def sigmoid_by_masks(z):
    z = as_float(z)
    flat = np.atleast_1d(z).astype(z.dtype)
    out = np.empty_like(flat)
    positive = flat >= 0
    out[positive] = 1 / (1 + np.exp(-flat[positive]))
    e = np.exp(flat[~positive])
    out[~positive] = e / (1 + e)
    return out.reshape(z.shape)


@right("binary_cross_entropy", "the sigmoid from both halves by np.where", replaces="sigmoid")
def sigmoid_by_where(z):
    e = np.exp(-np.abs(as_float(z)))
    return np.where(np.asarray(z) >= 0, 1, e) / (1 + e)


equivalent(
    "binary_cross_entropy",
    diff="~ sigmoid: numbers beyond 1e+06 in size are cut off",
    reason="beyond 746 the sigmoid is 0 or 1",
)

# ------------------------------------------------------------------------------------------------------ logsumexp

wrong(
    "logsumexp",
    "does not shift, and overflows at 1000",
    fails=["test_logsumexp_of_slices_thousands_apart"],
    edit={"top + np.log(np.exp(Z - top)": "np.log(np.exp(Z)"},
)
wrong(
    "logsumexp",
    "shifts by one maximum for the whole array, under which other slices vanish",
    fails=["test_logsumexp_of_slices_thousands_apart"],
    edit={"Z.max(axis=axis, keepdims=True)": "Z.max()"},
)
wrong(
    "logsumexp",
    "forgets to add the maximum back",
    fails=["test_logsumexp_agrees_with_scipy"],
    edit={"top + np.log": "np.log"},
)
wrong(
    "logsumexp",
    "sums along the last axis, whatever axis it is asked for",
    fails=["test_logsumexp_agrees_with_scipy", "test_logsumexp_keeps_the_axis_when_asked"],
    edit={"Z = as_float(Z)": "Z, axis = as_float(Z), -1"},
)
wrong(
    "logsumexp",
    "sums along the first axis, whatever axis it is asked for",
    fails=["test_logsumexp_agrees_with_scipy", "test_logsumexp_keeps_the_axis_when_asked"],
    edit={"Z = as_float(Z)": "Z, axis = as_float(Z), 0"},
)
wrong(
    "logsumexp",
    "drops every axis of length 1, not only the one that was asked for",
    fails=["test_logsumexp_agrees_with_scipy"],
    edit={"total.squeeze(axis)": "total.squeeze()"},
)
wrong(
    "logsumexp",
    "gives nan for a slice of nothing but -inf",
    fails=["test_logsumexp_of_masked_entries"],
    edit={".clip(min=np.finfo(Z.dtype).min)": ""},
)
wrong(
    "logsumexp",
    "subtracts in place, and changes its argument",
    fails=["test_logsumexp_leaves_no_trace"],
    edit={"np.exp(Z - top)": "np.exp(np.subtract(Z, top, out=Z))"},
)


@right("logsumexp", "adds in log space, one entry after another")
def lse_one_by_one(Z, axis=-1, keepdims=False):
    entries = np.moveaxis(as_float(Z), axis, 0)
    total = entries[0].copy()
    for entry in entries[1:]:
        high, low = np.maximum(total, entry), np.minimum(total, entry)
        with np.errstate(invalid="ignore"):
            total = np.where(low == -np.inf, high, high + np.log1p(np.exp(low - high)))
    return np.expand_dims(total, axis) if keepdims else total


@right("logsumexp", "moves the axis to the end and loops over the slices")
def lse_by_loop(Z, axis=-1, keepdims=False):
    Z = as_float(Z)
    rows = np.moveaxis(Z, axis, -1)
    out = np.full(rows.shape[:-1], -np.inf, dtype=Z.dtype)
    for index in np.ndindex(*out.shape):
        row = rows[index].astype(float)
        m = row.max()
        if m > -math.inf:
            out[index] = m + math.log(math.fsum(math.exp(v - m) for v in row))
    return np.expand_dims(out, axis) if keepdims else out


@right("logsumexp", "np.take_along_axis for the maximum, nan_to_num for a maximum of -inf, einsum for the sum")
def lse_in_parts(Z, axis=-1, keepdims=False):
    Z = as_float(Z)
    where = np.expand_dims(Z.argmax(axis), axis)
    top = np.nan_to_num(np.take_along_axis(Z, where, axis), neginf=0.0)
    total = top + np.log(np.add.reduce(np.exp(Z - top), axis=axis, keepdims=True))
    return total if keepdims else total[(slice(None),) * (axis % Z.ndim) + (0,)]


# -------------------------------------------------------------------------------------------------------- softmax

wrong(
    "softmax",
    "normalises over the batch instead of the classes",
    fails=["test_softmax_agrees_with_scipy"],
    edit={"Z = as_float(Z)": "Z, axis = as_float(Z), 0"},
)
wrong(
    "softmax",
    "mixes the axes: shifts along the first and sums along the one that was asked for",
    fails=["test_softmax_agrees_with_scipy"],
    edit={"Z.max(axis=axis, keepdims=True)": "Z.max(axis=0, keepdims=True)"},
)
wrong(
    "softmax",
    "divides by the sum of the whole array",
    fails=["test_softmax_agrees_with_scipy"],
    edit={"Z.max(axis=axis, keepdims=True)": "Z.max()", "E.sum(axis=axis, keepdims=True)": "E.sum()"},
)
wrong(
    "softmax",
    "does not shift, and overflows at 1000",
    fails=["test_softmax_of_slices_thousands_apart"],
    edit={"Z - Z.max(axis=axis, keepdims=True)": "Z"},
)
wrong(
    "softmax",
    "shifts by one maximum for the whole array, under which other slices vanish",
    fails=["test_softmax_of_slices_thousands_apart"],
    edit={"Z.max(axis=axis, keepdims=True)": "Z.max()"},
)
wrong(
    "softmax",
    "clips the logits instead of shifting them",
    fails=["test_softmax_of_slices_thousands_apart"],
    edit={"Z - Z.max(axis=axis, keepdims=True)": "Z.clip(-80, 80)"},
)
wrong(
    "softmax",
    "subtracts in place, and changes its argument",
    fails=["test_softmax_leaves_no_trace"],
    edit={
        "np.exp(Z - Z.max(axis=axis, keepdims=True))": "np.exp(np.subtract(Z, Z.max(axis=axis, keepdims=True), out=Z))"
    },
)
wrong(
    "softmax",
    "always computes in float64",
    fails=["test_softmax_of_other_kinds_of_arrays"],
    edit={"as_float(Z)": "np.asarray(Z, dtype=np.float64)"},
)
wrong(
    "softmax",
    "adds a small epsilon to every probability before normalising",
    fails=["test_softmax_of_masked_entries"],
    edit={"return E / E.sum": "E += 1e-8\n    return E / E.sum"},
)


@right("softmax", "exp of the log-probabilities")
def softmax_from_logs(Z, axis=-1):
    return np.exp(log_softmax(Z, axis=axis))


@right("softmax", "in place, in an array of its own")
def softmax_in_place(Z, axis=-1):
    P = np.array(as_float(Z))
    P -= P.max(axis, keepdims=True)
    np.exp(P, out=P)
    P /= P.sum(axis, keepdims=True)
    return P


@right("softmax", "a loop over the slices, in plain Python")
def softmax_by_loop(Z, axis=-1):
    Z = as_float(Z)
    P = np.empty(Z.shape, dtype=Z.dtype)
    rows, out = np.moveaxis(Z, axis, -1), np.moveaxis(P, axis, -1)
    for index in np.ndindex(*rows.shape[:-1]):
        weights = [math.exp(v - max(rows[index].tolist())) for v in rows[index].tolist()]
        out[index] = [weight / math.fsum(weights) for weight in weights]
    return P


# ---------------------------------------------------------------------------------------------------- log_softmax

wrong(
    "log_softmax",
    "takes the log of the probabilities, of which the small ones are 0",
    fails=["test_log_softmax_of_hopeless_classes"],
    edit={"shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))": "np.log(softmax(Z, axis=axis))"},
)
wrong(
    "log_softmax",
    "takes the log of clipped probabilities",
    fails=["test_log_softmax_of_hopeless_classes"],
    edit={
        "return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))": "smallest = np.finfo(Z.dtype).tiny\n"
        "    return np.log(softmax(Z, axis=axis).clip(min=smallest))"
    },
)
wrong(
    "log_softmax",
    "subtracts the log-sum-exp from logits that it has not shifted, and loses the digits of a small difference",
    fails=["test_log_softmax_does_not_lose_digits_far_from_zero"],
    edit={
        "shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))": "Z - logsumexp(Z, axis=axis, keepdims=True)"
    },
)
wrong(
    "log_softmax",
    "normalises over the batch instead of the classes",
    fails=["test_log_softmax_agrees_with_scipy"],
    edit={"Z = as_float(Z)": "Z, axis = as_float(Z), 0"},
)
wrong(
    "log_softmax",
    "shifts in place, and changes its argument",
    fails=["test_log_softmax_leaves_no_trace"],
    edit={
        "shifted = Z - Z.max(axis=axis, keepdims=True)": "shifted = Z\n    shifted -= Z.max(axis=axis, keepdims=True)"
    },
)
wrong(
    "log_softmax",
    "always computes in float64",
    fails=["test_log_softmax_of_other_kinds_of_arrays"],
    edit={"as_float(Z)": "np.asarray(Z, dtype=np.float64)"},
)
wrong(
    "log_softmax",
    "exchanges -inf for a large finite number",
    fails=["test_log_softmax_of_other_kinds_of_arrays"],
    edit={"as_float(Z)": "np.nan_to_num(as_float(Z), neginf=-1e9)"},
)


@right("log_softmax", "the log-sum-exp of shifted logits")
def log_softmax_by_logsumexp(Z, axis=-1):
    Z = as_float(Z)
    Z = Z - Z.max(axis=axis, keepdims=True)
    return Z - logsumexp(Z, axis=axis, keepdims=True)


@right("log_softmax", "in float64 on the way, rounded at the end")
def log_softmax_in_double(Z, axis=-1):
    shifted = np.asarray(Z, dtype=np.float64) - np.max(np.asarray(Z, dtype=np.float64), axis=axis, keepdims=True)
    return (shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))).astype(as_float(Z).dtype)


@right("log_softmax", "a loop over the slices, in plain Python")
def log_softmax_by_loop(Z, axis=-1):
    Z = as_float(Z)
    L = np.empty(Z.shape, dtype=Z.dtype)
    rows, out = np.moveaxis(Z, axis, -1), np.moveaxis(L, axis, -1)
    for index in np.ndindex(*rows.shape[:-1]):
        row = rows[index].tolist()
        top = max(row)
        total = math.log(math.fsum(math.exp(v - top) for v in row))
        out[index] = [v - top - total for v in row]
    return L


# -------------------------------------------------------------------------------------------------- cross_entropy

wrong(
    "cross_entropy",
    "divides by rows and classes alike",
    fails=["test_loss_agrees_with_torch"],
    edit={"losses.mean()": "losses.mean() / C"},
)
wrong(
    "cross_entropy",
    "sums over the rows instead of averaging",
    fails=["test_loss_agrees_with_torch"],
    edit={"losses.mean()": "losses.sum()"},
)
wrong(
    "cross_entropy",
    "gives the mean of log p, without the minus sign",
    fails=["test_loss_agrees_with_torch"],
    edit={"log_p = log_softmax(Z)": "log_p = -log_softmax(Z)"},
)
wrong(
    "cross_entropy",
    "takes the log of clipped probabilities",
    fails=["test_loss_of_huge_logits"],
    edit={"log_softmax(Z)": "np.log(softmax(Z).clip(1e-12, 1))"},
)
wrong(
    "cross_entropy",
    "spreads the smoothed share over the other classes only",
    fails=["test_loss_with_smoothed_labels"],
    edit={"log_p = log_softmax(Z)": "log_p = log_softmax(Z)\n    label_smoothing *= C / max(C - 1, 1)"},
)
wrong(
    "cross_entropy",
    "ignores the label smoothing",
    fails=["test_loss_with_smoothed_labels"],
    edit={"(1 - label_smoothing) * log_p": "log_p", " - label_smoothing * log_p.mean(axis=1)": ""},
)
wrong(
    "cross_entropy",
    "looks the one-hot rows up in an identity matrix, which has C * C entries",
    fails=["test_loss_forms_no_square_matrix"],
    edit={"log_p[np.arange(m), y]": "(np.eye(C)[y] * log_p).sum(axis=1)"},
)
wrong(
    "cross_entropy",
    "picks the columns of all labels for every row, which makes an (m, m) array",
    fails=["test_loss_forms_no_square_matrix"],
    edit={"log_p[np.arange(m), y]": "log_p[:, y].diagonal()"},
)
wrong(
    "cross_entropy",
    "reads a label of -1 as the last class",
    fails=["test_loss_refuses_labels_that_are_no_class"],
    edit={"y.min() < 0 or ": ""},
)
wrong(
    "cross_entropy",
    "computes in float32 where the logits are float32",
    fails=["test_loss_of_other_kinds_of_arrays"],
    edit={"np.asarray(Z, dtype=np.float64)": "as_float(Z)"},
)


@right("cross_entropy", "log-sum-exp minus the smoothed logit, as in the derivation")
def from_logsumexp(Z, y, reduction="mean", label_smoothing=0.0):
    if reduction not in {"mean", "sum", "none"}:
        raise ValueError(reduction)
    Z = np.array(Z, dtype=float)
    if np.any(y < 0) or np.any(y > Z.shape[1] - 1):
        raise ValueError("label")
    picked = np.take_along_axis(Z, np.asarray(y, dtype=int)[:, None], axis=1)[:, 0]
    losses = logsumexp(Z, axis=1) - (1 - label_smoothing) * picked - label_smoothing * Z.mean(axis=1)
    return {"mean": losses.mean(), "sum": losses.sum(), "none": losses}[reduction]


@right("cross_entropy", "a full one-hot target and einsum")
def with_one_hot(Z, y, reduction="mean", label_smoothing=0.0):
    n, K = np.shape(Z)
    if reduction not in ("none", "sum", "mean"):
        raise ValueError("reduction")
    if set(np.unique(y).tolist()) - set(range(K)):
        raise ValueError("label")
    Q = (1 - label_smoothing) * (np.asarray(y)[:, None] == np.arange(K)) + label_smoothing / K
    losses = -np.einsum("nk,nk->n", Q, log_softmax(np.asarray(Z, dtype=np.float64), axis=1))
    return losses if reduction == "none" else losses.sum() / (n if reduction == "mean" else 1)


@right("cross_entropy", "a loop over the rows, in plain Python")
def row_by_row(Z, y, reduction="mean", label_smoothing=0.0):
    if reduction not in ("none", "sum", "mean"):
        raise ValueError("reduction")
    losses = []
    for row, label in zip(np.asarray(Z, dtype=float).tolist(), np.asarray(y).tolist(), strict=True):
        if not 0 <= label < len(row):
            raise ValueError("label")
        top = max(row)
        total = math.log(math.fsum(math.exp(w - top) for w in row))
        logs = [v - top - total for v in row]
        losses.append(-(1 - label_smoothing) * logs[label] - label_smoothing * math.fsum(logs) / len(logs))
    if reduction == "none":
        return np.array(losses)
    return math.fsum(losses) / (len(losses) if reduction == "mean" else 1)


# ----------------------------------------------------------------------------------------- cross_entropy_gradient

wrong(
    "cross_entropy_gradient",
    "leaves out the division by the rows",
    fails=["test_gradient_agrees_with_autograd"],
    edit={"G / m": "G"},
)
wrong(
    "cross_entropy_gradient",
    "points downhill: observed minus predicted",
    fails=["test_gradient_agrees_with_autograd"],
    edit={"G / m": "-G / m"},
)
wrong(
    "cross_entropy_gradient",
    "divides by rows and classes alike",
    fails=["test_gradient_agrees_with_autograd"],
    edit={"G / m": "G / (m * C)"},
)
wrong(
    "cross_entropy_gradient",
    "ignores the label smoothing",
    fails=["test_gradient_with_smoothed_labels"],
    edit={" - float(label_smoothing) / C": "", "1 - label_smoothing": "1"},
)
wrong(
    "cross_entropy_gradient",
    "gives the right class 1 - smoothing in all, without its share of what is spread",
    fails=["test_gradient_with_smoothed_labels"],
    edit={"-= 1 - label_smoothing": "-= 1 - label_smoothing - float(label_smoothing) / C"},
)
wrong(
    "cross_entropy_gradient",
    "selects whole columns by P[:, y] and subtracts 1 from all of them",
    fails=["test_gradient_agrees_with_autograd"],
    edit={"G[np.arange(m), y]": "G[:, y]"},
)
wrong(
    "cross_entropy_gradient",
    "always computes in float64",
    fails=["test_gradient_of_other_kinds_of_arrays"],
    edit={"softmax(Z)": "softmax(np.asarray(Z, dtype=np.float64))"},
)


@wrong("cross_entropy_gradient", "builds the Jacobian of softmax", fails=["test_gradient_needs_no_jacobian"])
def through_the_jacobian(Z, y, label_smoothing=0.0):
    Z = as_float(Z)
    n, K = Z.shape
    P = softmax(Z, axis=1)
    Q = np.full_like(Z, label_smoothing / K)
    Q[np.arange(n), y] += 1 - label_smoothing
    G = np.empty_like(Z)
    for i in range(n):
        G[i] = (np.outer(P[i], Q[i]) - np.diag(Q[i])).sum(axis=1)
    return G / n


@right("cross_entropy_gradient", "a full one-hot target")
def gradient_with_one_hot(Z, y, label_smoothing=0.0):
    Z = as_float(Z)
    n, K = Z.shape
    Y = (np.arange(K) == np.asarray(y)[:, None]).astype(Z.dtype)
    return (softmax(Z, axis=1) - ((1 - label_smoothing) * Y + label_smoothing / K)) / n


@right("cross_entropy_gradient", "exp of the log-probabilities in float64, rounded at the end")
def gradient_in_double(Z, y, label_smoothing=0.0):
    G = np.exp(log_softmax(np.asarray(Z, dtype=np.float64), axis=1)) - label_smoothing / Z.shape[1]
    np.subtract.at(G, (np.arange(len(Z)), y), 1 - label_smoothing)
    return (G / len(Z)).astype(as_float(Z).dtype)


@right("cross_entropy_gradient", "a loop over the rows")
def gradient_by_loop(Z, y, label_smoothing=0.0):
    Z = as_float(Z)
    G = np.zeros(Z.shape, dtype=Z.dtype)
    for i, (row, label) in enumerate(zip(Z, y, strict=True)):
        p = np.exp(row - row.max())
        p /= p.sum()
        q = np.full(len(row), label_smoothing / len(row), dtype=Z.dtype)
        q[int(label)] += 1 - label_smoothing
        G[i] = (p - q) / len(Z)
    return G


# ----------------------------------------------------------------------------------------- fit_softmax_regression

wrong(
    "fit_softmax_regression",
    "penalises the biases as well",
    fails=["test_fit_finds_the_minimum_of_scikit_learn", "test_fit_takes_the_right_steps"],
    edit={"np.sum(theta[:-1] ** 2)": "np.sum(theta**2)", "G[:-1] += l2 * theta[:-1]": "G += l2 * theta"},
)
wrong(
    "fit_softmax_regression",
    "leaves the column of ones out of L",
    fails=["test_fit_takes_the_right_steps"],
    edit={"np.linalg.norm(X1, 2)": "np.linalg.norm(X, 2)"},
)
wrong(
    "fit_softmax_regression",
    "leaves the half out of L",
    fails=["test_fit_takes_the_right_steps"],
    edit={"(2 * m)": "m"},
)
wrong(
    "fit_softmax_regression",
    "adds the gradient and goes uphill",
    fails=["test_fit_takes_the_right_steps"],
    edit={"theta -= G / L": "theta += G / L"},
)
wrong(
    "fit_softmax_regression",
    "stops when the loss changes little",
    fails=["test_fit_stops_in_time"],
    edit={"np.abs(G).max() <= tol": "(len(losses) > 1 and losses[-2] - losses[-1] <= tol)"},
)
wrong(
    "fit_softmax_regression",
    "takes the penalty for l2 times the sum of squares, without the half",
    fails=["test_fit_takes_the_right_steps", "test_fit_finds_the_minimum_of_scikit_learn"],
    edit={"m, d = X.shape": "m, d = X.shape\n    l2 = 2 * l2"},
)
wrong(
    "fit_softmax_regression",
    "takes one step more than max_steps",
    fails=["test_fit_takes_the_right_steps"],
    edit={"> max_steps": "> max_steps + 1"},
)
wrong(
    "fit_softmax_regression",
    "counts the classes in y, and so has none for a class that does not occur",
    fails=["test_fit_takes_the_right_steps"],
    edit={"(d + 1, classes)": "(d + 1, y.max() + 1)"},
)


@right("fit_softmax_regression", "W and b apart, eigenvalues for L, a one-hot target, a for loop, the losses an array")
def fit_with_two_parts(X, y, classes, l2=1e-3, tol=1e-4, max_steps=1000):
    X, y = np.array(X, dtype=np.float64), np.asarray(y)
    n, d = X.shape
    Y, X1 = np.eye(classes)[y.astype(int)], np.hstack([X, np.ones((n, 1))])
    lr = 1 / (0.5 * np.linalg.eigvalsh(X1.T @ X1 / n)[-1] + l2)
    W, b, losses = np.zeros((d, classes)), np.zeros(classes), []
    for step in range(max_steps + 1):
        Z = np.einsum("nd,dk->nk", X, W) + b
        top = Z.max(axis=1, keepdims=True)
        log_p = Z - top - np.log(np.exp(Z - top).sum(axis=1, keepdims=True))
        losses.append(float(-(Y * log_p).sum() / n + l2 / 2 * (W * W).sum()))
        R = (np.exp(log_p) - Y) / n
        dW, db = X.T @ R + l2 * W, R.sum(axis=0)
        if step == max_steps or max(np.abs(dW).max(), np.abs(db).max()) <= tol:
            break
        W, b = W - lr * dW, b - lr * db
    return W, b, np.array(losses)


@right("fit_softmax_regression", "by the functions of the module, W and b apart")
def fit_by_the_module(X, y, classes, l2=1e-3, tol=1e-4, max_steps=1000):
    X = np.ascontiguousarray(X, dtype=np.float64)
    W, b = np.zeros((X.shape[1], classes)), np.zeros(classes)
    L = np.linalg.svd(np.c_[X, np.ones(len(X))], compute_uv=False)[0] ** 2 / (2 * len(X)) + l2
    losses = [cross_entropy(X @ W + b, y)]
    while len(losses) <= max_steps:
        G = cross_entropy_gradient(X @ W + b, y)
        steps = X.T @ G + l2 * W, G.sum(axis=0)
        if all(np.all(np.abs(step) <= tol) for step in steps):
            break
        W, b = W - steps[0] / L, b - steps[1] / L
        losses.append(cross_entropy(X @ W + b, y) + l2 / 2 * np.sum(W * W))
    return W, b, losses


# -------------------------------------------------------------------------------------------------- predict_proba

wrong(
    "predict_proba",
    "repairs the overflow, and still normalises over the batch",
    fails=["test_predictions_agree_with_scipy"],
    edit={"E.sum(axis=1, keepdims=True)": "E.sum(axis=0)"},
)
wrong(
    "predict_proba",
    "repairs the axis, and still overflows",
    fails=["test_predictions_of_unscaled_features"],
    edit={"Z - Z.max(axis=1, keepdims=True)": "Z"},
)
wrong(
    "predict_proba",
    "shifts by one maximum for the whole batch, under which other rows vanish",
    fails=["test_predictions_of_unscaled_features"],
    edit={"Z - Z.max(axis=1, keepdims=True)": "Z - Z.max(initial=-np.inf)"},
)
wrong(
    "predict_proba",
    "clips the logits instead of shifting them",
    fails=["test_predictions_of_unscaled_features"],
    edit={"Z - Z.max(axis=1, keepdims=True)": "Z.clip(-500, 500)"},
)


@right("predict_proba", "softmax of the module")
def by_softmax(X, W, b):
    return softmax(X @ W + b, axis=1)


@right("predict_proba", "a loop over the rows")
def predictions_by_loop(X, W, b):
    P = np.zeros((len(X), len(b)))
    for i, x in enumerate(X):
        z = W.T @ x + b
        e = np.exp(z - np.max(z))
        P[i] = e / np.sum(e)
    return P


# ------------------------------------------------------------------------------------- expected_calibration_error

wrong(
    "expected_calibration_error",
    "gives every bin the same weight",
    fails=["test_calibration_error_agrees_with_counting"],
    edit={
        "return float(np.abs(gap).sum() / len(P))": "rows = np.bincount(bin_of)\n"
        "    return float(np.mean(np.abs(gap[rows > 0]) / rows[rows > 0]))"
    },
)
wrong(
    "expected_calibration_error",
    "takes the probability of the right class for the confidence",
    fails=["test_calibration_error_agrees_with_counting"],
    edit={"P.max(axis=1)": "P[np.arange(len(P)), y]"},
)
wrong(
    "expected_calibration_error",
    "closes its bins on the left",
    fails=["test_calibration_bins_are_closed_on_the_right"],
    edit={"np.ceil(confidence * bins)": "np.floor(confidence * bins).clip(max=bins - 1)"},
)
wrong(
    "expected_calibration_error",
    "adds up absolute gaps of single rows, which never cancel",
    fails=["test_calibration_error_agrees_with_counting"],
    edit={
        "return float(np.abs(gap).sum() / len(P))": "return float(np.abs((P.argmax(axis=1) == y) - confidence).mean())"
    },
)
wrong(
    "expected_calibration_error",
    "compares mean confidence and accuracy once, without bins",
    fails=["test_calibration_error_agrees_with_counting"],
    edit={"np.abs(gap).sum()": "np.abs(gap.sum())"},
)
wrong(
    "expected_calibration_error",
    "divides by the size of empty bins, too",
    fails=["test_calibration_error_agrees_with_counting"],
    edit={
        "return float(np.abs(gap).sum() / len(P))": "rows = np.bincount(bin_of)[1:]\n"
        "    return float(np.sum(rows * np.abs(gap[1:] / rows)) / len(P))"
    },
)


@right("expected_calibration_error", "a mask for each bin")
def with_masks(P, y, bins=15):
    P = np.asarray(P, dtype=np.float64)
    confidence, hit = P.max(axis=1), P.argmax(axis=1) == y
    total = 0.0
    for i in range(bins):
        inside = (confidence > i / bins) & (confidence <= (i + 1) / bins)
        if inside.any():
            total += inside.sum() / len(P) * abs(hit[inside].mean() - confidence[inside].mean())
    return total


@right("expected_calibration_error", "rows sorted into a dictionary, in plain Python")
def with_a_dictionary(P, y, bins=15):
    sums = {}
    for row, label in zip(np.asarray(P, dtype=float).tolist(), y, strict=True):
        confidence = max(row)
        place = math.ceil(confidence * bins)
        sums[place] = sums.get(place, 0.0) + (row.index(confidence) == label) - confidence
    return sum(map(abs, sums.values())) / len(P)


@right("expected_calibration_error", "edges and searchsorted")
def with_searchsorted(P, y, bins=15):
    P = np.asarray(P, dtype=np.float64)
    confidence = np.amax(P, axis=1)
    place = np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")
    gaps = np.zeros(bins)
    np.add.at(gaps, place, (np.argmax(P, axis=1) == y).astype(float) - confidence)
    return np.linalg.norm(gaps, 1) / len(P)


# ----------------------------------------------------------------------------------------------- online_logsumexp

wrong(
    "online_logsumexp",
    "does not rescale the old sum when the maximum rises",
    fails=["test_online_agrees_with_all_at_once"],
    edit={"s * np.exp(top - shift)": "s"},
)
wrong(
    "online_logsumexp",
    "counts the last chunk only",
    fails=["test_online_agrees_with_all_at_once"],
    edit={"s * np.exp(top - shift) + ": ""},
)
wrong(
    "online_logsumexp",
    "returns the log-sum-exp in place of the sum",
    fails=["test_online_agrees_with_all_at_once"],
    edit={"return top, s": "return top, top + np.log(s)"},
)
wrong(
    "online_logsumexp",
    "keeps all the chunks",
    fails=["test_online_keeps_no_chunks"],
    edit={"in chunks:": "in [np.array(chunk) for chunk in chunks]:"},
)
wrong(
    "online_logsumexp",
    "asks for all the chunks before it uses the first",
    fails=["test_online_is_done_with_a_chunk_before_the_next", "test_online_keeps_no_chunks"],
    edit={"in chunks:": "in list(chunks):"},
)
wrong(
    "online_logsumexp",
    "puts all the chunks together again",
    fails=["test_online_keeps_no_chunks"],
    edit={
        "for chunk in chunks:": "kept = [np.array(chunk) for chunk in chunks]\n"
        "    for chunk in [np.concatenate(kept, axis=1)] if kept else []:"
    },
)
wrong(
    "online_logsumexp",
    "starts from a maximum of zero",
    fails=["test_online_follows_a_maximum_that_rises_and_falls"],
    edit={"top, s = -np.inf, 0": "top, s = 0.0, 0"},
)
wrong(
    "online_logsumexp",
    "subtracts a maximum of -inf, and gives nan after a first chunk of -inf",
    fails=["test_online_with_masked_entries_and_empty_chunks"],
    edit={"new.clip(min=lowest)": "new"},
)
wrong(
    "online_logsumexp",
    "accumulates in the dtype of the chunks",
    fails=["test_online_of_other_kinds_of_arrays"],
    edit={
        "np.finfo(np.float64).min": "np.finfo(np.float32).min",
        "np.asarray(chunk, dtype=np.float64)": "as_float(chunk)",
    },
)
wrong(
    "online_logsumexp",
    "subtracts the maximum from the chunk in place",
    fails=["test_online_leaves_no_trace"],
    edit={"np.exp(Z - shift[:, None])": "np.exp(np.subtract(Z, shift[:, None], out=Z))"},
)


@wrong(
    "online_logsumexp",
    "merges whole log-sum-exps, whose digits are lost where the logits are large",
    fails=["test_online_follows_a_maximum_that_rises_and_falls"],
)
def through_whole_sums(chunks):
    top = total = None
    for chunk in chunks:
        Z = np.asarray(chunk, dtype=np.float64)
        if top is None:
            top = total = np.full(len(Z), -np.inf)
        parts = np.column_stack([total, logsumexp(Z) if Z.shape[1] else total - np.inf])
        top, total = np.maximum(top, Z.max(axis=1, initial=-np.inf)), logsumexp(parts)
    if top is None:
        raise ValueError("no chunk")
    return top, np.where(np.isfinite(top), np.exp(total - np.maximum(top, np.finfo(float).min)), 0.0)


@wrong("online_logsumexp", "goes through the chunks twice", fails=["test_online_goes_through_the_chunks_once"])
def in_two_passes(chunks):
    top = None
    for chunk in chunks:
        highest = np.asarray(chunk, dtype=np.float64).max(axis=1, initial=-np.inf)
        top = highest if top is None else np.maximum(top, highest)
    if top is None:
        raise ValueError
    shift = np.maximum(top, np.finfo(float).min)[:, None]
    return top, sum((np.exp(np.asarray(c, dtype=np.float64) - shift).sum(axis=1) for c in chunks), np.zeros(len(top)))


@right("online_logsumexp", "the pair of each chunk alone, then merged")
def merged_pairs(chunks):
    t = s = None
    for chunk in chunks:
        Z = chunk.astype(np.float64)
        part = np.max(Z, axis=1, initial=-np.inf)
        base = np.where(part == -np.inf, 0.0, part)
        part_s = np.sum(np.exp(Z - base[:, None]), axis=1)
        if t is None:
            t, s = part, part_s
            continue
        high = np.maximum(t, part)
        base = np.where(high == -np.inf, 0.0, high)
        t, s = high, s * np.exp(t - base) + part_s * np.exp(part - base)
    if t is None:
        raise ValueError("no chunks")
    return t, s


@right("online_logsumexp", "a list of the two, updated only where a row has finite entries")
def updated_where_finite(chunks):
    state = []
    for chunk in chunks:
        Z = np.array(chunk, dtype=float)
        if not state:
            state = [np.full(len(Z), -np.inf), np.zeros(len(Z))]
        for i in range(len(Z)):
            row = Z[i][Z[i] > -np.inf]
            if row.size:
                high = max(state[0][i], row.max())
                state[1][i] = state[1][i] * np.exp(state[0][i] - high) + np.exp(row - high).sum()
                state[0][i] = high
    if not state:
        raise ValueError("no chunks")
    return tuple(state)


@right("online_logsumexp", "the first chunk by next, narrow chunks one column after another")
def column_by_column(chunks):
    chunks = iter(chunks)
    chunk = next(chunks, None)
    if chunk is None:
        raise ValueError("no chunks")
    top, s = np.full(len(chunk), -np.inf), np.zeros(len(chunk))
    while chunk is not None:
        step = 1 if chunk.shape[1] < 100 else chunk.shape[1]  # a column at a time would take too long for wide ones
        for start in range(0, chunk.shape[1], step):
            columns = chunk[:, start : start + step].astype(np.float64)
            new = np.maximum(top, columns.max(axis=1))
            seen = new > -np.inf
            s[seen] *= np.exp(top[seen] - new[seen])
            s[seen] += np.exp(columns[seen] - new[seen, None]).sum(axis=1)
            top = new
        chunk = next(chunks, None)
    return top, s


equivalent(
    "online_logsumexp",
    diff="- top, s = (-np.inf, 0)\n+ top, s = (-np.inf, 1)",
    reason="at first top is -inf, so the old sum is multiplied by exp(-inf) = 0",
)
equivalent(
    "online_logsumexp",
    diff="- top, s = (-np.inf, 0)\n+ top, s = (-np.inf, -1)",
    reason="at first top is -inf, so the old sum is multiplied by exp(-inf) = 0",
)
equivalent(
    "online_logsumexp",
    diff="~ online_logsumexp: the arguments are zeros after an error",
    reason="it raises only where there is no chunk, so there is nothing to write to",
)

# ---------------------------------------------------------------------------------------- blockwise_cross_entropy

wrong(
    "blockwise_cross_entropy",
    "leaves out the division by the rows",
    fails=["test_blockwise_agrees_with_all_at_once"],
    edit={"G /= m": "G /= 1"},
)
wrong(
    "blockwise_cross_entropy",
    "does not subtract 1 at the right class",
    fails=["test_blockwise_agrees_with_all_at_once"],
    edit={"G[rows, y[rows] - block.start] -= 1": "G[rows, y[rows] - block.start] -= 0"},
)
wrong(
    "blockwise_cross_entropy",
    "takes the label for a column of the block, wherever the block starts",
    fails=["test_blockwise_agrees_with_all_at_once"],
    edit={"y[rows] - block.start": "y[rows] % width - 0 * block.start - (block.start > 0)"},
)
wrong(
    "blockwise_cross_entropy",
    "leaves out a last block that is narrower",
    fails=["test_blockwise_agrees_with_all_at_once"],
    edit={"range(0, V, width)": "range(0, max(V - width, 0) + 1, width)"},
)
wrong(
    "blockwise_cross_entropy",
    "keeps the gradient in X of the last block only",
    fails=["test_blockwise_agrees_with_all_at_once"],
    edit={"dX += G": "dX = G"},
)
wrong(
    "blockwise_cross_entropy",
    "computes all the logits at once and takes its blocks from them",
    fails=["test_blockwise_never_holds_all_logits"],
    edit={
        "blocks = ": "Z = X @ W\n    blocks = ",
        "online_logsumexp(X @ W[:, block] for": "online_logsumexp(Z[:, block] for",
    },
)
wrong(
    "blockwise_cross_entropy",
    "keeps the logits of all the blocks for the way back",
    fails=["test_blockwise_never_holds_all_logits"],
    edit={
        "online_logsumexp(X @ W[:, block] for block in blocks)": "online_logsumexp("
        "kept := [X @ W[:, block] for block in blocks])",
        "for block in blocks:": "for block, Z in zip(blocks, kept, strict=True):",
        "G = np.exp(X @ W[:, block] - ": "G = np.exp(Z - ",
    },
)
wrong(
    "blockwise_cross_entropy",
    "computes in the dtype of X and W",
    fails=["test_blockwise_of_other_kinds_of_arrays"],
    edit={"np.asarray(X, dtype=np.float64)": "np.asarray(X)"},
)


@right("blockwise_cross_entropy", "a running maximum and sum of its own, one-hot labels of the block")
def blockwise_by_itself(X, W, y, width):
    X, y = X.astype(np.float64), y.astype(int)
    m, V = X.shape[0], W.shape[1]
    t, s, z_y = np.full(m, -np.inf), np.zeros(m), np.zeros(m)
    for a in range(0, V, width):
        Z = X @ W[:, a : a + width].astype(np.float64)
        new = np.maximum(t, Z.max(axis=1))
        s = s * np.exp(t - new) + np.exp(Z - new[:, None]).sum(axis=1)
        t = new
        z_y += np.where(y[:, None] == np.arange(a, a + Z.shape[1]), Z, 0.0).sum(axis=1)
    dX, dW = np.zeros_like(X), []
    for a in range(0, V, width):
        block = W[:, a : a + width].astype(np.float64)
        G = np.exp(X @ block - t[:, None]) / s[:, None] - (y[:, None] == np.arange(a, a + block.shape[1]))
        dX, dW = dX + G @ block.T / m, [*dW, X.T @ G / m]
    return np.mean(t + np.log(s) - z_y), dX, np.concatenate(dW, axis=1)


@right("blockwise_cross_entropy", "the labels' part of the gradients apart, after the blocks")
def labels_apart(X, W, y, width):
    X, W, y = np.array(X, float), np.array(W, float), np.array(y, np.int64)
    m = len(X)
    starts = range(0, W.shape[1], width)
    top, s = online_logsumexp(X @ W[:, a : a + width] for a in starts)
    dX, dW = -W[:, y].T / m, np.zeros_like(W)
    np.subtract.at(dW.T, y, X / m)
    for a in starts:
        P = np.exp(X @ W[:, a : a + width] - top[:, None]) / (m * s[:, None])
        dX += P @ W[:, a : a + width].T
        dW[:, a : a + width] += X.T @ P
    return float(np.mean(top + np.log(s) - np.einsum("md,dm->m", X, W[:, y]))), dX, dW
