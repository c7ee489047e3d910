"""Puts a submission back on the module as authored: what is run is setup, the student's answers, and added cells.

A cell is known by its `metadata.lsml`, then by nbgrader's `grade_id`, then by its id, then by its source. So nothing
is lost or gained where cells were deleted, moved, pasted twice, split, retyped or re-pointed.
"""

import contextlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from autograder import apart, curriculum
from autograder.apart import TooCostly
from autograder.curriculum import Module
from autograder.errors import UserError
from autograder.grading import magics, reading, syntax
from autograder.grading.reading import Notebook, NotebookCell, Unreadable
from autograder.submission import SourceCell

MAX_CODE = 1_000_000  # characters in all code cells
MOST_PARTS = 16  # of one exercise's cell that are put together again
MOST_NOTES = 20


@dataclass(frozen=True)
class Placed:
    """Where one submitted cell belongs. `authored`: the id of the authored cell that it is, or else follows.

    `role`: that of the authored cell; "added" for a cell of the student's own; "answer" where it holds an answer.
    """

    cell: NotebookCell
    authored: str | None
    role: str


@dataclass(frozen=True)
class Rebuilt:
    """What is run of a submission, and what can be told of it before.

    `answers`: for each exercise, all that the student wrote for it. `forbidden`: names an answer uses and may not, or
    None where that cannot be told. `lines`: of a cell that is run in parts, or was put together from several, the
    (first line, label) of each cell as the student sees it. `placed`: all submitted cells, in order.
    """

    cells: tuple[SourceCell, ...]
    answers: dict[str, str]
    unanswered: frozenset[str]
    forbidden: dict[str, tuple[str, ...] | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    lines: dict[str, tuple[tuple[int, str], ...]] = field(default_factory=dict)
    placed: tuple[Placed, ...] = ()

    def place(self, label: str, line: int) -> tuple[str, int]:
        """Where the student sees a line of one of the `cells`: the label of their own cell, and the line in it."""
        first, own = next(
            ((first, own) for first, own in reversed(self.lines.get(label, ())) if first <= line), (1, label)
        )
        return own, line - first + 1

    def objection(self, exercise: str) -> str:
        """What is said of an answer that uses what it may not."""
        used = self.forbidden[exercise]
        if used is None:
            return "What it uses cannot be told, because its names are too intricate. Write it more simply."
        listed = ", ".join(f"`{name}`" for name in used)
        return f"It uses {listed}, which this exercise does not allow."


def read(path: Path | str, root: Path = curriculum.ROOT, expected: str | None = None) -> tuple[str, Rebuilt]:
    """The module that a notebook file is of, and what is run of it. Unreadable, also where another was `expected`.

    UserError where the module itself is malformed. Either has the module's name as `module`, if it is known.

    What the file holds is looked at in a process of its own.
    """
    content = reading.read_bytes(path)
    try:
        return apart.call(_read, content, Path(path).name, root, expected)
    except TooCostly as refusal:
        raise Unreadable(str(refusal)) from None


def get_ready(modules: Iterable[str], root: Path = curriculum.ROOT) -> None:
    """Let the process that reads notebooks import what it needs, and read these modules."""
    apart.call(_load, tuple(modules), root)


def _load(modules: tuple[str, ...], root: Path) -> None:
    for name in modules:
        with contextlib.suppress(UserError):  # told with the first notebook of it
            curriculum.load(name, root)


def _read(content: bytes, file_name: str, root: Path, expected: str | None) -> tuple[str, Rebuilt]:
    notebook = reading.parse(content)
    name = module_of(notebook, file_name, root)
    try:
        if expected is not None and name != expected:
            raise Unreadable(f"is a notebook of {name}, not of {expected}")
        return name, replace(rebuild(curriculum.load(name, root), notebook), placed=())
    except (Unreadable, UserError) as error:  # UserError: the module is malformed
        error.module = name
        raise


def module_of(notebook: Notebook, path: Path | str, root: Path = curriculum.ROOT) -> str:
    """The module that a notebook is of, by its metadata, its exercises' ids, its file's name; Unreadable if of none."""
    known = curriculum.names(root)
    own = notebook.metadata.get("lsml")
    if isinstance(own, dict) and own.get("module") in known:
        return own["module"]
    ids = {name for cell in notebook.cells for name in _names(cell)}
    matches = {name: len(ids & _exercises_of(name, root)) for name in known}
    best = max(matches.values(), default=0)
    if best and list(matches.values()).count(best) == 1:
        return max(matches, key=matches.get)
    named = [name for name in known if name in Path(path).name]
    if len(named) == 1:
        return named[0]
    raise Unreadable(f"is not one of the modules ({', '.join(known) or 'there are none yet'})")


def _exercises_of(name: str, root: Path) -> set[str]:
    try:
        return {exercise.name for exercise in curriculum.load(name, root).exercises}
    except UserError:  # a module that is being written must not keep us from grading another
        return set()


def rebuild(module: Module, notebook: Notebook) -> Rebuilt:
    """Take the answers and the added cells out of a notebook. Unreadable where it holds too much code."""
    if sum(len(cell.source) for cell in notebook.cells if cell.cell_type == "code") > MAX_CODE:
        raise Unreadable(f"holds more than {MAX_CODE // 1_000_000} million characters of code")
    try:
        return _Sorter(module, notebook).rebuilt()
    finally:
        syntax.forget()


@dataclass(frozen=True)
class _Identity:
    """The authored cell that a submitted one is: its position where that can be told, and its role."""

    position: int | None = None
    role: str | None = None


class _Sorter:
    """Goes through the cells of a notebook once, in order. Sources stay as they were handed in until `rebuilt`."""

    def __init__(self, module: Module, notebook: Notebook):
        self.module, self.notebook = module, notebook
        self.index = _index_of(module)
        self.parts: dict[str, list[SourceCell]] = {exercise.name: [] for exercise in module.exercises}
        # Behind which authored cell each added cell stands. Nothing runs before the first setup cell.
        self.first = next((i for i, cell in enumerate(module.cells) if cell.role == "setup"), 0)
        self.anchor = -1
        self.added: dict[int, list[SourceCell]] = {}
        self.notes: list[str] = []
        self.placed: list[Placed] = []
        self.last_part: str | None = None  # the exercise whose cell stood directly before
        identities = [self._identify(cell) for cell in notebook.cells]
        copies = _copies(module, notebook.cells, identities)
        for number, (cell, identity) in enumerate(zip(notebook.cells, identities, strict=True)):
            self._take(cell, identity, number in copies)

    def _take(self, cell: NotebookCell, identity: _Identity, copied: bool) -> None:
        position, role = identity.position, identity.role
        before, self.last_part = self.last_part, None
        if position is not None and not copied:
            self.anchor = position
        label = _label(cell)
        if role == "exercise":
            name = self.module.cells[position].name
            if cell.source.strip():
                where = label if cell.cell_type == "code" else f"part {len(self.parts[name]) + 1}"
                self.parts[name].append(SourceCell(f"{where} ({name})", cell.source, "exercise", (name,)))
            self.last_part = name
        elif role is not None and copied:
            role = self._take_copy(cell, position, role)
        elif role is not None:
            self._note_changes(cell, position, role)
        elif cell.source.strip():
            role = "added"
            if cell.cell_type == "code" and before is not None and self._completes(before, cell.source):
                self.parts[before].append(SourceCell(label, cell.source, "exercise", (before,)))
                self.last_part, role = before, "answer"
            elif cell.cell_type == "code":
                self._add(SourceCell(label, cell.source, "added"))
        if role is not None:
            authored = self.module.cells[self.anchor].id if self.anchor >= 0 else None
            self.placed.append(Placed(cell, authored, role))

    def _add(self, cell: SourceCell) -> None:
        self.added.setdefault(max(self.anchor, self.first), []).append(cell)

    def _take_copy(self, cell: NotebookCell, position: int | None, role: str) -> str:
        """Of a copy of an author's cell, what the student defined in it is their own; the rest stands there already."""
        source = syntax.plain(cell.source)
        kept = syntax.definitions(source, self._authored(position, role))
        if not kept:
            self._note_changes(cell, position, role)
            return role
        self._add(SourceCell(_label(cell), kept, "added"))
        return "added"

    def _authored(self, position: int | None, role: str) -> str:
        """The source of an authored cell, or where it is not known which, of all with its role."""
        if position is not None:
            return self.module.cells[position].source
        return "\n".join(cell.source for cell in self.module.cells if cell.role == role)

    def _identify(self, cell: NotebookCell) -> _Identity:
        own = cell.metadata.get("lsml")
        own = own if isinstance(own, dict) else {}
        role, name = own.get("role"), own.get("name")
        keys = [("name", role, name) if isinstance(role, str) and isinstance(name, str) else None]
        keys += [("id", cell_id) for cell_id in (_grade_id(cell), cell.id) if cell_id]
        position = next((self.index[key] for key in keys if key in self.index), None)
        if position is None:
            position = self.index.get(_source_key(cell.cell_type, cell.source))
        if position is not None:
            return _Identity(position, self.module.cells[position].role)
        # It says what it is, but not which one: an author's cell that was edited and has lost its id.
        known = isinstance(role, str) and role in ("setup", "check", "demo", "prose", "hints", "written")
        return _Identity(None, role if known else None)

    def _completes(self, name: str, source: str) -> bool:
        """Whether a cell is the second half of the exercise's cell before it, cut in the middle of a block."""
        before = self.parts[name][-1].source if self.parts[name] else None
        return (
            before is not None
            and len(self.parts[name]) < MOST_PARTS
            and not _stands_alone(source, name)
            and _is_python(f"{before}\n{source}")
        )

    def _note_changes(self, cell: NotebookCell, position: int | None, role: str) -> None:
        """A setup, check or demo cell is run as authored, or not at all; say what of the student's is left out."""
        if cell.cell_type != "code" or role not in ("setup", "check", "demo"):
            return
        authored = self._authored(position, role)
        if cell.source.strip() == authored.strip():
            return
        names = syntax.newly_defined(syntax.plain(cell.source), authored)
        if names:
            listed = ", ".join(f"`{name}`" for name in names[:8]) + (" and more" if len(names) > 8 else "")
            self.notes.append(
                f"Cell [{cell.number}] is a {role} cell. Such cells run as the course has them today, so {listed}"
                " defined there did not count. Put your own code in a new cell."
            )

    def _ready(self, cell: SourceCell) -> SourceCell:
        """The cell as plain Python, with all exercises that it defines."""
        source = syntax.plain(cell.source)
        defined = [name for name in syntax.defined(source) if name in self.parts] if cell.kind != "setup" else []
        return replace(cell, source=source, exercises=tuple(dict.fromkeys([*cell.exercises, *defined])))

    def rebuilt(self) -> Rebuilt:
        added = [cell for cells in self.added.values() for cell in cells]
        definers: dict[str, list[SourceCell]] = {exercise.name: [] for exercise in self.module.exercises}
        # Some write an answer into a cell of their own, or into another exercise's.
        for cell in [*added, *(part for parts in self.parts.values() for part in parts)]:
            for name in syntax.defined(syntax.plain(cell.source)):
                if name in definers and name != cell.exercise:
                    definers[name].append(cell)
        answers, unanswered, lines = {}, set(), {}
        groups: dict[str, list[SourceCell]] = {}
        for exercise in self.module.exercises:
            name, parts = exercise.name, self.parts[exercise.name]
            untouched = _untouched([part.source for part in parts], exercise.released)
            own = definers[name] if untouched and definers[name] else [*parts, *definers[name]]
            answers[name] = "\n\n".join(cell.source for cell in own)
            if untouched and not definers[name]:
                unanswered.add(name)
            # An answer that was written in a cell of its own must not be undone by the stub that still stands there.
            groups[name] = [] if untouched and definers[name] else _grouped(parts, lines)
        whole: list[SourceCell] = []
        for position, authored in enumerate(self.module.cells):
            if authored.role == "setup":
                whole.append(SourceCell(authored.id, authored.source, "setup"))
            elif authored.role == "exercise":
                whole += groups[authored.name]
            whole += self.added.get(position, [])
        rules = {e.name: e.forbids for e in self.module.exercises if e.forbids and e.name not in unanswered}
        cells = [self._ready(cell) for cell in whole]
        ran = [chunk for cell in cells for chunk in self._as_run(cell, lines)]
        written = dict(filter(None, (magics.written(cell.source) for cell in whole if cell.kind != "setup")))
        sources = [*(cell.source for cell in ran), *map(syntax.plain, written.values())] if rules else []
        return Rebuilt(
            tuple(ran),
            answers,
            frozenset(unanswered),
            syntax.forbidden(rules, sources, written) if rules else {},
            tuple(self.notes[:MOST_NOTES]),
            lines,
            self._with_answers({cell.label for cells in definers.values() for cell in cells}),
        )

    def _as_run(self, cell: SourceCell, lines: dict[str, tuple[tuple[int, str], ...]]) -> list[SourceCell]:
        """A cell in the parts in which it is run; what cannot be read is not run, and says so when it should be."""
        if cell.kind == "setup":
            return [cell]
        if reason := syntax.too_hard(cell.source):
            said = f"this cell was not run: {reason}"
            self.notes.append(f"{cell.label[:1].upper()}{cell.label[1:]} was not run: {reason}.")
            return [replace(cell, source=f"raise ValueError({said!r})")]
        self._note_version(cell)
        first, *others = syntax.chunks(cell.source)
        found = [self._part(cell, first)]
        for chunk in others:
            line = len(chunk) - len(chunk.lstrip("\n")) + 1
            part = replace(self._part(cell, chunk), label=f"{cell.label}, line {line}")
            lines[part.label] = lines.get(cell.label, ((1, cell.label),))
            found.append(part)
        return found

    def _part(self, cell: SourceCell, source: str) -> SourceCell:
        """A part of a cell. What stands around the definitions of an answer's cell is an experiment, as in a cell of
        its own: it takes none of the answer's time."""
        defined = [name for name in syntax.defined(source) if name in self.parts]
        answered = cell.exercise in syntax.defined(cell.source)
        if cell.kind == "exercise" and answered and not defined and syntax.is_experiment(source):
            return replace(cell, source=source, kind="added", exercises=())
        return replace(cell, source=source)

    def _note_version(self, cell: SourceCell) -> None:
        """Say so where a cell is not Python for us because we have an older one than the student."""
        if syntax.tree(cell.source) is not None:
            return
        own = self.notebook.metadata.get("language_info")
        version = own.get("version") if isinstance(own, dict) else None
        known = re.match(r"3\.(\d{1,3})(?!\d)", version) if isinstance(version, str) else None
        here = sys.version_info[:2]
        if known is not None and (3, int(known[1])) > here:
            self.notes.append(
                f"{cell.label[:1].upper()}{cell.label[1:]} is not valid in Python {here[0]}.{here[1]}, which grades"
                f" here; the notebook was written with Python 3.{known[1]}, and may need it."
            )

    def _with_answers(self, definers: set[str]) -> tuple[Placed, ...]:
        """The placed cells; the added ones that hold an answer are shown as that."""
        return tuple(
            replace(placed, role="answer")
            if placed.role == "added" and placed.cell.cell_type == "code" and _label(placed.cell) in definers
            else placed
            for placed in self.placed
        )


def _copies(module: Module, cells: Sequence[NotebookCell], identities: Sequence[_Identity]) -> set[int]:
    """Which of the submitted cells are copies of an author's code cell that stands in the notebook as well."""
    copies: set[int] = set()
    taken: dict[int, int] = {}
    for number, (cell, identity) in enumerate(zip(cells, identities, strict=True)):
        position = identity.position
        if cell.cell_type != "code" or position is None or identity.role not in ("setup", "check", "demo"):
            continue
        if position not in taken:
            taken[position] = number
        elif cell.source.strip() == module.cells[position].source.strip():  # so the one before was the changed copy
            copies.add(taken[position])
            taken[position] = number
        else:
            copies.add(number)
    missing = Counter(cell.role for place, cell in enumerate(module.cells) if place not in taken)
    for number, (cell, identity) in enumerate(zip(cells, identities, strict=True)):
        if cell.cell_type == "code" and identity.position is None and identity.role in ("setup", "check", "demo"):
            missing[identity.role] -= 1
            if missing[identity.role] < 0:
                copies.add(number)
    return copies


_indexes: dict[str, tuple[Module, dict[tuple, int]]] = {}


def _index_of(module: Module) -> Mapping[tuple, int]:
    """The position of each authored cell, under every key that a submitted cell may be known by."""
    if _indexes.get(module.name, (None,))[0] is not module:
        index: dict[tuple, int] = {}
        for position, cell in enumerate(module.cells):
            if cell.name is not None:
                index.setdefault(("name", cell.role, cell.name), position)
            index.setdefault(("id", cell.id), position)
            released = module.exercise(cell.name).released if cell.role == "exercise" else cell.source
            index.setdefault(_source_key(cell.cell_type, released), position)
        index.pop(None, None)
        _indexes[module.name] = module, index
    return _indexes[module.name][1]


def _label(cell: NotebookCell) -> str:
    return f"cell [{cell.number}]"


def _source_key(cell_type: str, source: str) -> tuple | None:
    """What a cell is known by when it has lost its id; None where nothing is left of it."""
    content = syntax.normal(syntax.plain(source)) if cell_type == "code" else " ".join(source.split())
    return ("source", cell_type, content) if content else None


def _grade_id(cell: NotebookCell) -> str | None:
    own = cell.metadata.get("nbgrader")
    grade_id = own.get("grade_id") if isinstance(own, dict) else None
    return grade_id if isinstance(grade_id, str) else None


def _names(cell: NotebookCell) -> list[str]:
    """The exercises' names that a cell may say it is of."""
    own = cell.metadata.get("lsml")
    name = own.get("name") if isinstance(own, dict) else None
    return [value for value in (name, _grade_id(cell), cell.id) if isinstance(value, str)]


# Whom a stub names has changed: a notebook that was released before is as untouched as one of today.
STUB = re.compile(r'\("[\w.]+(?=: write your answer here"\))')


def _untouched(parts: list[str], released: str) -> bool:
    """Whether the parts of an exercise's cell hold nothing but what was released, once, twice or in pieces."""
    parts, released = [STUB.sub('("', part) for part in parts], STUB.sub('("', released)
    if all(part.strip() in ("", released.strip()) for part in parts):
        return True
    wanted = _normal(released)
    contents = [content for content in (syntax.normal(syntax.plain(part)) for part in parts) if content]
    return all(content == wanted for content in contents) or syntax.normal("\n".join(parts)) == wanted


@lru_cache(maxsize=64)
def _normal(released: str) -> str:
    """Kept, because it is compared with the same cell of every submission."""
    return syntax.normal(released)


def _is_python(source: str) -> bool:
    return syntax.tree(syntax.plain(source)) is not None


def _stands_alone(source: str, name: str) -> bool:
    """Whether a part of an exercise's cell can be run alone. An indented one is rather the rest of the one before."""
    if source.lstrip("\n")[:1].isspace() and name not in syntax.defined(syntax.plain(source)):
        return syntax.tree(source) is not None
    return _is_python(source)


def _grouped(parts: Iterable[SourceCell], lines: dict[str, tuple[tuple[int, str], ...]]) -> list[SourceCell]:
    """The parts of an exercise's cell as they are run: alone if they can be, together where one was cut in two."""
    groups: list[SourceCell] = []
    for number, part in enumerate(parts):
        before = groups[-1] if groups else None
        if before is not None and number < MOST_PARTS:
            together = f"{before.source}\n{part.source}"
            broken = not all(_stands_alone(cell.source, part.exercise) for cell in (part, before))
            if broken and _is_python(together):
                first = before.source.count("\n") + 2
                lines[before.label] = (*lines.get(before.label, ((1, before.label),)), (first, part.label))
                groups[-1] = replace(before, source=together)
                continue
        groups.append(part)
    return groups
