"""Hidden tests of module 22. A docstring is the sentence that a student reads when the test fails.

Attributions are held to their definition over all orders or coalitions, to closed forms and to the axioms; rules and
changes to linear programs. What is drawn at random is seen by the callbacks, on the grader's side: what was computed
from it is compared exactly, and its law by chi-squared at the level TINY, fewer than a hundred times in all.
"""

# Helpers run where `student` is defined, maybe under another Python.
# ruff: noqa: F821, B905

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import scipy.spatial
import scipy.stats
from sklearn.inspection import partial_dependence as brute
from sklearn.tree import DecisionTreeRegressor

from autograder.judging import (
    SEEDS,
    Asked,
    Contract,
    close,
    constant,
    floats,
    frozen,
    integers,
    is_array,
    numbers,
    one_of,
    raises_student,
    random_states_kept,
    stepped,
    student_side,
)

TINY = 1e-8


def evenly(observed, law=None, level=TINY):
    """Whether counts follow a law (uniform where none is given), by chi-squared at this level."""
    observed = np.asarray(observed, float)
    expected = observed.sum() * (np.full(len(observed), 1 / len(observed)) if law is None else np.asarray(law))
    statistic = float(np.sum((observed - expected) ** 2 / expected))
    return close(statistic, 0.0, atol=scipy.stats.chi2.isf(level, len(expected) - 1))


def doubles(*shape, **settings):
    """What `floats` holds, but float64 only."""
    argument = floats(*shape, **settings)
    return replace(argument, forms={name: form for name, form in argument.forms.items() if "float32" not in name})


@student_side
def columns_sum(rows):
    return rows.sum(axis=1) * 1.0


@student_side
def mean_square(y, predicted):
    return float(np.mean((np.asarray(y, float) - predicted) ** 2))


# ----------------------------------------------------------------------------------------- permutation_importance


def watch(submission, predict, X, y, repeats, seed, groups=(), loss=None):
    """What a call returns, the rows that predict saw, in order, and the losses that were given for them."""
    rows = Asked(predict)
    losses = Asked(loss or (lambda y, p: float(np.mean((np.asarray(y, float) - p) ** 2))))
    got = submission.permutation_importance(rows, X, y, losses, repeats, seed, *([] if groups == () else [groups]))
    return got, [call[0] for call in rows.calls], losses.answers


def sorted_out(seen, losses, X, groups, repeats):
    """Per group, the arrays that predict saw and what they were worth; None where they are not as the docstring says.

    Whatever the order of the calls: which group a call belongs to is seen by the columns that moved.
    """
    if len(seen) != 1 + len(groups) * repeats or len(losses) != len(seen):
        return None
    first = [k for k, rows in enumerate(seen) if np.array_equal(rows, X)]
    if not first:
        return None
    found = [[] for _ in groups]
    for k, rows in enumerate(seen):
        if k == first[0] or rows.shape != X.shape:
            continue
        moved = set(np.flatnonzero(np.any(rows != X, axis=0)).tolist())
        (owner,) = [g for g, columns in enumerate(groups) if set(columns) == moved][:1] or [None]
        if owner is None:
            return None
        found[owner].append((rows, losses[k] - losses[first[0]]))
    return found if all(len(part) == repeats for part in found) else None


@pytest.mark.exercise("permutation_importance", weight=4, core=True, hint=3)
def test_a_linear_model(submission, rng):
    """On a linear model with exact labels, the importance of a column is 2 beta^2 Var(x); 0 where beta is 0."""
    X = rng.standard_normal((1500, 5)) * [1, 2, 0.5, 3, 1] + 4
    beta = np.array([1.0, -0.7, 3.0, 0.0, 0.4])
    (mean, std), *_ = watch(submission, lambda rows: rows @ beta, X, X @ beta, 6, int(rng.integers(2**40)))
    # The variance of the sum of x_i x_pi(i) over permutations is (m Var)^2 / (m - 1) (Hoeffding, 1951): each repeat has
    # the standard deviation 2 beta^2 Var / sqrt(m - 1).
    expected = 2 * beta**2 * X.var(axis=0)
    assert close(mean, expected, atol=7 * expected / math.sqrt(1499 * 6) + 1e-12)
    # Of six repeats: the chi-squared law with 5 degrees of freedom has all but 1e-9 below 52.
    assert close(np.all(np.asarray(std)[beta != 0] > 0), True) and close(std[3], 0.0, atol=1e-12)
    assert close(std, 0 * expected, atol=math.sqrt(52 / 6) * expected / math.sqrt(1499) + 1e-12)


@pytest.mark.exercise("permutation_importance", weight=4, core=True, hint=2)
def test_columns_of_a_group_move_together(submission, rng):
    """All columns of a group are shuffled by one permutation, and all other columns stay."""
    X = np.arange(240.0).reshape(60, 4)
    groups, repeats = [[0, 2], [1], [3, 1, 0]], 3
    got, seen, losses = watch(submission, lambda rows: rows @ [1.0, -2, 3, 5], X, X[:, 0], repeats, 5, groups)
    found = sorted_out(seen, losses, X, groups, repeats)
    assert close(found is not None, True)
    for columns, calls in zip(groups, found, strict=True):
        for rows, _ in calls:
            source = (rows[:, columns[0]] - columns[0]) / 4
            assert close(np.sort(source), np.arange(60.0))
            assert close(rows[:, columns], X[np.clip(source.astype(int), 0, 59)][:, columns])
    changes = np.array([[change for _, change in calls] for calls in found])
    assert close(got[0], changes.mean(axis=1), rtol=1e-9)


@pytest.mark.exercise("permutation_importance", weight=2, hint=3)
def test_mean_and_std_over_repeats(submission, rng):
    """Mean and standard deviation of the differences over the repeats, divided by repeats; one repeat has std 0."""
    X = rng.standard_normal((40, 3))
    for repeats in (1, 2, 5, 300):
        small = X[: 40 if repeats < 300 else 5]
        groups = [[2], [0, 1]]
        got, seen, losses = watch(
            submission, lambda rows: rows @ [1.0, 1, 1] + 7, small, small[:, 0], repeats, 1, groups
        )
        if repeats == 300:  # five rows: a permutation may leave them as they are
            assert close(len(losses), 601) and close(np.shape(got), (2, 2))
            assert close(np.sum(got[0]) * 300, float(np.sum(losses) - 601 * loss_of(small)), rtol=1e-7, atol=1e-7)
            continue
        found = sorted_out(seen, losses, small, groups, repeats)
        assert close(found is not None, True)
        changes = np.array([[change for _, change in calls] for calls in found])
        assert close(got[0], changes.mean(axis=1), rtol=1e-9, atol=1e-9)
        spread = np.sqrt(np.mean((changes - changes.mean(axis=1)[:, None]) ** 2, axis=1))
        assert close(got[1], spread, rtol=1e-7, atol=1e-7)


def loss_of(X):
    return float(np.mean((X[:, 0] - X.sum(axis=1) - 7) ** 2))


@pytest.mark.exercise("permutation_importance", weight=3, hint=2)
def test_permutations_are_drawn_anew(submission, rng):
    """Each repeat, each group and each seed has a permutation of its own, and all permutations are equally likely."""
    X = np.arange(8.0).reshape(4, 2)
    orders = {order: k for k, order in enumerate(itertools.permutations(range(4)))}
    drawn = []  # (seeds, groups and repeats)
    start = int(rng.integers(2**40))
    for seed in range(start, start + 4):
        _, seen, _ = watch(submission, lambda rows: rows[:, 0], X, X[:, 0], 250, seed, [[0, 1], [1, 0]])
        codes = [orders.get(tuple((rows[:, 0] / 2).astype(int).tolist()), -1) for rows in seen]
        assert close(len(codes), 501) and close(min(codes) >= 0, True)
        # The call with X itself is the first one or the last one; anywhere else it is one identity too many among 500.
        drawn.append(codes[1:] if codes[0] == 0 else codes[:-1])
    flat = np.array(drawn)
    assert evenly(np.bincount(flat.ravel(), minlength=24))
    # Where rows 0 and 3 come from, in pairs of draws that do not overlap: neighbours, groups, seeds.
    ordered = np.array(list(orders))
    for a, b in [(flat[:, ::2], flat[:, 1::2]), (flat[:, :250], flat[:, 250:]), (flat[::2], flat[1::2])]:
        for row in (0, 3):
            assert evenly(np.bincount((4 * ordered[a, row] + ordered[b, row]).ravel(), minlength=16))


@pytest.mark.exercise("permutation_importance")
def test_twins_share_until_grouped(submission, rng):
    """Two equal columns each get a quarter of what they get as a group."""
    twin = rng.standard_normal(2000)
    X = np.stack([twin, rng.standard_normal(2000), twin], axis=1)
    (mean, _), *_ = watch(submission, lambda rows: rows[:, 0] + rows[:, 2], X, 2 * twin, 3, 2, [[0], [2], [2, 0]])
    full = 8 * twin.var()
    slack = 7 / math.sqrt(1999 * 3)
    assert close(mean, [full / 4, full / 4, full], rtol=slack)


def importance_contract():
    return Contract(
        "permutation_importance",
        predict=constant(columns_sum),
        X=numbers(30, 4, scales=(1e-20, 1e20)),
        y=numbers(30),
        loss=constant(mean_square),
        repeats=one_of(3, 1),
        seed=one_of(4, *SEEDS[:4]),
        groups=one_of([[0], [1, 2]], None, [[3]], [[1], [1, 3], [3]], default=None),
    )


