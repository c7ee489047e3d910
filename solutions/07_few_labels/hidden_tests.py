"""Hidden tests of module 07. A docstring is the sentence that a student reads when the test fails.

Rounding, throughout: distances and products here are sums of at most a few hundred terms, so values agree to 1e-9
where nothing cancels. Where rows may be equally near to two centres, any choice is right: such draws are left out, or a
property is tested that holds for every choice.
"""

import itertools

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import scipy.special
import scipy.stats
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from autograder.judging import (
    EPS,
    SEEDS,
    Argument,
    Asked,
    Contract,
    close,
    floats,
    frozen,
    integers,
    is_array,
    numbers,
    on_large,
    one_of,
    random_states_kept,
    stepped,
    student_side,
)

SCALES = (1e99, 1e-97)
SIGNED = (np.int64, np.int32, np.int16, np.int8)


def of_forms(plain, forms, exact=lambda value: value):
    """An argument of these forms only, each tried alone."""
    return Argument(plain, forms, frozenset(forms), exact)


def in_batches(form):
    return lambda rng: [form(rng)[a:b] for a, b in ((0, 7), (7, 7), (7, 8), (8, 20))]


ROWS = numbers(20, 3, scales=SCALES)
BATCHES = Argument(in_batches(ROWS.plain), {name: in_batches(form) for name, form in ROWS.forms.items()}, ROWS.alone)


@student_side
def for_seeds(name, arguments, seeds, world=None, part=None, rest=()):
    """The first row of what is returned, or this part of it, for each seed, NumPy's global generator seeded before."""
    if world is not None:
        np.random.seed(world)
    answers = [getattr(student, name)(*arguments, seed, *rest) for seed in seeds]  # noqa: F821
    return np.array([answer if part is None else answer[part][0] for answer in answers])


@student_side
def streamed(name, count, rows, d, rest):
    """Chunks in one buffer, each of numbers of its own; other numbers on a second pass (over there)."""

    class Chunks:
        passes = 0

        def __iter__(self):
            self.passes += 1
            for i in range(count):
                buffer = np.full((rows, d), float(i % 3) * self.passes)
                buffer[::2] += 10
                yield buffer
                buffer[:] = np.nan

    return getattr(student, name)(Chunks(), *rest)  # noqa: F821


# ----------------------------------------------------------------------------------------------- kmeans_plus_plus

SPREAD = Contract(
    "kmeans_plus_plus", X=numbers(40, 3, scales=SCALES), k=one_of(5, 1, 40), seed=one_of(11, 0, 2**40 + 3)
)


def are_rows(got, X, k, distinct=True):
    """Whether this is a float64 array of k rows of X, each row of X at most once."""
    ok = close(got, np.zeros((k, X.shape[1])), atol=np.inf, typed=True)
    if not ok:
        return ok
    rows, found = {row.tobytes() for row in X + 0.0}, [row.tobytes() for row in got + 0.0]
    return close(sum(row in rows for row in found), k) and close(len(set(found)), k if distinct else len(set(found)))


@pytest.mark.exercise("kmeans_plus_plus", weight=2, core=True, hint=1)
@pytest.mark.parametrize("shape", [(30, 2), (1, 3), (7, 1), (2, 5)])
def test_centres_are_rows(submission, rng, shape):
    """The centres are different rows of X: every centre so far, not only the last, has D = 0 and is not drawn again."""
    X = rng.standard_normal(shape)
    for k in {1, (len(X) + 1) // 2, len(X)}:
        assert are_rows(submission.kmeans_plus_plus(X, k, int(rng.integers(1000))), X, k)


@pytest.mark.exercise("kmeans_plus_plus", weight=4, core=True, hint=2)
def test_centres_are_drawn_by_squared_distances(submission, rng):
    """Each next centre is a row with probability D^2 over the sum of all D^2, D to the nearest centre so far."""
    # Ordered triples of five rows: chi-squared at a level of 1e-8, those that are expected rarely taken together.
    X = rng.permutation([[0.0, 0, 0], [1, 0, 0], [1, 1.5, 1], [4, 0, 1], [3, 3, 0]]) + rng.uniform(-0.1, 0.1, (5, 3))
    count = 3000
    got = submission.run(for_seeds, "kmeans_plus_plus", [X, 3], rng.choice(10**9, count, replace=False).tolist())
    assert is_array(got, (count, 3, 3), np.float64)
    D2 = cdist(X, X, "sqeuclidean")
    which = ((got[:, :, None] - X) ** 2).sum(axis=3).argmin(axis=2)
    seen, expected = [0], [0.0]
    for a, b, c in itertools.permutations(range(5), 3):
        nearest = np.minimum(D2[a], D2[b])
        seen.append(int((which == [a, b, c]).all(axis=1).sum()))
        expected.append(count / 5 * D2[a, b] / D2[a].sum() * nearest[c] / nearest.sum())
    seen, expected = np.array(seen), np.array(expected)
    rare = expected < 10
    seen, expected = (np.append(part[~rare], part[rare].sum()) for part in (seen, expected))
    assert close(int(seen.sum()), count)
    assert close(bool(scipy.stats.chisquare(seen, expected * count / expected.sum()).pvalue > 1e-8), True)


@pytest.mark.exercise("kmeans_plus_plus", weight=2, hint=2)
def test_centres_of_equal_rows(submission, rng):
    """A row that equals a centre is drawn only where every row equals one: then any row is right."""
    different = rng.standard_normal((4, 2))
    X = different[np.concatenate([np.arange(4), rng.integers(0, 4, 20)])]
    for seed in range(10):
        assert are_rows(submission.kmeans_plus_plus(X, 4, seed), X, 4)
        assert are_rows(submission.kmeans_plus_plus(X, 9, seed)[:4], X, 4)
        assert are_rows(submission.kmeans_plus_plus(X, 9, seed), X, 9, distinct=False)
        assert are_rows(submission.kmeans_plus_plus(0 * X, 3, seed), 0 * X, 3, distinct=False)


@pytest.mark.exercise("kmeans_plus_plus", weight=2)
def test_centres_keep_their_digits(submission, rng):
    """Rows near 1e8 that lie 1 apart are told apart: distances come from differences."""
    # |x|^2 is 1e16, whose neighbours in float64 are 2 apart: sums of such squares tell nothing of distances of 1.
    X = 1e8 + np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0, 0.5]])[rng.integers(0, 5, 60)]
    for seed in range(10):
        assert are_rows(submission.kmeans_plus_plus(X, 5, seed), X, 5)


@pytest.mark.exercise("kmeans_plus_plus")
def test_centres_of_every_kind_of_data(submission, rng):
    """Floats and integers of any dtype, size and memory layout are fine, and the centres are float64."""
    for case in SPREAD.cases(rng):
        X, k, _ = case.exact
        assert are_rows(submission.kmeans_plus_plus(*case), X, k, distinct=len(np.unique(X, axis=0)) >= k)
    X = np.concatenate([rng.standard_normal((1990, 2)), 1e4 + rng.standard_normal((10, 2))])
    # From a centre among the first 1,990 rows, these together have a share of 4e-6.
    assert close(bool(np.asarray(submission.kmeans_plus_plus(X, 2, 3)).max() > 5e3), True)
    large = np.array([[2**24 + 1, 0], [2**24 + 3, 5], [2**40 + 1, 1]])
    assert are_rows(submission.kmeans_plus_plus(large, 3, 0), large.astype(float), 3)


@pytest.mark.exercise("kmeans_plus_plus", weight=1)
def test_centres_depend_on_the_seed_alone(submission, rng):
    """The same arguments give the same centres, also in another process; any two seeds, however large, differ."""
    X = rng.standard_normal((300, 2))
    asked = for_seeds, "kmeans_plus_plus", [X, 6], list(SEEDS)
    sets = submission.run(*asked, 1)
    assert close(len({one.tobytes() for one in sets}), len(SEEDS))
    assert close(submission.run(*asked, 2), sets)
    with submission.elsewhere() as other:
        assert close(other.run(*asked), sets)


@pytest.mark.exercise("kmeans_plus_plus", weight=7, hint=1, memory_mb=40)
def test_centres_cost_one_pass_each(submission, rng):
    """A new centre takes one pass over the rows: neither all distances anew nor an array of shape (m, k)."""
    # (m, k) takes 64 MB. With the distances from all earlier centres anew there are 80,000 passes, over ten seconds.
    seed = int(rng.integers(2**31))
    got = submission.run(on_large, "kmeans_plus_plus", seed, [(20_000, 2)], [400, 7])
    assert are_rows(got, np.random.default_rng(seed).standard_normal((20_000, 2)), 400)


@pytest.mark.exercise("kmeans_plus_plus", weight=0.5)
def test_centres_refuse_an_impossible_number(submission, rng):
    """No centre, or more centres than rows, raise ValueError."""
    SPREAD.refuses(submission, rng, ValueError, k=[0, -1, 41, 1000])


@pytest.mark.exercise("kmeans_plus_plus", weight=1, forgeable=True)
def test_centres_leave_no_trace(submission, rng):
    """X is left as it is, the centres are new, and NumPy's global generator is not used."""
    assert random_states_kept(submission, "kmeans_plus_plus", *SPREAD.plain(rng).args, python=False)
    assert SPREAD.leaves_no_trace(submission, rng, then=[{}, {"k": 1}, {"k": 40}], k=[0])


# --------------------------------------------------------------------------------------------------------- kmeans

LLOYD = Contract(
    "kmeans", X=numbers(40, 3, scales=SCALES), start=numbers(4, 3, scales=SCALES), max_steps=one_of(100, 1, 2)
)


