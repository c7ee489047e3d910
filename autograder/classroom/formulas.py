"""Formulas in HTML as MathML, which browsers set by themselves: without a script, and without a network."""

import re
from collections.abc import Iterator
from functools import lru_cache
from html import unescape
from xml.etree import ElementTree

from bs4 import BeautifulSoup, NavigableString
from jinja2 import pass_context
from latex2mathml.converter import convert_to_element
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from autograder.classroom import sanitize

LONGEST = 2_000  # characters of one formula
# Between dollars, as Markdown leaves them in a text. "$5 and $6" is no formula: a digit follows the second dollar.
_FORMULA = re.compile(
    rf"\$\$(?P<block>[^$]{{1,{LONGEST}}})\$\$"
    rf"|(?P<environment>\\begin\{{(?P<name>[a-z]{{1,20}}\*?)\}}.{{1,{LONGEST}}}?\\end\{{(?P=name)\}})"
    rf"|(?<![\\$])\$(?P<inline>(?:\\.|[^$\\]){{1,{LONGEST}}})\$(?![\d$])",
    re.DOTALL,
)
_LITERAL = ("code", "pre", "math", "script", "style", "textarea")
# A definition may double a formula with each step.
_DEFINITION = re.compile(r"\\(?:re|provide)?newcommand|\\[egx]?def\b|\\let\b|\\newenvironment")
_ENVIRONMENTS = re.compile(r"(\\(?:begin|end)\{)(?:aligned|split|gathered)\}")
_TAGS = frozenset(
    re.findall(
        r"\w+",
        "math mrow mi mn mo ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mmultiscripts"
        " mprescripts mtable mtr mlabeledtr mtd mstyle mpadded mphantom menclose",
    )
)
_ATTRIBUTES = frozenset(
    re.findall(
        r"\w+",
        "accent accentunder columnalign columnlines columnspacing depth display displaystyle fence form height lspace"
        " linethickness mathcolor mathvariant maxsize minsize movablelimits notation rowlines rowspacing rspace"
        " scriptlevel separator stretchy symmetric voffset width",
    )
)
_VALUE = re.compile(r"[\w .#%+-]{0,100}")


def html(source: str) -> str:
    """Markdown as harmless HTML with its formulas set. It may take long, so call it by `autograder.apart`."""
    return typeset(sanitize.html(source))


def typeset(html: str) -> str:
    """HTML with its formulas as MathML. One that cannot be set is shown as it was written."""
    if "$" not in html and r"\begin" not in html:
        return html
    soup = BeautifulSoup(html, "html.parser")
    for text in soup.find_all(string=True):
        if type(text) is NavigableString and not text.find_parent(_LITERAL) and _FORMULA.search(text):
            text.replace_with(*_parts(str(text), soup))
    return soup.decode(formatter="minimal")


def _parts(text: str, soup: BeautifulSoup) -> Iterator:
    """The text and, in the place of each formula, its element."""
    end = 0
    for found in _FORMULA.finditer(text):
        yield NavigableString(text[end : found.start()])
        end = found.end()
        set_ = mathml(found["block"] or found["environment"] or found["inline"], block=found["inline"] is None)
        if set_ is None:
            code = soup.new_tag("code")
            code.string = found[0]
            yield code
        else:
            yield BeautifulSoup(set_, "html.parser").contents[0].extract()
    yield NavigableString(text[end:])


@lru_cache(maxsize=1024)
def mathml(tex: str, block: bool) -> str | None:
    """A formula as one <math> element; None where it cannot be set. Whatever the TeX holds, it does nothing."""
    if len(tex) > LONGEST or _DEFINITION.search(tex):
        return None
    try:
        top = convert_to_element(_ENVIRONMENTS.sub(r"\1align*}", tex), display="block" if block else "inline")
        for element in top.iter():
            if element.tag not in _TAGS:
                return None
            # The library writes entities, and escapes nothing.
            element.text = unescape(element.text) if element.text else None
            element.attrib = {name: value for name, value in element.attrib.items() if _harmless(name, value)}
            if element.tag == "mo" and element.text in ("‖", "|", "∥"):
                element.attrib.setdefault("stretchy", "false")  # or a lone bar grows and sinks below its line
            if element.tag == "mi" and (element.text or "").startswith("\\"):  # a command that it does not know
                element.text = element.text[1:]
        return ElementTree.tostring(top, encoding="unicode", short_empty_elements=False)
    except Exception:  # it has an error of its own for every mistake in TeX, and Python's for what is nested too deep
        return None


def _harmless(name: str, value: str) -> bool:
    return name in _ATTRIBUTES and _VALUE.fullmatch(value) is not None


@pass_context
def markdown2html(context, source: str) -> str:
    """nbconvert's filter of this name, with formulas set and no ¶ behind headings: for formgrader."""
    attachments = context.get("cell", {}).get("attachments", {})
    renderer = IPythonRenderer(escape=False, attachments=attachments, exclude_anchor_links=True)
    return typeset(MarkdownWithMath(renderer=renderer).render(source))
