"""Wrong and right answers that prove the hidden tests of module 11, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821, E501, B905, RUF059

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.answers import equivalent, right, wrong

# What is not done to tensors

equivalent(
    "LSTMCell",
    diff="~ LSTMCell.forward: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "LSTMCell",
    diff="~ LSTMCell.forward: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "LSTMCell",
    diff="~ LSTMCell.forward: an array is read in the order of its memory",
    reason="this is done to NumPy's arrays only, and none comes",
)
equivalent(
    "masked_batch",
    diff="~ masked_loss: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "masked_batch",
    diff="~ masked_loss: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "masked_batch",
    diff="~ masked_loss: an array is read in the order of its memory",
    reason="this is done to NumPy's arrays only, and none comes",
)
equivalent(
    "stacked_lstm",
    diff="~ stacked_lstm: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "stacked_lstm",
    diff="~ stacked_lstm: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "stacked_lstm",
    diff="~ stacked_lstm: an array is read in the order of its memory",
    reason="this is done to NumPy's arrays only, and none comes",
)
equivalent(
    "truncated_step",
    diff="~ truncated_step: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "truncated_step",
    diff="~ truncated_step: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "truncated_step",
    diff="~ truncated_step: an array is read in the order of its memory",
    reason="this is done to NumPy's arrays only, and none comes",
)
equivalent(
    "sample",
    diff="""- np.put_along_axis(z, order[:, top_k:], -np.inf, axis=1)
+ np.put_along_axis(z, order[:, top_k:], -1e+30, axis=1)""",
    reason="exp makes 0 of both",
)
equivalent(
    "sample",
    diff="""- return (sums <= rng.random((len(z), 1)) * sums[:, -1:]).sum(axis=1)
+ return (sums < rng.random((len(z), 1)) * sums[:, -1:]).sum(axis=1)""",
    reason="the generator draws a number at exactly such a border once in 2^53 times",
)
equivalent(
    "stacked_lstm",
    diff="""- x = x * (torch.rand_like(x) >= dropout) / (1 - dropout)
+ x = x * (torch.rand_like(x) > dropout) / (1 - dropout)""",
    reason="torch draws exactly p once in many million times",
)
equivalent(
    "sample",
    diff="""- p = np.exp((z - z.max(axis=1, keepdims=True)) / temperature)
