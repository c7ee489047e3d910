"""Shares out the time of one notebook: to each exercise its own, and apart from it to the cells that stand beside.

An exercise pays for what is asked of its functions, and for its own cells. Added cells, and the cells of the other
exercises, have time of their own, as much for each kind as half a notebook; so a slow one takes nothing from an
exercise that does without it.
"""

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from autograder.sandbox import Limits
from autograder.submission import SourceCell
from autograder.submission.submission import Purse

TIMES = ("cell_seconds", "call_seconds", "notebook_seconds")  # limits that are kept on our side
PATIENCE = 4.0  # time limits stretch at most so far where the machine has more work than cores
BESIDE = 0.5  # of the notebook's time
SLOW = 1.0  # seconds; cells that take longer together are not run again for exercises that can do without
QUICK = 0.1  # seconds; the same, where the time for such cells is used up
LEAST = 0.05  # seconds; with less nothing is begun
LATE = 2  # exercises that ran into their time; what comes after them has HURRIED of its own
HURRIED = 0.25


def patience() -> float:
    """What clocks are multiplied by, so that a busy machine takes no marks from honest work: 1 on a quiet one.

    To be asked while none of a student's processes runs. The average load remembers those of the notebook before; how
    many processes want to run at this moment does not.
    """
    if not hasattr(os, "getloadavg"):
        return 1.0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = min(os.getloadavg()[0], running())
    return min(max(load / cores, 1.0), PATIENCE)


def running() -> float:
    """How many processes and threads of the machine run or wait for a core now; inf where nobody says."""
    try:
        with open("/proc/loadavg") as file:
            return float(file.read().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return float("inf")


class Budget:
    """The time of one notebook, for as often as it is tried: what was used stays used."""

    def __init__(self, limits: Limits, exercises: Collection[str], stretch: float = 1.0, firm: bool = False):
        self.stretch = stretch
        self.firm = firm  # no call may take longer than `limits` say, also where a test allows it more
        self.stopped: frozenset[str] = frozenset()  # labels of cells that had to be killed, and are not tried again
        self.limits = replace(limits, **{name: getattr(limits, name) * stretch for name in TIMES})
        self.late: set[str] = set()  # the exercises that ran into a limit on time
        self._waiting = len(exercises)  # that have not begun
        self._granted: dict[str, float] = {}
        self._spent: Counter[str] = Counter()
        self._beside = dict.fromkeys(("added", "exercise"), BESIDE * self.limits.notebook_seconds)
        self._took: dict[str, float] = {}  # how long each cell ran when it took longest, by label
        self._look: tuple[str, float] | None = None  # an exercise that is first to have less, and until it spent what

    def begin(self, exercise: str) -> None:
        """Give an exercise its share. No exercise may use up the time of those behind it; what it leaves is theirs."""
        if exercise not in self._granted:
            self._granted[exercise] = self._share(exercise)
            self._waiting -= 1

    def look(self, exercise: str, seconds: float) -> None:
        """Let an exercise have so little of its share until `end_look`."""
        self.begin(exercise)
        self._look = exercise, self._spent[exercise] + seconds * self.stretch

    def end_look(self) -> bool:
        """Give it the rest; whether it might have needed that."""
        exercise, _ = self._look
        over = self.left(exercise) < LEAST
        self._look = None
        return over

    def hurried(self, exercise: str) -> float:
        """What an exercise's limits on time are multiplied by: a notebook full of loops delays nobody for long."""
        return HURRIED if len(self.late - {exercise}) >= LATE else 1.0

    def _share(self, exercise: str) -> float:
        free = self.limits.notebook_seconds - sum(self._spent.values())
        return self.hurried(exercise) * free / max(self._waiting, 1)

    def left(self, exercise: str) -> float:
        """The seconds that an exercise still has."""
        granted = self._granted.get(exercise, self._share(exercise))
        if self._look is not None and self._look[0] == exercise:
            granted = min(granted, self._look[1])
        return max(0.0, granted - self._spent[exercise])

    def spend(self, exercise: str, seconds: float) -> None:
        """Take note of what an exercise used."""
        self._spent[exercise] += seconds

    def purse(self, exercise: str, everything: bool = False) -> "CellPurse":
        """For the cells of one child in which an exercise is judged; `everything`: it pays for them all if need be."""
        return CellPurse(exercise, self.left(exercise), self._beside, self._took, everything)

    def settle(self, purse: "CellPurse") -> None:
        """Pay what the cells of a child took."""
        self._spent[purse.exercise] += purse.own
        for kind, seconds in purse.beside.items():
            if purse.everything:
                self._spent[purse.exercise] += max(0.0, seconds - self._beside[kind])
            self._beside[kind] = max(0.0, self._beside[kind] - seconds)
        for label, seconds in purse.took.items():
            self._took[label] = max(seconds, self._took.get(label, 0.0))

    def left_out(self, cells: Sequence[SourceCell], exercise: str) -> frozenset[str]:
        """The labels of the cells that an exercise is first judged without: not its own, and those that took longest,
        until the others take no time to speak of."""
        found = set()
        for kind, left in self._beside.items():
            beside = {
                cell.label: self._took[cell.label]
                for cell in cells
                if cell.kind == kind and exercise not in cell.exercises and cell.label in self._took
            }
            total, allowed = sum(beside.values()), SLOW if left > SLOW else QUICK
            for label in sorted(beside, key=beside.get, reverse=True):
                if total <= allowed:
                    break
                found.add(label)
                total -= beside[label]
        return frozenset(found)


class CellPurse(Purse):
    """What the cells of one child may take, and how long each ran.

    The setup is the author's and has as much as any cell. An exercise's own cells take of its time.
    """

    def __init__(
        self, exercise: str, seconds: float, beside: dict[str, float], known: dict[str, float], everything: bool = False
    ):
        self.exercise, self.seconds, self.everything = exercise, seconds, everything
        self._available, self._known = dict(beside), known
        self.own, self.beside = 0.0, dict.fromkeys(beside, 0.0)  # what was used
        self.took: Counter[str] = Counter()

    def left(self, cell: SourceCell) -> float:
        """How long a cell may run now."""
        if cell.kind == "setup":
            return float("inf")
        available = self._available[cell.kind] - self.beside[cell.kind]
        own = self.seconds - self.own
        if self.exercise in cell.exercises and cell.kind == "exercise":
            return own
        if self.exercise in cell.exercises or self.everything:
            return max(available, own)
        # What is known to take no time to speak of is run in any case.
        return max(available, SLOW) if self._known.get(cell.label, SLOW) < QUICK else available

    def spend(self, cell: SourceCell, seconds: float) -> None:
        """Take note that a cell ran for so long."""
        self.took[cell.label] += seconds
        if cell.kind == "exercise" and self.exercise in cell.exercises:
            self.own += seconds
        elif cell.kind != "setup":
            self.beside[cell.kind] += seconds
