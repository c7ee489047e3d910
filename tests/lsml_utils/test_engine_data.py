"""visits, near_duplicates and interactions hold the truth that they name."""

import itertools

import numpy as np
import pytest
import scipy.stats

from lsml_utils import datasets
from lsml_utils.datasets.permutation import Permutation

LEVEL = 1e-6


class TestPermutation:
    @pytest.mark.parametrize("n", [1, 2, 3, 5, 64, 1000])
    def test_it_meets_every_number_once(self, n):
        for seed in range(5):
            assert sorted(Permutation(n, seed).of(np.arange(n)).tolist()) == list(range(n))

    def test_neighbours_go_anywhere(self):
        """Where x and x + 1 go, in 16 × 16 cells of the square, is uniform."""
        n = 200_000
        cells = Permutation(n, seed=3).of(np.arange(n)) * 16 // n
        counts = np.bincount(cells[:-1] * 16 + cells[1:], minlength=256)
        assert scipy.stats.chisquare(counts).pvalue > LEVEL

    def test_seed_and_number_choose_it(self):
        images = [Permutation(1000, seed, number).of(np.arange(1000)) for seed in range(3) for number in range(3)]
        assert all(np.mean(a == b) < 0.05 for a, b in itertools.combinations(images, 2))


class TestVisits:
    @pytest.mark.parametrize(("n", "skew"), [(1, 1.1), (9, 2), (1000, 0), (100_000, 1.1), (100_000, 4)])
    def test_the_totals_are_those_of_the_rows(self, n, skew):
        table = datasets.visits(n, skew, seed=5)
        rows = table.read(0, n)
        for column, keys in [("user", table.users), ("page", table.pages), ("country", 40)]:
            found = np.bincount(getattr(rows, column), minlength=keys)
            assert np.array_equal(found, table.count(column))

    def test_keys_follow_zipfs_law(self):
        count = np.sort(datasets.visits(1_000_000, 1.5).count("page"))[::-1]
        ranks = np.arange(1, 10_001)
        assert count == pytest.approx(1e6 * ranks**-1.5 / np.sum(ranks**-1.5), abs=1)

    def test_the_visits_of_the_first_user_are_spread_over_the_table(self):
        table = datasets.visits(200_000)
        rows = np.flatnonzero(table.read(0, 200_000).user == table.count("user").argmax())
        counts, _ = np.histogram(rows, 50, (0, 200_000))
        assert scipy.stats.chisquare(counts).pvalue > LEVEL

    def test_users_and_pages_are_independent(self):
        rows = datasets.visits(200_000, skew=0).read(0, 200_000)
        cells = (rows.user * 16 // 20_000) * 16 + rows.page.astype(int) * 16 // 10_000
        assert scipy.stats.chisquare(np.bincount(cells, minlength=256)).pvalue > LEVEL

    def test_it_is_a_log_in_order_of_time_of_users_who_stay_at_home(self):
        rows = datasets.visits(50_000).read(0, 50_000)
        assert np.all(np.diff(rows.day.astype(int)) >= 0) and rows.day[0] == 0 and rows.day[-1] == 364
        homes = {}
        for user, country in zip(rows.user.tolist(), rows.country.tolist(), strict=True):
            assert homes.setdefault(user, country) == country
        assert rows.country.max() == 39 and rows.ms.min() >= 1
        kinds = [getattr(rows, name).dtype for name in ("user", "page", "day", "country", "ms")]
        assert kinds == [np.int64, np.int32, np.int16, np.uint8, np.int32]

    def test_any_way_of_reading_gives_the_same_rows(self):
        table = datasets.visits(150_000, seed=2)
        whole = table.columns(0, 150_000)
        for start, stop in [(0, 1), (65_535, 65_537), (149_999, 150_000), (7, 7), (100, 140_000)]:
            part = table.columns(start, stop)
            assert all(np.array_equal(part[name], whole[name][start:stop]) for name in whole)
        chunks = datasets.visits_chunks(150_000, seed=2, size=40_000)
        assert np.array_equal(np.concatenate([chunk.ms for chunk in chunks]), whole["ms"])

    @pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 10, "skew": -1}, {"n": 10, "skew": 5}, {"n": 10, "seed": -1}])
    def test_impossible_tables_are_refused(self, wrong):
        with pytest.raises(ValueError, match="n = "):
            datasets.visits(**wrong)

    def test_what_is_not_there_is_refused(self):
        table = datasets.visits(10)
        with pytest.raises(ValueError, match="rows 5 to 11"):
            table.read(5, 11)
        with pytest.raises(ValueError, match="'day'"):
            table.count("day")


