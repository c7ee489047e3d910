"""How the trusted side talks to a submission: call its functions by value, hold its objects, read its errors.

with open_sandbox() as sandbox, Submission.load(sandbox, [SourceCell("cell 1", source)]) as submission:
    submission.mse_gradient(X, y, theta)
"""

from autograder.sandbox import Limits, SandboxFault
from autograder.submission.errors import (
    MissingName,
    StudentCrashed,
    StudentError,
    StudentMemory,
    StudentMisbehaved,
    StudentTimeout,
    SubmissionError,
    Usage,
)
from autograder.submission.remote import Remote
from autograder.submission.submission import Call, CellError, LocalSubmission, SourceCell, Submission

__all__ = [
    "Call",
    "CellError",
    "Limits",
    "LocalSubmission",
    "MissingName",
    "Remote",
    "SandboxFault",
    "SourceCell",
    "StudentCrashed",
    "StudentError",
    "StudentMemory",
    "StudentMisbehaved",
    "StudentTimeout",
    "Submission",
    "SubmissionError",
    "Usage",
]
