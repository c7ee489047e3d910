"""The one place that knows the modules and their exercises: it reads `solutions/`, and lists nothing by hand.

A module is a folder, `solutions/NN_topic/`, and `files` is the one place that knows what its files are called. The
module itself is a Jupytext percent script, `notebook.py`. The marker of each cell says what the cell is:

    # %% [markdown]                                  prose
    # %% tags=["setup"]                              imports
    # %% exercise="mse_gradient" points=2 minutes=10 the student's cell, its answer between ### BEGIN/END SOLUTION
    # %% [markdown] hints="mse_gradient"             the folded hints of that exercise
    # %% check="mse_gradient"                        its visible check
    # %% tags=["demo"]                               plots and measurements, skipped when grading
    # %% [markdown] written="why_sgd" points=2       a question in words; its model answer, `### RUBRIC` and the
                                                     rubric between ### BEGIN/END SOLUTION

This file checks what it needs in order to tell cells and exercises apart. What a module owes its readers beyond
that is checked by `autograder.authoring.rules`.
"""

import ast
import hashlib
import importlib.util
import keyword
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from autograder.errors import UserError

ROOT = Path(__file__).parents[1]

MODULE_NAME = re.compile(r"\d\d_[a-z][a-z0-9_]*")
MARKER = re.compile(r"\s*### (?P<edge>BEGIN|END) (?P<kind>SOLUTION|BUG)\s*")
# It stands between the SOLUTION markers, so whatever clears the model answer clears the rubric, too.
RUBRIC = "### RUBRIC"
RUBRIC_LINE = re.compile(r"- (?P<points>[0-9]+(?:\.[0-9]+)?): (?P<text>\S.*)")
CELL_MARKER = re.compile(r"# ?%%(\s|$)")
# What a submission, a hidden test's helper or a notebook already calls something else.
RESERVED = {"call", "calls", "cell_errors", "close", "load", "names", "run"} | {"student", "np", "torch"}

HELPS = re.compile(r"\bhelps?\b")
NUMBERS = re.compile(r"\bmodules? ((?:\d\d(?:, | and |, and | to )?)+)", re.IGNORECASE)

# For each role: the marker keys that it must have and those that it may have.
ROLES = {
    "prose": (set(), set()),
    "setup": ({"tags"}, set()),
    "demo": ({"tags"}, set()),
    "exercise": ({"exercise", "points", "minutes"}, {"extra", "bug", "forbids", "needs", "trains"}),
    "check": ({"check"}, set()),
    "hints": ({"hints"}, set()),
    "written": ({"written", "points"}, set()),
}
MARKDOWN_ROLES = {"prose", "hints", "written"}
KINDS = {
    "points": (lambda value: type(value) is int and 1 <= value <= 4, "an integer from 1 to 4"),
    "minutes": (lambda value: type(value) is int and value >= 1, "a whole number of minutes"),
    "extra": (lambda value: type(value) is bool, "true or false"),
    "bug": (lambda value: type(value) is bool, "true or false"),
    "forbids": (
        lambda value: isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value),
        'a list of names, such as ["torch.nn.functional"]',
    ),
    "needs": (lambda value: isinstance(value, str) and value.isidentifier(), 'a package, such as "triton"'),
    "trains": (
        lambda value: isinstance(value, list) and bool(value) and all(isinstance(skill, str) for skill in value),
        'a list of skills, such as ["one-pass algorithms"]',
    ),
}


def _numbers(sentences: Iterable[str]) -> tuple[str, ...]:
    """The modules that sentences name, each once: "module 01", "modules 01, 03 and 05", "modules 01 to 08"."""
    found = [
        f"{number:02}"
        for sentence in sentences
        for group in NUMBERS.findall(sentence)
        for first, last in re.findall(r"(\d\d)(?: to (\d\d))?", group)
        for number in range(int(first), int(last or first) + 1)
    ]
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Cell:
    """One cell as authored. Line k of `source`, counted from 1, stands on line `line + k` of the file."""

    role: str
    name: str | None
    id: str
    source: str
    line: int
    metadata: dict
    cell_type: str


