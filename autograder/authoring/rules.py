"""What a module owes its readers and its grader, beyond what `curriculum` needs to read it."""

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from autograder import curriculum
from autograder.curriculum import Cell, Exercise, Module, Question

MAIN_EXERCISES = 8
HINTS = (2, 3)
RUBRIC_LINES = (2, 4)
# nbgrader acts on these wherever they stand; hidden tests have a file of their own.
DIRECTIVES = re.compile(
    r"BEGIN SOLUTION|END SOLUTION|BEGIN BUG|END BUG|### RUBRIC|(BEGIN|END) HIDDEN TESTS|\bAUTOTEST\b"
)


def course_problems(root: Path) -> list[str]:
    """What is wrong with the names in solutions/, one line each."""
    lines = [
        f"solutions/{path.name}: a module is a folder named NN_topic, with two digits and a lower-case topic"
        for path in sorted((root / "solutions").iterdir())
        if not path.name.startswith((".", "__")) and not (path.is_dir() and curriculum.MODULE_NAME.fullmatch(path.name))
    ]
    numbers = Counter(name[:2] for name in curriculum.names(root))
    lines += [
        f"solutions/{name}: the number {name[:2]} belongs to another module, too"
        for name in curriculum.names(root)
        if numbers[name[:2]] > 1
    ]
    return lines


def problems(module: Module) -> list[str]:
    """Every rule that the module breaks, as "file:line: what is wrong"; empty when it keeps them all."""
    shown = f"solutions/{module.name}/{module.files.notebook.name}"
    found = [problem for cell in module.cells for problem in _syntax(cell)]
    found = found or [*_size(module), *_skills(module), *_setup(module)]
    for cell in module.cells:
        if cell.role == "exercise":
            found += [*_definitions(cell), *_promise(cell, module.exercise(cell.name)), *_heading(cell, module)]
        else:
            found += _strangers(cell)
        if cell.role == "check":
            found += _check(cell, module)
        if cell.role == "written":
            found += _rubric(cell, module.question(cell.name))
    return [f"{shown}:{line}: {what}" for line, what in sorted(found)]


DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Problem = tuple[int, str]


def _size(module: Module) -> Iterator[Problem]:
    if not module.title.startswith(module.name[:2]):
        yield module.cells[0].line, f"the title begins with the module's number, as '# {module.name[:2]} ...'"
    main = [exercise.name for exercise in module.exercises if not exercise.extra and not exercise.bug]
    if len(main) > MAIN_EXERCISES:
        line = next(cell.line for cell in module.cells if cell.id == main[MAIN_EXERCISES])
        yield line, f"{len(main)} main exercises are more than {MAIN_EXERCISES}; mark what goes beyond with extra=true"
    if not module.exercises:
        yield module.cells[0].line, "a module has at least one exercise"


def _skills(module: Module) -> Iterator[Problem]:
    trained = {skill for exercise in module.exercises for skill in exercise.trains}
    for skill in module.skills:
        if skill not in trained:
            yield module.cells[0].line, f"the opening promises {skill!r}, and no exercise has it in trains=[...]"
    for cell in module.cells:
        for skill in cell.metadata.get("trains", ()):
            if skill not in module.skills:
                yield cell.line, f"{cell.name!r} trains {skill!r}, which the opening does not promise"


def _setup(module: Module) -> Iterator[Problem]:
    """`checking.start` stands once, in a setup cell, and knows the module and how many exercises it has."""
    starts = [
        (cell.line + node.lineno, node)
        for cell in module.cells
        if cell.role == "setup" and (tree := _parsed(cell.source))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "checking.start"
    ]
    wanted = f'checking.start("{module.name}", total={len(module.exercises)})'
    if not starts:
        line = next((cell.line for cell in module.cells if cell.role == "setup"), module.cells[0].line)
        yield line, f"a setup cell must call {wanted}"
    for line, node in starts[1:]:
        yield line, f"{ast.unparse(node)} is called a second time"
    for line, node in starts[:1]:
        if ast.dump(node) != ast.dump(ast.parse(wanted, mode="eval").body):
            yield line, f"{ast.unparse(node)} must be {wanted}"


def _definitions(cell: Cell) -> Iterator[Problem]:
    """The reference and the grader load exercise cells as a module, so these hold definitions and nothing else."""
    for node in ast.parse(cell.source).body:
        if not isinstance(node, DEFINITIONS):
            yield cell.line + node.lineno, f"an exercise cell holds only def and class, not '{_first_line(node)}'"


