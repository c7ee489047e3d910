"""Hidden tests of module 25. A docstring is the sentence that a student reads when the test fails.

Energies are held to enumeration, gates to Kronecker products, states to the mixer in its own basis, relaxations to
another climb. What is drawn at random is judged by the law of many draws at the level TINY, or by seven standard
deviations.
"""

# Helpers run where `student` is defined, maybe under another Python.
# ruff: noqa: F821, B905

import functools
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from scipy.sparse import csr_matrix

from autograder.judging import (
    SEEDS,
    Argument,
    Asked,
    Contract,
    close,
    constant,
    floats,
    frozen,
    numbers,
    one_of,
    stepped,
    student_side,
)
from lsml_utils import datasets

TINY = 1e-8
EPS = float(np.finfo(np.float64).eps)


def follows(observed, law):
    """Whether counts follow a law, by chi-squared at the level TINY."""
    observed, law = np.asarray(observed, float), np.asarray(law, float)
    expected = observed.sum() * law / law.sum()
    statistic = float(np.sum((observed - expected) ** 2 / expected))
    return close(statistic, 0.0, atol=scipy.stats.chi2.isf(TINY, len(law) - 1))


def doubles(*shape, **settings):
    """What `floats` holds, but float64 only."""
    argument = floats(*shape, **settings)
    return replace(argument, forms={name: form for name, form in argument.forms.items() if "float32" not in name})


def bits(n):
    """(2^n, n): the bits of each number, the lowest first."""
    return (np.arange(2**n)[:, None] >> np.arange(n)) & 1


def couplings(rng, n, share=1.0, scale=1.0, least=0.2):
    """Random couplings above the diagonal, as a csr_matrix."""
    J = np.triu(rng.uniform(least, 1, (n, n)) * rng.choice([-scale, scale], (n, n)) * (rng.random((n, n)) < share), 1)
    return csr_matrix(J)


def energies(h, J, S):
    """E of each row of S."""
    S = np.asarray(S, float)
    return S @ h + np.einsum("zi,zi->z", S, (J @ S.T).T)


def energy_of(h, J, s):
    return float(energies(h, J, np.asarray(s)[None])[0])


def is_state(s, n):
    """Whether it is an int8 array of n spins."""
    return close(s, np.zeros(n, np.int8), atol=1.0, typed=True) and close(bool(np.all(np.abs(s) == 1)), True)


def edges_in(forms):
    """An argument: this array of edges, in every layout."""
    plain = np.array(forms, np.int64).reshape(-1, 2)
    layouts = {
        "in steps": lambda rng: stepped(plain),
        "in Fortran order": lambda rng: np.array(plain, order="F"),
        "read-only": lambda rng: frozen(plain),
    }
    return Argument(lambda rng: plain.copy(), layouts, frozenset())


def random_edges(rng, n, share):
    """Each pair with this probability, ends in random order, edges in random order; at least one."""
    pairs = np.array(list(itertools.combinations(range(n), 2)), np.int64)
    chosen = pairs[rng.random(len(pairs)) < share]
    chosen = chosen if len(chosen) else pairs[:1]
    chosen = rng.permutation(chosen)
    return np.where(rng.random((len(chosen), 1)) < 0.5, chosen, chosen[:, ::-1])


def cuts_of(edges, n):
    """The cut of every number of n bits."""
    b = bits(n)
    return np.sum(b[:, edges[:, 0]] != b[:, edges[:, 1]], axis=1).astype(float)


@student_side
def random_state_moves(name, args):
    """Whether a call uses or changes NumPy's global random state."""
    call, found = getattr(student, name), []
    for seed in (1, 2):
        np.random.seed(seed)
        before = np.random.get_state()
        found.append(np.asarray(call(*args)[0]))
        after = np.random.get_state()
        if before[1].tobytes() != after[1].tobytes() or before[2] != after[2]:
            return "NumPy's global random state is changed"
    return "" if np.array_equal(found[0], found[1]) else "NumPy's global random state is used"


# -------------------------------------------------------------------------------------------------- qubo_to_ising


@pytest.mark.exercise("qubo_to_ising", weight=4, core=True, hint=2)
def test_all_energies_agree(submission, rng):
    """x^T Q x = h @ s + s^T J s + offset for every x, with s = 2x - 1; Q need not be symmetric."""
    for n in (3, 1, 2, 5, 8):
        Q = rng.standard_normal((n, n))
        h, J, offset = submission.qubo_to_ising(Q)
        assert close(h, np.zeros(n), atol=np.inf) and close(J, np.zeros((n, n)), atol=np.inf)
        x = bits(n)
        s = 2 * x - 1
        got = s @ np.asarray(h) + np.einsum("zi,ij,zj->z", s, np.asarray(J), s) + offset
        assert close(got, np.einsum("zi,ij,zj->z", x, Q, x), atol=1e-10)


@pytest.mark.exercise("qubo_to_ising", weight=2, hint=2)
def test_each_pair_counts_once(submission, rng):
    """J is zero on and below the diagonal, and each entry above it is (Q_ij + Q_ji) / 4."""
    Q = rng.standard_normal((6, 6)) * 10 + 3
    _, J, _ = submission.qubo_to_ising(Q)
    assert close(np.tril(J), np.zeros((6, 6)))
    assert close(J, np.triu((Q + Q.T) / 4, 1), atol=1e-12 * np.abs(Q).sum())


@pytest.mark.exercise("qubo_to_ising", weight=3, hint=3)
def test_the_way_back(submission, rng):
    """h @ s + s^T J s + offset = x^T Q x + constant for every s, and Q is zero below the diagonal."""
    for n in (3, 1, 7):
        h, J, offset = rng.standard_normal(n), np.triu(rng.standard_normal((n, n)), 1), float(rng.standard_normal())
        Q, constant_term = submission.ising_to_qubo(h, J, offset)
        x = bits(n)
        got = np.einsum("zi,ij,zj->z", x, np.asarray(Q), x) + constant_term
        assert close(got, energies(h, J, 2 * x - 1) + offset, atol=1e-10)
        assert close(np.tril(Q, -1), np.zeros((n, n)))
    whole = np.triu(rng.integers(-9, 9, (40, 40))).astype(float)
    Q, constant_term = submission.ising_to_qubo(*submission.qubo_to_ising(whole))
    assert close(Q, whole, atol=1e-10) and close(constant_term, 0.0, atol=1e-8)


@pytest.mark.exercise("qubo_to_ising", weight=2)
def test_matrices_of_every_kind(submission, rng):
    """Floats and integers of every kind, small integers that overflow among them; float64 and a float come back."""
    for case in Contract("qubo_to_ising", Q=numbers(5, 5, scales=(1e-30, 1e30))).cases(rng):
        (Q,) = case.exact
        pairs = np.triu(Q + Q.T, 1) / 4
        h = np.diag(Q) / 2 + pairs.sum(axis=0) + pairs.sum(axis=1)
        expected = (h, pairs, float(np.trace(Q) / 2 + pairs.sum()))
        assert close(submission.qubo_to_ising(*case), expected, atol=1e-12 * np.abs(Q).sum(), typed=True)
    nothing = submission.ising_to_qubo(np.zeros(3), np.zeros((3, 3)), 1e-9)
    assert close(nothing, (np.zeros((3, 3)), 1e-9), rtol=1e-12)
    full = np.full((4, 4), 200, np.uint8)
    assert close(submission.qubo_to_ising(full)[1], np.triu(np.full((4, 4), 100.0), 1), rtol=1e-12)
    above = numbers(5, 5, draw=lambda rng: np.triu(rng.standard_normal((5, 5)), 1), scales=(1e-30, 1e30))
    integer_forms = {
        name: (lambda rng, form=form: np.triu(form(rng), 1)) for name, form in above.forms.items() if "int" in name
    }
    above = replace(above, forms=above.forms | integer_forms)
    back = Contract("ising_to_qubo", h=numbers(5, scales=(1e-30, 1e30)), J=above, offset=one_of(0.5, 0.0, -3.0, 1e30))
    for case in back.cases(rng):
        h, J, offset = case.exact
        size = np.abs(h).sum() + np.abs(J).sum() + abs(offset)
        Q = 4 * J + np.diag(2 * h - 2 * J.sum(axis=0) - 2 * J.sum(axis=1))
        expected = Q, float(offset - h.sum() + J.sum())
        assert close(submission.ising_to_qubo(*case), expected, atol=1e-12 * size, typed=True)
    large = rng.standard_normal((1100, 1100))
    h, _, offset = submission.qubo_to_ising(large)
    assert close(h, (large.sum(axis=0) + large.sum(axis=1)) / 4, atol=1e-6)
    assert close(offset, (np.trace(large) + large.sum()) / 4, atol=1e-6)
    J = np.triu(large, 1)
    Q, constant_term = submission.ising_to_qubo(large[0], J, 1.0)
    assert close(np.diag(Q), 2 * (large[0] - J.sum(axis=0) - J.sum(axis=1)), atol=1e-6)
    assert close(constant_term, 1 - large[0].sum() + J.sum(), atol=1e-6)


