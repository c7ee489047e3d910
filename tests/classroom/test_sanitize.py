"""Student's markdown stays readable and does nothing, whatever renders it next."""

from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbconvert.filters import markdown2html

from autograder.classroom import sanitize

PIECES = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "![a](javascript:x)",
    "<javascript:alert(1)>", "<a href='java&#115;cript:1'>", "```", "`", "\n\n", "    ", "$", "$$", "\\(", "\\)",
    "<svg/onload=1>", "</div>", "<!--", "-->", "<div>", "<pre>", "]]>", "<![CDATA[", "&lt;script&gt;", "&#60;script>",
    "[r]: javascript:alert(1)\n", "[r]", "<math><mtext></p><style><img src onerror=1>", "| a | b |\n|---|---|\n",
    "> ", "- ", "# ", "\\begin{a}", "\x00", "\u2028", "text", "<b onclick=1>", "<style>", "</style>",
    "\\href{javascript:1}{x}",
    "<noscript><p title='</noscript><img src=x onerror=1>'>", "<details open ontoggle=1>", "data:text/html,x",
]  # fmt: skip
ALLOWED = sanitize.TAGS | {"div"}


class Tags(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]


def harmless(html: str) -> None:
    found = Tags(html)
    assert found.tags <= ALLOWED | {"span"}, found.tags - ALLOWED
    for _, name, value in found.attributes:
        assert name in ("href", "title", "align", "id", "class"), name
        if name == "href":
            scheme = value.strip().lower().partition(":")[0] if ":" in value.split("/")[0] else ""
            assert scheme in ("", "http", "https"), value


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(PIECES), max_size=8))
def test_any_mixture_is_harmless_after_another_renderer(pieces):
    source = "".join(pieces)
    harmless(sanitize.html(source))
    harmless(markdown2html(sanitize.markdown(source)))


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("Plain words, as written.", "Plain words, as written."),
        ("**bold** and `a < b`", "<strong>bold</strong> and <code>a &lt; b</code>"),
        ("- one\n- two", "<li>one</li>"),
        ("$a < b$", "$a &lt; b$"),
        ("| a | b |\n| --- | --- |\n| 1 | 2 |", "<td>1</td>"),
        ("[paper](https://example.org/p)", 'href="https://example.org/p"'),
    ],
)
def test_honest_markdown_is_kept(source, kept):
    from html import unescape

    assert unescape(kept) in unescape(markdown2html(sanitize.markdown(source)))


def test_tex_that_does_more_than_typeset_is_defused():
    assert "\\href" not in sanitize.html(r"$\href{javascript:x}{y}$ $\frac{1}{2}$")
    assert "\\frac" in sanitize.html(r"$\href{javascript:x}{y}$ $\frac{1}{2}$")


def test_what_is_too_long_is_cut():
    assert len(sanitize.markdown("a " * 100_000)) < 2 * sanitize.LONGEST
