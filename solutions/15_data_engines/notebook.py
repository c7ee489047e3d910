# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 15 · Data engines
#
# **What you will be able to do.** Store a table so that a query reads a small part of it. Write MapReduce and say how
# many records and bytes cross the network. Join two tables although one key has half of all rows. Sort more numbers
# than fit into memory. Place copies of data so that a rack may burn, and send each task to a machine that has its data.
# Then run one job in your own engine, in pandas, Dask and Spark, and explain from counts why one of them is faster.
#
# **You need** module 00 (results that merge), Python's dictionaries and generators, NumPy's sorting and searching.
#
# **Skills it trains**: counting what a computation costs, summaries that merge, sorting, hashing, search, fault
# tolerance.
#
# **Time**: about five hours. Three of them go into seven exercises and a bug to find. One more exercise, 15.7, is an
# extra one: it is tested, and gives no points. Take a break after 15.5. Each exercise says how important it is
# (essential, important, optional), its level, which is also its points, and its minutes.
#
# **Symbols**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$, $n$ | `len(x)`, `len(left)`; `len(right)` | | rows of a table, or numbers to sort; rows of the right table of a join |
# | $S$ | `len(splits)` | | splits: the parts in which the input lies on the disks of a cluster |
# | $P$ | `parts` | | partitions: the parts into which a shuffle divides the records by key |
# | $D$, $d_s$ | | | different keys: in the whole table; in split $s$ |
# | $f$ | | | share of the rows that have the most frequent key, $0 < f \le 1$ |
# | $M$ | `memory` | | numbers that fit into memory |
# | $R$ | | | sorted runs on disk |
#
# In this module one **record** is one (key, value) pair, and one **row** is one line of a table.

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, device, engines, plotting, scaling
    from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_unchanged
    from lsml_utils.hashing import mix64
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import io
import itertools
import math
import tempfile
import time
from collections.abc import Callable
from operator import itemgetter
from zlib import crc32

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

plotting.use()
threadpool_limits(1)
checking.start("15_data_engines", total=9)

# %% [markdown]
# ## Derive
#
# ### What a disk charges
#
# A log of visits has a row for each visit: user, page, day, country, milliseconds. With the dtypes of this module a row
# takes 8 + 4 + 2 + 1 + 4 = 19 bytes, so 10 billion rows take 190 GB. A disk that reads 200 MB each second needs 16
# minutes for them. A query asks: how long did people stay, on average, in the first week of May? It needs two columns
# out of five, and one week out of 52. How much of the file must be read?
#
# A disk charges for bytes, and for each place at which it begins to read. So the order of the bytes decides:
#
# - **By rows.** All values of a row stand together. The two columns are spread over the whole file, and everything is
#   read: 19 bytes a row.
# - **By columns.** All values of a column stand together. The query reads 2 + 4 = 6 bytes a row.
# - **By columns in row groups, with statistics.** Cut the table into **row groups**, say 100,000 rows each. Within a
#   group, each column is one **chunk** of bytes. A **footer** holds where each chunk lies, and its smallest and
#   largest value. If the log is in order of time, a week lies in few groups. The others are not read, because their
#   smallest day is too late or their largest day is too early. The query reads about 6 / 52 bytes a row.
#
# This is the plan of Parquet, which pandas, Dask, Spark and most other data engines read. Three facts follow.
# Statistics help only where rows with like values stand together: on a column without order, every group holds small
# and large values. Equal neighbours can be stored once, with their number, and a chunk holds values of one column,
# which are often equal. And the footer is small, so an engine reads it first and *plans* before it touches data.

