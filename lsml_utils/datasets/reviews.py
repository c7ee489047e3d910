"""Product reviews from a grammar: for each the sentiment, the named entities and who did what to whom are known."""

import random
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lsml_utils.datasets.chunks import Chunks, spans
from lsml_utils.datasets.kinds import Described

CHUNK = 1024  # reviews

PEOPLE = [
    "Ana",
    "Boris",
    "Chloe",
    "Daniel",
    "Elif",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Keiko",
    "Leila",
    "Marek",
    "Nadia",
    "Oscar",
    "Priya",
    "Rosa",
    "Tomas",
]
SURNAMES = [
    "Adler",
    "Brandt",
    "Castro",
    "Duarte",
    "Egger",
    "Fontaine",
    "Greco",
    "Haddad",
    "Ivanov",
    "Jansen",
    "Kimura",
    "Lopez",
    "Moreau",
    "Novak",
]
PLACES = ["Lisbon", "Oslo", "Nairobi", "Kyoto", "Lima", "Porto Novo", "San Marino", "Cork", "Turin", "Cape Town"]
BRANDS = ["Veltro", "Nordlys", "Acme", "Blue Heron", "Kestrel", "Orbita", "Tamarind"]
PRODUCTS = ["camera", "phone", "lamp", "kettle", "radio", "bicycle", "keyboard", "coffee machine", "tent", "watch"]
ASPECTS = ["battery", "screen", "handle", "sound", "price", "manual", "packaging", "design", "motor", "lid"]
GOOD = ["excellent", "great", "solid", "lovely", "reliable", "superb", "handy"]
BAD = ["awful", "poor", "flimsy", "ugly", "broken", "useless", "terrible"]
DEGREES = ["", "", "really", "very", "quite"]
TIMES = ["last week", "yesterday", "in March", "two days ago", "on Monday"]
GIVING = [("bought", "bought"), ("ordered", "ordered"), ("chose", "chosen"), ("borrowed", "borrowed")]
SENDING = [("sent", "sent"), ("gave", "given"), ("lent", "lent"), ("sold", "sold")]

ENTITIES = ("PERSON", "PLACE", "BRAND")
ROLES = ("AGENT", "ACTION", "THEME", "RECIPIENT", "PLACE", "TIME")


class Span(NamedTuple):
    """Tokens start <= i < stop of a review, and what they are."""

    start: int
    stop: int
    label: str


@dataclass(frozen=True, repr=False)
class Reviews(Described):
    """tokens: n lists of words and punctuation marks. texts: n strings. sentiment: (n,) int64, 1 good and 0 bad.
    entities: n lists of Span with PERSON, PLACE or BRAND. roles: n lists of Span around the one ACTION of the review:
    AGENT, ACTION, THEME, RECIPIENT, PLACE, TIME. Spans of one kind do not overlap."""

    tokens: list[list[str]]
    texts: list[str]
    sentiment: np.ndarray
    entities: list[list[Span]]
    roles: list[list[Span]]

    def __len__(self) -> int:
        return len(self.texts)

    def tags(self, kind: str) -> list[list[str]]:
        """One tag a token: B-label at a span's start, I-label inside it, O outside. kind: "entities" or "roles".

        >>> first = reviews(1)
        >>> len(first.tags("roles")[0]) == len(first.tokens[0])
        True
        """
        if kind not in ("entities", "roles"):
            raise ValueError(f'kind = {kind!r}: it must be "entities" or "roles"')
        tagged = []
        for tokens, spans_of_one in zip(self.tokens, getattr(self, kind), strict=True):
            tags = ["O"] * len(tokens)
            for start, stop, label in spans_of_one:
                tags[start:stop] = [f"B-{label}"] + [f"I-{label}"] * (stop - start - 1)
            tagged.append(tags)
        return tagged


def reviews(n: int, seed: int = 0) -> Reviews:
    """n reviews of one to three sentences: what happened (a sentence with roles), and an opinion.

    The sentiment is that of the main clauses. Opinions may be negated ("is not bad") and set against another in a
    subordinate clause ("although the lid is poor, ..."), so that counting good and bad words often goes wrong.
    Active and passive sentences put the same roles in different places. Review i depends on the seed only, not
    on n.

    >>> data = reviews(2, seed=1)
    >>> data.sentiment.shape
    (2,)
    """
    parts = list(reviews_chunks(n, seed))
    columns = {name: [item for part in parts for item in getattr(part, name)] for name in _LISTS}
    return Reviews(**columns, sentiment=np.concatenate([part.sentiment for part in parts]))


_LISTS = ("tokens", "texts", "entities", "roles")


