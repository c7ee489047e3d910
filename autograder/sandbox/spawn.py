"""`none` where the system cannot fork (Windows): a fresh interpreter for each child. Slow; deadlines hold."""

import itertools
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from autograder.sandbox.box import Child, Ended, interpreter, plain_environment
from autograder.sandbox.errors import SandboxFault
from autograder.sandbox.limits import Limits

START_SECONDS = 120.0  # for a child to import everything, on a cold and slow disk


class SpawnSandbox:
    """The same use as Sandbox: `start`, `close`, a context manager."""

    def __init__(self, limits: Limits, data_dir: Path | None = None):
        self.kind, self.limits, self.data_dir, self.threads = "none", limits, data_dir, 1
        self._numbers = itertools.count(1)
        self._processes: dict[int, subprocess.Popen] = {}
        self._wanted: dict[str, None] = {}

    def share(self, names: Iterable[str]) -> None:
        """Nothing can be shared here; a child imports these before its time begins."""
        self._wanted.update(dict.fromkeys(names))

    def start(self, limits: Limits | None = None, program: str = "agent") -> Child:
        """A fresh child. Raises SandboxFault if it does not come up."""
        number, token = next(self._numbers), secrets.token_hex(16)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            options = {"port": listener.getsockname()[1], "token": token, "program": program}
            argument = json.dumps(options | {"preload": list(self._wanted)})
            process = subprocess.Popen(
                interpreter("spawned", argument, boxed=False),
                env={**os.environ, **plain_environment()},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._processes[number] = process
            sock = self._accept(listener, token, process)
        if sock is None:
            self._stop(number, 0)
            raise SandboxFault("a fresh process does not start")
        return Child(self, number, sock, limits or self.limits)

    def _accept(self, listener, token, process):
        """The connection that knows the token: other users of the machine can reach the port too."""
        until = time.monotonic() + START_SECONDS
        listener.settimeout(0.2)
        while time.monotonic() < until and process.poll() is None:
            try:
                sock, _ = listener.accept()
                sock.settimeout(5)
                if secrets.compare_digest(sock.recv(len(token), socket.MSG_WAITALL), token.encode()):
                    return sock
                sock.close()
            except OSError:
                continue
        return None

    def _end(self, child, patience):
        return self._stop(child.number, patience)

    def _stop(self, number, patience):
        process, reason = self._processes.pop(number), "exit"
        try:
            status = process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            status, reason = process.wait(10), "killed"
        return Ended("signal" if status < 0 and reason == "exit" else reason, status)

    def _grant(self, child, memory_mb):
        """Memory is not limited here."""

    def _peak_mb(self, child):
        return 0.0

    def close(self) -> None:
        """End all children."""
        for number in list(self._processes):
            self._stop(number, 0)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
