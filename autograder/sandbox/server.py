"""The fork server: inside the box, it imports what a notebook will, once, and forks a child for each request.

It never runs a student's code. It answers one request at a time on its control socket (a JSON object on a line, a file
descriptor with `start`), watches the memory of its children in between, and ends with everything in its pid namespace
when the socket closes: the grader may die in any way it likes.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback

from . import memory

SCAN_SECONDS = 0.02
STOOD_MB = 96  # of what a submission holds before it is asked for something, so much is not held against the answer
REAP_SECONDS = 20.0  # for a killed child, which may have millions of mappings to give back


def preload(names):
    """Import what is there; what is not, or is broken, a student will meet by itself."""
    gc.disable()  # there is nothing to collect, and looking for it takes a quarter of the time
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    gc.enable()


class Forked:
    """A forked child: its pid here, what measures its memory, and how it ended."""

    def __init__(self, pid, limits, fresh, boxed, data_kb):
        self.pid, self.limit_kb = pid, limits["memory_mb"] * 1024
        self.data_kb = data_kb + (STOOD_MB << 10)  # of private memory, touched or not, that a grant does not count
        self.meter = memory.Meter(pid, fresh, boxed)
        self.peak_kb = 0
        self.stood_kb = None  # what it held when memory was first granted to it, and no grant counts
        self.ended = None  # {"reason": "exit" | "signal" | "memory" | "killed", "status": int}

    def reap(self, reason=None, wait=False):
        """Note how it ended, if it has. Process 1 of a pid namespace is reaped only after all others in it."""
        until = time.monotonic() + REAP_SECONDS
        while self.ended is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.ended = {"reason": reason or ("signal" if code < 0 else "exit"), "status": code}
                self.ended["cpu_seconds"] = usage.ru_utime + usage.ru_stime
            elif not wait:
                return
            elif time.monotonic() > until:
                raise RuntimeError("a killed child does not end")
            else:
                time.sleep(0.0005)

    def used_mb(self):
        """Its memory at its highest, without what stood before."""
        return max(0, self.peak_kb - (self.stood_kb or 0)) / 1024

    def kill(self, reason):
        """End it and everything it started."""
        if self.ended is None:
            for kill, target in ((os.killpg, self.pid), (os.kill, self.pid)):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(target, signal.SIGKILL)
            self.reap(reason, wait=True)


class Server:
    def __init__(self, control, boxed, keep, programs):
        self.control, self.boxed, self.keep, self.programs = control, boxed, keep, programs
        self.children = {}
        self.scannable = os.path.exists("/proc/self/smaps_rollup")

    def serve(self):
        """Answer requests until the control socket closes."""
        while True:
            living = [child for child in self.children.values() if child.ended is None]
            wait = SCAN_SECONDS if living else None
            ready, _, _ = select.select([self.control], [], [], wait)
            if ready:
                data, descriptors, _, _ = socket.recv_fds(self.control, 65_536, 1)
                if not data:
                    break
                request = json.loads(data)
                try:
                    reply = getattr(self, request.pop("op"))(descriptors=descriptors, **request)
                except Exception:
                    reply = {"fault": traceback.format_exc(limit=-3)}
                self.control.sendall(json.dumps(reply).encode() + b"\n")
            else:
                self.watch(living)
        for child in self.children.values():
            child.kill("killed")

    def share(self, names, descriptors):
        """Import modules for all children to come."""
        preload(names)
        self.programs["agent"].keep_untouched()
        gc.freeze()  # objects made so far are not visited again, so their pages stay shared
        return {}

    def start(self, id, limits, program, descriptors):
        """Fork a child in which `program` (agent or probe) serves the socket that came along."""
        sock = descriptors[0]
        fresh = memory.cheap("self")
        pid = confine.fork_into_new_pids() if self.boxed else os.fork()
        if pid == 0:
            self.become_child(sock, limits, self.programs[program])
        os.close(sock)
        data = confine.status_kb("VmData:") if self.scannable else 0
        self.children[id] = Forked(pid, limits, fresh, self.boxed, data)
        return {"pid": pid}

    def become_child(self, sock, limits, program):
        """Never returns."""
        status = 0
        try:
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            os.dup2(sock, 3)
            os.closerange(4, 4096)
            try:
                if self.boxed:
                    confine.confine(limits, self.keep)
                else:
                    os.setsid()
                    confine.end_with_parent()
            except BaseException:
                with socket.socket(fileno=3) as connection:
                    connection.sendall(b"FAULT" + traceback.format_exc(limit=-3).encode()[-4000:])
                os._exit(1)
            program.main(socket.socket(fileno=3))
        except BaseException:
            status = 1
        os._exit(status)

    def end(self, id, patience, descriptors):
        """Kill the child, if it still lives after `patience` seconds, and say how it ended."""
        child = self.children.pop(id)
        child.reap()
        until = time.monotonic() + patience
        while child.ended is None and time.monotonic() < until:
            time.sleep(0.0005)
            child.reap()
        child.kill("killed")
        return {**child.ended, "peak_mb": child.used_mb()}

    def usage(self, id, descriptors):
        """Memory above the fresh child (or what it held when it was granted more) at its highest so far."""
        child = self.children[id]
        self.watch([child])
        return {"peak_mb": child.used_mb(), "ended": child.ended}

    def grant(self, id, memory_mb, descriptors):
        """Limit a child to `memory_mb` beyond what it holds now, as far as that is no more than STOOD_MB.

        Later grants count from there too: what the tests between them left behind is the answer's.
        """
        child = self.children[id]
        child.reap()
        if child.ended is not None or not self.scannable:
            return {}
        child.peak_kb, families = 0, memory.processes()
        self.watch([child])
        if child.stood_kb is None:
            child.stood_kb = min(child.peak_kb, STOOD_MB << 10)
        child.limit_kb = child.stood_kb + (memory_mb << 10)
        # An array may come and go between two looks, in a box or not.
        for pid in memory.descendants(child.pid, families):
            held = confine.limit_data(pid, child.data_kb, memory_mb << 10)
            if pid == child.pid:
                child.data_kb = held
        return {}

    def watch(self, children):
        """Kill each child whose box holds more memory than it may."""
        for child in children:
            child.reap()
        families = memory.processes() if self.scannable else {}
        for child in children:
            if child.ended is None and child.pid in families:
                used = child.meter.kb(families, child.limit_kb)
                child.peak_kb = max(child.peak_kb, used)
                if used > child.limit_kb:
                    child.kill("memory")


def main(argument):
    """Run the server. `argument`: JSON with descriptor, boxed, uid, keep, preload."""
    options = json.loads(argument)
    control = socket.socket(fileno=options["descriptor"])
    try:
        if options["boxed"]:
            confine.enter(options["uid"])
        preload(options["preload"])
        programs = {name: importlib.import_module(f"{__package__}.{name}") for name in ("agent", "probe")}
        gc.collect()
        gc.freeze()
    except BaseException:
        control.sendall(json.dumps({"fault": traceback.format_exc(limit=-3)}).encode() + b"\n")
        sys.exit(1)
    threads = len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 1
    control.sendall(json.dumps({"ready": True, "threads": threads}).encode() + b"\n")
    Server(control, options["boxed"], options["keep"], programs).serve()
    os._exit(0)


with contextlib.suppress(ImportError):  # Linux only; without it there is only `none`
    from . import confine
