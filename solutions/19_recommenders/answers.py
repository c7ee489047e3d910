"""Wrong and right answers that prove the hidden tests of module 19, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import heapq
import math

import numpy as np
from scipy.special import expit, logsumexp

from autograder.answers import equivalent, right, wrong

equivalent(
    "split_by_time",
    diff="~ split_by_time: what is returned is rounded to float32",
    reason="row numbers below 2^24 are exact in float32",
)
equivalent(
    "graph_search",
    diff="~ graph_search: numbers beyond 1e+06 in size are cut off",
    reason="of arrays, only node numbers come in: a graph of a million nodes",
)
equivalent(
    "graph_search",
    diff="~ graph_search: numbers below 1e-6 in size count as 0",
    reason="of arrays, only node numbers come in, and these are integers",
)
equivalent(
    "in_batch_loss",
    diff="~ in_batch_loss: whole numbers are returned as floats",
    reason="no integers are returned",
)
equivalent(
    "in_batch_loss",
    diff="""- logits[(ids[:, None] == ids) & (rows[:, None] != rows)] = -np.inf
+ logits[(ids[:, None] == ids) & (rows[:, None] != rows)] = -1e+30""",
    reason="beside logits of 10,000 in size, exp(-1e30 - top) is 0 as well",
)

equivalent(
    "sample_negatives",
    diff="""- drawn[b] = np.searchsorted(total, rng.random() * total[-1], side='right')