@pytest.mark.exercise("qubo_to_ising", forgeable=True)
def test_the_forms_leave_no_trace(submission, rng):
    """No argument is changed, and the arrays that come back are new."""
    assert Contract("qubo_to_ising", Q=doubles(4, 4)).leaves_no_trace(submission, rng)
    upper = doubles(4, 4, draw=lambda rng: np.triu(rng.standard_normal((4, 4)), 1))
    assert Contract("ising_to_qubo", h=doubles(4), J=upper, offset=0.5).leaves_no_trace(submission, rng)


# ------------------------------------------------------------------------------------------------- selection_qubo


def selection_energies(r, R, k, penalty):
    """The docstring's sum for every selection."""
    x = bits(len(r))
    pairs = np.einsum("zi,ij,zj->z", x, np.triu(R, 1), x)
    return -x @ r + pairs + penalty * (x.sum(axis=1) - k) ** 2 - penalty * k**2


def symmetric(rng, d):
    R = rng.standard_normal((d, d))
    return R + R.T


@pytest.mark.exercise("selection_qubo", weight=4, core=True, hint=2)
def test_every_selection_has_its_energy(submission, rng):
    """x^T Q x is relevance, redundancy and penalty for every x; x_i^2 = x_i belongs to the diagonal."""
    for d, k in [(1, 1), (5, 2), (5, 0), (6, 6), (8, 3)]:
        r, R, penalty = rng.standard_normal(d), symmetric(rng, d), float(rng.uniform(0.5, 5))
        Q = submission.selection_qubo(r, R, k, penalty)
        assert close(Q, np.zeros((d, d)), atol=np.inf)
        x = bits(d)
        assert close(np.einsum("zi,ij,zj->z", x, np.asarray(Q), x), selection_energies(r, R, k, penalty), atol=1e-9)


@pytest.mark.exercise("selection_qubo", weight=2, hint=2)
def test_large_penalty_chooses_k(submission, rng):
    """With a large penalty the best selection has exactly k columns, for every k."""
    r, R = rng.uniform(0, 1, 7), np.abs(symmetric(rng, 7))
    x = bits(7)
    for k in range(8):
        Q = np.asarray(submission.selection_qubo(r, R, k, 1000.0))
        assert close(int(x[np.argmin(np.einsum("zi,ij,zj->z", x, Q, x))].sum()), k)


@pytest.mark.exercise("selection_qubo", weight=2)
def test_layout_of_the_selection(submission, rng):
    """New, float64, zero below the diagonal; the diagonal of the redundancy is ignored; floats in every layout."""
    contract = Contract(
        "selection_qubo",
        relevance=doubles(6, scales=(1e-20, 1e20)),
        redundancy=doubles(6, 6, draw=lambda rng: symmetric(rng, 6), scales=(1e-20, 1e20)),
        k=one_of(2, 0, 6),
        penalty=one_of(3.0, 0.0, -1.5, 1e20),
    )
    for case in contract.cases(rng):
        r, R, k, penalty = case.exact
        expected = np.triu(R + 2 * penalty, 1) + np.diag(penalty * (1 - 2 * k) - r)
        size = max(np.abs(r).max(), np.abs(R).max(), abs(penalty) * (2 * k + 1))
        assert close(submission.selection_qubo(*case), expected, atol=1e-12 * size, typed=True)
    r, R = 1e-20 * rng.standard_normal(4), 1e-20 * symmetric(rng, 4)
    assert close(submission.selection_qubo(r, R, 2, 0.0), np.triu(R, 1) - np.diag(r), atol=1e-31)
    d = 1100
    r, R = rng.standard_normal(d), symmetric(rng, d)
    Q = submission.selection_qubo(r, R, 1050, 2.0)
    assert close(np.diag(Q), 2.0 * (1 - 2100) - r, rtol=1e-11)
    assert close(np.asarray(Q)[:, -1][:-1], R[:-1, -1] + 4, atol=1e-8)


@pytest.mark.exercise("selection_qubo", forgeable=True)
def test_selection_leaves_no_trace(submission, rng):
    """Nothing that was given is changed, and the matrix is new."""
    contract = Contract(
        "selection_qubo",
        relevance=doubles(5),
        redundancy=doubles(5, 5, draw=lambda rng: symmetric(rng, 5)),
        k=one_of(2),
        penalty=one_of(3.0),
    )
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"penalty": 0.0}, {"k": 0}])


# -------------------------------------------------------------------------------------------- simulated_annealing


def copies(h, J, count):
    """Many copies of a small system that do not touch each other: h and J of all of them."""
    J = J.tocoo()
    n, shift = len(h), np.repeat(np.arange(count) * len(h), J.nnz)
    rows, columns = np.tile(J.row, count) + shift, np.tile(J.col, count) + shift
    return np.tile(h, count), csr_matrix((np.tile(J.data, count), (rows, columns)), shape=(n * count, n * count))


def small_system(rng):
    """Three spins in a triangle, with energies below 4.5 in size; every flip changes the energy by at least 0.1."""
    while True:
        h, J = rng.uniform(-0.6, 0.6, 3), couplings(rng, 3, least=0.5)
        E = energies(h, J, 2 * bits(3) - 1)
        steps = [abs(E[z] - E[z ^ 1 << i]) for z in range(8) for i in range(3)]
        if min(steps) > 0.1:
            return h, J, E


def numbers_of(s, n):
    """The number of each copy's state, from its bits."""
    return ((np.asarray(s).reshape(-1, n) > 0) << np.arange(n)).sum(axis=1)


@pytest.mark.exercise("simulated_annealing", weight=5, core=True, hint=2)
def test_boltzmann_frequencies(submission, rng):
    """At a fixed temperature, states come with probability exp(-E/T) / norm: dE is -2 s_i f_i, with fresh fields."""
    # 1,500 copies of three spins: 1,500 independent draws in one call. The law after 25 sweeps at T = 1.2 was computed
    # for 1,000 such systems and three orders: its distance from Boltzmann's adds at most 2e-4 to the chi-squared; a law
    # at twice the temperature adds at least 160.
    h, J, E = small_system(rng)
    many_h, many_J = copies(h, J, 1500)
    s, _ = submission.simulated_annealing(many_h, many_J, np.full(25, 1.2), int(rng.integers(2**40)))
    assert is_state(s, 4500)
    assert follows(np.bincount(numbers_of(s, 3), minlength=8), np.exp(-E / 1.2))


