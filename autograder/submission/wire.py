"""The wire between the grader and a student's process: a length-prefixed JSON header and raw buffers. Never pickle.

Both ends run this file, but only what the *receiver* checks counts: the sender may be a hostile process. So every
size, depth, dimension and dtype is checked before anything of that size is allocated, and nothing that is decoded is an
object with behaviour of the sender's: arrays are base `numpy.ndarray`, tensors base `torch.Tensor`.

A frame is `MAGIC, header bytes (u32), buffer bytes (u64), header, buffers`. The header is JSON
`{"m": message, "v": [value trees], "b": [bytes of each buffer]}`. In a tree None, booleans, numbers, strings and lists
stand for themselves (Python writes floats so that they read back exactly); all else is an object with a tag `t`.
"""

import json
import math
import socket
import struct
import sys
import time
from dataclasses import dataclass

import numpy as np

MAGIC = b"LSML"
PREFIX = struct.Struct("<4sIQ")
TEXT = json.JSONEncoder(separators=(",", ":"), check_circular=False)  # Encoder made the tree, and bounds its depth
DIMENSIONS = 8
DTYPES = "biufcSU"
STRING_ITEM = 4096  # bytes of one element of a string array
SIDE = 1 << 31  # longest dimension
EMPTY_SIDE = 1 << 20  # longest dimension of an empty array, which has no bytes to speak for it
CELLS = 1 << 34  # rows times columns of a sparse matrix
SPARSE_SIDE = 1 << 24  # its rows or columns: each may cost an index when it is converted
RANGE = 1_000_000  # length of a range
KEYS = 20_000  # keys of one value that are not strings: their hashes can be made to collide
INTEGER_DIGITS = 3_500  # hexadecimal digits of one integer; Python refuses to print much longer ones
JSON_INTEGER = 1 << 63
CHUNK = 1 << 16  # bytes that are read or written at once where there are no more
WIDE = 8  # bytes that an element takes at least once it is compared: as float64
SPREAD = 16  # a strided array may span this many times its own bytes, and is made contiguous beyond
TORCH_ITEMSIZE = {"bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8}
TORCH_ITEMSIZE |= {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16}


class WireError(ValueError):
    """A value that cannot cross, or a frame that is not one."""


@dataclass(frozen=True)
class WireLimits:
    """What one frame may hold. The memory that a hostile header can make us allocate is at most ~25 times its bytes."""

    header_bytes: int = 8 << 20
    buffer_bytes: int = 256 << 20
    wide_bytes: int = 2 << 30  # of the buffers, with at least WIDE bytes for each element
    depth: int = 64
    nodes: int = 2_000_000


# ---------------------------------------------------------------------------------------------------------- values


class Encoder:
    """Turns values into a tree and a list of buffers.

    `opaque(value)` gives the node for what cannot be copied (or raises WireError). With `layout`, strides, order,
    writability and requires_grad are kept.
    """

    def __init__(self, opaque=None, layout=False, limits=WireLimits()):
        self.opaque, self.layout, self.limits = opaque, layout, limits
        self.buffers = []
        self.bytes = self.wide = 0
        self.nodes = 0

    def encode(self, value, depth=0):
        """The node for `value`. Raises WireError if it is too large, too deep or of a kind that cannot cross."""
        self.nodes += 1
        if depth > self.limits.depth:
            raise WireError(f"the value is nested more than {self.limits.depth} deep")
        if self.nodes > self.limits.nodes:
            raise WireError(f"the value has more than {self.limits.nodes:,} elements outside arrays")
        if value is None or value is True or value is False:
            return value
        if isinstance(value, np.generic):
            return self._numpy_scalar(value)
        if isinstance(value, int):
            return self._integer(int(value))
        if isinstance(value, float):
            return float(value)
        if isinstance(value, str):
            return str.__str__(value)
        return self._tagged(value, depth + 1)

    def _tagged(self, value, depth):
        if isinstance(value, list):
            return [self.encode(item, depth) for item in list(value)]
        if isinstance(value, tuple):
            return {"t": "tuple", "v": [self.encode(item, depth) for item in tuple(value)]}
        if isinstance(value, dict):
            pairs = list(value.items())
            return {
                "t": "dict",
                "k": [self.encode(key, depth) for key, _ in pairs],
                "v": [self.encode(item, depth) for _, item in pairs],
            }
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, bytes | bytearray):
            return {"t": "bytes", "b": self._buffer(np.frombuffer(bytes(value), np.uint8))}
        if isinstance(value, complex):
            return {"t": "complex", "v": [float(value.real), float(value.imag)]}
        if isinstance(value, set | frozenset):
            return {"t": "set", "v": [self.encode(item, depth) for item in value]}
        if isinstance(value, range):
            return {"t": "range", "v": [self._integer(i) for i in (value.start, value.stop, value.step)]}
        if isinstance(value, slice):
            return {"t": "slice", "v": [self.encode(i, depth) for i in (value.start, value.stop, value.step)]}
        if value is Ellipsis:
            return {"t": "ellipsis"}
        if isinstance(value, np.dtype) and value.kind in DTYPES:
            return {"t": "dtype", "v": value.str}
        return self._library(value, depth)

    def _library(self, value, depth):
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Tensor):
            node = self._tensor(torch, value)
            if node is not None:
                return node
        if torch is not None and isinstance(value, torch.dtype):
            return {"t": "torch.dtype", "v": str(value).removeprefix("torch.")}
        sparse = sys.modules.get("scipy.sparse")
        if sparse is not None and sparse.issparse(value):
            return self._sparse(value, depth)
        if self.opaque is not None:
            return self.opaque(value)
        raise WireError(f"a {type(value).__name__} cannot cross the wire")

    def _integer(self, value):
        if -JSON_INTEGER <= value < JSON_INTEGER:
            return value
        if value.bit_length() > 4 * INTEGER_DIGITS:
            raise WireError(f"the integer has more than {4 * INTEGER_DIGITS:,} bits")
        return {"t": "int", "v": hex(value)}

    def _numpy_scalar(self, value):
        if value.dtype.kind not in DTYPES:
            return self._library(value, 0)
        return {"t": "scalar", "dtype": value.dtype.str, "v": value.tobytes().hex()}

    def _buffer(self, array, items=0):
        self.bytes += array.nbytes
        self.wide += max(array.nbytes, items * WIDE)
        if self.wide > self.limits.wide_bytes:
            raise WireError(f"the value is larger than {self.limits.wide_bytes >> 20} MiB, counted as float64")
        if self.bytes > self.limits.buffer_bytes:
            raise WireError(f"the value is larger than {self.limits.buffer_bytes >> 20} MiB")
        self.buffers.append(array.reshape(-1).view(np.uint8).data if array.nbytes else b"")
        return len(self.buffers) - 1

    def _array(self, value):
        array = np.asarray(value).view(np.ndarray)
        if array.dtype.kind not in DTYPES or array.dtype.itemsize == 0:
            return self._library(value, 0)
        if array.ndim > DIMENSIONS:
            raise WireError(f"the array has more than {DIMENSIONS} dimensions")
        if array.nbytes > self.limits.buffer_bytes:
            raise WireError(f"the array is larger than {self.limits.buffer_bytes >> 20} MiB")
        node = {"t": "array", "dtype": array.dtype.str, "shape": list(array.shape)}
        if self.layout:
            if not array.flags.c_contiguous:
                node["strides"] = list(array.strides)
            if not array.flags.writeable:
                node["frozen"] = True
        node["b"] = self._buffer(np.ascontiguousarray(array), array.size)
        return node

    def _tensor(self, torch, value):
        name = str(value.dtype).removeprefix("torch.")
        if value.layout != torch.strided or name not in TORCH_ITEMSIZE or value.is_quantized:
            return None
        if value.dim() > DIMENSIONS:
            raise WireError(f"the tensor has more than {DIMENSIONS} dimensions")
        if value.numel() * value.element_size() > self.limits.buffer_bytes:
            raise WireError(f"the tensor is larger than {self.limits.buffer_bytes >> 20} MiB")
        plain = value.detach().cpu().as_subclass(torch.Tensor).resolve_conj().resolve_neg()
        node = {"t": "tensor", "dtype": name, "shape": list(plain.shape)}
        if self.layout:
            if not plain.is_contiguous():
                node["strides"] = list(plain.stride())
            if value.requires_grad:
                node["grad"] = True
        flat = plain.contiguous().reshape(-1)
        raw = flat.view(torch.uint8).numpy() if flat.numel() else np.empty(0, np.uint8)
        node["b"] = self._buffer(raw, flat.numel())
        return node

    def _sparse(self, value, depth):
        if value.format not in ("csr", "csc", "coo"):
            value = value.tocsr()
        if value.ndim != 2:
            raise WireError("only two-dimensional sparse matrices can cross the wire")
        parts = (value.data, value.row, value.col) if value.format == "coo" else None
        parts = parts or (value.data, value.indices, value.indptr)
        return {
            "t": "sparse",
            "format": value.format,
            "array": type(value).__name__.endswith("_array"),
            "shape": [int(n) for n in value.shape],
            "v": [self.encode(part, depth) for part in parts],
        }


