"""Puts a submission back on the module as authored: what is run is setup, the student's answers, and added cells.

A cell is known by its `metadata.lsml`, then by nbgrader's `grade_id`, then by its id, then by its source. So nothing
is lost or gained where cells were deleted, moved, pasted twice, split, retyped or re-pointed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from autograder import curriculum
from autograder.curriculum import Module
from autograder.errors import UserError
from autograder.grading import syntax
from autograder.grading.reading import Notebook, NotebookCell, Unreadable
from autograder.submission import SourceCell

MAX_CODE = 4_000_000  # characters in all code cells


@dataclass(frozen=True)
class Rebuilt:
    """What is run of a submission, and what can be told of it before.

    `answers`: for each exercise, all that the student wrote for it. `forbidden`: names an answer uses and may not.
    `lines`: for a cell that was put together from several, the (first line, label) of each.
    """

    cells: tuple[SourceCell, ...]
    answers: dict[str, str]
    unanswered: frozenset[str]
    forbidden: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    lines: dict[str, tuple[tuple[int, str], ...]] = field(default_factory=dict)

    def place(self, label: str, line: int) -> tuple[str, int]:
        """Where the student sees a line of one of the `cells`: the label of their own cell, and the line in it."""
        first, own = next(
            ((first, own) for first, own in reversed(self.lines.get(label, ())) if first <= line), (1, label)
        )
        return own, line - first + 1


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
    sorter = _Sorter(module)
    for cell in notebook.cells:
        sorter.take(cell)
    return sorter.rebuilt()


class _Sorter:
    """Goes through the cells of a notebook once, in order."""

    def __init__(self, module: Module):
        self.module = module
        self.index = _index_of(module)
        self.parts: dict[str, list[SourceCell]] = {exercise.name: [] for exercise in module.exercises}
        # Behind which authored cell each added cell stands. Nothing runs before the first setup cell.
        first_setup = next((i for i, cell in enumerate(module.cells) if cell.role == "setup"), 0)
        self.first = self.anchor = first_setup
        self.added: dict[int, list[SourceCell]] = {}
        self.notes: list[str] = []
        self.last_part: str | None = None  # the exercise whose cell stood directly before

    def take(self, cell: NotebookCell) -> None:
        position, role = self._identify(cell)
        before, self.last_part = self.last_part, None
        if position is not None:
            self.anchor = max(position, self.first)
        if role == "exercise":
            name = self.module.cells[position].name
            if cell.source.strip():
                where = f"cell [{cell.number}]" if cell.cell_type == "code" else f"part {len(self.parts[name]) + 1}"
                label = f"{where} ({name})"
                self.parts[name].append(SourceCell(label, syntax.unwrapped(cell.source), "exercise", (name,)))
            self.last_part = name
        elif role is not None:
            self._note_changes(cell, position, role)
        elif cell.cell_type == "code" and cell.source.strip():
            answers = tuple(name for name in syntax.defined(cell.source) if name in self.parts)
            added = SourceCell(f"cell [{cell.number}]", syntax.unwrapped(cell.source), "added", answers)
            if before is not None and self._completes(before, added):
                self.parts[before].append(added)
                self.last_part = before
            else:
                self.added.setdefault(self.anchor, []).append(added)

    def _identify(self, cell: NotebookCell) -> tuple[int | None, str | None]:
        """The authored cell that this one is: its position where that can be told, and its role; or twice None."""
        own = cell.metadata.get("lsml")
        own = own if isinstance(own, dict) else {}
        role, name = own.get("role"), own.get("name")
        keys = [("name", role, name) if isinstance(role, str) and isinstance(name, str) else None]
        keys += [("id", cell_id) for cell_id in (_grade_id(cell), cell.id) if cell_id]
        position = next((self.index[key] for key in keys if key in self.index), None)
        if position is None:
            position = self.index.get(_source_key(cell.cell_type, cell.source))
        if position is not None:
            return position, self.module.cells[position].role
        # It says what it is, but not which one: an author's cell that was edited and has lost its id.
        return None, role if role in ("setup", "check", "demo", "prose", "hints", "written") else None

    def _completes(self, name: str, added: SourceCell) -> bool:
        """Whether an added cell is the second half of the exercise's cell before it, cut in the middle of a block."""
        before = self.parts[name][-1] if self.parts[name] else None
        return (
            before is not None
            and syntax.tree(added.source) is None
            and syntax.tree(f"{before.source}\n{added.source}") is not None
        )

    def _note_changes(self, cell: NotebookCell, position: int | None, role: str) -> None:
        """A setup, check or demo cell is run as authored, or not at all; say what of the student's is left out."""
        if cell.cell_type != "code" or role not in ("setup", "check", "demo"):
            return
        authored = self.module.cells[position].source if position is not None else ""
        if cell.source.strip() == authored.strip():
            return
        names = syntax.newly_defined(cell.source, authored)
        if names:
            listed = ", ".join(f"`{name}`" for name in names[:8]) + (" and more" if len(names) > 8 else "")
            self.notes.append(
                f"Cell [{cell.number}] is a {role} cell that runs as it was handed out, so {listed} defined there did"
                " not count. Put your own code in a new cell."
            )

    def rebuilt(self) -> Rebuilt:
        added = [cell for cells in self.added.values() for cell in cells]
        definers = {
            exercise.name: [cell for cell in added if exercise.name in cell.exercises]
            for exercise in self.module.exercises
        }
        answers, unanswered, forbidden, lines = {}, set(), {}, {}
        groups: dict[str, list[SourceCell]] = {}
        for exercise in self.module.exercises:
            name, parts = exercise.name, self.parts[exercise.name]
            untouched = _untouched([part.source for part in parts], exercise.released)
            answers[name] = "\n\n".join(cell.source for cell in [*parts, *definers[name]])
            if untouched and not definers[name]:
                unanswered.add(name)
            # An answer that was written in a cell of its own must not be undone by the stub that still stands there.
            groups[name] = [] if untouched and definers[name] else _grouped(parts, lines)
        around = [*self.module.setup, *(cell.source for cell in added)]
        for exercise in self.module.exercises:
            if exercise.forbids and exercise.name not in unanswered:
                others = [syntax.imports(source) for name, source in answers.items() if name != exercise.name]
                used = syntax.forbidden(answers[exercise.name], [*around, *others], exercise.forbids)
                forbidden |= {exercise.name: tuple(used)} if used else {}
        cells: list[SourceCell] = []
        for position, authored in enumerate(self.module.cells):
            if authored.role == "setup":
                cells.append(SourceCell(authored.id, authored.source, "setup"))
            elif authored.role == "exercise":
                cells += groups[authored.name]
            cells += self.added.get(position, [])
        return Rebuilt(tuple(cells), answers, frozenset(unanswered), forbidden, tuple(self.notes), lines)


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


