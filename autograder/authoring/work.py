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


def open_lab(root: Path = curriculum.ROOT, browser: bool = True, sandbox: str = "bubblewrap") -> None:
    """Become JupyterLab in work/, without what nbgrader has for instructors. Does not return.

    What is saved there is graded in this kind of sandbox; nothing is for "".
    """
    command = [sys.executable, "-m", "jupyterlab", "--ServerApp.root_dir", str(root / "work")]
    if os.name != "nt":
        # JupyterLab may start its terminals as login shells, whose profile sets PATH anew: `lsml` could not be found.
        command.append(f"--ServerApp.terminado_settings=shell_command={os.environ.get('SHELL') or 'sh'}")
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # a container's only user; Jupyter asks for its token all the same
        command.append("--allow-root")
    environment = {**os.environ, **_environment(), "LSML_LAB_SANDBOX": sandbox}
    if os.name == "nt":  # where a command that is replaced gives the terminal back at once
        sys.exit(subprocess.call(command, env=environment))
    os.execve(sys.executable, command, environment)


def _environment() -> dict[str, str]:
    """`lsml` on the PATH of JupyterLab's terminals, and this course's settings of JupyterLab before anybody else's."""
    first = {"PATH": str(Path(sys.executable).parent), "JUPYTER_CONFIG_PATH": str(Path(__file__).with_name("lab"))}
    after = {"PATH": os.defpath, "JUPYTER_CONFIG_PATH": ""}
    return {
        name: os.pathsep.join(filter(None, [value, os.environ.get(name, after[name])])) for name, value in first.items()
    }
