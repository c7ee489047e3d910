"""Answers that must score 0, made for any exercise from its reference and its visible check.

Some of them call the reference, in order to know the type and shape of what is expected, and give back nothing of
its values. They run as a student's answer does, so each is source: the whole exercise cell.
"""

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass

from autograder.curriculum import Exercise

BUG = "keeps the released bug"


@dataclass(frozen=True)
class Trivial:
    """One such answer. `name` completes "an answer that ..."; `source` is its exercise cell."""

    name: str
    source: str


def answers(exercise: Exercise) -> list[Trivial]:
    """Every trivial answer of an exercise, in a fixed order."""
    definition = next(
        node
        for node in ast.parse(exercise.solution).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == exercise.name
    )
    make = _of_function if isinstance(definition, ast.FunctionDef) else _of_class
    return [
        *(Trivial(name, source) for name, source in make(exercise, definition)),
        *_released_bug(exercise),
        *_forbidden(exercise),
    ]


def _of_function(exercise: Exercise, definition: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    head = f"def {exercise.name}({ast.unparse(definition.args)}):\n    "
    for what in ("None", "0.0", "[]"):
        yield f"returns {what}", f"{exercise.solution}\n\n{_without_annotations(head)}return {what}\n"
    yield "raises", f"{exercise.solution}\n\n{_without_annotations(head)}raise RuntimeError('no idea')\n"
    for argument in _parameters(definition):
        yield f"returns its {argument}", f"{exercise.solution}\n\n{_without_annotations(head)}return {argument}\n"
    silent = isinstance(definition.returns, ast.Constant) and definition.returns.value is None
    for value in () if silent else _CONSTANTS:  # what returns None gives its result to a callback: nothing to replace
        wrapped = f"def {exercise.name}(*args, **kwargs):\n    return _constant(_expected(*args, **kwargs), {value})\n"
        source = f"{exercise.solution}\n\n_expected = {exercise.name}\n\n{_CONSTANT}\n\n{wrapped}"
        yield f"returns {value} in the right shape", source
    hard_coded = _HARD_CODED.replace("FUNCTION", exercise.name).replace("CHECK", repr(_without_rules(exercise.check)))
    yield "knows the visible check by heart", f"{exercise.solution}\n\n{hard_coded}"


def _of_class(exercise: Exercise, definition: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Trivial methods over the reference's own `__init__`, so that an object can be made and called."""
    methods = [n for n in definition.body if isinstance(n, ast.FunctionDef) and n.name not in ("__init__", "__repr__")]
    methods = [method for method in methods if not method.decorator_list]
    head = f"{exercise.solution}\n\n{_CONSTANT}\n\nclass _Trivial({exercise.name}):\n"

    def with_bodies(body: str) -> str:
        defined = [f"    def {m.name}(self, *args, **kwargs):\n        {body.format(m.name)}\n" for m in methods]
        return f"{head}{''.join(defined) or '    pass'}\n{exercise.name} = _Trivial\n"

    yield "has nothing in it", f"class {exercise.name}:\n    pass\n"
    if methods:
        yield "returns None", with_bodies("return None")
        yield "raises", with_bodies("raise RuntimeError('no idea')")
        for value in _CONSTANTS:
            yield (
                f"returns {value} in the right shape",
                with_bodies(f"return _constant(super().{{}}(*args, **kwargs), {value})"),
            )


def _released_bug(exercise: Exercise) -> Iterator[Trivial]:
    if exercise.bug:
        yield Trivial(BUG, f"{exercise.released}\n# looked at it\n")


def _forbidden(exercise: Exercise) -> Iterator[Trivial]:
    """Right answers that use what the exercise forbids, so that nothing but the rule can stop them.

    The use is never run: the name need not exist on this machine.
    """
    own = f"_{exercise.name}"
    for name in exercise.forbids:
        package, _, last = name.rpartition(".")
        method = name.startswith(".")  # of whatever object: nothing to import
        uses = {f"calls {name}": f"arguments{name}()" if method else f"{name}()"}
        if package and not method and importlib.util.find_spec(package.split(".")[0]):
            uses[f"imports {last} from {package}"] = f"from {package} import {last}\n        {last}()"
        for what, use in uses.items():
            peer = f"def {exercise.name}(*arguments, **named):\n    if arguments is None:\n        {use}\n"
            peer += f"    return {own}(*arguments, **named)\n"
            yield Trivial(what, f"{exercise.solution}\n\n\n{own} = {exercise.name}\n\n\n{peer}")


def _without_rules(check: str) -> str:
    """A visible check that looks for no forbidden name: in code as odd as ours that takes seconds, in every child."""
    tree = ast.parse(check)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "forbids"]
    return ast.unparse(tree)


def _parameters(definition: ast.FunctionDef) -> list[str]:
    arguments = definition.args
    return [a.arg for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]]


def _without_annotations(head: str) -> str:
    """The same head with no annotation and no other name than the parameters' and their defaults'."""
    tree = ast.parse(f"{head}pass")
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
    return ast.unparse(tree).removesuffix("pass")


_CONSTANTS = ("0", "1", "float('nan')")

_CONSTANT = '''
def _constant(value, filler):
    """`value` with every number in it exchanged for `filler`; None for what holds no numbers."""
    import numpy, torch, types

    if isinstance(value, bool):
        return bool(filler)
    if isinstance(value, (int, float, complex, numpy.generic)):
        return filler
    if isinstance(value, numpy.ndarray):
        floats = value.dtype.kind in "fc" or filler == filler
        return numpy.full(value.shape, filler, dtype=value.dtype if floats else float)
    if isinstance(value, torch.Tensor):
        floats = value.is_floating_point() or filler == filler
        return torch.full(value.shape, filler, dtype=value.dtype if floats else torch.float64)
    if isinstance(value, tuple):
        return tuple(_constant(part, filler) for part in value)
    if isinstance(value, list):
        return [_constant(part, filler) for part in value]
    if isinstance(value, dict):
        return {key: _constant(part, filler) for key, part in value.items()}
    if isinstance(value, (types.GeneratorType, zip, map)):
        return (_constant(part, filler) for part in value)
    return "" if isinstance(value, str) else None
'''.strip()

_HARD_CODED = """
import contextlib, copy, io, types

import numpy, torch

_expected, _seen = FUNCTION, []


def FUNCTION(*args, **kwargs):
    came = copy.deepcopy((args, kwargs))
    result = _expected(*args, **kwargs)
    if isinstance(result, types.GeneratorType):
        result = list(result)
    _seen.append((came, copy.deepcopy(result)))
    return result


with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
    exec(CHECK, globals())


def _same(a, b):
    if isinstance(a, numpy.ndarray) and isinstance(b, numpy.ndarray):
        return numpy.array_equal(a, b)
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if callable(a) and callable(b):
        return True
    return type(a) is type(b) and a == b


def FUNCTION(*args, **kwargs):
    for came, result in _seen:
        if _same(came, (args, kwargs)):
            return copy.deepcopy(result)
    return copy.deepcopy(_seen[-1][1]) if _seen else None
""".strip()
