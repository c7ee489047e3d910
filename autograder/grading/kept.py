"""The last Report of each module's notebook in work/, kept in work/.lsml/ under the hash of what produced it."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from autograder import curriculum
from autograder.files import write_atomically
from autograder.grading.report import Report, report_key

FOLDER = Path("work") / ".lsml"


@dataclass(frozen=True)
class Kept:
    """A Report, and whether grading the notebook as it is now would repeat it."""

    report: Report
    current: bool


def notebook(module: str, root: Path = curriculum.ROOT) -> Path:
    """Where a person's own notebook of a module stands."""
    return root / "work" / module / f"{module}.ipynb"


def key(content: bytes, module: str, limits, root: Path = curriculum.ROOT) -> str:
    """Under what the Report of a notebook with this content is kept."""
    return report_key(content, module, "", limits, root)


def own(path: Path | str, root: Path = curriculum.ROOT) -> bytes | None:
    """The content of a module's notebook in work/; None for any other file."""
    path = Path(path).resolve()
    if path.stem not in curriculum.names(root) or path != notebook(path.stem, root).resolve():
        return None
    try:
        return path.read_bytes()
    except OSError:
        return None


def put(report: Report, content: bytes, limits, root: Path = curriculum.ROOT) -> None:
    """Keep the Report of a notebook in work/. A fault of the grader's says nothing of the notebook: it is not kept.

    Nor is anything where it cannot be written: who asked for a report shall read it all the same.
    """
    if report.status == "graded" and report.module is not None:
        values = {"key": key(content, report.module, limits, root), "report": report.to_dict()}
        with contextlib.suppress(OSError):
            write_atomically(_file(report.module, root), json.dumps(values, ensure_ascii=False))


def get(module: str, limits, root: Path = curriculum.ROOT) -> Kept | None:
    """What is kept of a module; None where nothing is, or where the file is damaged."""
    try:
        values = json.loads(_file(module, root).read_text(encoding="utf-8"))
        report = Report.from_dict(values["report"])
        content = notebook(module, root).read_bytes()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Kept(report, values["key"] == key(content, module, limits, root))


def _file(module: str, root: Path) -> Path:
    return root / FOLDER / f"{module}.json"
