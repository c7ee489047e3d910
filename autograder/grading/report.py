"""What grading one notebook says, and the key under which it may be kept."""

import ast
import hashlib
import importlib.metadata
import importlib.util
import re
import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from autograder import curriculum

VERDICTS = (
    *("passed", "partial", "failed", "error", "timeout", "memory", "crashed"),
    *("unanswered", "untested", "grader_fault"),
)


@dataclass(frozen=True)
class TestResult:
    """One hidden test. `message` is its sentence, and behind it, line by line, what happened where it failed.

    `misconception` completes "It behaves like one that ..."; `hint` says what to read next; `shown` (only with
    --show, for one's own work) is the input, what was returned and what was expected.
    """

    __test__ = False  # not for pytest to collect

    name: str
    passed: bool
    message: str
    misconception: str | None = None
    hint: str | None = None
    shown: str | None = None


@dataclass(frozen=True)
class ExerciseResult:
    """One exercise. `score` is None where the grader failed; `message` says in one paragraph why not all points."""

    id: str
    verdict: str
    score: float | None
    points: int
    extra: bool = False
    tests: tuple[TestResult, ...] = ()
    message: str = ""


@dataclass(frozen=True)
class Report:
    """One notebook. `score` is None where any exercise has none, `max_score` where the module is not known.

    Extra exercises are listed and count in neither. `notes`: what a person should know, a line each.
    """

    notebook: str
    module: str | None
    status: str
    score: float | None
    max_score: float | None
    seconds: float
    exercises: tuple[ExerciseResult, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values, in the order in which DESIGN lists them."""
        return asdict(self) | {
            "exercises": [
                asdict(exercise) | {"tests": [asdict(test) for test in exercise.tests]} for exercise in self.exercises
            ],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Report":
        """The inverse of `to_dict`; keys that a later version has added are left out."""
        exercises = tuple(
            _known(ExerciseResult, exercise | {"tests": tuple(_known(TestResult, test) for test in exercise["tests"])})
            for exercise in values["exercises"]
        )
        return _known(cls, values | {"exercises": exercises, "notes": tuple(values["notes"])})


def _known(cls: type, values: dict[str, Any]) -> Any:
    return cls(**{key: value for key, value in values.items() if key in cls.__dataclass_fields__})


def report_key(notebook: bytes, module: str, secret: str, limits: Any, root: Path = curriculum.ROOT) -> str:
    """A SHA-256 (hex) of all that makes a Report: the notebook, the module's files, the secret, limits, versions.

    The name and folder of the notebook are not part of it, so equal notebooks share one Report.
    """
    return _digest([notebook, grading_key(module, secret, limits, root).encode()])


def grading_key(module: str, secret: str, limits: Any, root: Path = curriculum.ROOT) -> str:
    """A SHA-256 (hex) of all that makes a Report but the notebook."""
    return _digest([*_but_tests(module, secret, limits, root), _bytes(curriculum.files(module, root).hidden_tests)])


def exercise_keys(
    notebook: bytes, module: str, secret: str, limits: Any, root: Path = curriculum.ROOT
) -> dict[str, str]:
    """For each exercise a SHA-256 (hex) of what makes its part of a Report: of the tests its own and what all share.

    The layout and the comments of the hidden tests make no difference. No keys where the file is not Python.
    """
    try:
        shared, own = _split(_bytes(curriculum.files(module, root).hidden_tests).decode())
    except (SyntaxError, ValueError):
        return {}
    parts = [notebook, *_but_tests(module, secret, limits, root), shared.encode()]
    return {exercise: _digest([*parts, tests.encode()]) for exercise, tests in own.items()}


def _but_tests(module: str, secret: str, limits: Any, root: Path) -> list[bytes]:
    parts = [module.encode(), secret.encode(), repr(limits).encode(), _versions(), _own_sources(root)]
    own = curriculum.files(module, root)
    notebook = _bytes(own.notebook)
    needed = sorted(set(re.findall(r'needs="(\w+)"', notebook.decode(errors="replace"))))
    parts.append(repr([name for name in needed if importlib.util.find_spec(name)]).encode())
    return [*parts, notebook, _bytes(own.answers)]


def _bytes(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""


@lru_cache(maxsize=4)
def _split(tests: str) -> tuple[str, dict[str, str]]:
    """What the hidden tests of a module share, and those of each exercise. SyntaxError."""
    shared, own = [], {}
    for statement in ast.parse(tests).body:
        exercise = _judges(statement)
        (shared if exercise is None else own.setdefault(exercise, [])).append(ast.unparse(statement))
    return "\n".join(shared), {exercise: "\n".join(parts) for exercise, parts in own.items()}


def _judges(statement: ast.stmt) -> str | None:
    """The exercise that a function is marked to judge: `@pytest.mark.exercise("NAME", ...)`."""
    for mark in getattr(statement, "decorator_list", ()):
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.exercise" and mark.args:
            return getattr(mark.args[0], "value", None)
    return None


def _digest(parts: list[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _versions() -> bytes:
    packages = ("numpy", "scipy", "scikit-learn", "torch", "pytest", "ipython")
    return repr([sys.version, *(f"{name} {importlib.metadata.version(name)}" for name in packages)]).encode()


@lru_cache(maxsize=4)
def _own_sources(root: Path) -> bytes:
    """The code that runs and judges answers; another version of it may say something else of the same notebook."""
    folders = [root / "autograder" / part for part in ("grading", "judging", "submission", "sandbox")] + [
        root / "lsml_utils"
    ]
    files = sorted(file for folder in folders for file in folder.rglob("*.py"))
    files.append(root / "autograder" / "curriculum.py")
    return b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files if file.is_file())
