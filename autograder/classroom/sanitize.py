"""Makes what a student wrote harmless to look at: formgrader shows it in the instructor's own browser session."""

import re
from html import escape

import bleach
from bs4 import BeautifulSoup
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

TAGS = frozenset(
    re.findall(
        r"\w+",
        "a abbr b blockquote br code dd del details dl dt em h1 h2 h3 h4 h5 h6 hr i li ol p pre s small strong sub"
        " summary sup table tbody td th thead tr u ul",
    )
)
ATTRIBUTES = {"abbr": ["title"], "td": ["align"], "th": ["align"]}
LONGEST = 20_000  # characters of one cell: a long essay, and no hostile text of that length takes a second

_ANY_SYNTAX = re.compile(r"[<>&`*_\[\]!|~\\]|^[^\S\n]*+(?:#|>|[-+]\s|\d++[.)]\s)", re.MULTILINE)
# TeX that does more than typeset: MathJax would make links, ids and styles of it.
_TEX = re.compile(r"\\(?=(?:href|url|require|class|style|cssId|unicode|html\w*|data|bbox)\b)", re.IGNORECASE)
# Read as entities these are text; read as characters, the next Markdown renderer would see syntax in them.
_SYNTAX = {ord(character): f"&#{ord(character)};" for character in "\\`*_[](){}!#+-|~<>:&\n\r"}


def markdown(source: str) -> str:
    """Markdown that renders as the given one does, but whose HTML is on an allow list.

    It is rendered once here, cleaned by bleach, and comes out as one line of HTML: Markdown of which no part is left
    for another renderer to interpret. Images are dropped: a remote one tells its server who reads it.
    """
    if len(source) <= LONGEST and not _ANY_SYNTAX.search(source):
        return source  # plain words stay as they were written
    return block(source)


def block(source: str) -> str:
    """Markdown, ours or a student's, as one line of clean HTML: a block of a page, or Markdown that renders as such."""
    return f"<div>{_one_line(html(source))}</div>"


def html(source: str) -> str:
    """Markdown, ours or a student's, as clean HTML."""
    if len(source) > LONGEST:
        source = source[:LONGEST] + "\n\n[cut here: the text is longer than this]"
    try:
        renderer = IPythonRenderer(escape=False, exclude_anchor_links=True)  # or a ¶ would stand behind every heading
        rendered = MarkdownWithMath(renderer=renderer).render(_TEX.sub("", source))
    except Exception:  # whatever a renderer does with hostile text, the text can be shown as it is
        rendered = f"<pre>{escape(source)}</pre>"
    attributes = {**ATTRIBUTES, "a": _of_a_link}
    return bleach.clean(rendered, tags=TAGS, attributes=attributes, protocols=["http", "https"], strip=True)


def _of_a_link(tag: str, name: str, value: str) -> bool:
    # Stricter than bleach, to which "javascript:1" is a host and a port.
    return name == "title" or (name == "href" and value.lower().startswith(("https://", "http://")))


def _one_line(html: str) -> str:
    soup = BeautifulSoup(html, "html.parser")
    return soup.decode(formatter=lambda text: text.translate(_SYNTAX))


def plain(text: str) -> str:
    """Text that Markdown and HTML show as it stands."""
    return text.translate(_SYNTAX)
