"""What one submission may use."""

from dataclasses import dataclass

REPLY_FACTOR = 8


@dataclass(frozen=True)
class Limits:
    """The limits of one child; memory counts above the freshly forked process, all its processes together."""

    cell_seconds: float = 20.0  # wall-clock time of one cell
    call_seconds: float = 10.0  # wall-clock time of one call, callbacks included
    notebook_seconds: float = 120.0  # wall-clock time of all that one Submission asks of its children
    memory_mb: int = 1024  # anonymous and shared memory, and files in the scratch folder
    processes: int = 64  # processes and threads
    disk_mb: int = 64  # scratch folder (/tmp, held in memory)
    files: int = 4096  # files and folders in it
    callback_calls: int = 1_000_000  # calls back into the grader, all together
    callback_kb: int = 256  # bytes of arguments of one such call, or twice what the request carried if that is more
    callback_mb: int = 2048  # bytes that cross in them, all together
    reply_mb: int = 128  # one answer, counted as float64, or REPLY_FACTOR times what the submission was sent
    answer_mb: int = 2048  # bytes that one Submission's answers may have, all together
    handles: int = 100_000  # objects that the grader may hold there


DEFAULT = Limits()
