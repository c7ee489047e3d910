"""The filter's program, run by an interpreter of classic BPF written here from the kernel's documentation."""

import errno
import struct

import pytest

from autograder.sandbox import seccomp


def judge(machine, number, arguments=(), audit=None):
    """What the filter answers to one system call: "allow", "kill", or the errno."""
    code = list(struct.iter_unpack("<HBBI", seccomp.program(machine)))
    audit = seccomp.ARCHITECTURES[machine][1] if audit is None else audit
    data = struct.pack("<IIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    accumulator, at = 0, 0
    while True:
        operation, true, false, value = code[at]
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x15:
            at += true if accumulator == value else false
        elif operation == 0x35:
            at += true if accumulator >= value else false
        elif operation == 0x45:
            at += true if accumulator & value else false
        else:
            assert operation == 0x06
            action = value & 0xFFFF0000
            return {0x7FFF0000: "allow", 0x80000000: "kill"}.get(action) or value & 0xFFFF


MACHINES = list(seccomp.ARCHITECTURES)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", seccomp.DENIED)
def test_what_is_listed_is_denied(machine, name):
    number = seccomp.DENIED[name][MACHINES.index(machine)]
    if number is not None:
        assert judge(machine, number) == errno.EPERM


ORDINARY = {
    "x86_64": {
        "read": 0,
        "write": 1,
        "mmap": 9,
        "brk": 12,
        "execve": 59,
        "futex": 202,
        "getrandom": 318,
        "openat": 257,
    },
    "aarch64": {
        "read": 63,
        "write": 64,
        "mmap": 222,
        "brk": 214,
        "execve": 221,
        "futex": 98,
        "getrandom": 278,
        "openat": 56,
    },
}


@pytest.mark.parametrize("machine", MACHINES)
def test_what_programs_live_on_is_allowed(machine):
    assert {judge(machine, number) for number in ORDINARY[machine].values()} == {"allow"}


@pytest.mark.parametrize("machine", MACHINES)
def test_threads_and_forks_are_allowed_and_namespaces_are_not(machine):
    number = seccomp.CLONE[MACHINES.index(machine)]
    assert judge(machine, number, [0x01200011]) == "allow"  # fork
    assert judge(machine, number, [0x003D0F00]) == "allow"  # pthread_create
    for flag in (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert judge(machine, number, [flag | 17]) == errno.EPERM
    assert judge(machine, seccomp.CLONE3[0]) == errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_only_unix_sockets_are_allowed(machine):
    column = MACHINES.index(machine)
    for family in range(64):
        expected = "allow" if family == 1 else errno.EPERM
        assert judge(machine, seccomp.SOCKET[column], [family]) == expected
        assert judge(machine, seccomp.SOCKETPAIR[column], [family]) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_other_architectures_and_newer_calls(machine):
    assert judge(machine, 0, audit=0x40000003) == "kill"
    assert judge(machine, seccomp.NEWEST + 1) == errno.ENOSYS
    assert judge(machine, seccomp.IOCTL[MACHINES.index(machine)], [0, 0x5412]) == errno.EPERM
    assert judge(machine, seccomp.IOCTL[MACHINES.index(machine)], [0, 0x5401]) == "allow"


@pytest.mark.parametrize("machine", MACHINES)
def test_limits_may_be_read_and_not_set(machine):
    column = MACHINES.index(machine)
    assert judge(machine, seccomp.SETRLIMIT[column], [0, 1]) == errno.EPERM
    assert judge(machine, seccomp.PRLIMIT[column], [0, 7, 0, 0x7FFF12345678]) == "allow"
    for pointer in (1, 0x1000, 1 << 32, 0x7FFF00000000, 0x7FFF12345678):
        assert judge(machine, seccomp.PRLIMIT[column], [0, 7, pointer, 0]) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_memory_may_be_shared_by_a_file_only(machine):
    number = seccomp.MMAP[MACHINES.index(machine)]
    private, shared, anonymous, reserve = 0x02, 0x01, 0x20, 0x4000
    assert judge(machine, number, [0, 4096, 3, private | anonymous | reserve]) == "allow"
    assert judge(machine, number, [0, 4096, 3, shared]) == "allow"
    for flags in (shared | anonymous, shared | anonymous | reserve, 0x03 | anonymous):
        assert judge(machine, number, [0, 4096, 3, flags]) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_ranges_of_a_file_cannot_be_locked(machine):
    number = seccomp.FCNTL[MACHINES.index(machine)]
    for command in seccomp.RANGE_LOCKS:
        assert judge(machine, number, [3, command]) == errno.ENOLCK
    for command in (0, 1, 2, 3, 4, 5, 8, 1030, 1031):  # F_DUPFD to F_GETLK, F_SETOWN, F_DUPFD_CLOEXEC, F_SETPIPE_SZ
        assert judge(machine, number, [3, command]) == "allow"


def test_the_x32_calls_are_denied():
    assert judge("x86_64", 0x40000000 | 39) == errno.EPERM


def test_no_jump_leaves_the_program():
    for machine in MACHINES:
        code = list(struct.iter_unpack("<HBBI", seccomp.program(machine)))
        assert all(at + 1 + max(true, false) < len(code) for at, (op, true, false, _) in enumerate(code) if op & 7 == 5)
        assert len(code) < 4096 and code[-1][0] == 0x06


def test_an_unknown_machine_is_an_error():
    with pytest.raises(KeyError):
        seccomp.program("riscv64")
