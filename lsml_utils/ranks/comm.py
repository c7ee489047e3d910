"""How a rank reaches the others, and why ranks cannot go on."""

import itertools

import numpy as np

MESSAGES = 100_000  # that one rank may send
BYTES = 1 << 30  # that may be on their way


class RankError(RuntimeError):
    """Why the ranks cannot go on: one sentence."""


class Comm:
    """How a rank reaches the others: `rank` (0 to size - 1), `size`, and these methods."""

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size

    def send(self, to: int, array: np.ndarray) -> None:
        """Send a copy of an array to another rank. Never waits. Raises ValueError for a rank that is not another one.

        array: what numpy.asarray makes an array of numbers or booleans of; any shape.
        """
        array = np.array(array)
        if array.dtype.kind not in "biufc":
            raise TypeError(f"rank {self.rank} sends an array of {array.dtype}: numbers and booleans can be sent")
        self._post(self._other("sends to", to), array)

    def recv(self, source: int) -> np.ndarray:
        """The next array that this rank has not yet received from `source`, as it was sent; waits for it.

        Messages between two ranks arrive in the order in which they were sent.
        """
        return self._fetch(self._other("receives from", source))

    def work(self, seconds: float) -> None:
        """Let the simulated clock of this rank go on, as if it computed so long. Nothing happens in `launch`."""

    def _other(self, does, rank):
        if isinstance(rank, (int, np.integer)) and rank != self.rank and 0 <= rank < self.size:
            return int(rank)
        whom = "itself" if rank == self.rank else f"rank {rank!r}, and there are ranks 0 to {self.size - 1}"
        raise ValueError(f"rank {self.rank} {does} {whom}")


def not_too_much(rank: int, count: int, afloat: int, most: int = MESSAGES) -> None:
    """Raise RankError where a rank has sent more than `most` messages, or too many bytes are on their way."""
    if count > most:
        raise RankError(f"rank {rank} has sent more than {most:,} messages")
    if afloat > BYTES:
        raise RankError(f"more than {BYTES >> 20:,} MiB are sent and not received; the last sender was rank {rank}")


def deadlock(waits: dict[int, str], size: int) -> str:
    """Says that the ranks in `waits` wait for ever."""
    shown = [f"rank {rank} waits for {whom}" for rank, whom in itertools.islice(waits.items(), 4)]
    more = f" and {len(waits) - 4} more" if len(waits) > 4 else ""
    ended = "; the others have ended" if len(waits) < size else ""
    return f"nothing is on its way, and {', '.join(shown)}{more}{ended}"


def unreceived(source: int, to: int, count: int) -> str:
    """Says that messages were never received."""
    what = "the message" if count == 1 else f"{count:,} messages"
    return f"rank {to} never received {what} that rank {source} sent it"
