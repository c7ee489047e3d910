"""What a student reads of a test that failed: what happened, in their own code's terms, and never an expected value."""

import inspect
import re
from typing import Any

import numpy as np
import torch

from autograder.grading.plugin import Outcome
from autograder.grading.rebuild import Rebuilt
from autograder.judging import Comparison, NothingRaised
from autograder.submission import (
    MissingName,
    StudentCrashed,
    StudentError,
    StudentMemory,
    StudentMisbehaved,
    StudentTimeout,
    Usage,
)

_UNSAFE = re.compile(r"[^\S\n ]|[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
LIST_CAME = "A list came where an array is due."
LONGEST = 2_000  # characters of what one student's exception may say
FRAMES = 4


def safe(text: str, longest: int = LONGEST) -> str:
    """Student's text for any terminal or page: control characters, escape sequences and bidi marks written out."""
    text = text.encode("utf-8", "replace").decode()
    text = _UNSAFE.sub(lambda found: "    " if found[0] == "\t" else found[0].encode("unicode_escape").decode(), text)
    return text if len(text) <= longest else text[:longest] + " ..."


def what_happened(
    error: BaseException, rebuilt: Rebuilt, comparison: Comparison | None = None, memory_mb: int | None = None
) -> str:
    """What the student's code did, with their own lines. "" where it just gave another answer.

    `memory_mb`: how much a test allows, where it says so itself.
    """
    if isinstance(error, StudentError):
        return _exception(error, rebuilt)
    if isinstance(error, StudentMemory):
        figures = _figures(error.usage)
        did = "needed" if error.usage.memory_mb is None or "MB" in figures else "asked at once for"
        allowed = "it may use" if memory_mb is None else f"the {memory_mb} MB that it may use"
        lines = [f"It {did} more memory than {allowed} and was stopped{figures}."]
        if error.error is not None:
            lines.append(_exception(error.error, rebuilt))
        return "\n".join(lines)
    if isinstance(error, StudentTimeout) and error.usage.seconds is not None:
        return f"It took too long and was stopped{_figures(error.usage)}. Does every loop end?"
    if isinstance(error, StudentTimeout | StudentCrashed | StudentMisbehaved):
        return _sentence(safe(str(error), 300))
    if isinstance(error, MissingName):
        return f"`{safe(error.name, 100)}` is not defined: was its cell deleted, or the name changed?"
    if isinstance(error, NothingRaised):
        return _sentence("it raised nothing" + str(error).partition(":")[2])
    if isinstance(error, AttributeError) and isinstance(error.obj, list):  # a test asked it for its shape
        return LIST_CAME
    if isinstance(error, AssertionError) and comparison is not None:
        return comparison.sentence
    return ""


def _figures(usage: Usage) -> str:
    """What is known of it. What was refused at once took no time and no memory, and no figure says anything then."""
    known = [f"after {usage.seconds:.1f} s"] if usage.seconds is not None and usage.seconds >= 0.05 else []
    known += [f"having used {usage.memory_mb:.0f} MB"] if usage.memory_mb is not None and usage.memory_mb >= 1 else []
    return " " + ", ".join(known) if known else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _exception(error: StudentError, rebuilt: Rebuilt) -> str:
    text = " ".join(safe(error.message).split("\n"))
    lines = [f"{safe(error.type_name, 100)}: {text}" if text else safe(error.type_name, 100)]
    authored = {cell.label for cell in rebuilt.cells if cell.kind == "setup"}
    frames = [frame for frame in error.frames if frame[0] not in authored]
    for label, line, source in frames[-FRAMES:]:
        own, number = rebuilt.place(label, line)
        lines.append(f"  {safe(own, 100)}, line {number}: {safe(source.strip(), 200)}".rstrip(": "))
    return "\n".join(lines)


def shown(outcome: Outcome) -> str:
    """For one's own work: the last input, what was returned, and what was expected."""
    lines = []
    if outcome.parameters:
        lines.append("case: " + ", ".join(f"{name}={_value(value)}" for name, value in outcome.parameters.items()))
    if outcome.calls:
        call = outcome.calls[-1]
        given = [_value(value) for value in call.args]
        given += [f"{name}={_value(value)}" for name, value in call.kwargs.items()]
        lines += [f"input: {safe(call.name, 100)}(", *(f"    {part}," for part in given), ")"]
        lines.append(f"returned: {call.error if call.error is not None else _value(call.result)}")
    if outcome.comparison is not None:
        if outcome.calls and outcome.comparison.got is not outcome.calls[-1].result:
            lines.append(f"compared: {_value(outcome.comparison.got)}")
        lines.append(f"expected: {_value(outcome.comparison.expected)}")
        lines.append(f"it has {outcome.comparison.why}")
    elif isinstance(outcome.error, AssertionError) and str(outcome.error):
        lines.append(f"expected: {str(outcome.error).splitlines()[0]}")
    return safe("\n".join(lines), 6_000)


def _value(value: Any) -> str:
    if isinstance(value, np.ndarray | torch.Tensor):
        with np.printoptions(precision=6, threshold=40, edgeitems=3, linewidth=100):
            array = value.detach().cpu() if isinstance(value, torch.Tensor) else value
            kind = "tensor" if isinstance(value, torch.Tensor) else "array"
            text = str(array.float().numpy() if isinstance(array, torch.Tensor) else array).replace("\n", "\n      ")
            return f"{kind} of shape {tuple(value.shape)}, {value.dtype}: {text}"
    if inspect.isgenerator(value):
        return "a generator"
    if inspect.isroutine(value):
        return f"the function {getattr(value, '__name__', '?')}"
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 400 else text[:400] + " ..."
