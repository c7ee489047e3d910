"""docs/hub.md, done: a hub with its own system users, two students and an instructor in a browser.

JupyterHub, its proxy, PAM, nbgrader's exchange, formgrader and the grader's sandbox are the real ones, and the
configuration is docs/hub's. Set LSML_SCREENSHOTS to a folder to keep pictures.
"""

import contextlib
import importlib.util
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import hub_world
import nbformat
import psutil
import pytest
from hub_world import ASSISTANT, INSTRUCTOR, MEMBERS, STUDENTS
from test_lab import MINUTES, MODULE

from autograder import curriculum

ROOT = curriculum.ROOT
PROGRAMS = Path(sys.executable).parent
ADA, BEN = STUDENTS
NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
ROOM = "/srv/lsml/exchange"
EXCHANGE = f"{ROOM}/{MEMBERS}"
CLASS = f"/home/{INSTRUCTOR}/{MEMBERS}"


def missing() -> str | None:
    """What this machine lacks for a hub with system users; None where nothing is missing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root, on Linux, can start servers for several system users"
    if not importlib.util.find_spec("jupyterhub") or not (PROGRAMS / "configurable-http-proxy").exists():
        return "JupyterHub or its proxy is not installed; `make hub` does it"
    for program in ("unshare", "nsenter", "setpriv", "runuser", "useradd", "bwrap", "node"):
        if not shutil.which(program):
            return f"{program} is not installed"
    if subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode:
        return "this machine (a container?) gives root no mount namespace, which holds the test's system users"
    return None


LACK = missing()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(LACK is not None, reason=LACK or "")]


@dataclass(frozen=True)
class Hub:
    """A running hub: its address, its process, and where the files of its world lie for us."""

    url: str
    process: int
    world: Path

    def file(self, path: str) -> Path:
        return self.world / path.lstrip("/")

    def run(self, user: str, command: str) -> subprocess.CompletedProcess:
        """A shell command as one of the system users, beside the hub and not through it."""
        enter = ["nsenter", "--target", str(self.process), "--mount", "--pid", "--", "runuser", "-u", user, "--"]
        return subprocess.run([*enter, "sh", "-c", f"cd; {command}"], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    world = tmp_path_factory.mktemp("hub")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (world / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, world / "checkout" / name)
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(3)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        port, inner, proxy = (probe.getsockname()[1] for probe in probes)
    command = ["setpriv", "--pdeathsig", "KILL", *NAMESPACES, sys.executable, hub_world.__file__, str(world), str(ROOT)]
    command += [str(PROGRAMS / "jupyterhub"), "--config", "/etc/jupyterhub/jupyterhub_config.py"]
    command += [f"--JupyterHub.bind_url=http://127.0.0.1:{port}", f"--JupyterHub.hub_port={inner}"]
    command += [f"--ConfigurableHTTPProxy.api_url=http://127.0.0.1:{proxy}"]
    with (world / "log").open("w") as log:
        outer = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/"
    try:
        wait(lambda: outer.poll() is not None or answers(f"{url}hub/login"), "the hub does not answer")
        assert outer.poll() is None, (world / "log").read_text()[-3000:]
        (first,) = psutil.Process(outer.pid).children()
        yield Hub(url, first.pid, world)
        all_of_them = first.children(recursive=True)
        first.send_signal(signal.SIGTERM)
        outer.wait(60)
        assert not any(one.is_running() for one in all_of_them), "the hub ends what it has started"
    finally:
        outer.kill()  # and with it the namespace and every process in it
        outer.wait()


def wait(until, why: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, why
        time.sleep(0.3)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


class Person:
    """Somebody in front of a browser of their own."""

    def __init__(self, browser, hub: Hub, name: str):
        self.hub, self.name = hub, name
        self.home = f"/home/{name}"
        self.page = browser.new_context(viewport={"width": 1300, "height": 1000}).new_page()
        self.page.goto(hub.url)
        self.page.locator("#username_input").fill(name)
        self.page.locator("#password_input").fill(hub_world.password(name))
        self.page.locator("#login_submit").click()

    def server(self, path: str, of: str | None = None) -> str:
        """An address at somebody's own server, or at another's."""
        return f"{self.hub.url}user/{of or self.name}/{path}"

    def status(self, path: str, of: str | None = None) -> int:
        return self.page.request.get(self.server(path, of)).status

    def lab(self) -> None:
        """JupyterLab, with nothing open but the launcher."""
        self.page.goto(self.server("lab?reset"))
        self.page.locator(".jp-LauncherCard", has_text="Terminal").wait_for(timeout=3 * MINUTES)

    def type(self, command: str) -> str:
        """Type a command into a new terminal of JupyterLab; what it prints, once it has ended well."""
        self.lab()
        self.page.locator(".jp-LauncherCard", has_text="Terminal").click()
        self.page.locator(".jp-Terminal .xterm-screen").wait_for(timeout=MINUTES)
        self.page.wait_for_timeout(2000)
        said, status = (self.hub.file(f"{self.home}/{name}") for name in ("said", "status"))
        status.unlink(missing_ok=True)
        self.page.keyboard.type(f"({command}) 2>&1 | tee ~/said; echo ${{PIPESTATUS[0]}} > ~/status\n")
        wait(lambda: status.is_file() and status.read_text(), f"{command} does not end")
        assert status.read_text() == "0\n", said.read_text()
        return said.read_text()

    def assignments(self):
        """nbgrader's list of assignments, from its menu."""
        self.lab()
        self.page.locator(".lm-MenuBar-itemLabel", has_text="Nbgrader").click()
        assert "Formgrader" not in self.page.locator(".lm-Menu").inner_text()
        self.page.locator(".lm-Menu-itemLabel", has_text="Assignment List").click()
        shown = self.page.locator("#nbgrader-assignment-list, .nbgrader-assignment-list").first
        shown.get_by_text(MODULE).first.wait_for(timeout=MINUTES)
        return shown

    def picture(self, name: str) -> None:
        if folder := os.environ.get("LSML_SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"hub-{name}.png")


def answer_and_submit(student: Person, answer: str, right: bool) -> None:
    """Fetch the module, answer its first exercise in the notebook, run it, save it, hand it in."""
    page, hub = student.page, student.hub
    shown = student.assignments()
    student.picture(f"{student.name}-list")
    shown.locator("#released_assignments_list button", has_text="Fetch").click()
    shown.locator("#fetched_assignments_list", has_text=MODULE).wait_for(timeout=MINUTES)

    exercise = curriculum.load(MODULE).exercises[0].name
    page.goto(student.server(f"lab/tree/{MODULE}/{MODULE}.ipynb?reset"))
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=2 * MINUTES)
    toolbar = page.locator(".jp-NotebookPanel-toolbar")
    toolbar.locator("[data-jp-item-name=save]").wait_for(timeout=MINUTES)
    assert toolbar.locator("[data-jp-item-name=lsml-report]").count() == 0, "a hub has no page to go with the button"
    cell = page.locator(".jp-CodeCell", has_text=f"def {exercise}(").first
    cell.scroll_into_view_if_needed()
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(answer)
    page.locator("#jp-main-statusbar", has_text="Python 3 (ipykernel) | Idle").wait_for(timeout=3 * MINUTES)
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator("li[data-command='runmenu:run-all']").click()
    if right:
        page.get_by_text(f"✓ {exercise} passes its check").first.wait_for(state="attached", timeout=3 * MINUTES)
    page.locator("#jp-main-statusbar", has_text="Python 3 (ipykernel) | Idle").wait_for(timeout=3 * MINUTES)
    student.picture(f"{student.name}-notebook")
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+s")
    saved = hub.file(f"{student.home}/{MODULE}/{MODULE}.ipynb")
    wait(lambda: answer in {c.source for c in nbformat.read(saved, as_version=4).cells}, "the answer is not saved", 60)

    shown = student.assignments()
    shown.locator("#fetched_assignments_list button", has_text="Submit").click()
    shown.locator("#submitted_assignments_list", has_text=MODULE).wait_for(timeout=MINUTES)


