"""The notebook that goes into autograded/: the released one with the student's answers set into it, and the verdicts.

Graded cells are the author's, each exactly once, so nothing that happened to them in an editor can stop nbgrader.
Outputs of the student are dropped, their markdown is made harmless: formgrader shows this file as a page.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autograder import apart, curriculum
from autograder.apart import TooCostly
from autograder.classroom import sanitize
from autograder.grading import reading
from autograder.grading.reading import Unreadable
from autograder.grading.rebuild import Rebuilt, rebuild
from autograder.grading.report import ExerciseResult, Report

LONGEST = 100_000  # characters of code in one cell
MOST_MARKDOWN = 200_000  # characters of text in one notebook: ten cells of the longest
MARKS = {True: "✓", False: "✗"}


def present_content(
    released: Mapping[str, Any], content: bytes | None, module: str, root: Path = curriculum.ROOT
) -> dict[str, Any]:
    """`present` of a submission's bytes, read in a process of its own; all released where they cannot be read."""
    if content is None:
        return present(released, None)
    try:
        return apart.call(_presented, released, content, module, root)
    except (Unreadable, TooCostly):
        return present(released, None)


def _presented(released: Mapping[str, Any], content: bytes, module: str, root: Path) -> dict[str, Any]:
    return present(released, rebuild(curriculum.load(module, root), reading.parse(content)))


def present(released: Mapping[str, Any], rebuilt: Rebuilt | None) -> dict[str, Any]:
    """The released notebook with the submission's exercise, written and added cells. All released where it is None."""
    known = {cell["id"] for cell in released["cells"]}
    written: dict[str | None, list[str]] = {}
    added: dict[str | None, list[dict[str, Any]]] = {}
    render = _Renderer()
    last = None
    for number, placed in enumerate(rebuilt.placed if rebuilt else ()):
        last = placed.authored if placed.authored in known else last
        if placed.role == "written":
            written.setdefault(placed.authored, []).append(placed.cell.source)
        elif placed.role == "added":
            code = placed.cell.cell_type == "code"
            source = placed.cell.source[:LONGEST] if code else render.markdown(placed.cell.source)
            added.setdefault(last, []).append(_cell(placed.cell.cell_type, source, f"added-{number}"))
    cells = list(added.get(None, ()))
    for authored in released["cells"]:
        cell = dict(authored)  # what changes is replaced, never changed: the released notebook serves the whole class
        lsml = cell["metadata"].get("lsml", {})
        if lsml.get("role") == "exercise" and rebuilt and (text := rebuilt.answers.get(lsml.get("name"))):
            cell["source"] = text[:LONGEST]
        elif lsml.get("role") == "written":
            text = "\n\n".join(written.get(cell["id"], ()))
            if text and text.strip() != cell["source"].strip():
                cell["source"] = render.markdown(text)
                cell["metadata"] = {**cell["metadata"], "lsml": {**lsml, "answered": True}}
        cells += [cell, *added.get(cell["id"], ())]
    return {**released, "cells": cells, "metadata": dict(released["metadata"])}


class _Renderer:
    """Makes a submission's markdown harmless, as long as there is not more of it than anybody would read."""

    def __init__(self):
        self.left = MOST_MARKDOWN

    def markdown(self, source: str) -> str:
        """A cell's text to show."""
        self.left -= len(source)
        return sanitize.markdown(source) if self.left >= 0 else "[left out: this notebook holds too much text]"


def answered(notebook: Mapping[str, Any]) -> set[str]:
    """The written questions of a presented notebook to which the student wrote something."""
    lsml = [cell["metadata"].get("lsml", {}) for cell in notebook["cells"]]
    return {mark["name"] for mark in lsml if mark.get("answered")}


def annotate(notebook: dict[str, Any], report: Report, key: str) -> None:
    """Write the verdicts below the check cells, for formgrader, and the Report into the metadata, for feedback."""
    results = {f"check_{result.id}": result for result in report.exercises}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        cell["outputs"] = []
        cell["execution_count"] = None
        result = results.get(cell["metadata"].get("nbgrader", {}).get("grade_id"))
        if result is not None:
            cell["outputs"].append({"output_type": "stream", "name": "stdout", "text": summary(result)})
    kept = report.to_dict()
    # The place where it was graded and the time it took differ from run to run; this file must not.
    kept |= {"notebook": f"{report.module}.ipynb", "seconds": 0.0}
    notebook["metadata"]["lsml"] = {**notebook["metadata"].get("lsml", {}), "report": kept, "report_key": key}
    if report.status != "graded":
        note = "; ".join(report.notes) or report.status
        banner = f"**This submission was not graded by lsml:** {sanitize.plain(note)}"
        notebook["cells"].insert(0, _cell("markdown", banner, "lsml-banner"))


def summary(result: ExerciseResult) -> str:
    """An exercise's verdict, as text for formgrader."""
    if result.score is None:
        lines = [f"{result.verdict}: not graded; a person must look at it"]
    else:
        lines = [f"{result.verdict}: {result.score:g} of {result.points} points{' (extra)' if result.extra else ''}"]
    if result.message:
        lines += ["  " + line for line in result.message.splitlines()]
    for test in result.tests:
        first, *more = test.message.splitlines() or [""]
        lines.append(f"  {MARKS[test.passed]} {first}")
        lines += ["      " + line for line in more]
        if test.misconception:
            lines.append(f"      It behaves like one that {test.misconception}.")
    return "\n".join(lines) + "\n"


def dumps(notebook: Mapping[str, Any]) -> str:
    """The notebook as text. Without indentation, for with it json takes ten times as long."""
    return json.dumps(notebook, ensure_ascii=False, sort_keys=True) + "\n"


def _cell(cell_type: str, source: str, cell_id: str) -> dict[str, Any]:
    cell = {"cell_type": cell_type, "id": cell_id, "metadata": {"lsml": {"role": "added"}}, "source": source}
    return cell | ({"outputs": [], "execution_count": None} if cell_type == "code" else {})