@pytest.mark.exercise("simulated_annealing", weight=2, core=True, hint=1)
def test_energy_of_the_state(submission, rng):
    """The energy is h @ s + s^T J s of the state that is returned, each coupling once."""
    for n in (1, 2, 9, 60):
        h, J = rng.standard_normal(n), couplings(rng, n, 0.5)
        s, energy = submission.simulated_annealing(h, J, np.array([2.0, 1.0, 0.3]), 5)
        assert is_state(s, n)
        size = np.abs(h).sum() + np.abs(J.data).sum()
        assert close(energy, energy_of(h, J, s), atol=1e-9 * size, typed=True)


@pytest.mark.exercise("simulated_annealing", weight=2, hint=3)
def test_temperature_zero(submission, rng):
    """At temperature 0 only flips that lower the energy are made, until no single flip lowers it."""
    h, J = rng.standard_normal(150), couplings(rng, 150, 0.05)
    s, _ = submission.simulated_annealing(h, J, np.zeros(120), 2)
    assert is_state(s, 150)
    s = s.astype(float)
    assert close(bool(np.all(s * (h + (J + J.T) @ s) <= 1e-9)), True)
    # Every spin in its field alone: one sweep is enough.
    h = rng.choice([-1e-12, 1e-12, 7.0, -7.0], 800)
    s, energy = submission.simulated_annealing(h, csr_matrix((800, 800)), np.zeros(1), 3)
    assert close(s, -np.sign(h)) and close(energy, -np.abs(h).sum(), rtol=1e-9)


@pytest.mark.exercise("simulated_annealing", weight=2, hint=1)
def test_order_of_temperatures(submission, rng):
    """Temperatures are used in the order given, one sweep each, and the last state is returned, not the best one."""
    h, J = copies(np.zeros(2), csr_matrix([[0.0, 1.0], [0.0, 0.0]]), 1500)
    s, _ = submission.simulated_annealing(h, J, np.array([0.0] * 3 + [3.0] * 25), 11)
    equal = int(np.sum(s[::2] == s[1::2]))
    assert follows([equal, 1500 - equal], [np.exp(-1 / 3), np.exp(1 / 3)])
    s, _ = submission.simulated_annealing(h, J, np.array([3.0] * 25 + [0.0]), 11)
    assert close(int(np.sum(s[::2] == s[1::2])), 0)
    # One sweep of lone spins at T: those against their field turn, of the others exp(-2h/T) do.
    s, _ = submission.simulated_annealing(np.ones(4000), csr_matrix((4000, 4000)), np.array([2.0]), 12)
    up = math.exp(-1.0) / 2
    assert follows([np.sum(s == 1), np.sum(s == -1)], [up, 1 - up])


@pytest.mark.exercise("simulated_annealing", weight=2, hint=2)
def test_planted_states_are_found(submission, rng):
    """Slow cooling finds the planted least energy of frustrated loops in at least one of five runs."""
    # For each of these twelve systems at least 59 of 60 runs found it.
    system = datasets.frustrated_loops(30, 0.8, seed=int(rng.integers(12)))
    cooling = np.geomspace(4, 0.15, 500)
    found = [submission.simulated_annealing(system.h, system.J, cooling, seed)[1] for seed in range(5)]
    assert close(min(found), system.energy, atol=1e-6)


@pytest.mark.exercise("simulated_annealing", weight=2)
def test_random_starts(submission, rng):
    """Without a temperature the random state comes back: fair, independent spins, others for other seeds."""
    drawn = []
    none = csr_matrix((3000, 3000))
    for seed in SEEDS[:8]:
        s, energy = submission.simulated_annealing(np.ones(3000), none, np.zeros(0), seed)
        assert is_state(s, 3000) and close(energy, float(np.sum(s.astype(int))), atol=1e-6)
        drawn.append(s)
        assert follows(np.bincount(numbers_of(s, 3), minlength=8), np.ones(8))
    for a, b in itertools.combinations(drawn, 2):
        for shift in range(3):  # 84 tests at the level TINY
            same = int(np.sum(a[shift:] == b[: 3000 - shift]))
            assert follows([same, 3000 - shift - same], [1, 1])


@student_side
def anneal_many(n, offsets, sweeps):
    """Anneal a large system that is made over there: spin i is coupled to i + offset, with signs by a formula."""
    from scipy.sparse import csr_matrix

    rows = np.concatenate([np.arange(n - k) for k in offsets])
    columns = rows + np.concatenate([np.full(n - k, k) for k in offsets])
    values = np.where((rows * 7919 + columns * 104729) % 1009 % 2 == 0, 1.0, -1.0)
    J = csr_matrix((values, (rows, columns)), shape=(n, n))
    return student.simulated_annealing(np.zeros(n), J, np.linspace(3, 0.2, sweeps), 4)


@pytest.mark.exercise("simulated_annealing", weight=6, hint=1)
def test_twenty_thousand_spins(submission, rng):
    """20 sweeps of 20,000 spins with about 60,000 couplings end in time: a flip touches its neighbours alone."""
    n, offsets = 20_000, (1, 137, 401)
    s, energy = submission.run(anneal_many, n, offsets, 20)
    assert is_state(s, n)
    s, total = s.astype(float), 0.0
    for k in offsets:
        rows = np.arange(n - k)
        signs = np.where((rows * 7919 + (rows + k) * 104729) % 1009 % 2 == 0, 1.0, -1.0)
        total += float(np.sum(signs * s[:-k] * s[k:]))
    assert close(energy, total, atol=1e-9 * 60_000)
    # The reference reaches about -1.7 per spin, with a spread of 0.01 over seeds; a random state has 0.
    assert close(total < -1.5 * n, True)


def annealing_contract(rng):
    return Contract(
        "simulated_annealing",
        h=doubles(8, scales=(1e-20, 1e20)),
        J=one_of(couplings(rng, 8), couplings(rng, 8, 0.2, 1e20), csr_matrix((8, 8))),
        temperatures=doubles(5, draw=lambda rng: rng.uniform(0, 2, 5)),
        seed=one_of(4, *SEEDS[:4]),
    )


@pytest.mark.exercise("simulated_annealing")
def test_annealing_of_every_kind(submission, rng):
    """Arrays in every layout, strong and weak fields, no couplings, hundreds of sweeps: a state and its energy."""
    for case in annealing_contract(rng).cases(rng):
        h, J, _, _ = case.args
        s, energy = submission.simulated_annealing(*case)
        size = np.abs(h).sum() + np.abs(J.data).sum()
        assert is_state(s, 8) and close(energy, energy_of(h, J, s), atol=1e-9 * size, typed=True)
    # Cold only at the very end, after 300 warm sweeps.
    temperatures = np.append(np.full(300, 50.0), np.zeros(3))
    s, _ = submission.simulated_annealing(np.ones(1200), csr_matrix((1200, 1200)), temperatures, 1)
    assert close(s, -np.ones(1200))


@pytest.mark.exercise("simulated_annealing")
def test_annealing_depends_on_its_seed_alone(submission, rng):
    """The same seed gives the same state, in another process, too; other seeds give other ones."""
    h, J = rng.standard_normal(40), couplings(rng, 40, 0.2)

    def asked(side, seed):
        return np.asarray(side.simulated_annealing(h, J, np.full(3, 2.0), seed)[0]).tolist()

    found = [asked(submission, seed) for seed in SEEDS]
    assert close([asked(submission, seed) for seed in SEEDS[::-1]], found[::-1])
    with submission.elsewhere() as other:
        assert close([asked(other, seed) for seed in SEEDS[:3]], found[:3])
    assert close(len(set(map(str, found))), len(SEEDS))


@pytest.mark.exercise("simulated_annealing", forgeable=True)
def test_annealing_leaves_no_trace(submission, rng):
    """Nothing that was given is changed, results are new, and NumPy's global random state is left alone."""
    contract = annealing_contract(rng)
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"temperatures": np.zeros(0)}])
    assert close(submission.run(random_state_moves, "simulated_annealing", list(contract.plain(rng).args)), "")


