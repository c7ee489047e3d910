"""The steps that nbgrader runs for lsml, named in its configuration by `autograder.classroom.settings`.

nbgrader converts a submission in two passes: submitted/ to autograded/ (sanitise), then autograded/ onto itself
(autograde). Nothing a student wrote is run here, and none of nbgrader's readers sees a student's file.
"""

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from nbconvert.exporters import NotebookExporter
from nbformat import from_dict
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor

from autograder import curriculum
from autograder.classroom import present, times
from autograder.classroom.entering import Graded, enter
from autograder.classroom.folder import ClassFolder
from autograder.classroom.reports import Reports, best, versions
from autograder.printing import printable

KEPT = ("timestamp.txt", "submission_secret.txt")  # nbgrader's own; feedback is released with them
MAX_EXTRA = 32 * 2**20  # bytes of any file besides the notebook
MAX_DEPTH = 8  # folders in a submission


def released(folder: ClassFolder, module: str) -> dict:
    """The notebook of a module as this class released it, as plain values with whole sources."""
    path = folder.path / "release" / module / f"{module}.ipynb"
    if path.is_file():
        notebook = json.loads(path.read_bytes())
    else:
        from autograder.authoring.release import released_notebook

        notebook = json.loads(json.dumps(released_notebook(curriculum.load(module))))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    return notebook


def choose(folder: ClassFolder, student: str, module: str) -> Graded:
    """The version of a submission that counts, with its key and its Report."""
    reports, found = Reports(folder), versions(folder, student, module)
    chosen = best([(version, *reports.get(version, module)) for version in found])
    return Graded(student, *chosen, current=found[-1].digest)


class SubmissionExporter(NotebookExporter):
    """Reads a submission as lsml reads it: whatever the file is, a valid notebook comes out."""

    def from_filename(self, filename, resources=None, **options):
        resources = resources or {}
        autograde = self.parent
        folder = ClassFolder(autograde.coursedir.root)
        resources["lsml"] = {"folder": folder}
        if Path(filename).is_relative_to(folder.path / "autograded"):
            notebook = json.loads(Path(filename).read_bytes())
        else:
            notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        return self.from_notebook_node(from_dict(notebook), resources, **options)

    def from_notebook_node(self, nb, resources=None, **options):
        resources = self._init_resources(resources)
        nb, resources = self._preprocess(nb, resources)
        resources["output_extension"] = self.file_extension
        return present.dumps(nb), resources


class Present(NbGraderPreprocessor):
    """Sanitise: the released notebook stands in for the submission, which is read once, by the next step."""

    def preprocess(self, nb, resources):
        folder, where = resources["lsml"]["folder"], resources["nbgrader"]
        return from_dict(present.present(released(folder, where["assignment"]), None)), resources


class SaveReport(NbGraderPreprocessor):
    """Autograde: the Report into the gradebook, the student's answers and the verdicts into the notebook."""

    def preprocess(self, nb, resources):
        folder, where = resources["lsml"]["folder"], resources["nbgrader"]
        student, module = where["student"], where["assignment"]
        graded = choose(folder, student, module)
        with Gradebook(where["db_url"], folder_course(self)) as book:
            (notebook,) = enter(folder, book, module, released(folder, module), [graded])
        for note in graded.report.notes:
            self.log.warning("%s: %s", student, note)
        return from_dict(notebook), resources


def folder_course(step: NbGraderPreprocessor) -> str:
    """nbgrader's course id, from the converter that runs a step."""
    return step.parent.parent.coursedir.course_id


def refuse_odd_files(assignment: str, student: str, notebooks: list[str]) -> None:
    """Before nbgrader copies a submission: set aside what it would follow or choke on."""
    for directory in {Path(notebook).parent for notebook in notebooks}:
        set_aside(directory)


def keep_known_files(assignment: str, student: str, notebooks: list[str]) -> None:
    """After: leave in autograded/ only what formgrader may serve, for it serves any file in there as a page."""
    for notebook in map(Path, notebooks):
        module, owner = notebook.parent.name, notebook.parents[1].name
        folder = notebook.parents[3]
        prune(folder / "autograded" / owner / module, module)


def prune(directory: Path, module: str) -> None:
    """Delete everything from an autograded/ folder that is not the notebook or nbgrader's own."""
    if directory.is_symlink() or not directory.is_dir():
        return
    for path in directory.iterdir():
        if path.name not in (f"{module}.ipynb", *KEPT):
            _delete(path)


def set_aside(directory: Path) -> list[str]:
    """Move what is no plain file of reasonable size from submitted/STUDENT/MODULE into refused/; a line for each.

    Nothing is lost: it is moved as it is, a link as a link. The notebook itself stays, whatever it is: lsml reads it
    without following links, and the Report says what is wrong with it.
    """
    submitted = directory.parents[1]
    refused = submitted.parent / "refused"
    lines = []
    for path in sorted(_odd(directory)):
        target = refused / path.relative_to(submitted)
        target.parent.mkdir(parents=True, exist_ok=True)
        while os.path.lexists(target):
            target = target.with_name(target.name + "~")
        os.replace(path, target)
        what = _KINDS.get(stat.S_IFMT(target.lstat().st_mode), "too large or not what it should be")
        lines.append(f"{printable(path.relative_to(submitted))} is {what}: set aside in {refused}")
    return lines


_KINDS = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
_KINDS |= {stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def _odd(directory: Path) -> Iterator[Path]:
    if directory.parent.is_symlink():
        yield directory.parent
    elif directory.is_symlink() or not directory.is_dir():
        yield directory
    else:
        yield from _odd_files(directory, directory / f"{directory.name}.ipynb", depth=0)


def _odd_files(directory: Path, notebook: Path, depth: int) -> Iterator[Path]:
    with os.scandir(directory) as entries:
        for entry in entries:
            path, status = Path(entry.path), entry.stat(follow_symlinks=False)
            if path == notebook:
                continue
            if stat.S_ISDIR(status.st_mode) and depth < MAX_DEPTH:
                yield from _odd_files(path, notebook, depth + 1)
                continue
            fits = stat.S_ISREG(status.st_mode) and status.st_size <= MAX_EXTRA
            if not fits or (entry.name == "timestamp.txt" and not _is_timestamp(path)):
                yield path


def _is_timestamp(path: Path) -> bool:
    try:
        times.timestamp(path.read_text(encoding="utf-8")[:200])
    except (ValueError, OverflowError, OSError):
        return False
    return True


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