@dataclass(frozen=True)
class Exercise:
    """What a student is asked to write, and what it is worth."""

    name: str
    points: int
    minutes: int
    extra: bool
    bug: bool
    forbids: tuple[str, ...]
    solution: str  # the cell as the reference runs it: no markers, no released bug
    released: str  # the cell as a student receives it
    check: str  # the source of its visible check
    hints: int  # how many folded hints it has
    docstring: str
    needs: str | None = None  # a package of an extra of pyproject.toml, without which it cannot be tested
    trains: tuple[str, ...] = ()  # skills that the opening of its module promises

    @property
    def testable(self) -> bool:
        """Whether what it needs is installed here."""
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


@dataclass(frozen=True)
class RubricLine:
    """One thing that a reader looks for in an answer, and the points for it."""

    points: float
    text: str


@dataclass(frozen=True)
class Question:
    """A question answered in words, with what its reader needs."""

    name: str
    points: int
    answer: str  # the model answer
    rubric: tuple[RubricLine, ...]


@dataclass(frozen=True)
class Files:
    """What an author writes for one module; any of the three may not be there yet."""

    notebook: Path
    hidden_tests: Path
    answers: Path


@dataclass(frozen=True)
class Module:
    """One module of the course, as its authored file tells it."""

    name: str
    title: str
    files: Files
    cells: tuple[Cell, ...]
    exercises: tuple[Exercise, ...]
    questions: tuple[Question, ...] = ()

    def exercise(self, name: str) -> Exercise:
        """The exercise of that name; KeyError where the module has none."""
        return self._by_name[name]

    def question(self, name: str) -> Question:
        """The written question of that name; KeyError where the module has none."""
        return {question.name: question for question in self.questions}[name]

    @property
    def max_score(self) -> int:
        """The points of all exercises that are not extra."""
        return sum(exercise.points for exercise in self.exercises if not exercise.extra)

    @property
    def written_points(self) -> int:
        """The points of the questions in words, which a person reads."""
        return sum(question.points for question in self.questions)

    @property
    def setup(self) -> list[str]:
        """The sources of the setup cells, in order."""
        return [cell.source for cell in self.cells if cell.role == "setup"]

    @property
    def reference_cells(self) -> tuple[Cell, ...]:
        """The cells that make up the reference, in order: setup, and exercises with the answer filled in."""
        return tuple(
            replace(cell, source=self.exercise(cell.name).solution) if cell.role == "exercise" else cell
            for cell in self.cells
            if cell.role in ("setup", "exercise")
        )

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """The numbers ("01") of the modules that its opening says one needs; not those that it says help."""
        return _numbers(sentence for sentence in self._opening("You need") if not HELPS.search(sentence))

    @cached_property
    def helped_by(self) -> tuple[str, ...]:
        """The numbers of the modules that its opening says help."""
        return _numbers(sentence for sentence in self._opening("You need") if HELPS.search(sentence))

    @cached_property
    def skills(self) -> tuple[str, ...]:
        """What its opening says it trains."""
        first = next(iter(self._opening("Skills(?: it trains)?")), "").rstrip(".")
        return tuple(skill.strip().removeprefix("and ") for skill in first.split(",") if skill.strip())

    def _opening(self, title: str) -> list[str]:
        """The sentences of the first paragraph that begins with this title, in bold."""
        prose = "\n\n".join(cell.source for cell in self.cells if cell.role == "prose")
        found = re.search(rf"\*\*{title}\*\*:?(?P<text>.*?)(?:\*\*|\n\n|\Z)", prose, re.DOTALL)
        return re.split(r"(?<=\.)\s+", " ".join(found["text"].split())) if found else []

    @cached_property
    def _by_name(self) -> dict[str, Exercise]:
        return {exercise.name: exercise for exercise in self.exercises}