# --------------------------------------------------------------------------------------------- parallel_tempering

LADDER = np.array([0.2, 0.4, 0.7, 1.0])


@functools.lru_cache(maxsize=2)
def tempered(submission, seed):
    """A system of six spins, tempered for 6,000 rounds: what came back, and the laws of the replicas."""
    rng = np.random.default_rng(seed)
    h, J = rng.uniform(-0.4, 0.4, 6), couplings(rng, 6, 1.0, 0.7)
    got = submission.parallel_tempering(h, J, LADDER, 6000, seed)
    E = energies(h, J, 2 * bits(6) - 1)
    laws = [np.exp(-beta * (E - E.min())) for beta in LADDER]
    return got, E, [law / law.sum() for law in laws]


@pytest.mark.exercise("parallel_tempering", weight=5, core=True, hint=3)
def test_means_of_every_replica(submission, rng):
    """Each replica's mean energy is that of the Boltzmann law at its own beta."""
    # Neighbouring rounds are alike: 3,000 rounds count as at least 700 (150 systems), so seven standard deviations are
    # 7 / sqrt(700) of an energy's spread.
    (_, _, _, means), E, laws = tempered(submission, int(rng.integers(2**30)))
    expected = np.array([law @ E for law in laws])
    spread = np.array([math.sqrt(law @ (E - law @ E) ** 2) for law in laws])
    assert close(means, expected, atol=7 / math.sqrt(700) * spread)


@pytest.mark.exercise("parallel_tempering", weight=4, hint=3)
def test_swap_rates_are_as_by_theory(submission, rng):
    """Exchanges are accepted as often as the law of two neighbours says: min(1, exp((b_k - b_l) (E_k - E_l)))."""
    for _ in range(2):
        (_, _, rates, _), E, laws = tempered(submission, int(rng.integers(2**30)))
        gap = E[:, None] - E[None]
        expected = [
            float(laws[k] @ np.minimum(1, np.exp((LADDER[k] - LADDER[k + 1]) * gap)) @ laws[k + 1]) for k in range(3)
        ]
        assert close(rates, np.array(expected), atol=7 * 0.5 / math.sqrt(3000) * 1.3)


@pytest.mark.exercise("parallel_tempering", weight=4, core=True, hint=2)
def test_barriers_are_crossed(submission, rng):
    """Exchanges bring the coldest replica out of its well: it ends near the least energy, and this state is found."""
    # Six blocks of four spins, strong inside, weak between them. The coldest replica's mean is at most 0.2 above the
    # least energy in all of 80 runs; with all spins turned the energy is 0.8 above it, with a block turned 2.4 or more.
    J = np.zeros((24, 24))
    for start in range(0, 24, 4):
        J[start : start + 4, start : start + 4] = -1
    for a in range(24):
        J[min(a, (a + 4) % 24), max(a, (a + 4) % 24)] = -0.15
    sign = rng.choice([-1.0, 1.0], 24)
    J = csr_matrix(np.triu(J, 1) * np.outer(sign, sign))
    h = np.where(np.arange(24) < 4, -0.1, 0.0) * sign
    ground = energy_of(h, J, sign)
    ladder = np.geomspace(0.2, 4, 6)
    runs = [submission.parallel_tempering(h, J, ladder, 800, seed) for seed in range(3)]
    assert close(sorted(run[1] for run in runs)[1], ground, atol=1e-9)
    assert close(sorted(float(run[3][-1]) for run in runs)[1], ground, atol=0.4)


@pytest.mark.exercise("parallel_tempering", weight=2, hint=3)
def test_best_state_is_kept(submission, rng):
    """The state of least energy of all rounds and replicas comes back with its energy."""
    # The ground state has at least 1/256 of the law at each round; three replicas, 4,000 rounds.
    h, J = rng.uniform(-1, 1, 8), couplings(rng, 8)
    s, energy, _, _ = submission.parallel_tempering(h, J, np.array([0.05, 0.1, 0.2]), 4000, 3)
    assert is_state(s, 8)
    assert close(energy, energy_of(h, J, s), atol=1e-9, typed=True)
    assert close(energy, float(energies(h, J, 2 * bits(8) - 1).min()), atol=1e-9)


@pytest.mark.exercise("parallel_tempering", weight=2, hint=2)
def test_pairs_take_turns(submission, rng):
    """Pairs (0, 1), (2, 3) in even rounds and (1, 2), (3, 4) in odd ones; the rate of a pair without attempts is 0."""
    h, J = rng.standard_normal(5), couplings(rng, 5)
    for seed in range(8):
        rate = submission.parallel_tempering(h, J, np.array([0.2, 1.5]), 250, seed)[2][0] * 125
        assert close(rate, float(round(rate)), atol=1e-9)
    for sweeps, expected in [(1, [1, 0, 1, 0]), (2, [1, 1, 1, 1]), (3, [1, 1, 1, 1])]:
        got = submission.parallel_tempering(h, J, np.full(5, 0.7), sweeps, 1)
        assert close(got[2], np.array(expected, float), typed=True)
    attempts = np.array([4, 3, 4])  # in seven rounds
    for seed in range(5):
        rates = submission.parallel_tempering(h, J, np.array([0.2, 2.0, 0.3, 1.5]), 7, seed)[2]
        counts = np.asarray(rates) * attempts
        assert close(counts, np.round(counts), atol=1e-9)


@pytest.mark.exercise("parallel_tempering", weight=2, hint=3)
def test_means_over_the_second_half(submission, rng):
    """The mean is over the rounds t >= sweeps // 2, with the energies after the sweeps."""
    # Lone spins with field 1: up with probability 1/2, then (1 - up) exp(-2 beta), and so on; E per spin is 2 up - 1.
    # 10,000 spins: the mean of up to three rounds has a standard deviation of at most 1 / sqrt(10,000).
    n, beta = 10_000, 0.3
    up = [0.5]
    for _ in range(5):
        up.append((1 - up[-1]) * math.exp(-2 * beta))
    for sweeps in (1, 2, 3, 5):
        _, _, rates, means = submission.parallel_tempering(np.ones(n), csr_matrix((n, n)), np.array([beta]), sweeps, 8)
        expected = np.mean([2 * up[t + 1] - 1 for t in range(sweeps // 2, sweeps)])
        assert close(rates, np.zeros(0), typed=True)
        assert close(np.asarray(means) / n, np.array([expected]), atol=7 / math.sqrt(n))


def tempering_contract(rng):
    return Contract(
        "parallel_tempering",
        h=doubles(6, scales=(1e-20, 1e20)),
        J=one_of(couplings(rng, 6), couplings(rng, 6, 0.3, 1e20), csr_matrix((6, 6))),
        betas=doubles(3, draw=lambda rng: rng.uniform(0.1, 2, 3)),
        sweeps=one_of(4, 1, 2, 300),
        seed=one_of(4, *SEEDS[:4]),
    )


@pytest.mark.exercise("parallel_tempering")
def test_tempering_of_every_kind(submission, rng):
    """Arrays in every layout, strong and weak fields, no couplings, one replica, one round, betas in any order."""
    for case in tempering_contract(rng).cases(rng):
        h, J, *_ = case.args
        s, energy, rates, means = submission.parallel_tempering(*case)
        size = np.abs(h).sum() + np.abs(J.data).sum()
        assert is_state(s, 6) and close(energy, energy_of(h, J, s), atol=1e-9 * size, typed=True)
        assert close(rates, np.full(2, 0.5), atol=0.5, typed=True)
        assert close(means, np.zeros(3), atol=size * (1 + 1e-9), typed=True)
        assert close(bool(np.all(np.asarray(means) >= energy - 1e-9 * size)), True)
    # A strong field, and cold replicas only: every spin ends against its field, and every energy is the least one.
    h = rng.choice([-3.0, 3.0], 1100)
    s, energy, _, means = submission.parallel_tempering(h, csr_matrix((1100, 1100)), np.array([50.0, 9.0]), 4, 2)
    assert close(s, -np.sign(h)) and close(means, np.full(2, -3300.0), rtol=1e-9)
    h = 1e-12 * rng.choice([-1.0, 1.0], 50)
    s, _, _, means = submission.parallel_tempering(h, csr_matrix((50, 50)), np.array([1e14, 3e13]), 4, 2)
    assert close(s, -np.sign(h)) and close(means, np.full(2, -5e-11), rtol=1e-9)


@pytest.mark.exercise("parallel_tempering")
def test_tempering_depends_on_its_seed_alone(submission, rng):
    """The same seed gives the same results, in another process, too; other seeds give other ones."""
    h, J = rng.standard_normal(30), couplings(rng, 30, 0.2)

    def asked(side, seed):
        return np.asarray(side.parallel_tempering(h, J, np.array([0.3, 0.5]), 4, seed)[3]).tolist()

    found = [asked(submission, seed) for seed in SEEDS]
    assert close([asked(submission, seed) for seed in SEEDS[::-1]], found[::-1])
    with submission.elsewhere() as other:
        assert close([asked(other, seed) for seed in SEEDS[:3]], found[:3])
    assert close(len(set(map(str, found))), len(SEEDS))


@pytest.mark.exercise("parallel_tempering", forgeable=True)
def test_tempering_leaves_no_trace(submission, rng):
    """Nothing that was given is changed, results are new, and NumPy's global random state is left alone."""
    contract = tempering_contract(rng)
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"sweeps": 1}])
    assert close(submission.run(random_state_moves, "parallel_tempering", list(contract.plain(rng).args)), "")


