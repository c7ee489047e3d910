"""From solutions/ to a folder of HTML: run what changed, write Sphinx's sources, let Sphinx make the pages."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from autograder import curriculum
from autograder.authoring.rules import problems
from autograder.book import outputs, sources
from autograder.errors import UserError

NEEDED = ("sphinx", "myst_nb", "pydata_sphinx_theme", "sphinx-mathjax-offline")


def build(names: list[str], root: Path = curriculum.ROOT, say: Callable[[str], None] = print) -> Path:
    """Make the site of these modules in build/book/html; its first page. UserError, and then the old site stays."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UserError(f"the book needs {', '.join(missing)}; run `make setup`, or `pip install -e .[book]`")
    if not names:
        raise UserError("solutions/ holds no module to make a book of")
    modules = [curriculum.load(name, root) for name in names]
    if found := [problem for module in modules for problem in problems(module)]:
        raise UserError("\n".join(found))
    folder = root / "build" / "book"
    shown = {module.name: _outputs(module, folder / "outputs", say) for module in modules}
    say("writing the pages")
    source, made, site, old = folder / "source", folder / "new", folder / "html", folder / "old"
    for rest in (source, made):
        shutil.rmtree(rest, ignore_errors=True)
    sources.write(modules, shown, source)
    _sphinx(source, made)
    swap(site, made, old)
    return site / "index.html"


def swap(site: Path, made: Path, old: Path) -> None:
    """Put what was made into the site's place: whole, or not at all."""
    try:
        if site.exists():  # else a build was cut off here, and `old` is all there is
            shutil.rmtree(old, ignore_errors=True)
            site.rename(old)
        try:
            made.rename(site)
        except OSError:
            if old.exists():
                old.rename(site)
            raise
    except OSError as error:
        raise UserError(f"the new pages stay in {made}, for {site} cannot be replaced: {error.strerror}") from None
    shutil.rmtree(old, ignore_errors=True)


def _outputs(module: curriculum.Module, folder: Path, say: Callable[[str], None]) -> outputs.Outputs:
    if (found := outputs.kept(module, folder)) is not None:
        say(f"{module.name}  as before")
        return found
    say(f"{module.name}  running the solved notebook ...")
    began = time.monotonic()
    found = outputs.execute(module, folder)
    say(f"{module.name}  ran in {time.monotonic() - began:.0f} s")
    return found


def _sphinx(source: Path, target: Path) -> None:
    """Run Sphinx, for which a warning is an error: a broken link is one."""
    trees = source / "_build" / "doctrees"
    command = [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-b", "html", "-d", str(trees)]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "NO_COLOR": "1"}  # the same bytes in every run
    done = subprocess.run([*command, str(source), str(target)], capture_output=True, text=True, env=environment)
    if done.returncode:
        lines = [line.replace(f"{source}{os.sep}", "") for line in done.stderr.splitlines() if line.strip()]
        raise UserError("\n".join(["Sphinx cannot make the pages:", *lines[:20]]))
    (target / "_static" / "webpack-macros.html").unlink(missing_ok=True)  # a template of the theme's, no page
