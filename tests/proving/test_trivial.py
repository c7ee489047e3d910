"""The trivial answers: each is what its name says, and none of them is the reference in disguise."""

import numpy as np
import pytest
import torch

from autograder.curriculum import Exercise
from autograder.proving import trivial

SOLUTION = '''def scale(x: np.ndarray, factor: float = 2.0, *, shift: int = 0):
    """x times factor."""
    return factor * x + shift, {"largest": float(x.max()), "any": [bool(x.any()), "text"]}
'''
CLASS = """class Counter:
    def __init__(self, start):
        self.count = start

    def add(self, n):
        self.count += n
        return self.count

    def snapshot(self):
        return torch.tensor([self.count])
"""


def exercise(name, solution, **changes):
    values = {"points": 1, "minutes": 1, "extra": False, "bug": False, "forbids": (), "hints": 0, "docstring": ""}
    values |= {"name": name, "solution": solution, "released": "", "check": ""}
    return Exercise(**(values | changes))


def answers(*args, **changes):
    """What each trivial answer binds to the exercise's name."""
    wanted = exercise(*args, **changes)
    found = {}
    for answer in trivial.answers(wanted):
        space = {"np": np, "torch": torch}
        exec(answer.source, space)
        found[answer.name] = space[wanted.name]
    return found


def test_a_function_gets_one_for_each_argument_and_constant():
    found = answers("scale", SOLUTION)
    x = np.array([1.0, 4.0])
    assert found["returns None"](x) is None
    assert found["returns 0.0"](x, 3.0) == 0.0
    assert found["returns its x"](x, shift=1) is x
    assert found["returns its factor"](x) == 2.0
    assert found["returns its shift"](x, shift=5) == 5
    with pytest.raises(RuntimeError):
        found["raises"](x)


def test_constants_have_the_references_types_and_shapes_and_nothing_of_its_values():
    x = np.array([[1.0, 4.0]])
    array, rest = answers("scale", SOLUTION)["returns 0 in the right shape"](x)
    assert array.tolist() == [[0.0, 0.0]]
    assert rest == {"largest": 0, "any": [False, ""]}
    array, rest = answers("scale", SOLUTION)["returns float('nan') in the right shape"](x)
    assert np.isnan(array).all()
    assert array.shape == (1, 2)


def test_the_visible_check_by_heart_is_right_there_and_nowhere_else():
    check = "assert scale(np.array([1.0, 2.0]))[0][1] == 4\nscale(np.array([3.0]), shift=1)\n"
    by_heart = answers("scale", SOLUTION, check=check)["knows the visible check by heart"]
    assert by_heart(np.array([1.0, 2.0]))[0].tolist() == [2.0, 4.0]
    assert by_heart(np.array([3.0]), shift=1)[0].tolist() == [7.0]
    assert by_heart(np.array([5.0, 6.0]))[0].tolist() == [7.0]


def test_a_check_that_fails_half_way_still_gives_away_what_came_before():
    check = "scale(np.array([1.0]))\nassert False\n"
    by_heart = answers("scale", SOLUTION, check=check)["knows the visible check by heart"]
    assert by_heart(np.array([9.0]))[0].tolist() == [2.0]


def test_what_gives_its_result_to_a_callback_has_no_result_to_replace():
    silent = "def scale(store, x) -> None:\n    store(2 * x)\n"
    assert not [name for name in answers("scale", silent) if "in the right shape" in name]
    assert answers("scale", silent.replace(" -> None", ""))["returns 0 in the right shape"](print, 1.0) is None


def test_generators_give_generators():
    found = answers("count", "def count(n):\n    yield from range(n)\n", check="list(count(2))\n")
    assert list(found["returns 1 in the right shape"](3)) == [1, 1, 1]
    assert list(found["knows the visible check by heart"](3)) == [0, 1]


def test_a_class_keeps_its_constructor_and_loses_its_methods():
    found = answers("Counter", CLASS)
    assert found["returns None"](3).add(2) is None
    assert found["returns 0 in the right shape"](3).add(2) == 0
    assert found["returns 0 in the right shape"](3).snapshot().tolist() == [0]
    assert not hasattr(found["has nothing in it"], "add")
    with pytest.raises(RuntimeError):
        found["raises"](3).add(2)


def test_the_released_bug_runs_as_released():
    bug = "def scale(x):\n    return x"
    found = answers("scale", SOLUTION, bug=True, released=bug)
    assert found["keeps the released bug"](4) == 4
    assert "keeps the released bug" not in answers("scale", SOLUTION)


def test_forbidden_names_are_used_by_an_answer_that_is_right_otherwise():
    found = answers("scale", SOLUTION, forbids=("torch.nn.functional", "sorted", ".backward", ".T.dot"))
    peers = {name: answer for name, answer in found.items() if name.startswith(("calls", "imports"))}
    assert set(peers) == {
        "calls torch.nn.functional",
        "imports functional from torch.nn",
        "calls sorted",
        "calls .backward",
        "calls .T.dot",
    }
    for answer in peers.values():
        assert answer(np.array([2.0]))[0].tolist() == [4.0]
