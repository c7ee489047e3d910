"""Getting out of the box: network, namespaces, mounts, other processes, shells. Stopped by namespaces and seccomp."""

import os
import platform
import signal
import socket
from pathlib import Path

import pytest

from autograder.grading import syntax
from autograder.sandbox import bubblewrap
from autograder.submission import StudentCrashed

from .conftest import MARK

NETWORK = {
    "TCP": "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "ICMP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)",
    "raw": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)",
    "IPv6": "socket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
    "vsock": "socket.socket(40, socket.SOCK_STREAM)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "packet": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "bluetooth": "socket.socket(31, socket.SOCK_RAW, 1)",
    "kernel crypto": "socket.socket(38, socket.SOCK_SEQPACKET)",
    "XDP": "socket.socket(44, socket.SOCK_RAW)",
    "CAN": "socket.socket(29, socket.SOCK_RAW, 1)",
}


@pytest.mark.parametrize("family", NETWORK)
def test_no_network_of_any_family(attack, family):
    submission = attack(
        f"""
        import socket
        def attack():
            try:
                {NETWORK[family]}
                return "opened"
            except OSError:
                return "refused"
        """
    )
    assert submission.attack() == "refused"


def test_no_unix_socket_of_the_machine_can_be_reached(attack):
    name = f"\0{MARK}-{os.getpid()}"  # abstract names belong to the network namespace
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        submission = attack(
            """
            import socket
            def attack(name):
                try:
                    socket.socket(socket.AF_UNIX).connect(name)
                    return "connected"
                except OSError:
                    return "refused"
            """
        )
        assert submission.attack(name) == "refused"


CALLS = {
    "a user namespace": "libc.unshare(0x10000000)",
    "a mount namespace": "libc.unshare(0x20000)",
    "a pid namespace": "libc.unshare(0x20000000)",
    "the namespaces of process 1": "libc.setns(os.open('/proc/1/ns/mnt', 0), 0)",
    "clone with namespaces": "libc.syscall(56 if x86 else 220, 0x10000000 | 17, 0, 0, 0, 0)",
    "clone3": "libc.syscall(435, ctypes.create_string_buffer(64), 64)",
    "mounting a tmpfs": "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)",
    "mounting proc": "libc.mount(b'proc', b'/tmp', b'proc', 0, None)",
    "unmounting /tmp": "libc.umount2(b'/tmp', 2)",
    "unmounting /proc": "libc.umount2(b'/proc', 2)",
    "making the world writable": "libc.mount(None, b'/', None, 32 | 4096, None)",
    "the new mount interface": "libc.syscall(428, -100, b'/', 1)",
    "changing root": "libc.chroot(b'/tmp')",
    "pivoting root": "libc.syscall(155 if x86 else 41, b'/tmp', b'/tmp')",
    "tracing": "libc.ptrace(0, 0, 0, 0)",
    "reading another process": "libc.syscall(310 if x86 else 270, 1, 0, 0, 0, 0, 0)",
    "memfd": "libc.memfd_create(b'x', 0)",
    "secret memory": "libc.syscall(447, 0)",
    "System V memory": "libc.shmget(0, 4096, 0o1600)",
    "message queues": "libc.syscall(240 if x86 else 180, b'x', 0o102, 0o600, 0)",
    "io_uring": "libc.syscall(425, 8, ctypes.create_string_buffer(256))",
    "bpf": "libc.syscall(321 if x86 else 280, 0, 0, 0)",
    "performance counters": "libc.syscall(298 if x86 else 241, 0, 0, 0, -1, 0)",
    "userfaultfd": "libc.syscall(323 if x86 else 282, 0)",
    "a keyring": "libc.syscall(250 if x86 else 219, 1, 0, 0, 0, 0)",
    "adding a key": "libc.syscall(248 if x86 else 217, b'user', b'x', b'y', 1, -3)",
    "opening by handle": "libc.syscall(304 if x86 else 265, -100, 0, 0)",
    "another personality": "libc.personality(0x0040000)",
    "a kernel module": "libc.syscall(313 if x86 else 273, 0, b'', 0)",
    "kexec": "libc.syscall(246 if x86 else 104, 0, 0, 0, 0)",
    "reboot": "libc.reboot(0x1234567)",
    "setting the clock": "libc.clock_settime(0, ctypes.create_string_buffer(16))",
    "the host's name": "libc.sethostname(b'x', 1)",
    "the kernel's log": "libc.klogctl(3, ctypes.create_string_buffer(64), 64)",
    "swap": "libc.swapon(b'/tmp/x', 0)",
    "accounting": "libc.acct(b'/tmp/x')",
    "becoming root": "libc.setuid(0)",
    "another group": "libc.setgroups(1, ctypes.create_string_buffer(4))",
    "typing into a terminal": "libc.ioctl(0, 0x5412, b'x')",
    "pid file descriptors of others": "libc.syscall(438, 0, 0, 0)",
    "ports": "libc.syscall(172 if x86 else 999, 3)",
    "a call that is not in the table": "libc.syscall(999, 0)",
    "a call of the x32 kind": "libc.syscall(0x40000000 + 39)",
}


@pytest.mark.parametrize("name", CALLS)
def test_no_system_call_that_leads_out(attack, name):
    submission = attack(
        f"""
        import ctypes, os, platform
        libc = ctypes.CDLL(None, use_errno=True)
        x86 = platform.machine() == "x86_64"
        def attack():
            try:
                return {CALLS[name]} >= 0
            except OSError:
                return False
        """
    )
    assert submission.attack() is False


