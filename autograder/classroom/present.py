"""The notebook that goes into autograded/: the released one with the student's answers set into it, and the verdicts.

Graded cells are the author's, each exactly once, so nothing that happened to them in an editor can stop nbgrader.
Outputs of the student are dropped, their markdown is made harmless: formgrader shows this file as a page.
"""

import json
from collections.abc import Mapping
from typing import Any

from autograder.classroom import sanitize
from autograder.grading.reading import Notebook, NotebookCell
from autograder.grading.report import ExerciseResult, Report

LONGEST = 100_000  # characters of code in one cell
MARKS = {True: "✓", False: "✗"}


def present(released: Mapping[str, Any], submitted: Notebook | None) -> dict[str, Any]:
    """The released notebook with the submission's exercise, written and added cells. All released where it is None."""
    answers, added = _sorted_out(released["cells"], submitted.cells if submitted else ())
    cells = list(added.get(None, ()))
    for authored in released["cells"]:
        cell = dict(authored)  # what changes is replaced, never changed: the released notebook serves the whole class
        role = cell["metadata"].get("lsml", {}).get("role")
        text = "\n\n".join(answers.get(cell["id"], ()))
        if role == "exercise" and text:
            cell["source"] = text[:LONGEST]
        elif role == "written" and text and text.strip() != cell["source"].strip():
            cell["source"] = sanitize.markdown(text)
            cell["metadata"] = {**cell["metadata"], "lsml": {**cell["metadata"]["lsml"], "answered": True}}
        cells += [cell, *added.get(cell["id"], ())]
    return {**released, "cells": cells, "metadata": dict(released["metadata"])}


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


def _sorted_out(
    released: list[dict[str, Any]], submitted: tuple[NotebookCell, ...]
) -> tuple[dict[str, list[str]], dict[str | None, list[dict[str, Any]]]]:
    """Each authored cell's submitted sources by id, and the added cells by the authored cell they followed."""
    known = {cell["id"]: cell for cell in released}
    by_name = {}
    for cell in released:
        lsml = cell["metadata"].get("lsml", {})
        by_name[lsml.get("role"), lsml.get("name")] = cell["id"]
    by_source = {cell["source"].strip(): cell["id"] for cell in released}
    answers: dict[str, list[str]] = {}
    added: dict[str | None, list[dict[str, Any]]] = {}
    last = None
    for number, cell in enumerate(submitted):
        found = _identity(cell, known, by_name) or by_source.get(cell.source.strip())
        if found is not None:
            last = found
            answers.setdefault(found, []).append(cell.source)
        elif cell.source.strip():
            code = cell.cell_type == "code"
            source = cell.source[:LONGEST] if code else sanitize.markdown(cell.source)
            added.setdefault(last, []).append(_cell(cell.cell_type, source, f"added-{number}"))
    return answers, added


def _identity(cell: NotebookCell, known: Mapping[str, Any], by_name: Mapping[tuple, str]) -> str | None:
    """The authored cell that a submitted one was, by any of the marks that an editor may have left on it."""
    lsml, nbgrader = cell.metadata.get("lsml"), cell.metadata.get("nbgrader")
    if isinstance(lsml, dict):
        mark = lsml.get("role"), lsml.get("name")
        if all(isinstance(part, str) for part in mark) and mark in by_name:
            return by_name[mark]
    for mark in (nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None, cell.id):
        if isinstance(mark, str) and mark in known:
            return mark
    return None


def _cell(cell_type: str, source: str, cell_id: str) -> dict[str, Any]:
    cell = {"cell_type": cell_type, "id": cell_id, "metadata": {"lsml": {"role": "added"}}, "source": source}
    return cell | ({"outputs": [], "execution_count": None} if cell_type == "code" else {})
