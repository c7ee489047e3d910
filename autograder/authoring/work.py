"""`lsml lab`: give people their own copy of the course, and open it."""

import os
import subprocess
import sys
from pathlib import Path

from autograder import curriculum
from autograder.errors import UserError


def copy_missing(root: Path = curriculum.ROOT) -> list[Path]:
    """Copy into work/ the files of course/ that are not there yet. Whatever is there stays as it is."""
    course, work = root / "course", root / "work"
    if not course.is_dir():
        raise UserError("there is no course/ to copy from; run `lsml build` first")
    copied = []
    for source in sorted(path for path in course.rglob("*") if path.is_file()):
        inside = source.relative_to(course)
        target = work / inside
        if any(part.startswith(".") for part in inside.parts) or os.path.lexists(target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as new:  # "x": never over a file that appeared meanwhile
            new.write(source.read_bytes())
        copied.append(target)
    return copied


def open_lab(root: Path = curriculum.ROOT, browser: bool = True) -> None:
    """Become JupyterLab in work/. Does not return."""
    command = [sys.executable, "-m", "jupyterlab", "--ServerApp.root_dir", str(root / "work")]
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # a container's only user; Jupyter asks for its token all the same
        command.append("--allow-root")
    if os.name == "nt":  # where a command that is replaced gives the terminal back at once
        sys.exit(subprocess.call(command))
    os.execv(sys.executable, command)
