"""Hidden tests of module 15. A docstring is the sentence that a student reads when the test fails.

Nearly everything here is exact: rows, bytes and places are compared as they are. What moves data is a callback, so
bytes, calls and their order are counted on this side. Draws are judged at a level of 1e-6.
"""

import itertools
import math
from collections import Counter
from zlib import crc32

import numpy as np
import pytest
import scipy.sparse
import scipy.stats

from autograder.judging import (
    SEEDS,
    Argument,
    Asked,
    Contract,
    close,
    constant,
    frozen,
    is_array,
    numbers,
    one_of,
    raises_student,
    stepped,
    student_side,
)

# ---------------------------------------------------------------------------------------------------- run_lengths

RUNS = Contract(
    "run_lengths",
    x=numbers(
        60,
        draw=lambda rng: rng.standard_normal(60).repeat(rng.integers(0, 5, 60)),
        whole=(-1, 1),
        scales=(1e9, 1e-300),
        bools=True,
        limits=True,
    ),
)


def runs_of(x):
    """By Python's own groups of neighbours."""
    found = [(value, len(list(group))) for value, group in itertools.groupby(x.tolist())]
    values, lengths = zip(*found, strict=True) if found else ((), ())
    return np.array(values, x.dtype), np.array(lengths, np.int64)


@pytest.mark.exercise("run_lengths", weight=2, core=True, hint=1)
def test_runs_of_random_values(submission, rng):
    """Values and lengths are those of the runs, also where a value comes back later."""
    for high, n in ((2, 30), (3, 100), (2, 2500)):
        x = rng.integers(0, high, n) / 4
        assert close(submission.run_lengths(x), runs_of(x))


@pytest.mark.exercise("run_lengths", weight=2, core=True, hint=2)
def test_runs_at_both_ends(submission, rng):
    """The first and the last run are right: one value, all equal, all different, the ends alike."""
    for x in ([3.0], [3.0] * 7, [1.0, 2.0, 3.0], [5.0, 5.0, 1.0], [1.0, 5.0, 5.0], [1.0, 2.0, 1.0], [0.0, 1.0]):
        assert close(submission.run_lengths(np.array(x)), runs_of(np.array(x)))


@pytest.mark.exercise("run_lengths", weight=2)
def test_runs_of_every_kind(submission, rng):
    """Integers of every kind, bools and floats in any layout keep their dtype; lengths are int64; inf is a value."""
    for case in RUNS.cases(rng):
        x = np.array(case.args[0])
        assert close(submission.run_lengths(*case), runs_of(x), typed=True)
    for kind in (np.float64, np.float32, np.int8, np.uint64, bool):
        assert close(submission.run_lengths(np.zeros(0, kind)), (np.zeros(0, kind), np.zeros(0, np.int64)), typed=True)
    x = np.array([math.inf, math.inf, -math.inf, 1.0, math.inf])
    values, lengths = submission.run_lengths(x)
    assert close(lengths, [2, 1, 1, 1]) and np.array_equal(values, x[1:])


