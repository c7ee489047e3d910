"""What Sphinx reads: a notebook for each module, and pages that lead to them."""

import hashlib
import json
import re
import shutil
from binascii import a2b_base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import nbformat
from jinja2 import Environment, PackageLoader, StrictUndefined

from autograder.authoring.release import released_notebook
from autograder.book.outputs import Outputs
from autograder.curriculum import Exercise, Module
from autograder.desk import layout

TEMPLATES = Path(__file__).parent / "templates"
FOLDED = {"setup": "Show the imports", "check": "Show the check", "demo": "Show the code"}
PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
LEGEND = re.compile(r"^\| symbol \|.*\n\|[-| ]+\|\n(?P<rows>(?:\|.*\n?)+)", re.MULTILINE)


@dataclass(frozen=True)
class Symbol:
    """A row of a module's legend, found by one of the symbols that it explains."""

    symbol: str  # TeX
    cells: tuple[str, ...]  # the row: symbol, in code, shape, meaning
    module: Module


def write(modules: Sequence[Module], outputs: dict[str, Outputs], target: Path) -> None:
    """Write Sphinx's source folder. `outputs`: by module, what its demo cells show."""
    (target / "modules").mkdir(parents=True)
    (target / "skills").mkdir()
    (target / "_static").mkdir()
    for module in modules:
        notebook = page(module, outputs[module.name])
        (target / "modules" / f"{module.name}.ipynb").write_text(nbformat.writes(notebook), encoding="utf-8")
    (target / "figures.json").write_text(json.dumps(_figures(outputs), indent=1), encoding="utf-8")
    environment = Environment(
        loader=PackageLoader("autograder.book"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(text=text, slug=slug, first_line=first_line, promise=promise, capitalise=capitalise)
    environment.globals.update(exercise=exercise_label, legend=legend_label)
    trained = skills(modules)
    drawing = layout.drawing(modules)
    shared = {"modules": modules, "skills": trained, "map": drawing, "algorithms": algorithms(modules)}
    shared["symbols"] = symbols(modules)
    for name in ("index", "modules", "algorithms", "symbols", "skills"):
        text_of_page = environment.get_template(f"{name}.md.j2").render(shared)
        (target / f"{name}.md").write_text(text_of_page, encoding="utf-8")
    titles = {module.name[:2]: module.title for module in modules}
    for skill, by in trained.items():
        text_of_page = environment.get_template("skill.md.j2").render(skill=skill, modules=by, titles=titles)
        (target / "skills" / f"{slug(skill)}.md").write_text(text_of_page, encoding="utf-8")
    shutil.copy(TEMPLATES / "conf.py", target)
    shutil.copy(TEMPLATES / "book.css", target / "_static")
    # One file that needs no other, no font and no network.
    [mathjax] = find_spec("sphinx-mathjax-offline").submodule_search_locations
    shutil.copy(Path(mathjax) / "static" / "mathjax" / "tex-svg.js", target / "_static")


def page(module: Module, outputs: Outputs) -> nbformat.NotebookNode:
    """The released notebook with the outputs of its demo cells, folded and labelled for the site."""
    notebook = released_notebook(module)
    for cell in notebook.cells:
        role = cell.metadata.lsml.role
        if cell.cell_type == "markdown":
            cell.source = _labelled(cell.source, module)
        else:
            cell.outputs = [nbformat.from_dict(output) for output in outputs.get(cell.id, ())]
        cell.metadata = nbformat.NotebookNode()
        if role in FOLDED:
            cell.metadata.tags = ["hide-input"]
            cell.metadata.mystnb = {"code_prompt_show": FOLDED[role], "code_prompt_hide": FOLDED[role]}
    return notebook


def _figures(outputs: dict[str, Outputs]) -> dict[str, str]:
    """The text of each figure, by the SHA-256 of its bytes."""
    shown = [output for of_module in outputs.values() for cell in of_module.values() for output in cell]
    figures = [output for output in shown if "image/png" in output.get("data", {})]
    return {
        hashlib.sha256(a2b_base64(one["data"]["image/png"])).hexdigest(): one["metadata"]["image/png"]["alt"]
        for one in figures
    }


def _labelled(source: str, module: Module) -> str:
    """Prose in which the legend and the heading of each exercise can be linked to."""
    for exercise in module.exercises:
        heading = re.compile(rf"^(?=#+ [\d.]+ `{exercise.name}`)", re.MULTILINE)
        source = heading.sub(f"\n({exercise_label(module, exercise)})=\n", source)
    return LEGEND.sub(lambda found: f"\n({legend_label(module)})=\n{found[0]}", source)


def exercise_label(module: Module, exercise: Exercise) -> str:
    """Where links to an exercise lead."""
    return f"exercise-{module.name[:2]}-{exercise.name.replace('_', '-')}"


def legend_label(module: Module) -> str:
    """Where links to the legend of a module lead."""
    return f"legend-{module.name[:2]}"


def algorithms(modules: Sequence[Module]) -> list[tuple[Module, Exercise]]:
    """Every exercise of the course, by name."""
    found = [(module, exercise) for module in modules for exercise in module.exercises]
    return sorted(found, key=lambda pair: (pair[1].name.lower(), pair[0].name))


def skills(modules: Sequence[Module]) -> dict[str, list[Module]]:
    """Each skill that an opening names, and the modules that train it."""
    found: dict[str, list[Module]] = {}
    for module in modules:
        for skill in module.skills:
            found.setdefault(skill, []).append(module)
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def symbols(modules: Sequence[Module]) -> dict[str, list[Symbol]]:
    """Each symbol of the legends, with the rows that explain it, in the order of letters."""
    found: dict[str, list[Symbol]] = {}
    for module in modules:
        prose = "\n\n".join(cell.source for cell in module.cells if cell.role == "prose")
        for legend in LEGEND.finditer(prose):
            for line in legend["rows"].strip().split("\n"):
                cells = tuple(part.strip() for part in re.split(r"(?<!\\)\|", line.strip().strip("|")))
                for tex in re.findall(r"\$([^$]+)\$", cells[0]):
                    symbol = tex.partition("=")[0].strip()
                    found.setdefault(symbol, []).append(Symbol(symbol, cells, module))
    return dict(sorted(found.items(), key=lambda item: (_spelled(item[0]), item[0])))


def _spelled(tex: str) -> str:
    """What a symbol is looked up under: `\\mathcal B` beside `b`, `\\theta_*` beside `theta`."""
    plain = re.sub(r"\\(mathcal|bar|tilde|hat|nabla|text|operatorname)\b|[^A-Za-z ]", " ", tex)
    return " ".join(plain.lower().split()) or "~"


def slug(skill: str) -> str:
    """The name of a skill's page."""
    return re.sub(r"[^a-z0-9]+", "-", skill.lower()).strip("-")


def capitalise(skill: str) -> str:
    """With a capital, and the rest as it is: "The EM algorithm"."""
    return skill[:1].upper() + skill[1:]


def text(plain: str) -> str:
    """Text in which Markdown finds nothing to set but code between backticks."""
    parts = re.split(r"(`[^`]+`)", plain)
    return "".join(
        part.replace("|", r"\|") if i % 2 else PUNCTUATION.sub(r"\\\1", part) for i, part in enumerate(parts)
    )


def first_line(exercise: Exercise) -> str:
    """What an exercise computes, in the first line of its docstring."""
    return exercise.docstring.partition("\n")[0]


def promise(module: Module) -> str:
    """What a module is about: its first paragraph, Markdown."""
    return next(part for part in module.cells[0].source.split("\n\n") if not part.startswith("#"))
