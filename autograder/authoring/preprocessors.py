"""The step of nbgrader's release that this course does its own way, and the list of all steps.

`c.GenerateAssignment.preprocessors = RELEASE_STEPS` in a class folder's configuration makes
`nbgrader generate_assignment` release the same notebook as `lsml build`.
"""

from nbgrader.converters import GenerateAssignment
from nbgrader.preprocessors import ClearSolutions

from autograder import curriculum


class ClearExercises(ClearSolutions):
    """Clear solutions as nbgrader does, with a stub that names its exercise; swap the bug into a find-the-bug cell."""

    def preprocess_cell(self, cell, resources, cell_index):
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if cell.cell_type == "code" and "### BEGIN BUG" in cell.source:
            cell.source = curriculum.released_source(cell.source, name)
            return cell, resources
        self.code_stub = {"python": curriculum.stub(name)}
        return super().preprocess_cell(cell, resources, cell_index)


RELEASE_STEPS = [
    ClearExercises if step is ClearSolutions else step
    for step in GenerateAssignment.class_traits()["preprocessors"].default()
]
