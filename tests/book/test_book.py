"""`lsml book` on a small module: unsolved, whole, the same in every run."""

import hashlib
import re
import sys
import zlib

import pytest

from autograder import curriculum
from autograder.book import outputs
from autograder.book.site import swap
from autograder.cli import main
from autograder.errors import UserError

from .conftest import NAME, SECRETS, checkout
from .pages import broken_links, loaded_from_elsewhere, pages, parsed, without_words


def module_page(site):
    return parsed(site / "modules" / f"{NAME}.html")


@pytest.mark.parametrize("what", SECRETS)
def test_no_page_and_no_other_file_holds(what, site, root):
    said = "".join(path.read_text(encoding="utf-8") for path in (root / "solutions" / NAME).iterdir())
    assert SECRETS[what] in said
    words = re.findall(r"[\w.]+", SECRETS[what])
    for path in site.rglob("*"):
        if path.is_file():
            head, zipped, body = path.read_bytes().partition(b"zlib.\n" if path.name == "objects.inv" else b"no such")
            assert SECRETS[what].encode() not in head + (zlib.decompress(body) if zipped else b"")
        if path.suffix == ".html":  # in code, each word stands in an element of its own
            assert " ".join(words) not in " ".join(re.findall(r"[\w.]+", parsed(path).get_text()))


def test_a_module_is_there_as_released_with_the_figures_of_its_demos(site):
    page = module_page(site)
    text = page.get_text()
    assert "YOUR CODE HERE" in text and "YOUR ANSWER HERE" in text
    assert "return (mean_a + mean_b) / 2" in text, "the released bug"
    figures = page.select("main img")
    assert len(figures) == 2
    assert "weighted mean against weight of the last value" in figures[0]["alt"]
    assert "numpy average" in figures[1]["alt"]
    assert "passes its check" not in text, "what checks print belongs to who solves them"
    folded = [summary.get_text(" ", strip=True) for summary in page.select("details summary")]
    assert folded.count("Hint 1") == folded.count("Hint 2") == 2
    assert any("Show the check" in summary for summary in folded)


def test_every_link_leads_somewhere_inside(site):
    assert broken_links(site) == []
    assert loaded_from_elsewhere(site) == []


def test_every_figure_says_what_it_shows(site):
    assert without_words(site) == []


def test_the_indexes_lead_to_exercises_and_legends(site):
    rows = [row.get_text(" ", strip=True) for row in parsed(site / "algorithms.html").select("main tbody tr")]
    assert len(rows) == 2 and rows[0].startswith("merge_means The mean of n_a values with mean mean_a")
    link = parsed(site / "algorithms.html").select_one("main tbody a")["href"]
    target = module_page(site).find(id=link.partition("#")[2])
    assert "merge_means" in target.find("h3").get_text()
    symbols = [row.select("td") for row in parsed(site / "symbols.html").select("main tbody tr")]
    assert [row[0].get_text(strip=True) for row in symbols] == [r"\(\mu\)", r"\(w\)", r"\(x\)"]
    assert symbols[1][1].get_text() == r"\(x\), \(w\): values | and their weights"


def test_each_skill_has_a_page_with_its_exercises(site):
    assert sorted(path.stem for path in (site / "skills").iterdir()) == ["mergeable-statistics", "vectorised-numpy"]
    page = parsed(site / "skills" / "mergeable-statistics.html")
    assert page.select_one("h1").get_text().startswith("Mergeable statistics")
    assert "You need before: module 00." in page.get_text(), "which is not in this book"
    assert [row.select_one("a").get_text() for row in page.select("main tbody tr")] == ["merge_means"]


def test_no_header_of_a_table_is_empty(site):
    for page in pages(site):
        assert all(header.get_text(strip=True) for header in parsed(page).select("th"))
    assert module_page(site).select_one("#further thead td") is not None


