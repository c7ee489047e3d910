"""The folded hints of an exercise, one after the other, for people who would rather not see them all."""

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from autograder import curriculum
from autograder.curriculum import Exercise, Module
from autograder.files import write_atomically
from autograder.grading.kept import FOLDER

HINT = re.compile(r"<details><summary>(?P<title>.*?)</summary>\s*\n(?P<text>.*?)\n</details>", re.DOTALL)


@dataclass(frozen=True)
class Hint:
    """One hint; `text` is Markdown."""

    title: str
    text: str


def hints(module: Module, exercise: Exercise) -> list[Hint]:
    """All hints of an exercise, in order."""
    sources = [cell.source for cell in module.cells if cell.role == "hints" and cell.name == exercise.name]
    return [Hint(found["title"].strip(), found["text"].strip()) for s in sources for found in HINT.finditer(s)]


def next_number(module: Module, exercise: Exercise, root: Path = curriculum.ROOT) -> int:
    """The number of the first hint that was not shown yet; one more than there are, where all were."""
    return _shown(root).get(f"{module.name} {exercise.name}", 0) + 1


def remember(module: Module, exercise: Exercise, number: int, root: Path = curriculum.ROOT) -> None:
    """The hints up to this one have been shown."""
    shown = _shown(root)
    name = f"{module.name} {exercise.name}"
    shown[name] = max(number, shown.get(name, 0))
    with contextlib.suppress(OSError):  # then the same hint comes again
        write_atomically(root / FOLDER / "hints.json", json.dumps(shown, indent=1, sort_keys=True))


def _shown(root: Path) -> dict[str, int]:
    try:
        shown = json.loads((root / FOLDER / "hints.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    known = shown.items() if isinstance(shown, dict) else ()
    return {name: number for name, number in known if isinstance(number, int)}
