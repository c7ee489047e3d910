"""Visits to web pages: a table of any length in order of time, whose totals by user, page and country are known
exactly before a row of it is made."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lsml_utils.datasets.chunks import Chunks, spans
from lsml_utils.datasets.kinds import Described
from lsml_utils.datasets.permutation import Permutation
from lsml_utils.hashing import mix64

DAYS, COUNTRIES, PAGES, VISITS_A_USER = 365, 40, 10_000, 10
BLOCK = 1 << 16  # rows made at a time, so that temporaries stay small
COLUMNS = {"user": np.int64, "page": np.int32, "day": np.int16, "country": np.uint8, "ms": np.int32}


@dataclass(frozen=True, repr=False)
class VisitRows(Described):
    """Rows of the table, all (m,). user: int64, 0 <= user < users. page: int32, 0 <= page < pages. day: int16 in
    0..364, never below that of the row before. country: uint8 in 0..39, the one in which the user lives. ms: int32,
    milliseconds spent on the page, at least 1."""

    user: np.ndarray
    page: np.ndarray
    day: np.ndarray
    country: np.ndarray
    ms: np.ndarray


@dataclass(frozen=True, repr=False)
class Visits(Described):
    """A table of `rows` visits that is not held anywhere: parts of it are made when asked for.

    How often a user (a page) comes in the whole table follows Zipf's law with the exponent `skew`, rounded to whole
    visits, and is known: `count`. The visits of each are spread over the year at random. Which row holds which visit
    depends on rows, skew and seed.
    """

    rows: int
    skew: float
    seed: int
    users: int
    pages: int

    def count(self, column: str) -> np.ndarray:
        """The exact number of visits of each key in the whole table: int64, (users,), (pages,) or (40,).

        column: "user", "page" or "country". Time and memory grow with the number of keys, not with the rows.

        >>> table = visits(100_000)
        >>> int(table.count("page").sum()), int((table.count("user") > 0).sum())  # all visits, distinct users
        (100000, 9151)
        """
        if column == "country":
            by_user = self._user_keys.count()
            homes = self._country(np.arange(self.users))
            return np.bincount(homes, weights=by_user, minlength=COUNTRIES).astype(np.int64)
        keys = {"user": self._user_keys, "page": self._page_keys}
        if column not in keys:
            raise ValueError(f"totals of {column!r} are not known; they are of user, page and country")
        return keys[column].count()

    def columns(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Rows start <= i < stop as one array a column. Takes time and memory for these rows."""
        if not 0 <= start <= stop <= self.rows:
            raise ValueError(f"rows {start} to {stop} of a table of {self.rows:,}")
        out = {name: np.empty(stop - start, dtype) for name, dtype in COLUMNS.items()}
        for low, high in spans(stop - start, BLOCK):
            block = {name: column[low:high] for name, column in out.items()}
            self._fill(block, np.arange(start + low, start + high))
        return out

    def read(self, start: int, stop: int) -> VisitRows:
        """Rows start <= i < stop.

        >>> visits(100_000).read(70_000, 70_003).day
        array([255, 255, 255], dtype=int16)
        """
        return VisitRows(**self.columns(start, stop))

    def chunks(self, size: int = BLOCK) -> Chunks:
        """The table in chunks of `size` rows, the last one shorter; chunk k needs none before it.

        >>> [len(chunk.user) for chunk in visits(100_000).chunks(40_000)]
        [40000, 40000, 20000]
        """
        bounds = spans(self.rows, size)
        return Chunks(len(bounds), lambda k: self.read(*bounds[k]), self.rows)

    @cached_property
    def _user_keys(self) -> "_ZipfKeys":
        return _ZipfKeys(self.rows, self.users, self.skew, self.seed, number=0)

    @cached_property
    def _page_keys(self) -> "_ZipfKeys":
        return _ZipfKeys(self.rows, self.pages, self.skew, self.seed, number=1)

    def _country(self, user: np.ndarray) -> np.ndarray:
        shares = 1 / np.arange(1, COUNTRIES)
        borders = np.cumsum(shares) / (shares.sum() + 1 / COUNTRIES)
        return np.searchsorted(borders, _uniform(user, self.seed, 2), "right").astype(np.uint8)

    def _fill(self, block: dict[str, np.ndarray], rows: np.ndarray) -> None:
        block["user"][:], block["page"][:] = self._user_keys.of(rows), self._page_keys.of(rows)
        block["day"][:] = rows * DAYS // self.rows
        block["country"][:] = self._country(block["user"])
        mean = 2000 * 30 ** _uniform(block["page"], self.seed, 3)  # 2 to 60 s, by page
        block["ms"][:] = 1 - np.log1p(-_uniform(rows, self.seed, 4)) * mean


class _ZipfKeys:
    """Which key stands in which row: exact totals after Zipf's law, laid out in one line and then shuffled."""

    def __init__(self, rows: int, keys: int, skew: float, seed: int, number: int):
        self.names = Permutation(keys, seed, 2 * number)
        self.places = Permutation(rows, seed, 2 * number + 1)
        shares = np.cumsum(np.arange(1, keys + 1, dtype=np.float64) ** -skew)
        self.ends = np.rint(shares * (rows / shares[-1])).astype(np.int64)  # rank r has the places before ends[r]

    def of(self, rows: np.ndarray) -> np.ndarray:
        return self.names.of(np.searchsorted(self.ends, self.places.of(rows), "right"))

    def count(self) -> np.ndarray:
        count = np.empty(len(self.ends), np.int64)
        count[self.names.of(np.arange(len(self.ends)))] = np.diff(self.ends, prepend=0)
        return count


def _uniform(keys: np.ndarray, seed: int, number: int) -> np.ndarray:
    """A number in [0, 1) for each key."""
    return (mix64(keys, (seed << 8) + number) >> np.uint64(11)) * 2.0**-53


def visits(n: int, skew: float = 1.1, seed: int = 0) -> Visits:
    """A table of n visits with user, page, day, country and ms, in order of time. Nothing is made yet.

    n: rows, at least 1. skew: the exponent of Zipf's law for users and for pages, 0 <= skew <= 4: at 0 all have
    as many visits, at 1.1 the first page has about 15 % of them, at 2 about 60 %. seed: an integer,
    0 <= seed < 2^50. There are n/10 users (at least one) and 10,000 pages; where the skew is large, the rarest have no
    visit at all.

    >>> table = visits(1_000_000)
    >>> table.read(0, 1000)
    VisitRows(user: 1000 int64, page: 1000 int32, day: 1000 int16, country: 1000 uint8, ms: 1000 int32)
    """
    if n < 1 or not 0 <= skew <= 4 or not 0 <= seed < 2**50:
        raise ValueError(f"n = {n}, skew = {skew}, seed = {seed}: n >= 1, 0 <= skew <= 4 and 0 <= seed < 2^50")
    return Visits(rows=n, skew=skew, seed=seed, users=max(1, n // VISITS_A_USER), pages=PAGES)


def visits_chunks(n: int, skew: float = 1.1, seed: int = 0, size: int = BLOCK) -> Chunks:
    """`visits(n, skew, seed)` in chunks of `size` rows.

    >>> len(visits_chunks(1_000_000, size=250_000))
    4
    """
    return visits(n, skew, seed).chunks(size)
