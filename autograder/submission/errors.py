"""What can go wrong while a student's code is asked for something, seen from the trusted side."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """What a child used. `seconds` is wall-clock time of the request, `memory_mb` the peak above the fresh child."""

    seconds: float | None = None
    memory_mb: float | None = None


class SubmissionError(Exception):
    """The student's code did not give an answer. `usage` says what it used, where that is known."""

    def __init__(self, message: str = "", usage: Usage = Usage()):
        super().__init__(message)
        self.usage = usage


class StudentError(SubmissionError):
    """The student's code raised. All text is bounded and escaped; frames are the student's own, innermost last.

    `bases` are the names of all the exception's classes, its own first; `frames` are (label of the cell, line, source).
    """

    def __init__(self, type_name, bases=(), message="", frames=(), usage=Usage()):
        super().__init__(f"{type_name}: {message}" if message else type_name, usage)
        self.type_name, self.message = type_name, message
        self.bases = tuple(bases) or (type_name,)
        self.frames = [tuple(frame) for frame in frames]


class StudentTimeout(SubmissionError):
    """The student's code ran past its deadline and was killed."""


class StudentMemory(SubmissionError):
    """The student's code used more memory than it may; `error` is its MemoryError, if that is how it ended."""

    def __init__(self, message="", usage=Usage(), error: StudentError | None = None):
        super().__init__(message, usage)
        self.error = error


class StudentCrashed(SubmissionError):
    """The student's code ended its process (exit, signal, segmentation fault)."""


class StudentMisbehaved(SubmissionError):
    """The student's process broke the rules of the wire, or a value it returned cannot cross."""


class MissingName(SubmissionError):
    """The student's code defines no such name (it may have failed before it got there)."""

    def __init__(self, name, usage=Usage()):
        super().__init__(f"`{name}` is not defined", usage)
        self.name = name
