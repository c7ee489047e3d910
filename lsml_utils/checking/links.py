"""A link from where a check stops the notebook to the cell that is to be written."""

import html
import os
from dataclasses import dataclass
from urllib.parse import quote

from lsml_utils.display import in_ipython


@dataclass(frozen=True)
class CellLink:
    """A link to an exercise's cell, which has the exercise's name for an id. JupyterLab scrolls there."""

    exercise: str
    notebook: str

    def __repr__(self) -> str:
        return f"→ {self.exercise}"

    def _repr_html_(self) -> str:
        target = html.escape(f"{quote(self.notebook)}#cell-id={quote(self.exercise)}")
        return f'<a href="{target}">→ Go to {html.escape(self.exercise)}</a>'


def show_link(exercise: str) -> None:
    """Display the link, where a Jupyter server has said which notebook this is."""
    notebook = os.path.basename(os.environ.get("JPY_SESSION_NAME", ""))
    if notebook.endswith(".ipynb") and in_ipython():
        from IPython.display import display

        display(CellLink(exercise, notebook))
