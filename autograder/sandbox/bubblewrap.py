"""The command line of the outer box: an empty read-only world with the interpreter, its libraries and our few files."""

import os
import platform
import shutil
import sys
from pathlib import Path

from autograder.sandbox import seccomp
from autograder.sandbox.errors import SandboxUnavailable

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent
FILES = {  # what of ours goes in: single files, so that nothing beside them comes along
    name: PACKAGE / folder / name
    for folder, names in {
        "sandbox": ("server.py", "memory.py", "confine.py", "seccomp.py", "probe.py"),
        "submission": ("agent.py", "wire.py"),
    }.items()
    for name in names
}
INSIDE = "/lsml"
SYSTEM = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/ld.so.cache")
SYSTEM += ("/etc/alternatives", "/etc/localtime", "/lib", "/lib64", "/lib32")
SECRET = ("autograder", "solutions", "course", "tests", "work", ".git")  # masked where a bound folder would hold them
DEVICES = (
    "/dev/null",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
)  # /dev/zero, mapped, is shared memory without a file
FIRST_UID, UIDS = 61_184, 4_000  # for a caller who is root; the range that systemd uses for passing users as well
ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "LOGNAME": "student",
    "LSML_DEMO": "small",
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": "/tmp",
    "PATH": "",
    "PYTHONHASHSEED": "0",
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"),
}


def require() -> str:
    """The path of bwrap. Raises SandboxUnavailable where there can be none."""
    if sys.platform != "linux":
        raise SandboxUnavailable(
            f"the sandbox needs Linux, and this is {sys.platform}",
            "grade your own work with --sandbox none; grade others' on a Linux machine or in a Linux virtual machine",
        )
    if platform.machine() not in seccomp.ARCHITECTURES:
        raise SandboxUnavailable(
            f"there is no system call filter for {platform.machine()}",
            f"grade others' work on one of {', '.join(seccomp.ARCHITECTURES)}; your own with --sandbox none",
        )
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxUnavailable("bubblewrap is not installed", "install it: apt install bubblewrap (or dnf, pacman)")
    return bwrap


def uid() -> int | None:
    """The uid that the box gives itself where the caller is root (limits on processes do not bind root), else None."""
    return FIRST_UID + os.getpid() % UIDS if os.geteuid() == 0 else None


def command(program: list[str], descriptors: dict[str, int], data_dir: Path | None = None) -> list[str]:
    """bwrap's arguments, ending in `program`. `descriptors`: `status`, where it reports, and `passwd`, a file."""
    arguments = [require(), "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    arguments += ["--new-session", "--hostname", "lsml", "--json-status-fd", str(descriptors["status"])]
    if os.geteuid() == 0:  # keeps what the server needs to become another user, which it does first
        arguments += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        arguments += ["--unshare-user", "--cap-drop", "ALL"]
    binds = [[*option, path] for path, option in _world().items()]
    binds += [["--ro-bind", str(source), f"{INSIDE}/box/{name}"] for name, source in FILES.items()]
    binds += [["--ro-bind", str(ROOT / "lsml_utils"), f"{INSIDE}/lsml_utils"]]
    binds += [["--ro-bind-data", str(descriptors["passwd"]), "/etc/passwd"]]
    binds += [["--dev-bind", device, device] for device in DEVICES]
    binds += [["--symlink", "/proc/self/fd", "/dev/fd"], ["--symlink", "/tmp", "/dev/shm"]]
    # The server mounts its own /proc over this one, which the kernel allows only where a complete one is seen already;
    # bubblewrap covers parts of its own when root starts it.
    binds += [["--bind", "/proc", "/proc"] if os.geteuid() == 0 else ["--proc", "/proc"]]
    binds += [["--perms", "1777", "--size", str(64 << 20), "--tmpfs", "/tmp"]]
    if data_dir is not None:
        binds += [["--ro-bind", str(data_dir), str(data_dir)]]
    parents = {str(parent) for bind in binds for parent in Path(bind[-1]).parents} - {"/"}
    # Folders that bubblewrap makes by itself are for its own user alone.
    binds += [["--perms", "0755", "--dir", folder] for folder in parents - {bind[-1] for bind in binds}]
    for bind in sorted(binds, key=lambda bind: bind[-1].count("/")):  # what holds others comes before them
        arguments += bind
    return [*arguments, "--remount-ro", "/", "--chdir", "/", "--", *program]


def folders(data_dir: Path | None = None) -> list[str]:
    """The folders that a child must see: the interpreter's, with its packages, and the data. Any may lie in /tmp."""
    world = [path for path, option in _world().items() if option == ["--ro-bind", path] and os.path.isdir(path)]
    return world + ([str(data_dir)] if data_dir else [])


def _world():
    """{path inside: bwrap option that makes it} for the interpreter and the system's libraries, secrets masked."""
    prefixes = {sys.prefix, sys.base_prefix, os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix)}
    bound = {prefix for prefix in prefixes if prefix not in ("/usr", "/usr/local", "/")}
    interpreter = [sys.executable, os.path.realpath(sys.executable), getattr(sys, "_base_executable", sys.executable)]
    bound.update(path for path in interpreter if path)
    world = {}
    for path in SYSTEM:
        if os.path.islink(path) and not path.startswith("/etc"):
            world[path] = ["--symlink", os.readlink(path)]
        elif os.path.exists(path):
            world[path] = ["--ro-bind", path]
    for path in bound:
        if not any(path.startswith(folder + "/") for folder in (*world, *bound)):
            world[path] = ["--ro-bind", path]
    for name in SECRET:
        secret = ROOT / name
        if secret.exists() and any(str(secret).startswith(folder + "/") for folder in world):
            world[str(secret)] = ["--perms", "0555", "--size", "4096", "--tmpfs", str(secret), "--remount-ro"]
    return world


def remedy(reason: str) -> str:
    """What to do about a failure to make namespaces, from bubblewrap's or the kernel's words."""
    if _says("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"):
        return (
            "Ubuntu's AppArmor forbids user namespaces: install the bwrap-userns-restrict profile (apparmor-profiles), "
            "or run sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
    if _says("/proc/sys/kernel/unprivileged_userns_clone", "0"):
        return "user namespaces are switched off: run sysctl kernel.unprivileged_userns_clone=1"
    if _says("/proc/sys/user/max_user_namespaces", "0"):
        return "user namespaces are switched off: run sysctl user.max_user_namespaces=10000"
    if "unknown option" in reason.lower():
        return "this bubblewrap is too old: install version 0.6 or newer"
    if os.geteuid() == 0 and ("No module named" in reason or "Permission denied: '" in reason):
        return (
            "the box runs as another user, who must be able to read the checkout and its virtual environment: "
            f"chmod -R a+rX {ROOT} {sys.prefix}"
        )
    if "denied" in reason.lower() or "not permitted" in reason.lower():
        return (
            "allow user namespaces here; in a container, that takes --security-opt seccomp=unconfined and "
            "--security-opt systempaths=unconfined, or grading on the host"
        )
    return "run `lsml doctor`, which tests each layer by name"


def _says(path, value):
    try:
        return Path(path).read_text().strip() == value
    except OSError:
        return False
