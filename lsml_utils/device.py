"""Where tensors are computed: which device this machine has, what it means for sizes, and how to time and limit it.

Everything works on a machine with a CPU only. torch is imported on first use.
"""

import contextlib
import copy
import os
import random
import re
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace

from lsml_utils.errors import OneLineError
from lsml_utils.tables import Table, bytes_text

OVERRIDE = "LSML_DEVICE"


class DeviceError(OneLineError, RuntimeError):
    """A device was asked for that this machine does not have."""


def best() -> str:
    """The fastest device here: "cuda", "mps" (Apple) or "cpu". The environment variable LSML_DEVICE overrides it.

    Raises DeviceError where LSML_DEVICE names a device that is not there.

    >>> best() in ("cuda", "mps", "cpu") or best().startswith("cuda:")
    True
    """
    asked = os.environ.get(OVERRIDE, "").strip().lower()
    if not asked:
        return "cuda" if _has("cuda") else "mps" if _has("mps") else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", asked):
        raise DeviceError(f"{OVERRIDE}={asked}: it must be cpu, mps, cuda or cuda:N.")
    kind, _, number = asked.partition(":")
    if not _has(kind) or int(number or 0) >= _count(kind):
        raise DeviceError(f"{OVERRIDE}={asked}, but torch sees no such device here; unset it to use {_fallback()}.")
    return asked


def _has(kind: str) -> bool:
    import torch

    if kind == "cuda":
        return torch.cuda.is_available()
    if kind == "mps":
        return torch.backends.mps.is_available()
    return kind == "cpu"


def _count(kind: str) -> int:
    import torch

    return torch.cuda.device_count() if kind == "cuda" else 1


def _fallback() -> str:
    return "cuda" if _has("cuda") else "mps" if _has("mps") else "cpu"


@dataclass(frozen=True)
class Description:
    """What this machine is.

    memory, free: bytes on the device (for a CPU: of the machine). cores: CPU cores this process may use. capability:
    CUDA's compute capability such as "9.0", else None. advice: what follows for batch sizes.
    """

    device: str
    name: str
    memory: int
    free: int
    cores: int
    capability: str | None
    software: str
    advice: tuple[str, ...]

    def _table(self) -> Table:
        rows = [
            ("device", self.device),
            ("name", self.name),
            ("memory", f"{bytes_text(self.memory)}, {bytes_text(self.free)} free"),
            ("CPU cores", str(self.cores)),
        ]
        if self.capability:
            rows.append(("compute capability", self.capability))
        return Table(("this machine", ""), [*rows, ("software", self.software)], notes=self.advice)

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


def describe(device: str | None = None) -> Description:
    """What the device is and what that means for batch sizes; shows as a table. device: as `best()` names them.

    >>> describe("cpu").cores >= 1
    True
    """
    import platform

    import psutil
    import torch

    device = device or best()
    software = (
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.system()} {platform.machine()}"
    )
    cores = _cores()
    machine = psutil.virtual_memory()
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        free, memory = torch.cuda.mem_get_info(device)
        capability = f"{properties.major}.{properties.minor}"
        name = f"{properties.name} ({properties.multi_processor_count} multiprocessors)"
        software += f", CUDA {torch.version.cuda}"
    elif device == "mps":
        memory = torch.mps.recommended_max_memory()
        free, capability = max(0, memory - torch.mps.driver_allocated_memory()), None
        name = f"{platform.processor() or 'Apple'} GPU (memory shared with the CPU)"
    else:
        memory, free, capability = machine.total, machine.available, None
        name = f"{_processor()}, {torch.get_num_threads()} torch threads"
    advice = _advice(device, free, amp_dtype(device))
    return Description(device, name, memory, free, cores, capability, software, advice)


