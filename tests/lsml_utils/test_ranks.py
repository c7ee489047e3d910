"""Rank programs: the same in the simulation and in real processes; what goes wrong ends with one sentence."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import psutil
import pytest

from lsml_utils import ranks

GOES_ON = ": this cell goes on without them.\n"
DTYPES = ["?", "b", "B", "h", "H", "i", "I", "q", "Q", "e", "f", "d", "F", "D", ">f8"]


def neighbours(comm):
    """Sends arrays of every kind and shape around the ring, then many at once."""
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    kinds = [np.arange(6).reshape(2, 3).astype(kind) + np.array(comm.rank).astype(kind) for kind in DTYPES]
    shapes = [np.full(shape, comm.rank) for shape in [(), (0,), (3, 0), (1, 2, 3, 4)]]
    some = [*kinds, *shapes, kinds[0].T, np.arange(10.0)[::-2], [1, 2]]
    for array in some:
        comm.send(right, array)
    comm.work(0.5)
    return [comm.recv(left) for _ in some]


def both(program, size):
    return ranks.simulate(program, size), ranks.launch(program, size)


def test_both_drivers_carry_every_kind_of_array():
    simulated, real = both(neighbours, 3)
    assert simulated.sent.tolist() == real.sent.tolist()
    for ours, theirs in zip(simulated.results, real.results, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype.newbyteorder("=") == b.dtype and a.shape == b.shape and np.array_equal(a, b)


def test_what_is_sent_is_a_copy():
    def program(comm):
        x = np.zeros(1000)
        for _ in range(5):
            x += 1
            comm.send(1 - comm.rank, x)
        x[:] = -1
        return [comm.recv(1 - comm.rank).mean() for _ in range(5)]

    for done in both(program, 2):
        assert done.results == [[1, 2, 3, 4, 5]] * 2


def test_the_clock_serves_one_message_at_a_time_each_way():
    """alpha = 1 s and 1 s for 1000 bytes: each message takes 2 s."""
    kilobyte = np.zeros(125)

    def times(program, size):
        return ranks.simulate(program, size, latency=1.0, bandwidth=1000.0).seconds

    def to_all(comm):
        if comm.rank == 0:
            for other in range(1, comm.size):
                comm.send(other, kilobyte)
        else:
            comm.recv(0)

    def to_one(comm):
        if comm.rank == 0:
            for other in range(1, comm.size):
                comm.recv(other)
        else:
            comm.send(0, kilobyte)

    def around(comm):
        comm.send((comm.rank + 1) % comm.size, kilobyte)
        comm.recv((comm.rank - 1) % comm.size)

    def along(comm):
        if comm.rank:
            comm.recv(comm.rank - 1)
        if comm.rank < comm.size - 1:
            comm.send(comm.rank + 1, kilobyte)

    def hidden_by_work(comm):
        around(comm)
        comm.work(5.0)
        around(comm)

    def behind_work(comm):
        comm.send((comm.rank + 1) % comm.size, kilobyte)
        comm.work(5.0)
        comm.recv((comm.rank - 1) % comm.size)

    assert [times(program, 5) for program in (to_all, to_one, around, along)] == [8.0, 8.0, 2.0, 8.0]
    assert [times(program, 3) for program in (hidden_by_work, behind_work)] == [9.0, 5.0]
    assert times(lambda comm: None, 1) == 0.0


def test_messages_tell_who_sent_how_much_when():
    def program(comm):
        if comm.rank == 0:
            comm.send(1, np.zeros(10))
            comm.send(1, np.zeros(5, np.float32))
        else:
            comm.work(0.25)
            comm.recv(0), comm.recv(0)

    done = ranks.simulate(program, 2, latency=0.5, bandwidth=80.0)
    assert done.messages == [ranks.Message(0, 1, 80, 0.0, 1.5), ranks.Message(0, 1, 20, 1.5, 2.25)]
    assert done.sent.tolist() == [100, 0]


def test_the_simulation_is_the_same_each_time():
    def program(comm):
        for step in range(20):
            comm.send((comm.rank + 1 + step % (comm.size - 1)) % comm.size, np.zeros(comm.rank + step))
        return sum(comm.recv((comm.rank - 1 - step % (comm.size - 1)) % comm.size).size for step in range(20))

    first, second = (ranks.simulate(program, 7, latency=1e-3, bandwidth=1e3) for _ in range(2))
    assert first.results == second.results and first.messages == second.messages and first.seconds == second.seconds


def one_dies(comm):
    if comm.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    comm.recv(1)


def one_never_ends(comm):
    while comm.rank:
        pass


def prints_for_ever(comm):
    while True:
        print("x" * 1000)


def waits_for_each_other(comm):
    return comm.recv(1 - comm.rank)


def waits_for_one_that_ended(comm):
    return comm.rank or comm.recv(1)


def floods(comm):
    comm.send(1 - comm.rank, np.zeros(300_000_000 // 8))
    floods(comm)


def floods_with_small_ones(comm):
    while True:
        comm.send(1 - comm.rank, 1)
        comm.recv(1 - comm.rank)


def is_never_heard(comm):
    comm.send(1 - comm.rank, 1)


DEADLOCK = "nothing is on its way, and rank 0 waits for rank 1, rank 1 waits for rank 0"
WRONG = [
    (waits_for_each_other, DEADLOCK),
    (waits_for_one_that_ended, "nothing is on its way, and rank 0 waits for rank 1; the others have ended"),
    (floods, "more than 1,024 MiB are sent and not received; the last sender was rank 0"),
    (is_never_heard, "rank 1 never received the message that rank 0 sent it"),
]


@pytest.mark.parametrize(("program", "sentence"), [*WRONG, (floods_with_small_ones, "more than 100,000 messages")])
def test_a_simulation_that_cannot_go_on_says_why(program, sentence):
    with pytest.raises(ranks.RankError, match=sentence):
        ranks.simulate(program, 2)


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        *[one for one in WRONG if one[0] is not floods],
        (one_dies, "the process of rank 1 was ended by signal 9, Killed"),
        (one_never_ends, "the ranks have not ended after 1 s"),
    ],
)
def test_processes_that_cannot_go_on_say_why_and_are_gone(program, sentence, capfd):
    assert ranks.launch(program, 2, seconds=1 if program is one_never_ends else 60) is None
    assert capfd.readouterr() == (f"The ranks ended in the middle ({sentence}){GOES_ON}", "")
    assert rank_processes() == []


def test_processes_that_flood_say_so(capfd):
    def program(comm):
        for _ in range(5):
            comm.send(1 - comm.rank, np.zeros(300_000_000 // 8))
        comm.recv(1 - comm.rank)

    assert ranks.launch(program, 2, seconds=50) is None
    assert "more than 1,024 MiB are sent and not received; the last sender was rank" in capfd.readouterr().out
    assert rank_processes() == []


def test_prints_are_shown_up_to_a_limit(capfd):
    assert ranks.launch(lambda comm: print("hello from", comm.rank), 2) is not None
    assert capfd.readouterr() == ("rank 0: hello from 0\nrank 1: hello from 1\n", "")
    assert ranks.launch(prints_for_ever, 2) is None
    out, err = capfd.readouterr()
    assert out.endswith(f"(rank 0 has printed more than 1,000,000 bytes){GOES_ON}") and err == ""
    assert len(out) < 20_000


@pytest.mark.parametrize("driver", [ranks.simulate, ranks.launch])
def test_an_error_of_the_program_is_raised_as_it_is(driver):
    def program(comm):
        if comm.rank == 1:
            raise KeyError("lost")
        return comm.recv(1)

    with pytest.raises(KeyError, match="lost") as caught:
        driver(program, 3)
    assert caught.value.__notes__ == ["This was rank 1."]
    assert rank_processes() == []


@pytest.mark.parametrize("driver", [ranks.simulate, ranks.launch])
@pytest.mark.parametrize(
    ("use", "error", "sentence"),
    [
        (lambda comm: comm.send(comm.rank, 1), ValueError, "rank 0 sends to itself"),
        (lambda comm: comm.send(2, 1), ValueError, "rank 0 sends to rank 2, and there are ranks 0 to 1"),
        (lambda comm: comm.recv(-1), ValueError, "rank 0 receives from rank -1, and there are ranks 0 to 1"),
        (lambda comm: comm.send(1, "text"), TypeError, "rank 0 sends an array of <U4"),
        (lambda comm: comm.send(1, [None]), TypeError, "rank 0 sends an array of object"),
    ],
)
def test_wrong_use_is_one_line(driver, use, error, sentence):
    with pytest.raises(error, match=sentence):
        driver(lambda comm: use(comm) if comm.rank == 0 else None, 2)


def test_no_ranks_and_impossible_networks_are_refused():
    for driver in (ranks.simulate, ranks.launch):
        with pytest.raises(ValueError, match="at least one rank"):
            driver(print, 0)
    for wrong in ({"latency": -1}, {"bandwidth": 0}, {"latency": float("nan")}):
        with pytest.raises(ValueError, match="the one at least 0"):
            ranks.simulate(print, 2, **wrong)


def test_torch_distributed_works_beside_the_messages():
    def program(comm):
        import torch
        import torch.distributed as dist

        comm.send((comm.rank + 1) % comm.size, np.ones(3))
        total = torch.full((4,), float(comm.rank))
        dist.all_reduce(total)
        return total.numpy() + comm.recv((comm.rank - 1) % comm.size)[0], torch.get_num_threads()

    done = ranks.launch(program, 3)
    assert all(np.array_equal(total, np.full(4, 4.0)) and threads == 1 for total, threads in done.results)
    assert done.sent.tolist() == [24, 24, 24] and done.seconds > 0 and done.start_seconds > 0


def test_a_script_without_its_guard_launches_once(tmp_path):
    """And when its Python is killed in the middle, its ranks end, too."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import os, time
        from lsml_utils import ranks
        print("top", flush=True)
        print(ranks.launch(lambda comm: comm.rank, 2).results, flush=True)
        ranks.launch(lambda comm: (open(f"pid{comm.rank}", "w").write(str(os.getpid())), time.sleep(60)), 2)
        """)
    )
    with subprocess.Popen(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        try:
            assert [run.stdout.readline() for _ in range(2)] == ["top\n", "[0, 1]\n"]
            pids = [read_when_there(tmp_path / f"pid{rank}") for rank in range(2)]
        finally:
            run.kill()
    end = time.monotonic() + 30
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
        assert time.monotonic() < end, "ranks outlive their Python"
        time.sleep(0.1)
    assert list(tmp_path.glob("lsml-ranks-*")) == []


@pytest.mark.parametrize("seconds", [4])
def test_an_interrupt_ends_the_ranks_and_prints_nothing(seconds):
    """Jupyter sends it to every process of its group."""
    code = (
        "import time, psutil\nfrom lsml_utils import ranks\nprint('begins', flush=True)\n"
        "try:\n    ranks.launch(lambda comm: time.sleep(60), 2)\nexcept KeyboardInterrupt:\n    print('ends')\n"
        "end = time.monotonic() + 60\n"
        "while any('_rank' in str(p.cmdline()) or len(p.children()) for p in psutil.Process().children()):\n"
        "    time.sleep(0.1)\n    assert time.monotonic() < end\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert run.stdout.readline() == "begins\n"
    time.sleep(seconds)
    os.killpg(run.pid, signal.SIGINT)
    assert run.communicate(timeout=120)[0] == "ends\n" and run.returncode == 0


def read_when_there(file):
    end = time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < end, "the rank has not started"
        time.sleep(0.05)
    return int(file.read_text())


def rank_processes():
    return multiprocessing.active_children()
