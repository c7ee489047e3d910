"""What crosses the wire arrives as it was: values, layouts and nothing of the sender's own."""

import concurrent.futures
import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from autograder.submission import wire


def across(value, layout=True):
    """The value as the other side would have it."""
    encoder = wire.Encoder(layout=layout)
    _, trees, buffers = wire.memory_frame(wire.frame({}, value, encoder=encoder))
    return wire.Decoder(buffers, layout=layout).decode(trees[0])


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(plain)
def test_plain_data_comes_back_equal_and_of_the_same_types(value):
    assert_same(across(value), value)


def assert_same(got, value):
    assert type(got) is type(value)
    if isinstance(value, list | tuple):
        assert len(got) == len(value)
        for one, other in zip(got, value, strict=True):
            assert_same(one, other)
    elif isinstance(value, dict):
        assert list(got) == list(value)
        for key in value:
            assert_same(got[key], value[key])
    elif isinstance(value, float):
        assert got.hex() == value.hex()
    else:
        assert got == value


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**13_999, -(3**5000), 2**63 - 1, -(2**63)])
def test_integers_of_any_size(value):
    assert across(value) == value


@pytest.mark.parametrize("value", [-0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, 0.1 + 0.2])
def test_floats_are_exact(value):
    assert across(value).hex() == value.hex()


def test_nan_stays_nan():
    assert math.isnan(across(math.nan)) and np.isnan(across(np.float32("nan")))


@pytest.mark.parametrize("value", ["\ud800", "a\udfffb", "\x00\x1b[31m", "𝔘", "\u202e"])
def test_strings_with_anything_in_them(value):
    assert across(value) == value


@pytest.mark.parametrize("value", [{1, 2}, frozenset({"a"}), range(3, 9, 2), slice(1, None, 2), ...])
def test_small_builtin_types(value):
    assert across(value) == value


@pytest.mark.parametrize("dtype", ["?", "i1", ">i4", "u8", "f2", "<f8", ">f8", "c8", "c16", "S3", "<U4", ">U4"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4), (1,) * 8])
def test_arrays_of_every_kind_and_shape(dtype, shape):
    rng = np.random.default_rng(0)
    value = rng.integers(0, 100, size=shape).astype(dtype)
    got = across(value)
    assert type(got) is np.ndarray and got.dtype == value.dtype and got.shape == value.shape
    assert got.tobytes() == value.tobytes()


