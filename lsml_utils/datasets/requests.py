"""Requests to a service in order of time: a daily rhythm, bursts of minutes, and one feature that drifts slowly."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lsml_utils.datasets.chunks import Chunks, spans, stream
from lsml_utils.datasets.kinds import Described

HOUR, DAY = 3600, 86_400
BURSTS = 3  # a day


@dataclass(frozen=True, repr=False)
class Requests(Described):
    """n requests, in order of time. time: (n,) float64, seconds since the first midnight. X: (n, 4) float64, what is
    sent to the model. prompt, output: (n,) int64, tokens that a language model reads and writes for this request.

    The truth: `intensity(t)` requests come in a second, independently of each other: the mean rate times a daily wave
    (lowest at 3, highest at 15 o'clock), times a factor of 2.5 to 4 within `BURSTS` bursts a day of 2 to 7 minutes.
    The columns of X are standard normal and independent, but the mean of column 0 grows by `drift_per_day` each day.
    """

    time: np.ndarray
    X: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    rate: float
    seed: int

    wave: ClassVar[float] = 0.6
    drift_per_day: ClassVar[float] = 0.3

    def intensity(self, t: np.ndarray) -> np.ndarray:
        """Mean number of requests in a second at the times t, in seconds: float64 of the shape of t.

        It is constant during each whole second.

        >>> day = requests(hours=24, rate=2.0)
        >>> bool(abs(day.intensity(np.arange(86400.0)).sum() / len(day.time) - 1) < 0.02)
        True
        """
        return intensity(np.asarray(t, np.float64), self.rate, self.seed)

    def bursts(self, day: int) -> np.ndarray:
        """The bursts of day 0, 1, ...: (3, 3), a row each of start and end in seconds and factor, in order of time.

        >>> requests(hours=1).bursts(0).shape
        (3, 3)
        """
        return bursts_of(day, self.seed)


def requests(hours: int = 24, rate: float = 1.0, seed: int = 0) -> Requests:
    """The requests of the first hours >= 1, on average `rate` > 0 a second (and a little more by the bursts).

    seed: an integer >= 0. What comes in one hour does not depend on how many hours there are. 56 bytes a request.

    >>> requests(hours=2).X.shape[1]
    4
    """
    parts = list(requests_chunks(hours, rate, seed))
    joined = (np.concatenate([getattr(part, name) for part in parts]) for name in ("time", "X", "prompt", "output"))
    return Requests(*joined, rate, seed)


def requests_chunks(hours: int = 24, rate: float = 1.0, seed: int = 0, size: int = 1) -> Chunks:
    """`requests(hours, rate, seed)` in chunks of `size` hours, the last one shorter.

    >>> len(requests_chunks(24, size=6))
    4
    """
    if hours < 1 or size < 1 or not 0 < rate < np.inf:
        raise ValueError(f"hours = {hours}, size = {size}, rate = {rate}: at least one hour, and a positive rate")
    bounds = spans(hours, size)

    def make(k: int) -> Requests:
        blocks = [_hour(hour, rate, seed) for hour in range(*bounds[k])]
        return Requests(*map(np.concatenate, zip(*blocks, strict=True)), rate, seed)

    return Chunks(len(bounds), make, sum(_count(hour, rate, seed)[1] for hour in range(hours)))


def intensity(t: np.ndarray, rate: float, seed: int) -> np.ndarray:
    second = np.floor(t) + 0.5
    found = rate * (1 + Requests.wave * np.sin(2 * np.pi * (second / DAY - 9 / 24)))
    for day in np.unique(second // DAY).astype(int):
        for start, end, factor in bursts_of(day, seed):
            found = np.where((second >= start) & (second < end), factor * found, found)
    return found


def bursts_of(day: int, seed: int) -> np.ndarray:
    rng = stream("requests", seed, 1, int(day))
    room = DAY // BURSTS
    starts = np.arange(BURSTS) * room + rng.integers(0, room - 420, BURSTS)  # one in each third of a day
    starts += day * DAY
    return np.stack([starts, starts + rng.integers(120, 421, BURSTS), rng.uniform(2.5, 4, BURSTS)], axis=1)


def _count(hour: int, rate: float, seed: int) -> tuple[np.random.Generator, int, np.ndarray]:
    """The stream of an hour after its first draw, the number of its requests, and its intensity second by second."""
    weights = intensity(hour * HOUR + np.arange(HOUR, dtype=np.float64), rate, seed)
    rng = stream("requests", seed, 2, hour)
    return rng, int(rng.poisson(weights.sum())), weights


def _hour(hour: int, rate: float, seed: int) -> tuple[np.ndarray, ...]:
    rng, n, weights = _count(hour, rate, seed)
    seconds = np.searchsorted(np.cumsum(weights), weights.sum() * rng.random(n), side="right")
    time = np.sort(hour * HOUR + np.minimum(seconds, HOUR - 1) + rng.random(n))
    X = rng.standard_normal((n, 4))
    X[:, 0] += Requests.drift_per_day * time / DAY
    prompt = np.clip(np.exp(rng.normal(4.0, 0.8, n)), 1, 1000).astype(np.int64)
    output = np.clip(np.exp(rng.normal(3.5, 1.0, n)), 1, 1000).astype(np.int64)
    return time, X, prompt, output