def _source_key(cell_type: str, source: str) -> tuple | None:
    """What a cell is known by when it has lost its id; None where nothing is left of it."""
    content = syntax.normal(source) if cell_type == "code" else " ".join(source.split())
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


def _untouched(parts: list[str], released: str) -> bool:
    """Whether the parts of an exercise's cell hold nothing but what was released, once, twice or in pieces."""
    if all(part.strip() in ("", released.strip()) for part in parts):
        return True
    wanted = _normal(released)
    contents = [content for content in map(syntax.normal, parts) if content]
    return all(content == wanted for content in contents) or syntax.normal("\n".join(parts)) == wanted


@lru_cache(maxsize=64)
def _normal(released: str) -> str:
    """Kept, because it is compared with the same cell of every submission."""
    return syntax.normal(released)


def _grouped(parts: Iterable[SourceCell], lines: dict[str, tuple[tuple[int, str], ...]]) -> list[SourceCell]:
    """The parts of an exercise's cell as they are run: alone if they can be, together where one was cut in two."""
    groups: list[SourceCell] = []
    for part in parts:
        before = groups[-1] if groups else None
        together = f"{before.source}\n{part.source}" if before else ""
        broken = before and (syntax.tree(part.source) is None or syntax.tree(before.source) is None)
        if broken and syntax.tree(together) is not None:
            first = before.source.count("\n") + 2
            lines[before.label] = (*lines.get(before.label, ((1, before.label),)), (first, part.label))
            groups[-1] = replace(before, source=together)
        else:
            groups.append(part)
    return groups
