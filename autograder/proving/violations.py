"""Ways to break a contract that do not depend on how a function is written: decorators of a student's function.

`contracts` says which contract each of them breaks, and puts its source, with that of its helpers, behind a cell.
"""

import functools
import inspect
import itertools

import numpy as np


def is_array(value, kinds="float int bool"):
    """Whether this is an array or a tensor with numbers of these kinds ("int" stands for uint8, too)."""
    numbers = isinstance(value, np.ndarray) or (type(value).__module__.startswith("torch") and hasattr(value, "dtype"))
    return numbers and any(kind in str(value.dtype) for kind in kinds.split())


def cast(array, dtype):
    if isinstance(array, np.ndarray):
        return array.astype(dtype)
    return getattr(array, {"float32": "float", "float64": "double", "int32": "int"}[dtype])()


def in_each(value, change):
    """`value` with `change` done to each of its parts that is not itself a tuple, a list, a dict or an iterator."""
    if type(value) in (tuple, list):
        return type(value)(in_each(part, change) for part in value)
    if type(value) is dict:
        return {key: in_each(part, change) for key, part in value.items()}
    if hasattr(value, "__next__"):
        return (in_each(part, change) for part in value)
    return change(value)


def parts(value):
    """The parts of `value`, as `in_each` finds them."""
    found = []
    in_each(value, found.append)
    return found


def copied(array):
    return array.copy() if isinstance(array, np.ndarray) else array.clone()


def write(array, values):
    """Write values into an array, if it can be written to."""
    if not isinstance(array, np.ndarray) or array.flags.writeable:
        array[...] = values


def with_arguments(function, change):
    """The function, called with what `change` makes of the dict of its arguments."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        change(bound.arguments)
        return function(*bound.args, **bound.kwargs)

    return called


def with_arrays(function, change, kinds="float int bool"):
    """The function, called with what `change` makes of each array of these kinds among its arguments."""

    def each(arguments):
        for name, value in arguments.items():
            arguments[name] = in_each(value, lambda part: change(part) if is_array(part, kinds) else part)

    return with_arguments(function, each)


def with_result(function, change):
    """The function, with `change` done to what it returns; `change` gets the arguments' parts, too."""

    @functools.wraps(function)
    def called(*args, **kwargs):
        return change(function(*args, **kwargs), parts([*args, *kwargs.values()]))

    return called


def with_callback(function, name, wrap):
    """The function, called with what `wrap` makes of the callback `name`."""

    def each(arguments):
        arguments[name] = wrap(arguments[name])

    return with_arguments(function, each)


# What is returned.


def results_in_buffers(function, count):
    kept, calls = {}, itertools.count()

    def into_kept(result, _):
        def keep(place, value):
            if not is_array(value):
                return value
            buffer = kept.setdefault((turn, place, tuple(value.shape), str(value.dtype)), copied(value))
            write(buffer, value)
            return buffer

        turn, places = next(calls) % count, itertools.count()
        return in_each(result, lambda value: keep(next(places), value))

    return with_result(function, into_kept)


def results_in_one_buffer(function):
    return results_in_buffers(function, 1)


def results_in_two_buffers(function):
    return results_in_buffers(function, 2)


def remembered_by_shape(function):
    kept = {}

    @functools.wraps(function)
    def called(*args, **kwargs):
        key = repr(in_each([*args, *kwargs.items()], lambda x: (x.shape, x.dtype) if is_array(x) else x))
        if key not in kept:
            kept[key] = function(*args, **kwargs)
        return in_each(kept[key], lambda x: copied(x) if is_array(x) else x)

    return called


def remembered_by_object(function):
    kept = []

    @functools.wraps(function)
    def called(*args, **kwargs):
        now = parts([*args, *kwargs.items()])
        for before, result in kept:
            if len(before) == len(now) and all(
                a is b or (not is_array(a) and not is_array(b) and a == b) for a, b in zip(before, now, strict=True)
            ):
                return in_each(result, lambda x: copied(x) if is_array(x) else x)
        result = function(*args, **kwargs)
        kept.append((now, in_each(result, lambda x: copied(x) if is_array(x) else x)))
        return result

    return called


