"""Wrong and right answers that prove the hidden tests of module 18, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import bisect
import functools
import heapq
import io
import math
import random
import struct
import zlib
from collections import deque

import numpy as np
import scipy.special

from autograder.answers import equivalent, right, wrong

for exercise, change, reason in (
    ("list_schedule", "numbers below 1e-6 in size count as 0", "durations are multiples of 2^-10"),
    ("steal_work", "cost becomes x if x <= 0 else max(x, 1e-6)", "costs are multiples of 1/64"),
    ("steal_work", "cost becomes float(np.float32(x))", "multiples of 1/64 up to 1000 are exact in float32"),
    ("with_backups", "slow becomes x if x <= 0 else max(x, 1e-6)", "slow is a multiple of 1/8"),
    ("with_backups", "slow becomes float(np.float32(x))", "multiples of 1/8 of a usual size are exact in float32"),
    ("best_interval", "cost becomes float(np.float32(x))", "a change of 1e-7 in C or M stays far within 1%"),
    ("best_interval", "mtbf becomes float(np.float32(x))", "a change of 1e-7 in C or M stays far within 1%"),
):
    equivalent(exercise, diff=f"~ {exercise}: {change}", reason=reason)

# -------------------------------------------------------------------------------------------------- critical_path


@wrong("critical_path", "recurses along the edges, and stops in long chains", fails=["test_paths_of_large_graphs"])
def recursive(durations, edges):
    n, after = len(durations), successors(len(durations), edges)
    took, open_, length = np.asarray(durations, float).tolist(), set(), {}

    def longest(u):
        if u in open_:
            raise ValueError("cycle")
        if u not in length:
            open_.add(u)
            length[u] = took[u] + max(map(longest, after[u]), default=0.0)
            open_.remove(u)
        return length[u]

    for u in range(n):
        longest(u)
    waiting = {v for follower in after for v in follower}
    path, choices = [], [u for u in range(n) if u not in waiting]
    while choices:
        path.append(min(choices, key=lambda u: (-length[u], u)))
        choices = after[path[-1]]
    return (length[path[0]] if path else 0.0), path


wrong(
    "critical_path",
    "takes the path with the most edges for the longest",
    fails=["test_length_of_the_longest_path"],
    edit={
        "    for u in reversed(order):\n": (
            "    hops = [0] * n\n    for u in reversed(order):\n"
            "        hops[u] = 1 + max((hops[v] for v in after[u]), default=0)\n"
            "        best = max(after[u], key=lambda v: hops[v], default=None)\n"
        ),
        "length[u] += max((length[v] for v in after[u]), default=0.0)": (
            "length[u] += 0 if best is None else length[best]"
        ),
        "key=lambda u: (-length[u], u)": "key=lambda u: (-hops[u], u)",
    },
)
wrong(
    "critical_path",
    "starts the path anywhere, also at a task that waits for others",
    fails=["test_tasks_of_the_longest_path"],
    edit={"path, choices = [], first": "path, choices = [], list(range(n))"},
)
wrong(
    "critical_path",
    "takes the task with the larger number at ties",
    fails=["test_tasks_of_the_longest_path"],
    edit={"key=lambda u: (-length[u], u)": "key=lambda u: (-length[u], -u)"},
)
wrong(
    "critical_path",
    "leaves out the tasks on a cycle, and raises nothing",
    fails=["test_cycles_raise"],
    edit={'        raise ValueError("the graph has a cycle")\n': "        return 0.0, []\n"},
)


@right("critical_path", "the best predecessor of each task, from the front, on reversed edges")
def from_the_back(durations, edges):
    n = len(durations)
    took = [float(d) for d in durations]
    before, blocked_by = [[] for _ in range(n)], [0] * n
    for u, v in np.asarray(edges).tolist():
        before[v].append(u)
        blocked_by[u] += 1
    ends = [u for u in range(n) if blocked_by[u] == 0]
    following = dict.fromkeys(ends, -1)
    length, stack, seen = list(took), list(ends), 0
    best = [(0.0, 0)] * n
    while stack:
        v = stack.pop()
        seen += 1
        length[v] = took[v] - best[v][0]
        for u in before[v]:
            option = (-length[v], v)
            if u not in following or option < best[u]:
                best[u], following[u] = option, v
            blocked_by[u] -= 1
            if blocked_by[u] == 0:
                stack.append(u)
    if seen != n:
        raise ValueError
    starts = [u for u in range(n) if not before[u]]
    if not starts:
        return 0.0, []
    u = max(starts, key=lambda u: (length[u], -u))
    total, path = length[u], [u]
    while following[path[-1]] >= 0:
        path.append(following[path[-1]])
    return total, path


@right("critical_path", "depth first with a stack of its own")
def with_a_stack(durations, edges):
    n = len(durations)
    children, has_parent = {u: [] for u in range(n)}, np.zeros(n, bool)
    for u, v in edges:
        children[int(u)].append(int(v))
        has_parent[int(v)] = True
    colour, length = np.zeros(n, int).tolist(), [0.0] * n
    for origin in range(n):
        stack = [(origin, iter(children[origin]))] if colour[origin] == 0 else []
        colour[origin] = max(colour[origin], 1)
        while stack:
            u, rest = stack[-1]
            for v in rest:
                if colour[v] == 1:
                    raise ValueError("cycle")
                if colour[v] == 0:
                    colour[v] = 1
                    stack.append((v, iter(children[v])))
                    break
            else:
                stack.pop()
                colour[u] = 2
                length[u] = float(durations[u]) + max([length[v] for v in children[u]] or [0.0])
    result, options = [], np.flatnonzero(~has_parent).tolist()
    while options:
        longest = max(length[u] for u in options)
        result.append(min(u for u in options if length[u] == longest))
        options = children[result[-1]]
    return float(length[result[0]]) if result else 0.0, result


# -------------------------------------------------------------------------------------------------- list_schedule

wrong(
    "list_schedule",
    "starts the ready tasks in the order of their numbers",
    fails=["test_the_longest_remaining_path_goes_first"],
    edit={
        "ready = [(-path[u], u)": "ready = [(0, u)",
        "heapq.heappush(ready, (-path[v], v))": "heapq.heappush(ready, (0, v))",
    },
)
wrong(
    "list_schedule",
    "takes the task with the larger number at ties",
    fails=["test_the_longest_remaining_path_goes_first"],
    edit={
        "ready = [(-path[u], u)": "ready = [(-path[u], -u)",
        "heapq.heappush(ready, (-path[v], v))": "heapq.heappush(ready, (-path[v], -v))",
        "u, w = heapq.heappop(ready)[1],": "u, w = -heapq.heappop(ready)[1],",
    },
)
wrong(
    "list_schedule",
    "starts the ready task that takes longest itself",
    fails=["test_the_longest_remaining_path_goes_first"],
    edit={
        "ready = [(-path[u], u)": "ready = [(-took[u], u)",
        "heapq.heappush(ready, (-path[v], v))": "heapq.heappush(ready, (-took[v], v))",
    },
)
wrong(
    "list_schedule",
    "waits for the task with the longest path of all, also while others are ready",
    fails=["test_no_worker_is_idle_while_a_task_is_ready"],
    edit={
        "    idle, running, now = ": (
            "    turn = deque(sorted(range(n), key=lambda u: (-path[u], u)))\n    idle, running, now = "
        ),
        "        while ready and idle:\n": (
            "        while ready and idle and ready[0][1] == turn[0]:\n            turn.popleft()\n"
        ),
    },
)
wrong(
    "list_schedule",
    "starts a task when one of those that it waits for has ended",
    fails=["test_schedules_are_valid"],
    edit={
        "                waits_for[v] -= 1\n                if waits_for[v] == 0:\n"
        "                    heapq.heappush(ready, (-path[v], v))\n": (
            "                if waits_for[v] > 0:\n"
            "                    waits_for[v] = 0\n"
            "                    heapq.heappush(ready, (-path[v], v))\n"
        )
    },
)
wrong(
    "list_schedule",
    "starts new tasks after each single end, before the other ends of the moment",
    fails=["test_the_idle_worker_with_the_smallest_number"],
    edit={"while running and running[0][0] == now:": "for _ in range(1):"},
)
wrong(
    "list_schedule",
    "gives a task to the worker that became idle last",
    fails=["test_the_idle_worker_with_the_smallest_number"],
    edit={
        "u, w = heapq.heappop(ready)[1], heapq.heappop(idle)": "u, w = heapq.heappop(ready)[1], idle.pop()",
        "heapq.heappush(idle, w)": "idle.append(w)",
        "list(range(min(workers, n)))": "list(range(min(workers, n)))[::-1]",
    },
)


@right("list_schedule", "moment by moment, with sorted lists")
def by_moments(durations, edges, workers):
    n = len(durations)
    took = [float(d) for d in durations]
    after, missing = [[] for _ in range(n)], [0] * n
    for u, v in np.asarray(edges).tolist():
        after[u].append(v)
        missing[v] += 1
    if n == 0:
        return np.zeros(0, int), np.zeros(0)
    rest, queue = [0.0] * n, deque()
    before = [[] for _ in range(n)]
    for u in range(n):
        for v in after[u]:
            before[v].append(u)
    left = [len(follower) for follower in after]
    queue.extend(u for u in range(n) if left[u] == 0)
    visited = 0
    while queue:
        v = queue.popleft()
        visited += 1
        rest[v] = took[v] + rest[v]
        for u in before[v]:
            rest[u] = max(rest[u], rest[v])
            left[u] -= 1
            if left[u] == 0:
                queue.append(u)
    if visited < n:
        raise ValueError("cycle")
    keys = sorted(range(n), key=lambda u: (rest[u], -u))  # the best is the last
    rank = {u: k for k, u in enumerate(keys)}
    ready = sorted(rank[u] for u in range(n) if missing[u] == 0)
    who, when = np.empty(n, np.int64), np.empty(n, np.float64)
    idle, ends, at_end = list(range(workers))[::-1], [], {}
    now = 0.0
    while True:
        while ready and idle:
            u = keys[ready.pop()]
            who[u], when[u] = idle.pop(), now
            end = now + took[u]
            if end not in at_end:
                at_end[end] = []
                heapq.heappush(ends, end)
            at_end[end].append(u)
        if not ends:
            return who, when
        now = heapq.heappop(ends)
        for u in at_end.pop(now):
            idle.append(int(who[u]))
            for v in after[u]:
                missing[v] -= 1
                if not missing[v]:
                    bisect.insort(ready, rank[v])
        idle.sort(reverse=True)


@right("list_schedule", "events of ends in one heap, idle workers in a set")
def by_events(durations, edges, workers):
    n = len(durations)
    if n == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float64)
    d = np.array(durations, dtype=np.float64)
    after = successors(n, edges)
    degree = np.bincount(np.asarray(edges, np.int64)[:, 1], minlength=n).tolist()
    order, left = [u for u in range(n) if degree[u] == 0], list(degree)
    k = 0
    while k < len(order):
        for v in after[order[k]]:
            left[v] -= 1
            if left[v] == 0:
                order.append(v)
        k += 1
    if len(order) != n:
        raise ValueError("cycle")
    tail = d.tolist()
    for u in order[::-1]:
        if after[u]:
            tail[u] = tail[u] + max(tail[v] for v in after[u])
    ready = [(-tail[u], u) for u in order if degree[u] == 0]
    heapq.heapify(ready)
    free, heap = [*range(workers)], []
    worker, start = np.full(n, -1), np.full(n, -1.0)
    time = 0.0
    while True:
        while free and ready:
            u = heapq.heappop(ready)[1]
            worker[u] = heapq.heappop(free)
            start[u] = time
            heapq.heappush(heap, (time + float(d[u]), u))
        if not heap:
            return worker, start
        time = heap[0][0]
        ended = []
        while heap and heap[0][0] == time:
            ended.append(heapq.heappop(heap)[1])
        for u in ended:
            heapq.heappush(free, int(worker[u]))
            for v in after[u]:
                degree[v] -= 1
                if degree[v] == 0:
                    heapq.heappush(ready, (-tail[v], v))


# ----------------------------------------------------------------------------------------------------- steal_work

wrong(
    "steal_work",
    "lets a thief take the newest task",
    fails=["test_queues_have_two_ends"],
    edit={"queues[victim].popleft()": "queues[victim].pop()"},
)
wrong(
    "steal_work",
    "takes the oldest task of its own queue (breadth first)",
    fails=["test_one_worker_goes_depth_first"],
    edit={"queues[worker].pop()": "queues[worker].popleft()"},
)
wrong(
    "steal_work",
    "pushes what was spawned in reverse, so the first child runs first",
    fails=["test_one_worker_goes_depth_first"],
    edit={"queues[worker].extend(spawned)": "queues[worker].extend(spawned[::-1])"},
)
wrong(
    "steal_work",
    "gives an attempt to steal half of its time",
    fails=["test_nobody_waits_without_need"],
    edit={"(now + 1.0, worker, None,": "(now + 0.5, worker, None,"},
)
wrong(
    "steal_work",
    "puts a stolen task into its own queue, and looks for work after another unit of time",
    fails=["test_nobody_waits_without_need"],
    edit={
        "heapq.heappush(events, (now + cost, worker, queues[victim].popleft(), None))": (
            "heapq.heappush(events, (now + 1.0 + cost, worker, queues[victim].popleft(), None))"
        )
    },
)
wrong(
    "steal_work",
    "always tries its neighbour",
    fails=["test_victims_are_drawn_at_random"],
    edit={"victim = rng.randrange(workers - 1)": "victim = worker % (workers - 1)"},
)
wrong(
    "steal_work",
    "counts failed attempts as steals",
    fails=["test_makespan_and_steals_are_returned"],
    edit={
        "        elif queues[victim]:\n            steals += 1\n": (
            "        elif (steals := steals + 1) and queues[victim]:\n"
        )
    },
)
wrong(
    "steal_work",
    "calls spawn when a task starts",
    fails=["test_one_worker_goes_depth_first"],
    edit={"spawn(task, worker, now)": "spawn(task, worker, now - cost)"},
)
wrong(
    "steal_work",
    "has one queue for all workers",
    fails=["test_nobody_waits_without_need"],
    edit={"queues = [deque() for _ in range(workers)]": "queues = [deque()] * workers"},
)


@right("steal_work", "unit by unit of a 64th, workers in turn")
def by_small_steps(spawn, root, cost, workers, seed):
    rng = np.random.default_rng(seed)
    busy = [("look", 0.0, None)] * workers
    queues, alive, steals = [[] for _ in range(workers)], 1, 0
    queues[0] = [root]
    while True:
        now = min(until for _, until, _ in busy)
        for w in range(workers):
            what, until, about = busy[w]
            if until != now:
                continue
            if what == "run":
                new = [int(t) for t in spawn(about, w, now)]
                alive += len(new) - 1
                queues[w] = queues[w] + new
                if alive == 0:
                    return float(now), steals
            if what == "try" and queues[about]:
                task, queues[about] = queues[about][0], queues[about][1:]
                steals += 1
                busy[w] = ("run", now + cost, task)
                continue
            if queues[w]:
                busy[w] = ("run", now + cost, queues[w].pop())
            elif workers > 1:
                victim = int(rng.choice([v for v in range(workers) if v != w]))
                busy[w] = ("try", now + 1.0, victim)
            else:
                busy[w] = ("none", math.inf, None)


@right("steal_work", "a class for each worker, a queue of events by time and number")
def by_objects(spawn, root, cost, workers, seed):
    draw = random.Random(f"stealing {seed}")

    class Worker:
        def __init__(self, number):
            self.number, self.tasks = number, deque()

        def begin(self, time):
            if self.tasks:
                return time + cost, self.number, "task", self.tasks.pop()
            other = draw.choice([w for w in everybody if w is not self])
            return time + 1, self.number, "visit", other.number

    everybody = [Worker(number) for number in range(workers)]
    everybody[0].tasks.append(root)
    agenda = [worker.begin(0.0) for worker in everybody]
    heapq.heapify(agenda)
    open_tasks, stolen = {root}, 0
    while True:
        time, number, kind, about = heapq.heappop(agenda)
        worker = everybody[number]
        if kind == "task":
            new = spawn(about, number, time)
            open_tasks.discard(about)
            open_tasks.update(int(task) for task in new)
            worker.tasks.extend(int(task) for task in new)
            if not open_tasks:
                return float(time), stolen
            if not worker.tasks and workers == 1:
                raise AssertionError
        elif everybody[about].tasks:
            stolen += 1
            heapq.heappush(agenda, (time + cost, number, "task", everybody[about].tasks.popleft()))
            continue
        heapq.heappush(agenda, worker.begin(time))


# --------------------------------------------------------------------------------------------------- with_backups

wrong(
    "with_backups",
    "lets both attempts run to their ends",
    fails=["test_the_first_attempt_ends_both"],
    edit={
        "        while finished[ends[0][1]]:  # of an attempt that was stopped\n            heapq.heappop(ends)\n": "",
        "                idle += 1 + copied[task]\n": "            idle += 1\n",
    },
)
wrong(
    "with_backups",
    "frees one worker when a task with a copy is finished",
    fails=["test_the_first_attempt_ends_both"],
    edit={"idle += 1 + copied[task]": "idle += 1"},
)
wrong(
    "with_backups",
    "counts the running tasks in the median, with the time that they have run so far",
    fails=["test_backups_by_the_clock"],
    edit={
        "due = start[eldest] + slow * statistics.median(took)": (
            "due = start[eldest] + slow * statistics.median("
            "took + [now - start[i] for i in range(n) if not finished[i]])"
        ),
    },
)
wrong(
    "with_backups",
    "looks for slow tasks only when an attempt ends",
    fails=["test_a_copy_starts_when_its_task_is_slow"],
    edit={"now = min(due, ends[0][0])": "now = ends[0][0]"},
)
wrong(
    "with_backups",
    "copies the slowest tasks while others still wait",
    fails=["test_backups_by_the_clock"],
    edit={
        "while idle and begun < n:": "while idle > (begun >= workers and len(took) % 2) and begun < n:",
    },
)
wrong(
    "with_backups",
    "takes the mean of the finished tasks",
    fails=["test_the_median_is_of_finished_tasks"],
    edit={"statistics.median(took)": "statistics.fmean(took)"},
)
wrong(
    "with_backups",
    "counts the time of a finished task from the start of its original",
    fails=["test_the_median_is_of_finished_tasks"],
    edit={"bisect.insort(took, durations[task][attempt])": "bisect.insort(took, now - start[task])"},
)
wrong(
    "with_backups",
    "counts the copy's time where both attempts end at the same moment",
    fails=["test_the_median_is_of_finished_tasks"],
    edit={"(now + durations[eldest][1], eldest, 1)": "(now + durations[eldest][1], eldest, -1)"},
)
wrong(
    "with_backups",
    "takes the upper one of the two medians",
    fails=["test_the_median_is_of_finished_tasks"],
    edit={"statistics.median(took)": "statistics.median_high(took)"},
)


@right("with_backups", "one record for each attempt, all looked through at each moment")
def by_looking(durations, workers, slow):
    n = len(durations)
    running, begun, over, lasted, copied = [], {}, set(), [], set()
    now, following = 0.0, 0
    while len(over) < n:
        while following < n and len(running) < workers:
            running.append((now + durations[following][0], 0, following))
            begun[following] = now
            following += 1
        wake = []
        if following == n and lasted and slow != math.inf:
            limit = slow * float(np.median(lasted))
            for task in sorted(begun, key=lambda task: (begun[task], task)):
                if len(running) == workers:
                    break
                if task in over or task in copied:
                    continue
                if begun[task] + limit <= now:
                    running.append((now + durations[task][1], 1, task))
                    copied.add(task)
                else:
                    wake.append(begun[task] + limit)
                    break
        now = min([end for end, _, _ in running] + wake)
        for end, attempt, task in sorted(running):
            if end == now and task not in over:
                over.add(task)
                lasted.append(durations[task][attempt])
        running = [entry for entry in running if entry[2] not in over]
    return float(now), len(copied)


@right("with_backups", "two heaps for the median, events with what they are about")
def with_two_heaps(durations, workers, slow):
    low, high = [], []

    def note(x):
        heapq.heappush(high, -heapq.heappushpop(low, -x))
        if len(high) > len(low):
            heapq.heappush(low, -heapq.heappop(high))

    def middle():
        return -low[0] if len(low) > len(high) else (high[0] - low[0]) / 2

    n, now, busy, first, copies = len(durations), 0.0, 0, 0, 0
    state, start, agenda = ["waiting"] * n, [0.0] * n, []
    queue = deque(range(n))
    while first < n:
        while queue and busy < workers:
            task = queue.popleft()
            state[task], start[task], busy = "single", now, busy + 1
            heapq.heappush(agenda, (now + durations[task][0], 0, task))
        alarm = math.inf
        for task in range(first, n) if not queue and low else ():
            if busy == workers:
                break
            if state[task] == "single":
                if now < start[task] + slow * middle():
                    alarm = start[task] + slow * middle()
                    break
                state[task], busy, copies = "double", busy + 1, copies + 1
                heapq.heappush(agenda, (now + durations[task][1], 1, task))
        while state[agenda[0][2]] == "done":
            heapq.heappop(agenda)
        now = min(alarm, agenda[0][0])
        while agenda and agenda[0][0] == now:
            _, attempt, task = heapq.heappop(agenda)
            if state[task] != "done":
                busy -= 2 if state[task] == "double" else 1
                state[task] = "done"
                note(durations[task][attempt])
        while first < n and state[first] == "done":
            first += 1
    return float(now), copies


# -------------------------------------------------------------------------------------------------- best_interval

wrong(
    "best_interval",
    "takes Young's interval, the square root of 2CM, which is too long for expensive checkpoints",
    fails=["test_interval_is_nearly_the_best"],
    edit={
        "    if cost >= 2 * mtbf:\n        return float(mtbf)\n": "",
        "    z = math.sqrt(cost / (2 * mtbf))\n": "",
        "math.sqrt(2 * cost * mtbf) * (1 + z / 3 + z**2 / 9) - cost": "math.sqrt(2 * cost * mtbf)",
    },
)
wrong(
    "best_interval",
    "forgets to subtract the cost of a checkpoint",
    fails=["test_interval_is_nearly_the_best"],
    edit={"(1 + z / 3 + z**2 / 9) - cost": "(1 + z / 3 + z**2 / 9)"},
)
wrong(
    "best_interval",
    "takes the square root of CM, without the 2",
    fails=["test_interval_is_nearly_the_best"],
    edit={"math.sqrt(2 * cost * mtbf) *": "math.sqrt(cost * mtbf) *"},
)
wrong(
    "best_interval",
    "subtracts 1 from the exponential, and loses the digits of a small exponent",
    fails=["test_runtime_with_rare_failures"],
    edit={"math.expm1((interval + cost) / mtbf)": "(math.exp((interval + cost) / mtbf) - 1)"},
)
wrong(
    "best_interval",
    "keeps the digits of tiny exponents only, and subtracts 1 from the exponential beyond 1e-6",
    fails=["test_runtime_with_rare_failures"],
    edit={
        "math.expm1((interval + cost) / mtbf)": (
            "(lambda u: math.expm1(u) if u < 1e-6 else math.exp(u) - 1)((interval + cost) / mtbf)"
        )
    },
)
wrong(
    "best_interval",
    "leaves the cost of a checkpoint out of the exponent",
    fails=["test_runtime_is_the_formula"],
    edit={"math.expm1((interval + cost) / mtbf)": "math.expm1(interval / mtbf)"},
)
wrong(
    "best_interval",
    "adds a restart for each failure, as if none failed during a restart",
    fails=["test_runtime_is_the_formula"],
    edit={"mtbf * math.exp(restart / mtbf) * math": "(mtbf + restart) * math"},
)


@right("best_interval", "the exact solution, by Lambert's function", replaces="best_interval")
def exact(cost, mtbf):
    return float(mtbf * (1.0 + scipy.special.lambertw(-math.exp(-cost / mtbf - 1.0)).real))


@right("best_interval", "ternary search", replaces="best_interval")
def searched(cost, mtbf):
    def loss(power):
        tau = math.exp(power) * mtbf
        return math.log(math.expm1((tau + cost) / mtbf) if tau + cost < 500 * mtbf else 1e300) - power

    low, high = math.log(cost / mtbf) / 2 - 4, 1.0
    low = max(-16.0, min(low, -3.0))
    for _ in range(200):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return math.exp(low) * mtbf


# -------------------------------------------------------------------------------------------------------- recover

wrong(
    "recover",
    "applies all records to the snapshot, also those that it holds",
    fails=["test_changes_in_the_snapshot_count_once"],
    edit={"last, state = snapshot[0], dict(snapshot[1])": "last, state = -1, dict(snapshot[1])"},
)
wrong(
    "recover",
    "does not compare the checksum",
    fails=["test_damaged_logs"],
    edit={" or zlib.crc32(payload) != crc": ""},
)
wrong(
    "recover",
    "skips a record with a wrong checksum and reads on",
    fails=["test_damaged_logs"],
    edit={
        " or zlib.crc32(payload) != crc:": ":",
        "        if index > last:\n": "        if index > last and zlib.crc32(payload) == crc:\n",
    },
)
wrong(
    "recover",
    "takes zeros at the end for records of length 0",
    fails=["test_damaged_logs"],
    edit={"if length < 16 or len(payload)": "if len(payload)"},
)
wrong(
    "recover",
    "applies a record that was sent twice two times",
    fails=["test_changes_that_were_sent_twice"],
    edit={"            last = index\n": ""},
)
wrong(
    "recover",
    "gives back the snapshot's own dict where the log holds nothing new",
    fails=["test_recover_leaves_no_trace"],
    edit={"return state": "return snapshot[1] if last == snapshot[0] else state"},
)
wrong(
    "recover",
    "writes the length of the key in characters instead of that of the payload in bytes",
    fails=["test_records_have_the_layout"],
    edit={'struct.pack("<II", len(payload), ': 'struct.pack("<II", 16 + len(key), '},
)
wrong(
    "recover",
    "sets the value under the key instead of adding to it",
    fails=["test_logs_that_are_cut_anywhere"],
    edit={"state[key] = state.get(key, 0.0) + value": "state[key] = value"},
)


@right("recover", "a stream that is read piece by piece", replaces="recover")
def by_stream(snapshot, log):
    index, state = snapshot
    state, file = {**state}, io.BytesIO(log)
    while len(head := file.read(8)) == 8:
        length = int.from_bytes(head[:4], "little")
        body = file.read(length)
        if len(body) != length or length < 16 or zlib.crc32(body) != int.from_bytes(head[4:], "little"):
            return state
        number, value = int.from_bytes(body[:8], "little", signed=True), struct.unpack("<d", body[8:16])[0]
        if number <= index:
            continue
        index, key = number, str(body[16:], "utf-8")
        state[key] = state[key] + value if key in state else value
    return state


@right("recover", "first all good records, then those that count", replaces="recover")
def in_two_steps(snapshot, log):
    records, view = [], memoryview(log)
    while len(view) >= 24:
        length, crc = struct.unpack("<II", view[:8])
        if not 16 <= length <= len(view) - 8 or zlib.crc32(view[8 : 8 + length]) != crc:
            break
        records.append((*struct.unpack("<qd", view[8:24]), bytes(view[24 : 8 + length]).decode("utf-8")))
        view = view[8 + length :]
    newest, result = snapshot[0], snapshot[1].copy()
    for index, value, key in records:
        if index > newest:
            newest = index
            result.setdefault(key, 0.0)
            result[key] += value
    return result


# ---------------------------------------------------------------------------------------------------- LeasedStore

wrong(
    "LeasedStore",
    "refuses only the token just before the newest",
    fails=["test_a_paused_holder_cannot_write"],
    edit={"if token != self.token or token < 1:": "if token == self.token - 1 or token < 1 or token > self.token:"},
)
wrong(
    "LeasedStore",
    "takes 0 for a valid token before the first lease",
    fails=["test_leases_in_any_order"],
    edit={"if token != self.token or token < 1:": "if token != self.token:"},
)
wrong(
    "LeasedStore",
    "writes the value first and compares the token afterwards",
    fails=["test_a_paused_holder_cannot_write"],
    edit={
        "        if token != self.token or token < 1:\n            return False\n"
        "        self.value = value\n        return True\n": (
            "        if token < 1 or token > self.token:\n            return False\n"
            "        self.value = value\n        return token == self.token\n"
        )
    },
)


@right("LeasedStore", "compares by one expression", replaces="LeasedStore")
class Compared:
    def __init__(self, seconds):
        self.lease, self.leases, self.end, self.kept = seconds, [], -1e300, None

    def acquire(self, holder, now):
        if now >= self.end:
            self.leases.append(holder)
        elif self.leases[-1] != holder:
            return None
        self.end = now + self.lease
        return len(self.leases)

    def write(self, token, value):
        good = bool(self.leases) and token == len(self.leases)
        self.kept = value if good else self.kept
        return good

    def read(self):
        return self.kept


@right("LeasedStore", "a set of tokens that have been overtaken", replaces="LeasedStore")
class Overtaken:
    def __init__(self, seconds):
        self.seconds, self.holder, self.until, self.given, self.old, self.value = seconds, "", None, 0, {0}, None

    def acquire(self, holder, now):
        running = self.until is not None and now < self.until
        if running and holder != self.holder:
            return None
        if not running:
            self.old.add(self.given)
            self.given, self.holder = self.given + 1, holder
        self.until = now + self.seconds
        return self.given

    def write(self, token, value):
        if token in self.old or not 0 < token <= self.given:
            return False
        self.value = value
        return True

    def read(self):
        return self.value


# ------------------------------------------------------------------------------------------------ ParameterServer

wrong(
    "ParameterServer",
    "compares with the fastest worker instead of the slowest",
    fails=["test_workers_wait_for_the_slowest"],
    edit={
        "if len(self.waiting[worker]) > self.staleness:": (
            "if max(map(len, self.waiting)) - len(self.waiting[worker]) > self.staleness:"
        )
    },
)
wrong(
    "ParameterServer",
    "lets a worker be one step less ahead than allowed",
    fails=["test_workers_wait_for_the_slowest"],
    edit={"> self.staleness:": ">= max(1, self.staleness):"},
)
wrong(
    "ParameterServer",
    "lets a worker be one step further ahead than allowed",
    fails=["test_workers_wait_for_the_slowest"],
    edit={"> self.staleness:": "> self.staleness + 1:"},
)
wrong(
    "ParameterServer",
    "shows each change to all workers as soon as it comes",
    fails=["test_workers_see_complete_rounds_and_their_own_changes"],
    edit={
        "for delta in self.waiting[worker]:": "for delta in (d for queue in self.waiting for d in queue):",
    },
)
wrong(
    "ParameterServer",
    "does not show a worker its own changes before the round is complete",
    fails=["test_workers_see_complete_rounds_and_their_own_changes"],
    edit={"        for delta in self.waiting[worker]:\n            theta += delta\n": ""},
)
wrong(
    "ParameterServer",
    "adds changes in the order in which they come",
    fails=["test_without_staleness_the_run_is_synchronous", "test_changes_are_added_in_order"],
    edit={
        "self.waiting[worker].append(delta.copy())": (
            "self.waiting[worker].append(delta.copy())\n"
            "        self.turns = [w for w in getattr(self, 'turns', []) if w != worker] + [worker]"
        ),
        "for changes in self.waiting:": "for changes in [self.waiting[w] for w in self.turns]:",
    },
)
wrong(
    "ParameterServer",
    "adds up the changes of a round before it adds them to theta",
    fails=["test_changes_are_added_in_order"],
    edit={"for changes in self.waiting:": ("for changes in [deque([sum(own.popleft() for own in self.waiting)])]:")},
)
wrong(
    "ParameterServer",
    "keeps the array that was pushed, without a copy",
    fails=["test_servers_share_no_arrays"],
    edit={"self.waiting[worker].append(delta.copy())": "self.waiting[worker].append(delta)"},
)


@wrong(
    "ParameterServer",
    "keeps every change that ever came",
    fails=["test_the_server_forgets_complete_rounds"],
    replaces="ParameterServer",
)
class Keeping:
    def __init__(self, theta, workers, staleness):
        self.first, self.all, self.s, self.open = theta.copy(), [[] for _ in range(workers)], staleness, set()

    def pull(self, worker):
        rounds = min(map(len, self.all))
        if len(self.all[worker]) - rounds > self.s:
            return None
        self.open.add(worker)
        theta = self.first.copy()
        for c in range(rounds):
            for own in self.all:
                theta += own[c]
        for delta in self.all[worker][rounds:]:
            theta += delta
        return theta

    def push(self, worker, delta):
        if worker not in self.open:
            raise ValueError
        self.open.remove(worker)
        self.all[worker].append(delta.copy())


@right("ParameterServer", "clocks, and a dict of rounds", replaces="ParameterServer")
class ByRounds:
    def __init__(self, theta, workers, staleness):
        self.theta, self.clock, self.s = np.array(theta), [0] * workers, staleness
        self.rounds, self.done, self.reading = {}, 0, set()

    def pull(self, worker):
        if self.clock[worker] - min(self.clock) > self.s:
            return None
        self.reading.add(worker)
        seen = np.array(self.theta)
        for c in range(self.done, self.clock[worker]):
            seen = seen + self.rounds[c][worker]
        return seen

    def push(self, worker, delta):
        if worker not in self.reading:
            raise ValueError("pull first")
        self.reading.discard(worker)
        self.rounds.setdefault(self.clock[worker], {})[worker] = np.array(delta)
        self.clock[worker] += 1
        while len(self.rounds.get(self.done, ())) == len(self.clock):
            changes = self.rounds.pop(self.done)
            self.theta = functools.reduce(np.add, [changes[w] for w in sorted(changes)], self.theta)
            self.done += 1


@right("ParameterServer", "one list of changes, sorted when a round is complete", replaces="ParameterServer")
class BySorting:
    def __init__(self, theta, workers, staleness):
        self.theta, self.n, self.s = theta + 0, workers, staleness
        self.log, self.count, self.allowed = [], dict.fromkeys(range(workers), 0), {}

    def pull(self, worker):
        slowest = min(self.count.values())
        if self.count[worker] > slowest + self.s:
            return None
        self.allowed[worker] = True
        out = self.theta.copy()
        for _, _, delta in sorted((e for e in self.log if e[1] == worker), key=lambda e: e[0]):
            out += delta
        return out

    def push(self, worker, delta):
        if not self.allowed.pop(worker, False):
            raise ValueError
        self.log.append((self.count[worker], worker, delta.copy()))
        self.count[worker] += 1
        slowest = min(self.count.values())
        for _, _, change in sorted((e for e in self.log if e[0] < slowest), key=lambda e: e[:2]):
            self.theta += change
        self.log = [e for e in self.log if e[0] >= slowest]


# ------------------------------------------------------------------------------------------------------ pack_pods

wrong(
    "pack_pods",
    "sorts by cpu alone",
    fails=["test_important_and_large_pods_first"],
    edit={'max(pod["cpu"] / most_cpu, pod["memory"] / most_memory)': 'pod["cpu"] / most_cpu'},
)
wrong(
    "pack_pods",
    "takes pods in the order in which they came",
    fails=["test_important_and_large_pods_first"],
    edit={'-max(pod["cpu"] / most_cpu, pod["memory"] / most_memory), i': "0, i"},
)
wrong(
    "pack_pods",
    "sorts by the larger number, cpu or memory, not by the larger share",
    fails=["test_important_and_large_pods_first"],
    edit={'max(pod["cpu"] / most_cpu, pod["memory"] / most_memory)': 'max(pod["cpu"], pod["memory"])'},
)
wrong(
    "pack_pods",
    "ignores the priority",
    fails=["test_important_and_large_pods_first"],
    edit={'return -pod["priority"], -max': "return 0, -max"},
)
wrong(
    "pack_pods",
    "looks at cpu only when it asks whether a pod fits",
    fails=["test_no_node_is_over"],
    edit={'cpu > node["cpu"] or memory > node["memory"] or': 'cpu > node["cpu"] or'},
)
wrong(
    "pack_pods",
    "takes the emptiest node",
    fails=["test_the_fullest_node_is_taken"],
    edit={
        "pod, best = pods[i], -1": "pod, best = pods[i], 101",
        "if score > best:": "if score < best:",
    },
)
wrong(
    "pack_pods",
    "takes the first node that has room",
    fails=["test_the_fullest_node_is_taken"],
    edit={"score = (100 * cpu // node": "score = 0 * (100 * cpu // node"},
)
wrong(
    "pack_pods",
    "keeps the half in the mean of the two scores",
    fails=["test_pods_at_the_borders"],
    edit={'// node["memory"]) // 2': '// node["memory"]) / 2'},
)
wrong(
    "pack_pods",
    "scores nodes without the new pod",
    fails=["test_the_fullest_node_is_taken"],
    edit={
        'score = (100 * cpu // node["cpu"] + 100 * memory // node["memory"]) // 2': (
            'score = (100 * used[j][0] // node["cpu"] + 100 * used[j][1] // node["memory"]) // 2'
        )
    },
)


@right("pack_pods", "stable sorts one after the other, and arrays")
def with_arrays(pods, nodes):
    has = np.array([[node["cpu"], node["memory"]] for node in nodes])
    used, result = np.zeros_like(has), [None] * len(pods)
    most = has.max(axis=0)
    order = list(range(len(pods)))
    order.sort(key=lambda i: max(pods[i]["cpu"] / int(most[0]), pods[i]["memory"] / int(most[1])), reverse=True)
    order.sort(key=lambda i: pods[i]["priority"], reverse=True)
    for i in order:
        pod = pods[i]
        after = used + np.array([pod["cpu"], pod["memory"]])
        possible = np.all(after <= has, axis=1)
        if pod["labels"]:
            possible &= np.array([all(node["labels"].get(k) == v for k, v in pod["labels"].items()) for node in nodes])
        if possible.any():
            score = np.where(possible, (100 * after // has).sum(axis=1) // 2, -1)
            j = int(score.argmax())
            used[j], result[i] = after[j], j
    return result


@right("pack_pods", "a heap of pods, and what is left on each node")
def with_left(pods, nodes):
    free = [(node["cpu"], node["memory"]) for node in nodes]
    top = [max(parts) for parts in zip(*free, strict=True)]
    heap = [(-p["priority"], min(-p["cpu"] / top[0], -p["memory"] / top[1]), i, p) for i, p in enumerate(pods)]
    where = {}
    for _, _, i, p in sorted(heap, key=lambda entry: entry[:3]):
        options = []
        for j, (cpu, memory) in enumerate(free):
            if p["cpu"] <= cpu and p["memory"] <= memory:
                labels = nodes[j]["labels"]
                if all(key in labels and labels[key] == p["labels"][key] for key in p["labels"]):
                    total = nodes[j]["cpu"], nodes[j]["memory"]
                    left = cpu - p["cpu"], memory - p["memory"]
                    score = sum(100 * (t - rest) // t for t, rest in zip(total, left, strict=True)) // 2
                    options.append((-score, j, left))
        if options:
            _, j, free[j] = (best := min(options)) and (best[0], best[1], best[2])
            where[i] = j
    return [where.get(i) for i in range(len(pods))]
