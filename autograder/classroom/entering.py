"""The end of grading, for `lsml autograde`, `nbgrader autograde` and formgrader's button alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbgrader.api import Gradebook

from autograder.classroom import present, record, requests
from autograder.classroom.folder import ClassFolder
from autograder.classroom.penalties import Penalty
from autograder.classroom.reports import Version, extensions, note_recorded, record_of
from autograder.grading.report import Report


@dataclass(frozen=True)
class Graded:
    """A student's submission with its Report. `current`: the digest of what lies in submitted/, counted or not."""

    student: str
    version: Version
    key: str
    report: Report
    current: str


def enter(
    folder: ClassFolder,
    book: Gradebook,
    module: str,
    released: Mapping[str, Any],
    batch: Sequence[Graded],
    penalty: Penalty | None = None,
    put: Callable[[Graded, dict[str, Any]], None] = lambda graded, notebook: None,
) -> list[dict[str, Any]]:
    """Make the notebooks for autograded/, `put` them there, and write their Reports into the gradebook.

    In this order, so that whatever a crash cuts off is done again. The notebooks are returned.
    """
    granted = extensions(folder, module)
    notebooks, entries = [], []
    for graded in batch:
        notebook = present.present_content(released, graded.version.content, module)
        present.annotate(notebook, graded.report, graded.key)
        before = record_of(folder, module, graded.student).get("key")
        entries.append(
            record.Entry(
                graded.student,
                graded.report,
                graded.version.timestamp,
                frozenset(present.answered(notebook)),
                changed=before not in (None, graded.key),
                extension=granted.get(graded.student),
            )
        )
        notebooks.append(notebook)
        put(graded, notebook)
    ids = record.write(book, module, entries, penalty) if entries else {}
    for graded in batch:
        stamp = graded.version.timestamp
        requests.collect(folder, module, graded.student, graded.version.content)
        note_recorded(folder, module, graded.student, graded.key, ids[graded.student], stamp, graded.current)
    return notebooks
