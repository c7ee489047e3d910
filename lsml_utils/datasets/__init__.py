"""The course's data. `datasets.list()` shows all of it; each dataset is a function that returns a small dataclass."""

from lsml_utils.datasets.bundled import breast_cancer, diabetes, digits, python_help, wine
from lsml_utils.datasets.points import blobs, blobs_chunks, linear, linear_chunks, moons, moons_chunks

__all__ = [
    "blobs",
    "blobs_chunks",
    "breast_cancer",
    "diabetes",
    "digits",
    "linear",
    "linear_chunks",
    "moons",
    "moons_chunks",
    "python_help",
    "wine",
]