@student_side
def many_columns(seed, columns, count):
    """For many columns of runs of 50 values, made over there: number times value times length of each run, added up."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(columns):
        x = rng.permutation(count).astype(np.uint8).repeat(50)
        values, lengths = student.run_lengths(x)  # noqa: F821
        found.append(int((np.arange(1, len(values) + 1) * values * lengths).sum()))
    return found


@pytest.mark.exercise("run_lengths", weight=4, hint=1, seconds=1.2)  # NumPy takes some 0.1 s, a loop of Python 2 s
def test_runs_of_very_many_values(submission, rng):
    """Two hundred columns of 100,000 values take a few steps of NumPy each, and no loop of Python over the values."""
    seed, columns, count = int(rng.integers(1000)), 200, 2_000
    same, expected = np.random.default_rng(seed), []
    for _ in range(columns):
        each = same.permutation(count).astype(np.uint8)
        values, lengths = runs_of(each)
        expected.append(int((np.arange(1, len(values) + 1) * values * (50 * lengths)).sum()))
    assert close(submission.run(many_columns, seed, columns, count), expected)


@pytest.mark.exercise("run_lengths", forgeable=True)
def test_runs_leave_no_trace(submission, rng):
    """x stays as it is, and the results are new arrays."""
    assert RUNS.leaves_no_trace(submission, rng, then=[{}, {"x": np.arange(9.0)}, {"x": np.zeros(0)}])


# ----------------------------------------------------------------------------------------------------------- scan


def laid_out(columns, group):
    """What write_table has to give, chunk by chunk."""
    rows = len(next(iter(columns.values())))
    data, groups = b"", []
    for start in range(0, rows, group):
        groups.append({})
        for name, column in columns.items():
            x = np.ascontiguousarray(column[start : start + group])
            values, lengths = runs_of(x)
            forms = {"plain": x.tobytes(), "runs": values.tobytes() + lengths.astype("<i4").tobytes()}
            encoding = min(forms, key=lambda form: len(forms[form]))  # plain comes first
            entry = {"offset": len(data), "length": len(forms[encoding]), "encoding": encoding}
            groups[-1][name] = entry | {"min": x.min().item(), "max": x.max().item()}
            data += forms[encoding]
    return data, {"dtypes": {name: x.dtype.str for name, x in columns.items()}, "groups": groups}


def table(rng, rows, days=9, kinds=(np.int64, np.int16, np.float64, np.uint8)):
    """Columns of several kinds: one in order, one of long runs, two without order."""
    return {
        "user": rng.integers(0, 50, rows).astype(kinds[0]),
        "day": np.sort(rng.integers(0, days, rows)).astype(kinds[1]),
        "time": rng.standard_normal(rows).astype(kinds[2]),
        "land": rng.integers(0, 3, rows).repeat(4)[:rows].astype(kinds[3]),
    }


def matching(columns, wanted, column, low, high):
    keep = (columns[column] >= low) & (columns[column] <= high)
    return {name: columns[name][keep] for name in wanted}


def reading(data):
    return Asked(lambda offset, length: data[offset : offset + length])


def chunks_that_may_match(footer, wanted, column, low, high):
    """(offset, length) of each chunk that a query may read."""
    groups = [group for group in footer["groups"] if group[column]["max"] >= low and group[column]["min"] <= high]
    return [(group[name]["offset"], group[name]["length"]) for group in groups for name in {column, *wanted}]


@pytest.mark.exercise("scan", weight=2, core=True, hint=1, depends=("run_lengths",))
@pytest.mark.parametrize("size", [(40, 10), (41, 10), (7, 100), (30, 1)], ids=str)
def test_tables_have_the_layout(submission, rng, size):
    """The bytes and the footer are as described: groups, offsets, encodings, smallest and largest values."""
    for _ in range(2):
        columns = table(rng, size[0])
        assert close(submission.write_table(columns, size[1]), laid_out(columns, size[1]))


@pytest.mark.exercise("scan", weight=2, core=True, hint=2, depends=("run_lengths",))
def test_tables_come_back(submission, rng):
    """What write_table has written, scan reads back: all columns of all rows."""
    for rows, group in ((50, 8), (5, 1)):
        columns = table(rng, rows)
        data, footer = submission.write_table(columns, group)
        got = submission.scan(footer, reading(data), list(columns), "day", -math.inf, math.inf)
        assert close(got, columns)


@pytest.mark.exercise("scan", weight=3, core=True, hint=3)
def test_rows_between_the_bounds(submission, rng):
    """Exactly the rows with low <= column <= high come back, in their order, also of a column that is not wanted."""
    for _ in range(6):
        columns = table(rng, 60)
        data, footer = laid_out(columns, int(rng.integers(3, 20)))
        for wanted, column in ((["time"], "day"), (["land", "user"], "user"), (["day", "time", "user"], "time")):
            low, high = sorted(rng.choice(columns[column], 2).tolist())
            got = submission.scan(footer, reading(data), wanted, column, low, high)
            assert close(got, matching(columns, wanted, column, low, high))


@pytest.mark.exercise("scan", weight=5, core=True, hint=3)
def test_scan_reads_little(submission, rng):
    """Only chunks of the columns that are needed are read, each once and whole, in groups that can hold a match."""
    columns = table(rng, 3000, days=30)
    data, footer = laid_out(columns, 100)
    for wanted, column, low, high in (
        (["time"], "day", 7, 9),
        (["day"], "day", -math.inf, 3),
        (["user", "land"], "day", 12, 12),
        (["time"], "time", 5.0, 9.0),
        (["land"], "day", 40, 50),
        (["time", "day"], "user", 0, 60),
    ):
        read = reading(data)
        got = submission.scan(footer, read, wanted, column, low, high)
        assert close(got, matching(columns, wanted, column, low, high))
        asked = Counter(tuple(map(int, call)) for call in read.calls)
        assert asked <= Counter(chunks_that_may_match(footer, wanted, column, low, high))


@pytest.mark.exercise("scan", weight=2, hint=3)
def test_bounds_at_the_border_of_a_group(submission, rng):
    """A group whose smallest or largest value equals a bound is read; one just beyond it is not."""
    columns = {"a": np.array([1, 2, 2, 3, 4, 4, 5, 6, 6]), "b": np.arange(9.0)}
    data, footer = laid_out(columns, 3)
    for low, high in ((2, 2), (3, 4), (4, 4), (6, 6), (1, 1), (5, 5), (0, 0), (7, 7), (4, 2), (2.5, 2.9), (2.5, 3.5)):
        read = reading(data)
        assert close(submission.scan(footer, read, ["b"], "a", low, high), matching(columns, ["b"], "a", low, high))
        assert Counter(map(tuple, read.calls)) <= Counter(chunks_that_may_match(footer, ["b"], "a", low, high))


KINDS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, np.float64)


@pytest.mark.exercise("scan", weight=2, hint=1, depends=("run_lengths",))
def test_columns_of_every_kind(submission, rng):
    """Columns of every kind, in any layout, of large numbers and of none, are written and read in their dtype."""
    form = [np.array, stepped, lambda x: x[::-1].copy()[::-1], frozen]
    for turn, kinds in enumerate(itertools.islice(itertools.permutations(KINDS, 4), 0, 3024, 150)):
        rows, group = int(rng.integers(1, 40)), int(rng.integers(1, 12))
        columns = {name: form[turn % 4](column) for name, column in table(rng, rows, kinds=kinds).items()}
        data, footer = submission.write_table(columns, group)
        assert close((data, footer), laid_out(columns, group), typed=True)
        low, high = sorted(rng.choice(columns["time"], 2).tolist())
        for bounds in ((low, high), (high, math.inf), (1e300, math.inf), (-math.inf, low)):
            got = submission.scan(footer, reading(data), ["land", "time"], "time", *bounds)
            assert close(got, matching(columns, ["land", "time"], "time", *bounds), typed=True)
    large = {
        "a": np.array([2**53, -(2**53), 2**53 - 1, 5], np.int64),
        "b": np.array([1e300, -1e-300, 0.0, math.inf]),
        "c": np.array([-128, 127, 127, 0], np.int8),
    }
    data, footer = submission.write_table(large, 2)
    assert footer == laid_out(large, 2)[1]
    for column, low, high in (("a", 2**53 - 1, 2**53), ("b", -1.0, 1e-9), ("c", -1000, 126), ("b", 1e299, math.inf)):
        expected = matching(large, ["c", "a"], column, low, high)
        assert close(submission.scan(footer, reading(data), ["c", "a"], column, low, high), expected, typed=True)


@pytest.mark.exercise("scan", hint=3, depends=("run_lengths",))
def test_tables_of_odd_sizes(submission, rng):
    """A table without rows, with one column, with many groups, with one long group, is written and read."""
    for rows, group in ((0, 4), (1, 1), (2500, 5), (3000, 1200), (2500, 2499), (1500, 10**9)):
        columns = {"x": rng.integers(0, 4, rows, np.int16)}
        data, footer = submission.write_table(columns, group)
        assert close((data, footer), laid_out(columns, group))
        got = submission.scan(footer, reading(data), ["x"], "x", 1, 2)
        assert close(got, matching(columns, ["x"], "x", 1, 2), typed=True)
    many = {f"c{i}": rng.standard_normal(3) for i in range(210)}
    data, footer = submission.write_table(many, 2)
    assert close(
        submission.scan(footer, reading(data), list(many), "c209", -1.0, 1.0), matching(many, many, "c209", -1, 1)
    )


@student_side
def can_be_written_to(footer, data):
    """Whether the arrays of one group, of which all rows match, can be written to."""
    found = student.scan(footer, lambda offset, length: data[offset : offset + length], ["a", "b"], "a", 0, 9)  # noqa: F821
    return all(column.flags.writeable for column in found.values())


@pytest.mark.exercise("scan", forgeable=True, depends=("run_lengths",))
def test_tables_leave_no_trace(submission, rng):
    """Columns and footer stay as they are, and what is returned is new."""
    columns = Argument(lambda rng: table(rng, 20), {}, frozenset())
    assert Contract("write_table", columns=columns, group=6).leaves_no_trace(submission, rng)
    data, footer = laid_out(table(rng, 20), 6)
    contract = Contract("scan", footer=constant(footer), read=constant(data.__getitem__), wanted=["time", "day"])
    contract.arguments["read"] = constant(lambda offset, length: data[offset : offset + length])
    contract.arguments |= {"column": constant("user"), "low": one_of(10), "high": one_of(40)}
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"low": 99}])
    data, footer = laid_out({"a": rng.integers(0, 9, 20), "b": np.arange(20.0)}, 50)
    assert submission.run(can_be_written_to, footer, data)


# ----------------------------------------------------------------------------------------------------- map_reduce


@student_side
def by_word(line):
    return [(word, 1) for word in line.split()]


@student_side
def added(key, values):
    return sum(values)


@student_side
def listed(key, values):
    return list(values)


@student_side
def given(row):
    """The records are in the row."""
    return list(row)


def texts(rng, splits, most=6):
    words = [f"w{i}" for i in range(9)]
    return [
        [" ".join(rng.choice(words, rng.integers(0, 8))) for _ in range(int(rng.integers(0, most)))]
        for _ in range(splits)
    ]


def place(key, parts):
    return crc32(repr(key).encode()) % parts


def in_partitions(result, parts):
    return [{key: value for key, value in result.items() if place(key, parts) == p} for p in range(parts)]


def collected(splits, records, combine=None):
    """({key: values}, records shuffled), split after split; `combine` makes one value of a key's in a split."""
    found, count = {}, 0
    for split in splits:
        held = {}
        for key, value in (record for row in split for record in records(row)):
            held.setdefault(key, []).append(value)
        for key, values in held.items():
            values = values if combine is None else [combine(key, values)]
            found.setdefault(key, []).extend(values)
            count += len(values)
    return found, count


