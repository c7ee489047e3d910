"""How time and memory grow: competitors measured side by side over sizes, with the exponents that fit."""

import contextlib
import re
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lsml_utils.tables import Table, bytes_text, seconds_text

MORE = 0.2  # share of a curve's budget that may go into more runs than asked for, against the noise of quick calls
SHORTEST = 5e-4  # seconds: a call that takes less is timed several times in a row


@dataclass(frozen=True)
class Measurement:
    """What `measure` found. Displays as a table.

    sizes: (k,). seconds: {name: (k,) seconds of the fastest run}, NaN where a curve was stopped. memory: {name: (k,)
    peak bytes of one call}, empty where it was not measured. exponents: {name: slope of log seconds against log size
    over the larger half of the sizes}, NaN with fewer than three points. notes: which curves were stopped, and why.
    label: what a size is. measured: what the bytes are.
    """

    sizes: np.ndarray
    seconds: dict[str, np.ndarray]
    memory: dict[str, np.ndarray]
    exponents: dict[str, float]
    memory_exponents: dict[str, float]
    label: str
    measured: str
    notes: tuple[str, ...] = field(default=())

    def table(self) -> Table:
        """Seconds and peak memory of every competitor at every size.

        >>> measure({"sum": lambda n: sum(range(n))}, sizes=[10, 100], label="rows").table().columns
        ('rows', 'sum', 'sum, memory')
        """
        columns = [self.label]
        for name in self.seconds:
            columns += [name] + ([f"{name}, memory"] if name in self.memory else [])
        rows = []
        for i, size in enumerate(self.sizes):
            row = [f"{size:,}"]
            for name, seconds in self.seconds.items():
                row.append(seconds_text(seconds[i]) if np.isfinite(seconds[i]) else "stopped")
                if name in self.memory:
                    memory = self.memory[name][i]
                    row.append(bytes_text(memory) if np.isfinite(memory) else "")
            rows.append(tuple(row))
        fit = ["grows as"]
        for name in self.seconds:
            known = [self.exponents[name]] + ([self.memory_exponents[name]] if name in self.memory else [])
            fit += [_power(p, self._size()) for p in known]
        notes = (*self.notes, f"Memory: {self.measured}.") if self.memory else self.notes
        return Table(tuple(columns), [*rows, tuple(fit)], numeric=tuple(range(len(columns))), notes=notes)

    def _size(self) -> str:
        """The letter that stands for a size: the one in a label such as "rows m (d = 50)", else n."""
        letter = re.search(r"\b[b-zB-HJ-Z]\b", self.label.partition("(")[0])
        return letter[0] if letter else "n"

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def plot(self, ax=None, peer: str | None = None, what: str = "seconds"):
        """A log-log plot; the legend has each curve's exponent and its ratio to the peer's. Returns the Axes.

        peer: the competitor to compare with, the last one by default. what: "seconds" or "memory". The ratio is taken
        at the largest size that both reached. A curve of fewer than three points has no exponent.

        >>> found = measure({"a": lambda n: None, "b": lambda n: None}, sizes=[10, 100])
        >>> found.plot(peer="b").get_xscale()
        'log'
        """
        from lsml_utils import plotting

        series = {"seconds": self.seconds, "memory": self.memory}[what]
        exponents = {"seconds": self.exponents, "memory": self.memory_exponents}[what]
        peer = list(series)[-1] if peer is None and len(series) > 1 else peer
        ax = plotting._axes(ax)
        for i, (name, values) in enumerate(series.items()):
            ratio = _ratio(values, series[peer], self.sizes) if peer is not None and name != peer else ""
            style = {"color": plotting._colour(i), "linestyle": plotting.DASHES[i % len(plotting.DASHES)]}
            known = np.isfinite(values) & (values > 0)
            ratio = " (the peer)" if name == peer else ratio
            grows = _power(exponents[name], self._size())
            label = f"{name}: ${grows.replace('^', '^{')}}}${ratio}" if "^" in grows else f"{name}{ratio}"
            ax.plot(
                self.sizes[known],
                values[known],
                marker=plotting.MARKERS[i % len(plotting.MARKERS)],
                label=label,
                **style,
            )
        ax.set(xscale="log", yscale="log", xlabel=self.label)
        ax.set_ylabel("seconds" if what == "seconds" else "peak bytes")
        plotting.legend_below(ax, columns=1)
        return ax


