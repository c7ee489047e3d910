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


@wrong("mse_loss", "takes the mean of the squares, without the half", fails=["test_loss_is_half_the_mean_square"])
def without_the_half(X, y, theta):
    if len(X) == 0 or np.shape(y) != (len(X),):
        raise ValueError("no rows, or y is no vector of that length")
    return float(np.mean((X @ theta - y) ** 2))


@wrong(
    "mse_loss",
    "adds up half the squares and does not divide by the number of rows",
    fails=["test_loss_is_half_the_mean_square"],
)
def sum_of_squares(X, y, theta):
    if len(X) == 0 or np.shape(y) != (len(X),):
        raise ValueError("no rows, or y is no vector of that length")
    return 0.5 * float(np.sum((X @ theta - y) ** 2))


@wrong("mse_loss", "averages over the features instead of the rows", fails=["test_loss_is_half_the_mean_square"])
def over_the_features(X, y, theta):
    if len(X) == 0 or np.shape(y) != (len(X),):
        raise ValueError("no rows, or y is no vector of that length")
    return float(np.sum((X @ theta - y) ** 2)) / (2 * X.shape[1])


@wrong("mse_loss", "leaves out the square", fails=["test_loss_is_half_the_mean_square"])
def absolute_error(X, y, theta):
    if len(X) == 0 or np.shape(y) != (len(X),):
        raise ValueError("no rows, or y is no vector of that length")
    return float(np.mean(np.abs(X @ theta - y))) / 2


@wrong(
    "mse_loss",
    "lets NumPy broadcast a y of shape (m, 1) to a square of residuals",
    fails=["test_loss_refuses_a_column"],
)
def broadcasts(X, y, theta):
    if len(X) == 0:
        raise ValueError("no rows")
    return float(np.mean((X @ theta - y) ** 2)) / 2


@wrong("mse_loss", "flattens a y of shape (m, 1) silently", fails=["test_loss_refuses_a_column"])
def flattens(X, y, theta):
    if len(X) == 0:
        raise ValueError("no rows")
    return float(np.mean((X @ theta - np.ravel(y)) ** 2)) / 2


@wrong("mse_loss", "returns nan where there are no rows", fails=["test_loss_refuses_no_rows"])
def mean_over_nothing(X, y, theta):
    if np.shape(y) != (len(X),):
        raise ValueError("y is no vector of that length")
    return np.mean((X @ theta - y) ** 2) / 2


@wrong("mse_loss", "writes the residuals into y", fails=["test_loss_leaves_its_arguments"])
def residuals_in_place(X, y, theta):
    if len(X) == 0 or np.shape(y) != (len(X),):
        raise ValueError("no rows, or y is no vector of that length")
    if y.dtype.kind == "f" and y.flags.writeable:
        y -= X @ theta
        return float(y @ y) / (2 * len(y))
    return float(np.mean((X @ theta - y) ** 2)) / 2


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
    X, y, theta = (np.array(array, dtype=np.result_type(X, y, theta)) for array in (X, y, theta))
    prediction = torch.from_numpy(X) @ torch.from_numpy(theta)
    return torch.nn.functional.mse_loss(prediction, torch.from_numpy(y)).item() / 2


@right("mse_loss", "a mean, as a NumPy scalar")
def loss_by_mean(X, y, theta):
    if X.shape[0] < 1:
        raise ValueError("no rows")
    if y.ndim != 1 or len(y) != len(X):
        raise ValueError("y is no vector of that length")
    return np.mean(np.square(X.dot(theta) - y)) / 2


# --------------------------------------------------------------------------------------------------- mse_gradient


@wrong(
    "mse_gradient",
    "takes the gradient of 1/m * ||r||^2, twice the gradient of this module's loss",
    fails=["test_gradient_agrees_with_autograd", "test_gradient_predicts_the_slope_of_the_loss"],
)
def twice_the_gradient(X, y, theta):
    return 2 * X.T @ (X @ theta - y) / len(y)