def lloyd(X, start, max_steps=100):
    """(centers, labels, history, doubt): as the docstring says, and whether two choices were nearly equal."""
    centers, before, history, doubt = start, None, [], False
    for _ in range(max_steps):
        D2 = cdist(X, centers, "sqeuclidean")
        labels, error = D2.argmin(axis=1), D2.min(axis=1)
        if len(centers) > 1:
            near = np.partition(D2, 1, axis=1)
            doubt |= bool((near[:, 1] - near[:, 0] <= 1e-9 * near[:, 1]).any())
        for j in range(len(centers)):
            if j not in labels:
                several = [i for i in range(len(X)) if np.count_nonzero(labels == labels[i]) > 1]
                several.sort(key=lambda i: error[i])
                doubt |= len(several) > 1 and error[several[-1]] - error[several[-2]] <= 1e-9 * error[several[-1]]
                labels[several[-1]] = j
        centers = np.array([np.mean(X[labels == j], axis=0) for j in range(len(centers))])
        history.append(float(sum(((X[i] - centers[labels[i]]) ** 2).sum() for i in range(len(X)))))
        if before is not None and (before == labels).all():
            break
        before = labels.copy()
    return centers, labels, history, doubt


def is_lloyd(got, X, start, max_steps=100, shift=0.0):
    """Whether an answer is that of Lloyd's algorithm with its repair, or choices were nearly equal."""
    centers, labels, history, doubt = lloyd(X, start, max_steps)
    if doubt:
        return close(0, 0)
    atol = 1e-10 * float(np.abs(X).max()) + 4 * EPS * shift
    return (
        close(got, (centers, labels, history), atol=np.inf)
        and close(got[1], labels)
        and close(got[0], centers + shift, atol=atol, typed=True)
        and close(got[2], history, rtol=1e-9, atol=len(X) * atol**2, typed=True)
        and close(is_array(got[1]) and got[1].dtype.kind in "iu", True)
    )


@pytest.mark.exercise("kmeans", weight=3, core=True, hint=1)
@pytest.mark.parametrize(("m", "d", "k"), [(30, 2, 3), (60, 5, 8), (12, 1, 2), (9, 2, 1)])
def test_clusters_follow_the_steps(submission, rng, m, d, k):
    """After 1, 2, 3 and all steps, centres, labels and J are those of assigning and averaging in turns."""
    for _ in range(3):
        X = rng.standard_normal((m, d))
        start = X[rng.choice(m, k, replace=False)]
        for steps in (1, 2, 3, 100):
            assert is_lloyd(submission.kmeans(X, start, steps), X, start, steps)


@pytest.mark.exercise("kmeans", weight=4, core=True, hint=2)
@pytest.mark.parametrize(("m", "k", "far"), [(20, 3, 1), (20, 6, 4), (7, 7, 6), (40, 12, 11), (5, 4, 2)])
def test_clusters_are_never_lost(submission, rng, m, k, far):
    """Each empty cluster, the lowest number first, takes the row that is farthest from its own centre."""
    for _ in range(3):
        X = rng.standard_normal((m, 2))
        start = rng.permutation(np.concatenate([X[: k - far], 100 + rng.standard_normal((far, 2))]))
        assert is_lloyd(submission.kmeans(X, start, 1), X, start, 1)
        assert is_sound(submission.kmeans(X, start, 40), X, k)
    # Rows 0 and 1 are far from their centre. When row 1 has gone to cluster 2, row 0 is alone and must stay.
    X = np.array([[10.0], [15.0], [0.0], [0.25], [0.75]]) + rng.uniform(0, 0.1, (5, 1))
    start = np.array([[12.0], [0.25], [1000.0], [2000.0]])
    assert is_lloyd(submission.kmeans(X, start, 1), X, start, 1)


def is_sound(got, X, k):
    """What holds whatever is chosen among equals: no empty cluster, centres are means, J is theirs and never rises."""
    ok = close(got, (np.zeros((k, X.shape[1])), np.zeros(len(X)), [0.0] * len(got[2])), atol=np.inf)
    if not ok or np.asarray(got[1]).dtype.kind not in "iu":
        return ok and close(False, True)
    centers, labels, history = np.asarray(got[0]), np.asarray(got[1]), np.asarray(got[2])
    size = float(np.abs(X).max()) + 1
    return (
        close(np.unique(labels), np.arange(k))
        and close(centers, np.array([X[labels == j].mean(axis=0) for j in range(k)]), atol=1e-9 * size)
        and close(history[-1], float(((X - centers[labels]) ** 2).sum()), rtol=1e-9, atol=1e-12 * size**2)
        and close(bool((np.diff(history) <= 1e-9 * history[0] + 1e-12).all()), True)
    )


@pytest.mark.exercise("kmeans", weight=2, hint=2)
def test_clusters_of_equal_rows(submission, rng):
    """With equal rows and equal centres, too, no cluster is empty, centres are means, and J never rises."""
    for m, k, values in [(8, 5, 2), (6, 6, 1), (30, 4, 3), (50, 7, 4), (1, 1, 1)]:
        X = rng.integers(0, values, (m, 2)).astype(float)
        for start in (X[:k], np.zeros((k, 2)), rng.standard_normal((k, 2))):
            for steps in (1, 50):
                assert is_sound(submission.kmeans(X, start, steps), X, k)


@pytest.mark.exercise("kmeans", weight=2, hint=3)
def test_clusters_agree_with_sklearn(submission, rng):
    """From the same start, the last J and the centres are those that scikit-learn's KMeans finds."""
    for m in (200, 1500):
        X = rng.standard_normal((m, 2)) + 3 * rng.integers(0, 3, (m, 1))
        start = X[:6]
        peer = KMeans(6, init=start, n_init=1, tol=0, max_iter=300, algorithm="lloyd").fit(X)
        centers, labels, history = submission.kmeans(X, start, 300)
        assert close(history[-1], float(peer.inertia_), rtol=1e-7)
        assert close(centers, peer.cluster_centers_, atol=1e-6)
        assert is_sound((centers, labels, history), X, 6)


@pytest.mark.exercise("kmeans", weight=1, hint=3)
def test_clusters_stop_when_nothing_changes(submission, rng):
    """The last step is the one that changes no label, or step number max_steps; by default there are up to 100."""
    X = rng.standard_normal((60, 2))
    start = X[:4]
    steps = len(lloyd(X, start)[2])
    for most in (steps - 1, steps, steps + 1, None):
        got = submission.kmeans(X, start) if most is None else submission.kmeans(X, start, most)
        assert close(len(got[2]), min(steps, most or 100))
    X = np.array([[0.0], [0.5], [10.0], [10.5], [50.0]]) + rng.uniform(0, 0.1, (5, 1))
    got = submission.kmeans(X, np.array([[0.0], [10.0], [1000.0]]))  # right once cluster 2 has got its row
    assert close(len(got[2]), 2)
    for _ in range(4):  # also where clusters were empty
        X = rng.standard_normal((30, 2))
        start = rng.permutation(np.concatenate([X[:3], 100 + rng.standard_normal((3, 2))]))
        assert is_lloyd(submission.kmeans(X, start), X, start)
    X = np.sqrt(np.arange(1500.0))[:, None]  # the centres move on for more than 100 steps
    longest = lloyd(X, X[:12], 130)[2]
    for most in (None, 130):
        got = submission.kmeans(X, X[:12]) if most is None else submission.kmeans(X, X[:12], most)
        assert close(got[2], longest[: most or 100], rtol=1e-9)


@pytest.mark.exercise("kmeans", weight=2)
def test_clusters_keep_their_digits(submission, rng):
    """Adding 1e8 to all rows and centres changes neither the labels nor J."""
    for _ in range(3):
        X = rng.integers(-40, 41, (50, 2)) / 8 + 0.5**12 * rng.integers(0, 9, (50, 2))  # exact near 1e8
        assert is_lloyd(submission.kmeans(1e8 + X, 1e8 + X[:5]), X, X[:5], shift=1e8)


@pytest.mark.exercise("kmeans")
def test_clusters_of_every_kind_of_data(submission, rng):
    """Floats and integers of any dtype, size and layout are computed with in float64; centres are float64, J floats."""
    for case in LLOYD.cases(rng, plain=3):
        assert is_lloyd(submission.kmeans(*case), *case.exact)
    X = np.array([[2**24 + 1], [2**24 + 4], [2**40 + 1], [2**40 + 8]])
    assert is_lloyd(submission.kmeans(X, X[1:3]), X.astype(float), X[1:3].astype(float))


@pytest.mark.exercise("kmeans", weight=8.5, hint=1, memory_mb=380)
def test_clusters_need_no_array_of_all_differences(submission, rng):
    """With many clusters and columns the (m, k) distances fit into memory; the (m, k, d) differences do not."""
    # X takes 36 MB, so that its temporaries go back to the system at once; (m, k) 17 MB, (m, k, d) 1,075 MB.
    seed, m, k = int(rng.integers(2**31)), 70_000, 30
    got = submission.run(on_large, "kmeans", seed, [(m, 64), (k, 64)], [1])
    rng = np.random.default_rng(seed)
    X, start = rng.standard_normal((m, 64)), rng.standard_normal((k, 64))
    assert is_sound(got, X, k)
    labels = cdist(X, start, "sqeuclidean").argmin(axis=1)
    moved = np.count_nonzero(np.asarray(got[1]) != labels)
    assert close(int(moved), k - len(np.unique(labels)))  # one row for each empty cluster


@pytest.mark.exercise("kmeans", weight=0.5)
def test_clusters_refuse_an_impossible_number(submission, rng):
    """More centres than rows raise ValueError; as many as rows do not."""
    for steps in (100, 2):
        contract = Contract("kmeans", X=numbers(40, 3), start=numbers(4, 3), max_steps=steps)
        contract.refuses(submission, rng, ValueError, start=[lambda start: np.zeros((41, 3))], X=[lambda X: X[:3]])
    X = rng.standard_normal((4, 3))
    assert is_sound(submission.kmeans(X, X + 9), X, 4)


