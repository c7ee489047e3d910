"""Using up what there is: time, processes, memory, disk, output. Stopped by limits set inside and watched from outside.

Besides being stopped, each attack must leave an honest submission that runs at the same time able to finish.
"""

import contextlib
import time

import numpy as np
import pytest

from autograder.submission import (
    SourceCell,
    StudentError,
    StudentMemory,
    StudentMisbehaved,
    StudentTimeout,
    Submission,
    SubmissionError,
)

from .conftest import LIMITS, MARK

SHORT = {"call_seconds": 1.0}
LOOPS = {
    "a loop": "while True: pass",
    "a sleep": "time.sleep(1e6)",
    "a loop in C": "sum(itertools.repeat(1))",
    "a power in C": "9 ** 9 ** 9",
    "a regular expression": "re.match('(a+)+$', 'a' * 40 + 'b')",
    "a lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "reading what never comes": "os.read(os.pipe()[0], 1)",
    "a loop that catches everything": "spin()",
    "a loop in __del__": "Clingy()",
    "a loop in the text of an exception": "raise Endless",
    "a loop in __repr__ of a key": "return {Slow(): 1}",
}


@pytest.mark.parametrize("how", LOOPS)
def test_endless_time_ends_at_the_deadline(attack, how):
    submission = attack(
        f"""
        import itertools, os, re, threading, time
        def spin():
            while True:
                try:
                    while True: pass
                except BaseException:
                    pass
        class Clingy:
            def __del__(self): spin()
        class Endless(Exception):
            def __str__(self): spin()
        class Slow:
            def __hash__(self): spin()
        def attack():
            {LOOPS[how]}
        """,
        **SHORT,
    )
    started = time.monotonic()
    with pytest.raises(StudentTimeout):
        submission.attack()
    assert time.monotonic() - started < 10


