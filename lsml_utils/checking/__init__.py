"""The visible checks: `with check("name"):` around asserts and expect_* helpers.

A check that passes prints one line with the module's progress. One that does not shows a card (HTML in Jupyter, text
in a terminal) and raises `CheckFailed`, so that Run All and nbgrader's Validate stop there.

>>> from lsml_utils.checking import check, expect_close, start
>>> def double(x):
...     return 2 * x
>>> start("00_example", total=2)
>>> with check("double"):
...     expect_close(double(3.0), 6.0)
✓ double passes its check (1 of 2)
"""

from lsml_utils.checking.expectations import (
    expect_close,
    expect_dtype,
    expect_finite,
    expect_raises,
    expect_shape,
    expect_unchanged,
)
from lsml_utils.checking.failures import CheckFailed, Unanswered
from lsml_utils.checking.running import check, start

__all__ = [
    "CheckFailed",
    "Unanswered",
    "check",
    "expect_close",
    "expect_dtype",
    "expect_finite",
    "expect_raises",
    "expect_shape",
    "expect_unchanged",
    "start",
]
