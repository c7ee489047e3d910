"""The sandbox from outside: both kinds, both sorts of callers, its self-test, and what it does when it breaks."""

import os
import platform
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from autograder.sandbox import (
    Limits,
    Sandbox,
    SandboxFault,
    SandboxUnavailable,
    bubblewrap,
    open_sandbox,
    self_test,
)
from autograder.sandbox.spawn import SpawnSandbox
from autograder.submission import SourceCell, StudentCrashed, StudentTimeout, Submission

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is for Linux")
CELLS = [
    SourceCell(
        "cell 1", "import os, time\ndef double(x): return 2 * x\ndef die(): os._exit(3)\ndef nap(): time.sleep(60)"
    )
]
LIMITS = Limits(call_seconds=1.0)


def small(kind):
    return Sandbox(kind, LIMITS)


@LINUX
def test_every_layer_holds_here_by_name():
    checks = self_test("bubblewrap")
    assert [check.name for check in checks if not check.ok] == []
    names = [check.name for check in checks]
    assert len(names) == len(set(names)) == 13 and names[0] == "the sandbox starts"


def test_the_self_test_of_none_promises_only_what_it_keeps():
    checks = self_test("none")
    assert all(check.ok for check in checks)
    assert not any("network" in check.name for check in checks)


@LINUX
def test_the_self_test_names_the_layer_that_is_gone(monkeypatch, tmp_path):
    source = bubblewrap.FILES["confine.py"].read_text()
    (tmp_path / "confine.py").write_text(source.replace("    seccomp.install(libc)\n", ""))
    tmp_path.chmod(0o755)
    monkeypatch.setitem(bubblewrap.FILES, "confine.py", tmp_path / "confine.py")
    broken = [check for check in self_test("bubblewrap") if not check.ok]
    assert {check.name for check in broken} == {"no network", "no further namespaces or mounts", "seccomp filter"}
    assert all(check.detail and check.remedy for check in broken)


@LINUX
def test_a_sandbox_that_fails_its_self_test_is_not_given_out(monkeypatch, tmp_path):
    source = bubblewrap.FILES["confine.py"].read_text()
    (tmp_path / "confine.py").write_text(source.replace("    drop_capabilities()\n", ""))
    tmp_path.chmod(0o755)
    monkeypatch.setitem(bubblewrap.FILES, "confine.py", tmp_path / "confine.py")
    before = psutil.Process().children(recursive=True)
    with pytest.raises(SandboxUnavailable, match="does not hold: no capabilities"):
        open_sandbox("bubblewrap")
    assert psutil.Process().children(recursive=True) == before


@pytest.mark.parametrize("kind", ["spawned", "none", pytest.param("bubblewrap", marks=LINUX)])
def test_each_kind_answers_dies_and_keeps_deadlines(kind):
    with SpawnSandbox(LIMITS) if kind == "spawned" else small(kind) as sandbox:
        with Submission.load(sandbox, CELLS) as submission:
            assert submission.double(4) == 8
            with pytest.raises(StudentCrashed, match="exit status 3"):
                submission.die()
        with Submission.load(sandbox, CELLS) as submission:
            started = time.monotonic()
            with pytest.raises(StudentTimeout):
                submission.nap()
            assert time.monotonic() - started < 5


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="bubblewrap or none"):
        open_sandbox("docker")


# ----------------------------------------------------------------------------------------------------- callers

SCRIPT = """
import os, sys
from autograder.sandbox import Limits, self_test
from autograder.sandbox.box import Sandbox
from autograder.submission import SourceCell, StudentError, StudentMemory, Submission

bomb = '''
import os, time
def bomb():
    started = 0
    try:
        while started < 10_000:
            if os.fork() == 0: time.sleep(60)
            started += 1
    except OSError:
        return started
def who(): return os.getuid(), os.getgid(), os.getpid()
'''
print("caller", os.getuid())
print("broken", [check.name for check in self_test("bubblewrap") if not check.ok])
with Sandbox("bubblewrap", Limits(processes=20)) as box:
    with Submission.load(box, [SourceCell("cell 1", bomb)]) as submission:
        print("who", submission.who())
        print("bounded", submission.bomb() < 20)
"""


def behind_closed_folders(*paths):
    """{folder that other users may not enter: those of the paths that lie in it}, outermost folders only."""
    found = {}
    for path in paths:
        closed = [f for f in path.parents if f != Path("/") and not f.stat().st_mode & 0o001]
        if closed:
            found.setdefault(closed[-1], set()).add(path)
    return found


