"""What runs in the student's process: helpers of hidden tests, sent there as source.

`student`, `np` and `torch` are names that they find over there, so ruff is told not to look for them here.
"""

from collections.abc import Callable


def student_side(function: Callable) -> Callable:
    """Mark a helper that runs in the student's process. Its source is sent there, so it may hold nothing secret.

    Over there it sees `student` (what the student defined), `np`, `torch` and the builtins, and nothing else of the
    file that it stands in. What it reports can be forged: see `forgeable`.
    """
    function.__lsml_student_side__ = True
    return function


@student_side
def on_large(name, seed, shapes, rest=(), transposed=False):
    """Call a function on standard normal arrays that are drawn over there, one for each shape; `rest` comes after them.

    `numpy.random.default_rng(seed)` draws the same here, one array after the other. `transposed`: the function gets
    each array's transpose, a view that is not C-contiguous.
    """
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape) for shape in shapes]
    return getattr(student, name)(*[array.T if transposed else array for array in arrays], *rest)


@student_side
def call_on_ranks(name, arguments, post, fetch, gather):
    """Call a rank program on every rank over there; its messages come and go through these callbacks."""
    from lsml_utils import ranks

    def program(comm, *all_reduce):
        return getattr(student, name)(comm, *all_reduce, *arguments[comm.rank])

    return ranks.interleave(program, len(arguments), post, fetch, gather=gather, most=20_000 // len(arguments))


@student_side
def random_states(call, arguments, python):
    """Whether a call uses or changes the global random states, in words, "" where not: see `random_states_kept`."""
    import random

    def states():
        of_numpy = np.random.get_state()
        return (of_numpy[1].tobytes(), *of_numpy[2:]), random.getstate() if python else None

    def plain(value):
        if hasattr(value, "__next__") or isinstance(value, (list, tuple)):
            return [plain(part) for part in value]
        if isinstance(value, dict):
            return [(key, plain(part)) for key, part in value.items()]
        return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else repr(value)

    function = call if callable(call) else getattr(student, call)
    found = []
    for seed in (1, 2):
        random.seed(seed if python else 0)
        np.random.seed(seed)
        before = states()
        found.append(plain(function(*arguments)))
        if states() != before:
            return "a global random state is changed"
    return "" if found[0] == found[1] else "a global random state is used"


@student_side
def trace(name, names, first, second, refused, fresh):
    """What calls leave behind, in words, "" where nothing: see `Contract.leaves_no_trace`."""
    call, given, wrapped = getattr(student, name), [], {}

    def arrays(value):
        if isinstance(value, np.ndarray):
            return [value]
        if hasattr(value, "detach"):
            return [value.detach().numpy()]
        if hasattr(value, "indptr"):  # CSR and CSC
            return [value.data, value.indices, value.indptr]
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
        return [array for part in parts for array in arrays(part)]

    def refilled(mine, theirs):
        if arrays(mine) and isinstance(mine, (list, tuple)) and len(mine) == len(theirs):
            parts = list(map(refilled, mine, theirs))
            kept = all(part is before for part, before in zip(parts, mine))  # its arrays alone have changed
            return mine if kept else type(mine)(parts)
        if isinstance(mine, dict) and mine.keys() == theirs.keys():
            mine.update({key: refilled(mine[key], theirs[key]) for key in mine})
            return mine
        if hasattr(mine, "copy_"):  # a tensor
            return mine.copy_(theirs)
        if not isinstance(mine, np.ndarray):
            return theirs
        mine[...] = theirs
        return mine

    def copied(value):
        if isinstance(value, (list, tuple)):
            return type(value)(copied(part) for part in value)
        if isinstance(value, dict):
            return {key: copied(part) for key, part in value.items()}
        if isinstance(value, np.ndarray) or hasattr(value, "indptr"):
            return value.copy()
        return value.clone() if hasattr(value, "clone") else value

    def same(a, b, rough=False):
        if isinstance(a, (list, tuple)):
            return type(a) is type(b) and len(a) == len(b) and all(map(lambda x, y: same(x, y, rough), a, b))
        if isinstance(a, dict):
            return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key], rough) for key in a)
        if hasattr(a, "indptr"):
            return hasattr(b, "indptr") and a.shape == b.shape and same(arrays(a), arrays(b), rough)
        if not arrays(a):
            number = rough and isinstance(a, (float, complex))
            return bool(np.allclose(a, b, 1e-9, 0, equal_nan=True)) if number else a is b or bool(a == b)
        (a,), (b,) = arrays(a), arrays(b) or [None]
        if b is None or a.dtype != b.dtype or a.shape != b.shape:
            return False
        if rough and a.dtype.kind in "fc" and a.size:
            largest = float(np.max(np.abs(a), initial=0.0, where=np.isfinite(a)))
            return bool(np.allclose(a, b, 1e-6, 1e-9 * largest, equal_nan=True))
        return a.tobytes() == b.tobytes()

    def shared(some, others):
        return any(np.shares_memory(a, b) for a in arrays(some) for b in arrays(others) if a.size and b.size)

    def entwined(result):
        parts = arrays(result) if isinstance(result, tuple) else []
        return any(shared([a], [b]) for i, a in enumerate(parts) for b in parts[:i])

    def watched(function):
        def watching(*args, **kwargs):
            answer = function(*args, **kwargs)
            given.append((answer, copied(answer)))
            return answer

        return watching

    def ask(arguments):
        given.clear()
        result = call(*[wrapped.setdefault(id(a), watched(a)) if callable(a) else a for a in arguments])
        return list(result) if hasattr(result, "__next__") else result

    kept = copied(first)
    result = ask(first)
    for key, before, after in zip(names, kept, first):
        if not callable(before) and not same(before, after):
            return f"the call changes its argument `{key}`"
    if not all(same(before, after) for after, before in given):
        return "the call changes what a function that it was given returned"
    if fresh and shared(result, [first, [answer for answer, _ in given]]):
        return "what is returned shares memory with an argument"
    if fresh and entwined(result):
        return "two of the arrays that are returned share memory"
    before, asked = copied(result), len(given)
    other = ask(second)
    if shared(result, other) or not same(before, result):
        return "a later call changes what an earlier one returned"
    third = ask(first)
    if not same(before, third, rough=True):
        return "the same call returns something else after another call"
    if len(given) != asked:  # an answer that was kept from the first call
        return "the same call, made again, asks the functions that it was given another number of times"
    if fresh and shared([result, other], third):  # in one of two buffers by turns
        return "a later call changes what an earlier one returned"
    again = copied(first)
    if not fresh and shared(third, first) and not shared(ask(again), again):
        return "a view of an earlier call's argument is returned"
    mine, theirs = arrays(first), arrays(second)
    alike = len(mine) == len(theirs) and all(a.shape == b.shape and a.flags.writeable for a, b in zip(mine, theirs))
    if mine and alike:
        changed = refilled(first, second)
        if not same(copied(other), ask(changed), rough=True):
            return "the call does not see that an array has changed since the last one"
    for arguments in refused:
        kept = copied(arguments)
        try:
            ask(arguments)
        except Exception:
            pass
        for key, before, after in zip(names, kept, arguments):
            if not callable(before) and not same(before, after):
                return f"a call that raises changes its argument `{key}`"
    return ""
