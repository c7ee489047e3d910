"""What learning platforms export comes in under the right name, and nothing else comes in."""

import contextlib
import getpass
import io
import os
import random
import stat
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest

from autograder.classroom import collect, roster, times, unpack
from autograder.classroom.collect import collect_download
from autograder.classroom.extend import extend
from autograder.classroom.platforms import METADATA, People
from autograder.classroom.versions import copy_plain, undo
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
    monkeypatch.setattr(unpack, "MAX_FILE", 100_000)
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


def zipped(members: dict[str, bytes | str], compression=zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as inner:
        for name, content in members.items():
            inner.writestr(name, content)
    return made.getvalue()


# Each takes the name of ben's own upload and says what lies in ada's.
AS_BEN = {
    "a platform's name": {"brookbayben_12_999_work.ipynb": notebook("forged")},
    "his folder": {f"ben/{MODULE}.ipynb": notebook("forged"), f"ben_{MODULE}.ipynb": notebook("forged")},
    "Moodle's folder": {f"Ben Brook-Bay_9999_assignsubmission_file_/{MODULE}.ipynb": notebook("forged")},
    "a list of Gradescope's": {
        "submission_metadata.yml": "submission_9:\n  :submitters:\n  - :sid: ben\n",
        f"submission_9/{MODULE}.ipynb": notebook("forged"),
    },
}
GRADESCOPE = """\
submission_77:
  :submitters:
  - :sid: ada
  :created_at: 2026-01-10 09:30:00.000000000 +00:00
submission_78:
  :submitters:
  - :sid: ben
  :created_at: 2026-01-09 09:30:00.000000000 +00:00
"""


@pytest.mark.parametrize("forgery", AS_BEN)
@pytest.mark.parametrize("platform", ["canvas", "moodle", "gradescope", "folder"])
def test_what_is_inside_an_upload_belongs_to_its_uploader(class_with_roster, tmp_path, platform, forgery):
    inside, ada, ben = AS_BEN[forgery], "adlerada_11_900_", "brookbayben_12_100_"
    members = {}
    if platform == "moodle":
        ada, ben = "Ada Adler_1234_assignsubmission_file_/", "Ben Brook-Bay_12_assignsubmission_file_/"
    if platform == "gradescope":
        members["export/submission_metadata.yml"] = GRADESCOPE
        ada, ben = "export/submission_77/", "export/submission_78/"
    if platform == "folder":
        ada, ben = "ada/", "ben/"
    members[f"{ada}homework.zip"] = zipped(inside)
    if platform != "canvas":  # there an upload has no folders of its own
        members |= {f"{ada}{name}": content for name, content in inside.items()}
    members[f"{ben}{MODULE}.ipynb"] = notebook("ben's own")
    collect_download(class_with_roster, MODULE, archive(tmp_path / "all.zip", members))
    assert sources(class_with_roster) == {"ada": "forged", "ben": "ben's own"}, "hers is hers, his is his"


def test_honest_archive_in_canvas(class_with_roster, tmp_path):
    path = archive(
        tmp_path / "all.zip",
        {"adlerada_11_900_homework.zip": zipped({f"homework/{MODULE}.ipynb": notebook("hers"), "data.csv": "1,2"})},
    )
    assert collect_download(class_with_roster, MODULE, path).students == ("ada",)
    assert sources(class_with_roster) == {"ada": "hers"}


def bomb() -> bytes:
    return zipped({f"{number}.ipynb": b" " * 2**22 for number in range(4)})


def empty(count: int) -> dict[str, bytes]:
    return dict.fromkeys((f"{number}.ipynb" for number in range(count)), b"")


def damaged() -> bytes:
    content = bytearray(zipped({"a.ipynb": notebook("x")}, zipfile.ZIP_STORED))
    content[40:60] = b"\xff" * 20
    return bytes(content)


# Uploads of ben's that stopped a whole collection.
SPOILERS = {
    "a long name": lambda: {"é" * 235 + ".ipynb": b"{}"},
    "a long name in an archive": lambda: {"a.zip": zipped({"é" * 235 + ".ipynb": notebook("x"), "y" * 9_000: "z"})},
    "a bomb": lambda: {"work.zip": bomb()},
    "archives over the budget": lambda: {f"{number}.zip": bomb() for number in range(3)},
    "empty members": lambda: {"work.zip": zipped(empty(200_001), zipfile.ZIP_STORED)},
    "empty files": lambda: empty(3_000),
    "YAML": lambda: {METADATA: b"[" * 3_000, "a.zip": zipped({METADATA: "[" * 3_000})},
    "no archive": lambda: {"work.zip": b"PK\x03\x04 nonsense", "other.zip": b""},
    "a damaged archive": lambda: {"work.zip": damaged()},
    "many folders": lambda: {"/".join("a" * 200) + "/x.ipynb": b"{}"},
}


@pytest.mark.parametrize(
    ("platform", "spoiler"),
    [("moodle" if spoiler == "many folders" else "canvas", spoiler) for spoiler in SPOILERS]
    + [("folder", "YAML"), ("moodle", "YAML"), ("folder", "empty files")],
)
def test_one_upload_stops_nobody_elses(class_with_roster, tmp_path, monkeypatch, platform, spoiler):
    monkeypatch.setattr(unpack, "MAX_UPLOADED", 10_000_000)
    before = {"canvas": "brookbayben_12_{}_", "moodle": "Ben Brook-Bay_12_assignsubmission_file_/", "folder": "ben/"}
    members = {"ada_11_900_a.ipynb" if platform == "canvas" else f"ada/{MODULE}.ipynb": notebook("ada")}
    for number, (name, content) in enumerate(SPOILERS[spoiler]().items()):
        members[before[platform].format(number) + name] = content
    members["cleo_13_900_c.ipynb" if platform == "canvas" else f"cleo/{MODULE}.ipynb"] = notebook("cleo")
    found = collect_download(class_with_roster, MODULE, archive(tmp_path / "all.zip", members))
    assert {"ada", "cleo"} <= set(found.students)
    for student in ("ada", "cleo"):
        path = class_with_roster.submission(student, MODULE)
        assert nbformat.read(path, as_version=4).cells[0].source == student
    assert len(found.lines) < 20
    assert all(len(line) < 600 and line.isprintable() for line in found.lines)
    assert not (class_with_roster.path / "downloaded" / MODULE).exists()


@pytest.mark.parametrize("text", ["!!bool x", '!!int ""', "!!timestamp x", "[" * 3_000, "a: 1\n" * 300_000])
def test_a_list_of_gradescopes_in_an_upload_of_a_folder_stops_nobody_elses(class_with_roster, tmp_path, text):
    for student in ("ada", "ben"):
        (tmp_path / "given" / student).mkdir(parents=True)
        (tmp_path / "given" / student / f"{MODULE}.ipynb").write_text(notebook(student))
    (tmp_path / "given" / "ben" / METADATA).write_text(text)
    assert collect_download(class_with_roster, MODULE, tmp_path / "given").students == ("ada", "ben")


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled, or the end lost."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        start = rng.randrange(len(changed) or 1)
        end = min(len(changed), start + rng.choice((1, 2, 4, 30, 300)))
        kind = rng.randrange(4)
        if kind == 0:
            changed[start:end] = rng.randbytes(end - start)
        elif kind == 1:
            del changed[start:end]
        elif kind == 2:
            changed[start:start] = changed[start:end]
        elif kind == 3 and rng.random() < 0.2:
            del changed[start:]
    return bytes(changed)


def test_fuzzed_archives_of_students(class_with_roster, tmp_path):
    rng = random.Random(7)
    whole = [
        zipped({f"deep/{MODULE}.ipynb": notebook("x"), "b.ipynb": notebook("y")}, method)
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    ]
    members = {f"brookbayben_12_{n}_w.zip": mutated(rng.choice(whole), rng) for n in range(500)}
    members |= {"adlerada_11_900_a.ipynb": notebook("ada"), "costacleo_13_900_c.ipynb": notebook("cleo")}
    found = collect_download(class_with_roster, MODULE, archive(tmp_path / "all.zip", members))
    assert {"ada", "cleo"} <= set(found.students)
    assert len(found.lines) < 20


def test_fuzzed_archives_of_platforms(class_with_roster, tmp_path):
    """What a platform's archive says wrongly is one line, or left out; never a traceback."""
    rng = random.Random(8)
    inner = zipped({f"{MODULE}.ipynb": notebook("x")})
    whole = zipped({"adlerada_11_900_a.ipynb": notebook("a"), "brookbayben_12_1_w.zip": inner, METADATA: GRADESCOPE})
    for number in range(25):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(mutated(whole, rng))
        with contextlib.suppress(UserError):
            collect_download(class_with_roster, MODULE, path)
    assert set(class_with_roster.submitted(MODULE)) <= {"ada", "ben"}


def test_gradescope_list_that_cannot_be_read(class_with_roster, tmp_path):
    members = {"submission_metadata.yml": "[" * 3_000, f"submission_77/{MODULE}.ipynb": notebook("whose?")}
    members[f"ben/{MODULE}.ipynb"] = notebook("ben")
    found = collect_download(class_with_roster, MODULE, archive(tmp_path / "all.zip", members))
    assert sources(class_with_roster) == {"ben": "ben"}
    assert any("submission_77" in line and "does not say whose" in line for line in found.lines)


def test_another_module_is_listed_and_not_collected(class_with_roster, tmp_path, answer):
    before = class_with_roster.submission("ada", "03_softmax")
    other = nbformat.writes(answer(mse_loss="passed"))
    members = {f"{student}/notebook.ipynb": other for student in ("ada", "ben")}
    members["ada/more/by_name_03_softmax.ipynb"] = notebook("hers")
    with class_with_roster.gradebook() as book:
        book.add_assignment("03_softmax")
        book.add_notebook("03_softmax", "03_softmax")
    before.parent.mkdir(parents=True)
    before.write_text(notebook("module 03"))
    found = collect_download(class_with_roster, "03_softmax", archive(tmp_path / "all.zip", members))
    assert found.students == ("ada",)
    assert sum("is of 01_gradient_descent; it was not collected" in line for line in found.lines) == 2
    assert "hers" in before.read_text()


def test_late_and_times(class_with_roster, tmp_path):
    with class_with_roster.gradebook() as book:
        book.update_or_create_assignment(MODULE, duedate="2026-01-10 12:00:00 UTC")
    members = {"adlerada_11_900_a.ipynb": notebook("a"), "brookbayben_LATE_12_901_b.ipynb": notebook("b")}
    members |= {"costacleo_LATE_13_902_c.ipynb": notebook("c")}
    path = archive(tmp_path / "all.zip", members)
    listed = tmp_path / "times.csv"
    listed.write_text("Full name,Last modified (submission)\nCleo Costa,2026-01-12 08:00 +0100\nAda Adler,-\n")
    with class_with_roster.gradebook() as book:
        came = roster.read_times(listed, People(book.students), UTC)
    found = collect_download(class_with_roster, MODULE, path, came)
    stamps = {
        student: times.read_timestamp(class_with_roster.submission(student, MODULE).parent)
        for student in ("ada", "ben", "cleo")
    }
    assert stamps == {"ada": None, "ben": datetime(2026, 1, 10, 12, 0, 1), "cleo": datetime(2026, 1, 12, 7)}
    assert any(line.startswith("ben: Canvas says late") for line in found.lines)
    assert any("1 of 3 submissions came without a time" in line for line in found.lines)
    assert collect_download(class_with_roster, MODULE, path, came).unchanged == ("ada", "ben", "cleo")


def test_late_for_canvas_is_in_time_within_an_extension(class_with_roster, tmp_path):
    """Canvas marks by its own due date, and knows nothing of the days that a student was given."""
    with class_with_roster.gradebook() as book:
        book.update_or_create_assignment(MODULE, duedate="2026-01-10 12:00:00 UTC")
    extend(class_with_roster, MODULE, "ben", 7)
    path = archive(tmp_path / "all.zip", {"brookbayben_LATE_12_901_b.ipynb": notebook("b")})
    collect_download(class_with_roster, MODULE, path)
    stamp = times.read_timestamp(class_with_roster.submission("ben", MODULE).parent)
    assert stamp < datetime(2026, 1, 17, 12)
    with class_with_roster.gradebook() as book:  # moved since, so that Canvas's date cannot be this one
        book.update_or_create_assignment(MODULE, duedate="2999-01-10 12:00:00 UTC")
    collect_download(class_with_roster, MODULE, path)
    stamp = times.read_timestamp(class_with_roster.submission("ben", MODULE).parent)
    assert stamp <= datetime.now(UTC).replace(tzinfo=None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,when\nada,x\n", "time is needed"),
        ("id,time\nzoe,2026-01-12 08:00\n", ":2: no student of this class is 'zoe'"),
        ("id,time\nada,01.12.2026 08:00\n", ":2: '01.12.2026 08:00' is not a time that can be read in one way only"),
        ("name,time\nDan Doyle,2026-01-12 08:00\n", "no student of this class is 'Dan Doyle'"),
    ],
)
def test_times_that_cannot_be_used(class_with_roster, tmp_path, text, said):
    listed = tmp_path / "times.csv"
    listed.write_text(text)
    with class_with_roster.gradebook() as book, pytest.raises(UserError) as caught:
        roster.read_times(listed, People(book.students), UTC)
    assert said in str(caught.value)


