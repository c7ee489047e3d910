"""The side of the wire that lives in the student's process: it runs cells and answers requests, one at a time.

Nothing in here is secret and nothing in here is trusted: the student's code can read and patch all of it, and gains
nothing, because what comes back is parsed as hostile and judged elsewhere. Only this file and wire.py go into the box.
"""

import __future__

import ast
import asyncio
import builtins
import contextlib
import ctypes
import functools
import importlib
import inspect
import itertools
import linecache
import os
import sys
import tempfile
import threading
import types
import warnings

import numpy as np

from . import wire

MESSAGE = 2_000  # characters of an exception's text
NAMES = 2_000  # names of a namespace that are reported
NO_MEMORY = 77  # exit status of an agent that cannot answer for want of memory
RESERVE = 4 << 20  # bytes set aside for telling of a MemoryError
M_MMAP_THRESHOLD = -3  # mallopt(3)
FRAMES = 12  # frames of a traceback that are reported
RUNS_BODY = {"time", "timeit", "capture", "prun", "memit"}  # cell magics whose body the student meant to run


def _copied(module, *inner):
    """A module with the same names, and such copies of its `inner` modules."""
    copied = types.ModuleType(module.__name__)
    vars(copied).update(vars(module), **{name: _copied(getattr(module, name)) for name in inner})
    return copied


# What helpers see. It is made before a student's cell can say `np.array_equal = lambda *a: True`; in the sandbox once,
# before any child is forked.
UNTOUCHED = {"builtins": dict(vars(builtins)), "numpy": _copied(np, "random", "linalg")}


def keep_untouched():
    """Keep torch as it is now, too, once it has been imported."""
    if "torch" in sys.modules:
        UNTOUCHED.setdefault("torch", _copied(sys.modules["torch"]))


keep_untouched()


class Shell:
    """What `get_ipython()` gives in a student's cell: magics and shell lines do nothing; the body of %%time runs."""

    def __init__(self, agent):
        self._agent = agent
        self.config = Nothing()

    @property
    def user_ns(self):
        return self._agent.space

    user_global_ns = user_ns

    def run_cell_magic(self, name, line, cell):
        if name in RUNS_BODY:
            self._agent.run_source(cell)
        elif name in ("writefile", "file") and line.strip():
            self._agent.write_file(line.split()[-1], cell, append="-a" in line.split())

    def run_line_magic(self, name, line, _stack_depth=1):
        if name == "time" and line.strip():
            self._agent.run_source(line)

    def getoutput(self, *args, **kwargs):
        return []

    def __getattr__(self, name):
        return Nothing()


class Nothing:
    """Can be called, and has every attribute and item; nothing comes of it (matplotlib registers with `events`)."""

    def __call__(self, *args, **kwargs):
        return None

    def __getitem__(self, key):
        return self

    def __setitem__(self, key, value):
        pass

    def __contains__(self, key):
        return False

    def __iter__(self):
        return iter(())

    def __bool__(self):
        return False

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self