def names(root: Path = ROOT) -> list[str]:
    """The names of all modules of a checkout, in the order of the course. UserError where they are closed to us."""
    folder = root / "solutions"
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        raise UserError(f"{folder} is closed to you: on this machine your instructor grades, so hand your notebook in")
    found = (path.parent.name for path in folder.glob("*/notebook.py"))
    return sorted(name for name in found if MODULE_NAME.fullmatch(name))


def files(name: str, root: Path = ROOT) -> Files:
    """Where the files of a module stand, whether they are there or not."""
    folder = root / "solutions" / name
    return Files(folder / "notebook.py", folder / "hidden_tests.py", folder / "answers.py")


def resolve(wanted: str | Path, root: Path = ROOT) -> str:
    """The module that "01", "01_gradient_descent" or a path to one of its files means. UserError if there is none."""
    known = names(root)
    path = Path(wanted)
    said = {path.stem, path.parent.name}
    found = [name for name in known if name in said or (len(path.stem) == 2 and name.startswith(f"{path.stem}_"))]
    if len(found) != 1:
        raise UserError(f"no module {str(wanted)!r}; there are: {', '.join(known) or 'none yet'}")
    return found[0]


def find(module: str, exercise: str, root: Path = ROOT) -> tuple[Module, Exercise]:
    """The exercise that a person means by "01" and "mse_gradient", and its module. UserError where there is none."""
    found = load(resolve(module, root), root)
    named = next((one for one in found.exercises if one.name == exercise), None)
    if named is None:
        names = ", ".join(one.name for one in found.exercises)
        raise UserError(f"{found.name} has no exercise {exercise!r}; it has {names}")
    return found, named


def load(name: str, root: Path = ROOT) -> Module:
    """Read one module. UserError, with file and line, where the authored file is malformed."""
    path = files(name, root).notebook
    try:
        written = path.stat()
    except OSError:
        raise UserError(f"no module {name!r}: {path} does not exist") from None
    stamp = (written.st_mtime_ns, written.st_size)
    if _loaded.get(path, (None, None))[0] != stamp:
        _loaded[path] = stamp, _read(name, root)
    return _loaded[path][1]


_loaded: dict[Path, tuple[tuple[int, int], Module]] = {}


def stub(name: str) -> str:
    """What stands in the place of an answer on release."""
    return f'# YOUR CODE HERE\nraise NotImplementedError("{name}: write your answer here")'


def released_source(source: str, name: str) -> str:
    """An exercise cell as a student receives it: stubs, or the bug, in the place of the answer.

    Each stub names the function, or the class and its method, in which it stands.
    """
    lines, has_bug = [], "### BEGIN BUG" in source
    for number, (line, region) in enumerate(_regions(source), 1):
        if region == "bug":
            lines.append(re.sub(r"^(\s*)# ?", r"\1", line))
        elif region == "":
            lines.append(line)
        elif region == "BEGIN SOLUTION" and not has_bug:
            indent = line[: len(line) - len(line.lstrip())]
            lines += [indent + stubbed for stubbed in stub(_owner(source, number) or name).split("\n")]
    return "\n".join(lines)


def _owner(source: str, line: int) -> str:
    """Whose code stands on this line: "total", "Counter.add", or "" where it is nobody's."""
    found, body = [], ast.parse(source).body
    while len(found) < 2:  # a function within a function is part of it
        inside = (node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef))
        node = next((node for node in inside if node.lineno <= line <= node.end_lineno), None)
        if node is None:
            break
        found.append(node.name)
        if not isinstance(node, ast.ClassDef):
            break
        body = node.body
    return ".".join(found)


def solved_source(source: str) -> str:
    """An exercise or written cell with its answer, and without markers and rubric."""
    return "\n".join(line for line, region in _regions(source) if region in ("solution", "")).rstrip("\n")