def outputs_of(hub: Hub, student: str) -> str:
    """Where the kernel of a student sends what its cells print: a socket in their home."""
    runtime = f"/home/{student}/.local/share/jupyter/runtime"
    (connection,) = (json.loads(path.read_text()) for path in hub.file(runtime).glob("kernel-*.json"))
    assert connection["transport"] == "ipc", "to a TCP port everybody on the machine could connect"
    return f"{connection['ip']}-{connection['iopub_port']}"


def prepared(hub: Hub, instructor: str, path: str = "$PATH") -> subprocess.CompletedProcess:
    return hub.run("root", f"PATH={path} {ROOT}/docs/hub/prepare.sh {MEMBERS} {instructor}")


def test_what_cannot_be_closed_is_no_success(hub):
    """prepare.sh once more: as before, for somebody without a group, and where groups cannot be changed."""
    assert prepared(hub, INSTRUCTOR).returncode == 0
    done = prepared(hub, "nemo")
    assert done.returncode == 2 and "there is no group nemo" in done.stderr
    broken = hub.file("/srv/broken/chgrp")
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert prepared(hub, INSTRUCTOR, "/srv/broken:$PATH").returncode == 1


def test_a_class_on_a_hub(hub, browser):
    exercise = curriculum.load(MODULE).exercises[0]
    head, _, _ = exercise.released.partition("raise NotImplementedError")
    wrong = f"{head}return 0.0"

    done = hub.run(BEN, f"mkdir {EXCHANGE}/inbound")
    assert done.returncode and "Permission denied" in done.stderr, "nobody takes the course before its instructor"
    gina = Person(browser, hub, INSTRUCTOR)
    gina.type("printf 'id,first_name,last_name\\nada,Ada,Adler\\nben,Ben,Brook\\n' > list.csv")
    gina.type(f"lsml class new {MEMBERS} --roster list.csv --exchange {ROOM}")
    said = gina.type(f"cd {MEMBERS} && lsml release 01 --due '2099-12-01 23:59'")
    assert "students can fetch it from" in said
    restart(gina)
    gina.assignments()

    people = {name: Person(browser, hub, name) for name in STUDENTS}
    answer_and_submit(people[ADA], exercise.solution, right=True)
    answer_and_submit(people[BEN], wrong, right=False)
    refuses(hub, people[BEN])

    said = gina.type(f"cd {MEMBERS} && lsml collect 01 && lsml autograde && lsml status")
    assert "collected 01_gradient_descent of 2 students" in said and f"was put there by {BEN}" in said
    comment_in_formgrader(gina, ADA, "Well done, Ada.")
    assistant(browser, hub)
    gina.type(f"cd {MEMBERS} && lsml feedback --release")

    for name, person in people.items():
        page = fetch_feedback(person)
        assert ("Well done, Ada." in page) == (name == ADA)
        assert (f"1 of {total()} points" in page) == (name == ADA), page[:500]
    nothing_of_others(hub)


