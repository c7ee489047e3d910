"""Hidden tests of module 06. A docstring is the sentence that a student reads when the test fails.

Rounding, throughout: gains are sums of at most a few hundred squares, so they agree to 1e-9 of the node's whole squared
error; counts are exact. Where several splits are equally good, each of them passes: a returned split is looked up among
all splits, which are enumerated by their definition.
"""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from autograder.judging import (
    EPS,
    SEEDS,
    Asked,
    Contract,
    close,
    floats,
    integers,
    is_array,
    numbers,
    on_large,
    one_of,
    raises_student,
    random_states_kept,
    student_side,
)

WIDE = (-(10**12), 10**12)  # whole numbers that float32 and int32 do not hold
SMALL_SEEDS = [seed for seed in SEEDS if seed < 2**32]


def usual(cases):
    """The cases that a core test asks for: float64 arrays of usual size, in the usual order of memory."""
    return [
        case
        for case in cases
        if not case.form.startswith("times")
        and all(a.dtype == np.float64 and a.flags.carray for a in case if isinstance(a, np.ndarray))
    ]


def one_hot(y):
    return np.eye(int(y.max()) + 1)[y]


def neighbours(rng, count, dtype=np.float32):
    """Numbers of this dtype that follow each other."""
    x = [dtype(rng.uniform(1, 2))]
    while len(x) < count:
        x.append(np.nextafter(x[-1], dtype(9)))
    return np.array(x)


# ------------------------------------------------------------------------------------------------------- impurity

IMPURITY = Contract(
    "impurity",
    counts=numbers(8, 3, draw=lambda rng: rng.integers(1, 80, (8, 3)) / 8, whole=(0, 10**12), scales=(1e-9, 1e14)),
    criterion=one_of("gini", "entropy", default="gini"),
)


def impurity(counts, criterion):
    """By definition: the chance that two draws differ, and scipy's entropy in bits."""
    rows = counts.reshape(-1, counts.shape[-1])
    found = np.zeros(len(rows))
    for i, row in enumerate(rows):
        if row.sum() > 0:
            p = row / row.sum()
            differ = sum(p[a] * p[b] for a, b in itertools.permutations(range(len(p)), 2))
            found[i] = differ if criterion == "gini" else scipy.stats.entropy(row, base=2)
    return float(found[0]) if counts.ndim == 1 else found.reshape(counts.shape[:-1])


@pytest.mark.exercise("impurity", weight=3, core=True, hint=1)
def test_impurity_is_that_of_the_shares(submission, rng):
    """Both impurities are right, for counts and for sums of weights."""
    for case in usual(IMPURITY.cases(rng, plain=3)):
        assert close(submission.impurity(*case), impurity(*case.exact), atol=1e-6)


@pytest.mark.exercise("impurity")
def test_impurity_of_every_kind_of_counts(submission, rng):
    """Counts of every kind, large and small, give float64, right to 1e-12."""
    for case in IMPURITY.cases(rng):
        assert close(submission.impurity(*case), impurity(*case.exact), atol=1e-12, typed=True)


@pytest.mark.exercise("impurity", weight=2, hint=3)
@pytest.mark.parametrize("criterion", ["gini", "entropy"])
def test_impurity_of_every_shape(submission, rng, criterion):
    """The last axis holds the classes, whatever the shape; the counts of one node give a Python float."""
    for shape in [(3,), (1,), (12,), (2, 3, 4), (1, 5), (4, 1), (0, 3), (1300, 2)]:
        counts = rng.integers(0, 9, shape)
        counts[..., 0] += 1
        assert close(submission.impurity(counts, criterion), impurity(counts, criterion), atol=1e-12, typed=True)


@pytest.mark.exercise("impurity", weight=2, hint=2)
def test_impurity_without_rows_is_zero(submission):
    """A node without rows has impurity 0, and so has a pure one; a class without rows adds nothing."""
    counts = np.array([[0, 0, 0], [7, 0, 0], [0, 2, 2], [1, 1, 2], [0, 10**15, 0]])
    for criterion, values in {"gini": [0, 0, 0.5, 0.625, 0], "entropy": [0, 0, 1, 1.5, 0.0]}.items():
        assert close(submission.impurity(counts, criterion), np.array(values), atol=1e-12)
        assert close(submission.impurity(counts[0], criterion), 0.0, atol=1e-12, typed=True)


@pytest.mark.exercise("impurity")
def test_impurity_refuses(submission, rng):
    """Another criterion raises ValueError, and so does a negative or missing count; a count of 0 does not."""
    negative = [lambda c: c - 1000, lambda c: np.where(np.arange(3) == 1, -1e-9, c)]
    missing = [lambda c: np.where(np.arange(3) == 2, np.nan, c)]
    words = ["mse", "Gini", " gini", "Entropy", "entropy ", ""]
    IMPURITY.refuses(submission, rng, ValueError, counts=negative + missing, criterion=words)
    for bad in (np.array([3, -1]), np.array([np.nan, 1.0])):
        with raises_student(ValueError):
            submission.impurity(bad, "entropy")


@pytest.mark.exercise("impurity", forgeable=True)
def test_impurity_leaves_no_trace(submission, rng):
    """The counts are left as they are, and what is returned is new."""
    assert IMPURITY.leaves_no_trace(submission, rng, then=[{}, {"criterion": "entropy"}], criterion=["mse"])


# ------------------------------------------------------------------------------------------ candidate_thresholds


def with_repeats(rng):
    x = rng.choice(np.round(rng.standard_normal(9), 2), 40)
    x[rng.integers(40, size=5)] = np.nan
    return x


CANDIDATES = Contract("candidate_thresholds", x=numbers(40, draw=with_repeats, whole=WIDE, scales=(1e-300, 1e299)))


def thresholds(x):
    """By definition, on Python floats."""
    values = sorted({float(value) for value in x if not math.isnan(value)})
    return np.array([a if (a + b) / 2 == b else (a + b) / 2 for a, b in itertools.pairwise(values)], dtype=np.float64)


@pytest.mark.exercise("candidate_thresholds", weight=3, core=True, hint=2)
def test_candidates_lie_between_distinct_values(submission, rng):
    """There is one threshold half-way between each two neighbouring distinct values, and none between equal ones."""
    for x in (*(case.args[0] for case in usual(CANDIDATES.cases(rng, plain=3))), rng.integers(0, 500, 2000) / 4):
        assert close(submission.candidate_thresholds(x), thresholds(x), rtol=1e-12, atol=1e-12)


@pytest.mark.exercise("candidate_thresholds")
def test_candidates_of_every_kind_of_column(submission, rng):
    """Columns of every kind, large and small, give float64 thresholds."""
    for case in CANDIDATES.cases(rng):
        slack = 4 * EPS * _size(case.exact[0])  # of the sum of two numbers
        assert close(submission.candidate_thresholds(*case), thresholds(*case.exact), atol=slack, typed=True)


@pytest.mark.exercise("candidate_thresholds", weight=2)
def test_candidates_separate_neighbouring_floats(submission, rng):
    """A threshold t between a and b has a <= t < b, also where a and b are neighbouring floats."""
    for dtype in (np.float64, np.float32):
        x = neighbours(rng, 7, dtype)
        got = submission.candidate_thresholds(x)
        assert close(got, thresholds(x), rtol=1e-15, typed=True)
        assert ((x[:-1].astype(float) <= got) & (got < x[1:].astype(float))).all()


@pytest.mark.exercise("candidate_thresholds", weight=2, hint=1)
def test_candidates_of_little(submission):
    """A column without rows, with missing values only, or with one value has no threshold; two values have one."""
    for values in ([], [np.nan, np.nan], [3.0], [2.0, 2.0, np.nan]):
        assert close(submission.candidate_thresholds(np.array(values)), np.zeros(0), typed=True)
    assert close(submission.candidate_thresholds(np.array([np.nan, 0.0, -1.0, 0.0])), np.array([-0.5]), typed=True)


@pytest.mark.exercise("candidate_thresholds")
def test_candidates_of_many_rows(submission):
    """Many rows take no more than the time to sort them."""
    got = submission.run(on_large, "candidate_thresholds", 7, [300_000])
    x = np.sort(np.random.default_rng(7).standard_normal(300_000))
    assert close(got, (x[:-1] + x[1:]) / 2, atol=4 * EPS * _size(x))


@pytest.mark.exercise("candidate_thresholds", forgeable=True)
def test_candidates_leave_no_trace(submission, rng):
    """The column is left as it is."""
    assert CANDIDATES.leaves_no_trace(submission, rng, then=[{}, {"x": np.array([1.0])}])


# ----------------------------------------------------------------------------------------------------- best_split


def squared_error(Y):
    return float(((Y - Y.mean(axis=0)) ** 2).sum()) if len(Y) else 0.0


def goes_left(x, threshold, missing_left):
    return np.where(np.isnan(x), missing_left, x <= threshold)


