"""What module 23 says of its trainings and of its scale section, at a small size; what is not installed is skipped."""

import json
from importlib.util import find_spec

import nbclient
import pytest
from nbformat.v4 import new_code_cell

from autograder import curriculum
from autograder.authoring.release import solved_notebook

MODULE = curriculum.load("23_multimodal_speech")
# The demo cells whose results are looked at (and those that they need), and what is kept of them.
NEEDED = {
    "train = datasets.commands(": "",
    "def train_epochs(": "",
    "later_losses = ": "fallen = [first_losses[0], later_losses[-1], phone_error]",
    "scenes = datasets.captions(": "",
    "class Picture(": "",
    "usual_score, strange_score": "scores = [losses[0], losses[-1], usual_score]",
    "librosa = engines.library(": "",
    "ctc_gaps = [], []": "",
    "agreement = {": "kept_bytes = list(memory.values())",
    "separate batches of": "cosines = [float(row[-1]) for row in rows]",
    "gather_matches": "",
}
REPORT = """
import json
print(json.dumps({
    "fallen": fallen,
    "scores": scores,
    "features": feature_gaps,
    "ctc": max(ctc_gaps),
    "agreement": max(agreement),
    "kept": kept_bytes,
    "cosines": cosines,
    "gather": gather_matches,
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    """The setup, the answers and these cells in a kernel, at the small size; what they found."""
    notebook, kept = solved_notebook(MODULE), []
    for cell in notebook.cells:
        role = cell.metadata["lsml"]["role"] if cell.cell_type == "code" else ""
        needed = [text for text in NEEDED if role == "demo" and text in cell.source]
        if role in ("setup", "exercise") or needed:
            kept += [cell, *(new_code_cell(NEEDED[text]) for text in needed if NEEDED[text])]
    assert sum(cell.cell_type == "code" and any(text in cell.source for text in NEEDED) for cell in kept) >= len(NEEDED)
    notebook.cells = [*kept, new_code_cell(REPORT)]
    folder = {"metadata": {"path": str(tmp_path_factory.mktemp("module_23"))}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSML_DEMO", "small")
        nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=folder).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    return json.loads(notebook.cells[-1].outputs[0].text)


def test_trainings_learn_even_at_the_small_size(found):
    first, last, phone_error = found["fallen"]
    assert last < first / 10 and phone_error < 0.25  # 7% where it was tried
    first, last, named = found["scores"]
    assert last < first and named > 0.1  # ten times a guess


def test_scipy_has_the_same_features(found):
    assert found["features"]["scipy"] < 1e-9


@pytest.mark.skipif(find_spec("librosa") is None, reason="librosa is not installed: pip install 'lsml[speech]'")
def test_librosa_has_the_same_features(found):
    assert found["features"]["librosa"] < 1e-4


def test_torch_has_the_same_ctc_gradients(found):
    assert found["ctc"] < 1e-9


def test_chunks_give_the_gradient_of_the_whole_batch_in_less_memory(found):
    assert found["agreement"] < 1e-3
    whole, chunks = found["kept"]
    assert whole[-1] > 3 * whole[0] and chunks[-1] < 1.2 * chunks[0]


def test_small_batches_have_another_gradient(found):
    _, exact, separate = found["cosines"]
    assert exact > 0.999 > separate


def test_the_ring_sends_what_the_formula_says(found):
    assert found["gather"] and all(found["gather"])
