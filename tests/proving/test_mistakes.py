"""Which visible checks run before another one, so that it finds the names that it uses."""

from types import SimpleNamespace

import pytest

from autograder.proving.mistakes import checks_before, recorder

CHECKS = {
    "first": "x, y = 1, 2\nwith check('first'):\n    expect_close(first(x), y)",
    "second": "def double(v):\n    return 2 * v\nx = double(3)",
    "third": "from math import pi as circle\nz = [v for v in range(3)]",
}


@pytest.mark.parametrize(
    ("check", "needed"),
    [
        ("x = 5\nexpect_close(last(x), 5)", []),
        ("expect_close(last(x), 5)\nx = 5", ["second"]),  # the later one made it anew
        ("expect_close(last(y), 5)", ["first"]),
        ("x = x + 1", ["second"]),
        ("expect_close(last(double(1)), circle)", ["second", "third"]),
        ("expect_close(last(1), 5)", []),
    ],
)
def test_a_check_runs_after_those_whose_names_it_uses(check, needed):
    exercises = [SimpleNamespace(name=name, check=text) for name, text in {**CHECKS, "last": check}.items()]
    module = SimpleNamespace(exercises=exercises)
    assert [one.name for one in checks_before(module, exercises[-1])] == needed
    for name, text in CHECKS.items():
        assert (text.splitlines()[-1] in recorder(module, exercises[-1])) == (name in needed)


def test_what_a_needed_check_needs_runs_too():
    texts = ["a = 1", "b = a + 1", "c = 7", "expect_close(last(b), 2)"]
    exercises = [SimpleNamespace(name=str(i), check=text) for i, text in enumerate(texts)]
    assert [one.name for one in checks_before(SimpleNamespace(exercises=exercises), exercises[-1])] == ["0", "1"]
