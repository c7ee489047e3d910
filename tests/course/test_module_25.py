"""What module 25 says of the rivals and of its scale section, at a small size; what is not installed is skipped."""

import json
from importlib.util import find_spec

import nbclient
import pytest
from nbformat.v4 import new_code_cell

from autograder import curriculum
from autograder.authoring.release import solved_notebook

MODULE = curriculum.load("25_quantum_annealing")
# The demo cells whose results are looked at (and those that they need).
NEEDED = (
    "wine = datasets.wine()",
    "system = datasets.frustrated_loops(",
    "def blocks(",
    "def random_circuit(",
    "landscape = np.array(",
    "one_layer = [",
    "shares = {",
    "per_gate = {",
    "def brute_force(",
)
REPORT = """
import json
print(json.dumps({
    "chosen": chosen.tolist(),
    "repeat": [
        float(np.sum(np.triu(correlation[np.ix_(columns, columns)], 1))) for columns in (chosen, top)
    ],
    "excess": excess,
    "reached": {name: [float(share) for share in values] for name, values in reached.items()},
    "aer": aer_gap,
    "ratios": ratios,
    "one_layer": max(one_layer),
    "shares": list(shares.values()),
    "shots_slope": float(slope),
    "tts": {name: sorted(points.items()) for name, points in tts.items()},
    "shots": sorted(shots_needed.items()),
    "maximum": [maximum, brute_force(graph.edges, 10)],
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    """The setup, the answers and these cells in a kernel, at the small size; what they found."""
    notebook, kept = solved_notebook(MODULE), []
    for cell in notebook.cells:
        role = cell.metadata["lsml"]["role"] if cell.cell_type == "code" else ""
        if role in ("setup", "exercise") or (role == "demo" and any(text in cell.source for text in NEEDED)):
            kept.append(cell)
    assert sum(any(text in cell.source for text in NEEDED) for cell in kept) == len(NEEDED)
    notebook.cells = [*kept, new_code_cell(REPORT)]
    folder = {"metadata": {"path": str(tmp_path_factory.mktemp("module_25"))}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSML_DEMO", "small")
        nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=folder).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    return json.loads(notebook.cells[-1].outputs[0].text)


def test_the_selection_has_five_columns_that_repeat_each_other_less(found):
    assert len(found["chosen"]) == 5
    ours, most_relevant = found["repeat"]
    assert ours < most_relevant


def test_cooling_and_tempering_pay(found):
    """Seeded, so the same on every machine up to rounding."""
    cooled, cold = found["excess"]["cooled"], found["excess"]["cold from the start"]
    assert 0 <= cooled[-1] < cold[-1]
    assert found["reached"]["tempering"][-1] >= found["reached"]["annealing"][-1]


@pytest.mark.skipif(
    find_spec("qiskit_aer") is None, reason="Aer is not installed: pip install 'lsml[quantum-circuits]'"
)
def test_aer_agrees(found):
    assert found["aer"] < 1e-12


def test_the_first_layer_equals_the_state_and_depth_helps(found):
    assert found["one_layer"] < 1e-10
    assert found["ratios"] == sorted(found["ratios"]) and found["ratios"][-1] < 1
    assert found["maximum"][0] == found["maximum"][1]


def test_rivals_stand_in_their_order(found):
    """A random colouring, one layer, rounding, and the bound above all cuts; one layer has its 0.6925."""
    blind, one_layer, rounding, annealing, bound = found["shares"]
    assert blind < one_layer < rounding < bound and one_layer < annealing < bound
    assert one_layer == pytest.approx(0.6925, abs=0.01)  # a few triangles


def test_the_error_falls_with_the_root_of_the_shots(found):
    assert found["shots_slope"] == pytest.approx(-0.5, abs=0.15)


def test_every_method_has_its_time_to_solution(found):
    """Each curve has a positive time at each of its sizes, and a device would need some shots."""
    curves = {"brute force", "annealing", "tempering", "rounding", "QAOA, simulated"}
    curves |= {"dwave-samplers"} if find_spec("dwave") and find_spec("dimod") else set()
    assert found["tts"].keys() == curves
    for points in found["tts"].values():
        assert len(points) >= 2 and all(seconds > 0 for _, seconds in points)
    assert all(count >= 1 for _, count in found["shots"])