@pytest.mark.exercise("kmeans", weight=1, forgeable=True)
def test_clusters_leave_no_trace(submission, rng):
    """X and the start are left as they are, and what is returned is new."""
    far = np.array([[0.0] * 3, [90.0] * 3, [91.0] * 3, [0.1] * 3])
    then = [{}, {"max_steps": 1}, {"start": far}]
    assert LLOYD.leaves_no_trace(submission, rng, then=then, start=[lambda start: np.zeros((41, 3))])


# ----------------------------------------------------------------------------------------------- responsibilities


def covariances(rng, k, d):
    A = rng.standard_normal((k, d, d))
    return A @ A.transpose(0, 2, 1) / d + 0.5 * np.eye(d)


def fixed(draw):
    """float64 of every layout."""
    of = floats(draw=draw)
    return Argument(of.plain, {name: form for name, form in of.forms.items() if "32" not in name}, frozenset())


E_STEP = Contract(
    "responsibilities",
    X=numbers(30, 3),
    weights=fixed(lambda rng: rng.dirichlet(np.full(4, 3.0))),
    means=fixed(lambda rng: rng.standard_normal((4, 3))),
    covariances=fixed(lambda rng: covariances(rng, 4, 3)),
)


def e_step(X, weights, means, covs):
    """(R, log p) by scipy."""
    logs = [
        np.log(w) + scipy.stats.multivariate_normal(m, S).logpdf(X)
        for w, m, S in zip(weights, means, covs, strict=True)
    ]
    logs = np.stack([np.reshape(row, len(X)) for row in logs], axis=1)
    log_p = scipy.special.logsumexp(logs, axis=1)
    return np.exp(logs - log_p[:, None]), log_p


