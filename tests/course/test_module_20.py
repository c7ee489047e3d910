"""What module 20's scale section claims, at a small size: real processes, dropouts, and no Flower."""

import itertools

import numpy as np
import pytest

from autograder import curriculum
from autograder.authoring.release import solved_notebook
from lsml_utils import ranks

NAME = "20_federated_learning"


@pytest.fixture(scope="module")
def cells() -> list[str]:
    notebook = solved_notebook(curriculum.load(NAME))
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def names(cells, tmp_path_factory) -> dict:
    """What the solved notebook defines: its setup, its functions, and the digits."""
    import ast

    found: dict = {}
    for source in cells:
        tree = ast.parse(source)
        tree.body = [node for node in tree.body if _defines(node)]
        exec(compile(tree, NAME, "exec"), found)
    digits = found["datasets"].digits()
    found |= {"X_train": digits.X[:200] / 16, "y_train": digits.y[:200], "RIDGE": 1e-3, "PRIME": 2**61 - 1}
    return found


def _defines(node) -> bool:
    import ast

    text = isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return text or isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.Try)


def test_real_processes_do_what_the_simulated_ones_do(names):
    """Federated averaging over gloo, two and three clients: the bits of the simulator, and as many bytes."""
    for clients in (2, 3):
        program = names["client_program"](3, clients)
        simulated, real = ranks.simulate(program, clients), ranks.launch(program, clients)
        assert real is not None
        for theta in [*simulated.results, *real.results]:
            assert np.array_equal(theta, simulated.results[0])
        assert np.abs(simulated.results[0]).max() > 0.01
        assert list(real.sent) == list(simulated.sent) == [3 * (clients - 1) * 8 * 650, *[3 * 8 * 650] * (clients - 1)]


def test_masks_cancel_whoever_drops_out(names):
    """The whole protocol, with shares and agreed seeds: every set of at most three of six clients may vanish."""
    words = {i: names["to_words"](np.random.default_rng(i).standard_normal(50)) for i in range(1, 7)}
    for count in range(4):
        for lost in itertools.combinations(words, count):
            found = names["secure_round"](words, 3, list(lost), number=count)
            left = [words[i] for i in words if i not in lost]
            assert np.array_equal(found, np.sum(left, axis=0, dtype=np.uint32))
            exact = sum(names["from_words"](w) for w in left)
            assert np.abs(names["from_words"](found) - exact).max() < 1e-9


def test_too_few_helpers_recover_nothing(names):
    words = {i: np.zeros(5, np.uint32) for i in range(1, 7)}
    found = names["secure_round"](words, 4, [1, 2, 3], number=0)  # three are left, four are needed
    assert np.any(found != 0)


@pytest.mark.parametrize("where", ["nowhere", "no python"])
def test_without_flower_the_cell_says_one_line(names, monkeypatch, tmp_path, capsys, where):
    python = tmp_path / "python"
    if where == "no python":  # something that starts and knows no flwr
        python.write_text("#!/bin/sh\necho it breaks >&2\nexit 1\n")
        python.chmod(0o755)
    monkeypatch.setenv("LSML_FLOWER", str(python))
    assert names["with_flower"]({"theta": np.zeros(2)}) is None
    said = capsys.readouterr()
    assert said.out.count("\n") == 1 and "goes on without it" in said.out and said.err == ""


def test_the_last_cell_goes_on_without_flower(names, cells, monkeypatch, tmp_path, capsys):
    """The cell of Flower prints the student's own result where there is none."""
    monkeypatch.setenv("LSML_FLOWER", str(tmp_path / "nothing"))
    (cell,) = (source for source in cells if "FLOWER_JOB = " in source)
    exec(compile(cell, NAME, "exec"), dict(names))
    said = capsys.readouterr().out
    assert "goes on without it" in said and "yours, " in said
