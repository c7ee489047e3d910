"""A handle: something that lives in the student's process, as a hidden test holds it."""

from autograder.submission.errors import StudentError

BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul")
# Special methods that a test may call by name, as in `a.__mul__(b)`.
SPECIAL = {f"__{side}{name}__" for name in BINARY for side in ("", "r")}
SPECIAL |= {"__neg__", "__getitem__", "__setitem__", "__len__", "__contains__", "__enter__", "__exit__"}


class Remote:
    """Attributes, calls and iteration happen over there; what comes back is plain data or another handle.

    Nothing else does, on purpose: where a test expects a number and gets an object of the student's, `abs(got - 3) <=
    1e-9`, `got == 3` and `assert got` must not ask that object. They raise TypeError, and so fail.
    """

    __slots__ = ("__weakref__", "_node", "_peer", "_title")
    __array_ufunc__ = None
    __hash__ = object.__hash__

    def __init__(self, peer, node, title):
        for name, value in (("_peer", peer), ("_node", node), ("_title", title)):
            object.__setattr__(self, name, value)

    def __repr__(self):
        return f"<{self._title} in the student's process>"

    def __bool__(self):
        raise TypeError(f"{self!r} is not plain data: it has no truth value here")

    def __eq__(self, other):
        raise TypeError(f"{self!r} is not plain data: it cannot be compared (use `is`)")

    def __call__(self, *args, **kwargs):
        return self._peer.ask(self._title, args, kwargs, {"op": "call"}, self, list(args), kwargs)

    def __getattr__(self, name):
        if name.startswith("__") and name.endswith("__") and name not in SPECIAL:
            raise AttributeError(name)
        return self._peer.ask(f"{self._title}.{name}", (), {}, {"op": "getattr", "name": name}, self)

    def __setattr__(self, name, value):
        self._peer.ask(f"{self._title}.{name} =", (value,), {}, {"op": "setattr", "name": name}, self, value)

    def __iter__(self):
        return self._peer.ask("iter", (self,), {}, {"op": "iter"}, self)

    def __next__(self):
        try:
            return self._peer.ask("next", (self,), {}, {"op": "next"}, self)
        except StudentError as error:
            if error.type_name == "StopIteration":
                raise StopIteration from None
            raise

    def __del__(self):
        if "id" in self._node:
            self._peer.dropped.append(self._node["id"])
