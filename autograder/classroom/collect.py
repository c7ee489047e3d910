"""Brings submissions into submitted/: from nbgrader's exchange, or from what a learning platform exports.

Both go through nbgrader's own collectors, with these classes in its configuration. Only plain files of a reasonable
size come in: nbgrader copies what a link points to, and unpacks archives of any size.
"""

import re
import shutil
import stat
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from nbgrader.exchange.default import ExchangeCollect
from nbgrader.plugins.zipcollect import ExtractorPlugin, FileNameCollectorPlugin

from autograder.classroom.folder import STUDENT_ID, ClassFolder
from autograder.errors import UserError
from autograder.grading import reading
from autograder.printing import printable

MAX_FILE = reading.MAX_BYTES
MAX_ARCHIVE = 4 * 2**30  # bytes that one archive may unpack to
MAX_MEMBERS = 200_000
MAX_DEPTH = 8  # folders in a submission
METADATA = "submission_metadata.yml"  # Gradescope's list of who handed in what


class CarefulCollect(ExchangeCollect):
    """nbgrader's collect, that keeps earlier versions and copies no links."""

    def copy_files(self):
        folder = ClassFolder(self.coursedir.root)
        for record in self.src_records:
            if STUDENT_ID.fullmatch(record["username"]):
                keep_version(folder, record["username"], self.coursedir.assignment_id)
        self.src_records = [record for record in self.src_records if STUDENT_ID.fullmatch(record["username"])]
        super().copy_files()

    def do_copy(self, src, dest, log=None):
        for line in copy_plain(Path(src), Path(dest), self.coursedir.ignore):
            self.log.warning("%s: %s", src, line)


def copy_plain(source: Path, target: Path, ignore: Iterable[str] = ()) -> list[str]:
    """Copy a submission's regular files; a line for each thing that was refused."""
    refused = []

    def copy(here: Path, there: Path, depth: int) -> None:
        there.mkdir(parents=True, exist_ok=True)
        for path in sorted(here.iterdir()):
            if any(fnmatch(path.name, pattern) for pattern in ignore):
                continue
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode) and depth < MAX_DEPTH:
                copy(path, there / path.name, depth + 1)
                continue
            try:
                content = reading.read_bytes(path)
            except reading.Unreadable as refusal:
                refused.append(f"{printable(path.relative_to(source))} {refusal}; it was not collected")
            else:
                (there / path.name).write_bytes(content)

    if source.is_symlink():
        return [f"{printable(source.name)} is a link; it was not collected"]
    copy(source, target, 0)
    return refused


def keep_version(folder: ClassFolder, student: str, module: str) -> None:
    """Keep what a student handed in before, where the best version counts and because nothing is to be lost."""
    current = folder.submission(student, module).parent
    if current.is_symlink() or not current.is_dir():
        return
    stamp = _stamp_text(current)
    kept = folder.private / "versions" / student / module / stamp
    if not kept.exists():
        copy_plain(current, kept)


def _stamp_text(directory: Path) -> str:
    """A folder name for a version: its time, or where nobody wrote it down, that of its file."""
    try:
        text = (directory / "timestamp.txt").read_text(encoding="utf-8")[:40].strip()
    except (OSError, UnicodeDecodeError):
        newest = max((path.lstat().st_mtime for path in directory.iterdir()), default=0.0)
        text = datetime.fromtimestamp(newest, UTC).isoformat(" ")
    return re.sub(r"[^0-9A-Za-z:+.-]", "_", text) or "unknown"


def collect_exchange(folder: ClassFolder, module: str) -> None:
    """Collect a module from nbgrader's exchange. UserError where the class has none, or it cannot be used."""
    from autograder.classroom.release import why

    if not folder.app.config.get("Exchange", {}).get("root"):
        raise UserError("this class has no exchange; give the file or folder of submissions with --from")
    result = folder.api.collect(module, update=True)
    if not result["success"]:
        raise UserError(f"{module} was not collected: {why(result)}")


@dataclass(frozen=True)
class Collected:
    """What came in, whose file it was not clear, and what was refused."""

    students: tuple[str, ...]
    lines: tuple[str, ...]