+ p = np.exp(np.clip((z - z.max(axis=1, keepdims=True)) / temperature, -20, 20))""",
    reason="a word that should not come is drawn once in 500 million times, which no test can wait for",
)
equivalent(
    "sample",
    diff="~ sample: temperature becomes float(np.float32(x))",
    reason="the law moves by 6e-8 of an exponent, which no number of draws shows",
)

# ------------------------------------------------------------------------------------------------------ embedding

wrong(
    "embedding",
    "counts only the last place of a word that comes more than once",
    fails=["test_gradient_adds_up"],
    edit={
        "np.add.at(sums, places.ravel(), slopes.reshape(-1, slopes.shape[-1]))": "sums[places.ravel()] += slopes.reshape(-1, slopes.shape[-1])"
    },
)
wrong(
    "embedding",
    "takes the mean over the places of a word",
    fails=["test_gradient_adds_up"],
    edit={
        "return rows.astype(np.int64), sums": "return rows.astype(np.int64), (sums / np.bincount(places.ravel())[:, None]).astype(sums.dtype)"
    },
)
wrong(
    "embedding",
    "takes row 0 for a word that is not in the vocabulary",
    fails=["test_lookup_of_words"],
    edit={
        '[token if token in vocabulary else "<unk>" for token in tokens]': "tokens",
        "vocabulary[token] for": "vocabulary.get(token, 0) for",
    },
)
wrong(
    "embedding",
    "leaves out words that are not in the vocabulary",
    fails=["test_lookup_of_words"],
    edit={
        '[token if token in vocabulary else "<unk>" for token in tokens]': "[token for token in tokens if token in vocabulary]"
    },
)


@wrong(
    "embedding",
    "compares all places with all rows",
    fails=["test_gradient_stays_sparse"],
    replaces="embedding_gradient",
)
def gradient_by_table(ids, slopes):
    rows = np.unique(ids)
    flat = slopes.reshape(-1, slopes.shape[-1])
    return rows.astype(np.int64), ((rows[:, None] == np.ravel(ids)).astype(slopes.dtype) @ flat).astype(slopes.dtype)


@wrong(
    "embedding",
    "makes a gradient of the whole table first",
    fails=["test_gradient_of_every_kind"],
    replaces="embedding_gradient",
)
def gradient_by_dense(ids, slopes):
    ids, flat = np.ravel(ids).astype(np.int64), slopes.reshape(-1, slopes.shape[-1])
    dense = np.zeros((int(ids.max()) + 1, flat.shape[1]), slopes.dtype)
    np.add.at(dense, ids, flat)
    rows = np.unique(ids)
    return rows, dense[rows]


@right("embedding", "a dictionary of sums", replaces="embedding_gradient")
def gradient_by_dict(ids, slopes):
    found = {}
    for j, slope in zip(np.ravel(ids).tolist(), slopes.reshape(-1, slopes.shape[-1]), strict=True):
        if j in found:
            found[j] += slope
        else:
            found[j] = slope.copy()
    rows = sorted(found)
    return np.array(rows, dtype=np.int64), np.array([found[j] for j in rows], dtype=slopes.dtype)


@right("embedding", "sorted, then sums of runs", replaces="embedding_gradient")
def gradient_by_runs(ids, slopes):
    flat = np.asarray(ids).astype(np.int64).reshape(-1)
    order = np.argsort(flat, kind="stable")
    starts = np.flatnonzero(np.diff(flat[order], prepend=-1))
    sums = np.add.reduceat(slopes.reshape(-1, slopes.shape[-1])[order], starts, axis=0)
    return flat[order][starts], sums.astype(slopes.dtype)


@right("embedding", "a loop over the words")
def lookup_by_loop(table, vocabulary, tokens):
    ids = np.zeros(len(tokens), dtype=np.int64)
    vectors = np.zeros((len(tokens), table.shape[1]), dtype=table.dtype)
    for t, token in enumerate(tokens):
        if token not in vocabulary and "<unk>" not in vocabulary:
            raise KeyError(token)
        ids[t] = vocabulary.get(token, vocabulary.get("<unk>"))
        vectors[t] = table[ids[t]]
    return ids, vectors


# ---------------------------------------------------------------------------------------------------- rnn_forward

wrong("rnn_forward", "multiplies the state by U instead of U^T", fails=["test_one_step"], edit={"h @ U.T": "h @ U"})
wrong("rnn_forward", "forgets the bias", fails=["test_one_step"], edit={" + h @ U.T + b)": " + h @ U.T + 0 * b)"})
wrong(
    "rnn_forward",
    "starts each step from h0",
    fails=["test_states_of_all_positions"],
    edit={"rnn_step(X[:, t], h, W, U, b)": "rnn_step(X[:, t], h0, W, U, b)"},
)
wrong(
    "rnn_forward",
    "starts from zeros instead of h0",
    fails=["test_states_of_all_positions"],
    edit={"dtype=X.dtype), h0": "dtype=X.dtype), 0 * h0"},
)
wrong(
    "rnn_forward",
    "adds the new state to the old one",
    fails=["test_one_step"],
    edit={"np.tanh(x @ W.T + h @ U.T + b)": "h + np.tanh(x @ W.T + h @ U.T + b)"},
)
wrong(
    "rnn_forward",
    "computes in float64 always",
    fails=["test_states_of_every_kind"],
    edit={"np.empty((*X.shape[:2], len(U)), dtype=X.dtype)": "np.empty((*X.shape[:2], len(U)))"},
)


@right("rnn_forward", "all that is read in one product, a list of states")
def forward_by_product(X, h0, W, U, b):
    read, found = np.einsum("btd,nd->tbn", X, W) + b, [h0]
    for row in read:
        found.append(np.tanh(row + np.dot(found[-1], U.T)))
    return np.stack(found[1:], axis=1)


@right("rnn_forward", "row by row, position by position")
def forward_by_rows(X, h0, W, U, b):
    H = np.zeros((X.shape[0], X.shape[1], U.shape[0]), dtype=X.dtype)
    for i in range(X.shape[0]):
        h = h0[i]
        for t in range(X.shape[1]):
            h = np.tanh(W @ X[i, t] + U @ h + b)
            H[i, t] = h
    return H


@right("rnn_forward", "one matrix of W and U side by side", replaces="rnn_step")
def step_by_one_matrix(x, h, W, U, b):
    return np.tanh(np.concatenate([x, h], axis=1) @ np.concatenate([W, U], axis=1).T + b)


wrong(
    "rnn_forward",
    "leaves out tanh",
    fails=["test_one_step"],
    edit={"np.tanh(x @ W.T + h @ U.T + b)": "x @ W.T + h @ U.T + b"},
)
wrong(
    "rnn_forward",
    "ignores the state before",
    fails=["test_one_step"],
    edit={" + h @ U.T + b)": " + b)"},
)

# --------------------------------------------------------------------------------------------------- rnn_backward

wrong(
    "rnn_backward",
    "forgets what comes back through the next state",
    fails=["test_gradients_of_all_arguments"],
    edit={"(slopes[:, t] + later)": "slopes[:, t]"},
)
wrong(
    "rnn_backward",
    "multiplies by U^T on the way back",
    fails=["test_gradients_of_all_arguments"],
    edit={"later = delta @ U": "later = delta @ U.T"},
)
wrong(
    "rnn_backward",
    "forgets the slope of tanh",
    fails=["test_gradients_of_all_arguments"],
    edit={" * (1 - H[:, t] ** 2)": " * 1"},
)
wrong(
    "rnn_backward",
    "takes the state after each position for U",
    fails=["test_gradients_of_all_arguments"],
    edit={"(H[:, t - 1] if t > 0 else h0)": "H[:, t]"},
)
wrong(
    "rnn_backward",
    "takes the last state for the one before the first",
    fails=["test_gradients_of_all_arguments"],
    edit={"(H[:, t - 1] if t > 0 else h0)": "H[:, t - 1]"},
)
wrong(
    "rnn_backward",
    "keeps the gradient of one position only",
    fails=["test_gradients_of_all_arguments"],
    edit={"grad_W += delta.T": "grad_W = delta.T"},
)
wrong(
    "rnn_backward",
    "clips each array by itself",
    fails=["test_clipping_by_the_common_norm"],
    edit={
        "return [(g * factor).astype(old.dtype) for g, old in zip(wide, gradients)], norm": "return [(g * min(1.0, limit / max(np.linalg.norm(g), 1e-300))).astype(old.dtype) for g, old in zip(wide, gradients)], norm"
    },
)
wrong(
    "rnn_backward",
    "clips each entry",
    fails=["test_clipping_by_the_common_norm"],
    edit={
        "return [(g * factor).astype(old.dtype) for g, old in zip(wide, gradients)], norm": "return [np.clip(g, -limit, limit).astype(old.dtype) for g, old in zip(wide, gradients)], norm"
    },
)
wrong(
    "rnn_backward",
    "makes short gradients longer, up to the limit",
    fails=["test_clipping_by_the_common_norm"],
    edit={"limit / norm if norm > limit else 1.0": "limit / norm if norm > 0 else 1.0"},
)
wrong(
    "rnn_backward",
    "takes the norm in the dtype of the gradients",
    fails=["test_clipping_of_every_kind"],
    edit={"wide = [np.array(g, dtype=np.float64) for g in gradients]": "wide = [np.array(g) for g in gradients]"},
)


equivalent(
    "rnn_backward",
    diff="""- factor = limit / norm if norm > limit else 1.0
