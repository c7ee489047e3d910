"""A link from where a check stops the notebook to the cell that is to be written."""

import html
import os
import time
from dataclasses import dataclass
from urllib.parse import quote

from lsml_utils.display import in_ipython

# "Run All" leaves the view where it was, or at the end, far from the cell that stopped it. Not when the notebook is
# opened again later, though.
COME_HERE = """<script>(() => {{
  const here = document.currentScript?.parentElement;
  if (here && Date.now() < {until}) setTimeout(() => here.scrollIntoView({{block: "center"}}), 300);
}})();</script>"""
FRESH = 10  # seconds


@dataclass(frozen=True)
class CellLink:
    """A link to an exercise's cell, which has the exercise's name for an id. JupyterLab brings both into view."""

    exercise: str
    notebook: str

    def __repr__(self) -> str:
        return f"→ {self.exercise}"

    def _repr_html_(self) -> str:
        target = html.escape(f"{quote(self.notebook)}#cell-id={quote(self.exercise)}")
        come_here = COME_HERE.format(until=int((time.time() + FRESH) * 1000))
        return f'<a href="{target}">→ Go to {html.escape(self.exercise)}</a>{come_here}'


def show_link(exercise: str) -> None:
    """Display the link, where a Jupyter server has said which notebook this is."""
    notebook = os.path.basename(os.environ.get("JPY_SESSION_NAME", ""))
    if notebook.endswith(".ipynb") and in_ipython():
        from IPython.display import display

        display(CellLink(exercise, notebook))
