"""loans holds the truth that it names."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from lsml_utils import datasets

LEVEL = 1e-6


def test_loans_are_repaid_by_the_law_that_it_names():
    """Chi-squared over bins of the true probability, in each group: the group has no effect of its own."""
    data = datasets.loans(40_000, seed=3)
    truth = data.probability(data.X)
    bins = np.minimum((truth * 10).astype(int), 9) + 10 * data.group
    expected, spread = (np.bincount(bins, w) for w in (truth, truth * (1 - truth)))
    statistic = np.sum((np.bincount(bins, data.y) - expected) ** 2 / spread)
    assert scipy.stats.chi2.sf(statistic, 20) > LEVEL


def test_the_law_has_the_effects_that_it_names():
    """One column moved by 1 moves the log-odds by its effect, debt and years together by their interaction besides."""
    data = datasets.loans(1)
    moved = np.vstack([np.zeros(8), np.eye(8), np.eye(8)[2] + np.eye(8)[3]])
    log_odds = scipy.special.logit(data.probability(moved)) - data.bias
    assert log_odds[:-1] == pytest.approx([0, *data.effects])
    assert log_odds[-1] == pytest.approx(data.effects[2] + data.effects[3] + data.interaction)
    working = [name for name, effect in zip(data.names, data.effects, strict=True) if effect]
    assert working == ["income", "debt", "years", "late"] and data.interaction


def test_base_rates_and_the_proxy_differ_by_group():
    data = datasets.loans(20_000)
    assert abs(data.group.mean() - 0.3) < 5 * np.sqrt(0.21 / 20_000)
    rates = [data.y[data.group == g].mean() for g in (0, 1)]
    assert rates[0] - rates[1] > 0.1
    district = data.X[:, data.names.index("district")]
    assert district[data.group == 1].mean() - district[data.group == 0].mean() > 1.4
    within = [np.corrcoef(district[data.group == g], data.y[data.group == g])[0, 1] for g in (0, 1)]
    assert np.abs(within).max() < 5 / np.sqrt(5_000)  # no effect beside the group's


def test_salary_is_nearly_income():
    data = datasets.loans(5_000)
    assert np.corrcoef(data.X[:, 0], data.X[:, 1])[0, 1] > 0.99


def test_chunks_and_fewer_rows_are_parts_of_the_whole():
    whole = datasets.loans(2500, seed=3)
    for size in (1024, 2048):
        chunks = datasets.loans_chunks(2500, seed=3, size=size)
        for name in ("X", "y", "group"):
            assert np.array_equal(np.concatenate([getattr(chunk, name) for chunk in chunks]), getattr(whole, name))
    fewer = datasets.loans(1500, seed=3)
    assert np.array_equal(fewer.X, whole.X[:1500]) and np.array_equal(fewer.y, whole.y[:1500])
    assert not np.array_equal(datasets.loans(1500, seed=4).X, fewer.X)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"size": 1000}, {"size": 0}])
def test_impossible_tables_are_refused(wrong):
    with pytest.raises(ValueError, match=r"at least one|multiple"):
        datasets.loans_chunks(**{"n": 5} | wrong)
