# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 23 · Multimodal learning and speech
#
# **What you will be able to do.** Turn sound into features. Train a recogniser from sentences alone, without being told
# when each sound is spoken, and decode it well. Put pictures and sentences into one space, so that a sentence finds
# its picture. Compute the exact gradient of a batch that is larger than memory. Fuse two senses so that one may fail.
#
# **You need** convolutions from module 09, attention and masks from module 12, `logsumexp` and its online form from
# module 03; PyTorch's modules and autograd.
#
# **Skills it trains**: spectral features, dynamic programming, training without alignments, masks, decoding, search,
# metrics with clear definitions, contrastive learning, summaries that merge, memory that stays constant, deriving a
# gradient, fusing modalities.
#
# **Time**: about four and a half hours, three of them in eight exercises and a bug to find. Take a break after 23.6:
# there the part on sound ends. Each exercise says how important it is (essential, important, optional), its level,
# which is also its points, and its minutes.
#
# **Symbols**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $x$ | `x` | $(n,)$ | a wave: $n$ samples of air pressure |
# | $W$, $H$ | `window`, `hop` | | samples in a frame; samples from one frame to the next |
# | $T$, $F$ | `T`, `filters` | | frames of an utterance; filters, which are its features |
# | $B$, $C$ | `B`, `labels` | | utterances in a batch; labels, the blank included |
# | $y$, $S$ | `targets`, `S` | $(S,)$ | the labels that are said, without blanks; how many they are |
# | $z$ | | $(T,)$ | a path: one label, maybe the blank, for each frame |
# | $p_t(c)$ | `logits`, `log_probs` | $(T, C)$ | probability of label $c$ at frame $t$: the softmax of the logits |
# | $y'$ | `extended` | $(2S + 1,)$ | $y$ with a blank before, between and after its labels |
# | $\ell_t(s)$ | | $(T, 2S + 1)$ | log of the summed probability of all beginnings of paths that stand at $y'_s$ at frame $t$ |
# | $N$, $e$ | `N`, `e` | | pairs in a batch; width of the space that both senses share (Euler's power is written exp) |
# | $U$, $V$ | `U`, `V` | $(N, e)$ | vectors of the pictures and of the sentences; rows $U_i$, $V_i$ are a pair |
# | $\beta$ | `exp(log_scale)` | | what similarities are multiplied by, as in module 12 |
# | $A$ | `scores` | $(N, N)$ | $A_{ij} = \beta\, U_i \cdot V_j$ |
# | $\rho_i$, $\gamma_j$ | `r`, `c` | $(N,)$ | logsumexp of row $i$ of $A$, of column $j$ of $A$ |
# | $R$, $Q$ | | $(N, N)$ | softmax of $A$ along its rows, along its columns |
# | $g$, $P_-(g)$, $P_+(g)$ | `prefix` | | beginning of a sentence; probability of the paths so far that collapse to it and end with a blank, with its last label |
# | $K$ | | | machines that share a batch |
# | $D$, $h$ | `width`, `heads` | | width of the fusion block; its heads |

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, device, engines, plotting, ranks, scaling
    from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_shape, expect_unchanged
    from lsml_utils.tables import Table, bytes_text, seconds_text
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import math
import textwrap
import time
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from IPython.display import Audio, display
from threadpoolctl import threadpool_limits
from torch import nn

plotting.use()
threadpool_limits(1)
torch.set_num_threads(1)  # one core for everybody: the comparisons below are of algorithms
checking.start("23_multimodal_speech", total=9)
where = device.best()  # a GPU where there is one: the trainings below then take larger models and more data


# %% [markdown]
# ## Derive
#
# ### An invented language
#
# Recordings of people are large, and nobody knows in them exactly where one sound ends. So this module speaks itself.
# `datasets.commands` makes short utterances of a language with eight sounds (**phones**): five vowels, the nasal *m*,
# and the hissing *s* and *sh*. A vowel is a pulse of the vocal cords, 90 to 220 times a second, that rings in three
# resonances of the mouth. A speaker has a pitch and a mouth of their own: the resonances of a long mouth are lower.
# Speed, melody and noise differ from utterance to utterance. Because the wave is computed, the place of every phone is
# known, to the sample. Training does not use it; we look at it afterwards.
#
# This is much easier than real speech: eight phones, evenly spoken, in a steady hiss.

# %% tags=["demo"]
train = datasets.commands(demo_size(full=1_500, small=400, gpu=6_000), speakers=(0, 40))
test = datasets.commands(demo_size(full=200, small=48), speakers=(40, 60), seed=1)  # other speakers, other utterances
print(train)


def spelled(phones) -> str:
    return " ".join(train.names[p - 1] for p in phones)


for i in range(3):
    print(f"speaker {train.speaker[i]}, {len(train.waves[i]) / train.rate:.2f} s: {spelled(train.phones[i])}")
    display(Audio(train.waves[i], rate=train.rate, normalize=False))
heard = {tuple(phones) for phones in train.phones}
print(f"commands of the test that training has, too: {np.mean([tuple(p) in heard for p in test.phones]):.0%}")

# %% [markdown]
# ## Implement
#
# ### 23.1 `log_mel` · essential · level 3 of 4 · 20 min
#
# A wave of 16,000 numbers a second is a bad input: the same vowel, begun a thousandth of a second later, is another
# vector. The ear does not hear the numbers, it hears how strong each frequency is, and how this changes. So cut the
# wave into short **frames** of $W$ samples, one every $H$ samples, and take from each the strength of its frequencies.
#
# **Frames.** Frame $t$ holds the samples $tH, \dots, tH + W - 1$. The last one must end by sample $n - 1$, so there are
# $T = 1 + \lfloor (n - W) / H \rfloor$ of them, and none if $n < W$.
#
# **Window.** A frame cuts the wave off at both ends. The cut looks like a jump and smears every frequency over all
# others. So multiply the frame by a **Hann window**, which goes to 0 at its ends:
#
# $$w_j = \tfrac12 - \tfrac12 \cos(2 \pi j / W), \qquad j = 0, \dots, W - 1 .$$
#
# This is the *periodic* window: its next value, $w_W$, would be 0 again. The *symmetric* one divides by $W - 1$, ends
# with 0 itself, and is made for designing filters. `np.hanning` and `scipy.signal.windows.hann` without `sym=False`
# give the symmetric one; tutorials mix them up. For spectra the periodic one is right: its cosine has exactly one period
# in $W$ samples, so a tone at the frequency of a bin reaches its two neighbours and no other bin.
#
# **Power.** The discrete Fourier transform of the frame has the bins $k = 0, \dots, \lfloor W/2 \rfloor$ at the
# frequencies $k \cdot \text{rate} / W$. The power of a bin is its absolute value *squared*.
#
# **Mel filters.** We hear the step from 200 to 300 Hz clearly, and that from 5,000 to 5,100 Hz hardly. The **mel
# scale** says how far apart two frequencies sound:
#
# $$\operatorname{mel}(f) = 2595 \log_{10}(1 + f / 700) .$$
#
# Take $F + 2$ points, evenly spaced *in mel* from 0 to half the sampling rate; in Hz they are $b_0 < \dots < b_{F+1}$.
# Filter $j$ is a triangle over the frequencies: 0 up to $b_j$, 1 at $b_{j+1}$, 0 again from $b_{j+2}$ on. Its energy is
# the sum over the bins of triangle times power.
#
# **Logarithm.** Loudness is felt as a ratio. A wave that is $g$ times as strong has $g^2$ times the power, so the
# logarithm moves by the constant $2 \log g$. A floor keeps silence from $\log 0$.


# %% exercise="log_mel" points=3 minutes=20 forbids=["librosa", "torchaudio", "scipy.signal"] trains=["spectral features", "memory that stays constant"]
def log_mel(
    x: np.ndarray, rate: int, window: int = 400, hop: int = 160, filters: int = 40, floor: float = 1e-10
) -> np.ndarray:
    """The logarithm of the energy in each mel filter, for each frame of a wave.

    x: shape (n,), n >= 0, floats or integers of any kind, up to 1e30 in size, maybe a strided view; not modified.
    rate: samples a second, an integer >= 1. window >= 2, hop >= 1 (it may exceed window), filters >= 1:
      integers. floor > 0.

    1. Frame t, t = 0, 1, ..., holds x[t * hop : t * hop + window]. There are
       T = 1 + (n - window) // hop frames, none if n < window.
    2. Each frame is multiplied by the periodic Hann window, w_j = 0.5 - 0.5 cos(2 pi j / window).
    3. Power: |sum over j of w_j frame_j exp(-2 pi i j k / window)|^2, k = 0, ..., window // 2. Bin k
       stands for the frequency k * rate / window. Nothing is divided by window.
    4. With mel(f) = 2595 log10(1 + f / 700): filters + 2 points, evenly spaced in mel from mel(0) to
       mel(rate / 2), turned back to Hz, are b_0 < ... < b_(filters + 1). Filter j weighs the
       frequency f by max(0, min((f - b_j) / (b_(j+1) - b_j), (b_(j+2) - f) / (b_(j+2) - b_(j+1)))).
       It is not divided by its width. A filter that no bin falls into has energy 0.
    5. The result is the natural logarithm of max(energy, floor).

    Returns a new float64 array of shape (T, filters), computed in float64: each max(energy, floor) is
    right to 1e-9 of itself plus 1e-12 of the frame's power, summed over all bins.
    A wave may be long: for 10 minutes at 16,000 samples a second (77 MB as float64), beside x and the
    result (19 MB) at most 50 MB are used. So there is no room for a second copy of x.
    Forbidden: librosa, torchaudio, scipy.signal.
    """
    ### BEGIN SOLUTION
    frames = max(0, 1 + (len(x) - window) // hop)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    frequency = np.arange(window // 2 + 1) * rate / window
    top = 2595 * np.log10(1 + rate / 2 / 700)
    b = 700 * (10 ** (np.linspace(0, top, filters + 2) / 2595) - 1)
    rising = (frequency - b[:-2, None]) / (b[1:-1] - b[:-2])[:, None]
    falling = (b[2:, None] - frequency) / (b[2:] - b[1:-1])[:, None]
    weights = np.maximum(0, np.minimum(rising, falling))  # (filters, bins)
    result = np.empty((frames, filters))
    at_once = max(1, 400_000 // window)
    for start in range(0, frames, at_once):
        first = np.arange(start, min(start + at_once, frames)) * hop
        cut = x[first[:, None] + np.arange(window)] * hann
        power = np.abs(np.fft.rfft(cut, axis=1)) ** 2
        result[start : start + at_once] = np.log(np.maximum(power @ weights.T, floor))
    return result
    ### END SOLUTION


# %% [markdown] hints="log_mel"
# <details><summary>Hint 1: frames without a loop over them</summary>
#
# `first = np.arange(T) * hop` are the places where frames begin, and `x[first[:, None] + np.arange(window)]` is the
# matrix of all frames, (T, window). `np.fft.rfft(frames * hann, axis=1)` has the bins 0 to window // 2.
# </details>
# <details><summary>Hint 2: the filters</summary>
#
# Back from mel to Hz: $f = 700\,(10^{\text{mel} / 2595} - 1)$. With `b` of shape (filters + 2,) and `frequency` of shape
# (bins,), the rising sides of all triangles are `(frequency - b[:-2, None]) / (b[1:-1] - b[:-2])[:, None]`. A triangle
# is the smaller one of its two sides, and never below 0.
# </details>
# <details><summary>Hint 3: memory</summary>
#
# All frames of ten minutes at once take 192 MB: each sample is copied into two or three frames. Make an empty result,
# (T, filters), go through the frames a thousand at a time, and fill in its rows.
# </details>

# %% check="log_mel"
with check("log_mel", forbids=["librosa", "torchaudio", "scipy.signal"]):
    four = np.array([0.0, 1.0, 1.0, 1.0, 5.0])
    # window = 4: Hann is 0, 1/2, 1, 1/2, so the frame is (0, 1/2, 1, 1/2) and its transform (2, -1, 0): power 4, 1, 0.
    # The bins are 0, 100, 200 Hz. One filter: mel(200) / 2 is the middle, 700 (sqrt(1 + 200 / 700) - 1) = 93.73 Hz.
    middle = 700 * (math.sqrt(1 + 200 / 700) - 1)
    height = (200 - 100) / (200 - middle)
    with expect_unchanged(four=four):
        got = log_mel(four, 400, window=4, hop=2, filters=1)
    expect_close(
        got,
        [[math.log(height)]],
        rtol=1e-9,
        hint="frame (0, 1, 1, 1), window, power, one triangle, logarithm",
        mistakes={
            "This is the symmetric window: divide by window, not by window - 1.": [[math.log(1.125 * height)]],
            "The filters are even in Hz: space their points evenly in mel.": [[0.0]],
            "This is the logarithm to base 10.": [[math.log10(height)]],
        },
    )
    expect_dtype(got, np.float64)
    second = np.random.default_rng(0).standard_normal(16_000)
    got = log_mel(second, 16_000)
    expect_shape(got, (98, 40))
    expect_close(log_mel(10 * second, 16_000) - got, np.full((98, 40), 2 * math.log(10)), rtol=1e-6,
                 hint="ten times the wave is a hundred times the power",
                 mistakes={"This is the magnitude: square it.": np.full((98, 40), math.log(10))})  # fmt: skip
    loud = np.array([0, 30_000, -30_000, 30_000], np.int16)
    expect_close(
        log_mel(loud, 400, 4, 4, 1), log_mel(loud.astype(float), 400, 4, 4, 1), hint="integers must not overflow"
    )
    expect_close(log_mel(four, 400, 4, 2, 1, floor=5.0), [[math.log(5)]], hint="the larger of energy and floor")
    expect_close(log_mel(np.zeros(500, np.int16), 8000), np.full((1, 40), math.log(1e-10)), hint="floor")
    expect_shape(log_mel(four, 16_000), (0, 40), hint="a wave shorter than the window has no frames")

# %% tags=["demo"]
wave, starts = test.waves[0], test.starts[0]
mel = log_mel(wave, test.rate)
print(spelled(test.phones[0]))
display(Audio(wave, rate=test.rate, normalize=False))
figure, (top, bottom) = plt.subplots(2, 1, figsize=(10, 6.4), sharex=True, layout="constrained")
seconds = np.arange(len(wave)) / test.rate
top.plot(seconds, wave, linewidth=0.5)
top.set(ylabel="pressure", title="The wave: where one phone ends can hardly be seen")
picture = bottom.imshow(
    mel.T, origin="lower", aspect="auto", extent=(0.0075, 0.0075 + 0.01 * len(mel), -0.5, 39.5), cmap="magma"
)
figure.colorbar(picture, ax=bottom, label="log energy", pad=0.01)
for ax, colour in ((top, plotting.COLOURS[1]), (bottom, "white")):
    for place in starts / test.rate:
        ax.axvline(place, color=colour, linewidth=0.8, linestyle=":")
for name, place in zip(test.phones[0], (starts[1:] + starts[:-1]) / 2 / test.rate, strict=True):
    bottom.text(place, 36, test.names[name - 1], color="white", ha="center")
bottom.grid(False)
bottom.set(xlabel="seconds", ylabel="mel filter", title="The log-mel spectrogram: each phone has its bands")
plt.show()

# %% [markdown]
# The voiced phones show up to three bands, the resonances; *s* and *sh* are a patch high up. The dotted lines are the true
# borders. The filters themselves are narrow at low frequencies and wide at high ones:

# %% tags=["demo"]
points = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 12) / 2595) - 1)
figure, ax = plt.subplots(figsize=(8, 3))
for j in range(10):
    ax.plot(points[j : j + 3], [0, 1, 0], color=plotting.COLOURS[j % 4])
