"""One class through three graders: `lsml autograde`, stock `nbgrader autograde`, and `otter run`.

    python benchmarks/class_throughput.py [--students 100] [--stock 100] [--otter 100] [--otter-python PATH]
    python benchmarks/class_throughput.py --synthetic 10 100 1000 10000 [--modules 00 01 02]

The class hands in module 01: right, half done, wrong, slow and crashing submissions, no two of them equal, and then
the same with a few that loop until a time limit. All graders run the same hidden tests on the same machine in the
same run; nbgrader and Otter run them in the student's own process, and execute the demo cells too (at their reduced
size), because that is what they do: a slow answer costs them most there. `--stock N` and `--otter N` take the first N
submissions where all would take too long, of which every ten hold the whole mix; rates are per submission, so they
compare. `--only right` (or another kind) takes one kind alone. "over plain": the CPU time of a submission over that of
a right one's cells and tests in one warm plain process, without a sandbox, a class or a gradebook: the mean of twelve,
half of them before lsml's class and half after. A grader that does not give the first right notebook all points is
not timed.

Otter is an optional extra: pip install -e ".[benchmarks]", or --otter-python for an environment of its own.

The second mode is about the class and not about the students: 10 to 10,000 submissions whose Reports are made by a
stub, through the same Dask workers, the same files and the same gradebook. Only the students' computing is left out.
With `--modules`, the class has these modules, and every submission is of the next one.
"""

# ruff: noqa: E402  the number of threads is fixed before anything that has threads is imported

import argparse
import contextlib
import copy
import itertools
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ["LSML_DEMO"] = "small"
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # as inside the sandbox, for every row of the table

import nbformat
import psutil
from grading_latency import plain_grade
from nbgrader.api import Gradebook

from autograder import answers, curriculum
from autograder.authoring.release import released_notebook, source_notebook
from autograder.classroom.autograde import autograde, plan
from autograder.classroom.engine import DaskEngine, Job
from autograder.classroom.folder import ClassFolder
from autograder.classroom.release import release
from autograder.grading import Grader
from lsml_utils.tables import Table

MODULE = "01_gradient_descent"
BIN = Path(sys.executable).parent
LOOPING = 4  # of 100


KINDS = ("right",) * 4 + ("half done",) * 2 + ("wrong",) * 2 + ("slow", "crashing")


