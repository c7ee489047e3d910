"""Hidden tests of module 19. A docstring is the sentence that a student reads when the test fails.

Oracles are brute force over all items, dense linear algebra, torch's autograd, and SciPy's distances.
"""

# Helpers run where `student` is defined, maybe under another Python.
# ruff: noqa: F821, B905

import math

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.stats import chi2

from autograder.judging import Contract, close, floats, frozen, is_array, one_of, raises_student, student_side

EPS = float(np.finfo(np.float64).eps)


def sparse(rng, rows, columns, share, values=None):
    """A csr_matrix of float64 with sorted rows; `values(rng, count)` makes what is stored."""
    where = rng.random((rows, columns)) < share
    count = int(where.sum())
    data = np.ones(count) if values is None else values(rng, count)
    return csr_matrix((data, where.nonzero()), shape=(rows, columns))


def jumbled(rng, R):
    """The same matrix, with the entries of each row stored in random order."""
    data, indices = R.data.copy(), R.indices.copy()
    for start, stop in zip(R.indptr[:-1], R.indptr[1:], strict=True):
        order = start + rng.permutation(stop - start)
        data[start:stop], indices[start:stop] = R.data[order], R.indices[order]
    return csr_matrix((data, indices, R.indptr.copy()), shape=R.shape)


def entries(R, u):
    """The columns and values that are stored in one row."""
    mine = slice(R.indptr[u], R.indptr[u + 1])
    return R.indices[mine], R.data[mine]


# ------------------------------------------------------------------------------------------------ ranking_metrics

METRICS = ("precision", "recall", "ndcg", "mrr")


def metrics_of(scores, relevant, seen, k):
    """By definition: each user's items are sorted by falling score, then by number."""
    found = []
    for u in range(scores.shape[0]):
        hidden = set(entries(seen, u)[0].tolist())
        wanted = set(entries(relevant, u)[0].tolist()) - hidden
        if not wanted:
            continue
        best = sorted((-float(s), i) for i, s in enumerate(scores[u]) if i not in hidden)[:k]
        places = [t for t, (_, i) in enumerate(best, 1) if i in wanted]
        ideal = sum(1 / math.log2(t + 1) for t in range(1, min(k, len(wanted)) + 1))
        gain = sum(1 / math.log2(t + 1) for t in places)
        found.append([len(places) / k, len(places) / len(wanted), gain / ideal, 1 / places[0] if places else 0.0])
    return dict(zip(METRICS, np.mean(found, axis=0).tolist() if found else [0.0] * 4, strict=True))


def asked_metrics(rng, users, items, ties=False):
    scores = rng.integers(0, 4, (users, items)).astype(float) if ties else rng.standard_normal((users, items))
    return scores, sparse(rng, users, items, 0.15), sparse(rng, users, items, 0.2)


@pytest.mark.exercise("ranking_metrics", weight=3, core=True, hint=3)
def test_precision_and_recall(submission, rng):
    """Hits are divided by k for precision, and by the number of relevant items for recall."""
    for users, items, k in [(30, 40, 5), (1, 12, 3), (60, 25, 10)]:
        scores = rng.standard_normal((users, items))
        relevant, seen = sparse(rng, users, items, 0.3), csr_matrix((users, items))
        got, want = submission.ranking_metrics(scores, relevant, seen, k), metrics_of(scores, relevant, seen, k)
        assert close(isinstance(got, dict) and set(METRICS) <= set(got), True)
        assert close([got["precision"], got["recall"]], [want["precision"], want["recall"]], rtol=1e-9)


@pytest.mark.exercise("ranking_metrics", weight=3, core=True, hint=3)
def test_places_of_the_hits(submission, rng):
    """A hit at place t is worth 1 / log2(t + 1), over what min(k, N) hits at the top are worth; mrr is 1 / first."""
    for users, items, k, share in [(30, 40, 5, 0.02), (30, 40, 5, 0.5), (1, 12, 3, 0.4), (40, 30, 20, 0.1)]:
        scores = rng.standard_normal((users, items))
        relevant, seen = sparse(rng, users, items, share), csr_matrix((users, items))
        got, want = submission.ranking_metrics(scores, relevant, seen, k), metrics_of(scores, relevant, seen, k)
        assert close([got["ndcg"], got["mrr"]], [want["ndcg"], want["mrr"]], rtol=1e-9)


@pytest.mark.exercise("ranking_metrics", weight=3, core=True, hint=1)
def test_what_was_seen_does_not_count(submission, rng):
    """Items that a user has seen are neither on the list nor relevant; users with nothing relevant are left out."""
    for _ in range(3):
        scores, relevant, seen = asked_metrics(rng, 50, 30)
        seen = seen.maximum(relevant.multiply(rng.random((50, 1)) < 0.4)).tocsr()
        assert close(
            submission.ranking_metrics(scores, relevant, seen, 6), metrics_of(scores, relevant, seen, 6), rtol=1e-9
        )


@pytest.mark.exercise("ranking_metrics", weight=2, hint=2)
def test_lower_numbers_first_at_ties(submission, rng):
    """Of equal scores the lower item number comes first, inside the list and at its end."""
    for users, items, k in [(40, 30, 5), (40, 200, 10), (40, 30, 30)]:
        scores, relevant, seen = asked_metrics(rng, users, items, ties=True)
        want = metrics_of(scores, relevant, seen, k)
        assert close(submission.ranking_metrics(scores, relevant, seen, k), want, rtol=1e-9)
        flat = np.zeros((users, items))
        assert close(
            submission.ranking_metrics(flat, relevant, seen, k), metrics_of(flat, relevant, seen, k), rtol=1e-9
        )


@pytest.mark.exercise("ranking_metrics", weight=2, hint=1)
def test_short_lists(submission, rng):
    """k may exceed the number of unseen items, also that of all items; a user may have seen everything or nothing."""
    for items, k in [(6, 5), (6, 6), (6, 7), (6, 500), (1, 1), (1, 3)]:
        scores, relevant = rng.standard_normal((40, items)), sparse(rng, 40, items, 0.5)
        seen = sparse(rng, 40, items, 0.6)
        seen = seen.maximum(csr_matrix((np.arange(40) < 3)[:, None] * np.ones(items))).tocsr()
        assert close(
            submission.ranking_metrics(scores, relevant, seen, k), metrics_of(scores, relevant, seen, k), rtol=1e-9
        )


@pytest.mark.exercise("ranking_metrics", weight=1)
def test_nobody_is_left(submission, rng):
    """Four Python floats come back, 0.0 where no user has anything relevant, or where there is no user."""
    for users in (0, 1, 7):
        none = csr_matrix((users, 9))
        for relevant, seen in [(none, none), (csr_matrix(np.ones((users, 9))), csr_matrix(np.ones((users, 9))))]:
            got = submission.ranking_metrics(rng.standard_normal((users, 9)), relevant, seen, 3)
            assert close(got, dict.fromkeys(METRICS, 0.0), typed=True)
    scores, relevant, seen = asked_metrics(rng, 20, 9)
    assert close(
        submission.ranking_metrics(scores, relevant, seen, 3),
        metrics_of(scores, relevant, seen, 3),
        rtol=1e-9,
        typed=True,
    )


@pytest.mark.exercise("ranking_metrics", weight=1)
def test_scores_and_marks_of_every_kind(submission, rng):
    """Scores may be float32, read-only, of any size or memory order; marks may have any value, in any order."""
    for scale in (1.0, 1e-150, 1e150):
        scores, relevant, seen = asked_metrics(rng, 30, 20)
        want = metrics_of(scores, relevant, seen, 4)
        scores *= scale
        fortran = np.asfortranarray(scores)
        fortran.flags.writeable = False
        other = jumbled(rng, relevant)
        other.data = rng.choice([-2.5, 0.5, 7.0], len(other.data))
        assert close(submission.ranking_metrics(fortran, other, jumbled(rng, seen), 4), want, rtol=1e-9)
    scores = rng.standard_normal((30, 20)).astype(np.float32)
    want = metrics_of(scores, relevant, seen, 4)
    assert close(submission.ranking_metrics(scores, relevant.astype(np.int64), seen.astype(bool), 4), want, rtol=1e-9)
    zero = csr_matrix((np.zeros(relevant.nnz), relevant.indices, relevant.indptr), relevant.shape)
    assert close(submission.ranking_metrics(scores, zero, seen, 4), want, rtol=1e-9)
    scores = rng.standard_normal((1200, 7))  # more than a thousand users
    relevant, seen = sparse(rng, 1200, 7, 0.3), csr_matrix((1200, 7))
    assert close(
        submission.ranking_metrics(scores, relevant, seen, 2), metrics_of(scores, relevant, seen, 2), rtol=1e-9
    )
    scores, relevant = rng.standard_normal((3, 1500)), sparse(rng, 3, 1500, 0.5)
    assert close(
        submission.ranking_metrics(scores, relevant, csr_matrix((3, 1500)), 1200),
        metrics_of(scores, relevant, csr_matrix((3, 1500)), 1200),
        rtol=1e-9,
    )


@student_side
def metrics_of_many(users, items, seed, k):
    """Metrics where all scores together take 800 MB, as a view of a vector in which the rows overlap."""
    from numpy.lib.stride_tricks import sliding_window_view
    from scipy.sparse import csr_matrix

    scores = sliding_window_view(np.random.default_rng(seed).standard_normal(users + items - 1), items)
    rows = np.arange(users)
    relevant = csr_matrix((np.ones(users), (rows, (rows * 37) % items)), shape=(users, items))
    best = np.argmax(scores[:50], axis=1)
    seen = csr_matrix((np.ones(50), (rows[:50], best)), shape=(users, items))
    return student.ranking_metrics(scores, relevant, seen, k)


@pytest.mark.exercise("ranking_metrics", weight=8, hint=2, memory_mb=80)
def test_scores_of_a_large_shop(submission, rng):
    """With 2,000 users and 50,000 items, a few rows of scores are copied at a time, and none is sorted as a whole."""
    users, items, k, seed = 2000, 50_000, 1000, int(rng.integers(2**40))
    got = submission.run(metrics_of_many, users, items, seed, k)
    line = np.random.default_rng(seed).standard_normal(users + items - 1)
    found = []
    for u in range(users):
        row, own = line[u : u + items], (u * 37) % items
        above = np.count_nonzero(row > row[own])
        if u < 50:
            best = row.argmax()
            if best == own:
                continue
            above -= 1
        hit = above < k
        found.append([hit / k, float(hit), hit / math.log2(above + 2), hit / (above + 1)])
    assert close([got[name] for name in METRICS], np.mean(found, axis=0), rtol=1e-9)


