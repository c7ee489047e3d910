"""What module 26 says of its figures and of its scale section, at a small size; peers run, since there is no work/."""

import json

import nbclient
import pytest
from nbformat.v4 import new_code_cell

from autograder import curriculum
from autograder.authoring.release import solved_notebook

MODULE = curriculum.load("26_capstone")
# The demo cells whose results are looked at, and those that they need.
NEEDED = (
    "desk = datasets.tickets(",
    "= desk.export()",
    "def with_history(",
    "chosen, _ = cheapest_threshold(",
    "trainers = {",
    "curves[name] = learning_curve(",
    "costs = {name: cost_curve(",
    "ladder, kept, vote",
    "took, said = {",
)
REPORT = """
import json
print(json.dumps({
    "findings": findings,
    "faults": FAULTS,
    "random": estimates["random rows"],
    "split": estimates["your split"],
    "came": estimates["what came"],
    "rules": {name: float(mean_cost(t, ~first)) for name, t in rules.items()},
    "losses": {line[0]: line[1] for line in first_lines},
    "least": float(least_loss),
    "floors": {name: [found["a"], *found["interval"], found["c"]] for name, found in curves.items()},
    "powers": {name: found["power"] for name, found in costs.items()},
    "board": [float(by_plain[-1]), float(final_error), len(kept)],
    "took": took,
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    """The setup, the answers and these cells in a kernel, at the small size; what they found."""
    notebook, kept, seen = solved_notebook(MODULE), [], set()
    for cell in notebook.cells:
        role = cell.metadata["lsml"]["role"] if cell.cell_type == "code" else ""
        needed = [text for text in NEEDED if role == "demo" and text in cell.source]
        if role in ("setup", "exercise") or needed:
            kept.append(cell)
            seen |= set(needed)
            if "trainers = {" in needed:
                kept.append(new_code_cell("first_lines = [(line[0], line[1]) for line in lines]"))
    assert seen == set(NEEDED)
    notebook.cells = [*kept, new_code_cell(REPORT)]
    folder = {"metadata": {"path": str(tmp_path_factory.mktemp("module_26"))}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSML_DEMO", "small")
        nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=folder).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    return json.loads(notebook.cells[-1].outputs[0].text)


def test_the_audit_finds_what_is_planted_and_nothing_else(found):
    assert dict(found["findings"]) == found["faults"]


def test_no_estimate_is_far_below_the_least_possible_loss_but_that_of_random_rows(found):
    """Random rows share customers with train, so the hidden trait helps there, and only there."""
    (split, split_std), (came, came_std) = found["split"], found["came"]
    assert split > -4 * split_std and came > -4 * came_std
    assert abs(split - came) < 5 * (split_std + came_std)


def test_a_chosen_threshold_costs_less_than_no_model(found):
    rules = found["rules"]
    assert max(rules["yours"], rules["1/4"]) < min(rules["always"], rules["never"])


def test_words_help_and_nobody_beats_the_law(found):
    losses = found["losses"]
    assert min(losses.values()) > found["least"] - 0.02
    assert min(losses[name] for name in losses if name != "base rate") < losses["base rate"]


def test_curves_keep_to_their_limits(found):
    for a, low, high, c in found["floors"].values():
        assert low <= a <= high and 0.1 <= c <= 2
    assert all(0.5 <= power <= 3 for power in found["powers"].values())


def test_a_plain_board_leaks_and_the_ladder_does_not(found):
    plain, ladder, kept = found["board"]
    assert plain < 0.42 < 0.43 < ladder and kept <= 6


def test_every_peer_is_measured_at_every_size(found):
    assert {len(seconds) for seconds in found["took"].values()} == {4}
