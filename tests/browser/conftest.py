"""A JupyterLab server on a temporary folder, and headless Chromium in front of it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from autograder import curriculum

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]


@dataclass(frozen=True)
class Lab:
    """A running server: its folder and how to reach it."""

    folder: Path
    url: str
    token: str

    def address(self, notebook: Path) -> str:
        """Where JupyterLab shows the notebook, in a workspace of its own so that no other tab is brought back."""
        path = notebook.relative_to(self.folder).as_posix()
        return f"{self.url}lab/workspaces/{notebook.parent.name}/tree/{path}?token={self.token}"


@contextlib.contextmanager
def served(command: list[str], folder: Path, private: Path, windowing: str = "none", **environment: str):
    """A Lab: what `command` starts on `folder`, without a terminal, with settings and state of its own in `private`."""
    settings = private / "settings"
    # No question about news; by default every cell in the page even when it is scrolled out of sight.
    for plugin, values in {
        "apputils-extension/notification": {"fetchNews": "false"},
        "notebook-extension/tracker": {"windowingMode": windowing},
    }.items():
        path = settings / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(private / "config"),
        "JUPYTER_RUNTIME_DIR": str(private / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(private / "workspaces"),
        "LSML_DEMO": "small",
        **environment,
    }
    environment.pop("MPLBACKEND", None)  # other tests of this process want none of the kernel's pictures
    with (private / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        info = _wait_for(private / "runtime" / f"jpserver-{server.pid}.json", server, private / "log")
        yield Lab(folder, info["url"], info["token"])
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    folder, private = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("jupyter")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    command += ["--ServerApp.root_dir", str(folder), "--ServerApp.port_retries=200"]
    with served(command, folder, private) as lab:
        yield lab


@pytest.fixture
def students_lab(tmp_path, tmp_path_factory):
    """What `make lab` opens, in a checkout that is elsewhere; its own PATH has no `lsml`."""
    private = tmp_path_factory.mktemp("jupyter")
    for part in ("course", "solutions", "autograder", "lsml_utils"):
        (tmp_path / part).symlink_to(curriculum.ROOT / part)
    code = "import sys, pathlib; from autograder.authoring.work import copy_missing, open_lab; "
    code += "root = pathlib.Path(sys.argv[1]); copy_missing(root); open_lab(root, browser=False)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    path = os.pathsep.join(
        part for part in os.environ["PATH"].split(os.pathsep) if not os.path.exists(os.path.join(part, "lsml"))
    )
    with served(command, tmp_path / "work", private, "contentVisibility", PATH=path) as lab:
        yield lab


def _wait_for(path: Path, server: subprocess.Popen, log: Path) -> dict:
    for _ in range(600):
        if server.poll() is not None:
            break
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError):
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *sandbox])
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    yield page
    if folder := os.environ.get("LSML_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "at-the-end.png")
    page.close()