def words_of(line):
    return [(word, 1) for word in line.split()]


@pytest.mark.exercise("map_reduce", weight=3, core=True, hint=3)
@pytest.mark.parametrize("parts", [1, 3, 8])
def test_counts_of_words(submission, rng, parts):
    """Each key is reduced once, over all splits, in the partition that its crc32 says; all records are counted."""
    for splits in (texts(rng, 4), texts(rng, 1), texts(rng, 6, 3)):
        found, count = collected(splits, words_of)
        expected = in_partitions({key: len(values) for key, values in found.items()}, parts)
        assert close(submission.map_reduce(by_word, added, splits, parts), (expected, count))


@pytest.mark.exercise("map_reduce", weight=4, core=True, hint=2)
def test_combiner_saves_records(submission, rng):
    """With a combiner the results are the same, and each split sends one record for each of its keys."""
    for parts, splits in ((1, texts(rng, 3)), (4, texts(rng, 5, 9)), (3, [["a a", "a b"], ["b", "b"], []])):
        found, count = collected(splits, words_of, lambda key, values: sum(values))
        expected = in_partitions({key: sum(values) for key, values in found.items()}, parts)
        assert close(submission.map_reduce(by_word, added, splits, parts, added), (expected, count))


@pytest.mark.exercise("map_reduce", weight=2, core=True, hint=1)
def test_values_keep_their_order(submission, rng):
    """The reducer gets the values of a key in the order of the splits, and within them as the mapper gave them."""
    for _ in range(4):
        splits = [
            [[(f"k{rng.integers(3)}", int(rng.integers(100))) for _ in range(4)] for _ in range(3)] for _ in range(4)
        ]
        found, count = collected(splits, list)
        assert close(submission.map_reduce(given, listed, splits, 2), (in_partitions(found, 2), count))


@pytest.mark.exercise("map_reduce", weight=3, hint=2)
def test_each_function_is_called_as_often_as_it_says(submission, rng):
    """The mapper is called once a row, the combiner once for each split and key, the reducer once a key."""
    splits = [[["a", "b", "a"], ["a"]], [], [["c"], []], [["a", "c"]]]
    for combines in (False, True):
        mapper = Asked(lambda row: [(key, 1) for key in row])
        combiner = Asked(lambda key, values: ["of", len(values)]) if combines else None
        reducer = Asked(lambda key, values: len(values))
        result, _ = submission.map_reduce(mapper, reducer, splits, 3, combiner)
        assert [call[0] for call in mapper.calls] == [row for split in splits for row in split]
        held = [("a", [1, 1, 1]), ("b", [1]), ("c", [1]), ("a", [1]), ("c", [1])]
        expected = {"a": 4, "b": 1, "c": 2}
        if combines:
            assert sorted(combiner.calls) == sorted(held)
            expected = {"a": 2, "b": 1, "c": 2}
        assert sorted(call[0] for call in reducer.calls) == ["a", "b", "c"]
        assert close(result, in_partitions(expected, 3))


@pytest.mark.exercise("map_reduce", weight=2, hint=2)
def test_combined_values_of_any_kind(submission):
    """What a combiner returns may be any object, a list or a falsy one included; it is one value and one record."""
    splits = [[[("a", 1), ("a", 2)], [("b", 0)]], [[("a", 5)]], [[("a", 0), ("b", None)]]]
    found, count = collected(splits, list, lambda key, values: list(values))
    assert close(submission.map_reduce(given, listed, splits, 2, listed), (in_partitions(found, 2), count))
    nothing = Asked(lambda key, values: None)
    got = submission.map_reduce(given, listed, splits, 2, nothing)
    assert close(got, (in_partitions({"a": [None] * 3, "b": [None] * 2}, 2), 5))


@pytest.mark.exercise("map_reduce", weight=2, hint=3)
def test_map_reduce_of_odd_sizes(submission, rng):
    """Integer keys, empty splits, no splits, one key, many keys, many splits and many partitions are right."""
    keys = [0, -1, 7, 10**12, -(10**30), 300, 1]
    some = [[[(keys[i], i)] for i in rng.integers(0, 7, 5).tolist()] for _ in range(4)]
    long = [[[(f"k{i % 1300}", i)] for i in range(1500)], [[("k7", -1)]]]
    short = [[[(i % 5, i)]] for i in range(400)]
    one_row = [[[(f"k{i % 7}", i) for i in range(1200)]]]
    for splits, parts in (
        (some, 3),
        ([], 2),
        ([[], []], 4),
        ([[[]]], 1),
        (long, 7),
        (short, 2),
        (one_row, 2),
        (some, 230),
    ):
        for combiner in (None, added):
            found, count = collected(splits, list, combiner)
            assert close(
                submission.map_reduce(given, listed, splits, parts, combiner),
                (in_partitions(found, parts), count),
                typed=True,
            )


@pytest.mark.exercise("map_reduce", forgeable=True)
def test_map_reduce_leaves_no_trace(submission, rng):
    """Splits, and what the functions return, stay as they are; results are new."""
    splits = one_of([["a b", "a"], [], ["b b"]])
    contract = Contract("map_reduce", mapper=by_word, reducer=listed, splits=splits, parts=2, combiner=one_of(None))
    assert contract.leaves_no_trace(submission, rng)
    assert contract.leaves_no_trace(submission, rng, then=[{"combiner": listed}], fresh=False)