class Decoder:
    """Turns a tree and its buffers back into values, trusting neither. `resolve(node)` reads nodes that refer.

    `layout`: take strides, writability and requires_grad from the sender. A hostile one could have a few bytes spread
    over gigabytes, so only the student's process does.
    """

    def __init__(self, buffers, resolve=None, limits=WireLimits(), layout=False):
        self.buffers, self.resolve, self.limits, self.layout = buffers, resolve, limits, layout
        self.nodes = self.keys = self.wide = 0

    def decode(self, node, depth=0):
        """The value of a node. Raises WireError for anything malformed."""
        self.nodes += 1
        if depth > self.limits.depth or self.nodes > self.limits.nodes:
            raise WireError("the value is nested too deep or has too many elements")
        if isinstance(node, list):
            return [self.decode(item, depth + 1) for item in node]
        if isinstance(node, dict):
            tag = node.get("t")
            method = getattr(self, f"_{tag.replace('.', '_')}", None) if isinstance(tag, str) and tag in TAGS else None
            if method is not None:
                return method(node, depth + 1)
            if self.resolve is not None:
                return self.resolve(node)
            raise WireError("unknown kind of value")
        return node

    def _list(self, node, depth, count=None):
        items = node.get("v")
        if not isinstance(items, list) or (count is not None and len(items) != count):
            raise WireError("malformed value")
        return [self.decode(item, depth) for item in items]

    def _tuple(self, node, depth):
        return tuple(self._list(node, depth))

    def _set(self, node, depth):
        try:
            return set(self._countable(self._list(node, depth)))
        except TypeError:
            raise WireError("a set holds something unhashable") from None

    def _countable(self, keys):
        self.keys += sum(type(key) not in (str, bytes) for key in keys)
        if self.keys > KEYS:
            raise WireError(f"dicts and sets with more than {KEYS:,} keys that are not strings")
        return keys

    def _dict(self, node, depth):
        keys, values = node.get("k"), node.get("v")
        if not isinstance(keys, list) or not isinstance(values, list) or len(keys) != len(values):
            raise WireError("malformed dict")
        keys = self._countable([self.decode(key, depth) for key in keys])
        try:
            return dict(zip(keys, [self.decode(value, depth) for value in values], strict=True))
        except TypeError:
            raise WireError("a dict has an unhashable key") from None

    def _int(self, node, depth):
        text = node.get("v")
        if not isinstance(text, str) or len(text) > INTEGER_DIGITS + 3:
            raise WireError("malformed integer")
        try:
            return int(text, 16)
        except ValueError:
            raise WireError("malformed integer") from None

    def _complex(self, node, depth):
        real, imaginary = self._list(node, depth, 2)
        if type(real) is not float or type(imaginary) is not float:
            raise WireError("malformed complex number")
        return complex(real, imaginary)

    def _range(self, node, depth):
        items = self._list(node, depth, 3)
        if not all(type(item) is int for item in items) or items[2] == 0:
            raise WireError("malformed range")
        if not all(abs(item) < 1 << 62 for item in items) or len(range(*items)) > RANGE:
            raise WireError("the range is too long")
        return range(*items)

    def _slice(self, node, depth):
        return slice(*self._list(node, depth, 3))

    def _ellipsis(self, node, depth):
        return Ellipsis

    def _bytes(self, node, depth):
        return self._take(node).tobytes()

    def _dtype(self, node, depth, key="v"):
        text = node.get(key)
        if (
            not isinstance(text, str)
            or len(text) > 8
            or len(text) < 3
            or text[0] not in "<>|="
            or text[1] not in DTYPES
        ):
            raise WireError("malformed dtype")
        try:
            dtype = np.dtype(text)
        except (TypeError, ValueError):
            raise WireError("malformed dtype") from None
        if not 0 < dtype.itemsize <= STRING_ITEM:
            raise WireError("malformed dtype")
        return dtype

    def _torch_dtype(self, node, depth, key="v"):
        import torch

        name = node.get(key)
        if not isinstance(name, str) or name not in TORCH_ITEMSIZE:
            raise WireError("malformed dtype")
        return getattr(torch, name)

    def _scalar(self, node, depth):
        dtype, text = self._dtype(node, depth, "dtype"), node.get("v")
        if not isinstance(text, str) or len(text) != 2 * dtype.itemsize:
            raise WireError("malformed scalar")
        try:
            raw = np.frombuffer(bytes.fromhex(text), np.uint8)
        except ValueError:
            raise WireError("malformed scalar") from None
        if raw.nbytes != dtype.itemsize:
            raise WireError("malformed scalar")
        return sanitize(raw.view(dtype).reshape(()))[()]

    def _shape(self, node, itemsize):
        shape = node.get("shape")
        if not isinstance(shape, list) or len(shape) > DIMENSIONS:
            raise WireError("malformed shape")
        if not all(type(n) is int and 0 <= n < SIDE for n in shape):
            raise WireError("malformed shape")
        data = self._take(node)
        if math.prod(shape) * itemsize != data.nbytes or (not data.nbytes and max(shape) > EMPTY_SIDE):
            raise WireError("the shape does not fit the bytes")
        self.wide += math.prod(shape) * max(itemsize, WIDE)
        if self.wide > self.limits.wide_bytes:
            raise WireError(f"the value is larger than {self.limits.wide_bytes >> 20} MiB, counted as float64")
        if not self.layout and not LAYOUT.isdisjoint(node):
            raise WireError("malformed array")
        return shape, data

    def _take(self, node):
        index = node.get("b")
        if type(index) is not int or not 0 <= index < len(self.buffers) or self.buffers[index] is None:
            raise WireError("malformed buffer")
        data, self.buffers[index] = self.buffers[index], None  # each buffer belongs to one value
        return data

    def _array(self, node, depth):
        dtype = self._dtype(node, depth, "dtype")
        shape, data = self._shape(node, dtype.itemsize)
        array = sanitize(data.view(dtype).reshape(shape))
        if "strides" in node:
            array = _strided(array, node["strides"])
        if node.get("frozen"):
            array.flags.writeable = False
        return array

    def _tensor(self, node, depth):
        import torch

        dtype = self._torch_dtype(node, depth, "dtype")
        shape, data = self._shape(node, TORCH_ITEMSIZE[node["dtype"]])
        if dtype is torch.bool:
            data = (data != 0).view(np.uint8)
        tensor = torch.from_numpy(data).view(dtype).reshape(shape) if data.nbytes else torch.empty(shape, dtype=dtype)
        if "strides" in node:
            tensor = torch.empty_strided(shape, node["strides"], dtype=dtype).copy_(tensor)
        if node.get("grad") is True and (dtype.is_floating_point or dtype.is_complex):
            tensor.requires_grad_(True)
        return tensor

    def _sparse(self, node, depth):
        from scipy import sparse

        kind, parts, shape = node.get("format"), self._list(node, depth, 3), node.get("shape")
        sizes = (
            isinstance(shape, list) and len(shape) == 2 and all(type(n) is int and 0 <= n <= SPARSE_SIDE for n in shape)
        )
        arrays = all(type(part) is np.ndarray and part.ndim == 1 for part in parts)
        sizes = sizes and shape[0] * shape[1] <= CELLS
        if kind not in ("csr", "csc", "coo") or not sizes or not arrays or parts[0].dtype.kind not in "biufc":
            raise WireError("malformed sparse matrix")
        if any(part.dtype.kind != "i" for part in parts[1:]):
            raise WireError("malformed sparse matrix")
        make = getattr(sparse, kind + ("_array" if node.get("array") is True else "_matrix"))
        data, first, second = parts
        try:
            if kind == "coo":
                return make((data, (first, second)), shape=tuple(shape))
            matrix = make((data, first, second), shape=tuple(shape))
            matrix.check_format(full_check=True)  # scipy's C code trusts the indices from here on
            return matrix
        except (ValueError, IndexError, TypeError, OverflowError):
            raise WireError("malformed sparse matrix") from None


