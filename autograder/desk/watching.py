"""`lsml watch`: whenever a notebook in work/ is saved, its report is new a moment later."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import watchfiles
from filelock import FileLock, Timeout

from autograder import curriculum
from autograder.desk import own_page
from autograder.desk.regrading import Regrader
from autograder.errors import UserError
from autograder.grading import kept, reading
from autograder.grading.grade import Abandoned, Grader
from autograder.grading.report import Report
from autograder.sandbox import SandboxUnavailable

SETTLE_MS = 50  # a save is several changes of the folder
log = logging.getLogger(__name__)
PATIENCE = 0.3  # seconds; a report that takes longer is shown before it is whole


class Saves:
    """The modules whose notebooks were saved and are not graded yet, and the one at hand. For several threads."""

    def __init__(self):
        self._changed = threading.Condition()
        self._waiting: list[str] = []
        self._at_hand: str | None = None
        self.over = False

    def add(self, name: str) -> bool:
        """Whether another one is at hand, which may well be an older state of the same notebook."""
        with self._changed:
            if name not in self._waiting:
                self._waiting.append(name)
            self._changed.notify_all()
            return self._at_hand is not None

    def end(self) -> None:
        """Nothing more is to be graded."""
        with self._changed:
            self.over = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[str]:
        while True:
            with self._changed:
                self._at_hand = None
                self._changed.wait_for(lambda: self._waiting or self.over)
                if self.over:
                    return
                self._at_hand = self._waiting.pop(0)
            yield self._at_hand


def watch(
    sandbox: str,
    tell: Callable[[str], None],
    until: Callable[[], object] | None = None,
    root: Path = curriculum.ROOT,
) -> None:
    """Grade the notebooks of work/ as they are saved; `tell` is given a line for each.

    It ends when `until`, called in a thread of its own, returns, or by Ctrl-C. UserError where nothing can be graded.
    """
    if not (root / "work").is_dir():
        raise UserError("there is no work/ to watch; `lsml lab` makes it")
    (root / own_page.PAGES).mkdir(parents=True, exist_ok=True)
    known = root / kept.FOLDER / "known"
    known.mkdir(mode=0o700, exist_ok=True)
    saves, stop, grader = Saves(), threading.Event(), Grader(sandbox=sandbox, root=root, kept=known)

    def end() -> None:
        stop.set()
        saves.end()
        grader.abandon()

    lost: list[Exception] = []

    def see() -> None:
        try:
            for name in _saved(root, stop):
                if saves.add(name):
                    grader.abandon()
        except Exception as error:
            lost.append(error)
            end()

    def wait() -> None:
        until()
        end()

    with contextlib.ExitStack() as stack:
        stack.callback(end)
        for work in (see, *([wait] if until else ())):  # a save while the sandbox starts counts
            threading.Thread(target=work, daemon=True).start()
        if stack.enter_context(_the_only_one(root, tell, stop)):
            try:
                stack.enter_context(grader)
            except SandboxUnavailable as refusal:
                raise UserError(
                    f"cannot run a notebook safely here: {refusal}. "
                    "For your own notebooks you may do without protection: `lsml lab --sandbox none`"
                ) from None
            tell("ready: save a notebook in work/, and its report is new")
            _grade(saves, Regrader(grader), tell, root)
    if lost:
        raise UserError(f"{root / 'work'} can no longer be watched: {lost[0]}")


def _grade(saves: Saves, regrader: Regrader, tell: Callable[[str], None], root: Path) -> None:
    """Grade what is saved, one after the other, until the end."""
    for name in own_page.old(root):
        saves.add(name)
    for name in saves:
        try:
            if (report := _regraded(regrader, name, root)) is not None:
                tell(_line(report))
        except Abandoned:
            saves.add(name)  # behind what was saved meanwhile
        except Exception as error:
            log.exception("the report of %s failed", name)
            own_page.put_failure(name, str(error), root)
            tell(f"{name}: no report: {error}")


def _regraded(regrader: Regrader, name: str, root: Path) -> Report | None:
    """The Report of a module's notebook, kept and on its page; None where there is no notebook any more."""
    path, shown = kept.notebook(name, root), time.monotonic()
    if not path.exists():
        return None
    try:
        content = reading.read_bytes(path)
    except reading.Unreadable:
        content = b""  # the Report says why

    def tell(report: Report, waiting: list[str]) -> None:
        nonlocal shown
        if not waiting or time.monotonic() - shown > PATIENCE:
            own_page.put(report, name, content, waiting, root)
            shown = time.monotonic()

    regrader.tell = tell
    report = regrader.regrade(path, name)
    own_page.put(report, name, content, None, root)
    if content == kept.own(path, root):
        kept.put(report, content, regrader.grader.limits, root)
    return report


def _saved(root: Path, stop: threading.Event) -> Iterator[str]:
    """The modules whose notebooks in work/ are saved, as they are."""
    work = (root / "work").resolve()  # some systems tell of changes by real paths
    notebooks = {str(work / name / f"{name}.ipynb"): name for name in curriculum.names(root)}
    changes = watchfiles.watch(
        work,
        watch_filter=lambda change, path: path in notebooks and change is not watchfiles.Change.deleted,
        debounce=SETTLE_MS,
        step=SETTLE_MS // 2,
        rust_timeout=500,  # ms, until it looks whether it is to stop
        stop_event=stop,
        raise_interrupt=False,
        ignore_permission_denied=True,
    )
    for found in changes:
        yield from dict.fromkeys(notebooks[path] for _, path in sorted(found, key=lambda one: one[1]))


@contextlib.contextmanager
def _the_only_one(root: Path, tell: Callable[[str], None], stop: threading.Event) -> Iterator[bool]:
    """Two would grade everything twice: wait until no other is at work; False where this one is to stop before."""
    lock = FileLock(root / kept.FOLDER / "watch.lock")
    said = False
    while not stop.is_set():
        try:
            lock.acquire(timeout=0.5 if said else 0)
        except Timeout:
            if not said:
                tell("another `lsml watch` is at work here; this one waits until it ends")
            said = True
        else:
            try:
                yield True
            finally:
                lock.release()
            return
    yield False


def _line(report: Report) -> str:
    if report.status != "graded":
        return f"{report.module}: {'; '.join(report.notes) or report.status}"
    wrong = [f"{e.id} ({e.verdict})" for e in report.exercises if e.verdict not in ("passed", "unanswered", "untested")]
    points = f"{report.score:g} of {report.max_score:g}"
    return f"{report.module}: {points} in {report.seconds:.1f} s" + (f"; {', '.join(wrong)}" if wrong else "")