class Agent:
    """Runs cells in a namespace that calls itself `__main__`, and answers the requests of the other side."""

    def __init__(self, ask, name="__main__"):
        """`ask(parts) -> (message, trees, buffers)` carries a callback to the other side and waits for its answer.

        `name` is the namespace's `__name__`: `__main__` in a student's process, another one beside trusted code.
        """
        self.ask, self.alone = ask, name == "__main__"
        self.module = types.ModuleType(name)
        self.space = self.module.__dict__
        self.handles = {}
        self.numbers = itertools.count(1)
        self.labels = []
        self.flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self.written = None  # the folder that %%writefile writes to
        self.reserve = np.empty(RESERVE, np.uint8)  # counted, not touched
        self.space["get_ipython"] = lambda: Shell(self)
        self.space["display"] = lambda *args, **kwargs: None
        self.hidden = set(self.space)
        sys.modules[name] = self.module
        if self.alone:
            _install_get_ipython(self.space["get_ipython"])

    # ------------------------------------------------------------------------------------------------- requests

    def answer(self, message, trees, buffers):
        """The parts of the reply to one request."""
        number = message.get("n")
        for handle in message["drop"]:
            self.handles.pop(handle, None)
        try:
            values = [self._decoder(buffers).decode(tree) for tree in trees]
            result = getattr(self, "op_" + message["op"])(message, *values)
            limits = wire.WireLimits(wide_bytes=message["most"])
            return wire.frame({"n": number, "kind": "value"}, result, encoder=wire.Encoder(self._keep, limits=limits))
        except Missing as error:
            return wire.frame({"n": number, "kind": "missing", "name": str(error)[:200]})
        except wire.WireError as error:
            return wire.frame({"n": number, "kind": "unsendable", "text": str(error)[:MESSAGE]})
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not self.alone:
                raise
            if isinstance(error, MemoryError):
                self.reserve = None
            return wire.frame({"n": number, "kind": "error", **self.describe(error)})

    def op_exec(self, message):
        with settings_kept() if message["kind"] == "added" else contextlib.nullcontext():
            self.run_cell(message["label"], message["source"])

    def op_call(self, message, target, args, kwargs):
        return target(*args, **kwargs)

    def op_run(self, message, source, args, kwargs):
        return source(*args, **kwargs)

    def op_value(self, message, target):
        return target

    def op_getattr(self, message, target):
        return getattr(target, message["name"])

    def op_setattr(self, message, target, value):
        setattr(target, message["name"], value)

    def op_iter(self, message, target):
        return iter(target)

    def op_next(self, message, target):
        return next(target)

    def op_names(self, message):
        names = (name for name in list(self.space) if isinstance(name, str) and name not in self.hidden)
        return [name[:200] for name in names if not name.startswith("__")][:NAMES]

    def op_settle(self, message):
        """Get ready for a limit on memory: what libraries hold should be what the answer holds.

        NumPy's BLAS, and SciPy's, take their buffers, 32 MB of addresses each: after a setup cell's
        `threadpool_limits` each takes a new one when it is first used, and where a limit refuses that, it tries for
        ever. And glibc gives each large array pages of its own, which go when the array goes. Else it keeps them once
        one was freed (its threshold grows), and cuts them up: four arrays of 8 MB that torch makes again and again
        then took 80 to 290 MB, differently each time.
        """
        with contextlib.suppress(Exception):
            large = np.ones((256, 256))
            np.matmul(large, large)
            sys.modules["scipy.linalg"].cho_factor(np.eye(256))
        with contextlib.suppress(AttributeError, TypeError):  # another libc, or none that is asked this way
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 20)

    def close(self):
        """Forget the namespace: for an agent that shares its process."""
        sys.modules.pop(self.module.__name__, None)
        for label in self.labels:
            linecache.cache.pop(label, None)

    # ---------------------------------------------------------------------------------------------------- cells

    def run_cell(self, label, source):
        """Execute one cell; its tracebacks and inspect.getsource show `label` and its own lines."""
        label = label if self.alone else f"{label} ({self.module.__name__})"  # others here have such a cell too
        self.labels.append(label)
        linecache.cache[label] = (len(source), None, source.splitlines(keepends=True), label)
        self._execute(source, label)

    def run_source(self, source):
        """Execute what stands behind a magic."""
        self._execute(source, self.labels[-1] if self.labels else "cell")

    def write_file(self, name, text, append=False):
        """Write a module that later cells may import; in the scratch folder, whatever folder its name tells."""
        if self.written is None:
            self.written = os.getcwd() if os.getcwd() == tempfile.gettempdir() else tempfile.mkdtemp()
            sys.path.insert(0, self.written)
        with open(os.path.join(self.written, os.path.basename(name)), "a" if append else "w") as file:
            file.write(text)
        importlib.invalidate_caches()

    def _execute(self, source, label):
        code = compile(source, label, "exec", flags=self.flags, dont_inherit=True)
        self.flags |= code.co_flags & __future__.annotations.compiler_flag  # holds for later cells, as in Jupyter
        result = eval(code, self.space)
        if code.co_flags & inspect.CO_COROUTINE:  # Jupyter's cells may await
            asyncio.run(result)

    def describe(self, error):
        """An exception as plain bounded text: type, bases, message, the student's own frames."""
        kind = type(error)
        try:
            text = str(error)
        except BaseException:
            text = "(its text could not be made)"
        frames, trace = [], error.__traceback__
        labels = set(self.labels)
        while trace is not None:
            label = trace.tb_frame.f_code.co_filename
            if label in labels:
                frames.append([label, trace.tb_lineno, linecache.getline(label, trace.tb_lineno).strip()[:200]])
            trace = trace.tb_next
        if isinstance(error, SyntaxError) and error.filename in labels:
            text = str(error.msg)
            frames.append([error.filename, error.lineno or 0, (error.text or "").strip()[:200]])
        return {
            "type": kind.__name__[:200],
            "bases": [base.__name__[:200] for base in kind.__mro__[:20]],
            "text": text[:MESSAGE],
            "frames": frames[:2] + frames[2:][-(FRAMES - 2) :],
        }

    # --------------------------------------------------------------------------------------------------- values

    def _decoder(self, buffers):
        return wire.Decoder(buffers, self._resolve, layout=True)

    def _keep(self, value):
        number = next(self.numbers)
        self.handles[number] = value
        return {"t": "handle", "id": number, "type": type(value).__name__[:200]}

    def _resolve(self, node):
        tag = node["t"]
        if tag == "handle":
            return self.handles[node["id"]]
        if tag == "name":
            try:
                return self.space[node["name"]]
            except KeyError:
                raise Missing(node["name"]) from None
        if tag == "callback":
            return self._proxy(node["id"])
        if tag == "stream":
            return PassedStream(self._proxy(node["id"]))
        if tag == "code":
            return self._helper(node["name"], node["source"])
        raise wire.WireError("unknown kind of value")

    def _helper(self, name, source):
        space = {"__name__": "student_side", "student": Student(self.space), "__builtins__": UNTOUCHED["builtins"]}
        space["np"] = UNTOUCHED["numpy"]
        if "torch" in sys.modules:
            space["torch"] = UNTOUCHED.get("torch", sys.modules["torch"])
        exec(_compiled(source), space)
        return space[name]

    def _proxy(self, number):
        def callback(*args, **kwargs):
            return self._callback(number, args, kwargs)

        return callback

    def _callback(self, number, args, kwargs):
        parts = wire.frame({"kind": "callback", "id": number}, list(args), kwargs, encoder=wire.Encoder(self._keep))
        message, trees, buffers = self.ask(parts)
        if message["kind"] == "raise":
            kind = getattr(builtins, message["type"], None)
            known = isinstance(kind, type) and issubclass(kind, Exception)
            raise (kind if known else RuntimeError)(message["text"])
        return self._decoder(buffers).decode(trees[0])