TAGS = ("tuple", "set", "dict", "int", "complex", "range", "slice", "ellipsis", "bytes", "dtype", "torch.dtype")
TAGS += ("scalar", "array", "tensor", "sparse")
LAYOUT = frozenset(("strides", "frozen", "grad"))


def sanitize(array):
    """Bit patterns that numpy never makes itself are undone: booleans other than 0 and 1, code points past Unicode."""
    if array.dtype.kind == "b":
        return np.asarray(array.view(np.uint8) != 0)
    if array.dtype.kind == "U" and array.size:
        points = np.ascontiguousarray(array).reshape(-1).view(array.dtype.byteorder.replace("|", "=") + "u4")
        if points.max() > sys.maxunicode:
            raise WireError("malformed string")
    return array


def _strided(array, strides):
    """The same values in memory laid out with `strides` (bytes), if they span no more than SPREAD times the bytes."""
    if not isinstance(strides, list) or len(strides) != array.ndim or not all(type(s) is int for s in strides):
        raise WireError("malformed strides")
    reach = [(n - 1) * s for n, s in zip(array.shape, strides, strict=True)] if array.size else [0]
    low, high = sum(min(0, r) for r in reach), sum(max(0, r) for r in reach)
    if not array.size or high - low > SPREAD * array.nbytes + 4096:
        return array
    memory = np.zeros(high - low + array.itemsize, np.uint8)
    view = np.ndarray(array.shape, array.dtype, memory, -low, tuple(strides))
    view[...] = array
    return view


