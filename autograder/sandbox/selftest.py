"""Does each layer of the sandbox hold on this machine? Asked before the first submission, and by `lsml doctor`."""

import dataclasses
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from autograder.sandbox.box import Sandbox
from autograder.sandbox.bubblewrap import PACKAGE, ROOT
from autograder.sandbox.errors import SandboxFault, SandboxUnavailable
from autograder.sandbox.limits import DEFAULT
from autograder.sandbox.spawn import SpawnSandbox

PROBE_SECONDS = 20.0
KILL_SECONDS = 5.0
REMEDY = "do not grade other people's work here; report this with the output of `lsml doctor`"


@dataclass(frozen=True)
class LayerCheck:
    """One layer: its name, whether it holds, what was found, and what to do if it does not."""

    name: str
    ok: bool
    detail: str = ""
    remedy: str = ""


def self_test(kind: str = "bubblewrap", sandbox: Sandbox | SpawnSandbox | None = None) -> list[LayerCheck]:
    """One check a layer, the start of the sandbox first; only that one where it does not start.

    With `sandbox`, that one is tested (it may be in use); otherwise one is opened for the test.
    """
    own = None
    try:
        if sandbox is None:
            forks = kind == "bubblewrap" or hasattr(os, "fork")
            sandbox = own = Sandbox(kind, DEFAULT) if forks else SpawnSandbox(DEFAULT)
        started = LayerCheck("the sandbox starts", True, kind)
        boxed = _layers(sandbox) if sandbox.kind == "bubblewrap" else []
        watched = [_memory(sandbox)] if sys.platform == "linux" and isinstance(sandbox, Sandbox) else []
        return [started, *boxed, *watched, _deadline(sandbox)]
    except SandboxUnavailable as error:
        return [LayerCheck("the sandbox starts", False, error.reason, error.remedy)]
    except (SandboxFault, OSError, ValueError) as error:
        return [LayerCheck("the sandbox starts", False, str(error), "run `lsml doctor` again; then report it")]
    finally:
        if own is not None:
            own.close()


def _ask(child, **request):
    child.sock.settimeout(PROBE_SECONDS)
    child.sock.sendall(json.dumps(request).encode() + b"\n")
    return child.sock.makefile("rb").readline()


def _layers(sandbox):
    secrets = [str(PACKAGE / "sandbox" / "box.py"), str(ROOT / "solutions")]
    secrets += [str(Path.home() / name) for name in (".ssh", ".bashrc", ".config")] + ["/var", "/mnt"]
    limits = dataclasses.replace(DEFAULT, processes=8)  # few: the probe forks until it is stopped
    with sandbox.start(limits, program="probe") as child:
        found = json.loads(_ask(child, do="layers", secrets=secrets))
    return [
        LayerCheck(name, problem is None, problem or "", "" if problem is None else REMEDY) for name, problem in found
    ]


def _memory(sandbox):
    limits = dataclasses.replace(sandbox.limits, memory_mb=32)
    with sandbox.start(limits, program="probe") as child:
        _ask(child, do="memory", processes=16, megabytes=16)  # comes back empty once it has been killed
        ended = child.end()
    ok = ended.reason == "memory"
    return LayerCheck("memory of the whole box is watched", ok, f"ended by {ended.reason}", "" if ok else REMEDY)


def _deadline(sandbox):
    with sandbox.start(program="probe") as child:
        child.sock.sendall(b'{"do": "sleep"}\n')
        started = time.monotonic()
        child.end()
        seconds = time.monotonic() - started
    ok = seconds < KILL_SECONDS
    return LayerCheck("a deadline ends it", ok, f"{seconds * 1000:.0f} ms to kill", "" if ok else REMEDY)
