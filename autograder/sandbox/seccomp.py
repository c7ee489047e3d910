"""A seccomp filter, assembled by hand: system calls that a student's process may not make fail with EPERM.

Namespaces and dropped capabilities already stop most of what is listed here; the filter is the layer behind them, and
the only one for calls that need no capability (AF_VSOCK, memfd, io_uring, keyrings, System V memory). Numbers are from
the kernel's tables for x86-64 and arm64 (asm-generic); what is newer than the table is answered with ENOSYS.
"""

import ctypes
import errno
import platform
import struct

# name: (x86-64, arm64); None where the architecture lacks the call
DENIED = {
    # mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    # memory that no limit of one process counts
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    # kernel memory that belongs to no process
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
    # large kernel surfaces that no exercise needs
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_setup": (206, 0),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "fanotify_init": (300, 262),
    "vmsplice": (278, 75),
    "personality": (135, 92),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # the machine
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "syslog": (103, 116),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "vhangup": (153, 58),
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
}
# A process that limits itself below what it uses is killed by the kernel, which would look like our doing.
SETRLIMIT, PRLIMIT = (160, 164), (302, 261)
# Shared memory without a file stays allocated while any process maps it, and counts for none that does not touch it.
MMAP, SHARED_ANONYMOUS = (9, 222), 0x01 | 0x20
# Locks of byte ranges take kernel memory, one each, and no limit counts them. flock, one for each open file, is enough.
FCNTL, RANGE_LOCKS = (72, 25), (6, 7, 37, 38)  # F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW
CLONE, CLONE3, SOCKET, SOCKETPAIR, IOCTL = (56, 220), (435, 435), (41, 198), (53, 199), (16, 29)
NEWEST = 462  # mseal; newer calls did not exist when this was written
NAMESPACE_FLAGS = 0x00000080 | 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
AF_UNIX = 1
TERMINAL = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
LOAD, AND, JUMP_EQ, JUMP_GE, JUMP_SET, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000
# offsets into struct seccomp_data (little-endian)
NUMBER, ARCHITECTURE, ARGUMENT0, ARGUMENT1, ARGUMENT2, ARGUMENT3 = 0, 4, 16, 24, 32, 40


def program(machine: str) -> bytes:
    """The filter for a `platform.machine()` as an array of struct sock_filter. Raises KeyError for an unknown one."""
    column, audit = ARCHITECTURES[machine]
    code: list[tuple[int, int, int, int]] = []

    def add(operation, value, if_true=0, if_false=0):
        code.append((operation, if_true, if_false, value))

    def on(number, *body):
        """`body` (instructions ending in a return) for one system call."""
        add(JUMP_EQ, number, 0, len(body))
        code.extend(body)

    def fail(error):
        return (RETURN, 0, 0, FAIL | error)

    add(LOAD, ARCHITECTURE)
    add(JUMP_EQ, audit, 1, 0)
    add(RETURN, KILL)
    add(LOAD, NUMBER)
    if machine == "x86_64":
        add(JUMP_GE, 0x40000000, 0, 1)  # the x32 calls
        code.append(fail(errno.EPERM))
    add(JUMP_GE, NEWEST + 1, 0, 1)
    code.append(fail(errno.ENOSYS))
    on(CLONE3[column], fail(errno.ENOSYS))  # its flags are behind a pointer; libc then uses clone
    allow, deny = (RETURN, 0, 0, ALLOW), fail(errno.EPERM)
    on(CLONE[column], (LOAD, 0, 0, ARGUMENT0), (JUMP_SET, 0, 1, NAMESPACE_FLAGS), deny, allow)
    for number in (SOCKET[column], SOCKETPAIR[column]):
        on(number, (LOAD, 0, 0, ARGUMENT0), (JUMP_EQ, 0, 1, AF_UNIX), allow, deny)
    on(SETRLIMIT[column], deny)
    # prlimit may ask, with no new limit: its third argument, a pointer, is null
    body = ((LOAD, 0, 0, ARGUMENT2), (JUMP_EQ, 0, 3, 0), (LOAD, 0, 0, ARGUMENT2 + 4), (JUMP_EQ, 0, 1, 0), allow, deny)
    on(PRLIMIT[column], *body)
    on(
        MMAP[column],
        *((LOAD, 0, 0, ARGUMENT3), (AND, 0, 0, SHARED_ANONYMOUS), (JUMP_EQ, 0, 1, SHARED_ANONYMOUS), deny, allow),
    )
    locks = [(JUMP_EQ, len(RANGE_LOCKS) - place, 0, command) for place, command in enumerate(RANGE_LOCKS)]
    on(FCNTL[column], (LOAD, 0, 0, ARGUMENT1), *locks, allow, fail(errno.ENOLCK))
    on(IOCTL[column], (LOAD, 0, 0, ARGUMENT1), (JUMP_EQ, 1, 0, TERMINAL[0]), (JUMP_EQ, 0, 1, TERMINAL[1]), deny, allow)
    for numbers in DENIED.values():
        if numbers[column] is not None:
            on(numbers[column], deny)
    add(RETURN, ALLOW)
    return b"".join(struct.pack("<HBBI", operation, true, false, value) for operation, true, false, value in code)


def install(libc: ctypes.CDLL, machine: str | None = None) -> None:
    """Put the filter on this process, for good. Needs no_new_privs. Raises OSError."""
    raw = program(machine or platform.machine())
    buffer = ctypes.create_string_buffer(raw, len(raw))
    header = ctypes.create_string_buffer(struct.pack("<H6xQ", len(raw) // 8, ctypes.addressof(buffer)), 16)
    if libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(header)), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp filter refused")
