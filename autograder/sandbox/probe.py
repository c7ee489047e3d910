"""Inside a confined child, before any student's code: tries to get out by each way that a layer is to stop.

The self-test's half that runs in the box. Each function below is one layer; it returns None where the layer holds, and
otherwise what it could do.
"""

import ctypes
import json
import os
import signal
import socket
import time

libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None  # Windows runs `sleep` only
FAMILIES = {"TCP": (2, 1), "UDP": (2, 2), "IPv6": (10, 1), "netlink": (16, 3), "vsock": (40, 1), "packet": (17, 3)}
KNOWN = {"HOME", "LANG", "LOGNAME", "LSML_DEMO", "MPLBACKEND", "MPLCONFIGDIR", "PATH", "PWD", "PYTHONHASHSEED"}
KNOWN |= {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "LC_CTYPE"}
KNOWN |= {"KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"}  # scikit-learn sets them when it is imported
NEWUSER, NEWNS = 0x10000000, 0x20000


def _status(field):
    with open("/proc/self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(field + ":"))


def capabilities(secrets):
    """no capabilities"""
    held = {name: _status(name) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    return None if all(int(value, 16) == 0 for value in held.values()) else f"holds {held}"


def privileges(secrets):
    """no new privileges"""
    return None if _status("NoNewPrivs") == "1" else "set-uid programs would work"


def processes(secrets):
    """own process namespace"""
    seen = [name for name in os.listdir("/proc") if name.isdigit()]
    return None if seen == ["1"] and os.getpid() == 1 else f"sees {len(seen)} processes"


def network(secrets):
    """no network"""
    opened = []
    for name, (family, kind) in FAMILIES.items():
        try:
            socket.socket(family, kind).close()
            opened.append(name)
        except OSError:
            pass
    with open("/proc/self/net/dev") as file:
        devices = [line.split(":")[0].strip() for line in file if ":" in line]
    extra = [device for device in devices if device != "lo"]
    return None if not opened and not extra else f"can open {', '.join(opened + extra)}"


def namespaces(secrets):
    """no further namespaces or mounts"""
    if libc.unshare(NEWUSER) == 0 or libc.unshare(NEWNS) == 0:
        return "can unshare"
    return "can mount" if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0 else None


def system_calls(secrets):
    """seccomp filter"""
    if _status("Seccomp") != "2":
        return "no filter is on"
    return "memfd_create works" if libc.memfd_create(b"probe", 0) >= 0 else None


def files(secrets):
    """read-only world"""
    writable = []
    with open("/proc/self/mountinfo") as mounts:
        for line in mounts:
            point, flags = line.split()[4:6]
            if "ro" not in flags.split(",") and point not in ("/proc", "/tmp") and not point.startswith("/dev/"):
                writable.append(point)
    return None if not writable else f"can write to {', '.join(writable[:3])}"


def scratch(secrets):
    """sized scratch folder"""
    disk = os.statvfs("/tmp")
    megabytes, files = disk.f_blocks * disk.f_frsize >> 20, disk.f_files
    return None if megabytes <= 1024 and 0 < files <= 1 << 20 else f"{megabytes} MB and {files} files"


def limits(secrets):
    """limits on processes and memory"""
    import resource  # there is none on Windows, where only `sleep` is asked for

    unlimited = [
        name
        for name in ("RLIMIT_NPROC", "RLIMIT_DATA", "RLIMIT_NOFILE", "RLIMIT_FSIZE")
        if resource.getrlimit(getattr(resource, name))[1] == resource.RLIM_INFINITY
    ]
    if unlimited:
        return f"no {', '.join(unlimited)}"
    children = []
    try:
        while len(children) < resource.getrlimit(resource.RLIMIT_NPROC)[0] + 8:
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
        return f"{len(children)} processes started"
    except OSError:
        return None
    finally:
        for pid in children:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


def sight(secrets):
    """nothing of the grader's in sight"""
    seen = [path for path in secrets if os.path.exists(path)]
    seen += [name for name in os.environ if name not in KNOWN]
    seen += [f"descriptor {number}" for number in os.listdir("/proc/self/fd") if int(number) > 3 and _open(int(number))]
    return f"sees {', '.join(seen[:5])}" if seen else None


def _open(number):
    try:
        os.fstat(number)  # the one that listed the folder is closed by now
        return True
    except OSError:
        return False


LAYERS = (
    capabilities,
    privileges,
    processes,
    network,
    namespaces,
    system_calls,
    files,
    scratch,
    limits,
    sight,
)


def main(sock):
    """Answer one line, `{"do": "layers" | "memory" | "sleep", ...}`, then end."""
    request = json.loads(sock.makefile().readline())
    if request["do"] == "memory":
        for _ in range(request["processes"]):  # each below the limit of one process
            if os.fork() == 0:
                hoard = b"x" * (request["megabytes"] << 20)
                libc.pause()
                del hoard
    if request["do"] == "layers":
        found = []
        for layer in LAYERS:
            try:
                problem = layer(request["secrets"])
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            found.append([layer.__doc__, problem and str(problem)])
        sock.sendall(json.dumps(found).encode() + b"\n")
    while True:
        time.sleep(3600)