# ---------------------------------------------------------------------------------------------------------- frames


def frame(message, *values, encoder=None):
    """One frame as a list of byte strings: a flat `message` (plain JSON) and `values`, which arrive as a list."""
    encoder = encoder or Encoder()
    return assemble(message, [encoder.encode(value) for value in values], encoder)


def assemble(message, trees, encoder):
    """The frame of trees that `encoder` has made."""
    header = {"m": message, "v": trees, "b": [len(part) for part in encoder.buffers]}
    text = TEXT.encode(header).encode("ascii")
    if len(text) > encoder.limits.header_bytes:
        raise WireError("the value is too large outside arrays; an array would fit")
    return [PREFIX.pack(MAGIC, len(text), encoder.bytes), text, *encoder.buffers]


def parse(text, buffer_bytes):
    """(message, trees, sizes of the buffers) of a header. Raises WireError."""
    try:
        header = json.loads(text.decode("ascii"))
    except (ValueError, RecursionError):
        raise WireError("the header is not JSON") from None
    if not isinstance(header, dict):
        raise WireError("malformed header")
    message, trees, sizes = header.get("m"), header.get("v"), header.get("b")
    if not isinstance(message, dict) or not isinstance(trees, list) or not isinstance(sizes, list):
        raise WireError("malformed header")
    if not all(type(n) is int and n >= 0 for n in sizes) or sum(sizes) != buffer_bytes or len(sizes) > 100_000:
        raise WireError("the buffers do not add up")
    return message, trees, sizes