def returns_an_argument(function):
    def like(a, b):
        return is_array(a) and is_array(b) and (a.shape, a.dtype) == (b.shape, b.dtype) and bool((a == b).all())

    def same(value, arguments):
        return next((argument for argument in arguments if like(value, argument)), value)

    return with_result(function, lambda result, arguments: in_each(result, lambda value: same(value, arguments)))


def rounded_to_float32(function):
    def rounded(value):
        if isinstance(value, float):
            return type(value)(np.float32(value))
        return cast(cast(value, "float32"), "float64") if is_array(value, "float64") else value

    def unless_float32_came(result, arguments):
        return result if any(is_array(x, "float32") for x in arguments) else in_each(result, rounded)

    return with_result(function, unless_float32_came)


def always_float64(function):
    def widened(x):
        return cast(x, "float64") if is_array(x, "float32") else x

    return with_result(function, lambda result, _: in_each(result, widened))


def float32_as_it_came(function):
    def narrowed(result, arguments):
        if not any(is_array(x, "float32") for x in arguments):
            return result
        return in_each(result, lambda x: cast(x, "float32") if is_array(x, "float64") else x)

    return with_result(function, narrowed)


def always_float32(function):
    def narrowed(result, arguments):
        if any(is_array(x, "float32") for x in arguments):
            return result
        return in_each(result, lambda x: cast(x, "float32") if is_array(x, "float64") else x)

    return with_result(function, narrowed)


def integers_as_floats(function):
    return with_result(function, lambda result, _: in_each(result, lambda x: x * 1.0 if is_array(x, "int") else x))


def arrays_as_lists(function):
    return with_result(function, lambda result, _: in_each(result, lambda x: x.tolist() if is_array(x) else x))


def numbers_as_arrays(function):
    return with_result(
        function, lambda result, _: in_each(result, lambda x: np.array(x) if isinstance(x, int | float) else x)
    )


def ints_as_numpy_scalars(function):
    return with_result(function, lambda result, _: in_each(result, lambda x: np.int64(x) if type(x) is int else x))


def infinity_made_finite(function):
    def finite(x):
        if isinstance(x, float | np.floating):
            return type(x)(np.nan_to_num(x))
        return np.nan_to_num(x) if isinstance(x, np.ndarray) else x

    return with_result(function, lambda result, _: in_each(result, finite))


def at_least_tiny(function):
    def raised(x):
        return max(x, 1e-12) if isinstance(x, float) else x.clip(1e-12) if is_array(x, "float") else x

    return with_result(function, lambda result, _: in_each(result, raised))


def tiny_made_zero(function):
    def flushed(x):
        return x * (abs(x) >= 1e-12) if isinstance(x, float) or is_array(x, "float") else x

    return with_result(function, lambda result, _: in_each(result, flushed))


def overflows(function):
    return with_arguments(function, lambda arguments: np.exp(np.float64(1e3)))


def collected(function):
    return with_result(function, lambda result, _: iter(list(result)))


# What is done to the arguments.


def writes_to(function, name):
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments.get(name)
        result = in_each(function(*args, **kwargs), lambda x: copied(x) if is_array(x) else x)
        in_each(given, lambda x: write(x, 0) if is_array(x) else x)
        return result

    return called


