"""Device helpers. What needs a GPU is skipped, with the reason, where there is none."""

import random
import re
import time
from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lsml_utils import device
from lsml_utils.device import DeviceError, OutOfMemory

HAS_CUDA = torch.cuda.is_available()
needs_cuda = pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA GPU, and torch sees none here")
needs_mps = pytest.mark.skipif(not torch.backends.mps.is_available(), reason="needs Apple's MPS, and it is not here")
CUDA = pytest.param("cuda", marks=needs_cuda)
MPS = pytest.param("mps", marks=needs_mps)
each_device = pytest.mark.parametrize("where", ["cpu", CUDA, MPS])


@pytest.fixture(autouse=True)
def no_override(monkeypatch):
    monkeypatch.delenv("LSML_DEVICE", raising=False)


class TestBest:
    @pytest.mark.parametrize(
        ("there", "expected"), [({"cuda", "mps"}, "cuda"), ({"mps"}, "mps"), (set(), "cpu"), ({"cuda"}, "cuda")]
    )
    def test_prefers_the_fastest(self, monkeypatch, there, expected):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in there)
        assert device.best() == expected

    def test_the_variable_overrides(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        for asked in ("cpu", "cuda:1", " CUDA "):
            monkeypatch.setenv("LSML_DEVICE", asked)
            assert device.best() == asked.strip().lower()

    @pytest.mark.parametrize("asked", ["tpu", "cuda:x", "cuda:2", "mps:1", "gpu"])
    def test_a_device_that_is_not_there_is_told_in_one_line(self, monkeypatch, asked):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setenv("LSML_DEVICE", asked)
        with pytest.raises(DeviceError, match=f"^LSML_DEVICE={asked}[:,]") as caught:
            device.best()
        assert "\n" not in str(caught.value)


@each_device
def test_describe_says_what_the_machine_is(where):
    found = device.describe(where)
    assert found.device == where and found.cores >= 1 and found.memory >= found.free > 0
    assert (found.capability is not None) == (where == "cuda")
    assert "batch" in " ".join(found.advice)
    assert found.name in repr(found) and "<table" in found._repr_html_()


def test_the_timer_measures_the_block():
    with device.timer("cpu") as took:
        time.sleep(0.05)
    assert took.seconds > 0.045


@each_device
def test_the_timer_waits_for_the_work(where):
    """Queued work counts: the time of many products grows with their number."""
    if where == "cpu":
        pytest.skip("a CPU queues nothing")
    A = torch.randn(2048, 2048, device=where)

    def seconds(times):
        with device.timer(where) as took:
            for _ in range(times):
                A @ A
        return took.seconds

    seconds(5)
    assert min(seconds(200) for _ in range(3)) > 3 * min(seconds(10) for _ in range(3)) > 0


@each_device
def test_peak_memory_counts_what_was_freed_too(where):
    # 128 MB in float32; a CPU's allocator may hand out the last of it again, so half is asked for
    with device.peak_memory(where) as peak:
        held = torch.ones(32_000_000, device=where)
        del held
    assert peak.bytes > 60e6
    assert "MiB" in repr(peak)


@needs_cuda
def test_peak_memory_is_exact_on_cuda():
    with device.peak_memory("cuda") as peak:
        torch.ones(2**20, device="cuda")
    assert peak.bytes == 2**22


@each_device
def test_autocast_uses_the_devices_dtype(where):
    A = torch.ones(4, 4, device=where)
    with device.autocast(where):
        assert (A @ A).dtype == device.amp_dtype(where)
    assert device.grad_scaler(where).is_enabled() == (device.amp_dtype(where) == torch.float16)


def test_autocast_takes_a_dtype_on_a_cpu():
    A = torch.ones(4, 4)
    with device.autocast("cpu", dtype=torch.bfloat16):
        assert (A @ A).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16), ((6, 1), torch.float16)],
)
def test_the_dtype_follows_the_gpus_generation(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda which=None: capability)
    assert device.amp_dtype("cuda") == expected


@each_device
def test_seeding_repeats_every_generator(where):
    def draw():
        device.seed_everything(7)
        return random.random(), np.random.rand(), torch.rand(3, device=where).tolist()

    assert draw() == draw()