# ----------------------------------------------------------------------------------------------------- apply_gate


def complex_normal(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def whole_matrix(gate, qubits, n):
    """The gate on all 2^n amplitudes: Kronecker products with the named qubits as the lowest, then a permutation."""
    rest = [q for q in range(n) if q not in qubits]
    order = [*qubits, *rest]  # bit k of the new number is bit order[k] of the old one
    new = (bits(n)[:, order] << np.arange(n)).sum(axis=1)
    big = np.kron(np.eye(2 ** len(rest)), gate)
    return big[np.ix_(new, new)]


@pytest.mark.exercise("apply_gate", weight=3, core=True, hint=1)
def test_one_qubit_gates(submission, rng):
    """A gate on one qubit equals its Kronecker product with identities, qubit 0 being the lowest bit."""
    for n in (3, 1, 2, 6):
        for q in range(n):
            state, gate = complex_normal(rng, 2**n), complex_normal(rng, 2, 2)
            expected = np.kron(np.kron(np.eye(2 ** (n - 1 - q)), gate), np.eye(2**q)) @ state
            assert close(submission.apply_gate(state, gate, (q,)), expected, atol=1e-12)


@pytest.mark.exercise("apply_gate", weight=4, core=True, hint=2)
def test_two_qubit_gates(submission, rng):
    """A gate on two qubits, in either order and at any distance: qubits[0] is the lower bit of the gate's number."""
    for n in (3, 2, 5):
        for qubits in itertools.permutations(range(n), 2):
            state, gate = complex_normal(rng, 2**n), complex_normal(rng, 4, 4)
            expected = whole_matrix(gate, qubits, n) @ state
            assert close(submission.apply_gate(state, gate, qubits), expected, atol=1e-12)


@pytest.mark.exercise("apply_gate", weight=2)
def test_norm_and_way_back(submission, rng):
    """A unitary gate keeps the norm, and its adjoint undoes it, on twelve qubits."""
    state = complex_normal(rng, 2**12)
    for qubits in [(11,), (0,), (3, 10), (11, 0), (7, 6)]:
        gate = np.linalg.qr(complex_normal(rng, 2 ** len(qubits), 2 ** len(qubits)))[0]
        once = submission.apply_gate(state, gate, qubits)
        assert close(once, np.zeros(2**12, complex), atol=np.inf, typed=True)
        assert close(np.linalg.norm(once), np.linalg.norm(state), rtol=1e-12)
        assert close(submission.apply_gate(once, gate.conj().T, qubits), state, atol=1e-12)


@pytest.mark.exercise("apply_gate", weight=2)
def test_states_and_gates_of_every_kind(submission, rng):
    """complex64 stays complex64; real gates, matrices that are no gates, lists of qubits, arrays in every layout."""
    forms = {"in steps": stepped, "read-only": frozen, "backwards": lambda a: np.flip(np.flip(a).copy())}
    for dtype, eps in ((np.complex128, EPS), (np.complex64, 2.0**-23)):
        for form in (None, *forms):
            for qubits in ((2,), [0], (3, 1), [0, 2]):
                real = rng.standard_normal((2, 2))
                for gate in (complex_normal(rng, 2, 2), real, 1e20 * real, 1e-15 * real):
                    gate = gate if len(qubits) == 1 else np.kron(gate, rng.standard_normal((2, 2)))
                    state = (complex_normal(rng, 16) * 1e-10).astype(dtype)
                    expected = (whole_matrix(gate, qubits, 4) @ state.astype(complex)).astype(dtype)
                    size = np.abs(gate).max() * np.abs(state).max()
                    shown = forms[form] if form else np.array
                    got = submission.apply_gate(shown(state), shown(gate), qubits)
                    assert close(got, expected, atol=16 * eps * size, typed=True)


@student_side
def gate_on_many(n, qubits, gate):
    """A gate on a large state that is made over there: some entries of the result, and the norms."""
    z = np.arange(2**n)
    state = np.empty(2**n, complex)
    state.real = np.cos(z * 0.37)
    state.imag = np.sin(z * 0.011)
    del z
    new = student.apply_gate(state, gate, qubits)
    places = (np.arange(500) * 7919 * 104729) % 2**n
    return new[places], float(np.linalg.norm(new) / np.linalg.norm(state)), new.shape


@pytest.mark.exercise("apply_gate", weight=5, memory_mb=480)
def test_a_gate_on_twenty_two_qubits(submission, rng):
    """Gates on 22 qubits need a few states in memory, and nothing of shape (2^n, 2^n)."""
    # The state takes 67 MB; five more are 335 MB, and making the state here takes one that is gone again.
    n = 22
    for qubits in ((13,), (21, 2)):
        size = 2 ** len(qubits)
        gate = np.linalg.qr(complex_normal(rng, size, size))[0]
        some, ratio, shape = submission.run(gate_on_many, n, qubits, gate)
        assert close(shape, (2**n,)) and close(ratio, 1.0, rtol=1e-9)
        places = (np.arange(500) * 7919 * 104729) % 2**n
        row = sum(((places >> q) & 1) << k for k, q in enumerate(qubits))
        expected = np.zeros(500, complex)
        for c in range(size):
            source = places.copy()
            for k, q in enumerate(qubits):
                source = (source & ~(1 << q)) | (((c >> k) & 1) << q)
            expected += gate[row, c] * (np.cos(source * 0.37) + 1j * np.sin(source * 0.011))
        assert close(some, expected, atol=1e-12)


@pytest.mark.exercise("apply_gate", forgeable=True)
def test_gates_leave_no_trace(submission, rng):
    """State and gate are not changed, and the result is a new array."""

    def complexes(*shape):
        return floats(*shape, draw=lambda rng: complex_normal(rng, *shape))

    for qubits, size in (((1,), 2), ((2, 0), 4)):
        state, gate = complexes(16), complexes(size, size)
        forms = {name: form for name, form in state.forms.items() if "float32" not in name}
        contract = Contract(
            "apply_gate",
            state=replace(state, forms=forms),
            gate=replace(gate, forms={}),
            qubits=constant(qubits),
        )
        assert contract.leaves_no_trace(submission, rng, then=[{}, {"gate": np.eye(size) + 0j}])


# --------------------------------------------------------------------------------------------------------- grover


def device(marked):
    """A flip of these entries' signs that remembers its calls."""
    return Asked(lambda state: np.where(np.isin(np.arange(len(state)), marked), -state, state))


@student_side
def flip_every_third(state):
    turned = np.array(state)
    turned[1::3] *= -1
    return turned


@pytest.mark.exercise("grover", weight=4, core=True, hint=2)
def test_amplitudes_turn(submission, rng):
    """After j iterations the marked amplitudes are sin((2j + 1) theta) / sqrt(M), all others cos(...) / sqrt(N - M)."""
    for n, count, most in [(3, 1, 3), (5, 3, 4), (8, 2, 20), (1, 1, 3), (4, 9, 6)]:
        marked = rng.choice(2**n, count, replace=False)
        theta = math.asin(math.sqrt(count / 2**n))
        for iterations in range(most + 1):
            flip = device(marked)
            expected = np.full(2**n, math.cos((2 * iterations + 1) * theta) / math.sqrt(2**n - count), complex)
            expected[marked] = math.sin((2 * iterations + 1) * theta) / math.sqrt(count)
            got = submission.grover(n, flip, iterations)
            assert close(got, expected, atol=1e-12 * (1 + iterations))


@pytest.mark.exercise("grover", weight=3, core=True, hint=2)
def test_the_device_is_asked_once_an_iteration(submission, rng):
    """flip is called exactly once an iteration, with the current state, complex128."""
    flip = device(rng.choice(64, 3, replace=False))
    got = submission.grover(6, flip, 7)
    assert close(len(flip.calls), 7)
    for number, (state,) in enumerate(flip.calls):
        assert close(state, np.zeros(64, complex), atol=np.inf, typed=True)
        before = (
            np.full(64, 1 / 8 + 0j) if number == 0 else 2 * flip.answers[number - 1].mean() - flip.answers[number - 1]
        )
        assert close(state, before, atol=1e-11)
    assert close(got, 2 * flip.answers[-1].mean() - flip.answers[-1], atol=1e-11)


@pytest.mark.exercise("grover", weight=2, hint=2)
def test_too_many_iterations(submission, rng):
    """The state goes on turning: after hundreds of iterations as by the formula, and never stopped early."""
    marked = rng.choice(2**10, 1)
    theta = math.asin(2.0**-5)
    for iterations in (25, 50, 303):
        flip = device(marked)
        got = submission.grover(10, flip, iterations)
        assert close(len(flip.calls), iterations)
        assert close(got[marked[0]], math.sin((2 * iterations + 1) * theta) + 0j, atol=1e-12 * (1 + iterations))
        assert close(np.linalg.norm(got), 1.0, atol=1e-10)


@pytest.mark.exercise("grover", weight=2)
def test_none_and_all_are_marked(submission, rng):
    """With no iteration or nothing marked the start comes back; with all marked its sign turns each time."""
    for n in (1, 4, 12):
        start = np.full(2**n, 2 ** (-n / 2), complex)
        assert close(submission.grover(n, device([]), 0), start, atol=1e-14, typed=True)
        assert close(submission.grover(n, device([]), 3), start, atol=1e-11, typed=True)
        assert close(submission.grover(n, device(np.arange(2**n)), 3), -start, atol=1e-11, typed=True)
    got = submission.grover(20, flip_every_third, 2)
    theta = math.asin(math.sqrt(349525 / 2**20))
    rest, turned = math.cos(5 * theta) / math.sqrt(2**20 - 349525), math.sin(5 * theta) / math.sqrt(349525)
    assert close(got[:2], np.array([rest, turned], complex), atol=1e-11)


@pytest.mark.exercise("grover", forgeable=True)
def test_grover_leaves_no_trace(submission, rng):
    """What flip returns is not changed, the result is new, and the same call gives the same state again."""
    contract = Contract("grover", n=one_of(4), flip=constant(flip_every_third), iterations=one_of(2))
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"iterations": 0}, {"iterations": 1}])


