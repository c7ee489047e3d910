"""Wrong and right answers that prove the hidden tests of module 02, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import itertools
import math
import random

import numpy as np
import torch

from autograder.answers import equivalent, right, wrong

# ---------------------------------------------------------------------------------------------------- minibatches

wrong(
    "minibatches",
    "shuffles whole batches of neighbouring rows, not the rows",
    fails=["test_batches_are_shuffled_rows"],
    edit={
        "np.random.default_rng([seed, epoch]).permutation(m)": "np.arange(m)",
        "range(0, m, batch_size)": "np.random.default_rng([seed, epoch]).permutation(range(0, m, batch_size))",
    },
)
wrong(
    "minibatches",
    "drops the last, short batch",
    fails=["test_batches_hold_every_row_once"],
    edit={"range(0, m, batch_size)": "range(0, m - batch_size + 1, batch_size)"},
)
wrong(
    "minibatches",
    "adds an empty batch where the rows come out even",
    fails=["test_batches_hold_every_row_once"],
    edit={"range(0, m, batch_size)": "range(0, m + 1, batch_size)"},
)
wrong(
    "minibatches",
    "draws each batch with replacement",
    fails=["test_batches_hold_every_row_once"],
    edit={"permutation(m)": "integers(m, size=m)"},
)
wrong(
    "minibatches",
    "adds seed and epoch, so that epoch 1 of one run is epoch 0 of the next",
    fails=["test_batches_differ_by_seed_and_by_epoch"],
    edit={"[seed, epoch]": "seed + epoch"},
)
wrong(
    "minibatches",
    "seeds NumPy's global generator",
    fails=["test_batches_leave_the_global_state"],
    edit={"order = np.random.default_rng([seed, epoch])": "np.random.seed([seed, epoch])\n    order = np.random"},
)


wrong(
    "minibatches",
    "multiplies the seed by 1000 and adds the epoch, so that epoch 1000 of one run is epoch 0 of the next",
    fails=["test_batches_differ_by_seed_and_by_epoch"],
    edit={"[seed, epoch]": "1000 * seed + epoch"},
)
wrong(
    "minibatches",
    "makes a seed by `hash` of a text, which another process salts differently",
    fails=["test_batches_are_the_same_in_another_process"],
    edit={"[seed, epoch]": "hash(f'{seed}, {epoch}') % 2**63"},
)


@wrong(
    "minibatches",
    "copies all rows that are left for each batch, O(m^2 / batch_size) in all",
    fails=["test_batches_of_very_many_rows"],
)
def copies_what_is_left(m, batch_size, seed, epoch=0):
    left, batches = np.random.default_rng([seed, epoch]).permutation(m), []
    while len(left):
        batches.append(left[:batch_size].copy())
        left = left[batch_size:].copy()
    return batches


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


@right("minibatches", "Python's own shuffle, seeded by a text, which no salt changes; a while loop")
def by_pythons_shuffle(m, batch_size, seed, epoch=0):
    order = list(range(m))
    random.Random(f"{seed} {epoch}").shuffle(order)
    order, batches = np.array(order, dtype=np.int32), []
    while len(order):
        batches.append(order[:batch_size])
        order = order[batch_size:]
    return batches


# ------------------------------------------------------------------------------------------------------------ sgd

wrong(
    "sgd",
    "adds the gradient and goes uphill",
    fails=["test_sgd_makes_the_updates"],
    edit={"theta - lr(k)": "theta + lr(k)"},
)
wrong(
    "sgd",
    "uses the batches of epoch 0 in every epoch",
    fails=["test_sgd_uses_the_batches_of_each_epoch"],
    edit={"seed, epoch)": "seed)"},
)
wrong(
    "sgd",
    "counts the updates anew in each epoch",
    fails=["test_sgd_counts_its_updates"],
    edit={"in range(epochs):": "in range(epochs):\n        k = 0"},
)
wrong(
    "sgd",
    "notes one and the same array again and again, which -= goes on changing",
    fails=["test_sgd_makes_the_updates"],
    edit={
        "np.empty((epochs + 1, len(theta)), theta.dtype)\n    thetas[0] = theta": "[theta]",
        "theta = theta - lr": "theta -= lr",
        "thetas[epoch + 1] = theta": "thetas.append(theta)",
        "return thetas": "return np.array(thetas)",
    },
)
wrong(
    "sgd",
    "walks in theta0's own memory",
    fails=["test_sgd_leaves_no_trace"],
    edit={"np.array(theta0)": "np.asarray(theta0)", "theta = theta - lr": "theta -= lr"},
)
wrong(
    "sgd",
    "always works in float64",
    fails=["test_sgd_takes_every_kind_of_start"],
    edit={"np.array(theta0)": "np.array(theta0, dtype=float)"},
)
equivalent(
    "sgd",
    diff="""
    - theta = np.array(theta0)
    + theta = theta0
    """,
    reason="theta is never changed in place, and thetas copies it",
)


wrong(
    "sgd",
    "counts the updates with a NumPy integer",
    fails=["test_sgd_gives_lr_a_python_int"],
    edit={"k = 0": "k = np.int64(0)"},
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

wrong(
    "learning_rate",
    "begins its warm-up at a rate of 0: k / warmup",
    fails=["test_rate_warms_up"],
    edit={"(k + 1)": "k"},
)
wrong(
    "learning_rate",
    "lets the cosine come up again",
    fails=["test_rate_stays_at_zero"],
    edit={"min(passed, 1.0)": "passed"},
)
wrong(
    "learning_rate",
    "counts the decay from update 0, not from the end of the warm-up",
    fails=["test_rate_falls_like_a_cosine", "test_rate_falls_like_one_over_time"],
    edit={"(k - warmup)": "k"},
)
wrong(
    "learning_rate",
    "takes span to be the total, warm-up included",
    fails=["test_rate_falls_like_a_cosine"],
    edit={"/ span": "/ max(span - warmup, 1)"},
)
wrong(
    "learning_rate",
    "decays like one over the root of time",
    fails=["test_rate_falls_like_one_over_time"],
    edit={"(1 + passed)": "math.sqrt(1 + passed)"},
)
wrong(
    "learning_rate",
    "returns the int 0 after the cosine",
    fails=["test_rate_is_a_python_float"],
    edit={"min(passed, 1.0))) / 2": "passed)) / 2 if passed < 1 else 0"},
)
wrong(
    "learning_rate",
    "takes every other name for inverse-time decay",
    fails=["test_rate_knows_two_decays"],
    edit={'decay == "inverse"': "True"},
)
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

wrong(
    "momentum_step",
    "takes a running mean: the gradient times 1 - beta",
    fails=["test_momentum_agrees_with_torch", "test_momentum_adds_up_a_geometric_series"],
    edit={"+ gradient": "+ (1 - beta) * gradient"},
)
wrong(
    "momentum_step",
    "steps with the old velocity",
    fails=["test_momentum_agrees_with_torch"],
    edit={
        "velocity = beta * velocity + gradient\n    ": "",
        "theta - lr * velocity, velocity": "theta - lr * velocity, beta * velocity + gradient",
    },
)
wrong(
    "momentum_step",
    "puts the learning rate and the sign into the velocity, as Polyak's form does",
    fails=["test_momentum_agrees_with_torch", "test_momentum_adds_up_a_geometric_series"],
    edit={"+ gradient": "- lr * gradient", "theta - lr * velocity": "theta + velocity"},
)
wrong(
    "momentum_step",
    "looks ahead, as Nesterov's form does",
    fails=["test_momentum_agrees_with_torch"],
    edit={"lr * velocity": "lr * (gradient + beta * velocity)"},
)
wrong(
    "momentum_step",
    "goes uphill",
    fails=["test_momentum_agrees_with_torch"],
    edit={"theta - lr": "theta + lr"},
)
wrong(
    "momentum_step",
    "changes the velocity in place",
    fails=["test_momentum_leaves_no_trace", "test_momentum_agrees_with_torch"],
    edit={"velocity = beta * velocity + gradient": "velocity *= beta\n    velocity += gradient"},
)


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

wrong(
    "adam_step",
    "leaves the bias correction out",
    fails=["test_adam_agrees_with_torch", "test_adam_hands_on_uncorrected_means"],
    edit={"first / (1 - beta1 ** (k + 1))": "first", "second / (1 - beta2 ** (k + 1))": "second"},
)
wrong(
    "adam_step",
    "hands on the corrected means",
    fails=["test_adam_hands_on_uncorrected_means"],
    edit={
        "unbiased = first": "unbiased = first = first",
        "size = np.sqrt(second / (1 - beta2 ** (k + 1)))": "second = second / (1 - beta2 ** (k + 1))\n"
        "    size = np.sqrt(second)",
    },
)
wrong(
    "adam_step",
    "adds eps under the root",
    fails=["test_adam_agrees_with_torch", "test_adam_adds_eps_outside_the_root"],
    edit={"second / (1 - beta2 ** (k + 1))": "second / (1 - beta2 ** (k + 1)) + eps", "(size + eps)": "size"},
)
wrong(
    "adam_step",
    "leaves out the root of the second moment",
    fails=["test_adam_agrees_with_torch"],
    edit={"np.sqrt(second": "(second"},
)
wrong(
    "adam_step",
    "takes one mean of squares for all entries",
    fails=["test_adam_agrees_with_torch"],
    edit={"gradient**2": "np.mean(gradient**2)"},
)
wrong(
    "adam_step",
    "changes first and second in place",
    fails=["test_adam_leaves_no_trace", "test_adam_agrees_with_torch"],
    edit={
        "first = beta1 * first + (1": "first *= beta1\n    first += (1",
        "second = beta2 * second + (1": "second *= beta2\n    second += (1",
    },
)


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

wrong(
    "svrg",
    "does plain SGD",
    fails=["test_svrg_makes_the_updates", "test_svrg_has_no_floor"],
    edit={
        "\n        full = grad(snapshot, np.arange(m))": "",
        "(grad(theta, rows) - grad(snapshot, rows) + full)": "grad(theta, rows)",
    },
)
wrong(
    "svrg",
    "changes theta in place, so that the snapshot changes with it and the correction cancels",
    fails=["test_svrg_makes_the_updates"],
    edit={"theta = theta - lr": "theta -= lr"},
)
wrong(
    "svrg",
    "keeps the first snapshot for all epochs",
    fails=["test_svrg_makes_the_updates"],
    edit={
        "    for epoch in range(epochs):\n": "",
        "        snapshot = theta": "    snapshot = theta",
        "        full = grad(snapshot, np.arange(m))": "    full = grad(snapshot, np.arange(m))\n"
        "    for epoch in range(epochs):",
    },
)
wrong(
    "svrg",
    "always works in float64",
    fails=["test_svrg_takes_every_kind_of_start"],
    edit={"np.array(theta0)": "np.array(theta0, dtype=float)"},
)
wrong(
    "svrg",
    "asks for the full gradient before every update",
    fails=["test_svrg_asks_for_what_it_needs"],
    edit={
        "\n        full = grad(snapshot, np.arange(m))": "",
        "+ full": "+ grad(snapshot, np.arange(m))",
    },
)
wrong(
    "svrg",
    "uses the batches of epoch 0 in every epoch",
    fails=["test_svrg_asks_for_what_it_needs"],
    edit={"seed, epoch)": "seed)"},
)
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

wrong(
    "sgd_in_rounds",
    "shuffles anew in each round, and throws away what the last one has not used",
    fails=["test_rounds_go_on_through_the_epochs"],
    edit={"in range(rounds):": "in range(rounds):\n        batches = []"},
)
wrong(
    "sgd_in_rounds",
    "goes on from round to round, but through the same epoch again and again",
    fails=["test_rounds_go_on_through_the_epochs"],
    edit={"seed, epoch)": "seed)"},
)
wrong(
    "sgd_in_rounds",
    "uses the first batch of every round only",
    fails=["test_rounds_go_on_through_the_epochs"],
    edit={"batches.pop(0)": "batches[0]"},
)
wrong(
    "sgd_in_rounds",
    "draws anew for every update",
    fails=["test_rounds_go_on_through_the_epochs"],
    edit={"not batches": "True"},
)
wrong(
    "sgd_in_rounds",
    "reports after each epoch, not after each round",
    fails=["test_rounds_report_theta"],
    edit={
        "batches.pop(0))": "batches.pop(0))\n            if not batches:\n                thetas.append(theta)",
        "\n        thetas.append(theta)": "",
    },
)


@wrong(
    "sgd_in_rounds",
    "counts m // batch_size batches in an epoch, and so never uses a short last one",
    fails=["test_rounds_go_on_through_the_epochs"],
)
def without_the_short_batch(grad, theta0, m, lr, batch_size=32, rounds=1, steps=100, seed=0):
    theta, per_epoch = np.array(theta0), max(1, m // batch_size)
    thetas = [theta]
    for k in range(rounds * steps):
        theta = theta - lr * grad(theta, minibatches(m, batch_size, seed, k // per_epoch)[k % per_epoch])
        if (k + 1) % steps == 0:
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

wrong(
    "sgd_from_stream",
    "writes table[hashed] -= step, which counts a bucket once however often it comes",
    fails=["test_stream_agrees_with_autograd", "test_stream_adds_up_repeated_buckets"],
    edit={"np.subtract.at(table, hashed, step[:, None])": "table[hashed] -= step[:, None]"},
)
wrong(
    "sgd_from_stream",
    "adds the gradient and goes uphill",
    fails=["test_stream_agrees_with_autograd", "test_stream_adds_up_repeated_buckets"],
    edit={"(p - y)": "(y - p)"},
)
wrong(
    "sgd_from_stream",
    "divides the last, short batch by batch_size",
    fails=["test_stream_agrees_with_autograd"],
    edit={"/ len(y)": "/ batch_size"},
)
wrong(
    "sgd_from_stream",
    "reads the whole file into memory",
    fails=["test_stream_is_larger_than_memory"],
    edit={', mmap_mode="r"': ""},
)
wrong(
    "sgd_from_stream",
    "builds a gradient of the size of the table for each batch",
    fails=["test_stream_updates_only_what_it_touches"],
    edit={
        "np.subtract.at(table, hashed, step[:, None])": "table -= np.bincount("
        "hashed.ravel(), np.repeat(step, 6), minlength=buckets)"
    },
)
wrong(
    "sgd_from_stream",
    "computes log(1 + exp(z)) and exp(-z) as they are written, and overflows",
    fails=["test_stream_takes_large_logits"],
    edit={"np.logaddexp(0, z)": "np.log(1 + np.exp(z))", "0.5 + 0.5 * np.tanh(z / 2)": "1 / (1 + np.exp(-z))"},
)
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


@right("sgd_from_stream", "plain fields of a record array, distinct buckets only")
def by_distinct_buckets(path, lr, batch_size=1000, buckets=2**18):
    log = np.lib.format.open_memmap(path, mode="r")
    theta = np.zeros(9 + buckets)
    weights, table = theta[1:9], theta[9:]
    losses = np.empty(-(-len(log) // batch_size))
    for k in range(len(losses)):
        part = log[k * batch_size : (k + 1) * batch_size]
        x, y = part["numeric"].astype(float), part["y"].astype(float)
        which, place = np.unique(part["hashed"], return_inverse=True)
        place = place.reshape(len(y), -1)
        z = theta[0] + x @ weights + table[which][place].sum(axis=1)
        losses[k] = np.mean(np.where(y == 1, np.logaddexp(0, -z), np.logaddexp(0, z)))
        small = np.exp(-np.abs(z))
        residual = np.where(z >= 0, 1, small) / (1 + small) - y
        rate = lr(k) / len(y)
        theta[0] -= rate * residual.sum()
        weights -= rate * np.einsum("ij,i->j", x, residual)
        table[which] -= rate * np.bincount(place.ravel(), np.repeat(residual, place.shape[1]))
    return theta, losses


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


# -------------------------------------------------------------------------------------------- adagrad_from_stream

wrong(
    "adagrad_from_stream",
    "squares the parts of a bucket one by one, and adds up the squares",
    fails=["test_adagrad_agrees_with_torch", "test_adagrad_squares_the_sum_of_a_bucket"],
    edit={
        "squares[entries] += gradient**2": "squares[entries] += np.append(\n"
        "            gradient[:9] ** 2, np.bincount(place.ravel(), np.repeat(residual**2, 6)))"
    },
)
wrong(
    "adagrad_from_stream",
    "writes table[hashed] -= step, which counts a bucket once however often it comes",
    fails=["test_adagrad_agrees_with_torch"],
    edit={
        "parts = np.bincount(place.ravel(), np.repeat(residual, hashed.shape[1]))": "parts = np.zeros(len(used))\n"
        "        parts[place.reshape(hashed.shape)] += residual[:, None]"
    },
)
wrong(
    "adagrad_from_stream",
    "steps with the squares from before this batch",
    fails=["test_adagrad_agrees_with_torch"],
    edit={
        "squares[entries] += gradient**2\n        ": "",
        "(np.sqrt(squares[entries]) + eps)": "(np.sqrt(squares[entries]) + eps)\n        "
        "squares[entries] += gradient**2",
    },
)
wrong(
    "adagrad_from_stream",
    "adds the gradient and goes uphill",
    fails=["test_adagrad_agrees_with_torch", "test_adagrad_squares_the_sum_of_a_bucket"],
    edit={"theta[entries] -= lr": "theta[entries] += lr"},
)
wrong(
    "adagrad_from_stream",
    "adds eps under the root",
    fails=["test_adagrad_agrees_with_torch"],
    edit={"(np.sqrt(squares[entries]) + eps)": "np.sqrt(squares[entries] + eps)"},
)
wrong(
    "adagrad_from_stream",
    "forgets old squares, as Adam does",
    fails=["test_adagrad_agrees_with_torch"],
    edit={"squares[entries] += gradient**2": "squares[entries] = 0.9 * squares[entries] + 0.1 * gradient**2"},
)
wrong(
    "adagrad_from_stream",
    "updates the whole table for each batch",
    fails=["test_adagrad_updates_only_what_it_touches"],
    edit={
        "theta[entries] -= lr * gradient / (np.sqrt(squares[entries]) + eps)": "whole = np.zeros(9 + buckets)\n"
        "        whole[entries] = gradient\n"
        "        theta -= lr * whole / (np.sqrt(squares) + eps)"
    },
)
wrong(
    "adagrad_from_stream",
    "reads the whole file into memory",
    fails=["test_adagrad_is_larger_than_memory"],
    edit={', mmap_mode="r"': ""},
)


@right("adagrad_from_stream", "sums by np.add.at into a small array, the front and the table apart")
def adagrad_in_parts(path, lr, batch_size=1000, buckets=2**18, eps=1e-8):
    log = np.lib.format.open_memmap(path, mode="r")
    theta = np.zeros(9 + buckets)
    front, table = theta[:9], theta[9:]
    front_squares, table_squares = np.zeros(9), np.zeros(buckets)
    losses = np.empty(-(-len(log) // batch_size))
    for k in range(len(losses)):
        part = log[k * batch_size : (k + 1) * batch_size]
        x = np.column_stack([np.ones(len(part)), part["numeric"]])
        y = part["y"].astype(float)
        z = x @ front + table[part["hashed"]].sum(axis=1)
        losses[k] = np.mean(np.where(y == 1, np.logaddexp(0, -z), np.logaddexp(0, z)))
        small = np.exp(-np.abs(z))
        residual = (np.where(z >= 0, 1, small) / (1 + small) - y) / len(y)
        used, place = np.unique(part["hashed"].ravel(), return_inverse=True)
        sums = np.zeros(len(used))
        np.add.at(sums, place, np.repeat(residual, 6))
        for values, squares, where, gradient in (
            (front, front_squares, slice(None), residual @ x),
            (table, table_squares, used, sums),
        ):
            squares[where] += gradient * gradient
            values[where] -= lr * gradient / (np.sqrt(squares[where]) + eps)
    return theta, losses


@right("adagrad_from_stream", "torch, gathered and scattered")
def adagrad_by_torch(path, lr, batch_size=1000, buckets=2**18, eps=1e-8):
    log = np.load(path, mmap_mode="r")
    theta, squares = torch.zeros(9 + buckets, dtype=torch.float64), torch.zeros(9 + buckets, dtype=torch.float64)
    losses = []
    for start in range(0, len(log), batch_size):
        batch = np.array(log[start : start + batch_size])
        x, y = torch.from_numpy(batch["numeric"].astype(float)), torch.from_numpy(batch["y"].astype(float))
        hashed = torch.from_numpy(batch["hashed"].astype(np.int64)) + 9
        z = theta[0] + x @ theta[1:9] + theta[hashed].sum(dim=1)
        losses.append(torch.nn.functional.binary_cross_entropy_with_logits(z, y).item())
        residual = (torch.sigmoid(z) - y) / len(y)
        used, place = torch.unique(hashed, return_inverse=True)
        sums = torch.zeros(len(used), dtype=torch.float64).index_add_(0, place.flatten(), residual.repeat_interleave(6))
        entries = torch.cat([torch.arange(9), used])
        gradient = torch.cat([residual.sum()[None], x.T @ residual, sums])
        squares[entries] += gradient.square()
        theta[entries] -= lr * gradient / (squares[entries].sqrt() + eps)
    return theta.numpy(), np.array(losses)


# ----------------------------------------------------------------------------------------------------- adamw_step

wrong(
    "adamw_step",
    "adds the decay to the gradient, as a penalty does",
    fails=["test_adamw_agrees_with_torch", "test_adamw_decays_alike"],
    edit={"(1 - lr * weight_decay) * theta": "theta", "k, gradient, lr": "k, gradient + weight_decay * theta, lr"},
)
wrong(
    "adamw_step",
    "leaves the learning rate out of the decay",
    fails=["test_adamw_agrees_with_torch", "test_adamw_decays_alike"],
    edit={"lr * weight_decay": "weight_decay"},
)
wrong(
    "adamw_step",
    "lets theta decay after the step of Adam",
    fails=["test_adamw_agrees_with_torch"],
    edit={
        "return adam_step((1 - lr * weight_decay) * theta": "theta, first, second = adam_step(theta",
        "beta2, eps)": "beta2, eps)\n    return (1 - lr * weight_decay) * theta, first, second",
    },
)
wrong(
    "adamw_step",
    "changes theta in place",
    fails=["test_adamw_leaves_no_trace"],
    edit={
        "return adam_step((1 - lr * weight_decay) * theta": "theta *= 1 - lr * weight_decay\n    return adam_step(theta"
    },
)


@right("adamw_step", "the step first, the decay of the old theta afterwards, as a list")
def adamw_afterwards(theta, first, second, k, gradient, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
    after, first, second = adam_step(theta, first, second, k, gradient, lr, beta1, beta2, eps)
    return [after - lr * weight_decay * theta, first, second]


@right("adamw_step", "written out, without adam_step")
def adamw_written_out(theta, first, second, k, gradient, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
    first = first + (1 - beta1) * (gradient - first)
    second = beta2 * second + (1 - beta2) * np.square(gradient)
    step = (first / (1 - beta1 ** (k + 1))) / (np.sqrt(second / (1 - beta2 ** (k + 1))) + eps)
    return theta - lr * (step + weight_decay * theta), first, second


# --------------------------------------------------------------------------------------------------- clip_by_norm

wrong(
    "clip_by_norm",
    "clips each array by a norm of its own",
    fails=["test_clip_keeps_the_direction"],
    edit={
        "[factor * gradient for gradient in gradients]": "[\n        gradient * min(1.0, limit / "
        "max(float(np.linalg.norm(gradient)), 1e-300)) for gradient in gradients\n    ]"
    },
)
wrong(
    "clip_by_norm",
    "takes the squared norm for the norm",
    fails=["test_clip_keeps_the_direction"],
    edit={
        "math.sqrt(math.fsum(float(np.sum(gradient**2)) for gradient in gradients))": "math.fsum("
        "float(np.sum(gradient**2)) for gradient in gradients)"
    },
)
wrong(
    "clip_by_norm",
    "adds up the norms of the arrays",
    fails=["test_clip_keeps_the_direction"],
    edit={
        "math.sqrt(math.fsum(float(np.sum(gradient**2)) for gradient in gradients))": "math.fsum("
        "float(np.linalg.norm(gradient)) for gradient in gradients)"
    },
)
wrong(
    "clip_by_norm",
    "scales short gradients up to the limit, too",
    fails=["test_clip_keeps_the_direction", "test_clip_leaves_short_gradients"],
    edit={"min(1.0, limit / norm)": "limit / norm"},
)
wrong(
    "clip_by_norm",
    "clips each entry instead of the norm",
    fails=["test_clip_keeps_the_direction"],
    edit={"factor * gradient for": "np.clip(gradient, -limit, limit) for"},
)
wrong(
    "clip_by_norm",
    "returns the norm after clipping",
    fails=["test_clip_keeps_the_direction"],
    edit={"gradients], norm": "gradients], factor * norm"},
)
wrong(
    "clip_by_norm",
    "adds a small number to the norm before it divides, as torch does",
    fails=["test_clip_keeps_the_direction", "test_clip_leaves_short_gradients"],
    edit={"limit / norm)": "limit / (norm + 1e-6))"},
)
wrong(
    "clip_by_norm",
    "lets entries that are not finite through",
    fails=["test_clip_refuses_what_is_not_finite"],
    edit={"not math.isfinite(norm)": "False"},
)
wrong(
    "clip_by_norm",
    "returns the arrays themselves where nothing is clipped",
    fails=["test_clip_leaves_no_trace"],
    edit={"[factor * gradient for": "[factor * gradient if factor < 1 else gradient for"},
)


@right("clip_by_norm", "one long vector, NumPy's norm, copies")
def clip_one_vector(gradients, limit):
    norm = float(np.linalg.norm(np.concatenate([gradient.ravel() for gradient in gradients])))
    if not np.isfinite(norm):
        raise ValueError("nan or inf")
    clipped = [gradient.copy() for gradient in gradients]
    if norm > limit:
        for gradient in clipped:
            gradient *= limit
            gradient /= norm
    return clipped, norm


@right("clip_by_norm", "torch, scaled by the largest entry, a tuple")
def clip_by_torch(gradients, limit):
    parts = [torch.tensor(np.array(gradient)) for gradient in gradients]
    if not all(bool(torch.isfinite(part).all()) for part in parts):
        raise ValueError("not finite")
    largest = max([float(part.abs().max()) for part in parts if part.numel()], default=0.0) or 1.0
    norm = largest * math.sqrt(sum(float((part / largest).square().sum()) for part in parts))
    factor = 1.0 if norm <= limit else limit / norm
    return [(part * factor).numpy() for part in parts], norm
