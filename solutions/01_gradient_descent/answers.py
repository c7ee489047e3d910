"""Wrong and right answers that prove the hidden tests of module 01, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

import functools
import itertools
import math

import numpy as np
import torch

from autograder.answers import equivalent, right, wrong

# ------------------------------------------------------------------------------------------------------- mse_loss

wrong(
    "mse_loss",
    "takes the mean of the squares, without the half",
    fails=["test_loss_is_half_the_mean_square"],
    edit={"(2 * m)": "m"},
)
wrong(
    "mse_loss",
    "adds up half the squares and does not divide by the number of rows",
    fails=["test_loss_is_half_the_mean_square"],
    edit={"(2 * m)": "2"},
)
wrong(
    "mse_loss",
    "adds up the squares, and divides neither by 2 nor by the number of rows",
    fails=["test_loss_is_half_the_mean_square"],
    edit={" / (2 * m)": ""},
)
wrong(
    "mse_loss",
    "averages over the features instead of the rows",
    fails=["test_loss_is_half_the_mean_square"],
    edit={"(2 * m)": "(2 * X.shape[1])"},
)
wrong(
    "mse_loss",
    "leaves out the square",
    fails=["test_loss_is_half_the_mean_square"],
    edit={"residual @ residual": "np.abs(residual).sum()"},
)
wrong(
    "mse_loss",
    "computes in float32, whatever came",
    fails=["test_loss_is_half_the_mean_square"],
    edit={"X @ theta - y": "(X @ theta - y).astype(np.float32)"},
)
wrong(
    "mse_loss",
    "lets NumPy broadcast a y of shape (m, 1) to a square of residuals",
    fails=["test_loss_refuses_a_column"],
    edit={"np.shape(y) != (m,)": "False", "float(residual @ residual) / (2 * m)": "float(np.mean(residual**2)) / 2"},
)
wrong(
    "mse_loss",
    "returns nan where there are no rows",
    fails=["test_loss_refuses_no_rows"],
    edit={"m == 0": "False", "float(residual @ residual) / (2 * m)": "float(np.mean(residual**2)) / 2"},
)
wrong(
    "mse_loss",
    "writes the residuals into y",
    fails=["test_loss_leaves_its_arguments", "test_loss_takes_every_kind_of_array"],
    edit={"residual = X @ theta - y": "y -= X @ theta\n    residual = y"},
)
equivalent(
    "mse_loss",
    diff="""
    - residual = X @ theta - y
    + residual = y - X @ theta
    """,
    reason="the residual is squared, so its sign is lost",
)


@right("mse_loss", "loops in plain Python")
def loss_by_loops(X, y, theta):
    m = len(X)
    if m == 0 or np.shape(y) != (m,):
        raise ValueError("no rows, or y is no vector of that length")
    total = 0.0
    for i in range(m):
        prediction = sum(float(X[i, j]) * float(theta[j]) for j in range(len(theta)))
        total += (prediction - float(y[i])) ** 2
    return total / m / 2


@right("mse_loss", "torch, in the precision of the inputs")
def loss_by_torch(X, y, theta):
    if not len(X) or tuple(np.shape(y)) != (len(X),):
        raise ValueError("no rows, or y is no vector of that length")
    X, y, theta = (torch.from_numpy(np.array(array, dtype=np.result_type(X, y, theta))) for array in (X, y, theta))
    return (0.5 * (X @ theta - y).square().mean()).item()


@right("mse_loss", "a mean, as a NumPy scalar")
def loss_by_mean(X, y, theta):
    if X.shape[0] < 1:
        raise ValueError("no rows")
    if y.ndim != 1 or len(y) != len(X):
        raise ValueError("y is no vector of that length")
    return np.mean(np.square(X.dot(theta) - y)) / 2


# --------------------------------------------------------------------------------------------------- mse_gradient

wrong(
    "mse_gradient",
    "takes the gradient of 1/m * ||r||^2, twice the gradient of this module's loss",
    fails=["test_gradient_agrees_with_autograd"],
    edit={"X.T @": "2 * X.T @"},
)
wrong(
    "mse_gradient",
    "divides by 2m, though the square's derivative has cancelled the 2",
    fails=["test_gradient_agrees_with_autograd"],
    edit={"/ len(X)": "/ (2 * len(X))"},
)
wrong(
    "mse_gradient",
    "averages over the features instead of the rows",
    fails=["test_gradient_agrees_with_autograd"],
    edit={"len(X)": "X.shape[1]"},
)
wrong(
    "mse_gradient",
    "adds up over the rows and does not divide",
    fails=["test_gradient_agrees_with_autograd"],
    edit={" / len(X)": ""},
)
wrong(
    "mse_gradient",
    "takes the residual as y - X theta, and so points downhill",
    fails=["test_gradient_agrees_with_autograd"],
    edit={"X @ theta - y": "y - X @ theta"},
)
wrong(
    "mse_gradient",
    "averages the sign of the residual, not the residual",
    fails=["test_gradient_agrees_with_autograd"],
    edit={"@ residual": "@ np.sign(residual)"},
)
wrong(
    "mse_gradient",
    "multiplies X.T by X first, which takes d * d numbers",
    fails=["test_gradient_forms_no_second_matrix"],
    edit={"X.T @ residual": "(X.T @ X @ theta - X.T @ y)"},
)
wrong(
    "mse_gradient",
    "multiplies each row of X by its residual before it adds the rows up, which takes m * d numbers",
    fails=["test_gradient_forms_no_second_matrix"],
    edit={"X.T @ residual / len(X)": "(X * residual[:, None]).sum(axis=0) / len(X)"},
)
wrong(
    "mse_gradient",
    "divides all of X by m before the product, which makes a second X",
    fails=["test_gradient_forms_no_second_matrix"],
    edit={"X.T @ residual / len(X)": "(X / len(X)).T @ residual"},
)
wrong(
    "mse_gradient",
    "copies X, though it is float64 already",
    fails=["test_gradient_forms_no_second_matrix"],
    edit={"residual = X @ theta - y": "X = np.array(X)\n    residual = X @ theta - y"},
)
wrong(
    "mse_gradient",
    "writes the residuals into y",
    fails=["test_gradient_leaves_its_arguments", "test_gradient_takes_every_kind_of_array"],
    edit={"residual = X @ theta - y": "y -= X @ theta\n    residual = -y"},
)


@right("mse_gradient", "a loop over rows, each adding its own gradient")
def gradient_by_rows(X, y, theta):
    total = np.zeros(len(theta))
    for row, target in zip(X, y, strict=True):
        total += row * (float(row @ theta) - float(target))
    return total / len(X)


@right("mse_gradient", "einsum")
def gradient_by_einsum(X, y, theta):
    residual = np.einsum("ij,j->i", X, theta) - y
    return np.einsum("ij,i->j", X, residual / len(residual))


@right("mse_gradient", "torch, on the memory of X where that can be had")
def gradient_in_torch(X, y, theta):
    dtype = np.result_type(X, y, theta)
    X, y, theta = (np.require(array, dtype, ["W"]) for array in (X, y, theta))
    X, y, theta = (torch.from_numpy(a if min(a.strides) > 0 else a.copy()) for a in (X, y, theta))
    return ((X @ theta - y) @ X / len(y)).numpy()


@right("mse_gradient", "a mean for each column")
def gradient_by_columns(X, y, theta):
    residual = X.dot(theta) - y
    return np.array([np.mean(residual * X[:, j]) for j in range(X.shape[1])])


# ----------------------------------------------------------------------------------------------- gradient_descent

wrong(
    "gradient_descent",
    "adds the gradient and goes uphill",
    fails=["test_walk_follows_the_closed_form"],
    edit={"theta - lr": "theta + lr"},
)
wrong(
    "gradient_descent",
    "makes one update too few",
    fails=["test_walk_follows_the_closed_form", "test_walk_asks_once_for_each_loss"],
    edit={"range(steps)": "range(steps - 1)"},
)
wrong(
    "gradient_descent",
    "notes the loss before each step only, so that the last point's loss is missing",
    fails=["test_walk_follows_the_closed_form", "test_walk_asks_once_for_each_loss"],
    edit={
        "[float(loss)]": "[]",
        "theta = theta - lr": "history.append(float(loss))\n        theta = theta - lr",
        "\n        history.append(float(loss))": "",
    },
)
wrong(
    "gradient_descent",
    "stops when the loss changes little, not when the gradient is small",
    fails=["test_walk_stops_at_a_small_gradient"],
    edit={"np.linalg.norm(gradient) <= tol": "len(history) > 1 and abs(history[-2] - history[-1]) < tol"},
)
wrong(
    "gradient_descent",
    "compares tol with the gradient's largest entry, not with its Euclidean length",
    fails=["test_walk_stops_at_a_small_gradient"],
    edit={"np.linalg.norm(gradient)": "np.max(np.abs(gradient))"},
)
wrong(
    "gradient_descent",
    "asks grad twice at each point, once for the loss and once for the gradient",
    fails=["test_walk_asks_once_for_each_loss"],
    edit={"history.append(float(loss))": "history.append(float(grad(theta)[0]))"},
)
wrong(
    "gradient_descent",
    "walks in theta0's own memory",
    fails=["test_walk_leaves_the_start"],
    edit={"np.array(theta0)": "np.asarray(theta0)", "theta = theta - lr": "theta -= lr"},
)
wrong(
    "gradient_descent",
    "keeps a start of integers in integers",
    fails=["test_walk_from_every_kind_of_start"],
    edit={
        'if theta.dtype.kind != "f"': "if False",
        "theta = theta - lr * gradient": "theta -= (lr * gradient).astype(theta.dtype)",
    },
)
wrong(
    "gradient_descent",
    "turns float32 into float64",
    fails=["test_walk_from_every_kind_of_start"],
    edit={"np.array(theta0)": "np.array(theta0, dtype=float)"},
)
wrong(
    "gradient_descent",
    "gives up when the loss rises",
    fails=["test_walk_reports_divergence"],
    edit={"<= tol:": "<= tol or (len(history) > 1 and history[-1] > history[-2]):"},
)


@right("gradient_descent", "a loop without end that is left in the middle, in place on a copy, the history an array")
def walk_in_place(grad, theta0, lr, steps=100, tol=0.0):
    theta = np.array(theta0)
    if not np.issubdtype(theta.dtype, np.floating):
        theta = theta.astype(np.float64)
    losses = np.empty(steps + 1)
    k = 0
    while True:
        losses[k], gradient = grad(theta)
        if k == steps or np.sqrt(np.sum(np.square(gradient))) <= tol:
            return theta, losses[: k + 1]
        theta -= (lr * gradient).astype(theta.dtype)
        k += 1


@right("gradient_descent", "a generator of points, and lr as a factor in front")
def walk_by_a_generator(grad, theta0, lr, steps=100, tol=0.0):
    def points():
        theta = theta0 + 0.0 if theta0.dtype.kind == "f" else theta0 / 1
        while True:
            loss, gradient = grad(theta)
            yield theta, loss, gradient
            theta = np.subtract(theta, np.multiply(gradient, lr))

    history = []
    for k, (theta, loss, gradient) in enumerate(points()):
        history.append(np.float64(loss))
        if k == steps or math.hypot(*gradient.tolist()) <= tol:
            return theta, history


# ---------------------------------------------------------------------------------------------- largest_stable_lr

wrong(
    "largest_stable_lr",
    "returns 1 / lambda_max, half the limit",
    fails=["test_limit_is_two_over_the_largest_eigenvalue"],
    edit={"2 / largest": "1 / largest"},
)
wrong(
    "largest_stable_lr",
    "returns lambda_max itself instead of 2 over it",
    fails=["test_limit_is_two_over_the_largest_eigenvalue"],
    edit={"2 / largest": "largest"},
)
wrong(
    "largest_stable_lr",
    "takes the eigenvalue of X.T X, which is not yet divided by the number of rows",
    fails=["test_limit_is_two_over_the_largest_eigenvalue"],
    edit={"(X @ v) / m": "(X @ v)"},
)
wrong(
    "largest_stable_lr",
    "takes the largest singular value of X for the eigenvalue of X.T X / m, its square over m",
    fails=["test_limit_is_two_over_the_largest_eigenvalue"],
    edit={"2 / largest": "2 / math.sqrt(largest * m)"},
)
wrong(
    "largest_stable_lr",
    "starts from a vector of ones, which some data send to zero",
    fails=["test_limit_starts_at_random"],
    edit={"np.random.default_rng(seed).standard_normal(d)": "np.ones(d)"},
)
wrong(
    "largest_stable_lr",
    "never scales the vector back to length 1, so that it overflows or vanishes",
    fails=["test_limit_keeps_its_scale"],
    edit={"np.linalg.norm(product)": "np.linalg.norm(product) / np.linalg.norm(v)", "product / largest": "product"},
)
wrong(
    "largest_stable_lr",
    "forms X.T X, which takes d * d numbers",
    fails=["test_limit_forms_no_square_matrix"],
    edit={"X.T @ (X @ v)": "X.T @ X @ v"},
)
wrong(
    "largest_stable_lr",
    "computes all singular values instead of doing the rounds it is told",
    fails=["test_limit_is_approached_from_above"],
    edit={"np.linalg.norm(product)": "np.linalg.norm(X, 2) ** 2 / m"},
)
wrong(
    "largest_stable_lr",
    "seeds NumPy's global random generator, which belongs to the caller",
    fails=["test_limit_leaves_its_argument"],
    edit={"v = np.random.default_rng(seed)": "np.random.seed(seed)\n    v = np.random"},
)
wrong(
    "largest_stable_lr",
    "divides by zero where X is zero",
    fails=["test_limit_of_nothing_is_infinite"],
    edit={"largest == 0": "False"},
)
equivalent(
    "largest_stable_lr",
    diff="""
    - for _ in range(steps):
    + for _ in range(0, steps + 1):
    """,
    reason="the start is any random vector and the estimate one of two, so nobody can tell how many rounds led to it",
)


equivalent(
    "largest_stable_lr",
    diff="""
    - return math.inf
    + return (math.inf, X.flags.writeable and X.fill(0))[0]
    """,
    reason="X is all zeros there, so filling it with zeros changes nothing",
)


@right("largest_stable_lr", "the Rayleigh quotient, and another start")
def by_rayleigh_quotient(X, steps=100, seed=0):
    v = np.random.default_rng(seed + 1).normal(size=X.shape[1])
    for _ in range(steps):
        w = (X @ v) @ X
        if not w.any():
            return float("inf")
        v = w / np.sqrt(w @ w)
    image = X @ v
    return 2 * X.shape[0] / float(image @ image)


@right("largest_stable_lr", "in half steps between rows and columns, with torch")
def by_half_steps(X, steps=100, seed=0):
    A = np.require(X, float, ["W"])
    A = torch.from_numpy(A if min(A.strides) > 0 else A.copy())  # torch knows no negative strides
    v = torch.randn(A.shape[1], generator=torch.Generator().manual_seed(seed), dtype=A.dtype)
    for _ in range(steps):
        u = A @ v
        if not u.any():
            return np.inf
        v = A.T @ (u / u.norm())
        sigma = v.norm()
        v = v / sigma
    return 2 * len(A) / sigma.item() ** 2


# --------------------------------------------------------------------------------------- backtracking_line_search

wrong(
    "backtracking_line_search",
    "accepts any decrease, whatever c",
    fails=["test_search_returns_the_first_step_accepted"],
    edit={" - c * step * slope": ""},
)
wrong(
    "backtracking_line_search",
    "takes the length of the gradient where its square belongs",
    fails=["test_search_returns_the_first_step_accepted"],
    edit={"gradient @ gradient": "np.linalg.norm(gradient)"},
)
wrong(
    "backtracking_line_search",
    "accepts nan, for it asks whether the condition is broken",
    fails=["test_search_never_accepts_nan"],
    edit={"if loss": "if not loss", "<= here": "> here"},
)
wrong(
    "backtracking_line_search",
    "computes the loss at theta anew in every trial",
    fails=["test_search_wastes_no_evaluation"],
    edit={"here = loss(theta)\n    ": "", "<= here": "<= loss(theta)"},
)
wrong(
    "backtracking_line_search",
    "returns the last step though it was refused",
    fails=["test_search_wastes_no_evaluation", "test_search_never_accepts_nan"],
    edit={"return 0.0": "return step"},
)
wrong(
    "backtracking_line_search",
    "tries one step more than max_trials",
    fails=["test_search_takes_every_kind_of_array", "test_search_wastes_no_evaluation"],
    edit={"range(max_trials)": "range(max_trials + 1)"},
)
wrong(
    "backtracking_line_search",
    "shrinks the accepted step once more",
    fails=[
        "test_search_returns_the_first_step_accepted",
        "test_search_takes_every_kind_of_array",
        "test_search_at_a_stationary_point",
    ],
    edit={"return step\n": "return step * shrink\n"},
)


@right("backtracking_line_search", "a generator of trial steps")
def by_a_generator(loss, theta, gradient, lr=1.0, shrink=0.5, c=1e-4, max_trials=50):
    start, needed = loss(theta), c * np.sum(gradient**2)
    trials = (lr * shrink**k for k in range(max_trials))
    return next((t for t in trials if start - loss(theta - t * gradient) >= t * needed), 0.0)


@right("backtracking_line_search", "a while loop with NumPy scalars")
def by_a_while_loop(loss, theta, gradient, lr=1.0, shrink=0.5, c=1e-4, max_trials=50):
    start, trial, t = np.float64(loss(theta)), 0, np.float64(lr)
    while trial < max_trials:
        there = loss(np.add(theta, -t * gradient))
        if math.isfinite(there) and there <= start - c * t * np.linalg.norm(gradient) ** 2:
            return t
        trial, t = trial + 1, t * shrink
    return np.float64(0)


# ------------------------------------------------------------------------------------------------------- nesterov

wrong(
    "nesterov",
    "does plain gradient descent",
    fails=["test_nesterov_visits_the_right_points"],
    edit={"ahead + (t - 1) / t_next * (ahead - theta)": "ahead"},
)
wrong(
    "nesterov",
    "takes the gradient at theta, not at the look-ahead point: Polyak's heavy ball",
    fails=["test_nesterov_visits_the_right_points"],
    edit={
        "v = ahead + (t - 1) / t_next * (ahead - theta)": "v, theta = ahead + (t - 1) / t_next * (v - theta), v",
        "theta, t = ahead, t_next": "t = t_next",
    },
)
wrong(
    "nesterov",
    "uses a constant momentum of 0.9 instead of the growing weight",
    fails=["test_nesterov_visits_the_right_points"],
    edit={"(t - 1) / t_next": "0.9"},
)
wrong(
    "nesterov",
    "divides t_k - 1 by t_k instead of by t_{k+1}",
    fails=["test_nesterov_visits_the_right_points"],
    edit={"(t - 1) / t_next": "(t - 1) / t"},
)
wrong(
    "nesterov",
    "returns theta, not the look-ahead point at which grad was asked last",
    fails=["test_nesterov_visits_the_right_points"],
    edit={"return v,": "return theta,"},
)
wrong(
    "nesterov",
    "returns theta, not the look-ahead point, where a small gradient ends the walk",
    fails=["test_nesterov_stops_at_a_small_gradient"],
    edit={"<= tol:\n            break": "<= tol:\n            return theta, history"},
)
wrong(
    "nesterov",
    "makes the step from the look-ahead point, with the gradient at theta",
    fails=["test_nesterov_visits_the_right_points"],
    edit={"grad(v)\n        history": "grad(theta)\n        history"},
)
wrong(
    "nesterov",
    "never stops before the last step",
    fails=["test_nesterov_stops_at_a_small_gradient"],
    edit={"np.linalg.norm(gradient) <= tol": "False"},
)


@right("nesterov", "a velocity that is carried along")
def by_velocity(grad, theta0, lr, steps=100, tol=0.0):
    point = theta0.astype(theta0.dtype if theta0.dtype.kind == "f" else float, copy=True)
    velocity, t, losses = np.zeros_like(point), 1.0, []
    for k in itertools.count():
        loss, gradient = grad(point)
        losses.append(loss)
        if k == steps or np.sqrt(gradient @ gradient) <= tol:
            break
        # The step of theta is the momentum that led to the look-ahead point, and the gradient step from there.
        velocity = velocity - lr * gradient
        t, weight = 0.5 + math.sqrt(0.25 + t * t), t - 1
        weight /= t
        point = point - lr * gradient + weight * velocity
        velocity = weight * velocity
    return point, np.array(losses)


@right("nesterov", "all weights first, all points kept")
def with_everything_kept(grad, theta0, lr, steps=100, tol=0.0):
    ts = list(itertools.accumulate(range(steps), lambda t, _: (1 + (1 + 4 * t**2) ** 0.5) / 2, initial=1.0))
    thetas, points = [1.0 * theta0], [1.0 * theta0]
    answers = [grad(points[0])]
    while len(answers) <= steps and not np.linalg.norm(answers[-1][1]) <= tol:  # nan goes on
        k = len(answers) - 1
        thetas.append(points[k] - lr * answers[k][1])
        points.append(thetas[k + 1] + (ts[k] - 1) / ts[k + 1] * (thetas[k + 1] - thetas[k]))
        answers.append(grad(points[k + 1]))
    return points[-1], [loss for loss, _ in answers]


# ----------------------------------------------------------------------------------------------- chunked_gradient

wrong(
    "chunked_gradient",
    "takes the mean of the chunks' means, so that a row in a short chunk counts more",
    fails=["test_chunks_may_differ_in_size"],
    edit={
        "float(residual @ residual)": "float(residual @ residual) / max(len(y_c), 1)",
        "X_c.T @ residual": "X_c.T @ residual / max(len(y_c), 1)",
        "m += len(y_c)": "m += len(y_c) > 0",
    },
)
wrong(
    "chunked_gradient",
    "repairs the gradient and still takes the mean of the chunks' losses",
    fails=["test_chunks_may_differ_in_size"],
    edit={
        "m, squares, gradient = 0,": "number, m, squares, gradient = 0, 0,",
        "float(residual @ residual)": "float(residual @ residual) / max(len(y_c), 1)",
        "m += len(y_c)": "m += len(y_c)\n        number += len(y_c) > 0",
        "(2 * m)": "(2 * number)",
    },
)
wrong(
    "chunked_gradient",
    "divides the gradient of each chunk by its rows, and then the sum by all rows again",
    fails=["test_chunks_may_differ_in_size"],
    edit={"gradient += X_c.T @ residual": "gradient += X_c.T @ residual / max(len(y_c), 1)"},
)
wrong(
    "chunked_gradient",
    "adds up over all rows and never divides",
    fails=["test_chunks_may_differ_in_size"],
    edit={"squares / (2 * m), gradient / m": "squares / 2, gradient"},
)
wrong(
    "chunked_gradient",
    "puts all chunks together first, which holds the whole data in memory",
    fails=["test_chunks_are_held_one_at_a_time"],
    edit={"in chunks:": "in list(chunks):"},
)
wrong(
    "chunked_gradient",
    "returns nan where there are no rows",
    fails=["test_chunks_without_a_row_are_refused"],
    edit={"m == 0": "False", "squares / (2 * m)": "np.float64(squares) / (2 * m)"},
)


@right("chunked_gradient", "running means, moved towards each chunk's own")
def by_running_means(chunks, theta):
    m, loss, gradient = 0, 0.0, np.zeros(len(theta))
    for X_c, y_c in chunks:
        if len(y_c) == 0:
            continue
        residual = X_c @ theta - y_c
        m += len(y_c)
        share = len(y_c) / m
        loss += share * (np.mean(np.square(residual, dtype=float)) / 2 - loss)
        gradient += share * (residual @ X_c / len(y_c) - gradient)
    if not m:
        raise ValueError("no rows")
    return loss, gradient


@right("chunked_gradient", "summaries that are folded together")
def by_folding(chunks, theta):
    def summary(chunk):
        residual = np.einsum("ij,j->i", chunk[0], theta) - chunk[1]
        return len(chunk[1]), np.sum(residual**2), np.einsum("ij,i->j", chunk[0], residual)

    def merge(one, other):
        return tuple(a + b for a, b in zip(one, other, strict=True))

    m, squares, gradient = functools.reduce(merge, map(summary, chunks), (0, 0.0, np.zeros(len(theta))))
    if m == 0:
        raise ValueError("no rows")
    return squares / m / 2, gradient / m
