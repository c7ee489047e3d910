"""Reads a notebook that may be anything at all, before any library sees it.

A notebook comes out as plain cells, whatever version of the format it was saved in; what cannot be one is refused
with a line that says why.
"""

import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_BYTES = 32 * 2**20  # plots are kept inside a notebook, so an honest one may be large
MAX_CELLS = 2_000
MAX_DEPTH = 200  # json's own parser recurses
MAX_NODES = 1_000_000  # lists and objects; an empty one takes 2 bytes in the file and 64 in memory

_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)', re.DOTALL)
_NOT_BRACKETS = re.compile(r"[^\[\]{}]++")


class Unreadable(Exception):
    """Not a notebook that can be graded. `str(error)` is one line that says why; `module` what it is of, if known."""

    module: str | None = None


@dataclass(frozen=True)
class NotebookCell:
    """One cell as it was handed in. `number` is what Jupyter shows in brackets beside a code cell after Run All."""

    cell_type: str
    source: str
    metadata: dict[str, Any]
    id: str | None
    number: int


# As far as the system has them (Windows has O_BINARY only). Without O_NONBLOCK a named pipe would keep us waiting.
FLAGS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


@dataclass(frozen=True)
class Notebook:
    """A notebook's cells, in order, and its own metadata."""

    cells: tuple[NotebookCell, ...]
    metadata: dict[str, Any] = field(default_factory=dict)


def read_bytes(path: Path | str) -> bytes:
    """The bytes of a regular file, never through a link in its last part; Unreadable where it is not one."""
    try:
        if not hasattr(os, "O_NOFOLLOW") and Path(path).is_symlink():
            raise Unreadable("is a symbolic link, not a notebook")
        descriptor = os.open(path, os.O_RDONLY | FLAGS)
    except OSError as error:
        if Path(path).is_symlink():
            raise Unreadable("is a symbolic link, not a notebook") from None
        raise Unreadable(f"cannot be opened: {error.strerror}") from None
    except ValueError:
        raise Unreadable("cannot be opened: its name is not a file name") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable("is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise Unreadable(f"is larger than {MAX_BYTES // 2**20} MB; clear its outputs and save it again")
    return content


def parse(content: bytes) -> Notebook:
    """Make a Notebook of a file's bytes; Unreadable where they are none."""
    if not content.strip():
        raise Unreadable("is empty")
    try:
        text = content.decode(json.detect_encoding(content))
    except UnicodeDecodeError:
        raise Unreadable("is not a notebook: it is not text") from None
    _check_nesting(text)
    try:
        values = json.loads(text.removeprefix("\ufeff"), parse_int=_bounded_int)
    except ValueError as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise Unreadable(f"is not a notebook: it is not valid JSON{where}") from None
    return _notebook(values)


def _check_nesting(text: str) -> None:
    """Refuse what would exhaust the parser's stack or our memory."""
    brackets = _NOT_BRACKETS.sub("", _STRING.sub("", text))
    if len(brackets) > 2 * MAX_NODES:
        raise Unreadable("is not a notebook that can be graded: it has too many parts")
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise Unreadable(f"is not a notebook: it is nested more than {MAX_DEPTH} levels deep")


def _bounded_int(digits: str) -> int:
    # Python refuses integers of more than 4,300 digits; no number in a notebook means anything to us.
    return int(digits) if len(digits) < 20 else 0


def _notebook(values: Any) -> Notebook:
    if not isinstance(values, dict):
        raise Unreadable("is not a notebook: it is JSON, but not an object")
    cells = values.get("cells")
    if cells is None and isinstance(values.get("worksheets"), list):  # nbformat 3
        sheets = [sheet.get("cells") for sheet in values["worksheets"] if isinstance(sheet, dict)]
        cells = [cell for sheet in sheets if isinstance(sheet, list) for cell in sheet]
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise Unreadable("is not a notebook: it is JSON, but has no list of cells")
    if len(cells) > MAX_CELLS:
        raise Unreadable(f"has {len(cells):,} cells, where {MAX_CELLS:,} are allowed")
    return Notebook(tuple(_cells(cells)), _mapping(values.get("metadata")))


def _cells(cells: list[dict[str, Any]]) -> list[NotebookCell]:
    found, number = [], 0
    for cell in cells:
        cell_type = "code" if cell.get("cell_type") == "code" else "markdown"
        source = _text(cell.get("source", cell.get("input")))  # nbformat 3 calls the source of a code cell "input"
        number += cell_type == "code" and bool(source.strip())
        cell_id = cell.get("id")
        cell_id = _clean(cell_id) if isinstance(cell_id, str) else None
        found.append(NotebookCell(cell_type, source, _mapping(cell.get("metadata")), cell_id, number))
    return found


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    """A source is a string, or a list of lines that keep their ends."""
    if isinstance(value, list):
        value = "".join(line for line in value if isinstance(line, str))
    text = _clean(value) if isinstance(value, str) else ""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _clean(text: str) -> str:
    """Half a surrogate pair is valid JSON, but cannot be written out again."""
    return text.encode("utf-8", "replace").decode("utf-8")