@pytest.mark.exercise("responsibilities", weight=2, core=True, hint=2)
def test_responsibilities_are_right(submission, rng):
    """R and log p are those of the mixture, also for one Gaussian, one row and one column."""
    for m, d, k in [(30, 3, 4), (1, 2, 3), (5, 1, 2), (4, 3, 1), (1, 1, 1), (1500, 2, 3)]:
        args = [
            rng.standard_normal((m, d)),
            rng.dirichlet(np.ones(k)),
            rng.standard_normal((k, d)),
            covariances(rng, k, d),
        ]
        R, log_p = e_step(*args)
        for scale in (1.0, 2.0**-30, 2.0**40):  # the densities are divided by scale^d
            X, weights, means, covs = args
            got = submission.responsibilities(scale * X, weights, scale * means, scale**2 * covs)
            assert close(got, (R, log_p - d * np.log(scale)), rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("responsibilities", weight=1)
def test_responsibilities_of_every_kind_of_data(submission, rng):
    """X may be of any dtype and layout, and float64 arrays come back."""
    for case in E_STEP.cases(rng):
        assert close(submission.responsibilities(*case), e_step(*case.exact), rtol=1e-9, atol=1e-9, typed=True)


@pytest.mark.exercise("responsibilities", weight=4, core=True, hint=1)
@pytest.mark.parametrize("distance", [30.0, 60.0, 1e3, 1e6, 1e9])
def test_responsibilities_far_from_every_mean(submission, rng, distance):
    """Far from every mean, where all densities are 0 in floating point, R and log p are finite and right."""
    _, weights, means, _ = E_STEP.plain(rng)
    direction = rng.standard_normal((12, 3))
    X = distance * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    narrow = np.array([np.eye(3)] * 4)  # equal ones, so that no single Gaussian takes everything
    for covs in (narrow, covariances(rng, 4, 3)):
        R, log_p = submission.responsibilities(X, weights, means, covs)
        expected = e_step(X, weights, means, covs)
        # Logarithms of size distance^2 are differences of such numbers: R is off by their rounding.
        slack = 100 * EPS * distance**2
        assert close(log_p, expected[1], rtol=1e-9)
        assert close(R, expected[0], atol=1e-9 + slack)
        assert close(R.sum(axis=1), np.ones(12), rtol=1e-12)


@pytest.mark.exercise("responsibilities", weight=3, hint=2)
def test_responsibilities_in_many_columns(submission, rng):
    """With hundreds of columns, or clusters that are far apart, each row still has responsibilities that sum to 1."""
    means = np.stack([np.zeros(700), np.full(700, 0.1), np.full(700, 5.0)])
    X = means[[0, 1, 2, 0, 2]] + rng.standard_normal((5, 700))
    args = X, np.array([0.2, 0.3, 0.5]), means, np.array([np.eye(700)] * 3)
    logs = np.log(args[1]) - cdist(X, means, "sqeuclidean") / 2 - 350 * np.log(2 * np.pi)
    log_p = scipy.special.logsumexp(logs, axis=1)
    assert close(submission.responsibilities(*args), (np.exp(logs - log_p[:, None]), log_p), rtol=1e-9, atol=1e-9)
    apart = np.array([[-1e6], [0.0], [1e6]])
    R, log_p = submission.responsibilities(apart, args[1], apart, np.ones((3, 1, 1)))
    assert close(R, np.eye(3), atol=1e-12) and close(log_p, np.log(args[1]) - 0.5 * np.log(2 * np.pi), rtol=1e-9)


@pytest.mark.exercise("responsibilities", forgeable=True)
def test_responsibilities_leave_no_trace(submission, rng):
    """All arguments are left as they are, and what is returned is new."""
    assert E_STEP.leaves_no_trace(submission, rng)


# ----------------------------------------------------------------------------------------------- gaussian_mixture


def soft(rng, m=40, k=3):
    return rng.dirichlet(np.ones(k), m)


def hard(dtype):
    return lambda rng: np.eye(3, dtype=dtype)[rng.permutation(np.arange(40) % 3)]


R_KINDS = {
    "in Fortran order": lambda rng: np.asfortranarray(soft(rng)),
    "read-only": lambda rng: np.broadcast_to(np.full(3, 1 / 3), (40, 3)) * 1.0,
    "float32": lambda rng: soft(rng).astype(np.float32),
    "backwards": lambda rng: soft(rng)[::-1, ::-1],
} | {np.dtype(dtype).name: hard(dtype) for dtype in (*SIGNED, np.uint8, np.uint64, np.float32)}

MIXTURE = Contract(
    "gaussian_mixture",
    X=numbers(40, 2, scales=SCALES),
    R=of_forms(soft, R_KINDS, lambda R: R.astype(np.float64)),
    steps=one_of(3, 1, 2, 120),
    floor=one_of(1e-6, 0.1234567, 20.0, 1e-12),
)


def em(X, R, steps, floor=1e-6):
    """The steps of EM, each covariance as a sum of products of differences."""
    history = []
    for _ in range(steps):
        n = R.sum(axis=0)
        means = np.einsum("ij,id->jd", R, X) / n[:, None]
        covs = []
        for j in range(R.shape[1]):
            S = np.einsum("i,ia,ib->ab", R[:, j], X - means[j], X - means[j]) / n[j]
            w, V = np.linalg.eigh(S)
            covs.append(V @ np.diag(np.where(w < floor, floor, w)) @ V.T)
        logs = []
        for j, S in enumerate(covs):
            D = X - means[j]
            maha = np.einsum("id,id->i", D, np.linalg.solve(S, D.T).T)
            logs.append(np.log(n[j] / len(X)) - 0.5 * (maha + np.linalg.slogdet(S)[1] + X.shape[1] * np.log(2 * np.pi)))
        log_p = scipy.special.logsumexp(logs, axis=0)
        R = np.exp(np.array(logs) - log_p).T
        history.append(float(log_p.mean()))
    return n / len(X), means, np.array(covs), history


def is_mixture(got, expected, size, rtol=1e-7):
    """Whether the parameters and the log-likelihoods are these, in the types of the docstring."""
    weights, means, covs, history = expected
    return (
        close(got, expected, atol=np.inf, typed=True)
        and close(got[0], weights, rtol=rtol)
        and close(got[1], means, atol=rtol * size)
        and close(got[2], covs, rtol=rtol, atol=rtol * max(float(np.abs(covs).max()), 1e-300))
        and close(got[3], history, rtol=rtol, atol=rtol)
    )


@pytest.mark.exercise("gaussian_mixture", weight=3, core=True, hint=2, depends=("responsibilities",))
@pytest.mark.parametrize(("m", "d", "k"), [(30, 2, 3), (20, 1, 2), (25, 4, 1), (60, 3, 4), (1, 2, 1)])
def test_mixture_follows_the_steps(submission, rng, m, d, k):
    """After 1, 2 and 8 steps, weights, means, covariances and log-likelihoods are those of EM."""
    X, R = rng.standard_normal((m, d)), soft(rng, m, k)
    for steps in (1, 2, 8):
        rtol = 1e-10 if steps == 1 else 1e-7
        assert is_mixture(submission.gaussian_mixture(X, R, steps), em(X, R, steps), 1.0, rtol)


@pytest.mark.exercise("gaussian_mixture", weight=4, core=True, hint=1, depends=("responsibilities",))
@pytest.mark.parametrize("distance", [0.5, 3.0, 100.0, 1e5])
def test_likelihood_never_falls(submission, rng, distance):
    """The mean log-likelihood never falls, for clusters that overlap and for clusters that are far apart."""
    X = rng.standard_normal((60, 2)) + distance * rng.standard_normal((3, 2))[rng.integers(0, 3, 60)]
    for R in (soft(rng, 60), np.eye(3)[rng.permutation(np.arange(60) % 3)]):
        history = np.asarray(submission.gaussian_mixture(X, R, 25)[3])
        assert close(history, np.zeros(25), atol=1e300)
        assert close(bool((np.diff(history) >= -1e-9 * (1 + np.abs(history[1:]))).all()), True)
        assert close(history[-1], em(X, R, 25)[3][-1], rtol=1e-5, atol=1e-5)


@pytest.mark.exercise("gaussian_mixture", weight=3, hint=3, depends=("responsibilities",))
def test_mixture_raises_small_eigenvalues(submission, rng):
    """Eigenvalues below the floor become the floor, others and all eigenvectors stay; the likelihood never falls."""
    X = rng.standard_normal((40, 1)) * [3.0, 1.0, -2.0] + [5.0, 0.0, 1.0]  # on a line
    R = soft(rng)
    R[:, 2] = 0
    R[7] = [0, 0, 1]  # a Gaussian with a single row
    R[:, :2] /= np.maximum(R[:, :2].sum(axis=1, keepdims=True), 1e-300)
    for floor in (0.25, 1e-3, 30.0, 1e-7):
        got = submission.gaussian_mixture(X, R, 12, floor)
        assert is_mixture(submission.gaussian_mixture(X, R, 1, floor), em(X, R, 1, floor), 10.0)
        assert close(bool((np.linalg.eigvalsh(np.asarray(got[2])) >= floor * (1 - 1e-6)).all()), True)
        assert close(bool((np.diff(got[3]) >= -1e-7).all()), True)
    assert close(submission.gaussian_mixture(X, R, 1)[2][2], 1e-6 * np.eye(3), rtol=1e-6, atol=1e-12)


@pytest.mark.exercise("gaussian_mixture", weight=2, hint=2, depends=("responsibilities",))
def test_mixture_keeps_its_digits(submission, rng):
    """Adding 1e6 to all rows adds it to the means, and changes neither covariances nor log-likelihoods."""
    X, R = rng.integers(-40, 41, (50, 2)) / 8, soft(rng, 50)
    weights, means, covs, history = em(X, R, 3)
    got = submission.gaussian_mixture(1e6 + X, R, 3)
    # Means near 1e6 are off by 1e-10 from rounding; E[x x^T] - mu mu^T would be off by 1e-4.
    assert is_mixture(got, (weights, 1e6 + means, covs, history), 1e-2, rtol=1e-7)


@pytest.mark.exercise("gaussian_mixture", depends=("responsibilities",))
def test_mixture_of_every_kind_of_data(submission, rng):
    """Floats and integers of any dtype, size and layout are computed with in float64, and float64 comes back."""
    for case in MIXTURE.cases(rng):
        assert is_mixture(submission.gaussian_mixture(*case), em(*case.exact), float(np.abs(case.exact[0]).max()), 1e-6)
    X, R = rng.standard_normal((1300, 1)), soft(rng, 1300, 2)
    X[1000:] += 9
    assert is_mixture(submission.gaussian_mixture(X, R, 1), em(X, R, 1), 10.0)
    X, R = np.array([[2**24 + 1], [2**24 + 2], [2**24 + 5]]), np.ones((3, 1))
    assert is_mixture(submission.gaussian_mixture(X, R, 1), em(X.astype(float), R, 1), 1.0)


@student_side
def mixture_of_large(seed, m, d, k):
    """One step of EM on normal rows with random responsibilities, drawn over there."""
    rng = np.random.default_rng(seed)
    X, R = rng.standard_normal((m, d)), rng.random((m, k))
    R /= R.sum(axis=1, keepdims=True)
    return student.gaussian_mixture(X, R, 1)  # noqa: F821


@pytest.mark.exercise("gaussian_mixture", weight=7.5, hint=2, memory_mb=190, depends=("responsibilities",))
def test_mixture_treats_one_gaussian_at_a_time(submission, rng):
    """Many Gaussians in many columns need no (m, k, d) array of all differences."""
    # X takes 3 MB, R 6.4 MB, (m, k, d) 307 MB; two BLAS take 33 MB each at their first product, and torch 30 MB.
    seed, m, d, k = int(rng.integers(2**31)), 8000, 48, 100
    weights, means, covs, history = submission.run(mixture_of_large, seed, m, d, k)
    rng = np.random.default_rng(seed)
    X, R = rng.standard_normal((m, d)), rng.random((m, k))
    R /= R.sum(axis=1, keepdims=True)
    n = R.sum(axis=0)
    assert close(means, R.T @ X / n[:, None], atol=1e-9) and close(weights, n / m, rtol=1e-9)
    D = X - R[:, 17] @ X / n[17]
    assert close(covs[17], (D.T * R[:, 17]) @ D / n[17], atol=1e-9)
    assert close(len(history), 1)


@pytest.mark.exercise("gaussian_mixture", weight=0.5, depends=("responsibilities",))
def test_mixture_refuses_a_floor_that_is_not_positive(submission, rng):
    """A floor of 0, below 0 or nan raises ValueError; a tiny one does not."""
    MIXTURE.refuses(submission, rng, ValueError, floor=[0.0, -1e-9, 0, -2.0, float("nan")])
    assert close(len(submission.gaussian_mixture(*MIXTURE.plain(rng, floor=1e-100))), 4)


@pytest.mark.exercise("gaussian_mixture", weight=1, forgeable=True, depends=("responsibilities",))
def test_mixture_leaves_no_trace(submission, rng):
    """X and R are left as they are, and what is returned is new."""
    assert MIXTURE.leaves_no_trace(submission, rng, then=[{}, {"steps": 1}], floor=[0.0])


# ------------------------------------------------------------------------------------------------- randomized_pca

# Eight columns, so that l is 8 and the method exact.
EXACT = Contract(
    "randomized_pca",
    X=numbers(30, 8, scales=SCALES),
    k=one_of(3, 1, 8),
    oversample=one_of(10, 7, 200),
    power=one_of(2, 0, 1),
    seed=one_of(5, 2**33),
)


def pca(X, k):
    """By a full singular value decomposition."""
    return pca_of_centred(X - X.mean(axis=0), k)


def pca_of_centred(Xc, k):
    s, V = np.linalg.svd(Xc, full_matrices=False)[1:]
    V = V[:k]
    return V * np.sign([max(row, key=abs) for row in V])[:, None], s[:k]


def with_spectrum(rng, m, d, s):
    """A matrix (m, d) whose centred form has these singular values, shifted by constants."""
    U = rng.standard_normal((m, len(s)))
    U = np.linalg.qr(U - U.mean(axis=0))[0]
    V = np.linalg.qr(rng.standard_normal((d, len(s))))[0]
    return (U * s) @ V.T + rng.standard_normal(d)


def is_pca(got, X, k, rtol=1e-9):
    components, s = pca(X, k)
    apart = np.abs(np.diff(s)).min(initial=s[0]) / s[0]
    return (
        close(got, (components, s), atol=np.inf, typed=True)
        and close(got[1], s, atol=rtol * s[0])
        and close(got[0], components, atol=max(rtol, 1e3 * EPS) / apart)
    )


@pytest.mark.exercise("randomized_pca", weight=3, core=True, hint=3)
@pytest.mark.parametrize("shape", [(40, 6), (6, 40), (9, 9), (200, 11)])
def test_components_are_those_of_the_centred_rows(submission, rng, shape):
    """Where l reaches min(m, d), components, signs and singular values are those of a full decomposition."""
    X = rng.standard_normal(shape) + 3 * rng.standard_normal(shape[1])
    for k in (1, 2, min(shape) - 1):
        assert is_pca(submission.randomized_pca(X, k), X, k)


@pytest.mark.exercise("randomized_pca", weight=3, core=True, hint=2)
def test_components_where_the_method_converges(submission, rng):
    """With singular values that halve, oversampling and power iterations give the leading ones to nine digits."""
    # The share of direction j that is missed is about (s_{l+1} / s_j)^(2q+1): 2^-50 for p = 10, q = 2.
    X = with_spectrum(rng, 90, 70, 0.5 ** np.arange(40))
    for k, options in [
        (4, {}),
        (4, {"oversample": 18, "power": 1}),
        (5, {"oversample": 1, "power": 14}),
        (1, {"seed": 9}),
    ]:
        assert is_pca(submission.randomized_pca(X, k, **options), X, k)
    X = with_spectrum(rng, 60, 50, 0.97 ** np.arange(45))  # needs more than 100 iterations
    assert is_pca(submission.randomized_pca(X, 3, 0, 500), X, 3, rtol=1e-8)
    X = with_spectrum(rng, 190, 180, np.linspace(2, 1, 170))  # flat: right only where l is 180
    assert is_pca(submission.randomized_pca(X, 5, 175, 0), X, 5, rtol=1e-8)
    assert is_pca(submission.randomized_pca(X, 150, 30, 0), X, 150, rtol=1e-8)


@pytest.mark.exercise("randomized_pca", weight=2)
@pytest.mark.parametrize("power", [0, 1, 3])
def test_components_miss_no_more_than_the_bound(submission, rng, power):
    """With slowly falling singular values, what the components miss keeps to the bound of Halko et al."""
    # Corollary 10.9 and Theorems 9.2 and 9.3: it fails with a probability below 3 p^-p = 3e-10.
    k, p, s = 6, 10, 1 / np.sqrt(np.arange(1, 81))
    X = with_spectrum(rng, 120, 100, s)
    centred, sigma = X - X.mean(axis=0), s ** (2 * power + 1)
    first = 1 + 6 * np.sqrt((k + p) * p * np.log(p))
    bound = (first * sigma[k] + 3 * np.sqrt(k + p) * np.linalg.norm(sigma[k:])) ** (1 / (2 * power + 1))
    for seed in range(4):
        V, found = submission.randomized_pca(X, k, p, power, seed)
        assert close(V @ V.T, np.eye(k), atol=1e-9)
        assert close(bool(np.linalg.norm(centred - centred @ V.T @ V, 2) <= s[k] + bound), True)
        assert close(bool((np.asarray(found) <= s[:k] * (1 + 1e-9)).all()), True)  # Q takes nothing more than there is


@pytest.mark.exercise("randomized_pca", weight=1)
@pytest.mark.parametrize("power", [0, 1])
def test_components_after_few_iterations(submission, rng, power):
    """Without oversampling, and with no or one power iteration, results are as inexact as the method makes them."""
    # Singular values 1 and r, l = 1: with normal g, h it finds s^2 = (g^2 + r^(4q+4) h^2) / (g^2 + r^(4q+2) h^2), and
    # the median of it is at g^2 = h^2. 1,500 seeds, a binomial range at a level of 1e-9.
    r, count = 0.7, 1500
    X = with_spectrum(rng, 9, 2, np.array([1.0, r]))
    middle = np.sqrt((1 + r ** (4 * power + 4)) / (1 + r ** (4 * power + 2)))
    seeds = rng.choice(10**9, count, replace=False).tolist()
    found = submission.run(for_seeds, "randomized_pca", [X, 1, 0, power], seeds, None, 1)
    low, high = scipy.stats.binom.ppf([5e-10, 1 - 5e-10], count, 0.5)
    assert close(bool(low <= np.sum(np.asarray(found) < middle) <= high), True)


@pytest.mark.exercise("randomized_pca", weight=3, hint=2)
def test_components_keep_small_singular_values(submission, rng):
    """Singular values that fall to a millionth of the first are found: a basis is taken after every product."""
    s = 10.0 ** -np.arange(7)
    for shape in [(60, 40), (40, 60)]:
        X = with_spectrum(rng, *shape, s)
        got = submission.randomized_pca(X - X.mean(axis=0), 7, 0, 4)
        assert close(got[1], s, atol=3e-12, typed=True)
        assert close(got[0] @ got[0].T, np.eye(7), atol=1e-9)


@pytest.mark.exercise("randomized_pca", weight=1)
def test_components_of_little(submission, rng):
    """Rows on a plane have singular values 0 beyond it, one row has only 0, and components stay orthonormal."""
    flat = rng.standard_normal((20, 2)) @ rng.standard_normal((2, 9)) + 1
    for X, k, rank in [
        (flat, 5, 2),
        (rng.standard_normal((1, 4)), 1, 0),
        (rng.standard_normal((5, 1)), 1, 1),
        (flat[:3], 3, 2),
    ]:
        V, s = submission.randomized_pca(X, k)
        assert close(V @ V.T, np.eye(k), atol=1e-9) and close(s[rank:], np.zeros(k - rank), atol=1e-9)
        assert close(s[:rank], pca(X, k)[1][:rank], rtol=1e-9)


@pytest.mark.exercise("randomized_pca")
def test_components_of_every_kind_of_data(submission, rng):
    """Floats and integers of any dtype, size and layout, and sparse rows, give the same, in float64."""
    for case in EXACT.cases(rng):
        X, k, *_ = case.exact
        assert is_pca(submission.randomized_pca(*case), X, k, rtol=1e-8)
    X = np.where(rng.random((40, 11)) < 0.3, rng.standard_normal((40, 11)), 0)
    X[3], X[:, 5] = 0, 0
    assert is_pca(submission.randomized_pca(scipy.sparse.csr_array(X), 4), X, 4)
    X = rng.standard_normal((1400, 3)) * np.where(np.arange(1400) < 1000, 1, 5)[:, None]
    assert is_pca(submission.randomized_pca(X, 2), X, 2)
    X = (rng.standard_normal((40, 5)) + 1e4).astype(np.float32)
    assert is_pca(submission.randomized_pca(X, 3), X.astype(float), 3, rtol=1e-8)
    X = np.array([[2**24 + 1, 0], [2**24 + 3, 5], [2**24, 1], [2**24 + 2, 2]])
    assert is_pca(submission.randomized_pca(X, 2), X.astype(float), 2, rtol=1e-7)


@pytest.mark.exercise("randomized_pca", weight=0.5)
def test_components_depend_on_the_seed_alone(submission, rng):
    """The same arguments give the same result, also in another process; any two seeds, however large, differ."""
    X = rng.standard_normal((30, 20))
    asked = for_seeds, "randomized_pca", [X, 1, 0, 0], list(SEEDS)
    found = submission.run(*asked, 1, 0)
    assert close(bool((cdist(found, found) + np.eye(len(SEEDS)) > 1e-6).all()), True)
    assert close(submission.run(*asked, 2, 0), found, atol=1e-12)
    with submission.elsewhere() as other:
        assert close(other.run(*asked, None, 0), found, atol=1e-9)


@student_side
def of_large_rows(A, B, k):
    """The components of the rows of A B, a product that is made over there."""
    return student.randomized_pca(A @ B, k, 4, 1)  # noqa: F821


@pytest.mark.exercise("randomized_pca", weight=4, hint=1, memory_mb=220)
def test_components_need_no_second_array(submission, rng):
    """A large dense X is neither copied nor centred, and no (d, d) or (m, m) array is made."""
    # X takes 128 MB, and so does each of its copy, X^T X and X X^T. Two BLAS take 33 MB each at their first product.
    A, B = rng.standard_normal((4000, 3)) + 1, rng.standard_normal((3, 4000))
    V, s = submission.run(of_large_rows, A, B, 2)
    left, (Q, right) = np.linalg.qr(A - A.mean(axis=0))[1], np.linalg.qr(B.T)
    components, expected = pca_of_centred(left @ right.T, 2)
    components = components @ Q.T
    assert close(s, expected, rtol=1e-9) and close(np.abs(V), np.abs(components), atol=1e-7)


@student_side
def of_sparse_rows(m, d, rows, columns, values, k):
    """A sparse matrix that is made over there."""
    import scipy.sparse

    X = scipy.sparse.csr_array((values, (rows, columns)), shape=(m, d))
    return student.randomized_pca(X, k)  # noqa: F821


@pytest.mark.exercise("randomized_pca", weight=5, hint=1, memory_mb=120)
def test_components_of_sparse_rows(submission, rng):
    """A sparse X with thousands of columns is never made dense, and its mean is subtracted all the same."""
    m = d = 20_000  # dense, it would take 3.2 GB; the products take 2.4 MB each
    used = np.sort(rng.choice(d, 30, replace=False))
    small = np.where(rng.random((m, 30)) < 0.05, rng.standard_normal((m, 30)) + 2, 0) * 0.5 ** np.arange(30)
    rows, columns = small.nonzero()
    V, s = submission.run(of_sparse_rows, m, d, rows, used[columns], small[rows, columns], 4)
    components, expected = pca(small, 4)
    assert close(s, expected, rtol=1e-7)
    assert is_array(V, (4, d)) and close(np.abs(V[:, used]), np.abs(components), atol=1e-5)


@pytest.mark.exercise("randomized_pca", weight=0.5)
def test_components_refuse_an_impossible_number(submission, rng):
    """No component, or more than min(m, d), raises ValueError."""
    for options in [{}, {"oversample": 0, "power": 0, "seed": 0}]:
        contract = Contract("randomized_pca", **(EXACT.arguments | options))
        contract.refuses(submission, rng, ValueError, k=[0, -1, 9, 31], X=[lambda X: X[:2], lambda X: X[:, :2]])


@pytest.mark.exercise("randomized_pca", weight=1, forgeable=True)
def test_components_leave_no_trace(submission, rng):
    """X is left as it is, what is returned is new, and NumPy's global generator is not used."""
    assert random_states_kept(submission, "randomized_pca", *EXACT.plain(rng).args, python=False)
    assert EXACT.leaves_no_trace(submission, rng, then=[{}, {"power": 0}, {"k": 8}], k=[0])


# ---------------------------------------------------------------------------------------------- label_propagation


def edges(rng, n=25, dtype=np.float64):
    """A symmetric sparse matrix: weights, some on the diagonal, and rows without any."""
    W = np.where(rng.random((n, n)) < 0.12, rng.integers(1, 5, (n, n)), 0).astype(dtype)
    W = np.maximum(W, W.T)
    W[[4, 9]] = 0
    W[:, [4, 9]] = 0
    if dtype == np.float64:
        W = W * 0.7
    return scipy.sparse.csr_array(W)


def disordered(rng):
    W = edges(rng)
    for start, stop in itertools.pairwise(W.indptr):
        order = rng.permutation(np.arange(start, stop))
        W.indices[start:stop], W.data[start:stop] = W.indices[order], W.data[order]
    W.has_sorted_indices = False
    return W


def with_zeros(rng):
    W = edges(rng)
    i = np.flatnonzero(np.diff(W.indptr))[0]
    first = W.indptr[i]
    j = W.indices[first]
    W[i, j] = W[j, i] = 0
    return W


def some_known(dtype):
    def draw(rng):
        labels = np.full(25, -1, dtype=dtype)
        labels[[0, 4, 6, 7, 20]] = [0, 2, 1, 0, 2]
        return labels

    return draw


PROPAGATE = Contract(
    "label_propagation",
    W=of_forms(
        edges,
        {
            "float32": lambda rng: edges(rng).astype(np.float32),
            "times 1e90": lambda rng: 1e90 * edges(rng),
            "times 1e-90": lambda rng: 1e-90 * edges(rng),
            "columns out of order": disordered,
            "stored zeros": with_zeros,
        }
        | {np.dtype(dtype).name: (lambda rng, dtype=dtype: edges(rng, dtype=dtype)) for dtype in (*SIGNED, np.uint8)},
        lambda W: W.toarray().astype(np.float64),
    ),
    labels=of_forms(
        some_known(np.int64),
        {np.dtype(dtype).name: some_known(dtype) for dtype in SIGNED}
        | {
            "backwards": lambda rng: np.flip(np.flip(some_known(np.int64)(rng)).copy()),
            "read-only": lambda rng: np.frombuffer(some_known(np.int64)(rng).tobytes(), np.int64),
        },
    ),
    max_steps=one_of(9, 0, 1, 2, 150),
    tol=one_of(0.0, 0.2, 0.03),
)


def propagated(W, labels, max_steps=1000, tol=1e-6):
    """F by products with a dense matrix of transition probabilities, from F before the step."""
    total, known = W.sum(axis=1, keepdims=True), labels >= 0
    P = W / np.where(total > 0, total, 1)
    P[known] = np.eye(len(W))[known]
    F = np.eye(labels.max() + 1)[labels] * known[:, None]
    for _ in range(max_steps):
        before, F = F, P @ F
        if np.abs(F - before).max() <= tol:
            break
    return F


def is_propagated(got, F):
    """Whether F is this, and the predictions are its largest entries."""
    ok = close(got, (np.zeros(len(F)), F), atol=np.inf) and close(got[1], F, atol=1e-10, typed=True)
    if not ok or not (is_array(got[0]) and got[0].dtype.kind in "iu"):
        return ok and close(False, True)
    return close(got[0], np.where(got[1].max(axis=1) > 0, got[1].argmax(axis=1), -1))


@pytest.mark.exercise("label_propagation", weight=3, core=True, hint=2)
def test_labels_spread_step_by_step(submission, rng):
    """After 0, 1, 2, 3 and 30 steps each unlabelled row of F is the weighted mean of its neighbours' rows."""
    for _ in range(3):
        W, labels = edges(rng), rng.permutation(some_known(np.int64)(rng))
        for steps in (0, 1, 2, 3, 30):
            F = propagated(W.toarray(), labels, steps, 0.0)
            assert is_propagated(submission.label_propagation(W, labels, steps, 0.0), F)
        order = np.roll(np.arange(25), 7)  # another graph with as many edges
        F = propagated(W.toarray()[order][:, order], labels, 3, 0.0)
        assert is_propagated(submission.label_propagation(W[order][:, order], labels, 3, 0.0), F)


@pytest.mark.exercise("label_propagation", weight=3, core=True, hint=1)
def test_labels_arrive_at_the_harmonic_answer(submission, rng):
    """At the end F solves the equations: each unlabelled row is its neighbours' mean; unreached nodes stay at 0."""
    n = 60
    A = np.triu(rng.random((n, n)) < 0.08, 1) * rng.uniform(0.5, 2, (n, n))
    A[:, 50:] = 0  # the last ten are joined among themselves only
    A[50:, 50:] = np.triu(np.ones((10, 10)), 1)
    A[np.arange(49), np.arange(1, 50)] = 1
    W = A + A.T
    labels = np.full(n, -1)
    labels[[3, 17, 30, 44]] = [0, 1, 2, 1]
    free = np.flatnonzero(labels < 0)
    free = free[free < 50]
    L = np.diag(W.sum(axis=1)) - W
    F = np.zeros((n, 3))
    F[labels >= 0, labels[labels >= 0]] = 1
    F[free] = np.linalg.solve(L[np.ix_(free, free)], W[np.ix_(free, np.flatnonzero(labels >= 0))] @ F[labels >= 0])
    predicted, got = submission.label_propagation(scipy.sparse.csr_array(W), labels, 20_000, 1e-13)
    assert close(got, F, atol=1e-8, typed=True)
    assert close(predicted[50:], np.full(10, -1)) and close(predicted[:50], F[:50].argmax(axis=1))


@pytest.mark.exercise("label_propagation", weight=2, hint=3)
def test_labels_stop_spreading_when_little_changes(submission, rng):
    """The last step is the first whose changes are all at most tol; by default tol is 1e-6 and steps are 1,000."""
    W, labels = edges(rng), some_known(np.int64)(rng)
    dense = W.toarray()
    steps = [propagated(dense, labels, t, 0.0) for t in range(40)]
    changes = [np.inf] + [float(np.abs(after - before).max()) for before, after in itertools.pairwise(steps)]
    for change in (changes[1], changes[3], changes[8]):
        for tol in (change * (1 + 1e-9), change * (1 - 1e-6)):  # a change of tol is enough, and a little more is not
            last = next(t for t in range(40) if changes[t] <= tol)
            assert is_propagated(submission.label_propagation(W, labels, 39, tol), steps[last])
    assert is_propagated(submission.label_propagation(W, labels), propagated(dense, labels))
    path, ends = np.eye(4, k=1) + np.eye(4, k=-1), np.array([0, -1, -1, 1])
    got = submission.label_propagation(scipy.sparse.csr_array(path), ends, 9, 0.25)  # changes of 1/2, 1/4, 1/8, exactly
    assert is_propagated(got, propagated(path, ends, 2, 0.0))
    path = scipy.sparse.csr_array(np.eye(300, k=1) + np.eye(300, k=-1))
    ends = np.full(300, -1)
    ends[[0, -1]] = 0, 1
    F = propagated(path.toarray(), ends, 1000, 1e-6)  # not done after 1,000 steps
    assert is_propagated(submission.label_propagation(path, ends), F)
    path = scipy.sparse.csr_array(np.eye(45, k=1) + np.eye(45, k=-1))
    ends = np.where(np.arange(45) == 0, 0, -1)  # what arrives at the other end is tiny, and not 0
    predicted, F = submission.label_propagation(path, ends, 45, 0.0)
    assert close((predicted, F), (np.zeros(45), propagated(path.toarray(), ends, 45, 0.0)), rtol=1e-9)


@pytest.mark.exercise("label_propagation", weight=1, hint=3)
def test_labels_of_ties_and_classes(submission):
    """Of equal entries the lowest class is predicted; there are C columns, also for classes that no node has."""
    W = scipy.sparse.csr_array(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]))
    assert is_propagated(
        submission.label_propagation(W, np.array([3, -1, 1])),
        np.eye(4)[[3, 1, 1]] + np.array([[0], [1], [0]]) * [0, -0.5, 0, 0.5],
    )
    assert close(submission.label_propagation(W, np.array([3, -1, 1]))[0], [3, 1, 1])
    alone = scipy.sparse.csr_array(np.zeros((3, 3)))
    assert is_propagated(submission.label_propagation(alone, np.array([-1, 0, -1])), np.array([[0.0], [1.0], [0.0]]))
    for dtype in SIGNED:  # 127 + 1 is too large for int8
        got = submission.label_propagation(alone, np.array([-1, 127, 0], dtype=dtype))
        assert is_propagated(got, np.stack([np.zeros(128), np.eye(128)[127], np.eye(128)[0]]))


