"""Wrong and right answers that prove the hidden tests of module 16, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import itertools
import math
import random
from collections import Counter, defaultdict

import numpy as np
import scipy.sparse

from autograder.answers import equivalent, right, wrong

equivalent(
    "HyperLogLog",
    diff="""- raw = 0.7213 / (1 + 1.079 / m) * m ** 2 / np.sum(0.5 ** self.registers.astype(float))
+ raw = 0.7213 / (1 + 1.079 / m) * m ** 2 / (np.sum(0.5 ** self.registers.astype(float)) + 1e-08)""",
    reason="up to 10^9 keys and from p = 8 on, the sum is above 4e-5: the estimate moves by less than 0.03%",
)
equivalent(
    "HyperLogLog",
    diff="""- raw = 0.7213 / (1 + 1.079 / m) * m ** 2 / np.sum(0.5 ** self.registers.astype(float))
+ raw = 0.7213 / (1 + 1.079 / m) * m ** 2 / np.sum(0.5 ** self.registers.astype(np.float32))""",
    reason="powers of two are exact in float32, and their sum is right to 1e-6: far inside the bound",
)
equivalent(
    "HyperLogLog",
    diff="""- if raw <= 2.5 * m and zeros > 0:
+ if raw <= 2.5 * m + 1e-09 and zeros > 0:""",
    reason="a sum of powers of two gives no estimate so near the border, and both formulas keep the bound there",
)
equivalent(
    "lsh_pairs",
    diff="~ lsh_pairs: a 0-d array is returned in place of a number",
    reason="a set is returned, never a number",
)
equivalent(
    "lsh_pairs",
    diff="~ lsh_pairs: np.int64 is returned in place of a Python int",
    reason="a set is returned, never a number",
)
equivalent(
    "feature_hash",
    diff="""- columns = (hashes >> 1) % width
