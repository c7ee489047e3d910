"""Wrong and right answers that prove the hidden tests of module 06_trees, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

import numpy as np

from autograder.answers import right, wrong

wrong(
    "weighted_mean",
    "leaves the weights out",
    fails=["test_weighs_every_value"],
    edit={"w @ x / total": "x.mean()"},
)
wrong(
    "weighted_mean",
    "divides by the number of values",
    fails=["test_weighs_every_value"],
    edit={"/ total": "/ len(x)"},
)
wrong(
    "weighted_mean",
    "lets weights that sum to zero pass",
    fails=["test_refuses_weights_that_sum_to_zero"],
    edit={"if total == 0:": "if total < 0:"},
)


@right("weighted_mean", "a loop in plain Python")
def with_a_loop(x, w):
    above = below = 0.0
    for value, weight in zip(x, w, strict=True):
        above += float(weight) * float(value)
        below += float(weight)
    if below == 0:
        raise ValueError("no weight")
    return above / below


@right("weighted_mean", "weights made to sum to one first")
def normalised(x, w):
    if not np.any(w):
        raise ValueError("no weight")
    return float(np.sum(x * (w / np.sum(w))))


wrong(
    "merge_means",
    "weighs each part by the other's count",
    fails=["test_agrees_with_the_mean_of_all_values"],
    edit={"n_a * mean_a + n_b * mean_b": "n_b * mean_a + n_a * mean_b"},
)


@wrong("merge_means", "averages the two means", fails=["test_agrees_with_the_mean_of_all_values"])
def plain_average(mean_a, n_a, mean_b, n_b):
    return (mean_a + mean_b) / 2


@right("merge_means", "moves the first mean towards the second")
def by_a_shift(mean_a, n_a, mean_b, n_b):
    return mean_a + (mean_b - mean_a) * n_b / (n_a + n_b)


@right("merge_means", "adds up totals")
def by_totals(mean_a, n_a, mean_b, n_b):
    total = sum([mean_a * n_a, mean_b * n_b])
    return total / sum([n_a, n_b])
