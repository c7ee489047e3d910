"""Which submissions of a module are closer to each other than the exercises explain. It says where to look, no more.

Fingerprints by winnowing (Schleimer, Wilkerson and Aiken, SIGMOD 2003), from copydetect: names, strings, comments and
layout make no difference, nor does the order of the functions. Of each submission those fingerprints count that were
not handed out and that few others have.
"""

import ast
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from copydetect.utils import filter_code, get_copied_slices, winnow
from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.table import Table
from rich.text import Text

from autograder import curriculum
from autograder.classroom.folder import ClassFolder
from autograder.curriculum import Module
from autograder.errors import UserError
from autograder.grading import rebuild
from autograder.grading.reading import Unreadable
from autograder.printing import printable

LENGTH, WINDOW = 18, 6  # of a fingerprint, in characters once names are one letter; one is kept of so many
MANY = 0.1  # what more than this share of the class has, and more than FEW of it, everyone has
FEW = 4
SHARE, LEAST = 0.5, 8  # of the rarer one's fingerprints, and how many at least, so that a pair is listed


@dataclass(frozen=True)
class Fingerprints:
    """Of a code: where each stands once names are one letter, and how many characters that took away up to there."""

    places: Mapping[int, Sequence[int]]
    removed: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Work:
    """What one student wrote themselves: exercises and added cells, one after the other."""

    student: str
    code: str
    print: Fingerprints


@dataclass(frozen=True)
class Pair:
    """Two submissions. `share`: of the fingerprints of the one that has fewer; `passages`: (start, end) in each."""

    students: tuple[str, str]
    share: float
    shared: int
    codes: tuple[str, str]
    passages: tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]


def find(folder: ClassFolder, module: str) -> list[Pair]:
    """The pairs of a class worth a look, the closest first. UserError where fewer than two have handed in."""
    written = {}
    for student in folder.submitted(module):
        try:
            written[student] = own_code(folder.submission(student, module), curriculum.load(module))
        except Unreadable:
            continue
    if len(written) < 2:
        raise UserError(f"fewer than two submissions of {module} can be compared")
    return pairs(written, curriculum.load(module))


def own_code(path: Path, module: Module) -> str:
    """The answers of a submission, and the cells that were added to it. Unreadable."""
    _, rebuilt = rebuild.read(path, expected=module.name)
    answered = [e.name for e in module.exercises if e.name not in rebuilt.unanswered]
    answers = [without_docstrings(rebuilt.answers[name]) for name in answered]
    return "\n\n\n".join([*answers, *(cell.source for cell in rebuilt.cells if cell.kind == "added")])


def without_docstrings(source: str) -> str:
    """The same without the docstrings of its functions and classes: those were handed out."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source
    lines = source.split("\n")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            lines[first.lineno - 1 : first.end_lineno] = [None] * (first.end_lineno - first.lineno + 1)
    return "\n".join(line for line in lines if line is not None)


def pairs(written: Mapping[str, str], module: Module) -> list[Pair]:
    """The pairs among these codes that are closer than what was handed out and what many have explains."""
    given = _print("\n\n\n".join([*module.setup, *(exercise.released for exercise in module.exercises)])).places
    works = [Work(student, code, _print(code)) for student, code in written.items()]
    owners = Counter(one for work in works for one in work.print.places)
    most = max(FEW, math.floor(MANY * len(works)))
    own = {w.student: {one for one in w.print.places.keys() - given.keys() if owners[one] <= most} for w in works}
    found = []
    for a, b in itertools.combinations(works, 2):
        shared = own[a.student] & own[b.student]
        fewer = min(len(own[a.student]), len(own[b.student]))
        if len(shared) >= max(LEAST, SHARE * fewer):
            passages = tuple(tuple(_passages(work.print, shared)) for work in (a, b))
            found.append(Pair((a.student, b.student), len(shared) / fewer, len(shared), (a.code, b.code), passages))
    return sorted(found, key=lambda pair: (-pair.share, -pair.shared, pair.students))


def _print(code: str) -> Fingerprints:
    text, removed = filter_code(code, "", "python")
    # Python's own hashes of text, which copydetect takes, are others in each process: so would be the pairs.
    digests = (blake2b(text[i : i + LENGTH].encode(), digest_size=7) for i in range(len(text) - LENGTH + 1))
    hashes = np.array([int.from_bytes(digest.digest()) for digest in digests], dtype=np.int64)
    places = defaultdict(list)
    if len(hashes):
        for one, place in zip(*winnow(hashes, WINDOW, remove_duplicates=False), strict=True):
            places[int(one)].append(int(place))
    return Fingerprints(places, removed.tolist())


def _passages(of: Fingerprints, shared: set[int]) -> Iterator[tuple[int, int]]:
    """Where these fingerprints stand in the code itself."""
    places = sorted(place for one in shared for place in of.places[one])

    def original(place: int) -> int:
        before = [count for at, count in of.removed if at <= place]
        return place + (before[-1] if before else 0)

    for start, end in get_copied_slices(places, LENGTH).T.tolist():
        yield original(int(start)), original(int(end))


def table(found: Sequence[Pair]) -> Table:
    """The pairs for a terminal."""
    made = Table(title="Look here", title_justify="left", header_style="bold")
    for title, justify in (("student", "left"), ("student", "left"), ("shared", "right")):
        made.add_column(title, justify=justify)
    for pair in found:
        made.add_row(*(Text(printable(student)) for student in pair.students), f"{pair.share:.0%}")
    return made


def render(found: Sequence[Pair], module: Module) -> str:
    """A page with the passages of each pair side by side, HTML that loads nothing from anywhere."""
    environment = Environment(
        loader=PackageLoader("autograder.classroom"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    shown = [(pair, [marked(*one) for one in zip(pair.codes, pair.passages, strict=True)]) for pair in found]
    return environment.get_template("similar.html.j2").render(pairs=shown, title=module.title)


def marked(code: str, passages: Sequence[tuple[int, int]]) -> list[tuple[str, bool]]:
    """The code in pieces, each with whether the other submission has it, too."""
    pieces, at = [], 0
    for start, end in sorted(passages):
        start = max(start, at)
        if end > start:
            pieces += [(code[at:start], False), (code[start:end], True)]
            at = end
    return [(text, shared) for text, shared in [*pieces, (code[at:], False)] if text]