class Stream:
    """Frames over a socket. `deadline` is on time.monotonic's clock; TimeoutError past it, EOFError when it closed."""

    def __init__(self, sock, limits=WireLimits()):
        self.sock, self.limits = sock, limits
        self._early = b""  # what came along with the bytes that were asked for

    def send(self, parts, deadline=None):
        """Write one frame."""
        small = b"".join(parts) if sum(map(len, parts)) < CHUNK else None
        try:
            for part in parts if small is None else [small]:
                if len(part):
                    self._arm(deadline)
                    self.sock.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            raise EOFError("the other side is gone") from None

    def receive(self, deadline=None, limits=None):
        """Read one frame: (message, trees, buffers as uint8 arrays)."""
        limits = limits or self.limits
        magic, header_bytes, buffer_bytes = PREFIX.unpack(self._text(PREFIX.size, deadline))
        if magic != MAGIC or header_bytes > limits.header_bytes or buffer_bytes > limits.buffer_bytes:
            raise WireError("not a frame, or one that is too large")
        message, trees, sizes = parse(self._text(header_bytes, deadline), buffer_bytes)
        return message, trees, [self._read(size, deadline) for size in sizes]

    def _arm(self, deadline):
        if deadline is None:
            if self.sock.gettimeout() is not None:
                self.sock.settimeout(None)
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.sock.settimeout(left)

    def _text(self, size, deadline):
        if size > len(self._early):
            return bytes(self._read(size, deadline))
        text, self._early = self._early[:size], self._early[size:]
        return text

    def _read(self, size, deadline):
        data = np.empty(size, np.uint8)  # not touched before its bytes arrive
        view, done = memoryview(data), min(size, len(self._early))
        view[:done], self._early = self._early[:done], self._early[done:]
        while done < size:
            self._arm(deadline)
            try:
                if size - done < CHUNK:  # most frames are small: one system call brings all of one
                    came = self.sock.recv(CHUNK)
                    count = min(len(came), size - done)
                    view[done : done + count], self._early = came[:count], came[count:]
                else:
                    count = self.sock.recv_into(view[done:])
            except ConnectionResetError:
                count = 0
            if not count:
                raise EOFError("the other side is gone")
            done += count
        return data


def memory_frame(parts, limits=WireLimits()):
    """What `Stream.receive` would give for these parts: for an exchange inside one process."""
    raw = b"".join(bytes(part) for part in parts)
    magic, header_bytes, buffer_bytes = PREFIX.unpack_from(raw)
    at = PREFIX.size + header_bytes
    if magic != MAGIC or buffer_bytes > limits.buffer_bytes:
        raise WireError("not a frame, or one that is too large")
    message, trees, sizes = parse(raw[PREFIX.size : at], buffer_bytes)
    buffers = []
    for size in sizes:
        buffers.append(np.frombuffer(bytearray(raw[at : at + size]), np.uint8))
        at += size
    return message, trees, buffers


def pair():
    """Two connected stream sockets."""
    return socket.socketpair()
