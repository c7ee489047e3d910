"""What the datasets are: small frozen dataclasses that say their shapes instead of printing their numbers."""

from dataclasses import dataclass, fields

import numpy as np


class Described:
    """Shows each field in a few characters: arrays as shape and dtype, sparse ones with the number of their entries,
    long text and lists by their length."""

    def __repr__(self) -> str:
        lines = [f"{field.name}: {_brief(getattr(self, field.name))}" for field in fields(self)]
        return f"{type(self).__name__}({', '.join(lines)})"


def _brief(value) -> str:
    if isinstance(value, np.ndarray):
        return f"{'×'.join(map(str, value.shape)) or 'scalar'} {value.dtype}"
    if hasattr(value, "nnz"):
        return f"{'×'.join(map(str, value.shape))} {value.dtype}, {value.nnz:,} entries"
    if isinstance(value, str) and len(value) > 60:
        return f"{len(value):,} characters"
    if isinstance(value, list | tuple | dict) and len(value) > 6:
        return f"{len(value):,} items"
    return repr(value)


@dataclass(frozen=True, repr=False)
class Tabular(Described):
    """X: (n, d) float64, a row an example. y: (n,) numbers to predict, or class numbers. feature_names: d names.
    target_names: a name for each class, empty for a regression."""

    X: np.ndarray
    y: np.ndarray
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Digits(Described):
    """X: (n, 64) float64 in 0..16. y: (n,) int in 0..9. images: the same numbers as (n, 8, 8)."""

    X: np.ndarray
    y: np.ndarray

    @property
    def images(self) -> np.ndarray:
        """(n, 8, 8) view of X."""
        return self.X.reshape(-1, 8, 8)


@dataclass(frozen=True, repr=False)
class Text(Described):
    """text: one long string. topics: the same by topic. source: where it was read."""

    text: str
    topics: dict[str, str]
    source: str


@dataclass(frozen=True, repr=False)
class Linear(Described):
    """y = X θ + noise. X: (n, d) float64. y: (n,). theta: (d,), the true θ. condition: λmax/λmin of XᵀX/n.
    noise: standard deviation of the noise in y."""

    X: np.ndarray
    y: np.ndarray
    theta: np.ndarray
    condition: float
    noise: float


@dataclass(frozen=True, repr=False)
class Points(Described):
    """X: (n, d) float64. y: (n,) int, the true group of each point. centers: (k, d) true centres, or None."""

    X: np.ndarray
    y: np.ndarray
    centers: np.ndarray | None = None