@pytest.mark.exercise("ranking_metrics", forgeable=True)
def test_metrics_leave_no_trace(submission, rng):
    """The scores and both matrices are left as they are, and nothing is kept between calls."""
    asked = Contract(
        "ranking_metrics",
        scores=floats(20, 15),
        relevant=one_of(sparse(rng, 20, 15, 0.3)),
        seen=one_of(sparse(rng, 20, 15, 0.3)),
        k=one_of(4, 1, 100),
    )
    assert asked.leaves_no_trace(submission, rng, then=[{}, {"k": 100}, {"relevant": csr_matrix((20, 15))}])


# -------------------------------------------------------------------------------------------------- split_by_time


def split_of(times, share):
    border = sorted(times.tolist())[int((1 - share) * len(times))]
    late = np.array([t >= border for t in times.tolist()])
    return np.flatnonzero(~late), np.flatnonzero(late)


@pytest.mark.exercise("split_by_time", weight=5, core=True, hint=1)
def test_no_training_row_is_later(submission, rng):
    """The test holds the latest rows: no training row lies at or after any test row."""
    for m, share in [(100, 0.2), (37, 0.5), (1000, 0.05), (10, 0.9)]:
        times = rng.permutation(10 * m)[:m]
        assert close(submission.split_by_time(times, share), split_of(times, share))


@pytest.mark.exercise("split_by_time", weight=3, hint=2)
def test_equal_times_stay_together(submission, rng):
    """Rows of the same time are on the same side, and the border itself belongs to the test."""
    for m, share in [(100, 0.2), (37, 0.5), (1000, 0.05), (10, 0.9), (1, 0.3), (2, 0.5)]:
        for high in (2, 5, 20):
            times = rng.integers(0, high, m)
            assert close(submission.split_by_time(times, share), split_of(times, share))


@pytest.mark.exercise("split_by_time", weight=2)
def test_times_of_every_kind(submission, rng):
    """Times may be floats or integers of any size and layout; int64 arrays in ascending order come back."""
    for times in [
        rng.standard_normal(50) * 1e-9,
        rng.standard_normal(50) * 1e12,
        rng.integers(-(2**62), 2**62, 50),
        rng.integers(-9, 9, 50).astype(np.int8),
        rng.integers(2**63, 2**64 - 1, 50, np.uint64),
        rng.random(100).astype(np.float32)[::-2],
        np.array([0.0, -0.0, 1.0, -1.0]),
        frozen(rng.integers(0, 99, 3000)),
    ]:
        for share in (0.25, 1e-9, 1 - 1e-9):
            assert close(submission.split_by_time(times, share), split_of(times, share), typed=True)


@pytest.mark.exercise("split_by_time", forgeable=True)
def test_split_leaves_no_trace(submission, rng):
    """The times are left as they are, and nothing is shared or kept between calls."""
    asked = Contract("split_by_time", times=floats(30), share=one_of(0.3))
    assert asked.leaves_no_trace(submission, rng)


# ------------------------------------------------------------------------------------------------------- als_step


def ratings(rng, count):
    return np.round(rng.standard_normal(count), 1)  # some are 0


def als_of(R, Y, reg):
    """Each row as a least-squares problem with sqrt(reg) I below it: QR in place of normal equations."""
    X = np.zeros((R.shape[0], Y.shape[1]))
    for u in range(R.shape[0]):
        items, r = entries(R, u)
        A = np.vstack([Y[items], math.sqrt(reg) * np.eye(Y.shape[1])])
        X[u] = np.linalg.lstsq(A, np.append(r, np.zeros(Y.shape[1])), rcond=None)[0]
    return X


@pytest.mark.exercise("als_step", weight=3, core=True, hint=3)
def test_the_gradient_vanishes(submission, rng):
    """In each row the gradient of its own sum is 0: only the user's own ratings count, and reg as it is."""
    for users, items, f, reg in [(20, 30, 4, 0.5), (5, 12, 1, 2.0), (9, 7, 5, 0.1)]:
        R, Y = sparse(rng, users, items, 0.4, ratings), rng.standard_normal((items, f))
        X = submission.als_step(R, Y, reg)
        assert close(is_array(X, (users, f)), True)
        for u in range(users):
            own, r = entries(R, u)
            assert close(Y[own].T @ (Y[own] @ X[u] - r) + reg * X[u], np.zeros(f), atol=1e-9)


@pytest.mark.exercise("als_step", weight=2, core=True, hint=2)
def test_few_ratings(submission, rng):
    """Users without ratings get zeros; one rating, and fewer ratings than factors, have one answer as well."""
    R = sparse(rng, 40, 12, 0.1, ratings)
    R = csr_matrix(R.multiply((np.arange(40) % 3 > 0)[:, None]))
    for reg in (1e-3, 1.0, 50.0):
        Y = rng.standard_normal((12, 6))
        X = submission.als_step(R, Y, reg)
        assert close(X, als_of(R, Y, reg), atol=1e-9)
        assert close(X[::3], np.zeros((14, 6)))


@pytest.mark.exercise("als_step", weight=1, hint=1)
def test_zeros_that_are_stored(submission, rng):
    """A stored 0 is a rating, entries of a row come in any order, and there may be no user at all."""
    R = jumbled(rng, sparse(rng, 30, 20, 0.4, lambda rng, count: rng.integers(-1, 2, count).astype(float)))
    Y = rng.standard_normal((20, 3))
    assert close(submission.als_step(R, Y, 0.7), als_of(R, Y, 0.7), atol=1e-9, typed=True)
    none = csr_matrix((30, 20))
    assert close(submission.als_step(none, Y, 0.7), np.zeros((30, 3)), typed=True)
    assert close(submission.als_step(csr_matrix((0, 20)), Y, 0.7), np.zeros((0, 3)), typed=True)


@pytest.mark.exercise("als_step", weight=2)
def test_sizes_of_ratings_and_factors(submission, rng):
    """Ratings and factors of any size, and any number of users, are fitted: X scales with the ratings."""
    R, Y = sparse(rng, 1100, 15, 0.3, ratings), rng.standard_normal((15, 3))
    want = als_of(R, Y, 0.3)
    assert close(submission.als_step(R, Y, 0.3), want, atol=1e-9)
    for scale in (2.0**-40, 2.0**40):
        assert close(submission.als_step(R[:50] * scale, Y, 0.3), want[:50] * scale, atol=1e-9 * scale)
        got = submission.als_step(R[:50], Y * scale, 0.3 * scale**2)
        assert close(got, want[:50] / scale, atol=1e-9 / scale)
    for case in Contract("als_step", R=one_of(R[:50]), Y=floats(15, 3), reg=one_of(0.3)).cases(rng):
        if case.exact[1].dtype == case.args[1].dtype:
            assert close(submission.als_step(*case), als_of(R[:50], case.exact[1], 0.3), atol=1e-9)


@pytest.mark.exercise("als_step", weight=2, hint=3)
def test_the_objective_falls(submission, rng):
    """Half-steps by turns, with R and its transpose, never let the sum of squares and penalties rise."""
    R, Y, reg = sparse(rng, 25, 18, 0.5, ratings), rng.standard_normal((18, 3)), 0.4
    known, last = R.tocoo(), np.inf
    for _ in range(4):
        X = submission.als_step(R, Y, reg)
        for A, B in ((X, Y), (X, submission.als_step(R.T.tocsr(), X, reg))):
            errors = known.data - np.einsum("nf,nf->n", A[known.row], B[known.col])
            J = float(errors @ errors + reg * (np.sum(A**2) + np.sum(B**2)))
            assert close(min(J, last), J, rtol=1e-9)
            last, Y = J, B