def _regions(source: str) -> Iterator[tuple[str, str]]:
    """Each line with its region: "solution", "rubric", "bug" or "" outside; that of a marker is its own text."""
    inside = ""
    for line in source.split("\n"):
        if marker := MARKER.fullmatch(line):
            inside = marker["kind"].lower() if marker["edge"] == "BEGIN" else ""
            yield line, f"{marker['edge']} {marker['kind']}"
        elif inside == "solution" and line.strip() == RUBRIC:
            inside = "rubric"
            yield line, RUBRIC
        else:
            yield line, inside


def _read(name: str, root: Path) -> Module:
    own = files(name, root)
    path, shown = own.notebook, own.notebook.relative_to(root).as_posix()
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{shown}: is not UTF-8 text") from None
    cells = _cells(text, shown)
    title = next((line[2:].strip() for cell in cells for line in cell.source.split("\n") if line.startswith("# ")), "")
    if cells[0].role != "prose" or not cells[0].source.startswith("# "):
        raise UserError(f"{shown}:{cells[0].line}: the first cell must be markdown that begins with the title, '# ...'")
    exercises = _exercises(cells, shown)
    questions = tuple(_question(cell, shown) for cell in cells if cell.role == "written")
    return Module(name, title, own, cells, exercises, questions)


def _cells(text: str, shown: str) -> tuple[Cell, ...]:
    """Split the file as Jupytext does, and say of each cell what it is."""
    import jupytext  # half a second, so only where a module is read

    markers = [number for number, line in enumerate(text.splitlines(), 1) if CELL_MARKER.match(line)]
    try:
        notebook = jupytext.reads(text, fmt="py:percent")
    except Exception as error:
        raise UserError(f"{shown}:1: Jupytext cannot read this file: {error}".splitlines()[0]) from None
    parts = notebook.cells
    # Jupytext makes a cell of what stands before the first marker, and sees no marker inside a string or a fence.
    if len(parts) > len(markers):
        raise UserError(f"{shown}:1: every cell must begin with a '# %%' marker")
    if len(parts) < len(markers) or not parts:
        line = markers[len(parts)] if markers else 1
        raise UserError(
            f"{shown}:{line}: a file has at least one cell, and no '# %%' inside a string or a fenced block"
        )

    cells, taken = [], {}
    for part, line in zip(parts, markers, strict=True):
        # Jupytext's own notes on how a cell was written (its blank lines, its quotes) are left out.
        own = {key for key in part.metadata if key.startswith("lines_to_") or key == "cell_marker"}
        metadata = {key: value for key, value in part.metadata.items() if key not in own}
        role, name = _role(part.cell_type, metadata, f"{shown}:{line}")
        cell_id = _cell_id(role, name, part.source)
        if name is None:
            taken[cell_id] = taken.get(cell_id, 0) + 1
            cell_id += f"-{taken[cell_id]}" if taken[cell_id] > 1 else ""
        cells.append(Cell(role, name, cell_id, part.source, line, metadata, part.cell_type))
    return tuple(cells)


def _cell_id(role: str, name: str | None, source: str) -> str:
    if name is None:
        return f"{role}-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
    return f"{role}_{name}" if role in ("check", "hints") else name


