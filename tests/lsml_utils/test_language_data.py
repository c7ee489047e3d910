"""Two events in a review, and commands with their forms and translations."""

import hashlib
from itertools import pairwise

import pytest

from lsml_utils import datasets
from lsml_utils.datasets.language import NOUNS, VERBS, held_out


def pairs(command):
    """The verbs and nouns of a command, in order."""
    verbs = [word for word in command if word in VERBS]
    nouns = [word for word in command if word in NOUNS]
    return list(zip(verbs, nouns, strict=True))


def test_a_text_with_two_events_is_two_items():
    data = datasets.events(200, seed=3)
    assert len(data) == len(data.tokens) == len(data.predicate) == len(data.roles) == 400
    for i in range(0, 400, 2):
        assert data.tokens[i] == data.tokens[i + 1] and data.texts[i] == data.texts[i + 1]
        assert data.predicate[i].stop <= data.predicate[i + 1].start
        spans = sorted([*data.roles[i], *data.roles[i + 1]])
        assert all(a.stop <= b.start for a, b in pairwise(spans))
        assert all(0 <= a.start < a.stop <= len(data.tokens[i]) for a in spans)
    for predicate, roles, tags in zip(data.predicate, data.roles, data.tags(), strict=True):
        assert [span for span in roles if span.label == "ACTION"] == [predicate]
        assert {"AGENT", "THEME"} <= {span.label for span in roles} and tags[predicate.start] == "B-ACTION"
        assert sum(tag.startswith("B-") for tag in tags) == len(roles)


def test_reviews_are_what_they_were():
    """Other modules use them: bit for bit."""
    data = datasets.reviews(300, seed=1)
    found = hashlib.sha256(repr((data.texts, data.entities, data.roles, data.sentiment.tolist())).encode())
    assert found.hexdigest() == "f27f499e64f5697bfeb108bd7dd4f30e08af76e8360981d939f9d959d45aa395"


@pytest.mark.parametrize("unseen", [False, True])
def test_pairs_are_held_out(unseen):
    data = datasets.instructions(600, seed=2, unseen=unseen)
    assert all(held_out(*pair) == unseen for command in data.commands for pair in pairs(command))
    assert {word for command in data.commands for word in command} >= {*VERBS, *NOUNS}


def test_forms_and_translations_say_the_same():
    data = datasets.instructions(400, seed=4)
    names = {english: other for table in (VERBS, NOUNS) for english, other in table.items()}
    for command, form, translation in zip(data.commands, data.forms, data.translations, strict=True):
        done = pairs(command)[::-1] if "after" in command else pairs(command)
        assert [word for word in form if word in VERBS] == [verb for verb, _ in done]
        said = [word for word in translation if word in names.values()]
        assert said == [names[word] for verb, noun in done for word in (noun, verb)]
        assert form.count("(") == form.count(")") >= 1
    assert len({(*form,) for form in data.forms}) > 200


def test_items_do_not_depend_on_their_number():
    assert datasets.instructions(50).forms == datasets.instructions(90).forms[:50]
    assert datasets.events(20).texts == datasets.events(30).texts[:40]
    assert datasets.instructions(50).forms != datasets.instructions(50, seed=1).forms
    assert datasets.events(20).texts != datasets.events(20, seed=1).texts
    for make in (datasets.events, datasets.instructions):
        with pytest.raises(ValueError):
            make(0)