def every_split(X, Y, min_leaf=1):
    """Each split of a node, by definition: (feature, threshold, missing_left, gain)."""
    before, found = squared_error(Y), []
    for j, x in enumerate(X.T):
        missing = np.isnan(x).any()
        cuts = list(thresholds(x)) + ([np.inf] if missing and not np.isnan(x).all() else [])
        for threshold, direction in itertools.product(cuts, (False, True)):
            left = goes_left(x, threshold, direction)
            if min(left.sum(), (~left).sum()) < max(1, min_leaf):
                continue
            if not missing and direction != (left.sum() > (~left).sum()):
                continue
            gain = before - squared_error(Y[left]) - squared_error(Y[~left])
            found.append((j, float(threshold), direction, gain))
    return found


def is_best(got, X, Y, min_leaf=1, atol=1e-10, rtol=1e-9, typed=False):
    """Whether `got` is one of the best splits, and tells its own gain."""
    splits, slack = every_split(X, Y, min_leaf), atol + rtol * squared_error(Y)
    best = max((split[3] for split in splits), default=0.0)
    equal = [split for split in splits if split[3] >= best - 2 * slack] or [None]
    single = isinstance(got, tuple | list) and all(isinstance(part, int | float | np.generic) for part in got)
    if equal == [None] or not single or len(got) != 4:
        return close(got, equal[0])

    def same(split):
        x = X[:, split[0]]
        sides = goes_left(x, got[1], got[2]), goes_left(x, *split[1:3])
        return got[0] == split[0] and got[2] == split[2] and np.array_equal(*sides)

    match = next(filter(same, equal), equal[0])
    half_way = 4 * EPS * _size(X[:, match[0]])  # what the sum of two numbers may be off by
    return (
        close(got[3], match[3], atol=slack)
        and close(bool(same(match)), True)
        and close(list(map(float, got[:3])), list(map(float, match[:3])), atol=half_way)
        and (not typed or close(got, match, atol=math.inf, typed=True))
    )


def _size(x):
    return float(np.nanmax(np.abs(x), initial=0.0))


def holes(rng, shape=(24, 3)):
    """Few distinct values, exact in float32, and missing ones in all columns but the last."""
    X = np.round(8 * rng.standard_normal(shape)) / 8
    X[:, :-1][rng.random((shape[0], shape[1] - 1)) < 0.25] = np.nan
    return X


SPLIT = Contract(
    "best_split",
    X=numbers(24, 3, draw=holes, whole=WIDE, scales=(1e-9, 1e8), bools=True),
    Y=numbers(24, 2, whole=WIDE, scales=(1e-7, 1e7), bools=True),
    min_leaf=one_of(1, 7, 12, 13),
)


@pytest.mark.exercise("best_split", weight=3, core=True, hint=3)
def test_split_is_the_best_of_all(submission, rng):
    """No other column, cut or direction of the missing rows has a larger gain, and the gain is that of the split."""
    for case in usual(SPLIT.cases(rng, plain=8)):
        assert is_best(submission.best_split(*case), *case.exact, rtol=1e-6)


@pytest.mark.exercise("best_split", weight=2)
def test_split_of_every_kind_of_data(submission, rng):
    """X and Y of every kind, large and small, give a Python int, float, bool and float."""
    for case in SPLIT.cases(rng):
        assert is_best(submission.best_split(*case), *case.exact, atol=0.0, typed=True)
    for column in (neighbours(rng, 8), neighbours(rng, 8, np.float64)):
        for k in range(1, 8):
            Y = (np.arange(8) >= k)[:, None] + 0.01 * rng.standard_normal((8, 1))
            assert is_best(submission.best_split(column[:, None], Y), column[:, None].astype(float), Y, typed=True)


@pytest.mark.exercise("best_split", weight=2, core=True, hint=1)
def test_split_never_cuts_between_equal_values(submission, rng):
    """Rows with equal values stay together: columns of few values, constant ones, and one without any value."""
    for shape in [(30, 3), (5, 1), (2, 2), (9, 4)]:
        X, Y = rng.integers(0, 3, shape).astype(float), rng.standard_normal((shape[0], 1))
        assert is_best(submission.best_split(X, Y), X, Y)
        X[:, 0] = np.nan
        assert is_best(submission.best_split(X, Y), X, Y)
    X = np.column_stack([np.full(6, 2.0), np.full(6, np.nan)])
    assert close(submission.best_split(X, rng.standard_normal((6, 1))), None)


@pytest.mark.exercise("best_split", weight=2, hint=2)
def test_split_sends_missing_rows_to_the_better_side(submission, rng):
    """Missing rows go where the gain is larger; present against missing is a split, too; min_leaf counts them."""
    for _ in range(12):
        X = np.round(rng.standard_normal((16, 2)), 1)
        gone = rng.random(16) < 0.4
        X[gone, 0] = np.nan
        Y = (np.where(gone, rng.choice([-2, 0, 2]), np.nan_to_num(X[:, 0])) + 0.3 * rng.standard_normal(16))[:, None]
        for min_leaf in (1, 5):
            assert is_best(submission.best_split(X, Y, min_leaf), X, Y, min_leaf)
    X, Y = np.array([[1.0], [np.nan], [1.0], [np.nan]]), np.array([[0.0], [2.0], [0.0], [2.0]])
    assert close(submission.best_split(X, Y), (0, math.inf, False, 4.0), rtol=1e-12)
    for _ in range(20):  # both directions leave the same cuts to choose from
        X = rng.permuted([[0, 0, 0, 1, 1, 1, 1, np.nan]] * 2, axis=1).T
        Y = rng.standard_normal((8, 1))
        assert is_best(submission.best_split(X, Y, 2), X, Y, 2)


@pytest.mark.exercise("best_split", weight=2, hint=1)
def test_split_without_gain(submission, rng):
    """A split that gains nothing is returned where there is no better one; None where no split is possible."""
    bits = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    for Y in (np.array([[0], [1], [1], [0]]), np.full((4, 2), 3)):
        assert is_best(submission.best_split(bits, Y), bits.astype(float), Y.astype(float), atol=1e-12)
    assert close(submission.best_split(np.array([[3.0]]), np.array([[1.0]])), None)
    X, Y = np.arange(7.0)[:, None], rng.standard_normal((7, 1))
    assert close(submission.best_split(X, Y, 4), None)
    assert is_best(submission.best_split(X, Y, 3), X, Y, 3)
    X, Y = rng.standard_normal((250, 1)), rng.standard_normal((250, 1))
    assert is_best(submission.best_split(X, Y, 110), X, Y, 110)
    assert close(submission.best_split(X, Y, 126), None)


@pytest.mark.exercise("best_split", weight=2, hint=3)
def test_split_keeps_its_digits_far_from_zero(submission, rng):
    """Adding a large constant to Y changes neither the split nor the gain."""
    # Eighths up to 50, so that adding 1e8 is exact, and the mean is off by 1e-8 at most: 1e-9 of the spread.
    X, Y = rng.standard_normal((30, 2)), rng.integers(-400, 401, (30, 2)) / 8
    for shift in (1e8, np.array([-1e8, 3.0])):
        assert is_best(submission.best_split(X, Y + shift), X, Y, atol=0.0, rtol=1e-7)


@pytest.mark.exercise("best_split", weight=8, hint=3, memory_mb=26, seconds=4)
def test_split_of_a_large_node(submission):
    """A node of two million values takes one sort a column, and no memory for a second table of its size."""
    m, d = 8_000, 250  # X takes 16 MB. A search that adds up each side anew needs m^2 d = 2e10 additions.
    X = np.random.default_rng(11).standard_normal((m, d))
    Y = (X[:, 217] > 0.3).astype(float)[:, None]
    ones, edge = float(Y.sum()), float(X[Y[:, 0] > 0, 217].min() + X[Y[:, 0] == 0, 217].max()) / 2
    got = submission.run(on_large, "best_split", 11, [(m, d)], (Y,))
    assert close(got, (217, edge, ones < m / 2, ones * (m - ones) / m), rtol=1e-9)


@pytest.mark.exercise("best_split")
def test_split_refuses(submission, rng):
    """Another number of rows in Y, or min_leaf below 1, raises ValueError; min_leaf = 1 does not."""
    SPLIT.refuses(submission, rng, ValueError, Y=[lambda Y: Y[:-1], lambda Y: Y[:1]], min_leaf=[0, -3])
    SPLIT.refuses(submission, rng, ValueError, X=[lambda X: X[:-1]])


@pytest.mark.exercise("best_split", weight=2, forgeable=True)
def test_split_leaves_no_trace(submission, rng):
    """X and Y are left as they are."""
    assert SPLIT.leaves_no_trace(submission, rng, then=[{}, {"min_leaf": 13}], Y=[lambda Y: Y[:-1]], min_leaf=[0])


# ------------------------------------------------------------------------------------------------------ grow_tree

LEAF = {
    "children_left": np.int64(-1),
    "children_right": np.int64(-1),
    "feature": np.int64(-2),
    "threshold": np.float64(-2),
    "missing_go_to_left": np.False_,
}
KINDS = {key: value.dtype for key, value in LEAF.items()} | {"value": np.float64, "n_node_samples": np.int64}


