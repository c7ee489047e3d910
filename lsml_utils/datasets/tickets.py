"""Tickets of a help desk, drawn from a planted law: numbers, categories, short text, returning customers, drift."""

from dataclasses import dataclass, fields
from functools import cache
from typing import ClassVar

import numpy as np

from lsml_utils.datasets.chunks import Chunks, spans, stream
from lsml_utils.datasets.kinds import Described

BLOCK = 1024  # tickets drawn from one random stream
CUSTOMERS = 256  # of a block: four tickets each, in the mean
DAYS, STAY = 360.0, 30.0  # of the table; within which a customer writes all tickets
LENGTH = 8  # words of a text
LANGUAGES, EACH = 2, 300  # words of a language
TELLING = {  # words with a planted effect, by language
    0: (
        "broken",
        "smoke",
        "refund",
        "again",
        "lawyer",
        "stuck",
        "error",
        "leak",
        "thanks",
        "address",
        "colour",
        "gift",
    ),
    1: ("kaputt", "rauch", "geld", "wieder", "anwalt", "fest", "fehler", "leck", "danke", "adresse", "farbe", "karte"),
}
FAULTS = {  # of `export`, and what each is
    "schema": "constant",
    "amount_eur": "duplicate",
    "ticket": "identifier",
    "closed_at": "future",
    "expert_minutes": "leak",
    "satisfaction": "missing_tells",
    "": "doubled_rows",
}


