"""Language with known meaning: reviews of two events each, and commands with their logical form and translation."""

import random
from dataclasses import dataclass

from lsml_utils.datasets.kinds import Described
from lsml_utils.datasets.reviews import Span, _Review, _text

# ------------------------------------------------------------------------------------------------------- two events


@dataclass(frozen=True, repr=False)
class Events(Described):
    """One item for each event, two for each text: item i is about event i % 2 of text i // 2.

    tokens: lists of words and punctuation marks. texts: strings. predicate: the Span of the verb that the item asks
    about, label ACTION. roles: lists of Span, the ACTION included: who did what to whom in this event.
    """

    tokens: list[list[str]]
    texts: list[str]
    predicate: list[Span]
    roles: list[list[Span]]

    def __len__(self) -> int:
        return len(self.texts)

    def tags(self) -> list[list[str]]:
        """One tag a token: B-label at a span's start, I-label inside it, O outside."""
        tagged = []
        for tokens, spans in zip(self.tokens, self.roles, strict=True):
            tags = ["O"] * len(tokens)
            for start, stop, label in spans:
                tags[start:stop] = [f"B-{label}"] + [f"I-{label}"] * (stop - start - 1)
            tagged.append(tags)
        return tagged


def events(n: int, seed: int = 0) -> Events:
    """n reviews that tell of two events, each event an item of its own: 2n items.

    The two events have the same grammar, so the words alone do not say which roles belong together: a model must
    be told which verb is meant. Text i depends on the seed only, not on n.

    >>> data = events(1)
    >>> data.tokens[0] == data.tokens[1], data.predicate[0] == data.predicate[1]
    (True, False)
    """
    if n < 1:
        raise ValueError(f"n = {n}: it must be at least 1")
    written = [_TwoEvents(random.Random(f"events {seed} {i}")) for i in range(n)]
    items = [(text.tokens, roles) for text in written for roles in (text.first, text.roles)]
    return Events(
        tokens=[list(tokens) for tokens, _ in items],
        texts=[_text(tokens) for tokens, _ in items],
        predicate=[next(span for span in roles if span.label == "ACTION") for _, roles in items],
        roles=[roles for _, roles in items],
    )


class _TwoEvents(_Review):
    """A review that tells of two events in one sentence. `first`: the roles of the first, `roles`: of the other."""

    def _event(self) -> None:
        super()._event()
        self.first, self.roles = self.roles, []
        self._say(self.rng.choice([", and", ", but", "before"]))
        super()._event()


# --------------------------------------------------------------------------------------------------------- commands

VERBS = {
    "bring": "lopa",
    "clean": "mirek",
    "drop": "suna",
    "lift": "haro",
    "open": "vile",
    "paint": "tosk",
    "turn": "wemi",
}
NOUNS = {
    "box": "kanu",
    "chair": "selo",
    "cup": "pim",
    "door": "orda",
    "lamp": "lut",
    "plate": "fesk",
    "shelf": "gramo",
    "table": "bade",
}
COLOURS = {"black": "noru", "blue": "zin", "green": "vera", "red": "rubo", "white": "alba"}
ROOMS = {"garage": "auto", "garden": "hort", "hall": "salu", "kitchen": "koko"}
TIMES = {"twice": ("2", "dudu"), "thrice": ("3", "trutru")}


@dataclass(frozen=True, repr=False)
class Instructions(Described):
    """Lists of words each: `commands` in English, their logical `forms`, and their `translations` into a made-up
    language, in which the verb comes last and a colour behind its noun."""

    commands: list[list[str]]
    forms: list[list[str]]
    translations: list[list[str]]

    def __len__(self) -> int:
        return len(self.commands)


def held_out(verb: str, noun: str) -> bool:
    """Whether this combination is kept for `instructions(..., unseen=True)`: every fifth is, each word in some.

    >>> held_out("bring", "box"), held_out("bring", "chair")
    (True, False)
    """
    return (3 * sorted(VERBS).index(verb) + sorted(NOUNS).index(noun)) % 5 == 0


def instructions(n: int, seed: int = 0, unseen: bool = False) -> Instructions:
    """n commands such as "paint the red door in the hall twice", with what they mean and how they are translated.

    A fifth of the pairs of a verb and its noun are held out: no command has one, and with `unseen` each has. Each
    verb and each noun occurs in commands of both kinds. A third of the commands join two by "and" or by "after",
    and what stands after "after" is done first: its logical form comes first. In the other language the verb stands
    last and the colour behind the noun. Command i depends on the seed and on `unseen` only, not on n.

    >>> data = instructions(1, seed=0)
    >>> " ".join(data.commands[0])
    'open the red chair'
    >>> " ".join(data.forms[0])
    'open ( chair ( red ) )'
    >>> " ".join(data.translations[0])
    'selo rubo vile'
    """
    if n < 1:
        raise ValueError(f"n = {n}: it must be at least 1")
    rows = [_command(random.Random(f"instructions {seed} {unseen} {i}"), unseen) for i in range(n)]
    return Instructions(*([row[part] for row in rows] for part in range(3)))


def _command(rng: random.Random, unseen: bool) -> tuple[list[str], list[str], list[str]]:
    command, form, translation = _clause(rng, unseen)
    if rng.random() < 1 / 3:
        other, other_form, other_translation = _clause(rng, unseen)
        if rng.random() < 0.5:
            return [*command, "and", *other], [*form, ";", *other_form], [*translation, "ti", *other_translation]
        return [*command, "after", *other], [*other_form, ";", *form], [*other_translation, "pos", *translation]
    return command, form, translation


def _clause(rng: random.Random, unseen: bool) -> tuple[list[str], list[str], list[str]]:
    pairs = [(verb, noun) for verb in sorted(VERBS) for noun in sorted(NOUNS) if held_out(verb, noun) == unseen]
    verb, noun = rng.choice(pairs)
    command, inner, translation = [verb, "the"], [noun], [NOUNS[noun]]
    if rng.random() < 0.6:
        colour = rng.choice(sorted(COLOURS))
        command.append(colour)
        inner += ["(", colour, ")"]
        translation.append(COLOURS[colour])
    command.append(noun)
    if rng.random() < 0.4:
        room = rng.choice(sorted(ROOMS))
        command += ["in", "the", room]
        inner += [",", room]
        translation = [ROOMS[room], "ne", *translation]
    form = [verb, "(", *inner, ")"]
    if rng.random() < 0.25:
        times = rng.choice(sorted(TIMES))
        count, word = TIMES[times]
        command.append(times)
        form += ["*", count]
        translation.append(word)
    return command, form, [*translation, VERBS[verb]]