def _promise(cell: Cell, exercise: Exercise) -> Iterator[Problem]:
    """What the student is told before the first line of code: types, words, hints, rules of the game."""
    tree = ast.parse(exercise.solution)
    definition = next(node for node in tree.body if getattr(node, "name", None) == exercise.name)
    if not exercise.docstring:
        yield cell.line, f"{exercise.name!r} has no docstring"
    if isinstance(definition, ast.FunctionDef):
        given = definition.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        bare = [argument.arg for argument in arguments if argument and argument.annotation is None]
        if bare:
            yield cell.line, f"{exercise.name!r} has no type hint for {', '.join(bare)}"
        if definition.returns is None:
            yield cell.line, f"{exercise.name!r} has no type hint for what it returns"
    said = " ".join(ast.get_docstring(node) or "" for node in tree.body if isinstance(node, DEFINITIONS))
    unsaid = [name for name in exercise.forbids if name.lstrip(".") not in said]
    if unsaid:
        yield cell.line, f"{exercise.name!r} forbids {', '.join(unsaid)}, and its docstring does not say so"
    if exercise.needs and not exercise.extra:
        yield cell.line, f"{exercise.name!r} needs {exercise.needs}, so extra=true: points do not depend on the machine"
    if not HINTS[0] <= exercise.hints <= HINTS[1]:
        yield cell.line, f"{exercise.name!r} has {exercise.hints} folded hints; write two or three in a hints cell"
    released = _parsed(exercise.released)
    if released is None:
        yield cell.line, f"{exercise.name!r} as released is not valid Python; look at what stands around its markers"
    elif ast.dump(released) == ast.dump(tree):
        yield cell.line, f"{exercise.name!r} is released with its right answer"


def _heading(cell: Cell, module: Module) -> Iterator[Problem]:
    """Above each exercise a heading says how important it is, how hard and how long, as its marker does."""
    exercise = module.exercise(cell.name)
    rest = f"level {exercise.points} of 4 · {exercise.minutes} min"
    heading = rf"### {int(module.name[:2])}\.\d+ `{exercise.name}` · (essential|important|optional) · {rest}$"
    prose = [other.source for other in module.cells if other.cell_type == "markdown"]
    if not any(re.search(heading, text, re.MULTILINE) for text in prose):
        number = f"{int(module.name[:2])}.N"
        yield cell.line, f"no heading `### {number} `{exercise.name}` · essential · {rest}` (important, optional)"


def _rubric(cell: Cell, question: Question) -> Iterator[Problem]:
    """A person grades by the rubric, line by line, so its lines are few and worth the question's points together."""
    if not question.answer:
        yield cell.line, f"{question.name!r} has no model answer between its SOLUTION markers"
    if not RUBRIC_LINES[0] <= len(question.rubric) <= RUBRIC_LINES[1]:
        count = f"{len(question.rubric)} line{'' if len(question.rubric) == 1 else 's'}"
        yield cell.line, f"the rubric of {question.name!r} has {count}; write two to four below {curriculum.RUBRIC}"
        return
    if any(line.points == 0 for line in question.rubric):
        yield cell.line, f"a line of the rubric of {question.name!r} is worth nothing"
    total = math.fsum(line.points for line in question.rubric)
    if not math.isclose(total, question.points):
        yield cell.line, f"the lines of the rubric of {question.name!r} sum to {total:g}, and points={question.points}"


def _strangers(cell: Cell) -> Iterator[Problem]:
    for number, line in enumerate(cell.source.split("\n"), cell.line + 1):
        found = DIRECTIVES.search(line)
        if found and not (cell.role == "written" and ("SOLUTION" in found[0] or found[0] == curriculum.RUBRIC)):
            yield number, f"{found[0]} has no place in a cell with the role {cell.role}"


def _syntax(cell: Cell) -> Iterator[Problem]:
    if cell.cell_type == "code":
        try:
            ast.parse(_python(cell.source))
        except SyntaxError as error:
            yield cell.line + (error.lineno or 1), f"syntax error: {error.msg}"


def _check(cell: Cell, module: Module) -> Iterator[Problem]:
    """A check cell checks the exercise that its marker names, only that, and by all of its rules."""
    calls = [
        node
        for node in ast.walk(_parsed(cell.source) or ast.Module([]))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "check"
    ]
    exercise = module.exercise(cell.name)
    given = [("forbids", list(exercise.forbids)), ("needs", exercise.needs)]
    rules = "".join(f", {key}={json.dumps(value)}" for key, value in given if value)
    wanted = f'with check("{cell.name}"{rules}):'
    if not calls:
        yield cell.line, f"the check of {cell.name!r} must stand in a block `{wanted}`"
    for call in calls:
        if ast.dump(call) != ast.dump(ast.parse(f"{wanted} pass").body[0].items[0].context_expr):
            yield cell.line + call.lineno, f"{ast.unparse(call)} must be in a block `{wanted}`"


def _python(source: str) -> str:
    """A cell without IPython's magics, line for line."""
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager().transform_cell(source)


def _parsed(source: str) -> ast.Module | None:
    try:
        return ast.parse(_python(source))
    except SyntaxError:
        return None


def _first_line(node: ast.AST) -> str:
    return ast.unparse(node).split("\n")[0][:60]