def writes_before_it_raises(function):
    @functools.wraps(function)
    def called(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Exception:
            in_each([*args, *kwargs.values()], lambda x: write(x, 0) if is_array(x) else x)
            raise

    return called


# What of the arguments is not understood.


def cut_off(function, limit):
    def cut(x):
        return x.clip(-limit, limit) if limit < np.finfo(str(x.dtype).removeprefix("torch.")).max else x

    return with_arrays(function, cut, "float")


def first_rows(function, count):
    return with_arrays(function, lambda x: x[:count] if x.ndim else x)


def tiny_as_zero(function):
    return with_arrays(function, lambda x: x * (abs(x) >= 1e-6), "float")


def minus_infinity_as_finite(function):
    return with_arrays(function, lambda x: x.clip(-1e30) if (x == -np.inf).any() else x, "float")


def integers_by_float32(function):
    return with_arrays(function, lambda x: cast(cast(x, "float32"), "float64"), "int")


def integers_by_int32(function):
    return with_arrays(function, lambda x: cast(x, "int32"), "int64")


def read_in_memory_order(function):
    return with_arrays(function, lambda x: x.ravel(order="K").reshape(x.shape) if isinstance(x, np.ndarray) else x)


def at_least_one_axis(function):
    return with_arrays(function, lambda x: x[None] if x.ndim == 0 else x)


def refused(function, condition):
    def check(x):
        if condition(x):
            raise IndexError("unexpected array")
        return x

    return with_arrays(function, check)


def argument_through(function, name, expression):
    def change(arguments):
        arguments[name] = expression(arguments[name])

    return with_arguments(function, change)


def stays_as_first(function, name):
    first = []

    def change(arguments):
        first.append(arguments[name])
        arguments[name] = first[0]

    return with_arguments(function, change)


def seed_counts_calls(function, name):
    calls = []

    def change(arguments):
        calls.append(name)
        arguments[name] += len(calls) - 1

    return with_arguments(function, change)


def seeds_numpy(function, name):
    def change(arguments):
        np.random.seed(arguments[name] % 2**32)

    return with_arguments(function, change)


def raises_another_error(function):
    @functools.wraps(function)
    def called(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            raise RuntimeError(str(error)) from None

    return called


# What it costs.


def square_array(function):
    """A square array as large as the longest axis among the arguments."""

    def change(arguments):
        longest = max((n for x in parts(list(arguments.values())) if is_array(x) for n in x.shape), default=0)
        np.ones((longest, longest)).sum()

    return with_arguments(function, change)


def copies_its_arguments(function):
    return with_arrays(function, copied)


def square_time(function):
    def change(arguments):
        line = np.ones(max((len(x) for x in parts(list(arguments.values())) if is_array(x) and x.ndim), default=0))
        for _ in range(len(line)):
            line = np.sqrt(line + 1.0)

    return with_arguments(function, change)


def lists_first(function, name):
    def change(arguments):
        arguments[name] = list(arguments[name])

    return with_arguments(function, change)


def first_items(function, name):
    def change(arguments):
        arguments[name] = itertools.islice(arguments[name], 200)

    return with_arguments(function, change)


def goes_through_twice(function, name):
    def change(arguments):
        if iter(arguments[name]) is not arguments[name]:
            for _ in arguments[name]:
                pass

    return with_arguments(function, change)


def reads_all_first(function, name):
    def change(arguments):
        with open(arguments[name], "rb") as file:
            file.read()

    return with_arguments(function, change)


def reads_twice(function, name):
    def change(arguments):
        with open(arguments[name], "rb") as file:
            while file.read(2**16):
                pass

    return with_arguments(function, change)


# How a callback is treated.


def calls_once_more(function, name):
    def wrap(callback):
        calls = []

        def called(*args):
            calls.append(args)
            if len(calls) == 1:
                callback(*args)
            return callback(*args)

        return called

    return with_callback(function, name, wrap)


def writes_to_what_it_returned(function, name):
    def wrap(callback):
        last = []

        def called(*args):
            in_each(list(last), lambda x: write(x, 0) if is_array(x) else x)
            result = callback(*args)
            last[:] = [result]
            return in_each(result, lambda x: copied(x) if is_array(x) else x)

        return called

    return with_callback(function, name, wrap)


def passes_lists(function, name):
    def wrap(callback):
        return lambda *args: callback(*in_each(args, lambda x: x.tolist() if is_array(x) else x))

    return with_callback(function, name, wrap)
