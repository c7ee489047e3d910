"""The reader's own functions of earlier modules, for the demo cells of later ones."""

import ast
import contextlib
import functools
import inspect
import io
import json
import linecache
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORK = "work"  # where `make lab` puts people's own copies
STUB = ": write your answer here"  # in what a released exercise raises
_loaded: dict[tuple, tuple[types.ModuleType, dict[str, str], dict[str, Exception]]] = {}


class _Unusable(Exception):
    """Why the reader's own answer cannot be used: one line."""


def own(module: str, name: str, instead: Callable) -> Callable:
    """The function or class `name` that the reader wrote in an earlier module, or `instead`. A line says which.

    module: the earlier module, such as "05_svm". Its notebook is looked for in the folder work/ that this notebook is
    in, and nowhere else; so nobody's code runs where work is graded. The setup cell and the exercises of that notebook
    run once, in a namespace of their own; demos and checks do not.

    instead: a peer with the same contract. It is used where there is no such notebook, where the answer is not written
    yet or its cell fails, and, after one line, for each call of a function that raises an error.

    >>> best = own("01_gradient_descent", "steepest", instead=min)
    steepest: builtins.min (there is no work/01_gradient_descent)
    >>> best([3, 1, 2])
    1
    """
    described = f"{instead.__module__}.{getattr(instead, '__qualname__', type(instead).__qualname__)}"
    peer = described.removeprefix("__main__.")
    try:
        answer = _answer(module, name)
    except _Unusable as why:
        print(f"{name}: {peer} ({why})")
        return instead
    print(f"{name}: your own, from {WORK}/{module}")
    return answer if inspect.isclass(answer) else _guarded(answer, name, instead, peer)


def _guarded(answer: Callable, name: str, instead: Callable, peer: str) -> Callable:
    said = []

    @functools.wraps(answer)
    def call(*args, **kwargs):
        try:
            return answer(*args, **kwargs)
        except Exception as error:
            if not said:
                said.append(True)
                print(f"{name}: {peer} (yours raised {_in_a_line(error)})")
        return instead(*args, **kwargs)

    return call


def _answer(module: str, name: str) -> Any:
    folder = next((path for path in (Path.cwd(), *Path.cwd().parents) if path.name == WORK), None)
    notebook = folder / module / f"{module}.ipynb" if folder else None
    if notebook is None or not notebook.is_file():
        raise _Unusable(f"there is no {WORK}/{module}")
    key = (module, str(notebook), notebook.stat().st_mtime_ns)
    if key not in _loaded:
        _loaded[key] = _load(module, notebook)
    space, written_in, failed = _loaded[key]
    if name not in written_in:
        raise _Unusable(f"{WORK}/{module} defines no {name}")
    if name in failed:
        raise _Unusable(f"its cell in {WORK}/{module} raised {_in_a_line(failed[name])}")
    if _is_stub(written_in[name], name):
        raise _Unusable(f"yours in {WORK}/{module} is not written yet")
    return getattr(space, name)


def _load(module: str, notebook: Path) -> tuple[types.ModuleType, dict[str, str], dict[str, Exception]]:
    """A namespace in which setup and exercises ran; in which source each name stands; which of them failed, and how."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        wanted = [cell for cell in cells if cell["metadata"].get("lsml", {}).get("role") in ("setup", "exercise")]
        sources = ["".join(cell["source"]) for cell in wanted]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Unusable(f"{WORK}/{module}/{notebook.name} cannot be read: {_in_a_line(error)}") from None
    space = types.ModuleType(f"own_{module}")
    sys.modules[space.__name__] = space  # what is pickled or made a dataclass looks its module up
    written_in: dict[str, str] = {}
    failed: dict[str, Exception] = {}
    for number, source in enumerate(sources):
        source, title = _plain(source), f"<{module}, cell {number}>"
        linecache.cache[title] = (len(source), None, source.splitlines(True), title)
        try:
            names = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        except SyntaxError:
            continue
        written_in |= dict.fromkeys(names, source)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(source, title, "exec"), vars(space))
        except Exception as error:
            failed |= dict.fromkeys(names, error)
    return space, written_in, failed


def _plain(source: str) -> str:
    """Without IPython's magics and shell lines, which have no place in a demo of another module."""
    kept = source.splitlines()
    if kept and kept[0].startswith("%%"):
        kept = kept[1:]
    return "\n".join("" if line.startswith(("%", "!", "?")) else line for line in kept) + "\n"


def _is_stub(source: str, name: str) -> bool:
    """Whether a function, or a method of a class, still raises what the released notebook raises there."""
    definition = next(node for node in ast.parse(source).body if getattr(node, "name", None) == name)
    raised = (node.exc for node in ast.walk(definition) if isinstance(node, ast.Raise))
    return any(isinstance(exc, ast.Call) and STUB in ast.unparse(exc) for exc in raised)


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