def total() -> int:
    module = curriculum.load(MODULE)
    return module.max_score + module.written_points


def restart(person: Person) -> None:
    """Hub Control Panel: Stop My Server, Start My Server."""
    person.page.goto(f"{person.hub.url}hub/home")
    person.page.locator("#stop").click()
    person.page.locator("#stop").wait_for(state="hidden", timeout=MINUTES)
    person.page.locator("#start").click()
    person.lab()


def refuses(hub: Hub, ben: Person) -> None:
    """What a student tries, as the system user that they are and through the hub."""
    forged = f"{EXCHANGE}/inbound/{ADA}+{MODULE}+2031-01-01 10:00:00 UTC"
    assert hub.run(BEN, f"cp -r {MODULE} {shlex.quote(forged)}").returncode == 0, "anybody may put anything there"
    closed = f"{EXCHANGE}/inbound/{BEN}+{MODULE}+2032-01-01 10:00:00 UTC"
    assert hub.run(BEN, f"mkdir -m 0 {shlex.quote(closed)}").returncode == 0
    for path in (
        f"/home/{ADA}/{MODULE}/{MODULE}.ipynb",
        outputs_of(hub, ADA),
        f"{EXCHANGE}/inbound",
        CLASS,
        f"{CLASS}/gradebook.db",
        f"{CLASS}/.lsml/secret",
        f"{ROOT}/solutions",
        f"{ROOT}/solutions/{MODULE}/hidden_tests.py",
        f"{ROOT}/solutions/{MODULE}/notebook.py",
        f"{ROOT}/tests",
        "/srv/jupyterhub/jupyterhub.sqlite",
        "/etc/jupyterhub/jupyterhub_config.py",
    ):
        here = hub.file(path.replace(str(ROOT), "checkout"))
        assert here.exists(), f"{path} is there to be read"
        done = hub.run(BEN, f"{'ls -A' if here.is_dir() else 'cat'} {path}")
        assert done.returncode and "Permission denied" in done.stderr and not done.stdout, path
    assert hub.run(INSTRUCTOR, f"cat {ROOT}/solutions/{MODULE}/hidden_tests.py").returncode == 0
    for command in (f"mv {EXCHANGE} {EXCHANGE}2", f"touch {EXCHANGE}/outbound/{MODULE}/x", "kill -9 1"):
        done = hub.run(BEN, command)
        assert done.returncode and "ermi" in done.stderr, command
    solutions = f"{ROOT}/solutions"
    start = f"{PROGRAMS}/jupyterhub --config /etc/jupyterhub/jupyterhub_config.py --show-config"
    assert hub.run("root", start).returncode == 0
    done = hub.run("root", f"chmod 755 {solutions}; {start}; status=$?; chmod 750 {solutions}; exit $status")
    assert done.returncode and f"{solutions} is open to students" in done.stderr
    done = hub.run(
        "root", f"chgrp {MEMBERS} {solutions}; {start}; status=$?; chgrp {INSTRUCTOR} {solutions}; exit $status"
    )
    assert done.returncode and f"{solutions} is open to students" in done.stderr
    done = hub.run(BEN, f"{PROGRAMS}/lsml grade {MODULE}/{MODULE}.ipynb")
    assert done.returncode == 2 and "solutions is closed to you" in done.stderr
    assert ben.status("lab") == 200 and ben.status("formgrader/") == 404
    assert ben.status("lab", of=ADA) == 403
    assert ben.status("formgrader/", of=INSTRUCTOR) == 403
    assert ben.status(f"files/{MEMBERS}/gradebook.db", of=INSTRUCTOR) == 403