ax.set(xlabel="frequency in Hz", ylabel="weight", title="Ten mel filters: even in mel, ever wider in Hz")
plt.show()

# %% [markdown]
# Forty numbers every hundredth of a second. What is said in them? If each frame had its label, this would be
# classification. But nobody labels frames by hand. Can we learn from the sentence alone?
#
# ### 23.2 `ctc_loss` · essential · level 4 of 4 · 40 min
#
# The network gives, for each of $T$ frames, probabilities $p_t(c)$ of $C$ labels. The target is a shorter sequence $y$
# of $S$ labels. Which frame belongs to which label is unknown. **Connectionist temporal classification** (CTC; Graves
# et al., 2006) does not choose an alignment. It adds up all of them.
#
# Add one label, the **blank** (number 0): "nothing new here". A **path** $z = (z_1, \dots, z_T)$ gives each frame a
# label or the blank. It *collapses* to a sequence in two steps, in this order: merge equal neighbours into one, then
# remove the blanks. So `a a - a m m` becomes `a - a m`, then `a a m`. A blank must stand between two equal labels, or
# they would be merged. Given the network's output, frames are taken as independent, and
#
# $$P(y) = \sum_{z \,\to\, y} \; \prod_{t=1}^{T} p_t(z_t), \qquad J = -\log P(y) .$$
#
# There are up to $C^T$ paths. Dynamic programming adds them in $T (2S + 1)$ steps. Write $y'$ for $y$ with blanks
# before, between and after: $y'_0 = -,\; y'_1 = y_1,\; y'_2 = -,\; \dots,\; y'_{2S} = -$. A path that collapses to $y$
# walks through $y'$ from left to right. It begins at $y'_0$ or $y'_1$. At each frame it
#
# - stays where it is, or
# - goes one place on, or
# - goes two places on, *if* this skips a blank between two *different* labels: $y'_s \ne -$ and $y'_s \ne y'_{s-2}$.
#
# It ends at $y'_{2S}$ or at $y'_{2S - 1}$: after the last label a blank may follow or not. Let $\ell_t(s)$ be the log of
# the sum of the probabilities of all beginnings of paths that stand at place $s$ at frame $t$. Then
#
# $$\ell_t(s) = \log p_t(y'_s) + \log\Bigl( \exp \ell_{t-1}(s) + \exp \ell_{t-1}(s-1) + [\text{skip allowed}]\, \exp \ell_{t-1}(s-2) \Bigr),$$
#
# $$J = -\log\bigl( \exp \ell_T(2S) + \exp \ell_T(2S-1) \bigr) .$$
#
# The first row has $\ell_1(0) = \log p_1(-)$ and $\ell_1(1) = \log p_1(y_1)$; all its other places are $-\infty$. (Frames
# count from 1 here. In code they count from 0.)
#
# **In logarithms**, because 2,000 factors of 0.1 are $10^{-2000}$, and the smallest float64 is near $10^{-308}$.
#
# **All places at once.** Row $\ell_t$ needs row $\ell_{t-1}$ only: the three terms are the row itself, the row moved by
# one and the row moved by two. So Python loops over $T$ alone, and the places $s$ and the $B$ utterances of a batch
# are entries of one tensor $(B, 2S + 1)$.
#
# **Different lengths.** Utterance $b$ stops at its own last frame: from there on, its row is kept as it is. It is read
# at its own last two places. Everything beyond is padding, and nothing may depend on it.
#
# **Impossible targets.** Each label needs a frame, and each pair of equal neighbours one more. With fewer no
# path exists, $P(y) = 0$ and $J = \infty$. Infinities spoil gradients: $\infty - \infty$ is nan, and nan times 0 is nan.
# A very low finite number, such as $-10^{30}$, is a safe $\log 0$.
#
# **On a GPU** a tensor that you make must be made where the others are: `torch.arange(T, device=logits.device)`. On a CPU
# this changes nothing. It holds for all exercises with tensors below.


# %% exercise="ctc_loss" points=4 minutes=40 forbids=["torch.nn.functional.ctc_loss", "torch.nn.CTCLoss", "torch.nn.modules", "torch.ctc_loss", "torch._ctc_loss", "torch._cudnn_ctc_loss", "torch._C", "torch._VF", "torch.ops", "torchaudio"] trains=["dynamic programming", "training without alignments", "masks"]
def ctc_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    input_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    blank: int = 0,
) -> torch.Tensor:
    """-log P(target) of each utterance of a batch: the sum over all paths that collapse to its target.

    logits: (T, B, C), float64 or float32, T >= 1, B >= 1, C >= 1; p_t = softmax(logits[t, b]).
    targets: (B, S) int64, S >= 0, labels in 0..C-1, none of them the blank.
    input_lengths: (B,) int64, from 1 to T. target_lengths: (B,) int64, from 0 to S.
    blank: 0 <= blank < C.
    All stay as they are. They may be views in any order of memory.

    A path gives each of the first input_lengths[b] frames one of the C labels. It collapses: equal
    neighbours are merged first, then blanks are removed. P(target) is the sum, over all paths that
    collapse to targets[b, : target_lengths[b]], of the products of their probabilities. The empty
    target is that of the path of blanks alone.

    Returns a tensor (B,) of the dtype of logits: -log P for each utterance, not averaged, inf where no
    path collapses to the target. Autograd differentiates it: the gradient with respect to logits is
    right for each utterance with a finite loss, also if others in the batch have inf (no gradient is
    asked of those). The result is right to 1e-9 times max(1, loss) in float64, 1e-4 times in float32,
    for T up to 2,000 and logits from -100 to 100.
    Padding (logits of frames from input_lengths[b] on, targets from target_lengths[b] on) may hold
    anything, also nan, inf, and labels that do not exist. It has no influence; its gradient is 0.
    The Python loop runs over T alone: the number of torch operations does not grow with B, S or C.
    A frame costs O(B (S + C)), in time and in memory: no matrix of places by places.
    Forbidden: torch.nn.functional.ctc_loss, torch.nn.CTCLoss, torch.nn.modules, torch.ctc_loss,
    torch._ctc_loss, torch._cudnn_ctc_loss, torch._C, torch._VF, torch.ops, torchaudio.
    """
    ### BEGIN SOLUTION
    low = -1e30
    T, B, _C = logits.shape
    S = targets.shape[1]
    inside = torch.arange(T, device=logits.device)[:, None] < input_lengths  # (T, B)
    log_p = torch.where(inside[..., None], logits, 0).log_softmax(-1)
    real = torch.arange(S, device=logits.device) < target_lengths[:, None]
    extended = torch.full((B, 2 * S + 1), blank, device=logits.device)
    extended[:, 1::2] = torch.where(real, targets, blank)
    skip = torch.zeros_like(extended, dtype=torch.bool)
    skip[:, 2:] = (extended[:, 2:] != blank) & (extended[:, 2:] != extended[:, :-2])
    at_places = log_p.gather(2, extended.expand(T, -1, -1))  # (T, B, 2S + 1)
    first = torch.arange(2 * S + 1, device=logits.device) < 2
    row = torch.where(first, at_places[0], low)
    for t in range(1, T):
        padded = F.pad(row, (2, 0), value=low)
        jumped = torch.where(skip, padded[:, :-2], low)
        came = torch.stack([row, padded[:, 1:-1], jumped]).logsumexp(0)
        row = torch.where(inside[t, :, None], at_places[t] + came, row)
    ends = F.pad(row, (1, 0), value=low)  # place -1 in front, for an empty target
    last = 2 * target_lengths[:, None]
    total = torch.cat([ends.gather(1, last), ends.gather(1, last + 1)], 1).logsumexp(1)
    return torch.where(total < low / 2, math.inf, -total)
    ### END SOLUTION


# %% [markdown] hints="ctc_loss"
# <details><summary>Hint 1: the places</summary>
#
# `extended = torch.full((B, 2 * S + 1), blank)`, and `extended[:, 1::2] = targets` (with the padding of targets replaced
# by the blank, so that every label exists). `log_p.gather(2, extended.expand(T, -1, -1))` has the log probability of
# each place at each frame, (T, B, 2S + 1). Before `log_softmax`, put 0 where a frame is padding: a nan that is only
# masked afterwards still reaches the gradient.
# </details>
# <details><summary>Hint 2: one frame</summary>
#
# With `padded = F.pad(row, (2, 0), value=-1e30)`, the row moved by one is `padded[:, 1:-1]`, and by two `padded[:, :-2]`.
# Put -1e30 into the latter wherever no skip is allowed. The three, stacked, go through `logsumexp`. Then
# `row = torch.where(frame t belongs to the utterance, new row, row)`.
# </details>
# <details><summary>Hint 3: the two ends, padding and infinity</summary>
#
# `row.gather(1, 2 * target_lengths[:, None])` is the last blank; the last label stands one place before. An empty target
# has no label before it: its second term is -1e30. If the total is below -5e29, no path exists: return inf there, by
# `torch.where`.
# </details>