# ----------------------------------------------------------------------------------------------------------- qaoa


def hadamard(state):
    """The Hadamard transform of a state: the basis in which the mixer is diagonal."""
    n = len(state).bit_length() - 1
    for q in range(n):
        parts = state.reshape(-1, 2, 2**q)
        state = np.stack([parts[:, 0] + parts[:, 1], parts[:, 0] - parts[:, 1]], axis=1).reshape(-1)
    return state / 2 ** (n / 2)


def qaoa_of(edges, n, gammas, betas):
    """The state and the expected cut, with the mixer applied in its own basis: sum of X is n - 2 |z| there."""
    cuts = cuts_of(edges, n)
    weight = n - 2 * bits(n).sum(axis=1)
    state = np.full(2**n, 2 ** (-n / 2), complex)
    for gamma, beta in zip(gammas, betas):
        state = hadamard(np.exp(-1j * beta * weight) * hadamard(np.exp(-1j * gamma * cuts) * state))
    return state, float(np.abs(state) ** 2 @ cuts)


@pytest.mark.exercise("qaoa", weight=4, core=True, hint=2)
def test_layers_one_by_one(submission, rng):
    """Each layer is the phase exp(-i gamma C), then exp(-i beta X) on every qubit."""
    # Three qubits by matrix exponentials of 8 x 8 matrices, then larger ones with the mixer in its own basis.
    X = np.array([[0, 1], [1, 0.0]])
    mixer = sum(np.kron(np.kron(np.eye(2 ** (2 - q)), X), np.eye(2**q)) for q in range(3))
    edges = np.array([[2, 0], [1, 2]])
    state, cuts = np.full(8, 8**-0.5, complex), cuts_of(edges, 3)
    gammas, betas = rng.uniform(0.2, 1.2, 2), rng.uniform(0.2, 0.7, 2)
    for gamma, beta in zip(gammas, betas):
        state = scipy.linalg.expm(-1j * beta * mixer) @ (np.exp(-1j * gamma * cuts) * state)
    assert close(submission.qaoa(edges, 3, gammas, betas)[0], state, atol=1e-11)
    for n, share, p in [(4, 0.7, 1), (7, 0.5, 3), (5, 1.0, 4)]:
        edges, gammas, betas = random_edges(rng, n, share), rng.uniform(-3, 3, p), rng.uniform(-3, 3, p)
        assert close(submission.qaoa(edges, n, gammas, betas)[0], qaoa_of(edges, n, gammas, betas)[0], atol=1e-11)


@pytest.mark.exercise("qaoa", weight=4, core=True, hint=3)
def test_expected_cut(submission, rng):
    """The value is the expected cut of a measurement: the sum of |amplitude|^2 times cut."""
    for n, share, p in [(4, 0.6, 2), (8, 0.4, 3), (6, 0.8, 1)]:
        edges, gammas, betas = random_edges(rng, n, share), rng.uniform(-3, 3, p), rng.uniform(-3, 3, p)
        cut = qaoa_of(edges, n, gammas, betas)[1]
        assert close(submission.qaoa(edges, n, gammas, betas)[1], cut, atol=1e-11 * (1 + p) * (1 + len(edges)))


@pytest.mark.exercise("qaoa", weight=2, hint=3)
def test_no_layer_gives_half(submission, rng):
    """Without layers half of the edges are cut in the mean, and without edges nothing; types as the docstring says."""
    for n, share in [(5, 0.6), (1, 0.0), (9, 0.3)]:
        edges = random_edges(rng, n, share) if n > 1 else np.zeros((0, 2), np.int64)
        expected = np.full(2**n, 2 ** (-n / 2), complex), len(edges) / 2
        assert close(submission.qaoa(edges, n, np.zeros(0), np.zeros(0)), expected, atol=1e-11, typed=True)
    none = np.zeros((0, 2), np.int64)
    state, cut = submission.qaoa(none, 3, np.array([0.4]), np.array([0.3]))
    assert close((state, cut), (np.full(8, 8**-0.5 * np.exp(-0.9j)), 0.0), atol=1e-11, typed=True)


