"""What `make lab` opens: the settings of a student's JupyterLab, its terminals, and where Run All leaves the view.

Set LSML_SCREENSHOTS to a folder to keep pictures.
"""

import time

from playwright.sync_api import expect
from test_lab import MINUTES, MODULE, idle, keep_picture

from autograder import curriculum


def test_a_students_lab(students_lab, page):
    folder = students_lab.folder / MODULE
    page.goto(f"{students_lab.url}lab/tree/{MODULE}?token={students_lab.token}")
    page.locator(".jp-LauncherCard", has_text="Terminal").wait_for(timeout=2 * MINUTES)
    shown = page.locator("body").inner_text()
    assert "Formgrader" not in shown and "Create Assignment" not in shown
    page.locator(".lm-MenuBar-itemLabel", has_text="Nbgrader").click()
    menu = page.locator(".lm-Menu").inner_text()
    assert "Assignment List" in menu and "Formgrader" not in menu and "Course List" not in menu
    page.keyboard.press("Escape")
    assert page.evaluate("fetch('/formgrader/').then(answer => answer.status)") == 404

    # The launcher's terminal stands in the module's folder, and finds the command.
    page.locator(".jp-LauncherCard", has_text="Terminal").click()
    page.locator(".jp-Terminal .xterm-screen").wait_for(timeout=MINUTES)
    page.wait_for_timeout(2000)
    page.keyboard.type("lsml grade --json > said; echo $? > status\n")
    deadline = time.monotonic() + 240
    while not (folder / "status").is_file() or not (folder / "status").read_text():
        assert time.monotonic() < deadline, "`lsml grade` did not end"
        page.wait_for_timeout(500)
    assert (folder / "status").read_text() == "0\n" and f'"module": "{MODULE}"' in (folder / "said").read_text()


def test_the_report_is_new_whenever_the_notebook_is_saved(students_lab, page):
    first = curriculum.load(MODULE).exercises[0]
    page.goto(students_lab.address(students_lab.folder / MODULE / f"{MODULE}.ipynb"))
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=2 * MINUTES)
    idle(page)
    page.locator("[data-jp-item-name='lsml-report']").locator("button, jp-button").first.click()
    report = page.frame_locator(".jp-Help iframe")
    report.locator("h1", has_text="No report yet").wait_for(timeout=MINUTES)

    def answer(source):
        """Write the first exercise, and save, with JupyterLab's own keys."""
        page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab", has_text=MODULE[:8]).first.click()
        cell = page.locator(".jp-CodeCell", has_text=f"def {first.name}(").first
        cell.locator(".cm-content").first.click()
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(source)
        page.keyboard.press("Control+S")
        page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab", has_text="Report").click()

    answer(first.solution)
    report.locator(f"section#{first.name}.passed").wait_for(timeout=2 * MINUTES)
    expect(report.locator(".running")).to_have_count(0, timeout=2 * MINUTES)
    answer("def " + first.solution.partition("def ")[2].partition("\n")[0] + "\n    return 'wrong'\n")
    report.locator(f"section#{first.name}.failed, section#{first.name}.error").wait_for(timeout=2 * MINUTES)
    keep_picture(page, page.locator(".jp-Help"), "report")
    assert page.evaluate("fetch('/lsml/report', {credentials: 'omit'}).then(answer => answer.url)").count("/login")


def test_run_all_on_an_untouched_notebook_ends_at_the_stop(students_lab, page):
    first = curriculum.load(MODULE).exercises[0].name
    page.goto(students_lab.address(students_lab.folder / MODULE / f"{MODULE}.ipynb"))
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=2 * MINUTES)
    idle(page)
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator("li[data-command='runmenu:run-all']").click()
    said = page.locator(".jp-OutputArea-output", has_text=f"{first} has no answer yet")
    said.wait_for(state="attached", timeout=2 * MINUTES)
    idle(page)
    page.wait_for_timeout(2000)
    assert in_view(page, said)
    keep_picture(page, said, "stop")
    page.locator(".jp-Notebook .jp-Cell").last.scroll_into_view_if_needed()
    assert not in_view(page, said)
    page.locator(".jp-OutputArea-output a", has_text=f"Go to {first}").dispatch_event("click")
    cell = page.locator(".jp-CodeCell", has_text=f"def {first}(").first
    page.wait_for_timeout(2000)
    assert in_view(page, cell)
    keep_picture(page, cell, "after-the-link")


def in_view(page, what) -> bool:
    """Whether the middle of it lies in the notebook's window."""
    box, window = what.bounding_box(), page.locator(".jp-Notebook .jp-WindowedPanel-outer, .jp-Notebook").first
    window = window.bounding_box()
    return box is not None and window["y"] < box["y"] + box["height"] / 2 < window["y"] + window["height"]
