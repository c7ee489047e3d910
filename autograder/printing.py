"""Text for a terminal."""

import unicodedata


def printable(text: object) -> str:
    """A file's name, or any text of someone else's: what could move the cursor or hide is written out."""
    encodable = str(text).encode("utf-8", "backslashreplace").decode()
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode()
        for c in encodable
    )
