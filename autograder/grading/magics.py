"""A notebook's cell as plain Python: what is run of it, and what is looked through for names, is the same text.

IPython's own transformer is not used: it reads a cell again for every magic in it, and a stranger's cell must be read
in time linear in its size. Magics and shell lines do nothing here, but for those that run Python.
"""

import ast
import re
import warnings
from collections.abc import Iterator

# Cell magics whose body is no Python, or is not to be run.
OTHER_BODIES = {
    "!",
    "bash",
    "cmd",
    "cython",
    "html",
    "javascript",
    "js",
    "latex",
    "markdown",
    "perl",
    "pypy",
    "python2",
}
OTHER_BODIES |= {"ruby", "script", "sh", "svg", "sx", "system"}
WRITES = ("writefile", "file")
# Line magics that measure a statement and bind nothing: what they measure need not be run.
STATEMENT_RUNS = ("time",)

# Brackets and strings of one line. No alternative can give back what it took, so no line takes more than one pass.
_PIECES = re.compile(
    r"""(?P<triple>'{3}|"{3})|'(?:[^'\\]|\\.)*+'?|"(?:[^"\\]|\\.)*+"?|(?P<comment>\#.*+)"""
    r"""|(?P<open>[\[({])|(?P<close>[\])}])|(?P<assigns>(?<![=!<>])=[ \t]*+(?=[!%]))""",
)
_PROMPT = re.compile(r"(?:In \[\d*+\]: ?|>>> ?|\.\.\. ?| {2,}\.\.\.+: ?)")
_DOTTED = re.compile(r"(?:\.[\s\\]*+\w++[\s\\]*+)++")
MOST_DOTS = 200  # in one name: Python's parser takes time quadratic in them


class TooHard(Exception):
    """A source that Python's parser would take too long or too much memory for; `str(error)` says why."""


def parsed(source: str) -> ast.Module | None:
    """The syntax tree of plain Python; None where it is none. TooHard where it is not for a parser to say."""
    if any(found[0].count(".") > MOST_DOTS for found in _DOTTED.finditer(source)):
        raise TooHard(f"a name in it has more than {MOST_DOTS} dots")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in a student's string is not ours to report
            return ast.parse(source)
    except (RecursionError, MemoryError):
        raise TooHard("it is nested too deeply") from None
    except (SyntaxError, ValueError, OverflowError):
        return None


def rewritten(source: str) -> str:
    """A cell with magics, prompts or an indent as plain Python, on the same lines."""
    lines = _without_prompts(source.split("\n"))
    name, arguments = cell_magic(source)
    if name is None:
        lines = _without_indent(lines)
    else:
        first = next(number for number, line in enumerate(lines) if line.strip())
        if name in WRITES:
            return "\n" * first + f"get_ipython().run_cell_magic({name!r}, {arguments!r}, {_body(lines, first)!r})"
        if name in OTHER_BODIES:
            return ""
        lines[first] = ""
    return "\n".join(_without_magics(lines))


def written(source: str) -> tuple[str, str] | None:
    """The module that a `%%writefile NAME.py` cell writes, and its source; None for any other cell."""
    name, line = cell_magic(source)
    target = line.split()[-1] if line.split() else ""
    if name not in WRITES or not target.endswith(".py"):
        return None
    lines = source.split("\n")
    first = next(number for number, text in enumerate(lines) if text.strip())
    return re.split(r"[/\\]", target)[-1].removesuffix(".py"), _body(lines, first)


def cell_magic(source: str) -> tuple[str | None, str]:
    """The name and the arguments of the `%%magic` that a cell begins with; None and "" where there is none."""
    first = source.lstrip()[:1_000].split("\n", 1)[0]
    if not first.startswith("%%"):
        return None, ""
    name, _, arguments = first[2:].strip().partition(" ")
    return name, arguments.strip()


def _body(lines: list[str], first: int) -> str:
    return "\n".join(lines[first + 1 :]) + "\n"


def _without_prompts(lines: list[str]) -> list[str]:
    """The lines of a pasted session without its prompts."""
    first = next((line for line in lines if line.strip()), "")
    if not first.lstrip().startswith((">>>", "In [")):
        return lines
    indent = len(first) - len(first.lstrip())
    cut = [line[indent:] if not line[:indent].strip() else line for line in lines]
    return [line[found.end() :] if (found := _PROMPT.match(line)) else line for line in cut]


def _without_indent(lines: list[str]) -> list[str]:
    """As IPython does: what the first line is indented by is taken from every line that begins with it."""
    first = next((line for line in lines if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip())]
    return [line.removeprefix(indent) for line in lines] if indent else lines


def _without_magics(lines: list[str]) -> Iterator[str]:
    depth, inside = 0, ""  # open brackets, and the quotes of a string that goes on
    waiting = iter(lines)
    for line in waiting:
        indent, rest = line[: len(line) - len(line.lstrip())], line.strip()
        if not depth and not inside and rest.startswith(("%", "!", "?")):
            yield indent + _statement(rest)
            yield from _continued(line, waiting)
            continue
        before = depth, inside
        depth, inside, assigned, end = _scanned(line, depth, inside)
        if before == (0, "") and assigned is not None:
            depth, inside = before
            yield line[:assigned] + _value(line[assigned:].strip())
            yield from _continued(line, waiting)
        elif before == (0, "") and not depth and not inside and line[:end].rstrip().endswith("?"):
            yield indent + "pass"
        else:
            yield line


def _continued(line: str, waiting: Iterator[str]) -> Iterator[str]:
    """Nothing in the place of the lines that a magic's line goes on in."""
    while line is not None and line.rstrip().endswith("\\"):
        line = next(waiting, None)
        if line is not None:
            yield ""


def _scanned(line: str, depth: int, inside: str) -> tuple[int, str, int | None, int]:
    """Brackets and string that are open behind a line; where a magic is assigned in it; where its comment begins."""
    place = 0
    while True:
        if inside:
            place = _end_of_string(line, place, inside)
            if place < 0:
                return depth, inside, None, len(line)
            inside = ""
        found = next((f for f in _PIECES.finditer(line, place) if f.lastgroup), None)
        if found is None:
            return depth, inside, None, len(line)
        place = found.end()
        if found.lastgroup == "triple":
            inside = found[0]
        elif found.lastgroup == "comment":
            return depth, inside, None, found.start()
        elif found.lastgroup == "assigns" and not depth:
            return depth, inside, place, len(line)
        elif found.lastgroup == "open":
            depth += 1
        elif found.lastgroup == "close":
            depth = max(0, depth - 1)


def _end_of_string(line: str, place: int, quotes: str) -> int:
    while (end := line.find(quotes, place)) >= 0:
        before = line[place:end]
        if (len(before) - len(before.rstrip("\\"))) % 2 == 0:
            return end + 3
        place = end + 1
    return -1


def _statement(rest: str) -> str:
    """What a line that begins with a magic or a shell command does as Python."""
    name, _, statement = rest.lstrip("%").partition(" ")
    if rest.startswith("%") and name in STATEMENT_RUNS and statement.strip():
        return statement.strip()
    return "pass"


def _value(rest: str) -> str:
    """What an assigned magic or shell command gives."""
    statement = _statement(rest)
    if statement != "pass":
        return statement
    return "[]" if rest.startswith("!") else "None"
