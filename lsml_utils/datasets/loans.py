"""Who repays a loan, drawn from a planted law: a proxy for the group, columns without any effect, known base rates."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lsml_utils.datasets.chunks import Chunks, spans, stream
from lsml_utils.datasets.kinds import Described

BLOCK = 1024  # rows drawn from one random stream


@dataclass(frozen=True, repr=False)
class Loans(Described):
    """Applications for a loan; nobody in it exists. X: (m, 8) float64, columns as in `names`, all about standardised.
    y: (m,) int64, 1 for a loan that was repaid. group: (m,) int64, 0 or 1; it is no column of X.

    The truth: P(y = 1) is `probability(X)`, the sigmoid of bias + X @ effects + interaction · debt · years. It depends
    on income, debt, years and late alone, and on the group in no way. salary is income with a little noise. district
    is the group's proxy, age goes with years, noise with nothing. Group 1 has a lower mean of income and a higher one
    of late: that is why its base rate is lower.
    """

    X: np.ndarray
    y: np.ndarray
    group: np.ndarray

    names: ClassVar[tuple[str, ...]] = ("income", "salary", "debt", "years", "late", "district", "age", "noise")
    effects: ClassVar[tuple[float, ...]] = (1.2, 0.0, -0.9, 0.4, -0.8, 0.0, 0.0, 0.0)
    interaction: ClassVar[float] = 0.7
    bias: ClassVar[float] = 0.7

    def probability(self, X: np.ndarray) -> np.ndarray:
        """The true P(y = 1) of rows (n, 8): (n,) float64. No model of X has a lower expected log loss.

        >>> data = loans(1000)
        >>> bool(abs(data.probability(data.X).mean() - data.y.mean()) < 0.1)
        True
        """
        logit = self.bias + X @ np.array(self.effects) + self.interaction * X[:, 2] * X[:, 3]
        return 1 / (1 + np.exp(-logit))


def loans(n: int, seed: int = 0) -> Loans:
    """n applications for a loan, n >= 1; three in ten belong to group 1. 80 bytes a row.

    seed: an integer >= 0. Row i does not depend on n.

    >>> loans(100).X.shape
    (100, 8)
    """
    parts = list(loans_chunks(n, seed))
    return Loans(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("X", "y", "group")))


def loans_chunks(n: int, seed: int = 0, size: int = BLOCK) -> Chunks:
    """`loans(n, seed)` in chunks of `size` rows, the last one shorter. size: a multiple of 1024.

    >>> loans_chunks(2000)[1].X.shape
    (976, 8)
    """
    if n < 1:
        raise ValueError(f"n = {n}: at least one row")
    if size < 1 or size % BLOCK:
        raise ValueError(f"size = {size}: chunks of a multiple of {BLOCK} rows")
    bounds = spans(n, size)

    def make(k: int) -> Loans:
        start, stop = bounds[k]
        blocks = [_block(start // BLOCK + i, last - first, seed) for i, (first, last) in enumerate(_spans(start, stop))]
        return Loans(*map(np.concatenate, zip(*blocks, strict=True)))

    return Chunks(len(bounds), make, n)


def _spans(start: int, stop: int) -> list[tuple[int, int]]:
    return spans(stop - start, BLOCK)


def _block(number: int, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = stream("loans", seed, number)
    group = (rng.random(BLOCK) < 0.3).astype(np.int64)
    free = rng.standard_normal((BLOCK, 8))
    income = free[:, 0] - 0.6 * group + 0.2
    salary = income + 0.1 * free[:, 1]
    years = free[:, 3]
    late = free[:, 4] + 0.5 * group - 0.15
    district = 0.8 * free[:, 5] + 1.6 * group - 0.5
    age = 0.8 * years + 0.6 * free[:, 6]
    X = np.stack([income, salary, free[:, 2], years, late, district, age, free[:, 7]], axis=1)
    y = (rng.random(BLOCK) < Loans.probability(Loans, X)).astype(np.int64)
    return X[:rows], y[:rows], group[:rows]