@pytest.mark.exercise("label_propagation")
def test_labels_of_every_kind_of_graph(submission, rng):
    """Weights and labels of every dtype, a diagonal, empty rows, stored zeros and any order of columns are fine."""
    for case in PROPAGATE.cases(rng, plain=3):
        assert is_propagated(submission.label_propagation(*case), propagated(*case.exact))


@pytest.mark.exercise("label_propagation", weight=6, hint=2, memory_mb=130)
def test_labels_spread_over_a_large_graph(submission, rng):
    """A hundred thousand nodes with ten neighbours each take sparse products: no (n, n) array, no loop over nodes."""
    n, steps = 100_000, 50
    nodes = np.arange(n)
    offsets = rng.choice(np.arange(1, n // 2), 5, replace=False)
    a = np.concatenate([nodes] * 5)
    b = (a + np.repeat(offsets, n)) % n
    weights = rng.integers(1, 4, 5 * n) / 2
    W = scipy.sparse.csr_array(scipy.sparse.coo_array((weights, (a, b)), shape=(n, n)))
    W = scipy.sparse.csr_array(W + W.T)
    labels = np.where(rng.random(n) < 0.02, nodes * 3 // n, -1)
    known, total = labels >= 0, W.sum(axis=1)
    start = np.zeros((n, 3))
    start[known, labels[known]] = 1
    F = start
    for _ in range(steps):
        F = np.where(known[:, None], start, (W @ F) / total[:, None])
    assert is_propagated(submission.label_propagation(W, labels, steps, 0.0), F)


@pytest.mark.exercise("label_propagation", weight=1, forgeable=True)
def test_labels_leave_no_trace(submission, rng):
    """W and the labels are left as they are, and what is returned is new."""
    other = {"labels": lambda labels: np.roll(labels, 2)}
    then = [{}, other, {"max_steps": 0}]
    assert PROPAGATE.leaves_no_trace(submission, rng, then=then)


# -------------------------------------------------------------------------------------------------- self_training


def by_nearest(X_train, y_train, X_new):
    """Probabilities of three classes from the distances to the nearest row of each."""
    P = np.full((len(X_new), 3), 1e-250)
    for c in np.unique(y_train):
        P[:, c] += 1 / (1e-250 + cdist(X_new, X_train[y_train == c], "sqeuclidean").min(axis=1))
    return P / P.sum(axis=1, keepdims=True)


def partly(dtype):
    return lambda rng: np.where(np.arange(30) % 5 == 0, np.arange(30) % 3, -1).astype(dtype)


TAUGHT = Contract(
    "self_training",
    classify=by_nearest,
    X=numbers(30, 2, whole=(-3, 3), bools=True, scales=SCALES),
    y=of_forms(partly(np.int64), {np.dtype(dtype).name: partly(dtype) for dtype in SIGNED}),
    threshold=one_of(0.8, 0.0, 1.0, 0.97, 0.6123456789),
    max_rounds=one_of(50, 0, 1, 2),
)


def taught(classify, X, y, threshold, max_rounds=50):
    """The labels, by loops over the rows."""
    y = [int(label) for label in y]
    for _ in range(max_rounds):
        known = [i for i in range(len(y)) if y[i] >= 0]
        waiting = [i for i in range(len(y)) if y[i] < 0]
        if not waiting:
            break
        P = classify(X[known], np.array([y[i] for i in known]), X[waiting])
        sure = [(i, p) for i, p in zip(waiting, P, strict=True) if max(p) >= threshold]
        for i, p in sure:
            y[i] = int(np.argmax(p))
        if not sure:
            break
    return np.array(y)


def with_labels(got, expected, asked=None, wanted=None):
    same = close(got, expected, typed=True)
    return same and (asked is None or close(len(asked), len(wanted)))


@pytest.mark.exercise("self_training", weight=3, core=True, hint=2)
def test_training_goes_on_in_rounds(submission, rng):
    """In each round the rows with a label train, all others are asked about, and the sure ones get their class."""
    for threshold, rounds in [(0.8, 50), (0.9, 50), (0.8, 1), (0.8, 2), (0.5, 50), (0.8, 0)]:
        X, y = rng.standard_normal((30, 2)), rng.permutation(partly(np.int64)(rng))
        mine, theirs = Asked(by_nearest), Asked(by_nearest)
        expected = taught(mine, X, y, threshold, rounds)
        got = submission.self_training(theirs, X, y, threshold, rounds)
        assert close(got, expected, typed=True) and close(len(theirs.calls), len(mine.calls))
        for call, wanted in zip(theirs.calls, mine.calls, strict=True):
            assert close(call, wanted, typed=True)


@pytest.mark.exercise("self_training", weight=2, hint=2)
def test_training_asks_for_the_largest_probability(submission, rng):
    """A probability equal to the threshold is enough; of equal ones the lowest class is taken; labels stay for good."""
    X, y = np.arange(6.0)[:, None], np.array([1, -1, -1, 0, -1, -1])
    answers = [
        np.array([[0.75, 0.25], [0.5, 0.5], [0.75 - 2**-50, 0.25], [0.25, 0.75]]),
        np.array([[0.375, 0.625], [0.0, 1.0]]),
        np.array([[0.5, 0.5]]),
    ]
    waiting = iter(answers)
    asked = Asked(lambda *_: next(waiting))
    got = submission.self_training(asked, X, y, 0.75)
    assert close(got, np.array([1, 0, -1, 0, 1, 1]), typed=True) and close(len(asked.calls), 3)
    asked = Asked(lambda X_train, y_train, X_new: np.full((len(X_new), 4), 0.25))
    assert close(submission.self_training(asked, X, y, 0.25), np.array([1, 0, 0, 0, 0, 0]), typed=True)
    assert close(len(asked.calls), 1)
    near = np.array([[0.7 - 1e-9, 0.2], [0.2, 0.7], [0.7, 0.1], [0.0, 0.7 - 1e-9]])  # float32 does not tell them apart
    got = submission.self_training(lambda *_: near, X, y, 0.7, 1)
    assert close(got, np.array([1, -1, 1, 0, 0, -1]), typed=True)


@pytest.mark.exercise("self_training", weight=1)
def test_training_ends(submission, rng):
    """It ends where no row is without a label, without another question, and after 50 rounds by default."""
    asked = Asked(by_nearest)
    full = np.array([2, 0, 1])
    assert close(submission.self_training(asked, np.eye(3), full, 0.5), full, typed=True) and close(len(asked.calls), 0)

    def one_more(X_train, y_train, X_new):
        return np.where(np.arange(len(X_new))[:, None] == 0, [0.0, 1.0], [0.5, 0.5])

    for rounds in (None, 130):
        asked = Asked(one_more)
        y = np.where(np.arange(200) == 0, 1, -1)
        given = (asked, np.arange(200.0)[:, None], y, 0.9)
        got = submission.self_training(*given) if rounds is None else submission.self_training(*given, rounds)
        assert close(got, np.where(np.arange(200) <= (rounds or 50), 1, -1), typed=True)
        assert close(len(asked.calls), rounds or 50)


@pytest.mark.exercise("self_training")
def test_training_of_every_kind_of_data(submission, rng):
    """X of any dtype and layout reaches classify as it is; labels of every kind of integer come back as int64."""
    for case in TAUGHT.cases(rng):
        asked = Asked(by_nearest)
        _, X, y, *rest = case
        expected = taught(by_nearest, X, y, *rest)
        assert close(submission.self_training(asked, X, y, *rest), expected, typed=True)
        assert all(call[0].dtype == call[2].dtype == X.dtype and call[1].dtype == np.int64 for call in asked.calls)
    X, y = np.arange(1500.0)[:, None], np.where(np.arange(1500) == 1499, 1, -1)
    assert close(
        submission.self_training(lambda a, b, c: np.eye(2)[(c[:, 0] > 700).astype(int)], X, y, 0.9)[:1499],
        (X[:1499, 0] > 700).astype(int),
        typed=True,
    )


@student_side
def sure(X_train, y_train, X_new):
    """Sure of class 1 for the first row, of nothing else (over there)."""
    return np.where(np.arange(len(X_new))[:, None] == 0, [0.0, 1.0], [0.5, 0.5])


@pytest.mark.exercise("self_training", weight=1, forgeable=True)
def test_training_leaves_no_trace(submission, rng):
    """X, y and what classify returned are left as they are."""
    contract = Contract("self_training", classify=sure, X=numbers(30, 2), y=partly(np.int64)(rng), threshold=0.9)
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"y": np.arange(30) % 2}, {"threshold": 0.0}])


