"""The whole book, as readers meet it: in a browser, light and dark, wide and narrow, served and from the disk."""

import re
import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe

from autograder import curriculum
from autograder.cli import main
from autograder.curriculum import MARKER

from .conftest import served
from .pages import broken_links, loaded_from_elsewhere, pages, parsed, without_words

pytestmark = pytest.mark.slow

LONG_ENOUGH = 40  # characters of an answer that nobody writes twice by chance


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The book of all modules, in a checkout of its own; what `make book` has executed already is not run again."""
    root = tmp_path_factory.mktemp("course")
    shutil.copytree(curriculum.ROOT / "solutions", root / "solutions")
    outputs = curriculum.ROOT / "build" / "book" / "outputs"
    if outputs.is_dir():
        shutil.copytree(outputs, root / "build" / "book" / "outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curriculum, "ROOT", root)
        patch.setenv("LSML_DEMO", "small")
        assert main(["book"]) == 0
    return root / "build" / "book" / "html"


@pytest.fixture(scope="module")
def address(site):
    with served(site) as address:
        yield address


def names(site):
    return [path.relative_to(site).as_posix() for path in pages(site)]


def opened(context, url):
    """A page with its formulas set and everything that is folded unfolded."""
    page = context.new_page()
    page.goto(url)
    # MathJax has drawn a formula first, and written it for screen readers after that.
    page.wait_for_function("[...document.querySelectorAll('.math')].every(e => e.querySelector('mjx-assistive-mml'))")
    page.evaluate("document.querySelectorAll('details').forEach(folded => { folded.open = true })")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.evaluate("document.getAnimations().forEach(fading => fading.finish())")  # what unfolds fades in
    return page


def squeezed(text):
    return "".join(text.split())


def answers(source):
    """What stands between the SOLUTION markers of a cell."""
    found, inside = [], False
    for line in source.split("\n"):
        marker = MARKER.fullmatch(line)
        if marker and marker["kind"] == "SOLUTION":
            inside = marker["edge"] == "BEGIN"
            found += [""] * inside
        elif inside:
            found[-1] += line + "\n"
    return found


def test_it_holds_no_answer_and_no_hidden_test(site):
    everything = squeezed(" ".join(parsed(page).get_text() for page in pages(site)))
    looked_for = 0
    for name in curriculum.names():
        module = curriculum.load(name)
        for cell in module.cells:
            if cell.role in ("exercise", "written"):
                for answer in map(squeezed, answers(cell.source)):
                    if len(answer) >= LONG_ENOUGH:
                        looked_for += 1
                        assert answer not in everything, f"the answer to {cell.name} of {name}"
        for test in re.findall(r"^def (test_\w+)", module.files.hidden_tests.read_text(encoding="utf-8"), re.MULTILINE):
            assert test not in everything, f"{test} of {name}"
    assert looked_for >= 4 * len(curriculum.names())


def test_nothing_in_it_is_broken_or_without_words(site):
    assert broken_links(site) == []
    assert loaded_from_elsewhere(site) == []
    assert without_words(site) == []
    for name in curriculum.names():
        assert parsed(site / "modules" / f"{name}.html").select("main img"), f"{name} shows no figure"


def test_every_exercise_symbol_and_skill_has_its_place(site):
    modules = [curriculum.load(name) for name in curriculum.names()]
    listed = parsed(site / "algorithms.html").select("main tbody tr")
    assert len(listed) == sum(len(module.exercises) for module in modules)
    skills = {skill for module in modules for skill in module.skills}
    assert len(list((site / "skills").iterdir())) == len(skills) == len(parsed(site / "skills.html").select("tbody tr"))
    said = {row.select("td")[4].get_text() for row in parsed(site / "symbols.html").select("main tbody tr")}
    assert said == {module.title for module in modules}


def found_by_axe(browser, address, names, mode, width):
    """A line for each rule that a page breaks, with the first element that breaks it."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=mode)
    lines = []
    for name in names:
        page = opened(context, address + name)
        assert page.evaluate("document.documentElement.dataset.theme") == mode
        for rule in Axe().run(page).response["violations"]:
            lines.append(f"{name}: {rule['id']}: {rule['nodes'][0]['html']}")
        page.close()
    return lines


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing(site, address, chromium, mode):
    assert found_by_axe(chromium, address, [*names(site), "search.html?q=pegasos"], mode, 1280) == []


def test_axe_finds_nothing_on_a_telephone(site, address, chromium):
    no_skills = [name for name in names(site) if not name.startswith("skills/")]
    assert found_by_axe(chromium, address, no_skills, "dark", 375) == []


def test_no_page_is_wider_than_a_telephone(site, address, chromium):
    context = chromium.new_context(viewport={"width": 375, "height": 800})
    wide = {}
    for name in [*names(site), "search.html?q=pegasos"]:
        page = opened(context, address + name)
        if (width := page.evaluate("document.documentElement.scrollWidth")) > 375:
            wide[name] = width
        page.close()
    assert wide == {}


@pytest.mark.parametrize("where", ["served", "from the disk"])
def test_search_finds_an_algorithm(site, address, chromium, where):
    page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(address + "index.html" if where == "served" else (site / "index.html").as_uri())
    page.keyboard.press("Control+k")
    page.keyboard.type("pegasos")
    page.keyboard.press("Enter")
    found = page.locator("#search-results a")
    found.first.wait_for()
    links = [link.get_attribute("href").partition("#")[0].partition("?")[0] for link in found.all()]
    assert "modules/05_svm.html" in links and "algorithms.html" in links


def test_a_reader_can_switch_to_dark(address, chromium):
    page = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light").new_page()
    page.goto(address)
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.locator(".theme-switch-button:visible").first.click()
    page.locator(".theme-change-button[data-mode=dark]:visible").first.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate(background) != light
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark", "it is remembered"


def test_formulas_are_set_without_a_network(site, chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    for name in curriculum.names():
        page = opened(context, (site / "modules" / f"{name}.html").as_uri())
        assert page.locator("mjx-container").count() >= 5
        assert page.locator("mjx-merror, [data-mjx-error]").count() == 0, (
            f"{name} has a formula that MathJax cannot set"
        )
        page.close()