@pytest.mark.skipif(platform.machine() != "x86_64", reason="about x86-64")
def test_32_bit_system_calls_do_not_pass_the_filter_by(attack):
    submission = attack(
        """
        import ctypes, mmap
        def attack():
            code = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
            code.write(bytes.fromhex("b814000000" "cd80" "c3"))  # mov eax, 20 (getpid); int 0x80; ret
            return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
        """
    )
    with pytest.raises(StudentCrashed, match=f"signal {int(signal.SIGSYS)}"):
        submission.attack()


def test_no_capability_and_none_to_be_had(attack):
    submission = attack(
        """
        import ctypes
        libc = ctypes.CDLL(None)
        def attack():
            header = (ctypes.c_uint32 * 2)(0x20080522, 0)
            libc.capset(header, (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6))
            status = dict(line.split(":", 1) for line in open("/proc/self/status"))
            return [status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")]
        """
    )
    assert submission.attack() == ["0" * 16] * 5 + ["1"]


def test_no_shell_and_no_program_but_python(attack):
    submission = attack(
        """
        import os, shutil, subprocess
        def attack():
            found = [shutil.which(name, path="/bin:/usr/bin:/sbin:/usr/sbin:/usr/local/bin") for name in
                     ("sh", "bash", "mount", "sudo", "su", "ssh", "curl", "gcc", "nc", "git")]
            return [name for name in found if name], os.system("true") != 0
        def magics():
            return get_ipython().system("touch x"), get_ipython().getoutput("ls")
        """
    )
    assert submission.attack() == ([], True)
    assert submission.magics() == (None, [])


def test_shell_lines_and_magics_do_nothing(attack):
    cells = (
        f"!touch /tmp/{MARK}\n%system touch /tmp/{MARK}\n%sx touch /tmp/{MARK}\nlisting = !ls /",
        f"%%bash\ntouch /tmp/{MARK}",
        f"%%writefile /tmp/{MARK}-written\nx",
        f"%%script python\nopen('/tmp/{MARK}', 'w')",
        "import os\nfound = os.listdir('/tmp')",
    )
    submission = attack(*map(syntax.plain, cells))  # as they are when a notebook has been rebuilt
    below = {Path(path).parts[2] for path in bubblewrap.folders() if path.startswith("/tmp/")}  # an interpreter there
    assert sorted(submission.value("found")) == sorted({*below, f"{MARK}-written"})  # in the box's own scratch folder
    assert submission.value("listing") == []


@pytest.mark.parametrize(
    "hook",
    [
        "get_ipython().events.register('post_execute', spy)",
        "get_ipython().input_transformers_cleanup.append(spy)",
        "get_ipython().ast_transformers.append(spy)",
        "get_ipython().register_magic_function(spy)",
        "get_ipython().set_custom_exc((Exception,), spy)",
        "get_ipython().kernel.do_execute = spy",
    ],
)
def test_ipython_hooks_reach_nothing(attack, hook):
    submission = attack(f"def spy(*args): raise SystemExit\n{hook}", "def attack(): return 1")
    assert submission.attack() == 1


def test_links_lead_nowhere(attack):
    submission = attack(
        f"""
        import os
        def attack(targets):
            seen = []
            for i, target in enumerate(targets):
                os.symlink(target, f"/tmp/link{{i}}")
                seen.append(os.path.exists(f"/tmp/link{{i}}"))
            os.symlink("/tmp", "/tmp/{MARK}")
            return seen
        """
    )
    targets = [__file__, "/etc/shadow", "/root/.ssh", "/home", "/var/lib", "/sys", "/run", "/mnt"]
    assert submission.attack(targets) == [False] * len(targets)


def test_nothing_but_the_scratch_folder_can_be_written(attack):
    submission = attack(
        f"""
        import os
        def attack():
            wrote = []
            for folder, folders, _ in os.walk("/"):
                if folder.startswith("/proc"):
                    folders.clear()
                    continue
                try:
                    open(os.path.join(folder, "{MARK}"), "w").close()
                    wrote.append(folder)
                except OSError:
                    pass
            return [folder for folder in wrote if not folder.startswith("/tmp")]
        def programs():
            import sys
            for path in (sys.executable, os.path.realpath(sys.executable), os.__file__, "/lsml/box/agent.py"):
                try:
                    open(path, "a").close()
                    return path
                except OSError:
                    pass
        """,
        cell_seconds=20.0,
        call_seconds=60.0,
        notebook_seconds=90.0,
    )
    assert submission.programs() is None
    assert submission.attack() == []


def test_kernel_settings_cannot_be_written(attack):
    submission = attack(
        """
        import os
        def attack():
            wrote = []
            for folder, folders, files in os.walk("/proc/sys"):
                for name in files:
                    path = os.path.join(folder, name)
                    try:
                        with open(path, "r+") as file:
                            file.write(open(path).read())
                        wrote.append(path)
                    except (OSError, ValueError):
                        pass
            for path in ("/proc/sysrq-trigger", "/proc/1/mem", "/proc/kcore", "/proc/1/oom_score_adj"):
                try:
                    open(path, "r+").close()
                    wrote.append(path)
                except OSError:
                    pass
            return wrote
        """,
        call_seconds=20.0,
    )
    # One's own process may be made likelier to be killed; its own memory is its own.
    assert set(submission.attack()) <= {"/proc/1/mem", "/proc/1/oom_score_adj"}
