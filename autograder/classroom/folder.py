"""A class folder: where nbgrader keeps a course's gradebook, and lsml its secret, its Reports and its lock.

FOLDER/
    nbgrader_config.py   short; calls autograder.classroom.settings.configure
    roster.csv           id, first_name, last_name, email, lms_user_id
    gradebook.db         nbgrader's (unless the class was made with --db)
    source/ release/ submitted/ autograded/ feedback/    nbgrader's own folders
    refused/             what was set aside from submitted/: links, devices, oversized files
    .lsml/               secret (0600), reports/, recorded/, versions/, undone/, removed/, class.json, lock
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

from autograder import curriculum
from autograder.classroom.times import zone
from autograder.errors import UserError
from autograder.files import write_atomically
from autograder.printing import printable

STUDENT_ID = re.compile(r"[\w@][\w@.+-]{0,127}")

CONFIG = '''\
"""nbgrader's configuration of this class. Yours to edit: whatever nbgrader documents works here."""

import os
from pathlib import Path

from autograder.classroom.settings import configure

c = get_config()  # noqa: F821
folder = Path(__file__).resolve().parent
configure(c, folder)

c.CourseDirectory.course_id = {course!r}
{more}
# Late work: "none" takes nothing off, "zero" takes everything; or a plugin of your own (see nbgrader's documentation).
c.LateSubmissionPlugin.penalty_method = "none"
'''


class ClassFolder:
    """One class on disk. `ClassFolder(path)` opens it; `ClassFolder.new(path)` makes it."""

    def __init__(self, path: Path | str):
        self.path = Path(path).resolve()
        if not self.path.is_dir():
            raise UserError(f"no such folder: {path}")
        if not (self.path / "nbgrader_config.py").is_file() or not self.private.is_dir():
            raise UserError(f"{path} is not a class folder; `lsml class new {path}` makes one")

    @classmethod
    def new(
        cls,
        path: Path | str,
        course: str | None = None,
        db: str | None = None,
        exchange: Path | None = None,
        timezone: str = "UTC",
    ) -> "ClassFolder":
        """Make an empty class. UserError where the folder holds something else already.

        `course`: nbgrader's id of it, by default the folder's name. An exchange knows a course by its id alone, so
        one that another class has used there is refused.
        """
        path = Path(path)
        course = course or _course_of(path)
        zone(timezone)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(f"{path} exists and is not empty; nothing was changed")
        more = ""
        if db:
            more += f"c.CourseDirectory.db_url = {_with_driver(db)!r}\n"
        if exchange and _is_taken(exchange / course):
            raise UserError(f"{exchange} has a course {course!r} already; give this class another --course")
        if timezone != "UTC":
            more += f"c.NbGraderAPI.timezone = {timezone!r}\n"
        if exchange:
            more += f"c.Exchange.root = {str(exchange.resolve())!r}\n"
        # Other users of the machine, students among them, have no business in it.
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        private = path / ".lsml"
        private.mkdir(mode=0o700)
        write_atomically(private / "secret", secrets.token_hex(32) + "\n", mode=0o600)
        for name in ("source", "submitted"):
            (path / name).mkdir()
        write_atomically(path / "roster.csv", "id,first_name,last_name,email,lms_user_id\n")
        # Last, because a folder counts as a class once it has this file. It may hold a database password.
        write_atomically(path / "nbgrader_config.py", CONFIG.format(course=course, more=more), mode=0o600)
        return cls(path)

    @property
    def private(self) -> Path:
        """Where lsml keeps what is its own."""
        return self.path / ".lsml"

    @property
    def secret(self) -> str:
        """What fixes the seeds of this class's hidden tests."""
        return _text(self.private / "secret").strip()

    @cached_property
    def options(self) -> dict:
        """What `lsml class set` has set: the resubmission policy."""
        path = self.private / "class.json"
        options = {"resubmissions": "last"}
        if path.exists():
            try:
                options |= json.loads(_text(path))
            except ValueError:
                raise UserError(f"{path} is not JSON; mend or delete it") from None
        return options

    def set_options(self, **options) -> None:
        """Change and keep the class's options."""
        self.options.update(options)
        write_atomically(self.private / "class.json", json.dumps(self.options, indent=1) + "\n")

    def submission(self, student: str, module: str) -> Path:
        """Where nbgrader expects that student's notebook."""
        return self.path / "submitted" / student / module / f"{module}.ipynb"

    def autograded(self, student: str, module: str) -> Path:
        """Where nbgrader, and formgrader, expect the graded notebook."""
        return self.path / "autograded" / student / module / f"{module}.ipynb"

    def submitted(self, module: str) -> list[str]:
        """The students who handed something in for a module, sorted."""
        found = (self.path / "submitted").glob(f"*/{module}")
        return sorted(path.parent.name for path in found if STUDENT_ID.fullmatch(path.parent.name))

    def skipped(self) -> list[str]:
        """Folders of submitted/ that are no student's, a line each: nothing is left out in silence."""
        folders = (self.path / "submitted").iterdir() if (self.path / "submitted").is_dir() else ()
        odd = sorted(path.name for path in folders if path.is_dir() and not STUDENT_ID.fullmatch(path.name))
        return [f"submitted/{printable(name)} is not graded: that cannot be a student's id" for name in odd]

    def graded(self, module: str) -> list[str]:
        """The students with a graded notebook of a module, sorted."""
        return sorted(path.parents[1].name for path in (self.path / "autograded").glob(f"*/{module}/{module}.ipynb"))

    def modules_submitted(self) -> list[str]:
        """The modules of the course that somebody has handed in."""
        present = {path.name for path in (self.path / "submitted").glob("*/*")}
        return [name for name in curriculum.names() if name in present]

    # nbgrader's own objects, configured by nbgrader_config.py

    @cached_property
    def app(self):
        """nbgrader's application object with this class's configuration."""
        from nbgrader.apps.baseapp import NbGrader

        # nbgrader calls alembic by its name when it makes a database; a virtual environment need not be on PATH.
        scripts = os.path.dirname(sys.executable)
        if scripts not in os.environ.get("PATH", "").split(os.pathsep):
            os.environ["PATH"] = os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)])
        app = NbGrader(raise_config_file_errors=True)
        app.load_cwd_config = False
        app.config_dir = str(self.path)
        try:
            app.initialize([], root=str(self.path))
        except (Exception, SystemExit) as error:
            why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(f"{self.path / 'nbgrader_config.py'} cannot be loaded: {why}") from error
        app.log.setLevel("ERROR")
        # nbgrader goes on with its own defaults, which would run students' code as this user.
        if "autograder.classroom.bridge" not in str(app.config.get("Autograde", {}).get("exporter_class", "")):
            raise UserError(f"{self.path / 'nbgrader_config.py'} does not call configure(c, folder)")
        return app

    @property
    def course(self) -> str:
        """nbgrader's id of the course."""
        return self.app.coursedir.course_id

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of this class. UserError where the configuration names none that there is."""
        try:
            return zone(self.api.timezone)
        except UserError as error:
            raise UserError(f"{self.path / 'nbgrader_config.py'}, NbGraderAPI.timezone: {error}") from None

    @cached_property
    def api(self):
        """nbgrader's Python interface to this class."""
        from nbgrader.apps.api import NbGraderAPI

        api = NbGraderAPI(coursedir=self.app.coursedir, parent=self.app)
        api.log_level = "ERROR"
        return api

    @contextlib.contextmanager
    def gradebook(self) -> Iterator:
        """nbgrader's gradebook, open. UserError where the database cannot be reached or read."""
        from nbgrader.api import Gradebook
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import SQLAlchemyError

        url = self.app.coursedir.db_url
        shown = "of this class"
        try:
            shown = make_url(url).render_as_string(hide_password=True)
            with Gradebook(url, self.course) as book:
                yield book
        except SQLAlchemyError as error:
            why = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise UserError(f"the gradebook {shown} cannot be used: {why}") from error
        except ModuleNotFoundError as error:
            raise UserError(f"the gradebook {shown} needs the package {error.name}; install it with pip") from error

    @contextlib.contextmanager
    def lock(self, wait: bool = False) -> Iterator[None]:
        """Keep a second run out of this class. UserError (or, with `wait`, patience) while another one holds it."""
        with open(self.private / "lock", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                file.seek(0)
                who = file.read().strip() or "another process"
                raise UserError(f"{who} is at work in {self.path}; wait for it, or use --wait") from None
            file.seek(0)
            file.truncate()
            file.write(f"lsml process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%H:%M:%S')},")
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _is_taken(place: Path) -> bool:
    """Is a course in this folder of an exchange? It may be there and empty: docs/hub/prepare.sh makes it so."""
    try:
        return os.path.lexists(place) and (place.stat().st_uid != os.geteuid() or any(place.iterdir()))
    except OSError:  # another's, a file or a dangling link
        return True


def _course_of(path: Path) -> str:
    """A class's course id where none is given: its folder's name, for two classes may share an exchange."""
    return re.sub(r"[^\w-]+", "-", path.resolve().name).strip("-") or "lsml"


def _with_driver(url: str) -> str:
    """A database URL that names the PostgreSQL driver that is installed; SQLAlchemy's default changed with 2.1."""
    if url.startswith("postgresql://") and importlib.util.find_spec("psycopg2"):
        return url.replace("postgresql://", "postgresql+psycopg2://", 1)
    return url
