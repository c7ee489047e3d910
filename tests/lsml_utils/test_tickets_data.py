"""tickets holds the truth that it names."""

from dataclasses import fields, replace

import numpy as np
import pytest
import scipy.stats

from lsml_utils import datasets
from lsml_utils.datasets.tickets import DAYS, FAULTS, STAY, TELLING, effects, vocabulary

LEVEL = 1e-6


def test_experts_are_needed_by_the_law_that_it_names():
    """Chi-squared over bins of the chance that the trait makes, and of the score within each language."""
    data = datasets.tickets(40_000, seed=3)
    truth = 1 / (1 + np.exp(-(data.score() + data.trait)))
    bins = np.minimum((truth * 10).astype(int), 9) + 10 * data.language
    expected, spread = (np.bincount(bins, w) for w in (truth, truth * (1 - truth)))
    statistic = np.sum((np.bincount(bins, data.y) - expected) ** 2 / spread)
    assert scipy.stats.chi2.sf(statistic, 20) > LEVEL


def test_probability_is_the_mean_over_traits():
    data = datasets.tickets(50)
    traits = np.random.default_rng(0).normal(0, data.spread, (200_000, 1))
    drawn = 1 / (1 + np.exp(-(data.score() + traits)))
    assert data.probability() == pytest.approx(drawn.mean(axis=0), abs=6 * 0.5 / np.sqrt(200_000))


def test_traits_are_of_customers_and_normal():
    data = datasets.tickets(40_960, seed=1)
    customers, first = np.unique(data.customer, return_index=True)
    assert all(len(set(data.trait[data.customer == k])) == 1 for k in customers[:20])
    assert scipy.stats.kstest(data.trait[first] / data.spread, "norm").pvalue > LEVEL
    assert len(data) / len(customers) == pytest.approx(4, rel=0.05)


def test_a_customer_writes_within_thirty_days_in_one_language():
    data = datasets.tickets(5000)
    assert data.time.min() >= 0 and data.time.max() <= DAYS
    for k in np.unique(data.customer)[:100]:
        rows = data.customer == k
        assert np.ptp(data.time[rows]) <= STAY and len(set(data.language[rows])) == 1
        assert np.ptp(data.numbers[rows, 0] - data.time[rows]) < 1e-9  # tenure grows with time


def test_the_effect_of_waiting_grows():
    data = datasets.tickets(400)
    more = data.numbers.copy()
    more[:, 1] += 1
    moved = replace(data, numbers=more)
    assert moved.score() - data.score() == pytest.approx(0.3 + 0.9 * data.time / DAYS)


def test_words_and_their_effects():
    data, words = datasets.tickets(3000), vocabulary()
    assert len(words) == len(set(words)) == len(effects()) == 600
    assert set(np.unique(data.words // 300)) == {0, 1} and np.array_equal(data.words[:, 0] // 300, data.language)
    assert all(effects()[words.index(word)] in (1.5, -1.2) for language in TELLING.values() for word in language)
    assert data.text(7).split() == [words[k] for k in data.words[7]]


def test_every_planted_fault_is_there():
    data = datasets.tickets(3000, seed=2)
    columns, y, time, customer = data.export()
    assert len(y) == 3030 and all(len(column) == 3030 for column in [*columns.values(), time, customer])
    assert set(columns) - set(data.columns()) == set(FAULTS) - {""}
    assert np.ptp(columns["schema"]) == 0 and np.array_equal(columns["amount"], columns["amount_eur"])
    assert len(set(columns["ticket"].tolist())) == 3000 and np.all(columns["closed_at"] > time)
    assert columns["expert_minutes"][y == 1].min() > columns["expert_minutes"][y == 0].max()
    gone = np.isnan(columns["satisfaction"])
    table = [[np.sum(gone & (y == k)) for k in (0, 1)], [np.sum(~gone & (y == k)) for k in (0, 1)]]
    assert scipy.stats.chi2_contingency(table).pvalue < 1e-9
    again = data.export()[0]
    assert all(np.array_equal(again[name], columns[name], equal_nan=True) for name in columns)


def test_chunks_and_fewer_rows_are_parts_of_the_whole():
    whole = datasets.tickets(2500, seed=3)
    names = [field.name for field in fields(whole)]
    for size in (1024, 2048):
        chunks = datasets.tickets_chunks(2500, seed=3, size=size)
        for name in names:
            assert np.array_equal(np.concatenate([getattr(chunk, name) for chunk in chunks]), getattr(whole, name))
    fewer = datasets.tickets(1500, seed=3)
    assert all(np.array_equal(getattr(fewer, name), getattr(whole[:1500], name)) for name in names)
    assert not np.array_equal(datasets.tickets(1500, seed=4).y, fewer.y)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"size": 1000}, {"size": 0}])
def test_impossible_tables_are_refused(wrong):
    with pytest.raises(ValueError, match=r"at least one|multiple"):
        datasets.tickets_chunks(**{"n": 5} | wrong)