@pytest.mark.exercise("permutation_importance")
def test_rows_of_every_kind(submission, rng):
    """Rows and labels of every kind: predict gets the dtype of X, the loss gets y; float64 comes back."""
    for case in importance_contract().cases(rng):
        X, y, repeats, seed = case.args[1], case.args[2], case.args[4], case.args[5]
        groups = case.args[6] if len(case.args) > 6 else None
        rows, given = (
            Asked(lambda rows: rows.sum(axis=1).astype(float)),
            Asked(lambda y, p: float(np.mean((np.asarray(y, float) - p) ** 2))),
        )
        got = submission.permutation_importance(rows, X, y, given, repeats, seed, *([groups] if groups else []))
        g = 4 if groups is None else len(groups)
        assert close(got, (np.zeros(g), np.zeros(g)), atol=np.inf, typed=True)
        assert close(len(rows.calls), 1 + g * repeats) and close(
            {call[0].dtype for call in rows.calls} == {X.dtype}, True
        )
        assert close(all(np.array_equal(call[0], y) for call in given.calls), True)
        assert close(all(isinstance(part, np.ndarray) for call in given.calls for part in call), True)
        inside = np.sort(X, axis=0)
        assert close(all(np.array_equal(np.sort(call[0], axis=0), inside) for call in rows.calls), True)
        assert close(
            float(np.sum(got[0])) * repeats,
            sum(given.answers) - (1 + g * repeats) * given_base(X, y),
            rtol=1e-6,
            atol=1e-5 * abs(sum(given.answers)),
        )
    tall = np.arange(2600.0).reshape(1300, 2)
    _, seen, _ = watch(submission, lambda rows: rows[:, 0] * 1.0, tall, tall[:, 1], 1, 3, [[1]])
    assert close([rows.shape for rows in seen], [(1300, 2)] * 2)
    assert close(sorted(seen[0][:, 1]) == sorted(seen[1][:, 1]) == tall[:, 1].tolist(), True)


def given_base(X, y):
    return float(np.mean((np.asarray(y, float) - np.asarray(X).sum(axis=1).astype(float)) ** 2))


@pytest.mark.exercise("permutation_importance")
def test_importance_depends_on_its_seed_alone(submission, rng):
    """The same seed gives the same result, in another process, too; every other seed gives another one."""
    X, y = rng.standard_normal((25, 2)), rng.standard_normal(25)

    def asked(side, seed):
        return np.asarray(side.permutation_importance(columns_sum, X, y, mean_square, 2, seed)[0]).tolist()

    found = [asked(submission, seed) for seed in SEEDS]
    assert close([asked(submission, seed) for seed in SEEDS[::-1]], found[::-1])
    with submission.elsewhere() as other:
        assert close([asked(other, seed) for seed in SEEDS[:3]], found[:3])
    assert close(len(set(map(str, found))), len(SEEDS))


@pytest.mark.exercise("permutation_importance", forgeable=True)
def test_importance_leaves_no_trace(submission, rng):
    """Nothing that was given is changed, results are new arrays, and NumPy's global random state is left alone."""
    assert importance_contract().leaves_no_trace(submission, rng, then=[{}, {"repeats": 1}, {"groups": None}])
    args = [columns_sum, np.ones((4, 2)) * np.arange(4)[:, None], np.arange(4.0), mean_square, 2, 1]
    assert random_states_kept(submission, "permutation_importance", *args, python=False)


# --------------------------------------------------------------------------------------------- partial_dependence


@pytest.mark.exercise("partial_dependence", weight=4, core=True, hint=2)
def test_interactions_are_seen(submission, rng):
    """The mean of the predictions over all rows, also where columns act together."""
    X = rng.standard_normal((50, 4)) + 1
    grid = np.array([2.0, -1.0, 0.25])
    got = submission.partial_dependence(lambda rows: rows[:, 2] * rows[:, 0] ** 2 + rows[:, 3] ** 3, X, 2, grid)
    assert close(got, grid * np.mean(X[:, 0] ** 2) + np.mean(X[:, 3] ** 3), rtol=1e-9, atol=1e-9)
    got = submission.partial_dependence(lambda rows: rows[:, 1] ** 2 * rows[:, 0], X, 1, grid)
    assert close(got, grid**2 * np.mean(X[:, 0]), rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("partial_dependence", weight=2, hint=2)
def test_the_brute_method_agrees(submission, rng):
    """A fitted tree's partial dependence equals that of scikit-learn's brute method."""
    X = rng.standard_normal((120, 3)).astype(np.float32).astype(float)
    tree = DecisionTreeRegressor(max_depth=6, random_state=0).fit(X, X[:, 0] * X[:, 1] + X[:, 2])
    grid = np.linspace(-2, 2, 9)
    for column in range(3):
        wanted = brute(tree, X, [column], custom_values={column: grid}, method="brute", kind="average")["average"][0]
        assert close(submission.partial_dependence(tree.predict, X, column, grid), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("partial_dependence")
def test_dependence_of_every_kind(submission, rng):
    """Rows and grids of every kind, one row, an empty grid, and at most m rows a call; float64 comes back."""
    contract = Contract(
        "partial_dependence",
        predict=constant(None),
        X=numbers(9, 3, scales=(1e-20, 1e20)),
        column=one_of(0, 2),
        grid=numbers(4),
    )
    for case in contract.cases(rng):
        _, X, column, grid = case.args
        _, X64, _, grid64 = case.exact
        rows = Asked(lambda rows: rows[:, 0] * rows[:, 1] - rows[:, 2] ** 2)
        got = submission.partial_dependence(rows, X, column, grid)
        wanted = []
        for u in grid64:
            moved = X64.copy()
            moved[:, column] = u
            wanted.append(np.mean(moved[:, 0] * moved[:, 1] - moved[:, 2] ** 2))
        size = (1 + np.abs(X64).max() + np.abs(grid64).max()) ** 2
        assert close(got, np.array(wanted), atol=1e-12 * size, typed=True)
        assert close(all(len(call[0]) <= 9 and call[0].dtype == np.float64 for call in rows.calls), True)
    assert close(
        submission.partial_dependence(lambda r: r[:, 0] * 1.0, np.ones((1, 2)), 0, np.array([3, 1])), [3.0, 1.0]
    )
    assert close(submission.partial_dependence(lambda r: r[:, 0], np.ones((2, 2)), 0, np.zeros(0)), np.zeros(0))
    for size in (1e-20, 1e20):
        found = submission.partial_dependence(
            lambda r: r[:, 1] + r[:, 0], np.full((2, 2), size), 1, np.array([3 * size])
        )
        assert close(found, [4 * size], rtol=1e-12)
    wide = np.arange(450.0).reshape(3, 150)
    found = submission.partial_dependence(lambda r: r[:, 120] + 2 * r[:, 100], wide, 120, np.array([1.0]))
    assert close(found, [1 + 2 * 250.0], rtol=1e-12)
    many = np.arange(1500.0)
    assert close(submission.partial_dependence(lambda r: r[:, 0] + r[:, 1], np.ones((3, 2)), 1, many), many + 1)
    tall = np.arange(4000.0).reshape(2000, 2)
    assert close(
        submission.partial_dependence(lambda r: r[:, 0] * r[:, 1], tall, 1, np.array([2.0])), [3998.0], rtol=1e-9
    )


@pytest.mark.exercise("partial_dependence", forgeable=True)
def test_dependence_leaves_no_trace(submission, rng):
    """Neither the rows nor the grid are changed, and a new array comes back."""
    contract = Contract(
        "partial_dependence", predict=constant(columns_sum), X=doubles(9, 9), column=one_of(0, 2), grid=doubles(9)
    )
    assert contract.leaves_no_trace(submission, rng)


# ------------------------------------------------------------------------------------------------- shapley_values


def table_game(rng, d, offset=0.0):
    """A game with random values: a function of coalitions, and its table by number (bit j: player j)."""
    table = rng.standard_normal(2**d) + offset
    powers = 2 ** np.arange(d)
    return (lambda z: table[np.asarray(z).astype(int) @ powers]), table


def over_orders(table, d):
    """Shapley values by their definition: the mean gain over all d! orders."""
    phi = np.zeros(d)
    for order in itertools.permutations(range(d)):
        there = 0
        for j in order:
            phi[j] += table[there | 1 << j] - table[there]
            there |= 1 << j
    return phi / math.factorial(d)


@pytest.mark.exercise("shapley_values", weight=4, core=True, hint=3)
def test_mean_gain_over_all_orders(submission, rng):
    """The values are the mean gains over all orders of the players."""
    for d in (2, 3, 4, 5, 6):
        value, table = table_game(rng, d, offset=2.0)
        assert close(submission.shapley_values(value, d), over_orders(table, d), rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("shapley_values", weight=2, core=True, hint=2)
def test_games_in_closed_form(submission, rng):
    """Airport: a runway is shared by its users. Gloves: the rarer side gets more. One player gets v(all) - v(empty)."""
    costs = np.sort(rng.uniform(1, 9, 9))[rng.permutation(9)]
    order = np.argsort(costs)
    pieces = np.diff(np.concatenate([[0.0], costs[order]])) / np.arange(9, 0, -1)
    expected = np.zeros(9)
    expected[order] = np.cumsum(pieces)
    got = submission.shapley_values(lambda z: np.max(np.where(z, costs, 0.0), axis=1), 9)
    assert close(got, expected, rtol=1e-9, atol=1e-9)
    # One left glove and two right ones: 2/3, 1/6, 1/6.
    got = submission.shapley_values(lambda z: 1.0 * np.minimum(z[:, 1], z[:, 0] | z[:, 2]), 3)
    assert close(got, [1 / 6, 2 / 3, 1 / 6], rtol=1e-9, atol=1e-9)
    assert close(submission.shapley_values(lambda z: 3.0 + 4.0 * z[:, 0], 1), [4.0], rtol=1e-9)


@pytest.mark.exercise("shapley_values", weight=2, hint=1)
def test_the_four_axioms(submission, rng):
    """Efficiency, symmetry, dummies and additivity hold, whatever the empty coalition is worth."""
    (first, a), (second, _) = table_game(rng, 8, 50.0), table_game(rng, 8)
    one, other = submission.shapley_values(first, 8), submission.shapley_values(second, 8)
    both = submission.shapley_values(lambda z: first(z) + 3 * second(z), 8)
    assert close(both, np.asarray(one) + 3 * np.asarray(other), rtol=1e-9, atol=1e-9)
    assert close(float(np.sum(one)), a[-1] - a[0], rtol=1e-9, atol=1e-9)
    # Players 1 and 6 count alike, and 3 not at all.
    got = submission.shapley_values(
        lambda z: first(np.where(np.arange(8) == 3, False, np.sort(z, axis=1))) * 0 + alike(z), 8
    )
    assert close(got[1], got[6], rtol=1e-9, atol=1e-9) and close(got[3], 0.0, atol=1e-9)


def alike(z):
    together = z[:, 1].astype(int) + z[:, 6]
    return together**2 * (1.0 + z[:, 0]) + 5.0 * z[:, 2] * z[:, 7] - z[:, 4] * z[:, 5]


@pytest.mark.exercise("shapley_values", weight=4, hint=1)
def test_each_coalition_is_asked_once(submission, rng):
    """Each of the 2^d coalitions is asked for exactly once, as rows of bool, at most 4,096 in a call."""
    for d in (1, 2, 5, 13):
        value, _ = table_game(rng, d)
        watched = Asked(value)
        submission.shapley_values(watched, d)
        rows = [call[0] for call in watched.calls]
        assert close(all(is_array(part, (None, d), bool) and 1 <= len(part) <= 4096 for part in rows), True)
        numbers_of = np.concatenate([np.asarray(part).astype(int) for part in rows]) @ (2 ** np.arange(d))
        assert close(np.sort(numbers_of), np.arange(2**d))


@student_side
def sixteen(seed):
    """Sixteen players, over there: singles, pairs and one triple, with a large constant."""
    rng = np.random.default_rng(seed)
    singles, pairs = rng.standard_normal(16), np.triu(rng.standard_normal((16, 16)), 1)

    def value(z):
        z = z.astype(float)
        return 1e6 + z @ singles + np.einsum("ni,ij,nj->n", z, pairs, z) + 30 * z[:, 3] * z[:, 8] * z[:, 15]

    return student.shapley_values(value, 16)


@pytest.mark.exercise("shapley_values", weight=4, hint=1)
def test_sixteen_players(submission, rng):
    """Sixteen players have 2 * 10^13 orders; their 65,536 coalitions are enough, to ten digits."""
    seed = int(rng.integers(2**31))
    draws = np.random.default_rng(seed)
    singles, pairs = draws.standard_normal(16), np.triu(draws.standard_normal((16, 16)), 1)
    expected = singles + (pairs.sum(axis=0) + pairs.sum(axis=1)) / 2
    expected[[3, 8, 15]] += 10
    # 1e-10 times the largest value, 1e6: and the differences of such values are rounded to 1e-10 each.
    assert close(submission.run(sixteen, seed), expected, atol=1e-4)


@pytest.mark.exercise("shapley_values")
def test_values_of_any_size(submission, rng):
    """Games of all sizes, from 1e-200 to 1e200, with equal, constant and negative values; float64 comes back."""
    for scale in (1e-200, 1.0, 1e200):
        value, table = table_game(rng, 5, -3.0)
        got = submission.shapley_values(lambda z, value=value, scale=scale: scale * value(z), 5)
        assert close(got, scale * over_orders(table, 5), atol=1e-10 * scale * np.abs(table).max(), typed=True)
    assert close(submission.shapley_values(lambda z: np.full(len(z), 7.0), 4), np.zeros(4), atol=1e-9, typed=True)
    assert close(submission.shapley_values(lambda z: frozen(z @ np.arange(11.0)), 11), np.arange(11.0), atol=1e-8)


@student_side
def square_game(z):
    return (z @ np.arange(1.0, z.shape[1] + 1)) ** 2


@pytest.mark.exercise("shapley_values", forgeable=True)
def test_values_leave_no_trace(submission, rng):
    """What the game returns is not changed, and a new array comes back each time."""
    contract = Contract("shapley_values", value=constant(square_game), d=one_of(4, 1))
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"d": 1}, {"d": 6}])


