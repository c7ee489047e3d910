"""Module 17: each collective runs unchanged in the simulator, under the grader and in real processes, and the scale
section's cells find what they claim beside torch.distributed."""

import json
import sys

import cloudpickle
import numpy as np
import pytest
from nbformat.v4 import new_code_cell

from autograder import curriculum
from autograder.authoring.release import solved_notebook
from autograder.grading.reference import reference_cells
from autograder.judging import on_ranks
from autograder.sandbox import open_sandbox
from autograder.submission import Submission
from lsml_utils import ranks

MODULE = curriculum.load("17_distributed_training")
SIZE = 3


@pytest.fixture(scope="module")
def answers():
    """What the cells of a student define, as a notebook's kernel would hold it."""
    space = {"__name__": "__main__"}
    for cell in reference_cells(MODULE):
        exec(compile(cell.source, cell.label, "exec"), space)
    return space


@pytest.fixture(scope="module")
def submission():
    with open_sandbox() as sandbox, Submission.load(sandbox, reference_cells(MODULE)) as loaded:
        yield loaded


def mean_gradient(theta, X, y):
    return X.T @ (X @ theta - y) / len(y)


def cases():
    """For each collective: whether it is given an all-reduce, and its arguments on each rank."""
    rng = np.random.default_rng(0)
    draw = rng.standard_normal
    units = (2, 1, 3)
    W1, b1, W2 = ([draw((4, k)) for k in units], [draw(k) for k in units], [draw((k, 2)) for k in units])
    x, b2, dy, params, theta = draw((5, 4)), draw(2), draw((5, 2)), draw(7), draw(4)
    return {
        "ring_all_reduce": (False, [(draw(10),) for _ in range(SIZE)]),
        "zero_step": (
            False,
            [(params, draw(7), draw(3), rng.uniform(1, 2, 3), 2, 0.1, (0.9, 0.99), 1e-3) for _ in range(SIZE)],
        ),
        "data_parallel_step": (
            True,
            [
                (mean_gradient, theta, draw((m, 4)), draw(m), 0.1) if m else (None, theta, draw((0, 4)), draw(0), 0.1)
                for m in (3, 0, 6)
            ],
        ),
        "clip_global_norm": (True, [(draw(k), 0.5) for k in (4, 0, 2)]),
        "parallel_mlp": (True, [(x, W1[r], b1[r], W2[r], b2, dy) for r in range(SIZE)]),
    }


def flat(result):
    """All numbers of a result, one behind the other."""
    if isinstance(result, np.ndarray):
        return result.ravel()
    parts = [result[key] for key in sorted(result)] if isinstance(result, dict) else result
    return np.concatenate([flat(part) for part in parts])


def programs(answers):
    """Each collective as a program of `comm` alone, with the student's own ring where it needs an all-reduce."""

    def program(name, reduces, arguments):
        function, ring = answers[name], [answers["ring_all_reduce"]] * reduces
        return lambda comm: function(comm, *ring, *arguments[comm.rank])

    return {name: program(name, *case) for name, case in cases().items()}


@pytest.fixture(scope="module")
def launched(answers):
    """What each collective returns in real processes of gloo: all of them in one launch."""
    every = programs(answers)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the ranks cannot import this file
    done = ranks.launch(lambda comm: {name: flat(program(comm)) for name, program in every.items()}, SIZE)
    return done.results


@pytest.mark.parametrize("name", list(cases()))
def test_runs_unchanged_in_all_three_drivers(answers, submission, launched, name):
    """Same function, same arguments: the simulator, the grader and real processes give the same on every rank."""
    simulated = ranks.simulate(programs(answers)[name], SIZE)
    reduces, arguments = cases()[name]
    graded = on_ranks(submission, name, arguments, all_reduce=reduces)
    for rank in range(SIZE):
        here = flat(simulated.results[rank])
        assert here.tobytes() == launched[rank][name].tobytes()
        if reduces:  # the grader's all-reduce adds in another order
            np.testing.assert_allclose(flat(graded.results[rank]), here, rtol=1e-12, atol=1e-13)
        else:
            assert here.tobytes() == flat(graded.results[rank]).tobytes()
    if not reduces:
        assert simulated.sent.tolist() == graded.sent.tolist()


NEEDED = ("def softmax_gradient", "def zero_bytes")  # what the scale section takes from demos above it
REPORT = """
import json

rings = {size: float(max(apart for *_, apart in rows)) for size, rows in timed.items()}
print(json.dumps({"rings": rings, "ddp": ddp_errors, "sharded": sharded, "pipelines": pipelines}))
"""


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    """What the scale section finds at its small size."""
    import nbclient

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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSML_DEMO", "small")
        folder = str(tmp_path_factory.mktemp("scale"))
        nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": folder}}).execute()
    assert not [o for cell in notebook.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]
    return json.loads("".join(output.get("text", "") for output in notebook.cells[-1].outputs))


def test_ring_beside_torchs_all_reduce(scaled):
    """float32 sums of two and of four ranks differ by rounding at most."""
    assert scaled["rings"].keys() == {"2", "4"} and max(scaled["rings"].values()) < 1e-5


def test_step_beside_ddp(scaled):
    """With equal shards both are one process's step; with unequal ones DDP takes the mean of means."""
    equal, unequal = scaled["ddp"].values()
    assert max(equal) < 1e-12 and unequal[0] < 1e-12 < 1e-3 < unequal[1]


def test_sharded_adam_beside_torchs(scaled):
    """Three times the same parameters; ZeRO 1 halves the moments on two ranks, FSDP2 everything."""
    mine, zero, fsdp = scaled["sharded"].values()
    assert max(zero[0], fsdp[0]) < 1e-10
    d = mine[1]
    assert mine[1:] == [d, d, 2 * -(-d // 2)] and zero[1:3] == [d, d] and 0 < zero[3] < 2 * d
    assert abs(2 * fsdp[1] - d) < 0.05 * d and fsdp[3] == 2 * fsdp[1]


def test_schedules_beside_torchs(scaled):
    """All four stages work in the order of torch's own schedules, and never faster than the formula."""
    assert {kind: same for kind, (same, *_) in scaled["pipelines"].items()} == {"gpipe": 4, "1f1b": 4}
    assert all(measured > 0.99 * predicted for _, predicted, measured in scaled["pipelines"].values())