def _role(cell_type: str, metadata: dict, where: str) -> tuple[str, str | None]:
    """What a cell is, and the exercise or question it belongs to."""
    if "incorrectly_encoded_metadata" in metadata or "title" in metadata:
        what = metadata.get("incorrectly_encoded_metadata") or metadata["title"]
        raise UserError(f'{where}: cannot read {what!r} in the cell\'s marker; write key="text", key=2 or key=true')
    if metadata.get("language", "python") != "python" or cell_type not in ("code", "markdown"):
        raise UserError(f"{where}: a cell is Python code or [markdown]")

    named = [role for role in ("exercise", "check", "hints", "written") if role in metadata]
    if "tags" in metadata:
        if metadata["tags"] not in (["setup"], ["demo"]):
            raise UserError(f'{where}: tags must be ["setup"] or ["demo"], not {metadata["tags"]!r}')
        named += metadata["tags"]
    if not named and cell_type == "code":
        raise UserError(f'{where}: this code cell has no role; say tags=["setup"], exercise=, check= or tags=["demo"]')
    if len(named) > 1:
        raise UserError(f"{where}: a cell has one role, not {' and '.join(named)}")
    role = named[0] if named else "prose"
    if (cell_type == "markdown") != (role in MARKDOWN_ROLES):
        wanted = "[markdown]" if role in MARKDOWN_ROLES else "code"
        raise UserError(f"{where}: a cell with the role {role} must be {wanted}")

    must, may = ROLES[role]
    for key in sorted(metadata.keys() - must - may):
        raise UserError(f"{where}: unknown key {key!r}; a cell with the role {role} takes {_listed(must | may)}")
    for key in sorted(must - metadata.keys()):
        raise UserError(f"{where}: {key}= is missing")
    for key, (fits, wanted) in KINDS.items():
        if key in metadata and not fits(metadata[key]):
            raise UserError(f"{where}: {key} must be {wanted}, not {metadata[key]!r}")

    name = metadata.get(role)
    if name is None:
        return role, None
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise UserError(f"{where}: {name!r} cannot be the name of an exercise: it must be a Python name")
    if name in RESERVED or name.startswith(("_", "check_", "hints_")) or len(name) > 50:
        raise UserError(f"{where}: {name!r} is a name that lsml uses itself, or too long; choose another")
    return role, name


def _listed(keys: set[str]) -> str:
    return ", ".join(sorted(keys)) or "no keys"


def _exercises(cells: tuple[Cell, ...], shown: str) -> tuple[Exercise, ...]:
    """Bring each exercise together with its hints and its check, which stand between it and the next exercise."""
    first: dict[str, Cell] = {}
    for cell in cells:
        if cell.role in ("exercise", "written"):
            if cell.name in first:
                line = first[cell.name].line
                raise UserError(f"{shown}:{cell.line}: {cell.name!r} is already the name of the cell on line {line}")
            first[cell.name] = cell

    current, found = None, {}
    for index, cell in enumerate(cells):
        where = f"{shown}:{cell.line}"
        if cell.role == "exercise":
            current = cell
        elif cell.role in ("check", "hints"):
            if cell.name not in first or first[cell.name].role != "exercise":
                raise UserError(f"{where}: {cell.role} of an unknown exercise {cell.name!r}")
            if (cell.role, cell.name) in found:
                line = found[cell.role, cell.name].line
                raise UserError(f"{where}: {cell.name!r} has its {cell.role} on line {line} already")
            if current is None or current.name != cell.name:
                raise UserError(
                    f"{where}: the {cell.role} of {cell.name!r} must stand between that exercise and the next"
                )
            if cell.role == "hints" and cells[index - 1] is not current:
                raise UserError(f"{where}: the hints of {cell.name!r} must stand right after its exercise cell")
            found[cell.role, cell.name] = cell

    exercises = []
    for cell in cells:
        if cell.role != "exercise":
            continue
        if ("check", cell.name) not in found:
            raise UserError(f"{shown}:{cell.line}: exercise {cell.name!r} has no check cell")
        exercises.append(_exercise(cell, found["check", cell.name], found.get(("hints", cell.name)), shown))
    return tuple(exercises)


def _exercise(cell: Cell, check: Cell, hints: Cell | None, shown: str) -> Exercise:
    bug = cell.metadata.get("bug", False)
    _check_markers(cell, shown)
    definition = _definition(cell, shown)
    return Exercise(
        name=cell.name,
        points=cell.metadata["points"],
        minutes=cell.metadata["minutes"],
        extra=cell.metadata.get("extra", False),
        bug=bug,
        forbids=tuple(cell.metadata.get("forbids", ())),
        solution=solved_source(cell.source),
        released=released_source(cell.source, cell.name),
        check=check.source,
        hints=len(re.findall(r"<details\b", hints.source)) if hints else 0,
        docstring=ast.get_docstring(definition) or "",
        needs=cell.metadata.get("needs"),
        trains=tuple(cell.metadata.get("trains", ())),
    )