# ----------------------------------------------------------------------------------------------- minibatch_kmeans


STREAM = Contract("minibatch_kmeans", batches=BATCHES, centers=numbers(4, 3, scales=SCALES), counts=integers(4, high=9))


def running_means(batches, centers, counts=None):
    """(centers, counts, doubt): each row moves its centre towards itself by 1 / count, one row after another."""
    centers, doubt = np.array(centers, dtype=np.float64), False
    counts = [0] * len(centers) if counts is None else [int(n) for n in counts]
    for X in batches:
        if len(X) == 0:
            continue
        D2 = cdist(X, centers, "sqeuclidean")
        if len(centers) > 1:
            near = np.partition(D2, 1, axis=1)
            doubt |= bool((near[:, 1] - near[:, 0] <= 1e-9 * near[:, 1]).any())
        for x, j in zip(X, D2.argmin(axis=1), strict=True):
            counts[j] += 1
            centers[j] += (x - centers[j]) / counts[j]
    return centers, np.array(counts, dtype=np.int64), doubt


def are_means(got, batches, centers, counts=None, shift=0.0):
    expected, total, doubt = running_means(batches, centers, counts)
    if doubt:
        return close(0, 0)
    size = max(float(np.abs(part).max(initial=0)) for part in [centers, *batches])
    atol = 1e-10 * size + 10 * EPS * shift
    return (
        close(got, (expected, total), atol=np.inf, typed=True)
        and close(got[0], expected + shift, atol=atol)
        and close(got[1], total)
    )


