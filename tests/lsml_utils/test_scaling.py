"""scaling.measure: with a clock that only the competitors move, every number is known."""

import numpy as np
import pytest

from lsml_utils import scaling


@pytest.fixture
def clock(monkeypatch):
    """perf_counter stands still unless a competitor takes time: `clock.taking(f)` makes one that takes f(n) seconds."""

    class Clock:
        def __init__(self):
            self.now, self.calls = 0.0, []

        def taking(self, seconds, name=None):
            def competitor(n, *_):
                self.now += seconds(n)
                self.calls.append((name, n))

            return competitor

    clock = Clock()
    monkeypatch.setattr(scaling.time, "perf_counter", lambda: clock.now)
    return clock


def test_exponents_and_seconds_are_those_of_the_competitors(clock):
    found = scaling.measure(
        {"square": clock.taking(lambda n: 1e-6 * n**2), "linear": clock.taking(lambda n: 1e-5 * n)},
        sizes=[10, 20, 40, 80],
        budget=1000.0,
        memory=None,
    )
    assert found.seconds["square"] == pytest.approx([1e-4, 4e-4, 16e-4, 64e-4])
    assert found.seconds["linear"] == pytest.approx([1e-4, 2e-4, 4e-4, 8e-4])
    assert found.exponents == pytest.approx({"square": 2.0, "linear": 1.0})
    assert found.notes == () and found.memory == {}


def test_a_curve_that_would_exceed_its_budget_is_stopped_and_says_so(clock):
    found = scaling.measure(
        {"cubic": clock.taking(lambda n: 1e-3 * n**3), "linear": clock.taking(lambda n: 1e-3 * n)},
        sizes=[1, 2, 4, 8, 16, 32],
        budget=20.0,
        memory=None,
        label="rows",
    )
    assert np.isfinite(found.seconds["linear"]).all()
    assert np.isfinite(found.seconds["cubic"][:4]).all() and np.isnan(found.seconds["cubic"][5])
    (note,) = found.notes
    assert (
        note.startswith("cubic is stopped before rows = ")
        and "one run would take about " in note
        and "its budget" in note
    )
    assert clock.now <= 20.0 * 1.05
    assert "stopped" in repr(found) and note in repr(found) and note in found._repr_html_()


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 3.0, 5.0])
def test_the_whole_measurement_keeps_to_its_budget(clock, power):
    competitors = {str(i): clock.taking(lambda n, i=i: 1e-3 * (i + 1) * n**power) for i in range(3)}
    scaling.measure(competitors, sizes=[2**k for k in range(12)], budget=5.0, memory=None)
    assert clock.now <= 5.0 * 1.1


def test_competitors_take_turns_and_each_begins_a_round(clock):
    competitors = {name: clock.taking(lambda n: 1.0, name) for name in "abc"}
    scaling.measure(competitors, sizes=[1], budget=1e6, repeat=3, memory=None)
    assert [name for name, _ in clock.calls][:12] == list("abc" + "abc" + "bca" + "cab")


def test_quick_calls_are_timed_in_a_row_and_more_often(clock):
    scaling.measure({"a": clock.taking(lambda n: 1e-6)}, sizes=[1], budget=10.0, repeat=2, memory=None)
    assert 4900 <= len(clock.calls) <= 1 + 5 * 2 * 500


def test_the_warm_up_does_not_count(clock):
    first = []

    def slow_at_first(n):
        clock.now += 1.0 if not first else 0.1
        first.append(n)

    found = scaling.measure({"a": slow_at_first}, sizes=[1], budget=100.0, memory=None)
    assert found.seconds["a"] == pytest.approx([0.1])


def test_set_up_is_made_once_a_size_and_shared():
    made, seen = [], []

    def setup(n):
        made.append(n)
        return np.arange(n), n

    scaling.measure({"a": lambda x, n: seen.append(len(x)), "b": lambda x, n: seen.append(n)}, [3, 5], setup, repeat=1)
    assert made == [3, 5] and set(seen) == {3, 5}


def test_memory_is_the_peak_not_what_is_left():
    """bytearray(n) is n bytes and a little; the peak is measured though nothing is kept."""

    def twice(n):
        a = bytearray(n)
        del a
        b = bytearray(2 * n)
        del b

    found = scaling.measure({"twice": twice}, sizes=[10**6, 2 * 10**6, 4 * 10**6], budget=5.0)
    assert found.memory["twice"] == pytest.approx([2e6, 4e6, 8e6], rel=0.01)
    assert found.memory_exponents["twice"] == pytest.approx(1.0, abs=0.02)
    assert "tracemalloc" in found.measured


