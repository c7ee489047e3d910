"""`check`: runs one exercise's visible check, tells how it went, and keeps count for the module."""

import importlib.util
import sys
from collections.abc import Sequence

from lsml_utils import magic
from lsml_utils.checking import limits, rules, sources
from lsml_utils.checking.failures import Card, CheckFailed, Unanswered, show
from lsml_utils.checking.links import show_link
from lsml_utils.checking.values import describe
from lsml_utils.display import say

_module: str | None = None
_total: int | None = None
_passed: set[str] = set()


def start(module: str, total: int) -> None:
    """Begin counting a module's checks: `total` exercises. Called again for the same module, what passed is kept.

    From then on cells may say `%lsml grade`, `%lsml hint 01 mse_loss` and so on.

    >>> start("01_gradient_descent", total=7)
    """
    global _module, _total
    if module != _module:
        _passed.clear()
    _module, _total = module, total
    magic.register(module)


def progress() -> str:
    """How many checks of the module pass, such as "4 of 7"; empty before `start`.

    >>> start("00_orientation", total=1)
    >>> progress()
    '0 of 1'
    """
    return "" if _total is None else f"{len(_passed)} of {_total}"


class check:
    """The check of one exercise, around plain asserts and expect_* helpers.

    name: the exercise's name. forbids: names that the answer may not use, dotted or methods such as ".backward".
    seconds: how long it may take. needs: a package; where it is not installed, what fails says so in one line and the
    notebook goes on. On success prints one line. Otherwise shows why and raises CheckFailed (a kind of
    AssertionError), or Unanswered while the exercise still raises NotImplementedError. What is printed is cut when it
    becomes a flood.

    >>> with check("addition"):
    ...     assert 1 + 1 == 2
    ✓ addition passes its check...
    """

    def __init__(
        self, name: str, forbids: Sequence[str] = (), seconds: float = limits.SECONDS, needs: str | None = None
    ):
        self.name, self.forbids, self.seconds, self.needs = name, forbids, seconds, needs

    def __enter__(self) -> "check":
        self._frame = sys._getframe(1)
        self._deadline = limits.Deadline(self.seconds)
        self._printing = limits.printing_cut()
        self._printing.__enter__()
        self._deadline.start()
        return self

    def __exit__(self, kind, error, traceback) -> bool:
        self._deadline.stop()
        self._printing.__exit__(None, None, None)
        frame, self._frame = self._frame, None
        if error is None and (error := self._broken_rule(frame)) is None:
            _passed.add(self.name)
            done = f" ({progress()})" if _total else ""
            say(f"✓ {self.name} passes its check{done}")
            return False
        _passed.discard(self.name)
        if not isinstance(error, Exception | limits.TookTooLong):  # KeyboardInterrupt, SystemExit
            return False
        if self.needs and importlib.util.find_spec(self.needs) is None and not _is_stub(error, traceback):
            say(f"– {self.name} cannot be checked here: it needs {self.needs}, which is not installed")
            return True
        failure = self._failure(error, traceback, frame)
        if failure.card is not None:
            show(failure.card)
            failure.card_was_shown = True
        show_link(failure.exercise if isinstance(failure, Unanswered) else self.name)
        # The student's own frames stay at the end of the traceback, where %debug looks.
        raise failure.with_traceback(traceback) from (None if isinstance(error, CheckFailed) else error)

    def _failure(self, error: BaseException, traceback, frame) -> CheckFailed:
        title = f"{self.name} does not pass its check yet"
        done = f" ({progress()} done)" if _total else ""
        if _is_stub(error, traceback):
            return self._unanswered(error, traceback, frame, done)
        if isinstance(error, NameError) and error.name == self.name:
            return Unanswered(f"{self.name} is not defined: run the cell above this check first{done}", self.name)
        if isinstance(error, CheckFailed):
            card, reason = error.card, str(error)
            card.title = title
        elif isinstance(error, limits.TookTooLong):
            title = f"{self.name} took too long"
            card = Card(title).add("Called", sources.statement(frame, traceback.tb_lineno), True)
            card.add("Your lines", sources.student_lines(traceback, skip=frame), True)
            reason = f"it was stopped after {self.seconds:g} s. Does every loop end?"
            card.add("Likely cause", "A loop that does not end, or far more work or memory than the data need.")
        elif isinstance(error, AssertionError) and traceback.tb_next is None:
            card, reason = _assert_card(title, error, traceback), str(error) or "an assertion does not hold"
        elif _wants_array(error) and traceback.tb_next is None:
            card = Card(title).add("Asked", sources.statement(frame, traceback.tb_lineno), True)
            reason = "A list came where an array is due."
            card.add("Message", str(error), True).add("Likely cause", f"{reason} `np.array(...)` makes one of it.")
        else:
            card = _error_card(f"{self.name} raised {type(error).__name__}", error, traceback, frame)
            title, reason = card.title, _first_line(error)
        return CheckFailed(f"✗ {title}{done}: {reason}", card, headline=f"✗ {title}{done}")

    def _broken_rule(self, frame) -> CheckFailed | None:
        answer = frame.f_locals.get(self.name, frame.f_globals.get(self.name))
        used = rules.broken(answer, self.forbids) if self.forbids and callable(answer) else []
        if not used:
            return None
        names = " and ".join(used)
        card = Card("").add("Uses", names, True).add("Expected", "the same result without it: that is the exercise")
        return CheckFailed(f"the answer is right, but may not use {names}", card)

    def _unanswered(self, error: NotImplementedError, traceback, frame, done: str) -> Unanswered:
        said = str(error).partition(":")[0].strip()
        owner, _, method = said.partition(".")
        if not owner.isidentifier():
            said = owner = self.name
        if owner != self.name and not self._stands_beside(traceback, frame):
            return Unanswered(f"{self.name} needs {said}, which has no answer yet{done}", owner)
        missing = owner if method == "__init__" else said
        how = "write it in the cell above, run that cell, then this one"
        return Unanswered(f"{missing} has no answer yet: {how}{done}", self.name)

    def _stands_beside(self, traceback, frame) -> bool:
        """Whether the code that raised stands in the exercise's own cell. Each cell is a file to Python."""
        answer = frame.f_locals.get(self.name, frame.f_globals.get(self.name))
        parts = (answer, *(vars(answer).values() if isinstance(answer, type) else ()))
        own = {part.__code__.co_filename for part in parts if hasattr(part, "__code__")}
        return _innermost(traceback).tb_frame.f_code.co_filename in own - {frame.f_code.co_filename}