BOMBS = {
    "forks": """
        import os
        def attack():
            while True:
                try:
                    os.fork()
                except OSError:
                    pass
    """,
    "threads": """
        import threading, time
        def attack():
            while True:
                try:
                    threading.Thread(target=time.sleep, args=(100,)).start()
                except RuntimeError:
                    pass
    """,
    "forks that die and come back": """
        import os
        def attack():
            while True:
                try:
                    if os.fork() == 0:
                        if os.fork() == 0: continue
                        os._exit(0)
                except OSError:
                    pass
    """,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_of_processes_are_bounded_and_end(attack, sandbox, honest, name):
    submission = attack(BOMBS[name], call_seconds=2.0)
    with pytest.raises(SubmissionError):
        submission.attack()
    assert honest()


def test_an_honest_submission_starts_and_answers_while_a_fork_bomb_burns(attack, sandbox):
    burning = attack(
        """
        import os
        def attack():
            for _ in range(5):
                try:
                    if os.fork() == 0:
                        while True: pass
                except OSError:
                    break
            return "lit"
        """,
        BOMBS["forks"].replace("def attack", "def bomb"),
        "if os.fork() == 0: bomb()",
        call_seconds=20.0,
    )
    with contextlib.suppress(SubmissionError):
        burning.attack()
    cells = [SourceCell("cell 1", "def work(n): return sum(range(n))")]
    with Submission.load(sandbox, cells) as submission:
        assert submission.cell_errors == [] and submission.work(100_000) == 4999950000


def test_no_more_processes_than_allowed_at_any_time(attack):
    submission = attack(
        """
        import os
        def attack():
            started = 0
            try:
                while started < 10_000:
                    if os.fork() == 0:
                        os.read(os.pipe()[0], 1)
                    started += 1
            except OSError:
                return started
        """,
        call_seconds=20.0,
    )
    assert submission.attack() < LIMITS.processes


HOARDS = {
    "one process": "keep = [bytearray(1 << 20) for _ in range(4096)]",
    "one large array": "np.ones(1 << 29)",
    "pages that nobody has touched": "mmap.mmap(-1, 1 << 40)",
    "many processes": ("[os.fork() or hoard(60) for _ in range(20)]; time.sleep(100)"),
    "shared memory": "share(1024)",
    "shared memory of many": ("[os.fork() or share(60) for _ in range(20)]; time.sleep(100)"),
    "page tables": "touch_sparsely()",
    "page tables of many": "[os.fork() or touch_sparsely() for _ in range(20)]; time.sleep(100)",
    "shared memory out of sight": "share(1024, out_of_sight=True)",
    "a device of zeros": "mmap.mmap(os.open('/dev/zero', os.O_RDWR), 1 << 30)",
    "a file in memory": "os.memfd_create('x')",
    "multiprocessing's shared memory": "SharedMemory(create=True, size=1 << 30).buf[:] = bytes(1 << 30)",
    "pipes full of data": "fill_pipes()",
    "sockets full of data": "fill_sockets()",
    "torch": "torch.ones(1 << 28)",
    "the text of a number": "keep = 1 << (1 << 36)",
    "a stack": "import sys; sys.setrecursionlimit(10**8); (lambda f: f(f))(lambda f: [bytearray(10**5), f(f)])",
}


@pytest.mark.parametrize("how", HOARDS)
def test_memory_is_bounded_however_it_is_taken(attack, honest, how):
    submission = attack(
        f"""
        import ctypes, mmap, os, socket, time
        import numpy as np, torch
        from multiprocessing.shared_memory import SharedMemory
        def hoard(megabytes):
            keep = [bytearray(1 << 20) for _ in range(megabytes)]
            while True: time.sleep(0.1)
        def share(megabytes, out_of_sight=False):
            keep = mmap.mmap(-1, megabytes << 20)
            for i in range(0, megabytes << 20, 4096):
                keep[i] = 1
                if out_of_sight: keep.madvise(mmap.MADV_DONTNEED, i, 4096)  # allocated, and counted for no process
            while True: time.sleep(0.1)
        def touch_sparsely():
            libc = ctypes.CDLL(None)
            libc.mmap.restype = ctypes.c_void_p
            libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 4
            libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
            size = 60 << 30
            while True:
                start = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
                if start in (None, 2**64 - 1): raise MemoryError
                libc.madvise(start, size, 15)
                for at in range(start, start + size, 1 << 21): ctypes.c_byte.from_address(at).value
        def fill_pipes():
            keep = [os.pipe() for _ in range(100_000)]
        def fill_sockets():
            keep = [socket.socketpair() for _ in range(100_000)]
        def attack():
            {HOARDS[how]}
        """,
        call_seconds=20.0,
    )
    with pytest.raises((StudentMemory, StudentError)) as raised:
        submission.attack()
    assert isinstance(raised.value, StudentMemory) or "OSError" in raised.value.bases
    assert honest()


def test_the_watch_sees_the_sum_of_the_box_and_not_one_process(attack):
    submission = attack(
        """
        import os, time
        def attack():
            for _ in range(10):
                if os.fork() == 0:
                    keep = bytearray(b"x") * (30 << 20)
                    time.sleep(100)
            time.sleep(100)
        """,
        call_seconds=30.0,
    )
    with pytest.raises(StudentMemory) as raised:
        submission.attack()
    assert raised.value.usage.memory_mb > LIMITS.memory_mb


@pytest.mark.parametrize("mappings", [8_000, 62_000])
def test_the_watch_is_not_blinded_by_many_mappings_of_many_processes(attack, honest, mappings):
    """62,000 mappings in each of many busy processes once made one look take 22 s, in which memory grew unseen."""
    submission = attack(
        """
        import ctypes, itertools, mmap, os, time
        libc = ctypes.CDLL(None)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 4
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        def splinter(count):
            start = libc.mmap(None, 8192 * count, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
            for i in range(count):
                if libc.mprotect(start + 8192 * i, 4096, 1): break
        def grow():
            while not os.path.exists("/tmp/go"): time.sleep(0.1)
            keep, grown = [], os.open("/tmp/grown", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            while True:
                keep.append(bytearray(b"x") * (1 << 20))
                os.write(grown, b"x")
        def attack(mappings, told):
            splinter(mappings // 2)
            for _ in range(20):
                if os.fork() == 0: grow()
            open("/tmp/go", "w").close()
            while True:
                told(os.path.getsize("/tmp/grown") if os.path.exists("/tmp/grown") else 0)
        """,
        memory_mb=256,
        call_seconds=60.0,
        notebook_seconds=90.0,
    )
    megabytes = [0]
    with pytest.raises(StudentMemory):
        submission.attack(mappings, megabytes.append)
    assert megabytes[-1] < 2 * 256
    assert honest()


def test_locks_take_no_kernel_memory(attack):
    """Each locked range of a file takes kernel memory that belongs to no process: 230,000 of them passed unseen."""
    submission = attack(
        """
        import fcntl, os
        def attack():
            with open("/tmp/file", "wb") as file:
                file.truncate(1 << 20)
                for place in range(0, 20_000, 2): fcntl.lockf(file, fcntl.LOCK_EX, 1, place)
        def work():
            with open("/tmp/file", "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                return "done"
        """
    )
    with pytest.raises(StudentError, match="No locks available"):
        submission.attack()
    assert submission.work() == "done"


def test_forking_does_not_count_what_is_shared_twice(attack):
    submission = attack(
        """
        import os, time
        keep = bytearray(b"x") * (60 << 20)
        def work():
            children = []
            for _ in range(8):
                pid = os.fork()
                if pid == 0:
                    time.sleep(0.5)
                    os._exit(0)
                children.append(pid)
            for pid in children: os.waitpid(pid, 0)
            return "done"
        """,
        call_seconds=30.0,
    )
    assert submission.cell_errors == [] and submission.work() == "done"


def test_mapped_files_do_not_count_as_memory(attack):
    submission = attack(
        """
        import mmap, os, sys, glob
        def work():
            path = max(glob.glob(os.path.dirname(sys.modules["torch"].__file__) + "/lib/*.so"), key=os.path.getsize)
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
                return len(view), sum(view[i] for i in range(0, len(view), 4096)) > 0
        """,
        call_seconds=60.0,
        notebook_seconds=60.0,
        memory_mb=16,
    )
    size, read = submission.work()
    assert size > 100 << 20 and read


DISKS = {
    "one file": "open('/tmp/a', 'wb').write(bytes(1 << 30))",
    "many files": "[open(f'/tmp/{i}', 'wb').write(bytes(1 << 20)) for i in range(1024)]",
    "a sparse file": "open('/tmp/a', 'wb').truncate(1 << 40)",
    "empty files": "[open(f'/tmp/{i}', 'w').close() for i in range(100_000)]",
    "folders": "[os.mkdir(f'/tmp/{i}') for i in range(100_000)]",
    "links": "[os.symlink('x', f'/tmp/{i}') for i in range(100_000)]",
    "/dev/shm": "open('/dev/shm/a', 'wb').write(bytes(1 << 30))",
    "a numpy memory map": "np.memmap('/tmp/a', mode='w+', shape=1 << 40)",
    "a truncated file that is written through a map": "mapped()",
}


@pytest.mark.parametrize("how", DISKS)
def test_disk_and_inodes_are_bounded(attack, honest, how):
    submission = attack(
        f"""
        import mmap, os
        import numpy as np
        def mapped():
            with open("/tmp/a", "w+b") as file:
                file.truncate(15 << 20)
                with mmap.mmap(file.fileno(), 0) as view:
                    view[:] = bytes(15 << 20)
                for i in range(4):
                    with open(f"/tmp/b{{i}}", "w+b") as other: other.write(bytes(1 << 20))
        def attack():
            {DISKS[how]}
        """,
        call_seconds=20.0,
    )
    with pytest.raises((StudentError, StudentMemory)) as raised:
        submission.attack()
    assert isinstance(raised.value, StudentMemory) or {"OSError", "ValueError"} & set(raised.value.bases)
    assert honest()


FLOODS = {
    "print": "for _ in range(200_000): print('x' * 1000)",
    "stderr": "for _ in range(200_000): sys.stderr.write('x' * 1000)",
    "the descriptor": "for _ in range(2000): os.write(1, b'x' * 100_000)",
    "no line ends": "sys.stdout.write('x' * 50_000_000)",
    "warnings": "for i in range(2000): warnings.warn(str(i))",
    "logging": "logging.basicConfig(); [logging.error('x' * 1000) for _ in range(2000)]",
}


@pytest.mark.parametrize("how", FLOODS)
def test_floods_of_output_neither_block_nor_cost(attack, how):
    submission = attack(
        f"import logging, os, sys, warnings\ndef attack():\n    {FLOODS[how]}\n    return 'done'", call_seconds=20.0
    )
    assert submission.attack() == "done"


def test_an_exception_of_64_megabytes_is_cut(attack):
    submission = attack("def attack(): raise ValueError('x' * (64 << 20))", memory_mb=512)
    with pytest.raises(StudentError) as raised:
        submission.attack()
    assert len(raised.value.message) < 3000


def test_an_exception_with_a_type_name_of_64_megabytes_is_cut(attack):
    submission = attack("def attack(): raise type('E' * (64 << 20), (ValueError,), {})()", memory_mb=1024)
    with pytest.raises(StudentError) as raised:
        submission.attack()
    assert len(raised.value.type_name) < 300 and len(str(raised.value)) < 3000


def test_an_exception_of_many_causes_and_frames_is_cut(attack):
    submission = attack(
        """
        def dig(n):
            if n == 0: raise ValueError("deep")
            dig(n - 1)
        def attack():
            dig(900)
        """
    )
    with pytest.raises(StudentError) as raised:
        submission.attack()
    assert len(raised.value.frames) <= 20


BIG = {
    "a list of ten million": ("[0] * 10_000_000", StudentMisbehaved),
    "a string of 100 MB": ("'x' * (100 << 20)", StudentMisbehaved),
    "an array of 300 MB": ("np.zeros(300 << 20, np.uint8)", StudentMisbehaved),
    "an array that is not there": ("np.broadcast_to(np.zeros(1), (1 << 20, 1 << 20))", StudentMisbehaved),
    "a dict of millions": ("dict.fromkeys(range(3_000_000))", StudentMisbehaved),
    "an integer of a million digits": ("1 << 4_000_000", StudentMisbehaved),
}


@pytest.mark.parametrize("what", BIG)
def test_enormous_answers_are_refused(attack, what):
    value, error = BIG[what]
    submission = attack(f"import numpy as np\ndef attack(): return {value}", memory_mb=2048, call_seconds=30.0)
    with pytest.raises(error):
        submission.attack()


def test_an_answer_is_bounded_by_what_its_request_could_need(attack):
    submission = attack(
        """
        import numpy as np
        def make(items, *given): return np.zeros(items, np.int8)
        """,
        memory_mb=1024,
        call_seconds=30.0,
        notebook_seconds=90.0,
    )
    assert submission.make(1 << 20).shape == (1 << 20,)
    with pytest.raises(StudentMisbehaved, match="larger than 128 MiB, counted as float64"):
        submission.make(20 << 20)
    assert submission.make(20 << 20, np.zeros(3 << 20)).shape == (20 << 20,)
    with pytest.raises(StudentMisbehaved, match="larger than 192 MiB"):
        submission.make(30 << 20)


def test_an_agent_that_does_not_keep_to_the_bound_is_stopped(attack):
    submission = attack(
        """
        import sys, numpy as np
        wire = sys.modules["lsml_box.wire"]
        honest = wire.Encoder
        wire.Encoder = lambda opaque=None, limits=None: honest(opaque)
        def attack(): return np.zeros(20 << 20, np.int8)
        """,
        memory_mb=1024,
    )
    with pytest.raises(StudentMisbehaved, match=r"broke the rules.*counted as float64"):
        submission.attack()


def test_large_answers_again_and_again_are_bounded_together(attack):
    submission = attack(
        "import numpy as np\nblock = np.zeros(12 << 20)\ndef attack(): return block",
        memory_mb=1024,
        answer_mb=300,
        call_seconds=60.0,
        notebook_seconds=240.0,
    )
    with pytest.raises(StudentMisbehaved, match="in all"):
        for _ in range(10):
            submission.attack()


def test_an_endless_generator_ends_with_the_notebooks_time(attack):
    submission = attack("def attack():\n    while True: yield 0", notebook_seconds=2.0)
    started = time.monotonic()
    with pytest.raises(StudentTimeout):
        for _ in submission.attack():
            pass
    assert time.monotonic() - started < 10


def test_descriptors_are_bounded(attack):
    submission = attack(
        f"""
        def attack():
            keep = []
            try:
                while True: keep.append(open("/dev/null"))
            except OSError:
                return len(keep)
        # {MARK}
        """
    )
    assert submission.attack() < 256


def test_a_kill_takes_a_fraction_of_a_second_whatever_runs(attack):
    submission = attack(
        """
        import os, signal, time
        def attack():
            for number in range(1, 32):
                try: signal.signal(number, signal.SIG_IGN)
                except OSError: pass
            for _ in range(25):
                if os.fork() == 0:
                    while True: pass
            return "burning"
        """,
        call_seconds=30.0,
        notebook_seconds=60.0,
    )
    assert submission.attack() == "burning"
    started = time.monotonic()
    submission.close()
    assert time.monotonic() - started < 3  # 0.06 s on an idle machine; the bound leaves room for a busy one


RAISING = {
    "setrlimit": "resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))",
    "prlimit": "resource.prlimit(0, resource.RLIMIT_DATA, (hard, hard))",
    "libc": "libc.syscall(160, 2, ctypes.byref(pair)) and libc.syscall(302, 0, 2, ctypes.byref(pair), None)",
}


@pytest.mark.parametrize("how", RAISING)
def test_a_granted_limit_cannot_be_raised(attack, honest, how):
    """Only its soft limit is set, so that another test may grant more."""
    submission = attack(f"""
        import contextlib, ctypes, resource
        import numpy as np
        libc = ctypes.CDLL(None)
        def attack():
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            pair = (ctypes.c_uint64 * 2)(hard, hard)
            with contextlib.suppress(OSError, ValueError):
                {RAISING[how]}
            return len(np.empty(60 << 17))
    """)
    submission.grant(16)
    with pytest.raises(StudentMemory):
        submission.attack()
    submission.grant(100)
    assert submission.attack() == 60 << 17
    assert honest()