@wrong(
    "mse_gradient",
    "divides by 2m, though the square's derivative has cancelled the 2",
    fails=["test_gradient_agrees_with_autograd"],
)
def half_the_gradient(X, y, theta):
    return X.T @ (X @ theta - y) / (2 * len(y))


@wrong(
    "mse_gradient",
    "averages over the features instead of the rows",
    fails=["test_gradient_agrees_with_autograd", "test_gradient_predicts_the_slope_of_the_loss"],
)
def gradient_over_features(X, y, theta):
    return X.T @ (X @ theta - y) / X.shape[1]


@wrong("mse_gradient", "adds up over the rows and does not divide", fails=["test_gradient_agrees_with_autograd"])
def gradient_of_the_sum(X, y, theta):
    return X.T @ (X @ theta - y)


@wrong(
    "mse_gradient",
    "takes the residual as y - X theta, and so points downhill",
    fails=["test_gradient_agrees_with_autograd", "test_gradient_predicts_the_slope_of_the_loss"],
)
def points_downhill(X, y, theta):
    return X.T @ (y - X @ theta) / len(y)


@wrong("mse_gradient", "returns a column of shape (d, 1)", fails=["test_gradient_agrees_with_autograd"])
def as_a_column(X, y, theta):
    return X.T @ (X @ theta - y).reshape(-1, 1) / len(y)


@wrong(
    "mse_gradient",
    "multiplies X.T by X first, which takes d * d numbers",
    fails=["test_gradient_forms_no_square_matrix"],
)
def by_the_gram_matrix(X, y, theta):
    return ((X.T @ X) @ theta - X.T @ y) / len(y)


@wrong(
    "mse_gradient", "averages the sign of the residual, not the residual", fails=["test_gradient_agrees_with_autograd"]
)
def of_the_absolute_error(X, y, theta):
    return X.T @ np.sign(X @ theta - y) / len(y)


@wrong("mse_gradient", "writes the residuals into y", fails=["test_gradient_leaves_its_arguments"])
def gradient_in_place(X, y, theta):
    if y.dtype.kind == "f" and y.flags.writeable:
        y -= X @ theta
        return -X.T @ y / len(y)
    return X.T @ (X @ theta - y) / len(y)


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


@right("mse_gradient", "torch's own differentiation")
def gradient_by_autograd(X, y, theta):
    X, y, theta = (torch.tensor(np.array(array, dtype=float)) for array in (X, y, theta))
    theta.requires_grad_()
    loss = ((X @ theta - y) ** 2).mean() / 2
    return torch.autograd.grad(loss, theta)[0].numpy()


@right("mse_gradient", "a mean for each column")
def gradient_by_columns(X, y, theta):
    residual = X.dot(theta) - y
    return np.array([np.mean(residual * X[:, j]) for j in range(X.shape[1])])


# ----------------------------------------------------------------------------------------------- gradient_descent


@wrong("gradient_descent", "adds the gradient and goes uphill", fails=["test_walk_follows_the_closed_form"])
def uphill(grad, theta0, lr, steps=100, tol=0.0):
    theta = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    loss, gradient = grad(theta)
    history = [loss]
    for _ in range(steps):
        if np.linalg.norm(gradient) <= tol:
            break
        theta = theta + lr * gradient
        loss, gradient = grad(theta)
        history.append(loss)
    return theta, history


@wrong(
    "gradient_descent",
    "notes the loss before each step only, so that the last point's loss is missing",
    fails=["test_walk_follows_the_closed_form", "test_walk_asks_once_for_each_loss"],
)
def one_loss_short(grad, theta0, lr, steps=100, tol=0.0):
    theta = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    history = []
    for _ in range(steps):
        loss, gradient = grad(theta)
        history.append(loss)
        if np.linalg.norm(gradient) <= tol:
            break
        theta = theta - lr * gradient
    return theta, history


