"""Wrong and right answers that prove the hidden tests of module 17, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import math

import numpy as np

from autograder.answers import right, wrong

# ------------------------------------------------------------------------------------------------ collective_time

wrong(
    "collective_time",
    "sends whole arrays around the ring",
    fails=["test_formula"],
    edit={'size / ranks if kind == "ring" else size': "size"},
)
wrong(
    "collective_time",
    "rounds log2 P down",
    fails=["test_formula"],
    edit={"(ranks - 1).bit_length()": "ranks.bit_length() - 1"},
)
wrong(
    "collective_time",
    "takes one step more than a tree has where P is a power of two",
    fails=["test_steps_of_a_tree"],
    edit={"(ranks - 1).bit_length()": "ranks.bit_length() if ranks > 1 else 0"},
)
wrong(
    "collective_time",
    "counts one direction only: the sum does not come back",
    fails=["test_formula"],
    edit={"2 * steps[kind]": "steps[kind]"},
)
wrong(
    "collective_time",
    "pays the latency once and not for each step",
    fails=["test_formula"],
    edit={"2 * steps[kind] * (latency + part / bandwidth)": "2 * (latency + steps[kind] * part / bandwidth)"},
)


@right("collective_time", "three branches, and logarithms")
def by_branches(kind, size, ranks, latency, bandwidth):
    if kind == "root":
        return 2 * (ranks - 1) * (latency + size / bandwidth) * 1.0
    if kind == "tree":
        return 2.0 * math.ceil(math.log2(ranks)) * (latency + size / bandwidth)
    if kind == "ring":
        return 2.0 * (ranks - 1) * (latency + size / (ranks * bandwidth))
    raise ValueError(kind)


@right("collective_time", "a loop that halves the ranks")
def by_halving(kind, size, ranks, latency, bandwidth):
    if kind not in {"root", "tree", "ring"}:
        raise ValueError("root, tree or ring")
    rounds, left = 0, ranks
    while left > 1:
        left, rounds = left - left // 2, rounds + 1
    count = rounds if kind == "tree" else ranks - 1
    share = ranks if kind == "ring" else 1
    return 0.0 + count * 2 * latency + count * 2 * size / share / bandwidth


# ------------------------------------------------------------------------------------------------ ring_all_reduce


@wrong("ring_all_reduce", "sends whole arrays around the ring, P - 1 times", fails=["test_bytes_and_messages"])
def whole_arrays(comm, x):
    held = [None] * comm.size
    held[comm.rank] = np.array(x)
    for t in range(comm.size - 1):
        comm.send((comm.rank + 1) % comm.size, held[(comm.rank - t) % comm.size])
        held[(comm.rank - t - 1) % comm.size] = comm.recv((comm.rank - 1) % comm.size)
    return np.sum(held, axis=0, dtype=x.dtype)


@wrong("ring_all_reduce", "lets each rank add the arrays in an order of its own", fails=["test_same_bits_on_all_ranks"])
def own_order(comm, x):
    P, r = comm.size, comm.rank
    total, travelling = np.array(x), np.array(x)
    for _ in range(P - 1):
        comm.send((r + 1) % P, travelling)
        travelling = comm.recv((r - 1) % P)
        total += travelling
    return total


@wrong("ring_all_reduce", "collects all arrays on rank 0 and sends the sum back", fails=["test_bytes_and_messages"])
def through_the_root(comm, x):
    return np.array(root_all_reduce(comm, x))


wrong(
    "ring_all_reduce",
    "sends the wrong chunk: its index is off by one",
    fails=["test_sum_on_every_rank"],
    edit={"chunks[(r - t) % P])\n": "chunks[(r - t + 1) % P])\n"},
)
wrong(
    "ring_all_reduce",
    "adds in the second round, too, in place of replacing",
    fails=["test_sum_on_every_rank"],
    edit={"chunks[(r - t) % P][:] =": "chunks[(r - t) % P] +="},
)
wrong(
    "ring_all_reduce",
    "needs an n that P divides: what is left over is not summed",
    fails=["test_any_length"],
    edit={"np.array_split(total, P)": "[total[i * (len(x) // P) : (i + 1) * (len(x) // P)] for i in range(P)]"},
)
wrong(
    "ring_all_reduce",
    "does the first round only: no rank has all sums",
    fails=["test_sum_on_every_rank"],
    edit={
        "        comm.send((r + 1) % P, chunks[(r + 1 - t) % P])\n": "",
        "chunks[(r - t) % P][:] = comm.recv((r - 1) % P)": "pass",
    },
)
wrong(
    "ring_all_reduce",
    "returns the mean and not the sum",
    fails=["test_sum_on_every_rank"],
    edit={"return total": "return total / P"},
)
wrong(
    "ring_all_reduce",
    "sends float64 where x is float32",
    fails=["test_float32_and_layouts"],
    edit={
        "total = np.array(x)": "total = np.array(x, np.float64)",
        "return total": "return total.astype(x.dtype)",
    },
)


@wrong(
    "ring_all_reduce",
    "takes its neighbours' arrays from a global variable, and sends for show",
    fails=["test_what_arrives_is_what_counts"],
)
def by_a_global(comm, x):
    everything = ring_all_reduce.__dict__.setdefault("shared", {})
    P, r = comm.size, comm.rank
    everything[r] = np.array(x)
    for t in range(2 * P - 2):
        comm.send((r + 1) % P, np.array_split(x, P)[t % P])
        comm.recv((r - 1) % P)
    return np.sum([everything[q] for q in range(P)], axis=0, dtype=x.dtype)


@right("ring_all_reduce", "slices of equal length, number by number; empty messages are left out")
def without_empty_messages(comm, x):
    P, r, n = comm.size, comm.rank, len(x)
    width = -(-n // P)
    bounds = [(min(n, c * width), min(n, (c + 1) * width)) for c in range(P)]
    result = x.copy()
    for step in range(2 * (P - 1)):
        (first, last), (into, end) = bounds[(r - step) % P], bounds[(r - step - 1) % P]
        if step >= P - 1:
            (first, last), (into, end) = bounds[(r + P - step) % P], bounds[(r + P - 1 - step) % P]
        if last > first:
            comm.send((r + 1) % P, result[first:last])
        if end > into:
            for i, value in enumerate(comm.recv((r - 1) % P)):
                result[into + i] = value + result[into + i] if step < P - 1 else value
    return result


@right("ring_all_reduce", "interleaved parts x[c::P], kept in a list")
def interleaved(comm, x):
    P, me = comm.size, comm.rank
    parts = [np.ascontiguousarray(x[c::P]) for c in range(P)]
    c = me
    for _ in range(P - 1):
        comm.send((me + 1) % P, parts[c])
        c = (c - 1) % P
        parts[c] = comm.recv((me - 1) % P) + parts[c]
    for _ in range(P - 1):
        comm.send((me + 1) % P, parts[c])
        c = (c - 1) % P
        parts[c] = comm.recv((me - 1) % P)
    out = np.empty(x.shape, x.dtype)
    for c in range(P):
        out[c::P] = parts[c]
    return out


# --------------------------------------------------------------------------------------------- data_parallel_step

wrong(
    "data_parallel_step",
    "takes the mean of the ranks' mean gradients, whatever their rows",
    fails=["test_step_with_any_shards"],
    edit={
        "message[:-1] = rows * grad(theta, X, y)": "message[:-1] = grad(theta, X, y)",
        "message[-1] = rows": "message[-1] = 1",
    },
)
wrong(
    "data_parallel_step",
    "adds mean gradients and divides by the number of rows",
    fails=["test_step_with_equal_shards"],
    edit={"rows * grad(theta, X, y)": "grad(theta, X, y)"},
)
wrong(
    "data_parallel_step",
    "takes the sum of the ranks' mean gradients, divided by the number of ranks",
    fails=["test_step_with_any_shards"],
    edit={"rows * grad(theta, X, y)": "grad(theta, X, y)", "total[-1]": "comm.size"},
)
wrong(
    "data_parallel_step",
    "takes the sum of the ranks' mean gradients",
    fails=["test_step_with_equal_shards"],
    edit={"rows * grad(theta, X, y)": "grad(theta, X, y)", " / total[-1]": ""},
)
wrong(
    "data_parallel_step",
    "does not divide by the number of rows",
    fails=["test_step_with_equal_shards"],
    edit={" / total[-1]": ""},
)
wrong(
    "data_parallel_step",
    "divides the sum over the rows by the number of ranks",
    fails=["test_step_with_equal_shards"],
    edit={" / total[-1]": " / comm.size"},
)
wrong(
    "data_parallel_step",
    "asks for the gradient of no rows",
    fails=["test_ranks_without_rows"],
    edit={"    if rows:\n": "    if True:\n"},
)
wrong(
    "data_parallel_step",
    "sends two numbers where it has no rows, whatever d is",
    fails=["test_ranks_without_rows"],
    edit={"np.zeros(len(theta) + 1)": "np.zeros(len(theta) + 1 if rows else 2)"},
)
wrong(
    "data_parallel_step",
    "takes the number of columns for the number of parameters",
    fails=["test_step_with_any_shards"],
    edit={"np.zeros(len(theta) + 1)": "np.zeros(X.shape[1] + 1)"},
)
wrong(
    "data_parallel_step",
    "stays away from the all-reduce where it has no rows",
    fails=["test_ranks_without_rows"],
    edit={"    total = all_reduce": "    if not rows:\n        return theta.copy()\n    total = all_reduce"},
)
wrong(
    "data_parallel_step",
    "reduces gradient and count one after the other",
    fails=["test_one_all_reduce"],
    edit={"all_reduce(comm, message)": "np.append(all_reduce(comm, message[:-1]), all_reduce(comm, message[-1:]))"},
)
wrong(
    "data_parallel_step",
    "returns what theta changes by, without theta",
    fails=["test_step_with_equal_shards"],
    edit={"return theta - lr": "return -lr"},
)


@wrong(
    "data_parallel_step",
    "takes the other ranks' gradients from a global variable, and reduces zeros for show",
    fails=["test_the_sum_decides"],
)
def by_a_board(comm, all_reduce, grad, theta, X, y, lr):
    board = by_a_board.__dict__.setdefault("board", {})
    board[comm.rank] = (len(y), len(y) * grad(theta, X, y) if len(y) else np.zeros(len(theta)))
    all_reduce(comm, np.zeros(len(theta) + 1))
    parts = [board[r] for r in range(comm.size) if r in board]
    return theta - lr * sum(g for _, g in parts) / sum(count for count, _ in parts)


wrong(
    "data_parallel_step",
    "steps uphill",
    fails=["test_step_with_equal_shards"],
    edit={"theta - lr": "theta + lr"},
)


@right("data_parallel_step", "a list that becomes the message")
def by_a_list(comm, all_reduce, grad, theta, X, y, lr):
    count = X.shape[0]
    local = [0.0] * theta.shape[0] if count == 0 else [float(g) * count for g in grad(theta, X, y)]
    *sums, everybody = all_reduce(comm, np.array([*local, float(count)])).tolist()
    return np.array([t - lr * (s / everybody) for t, s in zip(theta.tolist(), sums, strict=True)])


@right("data_parallel_step", "the count first")
def count_first(comm, all_reduce, grad, theta, X, y, lr):
    g = grad(theta, X, y) * len(X) if len(X) else np.zeros_like(theta)
    reduced = all_reduce(comm, np.concatenate(([len(X)], g)))
    return theta - (lr / reduced[0]) * reduced[1:]


# ----------------------------------------------------------------------------------------------- bucket_gradients

wrong(
    "bucket_gradients",
    "fills buckets in the order of the forward pass",
    fails=["test_all_tensors_from_the_last_to_the_first"],
    edit={"reversed(range(len(sizes)))": "range(len(sizes))"},
)
wrong(
    "bucket_gradients",
    "closes a bucket that is not yet full: cap itself does not fit",
    fails=["test_buckets_are_as_full_as_they_can_be"],
    edit={"used + sizes[i] > cap": "used + sizes[i] >= cap"},
)
wrong(
    "bucket_gradients",
    "closes a bucket only when it is above cap",
    fails=["test_buckets_are_as_full_as_they_can_be"],
    edit={"used + sizes[i] > cap": "used > cap"},
)
wrong(
    "bucket_gradients",
    "forgets to count the bytes of the tensor that opens a bucket",
    fails=["test_buckets_are_as_full_as_they_can_be"],
    edit={"used += sizes[i]": "used += sizes[i] if len(buckets[-1]) > 1 else 0"},
)
wrong(
    "bucket_gradients",
    "puts at most three tensors into a bucket",
    fails=["test_buckets_are_as_full_as_they_can_be"],
    edit={"used + sizes[i] > cap": "used + sizes[i] > cap or len(buckets[-1]) == 3"},
)
wrong(
    "bucket_gradients",
    "makes the right buckets, and begins with the first layers",
    fails=["test_all_tensors_from_the_last_to_the_first"],
    edit={"return buckets": "return buckets[::-1]"},
)


@wrong(
    "bucket_gradients",
    "puts every tensor where it fits, in whatever bucket",
    fails=["test_all_tensors_from_the_last_to_the_first"],
)
def first_fit(sizes, cap):
    buckets = []
    for i in reversed(range(len(sizes))):
        for bucket in buckets:
            if sum(sizes[j] for j in bucket) + sizes[i] <= cap:
                bucket.append(i)
                break
        else:
            buckets.append([i])
    return buckets


@right("bucket_gradients", "an open bucket that is handed over when it is full")
def handed_over(sizes, cap):
    done, open_bucket = [], []
    position = len(sizes) - 1
    while position >= 0:
        if open_bucket and sum(sizes[j] for j in open_bucket) + sizes[position] > cap:
            done.append(open_bucket)
            open_bucket = []
        open_bucket.append(position)
        position -= 1
    return done + [open_bucket] * bool(open_bucket)


@right("bucket_gradients", "cumulative sums from the end")
def by_sums(sizes, cap):
    buckets, room = [], -1
    for i, size in sorted(enumerate(sizes), reverse=True):
        if size <= room:
            buckets[-1].append(i)
            room -= size
        else:
            buckets.append([i])
            room = cap - size
    return buckets


# ------------------------------------------------------------------------------------------------------ zero_step

wrong(
    "zero_step",
    "takes the sum of the gradients instead of their mean",
    fails=["test_first_step_of_adam"],
    edit={"    g = g / P\n": ""},
)
wrong(
    "zero_step",
    "averages its own slice only: what the other ranks sent is not added",
    fails=["test_first_step_of_adam"],
    edit={"g = g + comm.recv((r - step) % P)": "comm.recv((r - step) % P)"},
)
wrong(
    "zero_step",
    "does not send its new slice: the other ranks keep the old one",
    fails=["test_first_step_of_adam"],
    edit={"everything[(r - step) % P] = comm.recv((r - step) % P)": "comm.recv((r - step) % P)"},
)
wrong(
    "zero_step",
    "leaves out the correction by 1 - beta^t",
    fails=["test_first_step_of_adam"],
    edit={"(m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)": "m / (np.sqrt(v) + eps)"},
)
wrong(
    "zero_step",
    "does not divide v by 1 - beta_2^t",
    fails=["test_first_step_of_adam"],
    edit={"np.sqrt(v / (1 - betas[1] ** t))": "np.sqrt(v)"},
)
wrong(
    "zero_step",
    "does not divide m by 1 - beta_1^t",
    fails=["test_first_step_of_adam"],
    edit={"(m / (1 - betas[0] ** t))": "m"},
)
wrong(
    "zero_step",
    "puts eps under the root",
    fails=["test_first_step_of_adam"],
    edit={"(np.sqrt(v / (1 - betas[1] ** t)) + eps)": "np.sqrt(v / (1 - betas[1] ** t) + eps)"},
)
wrong(
    "zero_step",
    "begins to count its steps at 0",
    fails=["test_moments_and_later_steps"],
    edit={
        "(1 - betas[0] ** t)": "(1 - betas[0] ** max(1, t - 1))",
        "(1 - betas[1] ** t)": "(1 - betas[1] ** max(1, t - 1))",
    },
)
wrong(
    "zero_step",
    "rounds the length of a slice down: the last entries belong to nobody",
    fails=["test_slices_of_any_length"],
    edit={
        "w = -(-d // P)": "w = max(1, d // P)",
        "padded[:d] = vector": "padded[:d] = vector[: P * w]",
        "return everything.ravel()[:d], m, v": "return np.append(everything.ravel(), params[P * w :])[:d], m, v",
    },
)


@wrong("zero_step", "all-reduces whole gradients through rank 0 first", fails=["test_slices_and_bytes"])
def reduced_first(comm, params, grad, m, v, t, lr, betas, eps):
    P, r, d = comm.size, comm.rank, len(params)
    w = -(-d // P)
    g = np.zeros(P * w)
    g[:d] = root_all_reduce(comm, grad) / P
    g = g[r * w : (r + 1) * w]
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    new = np.zeros(P * w)
    new[:d] = params
    new = new.reshape(P, w)
    new[r] -= lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    for q in range(P):
        if q != r:
            comm.send(q, new[r])
    for q in range(P):
        if q != r:
            new[q] = comm.recv(q)
    return new.ravel()[:d], m, v


wrong(
    "zero_step",
    "collects the moments of all parameters on every rank",
    fails=["test_slices_and_bytes"],
    edit={
        "return everything.ravel()[:d], m, v": """wholes = []
    for moment in (m, v):
        rows = np.zeros((P, w))
        rows[r] = moment
        for step in range(1, P):
            comm.send((r + step) % P, moment)
        for step in range(1, P):
            rows[(r - step) % P] = comm.recv((r - step) % P)
        wholes.append(rows)
    return everything.ravel()[:d], wholes[0][r].copy(), wholes[1][r].copy()"""
    },
)


@wrong(
    "zero_step",
    "takes the other ranks' slices from a global variable, and sends zeros for show",
    fails=["test_parameters_are_the_same_everywhere"],
)
def slices_by_a_board(comm, params, grad, m, v, t, lr, betas, eps):
    board = slices_by_a_board.__dict__.setdefault("board", {})
    P, r, w = comm.size, comm.rank, len(m)
    rows = np.pad(grad, (0, P * w - len(grad))).reshape(P, w)
    others = [q for q in range(P) if q != r]
    for q in others:
        comm.send(q, rows[q])
    g = np.mean([rows[r], *(comm.recv(q) for q in others)], axis=0)
    m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
    theta = np.pad(params, (0, P * w - len(params))).reshape(P, w)
    board[r] = theta[r] - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    for q in others:
        comm.send(q, np.zeros(w))
    for q in others:
        comm.recv(q)
    return np.concatenate([board[q] for q in range(P)])[: len(params)], m, v


@right("zero_step", "a ring for both halves, with plain slices")
def ring_halves(comm, params, grad, m, v, t, lr, betas, eps):
    P, r, d = comm.size, comm.rank, params.size
    w = math.ceil(d / P)
    slices = [slice(min(d, q * w), min(d, (q + 1) * w)) for q in range(P)]
    sums = [grad[part].copy() for part in slices]
    for step in range(P - 1):  # the part of rank r ends on rank r
        comm.send((r + 1) % P, sums[(r - 1 - step) % P])
        sums[(r - 2 - step) % P] = sums[(r - 2 - step) % P] + comm.recv((r - 1) % P)
    mine, k = sums[r] / P, slices[r].stop - slices[r].start
    first, second = np.zeros(w), np.zeros(w)
    first[:k] = betas[0] * m[:k] + (1 - betas[0]) * mine
    second[:k] = betas[1] * v[:k] + (1 - betas[1]) * mine * mine
    new = np.array(params)
    step_size = lr / (1 - betas[0] ** t)
    new[slices[r]] -= step_size * first[:k] / (np.sqrt(second[:k]) / math.sqrt(1 - betas[1] ** t) + eps)
    for step in range(P - 1):
        comm.send((r + 1) % P, new[slices[(r - step) % P]])
        new[slices[(r - 1 - step) % P]] = comm.recv((r - 1) % P)
    return new, first, second


@right("zero_step", "padding by np.pad, and messages in the order of the ranks")
def by_pad(comm, params, grad, m, v, t, lr, betas, eps):
    w = (len(params) + comm.size - 1) // comm.size
    rows = np.pad(grad, (0, comm.size * w - len(grad))).reshape(comm.size, w)
    others = [q for q in range(comm.size) if q != comm.rank]
    for q in others:
        comm.send(q, rows[q])
    g = np.mean([rows[comm.rank], *(comm.recv(q) for q in others)], axis=0)
    m, v = m + (1 - betas[0]) * (g - m), v + (1 - betas[1]) * (g * g - v)
    theta = np.pad(params, (0, comm.size * w - len(params))).reshape(comm.size, w)
    unbiased_m, unbiased_v = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    mine = theta[comm.rank] - lr * unbiased_m / (unbiased_v**0.5 + eps)
    for q in others:
        comm.send(q, mine)
    theta[comm.rank] = mine
    for q in others:
        theta[q] = comm.recv(q)
    return theta.reshape(-1)[: len(params)].copy(), m, v


# ----------------------------------------------------------------------------------------------- clip_global_norm

wrong(
    "clip_global_norm",
    "adds norms where squares of norms add up",
    fails=["test_norm_of_all_slices"],
    edit={"np.sum(shard**2)": "math.sqrt(np.sum(shard**2))", "norm = math.sqrt(squares[0])": "norm = squares[0]"},
)
wrong(
    "clip_global_norm",
    "divides by the squared norm",
    fails=["test_norm_of_all_slices"],
    edit={"math.sqrt(squares[0])": "squares[0]"},
)
wrong(
    "clip_global_norm",
    "takes the mean of the squares over the ranks",
    fails=["test_norm_of_all_slices"],
    edit={"math.sqrt(squares[0])": "math.sqrt(squares[0] / comm.size)"},
)
wrong(
    "clip_global_norm",
    "adds a small number to the norm before it divides",
    fails=["test_norm_of_all_slices"],
    edit={"limit / norm if": "limit / (norm + 1e-6) if"},
)
wrong(
    "clip_global_norm",
    "takes the largest square of a slice for the sum of its squares",
    fails=["test_norm_of_all_slices"],
    edit={"np.sum(shard**2)": "np.max(shard**2, initial=0)"},
)
wrong(
    "clip_global_norm",
    "returns the slice itself where nothing is clipped",
    fails=["test_clipping_leaves_no_trace"],
    edit={
        "return shard * (limit / norm if norm > limit else 1.0)": (
            "return shard * (limit / norm) if norm > limit else shard"
        )
    },
)
wrong(
    "clip_global_norm",
    "also stretches a short gradient to the limit",
    fails=["test_a_short_gradient_stays"],
    edit={"limit / norm if norm > limit else 1.0": "limit / norm if norm > 0 else 1.0"},
)
wrong(
    "clip_global_norm",
    "asks the other ranks only where its own slice is too long",
    fails=["test_one_number_is_reduced"],
    edit={
        "    squares = ": "    if len(shard) == 0:\n        return shard.copy()\n    squares = ",
    },
)


@wrong(
    "clip_global_norm",
    "takes the other ranks' squares from a global variable, and reduces a zero for show",
    fails=["test_the_reduced_norm_decides"],
)
def norm_by_a_board(comm, all_reduce, shard, limit):
    board = norm_by_a_board.__dict__.setdefault("board", {})
    board[comm.rank] = float(shard @ shard)
    all_reduce(comm, np.zeros(1))
    norm = math.sqrt(sum(board[r] for r in range(comm.size) if r in board))
    return shard * (limit / norm if norm > limit else 1.0)


@right("clip_global_norm", "a dot product, and the factor by min")
def by_dot(comm, all_reduce, shard, limit):
    (total,) = all_reduce(comm, np.full(1, shard @ shard)).tolist()
    return shard * min(1.0, limit / max(total**0.5, 1e-300))


@right("clip_global_norm", "a loop, and a division only where it is needed")
def by_loop(comm, all_reduce, shard, limit):
    squares = 0.0
    for value in shard.tolist():
        squares += value * value
    norm = float(np.sqrt(all_reduce(comm, np.array([squares]))).item())
    if norm <= limit:
        return np.array(shard)
    return np.array([value / norm * limit for value in shard.tolist()], float)


# --------------------------------------------------------------------------------------------------- parallel_mlp

wrong(
    "parallel_mlp",
    "adds b2 on each rank before the sum",
    fails=["test_output_is_whole"],
    edit={"(a @ W2).ravel()).reshape(dy.shape) + b2": "(a @ W2 + b2).ravel()).reshape(dy.shape)"},
)
wrong(
    "parallel_mlp",
    "returns its own part of the gradient of x",
    fails=["test_gradient_of_the_input_is_whole"],
    edit={"dx = all_reduce(comm, (gamma @ W1.T).ravel()).reshape(x.shape)": "dx = gamma @ W1.T"},
)
wrong(
    "parallel_mlp",
    "returns its own part of y",
    fails=["test_output_is_whole"],
    edit={"y = all_reduce(comm, (a @ W2).ravel()).reshape(dy.shape) + b2": "y = a @ W2 + b2"},
)
wrong(
    "parallel_mlp",
    "sums the gradient of b2 over the ranks",
    fails=["test_gradient_of_the_shared_bias"],
    edit={'"b2": dy.sum(axis=0)': '"b2": all_reduce(comm, dy.sum(axis=0))'},
)
wrong(
    "parallel_mlp",
    "forgets the derivative of tanh",
    fails=["test_gradients_of_the_own_part"],
    edit={" * (1 - a**2)": ""},
)
wrong(
    "parallel_mlp",
    "makes a third all-reduce, for a gradient that is already complete",
    fails=["test_two_all_reduces"],
    edit={'"W1": x.T @ gamma': '"W1": x.T @ gamma + 0 * all_reduce(comm, np.zeros(1))[0]'},
)
wrong(
    "parallel_mlp",
    "averages the gradients over the rows",
    fails=["test_gradients_of_the_own_part"],
    edit={"gamma = (dy @ W2.T)": "gamma = (dy / len(x) @ W2.T)"},
)


wrong(
    "parallel_mlp",
    "reduces the gradient of x before y",
    fails=["test_two_all_reduces"],
    edit={
        "y = all_reduce(comm, (a @ W2).ravel()).reshape(dy.shape) + b2": "partial = a @ W2",
        "dx = all_reduce(comm, (gamma @ W1.T).ravel()).reshape(x.shape)": """dx = gamma @ W1.T
    dx = all_reduce(comm, dx.ravel()).reshape(x.shape)
    y = all_reduce(comm, partial.ravel()).reshape(dy.shape) + b2""",
    },
)


@wrong(
    "parallel_mlp",
    "takes the other ranks' parts from a global variable, and reduces zeros for show",
    fails=["test_the_sums_decide"],
)
def mlp_by_a_board(comm, all_reduce, x, W1, b1, W2, b2, dy):
    board = mlp_by_a_board.__dict__.setdefault("board", {})
    a = np.tanh(x @ W1 + b1)
    back = (dy @ W2.T) * (1 - a**2)
    board[comm.rank] = a @ W2, back @ W1.T
    all_reduce(comm, np.zeros(dy.size))
    all_reduce(comm, np.zeros(x.size))
    parts = [board[r] for r in range(comm.size) if r in board and board[r][0].shape == dy.shape]
    y, dx = (sum(part[i] for part in parts) for i in range(2))
    return y + b2, {"x": dx, "W1": x.T @ back, "b1": back.sum(0), "W2": a.T @ dy, "b2": dy.sum(0)}


@right("parallel_mlp", "explicit sums by einsum, keys one by one")
def by_einsum(comm, all_reduce, x, W1, b1, W2, b2, dy):
    hidden = np.tanh(np.einsum("bd,dk->bk", x, W1) + b1[None, :])
    partial = np.einsum("bk,ko->bo", hidden, W2)
    y = np.reshape(all_reduce(comm, partial.flatten()), partial.shape)
    y = y + b2
    back = np.einsum("bo,ko->bk", dy, W2)
    back = back - back * hidden * hidden
    grads = {}
    grads["b2"] = np.ones(len(dy)) @ dy
    grads["W2"] = np.einsum("bk,bo->ko", hidden, dy)
    grads["b1"] = np.ones(len(dy)) @ back
    grads["W1"] = np.einsum("bd,bk->dk", x, back)
    grads["x"] = np.reshape(all_reduce(comm, np.einsum("bk,dk->bd", back, W1).flatten()), x.shape)
    return y, grads


@right("parallel_mlp", "one hidden unit after the other")
def unit_by_unit(comm, all_reduce, x, W1, b1, W2, b2, dy):
    out, into = np.zeros_like(dy), np.zeros(x.shape)
    g1, c1, g2 = np.zeros(W1.shape), np.zeros(b1.shape), np.zeros(W2.shape)
    for j in range(len(b1)):
        unit = np.tanh(x @ W1[:, j] + b1[j])
        out += np.outer(unit, W2[j])
        signal = (dy @ W2[j]) * (1 - unit) * (1 + unit)
        g1[:, j], c1[j], g2[j] = signal @ x, signal.sum(), unit @ dy
        into += np.outer(signal, W1[:, j])
    y = all_reduce(comm, out.reshape(-1)).reshape(out.shape) + b2
    return y, {
        "x": all_reduce(comm, into.reshape(-1)).reshape(into.shape),
        "W1": g1,
        "b1": c1,
        "W2": g2,
        "b2": dy.sum(0),
    }


# ---------------------------------------------------------------------------------------------- pipeline_schedule

wrong(
    "pipeline_schedule",
    "does one forward of warm-up too many, and keeps its activations",
    fails=["test_activations_that_are_kept"],
    edit={"min(stages - s - 1, micro)": "min(stages - s, micro)"},
)
wrong(
    "pipeline_schedule",
    "does one forward of warm-up too many where there are more than two stages",
    fails=["test_activations_that_are_kept"],
    edit={"min(stages - s - 1, micro)": "min(stages - s - 1 + (stages > 2), micro)"},
)
wrong(
    "pipeline_schedule",
    "has no warm-up at all: forward and backward of each micro-batch by turns",
    fails=["test_no_deadlock_and_the_right_length"],
    edit={'min(stages - s - 1, micro) if kind == "1f1b" else micro': '0 if kind == "1f1b" else micro'},
)
wrong(
    "pipeline_schedule",
    "gives 1F1B the schedule of GPipe",
    fails=["test_activations_that_are_kept"],
    edit={'min(stages - s - 1, micro) if kind == "1f1b" else micro': "micro"},
)
wrong(
    "pipeline_schedule",
    "gives the first stage the warm-up of the last",
    fails=["test_no_deadlock_and_the_right_length"],
    edit={"stages - s - 1": "s"},
)
wrong(
    "pipeline_schedule",
    "forgets that there may be fewer micro-batches than stages",
    fails=["test_every_micro_batch_once"],
    edit={"min(stages - s - 1, micro)": "stages - s - 1"},
)
wrong(
    "pipeline_schedule",
    "warms up all stages equally long, by p - 1",
    fails=["test_activations_that_are_kept"],
    edit={"min(stages - s - 1, micro)": "min(stages - 1, micro)"},
)


@right("pipeline_schedule", "three parts, joined")
def in_three_parts(stages, micro, kind):
    if kind == "gpipe":
        return [[("F", i) for i in range(micro)] + [("B", i) for i in range(micro)] for _ in range(stages)]
    if kind != "1f1b":
        raise ValueError("unknown schedule")
    rows = []
    for s in range(stages):
        w = stages - s - 1 if stages - s - 1 < micro else micro
        warm = [("F", i) for i in range(w)]
        steady = [pair for i in range(micro - w) for pair in (("F", w + i), ("B", i))]
        rows.append(warm + steady + [("B", i) for i in range(micro - w, micro)])
    return rows


@right("pipeline_schedule", "by counting what is in flight")
def by_counting(stages, micro, kind):
    if kind not in {"gpipe", "1f1b"}:
        raise ValueError(kind)
    schedule = []
    for s in range(stages):
        limit = micro if kind == "gpipe" else min(stages - s, micro)
        row, f, b = [], 0, 0
        while b < micro:
            if f < micro and f - b < limit:
                row.append(("F", f))
                f += 1
            else:
                row.append(("B", b))
                b += 1
        schedule.append(row)
    return schedule


# ------------------------------------------------------------------------------------------------- top_k_feedback

wrong(
    "top_k_feedback",
    "drops the memory: it chooses among the entries of grad alone",
    fails=["test_largest_of_the_sum_are_sent"],
    edit={"left = grad + memory": "left = grad.copy()"},
)
wrong(
    "top_k_feedback",
    "chooses by the size of grad, and adds the memory only afterwards",
    fails=["test_largest_of_the_sum_are_sent"],
    edit={"-np.abs(left)": "-np.abs(grad)"},
)
wrong(
    "top_k_feedback",
    "chooses the largest entries without taking absolute values",
    fails=["test_largest_of_the_sum_are_sent"],
    edit={"-np.abs(left)": "-left"},
)
wrong(
    "top_k_feedback",
    "keeps what was sent in the memory, too",
    fails=["test_nothing_is_lost"],
    edit={"    left[indices] = 0\n": ""},
)
wrong(
    "top_k_feedback",
    "sends the entries of grad and forgets those of the memory",
    fails=["test_nothing_is_lost"],
    edit={"values = left[indices]": "values = grad[indices]"},
)
wrong(
    "top_k_feedback",
    "takes the higher place among entries of equal size",
    fails=["test_ties_go_to_the_lower_place"],
    edit={'order = np.argsort(-np.abs(left), kind="stable")': 'order = np.argsort(np.abs(left), kind="stable")[::-1]'},
)
wrong(
    "top_k_feedback",
    "takes any of the entries of equal size, as a partition leaves them",
    fails=["test_ties_go_to_the_lower_place"],
    edit={
        'order = np.argsort(-np.abs(left), kind="stable")': (
            "order = np.argpartition(-np.abs(left), k - 1) if k else np.arange(0)"
        )
    },
)
wrong(
    "top_k_feedback",
    "returns the places in the order of size, and not ascending",
    fails=["test_largest_of_the_sum_are_sent"],
    edit={"np.sort(order[:k])": "order[:k]"},
)


@right("top_k_feedback", "Python's sort, with the place as the second key")
def by_keys(grad, memory, k):
    whole = [g + e for g, e in zip(grad, memory, strict=True)]
    places = sorted(sorted(range(len(whole)), key=lambda i: (-abs(whole[i]), i))[:k])
    values = np.array([whole[i] for i in places], grad.dtype)
    sent = set(places)
    kept = np.array([0 if i in sent else value for i, value in enumerate(whole)], grad.dtype)
    return np.array(places, np.int64), values, kept


@right("top_k_feedback", "a mask by lexsort")
def by_mask(grad, memory, k):
    corrected = np.add(grad, memory)
    order = np.lexsort((np.arange(corrected.size), -np.abs(corrected)))
    mask = np.zeros(corrected.size, bool)
    mask[order[:k]] = True
    indices = np.flatnonzero(mask)
    return indices.astype(np.int64), corrected[indices], np.where(mask, corrected.dtype.type(0), corrected)
