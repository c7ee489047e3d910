"""The page of one's own notebook while it is written: the feedback page, before there is any feedback."""

import datetime
import hashlib
from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import nbformat
from jinja2 import ChoiceLoader, PackageLoader

from autograder import curriculum
from autograder.classroom import feedback, present
from autograder.files import write_atomically
from autograder.grading import kept
from autograder.grading.report import ExerciseResult, Report

PAGES = kept.FOLDER / "reports"


def put(report: Report, module: str, content: bytes, running: Collection[str] | None, root: Path) -> None:
    """Write the page of a module's notebook. `running`: exercises still to be tested; None where all is known."""
    write_atomically(root / PAGES / f"{module}.html", render(report, module, content, running, root))


def put_failure(module: str, why: str, root: Path) -> None:
    """Write a page that says why there is no report of a module's notebook."""
    write_atomically(root / PAGES / f"{module}.html", nothing(f"There is no report of {module}: {why}"))


def nothing(trouble: str = "") -> str:
    """The page where there is no report: what to do, or what is wrong."""
    return _environment().get_template("none.html.j2").render(trouble=trouble)


def old(root: Path) -> list[str]:
    """The modules whose page is not finished, and the one shown last if its notebook was changed since."""
    pages = sorted((root / PAGES).glob("*.html"), key=lambda page: page.stat().st_mtime_ns)
    found = []
    for page in pages:
        name, text = page.stem, page.read_text(encoding="utf-8")
        if name not in curriculum.names(root) or not (notebook := kept.notebook(name, root)).is_file():
            continue
        changed = hashlib.sha256(notebook.read_bytes()).hexdigest() not in text
        if 'data-left="0"' not in text or (changed and page == pages[-1]):
            found.append(name)
    return found


def render(report: Report, module: str, content: bytes, running: Collection[str] | None, root: Path) -> str:
    """The page, HTML. `content`: the notebook that was graded."""
    whole, running = running is None, running or ()
    released = nbformat.read(root / "course" / module / f"{module}.ipynb", as_version=4)
    notebook = present.present_content(released, content, module, root)
    exercises = curriculum.load(module, root).exercises
    known = {result.id: result for result in report.exercises}
    waiting = {e.name: ExerciseResult(e.name, "running", None, e.points, e.extra) for e in exercises}
    shown = tuple((waiting if e.name in running else known)[e.name] for e in exercises if e.name in {*known, *running})
    present.annotate(notebook, replace(report, exercises=shown), key="")
    found = feedback.context(notebook, _where(module, shown))
    scored = [result for result in shown if not result.extra and result.score is not None]
    found |= {
        "score": sum(result.score for result in scored),
        "points": sum(e.points for e in exercises if not e.extra),
        "waiting": False,
        "notes": report.notes,
        "graded": report.status == "graded" or bool(running),
        "running": len(running),
        "left": len(running) or int(not whole),
        "digest": hashlib.sha256(content).hexdigest(),
        "saved": datetime.datetime.fromtimestamp(kept.notebook(module, root).stat().st_mtime),
        "seconds": report.seconds,
    }
    found["share"] = round(100 * found["score"] / found["points"]) if found["points"] else 0
    return _environment().get_template("own.html.j2").render(**found)


def _where(module: str, shown: Collection[ExerciseResult]) -> dict:
    """What a gradebook would say, were this handed in and graded now."""
    grades = {
        f"check_{result.id}": {"score": 0.0 if result.extra else result.score, "manual": False, "needs": False}
        for result in shown
    }
    nobody = {"student": "", "name": "", "timestamp": None, "seconds_late": 0, "penalty": 0.0}
    return {"assignment": module, "grades": grades, "comments": {}, **nobody}


@lru_cache(maxsize=1)
def _environment():
    return feedback.environment(ChoiceLoader([PackageLoader("autograder.desk"), PackageLoader("autograder.classroom")]))
