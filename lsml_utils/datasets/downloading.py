"""Fetching a file once: resumed after an interruption, its checksum compared on every use, its progress shown."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lsml_utils.datasets.folder import VARIABLE, data_folder
from lsml_utils.display import in_ipython
from lsml_utils.errors import OneLineError
from lsml_utils.tables import bytes_text

ATTEMPTS = 3
BLOCK = 1 << 13  # bytes: what an interruption may lose
SECONDS = (10, 30)  # to connect, and between two bytes


class DatasetUnavailable(OneLineError, RuntimeError):
    """A dataset that cannot be had now: why, and what to use instead."""


class _Unfinished(Exception):
    """The connection ended before the file did."""


@dataclass(frozen=True)
class Remote:
    """A file on the network. size: bytes. instead: what to use where there is no network, as a call."""

    name: str
    url: str
    sha256: str
    size: int
    instead: str

    def fetch(self) -> Path:
        """The file on this machine, downloaded if it is not here yet or is not what it should be.

        Its checksum is compared every time. Raises DatasetUnavailable, in one line, where it cannot be had.
        """
        import pooch

        pooch.get_logger().setLevel("ERROR")  # we tell what happens ourselves
        folder = data_folder()
        file = Path(urlsplit(self.url).path).name
        part = folder / f"{file}.part"
        try:
            resumed = part.exists()
            try:
                return Path(self._retrieve(pooch, folder, file, part))
            except ValueError:  # the checksum
                if not resumed:
                    raise
                return Path(self._retrieve(pooch, folder, file, part))  # what was resumed may have been another file's
        except Exception as error:
            raise self._unavailable(error, part) from None

    def _retrieve(self, pooch, folder: Path, file: str, part: Path) -> str:
        def downloader(url, output, _):
            _download(url, part, self.size, self.name)
            os.replace(part, output)

        return pooch.retrieve(self.url, f"sha256:{self.sha256}", fname=file, path=folder, downloader=downloader)

    def _unavailable(self, error: Exception, part: Path) -> DatasetUnavailable:
        import requests

        host = urlsplit(self.url).netloc
        if isinstance(error, requests.HTTPError):
            reason = f"{host} answers {error.response.status_code}"
        elif isinstance(error, requests.Timeout):
            reason = f"{host} does not answer"
        elif isinstance(error, _Unfinished):
            reason = f"{host} {error}"
        elif isinstance(error, requests.exceptions.ChunkedEncodingError):
            reason = f"the connection to {host} broke off"
        elif isinstance(error, requests.RequestException):
            reason = f"no connection to {host}"
        elif isinstance(error, ValueError):
            part.unlink(missing_ok=True)
            reason = f"what {host} sent does not have the right checksum, and is deleted"
        elif isinstance(error, OSError):
            reason = f"{data_folder()} cannot be written ({error.strerror}); {VARIABLE} can name another folder"
        else:
            raise error
        kept = (
            f" {bytes_text(part.stat().st_size)} are kept: calling again goes on from there." if part.exists() else ""
        )
        return DatasetUnavailable(f"{self.name} cannot be downloaded: {reason}.{kept} Offline, use {self.instead}.")


def _download(url: str, part: Path, size: int, name: str) -> None:
    """Fill `part` up to `size` bytes, going on where it ends; a connection that broke off is made again a few times."""
    import requests

    for attempt in range(ATTEMPTS):
        before = _size(part)
        try:
            return _continue(url, part, size, name)
        except (requests.RequestException, _Unfinished) as error:
            was_connected = isinstance(error, requests.exceptions.ChunkedEncodingError | _Unfinished)
            if attempt == ATTEMPTS - 1 or not (was_connected or _size(part) > before):
                raise
            time.sleep(0.2 * 4**attempt)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _continue(url: str, part: Path, size: int, name: str) -> None:
    import requests

    have = _size(part)
    if have > size:
        have = 0
    if have == size:
        return
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with requests.get(url, headers=headers, stream=True, timeout=SECONDS) as answer:
        if answer.status_code == 416:  # the server's file ends before the place where we want to go on
            part.unlink()
            raise _Unfinished("has a shorter file than expected")
        answer.raise_for_status()
        goes_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if goes_on else 0
        with open(part, "ab" if goes_on else "wb") as file, _Progress(name, size, have) as progress:
            for block in answer.iter_content(BLOCK):
                have += len(block)
                if have > size:
                    raise ValueError("longer than expected")
                file.write(block)
                progress.at(have)
    if have < size:
        raise _Unfinished(f"ended after {bytes_text(have)} of {bytes_text(size)}")


class _Progress:
    """One line that is written over itself in notebooks and terminals, and once at the end in a log."""

    def __init__(self, name: str, size: int, have: int):
        self.name, self.size, self.have = name, size, have
        self.live = in_ipython() or sys.stdout.isatty()
        self.shown = 0.0

    def __enter__(self) -> "_Progress":
        return self

    def at(self, have: int) -> None:
        self.have = have
        if self.live and time.monotonic() - self.shown > 0.2:
            self.shown = time.monotonic()
            print(f"\r{self}", end="", flush=True)

    def __exit__(self, *_) -> None:
        print(f"\r{self}" if self.live else str(self), flush=True)

    def __str__(self) -> str:
        share = self.have / self.size
        bar = "#" * int(24 * share)
        return f"{self.name} [{bar:<24}] {bytes_text(self.have)} of {bytes_text(self.size)} ({share:.0%})"
