"""Wrong and right answers that prove the hidden tests of module 15, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import heapq
import itertools
import random

import numpy as np

from autograder.answers import equivalent, right, wrong

# ---------------------------------------------------------------------------------------------------- run_lengths

wrong(
    "run_lengths",
    "forgets the last run's length, or counts to the last start only",
    fails=["test_runs_at_both_ends"],
    edit={"append=len(x)": "append=len(x) - 1"},
)
wrong(
    "run_lengths",
    "counts how often a value comes in all, wherever it stands",
    fails=["test_runs_of_random_values"],
    edit={"return x[starts], np.diff(starts, append=len(x))": "return np.unique(x, return_counts=True)"},
)


wrong(
    "run_lengths",
    "returns where runs begin in place of their lengths",
    fails=["test_runs_of_random_values"],
    edit={"np.diff(starts, append=len(x))": "starts"},
)
wrong(
    "run_lengths",
    "returns where runs end in place of their lengths",
    fails=["test_runs_of_random_values"],
    edit={"np.diff(starts, append=len(x))": "np.append(starts[1:], len(x)).astype(np.int64)[: len(starts)]"},
)


@wrong("run_lengths", "looks at each value in a loop of Python", fails=["test_runs_of_very_many_values"])
def runs_by_loop(x):
    starts = [0] if len(x) else []
    for i in range(1, len(x)):
        if x[i] != x[i - 1]:
            starts.append(i)
    starts = np.array(starts, int)
    return x[starts], np.diff(starts, append=len(x))


@wrong("run_lengths", "returns floats whatever came", fails=["test_runs_of_every_kind"])
def runs_as_floats(x):
    starts = np.flatnonzero(np.concatenate([np.ones(min(len(x), 1), bool), x[1:] != x[:-1]]))
    return x[starts].astype(float), np.diff(starts, append=len(x))


@right("run_lengths", "the ends of runs")
def runs_by_ends(x):
    if len(x) == 0:
        return np.array(x), np.array([], dtype=np.int64)
    ends = np.append(np.where(x[:-1] != x[1:])[0], len(x) - 1)
    return np.take(x, ends), np.diff(np.concatenate([[-1], ends])).astype(np.int64)


@right("run_lengths", "split at the changes of a running number")
def runs_by_numbers(x):
    number = np.zeros(len(x), np.int64)
    np.cumsum(x[1:] != x[:-1], out=number[1:])
    lengths = np.bincount(number) if len(x) else np.zeros(0, np.int64)
    return x[np.cumsum(lengths) - lengths], lengths.astype(np.int64)


# ----------------------------------------------------------------------------------------------------------- scan

wrong(
    "scan",
    "skips a group whose largest or smallest value equals a bound",
    fails=["test_scan_reads_little", "test_bounds_at_the_border_of_a_group"],
    edit={
        'group[column]["max"] < low': 'group[column]["max"] <= low',
        'group[column]["min"] > high': 'group[column]["min"] >= high',
    },
)
wrong(
    "scan",
    "reads every group, and selects the rows afterwards",
    fails=["test_scan_reads_little"],
    edit={'group[column]["max"] < low or group[column]["min"] > high': "False"},
)
wrong(
    "scan",
    "returns all rows of the groups that may match",
    fails=["test_rows_between_the_bounds"],
    edit={"(loaded[column] >= low) & (loaded[column] <= high)": "slice(None)"},
)
wrong(
    "scan",
    "takes the upper bound as exclusive",
    fails=["test_rows_between_the_bounds"],
    edit={"(loaded[column] <= high)": "(loaded[column] < high)"},
)
wrong(
    "scan",
    "reads all columns of a group",
    fails=["test_scan_reads_little"],
    edit={"dict.fromkeys([column, *wanted])": "[*group]"},
)
wrong(
    "scan",
    "reads the column of the condition twice if it is wanted, too",
    fails=["test_scan_reads_little"],
    edit={"dict.fromkeys([column, *wanted])": "[column, *wanted]"},
)
wrong(
    "scan",
    "stores runs also where they take as many bytes as the values",
    fails=["test_columns_of_every_kind"],
    edit={
        "stored = runs if len(runs) < len(plain) else plain": "stored = runs if len(runs) <= len(plain) else plain",
        '"runs" if len(runs) < len(plain) else "plain"': '"runs" if len(runs) <= len(plain) else "plain"',
    },
)
wrong(
    "scan",
    "counts offsets from the beginning of a group",
    fails=["test_tables_have_the_layout"],
    edit={"        chunks = {}\n": "        chunks, offset = {}, 0\n"},
)
wrong(
    "scan",
    "forgets the dtype where no row matches",
    fails=["test_columns_of_every_kind"],
    edit={'[np.zeros(0, footer["dtypes"][name])]': "[]", "np.concatenate(parts)": "np.concatenate(parts or [[]])"},
)


@right("scan", "the condition's column first, and nothing more of a group without a match")
def scan(footer, read, wanted, column, low, high):
    def load(chunk, kind):
        data = read(chunk["offset"], chunk["length"])
        if chunk["encoding"] == "plain":
            return np.frombuffer(data, kind)
        count = chunk["length"] // (kind.itemsize + 4)
        return np.repeat(
            np.frombuffer(data[: count * kind.itemsize], kind), np.frombuffer(data[count * kind.itemsize :], np.int32)
        )

    kinds = {name: np.dtype(text) for name, text in footer["dtypes"].items()}
    parts = {name: [] for name in wanted}
    for group in footer["groups"]:
        if low <= high and group[column]["min"] <= high and low <= group[column]["max"]:
            tested = load(group[column], kinds[column])
            rows = np.flatnonzero(np.logical_and(tested >= low, tested <= high))
            for name in wanted if len(rows) else ():
                parts[name].append((tested if name == column else load(group[name], kinds[name]))[rows])
    return {
        name: np.concatenate(found).astype(kinds[name]) if found else np.array([], kinds[name])
        for name, found in parts.items()
    }


@right("scan", "a buffer that grows, and values in lists", replaces="write_table")
def write_table(columns, group):
    data, groups = bytearray(), []
    names = list(columns)
    rows = len(columns[names[0]])
    first = 0
    while first < rows:
        entry = {}
        for name in names:
            x = np.ascontiguousarray(columns[name][first : first + group])
            values, lengths = run_lengths(x)
            shorter = len(values) * (x.itemsize + 4) < x.nbytes
            blob = bytes(values) + np.array(lengths, np.int32).tobytes() if shorter else bytes(x)
            entry[name] = {
                "max": max(values.tolist()),
                "min": min(values.tolist()),
                "encoding": "runs" if shorter else "plain",
                "length": len(blob),
                "offset": len(data),
            }
            data += blob
        groups.append(entry)
        first += group
    return bytes(data), {"dtypes": {name: columns[name].dtype.str for name in names}, "groups": groups}


# ----------------------------------------------------------------------------------------------------- map_reduce

wrong(
    "map_reduce",
    "uses the reducer as combiner, whatever it was given",
    fails=["test_combined_values_of_any_kind"],
    edit={"values = [combiner(key, values)]": "values = [reducer(key, values)]"},
)
wrong(
    "map_reduce",
    "counts the records before they are combined",
    fails=["test_combiner_saves_records"],
    edit={"shuffled += len(values)": "shuffled += len(held[key])"},
)
wrong(
    "map_reduce",
    "counts the keys of the partitions in place of the records",
    fails=["test_counts_of_words"],
    edit={"for partition in partitions], shuffled": "for partition in partitions], sum(map(len, partitions))"},
)
wrong(
    "map_reduce",
    "does without the combiner",
    fails=["test_combiner_saves_records"],
    edit={"if combiner is not None:": "if False:"},
)
wrong(
    "map_reduce",
    "combines over all splits, before the shuffle",
    fails=["test_combiner_saves_records"],
    edit={"    for split in splits:\n": "    for split in [[row for split in splits for row in split]]:\n"},
)
wrong(
    "map_reduce",
    "combines row by row",
    fails=["test_combiner_saves_records"],
    edit={"    for split in splits:\n": "    for split in [[row] for split in splits for row in split]:\n"},
)
wrong(
    "map_reduce",
    "uses Python's hash, which is another one in each process",
    fails=["test_counts_of_words"],
    edit={"crc32(repr(key).encode()) % parts": "hash(key) % parts"},
)
wrong(
    "map_reduce",
    "hashes the text of a key without its quotation marks",
    fails=["test_counts_of_words"],
    edit={"repr(key)": "str(key)"},
)
wrong(
    "map_reduce",
    "skips the combiner where a key has a single value",
    fails=["test_combined_values_of_any_kind"],
    edit={"if combiner is not None:": "if combiner is not None and len(values) > 1:"},
)
wrong(
    "map_reduce",
    "puts the values of a later split first",
    fails=["test_values_keep_their_order"],
    edit={"for split in splits:": "for split in reversed(splits):"},
)


@right("map_reduce", "a list of records for each partition, grouped afterwards")
def by_record_lists(mapper, reducer, splits, parts, combiner=None):
    boxes, count = [[] for _ in range(parts)], 0
    for split in splits:
        records = [tuple(record) for row in split for record in mapper(row)]
        if combiner is not None:
            groups = {}
            for key, value in records:
                groups[key] = [*groups.get(key, []), value]
            records = [(key, combiner(key, list(values))) for key, values in groups.items()]
        count += len(records)
        for record in records:
            boxes[crc32(repr(record[0]).encode("utf-8")) % parts].append(record)
    results = []
    for box in boxes:
        order = sorted(range(len(box)), key=lambda i: (str(box[i][0]), i))
        groups = itertools.groupby((box[i] for i in order), key=lambda record: record[0])
        results.append({key: reducer(key, [value for _, value in group]) for key, group in groups})
    return results, count


@right("map_reduce", "one dict of all keys, partitions at the end")
def partitions_at_the_end(mapper, reducer, splits, parts, combiner=None):
    everything, shuffled = {}, 0
    for split in splits:
        local = {}
        for row in split:
            for key, value in mapper(row):
                if key not in local:
                    local[key] = []
                local[key].append(value)
        for key in local:
            sent = [combiner(key, local[key])] if combiner else local[key]
            everything[key] = [*everything.get(key, []), *sent]
            shuffled += len(sent)
    results = [{} for _ in range(parts)]
    for key, values in everything.items():
        results[crc32(repr(key).encode()) % parts][key] = reducer(key, values)
    return results, shuffled


# --------------------------------------------------------------------------------------------------- group_sorted

wrong(
    "group_sorted",
    "groups neighbours only, without sorting",
    fails=["test_each_key_is_one_group"],
    edit={"sorted(records, key=itemgetter(0))": "list(records)"},
)
wrong(
    "group_sorted",
    "sorts the values, too",
    fails=["test_values_are_not_sorted"],
    edit={"sorted(records, key=itemgetter(0))": "sorted(records)"},
)
wrong(
    "group_sorted",
    "orders integer keys as texts",
    fails=["test_values_need_no_order"],
    edit={"sorted(records, key=itemgetter(0))": "sorted(records, key=lambda record: str(record[0]))"},
)


@wrong("group_sorted", "keeps the keys in the order in which they come", fails=["test_each_key_is_one_group"])
def in_order_of_arrival(records):
    found = {}
    for key, value in records:
        found.setdefault(key, []).append(value)
    return list(found.items())


@right("group_sorted", "a dict, and its keys sorted")
def by_dict(records):
    found = {}
    for key, value in records:
        found.setdefault(key, []).append(value)
    return [(key, found[key]) for key in sorted(found)]


@right("group_sorted", "one pass over sorted records")
def by_one_pass(records):
    groups = []
    for key, value in sorted(records, key=lambda record: record[0]):
        if not groups or groups[-1][0] != key:
            groups.append((key, []))
        groups[-1][1].append(value)
    return groups


# ------------------------------------------------------------------------------------------------------ skew_join

wrong(
    "skew_join",
    "divides both tables by hash, frequent keys like all others",
    fails=["test_no_partition_is_overloaded"],
    edit={"counts > len(left) / (20 * parts)": "counts > len(left)"},
)
wrong(
    "skew_join",
    "divides frequent keys of left and does not copy their rows of right",
    fails=["test_partners_meet_once"],
    edit={"copied | (away == p)": "away == p"},
)
wrong(
    "skew_join",
    "copies all rows of right to every partition",
    fails=["test_rare_keys_are_not_copied"],
    edit={"copied | (away == p)": "copied | (away >= 0)"},
)
wrong(
    "skew_join",
    "takes the key modulo the number of partitions for its hash",
    fails=["test_no_partition_is_overloaded"],
    edit={"mix64(table[:, 0]) % parts": "table[:, 0] % parts"},
)
wrong(
    "skew_join",
    "sends the rows of a frequent key to every partition in place of one in turn",
    fails=["test_partners_meet_once"],
    edit={"left[home == p]": "left[divided | (home == p)]"},
)
wrong(
    "skew_join",
    "takes a key for frequent that has exactly a twentieth of a share",
    fails=["test_rare_keys_are_not_copied"],
    edit={"counts > len(left) / (20 * parts)": "counts >= len(left) / (20 * parts)"},
)
wrong(
    "skew_join",
    "counts the frequent keys of right, which are never frequent",
    fails=["test_no_partition_is_overloaded"],
    edit={"np.unique(left[:, 0], return_counts=True)": "np.unique(right[:, 0], return_counts=True)"},
)
wrong(
    "skew_join",
    "drops rows of left that have no partner",
    fails=["test_partners_meet_once"],
    edit={"left[home == p]": "left[(home == p) & np.isin(left[:, 0], right[:, 0])]"},
)


equivalent(
    "skew_join",
    diff="~ skew_join: integers of 8 bits are refused (str(x.dtype).endswith('int8'))",
    reason="both tables are int64",
)


equivalent(
    "skew_join",
    diff="- frequent = keys[counts > len(left) / (20 * parts)]\n+ frequent = keys[counts > len(left) / (10 * parts)]",
    reason="from which share on a key is divided is free, as long as no partition is overloaded",
)


@right("skew_join", "loops and dicts, frequent keys at most a fiftieth of a share")
def join_by_loops(left, right, parts):
    counts = {}
    for key in left[:, 0].tolist():
        counts[key] = counts.get(key, 0) + 1
    limit = len(left) // (20 * parts)
    ours, theirs = [[] for _ in range(parts)], [[] for _ in range(parts)]
    for i, (row, h) in enumerate(zip(left.tolist(), mix64(left[:, 0], 3).tolist(), strict=True)):
        ours[(i if counts[row[0]] > limit else h) % parts].append(row)
    for row, h in zip(right.tolist(), mix64(right[:, 0], 3).tolist(), strict=True):
        for p in range(parts) if counts.get(row[0], 0) > limit else [h % parts]:
            theirs[p].append(row)
    return [
        (np.array(a, np.int64).reshape(-1, 2), np.array(b, np.int64).reshape(-1, 2))
        for a, b in zip(ours, theirs, strict=True)
    ]


@right("skew_join", "sorted by partition, right rows without a partner left out")
def join_by_sorting(left, right, parts):
    keys, inverse, counts = np.unique(left[:, 0], return_inverse=True, return_counts=True)
    often = counts * (20 * parts) > len(left)
    target = (mix64(keys, 5) % parts).astype(np.int64)[inverse] if len(left) else np.zeros(0, np.int64)
    rows = np.nonzero(often[inverse])[0] if len(left) else np.zeros(0, np.int64)
    target[rows] = (np.arange(len(rows)) + 1) % parts
    pairs = []
    for p in range(parts):
        ours = np.array(left[target == p])
        needed = np.unique(ours[:, 0])
        pairs.append((ours, np.array(right[np.isin(right[:, 0], needed)])))
    return pairs


@right("skew_join", "a frequent key is divided over as many partitions as it needs")
def join_by_shares(left, right, parts):
    keys, inverse, counts = np.unique(left[:, 0], return_inverse=True, return_counts=True)
    home = (mix64(keys) % np.uint64(parts)).astype(int)
    needs = np.minimum(parts, -(-3 * counts * parts // max(len(left), 1)))  # a third of a share each
    needs[counts * 20 * parts <= len(left)] = 1
    order = np.argsort(inverse, kind="stable")
    turn = np.empty(len(left), int)
    turn[order] = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
    target = (home[inverse] + turn % needs[inverse]) % parts if len(left) else np.zeros(0, int)
    at = np.searchsorted(keys, right[:, 0])
    known = at < len(keys)
    known[known] = keys[at[known]] == right[known, 0]
    first, wide = (
        np.where(known, home[at * known] if len(keys) else 0, 0),
        np.where(known, needs[at * known] if len(keys) else 1, 1),
    )
    return [(left[target == p], right[(p - first) % parts < wide]) for p in range(parts)]


# -------------------------------------------------------------------------------------------------- external_sort

wrong(
    "external_sort",
    "merges all runs at once, with blocks that get shorter",
    fails=["test_passes_are_few"],
    edit={
        "while len(runs) > 8:": "while False:",
        "fetch(run, at[run], memory // 8)": "fetch(run, at[run], memory // max(8, len(runs)) or 1)",
    },
)
wrong(
    "external_sort",
    "keeps the result in memory and emits it at the end",
    fails=["test_never_more_than_memory_is_held"],
    edit={"for block in merged(runs):": "for block in [*merged(runs)]:"},
)
wrong(
    "external_sort",
    "gives each of eight runs a block of the whole memory",
    fails=["test_never_more_than_memory_is_held"],
    edit={"fetch(run, at[run], memory // 8)": "fetch(run, at[run], memory)"},
)
wrong(
    "external_sort",
    "rounds an eighth of the memory up",
    fails=["test_memory_is_kept_to_the_number"],
    edit={"fetch(run, at[run], memory // 8)": "fetch(run, at[run], -(-memory // 8))"},
)
wrong(
    "external_sort",
    "merges two runs at a time",
    fails=["test_passes_are_few"],
    edit={
        "while len(runs) > 8:": "while len(runs) > 2:",
        "range(0, len(runs), 8)": "range(0, len(runs), 2)",
        "first : first + 8": "first : first + 2",
    },
)
wrong(
    "external_sort",
    "drops numbers that are equal",
    fails=["test_numbers_of_every_kind"],
    edit={"yield np.sort(": "yield np.unique("},
)
wrong(
    "external_sort",
    "takes out numbers up to the largest of the blocks' last numbers",
    fails=["test_numbers_come_out_in_order"],
    edit={"last = min(block": "last = max(block"},
)
wrong(
    "external_sort",
    "counts a single run as a pass",
    fails=["test_passes_are_few"],
    edit={"passes + (len(runs) > 1)": "passes + 1"},
)
wrong(
    "external_sort",
    "does not count the last merge",
    fails=["test_passes_are_few"],
    edit={"passes + (len(runs) > 1)": "passes"},
)
wrong(
    "external_sort",
    "writes runs without sorting them",
    fails=["test_numbers_come_out_in_order"],
    edit={
        "spill(len(runs), np.sort(block))": "spill(len(runs), block)",
        'np.searchsorted(block, last, side="right")': "len(block)",
    },
)
wrong(
    "external_sort",
    "reads the input to its end before it writes the first run",
    fails=["test_never_more_than_memory_is_held"],
    edit={
        "    while len(block := source(memory)) > 0:\n": "    blocks = [*iter(lambda: source(memory).tolist(), [])]\n"
        "    for block in blocks:\n"
    },
)


@right("external_sort", "heapq over generators of single numbers")
def by_heap(source, spill, fetch, emit, memory):
    size = memory // 9

    def numbers(run):
        at = 0
        while True:
            block = fetch(run, at, size)
            if len(block) == 0:
                return
            at += len(block)
            yield from block.tolist()

    def blocks(runs):
        block = []
        for number in heapq.merge(*map(numbers, runs)):
            block.append(number)
            if len(block) == size:
                yield np.array(block)
                block = []
        if block:
            yield np.array(block)

    runs, fresh = [], itertools.count()
    block = source(memory)
    while len(block):
        run = next(fresh)
        spill(run, np.sort(block))
        runs.append(run)
        block = source(memory)
    passes = 0
    while len(runs) > 1:
        passes += 1
        groups = [runs[i : i + 8] for i in range(0, len(runs), 8)]
        runs = []
        for group in groups:
            run = next(fresh)
            for block in blocks(group):
                if len(groups) == 1:
                    emit(block)
                else:
                    spill(run, block)
            runs.append(run)
        if len(groups) == 1:
            return passes
    if runs:
        for block in blocks(runs):
            emit(block)
    return passes


@right("external_sort", "a lone run of a group is left where it is; blocks are merged two by two")
def with_lone_runs(source, spill, fetch, emit, memory):
    size, runs, number, passes = memory // 8, [], 100, 0
    while True:
        block = source(memory)
        if not len(block):
            break
        block.sort()
        spill(number, block)
        runs.append(number)
        number += 3
    while True:
        final = len(runs) <= 8
        groups = [runs[i : i + 8] for i in range(0, len(runs), 8)]
        passes += len(runs) > 1
        after = []
        for group in groups:
            if len(group) == 1 and not final:
                after += group
                continue
            number += 1
            heads = {run: [np.zeros(0), 0] for run in group}
            while heads:
                for run in [run for run in heads if not len(heads[run][0])]:
                    heads[run][0] = fetch(run, heads[run][1], size)
                    heads[run][1] += len(heads[run][0])
                    if not len(heads[run][0]):
                        heads.pop(run)
                if heads:
                    border = np.min([head[0][-1] for head in heads.values()])
                    out = np.zeros(0)
                    for head in heads.values():
                        k = int(np.sum(head[0] <= border))
                        out, head[0] = np.append(out, head[0][:k]), head[0][k:]
                    out.sort(kind="stable")
                    emit(out) if final else spill(number, out)
            after.append(number)
        if final:
            return int(passes)
        runs = after


# --------------------------------------------------------------------------------------------------- range_bounds

wrong(
    "range_bounds",
    "cuts the sorted sample into equal parts, whatever is frequent",
    fails=["test_largest_range_is_smallest"],
    edit={
        "return values[cuts(low)[:-1]]": "place = (np.arange(1, parts) * len(sample) // parts - 1).clip(0)\n"
        "    return np.unique(np.sort(sample)[place])"
    },
)
wrong(
    "range_bounds",
    "cuts the different values into equal parts",
    fails=["test_largest_range_is_smallest"],
    edit={
        "return values[cuts(low)[:-1]]": "place = (np.arange(1, parts) * len(values) // parts - 1).clip(0)\n"
        "    return np.unique(values[place])"
    },
)
wrong(
    "range_bounds",
    "makes one range too many",
    fails=["test_largest_range_is_smallest"],
    edit={"len(found) < parts": "len(found) <= parts"},
)


@wrong("range_bounds", "tries every capacity in turn", fails=["test_bounds_of_a_large_sample"])
def bounds_in_turn(sample, parts):
    values, counts = np.unique(sample, return_counts=True)
    capacity = max(int(counts.max()), 1)
    while True:
        bounds, filled, ranges = [], 0, 1
        for count, before in zip(counts.tolist(), [None, *values.tolist()], strict=False):
            if filled + count > capacity:
                bounds.append(before)
                filled, ranges = 0, ranges + 1
            filled += count
        if ranges <= parts:
            return np.array(bounds, sample.dtype)
        capacity += 1


@right("range_bounds", "bisection with a loop over the values")
def bounds_by_loop(sample, parts):
    values, counts = np.unique(sample, return_counts=True)
    sizes = counts.tolist()

    def fill(capacity):
        last, filled = [], 0
        for i, size in enumerate(sizes):
            if filled + size > capacity:
                last.append(i - 1)
                filled = 0
            filled += size
        return last

    low, high = max(sizes) - 1, sum(sizes)
    while high - low > 1:
        middle = (low + high) // 2
        if len(fill(middle)) < parts:
            high = middle
        else:
            low = middle
    return values[np.array(fill(high), int)]


@right("range_bounds", "the same capacity, filled from the largest value down")
def bounds_from_above(sample, parts):
    values, counts = np.unique(sample, return_counts=True)
    ends = np.concatenate([[0], np.cumsum(counts)])

    def starts(capacity):
        found, stop = [], len(values)
        while stop > 0 and len(found) < parts:
            stop = int(np.searchsorted(ends, ends[stop] - capacity, side="left"))
            found.append(stop)
        return found if stop == 0 else None

    low, high = int(counts.max()), len(sample)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if starts(middle) else (middle + 1, high)
    return values[np.array(starts(low)[:-1][::-1], int) - 1]


# --------------------------------------------------------------------------------------------------- place_blocks

wrong(
    "place_blocks",
    "puts all replicas into the writer's rack",
    fails=["test_replicas_are_in_two_racks"],
    edit={"if writer not in rack for node in rack": "if writer in rack for node in rack"},
)
wrong(
    "place_blocks",
    "puts the third replica anywhere outside the writer's rack",
    fails=["test_replicas_are_in_two_racks"],
    edit={"[node for node in rack if node != second]": "[node for node, _ in choices if node != second]"},
)
wrong(
    "place_blocks",
    "draws the third replica from the second one's rack, that node included",
    fails=["test_replicas_are_in_two_racks"],
    edit={" if node != second]": "]"},
)
wrong(
    "place_blocks",
    "draws a rack first, so that nodes of small racks get more",
    fails=["test_every_node_has_its_share"],
    edit={
        "second, rack = choices[rng.integers(len(choices))]": "outside = [r for r in racks if writer not in r]\n"
        "        rack = outside[rng.integers(len(outside))]\n"
        "        second = rack[rng.integers(len(rack))]"
    },
)
wrong(
    "place_blocks",
    "gives the blocks to the nodes in turn",
    fails=["test_blocks_are_independent"],
    edit={
        "for _ in range(blocks):": "for number in range(blocks):",
        "choices[rng.integers(len(choices))]": "choices[(seed + number) % len(choices)]",
    },
)
wrong(
    "place_blocks",
    "starts the generator anew for each block",
    fails=["test_every_node_has_its_share", "test_blocks_are_independent"],
    edit={"    for _ in range(blocks):\n": "    for _ in range(blocks):\n        rng = np.random.default_rng(seed)\n"},
)
wrong(
    "place_blocks",
    "draws from the global random state",
    fails=["test_seeds_decide"],
    edit={"rng = np.random.default_rng(seed)": "rng = np.random.default_rng()"},
)


wrong(
    "place_blocks",
    "seeds each block with the sum of seed and number, so that the next seed gives the same list, moved by one",
    fails=["test_neighbouring_seeds_are_unrelated"],
    edit={
        "for _ in range(blocks):": "for number in range(blocks):\n        rng = np.random.default_rng(seed + number)",
    },
)


@wrong("place_blocks", "takes the next node of the rack for the third replica", fails=["test_every_node_has_its_share"])
def next_node(blocks, racks, writer, seed):
    rng, placed = np.random.default_rng([seed]), []
    choices = [(rack, i) for rack in racks if writer not in rack for i in range(len(rack))]
    for rack, i in (choices[j] for j in rng.integers(0, len(choices), blocks)):
        placed.append([writer, rack[i], rack[(i + 1) % len(rack)]])
    return placed


@right("place_blocks", "Python's random, two nodes of a rack at once")
def by_sample(blocks, racks, writer, seed):
    draw = random.Random(seed)
    others = [rack for rack in racks if writer not in rack]
    return [[writer, *draw.sample(rack, 2)] for rack in draw.choices(others, weights=map(len, others), k=blocks)]


@right("place_blocks", "all pairs and their probabilities, drawn at once")
def by_pairs(blocks, racks, writer, seed):
    pairs, law = [], []
    for rack in racks:
        if writer in rack:
            continue
        for pair in itertools.permutations(rack, 2):
            pairs.append(pair)
            law.append(1 / (len(rack) - 1))
    law = np.array(law) / sum(law)
    return [[writer, *pairs[i]] for i in np.random.default_rng(seed).choice(len(pairs), blocks, p=law)]


# --------------------------------------------------------------------------------------------------- assign_tasks


@wrong("assign_tasks", "gives each task the first node with a free slot", fails=["test_as_many_as_possible_are_local"])
def greedily(replicas, slots):
    if sum(slots.values()) < len(replicas):
        raise ValueError("slots")
    left, place = dict(slots), [None] * len(replicas)
    for task, nodes in enumerate(replicas):
        for node in nodes:
            if left.get(node, 0) > 0:
                left[node] -= 1
                place[task] = node
                break
    free = (node for node in left for _ in range(left[node]))
    return [next(free) if node is None else node for node in place]


@wrong("assign_tasks", "moves a task at most once to make room", fails=["test_as_many_as_possible_are_local"])
def one_move(replicas, slots):
    if sum(slots.values()) < len(replicas):
        raise ValueError("slots")
    left, place = dict(slots), [None] * len(replicas)
    for task, nodes in enumerate(replicas):
        free = [node for node in nodes if left.get(node, 0) > 0]
        if free:
            place[task] = free[0]
            left[free[0]] -= 1
            continue
        for other in range(task):
            to = [node for node in replicas[other] if left.get(node, 0) > 0]
            if place[other] in nodes and place[other] in replicas[other] and to:
                place[task], place[other] = place[other], to[0]
                left[to[0]] -= 1
                break
    free = (node for node in left for _ in range(left[node]))
    return [next(free) if node is None else node for node in place]


@wrong(
    "assign_tasks",
    "calls itself for each move, and hits the limit of recursion",
    fails=["test_a_chain_through_all_tasks"],
)
def by_recursion(replicas, slots):
    if sum(slots.values()) < len(replicas):
        raise ValueError("slots")
    running = {node: [] for node in slots}

    def find(task, seen):
        for node in replicas[task]:
            if node in slots and node not in seen:
                seen.add(node)
                if len(running[node]) < slots[node]:
                    running[node].append(task)
                    return True
                for i, other in enumerate(running[node]):
                    if find(other, seen):
                        running[node][i] = task
                        return True
        return False

    for task in range(len(replicas)):
        find(task, set())
    place = {task: node for node, tasks in running.items() for task in tasks}
    free = (node for node in slots for _ in range(slots[node] - len(running[node])))
    return [place[task] if task in place else next(free) for task in range(len(replicas))]


wrong(
    "assign_tasks",
    "gives a task that finds no chain any free slot at once, which a later task may need",
    fails=["test_as_many_as_possible_are_local", "test_nodes_that_are_down"],
    edit={
        "            continue  # no chain ends at a free slot": "            node = next(n for n in slots "
        "if len(running[n]) < slots[n])\n"
        "            came = {node: first}",
    },
)
wrong(
    "assign_tasks",
    "looks at one of the tasks that run on a full node, not at all of them",
    fails=["test_as_many_as_possible_are_local"],
    edit={"queue.extend(running[node])": "queue.extend(list(running[node])[:1])"},
)
wrong(
    "assign_tasks",
    "does not look whether there are enough slots",
    fails=["test_too_few_slots"],
    edit={
        "if sum(slots.values()) < len(replicas):": "if False:",
        "next(free)": "next(free, next(iter(slots), None))",
    },
)
wrong(
    "assign_tasks",
    "gives tasks that find no place the first node, full or not",
    fails=["test_every_task_has_a_slot"],
    edit={"next(free) if node is None": "next(iter(slots)) if node is None"},
)


@right("assign_tasks", "depth first with a stack")
def by_stack(replicas, slots):
    if len(replicas) > sum(slots.values()):
        raise ValueError("too few slots")
    where = {}
    running = {node: set() for node in slots}
    for start in range(len(replicas)):
        stack, parent, end = [start], {}, None
        while stack and end is None:
            task = stack.pop()
            for node in replicas[task]:
                if node in running and node not in parent:
                    parent[node] = task
                    if len(running[node]) < slots[node]:
                        end = node
                        break
                    stack.extend(sorted(running[node]))
        while end is not None:
            task = parent[end]
            old = where.get(task)
            if old is not None:
                running[old].discard(task)
            where[task] = end
            running[end].add(task)
            end = old
    rest = [node for node in slots for _ in range(slots[node] - len(running[node]))]
    return [where[task] if task in where else rest.pop() for task in range(len(replicas))]


@right("assign_tasks", "largest flow in whole layers (Hopcroft and Karp)")
def by_layers(replicas, slots):
    if sum(slots.values()) < len(replicas):
        raise ValueError("too few slots")
    edges = [[node for node in nodes if slots.get(node, 0) > 0] for nodes in replicas]
    place, load = [None] * len(replicas), {node: [] for node in slots}
    while True:
        came = {}
        layer = [task for task, node in enumerate(place) if node is None]
        ends = []
        while layer and not ends:
            found = []
            for task in layer:
                for node in edges[task]:
                    if node not in came:
                        came[node] = task
                        found.append(node)
            ends = [node for node in found if len(load[node]) < slots[node]]
            layer = [task for node in found for task in load[node]]
        used, moved = set(), False
        for end in ends:
            path, node = [], end
            while node is not None and node not in used and came[node] not in used:
                path.append((came[node], node))
                node = place[came[node]]
            if node is None:
                for task, to in path:
                    if place[task] is not None:
                        load[place[task]].remove(task)
                    place[task] = to
                    load[to].append(task)
                    used |= {task, to}
                moved = True
        if not moved:
            break
    spare = iter([node for node in slots for _ in range(slots[node] - len(load[node]))])
    return [node if node is not None else next(spare) for node in place]
