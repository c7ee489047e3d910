"""One folder for all temporary files of a run, its workers' too, so that they go when it ends, however it ends."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "lsml-run-"
FRESH_SECONDS = 60.0  # a folder this young may belong to a run that has not locked it yet


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """The run's folder; this process and what it starts put their temporary files there.

    A run that is killed cannot delete its own: the next one does, where no process holds the folder's lock.
    """
    clear()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    try:
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
            yield folder
    finally:
        tempfile.tempdir = before[0]
        os.environ.pop("TMPDIR")
        if before[1] is not None:
            os.environ["TMPDIR"] = before[1]
        shutil.rmtree(folder, ignore_errors=True)


def clear() -> None:
    """Delete the folders of runs that no process is in any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            if not (folder / "lock").exists() and time.time() - folder.stat().st_mtime < FRESH_SECONDS:
                continue
            with open(folder / "lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # in use, or gone already
            continue
