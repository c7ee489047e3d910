"""Mutants made by wrapping a whole function: each violation goes to the functions whose contract forbids it.

What a contract says is read from the annotations and the docstring, in the words of docs/writing_style.md.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from autograder.proving import violations

# Behind a cell: a decorator in a function of its own, so that no name meets one of the cell's.
_BEHIND = """

def _violate(function, *arguments):
SOURCE
    return VIOLATION(function, *arguments)


NAME = _violate(GIVEN)
"""


@cache
def _source(violation: str) -> str:
    """A decorator of `violations` with the imports and the helpers that it uses, and no more."""
    tree = ast.parse(inspect.getsource(violations))
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    wanted, waiting = set(), {violation}
    while waiting:
        wanted |= waiting
        used = {n.id for name in waiting for n in ast.walk(defined[name]) if isinstance(n, ast.Name)}
        waiting = (used & defined.keys()) - wanted
    kept = [node for node in tree.body if isinstance(node, ast.Import) or getattr(node, "name", "") in wanted]
    return textwrap.indent("\n\n".join(map(ast.unparse, kept)), "    ")


class _Expression(str):
    """An expression in x, which stands in a cell as a lambda."""

    def __repr__(self) -> str:
        return f"lambda x: {self}"


@dataclass(frozen=True)
class Contract:
    """What is known of a function. `name`: as it is called ("f", "Class.method"); annotations are source text."""

    name: str
    line: int
    docstring: str
    annotations: dict[str, str]
    defaults: dict[str, str]
    returns: str

    def __bool__(self) -> bool:
        return bool(self.docstring)

    def of(self, *kinds: str) -> list[tuple[str]]:
        """The parameters whose annotation begins with one of these."""
        return [(name,) for name, text in self.annotations.items() if text.startswith(kinds)]

    def arrays(self) -> list[tuple[str]]:
        """The parameters that are arrays, or hold some."""
        return [
            (name,) for name, text in self.annotations.items() if is_array(text) and not text.startswith("Callable")
        ]

    def floats(self) -> list[tuple[str]]:
        """The array parameters that may hold numbers of any size."""
        return [(name,) for (name,) in self.arrays() if not _sentence_says(self, name, _SMALL_NUMBERS)]

    def matrices(self) -> bool:
        """Whether an array may have two axes."""
        shaped = any(self.says(rf"\b{name}\b[\w, ]*: [^.]*?\(\w+, [\w.]+\)") for (name,) in self.arrays())
        return bool(self.arrays()) and (shaped or self.says("any shape(?! but)|dimension"))

    def callbacks(self, *, get: bool = False, give: bool = False) -> list[tuple[str]]:
        """The parameters that are functions; only those that get, or that give, arrays."""
        found = [(name, self.annotations[name].rpartition("], ")) for (name,) in self.of("Callable")]
        return [
            (name,)
            for name, (arguments, _, result) in found
            if (is_array(arguments) or not get) and (is_array(result) or not give)
        ]

    def says(self, pattern: str) -> bool:
        return bool(re.search(pattern, self.docstring))


def is_array(annotation: str) -> bool:
    return any(word in annotation for word in ("ndarray", "Tensor", "Array"))


def contracts(tree: ast.Module) -> Iterator[Contract]:
    """Those of a cell's public functions and methods."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield _contract(node, node.name, "")
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not method.decorator_list:
                    yield _contract(method, f"{node.name}.{method.name}", ast.get_docstring(node) or "")


def _contract(node: ast.FunctionDef, name: str, docstring: str) -> Contract:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    positional = [*node.args.posonlyargs, *node.args.args]
    defaults = dict(zip([a.arg for a in reversed(positional)], reversed(node.args.defaults), strict=False))
    defaults |= {a.arg: d for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if d is not None}
    return Contract(
        name,
        node.lineno,
        re.sub(r"\s+", " ", f"{docstring}\n{ast.get_docstring(node) or ''}").strip(),
        {a.arg: ast.unparse(a.annotation) for a in arguments if a.annotation is not None},
        {key: ast.unparse(value) for key, value in defaults.items()},
        ast.unparse(node.returns) if node.returns else "",
    )


@dataclass(frozen=True)
class Violation:
    """A decorator of `violations`, and whose contract it breaks.

    `says`: what the function does then, with {0}, {1} for the decorator's arguments; `over`: those arguments, once for
    each mutant; `breaks`: what the docstring must say for this to be wrong, `unless`: what makes it right.
    """

    name: str
    says: str
    over: Callable[[Contract], list[tuple]]
    breaks: str = ""
    unless: str = ""


def _once(applies: Callable[[Contract], object]) -> Callable[[Contract], list[tuple]]:
    return lambda contract: [()] if applies(contract) else []


