"""`patients` holds the truth that it names: who is who, and the law of the diagnoses."""

import itertools

import numpy as np
import pytest
import scipy.stats

from lsml_utils import datasets

LEVEL = 1e-6


def test_every_patient_stands_in_the_register():
    data = datasets.patients(1500, seed=3)
    place = {person: i for i, person in enumerate(data.register_person.tolist())}
    assert len(place) == len(data.register) == 4500 and len(set(data.person.tolist())) == 1500
    rows = [place[person] for person in data.person.tolist()]
    assert np.array_equal(data.register[rows], data.rows)
    keys = [tuple(row) for row in data.register.tolist()]
    assert keys == sorted(keys)


def test_where_a_patient_stands_in_the_register_tells_nothing():
    """The register is in the order of its rows, and person numbers are hashes: none follows from a patient's number."""
    data = datasets.patients(2000)
    assert abs(scipy.stats.spearmanr(np.arange(2000), data.person.astype(float)).statistic) < 5 / np.sqrt(2000)


def test_diagnoses_follow_the_law_that_it_names():
    """Chi-squared of the diagnoses against the sum of the patients' laws, for the young and the old."""
    data = datasets.patients(20_000, seed=1)
    law = data.probability(data.rows)
    assert law.sum(axis=1) == pytest.approx(1)
    for part in (data.rows[:, 1] < 45, data.rows[:, 1] >= 45):
        found = np.bincount(data.diagnosis[part], minlength=len(data.names))
        assert scipy.stats.chisquare(found, law[part].sum(axis=0)).pvalue > LEVEL


def test_people_follow_the_law_that_it_names():
    """Sex and job are uniform, postcodes follow Zipf's law, and patients are as all people are."""
    data = datasets.patients(20_000)
    for rows in (data.rows, data.register):
        assert scipy.stats.chisquare(np.bincount(rows[:, 2], minlength=2)).pvalue > LEVEL
        assert scipy.stats.chisquare(np.bincount(rows[:, 3], minlength=12)).pvalue > LEVEL
    share = np.sort(np.bincount(data.register[:, 0], minlength=100))[::-1] / 60_000
    law = np.arange(1, 101) ** -0.7
    assert share == pytest.approx(law / law.sum(), rel=0.35)
    assert data.rows[:, 1].max() < 90 and data.rows[:, 0].max() < 100
    for least in (1, 3, 10, 30):  # the whole part of a log-normal number is at least this
        hits, law = int(np.sum(data.days - 1 >= least)), scipy.stats.norm.sf(np.log(least) - 1)
        assert scipy.stats.binomtest(hits, 20_000, law).pvalue > LEVEL
    assert data.days.min() == 1 and data.days.max() <= 400


def test_heights_end_in_one_class():
    for column, top in zip(datasets.patients(1).heights, (100, 90, 2, 12), strict=True):
        assert np.array_equal(column[0], np.arange(top)) and not column[-1].any()
        for fine, coarse in itertools.pairwise(column):  # a class is a union of finer ones
            assert len(set(zip(fine.tolist(), coarse.tolist(), strict=True))) == len(set(fine.tolist()))


def test_a_patient_does_not_depend_on_the_number():
    few, many, other = datasets.patients(1100), datasets.patients(2500), datasets.patients(1100, seed=1)
    for name in ("rows", "diagnosis", "days", "person"):
        assert np.array_equal(getattr(few, name), getattr(many, name)[:1100])
        assert not np.array_equal(getattr(few, name), getattr(other, name))


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 5, "seed": -1}])
def test_impossible_hospitals_are_refused(wrong):
    with pytest.raises(ValueError, match="n = "):
        datasets.patients(**wrong)