def measure(
    competitors: Mapping[str, Callable],
    sizes: Sequence[int],
    setup: Callable | None = None,
    budget: float = 5.0,
    repeat: int = 3,
    label: str = "n",
    memory: str | None = "allocated",
    threads: int | None = None,
) -> Measurement:
    """Seconds and peak memory of each competitor at each size, in turns, so that other load falls on all alike.

    competitors: {name: function}. sizes: increasing. setup: size -> tuple of arguments (or the one argument) that all
    competitors are called with, made once a size; they must not change it. Without it they get the size itself.
    budget: seconds for the whole measurement, shared equally: a curve whose next point would exceed its share is
    stopped, and `notes` says so. repeat: timed runs at each size (quick calls get up to five times as many), after one
    that warms up; the fastest counts. label: what a size is.
    memory: "allocated" (what Python and numpy allocate in one call, by tracemalloc; torch's own memory is not seen),
    "resident" (growth of this process, sampled every 2 ms; sees everything, blurs small peaks), "cuda" (torch's
    allocator on the GPU, exact), or None. The memory run is apart from the timed ones.
    threads: at most so many for BLAS and OpenMP while measuring; 1 gives steadier numbers where others use the machine.

    >>> found = measure({"sort": sorted}, sizes=[1000, 10_000], setup=lambda n: list(range(n)))
    >>> found.seconds["sort"].shape
    (2,)
    """
    sizes = np.asarray(sizes)
    if sizes.ndim != 1 or not len(sizes) or (np.diff(sizes) <= 0).any():
        raise ValueError("sizes must be increasing")
    if memory not in _MEMORY:
        raise ValueError(f"memory = {memory!r}: it must be one of {', '.join(map(repr, _MEMORY))}")
    curves = {name: _Curve(function, budget / len(competitors)) for name, function in competitors.items()}
    with _limited(threads):
        notes = _take_turns(curves, sizes.tolist(), setup, budget, repeat, label, memory)
    seconds = {name: np.array([curve.best.get(s, np.nan) for s in sizes.tolist()]) for name, curve in curves.items()}
    peaks = {name: np.array([curve.peak.get(s, np.nan) for s in sizes.tolist()]) for name, curve in curves.items()}
    return Measurement(
        sizes=sizes,
        seconds=seconds,
        memory=peaks if memory else {},
        exponents={name: exponent(sizes, values) for name, values in seconds.items()},
        memory_exponents={name: exponent(sizes, values) for name, values in peaks.items()} if memory else {},
        label=label,
        measured=_MEMORY[memory],
        notes=tuple(notes),
    )


def _take_turns(curves, sizes, setup, budget, repeat, label, memory) -> list[str]:
    """Fill the curves size by size; which of them were stopped, and why."""
    begun, notes = time.perf_counter(), []
    for size in sizes:
        running = {}
        for name, curve in curves.items():
            if curve.stopped:
                continue
            predicted, left = curve.predict(size), curve.left(budget - (time.perf_counter() - begun))
            if predicted > left:
                curve.stopped = True
                rest = f"{seconds_text(left)} of its budget are left" if left > 0 else "its budget is spent"
                notes.append(
                    f"{name} is stopped before {label} = {size:,}: "
                    f"one run would take about {seconds_text(predicted)}, and {rest}."
                )
            else:
                running[name] = curve
        if not running:
            break
        arguments = (size,) if setup is None else setup(size)
        arguments = arguments if isinstance(arguments, tuple) else (arguments,)
        for curve in running.values():
            curve.warm_up(size, arguments, memory)
        quick = MORE * budget / len(curves) / len(sizes)
        for i in range(5 * repeat):
            order = [curve for curve in running.values() if i < repeat or curve.spent_at(size) < quick]
            for curve in order[i % max(1, len(order)) :] + order[: i % max(1, len(order))]:
                curve.run(size, arguments)
    return notes


def _limited(threads: int | None):
    """A context in which numerical libraries use at most so many threads."""
    if threads is None:
        return contextlib.nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=threads)


_MEMORY = {
    "allocated": "most bytes that Python and numpy held at once in one call (tracemalloc; torch's own are not seen)",
    "resident": "growth of this process's resident memory in one call (sampled every 2 ms)",
    "cuda": "most bytes that torch held at once on the GPU in one call",
    None: "",
}


