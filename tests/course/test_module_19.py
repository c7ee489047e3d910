"""The scale section of module 19: beside implicit, faiss and a live Spark, whose answers are compared with the
student's own, and without any of them."""

import importlib.util
import json
import os
import shutil

import pytest
from nbformat.v4 import new_code_cell

from autograder import curriculum
from autograder.authoring.release import solved_notebook

MODULE = curriculum.load("19_recommenders")
# What the scale section takes from demos above it: the clicks, the recommenders, ALS scores, lists, the graph.
NEEDED = (
    "events = datasets.interactions",
    "last_fifth = ",
    "def implicit_objective",
    "class Towers",
    "def near_and_far",
)
TRAINING = "class Towers"  # of this cell, only the function that makes lists is needed
REPORT = """
import json
dots = [[name, n, setting, recall] for (name, n), some in contest.items() for setting, recall, _ in some]
print(json.dumps({
    "agree": {name: value for (name, _), value in agree.items()},
    "programs": sorted({name for name, _ in sweep_seconds}),
    "dots": dots,
    "merges": [[name, sent, equal] for (name, sent), equal in merges_exactly.items()],
    "plain": plain, "weighted": weighted, "liked": liked,
}))
"""
MISSING = ("faiss", "implicit", "pyspark")
GOES_ON = ": this cell goes on without it."


def scale_section(first):
    """The notebook of the setup, the answers and the scale section; it prints what it has measured."""
    notebook = solved_notebook(MODULE)
    start = next(i for i, cell in enumerate(notebook.cells) if "## Scale it" in cell.source)
    cells = []
    for i, cell in enumerate(notebook.cells):
        role = cell.metadata["lsml"]["role"] if cell.cell_type == "code" else ""
        if role in ("setup", "exercise") or (
            role == "demo" and (i > start or any(text in cell.source for text in NEEDED))
        ):
            if TRAINING in cell.source:
                source = cell.source
                begin = source.index("def list_of_ten")
                cell.source = source[begin : source.index("\n\n\n", begin)]
            cells.append(cell)
    notebook.cells = [new_code_cell(first), *cells, new_code_cell(REPORT)]
    return notebook


def measured(execute, monkeypatch, first=""):
    """What the scale section has measured at its small size, and everything that it printed."""
    monkeypatch.setenv("LSML_DEMO", "small")
    notebook = scale_section(first)
    execute(notebook, seconds_a_cell=120)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    texts = ["".join(output.get("text", "") for output in cell.get("outputs", [])) for cell in notebook.cells]
    return json.loads(texts[-1]), "".join(texts[:-1])


def lacks():
    missing = [name for name in ("faiss", "implicit", "pyspark") if importlib.util.find_spec(name) is None]
    return missing if shutil.which("java") or os.environ.get("JAVA_HOME") else [*missing, "Java"]


def holds_of_yours(found):
    """What is claimed of the student's own functions, whatever is installed."""
    by_setting = {(name, n, setting): recall for name, n, setting, recall in found["dots"]}
    assert all(recall == 1 for (name, _, _), recall in by_setting.items() if name.startswith("exact"))
    for name in ("IVF, yours", "PQ, yours", "graph, yours"):
        sizes = {n for other, n, _ in by_setting if other == name}
        assert sizes >= {1000, 2000}
        for n in sizes:
            curve = [recall for (other, size, _), recall in sorted(by_setting.items()) if (other, size) == (name, n)]
            assert curve == sorted(curve) and curve[-1] >= 0.9
    assert {(name, equal) for name, sent, equal in found["merges"] if sent == 10} == {("exact", True), ("codes", True)}
    assert {(name, equal) for name, sent, equal in found["merges"] if sent < 10} == {("exact", False), ("codes", False)}
    # The offline number prefers popularity to taste, and both the truth and the weighted number disagree.
    assert found["plain"]["popularity"] > 2 * found["plain"]["true taste"]
    assert found["liked"]["popularity"] < 0.7 * found["liked"]["true taste"]
    assert max(found["weighted"], key=found["weighted"].get) == "true taste"


@pytest.mark.skipif(bool(lacks()), reason=f"needs {', '.join(lacks())} (make setup EXTRAS='search spark')")
def test_the_libraries_solve_the_same_equations(execute, monkeypatch):
    """implicit and Spark agree with the student's half-steps, and faiss has the recall of the student's indexes.

    Where the machine stops Spark, it says so in one line, and all else holds.
    """
    found, printed = measured(execute, monkeypatch)
    holds_of_yours(found)
    ended = [line for line in printed.splitlines() if line.startswith("Spark ") and line.endswith(GOES_ON)]
    assert len(ended) <= 1
    assert found["programs"] == ["Spark"] * (not ended) + ["implicit", "yours"]
    assert found["agree"]["implicit"] < 1e-9
    recalls = {(name, n, setting): recall for name, n, setting, recall in found["dots"]}
    faiss = {name for name, _, _ in recalls if "faiss" in name}
    assert faiss == {f"{name}, faiss" for name in ("exact", "IVF", "PQ", "IVF and PQ", "HNSW")}
    for n in (1000, 2000, 3000):
        for kind, settings in (("IVF", (1, 4, 16)), ("PQ", (10, 100))):
            for setting in settings:  # two k-means runs of the same size; 20 to 100 queries
                assert abs(recalls[f"{kind}, yours", n, setting] - recalls[f"{kind}, faiss", n, setting]) < 0.15
        assert recalls["HNSW, faiss", n, 160] >= 0.9
    if ended:
        pytest.skip(ended[0])
    assert found["agree"]["Spark"] < 1e-3


def test_scale_section_without_engines(execute, monkeypatch):
    """Without faiss, implicit and Spark, one line says what each is and how to get it, and the cells go on."""
    found, printed = measured(execute, monkeypatch, f"import sys\nsys.modules.update(dict.fromkeys({MISSING!r}))")
    holds_of_yours(found)
    assert found["programs"] == ["yours"] and not found["agree"]
    for package in ("faiss", "implicit", "pyspark"):
        said = [line for line in printed.splitlines() if package in line and "make setup" in line]
        assert len(said) == 1 and said[0].endswith("this cell goes on without it.")
