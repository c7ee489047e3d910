"""Unpacks what a learning platform exports: notebooks, and notebooks in archives that students uploaded.

The platform's archive is trusted as far as its outermost names go; every upload in it is hostile. So what an upload
costs, and what is wrong with it, is its owner's: the others are collected all the same.
"""

import errno
import io
import itertools
import shutil
import stat
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from nbgrader.plugins.zipcollect import ExtractorPlugin

from autograder.classroom.folder import ClassFolder
from autograder.classroom.platforms import MAX_METADATA, METADATA, People, Unknown, Upload, metadata, whose
from autograder.errors import UserError
from autograder.grading import reading
from autograder.printing import printable

MAX_FILE = reading.MAX_BYTES
MAX_UPLOADED = 256 * 2**20  # bytes that all uploads of one student may unpack to
MAX_FILES = 1_000  # files that one student may have in the platform's archive, or in one of their own
MAX_DIRECTORY = 2**20  # bytes of the table of contents of a student's archive: some 10,000 files
MAX_NAME = 1_000  # characters of a file's name with its folders
MAX_DEPTH = 32
MAX_LINES = 5  # about the files of one student

GIVEN = "(given)"  # no student's id can be this


@dataclass(frozen=True)
class Candidate:
    """A notebook that could be a student's submission: where it was unpacked to, and its name within the upload."""

    upload: Upload
    path: Path
    name: str


class Refused(Exception):
    """One file that is not collected. `str(error)` says why."""


