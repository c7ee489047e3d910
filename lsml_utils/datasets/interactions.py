"""Who looked at what, and when: events of users with items, drawn from a planted taste and a planted popularity."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from lsml_utils.datasets.chunks import Chunks, spans, stream
from lsml_utils.datasets.kinds import Described

BLOCK = 1024  # users drawn from one random stream
FACTORS, STRENGTH, YEAR = 8, 3.0, 365 * 24 * 3600


@dataclass(frozen=True, repr=False)
class Interactions(Described):
    """Events in order of user, then of time, all (m,). user, item: int32. time: int32, seconds since the beginning of
    the year. A user may meet an item more than once.

    The truth: an event of user u is with item i with probability proportional to popularity[i] times
    sigmoid(taste[u] · traits[i]), whatever came before. taste: (users, 8) float64; in a chunk that of its own users, of
    which the first is user number `first`. traits: (items, 8) float64. popularity: (items,) float64, it sums to 1.
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    taste: np.ndarray
    traits: np.ndarray
    popularity: np.ndarray
    first: int = 0

    def probability(self, user: int) -> np.ndarray:
        """The true law of this user's next item: (items,) float64, it sums to 1. No recommender knows more.

        >>> round(float(interactions(10, 50).probability(3).sum()), 9)
        1.0
        """
        weight = self.popularity * _sigmoid(self.traits @ self.taste[user - self.first])
        return weight / weight.sum()


def interactions(users: int, items: int, seed: int = 0) -> Interactions:
    """Events of users with items: 5 for each user and, in the mean, 20 more (geometric).

    users, items: at least 1. seed: an integer >= 0. Popularity follows Zipf's law with exponent 1; item numbers do
    not tell it. Tastes and traits are normal, so that a taste shifts the odds of an item by a factor of e or more. A
    user's events depend on the number of items, not on that of the users. 12 bytes an event.

    >>> interactions(100, 500).traits.shape
    (500, 8)
    """
    _check(users, items)
    return _between(0, users, items, seed)


def interactions_chunks(users: int, items: int, seed: int = 0, size: int = BLOCK) -> Chunks:
    """`interactions(users, items, seed)` in chunks of `size` users, the last one shorter. size: a multiple of 1024.

    >>> interactions_chunks(2000, 500)[1].taste.shape
    (976, 8)
    """
    _check(users, items)
    if size < 1 or size % BLOCK:
        raise ValueError(f"size = {size}: chunks of a multiple of {BLOCK} users")
    bounds = spans(users, size)
    return Chunks(len(bounds), lambda k: _between(*bounds[k], items, seed), users)


def _check(users: int, items: int) -> None:
    if users < 1 or items < 1:
        raise ValueError(f"users = {users}, items = {items}: at least one of each")


def _between(start: int, stop: int, items: int, seed: int) -> Interactions:
    rng = stream("interactions", seed)
    traits = rng.standard_normal((items, FACTORS))
    popularity = rng.permutation(1 / np.arange(1, items + 1))
    popularity /= popularity.sum()
    block = partial(_block, seed=seed, traits=traits, popularity=popularity)
    parts = [block(first // BLOCK, users=last - first) for first, last in _shifted(start, stop)]
    user, item, time, taste = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Interactions(user, item, time, taste, traits, popularity, start)


def _shifted(start: int, stop: int) -> list[tuple[int, int]]:
    return [(start + first, start + last) for first, last in spans(stop - start, BLOCK)]


def _block(number: int, users: int, seed: int, traits: np.ndarray, popularity: np.ndarray) -> tuple[np.ndarray, ...]:
    rng = stream("interactions", seed, number + 1)
    taste = rng.standard_normal((BLOCK, FACTORS)) * (STRENGTH / np.sqrt(FACTORS))
    user = np.repeat(np.arange(BLOCK), 4 + rng.geometric(1 / 21, BLOCK))
    time = rng.integers(YEAR, size=len(user), dtype=np.int32)
    item, below = np.empty(len(user), np.int32), np.cumsum(popularity)
    left = np.arange(len(user))
    while len(left):  # rejection sampling: a draw by popularity is kept with the probability that taste gives
        drawn = np.minimum(np.searchsorted(below, rng.random(len(left)), "right"), len(popularity) - 1)
        affinity = _sigmoid(np.einsum("nf,nf->n", taste[user[left]], traits[drawn]))
        keep = rng.random(len(left)) < affinity
        item[left[keep]] = drawn[keep]
        left = left[~keep]
    mine = np.flatnonzero(user < users)
    order = mine[np.lexsort((time[mine], user[mine]))]
    return (user[order] + number * BLOCK).astype(np.int32), item[order], time[order], taste[:users]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