# %% tags=["demo"]
figure, axes = plt.subplots(1, 3, figsize=(11, 3.4))
names, widths = ["user", "page", "day", "c", "ms"], [8, 4, 2, 1, 4]
for ax, layout in zip(axes, ["rows", "columns", "groups"], strict=True):
    cells = []  # (bytes, label, read?) in the order of the file
    if layout == "rows":
        cells = [(width, name, True) for _ in range(6) for name, width in zip(names, widths, strict=True)]
    else:
        for group in range(1 if layout == "columns" else 3):
            rows = 6 if layout == "columns" else 2
            for name, width in zip(names, widths, strict=True):
                cells.append((rows * width, name, name in ("day", "ms") and (layout == "columns" or group == 1)))
    at = 0
    for size, name, is_read in cells:
        for byte in range(at, at + size):
            colour = plotting.COLOURS[1] if is_read else "0.85"
            place = (byte % 19, byte // 19)
            ax.add_patch(plt.Rectangle(place, 1, 1, fc=colour, alpha=0.5, ec=plotting.PAPER, lw=0.6))
        if layout != "rows" or at < 19:
            ax.text(at % 19 + 0.15, at // 19 + 0.72, name, fontsize=7.5)
        at += size
    count = sum(size for size, _, is_read in cells if is_read)
    ax.set(xlim=(0, 19), ylim=(6, 0), xticks=[], yticks=[], xlabel="bytes, line after line")
    ax.set_title(
        {"rows": "By rows", "columns": "By columns", "groups": "In row groups"}[layout] + f": {count} of 114 read"
    )
    ax.grid(False)
plt.show()

# %% [markdown]
# Six rows of 19 bytes, in the order in which they lie in the file (`c` is the country). Coloured: the bytes read by a
# query for `day` and `ms` of the third and fourth row.
#
# ### Where texts disagree
#
# | question | versions | here |
# | --- | --- | --- |
# | What is a partition? | Spark: any part of a data set, also of the input. Hadoop: what a reducer gets | input parts are **splits**, output parts of a shuffle are **partitions** |
# | Is a combiner a reducer? | many examples pass one function as both | only if its result may stand among its own inputs: a sum may, a mean may not (15.3) |
# | How often is a combiner called? | Hadoop: zero times, once or more; the result must not depend on it | once for each split and key |
# | Are keys sorted in a reducer? | Hadoop sorts them; Spark's shuffle groups by hash and need not | 15.3 groups by hash, 15.4 by sorting |
# | How is a "hash" computed? | Python's `hash` of a text differs from process to process | `crc32` of the key's text, or `mix64` from lsml_utils: the same everywhere |

# %% [markdown]
# ## Implement
#
# ### 15.1 `run_lengths` · essential · level 1 of 4 · 5 min
#
# First the encoding. In a log in order of time the day changes 364 times, however many rows there are. A **run** is a
# longest stretch of equal neighbours. Store each run's value once, with its length. A new run begins at $i = 0$ and
# wherever $x_i \neq x_{i-1}$; its length is the distance to the next beginning, or to the end.


# %% exercise="run_lengths" points=1 minutes=5 trains=["counting what a computation costs"]
def run_lengths(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The runs of equal neighbours in x: the value of each run, and its length.

    x: (m,), m may be 0. Integers of any kind, bool, float32 or float64 (inf allowed, no NaN), in any
    memory layout. Two neighbours belong to one run if they are equal by ==. (So 0.0 and -0.0 do.)

    Returns (values, lengths), two new arrays of shape (r,), where r is the number of runs: values in
    the dtype of x, lengths int64. np.repeat(values, lengths) equals x.
    x may hold 10^8 values: NumPy looks at the values, no loop of Python. Leaves x as it is.
    """
    ### BEGIN SOLUTION
    begins = np.ones(len(x), bool)
    begins[1:] = x[1:] != x[:-1]
    starts = np.flatnonzero(begins)
    return x[starts], np.diff(starts, append=len(x))
    ### END SOLUTION


# %% [markdown] hints="run_lengths"
# <details><summary>Hint 1: where runs begin</summary>
#
# `x[1:] != x[:-1]` compares each value with the one before it. The first value has none before it, and always begins
# a run.
# </details>
# <details><summary>Hint 2: nearly the solution</summary>
#
# Make an array of `len(x)` times True, set its entries from 1 on to that comparison, and take `np.flatnonzero` of it.
# These are the starts. `np.diff(starts, append=len(x))` gives the lengths.
# </details>

# %% check="run_lengths"
with check("run_lengths"):
    x = np.array([7, 7, 7, 2, 2, 7], dtype=np.int16)
    with expect_unchanged(x=x):
        values, lengths = run_lengths(x)
    expect_close(
        values, [7, 2, 7], mistakes={"A value that comes back later begins a new run: runs are neighbours.": [2, 7]}
    )
    expect_close(
        lengths,
        [3, 2, 1],
        mistakes={
            "These are the places where runs begin.": [0, 3, 5],
            "These are the places where runs end.": [3, 5, 6],
        },
    )
    expect_dtype(values, np.int16)
    values, lengths = run_lengths(np.array([math.inf, math.inf, 1.0]))
    expect_close(lengths, [2, 1], hint="inf equals inf; the difference of the two would be nan")
    values, lengths = run_lengths(np.array([0.5]))
    expect_close(values, [0.5], hint="a single value is one run")
    expect_close(lengths, [1], hint="a single value is one run")
    values, lengths = run_lengths(np.zeros(0))
    assert len(values) == 0 and len(lengths) == 0, "without values there is no run"

# %% [markdown]
# The visits that this module works with are generated: `datasets.visits(m)` is a log in order of time. What do runs
# save in each of its columns?

# %% tags=["demo"]
log = datasets.visits(demo_size(full=1_000_000, small=100_000)).columns(0, demo_size(full=1_000_000, small=100_000))
print("column   plain bytes  bytes as runs")
for name, column in log.items():
    values, lengths = run_lengths(column)
    print(f"{name:8} {column.nbytes:11,} {values.nbytes + 4 * len(lengths):14,}")

# %% [markdown]
# `day` shrinks to almost nothing. The other columns grow, because nearly every run has length 1 and its length takes 4
# more bytes. So a format must choose for each chunk, and say in the footer what it chose.
#
# ### 15.2 `scan` · essential · level 4 of 4 · 40 min
#
# Now write such a format, and a query that reads little of it. `write_table` makes the bytes and the footer; `scan`
# gets the footer and a function `read(offset, length)`, which stands for the disk. The tests count what `scan` reads.
#
# A row group can hold a row with `low <= x <= high` only if its largest value is at least `low` and its smallest value
# is at most `high`. Both comparisons include equality. If such a group is skipped, rows are lost. If another is read,
# bytes are.


# %% exercise="scan" points=4 minutes=40 trains=["counting what a computation costs"]
def write_table(columns: dict[str, np.ndarray], group: int) -> tuple[bytes, dict]:
    """A table as bytes, column by column in groups of rows, and a footer that says what lies where.

    columns: at least one; all arrays (m,) of one length m, which may be 0; integers of any kind, with
    entries of absolute value at most 2^53, or float64 (inf allowed, no NaN), in the machine's byte
    order; any memory layout. They stay as they are.
    group: rows in a group, >= 1. Only the last group may have fewer.

    Returns (data, footer). data holds the chunks of the first group, one for each column in the order
    of the dict, then those of the second group, and so on, without gaps. Bytes of a chunk x (k,):
    - "plain": x.tobytes()
    - "runs": values.tobytes() + lengths.astype("<i4").tobytes(), where values, lengths = run_lengths(x)
    Each chunk is stored in the encoding that takes fewer bytes, "plain" if both take as many.

    footer = {"dtypes": {name: text}, "groups": [group, ...]}. The text is the column's dtype.str. Each
    group is a dict from a column's name to
    {"offset": int, "length": int, "encoding": "plain" or "runs", "min": number, "max": number}:
    where the chunk begins in data, its bytes, and its smallest and largest value, as Python ints (of
    integers) or floats. Without rows there is no group.
    """
    ### BEGIN SOLUTION
    rows = len(next(iter(columns.values())))
    parts, groups, offset = [], [], 0
    for start in range(0, rows, group):
        chunks = {}
        for name, column in columns.items():
            x = column[start : start + group]
            values, lengths = run_lengths(x)
            plain, runs = x.tobytes(), values.tobytes() + lengths.astype("<i4").tobytes()
            stored = runs if len(runs) < len(plain) else plain
            chunks[name] = {
                "offset": offset,
                "length": len(stored),
                "encoding": "runs" if len(runs) < len(plain) else "plain",
                "min": x.min().item(),
                "max": x.max().item(),
            }
            parts.append(stored)
            offset += len(stored)
        groups.append(chunks)
    return b"".join(parts), {"dtypes": {name: x.dtype.str for name, x in columns.items()}, "groups": groups}
    ### END SOLUTION


def scan(
    footer: dict,
    read: Callable[[int, int], bytes],
    wanted: list[str],
    column: str,
    low: float,
    high: float,
) -> dict[str, np.ndarray]:
    """The wanted columns of all rows with low <= column <= high, read from a file of `write_table`.

    footer: as write_table returns it. read(offset, length): that many bytes of the file from there on.
    wanted: different names of columns, at least one; column: a name, in wanted or not.
    low, high: ints or floats, inf allowed. If low > high, no row matches.

    Returns {name: (k,) array} for the names in wanted: the k rows in the order of the table, in the
    column's dtype, also if k = 0. New arrays that can be written to.
    Calls read for whole chunks, at most once for each chunk, and only for chunks
    - of the wanted columns and of `column`
    - in groups in which max >= low and min <= high hold for the min and max of `column`.
    """
    ### BEGIN SOLUTION
    found = {name: [np.zeros(0, footer["dtypes"][name])] for name in wanted}
    for group in footer["groups"]:
        if group[column]["max"] < low or group[column]["min"] > high:
            continue
        loaded = {}
        for name in dict.fromkeys([column, *wanted]):
            chunk, dtype = group[name], np.dtype(footer["dtypes"][name])
            data = read(chunk["offset"], chunk["length"])
            if chunk["encoding"] == "plain":
                loaded[name] = np.frombuffer(data, dtype)
            else:
                runs = len(data) // (dtype.itemsize + 4)
                lengths = np.frombuffer(data, "<i4", offset=runs * dtype.itemsize)
                loaded[name] = np.repeat(np.frombuffer(data, dtype, runs), lengths)
        keep = (loaded[column] >= low) & (loaded[column] <= high)
        for name in wanted:
            found[name].append(loaded[name][keep])
    return {name: np.concatenate(parts) for name, parts in found.items()}
    ### END SOLUTION


# %% [markdown] hints="scan"
# <details><summary>Hint 1: write_table</summary>
#
# Two loops: over `range(0, rows, group)`, and over the columns. Keep the offset in a variable, and put the stored bytes
# into a list that you join at the end. `x.min().item()` is a Python number.
# </details>
# <details><summary>Hint 2: a chunk back into an array</summary>
#
# `np.frombuffer(data, dtype)` for a plain chunk. A chunk of runs holds `runs * itemsize` bytes of values and
# `runs * 4` bytes of lengths, so `runs = len(data) // (itemsize + 4)`. Then `np.repeat(values, lengths)`.
# </details>
# <details><summary>Hint 3: nearly scan</summary>
#
# For each group: skip it if `group[column]["max"] < low or group[column]["min"] > high`. Read the chunks of
# `dict.fromkeys([column, *wanted])`, which holds each name once. The rows to keep are
# `(loaded[column] >= low) & (loaded[column] <= high)`. Begin each list of parts with an empty array of the right dtype,
# so that `np.concatenate` works without matches, too.
# </details>

# %% check="scan"
with check("scan"):
    columns = {"day": np.array([1, 1, 1, 1, 2, 4], np.int16), "ms": np.array([5.0, 6.0, 7.0, 8.0, 9.0, 10.0])}
    with expect_unchanged(columns=columns):
        data, footer = write_table(columns, group=4)
    assert len(footer["groups"]) == 2, "six rows in groups of four are two groups"
    # day: 4 values of 2 bytes are 8 bytes; as one run 2 + 4 = 6 bytes. ms: 32 bytes plain, 48 as runs.
    first = {"offset": 0, "length": 6, "encoding": "runs", "min": 1, "max": 1}
    expect_close(footer["groups"][0]["day"], first, hint="4 days take 8 bytes plain and 2 + 4 bytes as one run")
    second = {"offset": 42, "length": 16, "encoding": "plain", "min": 9.0, "max": 10.0}
    expect_close(footer["groups"][1]["ms"], second, hint="it lies behind 6 + 32 + 4 bytes")
    assert footer["dtypes"] == {"day": "<i2", "ms": "<f8"}, f"dtypes: {footer['dtypes']}"
    assert isinstance(data, bytes) and len(data) == 58, f"6 + 32 + 4 + 16 = 58 bytes, not {len(data)}"
    assert write_table({"a": np.array([3, 3, 3], np.int16)}, 3)[1]["groups"][0]["a"]["encoding"] == "plain", (
        "3 values take 6 bytes either way: that is plain"
    )

    asked = []

    def read(offset, length):
        asked.append((offset, length))
        return data[offset : offset + length]

    got = scan(footer, read, ["ms"], "day", 2, 3)
    expect_close(
        got,
        {"ms": np.array([9.0])},
        mistakes={
            "You returned the whole group: only the rows with low <= day <= high match.": {"ms": np.array([9.0, 10.0])},
        },
    )
    assert sorted(asked) == [(38, 4), (42, 16)], f"only the two chunks of the second group can match, not {asked}"
    asked.clear()
    expect_close(scan(footer, read, ["day"], "day", 4, 9)["day"], [4], hint="both bounds are inclusive")
    assert asked == [(38, 4)], f"the column of the condition is wanted, too: one chunk, read once, not {asked}"
    expect_close(scan(footer, read, ["day"], "day", 0, 1)["day"], [1, 1, 1, 1], hint="both bounds are inclusive")
    expect_close(scan(footer, read, ["day"], "ms", 7.0, 9.0)["day"], [1, 1, 2], hint="rows of two groups")
    expect_dtype(scan(footer, read, ["day"], "ms", 20.0, 30.0)["day"], np.int16)
    assert write_table({"a": np.zeros(0)}, 4) == (b"", {"dtypes": {"a": "<f8"}, "groups": []}), "no rows: no group"

# %% [markdown]
# How many bytes does each query read? The figure asks five queries of four files with the same rows. Every file counts
# what is read from it. CSV is text, by rows. An npz file holds the columns one after the other. The third file is
# yours. Parquet, where pyarrow is installed, is the format of the data engines.


# %% tags=["demo"]
class Counting(io.FileIO):
    """A file that counts the bytes that are read from it."""

    def __init__(self, path):
        super().__init__(path)
        self.count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data

    def readinto(self, buffer):
        size = super().readinto(buffer)
        self.count += size
        return size

    def part(self, offset, length):
        self.seek(offset)
        return self.read(length)


keep_folder = tempfile.TemporaryDirectory(prefix="lsml-15-")  # it goes when this notebook's process ends
folder = Path(keep_folder.name)
rows = demo_size(full=1_000_000, small=100_000)
group = rows // 50
data, footer = write_table(log, group)
(folder / "log.table").write_bytes(data)
np.savez(folder / "log.npz", **log)
csv = np.stack([column[:: rows // 20_000] for column in log.values()], axis=1)  # from all days
np.savetxt(folder / "part.csv", csv, fmt="%d", delimiter=",")
csv_bytes = (folder / "part.csv").stat().st_size * rows / len(csv)
some_user = int(log["user"][rows // 2])
week = (120, 126)
queries = {
    "ms, all days": (["ms"], "ms", -math.inf, math.inf),
    "ms, one week": (["ms"], "day", *week),
    "day alone": (["day"], "day", -math.inf, math.inf),
    "ms of one user": (["ms"], "user", some_user, some_user),
    "all columns, one week": (list(log), "day", *week),
}
arrow = engines.library("pyarrow.parquet")
if arrow is not None:
    import pyarrow

    arrow.write_table(pyarrow.table(log), folder / "log.parquet", row_group_size=group)


def read_npz(wanted, column, low, high):
    with Counting(folder / "log.npz") as file, np.load(file) as archive:
        columns = {name: archive[name] for name in {column, *wanted}}
        keep = (columns[column] >= low) & (columns[column] <= high)
        return {name: columns[name][keep] for name in wanted}, file.count


def read_yours(wanted, column, low, high):
    with Counting(folder / "log.table") as file:
        return scan(footer, file.part, wanted, column, low, high), file.count


def read_parquet(wanted, column, low, high):
    with Counting(folder / "log.parquet") as file:
        bounds = [(column, ">=", low), (column, "<=", high)] if math.isfinite(low) else None
        return arrow.read_table(file, columns=wanted, filters=bounds).to_pydict(), file.count


readers = {"npz": read_npz, "yours": read_yours} | ({"Parquet": read_parquet} if arrow else {})
counts = {"CSV": [csv_bytes] * len(queries)}
for name, reader in readers.items():
    counts[name] = []
    for query in queries.values():
        got, count = reader(*query)
        counts[name].append(count)
        expect_close(len(got[query[0][0]]), int(((log[query[1]] >= query[2]) & (log[query[1]] <= query[3])).sum()))
ax = plt.subplots(figsize=(9, 3.6))[1]
for i, (name, count) in enumerate(counts.items()):
    ax.plot(count, np.arange(len(queries)), plotting.MARKERS[i], ms=8, label=name, color=plotting.COLOURS[i])
ax.set_yticks(range(len(queries)), queries)
ax.invert_yaxis()
ax.set(xscale="log", xlabel="bytes read", ylabel="query", title=f"The same {rows:,} rows, five queries")
plotting.legend_below(ax, columns=4)
plt.show()
print(f"{'query':22}" + "".join(f"{name:>12}" for name in counts))
for i, query in enumerate(queries):
    print(f"{query:22}" + "".join(f"{count[i]:12,.0f}" for count in counts.values()))

# %% [markdown]
# CSV reads everything for each query. The npz file reads whole columns. Your file reads whole columns, too, if the
# query goes over all days. For a week it reads two of its fifty groups: the statistics of `day` are sharp, because the
# log is in order of time. (A week is a fifty-second part of a year, but it begins in one group and ends in the next.)
# For one user the statistics do not help at all: each group holds users from nearly the smallest to nearly the largest,
# so yours reads all of both columns. To make this query cheap, one sorts the table by user and pays for it in the other
# queries. A table has one order.
#
# Parquet does more than you. It codes a column by a dictionary of its values, packs the codes into as few bits as are
# needed, and compresses the result. That saves much where a column has few different values. `ms` has nearly as many
# values as rows: there the dictionary is stored beside the codes, and costs more than it saves. In small queries you
# see what a footer costs: pyarrow reads the last 64 KB of the file first, because the footer stands there. Yours is in
# memory already, and not counted.
#
# ### 15.3 `map_reduce` · essential · level 3 of 4 · 25 min
#
# The table is cut into $S$ splits, which lie on many machines. Move the program to the data: the program is small.
# **MapReduce** (Dean and Ghemawat, 2004) asks for two functions, and does the rest:
#
# - `mapper(row)` gives records (key, value), for example (page, 1).
# - The **shuffle** brings all records of a key to one place, partition $p(\text{key}) \in \{0, \dots, P - 1\}$. This is
#   the only step that crosses the network, and it is nearly always the one that costs.
# - `reducer(key, values)` gets a key with all of its values, and gives a result, for example their sum.
#
# How many records cross? Without a combiner, every record of the mappers. If each row gives one record, these are $m$.
# But a split can add up its own records of a key first. This is what a **combiner** does: on each split, it turns the
# values of a key into one. Then split $s$ sends $d_s$ records, one for each key that it holds, and
#
# $$\text{records shuffled} = \sum_{s=1}^{S} d_s \;\le\; \min(m,\; S \cdot D).$$
#
# For 10 billion rows, 1000 splits and 40 countries these are at most 40,000 records in place of $10^{10}$.
#
# When may one combine? The reducer sees results of combiners among its values, so it must not matter how the values are
# grouped: the operation has to be associative, and where the engine does not keep an order, commutative. A sum is, a
# maximum is. A **mean** is not. Say that split 1 holds 1, 2, 3 and sends their mean, 2, and split 2 sends 8. The
# reducer's mean of 2 and 8 is 5, but the mean of all four numbers is 3.5. What merges is the pair (sum, count), and the
# mean is taken at the end. `merge_moments` of module 00 merges means in this way.
#
# The partition of a key must be the same on every machine. Python's `hash("a")` is not: it changes from process to
# process. Here a key's partition is `crc32(repr(key).encode()) % parts`, with `crc32` from the setup cell.


# %% exercise="map_reduce" points=3 minutes=25 trains=["summaries that merge", "hashing", "counting what a computation costs"]
def map_reduce(
    mapper: Callable,
    reducer: Callable,
    splits: list[list],
    parts: int,
    combiner: Callable | None = None,
) -> tuple[list[dict], int]:
    """MapReduce on one machine, and how many records it shuffles.

    splits: S >= 0 lists of rows, any of them may be empty; a row is any object. parts: P >= 1.
    mapper(row): a list of records, pairs (key, value). It may be empty. All keys are texts, or all are
    Python ints; a value is any object.
    combiner(key, values) and reducer(key, values): values is a list; what they return is any object.

    The mapper is called once for each row, in their order. With a combiner, the values that a key has
    in one split are replaced by combiner(key, values): one call for each split and each of its keys,
    also for a single value. Without one, all values go on. What then leaves a split are its records.
    The key's partition is crc32(repr(key).encode()) % parts. In it, reducer(key, values) is called once
    for each key, with its values from all splits.
    The values in a list are in the order of the splits, and within a split in the order in which the
    mapper gave them.

    Returns (results, shuffled): a list of P dicts, one for each partition, from key to what the
    reducer returned; and the number of records that left the splits, a Python int.
    Leaves the splits and what the functions return as they are.
    """
    ### BEGIN SOLUTION
    partitions = [{} for _ in range(parts)]
    shuffled = 0
    for split in splits:
        held = {}
        for row in split:
            for key, value in mapper(row):
                held.setdefault(key, []).append(value)
        for key, values in held.items():
            if combiner is not None:
                values = [combiner(key, values)]
            partitions[crc32(repr(key).encode()) % parts].setdefault(key, []).extend(values)
            shuffled += len(values)
    return [{key: reducer(key, values) for key, values in partition.items()} for partition in partitions], shuffled
    ### END SOLUTION


# %% [markdown] hints="map_reduce"
# <details><summary>Hint 1: the parts of the work</summary>
#
# Go through the splits one after the other. Within a split, collect the values of each key in a dict of its own. Only
# when the split is done, combine, and hand its records over.
# </details>
# <details><summary>Hint 2: the shuffle</summary>
#
# Keep one dict for each partition, from key to list of values. `partition.setdefault(key, []).extend(values)` adds the
# values of a split behind those of earlier splits. `values` is a list of one result if there is a combiner. Count
# `len(values)`.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# After all splits: `[{key: reducer(key, values) for key, values in partition.items()} for partition in partitions]`.
# The partition of a key is number `crc32(repr(key).encode()) % parts`.
# </details>

# %% check="map_reduce"


def words(line):
    return [(word, 1) for word in line.split()]


def total(key, values):
    return sum(values)


with check("map_reduce"):
    splits = [["to be or", "not to be"], [], ["be"]]
    with expect_unchanged(splits=splits):
        results, shuffled = map_reduce(words, total, splits, parts=2)
    assert len(results) == 2, f"one dict for each of two partitions, not {len(results)}"
    counted = {"to": 2, "be": 3, "or": 1, "not": 1}
    expect_close({**results[0], **results[1]}, counted)
    for key in counted:
        place = crc32(repr(key).encode()) % 2
        assert key in results[place] and key not in results[1 - place], f"{key!r} belongs into partition {place}"
    expect_close(
        shuffled,
        7,  # one record for each word
        mistakes={"This is the number of keys: without a combiner every record crosses.": 4},
    )
    results, shuffled = map_reduce(words, total, splits, parts=2, combiner=total)
    expect_close({**results[0], **results[1]}, counted)
    expect_close(
        shuffled,
        5,  # the first split has four different words, the last one has one
        mistakes={
            "A combiner sees one split: records of different splits cannot meet before the shuffle.": 4,
            "The combiner changes the number of records: count what leaves the splits.": 7,
            "A combiner sees a whole split, not one row.": 7,
        },
    )
    # The order of the values, and a combiner whose results are no numbers.
    results, _ = map_reduce(lambda row: [("k", row)], lambda key, values: list(values), [[3, 1], [2]], parts=1)
    expect_close(results, [{"k": [3, 1, 2]}], hint="in order of split, then of emission")
    results, _ = map_reduce(
        lambda row: [(7, row)], lambda key, values: list(values), [[3, 1], [2]], 1, lambda key, values: tuple(values)
    )
    expect_close(results, [{7: [(3, 1), (2,)]}], hint="the reducer gets one value from each split")

# %% [markdown]
# The shuffle is a matrix: entry $(s, p)$ counts the records that go from split $s$ to partition $p$. Your function
# counts visits by page, with and without a combiner. It runs on one split at a time, so that the matrix can be seen.

# %% tags=["demo"]
PARTS = 8
visits = demo_size(full=40_000, small=8_000)
pages = datasets.visits(visits).columns(0, visits)["page"].tolist()
splits = [pages[start : start + visits // 8] for start in range(0, visits, visits // 8)]


def one_visit(page):
    return [(page, 1)]


def added(key, values):
    return sum(values)


matrices = {"Without a combiner": [], "With a combiner": []}
for split in splits:
    results, _ = map_reduce(one_visit, lambda key, values: len(values), [split], PARTS)
    matrices["Without a combiner"].append([sum(result.values()) for result in results])
    results, _ = map_reduce(one_visit, added, [split], PARTS, combiner=added)
    matrices["With a combiner"].append([len(result) for result in results])
figure, axes = plt.subplots(1, 2, figsize=(11, 4.4))
for ax, (title, matrix) in zip(axes, matrices.items(), strict=True):
    matrix = np.array(matrix)
    picture = ax.imshow(matrix, vmin=0, vmax=np.max(matrices["Without a combiner"]))
    for (s, p), count in np.ndenumerate(matrix):
        dark = count < 0.6 * np.max(matrices["Without a combiner"])
        ax.text(p, s, f"{count:,}", ha="center", va="center", fontsize=8, color="white" if dark else "k")
    ax.set(title=f"{title}: {matrix.sum():,} records", xlabel="partition", ylabel="split")
    ax.grid(False)
figure.colorbar(picture, ax=axes, label="records", shrink=0.8)
plt.show()
print(f"the most frequent page has {100 * max(map(pages.count, set(pages[:100]))) / visits:.0f} % of the visits")

# %% [markdown]
# Two things to see. The combiner helps as much as keys repeat *within* a split: most pages are rare, so here it saves a
# part of the records and not nearly all; with 40 countries it would leave 40 a split. And without it some columns are
# much brighter than others: the most frequent page has the share of all visits that the cell prints, and all of its
# records go to one partition.
#
# ### 15.4 `group_sorted` · important · level 2 of 4 · 10 min
#
# The dict of 15.3 must fit into memory. Hadoop's reducers group in another way: they *sort* the records by key. Then
# equal keys are neighbours, and the groups can be made in one pass that holds one group at a time. The function below
# is to return the groups of a list of records. Its author tested one example, and there it is right:
# `[("a", 1), ("a", 2), ("b", 3)]`. Find the bug and repair it.


# %% exercise="group_sorted" points=2 minutes=10 bug=true trains=["sorting"]
def group_sorted(records: list[tuple]) -> list[tuple]:
    """The records grouped by key: [(key, [value, ...]), ...], each key once, keys in ascending order.

    records: pairs (key, value) in any order, may be empty. Keys are texts (in Python's order), or all
    are integers; values
    are any objects, and may be such that they cannot be compared with each other.
    The values of a key are in the order of its records. Leaves the records as they are.
    """
    ### BEGIN SOLUTION
    ordered = sorted(records, key=itemgetter(0))
    return [(key, [value for _, value in group]) for key, group in itertools.groupby(ordered, key=itemgetter(0))]
    ### END SOLUTION
    ### BEGIN BUG
    # return [(key, [value for _, value in group]) for key, group in itertools.groupby(records, key=itemgetter(0))]
    ### END BUG


# %% [markdown] hints="group_sorted"
# <details><summary>Hint 1: where it goes wrong</summary>
#
# Try `[("a", 1), ("b", 2), ("a", 3)]`. What is a group for `itertools.groupby`? You wrote nearly the same in 15.1.
# </details>
# <details><summary>Hint 2: nearly the solution</summary>
#
# Sort before you group. Sort by the key alone (`key=itemgetter(0)`): Python's sort is stable, so the values keep their
# order, and they are never compared.
# </details>

# %% check="group_sorted"
with check("group_sorted"):
    records = [("b", 1), ("a", 9), ("b", 0), ("a", 2)]
    with expect_unchanged(records=records):
        got = group_sorted(records)
    expect_close(
        got,
        [("a", [9, 2]), ("b", [1, 0])],
        mistakes={
            "Equal keys that are no neighbours came back as two groups.": [
                ("b", [1]),
                ("a", [9]),
                ("b", [0]),
                ("a", [2]),
            ],
            "You sorted the values, too: sort by the key alone.": [("a", [2, 9]), ("b", [0, 1])],
            "The keys are not in ascending order.": [("b", [1, 0]), ("a", [9, 2])],
        },
    )
    expect_close(group_sorted([(2, None), (10, {}), (2, {})]), [(2, [None, {}]), (10, [{}])], hint="values of any kind")
    expect_close(group_sorted([]), [])

# %% [markdown]
# ### 15.5 `skew_join` · essential · level 3 of 4 · 25 min
#
# A **join** brings together rows of two tables that have the same key: each visit with the row of its user. In a
# cluster both tables are shuffled by key, and each partition joins what it got. Divide the keys by a hash, and every
# partition gets about as many *keys*. But it is rows that take time. All rows of one key go to one partition, so if the
# most frequent key has a share $f$ of the $m$ rows, some partition has at least $f m$ rows, and the job can never be
# more than $1/f$ times as fast as on one machine, however many machines there are. With Zipf's law and exponent 2 the
# first key has about 60 % of the rows ($1/f \approx 1.6$). More machines do not help. Hash functions do not help,
# either.
#
# (**Zipf's law**: the key number $k$ has a share of the rows in proportion to $k^{-s}$; $s$ is its exponent.)
#
# The cure divides a frequent key. Let its left rows go to all $P$ partitions in turn, and copy its one right row to all
# of them. Each left row still meets its partner, in exactly one place. The price is $P - 1$ copies for each such key,
# so one does it for the few **frequent** keys only; a **rare** key is hashed as before. What is frequent? A key with
# more than $m / (20 P)$ rows, a twentieth of a partition's fair share. There are fewer than $20 P$ of them, so the
# copies are at most $20 P^2$, however large the table is.
#
# Are the rare keys balanced? What a partition gets is a sum of independent parts, each at most a twentieth of the mean.
# By Chernoff's bound, such a sum reaches twice its mean with a probability of at most $(e/4)^{20} \approx 4 \cdot
# 10^{-4}$, and with Zipf's law it is far smaller. ($e$ is Euler's number. A table whose keys somebody has chosen
# against your hash function can do what it likes.)
#
# (Elsewhere you read of **salting**: append a random number from 0 to $P - 1$ to the key of each left row, and copy
# each right row with all $P$ numbers. This is the same idea, done for all keys, so it copies the whole right table.)


# %% exercise="skew_join" points=3 minutes=25 trains=["hashing"]
def skew_join(left: np.ndarray, right: np.ndarray, parts: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide two tables over partitions so that each can be joined by itself, also if a key is frequent.

    left: (m, 2) integers, right: (n, 2) integers, both int64, in any memory layout; m >= 0 and n >= 0.
    A row is (key, row number); keys are any int64. The keys of right differ from each other. parts >= 1.

    Returns a list of `parts` pairs (l, r) of new arrays of integers, int64, with two columns, rows in
    any order. The same arguments give the same pairs.
    - Every row of left is in exactly one l.
    - If the key of a row of right is in an l, that row is in the r of the same pair.
    - No row of right is in an r twice. If its key is not in left, it is in at most one r.
    - A key that at most m / (20 parts) rows of left have is rare: its row of right is in at most one r.
    - If parts <= 64 and m >= 2000 parts, no pair holds more than 2 (m + n) / parts rows, l and r
      together. (Where rare keys fall is up to your hash. The tests draw keys by Zipf's law, and none
      against a hash.)

    Use mix64(keys): all keys may be multiples of parts, and negative. Leaves left and right as they are.
    """
    ### BEGIN SOLUTION
    keys, counts = np.unique(left[:, 0], return_counts=True)
    frequent = keys[counts > len(left) / (20 * parts)]
    divided, copied = (np.isin(table[:, 0], frequent) for table in (left, right))
    home, away = (mix64(table[:, 0]) % parts for table in (left, right))
    home[divided] = np.arange(divided.sum()) % parts
    return [(left[home == p], right[copied | (away == p)]) for p in range(parts)]
    ### END SOLUTION


# %% [markdown] hints="skew_join"
# <details><summary>Hint 1: which keys are frequent</summary>
#
# `np.unique(left[:, 0], return_counts=True)` gives the keys with their counts. Only those with more than
# `len(left) / (20 * parts)` rows are treated in another way.
# </details>
# <details><summary>Hint 2: where a row goes</summary>
#
# Without frequent keys: `mix64(keys) % parts` on both sides. A left row with a frequent key goes to
# partition 0, 1, ..., parts − 1, 0, 1, ... in turn. A right row with a frequent key goes everywhere.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# Let `home` and `away` be the partitions of the left and right rows by hash, `divided` and `copied` the rows with a
# frequent key, such as `divided = np.isin(left[:, 0], frequent)`. Then `home[divided] = np.arange(divided.sum()) %
# parts` sends them out in turn, and the right side of partition p is `right[copied | (away == p)]`.
# </details>

# %% check="skew_join"
with check("skew_join"):
    draw = np.random.default_rng(0)
    # Key 0 has half of 16,000 rows, keys 8, 16, ..., 32000 have two each; right has key -8, too, and lacks key 32000.
    keys = np.concatenate([np.zeros(8000, int), np.repeat(8 * np.arange(1, 4001), 2)])
    left = np.stack([draw.permutation(keys), np.arange(16_000)], axis=1)
    right = np.stack([8 * np.arange(-1, 4000), np.arange(4001)], axis=1)
    with expect_unchanged(left=left, right=right):
        pairs = skew_join(left, right, parts=8)
    assert len(pairs) == 8, f"one pair for each partition, not {len(pairs)}"
    numbers = np.sort(np.concatenate([np.asarray(part)[:, 1] for part, _ in pairs]))
    assert np.array_equal(numbers, np.arange(16_000)), "each row of left must be in exactly one partition"
    for ours, theirs in pairs:
        partners = np.isin(ours[:, 0], theirs[:, 0]) | (ours[:, 0] == 32000)
        assert partners.all(), "a row of left has lost its partner: copy the frequent keys of right"
        assert len(np.unique(theirs[:, 0])) == len(theirs), "a row of right is twice in one partition"
    sizes = [len(ours) + len(theirs) for ours, theirs in pairs]
    assert max(sizes) <= 2 * 20_001 / 8, (
        f"partitions have {sizes} rows: the largest may have twice the mean, 5,000. If one has nearly all: the keys are "
        "multiples of 8, so hash them first. If one has 8,000 more than the others: key 0 is not divided."
    )
    where = np.bincount(np.concatenate([theirs[:, 0] for _, theirs in pairs]) // 8 + 1)
    assert where[1] >= 2, "key 0 is frequent: its rows are divided, so its row of right is needed more than once"
    assert where[2:].max() == 1 and where[0] <= 1, "only frequent keys of right are copied"
    assert all(ours.shape == theirs.shape == (0, 2) for ours, theirs in skew_join(left[:0], right[:0], 3)), (
        "empty tables"
    )

# %% [markdown]
# Loads of 16 partitions, before and after the cure, for a log whose users follow Zipf's law. Right: the largest
# partition over the mean, as the law gets steeper.


# %% tags=["demo"]
def with_users(rows, skew):
    """(left, right): visits (user, row) of a log, and one row for each user."""
    table = datasets.visits(rows, skew=skew)
    left = np.stack([table.columns(0, rows)["user"], np.arange(rows)], axis=1)
    return left, np.stack([np.arange(table.users), np.arange(table.users)], axis=1)


def loads(pairs):
    return np.array([len(ours) + len(theirs) for ours, theirs in pairs])


def by_hash(left, right, parts):
    home, away = (mix64(table[:, 0]) % parts for table in (left, right))
    return [(left[home == p], right[away == p]) for p in range(parts)]


rows = demo_size(full=200_000, small=40_000)
left, right = with_users(rows, skew=2.0)
figure, axes = plt.subplots(1, 2, figsize=(11, 4))
for i, (name, divide) in enumerate({"by hash": by_hash, "yours": skew_join}.items()):
    axes[0].bar(np.arange(16) + 0.4 * i, loads(divide(left, right, 16)), 0.38, label=name, color=plotting.COLOURS[i])
axes[0].set(title="Skew 2: one partition does the work", xlabel="partition", ylabel="rows, left and right")
axes[0].legend()
skews = [0.0, 0.5, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0]
worst = {name: [] for name in ("by hash", "yours")}
for skew in skews:
    left, right = with_users(rows, skew)
    for name, divide in (("by hash", by_hash), ("yours", skew_join)):
        load = loads(divide(left, right, 16))
        worst[name].append(load.max() * 16 / load.sum())
plotting.curves(
    {name: (skews, values) for name, values in worst.items()},
    xlabel="exponent of Zipf's law",
    ylabel="largest partition / mean",
    title="The cure holds for any skew",
    ax=axes[1],
)
plt.show()

# %% [markdown]
# **Where it breaks.** If a key is frequent on *both* sides, the result itself is large: $a$ left and $b$ right rows
# make $ab$ pairs. Then both sides are divided, into a grid of partitions. And somebody must know which keys are
# frequent before the rows are sent. Your function counts all of them; engines count a sample, or look at the partitions
# after the shuffle has been written, as Spark's adaptive execution does (in the last section).
#
# **When not to shuffle at all.** A small right table can be sent whole to all $P$ partitions, and the left one stays
# where it is: a *broadcast join*. It moves $nP$ rows in place of $m + n$, so it wins if $n (P - 1) < m$, and it knows
# no skew. It needs memory for all of the right table on each machine.
#
# ### 15.6 `external_sort` · essential · level 4 of 4 · 35 min
#
# Sorting is what grouping and joining rest on when a hash table does not fit into memory. Let there be $m$ numbers on
# disk, and memory for $M$ of them.
#
# 1. **Runs.** Read $M$ numbers, sort them, write them back as a sorted **run**. This gives $R = \lceil m / M \rceil$
#    runs.
# 2. **Merge.** Take 8 runs, hold the next block of each in memory, and write the smallest numbers to one longer run
#    (in the end: to the output). A **pass** does this for all runs, 8 at a time, and leaves an eighth as many.
#
# So $\lceil \log_8 R \rceil$ passes lead from $R$ runs to one. Each pass reads all $m$ numbers once and writes them
# once, and so do the runs before: $2m(1 + \lceil \log_8 R \rceil)$ numbers move in all. Why not merge all runs at once?
# Their blocks share the memory: if $F$ runs are merged, a block has about $M / F$ numbers, and each block is a new
# place on the disk. Let $M = 10^8$ numbers, 800 MB. With 8 runs a block has 100 MB: half a second to read, 10 ms to
# find. With 10,000 runs it has 80 KB: 0.4 ms to read, 10 ms to find. Hadoop merges 10 runs at a time by default; 8 lets
# you see two passes.
#
# How does one merge blocks without a step of Python for each number? Let each run have a block in memory, and let $t$
# be the smallest among the *last* numbers of these blocks. Everything that is still on disk is at least $t$, because
# each run is sorted. So all numbers up to $t$ can be taken out of the blocks, sorted and written. After that the block
# that ended in $t$ is empty and its run's next block is read. One step with three runs and blocks of three numbers:
#
# | run | block | taken, since $t = \min(9, 5, 8) = 5$ | what remains |
# | --- | --- | --- | --- |
# | 0 | 1, 4, 9 | 1, 4 | 9 |
# | 1 | 2, 5, 5 | 2, 5, 5 | nothing: read its next block |
# | 2 | 6, 7, 8 | | 6, 7, 8 |

# %% tags=["demo"]
figure, ax = plt.subplots(figsize=(9, 3.2))
width = [[1.0] * 20, [8.0, 8.0, 4.0], [20.0]]
ends = []
for level, sizes in enumerate(width):
    at = np.cumsum([0, *sizes])
    ends.append([(a + b) / 2 for a, b in itertools.pairwise(at)])
    for a, b in itertools.pairwise(at):
        colour = plotting.COLOURS[level]
        ax.add_patch(plt.Rectangle((a + 0.06, -level - 0.25), b - a - 0.12, 0.5, fc=colour, alpha=0.35, ec=colour))
for level in (0, 1):
    for i, x in enumerate(ends[level]):
        ax.plot([x, ends[level + 1][i // 8]], [-level - 0.25, -level - 0.75], color="0.6", lw=0.8, ls="-")
for level, text in enumerate(["20 runs of M numbers", "3 runs after one pass", "sorted after two passes"]):
    ax.text(20.4, -level, text, va="center")
ax.set(xlim=(0, 26), ylim=(-2.4, 0.4), xticks=[], yticks=[], xlabel="numbers", title="Merging 8 runs at a time")
ax.grid(False)
plt.show()

# %% [markdown]
# The disk is a set of functions here, and they count. `source` and `fetch` hand numbers out to you; `spill` and `emit`
# take them back. At each moment, the numbers that were handed out and not yet taken back must be at most $M$. You write
# how runs are made, and how up to 8 of them are merged; the loop over the passes is given.


# %% exercise="external_sort" points=4 minutes=35 trains=["sorting", "counting what a computation costs"]
def external_sort(
    source: Callable[[int], np.ndarray],
    spill: Callable[[int, np.ndarray], None],
    fetch: Callable[[int, int, int], np.ndarray],
    emit: Callable[[np.ndarray], None],
    memory: int,
) -> int:
    """Sort numbers that do not fit into memory: runs on disk, merged 8 at a time. Returns the merge passes.

    source(count): the next `count` numbers of the input, count >= 1, as a (k,) float64 array; k < count
      only at the end of the input, k = 0 if nothing is left. Numbers are finite and may be equal.
    spill(run, x): adds the (k,) float64 array x at the end of run number `run`, any int >= 0.
    fetch(run, start, count): numbers start, ..., start + count - 1 of a run, fewer at its end.
    emit(x): gives out the next numbers of the result, a (k,) float64 array. All arrays that it gets,
      one behind the other, are the input in ascending order.
    memory: M >= 64.

    Numbers that source and fetch have handed out and that are not yet given to spill or emit: at no
    moment more than M. (Copies that you make of them do not count.) Only what was handed out is spilled
    and emitted; x may be empty.
    The input is cut into runs of M numbers, the last one of what is left: R runs. A pass merges all
    runs, up to 8 into one; the last pass emits. A run is open from its first fetch to its last: at
    most 8 runs are open at a time. Ask fetch for at least M // 16 numbers, except at the end of a run.
    A call costs as much as sorting thousands of numbers: spill and emit blocks, never single numbers.

    Returns the number of passes, a Python int: 0 if R <= 1, else ceil(log_8 R).
    Each pass fetches at most m numbers in total, where m is the length of the input (if R = 1, m are
    fetched without a pass).
    """

    def merged(runs: list[int]):
        """A generator of arrays: the numbers of these runs, at most 8, in ascending order."""
        ### BEGIN SOLUTION
        at, blocks = dict.fromkeys(runs, 0), {}
        while True:
            for run in [run for run in at if run not in blocks]:
                block = fetch(run, at[run], memory // 8)
                if len(block) > 0:
                    blocks[run], at[run] = block, at[run] + len(block)
                else:
                    del at[run]
            if not blocks:
                return
            last = min(block[-1] for block in blocks.values())
            counts = {run: np.searchsorted(block, last, side="right") for run, block in blocks.items()}
            yield np.sort(np.concatenate([blocks[run][:count] for run, count in counts.items()]))
            blocks = {run: blocks[run][count:] for run, count in counts.items() if count < len(blocks[run])}
        ### END SOLUTION

    runs = []  # the numbers of the sorted runs: 0, 1, ..., R - 1
    ### BEGIN SOLUTION
    while len(block := source(memory)) > 0:
        spill(len(runs), np.sort(block))
        runs.append(len(runs))
    ### END SOLUTION

    # The passes are given; change them if you like.
    number, passes = len(runs), 0
    while len(runs) > 8:
        longer = []
        for first in range(0, len(runs), 8):
            for block in merged(runs[first : first + 8]):
                spill(number, block)
            longer.append(number)
            number += 1
        runs, passes = longer, passes + 1
    for block in merged(runs):
        emit(block)
    return passes + (len(runs) > 1)


# %% [markdown] hints="external_sort"
# <details><summary>Hint 1: the runs</summary>
#
# `while len(block := source(memory)) > 0:` spill `np.sort(block)` as a new run. Spill it before you ask for the next
# block, also if it is the only one: you cannot know that, and two blocks do not fit.
# </details>
# <details><summary>Hint 2: one merge</summary>
#
# Give each of at most 8 runs a block of `memory // 8` numbers. Repeat: fetch the next block of each run whose block is
# empty; if nothing comes, the run is finished. Let `last = min(block[-1] for block in blocks)`. From each block take
# what is at most `last` (`np.searchsorted(block, last, side="right")` numbers), put it together, sort it, hand it over.
# </details>
# <details><summary>Hint 3: nearly the merge</summary>
#
# `at[run]` counts what has been fetched from a run, and `blocks[run]` holds what is in memory. In each round: fetch for
# all runs without a block; if nothing comes, forget the run. Stop if no block is left. Then `count =
# np.searchsorted(block, last, side="right")` for each block: yield the sorted `block[:count]` of all, and keep
# `block[count:]` where something remains.
# </details>

# %% check="external_sort"


class Disk:
    """Numbers on a disk; it counts what is held in memory and in which order runs are read."""

    def __init__(self, numbers):
        self.numbers, self.at, self.runs, self.out = np.asarray(numbers, float), 0, {}, []
        self.held = self.most = self.fetched = self.calls = 0
        self.order, self.smallest = [], math.inf

    def called(self):
        self.calls += 1
        assert self.calls < 20_000, "20,000 calls: a loop does not end. Does each round take a number out of a block?"

    def hand_out(self, x):
        self.called()
        self.held += len(x)
        self.most = max(self.most, self.held)
        return x.copy()

    def source(self, count):
        self.at += count
        return self.hand_out(self.numbers[self.at - count : self.at])

    def spill(self, run, x):
        self.called()
        self.held -= len(x)
        self.runs[run] = np.concatenate([self.runs.get(run, np.zeros(0)), x])

    def fetch(self, run, start, count):
        self.order.append(run)
        if start + count < len(self.runs[run]):
            self.smallest = min(self.smallest, count)
        x = self.runs[run][start : start + count]
        self.fetched += len(x)
        return self.hand_out(x)

    def emit(self, x):
        self.called()
        self.held -= len(x)
        self.out.append(np.array(x))

    def sort(self, memory):
        passes = external_sort(self.source, self.spill, self.fetch, self.emit, memory)
        return passes, np.concatenate([np.zeros(0), *self.out])


def open_at_once(order):
    """The largest number of runs that are being read at the same time."""
    first, last = {}, {}
    for i, run in enumerate(order):
        first.setdefault(run, i)
        last[run] = i
    return max((sum(first[run] <= i <= last[run] for run in first) for i in range(len(order))), default=0)


with check("external_sort"):
    draw = np.random.default_rng(0)
    for count, passes in [(0, 0), (50, 0), (64, 0), (65, 1), (512, 1), (513, 2), (64 * 20, 2)]:
        disk = Disk(draw.integers(0, 100, count))
        got, result = disk.sort(memory=64)
        expect_close(result, np.sort(disk.numbers), hint=f"{count} numbers with memory for 64")
        assert disk.most <= 64, f"{disk.most} numbers were held at once, with memory for 64"
        assert got == passes, f"{count} numbers are {-(-count // 64)} runs: {passes} passes, not {got}"
        assert disk.fetched <= count * max(passes, 1), (
            f"{disk.fetched} numbers were fetched for {count} in {passes} passes"
        )
        assert open_at_once(disk.order) <= 8, f"{open_at_once(disk.order)} runs were merged at once"
        assert disk.smallest >= 4, f"a fetch of {disk.smallest} numbers: ask for at least 64 // 16 = 4"
    disk = Disk(np.full(300, 7.0))
    expect_close(disk.sort(memory=64)[1], np.full(300, 7.0), hint="all numbers are equal")

# %% [markdown]
# Your function at a larger size, with memory for a fiftieth of the numbers.

# %% tags=["demo"]
count = demo_size(full=1_000_000, small=100_000)
disk = Disk(np.random.default_rng(1).lognormal(size=count))
start = time.perf_counter()
passes, result = disk.sort(memory=count // 50)
print(f"{count:,} numbers, memory for {count // 50:,}: {passes} passes, at most {disk.most:,} held at once")
print(f"fetched {disk.fetched:,} numbers in {len(disk.order):,} blocks; {time.perf_counter() - start:.2f} s")
print(f"sorted: {bool(np.array_equal(result, np.sort(disk.numbers)))}")

# %% [markdown]
# **On many machines** one sorts by ranges: partition 0 gets the smallest numbers, partition 1 the next ones, and so on.
# Each sorts its own, and the results stand one behind the other. Where should the borders be? Draw a sample, and cut it
# into equal parts. If a value is frequent, equal parts would cut through it, and equal keys must stay together: a
# reducer needs all of them.
#
# ### 15.7 `range_bounds` · optional · level 3 of 4 · 20 min
#
# How small can the largest partition be? Try a capacity $c$: fill partition after partition from the smallest value on,
# each as far as $c$ allows. If that takes at most $P$ partitions, $c$ is possible, else it is not. A larger capacity is
# never worse, so the smallest possible one is found by bisection.


# %% exercise="range_bounds" points=3 minutes=20 extra=true trains=["sorting", "search"]
def range_bounds(sample: np.ndarray, parts: int) -> np.ndarray:
    """Borders that cut a sample into ranges, equal values together, so that the largest is smallest.

    sample: (m,), m >= 1, in any order; float64 (finite) or integers of any kind. parts: P >= 1.
    Value x belongs to range number np.searchsorted(bounds, x, side="left"): range i holds what is above
    bounds[i - 1] and at most bounds[i]; the last one holds all that is above the last bound.

    Returns the bounds, a new array (b,) in the dtype of sample, strictly ascending, b <= P - 1 (fewer
    where some ranges would be empty), each of them a value of the sample. No other choice of at most
    P - 1 bounds makes the number of sample values in the largest range smaller.
    Takes O(m log m) time for P up to m / log m, and P may be larger than m. Leaves sample as it is.
    """
    ### BEGIN SOLUTION
    values, counts = np.unique(sample, return_counts=True)
    ends = np.cumsum(counts)  # ends[i] sample values are at most values[i]

    def cuts(capacity):
        """The number of the last value in each range if none holds more than the capacity; None if P are too few."""
        last, found = -1, []
        while last < len(ends) - 1 and len(found) < parts:
            filled = ends[last] if last >= 0 else 0
            last = int(np.searchsorted(ends, filled + capacity, side="right")) - 1
            found.append(last)
        return found if last == len(ends) - 1 else None

    low, high = int(counts.max()), len(sample)
    while low < high:
        middle = (low + high) // 2
        if cuts(middle) is None:
            low = middle + 1
        else:
            high = middle
    return values[cuts(low)[:-1]]
    ### END SOLUTION


# %% [markdown] hints="range_bounds"
# <details><summary>Hint 1: values and counts</summary>
#
# `np.unique(sample, return_counts=True)`, then `ends = np.cumsum(counts)`. A border stands behind one of the values.
# No capacity below `counts.max()` is possible.
# </details>
# <details><summary>Hint 2: fill greedily</summary>
#
# If `filled` sample values are in earlier ranges, this range may reach up to `filled + capacity`: its last value is
# number `np.searchsorted(ends, filled + capacity, side="right") - 1`.
# </details>

# %% check="range_bounds"
with check("range_bounds"):
    sample = np.array([5, 1, 5, 2, 5, 3, 5, 9])  # 1, 2, 3, then 5 four times, then 9
    with expect_unchanged(sample=sample):
        bounds = range_bounds(sample, 3)
    sizes = np.bincount(np.searchsorted(bounds, sample, side="left"), minlength=3)
    assert sizes.max() == 4, f"ranges with {sizes} values: 1, 2, 3 | 5, 5, 5, 5 | 9 has 4 in the largest"
    expect_dtype(bounds, sample.dtype)
    assert len(range_bounds(sample, 1)) == 0, "one range needs no bound"
    bounds = range_bounds(sample, 100)
    assert len(bounds) <= 4 and (np.diff(bounds) > 0).all(), "five values have at most four bounds between them"
    expect_close(range_bounds(np.arange(6.0), 2), [2.0], hint="0, 1, 2 | 3, 4, 5: the bound is a value of the sample")

# %% [markdown]
# Eight ranges of the pages of the log: how many visits each gets, by your bounds from a sample of 10,000 visits, and by
# cutting the sorted sample into equal parts. Below: the largest range as the sample grows.

# %% tags=["demo"]
draw = np.random.default_rng(3)


def equal_parts(sample, parts):
    """The last value of each of the equal parts of a sorted sample; equal bounds leave ranges empty."""
    return np.sort(sample)[np.arange(1, parts) * len(sample) // parts - 1]


ax = plt.subplots(figsize=(7, 3.2))[1]
sample = draw.choice(log["page"], 10_000)
for i, (name, bound) in enumerate({"equal parts": equal_parts, "yours": range_bounds}.items()):
    held = np.bincount(np.searchsorted(bound(sample, 8), log["page"], side="left"), minlength=8)
    ax.bar(np.arange(8) + 0.4 * i, held, 0.38, label=name, color=plotting.COLOURS[i])
ax.set(title="Visits in each of eight ranges of pages", xlabel="range", ylabel="visits")
ax.legend()
plt.show()
for count in (30, 300, 3_000, 30_000):
    sample = draw.choice(log["page"], count)
    held = np.bincount(np.searchsorted(range_bounds(sample, 8), log["page"], side="left"), minlength=8)
    print(f"bounds from {count:6,} visits: the largest range has {8 * held.max() / len(log['page']):.2f} of the mean")

# %% [markdown]
# A page with more than an eighth of the visits makes its range larger than the mean, whatever the bounds are. For the
# rest, a few hundred or thousand visits are enough to place the borders, however long the log is.
#
# ### 15.8 `place_blocks` · important · level 2 of 4 · 15 min
#
# Where do the splits lie? A file of 10 TB is cut into **blocks**, by default of 128 MB, in Hadoop's file system
# **HDFS**. Each block is stored three times, on three machines (**nodes**); these copies are its **replicas**. Nodes
# stand in **racks** of 20 to 40, which share a switch and a power supply. So two things fail: a node, often, and a
# rack, seldom. Copies in one rack die together. But traffic between racks is scarce. HDFS compromises:
#
# 1. the first replica goes to the node that writes (no network at all);
# 2. the second one to a node in another rack (survives the loss of the first rack);
# 3. the third one to another node in the *same* rack as the second (crosses no further link between racks).
#
# So each block is in exactly two racks. In the module, every node outside the writer's rack is equally likely for the
# second replica, and every other node of its rack for the third. (If you draw the rack first and then the node, nodes
# of small racks get more than their share.)


# %% exercise="place_blocks" points=2 minutes=15 trains=["fault tolerance"]
def place_blocks(blocks: int, racks: list[list[str]], writer: str, seed: int) -> list[list[str]]:
    """Three nodes for each block of a file, drawn at random as HDFS does.

    blocks >= 0. racks: at least two lists of node names, each of at least two names; all names differ.
    Racks may have different numbers of nodes. writer: one of the names. seed: 0 <= seed < 2^63,
    of which all bits count (torch's generator on the CPU takes 32).

    Returns a list with [first, second, third] for each block: the writer; a node from another rack than
    the writer's, each such node with the same probability; another node of the second one's rack, each
    with the same probability. Blocks are drawn independently.
    The same arguments give the same result, in any process; other seeds give an unrelated one. Global
    random states are neither used nor changed. Leaves racks as it is.
    """
    ### BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    choices = [(node, rack) for rack in racks if writer not in rack for node in rack]
    placed = []
    for _ in range(blocks):
        second, rack = choices[rng.integers(len(choices))]
        others = [node for node in rack if node != second]
        placed.append([writer, second, others[rng.integers(len(others))]])
    return placed
    ### END SOLUTION


# %% [markdown] hints="place_blocks"
# <details><summary>Hint 1: the second replica</summary>
#
# Make one list of all nodes that are not in the writer's rack, each together with its rack. Draw from this list.
# </details>
# <details><summary>Hint 2: nearly the solution</summary>
#
# `rng = np.random.default_rng(seed)`, once, before the loop. `choices[rng.integers(len(choices))]` draws one entry.
# The third replica: the same with `[node for node in rack if node != second]`.
# </details>

# %% check="place_blocks"
with check("place_blocks"):
    racks = [["a1", "a2", "a3"], ["b1", "b2"], ["c1", "c2", "c3", "c4"]]
    with expect_unchanged(racks=racks):
        placed = place_blocks(600, racks, "a2", seed=1)
    assert len(placed) == 600, f"one entry for each of 600 blocks, not {len(placed)}"
    rack_of = {node: number for number, rack in enumerate(racks) for node in rack}
    for first, second, third in placed:
        assert first == "a2", "the first replica is on the writer"
        assert rack_of[second] != 0, "the second replica is in another rack: if rack a burns, the block must survive"
        assert rack_of[third] == rack_of[second], "the third replica is in the rack of the second one"
        assert third != second, "the third replica is on another node"
    shares = {node: sum(second == node for _, second, _ in placed) for node in rack_of if rack_of[node]}
    # 600 draws of 6 nodes: 100 each, with a standard deviation of 9. A rack first: 150 for b1 and b2.
    assert all(55 <= count <= 145 for count in shares.values()), f"about 100 second replicas on each node, not {shares}"
    assert place_blocks(600, racks, "a2", seed=1) == placed, "the same seed gives the same places"
    assert place_blocks(600, racks, "a2", seed=2) != placed, "another seed gives other places"
    assert place_blocks(0, racks, "a2", seed=1) == []

# %% [markdown]
# Left: how many blocks each node holds, if all nodes in turn write by your function. Right: the share of blocks that
# are lost when one rack burns, by your rule, with three replicas anywhere, and with three in one rack.

# %% tags=["demo"]
racks = [[f"{letter}{i}" for i in range(1, 9)] for letter in "abcde"]
nodes = [node for rack in racks for node in rack]
rack_of = {node: number for number, rack in enumerate(racks) for node in rack}
blocks = demo_size(full=50, small=20)
places = [place for i, node in enumerate(nodes) for place in place_blocks(blocks, racks, node, seed=i)]
load = np.array([sum(node in place for place in places) for node in nodes]).reshape(5, 8)
figure, axes = plt.subplots(1, 2, figsize=(11, 3.6))
picture = axes[0].imshow(load, vmin=0)
axes[0].set_yticks(range(5), [f"rack {letter}" for letter in "abcde"])
axes[0].set(
    title=f"Blocks held by each node: {load.mean():.0f} ± {load.std():.0f}", xlabel="node in its rack", ylabel="rack"
)
axes[0].set_xticks(range(8), range(1, 9))
axes[0].grid(False)
figure.colorbar(picture, ax=axes[0], label="blocks", shrink=0.8)
draw = np.random.default_rng(0)
anywhere = [list(draw.choice(nodes, 3, replace=False)) for _ in places]
one_rack = [list(draw.choice(racks[draw.integers(5)], 3, replace=False)) for _ in places]
rules = {"as HDFS": places, "anywhere": anywhere, "one rack": one_rack}
lost = [100 * np.mean([[set(place) <= set(rack) for place in rule] for rack in racks]) for rule in rules.values()]
axes[1].bar(list(rules), lost, 0.6, color=plotting.COLOURS[:3])
axes[1].set(title="One of five racks burns", xlabel="rule", ylabel="blocks lost, %")
plt.show()
for k in (4, 8, 12):
    share = 100 * math.comb(k, 3) / math.comb(40, 3)
    print(f"{k:2} of the 40 nodes fail at random: each rule loses {share:.2f} % of the blocks on average")

# %% [markdown]
# On the left, the nodes differ by chance alone. If a whole rack fails, your rule loses nothing. "Anywhere" is nearly as
# good there, and sends each block between racks twice. For single nodes that fail at random, racks do not matter: a
# block has three nodes, and any three are equally likely to be among the $k$ of 40 that fail, so every rule loses the
# share $\binom{k}{3} / \binom{40}{3}$ on average. So HDFS copies a block again as soon as one of its nodes is missing:
# the sooner the new copy is there, the fewer blocks are lost.
#
# ### 15.9 `assign_tasks` · important · level 3 of 4 · 25 min
#
# A job has one task for each block. A task that runs on a node with a replica reads from its own disk: it is **local**.
# Each node has a few **slots** for tasks. Three replicas give a choice. Which choice makes most tasks local?
#
# Take the tasks one after the other, and give each the first node with a free slot: this is greedy. It goes wrong where
# an early task takes the slot that a later one needs, although it could have gone elsewhere:
#
# | task | replicas on | greedy | better |
# | --- | --- | --- | --- |
# | 0 | x, y | x | y |
# | 1 | x, z (z is full) | not local | x |
#
# So when a task finds all its nodes full, look whether one of the tasks that run there can move to another node of its
# own, or make room by moving a third one, and so on. Such a chain of moves that ends at a free slot is an **augmenting
# path**. If there is none for a task, then no assignment makes this task local together with all that are so far
# (Berge, 1957). Later moves never open one for it, either, so leave it for the end.
#
# Search breadth first from the new task: task, its nodes, the tasks that run there, their nodes. Look at each node
# once, and remember for each node the task that came to it first. At a free slot, walk back: the task that came to this
# node moves here; the node that it leaves has a free slot now, and the task that came to *that* node moves there; until
# the new task, which ran nowhere, has moved. A search looks at each replica of all tasks at most once: with 3,000 tasks
# and three replicas, 9,000 looks.


# %% exercise="assign_tasks" points=3 minutes=25 forbids=["scipy", "networkx"] trains=["search"]
def assign_tasks(replicas: list[list[str]], slots: dict[str, int]) -> list[str]:
    """A node for each task, so that as many tasks as possible are local.

    replicas: one list for each task, the different names of the nodes that hold its block; it may be
    empty, and name nodes that are not in slots (they are down). slots: how many tasks a node may
    take, an int >= 0, by its name.

    Returns a list with the name of a node in slots for each task, none with more tasks than slots. No
    other such list has more local tasks (tasks t with result[t] in replicas[t]); among these, any.
    Raises ValueError if there are fewer slots than tasks.
    There may be 3,000 tasks, and a chain of moves may go through all of them: a function that calls
    itself for each move hits Python's limit of recursion. Leaves both arguments as they are.
    Not allowed: scipy and networkx.
    """
    ### BEGIN SOLUTION
    if sum(slots.values()) < len(replicas):
        raise ValueError(f"{len(replicas)} tasks, {sum(slots.values())} slots")
    place: list[str | None] = [None] * len(replicas)
    running = {node: set() for node in slots}
    for first in range(len(replicas)):
        came, queue, node = {}, [first], None  # came: which task looked at a node first
        for task in queue:
            for node in replicas[task]:
                if node in slots and node not in came:
                    came[node] = task
                    if len(running[node]) < slots[node]:
                        break
                    queue.extend(running[node])
            else:
                continue
            break
        else:
            continue  # no chain ends at a free slot
        while node is not None:
            task = came[node]
            before, place[task] = place[task], node
            running[node].add(task)
            if before is not None:
                running[before].remove(task)
            node = before
    free = (node for node in slots for _ in range(slots[node] - len(running[node])))
    return [next(free) if node is None else node for node in place]
    ### END SOLUTION


# %% [markdown] hints="assign_tasks"
# <details><summary>Hint 1: the search</summary>
#
# Keep a list `queue` that begins with the new task, and a dict `came` from each node that you have seen to the task
# that looked at it. For each task of the queue, go through its nodes. If one has a free slot, stop. Otherwise put the
# tasks that run there at the end of the queue.
# </details>
# <details><summary>Hint 2: the moves</summary>
#
# From the free node go back: `task = came[node]` moves to `node`; where it ran before, a slot is free now, and
# `came` of that node says who moves there. The first task ran nowhere: there the chain ends.
# </details>
# <details><summary>Hint 3: the rest</summary>
#
# Tasks without a chain stay without a node until all others are placed. Then give them any free slots:
# `free = (node for node in slots for _ in range(slots[node] - len(running[node])))` and `next(free)`.
# </details>

# %% check="assign_tasks"
with check("assign_tasks", forbids=["scipy", "networkx"]):

    def local(replicas, slots):
        with expect_unchanged(replicas=replicas, slots=slots):
            got = assign_tasks(replicas, slots)
        assert len(got) == len(replicas), f"one node for each of {len(replicas)} tasks, not {len(got)}"
        for node in got:
            assert node in slots, f"{node!r} is not a node with slots"
            assert got.count(node) <= slots[node], f"{got.count(node)} tasks on {node!r}, which has {slots[node]} slots"
        return sum(node in nodes for node, nodes in zip(got, replicas, strict=True))

    count = local([["x", "y"], ["x", "z"]], {"x": 1, "y": 1, "z": 0})
    assert count == 2, f"task 0 can move from x to y: 2 local tasks, not {count}"
    count = local([["gone"], [], ["x"], ["y"]], {"x": 1, "y": 1, "w": 2})
    assert count == 2, (
        f"tasks 0 and 1 cannot be local: they wait until all others have their slots. 2 local, not {count}"
    )
    count = local([["x", "y"], ["y", "z"], ["x"], ["gone"], []], {"x": 1, "y": 1, "z": 1, "w": 2})
    assert count == 3, f"a chain of two moves (0 to y, 1 to z) makes room for task 2: 3 local tasks, not {count}"
    count = local([["x"], ["x", "y"], ["x"]], {"x": 2, "y": 1})
    assert count == 3, f"x is full; of the two tasks that run there, task 1 can move: 3 local tasks, not {count}"
    chain = [[f"n{i}", f"n{i + 1}"] for i in range(1200)] + [["n0"]]
    count = local(chain, {f"n{i}": 1 for i in range(1201)})
    assert count == 1201, f"a chain of 1,200 moves makes all 1,201 tasks local, not {count}"
    with expect_raises(ValueError):
        assign_tasks([["x"], ["x"]], {"x": 1})
    assert assign_tasks([], {"x": 0}) == []

# %% [markdown]
# A file that five nodes have written by your `place_blocks`, and a job on all 40 nodes with your `assign_tasks`: the
# share of local tasks, as there are more slots than tasks, and if only the first one, two or three replicas of each
# block are used. The greedy rule stands beside it.


# %% tags=["demo"]
def greedy(replicas, slots):
    left, local = dict(slots), 0
    for nodes in replicas:
        for node in nodes:
            if left[node]:
                left[node] -= 1
                local += 1
                break
    return local


tasks = demo_size(full=800, small=160)
writers = nodes[:5]  # five nodes of one rack have written the file
replicas = [place_blocks(1, racks, writers[i % 5], seed=i)[0] for i in range(tasks)]
slack = [1.0, 1.1, 1.25, 1.5, 2.0, 3.0]
lines, scarce = {}, [math.ceil(more * tasks / 40) * 40 / tasks for more in slack]
for copies in (1, 2, 3):
    shares = []
    kept = [place[:copies] for place in replicas]
    for more in slack:
        slots = dict.fromkeys(nodes, math.ceil(more * tasks / 40))
        placed = assign_tasks(kept, slots)
        shares.append(100 * np.mean([node in where for node, where in zip(placed, kept, strict=True)]))
        if copies == 3:
            lines.setdefault("3 replicas, greedy", (scarce, []))[1].append(100 * greedy(kept, slots) / tasks)
    lines[f"{copies} replica{'s' * (copies > 1)}, yours"] = (scarce, shares)
plotting.curves(
    lines, xlabel="slots / tasks", ylabel="local tasks, %", title="A second replica brings most of the locality"
).set_ylim(0, 105)
plt.show()

# %% [markdown]
# A task that runs elsewhere still works: its block crosses the network. With the writer's replica alone, the five
# writers hold everything. They are 5 of 40 nodes, so with as many slots as tasks 12.5 % of the tasks are local. A
# second replica in other racks changes this. With three, your rule makes most tasks local with no slot to spare (not
# all: the other three nodes of the writers' rack hold nothing, but have slots), and nearly all with a few more slots;
# greedy loses some where slots are scarce. Real schedulers have a further problem, which this one has not: slots become
# free one after the other, and a scheduler that waits a few seconds for a local slot gains more than it loses (delay
# scheduling, Zaharia and others, 2010). Module 18 goes on from here.
#
# ## What Hadoop was, and why Spark followed
#
# In October 2003 Ghemawat, Gobioff and Leung of Google described a file system for thousands of cheap machines: large
# blocks, three replicas, one master that knows where blocks lie. In December 2004 Dean and Ghemawat described what ran
# on it. A programmer writes a mapper and a reducer. The system splits the input, sends tasks to the machines that hold
# the data, shuffles, sorts, and, when a machine fails, runs its tasks again. This last point decided its success. On
# 1,000 machines something fails every day, and the answer to every failure was the same: mappers have no side effects
# and their input lies in replicas, so do it again.
#
# Google published papers, not programs. Doug Cutting and Mike Cafarella built the same for the web crawler Nutch; in
# early 2006 it became a project of its own, **Hadoop**, developed to a large part at Yahoo. The storage (HDFS: Shvachko
# and others, 2010) and the computation are what you wrote in 15.3, 15.4, 15.6, 15.8 and 15.9. In Hadoop 1.0 (December
# 2011) one master ran all jobs, and a job was a map and a reduce. Hadoop 2.2 (October 2013) divided the master:
# **YARN** (Vavilapalli and others, 2013) gives out machines, and MapReduce is one program of several that ask for them.
#
# By then two weaknesses were known. People who came from databases had said since 2008 (DeWitt and Stonebraker;
# measured by Pavlo and others, 2009) that the rows are parsed again in each job, that there are no statistics, no
# columns, no plan. And **each job ends on the disk**: the result of every MapReduce is written to HDFS with its
# replicas, and read again by the next. A gradient descent with 100 steps is 100 jobs, each of which reads all data from
# disk.
#
# **Spark** (Zaharia and others, 2010 and 2012) kept the splits, the shuffle and the locality, and changed what lies
# between the jobs. A program is a graph of operations on data sets; nothing runs until a result is asked for. Then
# operations that need no shuffle run together, without a disk between them. A data set that is used again stays in
# memory. And if a machine is lost, replicas are not needed to get its part of an intermediate result back: the graph
# says from which parts it was computed, so these are computed again (*lineage*). So the answer to failure stayed. A
# shuffle is still written to the local disks, but no longer to HDFS with replicas. Spark was open source from 2010,
# came to Apache in June 2013, and 1.0 is of May 2014. Its data frames (Armbrust and others, 2015) brought what the
# database people had asked for: columns, statistics, and a planner. Since version 3.0 (June 2020) a plan may also
# change while it runs, after a shuffle has shown how large its partitions are (adaptive execution; on by default since
# 3.2, October 2021). The dates of releases are those of hadoop.apache.org and spark.apache.org.
#
# What stayed of Hadoop? HDFS and YARN still run in many companies, and in the cloud an object store took the place of
# HDFS: there compute and storage are apart, so locality is lost again, and reading little (15.2) is worth more than
# before.
#
# ## Scale it
#
# One job, the same files, the same run, and four engines: yours, pandas, Dask and Spark. The job: for each page, count
# the visits and add up their milliseconds. The table lies in eight files (splits). Each is written twice, in your
# format and, if pyarrow is there, in Parquet. An engine that is missing here says so in one line; yours and Dask's bag
# are always there.
#
# What is measured: seconds (the start of an engine and its first query are measured apart), records and bytes that
# cross from one process, or one partition, to another, and the memory of this process. All results are compared with
# each other, and the counts with the exact totals, which the generator knows.


# %% tags=["demo"]
SPLITS = 8
table_sizes = demo_size(full=[100_000, 1_000_000, 10_000_000], small=[10_000, 100_000])
tables = {}
start = time.perf_counter()
for rows in table_sizes:
    table, splits = datasets.visits(rows), []
    (folder / f"{rows}").mkdir()
    bounds = [rows * i // SPLITS for i in range(SPLITS + 1)]
    for low, high in itertools.pairwise(bounds):
        columns = table.columns(low, high)
        data, footer = write_table(columns, group=max(1, (high - low) // 4))
        path = folder / f"{rows}" / f"{low}.table"
        path.write_bytes(data)
        # One row of a split, for the mapper: the path of the file and one of its row groups.
        splits.append([(str(path), {**footer, "groups": [group]}) for group in footer["groups"]])
        if arrow is not None:
            arrow.write_table(pyarrow.table(columns), folder / f"{rows}" / f"{low}.parquet")
    tables[rows] = (table, splits)
print(f"written in {time.perf_counter() - start:.1f} s:", ", ".join(f"{rows:,} rows" for rows in tables))
for kind in ("table", "parquet") if arrow else ("table",):
    size = sum(path.stat().st_size for path in (folder / f"{rows}").glob(f"*.{kind}"))
    print(f"{rows:,} rows as {kind}: {size / rows:.1f} bytes a row")
print(f"{'and without any format':12}: 19 bytes a row")

# %% [markdown]
# First yours, and pandas. Your mapper reads a row group with `scan`, and gives one record for each of its pages: the
# pair (visits, milliseconds). This is a combiner within the mapper. The combiner then adds the pairs of the row groups
# of a split.


# %% tags=["demo"]
def by_page(row):
    """The mapper: (page, (visits, milliseconds)) for each page of a row group."""
    path, footer = row

    def read(offset, length):
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(length)

    found = scan(footer, read, ["page", "ms"], "page", -math.inf, math.inf)
    visits, spent = np.bincount(found["page"]), np.bincount(found["page"], weights=found["ms"])
    pages = np.flatnonzero(visits)
    return list(zip(pages.tolist(), zip(visits[pages].tolist(), spent[pages].tolist(), strict=True), strict=True))


def add_pairs(key, pairs):
    return tuple(map(sum, zip(*pairs, strict=True)))


def yours(rows):
    start = time.perf_counter()
    results, shuffled = map_reduce(by_page, add_pairs, tables[rows][1], PARTS, combiner=add_pairs)
    result = {page: pair for result in results for page, pair in result.items()}
    # A record as three numbers of 8 bytes: page, visits, milliseconds.
    return time.perf_counter() - start, result, shuffled, 24 * shuffled


def with_pandas(rows):
    start = time.perf_counter()
    frame = pandas.concat(
        pandas.read_parquet(path, columns=["page", "ms"]) for path in (folder / f"{rows}").glob("*.parquet")
    )
    grouped = frame.groupby("page")["ms"].agg(["count", "sum"])
    result = dict(zip(grouped.index, zip(grouped["count"], grouped["sum"], strict=True), strict=True))
    return time.perf_counter() - start, result, 0, 0


measured = {}  # engine: {rows: (seconds, records, bytes)}
memory = {}  # engine: {rows: bytes by which this process grew}
sums = {}  # rows: {page: milliseconds}, of the first engine


def measure(name, job, rows):
    """Run one job on one table, compare the result with the exact counts and the first engine's sums, keep what it took."""
    with device.peak_memory("cpu") as peak:
        got = job(rows)
    if got is None:  # the engine has said why
        return
    seconds, result, records, moved = got
    exact = tables[rows][0].count("page")
    spent = {int(page): int(ms) for page, (_, ms) in result.items()}
    same = len(result) == np.count_nonzero(exact) and all(exact[page] == visits for page, (visits, _) in result.items())
    same &= sums.setdefault(rows, spent) == spent
    measured.setdefault(name, {})[rows] = (seconds, records, moved)
    memory.setdefault(name, {})[rows] = peak.bytes
    print(f"{name:15} {rows:10,} rows {seconds:7.2f} s, {'as expected' if same else 'WRONG'}")


for rows in tables:
    measure("yours", yours, rows)
few = log["page"][:20_000].tolist()
start = time.perf_counter()
map_reduce(one_visit, added, [few], PARTS, combiner=added)
a_row = (time.perf_counter() - start) / len(few)
print(f"a mapper that is called for each row: {a_row * rows:.2f} s for {rows:,} rows, and nothing is read")
pandas = engines.library("pandas") if arrow else None
if pandas is not None:
    with_pandas(table_sizes[0])  # the first call loads what pandas needs
    for rows in tables:
        measure("pandas", with_pandas, rows)

# %% [markdown]
# Then Dask, with two worker processes. Its **bag** runs your mapper there, on all row groups, and adds the results in a
# tree: your mapper on a pool of processes, without your shuffle. Each partial result is an array over all 10,000 pages,
# 160,000 bytes, however many rows there are. Its **data frame** runs pandas on the Parquet files; its plan is printed.
# The workers count the bytes that they send.


# %% tags=["demo"]
def sent(client):
    """Bytes that the worker processes have sent so far."""
    return sum(client.run(lambda dask_worker: dask_worker.transfer_outgoing_bytes_total).values())


def on_dask(compute):
    """A job for `measure`: compute(rows) on the worker processes, with the bytes that they send."""

    def job(rows):
        def counted(client):
            before, start = sent(client), time.perf_counter()
            result = compute(rows)
            return time.perf_counter() - start, result, None, sent(client) - before

        return engines.run("dask", counted)

    return job


def dense(row):
    """What by_page gives, as an array (2, pages): arrays are added faster than dicts."""
    totals = np.zeros((2, 10_000))
    for page, pair in by_page(row):
        totals[:, page] = pair
    return totals


def dask_bag(rows):
    import dask.bag

    groups = [row for split in tables[rows][1] for row in split]
    visits, spent = dask.bag.from_sequence(groups, npartitions=SPLITS).map(dense).fold(np.add).compute()
    return {page: (visits[page], spent[page]) for page in np.flatnonzero(visits).tolist()}


def dask_plan(rows):
    import dask.dataframe

    frame = dask.dataframe.read_parquet(sorted((folder / f"{rows}").glob("*.parquet")), columns=["page", "ms"])
    return frame.groupby("page")["ms"].agg(["count", "sum"])


def dask_frame(rows):
    grouped = dask_plan(rows).compute()
    return dict(zip(grouped.index, zip(grouped["count"], grouped["sum"], strict=True), strict=True))


start = time.perf_counter()
jobs = {"Dask bag": dask_bag} | ({"Dask data frame": dask_frame} if pandas is not None else {})
if engines.run("dask", lambda client: True):
    print(f"Dask started in {time.perf_counter() - start:.1f} s")
    for name, compute in jobs.items():
        on_dask(compute)(table_sizes[0])  # the first call imports pandas in the workers
        for rows in tables:
            measure(name, on_dask(compute), rows)
    if pandas is not None:
        plan = dask_plan(table_sizes[0]).optimize(fuse=False).expr.tree_repr()
        print("\n".join(line[:75] for line in plan.splitlines()))

# %% [markdown]
# And Spark, with two cores. Its records and bytes come from its own status store, the counters that its web page shows:
# what the tasks wrote for other partitions to read. The plan is printed, too. Read both plans from the bottom to the
# top: a scan of two columns, a *partial* aggregation on each split (your combiner), in Spark an `Exchange` (your
# shuffle, by a hash of the page) and the final aggregation (your reducer), in Dask a tree that adds up to 8 partial
# results at a time.


# %% tags=["demo"]
def spark_frame(spark, rows):
    from pyspark.sql import functions

    # One task for each file, so that Spark has the same splits as you.
    spark.conf.set("spark.sql.files.openCostInBytes", str(1 << 30))
    spark.conf.set("spark.sql.files.maxPartitionBytes", str(1 << 30))
    spark.conf.set("spark.sql.shuffle.partitions", str(PARTS))
    visits, spent = functions.count("*").alias("visits"), functions.sum("ms").alias("ms")
    return spark.read.parquet(str(folder / f"{rows}" / "*.parquet")).groupBy("page").agg(visits, spent)


def with_spark(rows):
    def job(spark):
        start = time.perf_counter()
        result = {row["page"]: (row["visits"], row["ms"]) for row in spark_frame(spark, rows).collect()}
        seconds = time.perf_counter() - start
        moved = engines.shuffled(spark)
        return seconds, result, moved.records, moved.bytes

    return engines.run("spark", job)


def warm_up(spark):
    start = time.perf_counter()
    spark_frame(spark, table_sizes[0]).collect()
    first = time.perf_counter() - start
    engines.shuffled(spark)  # from here on it counts
    print(f"Spark started in {engines.start_seconds('spark'):.1f} s, and its first query took {first:.1f} s")
    return spark_frame(spark, table_sizes[0])._jdf.queryExecution().executedPlan().toString()


plan = engines.run("spark", warm_up) if arrow else None
if arrow is None:
    print("Spark reads Parquet files, which pyarrow writes: the cells below go on without it.")
elif plan is not None:
    print("\n".join(line[:120] for line in plan.splitlines()))

# %% tags=["demo"]
if plan is not None:
    for rows in tables:
        measure("Spark", with_spark, rows)


def with_slope(name, found):
    """The name of a curve, with the fitted slope of its seconds where there are three points."""
    slope = scaling.exponent(list(found), [seconds for seconds, _, _ in found.values()])
    return f"{name}: $m^{{{slope:.2f}}}$" if slope == slope else name


plotting.curves(
    {
        with_slope(name, found): (list(found), [taken[0] for taken in found.values()])
        for name, found in measured.items()
    },
    xlabel="visits",
    ylabel="seconds",
    title="Visits and time by page, engines started",
    logx=True,
    logy=True,
)
plt.show()
rows = table_sizes[-1]
print(f"{rows:,} visits, {SPLITS} splits, {PARTS} partitions")
print(f"{'engine':16}{'seconds':>8} {'records moved':>14} {'bytes moved':>12} {'memory here':>12}")
for name, found in measured.items():
    seconds, records, moved = found[rows]
    records, grown = "not counted" if records is None else f"{records:,}", f"{memory[name][rows] / 2**20:.0f} MB"
    print(f"{name:16}{seconds:8.2f} {records:>14} {moved:12,} {grown:>12}")
if "Spark" in measured:
    print(f"Spark's records before compression: {36 * measured['Spark'][rows][1]:,} bytes")

# %% [markdown]
# **How to read the bytes.** Yours and Spark's count the same records, one for each page of each split, so the two
# numbers are equal. The bytes differ for the same records. Yours counts three numbers of 8 bytes. Spark counts what its
# tasks wrote to disk. There each record is an *UnsafeRow*: 4 bytes for the length of the row, 8 bytes whose bits mark
# missing values, and 8 bytes each for the key, the count and the sum. These are 36 bytes; then blocks of rows are
# compressed. So compare records first, and say how bytes were counted when you compare them. Dask's bytes are
# another thing again: what a worker process sent to another or to your notebook, messages about the work included. A
# partial result that stays in its process crosses nothing, and sometimes a worker sends whole splits to the other: then
# the data frame's bytes are many times as many. pandas is one process: nothing crosses.
#
# **Who wins, and why.** Look at the left end first: with few rows, the seconds are what an engine takes to plan a job
# and to send tasks to processes. That is longest in Spark, whose plan becomes a compiled program. Further to the right
# the rows count. pandas reads two columns and groups them in compiled code, in one process, and shuffles nothing. Yours
# grows slowly: most of its time goes into the records of its mapper, and a row group has at most 10,000 of them, one
# for each page. So yours may even be faster than pandas at the right end, for reasons that have little to do with
# engines. Your file holds plain numbers, and a Parquet file must be decompressed and decoded, but takes fewer bytes;
# here all files are in the memory of the operating system, and on a slow disk or a network the smaller file would win.
# And page numbers are small integers, so `np.bincount` counts them without a hash table. The line "a mapper that is
# called for each row" shows what your engine costs if it is used as in the textbook: some steps of Python for every
# row. With few rows a row group has nearly as many pages as rows, and blocks gain nothing; look at the largest table.
# Work on blocks of rows is what all these engines do inside.
#
# pandas needs all rows in memory. Yours holds a row group and one record for each page and split (the last column of
# the table above; the memory of Dask and Spark is in other processes), and the shuffle of all three does not grow with
# the rows: it has $\sum_s d_s$ records, at most $S \cdot D$. So on one machine take pandas as long as the table fits.
# Spark's start and plans pay when there are many machines to keep busy.
#
# Now the skewed join, with as many peers. Each visit meets the row of its user, and one user has about 60 % of the
# visits. Everybody reads both tables from disk and counts the visits that have found their user. Yours and "by hash"
# divide the tables over eight partitions and join them one after the other in this process; the bytes are those of the
# rows that a partition gets, 16 for each. Spark runs with adaptive execution off and on. It writes the shuffle by hash
# in both cases. With adaptive execution it then looks at the sizes of the partitions, cuts large ones into pieces, and
# joins each piece with a copy of its other side: yours divides a key before the shuffle, Spark divides a partition
# after it. (It does so for partitions above 256 MB by default; the threshold is lowered here. And Spark would send a
# right table of up to 10 MB to every task, so that neither table is shuffled. This broadcast join is switched off.)


# %% tags=["demo"]
rows = demo_size(full=2_000_000, small=50_000)
left, right = with_users(rows, skew=2.0)
measured_join = {}  # name: (seconds, bytes moved, visits of each task)
(folder / "join").mkdir()
np.save(folder / "join" / "left.npy", left)
np.save(folder / "join" / "right.npy", right)
for side, table in (("left", left), ("right", right)) if arrow else ():
    (folder / side).mkdir()
    for i, split in enumerate(np.array_split(table, SPLITS)):
        columns = {"user": split[:, 0], f"{side}_row": split[:, 1]}
        arrow.write_table(pyarrow.table(columns), folder / side / f"{i}.parquet")


def compare(name, found, seconds, moved, load):
    """Keep what a join took; every visit has a user, so all must be found."""
    measured_join[name] = (seconds, moved, load)
    print(f"{name:20} {found:,} of {rows:,} visits have found their user{'' if found == rows else ': WRONG'}")


def divided_and_joined(divide):
    """(visits that found their user, seconds, bytes moved, visits of each partition)."""
    start = time.perf_counter()
    pairs = divide(np.load(folder / "join" / "left.npy"), np.load(folder / "join" / "right.npy"), PARTS)
    found = 0
    for ours, theirs in pairs:
        order = np.argsort(theirs[:, 0])
        at = np.searchsorted(theirs[order, 0], ours[:, 0])
        found += int((theirs[order[at], 0] == ours[:, 0]).sum()) if len(theirs) else 0
    seconds = time.perf_counter() - start
    return found, seconds, 16 * int(loads(pairs).sum()), [len(ours) for ours, _ in pairs]


def merged_by_dask(client):
    import dask.dataframe

    sides = [dask.dataframe.read_parquet(sorted((folder / side).glob("*"))) for side in ("left", "right")]
    start = time.perf_counter()
    found = len(sides[0].merge(sides[1], on="user", broadcast=False))
    return found, time.perf_counter() - start, None, None  # its counter of bytes leaves shuffles out


compare("by hash", *divided_and_joined(by_hash))
compare("yours", *divided_and_joined(skew_join))
if pandas is not None:
    start = time.perf_counter()
    sides = [pandas.read_parquet(folder / side) for side in ("left", "right")]
    found = len(sides[0].merge(sides[1], on="user"))
    compare("pandas", found, time.perf_counter() - start, 0, [found])
    if job := engines.run("dask", merged_by_dask):
        compare("Dask data frame", *job)


# %% tags=["demo"]
def adaptive(on):
    """A job for Spark, with adaptive execution on or off: as above, and the plan that was run in the end."""

    def job(spark):
        from pyspark.sql import functions

        settings = {
            "spark.sql.adaptive.enabled": str(on).lower(),
            "spark.sql.autoBroadcastJoinThreshold": "-1",
            "spark.sql.adaptive.autoBroadcastJoinThreshold": "-1",
            "spark.sql.adaptive.coalescePartitions.enabled": "false",
            "spark.sql.adaptive.advisoryPartitionSizeInBytes": str(rows // 10),
            "spark.sql.adaptive.skewJoin.skewedPartitionThresholdInBytes": str(rows // 10),
            "spark.sql.adaptive.skewJoin.skewedPartitionFactor": "2",
            "spark.sql.shuffle.partitions": str(PARTS),
        }
        for key, value in settings.items():
            spark.conf.set(key, value)
        visits, users = (spark.read.parquet(str(folder / side / "*.parquet")) for side in ("left", "right"))
        start = time.perf_counter()
        counted = visits.join(users, "user").groupBy(functions.spark_partition_id()).count()
        load = [row["count"] for row in counted.collect()]
        seconds = time.perf_counter() - start
        return sum(load), seconds, load, counted._jdf.queryExecution().executedPlan().toString()

    return job


if plan is not None:
    engines.run("spark", adaptive(False))  # the first join is compiled
    engines.run("spark", engines.shuffled)
    plan_at_the_end = ""
    for name, on in {"Spark, adaptive off": False, "Spark, adaptive on": True}.items():
        if (job := engines.run("spark", adaptive(on))) and (moved := engines.run("spark", engines.shuffled)):
            found, seconds, load, plan_at_the_end = job
            compare(name, found, seconds, moved.bytes, load)
    lines = plan_at_the_end.partition("Initial Plan")[0].splitlines()
    print("The last plan, as it was run in the end:")
    print("\n".join(line[:75] for line in lines if "Join" in line or "Exchange" in line or "AQE" in line))
ax = plt.subplots(figsize=(7, 4))[1]
print(f"{'join':20}{'seconds':>8} {'bytes moved':>12} {'tasks':>6} {'largest':>8} {'gain at most':>13}")
for i, (name, (seconds, moved, load)) in enumerate(measured_join.items()):
    moved = "not counted" if moved is None else f"{moved:,}"
    load = np.sort(load or [])[::-1]
    shown = f"{len(load):6} {100 * load[0] / load.sum():7.0f}% {load.sum() / load[0]:13.1f}" if len(load) else "     ?"
    print(f"{name:20}{seconds:8.2f} {moved:>12} {shown}")
    if len(load) > 1:
        ax.plot(np.arange(len(load)) + 1, load, plotting.MARKERS[i], color=plotting.COLOURS[i], label=name)
ax.set(title="How many visits each task joins", xlabel="task, largest first", ylabel="visits")
ax.set_ylim(0, None)
ax.legend()
plt.show()

# %% [markdown]
# **How to read it.** The last column is what counts: all visits over those of the largest task. This is the most that
# any number of machines can gain. By hash it stays below 2. With the cure, yours or Spark's, it is several times as
# large. The cure costs next to nothing on the wire: a few copied rows. (Spark moves fewer bytes than you, because it
# reads the one column that the count needs, and compresses. Dask does not tell the tasks of its shuffle.) On two cores
# you may see little of the cure in the seconds, since two cores can gain a factor of 2 at most, and adaptive execution
# pays for more tasks and for planning again. On 100 machines, "by hash" means that one machine works and 99 wait. As
# long as both tables fit into one machine, arrays or pandas win: they move nothing.
#
# In the plan, `AQEShuffleRead` is where the partitions are divided, and the join says `skew=true`.
#
# **Where it breaks.** A frequent key on both sides (15.5). A reducer that needs all values of one key in one place,
# such as an exact median or the number of distinct users: there a key cannot be divided, unless the values have a
# summary that merges. Such summaries are module 16. And a machine that dies, or is slow: module 18.

# %% tags=["demo"]
engines.stop()

# %% [markdown] written="distinct_users" points=2
# **Written question (2 points).** 10 TB of visits, 500 billion rows of 20 bytes, lie on 100 nodes. There are 2 billion
# users and 200 countries; a user may appear in several countries, and one country has 30 % of all visits. Wanted: the
# number of different users in each country, exactly. (a) Give a plan: mapper, key of the shuffle, combiner, reducer. If
# you need two jobs, say so. (b) How many records and bytes are shuffled, at most? Assume 10,000 splits, each with 5
# million different (country, user) pairs, and 12 bytes a record. (c) A colleague shuffles by country alone. Which
# partition is the slowest, and what is the most that 100 nodes can gain? (d) How does your answer to (b) change if the
# number may be wrong by 2 %? (Module 16 builds a summary of 4 KB that counts different users to 2 %, and merges.)
#
# ### BEGIN SOLUTION
# (a) Two jobs. First: the mapper gives ((country, user), nothing); the combiner drops repeats within a split; the key
# of the shuffle is the pair (country, user), so that all copies of a pair meet; the reducer gives (country, 1) for each
# different pair. Second: add up by country, with a sum as combiner: at most 200 records from each partition. Both
# columns alone are read, 9 of 20 bytes or fewer. (b) First job: 10,000 · 5 million = 5 · 10^10 records, ten times fewer
# than visits; 12 bytes each are 600 GB, 6 GB a node. Second: at most 200 times the number of partitions, which is
# negligible. (c) The partition of the largest country: it gets 30 % of the records (of the pairs, if pairs are as
# skewed as visits), so 100 nodes gain 1 / 0.3, about 3.3, and its reducer must hold the set of all users of that
# country. By pairs, no key is frequent. (d) A sketch such as HyperLogLog for each country: 10,000 splits times 200
# countries times some kilobytes (2 to 4 KB for 2 %) are 4 to 8 GB in all, and one job is enough: sketches merge.
#
# ### RUBRIC
# - 0.5: (a) The shuffle is by the pair (country, user), repeats are dropped in the splits, and a second job (or step)
#   counts by country.
# - 0.5: (b) 5 · 10^10 records and about 600 GB for the first job; the second is negligible.
# - 0.5: (c) The country with 30 % of the visits is one partition, so the gain is at most about 3.
# - 0.5: (d) A summary that merges, such as HyperLogLog, of a few kilobytes for each split and country: some gigabytes.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. A row group of Parquet may also carry a Bloom filter for each column (module 16). For which of the five queries in
#    15.2 would it help, and how large must it be?
# 2. Two columns are queried equally often. A *space-filling curve* orders the table by both at once. What do the
#    statistics of each column lose against sorting by it alone?
# 3. A combiner needs memory for its keys. What should it do when they do not fit: write, evict, or give up? How do you
#    see that giving up is better?
# 4. Delay scheduling waits for a local slot. How long is best if tasks take $T$ seconds, a remote one 30 % longer, and
#    slots become free at random?
# 5. The lineage of a data set grows with every step. When is it cheaper to store a copy than to be able to compute it
#    again?
#
# References:
#
# - S. Ghemawat, H. Gobioff and S.-T. Leung, "The Google file system", *SOSP*, 2003. Blocks, replicas, one master.
# - J. Dean and S. Ghemawat, "MapReduce: simplified data processing on large clusters", *OSDI*, 2004. Short, and still
#   the best introduction.
# - K. Shvachko, H. Kuang, S. Radia and R. Chansler, "The Hadoop distributed file system", *MSST*, 2010. The placement
#   of 15.8 with its reasons.
# - V. K. Vavilapalli and others, "Apache Hadoop YARN: yet another resource negotiator", *SoCC*, 2013. Why the master
#   was divided.
# - A. Pavlo and others, "A comparison of approaches to large-scale data analysis", *SIGMOD*, 2009. MapReduce against
#   databases, measured. Before it: D. J. DeWitt and M. Stonebraker, "MapReduce: a major step backwards", *The Database
#   Column* (a blog), 2008.
# - M. Zaharia and others, "Delay scheduling: a simple technique for achieving locality and fairness in cluster
#   scheduling", *EuroSys*, 2010.
# - M. Zaharia, M. Chowdhury, M. J. Franklin, S. Shenker and I. Stoica, "Spark: cluster computing with working sets",
#   *HotCloud*, 2010; M. Zaharia and others, "Resilient distributed datasets: a fault-tolerant abstraction for in-memory
#   cluster computing", *NSDI*, 2012. Lineage in place of replicas.
# - M. Armbrust and others, "Spark SQL: relational data processing in Spark", *SIGMOD*, 2015. Data frames and the
#   planner.
# - S. Melnik and others, "Dremel: interactive analysis of web-scale datasets", *VLDB*, 2010. Columns for nested
#   records: where Parquet comes from.
# - D. J. Abadi, S. R. Madden and N. Hachem, "Column-stores vs. row-stores: how different are they really?", *SIGMOD*,
#   2008.
# - D. J. DeWitt, J. F. Naughton, D. A. Schneider and S. Seshadri, "Practical skew handling in parallel joins", *VLDB*,
#   1992. 15.5, and more.
# - A. Aggarwal and J. S. Vitter, "The input/output complexity of sorting and related problems", *Communications of the
#   ACM*, 1988. How few passes
#   are possible.
# - C. Berge, "Two theorems in graph theory", *PNAS*, 1957. Augmenting paths.
# - M. Rocklin, "Dask: parallel computation with blocked algorithms and task scheduling", *SciPy*, 2015.
#
# At work: Parquet through `pyarrow` or an engine, never CSV; one machine with pandas (or Polars, DuckDB) as long as the
# data fit; Dask where the program is Python and arrays; Spark where tables are large and shared, with `explain()`
# before and the stage page after each slow job.
