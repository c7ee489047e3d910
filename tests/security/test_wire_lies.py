"""Frames that a hostile process could send: each is refused, cheaply, before anything of its claimed size exists."""

import contextlib
import json
import socket
import threading
import time
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from autograder.submission import wire

EIGHT = [8]


def array(**lie):
    return {"t": "array", "dtype": "<f8", "shape": [1], "b": 0} | lie


def part(name, **lie):
    return {"t": "array", "dtype": "<i4", "shape": [2], "b": name} | lie


SPARSE = {"t": "sparse", "format": "csr", "shape": [2, 2], "v": [part(0), part(1), part(2)]}
LIES = {
    "2^70 elements": (array(shape=[2**70]), EIGHT),
    "2^31 by 2^31": (array(shape=[2**31, 2**31]), EIGHT),
    "negative dimension": (array(shape=[-1]), EIGHT),
    "negative dimensions that multiply well": (array(shape=[-1, -1]), EIGHT),
    "nine dimensions": (array(shape=[1] * 9), EIGHT),
    "a million dimensions": (array(shape=[1] * 1_000_000), EIGHT),
    "fractional dimension": (array(shape=[1.0]), EIGHT),
    "boolean dimension": (array(shape=[True]), EIGHT),
    "shape that is a number": (array(shape=1), EIGHT),
    "no shape": ({"t": "array", "dtype": "<f8", "b": 0}, EIGHT),
    "more elements than bytes": (array(shape=[2]), EIGHT),
    "fewer elements than bytes": (array(shape=[0]), EIGHT),
    "empty but enormous": (array(shape=[0, 2**30], b=0), [0]),
    "object dtype": (array(dtype="|O"), EIGHT),
    "object dtype with a size": (array(dtype="|O8"), EIGHT),
    "structured dtype": (array(dtype="i4,i4"), EIGHT),
    "void dtype": (array(dtype="|V8"), EIGHT),
    "date dtype": (array(dtype="<M8"), EIGHT),
    "dtype of no size": (array(dtype="|S0", shape=[5]), EIGHT),
    "dtype of enormous size": (array(dtype="|S99999999"), EIGHT),
    "dtype that numpy would evaluate": (array(dtype="({},)f8".format("9" * 5)), EIGHT),
    "dtype with a line break": (array(dtype="<f8\n"), EIGHT),
    "dtype that does not exist": (array(dtype="<f3"), EIGHT),
    "dtype that is a list": (array(dtype=[["a", "O"]]), EIGHT),
    "buffer that is not there": (array(b=1), EIGHT),
    "buffer with a negative number": (array(b=-1), EIGHT),
    "buffer named by a string": (array(b="0"), EIGHT),
    "buffer used twice": ([array(), array()], EIGHT),
    "strides that spread it": (array(shape=[2], strides=[64]), [16]),
    "a tensor's strides that spread 40 KB over 1.6 GB": (
        {"t": "tensor", "dtype": "float64", "shape": [5000], "strides": [40_000], "b": 0},
        [40_000],
    ),
    "an array that is frozen": (array(frozen=True), EIGHT),
    "a tensor with a gradient": ({"t": "tensor", "dtype": "float64", "shape": [1], "grad": True, "b": 0}, EIGHT),
    "sparse with a side of 2^31": (
        SPARSE | {"format": "csc", "shape": [2**31 - 1, 1], "v": [part(0, shape=[0]), part(1, shape=[0]), part(2)]},
        [0, 0, 8],
    ),
    "strides that reach outside": (array(strides=[2**40, 8]), EIGHT),
    "strides that are strings": (array(strides=["8"]), EIGHT),
    "code points past Unicode": (array(dtype="<U2"), EIGHT),
    "tensor of 2^40": ({"t": "tensor", "dtype": "float64", "shape": [2**40], "b": 0}, EIGHT),
    "tensor of a type that loads code": ({"t": "tensor", "dtype": "load", "shape": [1], "b": 0}, EIGHT),
    "tensor type that is a list": ({"t": "tensor", "dtype": ["float64"], "shape": [1], "b": 0}, EIGHT),
    "scalar longer than its type": ({"t": "scalar", "dtype": "<f8", "v": "00" * 9}, []),
    "scalar with blanks for bytes": ({"t": "scalar", "dtype": "<f8", "v": " " * 16}, []),
    "scalar of objects": ({"t": "scalar", "dtype": "|O", "v": "00" * 8}, []),
    "integer that is not": ({"t": "int", "v": "0xzz"}, []),
    "integer of a million digits": ({"t": "int", "v": "0x" + "f" * 1_000_000}, []),
    "complex of strings": ({"t": "complex", "v": ["1", "2"]}, []),
    "complex of three": ({"t": "complex", "v": [1.0, 2.0, 3.0]}, []),
    "range of 2^60": ({"t": "range", "v": [0, 2**60, 1]}, []),
    "range with no step": ({"t": "range", "v": [0, 1, 0]}, []),
    "dict with a list for a key": ({"t": "dict", "k": [[1]], "v": [1]}, []),
    "dict with fewer values": ({"t": "dict", "k": [1, 2], "v": [1]}, []),
    "dict whose keys are a dict": ({"t": "dict", "k": {"t": "x"}, "v": [1]}, []),
    "keys whose hashes collide": (
        {"t": "dict", "k": [i * (2**61 - 1) for i in range(100_000)], "v": [0] * 100_000},
        [],
    ),
    "set of lists": ({"t": "set", "v": [[1]]}, []),
    "tag that is a method": ({"t": "take"}, EIGHT),
    "tag that is private": ({"t": "_array"}, EIGHT),
    "tag that is a list": ({"t": ["array"]}, EIGHT),
    "no tag": ({}, []),
    "a handle where there are none": ({"t": "handle", "id": 1}, []),
    "sparse indices outside": (SPARSE, [8, 8, 8]),
    "sparse with arrays for shape": (SPARSE | {"shape": [array(), 2]}, [8, 8, 8]),
    "sparse too large": (SPARSE | {"shape": [2**31 - 1, 2**31 - 1]}, [8, 8, 8]),
    "sparse of an unknown kind": (SPARSE | {"format": "__class__"}, [8, 8, 8]),
    "sparse that is no triple": (SPARSE | {"v": [part(0)]}, [8]),
}


