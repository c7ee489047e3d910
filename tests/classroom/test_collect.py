"""What learning platforms export comes in under the right name, and nothing else comes in."""

import io
import os
import stat
import zipfile

import nbformat
import pytest

from autograder.classroom import collect, roster
from autograder.classroom.collect import collect_download, copy_plain
from autograder.errors import UserError

from .conftest import MODULE

ROSTER = """\
id,first_name,last_name,email,lms_user_id
ada,Ada,Adler,ada@example.org,11
ben,Ben,Brook-Bay,ben@example.org,12
cleo,Cleo,Costa,cleo@example.org,13
dan1,Dan,Doyle,dan1@example.org,14
dan2,Dan,Doyle,dan2@example.org,15
"""


@pytest.fixture
def class_with_roster(folder, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(ROSTER)
    roster.enter(folder, path)
    return folder


def archive(path, members: dict[str, bytes | str]):
    with zipfile.ZipFile(path, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


def sources(folder) -> dict[str, str]:
    """What was collected of each student: the one line of code that tells the files apart."""
    return {
        student: nbformat.read(folder.submission(student, MODULE), as_version=4).cells[0].source
        for student in folder.submitted(MODULE)
    }


def notebook(text: str) -> str:
    return nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text)]))


def test_canvas(class_with_roster, tmp_path):
    path = archive(
        tmp_path / "submissions.zip",
        {
            f"adlerada_11_900_{MODULE}.ipynb": notebook("ada, first"),
            f"adlerada_11_901_{MODULE}-1.ipynb": notebook("ada, second"),
            f"brookbayben_LATE_99_902_{MODULE}-2.ipynb": notebook("ben, by name"),
            "strangersam_98_903_work.ipynb": notebook("sam"),
            "adlerada_11_904_notes.txt": "hello",
        },
    )
    found = collect_download(class_with_roster, MODULE, path)
    assert found.students == ("ada", "ben")
    assert sources(class_with_roster) == {"ada": "ada, second", "ben": "ben, by name"}
    assert any("strangersam" in line for line in found.lines)
    assert not (class_with_roster.path / "downloaded" / MODULE).exists()


def test_moodle(class_with_roster, tmp_path):
    path = archive(
        tmp_path / "moodle.zip",
        {
            "Ada Adler_1234_assignsubmission_file_/work.ipynb": notebook("ada"),
            f"Ada Adler_1234_assignsubmission_file_/{MODULE}.ipynb": notebook("ada, the module"),
            f"Cleo Costa_1235_assignsubmission_file_{MODULE}.ipynb": notebook("cleo"),
            f"Dan Doyle_1236_assignsubmission_file_/{MODULE}.ipynb": notebook("which Dan?"),
        },
    )
    found = collect_download(class_with_roster, MODULE, path)
    assert sources(class_with_roster) == {"ada": "ada, the module", "cleo": "cleo"}
    assert any("is called 'Dan Doyle'" in line for line in found.lines)


def test_gradescope(class_with_roster, tmp_path):
    metadata = """\
submission_77:
  :submitters:
  - :name: Ada A.
    :sid:
    :email: ADA@example.org
  :created_at: 2026-01-10 09:30:00.000000000 -08:00
submission_78:
  :submitters:
  - :name: Somebody
    :sid: dan2
    :email: other@example.org
  :created_at: 2026-01-10 09:30:00.000000000 +00:00
"""
    path = archive(
        tmp_path / "gradescope.zip",
        {
            "assignment_1_export/submission_metadata.yml": metadata,
            f"assignment_1_export/submission_77/{MODULE}.ipynb": notebook("ada"),
            f"assignment_1_export/submission_78/{MODULE}.ipynb": notebook("dan2"),
            f"assignment_1_export/submission_79/{MODULE}.ipynb": notebook("unknown"),
        },
    )
    found = collect_download(class_with_roster, MODULE, path)
    assert sources(class_with_roster) == {"ada": "ada", "dan2": "dan2"}
    stamp = class_with_roster.submission("ada", MODULE).with_name("timestamp.txt").read_text()
    assert stamp.startswith("2026-01-10 17:30:00")
    assert any("submission_79" in line for line in found.lines)


def test_folder_by_student(class_with_roster, tmp_path):
    source = tmp_path / "given"
    for student in ("ada", "ben"):
        (source / student).mkdir(parents=True)
        (source / student / "my work.ipynb").write_text(notebook(student))
    (source / f"cleo_{MODULE}.ipynb").write_text(notebook("cleo"))
    assert collect_download(class_with_roster, MODULE, source).students == ("ada", "ben", "cleo")
    assert sources(class_with_roster) == {"ada": "ada", "ben": "ben", "cleo": "cleo"}


