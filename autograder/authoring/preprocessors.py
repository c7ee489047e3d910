"""The step of nbgrader's release that this course does its own way, and the list of all steps.

`c.GenerateAssignment.preprocessors = RELEASE_STEPS` in a class folder's configuration makes
`nbgrader generate_assignment` release the same notebook as `lsml build`.
"""

from nbgrader.converters import GenerateAssignment
from nbgrader.preprocessors import ClearSolutions

from autograder import curriculum


class ClearExercises(ClearSolutions):
    """Clear solutions as nbgrader does, with stubs that name their functions; swap the bug into a find-the-bug cell."""

    def preprocess_cell(self, cell, resources, cell_index):
        own = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and own.get("solution"):
            cell.source = curriculum.released_source(cell.source, own["grade_id"])
            return cell, resources
        return super().preprocess_cell(cell, resources, cell_index)


RELEASE_STEPS = [
    ClearExercises if step is ClearSolutions else step
    for step in GenerateAssignment.class_traits()["preprocessors"].default()
]