@wrong(
    "gradient_descent",
    "notes the loss after each step only, so that the first point's loss is missing",
    fails=["test_walk_follows_the_closed_form"],
)
def first_loss_missing(grad, theta0, lr, steps=100, tol=0.0):
    theta = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    history = []
    _, gradient = grad(theta)
    for _ in range(steps):
        if np.linalg.norm(gradient) <= tol:
            break
        theta = theta - lr * gradient
        loss, gradient = grad(theta)
        history.append(loss)
    return theta, history


@wrong(
    "gradient_descent",
    "stops when the loss changes little, not when the gradient is small",
    fails=["test_walk_stops_at_a_small_gradient"],
)
def stops_by_the_loss(grad, theta0, lr, steps=100, tol=0.0):
    theta = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    loss, gradient = grad(theta)
    history = [loss]
    for _ in range(steps):
        theta = theta - lr * gradient
        loss, gradient = grad(theta)
        history.append(loss)
        if abs(history[-2] - history[-1]) < tol:
            break
    return theta, history


@wrong("gradient_descent", "never stops before the last step", fails=["test_walk_stops_at_a_small_gradient"])
def ignores_tol(grad, theta0, lr, steps=100, tol=0.0):
    theta = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    loss, gradient = grad(theta)
    history = [loss]
    for _ in range(steps):
        theta = theta - lr * gradient
        loss, gradient = grad(theta)
        history.append(loss)
    return theta, history


@wrong(
    "gradient_descent",
    "looks at the gradient's length only after a step, and so leaves a start that has converged",
    fails=["test_walk_stops_at_a_small_gradient"],
)
def steps_before_looking(grad, theta0, lr, steps=100, tol=0.0):
    theta = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    loss, gradient = grad(theta)
    history = [loss]
    for _ in range(steps):
        theta = theta - lr * gradient
        loss, gradient = grad(theta)
        history.append(loss)
        if np.linalg.norm(gradient) <= tol:
            break
    return theta, history


@wrong(
    "gradient_descent",
    "compares tol with the gradient's largest entry, not with its Euclidean length",
    fails=["test_walk_measures_the_euclidean_norm"],
)
def largest_entry(grad, theta0, lr, steps=100, tol=0.0):
    theta = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    loss, gradient = grad(theta)
    history = [loss]
    for _ in range(steps):
        if np.max(np.abs(gradient)) <= tol:
            break
        theta = theta - lr * gradient
        loss, gradient = grad(theta)
        history.append(loss)
    return theta, history


@wrong(
    "gradient_descent",
    "asks grad twice at each point, once for the loss and once for the gradient",
    fails=["test_walk_asks_once_for_each_loss"],
)
def asks_twice(grad, theta0, lr, steps=100, tol=0.0):
    theta = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    history = [grad(theta)[0]]
    for _ in range(steps):
        gradient = grad(theta)[1]
        if np.linalg.norm(gradient) <= tol:
            break
        theta = theta - lr * gradient
        history.append(grad(theta)[0])
    return theta, history


@wrong("gradient_descent", "walks in theta0's own memory", fails=["test_walk_leaves_the_start"])
def overwrites_the_start(grad, theta0, lr, steps=100, tol=0.0):
    theta = theta0 if theta0.dtype.kind == "f" else theta0.astype(float)
    loss, gradient = grad(theta)
    history = [loss]
    for _ in range(steps):
        if np.linalg.norm(gradient) <= tol:
            break
        theta -= lr * gradient
        loss, gradient = grad(theta)
        history.append(loss)
    return theta, history


@wrong("gradient_descent", "keeps a start of integers in integers", fails=["test_walk_may_start_from_integers"])
def keeps_integers(grad, theta0, lr, steps=100, tol=0.0):
    theta = theta0.copy()
    loss, gradient = grad(theta)
    history = [loss]
    for _ in range(steps):
        if np.linalg.norm(gradient) <= tol:
            break
        theta -= (lr * gradient).astype(theta.dtype)
        loss, gradient = grad(theta)
        history.append(loss)
    return theta, history