# %% check="ctc_loss"
with check(
    "ctc_loss",
    forbids=[
        "torch.nn.functional.ctc_loss",
        "torch.nn.CTCLoss",
        "torch.nn.modules",
        "torch.ctc_loss",
        "torch._ctc_loss",
        "torch._cudnn_ctc_loss",
        "torch._C",
        "torch._VF",
        "torch.ops",
        "torchaudio",
    ],
):
    logits_small = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.1, 0.6, 0.3]])).double()[:, None]
    one, three = torch.tensor([1]), torch.tensor([3])
    # Two frames, target (1): the paths 11, 1-, -1 have 0.3 * 0.4 + 0.3 * 0.4 + 0.5 * 0.4 = 0.44.
    got = ctc_loss(logits_small[:2], torch.tensor([[1]]), torch.tensor([2]), one)
    expect_shape(got, (1,))
    expect_close(
        got,
        [-math.log(0.44)],
        rtol=1e-6,
        hint="the paths 11, 1-, -1",
        mistakes={
            "A path may end at the last label or at the blank after it: add both.": [-math.log(0.32)],
            "A path may begin at the blank or at the first label: allow both.": [-math.log(0.2)],
        },
    )
    # Target (1, 1) needs a blank between: of three frames only 1-1, which has 0.3 * 0.4 * 0.6.
    got = ctc_loss(logits_small, torch.tensor([[1, 1]]), three, torch.tensor([2]))
    expect_close(got, [-math.log(0.072)], rtol=1e-6, hint="between equal labels a blank must stand: no skip there")
    # Target (1, 2): 112, 122, -12, 1-2, 12-.
    paths = 0.3 * 0.4 * 0.3 + 0.3 * 0.2 * 0.3 + 0.5 * 0.4 * 0.3 + 0.3 * 0.4 * 0.3 + 0.3 * 0.2 * 0.1
    got = ctc_loss(logits_small, torch.tensor([[1, 2]]), three, torch.tensor([2]))
    expect_close(got, [-math.log(paths)], rtol=1e-6, hint="between different labels a path may skip the blank")
    turned = ctc_loss(logits_small.flip(2), torch.tensor([[1, 0]]), three, torch.tensor([2]), blank=2)
    expect_close(turned, [-math.log(paths)], rtol=1e-6, hint="the blank is an argument")
    # Three utterances of one batch: two frames of three; the empty target; an impossible one.
    batch = logits_small.repeat(1, 3, 1)
    batch[2, 0] = math.nan  # padding may hold anything
    batch.requires_grad_()
    labels = torch.tensor([[1, 99], [2, -7], [1, 1]])
    got = ctc_loss(batch, labels, torch.tensor([2, 3, 2]), torch.tensor([1, 0, 2]))
    assert bool(torch.isinf(got[2])), "two frames cannot hold 1-1: the loss is inf"
    expect_close(
        got[:2].detach(), [-math.log(0.44), -math.log(0.02)], rtol=1e-6, hint="stop each utterance at its own length"
    )
    got[:2].sum().backward()
    assert bool(torch.isfinite(batch.grad[:, :2]).all()), "padding and impossible targets must leave gradients finite"
    # Of utterance 0 at frame 0: p - (share of the paths with each label) = (0.5 - 0.2 / 0.44, 0.3 - 0.24 / 0.44, 0.2).
    expect_close(batch.grad[0, 0], [0.5 - 0.2 / 0.44, 0.3 - 0.24 / 0.44, 0.2], rtol=1e-5, hint="autograd of your loss")
    expect_close(batch.grad[2, 0], [0.0, 0.0, 0.0], hint="padding has the gradient 0")

# %% [markdown]
# The gradient in the check has a form that holds in general. Let $q_t(c)$ be the part of $P(y)$ that comes from paths
# with $z_t = c$, divided by $P(y)$. Each such path has
# the factor $p_t(c)$, so $\partial \log P / \partial \log p_t(c) = q_t(c)$, and through the softmax $\partial J / \partial \text{logit}_t(c) = p_t(c) - q_t(c)$. In softmax regression
# the second term is 1 for the true label. Here the model itself says how the label is spread over the frames, and
# training sharpens its own alignment.
#
# ### 23.3 `Recogniser` · essential · level 2 of 4 · 15 min
#
# The network turns features $(B, T, F)$ into logits. Three convolutions along time see 21 frames, a fifth of a second.
# The first one takes every second frame only, so $T$ halves: the loss costs half, and phones are still longer than two
# steps. Utterances differ in length, and a batch pads them. A convolution mixes neighbours, so padding would leak into
# the last valid frames. The remedy is a **mask**: frames beyond the length are set to 0 before *each* convolution. A
# convolution's own padding is 0 as well, so an utterance has the same logits alone and in any batch.


# %% exercise="Recogniser" points=2 minutes=15 trains=["training without alignments", "masks"]
class Recogniser(nn.Module):
    """Logits of labels for each second frame: three convolutions along time and a linear layer.

    Recogniser(filters, labels, width), all at least 1; `labels` counts the blank. Its parts:
      first: nn.Conv1d(filters, width, 5, stride=2, padding=2).
      second, third: nn.Conv1d(width, width, 5, padding=2) each.
      out: nn.Linear(width, labels).
    The state has no other entry.

    forward(x, lengths):
      x: (B, T, filters), floats of the parameters' dtype, B >= 1, T >= 1; not modified.
      lengths: (B,) int64, from 1 to T: frames of each utterance; not modified.
    Convolutions run along time and take (B, channels, T), so the axes are swapped before and after.
      1. a = relu(first(x with its padding set to 0)). It has T' = (T + 1) // 2 frames, and
         utterance b has (lengths[b] + 1) // 2 valid ones.
      2. a = a + relu(second(a with its padding set to 0)).
      3. a = a + relu(third(a with its padding set to 0)).
      4. logits = out(a).
    Padding, at each step: the frames of utterance b from its number of valid frames on.
    Returns (logits, lengths'): (T', B, labels), time first, as `ctc_loss` takes them, and (B,) int64,
    (lengths + 1) // 2. Logits in the padding are finite, and nothing else is asked of them.
    Padding of x may hold anything, also nan. It has no influence on valid frames, and its gradient
    is 0. So an utterance has the same valid logits alone as in a batch, to rounding.
    """

    ### BEGIN SOLUTION
    def __init__(self, filters: int, labels: int, width: int):
        super().__init__()
        self.first = nn.Conv1d(filters, width, 5, stride=2, padding=2)
        self.second = nn.Conv1d(width, width, 5, padding=2)
        self.third = nn.Conv1d(width, width, 5, padding=2)
        self.out = nn.Linear(width, labels)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        def cut(a, lengths):
            valid = torch.arange(a.shape[2], device=a.device) < lengths[:, None]
            return torch.where(valid[:, None], a, 0)

        a = torch.relu(self.first(cut(x.transpose(1, 2), lengths)))
        lengths = (lengths + 1) // 2
        for layer in (self.second, self.third):
            a = a + torch.relu(layer(cut(a, lengths)))
        return self.out(a.permute(2, 0, 1)), lengths

    ### END SOLUTION


# %% [markdown] hints="Recogniser"
# <details><summary>Hint 1: the mask</summary>
#
# `valid = torch.arange(a.shape[2]) < lengths[:, None]` has shape (B, T). `torch.where(valid[:, None], a, 0)` sets the
# padding of a, (B, channels, T), to 0. A product with the mask would keep a nan: nan times 0 is nan.
# </details>
# <details><summary>Hint 2: nearly the answer</summary>
#
# `a = torch.relu(self.first(cut(x.transpose(1, 2), lengths)))`, then `lengths = (lengths + 1) // 2`, then twice
# `a = a + torch.relu(layer(cut(a, lengths)))`, where `cut` is the mask of hint 1. `a.permute(2, 0, 1)` puts time first.
# </details>

# %% check="Recogniser"
with check("Recogniser"):
    torch.manual_seed(0)
    net = Recogniser(3, 4, 8)
    expect_shape(net.first.weight, (8, 3, 5))
    assert sum(p.numel() for p in net.parameters()) == 128 + 2 * 328 + 36, "four parts, with the sizes of the docstring"
    x_small = torch.randn(2, 9, 3)
    x_small[1, 5:] = math.nan
    logits_small, lengths_small = net(x_small, torch.tensor([9, 5]))
    expect_shape(logits_small, (5, 2, 4), hint="time first; each second frame")
    expect_close(lengths_small, [5, 3], hint="(length + 1) // 2")
    assert bool(torch.isfinite(logits_small).all()), "logits are finite, whatever the padding holds"
    with torch.no_grad():
        alone = net(x_small[1:, :5], torch.tensor([5]))[0]
        a = torch.relu(net.first(x_small[:1].transpose(1, 2)))
        a = a + torch.relu(net.second(a))
        whole = net.out((a + torch.relu(net.third(a))).permute(2, 0, 1))
    expect_close(logits_small[:, :1].detach(), whole, rtol=1e-4, atol=1e-5, hint="first, then second and third added")
    expect_close(
        logits_small[:3, 1:].detach(), alone, rtol=1e-4, atol=1e-5, hint="set the padding to 0 before each convolution"
    )

# %% [markdown]
# ### 23.4 `ctc_greedy` · important · level 1 of 4 · 10 min
#
# The network says, at each frame, how probable each label is. The quickest way to a sentence takes the most probable
# label of each frame, a path, and collapses it as in 23.2.
#
# **Find the bug.** The function below runs, and on most utterances its answer is right. In which words is it not?


# %% exercise="ctc_greedy" points=1 minutes=10 bug=true trains=["decoding"]
def ctc_greedy(log_probs: np.ndarray, blank: int = 0) -> list[int]:
    """What the most probable path collapses to.

    log_probs: (T, C), floats, T >= 0, C >= 1; may hold -inf, no nan; not modified.
    blank: 0 <= blank < C.
    The path has the label with the largest entry at each frame, the smallest such label in a tie. It
    collapses as in `ctc_loss`. Returns a list of Python integers.
    """
    ### BEGIN SOLUTION
    path = np.argmax(log_probs, axis=1).tolist()
    merged = [label for t, label in enumerate(path) if t == 0 or label != path[t - 1]]
    return [label for label in merged if label != blank]
    ### END SOLUTION
    ### BEGIN BUG
    # path = np.argmax(log_probs, axis=1).tolist()
    # said = [label for label in path if label != blank]
    # return [label for t, label in enumerate(said) if t == 0 or label != said[t - 1]]
    ### END BUG


# %% [markdown] hints="ctc_greedy"
# <details><summary>Hint 1</summary>
#
# Write down the path `a - a`, and what it means by the definition in 23.2. What does the function make of it?
# </details>
# <details><summary>Hint 2</summary>
#
# The blank is what separates two equal labels. It must still be there when neighbours are merged. So merge first, over
# all labels and blanks, and remove the blanks afterwards.
# </details>

# %% check="ctc_greedy"
with check("ctc_greedy"):
    path_small = [0, 1, 1, 0, 1, 2, 2, 2, 0, 0, 2, 1]
    with expect_unchanged(path=(log_probs_small := np.log(np.eye(3)[path_small] * 0.7 + 0.1))):
        got = ctc_greedy(log_probs_small)
    expect_close(
        got,
        [1, 1, 2, 2, 1],
        hint="merge 0 11 0 1 222 00 2 1 to 0 1 0 1 2 0 2 1, then remove the blanks",
        mistakes={"Blanks went before repeats were merged: a blank between two equal labels keeps both.": [1, 2, 1]},
    )
    assert isinstance(got, list) and all(type(label) is int for label in got), "a list of Python integers"
    expect_close(ctc_greedy(log_probs_small, blank=2), [0, 1, 0, 1, 0, 1], hint="the blank is an argument")
    assert ctc_greedy(np.zeros((0, 3))) == [], "no frames, no labels"

# %% [markdown]
# ### 23.5 `error_rate` · important · level 1 of 4 · 10 min
#
# How wrong is a guess? Count the fewest **edits** that turn the guess into the reference: a symbol deleted, inserted,
# or replaced (Levenshtein, 1966). With $E(i, j)$ for the first $i$ symbols of the reference and the first $j$ of the
# guess,
#
# $$E(i, j) = \min\bigl(E(i-1, j) + 1,\; E(i, j-1) + 1,\; E(i-1, j-1) + [\text{they differ}]\bigr), \qquad E(i, 0) = i, \; E(0, j) = j .$$
#
# Row $i$ needs row $i - 1$ only, so memory is one row. The rate of a test set is the *sum* of all edits divided by the
# *sum* of all lengths of the references. The mean of the sentences' own rates is another number: it gives a sentence of
# three symbols the weight of one of thirty.


# %% exercise="error_rate" points=1 minutes=10 trains=["metrics with clear definitions", "dynamic programming"]
def error_rate(guesses: Sequence[Sequence], references: Sequence[Sequence]) -> float:
    """Edits that turn the guesses into the references, divided by the length of all references.

    guesses, references: equally many (>= 0) sequences each: lists or tuples of integers or of texts,
      or texts (whose symbols are their characters), of any length >= 0. Two symbols are the same if
      == says so. Not modified.
    An edit deletes, inserts or replaces one symbol. The fewest edits of each pair are summed over all
    pairs. Returns this sum / the sum of the references' lengths, a Python float, maybe above 1; if
    all references are empty, 0.0 if all guesses are, too, else math.inf.
    Raises ValueError where there are not as many guesses as references.
    Memory: for sequences of 1,000 and 3,000 symbols at most 20 MB, so no table of Python's numbers.
    """
    ### BEGIN SOLUTION
    if len(guesses) != len(references):
        raise ValueError(f"{len(guesses)} guesses for {len(references)} references")
    edits = 0
    for guess, reference in zip(guesses, references, strict=True):
        row = list(range(len(guess) + 1))
        for i, symbol in enumerate(reference):
            above, row[0] = row[0], i + 1
            for j, other in enumerate(guess):
                above, row[j + 1] = row[j + 1], min(row[j + 1] + 1, row[j] + 1, above + (symbol != other))
        edits += row[-1]
    length = sum(map(len, references))
    return edits / length if length else math.inf if edits else 0.0
    ### END SOLUTION


