"""Hidden tests of module 26. A docstring is the sentence that a student reads when the test fails.

Tables are planted and audited again, row by row; splits, thresholds and curves are held to brute force; spending is
counted here, in callbacks; the board is attacked. Worlds are drawn from the law that the docstring of `decide` states.
"""

# Helpers run where `student` is defined, maybe under another Python.
# ruff: noqa: F821, B905

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from autograder.judging import (
    Argument,
    Asked,
    Contract,
    close,
    floats,
    frozen,
    integers,
    numbers,
    one_of,
    raises_student,
    stepped,
    student_side,
)

KINDS = (np.int64, np.int32, np.int16, np.int8, np.uint8, np.uint64)

# ----------------------------------------------------------------------------------------------------------- audit


def audited(columns, y, time, group):
    """The findings, row by row and pair by pair, in plain Python."""

    def plain(values):
        return [None if x == "" or x != x else x for x in np.asarray(values).tolist()]

    table = {name: plain(values) for name, values in columns.items()}
    rows = {}
    for row in zip(*table.values(), plain(y), plain(time), plain(group)):
        rows.setdefault(row, len(rows))
    *kept, y, time, group = [list(values) for values in zip(*rows)]
    m, found = len(y), []
    for place, (name, values) in enumerate(zip(columns, kept)):
        text, kind = columns[name].dtype.kind == "U", columns[name].dtype.kind
        there = [i for i in range(m) if values[i] is not None]
        score, label = [values[i] for i in there], [bool(y[i]) for i in there]
        low, high = ([s for s, one in zip(score, label) if one == side] for side in (False, True))
        auc = 0.5
        if not text and low and high:
            low, high = np.sort(np.array(low, float)), np.array(high, float)
            wins = np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")
            auc = wins.sum() / 2 / len(low) / len(high)
        counts = np.zeros((2, 2))
        for i in range(m):
            counts[int(values[i] is None), int(y[i])] += 1
        chi_squared = 0.0
        if counts.sum(axis=0).all() and counts.sum(axis=1).all():
            chi_squared = scipy.stats.chi2_contingency(counts, correction=False).statistic
        assert min(abs(auc - 0.01), abs(auc - 0.99)) > 1e-6 and abs(chi_squared / 23.93 - 1) > 0.01
        one_to_one = len(set(zip(values, group))) == len(set(values)) == len(set(group))
        if len(set(values)) == 1:
            found.append((name, "constant"))
        elif any(values == kept[k] for k in range(place) if (columns[list(columns)[k]].dtype.kind == "U") == text):
            found.append((name, "duplicate"))
        elif kind in "iuU" and len(there) == m and (len(set(values)) == m or one_to_one):
            found.append((name, "identifier"))
        elif name.endswith("_at") and not text and any(values[i] > time[i] for i in there):
            found.append((name, "future"))
        elif not text and (auc >= 0.99 or auc <= 0.01):
            found.append((name, "leak"))
        elif chi_squared > 23.93:
            found.append((name, "missing_tells"))
    return found + [("", "doubled_rows")] * (len(rows) < len(plain(columns[next(iter(columns))])) if columns else 0)