@functools.lru_cache(256)  # tests pass the same helper again and again, and to compile one takes longer than to run it
def _compiled(source):
    return compile(source, "<helper>", "exec", dont_inherit=True)


class Missing(Exception):
    """The namespace has no such name."""


class Student:
    """What a helper sees as `student`: the names that the student's cells define."""

    def __init__(self, space):
        object.__setattr__(self, "_space", space)

    def __getattr__(self, name):
        try:
            return self._space[name]
        except KeyError:
            raise Missing(name) from None

    def __setattr__(self, name, value):
        self._space[name] = value


class PassedStream:
    """An iterator of the other side."""

    def __init__(self, step):
        self._step = step

    def __iter__(self):
        return self

    def __next__(self):
        return self._step()


@contextlib.contextmanager
def settings_kept():
    """Undo what an experiment sets for all that follows and an answer does not expect: numpy's error handling, which
    makes an exception of a harmless underflow, the filters of warnings, torch's gradients switched off."""
    torch = sys.modules.get("torch")
    with np.errstate(), warnings.catch_warnings(), torch.enable_grad() if torch else contextlib.nullcontext():
        yield


def _install_get_ipython(get_ipython):
    """`from IPython import get_ipython` gives the harmless one as well."""
    for name in ("IPython", "IPython.core.getipython"):
        if name in sys.modules:
            sys.modules[name].get_ipython = get_ipython


def _do_without_a_desktop():
    """What an honest notebook may ask for and a grading machine lacks is taken as done: a window, a C++ compiler."""
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].use = lambda *args, **kwargs: None
    if "matplotlib.pyplot" in sys.modules:
        pyplot = sys.modules["matplotlib.pyplot"]
        pyplot.switch_backend = functools.partial(lambda switch, *args, **kwargs: switch("agg"), pyplot.switch_backend)
    if "torch" in sys.modules:
        sys.modules["torch"].compile = lambda model=None, **kwargs: (lambda given: given) if model is None else model


def main(sock):
    """Serve requests over `sock` until the other side closes it."""
    _do_without_a_desktop()
    stream = wire.Stream(sock, wire.WireLimits(header_bytes=1 << 30, buffer_bytes=1 << 32))
    lock = threading.Lock()  # a student's threads may call back too

    def receive():
        try:
            return stream.receive()
        except MemoryError:  # half a frame is read: there is no going on
            os._exit(NO_MEMORY)

    def ask(parts):
        with lock:
            stream.send(parts)
            return receive()

    agent = Agent(ask)
    stream.send(wire.frame({"kind": "ready"}))
    while True:
        try:
            request = receive()
            reply = agent.answer(*request)
            with lock:
                stream.send(reply)
        except EOFError:
            return
        except MemoryError:
            os._exit(NO_MEMORY)
