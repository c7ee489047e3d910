"""What Ctrl-C does while a command is still being loaded."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

INTERRUPTED = 130  # the exit status that shells give for it
SHOW_CURSOR = b"\x1b[?25h"
MESSAGE = "lsml: interrupted; run the same command again to go on\n"


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Let Ctrl-C end the process here and now, in one line. For imports: they hold nothing that must be tidied up.

    A KeyboardInterrupt will not do: it may arise inside a library that swallows it, as torch does while it is imported.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main one may set a handler
        yield
        return
    before = signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _leave(number: int, frame: object) -> None:
    if os.isatty(2):
        os.write(2, SHOW_CURSOR)  # which lines that change on a terminal hide
    os.write(2, MESSAGE.encode())
    os._exit(INTERRUPTED)
