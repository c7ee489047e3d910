"""The hidden tests without a sandbox, in the process in which the student's cells were run.

So do stock graders run them, from a hidden cell or a test file (class_throughput.py), and so does the plain process
that the grader's own cost is compared with (grading_latency.py).
"""

import contextlib
import importlib.util
import itertools
import sys
import warnings
from functools import cache
from types import SimpleNamespace

import numpy as np
import torch

from autograder import curriculum
from autograder.grading.reference import reference_cells
from autograder.submission import LocalSubmission, MissingName, StudentError


class InKernel:
    """What the `submission` fixture is, without a sandbox: the functions of a namespace themselves."""

    def __init__(self, namespace):
        self._namespace, self.calls = namespace, []

    def __getattr__(self, name):
        return self[name]

    def __getitem__(self, name):
        if name not in self._namespace:
            raise MissingName(name)
        value = self._namespace[name]
        return self._student(value) if callable(value) and not isinstance(value, type) else value

    def run(self, helper, *arguments, **options):
        helper.__globals__.update(student=SimpleNamespace(**self._namespace), np=np, torch=torch)
        return self._student(helper)(*arguments, **options)

    @contextlib.contextmanager
    def elsewhere(self):
        yield self  # there is no other process here

    @staticmethod
    def _student(function):
        def called(*arguments, **options):
            try:
                return function(*arguments, **options)
            except Exception as error:
                names = tuple(kind.__name__ for kind in type(error).__mro__)
                raise StudentError(names[0], names, str(error)) from error

        return called


@cache
def _module(name):
    path = curriculum.files(name).hidden_tests
    spec = importlib.util.spec_from_file_location(f"hidden_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module, LocalSubmission(reference_cells(curriculum.load(name)))


def check(name: str, exercise: str, namespace: dict) -> None:
    """Run every hidden test of an exercise on the functions of `namespace`; AssertionError at the first that fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nbgrader gives no points where anything is written on stderr
        _check(name, exercise, namespace)


def _check(name, exercise, namespace):
    module, reference = _module(name)
    for test in list(vars(module).values()):
        marks = {mark.name: mark for mark in getattr(test, "pytestmark", ())}
        if "exercise" not in marks or marks["exercise"].args[0] != exercise:
            continue
        sets = [mark for mark in test.pytestmark if mark.name == "parametrize"]
        names = [[part.strip() for part in mark.args[0].split(",")] for mark in sets]
        for values in itertools.product(*(list(mark.args[1]) for mark in sets)):
            given = {}
            for group, value in zip(names, values, strict=True):
                given |= dict(zip(group, value if len(group) > 1 else (value,), strict=True))
            fixtures = {"submission": InKernel(namespace), "reference": reference, "rng": np.random.default_rng(7)}
            wanted = test.__code__.co_varnames[: test.__code__.co_argcount]
            test(**given, **{fixture: fixtures[fixture] for fixture in wanted if fixture in fixtures})
