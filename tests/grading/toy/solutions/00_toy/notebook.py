# %% [markdown]
# # 00 Toy
#
# A small module with one exercise of every kind that the grader must handle.

# %% tags=["setup"]
import numpy as np


# %% exercise="mean_square" points=2 minutes=5
def mean_square(x):
    """Mean of the squares of x, shape (n,): a float."""
    ### BEGIN SOLUTION
    return float(np.mean(np.square(x, dtype=float)))
    ### END SOLUTION


# %% [markdown] hints="mean_square"
# <details><summary>Hint 1</summary>Square first.</details>
#
# <details><summary>Hint 2</summary>`np.mean(x * x)`</details>

# %% check="mean_square"
assert mean_square(np.array([1.0, 3.0])) == 5.0

# %% tags=["demo"]
curve = [mean_square(np.arange(n + 1.0)) for n in range(10)]


# %% exercise="last" points=1 minutes=5 bug=true
def last(x):
    """The last row of x, shape (n, d): an array or a list of d numbers."""
    ### BEGIN SOLUTION
    return x[-1]
    ### END SOLUTION
    ### BEGIN BUG
    # return x[0]
    ### END BUG


# %% check="last"
assert list(last([[1, 2], [3, 4]])) == [3, 4]


# %% exercise="root_mean_square" points=3 minutes=5
def root_mean_square(x):
    """Square root of `mean_square(x)`; ValueError where x is empty."""
    ### BEGIN SOLUTION
    if len(x) == 0:
        raise ValueError("x is empty")
    return float(np.sqrt(mean_square(x)))
    ### END SOLUTION


# %% check="root_mean_square"
assert root_mean_square(np.array([3.0, 3.0])) == 3.0


# %% exercise="solve" points=2 minutes=5 forbids=["np.linalg"]
def solve(a, b):
    """The x with a * x = b, for numbers a and b."""
    ### BEGIN SOLUTION
    return b / a
    ### END SOLUTION


# %% check="solve"
assert solve(2.0, 4.0) == 2.0


# %% exercise="total" points=2 minutes=5 extra=true
def total(chunks):
    """The sum of all numbers in an iterable of arrays, one array in memory at a time. None of them is modified."""
    ### BEGIN SOLUTION
    return float(sum(np.sum(chunk) for chunk in chunks))
    ### END SOLUTION


# %% check="total"
assert total([np.ones(2), np.ones(3)]) == 5.0


# %% exercise="Counter" points=1 minutes=5
class Counter:
    """Counts: `add(k)` adds k, `count` is the sum so far."""

    ### BEGIN SOLUTION
    def __init__(self):
        self.count = 0

    def add(self, k):
        self.count += k

    ### END SOLUTION


# %% check="Counter"
Counter().add(1)