def collect_download(folder: ClassFolder, module: str, source: Path) -> Collected:
    """Collect an archive or folder as Canvas, Moodle or Gradescope export it, through nbgrader's zip collector."""
    from nbgrader.apps.zipcollectapp import ZipCollectApp

    if not source.exists():
        raise UserError(f"no such file or folder: {source}")
    if source.is_file() and not zipfile.is_zipfile(source):
        raise UserError(f"{source} is neither a zip archive nor a folder")
    archive = folder.path / "downloaded" / module / "archive"
    shutil.rmtree(archive.parent, ignore_errors=True)
    archive.mkdir(parents=True)
    if source.is_dir():
        lines = copy_plain(source, archive)
    else:
        shutil.copyfile(source, archive / "submissions.zip")
        lines = []
    app = ZipCollectApp(parent=folder.app, coursedir=folder.app.coursedir, force=True)
    app.coursedir.assignment_id = module
    try:
        app.init_plugins()
        app.extract_archive_files()
        app.process_extracted_files()
    except SystemExit:
        raise UserError(f"nbgrader's zip collector could not use {source}") from None
    finally:
        app.coursedir.assignment_id = ""
        shutil.rmtree(archive.parent, ignore_errors=True)
    collector, extractor = app.collector_plugin_inst, app.extractor_plugin_inst
    if not collector.taken and not (lines or collector.lines or extractor.lines):
        raise UserError(f"{source} holds no notebooks")
    return Collected(tuple(sorted(collector.taken)), (*lines, *extractor.lines, *collector.lines))


class CarefulExtractor(ExtractorPlugin):
    """Unpacks notebooks from archives, and archives in them once more; no links, no escapes, no bombs."""

    def __init__(self, **options):
        super().__init__(**options)
        self.lines: list[str] = []
        self._left = MAX_ARCHIVE

    def extract(self, archive_path: str, extracted_path: str) -> None:
        """Unpack or copy every file of the archive folder, in its own subfolder."""
        top = Path(archive_path)
        for path in sorted(top.rglob("*")):
            target = Path(extracted_path) / path.relative_to(top)
            if path.is_symlink() or not path.is_file():
                continue
            if path.suffix == ".zip":
                self._unpack(path, target.parent, nested=False)
            elif _wanted(path.name):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)

    def _unpack(self, path: Path, target: Path, nested: bool) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
                if len(members) > MAX_MEMBERS:
                    raise UserError(f"{path.name} has {len(members):,} files, where {MAX_MEMBERS:,} are allowed")
                for member in members:
                    self._take(archive, member, target, nested)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
            if not nested:
                raise UserError(f"{printable(path.name)} cannot be unpacked: {error}") from None
            self.lines.append(f"{printable(path.name)} cannot be unpacked: {error}")

    def _take(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, nested: bool) -> None:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        inner = name.suffix == ".zip" and not nested
        if member.is_dir() or not (inner or _wanted(name.name)):
            return
        if stat.S_ISLNK(member.external_attr >> 16) or name.is_absolute() or ".." in name.parts:
            self.lines.append(f"{member.filename!r} is a link or leads out of the archive; it was not collected")
            return
        limit = MAX_ARCHIVE if inner else MAX_FILE
        destination = target.joinpath(*name.parts)
        destination.parent.mkdir(parents=True, exist_ok=True)
        # What a member says about its size may be a lie, so what comes out is counted.
        size = 0
        with archive.open(member) as stream, open(destination, "wb") as file:
            while block := stream.read(2**20):
                size += len(block)
                self._left -= len(block)
                if size > limit or self._left < 0:
                    break
                file.write(block)
        if size > limit or self._left < 0:
            destination.unlink()
            if self._left < 0:
                raise UserError(f"the archive unpacks to more than {MAX_ARCHIVE // 2**30} GB")
            self.lines.append(f"{member.filename!r} is larger than {MAX_FILE // 2**20} MB; it was not collected")
        elif inner:
            self._unpack(destination, destination.with_suffix(""), nested=True)
            destination.unlink()


def _wanted(name: str) -> bool:
    return (name.endswith(".ipynb") or name == METADATA) and not name.startswith("._")


class PlatformCollector(FileNameCollectorPlugin):
    """Tells from a file's place and name whose it is, by the conventions of each platform and the class's roster."""

    def __init__(self, **options):
        super().__init__(**options)
        self.lines: list[str] = []
        self.taken: set[str] = set()
        self._chosen: dict[str, dict] | None = None

    def collect(self, submitted_file: str) -> dict | None:
        """nbgrader's question for each file: whose, of which assignment and when."""
        if self._chosen is None:
            self._chosen = self._choose()
        return self._chosen.get(submitted_file)

    def _choose(self) -> dict[str, dict]:
        """Of all that was extracted, the one file of each student that counts."""
        app = self.parent
        folder = ClassFolder(app.coursedir.root)
        module = app.coursedir.assignment_id
        top = Path(app._format_collect_path(app.extracted_directory))
        with folder.gradebook() as book:
            people = People(book.students)
        best: dict[str, tuple[tuple, Path, datetime | None]] = {}
        for path in sorted(top.rglob("*.ipynb")):
            if ".ipynb_checkpoints" in path.parts or "__MACOSX" in path.parts:
                continue
            found = whose(path.relative_to(top), people, top)
            if isinstance(found, str):
                self.lines.append(f"{printable(path.relative_to(top))}: {found}; it was not collected")
                continue
            student, rank, stamp = found
            # A file with the module's name before any other, then the latest.
            order = (module in path.name, rank)
            if student not in best or order > best[student][0]:
                best[student] = order, path, stamp
        chosen = {}
        for student, (_, path, stamp) in best.items():
            keep_version(folder, student, module)
            chosen[str(path)] = {"student_id": student, "file_id": module, "timestamp": stamp}
        self.taken = set(best)
        return chosen


