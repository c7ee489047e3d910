"""Lines on a terminal that tell, while a notebook is graded, which exercise is being tested and for how long."""

import sys

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Live:
    """A line for each exercise, gone at the end. A context manager; `begin` may be called as often as one likes.

    They go to standard error, and only to a terminal.
    """

    def __init__(self, show: bool = True):
        # The tests run with sys.stderr replaced, so the terminal is kept hold of.
        console = Console(file=sys.stderr, highlight=False)
        columns = SpinnerColumn(finished_text=" "), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
        self._progress = Progress(
            *columns,
            console=console,
            transient=True,
            disable=not (show and console.is_terminal),
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks, self._current = {}, None

    def __enter__(self) -> "Live":
        self._progress.start()
        return self

    def __exit__(self, *failure) -> None:
        self._progress.stop()

    def begin(self, what: str) -> None:
        """What is being done from now on."""
        if what == self._current:
            return
        if self._current is not None:
            self._progress.update(self._tasks[self._current], completed=1)
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=1)
        else:  # once more: to compare with known wrong answers, or because the grader failed
            self._progress.reset(self._tasks[what])
        self._current = what