def test_undo_gives_back_what_was_replaced(class_with_roster, tmp_path):
    path = class_with_roster.submission("ada", MODULE)
    first = archive(tmp_path / "first.zip", {"ada/a.ipynb": notebook("first")})
    second = archive(tmp_path / "second.zip", {"ada/a.ipynb": notebook("second"), "ben/b.ipynb": notebook("ben's")})
    collect_download(class_with_roster, MODULE, first)
    content = path.read_bytes()
    collect_download(class_with_roster, MODULE, second)
    assert undo(class_with_roster, MODULE) == {"ada": True, "ben": False}
    assert path.read_bytes() == content
    assert class_with_roster.submitted(MODULE) == ["ada"]
    undone = list((class_with_roster.private / "undone").rglob("*.ipynb"))
    assert sorted(notebook_.parts[-4] for notebook_ in undone) == ["ada", "ben"], "nothing is lost"
    assert undo(class_with_roster, MODULE) == {"ada": False}
    with pytest.raises(UserError, match="no collection of"):
        undo(class_with_roster, MODULE)


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
    inbound = exchange / folder.path.name / "inbound"
    inbound.mkdir(parents=True)
    exchange.chmod(0o777)
    configure(folder, exchange, "c.ExchangeCollect.check_owner = False")
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


