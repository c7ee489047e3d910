"""The scale section of module 18 for real: a Dask cluster on the task graph, with a worker killed in the middle, and a
training process that is killed and resumed. Both give the same bits as without, and no process is left."""

import json
import os

import psutil
import pytest
from nbformat.v4 import new_code_cell

from autograder import curriculum
from autograder.authoring.release import solved_notebook

MODULE = curriculum.load("18_scheduling_faults")
# What the scale section takes from demos above it: the graph and its drawing.
NEEDED = ("def cholesky_tasks", "def draw_schedule")
REPORT = """
import json, psutil
attempts = {run: [[pid, list(name)] for pid, _, _, name in found[4]] for run, found in dask_runs.items()}
error = {run: float(np.abs(L - np.linalg.cholesky(A)).max()) for run, (L, *_) in dask_runs.items()}
left = [p.cmdline() for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
print(json.dumps({
    "attempts": attempts,
    "killed": {run: found[1] for run, found in dask_runs.items()},
    "same": bool(np.array_equal(*results)),
    "error": error,
    "tasks": [list(name) for name in names],
    "trained": trained,
    "weights": bool(np.array_equal(weights["whole"], weights["killed"]) and np.any(weights["whole"])),
    "expected": [restart, interval, forecast],
    "left": left,
}))
"""


@pytest.fixture(scope="module")
def scale_section():
    """The notebook of the setup, the answers and the scale section; it prints what came out."""
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
    notebook.cells.append(new_code_cell(REPORT))
    return notebook


@pytest.mark.skipif(os.name != "posix", reason="processes are killed by SIGKILL")
def test_a_killed_worker_and_a_killed_training_change_no_bit(execute, monkeypatch, scale_section):
    """Dask computes what was lost again, the trainer resumes from its checkpoint, and every process has ended."""
    monkeypatch.setenv("LSML_DEMO", "small")
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    execute(scale_section, seconds_a_cell=120)
    outputs = [output for cell in scale_section.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    texts = [output["text"] for output in outputs if output.get("name") == "stdout"]
    found, printed = json.loads(texts[-1].splitlines()[-1]), "".join(texts)
    assert "goes on without it" not in printed

    assert list(found["attempts"]) == ["nobody dies", "one worker is killed"] and found["same"]
    assert max(found["error"].values()) < 1e-9
    for attempts in found["attempts"].values():  # each task has at least one attempt that ended
        assert {tuple(name) for _, name in attempts} == set(map(tuple, found["tasks"]))
    undisturbed, disturbed = found["attempts"].values()
    assert len(undisturbed) == len(found["tasks"]) and found["killed"]["nobody dies"] is None
    killed = found["killed"]["one worker is killed"]
    assert killed in {pid for pid, _ in disturbed} and not psutil.pid_exists(killed)
    assert killed not in [pid for pid, _ in disturbed[-len(disturbed) // 4 :]]
    assert len(disturbed) > len(undisturbed)  # what the killed process held was computed again

    assert found["weights"]
    (_, _, no_kills), (_, _, kills) = found["trained"]
    assert int(no_kills) == 0 and int(kills) >= 1
    assert all(value > 0 for value in found["expected"])

    assert not [line for line in found["left"] if "resource_tracker" not in " ".join(line)]
    after = {process.pid for process in psutil.Process().children(recursive=True)} - before
    assert not [pid for pid in after if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