def _cores() -> int:
    """Cores that this process may run on, where the system tells; all of them otherwise."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    import platform

    try:  # Linux: platform.processor() is often empty there
        with open("/proc/cpuinfo") as lines:
            found = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
    except OSError:
        found = None
    return found or platform.processor() or platform.machine()


def _advice(device: str, free: int, dtype) -> tuple[str, ...]:
    floats = int(free * 0.5 / 4)
    photograph = 3 * 224 * 224 * 4 * 50  # bytes; its activations in a small convolutional net, forward and backward
    batch = _rounded(free * 0.5 / photograph)
    fits = (
        f"Half of the free memory holds {floats:.2g} float32 numbers, or a batch of about {batch} photographs "
        "of 224 × 224 with 50 times their size in activations."
    )
    if device == "cpu":
        use = "On a CPU a batch pays until it fills the cores and the cache: try 32 to 256, and expect little above."
    else:
        use = f"A GPU idles under small batches: double the batch until throughput stops rising. Use {str(dtype)[6:]}."
    return fits, use


def _rounded(count: float) -> int:
    """The power of two below."""
    return 1 << max(0, int(count).bit_length() - 1)


@dataclass
class Timing:
    """seconds: how long the block took, once it has ended."""

    seconds: float | None = None

    def __repr__(self) -> str:
        from lsml_utils.tables import seconds_text

        return "still running" if self.seconds is None else seconds_text(self.seconds)


@contextlib.contextmanager
def timer(device: str | None = None) -> Iterator[Timing]:
    """Seconds that a block takes, work still queued on the device included.

    On CUDA it is measured between two events on the current stream, and waits for the second; on MPS and CPU by the
    wall clock, after the queue is empty. device: where the work runs, `best()` by default.

    >>> with timer("cpu") as took:
    ...     total = sum(range(1000))
    >>> took.seconds > 0
    True
    """
    device = device or best()
    timing = Timing()
    if device.startswith("cuda"):
        import torch

        with torch.cuda.device(device):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            begin.record()
            yield timing
            end.record()
            end.synchronize()
            timing.seconds = begin.elapsed_time(end) / 1000
        return
    synchronize(device)
    begin = time.perf_counter()
    yield timing
    synchronize(device)
    timing.seconds = time.perf_counter() - begin


def synchronize(device: str | None = None) -> None:
    """Wait until the device has done all that was asked of it. A CPU always has. device: `best()` by default.

    >>> synchronize("cpu")
    """
    device = device or best()
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
    elif device == "mps":
        import torch

        torch.mps.synchronize()


@dataclass
class Memory:
    """bytes: the most memory that the block held at once, above what was held before it. measured: how."""

    measured: str
    bytes: int | None = None

    def __repr__(self) -> str:
        return "still running" if self.bytes is None else f"{bytes_text(self.bytes)} ({self.measured})"


@contextlib.contextmanager
def peak_memory(device: str | None = None) -> Iterator[Memory]:
    """Peak memory of a block in bytes, above what was held before it. device: `best()` by default.

    CUDA: what torch's allocator handed out, exact. CPU and MPS: the process's resident memory (on MPS, torch's
    allocations), sampled every 2 ms, so a shorter peak can be missed and memory that is reused does not show.

    >>> with peak_memory("cpu") as peak:
    ...     data = bytearray(50_000_000)
    >>> peak.bytes > 20_000_000
    True
    """
    device = device or best()
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        memory = Memory("allocated by torch on the GPU")
        try:
            yield memory
        finally:
            torch.cuda.synchronize(device)
            memory.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    if device == "mps":
        import torch

        memory, read = Memory("allocated by torch on the GPU, sampled"), torch.mps.current_allocated_memory
    else:
        import psutil

        process = psutil.Process()
        memory, read = Memory("resident memory of this process, sampled"), lambda: process.memory_info().rss
    before = highest = read()
    done = threading.Event()

    def watch():
        nonlocal highest
        while not done.wait(0.002):
            highest = max(highest, read())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield memory
    finally:
        highest = max(highest, read())
        done.set()
        watcher.join()
        memory.bytes = highest - before


def amp_dtype(device: str | None = None):
    """The torch dtype for mixed precision on a device.

    bfloat16 on CUDA from compute capability 8.0 on, float16 on older GPUs; bfloat16 on MPS where this macOS and torch
    have it; else float32 (that is, none), as on a CPU, where half precision is rarely faster.

    >>> amp_dtype("cpu")
    torch.float32
    """
    import torch

    device = device or best()
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    return _mps_dtype() if device == "mps" else torch.float32


def _mps_dtype():
    """What a product under autocast really comes out in: support came with several versions of macOS and of torch."""
    import torch

    try:
        with warnings.catch_warnings(), torch.autocast("mps", dtype=torch.bfloat16):
            warnings.simplefilter("ignore")
            one = torch.ones(1, 1, device="mps")
            return (one @ one).dtype
    except (RuntimeError, TypeError):
        return torch.float32


def autocast(device: str | None = None, dtype=None):
    """A context in which torch runs matrix products in `amp_dtype(device)` and keeps the rest in float32.

    Gradients in float16 underflow: with it, scale the loss by `grad_scaler(device)`. bfloat16 needs none. On a CPU the
    context does nothing unless a dtype is given.

    >>> import torch
    >>> with autocast("cpu"):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.float32
    """
    import torch

    device = device or best()
    dtype = dtype or amp_dtype(device)
    kind = device.partition(":")[0]
    if dtype == torch.float32:
        return torch.autocast(kind, enabled=False)
    return torch.autocast(kind, dtype=dtype)


def grad_scaler(device: str | None = None):
    """The gradient scaler that belongs to `autocast(device)`: it scales for float16 and passes all else through.

    >>> grad_scaler("cpu").is_enabled()
    False
    """
    import torch

    device = device or best()
    return torch.amp.GradScaler(device.partition(":")[0], enabled=amp_dtype(device) == torch.float16)


def seed_everything(seed: int, deterministic: bool = False) -> None:
    """Seed Python's random, numpy's global generator and torch on every device. seed: 0 <= seed < 2**32.

    deterministic: also make torch choose kernels that give the same bits on every run, and fail where it has none.
    That costs speed (often 5 to 30 % on a GPU, more for scatter and upsampling; measure it for
    your own step) and some operations. It never makes two kinds of device, or two numbers of threads, agree bit for
    bit. Call it before the first CUDA operation: cuBLAS reads its setting once.

    >>> seed_everything(0)
    >>> first = random.random()
    >>> seed_everything(0)
    >>> random.random() == first
    True
    """
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)  # every device's generator
    _deterministic(deterministic)


def _deterministic(on: bool) -> None:
    import torch

    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(on)
    torch.backends.cudnn.deterministic = on
    torch.backends.cudnn.benchmark = False


class OutOfMemory(OneLineError, MemoryError):
    """A batch did not fit. next_batch_size: what to try instead, or None where even one example does not fit."""

    def __init__(self, message: str, next_batch_size: int | None):
        super().__init__(message)
        self.next_batch_size = next_batch_size


@contextlib.contextmanager
def catch_oom(batch_size: int) -> Iterator[None]:
    """Turn an out-of-memory error of the block, on any device, into one line with the next batch size to try.

    batch_size: examples in the batch that the block runs. Raises OutOfMemory, whose next_batch_size is half of it.

    >>> with catch_oom(batch_size=64):
    ...     raise MemoryError
    Traceback (most recent call last):
    lsml_utils.device.OutOfMemory: batch_size=64 does not fit into this machine's memory. Try batch_size=32.
    """
    try:
        yield
        return
    except Exception as error:
        if not _is_oom(error):
            raise
        detail = _oom_detail(error)
        # The error lives on as the context of ours, and its frames with the tensors of the failed step: empty them.
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
    where = _release()
    smaller = batch_size // 2 if batch_size > 1 else None
    advice = (
        f"Try batch_size={smaller}."
        if smaller
        else "Not even one example fits: take a smaller model or shorter inputs, or recompute activations."
    )
    raise OutOfMemory(f"batch_size={batch_size} does not fit into {where}{detail}. {advice}", smaller)


def _is_oom(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def _oom_detail(error: Exception) -> str:
    size = r"([\d.]+ ?(?:[KMGTPE]i?B|bytes))"
    wanted = re.search(rf"(?:allocate|allocating|Unable to allocate) {size}", str(error), re.IGNORECASE)
    free = re.search(rf"{size} is free", str(error))
    parts = [f"{found[1]} {what}" for found, what in ((wanted, "were asked for"), (free, "free")) if found]
    return f" ({', '.join(parts)})" if parts else ""


def _release() -> str:
    """Give cached device memory back; the name of the memory that ran out."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        return "the GPU's memory"
    if torch is not None and torch.backends.mps.is_available():
        torch.mps.empty_cache()
    return "this machine's memory"


