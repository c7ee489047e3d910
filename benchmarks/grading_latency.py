"""What grading costs: the sandbox's parts, one whole notebook, the same in a plain process, and stock nbgrader's way.

Run: python benchmarks/grading_latency.py [--repeat 20] [--stock 3] [--module 01_gradient_descent] [--sandbox none]

"plain" executes the same cells once for each exercise and runs the same hidden tests, through the same pytest, in one
warm process: no sandbox, no wire, no copies. "stock" is `nbgrader autograde` of the solved notebook with the course's
visible checks as its tests, demo cells at their small size; it runs no hidden test at all.
"""

# ruff: noqa: E402  the number of threads is fixed before anything that has threads is imported

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["LSML_DEMO"] = "small"
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # as inside the sandbox, for every row of the table

import nbformat
from in_kernel import InKernel
from nbformat import NotebookNode

from autograder import curriculum
from autograder.authoring.release import solved_notebook, source_notebook
from autograder.curriculum import Module
from autograder.grading import Grader, plugin
from autograder.grading.reference import reference_cells
from autograder.sandbox import open_sandbox
from autograder.submission import SourceCell, Submission
from lsml_utils.tables import Table, seconds_text


def timed(action, repeat: int) -> list[float]:
    """Seconds of each of `repeat` runs."""
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return seconds


def sandbox_rows(kind: str, repeat: int):
    """(name, seconds) of the sandbox's parts."""
    yield "fork server start", timed(lambda: open_sandbox(kind).close(), repeat)
    with open_sandbox(kind) as sandbox:
        children, kills = [], []

        def ready_child():
            children.append(Submission(sandbox, sandbox.limits))

        for _ in range(repeat):
            children_seconds = timed(ready_child, 1)
            kills += timed(children.pop().close, 1)
            yield "ready child", children_seconds
        yield "end of a child", kills
        with Submission.load(sandbox, [SourceCell("cell 1", "def same(x): return x")]) as submission:
            yield "one remote call", timed(lambda: submission.same(1.0), max(repeat, 200))


def plain_grade(module: Module, grader: Grader):
    """All hidden tests of a module against its reference's cells in this process. Raises where one fails."""
    cells = reference_cells(module)
    current = [None, None]

    @contextlib.contextmanager
    def submission(outcome, following):
        if outcome.spec.exercise != current[0]:
            space = {"__name__": "plain"}
            for cell in cells:
                exec(compile(cell.source, cell.label, "exec"), space)
            current[:] = outcome.spec.exercise, InKernel(space)
        yield current[1]

    def grade():
        outcomes = plugin.run(module, submission, grader._reference(module), data_dir=grader._data)
        failed = [outcome.item for outcome in outcomes if outcome.cause != "passed"]
        if failed:
            raise SystemExit(f"the plain process fails {', '.join(failed)}")

    return grade


def cold_grade(path: Path, kind: str):
    """`lsml grade` from the shell, on a machine where Python may keep what it has compiled."""
    command = [sys.executable, "-m", "autograder.cli", "grade", "--json", "--sandbox", kind, str(path)]
    keeping = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def grade():
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=keeping)
        if json.loads(done.stdout)["status"] != "graded":
            raise SystemExit(done.stdout)

    return grade


def stock_grade(folder: Path, module: Module, solved: NotebookNode):
    """`nbgrader autograde` of the solved notebook, in a course of its own."""
    nbgrader = [sys.executable, "-m", "nbgrader"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader calls alembic by name
    for place, notebook in (("source", source_notebook(module)), ("submitted/student", solved)):
        target = folder / place / module.name
        target.mkdir(parents=True)
        nbformat.write(notebook, target / f"{module.name}.ipynb")

    def run(*arguments):
        done = subprocess.run(
            [*nbgrader, *arguments], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])

    run("generate_assignment", module.name)
    return lambda: run("autograde", module.name, "--force")


def line(name: str, seconds: list[float]) -> tuple[str, str, str, str]:
    """A row of the table."""
    return name, seconds_text(statistics.median(seconds)), seconds_text(max(seconds)), str(len(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--module", default="01_gradient_descent")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--stock", type=int, default=3, help="runs of stock nbgrader; 0 leaves it out")
    parser.add_argument("--sandbox", choices=("bubblewrap", "none"), default="bubblewrap")
    options = parser.parse_args()
    module = curriculum.load(curriculum.resolve(options.module))
    solved = solved_notebook(module)
    measured: dict[str, list[float]] = {}
    for name, seconds in sandbox_rows(options.sandbox, options.repeat):
        measured.setdefault(name, []).extend(seconds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{module.name}.ipynb"
        nbformat.write(solved, path)
        with Grader(sandbox=options.sandbox) as grader:
            report = grader.grade(path)  # warms up
            if report.score != report.max_score:
                raise SystemExit(f"the solved notebook scores {report.score} of {report.max_score}")
            plain = plain_grade(module, grader)
            plain()
            for _ in range(options.repeat):  # in turns, so that both meet the same machine
                measured.setdefault("notebook, warm", []).extend(timed(lambda: grader.grade(path), 1))
                measured.setdefault("the same in a plain process", []).extend(timed(plain, 1))
        cold, torch_alone = cold_grade(path, options.sandbox), [sys.executable, "-c", "import torch"]
        cold()  # the first compiles, and reads from the disk
        for _ in range(max(1, options.repeat // 4)):
            measured.setdefault("notebook, cold (lsml grade)", []).extend(timed(cold, 1))
            importing = timed(lambda: subprocess.run(torch_alone, check=True), 1)
            measured.setdefault("python -c 'import torch'", []).extend(importing)
        if options.stock:
            (Path(folder) / "stock").mkdir()
            stock = stock_grade(Path(folder) / "stock", module, solved)
            measured["stock nbgrader autograde"] = timed(stock, options.stock)
    table = Table(("", "median", "slowest", "runs"), [line(*row) for row in measured.items()], numeric=(1, 2, 3))
    print(f"{module.name}, sandbox {options.sandbox}\n")
    print(table)
    middle = {name: statistics.median(seconds) for name, seconds in measured.items()}
    warm = middle["notebook, warm"]
    least = middle["python -c 'import torch'"] + warm
    print(f"\nwarm / plain: {warm / middle['the same in a plain process']:.2f}")
    print(f"cold / (import torch + warm): {middle['notebook, cold (lsml grade)'] / least:.2f}")
    if options.stock:
        print(f"stock / warm: {middle['stock nbgrader autograde'] / warm:.1f}")


if __name__ == "__main__":
    main()