def clean(rng, m=300):
    """A table without faults: some columns, y, time and group."""
    y = rng.permutation(np.arange(m) % 3 == 0).astype(np.int64)
    time, group = rng.integers(0, 10**6, m) / 4, rng.integers(0, m // 4, m)
    some = rng.standard_normal(m)
    balanced = np.where(np.argsort(np.argsort(y + rng.uniform(0, 0.5, m))) % 4 == 0, np.nan, rng.standard_normal(m))
    columns = {
        "amount": some + 0.7 * y,
        "asked": balanced,
        "kind": rng.integers(0, 5, m),
        "old": rng.random(m) < 0.3,
        "place": rng.choice(["north", "south", "", "west"], m),
        "opened_at": time - rng.integers(0, 3, m),
        "plan_at": rng.choice(["home", "work"], m),
        "ratio": rng.integers(0, 9, m) / 8,
        "visit": 3 * group + rng.integers(0, 3, m),  # each value has one group, but a group has several values
        "team": group // 5,  # and the other way round
        "mixed": rng.permutation(group),  # as many values as groups
        "nick": np.array(["", *(f"n{k}" for k in range(1, m))]),
        "answer": np.where(y == 1, "yes", "no"),
    }
    return columns, y, time, group


def plant(code, rng, columns, y, time, group, form=None):
    """The table with one more column (or rows) of this code at a place of its own, and what must be found."""
    m, at = len(y), int(rng.integers(0, len(columns) + 1))
    name, form = f"{code}_{at}", at if form is None else form
    if code == "doubled_rows":
        rows = rng.permutation(np.append(np.arange(m), rng.integers(0, m, 4)))
        return {k: v[rows] for k, v in columns.items()}, y[rows], time[rows], group[rows]
    if code == "constant":
        new = [np.full(m, -2.5), np.full(m, np.nan), np.full(m, 7, np.uint8), np.full(m, ""), np.zeros(m, bool)][
            form % 5
        ]
    elif code == "duplicate":
        source = list(columns)[int(rng.integers(0, len(columns)))]
        new, at = columns[source].copy(), len(columns)
    elif code == "identifier":
        far = rng.permutation(50 * m)
        new = [far[:m] - m, far[group], np.array([f"n{k}" for k in far[:m]]), np.array([f"g{far[g]}" for g in group])]
        new = new[form % 4]
    elif code == "future":
        name, new = f"later_{at}_at", time - 1.0
        new[int(rng.integers(0, m))] += 1.25
    elif code == "leak":
        new = (y + 0.2 * rng.standard_normal(m)) * [1, -1][form % 2]
    else:
        new = np.where(rng.random(m) < np.where(y == 1, 0.8, 0.2), np.nan, rng.standard_normal(m))
        new = [new, np.where(np.isnan(new), "", "x"), new.astype(np.float32)][form % 3]
    items = list(columns.items())
    return dict([*items[:at], (name, new), *items[at:]]), y, time, group


CODES = ("constant", "duplicate", "identifier", "future", "leak", "missing_tells", "doubled_rows")


@pytest.mark.exercise("audit", weight=3, core=True, hint=2)
def test_each_fault_alone(submission, rng):
    """One planted fault is found, by its column and code, and nothing else in the table."""
    for code, form in itertools.product(CODES, range(5)):
        table = plant(code, rng, *clean(rng), form=form)
        assert close(submission.audit(*table), audited(*table))


@pytest.mark.exercise("audit", weight=3, core=True, hint=2)
def test_a_clean_table(submission, rng):
    """In a table without faults nothing is found."""
    for m in (300, 40, 301):
        table = clean(rng, m)
        assert close(submission.audit(*table), [])


@pytest.mark.exercise("audit", weight=3, hint=2)
def test_faults_in_pairs(submission, rng):
    """Two planted faults are both found, in the order of the columns, with doubled rows at the end."""
    for one, other in itertools.permutations(CODES, 2):
        table = plant(other, rng, *plant(one, rng, *clean(rng, 150)))
        assert close(submission.audit(*table), audited(*table))


@pytest.mark.exercise("audit", weight=2, hint=2)
def test_the_first_code_that_holds(submission, rng):
    """A column gets one code, the first of the list that holds; rows that agree count once for it."""
    columns, y, time, group = clean(rng)
    m, far = len(y), rng.permutation(5000)[:300]
    columns |= {
        "number_at": (2e6 * y + np.arange(m)).astype(np.int64),  # identifier, future and leak
        "again_at": (2e6 * y + np.arange(m)).astype(np.int64),  # duplicate of that
        "closed_at": time + y,  # future and leak
        "empty_at": np.full(m, np.nan),
        "told": np.where(y == 1, np.nan, 1.0),  # one class: no leak, but missing tells
        "score": np.where(rng.random(m) < 0.9 * y, np.nan, y * 1.0),  # leak and missing tells
        "code": far.astype(float),  # floats are no identifiers
        "code2": far,
    }
    for rows in (np.arange(m), rng.permutation(np.tile(np.arange(m), 2))):
        table = [{k: v[rows] for k, v in columns.items()}, y[rows], time[rows], group[rows]]
        expected = audited(*table)
        codes = ["identifier", "duplicate", "future", "constant", "missing_tells", "leak", "duplicate"]
        assert [code for _, code in expected][:7] == codes
        assert close(submission.audit(*table), expected)


@pytest.mark.exercise("audit", weight=2, hint=3)
def test_leaks_at_the_limit(submission, rng):
    """An AUC of 0.99 or more, or 0.01 or less, is a leak, with ties as one half and without missing rows."""
    m = 400
    y = np.arange(m) % 2
    time, group = np.arange(m) * 1.0, np.arange(m) // 5
    for sign, above in itertools.product([1, -1], [True, False]):
        # Of 200 * 200 pairs, moving one positive below k negatives loses k; a tie with k loses k / 2.
        score = 1000.0 * y + np.arange(m)
        for row, k in [(1, 199), (3, 199)] + ([] if above else [(5, 3)]):
            score[row] = np.sort(score[y == 0])[-k] - 0.5 if k < 200 else -1
        tied = np.where(y == 1, 1, 0) * 1.0
        tied[:8:2] = 1.0 if above else tied[:8:2]  # 4 of 200 negatives tie with all positives: 0.99
        tied[1:5:2] = tied[1:5:2] if above else 0
        tied[:8:2] = 1.0
        if above:
            tied[0] = 0.0  # 3 of 200: 0.9925
        columns = {
            "s": sign * score,
            "tied": sign * tied,
            "whole": np.where(y == 1, 100, 0).astype(np.uint8),
            "few": np.where(np.arange(m) % 10 < 4, sign * score, np.nan),
            "bool": y == (sign == 1),
            "below": np.where(rng.random(m) < 0.97, y, 1 - y),
        }
        for names in (list(columns), ["tied"], ["few", "s"]):
            table = [{name: columns[name] for name in names}, y, time, group]
            assert close(submission.audit(*table), audited(*table))


@pytest.mark.exercise("audit", weight=2, hint=3)
def test_missing_at_the_limit(submission, rng):
    """Pearson's chi-squared without correction, above 23.93 or not, for floats and for strings."""
    m = 300
    for ones in (100, 30):
        y = rng.permutation(np.arange(m) < ones).astype(np.int64)
        time, group = np.arange(m) * 1.0, np.arange(m) // 7
        columns = {}
        for gone in (60, 12, 5):
            for both in range(min(gone, ones) + 1):
                counts = np.array([[m - ones - gone + both, ones - both], [gone - both, both]])
                statistic = scipy.stats.chi2_contingency(counts, correction=False).statistic
                if 18 < statistic < 32 and abs(statistic / 23.93 - 1) > 0.011:
                    missing = np.zeros(m, bool)
                    missing[np.flatnonzero(y == 1)[:both]] = missing[np.flatnonzero(y == 0)[: gone - both]] = True
                    columns[f"{gone}_{both}"] = np.where(missing, np.nan, rng.standard_normal(m))
                    columns[f"{gone}_{both}_text"] = np.where(missing, "", rng.choice(["a", "b", "nan", " "], m))
        table = [columns, y, time, group]
        found = audited(*table)
        assert 0 < len(found) < len(columns)
        assert close(submission.audit(*table), found)


@pytest.mark.exercise("audit", weight=2)
def test_equal_columns_and_rows(submission, rng):
    """Numbers are compared as numbers, strings with strings; rows that differ in y, time or group do not agree."""
    m = 60
    y, time, group = np.arange(m) % 2, np.arange(m) // 2 * 1.0, np.arange(m) // 4
    few = rng.integers(0, 2, m)
    gone = np.where(np.arange(m) % 3 == 0, np.nan, few)
    columns = {
        "int": few,
        "float": few.astype(np.float32),
        "bool": few.astype(bool),
        "text": few.astype(str),
        "long": np.array([f"{k:>9}".strip() for k in few], dtype="U30"),
        "gone": gone,
        "gone2": gone.astype(np.float32),
        "other": np.where(np.arange(m) == m - 1, 1 - few, few),
        "bigger": few + 2**52,
        "next": few + 2**52 + 1,
        "zero": np.zeros(m),
        "near": few + 1e-12,
        "tiny": few * 1e-9,
    }
    table = [columns, y, time, group]
    assert [code for _, code in audited(*table)] == ["duplicate"] * 2 + ["duplicate"] * 2 + ["constant"]
    assert close(submission.audit(*table), audited(*table))
    rows = np.append(np.arange(m), [7, 7])
    for change in (None, "y", "time", "group", "gone", "text"):
        changed = [
            {k: v[rows].copy() for k, v in columns.items()},
            y[rows].copy(),
            time[rows].copy(),
            group[rows].copy(),
        ]
        for row in (m, m + 1) if change else ():
            if change in ("y", "time", "group"):
                changed[("y", "time", "group").index(change) + 1][row] = (1 - y[7]) if change == "y" else 900 + row
            elif change == "gone":
                changed[0]["gone"][row] = changed[0]["gone2"][row] = 5.0 + row
            else:
                changed[0]["text"][row] = changed[0]["long"][row] = str(row)[-1]
        assert close(submission.audit(*changed), audited(*changed))
    only = [{"gone": gone}, y, time, group]
    assert close(submission.audit({}, y, time, group), [])
    assert close(submission.audit(*[only[0], *only[1:]]), audited(*only))
    two = [{"bool": np.arange(m) < 30, "whole": (np.arange(m) < 30) * 2.0}, y, time, np.arange(m) // 30]
    assert close(submission.audit(*two), [])  # only integers and strings are identifiers
    far = 2.0**50 + 4 * np.arange(m)
    large = [{"by_at": far + 2 * (np.arange(m) == 7) - 1, "just_at": far, "big": 2**50 + y}, y, far, group]
    assert close(submission.audit(*large), [("by_at", "future"), ("big", "leak")])
    twice = [{}, y[[0, 0]], time[[0, 0]], group[[0, 0]]]
    assert close(submission.audit(*twice), [("", "doubled_rows")])


@pytest.mark.exercise("audit")
def test_tables_of_every_kind(submission, rng):
    """Columns, labels, times and groups of every kind and layout, 1,000 rows and more."""
    columns, y, time, group = clean(rng, 1300)
    columns["tail"] = np.where(np.arange(1300) >= 1290, 1, 0)
    columns["late_at"] = np.where(np.arange(1300) == 1299, time + 1, time - 1)
    expected = audited(columns, y, time, group)
    assert ("late_at", "future") in expected
    assert close(submission.audit(columns, y, time, group), expected)
    for kind in KINDS:
        table = clean(rng, 90)
        group = (table[3] % 100).astype(kind)
        columns = {"k": (np.arange(90) % 7).astype(kind), "n": np.arange(90).astype(kind), "g": group.astype(int) * 2}
        columns |= {"a_at": (np.arange(90) // 2).astype(kind), "y": table[1].astype(kind)}
        time = (np.arange(90) // 2).astype(kind)
        made = [columns, table[1].astype(kind), time, group]
        assert close(submission.audit(*made), audited(*made))
    for change in (stepped, frozen, lambda v: np.flip(np.flip(v).copy()), lambda v: v[:]):
        table = plant("leak", rng, *plant("constant", rng, *clean(rng, 120)))
        expected = audited(*table)
        y = table[1].astype(bool)
        moved = {k: v if v.dtype.kind == "U" and change is stepped else change(v) for k, v in table[0].items()}
        assert close(submission.audit(moved, change(y), *map(change, table[2:])), expected)


@student_side
def audit_large(seed, m):
    rng = np.random.default_rng(seed)
    y, time, group = rng.integers(0, 2, m), rng.random(m), rng.integers(0, m // 2, m)
    number, amount = rng.permutation(m), rng.standard_normal(m)
    columns = {"number": number, "amount": amount, "late_at": time - 1 + 2 * (np.arange(m) == m - 1), "again": amount}
    columns["told"] = np.where(rng.random(m) < 0.3 + 0.1 * y, np.nan, number)
    return student.audit(columns, y, time, group)


@pytest.mark.exercise("audit", weight=2)
def test_a_large_table(submission, rng):
    """A table of 150,000 rows is audited within the ten seconds of a call."""
    found = submission.run(audit_large, int(rng.integers(2**40)), 150_000)
    assert close(
        found, [("number", "identifier"), ("late_at", "future"), ("again", "duplicate"), ("told", "missing_tells")]
    )


def table_of(rng):
    return {k: v for k, v in plant("missing_tells", rng, *clean(rng, 80))[0].items() if v.dtype.kind != "U"}


@pytest.mark.exercise("audit", forgeable=True)
def test_audit_leaves_no_trace(submission, rng):
    """Nothing that was given is changed, and nothing is kept for later calls."""
    contract = Contract(
        "audit",
        columns=Argument(table_of, {}, frozenset()),
        y=integers(80, high=1),
        time=floats(80),
        group=integers(80, high=30),
    )
    assert contract.leaves_no_trace(submission, rng)


# ---------------------------------------------------------------------------------------------- grouped_time_split


def split_by_hand(time, group, share, gap):
    """The split, by loops over rows; None where nothing is left to train on."""
    times = [float(t) for t in time]
    first = sorted(times, reverse=True)[max(1, int(share * len(times))) - 1]
    test = [i for i, t in enumerate(times) if t >= first]
    names = {int(group[i]) for i in test}
    train = [i for i, t in enumerate(times) if t < first - gap and int(group[i]) not in names]
    return (np.array(train), np.array(test)) if train else None


@pytest.mark.exercise("grouped_time_split", weight=3, core=True, hint=1)
def test_the_latest_rows_are_tested(submission, rng):
    """The test holds the k latest rows and those that tie with them, each row number in ascending order."""
    for m, share in [(50, 0.2), (10, 0.5), (100, 0.29), (9, 0.05), (400, 0.9)]:
        time, group = rng.permutation(m * 4)[:m] / 4, np.arange(m)
        assert close(submission.grouped_time_split(time, group, share, 0.0), split_by_hand(time, group, share, 0.0))
        time = rng.integers(0, 6, m) * 1.0
        wanted = split_by_hand(time, group, share / 2, 0.0)
        if wanted:
            assert close(submission.grouped_time_split(time, group, share / 2, 0.0), wanted)


@pytest.mark.exercise("grouped_time_split", weight=3, core=True, hint=2)
def test_no_group_on_both_sides(submission, rng):
    """A group that is tested is dropped from train, all of its rows; test rows stay."""
    for _ in range(8):
        m = int(rng.integers(40, 90))
        time, group = rng.permutation(m) * 1.0, rng.integers(-20, 40, m)
        wanted = split_by_hand(time, group, 0.15, 0.0)
        if wanted:
            assert close(submission.grouped_time_split(time, group, 0.15, 0.0), wanted)


@pytest.mark.exercise("grouped_time_split", weight=3, core=True, hint=2)
def test_nothing_of_the_gap(submission, rng):
    """Rows less than a gap before the test, or exactly at its beginning, are on neither side; the test is not cut."""
    for gap in (1.0, 0.25, 7.5, 20.0):
        time, group = rng.permutation(200)[:100] / 4, rng.integers(0, 1000, 100)
        wanted = split_by_hand(time, group, 0.2, gap)
        if wanted:
            assert close(submission.grouped_time_split(time, group, 0.2, gap), wanted)
    time = np.array([0.0, 6.0, 5.999999, 8.0, 7.0, 6.000001])
    assert close(submission.grouped_time_split(time, np.arange(6), 0.3, 2.0), ([0, 2], [3]))


@pytest.mark.exercise("grouped_time_split", weight=2)
def test_what_cannot_be_split(submission, rng):
    """ValueError for a share outside (0, 1), a gap below 0, nan, and where no row is left to train on."""
    time, group = np.arange(20.0), np.arange(20) // 2
    for share in (0.0, 1.0, -0.5, 1.5, math.nan):
        with raises_student(ValueError):
            submission.grouped_time_split(time, group, share, 1.0)
    for gap in (-1e-9, -1.0, math.nan, 19.0, math.inf):
        with raises_student(ValueError):
            submission.grouped_time_split(time, group, 0.1, gap)
    assert close(submission.grouped_time_split(time, group, 0.1, 17.5), ([0], [18, 19]))
    for times, groups in [
        (np.ones(5), np.arange(5)),
        (np.arange(5.0), np.zeros(5, int)),
        (np.ones(1), np.ones(1, int)),
    ]:
        with raises_student(ValueError):
            submission.grouped_time_split(times, groups, 0.3, 0.0)
    assert close(submission.grouped_time_split(np.array([2, 1]), np.array([0, 1]), 1e-9, 0.0), ([1], [0]))
    assert close(submission.grouped_time_split(np.array([2, 1]), np.array([0, 1]), 0.999, 0.0), ([1], [0]))


def split_contract(m=40):
    return Contract(
        "grouped_time_split",
        time=numbers(m, draw=lambda rng: rng.integers(-400, 400, m) / 4),
        group=integers(m, high=100),
        share=one_of(0.25, 0.5, 1e-3),
        gap=one_of(4.0, 0.0, 0.5, 11.0),
    )


@pytest.mark.exercise("grouped_time_split", weight=2)
def test_splits_of_every_kind(submission, rng):
    """Times and groups of every kind and layout; int64 comes back."""
    for case in split_contract().cases(rng):
        wanted = split_by_hand(*case)
        if wanted is None:
            with raises_student(ValueError):
                submission.grouped_time_split(*case)
        else:
            assert close(submission.grouped_time_split(*case), wanted, typed=True)
    time = np.arange(1500.0) % 1400 + 2.0**52
    group = rng.permutation(3000)[:1500] * 2**40
    for gap in (3.0, 1100.0):
        assert close(
            submission.grouped_time_split(time, group, 0.01, gap), split_by_hand(time, group, 0.01, gap), typed=True
        )
    # Numbers that float32 does not tell apart.
    for time, gap in [
        (np.array([5, 2**24 - 1, 2**24, 2**25 + 1, 2**25]), 2.0**24 + 1),
        (np.array([5, 2**24, 2**25], np.float32), 2.0**24 - 0.5),
    ]:
        case = time, np.arange(len(time)), 0.2, gap
        assert close(submission.grouped_time_split(*case), split_by_hand(*case))
    tiny = np.arange(30) * 2.0**-30
    for gap in (2.0**-29, 2.0**-31):
        assert close(
            submission.grouped_time_split(tiny, np.arange(30), 0.2, gap), split_by_hand(tiny, np.arange(30), 0.2, gap)
        )


@student_side
def split_large(seed, m):
    rng = np.random.default_rng(seed)
    train, test = student.grouped_time_split(rng.random(m), rng.integers(0, m // 2, m), 0.3, 0.125)
    return len(train), len(test), int(train.sum()), int(test.sum())


@pytest.mark.exercise("grouped_time_split")
def test_a_large_split(submission, rng):
    """A million rows with half a million groups are split within the ten seconds of a call."""
    seed, m = int(rng.integers(2**40)), 1_000_000
    got = submission.run(split_large, seed, m)
    draws = np.random.default_rng(seed)
    time, group = draws.random(m), draws.integers(0, m // 2, m)
    test = time >= np.partition(time, m - int(0.3 * m))[m - int(0.3 * m)]
    train = (time < time[test].min() - 0.125) & (np.bincount(group[test], minlength=m // 2)[group] == 0)
    assert close(got, (train.sum(), test.sum(), np.flatnonzero(train).sum(), np.flatnonzero(test).sum()))


@pytest.mark.exercise("grouped_time_split", forgeable=True)
def test_split_leaves_no_trace(submission, rng):
    """Nothing that was given is changed, and results are new arrays."""
    assert split_contract().leaves_no_trace(submission, rng, share=[0.0], gap=[-1.0, 1e9])


# ---------------------------------------------------------------------------------------------- cheapest_threshold


def candidates(p, y, cost):
    """Each candidate, largest first, and its mean cost, by asking every row."""
    p, y = np.asarray(p, np.float64), np.asarray(y).astype(int)
    places = [math.inf, *sorted(set(p.tolist()), reverse=True)]
    return places, np.array([np.mean(np.asarray(cost, float)[y, (p >= t).astype(int)]) for t in places])


def is_cheapest(got, p, y, cost, exact=False):
    """Whether a threshold and its cost are those of the docstring; with `exact` no rounding excuses another tie."""
    places, costs = candidates(p, y, cost)
    size = 1e-9 * float(np.abs(np.asarray(cost, float)).max())
    fine = close(np.shape(got), (2,)) and close(got[1], float(costs.min()), atol=size)
    if not fine:
        return fine
    allowed = [t for t, c in zip(places, costs) if c <= costs.min() + size]
    wanted = allowed[0] if exact or got[0] not in allowed else got[0]
    return close(got, (wanted, float(costs.min())), atol=size, rtol=1e-15)


@pytest.mark.exercise("cheapest_threshold", weight=3, core=True, hint=2)
def test_no_threshold_is_cheaper(submission, rng):
    """Threshold and mean cost are those of the cheapest candidate, for costs that differ for both mistakes."""
    for cost in ([[0, 1], [5, 0]], [[0, 5], [1, 0]], [[0.5, 3.25], [9, 2]]):
        for m in (60, 33):
            y = rng.integers(0, 2, m)
            p = rng.normal(y * 0.8, 1.0)
            assert is_cheapest(submission.cheapest_threshold(p, y, np.array(cost, float)), p, y, cost)


@pytest.mark.exercise("cheapest_threshold", weight=2, core=True, hint=1)
def test_always_and_never(submission, rng):
    """Never 1 (threshold inf) and always 1 (the smallest value) are candidates, also with one class only."""
    p = rng.random(20)
    for y in (np.ones(20, int), np.zeros(20, int), rng.permutation(np.arange(20) % 2)):
        for cost in ([[0.0, 1.0], [1000.0, 0.0]], [[0.0, 1000.0], [1.0, 0.0]], [[7.0, 0.0], [0.0, 3.0]]):
            assert is_cheapest(submission.cheapest_threshold(p, y, np.array(cost)), p, y, cost)


@pytest.mark.exercise("cheapest_threshold", weight=3, hint=1)
def test_equal_values_and_equal_costs(submission, rng):
    """Rows with equal values change together, and of candidates that cost the same the largest is returned."""
    for _ in range(12):
        p, y = rng.integers(0, 4, 16) / 4, rng.integers(0, 2, 16)
        for cost in ([[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [2.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]):
            got = submission.cheapest_threshold(p, y, np.array(cost))
            assert is_cheapest(got, p, y, cost, exact=True)
    close_by = np.array([1.0, 1.0 + 2.0**-50, 1.0 - 2.0**-50, -1e300, 1e300])
    y = np.array([0, 1, 0, 0, 1])
    assert is_cheapest(
        submission.cheapest_threshold(close_by, y, np.array([[0, 1.0], [1, 0]])), close_by, y, [[0, 1], [1, 0]], True
    )


@pytest.mark.exercise("cheapest_threshold", weight=2)
def test_costs_of_any_sign(submission, rng):
    """All four costs count: the diagonal, gains below 0, sizes from 1e-6 to 1e6, integers."""
    for _ in range(10):
        p, y = rng.standard_normal(30), rng.integers(0, 2, 30)
        for cost in (
            rng.standard_normal((2, 2)),
            1e6 * rng.uniform(-1, 1, (2, 2)),
            1e-6 * rng.uniform(-1, 1, (2, 2)),
            rng.integers(-9, 9, (2, 2)),
        ):
            assert is_cheapest(submission.cheapest_threshold(p, y, cost), p, y, cost)


def threshold_contract(m=25):
    return Contract(
        "cheapest_threshold",
        p=floats(m, scales=(1e-30, 1e30)),
        y=integers(m, high=1, bools=True),
        cost=numbers(2, 2),
    )


@pytest.mark.exercise("cheapest_threshold", weight=2)
def test_thresholds_of_every_kind(submission, rng):
    """Scores, labels and costs of every kind and layout, one row, a thousand; two Python floats come back."""
    for case in threshold_contract().cases(rng):
        got = submission.cheapest_threshold(*case)
        assert is_cheapest(got, *case) and close(tuple(type(number) for number in got) == (float, float), True)
    for m in (1, 1500):
        p, y = rng.standard_normal(m), rng.integers(0, 2, m)
        p[-1] = 100.0
        for cost in (np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.0, 3.0], [1.0, 0.0]])):
            assert is_cheapest(submission.cheapest_threshold(p, y, cost), p, y, cost)


@student_side
def threshold_large(seed, m):
    rng = np.random.default_rng(seed)
    return student.cheapest_threshold(rng.random(m), rng.integers(0, 2, m), np.array([[0.0, 1.0], [1.5, 0.0]]))


@pytest.mark.exercise("cheapest_threshold", weight=2)
def test_a_million_thresholds(submission, reference, rng):
    """A million different values are dealt with in the ten seconds of a call."""
    seed, m = int(rng.integers(2**40)), 1_000_000
    got = submission.run(threshold_large, seed, m)
    draws = np.random.default_rng(seed)
    p, y = draws.random(m), draws.integers(0, 2, m)
    order = np.argsort(-p)
    totals = 1.5 * y.sum() + np.append(0.0, np.cumsum(np.where(y[order] == 1, -1.5, 1.0)))
    best = int(np.argmin(totals))
    assert close(got, (math.inf if best == 0 else p[order[best - 1]], totals[best] / m), rtol=1e-9)


@pytest.mark.exercise("cheapest_threshold", forgeable=True)
def test_threshold_leaves_no_trace(submission, rng):
    """Nothing that was given is changed, and nothing is kept for later calls."""
    assert threshold_contract().leaves_no_trace(submission, rng)


# -------------------------------------------------------------------------------------------------- learning_curve


def weighted_line(x, values, std):
    """The best a and b of values = a + b x, and S, by the normal equations."""
    A = np.stack([np.ones(len(x)), x], axis=1) / std[:, None]
    (a, b), *_ = np.linalg.lstsq(A / np.linalg.norm(A, axis=0), values / std)
    a, b = np.array([a, b]) / np.linalg.norm(A, axis=0)
    return a, b, float(np.sum(((a + b * x - values) / std) ** 2))


def best_curve(n, error, std):
    """The least S over a fine grid of c and around its best places, with a, b and c."""
    n, error, std = (np.asarray(v, np.float64) for v in (n, error, std))
    least = lambda c: weighted_line((n / n[0]) ** -c, error, std)[2]  # noqa: E731
    grid = np.linspace(0.1, 2, 60)
    i = int(np.argmin([least(c) for c in grid]))
    found = scipy.optimize.minimize_scalar(
        least, bounds=(grid[max(i - 1, 0)], grid[min(i + 1, 59)]), method="bounded", options={"xatol": 1e-11}
    )
    c = min([found.x, 0.1, 2.0], key=least)
    a, b, S = weighted_line((n / n[0]) ** -c, error, std)
    return a, b * n[0] ** c, c, S


def half_width(n, std, b, c):
    """1.96 standard errors of a, with the column of a made orthogonal to the two others."""
    n, std = np.asarray(n, np.float64), np.asarray(std, np.float64)
    J = np.stack([n**-c, -b * np.log(n) * n**-c], axis=1) / std[:, None]
    Q = np.linalg.qr(J / np.linalg.norm(J, axis=0))[0]
    ones = 1 / std
    return 1.96 / np.linalg.norm(ones - Q @ (Q.T @ ones))


def squares(got, n, error, std):
    n = np.asarray(n, np.float64)
    return float(
        np.sum(((got["a"] + got["b"] * n ** -got["c"] - np.asarray(error, float)) / np.asarray(std, float)) ** 2)
    )


def planted(rng, k=7, noise=1.0, std=0.004):
    """Sizes, errors from a known curve, their standard errors, and the curve."""
    n = np.round(np.exp(np.linspace(math.log(60), math.log(rng.uniform(2e4, 3e5)), k)))
    c, a = rng.uniform(0.35, 0.9), rng.uniform(0.05, 0.4)
    b = rng.uniform(0.3, 0.9) * 60**c
    sizes = std * rng.uniform(0.5, 2, k)
    return n, a + b * n**-c + noise * sizes * rng.standard_normal(k), sizes, (a, b, c)


KEYS = {"a", "b", "c", "interval", "rows_needed"}


@pytest.mark.exercise("learning_curve", weight=4, core=True, hint=2)
def test_a_planted_curve(submission, rng):
    """Errors that lie on a curve a + b n^-c give back a, b and c."""
    for _ in range(6):
        n, error, std, truth = planted(rng, noise=0.0)
        got = submission.learning_curve(n, error, std, 0.5)
        assert close(isinstance(got, dict) and set(got) >= KEYS, True)
        # S may be 1e-6: errors of a thousandth of a standard error in each measurement.
        slack = 3e-3 * half_width(n, std, truth[1], truth[2])
        assert close(got["a"], truth[0], atol=slack) and close([got["b"], got["c"]], truth[1:], rtol=0.02)


@pytest.mark.exercise("learning_curve", weight=3, core=True, hint=1)
def test_the_least_weighted_squares(submission, rng):
    """No a, b and c from 0.1 to 2 have a smaller S; measurements with small standard errors count more."""
    for k, spread in [(7, 1.0), (4, 1.0), (12, 30.0), (3, 1.0)]:
        n, error, std, _ = planted(rng, k)
        std = std.copy()
        std[:: k - 1] *= spread
        error[0] += 0.02 * spread / 30
        order = rng.permutation(k)
        got = submission.learning_curve(n[order], error[order], std[order], 0.5)
        *_, S = best_curve(n, error, std)
        assert close(squares(got, n, error, std) <= S + 1.5e-6 * (1 + S), True)


@pytest.mark.exercise("learning_curve", weight=3, hint=3)
def test_the_interval(submission, rng):
    """interval is a plus and minus 1.96 standard errors, from the derivatives by a, b and c."""
    for k in (3, 5, 9):
        n, error, std, _ = planted(rng, k, noise=0.3)
        a, b, c, _ = best_curve(n, error, std)
        half = half_width(n, std, b, c)
        got = submission.learning_curve(n, error, std, 0.5)
        assert close(got["interval"], (a - half, a + half), atol=0.02 * half)


@pytest.mark.exercise("learning_curve", weight=3, hint=3)
def test_rows_for_a_target(submission, rng):
    """rows_needed solves a + b n^-c = target, far beyond the data, too; inf up to the floor; 0 where b < 0."""
    for target in (0.9, 0.5, 0.42, 0.401, 0.4 + 1e-4, 40.0):
        n, error, std, (a, *_) = planted(rng, noise=0.0)
        got = submission.learning_curve(n, error, std, a + target - 0.4 + 0.1 * (target > 0.5))
        wanted = (got["b"] / (a + target - 0.4 + 0.1 * (target > 0.5) - got["a"])) ** (1 / got["c"])
        assert close(got["rows_needed"], wanted, rtol=1e-9)
    for below in (0.01, 0.3, 5.0):
        assert close(submission.learning_curve(n, error, std, a - below)["rows_needed"], math.inf)
    for b, target in ((-0.5, 0.6), (-0.5, 0.2), (0.5, 0.6)):  # a small b, too
        got = submission.learning_curve(n, 0.3 + b * n**-0.4, std, target)
        wanted = math.inf if target < 0.3 else 0.0 if b < 0 else (got["b"] / (target - got["a"])) ** (1 / got["c"])
        assert close(got["rows_needed"], wanted, rtol=1e-9)


@pytest.mark.exercise("learning_curve", weight=2, hint=2)
def test_exponents_at_their_ends(submission, rng):
    """c stays from 0.1 to 2 where a steeper or a flatter curve would fit better."""
    n = np.array([50, 100, 200, 400, 800, 3000])
    for c, end in [(3.0, 2.0), (0.01, 0.1), (2.0, 2.0), (0.1, 0.1)]:
        error = 0.2 + 0.5 * (n / 50.0) ** -c
        std = np.full(6, 0.01)
        got = submission.learning_curve(n, error, std, 0.3)
        *_, S = best_curve(n, error, std)
        assert close(got["c"], end, atol=2e-3 if c in (2.0, 0.1) else 1e-4) and close(0.1 <= got["c"] <= 2, True)
        assert close(squares(got, n, error, std) <= S + 1.5e-6 * (1 + S), True)


@student_side
def covers(n, error, std):
    """In how many rows of error the interval holds each of 200 places for a, as (low, high) pairs."""
    return np.array([student.learning_curve(n, row, std, 0.5)["interval"] for row in error])


@pytest.mark.exercise("learning_curve", weight=2, hint=3)
def test_intervals_cover_the_floor(submission, rng):
    """Of 500 curves drawn again, about 95 in 100 intervals hold the true floor."""
    n = np.round(np.exp(np.linspace(math.log(60), math.log(200_000), 8)))
    std = np.full(8, 0.002)
    error = 0.2 + 6 * n**-0.6 + std * rng.standard_normal((500, 8))
    low, high = np.asarray(submission.run(covers, n, error, std)).T
    inside = np.count_nonzero((low <= 0.2) & (high >= 0.2))
    # A binomial of 500 draws with chance 0.95 is outside 449 to 497 with probability 7.3e-7.
    assert close(449 <= inside <= 497, True)


def curve_contract():
    n = np.array([60.0, 240, 1000, 4100, 17_000])
    return Contract(
        "learning_curve",
        n=numbers(5, draw=lambda rng: n.copy()),
        error=floats(5, draw=lambda rng: 0.2 + 3 * n**-0.5 + 0.003 * rng.standard_normal(5)),
        std=floats(5, draw=lambda rng: rng.uniform(0.002, 0.006, 5)),
        target=one_of(0.3, 0.21, 0.1, 1.0),
    )


@pytest.mark.exercise("learning_curve")
def test_curves_of_every_kind(submission, rng):
    """Arrays of every kind and layout, sizes up to 1e7, 1,200 measurements; Python floats come back."""
    contract = curve_contract()
    for case in contract.cases(rng):
        n, error, std, target = case.exact
        if "int" in case.form:
            continue  # drawn from -9 to 9: no numbers of rows
        got = submission.learning_curve(*case)
        *_, S = best_curve(n, error, std)
        assert close(squares(got, n, error, std) <= S + 1.5e-6 * (1 + S), True)
        kinds = [type(got[key]) for key in ("a", "b", "c", "rows_needed")] + [type(end) for end in got["interval"]]
        assert close(kinds == [float] * 6, True) and close(set(got) == KEYS, True)
        wanted = math.inf if target <= got["a"] else (got["b"] / (target - got["a"])) ** (1 / got["c"])
        assert close(got["rows_needed"], wanted, rtol=1e-9)
    for kind in (np.int64, np.int32, np.uint64, np.int16):
        n = np.array([60, 240, 1000, 4100, 17_000]).astype(kind)
        error = 0.2 + 3 * n.astype(float) ** -0.5
        assert close(submission.learning_curve(n, error, np.full(5, 0.01), 0.3)["a"], 0.2, atol=1e-3)
    n = np.array([10, 20, 40, 100])
    small = submission.learning_curve(n.astype(np.uint8), 0.2 + n**-1.0, np.full(4, 0.01), 0.3)
    assert close([small["a"], small["c"]], [0.2, 1.0], atol=1e-2)
    n, std = np.round(np.exp(np.linspace(math.log(10), math.log(1e7), 1200))), np.full(1200, 1e-4)
    error = 0.3 + n**-0.3 + 1e-4 * rng.standard_normal(1200)
    error[-1] += 0.01
    got = submission.learning_curve(n, error, std, 0.35)
    *_, S = best_curve(n, error, std)
    assert close(squares(got, n, error, std) <= S + 1.5e-6 * (1 + S), True)


@pytest.mark.exercise("learning_curve")
def test_curves_that_cannot_be_fitted(submission, rng):
    """ValueError for fewer than three different n, and for a std that is not above 0."""
    same = [lambda n: n[[0, 0, 1, 1, 0]], lambda n: n[[2] * 5]]
    bad = [lambda s: s * [1, 1, 0, 1, 1], lambda s: s * [1, 1, -1, 1, 1], lambda s: s * [1, 1, 1, 1, math.nan]]
    curve_contract().refuses(submission, rng, ValueError, n=same, std=bad)
    n = np.array([60.0, 240, 240, 1000])
    submission.learning_curve(n, 1 / n, np.full(4, 1e-3), 0.1)


@pytest.mark.exercise("learning_curve", forgeable=True)
def test_curve_leaves_no_trace(submission, rng):
    """Nothing that was given is changed, and nothing is kept for later calls."""
    assert curve_contract().leaves_no_trace(submission, rng, std=[lambda s: -s])


# ------------------------------------------------------------------------------------------------------ cost_curve


def relative(found, n, seconds):
    fixed, per, power = found
    return float(np.sum(((fixed + per * np.asarray(n, float) ** power) / np.asarray(seconds, float) - 1) ** 2))


def best_cost(n, seconds):
    """The least S: for each power the better of three lines, both parts free, without fixed, without per."""
    n, seconds = np.asarray(n, float), np.asarray(seconds, float)

    def least(power):
        x, w = (n / n.max()) ** power, 1 / seconds**2
        per = np.sum(w * x * seconds) / np.sum(w * x * x)
        lines = [(0.0, per), (np.sum(w * seconds) / np.sum(w), 0.0)]
        fixed, free, _ = weighted_line(x, seconds, seconds)
        if fixed >= 0 and free >= 0:
            lines.append((fixed, free))
        return min((relative((f, q / n.max() ** power, power), n, seconds), f, q / n.max() ** power) for f, q in lines)

    grid = np.linspace(0.5, 3, 60)
    i = int(np.argmin([least(power)[0] for power in grid]))
    found = scipy.optimize.minimize_scalar(
        lambda power: least(power)[0],
        bounds=(grid[max(i - 1, 0)], grid[min(i + 1, 59)]),
        method="bounded",
        options={"xatol": 1e-11},
    )
    power = min([found.x, 0.5, 3.0], key=lambda power: least(power)[0])
    return (*least(power), power)


PARTS = ("fixed", "per", "power")


@pytest.mark.exercise("cost_curve", weight=3, core=True, hint=1)
def test_a_floor_hides_the_slope(submission, rng):
    """Seconds that lie on a curve fixed + per n^power give back all three, also where fixed is most of them."""
    for power, share in [(1.0, 0.9), (2.0, 0.5), (1.4, 0.99), (0.7, 0.2), (2.8, 0.8)]:
        n = np.array([100, 300, 1000, 3000, 10_000, 30_000])
        per = 10 ** rng.uniform(-8, -4)
        fixed = per * 3000**power * share / (1 - share)
        seconds = fixed + per * n**power
        got = submission.cost_curve(n, seconds, 2 * seconds[-1])
        assert close(isinstance(got, dict) and set(got) >= {*PARTS, "affordable"}, True)
        assert close([got[part] for part in PARTS], [fixed, per, power], rtol=0.03)


@pytest.mark.exercise("cost_curve", weight=3, core=True, hint=2)
def test_the_least_relative_squares(submission, rng):
    """No fixed and per of 0 or more and no power from 0.5 to 3 have a smaller sum of squared relative errors."""
    for _ in range(6):
        n = np.round(np.exp(np.sort(rng.uniform(math.log(50), math.log(1e6), 7))))
        growing = 10 ** rng.uniform(-3, 2) * (n / n.max()) ** rng.uniform(0.8, 2)  # at the end at least the floor
        seconds = (growing.max() * rng.uniform(0.01, 1) + growing) * np.exp(0.1 * rng.standard_normal(7))
        order = rng.permutation(7)
        got = submission.cost_curve(n[order], seconds[order], 1.0)
        assert close(relative([got[part] for part in PARTS], n, seconds) <= best_cost(n, seconds)[0] + 2e-8, True)


@pytest.mark.exercise("cost_curve", weight=3, hint=2)
def test_rows_for_a_budget(submission, rng):
    """affordable solves fixed + per n^power = budget, far beyond the data, too; 0 up to fixed; inf without per."""
    n = np.array([100, 400, 1600, 6400])
    for power, budget in [(1.5, 100.0), (1.0, 3.0), (2.0, 1e6), (0.5, 2.5)]:
        seconds = 2.0 + 1e-3 * n**power
        got = submission.cost_curve(n, seconds, budget)
        assert close(got["affordable"], ((budget - got["fixed"]) / got["per"]) ** (1 / got["power"]), rtol=1e-9)
        assert close(got["affordable"], ((budget - 2) * 1e3) ** (1 / power), rtol=0.05)
        for poor in (1.9, 0.1):
            assert close(submission.cost_curve(n, seconds, poor)["affordable"], 0.0)
    for budget in (9.0, 0.5):  # seconds fall: per is 0, or as good as 0
        got = submission.cost_curve(n, np.array([8.0, 4.0, 3.0, 2.0]), budget)
        wanted = 0.0 if budget < 1 else math.inf if got["per"] == 0 else got["affordable"]
        assert close(got["affordable"], wanted) and close(got["affordable"] > 6400, budget > 1)


@pytest.mark.exercise("cost_curve", weight=2, hint=1)
def test_costs_at_their_limits(submission, rng):
    """fixed is never below 0, and power stays from 0.5 to 3."""
    n = np.array([100, 400, 1600, 6400])
    for seconds in (1e-9 * n**3.6, 0.1 * n**0.3, 1e-4 * n - 0.005, 1e-3 * n**1.0, 2 + 1e-13 * n**3.0):
        got = submission.cost_curve(n, seconds, 50.0)
        assert close(got["fixed"] >= 0 and got["per"] > 0 and 0.5 <= got["power"] <= 3, True)
        assert close(relative([got[part] for part in PARTS], n, seconds) <= best_cost(n, seconds)[0] + 2e-8, True)


def cost_contract():
    n = np.array([60.0, 240, 1000, 4100, 17_000])
    return Contract(
        "cost_curve",
        n=floats(5, draw=lambda rng: n.copy()),
        seconds=floats(5, draw=lambda rng: (0.02 + 2e-6 * n**1.3) * rng.uniform(0.9, 1.1, 5), scales=(1e-3, 1e5)),
        budget=one_of(1.0, 1e-9, 300.0, 0.03),
    )


@pytest.mark.exercise("cost_curve")
def test_costs_of_every_kind(submission, rng):
    """Arrays of every kind and layout, sizes up to 1e7, 1,200 measurements; Python floats come back."""
    for case in cost_contract().cases(rng):
        n, seconds, budget = case.exact
        got = submission.cost_curve(*case)
        S, *_ = best_cost(n, seconds)
        assert close(relative([got[part] for part in PARTS], n, seconds) <= S + 2e-8 + 1e-6 * (case.eps > 1e-10), True)
        assert close([type(value) for value in got.values()] == [float] * 4 and len(got) == 4, True)
        wanted = 0.0 if budget <= got["fixed"] else ((budget - got["fixed"]) / got["per"]) ** (1 / got["power"])
        assert close(got["affordable"], wanted, rtol=1e-9)
    for kind in (np.int64, np.int32, np.uint64, np.int16):
        n = np.array([60, 240, 1000, 4100, 17_000]).astype(kind)
        got = submission.cost_curve(n, 0.5 + 1e-6 * n.astype(float) ** 1.5, 1.0)
        assert close([got["fixed"], got["power"]], [0.5, 1.5], rtol=0.03)
    n = np.array([10, 20, 40, 80, 160, 250])
    assert close(submission.cost_curve(n.astype(np.uint8), 1 + n**2.0, 9.0)["power"], 2.0, rtol=0.01)
    n = np.round(np.exp(np.linspace(math.log(10), math.log(1e7), 1200)))
    seconds = (0.1 + 1e-7 * n**1.2) * np.exp(0.1 * rng.standard_normal(1200))
    seconds[-1] *= 5
    got = submission.cost_curve(n, seconds, 9.0)
    assert close(relative([got[part] for part in PARTS], n, seconds) <= best_cost(n, seconds)[0] + 2e-8, True)


@pytest.mark.exercise("cost_curve")
def test_costs_that_cannot_be_fitted(submission, rng):
    """ValueError for fewer than three different n, and for seconds that are not above 0."""
    same = [lambda n: n[[0, 0, 1, 1, 0]], lambda n: n[[2] * 5]]
    bad = [lambda s: s * [1, 1, 0, 1, 1], lambda s: s * [1, 1, -1, 1, 1], lambda s: s * [1, 1, 1, 1, math.nan]]
    cost_contract().refuses(submission, rng, ValueError, n=same, seconds=bad)
    submission.cost_curve(np.array([60.0, 240, 240, 1000]), np.array([1.0, 2, 2, 7]), 1.0)


@pytest.mark.exercise("cost_curve", forgeable=True)
def test_cost_leaves_no_trace(submission, rng):
    """Nothing that was given is changed, and nothing is kept for later calls."""
    assert cost_contract().leaves_no_trace(submission, rng, seconds=[lambda s: -s])


# ---------------------------------------------------------------------------------------------- successive_halving


def halved(table, arms, budget):
    """Each round's survivors, rows and losses, and the one that is left; table(arm, rows) is a loss."""
    left, rounds = list(range(arms)), []
    R = next(r for r in range(64) if 2**r >= arms)
    for _ in range(R):
        rows = (budget // R) // len(left)
        keyed = sorted((math.inf if table(arm, rows) != table(arm, rows) else table(arm, rows), arm) for arm in left)
        rounds.append((rows, list(left)))
        left = sorted(arm for _, arm in keyed[: math.ceil(len(left) / 2)])
    return left[0], rounds


def halving_is_right(submission, table, arms, budget):
    """Whether the runs, round by round, and the result are those of the docstring."""
    run = Asked(lambda arm, rows: float(table(arm, rows)))
    got = submission.successive_halving(run, arms, budget)
    best, rounds = halved(table, arms, budget)
    calls, wanted = [tuple(call) for call in run.calls], []
    for rows, left in rounds:
        part = sorted(calls[len(wanted) : len(wanted) + len(left)])
        wanted += [(arm, rows) for arm in left]
        if part != wanted[len(wanted) - len(left) :]:
            return close(part, wanted[len(wanted) - len(left) :])
    return close(len(calls), len(wanted)) and close(got, (best, sum(rows for _, rows in wanted)), typed=True)


@pytest.mark.exercise("successive_halving", weight=4, core=True, hint=1)
def test_rounds_and_survivors(submission, rng):
    """Each round runs the survivors with an equal share, and the better half goes on."""
    for arms, budget in [(8, 240), (2, 7), (16, 999), (5, 120), (3, 100), (7, 400), (33, 1500)]:
        losses = rng.random((arms, 2000))
        assert halving_is_right(submission, lambda arm, rows, losses=losses: losses[arm, rows], arms, budget)


@pytest.mark.exercise("successive_halving", weight=3, core=True, hint=2)
def test_every_run_is_charged(submission, rng):
    """spent is the rows of all runs in all rounds, and never more than the budget."""
    for arms, budget in [(4, 64), (6, 100), (9, 3600), (20, 777)]:
        run = Asked(lambda arm, rows: 1.0 / (1 + arm))
        _, spent = submission.successive_halving(run, arms, budget)
        assert close(spent, sum(rows for _, rows in run.calls)) and close(spent <= budget, True)


@pytest.mark.exercise("successive_halving", weight=2, hint=3)
def test_ties_and_divergence(submission, rng):
    """Of equal losses the lower numbers stay; nan counts as infinite, and so does inf."""
    tables = [
        lambda arm, rows: 1.0,
        lambda arm, rows: -(arm // 3) * 1.0,
        lambda arm, rows: math.nan if arm % 2 == 0 else 2.0 - arm,
        lambda arm, rows: math.nan,
        lambda arm, rows: [math.inf, math.nan, 5.0, -math.inf, 1e300, -1e300, 0.0, -0.0, math.nan][arm % 9],
        lambda arm, rows: math.nan if rows > 30 else -arm * 1e-12,
    ]
    for table, arms in itertools.product(tables, (2, 5, 9, 12)):
        assert halving_is_right(submission, table, arms, 60 * arms)


@pytest.mark.exercise("successive_halving", weight=2, hint=1)
def test_few_arms_and_small_budgets(submission):
    """One arm needs no run; ValueError, before any run, for no arm or less than one row a run."""
    never = Asked(lambda arm, rows: 0.0)
    for budget in (0, 5, 10**6):
        assert close(submission.successive_halving(never, 1, budget), (0, 0), typed=True)
    for arms, budget in [(0, 100), (-1, 100), (2, 1), (5, 14), (8, 23), (100, 699), (2, -1), (2, 0)]:
        with raises_student(ValueError):
            submission.successive_halving(never, arms, budget)
    assert close(never.calls, [])
    for arms, budget in [(2, 2), (5, 15), (8, 24), (100, 700), (300, 2**40), (128, 2**45)]:
        assert halving_is_right(submission, lambda arm, rows: (arm * 37 % 101) / 7, arms, budget)


# ---------------------------------------------------------------------------------------------------------- decide


class World:
    """Names with curves and prices. `choose` lets an answer spend the budget here; nothing of it can be forged."""

    def __init__(self, rng, curves, rows, serving, budget, std, fixed=5e-4):
        self.names = [f"{word}_{i}" for i, word in enumerate(rng.permutation(["ada", "bo", "cy", "di", "ed", "fay"]))]
        self.names = self.names[: len(curves)]
        self.curves, self.std, self.budget, self.rng = dict(zip(self.names, curves)), std, float(budget), rng
        self.serving = dict(zip(self.names, map(float, serving)))
        self.price = {
            name: (fixed * self.budget, (1 - fixed) * self.budget / (n + 0.5)) for name, n in zip(self.names, rows)
        }
        self.spent, self.calls, self.strange = 0.0, 0, ""

    def loss(self, name, rows):
        a, b, c = self.curves[name]
        return a + b * rows**-c

    def value(self, name):
        fixed, per_row = self.price[name]
        return self.loss(name, int((self.budget - fixed) / per_row)) + self.serving[name]

    def run(self, name, rows):
        self.calls += 1
        if name not in self.curves or type(rows) is not int or rows < 1:
            self.strange = "another name, or rows that are no Python int >= 1"
            return 1.0, self.std
        fixed, per_row = self.price[name]
        self.spent += fixed + per_row * rows
        return float(self.loss(name, rows) + self.std * self.rng.standard_normal()), self.std

    def even(self):
        """The plain way's choice where losses are told exactly."""
        share, found = self.budget / len(self.names), {}
        for name in self.names:
            fixed, per_row = self.price[name]
            found[name] = self.loss(name, int((share - fixed) / per_row)) + self.serving[name]
        return min(found, key=found.get)

    def regret(self, name):
        return self.value(name) - min(map(self.value, self.names))

    def choose(self, submission):
        """The regret of an answer's choice; of the worst name where it spends too much, or names nothing there is."""
        got = submission.decide(self.names, self.price, self.serving, self.run, self.budget)
        fine = isinstance(got, str) and got in self.curves and self.spent <= self.budget * (1 + 1e-9)
        return self.regret(got) if fine else max(map(self.regret, self.names))


def worlds(rng, count):
    """Worlds of the docstring's law: three in four in which an equal share misleads by 0.01 or more."""
    made = []
    while len(made) < count:
        K = int(rng.integers(4, 7))
        c = np.where(rng.random(K) < 0.5, rng.uniform(0.3, 0.4, K), rng.uniform(0.9, 1.2, K))
        a, at_100 = rng.uniform(0.05, 0.3, K), rng.uniform(0.2, 2, K)
        curves = list(zip(a, at_100 * 100**c, c))
        rows = np.exp(rng.uniform(math.log(5e3), math.log(5e5), K)).astype(int)
        serving, budget = rng.uniform(0, 0.05, K), 10 ** rng.uniform(1, 6)
        world = World(rng, curves, rows, serving, budget, float(rng.uniform(5e-4, 2e-3)), rng.uniform(1e-4, 1e-3))
        if (world.regret(world.even()) >= 0.01) == (len(made) % 4 > 0):
            made.append(world)
    return made


@pytest.mark.exercise("decide", weight=6, core=True, hint=1)
def test_regret_over_worlds(submission, rng):
    """Over 40 worlds, the mean regret is at most a tenth of that of one equal run each."""
    drawn = worlds(rng, 40)
    plain = np.mean([world.regret(world.even()) for world in drawn])
    mine = np.mean([world.choose(submission) for world in drawn])
    # Measured: curves with a floor and a free exponent have 0.00 to 0.02 of it, a guessed exponent 0.24 and more.
    assert close(mine <= plain / 10, True)


@pytest.mark.exercise("decide", weight=3, hint=2)
def test_no_world_is_overspent(submission, rng):
    """The sum of fixed + per_row * rows of all runs stays within the budget; names and rows are valid."""
    for world in worlds(rng, 12):
        world.choose(submission)
        assert close(world.strange, "") and close(world.spent <= world.budget * (1 + 1e-9), True)
        assert close(world.calls <= 400, True)


@pytest.mark.exercise("decide", weight=3, hint=3)
def test_serving_counts(submission, rng):
    """A name with a lower loss and a dearer service can lose; the one with the least sum is returned."""
    for _ in range(8):
        curves = [(0.1, 4.0, 0.5), (0.2, 8.0, 0.6), (0.15, 3.0, 0.45), (0.12, 5.0, 0.5)]
        world = World(rng, curves, rng.integers(20_000, 90_000, 4), [0] * 4, 1000.0, 1e-6)
        for wanted in world.names:
            for name in world.names:  # all other values are 0.02 or more above
                world.serving[name] += 0.3 - world.value(name) + (name != wanted) * float(rng.uniform(0.02, 0.1))
            least = min(world.serving.values())
            world.serving = {name: cost - min(least, 0.0) for name, cost in world.serving.items()}
            world.spent = 0.0
            got = submission.decide(world.names, world.price, world.serving, world.run, world.budget)
            assert close(got, wanted)


@pytest.mark.exercise("decide", weight=2, hint=3)
def test_near_ties_go_to_the_cheaper(submission, rng):
    """Of values within 0.002 of the least, that with the least serving; beyond 0.002 the least value."""
    for apart, index in itertools.product((0.0012, 0.0028), range(6)):
        curves = [(0.1, 4.0, 0.5), (0.1, 4.0, 0.5), (0.3, 4.0, 0.5), (0.0997, 4.0, 0.5)][: 3 + index % 2]
        world = World(rng, curves, [50_000] * len(curves), [0.03, 0.01, 0.0, 0.0303][: len(curves)], 700.0, 1e-6)
        first, second, *_ = world.names
        a, b, c = world.curves[second]
        world.curves[second] = (
            a + 0.02 + apart,
            b,
            c,
        )  # its value: `apart` above the first one's, its serving 0.02 less
        world.names = [world.names[i] for i in rng.permutation(len(curves))]
        got = submission.decide(world.names, world.price, world.serving, world.run, world.budget)
        assert close(got, second if apart < 0.002 else first)


@pytest.mark.exercise("decide", weight=2)
def test_names_that_cannot_be_trained(submission, rng):
    """A name that the budget trains on no row is out; ValueError if all are; one that is left is returned."""
    world = World(rng, [(0.1, 4.0, 0.5), (0.3, 4.0, 0.5), (0.0, 1.0, 0.5)], [50_000, 50_000, 3], [0.0] * 3, 500.0, 1e-6)
    first, second, third = world.names
    for price in ((499.0, 2.0), (600.0, 1e-3), (500.0, 1e-9)):
        world.price[third], world.spent = price, 0.0
        for names in ([first, second, third], [third, second, first], [third, first]):
            world.spent, world.strange = 0.0, ""
            got = submission.decide(names, world.price, world.serving, world.run, 500.0)
            assert close(got, first) and close(world.spent <= 500.0 * (1 + 1e-9), True)
        assert close(submission.decide([third, second], world.price, world.serving, world.run, 500.0), second)
        with raises_student(ValueError):
            submission.decide([third], world.price, world.serving, world.run, 500.0)
    assert close(submission.decide([second], world.price, world.serving, world.run, 500.0), second)
    dear = dict.fromkeys(world.names, (9.0, 9.0))
    with raises_student(ValueError):
        submission.decide(world.names, dear, world.serving, world.run, 17.99)
    assert close(submission.decide([first], dear, world.serving, world.run, 18.0), first)


@student_side
def decide_twice(names, price, serving, curves, budget):
    """What is wrong after a call, in words."""
    kept = [list(names), dict(price), dict(serving)]

    def run(name, rows):
        a, b, c = curves[name]
        return a + b * rows**-c, 1e-6

    first = student.decide(names, price, serving, run, budget)
    if [names, price, serving] != kept or list(price) != list(kept[1]) or list(serving) != list(kept[2]):
        return "an argument is changed"
    turned = {name: curves[other] for name, other in zip(names, names[1:] + names[:1])}
    student.decide(names, price, serving, lambda name, rows: (turned[name][0] + 1.0 / rows, 1e-6), budget)
    return "" if student.decide(names, price, serving, run, budget) == first else "the same call gives another answer"


@pytest.mark.exercise("decide", forgeable=True)
def test_decide_leaves_no_trace(submission, rng):
    """names, price and serving are left as they are, and nothing is kept for later calls."""
    curves = {"one": (0.1, 4.0, 0.5), "two": (0.2, 3.0, 0.6), "three": (0.05, 6.0, 0.4)}
    price = {"three": (1.0, 0.02), "one": (2.0, 0.01), "two": (1.5, 0.03)}
    serving = {"two": 0.01, "one": 0.02, "three": 0.0, "nobody": 5.0}
    assert close(submission.run(decide_twice, list(curves), price, serving, curves, 900.0), "")


# ----------------------------------------------------------------------------------------------------- Leaderboard


class Ladder:
    """The board, from its definition; exact counts of errors until the very end."""

    def __init__(self, y, step):
        self.y, self.step, self.last = np.asarray(y).astype(int), step, None

    def submit(self, predicted):
        error = np.count_nonzero(np.asarray(predicted).astype(int) != self.y) / len(self.y)
        if self.last is None or error < self.last - self.step:
            self.last = round(error / self.step) * self.step
        return self.last


STEPS = (0.0137, 0.0731, 0.1911, 0.00317)  # no multiple of 1 / m, so that no rounding decides


def with_errors(rng, y, wrong):
    """Labels that differ from y in so many rows."""
    predicted = y.copy()
    predicted[rng.permutation(len(y))[:wrong]] += 1
    return predicted


@pytest.mark.exercise("Leaderboard", weight=3, core=True, hint=2)
def test_only_progress_is_reported(submission, rng):
    """A report changes only if the error is below the last report minus step, and then it is rounded to the step."""
    y = rng.integers(0, 3, 200)
    for step in STEPS:
        board, truth = submission.Leaderboard(y, step), Ladder(y, step)
        for wrong in [150, 180, 140, *np.maximum(0, 140 - np.arange(30) * 5 + rng.integers(-9, 9, 30)), 0, 200, 0]:
            predicted = with_errors(rng, y, int(wrong))
            assert close(board.submit(predicted), truth.submit(predicted), atol=1e-12)


@pytest.mark.exercise("Leaderboard", weight=3, core=True, hint=2)
def test_compared_with_the_best(submission, rng):
    """After a poor submission a middling one is no progress: the comparison is with the last report."""
    y = rng.integers(0, 2, 300)
    board, truth = submission.Leaderboard(y, 0.0137), Ladder(y, 0.0137)
    for wrong in (100, 200, 120, 90, 250, 130, 95, 60, 80, 62, 5):
        predicted = with_errors(rng, y, wrong)
        assert close(board.submit(predicted), truth.submit(predicted), atol=1e-12)


@student_side
def attack(y, guesses, step):
    """Reports for all guesses, the vote of those that the board seemed to like, and its final error."""
    board = student.Leaderboard(y, step)
    reports = np.array([board.submit(guess) for guess in guesses])
    liked = np.flatnonzero(np.diff(reports, prepend=2.0) < 0)
    vote = (guesses[liked].mean(axis=0) > 0.5).astype(np.int8)
    return reports, vote, board.final(vote)


@pytest.mark.exercise("Leaderboard", weight=4, hint=2)
def test_random_submissions_gain_nothing(submission, rng):
    """After 2,000 random submissions, the vote of those that the board seemed to like errs on half of the rows."""
    y = rng.integers(0, 2, 1000).astype(np.int8)
    guesses = rng.integers(0, 2, (2000, 1000)).astype(np.int8)
    reports, vote, error = submission.run(attack, y, guesses, 0.0331)
    truth = Ladder(y, 0.0331)
    # What is reported is compared with the truth here, so it cannot be made up over there.
    assert close(reports, np.array([truth.submit(guess) for guess in guesses]), atol=1e-12)
    assert close(error, float(np.mean(vote != y)), atol=1e-12)
    # The plain board: guesses with errors below one half are kept, and their vote is much better than a coin.
    liked = guesses[np.mean(guesses != y, axis=1) < 0.5]
    assert np.mean((liked.mean(axis=0) > 0.5) != y) < 0.35
    # A coin's error has the standard deviation 0.016 here; the few votes kept are each at best 0.07 below one half.
    assert close(error > 0.38, True)


@pytest.mark.exercise("Leaderboard", weight=3, hint=3)
def test_final_closes_the_board(submission, rng):
    """final gives the exact error, once; after it, submit and final raise RuntimeError."""
    y = rng.integers(0, 2, 70)
    for before in (0, 3):
        board = submission.Leaderboard(y, 0.0137)
        for _ in range(before):
            board.submit(rng.integers(0, 2, 70))
        for wrong in (y[:-1], np.append(y, 0), y[:, None], y[:0]):
            with raises_student(ValueError):
                board.final(wrong)
        assert close(board.final(with_errors(rng, y, 23)), 23 / 70, atol=1e-15, typed=True)
        for method, argument in itertools.product((board.final, board.submit), (y, y[:-1])):
            with raises_student(RuntimeError):
                method(argument)
    other = submission.Leaderboard(y, 0.0137)
    assert close(other.final(y), 0.0, typed=True)


@pytest.mark.exercise("Leaderboard", weight=2, hint=3)
def test_a_call_that_raises_changes_nothing(submission, rng):
    """Predictions of another shape raise ValueError, before and after the first report, and change nothing."""
    y = rng.integers(0, 2, 90)
    board, truth = submission.Leaderboard(y, 0.0731), Ladder(y, 0.0731)
    for wrong in (60, 70, 40, 10):
        for shape in (y[:-1], y[:, None], np.zeros((2, 90), int), y[:0], y[:1]):
            with raises_student(ValueError):
                board.submit(shape)
        predicted = with_errors(rng, y, wrong)
        assert close(board.submit(predicted), truth.submit(predicted), atol=1e-12)


@pytest.mark.exercise("Leaderboard", weight=2)
def test_boards_of_every_kind(submission, rng):
    """Labels and predictions of every kind, one row, thousands, steps from tiny to nearly 1; Python floats."""
    for kind, layout in itertools.product((*KINDS, bool), (np.array, stepped, frozen)):
        y = rng.integers(0, 2, 50)
        board, truth = submission.Leaderboard(layout(y.astype(kind)), 0.0137), Ladder(y, 0.0137)
        for other in (np.int64, np.uint8, bool, np.int8):
            predicted = rng.integers(0, 2, 50)
            assert close(board.submit(layout(predicted.astype(other))), truth.submit(predicted), atol=1e-12, typed=True)
        assert close(board.final(layout(predicted.astype(kind))), float(np.mean(predicted != y)), atol=1e-12)
    y = np.array([5])
    board = submission.Leaderboard(y, 0.3)
    assert close([board.submit(np.array([k])) for k in (4, 5, 4)], [0.9, 0.0, 0.0], atol=1e-12)
    y = np.arange(3000) % 7
    y[-1] = 100
    for step in (1e-6 * math.pi, 0.977):
        board, truth = submission.Leaderboard(y, step), Ladder(y, step)
        for predicted in (y + 1, y % 5, np.where(np.arange(3000) < 2999, y, 0), y):
            assert close(board.submit(predicted), truth.submit(predicted), atol=1e-12, typed=True)
        assert close(board.final(np.where(np.arange(3000) < 2000, y, -1)), 1 / 3, atol=1e-12)
    wide = np.array([2**53, -(2**53), 255, 0])
    assert close(submission.Leaderboard(wide, 0.01).final(wide + np.array([1, 0, 0, 1])), 0.5)
    assert close(submission.Leaderboard(wide[:1], 0.01).final(wide[:1] - 10**9), 1.0)
    assert close(submission.Leaderboard(np.array([255, 1], np.uint8), 0.01).final(np.array([-1, 1], np.int8)), 0.5)


@student_side
def board_apart(y, predicted, better):
    """What is wrong after calls, in words."""
    kept, given = y.copy(), predicted.copy()
    one, two = student.Leaderboard(y, 0.0137), student.Leaderboard(y, 0.0137)
    first = one.submit(predicted)
    if y.tobytes() != kept.tobytes() or predicted.tobytes() != given.tobytes():
        return "an argument is changed"
    y[...] = 1 - y
    if one.submit(better) >= first or two.submit(predicted) != first:
        return "the board sees that y has changed since, or two boards know of each other"
    two.final(better)
    one.submit(better)
    return ""


@pytest.mark.exercise("Leaderboard", forgeable=True)
def test_boards_live_apart(submission, rng):
    """The board keeps a copy of y, changes nothing that it is given, and knows nothing of other boards."""
    y = rng.integers(0, 2, 100)
    assert close(submission.run(board_apart, y, with_errors(rng, y, 60) % 2, y.copy()), "")


# ---------------------------------------------------------------------------------------------------------- report


def reported(predictions, y, validation, test):
    counts = [sum(int(row[i]) != int(y[i]) for i in validation) for row in predictions]
    best = counts.index(min(counts))
    error = sum(int(predictions[best][i]) != int(y[i]) for i in test) / len(test)
    return best, error, math.sqrt(error * (1 - error) / len(test))


def report_contract(k=6, m=40, v=15, u=10):
    return Contract(
        "report",
        predictions=integers(k, m, high=1),
        y=integers(m, high=1),
        validation=Argument(lambda rng: rng.permutation(m // 2)[:v], {}, frozenset(), np.asarray),
        test=Argument(lambda rng: m // 2 + rng.permutation(m // 2)[:u], {}, frozenset(), np.asarray),
    )


@pytest.mark.exercise("report", weight=3, core=True, hint=2)
def test_the_test_rows_do_not_choose(submission, rng):
    """The validation rows choose, the test rows judge the one that was chosen."""
    contract = report_contract()
    for _ in range(12):
        case = contract.plain(rng)
        assert close(submission.report(*case), reported(*case.args), rtol=1e-12)


@pytest.mark.exercise("report", weight=2, core=True, hint=1)
def test_the_best_of_fifty_coins(submission, rng):
    """Of fifty coin tosses, the chosen one errs on half of the test rows, on the mean over many tables."""
    errors = []
    for _ in range(20):
        y = rng.integers(0, 2, 300)
        errors.append(submission.report(rng.integers(0, 2, (50, 300)), y, np.arange(200), np.arange(200, 300))[1])
    # 2,000 tosses: the standard error of the mean is 0.011. The best of fifty on 100 rows errs on about 0.39.
    assert close(np.mean(errors), 0.5, atol=0.055)


@pytest.mark.exercise("report", weight=2)
def test_reports_of_every_kind(submission, rng):
    """Decisions and labels of every kind and layout, ties, one candidate, one row; (int, float, float) comes back."""
    for contract in (report_contract(), report_contract(3, 12, 2, 2), report_contract(1, 4, 1, 1)):
        for case in contract.cases(rng):
            assert close(submission.report(*case), reported(*case.args), rtol=1e-12, typed=True)
    y, predictions = rng.integers(0, 3, 5000), rng.integers(0, 3, (4, 5000))
    predictions[2, 1500:] = y[1500:]
    rows = np.arange(2000), np.arange(2000, 5000)
    assert close(submission.report(predictions, y, *rows), reported(predictions, y, *rows), rtol=1e-12, typed=True)
    many = rng.integers(0, 2, (300, 8))
    args = many, np.append(many[299, :5], 1 - many[299, 5:]), np.arange(5), np.arange(5, 8)
    assert close(submission.report(*args), reported(*args), rtol=1e-12, typed=True)


@pytest.mark.exercise("report", forgeable=True)
def test_report_leaves_no_trace(submission, rng):
    """Nothing that was given is changed, and nothing is kept for later calls."""
    assert report_contract().leaves_no_trace(submission, rng)
