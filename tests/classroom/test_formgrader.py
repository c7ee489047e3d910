"""formgrader in a browser: it opens on a class folder, its button grades, and nothing a student wrote runs there."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from autograder import curriculum

from .conftest import MODULE
from .test_nbgrader import gradebook, keep_reports

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

HOSTILE = """\
<script>window.pwned = "script"</script>
<img src=x onerror="window.pwned='img'">
<svg onload="window.pwned='svg'"></svg><iframe srcdoc="<script>parent.pwned='frame'</script>"></iframe>
[click](javascript:window.pwned='link') <a href="java&#115;cript:window.pwned='a'">click</a>
<javascript:window.pwned='auto'> ![x](javascript:window.pwned='image')

`<img src=x onerror="window.pwned='code'">` and THE ANSWER ITSELF

$\\href{javascript:window.pwned='tex'}{click}$ <style>@import url(javascript:window.pwned='css')</style>
<details ontoggle="window.pwned='toggle'" open><summary>s</summary></details>
<form action="javascript:window.pwned='form'"><input type=submit autofocus onfocus="window.pwned='focus'"></form>

```html
</code></pre><script>window.pwned = "fence"</script>
```
"""


def hostile(answer):
    """A notebook that attacks whoever looks at it, in every kind of cell, output and metadata."""
    notebook = answer(
        mse_loss='partial misconception </code></pre><script>window.pwned="source"</script>', written=HOSTILE
    )
    data = {"text/html": HOSTILE, "image/svg+xml": "<svg onload=\"window.pwned='out'\"/>"}
    data |= {"application/javascript": "window.pwned = 'js'", "image/png": "\"><script>window.pwned='png'</script>"}
    output = nbformat.v4.new_output("display_data", data, metadata={"image/png": {"width": '"><script>1</script>'}})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output]
            cell.metadata["magics_language"] = '"><script>window.pwned="meta"</script>'
    notebook.cells.insert(2, nbformat.v4.new_markdown_cell(HOSTILE))
    notebook.cells.insert(3, nbformat.v4.new_raw_cell(HOSTILE, metadata={"raw_mimetype": "text/html"}))
    notebook.cells.insert(4, nbformat.v4.new_code_cell("# " + HOSTILE, outputs=[output]))
    return notebook


@pytest.fixture
def server(folder, tmp_path):
    """`lsml class lab FOLDER`: its address and token."""
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(tmp_path / "c"), "JUPYTER_RUNTIME_DIR": str(tmp_path / "r")}
    command = [sys.executable, "-m", "autograder.cli", "class", "lab", str(folder.path), "--no-browser"]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(900):
            found = list((tmp_path / "r").glob("jpserver-*.json"))
            if found and found[0].read_text().strip():
                break
            if process.poll() is not None:
                pytest.fail((tmp_path / "log").read_text()[-2000:])
            time.sleep(0.1)
        info = json.loads(found[0].read_text())
        yield info["url"], info["token"]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture
def page():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    arguments = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        made = browser.new_page(viewport={"width": 1200, "height": 1000})
        made.route(
            "**/*",
            lambda route: (
                route.continue_()
                if "127.0.0.1" in route.request.url
                or "localhost" in route.request.url
                or route.request.url.startswith("file:")
                else route.abort()
            ),
        )
        yield made
        browser.close()


def brightness(colour: str) -> float:
    """Of "rgb(20, 23, 28)"; the mean of the three."""
    return sum(float(part) for part in re.findall(r"[\d.]+", colour)[:3]) / 3


def keep_picture(page, around, name: str) -> None:
    if pictures := os.environ.get("LSML_SCREENSHOTS"):
        around.scroll_into_view_if_needed()
        page.screenshot(path=Path(pictures) / f"{name}.png")


def test_button_grades_and_nothing_runs(folder, answer, hand_in, server, page):
    hand_in("mallory", hostile(answer))
    keep_reports(folder)
    url, token = server
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))

    page.goto(f"{url}login?token={token}")  # which the browser remembers in a cookie
    page.goto(f"{url}formgrader/manage_submissions/{MODULE}")
    page.locator("td.autograde a").click(timeout=60_000)
    page.get_by_text("Successfully autograded").wait_for(timeout=120_000)
    assert {row[0]: row[1] for row in gradebook(folder)["mallory"]["grades"]}["check_mse_loss"] == 0.5

    with folder.gradebook() as book:
        submission = book.find_submission_notebook(MODULE, MODULE, "mallory").id
    page.goto(f"{url}formgrader/submissions/{submission}/")
    page.get_by_text("THE ANSWER ITSELF").first.wait_for(timeout=60_000)
    page.wait_for_timeout(1000)
    assert page.evaluate("window.pwned") is None
    notebook = page.locator("#notebook").first
    for tag in ("script", "iframe", "svg", "form", "style", "object", "embed", "img"):
        assert notebook.locator(tag).count() == 0, tag
    links = notebook.locator("a[href]").evaluate_all("links => links.map(link => link.protocol)")
    assert not any(protocol == "javascript:" for protocol in links)
    handlers = notebook.evaluate(
        "top => [...top.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => n.startsWith('on'))"
    )
    assert handlers == []
    assert "partial: 0.5 of 1" in notebook.inner_text()
    # Formulas are set although nothing can be fetched, and no anchor stands behind a heading.
    assert notebook.locator("math msub").count() > 5 and "$\\theta" not in notebook.inner_text()
    assert "¶" not in notebook.inner_text()
    keep_picture(page, notebook.locator("math[display=block]").first, "formgrader")
    assert not dialogs

    page.goto(f"{url}formgrader/manage_assignments")
    page.get_by_text(MODULE).first.wait_for(timeout=60_000)

    # What lies beside the notebook is not served, and the feedback page is as harmless.
    for name in ("evil.html", "../../../.lsml/secret"):
        assert page.request.get(f"{url}formgrader/submissions/{submission}/{name}").status in (403, 404)
    from autograder.classroom import feedback

    with folder.gradebook() as book:
        for comment in book.find_submission_notebook(MODULE, MODULE, "mallory").comments:
            comment.manual_comment = (
                "**Nearly**: $\\theta_k < 1$\nholds too.\n\n<script>window.pwned='comment'</script>"
            )
        book.db.commit()
    (written,) = feedback.generate(folder, MODULE)
    page.goto(f"file://{written}")
    comment = page.locator(".comment").first
    assert comment.locator("strong").inner_text() == "Nearly" and comment.locator("math msub").count() == 1
    assert "$" not in comment.inner_text() and "**" not in comment.inner_text()
    assert "¶" not in page.content()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        keep_picture(page, comment, f"feedback-{scheme}")
        boxes = page.locator("pre").evaluate_all("all => all.map(box => getComputedStyle(box).backgroundColor)")
        assert boxes and all((brightness(box) < 100) == (scheme == "dark") for box in boxes), boxes
    assert page.evaluate("window.pwned") is None
    assert page.locator("script, iframe, svg, form, img, object, embed").count() == 0
    assert page.get_by_text("THE ANSWER ITSELF").count() >= 1


def test_rubric_and_model_answer_stand_beside_the_answer_and_marks_become_the_score(
    folder, answer, hand_in, grade, scores, server, page
):
    hand_in("ada", answer("passed", written="Nothing changes, for the columns span the *same* space.\n\n" + HOSTILE))
    grade()
    question = curriculum.load(MODULE).questions[0]
    url, token = server
    page.goto(f"{url}login?token={token}")
    with folder.gradebook() as book:
        submission = book.find_submission_notebook(MODULE, MODULE, "ada").id
    page.goto(f"{url}formgrader/submissions/{submission}/")
    score = page.locator(f"#{question.name}")
    cell = page.locator(".nbgrader_cell", has=score)
    left = cell.get_by_text("Nothing changes, for")
    right = cell.get_by_text("The lowest loss and the best predictions stay the same; the entry")
    model = cell.get_by_text("because the columns span the same space")
    left.wait_for(timeout=60_000)
    boxes = [one.bounding_box() for one in (left, right, model)]
    assert all(box["x"] > boxes[0]["x"] + boxes[0]["width"] for box in boxes[1:]), "beside it, to the right"
    assert boxes[1]["y"] < boxes[0]["y"] + 600 and boxes[2]["y"] > boxes[1]["y"]
    assert cell.locator("math").count() > 3, "formulas of rubric and model answer are set"

    def mark(text: str) -> None:
        """Type a comment, leave the box, and load the page again."""
        box = cell.locator("textarea.comment")
        box.fill("")
        box.press_sequentially(text)
        with page.expect_response(
            lambda response: "/api/comment/" in response.url and response.request.method == "PUT"
        ):
            box.blur()
        page.reload()
        left.wait_for(timeout=60_000)

    mark("x .5 7 -")
    assert "The marks cannot be read: 7 is more than the 0.5 of its line" in cell.inner_text()
    assert score.input_value() == "" and scores()["ada"][question.name] == (None, None, True)
    mark("x .25 0 -\nYou left out $\\kappa$.")
    assert "Sum: 0.75 of 2" in cell.inner_text() and "0.25 of 0.5" in cell.inner_text()
    assert score.input_value() == "0.75" and scores()["ada"][question.name] == (None, 0.75, False)
    keep_picture(page, cell, "rubric-formgrader")
    assert page.evaluate("window.pwned") is None

    from autograder.classroom import feedback

    (written,) = feedback.generate(folder, MODULE)
    page.goto(f"file://{written}")
    rubric = page.locator(f"#{question.name} table.rubric")
    assert [row.split("\t")[-1] for row in rubric.inner_text().splitlines() if " of " in row][-1] == "0.75 of 2"
    assert "span the same space. The entry" not in page.content()
    for name, width in (("rubric-feedback", 1200), ("rubric-feedback-375", 375)):
        page.set_viewport_size({"width": width, "height": 1000})
        edges = rubric.locator("td, math").evaluate_all("all => all.map(one => one.getBoundingClientRect().right)")
        assert max(edges) <= width
        keep_picture(page, rubric, name)