+ drawn[b] = np.searchsorted(total, rng.random() * total[-1], side='left')""",
    reason="a random number equals a cumulative sum once in 2^53 draws",
)
equivalent(
    "build_graph",
    diff="~ build_graph: what is returned is rounded to float32",
    reason="node numbers below 2^24 are exact in float32",
)

# ------------------------------------------------------------------------------------------------ ranking_metrics

wrong(
    "ranking_metrics",
    "divides the gain by that of N hits, also where N is larger than k",
    fails=["test_places_of_the_hits"],
    edit={
        "discounts = 1 / np.log2(np.arange(2, min(k, n) + 2))": "discounts = 1 / np.log2(np.arange(2, n + k + 2))",
        "best = discounts[: min(k, len(wanted))].sum()": "best = discounts[: len(wanted)].sum()",
    },
)
wrong(
    "ranking_metrics",
    "divides hits by k for recall",
    fails=["test_precision_and_recall"],
    edit={"hits.sum() / len(wanted), hits @": "hits.sum() / k, hits @"},
)
wrong(
    "ranking_metrics",
    "puts items on the list that the user has seen",
    fails=["test_what_was_seen_does_not_count"],
    edit={"row[hidden] = -np.inf": "hidden = hidden[:0]"},
)
wrong(
    "ranking_metrics",
    "counts seen items as relevant",
    fails=["test_what_was_seen_does_not_count"],
    edit={
        "wanted = np.setdiff1d(relevant.indices[relevant.indptr[u] : relevant.indptr[u + 1]], hidden)": (
            "wanted = relevant.indices[relevant.indptr[u] : relevant.indptr[u + 1]]"
        )
    },
)
wrong(
    "ranking_metrics",
    "counts users with nothing relevant as 0",
    fails=["test_what_was_seen_does_not_count"],
    edit={"            continue\n": "            found.append((0.0, 0.0, 0.0, 0.0))\n            continue\n"},
)
wrong(
    "ranking_metrics",
    "takes the higher item number first at ties",
    fails=["test_lower_numbers_first_at_ties"],
    edit={
        "np.flatnonzero(row == border)[: size - len(above)]": (
            "np.flatnonzero(row == border)[::-1][: size - len(above)]"
        )
    },
)
wrong(
    "ranking_metrics",
    "divides by the length of the list, where it is shorter than k",
    fails=["test_short_lists"],
    edit={"(hits.sum() / k, ": "(hits.sum() / size, "},
)
wrong(
    "ranking_metrics",
    "counts places from 0 in the discount: 1 / log2(place + 2)",
    fails=["test_places_of_the_hits"],
    edit={"np.log2(np.arange(2, min(k, n) + 2))": "np.log2(np.arange(3, min(k, n) + 3))"},
)


@wrong("ranking_metrics", "masks a copy of all scores", fails=["test_scores_of_a_large_shop"])
def all_at_once(scores, relevant, seen, k):
    scores = np.array(scores)
    for u in range(len(scores)):
        scores[u, seen.indices[seen.indptr[u] : seen.indptr[u + 1]]] = -np.inf
    found = []
    for u, row in enumerate(scores):
        own = relevant.indices[relevant.indptr[u] : relevant.indptr[u + 1]]
        own = own[row[own] > -np.inf]
        if len(own):
            order = np.argsort(-row, kind="stable")[:k]
            order = order[row[order] > -np.inf]
            hits = np.isin(order, own)
            worth = 1 / np.log2(np.arange(2, max(len(order), min(k, len(own))) + 2))
            first = 1 / (1 + hits.argmax()) if hits.any() else 0.0
            gain = worth[: len(order)][hits].sum() / worth[: min(k, len(own))].sum()
            found.append([hits.sum() / k, hits.sum() / len(own), gain, first])
    means = np.mean(found, axis=0) if found else np.zeros(4)
    return dict(zip(("precision", "recall", "ndcg", "mrr"), map(float, means), strict=True))


@right("ranking_metrics", "ranks of the relevant items, found by counting")
def by_counting(scores, relevant, seen, k):
    total, users = np.zeros(4), 0
    for u in range(scores.shape[0]):
        hidden = set(seen.indices[seen.indptr[u] : seen.indptr[u + 1]].tolist())
        wanted = [i for i in relevant.indices[relevant.indptr[u] : relevant.indptr[u + 1]].tolist() if i not in hidden]
        if not wanted:
            continue
        users, row, covered = users + 1, scores[u], np.array(sorted(hidden), dtype=int)
        places = []
        for i in wanted:
            before = np.count_nonzero(row > row[i]) + np.count_nonzero(row[:i] == row[i])
            before -= np.count_nonzero(row[covered] > row[i]) + np.count_nonzero(row[covered[covered < i]] == row[i])
            places.append(before + 1)
        places = [place for place in places if place <= k]
        ideal = sum(1 / math.log2(t + 1) for t in range(1, min(k, len(wanted)) + 1))
        gain = sum(1 / math.log2(t + 1) for t in places) / ideal
        total += [len(places) / k, len(places) / len(wanted), gain, 1 / min(places) if places else 0]
    total = total / users if users else total
    return {"precision": float(total[0]), "recall": float(total[1]), "ndcg": float(total[2]), "mrr": float(total[3])}


@right("ranking_metrics", "a heap of the best k of each row")
def by_heap(scores, relevant, seen, k):
    found = {"precision": [], "recall": [], "ndcg": [], "mrr": []}
    for u in range(scores.shape[0]):
        hidden = seen.indices[seen.indptr[u] : seen.indptr[u + 1]]
        wanted = set(relevant.indices[relevant.indptr[u] : relevant.indptr[u + 1]].tolist()) - set(hidden.tolist())
        if not wanted:
            continue
        row = np.array(scores[u], dtype=np.float64)
        row[hidden] = -np.inf
        # Candidates: all that reach the k-th largest value, also equal ones; then an exact order of these few.
        some = np.arange(len(row)) if k >= len(row) else np.flatnonzero(row >= -np.partition(-row, k - 1)[k - 1])
        some = [i for i in some.tolist() if row[i] > -np.inf]
        order = heapq.nsmallest(k, some, key=lambda i: (-row[i], i))
        places = [t for t, i in enumerate(order, 1) if i in wanted]
        found["precision"].append(len(places) / k)
        found["recall"].append(len(places) / len(wanted))
        ideal = np.sum(1 / np.log2(np.arange(min(k, len(wanted))) + 2))
        found["ndcg"].append(np.sum(1 / np.log2(np.array(places, float) + 1)) / ideal)
        found["mrr"].append(1 / places[0] if places else 0.0)
    return {name: float(np.mean(values)) if values else 0.0 for name, values in found.items()}


# -------------------------------------------------------------------------------------------------- split_by_time

wrong(
    "split_by_time",
    "cuts the rows in order of time at a number of rows, through events of the same time",
    fails=["test_equal_times_stay_together"],
    edit={
        "border = np.sort(times)[int((1 - share) * len(times))]": (
            "order, first = np.argsort(times, kind='stable'), int((1 - share) * len(times))"
        ),
        "return np.flatnonzero(times < border), np.flatnonzero(times >= border)": (
            "return np.sort(order[:first]), np.sort(order[first:])"
        ),
    },
)
wrong(
    "split_by_time",
    "trains on the border itself",
    fails=["test_equal_times_stay_together"],
    edit={
        "np.flatnonzero(times < border), np.flatnonzero(times >= border)": (
            "np.flatnonzero(times <= border), np.flatnonzero(times > border)"
        )
    },
)
wrong(
    "split_by_time",
    "takes the last rows of the file, whatever their times",
    fails=["test_no_training_row_is_later"],
    edit={
        "border = np.sort(times)[int((1 - share) * len(times))]": "first = int((1 - share) * len(times))",
        "return np.flatnonzero(times < border), np.flatnonzero(times >= border)": (
            "return np.arange(first), np.arange(first, len(times))"
        ),
    },
)


@right("split_by_time", "sorted rows, and a search for the border")
def by_rows(times, share):
    order = np.argsort(times, kind="stable")
    first = np.searchsorted(times[order], times[order][int((1 - share) * len(times))], "left")
    return np.sort(order[:first]), np.sort(order[first:])


@right("split_by_time", "lists")
def by_lists(times, share):
    values = list(times)
    border = sorted(values)[int((1 - share) * len(values))]
    late = [value >= border for value in values]
    train, test = ([i for i, is_late in enumerate(late) if is_late == side] for side in (False, True))
    return np.array(train, dtype=np.int64), np.array(test, dtype=np.int64)


# ------------------------------------------------------------------------------------------------------- als_step

wrong(
    "als_step",
    "takes a missing rating for a rating of 0",
    fails=["test_the_gradient_vanishes"],
    edit={"np.linalg.solve(Y_u.T @ Y_u + reg": "np.linalg.solve(Y.T @ Y + reg"},
)
wrong(
    "als_step",
    "multiplies reg by the number of ratings",
    fails=["test_the_gradient_vanishes"],
    edit={"reg * np.eye": "reg * max(1, len(Y_u)) * np.eye"},
)
wrong(
    "als_step",
    "leaves out stored zeros",
    fails=["test_the_gradient_vanishes", "test_zeros_that_are_stored"],
    edit={
        "        mine = slice(R.indptr[u], R.indptr[u + 1])\n": (
            "        mine = R.indptr[u] + np.flatnonzero(R.data[R.indptr[u] : R.indptr[u + 1]])\n"
        )
    },
)
wrong(
    "als_step",
    "forgets reg",
    fails=["test_the_gradient_vanishes"],
    edit={
        "np.linalg.solve(Y_u.T @ Y_u + reg * np.eye(Y.shape[1]), Y_u.T @ R.data[mine])": (
            "np.linalg.lstsq(Y_u, R.data[mine], rcond=None)[0]"
        )
    },
)
wrong(
    "als_step",
    "makes all ratings dense first",
    fails=["test_only_the_ratings_that_are_there"],
    edit={
        "    X = np.empty((R.shape[0], Y.shape[1]))\n": (
            "    X, dense = np.zeros((R.shape[0], Y.shape[1])), R.toarray()\n"
        ),
        "Y_u.T @ R.data[mine])": "Y_u.T @ dense[u, R.indices[mine]])",
    },
)


wrong(
    "als_step",
    "weighs all items for each user, most of them by 0",
    fails=["test_only_the_ratings_that_are_there"],
    edit={
        "Y_u = Y[R.indices[mine]]": (
            "known = np.zeros(len(Y))\n        known[R.indices[mine]] = 1\n        Y_u = Y[R.indices[mine]]"
        ),
        "Y_u.T @ Y_u + reg": "(Y.T * known) @ Y + reg",
    },
)


@right("als_step", "least squares with sqrt(reg) below")
def by_rows_below(R, Y, reg):
    f = Y.shape[1]
    X = []
    for u in range(R.shape[0]):
        start, stop = R.indptr[u], R.indptr[u + 1]
        A = np.vstack([Y[R.indices[start:stop]], np.sqrt(reg) * np.eye(f)])
        X.append(np.linalg.lstsq(A, np.concatenate([R.data[start:stop], np.zeros(f)]), rcond=None)[0])
    return np.array(X).reshape(R.shape[0], f)


@right("als_step", "the dual form, one equation for each rating")
def by_the_dual(R, Y, reg):
    X = np.zeros((R.shape[0], Y.shape[1]), dtype=np.float64)
    for u, (start, stop) in enumerate(zip(R.indptr, R.indptr[1:], strict=False)):
        if stop > start:
            mine = Y[R.indices[start:stop]].astype(np.float64)
            if stop - start <= Y.shape[1]:
                X[u] = mine.T @ np.linalg.solve(mine @ mine.T + reg * np.eye(stop - start), R.data[start:stop])
            else:
                gram = mine.T @ mine
                gram[np.diag_indices_from(gram)] += reg
                X[u] = np.linalg.solve(gram, R.data[start:stop] @ mine)
    return X


# ---------------------------------------------------------------------------------------------- implicit_als_step

wrong(
    "implicit_als_step",
    "takes the count as the preference",
    fails=["test_clicks_solve_the_dense_problem"],
    edit={"(1 + extra) @ Y_u": "((1 + extra) * R.data[mine]) @ Y_u"},
)
wrong(
    "implicit_als_step",
    "sums over the user's own items only",
    fails=["test_clicks_solve_the_dense_problem"],
    edit={"common = Y.T @ Y + reg": "common = reg", "(Y_u.T * extra) @ Y_u": "(Y_u.T * (1 + extra)) @ Y_u"},
)
wrong(
    "implicit_als_step",
    "counts the 1 of the confidence twice",
    fails=["test_clicks_solve_the_dense_problem"],
    edit={"(Y_u.T * extra) @ Y_u": "(Y_u.T * (1 + extra)) @ Y_u"},
)
wrong(
    "implicit_als_step",
    "takes alpha r as the confidence on the right side",
    fails=["test_clicks_solve_the_dense_problem"],
    edit={"(1 + extra) @ Y_u": "extra @ Y_u"},
)
wrong(
    "implicit_als_step",
    "multiplies reg by the number of entries",
    fails=["test_clicks_solve_the_dense_problem"],
    edit={
        "common = Y.T @ Y + reg * np.eye(Y.shape[1])": "common, eye = Y.T @ Y, np.eye(Y.shape[1])",
        "np.linalg.solve(common + ": "np.linalg.solve(common + reg * max(1, len(Y_u)) * eye + ",
    },
)
wrong(
    "implicit_als_step",
    "weighs all rows of Y anew for each user",
    fails=["test_no_second_array_of_all_items"],
    edit={
        "    common = Y.T @ Y + reg * np.eye(Y.shape[1])\n": "",
        "Y_u, extra = Y[R.indices[mine]], alpha * R.data[mine]": (
            "c = np.ones(len(Y))\n        c[R.indices[mine]] += alpha * R.data[mine]\n        Y_u = Y[R.indices[mine]]"
        ),
        "np.linalg.solve(common + (Y_u.T * extra) @ Y_u, (1 + extra) @ Y_u)": (
            "np.linalg.solve((Y.T * c) @ Y + reg * np.eye(Y.shape[1]), c[R.indices[mine]] @ Y_u)"
        ),
    },
)


wrong(
    "implicit_als_step",
    "computes what all users share for each user anew",
    fails=["test_what_users_share_is_computed_once"],
    edit={
        "    common = Y.T @ Y + reg * np.eye(Y.shape[1])\n": "",
        "np.linalg.solve(common + ": "np.linalg.solve(Y.T @ Y + reg * np.eye(Y.shape[1]) + ",
    },
)


@right("implicit_als_step", "Cholesky factors")
def by_cholesky(R, Y, reg, alpha):
    from scipy.linalg import cho_factor, cho_solve

    gram = Y.T @ Y
    gram[np.diag_indices_from(gram)] += reg
    X = np.zeros((R.shape[0], Y.shape[1]))
    for u in np.flatnonzero(np.diff(R.indptr)).tolist():
        items, r = R.indices[R.indptr[u] : R.indptr[u + 1]], R.data[R.indptr[u] : R.indptr[u + 1]]
        own = Y[items]
        X[u] = cho_solve(cho_factor(gram + own.T @ (own * (alpha * r)[:, None])), own.T @ (1 + alpha * r))
    return X


@right("implicit_als_step", "one outer product after the other")
def by_outer_products(R, Y, reg, alpha):
    f = Y.shape[1]
    gram, X = np.dot(Y.T, Y), np.empty((R.shape[0], f))
    for u in range(R.shape[0]):
        A, b = gram + reg * np.identity(f), np.zeros(f)
        for place in range(R.indptr[u], R.indptr[u + 1]):
            y, weight = Y[R.indices[place]], alpha * R.data[place]
            A += weight * y[:, None] * y
            b += (1 + weight) * y
        X[u] = np.linalg.solve(A, b)
    return X


# ------------------------------------------------------------------------------------------------------- bpr_step

wrong(
    "bpr_step",
    "keeps one update of each repeated item",
    fails=["test_repeats_add_up"],
    edit={
        "np.add.at(new_V, pos, rate * (g * u - reg * i))": "new_V[pos] += rate * (g * u - reg * i)",
        "np.add.at(new_V, neg, rate * (-g * u - reg * j))": "new_V[neg] += rate * (-g * u - reg * j)",
    },
)
wrong(
    "bpr_step",
    "keeps one update of each repeated user",
    fails=["test_repeats_add_up"],
    edit={"np.add.at(new_U, users, rate * (g * (i - j) - reg * u))": "new_U[users] += rate * (g * (i - j) - reg * u)"},
)
wrong(
    "bpr_step",
    "updates the items with the new vectors of the users",
    fails=["test_a_step_down_the_gradient"],
    edit={
        "    np.add.at(new_V, pos,": "    u = new_U[users]\n    np.add.at(new_V, pos,",
    },
)
wrong(
    "bpr_step",
    "adds up the batch instead of taking its mean",
    fails=["test_a_step_down_the_gradient"],
    edit={"rate = lr / len(users)": "rate = lr"},
)
wrong(
    "bpr_step",
    "takes sigmoid(s) for the derivative instead of sigmoid(-s)",
    fails=["test_a_step_down_the_gradient"],
    edit={"0.5 * (1 - np.tanh": "0.5 * (1 + np.tanh"},
)
wrong(
    "bpr_step",
    "has a penalty of reg times the square, without the half",
    fails=["test_a_step_down_the_gradient"],
    edit={"    rate = lr / len(users)\n": "    rate, reg = lr / len(users), 2 * reg\n"},
)
wrong(
    "bpr_step",
    "applies the penalty once to each row that occurs, and not once in each triple",
    fails=["test_repeats_add_up"],
    edit={
        "rate * (g * (i - j) - reg * u)": "rate * g * (i - j)",
        "rate * (g * u - reg * i)": "rate * g * u",
        "rate * (-g * u - reg * j)": "rate * -g * u",
        "    return new_U, new_V": (
            "    for old, new, rows in ((U, new_U, users), (V, new_V, np.append(pos, neg))):\n"
            "        new[np.unique(rows)] -= rate * reg * old[np.unique(rows)]\n"
            "    return new_U, new_V"
        ),
    },
)
wrong(
    "bpr_step",
    "computes exp(-s) / (1 + exp(-s)), which is nan for large differences",
    fails=["test_scores_far_apart"],
    edit={
        "g = 0.5 * (1 - np.tanh(np.sum(u * (i - j), axis=1) / 2))[:, None]": (
            "g = np.exp(-np.sum(u * (i - j), axis=1))[:, None]\n    g = g / (1 + g)"
        )
    },
)


@right("bpr_step", "sparse matrices that gather and scatter")
def by_incidence(U, V, users, pos, neg, lr, reg):
    B, rows = len(users), np.arange(len(users))
    S = csr_matrix((np.ones(B), (rows, users)), shape=(B, len(U)))
    P = csr_matrix((np.ones(B), (rows, pos)), shape=(B, len(V)))
    N = csr_matrix((np.ones(B), (rows, neg)), shape=(B, len(V)))
    u, difference = S @ U, P @ V - N @ V
    g = expit(-np.einsum("bf,bf->b", u, difference))
    dU = (S.T @ (reg * u - g[:, None] * difference)) / B
    dV = (reg * (P.T @ (P @ V) + N.T @ (N @ V)) - (P - N).T @ (g[:, None] * u)) / B
    return U - lr * dU, V - lr * dV


@right("bpr_step", "a loop over the triples")
def by_triples(U, V, users, pos, neg, lr, reg):
    dU, dV = np.zeros(U.shape), np.zeros(V.shape)
    for u, i, j in zip(users.tolist(), pos.tolist(), neg.tolist(), strict=True):
        s = float(U[u] @ (V[i] - V[j]))
        g = math.exp(-s) / (1 + math.exp(-s)) if s > 0 else 1 / (1 + math.exp(s))
        dU[u] += -g * (V[i] - V[j]) + reg * U[u]
        dV[i] += -g * U[u] + reg * V[i]
        dV[j] += g * U[u] + reg * V[j]
    return U - lr / len(users) * dU, V - lr / len(users) * dV


# -------------------------------------------------------------------------------------------------- in_batch_loss

wrong(
    "in_batch_loss",
    "adds log q to the logits",
    fails=["test_corrected_logits"],
    edit={"Q @ I.T - log_q": "Q @ I.T + log_q"},
)
wrong(
    "in_batch_loss",
    "leaves out log q",
    fails=["test_corrected_logits"],
    edit={"Q @ I.T - log_q": "Q @ I.T"},
)
wrong(
    "in_batch_loss",
    "subtracts log q from the negatives only",
    fails=["test_corrected_logits"],
    edit={"logits = Q @ I.T - log_q\n": "logits = Q @ I.T - log_q\n    logits[rows, rows] += log_q\n"},
)
wrong(
    "in_batch_loss",
    "keeps the same item elsewhere in the batch as a negative",
    fails=["test_accidental_hits"],
    edit={"logits[(ids[:, None] == ids) & (rows[:, None] != rows)] = -np.inf\n": "\n"},
)
wrong(
    "in_batch_loss",
    "leaves out the row's own column, too",
    fails=["test_corrected_logits"],
    edit={
        "logits[(ids[:, None] == ids) & (rows[:, None] != rows)] = -np.inf": (
            "own = logits[rows, rows, None].copy()\n    logits[ids[:, None] == ids] = -1e4"
        ),
        "logits[rows, rows, None])": "own)",
    },
)
wrong(
    "in_batch_loss",
    "adds up the rows instead of taking their mean",
    fails=["test_corrected_logits"],
    edit={
        "np.mean(np.log(total) + top": "np.sum(np.log(total) + top",
        "weights / total / len(Q)": "weights / total",
        "-= 1 / len(Q)": "-= 1",
    },
)
wrong(
    "in_batch_loss",
    "takes exponentials of logits as they are",
    fails=["test_logits_far_apart"],
    edit={"top = logits.max(axis=1, keepdims=True)": "top = np.zeros((len(Q), 1))"},
)
wrong(
    "in_batch_loss",
    "takes the softmax over the rows of each column for dI",
    fails=["test_gradients_of_the_loss"],
    edit={
        "return float(loss), G @ I, G.T @ Q": (
            "other = weights * np.exp(top - top.max())\n"
            "    other = other / other.sum(axis=0) / len(Q) - np.eye(len(Q)) / len(Q)\n"
            "    return float(loss), G @ I, other.T @ Q"
        )
    },
)


@right("in_batch_loss", "row by row")
def by_rows_of_the_batch(Q, I, ids, log_q):  # noqa: E741
    B, loss = len(Q), 0.0
    dQ, dI = np.zeros_like(Q), np.zeros_like(I)
    for a in range(B):
        columns = np.flatnonzero((ids != ids[a]) | (np.arange(B) == a))
        logits = I[columns] @ Q[a] - log_q[columns]
        norm = logsumexp(logits)
        p = np.exp(logits - norm)
        loss += (norm - (Q[a] @ I[a] - log_q[a])) / B
        dQ[a] = (p @ I[columns] - I[a]) / B
        dI[columns] += np.outer(p, Q[a]) / B
        dI[a] -= Q[a] / B
    return float(loss), dQ, dI


@right("in_batch_loss", "large negative numbers in place of -inf, and log-probabilities")
def by_log_probabilities(Q, I, ids, log_q):  # noqa: E741
    B = len(ids)
    same = np.equal.outer(ids, ids) & ~np.eye(B, dtype=bool)
    logits = np.where(same, -1e300, np.einsum("af,bf->ab", Q, I) - log_q[None, :])
    logp = logits - logsumexp(logits, axis=1, keepdims=True)
    G = (np.exp(logp) - np.eye(B)) / B
    return -float(np.trace(logp)) / B, np.dot(G, I), np.dot(G.T, Q)


# ------------------------------------------------------------------------------------------------------------ IVF

wrong(
    "IVF",
    "probes one cell, whatever is asked",
    fails=["test_all_cells_probed_is_exact"],
    edit={"axis=1)[:, :probes]": "axis=1)[:, :1]"},
)
wrong(
    "IVF",
    "compares with all rows, whatever is asked",
    fails=["test_recall_grows_with_the_probes"],
    edit={"axis=1)[:, :probes]": "axis=1)"},
)
wrong(
    "IVF",
    "gives places in the sorted rows for ids",
    fails=["test_all_cells_probed_is_exact"],
    edit={
        "ids[a, : len(best)], distances[a, : len(best)] = self.ids[places[best]], away[best]": (
            "ids[a, : len(best)], distances[a, : len(best)] = places[best], away[best]"
        )
    },
)
wrong(
    "IVF",
    "returns distances that are not squared",
    fails=["test_all_cells_probed_is_exact"],
    edit={"return ids, distances": "return ids, np.sqrt(distances)"},
)
wrong(
    "IVF",
    "probes the cells that are farthest",
    fails=["test_recall_grows_with_the_probes"],
    edit={
        "np.argsort(squared_distances(Q, self.centroids), axis=1)": (
            "np.argsort(-squared_distances(Q, self.centroids), axis=1)"
        )
    },
)
wrong(
    "IVF",
    "takes random rows as centroids, without k-means",
    fails=["test_cells_are_clusters"],
    edit={
        "self.centroids, self.cell = kmeans(X, self.cells, self.seed)": (
            "self.centroids, self.cell = kmeans(X, self.cells, self.seed, steps=0)"
        )
    },
)
wrong(
    "IVF",
    "takes the first rows as centroids, without k-means",
    fails=["test_cells_are_clusters"],
    edit={
        "self.centroids, self.cell = kmeans(X, self.cells, self.seed)": (
            "self.centroids = np.array(X[np.arange(self.cells) % len(X)])\n"
            "        self.cell = nearest(X, self.centroids)"
        )
    },
)
wrong(
    "IVF",
    "has no more centroids than rows, where there are fewer rows than cells",
    fails=["test_few_rows_and_empty_cells"],
    edit={"kmeans(X, self.cells, self.seed)": "kmeans(X, min(self.cells, len(X)), self.seed)"},
)
wrong(
    "IVF",
    "probes the cells of the first query for all queries",
    fails=["test_only_probed_cells_are_searched"],
    edit={"for a, cells in enumerate(order):": "for a, cells in enumerate(order[:1].repeat(len(Q), axis=0)):"},
)
wrong(
    "IVF",
    "leaves out empty cells before it counts the probes",
    fails=["test_empty_cells_are_probed_as_well"],
    edit={
        "order = np.argsort(squared_distances(Q, self.centroids), axis=1)[:, :probes]": (
            "order = np.argsort(squared_distances(Q, self.centroids), axis=1)\n"
            "        order = [[c for c in row if self.starts[c] < self.starts[c + 1]][:probes] for row in order]"
        )
    },
)
wrong(
    "IVF",
    "computes all distances, and covers those of other cells",
    fails=["test_many_queries"],
    edit={
        "        for a, cells in enumerate(order):\n": (
            "        everything = squared_distances(Q, self.rows)\n        for a, cells in enumerate(order):\n"
        ),
        "away = squared_distances(Q[a : a + 1], self.rows[places])[0]": "away = everything[a, places]",
    },
)


wrong(
    "IVF",
    "compares each query with all rows, and covers those of other cells",
    fails=["test_a_query_meets_the_rows_of_its_cells_only"],
    edit={
        "away = squared_distances(Q[a : a + 1], self.rows[places])[0]": (
            "away = squared_distances(Q[a : a + 1], self.rows)[0][places]"
        )
    },
)


@right("IVF", "a dictionary of lists, and differences of vectors")
class ListsOfRows:
    def __init__(self, cells, seed):
        self.cells, self.seed = cells, seed

    def fit(self, X):
        self.X = np.array(X, dtype=float)
        self.centroids, self.cell = kmeans(self.X, self.cells, self.seed)
        self.lists = {c: np.flatnonzero(self.cell == c) for c in range(self.cells)}

    def search(self, Q, k, probes):
        ids, distances = [], []
        for q in np.asarray(Q, dtype=float):
            cells = np.argsort(((self.centroids - q) ** 2).sum(axis=1))[:probes]
            rows = np.concatenate([self.lists[c] for c in cells.tolist()])
            away = ((self.X[rows] - q) ** 2).sum(axis=1)
            order = np.argsort(away)[:k]
            missing = k - len(order)
            ids.append(np.append(rows[order], np.full(missing, -1)))
            distances.append(np.append(away[order], np.full(missing, np.inf)))
        return np.array(ids, dtype=np.int64).reshape(len(Q), k), np.array(distances).reshape(len(Q), k)


@right("IVF", "cells one after the other, and a list of the best so far")
class CellByCell:
    def __init__(self, cells, seed):
        self.count, self.generator = cells, seed

    def fit(self, X):
        self.X = X.copy()
        self.centroids, self.cell = kmeans(X, self.count, self.generator, 15)
        self.members = [np.where(self.cell == c)[0] for c in range(self.count)]

    def search(self, Q, k, probes):
        ids = np.full((len(Q), k), -1, np.int64)
        distances = np.full((len(Q), k), np.inf)
        near = np.argsort(squared_distances(Q, self.centroids), axis=1, kind="stable")
        for a in range(len(Q)):
            best = []
            for c in near[a, :probes]:
                rows = self.members[c]
                away = squared_distances(Q[a : a + 1], self.X[rows])[0]
                best = sorted(best + list(zip(away.tolist(), rows.tolist(), strict=True)))[:k]
            for place, (value, row) in enumerate(best):
                ids[a, place], distances[a, place] = row, value
        return ids, distances


# ----------------------------------------------------------------------------------------------- ProductQuantizer

wrong(
    "ProductQuantizer",
    "quantises the query, too",
    fails=["test_distances_to_the_decoded"],
    edit={"for a, q in enumerate(Q):": "for a, q in enumerate(self.decode(self.encode(Q))):"},
)
wrong(
    "ProductQuantizer",
    "adds codes in uint8, which wraps around",
    fails=["test_distances_to_the_decoded"],
    edit={
        "((piece - book) ** 2).sum(axis=1)[codes[:, p]]": (
            "((piece - book) ** 2).sum(axis=1)[codes[:, p] + np.uint8(p)]"
        )
    },
)
wrong(
    "ProductQuantizer",
    "has one codebook, that of the first part, for all parts",
    fails=["test_decoded_parts_stand_side_by_side"],
    edit={"for p, piece in enumerate(pieces)]": "for p, piece in enumerate([pieces[0]] * len(pieces))]"},
)
wrong(
    "ProductQuantizer",
    "cuts the rows into parts by turns: every parts-th coordinate",
    fails=["test_codes_name_the_nearest_centroids"],
    edit={
        "np.split(X, self.parts, axis=1)  # raises ValueError for unequal parts": (
            "[X[:, p :: self.parts] for p in range(self.parts)]"
        ),
        "        pieces = np.split(X, self.parts, axis=1)\n        codes": (
            "        pieces = [X[:, p :: self.parts] for p in range(self.parts)]\n        codes"
        ),
    },
)
wrong(
    "ProductQuantizer",
    "draws random rows as centroids, without k-means",
    fails=["test_codebooks_are_found_by_k_means"],
    edit={"kmeans(piece, 256, [self.seed, p])": "kmeans(piece, 256, [self.seed, p], steps=0)"},
)
wrong(
    "ProductQuantizer",
    "takes the first 256 rows as centroids, without k-means",
    fails=["test_codebooks_are_found_by_k_means"],
    edit={
        "kmeans(piece, 256, [self.seed, p])[0] for p, piece in enumerate(pieces)]": (
            "piece[np.arange(256) % len(X)] + 0.0 for p, piece in enumerate(pieces)]"
        )
    },
)
wrong(
    "ProductQuantizer",
    "has no more centroids than training rows, where these are fewer than 256",
    fails=["test_few_rows_and_no_rows"],
    edit={"kmeans(piece, 256, [self.seed, p])": "kmeans(piece, min(256, len(X)), [self.seed, p])"},
)
wrong(
    "ProductQuantizer",
    "decodes all rows for a search",
    fails=["test_a_million_codes"],
    edit={
        "        for a, q in enumerate(Q):\n": "        rows = self.decode(codes)\n        for a, q in enumerate(Q):\n",
    },
)
wrong(
    "ProductQuantizer",
    "decodes the rows in blocks for a search",
    fails=["test_a_million_codes"],
    edit={
        "                away += ((piece - book) ** 2).sum(axis=1)[codes[:, p]]\n": (
            "                for start in range(0, len(codes), 4096):\n"
            "                    block = book[codes[start : start + 4096, p]]\n"
            "                    away[start : start + 4096] += ((block - piece) ** 2).sum(axis=1)\n"
        ),
    },
)
wrong(
    "ProductQuantizer",
    "looks up all parts of all rows at once",
    fails=["test_a_million_codes"],
    edit={
        "            away = np.zeros(len(codes))\n": (
            "            tables = np.array([((piece - book) ** 2).sum(axis=1) for piece, book in zip(\n"
            "                np.split(q, self.parts), self.books, strict=True)])\n"
            "            away = tables[np.arange(self.parts), codes].sum(axis=1)\n"
        ),
        "                away += ((piece - book) ** 2).sum(axis=1)[codes[:, p]]\n": "                pass\n",
    },
)
wrong(
    "ProductQuantizer",
    "cuts into parts of unequal length where parts do not divide d",
    fails=["test_parts_that_do_not_fit"],
    edit={
        "np.split(X, self.parts, axis=1)  # raises": "np.array_split(X, self.parts, axis=1)  #",
    },
)


@right("ProductQuantizer", "one array of all codebooks, and blocks of codes")
class ByBlocks:
    def __init__(self, parts, seed):
        self.parts, self.seed = parts, seed

    def fit(self, X):
        d = X.shape[1]
        if d % self.parts != 0:
            raise ValueError("parts do not divide d")
        self.width = d // self.parts
        self.books = np.empty((self.parts, 256, self.width))
        for p in range(self.parts):
            part = np.ascontiguousarray(X[:, p * self.width : (p + 1) * self.width], dtype=float)
            self.books[p] = kmeans(part, 256, self.seed + p)[0]

    def encode(self, X):
        codes = np.empty((len(X), self.parts), np.uint8)
        for p in range(self.parts):
            codes[:, p] = nearest(np.asarray(X[:, p * self.width : (p + 1) * self.width], float), self.books[p])
        return codes

    def decode(self, codes):
        return self.books[np.arange(self.parts), codes].reshape(len(codes), self.parts * self.width)

    def search(self, Q, codes, k):
        ids, distances = np.empty((len(Q), k), np.int64), np.empty((len(Q), k))
        for a in range(len(Q)):
            table = ((self.books - np.asarray(Q[a], float).reshape(self.parts, 1, -1)) ** 2).sum(axis=-1)
            away = np.empty(len(codes))
            for start in range(0, len(codes), 50_000):
                block = codes[start : start + 50_000]
                away[start : start + 50_000] = table[np.arange(self.parts), block].sum(axis=1)
            order = np.argpartition(away, k - 1)[:k]
            order = order[np.argsort(away[order])]
            ids[a], distances[a] = order, away[order]
        return ids, distances


@right("ProductQuantizer", "flat tables in float32 with np.take")
class ByTake:
    def __init__(self, parts: int, seed: int):
        self.parts = parts
        self.seed = seed

    def pieces(self, X):
        return np.reshape(X, (len(X), self.parts, -1)).transpose(1, 0, 2)

    def fit(self, X):
        if X.shape[1] != X.shape[1] // self.parts * self.parts:
            raise ValueError(self.parts)
        self.books = [kmeans(np.array(piece), 256, [7, self.seed, p])[0] for p, piece in enumerate(self.pieces(X))]

    def encode(self, X):
        found = np.zeros((self.parts, len(X)), np.uint8)
        if len(X):
            for p, piece in enumerate(self.pieces(X)):
                found[p] = nearest(np.array(piece), self.books[p])
        return found.T.copy()

    def decode(self, codes):
        return np.hstack([np.take(book, codes[:, p], axis=0) for p, book in enumerate(self.books)])

    def search(self, Q, codes, k):
        answers = []
        for q in Q:
            away = np.zeros(len(codes))
            for p, part in enumerate(np.split(np.array(q, dtype=float), self.parts)):
                table = np.sum(np.square(self.books[p] - part), axis=1)
                away += np.take(table, codes[:, p])
            order = k_smallest(away, k)
            answers.append((order, away[order]))
        if not answers:
            return np.zeros((0, k), np.int64), np.zeros((0, k))
        return np.array([ids for ids, _ in answers]), np.array([distances for _, distances in answers])


# --------------------------------------------------------------------------------------------------- graph_search

wrong(
    "graph_search",
    "stops at the first step that improves nothing",
    fails=["test_the_walk_goes_on_over_hills"],
    edit={
        "        if new:\n": "        best = beam[0]\n        if new:\n",
        "            beam = heapq.nsmallest(width, beam + [(away[place], j) for place, j in enumerate(new)])": (
            "            beam = heapq.nsmallest(width, beam + [(away[place], j) for place, j in enumerate(new)])\n"
            "            if beam[0] == best:\n                return [i for _, i in beam[:k]]"
        ),
    },
)
wrong(
    "graph_search",
    "asks distances again that it has asked before",
    fails=["test_no_distance_is_asked_twice"],
    edit={
        "if j not in asked]": "if j not in expanded]",
        "beam + [(away[place], j) for place, j in enumerate(new)]": (
            "set(beam) | {(away[place], j) for place, j in enumerate(new)}"
        ),
    },
)
wrong(
    "graph_search",
    "never lets a node fall out of the beam, so it asks all distances",
    fails=["test_one_call_for_each_expanded_node"],
    edit={"heapq.nsmallest(width, ": "sorted("},
)
wrong(
    "graph_search",
    "keeps a beam of k nodes instead of width",
    fails=["test_the_walk_goes_on_over_hills"],
    edit={"heapq.nsmallest(width, ": "heapq.nsmallest(k, "},
)
wrong(
    "graph_search",
    "expands the farthest node of the beam first",
    fails=["test_one_call_for_each_expanded_node"],
    edit={"for _, i in beam if i not in expanded": "for _, i in beam[::-1] if i not in expanded"},
)
wrong(
    "graph_search",
    "asks the distances one by one",
    fails=["test_one_call_for_each_expanded_node"],
    edit={"away = distance(np.array(new)).tolist()": "away = [float(distance(np.array([j]))[0]) for j in new]"},
)


@right("graph_search", "two heaps, as in HNSW")
def by_two_heaps(neighbours, distance, entry, width, k):
    first = float(distance(np.array([entry], dtype=np.int64))[0])
    seen = np.zeros(len(neighbours), dtype=bool)
    seen[entry] = True
    candidates, best = [(first, entry)], [(-first, entry)]
    while candidates:
        away, node = heapq.heappop(candidates)
        if len(best) == width and away > -best[0][0]:
            break
        new = np.asarray(neighbours[node])
        new = new[~seen[new]]
        if len(new) == 0:
            continue
        seen[new] = True
        for value, i in zip(distance(new), new, strict=True):
            if len(best) < width or value < -best[0][0]:
                heapq.heappush(candidates, (float(value), int(i)))
                heapq.heappush(best, (-float(value), int(i)))
                if len(best) > width:
                    heapq.heappop(best)
    return [i for _, i in sorted((-value, i) for value, i in best)][:k]


@right("graph_search", "a dictionary of all distances, sorted in each step")
def by_dictionary(neighbours, distance, entry, width, k):
    known = {entry: float(distance(np.array([entry]))[0])}
    beam, done = [entry], set()
    while True:
        waiting = [i for i in beam if i not in done]
        if not waiting:
            return beam[:k]
        done.add(waiting[0])
        new = np.array([j for j in neighbours[waiting[0]].tolist() if j not in known], dtype=np.int64)
        if new.size:
            known.update(zip(new.tolist(), map(float, distance(new)), strict=True))
            beam = sorted([*beam, *new.tolist()], key=known.get)[:width]


# ----------------------------------------------------------------------------------------------- sample_negatives

wrong(
    "sample_negatives",
    "draws from all items, also those that the user knows",
    fails=["test_known_items_are_never_drawn"],
    edit={"        free[R.indices[R.indptr[u] : R.indptr[u + 1]]] = 0\n": ""},
)
wrong(
    "sample_negatives",
    "gives all items that are not known the same probability",
    fails=["test_negatives_come_by_their_weights"],
    edit={"free = weights.copy()": "free = (weights > 0).astype(float)"},
)
wrong(
    "sample_negatives",
    "draws one item for each user, and gives it each time the user occurs",
    fails=["test_negatives_come_by_their_weights"],
    edit={"rng.random() * total[-1]": "np.random.default_rng([seed, u]).random() * total[-1]"},
)
wrong(
    "sample_negatives",
    "takes a stored 0 for an item that is not known",
    fails=["test_entries_of_every_kind"],
    edit={
        "        free[R.indices[R.indptr[u] : R.indptr[u + 1]]] = 0\n": (
            "        mine = slice(R.indptr[u], R.indptr[u + 1])\n        free[R.indices[mine][R.data[mine] != 0]] = 0\n"
        )
    },
)


@wrong("sample_negatives", "tries a hundred times, and then takes what comes", fails=["test_what_is_free_may_be_rare"])
def a_hundred_times(R, users, weights, seed):
    rng, total = np.random.default_rng(seed), np.cumsum(weights)
    keys = np.sort(np.repeat(np.arange(R.shape[0]), np.diff(R.indptr)) * R.shape[1] + R.indices)

    def tried(count):
        return np.searchsorted(total, rng.random(count) * total[-1], side="right")

    drawn = tried(len(users))
    for _ in range(100):
        asked = users * R.shape[1] + drawn
        known = np.flatnonzero(np.append(keys, -1)[np.searchsorted(keys, asked)] == asked)
        drawn[known] = tried(len(known))
    return drawn


wrong(
    "sample_negatives",
    "makes the entries of all users dense",
    fails=["test_negatives_in_a_large_shop"],
    edit={
        "    drawn = np.empty(len(users), np.int64)\n": (
            "    drawn, known = np.empty(len(users), np.int64), np.ones(R.shape)\n"
            "    known[np.repeat(np.arange(len(known)), np.diff(R.indptr)), R.indices] = 0\n"
        ),
        "free = weights.copy()\n        free[R.indices[R.indptr[u] : R.indptr[u + 1]]] = 0": (
            "free = weights * known[u]"
        ),
    },
)


@right("sample_negatives", "Generator.choice among the items that are left")
def by_choice(R, users, weights, seed):
    rng, drawn = np.random.default_rng(seed), []
    for u in users.tolist():
        free = np.setdiff1d(np.arange(R.shape[1]), R.indices[R.indptr[u] : R.indptr[u + 1]])
        drawn.append(rng.choice(free, p=weights[free] / weights[free].sum()))
    return np.array(drawn, dtype=np.int64)


@right("sample_negatives", "all entries of one user at once, in the order of the users")
def by_users(R, users, weights, seed):
    rng, drawn = np.random.default_rng([seed, 5]), np.zeros(users.shape, dtype=np.int64)
    for u in np.unique(users):
        places = np.flatnonzero(users == u)
        mask = np.ones(R.shape[1], dtype=bool)
        mask[R[int(u)].indices] = False
        items = np.flatnonzero(mask & (weights > 0))
        borders = np.cumsum(weights[items] / weights[items].max())
        drawn[places] = items[np.searchsorted(borders / borders[-1], rng.random(len(places)), side="right")]
    return drawn


# ---------------------------------------------------------------------------------------------------- build_graph

wrong(
    "build_graph",
    "links a new node to others, and none of them to it",
    fails=["test_each_node_is_linked_to_the_nearest_that_its_walk_finds"],
    edit={
        "graph[j] = np.append(graph[j], i)  # i is larger than all that came before": "pass",
    },
)
wrong(
    "build_graph",
    "compares a new node with all before it",
    fails=["test_no_more_distances_than_the_walks_ask"],
    edit={
        "found = graph_search(graph, lambda ids, i=i: distance(i, ids), 0, width, links)": (
            "found = np.argsort(distance(i, np.arange(i)))[:links].tolist()"
        )
    },
)
wrong(
    "build_graph",
    "begins the walk at the node that was inserted last",
    fails=["test_no_more_distances_than_the_walks_ask"],
    edit={"distance(i, ids), 0, width, links)": "distance(i, ids), i - 1, width, links)"},
)
wrong(
    "build_graph",
    "links a new node to the whole beam",
    fails=["test_each_node_is_linked_to_the_nearest_that_its_walk_finds"],
    edit={"0, width, links)": "0, width, width)"},
)
wrong(
    "build_graph",
    "walks with a beam of as many nodes as are linked",
    fails=["test_no_more_distances_than_the_walks_ask"],
    edit={"0, width, links)": "0, links, links)"},
)


@right("build_graph", "sets of neighbours, and a walk of its own")
def by_sets(n, distance, links, width):
    around = [set() for _ in range(n)]
    for i in range(1, n):
        away, done, beam = {0: float(distance(i, np.array([0]))[0])}, set(), [0]
        while waiting := [j for j in beam if j not in done]:
            done.add(waiting[0])
            new = sorted(around[waiting[0]] - away.keys())
            if new:
                away.update(zip(new, distance(i, np.array(new, dtype=np.int64)).tolist(), strict=True))
                beam = sorted([*beam, *new], key=away.get)[:width]
        for j in beam[:links]:
            around[i].add(j)
            around[j].add(i)
    return [np.array(sorted(some), dtype=np.int64) for some in around]


@right("build_graph", "lists of neighbours, made arrays for each walk")
def by_pairs(n, distance, links, width):
    lists = [[] for _ in range(n)]
    arrays = [np.empty(0, dtype=np.int64) for _ in range(n)]
    for i in range(1, n):

        def to_new(ids, node=i):
            return distance(node, ids)

        for j in graph_search(arrays[:i], to_new, 0, width, min(links, width)):
            lists[i] = sorted([*lists[i], j])
            lists[j].append(i)
            arrays[j] = np.array(lists[j], dtype=np.int64)
        arrays[i] = np.array(lists[i], dtype=np.int64)
    return arrays
