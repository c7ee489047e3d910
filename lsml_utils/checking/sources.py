"""What stands in the notebook: the expression of a call, a statement, the student's own lines.

Everything here may fail to find the source (no file, changed since, `python -X no_debug_ranges`) and then gives None:
a check is shown with less, never wrongly.
"""

import ast
import itertools
import linecache
import os
import pathlib
import sys
import sysconfig

_LIBRARIES = tuple({os.path.realpath(sysconfig.get_path(key)) + os.sep for key in ("stdlib", "platstdlib")})
_INSTALLED = {"site-packages", "dist-packages"}
_OURS = os.path.realpath(os.path.dirname(os.path.dirname(__file__))) + os.sep


def is_user_code(filename: str) -> bool:
    """Whether a frame's file is the notebook's or the student's, not a library's or ours."""
    if filename.startswith(("<frozen", "<__array_function__", "<string>")):
        return False
    real = os.path.realpath(filename)
    return not real.startswith((*_LIBRARIES, _OURS)) and not _INSTALLED & set(pathlib.PurePath(real).parts)


def first_argument(frame) -> str | None:
    """The source of the first argument of the call that the frame is in; a name is followed to its assignment."""
    try:
        position = next(itertools.islice(frame.f_code.co_positions(), frame.f_lasti // 2, None))
        call = ast.parse(_segment(frame, position), mode="eval").body
        node = call.args[0]
        if isinstance(node, ast.Name):
            return _assignment(frame, node.id, position[0]) or node.id
        return ast.unparse(node)
    except Exception:
        return None


def sizes(frame) -> set[int]:
    """The lengths of what the call in the first argument is given by name, and the whole numbers among it."""
    try:
        names = [node.id for node in ast.walk(ast.parse(first_argument(frame))) if isinstance(node, ast.Name)]
        values = [{**frame.f_globals, **frame.f_locals}.get(name) for name in names]
        shapes = [getattr(value, "shape", (value,)) for value in values]
        return {int(size) for shape in shapes for size in shape if isinstance(size, int) and 1 < size < 10**9}
    except Exception:
        return set()


def line_text(frame, line: int) -> str | None:
    """One line of the frame's file."""
    lines = _lines(frame)
    return lines[line - 1] if 0 < line <= len(lines) else None


def statement(frame, line: int) -> str | None:
    """The innermost simple statement that covers a line of the file; of an `expect_*(call, ...)` only the call."""
    node = _statement_node(frame, line)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and node.value.args:
        asked = ast.unparse(node.value.func).rpartition(".")[2]
        if asked.startswith("expect_"):
            node = node.value.args[0]
    return None if node is None else ast.unparse(node)


def with_body(frame, line: int) -> str | None:
    """The statements inside the `with` whose header covers a line."""
    for node in _nodes(frame):
        if isinstance(node, ast.With) and node.lineno <= line < node.body[0].lineno:
            return "\n".join(ast.unparse(part) for part in node.body)
    return None


def assert_parts(frame, line: int) -> tuple[str, list[str]] | None:
    """The condition of an assert, and the plain names in it."""
    node = _statement_node(frame, line)
    if not isinstance(node, ast.Assert):
        return None
    called = {id(part.func) for part in ast.walk(node.test) if isinstance(part, ast.Call)}
    names = [part.id for part in ast.walk(node.test) if isinstance(part, ast.Name) and id(part) not in called]
    return ast.unparse(node.test), list(dict.fromkeys(names))


def student_lines(traceback, skip=None, most: int = 4) -> str | None:
    """The student's own frames of a traceback, each with its line marked and its neighbours; `skip` is left out."""
    frames = []
    while traceback is not None:
        frame = traceback.tb_frame
        if frame is not skip and is_user_code(frame.f_code.co_filename):
            frames.append((frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    hidden = len(frames) - most
    blocks = [_numbered(frame, line) for frame, line in frames[-most:]]
    if hidden > 0:
        blocks.insert(0, f"… {hidden} more calls")
    return "\n".join(blocks) or None


def _numbered(frame, line: int) -> str:
    code = frame.f_code
    source = linecache.getlines(code.co_filename, frame.f_globals)
    start = max(code.co_firstlineno, line - 2)
    end = min(line + 1, len(source), max(number for *_, number in code.co_lines() if number is not None))
    shown = [
        f"{'→' if number == line else ' '} {number:>3} {source[number - 1].rstrip()}"
        for number in range(start, end + 1)
    ]
    return "\n".join([f"{_place(code.co_filename)}, line {line}, in {code.co_name}", *shown])


def _place(filename: str) -> str:
    """`Cell In[7]` for a notebook's cell, else the file's name."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    try:
        found = shell.compile.format_code_name(filename)
    except Exception:
        found = None
    return " ".join(found) if found else os.path.basename(filename)


def _segment(frame, position) -> str:
    line, last, start, end = position
    lines = [text.encode() for text in _lines(frame)[line - 1 : last]]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    return b"".join(lines).decode()


def _lines(frame) -> list[str]:
    return linecache.getlines(frame.f_code.co_filename, frame.f_globals)


def _nodes(frame):
    try:
        return list(ast.walk(ast.parse("".join(_lines(frame)))))
    except (SyntaxError, ValueError):
        return []


def _statement_node(frame, line: int):
    best = None
    for node in _nodes(frame):
        if isinstance(node, ast.stmt) and not hasattr(node, "body") and node.lineno <= line <= node.end_lineno:
            best = node
    return best


def _assignment(frame, name: str, before: int) -> str | None:
    """The statement that last bound a name above a line, if it is `name = call(...)` or `name, other = call(...)`."""
    first = frame.f_code.co_firstlineno
    nodes = [node for node in _nodes(frame) if first <= getattr(node, "lineno", 0) < before]
    bound = [node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    last = max(
        (node for node in bound if node.id == name), key=lambda node: (node.lineno, node.col_offset), default=None
    )
    calls = [node for node in nodes if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)]
    for node in calls:
        if any(part is last for target in node.targets for part in ast.walk(target)):
            return ast.unparse(node)
    return None
