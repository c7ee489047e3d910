"""What an answer asks of functions that it is given, and seeds that simple combinations confuse."""

from collections.abc import Callable
from typing import Any

import numpy as np

# Sums, products with 10 or 1000 and digits put together make one of two pairs; masks cut to 16, 30, 31 or 32 bits.
# No pair is made one by `default_rng([a, b])`, which takes a as the words of 32 bits: [2**32, 0] is [0, 1] to it.
SEEDS = (0, 1, 2, 3, 10, 11, 100, 1000, 1001, 2**16, 2**30, 2**31, 5 * 2**32, 5 * 2**32 + 1, 7 * 2**40 + 3, 2**63 - 1)


class Asked:
    """A function that remembers what it was asked, `calls` (a tuple of arguments each, arrays copied), and `answers`.

    A student's process calls it over the wire, so neither can be forged.
    """

    def __init__(self, function: Callable):
        self.function = function
        self.calls: list[tuple] = []
        self.answers: list[Any] = []

    def __call__(self, *args: Any) -> Any:
        self.calls.append(tuple(np.array(arg) if isinstance(arg, np.ndarray) else arg for arg in args))
        self.answers.append(self.function(*args))
        return self.answers[-1]
