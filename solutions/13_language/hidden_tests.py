"""Hidden tests of module 13. A docstring is the sentence that a student reads when the test fails.

Modules are made in the student's process, with an encoder that is defined there, and come back as arrays. Rounding:
all values are sums of some ten products of numbers near 1, so float64 agrees to 1e-9 and float32 to 1e-4 with room.
"""

# Helpers run where `student` is defined, maybe under another Python.
# ruff: noqa: F821, B905

import itertools
import math
import random
from collections import Counter

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from sklearn.metrics import precision_recall_fscore_support

from autograder.judging import SEEDS, Asked, Contract, close, integers, one_of, raises_student, student_side

ROUGH = {np.float64: {"rtol": 1e-9, "atol": 1e-9}, np.float32: {"rtol": 1e-4, "atol": 1e-4}}
DTYPES = [np.float64, np.float32]


def text(rng, letters, low=1, high=9):
    """A random word of some letters."""
    return bytes(rng.choice(np.frombuffer(letters, np.uint8), rng.integers(low, high)))


# ------------------------------------------------------------------------------------------------------ train_bpe


def merged(symbols, pair, new):
    """By looking for the pair from the left, and cutting it out."""
    for i in range(len(symbols) - 1):
        if (symbols[i], symbols[i + 1]) == pair:
            return [*symbols[:i], new, *merged(symbols[i + 2 :], pair, new)]
    return list(symbols)


def bpe(counts, merges):
    """By definition: all pairs of all words are counted again for each merge."""
    words, learnt = [(list(word), count) for word, count in counts.items()], []
    for new in range(256, 256 + merges):
        pairs = Counter()
        for symbols, count in words:
            for pair in itertools.pairwise(symbols):
                pairs[pair] += count
        most = max(pairs.values(), default=0)
        if most < 2:
            break
        learnt.append(min(pair for pair in pairs if pairs[pair] == most))
        words = [(merged(symbols, learnt[-1], new), count) for symbols, count in words]
    return learnt


def corpus(rng, words, letters=b"abcde", most=30):
    return {text(rng, letters): int(rng.integers(1, most)) for _ in range(words)}


@pytest.mark.exercise("train_bpe", weight=3, core=True, hint=3)
def test_most_frequent_pair_first(submission):
    """The pair with the highest count is merged first, each place counted as often as its word occurs."""
    assert close(submission.train_bpe({b"xy": 3, b"xyz": 4, b"yz": 5, b"ab": 6}, 1), [(121, 122)])
    # ab 9, bc 6, cd 5; then cd 5, ab-c 4, b-cd 2: no two are equal
    counts = {b"ab": 5, b"abc": 4, b"bcd": 2, b"cd": 3}
    assert close(submission.train_bpe(counts, 3), [(97, 98), (99, 100), (256, 99)])


@pytest.mark.exercise("train_bpe", weight=3, core=True, hint=2)
def test_ties_go_to_the_smallest_pair(submission):
    """Among pairs with equal counts the smallest is merged, by the numbers of the symbols, not by their bytes."""
    assert close(submission.train_bpe({b"zy": 2, b"ba": 2, b"ab": 2}, 2), [(97, 98), (98, 97)])
    assert close(submission.train_bpe({b"ab": 2, b"zy": 2, b"ba": 2}, 2), [(97, 98), (98, 97)])
    # (97, 99) has the smaller first symbol, (98, 97) the smaller second one
    assert close(submission.train_bpe({b"ba": 2, b"ac": 2}, 1), [(97, 99)])
    # h-el and el-l are (104, 256) and (256, 108), although the bytes "el" are smaller than "h"
    assert close(submission.train_bpe({b"hello": 9, b"hell": 4, b"lo": 3}, 3), [(101, 108), (104, 256), (257, 108)])


@pytest.mark.exercise("train_bpe", weight=3, hint=3)
def test_merges_of_random_words(submission, rng):
    """All merges agree with those found by counting everything again, for many random corpora."""
    for letters, words, count, most in [
        (b"ab", 30, 40, 3),
        (b"abcde", 60, 60, 30),
        (b"a", 9, 12, 3),
        (b"xyz", 80, 99, 2),
    ]:
        for _ in range(3):
            counts = corpus(rng, words, letters, most)
            assert close(submission.train_bpe(counts, count), bpe(counts, count))
    mixed = list(corpus(rng, 60).items())
    rng.shuffle(mixed)
    shuffled = {bytes(word): int(count) for word, count in mixed}
    assert close(submission.train_bpe(shuffled, 60), bpe(shuffled, 60))


@pytest.mark.exercise("train_bpe", weight=2, hint=2)
def test_where_the_merges_end(submission, rng):
    """It ends after `merges` merges, or where no pair has a count of 2; no words and no merges are fine."""
    for counts in ({}, {b"x": 7}, {b"xyz": 1, b"zzy": 1}, {b"\x00": 3, b"\xff": 2}):
        assert close(submission.train_bpe(counts, 5), [])
    counts = corpus(rng, 50)
    for merges in (0, 1, 2, 7):
        assert close(submission.train_bpe(counts, merges), bpe(counts, merges))
    assert close(submission.train_bpe({b"xy": 1, b"zxy": 1}, 5), [(120, 121)])
    assert close(submission.train_bpe({b"aaa": 1}, 5), [(97, 97)])
    assert close(
        submission.train_bpe({b"\x00\xff\x00": 2, b"\x80\xff": 1}, 9), bpe({b"\x00\xff\x00": 2, b"\x80\xff": 1}, 9)
    )
    # 2^40 and one more: float32 cannot tell these apart.
    large = {b"ab": 2**39 + 1, b"cd": 2**39 + 2, b"ef": 2**39}
    assert close(submission.train_bpe(large, 3), [(99, 100), (97, 98), (101, 102)])
    many = {bytes([i, j]): 2 + (i * j) % 7 for i in range(40) for j in range(9)}
    assert close(submission.train_bpe(many, 340), bpe(many, 340))