# %% [markdown] hints="error_rate"
# <details><summary>Hint 1</summary>
#
# Start with the row `list(range(len(guess) + 1))`: to make $j$ symbols of the guess vanish takes $j$ edits. For each
# symbol of the reference make the next row, which begins with $i + 1$.
# </details>
# <details><summary>Hint 2: nearly the answer</summary>
#
# `new = [i + 1]`, then for each `j`: `new.append(min(row[j + 1] + 1, new[j] + 1, row[j] + (symbol != guess[j])))`, then
# `row = new`. The edits of the pair are `row[-1]`. Sum the edits and the lengths of all pairs, and divide once.
# </details>

# %% check="error_rate"
with check("error_rate"):
    # kitten -> sitting: two replaced, one inserted: 3 edits of 7. "abc" -> "b": 2 edits of 1. In all 5 / 8.
    expect_close(
        error_rate(["kitten", "abc"], ["sitting", "b"]),
        5 / 8,
        hint="all edits / all lengths",
        mistakes={
            "This is the mean of the rates of the sentences: sum edits and lengths first.": (3 / 7 + 2) / 2,
            "You divided by the lengths of the guesses.": 5 / 9,
        },
    )
    assert error_rate([[1, 2, 3]], [(1, 2, 3)]) == 0.0, "a list and a tuple with the same symbols are equal"
    assert type(error_rate(["a"], ["b"])) is float, "a Python float"
    assert error_rate([[], ["up"]], [[], []]) == math.inf and error_rate([], []) == 0.0, "no reference symbols at all"
    expect_close(error_rate([[]], [[5, 5]]), 1.0, hint="two symbols to insert")
    with expect_raises(ValueError):
        error_rate(["a"], [])

# %% [markdown]
# ### Training, and what the network aligned by itself
#
# All parts are there. The training takes batches of utterances of similar length, so that little is padding, and Adam
# from module 02. Features get mean 0 and variance 1 by the statistics of 200 utterances of the training set, one pair of
# numbers for each filter. On a GPU, the same cells train a wider network on more utterances. The bar: after both cells, fewer than 5 wrong
# phones in 100, from speakers that training never heard.


# %% tags=["demo"]
def features(data) -> list[torch.Tensor]:
    """The log-mel features of each utterance, standardised by those of the training set."""
    return [torch.from_numpy(((log_mel(wave, data.rate) - centre) / spread).astype(np.float32)) for wave in data.waves]


found = np.concatenate([log_mel(wave, train.rate) for wave in train.waves[:200]])
centre, spread = found.mean(axis=0), found.std(axis=0)
X_train, X_test = features(train), features(test)


def padded(X, phones):
    """A batch: x (B, T, F), lengths, targets (B, S), target lengths, on the device."""
    lengths, counts = (torch.tensor([len(part) for part in parts]) for parts in (X, phones))
    x = nn.utils.rnn.pad_sequence(X, batch_first=True)
    targets = nn.utils.rnn.pad_sequence([torch.from_numpy(part) for part in phones], batch_first=True)
    return tuple(part.to(where) for part in (x, lengths, targets, counts))


def posteriors(net, X) -> list[np.ndarray]:
    """log p of each utterance, (T', C)."""
    found = []
    with torch.no_grad():
        for start in range(0, len(X), 50):
            part = X[start : start + 50]
            x, lengths, *_ = padded(part, [np.zeros(0, np.int64)] * len(part))
            logits, lengths = net(x, lengths)
            log_p = logits.log_softmax(-1).double().cpu().numpy()
            found += [log_p[:length, i] for i, length in enumerate(lengths.tolist())]
    return found