class People:
    """The class's roster, by everything that a platform may know a student by."""

    def __init__(self, students):
        self._by: dict[tuple[str, str], set[str]] = defaultdict(set)
        for student in students:
            first, last = student.first_name or "", student.last_name or ""
            for kind, value in (
                ("id", student.id.lower()),
                ("email", (student.email or "").lower()),
                ("lms", student.lms_user_id or ""),
                ("name", _letters(first + last)),
                ("name", _letters(last + first)),
            ):
                if value:
                    self._by[kind, value].add(student.id)

    def one(self, kind: str, value: str) -> str | None:
        """The one student of that id, e-mail address, platform's number or name; None where it is none or two."""
        value = _letters(value) if kind == "name" else value.strip().lower()
        found = self._by.get((kind, value), set())
        return next(iter(found)) if len(found) == 1 else None


def _letters(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).casefold()
    return "".join(character for character in plain if character.isalnum())


CANVAS = re.compile(r"(?P<name>[^_]+)_(?:LATE_)?(?P<user>\d+)_(?P<attempt>\d+)_(?P<file>.+)")
MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_file(?:_(?P<file>.*))?")
GRADESCOPE = re.compile(r"submission_(?P<number>\d+)")


def whose(path: Path, people: People, top: Path) -> tuple[str, tuple, datetime | None] | str:
    """The student of a file, a rank among their own files and when it was handed in; or why nobody can be told."""
    for depth, part in enumerate(path.parts):
        if found := GRADESCOPE.fullmatch(part):
            return _gradescope(top.joinpath(*path.parts[:depth]), part, int(found["number"]), people)
        if found := MOODLE.fullmatch(part):
            student = people.one("name", found["name"])
            return (
                (student, (int(found["number"]),), None) if student else f"no one student is called {found['name']!r}"
            )
    if found := CANVAS.fullmatch(path.name):
        student = people.one("lms", found["user"]) or people.one("name", found["name"])
        if student is None:
            return f"no student has the lms_user_id {found['user']} or is the only {found['name']!r}"
        return student, (int(found["attempt"]), _revision(found["file"])), None
    # A folder or file that bears the student's id, as nbgrader's own submitted/ does.
    for part in (*path.parts[:-1], path.stem, *_prefixes(path.stem)):
        if student := people.one("id", part):
            return student, (_revision(path.name),), None
    return "its name is none that Canvas, Moodle, Gradescope or this class's roster gives"


def _prefixes(stem: str) -> Iterator[str]:
    """Longest first: `ada_01_gradient_descent` may be ada's, or that of a student called ada_01."""
    for end in range(len(stem) - 1, 0, -1):
        if stem[end] in "_+-":
            yield stem[:end]


def _revision(name: str) -> int:
    """Canvas puts -1, -2, ... behind the name of a file that was handed in again."""
    found = re.search(r"-(\d+)\.ipynb$", name)
    return int(found[1]) if found else 0


def _gradescope(folder: Path, entry: str, number: int, people: People) -> tuple[str, tuple, datetime | None] | str:
    listed = _metadata(folder).get(entry)
    if not isinstance(listed, dict):
        return f"{METADATA} does not say whose it is"
    submitters = [person for person in listed.get(":submitters") or [] if isinstance(person, dict)]
    for person in submitters:
        for key, kind in ((":sid", "id"), (":email", "email"), (":sid", "lms"), (":name", "name")):
            if person.get(key) is not None and (student := people.one(kind, str(person[key]))):
                stamp = listed.get(":created_at")
                if isinstance(stamp, datetime) and stamp.tzinfo is not None:
                    stamp = stamp.astimezone(UTC).replace(tzinfo=None)
                return student, (number,), stamp if isinstance(stamp, datetime) else None
    return "no student of the roster has that e-mail address, id or name"


_metadata_cache: dict[Path, tuple[int, dict]] = {}


def _metadata(folder: Path) -> dict:
    import yaml

    path = folder / METADATA
    try:
        stamp = path.stat().st_mtime_ns
        if path not in _metadata_cache or _metadata_cache[path][0] != stamp:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
            _metadata_cache[path] = stamp, values if isinstance(values, dict) else {}
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return _metadata_cache[path][1]
