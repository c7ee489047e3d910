"""What module 21 claims, at a small size: the audit catches the wrong engine, the peers agree, sums are exact."""

import importlib.util
import os

import pytest

from autograder import curriculum
from autograder.authoring.release import solved_notebook
from lsml_utils import engines

NAME = "21_privacy_security"
AUDIT, CLIPPING, ACCOUNTS, SUMS = "def engine(clips_rows", "def by_vmap", "accounts = []", "def share_vector"
# What the audit takes from the demos above it.
HELPERS = ("def layers_of", "def noise_for")


@pytest.fixture
def names(monkeypatch):
    """A function that runs the demo cell which holds a text, after the setup and the solved exercises."""
    monkeypatch.setenv("LSML_DEMO", "small")
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    found: dict = {}
    demos = []
    for cell in solved_notebook(curriculum.load(NAME)).cells:
        if cell.cell_type == "code":
            role = cell.metadata["lsml"]["role"]
            if role in ("setup", "exercise"):
                exec(compile(cell.source, NAME, "exec"), found)
            elif role == "demo":
                demos.append(cell.source)

    def of(text):
        (source,) = (source for source in demos if text in source)
        exec(compile(source, NAME, "exec"), found)
        return found

    return of


def needs(*packages):
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)}: not installed (extra privacy)")


@pytest.fixture
def no_peers(monkeypatch):
    monkeypatch.setattr(engines, "library", lambda name: print(f"{name}: goes on without it"))


def test_the_audit_catches_the_engine_that_clips_the_batch(names, no_peers, capsys):
    for text in HELPERS:
        names(text)
    found = names(AUDIT)
    proven = found["proven_of"]
    assert proven["clips the batch"] > found["claimed"] > proven["clips each row"]
    assert "the claim is false" in capsys.readouterr().out


@pytest.mark.parametrize("peers", [pytest.param(True, marks=needs("opacus")), False])
def test_all_ways_to_a_clipped_sum_agree(names, peers, monkeypatch, request, capsys):
    if not peers:
        request.getfixturevalue("no_peers")
    found = names(CLIPPING)
    assert found["off"] < 1e-5
    assert len(found["ways"]) == (5 if peers else 3)
    assert ("goes on without it" in capsys.readouterr().out) is not peers


@needs("opacus")
def test_the_accountants_agree(names):
    """Many steps: opacus' fractional orders and PRV are tighter. Few, with much noise: ours, of orders above 63."""
    found = names(CLIPPING) and names("by_sum = ") and names(ACCOUNTS)
    (own, rdp, prv), (own_small, rdp_small, prv_small) = found["accounts"]
    assert 0.9 * own < rdp <= own * (1 + 1e-9) and 0.5 * own < prv < own
    assert rdp_small > 2 * own_small and own_small < prv_small < own_small + 0.01


@pytest.mark.parametrize("peers", [pytest.param(True, marks=needs("phe")), False])
def test_hidden_sums_are_exact(names, peers, request):
    """The cell itself asserts that sums of shares and of ciphertexts are exact; phe's, too."""
    if not peers:
        request.getfixturevalue("no_peers")
    found = names(SUMS)
    rows = [row[0] for row in found["table"]]
    assert any("Paillier" in row for row in rows) and any("phe" in row for row in rows) is peers
    assert os.environ["LSML_DEMO"] == "small"