@wrong("gradient_descent", "turns float32 into float64", fails=["test_walk_keeps_single_precision"])
def always_double(grad, theta0, lr, steps=100, tol=0.0):
    theta = np.array(theta0, dtype=np.float64)
    loss, gradient = grad(theta)
    history = [loss]
    for _ in range(steps):
        if np.linalg.norm(gradient) <= tol:
            break
        theta = theta - lr * gradient
        loss, gradient = grad(theta)
        history.append(loss)
    return theta, history


@wrong("gradient_descent", "gives up when the loss rises", fails=["test_walk_reports_divergence"])
def gives_up(grad, theta0, lr, steps=100, tol=0.0):
    theta = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    loss, gradient = grad(theta)
    history = [loss]
    for _ in range(steps):
        if np.linalg.norm(gradient) <= tol or not math.isfinite(loss):
            break
        theta = theta - lr * gradient
        loss, gradient = grad(theta)
        history.append(loss)
    return theta, history


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


@wrong(
    "largest_stable_lr",
    "returns 1 / lambda_max, half the limit",
    fails=["test_limit_is_two_over_the_largest_eigenvalue", "test_limit_separates_convergence_from_explosion"],
)
def half_the_limit(X, steps=100, seed=0):
    v = np.random.default_rng(seed).standard_normal(X.shape[1])
    largest = 0.0
    for _ in range(steps):
        v = v / np.linalg.norm(v)
        v = X.T @ (X @ v) / len(X)
        largest = np.linalg.norm(v)
        if largest == 0:
            return math.inf
    return 1 / largest


@wrong(
    "largest_stable_lr",
    "takes the eigenvalue of X.T X, which is not yet divided by the number of rows",
    fails=["test_limit_is_two_over_the_largest_eigenvalue"],
)
def without_the_mean(X, steps=100, seed=0):
    v = np.random.default_rng(seed).standard_normal(X.shape[1])
    largest = 0.0
    for _ in range(steps):
        v = v / np.linalg.norm(v)
        v = X.T @ (X @ v)
        largest = np.linalg.norm(v)
        if largest == 0:
            return math.inf
    return 2 / largest


@wrong(
    "largest_stable_lr",
    "takes the largest singular value of X for the eigenvalue of X.T X / m, its square over m",
    fails=["test_limit_is_two_over_the_largest_eigenvalue"],
)
def singular_value(X, steps=100, seed=0):
    v = np.random.default_rng(seed).standard_normal(X.shape[1])
    largest = 0.0
    for _ in range(steps):
        v = v / np.linalg.norm(v)
        v = X.T @ (X @ v) / len(X)
        largest = np.linalg.norm(v)
        if largest == 0:
            return math.inf
    return 2 / np.sqrt(largest * len(X))


@wrong(
    "largest_stable_lr",
    "starts from a vector of ones, which some data send to zero",
    fails=["test_limit_starts_at_random"],
)
def starts_from_ones(X, steps=100, seed=0):
    v = np.ones(X.shape[1])
    largest = 0.0
    for _ in range(steps):
        v = v / np.linalg.norm(v)
        v = X.T @ (X @ v) / len(X)
        largest = np.linalg.norm(v)
        if largest == 0:
            return math.inf
    return 2 / largest


@wrong(
    "largest_stable_lr",
    "starts along the first axis, which may be at right angles to the eigenvector",
    fails=["test_limit_starts_at_random"],
)
def starts_on_an_axis(X, steps=100, seed=0):
    v = np.zeros(X.shape[1])
    v[0] = 1.0
    largest = 0.0
    for _ in range(steps):
        v = v / np.linalg.norm(v)
        v = X.T @ (X @ v) / len(X)
        largest = np.linalg.norm(v)
        if largest == 0:
            return math.inf
    return 2 / largest


