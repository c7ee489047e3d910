"""Whatever archive a platform, or a student in it, makes: it is collected or refused with a line, and nobody else's."""

import io
import random
import zipfile

import pytest

from autograder.classroom import roster
from autograder.classroom.collect import Collected, collect_download
from autograder.errors import UserError

from .conftest import MODULE
from .test_collect import ROSTER, notebook

SIZES = [pytest.param(5, id="sample"), pytest.param(500, id="whole", marks=pytest.mark.slow)]
NAMES = [
    f"adlerada_11_101_{MODULE}.ipynb", f"brookbayben_12_102_{MODULE}-1.ipynb", f"costacleo_LATE_13_103_{MODULE}.ipynb",
    "Ada Adler_1_assignsubmission_file/x.ipynb", f"ada/{MODULE}.ipynb", f"ben_{MODULE}.ipynb", "submission_1/x.ipynb",
    "submission_metadata.yml",
    "../x.ipynb", "/x.ipynb", "a" * 235 + ".ipynb", ".ipynb", "x.ipynb/", "a/" * 60 + "x.ipynb",
    "\u202eada.ipynb", "\x1b[31m.ipynb", "ada_11_1_a.zip", "c.zip", "a.zip/b.zip", "CON.ipynb", "._x.ipynb", "-1.ipynb",
]  # fmt: skip
CONTENTS = [
    b"",
    b"{}",
    b"\0" * 5000,
    b"[" * 3000,
    b"a: &a [*a, *a]\n",
    b"submission_1:\n  :submitters: 3\n",
    b"%" * 99,
    b"\xff\xfe",
]


def archive(rng: random.Random, depth: int = 0) -> bytes:
    """An archive with members that are honest, odd or hostile, and sometimes damaged."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as made:
        for _ in range(rng.randrange(8)):
            info = zipfile.ZipInfo(rng.choice(NAMES))
            info.external_attr = rng.choice([0o644, 0o120777, 0o10644, 0o40755]) << 16
            content = notebook("x = 1").encode() if rng.random() < 0.5 else rng.choice(CONTENTS)
            if info.filename.endswith(".zip") and depth < 3:
                content = archive(rng, depth + 1)
            with __import__("warnings").catch_warnings(action="ignore"):  # a name twice
                made.writestr(info, content)
    content = bytearray(buffer.getvalue())
    for _ in range(rng.choice([0, 0, 1, 4])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content[: rng.randrange(1, len(content))]) if rng.random() < 0.1 else bytes(content)


@pytest.mark.parametrize("times", SIZES)
def test_any_archive_is_collected_or_refused(folder, tmp_path, times):
    path = tmp_path / "list.csv"
    path.write_text(ROSTER)
    roster.enter(folder, path)
    rng = random.Random(11)
    before = {found for found in tmp_path.rglob("*") if folder.path not in found.parents}
    for number in range(times):
        upload = folder.path.parent / "upload.zip"
        upload.write_bytes(archive(rng))
        try:
            found = collect_download(folder, MODULE, upload)
        except UserError as refusal:
            assert str(refusal) and "\n" not in str(refusal), number
        else:
            assert isinstance(found, Collected) and set(found.students) <= {"ada", "ben", "cleo", "dan1", "dan2"}
        assert {found for found in tmp_path.rglob("*") if folder.path not in found.parents} <= before | {upload}
