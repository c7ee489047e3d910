"""What the tests of the course share; a test that asks for `module` runs for every one that solutions/ holds."""

import json

import nbclient
import pytest
from nbformat.v4 import new_code_cell

from autograder import curriculum
from autograder.authoring.release import solved_notebook


def pytest_generate_tests(metafunc):
    if "module" in metafunc.fixturenames:
        metafunc.parametrize("module", curriculum.names(), indirect=True)


@pytest.fixture
def module(request) -> curriculum.Module:
    return curriculum.load(request.param)


@pytest.fixture
def execute(tmp_path):
    """Run a notebook in a fresh kernel and an empty folder, where it stops at its first error."""

    def run(notebook, seconds_a_cell: float) -> nbclient.NotebookClient:
        client = nbclient.NotebookClient(
            notebook,
            timeout=seconds_a_cell,
            kernel_name="python3",
            resources={"metadata": {"path": str(tmp_path)}},
        )
        client.execute()
        return client

    return run


@pytest.fixture(scope="module")
def found(request, tmp_path_factory) -> dict:
    """What a solved module's setup, answers and NEEDED demo cells find in a kernel, at the small size.

    The test file says MODULE, NEEDED (by a text of each demo cell, what is run after it) and REPORT (what is printed).
    """
    wanted, report = request.module.NEEDED, request.module.REPORT
    notebook, kept = solved_notebook(request.module.MODULE), []
    for cell in notebook.cells:
        role = cell.metadata["lsml"]["role"] if cell.cell_type == "code" else ""
        needed = [text for text in wanted if role == "demo" and text in cell.source]
        if role in ("setup", "exercise") or needed:
            kept += [cell, *(new_code_cell(wanted[text]) for text in needed if wanted[text])]
    assert [text for text in wanted if not any(text in cell.source for cell in kept)] == []
    notebook.cells = [*kept, new_code_cell(report)]
    folder = {"metadata": {"path": str(tmp_path_factory.mktemp("found"))}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSML_DEMO", "small")
        nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=folder).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    return json.loads(notebook.cells[-1].outputs[0].text)
