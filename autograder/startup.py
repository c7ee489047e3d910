"""What makes a command start and end sooner.

Imports leave nothing that a garbage collector could free, but it looks for it all the same: a quarter of the time that
torch, scipy and scikit-learn take to import, and a second when the interpreter ends.
"""

import atexit
import contextlib
import gc
from collections.abc import Iterator

atexit.register(gc.freeze)  # what is frozen is not looked at


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Collect no garbage within."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