def decode(node, sizes, fill=0xFF):
    return wire.Decoder([np.full(size, fill, np.uint8) for size in sizes]).decode(node)


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_value_is_refused_before_it_is_made(lie):
    node, sizes = LIES[lie]
    tracemalloc.start()
    try:
        with pytest.raises(wire.WireError):
            decode(node, sizes)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_small_elements_count_as_what_they_become_when_they_are_compared():
    limits = wire.WireLimits(wide_bytes=8000)
    for items, fits in ((1000, True), (1001, False)):
        for node in (array(dtype="|i1", shape=[items]), {"t": "tensor", "dtype": "int8", "shape": [items], "b": 0}):
            with contextlib.nullcontext() if fits else pytest.raises(wire.WireError, match="counted as float64"):
                wire.Decoder([np.zeros(items, np.uint8)], limits=limits).decode(node)


def test_a_frame_larger_than_its_request_allows_is_refused_at_its_prefix():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(wire.PREFIX.pack(wire.MAGIC, 2, 1001))
        with pytest.raises(wire.WireError):
            wire.Stream(ours).receive(time.monotonic() + 30, wire.WireLimits(buffer_bytes=1000))


def test_booleans_with_other_bytes_become_ordinary_ones():
    got = decode(array(dtype="|b1", shape=[8]), EIGHT, fill=7)
    assert got.view(np.uint8).tolist() == [1] * 8
    tensor = decode({"t": "tensor", "dtype": "bool", "shape": [8], "b": 0}, EIGHT, fill=7)
    assert torch.equal(tensor.view(torch.uint8), torch.ones(8, dtype=torch.uint8))


