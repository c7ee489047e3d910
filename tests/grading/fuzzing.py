"""Random texts and notebooks for the fuzz tests: the same for the same seed."""

import copy
import json
import random

PIECES = [
    "def mean_square(x):\n    return (x * x).mean()\n", "class Counter:\n    pass\n", "import a", ".a" * 20,
    "import numpy as np\n", "    ", "\t", "\n", "\n" * 30, " " * 50, "%%time\n", "%%writefile a.py\n",
    "%timeit -n1 f()", "%time ", "!ls\n", "x = !ls\n", "?", "??", ">>> ", "... ", "In [1]: ", "'''", '"""', "'", '"',
    "\\", "\\\n", "#", "(", ")", "[", "]", "{", "}", "lambda ", ":", ":=", "=", "==", "if x:\n",
    "for la in [np.linalg]:\n", "global np\n", "nonlocal x\n", "del x\n", "return\n", "await x\n", "yield\n", "@x\n",
    "with a as b:\n", "match x:\n  case {'a': b, **c}: pass\n", "try:\n", "except* E as e:\n",
    "async def f(): pass\n", "type X = int\n", "def f[T](x): pass\n", "globals()['x'] = np.linalg\n",
    "getattr(np, 'linalg')", "sys.modules['a']", "setattr(a, 'b', np.linalg)\n", "a[b][c] = d\n", "x, *y = z\n", "\0",
    "\ud800", "\u202e", "\ufeff", "é", "𝔵", "\x0c", "\r", "\r\n", "0x", "f'{", "1_0", "9" * 5000, "`", "```\n", "*",
    "**", "_", "~~", "|", "> ", "- ", "1. ", "<b>", "</b>", "<script>", "&lt;", "&#", "[a](", "![", "](http://a)",
    "$", "$$", "\\(", "\\begin{a}", "\\href{javascript:1}{x}", "<!--", "-->", "]]>",
]  # fmt: skip
VALUES = [None, True, 0, -1, 1e308, "", "x", [], {}, [[]], {"a": {"b": []}}, "mean_square", "exercise", ["exercise"]]


def text(rng: random.Random, most: int = 12) -> str:
    """A random string of syntax, magics, markup and odd characters."""
    return "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, most)))


def notebook(rng: random.Random, whole: dict) -> bytes:
    """A notebook's file after some accidents."""
    values = copy.deepcopy(whole)
    for _ in range(rng.randrange(1, 6)):
        cells = values.get("cells")
        if not isinstance(cells, list) or not cells:
            break
        place, cell = rng.randrange(len(cells)), rng.choice(cells)
        match rng.randrange(10):
            case 0 if isinstance(cell, dict):
                cell["source"] = text(rng)
            case 1 if isinstance(cell, dict):
                source = cell.get("source")
                lines = source.split("\n") if isinstance(source, str) else ["x"]
                cut = rng.randrange(len(lines) + 1)
                cell["source"] = "\n".join([*lines[:cut], text(rng, 3), *lines[cut:]])
            case 2:
                cells.insert(place, copy.deepcopy(cell))
            case 3:
                del cells[place]
            case 4:
                rng.shuffle(cells)
            case 5 if isinstance(cell, dict):
                cell[rng.choice(["cell_type", "metadata", "source", "id", "outputs", "input"])] = copy.deepcopy(
                    rng.choice(VALUES)
                )
            case 6 if isinstance(cell, dict) and isinstance(cell.get("metadata"), dict):
                cell["metadata"][rng.choice(["lsml", "nbgrader", "x"])] = copy.deepcopy(rng.choice(VALUES))
            case 7 if isinstance(cell, dict) and isinstance(cell.get("source"), str):
                cut = rng.randrange(len(cell["source"]) + 1)
                first, rest = {**cell, "source": cell["source"][:cut]}, {**cell, "source": cell["source"][cut:]}
                cells[place : place + 1] = [first, rest]
            case 8:
                values[rng.choice(["cells", "metadata", "nbformat", "worksheets"])] = copy.deepcopy(rng.choice(VALUES))
            case 9:
                cells[place] = {"cell_type": rng.choice(["code", "markdown", "raw"]), "source": text(rng)}
    content = bytearray(json.dumps(values).encode("utf-8", "surrogatepass"))
    for _ in range(rng.choice([0, 0, 0, 1, 3])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content[: rng.randrange(len(content))]) if rng.random() < 0.05 else bytes(content)
