"""Which notebooks `lsml grade` means, and which of them are none."""

import os
from collections.abc import Sequence
from pathlib import Path

from autograder import curriculum
from autograder.errors import UserError

SAY_WHICH = "say which to grade, such as `lsml grade 01` for module 01 in work/, or its path"


def notebooks(wanted: Sequence[str], root: Path = curriculum.ROOT) -> list[str]:
    """Paths of the notebooks meant by paths and modules ("01"); without any, the one of this folder. UserError."""
    return [_meant(one, root) for one in wanted] if wanted else [_here(Path.cwd(), root)]


def unreadable(path: str, root: Path = curriculum.ROOT) -> str | None:
    """Why a file cannot be graded, before anything is started to grade it; None where it can be."""
    from autograder.grading import reading
    from autograder.grading.rebuild import module_of

    try:
        module_of(reading.parse(reading.read_bytes(path)), path, root)
    except reading.Unreadable as refusal:
        return "is a folder, not a notebook" if os.path.isdir(path) else str(refusal)
    return None


def _meant(one: str, root: Path) -> str:
    known = curriculum.names(root)
    if one in known or one in {name[:2] for name in known}:
        module = curriculum.resolve(one, root)
        path = os.path.relpath(root / "work" / module / f"{module}.ipynb")
        if not os.path.lexists(path):
            raise UserError(f"{path} does not exist; `make lab` copies module {module} there")
        return path
    if not os.path.lexists(one):
        if one.isdigit():
            curriculum.resolve(one, root)  # says which modules there are
        raise UserError(f"no such file: {one}")
    return one


def _here(folder: Path, root: Path) -> str:
    """The notebook of a folder: the only one, or the one that is named as a module is."""
    found = sorted(path.name for path in folder.glob("[!.]*.ipynb"))
    named = [name for name in found if name.removesuffix(".ipynb") in curriculum.names(root)]
    for names in (found, named):
        if len(names) == 1:
            return names[0]
    several = f"there are several notebooks in this folder ({', '.join(found[:5])})"
    raise UserError(f"{several if found else 'there is no notebook in this folder'}; {SAY_WHICH}")