@pytest.mark.exercise("minibatch_kmeans", weight=3, core=True, hint=3)
@pytest.mark.parametrize("sizes", [(30,), (5, 7, 1, 12), (1,) * 9, (0, 4, 0), (40, 3, 40)])
def test_batches_move_centres_to_running_means(submission, rng, sizes):
    """Each centre moves towards the mean of its rows by b / counts, in batches of any size, also without a row."""
    for d, k in [(2, 3), (1, 2), (4, 1)]:
        batches = [rng.standard_normal((n, d)) for n in sizes]
        for counts in (None, rng.integers(0, 5, k)):
            start = rng.standard_normal((k, d))
            assert are_means(submission.minibatch_kmeans(batches, start, counts), batches, start, counts)


@pytest.mark.exercise("minibatch_kmeans", weight=2, core=True, hint=1)
def test_batches_go_on_from_centres_and_counts(submission, rng):
    """Centres and counts are the whole state: a stream in two parts gives what the stream in one part gives."""
    batches, start = [rng.standard_normal((8, 2)) + i for i in range(6)], rng.standard_normal((3, 2))
    state = submission.minibatch_kmeans(batches[:2], start)
    state = submission.minibatch_kmeans(batches[2:], *state)
    assert are_means(state, batches, start)
    assert are_means(submission.minibatch_kmeans(iter([]), start, np.array([4, 0, 2])), [], start, [4, 0, 2])
    assert are_means(submission.minibatch_kmeans([], start), [], start)
    many = np.array([2**40, 3, 2**33 + 1])
    assert are_means(submission.minibatch_kmeans(batches[:1], start, many), batches[:1], start, many)


@pytest.mark.exercise("minibatch_kmeans", weight=1, hint=2)
def test_batches_are_assigned_before_centres_move(submission, rng):
    """All rows of a batch are assigned to the centres as they were before the batch."""
    # Once centre 0 has moved to 4, the rows at 6 would be nearer to it than to 10.
    X = np.array([[4.0], [4.0], [6.0], [6.0], [5.5]])
    got = submission.minibatch_kmeans([X], np.array([[0.0], [10.0]]))
    assert close(got, (np.array([[4.0], [17.5 / 3]]), np.array([2, 3])), rtol=1e-12, typed=True)
    lonely = submission.minibatch_kmeans([X], np.array([[0.0], [10.0], [1e3]]), np.array([0, 0, 5]))
    assert close(lonely[0][2], [1e3]) and close(lonely[1], np.array([2, 3, 5]), typed=True)


@pytest.mark.exercise("minibatch_kmeans")
def test_batches_of_every_kind_of_data(submission, rng):
    """Floats and integers of any dtype, size and layout are computed with in float64; counts are int64."""
    for case in STREAM.cases(rng, plain=2):
        batches, centers, counts = case.exact
        exact = [np.asarray(X, np.float64) for X in batches]
        assert are_means(submission.minibatch_kmeans(*case), exact, centers, counts)
    X = rng.integers(-40, 41, (60, 2)) / 8 + 0.5**12 * rng.integers(0, 9, (60, 2))
    assert are_means(submission.minibatch_kmeans([1e8 + X], 1e8 + X[:5]), [X], X[:5], shift=1e8)
    X = rng.standard_normal((1500, 2))
    assert are_means(submission.minibatch_kmeans([X], X[:3]), [X], X[:3])
    X = np.array([[2**24 + 1], [2**24 + 4], [2**40 + 1], [2**40 + 8]])
    assert are_means(submission.minibatch_kmeans([X], X[1:3]), [X.astype(float)], X[1:3].astype(float))