def train_epochs(net, optimiser, X, phones, epochs, rng):
    """Go through the utterances, in batches of similar length. Returns the mean loss of each epoch."""
    order, means = np.argsort([len(part) for part in X], kind="stable"), []
    batches = np.array_split(order, max(1, len(X) // demo_size(full=32, small=16)))
    for _ in range(epochs):
        losses = []
        for k in rng.permutation(len(batches)):
            x, lengths, targets, counts = padded([X[i] for i in batches[k]], [phones[i] for i in batches[k]])
            logits, lengths = net(x, lengths)
            loss = ctc_loss(logits, targets, lengths, counts).mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimiser.step()
            losses.append(float(loss.detach()))
        means.append(float(np.mean(losses)))
    return means


torch.manual_seed(0)
recogniser = Recogniser(40, 9, demo_size(full=48, small=24, gpu=256)).to(where)
adam = torch.optim.Adam(recogniser.parameters(), 3e-3)
shuffled = np.random.default_rng(0)
began = time.process_time()
first_losses = []
for epoch in range(demo_size(full=3, small=6)):
    first_losses += train_epochs(recogniser, adam, X_train, train.phones, 1, shuffled)
    log_ps = posteriors(recogniser, X_test)
    silent = np.mean(np.concatenate([log_p.argmax(axis=1) for log_p in log_ps]) == 0)
    wrong = error_rate([ctc_greedy(log_p) for log_p in log_ps], test.phones)
    print(f"epoch {epoch + 1}: loss {first_losses[-1]:.2f}, blank in {silent:.0%} of the frames; ", end="")
    print(f"phone error on speakers never heard {wrong:.1%}")
print(f"{time.process_time() - began:.0f} CPU s")

# %% [markdown]
# A CTC network begins with blanks: where it knows nothing, a blank is on most paths. Then phones appear as narrow peaks.
# Now the rest, with half the rate.

# %% tags=["demo"]
for group in adam.param_groups:
    group["lr"] = 1.5e-3
began = time.process_time()
later_losses = train_epochs(recogniser, adam, X_train, train.phones, demo_size(full=4, small=4), shuffled)
log_ps = posteriors(recogniser, X_test)
phone_error = error_rate([ctc_greedy(log_p) for log_p in log_ps], test.phones)
print(f"loss by epoch: {', '.join(f'{loss:.2f}' for loss in later_losses)} ({time.process_time() - began:.0f} CPU s)")
print(f"phone error on speakers never heard: {phone_error:.1%} (the bar: below {demo_size(full=5, small=25)}%)")
for i in range(4):
    print(f"  said: {spelled(test.phones[i]):24} understood: {spelled(ctc_greedy(log_ps[i]))}")

# %% tags=["demo"]
p, starts = np.exp(log_ps[0]), test.starts[0] / test.rate
at = 0.0125 + 0.02 * np.arange(len(p))  # the middle of each second frame
figure, ax = plt.subplots(figsize=(10, 3.8), layout="constrained")
ax.plot(at, p[:, 0], color="0.6", linewidth=1, label="blank")
for j, label in enumerate(sorted(set(test.phones[0].tolist()))):
    style = {"color": plotting.COLOURS[j % len(plotting.COLOURS)], "marker": "os^vDP*X"[j % 8], "markersize": 4}
    ax.plot(at, p[:, label], label=test.names[label - 1], **style)
for place in starts:
    ax.axvline(place, color="0.5", linewidth=0.8, linestyle=":")
for name, place in zip(test.phones[0], (starts[1:] + starts[:-1]) / 2, strict=True):
    ax.text(place, 1.04, test.names[name - 1], ha="center")
ax.set(
    xlabel="seconds",
    ylabel="probability",
    ylim=(0, 1.12),
    title="Each phone is a peak between its true borders, or at their edge",
)
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# Nobody told the network where a phone is. The dotted lines are the true borders, which it never saw: the peaks lie
# between them. Between the peaks stands the blank.
#
# Greedy decoding follows one path. But a sentence is worth the sum of *all* its paths. Which sentence is best then?
#
# ### 23.6 `ctc_beam` · important · level 3 of 4 · 30 min
#
# Two frames, $p(\text{blank}) = 0.6$ and $p(\text{a}) = 0.4$ in both. The best path is blank, blank, with 0.36, so
# greedy decoding says nothing at all. But `a` has the paths `a a`, `a -` and `- a`: $0.16 + 0.24 + 0.24 = 0.64$.
#
# **Beam search over prefixes.** Keep a set of beginnings of the sentence. A **prefix** $g$ carries two numbers, since
# what may come next depends on how its paths end: $P_-(g)$, the probability of all paths so far that collapse to $g$ and
# end with the blank, and $P_+(g)$, of those that end with its last label. At a new frame, each prefix sends its paths on:
#
# | the frame says | the path now collapses to | what it adds |
# | --- | --- | --- |
# | the blank | $g$ | $(P_-(g) + P_+(g))\; p(\text{blank})$ to $P_-(g)$ |
# | the last label $c$ of $g$ | $g$, for paths that end with $c$: they are merged | $P_+(g)\; p(c)$ to $P_+(g)$ |
# | the last label $c$ of $g$ | $g c$, for paths that end with the blank | $P_-(g)\; p(c)$ to $P_+(gc)$ |
# | any other label $c$ | $g c$ | $(P_-(g) + P_+(g))\; p(c)$ to $P_+(gc)$ |
#
# What arrives at the same prefix is *added*. To keep the better of two paths instead would find the
# best path, and not the best sentence. Then only the `width` most probable prefixes are kept. With an unlimited width the result is exact, and
# there are exponentially many prefixes; with a small one it is usually the same.


# %% exercise="ctc_beam" points=3 minutes=30 forbids=["torch", "torchaudio"] trains=["decoding", "search", "dynamic programming"]
def ctc_beam(log_probs: np.ndarray, width: int, blank: int = 0) -> tuple[list[int], float]:
    """The most probable label sequence that a beam of prefixes finds, and the log of its probability.

    log_probs: (T, C), float64 or float32, T >= 0, C >= 1: log p_t(c). Entries are at most 0 and may
      be -inf; each row has a finite one. Rows need not sum to 1. No nan. Not modified.
    width: an integer >= 1. blank: 0 <= blank < C.

    Starts with the empty prefix, P_- = 1 and P_+ = 0. At each frame every kept prefix is extended by
    the rules of the table above, and what arrives at the same prefix is added (in logarithms: T = 2,000
    must not underflow). Then the `width` prefixes with the largest P_- + P_+ are kept; of equal ones
    those that come first in the order of Python's lists. (No test has a
    tie that rounding may settle.) Prefixes with P_- + P_+ = 0 may be kept or not.
    Returns (labels, log(P_- + P_+)) of the best prefix after the last frame: a list of Python
    integers and a Python float, right to 1e-9 times max(1, its size). With T = 0: ([], 0.0).
    Forbidden: torch, torchaudio.
    """
    ### BEGIN SOLUTION
    never = -math.inf
    beam = {(): (0.0, never)}
    for frame in np.asarray(log_probs, np.float64).tolist():
        new = {}

        def add(prefix, of_blank, of_label, new=new):
            b, e = new.get(prefix, (never, never))
            new[prefix] = float(np.logaddexp(b, of_blank)), float(np.logaddexp(e, of_label))

        for prefix, (b, e) in beam.items():
            both = float(np.logaddexp(b, e))
            for label, log_p in enumerate(frame):
                if label == blank:
                    add(prefix, both + log_p, never)
                elif prefix and prefix[-1] == label:
                    add(prefix, never, e + log_p)
                    add((*prefix, label), never, b + log_p)
                else:
                    add((*prefix, label), never, both + log_p)
        best = sorted(new, key=lambda prefix: (-np.logaddexp(*new[prefix]), prefix))
        beam = {prefix: new[prefix] for prefix in best[:width]}
    prefix, ends = next(iter(beam.items()))
    return list(prefix), float(np.logaddexp(*ends))
    ### END SOLUTION


# %% [markdown] hints="ctc_beam"
# <details><summary>Hint 1: the data structure</summary>
#
# A dictionary from prefix (a tuple of labels) to a pair of logarithms. It starts as `{(): (0.0, -math.inf)}`. For each
# frame make a new one. `np.logaddexp(a, b)` is $\log(e^a + e^b)$ and allows `-inf`.
# </details>
# <details><summary>Hint 2: one frame</summary>
#
# Write a small function that adds to an entry of the new dictionary, with `(-inf, -inf)` where it is not there yet. Then
# go through prefixes and labels and follow the four lines of the table. The second and the third line belong to the
# same label: it adds to `g` *and* to `g c`.
# </details>
# <details><summary>Hint 3: what is kept</summary>
#
# `sorted(new, key=lambda g: (-np.logaddexp(*new[g]), g))[:width]`: the largest sum first, and in a tie the smaller tuple.
# The pruning comes after all prefixes of the frame have sent their paths on.
# </details>

# %% check="ctc_beam"
with check("ctc_beam", forbids=["torch", "torchaudio"]):
    frames_small = np.log([[0.6, 0.4], [0.6, 0.4]])
    with expect_unchanged(frames_small=frames_small):
        labels, log_p = ctc_beam(frames_small, 8)
    assert labels == [1], f"[1] has 0.16 + 0.24 + 0.24 = 0.64, the empty sequence only 0.36; yours is {labels}"
    assert type(labels) is list and type(log_p) is float, "a list and a Python float"
    expect_close(
        log_p,
        math.log(0.64),
        rtol=1e-9,
        hint="what arrives at the same prefix is added",
        mistakes={"You kept the better path instead of adding: [1] has three paths.": math.log(0.48)},
    )
    # Three frames, almost surely 1, blank, 1: only a blank between them makes two of them.
    labels, log_p = ctc_beam(np.log([[0.1, 0.9], [0.8, 0.2], [0.1, 0.9]]), 8)
    assert labels == [1, 1], f"the path 1-1 has 0.648, and collapses to [1, 1]; yours is {labels}"
    expect_close(log_p, math.log(0.648), rtol=1e-9, hint="[1, 1] comes from 1-1 alone")
    # Of width 1, only the best prefix survives each frame: after frame 1 the empty one (0.6); then blank 0.36, 1 0.24.
    expect_close(ctc_beam(frames_small, 1)[1], math.log(0.36), rtol=1e-9, hint="prune after each frame")
    assert ctc_beam(frames_small, 1)[0] == [], "with width 1 the prefix [1] is lost after the first frame"
    assert ctc_beam(np.log([[0.2, 0.4, 0.4]]), 5)[0] == [1], "of equal prefixes the first one, [1] before [2]"
    assert ctc_beam(frames_small[:, ::-1], 8, blank=1)[0] == [0], "the blank is an argument"
    # Of width 2, the third prefix of a frame is lost: [2] had 0.1 after the first frame, [] 0.5 and [1] 0.4.
    expect_close(
        ctc_beam(np.log([[0.5, 0.4, 0.1], [0.01, 0.01, 0.98]]), 2)[1], math.log(0.49), rtol=1e-9, hint="width 2"
    )
    assert ctc_beam(np.zeros((0, 3)), 2) == ([], 0.0), "without frames: the empty sequence, probability 1"
    expect_close(ctc_beam(np.full((2000, 2), -9.0), 2)[1] < -15_000, True, hint="stay in logarithms")

# %% tags=["demo"]
some = slice(0, demo_size(full=60, small=12))
rows = []
for width in demo_size(full=(1, 2, 8), small=(1, 2)):
    began = time.perf_counter()
    decoded = [ctc_beam(log_p, width) for log_p in log_ps[some]]
    rows.append(
        (
            f"beam of {width}",
            f"{error_rate([labels for labels, _ in decoded], test.phones[some]):.1%}",
            f"{np.mean([log_p for _, log_p in decoded]):.4f}",
            seconds_text(time.perf_counter() - began),
        )
    )
greedy = [ctc_greedy(log_p) for log_p in log_ps[some]]
rows.insert(0, ("greedy", f"{error_rate(greedy, test.phones[some]):.1%}", "", ""))
Table(("decoder", "phone error", "mean log probability", "time"), rows, numeric=(1, 2, 3))

# %% [markdown]
# A wider beam finds sentences of higher probability. On a network that is this sure, the phone error hardly moves: its
# peaks leave little to choose. A beam is worth its time where a language model joins in: its log probability is added
# whenever a prefix grows (Hannun et al., 2014), and then prefixes differ by more than their sounds.
#
# ### From aligned to paired
#
# CTC had sentences without places. Go one step further: pictures with a sentence each, and no classes at all.
# `datasets.captions` draws one coloured shape in one corner and says so in one of four ways. Of 24 pairs of colour and
# shape, four are **held out**: training never shows them, neither in pictures nor in words.

# %% tags=["demo"]
scenes = datasets.captions(demo_size(full=6_000, small=1_536, gpu=60_000), pairs="usual")
unseen = datasets.captions(demo_size(full=600, small=128), pairs="usual", seed=1)
strange = datasets.captions(demo_size(full=300, small=64), pairs="held out", seed=2)
titles = ["\n".join(textwrap.wrap(text, 16)) for text in unseen.texts[:5]]
figure = plotting.image_grid(unseen.images[:5], titles=titles, columns=5)
plt.show()

# %% [markdown]
# ### 23.7 `info_nce` · essential · level 2 of 4 · 10 min
#
# One network turns a picture into a vector of $e$ numbers, another one a sentence. Both should land at the same place
# if they belong together. Pulling pairs together alone has a useless solution: all vectors equal. What pushes the
# others apart? The other pairs of the batch do. Take $N$ pairs, make every vector one of length 1, and compare all
# with all:
#
# $$A_{ij} = \beta\, \underbrace{U_i}_{(e,)} \cdot \underbrace{V_j}_{(e,)}, \qquad A \in \mathbb R^{N \times N} .$$
#
# Row $i$ asks: which of the $N$ sentences belongs to picture $i$? That is softmax regression with $N$ classes, and the
# right class is $i$. Column $j$ asks which picture belongs to sentence $j$. The loss (van den Oord et al., 2018, who
# named it InfoNCE; with both directions Radford et al., 2021) is the mean of both cross-entropies:
#
# $$J = \frac1{2N} \sum_{i=1}^N \Bigl( \rho_i - A_{ii} \Bigr) + \frac1{2N} \sum_{j=1}^N \Bigl( \gamma_j - A_{jj} \Bigr), \qquad
# \rho_i = \log \sum_j \exp A_{ij}, \quad \gamma_j = \log \sum_i \exp A_{ij} .$$
#
# A network that knows nothing has the loss $\log N$. Vectors of length 1 have products between -1 and 1, which a softmax
# of many classes can hardly tell apart: $\beta$ makes them sharp. It is learnt, as `log_scale` so that it stays
# positive, and cut at 100 so that it does not run away. (Above the cut `log_scale` gets no gradient. Start far below.)


# %% exercise="info_nce" points=2 minutes=10 trains=["contrastive learning"]
def info_nce(U: torch.Tensor, V: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """The mean of both cross-entropies: which row of V belongs to each row of U, and the other way round.

    U, V: (N, e), N >= 1, e >= 1, float64 or float32, both alike. Row i of U and row i of V are a
      pair. Rows have lengths from 1e-6 to 1e6, and any direction; each is divided by its length first.
    log_scale: a tensor of shape (), of their dtype, between -20 and 80. The scores are A = beta U V^T, of the normalised
      rows, with beta = min(exp(log_scale), 100).
    Nothing is modified.

    Returns a tensor of shape (), of their dtype: half the mean over the rows of A of (logsumexp of the
    row - its diagonal entry), plus half the mean over its columns of the same.
    Autograd differentiates it with respect to U, V and log_scale; where exp(log_scale) > 100 the
    gradient of log_scale is 0.
    """
    ### BEGIN SOLUTION
    U, V = (part / part.norm(dim=1, keepdim=True) for part in (U, V))
    scores = log_scale.clamp(max=math.log(100)).exp() * U @ V.T
    pair = torch.arange(len(U), device=U.device)
    return (F.cross_entropy(scores, pair) + F.cross_entropy(scores.T, pair)) / 2
    ### END SOLUTION


# %% [markdown] hints="info_nce"
# <details><summary>Hint 1</summary>
#
# `U / U.norm(dim=1, keepdim=True)` has rows of length 1. `scores = beta * U @ V.T` is (N, N), and the right class of row
# $i$ is $i$: `torch.arange(N)`.
# </details>
# <details><summary>Hint 2: nearly the answer</summary>
#
# `(F.cross_entropy(scores, pair) + F.cross_entropy(scores.T, pair)) / 2`, with `log_scale.clamp(max=math.log(100)).exp()` for beta.
# </details>

# %% check="info_nce"
with check("info_nce"):
    U_small, V_small = torch.tensor([[3.0, 0.0], [0.0, 2.0]]).double(), torch.tensor([[1.0, 0.0], [5.0, 0.0]]).double()
    # Normalised: U = (1, 0), (0, 1); V = (1, 0), (1, 0). With beta = 2: A = (2 2; 0 0). Rows: log 2 each.
    # Columns: log(e^2 + 1) - 2 for the first, log(e^2 + 1) - 0 for the second.
    along_rows, along_columns = math.log(2), math.log(math.exp(2) + 1) - 1
    log_scale_small = torch.tensor(math.log(2)).double()
    with expect_unchanged(U_small=U_small, V_small=V_small):
        got = info_nce(U_small, V_small, log_scale_small)
    expect_close(
        got,
        (along_rows + along_columns) / 2,
        rtol=1e-9,
        hint="rows log 2, columns log(e^2 + 1) - 1 in the mean",
        mistakes={
            "This asks along the rows only: take the mean of both directions.": along_rows,
            "This is the sum of both directions: take their mean.": along_rows + along_columns,
            "This divides by the scale: multiply by exp(log_scale).": (math.log(2) + math.log(math.exp(0.5) + 1) - 0.25)
            / 2,
        },
    )
    expect_close(info_nce(U_small[:1], V_small[:1], log_scale_small), 0.0, hint="one pair: nothing to confuse it with")
    leaves = [part.clone().requires_grad_() for part in (U_small, V_small, log_scale_small)]
    info_nce(*leaves).backward()
    # d/d log_scale = beta times: minus the mean cosine of pairs, 1/2, plus the mean cosines under both softmaxes.
    share = math.exp(2) / (math.exp(2) + 1)
    expect_close(leaves[2].grad, 2 * ((0.5 + share) / 2 - 0.5), rtol=1e-6, hint="autograd reaches log_scale")
    expect_close(leaves[0].grad[0, 0], 0.0, atol=1e-9, hint="the length of a row has no influence: divide by it")
    at_most = info_nce(U_small, V_small, torch.tensor(math.log(100)).double())
    expect_close(info_nce(U_small, V_small, torch.tensor(9.0).double()), at_most, hint="beta is at most 100")

# %% [markdown]
# The encoder of pictures has three convolutions; the one of sentences sums embeddings of its words, without their order.
# Both end in a vector of $e$ numbers. The test: each of 600 pictures that training never saw chooses among 96 sentences,
# one for every colour, shape and place. The bar: 60% choose their own.


# %% tags=["demo"]
class Picture(nn.Module):
    """Pictures (n, 32, 32, 3) uint8 to vectors (n, e)."""

    def __init__(self, width, e):
        super().__init__()
        sizes = ((3, width), (width, 2 * width), (2 * width, 2 * width))
        layers = [part for a, b in sizes for part in (nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU())]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * width * 16, e))

    def forward(self, images):
        return self.layers(images.permute(0, 3, 1, 2).to(torch.float32) / 64 - 1.5)


class Sentence(nn.Module):
    """Words (n, 10) int64, 0 where there is none, to vectors (n, e)."""

    def __init__(self, e):
        super().__init__()
        self.word, self.out = nn.Embedding(len(scenes.words) + 1, 2 * e, padding_idx=0), nn.Linear(2 * e, e)

    def forward(self, words):
        return self.out(torch.relu(self.word(words).sum(1)))


def on_device(data):
    return torch.from_numpy(data.images).to(where), torch.from_numpy(datasets.caption_tokens(data.texts)).to(where)


every = [(c, s, p) for c in range(6) for s in range(4) for p in range(4)]
menu = torch.from_numpy(datasets.caption_tokens([datasets.caption(*told) for told in every])).to(where)


def named(data) -> float:
    """How many pictures find their own sentence among all 96."""
    with torch.no_grad():
        U, V = see(on_device(data)[0]), read(menu)
    chosen = (F.normalize(U) @ F.normalize(V).T).argmax(1).tolist()
    truth = zip(data.colour, data.shape, data.place, strict=True)
    return float(np.mean([every[k] == tuple(told) for k, told in zip(chosen, truth, strict=True)]))


some = np.argsort(unseen.colour[:16], kind="stable")  # sixteen pairs, in the order of their colours


def similarities(data, rows=some):
    """Cosines of some pictures with their sentences."""
    with torch.no_grad():
        images, words = on_device(data)
        return (F.normalize(see(images[rows])) @ F.normalize(read(words[rows])).T).cpu().numpy()


torch.manual_seed(0)
e = 32
see, read = Picture(demo_size(full=16, small=8, gpu=64), e).to(where), Sentence(e).to(where)
log_scale = nn.Parameter(torch.tensor(math.log(10.0), device=where))
learnt = [*see.parameters(), *read.parameters(), log_scale]
adam = torch.optim.Adam(learnt, 2e-3)
before = similarities(unseen)
images, words = on_device(scenes)


def contrast(epochs, size, rng):
    """Epochs of contrastive training in batches of this many pairs; the mean loss of each."""
    means = []
    for _ in range(epochs):
        order, losses = rng.permutation(len(images)), []
        for start in range(0, len(order) - size + 1, size):
            rows = torch.from_numpy(order[start : start + size]).to(where)
            loss = info_nce(see(images[rows]), read(words[rows]), log_scale)
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(float(loss.detach()))
        means.append(float(np.mean(losses)))
    return means


began = time.process_time()
shuffled = np.random.default_rng(1)
losses = contrast(demo_size(full=8, small=6), demo_size(full=128, small=64), shuffled)
print(f"loss by epoch: {', '.join(f'{loss:.2f}' for loss in losses)} ({time.process_time() - began:.0f} CPU s)")
print(f"pictures never seen, named among 96 sentences: {named(unseen):.1%}; guessing: {1 / 96:.1%}")

# %% tags=["demo"]
for group in adam.param_groups:
    group["lr"] = 5e-4
began = time.process_time()
losses += contrast(demo_size(full=6, small=3), demo_size(full=128, small=64), shuffled)
usual_score, strange_score = named(unseen), named(strange)
print(
    f"loss of the last epoch: {losses[-1]:.2f} ({time.process_time() - began:.0f} CPU s); beta: {log_scale.exp():.0f}"
)
print(f"pictures never seen, named among 96 sentences: {usual_score:.1%} (the bar: {demo_size(full=60, small=10)}%)")
print(f"pairs of colour and shape never seen: {strange_score:.1%}; guessing: {1 / 96:.1%}")
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for ax, cosines, title in (
    (left, before, "Before: no pair stands out"),
    (right, similarities(unseen), "After: the diagonal does"),
):
    picture = ax.imshow(cosines, vmin=-1, vmax=1, cmap="RdBu_r")
    ax.grid(False)
    ax.set(xlabel="sentence", ylabel="picture", title=title, xticks=range(16), yticks=range(16))
    shown = [f"{unseen.colours[unseen.colour[i]]} {unseen.shapes[unseen.shape[i]]}" for i in some]
    ax.set_yticklabels(shown if ax is left else [], fontsize=7)
    ax.set_xticklabels(shown, fontsize=7, rotation=90)
figure.colorbar(picture, ax=right, label="cosine")
plt.show()

# %% [markdown]
# Off the diagonal, what is partly right is partly similar: the blocks along the diagonal are equal colours. The network was never told
# that a sentence has three parts. It also names some of the pairs that it never saw, but far fewer: nothing in the loss
# asks for colours and shapes to be kept apart, so what it does there is a finding, and no promise.
#
# Retrieval goes the other way round, too. A sentence finds its pictures:

# %% tags=["demo"]
asked = [(0, 0, 0), (4, 2, 3)]  # the second one is a pair that training never showed
pool = datasets.captions(demo_size(full=600, small=128), seed=3)
with torch.no_grad():
    V = F.normalize(
        read(torch.from_numpy(datasets.caption_tokens([datasets.caption(*told) for told in asked])).to(where))
    )
    order = (V @ F.normalize(see(on_device(pool)[0])).T).argsort(1, descending=True).cpu().numpy()[:, :6]
titles = [
    "\n".join(textwrap.wrap(datasets.caption(*told), 14)) if k == 0 else f"\n{k + 1}"
    for told in asked
    for k in range(6)
]
figure = plotting.image_grid(pool.images[order.ravel()], titles=titles, columns=6)
figure.suptitle("The six best pictures of 600 for two sentences" if len(pool) == 600 else "The six best pictures")
plt.show()

# %% [markdown]
# ### 23.8 `chunked_info_nce` · essential · level 3 of 4 · 30 min
#
# With $N$ pairs in a batch, each picture is told from $N - 1$ others. Large models use 32,768 pairs
# (Radford et al., 2021). Then $A$ alone has $10^9$ entries, 4 GB, and autograd keeps it several times. But loss and
# gradient need no more than some rows of it at a time.
#
# **The gradient by hand.** From $\partial \rho_i / \partial A_{ij} = R_{ij} = \exp(A_{ij} - \rho_i)$ and
# $\partial \gamma_j / \partial A_{ij} = Q_{ij} = \exp(A_{ij} - \gamma_j)$,
#
# $$G := \frac{\partial J}{\partial A} = \frac1{2N} (R + Q - 2 I), \qquad
# \frac{\partial J}{\partial U} = \beta\, \underbrace{G}_{(N, N)} \underbrace{V}_{(N, e)}, \qquad
# \frac{\partial J}{\partial V} = \beta\, G^\top U, \qquad
# \frac{\partial J}{\partial \log \beta} = \sum_{ij} G_{ij} A_{ij} .$$
#
# **Two passes over blocks of rows.** A block of `rows` rows of $A$ is complete along its rows, so $\rho_i$ is there at
# once. But $\gamma_j$ runs over all blocks. Module 03 has the remedy, the **online logsumexp**: keep for each column the
# maximum $\mu_j$ so far and the sum $\sigma_j$ of $\exp(A_{ij} - \mu_j)$ over the rows so far. A new block with column
# maxima $\mu'_j$ changes them to
#
# $$\mu^{\text{new}}_j = \max(\mu_j, \mu'_j), \qquad
# \sigma^{\text{new}}_j = \sigma_j \exp(\mu_j - \mu^{\text{new}}_j) + \sum_{i \in \text{block}} \exp(A_{ij} - \mu^{\text{new}}_j) .$$
#
# After the first pass, $\gamma_j = \mu_j + \log \sigma_j$. The second pass makes each block again. Now it can be turned into
# its part of $G$, and adds to all three gradients. The products are made twice; memory is `rows` $\times N$.


# %% exercise="chunked_info_nce" points=3 minutes=30 forbids=["torch.autograd", "torch.func", ".backward"] trains=["contrastive learning", "deriving a gradient", "summaries that merge", "memory that stays constant"]
def chunked_info_nce(
    U: torch.Tensor, V: torch.Tensor, log_scale: torch.Tensor, rows: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The loss of `info_nce` with its gradients, with some rows of the scores in memory at a time.

    U, V: (N, e), N >= 1, e >= 1, float64 or float32, both alike, in any order of memory. They are
      taken as they are: nothing is normalised here. log_scale: a tensor of shape (), of their dtype;
      beta = exp(log_scale), without a limit. Scores A = beta U V^T lie between -1e4 and 1e4.
      None of them requires gradients. Nothing is modified.
    rows: an integer >= 1, maybe above N, and not always a divisor of N.

    Returns (loss, dU, dV, d_log_scale), new tensors of their dtype that require no gradients:
      loss, shape (): half the mean over the rows of A of (logsumexp of the row - its diagonal entry)
        plus half the mean over its columns of the same;
      dU, dV (N, e) and d_log_scale, shape (): the derivatives of this loss, all N pairs taken
        together. They do not depend on `rows`, but for rounding.
    Memory: beside the arguments and the result, ten arrays of rows x N and some of N x e or smaller. For
    N = 8192, e = 16, rows = 256 in float32, 160 MB in all are allowed; one N x N array takes 268 MB.
    Forbidden: torch.autograd, torch.func, .backward (they keep what was computed).
    """
    ### BEGIN SOLUTION
    N, beta = len(U), log_scale.exp()
    r = U.new_empty(N)
    top, summed = U.new_full((N,), -math.inf), U.new_zeros(N)
    diagonal = beta * (U * V).sum(1)
    for start in range(0, N, rows):
        A = beta * U[start : start + rows] @ V.T
        r[start : start + rows] = A.logsumexp(1)
        higher = torch.maximum(top, A.amax(0))
        summed = summed * (top - higher).exp() + (A - higher).exp().sum(0)
        top = higher
    c = top + summed.log()
    loss = ((r - diagonal).mean() + (c - diagonal).mean()) / 2
    dU, dV, d_log_scale = torch.empty_like(U), torch.zeros_like(V), U.new_zeros(())
    for start in range(0, N, rows):
        part = slice(start, start + rows)
        A = beta * U[part] @ V.T
        G = (A - r[part, None]).exp() + (A - c).exp()
        G.diagonal(start).sub_(2)
        G /= 2 * N
        dU[part] = beta * G @ V
        dV += beta * G.T @ U[part]
        d_log_scale += (G * A).sum()
    return loss, dU, dV, d_log_scale
    ### END SOLUTION


# %% [markdown] hints="chunked_info_nce"
# <details><summary>Hint 1: the first pass</summary>
#
# For each block, `A = beta * U[start : start + rows] @ V.T`, of shape (rows, N). Its `logsumexp(1)` is done. For the
# columns keep two vectors (N,): the maximum, which begins at -inf, and the sum, which begins at 0. Multiply the old sum
# by `exp(old maximum - new maximum)` before you add the block's part.
# </details>
# <details><summary>Hint 2: the second pass</summary>
#
# Make `A` again. `G = exp(A - r of these rows, as a column) + exp(A - c)`. Row `k` of the block is row `start + k` of the
# whole, so its diagonal entry stands in column `start + k`: subtract 2 there. Divide by 2 N.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `dU[start : start + rows] = beta * G @ V`; `dV += beta * G.T @ U[start : start + rows]`; `d_log_scale += (G * A).sum()`.
# Each row of dU is complete after its block. Each row of dV needs all blocks.
# </details>

# %% check="chunked_info_nce"
with check("chunked_info_nce", forbids=["torch.autograd", "torch.func", ".backward"]):
    generator = torch.Generator().manual_seed(0)
    U_small, V_small = (torch.randn(5, 3, generator=generator).double() for _ in range(2))
    scale_small = torch.tensor(0.7).double()
    inputs = [part.clone().requires_grad_() for part in (U_small, V_small, scale_small)]
    A_small = inputs[2].exp() * inputs[0] @ inputs[1].T
    pair_small = torch.arange(5)
    expected = (F.cross_entropy(A_small, pair_small) + F.cross_entropy(A_small.T, pair_small)) / 2
    gradients_small = torch.autograd.grad(expected, inputs)
    for rows_small in (5, 2, 1, 9):
        with expect_unchanged(U_small=U_small, V_small=V_small):
            got = chunked_info_nce(U_small, V_small, scale_small, rows_small)
        expect_close(got[0], expected.detach(), rtol=1e-9, hint=f"the loss of all five pairs, with rows = {rows_small}",
                     mistakes={"This asks along the rows only.": float(F.cross_entropy(A_small, pair_small).detach())})  # fmt: skip
        for name, mine, theirs in zip(("dU", "dV", "d_log_scale"), got[1:], gradients_small, strict=True):
            expect_close(
                mine, theirs, rtol=1e-7, atol=1e-10, hint=f"{name} with rows = {rows_small}, beside autograd's"
            )
    far = chunked_info_nce(300 * U_small, V_small, scale_small, 2)
    assert all(bool(torch.isfinite(part).all()) for part in far), (
        "scores of a thousand: subtract the maximum before exp"
    )
    expect_dtype(chunked_info_nce(U_small.float(), V_small.float(), scale_small.float(), 2)[1], torch.float32)

# %% [markdown]
# ### 23.9 `FusionBlock` · important · level 2 of 4 · 15 min
#
# So far each sense had a network of its own, and they met in one product. For a question *about* a picture they must
# meet earlier. In **cross-attention** (module 12, with a memory) every word asks, and the patches of the picture answer:
#
# $$\text{text} \;\leftarrow\; \text{text} + \operatorname{out}\bigl(\text{heads}(\, q = \text{norm(text)},\; k, v = \text{patches} \,)\bigr) .$$
#
# Alayrac et al. (2022) put such blocks between the layers of a language model. The sum has a use: if the second term is
# 0, the text goes on as if nothing had happened. A camera may fail. Then the mask says that no patch is there, and the
# term must be *exactly* 0. A softmax over no entry is $0/0$, so this case has to be written down.


# %% exercise="FusionBlock" points=2 minutes=15 forbids=["torch.nn.MultiheadAttention", "torch.nn.functional.multi_head_attention_forward", "torch.nn.modules.activation"] trains=["fusing modalities", "masks"]
class FusionBlock(nn.Module):
    """Words ask, patches answer, and the answer is added to the words.

    FusionBlock(width, heads): ValueError where heads does not divide width. Its parts:
      norm: nn.LayerNorm(width), for the text.
      query, key, value, out: nn.Linear(width, width, bias=False) each.
    The state has no other entry.

    forward(text, patches, mask=None):
      text: (B, T, width), B >= 1, T >= 1. patches: (B, P, width), P >= 0. Of the parameters' dtype.
      mask: (B, P) bool, True where there is a patch, or None: all are there. Nothing is modified.
      1. q = query(norm(text)), k = key(patches), v = value(patches). Head j = 0, 1, ... takes the
         columns j d up to, not including, (j + 1) d of each, d = width / heads.
      2. Head by head: the weights are the softmax of q . k / sqrt(d) over the patches of the same
         example that are there; its output is the weighted sum of their v.
      3. The outputs, head after head, go through out, and are added to the text.
    Returns (B, T, width), new. Where an example has no patch at all (P = 0, or no True in its row
    of the mask), its text comes back with the same values.
    What is masked may hold anything, also nan. It has no influence, and its gradient is 0. Gradients of
    everything else are right and finite, also with examples that have no patch. (Where nothing depends
    on a parameter, its gradient may be 0 or None.)
    Forbidden: torch.nn.MultiheadAttention, torch.nn.functional.multi_head_attention_forward,
    torch.nn.modules.activation. (torch.nn.functional.scaled_dot_product_attention is allowed: you
    wrote it in module 12.)
    """

    ### BEGIN SOLUTION
    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"{width} columns cannot be cut into {heads} heads")
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, text: torch.Tensor, patches: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        if patches.shape[1] == 0:
            return text.clone()
        if mask is None:
            mask = torch.ones(patches.shape[:2], dtype=torch.bool, device=text.device)
        patches = torch.where(mask[..., None], patches, 0)
        some = mask.any(1)
        projected = self.query(self.norm(text)), self.key(patches), self.value(patches)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in projected)  # (B, heads, ., d)
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        allowed = (mask | ~some[:, None])[:, None, None]
        answer = scores.masked_fill(~allowed, -math.inf).softmax(-1) @ v
        seen = self.out(answer.transpose(1, 2).flatten(2))
        return torch.where(some[:, None, None], text + seen, text)

    ### END SOLUTION


# %% [markdown] hints="FusionBlock"
# <details><summary>Hint 1: heads</summary>
#
# `a.unflatten(-1, (heads, -1)).transpose(1, 2)` makes (B, heads, T, d) of (B, T, width), and
# `.transpose(1, 2).flatten(2)` goes back. The mask, (B, P), broadcasts as `mask[:, None, None]`.
# </details>
# <details><summary>Hint 2: nan, and no patch</summary>
#
# Set what is masked to 0 *before* the linear layers, with `torch.where`. For examples without any patch, allow all
# (zeroed) patches, so that the softmax stays finite; then take `torch.where(some, text + seen, text)`, where
# `some = mask.any(1)`. For P = 0 return a copy of the text.
# </details>

# %% check="FusionBlock"
with check(
    "FusionBlock",
    forbids=[
        "torch.nn.MultiheadAttention",
        "torch.nn.functional.multi_head_attention_forward",
        "torch.nn.modules.activation",
    ],
):
    torch.manual_seed(1)
    block = FusionBlock(4, 2)
    names_small = ["key.weight", "norm.bias", "norm.weight", "out.weight", "query.weight", "value.weight"]
    assert sorted(block.state_dict()) == names_small, f"the state should be {', '.join(names_small)}"
    text_small, patches_small = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    mask_small = torch.tensor([[True, True, False, True, False], [False] * 5])
    peer = nn.MultiheadAttention(4, 2, bias=False, batch_first=True)
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat([block.query.weight, block.key.weight, block.value.weight]))
        peer.out_proj.weight.copy_(block.out.weight)
        theirs = text_small + peer(block.norm(text_small), patches_small, patches_small)[0]
        some_small = peer(block.norm(text_small), patches_small, patches_small, key_padding_mask=~mask_small)[0]
    with expect_unchanged(text_small=text_small, patches_small=patches_small):
        got = block(text_small, patches_small)
    expect_close(got.detach(), theirs, rtol=1e-4, atol=1e-5, hint="text + out(heads), as torch's own attention has it")
    patches_small[~mask_small] = math.nan
    got = block(text_small, patches_small, mask_small)
    expect_close(
        got[0].detach(),
        (text_small + some_small)[0],
        rtol=1e-4,
        atol=1e-5,
        hint="attend to what the mask allows, no more",
    )
    assert bool((got[1] == text_small[1]).all()), "no patch at all: the text comes back unchanged"
    got.sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in block.parameters()), "gradients stay finite without patches"
    none = block(text_small, patches_small[:, :0])
    assert bool((none == text_small).all()) and none is not text_small, (
        "P = 0: the text comes back unchanged, as a copy"
    )
    with expect_raises(ValueError):
        FusionBlock(4, 3)

# %% [markdown]
# A task that needs both: name colour and shape of a scene, 24 classes. One word of the sentence, that of the colour or
# that of the shape, is hidden in half of the examples, and the pictures are noisy. One model trains with all pictures.
# The other loses three pictures in ten while it trains.


# %% tags=["demo"]
class Answer(nn.Module):
    """Logits of 24 pairs from words (n, 10) and pictures (n, 32, 32, 3), of which some may be missing."""

    def __init__(self, width=32, heads=4):
        super().__init__()
        self.word, self.patch = nn.Embedding(len(scenes.words) + 1, width), nn.Linear(192, width)
        self.place = nn.Parameter(0.1 * torch.randn(16, width))
        self.mix, self.block = nn.Linear(width, width), FusionBlock(width, heads)
        self.head = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, 24))

    def forward(self, words, images, there):
        tiles = images.float().div(64).sub(1.5).unflatten(1, (4, 8)).unflatten(3, (4, 8)).transpose(2, 3)
        patches = torch.relu(self.patch(tiles.reshape(len(images), 16, 192)) + self.place)
        text = self.word(words)
        text = text + self.mix(text.mean(1, keepdim=True))
        return self.head(self.block(text, patches, there[:, None].expand(-1, 16)).mean(1))


number = {word: i + 1 for i, word in enumerate(scenes.words)}
told = (torch.tensor([number[c] for c in scenes.colours]), torch.tensor([number[s] for s in scenes.shapes]))


def question(data, hidden, rng):
    """Words with this share of the sentences made incomplete, pictures with heavy noise, and the pair."""
    words = datasets.caption_tokens(data.texts)
    which = rng.integers(2, size=len(words))[:, None]
    lost = np.where(which == 0, np.isin(words, told[0].numpy()), np.isin(words, told[1].numpy()))
    words[lost & (rng.random((len(words), 1)) < hidden)] = 0
    noisy = np.clip(data.images + 20 * rng.standard_normal(data.images.shape, np.float32), 0, 255).astype(np.uint8)
    label = torch.from_numpy(4 * data.colour + data.shape)
    return torch.from_numpy(words).to(where), torch.from_numpy(noisy).to(where), label.to(where)


def train_answer(lose, epochs, rng):
    torch.manual_seed(2)
    net = Answer().to(where)
    adam = torch.optim.Adam(net.parameters(), 3e-3)
    words, images, label = question(scenes, 0.5, rng)
    for _ in range(epochs):
        for part in np.array_split(rng.permutation(len(words)), max(1, len(words) // 64)):
            part = torch.from_numpy(part).to(where)
            there = torch.from_numpy(rng.random(len(part)) >= lose).to(where)
            loss = F.cross_entropy(net(words[part], images[part], there), label[part])
            adam.zero_grad()
            loss.backward()
            adam.step()
    return net


def right(net, hidden, there):
    words, images, label = question(unseen, hidden, np.random.default_rng(5))
    with torch.no_grad():
        there = torch.full((len(words),), there, device=where)
        return f"{(net(words, images, there).argmax(1) == label).double().mean():.0%}"


began = time.process_time()
epochs = demo_size(full=5, small=4)
nets = {f"{lose:.0%} of the pictures lost": train_answer(lose, epochs, np.random.default_rng(4)) for lose in (0.0, 0.3)}
print(f"{time.process_time() - began:.0f} CPU s")
Table(
    ("training", "all words, picture", "all words, no picture", "word hidden, picture", "word hidden, no picture"),
    [
        (name, *(right(net, hidden, there) for hidden in (0.0, 1.0) for there in (True, False)))
        for name, net in nets.items()
    ],
    numeric=(1, 2, 3, 4),
)

# %% [markdown]
# Each row is a training. With a word hidden and no picture, the rest of the sentence leaves three to five answers, and a
# guess is all there is; with the picture, both models do better. The second column is the failing camera. The block
# passes the words on unchanged, so a model that has lost pictures in training reads them alone. The other model never
# learnt to: its last layers only know words that patches have answered.
#
# ## Scale it
#
# ### Features: beside scipy and librosa
#
# The cost of `log_mel` is a Fourier transform of $W$ samples for each frame, $O(n\, (W / H) \log W)$: linear in $n$. Two
# libraries compute the same. scipy's transform is centred, so the wave is moved by 120 samples; librosa has to be told
# all of the choices of 23.1 (`htk=True, norm=None, center=False`): its defaults are others.

# %% tags=["demo"]
import scipy.signal

librosa = engines.library("librosa")
hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
points = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 42) / 2595) - 1)
rising = (np.arange(201) * 40.0 - points[:-2, None]) / np.diff(points)[:-1, None]
falling = (points[2:, None] - np.arange(201) * 40.0) / np.diff(points)[1:, None]
triangles = np.maximum(0, np.minimum(rising, falling))


def with_scipy(x):
    transform = scipy.signal.ShortTimeFFT(hann, hop=160, fs=16_000, scale_to=None)
    frames = 1 + (len(x) - 400) // 160
    power = np.abs(transform.stft(np.concatenate([np.zeros(120), x]), p0=2, p1=2 + frames)) ** 2
    return np.log(np.maximum(triangles @ power, 1e-10)).T


def with_librosa(x):
    mel = librosa.feature.melspectrogram(
        y=x, sr=16_000, n_fft=400, hop_length=160, center=False, n_mels=40, htk=True, norm=None, dtype=np.float64
    )
    return np.log(np.maximum(mel, 1e-10)).T


competitors = {"log_mel (yours)": lambda x: log_mel(x, 16_000), "scipy": with_scipy}
if librosa is not None:
    competitors["librosa"] = with_librosa
some_wave = np.concatenate(train.waves[:20]).astype(np.float64)
feature_gaps = {name: float(np.abs(f(some_wave) - log_mel(some_wave, 16_000)).max()) for name, f in competitors.items()}
for name, gap in feature_gaps.items():
    print(f"{name}: largest difference to yours {gap:.1e}")
found = scaling.measure(
    competitors,
    sizes=demo_size(full=[16_000, 64_000, 256_000, 1_024_000], small=[16_000, 64_000]),
    setup=lambda n: (np.random.default_rng(0).standard_normal(n),),
    budget=demo_size(full=5.0, small=1.0),
    label="samples",
    threads=1,
)
ax = found.plot(peer="scipy")
ax.set_title("The time grows in proportion to the samples")
plt.show()

# %% [markdown]
# In the end all slopes are about 1: the transforms are the same. What differs is the way to the frames. scipy's class goes
# from frame to frame in a loop of Python and loses. librosa takes many frames at once, as the reference does, and for long
# waves the two are equal; a loop over frames of your own is as slow as scipy's. librosa and scipy know more: transforms
# that can be inverted, other windows, resampling. Use them at work, and name every choice of 23.1 when you do.
#
# ### CTC: beside torch
#
# The recursion takes $T$ steps on $B (2S + 1)$ numbers. `torch.nn.functional.ctc_loss` does the same in one compiled
# loop, and has its gradient from a second recursion, backwards in time, instead of a recorded graph.


# %% tags=["demo"]
def case(T, S, B=8):
    generator = torch.Generator().manual_seed(T + S)
    logits = torch.randn(T, B, 32, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(1, 32, (B, S), generator=generator)
    return logits, targets, torch.full((B,), T), torch.full((B,), S)


def theirs(logits, targets, lengths, counts):
    return F.ctc_loss(logits.log_softmax(-1), targets, lengths, counts, reduction="none")


def with_gradient(loss):
    def run(size):
        logits, *rest = case(*size)
        (gradient,) = torch.autograd.grad(loss(logits, *rest).sum(), logits)
        return gradient

    return run


rows, ctc_gaps = [], []
for T, S in demo_size(full=[(50, 10), (200, 10), (200, 80), (400, 80)], small=[(20, 5), (40, 5)]):
    taken, found = {}, {}
    for name, loss in (("yours", ctc_loss), ("torch", theirs)):
        run, times = with_gradient(loss), []
        for _ in range(demo_size(full=2, small=1)):
            began = time.perf_counter()
            found[name] = run((T, S))
            times.append(time.perf_counter() - began)
        taken[name] = min(times)
    ctc_gaps.append(float((found["yours"] - found["torch"]).abs().max()))
    times = (seconds_text(taken["yours"]), seconds_text(taken["torch"]), f"{taken['yours'] / taken['torch']:.1f}")
    rows.append((f"{T}", f"{S}", *times, f"{ctc_gaps[-1]:.0e}"))
hopeless = torch.zeros(2, 1, 3, requires_grad=True)  # two frames cannot hold the labels 1, 1, 1
theirs(hopeless, torch.ones(1, 3, dtype=torch.int64), torch.tensor([2]), torch.tensor([3])).sum().backward()
print(f"torch's gradient for an impossible target is finite: {bool(torch.isfinite(hopeless.grad).all())}")
Table(
    ("frames", "labels", "yours", "torch", "ratio", "largest difference of gradients"), rows, numeric=(0, 1, 2, 3, 4, 5)
)

# %% [markdown]
# torch wins. An operation of a tensor costs some microseconds before it computes anything, each frame takes ten or more of
# them, and the way back as many again. At work, use torch's. Mind one thing: its
# `zero_infinity` is False by default. Then one impossible target spoils the gradient, as the line above the table shows.
#
# ### Any batch at the memory of a chunk
#
# `chunked_info_nce` never holds $A$. But the encoders have activations, too, and autograd keeps those of all $N$
# pictures. Gao et al. (2021) cut them as well, exactly, by the chain rule. The encoders are functions of one pair each;
# only the loss mixes pairs. So:
#
# 1. Encode all pairs, chunk by chunk, *without* a graph. This gives $U$ and $V$, which are small: $N \times e$.
# 2. `chunked_info_nce` gives $\partial J / \partial U$ and $\partial J / \partial V$.
# 3. Encode each chunk again, with a graph, and call `u.backward(dU[chunk])`. Gradients of parameters add up.
#
# The result is the gradient of the whole batch, not an approximation. It costs a second forward pass. To add the
# gradients of *small batches* instead is cheaper and something else: there each picture has few wrong answers.


# %% tags=["demo"]
def normalised(net, part):
    return F.normalize(net(part))


def in_chunks(size, rows):
    """The gradients of all parameters for the first `size` pairs; the encoders see `rows` at a time."""
    parts = [slice(start, min(start + rows, size)) for start in range(0, size, rows)]
    with torch.no_grad():
        U = torch.cat([normalised(see, images[part]) for part in parts])
        V = torch.cat([normalised(read, words[part]) for part in parts])
        loss, dU, dV, d_log_scale = chunked_info_nce(U, V, log_scale.detach(), rows)
    for net, data, slope in ((see, images, dU), (read, words, dV)):
        for part in parts:
            normalised(net, data[part]).backward(slope[part])
    log_scale.grad = d_log_scale.clone()
    return loss


def at_once(size, rows):
    loss = info_nce(see(images[:size]), read(words[:size]), log_scale)
    loss.backward()
    return loss.detach()


class Kept:
    """How many bytes autograd keeps for the way back, at most, in a block."""

    def __enter__(self):
        self.now = self.most = 0

        def pack(tensor):
            if isinstance(tensor, nn.Parameter):
                return tensor
            held = Held(self, tensor)
            self.now += held.bytes
            self.most = max(self.most, self.now)
            return held

        self.hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda held: getattr(held, "tensor", held))
        self.hooks.__enter__()
        return self

    def __exit__(self, *error):
        self.hooks.__exit__(*error)


class Held:
    """A tensor that autograd keeps; gives its bytes back when autograd lets it go."""

    def __init__(self, counter, tensor):
        self.counter, self.tensor, self.bytes = counter, tensor, tensor.nbytes

    def __del__(self):
        self.counter.now -= self.bytes


def gradient_of(method, size, rows):
    for p in learnt:
        p.grad = None
    with Kept() as kept:
        method(size, rows)
    return torch.cat([p.grad.ravel() for p in learnt]), kept.most


with torch.no_grad():
    log_scale.clamp_(max=math.log(99))  # below the cut of info_nce: chunked_info_nce has none
sizes = demo_size(full=[256, 512, 1024, 2048, 4096], small=[64, 128, 256])
chunk = demo_size(full=256, small=64)
memory, agreement = {"the whole batch": [], f"chunks of {chunk}": []}, []
for size in sizes:
    found = []
    for name, method in zip(memory, (at_once, in_chunks), strict=True):
        gradient, most = gradient_of(method, size, chunk)
        found.append(gradient)
        memory[name].append(most)
    agreement.append(float((found[0] - found[1]).norm() / found[0].norm()))
print(f"relative difference of the two gradients (float32): at most {max(agreement):.0e}")
figure, ax = plt.subplots(figsize=(7, 4.2))
for k, (name, values) in enumerate(memory.items()):
    slope = np.polyfit(np.log(sizes[-3:]), np.log(values[-3:]), 1)[0]
    style = {"color": plotting.COLOURS[k], "marker": "os"[k], "linestyle": ("-", "--")[k]}
    ax.plot(sizes, values, label=f"{name}: slope {abs(slope):.1f}", **style)
ax.set(
    xscale="log",
    yscale="log",
    xlabel="pairs in the batch",
    ylabel="bytes that autograd keeps",
    title="In chunks, what autograd keeps does not grow with the batch",
)
ax.legend()
plt.show()

# %% [markdown]
# The kept bytes of the whole batch are the encoders' activations, which grow like $N$, and some copies of $A$, which
# grow like $N^2$ and win in the end. In chunks, what autograd keeps does not grow. What is left outside of it grows like
# $N$: $U$, $V$ and their gradients, and the blocks of `rows` $\times N$. Nothing grows like $N^2$.
#
# What does exactness cost in time, and what does the short cut lose? A step in chunks makes the forward passes twice.
# The short cut averages the gradients of separate small batches. Here its direction is compared with the exact one:

# %% tags=["demo"]
size = demo_size(full=2048, small=256)
rows = []
exact, most = gradient_of(at_once, size, chunk)


def separate(size, rows):
    """The mean of the gradients of small batches: another loss."""
    for start in range(0, size, rows):
        part = slice(start, start + rows)
        (info_nce(see(images[part]), read(words[part]), log_scale) * rows / size).backward()


for name, method in (
    ("the whole batch", at_once),
    (f"chunks of {chunk}", in_chunks),
    (f"separate batches of {chunk}", separate),
):
    times = []
    for _ in range(2):
        began = time.perf_counter()
        gradient, most = gradient_of(method, size, chunk)
        times.append(time.perf_counter() - began)
    cosine = float(gradient @ exact / gradient.norm() / exact.norm())
    rows.append(
        (name, f"{size / min(times):,.0f}", bytes_text(most), f"{gradient.norm() / exact.norm():.3f}", f"{cosine:.4f}")
    )
Table(
    ("method", "pairs a second", "kept by autograd", "length beside the exact one", "cosine with it"),
    rows,
    numeric=(1, 2, 3, 4),
)

# %% [markdown]
# ### Many machines: what an all-gather sends
#
# Let $K$ machines hold $N / K$ pairs each. Each needs the vectors of all: an **all-gather** of $U$ and $V$. On a ring
# (module 17), every machine passes on the other machines' parts, so it sends $(K - 1)$ parts of $2 (N / K)\, e$ numbers.
# Then it computes `dU` and `dV` of all pairs in chunks, takes its own rows, and goes back through its own encoders. Only
# vectors cross the wire, no picture and no score. The ring runs here, in one process, with each message counted:


# %% tags=["demo"]
def machine(comm, own):
    """An all-gather on a ring: everybody's part, in order."""
    parts = {comm.rank: own}
    for step in range(comm.size - 1):
        comm.send((comm.rank + 1) % comm.size, parts[(comm.rank - step) % comm.size])
        parts[(comm.rank - step - 1) % comm.size] = comm.recv((comm.rank - 1) % comm.size)
    return np.concatenate([parts[r] for r in range(comm.size)])


rows = []
size = demo_size(full=1024, small=128)
with torch.no_grad():
    both = torch.cat([normalised(see, images[:size]), normalised(read, words[:size])], 1).cpu().numpy()  # (N, 2e)
for K in (2, 4, 8):
    blocks = np.split(both, K)
    told = ranks.simulate(lambda comm, blocks=blocks: machine(comm, blocks[comm.rank]), K)
    assert all(np.array_equal(everybody, both) for everybody in told.results)
    formula = (K - 1) * (size // K) * 2 * e * 4
    pictures = (K - 1) * (size // K) * 32 * 32 * 3
    rows.append((f"{K}", bytes_text(max(told.sent)), bytes_text(formula), bytes_text(pictures)))
gather_matches = [row[1] == row[2] for row in rows]
Table(
    ("machines", "sent by each", "(K - 1)(N / K) 2e numbers of 4 bytes", "if pictures were sent"),
    rows,
    numeric=(0, 1, 2, 3),
)

# %% [markdown]
# Every machine then makes the whole $A$, chunk by chunk, so the products do not get fewer with $K$. There is a better
# plan. A machine makes the rows of $A$ of its own pictures only, for which it needs all of $V$. The column sums $\mu_j,
# \sigma_j$ are merged in an all-reduce: they are summaries that merge, like those of module 03. Its rows of $G$ give its own
# part of `dU`, but only a summand of every row of `dV`, so a reduce-scatter of $N e$ numbers must follow. It sends as many
# bytes as before, for a $K$-th of the products.
#
# Zhai et al. (2023) go another way. They replace the softmax by one
# logistic loss for each entry of $A$, which needs no sums over rows or columns at all.
#
# **Where it breaks.** The number of wrong answers grows with the batch, and so does the number of right answers
# that count as wrong: two pictures of the same scene push each other's sentence away. Among our 80 scenes a batch of 128 has many
# such pairs, which is why the loss above stops falling far from 0. Nothing in this module is trained on people: eight
# phones in a steady hiss take a small network some seconds; people's speech has accents, echoes and other voices.

# %% [markdown] written="batch_as_teacher" points=2
# Why is the number of wrong answers that a picture is told from given by the batch size, and what do two pictures with
# the same caption in one batch do to the loss? Say which entries of $A$ are concerned, and how low the loss of such a
# batch can get.
#
# ### BEGIN SOLUTION
# Row $i$ of $A$ has one right entry, $A_{ii}$, and $N - 1$ entries of the other sentences of the batch, which count as
# wrong. No other negatives exist, so a batch of $N$ pairs teaches each picture to beat $N - 1$ sentences, and a network that
# knows nothing has the loss $\log N$. If pictures $i$ and $j$ have the same caption, then $V_i = V_j$, so
# $A_{ij} = A_{ii}$ and $A_{ji} = A_{jj}$: the loss counts a right answer as wrong. The softmax of row $i$ gives each of the
# two at most one half, so row $i$ costs at least $\log 2$, whatever the network does, and the gradient pushes the picture
# away from its own caption as much as it pulls. Columns i and j are equal, so they cost at least 2 log 2 together as well.
# With one such pair in the batch the loss is at least (2 log 2) / N, and it cannot reach 0; a larger batch has more pairs.
#
# ### RUBRIC
# - 0.5: The other N - 1 sentences (or pictures) of the batch are the only wrong answers, so their number is N - 1.
# - 0.5: Two pictures with one caption make an entry off the diagonal of A as large as the diagonal one (such as A_ij = A_ii), and it is counted as wrong.
# - 0.5: Such a row costs at least log 2 (or: the batch costs at least (2 log 2) / N), so the loss cannot reach 0.
# - 0.5: The gradient pushes a picture away from a sentence that is true of it (or: larger batches have more such pairs).
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# **Open questions**
#
# - CTC takes frames as independent, given the sound. Transducers (RNN-T) add a network that reads the labels so far. What
#   changes in the recursion of 23.2, and what in the beam?
# - Peaks of a trained CTC network are narrow. Which other sets of paths could the loss add up, so that a phone fills its
#   time?
# - Most of the held-out pairs are named wrongly. Which part do they get wrong, the colour or the shape? What would make a
#   network see colours and shapes apart?
# - A batch may be chosen: what happens to the gradient if all of its pictures have the same colour?
# - Which of two senses should a fused model believe if they contradict each other, and how would it know?
#
# **Papers**
#
# - A. Graves, S. Fernández, F. Gomez, J. Schmidhuber, *Connectionist temporal classification: labelling unsegmented
#   sequence data with recurrent neural networks*, ICML 2006. The recursion of 23.2, with its gradient by hand.
# - A. Hannun, A. Maas, D. Jurafsky, A. Ng, *First-pass large vocabulary continuous speech recognition using bi-directional
#   recurrent DNNs*, arXiv 2014. The prefix beam with a language model, in one page of pseudo-code.
# - A. van den Oord, Y. Li, O. Vinyals, *Representation learning with contrastive predictive coding*, arXiv 2018. Why
#   telling from $N - 1$ others bounds mutual information, and by $\log N$ at most.
# - A. Radford et al., *Learning transferable visual models from natural language supervision*, ICML 2021. CLIP: 23.7 with
#   400 million pairs, and naming by sentences.
# - L. Gao, Y. Zhang, J. Han, J. Callan, *Scaling deep contrastive learning batch size under memory limited setup*,
#   RepL4NLP 2021. The gradients in chunks of the scale section.
# - J.-B. Alayrac et al., *Flamingo: a visual language model for few-shot learning*, NeurIPS 2022. Fusion blocks between the
#   layers of a language model, with a gate.
# - X. Zhai, B. Mustafa, A. Kolesnikov, L. Beyer, *Sigmoid loss for language image pre-training*, ICCV 2023. Contrast
#   without sums over the batch.
# - V. Levenshtein, *Binary codes capable of correcting deletions, insertions, and reversals*, Soviet Physics Doklady 1966.
#   The distance of 23.5.
#
# **At work**: torchaudio or librosa for features, `torch.nn.functional.ctc_loss`, a decoder such as pyctcdecode with a
# language model, open_clip for contrastive training with all-gathers.