# ---------------------------------------------------------------------------------------------------- kernel_shap


def best_fit(rows, values, weight, empty, full):
    """The weighted least-squares fit under its constraint, by Lagrange's equations; with it, whether it is unique."""
    Z, d = rows.astype(float), rows.shape[1]
    A = np.block([[2 * (Z.T * weight) @ Z, np.ones((d, 1))], [np.ones((1, d)), np.zeros((1, 1))]])
    r = np.append(2 * (Z.T * weight) @ (values - empty), full - empty)
    return np.linalg.lstsq(A, r, rcond=None)[0][:d], np.linalg.matrix_rank(np.vstack([Z, np.ones(d)])) == d


def asked_rows(watched, d):
    """All coalitions of all calls, or None where a call is not as the docstring says."""
    rows = [call[0] for call in watched.calls]
    if not all(is_array(part, (None, d), bool) and 1 <= len(part) <= 4096 for part in rows):
        return None
    return np.concatenate(rows)


@pytest.mark.exercise("kernel_shap", weight=4, core=True, hint=3)
def test_all_coalitions_are_exact(submission, rng):
    """Once the samples reach 2^d - 2, each coalition is asked for once, and the values are the Shapley values."""
    for d, samples in [(1, 2), (2, 2), (3, 6), (4, 14), (6, 200), (7, 126)]:
        value, table = table_game(rng, d, 3.0)
        watched = Asked(value)
        got = submission.kernel_shap(watched, d, samples, 1)
        assert close(got, over_orders(table, d), rtol=1e-8, atol=1e-8)
        rows = asked_rows(watched, d)
        assert close(rows is not None, True)
        assert close(np.sort(rows.astype(int) @ (2 ** np.arange(d))), np.arange(2**d))


@pytest.mark.exercise("kernel_shap", weight=3, core=True, hint=2)
def test_pairs_of_players_are_exact(submission, rng):
    """Games of single players and pairs come out exactly, 40 players from 200 coalitions."""
    for d, samples in [(40, 200), (15, 100)]:
        singles, pairs = rng.standard_normal(d), np.triu(rng.standard_normal((d, d)), 1)

        def value(z, singles=singles, pairs=pairs):
            z = z.astype(float)
            return 5 + z @ singles + np.einsum("ni,ij,nj->n", z, pairs, z)

        got = submission.kernel_shap(value, d, samples, int(rng.integers(2**40)))
        assert close(got, singles + (pairs.sum(axis=0) + pairs.sum(axis=1)) / 2, rtol=1e-7, atol=1e-7)