def submissions(count: int, looping: bool, only: str | None = None) -> list[nbformat.NotebookNode]:
    """The class, no two notebooks equal: of ten as many of each kind as KINDS names. One in 25 loops, if wanted."""
    module = curriculum.load(MODULE)
    names = [exercise.name for exercise in module.exercises]
    right = {exercise.name: exercise.solution for exercise in module.exercises}
    wrong = [answer for answer in answers.load(MODULE).answers if answer.edit]
    first = names[0]
    answers_of = {
        "right": lambda number: right,
        "half done": lambda number: {name: right[name] for name in names[: 2 + number % 4]},
        "wrong": lambda number: right | _edited(wrong[number % len(wrong)], right),
        "slow": lambda number: right | {first: _before(right[first], "__import__('time').sleep(0.05)")},
        "crashing": lambda number: right | {first: _before(right[first], "__import__('os')._exit(3)")},
    }
    notebooks = []
    for number in range(count):
        kind = only or KINDS[number % len(KINDS)]
        given = answers_of[kind](number // len(KINDS) + number)
        if looping and number % (100 // LOOPING) == 12:
            given = given | {first: _before(right[first], "while True: pass")}
        notebook = copy.deepcopy(_released())
        notebook.metadata["kind"] = kind
        for cell in notebook.cells:
            if cell.metadata.lsml.role == "exercise":
                cell.source = f"{given.get(cell.metadata.lsml.name, cell.source)}\n# student {number}"
        notebooks.append(notebook)
    return notebooks


_cache: list[nbformat.NotebookNode] = []


def _released() -> nbformat.NotebookNode:
    if not _cache:
        _cache.append(released_notebook(curriculum.load(MODULE)))
    return _cache[0]


def _edited(answer, right: dict[str, str]) -> dict[str, str]:
    return {answer.exercise: answer.cell(right[answer.exercise])}


def _before(source: str, line: str) -> str:
    """The same function with one more line at its start."""
    end = re.search(r'^    """.*?"""\n', source, re.MULTILINE | re.DOTALL).end()
    return f"{source[:end]}    {line}\n{source[end:]}"


LOOK_SECONDS = 5.0  # between two looks at the memory of all processes, each of which takes 0.1 s of a core


class Watch:
    """Wall-clock time, CPU time of ended children, and the peak memory of this process and all that descend from it."""

    def __enter__(self) -> "Watch":
        self.cpu = -_cpu_of_children()
        self.own = 0.0  # CPU seconds that looking itself has taken
        self.peak, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        self.seconds = time.monotonic()
        return self

    def __exit__(self, *failure) -> None:
        self.seconds = time.monotonic() - self.seconds
        self.cpu += _cpu_of_children()
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        own = psutil.Process()
        while not self._over.wait(LOOK_SECONDS):
            total = 0
            for process in (own, *own.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    total += process.memory_full_info().pss  # pages that processes share count once
            self.peak = max(self.peak, total)
            self.own = time.thread_time()


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def must_be_right(grader: str, notebook: nbformat.NotebookNode, score: float, max_score: float) -> None:
    """One that cannot run the tests would be fast: the first notebook, where it is a right one, must get all points."""
    if notebook.metadata.get("kind") == "right" and score != max_score:
        raise SystemExit(f"{grader} gives the right notebook {score} of {max_score} points; its time says nothing")


def auto_score(book: Gradebook) -> tuple[float, float]:
    """Points of the first submission in a gradebook, and how many there are; what is written waits for a person."""
    grades = book.find_submission_notebook(MODULE, MODULE, "s00000").grades
    return sum(grade.auto_score or 0 for grade in grades), curriculum.load(MODULE).max_score


def seconds_of_plain(repeat: int = 6) -> list[float]:
    """CPU seconds of a right submission's cells and hidden tests in this process, each time, when all is warm."""
    with Grader(sandbox="none") as grader:
        grade, found = plain_grade(curriculum.load(MODULE), grader), []
        grade()
        for _ in range(repeat):
            started = time.process_time()
            grade()
            found.append(time.process_time() - started)
    return found


def hand_in(folder: Path, notebooks: list[nbformat.NotebookNode]) -> None:
    """Put the class into submitted/."""
    for number, notebook in enumerate(notebooks):
        target = folder / "submitted" / f"s{number:05}" / MODULE
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{MODULE}.ipynb").write_text(nbformat.writes(notebook))


def seconds_of_cpu() -> tuple[float, float]:
    """In a worker: CPU seconds of the worker itself, and of the sandbox below it."""
    import psutil

    own = psutil.Process()
    times = own.cpu_times()
    below = times.children_user + times.children_system
    for child in own.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found = child.cpu_times()
            below += found.user + found.system + found.children_user + found.children_system
    return times.user + times.system, below


def with_lsml(top: Path, notebooks, workers: int) -> dict:
    """`lsml autograde`, as the command runs it, its cluster's start included."""
    folder = ClassFolder.new(top / "lsml")
    release(folder, MODULE)
    hand_in(folder.path, notebooks)
    with Watch() as watch, folder.lock(), DaskEngine(workers=workers) as engine:
        before = time.process_time()
        summary = autograde(folder, plan(folder, [MODULE], None), engine)
        client = time.process_time() - before - watch.own
        times = list(engine._client.run(seconds_of_cpu).values())
    with folder.gradebook() as book:
        must_be_right("lsml", notebooks[0], *auto_score(book))
    grading, student = (sum(column) for column in zip(*times, strict=True))
    whole = grading + student + client
    return {
        "grader": f"lsml autograde ({workers} workers)",
        "count": summary.submissions,
        "seconds": watch.seconds,
        "peak": watch.peak,
        "cpu": whole,
        "shares": {"sandbox and students": student / whole, "grading": grading / whole, "gradebook": client / whole},
        "verdicts": dict(summary.verdicts),
    }


def with_stock(top: Path, notebooks) -> dict:
    """Stock nbgrader: its own steps, the hidden tests called from hidden cells."""
    folder = top / "stock"
    source = folder / "source" / MODULE
    source.mkdir(parents=True)
    notebook = source_notebook(curriculum.load(MODULE))
    paths = [str(curriculum.ROOT), str(curriculum.ROOT / "benchmarks")]
    for cell in notebook.cells:
        if cell.metadata.lsml.role == "check":
            hidden = f"import sys; sys.path[:0] = {paths!r}\nfrom in_kernel import check as run_hidden\n"
            hidden += f"run_hidden({MODULE!r}, {cell.metadata.lsml.name!r}, globals())"
            cell.source += f"\n### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS"
    nbformat.write(notebook, source / f"{MODULE}.ipynb")
    (folder / "nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.course_id = 'stock'\n")
    hand_in(folder, notebooks)
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    quiet = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
    made = subprocess.run([BIN / "nbgrader", "generate_assignment", MODULE], **quiet)
    if made.returncode:
        raise SystemExit(made.stderr[-3000:])
    with Watch() as watch:
        subprocess.run([BIN / "nbgrader", "autograde", MODULE], **quiet)  # 1 where a kernel died; it goes on
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "stock") as book:
        must_be_right("nbgrader", notebooks[0], *auto_score(book))
    return {
        "grader": "nbgrader autograde",
        "count": len(notebooks),
        "seconds": watch.seconds,
        "cpu": watch.cpu,
        "peak": watch.peak,
    }


TEST_FILE = """\
import sys
sys.path[:0] = {paths!r}
from otter.test_files import test_case
OK_FORMAT = False
name = {exercise!r}
points = {points}

@test_case(hidden=True)
def test_hidden(env):
    from in_kernel import check
    check({module!r}, {exercise!r}, env)
"""


def with_otter(top: Path, notebooks, python: str) -> dict | None:
    """`otter run` for each notebook, the hidden tests in test files of Otter's."""
    if subprocess.run([python, "-c", "import otter"], capture_output=True).returncode:
        return None
    folder = top / "otter"
    tests = folder / "tests"
    tests.mkdir(parents=True)
    for exercise in curriculum.load(MODULE).exercises:
        paths = [str(curriculum.ROOT), str(curriculum.ROOT / "benchmarks")]
        text = TEST_FILE.format(paths=paths, exercise=exercise.name, points=exercise.points, module=MODULE)
        (tests / f"{exercise.name}.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(curriculum.ROOT)}  # for lsml_utils
    quiet = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
    command = [python, "-m", "otter", "generate", "-t", "tests", "-o", "tests.zip", "--no-environment"]
    made = subprocess.run(command, **quiet)
    if made.returncode:
        raise SystemExit(made.stdout + made.stderr)
    graded = 0
    for number, notebook in enumerate(notebooks):
        nbformat.write(notebook, folder / f"{number}.ipynb")
    with Watch() as watch:
        for number in range(len(notebooks)):
            with contextlib.suppress(subprocess.TimeoutExpired):  # Otter has no limit on time of its own
                command = [python, "-m", "otter", "run", "-a", "tests.zip", "-o", ".", f"{number}.ipynb"]
                done = subprocess.run(command, timeout=120, **quiet)
                graded += done.returncode == 0
                if number == 0:
                    tests = json.loads((folder / "results.json").read_bytes())["tests"]
                    score, most = (sum(test.get(key, 0) for test in tests) for key in ("score", "max_score"))
                    must_be_right("Otter", notebooks[0], score, most)
    return {
        "grader": f"otter run ({graded} of {len(notebooks)} graded)",
        "count": len(notebooks),
        "seconds": watch.seconds,
        "cpu": watch.cpu,
        "peak": watch.peak,
    }


def compare(arguments) -> None:
    """The class through the three graders, printed with and without looping submissions."""
    results = {}
    for looping in (False, True) if not arguments.no_looping else (False,):
        notebooks = submissions(arguments.students, looping, arguments.only)
        top = Path(tempfile.mkdtemp(prefix="lsml-throughput-"))
        try:
            plain = seconds_of_plain()  # before and after: the machine's own speed drifts by a quarter
            rows = [with_lsml(top, notebooks, arguments.workers)]
            plain += seconds_of_plain()
            if arguments.stock:
                rows.append(with_stock(top, notebooks[: arguments.stock]))
            if arguments.otter and (row := with_otter(top, notebooks[: arguments.otter], arguments.otter_python)):
                rows.append(row)
        finally:
            shutil.rmtree(top, ignore_errors=True)
        what = f"with one in {100 // LOOPING} looping" if looping else "without looping ones"
        what = f"all {arguments.only}, {what}" if arguments.only else what
        columns = (
            "grader",
            "submissions",
            "seconds",
            "a minute",
            "lsml is",
            "CPU s each",
            "over plain",
            "peak memory",
        )
        table = Table(columns, [], numeric=(1, 2, 3, 4, 5, 6, 7))
        own = rows[0]["count"] / rows[0]["seconds"]
        for row in rows:
            rate = row["count"] / row["seconds"]
            cells = (row["grader"], str(row["count"]), f"{row['seconds']:.1f}", f"{60 * rate:.1f}")
            cpu = row["cpu"] / row["count"]
            shares = (f"{own / rate:.1f} x", f"{cpu:.2f}", f"{cpu / statistics.mean(plain):.2f} x")
            table.rows.append((*cells, *shares, f"{row['peak'] / 2**20:.0f} MB"))
        print(f"\nModule 01, {arguments.students} submissions, {what}; {os.cpu_count()} CPUs")
        print(table)
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in rows[0]["shares"].items())
        mean, least = statistics.mean(plain), min(plain)
        print(
            f"a right submission's cells and tests in a warm plain process: {mean:.2f} CPU s, at the least {least:.2f}"
        )
        print(f"lsml's CPU time, {rows[0]['cpu']:.0f} s: {shares}; verdicts: {rows[0]['verdicts']}")
        results[what] = rows
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1))