@student_side
def step_of_many(name, users, items, f, each, seed, rest):
    """A half-step on many users with `each` entries each, made over there: the first rows, and a checksum."""
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(seed)
    Y = rng.standard_normal((items, f))
    columns = (rng.integers(0, items, (users, 1)) + np.arange(each) * (items // each)) % items
    data = 1.0 + rng.integers(0, 5, users * each)
    R = csr_matrix((data, columns.ravel(), np.arange(0, users * each + 1, each)), shape=(users, items))
    X = getattr(student, name)(R, Y, *rest)
    return X[:20], X.shape


def few_of_many(users, items, f, each, seed):
    """What `step_of_many` draws: Y, and the items and values of the first 20 users."""
    rng = np.random.default_rng(seed)
    Y = rng.standard_normal((items, f))
    columns = (rng.integers(0, items, (users, 1)) + np.arange(each) * (items // each)) % items
    data = 1.0 + rng.integers(0, 5, users * each)
    return Y, columns[:20], data.reshape(users, each)[:20]


@pytest.mark.exercise("als_step", weight=4, hint=1, memory_mb=128, seconds=5)
def test_only_the_ratings_that_are_there(submission, rng):
    """8,000 users of 500,000 items are fitted without a dense matrix, and without a pass over all items for each."""
    sizes = (8000, 500_000, 4, 4, int(rng.integers(2**40)))  # dense: 32 GB; a pass for each user: 40 s and more
    X, shape = submission.run(step_of_many, "als_step", *sizes, [0.5])
    Y, columns, data = few_of_many(*sizes)
    assert close(shape, (8000, 4))
    for x, items, r in zip(X, columns, data, strict=True):
        assert close(Y[items].T @ (Y[items] @ x - r) + 0.5 * x, np.zeros(4), atol=1e-8)


@pytest.mark.exercise("als_step", forgeable=True)
def test_als_leaves_no_trace(submission, rng):
    """R and Y are left as they are, X is new, and nothing is kept between calls."""
    R = sparse(rng, 20, 9, 0.4, ratings)
    asked = Contract("als_step", R=one_of(R), Y=floats(9, 9), reg=one_of(0.5))
    assert asked.leaves_no_trace(submission, rng, then=[{}, {"R": csr_matrix((9, 9))}, {"R": R[:9]}])


# ---------------------------------------------------------------------------------------------- implicit_als_step


def clicks(rng, count):
    return rng.integers(1, 6, count) / 2.0


def implicit_of(R, Y, reg, alpha):
    """By definition, dense: a weighted least-squares problem over all items, one user after the other."""
    X, dense = np.zeros((R.shape[0], Y.shape[1])), R.toarray()
    for u, r in enumerate(dense):
        root = np.sqrt(1 + alpha * r)
        A = np.vstack([root[:, None] * Y, math.sqrt(reg) * np.eye(Y.shape[1])])
        X[u] = np.linalg.lstsq(A, np.append(root * (r > 0), np.zeros(Y.shape[1])), rcond=None)[0]
    return X


@pytest.mark.exercise("implicit_als_step", weight=4, core=True, hint=2)
def test_clicks_solve_the_dense_problem(submission, rng):
    """Each row minimises the sum over all items, with confidence 1 + alpha r, preference 1, and reg as it is."""
    for users, items, f, reg, alpha in [(20, 30, 4, 0.5, 2.0), (5, 12, 1, 2.0, 0.3), (9, 7, 5, 0.1, 40.0)]:
        R, Y = sparse(rng, users, items, 0.3, clicks), rng.standard_normal((items, f))
        assert close(submission.implicit_als_step(R, Y, reg, alpha), implicit_of(R, Y, reg, alpha), atol=1e-9)


@pytest.mark.exercise("implicit_als_step", weight=1, core=True, hint=3)
def test_users_with_few_clicks(submission, rng):
    """Users without entries get zeros; one entry, and entries for all items, are fine."""
    R = sparse(rng, 30, 8, 0.15, clicks)
    full = csr_matrix(np.vstack([R.toarray(), np.zeros((2, 8)), np.full((2, 8), 3.0)]))
    Y = rng.standard_normal((8, 5))
    X = submission.implicit_als_step(full, Y, 0.8, 1.5)
    assert close(X, implicit_of(full, Y, 0.8, 1.5), atol=1e-9)
    assert close(X[30:32], np.zeros((2, 5)))


@pytest.mark.exercise("implicit_als_step", weight=1, hint=2)
def test_ends_of_alpha_and_reg(submission, rng):
    """alpha = 0 leaves preferences only; large and small alpha, reg and counts are fitted as well."""
    for reg, alpha in [(0.5, 0.0), (1e-4, 1.0), (1e4, 1.0), (0.5, 1e-6), (0.5, 1000.0)]:
        R, Y = jumbled(rng, sparse(rng, 15, 20, 0.3, clicks)), rng.standard_normal((20, 3))
        want = implicit_of(R, Y, reg, alpha)
        assert close(submission.implicit_als_step(R, Y, reg, alpha), want, atol=1e-8 * float(np.abs(want).max()))
        got = submission.implicit_als_step(R * 2.0**20, Y, reg, alpha / 2.0**20)
        assert close(got, want, atol=1e-8 * float(np.abs(want).max()))
    for scale in (2.0**-30, 2.0**30):
        got = submission.implicit_als_step(R, Y * scale, reg * scale**2, alpha)
        assert close(got * scale, want, atol=1e-8 * float(np.abs(want).max()))


@pytest.mark.exercise("implicit_als_step", weight=1)
def test_shapes_of_implicit_steps(submission, rng):
    """A float64 array comes back for any number of users, also for none, for one factor and for Y in any layout."""
    for users, f in [(0, 3), (1, 1), (1100, 2)]:
        R, Y = sparse(rng, users, 9, 0.3, clicks), rng.standard_normal((9, f))
        assert close(submission.implicit_als_step(R, Y, 0.3, 2.0), implicit_of(R, Y, 0.3, 2.0), atol=1e-9, typed=True)
    R = sparse(rng, 12, 9, 0.3, clicks)
    for case in Contract("implicit_als_step", R=one_of(R), Y=floats(9, 3), reg=one_of(0.3), alpha=2.0).cases(rng):
        if case.exact[1].dtype == case.args[1].dtype:
            assert close(submission.implicit_als_step(*case), implicit_of(R, case.exact[1], 0.3, 2.0), atol=1e-9)


@pytest.mark.exercise("implicit_als_step", weight=5, hint=1, memory_mb=100)
def test_no_second_array_of_all_items(submission, rng):
    """No user needs an array of the size of Y, nor a dense row for each user."""
    # Y takes 64 MB, and a second Y another 64.
    sizes = (200, 500_000, 16, 8, int(rng.integers(2**40)))
    X, shape = submission.run(step_of_many, "implicit_als_step", *sizes, [3.0, 2.0])
    check_many(X, shape, sizes, 3.0, 2.0)


@pytest.mark.exercise("implicit_als_step", weight=5, hint=1, memory_mb=128, seconds=5)
def test_what_users_share_is_computed_once(submission, rng):
    """With 500,000 items and 8,000 users, Y^T Y is computed once, and not for each user."""
    # One Y^T Y takes about 5 ms, so 40 s for all users; all the solves take 0.3 s. Dense: 32 GB.
    sizes = (8000, 500_000, 4, 4, int(rng.integers(2**40)))
    X, shape = submission.run(step_of_many, "implicit_als_step", *sizes, [3.0, 2.0])
    check_many(X, shape, sizes, 3.0, 2.0)


def check_many(X, shape, sizes, reg, alpha):
    """Half the gradient of each of the first rows is 0, computed by way of the Gram matrix."""
    Y, columns, data = few_of_many(*sizes)
    assert close(shape, (sizes[0], sizes[2]))
    gram = Y.T @ Y
    for x, items, r in zip(X, columns, data, strict=True):
        c = 1 + alpha * r
        gradient = gram @ x + Y[items].T @ ((c - 1) * (Y[items] @ x) - c) + reg * x
        assert close(gradient, np.zeros(sizes[2]), atol=1e-10 * float(np.abs(gram).max()))


@pytest.mark.exercise("implicit_als_step", forgeable=True)
def test_implicit_als_leaves_no_trace(submission, rng):
    """R and Y are left as they are, X is new, and nothing is kept between calls."""
    R = sparse(rng, 20, 9, 0.4, clicks)
    asked = Contract("implicit_als_step", R=one_of(R), Y=floats(9, 9), reg=one_of(0.5), alpha=one_of(2.0))
    assert asked.leaves_no_trace(submission, rng, then=[{}, {"R": csr_matrix((9, 9))}, {"R": R[:9]}])


# ------------------------------------------------------------------------------------------------------- bpr_step


def drawn_triples(rng, B, users=12, items=9, f=4, apart=False):
    """U, V and triples; with `apart` no number occurs twice."""
    U, V = rng.standard_normal((users, f)), rng.standard_normal((items, f))
    if apart:
        both = rng.permutation(items)[: 2 * B]
        return U, V, rng.permutation(users)[:B], both[:B], both[B:]
    return U, V, rng.integers(0, users, B), rng.integers(0, items, B), rng.integers(0, items, B)


def bpr_of(U, V, users, pos, neg, lr, reg):
    """The step by torch's autograd."""
    U, V = (torch.tensor(part, requires_grad=True) for part in (U, V))
    u, i, j = U[torch.tensor(users)], V[torch.tensor(pos)], V[torch.tensor(neg)]
    penalty = (u**2).sum(1) + (i**2).sum(1) + (j**2).sum(1)
    loss = torch.mean(torch.nn.functional.softplus(-(u * (i - j)).sum(1)) + reg / 2 * penalty)
    loss.backward()
    return (U - lr * U.grad).detach().numpy(), (V - lr * V.grad).detach().numpy()


@pytest.mark.exercise("bpr_step", weight=3, core=True, hint=3)
def test_a_step_down_the_gradient(submission, rng):
    """Without repeats: the step follows the gradient of the mean loss, with reg as it is, at the old U and V."""
    for B, reg in [(4, 0.0), (4, 0.3), (1, 1.0)]:
        asked = (*drawn_triples(rng, B, apart=True), 0.7, reg)
        assert close(submission.bpr_step(*asked), bpr_of(*asked), atol=1e-10)


@pytest.mark.exercise("bpr_step", weight=3, core=True, hint=2)
def test_repeats_add_up(submission, rng):
    """Users and items that occur several times in a batch get all of their updates, the penalty included."""
    for B, reg in [(40, 0.0), (40, 0.3), (7, 2.0), (1500, 0.1)]:
        asked = (*drawn_triples(rng, B), 0.7, reg)
        assert close(submission.bpr_step(*asked), bpr_of(*asked), atol=1e-10)


@pytest.mark.exercise("bpr_step", weight=2, hint=1)
def test_the_difference_of_losses(submission, rng):
    """For a small learning rate the loss falls by lr times the squared length of the gradient."""
    U, V, users, pos, neg = drawn_triples(rng, 25)

    def loss(U, V):
        u, i, j = U[users], V[pos], V[neg]
        penalty = (u**2).sum(1) + (i**2).sum(1) + (j**2).sum(1)
        return float(np.mean(np.logaddexp(0, -(u * (i - j)).sum(1)) + 0.1 * penalty))

    lr = 1e-5
    new_U, new_V = submission.bpr_step(U, V, users, pos, neg, lr, 0.2)
    assert close(is_array(new_U, U.shape) and is_array(new_V, V.shape), True)
    squared = (np.sum((new_U - U) ** 2) + np.sum((new_V - V) ** 2)) / lr**2
    assert close((loss(U, V) - loss(new_U, new_V)) / lr, squared, rtol=1e-3)  # the next term is of the size lr


@pytest.mark.exercise("bpr_step", weight=2, hint=3)
def test_scores_far_apart(submission, rng):
    """Differences of scores as large as 1000 in size give finite steps, on both sides."""
    U, V, users, pos, neg = drawn_triples(rng, 30)
    users, pos, neg = np.tile(users, 2), np.append(pos, neg), np.append(neg, pos)  # each difference on both sides of 0
    far = np.sum(U[users] * (V[pos] - V[neg]), axis=1)
    for size in (1000.0, 300.0, 30.0):
        asked = (U * (size / np.abs(far).max()), V, users, pos, neg, 0.5, 0.01)
        assert close(submission.bpr_step(*asked), bpr_of(*asked), atol=1e-10 * size)


@pytest.mark.exercise("bpr_step", weight=2)
def test_batches_of_every_shape(submission, rng):
    """One triple, one factor, one user, pos equal to neg, and any lr: two float64 arrays come back."""
    for users, items, f, B in [(1, 2, 1, 1), (1, 1, 3, 5), (2000, 1500, 2, 3), (4, 5, 300, 6)]:
        for lr, reg in [(0.1, 0.2), (50.0, 0.0), (1e-6, 300.0)]:
            asked = (*drawn_triples(rng, B, users, items, f), lr, reg)
            assert close(submission.bpr_step(*asked), bpr_of(*asked), atol=1e-9 * max(1, lr), typed=True)
    U, V, *triples = drawn_triples(rng, 40)
    for lr, reg in [(1e-9, 0.0), (1.0, 1e-9)]:  # the steps themselves, as far as rounding of U and V lets them be seen
        got, want = submission.bpr_step(U, V, *triples, lr, reg), bpr_of(U, V, *triples, lr, reg)
        assert close(got[0] - U, want[0] - U, atol=1e-14) and close(got[1] - V, want[1] - V, atol=1e-14)
    for scale in (2.0**-30, 2.0**30):  # scores stay as they are
        asked = (U * scale, V / scale, *triples, 0.1, 0.0)
        got, want = submission.bpr_step(*asked), bpr_of(*asked)
        assert close(got[0], want[0], rtol=1e-9, atol=1e-9 * scale) and close(
            got[1], want[1], rtol=1e-9, atol=1e-9 / scale
        )
    _, _, users, pos, neg = drawn_triples(rng, 9)
    for case in Contract(
        "bpr_step",
        U=floats(12, 4),
        V=floats(9, 4),
        users=one_of(users),
        pos=one_of(pos),
        neg=one_of(neg),
        lr=0.3,
        reg=0.1,
    ).cases(rng):
        if case.args[0].dtype == case.args[1].dtype == np.float64:
            assert close(submission.bpr_step(*case), bpr_of(*case.exact), atol=1e-10)


@pytest.mark.exercise("bpr_step", weight=1, forgeable=True)
def test_bpr_leaves_no_trace(submission, rng):
    """U and V are left as they are, and what is returned is new."""
    _, _, users, pos, neg = drawn_triples(rng, 9)
    asked = Contract(
        "bpr_step",
        U=floats(12, 4),
        V=floats(9, 4),
        users=one_of(users),
        pos=one_of(pos),
        neg=one_of(neg),
        lr=0.3,
        reg=one_of(0.1, 0.0),
    )
    assert asked.leaves_no_trace(submission, rng, then=[{}, {"reg": 0.0}])


# -------------------------------------------------------------------------------------------------- in_batch_loss


def loss_of(Q, I, ids, log_q):  # noqa: E741
    """Loss and gradients by torch's autograd."""
    Q, I = torch.tensor(Q, requires_grad=True), torch.tensor(I, requires_grad=True)  # noqa: E741
    other = torch.tensor((ids[:, None] == ids) & ~np.eye(len(ids), dtype=bool))
    logits = (Q @ I.T - torch.tensor(log_q)).masked_fill(other, -torch.inf)
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(len(ids)))
    loss.backward()
    return loss.item(), Q.grad.numpy(), I.grad.numpy()


def drawn_batch(rng, B, f, items):
    q = rng.dirichlet(np.ones(items))
    ids = rng.integers(0, items, B)
    return rng.standard_normal((B, f)), rng.standard_normal((B, f)), ids, np.log(np.maximum(q, 1e-12))[ids]


@pytest.mark.exercise("in_batch_loss", weight=3, core=True, hint=1)
def test_corrected_logits(submission, rng):
    """With different items, log q of each column is subtracted from its logits, that of the row's own item too."""
    for B, f in [(6, 3), (2, 1), (30, 8)]:
        Q, I, _, log_q = drawn_batch(rng, B, f, 50)  # noqa: E741
        asked = Q, I, rng.permutation(1000)[:B], log_q
        got = submission.in_batch_loss(*asked)
        assert close(got[0], loss_of(*asked)[0], rtol=1e-9)


@pytest.mark.exercise("in_batch_loss", weight=3, core=True, hint=1)
def test_accidental_hits(submission, rng):
    """The same item in another row is left out of the sum, and only there."""
    for B, f, items in [(20, 3, 5), (8, 2, 2), (12, 4, 1), (40, 3, 30)]:
        asked = drawn_batch(rng, B, f, items)
        assert close(submission.in_batch_loss(*asked)[0], loss_of(*asked)[0], rtol=1e-9, atol=1e-10)


@pytest.mark.exercise("in_batch_loss", weight=4, core=True, hint=3)
def test_gradients_of_the_loss(submission, rng):
    """dQ and dI are the gradients of the mean loss, also where items repeat."""
    for B, f, items in [(20, 3, 5), (6, 2, 50), (12, 4, 1), (2, 1, 2)]:
        asked = drawn_batch(rng, B, f, items)
        got, want = submission.in_batch_loss(*asked), loss_of(*asked)
        assert close(got[1], want[1], atol=1e-10) and close(got[2], want[2], atol=1e-10)


@pytest.mark.exercise("in_batch_loss", weight=2, hint=2)
def test_logits_far_apart(submission, rng):
    """Logits as large as 10,000 in size give the exact loss and finite gradients."""
    for size in (10_000.0, 800.0, 40.0):
        Q, I, ids, log_q = drawn_batch(rng, 15, 3, 8)  # noqa: E741
        asked = Q * (size / np.abs(Q @ I.T).max()), I, ids, log_q
        got, want = submission.in_batch_loss(*asked), loss_of(*asked)
        assert close(got, want, rtol=1e-9, atol=1e-9 * size)
    Q, I = np.full((4, 1), -1.0), np.full((4, 1), 9999.0)  # noqa: E741  (all logits are far below 0)
    assert close(submission.in_batch_loss(Q, I, np.arange(4), np.zeros(4))[0], math.log(4), rtol=1e-9)


@pytest.mark.exercise("in_batch_loss", weight=2)
def test_one_row_and_many(submission, rng):
    """A row alone has loss 0; a Python float and two float64 arrays come back, for batches of any size."""
    for B, f, items in [(1, 3, 4), (1, 1, 1), (1300, 2, 20)]:
        asked = drawn_batch(rng, B, f, items)
        assert close(submission.in_batch_loss(*asked), loss_of(*asked), atol=1e-9, typed=True)
    for scale in (2.0**-30, 2.0**30):
        Q, I, ids, log_q = drawn_batch(rng, 9, 3, 4)  # noqa: E741
        asked = Q * scale, I / scale, ids, log_q
        got, want = submission.in_batch_loss(*asked), loss_of(*asked)
        assert close(got[0], want[0], rtol=1e-9, atol=1e-10) and close(got[1], want[1], atol=1e-9 / scale)
        assert close(got[2], want[2], atol=1e-9 * scale)
    Q, I, _, log_q = drawn_batch(rng, 6, 3, 4)  # noqa: E741
    for ids in ([-1, -2, -1, 5, 5, 0], [2**62 + 1, 2**62, 2**62 + 1, 3, 4, 5]):  # any numbers may name items
        asked = Q, I, np.array(ids), log_q
        assert close(submission.in_batch_loss(*asked), loss_of(*asked), atol=1e-9)
    ids = np.array([1, 2, 1, 3, 2, 2])
    for case in Contract("in_batch_loss", Q=floats(6, 3), I=floats(6, 3), ids=one_of(ids), log_q=one_of(log_q)).cases(
        rng
    ):
        if case.args[0].dtype == case.args[1].dtype == np.float64:
            assert close(submission.in_batch_loss(*case), loss_of(*case.exact), atol=1e-9)


@pytest.mark.exercise("in_batch_loss", weight=4, hint=3)
def test_large_batches_tend_to_the_full_softmax(submission, rng):
    """With items drawn by popularity, a row's gradient tends to that of the full softmax, over 1 - p of its item."""
    Y, x = rng.standard_normal((5, 3)), rng.standard_normal(3)
    q = np.array([0.4, 0.2, 0.2, 0.1, 0.1])
    p = np.exp(Y @ x - np.max(Y @ x))
    p /= p.sum()
    for copies in (20, 60):  # the batch holds each item exactly in proportion to q
        ids = np.repeat(np.arange(5), (q * 10 * copies + 0.5).astype(int))
        B = len(ids)
        got = np.asarray(submission.in_batch_loss(np.tile(x, (B, 1)), Y[ids], ids, np.log(q[ids]))[1]) * B
        for i in range(5):
            full = (p @ Y - Y[i]) / (1 - p[i])
            # The positive's own term keeps a weight e^s / q beside B times the sum over the other items.
            rest = p[i] / q[i] / (p[i] / q[i] + B * (1 - p[i]))
            row = got[np.flatnonzero(ids == i)[0]] if is_array(got, (B, 3)) else np.full(3, np.nan)
            assert close(row, full * (1 - rest), atol=1e-9)


@pytest.mark.exercise("in_batch_loss", forgeable=True)
def test_batch_loss_leaves_no_trace(submission, rng):
    """All arrays are left as they are, the gradients are new, and nothing is kept between calls."""
    log_q = -rng.random(6)
    asked = Contract(
        "in_batch_loss", Q=floats(6, 3), I=floats(6, 3), ids=one_of(np.array([1, 2, 1, 3, 2, 2])), log_q=one_of(log_q)
    )
    one = {"Q": rng.standard_normal((1, 3)), "I": rng.standard_normal((1, 3)), "ids": np.array([1]), "log_q": log_q[:1]}
    assert asked.leaves_no_trace(submission, rng, then=[{}, one])


# ------------------------------------------------------------------------------------------------------------ IVF


def is_found(got, Q, X, allowed, k, atol):
    """Whether ids and distances are the k nearest among the rows that are allowed for each query (a mask, or None).

    Rows at equal distances may come in any order, so each distance is compared with that of its own id, and all
    distances with the sorted exact ones.
    """
    if not isinstance(got, tuple | list) or len(got) != 2 or not all(is_array(part, (len(Q), k)) for part in got):
        return close(False, True)
    ids, distances = np.asarray(got[0]), np.asarray(got[1], float)
    exact = cdist(np.asarray(Q, float), np.asarray(X, float), "sqeuclidean")
    open_to = exact if allowed is None else np.where(allowed, exact, np.inf)
    want = np.full((len(Q), k), np.inf)
    want[:, : min(k, len(X))] = np.sort(open_to, axis=1)[:, :k]
    if not (there := close(distances, want, atol=atol)):
        return there
    known = np.isfinite(want)
    if ids.dtype.kind not in "iu" or np.any(ids[known] < 0) or np.any(ids[known] >= len(X)):
        return close(False, True)
    if not (empty := close(ids[~known], np.full(np.count_nonzero(~known), -1))):
        return empty
    own = open_to[np.nonzero(known)[0], ids[known]]
    if not (mine := close(distances[known], own, atol=atol)):
        return mine
    once = all(len(set(row[mask].tolist())) == mask.sum() for row, mask in zip(ids, known, strict=True))
    return close(once, True)


def fitted(submission, X, cells, seed=3):
    index = submission.IVF(cells, seed)
    index.fit(X)
    return index


def probed_rows(index, Q, probes):
    """Which rows lie in the probed cells of each query, by the index's own attributes."""
    centroids, cell = np.asarray(index.centroids, float), np.asarray(index.cell)
    order = np.argsort(cdist(Q, centroids, "sqeuclidean"), axis=1, kind="stable")[:, :probes]
    return (cell[None, :, None] == order[:, None, :]).any(axis=2)


@pytest.mark.exercise("IVF", weight=3, core=True, hint=3)
def test_all_cells_probed_is_exact(submission, rng):
    """With all cells probed, the k nearest rows are found, with their squared distances in ascending order."""
    for n, d, cells, k in [(200, 5, 10, 7), (50, 2, 7, 1), (30, 3, 1, 5)]:
        X, Q = rng.standard_normal((n, d)) + 1, rng.standard_normal((9, d))
        assert is_found(fitted(submission, X, cells).search(Q, k, cells), Q, X, None, k, 1e-9)


@pytest.mark.exercise("IVF", weight=3, core=True, hint=2)
def test_recall_grows_with_the_probes(submission, rng):
    """More probes find at least as much, one finds some, and all find everything."""
    X, Q = rng.standard_normal((2000, 8)), rng.standard_normal((60, 8))
    index = fitted(submission, X, 40)
    exact = np.argsort(cdist(Q, X), axis=1)[:, :10]
    recall = []
    for probes in (1, 4, 12, 40):
        ids = np.asarray(index.search(Q, 10, probes)[0])
        assert close(ids.shape, (60, 10))
        recall.append(float(np.mean([np.isin(true, row).mean() for true, row in zip(exact, ids, strict=True)])))
    # Fitted cells have a recall of 0.39, 0.81 and 0.98 here, give or take 0.03.
    assert close(recall[3], 1.0) and close(0.1 <= recall[0] <= 0.7 and recall[0] + 0.1 <= recall[1] <= recall[2], True)


@pytest.mark.exercise("IVF", weight=3, hint=2)
def test_only_probed_cells_are_searched(submission, rng):
    """The result is the k nearest rows of the probed cells, no more and no fewer; empty places hold -1 and inf."""
    for n, cells, k, probes in [(300, 20, 6, 3), (300, 20, 6, 1), (60, 20, 15, 2), (25, 12, 30, 4), (40, 8, 5, 7)]:
        X, Q = rng.standard_normal((n, 4)), rng.standard_normal((25, 4))
        index = fitted(submission, X, cells, int(rng.integers(2**32)))
        assert is_found(index.search(Q, k, probes), Q, X, probed_rows(index, Q, probes), k, 1e-9)


@pytest.mark.exercise("IVF", weight=2, hint=1)
def test_cells_are_clusters(submission, rng):
    """Each row belongs to its nearest centroid, and centroids are found by k-means, not only drawn from the rows."""
    X = rng.standard_normal((1500, 6))
    index = fitted(submission, X, 20)
    centroids, cell = np.asarray(index.centroids, float), np.asarray(index.cell)
    assert close(centroids.shape, (20, 6)) and close(cell.shape, (1500,))
    away = cdist(X, centroids, "sqeuclidean")
    own = away[np.arange(1500), cell] if cell.dtype.kind in "iu" and np.all((cell >= 0) & (cell < 20)) else np.inf
    assert close(own, away.min(axis=1), atol=1e-9)
    means = np.stack([X[cell == c].mean(axis=0) if np.any(cell == c) else centroids[c] for c in range(20)])
    # Random rows miss the means of their cells by 0.5 to 1 on average, ten steps of Lloyd's algorithm by 0.02 to 0.06.
    assert close(float(np.mean(np.linalg.norm(means - centroids, axis=1))), 0.0, atol=0.25)


@pytest.mark.exercise("IVF", weight=2, hint=3)
def test_few_rows_and_empty_cells(submission, rng):
    """More cells than rows, equal rows, one row, k above n, and no queries: what is missing is -1 and inf."""
    for X, cells in [
        (rng.standard_normal((3, 2)), 8),
        (np.ones((12, 3)), 5),
        (rng.standard_normal((1, 1)), 1),
        (np.repeat(rng.standard_normal((4, 2)), 5, axis=0), 10),
    ]:
        index = fitted(submission, X, cells)
        assert close(np.shape(index.centroids), (cells, X.shape[1]))
        Q = rng.standard_normal((6, X.shape[1]))
        for k, probes in [(1, cells), (4, cells + 5), (30, cells), (2000, 1000)]:
            assert is_found(index.search(Q, k, probes), Q, X, None, k, 1e-9)
        ids, distances = index.search(Q[:0], 3, 1)
        assert close(ids, np.zeros((0, 3), np.int64)) and close(distances, np.zeros((0, 3)))


@pytest.mark.exercise("IVF", weight=2, hint=2)
def test_empty_cells_are_probed_as_well(submission, rng):
    """An empty cell whose centroid is among the nearest takes one of the probes."""
    X, Q = np.array([[0.0], [1.0], [100.0]]), np.array([[0.1], [0.8], [99.0]])
    for cells in (3, 9, 14):
        index = fitted(submission, X, cells, int(rng.integers(2**32)))
        away = np.sort(cdist(Q, np.asarray(index.centroids, float), "sqeuclidean"), axis=1)
        for probes in range(1, cells):
            clear = away[:, probes] - away[:, probes - 1] > 1e-6  # of equal centroids, either may be probed first
            got = [np.asarray(part)[clear] for part in index.search(Q, 3, probes)]
            assert is_found(got, Q[clear], X, probed_rows(index, Q[clear], probes), 3, 1e-9)


@pytest.mark.exercise("IVF", weight=2)
def test_rows_and_queries_of_every_kind(submission, rng):
    """float32 and float64, any memory layout, many rows; ids are int64; a second fit starts anew."""
    forms = Contract("IVF", X=floats(60, 4), Q=floats(5, 4))
    index = submission.IVF(6, 2)
    for case in forms.cases(rng):
        index.fit(case.args[0])
        got = index.search(case.args[1], 5, 6)
        single = any(part.dtype == np.float32 for part in case.args)
        assert is_found(got, case.exact[1], case.exact[0], None, 5, 1e-4 if single else 1e-9)
        assert close(np.asarray(got[0]).dtype == np.int64 and np.asarray(got[1]).dtype.kind == "f", True)
    for scale in (2.0**-30, 2.0**30):
        X, Q = scale * rng.standard_normal((1100, 3)), scale * rng.standard_normal((3, 3))
        assert is_found(fitted(submission, X, 9).search(Q, 1050, 9), Q, X, None, 1050, 1e-9 * scale**2)


@pytest.mark.exercise("IVF", weight=1)
def test_an_index_depends_on_rows_and_seed(submission, rng):
    """The same rows and seed give the same index, in another process, too."""
    X = rng.standard_normal((300, 4))
    for seed in (0, 1, 2**32 - 1):
        one, two = fitted(submission, X, 12, seed), fitted(submission, X.copy(), 12, seed)
        assert close(one.centroids, two.centroids) and close(one.cell, two.cell)
    with submission.elsewhere() as other:
        assert close(fitted(other, X, 12, seed).cell, one.cell)


@student_side
def search_many(n, d, cells, queries, k, probes, seed):
    """Search in many rows that are drawn over there: ids, distances, and the cells of the rows."""
    rng = np.random.default_rng(seed)
    X, Q = rng.standard_normal((n, d), np.float32), rng.standard_normal((queries, d), np.float32)
    index = student.IVF(cells, 0)
    index.fit(X)
    ids, distances = index.search(Q, k, probes)
    return (
        np.asarray(ids)[::50],
        np.asarray(distances, float)[::50],
        np.asarray(index.cell),
        np.asarray(index.centroids),
    )


@pytest.mark.exercise("IVF", weight=7, hint=3, memory_mb=80, seconds=8)
def test_many_queries(submission, rng):
    """40,000 rows and 1,000 queries: a query is compared with the rows of its probed cells only."""
    n, d, seed = 40_000, 8, int(rng.integers(2**40))  # all distances: 160 MB in float32
    ids, distances, cell, centroids = submission.run(search_many, n, d, 64, 1000, 10, 3, seed)
    rng = np.random.default_rng(seed)
    X, Q = rng.standard_normal((n, d), np.float32), rng.standard_normal((1000, d), np.float32)[::50]
    # Where two centroids are equally far up to rounding, either may be probed: such queries are left out.
    away = np.sort(cdist(Q, np.asarray(centroids, float), "sqeuclidean"), axis=1)
    clear = away[:, 3] - away[:, 2] > 1e-3

    class Told:
        pass

    told = Told()
    told.centroids, told.cell = centroids, cell
    assert is_found(
        (np.asarray(ids)[clear], np.asarray(distances)[clear]), Q[clear], X, probed_rows(told, Q[clear], 3), 10, 1e-3
    )


@student_side
def bytes_of_a_query(n, cells, seed):
    """How many bytes one query with one probe needs at its peak."""
    import tracemalloc

    rng = np.random.default_rng(seed)
    index = student.IVF(cells, 0)
    index.fit(rng.random((n, 2)))
    Q = rng.random((1, 2))
    index.search(Q, 5, 1)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    index.search(Q, 5, 1)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return peak


@pytest.mark.exercise("IVF", weight=4, hint=3)
def test_a_query_meets_the_rows_of_its_cells_only(submission, rng):
    """A query with one probe needs arrays of the size of one cell, and none of the size of all rows."""
    n, cells = 100_000, 100  # a cell has 1,000 rows, 16 kB; one number of 8 bytes for each row takes 800 kB
    peak = submission.run(bytes_of_a_query, n, cells, int(rng.integers(2**40)))
    assert close(0 < peak <= 400_000, True)


@student_side
def index_trace(seed):
    """What an index leaves behind, in words, "" where nothing."""
    rng = np.random.default_rng(seed)
    X, Q = rng.standard_normal((80, 3)), rng.standard_normal((4, 3))
    kept = X.copy(), Q.copy()
    index, other = student.IVF(6, 1), student.IVF(6, 1)
    index.fit(X)
    first = [part.copy() for part in index.search(Q, 3, 2)]
    if not (np.array_equal(X, kept[0]) and np.array_equal(Q, kept[1])):
        return "an argument is changed"
    other.fit(X[::-1] + 5)
    X[:] = 7
    again = index.search(Q, 3, 2)
    if not all(np.array_equal(a, b) for a, b in zip(first, again)):
        return "what is added to another index, or a later change of X, changes the index"
    if np.shares_memory(again[0], index.search(Q, 3, 2)[0]):
        return "a later call changes what an earlier one returned"
    for part in again:
        part[...] = 0
    return "" if all(np.array_equal(a, b) for a, b in zip(first, index.search(Q, 3, 2))) else "what is returned is kept"


@pytest.mark.exercise("IVF", weight=1, forgeable=True)
def test_an_index_leaves_no_trace(submission, rng):
    """X and Q are left as they are, the index keeps its own copy, and two indexes live apart."""
    assert close(submission.run(index_trace, int(rng.integers(2**40))), "")


# ----------------------------------------------------------------------------------------------- ProductQuantizer


def quantizer(submission, X, parts, seed=3):
    pq = submission.ProductQuantizer(parts, seed)
    pq.fit(X)
    return pq


def books_of(pq, parts, d):
    """The centroids of each part, as decoded: (parts, 256, d / parts)."""
    rows = np.asarray(pq.decode(np.repeat(np.arange(256, dtype=np.uint8)[:, None], parts, axis=1)))
    if not is_array(rows, (256, d)):
        return np.full((parts, 256, d // parts), np.nan)
    return np.stack(np.split(rows.astype(float), parts, axis=1))


def is_nearest(codes, X, books, atol):
    """Whether each code names the nearest centroid of its part."""
    if not is_array(codes, (len(X), len(books)), np.uint8):
        return close(False, True)
    for p, (piece, book) in enumerate(zip(np.split(np.asarray(X, float), len(books), axis=1), books, strict=True)):
        away = cdist(piece, book, "sqeuclidean")
        if not (near := close(away[np.arange(len(X)), codes[:, p]], away.min(axis=1), atol=atol)):
            return near
    return close(True, True)


@pytest.mark.exercise("ProductQuantizer", weight=3, core=True, hint=1)
def test_codes_name_the_nearest_centroids(submission, rng):
    """Each part of a vector is stored as the number of its nearest centroid, also for vectors that were not fitted."""
    for n, d, parts in [(700, 8, 4), (400, 6, 1), (300, 3, 3)]:
        X = rng.standard_normal((n, d)) * np.geomspace(1, 20, d)
        pq = quantizer(submission, X, parts)
        for rows in (X, 1.5 * rng.standard_normal((50, d)) * np.geomspace(1, 20, d)):
            assert is_nearest(np.asarray(pq.encode(rows)), rows, books_of(pq, parts, d), 1e-6)


@pytest.mark.exercise("ProductQuantizer", weight=2, core=True, hint=2)
def test_decoded_parts_stand_side_by_side(submission, rng):
    """decode puts the centroid of each part into the part's own coordinates, for all numbers from 0 to 255."""
    X = rng.standard_normal((600, 12)) + np.arange(12)
    pq = quantizer(submission, X, 4)
    books, codes = books_of(pq, 4, 12), rng.integers(0, 256, (500, 4)).astype(np.uint8)
    want = np.concatenate([book[codes[:, p]] for p, book in enumerate(books)], axis=1)
    assert close(pq.decode(codes), want, atol=1e-9)
    # All 256 centroids of a part are in use, and near its coordinates, of which each has its own mean.
    assert close(books.mean(axis=1).ravel(), np.arange(12.0), atol=0.6)


@pytest.mark.exercise("ProductQuantizer", weight=4, core=True, hint=3)
def test_distances_to_the_decoded(submission, rng):
    """A search finds the k rows whose decoded vectors are nearest to the query as it is, with these distances."""
    for n, d, parts, k in [(500, 8, 4, 9), (300, 6, 1, 1), (260, 4, 4, 260)]:
        X, Q = rng.standard_normal((n, d)) * np.geomspace(1, 9, d), 3 * rng.standard_normal((6, d))
        pq = quantizer(submission, X, parts)
        codes = rng.integers(0, 256, (n, parts)).astype(np.uint8)
        codes[: n // 2] = np.asarray(pq.encode(X))[: n // 2]
        assert is_found(pq.search(Q, codes, k), Q, np.asarray(pq.decode(codes)), None, k, 1e-7)


@pytest.mark.exercise("ProductQuantizer", weight=2, hint=1)
def test_codebooks_are_found_by_k_means(submission, rng):
    """The squared error of the decoded training rows is that of k-means, and each part has a codebook of its own."""
    X = rng.standard_normal((2000, 6)) * np.array([1, 1, 1, 10, 10, 10])
    pq = quantizer(submission, X, 2)
    error = np.mean((np.asarray(pq.decode(pq.encode(X))) - X) ** 2, axis=0) / X.var(axis=0)
    # 256 cells of 2,000 rows of 3 normal coordinates: 0.030 to 0.033 after ten steps, 0.054 to 0.062 with random rows.
    assert close(error.reshape(2, 3).mean(axis=1), np.zeros(2), atol=0.043)


@pytest.mark.exercise("ProductQuantizer", weight=2)
def test_few_rows_and_no_rows(submission, rng):
    """Fewer than 256 training rows, no rows to encode or decode, and no queries are fine; ids are int64."""
    for n, parts in [(1, 2), (20, 2), (255, 1), (256, 4)]:
        X = rng.standard_normal((n, 4))
        pq = quantizer(submission, X, parts)
        codes = np.asarray(pq.encode(X))
        assert is_nearest(codes, X, books_of(pq, parts, 4), 1e-6)
        assert close(np.asarray(pq.encode(X[:0])).shape, (0, parts)) and close(
            np.asarray(pq.decode(codes[:0])).shape, (0, 4)
        )
        got = pq.search(X[:1], codes, n)
        assert is_found(got, X[:1], np.asarray(pq.decode(codes)), None, n, 1e-9)
        assert close(np.asarray(got[0]).dtype == np.int64 and np.asarray(got[1]).dtype.kind == "f", True)
        assert close([np.asarray(part).shape for part in pq.search(X[:0], codes, 1)], [(0, 1), (0, 1)])


@pytest.mark.exercise("ProductQuantizer", weight=1)
def test_parts_that_do_not_fit(submission, rng):
    """fit raises ValueError where the number of coordinates is not a multiple of parts."""
    for d, parts in [(5, 2), (8, 3), (2, 4), (64, 7)]:
        pq = submission.ProductQuantizer(parts, 1)
        with raises_student(ValueError):
            pq.fit(rng.standard_normal((300, d)))
        pq.fit(rng.standard_normal((20, parts)))


@pytest.mark.exercise("ProductQuantizer", weight=1)
def test_vectors_of_every_kind(submission, rng):
    """float32 and float64 of any size; the same rows and seed give the same codes, and fit may be called again."""
    pq = submission.ProductQuantizer(2, 2**32 - 1)
    for case in Contract("PQ", X=floats(40, 4, scales=(2.0**-20, 2.0**20)), Q=floats(3, 4)).cases(rng):
        X, Q = case.args
        pq.fit(X)
        codes = np.asarray(pq.encode(X))
        size = float(np.max(case.exact[0] ** 2)) + float(np.max(case.exact[1] ** 2))
        atol = size * (1e-4 if np.float32 in (X.dtype, Q.dtype) else 1e-9)
        assert is_nearest(codes, case.exact[0], books_of(pq, 2, 4), atol)
        assert is_found(pq.search(Q, codes, 5), case.exact[1], np.asarray(pq.decode(codes), float), None, 5, atol)
    X = rng.standard_normal((400, 4))
    with submission.elsewhere() as other:
        assert close(quantizer(other, X, 2, 5).encode(X), quantizer(submission, X, 2, 5).encode(X))


@student_side
def search_codes(n, parts, d, seed):
    """Search among many random codes: the codes of the ids, their distances, and how often ids repeat."""
    rng = np.random.default_rng(seed)
    pq = student.ProductQuantizer(parts, 0)
    pq.fit(rng.standard_normal((256, d)))
    books = pq.decode(np.repeat(np.arange(256, dtype=np.uint8)[:, None], parts, axis=1))
    Q, codes = rng.standard_normal((2, d)), rng.integers(0, 256, (n, parts), np.uint8)
    ids, distances = pq.search(Q, codes, 10)
    return np.asarray(books), np.asarray(ids), np.asarray(distances, float)


@pytest.mark.exercise("ProductQuantizer", weight=8, hint=3, memory_mb=64, seconds=5)
def test_a_million_codes(submission, rng):
    """A million codes are searched by tables, in time for 8 look-ups a row, without decoding 2,048 coordinates."""
    n, parts, d, seed = 10**6, 8, 2048, int(rng.integers(2**40))
    books, ids, distances = submission.run(search_codes, n, parts, d, seed)
    rng = np.random.default_rng(seed)
    rng.standard_normal((256, d))
    Q, codes = rng.standard_normal((2, d)), rng.integers(0, 256, (n, parts), np.uint8)
    assert close([np.shape(ids), np.shape(distances)], [(2, 10), (2, 10)])
    for q, found, away in zip(Q, np.asarray(ids), np.asarray(distances), strict=True):
        tables = ((q.reshape(parts, 1, -1) - np.stack(np.split(books, parts, axis=1))) ** 2).sum(axis=2)
        exact = sum(table[codes[:, p]] for p, table in enumerate(tables))
        assert close(away, np.sort(np.partition(exact, 10)[:10]), rtol=1e-5) and close(exact[found], away, rtol=1e-5)
        assert close(len(set(found.tolist())), 10)


@student_side
def quantizer_trace(seed):
    """What a quantiser leaves behind, in words, "" where nothing."""
    rng = np.random.default_rng(seed)
    X, Q = rng.standard_normal((300, 4)), rng.standard_normal((3, 4))
    kept = X.copy(), Q.copy()
    pq, other = student.ProductQuantizer(2, 1), student.ProductQuantizer(2, 1)
    pq.fit(X)
    codes = pq.encode(X)
    stored, decoded, found = codes.copy(), pq.decode(codes), pq.search(Q, codes, 5)
    if not (np.array_equal(X, kept[0]) and np.array_equal(Q, kept[1]) and np.array_equal(codes, stored)):
        return "an argument is changed"
    first = [part.copy() for part in (decoded, *found)]
    other.fit(X[::-1] * 3)
    X[:] = 7
    decoded[:] = 0
    again = [pq.decode(codes), *pq.search(Q, codes, 5)]
    if not all(np.array_equal(a, b) for a, b in zip(first, again)):
        return "another quantiser, or a change of X or of a result, changes the codebooks"
    pq.search(Q + 1, codes[::-1], 5)
    pq.decode(codes[::-1])
    return "" if all(np.array_equal(a, b) for a, b in zip(first, again)) else "a later call changes an earlier result"


@pytest.mark.exercise("ProductQuantizer", weight=1, forgeable=True)
def test_a_quantizer_leaves_no_trace(submission, rng):
    """Arguments are left as they are, and neither they nor results are shared with the codebooks."""
    assert close(submission.run(quantizer_trace, int(rng.integers(2**40))), "")


# --------------------------------------------------------------------------------------------------- graph_search


class Counted:
    """Distances of nodes to a query. It notes each call and never fails: the test looks afterwards."""

    def __init__(self, distances):
        self.distances, self.calls, self.strange = np.asarray(distances, float), [], 0

    def __call__(self, ids):
        good = isinstance(ids, np.ndarray)
        ids = np.asarray(ids)
        good = good and ids.ndim == 1 and len(ids) > 0 and ids.dtype == np.int64
        good = good and bool(np.all((ids >= 0) & (ids < len(self.distances))))
        self.strange += not good
        if not good:
            return np.zeros(np.shape(ids))
        self.calls.append(ids.tolist())
        if len(self.calls) > 15_000:
            raise RuntimeError("distance was called 15,000 times")
        return self.distances[ids]

    @property
    def asked(self):
        return [i for call in self.calls for i in call]


def random_graph(rng, n, links):
    """Links in both directions, and a ring that makes it one piece."""
    pairs = {(i, (i + 1) % n) for i in range(n)} | {
        tuple(pair) for pair in rng.integers(0, n, (n * links // 2, 2)).tolist()
    }
    around = [set() for _ in range(n)]
    for i, j in pairs:
        if i != j:
            around[i].add(j)
            around[j].add(i)
    return [rng.permutation(np.array(sorted(some), np.int64)) for some in around]


def walk_of(neighbours, distances, entry, width, k):
    """By definition: the list, and the sets of nodes that are asked, in order."""
    calls, asked, expanded = [[entry]], {entry}, set()
    while True:
        beam = sorted(asked, key=lambda i: distances[i])[:width]
        node = next((i for i in beam if i not in expanded), None)
        if node is None:
            return beam[:k], calls
        expanded.add(node)
        new = [j for j in neighbours[node].tolist() if j not in asked]
        if new:
            calls.append(sorted(new))
            asked.update(new)


@pytest.mark.exercise("graph_search", weight=3, core=True, hint=2)
def test_width_n_is_exact(submission, rng):
    """With a beam as wide as the graph, the k nearest of all nodes that can be reached are found, in order."""
    for n, k in [(60, 5), (200, 1), (30, 30), (1, 1), (2, 2)]:
        distance = Counted(rng.permutation(n) + rng.random())
        got = submission.graph_search(random_graph(rng, n, 3), distance, int(rng.integers(n)), n, k)
        assert close(got, np.argsort(distance.distances)[:k].tolist())


@pytest.mark.exercise("graph_search", weight=1)
def test_graphs_and_distances_of_every_size(submission, rng):
    """Wide beams, long lists, distances of any size, and neighbours in read-only arrays or views are fine."""
    for n, scale in [(1300, 1e-9), (150, 1e9), (150, 1e-150)]:
        graph = [frozen(np.repeat(some, 2))[::2] for some in random_graph(rng, n, 2)]
        distance = Counted((rng.permutation(n) + 1) * scale)
        got = submission.graph_search(graph, distance, n - 1, n, n - 20)
        assert close(got, np.argsort(distance.distances)[: n - 20].tolist())
    star = [np.arange(1, 1500), *np.zeros((1499, 1), np.int64)]  # one node with more than a thousand neighbours
    distance = Counted(rng.permutation(1500))
    assert close(submission.graph_search(star, distance, 7, 3, 3), np.argsort(distance.distances)[:3].tolist())


@pytest.mark.exercise("graph_search", weight=3, core=True, hint=1)
def test_no_distance_is_asked_twice(submission, rng):
    """No distance is asked twice, each call asks at least one, and only for the entry and neighbours."""
    for n, width in [(80, 10), (80, 80), (300, 20)]:
        graph, distance = random_graph(rng, n, 4), Counted(rng.permutation(n))
        entry = int(rng.integers(n))
        submission.graph_search(graph, distance, entry, width, 1)
        assert close(distance.strange, 0) and close(len(distance.asked) > 0, True)
        assert close(len(distance.asked) - len(set(distance.asked)), 0)
        assert close(distance.calls[0], [entry])


@pytest.mark.exercise("graph_search", weight=3, core=True, hint=3)
def test_the_walk_goes_on_over_hills(submission, rng):
    """The walk ends when all of the beam has been expanded, and not at a step that improves nothing."""
    for n, width, k in [(150, 8, 3), (150, 3, 3), (400, 25, 10), (150, 1, 1)]:
        graph, distance = random_graph(rng, n, 2), Counted(rng.permutation(n))
        entry = int(rng.integers(n))
        want, _ = walk_of(graph, distance.distances, entry, width, k)
        assert close(submission.graph_search(graph, distance, entry, width, k), want)


@pytest.mark.exercise("graph_search", weight=3, hint=2)
def test_one_call_for_each_expanded_node(submission, rng):
    """The nearest node of the beam is expanded, its new neighbours are asked in one call, and others are not asked."""
    for n, width in [(150, 8), (150, 1), (400, 25), (60, 60), (1200, 2)]:
        graph, distance = random_graph(rng, n, 3), Counted(rng.permutation(n))
        entry = int(rng.integers(n))
        _, calls = walk_of(graph, distance.distances, entry, width, 1)
        submission.graph_search(graph, distance, entry, width, 1)
        assert close([sorted(call) for call in distance.calls], calls)


@pytest.mark.exercise("graph_search", weight=2)
def test_links_with_a_direction(submission, rng):
    """Links have a direction, parts of the graph may be out of reach, and then fewer than k nodes come back."""
    for _ in range(5):
        n = 40
        graph = [rng.permutation(n)[: rng.integers(0, 3)].astype(np.int64) for _ in range(n)]
        distance = Counted(rng.standard_normal(n) * 10.0 ** rng.integers(-9, 9))  # also negative numbers
        entry = int(rng.integers(n))
        got = submission.graph_search(graph, distance, entry, n, n)
        want, calls = walk_of(graph, distance.distances, entry, n, n)
        assert close(got, want) and close([sorted(call) for call in distance.calls], calls)
        assert close([type(i) is int for i in got], [True] * len(want))
    alone = Counted([3.0])
    assert close(submission.graph_search([np.array([], np.int64)], alone, 0, 5, 3), [0]) and close(alone.calls, [[0]])
    loops = [np.array([0, 1]), np.array([1, 0])]
    assert close(submission.graph_search(loops, Counted([2.0, 1.0]), 0, 2, 2), [1, 0])


@student_side
def walks(links, starts, width, k, ask):
    """A search for each query on one large graph; `links` holds the neighbours of a node in each row."""
    neighbours = list(links)
    return [
        student.graph_search(neighbours, lambda ids, q=q: ask(q, ids), start, width, k)
        for q, start in enumerate(starts)
    ]


@pytest.mark.exercise("graph_search", weight=7, hint=3)
def test_recall_on_a_large_graph(submission, rng):
    """On 20,000 vectors nine of ten neighbours are found with 5 % of the distances."""
    n, queries = 20_000, 12
    X, Q = rng.random((n, 3)), rng.random((queries, 3))
    near = cKDTree(X).query(X, 11)[1][:, 1:]  # ten near neighbours, and four links to anywhere
    links = np.concatenate([near, rng.integers(0, n, (n, 4))], axis=1).astype(np.int64)
    links = np.array(
        [
            row if len(set(row)) == 14 else [*near[i], *(i + np.arange(5000, 9000, 1000)) % n]
            for i, row in enumerate(links.tolist())
        ]
    )
    exact = np.argsort(cdist(Q, X, "sqeuclidean"), axis=1)[:, :10]
    asked = [[] for _ in range(queries)]

    def ask(q, ids):
        ids = np.asarray(ids)
        if sum(map(len, asked)) > 2 * queries * n:
            raise RuntimeError("more than all distances are asked twice")
        asked[int(q)] += ids.tolist()
        return ((X[ids] - Q[int(q)]) ** 2).sum(axis=1)

    found = submission.run(walks, links, rng.integers(0, n, queries).tolist(), 40, 10, ask)
    assert close(len(found), queries)
    recall = float(np.mean([np.isin(true, got).mean() for true, got in zip(exact, found, strict=True)]))
    assert close(recall >= 0.9, True)
    assert close(float(np.mean([len(some) for some in asked])) <= 0.05 * n, True)
    assert close([len(set(some)) - len(some) for some in asked], [0] * queries)


@pytest.mark.exercise("graph_search", forgeable=True)
def test_a_walk_leaves_no_trace(submission, rng):
    """The lists of neighbours and the distances that came are left as they are, and nothing is kept between calls."""
    asked = Contract(
        "graph_search",
        neighbours=one_of(random_graph(rng, 30, 3)),
        distance=one_of(heights),
        entry=one_of(3, 17),
        width=one_of(6),
        k=one_of(4, 1),
    )
    assert asked.leaves_no_trace(submission, rng, then=[{}, {"entry": 17, "k": 1}])


@student_side
def heights(ids):
    """Distances of 30 nodes, all different."""
    return ((np.asarray(ids) * 7919 + 13) % 31).astype(float)


# ----------------------------------------------------------------------------------------------- sample_negatives


def follows(drawn, law):
    """Whether draws of items follow a law: chi-squared at a level of 1e-9, and nothing of probability 0."""
    counts = np.bincount(drawn, minlength=len(law)) if is_array(drawn, (len(drawn),)) and len(drawn) else np.zeros(0)
    if len(counts) != len(law) or np.any(counts[law == 0] > 0):
        return close(False, True)
    expected = len(drawn) * law[law > 0]  # 100 and more in each cell, or the law of the statistic is another one
    statistic = float(np.sum((counts[law > 0] - expected) ** 2 / expected))
    return close(statistic <= chi2.isf(1e-9, max(1, len(expected) - 1)), True)


def known_to(rng, users, items):
    """Known items at random; user 0 knows none, user 1 all but two."""
    R = sparse(rng, users, items, 0.4).toarray()
    R[0], R[1] = 0, 1
    R[1, rng.permutation(items)[:2]] = 0
    return csr_matrix(R)


def law_of(R, u, weights):
    free = np.array(weights, float)
    free[entries(R, u)[0]] = 0
    return free / free.sum()


@pytest.mark.exercise("sample_negatives", weight=3, core=True, hint=1)
def test_known_items_are_never_drawn(submission, rng):
    """No user gets an item that this user has an entry for, and each entry of users gets one item."""
    for users, items, B in [(40, 12, 600), (40, 12, 600), (5, 300, 200)]:
        R, weights = known_to(rng, users, items), rng.uniform(1, 5, items)
        who = rng.integers(0, users, B)
        drawn = submission.sample_negatives(R, who, weights, 2**32 - 1)
        assert close(is_array(drawn, (B,)), True)
        assert close(drawn.dtype.kind in "iu" and bool(np.all((drawn >= 0) & (drawn < items))), True)
        assert close(np.asarray(R[who, drawn]).ravel(), np.zeros(B))


@pytest.mark.exercise("sample_negatives", weight=4, core=True, hint=2)
def test_negatives_come_by_their_weights(submission, rng):
    """Each item that a user does not know comes in proportion to its weight, for each user apart."""
    R, weights = known_to(rng, 3, 12), rng.uniform(1, 5, 12)
    who = rng.permutation(np.repeat(np.arange(3), 6000))
    drawn = submission.sample_negatives(R, who, weights, int(rng.integers(2**32)))
    assert close(is_array(drawn, (18_000,)), True)
    for u in range(3):
        assert follows(drawn[who == u], law_of(R, u, weights))


@pytest.mark.exercise("sample_negatives", weight=2, hint=2)
def test_draws_are_independent(submission, rng):
    """Draws for the same user are independent of each other; a seed gives the same items, another one others."""
    none, weights, seed = csr_matrix((2, 4)), rng.uniform(1, 3, 4), int(rng.integers(2**31))
    drawn = submission.sample_negatives(none, np.ones(16_000, np.int64), weights, seed)
    assert close(is_array(drawn, (16_000,)) and drawn.min() >= 0 and drawn.max() < 4, True)
    law = law_of(none, 1, weights)
    for lag in (1, 2):
        pairs = drawn.reshape(-1, 2 * lag)
        assert follows(pairs[:, 0] * 4 + pairs[:, lag], np.outer(law, law).ravel())
    who = rng.integers(0, 2, 300)
    first = submission.sample_negatives(none, who, weights, seed)
    assert close(submission.sample_negatives(none, who, weights, seed), first, typed=True)
    for other in (seed + 1, seed + 1000, seed + 2**31, 2**32 - 1):
        assert close(bool(np.any(np.asarray(submission.sample_negatives(none, who, weights, other)) != first)), True)
    with submission.elsewhere() as there:
        assert close(there.sample_negatives(none, who, weights, seed), first)


@pytest.mark.exercise("sample_negatives", weight=2, hint=1)
def test_what_is_free_may_be_rare(submission, rng):
    """Where a user knows what holds nearly all of the weight, the rare rest is drawn, by its own weights."""
    R = csr_matrix(np.array([[1.0, 1, 0, 0, 0], [0, 1, 1, 1, 1]]))
    weights = np.array([0.3, 0.7, 1e-9, 3e-9, 0.0])
    drawn = submission.sample_negatives(R, np.zeros(3000, np.int64), weights, int(rng.integers(2**32)))
    assert follows(drawn, np.array([0, 0, 0.25, 0.75, 0]))
    for scale in (2.0**-60, 2.0**60):
        drawn = submission.sample_negatives(R, np.zeros(3000, np.int64), weights * scale, int(rng.integers(2**32)))
        assert follows(drawn, np.array([0, 0, 0.25, 0.75, 0]))
    for scale in (1e-200, 1e200):
        who = np.array([1, 1])
        assert close(submission.sample_negatives(R, who, weights * scale, 3), np.zeros(2, np.int64), typed=True)


@pytest.mark.exercise("sample_negatives", weight=1)
def test_entries_of_every_kind(submission, rng):
    """Stored entries count whatever their value and order; weights of 0 are never drawn; there may be no users."""
    R, weights = known_to(rng, 30, 9), rng.uniform(1, 2, 9)
    other = jumbled(rng, R)
    other.data = rng.choice([-2.5, 0.0, 7.0], len(other.data))
    who = frozen(np.repeat(np.arange(30), 5)[::-1])
    drawn = np.asarray(submission.sample_negatives(other, who, weights, 4))
    assert close(np.asarray(R[who, drawn]).ravel(), np.zeros(150))
    got = submission.sample_negatives(R, who, frozen(np.repeat(weights, 2))[::2], 4)
    assert close(np.asarray(R[who, got]).ravel(), np.zeros(150))
    free = np.flatnonzero(np.asarray(R[1].todense()).ravel() == 0)
    weights[free[0]] = 0
    assert close(submission.sample_negatives(R, np.ones(40, np.int64), weights, 4), np.full(40, free[1]), typed=True)
    assert close(submission.sample_negatives(R, who[:0], weights, 4), np.zeros(0, np.int64), typed=True)
    many = submission.sample_negatives(csr_matrix((1, 3000)), np.zeros(2500, np.int64), np.ones(3000), 4)
    assert follows(np.asarray(many) // 300, np.full(10, 0.1))


@student_side
def sample_for_many(users, items, seed):
    """Negatives in a large shop, in which each user knows three items; the entries are made over there."""
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(seed)
    known = (rng.integers(0, items, (users, 1)) + np.arange(3) * (items // 3)) % items
    R = csr_matrix((np.ones(3 * users), known.ravel(), np.arange(0, 3 * users + 1, 3)), shape=(users, items))
    weights = np.ones(items)
    weights[known[0]] = 1e7  # what user 0 knows is popular
    drawn = student.sample_negatives(R, np.arange(users), weights, 5)
    return drawn, known


@pytest.mark.exercise("sample_negatives", weight=5, hint=1, memory_mb=40)
def test_negatives_in_a_large_shop(submission, rng):
    """For 400 users of 25,000 items, nothing dense of shape (users, items) is made."""
    drawn, known = submission.run(sample_for_many, 400, 25_000, int(rng.integers(2**40)))  # dense: 80 MB
    assert close(is_array(drawn, (400,)) and bool(np.all((drawn >= 0) & (drawn < 25_000))), True)
    assert close(np.count_nonzero(np.asarray(known) == drawn[:, None]), 0)


@pytest.mark.exercise("sample_negatives", forgeable=True)
def test_sampling_leaves_no_trace(submission, rng):
    """Nothing that comes in is changed, what is returned is new, and the same call gives the same items."""
    asked = Contract(
        "sample_negatives",
        R=one_of(known_to(rng, 9, 9)),
        users=one_of(rng.integers(0, 9, 9)),
        weights=floats(9, draw=lambda rng: rng.uniform(1, 2, 9)),
        seed=one_of(3, 4),
    )
    assert asked.leaves_no_trace(submission, rng, then=[{}, {"seed": 4}])


# ---------------------------------------------------------------------------------------------------- build_graph


class CountedPairs:
    """Distances between points. It notes each call and never fails: the test looks afterwards."""

    def __init__(self, X):
        self.X, self.calls, self.strange = np.asarray(X, float), [], 0

    def __call__(self, i, ids):
        good = isinstance(i, int) and isinstance(ids, np.ndarray) and ids.ndim == 1 and len(ids) > 0
        good = good and ids.dtype == np.int64 and 0 <= i < len(self.X)
        good = good and bool(np.all((ids >= 0) & (ids < len(self.X))))
        if not good or len(self.calls) > 18_000:
            self.strange += 1
            if self.strange > 1000:
                raise RuntimeError("distance was called too often, or not with node numbers")
            return np.arange(1.0, 1 + np.size(ids))
        self.calls.append((i, ids.tolist()))
        return self.row(i, ids)

    def row(self, i, ids):
        return ((self.X[ids] - self.X[i]) ** 2).sum(axis=1)


def graph_of(X, links, width):
    """By definition: lists of neighbours, and for each node the calls of its walk."""
    row, graph, calls = CountedPairs(X).row, [[]], []
    for i in range(1, len(X)):
        found, asked = walk_of([np.array(some, int) for some in graph], row(i, np.arange(i)), 0, width, links)
        calls += [(i, call) for call in asked]
        for j in found:
            graph[j].append(i)
        graph.append(sorted(found))
    return graph, calls


def lists_of(graph, n):
    """The neighbours as lists of ints, None where something is no array of node numbers."""
    if not isinstance(graph, list) or len(graph) != n:
        return None
    if not all(is_array(some, (len(some),)) and some.dtype.kind in "iu" for some in graph if np.ndim(some) == 1):
        return None
    return [some.tolist() for some in graph] if all(np.ndim(some) == 1 for some in graph) else None


@pytest.mark.exercise("build_graph", weight=4, core=True, depends=("graph_search",), hint=1)
def test_each_node_is_linked_to_the_nearest_that_its_walk_finds(submission, rng):
    """Each node is linked, in both directions, to the nearest that a walk from node 0 finds among those before it."""
    for n, d, links, width in [(60, 2, 3, 8), (40, 3, 1, 1), (30, 2, 4, 30), (12, 1, 20, 20)]:
        X = rng.standard_normal((n, d))
        got = submission.build_graph(n, CountedPairs(X), links, width)
        assert close(lists_of(got, n), graph_of(X, links, width)[0])


@pytest.mark.exercise("build_graph", weight=4, core=True, depends=("graph_search",), hint=1)
def test_no_more_distances_than_the_walks_ask(submission, rng):
    """The walks ask the distances that graph_search asks: of nodes before, none twice, one call for each expansion."""
    for n, d, links, width in [(80, 2, 3, 6), (150, 2, 2, 3)]:
        X = rng.standard_normal((n, d))
        distance = CountedPairs(X)
        submission.build_graph(n, distance, links, width)
        assert close(distance.strange, 0)
        assert close([(i, sorted(ids)) for i, ids in distance.calls], graph_of(X, links, width)[1])


@pytest.mark.exercise("build_graph", weight=3, depends=("graph_search",))
def test_graphs_of_every_size(submission, rng):
    """One node, two nodes and many; int64 arrays come back, in ascending order, for distances of any size."""
    for n, links, width, scale in [(1, 1, 1, 1), (2, 3, 5, 1), (320, 3, 4, 1e-5), (90, 2, 7, 1e5), (130, 115, 120, 1)]:
        X = scale * rng.standard_normal((n, 2))
        got = submission.build_graph(n, CountedPairs(X), links, width)
        assert close(got, [np.array(some, np.int64) for some in graph_of(X, links, width)[0]], typed=True)


@student_side
def apart(i, ids):
    """Distances of 40 nodes to each other, all different."""
    places = np.arange(40.0) * 7919 % 41 + np.sqrt(np.arange(40.0)) / 9
    return np.abs(places[ids] - places[i])


@pytest.mark.exercise("build_graph", forgeable=True, depends=("graph_search",))
def test_building_leaves_no_trace(submission, rng):
    """What is returned is new each time, and nothing is kept between calls."""
    asked = Contract("build_graph", n=one_of(40, 25), distance=one_of(apart), links=one_of(3, 1), width=one_of(5))
    assert asked.leaves_no_trace(submission, rng, then=[{}, {"n": 25, "links": 1}])
