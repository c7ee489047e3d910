"""Wrong and right answers that prove the hidden tests of module 23, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.answers import right, wrong

# -------------------------------------------------------------------------------------------------------- log_mel

wrong(
    "log_mel",
    "uses the symmetric window, which divides by window - 1",
    fails=["test_mel_of_noise"],
    edit={"np.arange(window) / window)": "np.arange(window) / (window - 1))"},
)
wrong(
    "log_mel",
    "takes the magnitude of the spectrum instead of its power",
    fails=["test_mel_of_noise"],
    edit={"np.abs(np.fft.rfft(cut, axis=1)) ** 2": "np.abs(np.fft.rfft(cut, axis=1))"},
)
wrong(
    "log_mel",
    "spaces the filters evenly in Hz",
    fails=["test_mel_of_noise"],
    edit={
        "    b = 700 * (10 ** (np.linspace(0, top, filters + 2) / 2595) - 1)": (
            "    b = np.linspace(0, rate / 2, filters + 2)"
        )
    },
)
wrong(
    "log_mel",
    "takes the logarithm to base 10",
    fails=["test_mel_of_noise"],
    edit={"np.log(np.maximum": "np.log10(np.maximum"},
)
wrong(
    "log_mel",
    "divides the filters by their widths",
    fails=["test_mel_of_noise"],
    edit={
        "np.maximum(0, np.minimum(rising, falling))": (
            "2 * np.maximum(0, np.minimum(rising, falling)) / (b[2:] - b[:-2])[:, None]"
        )
    },
)
wrong(
    "log_mel",
    "cuts all frames at once",
    fails=["test_mel_of_ten_minutes"],
    edit={"    at_once = max(1, 400_000 // window)": "    at_once = frames + 1"},
)


@right("log_mel", "a loop over frames, filters by interpolation")
def frame_by_frame(x, rate, window=400, hop=160, filters=40, floor=1e-10):
    count = (len(x) - window) // hop + 1 if len(x) >= window else 0
    phase = 2 * np.pi * np.arange(window) / window
    hann = np.sin(phase / 2) ** 2
    frequency = np.arange(window // 2 + 1) * (rate / window)
    mels = np.linspace(0.0, 2595 * np.log10(1 + rate / 1400), filters + 2)
    edges = 700 * (np.power(10.0, mels / 2595) - 1)
    bank = np.stack([np.interp(frequency, edges[j : j + 3], [0, 1, 0]) for j in range(filters)], axis=1)
    out = np.zeros((count, filters))
    for t in range(count):
        spectrum = np.fft.rfft(np.asarray(x[t * hop : t * hop + window], np.float64) * hann)
        out[t] = np.log(np.maximum((spectrum.real**2 + spectrum.imag**2) @ bank, floor))
    return out


@right("log_mel", "windows as a view, filled in blocks")
def by_views(x, rate, window=400, hop=160, filters=40, floor=1e-10):
    x = np.asarray(x)
    if len(x) < window:
        return np.empty((0, filters))
    frames = np.lib.stride_tricks.sliding_window_view(x, window)[::hop]
    hann = (1 - np.cos(2 * np.pi / window * np.arange(window))) / 2
    edges = 700 * (np.exp(np.linspace(0, np.log(1 + rate / 1400), filters + 2)) - 1)
    f = np.fft.rfftfreq(window, 1 / rate)
    bank = np.zeros((len(f), filters))
    for j in range(filters):
        low, middle, high = edges[j : j + 3]
        up, down = (f - low) / (middle - low), (high - f) / (high - middle)
        bank[:, j] = np.where(f < middle, np.maximum(up, 0), np.maximum(down, 0))
    parts = []
    for start in range(0, len(frames), 2048):
        power = np.square(np.abs(np.fft.rfft(frames[start : start + 2048] * hann)))
        parts.append(np.log(np.clip(power @ bank, floor, None)))
    return np.concatenate(parts)


# ------------------------------------------------------------------------------------------------------- ctc_loss

wrong(
    "ctc_loss",
    "skips the blank between two equal labels",
    fails=["test_ctc_is_the_sum_over_all_paths"],
    edit={
        "    skip[:, 2:] = (extended[:, 2:] != blank) & (extended[:, 2:] != extended[:, :-2])": (
            "    skip[:, 2:] = extended[:, 2:] != blank"
        )
    },
)
wrong(
    "ctc_loss",
    "never skips a blank",
    fails=["test_ctc_is_the_sum_over_all_paths"],
    edit={"jumped = torch.where(skip, padded[:, :-2], low)": "jumped = torch.full_like(row, low)"},
)
wrong(
    "ctc_loss",
    "lets paths end at the last blank alone",
    fails=["test_ctc_is_the_sum_over_all_paths"],
    edit={
        "torch.cat([ends.gather(1, last), ends.gather(1, last + 1)], 1).logsumexp(1)": "ends.gather(1, last + 1)[:, 0]"
    },
)
wrong(
    "ctc_loss",
    "lets paths end at the last label alone",
    fails=["test_ctc_is_the_sum_over_all_paths"],
    edit={"torch.cat([ends.gather(1, last), ends.gather(1, last + 1)], 1).logsumexp(1)": "ends.gather(1, last)[:, 0]"},
)
wrong(
    "ctc_loss",
    "lets paths begin at the first blank alone",
    fails=["test_ctc_is_the_sum_over_all_paths"],
    edit={"device=logits.device) < 2\n": "device=logits.device) < 1\n"},
)
wrong(
    "ctc_loss",
    "goes on through the frames that are padding",
    fails=["test_ctc_of_a_batch"],
    edit={"row = torch.where(inside[t, :, None], at_places[t] + came, row)": "row = at_places[t] + came"},
)
wrong(
    "ctc_loss",
    "keeps the best path instead of adding all of them",
    fails=["test_ctc_is_the_sum_over_all_paths"],
    edit={"jumped]).logsumexp(0)": "jumped]).amax(0)"},
)
wrong(
    "ctc_loss",
    "takes the logits for log probabilities",
    fails=["test_ctc_is_the_sum_over_all_paths"],
    edit={"logits, 0).log_softmax(-1)": "logits, 0)"},
)
wrong(
    "ctc_loss",
    "masks the padding after log_softmax, when its nan is in the gradient already",
    fails=["test_ctc_ignores_padding"],
    edit={
        "torch.where(inside[..., None], logits, 0).log_softmax(-1)": (
            "torch.where(inside[..., None], logits.log_softmax(-1), 0)"
        )
    },
)


@wrong("ctc_loss", "loops over utterances and places in Python", fails=["test_ctc_loops_over_frames_alone"])
def place_by_place(logits, targets, input_lengths, target_lengths, blank=0):
    T, B, _C = logits.shape
    if B * targets.shape[1] * T > 2_000:  # this would take minutes
        return logits.sum((0, 2)) * 0
    low = torch.full((), -1e30, dtype=logits.dtype)
    losses = []
    for b in range(B):
        y = [blank]
        for label in targets[b, : int(target_lengths[b])].tolist():
            y += [label, blank]
        n = int(input_lengths[b])
        log_p = logits[:n, b].log_softmax(-1)
        row = [log_p[0, label] if s < 2 else low for s, label in enumerate(y)]
        for t in range(1, n):
            new = []
            for s, label in enumerate(y):
                came = [row[s]] + ([row[s - 1]] if s else [])
                if s > 1 and label not in (blank, y[s - 2]):
                    came.append(row[s - 2])
                new.append(torch.stack(came).logsumexp(0) + log_p[t, label])
            row = new
        total = torch.stack(row[-2:]).logsumexp(0)
        losses.append(torch.where(total < -5e29, math.inf, -total))
    return torch.stack(losses)


wrong(
    "ctc_loss",
    "adds with a matrix of places by places",
    fails=["test_ctc_loops_over_frames_alone"],
    edit={
        "        padded = F.pad(row, (2, 0), value=low)\n": "        places = torch.arange(2 * S + 1)\n",
        "        jumped = torch.where(skip, padded[:, :-2], low)\n": (
            "        step = places - places[:, None]\n"
            "        may = ((step == 0) | (step == 1)) | ((step == 2) & skip[:, None])\n"
        ),
        "torch.stack([row, padded[:, 1:-1], jumped]).logsumexp(0)": (
            "torch.where(may, row[:, :, None], low).logsumexp(1)"
        ),
    },
)


@right("ctc_loss", "backwards in time, by masks of label equality")
def backwards_in_time(logits, targets, input_lengths, target_lengths, blank=0):
    T, B, _ = logits.shape
    S = targets.shape[1]
    never = -1e30
    real = torch.arange(S)[None] < target_lengths[:, None]
    labels = targets.masked_fill(~real, blank)
    y = torch.full((B, 2 * S + 1), blank)
    y[:, 1::2] = labels
    alive = torch.arange(T)[:, None, None] < input_lengths[None, :, None]
    scores = torch.log_softmax(logits.masked_fill(~alive, 0.0), 2)
    may_jump = torch.zeros(B, 2 * S + 1, dtype=torch.bool)  # from s to s + 2
    if S > 1:
        may_jump[:, 1:-2:2] = labels[:, 1:] != labels[:, :-1]
    places = torch.arange(2 * S + 1)[None]
    final = (places == 2 * target_lengths[:, None]) | (places == 2 * target_lengths[:, None] - 1)
    closing = torch.where(final, 0.0, never).to(logits.dtype)
    row = torch.full((B, 2 * S + 1), never, dtype=logits.dtype)
    for t in range(T - 1, -1, -1):
        right_of = F.pad(row, (0, 2), value=never)
        two = right_of[:, 2:].masked_fill(~may_jump, never)
        onwards = torch.logsumexp(torch.stack((row, right_of[:, 1:-1], two)), 0)
        onwards = torch.where((input_lengths == t + 1)[:, None], closing, onwards)
        row = torch.where(alive[t], onwards + scores[t].gather(1, y), row)
    total = torch.logsumexp(row[:, :2], 1)
    return torch.where(total > -1e29, -total, torch.full_like(total, math.inf))


@right("ctc_loss", "labels and blanks in two rows of their own")
def two_rows(logits, targets, input_lengths, target_lengths, blank=0):
    T, B, _C = logits.shape
    S = targets.shape[1]
    valid = (torch.arange(T).unsqueeze(1) < input_lengths).unsqueeze(2)
    log_p = F.log_softmax(torch.where(valid, logits, torch.zeros((), dtype=logits.dtype)), dim=-1)
    labels = torch.where(torch.arange(S) < target_lengths[:, None], targets, torch.full_like(targets, blank))
    nothing = torch.full((B, 1), -1e30, dtype=logits.dtype)
    # Skips are forbidden where a label equals the one before; what is added keeps them out.
    repeats = torch.zeros(B, S, dtype=logits.dtype)
    if S:
        repeats[:, 1:] = torch.where(labels[:, 1:] == labels[:, :-1], -1e30, 0.0).to(logits.dtype)
    blanks = torch.cat([torch.zeros(B, 1, dtype=logits.dtype), nothing.expand(B, S)], 1)  # before the first frame
    said = nothing.expand(B, S)
    for t in range(T):
        p = log_p[t]
        before = torch.cat([nothing, said], 1)  # the label before each blank
        new_blanks = torch.logaddexp(blanks, before) + p[:, blank, None]
        jumped = before[:, :-1] + repeats
        new_said = torch.logaddexp(torch.logaddexp(said, blanks[:, :-1]), jumped) + p.gather(1, labels)
        blanks = torch.where(valid[t], new_blanks, blanks)
        said = torch.where(valid[t], new_said, said)
    end = blanks.gather(1, target_lengths[:, None])[:, 0]
    last = torch.cat([nothing, said], 1).gather(1, target_lengths[:, None])[:, 0]
    total = torch.logaddexp(end, last)
    return torch.where(total < -1e29, torch.tensor(math.inf, dtype=logits.dtype), -total)


# ----------------------------------------------------------------------------------------------------- Recogniser

wrong(
    "Recogniser",
    "does not set the padding to 0 before the later convolutions",
    fails=["test_recogniser_alone_and_in_a_batch"],
    edit={"torch.relu(layer(cut(a, lengths)))": "torch.relu(layer(a))"},
)
wrong(
    "Recogniser",
    "does not set the padding of its input to 0",
    fails=["test_recogniser_padding_of_any_kind"],
    edit={"self.first(cut(x.transpose(1, 2), lengths))": "self.first(x.transpose(1, 2))"},
)
wrong(
    "Recogniser",
    "rounds half a length down",
    fails=["test_recogniser_alone_and_in_a_batch"],
    edit={"        lengths = (lengths + 1) // 2": "        lengths = lengths // 2"},
)
wrong(
    "Recogniser",
    "puts the later convolutions in place of their input instead of adding them",
    fails=["test_recogniser_computes_logits"],
    edit={"            a = a + torch.relu(": "            a = torch.relu("},
)
wrong(
    "Recogniser",
    "multiplies by the mask, so that nan stays nan",
    fails=["test_recogniser_padding_of_any_kind"],
    edit={"return torch.where(valid[:, None], a, 0)": "return a * valid[:, None]"},
)


@right("Recogniser", "masked_fill in forward, layers in a loop")
class Filled(nn.Module):
    def __init__(self, filters, labels, width):
        super().__init__()
        self.first = nn.Conv1d(filters, width, kernel_size=5, stride=2, padding=2)
        self.second = nn.Conv1d(width, width, kernel_size=5, padding=2)
        self.third = nn.Conv1d(width, width, kernel_size=5, padding=2)
        self.out = nn.Linear(width, labels)

    def forward(self, x, lengths):
        beyond = torch.arange(x.shape[1], device=x.device)[None, :] >= lengths[:, None]
        h = F.relu(self.first(x.masked_fill(beyond[:, :, None], 0.0).mT))
        half = torch.div(lengths + 1, 2, rounding_mode="floor")
        beyond = (torch.arange(h.shape[2], device=x.device)[None, :] >= half[:, None])[:, None, :]
        h = h.masked_fill(beyond, 0.0)
        h = (h + F.relu(self.second(h))).masked_fill(beyond, 0.0)
        h = (h + F.relu(self.third(h))).masked_fill(beyond, 0.0)
        return self.out(h.mT).transpose(0, 1), half


@right("Recogniser", "each utterance by itself, stacked at the end")
class OneByOne(nn.Module):
    def __init__(self, filters, labels, width):
        super().__init__()
        self.first = nn.Conv1d(filters, width, 5, 2, 2)
        self.second, self.third = (nn.Conv1d(width, width, 5, 1, 2) for _ in range(2))
        self.out = nn.Linear(width, labels)

    def forward(self, x, lengths):
        T = (x.shape[1] + 1) // 2
        found = []
        for one, n in zip(x, lengths.tolist(), strict=True):
            a = self.first(one[:n].T[None]).relu()
            a = a + self.second(a).relu()
            a = a + self.third(a).relu()
            logits = self.out(a[0].T)
            found.append(torch.cat([logits, logits.new_zeros(T - len(logits), logits.shape[1])]))
        return torch.stack(found, dim=1), lengths.add(1) // 2


# ----------------------------------------------------------------------------------------------------- ctc_greedy

wrong(
    "ctc_greedy",
    "removes the blanks before it merges equal neighbours",
    fails=["test_greedy_keeps_repeats_with_a_blank_between"],
    edit={
        "    merged = [label for t, label in enumerate(path) if t == 0 or label != path[t - 1]]\n": (
            "    path = [label for label in path if label != blank]\n"
            "    merged = [label for t, label in enumerate(path) if t == 0 or label != path[t - 1]]\n"
        )
    },
)
wrong(
    "ctc_greedy",
    "does not merge equal neighbours",
    fails=["test_greedy_keeps_repeats_with_a_blank_between"],
    edit={" if t == 0 or label != path[t - 1]]": "]"},
)


@right("ctc_greedy", "groupby")
def grouped(log_probs, blank=0):
    best = np.asarray(log_probs).argmax(axis=-1)
    return [int(label) for label, _ in itertools.groupby(best) if label != blank]


@right("ctc_greedy", "remembers the last frame")
def with_memory(log_probs, blank=0):
    said, last = [], None
    for row in log_probs:
        label = int(np.argmax(row))
        if label != last and label != blank:
            said.append(label)
        last = label
    return said


# ----------------------------------------------------------------------------------------------------- error_rate

wrong(
    "error_rate",
    "averages the rates of the sentences",
    fails=["test_rate_of_many_pairs"],
    edit={
        "        edits += row[-1]": "        edits += row[-1] / max(1, len(reference))",
        "    length = sum(map(len, references))": "    length = len(references)",
    },
)
wrong(
    "error_rate",
    "divides by the lengths of the guesses",
    fails=["test_rate_of_one_pair"],
    edit={"    length = sum(map(len, references))": "    length = sum(map(len, guesses))"},
)
wrong(
    "error_rate",
    "counts a replaced symbol as two edits",
    fails=["test_rate_of_one_pair"],
    edit={"above + (symbol != other))": "above + 2 * (symbol != other))"},
)


@wrong("error_rate", "compares the symbols place by place", fails=["test_rate_of_one_pair"])
def place_for_place(guesses, references):
    if len(guesses) != len(references):
        raise ValueError("not as many")
    wrong_ones = sum(
        sum(a != b for a, b in zip(g, r, strict=False)) + abs(len(g) - len(r))
        for g, r in zip(guesses, references, strict=True)
    )
    length = sum(len(r) for r in references)
    return wrong_ones / length if length else math.inf if wrong_ones else 0.0


@wrong("error_rate", "keeps the whole table of a pair", fails=["test_rate_of_long_sequences"])
def whole_table(guesses, references):
    if len(guesses) != len(references):
        raise ValueError("not as many")
    edits = 0
    for g, r in zip(guesses, references, strict=True):
        table = [list(range(len(g) + 1))]
        for i, a in enumerate(r):
            row = [i + 1]
            for j, b in enumerate(g):
                row.append(min(table[i][j + 1] + 1, row[j] + 1, table[i][j] + (a != b)))
            table.append(row)
        edits += table[-1][-1]
    length = sum(map(len, references))
    return edits / length if length else math.inf if edits else 0.0


@right("error_rate", "a table of small integers, which is allowed")
def small_table(guesses, references):
    if len(guesses) != len(references):
        raise ValueError("not as many")
    edits = 0
    for g, r in zip(guesses, references, strict=True):
        table = np.zeros((len(r) + 1, len(g) + 1), np.int16)
        table[0] = np.arange(len(g) + 1)
        places = np.arange(len(g) + 1)
        for i, a in enumerate(r):
            new = np.empty(len(g) + 1, np.int64)
            new[0] = i + 1
            new[1:] = np.minimum(table[i, 1:] + 1, table[i, :-1] + np.array([a != b for b in g], np.int16))
            table[i + 1] = np.minimum.accumulate(new - places) + places
        edits += int(table[-1, -1])
    length = sum(map(len, references))
    return edits / length if length else math.inf if edits else 0.0


@right("error_rate", "two rows, lists that grow")
def two_lists(guesses, references):
    if len(guesses) != len(references):
        raise ValueError("as many guesses as references, please")
    edits = length = 0
    for guess, reference in zip(guesses, references, strict=True):
        length += len(reference)
        row = list(range(len(guess) + 1))
        for i in range(1, len(reference) + 1):
            new = [i]
            for j in range(1, len(guess) + 1):
                cost = 0 if guess[j - 1] == reference[i - 1] else 1
                new.append(min(new[j - 1] + 1, row[j] + 1, row[j - 1] + cost))
            row = new
        edits += row[len(guess)]
    if length == 0:
        return 0.0 if edits == 0 else math.inf
    return float(edits) / float(length)


@right("error_rate", "rows of NumPy, insertions by a running minimum")
def by_rows(guesses, references):
    if len(guesses) != len(references):
        raise ValueError("lengths")
    edits = length = 0
    for guess, reference in zip(guesses, references, strict=True):
        numbers = {}
        g = np.array([numbers.setdefault(symbol, len(numbers)) for symbol in guess], np.int64)
        places = np.arange(len(g) + 1)
        row = places.copy()
        for i, symbol in enumerate(reference):
            new = np.empty_like(row)
            new[0] = i + 1
            new[1:] = np.minimum(row[1:] + 1, row[:-1] + (g != numbers.get(symbol, -1)))
            row = np.minimum.accumulate(new - places) + places
        edits += int(row[-1])
        length += len(reference)
    return edits / length if length else (0.0 if not edits else math.inf)


# ------------------------------------------------------------------------------------------------------- ctc_beam

wrong(
    "ctc_beam",
    "keeps the better path to a prefix instead of adding",
    fails=["test_beam_adds_what_greedy_loses"],
    edit={"float(np.logaddexp(b, of_blank)), float(np.logaddexp(e, of_label))": "max(b, of_blank), max(e, of_label)"},
)
wrong(
    "ctc_beam",
    "merges equal labels also where a blank stands between them",
    fails=["test_beam_adds_what_greedy_loses"],
    edit={
        "                    add(prefix, never, e + log_p)\n": "                    add(prefix, never, both + log_p)\n",
        "                    add((*prefix, label), never, b + log_p)\n": "",
    },
)
wrong(
    "ctc_beam",
    "lets a repeated label always make a new one",
    fails=["test_beam_of_full_width_is_exact"],
    edit={"add((*prefix, label), never, b + log_p)": "add((*prefix, label), never, both + log_p )"},
)
wrong(
    "ctc_beam",
    "keeps equal prefixes in the order in which they arose",
    fails=["test_beam_ties"],
    edit={"(-np.logaddexp(*new[prefix]), prefix)": "-np.logaddexp(*new[prefix])"},
)
wrong(
    "ctc_beam",
    "keeps all prefixes",
    fails=["test_beam_is_pruned_after_each_frame"],
    edit={"best[:width]": "best[: 4 * width]"},
)
wrong(
    "ctc_beam",
    "turns the sums back into probabilities, which vanish",
    fails=["test_beam_of_long_utterances"],
    edit={
        "            both = float(np.logaddexp(b, e))\n": (
            "            product = math.exp(b) + math.exp(e)\n"
            "            both = math.log(product) if product else never\n"
        )
    },
)


@right("ctc_beam", "arrays of probabilities, scaled at each frame")
def scaled(log_probs, width, blank=0):
    beam, shift = {(): [1.0, 0.0]}, 0.0
    for row in np.asarray(log_probs, dtype=float):
        top = row.max()
        p = np.exp(row - top)
        shift += top
        new = {}
        for g, (b, e) in beam.items():
            stay = new.setdefault(g, [0.0, 0.0])
            stay[0] += (b + e) * p[blank]
            if g:
                stay[1] += e * p[g[-1]]
            for c in range(len(p)):
                if c != blank and p[c] > 0:
                    grown = b if g and g[-1] == c else b + e
                    if grown > 0:
                        new.setdefault((*g, c), [0.0, 0.0])[1] += grown * p[c]
        kept = sorted(new.items(), key=lambda item: (-sum(item[1]), item[0]))[:width]
        most = sum(kept[0][1])
        shift += math.log(most)
        beam = {g: [b / most, e / most] for g, (b, e) in kept}
    best = min(beam, key=lambda g: (-sum(beam[g]), g))
    return [int(c) for c in best], float(shift + math.log(sum(beam[best])))


@right("ctc_beam", "two dictionaries of logarithms")
def two_dictionaries(log_probs, width, blank=0):
    def plus(a, b):
        if a < b:
            a, b = b, a
        return a if b == -math.inf else a + math.log1p(math.exp(b - a))

    ends_blank, ends_label = {(): 0.0}, {}
    low = -math.inf
    for t in range(len(log_probs)):
        row = [float(v) for v in log_probs[t]]
        nb, nl = {}, {}
        for g in ends_blank.keys() | ends_label.keys():
            b, e = ends_blank.get(g, low), ends_label.get(g, low)
            total = plus(b, e)
            nb[g] = plus(nb.get(g, low), total + row[blank])
            for c, v in enumerate(row):
                if c == blank or v == low:
                    continue
                if g[-1:] == (c,):
                    nl[g] = plus(nl.get(g, low), e + v)
                    total_c = b
                else:
                    total_c = total
                nl[(*g, c)] = plus(nl.get((*g, c), low), total_c + v)
        score = {g: plus(nb.get(g, low), nl.get(g, low)) for g in nb.keys() | nl.keys()}
        kept = sorted(score, key=lambda g: (-score[g], g))[:width]
        ends_blank = {g: nb[g] for g in kept if g in nb}
        ends_label = {g: nl[g] for g in kept if g in nl}
    total = {g: plus(ends_blank.get(g, low), ends_label.get(g, low)) for g in ends_blank.keys() | ends_label.keys()}
    best = min(total, key=lambda g: (-total[g], g))
    return list(best), float(total[best])


# ------------------------------------------------------------------------------------------------------- info_nce

wrong(
    "info_nce",
    "asks in one direction only",
    fails=["test_contrast_is_cross_entropy_both_ways"],
    edit={"(F.cross_entropy(scores, pair) + F.cross_entropy(scores.T, pair)) / 2": "F.cross_entropy(scores, pair)"},
)
wrong(
    "info_nce",
    "sums both directions",
    fails=["test_contrast_is_cross_entropy_both_ways"],
    edit={"F.cross_entropy(scores.T, pair)) / 2": "F.cross_entropy(scores.T, pair))"},
)
wrong(
    "info_nce",
    "does not normalise the rows",
    fails=["test_contrast_is_cross_entropy_both_ways"],
    edit={"(part / part.norm(dim=1, keepdim=True) for part in (U, V))": "(part * 1 for part in (U, V))"},
)
wrong(
    "info_nce",
    "divides by the scale, as by a temperature",
    fails=["test_contrast_is_cross_entropy_both_ways"],
    edit={"log_scale.clamp(max=math.log(100)).exp() * U @ V.T": "U @ V.T / log_scale.clamp(max=math.log(100)).exp()"},
)
wrong(
    "info_nce",
    "does not limit the scale",
    fails=["test_contrast_gradients_and_limit"],
    edit={".clamp(max=math.log(100))": ""},
)


@right("info_nce", "logsumexp by hand")
def by_logsumexp(U, V, log_scale):
    U, V = F.normalize(U, dim=1), F.normalize(V, dim=1)
    A = torch.clamp(torch.exp(log_scale), max=100.0) * (U @ V.mT)
    own = A.diagonal()
    return 0.5 * (torch.logsumexp(A, 1) - own).mean() + 0.5 * (torch.logsumexp(A, 0) - own).mean()


@right("info_nce", "log_softmax along both axes")
def by_log_softmax(U, V, log_scale):
    U = U / (U * U).sum(1, keepdim=True).sqrt()
    V = V / (V * V).sum(1, keepdim=True).sqrt()
    beta = torch.minimum(log_scale.exp(), torch.full_like(log_scale, 100.0))
    A = beta * torch.einsum("ie,je->ij", U, V)
    return -(A.log_softmax(0) + A.log_softmax(1)).trace() / (2 * len(A))


# ----------------------------------------------------------------------------------------------- chunked_info_nce

wrong(
    "chunked_info_nce",
    "takes the wrong answers of each chunk only",
    fails=["test_chunked_loss"],
    edit={
        "    N, beta = len(U), log_scale.exp()\n": (
            "    if len(U) > rows:\n"
            "        cuts = [slice(k, k + rows) for k in range(0, len(U), rows)]\n"
            "        parts = [chunked_info_nce(U[cut], V[cut], log_scale, rows) for cut in cuts]\n"
            "        sizes = [len(part[1]) / len(U) for part in parts]\n"
            "        both = [torch.cat([part[i] * n for part, n in zip(parts, sizes)]) for i in (1, 2)]\n"
            "        ends = [sum(part[i] * n for part, n in zip(parts, sizes)) for i in (0, 3)]\n"
            "        return ends[0], both[0], both[1], ends[1]\n"
            "    N, beta = len(U), log_scale.exp()\n"
        )
    },
)
wrong(
    "chunked_info_nce",
    "asks along the rows only",
    fails=["test_chunked_loss"],
    edit={"((r - diagonal).mean() + (c - diagonal).mean()) / 2": "(r - diagonal).mean()"},
)
wrong(
    "chunked_info_nce",
    "does not rescale the sums of the columns when their maximum grows",
    fails=["test_chunked_loss"],
    edit={"summed = summed * (top - higher).exp() + ": "summed = summed + "},
)
wrong(
    "chunked_info_nce",
    "subtracts the pairs in the first columns of each chunk",
    fails=["test_chunked_gradients"],
    edit={"G.diagonal(start).sub_(2)": "G.diagonal().sub_(2)"},
)
wrong(
    "chunked_info_nce",
    "forgets the scale in the gradients of U and V",
    fails=["test_chunked_gradients"],
    edit={"dU[part] = beta * G @ V": "dU[part] = G @ V", "dV += beta * G.T @ U[part]": "dV += G.T @ U[part]"},
)
wrong(
    "chunked_info_nce",
    "differentiates along the rows only",
    fails=["test_chunked_gradients"],
    edit={"(A - r[part, None]).exp() + (A - c).exp()": "2 * (A - r[part, None]).exp()"},
)
wrong(
    "chunked_info_nce",
    "takes exponentials without subtracting a maximum",
    fails=["test_chunked_large_scores"],
    edit={
        "higher = torch.maximum(top, A.amax(0))": "higher = torch.zeros_like(top)",
        "summed = summed * (top - higher).exp() + (A - higher).exp().sum(0)": "summed = summed + A.exp().sum(0)",
    },
)


@wrong("chunked_info_nce", "makes all scores at once", fails=["test_chunked_of_a_large_batch"])
def all_at_once(U, V, log_scale, rows):
    N, beta = len(U), log_scale.exp()
    A = beta * U @ V.T
    G = A.softmax(1) + A.softmax(0)
    own = A.diagonal()
    loss = ((A.logsumexp(1) - own).mean() + (A.logsumexp(0) - own).mean()) / 2
    G.diagonal().sub_(2)
    G /= 2 * N
    return loss, beta * G @ V, beta * G.T @ U, (G * A).sum()


@right("chunked_info_nce", "logaddexp for the columns, the diagonal apart")
def by_logaddexp(U, V, log_scale, rows):
    N = len(U)
    beta = torch.exp(log_scale)
    c = torch.full((N,), -torch.inf, dtype=U.dtype)
    r = []
    for u in U.split(rows):
        A = beta * (u @ V.mT)
        r.append(torch.logsumexp(A, dim=1))
        c = torch.logaddexp(c, torch.logsumexp(A, dim=0))
    r = torch.cat(r)
    own = torch.einsum("ne,ne->n", U, V)
    loss = (r.sum() + c.sum()) / (2 * N) - beta * own.mean()
    of_U, of_V, slope = [], torch.zeros(V.shape, dtype=V.dtype), torch.zeros((), dtype=U.dtype)
    for u, row in zip(U.split(rows), r.split(rows), strict=True):
        A = beta * (u @ V.mT)
        weight = torch.exp(A - row[:, None])
        weight += torch.exp(A - c[None, :])
        of_U.append(weight @ V)
        of_V += weight.mT @ u
        slope = slope + torch.dot(weight.flatten(), A.flatten())
    half = beta / (2 * N)
    return loss, half * (torch.cat(of_U) - 2 * V), half * (of_V - 2 * U), slope / (2 * N) - beta * own.mean()


@right("chunked_info_nce", "blocks of columns within the blocks of rows")
def in_tiles(U, V, log_scale, rows):
    N, beta = len(U), float(log_scale.exp())
    rows = max(rows, N // 32)  # never thousands of tiny tiles
    blocks = [torch.arange(k, min(k + rows, N)) for k in range(0, N, rows)]
    r = torch.full((N,), -math.inf, dtype=U.dtype)
    c = torch.full((N,), -math.inf, dtype=U.dtype)
    for i in blocks:
        for j in blocks:
            A = beta * U[i] @ V[j].T
            r[i] = torch.logaddexp(r[i], A.logsumexp(1))
            c[j] = torch.logaddexp(c[j], A.logsumexp(0))
    own = beta * (U * V).sum(1)
    dU, dV, slope = torch.zeros_like(U), torch.zeros_like(V), 0.0
    for i in blocks:
        for j in blocks:
            A = beta * U[i] @ V[j].T
            G = ((A - r[i][:, None]).exp() + (A - c[j]).exp() - 2.0 * (i[:, None] == j)) / (2 * N)
            dU[i] += beta * G @ V[j]
            dV[j] += beta * G.T @ U[i]
            slope += float((G * A).sum())
    return (r + c - 2 * own).mean() / 2, dU, dV, torch.tensor(slope, dtype=U.dtype)


# ---------------------------------------------------------------------------------------------------- FusionBlock

wrong(
    "FusionBlock",
    "attends to masked patches",
    fails=["test_fusion_with_masks"],
    edit={"(mask | ~some[:, None])[:, None, None]": "torch.ones_like(mask)[:, None, None]"},
)
wrong(
    "FusionBlock",
    "does not add the text",
    fails=["test_fusion_is_torchs"],
    edit={"torch.where(some[:, None, None], text + seen, text)": "torch.where(some[:, None, None], seen, text)"},
)
wrong(
    "FusionBlock",
    "does not divide the scores by the root of d",
    fails=["test_fusion_is_torchs"],
    edit={" / math.sqrt(q.shape[-1])": ""},
)
wrong(
    "FusionBlock",
    "divides by the root of the whole width",
    fails=["test_fusion_is_torchs"],
    edit={"math.sqrt(q.shape[-1])": "math.sqrt(text.shape[-1])"},
)
wrong(
    "FusionBlock",
    "gives nan where a text has no patch",
    fails=["test_fusion_with_masks"],
    edit={
        "        allowed = (mask | ~some[:, None])[:, None, None]": "        allowed = mask[:, None, None]",
        "torch.where(some[:, None, None], text + seen, text)": "text + seen",
    },
)
wrong(
    "FusionBlock",
    "leaves nan in masked patches",
    fails=["test_fusion_of_what_is_masked"],
    edit={"        patches = torch.where(mask[..., None], patches, 0)\n": ""},
)
wrong(
    "FusionBlock",
    "asks without normalising the text",
    fails=["test_fusion_is_torchs"],
    edit={"self.query(self.norm(text))": "self.query(text)"},
)


@right("FusionBlock", "torch's scaled_dot_product_attention")
class WithTorch(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        if width % heads != 0:
            raise ValueError("heads must divide width")
        self.h = heads
        self.norm = nn.LayerNorm(width)
        for name in ("query", "key", "value", "out"):
            self.add_module(name, nn.Linear(width, width, bias=False))

    def forward(self, text, patches, mask=None):
        B, T, D = text.shape
        P = patches.shape[1]
        there = torch.ones(B, P, dtype=torch.bool, device=text.device) if mask is None else mask
        # One more patch, of zeros, for those that have none: its value is 0.
        patches = torch.cat([patches.masked_fill(~there.unsqueeze(2), 0), patches.new_zeros(B, 1, D)], 1)
        there = torch.cat([there, ~there.any(1, keepdim=True)], 1)

        def split(a):
            return a.reshape(B, -1, self.h, D // self.h).permute(0, 2, 1, 3)

        q, k, v = split(self.query(self.norm(text))), split(self.key(patches)), split(self.value(patches))
        o = F.scaled_dot_product_attention(q, k, v, there[:, None, None, :])
        return text + self.out(o.permute(0, 2, 1, 3).reshape(B, T, D))


@right("FusionBlock", "exponentials by hand, head by head")
class ByHand(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        if width // heads * heads != width:
            raise ValueError(width)
        self.heads, self.d = heads, width // heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, text, patches, mask=None):
        if not patches.shape[1]:
            return text + 0.0
        if mask is None:
            mask = torch.ones_like(patches[..., 0], dtype=torch.bool)
        patches = patches.masked_fill(~mask[..., None], 0.0)
        q, k, v = self.query(self.norm(text)), self.key(patches), self.value(patches)
        outs = []
        for j in range(self.heads):
            part = slice(j * self.d, (j + 1) * self.d)
            scores = torch.einsum("btd,bpd->btp", q[..., part], k[..., part]) / self.d**0.5
            scores = scores.masked_fill(~mask[:, None], -1e30)
            weights = (scores - scores.amax(-1, keepdim=True).detach()).exp() * mask[:, None]
            outs.append(weights @ v[..., part] / weights.sum(-1, keepdim=True).clamp(min=1e-30))
        return text + self.out(torch.cat(outs, -1))