class _Curve:
    """One competitor: what it has taken so far, and whether it goes on."""

    def __init__(self, function: Callable, share: float):
        self.function, self.share = function, share
        self.spent, self.stopped, self.warm = 0.0, False, False
        self.runs: dict[int, float] = {}  # seconds in timed runs at each size
        self.best: dict[int, float] = {}
        self.peak: dict[int, float] = {}

    def spent_at(self, size: int) -> float:
        return self.runs.get(size, 0.0)

    def left(self, of_all: float) -> float:
        return min(self.share - self.spent, of_all)

    def predict(self, size: int) -> float:
        """Seconds of one run at a size, from the growth over the last four points (linear where only one is known)."""
        if not self.best:
            return 0.0
        known = sorted(self.best)[-4:]
        slope = 1.0
        if len(known) > 1:
            slope = max(0.0, np.polyfit(np.log(known), np.log([self.best[n] for n in known]), 1)[0])
        return self.best[known[-1]] * (size / known[-1]) ** slope

    def warm_up(self, size: int, arguments: tuple, memory: str | None) -> None:
        begun = time.perf_counter()
        _call(self.function, arguments)
        warm = time.perf_counter() - begun
        self.spent += warm
        self.best[size] = max(warm, 1e-9)
        self.warm = True
        slower = 4.0 if memory == "allocated" else 1.0  # tracing every allocation takes time
        if memory and self.spent + slower * warm <= self.share:
            begun = time.perf_counter()
            self.peak[size] = _peak(self.function, arguments, memory)
            self.spent += time.perf_counter() - begun

    def run(self, size: int, arguments: tuple) -> None:
        expected = self.best[size]
        times = max(1, min(1000, int(SHORTEST / max(expected, 1e-9))))
        if self.spent + expected * times > self.share:
            return
        begun = time.perf_counter()
        for _ in range(times):
            self.function(*arguments)
        _wait()
        took = time.perf_counter() - begun
        self.spent += took
        self.runs[size] = self.spent_at(size) + took
        self.best[size] = took / times if self.warm else min(self.best[size], took / times)
        self.warm = False


def _call(function: Callable, arguments: tuple) -> None:
    function(*arguments)
    _wait()


def _wait() -> None:
    """Wait for a GPU that is in use."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()


def _peak(function: Callable, arguments: tuple, memory: str) -> float:
    if memory == "allocated":
        was_on = tracemalloc.is_tracing()
        if not was_on:
            tracemalloc.start()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        try:
            function(*arguments)
            return tracemalloc.get_traced_memory()[1] - before
        finally:
            if not was_on:
                tracemalloc.stop()
    from lsml_utils import device

    with device.peak_memory("cuda" if memory == "cuda" else "cpu") as peak:
        _call(function, arguments)
    return peak.bytes


def exponent(sizes, values) -> float:
    """The p of values ~ sizes**p: the least-squares slope on log-log axes over the larger half of the known points
    (all of them up to three). NaN with fewer than three, for a line through two points fits any noise. sizes, values:
    (k,), positive; NaN in values is left out.

    >>> round(exponent([10, 100, 1000], [3.0, 300.0, 30000.0]), 6)
    2.0
    """
    sizes, values = np.asarray(sizes, float), np.asarray(values, float)
    known = np.isfinite(values) & (values > 0)
    x, y = np.log(sizes[known]), np.log(values[known])
    if len(x) < 3:
        return float("nan")
    keep = max(len(x) - len(x) // 2, 3)
    return float(np.polyfit(x[-keep:], y[-keep:], 1)[0])


def _power(p: float, size: str) -> str:
    return "?" if np.isnan(p) else f"{size}^{p:.2f}"


def _ratio(values, peer, sizes) -> str:
    both = np.flatnonzero(np.isfinite(values) & np.isfinite(peer) & (peer > 0))
    if not len(both):
        return ""
    ratio = values[both[-1]] / peer[both[-1]]
    if not ratio > 0:
        return ""
    large = max(ratio, 1 / ratio)
    shown = f"{float(f'{large:.3g}'):,.0f}" if large >= 100 else f"{large:.3g}"
    shown = f"1/{shown} of" if ratio < 0.995 else f"{shown}×"
    return f", {shown} the peer at {sizes[both[-1]]:,}"
