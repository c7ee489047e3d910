"""An authored module as notebooks: the instructor's source, the released one, and one with every answer filled in."""

import logging

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from autograder import curriculum
from autograder.curriculum import Cell, Module

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def source_notebook(module: Module) -> NotebookNode:
    """The instructor's notebook, solutions and markers included, with the metadata that nbgrader releases from."""
    notebook = new_notebook(cells=[_notebook_cell(cell, module) for cell in module.cells])
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": {"name": "python"}, "lsml": {"module": module.name}}
    )
    notebook.nbformat_minor = 5
    nbformat.validate(notebook)
    return notebook


def released_notebook(module: Module) -> NotebookNode:
    """What a student receives: `source_notebook` after the steps of nbgrader's generate_assignment.

    The one step left out writes the assignment into a gradebook; it does not touch the notebook.
    """
    # Two seconds of import, and only building needs it.
    from nbgrader.preprocessors import SaveCells

    from autograder.authoring.preprocessors import RELEASE_STEPS

    notebook, resources = source_notebook(module), {}
    for step in RELEASE_STEPS:
        if step is not SaveCells:
            notebook, resources = step(log=logging.getLogger("lsml.release")).preprocess(notebook, resources)
    nbformat.validate(notebook)
    return notebook


def solved_notebook(module: Module) -> NotebookNode:
    """The released notebook as a student with every answer right would hand it in."""
    notebook = released_notebook(module)
    for cell, authored in zip(notebook.cells, module.cells, strict=True):
        if authored.role in ("exercise", "written"):
            cell.source = curriculum.solved_source(authored.source)
    return notebook


def _notebook_cell(cell: Cell, module: Module) -> NotebookNode:
    new_cell = new_code_cell if cell.cell_type == "code" else new_markdown_cell
    # An unnamed cell goes by its id, so that metadata and id can each stand in for the other.
    metadata = {"lsml": {"role": cell.role, "name": cell.name or cell.id}}
    if cell.metadata.get("tags"):
        metadata["tags"] = cell.metadata["tags"]
    if cell.role == "check":
        metadata["jupyter"] = {"source_hidden": True}  # what a check says stands below the exercise, not below its code
    if nbgrader := _nbgrader(cell, module):
        metadata["nbgrader"] = {"schema_version": 3, "grade_id": cell.id, "task": False, **nbgrader}
    return new_cell(source=cell.source, id=cell.id, metadata=metadata)


def _nbgrader(cell: Cell, module: Module) -> dict | None:
    """What nbgrader must know of a cell; None where it may ignore it."""
    if cell.role == "setup":
        return {"grade": False, "solution": False, "locked": True}
    if cell.role == "exercise":
        return {"grade": False, "solution": True, "locked": False}
    if cell.role == "check":
        exercise = module.exercise(cell.name)
        points = 0 if exercise.extra else exercise.points  # an extra exercise is listed, and counts for nothing
        return {"grade": True, "solution": False, "locked": True, "points": points}
    if cell.role == "written":
        return {"grade": True, "solution": True, "locked": False, "points": cell.metadata["points"]}
    return None
