"""Wrong and right answers that prove the hidden tests of module 02, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import itertools
import math

import numpy as np
import torch

from autograder.answers import equivalent, right, wrong

# ---------------------------------------------------------------------------------------------------- minibatches


@wrong(
    "minibatches",
    "shuffles whole batches of neighbouring rows, not the rows",
    fails=["test_batches_are_shuffled_rows"],
)
def shuffles_batches(m, batch_size, seed, epoch=0):
    starts = np.random.default_rng([seed, epoch]).permutation(range(0, m, batch_size))
    starts = [s for s in starts if s + batch_size <= m] + [s for s in starts if s + batch_size > m]
    return [np.arange(s, min(s + batch_size, m)) for s in starts]


@wrong("minibatches", "drops the last, short batch", fails=["test_batches_hold_every_row_once"])
def drops_the_rest(m, batch_size, seed, epoch=0):
    order = np.random.default_rng([seed, epoch]).permutation(m)
    return [order[i * batch_size : (i + 1) * batch_size] for i in range(m // batch_size)]


@wrong("minibatches", "adds an empty batch where the rows come out even", fails=["test_batches_hold_every_row_once"])
def empty_batch(m, batch_size, seed, epoch=0):
    order = np.random.default_rng([seed, epoch]).permutation(m)
    return [order[i * batch_size : (i + 1) * batch_size] for i in range(m // batch_size + 1)]


@wrong("minibatches", "draws each batch with replacement", fails=["test_batches_hold_every_row_once"])
def with_replacement(m, batch_size, seed, epoch=0):
    rng = np.random.default_rng([seed, epoch])
    return [rng.integers(m, size=min(batch_size, m - i)) for i in range(0, m, batch_size)]


@wrong(
    "minibatches",
    "adds seed and epoch, so that epoch 1 of one run is epoch 0 of the next",
    fails=["test_batches_differ_by_seed_and_by_epoch"],
)
def adds_seed_and_epoch(m, batch_size, seed, epoch=0):
    order = np.random.default_rng(seed + epoch).permutation(m)
    return [order[i : i + batch_size] for i in range(0, m, batch_size)]


@wrong(
    "minibatches",
    "takes no notice of the epoch, so that every epoch has the same batches",
    fails=["test_batches_differ_by_seed_and_by_epoch"],
)
def forgets_the_epoch(m, batch_size, seed, epoch=0):
    order = np.random.default_rng(seed).permutation(m)
    return [order[i : i + batch_size] for i in range(0, m, batch_size)]


@wrong("minibatches", "seeds NumPy's global generator", fails=["test_batches_leave_the_global_state"])
def seeds_the_world(m, batch_size, seed, epoch=0):
    np.random.seed([seed, epoch])
    order = np.random.permutation(m)
    return [order[i : i + batch_size] for i in range(0, m, batch_size)]


@wrong(
    "minibatches",
    "searches all rows that are left anew for each batch",
    fails=["test_batches_of_very_many_rows"],
)
def searches_what_is_left(m, batch_size, seed, epoch=0):
    rng, left, batches = np.random.default_rng([seed, epoch]), np.arange(m), []
    while len(left):
        batches.append(rng.permutation(left)[:batch_size])
        left = np.setdiff1d(left, batches[-1])
    return batches


@right("minibatches", "array_split at the edges, by another bit generator")
def by_splitting(m, batch_size, seed, epoch=0):
    rng = np.random.Generator(np.random.Philox(key=seed * 2**32 + epoch))
    order = np.arange(m)
    rng.shuffle(order)
    return np.split(order, range(batch_size, m, batch_size)) if m else []


@right("minibatches", "a random key for each row, sorted, by torch's generator")
def by_sorting(m, batch_size, seed, epoch=0):
    keys = torch.rand(m, generator=torch.Generator().manual_seed(seed * 100_003 + epoch), dtype=torch.float64)
    order = keys.argsort().numpy()
    batches = []
    while len(order):
        batches.append(order[:batch_size])
        order = order[batch_size:]
    return batches


# ------------------------------------------------------------------------------------------------------------ sgd


@wrong("sgd", "adds the gradient and goes uphill", fails=["test_sgd_makes_the_updates"])
def goes_uphill(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta, k = np.array(theta0, dtype=float if theta0.dtype.kind != "f" else theta0.dtype), 0
    thetas = [theta]
    for epoch in range(epochs):
        for rows in minibatches(m, batch_size, seed, epoch):
            theta = theta + lr(k) * grad(theta, rows)
            k += 1
        thetas.append(theta)
    return np.array(thetas, theta.dtype)


@wrong("sgd", "uses the batches of epoch 0 in every epoch", fails=["test_sgd_uses_the_batches_of_each_epoch"])
def always_epoch_0(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta, k = np.array(theta0, dtype=float if theta0.dtype.kind != "f" else theta0.dtype), 0
    thetas = [theta]
    for _ in range(epochs):
        for rows in minibatches(m, batch_size, seed):
            theta = theta - lr(k) * grad(theta, rows)
            k += 1
        thetas.append(theta)
    return np.array(thetas, theta.dtype)


@wrong("sgd", "counts the updates anew in each epoch", fails=["test_sgd_counts_its_updates"])
def counts_anew(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta = np.array(theta0, dtype=float if theta0.dtype.kind != "f" else theta0.dtype)
    thetas = [theta]
    for epoch in range(epochs):
        for k, rows in enumerate(minibatches(m, batch_size, seed, epoch)):
            theta = theta - lr(k) * grad(theta, rows)
        thetas.append(theta)
    return np.array(thetas, theta.dtype)


@wrong("sgd", "counts epochs, not updates, for the learning rate", fails=["test_sgd_counts_its_updates"])
def counts_epochs(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta = np.array(theta0, dtype=float if theta0.dtype.kind != "f" else theta0.dtype)
    thetas = [theta]
    for epoch in range(epochs):
        for rows in minibatches(m, batch_size, seed, epoch):
            theta = theta - lr(epoch) * grad(theta, rows)
        thetas.append(theta)
    return np.array(thetas, theta.dtype)


@wrong("sgd", "counts updates from 1", fails=["test_sgd_counts_its_updates"])
def counts_from_1(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta, k = np.array(theta0, dtype=float if theta0.dtype.kind != "f" else theta0.dtype), 0
    thetas = [theta]
    for epoch in range(epochs):
        for rows in minibatches(m, batch_size, seed, epoch):
            k += 1
            theta = theta - lr(k) * grad(theta, rows)
        thetas.append(theta)
    return np.array(thetas, theta.dtype)


@wrong("sgd", "notes theta after each epoch only, and leaves theta0 out", fails=["test_sgd_makes_the_updates"])
def without_the_start(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta, k = np.array(theta0, dtype=float if theta0.dtype.kind != "f" else theta0.dtype), 0
    thetas = []
    for epoch in range(epochs):
        for rows in minibatches(m, batch_size, seed, epoch):
            theta = theta - lr(k) * grad(theta, rows)
            k += 1
        thetas.append(theta)
    return np.array(thetas, theta.dtype)


@wrong(
    "sgd",
    "notes one and the same array again and again, which -= goes on changing",
    fails=["test_sgd_makes_the_updates"],
)
def notes_one_array(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta, k = np.array(theta0, dtype=float if theta0.dtype.kind != "f" else theta0.dtype), 0
    thetas = [theta]
    for epoch in range(epochs):
        for rows in minibatches(m, batch_size, seed, epoch):
            theta -= (lr(k) * grad(theta, rows)).astype(theta.dtype)
            k += 1
        thetas.append(theta)
    return np.array(thetas)


@wrong("sgd", "walks in theta0's own memory", fails=["test_sgd_leaves_its_arguments"])
def walks_in_theta0(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta, k = theta0 if theta0.dtype.kind == "f" and theta0.flags.writeable else theta0.astype(float), 0
    thetas = [theta.copy()]
    for epoch in range(epochs):
        for rows in minibatches(m, batch_size, seed, epoch):
            theta -= (lr(k) * grad(theta, rows)).astype(theta.dtype)
            k += 1
        thetas.append(theta.copy())
    return np.array(thetas)


@wrong("sgd", "always works in float64", fails=["test_sgd_has_the_dtype_of_its_start"])
def sgd_in_double(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta, k = np.array(theta0, dtype=float), 0
    thetas = [theta]
    for epoch in range(epochs):
        for rows in minibatches(m, batch_size, seed, epoch):
            theta = theta - lr(k) * grad(theta, rows)
            k += 1
        thetas.append(theta)
    return np.array(thetas)


equivalent(
    "sgd",
    diff="""
    - theta = np.array(theta0)
    + theta = theta0
    """,
    reason="theta is never changed in place, and thetas copies it",
)


@right("sgd", "one loop over all updates")
def in_one_loop(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    thetas = np.tile(theta0 if theta0.dtype.kind == "f" else theta0.astype(float), (epochs + 1, 1))
    per_epoch = math.ceil(m / batch_size)
    for k in range(epochs * per_epoch):
        epoch, place = divmod(k, per_epoch)
        if place == 0:
            batches = minibatches(m, batch_size, seed, epoch)
            thetas[epoch + 1] = thetas[epoch]
        thetas[epoch + 1] -= (lr(k) * np.asarray(grad(thetas[epoch + 1].copy(), batches[place]))).astype(thetas.dtype)
    return thetas


@right("sgd", "a counter that is an iterator, in torch")
def with_a_counter(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta = torch.tensor(np.array(theta0))
    theta = theta if theta.is_floating_point() else theta.double()
    thetas, clock = [theta.clone()], itertools.count()
    for epoch in range(epochs):
        for rows in minibatches(m, batch_size, seed, epoch):
            theta = theta.sub(torch.tensor(grad(theta.numpy(), rows)), alpha=lr(next(clock))).to(thetas[0].dtype)
        thetas.append(theta)
    return torch.stack(thetas).numpy()


# -------------------------------------------------------------------------------------------------- learning_rate


@wrong("learning_rate", "begins its warm-up at a rate of 0: k / warmup", fails=["test_rate_warms_up"])
def from_zero(k, peak, warmup, span, decay="cosine"):
    if k < warmup:
        return peak * k / warmup
    passed = (k - warmup) / span
    if decay == "cosine":
        return peak * (1 + math.cos(math.pi * min(passed, 1.0))) / 2
    if decay == "inverse":
        return peak / (1 + passed)
    raise ValueError(decay)


@wrong("learning_rate", "lets the cosine come up again", fails=["test_rate_stays_at_zero"])
def comes_up_again(k, peak, warmup, span, decay="cosine"):
    if k < warmup:
        return peak * (k + 1) / warmup
    passed = (k - warmup) / span
    if decay == "cosine":
        return peak * (1 + math.cos(math.pi * passed)) / 2
    if decay == "inverse":
        return peak / (1 + passed)
    raise ValueError(decay)


@wrong(
    "learning_rate",
    "counts the decay from update 0, not from the end of the warm-up",
    fails=["test_rate_falls_like_torchs_cosine", "test_rate_falls_like_one_over_time"],
)
def one_clock(k, peak, warmup, span, decay="cosine"):
    if k < warmup:
        return peak * (k + 1) / warmup
    passed = k / span
    if decay == "cosine":
        return peak * (1 + math.cos(math.pi * min(passed, 1.0))) / 2
    if decay == "inverse":
        return peak / (1 + passed)
    raise ValueError(decay)


@wrong(
    "learning_rate",
    "takes span to be the total, warm-up included",
    fails=["test_rate_falls_like_torchs_cosine"],
)
def span_is_the_total(k, peak, warmup, span, decay="cosine"):
    if k < warmup:
        return peak * (k + 1) / warmup
    if decay == "cosine":
        return peak * (1 + math.cos(math.pi * min((k - warmup) / max(span - warmup, 1), 1.0))) / 2
    if decay == "inverse":
        return peak / (1 + (k - warmup) / span)
    raise ValueError(decay)


@wrong("learning_rate", "takes a quarter of a wave, not half of one", fails=["test_rate_falls_like_torchs_cosine"])
def quarter_wave(k, peak, warmup, span, decay="cosine"):
    if k < warmup:
        return peak * (k + 1) / warmup
    passed = (k - warmup) / span
    if decay == "cosine":
        return peak * math.cos(math.pi / 2 * min(passed, 1.0))
    if decay == "inverse":
        return peak / (1 + passed)
    raise ValueError(decay)


@wrong("learning_rate", "decays like one over the root of time", fails=["test_rate_falls_like_one_over_time"])
def one_over_root(k, peak, warmup, span, decay="cosine"):
    if k < warmup:
        return peak * (k + 1) / warmup
    passed = (k - warmup) / span
    if decay == "cosine":
        return peak * (1 + math.cos(math.pi * min(passed, 1.0))) / 2
    if decay == "inverse":
        return peak / math.sqrt(1 + passed)
    raise ValueError(decay)


@wrong("learning_rate", "takes every other name for inverse-time decay", fails=["test_rate_knows_two_decays"])
def any_other_name(k, peak, warmup, span, decay="cosine"):
    if k < warmup:
        return peak * (k + 1) / warmup
    passed = (k - warmup) / span
    return peak * (1 + math.cos(math.pi * min(passed, 1.0))) / 2 if decay == "cosine" else peak / (1 + passed)


equivalent(
    "learning_rate",
    diff="""
    - return peak * (1 + math.cos(math.pi * min(passed, 1.0))) / 2
    + return peak * (1 + math.cos(math.pi * min(1.0, passed))) / 2
    """,
    reason="min does not care about the order of two numbers",
)


@right("learning_rate", "a squared cosine of half the angle, NumPy throughout")
def by_half_the_angle(k, peak, warmup, span, decay="cosine"):
    shapes = {
        "cosine": lambda t: np.cos(np.pi / 2 * np.clip(t, 0, 1)) ** 2,
        "inverse": lambda t: np.reciprocal(1.0 + np.maximum(t, 0)),
    }
    if decay not in shapes:
        raise ValueError("no such decay")
    if warmup and k < warmup:
        return float(np.linspace(0, peak, warmup + 1)[k + 1])
    return float(peak * shapes[decay](np.float64(k - warmup) / span))


@right("learning_rate", "the smaller of a ramp and a decay, with an early return at the end")
def ramp_and_decay(k, peak, warmup, span, decay="cosine"):
    j = k - warmup
    if j < 0:
        return (1 + k) * (peak / warmup)
    if decay not in {"cosine", "inverse"}:
        raise ValueError(decay)
    if decay == "inverse":
        return peak * span / (span + j)
    return 0.0 if j >= span else 0.5 * peak + 0.5 * peak * math.cos(j * math.pi / span)


# -------------------------------------------------------------------------------------------------- momentum_step


@wrong(
    "momentum_step",
    "takes a running mean: the gradient times 1 - beta",
    fails=["test_momentum_agrees_with_torch", "test_momentum_adds_up_a_geometric_series"],
)
def running_mean(theta, velocity, gradient, lr, beta=0.9):
    velocity = beta * velocity + (1 - beta) * gradient
    return theta - lr * velocity, velocity


@wrong("momentum_step", "steps with the old velocity", fails=["test_momentum_agrees_with_torch"])
def old_velocity(theta, velocity, gradient, lr, beta=0.9):
    return theta - lr * velocity, beta * velocity + gradient


@wrong(
    "momentum_step",
    "puts the learning rate and the sign into the velocity, as Polyak's form does",
    fails=["test_momentum_agrees_with_torch", "test_momentum_adds_up_a_geometric_series"],
)
def rate_inside(theta, velocity, gradient, lr, beta=0.9):
    velocity = beta * velocity - lr * gradient
    return theta + velocity, velocity


@wrong("momentum_step", "looks ahead, as Nesterov's form does", fails=["test_momentum_agrees_with_torch"])
def looks_ahead(theta, velocity, gradient, lr, beta=0.9):
    velocity = beta * velocity + gradient
    return theta - lr * (gradient + beta * velocity), velocity


@wrong("momentum_step", "goes uphill", fails=["test_momentum_agrees_with_torch"])
def momentum_uphill(theta, velocity, gradient, lr, beta=0.9):
    velocity = beta * velocity + gradient
    return theta + lr * velocity, velocity


@wrong("momentum_step", "changes the velocity in place", fails=["test_momentum_leaves_its_arguments"])
def velocity_in_place(theta, velocity, gradient, lr, beta=0.9):
    if velocity.flags.writeable:
        velocity *= beta
        velocity += gradient
        return theta - lr * velocity, velocity
    velocity = beta * velocity + gradient
    return theta - lr * velocity, velocity


@wrong("momentum_step", "returns the velocity first", fails=["test_momentum_agrees_with_torch"])
def velocity_first(theta, velocity, gradient, lr, beta=0.9):
    velocity = beta * velocity + gradient
    return velocity, theta - lr * velocity


@right("momentum_step", "copies that are changed in place")
def momentum_on_copies(theta, velocity, gradient, lr, beta=0.9):
    theta, velocity = theta.copy(), velocity.copy()
    velocity *= beta
    velocity += gradient
    theta -= lr * velocity
    return theta, velocity


@right("momentum_step", "torch.optim.SGD's own arithmetic, as a list")
def momentum_by_torch(theta, velocity, gradient, lr, beta=0.9):
    theta, velocity, gradient = (torch.tensor(np.array(a)) for a in (theta, velocity, gradient))
    velocity = velocity.mul(beta).add(gradient)
    return [theta.add(velocity, alpha=-lr).numpy(), velocity.numpy()]


# ------------------------------------------------------------------------------------------------------ adam_step


@wrong(
    "adam_step",
    "leaves the bias correction out",
    fails=["test_adam_agrees_with_torch", "test_adam_hands_on_uncorrected_means"],
)
def uncorrected(theta, first, second, k, gradient, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    first = beta1 * first + (1 - beta1) * gradient
    second = beta2 * second + (1 - beta2) * gradient**2
    return theta - lr * first / (np.sqrt(second) + eps), first, second


@wrong("adam_step", "hands on the corrected means", fails=["test_adam_hands_on_uncorrected_means"])
def hands_on_corrected(theta, first, second, k, gradient, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    first = (beta1 * first + (1 - beta1) * gradient) / (1 - beta1 ** (k + 1))
    second = (beta2 * second + (1 - beta2) * gradient**2) / (1 - beta2 ** (k + 1))
    return theta - lr * first / (np.sqrt(second) + eps), first, second


@wrong("adam_step", "counts one update too many in the bias correction", fails=["test_adam_agrees_with_torch"])
def one_too_many(theta, first, second, k, gradient, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    first = beta1 * first + (1 - beta1) * gradient
    second = beta2 * second + (1 - beta2) * gradient**2
    size = np.sqrt(second / (1 - beta2 ** (k + 2)))
    return theta - lr * first / (1 - beta1 ** (k + 2)) / (size + eps), first, second


@wrong(
    "adam_step", "corrects with the exponent k, which divides by zero at first", fails=["test_adam_agrees_with_torch"]
)
def one_too_few(theta, first, second, k, gradient, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    first = beta1 * first + (1 - beta1) * gradient
    second = beta2 * second + (1 - beta2) * gradient**2
    with np.errstate(all="ignore"):
        size = np.sqrt(second / np.float64(1 - beta2**k))
        return theta - lr * first / np.float64(1 - beta1**k) / (size + eps), first, second


@wrong(
    "adam_step",
    "adds eps under the root",
    fails=["test_adam_agrees_with_torch", "test_adam_adds_eps_outside_the_root"],
)
def eps_under_the_root(theta, first, second, k, gradient, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    first = beta1 * first + (1 - beta1) * gradient
    second = beta2 * second + (1 - beta2) * gradient**2
    size = np.sqrt(second / (1 - beta2 ** (k + 1)) + eps)
    return theta - lr * first / (1 - beta1 ** (k + 1)) / size, first, second


@wrong("adam_step", "leaves out the root of the second moment", fails=["test_adam_agrees_with_torch"])
def without_the_root(theta, first, second, k, gradient, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    first = beta1 * first + (1 - beta1) * gradient
    second = beta2 * second + (1 - beta2) * gradient**2
    size = second / (1 - beta2 ** (k + 1))
    return theta - lr * first / (1 - beta1 ** (k + 1)) / (size + eps), first, second


@wrong("adam_step", "takes one mean of squares for all entries", fails=["test_adam_takes_no_notice_of_units"])
def one_size_for_all(theta, first, second, k, gradient, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    first = beta1 * first + (1 - beta1) * gradient
    second = beta2 * second + (1 - beta2) * np.full_like(gradient, (gradient**2).mean() if gradient.size else 0)
    size = np.sqrt(second / (1 - beta2 ** (k + 1)))
    return theta - lr * first / (1 - beta1 ** (k + 1)) / (size + eps), first, second


@wrong("adam_step", "changes first and second in place", fails=["test_adam_leaves_its_arguments"])
def moments_in_place(theta, first, second, k, gradient, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    if not first.flags.writeable:
        first, second = first.copy(), second.copy()
    first *= beta1
    first += (1 - beta1) * gradient
    second *= beta2
    second += (1 - beta2) * gradient**2
    size = np.sqrt(second / (1 - beta2 ** (k + 1)))
    return theta - lr * first / (1 - beta1 ** (k + 1)) / (size + eps), first.copy(), second.copy()


@right("adam_step", "moved towards the new value, one rate for both corrections")
def by_one_rate(theta, first, second, k, gradient, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    first = first + (1 - beta1) * (gradient - first)
    second = second + (1 - beta2) * (np.square(gradient) - second)
    c1, root = 1 - beta1 ** (k + 1), math.sqrt(1 - beta2 ** (k + 1))
    return theta - (lr / c1) * first * root / (np.sqrt(second) + eps * root), first, second


@right("adam_step", "torch, with its in-place operations on copies")
def adam_by_torch(theta, first, second, k, gradient, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    theta, first, second, gradient = (torch.tensor(np.array(a)) for a in (theta, first, second, gradient))
    first.mul_(beta1).add_(gradient, alpha=1 - beta1)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    size = (second / (1 - beta2 ** (k + 1))).sqrt_().add_(eps)
    theta.addcdiv_(first, size, value=-lr / (1 - beta1 ** (k + 1)))
    return theta.numpy(), first.numpy(), second.numpy()


# ----------------------------------------------------------------------------------------------------------- svrg


@wrong("svrg", "does plain SGD", fails=["test_svrg_makes_the_updates", "test_svrg_has_no_floor"])
def plain_sgd(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta = np.array(theta0, dtype=theta0.dtype if theta0.dtype.kind == "f" else float)
    thetas = [theta]
    for epoch in range(epochs):
        for rows in minibatches(m, batch_size, seed, epoch):
            theta = theta - lr * grad(theta, rows)
        thetas.append(theta)
    return np.array(thetas, theta.dtype)


@wrong("svrg", "subtracts the full gradient instead of adding it", fails=["test_svrg_makes_the_updates"])
def subtracts_the_full(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta = np.array(theta0, dtype=theta0.dtype if theta0.dtype.kind == "f" else float)
    thetas = [theta]
    for epoch in range(epochs):
        w, full = theta, grad(theta, np.arange(m))
        for rows in minibatches(m, batch_size, seed, epoch):
            theta = theta - lr * (grad(theta, rows) - grad(w, rows) - full)
        thetas.append(theta)
    return np.array(thetas, theta.dtype)


@wrong("svrg", "leaves out the full gradient, so that it never moves", fails=["test_svrg_makes_the_updates"])
def without_the_full(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta = np.array(theta0, dtype=theta0.dtype if theta0.dtype.kind == "f" else float)
    thetas = [theta]
    for epoch in range(epochs):
        w, _ = theta, grad(theta, np.arange(m))
        for rows in minibatches(m, batch_size, seed, epoch):
            theta = theta - lr * (grad(theta, rows) - grad(w, rows))
        thetas.append(theta)
    return np.array(thetas, theta.dtype)


@wrong(
    "svrg",
    "changes theta in place, so that the snapshot moves along and the correction cancels",
    fails=["test_svrg_makes_the_updates"],
)
def snapshot_moves_along(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta = np.array(theta0, dtype=theta0.dtype if theta0.dtype.kind == "f" else float)
    thetas = [theta.copy()]
    for epoch in range(epochs):
        w, full = theta, np.array(grad(theta, np.arange(m)))
        for rows in minibatches(m, batch_size, seed, epoch):
            theta -= (lr * (grad(theta, rows) - grad(w, rows) + full)).astype(theta.dtype)
        thetas.append(theta.copy())
    return np.array(thetas)


@wrong("svrg", "keeps the first snapshot for all epochs", fails=["test_svrg_makes_the_updates"])
def keeps_the_first(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta = w = np.array(theta0, dtype=theta0.dtype if theta0.dtype.kind == "f" else float)
    thetas = [theta]
    full = grad(w, np.arange(m)) if epochs else None
    for epoch in range(epochs):
        for rows in minibatches(m, batch_size, seed, epoch):
            theta = theta - lr * (grad(theta, rows) - grad(w, rows) + full)
        thetas.append(theta)
    return np.array(thetas, theta.dtype)


@wrong("svrg", "takes the snapshot's gradient on another batch", fails=["test_svrg_makes_the_updates"])
def other_batch(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta = np.array(theta0, dtype=theta0.dtype if theta0.dtype.kind == "f" else float)
    thetas = [theta]
    for epoch in range(epochs):
        w, full = theta, grad(theta, np.arange(m))
        others = minibatches(m, batch_size, seed, epoch)[::-1]
        for rows, other in zip(minibatches(m, batch_size, seed, epoch), others, strict=True):
            theta = theta - lr * (grad(theta, rows) - grad(w, other) + full)
        thetas.append(theta)
    return np.array(thetas, theta.dtype)


@wrong("svrg", "asks for the full gradient before every update", fails=["test_svrg_asks_for_what_it_needs"])
def full_every_time(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta = np.array(theta0, dtype=theta0.dtype if theta0.dtype.kind == "f" else float)
    thetas = [theta]
    for epoch in range(epochs):
        w = theta
        for rows in minibatches(m, batch_size, seed, epoch):
            theta = theta - lr * (grad(theta, rows) - grad(w, rows) + grad(w, np.arange(m)))
        thetas.append(theta)
    return np.array(thetas, theta.dtype)


@wrong("svrg", "uses the batches of epoch 0 in every epoch", fails=["test_svrg_asks_for_what_it_needs"])
def svrg_always_epoch_0(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    theta = np.array(theta0, dtype=theta0.dtype if theta0.dtype.kind == "f" else float)
    thetas = [theta]
    for _ in range(epochs):
        w, full = theta, grad(theta, np.arange(m))
        for rows in minibatches(m, batch_size, seed):
            theta = theta - lr * (grad(theta, rows) - grad(w, rows) + full)
        thetas.append(theta)
    return np.array(thetas, theta.dtype)


equivalent(
    "svrg",
    diff="""
    - theta = np.array(theta0)
    + theta = theta0
    """,
    reason="theta is never changed in place, and thetas copies it",
)


@right("svrg", "a correction that is made once a batch, the snapshot asked first, in place on copies")
def with_a_correction(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    start = np.asarray(theta0, theta0.dtype if theta0.dtype.kind == "f" else float)
    thetas = np.repeat(start[None], epochs + 1, axis=0)
    for e in range(1, epochs + 1):
        mean = np.array(grad(thetas[e - 1], np.arange(m)[::-1]))
        theta = thetas[e - 1].copy()
        for rows in minibatches(m, batch_size, seed, e - 1):
            correction = mean - grad(thetas[e - 1], rows)
            theta -= (lr * (grad(theta.copy(), rows) + correction)).astype(theta.dtype)
        thetas[e] = theta
    return thetas


@right("svrg", "torch tensors and a recursion over epochs")
def by_recursion(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    def after(theta, epoch):
        full = torch.tensor(np.array(grad(theta.numpy(), np.concatenate(minibatches(m, batch_size, seed, epoch)))))
        w = theta
        for rows in minibatches(m, batch_size, seed, epoch):
            here, there = (torch.tensor(np.array(grad(point.numpy(), rows))) for point in (theta, w))
            theta = (theta - lr * (here - there + full)).to(w.dtype)
        return [w.numpy(), *(after(theta, epoch + 1) if epoch + 1 < epochs else [theta.numpy()])]

    start = torch.tensor(np.array(theta0))
    start = start if start.is_floating_point() else start.double()
    return np.stack(after(start, 0)) if epochs else start.numpy()[None]


# -------------------------------------------------------------------------------------------------- sgd_in_rounds


@wrong(
    "sgd_in_rounds",
    "shuffles anew in each round, and throws away what the last one has not used",
    fails=["test_rounds_go_on_through_the_epochs", "test_rounds_use_every_row"],
)
def shuffles_each_round(grad, theta0, m, lr, batch_size=32, rounds=1, steps=100, seed=0):
    theta = np.array(theta0)
    thetas = [theta]
    for number in range(rounds):
        batches = minibatches(m, batch_size, seed, number)
        for step in range(steps):
            theta = theta - lr * grad(theta, batches[step % len(batches)])
        thetas.append(theta)
    return np.array(thetas)


@wrong(
    "sgd_in_rounds",
    "goes on from round to round, but through the same epoch again and again",
    fails=["test_rounds_go_on_through_the_epochs"],
)
def one_epoch_for_ever(grad, theta0, m, lr, batch_size=32, rounds=1, steps=100, seed=0):
    theta, k = np.array(theta0), 0
    thetas, batches = [theta], minibatches(m, batch_size, seed)
    for _ in range(rounds):
        for _ in range(steps):
            theta = theta - lr * grad(theta, batches[k % len(batches)])
            k += 1
        thetas.append(theta)
    return np.array(thetas)


@wrong(
    "sgd_in_rounds",
    "uses the first batch of every round only",
    fails=["test_rounds_go_on_through_the_epochs", "test_rounds_use_every_row"],
)
def first_batch_only(grad, theta0, m, lr, batch_size=32, rounds=1, steps=100, seed=0):
    theta = np.array(theta0)
    thetas = [theta]
    for _ in range(rounds):
        for _ in range(steps):
            theta = theta - lr * grad(theta, next(iter(minibatches(m, batch_size, seed))))
        thetas.append(theta)
    return np.array(thetas)


@wrong("sgd_in_rounds", "draws anew for every update", fails=["test_rounds_go_on_through_the_epochs"])
def draws_anew(grad, theta0, m, lr, batch_size=32, rounds=1, steps=100, seed=0):
    theta, k = np.array(theta0), 0
    thetas = [theta]
    for _ in range(rounds):
        for _ in range(steps):
            theta = theta - lr * grad(theta, minibatches(m, batch_size, seed, k)[0])
            k += 1
        thetas.append(theta)
    return np.array(thetas)


@wrong("sgd_in_rounds", "reports after each epoch, not after each round", fails=["test_rounds_report_theta"])
def reports_epochs(grad, theta0, m, lr, batch_size=32, rounds=1, steps=100, seed=0):
    theta, k, epoch = np.array(theta0), 0, 0
    thetas = [theta]
    while k < rounds * steps:
        for rows in minibatches(m, batch_size, seed, epoch)[: rounds * steps - k]:
            theta = theta - lr * grad(theta, rows)
            k += 1
        epoch += 1
        thetas.append(theta)
    return np.array(thetas)


equivalent(
    "sgd_in_rounds",
    diff="""
    - theta = np.array(theta0)
    + theta = theta0
    """,
    reason="theta is never changed in place, and the result is a copy",
)


@right("sgd_in_rounds", "one endless stream of batches")
def endless_stream(grad, theta0, m, lr, batch_size=32, rounds=1, steps=100, seed=0):
    stream = itertools.chain.from_iterable(minibatches(m, batch_size, seed, epoch) for epoch in itertools.count())
    thetas = [theta0.astype(float)]
    for _ in range(rounds):
        theta = thetas[-1].copy()
        for rows in itertools.islice(stream, steps):
            theta -= lr * grad(theta.copy(), rows)
        thetas.append(theta)
    return np.stack(thetas)


@right("sgd_in_rounds", "epoch and place from the number of the update")
def from_the_number(grad, theta0, m, lr, batch_size=32, rounds=1, steps=100, seed=0):
    thetas = np.empty((rounds * steps + 1, len(theta0)))
    thetas[0] = theta0
    per_epoch = -(-m // batch_size)
    for k in range(rounds * steps):
        rows = minibatches(m, batch_size, seed, k // per_epoch)[k % per_epoch]
        thetas[k + 1] = thetas[k] - lr * grad(thetas[k], rows)
    return thetas[::steps]


# ------------------------------------------------------------------------------------------------ sgd_from_stream


@wrong(
    "sgd_from_stream",
    "writes table[hashed] -= step, which counts a bucket once however often it comes",
    fails=["test_stream_agrees_with_autograd", "test_stream_adds_up_repeated_buckets"],
)
def counts_once(path, lr, batch_size=1000, buckets=2**18):
    log = np.load(path, mmap_mode="r")
    theta, losses = np.zeros(9 + buckets), []
    for k, start in enumerate(range(0, len(log), batch_size)):
        batch = np.array(log[start : start + batch_size])
        z = theta[0] + batch["numeric"] @ theta[1:9] + theta[9:][batch["hashed"]].sum(axis=1)
        losses.append(np.mean(np.logaddexp(0, z) - batch["y"] * z))
        step = lr(k) * ((1 + np.tanh(z / 2)) / 2 - batch["y"]) / len(batch)
        theta[0] -= step.sum()
        theta[1:9] -= step @ batch["numeric"]
        theta[9:][batch["hashed"]] -= step[:, None]
    return theta, np.array(losses)


@wrong(
    "sgd_from_stream",
    "notes the loss after the update, on rows that it has just learned",
    fails=["test_stream_agrees_with_autograd"],
)
def loss_afterwards(path, lr, batch_size=1000, buckets=2**18):
    log = np.load(path, mmap_mode="r")
    theta, losses = np.zeros(9 + buckets), []
    for k, start in enumerate(range(0, len(log), batch_size)):
        batch = np.array(log[start : start + batch_size])
        z = theta[0] + batch["numeric"] @ theta[1:9] + theta[9:][batch["hashed"]].sum(axis=1)
        step = lr(k) * ((1 + np.tanh(z / 2)) / 2 - batch["y"]) / len(batch)
        theta[0] -= step.sum()
        theta[1:9] -= step @ batch["numeric"]
        np.subtract.at(theta[9:], batch["hashed"], step[:, None])
        z = theta[0] + batch["numeric"] @ theta[1:9] + theta[9:][batch["hashed"]].sum(axis=1)
        losses.append(np.mean(np.logaddexp(0, z) - batch["y"] * z))
    return theta, np.array(losses)


@wrong(
    "sgd_from_stream",
    "divides the last, short batch by batch_size",
    fails=["test_stream_agrees_with_autograd"],
)
def short_batch(path, lr, batch_size=1000, buckets=2**18):
    log = np.load(path, mmap_mode="r")
    theta, losses = np.zeros(9 + buckets), []
    for k, start in enumerate(range(0, len(log), batch_size)):
        batch = np.array(log[start : start + batch_size])
        z = theta[0] + batch["numeric"] @ theta[1:9] + theta[9:][batch["hashed"]].sum(axis=1)
        losses.append(np.mean(np.logaddexp(0, z) - batch["y"] * z))
        step = lr(k) * ((1 + np.tanh(z / 2)) / 2 - batch["y"]) / batch_size
        theta[0] -= step.sum()
        theta[1:9] -= step @ batch["numeric"]
        np.subtract.at(theta[9:], batch["hashed"], step[:, None])
    return theta, np.array(losses)


@wrong("sgd_from_stream", "reads the whole file into memory", fails=["test_stream_is_larger_than_memory"])
def reads_everything(path, lr, batch_size=1000, buckets=2**18):
    log = np.load(path)
    theta, losses = np.zeros(9 + buckets), []
    for k, start in enumerate(range(0, len(log), batch_size)):
        batch = log[start : start + batch_size]
        z = theta[0] + batch["numeric"] @ theta[1:9] + theta[9:][batch["hashed"]].sum(axis=1)
        losses.append(np.mean(np.logaddexp(0, z) - batch["y"] * z))
        step = lr(k) * ((1 + np.tanh(z / 2)) / 2 - batch["y"]) / len(batch)
        theta[0] -= step.sum()
        theta[1:9] -= step @ batch["numeric"]
        np.subtract.at(theta[9:], batch["hashed"], step[:, None])
    return theta, np.array(losses)


@wrong(
    "sgd_from_stream",
    "maps the file, and then turns a whole column of it into float64",
    fails=["test_stream_is_larger_than_memory"],
)
def converts_everything(path, lr, batch_size=1000, buckets=2**18):
    log = np.load(path, mmap_mode="r")
    X, H, y = log["numeric"].astype(float), log["hashed"], log["y"]
    theta, losses = np.zeros(9 + buckets), []
    for k, start in enumerate(range(0, len(log), batch_size)):
        part = slice(start, start + batch_size)
        z = theta[0] + X[part] @ theta[1:9] + theta[9:][H[part]].sum(axis=1)
        losses.append(np.mean(np.logaddexp(0, z) - y[part] * z))
        step = lr(k) * ((1 + np.tanh(z / 2)) / 2 - y[part]) / len(z)
        theta[0] -= step.sum()
        theta[1:9] -= step @ X[part]
        np.subtract.at(theta[9:], H[part], step[:, None])
    return theta, np.array(losses)


@wrong(
    "sgd_from_stream",
    "builds a gradient of the size of the table for each batch",
    fails=["test_stream_updates_only_what_it_touches"],
)
def dense_gradient(path, lr, batch_size=1000, buckets=2**18):
    log = np.load(path, mmap_mode="r")
    theta, losses = np.zeros(9 + buckets), []
    for k, start in enumerate(range(0, len(log), batch_size)):
        batch = np.array(log[start : start + batch_size])
        z = theta[0] + batch["numeric"] @ theta[1:9] + theta[9:][batch["hashed"]].sum(axis=1)
        losses.append(np.mean(np.logaddexp(0, z) - batch["y"] * z))
        residual = ((1 + np.tanh(z / 2)) / 2 - batch["y"]) / len(batch)
        hits = np.bincount(batch["hashed"].ravel(), np.repeat(residual, 6), minlength=buckets)
        theta -= lr(k) * np.concatenate([[residual.sum()], residual @ batch["numeric"], hits])
    return theta, np.array(losses)


@wrong(
    "sgd_from_stream",
    "computes log(1 + exp(z)) and exp(-z) as they are written, and overflows",
    fails=["test_stream_takes_large_logits"],
)
def overflows(path, lr, batch_size=1000, buckets=2**18):
    log = np.load(path, mmap_mode="r")
    theta, losses = np.zeros(9 + buckets), []
    with np.errstate(all="ignore"):
        for k, start in enumerate(range(0, len(log), batch_size)):
            batch = np.array(log[start : start + batch_size])
            z = theta[0] + batch["numeric"] @ theta[1:9] + theta[9:][batch["hashed"]].sum(axis=1)
            losses.append(np.mean(np.log(1 + np.exp(z)) - batch["y"] * z))
            step = lr(k) * (1 / (1 + np.exp(-z)) - batch["y"]) / len(batch)
            theta[0] -= step.sum()
            theta[1:9] -= step @ batch["numeric"]
            np.subtract.at(theta[9:], batch["hashed"], step[:, None])
    return theta, np.array(losses)


@wrong(
    "sgd_from_stream",
    "negates the labels, which are unsigned bytes: minus 1 is 255",
    fails=["test_stream_agrees_with_autograd"],
)
def negates_bytes(path, lr, batch_size=1000, buckets=2**18):
    log = np.load(path, mmap_mode="r")
    theta, losses = np.zeros(9 + buckets), []
    for k, start in enumerate(range(0, len(log), batch_size)):
        batch = np.array(log[start : start + batch_size])
        z = theta[0] + batch["numeric"] @ theta[1:9] + theta[9:][batch["hashed"]].sum(axis=1)
        losses.append(np.mean(-batch["y"] * z + np.logaddexp(0, z)))
        step = lr(k) * ((1 + np.tanh(z / 2)) / 2 - batch["y"]) / len(batch)
        theta[0] -= step.sum()
        theta[1:9] -= step @ batch["numeric"]
        np.subtract.at(theta[9:], batch["hashed"], step[:, None])
    return theta, np.array(losses)


@wrong("sgd_from_stream", "has no intercept", fails=["test_stream_agrees_with_autograd"])
def without_intercept(path, lr, batch_size=1000, buckets=2**18):
    log = np.load(path, mmap_mode="r")
    theta, losses = np.zeros(9 + buckets), []
    for k, start in enumerate(range(0, len(log), batch_size)):
        batch = np.array(log[start : start + batch_size])
        z = batch["numeric"] @ theta[1:9] + theta[9:][batch["hashed"]].sum(axis=1)
        losses.append(np.mean(np.logaddexp(0, z) - batch["y"] * z))
        step = lr(k) * ((1 + np.tanh(z / 2)) / 2 - batch["y"]) / len(batch)
        theta[1:9] -= step @ batch["numeric"]
        np.subtract.at(theta[9:], batch["hashed"], step[:, None])
    return theta, np.array(losses)


equivalent(
    "sgd_from_stream",
    diff="""
    - losses.append(np.mean(np.logaddexp(0, z) - y * z))
    + losses.append(np.mean(np.logaddexp(z, 0) - y * z))
    """,
    reason="logaddexp is symmetric",
)
equivalent(
    "sgd_from_stream",
    diff="""
    - batch = np.array(log[start:start + batch_size])
    + batch = log[start:start + batch_size]
    """,
    reason="the copy saves reading a page twice, and changes no value",
)


@right("sgd_from_stream", "plain fields of a record array, distinct buckets only, put together at the end")
def by_distinct_buckets(path, lr, batch_size=1000, buckets=2**18):
    log = np.lib.format.open_memmap(path, mode="r")
    bias, weights, table = 0.0, np.zeros(8), np.zeros(buckets)
    losses = np.empty(-(-len(log) // batch_size))
    for k in range(len(losses)):
        part = log[k * batch_size : (k + 1) * batch_size]
        x, y = part["numeric"].astype(float), part["y"].astype(float)
        which, place = np.unique(part["hashed"], return_inverse=True)
        place = place.reshape(len(y), -1)
        z = bias + x @ weights + table[which][place].sum(axis=1)
        losses[k] = np.mean(np.where(y == 1, np.logaddexp(0, -z), np.logaddexp(0, z)))
        small = np.exp(-np.abs(z))
        residual = np.where(z >= 0, 1, small) / (1 + small) - y
        rate = lr(k) / len(y)
        bias -= rate * residual.sum()
        weights -= rate * np.einsum("ij,i->j", x, residual)
        table[which] -= rate * np.bincount(place.ravel(), np.repeat(residual, place.shape[1]))
    return np.concatenate([[bias], weights, table]), losses


@right("sgd_from_stream", "torch, with index_add")
def stream_by_torch(path, lr, batch_size=1000, buckets=2**18):
    log = np.load(path, mmap_mode="r")
    theta, losses = torch.zeros(9 + buckets, dtype=torch.float64), []
    for k, start in enumerate(range(0, len(log), batch_size)):
        batch = log[start : start + batch_size]
        x = torch.from_numpy(batch["numeric"].astype(float))
        hashed, y = torch.from_numpy(batch["hashed"].astype(np.int64)) + 9, torch.from_numpy(batch["y"].astype(float))
        z = theta[0] + x @ theta[1:9] + theta[hashed].sum(dim=1)
        losses.append(torch.nn.functional.binary_cross_entropy_with_logits(z, y).item())
        step = (torch.sigmoid(z) - y) * (lr(k) / len(y))
        theta[0] -= step.sum()
        theta[1:9] -= x.T @ step
        theta.index_add_(0, hashed.flatten(), step.repeat_interleave(6), alpha=-1.0)
    return theta.numpy(), np.array(losses)
