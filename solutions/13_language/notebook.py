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
# # 13 · Language
#
# **What you will be able to do.** Cut any text into tokens that you learnt from a corpus. Let a network read text
# without labels first, so that it needs fewer labels later. Label whole texts, label words, and measure both honestly.
# Turn one sequence into another one: a command into its meaning, a sentence into another language. And search for the
# best output, where the greedy choice is not the best one.
#
# **You need** softmax and cross-entropy (module 03), and the basics of `torch.nn.Module`. Recurrent networks (module
# 11) and attention (module 12) help. What you need of them is explained here, and the encoder is given.
#
# **Skills it trains**: tokenisation, incremental counting, masks, metrics with clear definitions, decoding, search.
#
# **Time**: about five and a half hours, three of them in eight exercises and a bug to find. Each exercise says how
# important it is (essential, important, optional), its level, from 1 to 4, and its minutes. The level is the number of
# its points.
#
# **Symbols of the whole module**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $B$, $T$ | | | texts in a batch; positions, as many as the longest text has tokens |
# | $V$ | `vocab` | | different tokens |
# | | `ids` | $(B, T)$ | the tokens as numbers, from 0 to $V - 1$ |
# | $v_{ij}$ | `valid` | $(B, T)$ | true (1) at a token, false (0) at the **padding** that makes all rows equally long |
# | $w$ | `width` | | numbers in the state of one token ($n$ in module 11, $D$ in module 12) |
# | $h_{ij}$ | `states`, `memory` | $(B, T, w)$ | the **states**: what the encoder says of token $j$ in text $i$ |
# | $W$, $f_{ij}$ | `first` | $(B, W)$ | words of the longest text; the position of the first token of word $j$ in text $i$ |
# | $C$ | `classes`, `tags` | | different labels |
# | $S$ | | | positions of the source, where one sequence is turned into another |
# | $y_t$ | `inputs`, `targets` | $(B, T)$ | token $t$ of the output |
# | $s_t$, $c_t$ | `state`, `context` | $(B, w)$ | state of the decoder at step $t$, and what it read from the source |
# | $a_{tj}$ | `attention` | $(B, T, S)$ | weight of source position $j$ at step $t$ ($\alpha$ in module 12); these add up to 1 |
# | $n$, $N$ | | | words of a corpus in all; different words among them |
# | $\alpha$ | `alpha` | | the power of the length by which 13.9 divides |

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, plotting, scaling
    from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_shape, expect_unchanged
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import copy
import gc
import itertools
import math
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits
from torch import nn

plotting.use()
checking.start("13_language", total=10)


def words_of(data: bytes) -> list[bytes]:
    """Letters with the space before them, other signs with the space before them, or a space: all of data, in order."""
    return re.findall(rb" ?[A-Za-z]+| ?[^A-Za-z ]+| ", data)


def merge_pair(symbols: Sequence[int], pair: tuple[int, int], new: int) -> list[int]:
    """A new list in which each place of the pair, from left to right, has become the symbol `new`.

    A symbol is used once: [7, 7, 7] with the pair (7, 7) becomes [new, 7].
    """
    merged, i = [], 0
    while i < len(symbols):
        here = i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair
        merged.append(new if here else symbols[i])
        i += 2 if here else 1
    return merged


