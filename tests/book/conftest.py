"""A course of one small module, and the book that `lsml book` makes of it."""

import contextlib
import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

import pytest

from autograder import curriculum
from autograder.authoring.new import create
from autograder.cli import main

NAME = "03_means"
# What no reader of the book may see, by the file that says it.
SECRETS = {
    "an answer": "total = w.sum()",
    "the repair of a bug": "n_a * mean_a + n_b * mean_b",
    "an answer that warns": "np.log(0.0 * total)",
    "an answer in words": "does not say how much data it stands for",
    "a hidden test": "canary of the hidden tests",
    "the gallery of answers": "canary of the gallery",
}
LEGEND = """\
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $x$, $w$ | `x`, `w` | $(m,)$ | values \\\\| and their weights |
# | $\\mu = w^\\top x$ | | | the mean |
"""


def checkout(root: Path) -> Path:
    """Write the module into a new checkout."""
    files = curriculum.files(NAME, root)
    create(NAME, "Means & <weights>", root)
    text = files.notebook.read_text(encoding="utf-8")
    text = text.replace("mergeable statistics.\n", f"mergeable statistics.\n{LEGEND}", 1)
    text = text.replace("**Before you start**: module 00.", "**You need** module 00.")
    text = text.replace("# ## Further\n", "# ## Further\n#\n# | | once |\n# | --- | --- |\n# | a | b |\n#\n")
    answer, warning = SECRETS["an answer"], SECRETS["an answer that warns"]
    text = text.replace(f"    {answer}\n", f"    {answer}\n    {warning}\n")
    files.notebook.write_text(text, encoding="utf-8")
    for path, what in ((files.hidden_tests, "a hidden test"), (files.answers, "the gallery of answers")):
        path.write_text(path.read_text(encoding="utf-8") + f"# {SECRETS[what]}\n", encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A checkout in which `lsml book` has run."""
    root = checkout(tmp_path_factory.mktemp("checkout"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curriculum, "ROOT", root)
        patch.setenv("LSML_DEMO", "small")
        assert main(["book"]) == 0
    return root


@pytest.fixture(scope="session")
def site(root):
    """The folder of its pages."""
    return root / "build" / "book" / "html"


@contextlib.contextmanager
def served(folder: Path):
    """A static server on a folder; its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def chromium():
    """Headless Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium; run scripts/system_packages.sh chromium")
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--disable-gpu", *sandbox])
        yield browser
        browser.close()
