"""How the suite is divided: what belongs to one module of the course goes to one worker, everything else by file.

Calibration, which takes half of the time, goes exercise by exercise. xdist's own `loadgroup` marks node ids in a way
that pytest 9.2 does not see (xdist 3.8): there every test is a group of its own, and fixtures are made by each worker.
"""

import re

import pytest
from xdist.scheduler import LoadScopeScheduling

from autograder import curriculum
from autograder.errors import UserError


def pytest_addoption(parser):
    parser.addoption("--module", help="only the tests of one module of the course, such as 01")


def pytest_collection_modifyitems(config, items):
    try:
        wanted = curriculum.resolve(config.option.module) if config.option.module else None
    except UserError as error:
        raise pytest.UsageError(str(error)) from None
    if wanted is not None:
        config.hook.pytest_deselected(items=[item for item in items if module_of(item.nodeid) != wanted])
        items[:] = [item for item in items if module_of(item.nodeid) == wanted]


def pytest_xdist_make_scheduler(config, log):
    return ByModule(config, log) if config.option.dist == "loadgroup" else None


class ByModule(LoadScopeScheduling):
    def _split_scope(self, nodeid):
        return group(nodeid)


def group(nodeid: str) -> str:
    """What a test shares a worker with."""
    file = nodeid.partition("::")[0]
    return nodeid if file.endswith("test_every_module.py") else module_of(nodeid) or file


def module_of(nodeid: str) -> str | None:
    """The module of the course that a test is parametrised with, if it is."""
    identity = re.search(r"\[(\d\d_[a-z0-9_]+)", nodeid)
    return identity[1] if identity and identity[1] in curriculum.names() else None
