"""What module 22 says of the libraries and of its scale section, at a small size; what is not installed is skipped."""

import json
from importlib.util import find_spec

import nbclient
import pytest
from nbformat.v4 import new_code_cell

from autograder import curriculum
from autograder.authoring.release import solved_notebook

MODULE = curriculum.load("22_interpretability_fairness")
# The demo cells whose results are looked at (and those that they need), and what is kept of them.
NEEDED = {
    "data = datasets.loans(": "",
    "their_permutation_importance(": "importance = [float(gap), float(std.max())]",
    "their_partial_dependence(forest": "dependence = float(np.abs(mine - theirs['average'][0]).max())",
    "def as_arrays(": "tree_gaps = {who: [float(g) for g in gap] for who, gap in gaps.items()}",
    "def gradient_of(": "step_gaps = {name.split(', ')[-1]: [float(g) for g in gap] for name, gap in gaps.items()}",
    "linear = LogisticRegression(": "identity = float(np.abs(implied - rates['fpr']).max())",
    "def forest_of(": "",
    "datasets.loans_chunks(": "",
    "of_paper = LogisticRegression(": "on_paper_alone = [[line[0], line[1], *line[3].split(' to ')] for line in lines]",
    "class Scores(": "",
}
REPORT = """
import json
print(json.dumps({
    "trees": tree_gaps,
    "steps": step_gaps,
    "importance": importance,
    "dependence": dependence,
    "identity": identity,
    "disagree": float(max(disagree)),
    "merged": [float(np.abs(merged[key] - one_pass[key]).max()) for key in merged],
    "averaged": [float(np.abs(mean_of_rates[key] - one_pass[key]).max()) for key in merged],
    "exact_gap": max(gaps_of_rates),
    "excess": excess,
    "paper": on_paper_alone,
    "check": check_says,
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
    folder = {"metadata": {"path": str(tmp_path_factory.mktemp("module_22"))}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSML_DEMO", "small")
        nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=folder).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    return json.loads(notebook.cells[-1].outputs[0].text)


def test_peers_that_are_always_there_agree(found):
    """scikit-learn's importances within the spread of permutations, its partial dependence and the identity exactly."""
    gap, spread = found["importance"]
    assert gap < 6 * spread and found["dependence"] < 1e-12 and found["identity"] < 1e-12


def test_attributions_add_up(found):
    assert max(found["trees"]["yours"]) < 1e-12 and found["disagree"] < 1e-12
    ours = found["steps"]["midpoints (yours)"]
    assert ours[-1] < ours[0] / 100  # slope -2 over a factor of 32 is 1024


@pytest.mark.skipif(find_spec("shap") is None, reason="shap is not installed: pip install 'lsml[explain]'")
def test_shap_misses_additivity_on_rows_in_float64(found):
    *rounded, in_float64 = found["trees"]["shap"]
    assert len(rounded) == 4 and max(rounded) < 1e-6 and in_float64 > 1e-5


@pytest.mark.skipif(find_spec("captum") is None, reason="captum is not installed: pip install 'lsml[explain]'")
def test_one_rule_of_captum_misses_completeness(found):
    trapezoid, ours = found["steps"]["riemann_trapezoid"], found["steps"]["midpoints (yours)"]
    assert trapezoid[-1] > 10 * ours[-1] and found["steps"]["gausslegendre"][-1] < ours[-1]
    assert trapezoid[-2] / trapezoid[-1] == pytest.approx(2, rel=0.2)  # like 1 / K


def test_counts_merge_and_rates_do_not(found):
    assert max(found["merged"]) < 1e-12 < 1e-5 < max(found["averaged"])


def test_a_cheap_salary_changes_the_model_and_not_the_truth(found):
    (title, change, before, after), *_ = found["paper"]
    assert title == "salary costs 1" and change.startswith("salary +") and before == after


def test_equalised_odds_are_exact(found):
    assert found["exact_gap"] < 1e-9


@pytest.mark.skipif(find_spec("fairlearn") is None, reason="fairlearn is not installed: pip install 'lsml[explain]'")
def test_no_grid_is_better_than_the_hull(found):
    excess = found["excess"]
    assert min(excess) > -1e-9 and max(excess) > 1e-5
    assert sum(excess[::3]) > sum(excess[2::3])  # grids of 10 and of 1,000
