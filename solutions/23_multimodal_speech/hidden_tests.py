"""Hidden tests of module 23. A docstring is the sentence that a student reads when the test fails.

Oracles: the Fourier sum itself and scipy's transform; all paths one by one and torch's CTC; torch's cross-entropy,
convolutions and attention, with their autograd; edits by recursion. Tensors: 4,000 eps of max(1, largest entry), which
is 1e-12 in float64 and 5e-4 in float32; what is wrong by definition is off by 1e-2 and more.
"""

# Helpers run where `student` is defined, maybe under another Python.
# ruff: noqa: F821, B905

import functools
import itertools
import math

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F
from torch import nn

from autograder.judging import Comparison, Contract, close, numbers, one_of, raises_student, stepped, student_side
from autograder.judging.arguments import Argument
from autograder.judging.closeness import noted

DTYPES = (torch.float64, torch.float32)


def near(got, expected, dtype=torch.float64, typed=False, scale=1.0):
    """Whether tensors, or lists of them, agree to 4,000 eps of max(1, largest entry)."""
    if isinstance(expected, list | tuple):
        if not isinstance(got, list | tuple) or len(got) != len(expected):
            return close(got, list(expected))
        pairs = zip(got, expected, strict=True)
        return next((c for c in (near(*pair, dtype, typed, scale) for pair in pairs) if not c), close(0, 0))
    expected = torch.as_tensor(expected).detach()
    finite = expected[torch.isfinite(expected)]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    atol = 4000 * torch.finfo(dtype).eps * scale * max(1.0, largest)
    return close(got, expected.to(dtype) if typed else expected, atol=atol, typed=typed)


def normal(rng, *shape, dtype=torch.float64):
    return torch.from_numpy(rng.standard_normal(shape)).to(dtype)


def told(why):
    """Whether a helper found nothing; what it found, in its words, for the student."""
    why = why if isinstance(why, str) else "it could not be looked at"
    return close(why, "") if not why else noted(Comparison(False, why, "", why, f"{why[:1].upper()}{why[1:]}."))


def strided(x):
    """The same numbers, each second entry of a larger tensor, in another order of axes."""
    wide = torch.zeros([*x.shape, 2], dtype=x.dtype)
    wide[..., 0] = x
    return wide[..., 0] if x.ndim < 2 else wide.transpose(0, 1).contiguous().transpose(0, 1)[..., 0]


def tensors(*shape, draw=None):
    """float64 tensors of this shape; all float32; views in steps; with zeros among them."""
    plain = draw or (lambda rng: normal(rng, *shape))
    forms = {
        "float32": lambda rng: plain(rng).float(),
        "in steps": lambda rng: strided(plain(rng)),
        "zeros among them": lambda rng: plain(rng) * torch.from_numpy(rng.integers(0, 2, shape)),
    }
    if draw:
        forms.pop("zeros among them")
    return Argument(plain, forms, frozenset(), lambda value: value.double())


def name_of(dtype):
    return str(dtype).removeprefix("torch.")


# -------------------------------------------------------------------------------------------------------- log_mel


