"""Seconds from the save of a notebook to its new report, under `lsml watch`, beside `lsml grade` from the shell.

Run: python benchmarks/save_to_report.py [--saves 20] [--module 01_gradient_descent]

Everything happens in a temporary course whose work/ holds the solved module. One exercise is changed a save: in turn
each of them, right (a comment more) or wrong (the reference's first wrong answer). "new" is the first page that holds
the verdict of what was changed; "whole" the page that also says why.
"""

import argparse
import itertools
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat

from autograder import answers, curriculum
from autograder.desk import own_page
from autograder.grading import kept
from lsml_utils.tables import Table, seconds_text


class Course:
    """A temporary course with one module, solved."""

    def __init__(self, root: Path, name: str):
        for part in ("solutions", "course", "autograder", "lsml_utils"):
            (root / part).symlink_to(curriculum.ROOT / part)
        self.module, self.root = curriculum.load(name, root), root
        self.path, self.page = kept.notebook(name, root), root / own_page.PAGES / f"{name}.html"
        self.notebook = nbformat.read(root / "course" / name / f"{name}.ipynb", as_version=4)
        self.cells = {
            cell.metadata.lsml.name: cell
            for cell in self.notebook.cells
            if cell.metadata.get("lsml", {}).get("role") == "exercise"
        }
        for exercise in self.module.exercises:
            self.cells[exercise.name].source = exercise.solution
        self.path.parent.mkdir(parents=True)

    def save(self) -> None:
        """As JupyterLab does."""
        scratch = self.path.with_name(".~benchmark")
        nbformat.write(self.notebook, scratch)
        scratch.replace(self.path)


def seconds_of(course: Course, exercise: str, verdict: str) -> tuple[float, float]:
    """From a save until the page has the verdict of an exercise, and until it is whole."""
    before = course.page.stat().st_mtime_ns if course.page.exists() else 0
    course.save()
    started, new = time.perf_counter(), None
    while time.perf_counter() - started < 300:
        time.sleep(0.005)
        if not course.page.exists() or course.page.stat().st_mtime_ns == before:
            continue
        page = course.page.read_text(encoding="utf-8")
        if new is None and re.search(rf'<section class="card {verdict}" id="{exercise}">', page):
            new = time.perf_counter() - started
        if new is not None and 'data-left="0"' in page:
            return new, time.perf_counter() - started
    raise SystemExit(f"no page says that {exercise} {verdict}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--saves", type=int, default=20)
    parser.add_argument("--module", default="01_gradient_descent")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        course = Course(Path(folder), curriculum.resolve(arguments.module))
        course.save()
        rows = list(measured(course, arguments.saves))
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "autograder", "grade", course.path], stdout=subprocess.DEVNULL, check=True
        )
        rows.append(("lsml grade, from the shell", [(time.perf_counter() - started,) * 2]))
    table = [
        (what, str(len(found)), *(seconds_text(statistics.median(times)) for times in zip(*found, strict=True)))
        for what, found in rows
    ]
    title = (f"{course.module.name}: medians", "runs", "new", "whole")
    print(Table(title, table, numeric=(1, 2, 3)))


def measured(course: Course, saves: int) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """What is done, and the seconds of each time."""
    command = [sys.executable, "-m", "autograder", "watch", "--until-eof", "--root", str(course.root)]
    started = time.perf_counter()
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=curriculum.ROOT)
    try:
        watcher.stdout.readline()
        yield "lsml watch starts", [(time.perf_counter() - started,) * 2]
        threading.Thread(target=watcher.stdout.read, daemon=True).start()  # or it would wait for a reader
        names = [exercise.name for exercise in course.module.exercises]
        yield "first save, all right", [seconds_of(course, names[0], "passed")]
        right, wrong, again = [], [], []
        gallery = answers.load(course.module.name)
        for number, name in zip(range(saves), itertools.cycle(names)):
            solution = course.module.exercise(name).solution
            course.cells[name].source = f"{solution}\n# save {number}\n"
            right.append(seconds_of(course, name, "passed"))
            # Before the misconception is told, the answer is failed, partial or an error: whatever is not passed.
            course.cells[name].source = f"{gallery.wrong(name)[0].cell(solution)}\n# save {number}\n"
            (wrong if number < len(names) else again).append(seconds_of(course, name, "(?!passed|running)\\w+"))
            course.cells[name].source = solution
            seconds_of(course, name, "passed")
        yield "one answer changed, right", right
        yield "one answer wrong, of its kind the first", wrong
        if again:
            yield "one answer wrong, once more", again
    finally:
        watcher.stdin.close()
        watcher.wait()


if __name__ == "__main__":
    main()
