"""The trusted side of the sandbox: opens it, asks it for children, ends them."""

import contextlib
import dataclasses
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autograder.sandbox import bubblewrap
from autograder.sandbox.errors import SandboxFault, SandboxUnavailable
from autograder.sandbox.limits import Limits

START_SECONDS = 120.0  # for the server to import everything, on a cold and slow disk
REQUEST_SECONDS = 30.0  # for one answer of the server, which forks and kills in a fraction of a second
RESTARTS = 2
# The inside calls itself the package `lsml_box`, wherever its files lie.
BOOT = """
import sys, types
package = types.ModuleType("lsml_box")
package.__path__ = {folders!r}
sys.modules["lsml_box"] = package
sys.path[:0] = {paths!r}
from lsml_box import {module}
{module}.main({argument!r})
"""
PASSWD = b"student:x:1000:1000::/tmp:/bin/false\n"


@dataclass(frozen=True)
class Ended:
    """How a child ended: `reason` is exit, signal, memory, killed, or lost (with its server).

    `status` is an exit code, or minus a signal.
    """

    reason: str
    status: int
    peak_mb: float = 0.0
    cpu_seconds: float = 0.0


class Child:
    """One fresh process for untrusted code. `sock` is the wire to its agent; `end()` kills all that it started."""

    def __init__(self, sandbox, number, sock, limits):
        self.sandbox, self.number, self.sock, self.limits = sandbox, number, sock, limits
        self.server = getattr(sandbox, "_process", None)  # the one that forked it; a later one knows nothing of it
        self.ended: Ended | None = None

    def end(self, patience: float = 0.0) -> Ended:
        """Kill it with everything it started, and say how it ended. When this returns, nothing of it runs.

        `patience`: seconds that a child which seems to be ending by itself has to do so.
        """
        if self.ended is None:
            self.sock.close()
            try:
                self.ended = self.sandbox._end(self, patience)
            except SandboxFault:  # and with the server all in its pid namespace has ended
                self.ended = Ended("lost", 0)
        return self.ended

    def grant(self, memory_mb: int) -> None:
        """From now on allow it so much memory beyond what it holds now. Raises SandboxFault."""
        if self.ended is None:
            self.sandbox._grant(self, memory_mb)

    def peak_mb(self) -> float:
        """The most memory so far, above the fresh child, or above what it held when `grant` was called."""
        return self.ended.peak_mb if self.ended else self.sandbox._peak_mb(self)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.end()