class Encoder(nn.Module):
    """An embedding, and recurrent layers that read it in both directions: the state of a token knows all the others."""

    def __init__(self, vocab: int, width: int):
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        nn.init.normal_(self.embedding.weight, std=0.05)
        self.layer = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)

    def forward(self, ids: torch.Tensor, valid: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        """States (B, T, width). ids, valid: (B, T), the padding behind the tokens. added: (B, T, width), goes on top
        of the embeddings."""
        x = self.embedding(ids) if added is None else self.embedding(ids) + added
        lengths = valid.sum(1).clamp(min=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out = self.layer(packed)[0]
        return nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=ids.shape[1])[0]


def batch(rows: Sequence[Sequence[int]], pad: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of different lengths as ids (B, T), with `pad` behind the short ones, and valid (B, T)."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), pad)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.as_tensor(row)
    return ids, torch.arange(ids.shape[1]) < lengths[:, None]


def fit(net: nn.Module, loss_of: Callable[[int], torch.Tensor], steps: int, lr: float) -> list[float]:
    """Train by Adam, with a rate that falls to 0; loss_of(step) is the loss of that step's batch. The losses."""
    adam = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    losses = []
    for step in range(steps):
        adam.param_groups[0]["lr"] = lr * (1 - step / steps)
        loss = loss_of(step)
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        adam.step()
        losses.append(loss.item())
    return losses


# %% [markdown]
# ## Derive
#
# ### What one does with language
#
# Most tasks with text have one of four forms: a text gets one label, each word gets a label, a text becomes another
# sequence, or a text is continued. This module builds one network for each of the first three.
#
# | task | in → out | metric | data of this module |
# | --- | --- | --- | --- |
# | classification | text → one label (here: does it name a place?) | accuracy | `reviews` |
# | sentiment | text → good or bad | accuracy | `reviews`: "although", "even if" |
# | entities | each word → is it in a name, and of what kind? | F1 of spans | `reviews`: persons, places, brands |
# | semantic roles | each word → who did what to whom? | F1 of spans | `events`: two events in each text |
# | semantic parsing | command → logical form | share that is exactly right | `instructions` |
# | translation | sentence → other language | BLEU, share exactly right | `instructions` |
# | generation | text → its continuation | perplexity | modules 11 and 12 |
#
# All of them start with the same question: what is a token?
#
# ### Words, characters, or what lies between
#
# Take **words** as tokens, and the list never ends: each new text has words that no list holds, and those are often the
# names that matter. Take **bytes**, and there are only 256 of them, and every text in every language can be written.
# But then a text of 1,000 words has some 6,000 tokens, and a network needs work for each of them. (Attention needs it
# for each *pair*.)
#
# **Byte-pair encoding** (BPE) lies between. Start with bytes. Find the pair of neighbours that is most frequent in a
# corpus, and make it a new symbol. Repeat. Frequent words become one symbol after a while, rare words stay in pieces,
# and nothing is ever unknown, since the bytes remain. The number of merges decides between a long list and long texts.
#
# The picture shows a few words after more and more merges, computed by the slow way: count all pairs, merge, count
# again. A word carries the space in front of it, written as ␣.


# %% tags=["demo"]
def slow_bpe(counts: dict[bytes, int], merges: int) -> list[tuple[int, int]]:
    """Counts all pairs of all words again for each merge."""
    words, learnt = [(list(word), count) for word, count in counts.items()], []
    while len(learnt) < merges:
        pairs = Counter()
        for symbols, count in words:
            for pair in itertools.pairwise(symbols):
                pairs[pair] += count
        best = max(pairs, key=lambda pair: (pairs[pair], -pair[0], -pair[1]), default=None)
        if best is None or pairs[best] < 2:
            break
        words = [(merge_pair(symbols, best, 256 + len(learnt)), count) for symbols, count in words]
        learnt.append(best)
    return learnt


corpus = " ".join(datasets.reviews(demo_size(full=300, small=60), seed=3).texts).encode()
some = slow_bpe(Counter(words_of(corpus)), merges=400)
figure, ax = plt.subplots(figsize=(11, 3.4))
stages = [0, 20, 60, 150, 400]
for row, stage in enumerate(stages):
    place = 0.0
    for word in (b" The", b" keyboard", b" is", b" not", b" unreliable", b"."):
        symbols, parts = list(word), [bytes([b]) for b in word]
        for i, pair in enumerate(some[:stage]):
            symbols = merge_pair(symbols, pair, 256 + i)
        table = {b: bytes([b]) for b in range(256)}
        for i, (a, b) in enumerate(some):
            table[256 + i] = table[a] + table[b]
        for symbol in symbols:
            text = table[symbol].decode().replace(" ", "␣")
            colour = plotting.COLOURS[0] if len(text) > 1 else plotting.MUTED
            edge = {"boxstyle": "round,pad=0.18", "facecolor": plotting.PAPER, "edgecolor": colour}
            ax.text(place + len(text) / 2, -row, text, ha="center", va="center", family="monospace", bbox=edge)
            place += len(text) + 0.55
    ax.text(-0.8, -row, f"{stage} merges", ha="right", va="center")
ax.set(
    xlim=(-5, 52),
    ylim=(-4.6, 0.7),
    title="With each merge a frequent pair becomes one symbol; rare words stay in pieces",
)
ax.axis("off")
plt.show()

# %% [markdown]
# ### What may be counted once
#
# Two facts make BPE cheap on any amount of text.
#
# **The corpus is needed only as a table.** We first cut the text into words, each with the space in front of it
# (`words_of` in the setup cell), and no merge crosses the border of a word. So it is enough to know each different
# word, and how often it occurs. A corpus of $n$ words has $N \ll n$ different ones, and the table of one part of the
# corpus can be *added* to that of another part. One pass, in any number of chunks, on any number of machines, and the
# corpus is not needed again.
#
# **A merge changes few words.** If the pair (`t`, `h`) becomes one symbol, only the words with `th` change, and so do
# the counts of pairs in these words only. Counting everything again for each merge takes merges × symbols steps. With a
# set of the words for each pair, it takes as many steps as there are changes, and for each merge one look at the count
# of each pair, to find the highest.
#
# Where tutorials disagree, this module settles it as follows.
#
# | question | seen elsewhere | here |
# | --- | --- | --- |
# | start of BPE | characters, with a token for "unknown" | bytes: nothing is unknown |
# | two pairs with equal counts | the one seen first: depends on the order of the words | the smallest pair: always the same |
# | loss on masked tokens | on all tokens; on those with the mask | on all chosen ones, those that kept their id, too |
# | loss of a batch | mean over all positions; mean of the texts' means | mean over the tokens that are not padding |
# | score of tags | share of right tags (mostly "O") | F1 of whole spans: start, stop and label all right |
# | "I-X" without a beginning | dropped; or ends up in a span with another label | begins a span |
# | result of a beam | always divided by the length; never | `alpha` says it; 0 does not divide |

# %% [markdown]
# ## Implement
#
# ### 13.1 `train_bpe` · essential · level 4 of 4 · 40 min
#
# Learn the merges, and touch only what changes. Keep three things: the words as lists of symbols; the count of each
# pair; and for each pair the words that hold it. For one merge,
#
# 1. take the pair with the highest count;
# 2. for each word that holds it: subtract all its pairs from the counts, merge it, add all its new pairs.
#
# The set of a pair may hold words that no longer contain the pair. That does no harm: what you subtract for such a
# word, you add again.


# %% exercise="train_bpe" points=4 minutes=40 trains=["tokenisation", "incremental counting"]
def train_bpe(counts: dict[bytes, int], merges: int) -> list[tuple[int, int]]:
    """Learn byte-pair merges from the words of a corpus and from how often each occurs.

    counts: {word: count}, words of one byte or more, counts from 1 to 10^12; may be empty. It stays
      as it is.
    merges: an integer >= 0, the most merges to learn.

    Each word starts as the list of its bytes, integers from 0 to 255. The count of a pair (a, b) is
    the number of places, in all words, where b stands right behind a, each place times the count of
    its word. (In b"aaa" the pair (97, 97) has two places.)
    Merge i = 0, 1, ... takes the pair with the highest count, among equal counts the smallest tuple
    (a, b), and replaces it in each word by the symbol 256 + i, as `merge_pair` of the setup cell
    does. Ends after `merges` merges, or when no pair has a count of 2 or more.

    Returns the pairs in the order of the merges, a list of tuples of two Python ints.
    Its work: count all pairs of all words once. Then, for each merge, look at each different pair
    at most once, and only at those words that hold the merged pair or once held it. A test with
    6,000 words of 50 bytes and 600 merges stops after 4 seconds.
    """
    ### BEGIN SOLUTION
    words = [(list(word), count) for word, count in counts.items()]
    pairs, holders = Counter(), defaultdict(set)

    def note(i: int, sign: int) -> None:
        symbols, count = words[i]
        for pair in itertools.pairwise(symbols):
            pairs[pair] += sign * count
            holders[pair].add(i)

    for i in range(len(words)):
        note(i, 1)
    learnt = []
    while len(learnt) < merges and pairs:
        best = max(pairs, key=lambda pair: (pairs[pair], -pair[0], -pair[1]))
        if pairs[best] < 2:
            break
        for i in list(holders[best]):
            note(i, -1)
            words[i] = (merge_pair(words[i][0], best, 256 + len(learnt)), words[i][1])
            note(i, 1)
        del pairs[best], holders[best]
        learnt.append(best)
    return learnt
    ### END SOLUTION


# %% [markdown] hints="train_bpe"
# <details><summary>Hint 1: what to keep</summary>
#
# `words`: a list of (symbols, count). `pairs`: a Counter. `holders`: a dictionary from a pair to the set of the numbers
# of words that hold it. A loop over all words fills the last two, once.
# </details>
# <details><summary>Hint 2: the best pair</summary>
#
# `max(pairs, key=lambda pair: (pairs[pair], -pair[0], -pair[1]))` takes the highest count, and among equal ones the
# smallest pair. Stop if there is no pair, or if this count is below 2.
# </details>
# <details><summary>Hint 3: one merge</summary>
#
# For each `i` in a copy of `holders[best]`: for all pairs of word i subtract its count; replace the word by
# `merge_pair(symbols, best, 256 + len(learnt))`; for all pairs of the new list add its count, and put i into their
# holders. Then delete `best` from both tables. Nothing else has changed.
# </details>

# %% check="train_bpe"
with check("train_bpe"):
    word_counts = {b"low": 5, b"lower": 2, b"new": 6, b"newer": 3}
    with expect_unchanged(word_counts=word_counts):
        got = train_bpe(word_counts, 3)
    # n-e and e-w stand in new and newer, 6 + 3 = 9 times; l-o and o-w in low and lower, 7 times
    expect_close(
        [bytes(pair) if max(pair) < 256 else pair for pair in got],
        [b"ew", (ord("n"), 256), b"lo"],  # e-w before n-e, since "e" < "n"; then n and "ew"; then l-o before o-w
        mistakes={
            "Each place counts as often as its word occurs.": [b"er", b"ew", b"lo"],
            "Among equal counts take the smallest pair, whatever stands first.": [b"ne", (256, ord("w")), b"lo"],
            "Among equal counts take the smallest pair.": [b"ne", (256, ord("w")), b"ow"],
        },
    )
    expect_close(
        train_bpe({b"hello": 9, b"hell": 4}, 2),
        [(101, 108), (104, 256)],  # e-l; then h-el and el-l have 13 places each, and (104, 256) < (256, 108)
        mistakes={"Among equal counts compare the symbols, not their bytes.": [(101, 108), (256, 108)]},
    )
    expect_close(train_bpe({b"aaaa": 1, b"xy": 2}, 5), [(97, 97), (120, 121)], hint="a-a has 3 places; 256-256 has one")
    expect_close(train_bpe({b"xy": 1}, 5), [], hint="no pair has a count of 2")
    expect_close(train_bpe({}, 5), [])
    expect_close(train_bpe({b"xy": 9}, 0), [])
    long_words = {bytes([97 + i % 26, 97 + i // 26 % 26]) * 40: 1 for i in range(250)}
    frequent = {bytes([65 + i % 26, 48 + i // 26]): 1000 + i for i in range(100)}
    took = {4: [], 100: []}  # seconds; each merge changes one short word, and the first pass is the same
    for merges in (4, 100, 4, 100, 4):
        begun = time.perf_counter()
        train_bpe(long_words | frequent, merges)
        took[merges].append(time.perf_counter() - begun)
    slower = min(took[100]) / min(took[4])
    assert slower < 10, "100 merges take far longer than 4: touch only the words that hold the pair"

# %% [markdown]
# ### 13.2 `encode` · essential · level 2 of 4 · 15 min
#
# A new text is cut into words, and the merges are applied to each word *in the order in which they were learnt*. The
# order matters: with the merges (`a`, `b`), (`b`, `c`), the word `abc` is `ab` + `c`, although `bc` is known, too.
#
# The way back needs no order at all. Each symbol stands for some bytes, and the text is all of them in a row. So
# `decode(encode(data))` is `data`, for all bytes there are: the **round trip**. Nothing may get lost, no double space
# and no byte that is not valid Unicode.


# %% exercise="encode" points=2 minutes=15 trains=["tokenisation"]
def encode(data: bytes, merges: list[tuple[int, int]]) -> list[int]:
    """The symbols of a text: its bytes, put together by the merges in their order.

    data: any bytes, from none to 200,000.
    merges: as `train_bpe` returns them, maybe none; pair i consists of symbols below 256 + i, and
      no pair occurs twice.
    Cuts data by `words_of` (setup cell). In each word merge 0 is done first, at all its places, as
    `merge_pair` does, then merge 1, and so on; merge i makes the symbol 256 + i.

    Returns the symbols of all words, in order, in one list of Python ints.
    """
    ### BEGIN SOLUTION
    rank, known, ids = {pair: i for i, pair in enumerate(merges)}, {}, []
    for word in words_of(data):
        if word not in known:
            symbols = list(word)
            while found := [rank[pair] for pair in itertools.pairwise(symbols) if pair in rank]:
                first = min(found)
                symbols = merge_pair(symbols, merges[first], 256 + first)
            known[word] = symbols
        ids += known[word]
    return ids
    ### END SOLUTION


def decode(ids: Sequence[int], merges: list[tuple[int, int]]) -> bytes:
    """The bytes that a sequence of symbols stands for.

    ids: symbols from 0 to 255 + len(merges), maybe none, in any order, also in one that `encode`
      never gives.
    merges: as for `encode`. There may be 2,000, where one half of pair i is the symbol of merge
      i - 1, and the other half is a byte.
    Raises ValueError if a symbol is below 0 or above 255 + len(merges).
    """
    ### BEGIN SOLUTION
    table = [bytes([b]) for b in range(256)]
    for a, b in merges:
        table.append(table[a] + table[b])
    if any(not 0 <= i < len(table) for i in ids):
        raise ValueError("no such symbol")
    return b"".join(table[i] for i in ids)
    ### END SOLUTION


# %% [markdown] hints="encode"
# <details><summary>Hint 1: one word</summary>
#
# `symbols = list(word)` gives integers. The plain way: for each i and pair in `enumerate(merges)`,
# `symbols = merge_pair(symbols, pair, 256 + i)`. It is right, slow for many merges, and fast enough for all tests.
# </details>
# <details><summary>Hint 2: faster</summary>
#
# Look only at the pairs that the word has. Of those that are merges, do the one with the smallest number, and look
# again, until none is left. And keep the result of each word in a dictionary: most words come again.
# </details>
# <details><summary>Hint 3: decode</summary>
#
# A table of bytes: `table = [bytes([b]) for b in range(256)]`, and for each merge (a, b) append `table[a] + table[b]`.
# Then `b"".join(table[i] for i in ids)`. A negative index would count from the end, so check first.
# </details>

# %% check="encode"
with check("encode"):
    merges = [(97, 98), (98, 99), (256, 99)]  # ab, bc, ab+c
    expect_close(
        encode(b"abcbc abx", merges),
        [258, 257, 32, 256, 120],  # abc, bc; the second word begins with its space
        mistakes={
            "The merges are done in their order: ab comes before bc.": [97, 257, 257, 32, 256, 120],
            "A merge's result can be merged again: ab + c is symbol 258.": [256, 99, 257, 32, 256, 120],
        },
    )
    expect_close(encode(b"a b", [(97, 32), (32, 98)]), [97, 257], hint="no merge crosses a word: a and the space")
    expect_close(encode(b"", merges), [])
    expect_close(decode([258, 257, 32, 256, 120], merges), b"abcbc abx")
    expect_close(decode([99, 256], merges), b"cab")
    everything = bytes(range(256)) + "  zwei  Wörter\n".encode() + b"\xff \xc3"
    expect_close(decode(encode(everything, merges), merges), everything, hint="the round trip must keep each byte")
    for bad in (-1, 259):
        with expect_raises(ValueError, hint="symbols run from 0 to 255 + len(merges)"):
            decode([bad], merges)

# %% [markdown]
# How many merges are enough? Your merges are learnt from the text of Python's own help. The picture counts the tokens
# for each byte after more and more merges: in the text that the merges were learnt from, in a part of the help that
# they have not seen, and in another kind of text. Unseen text becomes shorter, too, as its words have the same parts.
# There is a price: each merge adds a row to the embedding table and to the last layer. The shorter the texts, the
# longer the list.
#
# The lines below the picture show what some words look like in the end. Look at the last one. `words_of` knows the
# letters from A to Z only, so it cuts *naïve* at the ï, and no merge can ever join the parts. A text in German or in
# Turkish pays for this at every accent. Real tokenisers cut by Unicode's classes of letters.

# %% tags=["demo"]
help_text = datasets.python_help().text.encode()
seen, later = help_text[: demo_size(full=300_000, small=20_000)], help_text[-20_000:]
help_merges = train_bpe(Counter(words_of(seen)), merges=demo_size(full=800, small=100))
stages = [k for k in (0, 25, 50, 100, 200, 400, 800) if k <= len(help_merges)]
samples = {"text of the merges": seen[:20_000], "help, not seen": later, "reviews": corpus[:20_000]}
shares = {
    name: [len(encode(sample, help_merges[:stage])) / len(sample) for stage in stages]
    for name, sample in samples.items()
}
plotting.curves(
    {name: (stages, values) for name, values in shares.items()},
    xlabel="merges",
    ylabel="tokens for each byte",
    title="Texts become shorter, also those that were not seen",
)
plt.ylim(bottom=0)
plt.show()
for text in (b" function", b" returns", b" unforgettable", " naïve".encode()):
    print(text.decode(), "→", [decode([i], help_merges) for i in encode(text, help_merges)])

# %% [markdown]
# ### 13.3 `mask_tokens` · essential · level 2 of 4 · 15 min
#
# Now the texts are numbers. Labels are expensive, and texts without labels are not. Can a network learn from these?
#
# In **masked language modelling** we hide some of the tokens, and the network must say from the others what stood
# there. To guess "although the lid is [hidden], the motor is ugly", it must know which words are adjectives, and which
# of them are praise. This is what labels would have to teach it otherwise.
#
# The recipe is BERT's (Devlin et al., 2019): choose 15% of the tokens. Of these,
#
# - 80% are replaced by a special token, the mask;
# - 10% are replaced by a random token: so the network can trust no token that it sees;
# - 10% stay: so the network learns good states for tokens that are not hidden, too. The later task has no masks at all.
#
# The loss is the cross-entropy at the chosen places, *all* of them. The others have the target −100, which torch's
# `cross_entropy` leaves out.
#
# The network that reads is given, the `Encoder` of the setup cell: an embedding and two recurrent layers (GRU, module
# 11). One layer reads from left to right, the other from right to left. The state of a token is the output of both,
# side by side, so it knows what stands before the token and behind it. BERT's own encoder is a transformer (module 12);
# the recipe is the same.


# %% exercise="mask_tokens" points=2 minutes=15 trains=["masks"]
def mask_tokens(
    ids: np.ndarray, allowed: np.ndarray, mask_id: int, vocab: int, seed: int, rate: float = 0.15
) -> tuple[np.ndarray, np.ndarray]:
    """Choose and hide tokens for masked language modelling.

    ids (B, T) holds integers of any kind, from 0 to 10^9, and allowed (B, T) holds bools, true at
      the places that may be chosen; B, T >= 1. They are not modified.
    mask_id: an integer >= 0. vocab: an integer >= 1. seed: an integer from 0 to 2^63 - 1.
    rate: a number from 0 to 1.

    Each allowed place is chosen with probability `rate`, independently of the others. What happens
    at a chosen place is independent of the others, too:
      with probability 0.8 its id becomes mask_id;
      with probability 0.1 its id is drawn from 0, ..., vocab - 1, all equally likely;
      with probability 0.1 its id stays.
    Returns (inputs, targets), two new arrays (B, T), int64. inputs: the ids after this.
    targets: the old id at every chosen place, also where it stays, and -100 elsewhere.
    The same arguments give the same arrays, other seeds give unrelated ones. No global random
    state is used or changed.
    """
    ### BEGIN SOLUTION
    rng, ids = np.random.default_rng(seed), ids.astype(np.int64)
    chosen = allowed & (rng.binomial(1, rate, ids.shape) == 1)
    drawn = rng.integers(vocab, size=ids.shape)
    replaced = np.choose(rng.choice(3, ids.shape, p=(0.8, 0.1, 0.1)), (mask_id, drawn, ids))
    return np.where(chosen, replaced, ids), np.where(chosen, ids, -100)
    ### END SOLUTION


# %% [markdown] hints="mask_tokens"
# <details><summary>Hint 1: which are chosen</summary>
#
# `rng = np.random.default_rng(seed)`, and `chosen = allowed & (rng.random(ids.shape) < rate)`.
# </details>
# <details><summary>Hint 2: three fates</summary>
#
# Draw a second uniform number for each place. Below 0.8: the mask. From 0.8 to 0.9: a random id. Above: nothing
# changes. `np.where` or indexing by a boolean array writes into a copy.
# </details>
# <details><summary>Hint 3: the targets</summary>
#
# `np.where(chosen, ids, -100)`, made int64. If ids are uint8, convert before you write -100 or a large mask_id.
# </details>

# %% check="mask_tokens"
with check("mask_tokens"):
    ids = np.arange(60_000).reshape(200, 300) % 50
    allowed = ids % 3 > 0  # 33 of the 50 ids, so 39,600 places
    with expect_unchanged(ids=ids, allowed=allowed):
        inputs, targets = mask_tokens(ids, allowed, 50, 50, 1)
    expect_shape(inputs, (200, 300))
    expect_dtype(inputs, np.int64)
    expect_dtype(targets, np.int64)
    chosen = targets != -100
    assert not chosen[~allowed].any(), "a place that is not allowed was chosen"
    expect_close(targets[chosen], ids[chosen], hint="the target is the id that stood there before")
    expect_close(inputs[~chosen], ids[~chosen], hint="other places stay as they are")
    # Each share has a standard error of 0.006 or less; the bounds are more than five of them.
    share = chosen[allowed].mean()
    assert abs(share - 0.15) < 0.01, f"{share:.3f} of the allowed places are chosen, where 0.15 is the rate"
    hidden = (inputs == 50)[chosen].mean()
    assert abs(hidden - 0.8) < 0.03, f"{hidden:.3f} of the chosen places have the mask; expected 0.8"
    kept = (inputs == ids)[chosen].mean()
    # 0.1 stay, and of the 0.1 that are drawn one in 50 is the old id
    assert abs(kept - 0.102) < 0.025, f"{kept:.3f} of the chosen places keep their id; expected 0.1 and a little"
    again, _ = mask_tokens(ids, allowed, 50, 50, 1)
    expect_close(again, inputs, hint="the same seed draws the same places")
    other, _ = mask_tokens(ids, allowed, 50, 50, 2)
    assert (other != inputs).any(), "another seed must draw other places"
    rows = mask_tokens(np.ones((2, 200), int), np.ones((2, 200), bool), 5, 5, 1)[1]
    assert (rows[0] != rows[1]).any(), "each place is chosen independently, also of the one above it"
    small = mask_tokens(ids.astype(np.uint8), allowed, 300, 50, 1, rate=1.0)
    expect_close(small[1], np.where(allowed, ids, -100), hint="rate=1 chooses all that is allowed; uint8 ids are fine")
    assert (small[0] == 300).any(), "mask_id may be larger than the ids' dtype holds"

# %% [markdown]
# Your function turns texts without labels into exercises for a network. The network reads sentences of the reviews, in
# tokens of your own merges, and guesses what was hidden. (All words are in lower case here, so that *The* and *the* are
# one token.) The curve is its loss at the chosen places. The dashed line is the best loss of a model that knows only
# how frequent each token is. A tenth of the chosen tokens stays visible, and there the network has an easy guess.
#
# Below the picture stand the network's guesses for one hidden token, and for some words those whose embeddings are
# nearest to theirs, by the cosine. Nobody has told it what a place or a person is. It finds that Oslo and Lima stand
# between the same words. But look at the neighbours of *great*: that it is praise, the network has not found out.

# %% tags=["demo"]
WIDTH = 64


def sentences(n: int, seed: int) -> tuple[list[list[str]], np.ndarray, np.ndarray]:
    """The sentences of n reviews, as words in lower case; the sentiment of its review; whether it names a place."""
    reviews, found, labels, places = datasets.reviews(n, seed=seed), [], [], []
    tags = reviews.tags("entities")
    for i, tokens in enumerate(reviews.tokens):
        for ended, group in itertools.groupby(range(len(tokens)), lambda k, tokens=tokens: tokens[k] == "."):
            if not ended:
                group = list(group)
                found.append([tokens[k].lower() for k in group])
                labels.append(reviews.sentiment[i])
                places.append(any(tags[i][k] == "B-PLACE" for k in group))
    return found, np.array(labels), np.array(places).astype(int)


texts, sentiment, place_named = sentences(demo_size(full=4000, small=500), seed=1)
merges = train_bpe(
    Counter(word for text in texts for word in words_of((" " + " ".join(text)).encode())),
    merges=demo_size(full=550, small=200),
)
MASK, VOCAB = 256 + len(merges), 257 + len(merges)
pieces = {}


def row_of(words: Sequence[str]) -> tuple[list[int], list[int]]:
    """The tokens of all words, in lower case with a space before it, and the place at which each word begins."""
    row, starts = [], []
    for word in map(str.lower, words):
        if word not in pieces:
            pieces[word] = encode(f" {word}".encode(), merges)
        starts.append(len(row))
        row += pieces[word]
    return row, starts


rows = [row_of(text)[0] for text in texts]
print(" ".join(texts[0]), "→", [decode([i], merges).decode() for i in rows[0]])


def pretrained(steps: int, seed: int) -> tuple[nn.Module, nn.Module, list[float]]:
    """An encoder that has guessed the hidden tokens of `rows`, the layer that guesses, and the losses."""
    torch.manual_seed(seed)
    encoder, guess = Encoder(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB)
    guess.weight = encoder.embedding.weight  # one table for reading and for guessing
    draw = np.random.default_rng(seed)

    def loss_of(step):
        ids, valid = batch([rows[i] for i in draw.choice(len(rows), 64, replace=False)])
        inputs, targets = mask_tokens(ids.numpy(), valid.numpy(), MASK, VOCAB, seed=1000 * seed + step)
        states, targets = encoder(torch.as_tensor(inputs), valid), torch.as_tensor(targets)
        chosen = targets != -100
        return F.cross_entropy(guess(states[chosen]), targets[chosen])

    return encoder, guess, fit(nn.ModuleList([encoder, guess]), loss_of, steps, lr=8e-3)


torch.set_num_threads(1)
encoder, guess, losses = pretrained(demo_size(full=600, small=60), seed=0)
share = np.bincount([i for row in rows for i in row], minlength=VOCAB) / sum(map(len, rows))
alone = -float((share[share > 0] * np.log(share[share > 0])).sum())
smooth = np.convolve(losses, np.ones(20) / 20, "valid")
plt.plot(range(20, 20 + len(smooth)), smooth, label="the network, mean of 20 steps")
plt.axhline(alone, color=plotting.MUTED, linestyle="--", marker="", label="frequencies only")
plt.xlabel("step")
plt.ylabel("cross-entropy at the chosen places")
plt.title("The neighbours of a token help to guess it")
plt.ylim(bottom=0)
plt.legend()
plt.show()


def as_words(tokens: torch.Tensor) -> str:
    return ", ".join(decode([int(i)], merges).decode(errors="replace").strip() for i in tokens)


for words in (["Ana", "bought", "the", "lamp", "in", "?", "in", "March"], ["the", "lid", "is", "very", "?"]):
    row = [MASK if word == "?" else row_of([word])[0][0] for word in words]
    ids, valid = batch([row])
    with torch.no_grad():
        scores = guess(encoder(ids, valid))[0, words.index("?"), :MASK]
    print(f"{' '.join(words)}: {as_words(scores.topk(6).indices)}")
near = F.normalize(encoder.embedding.weight.detach(), dim=1)[:MASK]
near[share[:MASK] == 0] = 0  # tokens that do not occur
for word in ("Oslo", "Boris", "camera", "great"):
    first, *more = row_of([word])[0]
    if not more:  # one token
        print(f"nearest to {word.lower()}: {as_words((near @ near[first]).topk(7).indices[1:])}")

# %% [markdown]
# ### 13.4 `TextClassifier` · important · level 2 of 4 · 10 min
#
# One label for a text. The encoder gives each token a state $h_{ij}$, a vector of $w$ numbers; a text needs one vector.
# The simplest is the mean over its tokens. Padding must not count: a mean over all $T$ positions becomes smaller with
# more padding. Then a text's label would depend on its neighbours in the batch.
#
# $$\underbrace{u_i}_{(w,)} = \frac{\sum_j v_{ij}\, h_{ij}}{\sum_j v_{ij}}, \qquad
# \underbrace{\text{logits}_i}_{(C,)} = u_i \underbrace{A}_{(w, C)} + \underbrace{b}_{(C,)}.$$
#
# In code, it is not enough to multiply by 0: 0 · nan is nan, and what stands at the padding may be anything.
# `torch.where(valid[..., None], h, 0)` takes 0 at the padding, whatever h is, and sends no gradient there.


# %% exercise="TextClassifier" points=2 minutes=10 trains=["masks"]
class TextClassifier(nn.Module):
    """Logits for each text of a batch: the mean of its tokens' states, then a linear layer.

    TextClassifier(encoder, width, classes), with width and classes at least 1, has these parts:
      encoder: the module that was passed in; encoder(ids, valid) gives states (B, T, width).
      head: nn.Linear(width, classes).

    forward(ids, valid), with B, T >= 1:
      ids (B, T) holds integers from 0 on, int64, and valid (B, T) holds bools. valid may be false
        anywhere, not only at the end of a row.
      Both stay as they are, and may be views in any order of memory.
    It calls the encoder once, with ids and valid as they came, and returns logits (B, classes), in
    the dtype of the states: head of the mean of the states where valid is true. This is float32, or
    float64 for a net that .double() has made so.
    For a text where valid is true nowhere, it is head of zeros.
    States where valid is false may be inf or nan. They have no influence and get the gradient 0.
    """

    ### BEGIN SOLUTION
    def __init__(self, encoder: nn.Module, width: int, classes: int):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(width, classes)

    def forward(self, ids: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        states = torch.where(valid[..., None], self.encoder(ids, valid), 0)
        count = valid.sum(1, keepdim=True).clamp(min=1).to(states.dtype)
        return self.head(states.sum(1) / count)

    ### END SOLUTION


# %% [markdown] hints="TextClassifier"
# <details><summary>Hint 1: the frame</summary>
#
# `class TextClassifier(nn.Module)` with `__init__(self, encoder, width, classes)`, which calls `super().__init__()`
# first and keeps the two parts, and `forward(self, ids, valid)`.
# </details>
# <details><summary>Hint 2: the mean</summary>
#
# `valid[..., None]` has the shape (B, T, 1). Take 0 where it is false with `torch.where`, sum over axis 1, divide by
# `valid.sum(1, keepdim=True)`.
# </details>
# <details><summary>Hint 3: no token at all</summary>
#
# 0 / 0 is nan. `.clamp(min=1)` on the count makes it 0 / 1.
# </details>


# %% check="TextClassifier"
class Counting(nn.Module):
    """States (B, T, 2): the id and its square, and nan where no token stands."""

    def forward(self, ids, valid, added=None):
        states = torch.stack([ids, ids**2], 2).float() + (0 if added is None else added)
        return torch.where(valid[..., None], states, torch.nan)


with check("TextClassifier"):
    net = TextClassifier(Counting(), 2, 3)
    expect_close(sorted(dict(net.named_parameters())), ["head.bias", "head.weight"], hint="the linear layer is `head`")
    with torch.no_grad():
        net.head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        net.head.bias.copy_(torch.tensor([0.0, 0.0, 10.0]))
    ids = torch.tensor([[1, 2, 3, 6], [9, 4, 9, 9], [5, 5, 5, 5]])
    valid = torch.tensor([[True, True, True, True], [False, True, False, False], [False] * 4])
    expect_close(
        net(ids, valid),
        [[3.0, 12.5, 25.5], [4.0, 16.0, 30.0], [0.0, 0.0, 10.0]],  # (1 + 2 + 3 + 6) / 4, (1 + 4 + 9 + 36) / 4
        mistakes={
            "Divide by the number of valid tokens, not by T.": [[3.0, 12.5, 25.5], [1.0, 4.0, 15.0], [0.0, 0.0, 10.0]],
            "This is a sum; divide by the number of valid tokens.": [
                [12.0, 50.0, 72.0],
                [4.0, 16.0, 30.0],
                [0.0, 0.0, 10.0],
            ],
        },
    )
    expect_dtype(net(ids, valid), torch.float32)

# %% [markdown]
# Now it is put to the test, with two questions about one sentence of a review:
#
# - **a place?** Does "Ana bought the lamp in Oslo in March" say where it happened? Words are enough here. The word *in*
#   alone is right in most sentences; only "in March" is no place. The cell prints how good this rule of one line
#   is.
# - **sentiment**: "although the lid is great, the motor is poor" is a bad review, since its main clause decides. Each
#   such sentence has one good word and one bad one. (Sentences with *not* are left out.)
#
# Four models: scikit-learn's counts of words and logistic regression (a **bag of words**); a small network of
# convolutions over the tokens (module 09); your classifier; and your classifier on the encoder that has read sentences
# without labels in 13.3. (The test sentences were among them, without their labels. This is allowed, and it is what
# one does in practice; but it must be said.) The training sets are small. Each point is the mean over seeds, each with
# its own training sentences, with the standard error. The dashed line is the share of the more frequent answer.
#
# What to expect? For the place, the bag needs to meet *in* and *March* often enough. With few labels, the encoder that
# knows the places is ahead of the same network without pre-training; with more labels the bag is as good or better. For
# the sentiment the bag has no chance, however many labels it gets: each bag of words is as likely in a good review as in
# a bad one.
# The convolutions see the answer first: "great , the" and "great , even" are windows of three tokens. The recurrent
# network must learn to carry what it read at the beginning of a clause. After pre-training some hundred labels are
# enough for this, and without it they are not.


# %% tags=["demo"]
class ConvNet(nn.Module):
    """Windows of three tokens, and the largest answer of each filter. The embedding of padding is 0."""

    def __init__(self):
        super().__init__()
        self.embedding, self.filters = nn.Embedding(VOCAB, WIDTH), nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, ids, valid):
        x = torch.where(valid[..., None], self.embedding(ids), 0.0)
        x = F.relu(self.filters(x.transpose(1, 2)))
        return self.head(torch.where(valid[:, None], x, 0.0).amax(2))


def learnt(net: nn.Module, chosen: np.ndarray, labels: np.ndarray, test: tuple, seed: int, steps: int) -> float:
    """Accuracy on the test rows after training on the chosen rows."""
    draw = np.random.default_rng(seed)

    def loss_of(step):
        few = draw.choice(chosen, min(32, len(chosen)), replace=False)
        return F.cross_entropy(net(*batch([rows[i] for i in few])), torch.as_tensor(labels[few]))

    fit(net, loss_of, steps, lr=1e-2)
    with torch.no_grad():
        return float((net(*test[0]).argmax(1).numpy() == test[1]).mean())


def compared(task: np.ndarray, labels: np.ndarray, sizes: list[int], seeds: int, steps: int) -> dict:
    """Accuracies (sizes, seeds) of each model; the last rows of the task are the test."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    held = demo_size(full=300, small=20)
    train, tested = task[:-held], task[-held:]
    test = batch([rows[i] for i in tested]), labels[tested]
    nets = {
        "convolutions": ConvNet,
        "TextClassifier": lambda: TextClassifier(Encoder(VOCAB, WIDTH), WIDTH, 2),
        "pre-trained": lambda: TextClassifier(copy.deepcopy(encoder), WIDTH, 2),
    }
    found = {name: np.zeros((len(sizes), seeds)) for name in ("bag of words", *nets)}
    for i, seed in itertools.product(range(len(sizes)), range(seeds)):
        chosen = np.random.default_rng([seed, 5]).choice(train, sizes[i], replace=False)
        bag = make_pipeline(CountVectorizer(token_pattern=r"\S+"), LogisticRegression(max_iter=500))
        bag.fit([" ".join(texts[k]) for k in chosen], labels[chosen])
        found["bag of words"][i, seed] = bag.score([" ".join(texts[k]) for k in tested], labels[tested])
        for name, make in nets.items():
            torch.manual_seed(seed)
            found[name][i, seed] = learnt(make(), chosen, labels, test, seed, steps)
    gain = (found["pre-trained"] - found["TextClassifier"]).ravel()
    error = gain.std(ddof=1) / math.sqrt(len(gain)) if len(gain) > 1 else math.nan
    print(
        f"pre-training adds {gain.mean():.3f} to the accuracy, with a standard error of {error:.3f} ({len(gain)} runs)"
    )
    return found


happenings = np.array([i for i, text in enumerate(texts) if "is" not in text and "recommend" not in text])
opinions = np.array([i for i, text in enumerate(texts) if "," in text and "is" in text and "not" not in text])
by_rule = np.mean([("in" in texts[i]) == place_named[i] for i in happenings])
print(f'the rule "a place if the word in occurs" is right in {by_rule:.1%}')
place_sizes, opinion_sizes = demo_size(full=[10, 20, 40], small=[10]), demo_size(full=[100, 200], small=[10])
on_places = compared(happenings, place_named, place_sizes, demo_size(full=3, small=1), demo_size(full=30, small=5))

# %% tags=["demo"]
on_opinions = compared(opinions, sentiment, opinion_sizes, demo_size(full=3, small=1), demo_size(full=120, small=5))
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
for ax, title, sizes, task, labels, found in (
    (axes[0], "A place? Words are enough", place_sizes, happenings, place_named, on_places),
    (axes[1], "Sentiment: the order decides", opinion_sizes, opinions, sentiment, on_opinions),
):
    for k, (name, scores) in enumerate(found.items()):
        error = scores.std(axis=1, ddof=1) / math.sqrt(scores.shape[1]) if scores.shape[1] > 1 else None
        beside = np.array(sizes) * (0.97 + 0.02 * k)  # so that no point hides another
        ax.errorbar(beside, scores.mean(axis=1), error, label=name, marker="os^D"[k], capsize=3)
    one = labels[task].mean()
    ax.axhline(max(one, 1 - one), color=plotting.MUTED, linestyle="--", marker="", label="the more frequent answer")
    ax.set(xlabel="labelled sentences", title=title, xticks=sizes)
axes[0].set_ylabel("accuracy on other sentences")
plotting.legend_below(axes[0])
plt.show()

# %% [markdown]
# ### 13.5 `TokenTagger` · essential · level 2 of 4 · 15 min
#
# One label for each *word*. Two things are new.
#
# **A word has several tokens.** A tokeniser cuts rare names into pieces, but "Fontaine" is one word and gets one tag.
# The usual way: the tag is read from the state of the word's first piece. So the tagger is told where each word begins,
# $f_{ij}$ for word $j$ of text $i$, and takes the states at these places only: $h_{i, f_{ij}}$.
#
# **Some questions have an argument.** "Who did what to whom" is a question about *one verb*. In "Ana bought the lamp,
# and Boris sent the watch to Rosa" Ana is the agent of *bought*, and plays no part in *sent*. The words are the same in
# both questions, so the network must be told which verb is meant: a vector that is learnt, the **mark**, is added to
# the embedding of the predicate.


# %% exercise="TokenTagger" points=2 minutes=15 trains=["masks"]
class TokenTagger(nn.Module):
    """Logits for each word of each text, from the state of the word's first token.

    TokenTagger(encoder, width, tags), with width and tags at least 1, has these parts:
      encoder: the module that was passed in; it gives states (B, T, width).
      head: nn.Linear(width, tags).
      mark: an nn.Parameter (width,), zeros at first.

    forward(ids, valid, first, marked=None), with B, T, W >= 1:
      ids (B, T) and first (B, W) hold integers from 0 on, int64 (first may be -1, too), and valid
        (B, T) and marked (B, T) hold bools. marked may be None.
      Word j of text i begins at token first[i, j]. Where this is -1, there is no word j. The words
        stand in any order, and two may begin at the same token.
      All stay as they are, and may be views in any order of memory.
    It calls the encoder once: encoder(ids, valid) if marked is None, else
    encoder(ids, valid, added), with added (B, T, width): mark where marked is true, 0 elsewhere.
    Returns logits (B, W, tags), in the dtype of the states (float32, or float64 for a net that
    .double() has made so): head of the state of the word's first token. Where first is -1, it is
    head of zeros.
    States at which no word begins may be inf or nan. They have no influence and get the gradient 0.
    """

    ### BEGIN SOLUTION
    def __init__(self, encoder: nn.Module, width: int, tags: int):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(width, tags)
        self.mark = nn.Parameter(torch.zeros(width))

    def forward(
        self, ids: torch.Tensor, valid: torch.Tensor, first: torch.Tensor, marked: torch.Tensor | None = None
    ) -> torch.Tensor:
        if marked is None:
            states = self.encoder(ids, valid)
        else:
            states = self.encoder(ids, valid, torch.where(marked[..., None], self.mark, 0))
        picked = states[torch.arange(len(ids))[:, None], first]
        return self.head(torch.where(first[..., None] >= 0, picked, 0))

    ### END SOLUTION


# %% [markdown] hints="TokenTagger"
# <details><summary>Hint 1: what to add</summary>
#
# `torch.where(marked[..., None], self.mark, 0.0)` has the shape (B, T, width).
# </details>
# <details><summary>Hint 2: which states</summary>
#
# `states[rows, first]` with `rows = torch.arange(B)[:, None]` takes state first[i, j] of text i: (B, W, width). An
# index of -1 takes the state of the last position. The next step replaces it by 0.
# </details>
# <details><summary>Hint 3: no word</summary>
#
# `torch.where(first[..., None] >= 0, picked, 0.0)` before the head; then the logits are the head's bias.
# </details>

# %% check="TokenTagger"
with check("TokenTagger"):
    net = TokenTagger(Counting(), 2, 2)
    expect_close(sorted(dict(net.named_parameters())), ["head.bias", "head.weight", "mark"])
    expect_close(net.mark.detach(), [0.0, 0.0], hint="mark is zeros at first")
    with torch.no_grad():
        net.head.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        net.head.bias.copy_(torch.tensor([0.0, 0.5]))
        net.mark.copy_(torch.tensor([100.0, 1000.0]))
    ids, first = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]]), torch.tensor([[0, 1, 3], [1, -1, -1]])
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    expect_close(
        net(ids, valid, first),
        [[[1, 2.5], [2, 6.5], [4, 20.5]], [[6, 42.5], [0, 0.5], [0, 0.5]]],  # id, id + id² + 0.5
        mistakes={
            "This takes token 0 where first is -1; there is no word, so it is head of zeros.": [
                [[1, 2.5], [2, 6.5], [4, 20.5]],
                [[6, 42.5], [5, 30.5], [5, 30.5]],
            ]
        },
    )
    marked = torch.tensor([[False, True, False, False], [False, True, False, False]])
    expect_close(
        net(ids, valid, first, marked),
        [[[1, 2.5], [102, 1106.5], [4, 20.5]], [[106, 1142.5], [0, 0.5], [0, 0.5]]],
        hint="the mark is added to the marked tokens, and only there",
    )

# %% [markdown]
# ### 13.6 `f1_spans` · essential · level 2 of 4 · 15 min
#
# How good is a tagger? The share of right tags is not an answer: most words belong to no name, so "O" everywhere is
# right for most of them, and finds nothing. (The cell below prints this share.) What we want are **spans**: (start,
# stop, label), the tokens from start up to and without stop. A span counts if all three are right. A name that is found
# without its surname is wrong.
#
# Words are tagged in **BIO** form: `B-PERSON` begins a span, `I-PERSON` continues it, `O` is outside. The B is needed
# where two spans are adjacent. A network decides each tag by itself, so it may say `O I-PERSON`, a span without a
# beginning. `repair_bio` settles what this means: an I that continues nothing begins a span.
#
# Then count, over all texts together: $p$ spans were found, $g$ are true, $r$ are both.
#
# $$\text{precision} = \frac rp, \qquad \text{recall} = \frac rg, \qquad F_1 = \frac{2r}{p + g}.$$
#
# $F_1$ is the harmonic mean of the two: it is high only if both are. For a set it makes no difference whether spans are
# nested or overlap, so the definition serves nested names, too ("[University of [Oslo]]"). BIO tags do not: they have
# one tag for each word.


# %% exercise="f1_spans" points=2 minutes=15 forbids=["sklearn"] trains=["metrics with clear definitions"]
def repair_bio(tags: Sequence[str]) -> list[str]:
    """A new list of tags in which each "I-" continues a span with its label.

    tags: a list or tuple, maybe empty, of "O", "B-" + label and "I-" + label. A label is any
      string, maybe empty, maybe with a "-" in it.
    An "I-X" becomes "B-X" if it is the first tag, or if the tag before it is neither "B-X" nor
    "I-X". All other tags stay: ["I-A", "I-A"] becomes ["B-A", "I-A"].
    """
    ### BEGIN SOLUTION
    repaired = []
    for before, tag in itertools.pairwise(["O", *tags]):
        alone = tag.startswith("I-") and (before == "O" or before[2:] != tag[2:])
        repaired.append("B-" + tag[2:] if alone else tag)
    return repaired
    ### END SOLUTION


def f1_spans(
    true: Sequence[Sequence[tuple[int, int, str]]], found: Sequence[Sequence[tuple[int, int, str]]]
) -> tuple[float, float, float]:
    """Precision, recall and F1 of the spans that were found, over all texts together.

    true, found: a list or tuple with one entry for each text. There may be no text. An entry is a
      list or tuple of the text's spans. There may be no span. A span is a tuple (start, stop,
      label) of two integers and a string. A span that occurs twice in an entry counts once. Spans
      may be nested, overlap, or be adjacent.
    Raises ValueError if true and found have different numbers of texts.

    A span is right if the same text has the same start, stop and label in true and in found. With r
    right spans, p found ones and g true ones, all texts together:
    Returns (precision, recall, f1), Python floats: r / p, r / g and 2 r / (p + g). A value whose
    divisor is 0 is 0.0.
    Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    right = total_true = total_found = 0
    for ours, theirs in zip(map(set, true), map(set, found), strict=True):
        right += len(ours & theirs)
        total_true += len(ours)
        total_found += len(theirs)
    parts = (right, total_found), (right, total_true), (2 * right, total_found + total_true)
    return tuple(part / (whole or 1) for part, whole in parts)
    ### END SOLUTION


# %% [markdown] hints="f1_spans"
# <details><summary>Hint 1: repair</summary>
#
# Go through the tags with the tag before in hand; before the first one, take "O". An "I-X" is in order if the tag
# before is "B-X" or "I-X". Whether that one was itself repaired makes no difference.
# </details>
# <details><summary>Hint 2: count</summary>
#
# For each text make two sets; `len(a & b)` of them are right. Add up three numbers over the texts, and divide at the
# end.
# </details>
# <details><summary>Hint 3: not a mean of means</summary>
#
# The mean of the texts' F1 would let a text with one span count as much as a text with ten. And the divisor may be 0,
# so `r / p if p else 0.0`.
# </details>

# %% check="f1_spans"
with check("f1_spans", forbids=["sklearn"]):
    expect_close(
        repair_bio(["I-A", "I-A", "I-B", "O", "I-B", "B-B", "I-B"]),
        ["B-A", "I-A", "B-B", "O", "B-B", "B-B", "I-B"],
        hint="an I that continues no span with its label begins one",
    )
    expect_close(repair_bio([]), [])
    true = [
        [(0, 2, "PERSON"), (2, 3, "PERSON"), (4, 5, "PLACE")],
        [],
        [(0, 3, "PLACE"), (1, 2, "BRAND"), (5, 6, "PERSON"), (7, 9, "PERSON")],
    ]
    guess = [
        [(0, 2, "PERSON"), (2, 3, "BRAND"), (2, 3, "BRAND"), (4, 6, "PLACE")],
        [(0, 1, "PLACE")],
        [(1, 2, "BRAND"), (0, 2, "PLACE")],
    ]
    # right: (0, 2, PERSON) and (1, 2, BRAND); found 6 different ones, true 7
    expect_close(
        f1_spans(true, guess),
        (2 / 6, 2 / 7, 4 / 13),
        mistakes={
            "Precision divides by the spans that were found, recall by the true ones.": (2 / 7, 2 / 6, 4 / 13),
            "A span that stands in a list twice counts once.": (2 / 7, 2 / 7, 4 / 14),
            "The label must be right, too.": (3 / 6, 3 / 7, 6 / 13),
            "The stop must be right, too.": (4 / 6, 4 / 7, 8 / 13),
        },
    )
    expect_close(f1_spans([[]], [[]]), (0.0, 0.0, 0.0))
    expect_close(f1_spans([[(0, 1, "A")]], [[]]), (0.0, 0.0, 0.0))
    with expect_raises(ValueError, hint="both must have one entry for each text"):
        f1_spans([[]], [])

# %% [markdown]
# Taggers at work, with tokens from your own `train_bpe` and scores from your `f1_spans`. The names of the reviews are
# frequent, so most of them are one token by now.
#
# Left, **entities**. With few labelled sentences many names of the test are new: the cell prints how many. The encoder
# that has read text without labels has seen these names between the same words as others. Right, **roles** in texts
# with two events: with the mark on the verb, and without. Without it both questions about a text look the same, and at
# most one answer can be right where they differ.
#
# A network that decides each tag by itself can contradict itself. A conditional random field adds a score for each pair
# of neighbouring tags and searches for the best sequence (Lafferty et al., 2001).


# %% tags=["demo"]
def tagged_batch(items: Sequence[tuple]) -> tuple:
    """Items (words, tags, predicate or None) as arguments of a tagger, and the tags as numbers, -1 where no word is."""
    cut = [row_of(words) for words, _, _ in items]
    ids, valid = batch([row for row, _ in cut])
    first, _ = batch([starts for _, starts in cut], -1)
    tags, _ = batch([[TAGS.index(tag) for tag in tags] for _, tags, _ in items], -1)
    marked = torch.zeros_like(valid)
    for i, (_, _, predicate) in enumerate(items):
        if predicate is not None:
            marked[i, first[i, predicate]] = True
    return ids, valid, first, marked, tags


def tagger_f1(encoder: nn.Module, train: list, test: list, seed: int, steps: int, mark: bool = False) -> float:
    """Train a tagger on items, and return the F1 of its spans on the test items."""
    torch.manual_seed(seed)
    net, draw = TokenTagger(encoder, WIDTH, len(TAGS)), np.random.default_rng(seed)

    def logits_of(items):
        ids, valid, first, marked, tags = tagged_batch(items)
        return net(ids, valid, first, marked if mark else None), tags

    def loss_of(step):
        logits, tags = logits_of([train[i] for i in draw.choice(len(train), min(32, len(train)), replace=False)])
        return F.cross_entropy(logits.flatten(0, 1), tags.flatten(), ignore_index=-1)

    fit(net, loss_of, steps, lr=1e-2)
    with torch.no_grad():
        logits, tags = logits_of(test)
    guesses = [
        [TAGS[k] for k, t in zip(*pair, strict=True) if t >= 0] for pair in zip(logits.argmax(2), tags, strict=True)
    ]
    return f1_spans([spans_of(item[1]) for item in test], [spans_of(repair_bio(tags)) for tags in guesses])[2]


def spans_of(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """The spans of repaired tags."""
    begins = [i for i, tag in enumerate(tags) if tag.startswith("B-")]
    stops = [next((k for k in range(i + 1, len(tags)) if not tags[k].startswith("I-")), len(tags)) for i in begins]
    return [(i, stop, tags[i][2:]) for i, stop in zip(begins, stops, strict=True)]


def one_sentence(words: list[str], tags: list[str], at: int) -> tuple[list[str], list[str], int]:
    """The sentence around word `at`, its tags, and the place of that word in it."""
    ends = [-1, *[i for i, word in enumerate(words) if word == "."]]
    begin = max(end for end in ends if end < at) + 1
    stop = min((end for end in ends if end > at), default=len(words))
    return words[begin:stop], tags[begin:stop], at - begin


def entity_items(n: int, seed: int) -> list[tuple]:
    """Sentences that tell what happened, with the tags of their names."""
    data = datasets.reviews(n, seed=seed)
    verbs = [next(role.start for role in roles if role.label == "ACTION") for roles in data.roles]
    cut = [one_sentence(*item) for item in zip(data.tokens, data.tags("entities"), verbs, strict=True)]
    return [(words, tags, None) for words, tags, _ in cut]


def role_items(n: int, seed: int) -> list[tuple]:
    """Sentences with two events, each twice: with the roles of the one, and of the other; and where the verb is."""
    data = datasets.events(n, seed=seed)
    return [
        one_sentence(*item) for item in zip(data.tokens, data.tags(), [p.start for p in data.predicate], strict=True)
    ]


train, test = entity_items(400, seed=5), entity_items(demo_size(full=300, small=20), seed=6)
TAGS = sorted({tag for _, tags, _ in train + test for tag in tags})
sizes, seeds = demo_size(full=[10, 20, 40], small=[10]), demo_size(full=3, small=1)
outside = np.mean([tag == "O" for _, tags, _ in test for tag in tags])
print(f"{outside:.0%} of the words are in no name: this is the share of right tags of a tagger that always says O")


def names_in(items: Sequence[tuple]) -> list[tuple[str, ...]]:
    return [tuple(words[start:stop]) for words, tags, _ in items for start, stop, _ in spans_of(tags)]


scores = {name: np.zeros((len(sizes), seeds)) for name in ("without pre-training", "pre-trained")}
for i in range(len(sizes)):
    new = []
    for seed in range(seeds):
        chosen = [train[k] for k in np.random.default_rng([seed, 9]).choice(len(train), sizes[i], replace=False)]
        known = set(names_in(chosen))
        new.append(np.mean([name not in known for name in names_in(test)]))
        torch.manual_seed(100 + seed)
        for name, start in (("without pre-training", Encoder(VOCAB, WIDTH)), ("pre-trained", copy.deepcopy(encoder))):
            scores[name][i, seed] = tagger_f1(start, chosen, test, seed, steps=demo_size(full=40, small=15))
    print(f"{sizes[i]} labelled sentences: {np.mean(new):.0%} of the names of the test are new")
gain = (scores["pre-trained"] - scores["without pre-training"]).ravel()
error = gain.std(ddof=1) / math.sqrt(len(gain)) if len(gain) > 1 else math.nan
print(f"pre-training adds {gain.mean():.3f} to the F1, with a standard error of {error:.3f} ({len(gain)} runs)")

# %% tags=["demo"]
train, test = role_items(demo_size(full=300, small=20), seed=5), role_items(demo_size(full=100, small=10), seed=6)
TAGS = sorted({tag for _, tags, _ in train + test for tag in tags})
of_roles = [
    [tagger_f1(copy.deepcopy(encoder), train, test, seed, demo_size(full=60, small=3), mark) for seed in range(seeds)]
    for mark in (False, True)
]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
for marker, (name, values) in zip("os", scores.items(), strict=True):
    error = values.std(axis=1, ddof=1) / math.sqrt(seeds) if seeds > 1 else None
    left.errorbar(sizes, values.mean(axis=1), error, label=name, marker=marker, capsize=3)
left.set(xlabel="labelled sentences", ylabel="F1 of names", title="Names: text without labels helps", xticks=sizes)
left.set_ylim(0, 1.05)
left.legend()
errors = [np.std(row, ddof=1) / math.sqrt(seeds) if seeds > 1 else 0.0 for row in of_roles]
right.bar(["no mark", "verb marked"], np.mean(of_roles, axis=1), yerr=errors, capsize=4, color=plotting.COLOURS[:2])
right.set(ylabel="F1 of roles", title="Only the mark tells whose roles are meant", ylim=(0, 1))
plt.show()

# %% [markdown]
# ### 13.7 `sequence_loss` · essential · level 1 of 4 · 5 min
#
# From here on the output is a sequence, too, and each output has its own length. The loss of a batch is the mean
# cross-entropy over all *tokens* of all outputs. Padding is no token. The exponential of this loss is the
# **perplexity**: the number of equally likely tokens among which the model still hesitates.
#
# **Find the bug.** The code below runs without an error message, and the loss falls.


# %% exercise="sequence_loss" points=1 minutes=5 bug=true trains=["masks"]
def sequence_loss(logits: torch.Tensor, targets: torch.Tensor, pad: int) -> torch.Tensor:
    """The mean cross-entropy over the tokens of a batch that are not padding.

    logits (B, T, V) holds float32 or float64 numbers, finite, up to 1e7 in size; B, T, V >= 1.
    targets (B, T) holds int64 numbers: integers from 0 to V - 1, and `pad` where there is no token.
    pad: any integer. If it is from 0 to V - 1, it stands for padding only, and never for a token.
    Both tensors stay as they are, and may be views in any order of memory.

    Returns a scalar tensor in the dtype of logits, to be differentiated: the sum of
    -log softmax(logits)[token] over the tokens of all texts that are not padding, divided by the
    number of these tokens. So a long text counts more than a short one. If there is no token at
    all, the loss is 0, and so is its gradient.
    """
    ### BEGIN SOLUTION
    kept = targets != pad
    tokens = torch.where(kept, targets, 0)
    losses = -torch.log_softmax(logits, dim=-1).gather(-1, tokens[..., None]).squeeze(-1)
    return torch.where(kept, losses, 0).sum() / kept.sum().clamp(min=1).to(logits.dtype)
    ### END SOLUTION
    ### BEGIN BUG
    # kept = targets != pad
    # tokens = torch.where(kept, targets, 0)
    # losses = -torch.log_softmax(logits, dim=-1).gather(-1, tokens[..., None]).squeeze(-1)
    # return torch.where(kept, losses, 0).mean()
    ### END BUG


# %% [markdown] hints="sequence_loss"
# <details><summary>Hint 1: a case by hand</summary>
#
# Two tokens with equal logits over V = 4 classes cost log 4 each, so the mean is log 4. What does the code give if two
# positions of padding stand behind them?
# </details>
# <details><summary>Hint 2: what a mean divides by</summary>
#
# `.mean()` divides by all B · T positions. How many of them are tokens?
# </details>
# <details><summary>Hint 3: a batch of padding only</summary>
#
# 0 / 0 is nan. `kept.sum().clamp(min=1)` makes it 0.
# </details>

# %% check="sequence_loss"
with check("sequence_loss"):
    logits = torch.zeros(2, 4, 4)
    logits[0, :, 1] = math.log(3.0)  # class 1 has probability 3 / 6, the others 1 / 6
    targets = torch.tensor([[1, 2, 1, 2], [3, 0, 0, 0]])
    total = 2 * math.log(2) + 2 * math.log(6) + math.log(4)
    expect_close(
        sequence_loss(logits, targets, 0),
        total / 5,  # five tokens are not padding
        mistakes={
            "With more padding this number becomes smaller; the loss must not.": total / 8,
            "This is the mean of the two texts' means; each token counts the same.": (
                (total - math.log(4)) / 4 + math.log(4)
            )
            / 2,
            "This is the sum; divide by the number of tokens.": total,
            "The padding is learnt, too.": (total + 3 * math.log(4)) / 8,
        },
    )
    expect_close(sequence_loss(logits, torch.where(targets == 0, -100, targets), -100), total / 5, hint="any pad")
    expect_close(sequence_loss(logits, torch.zeros_like(targets), 0), 0.0, hint="no token at all")
    slope = torch.zeros(1, 2, 2, dtype=torch.float64, requires_grad=True)
    sequence_loss(slope, torch.tensor([[1, -1]]), -1).backward()
    expect_close(slope.grad, [[[0.5, -0.5], [0.0, 0.0]]], hint="the gradient at padding is 0")

# %% [markdown]
# Why does it matter, if the padding's own loss is set to 0? With 10 tokens in 40 positions the loss is a quarter of
# what it should be, and so is the gradient. Batches with one long output count less than others, and a loss of 0.5 says
# nothing about how well a token is predicted. The perplexity is wrong, too.

# %% [markdown]
# ### 13.8 `Seq2Seq` · essential · level 4 of 4 · 35 min
#
# A command becomes a logical form, a sentence becomes another language: input and output are sequences of different
# lengths and in a different order. The first networks for this wrote the output from one vector (Sutskever et al.,
# 2014). This vector had to hold the whole input, and that fails for long inputs. The next ones let the writer look back
# at the input, at another place for each word: **attention** (Bahdanau et al., 2015). The form below, with dot
# products, is that of Luong et al. (2015); the division by $\sqrt w$ is that of Vaswani et al. (2017), and module 12
# explains it.
#
# The encoder gives the **memory**, a state $h_j$ for each source token, $(S, w)$ for one text. The decoder has a state
# $s_t$, and writes the output token $y_t$ at step $t$. It gets the token $y_{t-1}$ that it wrote last ($y_0$ is the
# start token) and $c_{t-1}$, what it read last:
#
# $$s_t = \text{GRU}\big(\underbrace{[e(y_{t-1}),\, c_{t-1}]}_{(2w,)},\ \underbrace{s_{t-1}}_{(w,)}\big), \qquad
# a_{tj} = \frac{\exp(s_t \cdot h_j / \sqrt w)}{\sum_{k \text{ valid}} \exp(s_t \cdot h_k / \sqrt w)}, \qquad
# c_t = \sum_j a_{tj}\, \underbrace{h_j}_{(w,)},$$
#
# and the logits of $y_t$ are a linear function of $[s_t, c_t]$. It starts with $s_0$, the mean of the memory over the
# source's tokens, and $c_0 = 0$. Padding of the source has weight exactly 0. Module 11 explains the GRU cell; here
# `torch.nn.GRUCell` is given the input and the old state, and returns the new state. ($e(y)$ is the
# embedding of $y$, $(w,)$.)
#
# In training the right output is known, so $y_{t-1}$ is the right token whatever the network would have said (**teacher
# forcing**). The inputs are START, $y_1, \dots, y_n$; the targets are $y_1, \dots, y_n$, END. This has a price: in use
# the decoder reads its own errors, which it never saw in training.


# %% exercise="Seq2Seq" points=4 minutes=35 trains=["masks", "decoding"]
class Seq2Seq(nn.Module):
    """An encoder, and a decoder that reads from it by attention.

    Seq2Seq(encoder, width, vocab), with width and vocab at least 1, has these parts:
      encoder: the module that was passed in; encoder(source, valid) gives states (B, S, width).
      embedding: nn.Embedding(vocab, width).
      cell: nn.GRUCell(2 * width, width).
      out: nn.Linear(2 * width, vocab).

    forward(source, valid, inputs), with B, S, T >= 1:
      source (B, S) and inputs (B, T) hold integers from 0 on, int64, and valid (B, S) holds bools.
      inputs are tokens of the output, below vocab. valid is true at one place or more of each row,
        anywhere.
      All stay as they are, and may be views in any order of memory.
    It calls the encoder once. Its states are the memory h. With s_0 the mean of h over the valid
    places, and c_0 = 0, it computes for t = 1, ..., T, for each text by itself:
      s_t = cell(input [embedding(inputs_t), c_{t-1}] in this order, state s_{t-1})
      a_t = softmax over the valid places j of s_t · h_j / sqrt(width), and exactly 0 elsewhere
      c_t = sum over j of a_tj h_j
      logits_t = out([s_t, c_t])
    Here inputs_t is inputs[:, t - 1], and s_t · h_j / sqrt(width) is at most 1e4 in size.
    Returns (logits, attention), (B, T, vocab) and (B, T, S), with a_t in row t of attention, both
    in the dtype of the memory (float32, or float64 for a net that .double() has made so).
    Memory at places that are not valid may be inf or nan. It has no influence and gets the
    gradient 0.
    """

    ### BEGIN SOLUTION
    def __init__(self, encoder: nn.Module, width: int, vocab: int):
        super().__init__()
        self.encoder, self.embedding = encoder, nn.Embedding(vocab, width)
        self.cell, self.out = nn.GRUCell(2 * width, width), nn.Linear(2 * width, vocab)

    def forward(
        self, source: torch.Tensor, valid: torch.Tensor, inputs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        memory = torch.where(valid[..., None], self.encoder(source, valid), 0)
        state = memory.sum(1) / valid.sum(1, keepdim=True).to(memory.dtype)
        context, logits, weights = torch.zeros_like(state), [], []
        for token in self.embedding(inputs).unbind(1):
            state = self.cell(torch.cat([token, context], 1), state)
            scores = torch.einsum("bsw,bw->bs", memory, state) / math.sqrt(memory.shape[2])
            weight = scores.masked_fill(~valid, -math.inf).softmax(1)
            context = torch.einsum("bs,bsw->bw", weight, memory)
            logits.append(self.out(torch.cat([state, context], 1)))
            weights.append(weight)
        return torch.stack(logits, 1), torch.stack(weights, 1)

    ### END SOLUTION


# %% [markdown] hints="Seq2Seq"
# <details><summary>Hint 1: before the loop</summary>
#
# Take 0 for the memory where `valid` is false, with `torch.where`, as in 13.4. The first state is its sum over axis 1,
# divided by the number of valid places. The first context is `torch.zeros_like(state)`.
# </details>
# <details><summary>Hint 2: one step</summary>
#
# `state = self.cell(torch.cat([token, context], 1), state)`. The scores are one dot product for each source place:
# `(memory * state[:, None]).sum(2) / math.sqrt(width)`, shape (B, S).
# </details>
# <details><summary>Hint 3: mask, then softmax</summary>
#
# `scores.masked_fill(~valid, -math.inf).softmax(1)` gives the places that are not valid exactly 0. Then the context:
# `(weight[..., None] * memory).sum(1)`. Collect logits and weights in lists and `torch.stack(..., 1)` them.
# </details>

# %% check="Seq2Seq"
with check("Seq2Seq"):
    torch.manual_seed(3)
    net = Seq2Seq(Counting(), 2, 3)
    expect_close(
        {name: tuple(p.shape) for name, p in net.named_parameters()},
        {
            "embedding.weight": (3, 2),
            "cell.weight_ih": (6, 4),
            "cell.weight_hh": (6, 2),
            "cell.bias_ih": (6,),
            "cell.bias_hh": (6,),
            "out.weight": (3, 4),
            "out.bias": (3,),
        },
        hint="names and sizes of the parts are in the docstring",
    )
    source, valid = torch.tensor([[1, 2, 0], [2, 7, 3]]), torch.tensor([[True, True, False], [True, False, True]])
    inputs = torch.tensor([[0, 2, 1], [1, 1, 2]])
    logits, attention = net(source, valid, inputs)
    expect_shape(logits, (2, 3, 3))
    expect_shape(attention, (2, 3, 3))
    expect_close(attention[:, :, 1][1], [0.0, 0.0, 0.0], atol=0, hint="no weight where the source is not valid")
    # The same by hand for the second text: its memory is (2, 4) and (3, 9), the mean (2.5, 6.5).
    h, state, context = torch.tensor([[2.0, 4.0], [3.0, 9.0]]), torch.tensor([2.5, 6.5]), torch.zeros(2)
    for t, token in enumerate(inputs[1]):
        turned = net.cell(torch.cat([context, net.embedding.weight[token]])[None], state[None])[0]
        state = net.cell(torch.cat([net.embedding.weight[token], context])[None], state[None])[0]
        weight = torch.softmax(h @ state / math.sqrt(2), 0)
        context = weight @ h
        order = {"The cell gets the embedding first, then the context.": torch.softmax(h @ turned / math.sqrt(2), 0)}
        expect_close(
            attention[1, t, [0, 2]].detach(),
            weight.detach(),
            rtol=1e-4,
            hint=f"attention at step {t + 1}; s_0 is the mean over the valid places only",
            mistakes={text: value.detach() for text, value in order.items()} if t == 0 else {},
        )
        expected = net.out(torch.cat([state, context])).detach()
        expect_close(logits[1, t].detach(), expected, rtol=1e-4, atol=1e-5, hint=f"logits at step {t + 1}")
    alone, _ = net(source[:1, :2], valid[:1, :2], inputs[:1])
    expect_close(logits[:1].detach(), alone.detach(), rtol=1e-4, atol=1e-5, hint="padding must not change the logits")
    logits.sum().backward()

# %% [markdown]
# Two tasks with the same network and the same commands. In **parsing**, "lift the cup after open the red box" becomes
# `open ( box ( red ) ) ; lift ( cup )`: what stands last is done first. In **translation** it becomes a made-up
# language with the verb last and the colour behind its noun. The order of the words changes, and attention must find
# where each one came from. (The commands are made up, so their English is stiff.)
#
# The grammar is small, so some test commands stand in the training set, too: the cell prints which share. A network can
# be right on these by memory. The hard test is the second one: a fifth of all pairs of verb and noun never occurred in
# training, and each of its commands has such a pair. A network that remembers whole commands fails on all of these.
# What it gets right here shows how far it has learnt to treat verb and noun as parts.
#
# The picture shows where the decoder looks as it writes, for one command of the test. Each row is one step; bright is a
# large weight. In the parse, the verb behind *after* is read first. In the translation the verb comes last, so the path
# runs from right to left. Some steps look at two places at once.

# %% tags=["demo"]
EXAMPLES = {
    "train": datasets.instructions(demo_size(full=1500, small=100), seed=1),
    "test": datasets.instructions(200, seed=2),
    "unseen pairs": datasets.instructions(200, seed=3, unseen=True),
}
PAD, START, END = 0, 1, 2


def numbered(sentences: Iterable[Sequence[str]]) -> dict[str, int]:
    """A number for each word, from 3 on."""
    return {word: 3 + i for i, word in enumerate(sorted({word for words in sentences for word in words}))}


SOURCE = numbered(words for part in EXAMPLES.values() for words in part.commands)
TARGET = {
    kind: numbered(words for part in EXAMPLES.values() for words in getattr(part, kind))
    for kind in ("forms", "translations")
}


def as_ids(part: str, kind: str) -> tuple[list[list[int]], list[list[int]]]:
    """Commands and outputs of a part as numbers, the outputs with start and end."""
    data = EXAMPLES[part]
    outputs = [[START, *(TARGET[kind][word] for word in words), END] for words in getattr(data, kind)]
    return [[SOURCE[word] for word in words] for words in data.commands], outputs


def trained(kind: str, steps: int) -> Seq2Seq:
    torch.manual_seed(0)
    net = Seq2Seq(Encoder(3 + len(SOURCE), 64), 64, 3 + len(TARGET[kind]))
    sources, outputs = as_ids("train", kind)
    draw = np.random.default_rng(0)

    def loss_of(step):
        chosen = draw.choice(len(sources), 32, replace=False)
        source, valid = batch([sources[i] for i in chosen])
        target, _ = batch([outputs[i] for i in chosen], PAD)
        logits, _ = net(source, valid, target[:, :-1])
        return sequence_loss(logits, target[:, 1:], PAD)

    fit(net, loss_of, steps, lr=1e-2)
    return net


def greedy(net: Seq2Seq, sources: list[list[int]], most: int = 34) -> list[list[int]]:
    """The outputs, one best token after the other, for all sources together."""
    source, valid = batch(sources)
    written = torch.full((len(sources), 1), START)
    with torch.no_grad():
        for _ in range(most):
            logits, _ = net(source, valid, written)
            written = torch.cat([written, logits[:, -1:].argmax(2)], 1)
    rows = written[:, 1:].tolist()
    return [row[: row.index(END) + 1] if END in row else row for row in rows]


known = {tuple(words) for words in EXAMPLES["train"].commands}
for part in ("test", "unseen pairs"):
    in_both = np.mean([tuple(words) in known for words in EXAMPLES[part].commands])
    print(f"{part}: {in_both:.0%} of the commands stand in the training set, word for word")


def judged(kind: str) -> Seq2Seq:
    """A trained network; prints how often it is exactly right."""
    net = trained(kind, demo_size(full=300, small=5))
    for part in ("test", "unseen pairs"):
        sources, outputs = as_ids(part, kind)
        exact = [got == want[1:] for got, want in zip(greedy(net, sources), outputs, strict=True)]
        print(f"{kind:<14}{part:<14}{np.mean(exact):6.1%} exactly right")
    return net


nets = {"forms": judged("forms")}

# %% tags=["demo"]
nets["translations"] = judged("translations")
which = next(i for i, words in enumerate(EXAMPLES["test"].commands) if "after" in words and 11 < len(words) < 15)
words = EXAMPLES["test"].commands[which]
figure, axes = plt.subplots(1, 2, figsize=(11, 4.8))
for ax, kind in zip(axes, ("forms", "translations"), strict=True):
    sources, outputs = as_ids("test", kind)
    with torch.no_grad():
        _, attention = nets[kind](*batch([sources[which]]), torch.tensor([outputs[which][:-1]]))
    image = ax.imshow(attention[0], vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(words)), words, rotation=60, ha="right")
    written = [*getattr(EXAMPLES["test"], kind)[which], "end"]
    ax.set_yticks(range(len(written)), written)
    ax.grid(False)
    ax.set(xlabel="command", ylabel="written")
    ax.set_title({"forms": "Parsing", "translations": "Translation"}[kind] + ": where the decoder looks")
figure.colorbar(image, ax=axes, label="weight $a_{tj}$")
plt.show()

# %% [markdown]
# ### 13.9 `beam_search` · important · level 3 of 4 · 30 min
#
# The network gives the probability of the next token, for any beginning. What we want is the *sequence* with the
# highest probability. To take the best token at each step (**greedy**) is not the same: after a likely token all
# continuations may be unlikely. To try all sequences costs $V^T$.
#
# **Beam search** lies between. It keeps not one but the `width` best beginnings, extends each by every token, and keeps
# the best `width` of the results. With width 1 it is greedy; with room for all sequences it is exact.
#
# There is one trap. A sequence's log-probability is a sum of negative numbers, so one more token never makes a sequence
# more probable, and short sequences have an advantage. A wide beam finds short sequences that greedy never saw. With a
# weak network they can be more probable than the right output. A common remedy divides by a power of the length when
# finished sequences are compared:
#
# $$\text{score} = \frac{\sum_t \log P(y_t \mid y_1, \dots, y_{t-1})}{\ell^{\alpha}}, \qquad \ell = \text{number of tokens, the end token included}.$$
#
# With $\alpha = 0$ it is the log-probability itself, with $\alpha = 1$ the mean for each token. Look which one a
# library means. Google's translator, for one, divides by $((5 + \ell)/6)^\alpha$ (Wu et al., 2016). Where variety counts
# more than the single best output, one does not search at all, but draws each token at random (modules 11 and 12).


# %% exercise="beam_search" points=3 minutes=30 trains=["decoding", "search"]
def beam_search(
    log_probs: Callable[[list[list[int]]], np.ndarray], start: int, end: int, width: int, most: int, alpha: float = 0.0
) -> tuple[list[int], float]:
    """The best sequence that a beam of `width` beginnings finds, and its score.

    log_probs(prefixes): you call it with n >= 1 prefixes, a list of lists of ints, all different
      and equally long, each beginning with `start`. It returns an (n, V) float64 array: row i holds
      the log-probabilities of the tokens 0, ..., V - 1 behind prefix i, finite or -inf. It may keep
      the lists that it gets, and the array that it returns is not to be changed.
    start: an integer, maybe outside 0, ..., V - 1. end: the token that ends a sequence.
    width, most: integers >= 1. alpha: a number from 0 to 20.

    At first [start] is the only live prefix, with the sum 0. One round:
      1. Call log_probs once, with all live prefixes, in any order.
      2. Each live prefix with one more token is a candidate, unless that token has -inf. Its sum is
         the sum of the prefix plus the token's log-probability.
      3. Keep the `width` candidates with the largest sums, or all if there are fewer.
      4. Those that end with `end` are finished. The others are the live prefixes of the next round.
    The search ends when no prefix is live, or after `most` rounds; then the live prefixes count as
    finished, too.

    Returns (tokens, score) of the finished sequence with the largest score. tokens: a list of
    Python ints, without start, with end if it has one. score: sum / len(tokens) ** alpha, a Python
    float. Among equal sums in step 3, and among equal scores, the smaller list of tokens is taken,
    as Python compares lists. If nothing is finished, returns ([], -inf).
    """
    ### BEGIN SOLUTION
    live, finished = [(0.0, [])], []
    for _ in range(most):
        table = log_probs([[start, *tokens] for _, tokens in live])
        candidates = [
            (total + float(value), [*tokens, token])
            for (total, tokens), row in zip(live, table)  # noqa: B905
            for token, value in enumerate(row)
            if value > -math.inf
        ]
        candidates.sort(key=lambda candidate: (-candidate[0], candidate[1]))
        kept = candidates[:width]
        finished += [(total, tokens) for total, tokens in kept if tokens[-1] == end]
        live = [(total, tokens) for total, tokens in kept if tokens[-1] != end]
        if not live:
            break
    scored = [(-total / len(tokens) ** alpha, tokens) for total, tokens in finished + live]
    if not scored:
        return [], -math.inf
    score, tokens = min(scored)
    return tokens, -score
    ### END SOLUTION


# %% [markdown] hints="beam_search"
# <details><summary>Hint 1: what is live</summary>
#
# A list of pairs (sum, tokens), at first `[(0.0, [])]`. A round makes all candidates, sorts them, keeps `width`, and
# deals these out to two lists: finished and live.
# </details>
# <details><summary>Hint 2: sorting with ties</summary>
#
# `candidates.sort(key=lambda c: (-c[0], c[1]))`: the largest sum first, and among equal sums the smaller list.
# </details>
# <details><summary>Hint 3: the end</summary>
#
# A finished candidate takes one of the `width` places in its round and is never extended. After the last round take
# `finished + live`, and of these the one with the largest sum / len(tokens) ** alpha.
# </details>


# %% check="beam_search"
# A model with the tokens 0 (the end), 1 and 2. Numbers are probabilities of (0, 1, 2) after what was written.
NEXT = {
    (): (0.0, 0.6, 0.4),
    (1,): (0.4, 0.3, 0.3),
    (2,): (0.9, 0.1, 0.0),
    (1, 1): (1, 0, 0),
    (1, 2): (1, 0, 0),
    (2, 1): (1, 0, 0),
}


def from_table(prefixes):
    with np.errstate(divide="ignore"):
        return np.log(np.array([NEXT[tuple(prefix[1:])] for prefix in prefixes], dtype=float))


with check("beam_search"):
    tokens, score = beam_search(from_table, 7, 0, 1, 5)
    expect_close(tokens, [1, 0], hint="width 1 is greedy: 1 has 0.6, then 0 has 0.4")
    expect_close(score, math.log(0.6 * 0.4))
    tokens, score = beam_search(from_table, 7, 0, 2, 5)
    expect_close(tokens, [2, 0], hint="0.4 · 0.9 = 0.36 beats 0.6 · 0.4 = 0.24")
    expect_close(
        score,
        math.log(0.36),
        mistakes={
            "alpha is 0: do not divide by the length.": math.log(0.36) / 2,
        },
    )
    if not isinstance(score, float):
        raise AssertionError("the score is a Python float")
    # Kept with width 3: 2-0 (0.36), 1-0 (0.24), 1-1 (0.18, as 1-2, and the smaller list). Then 1-1-0 has 0.18, too.
    tokens, score = beam_search(from_table, 7, 0, 3, 5, 2.0)
    expect_close(tokens, [1, 1, 0], hint="log 0.18 / 9 = -0.191 is above log 0.36 / 4 = -0.255")
    expect_close(score, math.log(0.18) / 9)
    expect_close(
        beam_search(from_table, 7, 0, 2, 1), ([1], math.log(0.6)), hint="after `most` rounds, live prefixes count, too"
    )
    expect_close(beam_search(from_table, 7, 0, 3, 2)[0], [2, 0], hint="what is finished is compared at the end")
    # Two tokens, always 1/2 each: a sequence of n tokens has the score n log 0.5 / n^2, so longer ones win.
    half = beam_search(lambda prefixes: np.full((len(prefixes), 2), math.log(0.5)), 7, 0, 2, 4, 2.0)
    expect_close(half[0], [1, 1, 1, 0], hint="go on while a prefix is live, however many are finished")
    nothing = beam_search(lambda prefixes: np.full((len(prefixes), 3), -np.inf), 7, 0, 2, 4)
    expect_close(nothing[0], [])
    assert nothing[1] == -math.inf, "where nothing is finished, the score is -inf"

# %% [markdown]
# The tree of this small model, and then a real one. On the left, each node is a beginning with its probability; greedy
# goes up at the first fork, and the best sequence lies below. On the right, your beam searches through a translator as
# in 13.8, but after half of the training: it is often unsure, and then greedy misses more. The sequences that wider
# beams find are more probable in the mean. (For a single sentence a wider beam may lose: what it keeps early can push
# out what would have been best.)
#
# More probable is not the same as right. The lines below the picture show both values of $\alpha$, and one sentence for
# which the widest beam found a wrong output that is more probable than the right one. With $\alpha = 0$
# look at the lengths: wider beams find shorter sequences. Division by the length ($\alpha = 1$) takes this advantage
# away. A well-trained translator leaves the beam little to do; look at your `nets["translations"]` in the same way.

# %% tags=["demo"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
places = {(): (0, 0), (1,): (1, 0.9), (2,): (1, -0.9), (1, 0): (2, 1.5), (1, 1): (2, 0.9), (1, 2): (2, 0.3)}
places |= {(2, 0): (2, -0.6), (2, 1): (2, -1.2)}
best, _ = beam_search(from_table, 7, 0, 2, 5)
first, _ = beam_search(from_table, 7, 0, 1, 5)
for prefix, (x, y) in places.items():
    if prefix:
        value = math.prod(NEXT[prefix[:i]][token] for i, token in enumerate(prefix))
        on = [k for k, path in enumerate((first, best)) if list(prefix) == path[: len(prefix)]]
        colour = plotting.COLOURS[on[0]] if on else plotting.MUTED
        beginning, height = places[prefix[:-1]]
        left.plot([beginning + 0.4 * (beginning > 0), x], [height, y], color=colour, linestyle="-", marker="")
        left.text(x + 0.05, y, f"{'end' if prefix[-1] == 0 else prefix[-1]}: {value:.2f}", color=colour, va="center")
left.set(xlim=(-0.1, 2.6), ylim=(-1.6, 1.9), title="Greedy goes up, the best sequence lies below")
left.axis("off")
sources, outputs = as_ids("unseen pairs", "translations")
few = demo_size(full=40, small=3)
sources, outputs = sources[:few], outputs[:few]
early = trained("translations", demo_size(full=150, small=5))


def searched(net: Seq2Seq, source: list[int], width: int, alpha: float = 0.0) -> tuple[list[int], float]:
    """What your beam search finds for one source."""

    def log_probs(prefixes):
        ids, valid = batch([source] * len(prefixes))
        with torch.no_grad():
            logits, _ = net(ids, valid, torch.tensor(prefixes))
        return torch.log_softmax(logits[:, -1].double(), 1).numpy()

    return beam_search(log_probs, START, END, width, 24, alpha)


widths, found = demo_size(full=[1, 2, 4], small=[1, 2]), {}
for alpha, width in itertools.product((0.0, 1.0), widths):
    found[alpha, width] = [searched(early, source, width, alpha) for source in sources]
right.plot(widths, [np.mean([score for _, score in found[0.0, width]]) for width in widths], marker="o")
right.set(
    xlabel="width of the beam", ylabel="mean log-probability found", title="Wider beams find more probable sequences"
)
right.set_xticks(widths)
right.ticklabel_format(useOffset=False)
plt.show()
for (alpha, width), guesses in found.items():
    exact = np.mean([tokens == want[1:] for (tokens, _), want in zip(guesses, outputs, strict=True)])
    length = np.mean([len(tokens) for tokens, _ in guesses])
    print(f"alpha {alpha:.0f}, width {width}: {exact:4.0%} exactly right, {length:.1f} tokens long")
print(f"the references are {np.mean([len(want) - 1 for want in outputs]):.1f} tokens long")
names = {i: word for word, i in TARGET["translations"].items()} | {END: "(end)"}
for source, want, (tokens, score) in zip(sources, outputs, found[0.0, widths[-1]], strict=True):
    with torch.no_grad():
        logits, _ = early(*batch([source]), torch.tensor([want[:-1]]))
    rows_ = torch.log_softmax(logits[0].double(), 1)
    wanted = float(rows_[torch.arange(len(want) - 1), torch.tensor(want[1:])].sum())
    if wanted < score and tokens != want[1:]:
        print(f"right: {' '.join(names[k] for k in want[1:])}, log-probability {wanted:.2f}")
        print(f"found: {' '.join(names[k] for k in tokens)}, log-probability {score:.2f}")
        break

# %% [markdown]
# ### 13.10 `bleu` · optional · level 2 of 4 · 20 min
#
# This exercise is extra: its points do not count in the sum. "Exactly right" is a hard measure: a long translation with one wrong word
# gives nothing. **BLEU** (Papineni et al., 2002) counts the right pieces. For $k = 1, \dots, n$, take all runs of
# $k$ words (**$k$-grams**) of the outputs, and count how many of them stand in the reference of their text, each at
# most as often as there (**clipped**):
#
# $$p_k = \frac{\text{clipped matches of all texts}}{k\text{-grams of all outputs}}, \qquad
# \text{BLEU} = \min\!\big(1, e^{1 - \ell_{\text{true}} / \ell_{\text{found}}}\big) \Big(\prod_{k=1}^n p_k\Big)^{1/n},$$
#
# with $\ell_{\text{found}}$ words in all outputs and $\ell_{\text{true}}$ in all references. The first factor, the
# **brevity penalty**, is there because $p_k$ alone is highest for a short output with nothing wrong in it. Counts are
# added up over all texts first: BLEU of a corpus is no mean of the BLEU of its sentences.


# %% exercise="bleu" points=2 minutes=20 extra=true forbids=["nltk", "sacrebleu"] trains=["metrics with clear definitions"]
def bleu(found: Sequence[Sequence[str]], true: Sequence[Sequence[str]], n: int = 4) -> float:
    """The corpus BLEU of outputs, with one reference each, without smoothing.

    found, true: one list or tuple of words for each text, maybe empty; equally many, one text or
      more. n: an integer >= 1.
    For k = 1, ..., n, p_k = matches / total, over all texts together: total is the number of
    k-grams of found[i], and matches adds, for each different k-gram of found[i], the smaller one of
    its numbers in found[i] and in true[i].
    With c words in found and r in true, all texts together:
    BLEU = (p_1 · ... · p_n)^(1/n), times exp(1 - r / c) if c < r.
    Returns a Python float from 0 to 1; 0.0 if matches or total is 0 for some k.
    Not allowed: nltk, sacrebleu.
    """
    ### BEGIN SOLUTION
    log_precision = 0.0
    for k in range(1, n + 1):
        matches = total = 0
        for ours, theirs in zip(found, true):  # noqa: B905
            have, want = (Counter(tuple(t[i : i + k]) for i in range(len(t) - k + 1)) for t in (ours, theirs))
            matches += (have & want).total()
            total += have.total()
        if matches == 0:
            return 0.0
        log_precision += math.log(matches / total) / n
    c, r = sum(map(len, found)), sum(map(len, true))
    return math.exp(log_precision + (1 - r / c if c < r else 0.0))
    ### END SOLUTION


# %% [markdown] hints="bleu"
# <details><summary>Hint 1: k-grams</summary>
#
# `Counter(tuple(text[i : i + k]) for i in range(len(text) - k + 1))` counts them; a text shorter than k has none.
# </details>
# <details><summary>Hint 2: clipping</summary>
#
# `a & b` of two Counters takes the smaller count of each entry, and `.total()` adds them up.
# </details>
# <details><summary>Hint 3: the penalty</summary>
#
# Add up the words of all outputs and of all references first. There is one penalty for the corpus, not one for each
# text, and none where the outputs have as many words or more.
# </details>

# %% check="bleu"
with check("bleu", forbids=["nltk", "sacrebleu"]):
    found, true = [["a", "a", "b"], ["c", "d"]], [["a", "b", "b"], ["c", "d", "e"]]
    # 1-grams: a once, b once, c, d: 4 of 5. 2-grams: a-b and c-d: 2 of 3. c = 5 < r = 6.
    expect_close(
        bleu(found, true, 2),
        math.sqrt(4 / 5 * 2 / 3) * math.exp(1 - 6 / 5),
        mistakes={
            "The brevity penalty is missing.": math.sqrt(4 / 5 * 2 / 3),
            "A word counts at most as often as in the reference (clipping).": math.sqrt(2 / 3) * math.exp(1 - 6 / 5),
        },
    )
    expect_close(bleu(found, true), 0.0, hint="no 4-gram matches, and n is 4 by default")
    expect_close(bleu([["a", "b"]], [["a"]], 1), 0.5, hint="no penalty for long outputs")
    expect_close(bleu([[]], [["a"]], 1), 0.0)

# %% [markdown]
# Both measures for the translators of 13.8. Where a translation is wrong in one word, BLEU still counts the others.

# %% tags=["demo"]
for part in ("test", "unseen pairs"):
    sources, outputs = as_ids(part, "translations")
    written = [[str(token) for token in row if token != END] for row in greedy(nets["translations"], sources)]
    wanted = [[str(token) for token in row[1:-1]] for row in outputs]
    exact = np.mean([a == b for a, b in zip(written, wanted, strict=True)])
    print(f"{part:<14} exactly right {exact:6.1%}   BLEU {bleu(written, wanted):.3f}")

# %% [markdown]
# ## Scale it
#
# ### What one merge costs
#
# Here is your `train_bpe` beside the slow one of the first picture, on more and more different words of Python's help.
# Both need one pass over all symbols at the start. After that, the slow one makes such a pass for each merge: its time
# is (merges) × (symbols). Yours touches the words with the pair, and looks once at each different pair's count. (The
# most frequent words come first. Rarer words are longer, so the symbols grow faster than the words.)
#
# Both times grow with the number of words and with the number of merges. What one merge has to touch is counted in the
# lines below the picture. This share of the symbols hardly depends on the number of words. It falls with the number of
# *merges*: the pairs that are merged later are rarer. So the more merges, the larger the gap. (What is left in yours is
# mostly the search for the highest count. A heap makes this cheap, too.)

# %% tags=["demo"]
vocabulary = Counter(words_of(datasets.python_help().text.encode())).most_common()
sizes = demo_size(full=[250, 500, 1000, 2000, 4000], small=[100, 200])
merges_done = demo_size(full=100, small=10)
gc.disable()  # Python's garbage collector looks at all the lists again and again, and hides what the work costs
speed = scaling.measure(
    {"train_bpe": train_bpe, "all counted again": slow_bpe},
    sizes=sizes,
    setup=lambda n: (dict(vocabulary[:n]), merges_done),
    budget=demo_size(full=8.0, small=1.0),
    label="different words",
    memory=None,
)
merge_counts = demo_size(full=[12, 25, 50, 100, 200], small=[5, 10])
by_merges = {"train_bpe": [], "all counted again": []}
table = dict(vocabulary[:1000])
for name, learn in (("train_bpe", train_bpe), ("all counted again", slow_bpe)):
    for count in merge_counts:
        if by_merges[name] and by_merges[name][-1] > 2:  # seconds: a slow answer need not go on
            break
        took = []
        for _ in range(demo_size(full=2, small=1)):  # the better one of two: other work on the machine disturbs
            begun = time.perf_counter()
            learn(table, count)
            took.append(time.perf_counter() - begun)
        by_merges[name].append(min(took))
gc.enable()
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
speed.plot(peer="all counted again", ax=left)
left.set(title=f"Time against words, {merges_done} merges")
left.set_xticks(sizes, [f"{n:,}" for n in sizes])
left.set_xticks([], minor=True)
for marker, (name, seconds) in zip("os", by_merges.items(), strict=True):
    right.loglog(merge_counts[: len(seconds)], seconds, marker=marker, label=name)
right.set(xlabel="merges", ylabel="seconds", title=f"Time against merges, {len(table):,} words")
right.set_xticks(merge_counts, [str(count) for count in merge_counts])
right.set_xticks([], minor=True)
right.legend()
plt.show()
both = min(map(len, by_merges.values())) - 1
ratio = by_merges["all counted again"][both] / by_merges["train_bpe"][both]
print(f"{merge_counts[both]} merges, {len(table):,} words: the slow way takes {ratio:.1f} times as long")


def touched(n: int, merges: int) -> list[float]:
    """For each merge of the n most frequent words: the share of the symbols that stand in words with the pair."""
    words, shares = [list(word) for word, _ in vocabulary[:n]], []
    for i, pair in enumerate(train_bpe(dict(vocabulary[:n]), merges)):
        after = [merge_pair(symbols, pair, 256 + i) for symbols in words]
        changed = sum(len(old) for old, new in zip(words, after, strict=True) if len(old) > len(new))
        shares.append(changed / sum(map(len, words)))
        words = after
    return shares


for n in sizes[1:4]:
    print(f"{n:,} words: a merge touches {np.mean(touched(n, merges_done)):.1%} of the symbols, mean of {merges_done}")
shares = touched(sizes[-2], 4 * merges_done)
for first, last in ((0, merges_done), (merges_done, 2 * merges_done), (2 * merges_done, 4 * merges_done)):
    print(f"merges {first + 1} to {last}: {np.mean(shares[first:last]):.1%} of the symbols each, {sizes[-2]:,} words")

# %% [markdown]
# ### What adds up
#
# A corpus may have any size, for BPE sees it only as a table of counts, and tables add up. Below the corpus is read in
# chunks, each of which a machine of its own could count. The sum is the table of the whole, exactly, so the merges are
# the same. What crosses the wire is a table for each chunk. How large is it? The number of different words grows with a
# power of the text's length, **Heaps' law**, and the power is below 1: the fitted slope stands in the legend. So the
# table becomes ever smaller beside the text, and a chunk should be large: the cell prints the bytes of all the tables
# of small chunks, and those of one table. (In the generated reviews the table stops growing: their grammar has few
# words.)

# %% tags=["demo"]
text = datasets.python_help().text.encode()[: demo_size(full=400_000, small=40_000)]
all_words = words_of(text)
parts = [all_words[i : i + 5000] for i in range(0, len(all_words), 5000)]
table, lengths, kinds, sent = Counter(), [], [], 0
for part in parts:
    counted = Counter(part)  # one machine's table: it sends the words, and eight bytes for each count
    sent += sum(len(word) + 8 for word in counted)
    table.update(counted)
    lengths.append((lengths[-1] if lengths else 0) + len(part))
    kinds.append(len(table))
assert table == Counter(all_words)
review_table, review_lengths, review_kinds = Counter(), [], []
for chunk in datasets.reviews_chunks(demo_size(full=4096, small=1024), seed=1):
    for one in chunk.texts:
        review_table.update(words_of(one.encode()))
    review_lengths.append(review_table.total())
    review_kinds.append(len(review_table))
slope, begin = np.polyfit(np.log(lengths), np.log(kinds), 1)
plotting.curves(
    {
        f"Python's help: slope {slope:.2f}": (lengths, kinds),
        "generated reviews": (review_lengths, review_kinds),
        "every word different": ([lengths[0], lengths[-1]], [lengths[0], lengths[-1]]),
    },
    xlabel="words read",
    ylabel="different words",
    title="The table grows more slowly than the text",
    logx=True,
    logy=True,
)
for line in plt.gca().lines:
    line.set_marker(".")
plt.show()
wire = sum(len(word) + 8 for word in table)
print(f"{len(text):,} bytes of text, {len(all_words):,} words, {len(table):,} of them different")
print(f"the tables of {len(parts)} chunks: {sent:,} bytes; one table of all: {wire:,} bytes")

# %% [markdown]
# The loss of 13.7 adds up, too, if one sends the right numbers. Let several machines compute the loss of their own
# texts. The mean of their means is *not* the loss of the whole batch, since they have different numbers of tokens. The
# sums of the losses and the numbers of tokens do add up. The same holds on one machine where the gradients of several
# small batches are added before a step.

# %% tags=["demo"]
draw = torch.Generator().manual_seed(0)
logits = 3 * torch.randn((8, 12, 5), generator=draw, dtype=torch.float64)
targets = torch.randint(0, 5, (8, 12), generator=draw)
logits[4:] *= 3
targets[4:, 2:] = -1  # the second machine has short texts, with a larger loss
machines = [(logits[:4], targets[:4]), (logits[4:], targets[4:])]
means = [sequence_loss(z, y, -1) for z, y in machines]
tokens = [int((y != -1).sum()) for _, y in machines]
whole = sequence_loss(logits, targets, -1)
added = sum(mean * count for mean, count in zip(means, tokens, strict=True)) / sum(tokens)
assert torch.isclose(added, whole)
print(f"loss of the whole {whole:.4f}; sums over tokens, added {added:.4f}; mean of the means {sum(means) / 2:.4f}")

# %% [markdown]
# ### Beside scikit-learn and torch
#
# What does it cost to look at the order of the words? Four models read the same sentences on one core: scikit-learn's
# pipeline with hashed words (it keeps no list of words, so it works on any stream); torch's `EmbeddingBag` with a linear
# layer, which is a bag of words, too; the convolutions of 13.4; and your `TextClassifier` on the pre-trained encoder. The
# nets see the same batches. The rate is that of prediction, in sentences a second, best of five. All four get strings:
# the pipeline cuts and hashes them, and the nets cut them, look up their tokens and make a batch.
#
# **Who wins?** On the place, single words decide. All four are right in nearly all sentences, so the bags win by their
# speed, and they are the simplest. On the sentiment the bags cannot win, at any size of the training set: each word
# stands in good reviews and in bad ones equally often, and only the order tells. Both other nets are right there. The
# convolutions see enough of the order in windows of three tokens, and compute all places at once. The recurrent net goes
# along the sentence step by step, and a step must wait for the one before. So try the bag first: if the bag is right, you
# need no order. (If it is not, the order may matter, or the labels may be noise.)


# %% tags=["demo"]
def hashed_words():
    """scikit-learn's pipeline: words to one of 65,536 places, and a linear model."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline

    return make_pipeline(HashingVectorizer(n_features=2**16, norm=None), SGDClassifier(loss="log_loss", random_state=0))


class Bag(nn.Module):
    """The mean of the embeddings, in one call of torch's."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.EmbeddingBag(VOCAB, WIDTH, mode="mean", padding_idx=0), nn.Linear(WIDTH, 2)

    def forward(self, ids, valid):
        return self.head(self.embedding(ids))


def predicted(net: nn.Module, strings: Sequence[str]) -> torch.Tensor:
    with torch.no_grad():
        return net(*batch([row_of(string.split())[0] for string in strings])).argmax(1)


def sentences_a_second(strings: Sequence[str], predict: Callable, *arguments) -> float:
    """The best of five runs of predict(*arguments, strings)."""
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        predict(*arguments, strings)
        took.append(time.perf_counter() - begun)
    return len(strings) / min(took)


torch.set_num_threads(1)
amount = demo_size(full=1200, small=30)
print(f"{'':<24}{'a place?':>10}{'sentiment':>11}{'sentences a second':>20}")
nets_ = {
    "EmbeddingBag": Bag,
    "convolutions": ConvNet,
    "TextClassifier": lambda: TextClassifier(copy.deepcopy(encoder), WIDTH, 2),
}
table = {name: [] for name in ("scikit-learn's pipeline", *nets_)}
with threadpool_limits(limits=1):
    for task, labels in ((happenings, place_named), (opinions, sentiment)):
        held = demo_size(full=400, small=20)
        train, tested = task[:-held][:amount], task[-held:]
        strings = [" ".join(texts[i]) for i in tested]
        pipeline = hashed_words()
        pipeline.fit([" ".join(texts[i]) for i in train], labels[train])
        rate = sentences_a_second(strings, pipeline.predict)
        table["scikit-learn's pipeline"].append((pipeline.score(strings, labels[tested]), rate))
        ids, valid = batch([rows[i] for i in tested])
        for name, make in nets_.items():
            torch.manual_seed(0)
            net = make()
            accuracy = learnt(net, train, labels, ((ids, valid), labels[tested]), 0, demo_size(full=200, small=3))
            table[name].append((accuracy, sentences_a_second(strings, predicted, net)))
for name, ((first, rate), (second, _)) in table.items():
    print(f"{name:<24}{first:>10.1%}{second:>11.1%}{rate:>20,.0f}")

# %% [markdown]
# ### Where it breaks
#
# The decoder's attention keeps $B \cdot T \cdot S$ weights for the backward pass, and a long document has $T = S =
# 10^5$: 40 GB for one text in float32. Module 12 computes attention block by block for this reason. The last layer
# reads $[s_t, c_t]$ and has $2 V w$ weights, and each output token pays for all of them: with a list of $10^5$ tokens
# and $w = 10^3$, that is $2 \cdot 10^8$ multiplications a token. This is why $V$ is not made larger until each word is
# one token.
#
# `words_of` knows the letters A to Z, and cuts at every accent; and Chinese and Thai have no spaces between words.
# Libraries there let BPE run over whole sentences, so their tables no longer have few entries.
#
# `greedy` and `searched` above compute all earlier steps again for each token: $T$ tokens cost about $T^2 / 2$ steps of
# the decoder. A real decoder keeps its state, and a transformer keeps its keys and values (module 12). And beam search
# calls the network once for each token, one after the other: serving many users means to put their beams into one batch
# (module 24).

# %% [markdown] written="names_in_letters" points=2
# **Written question (2 points, 20 min).** A hospital wants to find the names of medicines in ten million letters. 400
# letters are labelled, all from one ward. A colleague has trained a tagger with whole words as tokens on a random 90%
# of the labelled *sentences*, and reports: "97% of all tags are right on the other 10%. A list of the 2,000 known names
# finds only 71% of the spans, so we take the network." What is wrong with this comparison (three things at least)? How
# would you measure instead? What would you change in the tokens and in the training, given the ten million letters?
# When would you take the list all the same?
#
# ### BEGIN SOLUTION
# Wrong: (1) two metrics: the share of right tags counts the many O; 71% is a recall of spans. Compare F1 of spans for
# both, with start, stop and label exact. (2) Sentences of one letter stand on both sides of the split, so the same
# names do, too: split by letter, better by patient or ward and by time. (3) All letters are from one ward; ten million
# are not. Label some test letters from other wards. (4) 10% of 400 letters is a small test: give an interval, over
# seeds and by resampling letters; count how many test names never stood in training, and report F1 on these by itself.
# (5) The list's errors are of another kind: precision is missing on both sides. Tokens: byte-level BPE trained on the
# letters themselves (counts of words add up over all of them), since new and misspelt names fall into known pieces,
# where whole words are "unknown". Training: masked-token pre-training on the unlabelled letters (no test letters
# needed, but allowed), then fine-tuning on 400; check against no pre-training, over seeds. Keep the list as a feature
# or mark, added to the embedding. The list is right where names are closed and spelt as in the list, where every hit
# must be explained, or where its precision is near 1 and recall may be low (a first filter); also as the baseline in
# every report.
#
# ### RUBRIC
# - 0.5: Three real faults of the comparison, such as tags against spans, letters on both sides of the split, one
#   ward, a small test without an interval.
# - 0.5: A measurement that mends them: F1 of whole spans for both, on letters of other wards or patients, with an
#   interval.
# - 0.5: Tokens that are pieces of words, trained on the letters, and pre-training on the letters without labels
#   before fine-tuning.
# - 0.5: A condition under which the list is right, such as names that are closed and always spelt the same.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. BPE is greedy: does it give the shortest encoding that a list of $V$ symbols allows? Find a corpus of three words
#    where it does not. (A unigram model, Kudo 2018, starts from a large list and removes symbols.)
# 2. Which share of tokens should be hidden? Plot the accuracy of 13.4 against `rate` from 0.05 to 0.6, with the same
#    steps. Why is there an optimum?
# 3. Beam search with $\alpha = 0$ and a growing width, on a network that was trained for a short time: at which width
#    do sequences get shorter? What does the most probable sequence of all look like? (Stahlberg and Byrne.)
# 4. The parser meets pairs that it never saw. Does it also meet a *longer* command than any it saw, with two "after"?
#    Make such data and look at the attention where it fails. (Lake and Baroni.)
# 5. Two systems have BLEU 0.31 and 0.33 on 500 sentences. Resample the sentences 1,000 times: how sure is the order?
#
# References:
#
# - R. Sennrich, B. Haddow and A. Birch, "Neural machine translation of rare words with subword units", *ACL*, 2016. BPE
#   for text, with ten lines of code. They start with characters; the pairs are those of P. Gage, "A new algorithm for
#   data compression", *The C Users Journal*, 1994.
# - A. Radford, J. Wu, R. Child, D. Luan, D. Amodei and I. Sutskever, "Language models are unsupervised multitask
#   learners", OpenAI, 2019. GPT-2: BPE on bytes, with the space in front of the word.
# - J. Devlin, M.-W. Chang, K. Lee and K. Toutanova, "BERT: pre-training of deep bidirectional transformers for language
#   understanding", *NAACL*, 2019. The recipe 80/10/10, and what each part is for.
# - I. Sutskever, O. Vinyals and Q. V. Le, "Sequence to sequence learning with neural networks", *NIPS*, 2014. One
#   vector between two networks.
# - D. Bahdanau, K. Cho and Y. Bengio, "Neural machine translation by jointly learning to align and translate", *ICLR*,
#   2015. The first attention, with another score than here; look at its pictures.
# - M.-T. Luong, H. Pham and C. D. Manning, "Effective approaches to attention-based neural machine translation",
#   *EMNLP*, 2015. Attention by dot products, and what was read goes into the next step.
# - A. Vaswani et al., "Attention is all you need", *NIPS*, 2017. Why the scores are divided by a root.
# - J. Lafferty, A. McCallum and F. Pereira, "Conditional random fields: probabilistic models for segmenting and
#   labeling sequence data", *ICML*, 2001. How to choose all tags together.
# - Y. Wu et al., "Google's neural machine translation system: bridging the gap between human and machine translation",
#   arXiv:1609.08144, 2016. A whole system, its tokens and its beam included.
# - K. Papineni, S. Roukos, T. Ward and W.-J. Zhu, "BLEU: a method for automatic evaluation of machine translation",
#   *ACL*, 2002. Where clipping and the penalty come from.
# - B. Lake and M. Baroni, "Generalization without systematicity", *ICML*, 2018. Commands whose parts were seen and
#   whose combinations were not.
# - F. Stahlberg and B. Byrne, "On NMT search errors and model errors: cat got your tongue?", *EMNLP*, 2019. Exact
#   search finds the empty translation.
# - T. Kudo, "Subword regularization", *ACL*, 2018. Another way to the list of tokens.
#
# At work: the `tokenizers` and `transformers` libraries for tokens and pre-trained networks, `sacrebleu` for a BLEU
# that others can repeat, `seqeval` for spans, scikit-learn for the bag of words that you try first.