@wrong(
    "largest_stable_lr",
    "never scales the vector back to length 1, so that it overflows or vanishes",
    fails=["test_limit_keeps_its_scale"],
)
def never_scales(X, steps=100, seed=0):
    v = np.random.default_rng(seed).standard_normal(X.shape[1])
    largest = 0.0
    for _ in range(steps):
        product = X.T @ (X @ v) / len(X)
        if not product.any():
            return math.inf
        largest = np.linalg.norm(product) / np.linalg.norm(v)
        v = product
    return 2 / largest


@wrong(
    "largest_stable_lr",
    "forms X.T X, which takes d * d numbers",
    fails=["test_limit_forms_no_square_matrix"],
)
def forms_the_gram_matrix(X, steps=100, seed=0):
    H = X.T @ X / len(X)
    v = np.random.default_rng(seed).standard_normal(X.shape[1])
    largest = 0.0
    for _ in range(steps):
        v = v / np.linalg.norm(v)
        v = H @ v
        largest = np.linalg.norm(v)
        if largest == 0:
            return math.inf
    return 2 / largest


@wrong(
    "largest_stable_lr",
    "computes all singular values instead of doing the rounds it is told",
    fails=["test_limit_is_approached_from_above"],
)
def by_a_matrix_norm(X, steps=100, seed=0):
    largest = np.linalg.norm(X, 2) ** 2 / len(X)
    return 2 / largest if largest > 0 else math.inf


@wrong("largest_stable_lr", "divides by zero where X is zero", fails=["test_limit_of_nothing_is_infinite"])
def zero_divided_by_zero(X, steps=100, seed=0):
    v = np.random.default_rng(seed).standard_normal(X.shape[1])
    largest = 0.0
    for _ in range(steps):
        v = v / np.linalg.norm(v)
        v = X.T @ (X @ v) / len(X)
        largest = np.linalg.norm(v)
    return 2 / largest