def test_deterministic_seeding_switches_torch_and_back():
    try:
        device.seed_everything(0, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        device.seed_everything(0)
    assert not torch.are_deterministic_algorithms_enabled()


class TestOutOfMemory:
    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ... 1.50 GiB is free."),
            RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
        ],
    )
    def test_becomes_one_line_with_the_next_size(self, error):
        with (
            pytest.raises(OutOfMemory, match=r"batch_size=48 does not fit.*Try batch_size=24\.") as caught,
            device.catch_oom(48),
        ):
            raise error
        assert caught.value.next_batch_size == 24 and "\n" not in str(caught.value)

    def test_the_sizes_are_told_where_the_error_has_them(self):
        text = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 8 GiB, of which 1.50 GiB is free."
        with pytest.raises(OutOfMemory, match=r"\(2\.00 GiB were asked for, 1\.50 GiB free\)"), device.catch_oom(2):
            raise torch.OutOfMemoryError(text)

    def test_numpys_own_error_counts(self):
        with pytest.raises(OutOfMemory, match=r"2\.00 EiB were asked for"), device.catch_oom(2):
            np.ones((2**30, 2**28))

    def test_torchs_own_error_on_a_cpu_counts(self):
        with pytest.raises(OutOfMemory), device.catch_oom(2):
            torch.empty(2**58)

    def test_not_even_one_example(self):
        with pytest.raises(OutOfMemory, match="Not even one example fits") as caught, device.catch_oom(1):
            raise MemoryError
        assert caught.value.next_batch_size is None

    def test_other_errors_go_through(self):
        with pytest.raises(RuntimeError, match="shape"), device.catch_oom(4):
            raise RuntimeError("shape mismatch")

    def test_the_failed_steps_data_is_let_go(self):
        """A retry with half the batch must not find the first one's tensors still held by the error's traceback."""
        import gc
        import weakref

        class Batch:
            pass

        held = []

        def step():
            batch = Batch()
            held.append(weakref.ref(batch))
            raise MemoryError

        try:
            with device.catch_oom(4):
                step()
        except OutOfMemory as error:
            gc.collect()
            assert held[0]() is None and error.__cause__ is None

    @needs_cuda
    def test_a_gpu_that_is_full(self):
        free, _ = torch.cuda.mem_get_info()
        with pytest.raises(OutOfMemory, match="the GPU's memory") as caught, device.catch_oom(batch_size=1024):
            torch.empty(2 * free, dtype=torch.uint8, device="cuda")
        assert caught.value.next_batch_size == 512


Pair = namedtuple("Pair", "x y")


@dataclass(frozen=True)
class Batch:
    x: torch.Tensor
    name: str


@each_device
def test_move_keeps_the_structure(where):
    ones = torch.ones(2)
    mixed = {
        "list": [ones, 1],
        "tuple": (ones, "a"),
        "pair": Pair(ones, None),
        "batch": Batch(ones, "b"),
        "n": np.ones(2),
    }
    moved = device.move(mixed, where)
    found = [moved["list"][0], moved["tuple"][0], moved["pair"].x, moved["batch"].x]
    assert all(tensor.device.type == where for tensor in found)
    assert isinstance(moved["pair"], Pair) and isinstance(moved["batch"], Batch) and moved["tuple"][1] == "a"
    assert moved["n"] is mixed["n"] and mixed["list"][0] is ones


@each_device
def test_move_takes_modules(where):
    model = device.move(torch.nn.Linear(2, 1), where)
    assert next(model.parameters()).device.type == where


def test_move_keeps_the_kind_of_a_mapping():
    moved = device.move(OrderedDict(a=torch.ones(1)), "cpu")
    assert isinstance(moved, OrderedDict)


@needs_mps
def test_move_makes_float64_float32_on_mps():
    assert device.move(torch.ones(2, dtype=torch.float64), "mps").dtype == torch.float32


def test_timing_shows_a_unit():
    with device.timer("cpu") as took:
        assert repr(took) == "still running"
    assert re.fullmatch(r"[\d.]+ (ns|µs|ms|s)", repr(took))
