"""The examples in lsml_utils' docstrings are run, and every public name has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import lsml_utils

MODULES = ["lsml_utils"] + [
    found.name
    for found in pkgutil.walk_packages(lsml_utils.__path__, "lsml_utils.")
    if not found.name.endswith("__main__")
]
PUBLIC = [
    "lsml_utils.checking",
    "lsml_utils.datasets",
    "lsml_utils.device",
    "lsml_utils.earlier",
    "lsml_utils.engines",
    "lsml_utils.hashing",
    "lsml_utils.plotting",
    "lsml_utils.ranks",
    "lsml_utils.scaling",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.delenv("LSML_DEMO", raising=False)
    monkeypatch.setattr("lsml_utils.checking.running._total", None)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def public_functions():
    for name in PUBLIC:
        module = importlib.import_module(name)
        for key in getattr(module, "__all__", None) or [key for key in vars(module) if not key.startswith("_")]:
            found = getattr(module, key)
            ours = getattr(found, "__module__", "").startswith("lsml_utils")
            if ours and (inspect.isfunction(found) or key == "check"):
                yield pytest.param(found, id=f"{name}.{key}")


@pytest.mark.parametrize("function", list(public_functions()))
def test_every_public_function_has_an_example(function):
    assert ">>>" in function.__doc__
