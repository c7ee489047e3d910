"""Lets one submission use another's functions: each is called in the process it belongs to, and no code crosses.

So the reference stands in for one answer of a student's, and a student's helper for the reference's, without either
process ever holding what the other must not read.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from autograder.judging import student_side
from autograder.submission import Remote, Submission


@dataclass(frozen=True)
class Lent:
    """Functions of another submission that the cells of one are to use in place of their own."""

    owner: Submission
    names: list[str]


def lend(owner: Submission, names: Collection[str], to: Submission) -> None:
    """Have the cells of `to` use the functions of these names that `owner` has. Raises a SubmissionError.

    Data goes both ways, and iterators come back; objects do not, and raise TypeError where they are used.
    """
    for name in names:
        to.run(put, name, _calling(owner, name))


@student_side
def put(name, function):
    """Use another function by this name (runs over there)."""
    setattr(student, name, function)  # noqa: F821


def _calling(owner: Submission, name: str) -> Callable:
    def call(*args: Any, **kwargs: Any) -> Any:
        result = owner[name](*args, **kwargs)
        return (item for item in result) if isinstance(result, Remote) else result

    return call
