"""The trusted side of one conversation: sends requests to an agent, answers its callbacks, reads replies as hostile."""

import contextlib
import functools
import inspect
import itertools
import linecache
import select
import signal
import socket
import textwrap
import time
import unicodedata

from autograder.sandbox import SandboxFault
from autograder.sandbox.limits import REPLY_FACTOR
from autograder.submission import wire
from autograder.submission.agent import NO_MEMORY, Agent
from autograder.submission.errors import (
    MissingName,
    StudentCrashed,
    StudentError,
    StudentMemory,
    StudentMisbehaved,
    StudentTimeout,
    Usage,
)
from autograder.submission.remote import Remote

READY_SECONDS = 30.0
EXIT_SECONDS = 0.2  # for a process that closed its end to be gone by itself
FAULT = b"FAULT"  # what a child sends instead of a frame when it could not be confined
NO_MEMORY_TEXTS = ("can't allocate memory", "Cannot allocate memory")  # torch's RuntimeError, the kernel's OSError


def escape(text, limit=2000):
    """Text of a student's as harmless printable text: control, direction and unassigned characters spelled out."""
    if not isinstance(text, str):
        return ""
    cut = text[:limit]
    shown = "".join(
        c if c in "\n\t" or unicodedata.category(c)[0] != "C" else c.encode("unicode_escape").decode() for c in cut
    )
    return shown + (" …" if len(text) > limit else "")