class CarefulExtractor(ExtractorPlugin):
    """Unpacks notebooks by their owner; no links, no escapes, no bombs."""

    def __init__(self, **options):
        super().__init__(**options)
        self.candidates: list[Candidate] = []
        self._lines: defaultdict[str, list[str]] = defaultdict(list)
        self._unsaid: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._files: Counter[str] = Counter()
        self._numbers = itertools.count()

    @property
    def lines(self) -> list[str]:
        """What was refused and why, a few lines for each owner."""
        shown = []
        for mark, lines in self._lines.items():
            shown += lines
            if self._unsaid[mark]:
                shown.append(f"{printable(mark)[:80]}: not collected either: {self._unsaid[mark]:,} more")
        return shown

    def extract(self, archive_path: str, extracted_path: str) -> None:
        """Unpack every notebook of the archive folder. UserError where the platform's archive cannot be read."""
        self._target = Path(extracted_path)
        folder = ClassFolder(self.parent.coursedir.root)
        with folder.gradebook() as book:
            self._people = People(book.students)
        top = Path(archive_path)
        loose = []
        for path in sorted(top.rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            name = PurePosixPath(path.relative_to(top))
            if len(name.parts) == 1 and _is_archive(name) and not self._known(name):
                self._platform_archive(path)
            else:
                loose.append((name.relative_to(GIVEN) if name.parts[0] == GIVEN else name, path))
        listed = {}
        for name, path in loose:
            if name.name == METADATA and not self._inside_an_upload(name):
                if path.stat().st_size > MAX_METADATA:
                    raise UserError(f"{METADATA} in {printable(name.parent)} is larger than it can be")
                listed[name.parent] = metadata(path.read_bytes())
        for name, path in loose:
            self._take(name, partial(open, path, "rb"), listed)

    def _known(self, name: PurePosixPath) -> bool:
        try:
            return bool(whose(name, self._people, {}))
        except Unknown:
            return False

    def _platform_archive(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                named = [(PurePosixPath(member.filename.replace("\\", "/")), member) for member in members]
                listed = {}
                for name, member in named:
                    if name.name == METADATA and not self._inside_an_upload(name):
                        if member.file_size > MAX_METADATA:
                            raise UserError(f"{METADATA} in {printable(path.name)} is larger than it can be")
                        listed[name.parent] = metadata(archive.read(member))
                for name, member in named:
                    self._take(name, partial(archive.open, member), listed, _is_link(member))
        except UserError:
            raise
        except Exception as error:
            _ours(error)
            raise UserError(f"{printable(path.name)} cannot be unpacked: {printable(error)}") from None

    def _inside_an_upload(self, name: PurePosixPath) -> bool:
        try:
            whose(name.parent, self._people, {})
        except Unknown as unknown:
            return bool(unknown.mark)  # some part of the path names an upload, of somebody we do not know
        return True

    def _take(self, name: PurePosixPath, content: Callable[[], IO[bytes]], listed, link: bool = False) -> None:
        """Take one outermost file: a notebook, or an archive that holds some."""
        if not _wanted(name) and not _is_archive(name):
            return
        mark = name.parts[0]
        try:
            if link or _leads_out(name):
                raise Refused("is a link or leads out of the archive; it was not collected")
            if len(str(name)) > MAX_NAME or len(name.parts) > MAX_DEPTH:
                raise Refused("has a longer name than can be; it was not collected")
            try:
                upload = whose(name, self._people, listed)
            except Unknown as unknown:
                mark = unknown.mark or mark
                raise Refused(f": {unknown}; it was not collected") from None
            mark = upload.student
            self._count(upload)
            if _is_archive(name):
                self._unpack(upload, name, content)
            else:
                self._keep(upload, name.name, content)
        except Refused as refusal:
            self._refuse(mark, name, refusal)

    def _refuse(self, mark: str, name: PurePosixPath, why: Refused) -> None:
        if len(self._lines[mark]) >= MAX_LINES:
            self._unsaid[mark] += 1
            return
        shown = printable(str(name)[:200]) + ("..." if len(str(name)) > 200 else "")
        self._lines[mark].append(f"{shown}{why}" if str(why).startswith(":") else f"{shown} {why}")

    def _count(self, upload: Upload) -> None:
        self._files[upload.student] += 1
        if self._files[upload.student] > MAX_FILES:
            raise Refused(f"is one of more than {MAX_FILES:,} files of {upload.student}; it was not collected")

    def _keep(self, upload: Upload, name: str, content: Callable[[], IO[bytes]]) -> None:
        target = self._target / upload.student / f"{next(self._numbers)}.ipynb"
        self._copy(upload, content, target, MAX_FILE)
        self.candidates.append(Candidate(upload, target, name))

    def _copy(self, upload: Upload, content: Callable[[], IO[bytes]], target: Path, limit: int) -> None:
        """Write a file out. Refused where it is too large, or cannot be read."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            # What a member says about its size may be a lie, so what comes out is counted.
            with content() as stream, open(target, "wb") as file:
                size = 0
                while block := stream.read(2**20):
                    size += len(block)
                    self._bytes[upload.student] += len(block)
                    if size > limit:
                        raise Refused(f"is larger than {limit // 2**20} MB; it was not collected")
                    if self._bytes[upload.student] > MAX_UPLOADED:
                        what = f"{upload.student}'s uploads unpack to more than {MAX_UPLOADED // 2**20} MB"
                        raise Refused(f"was not collected: {what}")
                    file.write(block)
        except Exception as error:
            target.unlink(missing_ok=True)
            _ours(error)
            raise error if isinstance(error, Refused) else _cannot(error) from None

    def _unpack(self, upload: Upload, name: PurePosixPath, content: Callable[[], IO[bytes]]) -> None:
        """The notebooks of a student's archive; whatever their names are, they are that student's."""
        scratch = self._target / upload.student / f"{next(self._numbers)}.zip"
        self._copy(upload, content, scratch, MAX_UPLOADED)
        try:
            with _Bounded(open(scratch, "rb", buffering=0)) as file, zipfile.ZipFile(file) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                for member in members:
                    inner = PurePosixPath(member.filename.replace("\\", "/"))
                    if not _wanted(inner) and not _is_archive(inner):
                        continue
                    try:
                        self._count(upload)
                        if _is_link(member) or _leads_out(inner):
                            raise Refused("is a link or leads out of the archive; it was not collected")
                        if _is_archive(inner):
                            raise Refused("is an archive within an archive; it was not unpacked")
                        self._keep(upload, inner.name, partial(archive.open, member))
                    except Refused as refusal:
                        self._refuse(upload.student, name / inner.name, refusal)
        except Exception as error:  # the student made these bytes, so whatever zipfile says of them is theirs
            _ours(error)
            raise _cannot(error) from None
        finally:
            scratch.unlink(missing_ok=True)


class _Bounded(io.BufferedReader):
    """zipfile reads an archive's table of contents at once, however long it says that it is."""

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(MAX_DIRECTORY + 1 if size is None or size < 0 else min(size, MAX_DIRECTORY + 1))
        if len(content) > MAX_DIRECTORY:
            raise zipfile.BadZipFile("it lists too many files")
        return content


def _ours(error: Exception) -> None:
    """Whether the disk is full, which is no fault of an upload."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        raise error


def _cannot(error: Exception) -> Refused:
    return Refused(f"cannot be unpacked: {printable(error)[:200] or type(error).__name__}")


def _is_link(member: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)


def _leads_out(name: PurePosixPath) -> bool:
    return name.is_absolute() or ".." in name.parts


def _is_archive(name: PurePosixPath) -> bool:
    return name.suffix.lower() == ".zip" and not _of_an_editor(name)


def _wanted(name: PurePosixPath) -> bool:
    return name.suffix.lower() == ".ipynb" and not _of_an_editor(name)


def _of_an_editor(name: PurePosixPath) -> bool:
    return name.name.startswith("._") or not {".ipynb_checkpoints", "__MACOSX"}.isdisjoint(name.parts)


def fill_archive(source: Path, archive: Path) -> list[str]:
    """Put what an instructor gave into nbgrader's archive folder; a line for each file that was refused."""
    from autograder.classroom.versions import copy_plain

    if source.is_dir():
        return copy_plain(source, archive / GIVEN)
    archive.mkdir(parents=True)
    shutil.copyfile(source, archive / f"{GIVEN}.zip")
    return []