def move(obj, device: str | None = None):
    """The same structure with its tensors (and modules) on a device; arrays, numbers and text stay as they are.

    obj: tensors in dicts, lists, tuples, named tuples and dataclasses, nested as you like. device: `best()` by
    default. A module is moved in place, as torch does. On MPS, float64 becomes float32: it has no float64.

    >>> import torch
    >>> move({"x": [torch.ones(2), 3], "name": "a"}, "cpu")
    {'x': [tensor([1., 1.]), 3], 'name': 'a'}
    """
    import torch

    device = device or best()
    if isinstance(obj, torch.Tensor):
        if device == "mps" and obj.dtype == torch.float64:
            obj = obj.float()
        return obj.to(device, non_blocking=obj.is_pinned() if obj.device.type == "cpu" else False)
    if isinstance(obj, torch.nn.Module):
        return obj.float().to(device) if device == "mps" and _has_float64(obj) else obj.to(device)
    if isinstance(obj, Mapping):
        moved = copy.copy(obj)  # keeps an OrderedDict's or a defaultdict's kind
        for key, value in obj.items():
            moved[key] = move(value, device)
        return moved
    if isinstance(obj, tuple) and hasattr(obj, "_fields"):
        return type(obj)(*(move(value, device) for value in obj))
    if isinstance(obj, list | tuple):
        return type(obj)(move(value, device) for value in obj)
    if is_dataclass(obj) and not isinstance(obj, type):
        return replace(obj, **{f.name: move(getattr(obj, f.name), device) for f in fields(obj) if f.init})
    return obj


def _has_float64(module) -> bool:
    import torch

    return any(parameter.dtype == torch.float64 for parameter in module.parameters())