class Peer:
    """What both kinds of conversation share. Subclasses give `_exchange(parts, deadline)`: one frame there and back."""

    def __init__(self, limits):
        self.limits = limits
        self.busy = False
        self.argument_bytes = 0  # that one callback of the running request may bring
        self.ask = None  # set by the owner of the conversation: ask(title, args, kwargs, message, *values)
        self.callbacks = []  # callables of ours that were passed in; the student's side knows them by number
        self.calls_back = self.bytes_back = self.bytes_read = self.held = 0
        self.sent = 0  # bytes of arrays that have gone out, counted as float64
        self.reply = wire.WireLimits()  # what the running request may bring back
        self.dropped = []  # numbers of handles that nobody holds any more
        self.numbers = itertools.count(1)

    def request(self, message, *values, seconds):
        """The value of one request. Raises a SubmissionError, or SandboxFault."""
        started = time.monotonic()
        number, message["drop"], self.dropped = next(self.numbers), self.dropped, []
        self.held -= len(message["drop"])
        encoder = wire.Encoder(self._outgoing, layout=True)
        try:
            trees = [encoder.encode(value) for value in values]
            self._allow(encoder)
            message = {**message, "n": number, "most": self.reply.wide_bytes}
            parts = wire.assemble(message, trees, encoder)
        except wire.WireError as error:
            raise TypeError(f"cannot send that to the submission: {error}") from None
        if self.busy:
            raise StudentMisbehaved("an object of the student's cannot be used while it waits for a callback")
        # A small function of ours may make large things of large arguments; it gets no larger ones than we gave out.
        self.argument_bytes = max(self.limits.callback_kb << 10, 2 * encoder.bytes)
        self.busy = True
        try:
            reply, trees, buffers = self._exchange(parts, started + seconds)
        finally:
            self.busy = False
        kind = reply.get("kind")
        self.bytes_read += sum(buffer.nbytes for buffer in buffers)
        if self.bytes_read > self.limits.answer_mb << 20:
            raise StudentMisbehaved(f"it returned more than {self.limits.answer_mb} MB in all")
        if reply.get("n") != number:
            raise self._misbehaved("it answered out of turn")
        if kind == "value" and len(trees) == 1:
            return self._decoded(trees, buffers)[0]
        if kind == "missing":
            raise MissingName(escape(reply.get("name"), 200))
        if kind == "unsendable":
            raise StudentMisbehaved(f"what it returned cannot be read: {escape(reply.get('text'), 300)}")
        if kind == "error":
            raise self._raised(reply, started)
        raise self._misbehaved("it sent a malformed answer")

    def _allow(self, encoder):
        """An answer may be larger than what the submission has been sent, within reason."""
        self.sent += encoder.wide
        most = max(self.limits.reply_mb << 20, REPLY_FACTOR * self.sent)
        if most != self.reply.wide_bytes:
            self.reply = wire.WireLimits(wide_bytes=most, buffer_bytes=min(wire.WireLimits.buffer_bytes, most))

    def _raised(self, reply, started):
        bases, frames = reply.get("bases"), reply.get("frames")
        bases = bases if isinstance(bases, list) else []
        frames = frames if isinstance(frames, list) else []
        text = escape(reply.get("text"))
        starved = "MemoryError" in bases or any(words in text for words in NO_MEMORY_TEXTS)
        usage = Usage(time.monotonic() - started, self.peak_mb() if starved else None)
        error = StudentError(
            escape(reply.get("type"), 200) or "Exception",
            [escape(base, 200) for base in bases[:20]],
            text,
            [
                (escape(frame[0], 100), frame[1], escape(frame[2], 200))
                for frame in frames[:20]
                if isinstance(frame, list) and len(frame) == 3 and type(frame[1]) is int and 0 <= frame[1] < 1 << 31
            ],
            usage,
        )
        if starved:
            return StudentMemory("it ran out of the memory that it may use", usage, error)
        if "SystemExit" in error.bases:
            return StudentCrashed("it ended its process (exit)", usage)
        return error

    def _misbehaved(self, text):
        return StudentMisbehaved(f"its process broke the rules of the conversation: {text}")

    # ---------------------------------------------------------------------------------------------------- values

    def _outgoing(self, value):
        if isinstance(value, Remote):
            if value._peer is not self:
                raise wire.WireError("a handle of another process")
            return value._node
        if getattr(value, "__lsml_student_side__", False):
            return code_node(value)
        if hasattr(value, "__next__"):
            self.callbacks.append(value.__next__)
            return {"t": "stream", "id": len(self.callbacks) - 1}
        if callable(value) and not isinstance(value, type):
            self.callbacks.append(value)
            return {"t": "callback", "id": len(self.callbacks) - 1}
        raise wire.WireError(f"a {type(value).__name__} cannot cross the wire")

    def _decoded(self, trees, buffers):
        """The values that came. Whatever a library of ours says to them, it is the sender who is to blame."""
        try:
            return [wire.Decoder(buffers, self._incoming, self.reply).decode(tree) for tree in trees]
        except wire.WireError as error:
            raise self._misbehaved(str(error)) from None
        except MemoryError:
            raise self._misbehaved("there is not enough memory for the value") from None
        except Exception as error:
            raise self._misbehaved(f"a value that cannot be read ({type(error).__name__})") from None

    def _incoming(self, node):
        number, kind = node.get("id"), node.get("type")
        if node.get("t") != "handle" or type(number) is not int or not 0 < number < 1 << 53:
            raise wire.WireError("unknown kind of value")
        self.held += 1
        if self.held - len(self.dropped) > self.limits.handles:
            raise wire.WireError("too many objects that are not plain data")
        return Remote(self, {"t": "handle", "id": number}, escape(kind, 200))

    def answer_callback(self, message, trees, buffers):
        """The parts of the answer to a callback. Raises StudentMisbehaved when malformed or too many."""
        number = message.get("id")
        arriving = sum(buffer.nbytes for buffer in buffers)
        self.calls_back += 1
        self.bytes_back += arriving
        if arriving > self.argument_bytes:
            raise StudentMisbehaved("it passed far more data to a function it was given than it got itself")
        if type(number) is not int or not 0 <= number < len(self.callbacks) or len(trees) != 2:
            raise self._misbehaved("malformed callback")
        if self.calls_back > self.limits.callback_calls or self.bytes_back > self.limits.callback_mb << 20:
            raise StudentMisbehaved("it called a function that it was given too many times, or with too much data")
        args, kwargs = self._decoded(trees, buffers)
        if not isinstance(args, list) or not isinstance(kwargs, dict) or not all(type(k) is str for k in kwargs):
            raise self._misbehaved("malformed callback")
        try:
            result = self.callbacks[number](*args, **kwargs)
        except Exception as error:
            # Its type, if Python has it, and nothing else: the text could give something away.
            name = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")
            return wire.frame({"kind": "raise", "type": name, "text": "raised by the function that was passed in"})
        encoder = wire.Encoder(self._outgoing, layout=True)
        parts = wire.frame({"kind": "value"}, result, encoder=encoder)
        self._allow(encoder)
        self.bytes_back += encoder.bytes
        return parts