@pytest.mark.exercise("minibatch_kmeans", weight=4, hint=1, memory_mb=90)
def test_batches_are_held_one_at_a_time(submission):
    """A stream that is far larger than the memory it may use goes through once, batch by batch."""
    count, rows, d = 42, 10_000, 50  # 42 batches of 4 MB
    start = np.stack([np.full(d, 0.5), np.full(d, 10.5), np.full(d, 99.0)])
    got = submission.run(streamed, "minibatch_kmeans", count, rows, d, [start])
    half = rows * count // 2
    expected = np.stack([np.full(d, 1.0), np.full(d, 11.0), np.full(d, 99.0)])
    assert close(got, (expected, np.array([half, half, 0])), rtol=1e-9, typed=True)


@pytest.mark.exercise("minibatch_kmeans", weight=1, forgeable=True)
def test_batches_are_left_alone(submission, rng):
    """Batches, centres and counts are left as they are, and what is returned is new."""
    assert STREAM.leaves_no_trace(submission, rng, then=[{}, {"counts": None}, {"batches": []}])


# ---------------------------------------------------------------------------------------------- merge_covariances

STATE = Contract("covariance_state", X=numbers(20, 3, scales=SCALES))


def state_of(X):
    """(n, mean, scatter) as sums over the rows."""
    d = X.shape[1]
    mean = np.array([float(np.sum(X[:, j])) for j in range(d)]) / max(len(X), 1)
    return len(X), mean, sum((np.outer(x - mean, x - mean) for x in X), np.zeros((d, d)))


def is_state(got, expected, size, rtol=1e-9, typed=False):
    """Whether this is the state: n, and arrays that are right to rtol of this size of the rows' spread."""
    n, mean, scatter = expected
    return (
        close(got, expected, atol=np.inf)
        and close(got[0], n)
        and close(got[1], mean, atol=rtol * size, typed=typed)
        and close(got[2], scatter, atol=rtol * max(n, 1) * size**2, typed=typed)
        and close(isinstance(got[0], int | np.integer) or not typed, True)
    )


def random_state(rng, n=7, d=3):
    return state_of(rng.standard_normal((n, d)) + 2 * rng.standard_normal(d))


MERGE = Contract(
    "merge_covariances",
    a=Argument(lambda rng: random_state(rng, 9), {}, frozenset()),
    b=Argument(lambda rng: random_state(rng, 4), {}, frozenset()),
)
PCA_STREAM = Contract("streaming_pca", chunks=BATCHES, k=one_of(2, 1, 3))


@pytest.mark.exercise("merge_covariances", weight=2, core=True, hint=1)
def test_state_of_rows(submission, rng):
    """covariance_state gives the number, the mean and the scatter of the rows, of one row and of none."""
    for shape in [(20, 3), (0, 3), (1, 2), (5, 1), (1300, 2)]:
        X = rng.standard_normal(shape) + 1
        assert is_state(submission.covariance_state(X), state_of(X), 1.0)
    X = rng.integers(-40, 41, (50, 3)) / 8
    n, mean, scatter = state_of(X)
    assert is_state(submission.covariance_state(1e6 + X), (n, 1e6 + mean, scatter), 1.0, rtol=1e-8)


@pytest.mark.exercise("merge_covariances", weight=3, core=True, hint=2)
def test_merged_states_are_the_state_of_all(submission, rng):
    """Merging the states of two parts gives the state of all rows, for parts of any size, also without rows."""
    for sizes in [(6, 9), (1, 1), (1, 40), (0, 5), (5, 0), (0, 1), (1, 0), (0, 0), (200, 3)]:
        for shift in (0.0, 3.0, 1e6):
            parts = [(rng.integers(-40, 41, (n, 3)) / 8 + rng.integers(-3, 4, 3)) for n in sizes]
            a, b = ((n, mean + shift * (n > 0), scatter) for n, mean, scatter in map(state_of, parts))
            n, mean, scatter = state_of(np.concatenate(parts))
            expected = n, mean + shift * (n > 0), scatter
            assert is_state(submission.merge_covariances(a, b), expected, 1.0, rtol=1e-8 if shift > 10 else 1e-9)
    wide = np.arange(1100.0)
    a, b = ((n, n * wide, np.zeros((1100, 1100))) for n in (1, 3))  # one row, and three equal ones
    got = submission.merge_covariances(a, b)
    assert close(got, (4, 2.5 * wide, 3 * np.outer(wide, wide)), rtol=1e-12)
    for scale in SCALES:
        a, b = ((n, scale * mean, scale**2 * S) for n, mean, S in (random_state(rng), random_state(rng)))
        got, plain = (
            submission.merge_covariances(a, b),
            submission.merge_covariances(*[(n, m / scale, S / scale**2) for n, m, S in (a, b)]),
        )
        assert is_state(got, (plain[0], plain[1] * scale, plain[2] * scale**2), 3 * scale)


@pytest.mark.exercise("merge_covariances", weight=3, core=True, hint=3)
def test_streaming_components_are_exact(submission, rng):
    """The components and singular values are those of all rows together, for chunks of every size."""
    for sizes in [(40,), (3, 0, 30, 1), (1,) * 12, (0, 15), (1200, 300)]:
        X = rng.standard_normal((sum(sizes), 5)) @ np.diag([9, 5, 3, 2, 1]) + 20
        assert is_pca(submission.streaming_pca(iter(np.split(X, np.cumsum(sizes)[:-1])), 5), X, 5, rtol=1e-7)
    X = rng.standard_normal((300, 130))
    assert close(submission.streaming_pca([X[:100], X[100:]], 120)[1], pca(X, 120)[1], rtol=1e-7)
    for X in (np.full((6, 3), 0.1), np.array([[1.0, 2.0, 3.0]]), np.outer(np.arange(5.0), [1, 0.1, 0.3])):
        V, s = submission.streaming_pca([X[:2], X[2:]], 3)
        assert close(s, pca(X, 3)[1] if len(X) > 2 else np.zeros(3), atol=1e-6, typed=True)
        assert close(V @ V.T, np.eye(3), atol=1e-9) and close(bool((s >= 0).all()), True)


@pytest.mark.exercise("merge_covariances", weight=1, hint=3)
def test_streaming_values_are_numbers(submission, rng):
    """With fewer rows than columns, each singular value is a number, and none is negative."""
    for _ in range(40):  # rounding makes eigenvalues of -1e-17 in about half of them
        n, d = int(rng.integers(1, 6)), int(rng.integers(6, 12))
        s = submission.streaming_pca([rng.standard_normal((n, d))], d)[1]
        assert close(s, np.abs(s)) and is_array(s, (d,)) and bool(np.isfinite(s).all())


@pytest.mark.exercise("merge_covariances", weight=1)
def test_states_of_every_kind_of_data(submission, rng):
    """Rows and chunks of every dtype, size and layout are computed with in float64, and float64 comes back."""
    for case in STATE.cases(rng):
        X = case.exact[0]
        assert is_state(submission.covariance_state(*case), state_of(X), float(np.abs(X).max()), typed=True)
    X = np.array([[2**24 + 1, 3], [2**24 + 2, 4], [2**40 + 1, 5]])
    assert is_state(submission.covariance_state(X), state_of(X.astype(float)), 2.0**40, rtol=1e-14)
    for case in PCA_STREAM.cases(rng):
        chunks, k = case.exact
        assert is_pca(submission.streaming_pca(*case), np.concatenate(chunks).astype(np.float64), k, rtol=1e-7)
    a, b = MERGE.plain(rng)
    whole = (a[0] + b[0], *submission.merge_covariances(a, b)[1:])
    assert is_state(submission.merge_covariances((0, 0 * a[1], 0 * a[2]), b), b, 3.0, typed=True)
    for form in (stepped, frozen):
        assert is_state(submission.merge_covariances((b[0], *map(form, b[1:])), (a[0], *map(form, a[1:]))), whole, 3.0)


@pytest.mark.exercise("merge_covariances", weight=5.5, hint=2, memory_mb=90)
def test_streaming_components_hold_one_chunk(submission):
    """A stream that is far larger than the memory it may use goes through once, chunk by chunk."""
    count, rows, d = 42, 10_000, 50  # 42 chunks of 4 MB
    V, s = submission.run(streamed, "streaming_pca", count, rows, d, [1])
    n = rows * count  # values 0, 1, 2, and 10 more in every second row: variance 2/3 + 25 along (1, ..., 1)
    assert close(s, [np.sqrt(n * d * (2 / 3 + 25))], rtol=1e-9, typed=True)
    assert close(V, np.full((1, d), 1 / np.sqrt(d)), atol=1e-9, typed=True)


@pytest.mark.exercise("merge_covariances", weight=1, hint=2)
def test_streaming_components_keep_their_digits(submission, rng):
    """Adding 1e6 to all rows changes neither the components nor the singular values."""
    X = rng.integers(-40, 41, (60, 3)) / 8 * [1.0, 2.0, 4.0]
    assert is_pca(submission.streaming_pca([1e6 + X[:20], 1e6 + X[20:]], 3), X, 3, rtol=1e-7)


@pytest.mark.exercise("merge_covariances", weight=1, forgeable=True)
def test_states_leave_no_trace(submission, rng):
    """Rows, states and chunks are left as they are, and what is returned is new."""
    assert STATE.leaves_no_trace(submission, rng, then=[{}, {"X": np.zeros((0, 3))}])
    nothing = (0, np.zeros(3), np.zeros((3, 3)))
    assert MERGE.leaves_no_trace(submission, rng, then=[{}, {"a": nothing}, {"b": nothing}])
    assert PCA_STREAM.leaves_no_trace(submission, rng, then=[{}, {"k": 3}])
