"""One notebook -> one Report."""

from typing import Any


def __getattr__(name: str) -> Any:
    # Late, so that whoever only reads notebooks or Reports does not import pytest and torch.
    if name == "Grader":
        from autograder.grading.grade import Grader

        return Grader
    raise AttributeError(name)
