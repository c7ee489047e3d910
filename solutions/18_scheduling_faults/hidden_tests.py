"""Hidden tests of module 18. A docstring is the sentence that a student reads when the test fails.

Durations are multiples of a power of two, so all times are exact and compared as they are. What an answer decides is
replayed here: schedules by their definition, work stealing from what `spawn` was told, backups by a clock in ticks.
"""

# Helpers run where `student` is defined, maybe under another Python.
# ruff: noqa: F821, B905

import itertools
import math
import struct
import zlib
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

from autograder.judging import (
    SEEDS,
    Argument,
    Asked,
    Contract,
    close,
    frozen,
    numbers,
    one_of,
    raises_student,
    random_states_kept,
    stepped,
    student_side,
)

TINY = 1e-8  # the level of one statistical comparison
NO_EDGES = np.zeros((0, 2), np.int64)


def dag(rng, n, edges):
    """Random edges (e, 2) of a graph without a cycle, with repeats; the numbers of tasks are shuffled."""
    if n < 2:
        return NO_EDGES
    pairs = np.sort(rng.integers(0, n, (edges, 2)), axis=1)
    return rng.permutation(n)[pairs[pairs[:, 0] < pairs[:, 1]]]


def dyadic(rng, n, low=0, high=400):
    """n multiples of 1/16."""
    return rng.integers(low, high, n) / 16


def remaining(durations, edges):
    """The longest path from each task, by repeated relaxation."""
    own = np.asarray(durations, float)
    length = own.copy()
    for _ in range(len(own)):
        longer = own.copy()
        np.maximum.at(longer, edges[:, 0], own[edges[:, 0]] + length[edges[:, 1]])
        if np.array_equal(longer, length):
            break
        length = longer
    return length


def all_paths(n, edges):
    """Every path that cannot be made longer at either end."""
    after = {u: sorted({int(v) for a, v in edges if a == u}) for u in range(n)}
    found, growing = [], [[u] for u in range(n) if not np.any(edges[:, 1] == u)]
    while growing:
        path = growing.pop()
        if not after[path[-1]]:
            found.append(path)
        growing += [[*path, v] for v in after[path[-1]]]
    return found


def longest_of(durations, edges):
    """The length of the longest path, and the first of the longest ones, by looking at all."""
    paths = all_paths(len(durations), edges)
    longest = max(durations[path].sum() for path in paths)
    return float(longest), min(path for path in paths if durations[path].sum() == longest)


# -------------------------------------------------------------------------------------------------- critical_path

DURATIONS = numbers(12, draw=lambda rng: dyadic(rng, 12), whole=(0, 100))
EDGES = Argument(
    lambda rng: dag(rng, 12, 20),
    {
        name: (lambda rng, form=form: form(dag(rng, 12, 20)))
        for name, form in {
            "int8": lambda e: e.astype(np.int8),
            "int16": lambda e: e.astype(np.int16),
            "int32": lambda e: e.astype(np.int32),
            "uint8": lambda e: e.astype(np.uint8),
            "uint64": lambda e: e.astype(np.uint64),
            "in steps": lambda e: np.repeat(np.repeat(e, 2, axis=0), 2, axis=1)[::2, ::2],
            "backwards": lambda e: e[::-1].copy()[::-1],
            "in Fortran order": np.asfortranarray,
            "read-only": lambda e: (e.setflags(write=False), e)[1],
        }.items()
    },
    frozenset({"int8", "int16", "int32", "uint8", "uint64"}),
    lambda e: e.astype(np.int64),
)
PATH = Contract("critical_path", durations=DURATIONS, edges=EDGES)


@pytest.mark.exercise("critical_path", weight=3, core=True, hint=2)
def test_length_of_the_longest_path(submission, rng):
    """The length is the largest sum of durations along a path, not that of the path with the most edges."""
    for n, e in ((9, 9), (8, 20), (12, 14), (5, 3), (40, 80), (60, 50)):
        durations, edges = dyadic(rng, n), dag(rng, n, e)
        got = submission.critical_path(durations, edges)
        assert close(got[0], float(remaining(durations, edges).max()))


@pytest.mark.exercise("critical_path", weight=3, core=True, hint=3)
def test_tasks_of_the_longest_path(submission, rng):
    """The path runs from a task that waits for none to one that nobody waits for, in order; smaller tasks at ties."""
    for n, e, high in ((9, 9, 400), (8, 12, 20), (9, 11, 3), (9, 12, 2), (7, 12, 1), (9, 8, 2)) * 3:
        durations, edges = dyadic(rng, n, 0, high), dag(rng, n, e)
        length, path = longest_of(durations, edges)
        got = submission.critical_path(durations, edges)
        assert close(got[1], path) and close(got[0], length)


@pytest.mark.exercise("critical_path", weight=2, core=True, hint=1)
def test_cycles_raise(submission, rng):
    """A cycle raises ValueError: a pair, an edge from a task to itself, a ring far from the first tasks."""
    ring = np.stack([np.arange(300), np.roll(np.arange(300), -1)], axis=1)
    for n, edges in (
        (2, [[0, 1], [1, 0]]),
        (3, [[1, 1]]),
        (300, ring),
        (400, ring + 100),
        (4, [[0, 1], [2, 3], [3, 2]]),
    ):
        with raises_student(ValueError):
            submission.critical_path(dyadic(rng, n), np.array(edges))
    twice = np.array([[0, 1], [0, 1], [1, 2], [0, 2], [0, 1]])  # repeats are no cycle
    assert close(submission.critical_path(np.ones(3), twice), (3.0, [0, 1, 2]))