def run_as(uid, script, tmp_path):
    """Run the script as another user. A mount namespace shows it checkout and interpreter, wherever they lie."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(script))
    path.chmod(0o644)
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/tmp") and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    arguments = ["bwrap", "--dev-bind", "/", "/", "--cap-add", "ALL"]
    for folder, seen in behind_closed_folders(ROOT, Path(sys.prefix), Path(sys.base_prefix)).items():
        arguments += ["--perms", "0755", "--tmpfs", str(folder)]
        between = {part for place in seen for part in place.parents if folder in part.parents}
        for part in sorted(between):
            arguments += ["--perms", "0755", "--dir", str(part)]
        for place in sorted(seen):
            arguments += ["--ro-bind", str(place), str(place)]
    arguments += ["--", "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all"]
    arguments += ["--bounding-set=-all", sys.executable, "-B", str(path)]
    return subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/tmp"},
    )


@LINUX
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; the other tests run as this one")
@pytest.mark.parametrize("uid", [12345, 65534])
def test_an_ordinary_user_gets_the_same_sandbox(uid, tmp_path):
    done = run_as(uid, SCRIPT, tmp_path)
    assert done.stdout.splitlines() == [f"caller {uid}", "broken []", "who (1000, 1000, 1)", "bounded True"], (
        done.stderr
    )


@LINUX
def test_whoever_calls_gets_the_same_sandbox(tmp_path):
    done = subprocess.run(
        [sys.executable, "-B", "-c", SCRIPT], capture_output=True, text=True, timeout=300, cwd=ROOT, check=False
    )
    assert done.stdout.splitlines()[1:] == ["broken []", "who (1000, 1000, 1)", "bounded True"], done.stderr


@LINUX
@pytest.mark.skipif(os.geteuid() != 0, reason="about root")
def test_roots_children_are_not_root_outside_either():
    with small("bubblewrap") as sandbox, Submission.load(sandbox, CELLS) as submission:
        assert submission.double(1) == 2
        server = psutil.Process(sandbox._process.pid)
        inner = server.children(recursive=True)[-1]
        assert inner.uids().real == bubblewrap.uid() != 0


# ----------------------------------------------------------------------------------------------------- breaking


def server_pid(sandbox):
    """The fork server: below bubblewrap, its process 1, and the process that entered the server's own namespaces."""
    process = psutil.Process(sandbox._process.pid)
    for _ in range(3):
        (process,) = process.children()
    return process.pid


@LINUX
def test_a_server_that_was_killed_is_a_fault_and_then_started_again():
    with small("bubblewrap") as sandbox:
        with Submission.load(sandbox, CELLS) as submission:
            os.kill(server_pid(sandbox), signal.SIGKILL)
            with pytest.raises(SandboxFault):
                while True:  # the kernel takes a moment to end what was in the server's namespace
                    submission.double(1)
        with Submission.load(sandbox, CELLS) as submission:
            assert submission.double(2) == 4


@LINUX
def test_a_child_without_a_box_does_not_outlive_its_server():
    with small("none") as sandbox, Submission.load(sandbox, CELLS):
        server = psutil.Process(sandbox._process.pid)
        (child,) = server.children()
        server.kill()
        assert psutil.wait_procs([child], timeout=10)[1] == []


@LINUX
def test_a_server_that_dies_again_and_again_is_given_up():
    with small("bubblewrap") as sandbox:
        for _ in range(2):
            os.kill(server_pid(sandbox), signal.SIGKILL)
            with Submission.load(sandbox, CELLS) as submission:
                assert submission.double(2) == 4
        os.kill(server_pid(sandbox), signal.SIGKILL)
        with pytest.raises(SandboxFault):
            Submission.load(sandbox, CELLS)


@LINUX
def test_a_child_that_was_killed_from_outside_is_a_fault_and_not_the_students():
    with small("bubblewrap") as sandbox, Submission.load(sandbox, CELLS) as submission:
        (child,) = psutil.Process(server_pid(sandbox)).children()
        child.kill()  # as the kernel does when the machine runs out of memory
        with pytest.raises(SandboxFault, match="from outside"):
            submission.double(1)


@LINUX
def test_nothing_is_left_when_the_sandbox_closes():
    sandbox = small("bubblewrap")
    processes = [psutil.Process(sandbox._process.pid)]
    processes += processes[0].children(recursive=True)
    submission = Submission.load(sandbox, [SourceCell("cell 1", "import os\nos.fork()")])
    sandbox.close()
    gone, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == [] and len(gone) >= 3
    with pytest.raises(SandboxFault):
        submission.double(1)
    submission.close()


