"""What notebooks import: checking, datasets, device, engines, hashing, plotting, ranks, scaling, demo_size, own.

Importing this package reads nothing, writes nothing and needs no home directory; its parts are loaded on first use.
"""

import importlib
import os

__all__ = ["checking", "datasets", "demo_size", "device", "engines", "hashing", "own", "plotting", "ranks", "scaling"]
__version__ = "0.1.0"

_PARTS = ("checking", "datasets", "device", "engines", "hashing", "plotting", "ranks", "scaling")


def __getattr__(name):
    if name == "own":
        return importlib.import_module(f"{__name__}.earlier").own
    if name in _PARTS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def demo_size(full: int, small: int, gpu: int | None = None) -> int:
    """The size for a demo cell: `small` when LSML_DEMO=small, `gpu` (if given) on a CUDA machine, else `full`.

    full, small, gpu: counts (rows, steps, ...), returned as they are given.

    >>> demo_size(full=100_000, small=2_000)
    100000
    """
    if os.environ.get("LSML_DEMO") == "small":
        return small
    if gpu is not None:
        from lsml_utils import device

        if device.best().startswith("cuda"):
            return gpu
    return full
