"""requests holds the truth that it names."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from lsml_utils import datasets

LEVEL = 1e-6


def test_requests_come_with_the_intensity_that_it_names():
    """Chi-squared over ten-minute cells of two days: the counts are Poisson with the integral of the intensity."""
    data = datasets.requests(hours=48, rate=0.7, seed=2)
    expected = data.intensity(np.arange(48 * 3600.0)).reshape(-1, 600).sum(axis=1)
    counts = np.bincount((data.time // 600).astype(int), minlength=len(expected))
    assert scipy.stats.chi2.sf(np.sum((counts - expected) ** 2 / expected), len(expected)) > LEVEL
    assert np.all(np.diff(data.time) >= 0) and data.time[0] >= 0 and data.time[-1] < 48 * 3600


def test_bursts_stand_out_of_the_rhythm():
    data = datasets.requests(hours=1, rate=1.0, seed=4)
    for day in (0, 3):
        for start, end, factor in data.bursts(day):
            assert day * 86_400 <= start < end <= (day + 1) * 86_400
            assert 120 <= end - start <= 420 and 2.5 <= factor <= 4
            inside, before = data.intensity(np.array([start, start - 1]))
            assert inside / before == pytest.approx(factor, rel=1e-3)


def test_one_column_drifts_and_the_others_do_not():
    data = datasets.requests(hours=24 * 5, rate=0.1, seed=1)
    centred = data.X.copy()
    centred[:, 0] -= data.drift_per_day * data.time / 86_400
    for column in centred.T:
        assert scipy.stats.kstest(column, "norm").pvalue > LEVEL
    assert data.prompt.min() >= 1 and data.output.min() >= 1 and max(data.prompt.max(), data.output.max()) <= 1000


def test_chunks_and_fewer_hours_are_parts_of_the_whole():
    whole = datasets.requests(hours=30, rate=0.2, seed=3)
    for size in (1, 7, 40):
        chunks = datasets.requests_chunks(hours=30, rate=0.2, seed=3, size=size)
        assert chunks.rows == len(whole.time) and len(chunks) == -(-30 // size)
        for name in ("time", "X", "prompt", "output"):
            assert np.array_equal(np.concatenate([getattr(chunk, name) for chunk in chunks]), getattr(whole, name))
    fewer = datasets.requests(hours=5, rate=0.2, seed=3)
    assert np.array_equal(fewer.time, whole.time[: len(fewer.time)])
    assert not np.array_equal(datasets.requests(hours=5, rate=0.2, seed=4).time, fewer.time)
    for bad in ({"hours": 0}, {"rate": 0.0}):
        with pytest.raises(ValueError, match="at least one hour"):
            datasets.requests(**bad)


def test_the_module_stands_in_nobodys_way():
    """`import requests` is the HTTP library where there is one, whatever was imported before."""
    code = "import lsml_utils.datasets, importlib.util as u; print('lsml' in str(u.find_spec('requests')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
