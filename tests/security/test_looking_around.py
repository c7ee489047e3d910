"""Reading what is not the student's: frames, memory, files, environment, descriptors, other submissions.

A canary stands in the grader's memory, environment, temporary files, class folder and hidden tests' folder while the
attacks run; none may bring it back. Stopped by there being nothing of the kind inside.
"""

import os
from pathlib import Path

import pytest

from autograder.sandbox import open_sandbox
from autograder.submission import SourceCell, Submission

from .conftest import CANARY, LIMITS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """A sandbox that is started while canaries stand everywhere around it."""
    folder = tmp_path_factory.mktemp("class")
    (folder / "submitted" / "alice").mkdir(parents=True)
    (folder / "submitted" / "alice" / "01.ipynb").write_text(CANARY)
    (folder / "gradebook.db").write_text(CANARY)
    (folder / "data").mkdir()
    os.environ["LSML_TEST_SECRET"] = CANARY
    keep = os.open(folder / "gradebook.db", os.O_RDONLY)
    os.set_inheritable(keep, True)
    try:
        with open_sandbox("bubblewrap", LIMITS, data_dir=folder / "data") as box:
            box.class_folder = folder
            yield box
    finally:
        os.close(keep)
        del os.environ["LSML_TEST_SECRET"]


SEARCHES = {
    "the environment": "dict(os.environ)",
    "the environment of every process": "[read(f'/proc/{p}/environ') for p in os.listdir('/proc') if p.isdigit()]",
    "the command line of every process": "[read(f'/proc/{p}/cmdline') for p in os.listdir('/proc') if p.isdigit()]",
    "every open descriptor": "[peek(fd) for fd in range(256)]",
    "all objects": "[o for o in gc.get_objects() if isinstance(o, (str, bytes, dict, list))]",
    "all frames": "[f.f_locals for f in frames()]",
    "all modules": "{name: vars(m) for name, m in list(sys.modules.items()) if m}",
    "the kernel's lists": "[read(f'/proc/{n}') for n in ('mounts', 'self/mountinfo', 'cmdline', 'keys', 'net/unix')]",
}
TOOLS = """
import gc, os, re, sys
def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError:
        return b""
def peek(fd):
    try:
        return os.pread(fd, 1 << 16, 0)
    except OSError:
        return b""
def frames():
    frame = sys._getframe()
    while frame:
        yield frame
        frame = frame.f_back
def memory(pattern):
    # whether it matches in any readable page; a pattern like `[C]ANARY` does not match itself
    found = 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as mem:
        for line in maps:
            span, rights = line.split()[:2]
            if "r" not in rights or "[v" in line:
                continue
            start, end = (int(x, 16) for x in span.split("-"))
            try:
                mem.seek(start)
                found += re.search(pattern, mem.read(end - start)) is not None
            except (OSError, ValueError, OverflowError):
                pass
    return "found" if found else "nothing"
"""


@pytest.mark.parametrize("where", SEARCHES)
def test_the_canary_is_not_to_be_found(attack, where):
    backwards = CANARY[::-1].encode()  # so that the search does not find itself
    submission = attack(
        TOOLS,
        f"ELIF = {backwards!r}\ndef attack():\n    return {SEARCHES[where]!s}",
        "def search():\n    found = attack()\n"
        "    return 'found' if bytes(reversed(ELIF)).decode() in repr(found) else 'nothing'",
        memory_mb=1024,
        call_seconds=60.0,
        notebook_seconds=90.0,
    )
    assert submission.search() == "nothing"


def test_the_canary_is_nowhere_in_its_memory(attack):
    planted = "decoy = bytearray(b'YOCED')\ndecoy.reverse()"
    submission = attack(TOOLS, planted, memory_mb=1024, call_seconds=60.0, notebook_seconds=90.0)
    assert submission.memory(b"[D]ECOY") == "found"  # the search finds what is there
    assert submission.memory(b"[" + CANARY[:1].encode() + b"]" + CANARY[1:].encode()) == "nothing"


def test_the_whole_disk_holds_no_canary_and_nothing_of_ours(attack, sandbox):
    submission = attack(
        """
        import os
        def names():
            for folder, folders, files in os.walk("/", followlinks=False):
                if folder.startswith("/proc"):
                    folders.clear()
                    continue
                for name in files:
                    yield os.path.join(folder, name)
        def attack(canary):
            found = []
            for path in names():
                if "/site-packages/" in path or "/usr/lib" in path or "/lib/python" in path:
                    if canary in path or "hidden_tests/" in path or "/autograder/" in path:
                        found.append(path)
                    continue
                try:
                    with open(path, "rb") as file:
                        if os.path.isfile(path) and canary.encode() in file.read(1 << 22):
                            found.append(path)
                except OSError:
                    pass
            return found
        def seen(paths):
            return [path for path in paths if os.path.exists(path)]
        """,
        call_seconds=60.0,
        notebook_seconds=90.0,
    )
    assert submission.attack(CANARY) == []
    ours = [ROOT / name for name in ("solutions", "autograder", "tests", "course", ".git", "pyproject.toml")]
    theirs = [sandbox.class_folder / "gradebook.db", sandbox.class_folder / "submitted", Path.home() / ".bashrc"]
    assert (
        submission.seen([str(path) for path in [*ours, *theirs, "/etc/shadow", "/etc/hostname", "/var", "/sys"]]) == []
    )


