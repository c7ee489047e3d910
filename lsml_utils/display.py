"""Where this code is run, and how to print there."""

import sys


def in_ipython() -> bool:
    """Whether cells are run by IPython (JupyterLab, VS Code, Colab, a terminal).

    >>> in_ipython()
    False
    """
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def say(text: str) -> None:
    """Print, also where the terminal cannot show ✓ or ✗.

    >>> say("✓ done")
    ✓ done
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for fancy, plain in {"✓": "ok:", "✗": "x", "…": "...", "·": "-", "→": ">", "−": "-"}.items():
            text = text.replace(fancy, plain)
        text = text.encode(encoding, "replace").decode(encoding)
    print(text)
