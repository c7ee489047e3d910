"""Sparse graphs with planted communities: who belongs together is known, and most edges stay within a community."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lsml_utils.datasets.chunks import stream
from lsml_utils.datasets.kinds import Described

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, repr=False)
class Graph(Described):
    """W: (n, n) scipy.sparse.csr_array, float64, symmetric: 1 where two nodes are joined, no node with itself.
    y: (n,) int64, the community of each node."""

    W: "csr_array"
    y: np.ndarray


def graph(n: int, communities: int = 4, degree: float = 10.0, mixing: float = 0.1, seed: int = 0) -> Graph:
    """A sparse random graph with planted communities (a stochastic block model). W (n, n) in CSR form, y (n,).

    n: nodes, each in a community of 0..communities-1 drawn at random. degree: neighbours of a node in the mean, before
    repeated edges and loops are dropped, which are few where n is large beside degree. mixing: the share of the edges
    that join two communities; 1 - 1/communities is where nothing is planted any more. Takes O(n · degree) time and
    memory: 12 bytes for each stored entry of W, two of them for an edge. A node may have no neighbour.

    >>> graph(1000, communities=3).W.shape
    (1000, 1000)
    """
    from scipy.sparse import csr_array

    for name, value, low, high in [("n", n, 1, np.inf), ("communities", communities, 1, n), ("mixing", mixing, 0, 1)]:
        if not low <= value <= high:
            raise ValueError(f"{name} = {value}: it must lie between {low} and {high}")
    rng = stream("graph", seed)
    y = rng.integers(communities, size=n)
    order, sizes = np.argsort(y, kind="stable"), np.bincount(y, minlength=communities)
    starts = np.cumsum(sizes) - sizes
    count = round(n * degree / 2)
    a = rng.integers(n, size=count)
    own, first = sizes[y[a]], starts[y[a]]
    leaves = (rng.random(count) < mixing) & (own < n)
    place = (rng.random(count) * np.where(leaves, n - own, own)).astype(np.int64)
    place += np.where(leaves, own * (place >= first), first)  # past its own community, or into it
    b = order[place]
    a, b = np.concatenate([a, b]), np.concatenate([b, a])
    pairs = np.unique(a[a != b] * n + b[a != b])
    indptr = np.concatenate([[0], np.cumsum(np.bincount(pairs // n, minlength=n))])
    W = csr_array((np.ones(len(pairs)), (pairs % n).astype(np.int32), indptr.astype(np.int32)), shape=(n, n))
    return Graph(W=W, y=y)
