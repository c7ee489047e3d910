"""`lsml build`: write course/ from solutions/, or say where the two differ."""

import json
from pathlib import Path

import nbformat

from autograder import curriculum
from autograder.authoring.release import released_notebook
from autograder.authoring.rules import course_problems, problems
from autograder.errors import UserError


def course_path(name: str, root: Path = curriculum.ROOT) -> Path:
    """Where the released notebook of a module stands."""
    return root / "course" / name / f"{name}.ipynb"


def released_text(name: str, root: Path = curriculum.ROOT) -> str:
    """The exact text of the released notebook. UserError, a line a problem, where the module breaks a rule."""
    module = curriculum.load(name, root)
    if found := problems(module):
        raise UserError("\n".join(found))
    return nbformat.writes(released_notebook(module)) + "\n"


def build(names: list[str], root: Path = curriculum.ROOT) -> list[tuple[Path, bool]]:
    """Write the released notebooks: for each its path and whether it changed. One malformed module, and none is."""
    texts = {course_path(name, root): text for name, text in _all_texts(names, root).items()}
    written = []
    for path, text in texts.items():
        changed = not path.exists() or path.read_text(encoding="utf-8") != text
        if changed:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        written.append((path, changed))
    return written


def differences(names: list[str], root: Path = curriculum.ROOT) -> list[str]:
    """Where course/ is not what solutions/ makes, a line each; empty when it is."""
    lines = []
    for name, text in _all_texts(names, root).items():
        path = course_path(name, root)
        shown = path.relative_to(root).as_posix()
        if not path.exists():
            lines.append(f"{shown}: missing")
        elif (committed := path.read_bytes()) != text.encode():
            lines += [f"{shown}: {what}" for what in _compared(committed, json.loads(text))]
    return lines


def strays(root: Path = curriculum.ROOT) -> list[str]:
    """Folders of course/ that no module of solutions/ makes, a line each."""
    known = set(curriculum.names(root))
    folders = sorted(path.name for path in (root / "course").glob("*") if path.is_dir())
    return [f"course/{folder}: no solutions/{folder}/ makes this" for folder in folders if folder not in known]


def _all_texts(names: list[str], root: Path) -> dict[str, str]:
    texts, found = {}, course_problems(root)
    for name in names:
        try:
            texts[name] = released_text(name, root)
        except UserError as error:
            found.append(str(error))
    if found:
        raise UserError("\n".join(found))
    return texts


def _compared(committed: bytes, wanted: dict) -> list[str]:
    """What differs between a committed notebook and the one that it should be, cell by cell."""
    try:
        notebook = json.loads(committed)
        have = {cell.get("id", f"number {number}"): cell for number, cell in enumerate(notebook["cells"], 1)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return ["is not a notebook"]
    want = {cell["id"]: cell for cell in wanted["cells"]}
    lines = [f"cell {name} is missing" for name in want if name not in have]
    lines += [f"cell {name} has no source in solutions/" for name in have if name not in want]
    for name in want.keys() & have.keys():
        keys = [
            key for key in sorted(want[name].keys() | have[name].keys()) if want[name].get(key) != have[name].get(key)
        ]
        if keys:
            lines.append(f"cell {name} differs in its {', '.join(keys)}")
    if not lines and list(want) != [cell.get("id") for cell in notebook["cells"]]:
        lines.append("its cells stand in another order, or twice")
    if {**notebook, "cells": None} != {**wanted, "cells": None}:
        lines.append("the notebook's own metadata differs")
    return sorted(lines) or ["differs in its white space or its order of keys"]