+ factor = limit / norm if norm >= limit else 1.0""",
    reason="where norm == limit, limit / norm is 1.0 exactly",
)


wrong(
    "rnn_backward",
    "adds 1e-6 to the norm, as torch does",
    fails=["test_clipping_of_every_kind"],
    edit={"limit / norm if": "limit / (norm + 1e-6) if"},
)
wrong(
    "rnn_backward",
    "makes a matrix for each row",
    fails=["test_gradients_without_jacobians"],
    edit={
        "grad_U += delta.T @ (H[:, t - 1] if t > 0 else h0)": "grad_U += np.einsum('bi,bj->bij', delta, H[:, t - 1] if t > 0 else h0).sum(axis=0)"
    },
)


@wrong("rnn_backward", "makes the Jacobian of each position", fails=["test_gradients_without_jacobians"])
def backward_by_jacobians(X, h0, W, U, H, slopes):
    B, T, n = H.shape
    jacobians = (1 - H**2)[..., None] * U
    before = np.concatenate([h0[:, None], H[:, :-1]], axis=1)
    deltas, way = np.zeros_like(H), np.zeros_like(h0)
    for t in reversed(range(T)):
        whole = slopes[:, t] + way
        deltas[:, t] = whole * (1 - H[:, t] ** 2)
        way = np.einsum("bi,bij->bj", whole, jacobians[:, t])
    grads = np.einsum("btn,btd->nd", deltas, X), np.einsum("btn,btm->nm", deltas, before)
    return (deltas @ W).astype(X.dtype), way, *grads, deltas.sum(axis=(0, 1))


@wrong("rnn_backward", "goes back to the start from each position", fails=["test_gradients_in_linear_time"])
def backward_by_pairs(X, h0, W, U, H, slopes):
    T, n = X.shape[1], len(U)
    grads = [np.zeros_like(X, order="C"), np.zeros_like(h0), np.zeros_like(W), np.zeros_like(U), np.zeros(n, X.dtype)]
    for end in range(T):
        back = slopes[:, end]
        for t in range(end, -1, -1):
            delta = back * (1 - H[:, t] ** 2)
            grads[0][:, t] += delta @ W
            grads[2] += delta.T @ X[:, t]
            grads[3] += delta.T @ (H[:, t - 1] if t else h0)
            grads[4] += delta.sum(axis=0)
            back = delta @ U
        grads[1] += back
    return tuple(grads)


@right("rnn_backward", "all deltas first, then sums of products")
def backward_by_deltas(X, h0, W, U, H, slopes):
    B, T, n = H.shape
    deltas = np.zeros(H.shape, dtype=X.dtype)
    back = np.zeros(h0.shape, dtype=X.dtype)
    for t in range(T - 1, -1, -1):
        deltas[:, t] = (1 - H[:, t] * H[:, t]) * (slopes[:, t] + back)
        back = np.einsum("bi,ij->bj", deltas[:, t], U)
    before = np.concatenate([h0[:, None, :], H[:, :-1]], axis=1)
    flat = deltas.reshape(B * T, n)
    return deltas @ W, back, flat.T @ X.reshape(B * T, -1), flat.T @ before.reshape(B * T, n), flat.sum(axis=0)


@right("rnn_backward", "row by row, with outer products")
def backward_by_rows(X, h0, W, U, H, slopes):
    X, dtype = np.asarray(X), X.dtype
    grads = [np.zeros(part.shape, dtype) for part in (X, h0, W, U)] + [np.zeros(len(U), dtype)]
    for i in range(len(X)):
        back = np.zeros(len(U), dtype)
        for t in range(X.shape[1])[::-1]:
            delta = (slopes[i, t] + back) * (1 - H[i, t]) * (1 + H[i, t])
            grads[0][i, t] = W.T @ delta
            grads[2] += np.outer(delta, X[i, t])
            grads[3] += np.outer(delta, H[i, t - 1] if t else h0[i])
            grads[4] += delta
            back = U.T @ delta
        grads[1][i] = back
    return tuple(grads)


@right("rnn_backward", "the norm by hypot, array by array", replaces="clip_by_norm")
def clip_by_hypot(gradients, limit):
    norm = 0.0
    for g in gradients:
        norm = math.hypot(norm, float(np.linalg.norm(np.asarray(g, dtype=np.float64).ravel())))
    if norm <= limit:
        return [np.copy(g) for g in gradients], norm
    return [(np.asarray(g, dtype=np.float64) / norm * limit).astype(g.dtype) for g in gradients], norm


# ------------------------------------------------------------------------------------------------------- LSTMCell

wrong(
    "LSTMCell",
    "takes the gates in the order f, i, g, o",
    fails=["test_cell_computes"],
    edit={"i, f, g, o = a.chunk(4, dim=1)": "f, i, g, o = a.chunk(4, dim=1)"},
)
wrong(
    "LSTMCell",
    "takes the gates in the order i, f, o, g",
    fails=["test_cell_computes"],
    edit={"i, f, g, o = a.chunk(4, dim=1)": "i, f, o, g = a.chunk(4, dim=1)"},
)
wrong(
    "LSTMCell",
    "puts the candidate through a sigmoid",
    fails=["test_cell_computes"],
    edit={"torch.sigmoid(i) * torch.tanh(g)": "torch.sigmoid(i) * torch.sigmoid(g)"},
)
wrong(
    "LSTMCell",
    "shows the memory without tanh",
    fails=["test_cell_computes"],
    edit={"return torch.sigmoid(o) * torch.tanh(c), c": "return torch.sigmoid(o) * c, c"},
)
wrong(
    "LSTMCell",
    "uses one of the biases only",
    fails=["test_cell_computes"],
    edit={" + h @ self.weight_hh.T + self.bias_hh": " + h @ self.weight_hh.T"},
)
wrong(
    "LSTMCell",
    "returns (c, h)",
    fails=["test_cell_computes"],
    edit={"return torch.sigmoid(o) * torch.tanh(c), c": "return c, torch.sigmoid(o) * torch.tanh(c)"},
)
wrong(
    "LSTMCell",
    "lets no gradient through the memory",
    fails=["test_cell_gradients"],
    edit={"torch.sigmoid(f) * c +": "torch.sigmoid(f) * c.detach() +"},
)
wrong(
    "LSTMCell",
    "starts the forget gate's bias at 0",
    fails=["test_cell_has_four_parameters"],
    edit={"self.bias_ih.data[n : 2 * n] = 1": "self.bias_ih.data[n : 2 * n] = 0"},
)
wrong(
    "LSTMCell",
    "draws normal numbers for the weights",
    fails=["test_cell_draws_its_weights"],
    edit={"torch.empty(4 * n, n).uniform_(-bound, bound)": "bound * torch.randn(4 * n, n)"},
)
wrong(
    "LSTMCell",
    "computes exp by hand, which overflows",
    fails=["test_cell_with_gates_wide_open_or_shut"],
    edit={"torch.sigmoid(i) * torch.tanh(g)": "torch.exp(i) / (1 + torch.exp(i)) * torch.tanh(g)"},
)


@right("LSTMCell", "gate by gate, from slices")
class CellBySlices(nn.Module):
    def __init__(self, d, n):
        super().__init__()
        reach = n**-0.5
        self.n = n
        self.weight_ih = nn.Parameter((2 * torch.rand(4 * n, d) - 1) * reach)
        self.weight_hh = nn.Parameter((2 * torch.rand(4 * n, n) - 1) * reach)
        self.bias_ih = nn.Parameter(torch.cat([torch.zeros(n), torch.ones(n), torch.zeros(2 * n)]))
        self.bias_hh = nn.Parameter(torch.zeros(4 * n))

    def gate(self, k, x, h):
        rows = slice(k * self.n, (k + 1) * self.n)
        read = F.linear(x, self.weight_ih[rows], self.bias_ih[rows])
        return read + F.linear(h, self.weight_hh[rows], self.bias_hh[rows])

    def forward(self, x, state=None):
        if state is None:
            zeros = torch.zeros(x.shape[0], self.n, dtype=x.dtype, device=x.device)
            state = zeros, zeros
        h, c = state
        new = self.gate(1, x, h).sigmoid() * c + self.gate(0, x, h).sigmoid() * self.gate(2, x, h).tanh()
        return self.gate(3, x, h).sigmoid() * new.tanh(), new


@right("LSTMCell", "one product with x and h side by side, nn.init")
class CellByConcatenation(nn.Module):
    def __init__(self, d, n):
        super().__init__()
        for name, shape in (("weight_ih", (4 * n, d)), ("weight_hh", (4 * n, n))):
            setattr(self, name, nn.Parameter(nn.init.uniform_(torch.zeros(shape), -1 / math.sqrt(n), 1 / math.sqrt(n))))
        for name in ("bias_ih", "bias_hh"):
            setattr(self, name, nn.Parameter(torch.zeros(4 * n)))
        nn.init.ones_(self.bias_ih[n : 2 * n])

    def forward(self, x, state=None):
        n = self.weight_hh.shape[1]
        zeros = torch.zeros((len(x), n)).to(x)
        h, c = (zeros, zeros) if state is None else state
        both = torch.cat([self.weight_ih, self.weight_hh], dim=1)
        a = torch.einsum("bk,rk->rb", torch.cat([x, h], dim=1), both) + (self.bias_ih + self.bias_hh)[:, None]
        i, f, g, o = a.view(4, n, len(x)).transpose(1, 2)
        c = torch.addcmul(f.sigmoid() * c, i.sigmoid(), g.tanh())
        return o.sigmoid() * c.tanh(), c


wrong(
    "LSTMCell",
    "shows the old memory",
    fails=["test_cell_computes"],
    edit={
        "        c = torch.sigmoid(f) * c +": "        old, c = c, torch.sigmoid(f) * c +",
        "return torch.sigmoid(o) * torch.tanh(c), c": "return torch.sigmoid(o) * torch.tanh(old), c",
    },
)

# --------------------------------------------------------------------------------------------------- masked_batch

wrong(
    "masked_batch",
    "pads at the start",
    fails=["test_batch_of_sequences"],
    edit={
        "ids[row, : len(sequence)] =": "ids[row, length - len(sequence) :] =",
        "mask[row, : len(sequence)] =": "mask[row, length - len(sequence) :] =",
    },
)
wrong(
    "masked_batch",
    "takes a 0 in a sequence for padding",
    fails=["test_batch_of_every_kind"],
    edit={"mask[row, : len(sequence)] = True": "mask[row] = ids[row] != 0"},
)
wrong(
    "masked_batch",
    "cuts sequences that are too long",
    fails=["test_batch_of_every_kind"],
    edit={
        '        raise ValueError(f"a sequence has {longest} entries, more than {length}")': "        sequences = [sequence[:length] for sequence in sequences]"
    },
)
wrong(
    "masked_batch",
    "takes the mean over all positions",
    fails=["test_loss_is_the_mean_over_real_positions"],
    edit={
        "F.cross_entropy(logits[mask], targets[mask])": "F.cross_entropy(logits[mask], targets[mask]) * mask.to(logits.dtype).mean()"
    },
)


@wrong(
    "masked_batch", "multiplies the losses by the mask", fails=["test_padding_has_no_influence"], replaces="masked_loss"
)
def loss_by_product(logits, targets, mask):
    safe = targets.clamp(0, logits.shape[2] - 1)
    each = -torch.log_softmax(logits, dim=2).gather(2, safe[:, :, None])[:, :, 0]
    return (each * mask).sum() / mask.sum()


@wrong(
    "masked_batch",
    "takes the mean of the rows' means",
    fails=["test_loss_is_the_mean_over_real_positions"],
    replaces="masked_loss",
)
def loss_by_rows(logits, targets, mask):
    return torch.stack(
        [F.cross_entropy(z[real], y[real]) for z, y, real in zip(logits, targets, mask) if real.any()]
    ).mean()


@wrong(
    "masked_batch",
    "puts zeros over the logits at padding, and counts them",
    fails=["test_loss_is_the_mean_over_real_positions"],
    replaces="masked_loss",
)
def loss_with_zeros(logits, targets, mask):
    clean = torch.where(mask[:, :, None], logits, torch.zeros_like(logits))
    return F.cross_entropy(clean.flatten(0, 1), torch.where(mask, targets, torch.zeros_like(targets)).flatten())


@right("masked_batch", "nn.utils' padding and a comparison with lengths")
def batch_by_lengths(sequences, length=None):
    sizes = torch.tensor([len(sequence) for sequence in sequences])
    if length is None:
        length = max(1, int(sizes.max()))
    if int(sizes.max()) > length:
        raise ValueError("too long")
    rows = [[int(j) for j in sequence] + [0] * (length - len(sequence)) for sequence in sequences]
    return torch.tensor(rows, dtype=torch.long), torch.arange(length)[None] < sizes[:, None]


@right("masked_batch", "where before the logarithm, ignore_index", replaces="masked_loss")
def loss_by_ignoring(logits, targets, mask):
    clean = torch.where(mask[..., None], logits, 0.0)
    marked = torch.where(mask, targets, -100)
    return F.cross_entropy(clean.transpose(1, 2), marked, ignore_index=-100)


@right("masked_batch", "logarithms of what was selected", replaces="masked_loss")
def loss_by_logarithms(logits, targets, mask):
    places = mask.nonzero(as_tuple=True)
    z, y = logits[places], targets[places]
    return (torch.logsumexp(z, dim=1) - z[torch.arange(len(y)), y]).sum() / len(y)


# --------------------------------------------------------------------------------------------------- stacked_lstm

wrong(
    "stacked_lstm",
    "takes the second cell's output at the last position for its last state",
    fails=["test_stack_gives_the_last_states"],
    edit={"last.append(state[0])": "last.append(states[-1])"},
)
wrong(
    "stacked_lstm",
    "leaves the second cell's outputs in the order in which they came",
    fails=["test_stack_of_one_layer"],
    edit={"states[t] = state[0]": "states[x.shape[1] - 1 - t if reverse else t] = state[0]"},
)
wrong(
    "stacked_lstm",
    "keeps h at padding, but not c",
    fails=["test_stack_keeps_the_state_at_padding"],
    edit={
        "new = tuple(torch.where(mask[:, t, None], *parts) for parts in zip(new, old, strict=True))": "new = torch.where(mask[:, t, None], new[0], old[0]), new[1]"
    },
)
wrong(
    "stacked_lstm",
    "puts zeros at padding",
    fails=["test_stack_keeps_the_state_at_padding"],
    edit={"if state is None else state\n": "if state is None or True else state\n"},
)
wrong(
    "stacked_lstm",
    "leaves out positions at which every row has padding",
    fails=["test_stack_of_every_size"],
    edit={
        "                new = cell(x[:, t], state)\n": "                if state is not None and mask is not None and not mask[:, t].any():\n                    states[t] = state[0]\n                    continue\n                new = cell(x[:, t], state)\n"
    },
)
wrong(
    "stacked_lstm",
    "ignores the mask",
    fails=["test_stack_keeps_the_state_at_padding"],
    edit={"if mask is not None:": "if mask is not None and x.shape[1] < 0:"},
)
wrong(
    "stacked_lstm",
    "drops entries of the input, too",
    fails=["test_stack_drops_between_layers"],
    edit={"if layer > 0 and dropout > 0": "if dropout > 0"},
)
wrong(
    "stacked_lstm", "does not divide by 1 - p", fails=["test_stack_drops_between_layers"], edit={" / (1 - dropout)": ""}
)
wrong(
    "stacked_lstm",
    "takes p for the share that is kept",
    fails=["test_stack_drops_between_layers"],
    edit={"(torch.rand_like(x) >= dropout) / (1 - dropout)": "(torch.rand_like(x) < dropout) / dropout"},
)
wrong(
    "stacked_lstm",
    "drops the same entries at all positions",
    fails=["test_stack_drops_between_layers"],
    edit={"torch.rand_like(x)": "torch.rand_like(x[:, :1])"},
)
wrong(
    "stacked_lstm",
    "gives every layer the input of the first",
    fails=["test_stack_gives_the_last_states"],
    edit={
        "cell(x[:, t], state)": "cell(F.pad(start, (0, x.shape[2] - start.shape[2]))[:, t] if layer else x[:, t], state)",
        "    for layer, pair in enumerate(cells):": "    start = x\n    for layer, pair in enumerate(cells):",
    },
)


@right("stacked_lstm", "the other direction on the reversed sequence, a mask of numbers")
def stack_by_flips(x, cells, mask=None, return_sequences=True, dropout=0.0):
    def run(cell, x, mask):
        h = c = None
        outputs = []
        for t in range(x.shape[1]):
            new_h, new_c = cell(x[:, t], None if h is None else (h, c))
            if mask is None:
                h, c = new_h, new_c
            else:
                keep = mask[:, t].to(x.dtype).unsqueeze(1)
                h = keep * new_h + (1 - keep) * (0 if h is None else h)
                c = keep * new_c + (1 - keep) * (0 if c is None else c)
            outputs.append(h)
        return torch.stack(outputs, 1), h

    for k, layer in enumerate(cells):
        if k and dropout:
            x = F.dropout(x, dropout, training=True)
        found, last = run(layer[0], x, mask)
        if len(layer) > 1:
            back, end = run(layer[1], x.flip(1), None if mask is None else mask.flip(1))
            found, last = torch.cat([found, back.flip(1)], -1), torch.cat([last, end], -1)
        x = found
    return x if return_sequences else last


@right("stacked_lstm", "a recursion over the layers, lists of positions, bernoulli")
def stack_by_recursion(x, cells, mask=None, return_sequences=True, dropout=0.0):
    inputs = list(x.unbind(1))
    real = (
        [torch.ones(len(x), 1, dtype=torch.bool)] * len(inputs)
        if mask is None
        else [m[:, None] for m in mask.unbind(1)]
    )
    both, ends = [], []
    for order, cell in zip((1, -1), cells[0]):
        state, shown = None, []
        for x_t, keep in list(zip(inputs, real))[::order]:
            h, c = cell(x_t, state)
            old = (h.new_zeros(h.shape), c.new_zeros(c.shape)) if state is None else state
            state = h.where(keep, old[0]), c.where(keep, old[1])
            shown.append(state[0])
        both.append(shown[::order])
        ends.append(state[0])
    out = torch.stack([torch.cat(parts, 1) for parts in zip(*both)], 1)
    if len(cells) == 1:
        return out if return_sequences else torch.cat(ends, 1)
    if dropout > 0:
        out = out * torch.bernoulli(torch.full_like(out, 1 - dropout)) / (1 - dropout)
    return stack_by_recursion(out, cells[1:], mask, return_sequences, dropout)


# ------------------------------------------------------------------------------------------------- truncated_step

wrong(
    "truncated_step",
    "starts anew in each window",
    fails=["test_truncated_loss_and_full_gradient"],
    edit={"window], detached(state))": "window], None)"},
)
wrong(
    "truncated_step",
    "adds up the windows' means",
    fails=["test_truncated_loss_and_full_gradient"],
    edit={'targets.flatten(), reduction="sum") / y.numel()': "targets.flatten())"},
)
wrong(
    "truncated_step",
    "takes the mean of the windows' means",
    fails=["test_truncated_loss_and_full_gradient"],
    edit={'targets.flatten(), reduction="sum") / y.numel()': "targets.flatten()) / -(-x.shape[1] // window)"},
)
wrong(
    "truncated_step",
    "keeps the last window's gradient only",
    fails=["test_truncated_gradient"],
    edit={"    net.zero_grad()\n": "", "        loss.backward()": "        net.zero_grad()\n        loss.backward()"},
)
wrong(
    "truncated_step",
    "adds to the gradient that was there before",
    fails=["test_truncated_of_every_size"],
    edit={"    net.zero_grad()\n": ""},
)
wrong(
    "truncated_step",
    "detaches the first part of a state only",
    fails=["test_truncated_gradient"],
    edit={
        "return tuple(map(detached, part))": "return (part[0].detach(), *part[1:])",
        "loss.backward()": "loss.backward(retain_graph=True)",
    },
)
wrong(
    "truncated_step",
    "does not cut the graph, and keeps it",
    fails=["test_truncated_gradient"],
    edit={"part if part is None else part.detach()": "part", "loss.backward()": "loss.backward(retain_graph=True)"},
)
wrong(
    "truncated_step",
    "returns a state that still has its graph",
    fails=["test_truncated_state_goes_on"],
    edit={"return total, detached(state)": "return total, state"},
)
wrong(
    "truncated_step",
    "puts the network into training mode",
    fails=["test_truncated_keeps_the_mode"],
    edit={"    net.zero_grad()\n": "    net.train()\n    net.zero_grad()\n"},
)
wrong(
    "truncated_step",
    "detaches the given state in place",
    fails=["test_truncated_state_goes_on"],
    edit={"else part.detach()": "else part.detach_()"},
)


@wrong(
    "truncated_step",
    "computes all windows first, and goes back at the end",
    fails=["test_truncated_memory_of_a_window"],
)
def truncated_at_the_end(net, x, y, window, state=None):
    def cut(part):
        return tuple(map(cut, part)) if isinstance(part, tuple) else part if part is None else part.detach()

    net.zero_grad()
    J = 0.0
    for x_w, y_w in zip(x.split(window, 1), y.split(window, 1)):
        logits, state = net(x_w, cut(state))
        J = J + F.cross_entropy(logits.flatten(0, 1), y_w.flatten(), reduction="sum") / y.numel()
    J.backward()
    return J.item(), cut(state)


@right("truncated_step", "split, weighted means, a stack of states")
def truncated_by_split(net, x, y, window, state=None):
    def cut(part):
        if torch.is_tensor(part):
            return part.detach()
        return None if part is None else tuple(cut(one) for one in part)

    for p in net.parameters():
        p.grad = None
    losses = []
    for x_w, y_w in zip(torch.split(x, window, dim=1), torch.split(y, window, dim=1)):
        logits, new = net(x_w, cut(state))
        part = F.cross_entropy(logits.transpose(1, 2), y_w) * (x_w.shape[1] / x.shape[1])
        part.backward()
        losses.append(float(part.detach()))
        state = cut(new)
        del logits, new, part
    return math.fsum(losses), state


@right("truncated_step", "gradients collected by autograd.grad")
def truncated_by_grad(net, x, y, window, state=None):
    def cut(part):
        if part is None:
            return None
        return part.detach().clone() if isinstance(part, torch.Tensor) else tuple([cut(one) for one in part])

    parameters = list(net.parameters())
    sums = [torch.zeros_like(p) for p in parameters]
    J, start, (B, T) = 0.0, 0, x.shape
    while start < T:
        stop = min(start + window, T)
        logits, state = net(x[:, start:stop], cut(state))
        state = cut(state)
        logs = torch.log_softmax(logits, dim=-1)
        loss = -logs.gather(2, y[:, start:stop, None]).sum() / (B * T)
        for total, grad in zip(sums, torch.autograd.grad(loss, parameters)):
            total += grad
        J += loss.item()
        start = stop
    for p, total in zip(parameters, sums):
        p.grad = total
    return J, state


# ----------------------------------------------------------------------------------------------------- train_step

wrong(
    "train_step",
    "carries the state from batch to batch, detached",
    fails=["test_each_step_starts_anew"],
    edit={"logits, _ = net(x, None)": 'logits, new = net(x, record.get("state"))\n    record["state"] = new.detach()'},
)
wrong(
    "train_step",
    "records the loss as a tensor",
    fails=["test_losses_are_numbers"],
    edit={'record.setdefault("losses", []).append(loss.item())': 'record.setdefault("losses", []).append(loss)'},
)
wrong(
    "train_step",
    "returns the loss as a tensor",
    fails=["test_losses_are_numbers"],
    edit={"return loss.item()": "return loss"},
)
wrong(
    "train_step",
    "does not clear the old gradient",
    fails=["test_each_step_starts_anew"],
    edit={"    net.zero_grad()\n": ""},
)
wrong(
    "train_step",
    "clears the gradient only after the update",
    fails=["test_old_gradients_do_not_count"],
    edit={"    net.zero_grad()\n": "", "    update()\n": "    update()\n    net.zero_grad()\n"},
)
wrong(
    "train_step",
    "keeps each step's graph, in a list of its own",
    fails=["test_no_graph_stays"],
    edit={
        "    loss.backward()\n": "    loss.backward(retain_graph=True)\n",
        "    update()\n": "    train_step.kept = [*getattr(train_step, 'kept', []), loss]\n    update()\n",
    },
)
wrong(
    "train_step",
    "moves the parameters before the gradient is there",
    fails=["test_each_step_starts_anew"],
    edit={
        "    loss.backward()\n    update()\n": "    if net.E.grad is not None:\n        update()\n    loss.backward()\n"
    },
)


wrong(
    "train_step",
    "returns the loss after the update",
    fails=["test_each_step_starts_anew"],
    edit={"    update()\n": "    update()\n    loss = F.cross_entropy(net(x, None)[0], y)\n"},
)


@right("train_step", "gradients set to None, autograd.grad")
def step_by_grad(net, x, y, update, record):
    parameters = list(net.parameters())
    logits = net(x, None)[0]
    loss = -torch.log_softmax(logits, dim=1)[torch.arange(len(y)), y].mean()
    for p, grad in zip(parameters, torch.autograd.grad(loss, parameters)):
        p.grad = grad
    update()
    value = float(loss.detach())
    record["losses"] = [*record.get("losses", []), value]
    return value


@right("train_step", "the list made first, the loss as a sum")
def step_by_sum(net, x, y, update, record):
    if "losses" not in record:
        record["losses"] = []
    for p in net.parameters():
        p.grad = None
    out = net(x, None)
    loss = F.cross_entropy(out[0], y, reduction="sum") / len(y)
    loss.backward()
    record["losses"] += [loss.detach().item()]
    update()
    return record["losses"][-1]


# --------------------------------------------------------------------------------------------------------- sample

wrong(
    "sample",
    "multiplies by the temperature",
    fails=["test_sample_with_a_temperature"],
    edit={"keepdims=True)) / temperature)": "keepdims=True)) * temperature)"},
)
wrong(
    "sample",
    "always takes the largest",
    fails=["test_sample_follows_softmax"],
    edit={"if temperature == 0:": "if temperature >= 0:"},
)
wrong(
    "sample",
    "draws one number for all rows",
    fails=["test_sample_follows_softmax"],
    edit={"rng.random((len(z), 1))": "rng.random()"},
)
wrong(
    "sample",
    "does not subtract the largest logit",
    fails=["test_sample_at_the_borders"],
    edit={"(z - z.max(axis=1, keepdims=True)) / temperature": "np.minimum(z / temperature, 700)"},
)
wrong(
    "sample",
    "keeps the k smallest",
    fails=["test_sample_of_the_k_largest"],
    edit={"np.argsort(-z, axis=1": "np.argsort(z, axis=1"},
)
wrong(
    "sample",
    "keeps all that equal the k-th largest",
    fails=["test_sample_at_the_borders"],
    edit={
        '        order = np.argsort(-z, axis=1, kind="stable")\n        np.put_along_axis(z, order[:, top_k:], -np.inf, axis=1)\n': "        z[z < np.sort(z, axis=1)[:, [-top_k]]] = -np.inf\n"
    },
)
wrong(
    "sample",
    "adds up probabilities without the temperature's law: weights are the logits' ranks",
    fails=["test_sample_follows_softmax"],
    edit={
        "p = np.exp((z - z.max(axis=1, keepdims=True)) / temperature)": "p = np.where(np.isfinite(z), 1.0 + np.argsort(np.argsort(z, axis=1), axis=1), 0.0)"
    },
)
wrong(
    "sample",
    "draws from NumPy's global generator",
    fails=["test_sample_draws_from_rng"],
    edit={"rng.random((len(z), 1))": "np.random.random((len(z), 1))"},
)
wrong(
    "sample",
    "draws the same numbers in each call",
    fails=["test_sample_draws_from_rng"],
    edit={"rng.random((len(z), 1))": "np.random.default_rng(0).random((len(z), 1))"},
)


@right("sample", "rng.choice, row by row")
def sample_by_choice(logits, rng, temperature=1.0, top_k=None):
    drawn = np.zeros(len(logits), dtype=np.int64)
    for i, row in enumerate(np.asarray(logits, dtype=np.float64)):
        if temperature == 0:
            drawn[i] = row.argmax()
            continue
        kept = np.lexsort((np.arange(len(row)), -row))[: len(row) if top_k is None else top_k]
        p = np.exp((row[kept] - row[kept].max()) / temperature)
        drawn[i] = rng.choice(kept, p=p / p.sum())
    return drawn


@right("sample", "the largest of logits with Gumbel noise")
def sample_by_gumbel(logits, rng, temperature=1.0, top_k=None):
    z = logits.astype(float)
    if temperature == 0:
        return z.argmax(1)
    if top_k is not None and top_k < z.shape[1]:
        for row in z:
            row[sorted(range(len(row)), key=lambda j: (-row[j], j))[top_k:]] = -math.inf
    z = (z - z.max(axis=1)[:, None]) / temperature
    return (z + rng.gumbel(size=z.shape)).argmax(axis=1)


# ------------------------------------------------------------------------------------------------------ skip_gram

wrong(
    "skip_gram",
    "adds up over the pairs instead of taking the mean",
    fails=["test_gram_loss_and_gradients"],
    edit={".sum() / m)": ".sum())", "np.exp(-np.logaddexp(0, -s)) / m": "np.exp(-np.logaddexp(0, -s))"},
)
wrong(
    "skip_gram",
    "gives the true word the sign of the others",
    fails=["test_gram_loss_and_gradients"],
    edit={"signs[:, 0] = -1": "signs[:, 0] = 1"},
)
wrong(
    "skip_gram",
    "computes the logarithm of a sigmoid that is 0",
    fails=["test_gram_of_every_kind"],
    edit={"np.logaddexp(0, s).sum()": "-np.log(1e-300 + 1 / (1 + np.exp(np.minimum(s, 700)))).sum()"},
)
wrong(
    "skip_gram",
    "makes gradients of the whole tables",
    fails=["test_gram_stays_sparse"],
    edit={
        "    slopes = signs *": "    dense = np.zeros(P.shape), np.zeros(Q.shape)\n    dense[0][centres] = 1.0\n    slopes = signs *"
    },
)


equivalent(
    "skip_gram",
    diff="""- signs = np.ones(words.shape)
