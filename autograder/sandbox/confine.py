"""Inside the box: what the fork server does once (`enter`) and each child does to itself (`confine`), on Linux.

Nothing here is undone: a child that has been through `confine` has its own user, pid, mount, network, ipc and uts
namespaces, a sized scratch folder, no capabilities, no way to gain any, limits and a seccomp filter.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys

from . import seccomp

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 8, 32, 4096, 16384
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_SET_PDEATHSIG = 4, 24, 38, 47, 1
INSIDE = 1000  # the uid and gid that student code sees as its own
SCRATCH = "/tmp"
ADDRESSES = 64 << 30  # bytes of address space beyond the fresh process's; its page tables take 1/512 of what is used

libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    """A libc function that returns -1 on error. Raises OSError naming it."""
    result = getattr(libc, name)(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def mount(source, target, kind, flags, options=""):
    call("mount", *(None if x is None else x.encode() for x in (source, target, kind)), flags, options.encode())


def _own_user_namespace(flags=0):
    uid, gid = os.geteuid(), os.getegid()
    call("unshare", NEWUSER | flags)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{INSIDE} {uid} 1"), ("gid_map", f"{INSIDE} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def enter(uid):
    """Become `uid` (None: stay), then the first process of a pid namespace that is ours to unshare from again."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)  # or /proc/self would belong to root
    _own_user_namespace(NEWNS | NEWPID)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    end_with_parent()
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def end_with_parent():
    """Be killed when the process that forked this one ends, however that ends. Linux only; elsewhere nothing."""
    if sys.platform == "linux":
        call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def fork_into_new_pids():
    """os.fork() whose child is process 1 of a fresh pid namespace; the caller stays where it is."""
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    child = -1
    try:
        call("unshare", NEWPID)
        child = os.fork()
    finally:
        if child:
            call("setns", home, NEWPID)
        os.close(home)
    return child


def confine(limits, keep=()):
    """Give up everything but the open file descriptors. In a child of `fork_into_new_pids`; raises OSError.

    `keep`: folders that stay in sight, read-only, also where the scratch folder would hide them.
    """
    os.setsid()  # kill(0) reaches the process group, in whatever namespace it is
    call("unshare", NEWNS | NEWNET | NEWIPC | NEWUTS)
    call("sethostname", b"lsml", 4)
    _scratch(limits, keep)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    os.chdir(SCRATCH)
    _own_user_namespace()
    drop_capabilities()
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    set_limits(limits)
    seccomp.install(libc)


def _scratch(limits, keep):
    hidden = sorted(path for path in keep if os.path.commonpath([path, SCRATCH]) == SCRATCH)
    folders = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in hidden}
    options = f"size={limits['disk_mb']}m,nr_inodes={limits['files']},mode=0700"
    mount("tmpfs", SCRATCH, "tmpfs", MS_NOSUID | MS_NODEV, options)
    for path, folder in folders.items():
        os.makedirs(path, exist_ok=True)
        mount(f"/proc/self/fd/{folder}", path, None, MS_BIND | MS_REC)
        mount(None, path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
        os.close(folder)


def drop_capabilities():
    """Empty every capability set, the bounding set first (that needs a capability)."""
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            break
    libc.prctl(PR_CAP_AMBIENT, 4, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    call("capset", header, (ctypes.c_uint32 * 6)())


def set_limits(limits):
    """Limits of each process; what all of them use together is watched from outside."""
    megabyte = 1 << 20
    for name, value in {
        "RLIMIT_AS": status_kb("VmSize:") * 1024 + ADDRESSES,  # generous: mapped files count too
        "RLIMIT_CORE": 0,
        "RLIMIT_DATA": status_kb("VmData:") * 1024 + limits["memory_mb"] * megabyte,
        "RLIMIT_FSIZE": limits["disk_mb"] * megabyte,
        "RLIMIT_NOFILE": 128,
        "RLIMIT_NPROC": limits["processes"],
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_SIGPENDING": 1024,
    }.items():
        if hasattr(resource, name):
            kind = getattr(resource, name)
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))


def limit_data(pid, most_kb, more_kb):
    """Let another process of ours take `more_kb` beyond the private memory that it has now, or beyond `most_kb`.

    Gives the one of the two that held. The hard limit stays, so that the next one may be higher: in a box no process
    can change its own (see seccomp).
    """
    with contextlib.suppress(OSError, StopIteration):  # it is gone
        most_kb = min(status_kb("VmData:", pid), most_kb)
        _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        value = (most_kb + more_kb) * 1024
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.prlimit(pid, resource.RLIMIT_DATA, (value, hard))
    return most_kb


def status_kb(name, pid="self"):
    """A size of a process, in KiB: VmSize is what RLIMIT_AS counts, VmData what RLIMIT_DATA counts."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))
