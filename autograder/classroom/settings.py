"""How nbgrader is told to grade with lsml: its own configuration points, no patching.

A class's nbgrader_config.py calls `configure`, so that a newer lsml needs no new configuration file.
"""

from pathlib import Path

from traitlets.config import Config

from autograder.authoring.preprocessors import RELEASE_STEPS
from autograder.classroom import marks

BRIDGE = "autograder.classroom.bridge"


def configure(c: Config, folder: Path) -> None:
    """Point nbgrader's converters, in this class folder, at lsml's steps."""
    c.CourseDirectory.root = str(folder)
    c.GenerateAssignment.preprocessors = RELEASE_STEPS

    # The submission is read safely and set into the released notebook; then its Report enters the gradebook.
    c.Autograde.exporter_class = f"{BRIDGE}.SubmissionExporter"
    c.Autograde.sanitize_preprocessors = [f"{BRIDGE}.Present"]
    c.Autograde.autograde_preprocessors = [f"{BRIDGE}.SaveReport", "nbgrader.preprocessors.AssignLatePenalties"]
    c.Autograde.pre_convert_hook = f"{BRIDGE}.refuse_odd_files"
    c.Autograde.post_convert_hook = f"{BRIDGE}.keep_known_files"

    c.GenerateFeedback.exporter_class = "autograder.classroom.feedback.FeedbackExporter"
    c.GenerateFeedback.preprocessors = ["autograder.classroom.feedback.ReadGrades"]

    # formgrader shows notebooks with formulas that need no MathJax, which its page would fetch from the network.
    c.HTMLExporter.filters = {"markdown2html": "autograder.classroom.formulas.markdown2html"}
    # Beside an answer in words it shows the rubric; the marks that a person types there become the score.
    c.HTMLExporter.preprocessors = ["autograder.classroom.beside.ShowRubric"]
    marks.follow()

    c.ExchangeFactory.collect = "autograder.classroom.collect.CarefulCollect"
    c.ZipCollectApp.extractor_plugin = "autograder.classroom.unpack.CarefulExtractor"
    c.ZipCollectApp.collector_plugin = "autograder.classroom.collect.PlatformCollector"
