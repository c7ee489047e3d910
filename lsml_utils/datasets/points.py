"""Generated points with known ground truth: linear data of a given condition number, blobs, moons."""

import numpy as np

from lsml_utils.datasets.chunks import Chunks, spans, stream
from lsml_utils.datasets.kinds import Linear, Points

ROWS = 8192  # in a chunk


def linear(n: int, d: int, condition: float = 10.0, noise: float = 0.1, seed: int = 0) -> Linear:
    """Linear data y = X θ + noise whose Hessian XᵀX/n has exactly this condition number. X (n, d), y (n,), theta (d,).

    n: rows. d: columns. condition: λmax/λmin of XᵀX/n, at least 1; the eigenvalues are spaced evenly on a log scale
    from 1 down to 1/condition, along random directions. noise: standard deviation of the noise added to y. seed: any
    integer >= 0. With n < d, XᵀX is singular whatever the condition asked for. Chunks are exact functions of (n, d,
    seed, number).

    >>> data = linear(1000, 5, condition=100.0)
    >>> eigenvalues = np.linalg.eigvalsh(data.X.T @ data.X / 1000)
    >>> round(eigenvalues[-1] / eigenvalues[0], 6)
    np.float64(100.0)
    """
    chunks = linear_chunks(n, d, condition, noise, seed)
    parts = list(chunks)
    return Linear(
        X=np.concatenate([part.X for part in parts]),
        y=np.concatenate([part.y for part in parts]),
        theta=parts[0].theta,
        condition=parts[0].condition,
        noise=noise,
    )


def linear_chunks(n: int, d: int, condition: float = 10.0, noise: float = 0.1, seed: int = 0) -> Chunks:
    """`linear` in chunks of about 8,192 rows (at least d): memory for one chunk only.

    >>> len(linear_chunks(100_000, 3))
    12
    """
    _at_least(1, n=n, d=d, condition=condition)
    truth = stream("linear", seed)
    theta = truth.standard_normal(d)
    directions = _orthonormal(truth.standard_normal((d, d)))
    spectrum = np.geomspace(1.0, 1.0 / condition, d)
    mix = np.sqrt(spectrum)[:, None] * directions
    count = max(1, n // max(ROWS, d))

    def make(k: int) -> Linear:
        rows = (k + 1) * n // count - k * n // count
        rng = stream("linear", seed, k + 1)
        white = rng.standard_normal((rows, d))
        if rows >= d:  # every chunk has orthogonal columns, and so has the whole
            white = np.sqrt(rows) * _orthonormal(white)
        X = white @ mix
        y = X @ theta + noise * rng.standard_normal(rows)
        return Linear(X=X, y=y, theta=theta, condition=float(condition) if d > 1 else 1.0, noise=noise)

    return Chunks(count, make, n)


def blobs(n: int, d: int = 2, k: int = 3, spread: float = 1.0, distance: float = 4.0, seed: int = 0) -> Points:
    """k round clouds of points. X (n, d) float64, y (n,) int in 0..k-1, centers (k, d).

    spread: standard deviation of each cloud. distance: standard deviation of the centres around 0. Row i is the same
    whatever n is.

    >>> blobs(100, d=2, k=4).centers.shape
    (4, 2)
    """
    return _joined(blobs_chunks(n, d, k, spread, distance, seed))


def blobs_chunks(n: int, d: int = 2, k: int = 3, spread: float = 1.0, distance: float = 4.0, seed: int = 0) -> Chunks:
    """`blobs` in chunks of 8,192 rows.

    >>> blobs_chunks(10_000)[1].X.shape
    (1808, 2)
    """
    _at_least(1, n=n, d=d, k=k)
    centers = distance * stream("blobs", seed).standard_normal((k, d))

    def rows(rng, count):
        y = rng.integers(k, size=count)
        return centers[y] + spread * rng.standard_normal((count, d)), y

    return _chunked("blobs", n, seed, rows, centers)


def moons(n: int, noise: float = 0.1, seed: int = 0) -> Points:
    """Two interleaved half circles of radius 1. X (n, 2) float64, y (n,) int in 0..1: 0 the upper, 1 the lower.

    noise: standard deviation added to both coordinates. Row i is the same whatever n is.

    >>> moons(100).X.shape
    (100, 2)
    """
    return _joined(moons_chunks(n, noise, seed))


def moons_chunks(n: int, noise: float = 0.1, seed: int = 0) -> Chunks:
    """`moons` in chunks of 8,192 rows.

    >>> sum(len(chunk.y) for chunk in moons_chunks(20_000))
    20000
    """
    _at_least(1, n=n)

    def rows(rng, count):
        y = rng.integers(2, size=count)
        angle = np.pi * rng.random(count)
        upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        X = np.where(y[:, None] == 0, upper, [1.0, 0.5] - upper)
        return X + noise * rng.standard_normal((count, 2)), y

    return _chunked("moons", n, seed, rows, None)


def _chunked(name, n, seed, rows, centers) -> Chunks:
    """Chunks that are drawn whole and then cut, so that row i does not depend on n."""
    bounds = spans(n, ROWS)

    def make(k: int) -> Points:
        start, stop = bounds[k]
        X, y = rows(stream(name, seed, k + 1), ROWS)
        return Points(X=X[: stop - start], y=y[: stop - start], centers=centers)

    return Chunks(len(bounds), make, n)


def _joined(chunks: Chunks) -> Points:
    parts = list(chunks)
    X = np.concatenate([part.X for part in parts])
    return Points(X=X, y=np.concatenate([part.y for part in parts]), centers=parts[0].centers)


def _orthonormal(A: np.ndarray) -> np.ndarray:
    """Orthonormal columns spanning A's, with the signs that make them unique."""
    Q, R = np.linalg.qr(A)
    return Q * np.where(np.diag(R) < 0, -1.0, 1.0)


def _at_least(least: float, **values: float) -> None:
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name} = {value}: it must be at least {least}")
