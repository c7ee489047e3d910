"""The scale section of module 15: beside a live Spark, whose shuffle is compared with the student's own count, and
without any engine that must be installed."""

import importlib.util
import json
import os
import shutil

import pytest
from nbformat.v4 import new_code_cell

from autograder import curriculum
from autograder.authoring.release import solved_notebook

MODULE = curriculum.load("15_data_engines")
# What the scale section takes from demos above it: the log and the folder, a mapper, the tables of a join.
NEEDED = ("log = datasets.visits", "class Counting", "def one_visit", "def with_users")
REPORT = """
import json
tasks = {name: [int(visits) for visits in load or []] for name, (_, _, load) in measured_join.items()}
moved = {name: moved for name, (_, moved, _) in measured_join.items()}
print(json.dumps({"measured": measured, "tasks": tasks, "moved": moved, "plan": plan}))
"""
MISSING = ("pandas", "pyarrow", "pyspark")


def scale_section(first=""):
    """The notebook of the setup, the answers and the scale section; it prints what it has measured."""
    notebook = solved_notebook(MODULE)
    start = next(i for i, cell in enumerate(notebook.cells) if "## Scale it" in cell.source)
    notebook.cells = [
        cell
        for i, cell in enumerate(notebook.cells)
        if cell.cell_type == "code"
        and (
            cell.metadata["lsml"]["role"] in ("setup", "exercise")
            or (cell.metadata["lsml"]["role"] == "demo" and (i > start or any(text in cell.source for text in NEEDED)))
        )
    ]
    notebook.cells = [new_code_cell(first), *notebook.cells, new_code_cell(REPORT)]
    return notebook


def measured(execute, monkeypatch, first=""):
    """What the scale section has measured at its small size, and everything that it printed."""
    monkeypatch.setenv("LSML_DEMO", "small")
    notebook = scale_section(first)
    execute(notebook, seconds_a_cell=120)
    texts = ["".join(output.get("text", "") for output in cell.get("outputs", [])) for cell in notebook.cells]
    assert not [o for cell in notebook.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]
    return json.loads(texts[-1]), "".join(texts[:-1])


def without(packages):
    """A cell after which these packages do not import."""
    return f"import sys\nsys.modules.update(dict.fromkeys({packages!r}))"


def lacks():
    missing = [name for name in ("pandas", "pyarrow", "pyspark") if importlib.util.find_spec(name) is None]
    return missing if shutil.which("java") or os.environ.get("JAVA_HOME") else [*missing, "Java"]


@pytest.mark.skipif(bool(lacks()), reason=f"needs {', '.join(lacks())} (make setup EXTRAS='data spark')")
def test_spark_shuffles_what_the_student_counts(execute, monkeypatch):
    """Spark's own counters: as many records as the student's combiners leave; every engine has the exact totals."""
    found, printed = measured(execute, monkeypatch)
    assert "WRONG" not in printed and {"yours", "pandas", "Dask bag", "Dask data frame", "Spark"} == set(
        found["measured"]
    )
    for rows, (_, records, moved) in found["measured"]["Spark"].items():
        assert records == found["measured"]["yours"][rows][1] > 0
        # An UnsafeRow of a page, a count and a sum, before compression: its length, null bits and three words.
        assert 4 * records <= moved <= (4 + 8 + 3 * 8) * records
    for part in ("Exchange hashpartitioning(page", "partial_count(1)", "FileScan parquet [page", "HashAggregate"):
        assert part in found["plan"]
    tasks = {name: load for name, load in found["tasks"].items() if load}
    assert set(found["tasks"]) - set(tasks) == {"Dask data frame"}
    assert len({sum(load) for load in tasks.values()}) == 1
    hashed, cured, off, on = (tasks[name] for name in ("by hash", "yours", "Spark, adaptive off", "Spark, adaptive on"))
    assert max(hashed) > 0.6 * sum(hashed) and max(off) > 0.6 * sum(off)
    assert max(cured) <= 2 * sum(cured) / len(cured) and max(on) < 0.4 * sum(on)
    assert "SortMergeJoin(skew=true)" in printed
    assert 0 < found["moved"]["yours"] - found["moved"]["by hash"] < 16 * 20 * 8 * 8  # the copies of frequent keys
    assert 0 < found["moved"]["Spark, adaptive on"] < found["moved"]["by hash"]


def test_scale_section_without_engines(execute, monkeypatch):
    """Without pandas, Arrow and Spark, one line says what is missing, and yours runs beside Dask's bag."""
    found, printed = measured(execute, monkeypatch, without(MISSING))
    assert set(found["measured"]) == {"yours", "Dask bag"} and "WRONG" not in printed
    said = [line for line in printed.splitlines() if "pyarrow" in line]
    assert len(said) == 2 and "Spark" in said[1]
    assert set(found["tasks"]) == {"by hash", "yours"}