@pytest.mark.exercise("critical_path", weight=6, hint=1)
def test_paths_of_large_graphs(submission, rng):
    """A chain of 10^5 tasks, a star and a layered graph as large: no recursion, and time in step with the edges."""
    n = 100_000
    order, durations = rng.permutation(n), dyadic(rng, n, 1)
    got = submission.critical_path(durations, np.stack([order[:-1], order[1:]], axis=1))
    assert close(got[0], float(durations.sum())) and close(got[1], order)
    star = np.stack([np.zeros(n - 1, int), np.arange(1, n)], axis=1)
    durations[n // 2] = 1000.0
    assert close(submission.critical_path(durations, star), (float(durations[0] + 1000.0), [0, n // 2]))
    # 300 layers of 333 tasks; all tasks of a layer wait for the same task of the layer before.
    layers = order[: 300 * 333].reshape(300, 333)
    edges = np.stack([np.repeat(layers[:-1, 0], 333), layers[1:].ravel()], axis=1)
    got = submission.critical_path(durations, edges[rng.permutation(len(edges))])
    inner = durations[layers[:-1, 0]]
    ways = np.cumsum(inner)[:, None] + durations[layers[1:]]  # along first tasks, then one of the next layer
    alone = max(durations[order[300 * 333 :]].max(initial=0), durations[layers[0]].max())
    assert close(got[0], float(max(ways.max(), alone)))


@pytest.mark.exercise("critical_path")
def test_graphs_of_every_kind(submission, rng):
    """Durations and edges of every kind and memory layout are taken; a Python float and Python ints come back."""
    for case in PATH.cases(rng):
        durations, edges = case.exact
        assert close(submission.critical_path(*case), longest_of(durations, edges), typed=True)
    assert close(submission.critical_path(np.zeros(0), NO_EDGES), (0.0, []))
    assert close(submission.critical_path(np.array([2.5]), NO_EDGES), (2.5, [0]))
    assert close(submission.critical_path(np.zeros(3), NO_EDGES), (0.0, [0]))
    assert close(submission.critical_path(np.array([2.0**20 - 2**-10]), NO_EDGES), (2.0**20 - 2**-10, [0]))
    large = np.array([2.0**20 - 2**-10, 2.0**-10, 0.0])
    assert close(submission.critical_path(large, np.array([[0, 1], [1, 2]])), (2.0**20, [0, 1, 2]))


@pytest.mark.exercise("critical_path", forgeable=True)
def test_critical_path_leaves_no_trace(submission, rng):
    """The arguments stay as they are, also when it raises, and nothing is kept from call to call."""
    cycle = [np.array([[0, 1], [1, 0]])]
    assert PATH.leaves_no_trace(submission, rng, then=[{}, {"edges": NO_EDGES}], edges=cycle)


# -------------------------------------------------------------------------------------------------- list_schedule

LASTING = numbers(12, draw=lambda rng: dyadic(rng, 12, 1), whole=(1, 100))
LIST = Contract("list_schedule", durations=LASTING, edges=EDGES, workers=one_of(3, 1, 50))


def scheduled(durations, edges, workers):
    """(worker, start) by the definition: at each moment everything is looked through anew."""
    n, path = len(durations), remaining(durations, edges)
    worker, start, end = np.zeros(n, int), np.full(n, np.inf), np.full(n, np.inf)
    now, busy = 0.0, {}
    while np.isinf(end).any():
        busy = {w: u for w, u in busy.items() if end[u] > now}
        for w in (w for w in range(min(workers, n)) if w not in busy):
            free = [
                u for u in range(n) if np.isinf(start[u]) and all(end[a] <= now for a in edges[edges[:, 1] == u, 0])
            ]
            if not free:
                break
            u = min(free, key=lambda u: (-path[u], u))
            worker[u], start[u], end[u], busy[w] = w, now, now + durations[u], u
        now = min(end[u] for u in busy.values())
    return worker, start


def ready_times(durations, edges, start):
    """When each task could have started, by the ends of those that it waits for."""
    ready = np.zeros(len(durations))
    np.maximum.at(ready, edges[:, 1], (start + durations)[edges[:, 0]])
    return ready


def problems(rng, sizes=((14, 20), (20, 12), (25, 60), (10, 0))):
    for n, e in sizes:
        for workers in (1, 2, 5):
            yield dyadic(rng, n, 1, 12 if workers == 2 else 300), dag(rng, n, e), workers


def replayed(submission, durations, edges, workers):
    """What comes back, as arrays that can be computed with."""
    got = submission.list_schedule(durations, edges, workers)
    assert close(len(got) if isinstance(got, list | tuple) else got, 2)
    assert close([np.shape(part) for part in got], [durations.shape] * 2)
    return np.asarray(got[0]), np.asarray(got[1], float)


@pytest.mark.exercise("list_schedule", weight=2, core=True, hint=2)
def test_schedules_are_valid(submission, rng):
    """Each task starts after the ends of all that it waits for, and no worker runs two tasks at a time."""
    for durations, edges, workers in problems(rng):
        worker, start = replayed(submission, durations, edges, workers)
        assert close(np.maximum(start, ready_times(durations, edges, start)), start)
        assert close(bool(np.all((worker >= 0) & (worker < workers))), True)
        for w in range(workers):
            own = np.flatnonzero(worker == w)
            own = own[np.argsort(start[own])]
            assert close(bool(np.all(start[own][1:] >= (start + durations)[own][:-1])), True)


@pytest.mark.exercise("list_schedule", weight=2, core=True, hint=2)
def test_no_worker_is_idle_while_a_task_is_ready(submission, rng):
    """While a task is ready and has not started, all workers are busy: also with a task that is not the longest."""
    for durations, edges, workers in problems(rng):
        _, start = replayed(submission, durations, edges, workers)
        ready, end = ready_times(durations, edges, start), start + durations
        for i in np.flatnonzero(start > ready):
            busy = np.minimum(end, start[i]) - np.maximum(start, ready[i])
            assert close(busy[busy > 0].sum(), workers * (start[i] - ready[i]))
        bound = max(durations.sum() / workers, remaining(durations, edges).max())
        assert close(float(end.max()) <= (2 - 1 / workers) * bound, True)


@pytest.mark.exercise("list_schedule", weight=3, core=True, hint=1)
def test_the_longest_remaining_path_goes_first(submission, rng):
    """Of the ready tasks the one with the longest remaining path starts first, and the smaller number at ties."""
    for durations, edges, workers in problems(rng):
        _, start = replayed(submission, durations, edges, workers)
        ready, path = ready_times(durations, edges, start), remaining(durations, edges)
        for i in range(len(start)):
            passed_over = np.flatnonzero((ready <= start[i]) & (start > start[i]))
            assert close(any((-path[j], j) < (-path[i], i) for j in passed_over), False)


@pytest.mark.exercise("list_schedule", weight=2, hint=2)
def test_the_idle_worker_with_the_smallest_number(submission, rng):
    """All ends of a moment come first; then each task starts on the idle worker with the smallest number."""
    for durations, edges, workers in problems(rng):
        assert close(submission.list_schedule(durations, edges, workers), scheduled(durations, edges, workers))
    equal = np.full(30, 2.0)
    for workers in (4, 7):
        edges = dag(rng, 30, 25)
        assert close(submission.list_schedule(equal, edges, workers), scheduled(equal, edges, workers))


@pytest.mark.exercise("list_schedule", weight=6, hint=1)
def test_schedules_of_many_tasks(submission, rng):
    """10^5 tasks, all of them ready at once, then a chain and a wide graph: time O((n + e) log n), and no recursion."""
    n, workers = 100_000, 250
    durations = rng.integers(1, 50, n) / 4
    worker, start = replayed(submission, durations, NO_EDGES, workers)
    order = np.lexsort([np.arange(n), -durations])  # longest first; so starts are in this order
    assert close(bool(np.all(np.diff(start[order]) >= 0)), True)
    end = start + durations
    assert close(float(end.max()) <= durations.sum() / workers + durations.max(), True)
    by_worker = np.lexsort([start, worker])
    same = np.diff(worker[by_worker]) == 0  # without a gap, as nothing waits
    assert close(start[by_worker][1:][same], end[by_worker][:-1][same])
    chain = rng.permutation(50_000)
    _, start = replayed(submission, durations[:50_000], np.stack([chain[:-1], chain[1:]], axis=1), 3)
    assert close(start[chain], np.append(0.0, np.cumsum(durations[:50_000][chain])[:-1]))


@pytest.mark.exercise("list_schedule", weight=1, hint=3)
def test_schedules_at_the_borders(submission, rng):
    """No tasks, one task, far more workers than tasks, and ValueError for a cycle."""
    assert close(submission.list_schedule(np.zeros(0), NO_EDGES, 2), (np.zeros(0), np.zeros(0)))
    assert close(submission.list_schedule(np.array([3.5]), NO_EDGES, 2), ([0], [0.0]))
    chain = np.array([2.0**20 - 2**-10, 1.0])
    assert close(submission.list_schedule(chain, np.array([[0, 1]]), 1), ([0, 0], [0.0, 2.0**20 - 2**-10]))
    durations, edges = dyadic(rng, 5, 1), np.array([[4, 0], [4, 0]])
    expected = scheduled(durations, edges, 5)
    assert close(submission.list_schedule(durations, edges, 100_000), expected)
    ring = np.stack([np.arange(300), np.roll(np.arange(300), -1)], axis=1)
    for n, edges in ((2, [[0, 1], [1, 0]]), (3, [[1, 1]]), (400, ring + 100)):
        with raises_student(ValueError):
            submission.list_schedule(np.ones(n), np.array(edges), 2)


@pytest.mark.exercise("list_schedule")
def test_schedules_of_every_kind(submission, rng):
    """Durations and edges of every kind and memory layout are taken; int64 and float64 arrays come back."""
    for case in LIST.cases(rng):
        assert close(submission.list_schedule(*case), scheduled(*case.exact), typed=True)


@pytest.mark.exercise("list_schedule", forgeable=True)
def test_list_schedule_leaves_no_trace(submission, rng):
    """The arguments stay as they are, also when it raises, and new arrays come back."""
    cycle = [np.array([[0, 1], [1, 0]])]
    assert LIST.leaves_no_trace(submission, rng, then=[{}, {"edges": NO_EDGES}, {"workers": 1}], edges=cycle)


# ----------------------------------------------------------------------------------------------------- steal_work


def tree(rng, n, kind="random"):
    """The children of n tasks, at most two each, and the depth. Numbers of tasks are arbitrary."""
    name = (rng.permutation(n) + int(rng.integers(1000))).tolist()
    children, depth, places = {task: [] for task in name}, [1] * n, [0, 0]
    for i in range(1, n):
        if kind == "random":
            parent = places.pop(int(rng.integers(len(places))))
        else:  # a chain with a leaf at each task, or a binary tree
            parent = max(0, (i - 1) // 2 * 2 - 1 + (i < 3)) if kind == "chain" else (i - 1) // 2
        children[name[parent]].append(name[i])
        depth[i] = depth[parent] + 1
        places += [i, i]
    return name[0], children, max(depth)


def spawning(children):
    """A spawn that remembers; it fails by a comparison long after every task has been asked for."""
    return Asked(lambda task, worker, now: np.array(children.get(task, []), np.int64))


def replay(calls, children, root, cost, workers, steals):
    """Go through the calls of spawn: what is wrong first, one word, "" where nothing is."""
    told = [(int(task), int(worker), float(now)) for task, worker, now in calls]
    if sorted(task for task, _, _ in told) != sorted(children):
        return "once"
    if any(not 0 <= worker < workers for _, worker, _ in told):
        return "time"
    if [(now, worker) for _, worker, now in told] != sorted((now, worker) for _, worker, now in told):
        return "time"
    own = {w: [(now - cost, now, task) for task, worker, now in told if worker == w] for w in range(workers)}
    if any(a[1] > b[0] for runs in own.values() for a, b in itertools.pairwise(runs)):
        return "time"
    # All that happens, in order: at the end of a task its children come, and the next task of this worker may start;
    # an idle worker looks for work after each unit of time.
    queues, stolen = {w: [] for w in range(workers)}, 0
    queues[0].append(root)
    events = []
    for w, runs in own.items():
        if w == 0 and (not runs or runs[0][0] != 0.0):
            return "idle"
        free = 0.0
        for begin, end, task in runs:
            if begin != free:
                tries = begin - free
                if tries != int(tries):
                    return "attempt"
                events += [(free + k, w, "try", None) for k in range(1, int(tries))]
                events.append((begin, w, "steal", task))
            events.append((free, w, "next", task if begin == free else None))
            events.append((end, w, "end", task))
            free = end
        events.append((free, w, "next", None))
    rank = {"try": 0, "steal": 0, "end": 0, "next": 1}
    for _, w, what, task in sorted(events, key=lambda event: (event[0], event[1], rank[event[2]])):
        others = [v for v in range(workers) if v != w]
        if what == "end":
            queues[w] += children[task]
        elif what == "next":
            if task is None:
                if queues[w]:
                    return "idle"
            elif task not in queues[w]:
                return "attempt"
            elif queues[w].pop() != task:
                return "own"
        elif what == "try":
            if all(queues[v] for v in others):
                return "idle"
        else:
            victims = [v for v in others if task in queues[v]]
            if not victims:
                return "time"
            if queues[victims[0]].pop(0) != task:
                return "thief"
            stolen += 1
    return "" if steals == stolen else "count"


def wrong_in_replays(submission, rng, runs=((100, "random"), (70, "chain"), (63, "binary"))):
    """What is wrong in the replays of several runs, a set of words."""
    found = set()
    for n, kind in runs:
        for workers, cost in ((2, 1.0), (3, 2.5), (8, 0.25), (5, 7.0)):
            root, children, _ = tree(rng, n, kind)
            spawn = spawning(children)
            got = submission.steal_work(spawn, root, cost, workers, int(rng.integers(2**60)))
            steals = got[1] if isinstance(got, list | tuple) and len(got) == 2 else None
            found.add(replay(spawn.calls, children, root, cost, workers, steals))
            if isinstance(got, list | tuple) and len(got) == 2 and spawn.calls:
                found.add("" if close(got[0], float(spawn.calls[-1][2])) else "makespan")
    return found - {""}


@pytest.mark.exercise("steal_work", weight=2, core=True, hint=2)
def test_one_worker_goes_depth_first(submission, rng):
    """One worker runs the newest task of its queue each time: depth first, the last child first. It never waits."""
    for n, cost in ((1, 1000.0), (2, 0.5), (60, 1.0), (90, 3.25), (3, 1 / 64)):
        root, children, _ = tree(rng, n)
        spawn = spawning(children)
        got = submission.steal_work(spawn, root, cost, 1, 5)
        order, waiting = [], [root]
        while waiting:
            order.append(waiting.pop())
            waiting += children[order[-1]]
        assert close([task for task, _, _ in spawn.calls], order)
        assert close([float(now) for *_, now in spawn.calls], [cost * (k + 1) for k in range(n)])
        assert close(got, (cost * n, 0))


@pytest.mark.exercise("steal_work", weight=2, core=True, hint=1)
def test_every_task_is_spawned_once(submission, rng):
    """spawn is called exactly once for each task, at its end: in order of time, then of the workers' numbers."""
    assert close(wrong_in_replays(submission, rng) & {"once", "time"}, set())


@pytest.mark.exercise("steal_work", weight=2, core=True, hint=2)
def test_queues_have_two_ends(submission, rng):
    """A worker takes the newest task of its own queue, and a thief takes the oldest one of another queue."""
    assert close(wrong_in_replays(submission, rng) & {"own", "thief"}, set())


@pytest.mark.exercise("steal_work", weight=2, core=True, hint=2)
def test_nobody_waits_without_need(submission, rng):
    """A worker begins its next task or attempt at once; an attempt takes 1 and fails on an empty queue only."""
    assert close(wrong_in_replays(submission, rng) & {"idle", "attempt"}, set())


@pytest.mark.exercise("steal_work", weight=2, core=True, hint=3)
def test_makespan_and_steals_are_returned(submission, rng):
    """The end of the last task and the number of tasks that were stolen come back."""
    assert close(wrong_in_replays(submission, rng) & {"makespan", "count"}, set())
    got = submission.steal_work(spawning({7: []}), 7, 3.0, 5, 1)
    assert close(got, (3.0, 0), typed=True)
    root, children, _ = tree(rng, 40)
    got = submission.steal_work(spawning(children), root, 2, 3, 1)
    assert close(got, (float(got[0]), int(got[1])), typed=True)


@student_side
def one_steal_run(children, root, cost, workers, seeds):
    """(makespan, steals, a checksum of who ended what and when) for each seed, with spawn on this side."""
    import zlib

    import numpy

    arrays, found = {task: numpy.array(own, numpy.int64) for task, own in children}, []
    for seed in seeds:
        log = []

        def spawn(task, worker, now, log=log):
            log.append((int(task), int(worker), float(now)))
            return arrays[task].copy()

        found.append((*student.steal_work(spawn, root, cost, workers, seed), zlib.crc32(repr(log).encode())))
    return found


@pytest.mark.exercise("steal_work", weight=5, hint=2)
def test_stealing_is_as_fast_as_it_should_be(submission, rng):
    """The makespan lies between max(T1/P, Tinf) and T1/P + 20 Tinf, for few and many workers and unlike trees."""
    for n, kind in ((900, "random"), (1023, "binary"), (200, "chain")):
        root, children, depth = tree(rng, n, kind)
        for workers in (2, 16, 100):
            runs = submission.run(one_steal_run, list(children.items()), root, 2.0, workers, [1])
            for makespan, steals, _ in runs:
                assert close(makespan <= 2.0 * n / workers + 20 * 2.0 * depth, True)
                assert close(makespan >= max(2.0 * n / workers, 2.0 * depth), True) and close(0 <= steals < n, True)


@student_side
def victims_of(workers, thief, seeds):
    """From whose queue `thief` steals once all the other queues are long: how often from each worker's.

    Task 0 spawns the starters 1 to 3P. A starter spawns 20 leaves, unless `thief` runs it.
    """
    import numpy

    found = [0] * workers
    for seed in seeds:
        owner, seen = {}, []

        def spawn(task, worker, now, owner=owner, seen=seen):
            if seen == ["ready"] and worker == thief and owner[task] != thief:
                seen.append(owner[task])
            spawned = []
            if task == 0:
                spawned = list(range(1, 3 * workers + 1))
            elif task <= 3 * workers and worker != thief:
                spawned = list(range(1000 * task, 1000 * task + 20))
            owner.update(dict.fromkeys(spawned, worker))
            if not seen and worker == thief and task and len({*owner.values(), thief}) == workers:
                seen.append("ready")  # 64 units later, or more, this worker steals; the others have leaves for 1,000
            return numpy.array(spawned, numpy.int64)

        student.steal_work(spawn, 0, 64.0, workers, seed)
        for victim in seen[1:]:
            found[victim] += 1
    return found


@pytest.mark.exercise("steal_work", weight=2, hint=3)
def test_victims_are_drawn_at_random(submission, rng):
    """A thief chooses among all other workers, each with the same probability, and a new one for each attempt."""
    star = {0: list(range(1, 301))} | {task: [] for task in range(1, 301)}
    spawn = spawning(star)
    submission.steal_work(spawn, 0, 100.0, 150, 4)
    assert close(max(worker for _, worker, _ in spawn.calls) > 100, True)  # about half of 150 find a task in 100 units
    start = int(rng.integers(2**40))
    for workers, thief in ((2, 1), (4, 0), (4, 2)):
        counts = np.array(submission.run(victims_of, workers, thief, list(range(start, start + 150))))
        assert close(int(counts[thief]), 0)
        others = np.delete(counts, thief)
        expected = others.sum() / len(others)
        assert close(bool(others.sum() >= 100), True)
        statistic = float(np.sum((others - expected) ** 2) / expected)  # 0 for a single other
        assert close(statistic, 0.0, atol=scipy.stats.chi2.isf(TINY, max(1, len(others) - 1)))


@pytest.mark.exercise("steal_work", weight=1, hint=3)
def test_stealing_depends_on_its_seed_alone(submission, rng):
    """The same arguments give the same result, in another process, too; seeds matter, global states do not."""
    root, children, _ = tree(rng, 300)
    args = (list(children.items()), root, 2.0, 6, list(SEEDS))
    found = submission.run(one_steal_run, *args)
    assert close(submission.run(one_steal_run, *args), found)
    with submission.elsewhere() as other:
        assert close(other.run(one_steal_run, *args), found)
    assert close(len({tuple(run) for run in found}), len(SEEDS))
    assert random_states_kept(submission, stolen, list(children.items()), root)


@student_side
def stolen(children, root):
    import numpy

    arrays = {task: numpy.array(own, numpy.int64) for task, own in children}
    return tuple(student.steal_work(lambda t, w, now: arrays[t].copy(), root, 1.0, 4, 9))


# --------------------------------------------------------------------------------------------------- with_backups

BACKUPS = Contract(
    "with_backups",
    durations=Argument(lambda rng: (rng.integers(1, 300, (9, 2)) / 16).tolist(), {}, frozenset()),
    workers=one_of(3, 1, 20),
    slow=one_of(1.5, math.inf, 0.125),
)
TICKS = 64  # in a unit of time: durations are multiples of 1/4 there, medians of 1/8, limits of 1/64


def by_ticks(durations, workers, slow):
    """(makespan, copies) by a clock that looks at everything 64 times in a unit of time."""
    n = len(durations)
    ends = [[None, None] for _ in range(n)]  # of attempts that run
    start, over, took, copies = [None] * n, [False] * n, [], 0
    for tick in itertools.count():
        for i in range(n):
            done = [a for a in (0, 1) if ends[i][a] == tick]
            if done and not over[i]:
                over[i], ends[i] = True, [None, None]
                took.append(durations[i][done[0]])
        if all(over):
            return tick / TICKS, copies

        def busy():
            return sum(end is not None for pair in ends for end in pair)

        for i in range(n):
            if start[i] is None and busy() < workers:
                start[i], ends[i][0] = tick, tick + int(durations[i][0] * TICKS)
        if None in start or not took or slow == math.inf:
            continue
        limit = slow * float(np.median(took)) * TICKS
        for i in sorted(range(n), key=lambda i: (start[i], i)):
            if not over[i] and ends[i][1] is None and tick - start[i] >= limit and busy() < workers:
                ends[i][1], copies = tick + int(durations[i][1] * TICKS), copies + 1


def stragglers(rng, n, share=0.3):
    """Durations in quarters; some attempts are much longer."""
    return (rng.integers(4, 9, (n, 2)) * np.where(rng.random((n, 2)) < share, 6, 1) / 4).tolist()


@pytest.mark.exercise("with_backups", weight=2, core=True, hint=3)
def test_tasks_start_in_their_order(submission, rng):
    """Without copies (slow = inf, or never a worker to spare) each idle worker starts the next task."""
    for n, workers in ((12, 3), (7, 7), (9, 1), (5, 20), (400, 12)):
        durations = stragglers(rng, n)
        free = [0.0] * workers
        for original, _ in durations:
            free[free.index(min(free))] += original
        assert close(submission.with_backups(durations, workers, math.inf), (max(free), 0))
        assert close(submission.with_backups(durations, 1, 0.5), (sum(d for d, _ in durations), 0))


@pytest.mark.exercise("with_backups", weight=2, core=True, hint=1)
def test_a_copy_starts_when_its_task_is_slow(submission, rng):
    """A copy starts when its task has run for slow * median, even if nothing else happens then; not earlier."""
    for slow, limit, copy in ((1.5, 3.0, 2.0), (3.0, 6.0, 0.25), (1.0, 2.0, 5.0), (0.5, 2.0, 1.0), (4.0, 8.0, 2.5)):
        # Tasks 0 to 4 take 2 from time 0; task 5 takes 40, its copy starts at max(2, slow * 2).
        durations = [[2.0, 9.0]] * 5 + [[40.0, copy]]
        assert close(submission.with_backups(durations, 6, slow), (limit + copy, 1))
    for slow in (1.0, 2.5):  # a task that ends at the moment at which its copy would start gets none
        assert close(submission.with_backups([[2.0, 1.0], [2.0, 1.0], [2.0 * slow, 1.0]], 3, slow), (2.0 * slow, 0))


@pytest.mark.exercise("with_backups", weight=3, core=True, hint=2)
def test_the_first_attempt_ends_both(submission, rng):
    """When one attempt ends, the other is stopped, and both workers are idle: the next slow task gets a copy."""
    # Task 0 ends at 1; one idle worker. Slow tasks 1 to 4 are copied in turn, each copy frees two workers.
    assert close(submission.with_backups([[1.0, 9.0]] + [[50.0, 2.0]] * 4, 5, 1.0), (7.0, 4))
    assert close(submission.with_backups([[1.0, 9.0]] + [[50.0, 2.0]] * 2, 3, 1.0), (5.0, 2))
    # A copy that is slower than its original is stopped.
    assert close(submission.with_backups([[1.0, 9.0], [3.0, 50.0]], 2, 1.0), (3.0, 1))
    for _ in range(6):
        durations = stragglers(rng, 7, share=0.6)
        assert close(submission.with_backups(durations, 7, 1.0), by_ticks(durations, 7, 1.0))


@pytest.mark.exercise("with_backups", weight=3, core=True, hint=3)
def test_backups_by_the_clock(submission, rng):
    """Makespan and number of copies are those of a simulation that looks at every moment."""
    for n, workers, slow in ((8, 3, 1.5), (10, 4, 1.25), (9, 9, 2.0), (12, 5, 0.5), (7, 3, 0.125), (10, 10, 1.0)) * 2:
        durations = stragglers(rng, n)
        assert close(submission.with_backups(durations, workers, slow), by_ticks(durations, workers, slow))


@pytest.mark.exercise("with_backups", weight=2, hint=3)
def test_the_median_is_of_finished_tasks(submission, rng):
    """The median counts the attempts that finished a task, each from its own start, and no task that still runs."""
    # Two of three ended, after 2 and 4: median 3. The third started at 2 and gets its copy at 2 + 2 * 3.
    assert close(submission.with_backups([[2.0, 9.0], [4.0, 9.0], [50.0, 1.0]], 2, 2.0), (9.0, 1))
    # 2, 2 and 8: the median is 2, the mean 4. The last started at 2; its copy starts at 2 + 5 * 2.
    assert close(submission.with_backups([[2.0, 9.0], [2.0, 9.0], [8.0, 9.0], [50.0, 1.0]], 2, 5.0), (13.0, 1))
    # One ended after 4: the limit is 6. Its copy ends at 8, after 2: the median is 3 for the others.
    assert close(submission.with_backups([[4.0, 9.0], [50.0, 2.0], [50.0, 2.0], [50.0, 2.0]], 4, 1.5), (10.0, 3))
    # The copy ended its task after 1: the median of 4 and 1 is 2.5.
    assert close(submission.with_backups([[4.0, 9.0], [30.0, 1.0], [30.0, 1.0]], 3, 1.25), (7.0, 2))
    # Both attempts end at 20; the original counts: the median of 2 and 20 is 11, the limit of the last task 22.
    assert close(submission.with_backups([[2.0, 9.0], [20.0, 16.0], [100.0, 1.0]], 3, 2.0), (23.0, 2))


@pytest.mark.exercise("with_backups", weight=3, hint=1)
def test_backups_of_many_tasks(submission, rng):
    """3,000 tasks on 300 workers, the last ones slow: each gets one copy, at the right moment."""
    for slow_ones, slow in ((10, 1.5), (150, 1.25), (200, 1.5)):
        durations = [[1.0, 7.0]] * (3000 - slow_ones) + [[100.0, 1.0]] * slow_ones
        # The last 300 start at 9. At 10 the usual ones end, the slow ones reach the limit at 9 + slow.
        idle, left, time, copies = 300 - slow_ones, slow_ones, 9 + slow, 0
        while left:
            ended = min(idle, left)
            copies, left, idle, time = copies + ended, left - ended, idle + ended, time + 1.0
        assert close(submission.with_backups(durations, 300, slow), (time, copies))


@pytest.mark.exercise("with_backups", weight=1)
def test_backups_at_the_borders(submission, rng):
    """No tasks, one task, more workers than tasks; a Python float and a Python int come back."""
    assert close(submission.with_backups([], 4, 2.0), (0.0, 0), typed=True)
    assert close(submission.with_backups([[2.5, 1.0]], 4, 1.0), (2.5, 0), typed=True)
    assert close(submission.with_backups([[2, 1], [8, 1]], 9, 1), (3.0, 1), typed=True)
    assert close(submission.with_backups([[2.0**20 + 1 / 64, 1.0]], 1, 2.0), (2.0**20 + 1 / 64, 0))
    assert close(submission.with_backups([[1.0, 1.0]] * 3 + [[50.0, 1.0]], 4, 20.0), (21.0, 1))
    tiny = [[1 / 64, 1 / 64], [1 / 64, 1 / 64], [1000.0, 1 / 64]]
    assert close(submission.with_backups(tiny, 3, 2.0), (3 / 64, 1))


@pytest.mark.exercise("with_backups", forgeable=True)
def test_backups_leave_no_trace(submission, rng):
    """The lists stay as they are, and nothing is kept from call to call."""
    assert BACKUPS.leaves_no_trace(submission, rng, then=[{}, {"workers": 1}, {"slow": math.inf}, {"durations": []}])


# -------------------------------------------------------------------------------------------------- best_interval


def runtime(work, interval, cost, restart, mtbf):
    """The formula, in extended precision."""
    x, r = (np.longdouble(interval) + np.longdouble(cost)) / np.longdouble(mtbf), np.longdouble(restart) / mtbf
    return float(np.longdouble(mtbf) * np.exp(r) * np.expm1(x) * work / np.longdouble(interval))


@pytest.mark.exercise("best_interval", weight=2, core=True, hint=1)
def test_runtime_is_the_formula(submission, rng):
    """expected_runtime is M e^(R/M) (e^((τ+C)/M) − 1) W/τ."""
    for _ in range(20):
        work, interval, cost, restart, mtbf = (float(10.0**power) for power in rng.uniform(-1, 1.3, 5))
        expected = runtime(work, interval, cost, restart, max(mtbf, 1.0))
        got = submission.expected_runtime(work, interval, cost, restart, max(mtbf, 1.0))
        assert close(got, expected, rtol=1e-9)


@pytest.mark.exercise("best_interval", weight=1, core=True, hint=1)
def test_runtime_is_the_mean_of_simulated_runs(submission, rng):
    """The mean of simulated runs agrees: failures strike during work, checkpoints and restarts."""
    segments = 4000
    for interval, cost, restart, mtbf in ((2.0, 0.5, 1.0, 4.0), (1.0, 0.1, 0.0, 1.0), (0.5, 0.5, 1.5, 2.0)):
        times = np.zeros(segments)
        for i in range(segments):
            life = rng.exponential(mtbf)
            while life < interval + cost:
                times[i] += life
                while (life := rng.exponential(mtbf)) < restart:
                    times[i] += life
                times[i] += restart
                life -= restart
            times[i] += interval + cost
        got = submission.expected_runtime(interval, interval, cost, restart, mtbf)
        # A segment is one segment of work W = τ; six standard deviations of the mean of 4000.
        assert close(got, times.mean(), atol=6 * times.std() / math.sqrt(segments))


@pytest.mark.exercise("best_interval", weight=4, core=True, hint=2)
def test_interval_is_nearly_the_best(submission, rng):
    """With the interval, the expected runtime is at most 1% above the smallest, for cheap and expensive checkpoints."""
    for ratio in (*(10.0 ** rng.uniform(-6, -1, 4)), 0.2, 0.5, 0.8, 1.2, 1.9, 2.0, 2.5, 10.0, 50.0):
        mtbf = float(10.0 ** rng.uniform(-3, 5))

        def above(power, cost=ratio * mtbf, mtbf=mtbf):  # of the interval in units of mtbf
            return math.log(runtime(1.0, 10.0**power * mtbf, cost, 0.0, mtbf))

        best = scipy.optimize.minimize_scalar(above, bounds=(-4, 0.5), method="bounded").fun
        got = submission.best_interval(float(ratio * mtbf), mtbf)
        assert close(isinstance(got, int | float) and 1e-6 * mtbf < got < 100 * mtbf, True)
        assert close(above(math.log10(got / mtbf)) - best <= math.log(1.01), True)


@pytest.mark.exercise("best_interval", weight=3, hint=1)
def test_runtime_with_rare_failures(submission, rng):
    """Where failures are rare, no digits are lost: the relative error is at most 1e-12."""
    for power in (0, -1, -2, *np.arange(-8, -3, 0.1), -10, -11.9):  # whoever changes formulas does so in between
        mtbf = float(rng.uniform(1, 2) * 10.0**-power)
        args = (float(rng.uniform(1, 1e6)), float(rng.uniform(0.5, 1)), float(rng.uniform(0.6, 1)), 0.5, mtbf)
        assert close(submission.expected_runtime(*args), runtime(*args), rtol=1e-12)


@pytest.mark.exercise("best_interval", weight=1)
def test_intervals_at_the_borders(submission, rng):
    """No work, no cost, no restart, frequent failures, whole numbers; Python floats come back."""
    tiny, long = (1e-9, 2e-8, 1e-9, 3e-9, 1e-8), (2.0, 60.0, 39.0, 90.0, 1.0)
    for args in ((0.0, 1.0, 0.5, 0.5, 2.0), (3, 2, 1, 0, 4), (1.0, 1.0, 0.0, 0.0, 1.0), tiny, long):
        assert close(submission.expected_runtime(*args), runtime(*args), rtol=1e-12, typed=True)
    for cost, mtbf in ((1, 4), (5, 2), (4, 2), (1, 1000000), (1e-9, 1e-8), (1e-11, 1e-10), (1e9, 1e10), (1e-5, 1e4)):
        got = submission.best_interval(cost, mtbf)
        exact = mtbf * (1 + scipy.special.lambertw(-math.exp(-cost / mtbf - 1)).real)
        least = runtime(1.0, exact, cost, 0.0, mtbf)
        assert close(runtime(1.0, got, cost, 0.0, mtbf), least, rtol=0.01)
        assert close(type(got) is float or type(got).__name__ == "float64", True) and close(got > 0, True)


# -------------------------------------------------------------------------------------------------------- recover


def record(index, key, value):
    payload = struct.pack("<qd", index, value) + key.encode()
    return struct.pack("<II", len(payload), zlib.crc32(payload)) + payload


def changes(rng, count, first=0, keys=("a", "b", "long key", "ü€", "")):
    """Rising indices with gaps, keys that come again, and values."""
    indices = first + np.cumsum(rng.integers(1, 4, count)) - 1
    return [(int(i), keys[int(rng.integers(len(keys)))], float(v)) for i, v in zip(indices, rng.normal(0, 9, count))]


def applied(entries, snapshot=(-1, {})):
    last, state = snapshot[0], dict(snapshot[1])
    for index, key, value in entries:
        if index > last:
            state[key], last = state.get(key, 0.0) + value, index
    return state


@pytest.mark.exercise("recover", weight=2, core=True, hint=1)
def test_records_have_the_layout(submission, rng):
    """append gives length, CRC-32 and payload (index, value, key), little-endian."""
    odd = [(0, "", 0.0), (2**62 + 1, "x" * 1000, 1e300), (7, "Tiny ", 1e-300), (8, " ", -1e-9), (9, "a\0b", -1e12)]
    for index, key, value in [*changes(rng, 20), *odd]:
        assert close(submission.append(index, key, value), record(index, key, value))


@pytest.mark.exercise("recover", weight=3, core=True, hint=2)
def test_logs_that_are_cut_anywhere(submission, rng):
    """Wherever the log is cut, the state is that of the whole records before the cut."""
    entries = changes(rng, 6)
    log, ends = b"".join(record(*entry) for entry in entries), []
    for entry in entries:
        ends.append(len(record(*entry)) + (ends[-1] if ends else 0))
    for cut in range(len(log) + 1):
        assert close(submission.recover((-1, {}), log[:cut]), applied(entries[: sum(end <= cut for end in ends)]))


@pytest.mark.exercise("recover", weight=2, core=True, hint=3)
def test_changes_in_the_snapshot_count_once(submission, rng):
    """Records up to the snapshot's index are skipped, and the others are added to its state."""
    entries = changes(rng, 12)
    log = b"".join(record(*entry) for entry in entries)
    for index in range(-1, entries[-1][0] + 3):
        snapshot = (index, applied([entry for entry in entries if entry[0] <= index]) | {"other": 5.0})
        assert close(submission.recover(snapshot, log), applied(entries) | {"other": 5.0})


@pytest.mark.exercise("recover", weight=3, hint=2)
def test_damaged_logs(submission, rng):
    """Nothing counts from the first record on that has another checksum; zeros and other bytes are no records."""
    entries = changes(rng, 5)
    parts = [record(*entry) for entry in entries]
    for place in range(sum(map(len, parts))):
        damaged = bytearray(b"".join(parts))
        damaged[place] ^= 1 << int(rng.integers(8))
        before = next(k for k in range(5) if place < sum(map(len, parts[: k + 1])))
        assert close(submission.recover((-1, {}), bytes(damaged)), applied(entries[:before]))
    whole = b"".join(parts)
    short = [struct.pack("<II", n, zlib.crc32(bytes(n))) + bytes(n) for n in (1, 8, 15)]
    for tail in (bytes(8), bytes(7), bytes(4096), b"\xff" * 40, b"\xff\xff\xff\x7f" + bytes(90), *short):
        assert close(submission.recover((-1, {}), whole + tail), applied(entries))
        assert close(submission.recover((-1, {}), whole + tail + record(10**6, "late", 1.0)), applied(entries))
    assert close(submission.recover((-1, {}), record(0, "", 2.0) + bytes(100)), {"": 2.0})


@pytest.mark.exercise("recover", weight=2, hint=3)
def test_changes_that_were_sent_twice(submission, rng):
    """A record whose index is not above all that were applied is skipped, wherever it stands, and reading goes on."""
    entries = changes(rng, 30)
    for _ in range(4):
        sent = list(entries)
        for place in sorted(rng.integers(1, 30, 8).tolist(), reverse=True):
            sent[place:place] = sent[max(0, place - int(rng.integers(1, 4))) : place]
        log = b"".join(record(*entry) for entry in sent)
        for snapshot in ((-1, {}), (entries[9][0], {"a": 3.0})):
            assert close(submission.recover(snapshot, log), applied(entries, snapshot))


@pytest.mark.exercise("recover", weight=2, hint=3)
def test_long_logs(submission, rng):
    """20,000 records come out to the last bit, in a Python dict of floats; long keys and large indices, too."""
    keys = tuple(f"k{i}" for i in range(300))
    entries = [*changes(rng, 20_000, keys=keys), (2**61, "x" * 70_000, 2.0), (2**61 + 1, "é" * 300, 0.5)]
    log = b"".join(record(*entry) for entry in entries)
    assert close(submission.recover((-1, {}), log), applied(entries), typed=True)
    assert close(submission.recover((-1, {}), b""), {}) and close(submission.recover((3, {"a": 1.0}), b""), {"a": 1.0})
    assert close(submission.recover((0, {}), record(0, "a", 1.0)), {})
    assert close(submission.recover((-1, {}), record(0, "a", 1.0)), {"a": 1.0}, typed=True)


@student_side
def snapshot_after(log):
    """What happens to a snapshot, and whether the results of two calls are one dict."""
    snapshot = (0, {"a": 1.0})
    first, second = student.recover(snapshot, log), student.recover(snapshot, log)
    first["b"] = 7.0
    third = student.recover(snapshot, b"")
    third["c"] = 8.0
    return snapshot == (0, {"a": 1.0}) and second == student.recover(snapshot, log) and "b" not in second


@pytest.mark.exercise("recover", forgeable=True)
def test_recover_leaves_no_trace(submission):
    """The snapshot stays as it is, and a new dict comes back, also where the log holds nothing new."""
    for log in (b"", record(0, "a", 1.0), record(1, "a", 1.0) + record(2, "d", 1.0)):
        assert submission.run(snapshot_after, log)


# ---------------------------------------------------------------------------------------------------- LeasedStore


@pytest.mark.exercise("LeasedStore", weight=3, core=True, hint=1)
def test_a_paused_holder_cannot_write(submission, rng):
    """After the lease went to another, writes under the old token are refused and change nothing."""
    store = submission.LeasedStore(8.0)
    tokens, now, value = [], 0.0, None
    for turn in range(12):
        tokens.append(store.acquire(f"h{turn % 5}", now))
        assert close(tokens[-1], turn + 1)
        for old in (*tokens[:-1], tokens[-1] + 1, 0, -1):
            assert close(store.write(old, 100.0 + turn), False) and close(store.read(), value)
        value = float(turn)
        assert close(store.write(tokens[-1], value), True) and close(store.read(), value)
        now += 8.0 + int(rng.integers(0, 3))


@pytest.mark.exercise("LeasedStore", weight=2, core=True, hint=2)
def test_the_newest_token_stays_valid(submission, rng):
    """The newest token is valid until a newer one is given out, and others wait for the end of the lease."""
    store = submission.LeasedStore(5.0)
    assert close(store.read(), None) and close(store.write(1, 1.0), False)
    assert close(store.acquire("a", 2.0), 1) and close(store.acquire("b", 6.75), None)
    assert close(store.write(1, 2.0), True) and close(store.acquire("a", 6.75), 1)
    assert close([store.acquire("b", 11.5), store.write(1, 3.0), store.read()], [None, True, 3.0])
    assert close([store.acquire("b", 11.75), store.write(1, 4.0), store.write(2, 5.0)], [2, False, True])
    assert close(
        [store.acquire("b", 16.75), store.write(2, 6.0), store.write(3, 7.0), store.read()], [3, False, True, 7.0]
    )


@pytest.mark.exercise("LeasedStore", weight=1, hint=1)
def test_leases_of_any_length(submission):
    """Very short and very long leases end exactly, many leases are counted on, and values are kept as they are."""
    for seconds in (1e-7, 0.1, 1e6):
        store = submission.LeasedStore(seconds)
        assert close(store.acquire("a", 0.0), 1, typed=True)
        assert close([store.acquire("b", seconds * 0.999), store.acquire("b", seconds)], [None, 2])
        assert close([store.write(2, 0.1), store.read(), store.write(2, 1e-9), store.read()], [True, 0.1, True, 1e-9])
    tokens = [store.acquire("c", 1e7 * k) for k in range(1, 120)]
    assert close(tokens, list(range(3, 122))) and close([store.write(121, 5.0), store.write(120, 6.0)], [True, False])


@pytest.mark.exercise("LeasedStore", weight=2, hint=1)
def test_leases_in_any_order(submission, rng):
    """Random sequences of asking, renewing and writing follow the rules."""
    for _ in range(4):
        store, now, holder, until, token, value = submission.LeasedStore(4.0), 0.0, None, -1.0, 0, None
        for _ in range(60):
            now += int(rng.integers(0, 5)) / 2
            if rng.random() < 0.5:
                who = "abc"[int(rng.integers(3))]
                if now >= until:
                    holder, token = who, token + 1
                expected = token if who == holder else None
                until = now + 4.0 if who == holder else until
                assert close(store.acquire(who, now), expected)
            else:
                old, wanted = max(0, token - int(rng.integers(0, 3))), float(rng.integers(100))
                good = old == token and token > 0
                assert close(store.write(old, wanted), good)
                value = wanted if good else value
            assert close(store.read(), value)


# ------------------------------------------------------------------------------------------------ ParameterServer


def visible(theta, pushed, worker):
    """What a worker sees, from all changes that ever came."""
    seen, rounds = theta.copy(), min(map(len, pushed))
    for c in range(rounds):
        for changes in pushed:
            seen = (seen + changes[c]).astype(theta.dtype)
    for delta in pushed[worker][rounds:]:
        seen = (seen + delta).astype(theta.dtype)
    return seen


def walk(submission, rng, workers, staleness, steps, dtype=np.float64, skew=1.0, d=5):
    """A random walk of pulls and pushes: (what pull gave, what it should be) at each pull."""
    theta = rng.standard_normal(d).astype(dtype)
    server, pushed = submission.ParameterServer(theta.copy(), workers, staleness), [[] for _ in range(workers)]
    odds = skew ** np.arange(workers)
    for _ in range(steps):
        worker = int(rng.choice(workers, p=odds / odds.sum()))
        late = len(pushed[worker]) - min(map(len, pushed)) > staleness
        got = server.pull(worker)
        yield got, None if late else visible(theta, pushed, worker)
        if not late and got is not None:
            delta = (10.0 ** rng.integers(-3, 4) * rng.standard_normal(d)).astype(dtype)
            server.push(worker, delta)
            pushed[worker].append(delta)


@pytest.mark.exercise("ParameterServer", weight=3, core=True, hint=3)
def test_workers_wait_for_the_slowest(submission, rng):
    """pull gives None exactly if the worker's clock is more than s above the smallest; so the slowest never waits."""
    for workers, staleness, skew in ((2, 0, 1.0), (3, 1, 0.5), (4, 3, 0.4), (3, 2, 3.0), (1, 0, 1.0), (5, 0, 0.6)):
        for got, expected in walk(submission, rng, workers, staleness, 60, skew=skew):
            assert close(got is None, expected is None)


@pytest.mark.exercise("ParameterServer", weight=3, core=True, hint=2)
def test_workers_see_complete_rounds_and_their_own_changes(submission, rng):
    """A worker sees theta, all complete rounds and its own later changes; nothing of others' incomplete rounds."""
    for workers, staleness, skew in ((2, 0, 1.0), (2, 3, 0.5), (3, 2, 0.4), (4, 1, 2.0), (1, 4, 1.0)):
        for got, expected in walk(submission, rng, workers, staleness, 60, skew=skew):
            if got is not None and expected is not None:
                assert close(got, expected, rtol=1e-9, atol=1e-6)


@pytest.mark.exercise("ParameterServer", weight=2, core=True, hint=2)
def test_without_staleness_the_run_is_synchronous(submission, rng):
    """With s = 0 every worker sees the same theta in a round, whatever the order of the pushes, to the last bit."""
    workers, theta = 4, rng.standard_normal(6)
    server, expected = submission.ParameterServer(theta.copy(), workers, 0), theta.copy()
    for _ in range(15):
        deltas = 10.0 ** rng.integers(-6, 6, (workers, 6)) * rng.standard_normal((workers, 6))
        order = rng.permutation(workers).tolist()
        for worker in order:
            assert close(server.pull(worker), expected)
            server.push(worker, deltas[worker])
            if worker != order[-1]:
                assert close(server.pull(worker), None)
        for delta in deltas:
            expected = expected + delta


@pytest.mark.exercise("ParameterServer", weight=2, hint=2)
def test_changes_are_added_in_order(submission, rng):
    """Rounds are added one by one, in a round worker by worker, then the own changes: equal to the last bit."""
    for workers, staleness, dtype in ((3, 2, np.float64), (4, 5, np.float64), (3, 3, np.float32), (2, 0, np.float32)):
        for got, expected in walk(submission, rng, workers, staleness, 80, dtype, skew=0.7):
            assert close(got, expected, typed=True)


@pytest.mark.exercise("ParameterServer", weight=2, hint=3)
def test_a_push_needs_a_pull(submission, rng):
    """push raises ValueError, and changes nothing, without a theta since the last push; pull may be repeated."""
    server = submission.ParameterServer(np.zeros(3), 2, 1)
    with raises_student(ValueError):
        server.push(0, np.ones(3))
    for step in range(2):
        assert close(server.pull(0), np.full(3, float(step))) and close(server.pull(0), np.full(3, float(step)))
        server.push(0, np.ones(3))
        with raises_student(ValueError):
            server.push(0, np.ones(3))
    for _ in range(2):
        assert close(server.pull(0), None)
        with raises_student(ValueError):
            server.push(0, np.ones(3))
    assert close(server.pull(1), np.zeros(3))
    server.push(1, np.full(3, 10.0))
    assert close(server.pull(0), np.full(3, 12.0)) and close(server.pull(1), np.full(3, 11.0))


@pytest.mark.exercise("ParameterServer", weight=1, hint=2)
def test_parameters_of_every_kind(submission, rng):
    """Arrays of both dtypes in any layout, long ones, large and tiny numbers; many workers, and far ahead."""
    for dtype in (np.float64, np.float32):
        for form in (np.array, stepped, frozen, lambda x: x[::-1].copy()[::-1]):
            size = 10.0 ** rng.integers(-12, 13, 2500)
            theta, delta = ((size * rng.standard_normal(2500)).astype(dtype) for _ in range(2))
            server = submission.ParameterServer(form(theta), 1, 0)
            assert close(server.pull(0), theta, typed=True)
            server.push(0, form(delta))
            assert close(server.pull(0), theta + delta, typed=True)
    server = submission.ParameterServer(np.zeros(1), 120, 0)
    for worker in range(120):
        assert close(server.pull(worker), [0.0])
        server.push(worker, np.ones(1))
    assert close(server.pull(119), [120.0]) and close(server.pull(0), [120.0])
    ahead = submission.ParameterServer(np.zeros(1), 2, 103)
    for step in range(104):
        assert close(ahead.pull(1), [float(step)])
        ahead.push(1, np.ones(1))
    assert close(ahead.pull(1), None) and close(ahead.pull(0), [0.0])


@student_side
def many_rounds(d, workers, staleness, rounds):
    """Workers take turns in different orders; the sum of what is left in the end."""
    import numpy

    server = student.ParameterServer(numpy.zeros(d), workers, staleness)
    for c in range(rounds):
        for worker in range(workers) if c % 2 else range(workers)[::-1]:
            theta = server.pull(worker)
            theta[:] = 1.0 + worker
            server.push(worker, theta)
    return float(server.pull(0)[0]), float(server.pull(workers - 1)[-1])


@pytest.mark.exercise("ParameterServer", weight=6, hint=1, memory_mb=32)
def test_the_server_forgets_complete_rounds(submission):
    """Memory is for theta and the changes of incomplete rounds, however long the run is."""
    # An array is 0.8 MB. All changes would be 4 * 60 of them, 190 MB; what may wait are at most 4 * 3, 10 MB.
    assert close(submission.run(many_rounds, 100_000, 4, 2, 60), (600.0, 600.0))


@student_side
def shared_arrays():
    """Which arrays of the caller and of the server are one and the same, in words, "" where none."""
    import contextlib

    import numpy

    theta = numpy.zeros(4)
    server, other = student.ParameterServer(theta, 2, 3), student.ParameterServer(theta, 2, 3)
    theta[:] = 9.0
    first = server.pull(0)
    if first[0] != 0.0:
        return "the server keeps the array that it was given, not a copy"
    first[:] = 5.0
    delta = numpy.ones(4)
    server.push(0, delta)
    delta[:] = 7.0
    second = server.pull(0)
    if second[0] != 1.0:
        return "what pull returns, or what push gets, is shared with the server"
    if server.pull(1)[0] != 0.0 or other.pull(0)[0] != 0.0:
        return "two workers or two servers share their parameters"
    with contextlib.suppress(ValueError):
        student.ParameterServer(theta, 1, 0).push(0, delta)
    server.push(1, delta)
    if second[0] != 1.0 or delta[0] != 7.0:
        return "a push changes an array that was returned or given before"
    return "" if server.pull(1)[0] == 8.0 else "what pull returns is another number after that"


@pytest.mark.exercise("ParameterServer", weight=1, hint=1)
def test_servers_share_no_arrays(submission):
    """theta and delta are copied, pull gives new arrays, and two servers know nothing of each other."""
    assert close(submission.run(shared_arrays), "")


# ------------------------------------------------------------------------------------------------------ pack_pods


def a_pod(rng, most=60, priorities=1, labels=False):
    kind = int(rng.integers(3))
    cpu, memory = ((most, most // 6), (most // 6, most), (most // 3, most // 3))[kind]
    wanted = {"zone": "ab"[int(rng.integers(2))]} if labels and rng.random() < 0.5 else {}
    wanted |= {"gpu": "yes"} if labels and rng.random() < 0.3 else {}
    return {
        "cpu": int(rng.integers(0, cpu + 1)),
        "memory": int(rng.integers(0, memory + 1)),
        "labels": wanted,
        "priority": int(rng.integers(-priorities, priorities + 1)),
    }


def a_node(rng, low=80, high=120, labels=False):
    has = {"zone": "ab"[int(rng.integers(2))], "disk": "fast"} | ({"gpu": "yes"} if rng.random() < 0.4 else {})
    cpu, memory = rng.integers(low, high + 1, 2).tolist()
    return {"cpu": cpu, "memory": memory, "labels": has if labels else {}}


def clusters(rng, labels=False, priorities=0, count=5):
    for _ in range(count):
        yield (
            [a_pod(rng, priorities=priorities, labels=labels) for _ in range(40)],
            [a_node(rng, labels=labels) for _ in range(6)],
        )


def fits(pod, node, used):
    room = all(used[what] + pod[what] <= node[what] for what in ("cpu", "memory"))
    return room and all(node["labels"].get(key) == value for key, value in pod["labels"].items())


def in_order(pods, nodes):
    """The pods in the order in which they are placed, by exact fractions."""
    most = {what: max(node[what] for node in nodes) for what in ("cpu", "memory")}
    size = [max(Fraction(pod[what], most[what]) for what in most) for pod in pods]
    return sorted(range(len(pods)), key=lambda i: (-pods[i]["priority"], -size[i], i))


def followed(pods, nodes, placed, order):
    """Go through the pods: (pod, its node, the nodes that were possible, with their scores)."""
    used = [{"cpu": 0, "memory": 0} for _ in nodes]
    for i in order:
        possible = {}
        for j, node in enumerate(nodes):
            if fits(pods[i], node, used[j]):
                share = [100 * (used[j][what] + pods[i][what]) // node[what] for what in ("cpu", "memory")]
                possible[j] = sum(share) // 2
        yield i, placed[i], possible
        if placed[i] is not None:
            for what in ("cpu", "memory"):
                used[placed[i]][what] += pods[i][what]


def packed(pods, nodes):
    """The placement, by following the rules."""
    placed = {}
    for i, _, possible in followed(pods, nodes, placed := dict.fromkeys(range(len(pods))), in_order(pods, nodes)):
        placed[i] = min(possible, key=lambda j: (-possible[j], j), default=None)
    return [placed[i] for i in range(len(pods))]


def placement(submission, pods, nodes):
    """What comes back, with as many entries as pods, each a node or None."""
    got = submission.pack_pods(pods, nodes)
    assert close(isinstance(got, list) and len(got) == len(pods), True)
    assert close(all(j is None or (isinstance(j, int) and 0 <= j < len(nodes)) for j in got), True)
    return got


@pytest.mark.exercise("pack_pods", weight=2, core=True, hint=2)
def test_no_node_is_over(submission, rng):
    """No node gives more cpu or memory than it has, and every label of a pod is on its node, with the same value."""
    for pods, nodes in (*clusters(rng), *clusters(rng, labels=True, priorities=2)):
        placed = placement(submission, pods, nodes)
        for j, node in enumerate(nodes):
            own = [pod for pod, where in zip(pods, placed) if where == j]
            assert close(sum(pod["cpu"] for pod in own) <= node["cpu"], True)
            assert close(sum(pod["memory"] for pod in own) <= node["memory"], True)
            assert close(all(pod["labels"].items() <= node["labels"].items() for pod in own), True)
    exactly = [{"cpu": c, "memory": m, "labels": {}, "priority": 0} for c, m in ((60, 30), (40, 70), (1, 0), (0, 0))]
    assert close(placement(submission, exactly, [{"cpu": 100, "memory": 100, "labels": {}}]), [0, 0, None, 0])


@pytest.mark.exercise("pack_pods", weight=2, core=True, hint=1)
def test_important_and_large_pods_first(submission, rng):
    """The highest priority comes first, then the largest pod, by cpu or memory, whichever is the larger share."""
    node = [{"cpu": 100, "memory": 200, "labels": {}}]

    def pod(cpu, memory, priority=0):
        return {"cpu": cpu, "memory": memory, "labels": {}, "priority": priority}

    for pods, expected in (
        ([pod(60, 0), pod(60, 0, 1)], [None, 0]),
        ([pod(60, 0, -2), pod(50, 0, -3), pod(45, 0, -1)], [None, 0, 0]),
        ([pod(50, 0), pod(60, 0), pod(60, 0)], [None, 0, None]),
        ([pod(60, 10), pod(50, 150)], [None, 0]),  # 0.6 against 0.75
        ([pod(60, 90), pod(50, 110)], [0, None]),  # 0.6 against 0.55, though 110 is the largest number
        ([pod(60, 0), pod(0, 150), pod(50, 60)], [0, 0, None]),
        ([pod(51, 0), pod(50, 102), pod(10, 101)], [0, None, 0]),  # 0.51 twice, and 0.505: the earlier one first
    ):
        assert close(placement(submission, pods, node), expected)
    for pods, nodes in (*clusters(rng, priorities=2), *clusters(rng, priorities=0)):
        most = {what: max(n[what] for n in nodes) for what in ("cpu", "memory")}
        alone = [{"cpu": most["cpu"], "memory": most["memory"], "labels": {}}]  # order alone decides on a single node
        assert close(placement(submission, pods, alone), packed(pods, alone))


@pytest.mark.exercise("pack_pods", weight=2, core=True, hint=3)
def test_the_fullest_node_is_taken(submission, rng):
    """Of the possible nodes the one with the highest score is taken, the pod counted; the smaller number at ties."""
    for pods, nodes in (*clusters(rng), *clusters(rng, labels=True, priorities=1)):
        placed = placement(submission, pods, nodes)
        for _, where, possible in followed(pods, nodes, placed, in_order(pods, nodes)):
            assert close(where is None, not possible)
            assert close(where, min(possible, key=lambda j: (-possible[j], j), default=None))


@pytest.mark.exercise("pack_pods", weight=4, hint=1)
def test_packing_is_dense(submission, rng):
    """2,000 pods on 600 equal nodes take at most 1.7 times as many nodes as the sums of cpu and memory demand."""
    for most in (600, 900):
        pods = [a_pod(rng, most=most, priorities=0) for _ in range(2000)]
        nodes = [{"cpu": 1000, "memory": 1000, "labels": {"zone": "a"}} for _ in range(600)]
        placed = placement(submission, pods, nodes)
        needed = max(math.ceil(sum(pod[what] for pod in pods) / 1000) for what in ("cpu", "memory"))
        assert close(len(set(placed)) <= 1.7 * needed and None not in placed, True)
        used = Counter()
        for pod, j in zip(pods, placed):
            used[j, "cpu"] += pod["cpu"]
            used[j, "memory"] += pod["memory"]
        assert close(max(used.values()) <= 1000, True)


@pytest.mark.exercise("pack_pods", weight=1)
def test_pods_at_the_borders(submission, rng):
    """No pods, pods that ask for nothing or too much, large numbers, scores in whole numbers, texts as labels."""
    node = {"cpu": 3, "memory": 7, "labels": {"a": "1", "b": ""}}
    assert close(submission.pack_pods([], [node]), [])
    nothing = {"cpu": 0, "memory": 0, "labels": {}, "priority": 0}
    assert close(submission.pack_pods([nothing, nothing | {"labels": {"b": ""}}], [node]), [0, 0], typed=True)
    assert close(submission.pack_pods([nothing | {"labels": {"c": ""}}, nothing | {"cpu": 4}], [node]), [None, None])
    large = [{"cpu": 10**6, "memory": 10**6 - k, "labels": {}} for k in range(3)]
    pods = [nothing | {"cpu": 10**6 // 3, "memory": 5, "priority": 10**6 * (-1) ** i} for i in range(9)]
    assert close(submission.pack_pods(pods, large), packed(pods, large))
    # 33.3 and 33.9 both count as 33, so the smaller number wins; then it is the fuller one.
    uneven = [{"cpu": 300, "memory": 1000, "labels": {}}, {"cpu": 295, "memory": 1000, "labels": {}}]
    assert close(submission.pack_pods([nothing | {"cpu": 100}], uneven), [0])
    half = [{"cpu": 100, "memory": memory, "labels": {}} for memory in (100, 97)]  # (33 + 33) // 2 and (33 + 34) // 2
    assert close(submission.pack_pods([nothing | {"cpu": 33, "memory": 33}], half), [0])


@pytest.mark.exercise("pack_pods", forgeable=True)
def test_pack_pods_leaves_no_trace(submission, rng):
    """Pods and nodes stay as they are, and nothing is kept from call to call."""
    pods = Argument(lambda rng: [a_pod(rng, priorities=1, labels=True) for _ in range(12)], {}, frozenset())
    nodes = Argument(lambda rng: [a_node(rng, labels=True) for _ in range(3)], {}, frozenset())
    assert Contract("pack_pods", pods=pods, nodes=nodes).leaves_no_trace(submission, rng, then=[{}, {"pods": []}])