def _question(cell: Cell, shown: str) -> Question:
    _check_markers(cell, shown)
    answer: list[str] = []
    rubric: list[RubricLine] = []
    for number, (line, region) in enumerate(_regions(cell.source), cell.line + 1):
        if region == "solution":
            answer.append(line)
        elif region == "rubric" and line.strip():
            if found := RUBRIC_LINE.fullmatch(line.rstrip()):
                rubric.append(RubricLine(float(found["points"]), found["text"]))
            elif rubric and line.startswith("  "):
                rubric[-1] = replace(rubric[-1], text=f"{rubric[-1].text} {line.strip()}")
            else:
                raise UserError(
                    f"{shown}:{number}: a line of a rubric is '- POINTS: what the answer says', as '- 0.5: ...'"
                )
    return Question(cell.name, cell.metadata["points"], "\n".join(answer).strip(), tuple(rubric))


def _check_markers(cell: Cell, shown: str) -> None:
    """UserError unless the markers balance and are those that the cell must have."""
    inside, opened, seen = "", 0, set()
    for number, line in enumerate(cell.source.split("\n"), cell.line + 1):
        where = f"{shown}:{number}"
        meant = re.search(r"\b(BEGIN|END) (SOLUTION|BUG)\b", line)
        if re.fullmatch(r"\W*RUBRIC\W*", line, re.IGNORECASE):
            if line.strip() != RUBRIC:
                raise UserError(f"{where}: a marker stands alone on its line, as '{RUBRIC}'")
            if cell.role != "written" or inside != "SOLUTION" or RUBRIC in seen:
                raise UserError(f"{where}: {RUBRIC} stands once, between the SOLUTION markers of a written question")
            seen.add(RUBRIC)
        if meant is None:
            if inside == "BUG" and line.strip() and not line.lstrip().startswith("#"):
                raise UserError(f"{where}: the released bug must be commented out, each line behind '# '")
            continue
        if not MARKER.fullmatch(line):
            raise UserError(f"{where}: a marker stands alone on its line, as '### {meant[0]}'")
        edge, kind = meant[1], meant[2]
        if edge == "BEGIN" and inside:
            raise UserError(f"{where}: ### {meant[0]} inside the region that began on line {opened}")
        if edge == "END" and inside != kind:
            raise UserError(f"{where}: ### {meant[0]} without a ### BEGIN {kind} before it")
        inside, opened = (kind, number) if edge == "BEGIN" else ("", 0)
        seen.add(kind)
    where = f"{shown}:{cell.line}"
    if inside:
        raise UserError(f"{shown}:{opened}: ### BEGIN {inside} has no ### END {inside}")
    if "SOLUTION" not in seen:
        raise UserError(f"{where}: {cell.name!r} needs ### BEGIN SOLUTION and ### END SOLUTION")
    if cell.metadata.get("bug", False) and "BUG" not in seen:
        raise UserError(f"{where}: {cell.name!r} has bug=true and no ### BEGIN BUG and ### END BUG")
    if "BUG" in seen and not cell.metadata.get("bug", False):
        raise UserError(f"{where}: {cell.name!r} has a BUG region and no bug=true")


def _definition(cell: Cell, shown: str) -> ast.FunctionDef | ast.ClassDef:
    try:
        tree = ast.parse(cell.source)
    except SyntaxError as error:
        raise UserError(f"{shown}:{cell.line + (error.lineno or 1)}: syntax error: {error.msg}") from None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == cell.name:
            return node
    raise UserError(
        f"{shown}:{cell.line}: the cell of exercise {cell.name!r} defines no function or class of that name"
    )
