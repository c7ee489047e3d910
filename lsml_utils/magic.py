"""`%lsml COMMAND` in a cell: the `lsml` command line, and for `%lsml grade` the report as a page.

The grader is a program of its own; where it is not installed, the magic says so.
"""

import hashlib
import html
import shutil
import subprocess
import sys
import time
from pathlib import Path

from lsml_utils.display import in_ipython

REPORTS = Path(".lsml", "reports")  # below the folder that the modules' folders stand in: what `lsml watch` writes
BEGINS = 2.0  # seconds; a saved notebook whose page is not begun by then is not watched
ENDS = 90.0  # seconds; a page that is begun and does not change for so long is not finished any more


def register(module: str) -> None:
    """Let cells of a module's notebook use `%lsml`. Outside of IPython nothing happens.

    >>> register("01_gradient_descent")
    """
    if in_ipython():
        from IPython import get_ipython

        def lsml(line: str) -> None:
            run(line.split(), module)

        get_ipython().register_magic_function(lsml, "line", "lsml")


def run(arguments: list[str], module: str) -> None:
    """Run an `lsml` command and show what it says; `grade` alone shows the page of the notebook as it was saved."""
    if arguments == ["grade"] and (page := _page(Path.cwd() / f"{module}.ipynb")) is not None:
        from IPython.display import display

        frame = f'<iframe sandbox srcdoc="{html.escape(page)}" style="width: 100%; height: 36rem; border: 0"></iframe>'
        display({"text/html": frame}, raw=True)
        return
    command = shutil.which("lsml", path=Path(sys.executable).parent) or shutil.which("lsml")
    if command is None:
        print("the grader is not installed here: %lsml needs the course's own environment (make setup)")
        return
    with subprocess.Popen(
        [command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        for line in process.stdout:
            print(line.decode(errors="replace"), end="")


def _page(notebook: Path) -> str | None:
    """The page that `lsml watch` writes of the notebook as it is saved; None where nobody does."""
    page = notebook.parents[1] / REPORTS / f"{notebook.stem}.html"
    saved, started, before = None, time.monotonic(), ""
    while True:
        try:
            saved, text = hashlib.sha256(notebook.read_bytes()).hexdigest(), page.read_text(encoding="utf-8")
        except OSError:
            return None
        begun = f'data-notebook="{saved}"' in text
        if begun and 'data-left="0"' in text:
            return text
        if text != before:
            before, started = text, time.monotonic()
        if time.monotonic() - started > (ENDS if begun else BEGINS):
            return None
        time.sleep(0.1)
