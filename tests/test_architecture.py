"""The house is as docs/architecture.md draws it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
BELOW_ALL = {"apart", "errors", "files", "interrupts", "printing", "startup"}
# What each room may import of ours. The command line finds its commands by name.
MAY_IMPORT = {
    "lsml_utils": set(),
    "sandbox": set(),
    "submission": {"sandbox"},
    "judging": {"lsml_utils", "submission"},  # the first in what runs in the student's process
    "curriculum": BELOW_ALL,
    "answers": BELOW_ALL | {"curriculum"},
    "authoring": BELOW_ALL | {"curriculum"},
    "grading": BELOW_ALL | {"answers", "curriculum", "judging", "lsml_utils", "sandbox", "submission"},
    "desk": BELOW_ALL | {"classroom", "curriculum", "grading", "sandbox"},
    "proving": BELOW_ALL | {"answers", "curriculum", "grading", "sandbox", "submission"},
    "classroom": BELOW_ALL | {"answers", "authoring", "curriculum", "grading", "sandbox"},
    "book": BELOW_ALL | {"authoring", "curriculum", "desk", "lsml_utils"},
    "cli": BELOW_ALL | {"lsml_utils"},
}


def imported(file: Path) -> set[str]:
    """The modules and packages that a file names in its imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def rooms(names: set[str]) -> set[str]:
    """The rooms of the house that these stand in."""
    parts = [name.split(".") for name in names]
    return {p[1] for p in parts if p[0] == "autograder" and len(p) > 1} | ({"lsml_utils"} & {p[0] for p in parts})


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_run_one_way(room):
    home = ROOT / room if room == "lsml_utils" else ROOT / "autograder" / room
    files = list(home.rglob("*.py")) if home.is_dir() else [home.with_suffix(".py")]
    assert files
    for file in files:
        if "templates" not in file.parts:  # notebooks: they import what students import
            wrong = rooms(imported(file)) - {room} - MAY_IMPORT[room]
            assert not wrong, f"{file.relative_to(ROOT)} imports {', '.join(wrong)}, which lies above {room}"


def test_every_room_is_known():
    entries = {path.stem for path in (ROOT / "autograder").iterdir() if not path.name.startswith("__")}
    assert entries == (MAY_IMPORT.keys() | BELOW_ALL) - {"lsml_utils"}


def test_one_place_knows_where_a_modules_files_are():
    spelled = re.compile(r"""["'/](hidden_tests|answers|notebook)\.py["']""")
    files = [file for file in (ROOT / "autograder").rglob("*.py") if "templates" not in file.parts]
    assert {file.name for file in files if spelled.search(file.read_text(encoding="utf-8"))} == {"curriculum.py"}


def test_every_file_that_the_page_names_exists():
    page = PAGE.replace("NN_topic", "00_orientation")
    named = set(re.findall(r"`((?:\w+/)*\w+\.(?:py|md))`", page)) - {"notebook.py", "hidden_tests.py"}  # of any module
    assert len(named) > 20
    homes = [ROOT, ROOT / "autograder", *(path for path in (ROOT / "autograder").iterdir() if path.is_dir())]
    missing = [name for name in named if not any((home / name).is_file() for home in homes)]
    assert missing == []
