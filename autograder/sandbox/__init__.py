"""Where untrusted code runs: a warm fork server inside bubblewrap, and a fresh confined child for each request.

with open_sandbox("bubblewrap") as sandbox, sandbox.start() as child:
    ...  # child.sock is the wire to the agent; autograder.submission speaks it
"""

import os
from pathlib import Path

from autograder.sandbox.box import Child, Ended, Sandbox
from autograder.sandbox.errors import SandboxFault, SandboxUnavailable
from autograder.sandbox.limits import DEFAULT, Limits
from autograder.sandbox.selftest import LayerCheck, self_test
from autograder.sandbox.spawn import SpawnSandbox

__all__ = [
    "Child",
    "Ended",
    "LayerCheck",
    "Limits",
    "Sandbox",
    "SandboxFault",
    "SandboxUnavailable",
    "open_sandbox",
    "self_test",
]


def open_sandbox(kind: str = "bubblewrap", limits: Limits = DEFAULT, data_dir: Path | None = None) -> Sandbox:
    """A sandbox with its fork server running, its self-test passed. Raises SandboxUnavailable where that cannot be had.

    `bubblewrap` isolates. `none` does not, and is for one's own work only: deadlines hold and a crash takes nothing
    with it. `data_dir` is seen read-only at the same path inside.
    """
    if kind not in ("bubblewrap", "none"):
        raise ValueError(f"no sandbox of kind {kind!r}: bubblewrap or none")
    data_dir = Path(data_dir).resolve() if data_dir else None
    if kind == "bubblewrap" and data_dir is not None and os.geteuid() == 0:
        data_dir.chmod(data_dir.stat().st_mode | 0o055)  # the box reads it as another user
    forks = kind == "bubblewrap" or hasattr(os, "fork")
    box = Sandbox(kind, limits, data_dir) if forks else SpawnSandbox(limits, data_dir)
    try:
        for check in self_test(kind, box):
            if not check.ok:
                raise SandboxUnavailable(f"the sandbox does not hold: {check.name}: {check.detail}", check.remedy)
    except BaseException:
        box.close()
        raise
    return box