def _innermost(traceback):
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback


def _is_stub(error: Exception, traceback) -> bool:
    """Whether the student's own line raises NotImplementedError (a library written in C leaves no frame of its own)."""
    if not isinstance(error, NotImplementedError):
        return False
    traceback = _innermost(traceback)
    frame = traceback.tb_frame
    line = sources.line_text(frame, traceback.tb_lineno)
    return sources.is_user_code(frame.f_code.co_filename) and (line is None or "NotImplementedError" in line)


def _wants_array(error: Exception) -> bool:
    """Whether a list was asked for what only an array has: `.shape`, `[0, 1]`."""
    if isinstance(error, AttributeError):
        return isinstance(error.obj, list)
    return isinstance(error, TypeError) and str(error).startswith("list indices must be")


def _assert_card(title: str, error: AssertionError, traceback) -> Card:
    card = Card(title)
    frame = traceback.tb_frame
    parts = sources.assert_parts(frame, traceback.tb_lineno)
    if parts is not None:
        condition, names = parts
        card.add("Expected", condition, True)
        known = {**frame.f_globals, **frame.f_locals}
        for name in names[:6]:
            if name in known and not callable(known[name]) and not hasattr(known[name], "__spec__"):
                card.add(name, describe(known[name]), True)
    return card.add("Hint", str(error))


def _error_card(title: str, error: Exception, traceback, frame) -> Card:
    card = Card(title).add("Called", sources.statement(frame, traceback.tb_lineno), True)
    card.add("Message", _shorten(str(error)), True)
    return card.add("Your lines", sources.student_lines(traceback, skip=frame), True)


def _first_line(error: Exception) -> str:
    return _shorten(str(error)).partition("\n")[0] or type(error).__name__


def _shorten(text: str, most: int = 600) -> str:
    return text if len(text) <= most else text[:most] + " …"
