"""Wrong and right answers that prove the hidden tests of module 13, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import heapq
import itertools
import math
import random
from collections import Counter, defaultdict

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.answers import equivalent, right, wrong

equivalent(
    "mask_tokens",
    diff="~ mask_tokens: rate becomes float(np.float32(x))",
    reason="the rate moves by less than 1e-7 of itself, which no number of draws shows",
)
equivalent(
    "f1_spans",
    diff="""- return tuple((part / (whole or 1) for part, whole in parts))
+ return tuple((part / (whole or 2) for part, whole in parts))""",
    reason="where the whole is 0 the part is 0, too",
)
equivalent(
    "bleu",
    diff="""- return math.exp(log_precision + (1 - r / c if c < r else 0.0))
+ return math.exp(log_precision + (1 - r / c if c <= r else 0.0))""",
    reason="where c is r, 1 - r / c is 0",
)
equivalent(
    "Seq2Seq",
    diff="""- weight = scores.masked_fill(~valid, -math.inf).softmax(1)
+ weight = scores.masked_fill(~valid, -1e+30).softmax(1)""",
    reason="a score is up to 1e4 in size, so the exponential is exactly 0 beside it",
)
equivalent(
    "TextClassifier",
    diff="~ TextClassifier.forward: integers of 8 bits are refused (str(x.dtype).endswith('int8'))",
    reason="the tensors of integers are int64",
)
equivalent(
    "TextClassifier",
    diff="~ TextClassifier.forward: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "TokenTagger",
    diff="~ TokenTagger.forward: integers of 8 bits are refused (str(x.dtype).endswith('int8'))",
    reason="the tensors of integers are int64",
)
equivalent(
    "TokenTagger",
    diff="~ TokenTagger.forward: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "sequence_loss",
    diff="~ sequence_loss: integers of 8 bits are refused (str(x.dtype).endswith('int8'))",
    reason="the tensors of integers are int64",
)
equivalent(
    "sequence_loss",
    diff="~ sequence_loss: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "Seq2Seq",
    diff="~ Seq2Seq.forward: integers of 8 bits are refused (str(x.dtype).endswith('int8'))",
    reason="the tensors of integers are int64",
)
equivalent(
    "Seq2Seq",
    diff="~ Seq2Seq.forward: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)

# ------------------------------------------------------------------------------------------------------ train_bpe

wrong(
    "train_bpe",
    "counts each different word once",
    fails=["test_most_frequent_pair_first"],
    edit={"pairs[pair] += sign * count": "pairs[pair] += sign"},
)
wrong(
    "train_bpe",
    "takes the largest pair among equal counts",
    fails=["test_ties_go_to_the_smallest_pair"],
    edit={"(pairs[pair], -pair[0], -pair[1])": "(pairs[pair], pair[0], pair[1])"},
)
wrong(
    "train_bpe",
    "takes the pair that it saw first among equal counts",
    fails=["test_ties_go_to_the_smallest_pair"],
    edit={"key=lambda pair: (pairs[pair], -pair[0], -pair[1])": "key=pairs.get"},
)
wrong(
    "train_bpe",
    "breaks ties by the second symbol first",
    fails=["test_ties_go_to_the_smallest_pair"],
    edit={"-pair[0], -pair[1]": "-pair[1], -pair[0]"},
)
wrong(
    "train_bpe",
    "merges pairs that occur once, too",
    fails=["test_where_the_merges_end"],
    edit={"if pairs[best] < 2:": "if pairs[best] < 1:"},
)


wrong(
    "train_bpe",
    "compares the bytes of the symbols among equal counts, not their numbers",
    fails=["test_ties_go_to_the_smallest_pair"],
    edit={
        "    learnt = []\n": (
            "    learnt = []\n\n"
            "    def text(s):\n"
            "        return bytes([s]) if s < 256 else b''.join(map(text, learnt[s - 256]))\n\n"
        ),
        "max(pairs, key=lambda pair: (pairs[pair], -pair[0], -pair[1]))": (
            "min(pairs, key=lambda pair: (-pairs[pair], *map(text, pair)))"
        ),
    },
)


@wrong("train_bpe", "counts all pairs of all words again for each merge", fails=["test_merges_touch_few_words"])
def counted_again(counts, merges):
    words, learnt = [(list(word), count) for word, count in counts.items()], []
    while len(learnt) < merges:
        pairs = Counter()
        for symbols, count in words:
            for pair in itertools.pairwise(symbols):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] < 2:
            break
        words = [(merge_pair(symbols, best, 256 + len(learnt)), count) for symbols, count in words]
        learnt.append(best)
    return learnt


wrong(
    "train_bpe",
    "looks for the pair in every word, for each merge",
    fails=["test_merges_touch_few_words"],
    edit={
        "for i in list(holders[best]):": (
            "for i in [i for i, (s, _) in enumerate(words) if best in set(itertools.pairwise(s))]:"
        ),
    },
)


@right("train_bpe", "a heap of counts, with those that are out of date left in it")
def bpe_by_heap(counts, merges):
    words = [list(word) for word in counts]
    times = list(counts.values())
    number, where = defaultdict(int), defaultdict(set)
    for i, symbols in enumerate(words):
        for pair in itertools.pairwise(symbols):
            number[pair] += times[i]
            where[pair].add(i)
    heap = [(-count, pair) for pair, count in number.items()]
    heapq.heapify(heap)
    learnt = []
    while heap and len(learnt) < merges:
        count, pair = heapq.heappop(heap)
        if number[pair] != -count:
            continue
        if count > -2:
            break
        new, touched = 256 + len(learnt), set()
        learnt.append(pair)
        for i in where[pair]:
            old, fresh, k = words[i], [], 0
            while k < len(old):
                if tuple(old[k : k + 2]) == pair:
                    fresh.append(new)
                    k += 2
                else:
                    fresh.append(old[k])
                    k += 1
            for sign, symbols in ((-1, old), (1, fresh)):
                for p in itertools.pairwise(symbols):
                    number[p] += sign * times[i]
                    touched.add(p)
                    if sign > 0:
                        where[p].add(i)
            words[i] = fresh
        for p in touched:
            if number[p] > 0:
                heapq.heappush(heap, (-number[p], p))
    return learnt


@right("train_bpe", "exact counts and exact lists of holders, that are kept up to date")
def bpe_with_exact_holders(counts, merges):
    texts, learnt, table = {}, [], {}
    for name, count in counts.items():
        texts[name] = list(name)
        for a, b in itertools.pairwise(name):
            entry = table.setdefault((a, b), [0, set()])
            entry[0] += count
            entry[1].add(name)
    for new in range(256, 256 + merges):
        if not table:
            break
        pair, (most, holders) = min(table.items(), key=lambda item: (-item[1][0], item[0]))
        if most <= 1:
            break
        learnt.append(pair)
        for name in tuple(holders):
            for p in itertools.pairwise(texts[name]):
                table[p][0] -= counts[name]
                table[p][1].discard(name)
                if table[p][0] == 0:
                    table[p] = [0, set()]
            texts[name] = merge_pair(texts[name], pair, new)
            for p in itertools.pairwise(texts[name]):
                entry = table.setdefault(p, [0, set()])
                entry[0] += counts[name]
                entry[1].add(name)
        table = {p: entry for p, entry in table.items() if entry[0]}
    return learnt


# --------------------------------------------------------------------------------------------------------- encode

wrong(
    "encode",
    "does the merge that was learnt last first",
    fails=["test_merges_in_their_order"],
    edit={"first = min(found)": "first = max(found)"},
)
wrong(
    "encode",
    "never merges the result of a merge",
    fails=["test_merges_in_their_order"],
    edit={"if pair in rank]": "if pair in rank and max(pair) < 256]"},
)
wrong(
    "encode",
    "merges over the border of words",
    fails=["test_merges_in_their_order"],
    edit={"for word in words_of(data):": "for word in [data] if data else []:"},
)
wrong(
    "encode",
    "loses the spaces between words",
    fails=["test_round_trip"],
    edit={"for word in words_of(data):": "for word in data.split():"},
)
wrong(
    "encode",
    "decodes a negative number from the end of the table",
    fails=["test_decode_any_symbols"],
    edit={"not 0 <= i < len(table)": "not i < len(table)"},
)


@right("encode", "each merge in its order, in each word")
def encode_in_order(data, merges):
    known = {}
    found = []
    for word in words_of(data):
        if word not in known:
            present = list(word)
            for number, pair in enumerate(merges):
                if pair[0] in present and pair[1] in present:
                    present = merge_pair(present, tuple(pair), number + 256)
            known[word] = present
        found.extend(known[word])
    return found


@right("encode", "decode with a dictionary and a bytearray", replaces="decode")
def decode_by_dictionary(ids, merges):
    texts = {b: bytes([b]) for b in range(256)}
    for number, (a, b) in enumerate(merges):
        texts[256 + number] = texts[a] + texts[b]
    found = bytearray()
    for i in ids:
        if i not in texts:
            raise ValueError(i)
        found += texts[i]
    return bytes(found)


# ---------------------------------------------------------------------------------------------------- mask_tokens

wrong(
    "mask_tokens",
    "hides every chosen token",
    fails=["test_shares_of_the_recipe"],
    edit={"(0.8, 0.1, 0.1)": "(1.0, 0.0, 0.0)"},
)
wrong(
    "mask_tokens",
    "draws where it should keep, and never keeps",
    fails=["test_shares_of_the_recipe"],
    edit={"(0.8, 0.1, 0.1)": "(0.8, 0.2, 0.0)"},
)
wrong(
    "mask_tokens",
    "gives no target where the token stays",
    fails=["test_shares_of_the_recipe"],
    edit={"np.where(chosen, ids, -100)": "np.where(chosen & (replaced != ids), ids, -100)"},
)
wrong(
    "mask_tokens",
    "gives every token a target",
    fails=["test_targets_are_the_old_ids", "test_shares_of_the_recipe"],
    edit={"np.where(chosen, ids, -100)": "np.where(chosen | True, ids, -100)"},
)
wrong(
    "mask_tokens",
    "chooses among the padding, too",
    fails=["test_shares_of_the_recipe", "test_targets_are_the_old_ids"],
    edit={"allowed & (": "(allowed | True) & ("},
)
wrong(
    "mask_tokens",
    "chooses the same columns in every row",
    fails=["test_law_of_the_masks"],
    edit={"rng.binomial(1, rate, ids.shape)": "rng.binomial(1, rate, ids.shape[1:])"},
)
wrong(
    "mask_tokens",
    "draws from vocab + 1 ids",
    fails=["test_law_of_the_replacements"],
    edit={"rng.integers(vocab, size": "rng.integers(vocab + 1, size"},
)
wrong(
    "mask_tokens",
    "chooses an exact share of the places, not each one by itself",
    fails=["test_law_of_the_masks"],
    edit={
        "allowed & (rng.binomial(1, rate, ids.shape) == 1)": (
            "allowed & (np.where(allowed, rng.random(ids.shape), 2).argsort(None).argsort().reshape(ids.shape)"
            " < round(rate * allowed.sum()))"
        )
    },
)
wrong(
    "mask_tokens",
    "sets the seed of NumPy's global generator",
    fails=["test_masks_leave_the_global_generator"],
    edit={"chosen = allowed": "np.random.seed(seed % 2**32)\n    chosen = allowed"},
)


@right("mask_tokens", "place by place, with Python's generator")
def masks_by_loops(ids, allowed, mask_id, vocab, seed, rate=0.15):
    draw = random.Random(f"masks {seed}")
    inputs, targets = np.zeros(ids.shape, np.int64), np.full(ids.shape, -100, np.int64)
    for i, j in np.ndindex(ids.shape):
        inputs[i, j] = ids[i, j]
        if allowed[i, j] and draw.random() < rate:
            targets[i, j] = ids[i, j]
            fate = draw.randrange(10)
            if fate < 8:
                inputs[i, j] = mask_id
            elif fate == 8:
                inputs[i, j] = draw.randrange(vocab)
    return inputs, targets


@right("mask_tokens", "three separate sets of places")
def masks_by_sets(ids, allowed, mask_id, vocab, seed, rate=0.15):
    rng = np.random.default_rng([seed, 7])
    inputs, targets = np.array(ids, dtype=np.int64), np.full(ids.shape, -100, dtype=np.int64)
    rows, columns = np.nonzero(allowed)
    kept = rng.binomial(1, rate, len(rows)).astype(bool)
    rows, columns = rows[kept], columns[kept]
    targets[rows, columns] = inputs[rows, columns]
    fate = rng.choice(3, len(rows), p=[0.8, 0.1, 0.1])
    inputs[rows[fate == 0], columns[fate == 0]] = mask_id
    inputs[rows[fate == 1], columns[fate == 1]] = rng.integers(0, vocab, int((fate == 1).sum()))
    return inputs, targets


# ------------------------------------------------------------------------------------------------- TextClassifier

wrong(
    "TextClassifier",
    "divides by the length of the batch's longest text",
    fails=["test_mean_over_the_tokens"],
    edit={"states.sum(1) / count": "states.mean(1) + 0 * count"},
)
wrong(
    "TextClassifier",
    "adds a small number to the divisor",
    fails=["test_classifier_gradients"],
    edit={"states.sum(1) / count": "states.sum(1) / (count + 1e-6)"},
)
wrong(
    "TextClassifier",
    "adds the states up, and does not divide",
    fails=["test_mean_over_the_tokens"],
    edit={"states.sum(1) / count": "states.sum(1) + 0 * count"},
)
wrong(
    "TextClassifier",
    "takes the mean over the padding, too",
    fails=["test_mean_over_the_tokens"],
    edit={
        "torch.where(valid[..., None], self.encoder(ids, valid), 0)": "self.encoder(ids, valid)",
        "states.sum(1) / count": "states.mean(1) + 0 * count",
    },
)
wrong(
    "TextClassifier",
    "multiplies what stands at the padding by 0, which leaves nan and inf",
    fails=["test_classifier_ignores_padding"],
    edit={"torch.where(valid[..., None], self.encoder(ids, valid), 0)": "self.encoder(ids, valid) * valid[..., None]"},
)
wrong(
    "TextClassifier",
    "takes the first `count` states, wherever the tokens stand",
    fails=["test_classifier_ignores_padding"],
    edit={
        "torch.where(valid[..., None], self.encoder(ids, valid), 0)": (
            "torch.where((torch.arange(ids.shape[1]) < valid.sum(1, keepdim=True))[..., None], "
            "self.encoder(ids, valid), 0.0)"
        )
    },
)
wrong(
    "TextClassifier",
    "divides by 0 where a text has no token",
    fails=["test_texts_without_tokens"],
    edit={".clamp(min=1)": ""},
)


@right("TextClassifier", "text by text")
class ByTexts(nn.Module):
    def __init__(self, encoder, width, classes):
        super().__init__()
        self.head = nn.Linear(width, classes)
        self.encoder = encoder

    def forward(self, ids, valid):
        states, rows = self.encoder(ids, valid), []
        for h, here in zip(states, valid, strict=True):
            rows.append(h[here].mean(0) if here.any() else torch.zeros_like(h[0]))
        return self.head(torch.stack(rows))


@right("TextClassifier", "masked_fill and an einsum with weights")
class ByWeights(nn.Module):
    def __init__(self, encoder, width, classes):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(in_features=width, out_features=classes)

    def forward(self, ids, valid):
        h = self.encoder(ids, valid).masked_fill(torch.logical_not(valid).unsqueeze(2), 0.0)
        weights = valid.to(h.dtype)
        weights = weights / torch.maximum(weights.sum(1, keepdim=True), torch.ones((), dtype=h.dtype))
        return F.linear(torch.einsum("btw,bt->bw", h, weights), self.head.weight, self.head.bias)


# ---------------------------------------------------------------------------------------------------- TokenTagger

wrong(
    "TokenTagger",
    "gives words that are not there the logits of the last token",
    fails=["test_logits_of_the_first_tokens"],
    edit={"torch.where(first[..., None] >= 0, picked, 0)": "picked"},
)
wrong(
    "TokenTagger",
    "gives words that are not there the logits of token 0",
    fails=["test_logits_of_the_first_tokens"],
    edit={
        "[:, None], first]": "[:, None], first.clamp(min=0)]",
        "torch.where(first[..., None] >= 0, picked, 0)": "picked",
    },
)
wrong(
    "TokenTagger",
    "takes the states in their order, whatever `first` says",
    fails=["test_logits_of_the_first_tokens"],
    edit={"[:, None], first]": "[:, None], torch.arange(first.shape[1]).clamp(max=ids.shape[1] - 1)]"},
)
wrong(
    "TokenTagger",
    "adds the mark to every token",
    fails=["test_marked_tokens"],
    edit={"torch.where(marked[..., None], self.mark, 0)": "self.mark + 0.0 * marked[..., None]"},
)
wrong(
    "TokenTagger",
    "leaves marks out where valid is false",
    fails=["test_tagger_asks_the_encoder_once"],
    edit={"torch.where(marked[..., None], self.mark, 0)": "torch.where((marked & valid)[..., None], self.mark, 0)"},
)
wrong(
    "TokenTagger",
    "leaves the mark out",
    fails=["test_marked_tokens"],
    edit={"torch.where(marked[..., None], self.mark, 0)": "0.0 * self.mark * marked[..., None]"},
)
wrong(
    "TokenTagger",
    "multiplies what stands at other tokens by 0, which leaves nan and inf",
    fails=["test_tagger_ignores_other_tokens"],
    edit={
        "states[torch.arange(len(ids))[:, None], first]": (
            "torch.einsum('bwt,btd->bwd', F.one_hot(first.clamp(min=0), states.shape[1]).to(states.dtype), states)"
        )
    },
)
wrong(
    "TokenTagger",
    "starts the mark at random",
    fails=["test_mark_is_zeros_at_first"],
    edit={"torch.zeros(width)": "0.02 * torch.randn(width)"},
)


@right("TokenTagger", "gather, and the mark as a product")
class Gathering(nn.Module):
    def __init__(self, encoder, width, tags):
        super().__init__()
        self.encoder = encoder
        self.mark = nn.Parameter(torch.zeros((width,)))
        self.head = nn.Linear(width, tags)

    def forward(self, ids, valid, first, marked=None):
        more = [] if marked is None else [marked.to(self.mark.dtype)[:, :, None] * self.mark]
        h = self.encoder(ids, valid, *more)
        at = torch.where(first < 0, torch.zeros_like(first), first)
        picked = torch.gather(h, 1, at.unsqueeze(2).expand(-1, -1, h.shape[2]))
        return self.head(picked.masked_fill((first < 0).unsqueeze(2), 0))


@right("TokenTagger", "word by word")
class ByWords(nn.Module):
    def __init__(self, encoder, width, tags):
        super().__init__()
        self.encoder, self.head, self.mark = encoder, nn.Linear(width, tags), nn.Parameter(torch.zeros(width))

    def forward(self, ids, valid, first, marked=None):
        if marked is None:
            h = self.encoder(ids, valid)
        else:
            added = torch.zeros(*ids.shape, len(self.mark), dtype=self.mark.dtype)
            added[marked] = self.mark
            h = self.encoder(ids, valid, added)
        nothing = torch.zeros_like(h[0, 0])
        rows = []
        for text, places in zip(h, first.tolist(), strict=True):
            rows.append(torch.stack([self.head(text[k] if k >= 0 else nothing) for k in places]))
        return torch.stack(rows)


# ------------------------------------------------------------------------------------------------------- f1_spans

wrong(
    "f1_spans",
    "takes the mean of the texts' scores",
    fails=["test_precision_recall_and_f1"],
    edit={
        "    right = total_true = total_found = 0\n": (
            "    if len(true) > 1:\n"
            "        parts = [f1_spans([t], [f]) for t, f in zip(true, found, strict=True)]\n"
            "        return tuple(sum(part) / len(parts) for part in zip(*parts, strict=True))\n"
            "    right = total_true = total_found = 0\n"
        )
    },
)
wrong(
    "f1_spans",
    "exchanges precision and recall",
    fails=["test_precision_recall_and_f1"],
    edit={
        "total_true += len(ours)": "total_found += len(ours)",
        "total_found += len(theirs)": "total_true += len(theirs)",
    },
)
wrong(
    "f1_spans",
    "does not compare the labels",
    fails=["test_precision_recall_and_f1"],
    edit={"right += len(ours & theirs)": "right += len({s[:2] for s in ours} & {s[:2] for s in theirs})"},
)
wrong(
    "f1_spans",
    "compares the labels and the starts only",
    fails=["test_precision_recall_and_f1"],
    edit={"right += len(ours & theirs)": "right += len({s[::2] for s in ours} & {s[::2] for s in theirs})"},
)
wrong(
    "f1_spans",
    "counts a span as often as it stands in a list",
    fails=["test_scores_of_random_spans"],
    edit={
        "for ours, theirs in zip(map(set, true), map(set, found), strict=True):": (
            "for ours, theirs, spans in zip(map(set, true), map(set, found), found, strict=True):"
        ),
        "total_found += len(theirs)": "total_found += len(spans)",
    },
)
wrong(
    "f1_spans",
    "makes every I without its B an O",
    fails=["test_repair"],
    edit={'"B-" + tag[2:] if alone': '"O" if alone'},
)
wrong(
    "f1_spans",
    "lets an I continue a span with another label",
    fails=["test_repair"],
    edit={'(before == "O" or before[2:] != tag[2:])': 'before == "O"'},
)


@right("f1_spans", "pairs of text and span in one set")
def f1_by_one_set(true, found):
    if len(true) - len(found):
        raise ValueError("lengths")
    a = {(i, tuple(span)) for i, spans in enumerate(true) for span in spans}
    b = {(i, tuple(span)) for i, spans in enumerate(found) for span in spans}
    both = float(len(a.intersection(b)))
    p = both / len(b) if b else 0.0
    r = both / len(a) if a else 0.0
    return p, r, (2 * p * r / (p + r) if p + r else 0.0)


@right("f1_spans", "repair by the label that is open", replaces="repair_bio")
def repair_by_open_label(tags):
    open_label, out = None, []
    for tag in tags:
        if tag == "O":
            open_label = None
        else:
            if tag[0] == "I" and tag[2:] != open_label:
                tag = "B" + tag[1:]
            open_label = tag[2:]
        out.append(tag)
    return out


# -------------------------------------------------------------------------------------------------- sequence_loss

wrong(
    "sequence_loss",
    "adds the losses up, and does not divide",
    fails=["test_mean_over_the_tokens_of_all_texts"],
    edit={" / kept.sum().clamp(min=1).to(logits.dtype)": " + 0 * kept.sum()"},
)
wrong(
    "sequence_loss",
    "takes the mean of the texts' means",
    fails=["test_mean_over_the_tokens_of_all_texts"],
    edit={
        "torch.where(kept, losses, 0).sum() / kept.sum().clamp(min=1).to(logits.dtype)": (
            "(torch.where(kept, losses, 0).sum(1) / kept.sum(1).clamp(min=1)).mean()"
        )
    },
)
wrong(
    "sequence_loss",
    "learns the padding, too",
    fails=["test_mean_over_the_tokens_of_all_texts"],
    edit={"torch.where(kept, losses, 0).sum() / kept.sum().clamp(min=1).to(logits.dtype)": "losses.mean()"},
)
wrong(
    "sequence_loss",
    "divides by 0 where a batch holds no token",
    fails=["test_padding_has_no_share"],
    edit={".clamp(min=1)": ""},
)
wrong(
    "sequence_loss",
    "takes the logarithm of the softmax, which may be 0",
    fails=["test_large_logits", "test_loss_and_gradient"],
    edit={"torch.log_softmax(logits, dim=-1)": "torch.log(torch.softmax(logits, dim=-1))"},
)


@right("sequence_loss", "torch's own function, with a sum")
def loss_by_torch(logits, targets, pad):
    V = logits.shape[-1]
    flat = torch.where(targets == pad, -7, targets).reshape(-1)
    total = F.cross_entropy(logits.reshape(-1, V), flat, ignore_index=-7, reduction="sum")
    return total / max(int((targets != pad).sum()), 1)


@right("sequence_loss", "only the rows of tokens are looked at")
def loss_of_rows(logits, targets, pad):
    kept = targets.ne(pad)
    if not kept.any():
        return (logits * 0).sum()
    rows, tokens = logits[kept], targets[kept]
    return (torch.logsumexp(rows, 1) - rows[torch.arange(len(tokens)), tokens]).mean()


# -------------------------------------------------------------------------------------------------------- Seq2Seq

wrong(
    "Seq2Seq",
    "attends to the padding",
    fails=["test_logits_and_attention"],
    edit={"scores.masked_fill(~valid, -math.inf).softmax(1)": "scores.softmax(1)"},
)
wrong(
    "Seq2Seq",
    "masks after the softmax, so that the weights do not add up to 1",
    fails=["test_logits_and_attention"],
    edit={"scores.masked_fill(~valid, -math.inf).softmax(1)": "scores.softmax(1) * valid"},
)
wrong(
    "Seq2Seq",
    "takes the softmax over the padding, too, and divides by the sum of what is valid",
    fails=["test_translator_with_scores_far_below_zero"],
    edit={
        "weight = scores.masked_fill(~valid, -math.inf).softmax(1)": (
            "weight = scores.softmax(1) * valid\n            weight = weight / weight.sum(1, keepdim=True)"
        )
    },
)
wrong(
    "Seq2Seq",
    "gives the padding a score of -10,000",
    fails=["test_translator_with_scores_far_below_zero"],
    edit={"masked_fill(~valid, -math.inf)": "masked_fill(~valid, -1e4)"},
)
wrong(
    "Seq2Seq",
    "does not divide the scores by the root of the width",
    fails=["test_logits_and_attention"],
    edit={" / math.sqrt(memory.shape[2])": ""},
)
wrong(
    "Seq2Seq",
    "gives the cell the context before the token",
    fails=["test_logits_and_attention"],
    edit={"torch.cat([token, context], 1)": "torch.cat([context, token], 1)"},
)
wrong(
    "Seq2Seq",
    "starts with zeros, not with the mean of the memory",
    fails=["test_logits_and_attention"],
    edit={"state = memory.sum(1) / valid": "state = 0 * memory.sum(1) / valid"},
)
wrong(
    "Seq2Seq",
    "takes the first state as a mean over the padding, too",
    fails=["test_logits_and_attention"],
    edit={"memory.sum(1) / valid.sum(1, keepdim=True).to(memory.dtype)": "memory.mean(1)"},
)
wrong(
    "Seq2Seq",
    "reads with the state before the step",
    fails=["test_logits_and_attention"],
    edit={
        "            state = self.cell": "            old = state\n            state = self.cell",
        '"bsw,bw->bs", memory, state)': '"bsw,bw->bs", memory, old)',
    },
)
wrong(
    "Seq2Seq",
    "multiplies the memory of the padding by 0, which leaves nan and inf",
    fails=["test_translator_ignores_padding"],
    edit={
        "torch.where(valid[..., None], self.encoder(source, valid), 0)": (
            "self.encoder(source, valid) * valid[..., None]"
        )
    },
)


@right("Seq2Seq", "text by text, without padding")
class TextByText(nn.Module):
    def __init__(self, encoder, width, vocab):
        super().__init__()
        self.encoder, self.width = encoder, width
        self.cell = nn.GRUCell(2 * width, width)
        self.embedding = nn.Embedding(vocab, width)
        self.out = nn.Linear(2 * width, vocab)

    def forward(self, source, valid, inputs):
        memory = self.encoder(source, valid)
        all_logits, all_weights = [], []
        for h, here, tokens in zip(memory, valid, inputs, strict=True):
            places = here.nonzero()[:, 0]
            h = h[places]
            state, context, rows = h.mean(0), torch.zeros_like(h[0]), []
            for token in tokens:
                state = self.cell(torch.cat([self.embedding(token), context])[None], state[None])[0]
                a = torch.softmax(h @ state / self.width**0.5, dim=0)
                context = a @ h
                rows.append(self.out(torch.cat([state, context])))
                all_weights.append(torch.zeros(source.shape[1], dtype=h.dtype).index_put((places,), a))
            all_logits.append(torch.stack(rows))
        weights = torch.stack(all_weights).reshape(*inputs.shape, source.shape[1])
        return torch.stack(all_logits), weights


@right("Seq2Seq", "batched products, and the output layer at the end")
class Batched(nn.Module):
    def __init__(self, encoder, width, vocab):
        super().__init__()
        self.encoder = encoder
        self.embedding = nn.Embedding(vocab, width)
        self.cell = nn.GRUCell(input_size=2 * width, hidden_size=width)
        self.out = nn.Linear(2 * width, vocab)

    def forward(self, source, valid, inputs):
        h = self.encoder(source, valid).masked_fill(~valid.unsqueeze(-1), 0.0)
        hT = h.transpose(1, 2)
        s = torch.div(h.sum(dim=1), valid.sum(dim=1).unsqueeze(1))
        c, found, weights = s * 0, [], []
        bias = torch.zeros(valid.shape, dtype=h.dtype).masked_fill(~valid, float("-inf"))
        for t in range(inputs.size(1)):
            s = self.cell(torch.hstack([self.embedding(inputs[:, t]), c]), s)
            a = F.softmax(torch.bmm(s[:, None], hT)[:, 0] * h.shape[2] ** -0.5 + bias, dim=-1)
            c = torch.bmm(a[:, None], h)[:, 0]
            found.append(torch.hstack([s, c]))
            weights.append(a)
        return self.out(torch.stack(found, dim=1)), torch.stack(weights, dim=1)


# ---------------------------------------------------------------------------------------------------- beam_search

wrong(
    "beam_search",
    "keeps the best token of each prefix only",
    fails=["test_what_greedy_misses", "test_beam_of_every_width"],
    edit={"kept = candidates[:width]": "kept = candidates[:1]"},
)
wrong(
    "beam_search",
    "stops at the first sequence that is finished",
    fails=["test_beam_of_every_width"],
    edit={"if not live:": "if finished or not live:"},
)
wrong(
    "beam_search",
    "stops when `width` sequences are finished",
    fails=["test_scores_by_length"],
    edit={"if not live:": "if len(finished) >= width or not live:"},
)
wrong(
    "beam_search",
    "keeps fewer candidates, the more sequences are finished",
    fails=["test_one_call_a_round"],
    edit={"kept = candidates[:width]": "kept = candidates[: width - len(finished)]"},
)
wrong(
    "beam_search",
    "forgets what is finished when the rounds are over",
    fails=["test_beam_of_every_width"],
    edit={"in finished + live]": "in (live or finished)]"},
)
wrong(
    "beam_search",
    "leaves out what has no end when the rounds are over",
    fails=["test_beam_of_every_width"],
    edit={"in finished + live]": "in finished]"},
)
wrong(
    "beam_search",
    "does not count the end in the length",
    fails=["test_scores_by_length"],
    edit={"len(tokens) ** alpha": "max(1, len(tokens) - (tokens[-1] == end)) ** alpha"},
)
wrong(
    "beam_search",
    "divides by the length where alpha is 0, too",
    fails=["test_beam_of_every_width"],
    edit={"len(tokens) ** alpha": "len(tokens) ** (alpha or 1)"},
)
wrong(
    "beam_search",
    "fills the places of finished sequences with others",
    fails=["test_one_call_a_round"],
    edit={
        "kept = candidates[:width]": (
            "kept, open_ = [], 0\n"
            "        for candidate in candidates:\n"
            "            if open_ < width:\n"
            "                kept.append(candidate)\n"
            "                open_ += candidate[1][-1] != end"
        )
    },
)
wrong(
    "beam_search",
    "asks for one prefix at a time",
    fails=["test_one_call_a_round"],
    edit={
        "log_probs([[start, *tokens] for _, tokens in live])": (
            "[log_probs([[start, *tokens]])[0] for _, tokens in live]"
        )
    },
)


@right("beam_search", "NumPy: all sums of a round in one array")
def beam_in_numpy(log_probs, start, end, width, most, alpha=0.0):
    prefixes, sums, done = [[start]], np.zeros(1), []
    for _ in range(most):
        table = np.asarray(log_probs([list(prefix) for prefix in prefixes])) + sums[:, None]
        order = sorted(
            ((i, j) for i in range(len(prefixes)) for j in range(table.shape[1]) if np.isfinite(table[i, j])),
            key=lambda ij: (-table[ij], prefixes[ij[0]][1:], ij[1]),
        )[:width]
        chosen = [(prefixes[i] + [j], table[i, j]) for i, j in order]
        done += [pair for pair in chosen if pair[0][-1] == end]
        chosen = [pair for pair in chosen if pair[0][-1] != end]
        prefixes, sums = [prefix for prefix, _ in chosen], np.array([total for _, total in chosen])
        if not prefixes:
            break
    done += list(zip(prefixes, sums, strict=True))
    best, best_score = [], -math.inf
    for prefix, total in done:
        score = float(total) / (len(prefix) - 1) ** alpha
        if score > best_score or (score == best_score and prefix[1:] < best):
            best, best_score = prefix[1:], score
    return best, best_score


@right("beam_search", "heapq, tuples as prefixes")
def beam_by_heap(log_probs, start, end, width, most, alpha=0.0):
    beams, closed, rounds = {(): 0.0}, {}, 0
    while beams and rounds < most:
        rounds += 1
        names = sorted(beams)
        rows = log_probs([[start, *list(name)] for name in names])
        options = []
        for name, row in zip(names, rows, strict=True):
            for token in range(len(row)):
                if row[token] != -np.inf:
                    options.append((-(beams[name] + float(row[token])), (*name, token)))
        beams = {}
        for minus, name in heapq.nsmallest(width, options):
            (closed if name[-1] == end else beams)[name] = -minus
    closed.update(beams)
    if not closed:
        return [], float("-inf")
    name = min(closed, key=lambda n: (-closed[n] / len(n) ** alpha, n))
    return list(name), closed[name] / len(name) ** alpha


# ----------------------------------------------------------------------------------------------------------- bleu

wrong(
    "bleu",
    "does not clip the counts",
    fails=["test_bleu_of_random_texts"],
    edit={"(have & want).total()": "sum(count for gram, count in have.items() if gram in want)"},
)
wrong(
    "bleu",
    "leaves the brevity penalty out",
    fails=["test_bleu_of_random_texts"],
    edit={"+ (1 - r / c if c < r else 0.0)": "+ 0 * (r + c)"},
)
wrong(
    "bleu",
    "rewards outputs that are longer than the references",
    fails=["test_bleu_of_random_texts"],
    edit={"(1 - r / c if c < r else 0.0)": "(1 - r / c)"},
)
wrong(
    "bleu",
    "looks at the longest runs of words only",
    fails=["test_bleu_of_random_texts"],
    edit={"for k in range(1, n + 1):": "for k in [n] * n:"},
)


@right("bleu", "products in place of logarithms")
def bleu_by_products(found, true, n=4):
    product = 1.0
    for k in range(1, n + 1):
        hits, count = 0, 0
        for ours, theirs in zip(found, true, strict=True):
            want = [tuple(theirs[i : i + k]) for i in range(len(theirs) - k + 1)]
            have = [tuple(ours[i : i + k]) for i in range(len(ours) - k + 1)]
            want = Counter(want)
            count += len(have)
            for gram in have:
                if want[gram] > 0:
                    want[gram] -= 1
                    hits += 1
        if not hits:
            return 0.0
        product *= hits / count
    c, r = sum(len(t) for t in found), sum(len(t) for t in true)
    return product ** (1 / n) * (math.exp(1 - r / c) if c < r else 1.0)


@right("bleu", "counts by hand, geometric mean by NumPy")
def bleu_in_numpy(found, true, n=4):
    shares = []
    for k in range(1, n + 1):
        hits = total = 0
        for i in range(len(found)):
            tables = []
            for words in (found[i], true[i]):
                table = {}
                for j in range(len(words) - k + 1):
                    key = "\x00".join(words[j : j + k])
                    table[key] = table.get(key, 0) + 1
                tables.append(table)
            hits += sum(min(count, tables[1].get(key, 0)) for key, count in tables[0].items())
            total += sum(tables[0].values())
        shares.append(hits / total if total else 0.0)
    if min(shares) == 0:
        return 0.0
    lengths = [sum(len(words) for words in part) for part in (found, true)]
    penalty = min(1.0, float(np.exp(1 - lengths[1] / lengths[0])))
    return float(np.exp(np.mean(np.log(shares)))) * penalty
