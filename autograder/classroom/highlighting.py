"""A student's code in colours. Pygments takes long over some texts, so call it by `autograder.apart`."""

from functools import lru_cache

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer, TextLexer

LONGEST = 30_000  # characters in colours; a longer text is shown plain


def code(source: str) -> str:
    """Python as HTML."""
    return highlight(source, PythonLexer() if len(source) <= LONGEST else TextLexer(), _formatter("friendly"))


def style(name: str = "friendly") -> str:
    """The style sheet of that HTML, in the colours of one of Pygments' styles."""
    return _formatter(name).get_style_defs(".code")


@lru_cache(maxsize=2)
def _formatter(style: str) -> HtmlFormatter:
    return HtmlFormatter(cssclass="code", style=style)