@pytest.mark.exercise("qaoa", weight=2, hint=2)
def test_colours_can_be_exchanged(submission, rng):
    """A number and the one with all bits turned have the same amplitude, also after many layers and large angles."""
    for n, p, size in [(6, 2, 3), (2, 1201, 2), (5, 3, 100), (4, 2, 1e-7)]:
        edges, gammas, betas = random_edges(rng, n, 0.6), rng.uniform(-size, size, p), rng.uniform(-size, size, p)
        state, _ = submission.qaoa(edges, n, gammas, betas)
        assert close(state, qaoa_of(edges, n, gammas, betas)[0], atol=1e-12 * (1 + p) + 1e-11)
        assert close(state, np.asarray(state)[::-1], atol=1e-12 * (1 + p) + 1e-11)


@pytest.mark.exercise("qaoa", weight=4, hint=1, memory_mb=100)
def test_eighteen_qubits(submission, rng):
    """Three layers on a cubic graph with 18 vertices, in 100 MB: no array of edges times 2^n."""
    edges = datasets.regular_graph(18, 3, seed=int(rng.integers(1000))).edges
    gammas, betas = rng.uniform(0.2, 1, 3), rng.uniform(0.2, 1, 3)
    state, cut = submission.qaoa(edges, 18, gammas, betas)
    expected, value = qaoa_of(edges, 18, gammas, betas)
    assert close(state, expected, atol=1e-11) and close(cut, value, atol=1e-9)


def qaoa_contract():
    ring = [[0, 1], [2, 1], [2, 3], [0, 3], [4, 0]]
    return Contract(
        "qaoa",
        edges=edges_in(ring),
        n=one_of(5, 6),
        gammas=doubles(3, draw=lambda rng: rng.uniform(-2, 2, 3)),
        betas=doubles(3, draw=lambda rng: rng.uniform(-2, 2, 3)),
    )


@pytest.mark.exercise("qaoa")
def test_circuits_of_every_kind(submission, rng):
    """Arrays in every layout, and vertices without an edge."""
    for case in qaoa_contract().cases(rng):
        assert close(submission.qaoa(*case), qaoa_of(*case.args), atol=1e-10, typed=True)


@pytest.mark.exercise("qaoa", forgeable=True)
def test_circuits_leave_no_trace(submission, rng):
    """Edges and angles are not changed, and the state is new."""
    none = {"gammas": np.zeros(0), "betas": np.zeros(0)}
    assert qaoa_contract().leaves_no_trace(submission, rng, then=[{}, none])


# ----------------------------------------------------------------------------------------------- qaoa_first_layer


@pytest.mark.exercise("qaoa_first_layer", weight=5, core=True, hint=3)
def test_one_layer_by_its_state(submission, rng):
    """The closed form equals the expected cut of the state with one layer, on graphs with and without triangles."""
    for n, share in [(4, 0.5), (8, 0.3), (7, 0.8), (9, 0.55)]:
        edges = random_edges(rng, n, share)
        gamma, beta = rng.uniform(-3, 3, 2).tolist()
        expected = qaoa_of(edges, n, [gamma], [beta])[1]
        assert close(submission.qaoa_first_layer(edges, n, gamma, beta), expected, atol=1e-10 * (1 + len(edges)))


@pytest.mark.exercise("qaoa_first_layer", weight=2, hint=2)
def test_triangles_count(submission, rng):
    """In complete graphs every other vertex makes a triangle with an edge; in a star nothing does."""
    for n in (3, 5, 8):
        complete = np.array(list(itertools.combinations(range(n), 2)))
        star = np.array([[k, 0] for k in range(1, n)])
        for edges in (complete, star):
            for gamma, beta in [(0.7, 0.4), (2.5, -1.1)]:
                expected = qaoa_of(edges, n, [gamma], [beta])[1]
                assert close(
                    submission.qaoa_first_layer(edges, n, gamma, beta), expected, atol=1e-10 * (1 + len(edges))
                )


@pytest.mark.exercise("qaoa_first_layer", weight=2, hint=1)
def test_special_angles(submission, rng):
    """Angles where cosines are 0 or negative, no edges, one edge, vertices without edges; a Python float."""
    for gamma, beta in [(math.pi / 2, math.pi / 8), (math.pi, 0.3), (0.0, 1.0), (40.0, 90.0), (1e-8, 0.4), (0.6, 1e-8)]:
        for edges, n in [(np.array([[0, 1]]), 2), (np.array([[3, 1]]), 5), (random_edges(rng, 6, 0.5), 7)]:
            expected = qaoa_of(edges, n, [gamma], [beta])[1]
            got = submission.qaoa_first_layer(edges, n, gamma, beta)
            assert close(got, expected, atol=1e-10 * (1 + len(edges)), typed=True)
    assert close(submission.qaoa_first_layer(np.zeros((0, 2), np.int64), 4, 0.3, 0.2), 0.0, typed=True)


def degrees_and_triangles(edges, n):
    """For each edge, the other neighbours of both ends and their common ones, by sets."""
    near = [set() for _ in range(n)]
    for u, v in edges.tolist():
        near[u].add(v)
        near[v].add(u)
    return np.array([(len(near[u]) - 1, len(near[v]) - 1, len(near[u] & near[v])) for u, v in edges.tolist()]).T


def closed_form(edges, n, gamma, beta, counted=None):
    """The sum over all edges, from what `degrees_and_triangles` counted."""
    d, e, t = degrees_and_triangles(edges, n) if counted is None else counted
    c = math.cos(gamma)
    one = math.sin(4 * beta) * math.sin(gamma) * (c**d + c**e) / 4
    two = math.sin(2 * beta) ** 2 * c ** (d + e - 2 * t) * (1 - math.cos(2 * gamma) ** t) / 4
    return float(np.sum(0.5 + one - two))