def comment_in_formgrader(gina: Person, student: str, text: str) -> None:
    """Formgrader in a tab of its own: its pages, and a comment on a submission."""
    page = gina.page
    page.goto(gina.server("formgrader/"))
    page.locator("table a", has_text=MODULE).first.wait_for(timeout=MINUTES)
    gina.picture("formgrader")
    page.goto(gina.server(f"formgrader/gradebook/{MODULE}/{MODULE}"))
    page.locator("table a").first.wait_for(timeout=MINUTES)
    gina.picture("gradebook")
    page.goto(gina.server(f"formgrader/manage_students/{student}/{MODULE}"))
    page.locator("table a", has_text=MODULE).first.click()
    box = page.locator("textarea.comment").first
    box.wait_for(timeout=MINUTES)
    box.fill(text)
    box.blur()
    page.wait_for_timeout(2000)
    gina.picture("submission")


def assistant(browser, hub: Hub) -> None:
    """One whom the configuration names opens the instructor's formgrader."""
    tim = Person(browser, hub, ASSISTANT)
    tim.page.goto(tim.server("formgrader/manage_students", of=INSTRUCTOR))
    tim.page.get_by_role("button", name="Authorize").click(timeout=MINUTES)
    tim.page.locator("table a", has_text="Adler, Ada").first.wait_for(timeout=MINUTES)
    tim.lab()
    assert tim.status("formgrader/") == 404, "on their own server there is none"


def fetch_feedback(student: Person) -> str:
    """Fetch the page from the list of assignments, and open it there; its text."""
    page = student.page
    shown = student.assignments()
    shown.locator("#submitted_assignments_list button", has_text="Fetch Feedback").click()
    shown.locator("#submitted_assignments_list a", has_text="view feedback").first.click(timeout=MINUTES)
    item = page.locator(".jp-DirListing-item", has_text=f"{MODULE}.html")
    item.dblclick(timeout=MINUTES)
    inside = page.frame_locator(".jp-HTMLViewer iframe")
    inside.get_by_text("points").first.wait_for(timeout=MINUTES)
    student.picture(f"{student.name}-feedback")
    return inside.locator("body").inner_text()


def nothing_of_others(hub: Hub) -> None:
    feedback = f"{EXCHANGE}/feedback"
    assert len(list(hub.file(feedback).iterdir())) == 2
    done = hub.run(BEN, f"ls {feedback}")
    assert done.returncode and "Permission denied" in done.stderr
