"""A zip for people who have neither make nor git: notebooks, lsml_utils, and two scripts that set it up and open it."""

import ast
import json
import re
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from autograder import curriculum
from autograder.errors import UserError

TEMPLATES = Path(__file__).with_name("templates") / "bundle"
FOLDER = "lsml"  # what the zip unpacks to
STAMP = (2026, 1, 1, 0, 0, 0)  # of every file, so that the same course makes the same zip
NAMES = {"sklearn": "scikit-learn"}  # what is imported by another name than it is installed by
ALWAYS = ("jupyterlab", "ipykernel")


def make(target: Path, modules: Sequence[str], root: Path = curriculum.ROOT) -> list[str]:
    """Write the zip and return the names of its files. UserError where a module is not built."""
    files = dict(sorted(contents(modules, root)))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in files.items():
            entry = zipfile.ZipInfo(f"{FOLDER}/{name}", STAMP)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(entry, data)
    return list(files)


def contents(modules: Sequence[str], root: Path = curriculum.ROOT) -> Iterator[tuple[str, bytes]]:
    """The name and the content of each file."""
    sources = []
    for module in modules:
        notebook = root / "course" / module / f"{module}.ipynb"
        if not notebook.is_file():
            raise UserError(f"course/{module}/{module}.ipynb is missing; run `lsml build`")
        for path in _files(notebook.parent):
            yield f"notebooks/{path.relative_to(root / 'course').as_posix()}", path.read_bytes()
        cells = json.loads(notebook.read_bytes())["cells"]
        sources += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    for path in _files(root / "lsml_utils"):
        yield path.relative_to(root).as_posix(), path.read_bytes()
        sources += [path.read_text(encoding="utf-8")] if path.suffix == ".py" else []
    needed = list(requirements(sources, root))
    yield "requirements.txt", "".join(f"{line}\n" for line in needed).encode()
    yield "environment.yml", _environment(needed).encode()
    yield "LICENSE", (root / "LICENSE").read_bytes()
    for path in _files(TEMPLATES):
        yield path.name, path.read_bytes()


def requirements(sources: Iterable[str], root: Path = curriculum.ROOT) -> Iterator[str]:
    """Those of the project's requirements that these sources import, and JupyterLab."""
    listed = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    used = {NAMES.get(name, name) for source in sources for name in _imported(source)} | set(ALWAYS)
    yield from (line for line in listed if re.match(r"[\w-]+", line)[0] in used)


def _imported(source: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a magic, or a released bug
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0]


def _environment(needed: Sequence[str]) -> str:
    lines = [line.replace("torch>", "pytorch>") if line.startswith("torch>") else line for line in needed]
    listed = "".join(f"  - {line}\n" for line in ("python>=3.11", *lines))
    return f"name: lsml\nchannels:\n  - conda-forge\ndependencies:\n{listed}"


def _files(folder: Path) -> list[Path]:
    """Every file but what editors and Python leave behind: a checkpoint may hold somebody's answers."""
    inside = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [folder / p for p in inside if not any(part[0] == "." or part == "__pycache__" for part in p.parts)]
