"""A handle: something that lives in the student's process, as a hidden test holds it."""


class Remote:
    """Attributes, calls, iteration and arithmetic happen over there; what comes back is plain data or another handle.

    Equality and truth are of the handle itself: a student's `__eq__` and `__bool__` are never asked. There is no length
    and no indexing, so that nothing here takes it for a sequence; a `@student_side` helper can do both.
    """

    __slots__ = ("__weakref__", "_node", "_peer", "_title")
    __array_ufunc__ = None  # array + handle is the handle's business, not numpy's

    def __init__(self, peer, node, title):
        for name, value in (("_peer", peer), ("_node", node), ("_title", title)):
            object.__setattr__(self, name, value)

    def __repr__(self):
        return f"<{self._title} in the student's process>"

    def __call__(self, *args, **kwargs):
        return self._peer.ask(self._title, args, kwargs, {"op": "call"}, self, list(args), kwargs)

    def __getattr__(self, name):
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self._peer.ask(f"{self._title}.{name}", (), {}, {"op": "getattr", "name": name}, self)

    def __setattr__(self, name, value):
        self._peer.ask(f"{self._title}.{name} =", (value,), {}, {"op": "setattr", "name": name}, self, value)

    def _operator(self, name, *operands):
        return self._peer.ask(name, operands, {}, {"op": "operator", "name": name}, *operands)

    def __iter__(self):
        return self._operator("iter", self)

    def __next__(self):
        from autograder.submission.errors import StudentError

        try:
            return self._operator("next", self)
        except StudentError as error:
            if error.type_name == "StopIteration":
                raise StopIteration from None
            raise

    def __del__(self):
        if "id" in self._node:
            self._peer.dropped.append(self._node["id"])


def _add_operators():
    def two(name):
        return lambda self, other: self._operator(name, self, other), lambda self, other: self._operator(
            name, other, self
        )

    for name in ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"]:
        forward, backward = two(name)
        setattr(Remote, f"__{name}__", forward)
        setattr(Remote, f"__r{name}__", backward)
    for name in ("neg", "pos", "abs"):
        setattr(Remote, f"__{name}__", lambda self, name=name: self._operator(name, self))


_add_operators()