def test_nothing_that_is_decoded_is_anything_but_a_base_type():
    for node, sizes in [
        (array(), EIGHT),
        ({"t": "tensor", "dtype": "float64", "shape": [1], "b": 0}, EIGHT),
    ]:
        assert type(decode(node, sizes, fill=0)) in (np.ndarray, torch.Tensor)
    empty = SPARSE | {"v": [part(0, shape=[0]), part(1, shape=[0]), part(2, shape=[3])]}
    assert type(decode(empty, [0, 0, 12], fill=0)) is sparse.csr_matrix


def test_deep_nesting_is_refused():
    tree = leaf = []
    for _ in range(500):
        leaf.append([])
        leaf = leaf[0]
    with pytest.raises(wire.WireError):
        decode(tree, [])


HEADERS = {
    "not JSON": b"\x80\x04\x95pickle",
    "not ASCII": '{"m": {"é": 1}}'.encode(),
    "a list": b"[]",
    "nothing": b"",
    "nested 200,000 deep": b"[" * 200_000,
    "an integer of 100,000 digits": b'{"m": {}, "v": [' + b"9" * 100_000 + b'], "b": []}',
    "no message": b'{"v": [], "b": []}',
    "values that are a dict": b'{"m": {}, "v": {}, "b": []}',
    "buffers that are negative": b'{"m": {}, "v": [], "b": [-8, 8]}',
    "buffers that do not add up": b'{"m": {}, "v": [], "b": [8]}',
    "buffers of half a byte": b'{"m": {}, "v": [], "b": [0.0]}',
    "a million buffers": json.dumps({"m": {}, "v": [], "b": [0] * 1_000_000}).encode(),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_malformed_header_is_refused(name):
    with pytest.raises(wire.WireError):
        wire.parse(HEADERS[name], 0)


PREFIXES = {
    "another protocol": b"HTTP/1.1 200 OK\r\n\r\n",
    "a header of 4 GiB": wire.PREFIX.pack(wire.MAGIC, 2**32 - 1, 0),
    "buffers of 16 EiB": wire.PREFIX.pack(wire.MAGIC, 2, 2**64 - 1),
}


@pytest.mark.parametrize("name", PREFIXES)
def test_a_lying_prefix_is_refused_at_once(name):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(PREFIXES[name])
        started = time.monotonic()
        with pytest.raises(wire.WireError):
            wire.Stream(ours).receive(time.monotonic() + 30)
        assert time.monotonic() - started < 20


def test_half_a_frame_waits_for_the_deadline_and_no_longer():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(wire.PREFIX.pack(wire.MAGIC, 100, 0) + b"{")
        with pytest.raises(TimeoutError):
            wire.Stream(ours).receive(time.monotonic() + 0.1)


def test_one_byte_at_a_time_does_not_stretch_the_deadline():
    ours, theirs = socket.socketpair()
    stop = threading.Event()

    def drip():
        while not stop.wait(0.02):
            theirs.sendall(b"L")

    thread = threading.Thread(target=drip)
    with ours, theirs:
        theirs.sendall(wire.PREFIX.pack(wire.MAGIC, 1_000_000, 0))
        thread.start()
        try:
            with pytest.raises(TimeoutError):
                wire.Stream(ours).receive(time.monotonic() + 0.3)
        finally:
            stop.set()
            thread.join()


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["t", "v", "k", "b", "dtype", "shape", "format", "strides", "id"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(junk, st.sampled_from([*wire.TAGS, "handle", ""]))
def test_any_json_is_decoded_or_refused(node, tag):
    if isinstance(node, dict):
        node["t"] = tag
    with contextlib.suppress(wire.WireError):
        decode(node, [0, 8, 24], fill=1)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_refused(data):
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(wire.MAGIC + data)
        with contextlib.suppress(wire.WireError, EOFError):
            wire.Stream(ours).receive(time.monotonic() + 5)
