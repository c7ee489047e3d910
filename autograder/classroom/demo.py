"""A small class with one module and six students, from release to feedback: `make demo`."""

import copy
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from autograder import answers, curriculum
from autograder.classroom import autograde, feedback, progress, roster, status
from autograder.classroom.engine import DaskEngine
from autograder.classroom.folder import ClassFolder
from autograder.classroom.marks import ALL
from autograder.classroom.release import release
from autograder.classroom.scratch import scratch
from autograder.curriculum import Module
from autograder.errors import UserError
from autograder.files import write_atomically

MODULE = "01_gradient_descent"
HANDED_IN = "2026-01-12 09:30:00 UTC"

PEOPLE = """\
id,first_name,last_name,email,lms_user_id
ada,Ada,Adler,ada@example.org,1001
ben,Ben,Brook,ben@example.org,1002
cleo,Cleo,Costa,cleo@example.org,1003
dan,Dan,Doyle,dan@example.org,1004
eve,Eve,Engel,eve@example.org,1005
finn,Finn,Falk,finn@example.org,1006
"""

WRITTEN = (
    "Each step only needs an average over the rows it looks at, so **fewer rows** give a noisier but cheaper step."
)

LOOPS = '''\
def {name}(*arguments, **options):
    """Waits for a convergence that never comes."""
    step = 0
    while True:
        step += 1
'''

PEEKS = '''\
def {name}(*arguments, **options):
    """Looks for the solutions instead of writing one."""
    import pathlib

    for folder in ("solutions", *(str(p) for p in pathlib.Path("/").glob("*/*/solutions"))):
        for path in pathlib.Path(folder).glob("*.py"):
            exec(path.read_text(), globals())
    import autograder.curriculum as course

    return getattr(course.load("{module}"), "{name}")(*arguments, **options)
'''


def demo(path: Path) -> int:
    """Make the class where it is not made yet, grade it, write its feedback and show both."""
    console = progress.stdout()
    folder = _folder(path)
    _submissions(folder)
    planned = autograde.plan(folder, [MODULE], None)
    with (
        folder.lock(),
        scratch(),
        DaskEngine(workers=2) as engine,
        progress.bar(sum(map(len, planned.values())), "grading") as tell,
    ):
        summary = autograde.autograde(folder, planned, engine, tell=tell)
    _read_by_a_person(folder)
    pages = feedback.generate(folder, MODULE)
    found = status.read(folder, [MODULE], reports=True)
    console.print(status.verdict_table(found, MODULE, f"{folder.course}: {MODULE}"))
    progress.summary(summary, console)
    console.print("\nfeedback pages:", style="bold")
    for page in pages:
        print(f"  {page}")
    print(f"\nthe class folder: {folder.path}\n  formgrader on it: lsml class lab {folder.path}")
    return 1 if summary.faults else 0


def _read_by_a_person(folder: ClassFolder) -> None:
    """Mark Ada's written answers as an instructor does in formgrader. Ben's and Dan's are left to whoever looks."""
    with folder.gradebook() as book:
        for question in curriculum.load(MODULE).questions:
            comment = book.find_comment(question.name, MODULE, MODULE, "ada")
            if comment.manual_comment is None:
                marks = " ".join(ALL[0] for _ in question.rubric)
                comment.manual_comment = f"{marks}\nWell put. What does the noise do near the minimum?"
        book.db.commit()


def _folder(path: Path) -> ClassFolder:
    if path.exists() and any(path.iterdir()):
        folder = ClassFolder(path)
        if folder.course != "demo":
            raise UserError(f"{path} is a class of yours; `lsml demo` uses a folder of its own")
    else:
        folder = ClassFolder.new(path, course="demo")
        # A demo says the same on every machine, so its hidden inputs are the same too.
        write_atomically(folder.private / "secret", "lsml demo\n", mode=0o600)
        (folder.path / "roster.csv").write_text(PEOPLE, encoding="utf-8")
        roster.enter(folder, folder.path / "roster.csv")
    released = folder.path / "release" / MODULE / f"{MODULE}.ipynb"
    authored = curriculum.load(MODULE).files.notebook
    if not released.exists() or released.stat().st_mtime < authored.stat().st_mtime:
        try:
            release(folder, MODULE)
        except UserError:
            raise UserError(
                f"{path} was made from an earlier {MODULE}; remove that folder and run this again"
            ) from None
    return folder


def _submissions(folder: ClassFolder) -> None:
    """What the six hand in, made from the module as it is; a file that says the same already stays."""
    module = curriculum.load(MODULE)
    released = nbformat.read(folder.path / "release" / MODULE / f"{MODULE}.ipynb", as_version=4)
    names = [exercise.name for exercise in module.exercises]
    solutions = {exercise.name: exercise.solution for exercise in module.exercises}
    half = {name: solutions[name] for name in names[: (len(names) + 1) // 2]}
    handed_in = {
        "ada": _with(released, solutions, WRITTEN),
        "ben": _with(released, half, WRITTEN),
        "cleo": released,
        "dan": _with(released, solutions | _misconceptions(module), WRITTEN),
        "eve": _with(released, half | {names[0]: LOOPS.format(name=names[0])}, ""),
        "finn": _with(released, {name: PEEKS.format(name=name, module=MODULE) for name in names[:2]}, ""),
    }
    for student, notebook in handed_in.items():
        target = folder.submission(student, MODULE)
        text = nbformat.writes(notebook) + "\n"
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            write_atomically(target, text)
        write_atomically(target.parent / "timestamp.txt", HANDED_IN)


def _with(released: NotebookNode, answers: dict[str, str], written: str) -> NotebookNode:
    """The released notebook with these answers typed into it."""
    notebook = copy.deepcopy(released)
    for cell in notebook.cells:
        lsml = cell.metadata.get("lsml", {})
        if lsml.get("role") == "exercise" and lsml["name"] in answers:
            cell.source = answers[lsml["name"]]
        elif lsml.get("role") == "written" and written:
            cell.source = written
    return notebook


def _misconceptions(module: Module) -> dict[str, str]:
    """For two exercises, a wrong answer that learners really give, from the gallery."""
    found: dict[str, str] = {}
    for answer in answers.load(module.name).answers:
        if answer.edit and answer.exercise not in found and len(found) < 2:
            found[answer.exercise] = answer.cell(module.exercise(answer.exercise).solution)
    return found