def test_resident_memory_sees_what_is_touched():
    def touch(n):
        return np.ones(n)

    found = scaling.measure({"touch": touch}, sizes=[20_000_000], budget=20.0, memory="resident", repeat=1)
    assert found.memory["touch"][0] > 80e6


def test_tracing_that_was_on_stays_on():
    import tracemalloc

    tracemalloc.start()
    try:
        scaling.measure({"a": lambda n: bytearray(n)}, sizes=[1000], repeat=1)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


def test_a_competitors_error_is_its_own():
    def fails(n):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        scaling.measure({"fails": fails}, sizes=[1])


@pytest.mark.parametrize("arguments", [{"sizes": []}, {"sizes": [2, 1]}, {"sizes": [1], "memory": "gpu"}])
def test_impossible_measurements_are_refused(arguments):
    with pytest.raises(ValueError, match=r"sizes must be increasing|it must be one of"):
        scaling.measure({"a": lambda n: n}, **arguments)


def test_the_plot_has_slopes_and_the_ratio_to_the_peer(clock, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    import matplotlib.pyplot as plt

    competitors = {"mine": clock.taking(lambda n: 6e-6 * n**2), "peer": clock.taking(lambda n: 2e-6 * n**2)}
    found = scaling.measure(competitors, sizes=[100, 200, 400], budget=1e4, memory=None, label="columns")
    ax = found.plot(peer="peer")
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlabel()) == ("log", "log", "columns")
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["mine: $n^{2.00}$, 3× the peer at 400", "peer: $n^{2.00}$ (the peer)"]
    assert ax.get_lines()[0].get_xydata()[:, 1] == pytest.approx(found.seconds["mine"])
    plt.close("all")


@pytest.mark.parametrize(
    ("label", "letter"),
    [("n", "n"), ("columns", "n"), ("rows m (d = 50)", "m"), ("m (rows; d = 20)", "m"), ("rows of a file", "n")],
)
def test_a_power_has_the_letter_of_the_label(clock, label, letter):
    found = scaling.measure(
        {"mine": clock.taking(lambda n: 1e-6 * n)}, [100, 200, 400], budget=1e4, memory=None, label=label
    )
    assert found.table().rows[-1] == ("grows as", f"{letter}^1.00")


@pytest.mark.parametrize(
    ("mine", "said"),
    [
        (2.0, ", 2× the peer at 9"),
        (0.5, ", 1/2 of the peer at 9"),
        (1.0, ", 1× the peer at 9"),
        (12345.0, ", 12,300× the peer at 9"),
        (1 / 4321, ", 1/4,320 of the peer at 9"),
        (np.nan, ""),
        (0.0, ""),
    ],
)
def test_the_ratio_reads_as_a_person_would_say_it(mine, said):
    assert scaling._ratio(np.array([mine]), np.array([1.0]), np.array([9])) == said


def test_threads_are_limited_while_measuring_and_given_back():
    from threadpoolctl import threadpool_info

    def most():
        return max(pool["num_threads"] for pool in threadpool_info())

    before, during = most(), []
    scaling.measure({"a": lambda n: during.append(most())}, sizes=[1], repeat=1, threads=1)
    assert set(during) == {1} and most() == before


def test_exponent_leaves_out_what_is_missing():
    assert scaling.exponent([1, 2, 4, 8, 16], [np.nan, 2.0, 8.0, 32.0, np.nan]) == pytest.approx(2.0)
    assert np.isnan(scaling.exponent([1, 2], [1.0, np.nan]))


def test_two_sizes_have_no_exponent(clock, monkeypatch):
    """The legend and the table of two points claim no power of n."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    import matplotlib.pyplot as plt

    assert np.isnan(scaling.exponent([1, 2, 4], [1.0, 2.0, np.nan]))
    competitors = {"mine": clock.taking(lambda n: 3e-3 * n), "peer": clock.taking(lambda n: 1e-3 * n)}
    found = scaling.measure(competitors, sizes=[100, 200], budget=1e4, memory=None)
    labels = [text.get_text() for text in found.plot().get_legend().get_texts()]
    assert labels == ["mine, 3× the peer at 200", "peer (the peer)"]
    assert found.table().rows[-1] == ("grows as", "?", "?")
    plt.close("all")


def test_exponent_looks_at_the_large_sizes():
    """A constant overhead below does not hide the growth above."""
    sizes = 2.0 ** np.arange(12)
    assert scaling.exponent(sizes, 1e3 + sizes**2) > 1.8
