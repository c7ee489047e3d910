"""Wrong and right answers that prove the hidden tests of module 12, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import math

import torch
import torch.nn.functional as F
from torch import nn

from autograder.answers import equivalent, right, wrong

equivalent(
    "causal_mask",
    diff="~ causal_mask: what is returned is rounded to float32",
    reason="a mask is True and False, which float32 holds",
)
equivalent(
    "masked_softmax",
    diff="~ masked_softmax: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "attention",
    diff="~ attention: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "attention",
    diff="~ attention: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "rotary",
    diff="~ rotary: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "rotary",
    diff="~ rotary: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "MultiHeadAttention",
    diff="~ MultiHeadAttention.forward: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "MultiHeadAttention",
    diff="~ MultiHeadAttention.forward: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "Block",
    diff="~ Block.__init__: RuntimeError is raised in place of ValueError",
    reason="it raises nothing itself: what does not fit is refused by its parts",
)
equivalent(
    "Block",
    diff="~ Block.forward: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "Block",
    diff="~ Block.forward: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "GPT",
    diff="~ GPT.forward: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "GPT",
    diff="~ GPT.forward: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "MultiHeadAttention",
    diff="~ MultiHeadAttention.forward: bools are refused (x.dtype == bool)",
    reason="no tensor has this dtype: theirs is torch.bool",
)
equivalent(
    "MultiHeadAttention",
    diff="~ MultiHeadAttention.forward: an array is read in the order of its memory",
    reason="this is done to NumPy's arrays only, and none comes",
)
equivalent(
    "MultiHeadAttention",
    diff=(
        "- positions = torch.arange(past, past + x.shape[1], device=x.device)\n"
        "+ positions = torch.arange(past, past + x.shape[1])"
    ),
    reason="the tests run where there is one device",
)
equivalent(
    "generate",
    diff="~ generate: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "generate",
    diff="~ generate: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "generate",
    diff="~ generate: an array is read in the order of its memory",
    reason="this is done to NumPy's arrays only, and none comes",
)
equivalent(
    "blockwise_attention",
    diff="~ blockwise_attention: block becomes min(x, 100)",
    reason="the size of a block changes rounding only, and a smaller one takes less memory",
)
equivalent(
    "blockwise_attention",
    diff="~ blockwise_attention: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "blockwise_attention",
    diff="~ blockwise_attention: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags, so nothing is refused",
)
equivalent(
    "blockwise_attention",
    diff="~ blockwise_attention: an array is read in the order of its memory",
    reason="this is done to NumPy's arrays only, and none comes",
)
equivalent(
    "generate",
    diff="- new = new.to(prompt.device)\n+ pass",
    reason="the tests run where there is one device",
)
equivalent(
    "blockwise_attention",
    diff=(
        "- total, out = (torch.zeros_like(top), q.new_zeros((*q.shape[:-1], v.shape[-1])))\n"
        "+ total, out = (torch.ones_like(top), q.new_zeros((*q.shape[:-1], v.shape[-1])))"
    ),
    reason="the first block multiplies the start by e^(-inf) = 0",
)
equivalent(
    "blockwise_attention",
    diff="- top = q.new_full((*q.shape[:-1], 1), -math.inf)\n+ top = q.new_full((*q.shape[:-1], 1), -1e+30)",
    reason="no score is below -1e30",
)
equivalent(
    "blockwise_attention",
    diff=(
        "- scores = scores.masked_fill(ahead.to(q.device), -math.inf)\n"
        "+ scores = scores.masked_fill(ahead.to(q.device), -1e+30)"
    ),
    reason="no score is below -1e30",
)
equivalent(
    "rotary",
    diff="~ rotary: whole numbers are returned as floats",
    reason="what comes back is never whole numbers",
)

# ---------------------------------------------------------------------------------------------------- causal_mask

wrong(
    "causal_mask",
    "puts the first query at the first key",
    fails=["test_mask_of_the_last_queries"],
    edit={".tril(S - T)": ".tril()"},
)
wrong(
    "causal_mask",
    "lets no position see itself",
    fails=["test_mask_of_the_last_queries"],
    edit={".tril(S - T)": ".tril(S - T - 1)"},
)
wrong(
    "causal_mask",
    "says True where a key is hidden",
    fails=["test_mask_of_the_last_queries"],
    edit={"return torch.ones": "return ~torch.ones"},
)
wrong(
    "causal_mask",
    "takes rows for keys",
    fails=["test_mask_of_the_last_queries"],
    edit={".tril(S - T)": ".tril(S - T).T"},
)
wrong(
    "causal_mask",
    "returns numbers",
    fails=["test_mask_of_the_last_queries"],
    edit={", dtype=torch.bool": ""},
)
wrong(
    "causal_mask",
    "takes more queries than positions",
    fails=["test_mask_refuses"],
    edit={"1 <= T <= S": "1 <= T"},
)


@right("causal_mask", "positions compared")
def mask_by_positions(T, S):
    if T > S or T < 1:
        raise ValueError("sizes")
    return torch.arange(S)[None, :] <= torch.arange(S - T, S)[:, None]


@right("causal_mask", "row by row")
def mask_by_rows(T, S):
    mask = torch.zeros((max(T, 1), max(S, 1)), dtype=torch.bool)
    if T <= 0 or S < T:
        raise ValueError("sizes")
    for t in range(T):
        mask[t, : S - T + t + 1] = True
    return mask


# ------------------------------------------------------------------------------------------------- masked_softmax

wrong(
    "masked_softmax",
    "masks after the softmax and divides by the sum of what is left",
    fails=["test_softmax_ignores_what_is_hidden"],
    edit={
        "scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)": "scores",
        "return weights.masked_fill(~allowed, 0)": (
            "weights = weights.masked_fill(~allowed, 0)\n"
            "    return weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-30)"
        ),
    },
)
wrong(
    "masked_softmax",
    "gives nan where nobody is allowed",
    fails=["test_softmax_of_nobody"],
    edit={"torch.finfo(scores.dtype).min": "-math.inf", "return weights.masked_fill(~allowed, 0)": "return weights"},
)
wrong(
    "masked_softmax",
    "gives equal weights where nobody is allowed",
    fails=["test_softmax_of_nobody"],
    edit={"return weights.masked_fill(~allowed, 0)": "return weights"},
)
wrong(
    "masked_softmax",
    "sets hidden scores to 0",
    fails=["test_softmax_over_the_allowed"],
    edit={"torch.finfo(scores.dtype).min": "0.0"},
)
wrong(
    "masked_softmax",
    "hides with a score of -1e9",
    fails=["test_softmax_ignores_what_is_hidden"],
    edit={"torch.finfo(scores.dtype).min": "-1e9"},
)


wrong(
    "masked_softmax",
    "adds 1e-9 to the divisor",
    fails=["test_softmax_of_every_kind"],
    edit={
        "weights = torch.softmax(scores.masked_fill(~allowed, torch.finfo(scores.dtype).min), dim=-1)": (
            "hidden = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)\n"
            "    weights = torch.exp(hidden - hidden.amax(dim=-1, keepdim=True)).masked_fill(~allowed, 0.0)\n"
            "    weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-9)"
        )
    },
)


@right("masked_softmax", "minus infinity, and zeros put in place of nan")
def softmax_by_infinity(scores, allowed):
    return torch.nan_to_num(torch.softmax(torch.where(allowed, scores, -torch.inf), dim=-1))


@right("masked_softmax", "exponentials over their sum")
def softmax_by_exponentials(scores, allowed):
    allowed = allowed.expand(scores.shape)
    hidden = scores.masked_fill(~allowed, -math.inf)
    top = hidden.detach().amax(dim=-1, keepdim=True)
    top = top.masked_fill(top == -math.inf, 0.0)
    powers = torch.exp(hidden - top)
    total = powers.sum(dim=-1, keepdim=True)
    return powers / torch.where(total == 0, torch.ones_like(total), total)


@right("masked_softmax", "row by row")
def softmax_by_rows(scores, allowed):
    flat, mask = scores.reshape(-1, scores.shape[-1]), allowed.expand(scores.shape).reshape(-1, scores.shape[-1])
    rows = []
    for row, seen in zip(flat, mask, strict=True):
        out = torch.zeros_like(row)
        if seen.any():
            out = out.masked_scatter(seen, torch.softmax(row[seen], dim=0))
        rows.append(out)
    return torch.stack(rows).reshape(scores.shape)


# ------------------------------------------------------------------------------------------------------ attention

wrong(
    "attention",
    "leaves the scale out",
    fails=["test_attention_is_torchs"],
    edit={" / math.sqrt(q.shape[-1])": ""},
)
wrong(
    "attention",
    "divides by d",
    fails=["test_attention_is_torchs"],
    edit={"math.sqrt(q.shape[-1])": "q.shape[-1]"},
)
wrong(
    "attention",
    "divides by the root of the width of the values",
    fails=["test_attention_is_torchs"],
    edit={"math.sqrt(q.shape[-1])": "math.sqrt(v.shape[-1])"},
)
wrong(
    "attention",
    "takes the softmax over the queries",
    fails=["test_attention_is_torchs"],
    edit={"torch.softmax(scores, dim=-1)": "torch.softmax(scores, dim=-2)"},
)
wrong(
    "attention",
    "hides what the mask allows",
    fails=["test_attention_with_masks"],
    edit={"masked_softmax(scores, mask)": "masked_softmax(scores, ~mask)"},
)
wrong(
    "attention",
    "masks after the softmax",
    fails=["test_attention_with_masks"],
    edit={"masked_softmax(scores, mask)": "torch.softmax(scores, dim=-1).masked_fill(~mask, 0.0)"},
)
wrong(
    "attention",
    "gives the mean of all values to a query that may see none",
    fails=["test_attention_with_masks"],
    edit={"masked_softmax(scores, mask)": "torch.softmax(scores.masked_fill(~mask, -1e30), dim=-1)"},
)
wrong(
    "attention",
    "gives nan to a query that may see no key",
    fails=["test_attention_with_masks"],
    edit={"masked_softmax(scores, mask)": "torch.softmax(scores.masked_fill(~mask, -math.inf), dim=-1)"},
)
wrong(
    "attention",
    "hides with a score of -1e9",
    fails=["test_attention_of_what_is_far"],
    edit={"masked_softmax(scores, mask) @ v": "(scores.masked_fill(~mask, -1e9).softmax(dim=-1) * mask) @ v"},
)
wrong(
    "attention",
    "takes a mask of numbers",
    fails=["test_attention_refuses"],
    edit={
        '    if mask.dtype != torch.bool:\n        raise ValueError(f"the mask is {mask.dtype}, not bool")\n': (
            "    mask = mask.bool()\n"
        )
    },
)


@right("attention", "einsum, and a softmax of its own")
def attention_by_einsum(q, k, v, mask=None):
    scores = torch.einsum("...td,...sd->...ts", q / q.shape[-1] ** 0.5, k)
    seen = torch.ones_like(scores, dtype=torch.bool)
    if mask is not None:
        if mask.dtype is not torch.bool:
            raise ValueError("a mask is bool")
        seen = seen & mask
    scores = torch.where(seen, scores, -math.inf)
    top = scores.detach().max(dim=-1, keepdim=True).values.clamp(min=-1e300 if q.dtype == torch.float64 else -1e38)
    powers = torch.exp(scores - top)
    return torch.einsum("...ts,...se->...te", powers / powers.sum(dim=-1, keepdim=True).clamp(min=1e-30), v)


@right("attention", "query by query")
def attention_by_queries(q, k, v, mask=None):
    if mask is not None:
        if mask.dtype != torch.bool:
            raise ValueError("a mask is bool")
        lead = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
        mask = mask.expand(*lead, q.shape[-2], k.shape[-2])
    rows = []
    for t in range(q.shape[-2]):
        scores = (q[..., t : t + 1, :] * k).sum(dim=-1) * q.shape[-1] ** -0.5  # (..., S)
        if mask is None:
            weights = scores.softmax(dim=-1)
        else:
            seen = mask[..., t, :]
            weights = scores.masked_fill(seen.logical_not(), torch.finfo(q.dtype).min).softmax(dim=-1) * seen
        rows.append((weights[..., None] * v).sum(dim=-2))
    return torch.stack(rows, dim=-2)


# --------------------------------------------------------------------------------------------------------- rotary

wrong(
    "rotary",
    "pairs each entry with the one d/2 further",
    fails=["test_rotary_turns_pairs"],
    edit={
        "x[..., 0::2], x[..., 1::2]": "x.chunk(2, dim=-1)",
        "torch.stack((cos": "torch.cat((cos",
        "return turned.flatten(-2)": "return turned",
    },
)
wrong(
    "rotary",
    "turns the other way",
    fails=["test_rotary_turns_pairs"],
    edit={"cos * even - sin * odd, sin * even + cos * odd": "cos * even + sin * odd, cos * odd - sin * even"},
)
wrong(
    "rotary",
    "computes the angles in float32",
    fails=["test_rotary_keeps_its_digits"],
    edit={"positions.cpu()[:, None] * speed": "(positions.cpu()[:, None] * speed).float()"},
)
wrong(
    "rotary",
    "takes i / d in place of 2 i / d",
    fails=["test_rotary_turns_pairs"],
    edit={"torch.arange(0, d, 2,": "torch.arange(d // 2,"},
)
wrong(
    "rotary",
    "turns all pairs at one speed",
    fails=["test_rotary_turns_pairs"],
    edit={"torch.arange(0, d, 2, dtype": "torch.zeros(d // 2, dtype"},
)
wrong(
    "rotary",
    "takes the number of the row for its position",
    fails=["test_rotary_keeps_distances", "test_rotary_of_every_kind"],
    edit={"positions.cpu()[:, None]": "torch.arange(T)[:, None]"},
)


@right("rotary", "complex numbers")
def rotary_by_complex(x, positions, base=10000.0):
    T, d = x.shape[-2:]
    if d % 2 == 1 or tuple(positions.shape) != (T,):
        raise ValueError("shapes")
    speed = torch.tensor([base ** (-2 * i / d) for i in range(d // 2)], dtype=torch.float64)
    turn = torch.polar(torch.ones(T, d // 2, dtype=torch.float64), torch.outer(positions.double(), speed))
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], d // 2, 2).double().contiguous())
    return torch.view_as_real(pairs * turn).reshape(x.shape).to(x.dtype)


@right("rotary", "pair by pair, into a new tensor")
def rotary_by_pairs(x, positions, base=10000.0):
    d = x.shape[-1]
    if d % 2 or positions.ndim != 1 or len(positions) != x.shape[-2]:
        raise ValueError("shapes")
    columns = []
    for i in range(0, d, 2):
        angles = positions.to(torch.float64) / base ** (i / d)
        c, s = torch.cos(angles).to(x.dtype), torch.sin(angles).to(x.dtype)
        columns += [c * x[..., i] - s * x[..., i + 1], s * x[..., i] + c * x[..., i + 1]]
    return torch.stack(columns, dim=-1)


# --------------------------------------------------------------------------------------------- MultiHeadAttention

wrong(
    "MultiHeadAttention",
    "cuts heads by a reshape that mixes positions and columns",
    fails=["test_heads_are_torchs"],
    edit={
        "part.unflatten(-1, (self.heads, -1)).transpose(1, 2)": (
            "part.reshape(len(part), self.heads, part.shape[1], part.shape[2] // self.heads)"
        )
    },
)
wrong(
    "MultiHeadAttention",
    "gives each head every so many-th column",
    fails=["test_heads_are_torchs"],
    edit={"(self.heads, -1)).transpose(1, 2)": "(-1, self.heads)).permute(0, 3, 1, 2)"},
)
wrong(
    "MultiHeadAttention",
    "counts positions from 0 behind a cache, too",
    fails=["test_heads_with_a_cache"],
    edit={"past = 0 if cache is None else cache[0].shape[2]": "past = 0"},
)
wrong(
    "MultiHeadAttention",
    "turns the keys of the cache again",
    fails=["test_heads_with_a_cache"],
    edit={
        "q, k = self.rotate(q, positions), self.rotate(k, positions)": "q = self.rotate(q, positions)",
        "        allowed = mask\n": (
            "        if memory is None and self.rotate is not None:\n"
            "            k = self.rotate(k, torch.arange(k.shape[2]))\n"
            "        allowed = mask\n"
        ),
    },
)
wrong(
    "MultiHeadAttention",
    "turns the values, too",
    fails=["test_heads_with_positions"],
    edit={
        "q, k = self.rotate(q, positions), self.rotate(k, positions)": (
            "q, k, v = (self.rotate(part, positions) for part in (q, k, v))"
        )
    },
)
wrong(
    "MultiHeadAttention",
    "turns queries and keys of a memory",
    fails=["test_heads_with_positions"],
    edit={
        "if memory is None and self.rotate is not None:": "if self.rotate is not None:",
        "self.rotate(k, positions)": "self.rotate(k, torch.arange(past, past + k.shape[2]))",
    },
)
wrong(
    "MultiHeadAttention",
    "forgets the mask where causal is True",
    fails=["test_heads_with_masks"],
    edit={"allowed if mask is None else allowed & mask": "allowed"},
)
wrong(
    "MultiHeadAttention",
    "puts the first query at the first key",
    fails=["test_heads_with_a_cache"],
    edit={"causal_mask(q.shape[2], k.shape[2])": "torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()"},
)
wrong(
    "MultiHeadAttention",
    "leaves the causal mask out where there is a cache",
    fails=["test_heads_with_a_cache"],
    edit={"if causal:": "if causal and cache is None:"},
)
wrong(
    "MultiHeadAttention",
    "puts the heads together by a reshape that mixes positions and columns",
    fails=["test_heads_are_torchs"],
    edit={"o.transpose(1, 2).flatten(2)": "o.reshape(x.shape)"},
)
wrong(
    "MultiHeadAttention",
    "returns the new keys and values only",
    fails=["test_heads_with_a_cache"],
    edit={"flatten(2)), (k, v)": "flatten(2)), (k[:, :, past:], v[:, :, past:])"},
)


@right("MultiHeadAttention", "einsum with the matrices, and a mask of positions")
class HeadsByEinsum(nn.Module):
    def __init__(self, d_model, heads, attend=attention, rotate=rotary):
        super().__init__()
        if d_model // heads * heads != d_model:
            raise ValueError("heads")
        for name in ("query", "key", "value", "out"):
            self.add_module(name, nn.Linear(d_model, d_model, bias=False))
        self.parts = heads, attend, rotate

    def forward(self, x, memory=None, mask=None, causal=False, cache=None):
        heads, attend, rotate = self.parts
        if cache is not None and memory is not None:
            raise ValueError("either")
        source = memory if memory is not None else x

        def cut(net, a):
            wide = net.weight.view(heads, -1, net.weight.shape[1])
            return torch.einsum("btc,hdc->bhtd", a, wide)

        q, k, v = cut(self.query, x), cut(self.key, source), cut(self.value, source)
        start = cache[0].size(2) if cache is not None else 0
        if memory is None and rotate:
            where = start + torch.arange(x.size(1))
            q, k = rotate(q, where), rotate(k, where)
        if cache is not None:
            k, v = (torch.cat([old, new], dim=-2) for old, new in zip(cache, (k, v), strict=True))
        if causal:
            ahead = torch.arange(k.size(2)) > torch.arange(start, start + x.size(1)).unsqueeze(1)
            mask = ~ahead if mask is None else mask.logical_and(~ahead)
        o = attend(q, k, v, mask)
        return self.out(torch.cat(o.unbind(dim=1), dim=-1)), (k, v)


@right("MultiHeadAttention", "head after head, put together")
class HeadsByLoop(nn.Module):
    def __init__(self, d_model, heads, attend=attention, rotate=rotary):
        super().__init__()
        if d_model % heads != 0:
            raise ValueError("heads")
        self.query, self.key = nn.Linear(d_model, d_model, False), nn.Linear(d_model, d_model, False)
        self.value, self.out = nn.Linear(d_model, d_model, False), nn.Linear(d_model, d_model, False)
        self.h, self.d, self.attend, self.rotate = heads, d_model // heads, attend, rotate

    def forward(self, x, memory=None, mask=None, causal=False, cache=None):
        if memory is not None and cache:
            raise ValueError("either")
        y = x if memory is None else memory
        B, T, D = x.shape
        P = cache[0].shape[2] if cache else 0
        found = [net(a).split(self.d, dim=2) for net, a in ((self.query, x), (self.key, y), (self.value, y))]
        q, k, v = (torch.stack(part, dim=1) for part in found)
        if memory is None and self.rotate is not None:
            positions = torch.tensor(range(P, P + T))
            q, k = self.rotate(q, positions), self.rotate(k, positions)
        if cache:
            k, v = torch.cat((cache[0], k), 2), torch.cat((cache[1], v), 2)
        allowed = None
        if causal or mask is not None:
            allowed = torch.ones(B, self.h, T, k.shape[2], dtype=torch.bool)
            for t in range(T if causal else 0):
                allowed[:, :, t, P + t + 1 :] = False
            if mask is not None:
                allowed = allowed & mask
        o = self.attend(q, k, v, allowed)
        return self.out(o.permute(0, 2, 1, 3).reshape(B, T, D)), (k, v)


# ---------------------------------------------------------------------------------------------------------- Block

wrong(
    "Block",
    "normalises after each sum",
    fails=["test_block_is_torchs"],
    edit={
        "self.attention(self.norm1(x), mask": "self.attention(x, mask",
        "x = x + found": "x = self.norm1(x + found)",
        "return x + self.mlp(self.norm2(x)), cache": "return self.norm2(x + self.mlp(x)), cache",
    },
)
wrong(
    "Block",
    "does not normalise before the attention",
    fails=["test_block_is_torchs"],
    edit={"self.attention(self.norm1(x), mask": "self.attention(x, mask"},
)
wrong(
    "Block",
    "leaves the first sum out",
    fails=["test_block_is_torchs"],
    edit={"x = x + found": "x = found"},
)
wrong(
    "Block",
    "adds to the normalised input",
    fails=["test_block_is_torchs"],
    edit={"x = x + found": "x = self.norm1(x) + found"},
)
wrong(
    "Block",
    "leaves the second sum out",
    fails=["test_block_is_torchs"],
    edit={"return x + self.mlp(": "return self.mlp("},
)
wrong(
    "Block",
    "uses one normalisation twice",
    fails=["test_block_is_torchs"],
    edit={"self.mlp(self.norm2(x))": "self.mlp(self.norm1(x))"},
)
wrong(
    "Block",
    "normalises the memory",
    fails=["test_block_with_a_memory"],
    edit={"memory=memory, mask": "memory=self.norm_cross(memory), mask"},
)
wrong(
    "Block",
    "hides the memory with the mask of the sequence",
    fails=["test_block_passes_on"],
    edit={"mask=memory_mask": "mask=None if mask is None else mask[:, :3]"},
)
wrong(
    "Block",
    "hides the memory with the mask of the sequence where it has none of its own",
    fails=["test_block_passes_on"],
    edit={"mask=memory_mask": "mask=mask if memory_mask is None else memory_mask"},
)
wrong(
    "Block",
    "computes the GELU by its tanh formula",
    fails=["test_block_is_torchs"],
    edit={"nn.GELU()": 'nn.GELU(approximate="tanh")'},
)
wrong(
    "Block",
    "forgets the cache",
    fails=["test_block_passes_on"],
    edit={"causal=causal, cache=cache": "causal=causal"},
)
wrong(
    "Block",
    "has a ReLU in place of the GELU",
    fails=["test_block_is_torchs"],
    edit={"nn.GELU()": "nn.ReLU()"},
)
wrong(
    "Block",
    "adds in place, to the caller's tensor",
    fails=["test_block_is_torchs"],
    edit={"x = x + found": "x += found"},
)


@right("Block", "all parts made first, sums as lists of terms")
class BlockOfTerms(nn.Module):
    def __init__(self, d_model, heads, cross=False, attention=MultiHeadAttention):
        super().__init__()
        for name, part in (("attention", lambda: attention(d_model, heads)), ("norm1", lambda: nn.LayerNorm(d_model))):
            setattr(self, name, part())
        if cross:
            self.cross, self.norm_cross = attention(d_model, heads), nn.LayerNorm(d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.mlp = nn.Sequential(
            nn.Linear(d_model, d_model * 4),
            nn.GELU(),
            nn.Linear(d_model * 4, d_model),
        )

    def forward(self, x, memory=None, mask=None, causal=False, cache=None, memory_mask=None):
        if hasattr(self, "cross") is (memory is None):
            raise ValueError("memory")
        terms = [x]
        found, new = self.attention(self.norm1(x), None, mask, causal, cache)
        terms.append(found)
        if memory is not None:
            terms.append(self.cross(self.norm_cross(terms[0] + terms[1]), memory, memory_mask)[0])
        y = sum(terms[1:], terms[0])
        return torch.add(y, self.mlp(self.norm2(y))), new


@right("Block", "the small network by hand")
class BlockByHand(nn.Module):
    def __init__(self, d_model, heads, cross=False, attention=MultiHeadAttention):
        super().__init__()
        self.norm1 = nn.LayerNorm(d_model)
        self.attention = attention(d_model, heads)
        self.cross = attention(d_model, heads) if cross else None
        self.norm_cross = nn.LayerNorm(d_model) if cross else None
        self.norm2 = nn.LayerNorm(d_model)
        self.mlp = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model))

    def forward(self, x, memory=None, mask=None, causal=False, cache=None, memory_mask=None):
        if (self.cross is None and memory is not None) or (self.cross is not None and memory is None):
            raise ValueError("memory")
        pair = self.attention(self.norm1(x), causal=causal, mask=mask, cache=cache)
        y = pair[0] + x
        if self.cross is not None:
            y = y + self.cross(self.norm_cross(y), memory=memory, mask=memory_mask)[0]
        hidden = F.gelu(F.linear(self.norm2(y), self.mlp[0].weight, self.mlp[0].bias))
        return y + hidden @ self.mlp[2].weight.T + self.mlp[2].bias, pair[1]


# ------------------------------------------------------------------------------------------------------------ GPT

wrong(
    "GPT",
    "leaves the last normalisation out",
    fails=["test_gpt_logits"],
    edit={"return self.norm(x) @": "return x @"},
)
wrong(
    "GPT",
    "keeps the start of nn.Embedding",
    fails=["test_gpt_at_the_start"],
    edit={"        nn.init.normal_(self.embedding.weight, std=0.02)\n": ""},
)
wrong(
    "GPT",
    "does not ask its blocks to be causal",
    fails=["test_gpt_with_caches"],
    edit={"block(x, causal=True, cache": "block(x, cache"},
)
wrong(
    "GPT",
    "gives all blocks the cache of the first",
    fails=["test_gpt_with_caches"],
    edit={"caches[i]": "caches[0]"},
)
wrong(
    "GPT",
    "uses one block in all places",
    fails=["test_gpt_logits"],
    edit={
        "nn.ModuleList(block(config.d_model, config.heads) for _ in range(config.layers))": (
            "nn.ModuleList([block(config.d_model, config.heads)] * config.layers)"
        )
    },
)
wrong(
    "GPT",
    "has output weights of its own",
    fails=["test_gpt_at_the_start"],
    edit={
        "        self.norm = nn.LayerNorm(config.d_model)\n": (
            "        self.norm = nn.LayerNorm(config.d_model)\n"
            "        self.head = nn.Linear(config.d_model, config.vocab, bias=False)\n"
        ),
        "@ self.embedding.weight.T": "@ self.head.weight.T",
    },
)
wrong(
    "GPT",
    "writes new caches into the list that it was given",
    fails=["test_gpt_with_caches"],
    edit={"self.embedding(tokens), []": "self.embedding(tokens), [] if caches is None else caches"},
)
wrong(
    "GPT",
    "multiplies the embedding by the root of its width",
    fails=["test_gpt_logits"],
    edit={"x, new = self.embedding(tokens)": "x, new = self.embedding(tokens) * self.embedding.embedding_dim**0.5"},
)


@right("GPT", "lookup by index, a list made by a comprehension")
class GPTByIndex(nn.Module):
    def __init__(self, config, block=Block):
        super().__init__()
        self.embedding = nn.Embedding(config.vocab, config.d_model)
        with torch.no_grad():
            self.embedding.weight.normal_(0.0, 0.02)
        self.blocks = nn.ModuleList([block(config.d_model, config.heads) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.d_model)

    def forward(self, tokens, caches=None):
        given = iter([None] * len(self.blocks) if caches is None else caches)
        x, new = self.embedding.weight[tokens], [None] * len(self.blocks)
        for i, part in enumerate(self.blocks):
            x, new[i] = part(x, None, None, True, next(given))
        return torch.einsum("btd,vd->btv", self.norm(x), self.embedding.weight), new


@right("GPT", "F.embedding and F.linear")
class GPTByFunctions(nn.Module):
    def __init__(self, config, block=Block):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(0.02 * torch.randn(config.vocab, config.d_model), freeze=False)
        self.norm = nn.LayerNorm(config.d_model)
        self.blocks = nn.ModuleList()
        for _ in range(config.layers):
            self.blocks.append(block(config.d_model, config.heads))

    def forward(self, tokens, caches=None):
        x, after = F.embedding(tokens, self.embedding.weight), []
        for part, cache in zip(self.blocks, caches or [None] * len(self.blocks), strict=True):
            x, kept = part(x, cache=cache, causal=True)
            after = [*after, kept]
        return F.linear(self.norm(x), self.embedding.weight), after


# ------------------------------------------------------------------------------------------------------- generate

wrong(
    "generate",
    "gives the whole text to the model at each step",
    fails=["test_generate_gives_each_token_once"],
    edit={"model(new, caches)": "model(torch.cat(chosen, dim=1), None)"},
)
wrong(
    "generate",
    "gives the whole text and the cache at each step",
    fails=["test_generate_gives_each_token_once"],
    edit={"model(new, caches)": "model(torch.cat(chosen, dim=1), caches)"},
)
wrong(
    "generate",
    "gives the prompt token by token",
    fails=["test_generate_gives_each_token_once"],
    edit={
        "    with torch.no_grad():\n": (
            "    with torch.no_grad():\n"
            "        for t in range(prompt.shape[1] - 1):\n"
            "            caches = model(prompt[:, t : t + 1], caches)[1]\n"
            "        new = prompt[:, -1:]\n"
        )
    },
)
wrong(
    "generate",
    "multiplies the logits by the temperature",
    fails=["test_generate_draws"],
    edit={"last / temperature": "last * temperature"},
)
wrong(
    "generate",
    "begins with the same draw in each step",
    fails=["test_generate_draws"],
    edit={"1, generator=generator)": "1, generator=torch.Generator().manual_seed(seed))"},
)
wrong(
    "generate",
    "makes one draw for all rows",
    fails=["test_generate_draws"],
    edit={
        "new = torch.multinomial(torch.softmax(last / temperature, dim=-1), 1, generator=generator)": (
            "sums = torch.softmax(last / temperature, dim=-1).cumsum(dim=-1)[:, :-1]\n"
            "                below = sums < torch.rand(1, generator=generator)\n"
            "                new = below.sum(dim=-1, keepdim=True)"
        )
    },
)
wrong(
    "generate",
    "draws from torch's global generator",
    fails=["test_generate_leaves_no_trace"],
    edit={"generator = torch.Generator().manual_seed(seed)": "generator = torch.manual_seed(seed)"},
)
wrong(
    "generate",
    "draws from torch's global generator, and puts it back",
    fails=["test_generate_leaves_no_trace"],
    edit={
        "generator = torch.Generator().manual_seed(seed)": (
            "state, generator = torch.get_rng_state(), torch.manual_seed(seed)"
        ),
        "return torch.cat(chosen, dim=1)": "torch.set_rng_state(state)\n    return torch.cat(chosen, dim=1)",
    },
)
wrong(
    "generate",
    "makes a generator for each step, with the next seed",
    fails=["test_generate_with_seeds"],
    edit={"1, generator=generator)": "1, generator=generator.manual_seed(seed + len(chosen) - 1))"},
)
wrong(
    "generate",
    "takes exponentials of large numbers",
    fails=["test_generate_of_every_size"],
    edit={"torch.softmax(last / temperature, dim=-1)": "torch.exp(last / temperature)"},
)
wrong(
    "generate",
    "records gradients",
    fails=["test_generate_leaves_no_trace"],
    edit={"with torch.no_grad():": "with torch.enable_grad():"},
)


@right("generate", "the inverse of the cumulated probabilities, into a prepared tensor")
def generate_by_inverse(model, prompt, steps, temperature=1.0, seed=0):
    B, P = prompt.shape
    if P < 1 or steps < 0 or temperature < 0:
        raise ValueError("arguments")
    chance = torch.Generator()
    chance.manual_seed(seed)
    text = torch.empty(B, P + steps, dtype=torch.int64)
    text[:, :P] = prompt
    seen, caches = 0, None
    for end in range(P, P + steps):
        with torch.no_grad():  # not as a decorator: those of an answer are not read
            logits, caches = model(text[:, seen:end], caches)
        last = logits[:, -1, :].double()
        if temperature == 0:
            text[:, end] = (last == last.amax(dim=-1, keepdim=True)).int().argmax(dim=-1)
        else:
            below = torch.softmax(last / temperature, dim=-1).cumsum(dim=-1)
            u = torch.rand(B, 1, generator=chance, dtype=torch.float64) * below[:, -1:]
            text[:, end] = torch.searchsorted(below, u, right=True).squeeze(1).clamp(max=last.shape[1] - 1)
        seen = end
    return text


@right("generate", "the largest of logits with Gumbel noise, row by row")
def generate_by_gumbel(model, prompt, steps, temperature=1.0, seed=0):
    if prompt.shape[-1] == 0 or min(steps, temperature) < 0:
        raise ValueError("arguments")
    generator, rows = torch.Generator().manual_seed(seed), prompt.tolist()
    tokens, caches = prompt, None
    for _ in range(steps):
        with torch.no_grad():
            logits, caches = model(tokens, caches)
        chosen = []
        for row, scores in zip(rows, logits[:, -1].double(), strict=True):
            if temperature > 0:
                noise = -torch.log(-torch.log(torch.rand(len(scores), generator=generator, dtype=torch.float64)))
                scores = scores / temperature + noise
            row.append(int(scores.argmax()))
            chosen.append([row[-1]])
        tokens = torch.tensor(chosen)
    return torch.tensor(rows)


# -------------------------------------------------------------------------------------------- blockwise_attention

wrong(
    "blockwise_attention",
    "does not shrink the old sums when a larger score comes",
    fails=["test_blockwise_is_dense"],
    edit={"torch.exp(top - new)": "torch.ones_like(new)"},
)
wrong(
    "blockwise_attention",
    "shrinks the sum of the weights only",
    fails=["test_blockwise_is_dense"],
    edit={"out = shrink * out": "out = out"},
)
wrong(
    "blockwise_attention",
    "subtracts no maximum",
    fails=["test_blockwise_of_large_scores"],
    edit={"scores.amax(dim=-1, keepdim=True).maximum(top)": "torch.zeros_like(top)"},
)
wrong(
    "blockwise_attention",
    "begins with a maximum of 0",
    fails=["test_blockwise_of_large_scores"],
    edit={"q.new_full((*q.shape[:-1], 1), -math.inf)": "q.new_zeros((*q.shape[:-1], 1))"},
)
wrong(
    "blockwise_attention",
    "leaves a last, shorter block out",
    fails=["test_blockwise_is_dense"],
    edit={"range(0, S, block)": "range(0, max(block, S // block * block), block)"},
)
wrong(
    "blockwise_attention",
    "puts the first query at the first key",
    fails=["test_blockwise_causal"],
    edit={"> torch.arange(S - T, S)": "> torch.arange(T)"},
)


@wrong(
    "blockwise_attention",
    "takes the mean of the outputs of the blocks",
    fails=["test_blockwise_is_dense"],
)
def mean_of_blocks(q, k, v, causal=False, block=128):
    T, S = q.shape[-2], k.shape[-2]
    if causal and T > S:
        raise ValueError("sizes")
    outs = []
    for start in range(0, S, block):
        seen = None
        if causal:
            seen = torch.arange(start, min(start + block, S)) <= torch.arange(S - T, S)[:, None]
        outs.append(attention(q, k[..., start : start + block, :], v[..., start : start + block, :], seen))
    return sum(outs) / len(outs)


@wrong(
    "blockwise_attention",
    "computes all scores at once",
    fails=["test_blockwise_in_linear_memory", "test_blockwise_over_many_keys"],
)
def all_at_once(q, k, v, causal=False, block=128):
    return attention(q, k, v, causal_mask(q.shape[-2], k.shape[-2]) if causal else None)


@wrong(
    "blockwise_attention",
    "cuts the queries into blocks, and gives each of them all keys",
    fails=["test_blockwise_over_many_keys"],
)
def blocks_of_queries(q, k, v, causal=False, block=128):
    T, S = q.shape[-2], k.shape[-2]
    if causal and T > S:
        raise ValueError("sizes")
    outs = []
    for start in range(0, T, block):
        rows = q[..., start : start + block, :]
        end = S - T + start + rows.shape[-2] if causal else S
        seen = causal_mask(rows.shape[-2], end) if causal else None
        outs.append(attention(rows, k[..., :end, :], v[..., :end, :], seen))
    return torch.cat(outs, dim=-2)


@wrong(
    "blockwise_attention",
    "goes from query to query, and gives each of them all keys",
    fails=["test_blockwise_query_by_query"],
)
def query_by_query(q, k, v, causal=False, block=128):
    T, S = q.shape[-2], k.shape[-2]
    if causal and T > S:
        raise ValueError("sizes")
    rows, ends = range(T), [S - T + t + 1 if causal else S for t in range(T)]
    return torch.cat(
        [attention(q[..., t : t + 1, :], k[..., :e, :], v[..., :e, :]) for t, e in zip(rows, ends, strict=True)], -2
    )


@right("blockwise_attention", "blocks of queries and of keys")
def by_tiles(q, k, v, causal=False, block=128):
    T, S = q.shape[-2], k.shape[-2]
    if causal and S < T:
        raise ValueError("sizes")
    out, scale = torch.empty(*q.shape[:-1], v.shape[-1], dtype=q.dtype), q.shape[-1] ** -0.5
    for i in range(0, T, block):
        rows = q[..., i : i + block, :] * scale
        n = rows.shape[-2]
        where = torch.arange(S - T + i, S - T + i + n)[:, None]
        top = torch.full((*rows.shape[:-1], 1), -torch.inf, dtype=q.dtype)
        total, found = 0.0, 0.0
        for j in range(0, S, block):
            if causal and j > S - T + i + n - 1:
                break
            a = torch.einsum("...td,...sd->...ts", rows, k[..., j : j + block, :])
            if causal:
                a = torch.where(torch.arange(j, j + a.shape[-1]) <= where, a, -torch.inf)
            new = torch.maximum(top, a.max(dim=-1, keepdim=True).values)
            w, shrink = (a - new).exp(), (top - new).exp()
            total = total * shrink + w.sum(dim=-1, keepdim=True)
            found = found * shrink + w @ v[..., j : j + block, :]
            top = new
        out[..., i : i + n, :] = found / total
    return out


@right("blockwise_attention", "the logarithm of the sum, and outputs that are mixed")
def by_logarithms(q, k, v, causal=False, block=128):
    T, S = q.size(-2), k.size(-2)
    if causal and T > S:
        raise ValueError("sizes")
    scale, out, log_total, first = math.sqrt(q.size(-1)), None, None, 0
    positions = torch.arange(S - T, S)
    for keys, values in zip(k.split(block, dim=-2), v.split(block, dim=-2), strict=True):
        a = q @ keys.transpose(-1, -2) / scale
        if causal:
            s = torch.arange(first, first + keys.size(-2))
            a = a.masked_fill(s[None] > positions[:, None], torch.finfo(q.dtype).min)
        first += keys.size(-2)
        log_sum = torch.logsumexp(a, dim=-1, keepdim=True)
        mean = torch.exp(a - log_sum) @ values
        if out is None:
            out, log_total = mean, log_sum
        else:
            both = torch.logaddexp(log_total, log_sum)
            out = torch.exp(log_total - both) * out + torch.exp(log_sum - both) * mean
            log_total = both
    return out
