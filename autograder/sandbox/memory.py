"""The memory that the processes of a box hold together, as /proc tells it: first cheaply, then exactly.

The cheap counters take 0.1 ms a process and are never too low, but count memory that forked processes share once for
each. Proportional shares are exact and take 10 ms a process, more where it holds its memory in many pieces.
"""

import contextlib
import os
import signal
import time
from typing import NamedTuple

EXACT_SECONDS = 0.25  # between two exact looks, and at least REST times as long as the last one took
REST = 4
LOOK_SECONDS = 2.0  # of this process's time, for one exact look
MAPPING_KB = 0.5  # what the kernel keeps for one mapping
MAPPINGS_KB = int(MAPPING_KB * 65_530)  # for the most that one process may have (vm.max_map_count)


class Counters(NamedTuple):
    """What one process holds, in KiB.

    `private` is what is anonymous, in RAM or swapped out, and the page tables: reading a page in every 2 MiB of an
    empty mapping costs 4 KiB of them each, and no other counter sees it.
    """

    private: int
    shared: int


def cheap(pid):
    """Counters of a process by its pid (or "self"); zeros when it is gone."""
    found = _fields(f"/proc/{pid}/status")
    private = sum(found.get(name, 0) for name in ("RssAnon:", "VmSwap:", "VmPTE:", "HugetlbPages:"))
    return Counters(private, found.get("RssShmem:", 0))


def exact(pid):
    """The same, with pages that several processes share divided among them, and the kernel's part of each mapping."""
    shares, tables = _fields(f"/proc/{pid}/smaps_rollup"), _fields(f"/proc/{pid}/status")
    private = shares.get("Pss_Anon:", 0) + shares.get("SwapPss:", 0)
    private += tables.get("VmPTE:", 0) + tables.get("HugetlbPages:", 0)
    return Counters(private + int(_mappings(pid) * MAPPING_KB), shares.get("Pss_Shmem:", 0))


class Meter:
    """Measures one box: process `pid` and all below it, beyond what a fresh child holds (`fresh`, Counters)."""

    def __init__(self, pid, fresh, boxed):
        self.pid, self.fresh, self.boxed = pid, fresh, boxed
        self.next_look = 0.0
        self.rough = self.exact = 0  # by the cheap counters, the least since the last exact look; and that look's

    def kb(self, families, limit_kb):
        """What the box holds, in KiB: roughly where that is within the limit, else exactly. `families`: processes()."""
        family = descendants(self.pid, families)
        files = _scratch_kb(self.pid) if self.boxed else 0
        rough = self._sum(map(cheap, family), self.fresh.private, files)
        most = rough + len(family) * MAPPINGS_KB
        if most <= limit_kb or len(family) == 1:
            return rough
        self.rough = min(self.rough, rough)  # processes that end take their shares away, and hide what the others add
        if time.monotonic() >= self.next_look or rough - self.rough >= limit_kb - self.exact:
            started = time.monotonic()
            with frozen(self.pid) as family:
                self.rough, self.exact = rough, self._look(family, files, most)
            took = time.monotonic() - started
            self.next_look = time.monotonic() + max(EXACT_SECONDS, REST * took)
        return self.exact

    def _look(self, family, files, most):
        """An exact look. A box in so many pieces that it takes too long counts as `most`, which is too much."""
        found, until = [], time.process_time() + LOOK_SECONDS
        for pid in family:
            found.append(exact(pid))
            if time.process_time() > until:
                return most
        # Pages of the fresh child that nobody wrote to are shared by all processes here, this one included.
        fresh = self.fresh.private * len(family) // len(descendants(os.getpid(), processes()))
        return self._sum(found, fresh, files)

    def _sum(self, counters, fresh, files):
        private, shared = map(sum, zip(*counters, strict=True))
        return max(0, private - fresh + max(shared, files))


@contextlib.contextmanager
def frozen(pid):
    """Stop a box and give the pids of all its processes: meanwhile it cannot grow, nor keep the processor busy."""
    stopped = []
    try:
        while found := [one for one in descendants(pid, processes()) if one not in stopped]:
            for one in found:
                _send(one, signal.SIGSTOP)
            stopped += found  # one that was being forked is seen the next time
        yield stopped
    finally:
        for one in stopped:
            _send(one, signal.SIGCONT)


def _send(pid, number):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def processes():
    """{pid: pids of its children} of every process that this one can see."""
    families = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
                families.setdefault(parent, []).append(int(name))
                families.setdefault(int(name), [])
    return families


def descendants(pid, families):
    """A process and all below it."""
    family, at = [pid], 0
    while at < len(family):
        family.extend(families.get(family[at], ()))
        at += 1
    return family


def _scratch_kb(pid):
    """What the files in a child's scratch folder take, in KiB."""
    try:
        disk = os.statvfs(f"/proc/{pid}/root/tmp")
    except OSError:
        return 0
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize // 1024


def _mappings(pid):
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            return file.read().count(b"\n")
    except OSError:
        return 0


def _fields(path):
    """The lines `Name: 123 kB` of a file in /proc."""
    found = {}
    with contextlib.suppress(OSError, ValueError), open(path) as file:
        for line in file:
            if line.endswith(" kB\n"):
                name, value, _ = line.split()
                found[name] = int(value)
    return found