def test_what_others_put_into_the_exchange(folder, tmp_path, answer):
    """Anybody may write there: who hands in for another, or something odd, costs nobody else anything."""
    me = getpass.getuser()
    exchange = tmp_path / "exchange"
    inbound = exchange / folder.path.name / "inbound"
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    def put(name: str, text: str, said: str = now) -> None:
        handed = inbound / name
        handed.mkdir(parents=True)
        (handed / f"{MODULE}.ipynb").write_text(notebook(text))
        (handed / "timestamp.txt").write_text(said)

    put(f"{me}+{MODULE}+{now}", "mine")
    put(f"ada+{MODULE}+2030-01-01 10:00:00 UTC", "in her name")
    put(f"ben+{MODULE}+no time", "odd")
    put("+".join(["ben", MODULE]) + "+", "odd")
    (inbound / f"{me}+{MODULE}+2031-01-01 10:00:00 UTC").write_text("a file")
    (inbound / f"{me}+{MODULE}+2032-01-01 10:00:00 UTC").symlink_to(inbound / f"{me}+{MODULE}+{now}")
    exchange.chmod(0o777)
    configure(folder, exchange)
    found = collect.collect_exchange(folder, MODULE)
    assert found.students == (me,) and sources(folder) == {me: "mine"}
    said = "\n".join(found.lines)
    assert f"+2030-01-01 10:00:00 UTC was put there by {me} (ExchangeCollect.check_owner); it was not" in said
    assert said.count("is no submission's name; it was not collected") == 2
    assert said.count("is not a folder; it was not collected") == 2
    assert "files were changed until" not in said

    put(f"{me}+{MODULE}+2033-01-01 10:00:00 UTC", "later", said="2026-01-01 10:00:00 UTC")
    assert f"{me}: the time says 2026-01-01 10:00 UTC, but files were changed until" in "\n".join(
        collect.collect_exchange(folder, MODULE).lines
    )