class ChildPeer(Peer):
    """A conversation with the agent in a sandbox's child."""

    def __init__(self, child):
        super().__init__(child.limits)
        self.child = child
        self.stream = wire.Stream(child.sock)
        child.sock.settimeout(READY_SECONDS)
        try:
            if child.sock.recv(len(FAULT), socket.MSG_PEEK) == FAULT:
                raise SandboxFault(child.sock.recv(8192)[len(FAULT) :].decode(errors="replace"))
            self.stream.receive(time.monotonic() + READY_SECONDS)
        except (OSError, EOFError, wire.WireError) as error:
            raise SandboxFault(f"the agent does not start: {error}") from None

    def _exchange(self, parts, deadline):
        started = time.monotonic()
        try:
            self.stream.send(parts, deadline)
        except (TimeoutError, EOFError) as error:
            raise self._gone(error, started) from None
        while True:
            reply = self._receive(deadline, started)
            if reply[0].get("kind") != "callback":
                return reply
            try:
                self.stream.send(self.answer_callback(*reply), deadline)
            except (TimeoutError, EOFError) as error:
                raise self._gone(error, started) from None
            except BaseException:
                self.child.end()
                raise

    def _receive(self, deadline, started):
        try:
            return self.stream.receive(deadline, self.reply)
        except (TimeoutError, EOFError) as error:
            raise self._gone(error, started) from None
        except (wire.WireError, MemoryError) as error:
            self.child.end()  # what is left of its frame cannot be told from the next one
            raise self._misbehaved(str(error) or "there is not enough memory for its answer") from None

    def _gone(self, error, started):
        """End the child, and what that means."""
        seconds = time.monotonic() - started
        ended = self.child.end(EXIT_SECONDS if isinstance(error, EOFError) else 0.0)
        usage = Usage(seconds, ended.peak_mb)
        if ended.reason == "memory" or (ended.reason, ended.status) == ("exit", NO_MEMORY):
            return StudentMemory(f"it used more than {self.limits.memory_mb} MB of memory", usage)
        if ended.reason == "lost":
            return SandboxFault("the sandbox broke while the submission ran")
        if ended.reason == "signal" and ended.status == -signal.SIGKILL and self.child.sandbox.kind == "bubblewrap":
            # Process 1 of a pid namespace cannot be killed by anything inside it.
            return SandboxFault("the student's process was killed from outside (is the machine out of memory?)")
        if isinstance(error, TimeoutError):
            return StudentTimeout(f"it ran longer than it may ({seconds:.1f} s)", usage)
        ways = {"exit": f"exit status {ended.status}", "signal": f"signal {-ended.status}"}
        how = ways.get(ended.reason, "it hung up")
        return StudentCrashed(f"it ended its process ({how})", usage)

    @property
    def alive(self):
        """Whether its process still listens, as far as is known without asking it."""
        if self.ended:
            return False
        sock = self.child.sock
        try:
            return not select.select([sock], [], [], 0)[0] or sock.recv(1, socket.MSG_PEEK) != b""
        except OSError:
            return False

    @property
    def ended(self):
        """Whether its process is over."""
        return self.child.ended is not None

    def peak_mb(self):
        """The most memory that it has used."""
        return self.child.peak_mb()

    def end(self):
        """Kill its process."""
        self.child.end()

    def hang_up(self):
        """Whoever waits for an answer, in whatever thread, meets the end of the stream."""
        with contextlib.suppress(OSError):  # it has ended meanwhile
            self.child.sock.shutdown(socket.SHUT_RDWR)


class LocalPeer(Peer):
    """The same conversation, copying as the wire does, with an agent in this very process: trusted code only."""

    names = itertools.count(1)

    def __init__(self, limits):
        super().__init__(limits)
        self.agent = Agent(
            lambda parts: wire.memory_frame(self.answer_callback(*wire.memory_frame(parts))),
            name=f"lsml_answer_{next(self.names)}",
        )

    def _exchange(self, parts, deadline):
        return wire.memory_frame(self.agent.answer(*wire.memory_frame(parts)))

    def peak_mb(self):
        return None

    def end(self):
        self.agent.close()


def code_node(helper):
    """The wire's node for a `@student_side` helper: its source, without its decorators."""
    return {"t": "code", "name": helper.__name__, "source": _source(helper.__code__)}


@functools.lru_cache(1024)  # to find a function's end takes longer than most of them run
def _source(code):
    # inspect.getsource first looks for the code's module, among all that are imported: 0.2 s.
    text = linecache.getlines(code.co_filename)
    if not text:
        raise OSError(f"there is no {code.co_filename}, in which {code.co_name} was written")
    lines = textwrap.dedent("".join(inspect.getblock(text[code.co_firstlineno - 1 :]))).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(("def ", "async def ")))
    return "\n".join(lines[start:]) + "\n"