def _returns(*words: str) -> Callable[[Contract], list[tuple]]:
    return _once(lambda c: any(word in re.sub(r"list\[float\]", "", c.returns) for word in words))


_RETURNS_ARRAYS = _once(lambda c: is_array(c.returns))
_TAKES_ARRAYS = _once(Contract.arrays)
_TAKES_ONLY_DATA = _once(lambda c: c.arrays() and not c.of("Callable", "Iterable", "Iterator"))
LEFT_ALONE = r"[Ll]eaves|modif|[Dd]o not change"
_INTEGERS = r"1-D integer arrays|arrays of integers|\), integers|\), int64"  # are returned
_SMALL = r"O\([^)]*\)( time and)? memory|no array of shape|no \([md], [md]\)|does not fit|Memory for a few"
_AS_IT_CAME = r"in the dtype of|and dtype\b|[Ii]ts dtype is|theta is float32"
_SMALL_NUMBERS = r"\) integers|integers (from|of any kind)|counts|0 or 1|from 0 to 1"
_BOUNDED = r"<=? 1\b|(to|and) 1\b"
_AXES, _SEEDS, _THRESHOLDS = ("axis", "dim"), ("seed", "epoch"), ("tol", "c")


def _limits(contract: Contract) -> list[tuple]:
    """Sizes at which numbers are cut off: a large one, that of logits, and one near what the docstring states."""
    stated = max((int(exponent) for exponent in re.findall(r"1e(\d+)", contract.docstring)), default=0)
    limits = [30.0] * contract.says(r"logits|exp\(") + [1e6] + [float(f"1e{stated * 9 // 10}")] * (stated > 6)
    return [(limit,) for limit in limits if contract.floats()]


def _through(*expressions: str, kind: str, names: tuple = (), but: tuple = (), unless: str = "", stated: str = ""):
    """An expression in place of each parameter of a kind: of these names only, or of all but some.

    Left out where the sentence on it says `unless`, or does not say `stated`.
    """

    def over(contract: Contract) -> list[tuple]:
        found = [name for (name,) in contract.of(kind) if name not in but and (not names or name in names)]
        return [
            (name, _Expression(expression))
            for name in found
            if not (unless and _sentence_says(contract, name, unless)) and _sentence_says(contract, name, stated)
            for expression in expressions
        ]

    return over


def _sentence_says(contract: Contract, name: str, pattern: str) -> bool:
    return any(
        re.search(rf"\b{name}\b", sentence) and re.search(pattern.replace("NAME", name), sentence)
        for sentence in re.split(r"[.;] ", contract.docstring)
    )


def _defaults(contract: Contract) -> list[tuple]:
    scalars = {name for (name,) in contract.of("int", "float", "str", "bool")}
    return [(name, _Expression(default)) for name, default in contract.defaults.items() if name in scalars]


def _without_default(contract: Contract) -> list[tuple]:
    return [(name,) for (name,) in contract.of("int", "float", "str", "bool") if name not in contract.defaults]


def _refused(condition: str, applies: Callable = Contract.arrays) -> Callable[[Contract], list[tuple]]:
    return lambda contract: [(_Expression(condition),)] if applies(contract) else []


def _paths(contract: Contract) -> list[tuple]:
    return [(name,) for (name,) in contract.of("str", "Path") if name in ("path", "file")]


