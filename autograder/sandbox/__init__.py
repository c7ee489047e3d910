"""Where untrusted code runs: a warm fork server inside bubblewrap, and a fresh confined child for each request.

with open_sandbox("bubblewrap") as sandbox, sandbox.start() as child:
    ...  # child.sock is the wire to the agent; autograder.submission speaks it
"""

from autograder.sandbox.box import Child, Ended, Sandbox, open_sandbox
from autograder.sandbox.errors import SandboxFault, SandboxUnavailable
from autograder.sandbox.limits import Limits
from autograder.sandbox.selftest import LayerCheck, self_test

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
