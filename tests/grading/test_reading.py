"""Whatever a file holds, it is read or refused with one line, soon and without a traceback."""

import json
import os
import time

import pytest

from autograder.grading import reading
from autograder.grading.reading import Unreadable, parse, read_bytes

from .conftest import as_notebook, code


def cells_of(values):
    return parse(json.dumps(values).encode()).cells


REFUSED = {
    "empty": (b"", "is empty"),
    "blank": (b" \n ", "is empty"),
    "not text": (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "is not text"),
    "not json": (b"print('hello')", "not valid JSON (line 1"),
    "cut short": (json.dumps(as_notebook([code("x = 1")])).encode()[:-9], "not valid JSON"),
    "a list": (b"[]", "not an object"),
    "no cells": (b'{"metadata": {}}', "no list of cells"),
    "cells of another kind": (b'{"cells": [1, 2]}', "no list of cells"),
    "200,000 levels": (b"[" * 200_000, "nested"),
    "200,000 levels in a cell": (b'{"cells": [' + b'{"a":' * 200_000 + b"}" * 200_000 + b"]}", "nested"),
    "20,000 cells": (json.dumps(as_notebook([code("")] * 20_000)).encode(), "20,000 cells"),
    "five million lists": (b"[" + b"[]," * 5_000_000 + b"[]]", "too many parts"),
    "a string without an end": (b'{"cells": "' + b'\\"' * 5_000_000, "not valid JSON"),
}


@pytest.mark.parametrize("content, why", REFUSED.values(), ids=REFUSED)
def test_refused(content, why):
    started = time.monotonic()
    with pytest.raises(Unreadable) as refusal:
        parse(content)
    assert why in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert time.monotonic() - started < 60  # quadratic would take hours


def test_files_that_are_none(tmp_path):
    target = tmp_path / "real.ipynb"
    target.write_text(json.dumps(as_notebook([])))
    link, pipe, folder = tmp_path / "link.ipynb", tmp_path / "pipe.ipynb", tmp_path / "folder.ipynb"
    link.symlink_to(target)
    os.mkfifo(pipe)
    folder.mkdir()
    for path, why in [
        (link, "symbolic link"),
        (pipe, "not a regular file"),
        (folder, "not a regular file"),
        ("/dev/zero", "not a regular file"),
        (tmp_path / "none.ipynb", "cannot be opened"),
        ("a\0b", "not a file name"),
    ]:
        with pytest.raises(Unreadable, match=why):
            read_bytes(path)


def test_a_large_file_is_not_even_read(tmp_path):
    large = tmp_path / "large.ipynb"
    with large.open("wb") as file:
        file.truncate(100 * 2**20)
    with pytest.raises(Unreadable, match="larger than"):
        read_bytes(large)


def test_deep_outputs_of_honest_libraries_are_fine():
    nested = "deep"
    for _ in range(50):
        nested = {"a": [nested]}
    output = {"data": {"application/json": nested}, "text": "[" * 10_000 + '"'}
    assert len(cells_of(as_notebook([code("x", outputs=[output])]))) == 1


def test_odd_but_harmless_values():
    text = json.dumps(as_notebook([code("x = 1")]))
    odd = text.replace('"nbformat": 4', '"nbformat": NaN, "n": ' + "9" * 10_000 + ', "nbformat": 4, "nbformat": 4')
    assert parse(odd.encode()).cells[0].source == "x = 1"
    assert cells_of(as_notebook([code("s = '\ud800'")]))[0].source == "s = '?'"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
def test_encodings_that_windows_editors_write(encoding):
    text = json.dumps(as_notebook([code("é = 1")]), ensure_ascii=False)
    assert parse(text.encode(encoding)).cells[0].source == "é = 1"


@pytest.mark.parametrize("source", ["a = 1\nb = 2", "a = 1\r\nb = 2", ["a = 1\n", "b = 2"], ["a = 1\r\n", "b = 2"]])
def test_sources_are_strings_or_lines(source):
    assert cells_of(as_notebook([code(source)]))[0].source == "a = 1\nb = 2"


def test_cells_without_what_they_should_have():
    cells = cells_of(as_notebook([{}, {"cell_type": "code"}, {"cell_type": 3, "source": 4, "metadata": [], "id": {}}]))
    assert [(cell.cell_type, cell.source, cell.metadata, cell.id) for cell in cells] == [
        ("markdown", "", {}, None),
        ("code", "", {}, None),
        ("markdown", "", {}, None),
    ]


def test_format_3():
    old = {"nbformat": 3, "metadata": {"name": "x"}, "worksheets": [{"cells": [{"cell_type": "code", "input": "a"}]}]}
    assert cells_of(old)[0].source == "a"


def test_numbers_are_those_in_brackets_after_run_all():
    cells = cells_of(as_notebook([code("a"), {"cell_type": "markdown", "source": "m"}, code(" "), code("b")]))
    assert [cell.number for cell in cells if cell.source.strip() and cell.cell_type == "code"] == [1, 2]


def test_the_caps_leave_room_for_an_honest_notebook():
    assert reading.MAX_CELLS >= 1000 and reading.MAX_BYTES >= 20 * 2**20 and reading.MAX_DEPTH >= 100
