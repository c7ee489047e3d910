"""Wrong and right answers that prove the hidden tests of module 03, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import math

import numpy as np
import torch

from autograder.answers import right, wrong

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
    fails=["test_binary_functions_leave_their_arguments_and_do_not_overflow", "test_sigmoid_of_huge_and_tiny_logits"],
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
    fails=["test_binary_loss_agrees_with_torch"],
    edit={"losses.mean()": "losses.sum()"},
)
wrong(
    "binary_cross_entropy",
    "subtracts two large numbers, and loses the digits of a small loss",
    fails=["test_small_binary_losses_keep_their_digits"],
    edit={"z.clip(min=0) - z * y + np.log1p(np.exp(-np.abs(z)))": "np.logaddexp(0, z) - z * y"},
)
wrong(
    "binary_cross_entropy",
    "chooses between two formulas by the label, and so takes every label for 0 or 1",
    fails=["test_binary_loss_of_soft_labels_and_other_kinds"],
    edit={"z.clip(min=0) - z * y + np.log1p(np.exp(-np.abs(z)))": "np.logaddexp(0, np.where(y > 0.5, -z, z))"},
)


@right("binary_cross_entropy", "both losses in log space, weighted by the label")
def bce_by_two_logs(z, y):
    z, y = np.asarray(z, np.float64), np.asarray(y, np.float64)
    return float(np.mean(y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z)))


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


@right("binary_cross_entropy", "the sigmoid in torch", replaces="sigmoid")
def sigmoid_in_torch(z):
    z = torch.from_numpy(np.array(as_float(z)))
    return (torch.exp(torch.clamp(z, max=0)) / (1 + torch.exp(-z.abs()))).numpy()


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
    "gives nan for a slice of nothing but -inf",
    fails=["test_logsumexp_of_masked_entries"],
    edit={".clip(min=np.finfo(Z.dtype).min)": ""},
)
wrong(
    "logsumexp",
    "subtracts in place, and changes its argument",
    fails=["test_logsumexp_leaves_its_argument"],
    edit={"np.exp(Z - top)": "np.exp(np.subtract(Z, top, out=Z))"},
)


@right("logsumexp", "adds in log space, one entry after another")
def lse_by_logaddexp(Z, axis=-1, keepdims=False):
    return np.logaddexp.reduce(as_float(Z), axis=axis, keepdims=keepdims)


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


@right("logsumexp", "torch tensors, in the same dtype")
def lse_in_torch(Z, axis=-1, keepdims=False):
    Z = torch.from_numpy(np.array(as_float(Z)))
    m = torch.nan_to_num(Z.amax(dim=axis, keepdim=True), neginf=0.0)
    total = m + torch.log(torch.exp(Z - m).sum(dim=axis, keepdim=True))
    return (total if keepdims else total.squeeze(axis)).numpy()


# -------------------------------------------------------------------------------------------------------- softmax

wrong(
    "softmax",
    "normalises over the batch instead of the classes",
    fails=["test_softmax_agrees_with_scipy"],
    edit={"Z = as_float(Z)": "Z, axis = as_float(Z), 0"},
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
    fails=["test_softmax_leaves_its_argument"],
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


@right("softmax", "torch tensors, in the same dtype")
def softmax_in_torch(Z, axis=-1):
    Z = torch.from_numpy(np.array(as_float(Z)))
    E = torch.exp(Z - Z.amax(dim=axis, keepdim=True))
    return (E / E.sum(dim=axis, keepdim=True)).numpy()


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
    fails=["test_log_softmax_leaves_its_argument"],
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
    fails=["test_log_softmax_of_masked_entries"],
    edit={"as_float(Z)": "np.nan_to_num(as_float(Z), neginf=-1e9)"},
)


@right("log_softmax", "the log-sum-exp of shifted logits")
def log_softmax_by_logsumexp(Z, axis=-1):
    Z = as_float(Z)
    Z = Z - Z.max(axis=axis, keepdims=True)
    return Z - logsumexp(Z, axis=axis, keepdims=True)


@right("log_softmax", "torch tensors, in the same dtype")
def log_softmax_in_torch(Z, axis=-1):
    Z = torch.from_numpy(np.array(as_float(Z)))
    Z = Z - Z.amax(dim=axis, keepdim=True)
    return (Z - Z.exp().sum(dim=axis, keepdim=True).log()).numpy()


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
    edit={"L = log_softmax(Z)": "L = -log_softmax(Z)"},
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
    edit={"L = log_softmax(Z)": "L = log_softmax(Z)\n    label_smoothing *= C / max(C - 1, 1)"},
)
wrong(
    "cross_entropy",
    "ignores the label smoothing",
    fails=["test_loss_with_smoothed_labels"],
    edit={"-(1 - label_smoothing) * L[np.arange(m), y] - label_smoothing * L.mean(axis=1)": "-L[np.arange(m), y]"},
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
    Q = (1 - label_smoothing) * np.eye(K)[np.asarray(y, dtype=int)] + label_smoothing / K
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
        logs = [v - top - math.log(math.fsum(math.exp(w - top) for w in row)) for v in row]
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
    edit={" - label_smoothing / C": "", "1 - label_smoothing": "1"},
)
wrong(
    "cross_entropy_gradient",
    "gives the right class 1 - smoothing in all, without its share of what is spread",
    fails=["test_gradient_with_smoothed_labels"],
    edit={"-= 1 - label_smoothing": "-= 1 - label_smoothing - label_smoothing / C"},
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


@right("cross_entropy_gradient", "torch tensors, in the same dtype")
def gradient_in_torch(Z, y, label_smoothing=0.0):
    Z = torch.from_numpy(np.array(as_float(Z)))
    n, K = Z.shape
    E = torch.exp(Z - Z.amax(dim=1, keepdim=True))
    G = E / E.sum(dim=1, keepdim=True) - label_smoothing / K
    index = torch.from_numpy(np.array(y, dtype=np.int64))[:, None]
    return (G.scatter_add(1, index, torch.full((n, 1), label_smoothing - 1, dtype=Z.dtype)) / n).numpy()


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
    fails=["test_fit_does_not_penalise_the_biases"],
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


@right("fit_softmax_regression", "torch tensors, gradients by autograd")
def fit_in_torch(X, y, classes, l2=1e-3, tol=1e-4, max_steps=1000):
    X, y = torch.from_numpy(np.array(X, dtype=np.float64)), torch.from_numpy(np.array(y, dtype=np.int64))
    n, d = X.shape
    X1 = torch.cat([X, torch.ones(n, 1, dtype=torch.float64)], dim=1)
    L = torch.linalg.matrix_norm(X1, 2).item() ** 2 / (2 * n) + l2
    theta = torch.zeros(d + 1, classes, dtype=torch.float64, requires_grad=True)
    losses = []
    while True:
        Z = X1 @ theta
        J = (torch.logsumexp(Z, dim=1) - Z[torch.arange(n), y]).mean() + l2 / 2 * (theta[:-1] ** 2).sum()
        losses.append(J.item())
        (G,) = torch.autograd.grad(J, theta)
        if len(losses) > max_steps or G.abs().max().item() <= tol:
            return theta[:-1].detach().numpy(), theta[-1].detach().numpy(), losses
        with torch.no_grad():
            theta -= G / L


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
    fails=["test_calibration_error_of_known_forecasters"],
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
    fails=["test_online_agrees_with_scipy"],
    edit={"s * np.exp(top - new)": "s"},
)
wrong(
    "online_logsumexp",
    "counts the last chunk only",
    fails=["test_online_agrees_with_scipy"],
    edit={"s * np.exp(top - new) + ": ""},
)
wrong(
    "online_logsumexp",
    "keeps all the chunks",
    fails=["test_online_with_a_vocabulary_of_a_million"],
    edit={"in chunks:": "in list(chunks):"},
)
wrong(
    "online_logsumexp",
    "starts from a maximum of zero",
    fails=["test_online_follows_a_maximum_that_rises_and_falls"],
    edit={"np.full(len(Z), lowest)": "np.zeros(len(Z))"},
)
wrong(
    "online_logsumexp",
    "starts from a maximum of -inf, and gives nan after a first chunk of -inf",
    fails=["test_online_with_masked_entries_and_empty_chunks"],
    edit={"np.finfo(np.float64).min": "-np.inf"},
)
wrong(
    "online_logsumexp",
    "accumulates in the dtype of the chunks",
    fails=["test_online_of_other_kinds_of_arrays"],
    edit={
        "np.finfo(np.float64).min": "np.finfo(np.float32).min",
        "np.asarray(chunk, dtype=np.float64)": "as_float(chunk)",
        "np.full(len(Z), lowest), np.zeros(len(Z))": "np.full(len(Z), lowest, Z.dtype), np.zeros(len(Z), Z.dtype)",
    },
)
wrong(
    "online_logsumexp",
    "subtracts the maximum from the chunk in place",
    fails=["test_online_leaves_the_chunks"],
    edit={"np.exp(Z - new[:, None])": "np.exp(np.subtract(Z, new[:, None], out=Z))"},
)


@wrong("online_logsumexp", "goes through the chunks twice", fails=["test_online_goes_through_the_chunks_once"])
def in_two_passes(chunks):
    m = None
    for chunk in chunks:
        top = np.asarray(chunk, dtype=np.float64).max(axis=1, initial=np.finfo(float).min)
        m = top if m is None else np.maximum(m, top)
    if m is None:
        raise ValueError
    return m + np.log(sum(np.exp(np.asarray(c, dtype=np.float64) - m[:, None]).sum(axis=1) for c in chunks))


@right("online_logsumexp", "merges the log-sum-exp of each chunk in log space")
def merged_by_logaddexp(chunks):
    total = None
    for chunk in chunks:
        Z = np.asarray(chunk, dtype=np.float64)
        part = np.logaddexp.reduce(Z, axis=1) if Z.shape[1] else np.full(len(Z), -np.inf)
        total = part if total is None else np.logaddexp(total, part)
    if total is None:
        raise ValueError("no chunks")
    return total


@right("online_logsumexp", "one column after another")
def column_by_column(chunks):
    state = None
    for chunk in chunks:
        if state is None:
            state = np.full(len(chunk), -np.inf)
        if chunk.shape[1] > 1000:  # a pairwise tree within wide chunks, or a million steps would take too long
            state = np.logaddexp(state, np.logaddexp.reduce(chunk.astype(np.float64), axis=1))
            continue
        for j in range(chunk.shape[1]):
            state = np.logaddexp(state, chunk[:, j].astype(np.float64))
    if state is None:
        raise ValueError("no chunks")
    return state


@right("online_logsumexp", "the running maximum and sum in torch")
def online_in_torch(chunks):
    m = None
    for chunk in chunks:
        Z = torch.from_numpy(np.array(chunk, dtype=np.float64))
        if m is None:
            m, s = torch.full((len(Z),), -1e308, dtype=torch.float64), torch.zeros(len(Z), dtype=torch.float64)
        if Z.shape[1] == 0:
            continue
        top = torch.maximum(m, Z.amax(dim=1))
        s = s * torch.exp(m - top) + torch.exp(Z - top[:, None]).sum(dim=1)
        m = top
    if m is None:
        raise ValueError("no chunks")
    return (m + torch.log(s)).numpy()