def test_only_its_own_files_of_ours_are_there(attack):
    submission = attack("import os\ndef attack(): return sorted(os.listdir('/lsml/box')), sorted(os.listdir('/lsml'))")
    files = ["agent.py", "confine.py", "memory.py", "probe.py", "seccomp.py", "server.py", "wire.py"]
    assert submission.attack() == (files, ["box", "lsml_utils"])


@pytest.mark.parametrize("name", ["autograder", "autograder.judging", "solutions", "autograder.answers", "conftest"])
def test_the_grader_cannot_be_imported(attack, name):
    submission = attack(
        f"""
        import importlib
        def attack():
            try:
                return repr(importlib.import_module("{name}"))
            except ImportError:
                return "no such module"
        """
    )
    assert submission.attack() == "no such module"


def test_no_test_framework_and_no_judge_is_in_its_process(attack):
    submission = attack(
        """
        import sys
        def attack():
            words = ("pytest", "_pytest", "autograder", "nbgrader", "hidden", "solution")
            return [name for name in sys.modules if name.split(".")[0] in words]
        """
    )
    assert submission.attack() == []


def test_no_frame_above_the_agent_knows_more_than_the_question(attack):
    submission = attack(
        """
        import sys
        def attack(x):
            frame, names = sys._getframe(), []
            while frame:
                names.append(frame.f_code.co_filename)
                frame = frame.f_back
            return names
        """
    )
    inside = {"cell 1", "<string>", *(f"/lsml/box/{name}.py" for name in ("agent", "server"))}
    assert set(submission.attack(1)) <= inside


def test_it_sees_no_process_but_its_own(attack):
    submission = attack(
        """
        import os
        def attack():
            return [name for name in os.listdir("/proc") if name.isdigit()], os.getpid(), os.getppid()
        """
    )
    assert submission.attack() == (["1"], 1, 0)


def test_it_has_one_descriptor_besides_the_standard_ones(attack):
    submission = attack(
        """
        import os
        def attack():
            kinds = {}
            for fd in range(4096):
                try:
                    os.fstat(fd)
                    kinds[str(fd)] = os.readlink(f"/proc/self/fd/{fd}").split(":")[0]
                except OSError:
                    pass
            return kinds
        """
    )
    assert submission.attack() == {"0": "/dev/null", "1": "/dev/null", "2": "/dev/null", "3": "socket"}


def test_the_callback_tells_nothing_of_what_calls_it(attack):
    expected = CANARY

    def gradient(x):
        raise ValueError(f"expected {expected}")

    submission = attack(
        """
        import traceback
        def attack(f):
            try:
                f(1)
            except BaseException as error:
                seen = [traceback.format_exc(), repr(error), repr(error.__cause__), repr(error.__context__)]
                frame = error.__traceback__
                while frame:
                    seen.append(repr(frame.tb_frame.f_locals))
                    frame = frame.tb_next
                return seen
        """
    )
    assert CANARY not in repr(submission.attack(gradient))


def test_a_second_submission_sees_nothing_of_a_first_that_lives(sandbox):
    hide = f"secret = '{CANARY}'\nopen('/tmp/secret', 'w').write(secret)\nimport os\nos.environ['SECRET'] = secret"
    look = TOOLS + (
        "found = [read('/tmp/secret'), dict(os.environ), os.listdir('/tmp'), os.listdir('/proc')]\n"
        "found.append(globals().get('secret'))"
    )
    with (
        Submission.load(sandbox, [SourceCell("cell 1", hide)]) as first,
        Submission.load(sandbox, [SourceCell("cell 1", look)]) as second,
    ):
        assert first.cell_errors == second.cell_errors == []
        found = second.value("found")
    assert CANARY not in repr(found) and "secret" not in found[2]


def test_a_submission_cannot_leave_a_patch_for_the_next(sandbox):
    patch = (
        "import builtins, sys, numpy, torch\n"
        "for module in (builtins, sys, numpy, torch):\n    module.left_behind = True\n"
        "sys.modules['lsml_box.agent'].MESSAGE = 0\nsys.modules['lsml_box.wire'].MAGIC = b'XXXX'"
    )
    look = (
        "import builtins, sys, numpy, torch\nfound = [hasattr(m, 'left_behind') for m in (builtins, sys, numpy, torch)]"
    )
    with Submission.load(sandbox, [SourceCell("cell 1", patch)]):
        pass
    with Submission.load(sandbox, [SourceCell("cell 1", look)]) as second:
        assert second.value("found") == [False] * 4