# --------------------------------------------------------------------------------------------------- group_sorted


def grouped(records):
    found = {}
    for key, value in records:
        found.setdefault(key, []).append(value)
    return sorted(found.items(), key=lambda group: group[0])


@pytest.mark.exercise("group_sorted", weight=3, core=True, hint=1)
def test_each_key_is_one_group(submission, rng):
    """Each key comes once, in ascending order, with all of its values, in whatever order the records are."""
    for n in (1, 6, 40, 2500):
        records = [(f"k{rng.integers(12)}", int(rng.integers(1000))) for _ in range(n)]
        assert close(submission.group_sorted(records), grouped(records))


@pytest.mark.exercise("group_sorted", weight=2, core=True, hint=2)
def test_values_are_not_sorted(submission):
    """The values of a key stay in the order of its records."""
    assert close(submission.group_sorted([("b", 3), ("a", 9), ("b", 1), ("b", 2)]), [("a", [9]), ("b", [3, 1, 2])])


@pytest.mark.exercise("group_sorted", weight=2, hint=2)
def test_values_need_no_order(submission):
    """Values that cannot be compared are no obstacle; integer keys are ordered as numbers; no records, no groups."""
    records = [(10, None), (9, "x"), (10, {}), (-3, 1), (9, [2]), (10, "y"), (2**70, 0), (0, 0), (-(10**20), 5)]
    assert close(submission.group_sorted(records), grouped(records))
    records = [("B", 1), ("a", None), ("", 0), ("B", "x"), ("é", {}), ("a", 2), ("10", 1), ("9", 1)]
    assert close(submission.group_sorted(records), grouped(records))
    assert close(submission.group_sorted([]), [])


@pytest.mark.exercise("group_sorted", weight=0.5, forgeable=True)
def test_groups_leave_no_trace(submission, rng):
    """The records stay as they are."""
    records = one_of([("b", 1), ("a", 2), ("b", 0)])
    assert Contract("group_sorted", records=records).leaves_no_trace(submission, rng)


# ------------------------------------------------------------------------------------------------------ skew_join


def rows_of(keys):
    return np.stack([np.asarray(keys, np.int64), np.arange(len(keys))], axis=1).reshape(-1, 2)


def with_numbers(pairs, parts):
    """The pairs, after a look at their kind."""
    assert isinstance(pairs, list) and len(pairs) == parts
    for pair in pairs:
        assert isinstance(pair, tuple | list) and len(pair) == 2
        assert all(is_array(side, (None, 2), np.int64) for side in pair)
    return [tuple(map(np.asarray, pair)) for pair in pairs]


def same_rows(some, others):
    """Whether two arrays hold the same rows, whatever the order."""
    some, others = (np.asarray(rows)[np.lexsort(np.asarray(rows).T)] for rows in (some, others))
    return np.array_equal(some, others)


def partners_meet(pairs, left, right):
    """Whether every left row is in one pair, with its partner beside it, and right rows are rows of right."""
    if not same_rows(np.concatenate([ours for ours, _ in pairs]), left):
        return False
    row_of = dict(zip(right[:, 0].tolist(), right[:, 1].tolist(), strict=True))
    for ours, theirs in pairs:
        there = dict(theirs.tolist())
        if len(there) != len(theirs) or not there.items() <= row_of.items():
            return False
        if not {key for key in ours[:, 0].tolist() if key in row_of} <= there.keys():
            return False
    return True


def copies(pairs):
    return Counter(key for _, theirs in pairs for key in theirs[:, 0].tolist())