class TestNearDuplicates:
    def test_pairs_have_the_jaccard_that_is_told_and_others_have_none(self):
        data = datasets.near_duplicates(1500, seed=4)
        planted = 0
        for (i, j), expected in zip(data.pairs, data.jaccard, strict=True):
            shared = len(np.intersect1d(data.sets[i], data.sets[j]))
            planted += shared
            assert i < j and shared / (len(data.sets[i]) + len(data.sets[j]) - shared) == expected
        elements = np.concatenate(data.sets)
        assert len(elements) - len(np.unique(elements)) == planted
        assert len(np.unique(data.pairs)) == data.pairs.size

    def test_the_jaccard_is_spread_evenly(self):
        """Over 0.1 to 0.9; a set has 30 elements at least, so rounding moves it by 0.02."""
        found = datasets.near_duplicates(20_000).jaccard
        assert 0.08 < found.min() < 0.11 and 0.89 < found.max() < 0.92
        assert scipy.stats.kstest(found, "uniform", (0.1, 0.8)).statistic < 0.03

    def test_chunks_and_shorter_lists_are_parts_of_the_whole(self):
        whole, short = datasets.near_duplicates(2500, seed=1), datasets.near_duplicates(1300, seed=1)
        chunks = datasets.near_duplicates_chunks(2500, seed=1)
        assert np.array_equal(np.concatenate([chunks[k].pairs for k in range(3)]), whole.pairs)
        assert all(map(np.array_equal, itertools.chain.from_iterable(chunk.sets for chunk in chunks), whole.sets))
        assert all(map(np.array_equal, short.sets, whole.sets[:1300])) and short.pairs.max() < 1300
        assert not np.array_equal(whole.sets[0], datasets.near_duplicates(1).sets[0])

    @pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 10, "size": 500}])
    def test_impossible_lists_are_refused(self, wrong):
        with pytest.raises(ValueError, match="at least one set"):
            datasets.near_duplicates_chunks(**wrong)


class TestInteractions:
    def test_items_follow_the_law_that_it_names(self):
        """Chi-squared over all users together: events of each item against the sum of the laws of those users."""
        data = datasets.interactions(3000, 30, seed=2)
        events = np.bincount(data.user, minlength=3000)
        expected = sum(n * data.probability(user) for user, n in enumerate(events))
        assert scipy.stats.chisquare(np.bincount(data.item, minlength=30), expected).pvalue > LEVEL

    def test_taste_matters(self):
        """Users whose taste is for an item meet it more often than popularity says, the others less."""
        data = datasets.interactions(3000, 30)
        item = data.popularity.argmax()
        likes = data.taste @ data.traits[item] > 0
        met = data.item == item
        share = [met[likes[data.user] == side].mean() for side in (False, True)]
        assert share[1] > 2 * share[0]

    def test_events_are_in_order_of_user_and_time(self):
        data = datasets.interactions(2000, 50)
        assert np.all(np.diff(data.user) >= 0)
        same = np.diff(data.user) == 0
        assert np.all(np.diff(data.time)[same] >= 0) and data.time.max() < 365 * 24 * 3600
        counts = np.bincount(data.user)
        assert counts.min() >= 5 and abs(counts.mean() - 25) < 5 * 20.5 / np.sqrt(2000)

    def test_chunks_and_fewer_users_are_parts_of_the_whole(self):
        whole = datasets.interactions(2500, 40, seed=3)
        chunks = datasets.interactions_chunks(2500, 40, seed=3)
        for name in ("user", "item", "time", "taste"):
            parts = np.concatenate([getattr(chunk, name) for chunk in chunks])
            assert np.array_equal(parts, getattr(whole, name))
        fewer = datasets.interactions(1500, 40, seed=3)
        assert np.array_equal(fewer.item, whole.item[: len(fewer.item)])
        assert chunks[1].probability(1100) == pytest.approx(whole.probability(1100))

    @pytest.mark.parametrize("wrong", [{"users": 0}, {"items": 0}, {"size": 1000}])
    def test_impossible_logs_are_refused(self, wrong):
        with pytest.raises(ValueError, match=r"of each|multiple"):
            datasets.interactions_chunks(**{"users": 5, "items": 5} | wrong)