def reviews_chunks(n: int, seed: int = 0) -> Chunks:
    """`reviews` in chunks of 1,024.

    >>> len(reviews_chunks(2000)[1].texts)
    976
    """
    if n < 1:
        raise ValueError(f"n = {n}: it must be at least 1")
    bounds = spans(n, CHUNK)

    def make(k: int) -> Reviews:
        written = [_Review(random.Random(f"reviews {seed} {i}")) for i in range(*bounds[k])]
        return Reviews(
            tokens=[one.tokens for one in written],
            texts=[_text(one.tokens) for one in written],
            sentiment=np.array([one.sentiment for one in written], np.int64),
            entities=[one.entities for one in written],
            roles=[one.roles for one in written],
        )

    return Chunks(len(bounds), make, n)


class _Review:
    """One review while it is being written. A phrase is a list of (words, entity or None)."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.tokens: list[str] = []
        self.entities: list[Span] = []
        self.roles: list[Span] = []
        self.sentiment = rng.randrange(2)
        self.product = [("the", None), *([(rng.choice(BRANDS), "BRAND")] if rng.random() < 0.7 else [])]
        self.product.append((rng.choice(PRODUCTS), None))
        sentences = [self._event, self._opinion]
        if rng.random() < 0.3:
            sentences.reverse()
        if rng.random() < 0.4:
            sentences.append(self._opinion)
        for sentence in sentences:
            start = len(self.tokens)
            sentence()
            self.tokens[start] = self.tokens[start][0].upper() + self.tokens[start][1:]
            self._say(".")

    def _say(self, words: str) -> None:
        self.tokens += words.split()

    def _phrase(self, phrase, role: str | None = None) -> None:
        begun = len(self.tokens)
        for words, entity in phrase:
            start = len(self.tokens)
            self._say(words)
            if entity:
                self.entities.append(Span(start, len(self.tokens), entity))
        if role:
            self.roles.append(Span(begun, len(self.tokens), role))

    def _person(self):
        name = self.rng.choice(PEOPLE)
        return [(f"{name} {self.rng.choice(SURNAMES)}" if self.rng.random() < 0.4 else name, "PERSON")]

    def _event(self) -> None:
        rng = self.rng
        giver, taker = self._person(), self._person()
        giver = [("I", None)] if rng.random() < 0.3 else giver
        to = rng.random() < 0.5
        past, participle = rng.choice(SENDING if to else GIVING)
        if early := rng.random() < 0.25:
            self._phrase([(rng.choice(TIMES), None)], "TIME")
            self._say(",")
        if giver != [("I", None)] and rng.random() < 0.4:  # passive
            self._phrase(self.product, "THEME")
            self._say("was")
            self._phrase([(participle, None)], "ACTION")
            self._recipient(taker, to)
            self._say("by")
            self._phrase(giver, "AGENT")
        else:
            self._phrase(giver, "AGENT")
            self._phrase([(past, None)], "ACTION")
            if to and rng.random() < 0.5:  # "sent Rosa the lamp"
                self._phrase(taker, "RECIPIENT")
                self._phrase(self.product, "THEME")
            else:
                self._phrase(self.product, "THEME")
                self._recipient(taker, to)
        if rng.random() < 0.5:
            self._say("in")
            self._phrase([(rng.choice(PLACES), "PLACE")], "PLACE")
        if not early and rng.random() < 0.5:
            self._phrase([(rng.choice(TIMES), None)], "TIME")
        self.roles.sort()

    def _recipient(self, taker, to: bool) -> None:
        if to or self.rng.random() < 0.5:
            self._say("to" if to else "for")
            self._phrase(taker, "RECIPIENT")

    def _opinion(self) -> None:
        rng = self.rng
        form = rng.randrange(4)
        one, other = rng.sample(ASPECTS, 2)
        if form == 0:
            self._clause(one, self.sentiment)
        elif form == 1:
            self._say("although")
            self._clause(other, 1 - self.sentiment)
            self._say(",")
            self._clause(one, self.sentiment)
        elif form == 2:
            self._clause(one, self.sentiment)
            self._say(", even if")
            self._clause(other, 1 - self.sentiment)
        else:
            self._phrase(self._person() if rng.random() < 0.5 else [("I", None)])
            self._say("would recommend it" if self.sentiment else "would not recommend it")

    def _clause(self, aspect: str, good: int) -> None:
        negated = self.rng.random() < 0.4
        degree = self.rng.choice(DEGREES)
        self._say(
            f"the {aspect} is {'not' if negated else ''} {degree} {self.rng.choice(GOOD if good ^ negated else BAD)}"
        )


def _text(tokens: list[str]) -> str:
    return " ".join(tokens).replace(" .", ".").replace(" ,", ",")
