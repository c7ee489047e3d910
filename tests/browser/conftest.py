"""A JupyterLab server on a temporary folder, and headless Chromium in front of it."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

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


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    folder, private = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("jupyter")
    settings = private / "settings"
    # No question about news, and every cell in the page even when it is scrolled out of sight.
    for plugin, values in {
        "apputils-extension/notification": {"fetchNews": "false"},
        "notebook-extension/tracker": {"windowingMode": "none"},
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
    }
    environment.pop("MPLBACKEND", None)  # other tests of this process want none of the kernel's pictures
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    command += ["--ServerApp.root_dir", str(folder), "--ServerApp.port_retries=200"]
    with (private / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        info = _wait_for(private / "runtime" / f"jpserver-{server.pid}.json", server, private / "log")
        yield Lab(folder, info["url"], info["token"])
    finally:
        server.terminate()
        server.wait(30)


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
