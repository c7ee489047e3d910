"""The class report: one page that answers Monday's questions, and the same tables as CSV."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from autograder.classroom import analysis
from autograder.classroom.analysis import ModuleFigures, Talk
from autograder.classroom.export import harmless
from autograder.classroom.folder import ClassFolder
from autograder.classroom.status import read
from autograder.errors import UserError
from autograder.files import write_atomically
from autograder.printing import printable

BINS = 10


def write(folder: ClassFolder, modules: list[str] | None = None) -> list[Path]:
    """Write report/index.html and its tables into the class folder; their paths. UserError where nothing is graded."""
    status = read(folder, modules, reports=True)
    figures = analysis.modules(status, folder)
    if not figures:
        raise UserError("nothing is graded yet; run `lsml autograde` first")
    talks, changes = analysis.talks(status, figures), analysis.changes(folder, status)
    files = {"index.html": render(figures, talks, changes, len(status.students)), **tables(figures, talks)}
    written = []
    for name, text in files.items():
        path = folder.path / "report" / name
        write_atomically(path, text, mode=0o600)  # it names students
        written.append(path)
    analysis.remember(folder, status)
    return written


def render(figures: Sequence[ModuleFigures], talks: Sequence[Talk], changes: Sequence[str], students: int) -> str:
    """The page, HTML that loads nothing from anywhere."""
    environment = Environment(
        loader=PackageLoader("autograder.classroom"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": lambda share: f"{share:.0%}", "printable": printable}
    return environment.get_template("report.html.j2").render(
        modules=[(module, histogram(module.shares)) for module in figures],
        talks=talks,
        changes=changes,
        students=students,
        mean=fmean,
        median=median,
        today=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def histogram(shares: Sequence[float]) -> list[int]:
    """How many have which share of the points, in BINS equal bins; all points are in the last."""
    return np.histogram(shares, bins=BINS, range=(0, 1))[0].tolist()


def tables(figures: Sequence[ModuleFigures], talks: Sequence[Talk]) -> dict[str, str]:
    """Each table of the page as CSV, by the name of its file."""
    rows = {
        "modules.csv": [["module", "handed_in", "missing", "graded", "mean_share", "median_share", "attempts"]],
        "exercises.csv": [
            ["module", "exercise", "points", "extra", "answered", "mean_share", "full", "discrimination"]
        ],
        "tests.csv": [["module", "exercise", "test", "answered", "passed", "discrimination", "says", "sentence"]],
        "misconceptions.csv": [["module", "exercise", "students", "behaves like one that"]],
        "talks.csv": [["student", "name", "reasons"]],
    }
    for module in figures:
        middle = [fmean(module.shares), median(module.shares)] if module.shares else ["", ""]
        graded = len(module.shares)
        rows["modules.csv"].append(
            [module.name, module.handed_in, module.missing, graded, *map(_rounded, middle), _rounded(module.attempts)]
        )
        for e in module.exercises:
            figures_of = [e.points, e.extra, e.answered, _rounded(e.mean), e.full, _rounded(e.discrimination)]
            rows["exercises.csv"].append([module.name, e.name, *figures_of])
        for t in module.tests:
            figures_of = [t.answered, t.passed, _rounded(t.discrimination), t.says, t.sentence]
            rows["tests.csv"].append([module.name, t.exercise, t.name, *figures_of])
        for m in module.misconceptions:
            rows["misconceptions.csv"].append([module.name, m.exercise, len(m.students), m.says])
    rows["talks.csv"] += [[talk.student, talk.name, "; ".join(talk.reasons)] for talk in talks]
    return {name: _csv(lines) for name, lines in rows.items()}


def _rounded(value: float | str | None) -> float | str:
    return round(value, 4) if isinstance(value, float) else "" if value is None else value


def _csv(rows: Sequence[Sequence]) -> str:
    text = io.StringIO()
    guarded = ([harmless(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(guarded)
    return text.getvalue()