def well_formed(tree, C=1, typed=False):
    """Whether a tree has the arrays of the docstring, typed: with their dtypes, and children numbered after parents."""
    if not isinstance(tree, dict) or not KINDS.keys() <= tree.keys() or not is_array(tree["value"], (None, C)):
        return close(sorted(tree) if isinstance(tree, dict) else tree, sorted(KINDS))
    N = len(tree["value"])
    for key, kind in KINDS.items():
        shape = (N, C) if key == "value" else (N,)
        if not is_array(tree[key], shape, kind if typed else None):
            return close(tree[key], np.zeros(shape, kind), typed=True)
    left, right = tree["children_left"], tree["children_right"]
    inner = np.flatnonzero(left >= 0)
    children = np.sort(np.concatenate([left[inner], right[inner]]))
    leaves = [tree[key][left < 0] for key in LEAF]
    return (
        close(children, np.arange(1, N))
        and close(leaves, [np.full(N - len(inner), value) for value in LEAF.values()])
        and close(bool((left[inner] > inner).all() and (right[inner] > inner).all()), True)
    )


def nodes(tree, X):
    """(node, depth, rows) for each node, the rows found by asking its questions one by one."""
    waiting = [(0, 0, np.arange(len(X)))]
    while waiting:
        node, depth, rows = waiting.pop()
        yield node, depth, rows
        children = int(tree["children_left"][node]), int(tree["children_right"][node])
        if min(children) > node and len(rows):  # a child that is its own ancestor would never end
            x = X[rows, tree["feature"][node]]
            left = goes_left(x, tree["threshold"][node], tree["missing_go_to_left"][node])
            waiting.append((children[0], depth + 1, rows[left]))
            waiting.append((children[1], depth + 1, rows[~left]))


def leaf_of(tree, X):
    """The number of the leaf of each row."""
    at = np.zeros(len(X), dtype=int)
    for node, _, rows in nodes(tree, X):  # a child comes after its parent
        at[rows] = node
    return at


def predicted(tree, X):
    return tree["value"][leaf_of(tree, X)]


def fits(tree, X, Y, max_depth=None, min_leaf=1, split=None, typed=False):
    """Whether a tree is grown on these rows as its docstring says, node by node; `split` is what it was given."""
    if not (formed := well_formed(tree, Y.shape[1], typed)):
        return formed
    for node, depth, rows in nodes(tree, X):
        inner = bool(tree["children_left"][node] >= 0)
        question = (inner, *(tree[key][node].item() for key in ("feature", "threshold", "missing_go_to_left")))
        due = question
        if (Y[rows] == Y[rows[0]]).all() or depth == max_depth:
            due = (False, -2, -2.0, False)
        elif split is not None:
            found = split(X[rows], Y[rows], min_leaf)
            due = (False, -2, -2.0, False) if found is None else (True, *found[:3])
        here = tree["n_node_samples"][node].item(), tree["value"][node], question
        wanted = len(rows), Y[rows].mean(axis=0), due
        if not (ok := close(here, wanted, rtol=1e-12, atol=1e-10 * np.abs(Y).max())):
            return ok
    return close(True, True)