equivalent(
    "largest_stable_lr",
    diff="""
    - for _ in range(steps):
    + for _ in range(0, steps + 1):
    """,
    reason="the start is any random vector and the estimate one of two, so nobody can tell how many rounds led to it",
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
    A = torch.tensor(np.array(X, dtype=float))
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


@wrong(
    "backtracking_line_search",
    "accepts any decrease, whatever c",
    fails=["test_search_returns_the_first_step_accepted"],
)
def any_decrease(loss, theta, gradient, lr=1.0, shrink=0.5, c=1e-4, max_trials=50):
    here, t = loss(theta), lr
    for _ in range(max_trials):
        if loss(theta - t * gradient) <= here:
            return t
        t *= shrink
    return 0.0


@wrong(
    "backtracking_line_search",
    "takes the length of the gradient where its square belongs",
    fails=["test_search_returns_the_first_step_accepted"],
)
def length_not_squared(loss, theta, gradient, lr=1.0, shrink=0.5, c=1e-4, max_trials=50):
    here, t = loss(theta), lr
    for _ in range(max_trials):
        if loss(theta - t * gradient) <= here - c * t * np.linalg.norm(gradient):
            return t
        t *= shrink
    return 0.0


@wrong(
    "backtracking_line_search",
    "asks for the same decrease at every step, without the factor t",
    fails=["test_search_returns_the_first_step_accepted"],
)
def without_t(loss, theta, gradient, lr=1.0, shrink=0.5, c=1e-4, max_trials=50):
    here, t = loss(theta), lr
    for _ in range(max_trials):
        if loss(theta - t * gradient) <= here - c * float(gradient @ gradient):
            return t
        t *= shrink
    return 0.0


@wrong(
    "backtracking_line_search",
    "lets the loss rise by c * t * ||gradient||^2",
    fails=["test_search_returns_the_first_step_accepted"],
)
def lets_the_loss_rise(loss, theta, gradient, lr=1.0, shrink=0.5, c=1e-4, max_trials=50):
    here, t = loss(theta), lr
    for _ in range(max_trials):
        if loss(theta - t * gradient) <= here + c * t * float(gradient @ gradient):
            return t
        t *= shrink
    return 0.0


@wrong(
    "backtracking_line_search",
    "accepts nan, for it asks whether the condition is broken",
    fails=["test_search_never_accepts_nan"],
)
def accepts_nan(loss, theta, gradient, lr=1.0, shrink=0.5, c=1e-4, max_trials=50):
    here, t = loss(theta), lr
    for _ in range(max_trials):
        if not loss(theta - t * gradient) > here - c * t * float(gradient @ gradient):
            return t
        t *= shrink
    return 0.0


@wrong(
    "backtracking_line_search",
    "computes the loss at theta anew in every trial",
    fails=["test_search_wastes_no_evaluation"],
)
def asks_at_theta_again(loss, theta, gradient, lr=1.0, shrink=0.5, c=1e-4, max_trials=50):
    t = lr
    for _ in range(max_trials):
        if loss(theta - t * gradient) <= loss(theta) - c * t * float(gradient @ gradient):
            return t
        t *= shrink
    return 0.0


@wrong(
    "backtracking_line_search",
    "shrinks the accepted step once more",
    fails=["test_search_returns_the_first_step_accepted"],
)
def shrinks_once_more(loss, theta, gradient, lr=1.0, shrink=0.5, c=1e-4, max_trials=50):
    here, t = loss(theta), lr
    for _ in range(max_trials):
        accepted = loss(theta - t * gradient) <= here - c * t * float(gradient @ gradient)
        t *= shrink
        if accepted:
            return t
    return 0.0


@wrong("backtracking_line_search", "returns the last step though it was refused", fails=["test_search_gives_up"])
def returns_a_refused_step(loss, theta, gradient, lr=1.0, shrink=0.5, c=1e-4, max_trials=50):
    here, t = loss(theta), lr
    for _ in range(max_trials):
        if loss(theta - t * gradient) <= here - c * t * float(gradient @ gradient):
            break
        t *= shrink
    return t


@wrong(
    "backtracking_line_search", "always halves, whatever shrink", fails=["test_search_returns_the_first_step_accepted"]
)
def always_halves(loss, theta, gradient, lr=1.0, shrink=0.5, c=1e-4, max_trials=50):
    here, t = loss(theta), lr
    for _ in range(max_trials):
        if loss(theta - t * gradient) <= here - c * t * float(gradient @ gradient):
            return t
        t /= 2
    return 0.0


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


@wrong(
    "nesterov",
    "does plain gradient descent",
    fails=["test_nesterov_visits_the_right_points", "test_nesterov_keeps_its_promise"],
)
def plain_descent(grad, theta0, lr, steps=100, tol=0.0):
    theta = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    loss, gradient = grad(theta)
    history = [loss]
    for _ in range(steps):
        if np.linalg.norm(gradient) <= tol:
            break
        theta = theta - lr * gradient
        loss, gradient = grad(theta)
        history.append(loss)
    return theta, history


@wrong(
    "nesterov",
    "takes the gradient at theta, not at the look-ahead point: Polyak's heavy ball",
    fails=["test_nesterov_visits_the_right_points"],
)
def heavy_ball(grad, theta0, lr, steps=100, tol=0.0):
    theta = before = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    t = 1.0
    loss, gradient = grad(theta)
    history, weight = [loss], 0.0
    for _ in range(steps):
        if np.linalg.norm(gradient) <= tol:
            break
        theta, before = theta - lr * gradient + weight * (theta - before), theta
        t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
        weight, t = (t - 1) / t_next, t_next
        loss, gradient = grad(theta)
        history.append(loss)
    return theta, history


@wrong(
    "nesterov",
    "uses a constant momentum of 0.9 instead of the growing weight",
    fails=["test_nesterov_visits_the_right_points"],
)
def constant_momentum(grad, theta0, lr, steps=100, tol=0.0):
    theta = v = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    loss, gradient = grad(v)
    history = [loss]
    for _ in range(steps):
        if np.linalg.norm(gradient) <= tol:
            break
        ahead = v - lr * gradient
        v, theta = ahead + 0.9 * (ahead - theta), ahead
        loss, gradient = grad(v)
        history.append(loss)
    return v, history


@wrong(
    "nesterov",
    "divides t_k - 1 by t_k instead of by t_{k+1}",
    fails=["test_nesterov_visits_the_right_points"],
)
def old_t_below(grad, theta0, lr, steps=100, tol=0.0):
    theta = v = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    t = 1.0
    loss, gradient = grad(v)
    history = [loss]
    for _ in range(steps):
        if np.linalg.norm(gradient) <= tol:
            break
        ahead = v - lr * gradient
        v, theta = ahead + (t - 1) / t * (ahead - theta), ahead
        t = (1 + math.sqrt(1 + 4 * t * t)) / 2
        loss, gradient = grad(v)
        history.append(loss)
    return v, history


@wrong(
    "nesterov",
    "uses the weights k / (k + 3), another common choice",
    fails=["test_nesterov_visits_the_right_points"],
)
def other_weights(grad, theta0, lr, steps=100, tol=0.0):
    theta = v = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    loss, gradient = grad(v)
    history = [loss]
    for k in range(steps):
        if np.linalg.norm(gradient) <= tol:
            break
        ahead = v - lr * gradient
        v, theta = ahead + k / (k + 3) * (ahead - theta), ahead
        loss, gradient = grad(v)
        history.append(loss)
    return v, history


@wrong(
    "nesterov",
    "returns theta, not the look-ahead point at which grad was asked last",
    fails=["test_nesterov_visits_the_right_points"],
)
def returns_theta(grad, theta0, lr, steps=100, tol=0.0):
    theta = v = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    t = 1.0
    loss, gradient = grad(v)
    history = [loss]
    for _ in range(steps):
        if np.linalg.norm(gradient) <= tol:
            break
        ahead = v - lr * gradient
        t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
        v = ahead + (t - 1) / t_next * (ahead - theta)
        theta, t = ahead, t_next
        loss, gradient = grad(v)
        history.append(loss)
    return theta, history


@wrong(
    "nesterov",
    "moves on from the look-ahead point's own last step, not from theta's",
    fails=["test_nesterov_visits_the_right_points"],
)
def momentum_of_v(grad, theta0, lr, steps=100, tol=0.0):
    v = before = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    t = 1.0
    loss, gradient = grad(v)
    history = [loss]
    for _ in range(steps):
        if np.linalg.norm(gradient) <= tol:
            break
        ahead = v - lr * gradient
        t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
        v, before, t = ahead + (t - 1) / t_next * (ahead - before), v, t_next
        loss, gradient = grad(v)
        history.append(loss)
    return v, history


@wrong("nesterov", "never stops before the last step", fails=["test_nesterov_stops_at_a_small_gradient"])
def nesterov_without_tol(grad, theta0, lr, steps=100, tol=0.0):
    theta = v = np.array(theta0, dtype=np.result_type(theta0, np.float32))
    t = 1.0
    loss, gradient = grad(v)
    history = [loss]
    for _ in range(steps):
        ahead = v - lr * gradient
        t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
        v = ahead + (t - 1) / t_next * (ahead - theta)
        theta, t = ahead, t_next
        loss, gradient = grad(v)
        history.append(loss)
    return v, history


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
    while len(answers) <= steps and np.linalg.norm(answers[-1][1]) > tol:
        k = len(answers) - 1
        thetas.append(points[k] - lr * answers[k][1])
        points.append(thetas[k + 1] + (ts[k] - 1) / ts[k + 1] * (thetas[k + 1] - thetas[k]))
        answers.append(grad(points[k + 1]))
    return points[-1], [loss for loss, _ in answers]


# ----------------------------------------------------------------------------------------------- chunked_gradient


@wrong(
    "chunked_gradient",
    "takes the mean of the chunks' means, so that a row in a short chunk counts more",
    fails=["test_chunks_may_differ_in_size"],
)
def mean_of_means(chunks, theta):
    number, loss, gradient = 0, 0.0, np.zeros(len(theta))
    for X_c, y_c in chunks:
        if len(y_c):
            residual = X_c @ theta - y_c
            loss += float(residual @ residual) / (2 * len(y_c))
            gradient += X_c.T @ residual / len(y_c)
            number += 1
    if number == 0:
        raise ValueError("no rows")
    return loss / number, gradient / number


@wrong(
    "chunked_gradient",
    "repairs the gradient and still takes the mean of the chunks' losses",
    fails=["test_chunks_may_differ_in_size"],
)
def loss_not_repaired(chunks, theta):
    m, number, loss, gradient = 0, 0, 0.0, np.zeros(len(theta))
    for X_c, y_c in chunks:
        if len(y_c):
            residual = X_c @ theta - y_c
            loss += float(residual @ residual) / (2 * len(y_c))
            gradient += X_c.T @ residual
            m, number = m + len(y_c), number + 1
    if m == 0:
        raise ValueError("no rows")
    return loss / number, gradient / m


@wrong(
    "chunked_gradient",
    "repairs the loss and still takes the mean of the chunks' gradients",
    fails=["test_chunks_may_differ_in_size"],
)
def gradient_not_repaired(chunks, theta):
    m, number, squares, gradient = 0, 0, 0.0, np.zeros(len(theta))
    for X_c, y_c in chunks:
        if len(y_c):
            residual = X_c @ theta - y_c
            squares += float(residual @ residual)
            gradient += X_c.T @ residual / len(y_c)
            m, number = m + len(y_c), number + 1
    if m == 0:
        raise ValueError("no rows")
    return squares / (2 * m), gradient / number


@wrong(
    "chunked_gradient",
    "takes every chunk to be as long as the first",
    fails=["test_chunks_may_differ_in_size"],
)
def as_long_as_the_first(chunks, theta):
    number, rows, squares, gradient = 0, 0, 0.0, np.zeros(len(theta))
    for X_c, y_c in chunks:
        if len(y_c):
            rows = rows or len(y_c)
            residual = X_c @ theta - y_c
            squares += float(residual @ residual)
            gradient += X_c.T @ residual
            number += 1
    if number == 0:
        raise ValueError("no rows")
    return squares / (2 * rows * number), gradient / (rows * number)


@wrong("chunked_gradient", "adds up over all rows and never divides", fails=["test_chunks_may_differ_in_size"])
def sum_over_rows(chunks, theta):
    m, squares, gradient = 0, 0.0, np.zeros(len(theta))
    for X_c, y_c in chunks:
        residual = X_c @ theta - y_c
        squares += float(residual @ residual)
        gradient += X_c.T @ residual
        m += len(y_c)
    if m == 0:
        raise ValueError("no rows")
    return squares / 2, gradient


@wrong(
    "chunked_gradient",
    "puts all chunks together first, which holds the whole data in memory",
    fails=["test_chunks_are_held_one_at_a_time"],
)
def puts_all_together(chunks, theta):
    chunks = list(chunks)
    if sum(len(y_c) for _, y_c in chunks) == 0:
        raise ValueError("no rows")
    X, y = np.concatenate([X_c for X_c, _ in chunks]), np.concatenate([y_c for _, y_c in chunks])
    residual = X @ theta - y
    return float(residual @ residual) / (2 * len(y)), X.T @ residual / len(y)


@wrong("chunked_gradient", "returns nan where there are no rows", fails=["test_chunks_without_a_row_are_refused"])
def nan_for_nothing(chunks, theta):
    m, squares, gradient = 0, np.float64(0), np.zeros(len(theta))
    for X_c, y_c in chunks:
        residual = X_c @ theta - y_c
        squares += residual @ residual
        gradient += X_c.T @ residual
        m += len(y_c)
    return squares / (2 * m), gradient / m


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