def digests(site):
    files = (path for path in site.rglob("*") if path.is_file())
    return {path.relative_to(site).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_second_run_executes_nothing_and_writes_the_same_bytes(site, root, monkeypatch, capsys):
    before = digests(site)
    (site / "stale.html").write_text("a page of a module that is gone")
    monkeypatch.setattr(curriculum, "ROOT", root)
    monkeypatch.setenv("LSML_DEMO", "small")
    assert main(["book", NAME[:2]]) == 0
    printed = capsys.readouterr().out
    assert f"{NAME}  as before" in printed and "running" not in printed
    assert digests(site) == before


def test_what_was_executed_counts_until_the_module_or_the_size_of_its_demos_changes(root, tmp_path, monkeypatch):
    folder = root / "build" / "book" / "outputs"
    monkeypatch.setenv("LSML_DEMO", "small")
    assert outputs.kept(curriculum.load(NAME, root), folder)
    other = checkout(tmp_path)
    assert outputs.kept(curriculum.load(NAME, other), folder), "the same module elsewhere"
    path = curriculum.files(NAME, other).notebook
    path.write_text(path.read_text().replace("Time against the number of values", "Seconds against values"))
    assert outputs.kept(curriculum.load(NAME, other), folder), "prose runs nothing"
    path.write_text(path.read_text().replace("np.linspace(0, 10, 50)", "np.linspace(0, 10, 60)"))
    assert outputs.kept(curriculum.load(NAME, other), folder) is None
    monkeypatch.delenv("LSML_DEMO")
    assert outputs.kept(curriculum.load(NAME, root), folder) is None


def test_no_warning_is_shown(site, root):
    """It would quote the answer, and differ from run to run."""
    text = module_page(site).get_text()
    assert "RuntimeWarning" not in text and "ipykernel_" not in text
    for path in (root / "build" / "book" / "outputs").iterdir():
        assert "stderr" not in path.read_text()


def test_pages_that_cannot_be_put_in_place_leave_the_old_ones(tmp_path):
    places = whole, made, _ = [tmp_path / name for name in ("html", "new", "old")]
    whole.mkdir()
    (whole / "index.html").write_text("old")
    with pytest.raises(UserError, match="cannot be replaced: No such file"):
        swap(*places)
    assert [path.name for path in tmp_path.iterdir()] == ["html"]
    assert (whole / "index.html").read_text() == "old"
    made.mkdir()
    (made / "index.html").write_text("new")
    swap(*places)
    assert [path.name for path in tmp_path.iterdir()] == ["html"]
    assert (whole / "index.html").read_text() == "new"


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("plt.plot([1, 2])", "this figure has no text in its place: call plotting.use() first"),
        ('raise OSError("no disk\\nleft")', "the solved notebook fails here: OSError: no disk"),
    ],
)
def test_a_demo_that_cannot_be_shown_is_one_line(cell, said, tmp_path, monkeypatch, capsys):
    """The old site stays."""
    path = curriculum.files(NAME, checkout(tmp_path)).notebook
    text = path.read_text().replace("plotting.use()\n", "import matplotlib.pyplot as plt\n")
    text = text[: text.index("# %% [markdown]\n# ## Find the bug")].replace("total=2", "total=1")
    text = text.replace(", mergeable statistics.", ".")  # the bug's skill
    text = text.replace("weights = np.linspace", f"{cell}\nweights = np.linspace")
    path.write_text(text)
    line = next(i for i, one in enumerate(text.split("\n"), 1) if one == '# %% tags=["demo"]')
    old = tmp_path / "build" / "book" / "html" / "index.html"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    monkeypatch.setattr(curriculum, "ROOT", tmp_path)
    assert main(["book"]) == 2
    assert capsys.readouterr().err.strip().endswith(f"solutions/{NAME}/notebook.py:{line}: {said}")
    assert old.read_text() == "old"


def test_what_is_not_installed_is_said_before_anything_runs(root, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "myst_nb", None)
    assert main(["book"]) == 2
    assert capsys.readouterr().err.startswith("lsml: the book needs myst_nb; run `make setup`")