+ signs = np.ones(words.shape, dtype=np.float32)""",
    reason="1 and -1 are exact in float32, and what they multiply is float64",
)


@right("skip_gram", "pair by pair, with dictionaries")
def gram_by_pairs(A, C, centres, contexts, negatives):
    def softplus(s):
        return max(s, 0.0) + math.log1p(math.exp(-abs(s)))

    def sigmoid(s):
        return 1 / (1 + math.exp(-s)) if s >= 0 else math.exp(s) / (1 + math.exp(s))

    m, J, for_A, for_C = len(centres), 0.0, {}, {}
    for i in range(m):
        a = A[int(centres[i])]
        for word, sign in [(int(contexts[i]), -1.0)] + [(int(j), 1.0) for j in negatives[i]]:
            s = sign * float(a @ C[word])
            J += softplus(s) / m
            slope = sign * sigmoid(s) / m
            for_A[int(centres[i])] = for_A.get(int(centres[i]), 0.0) + slope * C[word]
            for_C[word] = for_C.get(word, 0.0) + slope * a
    found = []
    for sums in (for_A, for_C):
        rows = sorted(sums)
        found.append((np.array(rows, dtype=np.int64), np.array([sums[j] for j in rows])))
    return J, found[0], found[1]


@right("skip_gram", "true words and negatives apart, scipy's expit")
def gram_by_parts(A, C, centres, contexts, negatives):
    from scipy.special import expit, log_expit

    m, (a, c, n) = len(centres), (A[centres], C[contexts], C[negatives])
    true, false = (a * c).sum(axis=1), (a[:, None] * n).sum(axis=2)
    J = -(log_expit(true).sum() + log_expit(-false).sum()) / m
    up, down = -expit(-true)[:, None] / m, expit(false)[:, :, None] / m
    ids = np.concatenate([np.asarray(contexts, dtype=np.int64), np.asarray(negatives, dtype=np.int64).ravel()])
    slopes = np.concatenate([up * a, (down * a[:, None]).reshape(-1, a.shape[1])])
    return float(J), embedding_gradient(centres, up * c + (down * n).sum(axis=1)), embedding_gradient(ids, slopes)
