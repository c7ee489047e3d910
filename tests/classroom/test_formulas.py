r"""Formulas become MathML without a script, whatever somebody wrote between two dollars."""

from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup

from autograder import curriculum
from autograder.classroom import sanitize
from autograder.classroom.formulas import _ATTRIBUTES, _FORMULA, _TAGS, mathml, typeset


def rendered(source: str) -> BeautifulSoup:
    return BeautifulSoup(typeset(sanitize.html(source)), "html.parser")


def test_markdown_and_formulas_side_by_side():
    page = rendered(r"**Good**: $a_i < b$, but not `$a_i$`. $$\frac{1}{2}$$")
    assert page.strong.string == "Good" and page.code.string == "$a_i$"
    inline, block = page.find_all("math")
    assert (inline["display"], block["display"]) == ("inline", "block")
    assert inline.msub.get_text() == "ai" and inline.mo.string == "<" and block.mfrac.get_text() == "12"


@pytest.mark.parametrize("source", ["It costs $5 and $6.", "One $ alone", r"\$x", "$$", "$ $$"])
def test_a_dollar_is_a_dollar(source):
    page = rendered(source)
    assert page.math is None and page.get_text().strip() == source.replace("\\$", "$")


@pytest.mark.parametrize(
    "source", [r"\begin{align}a &= b\\ c &= d\end{align}", r"$$\begin{aligned}a &= b\\ c &= d\end{aligned}$$"]
)
def test_aligned_lines_are_a_table(source):
    assert len(rendered(source).math.find_all("mtr")) == 2


@pytest.mark.parametrize("module", curriculum.names())
def test_every_formula_of_the_course_can_be_set(module):
    cells = [cell.source for cell in curriculum.load(module).cells if cell.cell_type == "markdown"]
    found = [found for source in cells for found in _FORMULA.finditer(source)]
    assert found
    for formula in found:
        tex = formula["block"] or formula["environment"] or formula["inline"]
        made = mathml(tex, block=formula["inline"] is None)
        assert made is not None and "\\" not in made, tex


@pytest.mark.parametrize(
    "tex",
    [
        r"\text{<img src=x onerror=alert(1)>}",
        r"\text{</math><script>alert(1)</script>}",
        r"\href{javascript:alert(1)}{x}",
        r"\style{background:url(https://example.org)}{x}",
        r"\class{x}{y} \cssId{a}{b} \color{red;x:url(a)}z",
        r"\text{&lt;script&gt;} \unicode{60}",
    ],
)
def test_hostile_tex_does_nothing(tex):
    for html in (mathml(tex, False), typeset(sanitize.html(f"${tex}$"))):
        page = BeautifulSoup(html, "html.parser")
        assert {tag.name for tag in page.find_all(True)} <= _TAGS | {"p"}
        assert all(set(tag.attrs) <= _ATTRIBUTES and "url" not in str(tag.attrs) for tag in page.find_all(True))
    ElementTree.fromstring(mathml(tex, False))


@pytest.mark.parametrize(
    "tex",
    [
        r"\newcommand{\a}{\b\b}\newcommand{\b}{\c\c}\a",  # doubles with each line
        r"\def\x{\x\x}\x",
        "{" * 1_500,
        r"\sqrt" * 300,
        r"\frac",
        "x" * 3_000,
        r"\left(" * 200,
    ],
)
def test_what_cannot_be_set_is_shown_as_it_was_written(tex):
    assert mathml(tex, False) is None
    assert typeset(f"<p>before ${tex}$ after</p>").count(tex) == 1