@student_side
def learnt_on_large(words, length, merges):
    """Merges of a few short frequent words, beside many long rare ones (made over there)."""
    counts = {}
    for i in range(words):
        digits = [97 + (i // 6**k) % 6 for k in range(5)]
        counts[bytes(digits * (length // 5))] = 1
    for i in range(merges):
        counts[bytes([48 + i % 36, 128 + i // 36])] = 10**6 + i
    return student.train_bpe(counts, merges)


@pytest.mark.exercise("train_bpe", weight=6, hint=1, seconds=4)
def test_merges_touch_few_words(submission):
    """With many long words that a merge does not touch, hundreds of merges take hardly longer than the first pass."""
    # 6,000 words of 50 symbols: the first pass counts 300,000 pairs. Each merge changes one short word. The reference
    # takes 0.2 s; a pass over all words for each of 600 merges, or a look for the pair in each, takes 10 s and more.
    got = submission.run(learnt_on_large, 6000, 50, 600)
    order = sorted(range(600), key=lambda i: -i)
    assert close(got, [(48 + i % 36, 128 + i // 36) for i in order])


@pytest.mark.exercise("train_bpe", weight=1)
def test_pairs_are_tuples_of_ints(submission, rng):
    """A list of tuples of two Python ints comes back."""
    counts = corpus(rng, 40)
    assert close(submission.train_bpe(counts, 20), bpe(counts, 20), typed=True)
    got = submission.train_bpe(counts, 20)
    assert close([type(got) is list, *[type(pair) is tuple for pair in got]], [True] * (1 + len(got)))


@pytest.mark.exercise("train_bpe", forgeable=True)
def test_bpe_leaves_no_trace(submission, rng):
    """The table of words is left as it is, and the same call gives the same merges."""
    contract = Contract("train_bpe", counts=one_of({b"low": 5, b"lower": 2, b"new": 6}), merges=4)
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"counts": {}}, {"merges": 0}])


# --------------------------------------------------------------------------------------------------------- encode


def encoded(data, merges):
    """By definition: every merge in its order, in every word."""
    ids, letters = [], set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    words, i = [], 0
    while i < len(data):
        start = i
        i += data[i] == 32 and i + 1 < len(data) and data[i + 1] != 32
        kind = data[i] in letters
        i += 1
        if data[i - 1] != 32:
            while i < len(data) and data[i] != 32 and (data[i] in letters) == kind:
                i += 1
        words.append(data[start:i])
    for word in words:
        symbols = list(word)
        for new, pair in enumerate(merges, start=256):
            symbols = merged(symbols, pair, new)
        ids += symbols
    return ids


def expanded(symbol, merges):
    """The bytes of a symbol, with a list of what is still to be opened."""
    found, waiting = [], [symbol]
    while waiting:
        last = waiting.pop()
        if last < 256:
            found.append(last)
        else:
            waiting += reversed(merges[last - 256])
    return bytes(found)


def a_text(rng, letters=b"abc ", length=60):
    return bytes(rng.choice(np.frombuffer(letters, np.uint8), length))


@pytest.mark.exercise("encode", weight=3, core=True, hint=1)
def test_merges_in_their_order(submission):
    """The merges are applied in the order in which they were learnt, inside words only."""
    merges = [(98, 99), (97, 98), (97, 256), (32, 97)]
    assert close(submission.encode(b"abcab ab", merges), [258, 257, 32, 257])
    assert close(submission.encode(b"aab abc bc", merges), [97, 257, 32, 258, 32, 256])
    assert close(submission.encode(b"ab ab", [(98, 32), (97, 98)]), [257, 32, 257])


@pytest.mark.exercise("encode", weight=3, core=True, hint=3)
def test_round_trip(submission, rng):
    """decode gives back what encode was given, for all bytes that there are."""
    merges = bpe(Counter(encoded_words(a_text(rng, b"abcd ", 500))), 30)
    for data in (b"abcdabcd  dcba", bytes(range(256)), b"  ", b"\xff\x00 \xc3", "naïve Wörter, 中文".encode()):
        assert close(submission.decode(submission.encode(data, merges), merges), data)


def encoded_words(data):
    return [b" " + word for word in data.split(b" ") if word]


@pytest.mark.exercise("encode", weight=3, hint=2)
def test_symbols_of_random_texts(submission, rng):
    """The symbols agree with the definition, for random texts and merges, repeated letters and long words included."""
    for letters, length in [(b"ab ", 80), (b"abcd ,.", 200), (b"a", 33), (b"aB\xff\n 1", 120), (b"ab", 700)]:
        data = a_text(rng, letters, length)
        merges = bpe(Counter(encoded_words(data)), 40)
        rng.shuffle(others := [pair for pair in merges if max(pair) < 256])
        for some in (merges, [tuple(map(int, pair)) for pair in others], merges[:1], []):
            assert close(submission.encode(data, some), encoded(data, some))
    many = [(i, j) for i in range(97, 117) for j in range(97, 117)][::-1]
    data = a_text(rng, bytes(range(97, 117)), 300)
    assert close(submission.encode(data, many), encoded(data, many))


@pytest.mark.exercise("encode", weight=2, hint=3)
def test_decode_any_symbols(submission, rng):
    """decode takes symbols in any order, also such as encode never gives, and refuses what is no symbol."""
    merges = bpe(corpus(rng, 60), 50)
    ids = rng.integers(0, 256 + len(merges), 300).tolist()
    assert close(submission.decode(ids, merges), b"".join(expanded(i, merges) for i in ids))
    assert close(submission.decode([], merges), b"")
    assert close(submission.decode([255, 0], []), b"\xff\x00")
    for bad in ([-1], [256 + len(merges)], [97, -256], [97, 10**6]):
        with raises_student(ValueError):
            submission.decode(bad, merges)
    with raises_student(ValueError):
        submission.decode([256], [])


@pytest.mark.exercise("encode", weight=1)
def test_long_chains_of_merges(submission):
    """Two thousand merges, each with the one before, are no problem."""
    chain = [(97, 98), *[(255 + k, 99 + k % 2) for k in range(1, 2000)]]
    assert close(submission.decode([255 + 2000], chain), expanded(2255, chain))
    data = b"ab" + bytes(99 + k % 2 for k in range(1, 120))
    assert close(submission.encode(data, chain), [256 + 119])


@pytest.mark.exercise("encode", weight=1)
def test_symbols_are_ints(submission, rng):
    """A list of Python ints and an object of type bytes come back; no text at all gives none."""
    merges, data = bpe(corpus(rng, 30), 20), a_text(rng, b"abcde ")
    assert close(submission.encode(data, merges), encoded(data, merges), typed=True)
    assert close(submission.encode(b"", merges), [])
    assert close(submission.encode(b" ", merges), [32]) and close(submission.encode(b"a  ", []), [97, 32, 32])
    assert close(type(submission.decode(encoded(data, merges), merges)) is bytes, True)


@student_side
def long_text(times):
    """The number of symbols of a long text (made over there), and whether it comes back."""
    data = b" the cat sat on the mat, and the dog sat on the cat." * times
    merges = [(116, 104), (256, 101), (32, 257), (97, 116), (115, 259), (110, 100)]
    ids = student.encode(data, merges)
    return len(ids) / times, student.decode(ids, merges) == data


@pytest.mark.exercise("encode", weight=1, hint=2, seconds=8)
def test_long_texts(submission):
    """A text of 150,000 bytes is encoded in time in proportion to its length, and comes back."""
    once = len(
        encoded(
            b" the cat sat on the mat, and the dog sat on the cat.",
            [(116, 104), (256, 101), (32, 257), (97, 116), (115, 259), (110, 100)],
        )
    )
    assert close(submission.run(long_text, 3000), (once, True))


@pytest.mark.exercise("encode", forgeable=True)
def test_encode_leaves_no_trace(submission, rng):
    """The merges are left as they are, and the same call gives the same symbols."""
    merges = [(97, 98), (256, 99)]
    for name, first in (("encode", b"abcab"), ("decode", [257, 97, 98])):
        contract = Contract(name, first=one_of(first), merges=one_of(merges))
        assert contract.leaves_no_trace(submission, rng, then=[{}, {"merges": []}] if name == "encode" else [{}])


# ---------------------------------------------------------------------------------------------------- mask_tokens

MASKS = Contract(
    "mask_tokens",
    ids=integers(30, 8, high=90),
    allowed=one_of(np.arange(240).reshape(30, 8) % 3 > 0),
    mask_id=one_of(99, 0, 10**6, 300),
    vocab=one_of(91, 2, 1, 1000),
    seed=one_of(4, 2**40),
    rate=one_of(0.5, 0.15, 1.0, 1, default=0.15),
)


def is_masked(got, ids, allowed, mask_id, vocab):
    """Whether (inputs, targets) is what may come back."""
    if not isinstance(got, tuple) or len(got) != 2:
        return close(got, (ids, ids))
    for part in got:
        if not (same := close(part, np.zeros(ids.shape, np.int64), atol=2**60, typed=True)):
            return same
    inputs, targets = got
    chosen = targets != -100
    fine = (inputs == mask_id) | (inputs == ids) | ((inputs >= 0) & (inputs < vocab))
    return (
        close(bool((chosen & ~allowed).any()), False)
        and close(targets[chosen], ids[chosen])
        and close(inputs[~chosen], ids[~chosen])
        and close(bool(fine.all()), True)
    )


@pytest.mark.exercise("mask_tokens", weight=3, core=True, hint=2)
def test_shares_of_the_recipe(submission, rng):
    """15% of the allowed places are chosen; 80% of these are hidden, 10% are drawn, 10% stay, and all have a target."""
    ids = rng.integers(0, 1000, (200, 200))
    allowed = rng.random(ids.shape) < 0.5
    got = submission.mask_tokens(ids, allowed, 1000, 1000, 7)
    assert is_masked(got, ids, allowed, 1000, 1000)
    inputs, targets = got
    chosen = targets != -100
    n, k = int(allowed.sum()), int(chosen.sum())
    # Six standard deviations of a binomial share.
    assert close(k / n, 0.15, atol=6 * math.sqrt(0.15 * 0.85 / n))
    for value, share in ((inputs == 1000, 0.8), (inputs == ids, 0.1 + 0.1 / 1000)):
        assert close(float(value[chosen].mean()), share, atol=6 * math.sqrt(share * (1 - share) / k))


@pytest.mark.exercise("mask_tokens", weight=2, core=True, hint=3)
def test_targets_are_the_old_ids(submission, rng):
    """Targets are the old ids at the chosen places and -100 elsewhere; places that are not allowed stay."""
    ids = rng.integers(0, 50, (40, 30))
    for allowed in (np.ones(ids.shape, bool), rng.random(ids.shape) < 0.3, np.zeros(ids.shape, bool)):
        assert is_masked(submission.mask_tokens(ids, allowed, 50, 50, 3), ids, allowed, 50, 50)
        targets = submission.mask_tokens(ids, allowed, 50, 50, 3, 1.0)[1]
        assert close(targets, np.where(allowed, ids, -100))


@pytest.mark.exercise("mask_tokens", weight=1)
def test_law_of_the_replacements(submission):
    """An id that is drawn is 0, ..., vocab - 1, all equally likely."""
    ids, allowed = np.full((100, 100), 2), np.ones((100, 100), bool)
    inputs, targets = submission.mask_tokens(ids, allowed, 9, 5, 11, 0.5)
    chosen = targets != -100
    fates = np.array([(inputs[chosen] == k).sum() for k in (0, 1, 2, 3, 4, 9)])
    law = chosen.sum() * np.array([0.02, 0.02, 0.12, 0.02, 0.02, 0.8])
    assert close(int(fates.sum()), int(chosen.sum()))
    assert close(bool(scipy.stats.chisquare(fates, law).pvalue > 1e-6), True)


@pytest.mark.exercise("mask_tokens", weight=1)
def test_law_of_the_masks(submission):
    """Each place is chosen independently of the others, so the number of chosen places varies with the seed."""
    ids, allowed = np.full((100, 100), 2), np.ones((100, 100), bool)
    # How many are chosen in each row and in each column, in draws of many seeds, is binomial.
    counts = np.array(
        [submission.mask_tokens(ids[:8, :8], allowed[:8, :8], 9, 5, 50 + s, 0.3)[1] != -100 for s in range(150)]
    )
    for axes in ((0, 1), (0, 2), (0,)):
        z = (counts.sum(axis=axes) - 0.3 * math.prod(counts.shape[a] for a in axes)) / math.sqrt(
            0.21 * math.prod(counts.shape[a] for a in axes)
        )
        assert close(z, np.zeros(z.shape), atol=6.0)
    totals = (counts.sum(axis=(1, 2)) - 0.3 * 64) / math.sqrt(0.21 * 64)
    # The sum of 150 squares of standard normal numbers: chi-squared, both tails at 1e-6.
    low, high = scipy.stats.chi2.ppf([1e-6, 1 - 1e-6], 150)
    assert close(bool(low < float((totals**2).sum()) < high), True)
    # Neighbours, and the two fates of a place, have nothing to do with each other.
    z = (counts - 0.3) / math.sqrt(0.21)
    for a, b in ((z[:, 1:], z[:, :-1]), (z[:, :, 1:], z[:, :, :-1]), (z[1:], z[:-1])):
        assert close(float((a * b).sum() / math.sqrt(a.size)), 0.0, atol=6.5)


@pytest.mark.exercise("mask_tokens", weight=1)
def test_seeds_of_the_masks(submission, rng):
    """The same seed draws the same places in every process, and other seeds draw unrelated ones."""
    ids, allowed = rng.integers(0, 9, (20, 30)), np.ones((20, 30), bool)
    found = {seed: submission.mask_tokens(ids, allowed, 9, 9, seed, 0.5) for seed in SEEDS}
    for a, b in itertools.combinations(found.values(), 2):
        both = ((a[1] != -100) - 0.5) * ((b[1] != -100) - 0.5) * 4
        assert close(float(both.mean()), 0.0, atol=7 / math.sqrt(ids.size))
    with submission.elsewhere() as other:
        for seed in (0, 1001):
            assert close(other.mask_tokens(ids, allowed, 9, 9, seed, 0.5), found[seed])


@pytest.mark.exercise("mask_tokens", weight=2, hint=3)
def test_masks_of_every_kind(submission, rng):
    """Integers of every kind and layout, small and large vocabularies, rates 0 and 1: int64 comes back."""
    for case in MASKS.cases(rng):
        ids, allowed, mask_id, vocab, _, rate = case.exact
        got = submission.mask_tokens(*case)
        assert is_masked(got, ids, allowed, mask_id, vocab)
        if len(case.args) == 6 and rate == 1:
            assert close(got[1], np.where(allowed, ids, -100))
    large = rng.integers(10**9 - 50, 10**9 + 1, (3, 4))
    assert is_masked(submission.mask_tokens(large, large > 0, 7, 10**9, 1, 0.9), large, large > 0, 7, 10**9)
    for shape in ((1, 1), (1500, 1), (1, 1500), (1200, 2)):
        ids, allowed = rng.integers(0, 9, shape), np.ones(shape, bool)
        assert is_masked(submission.mask_tokens(ids, allowed, 9, 9, 5), ids, allowed, 9, 9)
        assert close(submission.mask_tokens(ids, allowed, 9, 9, 5, 1.0)[1], ids)
        assert close(submission.mask_tokens(ids, allowed, 9, 9, 5, 0.0), (ids, np.full(shape, -100)))
        assert close(submission.mask_tokens(ids, allowed, 9, 9, 5, 0), (ids, np.full(shape, -100)))
    ids, allowed = rng.integers(0, 9, (300, 300)), np.ones((300, 300), bool)
    for rate in (0.001, 0.99):
        share = float((submission.mask_tokens(ids, allowed, 9, 9, 5, rate)[1] != -100).mean())
        assert close(share, rate, atol=6 * math.sqrt(rate * (1 - rate) / ids.size))
    # One id only can be drawn, and it is not the mask.
    inputs = submission.mask_tokens(np.full((40, 40), 7), np.ones((40, 40), bool), 0, 1, 6, 1.0)[0]
    assert close(sorted({*inputs.ravel().tolist()}), [0, 7])
    drawn = submission.mask_tokens(ids, allowed, 2**40, 5000, 6, 1.0)[0]
    assert close(bool(((drawn > 4000) & (drawn < 5000)).any()), True)


@student_side
def draws_after(name, args):
    """What the global generators of NumPy, Python and torch draw next, after a call."""
    import random

    np.random.seed(5), random.seed(5), torch.manual_seed(5)
    getattr(student, name)(*args)
    return np.random.random(3), random.random(), torch.rand(3).numpy()


@pytest.mark.exercise("mask_tokens", forgeable=True)
def test_masks_leave_the_global_generator(submission):
    """No global random state is used or changed: not NumPy's, not Python's and not torch's."""
    got = submission.run(draws_after, "mask_tokens", [np.ones((3, 4), int), np.ones((3, 4), bool), 5, 5, 9])
    third = torch.rand(3, generator=torch.Generator().manual_seed(5)).numpy()
    assert close(got, (np.random.RandomState(5).random_sample(3), random.Random(5).random(), third))


@pytest.mark.exercise("mask_tokens", forgeable=True)
def test_masks_leave_no_trace(submission, rng):
    """ids and allowed are left as they are, and both arrays are new, also where nothing is chosen."""
    arguments = {"ids": integers(6, 5, high=90), "allowed": one_of(np.ones((6, 5), bool)), "mask_id": 99, "vocab": 91}
    contract = Contract("mask_tokens", **arguments, seed=3, rate=0.5)
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"rate": 0.0}, {"rate": 1.0}])


# --------------------------------------------------------------------------------------------- modules, all of them


@student_side
def ran(name, arguments, state, inputs, slopes, single=False, holes=None, bad=0.0):
    """Outputs of a module with this state, gradients of (outputs times slopes).sum(), and how the encoder was called.

    Its encoder looks rows up in a table, adds a tenth of the position, and puts `bad` where `holes` is true.
    `single`: in float32, and the inputs are views, in the other order of memory.
    """

    class Table(torch.nn.Module):
        def __init__(self, table):
            super().__init__()
            self.table, self.calls = torch.nn.Parameter(table), []

        def forward(self, ids, valid, added=None):
            more = [] if added is None else [added]
            self.calls.append((ids.clone(), valid.clone(), [a.detach().clone() for a in more]))
            states = sum(more, self.table[ids] + 0.1 * torch.arange(ids.shape[1])[:, None])
            return states if holes is None else torch.where(holes[..., None], bad, states).to(states.dtype)

    dtype = torch.float32 if single else torch.float64
    state = {key: torch.from_numpy(value).to(dtype) for key, value in state.items()}
    net = getattr(student, name)(Table(torch.zeros_like(state["encoder.table"])), *arguments).to(dtype)
    net.load_state_dict(state)
    if single:
        inputs = [None if x is None else x.t().contiguous().t() for x in inputs]
    out = net(*inputs)
    parts = list(out) if isinstance(out, tuple) else [out]
    sum((part * torch.from_numpy(slope).to(dtype)).sum() for part, slope in zip(parts, slopes)).backward()
    grads = {key: None if p.grad is None else p.grad.numpy() for key, p in net.named_parameters()}
    return [part.detach().numpy() for part in parts], grads, net.encoder.calls


def leaf(state):
    """The state as tensors to be differentiated, in float64."""
    return {key: torch.tensor(value, requires_grad=True) for key, value in state.items()}


def grads_of(found, slopes, leaves):
    """Outputs and gradients as arrays; a gradient that is None is left out."""
    sum((part * torch.tensor(slope)).sum() for part, slope in zip(found, slopes, strict=True)).backward()
    return [part.detach().numpy() for part in found], {
        k: v.grad.numpy() for k, v in leaves.items() if v.grad is not None
    }


def table_states(leaves, ids):
    return leaves["encoder.table"][ids] + 0.1 * torch.arange(ids.shape[1])[:, None]


def lengths_mask(lengths, T):
    return torch.arange(T) < torch.tensor(lengths)[:, None]


def agrees(got, expected, dtype=np.float64):
    """Whether outputs and gradients agree, and have that dtype."""
    outputs, grads, *_ = got
    grads = {key: value for key, value in grads.items() if value is not None and (key in expected[1] or value.any())}
    return close(outputs, [part.astype(dtype) for part in expected[0]], typed=True, **ROUGH[dtype]) and close(
        {key: grads[key] for key in sorted(grads)},
        {key: expected[1][key].astype(dtype) for key in sorted(expected[1])},
        typed=True,
        **ROUGH[dtype],
    )


@student_side
def module_trace(name, arguments, inputs, others):
    """In words, what calls of a module leave behind: changed arguments, shared memory, results that change."""

    class Table(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Parameter(torch.arange(60.0).reshape(20, 3) / 60)

        def forward(self, ids, valid, added=None):
            return self.table[ids] + (0 if added is None else added)

    torch.manual_seed(1)
    net = getattr(student, name)(Table(), *arguments)

    def parts(out):
        return [part.detach() for part in (out if isinstance(out, tuple) else (out,))]

    kept = [x.clone() for x in inputs]
    first = parts(net(*inputs))
    before = [part.clone() for part in first]
    second, third = parts(net(*others)), parts(net(*inputs))
    if not all(torch.equal(a, b) for a, b in zip(kept, inputs)):
        return "the call changes its argument"
    if not all(torch.equal(a, b) for a, b in zip(before, first)):
        return "a later call changes what an earlier one returned"
    if not all(torch.allclose(a, b) for a, b in zip(before, third)):
        return "the same call returns something else after another call"
    places = [part.untyped_storage().data_ptr() for part in first + second + third]
    if len(set(places)) < len(places):
        return "results share memory"
    for mine, theirs in zip(inputs, others):
        mine.copy_(theirs)
    if not all(torch.allclose(a, b) for a, b in zip(second, parts(net(*inputs)))):
        return "the call does not see that an array has changed since the last one"
    return ""


# ------------------------------------------------------------------------------------------------- TextClassifier


def classifier_case(rng, lengths, T, width, classes):
    """A state, ids, valid and slopes."""
    B = len(lengths)
    state = {"encoder.table": rng.standard_normal((20, width)), "head.bias": rng.standard_normal(classes)}
    state["head.weight"] = rng.standard_normal((classes, width))
    ids = torch.from_numpy(rng.integers(0, 20, (B, T)))
    return state, ids, lengths_mask(lengths, T), [rng.standard_normal((B, classes))]


def classified(state, ids, valid, slopes):
    """By definition, text by text."""
    leaves = leaf(state)
    states, rows = table_states(leaves, ids), []
    for i in range(len(ids)):
        kept = [states[i, j] for j in range(ids.shape[1]) if valid[i, j]]
        mean = sum(kept) / len(kept) if kept else torch.zeros(states.shape[2], dtype=torch.float64)
        rows.append(leaves["head.weight"] @ mean + leaves["head.bias"])
    return grads_of([torch.stack(rows)], slopes, leaves)


@pytest.mark.exercise("TextClassifier", weight=3, core=True, hint=2)
def test_mean_over_the_tokens(submission, rng):
    """The logits are those of the mean of the states, over the tokens of each text only."""
    for lengths, T, width, classes in [([4, 2, 5], 5, 3, 2), ([3, 3], 3, 2, 4), ([1, 6, 2, 4], 6, 4, 3)]:
        state, ids, valid, slopes = classifier_case(rng, lengths, T, width, classes)
        got = submission.run(ran, "TextClassifier", (width, classes), state, (ids, valid), slopes)
        assert close(got[0], classified(state, ids, valid, slopes)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.exercise("TextClassifier", weight=3, hint=2)
@pytest.mark.parametrize("dtype", DTYPES)
def test_classifier_gradients(submission, rng, dtype):
    """Outputs and gradients are exact, in float64 and (views) in float32: nothing small is added to the divisor."""
    shapes = [([4, 2, 5], 5, 3, 2), ([1], 1, 1, 1), ([2, 7], 9, 5, 3), ([1100, 3], 1100, 2, 2)]
    for lengths, T, width, classes in [*shapes, ([1] * 1003, 1, 2, 2), ([3, 3], 3, 130, 120)]:
        state, ids, valid, slopes = classifier_case(rng, lengths, T, width, classes)
        # float32 sums of 1,100 terms are off by 1100 · 6e-8 of their size at most.
        got = submission.run(ran, "TextClassifier", (width, classes), state, (ids, valid), slopes, dtype == np.float32)
        assert agrees(got, classified(state, ids, valid, slopes), dtype)


@pytest.mark.exercise("TextClassifier", weight=4, hint=2)
@pytest.mark.parametrize("bad", [1e30, math.nan, math.inf])
def test_classifier_ignores_padding(submission, rng, bad):
    """What the encoder says where no token is has no influence on logits and gradients: numbers, inf or nan."""
    state, ids, valid, slopes = classifier_case(rng, [4, 1, 3], 6, 3, 2)
    valid = torch.from_numpy(rng.permuted(valid.numpy(), axis=1))
    expected = classified(state, ids, valid, slopes)
    got = submission.run(ran, "TextClassifier", (3, 2), state, (ids, valid), slopes, False, ~valid, bad)
    assert agrees(got, expected)
    short, shorter = ids[:1, :4], torch.ones(1, 4, dtype=torch.bool)
    longer = torch.cat([short, torch.zeros(1, 300, dtype=torch.int64)], 1), lengths_mask([4], 304)
    expected = classified(state, short, shorter, slopes[:1] and [slopes[0][:1]])
    got = submission.run(ran, "TextClassifier", (3, 2), state, longer, [slopes[0][:1]], False, ~longer[1], bad)
    assert agrees(got, expected)


@pytest.mark.exercise("TextClassifier", weight=2, hint=3)
def test_texts_without_tokens(submission, rng):
    """A text without a token gets the logits of a zero state, and its neighbours theirs."""
    for lengths in ([0, 3], [0], [0, 0]):
        state, ids, valid, slopes = classifier_case(rng, lengths, 4, 3, 2)
        got = submission.run(ran, "TextClassifier", (3, 2), state, (ids, valid), slopes, False, ~valid, math.nan)
        expected = classified(state, ids, valid, slopes)
        assert close(got[0], expected[0], rtol=1e-9, atol=1e-9)
        assert close(got[1]["head.bias"], expected[1]["head.bias"], rtol=1e-9, atol=1e-9)
        table = np.zeros((20, 3)) if got[1]["encoder.table"] is None else got[1]["encoder.table"]
        assert close(table, expected[1].get("encoder.table", np.zeros((20, 3))), rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("TextClassifier", weight=1)
def test_classifier_asks_the_encoder_once(submission, rng):
    """The encoder is called once, with ids and valid as they came."""
    state, ids, valid, slopes = classifier_case(rng, [4, 2, 5], 5, 3, 2)
    *_, calls = submission.run(ran, "TextClassifier", (3, 2), state, (ids, valid), slopes)
    assert close(len(calls), 1)
    assert close([calls[0][0].numpy(), calls[0][1].numpy(), list(calls[0][2])], [ids.numpy(), valid.numpy(), []])


@pytest.mark.exercise("TextClassifier", weight=1, forgeable=True)
def test_classifier_leaves_no_trace(submission):
    """ids and valid are left as they are, and what is returned is new."""
    a, b = (
        (torch.arange(12).reshape(3, 4), lengths_mask([4, 2, 3], 4)),
        (torch.arange(3, 15).reshape(3, 4), lengths_mask([1, 4, 2], 4)),
    )
    assert close(submission.run(module_trace, "TextClassifier", (3, 2), list(a), list(b)), "")


# ---------------------------------------------------------------------------------------------------- TokenTagger


def tagger_case(rng, lengths, T, W, width, tags):
    """A state, ids, valid, first, marked and slopes."""
    B = len(lengths)
    state = {"encoder.table": rng.standard_normal((20, width)), "head.bias": rng.standard_normal(tags)}
    state |= {"head.weight": rng.standard_normal((tags, width)), "mark": rng.standard_normal(width)}
    ids = torch.from_numpy(rng.integers(0, 20, (B, T)))
    first = np.array([[rng.integers(0, n) if rng.random() < 0.7 else -1 for _ in range(W)] for n in lengths])
    marked = torch.from_numpy(rng.random((B, T)) < 0.4)
    return state, ids, lengths_mask(lengths, T), torch.from_numpy(first), marked, [rng.standard_normal((B, W, tags))]


def tagged(state, ids, first, marked, slopes):
    """By definition, word by word."""
    leaves = leaf(state)
    states, found = table_states(leaves, ids), []
    for i in range(len(ids)):
        for j in range(first.shape[1]):
            at = int(first[i, j])
            h = torch.zeros(states.shape[2], dtype=torch.float64)
            if at >= 0:
                h = states[i, at] + (leaves["mark"] if marked is not None and marked[i, at] else 0)
            found.append(leaves["head.weight"] @ h + leaves["head.bias"])
    out = torch.stack(found).reshape(*first.shape, -1)
    outputs, grads = grads_of([out], slopes, leaves)
    return outputs, {k: v for k, v in grads.items() if k != "mark" or marked is not None}


@pytest.mark.exercise("TokenTagger", weight=3, core=True, hint=2)
def test_logits_of_the_first_tokens(submission, rng):
    """Each word's logits come from the state of its first token, and from zeros where there is no word."""
    for lengths, T, W, width, tags in [([4, 2, 5], 5, 3, 3, 2), ([6, 3], 6, 7, 2, 4)]:
        state, ids, valid, first, _, slopes = tagger_case(rng, lengths, T, W, width, tags)
        first[0] = first[0].clamp(min=0)
        first[-1, 0] = -1
        got = submission.run(ran, "TokenTagger", (width, tags), state, (ids, valid, first), slopes)
        assert close(got[0], tagged(state, ids, first, None, slopes)[0], rtol=1e-7, atol=1e-7)


@pytest.mark.exercise("TokenTagger", weight=3, core=True, hint=1)
def test_marked_tokens(submission, rng):
    """The mark goes to the marked tokens only, on top of their embeddings."""
    for lengths, T, W, width, tags in [([4, 2, 5], 5, 3, 3, 2), ([6, 3], 6, 7, 2, 4)]:
        state, ids, valid, first, marked, slopes = tagger_case(rng, lengths, T, W, width, tags)
        first = first.clamp(min=0)
        got = submission.run(ran, "TokenTagger", (width, tags), state, (ids, valid, first, marked), slopes)
        assert close(got[0], tagged(state, ids, first, marked, slopes)[0], rtol=1e-7, atol=1e-7)


@pytest.mark.exercise("TokenTagger", weight=3, hint=3)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tagger_gradients(submission, rng, dtype):
    """Outputs and gradients agree with automatic differentiation, in float64 and (views) in float32."""
    shapes = [
        ([4, 2, 5], 5, 3, 3, 2),
        ([1], 1, 1, 1, 1),
        ([2, 7], 9, 4, 5, 3),
        ([1100, 3], 1100, 6, 2, 2),
        ([3], 3, 1200, 2, 2),
        ([2] * 1003, 2, 1, 2, 2),
        ([3, 3], 3, 2, 130, 120),
    ]
    for lengths, T, W, width, tags in shapes:
        state, ids, valid, first, marked, slopes = tagger_case(rng, lengths, T, W, width, tags)
        first[0, -1] = max(lengths[0] - 1, 0)
        marked[0, first[0, -1]] = True
        for given in (None, marked):
            inputs = (ids, valid, first) if given is None else (ids, valid, first, given)
            got = submission.run(ran, "TokenTagger", (width, tags), state, inputs, slopes, dtype == np.float32)
            assert agrees(got, tagged(state, ids, first, given, slopes), dtype)


@pytest.mark.exercise("TokenTagger", weight=3)
@pytest.mark.parametrize("bad", [1e30, math.nan, math.inf])
def test_tagger_ignores_other_tokens(submission, rng, bad):
    """States that no word begins with have no influence on logits and gradients: numbers, inf or nan."""
    state, ids, valid, first, marked, slopes = tagger_case(rng, [4, 1, 6], 6, 3, 3, 2)
    first[0], first[2] = torch.tensor([1, -1, 3]), torch.tensor([-1, -1, 5])
    holes = torch.ones_like(valid)
    for i, j in itertools.product(range(3), range(3)):
        if first[i, j] >= 0:
            holes[i, first[i, j]] = False
    for given in (None, marked):
        inputs = (ids, valid, first) if given is None else (ids, valid, first, given)
        got = submission.run(ran, "TokenTagger", (3, 2), state, inputs, slopes, False, holes, bad)
        assert agrees(got, tagged(state, ids, first, given, slopes))


@pytest.mark.exercise("TokenTagger", weight=1, hint=1)
def test_tagger_asks_the_encoder_once(submission, rng):
    """The encoder is called once: with two arguments, or with the marks as a third one."""
    state, ids, valid, first, marked, slopes = tagger_case(rng, [4, 2, 5], 5, 3, 3, 2)
    marked[1, 3] = True  # where no token is
    for given in (None, marked, torch.zeros_like(marked)):
        inputs = (ids, valid, first, given)
        *_, calls = submission.run(ran, "TokenTagger", (3, 2), state, inputs, slopes)
        assert close(len(calls), 1)
        added = [] if given is None else [np.where(given[..., None], state["mark"], 0.0)]
        assert close([calls[0][0].numpy(), calls[0][1].numpy()], [ids.numpy(), valid.numpy()])
        assert close([a.numpy() for a in calls[0][2]], added)


@student_side
def first_mark(width):
    """The mark of a new tagger."""
    return student.TokenTagger(torch.nn.Identity(), width, 2).mark.detach().numpy()


@pytest.mark.exercise("TokenTagger", weight=1)
def test_mark_is_zeros_at_first(submission):
    """A new tagger's mark is zeros, in float32."""
    for width in (1, 130):
        assert close(submission.run(first_mark, width), np.zeros(width, np.float32), typed=True)


@pytest.mark.exercise("TokenTagger", weight=1, forgeable=True)
def test_tagger_leaves_no_trace(submission, rng):
    """All arguments are left as they are, and what is returned is new."""
    cases = [tagger_case(rng, [4, 2, 3], 4, 3, 3, 2) for _ in range(2)]
    for upto in (4, 5):
        first, second = ([*case[1:upto]] for case in cases)
        assert close(submission.run(module_trace, "TokenTagger", (3, 2), first, second), "")


# ------------------------------------------------------------------------------------------------------- f1_spans


def random_spans(rng, n):
    """Spans of all kinds: nested, overlapping, adjacent, with one of three labels, some of them twice."""
    spans = []
    for _ in range(n):
        start = int(rng.integers(0, 5))
        spans.append((start, start + int(rng.integers(1, 4)), str(rng.choice(["A", "B", "A-B"]))))
    return spans


def by_sklearn(true, found):
    """All spans that occur are the labels of a problem with many labels."""
    kinds = sorted({(i, *span) for part in (true, found) for i, spans in enumerate(part) for span in spans})
    marks = [[[(i, *span) in kinds_of(part) for i, *span in kinds]] for part in (true, found)]
    return tuple(
        float(x) for x in precision_recall_fscore_support(*map(np.array, marks), average="micro", zero_division=0)[:3]
    )


def kinds_of(part):
    return {(i, *span) for i, spans in enumerate(part) for span in spans}


@pytest.mark.exercise("f1_spans", weight=3, core=True, hint=2)
def test_precision_recall_and_f1(submission):
    """Precision, recall and F1 are right, counted over all texts together."""
    true = [[(0, 2, "A"), (3, 4, "B"), (5, 6, "A")], [(1, 2, "A")], [(0, 1, "B"), (2, 4, "C")]]
    found = [[(0, 2, "A"), (3, 4, "A")], [(1, 2, "A"), (0, 2, "A")], [(2, 3, "C")]]
    # right 2, found 5, true 6
    assert close(submission.f1_spans(true, found), (2 / 5, 2 / 6, 4 / 11), rtol=1e-12)
    assert close(submission.f1_spans(found, true), (2 / 6, 2 / 5, 4 / 11), rtol=1e-12)


@pytest.mark.exercise("f1_spans", weight=2, core=True, hint=1)
def test_repair(submission):
    """An I that continues no span with its label begins one; all other tags stay."""
    tags = ["O", "I-A", "I-A", "B-A", "I-A", "I-B", "I-B", "O", "O", "I-A", "B-B", "I-B", "I-A"]
    want = ["O", "B-A", "I-A", "B-A", "I-A", "B-B", "I-B", "O", "O", "B-A", "B-B", "I-B", "B-A"]
    assert close(submission.repair_bio(tags), want)
    assert close(submission.repair_bio(["I-A", "O"]), ["B-A", "O"])


@pytest.mark.exercise("f1_spans", weight=3, hint=2)
def test_scores_of_random_spans(submission, rng):
    """Nested, overlapping, adjacent and repeated spans are scored as by scikit-learn, one label for each span."""
    for texts, most in [(1, 3), (4, 4), (30, 6), (3, 12)]:
        for _ in range(4):
            true, found = ([random_spans(rng, int(rng.integers(0, most))) for _ in range(texts)] for _ in range(2))
            found = [[*f, *t[: int(rng.integers(0, 3))]] for f, t in zip(found, true, strict=True)]
            if any(true) or any(found):
                assert close(submission.f1_spans(true, found), by_sklearn(true, found), rtol=1e-12, atol=1e-12)


@pytest.mark.exercise("f1_spans", weight=2, hint=3)
def test_scores_without_spans(submission):
    """No span, no text, and texts in tuples are fine: what would be divided by 0 is 0.0; each text is by itself."""
    one, none = [[(0, 1, "A")]], [[]]
    for true, found in ((none, none), (one, none), (none, one), ([], []), ((), ())):
        assert close(submission.f1_spans(true, found), (0.0, 0.0, 0.0), typed=True)
    assert close(submission.f1_spans(one, one), (1.0, 1.0, 1.0), typed=True)
    assert close(submission.f1_spans([[(0, 1, "A")], []], [[], [(0, 1, "A")]]), (0.0, 0.0, 0.0))
    assert close(submission.f1_spans((((0, 1, "A"),), ()), (((0, 1, "A"), (0, 1, "A")), ())), (1.0, 1.0, 1.0))
    many = [[(i, i + 1, "A")] for i in range(1500)]
    assert close(submission.f1_spans(many, [*[[]] * 1499, many[-1]]), (1.0, 1 / 1500, 2 / 1501), rtol=1e-12)
    assert close(
        submission.f1_spans([[(k, k + 1, "A") for k in range(1500)]], [[(1499, 1500, "A")]]),
        (1.0, 1 / 1500, 2 / 1501),
        rtol=1e-12,
    )
    for true, found in ((one, []), ([], none), (none, [[], []])):
        with raises_student(ValueError):
            submission.f1_spans(true, found)


def repaired(tags):
    """By the spans that are open."""
    found, label = [], None
    for tag in tags:
        kind, _, name = tag.partition("-")
        found.append("O" if kind == "O" else f"{'I' if kind == 'I' and name == label else 'B'}-{name}")
        label = None if kind == "O" else name
    return found


@pytest.mark.exercise("f1_spans", weight=2, hint=1)
def test_repair_of_random_tags(submission, rng):
    """Random tags are repaired right, labels with a hyphen or with no letter included; a new list comes back."""
    kinds = ["O", "B-A", "I-A", "B-A-B", "I-A-B", "I-B", "B-", "I-", "I-O", "B-O", "I-I"]
    for length in (0, 1, 2, 7, 400):
        for _ in range(3):
            tags = [str(tag) for tag in rng.choice(kinds, length)]
            assert close(submission.repair_bio(tags), repaired(tags), typed=True)
            assert close(submission.repair_bio(tuple(tags)), repaired(tags))
            assert close(submission.repair_bio(repaired(tags)), repaired(tags))


@pytest.mark.exercise("f1_spans", forgeable=True)
def test_spans_leave_no_trace(submission, rng):
    """The arguments are left as they are, and each call returns a new list."""
    spans = one_of([[(0, 1, "A"), (0, 1, "A")], [(3, 4, "B")]])
    assert Contract("f1_spans", true=spans, found=spans).leaves_no_trace(submission, rng)
    assert Contract("repair_bio", tags=one_of(["I-A", "O", "B-A"])).leaves_no_trace(submission, rng)
    assert close(submission.run(is_the_list, ["B-A", "O"]), False)


@student_side
def is_the_list(tags):
    """Whether repair_bio returns the list that it was given."""
    return student.repair_bio(tags) is tags


# -------------------------------------------------------------------------------------------------- sequence_loss


def loss_case(rng, B, T, V, pad, scale=1.0, empty=0.4):
    """Logits and targets with some padding."""
    targets = rng.integers(0, V, (B, T))
    targets[rng.random((B, T)) < empty] = pad
    return scale * rng.standard_normal((B, T, V)), targets


def loss_of(logits, targets, pad):
    """The loss and its gradient by torch's own function."""
    z = torch.tensor(np.array(logits, np.float64), requires_grad=True)
    loss = F.cross_entropy(z.flatten(0, 1), torch.from_numpy(targets).flatten(), ignore_index=pad, reduction="sum")
    loss = loss / max(int((targets != pad).sum()), 1)
    loss.backward()
    return loss.item(), z.grad.numpy()


@student_side
def loss_and_slope(logits, targets, pad):
    """The loss of views in another order of memory as an array, and its gradient."""
    z, targets = logits.permute(2, 0, 1).contiguous().permute(1, 2, 0).requires_grad_(), targets.t().contiguous().t()
    loss = student.sequence_loss(z, targets, pad)
    loss.backward()
    return loss.detach().numpy(), z.grad.numpy()


@pytest.mark.exercise("sequence_loss", weight=3, core=True, hint=2)
def test_mean_over_the_tokens_of_all_texts(submission, rng):
    """The loss is the mean cross-entropy of all tokens that are not padding."""
    for B, T, V, pad in [(3, 5, 4, 0), (2, 7, 3, -100), (4, 3, 5, 4)]:
        logits, targets = loss_case(rng, B, T, V, pad)
        targets[:, 0] = 1
        targets[0, 1:] = pad
        got = submission.sequence_loss(torch.from_numpy(logits), torch.from_numpy(targets), pad)
        assert close(got, loss_of(logits, targets, pad)[0], rtol=1e-7)


@pytest.mark.exercise("sequence_loss", weight=3, hint=2)
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_gradient(submission, rng, dtype):
    """Loss and gradient agree with torch's, in float64 and float32, whatever stands for padding; both keep it."""
    shapes = [
        (3, 5, 4, 0),
        (2, 7, 3, -100),
        (4, 3, 5, 4),
        (1, 1, 1, -1),
        (1, 1, 2, 7),
        (2, 1100, 3, 1),
        (1100, 2, 2, -1),
    ]
    for B, T, V, pad in shapes:
        for scale, empty in ((1.0, 0.4), (1e-6, 0.0), (50.0, 0.5)):
            logits, targets = loss_case(rng, B, T, V, pad, scale, empty)
            logits = logits.astype(dtype)
            loss, slope = loss_of(logits, targets, pad)
            got = submission.run(loss_and_slope, torch.from_numpy(logits), torch.from_numpy(targets), pad)
            # Each logit is given exactly; a loss of up to 1e4 is rounded, 2,000 of them are added.
            assert close(got, (np.array(loss, dtype), slope.astype(dtype)), typed=True, **ROUGH[dtype])


@pytest.mark.exercise("sequence_loss", weight=2, hint=3)
def test_padding_has_no_share(submission, rng):
    """More padding and other logits there change nothing; without any token the loss is 0, and so is its gradient."""
    logits, targets = loss_case(rng, 3, 4, 5, -1)
    loss, slope = loss_of(logits, targets, -1)
    wide = np.concatenate([logits, 1e4 * rng.choice([-1, 1], (3, 300, 5))], 1)
    longer = np.concatenate([targets, np.full((3, 300), -1)], 1)
    got = submission.run(loss_and_slope, torch.from_numpy(wide), torch.from_numpy(longer), -1)
    assert close(got, (np.array(loss), np.concatenate([slope, np.zeros((3, 300, 5))], 1)), rtol=1e-9, atol=1e-12)
    for pad in (0, -100, 3, 1000):
        got = submission.run(loss_and_slope, torch.from_numpy(logits), torch.full((3, 4), pad), pad)
        assert close(got, (np.array(0.0), np.zeros((3, 4, 5))))
    got = submission.run(loss_and_slope, torch.zeros(2, 3, 1), torch.full((2, 3), -1), -1)
    assert close(got, (np.array(0.0), np.zeros((2, 3, 1))))


@pytest.mark.exercise("sequence_loss", weight=1)
def test_large_logits(submission, rng):
    """Logits of 1e4 and of 1e7 give finite losses and gradients."""
    logits, targets = rng.choice([-1.0, 1.0], (2, 6, 4)), rng.integers(0, 4, (2, 6))
    for z in (1e4 * logits, 1e4 * logits.astype(np.float32), 1e7 * logits):
        loss, slope = loss_of(z, targets, -1)
        got = submission.run(loss_and_slope, torch.from_numpy(z), torch.from_numpy(targets), -1)
        # A logarithm of a sum of exponentials, of the logits' size, is rounded before a logit is taken off.
        rounding = 8 * float(np.abs(z).max()) * float(np.finfo(z.dtype).eps)
        assert close(got, (loss, slope), rtol=rounding, atol=rounding)


@pytest.mark.exercise("sequence_loss", forgeable=True)
def test_loss_leaves_no_trace(submission, rng):
    """Logits and targets are left as they are."""
    logits, targets = loss_case(rng, 2, 3, 4, 0)
    assert close(submission.run(loss_trace, torch.from_numpy(logits), torch.from_numpy(targets)), [True] * 4)


@student_side
def loss_trace(logits, targets):
    """Whether arguments are as before, and whether an earlier loss is."""
    kept, tokens = logits.clone(), targets.clone()
    first = student.sequence_loss(logits, targets, 0)
    before = first.clone()
    student.sequence_loss(logits + 1 + logits**2, targets, 0)
    student.sequence_loss(2 * logits, targets, 0)
    same = [torch.equal(kept, logits), torch.equal(tokens, targets), torch.equal(first, before)]
    logits += logits**2
    return [*same, not torch.equal(student.sequence_loss(logits, targets, 0), before)]


# -------------------------------------------------------------------------------------------------------- Seq2Seq


def translator_case(rng, lengths, S, T, width, vocab):
    """A state, source, valid, inputs and slopes."""
    B = len(lengths)
    shapes = {
        "encoder.table": (20, width),
        "embedding.weight": (vocab, width),
        "cell.weight_ih": (3 * width, 2 * width),
    }
    shapes |= {"cell.weight_hh": (3 * width, width), "cell.bias_ih": (3 * width,), "cell.bias_hh": (3 * width,)}
    shapes |= {"out.weight": (vocab, 2 * width), "out.bias": (vocab,)}
    state = {key: rng.standard_normal(shape) for key, shape in shapes.items()}
    source, inputs = (torch.from_numpy(rng.integers(0, n, (B, k))) for n, k in ((20, S), (vocab, T)))
    slopes = [rng.standard_normal((B, T, vocab)), rng.standard_normal((B, T, S))]
    return state, source, lengths_mask(lengths, S), inputs, slopes


def translated(state, source, valid, inputs, slopes):
    """By definition, text by text and place by place, with the gates of the cell written out."""
    leaves = leaf(state)
    states, logits, weights = table_states(leaves, source), [], []
    w = states.shape[2]
    for i in range(len(source)):
        places = [j for j in range(source.shape[1]) if valid[i, j]]
        h = states[i, places]
        s, c = h.mean(0), torch.zeros(w, dtype=torch.float64)
        for token in inputs[i]:
            x = torch.cat([leaves["embedding.weight"][token], c])
            from_x = leaves["cell.weight_ih"] @ x + leaves["cell.bias_ih"]
            from_s = leaves["cell.weight_hh"] @ s + leaves["cell.bias_hh"]
            r, z = (torch.sigmoid(from_x[k * w : k * w + w] + from_s[k * w : k * w + w]) for k in (0, 1))
            new = torch.tanh(from_x[2 * w :] + r * from_s[2 * w :])
            s = (1 - z) * new + z * s
            a = torch.softmax(h @ s / math.sqrt(w), 0)
            c = a @ h
            logits.append(leaves["out.weight"] @ torch.cat([s, c]) + leaves["out.bias"])
            row = torch.zeros(source.shape[1], dtype=torch.float64)
            row[places] = 1.0
            weights.append(torch.zeros_like(row).index_add(0, torch.tensor(places), a))
    shape = len(source), inputs.shape[1], -1
    return grads_of([torch.stack(logits).reshape(shape), torch.stack(weights).reshape(shape)], slopes, leaves)


@pytest.mark.exercise("Seq2Seq", weight=4, core=True, hint=2)
def test_logits_and_attention(submission, rng):
    """Logits and attention at each step are right, for sources of different lengths."""
    for lengths, S, T, width, vocab in [([4, 2, 5], 5, 4, 3, 6), ([3], 3, 3, 2, 3), ([1, 6], 6, 5, 4, 5)]:
        state, source, valid, inputs, slopes = translator_case(rng, lengths, S, T, width, vocab)
        got = submission.run(ran, "Seq2Seq", (width, vocab), state, (source, valid, inputs), slopes)
        assert close(got[0], translated(state, source, valid, inputs, slopes)[0], rtol=1e-6, atol=1e-6)


@pytest.mark.exercise("Seq2Seq", weight=4, hint=2)
@pytest.mark.parametrize("dtype", DTYPES)
def test_translator_gradients(submission, rng, dtype):
    """Outputs and gradients agree with automatic differentiation, in float64 and (views) in float32."""
    shapes = [([4, 2, 5], 5, 4, 3, 6), ([1], 1, 1, 1, 1), ([2, 7], 9, 2, 5, 3), ([3, 1, 2], 4, 9, 2, 2)]
    for lengths, S, T, width, vocab in shapes:
        state, source, valid, inputs, slopes = translator_case(rng, lengths, S, T, width, vocab)
        state = {key: value / 2 for key, value in state.items()}  # so that float32 keeps four digits over ten steps
        got = submission.run(
            ran, "Seq2Seq", (width, vocab), state, (source, valid, inputs), slopes, dtype == np.float32
        )
        expected = translated(state, source, valid, inputs, slopes)
        size = max(1.0, *(float(np.abs(g).max()) for g in expected[1].values()))
        scaled = [got[0], {key: value / dtype(size) for key, value in got[1].items() if value is not None}]
        assert agrees(scaled, (expected[0], {key: value / size for key, value in expected[1].items()}), dtype)


@pytest.mark.exercise("Seq2Seq", weight=4, hint=3)
@pytest.mark.parametrize("bad", [1e30, math.nan, math.inf])
def test_translator_ignores_padding(submission, rng, bad):
    """Source places that are not valid have weight exactly 0 and no influence on logits and gradients."""
    state, source, valid, inputs, slopes = translator_case(rng, [4, 1, 3], 6, 4, 3, 5)
    valid = torch.from_numpy(rng.permuted(valid.numpy(), axis=1))
    expected = translated(state, source, valid, inputs, slopes)
    got = submission.run(ran, "Seq2Seq", (3, 5), state, (source, valid, inputs), slopes, False, ~valid, bad)
    assert agrees(got, expected)
    hidden = ~np.broadcast_to(valid[:, None].numpy(), got[0][1].shape)
    assert close(got[0][1][hidden], np.zeros(int(hidden.sum())))
    short = source[:1, :4], torch.ones(1, 4, dtype=torch.bool), inputs[:1]
    longer = torch.cat([short[0], torch.zeros(1, 300, dtype=torch.int64)], 1), lengths_mask([4], 304), inputs[:1]
    slopes = [slopes[0][:1], slopes[1][:1, :, :4]]
    expected = translated(state, *short, slopes)
    wide = [slopes[0], np.concatenate([slopes[1], np.ones((1, 4, 300))], 2)]
    got = submission.run(ran, "Seq2Seq", (3, 5), state, longer, wide, False, ~longer[1], bad)
    assert agrees(([got[0][0], got[0][1][:, :, :4].copy()], got[1]), expected)


@pytest.mark.exercise("Seq2Seq", weight=2, hint=2)
def test_outputs_depend_on_the_past(submission, rng):
    """Logits up to a step do not depend on later inputs, nor on the other texts of the batch; long outputs are fine."""
    state, source, valid, inputs, slopes = translator_case(rng, [4, 2], 4, 6, 3, 5)
    whole = submission.run(ran, "Seq2Seq", (3, 5), state, (source, valid, inputs), slopes)[0]
    changed = inputs.clone()
    changed[:, 4:] = (changed[:, 4:] + 1) % 5
    parts = submission.run(ran, "Seq2Seq", (3, 5), state, (source, valid, changed), slopes)[0]
    assert close([part[:, :4] for part in parts], [part[:, :4] for part in whole], rtol=1e-12, atol=1e-12)
    alone = submission.run(ran, "Seq2Seq", (3, 5), state, (source[1:], valid[1:], inputs[1:]), [s[1:] for s in slopes])[
        0
    ]
    assert close(alone, [part[1:] for part in whole], rtol=1e-9, atol=1e-9)
    state, source, valid, inputs, slopes = translator_case(rng, [3], 3, 230, 2, 3)
    got = submission.run(ran, "Seq2Seq", (2, 3), state, (source, valid, inputs), slopes)[0]
    assert close(got, translated(state, source, valid, inputs, slopes)[0], rtol=1e-6, atol=1e-6)


@pytest.mark.exercise("Seq2Seq", weight=1)
def test_many_texts_wide_states_many_words(submission, rng):
    """A thousand texts, wide states and many different tokens are fine."""
    for B, S, T, width, vocab in [(1003, 2, 1, 2, 2), (2, 3, 2, 130, 120)]:
        state, source, valid, inputs, slopes = translator_case(rng, [S] * B, S, T, width, vocab)
        state = {key: value / math.sqrt(width) for key, value in state.items()}
        inputs[-1, -1] = vocab - 1
        got = submission.run(ran, "Seq2Seq", (width, vocab), state, (source, valid, inputs), slopes)[0]
        last = [part[-2:] for part in (source, valid, inputs)]
        expected = translated(state, *last, [slope[-2:] for slope in slopes])[0]
        assert close(len(got[0]), B) and close([part[-2:] for part in got], expected, rtol=1e-7, atol=1e-7)


@pytest.mark.exercise("Seq2Seq", weight=1)
def test_translator_with_scores_far_below_zero(submission, rng):
    """Where all scores of a text are some thousands below 0, padding has weight exactly 0 all the same."""
    for single in (False, True):
        state, source, valid, inputs, slopes = translator_case(rng, [4, 2, 5], 5, 3, 4, 6)
        # The gates: the cell forgets, and its new state is tanh(20) = 1 in each of 4 entries. A score is half their sum
        # with the memory, some -9,995; float32 rounds it by 1e-3, so a weight by 1e-2 at most.
        state |= {key: 0 * state[key] for key in ("cell.weight_ih", "cell.weight_hh", "cell.bias_hh")}
        state["cell.bias_ih"] = np.repeat([0.0, -100.0, 20.0], 4)
        state["encoder.table"] = rng.integers(-8, 0, (20, 4)) / 4 - 4996
        (_, got), *_ = submission.run(ran, "Seq2Seq", (4, 6), state, (source, valid, inputs), slopes, single)
        weights = translated(state, source, valid, inputs, slopes)[0][1]
        assert close(got.sum(axis=2), np.ones((3, 3)), atol=1e-5)
        assert close(got, weights, atol=1e-2 if single else 1e-9)
        assert close(bool((got[~np.broadcast_to(valid[:, None].numpy(), got.shape)] == 0).all()), True)


@pytest.mark.exercise("Seq2Seq", weight=1)
def test_translator_with_large_scores(submission, rng):
    """Scores of thousands give finite weights that add up to 1, in float32, too; the encoder is called once."""
    for single in (False, True):
        state, source, valid, inputs, slopes = translator_case(rng, [4, 2, 5], 5, 3, 3, 4)
        state["encoder.table"] *= 300
        (logits, weights), _, calls = submission.run(
            ran, "Seq2Seq", (3, 4), state, (source, valid, inputs), slopes, single
        )
        assert close(weights.sum(axis=2), np.ones((3, 3)), atol=1e-5)
        assert close(bool(np.isfinite(logits).all()), True)
        assert close(len(calls), 1)
        assert close([calls[0][0].numpy(), calls[0][1].numpy(), list(calls[0][2])], [source.numpy(), valid.numpy(), []])


@pytest.mark.exercise("Seq2Seq", weight=1, forgeable=True)
def test_translator_leaves_no_trace(submission, rng):
    """All arguments are left as they are, and what is returned is new."""
    cases = [translator_case(rng, [4, 2, 3], 4, 3, 3, 6) for _ in range(2)]
    first, second = ([*case[1:4]] for case in cases)
    assert close(submission.run(module_trace, "Seq2Seq", (3, 6), first, second), "")


# ---------------------------------------------------------------------------------------------------- beam_search


class Language:
    """Log-probabilities of the next token, a table for each prefix, drawn when it is asked for first."""

    def __init__(self, seed, vocab, exact=False, holes=0.0, end=0, late=0.0):
        self.seed, self.vocab, self.exact, self.holes, self.end, self.late = seed, vocab, exact, holes, end, late

    def row(self, prefix):
        rng = np.random.default_rng([self.seed, *[1 + token for token in prefix]])
        if self.exact:
            row = rng.integers(-4, 0, self.vocab).astype(float)
        else:
            row = rng.standard_normal(self.vocab) * 1.5
            row[self.end] -= self.late
            row -= np.log(np.exp(row).sum())
        row[rng.random(self.vocab) < self.holes] = -np.inf
        return row

    def __call__(self, prefixes):
        return np.array([self.row(prefix) for prefix in prefixes])


def beam(model, start, end, width, most, alpha=0.0):
    """By definition, with the sums in a dictionary; and the prefixes of each round."""
    live, finished, asked = {(): 0.0}, {}, []
    for _ in range(most):
        asked.append(sorted([start, *tokens] for tokens in live))
        candidates = {}
        for tokens, total in live.items():
            for token, value in enumerate(model.row([start, *tokens])):
                if np.isfinite(value):
                    candidates[(*tokens, token)] = total + value
        kept = sorted(candidates, key=lambda tokens: (-candidates[tokens], tokens))[:width]
        finished |= {tokens: candidates[tokens] for tokens in kept if tokens[-1] == end}
        live = {tokens: candidates[tokens] for tokens in kept if tokens[-1] != end}
        if not live:
            break
    finished |= live
    if not finished:
        return ([], -math.inf), asked
    scores = {tokens: total / len(tokens) ** alpha for tokens, total in finished.items()}
    best = min(scores, key=lambda tokens: (-scores[tokens], tokens))
    return (list(best), scores[best]), asked


def same_search(got, expected):
    """Tokens exactly, the score up to rounding."""
    if not isinstance(got, tuple) or len(got) != 2:
        return close(got, expected)
    return close(got[0], expected[0], typed=True) and close(
        got[1], float(expected[1]), rtol=1e-12, atol=1e-12, typed=True
    )


@pytest.mark.exercise("beam_search", weight=3, core=True, hint=1)
def test_beam_of_every_width(submission, rng):
    """Sequence and score are those of the definition, from the greedy beam to wide ones."""
    for vocab, width, most in [(4, 1, 6), (4, 2, 6), (5, 3, 5), (3, 5, 7), (6, 4, 4)]:
        for late in (0.0, 2.0, 6.0):  # the last one hardly ever ends
            model = Language(int(rng.integers(2**40)), vocab, late=late)
            assert same_search(
                submission.beam_search(Asked(model), 9, 0, width, most), beam(model, 9, 0, width, most)[0]
            )


@pytest.mark.exercise("beam_search", weight=2, core=True, hint=1)
def test_what_greedy_misses(submission):
    """A wider beam finds the sequence that begins with the less likely token and is more likely as a whole."""
    rows = {(): [0.0, 0.55, 0.45], (1,): [0.3, 0.4, 0.3], (2,): [0.95, 0.05, 0.0]}

    def model(prefixes):
        with np.errstate(divide="ignore"):
            return np.log(np.array([rows.get(tuple(prefix[1:]), [1.0, 0.0, 0.0]) for prefix in prefixes]))

    assert close(submission.beam_search(model, 5, 0, 1, 6), ([1, 1, 0], math.log(0.55 * 0.4)), rtol=1e-12)
    assert close(submission.beam_search(model, 5, 0, 2, 6), ([2, 0], math.log(0.45 * 0.95)), rtol=1e-12)


@pytest.mark.exercise("beam_search", weight=2, hint=1)
def test_full_width_is_exact(submission, rng):
    """A beam that keeps everything finds the best of all sequences, by trying all."""
    for vocab, most in [(3, 4), (2, 6), (4, 3)]:
        for alpha in (0.0, 0.7):
            model, best = Language(int(rng.integers(2**40)), vocab), (-math.inf, [])
            for length in range(1, most + 1):
                for tokens in itertools.product(range(vocab), repeat=length):
                    ends = [token == 0 for token in tokens]
                    if any(ends[:-1]) or (not ends[-1] and length < most):
                        continue
                    total = sum(model.row([7, *tokens[:k]])[token] for k, token in enumerate(tokens))
                    best = max(best, (total / length**alpha, list(tokens)), key=lambda pair: pair[0])
            got = submission.beam_search(Asked(model), 7, 0, vocab**most, most, alpha)
            assert same_search(got, (best[1], best[0]))


@pytest.mark.exercise("beam_search", weight=3, hint=3)
def test_scores_by_length(submission, rng):
    """Sums are divided by the length to the power alpha when sequences are compared at the end, and only then."""
    for alpha in (0.0, 0.5, 1.0, 2.0, 1, 0, 15.0, 1e-9):
        for _ in range(3):
            model = Language(int(rng.integers(2**40)), 4)
            got = submission.beam_search(Asked(model), 9, 0, 4, 7, alpha)
            assert same_search(got, beam(model, 9, 0, 4, 7, alpha)[0])
    model = Language(77, 4)
    assert same_search(submission.beam_search(Asked(model), 9, 0, 3, 7), beam(model, 9, 0, 3, 7, 0.0)[0])


@pytest.mark.exercise("beam_search", weight=2, hint=2)
def test_ties_of_beams(submission, rng):
    """Among equal sums and among equal scores the smaller list of tokens is taken."""
    for width, alpha in itertools.product((1, 2, 3, 5), (0.0, 1.0)):
        for _ in range(3):
            model = Language(int(rng.integers(2**40)), 4, exact=True)
            asked, (expected, rounds) = Asked(model), beam(model, 9, 2, width, 4, alpha)
            assert same_search(submission.beam_search(asked, 9, 2, width, 4, alpha), expected)
            assert close([sorted(call[0]) for call in asked.calls], rounds)


@pytest.mark.exercise("beam_search", weight=3, hint=1)
def test_one_call_a_round(submission, rng):
    """log_probs is called once a round, with all live prefixes, and never with a finished one."""
    for width, most, vocab, end in [
        (1, 8, 4, 0),
        (3, 5, 4, 0),
        (6, 6, 4, 0),
        (2, 1, 4, 0),
        (140, 3, 14, 0),
        (2, 4, 130, 120),
    ]:
        model = Language(int(rng.integers(2**40)), vocab, end=end, late=1.0 if end == 0 else -5.0)
        asked = Asked(model)
        submission.beam_search(asked, 1234, end, width, most)
        assert close([sorted(call[0]) for call in asked.calls], beam(model, 1234, end, width, most)[1])


def from_rows(rows):
    """The language of a table: a row for each list of tokens behind the start."""
    return lambda prefixes: np.array([rows[tuple(prefix[1:])] for prefix in prefixes], float)


@pytest.mark.exercise("beam_search", weight=2, hint=3)
def test_where_beams_end(submission, rng):
    """Impossible tokens are never taken; dead ends, no ends, one token and hundreds of rounds are fine."""
    for holes in (0.3, 0.6, 0.9, 1.0):
        for _ in range(3):
            model = Language(int(rng.integers(2**40)), 3, holes=holes)
            assert same_search(submission.beam_search(Asked(model), 9, 1, 3, 5), beam(model, 9, 1, 3, 5)[0])
    tiny = from_rows({(): [-1e31, -2e31, -np.inf], (0,): [-np.inf] * 3})
    assert same_search(submission.beam_search(Asked(tiny), 9, 1, 1, 3), ([], -math.inf))
    assert same_search(submission.beam_search(Asked(tiny), 9, 1, 2, 3), ([1], -2e31))
    one = Language(5, 1)
    assert same_search(submission.beam_search(Asked(one), 3, 0, 2, 4), beam(one, 3, 0, 2, 4)[0])
    assert same_search(submission.beam_search(Asked(one), 3, 7, 2, 4), beam(one, 3, 7, 2, 4)[0])
    endless = Language(6, 3, end=2)
    assert same_search(submission.beam_search(Asked(endless), 1, 9, 2, 260), beam(endless, 1, 9, 2, 260)[0])
    for start in (0, 1, -1, 10**6):  # also a token, also the end
        model = Language(8, 3)
        assert same_search(
            submission.beam_search(Asked(Shifted(model)), start, 0, 130, 4), beam(Shifted(model), start, 0, 130, 4)[0]
        )


class Shifted:
    """The same language, whatever the start is."""

    def __init__(self, model):
        self.model = model

    def row(self, prefix):
        return self.model.row([9, *prefix[1:]])

    def __call__(self, prefixes):
        return np.array([self.row(prefix) for prefix in prefixes])


@student_side
def kept_prefixes(width):
    """What log_probs got, as it is when the search is over; and whether what it returned has changed."""
    kept, given = [], []

    def log_probs(prefixes):
        kept.append((prefixes, [list(prefix) for prefix in prefixes]))
        table = -np.abs(np.sin(np.arange(4) + np.array([[sum(prefix)] for prefix in prefixes]))) - 0.1
        given.append((table, table.copy()))
        return table

    got = student.beam_search(log_probs, 5, 0, width, 6)
    return [a == b for a, b in kept], [bool((a == b).all()) for a, b in given], got[0]


@pytest.mark.exercise("beam_search", forgeable=True)
def test_beams_leave_no_trace(submission):
    """What log_probs got, and what it returned, is as it was."""
    first, second, _ = submission.run(kept_prefixes, 3)
    assert close([*first, *second], [True] * (len(first) + len(second)))


# ----------------------------------------------------------------------------------------------------------- bleu


def grams(words, k):
    return [tuple(words[i : i + k]) for i in range(len(words) - k + 1)]


def corpus_bleu(found, true, n=4):
    """By definition, each match crossed out in the reference."""
    product = 1.0
    for k in range(1, n + 1):
        matches = total = 0
        for ours, theirs in zip(found, true, strict=True):
            left = grams(theirs, k)
            for gram in grams(ours, k):
                total += 1
                if gram in left:
                    left.remove(gram)
                    matches += 1
        product *= (matches / total if total else 0.0) ** (1 / n)
    c, r = sum(map(len, found)), sum(map(len, true))
    return 0.0 if product == 0 else product * (math.exp(1 - r / c) if c < r else 1.0)


def sentences(rng, texts, low, high, words="abc"):
    return [[str(w) for w in rng.choice(list(words), rng.integers(low, high))] for _ in range(texts)]


@pytest.mark.exercise("bleu", weight=3, core=True, hint=2)
def test_bleu_of_random_texts(submission, rng):
    """BLEU of random texts agrees with the definition: clipped counts of all texts, and the brevity penalty."""
    for n, texts, low, high in [(1, 3, 1, 6), (2, 4, 2, 7), (4, 10, 8, 20), (3, 1, 9, 12)]:
        for _ in range(4):
            found, true = sentences(rng, texts, low, high), sentences(rng, texts, low, high + 2)
            assert close(submission.bleu(found, true, n), corpus_bleu(found, true, n), rtol=1e-9)


@pytest.mark.exercise("bleu", weight=2, hint=1)
def test_bleu_of_special_texts(submission, rng):
    """Equal texts give 1.0; no match, texts that are too short and empty outputs give 0.0; n is 4 by default."""
    same = sentences(rng, 3, 5, 9)
    assert close(submission.bleu(same, same), 1.0, rtol=1e-12, typed=True)
    for found, true in (
        ([[]], [["a"]]),
        ([["b"]], [["a"]]),
        ([["a"]], [[]]),
        ([[]], [[]]),
        ([list("abc")], [list("abc")]),
    ):
        assert close(submission.bleu(found, true), 0.0, typed=True)
    for found, true in (
        (list("abcde"), list("abcdfabcde")),
        (list("aabbccdd"), list("abcdabcd")),
        (list("abcdabcdab"), list("abcd")),
    ):
        for n in (1, 2, 3, 4, 10):
            assert close(submission.bleu([tuple(found)], [tuple(true)], n), corpus_bleu([found], [true], n), rtol=1e-9)
        assert close(submission.bleu([found], [true]), corpus_bleu([found], [true]), rtol=1e-9)
    far = [["a"]], [["a", *["b"] * 29]]
    assert close(submission.bleu(*far, 1), math.exp(-29), rtol=1e-9)
    run = [str(i) for i in range(240)]
    broken = [*run[:115], "x", *run[116:]]
    for n in (100, 120, 124, 130):
        assert close(submission.bleu([broken], [run], n), corpus_bleu([broken], [run], n), rtol=1e-9)
    long = sentences(rng, 1, 1500, 1501, "abcdefgh")
    other = [[*long[0][:-1], "z"]]
    assert close(submission.bleu(other, long), corpus_bleu(other, long), rtol=1e-9)
    many = sentences(rng, 1200, 4, 6), sentences(rng, 1200, 4, 7)
    assert close(submission.bleu(*many), corpus_bleu(*many), rtol=1e-9)


@pytest.mark.exercise("bleu", forgeable=True)
def test_bleu_leaves_no_trace(submission, rng):
    """Both arguments are left as they are."""
    contract = Contract("bleu", found=one_of([["a", "b"], ["c"]]), true=one_of([["a", "b", "b"], ["c"]]), n=1)
    assert contract.leaves_no_trace(submission, rng)
