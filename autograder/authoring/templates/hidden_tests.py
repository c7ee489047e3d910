"""Hidden tests of module NN_topic. A docstring is the sentence that a student reads when the test fails."""

import numpy as np
import pytest

from autograder.judging import Contract, close, floats, numbers

# Sums of m terms of one sign are off by at most m rounding errors of 1.1e-16 each; all tests here have m <= 2000,
# and both sides may err, so 1e-12 leaves room and still fails a wrong formula.
RTOL = 1e-12

MEAN = Contract(
    "weighted_mean",
    x=numbers(40, draw=lambda rng: rng.uniform(1, 2, 40), whole=(1, 9), scales=(1e9, 1e-9)),
    w=floats(40, draw=lambda rng: rng.uniform(1, 2, 40)),
)


@pytest.mark.exercise("weighted_mean", weight=2, core=True, hint=2)
@pytest.mark.parametrize("m", [1, 2, 2000])
def test_weighs_every_value(submission, reference, rng, m):
    """The mean is right for one value, for two and for many, whatever the weights."""
    x, w = rng.uniform(1, 2, m), rng.uniform(1, 2, m)
    assert close(submission.weighted_mean(x, w), reference.weighted_mean(x, w), rtol=RTOL, typed=True)


@pytest.mark.exercise("weighted_mean", hint=1)
def test_scaling_the_weights_changes_nothing(submission, rng):
    """Weights that are all multiplied by the same number give the same mean."""
    x, w = rng.uniform(1, 2, 20), rng.uniform(1, 2, 20)
    assert close(submission.weighted_mean(x, 7 * w), submission.weighted_mean(x, w), rtol=RTOL)


@pytest.mark.exercise("weighted_mean", hint=2)
def test_takes_every_kind_of_array(submission, reference, rng):
    """Integers of any kind, float32, views and read-only arrays give the same mean, as a Python float."""
    for case in MEAN.cases(rng):
        expected = reference.weighted_mean(*case.exact)
        assert close(submission.weighted_mean(*case), expected, rtol=max(RTOL, 100 * case.eps), typed=True)


@pytest.mark.exercise("weighted_mean")
def test_refuses_weights_that_sum_to_zero(submission, rng):
    """Weights that sum to zero raise ValueError."""
    MEAN.refuses(submission, rng, ValueError, w=[lambda w: 0 * w])


@pytest.mark.exercise("weighted_mean", forgeable=True)
def test_leaves_no_trace(submission, rng):
    """The call changes neither x nor w."""
    assert MEAN.leaves_no_trace(submission, rng, w=[lambda w: 0 * w])


@pytest.mark.exercise("merge_means", weight=2, core=True, hint=1)
def test_agrees_with_the_mean_of_all_values(submission, rng):
    """Two merged means equal the mean of all values, for parts of any size and values of any."""
    for n_a, n_b, scale in [(1, 50, 1), (50, 1, 1), (7, 7, 1), (200, 300, 1e9), (300, 200, 1e-9)]:
        a, b = scale * rng.uniform(1, 2, n_a), scale * rng.uniform(5, 6, n_b)
        merged = submission.merge_means(float(a.mean()), n_a, float(b.mean()), n_b)
        assert close(merged, float(np.concatenate([a, b]).mean()), rtol=RTOL, typed=True)


@pytest.mark.exercise("merge_means", hint=2)
def test_an_empty_part_counts_for_nothing(submission, rng):
    """A part without values does not move the mean."""
    mean = float(rng.uniform(1, 2))
    assert close(submission.merge_means(mean, 3, 99.0, 0), mean, rtol=RTOL)
    assert close(submission.merge_means(99.0, 0, mean, 3), mean, rtol=RTOL)