TABLE = (
    # What is returned.
    Violation("results_in_one_buffer", "the next call writes over the arrays that this one returned", _RETURNS_ARRAYS),
    Violation(
        "results_in_two_buffers",
        "the call after the next writes over the arrays that this one returned",
        _RETURNS_ARRAYS,
    ),
    Violation("remembered_by_shape", "the first result is returned for all arguments of its shapes", _TAKES_ONLY_DATA),
    Violation("remembered_by_object", "a result is kept for an array that may have changed since", _TAKES_ONLY_DATA),
    Violation(
        "returns_an_argument",
        "an argument that equals the result is returned itself",
        _once(lambda c: is_array(c.returns) and c.arrays()),
        breaks=r"(?=.*\bnew\b).*(that shape|those of the other|steps: [^.;]*>= 0)",
    ),
    Violation(
        "rounded_to_float32",
        "what is returned is rounded to float32",
        _returns("float", "ndarray", "Tensor"),
        unless=_INTEGERS,
    ),
    Violation(
        "always_float64",
        "float64 is returned",
        _RETURNS_ARRAYS,
        breaks=_AS_IT_CAME,
    ),
    Violation(
        "float32_as_it_came",
        "float32 is returned where float32 came",
        _once(lambda c: is_array(c.returns) and c.arrays()),
        breaks="whatever the dtype|where X is float32|of any dtype",
        unless=rf"may be float32|float32 it may|{_AS_IT_CAME}|{_INTEGERS}",
    ),
    Violation(
        "always_float32", "float32 is returned", _RETURNS_ARRAYS, breaks="float64|and dtype|the dtype", unless=_INTEGERS
    ),
    Violation(
        "integers_as_floats",
        "whole numbers are returned as floats",
        _RETURNS_ARRAYS,
        breaks=_INTEGERS,
    ),
    Violation("arrays_as_lists", "lists are returned in place of arrays", _RETURNS_ARRAYS),
    Violation(
        "numbers_as_arrays", "a 0-d array is returned in place of a number", _returns("float", "int"), unless="0-d"
    ),
    Violation(
        "ints_as_numpy_scalars",
        "np.int64 is returned in place of a Python int",
        _returns("int"),
        breaks=r"Returns.*Python int",
        unless="NumPy scalar",
    ),
    Violation(
        "infinity_made_finite",
        "a finite number is returned in place of inf or nan",
        _once(lambda c: c.returns),
        breaks=r"gives? -inf|[Rr]eturns infinity|end in inf|log-probability is -inf",
    ),
    Violation(
        "at_least_tiny",
        "1e-12 is returned where a number is less, 0 included",
        _returns("float", "ndarray", "Tensor"),
        breaks="exactly 0|keeps its digits|no entry negative",
    ),
    Violation(
        "tiny_made_zero",
        "0 is returned where a number is below 1e-12 in size",
        _returns("float", "ndarray", "Tensor"),
        breaks="keeps its digits",
    ),
    Violation("overflows", "NumPy warns of an overflow", _TAKES_ARRAYS, breaks="[Nn]o overflow|no nan"),
    Violation(
        "collected",
        "a list of all is made before the first",
        _once(lambda c: c.returns.startswith("Iterator")),
        breaks="one by one|memory",
    ),
    # What is done to the arguments.
    Violation("writes_to", "{0} is zeros after the call", Contract.arrays, breaks=LEFT_ALONE),
    Violation(
        "writes_before_it_raises",
        "the arguments are zeros after an error",
        _TAKES_ARRAYS,
        breaks=f"Raises.*({LEFT_ALONE})|({LEFT_ALONE}).*Raises",
    ),
    # What of the arguments is not understood.
    Violation("cut_off", "numbers beyond {0:g} in size are cut off", _limits),
    Violation("first_rows", "only the first {0} rows are looked at", lambda c: [(1000,)] if c.arrays() else []),
    Violation("tiny_as_zero", "numbers below 1e-6 in size count as 0", _once(Contract.floats)),
    Violation("minus_infinity_as_finite", "-inf counts as -1e30", _TAKES_ARRAYS, breaks="finite or -inf"),
    Violation(
        "integers_by_float32",
        "arrays of integers are made float32 first",
        _TAKES_ARRAYS,
        breaks="integers of any dtype|[Nn]umbers of any kind",
    ),
    Violation(
        "integers_by_int32",
        "arrays of int64 are made int32 first",
        _TAKES_ARRAYS,
        breaks="integers of any dtype|int64 beyond",
    ),
    Violation("read_in_memory_order", "an array is read in the order of its memory", _once(Contract.matrices)),
    Violation("at_least_one_axis", "a 0-d array gets an axis", _TAKES_ARRAYS, breaks="any shape(?! (with|but))"),
    Violation(
        "refused",
        "more than two axes are refused ({0})",
        _refused("x.ndim > 2"),
        breaks=r"any shape(?! but)|dimension or more|\.\.\.\)",
    ),
    Violation(
        "refused",
        "an empty array is refused ({0})",
        _refused("0 in x.shape"),
        breaks="may be 0|m(_c)? >= 0|may be empty|has no rows|hold no row",
    ),
    Violation(
        "refused", "a single row is refused ({0})", _refused("x.ndim and x.shape[0] == 1"), breaks=r"\bm(_c)? >= [01]"
    ),
    Violation(
        "refused",
        "a single column is refused ({0})",
        _refused("x.ndim > 1 and x.shape[-1] == 1", Contract.matrices),
        breaks=r"\b[dCV] >= 1",
    ),
    Violation("refused", "a view is refused ({0})", _refused("hasattr(x, 'flags') and not x.flags.c_contiguous")),
    Violation(
        "refused",
        "a read-only array is refused ({0})",
        _refused("hasattr(x, 'flags') and not x.flags.writeable"),
        breaks=f"read-only|{LEFT_ALONE}",
    ),
    Violation(
        "refused",
        "integers of 8 bits are refused ({0})",
        _refused("str(x.dtype).endswith('int8')"),
        breaks="integers|of any kind",
    ),
    Violation("refused", "bools are refused ({0})", _refused("x.dtype == bool"), breaks=r"\bbool\b"),
    Violation("argument_through", "{0} is always {1}", _defaults),
    Violation("stays_as_first", "{0} stays as it was in the first call", _without_default),
    Violation("argument_through", "{0} becomes {1}", _through("min(x, 100)", kind="int", but=_AXES + _SEEDS)),
    Violation(
        "argument_through", "{0} becomes {1}", _through("max(x, 1)", kind="int", but=_AXES, stated=r"\bNAME\b[^<]*>= 0")
    ),
    Violation("argument_through", "{0} becomes {1}", _through("min(x, 10.0)", kind="float", unless=_BOUNDED)),
    Violation(
        "argument_through", "{0} becomes {1}", _through("x if x <= 0 else max(x, 1e-6)", kind="float", unless=_BOUNDED)
    ),
    Violation("argument_through", "{0} becomes {1}", _through("float(np.float32(x))", kind="float", but=_THRESHOLDS)),
    Violation("argument_through", "{0} becomes {1}", _through("abs(x)", kind="int", names=_AXES)),
    Violation(
        "argument_through",
        "{0} becomes {1}",
        _through("x.strip().lower()", kind="str", but=("path", "file")),
        breaks=r"(other|another) [\w ]*raise|Raises ValueError (for|where|if)[^.]*(other|another)",
    ),
    Violation("first_items", "only the first 200 items of {0} are used", lambda c: c.of("Iterable")),
    Violation("argument_through", "{0} becomes {1}", _through("x % 1000", kind="int", names=_SEEDS)),
    Violation(
        "argument_through", "{0} becomes {1}", _through("x % 2**32", kind="int", names=_SEEDS, unless=r"2(\^|\*\*)3")
    ),
    Violation(
        "seed_counts_calls", "{0} is one larger in each call", lambda c: [(n,) for (n,) in c.of("int") if n == "seed"]
    ),
    Violation(
        "seeds_numpy",
        "NumPy's global random state is set to {0}",
        lambda c: [(n,) for (n,) in c.of("int") if n == "seed"],
        breaks="global random state",
    ),
    Violation(
        "raises_another_error",
        "RuntimeError is raised in place of ValueError",
        _once(lambda c: not c.returns.startswith("Iterator")),
        breaks="ValueError",
    ),
    # What it costs.
    Violation(
        "square_array",
        "an (n, n) array is made, with n the longest axis",
        _TAKES_ARRAYS,
        breaks=_SMALL,
    ),
    Violation("copies_its_arguments", "the arguments are copied", _TAKES_ARRAYS, breaks=r"O\(m \+ d\) memory"),
    Violation(
        "square_time",
        "O(n^2) operations are made, with n the longest axis",
        _TAKES_ARRAYS,
        breaks=r"O\(m( log m| \+ bins)?\) time|under a second",
    ),
    Violation(
        "lists_first",
        "{0} is made a list first",
        lambda c: c.of("Iterable"),
        breaks="at a time|memory|reuse the buffer",
    ),
    Violation(
        "goes_through_twice",
        "{0} is gone through twice where it can be",
        lambda c: c.of("Iterable"),
        breaks=r"(?<!be )gone through once|[Gg]o through it once",
    ),
    Violation("reads_all_first", "{0} is read into memory first", _paths, breaks="memory"),
    Violation("reads_twice", "{0} is read twice", _paths, breaks="once"),
    # How a callback is treated.
    Violation("calls_once_more", "{0} is called once more", lambda c: c.of("Callable"), breaks="once|never again"),
    Violation(
        "writes_to_what_it_returned",
        "what {0} returned is zeros after its next call",
        lambda c: c.callbacks(give=True),
        breaks=r"nor what \w+ returns may be modified|not (to )?be modified",
    ),
    Violation(
        "passes_lists", "{0} gets lists in place of arrays", lambda c: c.callbacks(get=True), breaks="array|shape"
    ),
)


def broken(tree: ast.Module) -> Iterator[tuple[Violation, int, str, str]]:
    """(violation, line of the function, what it does then, what goes behind the cell): all that contracts forbid."""
    for contract in filter(None, contracts(tree)):
        for violation in TABLE:
            if not contract.says(violation.breaks) or (violation.unless and contract.says(violation.unless)):
                continue
            for arguments in violation.over(contract):
                given = ", ".join([contract.name, *map(repr, arguments)])
                behind = _BEHIND.replace("NAME", contract.name).replace("GIVEN", given)
                behind = behind.replace("VIOLATION", violation.name).replace("SOURCE", _source(violation.name))
                yield violation, contract.line, f"{contract.name}: {violation.says.format(*arguments)}", behind