def triangles(rate, window, filters):
    """The filters, one number at a time: (filters, bins)."""
    top = 2595 * math.log10(1 + rate / 2 / 700)
    b = [700 * (10 ** (top * k / (filters + 1) / 2595) - 1) for k in range(filters + 2)]
    table = np.zeros((filters, window // 2 + 1))
    for j, k in np.ndindex(table.shape):
        f = k * rate / window
        table[j, k] = max(0.0, min((f - b[j]) / (b[j + 1] - b[j]), (b[j + 2] - f) / (b[j + 2] - b[j + 1])))
    return table


def energies(x, rate, window=400, hop=160, filters=40):
    """The energies by the sums of the definition, (T, filters), and the power of each frame, (T, 1)."""
    x = np.asarray(x, np.float64)
    starts = range(0, len(x) - window + 1, hop)
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * j / window) for j in range(window)]
    frames = np.array([x[s : s + window] * hann for s in starts]).reshape(-1, window)
    turns = np.outer(np.arange(window), np.arange(window // 2 + 1)) % window / window
    power = (frames @ np.cos(2 * np.pi * turns)) ** 2 + (frames @ np.sin(2 * np.pi * turns)) ** 2
    return power @ triangles(rate, window, filters).T, power.sum(axis=1, keepdims=True)


def same_mel(got, x, rate, window=400, hop=160, filters=40, floor=1e-10, typed=False, loose=1.0):
    """Whether the energies are right to what the docstring says, and an array of float64 comes back."""
    energy, power = energies(x, rate, window, hop, filters)
    expected = np.maximum(energy, floor)
    # A logarithm that is right to an ulp, of a number up to 140, is turned back to 140 eps of itself.
    shape = close(got, np.zeros_like(expected), atol=np.inf, typed=typed)
    with np.errstate(over="ignore"):
        return shape and close(np.exp(got), expected, atol=loose * (1.1e-9 * expected + 1.1e-12 * power))


@pytest.mark.exercise("log_mel", weight=3, core=True, hint=2)
def test_mel_of_noise(submission, rng):
    """Window, power, triangles that are even in mel, and the natural logarithm: the energies are those of the sums."""
    for rate, window, hop, filters in ((16_000, 400, 160, 40), (8_000, 64, 32, 10), (1_000, 32, 8, 5)):
        x = rng.standard_normal(3 * window)
        assert same_mel(submission.log_mel(x, rate, window, hop, filters), x, rate, window, hop, filters, loose=1e3)


@pytest.mark.exercise("log_mel", weight=2, core=True, hint=1)
def test_mel_frames(submission, rng):
    """There are 1 + (n - window) // hop frames, none where n < window, and each begins hop samples after the last."""
    for n, window, hop in (
        (64, 64, 10),
        (63, 64, 10),
        (73, 64, 10),
        (74, 64, 10),
        (75, 64, 10),
        (0, 8, 2),
        (200, 64, 65),
    ):
        x = rng.standard_normal(n)
        assert same_mel(submission.log_mel(x, 8_000, window, hop, 3), x, 8_000, window, hop, 3, loose=1e3)
    x = np.zeros(1000)
    x[777] = 1.0  # a click is in the frames that hold it, and in no other
    got = np.asarray(submission.log_mel(x, 8_000, 100, 50, 4))
    assert close(np.flatnonzero(got.max(axis=1) > -20), [14, 15])


@pytest.mark.exercise("log_mel", weight=2, hint=2)
def test_mel_of_a_tone(submission, rng):
    """A tone is loudest in the filter around its frequency, and a wave twice as strong has log 4 more."""
    top = 2595 * math.log10(1 + 8000 / 700)
    j = int(rng.integers(10, 38))
    frequency = 700 * (10 ** (top * (j + 1) / 41 / 2595) - 1)
    x = np.sin(2 * np.pi * frequency * np.arange(1600) / 16_000)
    got = np.asarray(submission.log_mel(x, 16_000))
    assert close(got.argmax(axis=1), np.full(8, j))
    noise = rng.standard_normal(1600)
    gain = np.asarray(submission.log_mel(2 * noise, 16_000)) - np.asarray(submission.log_mel(noise, 16_000))
    assert close(gain, np.full((8, 40), math.log(4)), atol=1e-6)


@pytest.mark.exercise("log_mel", weight=2, hint=2)
def test_mel_beside_scipy(submission, rng):
    """scipy's short-time transform, times the same triangles, has the same logarithms."""
    x = rng.standard_normal(4_000)
    hann = scipy.signal.windows.hann(400, sym=False)
    transform = scipy.signal.ShortTimeFFT(hann, hop=160, fs=16_000, scale_to=None)
    power = np.abs(transform.stft(np.concatenate([np.zeros(120), x]), p0=2, p1=25)) ** 2
    energy = (triangles(16_000, 400, 40) @ power).T
    got = np.exp(submission.log_mel(x, 16_000))
    assert close(got, energy, atol=1e-8 * energy + 1e-11 * power.sum(axis=0)[:, None])


MEL = Contract(
    "log_mel",
    x=numbers(300, scales=(1e-20, 1e20)),
    rate=one_of(16_000, 11_025, 3),
    window=one_of(64, 65, 2, 300),
    hop=one_of(20, 1, 100),
    filters=one_of(6, 1, 70),
    floor=one_of(1e-10, 1e-30, 5.0),
)


@pytest.mark.exercise("log_mel", weight=2)
def test_mel_of_every_kind(submission, rng):
    """Waves of every kind, odd windows, hops of 1, filters without a bin, other floors; float64 comes back."""
    for case in MEL.cases(rng):
        assert same_mel(submission.log_mel(*case), *case.exact, typed=True)
    for kind, size in ((np.int16, 32_767), (np.int8, 127), (np.uint8, 255), (np.int32, 2**31 - 1)):
        loud = np.array([size, 0] * 40, kind)
        assert same_mel(submission.log_mel(loud, 8_000, 32, 16, 5), loud, 8_000, 32, 16, 5, typed=True)
    huge = (1e30 * rng.standard_normal(500)).astype(np.float32)
    assert same_mel(submission.log_mel(huge, 16_000), huge, 16_000, typed=True)
    usual = rng.standard_normal(900)
    assert same_mel(submission.log_mel(usual, 16_000), usual, 16_000, typed=True)
    many = rng.standard_normal(3_000)
    assert same_mel(submission.log_mel(many, 100, 4, 2, 2), many, 100, 4, 2, 2, typed=True)


@pytest.mark.exercise("log_mel")
def test_mel_of_silence(submission):
    """Silence has the logarithm of the floor everywhere."""
    for floor in (1e-10, 1e-3, 7.0, 1e-200):
        got = submission.log_mel(np.zeros(100), 8_000, 50, 25, 4, floor)
        assert close(got, np.full((3, 4), math.log(floor)), rtol=1e-12)
    assert close(submission.log_mel(np.zeros(400), 8_000), np.full((1, 40), math.log(1e-10)), rtol=1e-12)


@student_side
def mel_of_minutes(seed, n, rows):
    """Some rows of the features of a long wave, which is drawn here."""
    found = student.log_mel(np.random.default_rng(seed).standard_normal(n), 16_000)
    return found.shape, [found[row] for row in rows]


@pytest.mark.exercise("log_mel", weight=7, hint=3, memory_mb=160)
def test_mel_of_ten_minutes(submission, rng):
    """Ten minutes need no copy of all frames: at most 50 MB beside the wave and the result."""
    n, seed = 9_600_000, int(rng.integers(2**31))
    rows = [0, 1, 999, 1000, 30_000, 59_996, 59_997]
    shape, got = submission.run(mel_of_minutes, seed, n, rows)
    x = np.random.default_rng(seed).standard_normal(n)
    assert close(list(shape), [59_998, 40])
    for row, mine in zip(rows, got, strict=True):
        assert same_mel([mine], x[160 * row : 160 * row + 400], 16_000, loose=10)


@pytest.mark.exercise("log_mel", forgeable=True)
def test_mel_leaves_no_trace(submission, rng):
    """The wave is left as it is, and what is returned is new."""
    assert MEL.leaves_no_trace(
        submission, rng, then=[{}, {"x": lambda x: x[:10]}, {"x": lambda x: x[:66], "window": 2}]
    )


# ------------------------------------------------------------------------------------------------------- ctc_loss


@functools.cache
def paths_of(T, C, blank):
    """All paths of T frames, by what they collapse to."""
    found = {}
    for path in itertools.product(range(C), repeat=T):
        merged = [label for label, _ in itertools.groupby(path)]
        found.setdefault(tuple(label for label in merged if label != blank), []).append(path)
    return found


def by_paths(logits, target, blank):
    """-log of the sum over all paths, one by one, for one utterance: logits (T, C)."""
    p = torch.softmax(logits.double(), -1).numpy()
    paths = paths_of(*p.shape, blank).get(tuple(target), [])
    total = math.fsum(math.prod(p[t, label] for t, label in enumerate(path)) for path in paths)
    return -math.log(total) if total else math.inf


def torch_ctc(logits, targets, lengths, counts, blank=0):
    return F.ctc_loss(logits.double().log_softmax(-1), targets, lengths, counts, blank, reduction="none")


def ctc_near(got, expected, dtype=torch.float64, typed=False):
    """Whether losses are right to what the docstring says."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    rtol = 1e-9 if dtype == torch.float64 else 1e-4
    atol = rtol * expected.clamp(min=1).nan_to_num(posinf=1.0).numpy()
    return close(got, expected.to(dtype) if typed else expected, atol=atol, typed=typed)


def ctc_case(rng, T, B, C, S, blank=0, dtype=torch.float64):
    """Logits, targets with repeats, lengths of every size that leave a path."""
    labels = [label for label in range(C) if label != blank]
    targets = torch.from_numpy(rng.choice(labels, (B, S))).long().reshape(B, S)
    counts = torch.from_numpy(rng.integers(0, S + 1, B))
    repeats = torch.tensor(
        [int((row[1:k] == row[: k - 1]).sum()) if k > 1 else 0 for row, k in zip(targets, counts, strict=True)]
    )
    least = (counts + repeats).clamp(min=1)
    lengths = torch.tensor([int(rng.integers(low, T + 1)) if low <= T else T for low in least.tolist()])
    return normal(rng, T, B, C, dtype=dtype) * 2, targets, lengths, counts


@pytest.mark.exercise("ctc_loss", weight=4, core=True, hint=2)
def test_ctc_is_the_sum_over_all_paths(submission, rng):
    """P is the sum over all paths that collapse to the target; equal neighbours need a blank between."""
    logits = normal(rng, 5, 1, 3)
    for target in ((1,), (1, 2), (2, 1, 2), (1, 1), (2, 2, 1), (1, 1, 1), (1, 2, 1, 2, 1)):
        targets = torch.tensor([target])
        got = submission.ctc_loss(logits, targets, torch.tensor([5]), torch.tensor([len(target)]))
        assert close(got, [by_paths(logits[:, 0], target, 0)], rtol=1e-4)


@pytest.mark.exercise("ctc_loss", weight=3, core=True, hint=3)
def test_ctc_of_a_batch(submission, rng):
    """Each utterance of a batch has its own number of frames and labels: its loss is read at its own end."""
    logits = normal(rng, 6, 4, 4)
    targets = torch.tensor([[1, 2, 3], [3, 1, 1], [2, 2, 1], [1, 3, 3]])
    lengths, counts = [6, 5, 3, 4], [3, 1, 2, 2]
    expected = [by_paths(logits[: lengths[b], b], targets[b, : counts[b]].tolist(), 0) for b in range(4)]
    got = submission.ctc_loss(logits, targets, torch.tensor(lengths), torch.tensor(counts))
    assert close(got, expected, rtol=1e-4)


@student_side
def ctc_gradient(logits, targets, lengths, counts, slope, blank):
    """The losses, and the gradient of their sum with weights `slope`, over the utterances with a finite one."""
    logits = logits.clone().requires_grad_()
    loss = student.ctc_loss(logits, targets, lengths, counts, blank)
    finite = torch.isfinite(loss)
    (loss[finite] * slope[finite]).sum().backward()
    return loss.detach(), logits.grad


@pytest.mark.exercise("ctc_loss", weight=3, core=True, hint=1)
def test_ctc_gradient(submission, rng):
    """Autograd's gradient of the loss is torch's, and agrees with differences of the loss."""
    logits, targets, lengths, counts = ctc_case(rng, 7, 3, 4, 3)
    slope = normal(rng, 3)
    _, got = submission.run(ctc_gradient, logits, targets, lengths, counts, slope, 0)
    leaf = logits.clone().requires_grad_()
    (torch_ctc(leaf, targets, lengths, counts) * slope).sum().backward()
    assert close(got, leaf.grad, atol=1e-5)
    step = normal(rng, 7, 3, 4)
    ends = [submission.ctc_loss(logits + sign * 1e-5 * step, targets, lengths, counts) for sign in (1, -1)]
    difference = float(((torch.as_tensor(ends[0]) - torch.as_tensor(ends[1])) * slope).sum()) / 2e-5
    assert close(float((torch.as_tensor(got) * step).sum()), difference, atol=1e-4)


@pytest.mark.exercise("ctc_loss", weight=3, hint=3)
def test_ctc_of_impossible_and_empty_targets(submission, rng):
    """Too few frames cost inf and leave the gradients of the others right; an empty target has the path of blanks."""
    logits = normal(rng, 4, 5, 3)
    targets = torch.tensor([[1, 1, 2], [1, 2, 1], [2, 1, 2], [1, 1, 1], [1, 2, 2]])
    lengths, counts = torch.tensor([3, 2, 4, 4, 4]), torch.tensor([3, 3, 0, 2, 3])
    expected = [math.inf, math.inf, by_paths(logits[:, 2], [], 0), by_paths(logits[:, 3], [1, 1], 0)]
    expected.append(by_paths(logits[:, 4], [1, 2, 2], 0))
    got, gradient = submission.run(ctc_gradient, logits, targets, lengths, counts, torch.ones(5).double(), 0)
    assert ctc_near(got, expected)
    leaf = logits.clone().requires_grad_()
    torch_ctc(leaf, targets, lengths, counts)[2:].sum().backward()
    assert near(torch.as_tensor(gradient)[:, 2:], leaf.grad[:, 2:])
    empty = torch.zeros(5, 0, dtype=torch.int64)
    got = submission.ctc_loss(logits, empty, lengths, torch.zeros(5, dtype=torch.int64))
    blanks = logits.log_softmax(-1)[:, :, 0]
    assert ctc_near(got, [-float(blanks[:n, b].sum()) for b, n in enumerate(lengths.tolist())])
    single = torch.tensor([1]), torch.tensor([1])
    assert ctc_near(submission.ctc_loss(logits[:1, :1], targets[:1], *single), [by_paths(logits[:1, 0], [1], 0)])
    tiny = 1e-7 * logits
    expected = [by_paths(tiny[:, b], targets[b, :2].tolist(), 0) for b in range(5)]
    got = submission.ctc_loss(tiny, targets, torch.full((5,), 4), torch.full((5,), 2))
    assert ctc_near(got, expected)
    only = submission.ctc_loss(torch.zeros(3, 1, 1), empty[:1], torch.tensor([3]), torch.tensor([0]))
    assert ctc_near(only, [0.0])


@pytest.mark.exercise("ctc_loss", weight=3, hint=1)
def test_ctc_ignores_padding(submission, rng):
    """Padding may hold nan, inf and labels that do not exist: it changes no loss, and its gradient is 0."""
    for dtype in DTYPES:
        logits, targets, lengths, counts = ctc_case(rng, 8, 5, 4, 4, dtype=dtype)
        lengths[0], counts[1], slope = 8, 4, torch.ones(5, dtype=dtype)
        clean = submission.run(ctc_gradient, logits, targets, lengths, counts, slope, 0)
        after = torch.arange(8)[:, None] >= lengths
        beyond = torch.arange(4) >= counts[:, None]
        for value, label in ((math.nan, -1), (math.inf, 4), (-math.inf, 10**12), (1e30, 0)):
            dirty = torch.where(after[..., None], torch.tensor(value, dtype=dtype), logits)
            got = submission.run(ctc_gradient, dirty, targets.masked_fill(beyond, label), lengths, counts, slope, 0)
            assert near(list(got), list(clean), dtype)
            assert close(torch.as_tensor(got[1])[after], torch.zeros(int(after.sum()), 4, dtype=dtype))


@pytest.mark.exercise("ctc_loss", weight=2, hint=2)
def test_ctc_beside_torch(submission, rng):
    """Losses and gradients are torch's for every size, blank and layout, in float64 and float32."""
    sizes = [(1, 1, 2, 1), (9, 3, 5, 3), (30, 4, 3, 12), (12, 300, 3, 2), (5, 2, 1200, 3), (40, 2, 6, 0), (7, 2, 2, 3)]
    for (T, B, C, S), dtype in itertools.product(sizes, DTYPES):
        blank = int(rng.integers(C)) if T != 9 else C - 1
        logits, targets, lengths, counts = ctc_case(rng, T, B, C, S, blank, dtype)
        slope = normal(rng, B, dtype=dtype)
        leaf = logits.double().clone().requires_grad_()
        expected = torch_ctc(leaf, targets, lengths, counts, blank)
        finite = torch.isfinite(expected)
        if finite.any():
            (expected[finite] * slope[finite].double()).sum().backward()
        loss, gradient = submission.run(
            ctc_gradient, strided(logits), targets.T.contiguous().T, lengths, counts, slope, blank
        )
        assert ctc_near(loss, expected.detach(), dtype, typed=True)
        if finite.any():
            assert close(
                torch.as_tensor(gradient)[:, finite], leaf.grad[:, finite], atol=1e-9 if dtype == DTYPES[0] else 2e-4
            )
    flat = logits * 0
    default = submission.ctc_loss(flat, targets.clamp(min=1, max=1), torch.tensor([7, 7]), torch.tensor([1, 1]))
    assert ctc_near(default, [by_paths(flat[:, 0], [1], 0)] * 2, DTYPES[1])


@pytest.mark.exercise("ctc_loss", weight=3, hint=2)
def test_ctc_of_long_utterances(submission, rng):
    """2,000 frames in float32 and logits from -100 to 100 neither underflow nor lose their digits."""
    for dtype, size in ((torch.float32, 1.0), (torch.float32, 33.0), (torch.float64, 33.0)):
        logits = (size * torch.from_numpy(rng.uniform(-3, 3, (2000, 2, 5)))).to(dtype)
        targets = torch.from_numpy(rng.integers(1, 5, (2, 60)))
        lengths, counts = torch.tensor([2000, 1700]), torch.tensor([60, 35])
        got = submission.ctc_loss(logits, targets, lengths, counts)
        assert ctc_near(got, torch_ctc(logits, targets, lengths, counts), dtype, typed=True)


@student_side
def operations_of(sizes):
    """How many tensor operations a loss takes, and how many numbers they return, for each (T, B, C, S)."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counter(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += 1
            out = function(*args, **(kwargs or {}))
            self.entries += out.numel() if isinstance(out, torch.Tensor) else 0
            return out

    found = []
    for T, B, C, S in sizes:
        logits, targets = torch.zeros(T, B, C), torch.ones(B, S, dtype=torch.int64)
        targets[:, ::2] = 2
        with Counter() as counter:
            counter.count = counter.entries = 0
            student.ctc_loss(logits, targets, torch.full((B,), T), torch.full((B,), S))
        found.append((counter.count, counter.entries))
    return found


@pytest.mark.exercise("ctc_loss", weight=4, forgeable=True, hint=2)
def test_ctc_loops_over_frames_alone(submission):
    """The number of operations grows with the frames alone, and a frame costs O(B (S + C)), not S times S."""
    sizes = [(12, 2, 4, 3), (12, 20, 4, 3), (12, 2, 40, 3), (12, 2, 4, 6), (12, 2, 4, 60)]
    (small, _), *large = submission.run(operations_of, sizes)
    assert close([count <= 1.2 * small + 20 for count, _ in large], [True] * 4)
    assert close(large[3][1] <= 16 * large[2][1], True)  # 121 places for 13


CTC = Contract(
    "ctc_loss",
    logits=tensors(6, 3, 4),
    targets=torch.tensor([[1, 2], [3, 3], [2, 1]]),
    input_lengths=torch.tensor([6, 5, 4]),
    target_lengths=torch.tensor([2, 2, 1]),
    blank=one_of(0, default=0),
)


@pytest.mark.exercise("ctc_loss", forgeable=True)
def test_ctc_leaves_no_trace(submission, rng):
    """Logits, targets and lengths are left as they are, and what is returned is new."""
    assert CTC.leaves_no_trace(submission, rng, then=[{}, {"target_lengths": torch.tensor([0, 0, 0])}])


# ----------------------------------------------------------------------------------------------------- Recogniser


def recogniser_state(rng, filters, labels, width, dtype=torch.float64):
    shapes = {"first.weight": (width, filters, 5), "first.bias": (width,)}
    for name in ("second", "third"):
        shapes |= {f"{name}.weight": (width, width, 5), f"{name}.bias": (width,)}
    shapes |= {"out.weight": (labels, width), "out.bias": (labels,)}
    return {key: normal(rng, *shape, dtype=dtype) / math.sqrt(np.prod(shape[1:])) for key, shape in shapes.items()}


def recognised(state, x, length):
    """The valid logits (T', labels) of one utterance by itself, x (T, filters)."""
    a = x[:length].T[None]
    a = F.relu(F.conv1d(a, state["first.weight"], state["first.bias"], stride=2, padding=2))
    for name in ("second", "third"):
        a = a + F.relu(F.conv1d(a, state[f"{name}.weight"], state[f"{name}.bias"], padding=2))
    return a[0].T @ state["out.weight"].T + state["out.bias"]


@student_side
def recogniser_run(sizes, state, x, lengths, slope, dtype):
    """Logits, lengths and the gradients to x and to the parameters, of the valid logits times slopes."""
    net = student.Recogniser(*sizes).to(getattr(torch, dtype))
    net.load_state_dict(state)
    kept = x.clone(), lengths.clone()
    leaf = x.clone().requires_grad_()
    logits, out = net(leaf, lengths)
    valid = torch.arange(logits.shape[0])[:, None] < (lengths + 1) // 2
    (logits[valid] * slope[: logits.shape[0]][valid]).sum().backward()
    same = torch.equal(kept[0].nan_to_num(7.0), leaf.detach().nan_to_num(7.0)) and torch.equal(kept[1], lengths)
    return logits.detach(), out, leaf.grad, {key: p.grad for key, p in net.named_parameters()}, same


def same_recogniser(submission, rng, sizes, lengths, T=None, dtype=torch.float64, fill=0.0, size=1.0):
    """Whether valid logits, lengths and gradients are those of each utterance by itself."""
    filters, labels, _width = sizes
    T, B = T or max(lengths), len(lengths)
    state = recogniser_state(rng, *sizes, dtype=dtype)
    if size != 1.0:
        state = {key: part * 0 if key.endswith("bias") else part for key, part in state.items()}
    x = (size * normal(rng, B, T, filters)).to(dtype)
    x = torch.where(
        torch.arange(T)[None, :, None] < torch.tensor(lengths)[:, None, None], x, torch.tensor(fill, dtype=dtype)
    )
    slope = normal(rng, (T + 1) // 2, B, labels, dtype=dtype)
    leaf = x.double().clone().requires_grad_()
    exact = {key: part.double().clone().requires_grad_() for key, part in state.items()}
    expected = [recognised(exact, leaf[b], n) for b, n in enumerate(lengths)]
    sum((part * slope[: len(part), b].double()).sum() for b, part in enumerate(expected)).backward()
    logits, out, to_x, to_state, same = submission.run(
        recogniser_run, sizes, state, x, torch.tensor(lengths), slope, name_of(dtype)
    )
    shape = close(logits, torch.zeros((T + 1) // 2, B, labels, dtype=dtype), atol=np.inf, typed=True)
    if not shape:
        return shape
    if not (lengths_right := close(out, torch.tensor([(n + 1) // 2 for n in lengths]), typed=True)):
        return lengths_right
    valid = [torch.as_tensor(logits)[: len(part), b] / size for b, part in enumerate(expected)]
    if not (values := near(valid, [part / size for part in expected], dtype, scale=4)):
        return values
    finite = close(torch.isfinite(torch.as_tensor(logits)), torch.ones(logits.shape, dtype=torch.bool))
    if not finite or not same:
        return finite and close(same, True)
    scale = 4 * max(1.0, *lengths) / 10
    if not (slopes := near(to_x, leaf.grad, dtype, scale=scale)):
        return slopes
    return near(
        [to_state.get(key) for key in exact],
        [part.grad for part in exact.values()],
        dtype,
        scale=scale * max(1.0, size),
    )


@pytest.mark.exercise("Recogniser", weight=3, core=True, hint=2)
def test_recogniser_computes_logits(submission, rng):
    """With given weights, the logits are those of first, second and third (added) and out, time first."""
    for sizes, T in (((3, 4, 6), 12), ((5, 2, 3), 9)):
        state, x = recogniser_state(rng, *sizes), normal(rng, 2, T, sizes[0])
        logits, *_ = submission.run(
            recogniser_run, sizes, state, x, torch.tensor([T, T]), torch.ones((T + 1) // 2, 2, sizes[1]), "float64"
        )
        assert close(logits, torch.stack([recognised(state, part, T) for part in x], dim=1), atol=1e-6)


@pytest.mark.exercise("Recogniser", weight=4, core=True, hint=1)
def test_recogniser_alone_and_in_a_batch(submission, rng):
    """An utterance has the same valid logits alone and in a batch: padding reaches no valid frame, in no layer."""
    for lengths in ([9, 4, 7, 1], [3, 12, 8, 11]):
        assert same_recogniser(submission, rng, (3, 4, 5), lengths)


@pytest.mark.exercise("Recogniser", weight=3, hint=1)
def test_recogniser_padding_of_any_kind(submission, rng):
    """Padding that holds nan, inf or large numbers has no influence and gets the gradient 0."""
    for fill, dtype in itertools.product((math.nan, math.inf, 1e30), DTYPES):
        assert same_recogniser(submission, rng, (2, 3, 4), [6, 3, 9], T=11, dtype=dtype, fill=fill)


@pytest.mark.exercise("Recogniser", weight=2)
def test_recogniser_of_every_size(submission, rng):
    """Sizes of 1, long utterances, many of them, float32, small and large inputs."""
    for sizes, lengths in (
        ((1, 1, 1), [1]),
        ((2, 3, 2), [2, 1]),
        ((1, 2, 2), [1300, 1200, 3]),
        ((2, 2, 1), [3] * 1100),
    ):
        assert same_recogniser(submission, rng, sizes, lengths)
    assert same_recogniser(submission, rng, (4, 3, 6), [10, 20, 15], dtype=torch.float32)
    for size in (1e-8, 1e8):
        assert same_recogniser(submission, rng, (3, 2, 4), [7, 5], size=size)


@student_side
def recogniser_states(sizes):
    """The entries of two new networks, and which are learnt."""
    torch.manual_seed(3)
    nets = [student.Recogniser(*sizes) for _ in range(2)]
    learnt = [key for key, p in nets[0].named_parameters() if p.requires_grad]
    return [{key: value.clone() for key, value in net.state_dict().items()} for net in nets], sorted(learnt)


@pytest.mark.exercise("Recogniser")
def test_recogniser_state(submission, rng):
    """The state has the names and shapes of the docstring, drawn as torch draws them."""
    for sizes in ((3, 4, 6), (1, 2, 1), (40, 9, 110)):
        (state, other), learnt = submission.run(recogniser_states, sizes)
        expected = {key: tuple(part.shape) for key, part in recogniser_state(rng, *sizes).items()}
        assert close({key: tuple(state[key].shape) for key in sorted(state)}, dict(sorted(expected.items())))
        assert close(learnt, sorted(expected))
    for key, fan in (("first.weight", 200), ("second.weight", 550), ("out.weight", 110)):
        assert close(float(state[key].abs().max()), 1 / math.sqrt(fan), rtol=0.05)  # uniform, 990 draws at least
        assert close(bool((state[key] == other[key]).double().mean() < 0.01), True)


@student_side
def recogniser_learns(x, lengths, labels, counts, steps):
    """The loss of a few utterances before and after some steps of Adam, with torch's CTC."""
    torch.manual_seed(0)
    net = student.Recogniser(x.shape[2], 5, 24)
    adam, losses = torch.optim.Adam(net.parameters(), 1e-2), []
    for _ in range(steps):
        logits, out = net(x, lengths)
        loss = torch.nn.functional.ctc_loss(logits.log_softmax(-1), labels, out, counts)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss))
    return losses[0], losses[-1]


@pytest.mark.exercise("Recogniser")
def test_recogniser_learns_eight_utterances(submission, rng):
    """Eight utterances of different lengths are learnt in 60 steps."""
    rng = np.random.default_rng(23)  # the same for every secret: how fast it learns depends on the draw
    labels, counts = torch.from_numpy(rng.integers(1, 5, (8, 3))), torch.full((8,), 3)
    codes = normal(rng, 5, 6).float()
    x = torch.zeros(8, 40, 6)
    lengths = torch.from_numpy(rng.integers(30, 41, 8))
    for b in range(8):
        for k in range(3):
            x[b, 2 + 9 * k : 8 + 9 * k] = codes[labels[b, k]]
    x += 0.1 * normal(rng, 8, 40, 6).float()
    first, last = submission.run(recogniser_learns, x, lengths, labels, counts, 60)
    assert close(last < 0.7 * first, True)  # over many draws the worst of 64 references ended at 0.12


@student_side
def recogniser_trace(first, second):
    """In words, what calls leave behind."""
    torch.manual_seed(0)
    net = student.Recogniser(3, 4, 5)
    lengths, more = torch.tensor([7, 4]), torch.tensor([5, 6])
    with torch.no_grad():
        one, n1 = net(first, lengths)
        kept = one.clone(), n1.clone()
        two, n2 = net(second, more)
        three, n3 = net(first, lengths)
    if not (torch.equal(one, kept[0]) and torch.equal(n1, kept[1])):
        return "a later call changes what an earlier one returned"
    if not torch.equal(three, one):
        return "the same call returns something else after another call"
    if len({t.untyped_storage().data_ptr() for t in (one, two, three, n1, n2, n3, first, second, lengths, more)}) < 10:
        return "what is returned shares memory with an argument or with another result"
    with torch.no_grad():
        first.copy_(second)
        if not torch.equal(net(first, more)[0], two):
            return "the call does not see that a tensor has changed since the last one"
    return ""


@pytest.mark.exercise("Recogniser", forgeable=True)
def test_recogniser_leaves_no_trace(submission, rng):
    """What is returned is new, and a call depends on its arguments alone."""
    assert told(submission.run(recogniser_trace, *(normal(rng, 2, 7, 3).float() for _ in range(2))))


# ----------------------------------------------------------------------------------------------------- ctc_greedy


def collapsed(path, blank):
    return [label for label, _ in itertools.groupby(path) if label != blank]


def rows_of(rng, path, C):
    """Log probabilities whose largest entry is the path's."""
    table = rng.uniform(-9, -3, (len(path), C))
    table[np.arange(len(path)), path] = rng.uniform(-2, 0, len(path))
    return table


@pytest.mark.exercise("ctc_greedy", weight=4, core=True, hint=2)
def test_greedy_keeps_repeats_with_a_blank_between(submission):
    """Neighbours are merged before blanks are removed: a blank between two equal labels keeps both."""
    for path in ([1, 0, 1], [2, 2, 0, 0, 2, 1, 1], [0, 1, 1, 0, 1, 2, 0, 2, 2], [1, 1, 1], [0, 0]):
        assert close(submission.ctc_greedy(np.log(np.eye(3)[path] * 0.7 + 0.1)), collapsed(path, 0))


@pytest.mark.exercise("ctc_greedy", weight=3, hint=2)
def test_greedy_of_every_path(submission, rng):
    """Random paths, any blank, no frames, one label, a thousand frames, -inf, float32, views; a list of ints."""
    for T, C, blank in ((12, 3, 0), (30, 2, 1), (1200, 5, 3), (1, 4, 2), (0, 3, 0), (9, 1, 0), (40, 1300, 1299)):
        path = rng.integers(0, C, T)
        table = rows_of(rng, path, C)
        for given in (table, table.astype(np.float32), stepped(table), np.asfortranarray(table), table - 1e3):
            got = submission.ctc_greedy(given, blank)
            assert close(got, collapsed(path.tolist(), blank), typed=True) and close(type(got) is list, True)
    path = rng.integers(0, 3, 15)
    assert close(submission.ctc_greedy(rows_of(rng, path, 3)), collapsed(path.tolist(), 0))
    sure = np.where(np.eye(4)[[1, 0, 3, 3, 0, 3]] == 1, 0.0, -np.inf)
    assert close(submission.ctc_greedy(sure), [1, 3, 3], typed=True)
    assert close(submission.ctc_greedy(np.zeros((2, 3)), 2), [0]) and close(submission.ctc_greedy(np.zeros((2, 3))), [])
    assert close(submission.ctc_greedy(np.log([[0.2, 0.4, 0.4], [0.6, 0.2, 0.2], [0.1, 0.45, 0.45]])), [1, 1])


@pytest.mark.exercise("ctc_greedy", forgeable=True)
def test_greedy_leaves_no_trace(submission, rng):
    """The table is left as it is, and a new list comes back."""
    contract = Contract("ctc_greedy", log_probs=numbers(20, 3), blank=one_of(0))
    assert contract.leaves_no_trace(submission, rng)


# ----------------------------------------------------------------------------------------------------- error_rate


def edits(guess, reference):
    """By recursion from the ends, remembered."""
    table = {}
    for i, j in itertools.product(range(len(reference) + 1), range(len(guess) + 1)):
        if i == 0 or j == 0:
            table[i, j] = i + j
        else:
            same = reference[i - 1] == guess[j - 1]
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (not same))
    return table[len(reference), len(guess)]


def rate(guesses, references):
    return sum(map(edits, guesses, references)) / sum(map(len, references))


def sequences(rng, count, longest, symbols=4):
    return [rng.integers(0, symbols, rng.integers(0, longest + 1)).tolist() for _ in range(count)]


@pytest.mark.exercise("error_rate", weight=3, core=True, hint=1)
def test_rate_of_one_pair(submission, rng):
    """The fewest deletions, insertions and replacements, divided by the length of the reference."""
    for guess, reference in (("kitten", "sitting"), ("abcd", "bcde"), ("flaw", "lawn"), ("aaa", "b"), ("ab", "ba")):
        assert close(submission.error_rate([guess], [reference]), rate([guess], [reference]), rtol=1e-9)


@pytest.mark.exercise("error_rate", weight=3, core=True, hint=2)
def test_rate_of_many_pairs(submission):
    """All edits are divided by all lengths: long references count more than short ones."""
    guesses, references = ["abcdef", "x", "hello"], ["abcdxf", "yz", "hello world"]
    assert close(submission.error_rate(guesses, references), 9 / 19, rtol=1e-9)


@pytest.mark.exercise("error_rate", weight=3)
def test_rate_of_every_kind(submission, rng):
    """Lists, tuples and texts, empty ones, symbols of any kind; a Python float, inf without any reference symbol."""
    for longest in (1, 4, 12):
        guesses, references = sequences(rng, 30, longest), [[1], *sequences(rng, 29, longest)]
        expected = rate(guesses, references)
        assert close(submission.error_rate(guesses, references), expected, rtol=1e-12, typed=True)
        mixed = submission.error_rate(tuple(map(tuple, guesses)), references)
        assert close(mixed, expected, rtol=1e-12, typed=True)
    words = [["turn", "left"], ["a", "b", "b"]], [["turn", "right", "now"], ("b", "b")]
    assert close(submission.error_rate(*words), 3 / 5, rtol=1e-12)
    big = [[10**12, -5, 300, 301]], [[10**12, 300, 301]]
    assert close(submission.error_rate(*big), 1 / 3, rtol=1e-12)
    for guesses, references, expected in (([], [], 0.0), ([""], [""], 0.0), (["ab", ""], ["", ""], math.inf)):
        assert close(submission.error_rate(guesses, references), expected, typed=True)
    assert close(submission.error_rate([""], ["abc"]), 1.0, typed=True)
    assert close(submission.error_rate(["abcabc", ""], ["a", ""]), 5.0, typed=True)
    assert close(submission.error_rate(["a"] * 1300, ["ab"] * 1299 + ["a"]), 1299 / 2599, rtol=1e-12)


@pytest.mark.exercise("error_rate")
def test_rate_refuses(submission):
    """Other numbers of guesses than of references raise ValueError."""
    for guesses, references in ((["a"], []), ([], ["a"]), (["a", "b"], ["a"]), ([[]] * 4, [[]] * 5)):
        with raises_student(ValueError):
            submission.error_rate(guesses, references)


@student_side
def rate_of_long(seed, n):
    """The rate of a long sequence of which one symbol in each three is kept."""
    rng = np.random.default_rng(seed)
    reference = rng.permutation(3 * n).tolist()
    kept = (3 * np.arange(n) + rng.integers(0, 3, n)).tolist()
    return student.error_rate([[reference[k] for k in kept]], [reference])


@pytest.mark.exercise("error_rate", weight=4, memory_mb=20)
def test_rate_of_long_sequences(submission, rng):
    """Thousands of symbols need a row or two of the table, not all of it."""
    assert close(submission.run(rate_of_long, int(rng.integers(2**31)), 1000), 2 / 3, rtol=1e-12)


@student_side
def rate_trace(guesses, references):
    kept = [list(part) for part in guesses], [list(part) for part in references]
    first = student.error_rate(guesses, references)
    student.error_rate(references, [*guesses[:-1], [9]])
    if [list(part) for part in guesses] != kept[0] or [list(part) for part in references] != kept[1]:
        return "the call changes its arguments"
    return "" if student.error_rate(guesses, references) == first else "the same call returns something else later"


@pytest.mark.exercise("error_rate", forgeable=True)
def test_rate_leaves_no_trace(submission, rng):
    """Guesses and references are left as they are."""
    assert told(submission.run(rate_trace, [[1, 2, 3], [4]], [[1, 3], [4, 5]]))


# ------------------------------------------------------------------------------------------------------- ctc_beam


def table_of(rng, T, C):
    return np.log(rng.dirichlet(np.ones(C), T)).reshape(T, C)


def all_sequences(table, blank):
    """Every sequence with its probability, from all paths."""
    p = np.exp(table)
    return {
        target: math.fsum(math.prod(p[t, label] for t, label in enumerate(path)) for path in paths)
        for target, paths in paths_of(*p.shape, blank).items()
    }


def pruned(table, width, blank):
    """The beam in plain probabilities, by prefix and how a path ends; and the closest decision."""
    beam, closest = {((), True): 1.0}, math.inf
    for row in np.exp(np.asarray(table, np.float64)):
        new = {}
        for ((prefix, ends), p), (label, q) in itertools.product(beam.items(), enumerate(row.tolist())):
            if label == blank:
                key = prefix, True
            elif not ends and prefix[-1] == label:
                key = prefix, False
            else:
                key = (*prefix, label), False
            new[key] = new.get(key, 0.0) + p * q
        totals = {}
        for (prefix, _), p in new.items():
            totals[prefix] = totals.get(prefix, 0.0) + p
        order = sorted(totals, key=lambda prefix: (-totals[prefix], prefix))
        if len(order) > width:
            a, b = totals[order[width - 1]], totals[order[width]]
            closest = min(closest, (a - b) / a if a else 0.0)
        if len(order) > 1:
            closest = min(closest, (totals[order[0]] - totals[order[1]]) / totals[order[0]])
        kept = set(order[:width])
        beam = {key: p for key, p in new.items() if key[0] in kept}
    return list(order[0]) if len(table) else [], math.log(totals[order[0]]) if len(table) else 0.0, closest


def beams(rng, T, C, width, blank=0):
    """A table on which no decision is close, with its answer."""
    while True:
        table = table_of(rng, T, C)
        labels, log_p, closest = pruned(table, width, blank)
        if closest > 1e-7:
            return table, labels, log_p


def same_beam(got, labels, log_p, typed=False):
    right = close(got, (labels, log_p), atol=1e-9 * max(1.0, abs(log_p)), typed=typed)
    return right and close(type(got[0]) is list, True)


@pytest.mark.exercise("ctc_beam", weight=4, core=True, hint=2)
def test_beam_of_full_width_is_exact(submission, rng):
    """With a width for all prefixes, the best sequence and the sum over all of its paths are found."""
    for T, C in ((4, 3), (5, 2), (3, 4)):
        for _ in range(4):
            table = table_of(rng, T, C)
            totals = all_sequences(table, 0)
            best = max(totals.values())
            labels, log_p = submission.ctc_beam(table, 10_000)
            assert close(log_p, math.log(best), atol=1e-6)
            assert close(totals.get(tuple(labels), 0.0), best, rtol=1e-6)


@pytest.mark.exercise("ctc_beam", weight=3, core=True, hint=2)
def test_beam_adds_what_greedy_loses(submission):
    """The sequence with the largest sum of paths wins, where the best single path belongs to another."""
    for p in (0.6, 0.7, 0.51):
        assert close(submission.ctc_beam(np.log([[p, 1 - p]] * 2), 8), ([1], math.log(1 - p * p)), atol=1e-9)
    got = submission.ctc_beam(np.log([[0.1, 0.9], [0.8, 0.2], [0.1, 0.9]]), 8)
    assert close(got, ([1, 1], math.log(0.648)), atol=1e-9)


@pytest.mark.exercise("ctc_beam", weight=4, hint=3)
def test_beam_is_pruned_after_each_frame(submission, rng):
    """After each frame the prefixes with the largest b + e are kept, as many as the width says."""
    for width, C in ((1, 3), (2, 4), (3, 3), (5, 5), (8, 6)):
        for _ in range(4):
            table, labels, log_p = beams(rng, 9, C, width)
            assert same_beam(submission.ctc_beam(table, width), labels, log_p)


@pytest.mark.exercise("ctc_beam", weight=2, hint=3)
def test_beam_ties(submission):
    """Of equal prefixes the first in the order of lists is kept; without frames nothing is said, with probability 1."""
    for C, blank, first in ((4, 0, [1]), (4, 1, [0]), (3, 2, [0])):
        table = np.full((1, C), math.log(0.3))
        table[0, blank] = math.log(0.05)
        for width in (1, 2, 10):
            assert close(submission.ctc_beam(table, width, blank), (first, math.log(0.3)), atol=1e-12)
    even = np.full((1, 3), math.log(1 / 3))
    for blank in (0, 1, 2):
        assert close(submission.ctc_beam(even, 2, blank), ([], math.log(1 / 3)), atol=1e-12)
    # Two frames: 1 or 2, then surely 2. So [2] and [1, 2] have the probability 1 both, with nothing to round.
    sure = np.array([[-np.inf, 0.0, 0.0], [-np.inf, -np.inf, 0.0]])
    assert close(submission.ctc_beam(sure, 5), ([1, 2], 0.0), atol=1e-12)
    # Width 1 keeps [1] of [1] and [2]; afterwards only its paths count.
    got = submission.ctc_beam(np.log([[0.2, 0.4, 0.4], [0.1, 0.2, 0.7]]), 1)
    assert close(got, ([1, 2], math.log(0.28)), atol=1e-9)
    for C, width in ((1, 1), (3, 5)):
        assert same_beam(submission.ctc_beam(np.zeros((0, C)), width), [], 0.0, typed=True)


@pytest.mark.exercise("ctc_beam", weight=3, hint=1)
def test_beam_of_every_kind(submission, rng):
    """Any blank, impossible labels, rows that do not sum to 1, float32, views, one label, many; Python numbers."""
    for T, C, width, blank in ((6, 4, 3, 2), (7, 3, 4, 1), (5, 2, 2, 1), (3, 150, 2, 0), (2, 3, 1200, 2), (4, 1, 2, 0)):
        table, labels, log_p = beams(rng, T, C, width, blank)
        for given in (table, stepped(table), np.asfortranarray(table)):
            assert same_beam(submission.ctc_beam(given, width, blank), labels, log_p, typed=True)
        single = table.astype(np.float32)
        labels, log_p, closest = pruned(single, width, blank)
        if closest > 1e-7:
            assert same_beam(submission.ctc_beam(single, width, blank), labels, log_p, typed=True)
    table, labels, log_p = beams(rng, 6, 4, 3)
    assert same_beam(submission.ctc_beam(table - 3.5, 3), labels, log_p - 21.0, typed=True)
    sure = np.where(np.eye(3)[[1, 1, 0, 1, 2]] == 1, -0.5, -np.inf)
    for width in (1, 2, 50):
        assert same_beam(submission.ctc_beam(sure, width), [1, 1, 2], -2.5, typed=True)
    some = np.log([[0.5, 0.5, 1e-300], [0.9, 0.1, 1e-300]])
    some[:, 2] = -np.inf
    assert same_beam(submission.ctc_beam(some, 9), [1], math.log(0.05 + 0.45 + 0.05), typed=True)


@pytest.mark.exercise("ctc_beam", weight=3, hint=2)
def test_beam_of_long_utterances(submission, rng):
    """2,000 frames do not underflow, and hundreds of labels are found."""
    path = rng.integers(0, 3, 2000)
    table = np.log(np.eye(3)[path] * 0.7 + 0.1) - 2  # the sequence has a probability near e^-4400
    labels, log_p = submission.ctc_beam(table, 2)
    # Given the labels, all paths to them are added by torch's CTC; a beam of 2 finds most of that and never more.
    lengths = [torch.tensor([2000]), torch.tensor([len(labels)])]
    whole = -float(F.ctc_loss(torch.from_numpy(table)[:, None], torch.tensor([labels]), *lengths, reduction="sum"))
    assert close(len(labels) > 300, True)
    assert close(log_p <= whole + 1e-6, True) and close(log_p >= 2000 * (math.log(0.8) - 2) - 1e-6, True)


@pytest.mark.exercise("ctc_beam", forgeable=True)
def test_beam_leaves_no_trace(submission, rng):
    """The table is left as it is, and a new list comes back."""

    def draw(rng):
        return table_of(rng, 5, 3)

    contract = Contract("ctc_beam", log_probs=numbers(5, 3, draw=draw), width=one_of(3), blank=one_of(0))
    assert contract.leaves_no_trace(submission, rng)


# ------------------------------------------------------------------------------------------------------- info_nce


def contrast(U, V, log_scale):
    """In float64: torch's cross-entropy along both axes of the cosines."""
    U, V = (part.double() / part.double().norm(dim=1, keepdim=True) for part in (U, V))
    A = torch.clamp(log_scale.double().exp(), max=100.0) * (U @ V.T)
    pair = torch.arange(len(A))
    return (F.cross_entropy(A, pair) + F.cross_entropy(A.T, pair)) / 2


NCE = Contract("info_nce", U=tensors(6, 4), V=tensors(6, 4), log_scale=tensors(draw=lambda rng: normal(rng) + 1))


@pytest.mark.exercise("info_nce", weight=4, core=True, hint=2)
def test_contrast_is_cross_entropy_both_ways(submission, rng):
    """The loss is the mean of torch's cross-entropies along rows and columns of the cosines times exp(log_scale)."""
    for N, e, size in ((5, 3, 0.0), (8, 2, 1.5), (2, 6, 3.0)):
        U, V, log_scale = normal(rng, N, e), normal(rng, N, e), torch.tensor(size).double()
        assert close(submission.info_nce(U, V, log_scale), contrast(U, V, log_scale), atol=1e-6)


@pytest.mark.exercise("info_nce", weight=3, hint=1)
def test_contrast_of_lengths_and_orders(submission, rng):
    """The lengths of rows, and a common order of the pairs, change nothing; one pair alone costs nothing."""
    U, V, log_scale = normal(rng, 7, 3), normal(rng, 7, 3), torch.tensor(1.2).double()
    expected, order = contrast(U, V, log_scale), torch.from_numpy(rng.permutation(7))
    far = torch.from_numpy(10 ** rng.uniform(-5, 5, (2, 7, 1)))
    assert near(submission.info_nce(far[0] * U, far[1] * V, log_scale), expected)
    assert near(submission.info_nce(U[order], V[order], log_scale), expected)
    assert near(submission.info_nce(V, U, log_scale), expected)
    assert close(submission.info_nce(U[:1], V[:1], log_scale), torch.zeros(()), atol=1e-12)
    same = torch.ones(9, 4).double()
    assert near(submission.info_nce(same, same, log_scale), torch.tensor(math.log(9), dtype=torch.float64))


@student_side
def contrast_gradients(U, V, log_scale):
    leaves = [part.clone().requires_grad_() for part in (U, V, log_scale)]
    loss = student.info_nce(*leaves)
    loss.backward()
    return loss.detach(), [part.grad for part in leaves]


@pytest.mark.exercise("info_nce", weight=3, hint=2)
def test_contrast_gradients_and_limit(submission, rng):
    """Gradients are right for U, V and log_scale; beta stops at 100, where log_scale has the gradient 0."""
    for size, dtype in itertools.product((-15.0, 0.3, 4.0, 4.6, 4.7, 9.0, 80.0), DTYPES):
        given = [normal(rng, 6, 4, dtype=dtype), normal(rng, 6, 4, dtype=dtype), torch.tensor(size, dtype=dtype)]
        leaves = [part.double().clone().requires_grad_() for part in given]
        expected = contrast(*leaves)
        expected.backward()
        loss, got = submission.run(contrast_gradients, *given)
        assert near(loss, expected, dtype, typed=True, scale=4)
        assert near(list(got), [part.grad for part in leaves], dtype, scale=20)


@pytest.mark.exercise("info_nce", weight=2)
def test_contrast_of_every_kind(submission, rng):
    """float64 and float32, views, zeros among the entries, one column, a thousand pairs."""
    for case in NCE.cases(rng):
        U, V, log_scale = case.args
        if bool((U == 0).all(1).any() | (V == 0).all(1).any()):
            U, V = U + 1, V + 1  # a row of zeros has no direction
        assert near(submission.info_nce(U, V, log_scale), contrast(U, V, log_scale), U.dtype, typed=True, scale=4)
    for N, e in ((1100, 2), (3, 1), (2, 1300)):
        U, V = normal(rng, N, e), normal(rng, N, e)
        log_scale = torch.tensor(2.0).double()
        assert near(submission.info_nce(U, V, log_scale), contrast(U, V, log_scale), typed=True)


@pytest.mark.exercise("info_nce", forgeable=True)
def test_contrast_leaves_no_trace(submission, rng):
    """U, V and log_scale are left as they are, and what is returned is new."""
    assert NCE.leaves_no_trace(submission, rng)


# ----------------------------------------------------------------------------------------------- chunked_info_nce


def whole_contrast(U, V, log_scale):
    """Loss and gradients of all pairs at once, by autograd in float64; rows are taken as they are."""
    leaves = [part.double().clone().requires_grad_() for part in (U, V, log_scale)]
    A = leaves[2].exp() * (leaves[0] @ leaves[1].T)
    pair = torch.arange(len(A))
    loss = (F.cross_entropy(A, pair) + F.cross_entropy(A.T, pair)) / 2
    loss.backward()
    return [loss.detach(), *(leaf.grad for leaf in leaves)]


CHUNKED = Contract(
    "chunked_info_nce",
    U=tensors(7, 4),
    V=tensors(7, 4),
    log_scale=tensors(draw=lambda rng: normal(rng) / 2),
    rows=one_of(3, 1, 7, 40),
)


def same_chunked(submission, U, V, log_scale, rows, typed=False, scale=4.0):
    got = submission.chunked_info_nce(U, V, log_scale, rows)
    expected = whole_contrast(U, V, log_scale)
    return near(got, expected, U.dtype, typed, scale)


@pytest.mark.exercise("chunked_info_nce", weight=4, core=True, hint=1)
def test_chunked_loss(submission, rng):
    """The loss is that of all pairs, both directions, however many rows are in memory at a time."""
    U, V, log_scale = normal(rng, 7, 3), normal(rng, 7, 3), torch.tensor(0.4).double()
    expected = whole_contrast(U, V, log_scale)[0]
    for rows in (7, 3, 2, 1, 100):
        assert close(submission.chunked_info_nce(U, V, log_scale, rows)[0], expected, atol=1e-6)


@pytest.mark.exercise("chunked_info_nce", weight=4, core=True, hint=2)
def test_chunked_gradients(submission, rng):
    """dU, dV and d_log_scale are autograd's for all pairs together, however many rows are in memory at a time."""
    U, V, log_scale = normal(rng, 6, 3), normal(rng, 6, 3), torch.tensor(-0.2).double()
    expected = whole_contrast(U, V, log_scale)[1:]
    for rows in (6, 4, 2, 1, 50):
        got = submission.chunked_info_nce(U, V, log_scale, rows)[1:]
        for mine, theirs in zip(got, expected, strict=True):
            assert close(mine, theirs, atol=1e-6)


@pytest.mark.exercise("chunked_info_nce", weight=3, hint=1)
def test_chunked_large_scores(submission, rng):
    """Scores of thousands neither overflow nor vanish, wherever the largest of a row or a column stands."""
    for size, dtype, rows in itertools.product((30.0, -30.0), DTYPES, (1, 2, 5)):
        U, V = normal(rng, 8, 3, dtype=dtype), normal(rng, 8, 3, dtype=dtype)
        log_scale = torch.tensor(2.0, dtype=dtype)
        for factors in (torch.linspace(1, abs(size), 8), torch.linspace(abs(size), 1, 8)):
            grown = math.copysign(1, size) * factors[:, None].to(dtype) * U
            # Rounding of A is eps |A|, up to 1,000 eps, and goes into every share.
            assert same_chunked(submission, grown, V, log_scale, rows, scale=100 if dtype == DTYPES[1] else 1000)
    low = torch.full((5, 1), 60.0).double(), -torch.full((5, 1), 60.0).double()  # all scores are -3,600 or less
    assert same_chunked(submission, *low, torch.tensor(1.0).double(), 2, scale=1e5)


@pytest.mark.exercise("chunked_info_nce", weight=2, hint=3)
def test_chunked_of_every_kind(submission, rng):
    """float64 and float32, views, zeros, one pair, one column, more rows than pairs, a thousand pairs."""
    for case in CHUNKED.cases(rng):
        assert same_chunked(submission, *case, typed=True)
    for N, e, rows in ((1, 1, 1), (1, 3, 5), (2, 1, 1), (1050, 2, 500), (1030, 3, 1), (5, 1100, 2)):
        U, V = normal(rng, N, e) / math.sqrt(e), normal(rng, N, e)
        assert same_chunked(submission, U, V, torch.tensor(0.1).double(), rows, typed=True)
    for size in (1e-7, 1e-3):
        assert same_chunked(submission, size * normal(rng, 4, 2), normal(rng, 4, 2), torch.tensor(0.0).double(), 3)


@student_side
def large_contrast(seed, N, e, rows):
    """The results for N pairs that are drawn here, in float32, without U and V themselves."""
    generator = np.random.default_rng(seed)
    U, V = (torch.from_numpy(generator.standard_normal((N, e), np.float32)) for _ in range(2))
    U, V = U / U.norm(dim=1, keepdim=True), V / V.norm(dim=1, keepdim=True)
    return student.chunked_info_nce(U, V, torch.tensor(2.0), rows)


@pytest.mark.exercise("chunked_info_nce", weight=8, hint=1, memory_mb=160)
def test_chunked_of_a_large_batch(submission, rng):
    """8,192 pairs need some rows of the scores at a time, and never all 268 MB of them."""
    N, e, rows, seed = 8192, 16, 256, int(rng.integers(2**31))
    loss, dU, dV, d_log_scale = submission.run(large_contrast, seed, N, e, rows)
    generator = np.random.default_rng(seed)
    U, V = (generator.standard_normal((N, e), np.float32) for _ in range(2))
    U, V = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (U, V))
    beta = np.float32(math.exp(2))
    r, c, slope = np.empty(N), np.zeros(N), 0.0
    blocks = [slice(start, start + 1024) for start in range(0, N, 1024)]
    for part in blocks:  # exp(7.4) does not overflow: plain sums are an oracle here
        weights = np.exp(beta * (U[part] @ V.T))
        r[part] = weights.sum(axis=1, dtype=np.float64)
        c += weights.sum(axis=0, dtype=np.float64)
    diagonal = np.sum(U * V, axis=1, dtype=np.float64) * float(beta)
    assert close(loss, float((np.log(r) + np.log(c) - 2 * diagonal).mean() / 2), rtol=1e-4)
    of_V = np.zeros((N, e))
    for part in blocks:
        A = beta * (U[part] @ V.T)
        weights = np.exp(A)
        G = weights / r[part, None].astype(np.float32) + weights / c.astype(np.float32)
        of_U = (G @ V - 2 * V[part]) * float(beta) / (2 * N)
        assert close(torch.as_tensor(dU)[part], of_U, atol=1e-3 / N)
        of_V += G.T @ U[part]
        slope += float(np.sum(G * A, dtype=np.float64))
    assert close(dV, (of_V - 2 * U) * float(beta) / (2 * N), atol=1e-3 / N)
    assert close(d_log_scale, (slope - 2 * diagonal.sum()) / (2 * N), atol=1e-3)


@student_side
def no_graphs(U, V, log_scale):
    return [part.requires_grad or part.grad_fn is not None for part in student.chunked_info_nce(U, V, log_scale, 2)]


@pytest.mark.exercise("chunked_info_nce", forgeable=True)
def test_chunked_leaves_no_trace(submission, rng):
    """Arguments are left as they are; results are new and require no gradients."""
    assert CHUNKED.leaves_no_trace(submission, rng, then=[{}, {"rows": 7}])
    assert close(
        submission.run(no_graphs, normal(rng, 3, 2), normal(rng, 3, 2), torch.tensor(0.5).double()), [False] * 4
    )


# ---------------------------------------------------------------------------------------------------- FusionBlock


def fusion_state(rng, width, dtype=torch.float64):
    state = {
        f"{name}.weight": normal(rng, width, width, dtype=dtype) / math.sqrt(width)
        for name in ("query", "key", "value", "out")
    }
    return state | {
        "norm.weight": 1 + normal(rng, width, dtype=dtype) / 4,
        "norm.bias": normal(rng, width, dtype=dtype) / 4,
    }


def fused(state, heads, text, patches, mask=None):
    """By torch's MultiheadAttention in float64, one example at a time, with only the patches that are there."""
    width = text.shape[-1]
    peer = nn.MultiheadAttention(width, heads, bias=False, batch_first=True).double()
    weights = {"in_proj_weight": torch.cat([state[f"{name}.weight"] for name in ("query", "key", "value")])}
    weights["out_proj.weight"] = state["out.weight"]
    asked = F.layer_norm(text, (width,), state["norm.weight"], state["norm.bias"])
    found = []
    for b in range(len(text)):
        seen = patches[b] if mask is None else patches[b][mask[b]]
        if not len(seen):
            found.append(text[b])
            continue
        answer, _ = torch.func.functional_call(peer, weights, (asked[b : b + 1], seen[None], seen[None]))
        found.append(text[b] + answer[0])
    return torch.stack(found)


@student_side
def fusion_run(sizes, state, text, patches, mask, slope, dtype, default):
    """The output, and the gradients to text, patches and parameters; whether what was given is as it was."""
    block = student.FusionBlock(*sizes).to(getattr(torch, dtype))
    block.load_state_dict(state)
    leaves = [part.clone().requires_grad_() for part in (text, patches)]
    out = block(*leaves) if default else block(*leaves, mask)
    (out * slope).sum().backward()
    same = all(torch.equal(a.detach().nan_to_num(7.0), b.nan_to_num(7.0)) for a, b in zip(leaves, (text, patches)))
    grads = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
    learnt = {key: torch.zeros_like(p) if p.grad is None else p.grad for key, p in block.named_parameters()}
    return out.detach(), grads, learnt, same


def same_fusion(submission, rng, sizes, B, T, P, mask=None, dtype=torch.float64, fill=None, default=False):
    """Whether output and gradients are those of torch's attention over the patches that are there."""
    width, heads = sizes
    state = fusion_state(rng, width, dtype)
    text, patches = normal(rng, B, T, width, dtype=dtype), normal(rng, B, P, width, dtype=dtype)
    slope = normal(rng, B, T, width, dtype=dtype)
    leaves = [part.double().clone().requires_grad_() for part in (text, patches)]
    exact = {key: part.double().clone().requires_grad_() for key, part in state.items()}
    expected = fused(exact, heads, *leaves, mask)
    (expected * slope.double()).sum().backward()
    if fill is not None:
        patches = torch.where(mask[..., None], patches, torch.tensor(fill, dtype=dtype))
    out, grads, learnt, same = submission.run(
        fusion_run, sizes, state, text, patches, mask, slope, name_of(dtype), default
    )
    zero = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
    params = [torch.zeros_like(p) if p.grad is None else p.grad for p in exact.values()]
    gone = (
        torch.zeros(B, dtype=torch.bool)
        if P and mask is None
        else torch.ones(B, dtype=torch.bool)
        if not P
        else ~mask.any(1)
    )
    checks = [lambda: near(out, expected, dtype, typed=True)]
    checks += [lambda: close(torch.as_tensor(out)[gone], text[gone]), lambda: close(same, True)]
    checks += [lambda: near(list(grads), zero, dtype, scale=8)]
    checks += [lambda: near([learnt.get(key) for key in exact], params, dtype, scale=8 * max(1, T * B / 10))]
    return next((found for found in (check() for check in checks) if not found), close(0, 0))


@pytest.mark.exercise("FusionBlock", weight=4, core=True, hint=1)
def test_fusion_is_torchs(submission, rng):
    """With the same weights, the output is the text plus torch's attention of norm(text) over the patches."""
    for (width, heads), B, T, P in (((4, 2), 2, 3, 5), ((6, 3), 1, 4, 2), ((5, 1), 3, 2, 3)):
        state = fusion_state(rng, width)
        text, patches = normal(rng, B, T, width), normal(rng, B, P, width)
        got, *_ = submission.run(
            fusion_run, (width, heads), state, text, patches, None, torch.ones_like(text), "float64", True
        )
        assert close(got, fused(state, heads, text, patches), atol=1e-6)


@pytest.mark.exercise("FusionBlock", weight=4, core=True, hint=2)
def test_fusion_with_masks(submission, rng):
    """Words attend to the patches that are there, and to no others; without any the text comes back unchanged."""
    mask = torch.tensor([[True, False, True, True], [False] * 4, [False, True, False, False], [True] * 4])
    state, text, patches = fusion_state(rng, 6), normal(rng, 4, 3, 6), normal(rng, 4, 4, 6)
    got, *_ = submission.run(fusion_run, (6, 2), state, text, patches, mask, torch.ones_like(text), "float64", False)
    assert close(got, fused(state, 2, text, patches, mask), atol=1e-6)


@pytest.mark.exercise("FusionBlock", weight=3, hint=2)
def test_fusion_of_what_is_masked(submission, rng):
    """Masked patches may hold nan or inf: no influence, gradient 0, and all other gradients right and finite."""
    mask = torch.tensor([[True, False, False], [False] * 3, [False, True, True]])
    for fill, dtype in itertools.product((math.nan, math.inf, 1e30), DTYPES):
        assert same_fusion(submission, rng, (4, 2), 3, 2, 3, mask, dtype, fill)
    gone = torch.zeros(2, 3, dtype=torch.bool)
    assert same_fusion(submission, rng, (4, 2), 2, 2, 3, gone, fill=math.nan)


@pytest.mark.exercise("FusionBlock", weight=2)
def test_fusion_of_every_size(submission, rng):
    """No patch, one, a thousand; widths and heads of 1 and more; float64 and float32; with and without a mask."""
    for sizes, B, T, P in (((1, 1), 1, 1, 1), ((4, 4), 2, 3, 0), ((6, 2), 2, 1, 1100), ((12, 3), 1, 150, 4)):
        for dtype in DTYPES:
            mask = torch.from_numpy(rng.random((B, P)) < 0.7)
            assert same_fusion(submission, rng, sizes, B, T, P, mask, dtype)
        assert same_fusion(submission, rng, sizes, B, T, P, default=True)
    assert same_fusion(submission, rng, (2, 1), 1010, 1, 2, torch.from_numpy(rng.random((1010, 2)) < 0.7))
    assert same_fusion(submission, rng, (110, 110), 1, 2, 3)


@student_side
def fusion_states(sizes):
    torch.manual_seed(3)
    nets = [student.FusionBlock(*sizes) for _ in range(2)]
    learnt = [key for key, p in nets[0].named_parameters() if p.requires_grad]
    return [{key: value.clone() for key, value in net.state_dict().items()} for net in nets], sorted(learnt)


@pytest.mark.exercise("FusionBlock")
def test_fusion_state(submission, rng):
    """The state has the names and shapes of the docstring, drawn as torch draws them; other heads raise ValueError."""
    for width, heads in ((4, 2), (1, 1), (70, 7)):
        (state, other), learnt = submission.run(fusion_states, (width, heads))
        expected = {key: tuple(part.shape) for key, part in fusion_state(rng, width).items()}
        assert close({key: tuple(state[key].shape) for key in sorted(state)}, dict(sorted(expected.items())))
        assert close(learnt, sorted(expected))
        assert close([state["norm.weight"], state["norm.bias"]], [np.ones(width), np.zeros(width)])
    for name in ("query", "key", "value", "out"):  # uniform up to 1/sqrt(width), 4,900 draws
        assert close(float(state[f"{name}.weight"].abs().max()), 1 / math.sqrt(70), rtol=0.05)
        assert close(bool((state[f"{name}.weight"] == other[f"{name}.weight"]).double().mean() < 0.01), True)
    for width, heads in ((6, 4), (3, 2), (5, 10)):
        with raises_student(ValueError):
            submission.FusionBlock(width, heads)


@student_side
def fusion_trace(first, second, patches):
    """In words, what calls leave behind."""
    torch.manual_seed(0)
    block = student.FusionBlock(4, 2)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    with torch.no_grad():
        kept_mask = mask.clone()
        one = block(first, patches, mask)
        kept = one.clone()
        two, three = block(second, patches, mask), block(first, patches, mask)
        four, five = block(first, patches[:, :0]), block(first, patches)
    if not torch.equal(mask, kept_mask):
        return "a call changes its argument `mask`"
    if not torch.equal(one, kept):
        return "a later call changes what an earlier one returned"
    if not torch.equal(one, three):
        return "the same call returns something else after another call"
    if len({t.untyped_storage().data_ptr() for t in (one, two, three, four, five, first, second, patches)}) < 8:
        return "what is returned shares memory with an argument or with another result"
    with torch.no_grad():
        first.copy_(second)
        if not torch.equal(block(first, patches, mask), two):
            return "the call does not see that a tensor has changed since the last one"
    return ""


@pytest.mark.exercise("FusionBlock", forgeable=True)
def test_fusion_leaves_no_trace(submission, rng):
    """What is returned is new, and a call depends on its arguments alone."""
    assert told(submission.run(fusion_trace, *(normal(rng, 2, 3, 4).float() for _ in range(3))))
