"""Regular graphs are regular, and planted energies are the least ones."""

import itertools

import numpy as np
import pytest

from lsml_utils import datasets


@pytest.mark.parametrize(("n", "degree"), [(4, 3), (10, 3), (11, 4), (12, 9), (5, 0), (1, 0), (3000, 6)])
def test_every_vertex_has_its_degree(n, degree):
    """Each edge once, the smaller end first, and as many at each vertex as asked for."""
    for seed in range(3):
        edges = datasets.regular_graph(n, degree, seed=seed).edges
        assert edges.shape == (n * degree // 2, 2) and edges.dtype == np.int64
        assert np.all(edges[:, 0] < edges[:, 1]) and len(np.unique(edges, axis=0)) == len(edges)
        assert np.all(np.bincount(edges.ravel(), minlength=n) == degree)


def test_regular_graphs_are_all_about_equally_likely():
    """All six labelled cubic graphs of six vertices with triangles at 0 ... seen by their edges: each pair alike."""
    count = np.zeros((6, 6))
    for seed in range(600):
        edges = datasets.regular_graph(6, 3, seed=seed).edges
        count[edges[:, 0], edges[:, 1]] += 1
    share = count[np.triu_indices(6, 1)] / 600  # 0.6 each, with a standard deviation of 0.02
    assert np.all(np.abs(share - 0.6) < 0.12)


@pytest.mark.parametrize("density", [0.5, 1.0, 3.0])
def test_planted_energy_is_the_least(density):
    states = np.array(list(itertools.product([-1.0, 1.0], repeat=12)))
    for seed in range(5):
        system = datasets.frustrated_loops(12, density, seed=seed)
        J = system.J.toarray()
        assert np.array_equal(J, np.triu(J, 1)) and system.planted.dtype == np.int8
        energies = np.einsum("zi,ij,zj->z", states, J, states)
        s = system.planted.astype(float)
        assert energies.min() == system.energy == s @ J @ s and not system.h.any()


def test_spins_are_an_exact_function_of_their_seed():
    once, again, other = (datasets.frustrated_loops(40, seed=seed) for seed in (1, 1, 2))
    assert (once.J != again.J).nnz == 0 and np.array_equal(once.planted, again.planted)
    assert (once.J != other.J).nnz > 0
    assert np.array_equal(datasets.regular_graph(40, seed=3).edges, datasets.regular_graph(40, seed=3).edges)


@pytest.mark.parametrize("wrong", [{"n": 3, "degree": 3}, {"n": 5, "degree": 3}, {"n": 0}, {"n": 4, "degree": -1}])
def test_graphs_that_do_not_exist(wrong):
    with pytest.raises(ValueError, match="degree"):
        datasets.regular_graph(**wrong)


@pytest.mark.parametrize("wrong", [{"n": 5}, {"n": 8, "degree": 2}, {"n": 8, "density": 0.0}])
def test_loops_that_do_not_exist(wrong):
    with pytest.raises(ValueError, match="density"):
        datasets.frustrated_loops(**wrong)