class Sandbox:
    """A warm fork server, in bubblewrap or (`none`) without isolation. Use `open_sandbox`. Safe for several threads."""

    def __init__(self, kind: str, limits: Limits, data_dir: Path | None = None, preload: Sequence[str] = ()):
        self.kind, self.limits, self.data_dir, self.preload = kind, limits, data_dir, preload
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._process = self._control = None
        self._restarts = RESTARTS
        self._boot()

    def share(self, names: Iterable[str]) -> None:
        """Import modules in the server, once for all children to come: there are some that take each a second."""
        with self._lock, contextlib.suppress(SandboxFault):  # then they import it themselves
            if new := [name for name in names if name not in self._shared]:
                self._shared.update(new)
                self._request("share", seconds=START_SECONDS, names=new)

    def start(self, limits: Limits | None = None, program: str = "agent") -> Child:
        """A fresh child, running the agent (or the self-test's probe).

        Raises SandboxFault if the server cannot give one, even after being started again.
        """
        limits = limits or self.limits
        with self._lock:
            while True:
                ours, theirs = socket.socketpair()
                try:
                    number = next(self._numbers)
                    self._request(
                        "start", theirs.fileno(), id=number, limits=dataclasses.asdict(limits), program=program
                    )
                    return Child(self, number, ours, limits)
                except SandboxFault:
                    ours.close()
                    if self._control is not None or self._restarts == 0:
                        raise
                    self._restarts -= 1
                    with contextlib.suppress(SandboxUnavailable):
                        self._boot()
                finally:
                    theirs.close()

    def close(self) -> None:
        """End the server and all children."""
        with self._lock:
            self._stop()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    # ---------------------------------------------------------------------------------------------- server process

    def _boot(self):
        boxed = self.kind == "bubblewrap"
        if boxed:
            bubblewrap.require()
        control, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.callback(theirs.close)
            options = {
                "descriptor": theirs.fileno(),
                "boxed": boxed,
                "uid": bubblewrap.uid() if boxed else None,
                "keep": bubblewrap.folders(self.data_dir),
                "preload": list(self.preload),
            }
            program = interpreter("server", json.dumps(options), boxed)
            keep = [theirs.fileno()]
            if boxed:
                descriptors = self._descriptors(stack)
                keep += descriptors.values()
                program = bubblewrap.command(program, descriptors, self.data_dir)
            stderr = stack.enter_context(tempfile.TemporaryFile())
            self._process = subprocess.Popen(
                program,
                env=bubblewrap.ENVIRONMENT if boxed else {**os.environ, **plain_environment()},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=keep,
                start_new_session=True,
                cwd="/",
            )
            theirs.close()
            self._control, self._pending, self._shared = control, b"", set(self.preload)
            try:
                hello = self._answer(START_SECONDS)
            except SandboxFault as fault:
                self._stop()
                stderr.seek(0)
                said = stderr.read(20_000).decode(errors="replace").strip().splitlines()
                reason = said[-1] if said else str(fault).splitlines()[-1]
                raise SandboxUnavailable(f"the sandbox does not start: {reason}", bubblewrap.remedy(reason)) from None
            if boxed:
                self._inner = self._inner_pid(descriptors)
            self.threads = hello["threads"]

    def _descriptors(self, stack):
        passwd, text = os.pipe()
        stack.callback(os.close, passwd)
        os.write(text, PASSWD)
        os.close(text)
        self._status, status = os.pipe()
        stack.callback(os.close, self._status)
        stack.callback(os.close, status)
        return {"passwd": passwd, "status": status}

    def _inner_pid(self, descriptors):
        """The pid of process 1 in the box: to kill it is to kill all of the box."""
        if select.select([self._status], [], [], 5)[0]:
            with contextlib.suppress(ValueError, KeyError, IndexError):
                return json.loads(os.read(self._status, 4096).splitlines()[0])["child-pid"]
        return None

    _inner = None

    def _stop(self):
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                for pid in (self._inner, self._process.pid):
                    with contextlib.suppress(ProcessLookupError, PermissionError, TypeError):
                        os.kill(pid, signal.SIGKILL)
                self._process.wait(10)
            self._process = self._inner = None

    # ---------------------------------------------------------------------------------------------------- requests

    def _request(self, op, descriptor=None, child=None, seconds=REQUEST_SECONDS, **arguments):
        with self._lock:
            if self._control is None or (child is not None and child.server is not self._process):
                raise SandboxFault("the sandbox's server is gone")
            data = json.dumps({"op": op, **arguments}).encode()
            try:
                self._control.settimeout(REQUEST_SECONDS)
                if descriptor is None:
                    self._control.sendall(data)
                else:
                    socket.send_fds(self._control, [data], [descriptor])
                return self._answer(seconds)
            except OSError as error:
                self._stop()
                raise SandboxFault(f"the sandbox's server does not answer: {error}") from None

    def _answer(self, seconds):
        """One line of JSON from the server. Raises SandboxFault (the server is then stopped, unless it said why)."""
        until = time.monotonic() + seconds
        while b"\n" not in self._pending:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._control], [], [], left)[0]:
                self._stop()
                raise SandboxFault("the sandbox's server does not answer")
            try:
                data = self._control.recv(65_536)
            except OSError:
                data = b""
            if not data:
                self._stop()
                raise SandboxFault("the sandbox's server has ended")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        reply = json.loads(line)
        if "fault" in reply:
            raise SandboxFault(reply["fault"].strip())
        return reply

    def _end(self, child, patience):
        reply = self._request("end", child=child, id=child.number, patience=patience)
        return Ended(reply["reason"], reply["status"], reply["peak_mb"], reply["cpu_seconds"])

    def _grant(self, child, memory_mb):
        self._request("grant", child=child, id=child.number, memory_mb=memory_mb)

    def _peak_mb(self, child):
        return self._request("usage", child=child, id=child.number)["peak_mb"]


def interpreter(module: str, argument: str, boxed: bool) -> list[str]:
    """The command that runs `lsml_box.<module>.main(argument)`, inside the box or beside it."""
    if boxed:
        folders, paths = [f"{bubblewrap.INSIDE}/box"], [bubblewrap.INSIDE]
    else:
        folders, paths = [str(bubblewrap.PACKAGE / name) for name in ("sandbox", "submission")], [str(bubblewrap.ROOT)]
    boot = BOOT.format(folders=folders, paths=paths, module=module, argument=argument)
    return [sys.executable, "-s", "-P", "-B", "-X", "utf8", "-c", boot]


def plain_environment():
    names = ("MPLBACKEND", "PYTHONHASHSEED", "LSML_DEMO", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    # macOS ends a forked process that had used its frameworks before, unless it is told not to.
    return {name: bubblewrap.ENVIRONMENT[name] for name in names} | {"OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"}