@pytest.mark.exercise("kernel_shap", weight=3, core=True, hint=2)
def test_the_fit_is_the_best_one(submission, rng):
    """From the coalitions that were asked, no other values with the right sum fit better; all weigh the same."""
    for d, samples in [(8, 60), (20, 150), (12, 1000), (60, 400)]:
        strength, triples = rng.standard_normal(50), rng.integers(0, d, (50, 3))

        def value(z, strength=strength, triples=triples):
            return 2 + np.all(z[:, triples], axis=2) @ strength

        watched = Asked(value)
        got = submission.kernel_shap(watched, d, samples, int(rng.integers(2**40)))
        rows = asked_rows(watched, d)
        assert close(rows is not None, True) and close(len(rows), samples + 2)
        size = rows.sum(axis=1)
        assert close([int(np.sum(size == 0)), int(np.sum(size == d))], [1, 1])
        inner = rows[(size > 0) & (size < d)]
        ends = value(np.array([[False] * d, [True] * d]))
        wanted, unique = best_fit(inner, value(inner), np.ones(len(inner)), *ends)
        assert close(float(np.sum(got)), float(ends[1] - ends[0]), rtol=1e-8, atol=1e-8)
        if unique:
            assert close(got, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.exercise("kernel_shap", weight=3, hint=1)
def test_the_law_of_the_draws(submission, rng):
    """Sizes have probabilities in proportion to 1 / (s (d - s)); given its size, all coalitions are equally likely."""
    d, samples = 9, 500
    inner = []
    for seed in range(4):
        watched = Asked(lambda z: z @ np.arange(9.0))
        submission.kernel_shap(watched, d, samples, seed + int(rng.integers(2**40)))
        rows = asked_rows(watched, d)
        assert close(rows is not None, True)
        size = rows.sum(axis=1)
        inner.append(rows[(size > 0) & (size < d)])
    inner = np.concatenate(inner)
    assert close(len(inner), 4 * samples)
    # A coalition or its complement was drawn: one of the two has player 0. These are independent.
    half = inner[inner[:, 0]]
    size = half.sum(axis=1)
    s = np.arange(1, d)
    law = 1 / (s * (d - s))
    # P(player 0 is in | s) = s / d for the draw, and (d - s) / d that its complement (of size d - s) has it.
    with_first = law * s / d + (law * s / d)
    assert evenly(np.bincount(size, minlength=d)[1:d], with_first / with_first.sum())
    # With few rows in a cell the tail is heavier than chi-squared's: hence a hundredth of the level.
    assert evenly(half[size == 2][:, 1:].sum(axis=0), level=TINY / 100)
    assert evenly((~half[size == d - 1][:, 1:]).sum(axis=0), level=TINY / 100)
    # Pairs of neighbours are together as often as others: sizes 3 and 4, without player 0.
    for chosen in (3, 4):
        members = half[size == chosen][:, 1:]
        pairs = np.array([np.sum(members[:, i] & members[:, j]) for i, j in itertools.combinations(range(8), 2)])
        # A bound for each of the 28, by the binomial law of whether both are members.
        p = (chosen - 1) * (chosen - 2) / 56
        low, high = scipy.stats.binom.ppf([TINY / 28, 1 - TINY / 28], len(members), p)
        assert close(pairs.astype(float), np.full(28, (low + high) / 2), atol=(high - low) / 2)


@pytest.mark.exercise("kernel_shap", weight=3, hint=1)
def test_complements_are_paired(submission, rng):
    """With each coalition its complement is asked for, as often as it was drawn."""
    for d, samples in [(5, 20), (10, 300), (70, 160), (4, 2), (7, 4)]:
        watched = Asked(lambda z: z.sum(axis=1) ** 3.0)
        submission.kernel_shap(watched, d, samples, int(rng.integers(2**40)))
        rows = asked_rows(watched, d)
        assert close(rows is not None, True) and close(len(rows), samples + 2)
        plain = sorted(bytes(row) for row in rows.astype(np.uint8))
        turned = sorted(bytes(row) for row in 1 - rows.astype(np.uint8))
        assert close(plain == turned, True)


@pytest.mark.exercise("kernel_shap", hint=3)
def test_few_draws_raise_no_error(submission, rng):
    """With fewer draws than players, the sum is met and the fit is as good as it can be, without an error."""
    for d, samples in [(30, 2), (30, 20), (100, 60), (5, 4)]:
        value = Asked(lambda z: 1 + (z @ np.arange(1.0, z.shape[1] + 1)) / 7 + z[:, 0] * z[:, 1] * z[:, 2])
        got = np.asarray(submission.kernel_shap(value, d, samples, int(rng.integers(2**40))))
        rows = asked_rows(value, d)
        assert close(rows is not None, True) and close(got, np.zeros(d), atol=1e6)
        size = rows.sum(axis=1)
        inner = rows[(size > 0) & (size < d)]
        empty, full = value.function(np.array([[False] * d, [True] * d]))
        wanted, _ = best_fit(inner, value.function(inner), np.ones(len(inner)), empty, full)
        target = value.function(inner) - empty
        assert close(float(got.sum()), float(full - empty), rtol=1e-8, atol=1e-8)
        assert close(
            float(np.sum((target - inner @ got) ** 2)),
            float(np.sum((target - inner @ wanted) ** 2)),
            rtol=1e-5,
            atol=1e-5,
        )


@pytest.mark.exercise("kernel_shap")
def test_kernel_games_of_any_size(submission, rng):
    """Games from 1e-100 to 1e100, the empty coalition worth much, exactly as accurate; float64 comes back."""
    for scale in (1e-100, 1e100):
        value, table = table_game(rng, 4, 30.0)
        got = submission.kernel_shap(lambda z, value=value, scale=scale: scale * value(z), 4, 14, 0)
        assert close(got, scale * over_orders(table, 4), atol=1e-9 * scale * 40, typed=True)
    assert close(
        submission.kernel_shap(lambda z: np.full(len(z), 7.0), 50, 300, 0), np.zeros(50), atol=1e-8, typed=True
    )
    got = submission.kernel_shap(lambda z: z @ np.ones(12), 12, 5000, 3)
    assert close(got, np.ones(12), rtol=1e-8, typed=True)


@student_side
def kernel_of_square(d, samples, seed):
    return student.kernel_shap(lambda z: (z @ np.arange(1.0, d + 1)) ** 3 / d**3, d, samples, seed)


@pytest.mark.exercise("kernel_shap")
def test_kernel_depends_on_its_seed_alone(submission, rng):
    """The same seed gives the same values, in another process, too; every other seed draws anew."""
    found = [np.asarray(submission.run(kernel_of_square, 20, 60, seed)).tolist() for seed in SEEDS]
    assert close([np.asarray(submission.run(kernel_of_square, 20, 60, s)).tolist() for s in SEEDS[::-1]], found[::-1])
    with submission.elsewhere() as other:
        assert close([np.asarray(other.run(kernel_of_square, 20, 60, seed)).tolist() for seed in SEEDS[:3]], found[:3])
    assert close(len({str(values) for values in found}), len(SEEDS))


@pytest.mark.exercise("kernel_shap", weight=2, hint=1)
def test_calls_of_4096(submission, rng):
    """All coalitions of 13 players, and 10,000 of 20: no call asks for more than 4,096, and none is left out."""
    value, table = table_game(rng, 13, 3.0)
    for d, samples, game in [(13, 8190, value), (20, 10_000, lambda z: z @ np.arange(20.0))]:
        watched = Asked(game)
        got = submission.kernel_shap(watched, d, samples, 5)
        rows = asked_rows(watched, d)
        assert close(rows is not None, True) and close(len(rows), samples + 2)
        assert close(got, by_coalitions(table, 13) if d == 13 else np.arange(20.0), rtol=1e-7, atol=1e-7)


@pytest.mark.exercise("kernel_shap", weight=1, hint=1)
def test_many_samples(submission, rng):
    """The values of 30 players are near with 10^5 samples."""
    got = np.asarray(submission.run(kernel_of_square, 30, 100_000, 5))
    a = np.arange(1.0, 31) / 30
    # (a . z)^3 = sum of a_i^3 + 3 a_i^2 a_j + 6 a_i a_j a_k over members: shared by 1, 2 and 3 players.
    s1, s2 = a.sum(), (a**2).sum()
    others = s1 - a
    pair = 3 * (a**2 * others + a * (s2 - a**2)) / 2
    triple = 6 * a * (others**2 - (s2 - a**2)) / 2 / 3
    # The root mean square of an error was 1.6 over seeds: seven of these.
    assert close(got, a**3 + pair + triple, atol=11.0)


@pytest.mark.exercise("kernel_shap", forgeable=True)
def test_kernel_leaves_no_trace(submission, rng):
    """What the game returns is not changed, a new array comes back, NumPy's global random state is left alone."""
    contract = Contract(
        "kernel_shap", value=constant(square_game), d=one_of(9, 1), samples=one_of(60), seed=one_of(1, 2)
    )
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"d": 1}, {"d": 3}])
    assert random_states_kept(submission, "kernel_shap", square_game, 12, 40, 1, python=False)


# ------------------------------------------------------------------------------------------------------ tree_shap


def by_coalitions(table, d):
    """Shapley values from the table of all coalitions, by the formula with factorials."""
    number = np.arange(2**d)
    member = (number[:, None] >> np.arange(d)) & 1
    size = member.sum(axis=1)
    weight = np.array([math.factorial(s) * math.factorial(d - 1 - s) / math.factorial(d) for s in range(d)] + [0.0])
    return np.array(
        [
            np.sum(np.where(member[:, j] == 0, weight[size] * (table[number | 1 << j] - table[number]), 0))
            for j in range(d)
        ]
    )


def grown(rng, d, depth, grid=3, full=False):
    """A random tree: thresholds are integers, features repeat on a way, nodes are numbered at random but for the root.

    What means nothing (the feature of a leaf, its threshold, the value of an inner node) is anything.
    """
    nodes = []

    def grow(level):
        number = len(nodes)
        nodes.append(None)
        if level == depth or (not full and level > 1 and rng.random() < 0.2):
            nodes[number] = (-1, -1, int(rng.choice([-2, 0, 10**6])), np.nan, float(rng.standard_normal()))
        else:
            split = int(rng.integers(d)), float(rng.integers(-grid, grid + 1))
            children = grow(level + 1), grow(level + 1)
            nodes[number] = (*children, *split, np.inf)
        return number

    grow(0)
    place = np.concatenate([[0], 1 + rng.permutation(len(nodes) - 1)])
    columns = [np.empty(len(nodes), dtype) for dtype in (np.int64, np.int64, np.int64, np.float64, np.float64)]
    for number, (left, right, *rest) in enumerate(nodes):
        moved = [-1 if left < 0 else place[left], -1 if right < 0 else place[right], *rest]
        for column, entry in zip(columns, moved):
            column[place[number]] = entry
    names = ("children_left", "children_right", "feature", "threshold", "value")
    return dict(zip(names, columns))


def predicted(tree, rows):
    """The tree's predictions, row by row."""
    found = []
    for row in rows:
        node = 0
        while tree["children_left"][node] >= 0:
            side = "children_left" if row[tree["feature"][node]] <= tree["threshold"][node] else "children_right"
            node = tree[side][node]
        found.append(tree["value"][node])
    return np.array(found)


def tree_values(tree, x, background):
    """Shapley values of the tree's game, from all 2^d coalitions."""
    d = len(x)
    member = (np.arange(2**d)[:, None] >> np.arange(d)) & 1 == 1
    table = sum(predicted(tree, np.where(member, x, z)) for z in background) / len(background)
    return by_coalitions(table, d)


def whole(rng, *shape):
    """Rows of small integers, so that they often meet a threshold exactly."""
    return rng.integers(-4, 5, shape).astype(float)