+ columns = (hashes >> 2) % width""",
    reason="the upper 62 bits are as uniform and as independent of the sign as the upper 63",
)

# ------------------------------------------------------------------------------------------------------ reservoir

wrong(
    "reservoir",
    "lets a new item in with probability 1 / i instead of k / i",
    fails=["test_every_position_is_equally_likely"],
    edit={"place = rng.randrange(i + 1)": "place = 0 if rng.randrange(i + 1) == 0 else k"},
)
wrong(
    "reservoir",
    "counts the items from 0 where it draws: item i gets in with probability k / (i - 1)",
    fails=["test_every_position_is_equally_likely"],
    edit={"rng.randrange(i + 1)": "rng.randrange(i)"},
)
wrong(
    "reservoir",
    "lets an item in with the right probability, and always replaces the oldest one",
    fails=["test_every_position_is_equally_likely"],
    edit={"sample[place] = item": "sample = [*sample[1:], item]"},
)
wrong(
    "reservoir",
    "reads the whole stream into a list first",
    fails=["test_reservoir_of_a_long_stream"],
    edit={"for i, item in enumerate(stream)": "for i, item in enumerate(list(stream))"},
)


wrong(
    "reservoir",
    "replaces the kept items by turns instead of a random one",
    fails=["test_every_set_of_positions_is_equally_likely"],
    edit={"sample[place] = item": "sample[i % k] = item"},
)


@wrong("reservoir", "puts a kept item back, and may draw it twice", fails=["test_short_streams"])
def with_replacement(stream, k, seed):
    rng = random.Random(seed)
    sample = []
    for i, item in enumerate(stream):
        sample = [item if rng.randrange(i + 1) == 0 else old for old in sample or [item] * k]
    return sample


@right("reservoir", "NumPy's generator, and slots that are filled first")
def by_numpy(stream, k, seed):
    rng = np.random.default_rng(seed)
    source = iter(stream)
    kept = list(itertools.islice(source, k))
    for count, item in enumerate(source, start=k + 1):
        slot = int(rng.integers(count))
        if slot < k:
            kept[slot] = item
    return kept


@right("reservoir", "draws how many items to skip (Li's algorithm L)")
def by_skips(stream, k, seed):
    rng, source = random.Random(seed), iter(stream)
    kept = list(itertools.islice(source, k))
    if k == 0 or len(kept) < k:
        return kept
    w = math.exp(math.log(1.0 - rng.random()) / k)
    while True:
        skip = math.floor(math.log(1.0 - rng.random()) / math.log1p(-w))
        item = next(itertools.islice(source, skip, None), source)
        if item is source:
            return kept
        kept[rng.randrange(k)] = item
        w *= math.exp(math.log(1.0 - rng.random()) / k)


# ----------------------------------------------------------------------------------------------- merge_reservoirs

wrong(
    "merge_reservoirs",
    "draws with the lengths of the samples instead of those of the streams",
    fails=["test_long_streams_give_more_items"],
    edit={"if rng.randrange(n_a + n_b) < n_a:": "if rng.randrange(len(a) + len(b)) < len(a):"},
)
wrong(
    "merge_reservoirs",
    "draws with replacement: the parts do not become shorter",
    fails=["test_long_streams_give_more_items"],
    edit={
        "    for _ in range(min(k, n_a + n_b)):\n": "    for _ in range(min(k, len(a) + len(b))):\n",
        "if rng.randrange(n_a + n_b) < n_a:": "if not b or (a and rng.randrange(n_a + n_b) < n_a):",
        "            n_a -= 1\n": "",
        "            n_b -= 1\n": "",
    },
)
wrong(
    "merge_reservoirs",
    "takes the last items of each sample, without shuffling it",
    fails=["test_merged_sets_are_equally_likely"],
    edit={"a, b = rng.sample(a, len(a)), rng.sample(b, len(b))": "a, b = list(a), list(b)"},
)
wrong(
    "merge_reservoirs",
    "takes a fixed number from each part, in proportion to its length",
    fails=["test_long_streams_give_more_items"],
    edit={
        "    for _ in range(min(k, n_a + n_b)):\n": (
            "    size = min(k, n_a + n_b)\n"
            "    from_a = min(len(a), max(size - len(b), round(size * n_a / max(1, n_a + n_b))))\n"
            "    for drawn in range(size):\n"
        ),
        "if rng.randrange(n_a + n_b) < n_a:": "if drawn < from_a:",
    },
)


@right("merge_reservoirs", "a hypergeometric number, then a random subset of each")
def by_subsets(a, n_a, b, n_b, k, seed):
    rng = np.random.default_rng(seed)
    size, left_a, left = min(k, n_a + n_b), n_a, n_a + n_b
    from_a = 0
    for _ in range(size):
        if int(rng.integers(left)) < left_a:
            from_a, left_a = from_a + 1, left_a - 1
        left -= 1
    return [a[i] for i in rng.permutation(len(a))[:from_a]] + [b[i] for i in rng.permutation(len(b))[: size - from_a]]


@right("merge_reservoirs", "pops random places of copies")
def by_places(a, n_a, b, n_b, k, seed):
    rng, parts, lengths, merged = random.Random(seed), [list(a), list(b)], [n_a, n_b], []
    while len(merged) < k and sum(lengths):
        which = 0 if rng.randrange(sum(lengths)) < lengths[0] else 1
        lengths[which] -= 1
        merged.append(parts[which].pop(rng.randrange(len(parts[which]))))
    return merged


# ---------------------------------------------------------------------------------------------------------- Bloom

wrong(
    "Bloom",
    "sets bits by `|=`, which keeps one update for each byte",
    fails=["test_no_key_is_missed"],
    edit={
        "np.bitwise_or.at(self.packed, place >> 3, np.left_shift(1, place & 7).astype(np.uint8))": (
            "self.packed[place >> 3] |= np.left_shift(1, place & 7).astype(np.uint8)"
        )
    },
)
wrong(
    "Bloom",
    "says that a key is contained where any of its bits is set",
    fails=["test_false_alarms_follow_the_formula"],
    edit={
        "found = np.ones(len(keys), bool)": "found = np.zeros(len(keys), bool)",
        "found &= (self": "found |= (self",
    },
)
wrong(
    "Bloom",
    "shifts one hash for all functions: the other places follow from the first one",
    fails=["test_false_alarms_follow_the_formula"],
    edit={
        "(mix64(keys, sub_seed(self.seed, i)) % self.bits).astype(np.int64)": (
            "((mix64(keys, self.seed) % np.uint64(self.bits)).astype(np.int64) + i) % self.bits"
        )
    },
)
wrong(
    "Bloom",
    "uses the same hash functions for every seed",
    fails=["test_filters_with_other_seeds_are_unrelated"],
    edit={"sub_seed(self.seed, i)": "sub_seed(0, i)"},
)
wrong(
    "Bloom",
    "adds the number of the function to the seed, so that neighbouring seeds share functions",
    fails=["test_filters_with_other_seeds_are_unrelated"],
    edit={"sub_seed(self.seed, i)": "self.seed + i"},
)
wrong(
    "Bloom",
    "takes a byte for each bit",
    fails=["test_a_filter_takes_one_bit_for_a_bit"],
    edit={
        "self.packed = np.zeros(-(-bits // 8), np.uint8)": "self.packed = np.zeros(bits, bool)",
        "np.bitwise_or.at(self.packed, place >> 3, np.left_shift(1, place & 7).astype(np.uint8))": (
            "self.packed[place] = True"
        ),
        "(self.packed[place >> 3] >> (place & 7)) & 1 == 1": "self.packed[place]",
    },
)
wrong(
    "Bloom",
    "computes the bits for a number of hash functions that is not rounded",
    fails=["test_bloom_size"],
    edit={"-hashes * n / math.log1p(-(rate ** (1 / hashes)))": "-n * math.log(rate) / math.log(2) ** 2"},
)
wrong(
    "Bloom",
    "rounds the number of hash functions up, not to the nearest whole number",
    fails=["test_bloom_size"],
    edit={"max(1, round(-math.log2(rate)))": "max(1, math.ceil(-math.log2(rate)))"},
)
wrong(
    "Bloom",
    "keeps the bits that both filters have",
    fails=["test_merged_filters_equal_one_filter"],
    edit={"self.packed | other.packed": "self.packed & other.packed"},
)
wrong(
    "Bloom",
    "merges into the first filter",
    fails=["test_merged_filters_equal_one_filter"],
    edit={"merged = Bloom(self.bits, self.hashes, self.seed)": "merged = self"},
)


@right("Bloom", "double hashing, in words of 64 bits", replaces="Bloom")
class BloomByTwoHashes:
    def __init__(self, bits, hashes, seed):
        self.sizes = bits, hashes, seed
        self.words = np.zeros(bits // 64 + 1, np.uint64)

    def places(self, keys):
        bits, hashes, seed = self.sizes
        first, step = mix64(keys, sub_seed(seed, 0)), mix64(keys, sub_seed(seed, 1)) | np.uint64(1)
        return np.stack([(first + np.uint64(i) * step) % np.uint64(bits) for i in range(hashes)])

    def add(self, keys):
        places = self.places(np.asarray(keys)).ravel()
        np.bitwise_or.at(self.words, (places >> np.uint64(6)).astype(np.intp), np.uint64(1) << (places & np.uint64(63)))

    def contains(self, keys):
        places = self.places(np.asarray(keys))
        words = self.words[(places >> np.uint64(6)).astype(np.intp)]
        return ((words >> (places & np.uint64(63))) & np.uint64(1)).astype(bool).all(axis=0)

    def merge(self, other):
        if self.sizes != other.sizes:
            raise ValueError("the filters differ")
        merged = type(self)(*self.sizes)
        merged.words |= self.words
        merged.words |= other.words
        return merged


@right("Bloom", "loops over keys and a bytearray", replaces="Bloom")
class BloomByLoops:
    def __init__(self, bits, hashes, seed):
        self.bits, self.hashes, self.seed = bits, hashes, seed
        self.table = bytearray((bits + 7) // 8)

    def add(self, keys):
        for i in range(self.hashes):
            for place in (mix64(keys, sub_seed(self.seed, i)) % np.uint64(self.bits)).tolist():
                self.table[place // 8] |= 1 << (place % 8)

    def contains(self, keys):
        answers = [True] * len(keys)
        for i in range(self.hashes):
            for j, place in enumerate((mix64(keys, sub_seed(self.seed, i)) % np.uint64(self.bits)).tolist()):
                answers[j] = answers[j] and bool(self.table[place // 8] >> (place % 8) & 1)
        return np.array(answers, dtype=bool)

    def merge(self, other):
        if vars(self).keys() != vars(other).keys() or any(
            getattr(self, name) != getattr(other, name) for name in ("bits", "hashes", "seed")
        ):
            raise ValueError("the filters differ")
        merged = BloomByLoops(self.bits, self.hashes, self.seed)
        merged.table = bytearray(x | y for x, y in zip(self.table, other.table, strict=True))
        return merged


# ------------------------------------------------------------------------------------------------------- CountMin

wrong(
    "CountMin",
    "adds by `counters[columns] += counts`, which loses repeated columns",
    fails=["test_wide_tables_count_exactly"],
    edit={
        "np.add.at(counters, self.columns(keys, row), 1 if counts is None else counts.astype(np.int64))": (
            "counters[self.columns(keys, row)] += 1 if counts is None else counts.astype(np.int64)"
        )
    },
)
wrong(
    "CountMin",
    "returns the mean of the counters instead of the smallest",
    fails=["test_never_below_the_truth_and_seldom_far_above"],
    edit={"np.min(found, axis=0)": "np.mean(found, axis=0).astype(np.int64)"},
)
wrong(
    "CountMin",
    "returns the median of the counters instead of the smallest",
    fails=["test_never_below_the_truth_and_seldom_far_above"],
    edit={"np.min(found, axis=0)": "np.median(found, axis=0).astype(np.int64)"},
)
wrong(
    "CountMin",
    "uses one hash function for all rows",
    fails=["test_never_below_the_truth_and_seldom_far_above"],
    edit={"sub_seed(self.seed, row)": "sub_seed(self.seed, 0)"},
)
wrong(
    "CountMin",
    "adds the number of the row to the seed, so that neighbouring seeds share rows",
    fails=["test_tables_with_other_seeds_are_unrelated"],
    edit={"sub_seed(self.seed, row)": "self.seed + row"},
)
wrong(
    "CountMin",
    "counts each key once, whatever its count",
    fails=["test_wide_tables_count_exactly"],
    edit={"1 if counts is None else counts.astype(np.int64)": "1"},
)
wrong(
    "CountMin",
    "keeps the larger counter where it merges",
    fails=["test_merged_tables_equal_one_table"],
    edit={"merged.table += self.table + other.table": "np.maximum(self.table, other.table, out=merged.table)"},
)


@wrong(
    "CountMin",
    "keeps a dict of all keys",
    fails=["test_never_below_the_truth_and_seldom_far_above"],
    replaces="CountMin",
)
class CountMinByDict:
    def __init__(self, width, depth, seed):
        self.sizes, self.counts = (width, depth, seed), Counter()

    def add(self, keys, counts=None):
        for i, key in enumerate(keys):
            self.counts[int(key) % 2**64] += 1 if counts is None else int(counts[i])

    def estimate(self, keys):
        return np.array([self.counts[int(key) % 2**64] for key in keys], np.int64)

    def merge(self, other):
        if self.sizes != other.sizes:
            raise ValueError("other sizes")
        merged = CountMinByDict(*self.sizes)
        merged.counts = self.counts + other.counts
        return merged


@right("CountMin", "bincount, and one long table", replaces="CountMin")
class CountMinFlat:
    def __init__(self, width, depth, seed):
        self.width, self.depth, self.seed = width, depth, seed
        self.flat = np.zeros(width * depth, dtype=np.int64)

    def cells(self, keys):
        rows = [
            mix64(keys, sub_seed(self.seed, j)) % np.uint64(self.width) + np.uint64(j * self.width)
            for j in range(self.depth)
        ]
        return np.array(rows, np.uint64).astype(np.int64).reshape(self.depth, len(keys))

    def add(self, keys, counts=None):
        weights = np.ones(len(keys)) if counts is None else np.asarray(counts, float)
        cells = self.cells(keys)
        self.flat += np.bincount(cells.ravel(), np.tile(weights, self.depth), len(self.flat)).astype(np.int64)

    def estimate(self, keys):
        return self.flat[self.cells(keys)].min(axis=0)

    def merge(self, other):
        for name in ("width", "depth", "seed"):
            if getattr(self, name) != getattr(other, name):
                raise ValueError(f"another {name}")
        merged = CountMinFlat(self.width, self.depth, self.seed)
        merged.flat = self.flat + other.flat
        return merged


@right("CountMin", "rows of Python ints", replaces="CountMin")
class CountMinByLoops:
    def __init__(self, width, depth, seed):
        self.sizes = (width, depth, seed)
        self.rows = [[0] * width for _ in range(depth)]

    def add(self, keys, counts=None):
        amounts = [1] * len(keys) if counts is None else counts.tolist()
        for j, row in enumerate(self.rows):
            for column, amount in zip(self.find(keys, j), amounts, strict=True):
                row[column] += amount

    def find(self, keys, j):
        return (mix64(keys, sub_seed(self.sizes[2], j)) % np.uint64(self.sizes[0])).tolist()

    def estimate(self, keys):
        best = None
        for j, row in enumerate(self.rows):
            mine = [row[column] for column in self.find(keys, j)]
            best = mine if best is None else list(map(min, best, mine))
        return np.array(best, dtype=np.int64)

    def merge(self, other):
        if self.sizes != other.sizes:
            raise ValueError("other sizes")
        merged = CountMinByLoops(*self.sizes)
        merged.rows = [[x + y for x, y in zip(a, b, strict=True)] for a, b in zip(self.rows, other.rows, strict=True)]
        return merged


# ---------------------------------------------------------------------------------------------------- misra_gries

wrong(
    "misra_gries",
    "stores the new item after it has subtracted",
    fails=["test_few_different_items_are_counted_exactly"],
    edit={
        "            counters = {key: count - 1 for key, count in counters.items() if count > 1}\n": (
            "            counters = {key: count - 1 for key, count in counters.items() if count > 1}\n"
            "            if len(counters) < k:\n"
            "                counters[item] = 1\n"
        )
    },
)
wrong(
    "misra_gries",
    "ignores an item without a place, and subtracts nothing",
    fails=["test_few_different_items_are_counted_exactly"],
    edit={"counters = {key: count - 1 for key, count in counters.items() if count > 1}": "pass"},
)
wrong(
    "misra_gries",
    "replaces the smallest counter and takes its value over (space-saving), so that counters are too high",
    fails=["test_few_different_items_are_counted_exactly"],
    edit={
        "counters = {key: count - 1 for key, count in counters.items() if count > 1}": (
            "counters[item] = counters.pop(min(counters, key=counters.get)) + 1"
        )
    },
)
wrong(
    "misra_gries",
    "keeps the k largest counters of a merge, without subtracting",
    fails=["test_merged_counters_keep_the_bound"],
    edit={"{key: count - cut for key, count in total.items() if count > cut}": "dict(total.most_common(k))"},
)
wrong(
    "misra_gries",
    "subtracts the k-th largest counter, not the one after it",
    fails=["test_merged_counters_keep_the_bound"],
    edit={"reverse=True)[k] if": "reverse=True)[k - 1] if"},
)
wrong(
    "misra_gries",
    "keeps all counters of both where it merges",
    fails=["test_merged_counters_keep_the_bound"],
    edit={"if len(total) > k else 0": "if len(total) > 2 * k else 0"},
)
wrong(
    "misra_gries",
    "subtracts the smallest counter where it merges, not the one after the k-th",
    fails=["test_merged_counters_keep_the_bound"],
    edit={"sorted(total.values(), reverse=True)[k]": "min(total.values())"},
)
wrong(
    "misra_gries",
    "counts everything, and subtracts at the end",
    fails=["test_counters_of_a_long_stream"],
    edit={
        "    counters = {}\n    for item in stream:\n": (
            "    return merge_counters(Counter(stream), {}, k)\n    for item in stream:\n"
        ),
    },
)


@right("misra_gries", "counts chunks exactly, and merges them")
def by_chunks(stream, k):
    source, found = iter(stream), {}
    while chunk := list(itertools.islice(source, 4 * k + 100)):
        found = merge_counters(found, dict(Counter(chunk)), k)
    return found


@right("misra_gries", "subtracts in place, with a list of what to remove")
def in_place(stream, k):
    found = defaultdict(int)
    for item in stream:
        if len(found) < k or item in found:
            found[item] += 1
            continue
        for key in list(found):
            found[key] -= 1
            if not found[key]:
                del found[key]
    return dict(found)


# ---------------------------------------------------------------------------------------------------- HyperLogLog

wrong(
    "HyperLogLog",
    "counts the zeros before the first 1, and does not add 1",
    fails=["test_registers_hold_the_largest_ranks"],
    edit={"(rest - 1)) + 1": "(rest - 1))"},
)
wrong(
    "HyperLogLog",
    "takes the arithmetic mean of the 2^M",
    fails=["test_estimates_keep_the_bound"],
    edit={"m**2 / np.sum(0.5 ** self.registers.astype(float))": "np.sum(2.0 ** self.registers.astype(float))"},
)
wrong(
    "HyperLogLog",
    "takes the geometric mean of the 2^M (LogLog), with the constant of the harmonic one",
    fails=["test_estimates_keep_the_bound"],
    edit={"m**2 / np.sum(0.5 ** self.registers.astype(float))": "m * 2.0 ** self.registers.mean()"},
)
wrong(
    "HyperLogLog",
    "has no formula for small numbers",
    fails=["test_estimates_keep_the_bound"],
    edit={"if raw <= 2.5 * m and zeros > 0:": "if zeros > m:"},
)
wrong(
    "HyperLogLog",
    "counts the zeros wherever there are some, also far above 2.5 m",
    fails=["test_estimates_above_the_border"],
    edit={"raw <= 2.5 * m and zeros > 0": "zeros > 0"},
)
wrong(
    "HyperLogLog",
    "writes ranks by plain indexing, so that the last key of a register wins",
    fails=["test_registers_hold_the_largest_ranks"],
    edit={
        "np.maximum.at(self.registers, (hashes >> (64 - self.p)).astype(np.int64), rank)": (
            "which = (hashes >> np.uint64(64 - self.p)).astype(np.int64)\n"
            "        self.registers[which] = np.maximum(self.registers[which], rank)"
        )
    },
)
wrong(
    "HyperLogLog",
    "takes the rank from the bits that choose the register",
    fails=["test_registers_hold_the_largest_ranks"],
    edit={"(hashes >> (64 - self.p))": "(hashes & (2**self.p - 1))"},
)
wrong(
    "HyperLogLog",
    "adds the registers where it merges",
    fails=["test_merged_sketches_equal_one_sketch"],
    edit={"np.maximum(self.registers, other.registers)": "self.registers + other.registers"},
)
wrong(
    "HyperLogLog",
    "negates registers of dtype uint8, which wraps around",
    fails=["test_estimates_keep_the_bound"],
    edit={"0.5 ** self.registers.astype(float)": "2.0 ** (-self.registers)"},
)


@wrong("HyperLogLog", "keeps all hashes in a set beside the registers", fails=["test_a_sketch_of_millions_of_keys"])
class HyperLogLogBySet(HyperLogLog):
    def __init__(self, p, seed):
        super().__init__(p, seed)
        self.seen = set()

    def add(self, keys):
        self.seen.update(np.asarray(keys).tolist())
        super().add(keys)


@right(
    "HyperLogLog", "ranks by frexp from the upper end, registers by sorting, Ertl's estimate", replaces="HyperLogLog"
)
class HyperLogLogOfErtl:
    def __init__(self, p, seed):
        self.p, self.seed = p, seed
        self.registers = np.zeros(1 << p, dtype=np.uint8)

    def add(self, keys):
        if len(keys) == 0:
            return
        hashes = mix64(keys, self.seed)
        which = (hashes & np.uint64((1 << self.p) - 1)).astype(np.int64)
        rest = hashes >> np.uint64(self.p)
        high, low = (rest >> np.uint64(32)).astype(float), (rest & np.uint64(2**32 - 1)).astype(float)
        length = np.where(high > 0, np.frexp(high)[1] + 32, np.frexp(low)[1])
        ranks = 64 - self.p - length + 1
        order = np.lexsort((ranks, which))
        last = np.flatnonzero(np.diff(which[order], append=-1))
        chosen = order[last]
        self.registers[which[chosen]] = np.maximum(self.registers[which[chosen]], ranks[chosen]).astype(np.uint8)

    def estimate(self):
        m, q = len(self.registers), 64 - self.p
        counts = np.bincount(self.registers, minlength=q + 2)
        x, y, zero = counts[0] / m, 1.0, counts[0] / m
        if x == 1:
            return 0.0
        while x > 1e-300:
            x *= x
            zero += x * y
            y += y
        total = m * zero
        for r in range(1, q + 2):
            total += counts[r] * 0.5**r
        return float(m * m / (2 * math.log(2)) / total)

    def merge(self, other):
        if self.p != other.p or self.seed != other.seed:
            raise ValueError("other hashes")
        merged = HyperLogLogOfErtl(self.p, self.seed)
        merged.registers[:] = self.registers
        np.maximum(merged.registers, other.registers, out=merged.registers)
        return merged


@right("HyperLogLog", "looks at one bit after the other, of the hash of a hash", replaces="HyperLogLog")
class HyperLogLogByBits:
    def __init__(self, p, seed):
        self.p, self.seed = p, seed
        self.registers = np.zeros(2**p, np.uint8)

    def add(self, keys):
        hashes = mix64(mix64(keys, self.seed), sub_seed(self.seed, 1))
        place, rest = hashes % np.uint64(2**self.p), hashes >> np.uint64(self.p)
        rank, left = np.ones(len(keys), np.uint8), np.arange(len(keys))
        for shift in range(64 - self.p):
            left = left[(rest[left] >> np.uint64(shift)) & np.uint64(1) == 0]
            rank[left] += 1
        np.maximum.at(self.registers, place.astype(int), rank)

    def estimate(self):
        m = len(self.registers)
        zeros = int((self.registers == 0).sum())
        estimate = 0.7213 / (1 + 1.079 / m) * m * m / sum(2.0**-register for register in self.registers.tolist())
        return m * math.log(m / zeros) if zeros and estimate <= 2.5 * m else estimate

    def merge(self, other):
        if (self.p, self.seed) != (other.p, other.seed):
            raise ValueError("other hashes")
        merged = HyperLogLogByBits(self.p, self.seed)
        merged.registers = np.where(self.registers > other.registers, self.registers, other.registers)
        return merged


# -------------------------------------------------------------------------------------------------------- minhash

wrong(
    "minhash",
    "shifts one hash for all functions",
    fails=["test_agreements_estimate_jaccard"],
    edit={"mix64(joined, sub_seed(seed, j))": "mix64(joined, seed) + np.uint64(j * 2**64 // hashes)"},
)
wrong(
    "minhash",
    "flips some bits of one hash for each function",
    fails=["test_agreements_estimate_jaccard"],
    edit={"mix64(joined, sub_seed(seed, j))": "mix64(joined, seed) ^ np.uint64(sub_seed(seed, j))"},
)
wrong(
    "minhash",
    "takes the same hash function for all columns",
    fails=["test_agreements_estimate_jaccard"],
    edit={"sub_seed(seed, j)": "seed"},
)
wrong(
    "minhash",
    "adds the number of the function to the seed, so that neighbouring seeds share functions",
    fails=["test_functions_of_other_seeds_are_unrelated"],
    edit={"sub_seed(seed, j)": "seed + j"},
)
wrong(
    "minhash",
    "leaves zeros where a set is empty",
    fails=["test_empty_sets"],
    edit={"np.full((len(sets), hashes), ALL_ONES, np.uint64)": "np.zeros((len(sets), hashes), np.uint64)"},
)


@wrong("minhash", "gives each set hash functions of its own", fails=["test_agreements_estimate_jaccard"])
def own_functions(sets, hashes, seed):
    rows = [
        [mix64(s, sub_seed(seed, j + hashes * i)).min() if len(s) else np.uint64(ALL_ONES) for j in range(hashes)]
        for i, s in enumerate(sets)
    ]
    return np.array(rows, np.uint64).reshape(len(sets), hashes)


@wrong("minhash", "keeps the hashes of all functions at once", fails=["test_signatures_of_large_sets"])
def all_hashes_at_once(sets, hashes, seed):
    signatures = np.full((len(sets), hashes), ALL_ONES, np.uint64)
    for i, elements in enumerate(sets):
        if len(elements):
            signatures[i] = np.array([mix64(elements, sub_seed(seed, j)) for j in range(hashes)]).min(axis=1)
    return signatures


@right("minhash", "one set and one function at a time")
def set_by_set(sets, hashes, seed):
    signatures = np.empty((len(sets), hashes), dtype=np.uint64)
    for i, elements in enumerate(sets):
        for j in range(hashes):
            signatures[i, j] = np.min(mix64(elements, sub_seed(seed, j)), initial=np.uint64(2**64 - 1))
    return signatures


@right("minhash", "combines two hashes of each element, and takes minima with `at`")
def by_two_hashes(sets, hashes, seed):
    signatures = np.full((hashes, len(sets)), ALL_ONES, np.uint64)
    for i, elements in enumerate(sets):
        for j in range(hashes):
            mixed = mix64(mix64(elements, sub_seed(seed, 2**40)), sub_seed(seed, j))
            np.minimum.at(signatures[j], np.full(len(elements), i), mixed)
    return np.ascontiguousarray(signatures.T)


# ------------------------------------------------------------------------------------------------------ lsh_pairs

wrong(
    "lsh_pairs",
    "puts all bands into one table of buckets",
    fails=["test_pairs_that_agree_in_a_band"],
    edit={
        "    pairs = set()\n": "    pairs = set()\n    buckets = defaultdict(list)\n",
        "        buckets = defaultdict(list)\n": "",
        "pairs.update(itertools.combinations(members, 2))": (
            "pairs.update(itertools.combinations(sorted(set(members)), 2))"
        ),
    },
)
wrong(
    "lsh_pairs",
    "takes every bands-th column instead of neighbouring columns",
    fails=["test_pairs_that_agree_in_a_band"],
    edit={"signatures[:, band * rows : (band + 1) * rows]": "signatures[:, band::bands]"},
)
wrong(
    "lsh_pairs",
    "confuses the number of bands with their width",
    fails=["test_pairs_that_agree_in_a_band"],
    edit={"rows = h // bands": "rows, bands = bands, h // bands"},
)
wrong(
    "lsh_pairs",
    "wants all bands to agree",
    fails=["test_pairs_that_agree_in_a_band"],
    edit={
        "    pairs = set()\n": "    pairs = set(itertools.combinations(range(len(signatures)), 2))\n",
        "        for members in buckets.values():\n": (
            "        pairs &= {pair for members in buckets.values() for pair in itertools.combinations(members, 2)}\n"
            "        for members in ():\n"
        ),
    },
)
wrong(
    "lsh_pairs",
    "joins the digits of a band to its key",
    fails=["test_bands_that_only_look_alike"],
    edit={"key.tobytes()": "''.join(map(str, key))"},
)
wrong(
    "lsh_pairs",
    "leaves out the columns that do not fill a band, and raises nothing",
    fails=["test_bands_that_do_not_fit"],
    edit={"if h % bands:": "if bands > h:"},
)


@wrong("lsh_pairs", "compares all pairs of rows", fails=["test_pairs_of_many_rows"])
def all_pairs(signatures, bands):
    n, h = signatures.shape
    if h % bands:
        raise ValueError("bands")
    pairs = set()
    for i in range(n):
        equal = (signatures[i] == signatures[i + 1 :]).reshape(n - i - 1, bands, h // bands).all(axis=2).any(axis=1)
        pairs.update((i, i + 1 + j) for j in np.flatnonzero(equal).tolist())
    return pairs


@right("lsh_pairs", "sorts each band, and pairs the runs of equal rows")
def by_sorting(signatures, bands):
    h = signatures.shape[1]
    if h % bands != 0:
        raise ValueError("bands of different widths")
    width, found = h // bands, set()
    for first in range(0, h, width):
        band = signatures[:, first : first + width]
        order = np.lexsort(band.T[::-1])
        new = np.flatnonzero(np.any(band[order[1:]] != band[order[:-1]], axis=1)) + 1
        for run in np.split(order, new):
            if len(run) > 1:
                members = sorted(run.tolist())
                found.update((members[i], other) for i in range(len(members)) for other in members[i + 1 :])
    return found


@right("lsh_pairs", "tuples of Python ints, with the number of the band among them")
def by_tuples(signatures, bands):
    h = signatures.shape[1]
    width, rest = divmod(h, bands)
    if rest:
        raise ValueError("not a multiple")
    found = set()
    for band in range(bands):
        table = {}
        for i, row in enumerate(signatures[:, band * width : (band + 1) * width].tolist()):
            others = table.setdefault(tuple(row), [])
            found.update((other, i) for other in others)
            others.append(i)
    return found


# --------------------------------------------------------------------------------------------------- feature_hash

wrong(
    "feature_hash",
    "gives every token the sign 1",
    fails=["test_signs_are_fair_in_every_column"],
    edit={"1.0 - 2.0 * (hashes & 1).astype(float)": "np.ones(len(hashes))"},
)
wrong(
    "feature_hash",
    "takes the sign from a bit that also chooses the column",
    fails=["test_signs_are_fair_in_every_column"],
    edit={"(hashes >> 1) % width": "hashes % width"},
)
wrong(
    "feature_hash",
    "takes the sign from the hash with the next seed, which chooses the columns there",
    fails=["test_hashes_depend_on_token_and_seed"],
    edit={
        "(hashes >> 1) % width": "hashes % width",
        "(hashes & 1)": "(mix64([token for doc in docs for token in doc], seed + 1) & 1)",
    },
)
wrong(
    "feature_hash",
    "says whether a token occurs, not how often",
    fails=["test_each_occurrence_counts"],
    edit={
        "token for doc in docs for token in doc": "token for doc in docs for token in dict.fromkeys(doc)",
        "*map(len, docs)": "*(len(set(doc)) for doc in docs)",
    },
)
wrong(
    "feature_hash",
    "draws a sign for each occurrence",
    fails=["test_each_occurrence_counts"],
    edit={
        "1.0 - 2.0 * (hashes & 1).astype(float)": (
            "1.0 - 2.0 * (mix64(np.arange(len(hashes)), seed) & np.uint64(1)).astype(float)"
        )
    },
)
wrong(
    "feature_hash",
    "hashes with Python's hash, which is another one in each process",
    fails=["test_hashes_depend_on_token_and_seed"],
    edit={"mix64([token for": "mix64([hash(token) for"},
)
wrong(
    "feature_hash",
    "builds a dense array first",
    fails=["test_wide_rows_stay_sparse"],
    edit={
        "return scipy.sparse.csr_matrix(": "return scipy.sparse.csr_matrix(scipy.sparse.csr_matrix(",
        "shape=(len(docs), width))": "shape=(len(docs), width)).toarray())",
    },
)


@right("feature_hash", "a dict of counts for each document, and two hashes of a token")
def by_counts(docs, width, seed):
    data, columns, ends = [], [], [0]
    for doc in docs:
        found = Counter()
        for token, times in Counter(doc).items():
            column = int(mix64(token, sub_seed(seed, 0))) % width
            found[column] += times if int(mix64(token, sub_seed(seed, 1))) >> 63 else -times
        data += found.values()
        columns += found.keys()
        ends.append(len(data))
    return scipy.sparse.csr_array((np.array(data, float), np.array(columns, int), ends), shape=(len(docs), width))


@right("feature_hash", "a coo_matrix of all tokens, with the upper bits as the column")
def by_coordinates(docs, width, seed):
    rows = np.repeat(np.arange(len(docs)), [len(doc) for doc in docs])
    hashes = mix64(list(itertools.chain.from_iterable(docs)), seed)
    columns = ((hashes >> np.uint64(32)) * np.uint64(width)) >> np.uint64(32)
    signs = np.where(hashes & np.uint64(1), -1.0, 1.0)
    return scipy.sparse.coo_matrix((signs, (rows, columns.astype(np.int64))), shape=(len(docs), width)).tocsr()
