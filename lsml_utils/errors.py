"""Errors that are shown as one readable line instead of a traceback."""

import sys


class OneLineError(Exception):
    """Shown as its message alone in Jupyter, IPython and plain Python. It is an error all the same: Run All stops."""

    def __init__(self, message: str):
        super().__init__(message)
        _quieten_plain_python()

    def _render_traceback_(self) -> list[str]:  # IPython asks for this in place of its own traceback
        return str(self).splitlines() or [type(self).__name__]


def _quieten_plain_python() -> None:
    """Give `python script.py` the same one line; every other exception goes to the hook that was there."""
    before = sys.excepthook
    if getattr(before, "_of_lsml", False):
        return

    def hook(kind, error, traceback):
        if isinstance(error, OneLineError):
            print("\n".join(error._render_traceback_()), file=sys.stderr)
        else:
            before(kind, error, traceback)

    hook._of_lsml = True
    sys.excepthook = hook