def test_nbgrader_names_what_is_refused(folder, tmp_path):
    """In its log, which formgrader shows; and before the due date a forgery does not stand in for who was late."""
    me = getpass.getuser()
    exchange = tmp_path / "exchange"
    inbound = exchange / folder.path.name / "inbound"
    for name in (f"{me}+{MODULE}+2026-02-01 10:00:00 UTC", f"ada+{MODULE}+2026-01-01 10:00:00 UTC"):
        (inbound / name).mkdir(parents=True)
        (inbound / name / f"{MODULE}.ipynb").write_text(notebook("late"))
        (inbound / name / "timestamp.txt").write_text(name.rpartition("+")[2])
    (inbound / f"{me}+{MODULE}+2026-01-02 10:00:00 UTC").write_text("early, and no folder")
    exchange.chmod(0o777)
    configure(folder, exchange)
    with folder.gradebook() as book:
        book.update_or_create_assignment(MODULE, duedate=datetime(2026, 1, 10))
    command = [sys.executable, "-m", "nbgrader", "collect", "--before-duedate", MODULE]
    done = subprocess.run(command, cwd=folder.path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"WARNING] ada+{MODULE}+2026-01-01 10:00:00 UTC was put there by {me}" in done.stderr
    assert "is not a folder; it was not collected" in done.stderr
    assert sources(folder) == {me: "late"}


def test_what_goes_away_meanwhile_stops_nothing(tmp_path):
    gone = tmp_path / "gone"
    assert collect._not_theirs(gone, "ada") == "cannot be read"
    assert collect._last_change(gone) is None


def configure(folder, exchange: Path, *lines: str) -> None:
    config = folder.path / "nbgrader_config.py"
    config.write_text("\n".join([config.read_text(), f"c.Exchange.root = {str(exchange)!r}", *lines, ""]))
