"""What a student sees: the released notebook in JupyterLab, first untouched, then with every answer filled in.

Set LSML_SCREENSHOTS to a folder to keep pictures of both.
"""

import os
from pathlib import Path

import nbformat
import pytest

from autograder import curriculum
from autograder.authoring.build import course_path
from autograder.authoring.release import solved_notebook

MODULE = "01_gradient_descent"
MINUTES = 60_000  # milliseconds, as Playwright counts; these limits only end what hangs


@pytest.fixture
def module():
    return curriculum.load(MODULE)


def test_untouched_it_stops_at_the_first_exercise_and_says_why(lab, page, module):
    run_all(lab, page, nbformat.read(course_path(MODULE), as_version=4), "untouched")
    first = module.exercises[0].name
    said = page.locator(".jp-OutputArea-output", has_text=f"{first} has no answer yet: write it in the cell above")
    said.wait_for(timeout=2 * MINUTES)
    idle(page)
    assert said.count() == 1
    assert "Traceback" not in said.inner_text()
    keep_picture(page, said, "untouched")
    assert page.locator(".jp-InputPlaceholder").count() == len(module.exercises), "checks are folded"
    page.locator(".jp-OutputArea-output a", has_text=f"Go to {first}").wait_for(timeout=MINUTES)
    after = prompts(page)[index_of(module, f"check_{first}") + 1 :]
    assert after and not any(prompt.strip("[]: ") for prompt in after), "no cell after it was run"


def test_with_every_answer_the_checks_pass_and_the_plots_appear(lab, page, module):
    run_all(lab, page, solved_notebook(module), "solved")
    last, total = module.exercises[-1].name, len(module.exercises)
    page.get_by_text(f"✓ {last} passes its check ({total} of {total})").wait_for(timeout=3 * MINUTES)
    idle(page)
    for number, exercise in enumerate(module.exercises, 1):
        line = page.get_by_text(f"✓ {exercise.name} passes its check ({number} of {total})")
        assert line.count() == 1
        keep_picture(page, line, f"check-{exercise.name}")
    checks = [cell.role == "check" for cell in module.cells if cell.cell_type == "code"]  # folded, so without a number
    run = [bool(prompt.strip("[]: ")) for prompt in prompts(page)]
    assert all(check or done for check, done in zip(checks, run, strict=True)), "every cell was run"
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0

    plots = page.locator(".jp-RenderedImage img")
    assert plots.count() >= sum(cell.role == "demo" for cell in module.cells) // 2
    for number in range(plots.count()):
        plots.nth(number).scroll_into_view_if_needed()
        assert plots.nth(number).evaluate("image => image.complete && image.naturalWidth > 100")
        keep_picture(page, plots.nth(number), f"plot-{number:02}")
    equations = page.locator("mjx-container, .MathJax")
    assert equations.count() > 0, "MathJax has set the equations"
    hint = page.locator("details").first
    assert hint.get_attribute("open") is None, "hints are folded"
    hint.locator("summary").click()
    assert hint.get_attribute("open") is not None
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0


def run_all(lab, page, notebook, name: str) -> None:
    """Open the notebook as a student would and choose Run > Run All Cells."""
    path = lab.folder / name / f"{MODULE}.ipynb"
    path.parent.mkdir()
    nbformat.write(notebook, path)
    page.goto(lab.address(path))
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=MINUTES)
    idle(page)
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator("li[data-command='runmenu:run-all']").click()


def idle(page) -> None:
    """Wait until the kernel is there and has nothing left to do. (The notebook's own indicator is idle too early.)"""
    page.locator("#jp-main-statusbar", has_text="Python 3 (ipykernel) | Idle").wait_for(timeout=3 * MINUTES)


def prompts(page) -> list[str]:
    """The [n] of every code cell, in order."""
    return page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").all_inner_texts()


def index_of(module, cell_id: str) -> int:
    """The place of a cell among the code cells."""
    return [cell.id for cell in module.cells if cell.cell_type == "code"].index(cell_id)


def keep_picture(page, around, name: str) -> None:
    if folder := os.environ.get("LSML_SCREENSHOTS"):
        around.scroll_into_view_if_needed()
        page.screenshot(path=Path(folder) / f"{name}.png")
