"""A small module in a temporary checkout, for tests to bend."""

from pathlib import Path

import pytest

from autograder import curriculum

NAME = "01_sums"
TEXT = '''\
# %% [markdown]
# # 01 · Sums
# Prose about $\\sum_i x_i$, naïve and otherwise.
#
# ### 1.1 `total` · essential · level 2 of 4 · 5 min
# ### 1.2 `Counter` · optional · level 1 of 4 · 10 min
# ### 1.3 `mean` · important · level 4 of 4 · 15 min

# %% tags=["setup"]
import numpy as np
from lsml_utils import checking
from lsml_utils.checking import check

# %matplotlib inline
checking.start("01_sums", total=3)

# %% exercise="total" points=2 minutes=5 forbids=["numpy.sum"]
def total(x: list[float]) -> float:
    """The sum of x, without numpy.sum."""
    result = 0.0
    ### BEGIN SOLUTION
    for value in x:
        result += value
    ### END SOLUTION
    return result

# %% [markdown] hints="total"
# <details><summary>Hint 1</summary>Loop.</details>
#
# <details><summary>Hint 2</summary>Add.</details>

# %% check="total"
with check("total", forbids=["numpy.sum"]):
    assert total([1.0, 2.0]) == 3.0

# %% tags=["demo"]
print(total([1.0]))

# %% exercise="Counter" points=1 minutes=10 extra=true
class Counter:
    """Counts."""

    ### BEGIN SOLUTION
    def __init__(self):
        self.n = 0

    def add(self, n: int) -> None:
        self.n += n
    ### END SOLUTION

# %% [markdown] hints="Counter"
# <details><summary>Hint 1</summary>Count.</details>
# <details><summary>Hint 2</summary>Keep it.</details>
# <details><summary>Hint 3</summary>In self.</details>

# %% check="Counter"
with check("Counter"):
    assert Counter().n == 0

# %% exercise="mean" points=4 minutes=15 bug=true
def mean(x: list[float]) -> float:
    """The mean of x; nan where x is empty."""
    if not x:
        ### BEGIN SOLUTION
        return float("nan")
    return total(x) / len(x)
    ### END SOLUTION
        ### BEGIN BUG
        # return 0.0
    # for value in x:
    #     return value
    ### END BUG

# %% [markdown] hints="mean"
# <details><summary>Hint 1</summary>Empty?</details>
# <details><summary>Hint 2</summary>Divide.</details>

# %% check="mean"
with check("mean"):
    assert mean([1.0, 3.0]) == 2.0

# %% [markdown] written="why_sum" points=3
# Why?
#
# ### BEGIN SOLUTION
# Because.
#
# ### RUBRIC
# - 2: Names the *cause*, and
#   says how.
#
# - 1: Gives an example.
# ### END SOLUTION
'''


@pytest.fixture
def checkout(tmp_path) -> Path:
    """The root of a checkout with the one module."""
    return with_module(tmp_path, TEXT)


def with_module(root: Path, text: str, name: str = NAME) -> Path:
    """Write a module's notebook into the checkout."""
    path = root / "solutions" / name / "notebook.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    number = name[:2].lstrip("0")
    path.write_text(text.replace("### 1.", f"### {number}."), encoding="utf-8")
    return root


@pytest.fixture
def module(checkout):
    return curriculum.load(NAME, checkout)
