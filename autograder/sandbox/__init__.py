"""Where untrusted code runs: a warm fork server inside bubblewrap, and a fresh confined child for each request.

with open_sandbox("bubblewrap") as sandbox, sandbox.start() as child:
    ...  # child.sock is the wire to the agent; autograder.submission speaks it
"""

from pathlib import Path

from autograder.sandbox.box import Child, Ended, Sandbox
from autograder.sandbox.errors import SandboxFault, SandboxUnavailable
from autograder.sandbox.limits import DEFAULT, Limits

__all__ = ["Child", "Ended", "Limits", "Sandbox", "SandboxFault", "SandboxUnavailable", "open_sandbox"]


def open_sandbox(kind: str = "bubblewrap", limits: Limits = DEFAULT, data_dir: Path | None = None) -> Sandbox:
    """A sandbox with its fork server running. Raises SandboxUnavailable where this machine cannot give it.

    `bubblewrap` isolates. `none` does not, and is for one's own work only: deadlines hold and a crash takes nothing
    with it. `data_dir` is seen read-only at the same path inside.
    """
    if kind not in ("bubblewrap", "none"):
        raise ValueError(f"no sandbox of kind {kind!r}: bubblewrap or none")
    return Sandbox(kind, limits, Path(data_dir).resolve() if data_dir else None)