def zipf(rng, m, n, skew, stretch=1):
    """Left keys after Zipf's law, right keys with some that left has not; all multiples of `stretch`."""
    law = np.arange(1, n + 1, dtype=float) ** -skew
    names = stretch * (rng.permutation(n) - n // 3)
    left = rows_of(names[rng.choice(n, m, p=law / law.sum())])
    return left, rows_of(rng.permutation(np.concatenate([names[: n - n // 10], stretch * (n + np.arange(n // 10))])))


@pytest.mark.exercise("skew_join", weight=3, core=True, hint=2)
def test_partners_meet_once(submission, rng):
    """Each left row is in exactly one partition, and its row of right is there, whatever the keys are."""
    for m, n, parts, skew in ((200, 40, 4, 1.5), (300, 30, 3, 0.0), (50, 200, 7, 1.0), (4000, 100, 2, 3.0)):
        left, right = zipf(rng, m, n, skew)
        assert partners_meet(with_numbers(submission.skew_join(left, right, parts), parts), left, right)


@pytest.mark.exercise("skew_join", weight=4, core=True, hint=3)
@pytest.mark.parametrize("parts", [8, 20])
def test_no_partition_is_overloaded(submission, rng, parts):
    """With frequent keys, no partition holds more than twice the mean number of rows, copies included."""
    for skew, stretch in ((2.0, 1), (1.1, 64), (3.0, 40), (0.0, 1)):
        left, right = zipf(rng, 2000 * parts, 1500, skew, stretch)
        pairs = with_numbers(submission.skew_join(left, right, parts), parts)
        assert max(len(ours) + len(theirs) for ours, theirs in pairs) <= 2 * (len(left) + len(right)) / parts
        assert partners_meet(pairs, left, right)


@pytest.mark.exercise("skew_join", weight=3, hint=1)
def test_rare_keys_are_not_copied(submission, rng):
    """The row of right of a rare key is in one partition at most, also at exactly m / (20 parts) rows."""
    for parts, skew in ((4, 1.5), (10, 1.0)):
        left, right = zipf(rng, 400 * parts, 500, skew)
        pairs = with_numbers(submission.skew_join(left, right, parts), parts)
        counts, held = Counter(left[:, 0].tolist()), copies(pairs)
        assert all(held[key] <= 1 for key in right[:, 0].tolist() if counts[key] * 20 * parts <= len(left))
    # 20 keys with exactly a twentieth of a share of 100, one of 60 each; one key with the rest.
    parts = 3
    left = rows_of(rng.permutation(np.concatenate([np.repeat(np.arange(1, 21), 60), np.zeros(2400, int)])))
    right = rows_of(np.arange(21))
    pairs = with_numbers(submission.skew_join(left, right, parts), parts)
    held = copies(pairs)
    assert all(held[key] <= 1 for key in range(1, 21))


@pytest.mark.exercise("skew_join", weight=2, hint=2)
def test_tables_of_every_size_and_layout(submission, rng):
    """Empty tables, one partition, 150 of them, keys at the ends of int64 and tables in any layout are right."""
    limits = np.iinfo(np.int64)
    extreme = rows_of([limits.min, limits.max, 0, -1, limits.min, 2**62])
    none = np.zeros((0, 2), np.int64)
    left, right = zipf(rng, 300, 60, 1.0)
    for ours, theirs, parts in (
        (left, right, 1),
        (left, right, 64),
        (left, right, 150),
        (none, right, 3),
        (left, none, 3),
        (none, none, 2),
        (left[:1], right, 5),
        (extreme, extreme[1:4], 4),
        (extreme[:4], extreme[2:], 2),
        (stepped(left), stepped(right), 4),
        (np.asfortranarray(left), np.asfortranarray(right), 4),
        (frozen(left), frozen(right), 3),
        (left * [1, 10**15], right * [1, -(10**15)], 3),
    ):
        assert partners_meet(with_numbers(submission.skew_join(ours, theirs, parts), parts), ours, theirs)


@student_side
def balance(seed, m, parts):
    """How many rows of left and of right each partition has; drawn over there."""
    rng = np.random.default_rng(seed)
    keys = np.where(rng.random(m) < 0.5, 12345, rng.integers(0, m // 4, m) * 64)
    left = np.stack([keys, np.arange(m)], axis=1)
    right = np.stack([np.append(np.arange(m // 4) * 64, 12345), np.arange(m // 4 + 1)], axis=1)
    pairs = student.skew_join(left, right, parts)  # noqa: F821
    return [(len(ours), len(theirs)) for ours, theirs in pairs]


@pytest.mark.exercise("skew_join", weight=3, hint=3, seconds=4)
def test_a_large_skewed_join(submission, rng):
    """Of 400,000 rows with one key in half of them, no partition gets too many, and little is copied."""
    m, parts = 400_000, 32
    sizes = np.array(submission.run(balance, int(rng.integers(1000)), m, parts))
    assert close(sizes[:, 0].sum(), m)
    assert sizes[:, 0].max() + sizes[:, 1].max() <= 2 * (m + m // 4 + 1) / parts
    assert sizes[:, 1].sum() <= m // 4 + parts


@pytest.mark.exercise("skew_join", forgeable=True)
def test_joins_leave_no_trace(submission, rng):
    """Both tables stay as they are, and the parts are new arrays."""
    tables = [Argument(lambda rng, side=side: zipf(rng, 200, 20, 1.5)[side], {}, frozenset()) for side in (0, 1)]
    contract = Contract("skew_join", left=tables[0], right=tables[1], parts=one_of(3))
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"parts": 1}, {"left": np.zeros((0, 2), np.int64)}])


# -------------------------------------------------------------------------------------------------- external_sort


class Disk:
    """Numbers on a disk that counts what is held, fetched and open. It never raises; the test looks afterwards."""

    def __init__(self, numbers):
        self.numbers, self.at, self.runs, self.out = np.asarray(numbers, np.float64), 0, {}, []
        self.held = self.most = self.fetched = 0
        self.least, self.smallest, self.order = 0, math.inf, []

    def _moved(self, count):
        self.held += count
        self.most, self.least = max(self.most, self.held), min(self.least, self.held)

    def source(self, count):
        block = self.numbers[self.at : self.at + max(int(count), 0)]
        self.at += len(block)
        self._moved(len(block))
        return block.copy()

    def spill(self, run, x):
        x = np.asarray(x, np.float64).ravel()
        self.runs.setdefault(int(run), []).append(x)
        self._moved(-len(x))

    def fetch(self, run, start, count):
        parts = self.runs.setdefault(int(run), [])
        if len(parts) != 1:
            parts = self.runs[int(run)] = [np.concatenate([np.zeros(0), *parts])]
        block = parts[0][int(start) : int(start) + max(int(count), 0)]
        self.fetched += len(block)
        if int(start) + int(count) < len(parts[0]):  # the last block of a run may be short
            self.smallest = min(self.smallest, int(count))
        self.order.append(int(run))
        self._moved(len(block))
        return block.copy()

    def emit(self, x):
        x = np.asarray(x, np.float64).ravel()
        self.out.append(x)
        self._moved(-len(x))

    def result(self):
        return np.concatenate([np.zeros(0), *self.out])

    def open_at_once(self):
        first, last = {}, {}
        for i, run in enumerate(self.order):
            first.setdefault(run, i)
            last[run] = i
        events = sorted([(i, 0) for i in first.values()] + [(i, 1) for i in last.values()])
        count = most = 0
        for _, closes in events:
            count += -1 if closes else 1
            most = max(most, count)
        return most


def passes_of(m, memory):
    runs, passes = -(-m // memory), 0
    while runs > 1:
        runs, passes = -(-runs // 8), passes + 1
    return passes


def sorted_by(submission, numbers, memory):
    """(disk afterwards, what was returned)."""
    disk = Disk(numbers)
    return disk, submission.external_sort(disk.source, disk.spill, disk.fetch, disk.emit, memory)


@pytest.mark.exercise("external_sort", weight=3, core=True, hint=2, seconds=3)
def test_numbers_come_out_in_order(submission, rng):
    """What is emitted is the input in ascending order, of any length."""
    for m in (1, 64, 65, 200, 520):
        x = rng.standard_normal(m)
        disk, _ = sorted_by(submission, x, 64)
        assert close(disk.result(), np.sort(x))


@pytest.mark.exercise("external_sort", weight=4, core=True, hint=1, seconds=3)
def test_never_more_than_memory_is_held(submission, rng):
    """The numbers that are handed out and not yet handed back never exceed the memory."""
    for m, memory in ((64, 64), (65, 64), (550, 64), (800, 333)):
        x = rng.standard_normal(m)
        disk, _ = sorted_by(submission, x, memory)
        assert close(disk.result(), np.sort(x))
        assert disk.most <= memory and disk.least >= 0


@pytest.mark.exercise("external_sort", weight=2, hint=2, seconds=3)
def test_memory_is_kept_to_the_number(submission, rng):
    """The limit holds to the last number, also where neither 8 nor the number of runs divides the memory."""
    for m, memory in ((520, 65), (800, 100), (192, 64), (448, 64)):
        disk, _ = sorted_by(submission, rng.standard_normal(m), memory)
        assert close(disk.result(), np.sort(disk.numbers))
        assert disk.most <= memory


@pytest.mark.exercise("external_sort", weight=3, core=True, hint=3, seconds=3)
def test_passes_are_few(submission, rng):
    """There are ceil(log8 of the runs) passes, each fetches every number at most once, and this is what is returned."""
    for m in (64, 65, 512, 513):
        disk, passes = sorted_by(submission, rng.standard_normal(m), 64)
        assert close(passes, passes_of(m, 64), typed=True)
        assert disk.fetched <= m * max(passes, 1)


@pytest.mark.exercise("external_sort", weight=3, hint=3, seconds=3)
def test_eight_runs_at_a_time(submission, rng):
    """At most 8 runs are open at a time, and blocks of at least a sixteenth of the memory are asked for."""
    disk, _ = sorted_by(submission, rng.standard_normal(1000), 100)
    assert close(disk.result(), np.sort(disk.numbers))
    assert disk.open_at_once() <= 8 and disk.smallest >= 6


@pytest.mark.exercise("external_sort", weight=2, hint=2, seconds=3)
def test_numbers_of_every_kind(submission, rng):
    """Equal numbers, sorted ones, reversed ones, those of very different sizes and an empty input are right."""
    one = rng.standard_normal(200)
    for x in (
        np.full(200, 3.0),
        np.sort(one),
        np.sort(one)[::-1],
        rng.integers(0, 3, 200).astype(float),
        one * 10.0 ** rng.integers(-300, 300, 200),
        np.where(one > 0, 1e300, -1e300),
        1 + 2.0**-50 * rng.integers(0, 5, 200),
        np.concatenate([np.zeros(140), one[:60]]),
        np.repeat(np.arange(4.0), 64)[::-1],
    ):
        disk, passes = sorted_by(submission, x, 64)
        assert close(disk.result(), np.sort(x))
        assert disk.most <= 64 and passes == passes_of(len(x), 64) and disk.fetched <= len(x) * passes
    for x in (np.zeros(0), np.array([-2.0])):
        disk, passes = sorted_by(submission, x, 64)
        assert close((disk.result(), passes), (np.sort(x), 0))


@student_side
def sorted_over_there(seed, m, memory):
    """What is emitted, the passes and the most that is held; a disk over there, for thousands of calls."""
    numbers, runs, out = iter(np.random.default_rng(seed).standard_normal(m).tolist()), {}, []
    held = [0]

    def moved(x, sign):
        held.append(held[-1] + sign * len(x))
        return x

    def source(count):
        return moved(np.array([x for _, x in zip(range(count), numbers, strict=False)]), 1)

    def spill(run, x):
        runs.setdefault(int(run), []).extend(moved(x, -1).tolist())

    def fetch(run, start, count):
        return moved(np.array(runs.get(int(run), [])[start : start + count]), 1)

    def emit(x):
        out.extend(moved(x, -1).tolist())

    passes = student.external_sort(source, spill, fetch, emit, memory)  # noqa: F821
    return np.array(out), passes, max(held)


@pytest.mark.exercise("external_sort", weight=2, hint=3, forgeable=True, seconds=3)
def test_three_passes(submission, rng):
    """More than 64 runs take three passes."""
    seed, m = int(rng.integers(1000)), 64 * 64 + 1
    result, passes, most = submission.run(sorted_over_there, seed, m, 64)
    assert close((result, passes), (np.sort(np.random.default_rng(seed).standard_normal(m)), 3))
    assert most <= 64


@pytest.mark.exercise("external_sort", weight=3, hint=2, seconds=4)
def test_ten_times_the_memory(submission, rng):
    """Ten times as many numbers as fit into memory are sorted in two passes, in long blocks."""
    disk, passes = sorted_by(submission, rng.standard_normal(200_000), 20_000)
    assert close(disk.result(), np.sort(disk.numbers))
    assert disk.most <= 20_000 and passes == 2 and disk.fetched <= 400_000
    assert disk.open_at_once() <= 8 and disk.smallest >= 1250


# --------------------------------------------------------------------------------------------------- range_bounds

SAMPLE = Contract(
    "range_bounds",
    sample=numbers(60, draw=lambda rng: rng.integers(-6, 7, 60) / 4, whole=(-4, 4), scales=(1e9, 1e-300), limits=True),
    parts=one_of(4, 1, 2, 7, 300),
)


def smallest_largest(counts, parts):
    """By dynamic programming over the last range: the least that the largest range can hold."""
    ends = np.concatenate([[0], np.cumsum(counts)])
    best = ends.astype(float)  # one range for the first i values
    for _ in range(min(parts, len(counts)) - 1):
        best = np.array([min(max(best[j], ends[i] - ends[j]) for j in range(i + 1)) for i in range(len(ends))])
    return int(best[-1])


def sizes_of(bounds, sample, parts):
    """How many sample values each range holds, after a look at the bounds."""
    assert is_array(bounds, (None,)) and len(bounds) <= parts - 1
    bounds = np.asarray(bounds)
    assert (bounds[1:] > bounds[:-1]).all() and np.isin(bounds, sample).all()
    return np.bincount(np.searchsorted(bounds, sample, side="left"), minlength=1)


@pytest.mark.exercise("range_bounds", weight=3, core=True, hint=2)
def test_largest_range_is_smallest(submission, rng):
    """No other bounds make the largest range smaller, also where a value is very frequent."""
    for high, m, parts in ((8, 40, 3), (20, 60, 5), (4, 30, 2), (200, 50, 4), (10, 80, 7)):
        sample = np.concatenate([rng.integers(0, high, m), np.full(m // 4, high // 2)]).astype(float)
        sizes = sizes_of(submission.range_bounds(sample, parts), sample, parts)
        assert close(sizes.max(), smallest_largest(np.unique(sample, return_counts=True)[1], parts))


@pytest.mark.exercise("range_bounds", weight=2, hint=1)
def test_bounds_of_every_kind(submission, rng):
    """Samples of every kind give bounds of their dtype, strictly ascending, that are values of the sample."""
    for case in SAMPLE.cases(rng):
        sample, parts = case.args
        bounds = submission.range_bounds(sample, parts)
        sample = np.array(sample)
        assert bounds.dtype == sample.dtype
        sizes = sizes_of(bounds, sample, parts)
        assert close(sizes.max(), smallest_largest(np.unique(sample, return_counts=True)[1], parts))


@pytest.mark.exercise("range_bounds", hint=2)
def test_ranges_of_odd_sizes(submission, rng):
    """One value, all equal, more ranges than values, and a thousand values in hundreds of ranges are right."""
    for sample, parts in ((np.array([3.0]), 1), (np.array([3.0]), 9), (np.full(50, 2), 4), (np.arange(5), 10**9)):
        sizes = sizes_of(submission.range_bounds(sample, parts), sample, parts)
        assert close(sizes.max(), np.unique(sample, return_counts=True)[1].max())
    sample = rng.permutation(2400)
    assert close(sizes_of(submission.range_bounds(sample, 300), sample, 300).max(), 8)


@student_side
def large_sample(seed, m, parts):
    """The largest range of a large sample, which is drawn over there."""
    sample = np.random.default_rng(seed).permutation(m).astype(float)
    bounds = student.range_bounds(sample, parts)  # noqa: F821
    return np.bincount(np.searchsorted(bounds, sample, side="left")).max()


@pytest.mark.exercise("range_bounds", weight=2, hint=2, seconds=2)
def test_bounds_of_a_large_sample(submission, rng):
    """A hundred thousand values are cut into a hundred ranges in about the time of a sort."""
    assert close(submission.run(large_sample, int(rng.integers(1000)), 100_000, 100), 1000)


@pytest.mark.exercise("range_bounds", weight=0.5, forgeable=True)
def test_bounds_leave_no_trace(submission, rng):
    """The sample stays as it is, and the bounds are a new array."""
    assert SAMPLE.leaves_no_trace(submission, rng, then=[{}, {"parts": 1}, {"sample": np.arange(3.0)}])


# --------------------------------------------------------------------------------------------------- place_blocks

RACKS = [["a1", "a2", "a3"], ["b1", "b2"], ["c1", "c2", "c3", "c4"]]
LEVEL = 1e-6


def rack_numbers(racks):
    return {node: number for number, rack in enumerate(racks) for node in rack}


def pairs_of(placed, racks, writer, blocks):
    """(second, third) of each block, after a look at the rule."""
    assert isinstance(placed, list) and len(placed) == blocks
    rack_of = rack_numbers(racks)
    for nodes in placed:
        assert isinstance(nodes, list) and len(nodes) == 3 and all(node in rack_of for node in nodes)
        first, second, third = nodes
        assert first == writer and second != third
        assert rack_of[second] == rack_of[third] != rack_of[writer]
    return [tuple(nodes[1:]) for nodes in placed]


@pytest.mark.exercise("place_blocks", weight=3, core=True, hint=1)
def test_replicas_are_in_two_racks(submission, rng):
    """The first is on the writer, the second in another rack, the third on another node of that rack."""
    for racks in (RACKS, [["x", "y"], ["z", "w"]], [[f"r{r}n{n}" for n in range(5)] for r in range(6)]):
        for writer in (racks[0][0], racks[-1][-1], racks[1][1]):
            placed = submission.place_blocks(60, racks, writer, int(rng.integers(1000)))
            pairs_of(placed, racks, writer, 60)


@pytest.mark.exercise("place_blocks", weight=4, hint=2)
@pytest.mark.parametrize("writer", ["a2", "b1", "c4"])
def test_every_node_has_its_share(submission, rng, writer):
    """Second and third replicas are as often on each node as the docstring says, whatever the size of its rack."""
    blocks, outside = 3000, [rack for rack in RACKS if writer not in rack]
    pairs = Counter(
        pairs_of(submission.place_blocks(blocks, RACKS, writer, int(rng.integers(1000))), RACKS, writer, blocks)
    )
    count = sum(map(len, outside))
    law = {pair: 1 / count / (len(rack) - 1) for rack in outside for pair in itertools.permutations(rack, 2)}
    assert pairs.keys() <= law.keys()
    statistic = sum((pairs[pair] - blocks * p) ** 2 / (blocks * p) for pair, p in law.items())
    assert statistic <= scipy.stats.chi2.isf(LEVEL / 3, len(law) - 1)


@pytest.mark.exercise("place_blocks", weight=2, hint=2)
def test_blocks_are_independent(submission, rng):
    """Where a block goes says nothing about the next one."""
    racks, blocks = [["a1", "a2"], ["b1", "b2"], ["c1", "c2"]], 3200
    pairs = pairs_of(submission.place_blocks(blocks, racks, "a1", int(rng.integers(1000))), racks, "a1", blocks)
    for gap in (1, 2):
        seen = Counter(zip(pairs[:: 2 * gap], pairs[gap :: 2 * gap], strict=True))  # each block in one pair of blocks
        mean = blocks / (2 * gap) / 16
        statistic = sum((seen[both] - mean) ** 2 / mean for both in itertools.product(set(pairs), repeat=2))
        assert len(set(pairs)) == 4 and statistic <= scipy.stats.chi2.isf(LEVEL / 2, 15)


@pytest.mark.exercise("place_blocks", weight=2, core=True, hint=2)
def test_seeds_decide(submission, rng):
    """The same seed gives the same places, another one others."""
    seeds = range(8)
    found = [submission.place_blocks(40, RACKS, "a1", seed) for seed in seeds]
    assert len(set(map(repr, found))) == len(found)  # equal by chance: below 1e-30
    for seed in (0, 5):
        assert close(submission.place_blocks(40, RACKS, "a1", seed), found[seed])


@pytest.mark.exercise("place_blocks", hint=2)
def test_large_seeds_decide(submission, rng):
    """All 63 bits of a seed count, up to the largest seed."""
    found = [submission.place_blocks(40, RACKS, "a1", seed) for seed in SEEDS]
    assert len(set(map(repr, found))) == len(SEEDS)


@pytest.mark.exercise("place_blocks", hint=2)
def test_neighbouring_seeds_are_unrelated(submission, rng):
    """The list of another seed is not the same one, moved or turned round."""
    seed = int(rng.integers(1000))
    first = submission.place_blocks(60, RACKS, "a1", seed)
    for other in (submission.place_blocks(60, RACKS, "a1", seed + step) for step in (1, 2, 60)):
        for gap in (1, 2, 30):
            assert first[gap:] != other[:-gap] and first[:-gap] != other[gap:]
        assert sorted(first) != sorted(other)  # equal by chance: far below 1e-6


@pytest.mark.exercise("place_blocks", hint=2)
def test_places_in_another_process(submission, rng):
    """The same arguments give the same places in another process."""
    seed = int(rng.integers(1000))
    first = submission.place_blocks(30, RACKS, "c1", seed)
    with submission.elsewhere() as other:
        assert close(other.place_blocks(30, RACKS, "c1", seed), first)


@pytest.mark.exercise("place_blocks", hint=1)
def test_files_of_every_length(submission, rng):
    """No block, one block and thousands of blocks are placed; two racks of two nodes are enough."""
    assert close(submission.place_blocks(0, RACKS, "a1", 3), [])
    for blocks in (1, 2500):
        pairs_of(submission.place_blocks(blocks, RACKS, "b2", int(rng.integers(1000))), RACKS, "b2", blocks)
    wide = [[f"r{r}n{n}" for n in range(2)] for r in range(250)]
    seen = {second for second, _ in pairs_of(submission.place_blocks(2500, wide, "r0n0", 1), wide, "r0n0", 2500)}
    assert len(seen) > 450 and {"r249n0", "r249n1"} & seen  # 2,500 draws of 498: all but three are expected


@student_side
def leaves_the_global_states(racks, seed):
    """Whether the global generators are where they were, and are not asked (runs over there)."""
    import random

    def seeded(number):
        np.random.seed(number), torch.manual_seed(number), random.seed(number)  # noqa: F821

    def drawn():
        return [np.random.random(), torch.rand(1).item(), random.random()]  # noqa: F821

    seeded(1)
    expected = drawn()
    seeded(1)
    one = student.place_blocks(30, racks, "a1", seed)  # noqa: F821
    kept = drawn() == expected
    seeded(2)
    return bool(kept and student.place_blocks(30, racks, "a1", seed) == one)  # noqa: F821


@pytest.mark.exercise("place_blocks", forgeable=True, hint=2)
def test_places_leave_no_trace(submission, rng):
    """The racks stay as they are, and no global random state is used or changed."""
    assert submission.run(leaves_the_global_states, RACKS, int(rng.integers(1000)))
    contract = Contract("place_blocks", blocks=20, racks=constant(RACKS), writer="a1", seed=one_of(3))
    assert contract.leaves_no_trace(submission, rng)


# --------------------------------------------------------------------------------------------------- assign_tasks


def most_local(replicas, slots):
    """The largest number of local tasks, by scipy's bipartite matching of tasks and single slots."""
    first = dict(zip(slots, itertools.accumulate([0, *slots.values()]), strict=False))
    edges = [
        (task, first[node] + i)
        for task, nodes in enumerate(replicas)
        for node in nodes
        if node in slots
        for i in range(slots[node])
    ]
    if not edges:
        return 0
    rows, columns = np.array(edges).T
    shape = (len(replicas), sum(slots.values()))
    graph = scipy.sparse.csr_array((np.ones(len(edges)), (rows, columns)), shape=shape)
    return int((scipy.sparse.csgraph.maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())


def locals_of(got, replicas, slots):
    """How many tasks are local, after a look at the slots."""
    assert isinstance(got, list) and len(got) == len(replicas) and all(isinstance(node, str) for node in got)
    used = Counter(got)
    assert all(count <= slots.get(node, 0) for node, count in used.items())
    return sum(node in nodes for node, nodes in zip(got, replicas, strict=True))


def cluster(rng, tasks, nodes, spare=0, most=3):
    """Blocks on up to `most` nodes, the first ones more often; slots of several sizes, as many as tasks and `spare`."""
    names = [f"n{i}" for i in range(nodes)]
    law = np.arange(1, nodes + 1) ** -0.7
    law /= law.sum()
    replicas = [
        [names[i] for i in rng.choice(nodes, min(nodes, int(rng.integers(1, most + 1))), replace=False, p=law)]
        for _ in range(tasks)
    ]
    counts = Counter(rng.integers(0, nodes, tasks + spare).tolist())
    return replicas, {name: counts[i] for i, name in enumerate(names)}


@pytest.mark.exercise("assign_tasks", weight=2, core=True, hint=3)
def test_every_task_has_a_slot(submission, rng):
    """Each task gets a node, and no node more tasks than it has slots."""
    for tasks, nodes, spare in ((1, 1, 0), (8, 3, 2), (30, 7, 0), (40, 40, 10)):
        replicas, slots = cluster(rng, tasks, nodes, spare)
        locals_of(submission.assign_tasks(replicas, slots), replicas, slots)


@pytest.mark.exercise("assign_tasks", weight=4, core=True, hint=2)
def test_as_many_as_possible_are_local(submission, rng):
    """No other assignment has more local tasks."""
    for _ in range(25):
        replicas, slots = cluster(rng, int(rng.integers(1, 40)), int(rng.integers(2, 15)), int(rng.integers(0, 5)))
        got = submission.assign_tasks(replicas, slots)
        assert close(locals_of(got, replicas, slots), most_local(replicas, slots))


@pytest.mark.exercise("assign_tasks", weight=2, hint=1)
def test_nodes_that_are_down(submission, rng):
    """Nodes without slots, nodes that are down and blocks without replicas are no obstacle."""
    for _ in range(10):
        replicas, slots = cluster(rng, 20, 8, 12)
        down = [f"n{i}" for i in rng.choice(8, 2, replace=False)]
        slots = {node: count for node, count in slots.items() if node not in down} | {"spare": 40, "full": 0}
        replicas = [*replicas, [], ["gone"], ["full"], ["gone", "spare"]]
        got = submission.assign_tasks(replicas, slots)
        assert close(locals_of(got, replicas, slots), most_local(replicas, slots))
    assert close(submission.assign_tasks([], {"x": 3}), [])
    assert close(submission.assign_tasks([], {}), [])
    assert close(submission.assign_tasks([["x"]] * 150, {"x": 150}), ["x"] * 150)
    replicas, slots = [["n0"]] * 20 + [[f"n{i}"] for i in range(230)], {f"n{i}": 1 for i in range(250)}
    assert close(locals_of(submission.assign_tasks(replicas, slots), replicas, slots), 230)


@pytest.mark.exercise("assign_tasks", weight=3, hint=2, seconds=2)
def test_a_chain_through_all_tasks(submission):
    """A chain of 3,000 moves makes room for the last task."""
    n = 3000
    replicas, slots = [[f"n{i}", f"n{i + 1}"] for i in range(n)] + [["n0"]], {f"n{i}": 1 for i in range(n + 1)}
    assert close(locals_of(submission.assign_tasks(replicas, slots), replicas, slots), n + 1)


@pytest.mark.exercise("assign_tasks", weight=3, hint=1, seconds=4)
def test_a_large_job(submission, rng):
    """3,000 tasks on 120 nodes with exactly as many slots are placed, as many local as possible."""
    replicas, slots = cluster(rng, 3000, 120)
    got = submission.assign_tasks(replicas, slots)
    assert close(locals_of(got, replicas, slots), most_local(replicas, slots))


@pytest.mark.exercise("assign_tasks")
def test_too_few_slots(submission, rng):
    """Fewer slots than tasks raise ValueError; exactly as many do not."""
    for replicas, slots in (([["x"]], {}), ([["x"], ["x"]], {"x": 1}), ([[], []], {"x": 1, "y": 0})):
        with raises_student(ValueError):
            submission.assign_tasks(replicas, slots)
    assert close(submission.assign_tasks([[], ["z"]], {"x": 1, "y": 0, "z": 1}), ["x", "z"])


@pytest.mark.exercise("assign_tasks", forgeable=True)
def test_assignments_leave_no_trace(submission, rng):
    """Both arguments stay as they are, also where it raises."""
    replicas, slots = one_of([["x", "y"], ["x"], ["z"]]), one_of({"x": 1, "y": 2, "w": 1})
    contract = Contract("assign_tasks", replicas=replicas, slots=slots)
    assert contract.leaves_no_trace(submission, rng, slots=[{"x": 1}])
