"""Every test here runs for every module that solutions/ holds."""

import nbclient
import pytest

from autograder import curriculum


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