def stub(job: Job) -> dict:
    """A Report without a student: what the second mode's workers do."""
    from autograder import curriculum
    from autograder.grading.report import ExerciseResult, Report, TestResult

    module = curriculum.load(job.module)
    tests = tuple(TestResult(f"test_{number}", number != 1, "A property holds.") for number in range(6))
    results = tuple(
        ExerciseResult(exercise.name, "partial", exercise.points / 2, exercise.points, exercise.extra, tests)
        for exercise in module.exercises
    )
    half = module.max_score / 2
    return Report("x.ipynb", job.module, "graded", half, module.max_score, 0.0, results).to_dict()


def synthetic(counts: list[int], workers: int, modules: list[str]) -> None:
    """The cost of the class itself. The students' computing is a stub; everything else is real."""
    texts = {name: nbformat.writes(released_notebook(curriculum.load(name))) for name in modules}
    mark = "write your answer here"
    print(f"Modules of the class: {', '.join(modules)}")
    print("The students' computing is a stub here; workers, files and gradebook are real.", flush=True)
    print("submissions   seconds   ms each   CPU ms each (client, workers)   again, s   peak memory", flush=True)
    for count in counts:
        top = Path(tempfile.mkdtemp(prefix="lsml-synthetic-"))
        try:
            folder = ClassFolder.new(top / "class")
            for name in modules:
                release(folder, name)
            for number, name in zip(range(count), itertools.cycle(modules)):
                target = folder.submission(f"s{number:05}", name)
                target.parent.mkdir(parents=True)
                target.write_text(texts[name].replace(mark, f"student {number}"))
            with DaskEngine(workers=workers, work=stub) as engine:
                engine._start()  # its start is a constant, and not what this table is about
                with Watch() as watch, folder.lock():
                    client, below = time.process_time(), sum(map(sum, engine._client.run(seconds_of_cpu).values()))
                    summary = autograde(folder, plan(folder, modules, None), engine)
                    client = time.process_time() - client - watch.own
                    below = sum(map(sum, engine._client.run(seconds_of_cpu).values())) - below
            assert summary.written == count
            again = time.monotonic()
            with DaskEngine(workers=workers, work=stub) as engine, folder.lock():
                assert autograde(folder, plan(folder, modules, None), engine).written == 0
            again = time.monotonic() - again
            cpu = f"{1000 * client / count:.1f}, {1000 * below / count:.1f}"
            each = f"{1000 * watch.seconds / count:.1f}"
            memory = f"{watch.peak / 2**20:.0f} MB"
            print(
                f"{count:11,}   {watch.seconds:7.1f}   {each:>7}   {cpu:>29}   {again:8.1f}   {memory:>11}", flush=True
            )
        finally:
            shutil.rmtree(top, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--students", type=int, default=100)
    parser.add_argument("--stock", type=int, default=100, help="how many of them through nbgrader; 0: none")
    parser.add_argument("--otter", type=int, default=100, help="how many of them through Otter; 0: none")
    parser.add_argument("--otter-python", default=sys.executable, help="the Python that has otter-grader")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--only", choices=sorted(set(KINDS)), help="submissions of one kind instead of the mix")
    parser.add_argument("--no-looping", action="store_true", help="leave the second half out")
    parser.add_argument("--json", help="write the figures there too")
    parser.add_argument("--synthetic", type=int, nargs="+", metavar="N", help="the second mode")
    parser.add_argument("--modules", nargs="+", default=[MODULE], metavar="NN", help="of the second mode's class")
    arguments = parser.parse_args()
    if arguments.synthetic:
        synthetic(arguments.synthetic, arguments.workers, [curriculum.resolve(name) for name in arguments.modules])
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