def middle_split(X, Y, min_leaf):
    """A search of our own: the column with the most distinct values, cut in their middle; missing rows go left."""
    counts = [len(thresholds(x)) for x in X.T.astype(float)]
    if max(counts) == 0 or len(X) < 2 * min_leaf:
        return None
    j = int(np.argmax(counts))
    return j, float(thresholds(X[:, j].astype(float))[counts[j] // 2]), True, 1.0


TREE = Contract(
    "grow_tree",
    X=numbers(30, 3, draw=lambda rng: holes(rng, (30, 3)), whole=WIDE, scales=(1e-8, 1e9), bools=True),
    Y=numbers(30, 2, whole=WIDE, scales=(1e-8, 1e9), bools=True),
    max_depth=one_of(None, 0, 1, 3, 500),
    min_leaf=one_of(1, 6),
    split=middle_split,
)


@pytest.mark.exercise("grow_tree", weight=3, core=True, hint=1)
def test_tree_asks_what_split_says(submission, rng):
    """Each node has its rows, their mean and the question that `split` chose for them; missing rows follow, too."""
    for case in usual(TREE.cases(rng, plain=4)):
        assert fits(submission.grow_tree(*case), *case.exact)


@pytest.mark.exercise("grow_tree", weight=2, hint=2)
def test_tree_of_every_kind_of_data(submission, rng):
    """X and Y of every kind, large and small, give arrays of the dtypes that the docstring names."""
    for case in TREE.cases(rng):
        assert fits(submission.grow_tree(*case), *case.exact, typed=True)


@pytest.mark.exercise("grow_tree", weight=2, hint=2)
def test_tree_compares_in_float64(submission, rng):
    """Neighbouring float32 values go to different sides, in growing and in predicting."""
    large = 2**24 + np.arange(8)[:, None]  # whole numbers that float32 makes equal
    whole = submission.grow_tree(large, large, None, 1, middle_split)
    assert fits(whole, large.astype(float), large.astype(float), split=middle_split)
    assert close(submission.predict_tree(whole, large), large, rtol=1e-12)
    for kind in (np.float32, np.float64):  # between the latter a threshold is the lower value
        column = neighbours(rng, 10, kind)
        X, Y = column[:, None], rng.standard_normal((10, 1))
        tree = submission.grow_tree(X, Y, None, 1, middle_split)
        assert fits(tree, X.astype(float), Y, split=middle_split)
        assert close(submission.predict_tree(tree, X), Y, rtol=1e-12)


@pytest.mark.exercise("grow_tree", weight=2, hint=1, depends=("best_split",))
def test_tree_asks_best_split_by_default(submission, rng):
    """Without an argument `split`, each question is that of `best_split`, and min_leaf is 1."""
    for m, settings in [(40, (None, 3)), (40, (4, 2)), (12, ())]:
        X = holes(rng, (m, 2))[:, :1] + rng.random((m, 1))  # one column of distinct values: no two splits gain the same
        Y = rng.standard_normal((m, 2))
        max_depth, min_leaf = settings or (None, 1)
        assert fits(submission.grow_tree(X, Y, *settings), X, Y, max_depth, min_leaf, submission.best_split)


@pytest.mark.exercise("grow_tree", weight=2, hint=1)
def test_tree_stops_where_it_should(submission, rng):
    """`split` is asked once for each node that is impure and not too deep, with its rows alone, and min_leaf."""
    for max_depth, kinds in itertools.product((None, 2), [(np.float64, np.float64), (np.uint8, np.float32)]):
        X, Y = rng.integers(0, 40, (40, 2)).astype(kinds[0]), one_hot(rng.integers(0, 2, 40)).astype(kinds[1])
        split = Asked(middle_split)
        tree = submission.grow_tree(X, Y, max_depth, 2, split)
        assert fits(tree, X, Y.astype(float), max_depth, 2, middle_split)
        due = [r for _, depth, r in nodes(tree, X) if depth != max_depth and not (Y[r] == Y[r[0]]).all()]
        asked = sorted(sorted(np.column_stack(call[:2]).tolist()) for call in split.calls)
        assert close(asked, sorted(sorted(np.column_stack([X[r], Y[r]]).tolist()) for r in due))
        assert {(call[0].dtype, call[1].dtype, call[2]) for call in split.calls} == {(*map(np.dtype, kinds), 2)}
    assert fits(submission.grow_tree(X[:1], Y[:1]), X[:1], Y[:1])
    for settings in [(), (None, 150)]:
        split = Asked(lambda X, Y, min_leaf: None)
        submission.grow_tree(X, Y, *settings, split=split)
        assert close([call[2] for call in split.calls], [settings[1] if settings else 1], typed=True)
    bits = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    split = Asked(lambda X, Y, min_leaf: (int(np.ptp(X[:, 0]) == 0), 0.5, False, 0.0))
    tree = submission.grow_tree(bits, np.array([[0], [1], [1], [0]]), split=split)
    assert close(submission.predict_tree(tree, bits), np.array([[0.0], [1.0], [1.0], [0.0]]), atol=1e-14)


@student_side
def peeled(m, d, depth, rows):
    """A tree that takes `rows` rows off at each question, and what it predicts (runs over there)."""
    X = np.arange(float(m))[:, None] + np.zeros(d)

    def split(X, Y, min_leaf):
        return (0, float(X[:, 0].min()) + rows - 0.5, False, 1.0) if len(X) > rows else None

    tree = student.grow_tree(X, X[:, :1], depth, 1, split)  # noqa: F821
    return tree, student.predict_tree(tree, X[: 20 * rows])  # noqa: F821


@pytest.mark.exercise("grow_tree", weight=3, hint=1)
def test_tree_of_great_depth(submission):
    """A tree may be 1,900 questions deep."""
    tree, said = submission.run(peeled, 1900, 1, None, 1)
    assert well_formed(tree) and close(said, np.arange(20.0)[:, None], atol=1e-12)
    assert close(max(depth for _, depth, _ in nodes(tree, np.arange(1900.0)[:, None])), 1899)


@pytest.mark.exercise("grow_tree", weight=5, hint=1, memory_mb=46)
def test_tree_keeps_row_numbers(submission):
    """Nodes that wait are row numbers, so a deep tree on many rows needs one copy of the rows at a time."""
    # X takes 16 MB, the copy of the root's rows 16 MB, and each level that keeps its rows nearly as much again.
    tree, said = submission.run(peeled, 20_000, 100, 30, 100)
    assert well_formed(tree)
    assert close(said, np.repeat(np.arange(20) * 100 + 49.5, 100)[:, None], rtol=1e-12)


@pytest.mark.exercise("grow_tree")
def test_tree_refuses(submission, rng):
    """Another number of rows in Y raises ValueError."""
    TREE.refuses(submission, rng, ValueError, Y=[lambda Y: Y[:-1], lambda Y: np.concatenate([Y, Y])])
    for settings in [(), (2,), (None, 3), (1, 2)]:
        with raises_student(ValueError):
            submission.grow_tree(np.ones((9, 2)), np.arange(8.0)[:, None], *settings)


@pytest.mark.exercise("grow_tree", weight=2, forgeable=True)
def test_tree_leaves_no_trace(submission, rng):
    """X and Y are left as they are, and what is returned is new."""
    trace = Contract("grow_tree", X=floats(20, 2), Y=floats(20, 1), max_depth=3)
    assert trace.leaves_no_trace(submission, rng, then=[{}, {"max_depth": 0}], Y=[lambda Y: Y[:-1]])


# -------------------------------------------------------------------------------------------------- random_forest


def likely(count, n, p):
    """Whether an event of probability p happens so often in n trials, at a level of 1e-7 on each side."""
    low, high = scipy.stats.binom.ppf([1e-7, 1 - 1e-7], n, p)
    return low <= count <= high


@pytest.mark.exercise("random_forest", weight=2, core=True, hint=1)
def test_rows_are_drawn_with_replacement(submission, rng):
    """Each of the m rows of a sample is any of the m rows with the same chance, independently of the others."""
    m, samples = 50, 200
    drawn = [submission.bootstrap_rows(m, int(rng.integers(1000)), number) for number in range(samples)]
    assert all(is_array(rows, (m,)) and rows.min() >= 0 and rows.max() < m for rows in drawn)
    assert 1e-7 <= scipy.stats.chisquare(np.bincount(np.concatenate(drawn), minlength=m)).pvalue <= 1 - 1e-7
    # A sample has m (1 - (1 - 1/m)^m) distinct rows on average, with a variance below m / 10.
    distinct = np.mean([len(np.unique(rows)) for rows in drawn])
    assert abs(distinct - m * (1 - (1 - 1 / m) ** m)) <= 6 * math.sqrt(m / 10 / samples)  # six deviations
    assert close(submission.bootstrap_rows(1, 4, 9), np.zeros(1, dtype=np.int64), typed=True)
    assert is_array(submission.bootstrap_rows(3000, 4, 9), (3000,), np.int64)


@pytest.mark.exercise("random_forest", weight=3, hint=1)
def test_rows_depend_on_seed_and_number_alone(submission):
    """The same seed and number give the same rows in every process; any other pair gives others."""
    pairs = list(itertools.product(SMALL_SEEDS, repeat=2))
    drawn = [submission.bootstrap_rows(60, *pair).tolist() for pair in pairs]
    assert len({tuple(rows) for rows in drawn}) == len(pairs)
    # Two unrelated samples agree in a place with probability 1/60: more than 20 of 60 has probability below 1e-15.
    for a, b in itertools.combinations(drawn[::3], 2):
        assert np.sum(np.array(a) == np.array(b)) <= 20
    with submission.elsewhere() as other:
        again = [other.bootstrap_rows(60, *pair).tolist() for pair in pairs[::-5]]
    assert close(again, drawn[::-5])


def forest_data(rng, m=40, d=4):
    X = rng.standard_normal((m, d))
    return X, X[:, :1] ** 2 + X[:, 1:2] + 0.3 * rng.standard_normal((m, 2))


@pytest.mark.exercise("random_forest", weight=3, core=True, hint=2, depends=("best_split", "grow_tree"))
def test_trees_grow_on_their_rows(submission, rng):
    """Tree `number` is grown on the rows that bootstrap_rows draws for it, repeats included."""
    X, Y = forest_data(rng)
    for max_depth, min_leaf, numbers_ in [(None, 1, [0, 7]), (3, 1, range(2)), (None, 6, [3])]:
        trees, _, _ = submission.random_forest(X, Y, numbers_, 4, 11, max_depth, min_leaf)
        assert close(len(trees), len(numbers_))
        for number, tree in zip(numbers_, trees, strict=True):
            rows = submission.bootstrap_rows(40, 11, number)
            assert fits(tree, X[rows], Y[rows], max_depth, min_leaf)
            for node, depth, here in nodes(tree, X[rows]):  # all columns are at hand, so each split is the best
                inside, targets = X[rows][here], Y[rows][here]
                splits = every_split(inside, targets, min_leaf)
                if tree["children_left"][node] < 0:
                    assert not splits or depth == max_depth or (targets == targets[0]).all()
                    continue
                left = inside[:, tree["feature"][node]] <= tree["threshold"][node]
                gain = squared_error(targets) - squared_error(targets[left]) - squared_error(targets[~left])
                assert close(gain, max(split[3] for split in splits), atol=1e-9 * squared_error(targets))


def votes_of(submission, trees, X, Y, numbers_, seed):
    """(total, votes) by definition, from trees and rows of theirs."""
    total, votes = np.zeros(Y.shape), np.zeros(len(X), dtype=np.int64)
    for number, tree in zip(numbers_, trees, strict=True):
        out = np.setdiff1d(np.arange(len(X)), submission.bootstrap_rows(len(X), seed, number))
        total[out] += predicted(tree, X)[out]
        votes[out] += 1
    return total, votes


@pytest.mark.exercise("random_forest", weight=3, core=True, hint=3, depends=("best_split", "grow_tree"))
def test_out_of_bag_sums(submission, rng):
    """total and votes add up the predictions for each row of those trees, and only those, that did not draw it."""
    X, Y = forest_data(rng, 30)
    for numbers_ in ([0, 1, 2, 3, 4, 5], [5], range(10, 13), []):
        trees, total, votes = submission.random_forest(X, Y, numbers_, 2, 3, 4, 2)
        expected = votes_of(submission, trees, X, Y, numbers_, 3)
        assert close((total, votes), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.exercise("random_forest", weight=7, hint=1, depends=("best_split", "grow_tree"))
def test_parts_of_a_forest_add_up(submission, rng):
    """A tree depends on the seed and its number alone, so parts that are grown elsewhere make up the same forest."""
    X, Y = forest_data(rng, 25)
    trees, total, votes = submission.random_forest(X, Y, [0, 1, 2, 3], 2, 2**31)
    parts = [submission.random_forest(X, Y, part, 2, 2**31) for part in ([2, 0], [3])]
    with submission.elsewhere() as other:
        parts.append(other.random_forest(X, Y, [1], 2, 2**31))
    by_number = dict(zip([2, 0, 3, 1], [tree for part in parts for tree in part[0]], strict=True))
    for number, tree in enumerate(trees):
        assert close(predicted(by_number[number], X), predicted(tree, X), rtol=1e-12, atol=1e-12)
        assert close(len(by_number[number]["value"]), len(tree["value"]))
    assert close(sum(part[1] for part in parts), total, rtol=1e-10, atol=1e-10)
    assert close(sum(part[2] for part in parts), votes)
    assert not np.array_equal(votes, submission.random_forest(X, Y, [0, 1, 2, 3], 2, 2**31 + 1)[2])


@pytest.mark.exercise("random_forest", weight=3, hint=2, depends=("best_split", "grow_tree"))
def test_columns_are_drawn_at_each_node(submission, rng):
    """Each node sees max_features columns, all different, drawn anew, each with the same chance."""
    d, trees = 5, 200
    X = rng.standard_normal((12, d))
    X[:, 3] = np.arange(12)  # this column explains everything, so it is chosen whenever it is drawn
    Y = X[:, 3:4] ** 3
    for k in (1, 3):
        forest, _, _ = submission.random_forest(X, Y, range(trees), k, 8, 2)
        roots = [int(tree["feature"][0]) for tree in forest]
        assert likely(roots.count(3), trees, k / d)
        if k == 1:
            assert all(likely(roots.count(j), trees, 1 / d) for j in range(d))
            below = [(t["feature"][t[side][0]], t["feature"][0]) for t in forest for side in list(LEAF)[:2]]
            below = [(child, root) for child, root in below if child >= 0]
            assert likely(sum(child == root for child, root in below), len(below), 1 / d)


@pytest.mark.exercise("random_forest", hint=2, depends=("best_split", "grow_tree"))
def test_forest_of_many_columns(submission, rng):
    """With max_features = d all columns are looked at, however many; min_leaf and the number of rows may be large."""
    X = rng.standard_normal((40, 150))
    X[:, 77] = np.arange(40)
    trees, _, _ = submission.random_forest(X, (X[:, 77:78] >= 20).astype(float), range(30), 150, 2, 1)
    assert close([int(tree["feature"][0]) for tree in trees], [77] * 30)
    X = rng.standard_normal((250, 1))
    (tree,), _, _ = submission.random_forest(X, X**3, [4], 1, 2, None, 110)
    sizes = tree["n_node_samples"][tree["children_left"] < 0]
    assert close(len(sizes), 2) and sizes.min() >= 110
    X = rng.standard_normal((1100, 1))
    trees, *sums = submission.random_forest(X, X**3, [4], 1, 2, 1)
    assert close(int(trees[0]["n_node_samples"][0]), 1100)
    assert close(tuple(sums), votes_of(submission, trees, X, X**3, [4], 2), atol=1e-12)


@pytest.mark.exercise("random_forest", weight=2, hint=2, depends=("best_split", "grow_tree"))
def test_constant_columns_do_not_stop_a_tree(submission, rng):
    """Where none of the drawn columns can be split, others are tried: a leaf is a node that no column can split."""
    X = np.full((20, 6), 2.0)
    X[:, 4] = rng.permutation(20)
    Y = rng.standard_normal((20, 1))
    for k in (1, 2, 4, 5):
        for number, tree in enumerate(submission.random_forest(X, Y, range(6), k, 1)[0]):
            rows = submission.bootstrap_rows(20, 1, number)
            assert fits(tree, X[rows], Y[rows])
            assert close(predicted(tree, X[rows]), Y[rows], atol=1e-12)
            assert set(tree["feature"][tree["children_left"] >= 0].tolist()) == {4}
    X = np.full((9, 250), 2.0)
    X[:, 77] = np.arange(9)
    trees = submission.random_forest(X, Y[:9], range(3), 1, 1)[0]
    assert close([int(tree["feature"][0]) for tree in trees], [77] * 3)
    trees, _, votes = submission.random_forest(X[:, 77:78], Y[:9], range(250), 1, 1, 1)
    assert close(len(trees), 250) and close(bool((votes > 50).all()), True)  # 0.35 of 250 trees leave a row out


FOREST = Contract(
    "random_forest",
    X=numbers(20, 3, draw=lambda rng: holes(rng, (20, 3)), scales=(1e-8, 1e8)),
    Y=numbers(20, 2, scales=(1e-8, 1e8)),
    numbers=one_of([1, 0], range(3), [2**32 - 1]),
    max_features=one_of(2, 1, 3),
    seed=one_of(0, 2**32 - 1, 1001),
    max_depth=one_of(None, 0, 2, 500),
    min_leaf=one_of(1, 4),
)


@pytest.mark.exercise("random_forest", weight=2, depends=("best_split", "grow_tree"))
def test_forest_of_every_kind_of_data(submission, rng):
    """Data of every kind are fine, with missing values, too, and so are any seed, number, depth and min_leaf."""
    for case in FOREST.cases(rng):
        trees, total, votes = submission.random_forest(*case)
        X, Y, numbers_, _, seed, max_depth, min_leaf = case.exact
        assert close(len(trees), len(numbers_))
        for number, tree in zip(numbers_, trees, strict=True):
            rows = submission.bootstrap_rows(20, seed, number)
            assert fits(tree, X[rows], Y[rows], max_depth, min_leaf) and min(tree["n_node_samples"]) >= min_leaf
        expected = votes_of(submission, trees, X, Y, numbers_, seed)
        assert close((total, votes), expected, rtol=1e-9, atol=1e-10 * np.abs(Y).max(), typed=True)


@pytest.mark.exercise("random_forest")
def test_forest_refuses(submission, rng):
    """max_features below 1 or above the number of columns raises ValueError, also where no tree is grown."""
    FOREST.refuses(submission, rng, ValueError, max_features=[0, -1, 4])
    X, Y = forest_data(rng, 6)
    for settings in ([[], 5, 0], [[0], 0, 0, 2], [[0], 5, 0, None, 3]):
        with raises_student(ValueError):
            submission.random_forest(X, Y, *settings)


@pytest.mark.exercise("random_forest", weight=2, forgeable=True)
def test_forest_leaves_no_trace(submission, rng):
    """X, Y and the global random state are left as they are, and what is returned is new."""
    X, Y = forest_data(rng, 12)
    assert random_states_kept(submission, "bootstrap_rows", 10, 3, 4, python=False)
    assert random_states_kept(submission, "random_forest", X, Y, [0], 1, 0, python=False)
    trace = Contract("random_forest", X=floats(12, 3), Y=floats(12, 2), numbers=[0, 3], max_features=2, seed=5)
    assert trace.leaves_no_trace(submission, rng, then=[{}, {"numbers": []}], max_features=[9])
    assert Contract("bootstrap_rows", m=9, seed=4, number=3).leaves_no_trace(submission, rng)


# ------------------------------------------------------------------------------------------------ histogram_split


def binned(X, edges):
    """By definition: how many edges lie below."""
    return np.array(
        [[sum(float(x) > cut for cut in edges[j]) for j, x in enumerate(row)] for row in X], np.uint8
    ).reshape(X.shape)


HISTOGRAMS = Contract(
    "histograms",
    codes=integers(40, 3, high=6),
    g=numbers(40, whole=WIDE, scales=(1e-8, 1e9)),
    h=numbers(40, whole=WIDE, scales=(1e-8, 1e9)),
    bins=one_of(7, 8, 256),
)


def added_up(codes, g, h, bins):
    """By definition, with exact sums."""
    hist = np.zeros((codes.shape[1], bins, 3))
    for j, b in itertools.product(range(codes.shape[1]), range(bins)):
        rows = np.flatnonzero(codes[:, j] == b)
        hist[j, b] = len(rows), math.fsum(g[rows]), math.fsum(h[rows])
    return hist


@pytest.mark.exercise("histogram_split", weight=2, core=True, hint=1)
def test_histograms_add_up(submission, rng):
    """Each bin holds the number of its rows, their sum of g and their sum of h."""
    for case in usual(HISTOGRAMS.cases(rng, plain=3)):
        assert close(submission.histograms(*case), added_up(*case.exact), rtol=1e-9, atol=1e-9)
    codes, g = rng.integers(0, 5, (1500, 2)), rng.standard_normal(1500)
    assert close(submission.histograms(codes, g, g[::-1], 5), added_up(codes, g, g[::-1], 5), rtol=1e-9, atol=1e-9)


def random_histogram(rng, d=3, bins=6):
    """A histogram (d, bins, 3) of 40 rows with some empty bins."""
    codes = rng.integers(0, bins, (40, d))
    codes[codes == 2] = 3
    return added_up(codes, rng.standard_normal(40) + 0.5, rng.random(40), bins)


def every_cut(hist, penalty, min_leaf):
    """Each cut, by definition: (feature, bin, gain)."""

    def saved(side):
        G, H = math.fsum(side[:, 1]), math.fsum(side[:, 2])
        return G * G / (H + penalty) if H + penalty > 0 else 0.0

    found = []
    for j, b in itertools.product(range(len(hist)), range(hist.shape[1] - 1)):
        left, right = hist[j, : b + 1], hist[j, b + 1 :]
        if min(left[:, 0].sum(), right[:, 0].sum()) >= min_leaf:
            found.append((j, b, saved(left) + saved(right) - saved(hist[j])))
    return found


def is_best_cut(got, hist, penalty=0.0, min_leaf=1, typed=False):
    cuts = every_cut(hist, penalty, min_leaf)
    best = max((cut[2] for cut in cuts), default=-math.inf)
    scale = sum((np.abs(column[:, 1]).sum() ** 2) / max(column[:, 2].sum() + penalty, 1e-300) for column in hist)
    slack = 1e-13 * scale  # a gain is a difference of numbers of this size, each right to a few roundings
    if best < -slack or (best <= slack and got is None):
        return close(got is None, True)
    equal = [cut for cut in cuts if cut[2] >= best - slack]
    same = [cut for cut in equal if isinstance(got, tuple | list) and list(got[:2]) == list(cut[:2])]
    return close(got, (same or equal)[0], rtol=1e-12, atol=slack, typed=typed)


CUT = Contract(
    "histogram_split",
    hist=floats(draw=random_histogram),
    penalty=one_of(0.0, 1.0, 0.1, 1e-3, 3, 200.0, 1e6),
    min_leaf=one_of(1, 5, 15, 21),
)


@pytest.mark.exercise("histogram_split", weight=3, core=True, hint=3)
def test_cut_is_the_best_of_all(submission, rng):
    """No other cut between bins that leaves min_leaf rows to each side has a larger gain."""
    for case in usual(CUT.cases(rng, plain=6)):
        assert is_best_cut(submission.histogram_split(*case), *case.exact)
    wide, hist = random_histogram(rng, 1100, 2), random_histogram(rng)
    wide[:1000, :, 1] = 0.1
    uneven = np.array([[[120, 60.0, 9.0], [60, -1.0, 9.0], [220, -50.0, 9.0]]])
    scaled = [hist * np.array([10.0, scale, scale]) for scale in (1e-8, 1e8)]
    for case in [
        *[(random_histogram(rng, d, bins), 0.0, 1) for bins, d in [(2, 1), (256, 2), (3, 5)]],
        (wide, 0.0, 1),
        *itertools.product((uneven, uneven[:, ::-1]), [0.5], (100, 120, 121, 180, 181)),
        *itertools.product(scaled, [0.0, 1e-9], (1, 150)),
    ]:
        assert is_best_cut(submission.histogram_split(*case), *case)
    assert is_best_cut(submission.histogram_split(hist), hist)


@pytest.mark.exercise("histogram_split", weight=2)
def test_histograms_of_every_kind_of_data(submission, rng):
    """Arrays of every kind give float64 histograms and a cut of Python numbers; both compute in float64."""
    for case in HISTOGRAMS.cases(rng):
        atol = 1e-14 * max(np.abs(case.exact[1]).max(), np.abs(case.exact[2]).max())
        assert close(submission.histograms(*case), added_up(*case.exact), rtol=1e-12, atol=atol, typed=True)
    for case in [(np.zeros((0, 2), np.uint8), np.zeros(0), np.zeros(0), 4), (np.array([[1, 0]]), *np.ones((2, 1)), 2)]:
        assert close(submission.histograms(*case), added_up(*case), typed=True)
    for case in CUT.cases(rng):
        assert is_best_cut(submission.histogram_split(*case), *case.exact, typed=True)


@pytest.mark.exercise("histogram_split", weight=2, hint=3)
def test_cut_that_gains_nothing(submission, rng):
    """None where no cut is possible or no gain is above 0: one bin, too few rows, a penalty that is too high."""
    hist = random_histogram(rng)
    one_sided = np.array([[[5, 5.0, 5.0], [5, 5.0, 5.0]]])  # 25/6 + 25/6 - 100/11 < 0
    flat = hist * np.array([1.0, 0.0, 1.0])
    for case in [(hist[:, :1],), (hist, 0.0, 21), (flat, 1.0), (one_sided, 1.0)]:
        assert submission.histogram_split(*case) is None
    assert is_best_cut(submission.histogram_split(np.array([[[5, -5.0, 5.0], [5, 5.0, 5.0]]]), 1.0), CLEAR, 1.0)
    for flat in (FLAT, FLAT[[0, 2, 2]], FLAT * [1, 0.5, 1] + [0, 1, 0], FLAT * [1, 1e16, 1e30] + [0, 1e16, 0]):
        assert is_best_cut(submission.histogram_split(flat[None]), flat[None])  # H = 0 counts 0


FLAT = np.array([[2, 0.0, 0.0], [3, 3.0, 1.5], [1, -2.0, 0.5]])
CLEAR = np.array([[[5, -5.0, 5.0], [5, 5.0, 5.0]]])


@student_side
def large_histograms(m, d, seed):
    """Histograms of codes that are drawn over there (runs over there)."""
    rng = np.random.default_rng(seed)
    return student.histograms(rng.integers(0, 200, (m, d), np.uint8), np.ones(m), np.arange(m, dtype=float), 200)  # noqa: F821


@pytest.mark.exercise("histogram_split", weight=5, hint=1, memory_mb=24)
@pytest.mark.parametrize(("m", "d"), [(20_000, 400), (100_000, 80)])
def test_histograms_of_many_rows(submission, m, d):
    """Eight million values are counted column by column, in little memory besides them."""
    # The codes take 8 MB; made integers of 8 bytes all at once they take 64 MB.
    got = submission.run(large_histograms, m, d, 5)
    codes = np.random.default_rng(5).integers(0, 200, (m, d), np.uint8)
    expected = np.stack([np.bincount(codes[:, j], minlength=200) for j in range(d)])
    assert close(got[:, :, 0], expected) and close(got[:, :, 1], expected)
    assert close(got[:, :, 2].sum(axis=1), np.full(d, m * (m - 1) / 2), rtol=1e-12)


@pytest.mark.exercise("histogram_split", weight=2, forgeable=True)
def test_histograms_leave_no_trace(submission, rng):
    """Neither function changes its arguments, and what they return is new."""
    assert HISTOGRAMS.leaves_no_trace(submission, rng)
    assert CUT.leaves_no_trace(submission, rng, then=[{}, {"min_leaf": 30}])


# ---------------------------------------------------------------------------------------------- gradient_boosting


def squared(y, F):
    return F - y, np.ones(len(y))


def logistic(y, F):
    p = 1 / (1 + np.exp(-F))
    return p - y, p * (1 - p)


def poisson(y, F):
    return np.exp(F) - y, np.exp(F)


def without_curvature(y, F):
    """No second derivative: the penalty alone limits the step."""
    return F - y, np.zeros(len(y))


def tilted(y, F):
    """The squared error of targets that are all different, so that no two splits gain the same."""
    return F - y - np.sin(1.7 * np.arange(len(y))), np.ones(len(y))


def edges_of(x, bins):
    """The cuts that the module's `bin_edges` promises."""
    values = np.unique(x)
    if len(values) <= bins:
        return thresholds(values)
    return np.unique(np.quantile(x, np.arange(1, bins) / bins, method="inverted_cdf"))


def boosted(X, y, derivatives, rounds, lr, max_depth, bins, penalty, min_leaf, start):
    """F on the training rows after each round, by trees that are searched by definition, on sets of row numbers."""
    every = [(j, t) for j, x in enumerate(X.T) for t in edges_of(x, bins)]
    F, path = np.full(len(y), float(start)), []
    for _ in range(rounds):
        g, h = (np.asarray(part, dtype=float) for part in derivatives(y, F.copy()))
        step = np.zeros(len(y))

        def saved(rows, g=g, h=h):
            return g[rows].sum() ** 2 / (h[rows].sum() + penalty) if h[rows].sum() + penalty > 0 else 0.0

        waiting = [(np.arange(len(y)), 0)]
        while waiting:
            rows, depth = waiting.pop()
            best = (1e-11 * (abs(saved(rows)) + 1e-300), None, None)
            for j, t in every if depth < max_depth else ():
                left = X[rows, j] <= t
                if min(left.sum(), (~left).sum()) >= min_leaf:
                    gain = saved(rows[left]) + saved(rows[~left]) - saved(rows)
                    best = max(best, (gain, j, t), key=lambda entry: entry[0])
            if best[1] is None:
                weight = h[rows].sum() + penalty
                step[rows] = -lr * g[rows].sum() / weight if weight > 0 else 0.0
            else:
                left = X[rows, best[1]] <= best[2]
                waiting += [(rows[left], depth + 1), (rows[~left], depth + 1)]
        F = F + step
        path.append(F)
    return np.array(path).reshape(rounds, len(y))


def path_of(trees, X, start):
    steps = [np.zeros(len(X)), *(predicted(tree, X)[:, 0] for tree in trees)]
    return start + np.cumsum(steps, axis=0)[1:]


BOOST = Contract(
    "gradient_boosting",
    X=numbers(40, 3, draw=lambda rng: np.round(rng.standard_normal((40, 3)), 2), scales=(1e-8, 1e8)),
    y=numbers(40, scales=(1e-8, 1e8)),
    derivatives=tilted,
    rounds=one_of(2, 1, 0),
    lr=one_of(0.4, 1.0, 0.01, 12.0, 1e-9),
    max_depth=one_of(2, 0, 1, 200),
    bins=one_of(255, 2, 7, 256),
    penalty=one_of(1.0, 0.0, 0.01, 20.0, 200.0),
    min_leaf=one_of(3, 1, 12, 21, 150),
    start=one_of(0.0, -2.5, 30.0),
)


@pytest.mark.exercise("gradient_boosting", weight=4, core=True, hint=3, depends=("grow_tree", "histogram_split"))
def test_trees_are_newton_steps(submission, rng):
    """Each tree adds -lr G / (H + penalty) to the rows of its leaves, and splits where that gains the most."""
    for case in usual(BOOST.cases(rng, plain=3)):
        assert all(well_formed(tree) for tree in assert_right(submission, *case))


@pytest.mark.exercise("gradient_boosting", weight=2, depends=("grow_tree", "histogram_split"))
def test_boosting_of_every_kind_of_data(submission, rng):
    """X and y of every kind, large and small, are fine, and give trees of the dtypes that `grow_tree` has."""
    for case in BOOST.cases(rng):
        assert all(well_formed(tree, typed=True) for tree in assert_right(submission, *case))
    X = 2**24 + np.arange(12)[:, None]  # whole numbers that float32 makes equal
    for rows in (X, X.astype(float)):
        assert_right(submission, rows, X[::-1, 0] % 5 + 2**24, tilted, 1, 1.0, 5, 255, 0.0, 1, 2.0**24)


def agrees(path, expected, start):
    """Whether what the trees add is right to eleven digits."""
    scale = np.abs(expected - start).max(initial=0.0)
    return close(path - start, expected - start, atol=1e-11 * (scale + EPS * abs(start)) + 8 * EPS * abs(start))


def assert_right(submission, *args):
    """Assert that these arguments (all of them) give the trees that the definition gives; the trees."""
    trees = submission.gradient_boosting(*args)
    X, y, start = np.asarray(args[0], dtype=float), np.asarray(args[1], dtype=float), args[-1]
    assert close(len(trees), args[3])
    assert agrees(path_of(trees, X, start), boosted(X, y, *args[2:]), start)
    return trees


@pytest.mark.exercise("gradient_boosting", weight=2, hint=3, depends=("grow_tree", "histogram_split"))
def test_boosting_takes_any_setting(submission, rng):
    """Many rounds, deep trees, large leaves, a tiny penalty: all settings are used as they are."""
    X, y = rng.standard_normal((5, 1)), rng.standard_normal(5)
    assert close(len(submission.gradient_boosting(X, y, squared, 250, 0.1, 0)), 250)
    X, y = np.arange(130.0)[:, None], 4.0 ** np.arange(130)  # the largest is cut off, again and again
    (tree,) = submission.gradient_boosting(X, y, squared, 1, 1.0, 200, 255, 0.0, 1, 0.0)
    assert close(predicted(tree, X)[:, 0], y, rtol=1e-9)
    X, y = rng.standard_normal((250, 1)), rng.standard_normal(250)
    y[np.argsort(X[:, 0])[:105]] += 50.0  # the best cut leaves 105 rows to the left
    assert_right(submission, X, y, tilted, 1, 1.0, 9, 255, 0.0, 110, 0.0)
    assert_right(submission, X[:9], y[:9], without_curvature, 1, 1.0, 1, 255, 1e-9, 1, 0.0)
    (tree,) = submission.gradient_boosting(X[:9], y[:9], without_curvature, 1, 1.0, 1, 255, 0.0, 1, 2.0)
    assert close(predicted(tree, X[:9]), np.zeros((9, 1)))  # H + penalty = 0
    asked = Asked(squared)
    submission.gradient_boosting(X, y, asked, 1, start=1e-9)
    assert close(asked.calls[0][1], np.full(250, 1e-9), rtol=1e-12)


@pytest.mark.exercise("gradient_boosting", weight=3, core=True, hint=3, depends=("grow_tree", "histogram_split"))
@pytest.mark.parametrize("derivatives", [squared, logistic, poisson, without_curvature])
def test_every_loss_is_asked_once_a_round(submission, rng, derivatives):
    """The derivatives are asked once before each tree, at the sum of the trees so far, whatever the loss."""
    X, y = rng.standard_normal((40, 2)), rng.random(40)
    asked = Asked(derivatives)
    trees = submission.gradient_boosting(X, y, asked, 4, 0.3, 2, 255, 0.7, 4, 0.1)
    assert close(len(asked.calls), 4)
    path = np.concatenate([[np.full(40, 0.1)], path_of(trees, X, 0.1)])
    for (given, F), before in zip(asked.calls, path, strict=False):
        assert close(given, y) and close(F, before, atol=1e-12)
    assert close(path[1:], boosted(X, y, derivatives, 4, 0.3, 2, 255, 0.7, 4, 0.1), rtol=1e-11, atol=1e-11)
    still = Asked(lambda y, F: (np.zeros(40), np.ones(40)))  # F does not move
    assert close(len(submission.gradient_boosting(X, y, still, 5)), 5) and close(len(still.calls), 5)


@pytest.mark.exercise("gradient_boosting", weight=2, hint=3, depends=("grow_tree", "histogram_split"))
def test_thresholds_are_in_the_units_of_the_data(submission, rng):
    """Thresholds are edges of the column's bins, so that the trees predict for new rows, too."""
    X, y = rng.standard_normal((120, 2)) * [1.0, 1e6], rng.standard_normal(120)
    for bins in (6, 255):
        trees = submission.gradient_boosting(X, y, squared, 3, 0.5, 3, bins, 0.0, 5, 0.0)
        for tree in trees:
            inner = tree["children_left"] >= 0
            for j in (0, 1):
                used = tree["threshold"][inner & (tree["feature"] == j)]
                assert np.isin(used, edges_of(X[:, j], bins)).all()
            assert inner.any()
    wide = rng.standard_normal((400, 1))
    steps = 3 * np.round(8 * scipy.stats.norm.cdf(wide[:, 0])) ** 2 + rng.standard_normal(400)
    for data, targets in ((X, y), (wide, steps)):
        trees = submission.gradient_boosting(data, targets, squared, 2)
        expected = boosted(data, targets, squared, 2, 0.1, 3, 255, 1.0, 20, 0.0)
        assert agrees(path_of(trees, data, 0.0), expected, 0.0)


@student_side
def half(y, F):
    """The derivatives of half the squared error (runs over there, as an argument)."""
    return F - y, np.ones(len(y))


@pytest.mark.exercise("gradient_boosting", weight=11, hint=1, memory_mb=34, depends=("grow_tree", "histogram_split"))
def test_boosting_reads_bytes(submission):
    """Trees grow on bins of one byte: besides X, no table of its size is made."""
    # X takes 16 MB, its bins 2 MB, a node's copy of them 2 MB; each of y, F, g, h and a few more of them 0.3 MB.
    X = np.random.default_rng(9).standard_normal((40_000, 50))
    y = np.where(X[:, 3] > 0.5, 4.0, 0.0) + np.where(X[:, 1] > 0, 1.0, 0.0)
    trees = submission.run(on_large, "gradient_boosting", 9, [X.shape], [y, half, 2, 1.0, 2, 100, 0.0, 20, 0.0])
    assert close(len(trees), 2) and all(well_formed(tree) for tree in trees)
    used = [(f, t) for f, t in zip(*(trees[0][key].tolist() for key in ("feature", "threshold")), strict=True) if f > 0]
    assert {feature for feature, _ in used} == {1, 3}
    assert all(t in edges_of(X[:, f], 100) for f, t in used)
    leaf = leaf_of(trees[0], X)
    for node in np.unique(leaf):
        assert close(trees[0]["value"][node, 0].item(), y[leaf == node].mean(), rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("gradient_boosting")
def test_boosting_refuses(submission, rng):
    """Fewer than 2 or more than 256 bins raise ValueError; 2 and 256 do not."""
    BOOST.refuses(submission, rng, ValueError, bins=[1, 257, 0, 1000])
    X, y = rng.standard_normal((30, 2)), rng.standard_normal(30)
    for settings in ({}, {"penalty": 0.0, "start": 1.0}, {"lr": 0.5, "max_depth": 1, "min_leaf": 2}):
        with raises_student(ValueError):
            submission.gradient_boosting(X, y, squared, 1, bins=1, **settings)


@student_side
def spoilt(X, y, rounds):
    """The trees for derivatives that write to their F and keep it, and whether each F was new (runs over there)."""
    kept = []

    def spoiling(y, F):
        g = F - y
        F[:] = 99.0
        kept.append(F)
        return g, np.ones(len(y))

    trees = student.gradient_boosting(X, y, spoiling, rounds, 0.5, 2, 255, 0.0, 3, 0.0)  # noqa: F821
    return trees, not any(np.shares_memory(a, b) for i, a in enumerate(kept) for b in kept[:i])


@pytest.mark.exercise("gradient_boosting", hint=3, depends=("grow_tree", "histogram_split"))
def test_derivatives_may_write_to_their_argument(submission, rng):
    """`derivatives` gets a new F at each call, so that it may write to it and keep it."""
    X, y = rng.standard_normal((30, 2)), rng.standard_normal(30)
    trees, new = submission.run(spoilt, X, y, 3)
    assert agrees(path_of(trees, X, 0.0), boosted(X, y, squared, 3, 0.5, 2, 255, 0.0, 3, 0.0), 0.0)
    assert close(new, True)


@pytest.mark.exercise("gradient_boosting", weight=2, forgeable=True, depends=("grow_tree", "histogram_split"))
def test_boosting_leaves_no_trace(submission, rng):
    """Neither the data nor what `derivatives` returns is changed, and what is returned is new."""
    trace = Contract("gradient_boosting", X=floats(30, 2), y=floats(30), derivatives=half, rounds=2, lr=0.5)
    assert trace.leaves_no_trace(submission, rng, then=[{}, {"rounds": 0}], X=[lambda X: X * np.nan])


# ----------------------------------------------------------------------------------------------- merge_histograms

COLUMNS = {
    "continuous": lambda rng, n: rng.lognormal(size=n),
    "with repeats": lambda rng, n: np.round(rng.standard_normal(n), 1),
    "few values": lambda rng, n: rng.integers(0, 6, n).astype(float),
    "half of it one value": lambda rng, n: np.where(rng.random(n) < 0.5, 0.0, rng.standard_normal(n)),
    "sorted": lambda rng, n: np.sort(rng.standard_normal(n))[::-1],
    "constant": lambda rng, n: np.full(n, 3.0),
}


def summarises(got, x, size):
    """Whether a summary keeps what its docstring promises."""
    if not isinstance(got, tuple | list) or len(got) != 2 or not all(is_array(part, (None,)) for part in got):
        return close(got, (np.zeros(1), np.zeros(1)), typed=True)
    values, weights = got
    distinct, counts = np.unique(np.asarray(x, dtype=np.float64), return_counts=True)
    if len(distinct) <= size:
        return close(got, (distinct, counts))
    ok = close(bool(len(values) <= size), True) and close(len(weights), len(values))
    ok = ok and close(bool((np.diff(values) > 0).all() and (weights > 0).all() and np.isin(values, x).all()), True)
    below = np.concatenate([[0.0], np.cumsum(weights)])
    at_most = np.searchsorted(np.sort(x), distinct, side="right")
    return ok and close(
        below[np.searchsorted(values, distinct, side="right")], at_most, atol=len(x) / (2 * size) + 1 + 1e-9
    )


SUMMARY = Contract("summarise", x=numbers(50, whole=WIDE, scales=(1e-8, 1e9)), size=one_of(9, 1, 2, 49, 50, 1000))


@pytest.mark.exercise("merge_histograms", weight=2, core=True, hint=1)
def test_summaries_count_rows(submission, rng):
    """A summary has at most `size` values and counts the rows up to t within n / (2 size) + 1; few values are exact."""
    for case in usual(SUMMARY.cases(rng)):
        assert summarises(submission.summarise(*case), *case.exact)
    for make in COLUMNS.values():
        for n, size in [(0, 4), (1, 1), (7, 3), (400, 1), (400, 6), (400, 37), (400, 150), (1500, 64)]:
            x = make(rng, n)
            assert summarises(submission.summarise(x, size), x, size)
    x = rng.random(70_000)
    assert summarises(submission.summarise(x, 50), x, 50)


def edges_by_definition(summaries, bins):
    """The values where the running sum of the weights reaches k/bins of the whole."""
    values = np.unique(np.concatenate([part[0] for part in summaries]))
    if len(values) <= bins:
        return thresholds(values)
    running = [math.fsum(math.fsum(weights[at <= v]) for at, weights in summaries) for v in values]
    shares = [k * running[-1] * (1 - 1e-12) for k in range(1, bins)]
    cuts = {next(i for i, r in enumerate(running) if r * bins >= share) for share in shares}
    return values[sorted(cuts - {len(values) - 1})]


def parts_of(rng, sizes, d=3):
    """Parts that are not alike: each lies elsewhere."""
    found = []
    for number, n in enumerate(sizes):
        X = rng.standard_normal((n, d)) + number
        X[:, 0] = np.round(X[:, 0])
        found.append((X, rng.standard_normal(n), rng.random(n)))
    return found


def in_one_place(parts):
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


@pytest.mark.exercise("merge_histograms", weight=3, core=True, hint=3, depends=("histogram_split",))
def test_merged_histogram_is_that_of_the_whole(submission, rng):
    """The merged counts are those of all rows, bit for bit; the sums agree to rounding, and the split is the same."""
    for sizes, bins, size in [([40, 3, 0, 60], 8, 20), ([200], 16, 300), ([1] * 250, 2, 1), ([90, 1100], 256, 4000)]:
        parts = parts_of(rng, sizes)
        edges, hist = submission.merge_histograms(Asked(lambda parts=parts: parts), bins, size)
        X, g, h = in_one_place(parts)
        assert close(len(edges), 3) and all(is_array(cuts, (None,)) for cuts in edges)
        assert all(len(cuts) < bins and (np.diff(cuts) > 0).all() for cuts in edges)
        whole = added_up(binned(X, edges), g, h, bins)
        assert close(hist[..., 0], whole[..., 0])
        assert close(hist, whole, rtol=0, atol=len(g) * 2.3e-16 * (np.abs(g).sum() + h.sum()))
        cuts = every_cut(hist, 0.1, 1)
        assert close(max(cuts, key=lambda c: c[2])[:2], max(every_cut(whole, 0.1, 1), key=lambda c: c[2])[:2])


@pytest.mark.exercise("merge_histograms", weight=3, hint=1)
def test_bins_hold_equal_shares(submission, rng):
    """Each bin of a column without repeats holds m / bins of the rows, within what the summaries promise."""
    for sizes, bins, size in [([3000, 100, 900], 8, 200), ([2000] * 4, 5, 100)]:
        parts = parts_of(rng, sizes)
        _, hist = submission.merge_histograms(Asked(lambda parts=parts: parts), bins, size)
        m = sum(sizes)
        # Each of a bin's two ends is off by m / 2 size + 1 a part, and by the weight of one value, 2 n / size.
        assert close(hist[1:, :, 0], np.full((2, bins), m / bins), atol=5 * m / size + 2 * len(sizes))


@pytest.mark.exercise("merge_histograms", weight=2, hint=3, depends=("histogram_split",))
def test_few_values_make_the_parts_irrelevant(submission, rng):
    """With at most `size` distinct values a column, edges and counts are the same however the rows are divided."""
    X, g = np.round(rng.standard_normal((190, 2)), 3), rng.integers(-9, 10, 190)
    expected = [edges_by_definition([np.unique(x, return_counts=True)], 6) for x in X.T]
    for cuts in ([], [45], [1, 2, 180], [30, 30, 60]):
        parts = list(zip(np.split(X, cuts), np.split(g, cuts), np.split(np.abs(g), cuts), strict=True))
        edges, hist = submission.merge_histograms(Asked(lambda parts=parts: parts), 6, 200)
        assert close(edges, expected, typed=True)
        assert close(hist, added_up(binned(X, expected), g, np.abs(g), 6), typed=True)


@pytest.mark.exercise("merge_histograms", weight=4, hint=3, depends=("histogram_split",))
def test_parts_are_read_twice(submission, rng):
    """`parts` is called exactly twice: one pass for the summaries, one for the histograms."""
    parts = parts_of(rng, [20, 30, 10])
    asked = Asked(lambda: parts)
    edges, hist = submission.merge_histograms(asked, 6, 5)
    assert close(len(asked.calls), 2)
    X, g, h = in_one_place(parts)
    assert close(hist, added_up(binned(X, edges), g, h, 6), atol=1e-12)


@student_side
def stream(count, n, d, size):
    """Merge parts that are drawn one by one and can be gone through once a call (runs over there)."""
    passes = []

    def parts():
        passes.append(0)
        for number in range(count):
            rng = np.random.default_rng([number, 77])
            X = rng.standard_normal((n, d)) + number % 3
            yield X, X[:, 0] - 1.0, np.ones(n)
            passes[-1] += 1

    edges, hist = student.merge_histograms(parts, 64, size)  # noqa: F821
    return edges, hist, passes


@pytest.mark.exercise("merge_histograms", weight=7, hint=2, memory_mb=20, depends=("histogram_split",))
def test_one_part_in_memory_at_a_time(submission):
    """Parts that come one by one fit into memory for a few of them, whatever their number."""
    # A part takes 3.2 MB, ten of them 32 MB; while the next one is drawn, the last may still be held. The summaries
    # take 1.6 MB.
    count, n, d = 10, 8000, 50
    edges, hist, passes = submission.run(stream, count, n, d, 200)
    assert close(passes, [count, count])
    assert close(hist[:, :, 0].sum(axis=1), np.full(d, count * n))
    assert close(hist[:, :, 2], hist[:, :, 0])
    column = np.concatenate([_column(number, n, d) for number in range(count)])
    assert close(hist[0, :, 0], np.bincount(np.searchsorted(edges[0], column), minlength=64))
    assert close(hist[0, :, 0], np.full(64, count * n / 64), atol=6 * count * n / 200)


def _column(number, n, d):
    return np.random.default_rng([number, 77]).standard_normal((n, d))[:, 0] + number % 3


PART = {key: numbers(*shape, scales=(1e-8, 1e8)) for key, shape in {"X": (12, 2), "g": (12,), "h": (12,)}.items()}


@pytest.mark.exercise("merge_histograms", depends=("histogram_split",))
def test_merge_of_every_kind_of_data(submission, rng):
    """Columns and parts may hold numbers of any kind; values, weights, edges and histograms are float64."""
    for case in SUMMARY.cases(rng):
        got = submission.summarise(*case)
        assert summarises(got, *case.exact) and all(is_array(part, (None,), np.float64) for part in got)
    for case in Contract("merge_histograms", **PART).cases(rng):
        X, g, h = case.exact
        edges, hist = submission.merge_histograms(Asked(lambda case=case: [tuple(case), tuple(case)]), 5, 30)
        scale = max(np.abs(g).max(), np.abs(h).max(), 1.0)
        expected = 2 * added_up(binned(X, edges), g, h, 5)
        assert close(hist, expected, rtol=1e-12, atol=1e-13 * scale, typed=True)
        assert close(edges, [edges_by_definition([np.unique(x, return_counts=True)] * 2, 5) for x in X.T], typed=True)


@student_side
def two_parts():
    """Two small parts (runs over there, as an argument)."""
    return [(np.arange(8.0).reshape(4, 2) * side, np.ones(4), np.ones(4)) for side in (-1, 1)]


@pytest.mark.exercise("merge_histograms", weight=2, forgeable=True)
def test_merge_leaves_no_trace(submission, rng):
    """Columns and parts are left as they are, and what is returned is new."""
    assert SUMMARY.leaves_no_trace(submission, rng, then=[{}, {"size": 50}, {"x": np.array([1.0])}])
    assert Contract("merge_histograms", parts=two_parts, bins=4, size=3).leaves_no_trace(submission, rng)