@dataclass(frozen=True, repr=False)
class Tickets(Described):
    """Tickets of a help desk, in no order; nobody in it exists. y: (m,) int64, 1 for a ticket that needs an expert.

    numbers: (m, 4) float64, columns as in `names`. channel, product: (m,) int64, 0 to 3 and 0 to 5. words: (m, 8)
    int64, places in `vocabulary()`; `text(i)` joins them. language: (m,) int64, 0 or 1; one ticket in six is in
    language 1, which has its own words. time: (m,) float64, days from 0 to 360. customer: (m,) int64; a customer
    writes about four tickets, all within 30 days. trait: (m,) float64, what nobody sees of the customer.

    The truth: P(y = 1) is the sigmoid of `score()` + trait, and trait is normal with mean 0 and standard deviation
    `spread` for each customer. So `probability()`, the mean over traits, is the best prediction for customers that
    one has not met. The effect of wait grows with time: the law drifts.
    """

    numbers: np.ndarray
    channel: np.ndarray
    product: np.ndarray
    words: np.ndarray
    language: np.ndarray
    time: np.ndarray
    customer: np.ndarray
    trait: np.ndarray
    y: np.ndarray

    names: ClassVar[tuple[str, ...]] = ("tenure", "wait", "orders", "amount")
    spread: ClassVar[float] = 1.8
    bias: ClassVar[float] = -1.6
    by_channel: ClassVar[tuple[float, ...]] = (0.0, 0.5, -0.5, 0.2)
    by_product: ClassVar[tuple[float, ...]] = (0.0, 0.6, -0.6, 0.3, -0.3, 0.0)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows) -> "Tickets":
        """The tickets with these numbers, or a slice of them."""
        return Tickets(*(getattr(self, field.name)[rows] for field in fields(self)))

    def score(self) -> np.ndarray:
        """The log-odds of a customer with trait 0: (m,) float64."""
        tenure, wait, orders, amount = self.numbers.T
        drift = self.time / DAYS
        return (
            self.bias
            + (0.3 + 0.9 * drift) * (wait - 1)
            - 0.3 * np.log1p(tenure / 100)
            + 1.6 * np.tanh(2 * (amount - 1)) * np.tanh(orders - 3)
            + np.array(self.by_channel)[self.channel]
            + np.array(self.by_product)[self.product]
            + effects()[self.words].sum(axis=1)
        )

    def probability(self) -> np.ndarray:
        """The true P(y = 1) of each ticket of a customer that one has not met: (m,) float64.

        No model that sees each ticket alone has a lower expected log loss on new customers.

        >>> data = tickets(1000)
        >>> bool(abs(data.probability().mean() - data.y.mean()) < 0.1)
        True
        """
        nodes, weights = np.polynomial.hermite_e.hermegauss(31)
        score = self.score()
        chance = sum(w / (1 + np.exp(-(score + self.spread * x))) for x, w in zip(nodes, weights, strict=True))
        return chance / weights.sum()

    def text(self, i: int) -> str:
        """The text of ticket i.

        >>> len(tickets(3).text(2).split())
        8
        """
        return " ".join(vocabulary()[word] for word in self.words[i])

    def columns(self) -> dict[str, np.ndarray]:
        """What is known of a ticket when it is opened, but for its text: a dict of arrays (m,), no fault planted."""
        table = dict(zip(self.names, self.numbers.T, strict=True))
        table |= {"channel": self.channel, "product": self.product, "language": self.language}
        return {name: np.array(column) for name, column in (table | {"opened_at": self.time}).items()}

    def export(self, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
        """(columns, y, time, customer) as the desk's database gives them: `columns()` with each of the `FAULTS`.

        One row in a hundred comes twice, at the end.

        >>> columns, y, time, customer = tickets(200).export()
        >>> len(y), "expert_minutes" in columns
        (202, True)
        """
        rng, m = stream("tickets export", seed), len(self)
        table = self.columns()
        table["schema"] = np.full(m, 3)
        table["amount_eur"] = table["amount"].copy()
        table["ticket"] = 100_000 + rng.permutation(m)
        table["closed_at"] = self.time + rng.exponential(2.0, m)
        table["expert_minutes"] = np.where(self.y == 1, 5 + rng.exponential(30.0, m), 0.0)
        asked = rng.random(m) < np.where(self.y == 1, 0.3, 0.7)
        table["satisfaction"] = np.where(asked, rng.integers(1, 6, m), np.nan)
        rows = np.concatenate([np.arange(m), rng.choice(m, m // 100, replace=False)])
        table = {name: column[rows] for name, column in table.items()}
        return table, self.y[rows], self.time[rows], self.customer[rows]


@cache
def vocabulary() -> tuple[str, ...]:
    """600 words: 300 of language 0, then 300 of language 1. `effects()` says what each does to the log-odds."""
    first, second = ("ba", "do", "fe", "gi", "ku", "la", "mo", "ne", "pi", "ro"), ("lan", "mir", "ten", "sol", "vak")
    third = ("", "a", "e", "is", "on", "um")
    made = [a + b + c for c in third for b in second for a in first]  # 300
    words = []
    for language in range(LANGUAGES):
        telling = dict(zip(_places(language), TELLING[language], strict=True))
        words += [telling.get(k, made[k] + ("" if language == 0 else "en")) for k in range(EACH)]
    return tuple(words)


@cache
def effects() -> np.ndarray:
    """(600,) float64: what one occurrence of each word adds to the log-odds; 0 but for one word in five."""
    rng = stream("tickets words", 0)
    found = np.where(rng.random(LANGUAGES * EACH) < 0.2, rng.normal(0, 0.7, LANGUAGES * EACH), 0.0)
    for language in range(LANGUAGES):
        places = np.array(_places(language)) + language * EACH
        found[places] = [1.5] * 8 + [-1.2] * 4
    found.flags.writeable = False
    return found


def _places(language: int) -> list[int]:
    """Where the telling words stand among the words of a language: some are usual, others rare."""
    return (
        [4, 90, 9, 14, 150, 22, 33, 60, 2, 18, 40, 75]
        if language == 0
        else [6, 80, 3, 17, 120, 25, 30, 55, 1, 12, 44, 70]
    )


def tickets(n: int, seed: int = 0) -> Tickets:
    """n tickets, n >= 1. 152 bytes a row.

    seed: an integer >= 0. Row i does not depend on n.

    >>> tickets(100).numbers.shape
    (100, 4)
    """
    parts = list(tickets_chunks(n, seed))
    return Tickets(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Tickets)))


def tickets_chunks(n: int, seed: int = 0, size: int = BLOCK) -> Chunks:
    """`tickets(n, seed)` in chunks of `size` rows, the last one shorter. size: a multiple of 1024.

    >>> len(tickets_chunks(2000)[1])
    976
    """
    if n < 1:
        raise ValueError(f"n = {n}: at least one row")
    if size < 1 or size % BLOCK:
        raise ValueError(f"size = {size}: chunks of a multiple of {BLOCK} rows")
    bounds = spans(n, size)

    def make(k: int) -> Tickets:
        start, stop = bounds[k]
        inside = spans(stop - start, BLOCK)
        blocks = [_block(start // BLOCK + i, last - first, seed) for i, (first, last) in enumerate(inside)]
        return Tickets(*(np.concatenate([getattr(b, field.name) for b in blocks]) for field in fields(Tickets)))

    return Chunks(len(bounds), make, n)


def _block(number: int, rows: int, seed: int) -> Tickets:
    rng = stream("tickets", seed, number)
    begins = rng.uniform(0, DAYS - STAY, CUSTOMERS)
    known = rng.exponential(300.0, CUSTOMERS)  # days as a customer at day 0 of the table
    trait = Tickets.spread * rng.standard_normal(CUSTOMERS)
    speaks = (rng.random(CUSTOMERS) < 1 / 6).astype(np.int64)
    who = rng.integers(0, CUSTOMERS, BLOCK)
    time = begins[who] + STAY * rng.random(BLOCK)
    numbers = np.stack(
        [
            known[who] + time,
            rng.exponential(1.0, BLOCK),
            rng.poisson(3.0, BLOCK).astype(np.float64),
            rng.lognormal(-0.1, 0.6, BLOCK),
        ],
        axis=1,
    )
    channel, product = rng.integers(0, 4, BLOCK), rng.integers(0, 6, BLOCK)
    law = 1 / (np.arange(EACH) + 8.0)
    words = np.searchsorted(np.cumsum(law / law.sum())[:-1], rng.random((BLOCK, LENGTH))) + EACH * speaks[who][:, None]
    arrays = [numbers, channel, product, words, speaks[who], time, who + CUSTOMERS * number, trait[who]]
    block = Tickets(*arrays, y=np.zeros(BLOCK, np.int64))
    chance = 1 / (1 + np.exp(-(block.score() + block.trait)))
    y = (rng.random(BLOCK) < chance).astype(np.int64)
    return Tickets(*(array[:rows] for array in [*arrays, y]))