@LINUX
def test_nothing_is_left_when_the_grader_is_killed(tmp_path):
    script = """
    import time
    from autograder.sandbox.box import Sandbox
    from autograder.sandbox import Limits
    box = Sandbox("bubblewrap", Limits())
    child = box.start()
    print(box._process.pid, flush=True)
    time.sleep(60)
    """
    grader = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    outer = psutil.Process(int(grader.stdout.readline()))
    processes = [outer, *outer.children(recursive=True)]
    grader.kill()
    grader.wait()
    grader.stdout.close()
    assert psutil.wait_procs(processes, timeout=10)[1] == []


# ------------------------------------------------------------------------------------------------- unavailable


def test_without_bubblewrap_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(SandboxUnavailable, match="bubblewrap is not installed; install it"):
        open_sandbox("bubblewrap")


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_than_on_linux_it_refuses_and_names_the_way_out(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(SandboxUnavailable, match="--sandbox none"):
        open_sandbox("bubblewrap")
    (check,) = self_test("bubblewrap")
    assert not check.ok and check.remedy


REFUSALS = {
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": ("1", "AppArmor"),
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "unprivileged_userns_clone=1"),
    "/proc/sys/user/max_user_namespaces": ("0", "max_user_namespaces"),
}


@LINUX
@pytest.mark.parametrize("setting", REFUSALS)
def test_where_user_namespaces_are_forbidden_the_remedy_names_the_setting(monkeypatch, tmp_path, setting):
    value, says = REFUSALS[setting]
    refuses = tmp_path / "bwrap"
    refuses.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    refuses.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(refuses))
    monkeypatch.setattr(bubblewrap, "_says", lambda path, text: (path, text) == (setting, value))
    with pytest.raises(SandboxUnavailable, match=says) as raised:
        open_sandbox("bubblewrap")
    assert "Permission denied" in raised.value.reason and "\n" not in str(raised.value)


@LINUX
@pytest.mark.parametrize(
    "said, says", [("bwrap: Unknown option --perms", "0.6 or newer"), ("bwrap: something else", "lsml doctor")]
)
def test_what_bubblewrap_says_is_passed_on_with_a_remedy(monkeypatch, tmp_path, said, says):
    refuses = tmp_path / "bwrap"
    refuses.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    refuses.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(refuses))
    with pytest.raises(SandboxUnavailable, match=says) as raised:
        open_sandbox("bubblewrap")
    assert said in raised.value.reason


def test_an_unknown_machine_has_no_sandbox(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(SandboxUnavailable, match="no system call filter for riscv64"):
        open_sandbox("bubblewrap")


# ---------------------------------------------------------------------------------------------- what is bound


@LINUX
def test_secrets_inside_a_bound_folder_are_masked(monkeypatch, tmp_path):
    checkout = tmp_path / "prefix" / "checkout"
    for name in ("solutions", "autograder", "lsml_utils"):
        (checkout / name).mkdir(parents=True)
    monkeypatch.setattr(bubblewrap, "ROOT", checkout)
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "prefix"))
    world = bubblewrap._world()
    assert "--tmpfs" in world[str(checkout / "solutions")] and "--tmpfs" in world[str(checkout / "autograder")]
    assert str(checkout / "lsml_utils") not in world


@LINUX
def test_the_mask_holds_inside(monkeypatch, tmp_path):
    checkout = tmp_path / "checkout"
    for name in ("solutions", "autograder"):
        (checkout / name).mkdir(parents=True)
        (checkout / name / "secret.py").write_text("secret")
    (checkout / "lsml_utils").symlink_to(bubblewrap.ROOT / "lsml_utils")
    tmp_path.chmod(0o755)
    monkeypatch.setattr(bubblewrap, "ROOT", checkout)
    monkeypatch.setattr(bubblewrap, "SYSTEM", (*bubblewrap.SYSTEM, str(tmp_path)))
    look = """
import os
def look(path):
    wrote = []
    for folder in ("solutions", "autograder"):
        try:
            open(f"{path}/{folder}/mine", "w")
            wrote.append(folder)
        except OSError:
            pass
    return os.listdir(path), os.listdir(path + "/solutions"), os.listdir(path + "/autograder"), wrote
"""
    # The child's own /tmp would hide it, so the folder is shown as the data folder is.
    with (
        Sandbox("bubblewrap", LIMITS, data_dir=tmp_path) as sandbox,
        Submission.load(sandbox, [SourceCell("cell 1", look)]) as submission,
    ):
        listed, solutions, grader, wrote = submission.look(str(checkout))
        assert sorted(listed) == ["autograder", "lsml_utils", "solutions"]
        assert solutions == grader == wrote == []


def test_the_program_inside_starts_with_an_environment_of_its_own():
    assert not {"HOSTNAME", "USER", "PYTHONPATH", "SSH_AUTH_SOCK", "LSML_SECRET"} & set(bubblewrap.ENVIRONMENT)
