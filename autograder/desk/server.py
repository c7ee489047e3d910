"""What `make lab` adds to Jupyter's server: one `lsml watch`, and the page that it writes, always the newest.

JupyterLab shows the page in a frame that may not read Jupyter's cookies. So whoever is logged in is sent to an address
that holds a secret of this server's, and from there the page needs no cookie.
"""

import os
import secrets
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web

from autograder.desk import own_page
from autograder.grading import kept

SANDBOX = "LSML_LAB_SANDBOX"  # how `lsml lab` says which one, or "" for no grading


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(app) -> None:
    root = Path(app.root_dir).parent
    desk = Desk(root, os.environ.get(SANDBOX, "bubblewrap"))
    secret = secrets.token_urlsafe(32)
    here = url_path_join(app.web_app.settings["base_url"], "lsml")
    routes = [
        (f"{here}/report", ToReport, {"address": f"{here}/{secret}/latest"}),
        (f"{here}/{secret}/latest", Latest, {"desk": desk}),
        (f"{here}/{secret}/state", State, {"desk": desk}),
        (f"{here}/{secret}/live.js", Script, {"desk": desk}),
    ]
    app.web_app.add_handlers(".*$", routes)


class Desk:
    """The watcher, which ends with this process, and what it writes."""

    def __init__(self, root: Path, sandbox: str):
        self.pages, self._log = root / own_page.PAGES, root / kept.FOLDER / "watch.log"
        self._process = None
        if sandbox:
            self.pages.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, "-m", "autograder", "watch", "--until-eof"]
            command += ["--root", str(root), "--sandbox", sandbox]
            with self._log.open("wb") as log:
                # Its standard input ends with this process, however that ends. Ctrl-C in the terminal is Jupyter's.
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
                )

    def newest(self) -> tuple[int, Path] | None:
        """When the newest page was written, and which it is."""
        return max(((page.stat().st_mtime_ns, page) for page in self.pages.glob("*.html")), default=None)

    def trouble(self) -> str:
        """Why nothing is graded; "" while it is."""
        if self._process is None:
            return "this JupyterLab was opened without it."
        if self._process.poll() is None:
            return ""
        said = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return said[-1] if said else "it has ended."


class ToReport(JupyterHandler):
    """Who may use this server is sent to the page."""

    def initialize(self, address: str) -> None:
        self.address = address

    @web.authenticated
    def get(self) -> None:
        self.redirect(self.address)


class _Known(web.RequestHandler):
    """Only who knows the secret comes here."""

    def initialize(self, desk: Desk) -> None:
        self.desk = desk

    def set_default_headers(self) -> None:
        self.set_header("Access-Control-Allow-Origin", "*")  # the frame has no origin
        # Opened in a tab of its own it has none either: it holds what a notebook says.
        self.set_header("Content-Security-Policy", "sandbox allow-scripts; frame-ancestors 'self'")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("X-Content-Type-Options", "nosniff")


class Latest(_Known):
    """The page that was written last."""

    def get(self) -> None:
        found, trouble = self.desk.newest(), self.desk.trouble()
        if found is not None and not trouble:
            self.finish(found[1].read_bytes())
        else:
            self.finish(own_page.nothing(trouble and f"The grader is not running: {trouble}"))


class Script(_Known):
    """What brings the page up to date."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.finish((files("autograder.desk") / "templates" / "live.js").read_bytes())


class State(_Known):
    """A word that is another one whenever the newest page is."""

    def get(self) -> None:
        when, page = self.desk.newest() or (0, None)
        self.finish(f"{when} {page and page.stem} {self.desk.trouble()}")
