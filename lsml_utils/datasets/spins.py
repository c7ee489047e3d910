"""Graphs in which every vertex has the same degree, and systems of spins whose ground state is planted."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lsml_utils.datasets.chunks import stream
from lsml_utils.datasets.kinds import Described

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, repr=False)
class Regular(Described):
    """edges: (m, 2) int64, the two ends of each edge, the smaller number first; each edge once. n: vertices."""

    edges: np.ndarray
    n: int


@dataclass(frozen=True, repr=False)
class Planted(Described):
    """E(s) = sum of h_i s_i + sum of J_ij s_i s_j over i < j, for spins s_i = +1 or -1. h: (n,) float64, zeros.
    J: (n, n) scipy.sparse.csr_matrix, float64, above the diagonal. planted: (n,) int8, a state of least energy.
    energy: E(planted), the least energy there is."""

    h: np.ndarray
    J: "csr_matrix"
    planted: np.ndarray
    energy: float


def regular_graph(n: int, degree: int = 3, seed: int = 0) -> Regular:
    """A random graph on n vertices, each with `degree` neighbours; no loops, no edge twice. 8 · n · degree bytes.

    n · degree must be even, and 0 <= degree < n. Every such graph can occur; all are about equally likely where the
    degree is small beside n.

    >>> regular_graph(10).edges.shape
    (15, 2)
    """
    if n < 1 or not 0 <= degree < n or n * degree % 2:
        raise ValueError(f"n = {n}, degree = {degree}: 0 <= degree < n, and n · degree even")
    rng = stream("regular", seed, n, degree)
    if degree > (n - 1) / 2:  # the other pairs are fewer
        rows, columns = np.triu_indices(n, 1)
        missing = _pairs(n, n - 1 - degree, rng)
        left = ~np.isin(rows * n + columns, missing)
        return Regular(np.stack([rows[left], columns[left]], axis=1).astype(np.int64), n)
    pairs = _pairs(n, degree, rng)
    return Regular(np.stack([pairs // n, pairs % n], axis=1).astype(np.int64), n)


def _pairs(n: int, degree: int, rng: np.random.Generator) -> np.ndarray:
    """Edges as numbers smaller · n + larger, sorted: ends are joined at random, then bad edges are mended."""
    ends = rng.permutation(np.repeat(np.arange(n), degree)).reshape(-1, 2)
    while True:
        keys = ends.min(axis=1, initial=n) * n + ends.max(axis=1, initial=0)
        order = np.argsort(keys, kind="stable")
        bad = ends[:, 0] == ends[:, 1]
        bad[order[1:]] |= keys[order[1:]] == keys[order[:-1]]
        if not bad.any():
            return keys[order]
        for edge in np.flatnonzero(bad):  # exchanges an end with another edge's: degrees stay
            other = rng.integers(len(ends))
            ends[edge, 1], ends[other, 1] = ends[other, 1], ends[edge, 1]


def frustrated_loops(n: int, density: float = 1.0, degree: int = 4, seed: int = 0) -> Planted:
    """Spins with a planted state of least energy (Hen et al., 2015). J (n, n) in CSR form, planted (n,), energy.

    On a random regular graph of this degree, random walks that do not turn back find cycles, until their lengths add
    up to at least density times the number of edges. Each cycle of length l adds couplings -1 times the planted spins
    of both ends to its edges, but +1 times to one of them. So no state has less than -(l - 2) of the cycle's energy,
    the planted one has just this, and the energies add up. n >= 6, degree >= 3, n · degree even, density > 0.

    >>> system = frustrated_loops(50)
    >>> s = system.planted.astype(float)
    >>> float(s @ (system.J @ s)) == system.energy
    True
    """
    from scipy.sparse import csr_matrix

    if n < 6 or degree < 3 or not 0 < density < np.inf:
        raise ValueError(f"n = {n}, degree = {degree}, density = {density}: at least 6, at least 3, above 0")
    edges = regular_graph(n, degree, seed).edges
    rng = stream("frustrated", seed, n, degree)
    planted = rng.choice(np.array([-1, 1], np.int8), n)
    both = np.concatenate([edges, edges[:, ::-1]])
    neighbours = both[np.argsort(both[:, 0], kind="stable"), 1].reshape(n, degree).tolist()
    total, energy, length = {}, 0.0, 0
    while length < density * len(edges):
        cycle = _cycle(neighbours, rng)
        against = int(rng.integers(len(cycle)))
        for place, a in enumerate(cycle):
            b = cycle[place - 1]
            sign = 1.0 if place == against else -1.0
            key = (min(a, b), max(a, b))
            total[key] = total.get(key, 0.0) + sign * float(planted[a]) * float(planted[b])
        energy -= len(cycle) - 2
        length += len(cycle)
    pairs = np.array(sorted(key for key, value in total.items() if value), dtype=np.int64).reshape(-1, 2)
    values = np.array([total[tuple(pair)] for pair in pairs.tolist()])
    J = csr_matrix((values, (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return Planted(h=np.zeros(n), J=J, planted=planted, energy=energy)


def _cycle(neighbours: list[list[int]], rng: np.random.Generator) -> list[int]:
    """The vertices of the first cycle that a random walk closes."""
    walk = [int(rng.integers(len(neighbours)))]
    place, before = {walk[0]: 0}, -1
    while True:
        choices = [vertex for vertex in neighbours[walk[-1]] if vertex != before]
        following = choices[int(rng.integers(len(choices)))]
        if following in place:
            return walk[place[following] :]
        before = walk[-1]
        place[following] = len(walk)
        walk.append(following)