@pytest.mark.exercise("tree_shap", weight=4, core=True, hint=2)
def test_tree_values_are_shapley_values(submission, rng):
    """The values equal the Shapley values from all coalitions, for random trees, one background row and several."""
    for d, depth, b in [(3, 2, 1), (6, 3, 1), (8, 4, 3), (8, 5, 2)]:
        x, background = whole(rng, d) + 0.5, whole(rng, b, d) + 0.5
        tree = grown(rng, d, depth)
        assert close(submission.tree_shap(tree, x, background), tree_values(tree, x, background), rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("tree_shap", weight=3, core=True, hint=1)
def test_columns_count_once(submission, rng):
    """A column that is tested several times on one way counts once."""
    for d, depth in [(2, 5), (3, 6), (1, 4)]:
        for _ in range(3):
            x, background = whole(rng, d) + 0.5, whole(rng, 4, d) + 0.5
            tree = grown(rng, d, depth)
            got = submission.tree_shap(tree, x, background)
            assert close(got, tree_values(tree, x, background), rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("tree_shap", weight=2, core=True, hint=1)
def test_thresholds_go_left(submission, rng):
    """A row whose entry equals the threshold goes left, the explained row and background rows."""
    for _ in range(4):
        x, background = whole(rng, 5), whole(rng, 3, 5)
        tree = grown(rng, 5, 4)
        assert close(submission.tree_shap(tree, x, background), tree_values(tree, x, background), rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("tree_shap", weight=2, hint=2)
def test_the_values_add_up(submission, rng):
    """The values sum to the prediction minus the mean prediction of the background, and unused columns have 0."""
    for _ in range(3):
        x, background = whole(rng, 60), whole(rng, 30, 60)
        tree = grown(rng, 12, 6)
        got = np.asarray(submission.tree_shap(tree, x, background))
        change = predicted(tree, x[None])[0] - predicted(tree, background).mean()
        assert close(float(got.sum()), float(change), rtol=1e-9, atol=1e-9)
        assert close(got[12:], np.zeros(48), atol=1e-12)


@pytest.mark.exercise("tree_shap", weight=1, hint=2)
def test_trees_of_one_leaf(submission, rng):
    """A tree that is one leaf, a row that is the background, and a tree of scikit-learn."""
    leaf = {key: np.array([-1]) for key in ("children_left", "children_right")}
    leaf |= {"feature": np.array([-2]), "threshold": np.array([-2.0]), "value": np.array([5.0])}
    assert close(submission.tree_shap(leaf, np.ones(3), np.zeros((2, 3))), np.zeros(3), typed=True)
    row = whole(rng, 1, 7)
    assert close(submission.tree_shap(grown(rng, 7, 5), row[0], row), np.zeros(7), atol=1e-12, typed=True)
    X = rng.standard_normal((200, 6)).astype(np.float32).astype(float)
    fitted = DecisionTreeRegressor(max_depth=5, random_state=0).fit(X, X[:, 0] * X[:, 1] + X[:, 2] ** 2).tree_
    tree = {key: getattr(fitted, key) for key in ("children_left", "children_right", "feature", "threshold")}
    tree["value"] = fitted.value[:, 0, 0].copy()
    assert close(submission.tree_shap(tree, X[0], X[1:4]), tree_values(tree, X[0], X[1:4]), rtol=1e-9, atol=1e-9)


@student_side
def many_trees(trees, x, background):
    return sum(student.tree_shap(tree, x, background) for tree in trees)


@pytest.mark.exercise("tree_shap", weight=6, hint=3)
def test_sixty_columns(submission, rng):
    """Sixty columns, 20 trees and 50 background rows: the work depends on leaves and depth, not on 2^d."""
    trees = [grown(rng, 60, 6) for _ in range(20)]
    x, background = whole(rng, 60), whole(rng, 50, 60)
    got = np.asarray(submission.run(many_trees, trees, x, background))
    change = sum(predicted(tree, x[None])[0] - predicted(tree, background).mean() for tree in trees)
    assert close(float(got.sum()), float(change), rtol=1e-9, atol=1e-9)
    # Swapping x and a single background row turns all signs; so the mean over rows can be had one by one.
    turned = np.mean([submission.run(many_trees, trees, z, x[None]) for z in background[:2]], axis=0)
    both = submission.run(many_trees, trees, x, background[:2])
    assert close(both, -turned, rtol=1e-9, atol=1e-9)
    # Only few columns are used by one tree: over those alone, all coalitions can be asked.
    small = grown(rng, 9, 6)
    used = np.arange(9)
    far = small | {"feature": np.where(small["children_left"] >= 0, small["feature"] * 6 + 3, -2)}
    got = np.asarray(submission.tree_shap(far, x, background[:3]))
    expected = np.zeros(60)
    expected[used * 6 + 3] = tree_values(small, x[used * 6 + 3], background[:3, used * 6 + 3])
    assert close(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("tree_shap", weight=2, hint=3)
def test_a_long_way(submission, rng):
    """A way with 100 tests of 60 columns: factorials of 60 stay exact enough, and nothing overflows."""
    n, d = 100, 60
    inner, leaf = 2 * np.arange(n), 2 * np.arange(n) + 1
    tree = {key: np.full(2 * n + 1, -1) for key in ("children_left", "children_right", "feature")}
    tree |= {"threshold": np.full(2 * n + 1, 0.0), "value": np.zeros(2 * n + 1)}
    tree["children_left"][inner], tree["children_right"][inner] = leaf, inner + 2
    tree["feature"][inner] = np.arange(n) % d
    tree["value"][leaf], tree["value"][-1] = -1.0, 3.0
    for a in (60, 45, 1):
        # x passes the tests of the first `a` columns, the background row those of the others: the last leaf is reached
        # by x's first `a` columns and the background's others alone, and all other leaves have the same value.
        x, z = np.where(np.arange(d) < a, 1.0, -1.0), np.where(np.arange(d) < a, -1.0, 1.0)
        expected = np.where(np.arange(d) < a, 1 / (a * math.comb(d, a)), -1 / max(d - a, 1) / math.comb(d, a))
        got = submission.tree_shap(tree, x, z[None])
        assert close(got, 4 * expected, atol=1e-11 * 3, rtol=1e-6)


@pytest.mark.exercise("tree_shap")
def test_trees_of_every_kind(submission, rng):
    """Indices of every integer kind, arrays of every layout, a threshold of inf, large leaves; float64 comes back."""
    tree, x, background = grown(rng, 5, 4), whole(rng, 5), whole(rng, 4, 5)
    tree["feature"] = np.where(tree["children_left"] >= 0, tree["feature"], -1)
    wanted = tree_values(tree, x, background)
    for kind in (np.int8, np.int16, np.int32):
        other = tree | {key: tree[key].astype(kind) for key in ("children_left", "children_right", "feature")}
        assert close(submission.tree_shap(other, x, background), wanted, atol=1e-9, typed=True)
    for change in (stepped, frozen, np.asfortranarray):
        other = {key: change(column) for key, column in tree.items()}
        got = submission.tree_shap(other, change(x), change(background))
        assert close(got, wanted, atol=1e-9, typed=True)
    for scale in (1e-200, 1e200):
        large = tree | {"value": np.where(tree["children_left"] < 0, scale * tree["value"], 0.0)}
        assert close(submission.tree_shap(large, x, background), scale * wanted, atol=1e-10 * scale * 5, typed=True)
    endless = tree | {"threshold": np.where(np.arange(len(tree["threshold"])) == 0, np.inf, tree["threshold"])}
    assert close(submission.tree_shap(endless, x, background), tree_values(endless, x, background), atol=1e-9)
    many = whole(rng, 1500, 2)
    small = grown(rng, 2, 2, full=True)
    assert close(submission.tree_shap(small, x[:2], many), tree_values(small, x[:2], many), atol=1e-9)


@pytest.mark.exercise("tree_shap", hint=1)
def test_comparisons_in_float64(submission):
    """Entries and thresholds are compared in float64: neighbours that float32 cannot tell apart go different ways."""
    one = {
        "children_left": np.array([1, -1, -1]),
        "children_right": np.array([2, -1, -1]),
        "feature": np.array([0, -2, -2]),
        "threshold": np.array([0.1 + 0.2, -2.0, -2.0]),
        "value": np.array([0.0, 4.0, 6.0]),
    }
    for x in (0.1 + 0.2, 0.3, np.nextafter(0.1 + 0.2, 1)):  # neighbours in float64, one number in float32
        got = submission.tree_shap(one, np.array([x]), np.array([[5.0]]))
        assert close(got, [-2.0 if x <= 0.1 + 0.2 else 0.0], atol=1e-12)


@pytest.mark.exercise("tree_shap", forgeable=True)
def test_tree_leaves_no_trace(submission, rng):
    """Neither the tree nor the rows are changed, and a new array comes back."""
    contract = Contract(
        "tree_shap",
        tree=replace(one_of(0), plain=lambda rng: clean(grown(rng, 6, 3, full=True))),
        x=doubles(6),
        background=doubles(6, 6),
    )
    assert contract.leaves_no_trace(submission, rng)


def clean(tree):
    leaf = tree["children_left"] < 0
    return tree | {"threshold": np.where(leaf, -2.0, tree["threshold"]), "value": np.where(leaf, tree["value"], 0.0)}


# ------------------------------------------------------------------------------------------- integrated_gradients


@pytest.mark.exercise("integrated_gradients", weight=4, core=True, hint=1)
def test_exact_on_quadratics(submission, rng):
    """On a quadratic the shares are exact with any number of steps, from any baseline, and unused columns get 0."""
    for n, d, steps in [(3, 4, 1), (5, 6, 3), (1, 1, 2)]:
        A, c = rng.standard_normal((d, d)), rng.standard_normal(d)
        A, c = A + A.T, c
        A[0], A[:, 0], c[0] = (0, 0, 0) if d > 1 else (A[0], A[:, 0], c[0])
        x, baseline = rng.standard_normal((n, d)), rng.standard_normal(d) + 1
        got = submission.integrated_gradients(lambda p, A=A, c=c: p @ A + c, x, baseline, steps)
        expected = (x - baseline) * ((x + baseline) / 2 @ A + c)
        assert close(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("integrated_gradients", weight=4, core=True, hint=1)
def test_midpoints(submission, rng):
    """The gradient is asked at the midpoints of the steps, and the shares are the sums over them."""
    for steps in (1, 2, 5, 40):
        x, baseline = rng.standard_normal((4, 3)), rng.standard_normal(3)
        a = (np.arange(steps) + 0.5) / steps
        points = baseline + a[:, None, None] * (x - baseline)
        got = submission.integrated_gradients(lambda p: 5 * p**4, x, baseline, steps)
        assert close(got, (x - baseline) * np.mean(5 * points**4, axis=0), rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("integrated_gradients", weight=2, hint=1)
def test_completeness(submission, rng):
    """The shares sum to f(x) - f(baseline) within the midpoint rule's bound."""
    w, x, baseline = rng.standard_normal((6, 5)), rng.standard_normal((7, 6)), rng.standard_normal(6)
    for steps in (10, 50):
        got = submission.integrated_gradients(lambda p: np.cos(p @ w) @ w.T, x, baseline, steps)
        change = np.sum(np.sin(x @ w) - np.sin(baseline @ w), axis=1)
        # |g'''| <= sum of |w_k . (x - baseline)|^3, and the midpoint rule is off by max |g'''| / (24 steps^2).
        bound = np.sum(np.abs((x - baseline) @ w) ** 3, axis=1) / (24 * steps**2)
        assert close(np.sum(got, axis=1), change, atol=bound + 1e-9)


@pytest.mark.exercise("integrated_gradients", weight=3, hint=2)
def test_points_are_asked_once(submission, rng):
    """Each of the n * steps points is asked for once, as float64, at most 1,024 in a call."""
    for n, steps in [(3, 700), (1, 2500), (600, 3), (1, 1), (5, 1)]:
        x = rng.standard_normal((n, 2))
        watched = Asked(lambda p: 2 * p)
        submission.integrated_gradients(watched, x, np.array([1.0, -1.0]), steps)
        rows = [call[0] for call in watched.calls]
        assert close(all(is_array(p, (None, 2), np.float64) and 1 <= len(p) <= 1024 for p in rows), True)
        a = (np.arange(steps) + 0.5) / steps
        wanted = ([1.0, -1.0] + a[:, None, None] * (x - [1.0, -1.0])).reshape(-1, 2)
        asked = np.concatenate(rows)
        assert close(np.sort(asked[:, 0]), np.sort(wanted[:, 0]), rtol=1e-9, atol=1e-9)
        assert close(np.sort(asked @ [1.0, 3.0]), np.sort(wanted @ [1.0, 3.0]), rtol=1e-9, atol=1e-9)


@student_side
def over_many_points(seed, n, d, steps):
    """Shares of a cubic whose gradient is computed over there; 100 of them."""
    x = np.random.default_rng(seed).standard_normal((n, d))
    found = student.integrated_gradients(lambda p: 3 * p**2, x, np.full(d, 0.5), steps)
    return found[:: n // 10, :: d // 10]


@pytest.mark.exercise("integrated_gradients", weight=6, hint=2, memory_mb=64)
def test_points_that_do_not_fit(submission, rng):
    """All points together take 200 MB; they are made and used 1,024 at a time."""
    seed = int(rng.integers(2**31))
    x = np.random.default_rng(seed).standard_normal((300, 400))[::30, ::40]
    got = submission.run(over_many_points, seed, 300, 400, 208)
    # The midpoint rule of 3 u^2 between 1/2 and x is off by (x - 1/2)^3 / (4 steps^2), at most 250 / (4 * 208^2).
    assert close(got, x**3 - 0.125, atol=2e-3)


@pytest.mark.exercise("integrated_gradients")
def test_gradients_of_every_kind(submission, rng):
    """Rows and baselines of every kind; float64 comes back, computed in float64."""
    contract = Contract(
        "integrated_gradients",
        gradient=constant(None),
        x=numbers(5, 3, scales=(1e-60, 1e60)),
        baseline=numbers(3),
        steps=one_of(3, 1, 300),
    )
    for case in contract.cases(rng):
        _, x, baseline, steps = case.args
        _, x64, b64, _ = case.exact
        got = submission.integrated_gradients(lambda p: frozen(p + 2 * p[:, ::-1]), x, baseline, steps)
        mean = (x64 + b64) / 2
        expected = (x64 - b64) * (mean + 2 * mean[:, ::-1])
        size = (np.abs(x64).max() + np.abs(b64).max()) ** 2
        assert close(got, expected, atol=4e-12 * size, typed=True)
    tall = np.arange(2400.0).reshape(1200, 2)
    got = submission.integrated_gradients(lambda p: np.ones_like(p), tall, np.zeros(2), 2)
    assert close(got, tall, rtol=1e-12)


@student_side
def doubled(points):
    return points * 2.0


@pytest.mark.exercise("integrated_gradients", forgeable=True)
def test_gradients_leave_no_trace(submission, rng):
    """Rows, baseline and what the gradient returned are not changed, and a new array comes back."""
    contract = Contract(
        "integrated_gradients", gradient=constant(doubled), x=doubles(4, 4), baseline=doubles(4), steps=one_of(3, 1)
    )
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"steps": 1}, {"steps": 2000}])


# ---------------------------------------------------------------------------------------------------- group_rates

RATES = Contract(
    "group_rates",
    y=integers(80, high=1, bools=True),
    predicted=integers(80, high=1, bools=True),
    group=integers(80, high=5),
)


def counted(y, predicted, group):
    """The rates by loops over the rows."""
    groups = int(max(group)) + 1 if len(group) else 0
    found = {key: np.full(groups, np.nan) for key in ("prevalence", "selection", "tpr", "fpr", "ppv")}
    found["count"] = np.zeros(groups, np.int64)
    for g in range(groups):
        rows = [(int(a), int(b)) for a, b, c in zip(y, predicted, group) if int(c) == g]
        found["count"][g] = len(rows)
        for key, part, chosen in (
            ("prevalence", 0, rows),
            ("selection", 1, rows),
            ("tpr", 1, [row for row in rows if row[0] == 1]),
            ("fpr", 1, [row for row in rows if row[0] == 0]),
            ("ppv", 0, [row for row in rows if row[1] == 1]),
        ):
            if chosen:
                found[key][g] = sum(row[part] for row in chosen) / len(chosen)
    return found


def same_rates(got, expected, typed=False, keys=("count", "prevalence", "selection", "tpr", "fpr", "ppv")):
    """Whether the rates agree, with nan in the same places."""
    if not isinstance(got, dict) or set(got) != {"count", "prevalence", "selection", "tpr", "fpr", "ppv"}:
        return close(got, expected)
    for key in keys:
        mine = got[key]
        if not is_array(mine, np.shape(expected[key])) or (typed and mine.dtype != expected[key].dtype):
            return close(False, True)
        missing = np.isnan(expected[key])
        if not np.array_equal(np.isnan(np.asarray(mine, float)), missing):
            return close(False, True)
        agree = close(np.where(missing, 0, mine), np.where(missing, 0, expected[key]), rtol=1e-12)
        if not agree:
            return agree
    return close(True, True)


def drawn_rates(rng, m, groups):
    """Labels, decisions and groups that depend on each other; group 0 has rows of all four kinds."""
    group = rng.integers(0, groups, m)
    y = (rng.random(m) < 0.3 + 0.4 * group / groups).astype(int)
    predicted = np.where(rng.random(m) < 0.7, y, rng.integers(0, 2, m))
    y[:4], predicted[:4], group[:4] = [0, 0, 1, 1], [0, 1, 0, 1], 0
    return y, predicted, group


@pytest.mark.exercise("group_rates", weight=4, core=True, hint=1)
def test_rates_by_loops(submission, rng):
    """Each rate divides by the right rows: the loops over the rows agree."""
    for m, groups in [(50, 1), (300, 3), (200, 7)]:
        y, predicted, group = drawn_rates(rng, m, groups)
        group[-1] = groups - 1
        expected = counted(y, predicted, group)
        got = submission.group_rates(y, predicted, group)
        for key in ("prevalence", "selection", "tpr", "fpr", "ppv", "count"):
            assert same_rates(got, expected, keys=(key,))


@pytest.mark.exercise("group_rates", weight=2, hint=1)
def test_the_identity(submission, rng):
    """Chouldechova's identity between prevalence, TPR, FPR and PPV holds in each group."""
    y, predicted, group = drawn_rates(rng, 4000, 4)
    got = submission.group_rates(y, predicted, group)
    p, tpr, ppv = (np.asarray(got[key]) for key in ("prevalence", "tpr", "ppv"))
    assert close(got["fpr"], p / (1 - p) * (1 - ppv) / ppv * tpr, rtol=1e-9)


@pytest.mark.exercise("group_rates", weight=2, hint=2)
def test_shares_of_nobody(submission, rng):
    """A share of no rows is nan: absent groups, groups of one class, groups without a selected row, no rows at all."""
    y = np.array([1, 1, 0, 0, 1, 0, 0, 1])
    predicted = np.array([1, 0, 1, 0, 0, 0, 1, 1])
    group = np.array([0, 0, 3, 3, 5, 6, 9, 9])
    assert same_rates(submission.group_rates(y, predicted, group), counted(y, predicted, group), typed=True)
    none = np.zeros(0, np.int64)
    assert same_rates(submission.group_rates(none, none, none), counted(none, none, none), typed=True)
    alone = np.array([7], np.uint8)
    one = np.ones(1, np.int64)
    assert same_rates(submission.group_rates(one, one - 1, alone), counted(one, one - 1, alone), typed=True)


@student_side
def warned(y, predicted, group):
    """The warnings that a call gives."""
    import warnings

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        with np.errstate(all="warn"):
            student.group_rates(y, predicted, group)
    return len(found)


@pytest.mark.exercise("group_rates")
def test_rates_of_every_kind(submission, rng):
    """Labels, decisions and groups of every kind of integer are counted right; int64 and float64 come back."""
    for case in RATES.cases(rng):
        y, predicted, group = case.exact
        assert same_rates(submission.group_rates(*case), counted(y, predicted, group), typed=True)
    # A count of bool or uint8 must not overflow.
    y, predicted = np.ones(1500, np.uint8), np.arange(1500) % 3 > 0
    group = np.full(1500, 200, np.uint8)
    group[:3] = 0
    assert same_rates(submission.group_rates(y, predicted, group), counted(y, predicted, group), typed=True)


@pytest.mark.exercise("group_rates", weight=0.5, hint=2, forgeable=True)
def test_a_share_of_nobody_gives_no_warning(submission):
    """No warning is given where a group has no rows, or none with y = 1, or none that is selected."""
    assert close(submission.run(warned, np.array([1, 0]), np.array([0, 0]), np.array([0, 3])), 0)


@pytest.mark.exercise("group_rates", weight=4, hint=2)
def test_a_hundred_thousand_groups(submission, rng):
    """A million rows in 100,000 groups take one pass, not one pass for each group."""
    group = rng.integers(0, 100_000, 1_000_000)
    group[0] = 99_999
    y, predicted = rng.integers(0, 2, 1_000_000), rng.integers(0, 2, 1_000_000)
    got = submission.group_rates(y, predicted, group)
    some = np.isin(group, [0, 5, 99_998, 99_999])
    wanted = counted(y[some], predicted[some], group[some])
    for g in (0, 5, 99_998, 99_999):
        assert same_rates({key: got[key][g : g + 1] for key in got}, {key: wanted[key][g : g + 1] for key in wanted})
    assert close(len(got["ppv"]), 100_000) and close(int(np.sum(got["count"])), 1_000_000)


@pytest.mark.exercise("group_rates", forgeable=True)
def test_rates_leave_no_trace(submission, rng):
    """No argument is changed, and six new arrays come back."""
    full = replace(integers(80, high=5), plain=lambda rng: np.arange(80) % 6)
    contract = Contract("group_rates", y=integers(80, high=1), predicted=integers(80, high=1), group=full)
    assert contract.leaves_no_trace(submission, rng)


# ------------------------------------------------------------------------------------------------- equalised_odds


def least_errors(score, y, group):
    """The least expected number of errors under equal rates, by linear programming over all thresholds."""
    columns, cost, block = [], [], []
    names = np.unique(group).tolist()
    for k, g in enumerate(names):
        s, t = np.asarray(score)[group == g].astype(float), y[group == g]
        for threshold in [*np.unique(s), np.inf]:
            given = s >= threshold
            columns.append((k, given[t == 0].mean(), given[t == 1].mean()))
            cost.append(np.sum(given[t == 0]) + np.sum(~given[t == 1]))
            block.append(k)
    k, f, t = map(np.array, zip(*columns))
    rows, right = [np.where(k == g, 1.0, 0.0) for g in range(len(names))], [1.0] * len(names)
    for g in range(1, len(names)):
        for rate in (f, t):
            rows.append(np.where(k == g, rate, 0.0) - np.where(k == 0, rate, 0.0))
            right.append(0.0)
    found = scipy.optimize.linprog(cost, A_eq=np.array(rows), b_eq=right, bounds=(0, None), method="highs")
    return float(found.fun)


def judged(rules, score, y, group):
    """Rates (groups, 2) and expected errors of the rules; None where they are no randomised thresholds."""
    names = np.unique(group).tolist()
    if not isinstance(rules, dict) or sorted(rules) != names:
        return None
    rates, wrong = [], 0.0
    for g in names:
        s, t = np.asarray(score)[group == g].astype(float), y[group == g]
        rule = rules[g]
        if not isinstance(rule, list) or not rule:
            return None
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in rule):
            return None
        if not all(isinstance(part, float) and part == part for pair in rule for part in pair):
            return None
        chances = np.array([chance for _, chance in rule])
        if not (chances.min() >= 0 and abs(chances.sum() - 1) <= 1e-9):
            return None
        places = sorted(rule)  # a row is given 1 by all thresholds up to its score
        chances = np.concatenate([[0.0], np.cumsum([chance for _, chance in places])])
        given = chances[np.searchsorted([threshold for threshold, _ in places], s, side="right")]
        rates.append([given[t == 0].mean(), given[t == 1].mean()])
        wrong += float(np.sum(given[t == 0]) + np.sum(1 - given[t == 1]))
    return np.array(rates), wrong


def scored(rng, sizes, levels=None, quality=(1.5, 0.8, 0.3)):
    """Scores of groups of these sizes, of unequal quality; `levels`: how many different scores there are at most."""
    group = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    y = (rng.random(len(group)) < 0.35 + 0.3 * (group % 2)).astype(int)
    for g in range(len(sizes)):
        y[np.flatnonzero(group == g)[:2]] = [0, 1]
    score = rng.standard_normal(len(group)) + y * np.resize(quality, len(sizes))[group]
    return (np.round(score * levels / 6) if levels else score), y, group


def is_best(submission, score, y, group, parts=("rates", "errors")):
    found = judged(submission.equalised_odds(score, y, group), score, y, group)
    if found is None:
        return close(False, True)
    rates, wrong = found
    if "rates" in parts and not (equal := close(rates, np.broadcast_to(rates[0], rates.shape), atol=1e-9)):
        return equal
    return close(wrong, least_errors(score, y, group), atol=2e-9 * len(y)) if "errors" in parts else close(True, True)


@pytest.mark.exercise("equalised_odds", weight=3, core=True, hint=3)
def test_rates_are_equal(submission, rng):
    """Both rates, TPR and FPR, are equal in all groups."""
    for sizes in ([40, 30], [50, 60, 40], [25, 80]):
        assert is_best(submission, *scored(rng, sizes), parts=("rates",))


@pytest.mark.exercise("equalised_odds", weight=4, core=True, hint=2)
def test_errors_are_the_least(submission, rng):
    """No randomised thresholds with equal rates have fewer errors: a linear program over all thresholds agrees."""
    for sizes in ([40, 30], [50, 60, 40], [25, 80], [30]):
        assert is_best(submission, *scored(rng, sizes))
    for _ in range(4):
        assert is_best(submission, *scored(rng, [60, 60], quality=(1.1, 1.0)))  # their borders cross


@pytest.mark.exercise("equalised_odds", weight=2, hint=2)
def test_crossings_of_every_pair(submission, rng):
    """With three groups and more the least errors may lie where the borders of any two of them cross."""
    # Scores in the order 1, 0, 0, 1 and 0, 1, 1, 0 have borders that cross at (1/3, 2/3); other groups are perfect.
    crossing = np.array([1, 0, 0, 1]), np.array([0, 1, 1, 0])
    for groups in (2, 3, 4):
        for a, b in itertools.permutations(range(groups), 2):
            labels = [np.array([1, 1, 0, 0])] * groups
            labels[a], labels[b] = crossing
            y, group = np.concatenate(labels), np.repeat(np.arange(groups), 4)
            order = rng.permutation(len(y))
            assert is_best(submission, np.tile([4.0, 3.0, 2.0, 1.0], groups)[order], y[order], group[order])
    for _ in range(30):
        y, group = rng.integers(0, 2, 24), np.repeat(np.arange(3), 8)
        y[::8], y[1::8] = 0, 1
        assert is_best(submission, rng.permutation(24).astype(float), y, group)


@pytest.mark.exercise("equalised_odds", weight=3, hint=1)
def test_equal_scores_stay_together(submission, rng):
    """Rows with equal scores are on the same side of every threshold."""
    for levels in (2, 4, 9):
        assert is_best(submission, *scored(rng, [60, 50], levels))
    assert is_best(submission, *scored(rng, [60, 50, 40], 12))
    score, y, group = scored(rng, [60, 50])
    assert is_best(submission, np.where(group == 1, 3.0, score), y, group)


@pytest.mark.exercise("equalised_odds", weight=2, hint=2)
def test_perfect_and_useless_groups(submission, rng):
    """A group that is sorted perfectly follows the others; with a useless or reversed one all end on the diagonal."""
    score, y, group = scored(rng, [50, 60])
    assert is_best(submission, np.where(group == 0, 5.0 * y, score), y, group)
    assert is_best(submission, 1.0 * y, y, group)
    assert is_best(submission, np.where(group == 0, -score - 9.0 * y, score), y, group)
    assert is_best(submission, -1.0 * y, y, group)
    tiny = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0, 1, 0, 1]), np.array([5, 5, 3, 3])
    assert is_best(submission, *tiny)


@pytest.mark.exercise("equalised_odds")
def test_scores_of_every_kind(submission, rng):
    """Scores and labels of every kind and scale, groups with any numbers, one to twenty of them."""
    contract = Contract(
        "equalised_odds",
        score=floats(90, scales=(1e-300, 1e300)),
        y=integers(90, high=1),
        group=integers(90, high=1),
    )
    for case in contract.cases(rng):
        _, y, group = case.exact
        score = np.asarray(case.args[0])
        rules = submission.equalised_odds(*case)
        found = judged(rules, score, y, group)
        assert close(found is not None, True) and close(all(type(key) is int for key in rules), True)
        assert close(found[0], np.broadcast_to(found[0][0], found[0].shape), atol=1e-9)
        assert close(found[1], least_errors(score, y, group), atol=2e-7)
    near = np.float32(0.3) + np.arange(-3, 4).repeat(12).astype(np.float32) * np.float32(2**-25)
    y, group = rng.permutation(np.arange(84) % 2), np.arange(84) % 3 // 2
    assert is_best(submission, near, y, group)
    score, y, group = scored(rng, [15] * 20, quality=(1.5, 1.2, 1.4, 1.0))
    assert is_best(submission, score, y, group)
    assert is_best(submission, score, y, np.array([-7, 2**40, 0])[group % 3])


@pytest.mark.exercise("equalised_odds")
def test_groups_of_one_class_are_refused(submission, rng):
    """ValueError where a group has no row with y = 1, or none with y = 0."""
    score, group = rng.standard_normal(8), np.array([0, 0, 0, 0, 2, 2, 2, 2])
    for y in ([0, 1, 0, 1, 1, 1, 1, 1], [0, 1, 0, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 1, 0, 1], [0] * 8):
        with raises_student(ValueError):
            submission.equalised_odds(score, np.array(y), group)
    assert is_best(submission, score, np.array([0, 1, 0, 0, 1, 1, 1, 0]), group)


@pytest.mark.exercise("equalised_odds", weight=5, hint=1)
def test_many_scores(submission, rng):
    """A million scores in two groups: sorting and one walk, and the least errors of the two hulls."""
    m = 1_000_000
    group = (rng.random(m) < 0.3).astype(np.int64)
    y = (rng.random(m) < 0.6 - 0.2 * group).astype(np.int64)
    score = rng.standard_normal(m) + y * np.where(group == 1, 0.9, 1.2)
    rules = submission.equalised_odds(score, y, group)
    found = judged(rules, score, y, group)
    assert close(found is not None, True)
    rates, wrong = found
    assert close(rates[1], rates[0], atol=1e-9)
    borders = []
    for g in (0, 1):
        t = y[group == g][np.argsort(-score[group == g])]
        points = np.stack([np.cumsum(1 - t) / np.sum(1 - t), np.cumsum(t) / np.sum(t)], axis=1)
        points = np.concatenate([[[0.0, 0.0]], points])
        corners = points[scipy.spatial.ConvexHull(points).vertices]
        upper = corners[corners[:, 1] >= corners[:, 0]]
        borders.append(upper[np.lexsort((upper[:, 1], upper[:, 0]))])
    # Between the corners of both, the lower one of the borders is straight but for crossings, which are tried, too.
    f = np.unique(np.concatenate([border[:, 0] for border in borders]))
    heights = np.array([np.interp(f, border[:, 0], border[:, 1]) for border in borders])
    over = heights[0] - heights[1]
    k = np.flatnonzero(over[:-1] * over[1:] < 0)
    f = np.concatenate([f, f[k] + (f[k + 1] - f[k]) * over[k] / (over[k] - over[k + 1])])
    t = np.min([np.interp(f, border[:, 0], border[:, 1]) for border in borders], axis=0)
    best = float(np.min(np.sum(1 - y) * f + np.sum(y) * (1 - t)))
    assert close(wrong, best, atol=2e-9 * m)


@pytest.mark.exercise("equalised_odds", forgeable=True)
def test_odds_leave_no_trace(submission, rng):
    """No argument is changed, and every call returns lists of its own."""
    fixed = replace(integers(60, high=1), plain=lambda rng: np.arange(60) // 2 % 2)
    groups = replace(integers(60, high=1), plain=lambda rng: np.arange(60) % 2)
    contract = Contract("equalised_odds", score=doubles(60), y=fixed, group=groups)
    one = [lambda y: 0 * y]
    assert contract.leaves_no_trace(submission, rng, y=one)


# ------------------------------------------------------------------------------------------------- counterfactual


def cheapest(w, b, x, cost, low, high):
    """The least cost by linear programming, over what each column rises and falls; None where nothing reaches 0."""
    found = scipy.optimize.linprog(
        np.concatenate([cost, cost]),
        A_ub=-np.concatenate([w, -w])[None],
        b_ub=[w @ x + b],
        bounds=[*zip(np.zeros(len(x)), high - x), *zip(np.zeros(len(x)), x - low)],
        method="highs",
    )
    return float(found.fun) if found.status == 0 else None


def is_cheapest(got, w, b, x, cost, low, high, parts=("allowed", "cost"), rtol=1e-7):
    """Whether a change is allowed, reaches 0 and costs as little as possible."""
    wanted = cheapest(w, b, x, cost, low, high)
    if wanted is None or got is None:
        return close(got is None, wanted is None)
    if not is_array(got, x.shape, np.float64) or not np.all(np.isfinite(got)):
        return close(got, x)
    if not (np.all(got >= low) and np.all(got <= high)):
        return close("out of bounds", "within the bounds")
    short = max(0.0, -float(w @ got + b))
    reaches = close(short, 0.0, atol=1.1e-9 * (abs(b) + float(np.sum(np.abs(w * got)))))
    if not reaches or "cost" not in parts:
        return reaches
    return close(float(cost @ np.abs(got - x)), wanted, rtol=rtol, atol=1e-9)


def applicant(rng, d, share=0.5, bound=2.0):
    """A linear model, a row on its wrong side, and what is missing: a share of the most that the bounds allow."""
    w, x, cost = rng.standard_normal(d) * 3, rng.standard_normal(d), rng.uniform(0.5, 4, d)
    low, high = x - rng.uniform(0, bound, d), x + rng.uniform(0, bound, d)
    most = np.sum(np.where(w > 0, w * (high - x), w * (low - x)))
    return w, float(-w @ x - share * most), x, cost, low, high


@pytest.mark.exercise("counterfactual", weight=4, core=True, hint=1)
def test_the_cheapest_change(submission, rng):
    """The change costs as little as that of a linear program, with few columns and with many."""
    for d, share in [(2, 0.5), (5, 0.3), (12, 0.6), (12, 0.05), (40, 0.9)]:
        case = applicant(rng, d, share)
        assert is_cheapest(submission.counterfactual(*case), *case)


@pytest.mark.exercise("counterfactual", weight=3, core=True, hint=2)
def test_bounds_are_kept(submission, rng):
    """The result is within its bounds, frozen columns stay, and the model's border is reached."""
    for d in (3, 8, 20):
        w, _, x, cost, low, high = applicant(rng, d, 0.7)
        still = np.arange(d) % 3 == 0
        low, high = np.where(still, x, low), np.where(still, x, high)
        most = np.sum(np.where(w > 0, w * (high - x), w * (low - x)))
        case = (w, float(-w @ x - 0.6 * most), x, cost, low, high)
        got = submission.counterfactual(*case)
        assert is_cheapest(got, *case, parts=("allowed",))
        assert close(np.asarray(got)[still], x[still])


@pytest.mark.exercise("counterfactual", weight=2, core=True, hint=2)
def test_nothing_to_change_and_nothing_possible(submission, rng):
    """On the right side already, x comes back; where no point within the bounds is enough, None does."""
    for share in (-0.5, -1e-3, 1.01, 3.0):
        case = applicant(rng, 6, share)
        got = submission.counterfactual(*case)
        assert close(got, case[2], typed=True) if share < 0 else close(got is None, True)
    x = np.array([1.0, 2.0])
    limits = (np.ones(2), x - 1, x + 1)
    assert close(submission.counterfactual(np.zeros(2), -1.0, x, *limits) is None, True)
    assert close(submission.counterfactual(np.zeros(2), 0.0, x, *limits), x, typed=True)
    assert close(submission.counterfactual(np.array([1.0, 0.0]), -1.0, x, *limits), x, typed=True)


@pytest.mark.exercise("counterfactual", weight=2, hint=2)
def test_exactly_at_the_border(submission, rng):
    """A point that reaches exactly 0 is enough, and then columns end exactly at their bounds."""
    w, x = np.array([2.0, -4.0, 0.5]), np.array([1.0, 1.0, 3.0])
    cost, low, high = np.array([1.0, 1.0, 1.0]), np.array([0.0, -1.0, 3.0]), np.array([2.5, 4.0, 7.0])
    most = 2 * 2.5 - 4 * -1.0 + 0.5 * 7.0
    assert close(submission.counterfactual(w, -most, x, cost, low, high), [2.5, -1.0, 7.0], typed=True)
    assert close(submission.counterfactual(w, -most - 2**-20, x, cost, low, high) is None, True)
    assert close(submission.counterfactual(w, -most + 2**-10, x, cost, low, high), [2.5, -1.0, 7 - 2**-9], rtol=1e-12)


@pytest.mark.exercise("counterfactual", weight=2, hint=1)
def test_columns_without_bounds(submission, rng):
    """Bounds may be infinite, also of columns that the model does not use: then one column is enough."""
    for d in (1, 4, 9):
        w, _, x, cost, *_ = applicant(rng, d, 0.5)
        w[: d // 2] = 0
        b = float(-w @ x - 5)
        case = (w, b, x, cost, np.full(d, -np.inf), np.full(d, np.inf))
        assert is_cheapest(submission.counterfactual(*case), *case)
        half = (w, b, x, cost, np.where(np.arange(d) % 2 == 0, -np.inf, x), np.where(np.arange(d) % 2 == 0, x, np.inf))
        if cheapest(*half) is not None:
            assert is_cheapest(submission.counterfactual(*half), *half)


@pytest.mark.exercise("counterfactual")
def test_changes_of_every_kind(submission, rng):
    """Arrays of every layout, ties of the prices, large and small scales, many columns; float64 comes back."""
    case = applicant(rng, 7, 0.6)
    for change in (stepped, frozen, lambda a: np.flip(np.flip(a).copy())):
        other = [part if isinstance(part, float) else change(part) for part in case]
        assert is_cheapest(submission.counterfactual(*other), *case)
    w, b, x, cost, low, high = case
    same = (w, b, x, np.abs(w), low, high)
    assert is_cheapest(submission.counterfactual(*same), *same)
    plain = cheapest(*case)
    for scale in (2.0**-100, 2.0**100):
        got = np.asarray(submission.counterfactual(scale * w, scale * b, x, scale * cost, low, high))
        assert close(float(cost @ np.abs(got - x)), plain, rtol=1e-7, atol=1e-9)
        got = np.asarray(submission.counterfactual(w, scale * b, scale * x, cost, scale * low, scale * high))
        assert close(float(cost @ np.abs(got / scale - x)), plain, rtol=1e-7, atol=1e-9)
    many = applicant(rng, 3000, 0.4)
    assert is_cheapest(submission.counterfactual(*many), *many)


@pytest.mark.exercise("counterfactual", forgeable=True)
def test_changes_leave_no_trace(submission, rng):
    """No argument is changed, and a new array comes back, also where nothing has to change."""
    contract = Contract(
        "counterfactual",
        w=doubles(6),
        b=one_of(-1.0, 50.0, -100.0),
        x=doubles(6, draw=lambda rng: rng.uniform(-1, 1, 6)),
        cost=doubles(6, draw=lambda rng: rng.uniform(1, 2, 6)),
        low=doubles(6, draw=lambda rng: rng.uniform(-3, -2, 6)),
        high=doubles(6, draw=lambda rng: rng.uniform(2, 3, 6)),
    )
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"b": 50.0}, {"b": -100.0}])


@pytest.mark.exercise("integrated_gradients", hint=2)
def test_full_calls_and_small_numbers(submission, rng):
    """No call is empty where the points fill their calls exactly, and differences of 1e-20 count."""
    for n, steps in [(2, 512), (1, 1024), (1, 2048)]:
        watched = Asked(lambda p: np.ones_like(p))
        x = 1e-20 * rng.standard_normal((n, 3))
        got = submission.integrated_gradients(watched, x, np.full(3, 2e-20), steps)
        assert close(got, x - 2e-20, rtol=1e-11, atol=1e-32)
        sizes = [len(call[0]) for call in watched.calls]
        assert close(min(sizes) >= 1 and max(sizes) <= 1024, True) and close(sum(sizes), n * steps)