def test_earlier_version_is_kept(class_with_roster, tmp_path):
    for text in ("first", "second"):
        path = archive(tmp_path / f"{text}.zip", {f"ada/{MODULE}.ipynb": notebook(text)})
        collect_download(class_with_roster, MODULE, path)
    assert sources(class_with_roster) == {"ada": "second"}
    (kept,) = (class_with_roster.private / "versions" / "ada" / MODULE).glob("*/*.ipynb")
    assert "first" in kept.read_text()


def test_archive_that_attacks(class_with_roster, tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "MAX_FILE", 100_000)
    link = zipfile.ZipInfo(f"ben/{MODULE}.ipynb")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as made:
        made.writestr(f"../../../../{MODULE}.ipynb", notebook("out"))
        made.writestr(f"{MODULE}.ipynb", notebook("from a zip in the zip"))
    path = tmp_path / "attack.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("../../escaped.ipynb", notebook("out"))
        made.writestr("/tmp/absolute.ipynb", notebook("out"))
        made.writestr(link, "/etc/passwd")
        made.writestr(f"cleo/{MODULE}.ipynb", b" " * 10_000_000)
        made.writestr("ada/homework.zip", inner.getvalue())
        made.writestr("ada/broken.zip", b"PK nonsense")
    found = collect_download(class_with_roster, MODULE, path)
    assert sources(class_with_roster) == {"ada": "from a zip in the zip"}
    assert sum("link or leads out" in line for line in found.lines) == 4
    assert any("larger than" in line for line in found.lines)
    assert any("broken.zip" in line for line in found.lines)
    outside = [name for name in os.listdir(tmp_path) if "escaped" in name]
    assert outside == []
    assert not os.path.exists("/tmp/absolute.ipynb")


def test_bomb_is_refused(class_with_roster, tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "MAX_ARCHIVE", 1_000_000)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for number in range(5):
            made.writestr(f"s{number}/{MODULE}.ipynb", b" " * 900_000)
    with pytest.raises(UserError, match="unpacks to more than"):
        collect_download(class_with_roster, MODULE, path)
    assert class_with_roster.submitted(MODULE) == []
    assert not (class_with_roster.path / "downloaded" / MODULE).exists()


@pytest.mark.parametrize("kind", ["missing", "text", "empty"])
def test_bad_source_is_one_line(class_with_roster, tmp_path, kind):
    path = tmp_path / "given"
    if kind == "text":
        path.write_text("hello")
    if kind == "empty":
        path.mkdir()
    with pytest.raises(UserError) as caught:
        collect_download(class_with_roster, MODULE, path)
    assert "\n" not in str(caught.value)


def test_copy_plain_leaves_links_and_pipes(tmp_path):
    source, target = tmp_path / "a", tmp_path / "b"
    (source / "deep").mkdir(parents=True)
    (source / "file.txt").write_text("x")
    (source / "deep" / "file.txt").write_text("y")
    (source / "link").symlink_to("/etc/passwd")
    (source / "folder").symlink_to("/etc")
    os.mkfifo(source / "pipe")
    lines = copy_plain(source, target)
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == ["deep", "deep/file.txt", "file.txt"]
    assert len(lines) == 3


def test_exchange_through_nbgrader(folder, tmp_path, answer):
    """A submission in nbgrader's exchange with a link in it: the notebook comes, the link does not."""
    exchange = tmp_path / "exchange"
    inbound = exchange / "lsml" / "inbound"
    inbound.mkdir(parents=True)
    exchange.chmod(0o777)
    config = folder.path / "nbgrader_config.py"
    config.write_text(config.read_text() + f"\nc.Exchange.root = {str(exchange)!r}\n")
    for stamp, text in (("2026-01-01 10:00:00 UTC", "first"), ("2026-01-02 10:00:00 UTC", "second")):
        handed = inbound / f"ada+{MODULE}+{stamp}"
        handed.mkdir()
        (handed / f"{MODULE}.ipynb").write_text(notebook(text))
        (handed / "timestamp.txt").write_text(stamp)
        (handed / "link").symlink_to("/etc/passwd")
        (handed / "folder").symlink_to("/etc")
        collect.collect_exchange(folder, MODULE)
        assert sources(folder) == {"ada": text}
        assert sorted(os.listdir(folder.submission("ada", MODULE).parent)) == [f"{MODULE}.ipynb", "timestamp.txt"]
    assert len(list((folder.private / "versions" / "ada" / MODULE).iterdir())) == 1