@pytest.mark.exercise("qaoa_first_layer", weight=5, hint=2, memory_mb=300)
def test_thirty_thousand_vertices(submission, rng):
    """30,000 vertices with 100,000 edges and many triangles, in 300 MB: no array of shape (n, n)."""
    n = 30_000
    a = np.arange(n)
    # A ring with chords to the second and third neighbour has triangles everywhere; random edges besides.
    near = np.concatenate([np.stack([a, (a + k) % n], axis=1) for k in (1, 2, 3)])
    far = np.stack([a[: n // 3], (a[: n // 3] * 7 + 11_111) % n], axis=1)
    apart = np.minimum((far[:, 0] - far[:, 1]) % n, (far[:, 1] - far[:, 0]) % n)
    edges = np.concatenate([near, far[apart > 3]])
    keys = np.unique(np.sort(edges, axis=1) @ [n, 1])
    edges = rng.permutation(np.stack([keys // n, keys % n], axis=1))
    counted = degrees_and_triangles(edges, n)
    for gamma, beta in [(0.5, 0.4), (-2.0, 1.2)]:
        expected = closed_form(edges, n, gamma, beta, counted)
        assert close(submission.qaoa_first_layer(edges, n, gamma, beta), expected, atol=1e-10 * (1 + len(edges)))


@pytest.mark.exercise("qaoa_first_layer", forgeable=True)
def test_first_layer_leaves_no_trace(submission, rng):
    """Edges in every layout give the same number, and are not changed."""
    ring = [[0, 1], [2, 1], [2, 3], [0, 3], [4, 0], [1, 3]]
    contract = Contract("qaoa_first_layer", edges=edges_in(ring), n=one_of(5, 9), gamma=one_of(0.6), beta=one_of(0.4))
    for case in contract.cases(rng):
        assert close(submission.qaoa_first_layer(*case), closed_form(*case.args), atol=1e-9)
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"gamma": 0.0}])


# ------------------------------------------------------------------------------------------------ cut_by_rounding


def cut_of(edges, side):
    side = np.asarray(side)
    return int(np.sum(side[edges[:, 0]] != side[edges[:, 1]]))


def relaxation(edges, n):
    """The largest sum over unit vectors of high rank, one vertex after the other, from two starts."""
    near = [[] for _ in range(n)]
    for u, v in edges.tolist():
        near[u].append(v)
        near[v].append(u)
    best = 0.0
    for seed in (1, 2):
        V = np.random.default_rng(seed).standard_normal((n, 10))
        V /= np.linalg.norm(V, axis=1, keepdims=True)
        last = 0.0
        for _ in range(1000):
            for i in range(n):
                pull = V[near[i]].sum(axis=0)
                length = math.sqrt(pull @ pull)
                if length > 0:
                    V[i] = -pull / length
            total = float(np.sum(1 - np.sum(V[edges[:, 0]] * V[edges[:, 1]], axis=1)) / 2)
            if total - last < 1e-7 * total:
                break
            last = total
        best = max(best, total)
    return best


def is_answer(got, edges, n):
    """Whether side, cut and relaxed are of their types, and the cut is that of side."""
    side, cut, _ = got
    return (
        close(got, (np.full(n, 0.5).astype(np.int8), 0, 0.0), atol=np.inf, typed=True)
        and close(bool(np.all((side == 0) | (side == 1))), True)
        and close(cut, cut_of(edges, side))
    )


@pytest.mark.exercise("cut_by_rounding", weight=3, core=True, hint=3)
def test_cut_belongs_to_side(submission, rng):
    """side holds 0 and 1, and cut is the number of edges whose ends differ there."""
    for n, share in [(60, 0.5), (6, 0.7), (25, 0.2), (2, 1.0)]:
        edges = random_edges(rng, n, share)
        assert is_answer(submission.cut_by_rounding(edges, n, 5, 3), edges, n)


@pytest.mark.exercise("cut_by_rounding", weight=4, core=True, hint=1)
def test_relaxed_sum_reaches_its_maximum(submission, rng):
    """The relaxed sum reaches 0.99 of its maximum, is never above it, and is at least 0.99 of the maximum cut."""
    for n, share in [(12, 0.4), (12, 0.7), (5, 1.0), (25, 0.2)]:
        edges = random_edges(rng, n, share)
        top = relaxation(edges, n)
        relaxed = submission.cut_by_rounding(edges, n, 8, int(rng.integers(2**30)))[2]
        assert close(relaxed <= top * (1 + 1e-4), True) and close(relaxed >= 0.99 * top, True)
        if n <= 12:
            assert close(relaxed >= 0.99 * cuts_of(edges, n).max(), True)


@pytest.mark.exercise("cut_by_rounding", weight=3, hint=3)
def test_bipartite_graphs_are_cut_whole(submission, rng):
    """Where two sides without inner edges exist, every edge is cut, whatever the numbers of the vertices."""
    for n in (2, 9, 30):
        order = rng.permutation(n)
        left = order[: n // 2]
        pairs = np.array([(u, v) for u in left for v in order[n // 2 :] if n < 10 or rng.random() < 0.6])
        side, cut, relaxed = submission.cut_by_rounding(pairs, n, 8, 5)
        assert close(cut, len(pairs)) and close(cut_of(pairs, side), len(pairs))
        assert close(relaxed, float(len(pairs)), rtol=0.01)


@pytest.mark.exercise("cut_by_rounding", weight=3, hint=3)
def test_guarantee_of_rounding(submission, rng):
    """The best of 20 hyperplanes cuts at least 0.878 of the relaxed sum's edges, and of the maximum cut."""
    # A single hyperplane has it in the mean; the best of 20 missed it on none of 20,000 such graphs.
    for seed in range(6):
        edges = random_edges(rng, 12, 0.3 + 0.1 * seed)
        _, cut, relaxed = submission.cut_by_rounding(edges, 12, 6, seed)
        assert close(cut >= 0.878 * relaxed, True) and close(cut <= relaxed * 1.02, True)


@pytest.mark.exercise("cut_by_rounding", weight=3, hint=3)
def test_best_of_twenty_hyperplanes(submission, rng):
    """The mean cut over many seeds is not below that of the best of 20 hyperplanes."""
    # One cubic graph of 100 vertices. Over 2,000 draws, the mean share of edges is 0.9003 for the passes of the text
    # and 0.8989 for another ascent, with a standard deviation of 0.001 for 30 calls; with one hyperplane it is
    # 0.8734, with three 0.8869.
    edges = datasets.regular_graph(100, 3, seed=0).edges
    start = int(rng.integers(2**30))
    shares = [submission.cut_by_rounding(edges, 100, 15, start + k)[1] / 150 for k in range(30)]
    assert close(float(np.mean(shares)) >= 0.892, True)


@pytest.mark.exercise("cut_by_rounding", weight=2, hint=2)
def test_vertices_without_edges(submission, rng):
    """Vertices without an edge, many layouts of edges, rank 2 and large ranks: no nan, the right types."""
    ring = np.array([[0, 1], [2, 1], [2, 3], [3, 4], [0, 4], [7, 4]])
    contract = Contract(
        "cut_by_rounding", edges=edges_in(ring), n=one_of(9, 8, 1200), rank=one_of(5, 2, 40), seed=one_of(4, *SEEDS[:4])
    )
    for case in contract.cases(rng):
        got = submission.cut_by_rounding(*case)
        assert is_answer(got, ring, case.args[1])
        assert close(5 - 1e-6 <= got[2] + 0.06 <= 6, True) and close(got[1] >= 3, True)


@pytest.mark.exercise("cut_by_rounding", weight=6, hint=1, memory_mb=400)
def test_thirty_thousand_edges(submission, rng):
    """30,000 edges in time and in 400 MB: passes are products with a sparse matrix."""
    edges = datasets.regular_graph(20_000, 3, seed=int(rng.integers(100))).edges
    got = submission.cut_by_rounding(edges, 20_000, 8, 2)
    assert is_answer(got, edges, 20_000)
    # The relaxation of large random cubic graphs is 0.9714 of the edges; the climb stops a little below it. Rounding
    # then cuts about 0.885, with a standard deviation of 0.003 for one hyperplane.
    assert close(0.95 * 30_000 <= got[2] <= 0.9735 * 30_000, True)
    assert close(got[1] >= 0.86 * 30_000, True)


@pytest.mark.exercise("cut_by_rounding")
def test_rounding_depends_on_its_seed_alone(submission, rng):
    """The same seed gives the same sides, in another process, too; other seeds draw other ones."""
    edges = np.array([[3 * k + i, 3 * k + (i + 1) % 3] for k in range(40) for i in range(3)])  # 6^40 best cuts

    def asked(side, seed):
        return np.asarray(side.cut_by_rounding(edges, 120, 6, seed)[0]).tolist()

    found = [asked(submission, seed) for seed in SEEDS]
    assert close([asked(submission, seed) for seed in SEEDS[::-1]], found[::-1])
    with submission.elsewhere() as other:
        assert close([asked(other, seed) for seed in SEEDS[:3]], found[:3])
    assert close(len(set(map(str, found))), len(SEEDS))


@pytest.mark.exercise("cut_by_rounding", forgeable=True)
def test_rounding_leaves_no_trace(submission, rng):
    """Edges are not changed, results are new, and NumPy's global random state is left alone."""
    ring = np.array([[0, 1], [2, 1], [2, 3], [3, 4], [0, 4]])
    contract = Contract("cut_by_rounding", edges=edges_in(ring), n=one_of(6), rank=one_of(4), seed=one_of(4))
    assert contract.leaves_no_trace(submission, rng)
    assert close(submission.run(random_state_moves, "cut_by_rounding", [ring, 6, 4, 1]), "")
