"""Bounds the memory of this process while it judges: a small answer can make a test ask for very much."""

import contextlib
import sys
from collections.abc import Iterator

JUDGING_MB = 4096  # beyond what the process holds already


@contextlib.contextmanager
def bounded(megabytes: int = JUDGING_MB) -> Iterator[None]:
    """Make what asks for more raise MemoryError. Linux only: other people's work is graded nowhere else.

    The limit is the process's, for all its threads: let one at a time use this.
    """
    try:
        import resource

        import psutil
    except ImportError:  # Windows has no limits to set
        resource = None
    if resource is None or sys.platform != "linux":
        yield
        return

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = psutil.Process().memory_info().data + (megabytes << 20)
    limits = [wanted, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