LAYOUTS = {
    "transposed": lambda a: a.T,
    "every other": lambda a: a[::2, ::3],
    "reversed": lambda a: a[::-1, ::-1],
    "Fortran order": np.asfortranarray,
    "broadcast": lambda a: np.broadcast_to(a[0], (5, a.shape[1])),
    "windows": lambda a: np.lib.stride_tricks.sliding_window_view(a, 3, axis=1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_is_kept_on_the_way_in(layout):
    value = LAYOUTS[layout](np.arange(60.0).reshape(6, 10))
    got = across(value)
    assert got.strides == value.strides
    assert got.flags.writeable == value.flags.writeable
    np.testing.assert_array_equal(got, value)


def test_the_layout_is_dropped_on_the_way_out():
    got = across(np.arange(6.0).reshape(2, 3).T, layout=False)
    assert got.flags.c_contiguous and got.flags.writeable


def test_a_view_far_larger_than_its_data_is_made_contiguous():
    value = np.lib.stride_tricks.as_strided(np.zeros(10**6), shape=(2,), strides=(7_000_000,))
    assert across(value).strides == (8,)


def test_a_read_only_array_arrives_read_only():
    value = np.arange(3)
    value.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        across(value)[0] = 1


@pytest.mark.parametrize("dtype", sorted(wire.TORCH_ITEMSIZE))
def test_tensors_of_every_kind(dtype):
    value = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    got = across(value)
    assert type(got) is torch.Tensor and got.dtype == value.dtype
    assert torch.equal(got, value)


def test_tensor_layout_and_gradient_flag():
    value = torch.arange(6.0).reshape(2, 3).T.requires_grad_(True)
    got = across(value)
    assert got.stride() == value.stride() and got.requires_grad and got.is_leaf
    out = across(value * 2, layout=False)
    assert not out.requires_grad and out.is_contiguous()


def test_empty_and_scalar_tensors():
    assert across(torch.zeros(0, 3)).shape == (0, 3)
    assert across(torch.tensor(2.5)).item() == 2.5


class LoudArray(np.ndarray):
    def __eq__(self, other):
        return True


class LoudTensor(torch.Tensor):
    pass


class LoudInt(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


class LoudDict(dict):
    pass


@pytest.mark.parametrize(
    "value, kind",
    [
        (np.zeros(3).view(LoudArray), np.ndarray),
        (np.ma.masked_array([1.0, 2.0], [True, False]), np.ndarray),
        (np.matrix([[1.0]]), np.ndarray),
        (torch.zeros(3).as_subclass(LoudTensor), torch.Tensor),
        (torch.nn.Parameter(torch.zeros(2)), torch.Tensor),
        (LoudInt(3), int),
        (LoudDict(a=1), dict),
        (type("S", (str,), {})("x"), str),
        (type("F", (float,), {})(1.5), float),
        (type("L", (list,), {})([1]), list),
    ],
)
def test_subclasses_are_stripped(value, kind):
    assert type(across(value, layout=False)) is kind


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "dia", "lil", "bsr"])
@pytest.mark.parametrize("suffix", ["_matrix", "_array"])
def test_sparse_matrices(kind, suffix):
    dense = np.array([[0.0, 1.5, 0.0], [2.0, 0.0, 0.0]])
    value = getattr(sparse, kind + suffix)(dense)
    got = across(value)
    assert got.format == (kind if kind in ("csr", "csc", "coo") else "csr")
    assert type(got).__name__.endswith(suffix)
    np.testing.assert_array_equal(got.toarray(), dense)


def test_an_integer_that_python_would_not_print_is_refused():
    with pytest.raises(wire.WireError, match="bits"):
        across(2**20_000)


def test_dtypes_cross():
    assert across(np.dtype("float32")) == np.float32
    assert across(torch.bfloat16) is torch.bfloat16


def test_numpy_scalars_keep_their_type():
    for value in (np.float32(0.1), np.int8(-3), np.bool_(True), np.complex64(1j), np.str_("x")):
        got = across(value)
        assert type(got) is type(value) and got == value


@pytest.mark.parametrize(
    "value", [object(), np.array([object()]), lambda: 0, np.zeros(2, dtype="i4,f8"), np.datetime64("now")]
)
def test_what_cannot_be_copied_is_refused_by_name(value):
    with pytest.raises(wire.WireError, match="cannot cross"):
        across(value)


def test_a_list_that_holds_itself_is_refused():
    knot = []
    knot.append(knot)
    with pytest.raises(wire.WireError, match="deep"):
        across(knot)


def test_too_many_elements_and_too_many_bytes_are_refused():
    small = wire.WireLimits(nodes=100, buffer_bytes=1000)
    with pytest.raises(wire.WireError, match="100 elements"):
        wire.Encoder(limits=small).encode([0] * 200)
    with pytest.raises(wire.WireError, match="larger"):
        wire.Encoder(limits=small).encode(np.zeros(1000))
    with pytest.raises(wire.WireError, match="dimensions"):
        wire.Encoder().encode(np.zeros((1,) * 9))


def raw(value):
    return b"".join(bytes(part) for part in wire.frame({"of": "a test"}, value))


@pytest.mark.parametrize("size", [1, 5, 2_000, 30_000, 10**6], ids="{} numbers".format)
@pytest.mark.parametrize("piece", [1, 7, 4_096, 10**8], ids="{} bytes at a time".format)
def test_frames_are_read_whole_however_their_bytes_arrive(size, piece):
    # Small pieces of large frames would only take long.
    values = [np.arange(min(size, 1_000 * piece), dtype=float), "text", np.arange(3)]
    sent = b"".join(map(raw, values))
    ours, theirs = wire.pair()
    with ours, theirs, concurrent.futures.ThreadPoolExecutor(1) as sender:
        sending = sender.submit(lambda: [theirs.sendall(sent[at : at + piece]) for at in range(0, len(sent), piece)])
        stream = wire.Stream(ours)
        for value in values:
            message, (tree,), buffers = stream.receive(time.monotonic() + 10)
            got = wire.Decoder(buffers).decode(tree)
            assert message == {"of": "a test"} and np.array_equal(got, value), "bytes of a frame were lost or mixed"
        sending.result()


def test_half_a_frame_is_no_frame():
    ours, theirs = wire.pair()
    with ours, theirs:
        theirs.sendall(raw("text") + raw("text")[:-3])
        stream = wire.Stream(ours)
        stream.receive(time.monotonic() + 10)
        with pytest.raises(TimeoutError):
            stream.receive(time.monotonic() + 0.1)
        theirs.close()
        with pytest.raises(EOFError):
            stream.receive(time.monotonic() + 10)
