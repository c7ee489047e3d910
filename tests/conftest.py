"""How the suite is divided: what belongs to one module of the course goes to one worker, everything else by file."""

import re

import pytest

from autograder import curriculum
from autograder.errors import UserError


def pytest_addoption(parser):
    parser.addoption("--module", help="only the tests of one module of the course, such as 01")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config, items):
    try:
        wanted = curriculum.resolve(config.option.module) if config.option.module else None
    except UserError as error:
        raise pytest.UsageError(str(error)) from None
    known = set(curriculum.names())
    modules = {item: module_of(item, known) for item in items}
    if wanted is not None:
        config.hook.pytest_deselected(items=[item for item in items if modules[item] != wanted])
        items[:] = [item for item in items if modules[item] == wanted]
    for item in items:
        item.add_marker(pytest.mark.xdist_group(modules[item] or item.nodeid.split("::")[0]))


def module_of(item, known: set[str]) -> str | None:
    """The module of the course that a test is parametrised with, if it is."""
    identity = re.search(r"\[(\d\d_[a-z0-9_]+)", item.nodeid)
    return identity[1] if identity and identity[1] in known else None
