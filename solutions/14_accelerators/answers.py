"""Wrong and right answers that prove the hidden tests of module 14, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import math

import numpy as np

from autograder.answers import equivalent, right, wrong

equivalent(
    "systolic_matmul",
    diff="- for t in range(cycles):\n+ for t in range(0, cycles + 1):",
    reason="no cell works in the cycle after the last",
)
equivalent(
    "softmax_kernel",
    diff="- e = tl.exp(z - tl.max(z, axis=0))\n+ e = tl.exp(z - tl.max(z, axis=-1))",
    reason="z has one axis",
)
equivalent(
    "softmax_kernel",
    diff=(
        "- tl.store(out + row * out_stride + at, e / tl.sum(e, axis=0), mask=inside)\n"
        "+ tl.store(out + row * out_stride + at, e / (tl.sum(e, axis=0) + 1e-08), mask=inside)"
    ),
    reason="the sum is at least 1, and float32 has no number between 1 and 1 + 1e-7",
)
equivalent(
    "fused_layernorm",
    diff=(
        "- squares += ((x - x.mean()) ** 2).sum() + delta ** 2 * j * len(x) / seen\n"
        "+ squares += ((x - x.mean()) ** 2).sum() + delta ** 2 * j * len(x) / (seen + 1e-08)"
    ),
    reason="a relative change of 1e-8 of the variance, where results are promised to 1e-5",
)
equivalent(
    "int8_linear",
    diff=(
        "- x, rows = (xq.astype(np.float64), max(1, 2 ** 20 // k))\n"
        "+ x, rows = (xq.astype(np.float32), max(1, 2 ** 20 // k))"
    ),
    reason="float32 holds the codes of the inputs exactly, and the product with float64 is one in float64",
)
equivalent(
    "to_bfloat16",
    diff="~ to_bfloat16: what is returned is rounded to float32",
    reason="it is float32",
)
equivalent(
    "LossScaler",
    diff="~ LossScaler.unscale: what is returned is rounded to float32",
    reason="the arrays are float32",
)
equivalent(
    "clipped_step",
    diff="~ clipped_step: what is returned is rounded to float32",
    reason="the arrays are float32",
)
equivalent(
    "int8_linear",
    diff="~ int8_linear: what is returned is rounded to float32",
    reason="it is float32",
)

# ------------------------------------------------------------------------------------------------------- roofline

wrong(
    "roofline",
    "counts numbers in place of bytes, four bytes each",
    fails=["test_slower_clock_decides"],
    edit={
        "if flops * bandwidth >= peak * moved": "if 4 * flops * bandwidth >= peak * moved",
        "flops / moved * b": "4 * flops / moved * b",
    },
)
wrong(
    "roofline",
    "takes the faster of the two clocks",
    fails=["test_slower_clock_decides"],
    edit={">=": "<"},
)
wrong(
    "roofline",
    "calls the ridge itself memory",
    fails=["test_at_the_ridge"],
    edit={">=": ">"},
)
wrong(
    "roofline",
    "adds the two times, as if nothing could overlap",
    fails=["test_slower_clock_decides"],
    edit={
        "return float(peak),": "return flops / (flops / peak + moved / bandwidth),",
        "return flops / moved * bandwidth": "return flops / (flops / peak + moved / bandwidth)",
    },
)


@right("roofline", "two times, and the longer one")
def by_times(flops, moved, peak, bandwidth):
    arithmetic, movement = flops / peak, moved / bandwidth
    if movement > arithmetic * (1 + 1e-14):
        return flops / movement, "memory"
    return 1.0 * peak, "compute"


@right("roofline", "the minimum of two speeds")
def by_minimum(flops, moved, peak, bandwidth):
    slope = bandwidth * (flops / moved) if moved > 0 else math.inf
    return min(float(peak), slope), "compute" if slope >= peak else "memory"


# --------------------------------------------------------------------------------------------------- tiled_matmul

wrong(
    "tiled_matmul",
    "stores the tile of C at each step, without the sum of the steps before",
    fails=["test_product_with_ragged_edges"],
    edit={"block += load": "block = load"},
)
wrong(
    "tiled_matmul",
    "assumes that the tile divides k, and leaves out the rest",
    fails=["test_product_with_ragged_edges"],
    edit={"for p in range(0, k, tile):": "for p in range(0, k - k % tile or k, tile):"},
)
wrong(
    "tiled_matmul",
    "exchanges rows and columns of the blocks of B",
    fails=["test_product_with_ragged_edges"],
    edit={'load("B", p, j, depth, w)': 'load("B", j, p, w, depth).T'},
)


@wrong(
    "tiled_matmul",
    "reloads a block of B for each row of the block of A",
    fails=["test_words_that_are_loaded"],
)
def reloading(load, store, m, k, n, tile):
    for i in range(0, m, tile):
        for j in range(0, n, tile):
            w = min(tile, n - j)
            block = np.zeros((min(tile, m - i), w))
            for p in range(0, k, tile):
                depth = min(tile, k - p)
                rows = load("A", i, p, len(block), depth)
                for r in range(len(block)):
                    block[r] += rows[r] @ load("B", p, j, depth, w)
            store(i, j, block)


@wrong(
    "tiled_matmul",
    "keeps a whole row of blocks of A on the chip",
    fails=["test_words_that_are_loaded"],
)
def with_a_panel(load, store, m, k, n, tile):
    for i in range(0, m, tile):
        h = min(tile, m - i)
        panel = [load("A", i, p, h, min(tile, k - p)) for p in range(0, k, tile)]
        for j in range(0, n, tile):
            w = min(tile, n - j)
            store(i, j, sum(A @ load("B", q * tile, j, A.shape[1], w) for q, A in enumerate(panel)))


@wrong(
    "tiled_matmul",
    "loads both matrices whole, block by block, before it multiplies",
    fails=["test_words_that_are_loaded"],
)
def everything_first(load, store, m, k, n, tile):
    def whole(name, rows, columns):
        cuts = [[(i, min(tile, size - i)) for i in range(0, size, tile)] for size in (rows, columns)]
        return np.block([[load(name, i, j, h, w) for j, w in cuts[1]] for i, h in cuts[0]])

    C = whole("A", m, k) @ whole("B", k, n)
    for i in range(0, m, tile):
        for j in range(0, n, tile):
            store(i, j, C[i : i + tile, j : j + tile])


@right("tiled_matmul", "to and fro along k, where the last block is used again")
def serpentine(load, store, m, k, n, tile):
    starts = list(range(0, k, tile))
    kept, turn = {}, 1
    for i in range(0, m, tile):
        for j in range(0, n, tile):
            h, w = min(m, i + tile) - i, min(n, j + tile) - j
            total = None
            for p in starts[::turn]:
                d = min(k, p + tile) - p
                for name, place in (("A", (i, p, h, d)), ("B", (p, j, d, w))):
                    if kept.get(name, (None, None))[0] != place:
                        kept[name] = place, load(name, *place)
                part = kept["A"][1].dot(kept["B"][1])
                total = part if total is None else total + part
            store(i, j, total)
            turn = -turn


@right("tiled_matmul", "columns of tiles first, and counted tiles")
def columns_first(load, store, m, k, n, tile):
    def sides(size):
        return [(tile * q, min(tile, size - tile * q)) for q in range(math.ceil(size / tile))]

    for j, w in sides(n):
        for i, h in sides(m):
            acc = np.zeros([h, w])
            for p, d in sides(k):
                acc = acc + np.einsum("ab,bc->ac", load("A", i, p, h, d), load("B", p, j, d, w))
            store(i, j, acc)


# ------------------------------------------------------------------------------------------------ fused_layernorm


@wrong(
    "fused_layernorm",
    "takes the mean of squares minus the square of the mean",
    fails=["test_far_from_zero"],
)
def by_squares(load, store, rows, width, block, eps):
    for i in range(rows):
        total = squares = 0.0
        for j in range(0, width, block):
            x = load(i, j, min(block, width - j)).astype(np.float64)
            total, squares = total + x.sum(), squares + (x * x).sum()
        mean = total / width
        factor = 1 / np.sqrt(max(squares / width - mean * mean, 0) + eps)
        for j in range(0, width, block):
            store(i, j, ((load(i, j, min(block, width - j)) - mean) * factor).astype(np.float32))


wrong(
    "fused_layernorm",
    "adds the squares of the blocks, without what lies between their means",
    fails=["test_rows_are_normalised"],
    edit={" + delta**2 * j * len(x) / seen": ""},
)
wrong(
    "fused_layernorm",
    "rounds the mean to float32",
    fails=["test_far_from_zero"],
    edit={"(x - mean) * factor": "(x - np.float32(mean)) * factor"},
)
wrong(
    "fused_layernorm",
    "computes the statistics of a block in float32",
    fails=["test_far_from_zero"],
    edit={
        "x = load(i, j, min(block, width - j)).astype(np.float64)\n            delta": (
            "x = load(i, j, min(block, width - j))\n            delta"
        )
    },
)
wrong(
    "fused_layernorm",
    "divides by d - 1",
    fails=["test_rows_are_normalised"],
    edit={"squares / width + eps": "squares / max(width - 1, 1) + eps"},
)
wrong(
    "fused_layernorm",
    "adds eps to the root and not to the variance",
    fails=["test_rows_are_normalised"],
    edit={"1 / math.sqrt(squares / width + eps)": "1 / (math.sqrt(squares / width) + eps)"},
)
wrong(
    "fused_layernorm",
    "normalises each block by itself",
    fails=["test_rows_are_normalised"],
    edit={"store(i, j, ((x - mean) * factor)": "store(i, j, ((x - x.mean()) * factor)"},
)


@wrong(
    "fused_layernorm",
    "reads each number three times: for the mean, for the variance and for the result",
    fails=["test_each_number_moves_little"],
)
def by_three_passes(load, store, rows, width, block, eps):
    cuts = [(j, min(block, width - j)) for j in range(0, width, block)]
    for i in range(rows):
        mean = sum(float(load(i, j, h).astype(float).sum()) for j, h in cuts) / width
        squares = sum(float(((load(i, j, h) - np.float64(mean)) ** 2).sum()) for j, h in cuts)
        for j, h in cuts:
            y = (load(i, j, h) - np.float64(mean)) / math.sqrt(squares / width + eps)
            store(i, j, y.astype(np.float32))


@wrong(
    "fused_layernorm",
    "keeps the whole row on the chip",
    fails=["test_each_number_moves_little"],
)
def with_whole_rows(load, store, rows, width, block, eps):
    for i in range(rows):
        x = np.concatenate([load(i, j, min(block, width - j)) for j in range(0, width, block)]).astype(float)
        y = ((x - x.mean()) / np.sqrt(x.var() + eps)).astype(np.float32)
        for j in range(0, width, block):
            store(i, j, y[j : j + block])


@right("fused_layernorm", "sums of differences to the first number, and the last block used again")
def from_the_first_number(load, store, rows, width, block, eps):
    cuts = [(j, min(block, width - j)) for j in range(0, width, block)]
    for i in range(rows):
        first, total, squares = None, 0.0, 0.0
        for j, h in cuts:
            x = load(i, j, h)
            z = x.astype(np.float64)
            first = z[0] if first is None else first
            total += np.sum(z - first)
            squares += np.sum((z - first) ** 2)
        mean = total / width
        spread = np.sqrt(max(squares / width - mean**2, 0.0) + eps)
        for place, (j, h) in enumerate(reversed(cuts)):
            x = x if place == 0 else load(i, j, h)
            store(i, j, ((x.astype(np.float64) - first - mean) / spread).astype(np.float32))


@right("fused_layernorm", "Welford's update, number by number")
def by_welford(load, store, rows, width, block, eps):
    for i in range(rows):
        n, mean, M = 0, 0.0, 0.0
        for j in range(0, width, block):
            for v in load(i, j, min(block, width - j)).tolist():
                n += 1
                d = v - mean
                mean += d / n
                M += d * (v - mean)
        s = (M / n + eps) ** 0.5
        for j in range(0, width, block):
            values = [(v - mean) / s for v in load(i, j, min(block, width - j)).tolist()]
            store(i, j, np.array(values, dtype=np.float32))


# --------------------------------------------------------------------------------------------------- to_bfloat16

wrong(
    "to_bfloat16",
    "cuts off the lower half",
    fails=["test_nearest_bfloat16"],
    edit={"((bits >> 16) & 1) + np.uint32(0x7FFF)": "np.uint32(0)"},
)
wrong(
    "to_bfloat16",
    "rounds ties away from zero",
    fails=["test_ties_to_even"],
    edit={"((bits >> 16) & 1) + np.uint32(0x7FFF)": "np.uint32(0x8000)"},
)
wrong(
    "to_bfloat16",
    "rounds ties to the odd one",
    fails=["test_ties_to_even"],
    edit={"((bits >> 16) & 1) + np": "1 - ((bits >> 16) & 1) + np"},
)
wrong(
    "to_bfloat16",
    "lets NaN become something else",
    fails=["test_all_upper_halves"],
    edit={"    rounded[np.isnan(x)] = np.nan\n": ""},
)
wrong(
    "to_bfloat16",
    "goes up or down with even chances, whatever the distance",
    fails=["test_stochastic_is_unbiased"],
    edit={
        ".integers(0, 2**16, x.shape, dtype=np.uint32)": ".integers(0, 2, x.shape, dtype=np.uint32) * np.uint32(0xFFFF)"
    },
)
wrong(
    "to_bfloat16",
    "draws once for all numbers",
    fails=["test_stochastic_is_unbiased"],
    edit={".integers(0, 2**16, x.shape, dtype=np.uint32)": ".integers(0, 2**16, dtype=np.uint32)"},
)
wrong(
    "to_bfloat16",
    "rounds to float16's ten bits of fraction",
    fails=["test_nearest_bfloat16"],
    edit={
        "((bits >> 16) & 1) + np.uint32(0x7FFF)": "((bits >> 13) & 1) + np.uint32(0x0FFF)",
        "0xFFFF0000": "0xFFFFE000 if mode == 'nearest' else 0xFFFF0000",
    },
)


@wrong("to_bfloat16", "goes through the numbers one by one", fails=["test_millions_of_numbers"])
def one_by_one(x, mode="nearest", seed=0):
    if mode not in ("nearest", "stochastic"):
        raise ValueError(mode)
    draws = np.random.default_rng(seed).integers(0, 65536, x.size).tolist()
    out = np.empty(x.shape, np.float32)
    for at, draw in zip(np.ndindex(x.shape), draws, strict=True):
        bits = int(x[at].view(np.uint32))
        up = draw if mode == "stochastic" else 0x7FFF + (bits >> 16 & 1)
        out[at] = np.uint32((bits + up) & 0xFFFF0000).view(np.float32) if x[at] == x[at] else np.nan
    return out


@right("to_bfloat16", "the rest is compared with the middle, and integers of 64 bits")
def by_comparison(x, mode="nearest", seed=0):
    whole = np.array(x, np.float32, order="C").reshape(-1).view(np.int32).astype(np.int64) & 0xFFFFFFFF
    upper, rest = whole // 65536, whole % 65536
    if mode == "nearest":
        up = (rest > 32768) | ((rest == 32768) & (upper % 2 == 1))
    elif mode == "stochastic":
        up = np.random.default_rng([seed, 1]).random(rest.shape) * 65536 < rest
    else:
        raise ValueError("mode")
    out = ((upper + up) * 65536 % 2**32).astype(np.uint32).view(np.float32).reshape(np.shape(x)).copy()
    out[np.isnan(x)] = np.float32("nan")
    return out


@right("to_bfloat16", "by frexp: the fraction is rounded to 8 bits as a number")
def by_frexp(x, mode="nearest", seed=0):
    if mode != "nearest" and mode != "stochastic":
        raise ValueError("mode must be nearest or stochastic")
    z = np.asarray(x, np.float64)
    with np.errstate(all="ignore"):
        exponent = np.maximum(np.frexp(z)[1], -125)  # subnormal numbers share the exponent of the smallest normal one
        units = np.ldexp(z, 8 - exponent)
        if mode == "nearest":
            units = np.rint(units)
        else:
            low = np.floor(np.abs(units))
            up = np.random.default_rng(seed).random(np.shape(x)) < np.abs(units) - low
            units = np.copysign(low + up, z)
        return np.asarray(np.where(np.isfinite(z), np.ldexp(units, exponent - 8), z)).astype(np.float32)


# ---------------------------------------------------------------------------------------------------- LossScaler

wrong(
    "LossScaler",
    "divides in float16, where the quotient is lost",
    fails=["test_gradients_without_the_scale"],
    edit={"g.astype(np.float32) / np.float32(self.scale)": "(g / g.dtype.type(self.scale)).astype(np.float32)"},
)
wrong(
    "LossScaler",
    "multiplies by the scale",
    fails=["test_gradients_without_the_scale"],
    edit={"/ np.float32(self.scale)": "* np.float32(self.scale)"},
)
wrong(
    "LossScaler",
    "looks for nan alone, and takes a step on inf",
    fails=["test_what_is_not_finite"],
    edit={"bool(np.isfinite(g).all())": "not np.isnan(g).any()"},
)
wrong(
    "LossScaler",
    "does not restart the count after a bad step",
    fails=["test_scale_adapts"],
    edit={"self.scale *= self.backoff\n            self.good = 0": "self.scale *= self.backoff"},
)
wrong(
    "LossScaler",
    "does not restart the count after it has grown, and grows once only",
    fails=["test_scale_adapts"],
    edit={"self.scale *= self.growth\n            self.good = 0": "self.scale *= self.growth"},
)
wrong(
    "LossScaler",
    "grows one step late",
    fails=["test_scale_adapts"],
    edit={"if self.good == self.interval": "if self.good > self.interval"},
)
wrong(
    "LossScaler",
    "says ok if any array is finite",
    fails=["test_what_is_not_finite"],
    edit={"ok = all(": "ok = not grads or any("},
)


@right("LossScaler", "the state in one list, and a multiplication by the inverse in float64")
class WithInverse:
    def __init__(self, scale=65536.0, growth=2.0, backoff=0.5, interval=2000):
        self._all = [scale * 1.0, growth, backoff, interval, interval]

    @property
    def scale(self):
        return self._all[0]

    def unscale(self, grads):
        inverse, out, fine = 1.0 / self.scale, [], True
        for grad in grads:
            wide = np.asarray(grad).astype(np.float64) * inverse
            fine &= not bool(np.any(~np.isfinite(grad)))
            with np.errstate(over="ignore"):
                out.append(np.array(wide, dtype=np.float32))
        return out, fine

    def update(self, ok):
        scale, growth, backoff, interval, left = self._all
        if ok:
            left -= 1
            if left == 0:
                scale, left = scale * growth, interval
        else:
            scale, left = scale * backoff, interval
        self._all = [scale, growth, backoff, interval, left]


@right("LossScaler", "by the exponents of the sums of absolute values")
class WithSums:
    def __init__(self, scale: float = 65536.0, growth: float = 2.0, backoff: float = 0.5, interval: int = 2000):
        self.scale = float(scale)
        self.rules = growth, backoff, interval
        self.streak = []

    def unscale(self, grads):
        ok = True
        for g in grads:
            ok = ok and math.isfinite(float(np.abs(g.astype(np.float64)).sum()))
        return [np.divide(g, self.scale, dtype=np.float32, out=np.empty(g.shape, np.float32)) for g in grads], ok

    def update(self, ok):
        growth, backoff, interval = self.rules
        self.streak = [*self.streak, 1] if ok else []
        if not ok:
            self.scale = self.scale * backoff
        elif len(self.streak) == interval:
            self.scale, self.streak = self.scale * growth, []


# -------------------------------------------------------------------------------------------------- clipped_step

wrong(
    "clipped_step",
    "clips before it unscales",
    fails=["test_limit_is_for_the_true_gradient"],
    edit={
        "for g in true))": "for g in grads))",
    },
)
wrong(
    "clipped_step",
    "divides in float16, where a scale of 65,536 is infinity",
    fails=["test_gradients_in_float16"],
    edit={
        "g.astype(np.float32) / np.float32(scale)": "np.divide(g, g.dtype.type(min(scale, 1e30))).astype(np.float32)"
    },
)
wrong(
    "clipped_step",
    "clips each array by its own norm",
    fails=["test_clipped_to_the_limit"],
    edit={
        "    factor = np.float32(lr * (limit / norm if norm > limit else 1.0))\n": "",
        "t - factor * true[i]": "t - np.float32(lr * min(1, limit / (np.linalg.norm(true[i]) + 1e-30))) * true[i]",
    },
)
wrong(
    "clipped_step",
    "makes every step as long as the limit",
    fails=["test_limit_is_for_the_true_gradient"],
    edit={"limit / norm if norm > limit else 1.0": "limit / norm if norm > 0 else 1.0"},
)
wrong(
    "clipped_step",
    "takes the step also where a gradient is not finite",
    fails=["test_no_step_where_a_gradient_is_not_finite"],
    edit={"if not all(np.isfinite(g).all() for g in grads):": "if False:"},
)


@right("clipped_step", "one long vector of float64")
def by_one_vector(theta, grads, scale, limit, lr):
    g = np.concatenate([np.asarray(a, np.float64).ravel() for a in grads]) / scale
    if not np.isfinite(g).all():
        g = np.zeros(len(g))
    length = np.linalg.norm(g)
    if length > limit:
        g = g * limit / length
    out, start = [], 0
    for t in theta:
        out.append((t - lr * g[start : start + t.size].reshape(t.shape)).astype(np.float32))
        start += t.size
    return out


@right("clipped_step", "the limit is scaled, not the gradient")
def by_scaled_limit(theta, grads, scale, limit, lr):
    wide = [g.astype(np.float64) for g in grads]
    norm = math.hypot(*[float(np.linalg.norm(g)) for g in wide])
    if not math.isfinite(norm):
        return [np.array(t) for t in theta]
    rate = lr / scale * (1.0 if norm <= limit * scale else limit * scale / norm)
    return [np.float32(1) * (t - rate * g).astype(np.float32) for t, g in zip(theta, wide, strict=True)]


# ------------------------------------------------------------------------------------------------------ quantize

wrong(
    "quantize",
    "takes the largest w and not the largest |w|",
    fails=["test_one_scale_for_all"],
    edit={"np.abs(w).max(": "np.maximum(w, 1e-6 * np.abs(w)).max("},
)
wrong(
    "quantize",
    "divides by 2^(bits - 1)",
    fails=["test_one_scale_for_all"],
    edit={"(2 ** (bits - 1) - 1)": "2 ** (bits - 1)", "np.rint(w / scales)": "np.clip(np.rint(w / scales), -127, 127)"},
)
wrong(
    "quantize",
    "divides by 2^bits",
    fails=["test_one_scale_for_all"],
    edit={"(2 ** (bits - 1) - 1)": "2**bits", "np.rint(w / scales)": "np.clip(np.rint(w / scales), -127, 127)"},
)
wrong(
    "quantize",
    "takes the maximum along the axis of the channels, and not over the others",
    fails=["test_one_scale_for_each_channel"],
    edit={"i != axis % w.ndim": "i == axis % w.ndim"},
)
wrong(
    "quantize",
    "cuts the codes off in place of rounding",
    fails=["test_one_scale_for_all"],
    edit={"np.rint(w / scales)": "np.trunc(w / scales)"},
)
wrong(
    "quantize",
    "rounds ties away from zero",
    fails=["test_ties_go_to_even"],
    edit={"np.rint(w / scales)": "np.trunc(w / scales + np.copysign(0.5, w))"},
)
wrong(
    "quantize",
    "divides by zero where a channel is 0",
    fails=["test_zeros_and_outliers"],
    edit={"np.where(largest > 0, largest / (2 ** (bits - 1) - 1), 1)": "(largest / (2 ** (bits - 1) - 1))"},
)


@right("quantize", "channel by channel")
def by_channels(w, bits, axis=None):
    top = 2 ** (bits - 1) - 1
    rows = w.reshape(1, -1) if axis is None else np.moveaxis(w, axis, 0)
    codes, scales = np.zeros(rows.shape, np.int8), np.ones(len(rows), w.dtype)
    for c, row in enumerate(rows):
        if np.any(row != 0):
            scales[c] = max(np.max(row), -np.min(row)) / top
        codes[c] = np.round(row / scales[c])
    codes = codes.reshape(w.shape) if axis is None else np.ascontiguousarray(np.moveaxis(codes, 0, axis))
    return codes, scales


@right("quantize", "in float64 throughout, half a step added and taken away")
def in_double(w, bits, axis=None):
    z = np.array(w, np.float64)
    flat = z.reshape(1, -1) if axis is None else np.swapaxes(z, 0, axis).reshape(z.shape[axis], -1)
    s = np.linalg.norm(flat, np.inf, axis=1) / float(2 ** (bits - 1) - 1)
    s[s == 0] = 1.0
    shape = [1] * z.ndim
    if axis is not None:
        shape[axis] = -1
    v = z / s.reshape(shape)
    low = np.floor(v)
    up = (v - low > 0.5) | ((v - low == 0.5) & (low % 2 == 1))
    return (low + up).astype(np.int8), s.astype(w.dtype)


# --------------------------------------------------------------------------------------------------- int8_linear

wrong(
    "int8_linear",
    "adds in int8, where sums wrap around",
    fails=["test_products_of_codes"],
    edit={"x @ wq[j : j + rows].T.astype(np.float64)": "(xq @ wq[j : j + rows].T).astype(np.float64)"},
)
wrong(
    "int8_linear",
    "adds in int16",
    fails=["test_products_of_codes"],
    edit={
        "x @ wq[j : j + rows].T.astype(np.float64)": (
            "(xq.astype(np.int16) @ wq[j : j + rows].T.astype(np.int16)).astype(float)"
        )
    },
)
wrong(
    "int8_linear",
    "adds in float32, whose 24 bits do not hold the sum",
    fails=["test_sums_are_exact"],
    edit={
        "x @ wq[j : j + rows].T.astype(np.float64)": (
            "np.cumsum(xq.astype(np.float32)[:, None] * wq[None, j : j + rows], axis=2, dtype=np.float32)[:, :, -1]"
        )
    },
)
wrong(
    "int8_linear",
    "makes all weights float64 at once",
    fails=["test_weights_are_not_made_wide"],
    edit={"max(1, 2**20 // k)": "n"},
)
wrong(
    "int8_linear",
    "leaves out the scales of the inputs",
    fails=["test_products_of_codes"],
    edit={" * xs[:, None]": ""},
)
wrong(
    "int8_linear",
    "leaves out the scales of the weights",
    fails=["test_products_of_codes"],
    edit={" * ws[j : j + rows]": ""},
)


@wrong("int8_linear", "makes all weights int16 before the sums", fails=["test_weights_are_not_made_wide"])
def with_wide_weights(xq, xs, wq, ws):
    wide, x = wq.astype(np.int16), xq.astype(np.float64)
    sums = np.stack([x @ row.astype(np.float64) for row in wide], axis=1)
    return (sums * xs[:, None] * ws).astype(np.float32)


@right("int8_linear", "pieces of 1,000 columns in float32, whose sums are exact, added in int64")
def by_columns(xq, xs, wq, ws):
    total = np.zeros((len(xq), len(wq)), np.int64)
    for p in range(0, xq.shape[1], 1000):
        piece = np.s_[:, p : p + 1000]
        total += np.rint(xq[piece].astype(np.float32) @ wq[piece].astype(np.float32).T).astype(np.int64)
    return (xs.astype(np.float64)[:, None] * ws * total).astype(np.float32)


@right("int8_linear", "one output after the other, in int64")
def by_outputs(xq, xs, wq, ws):
    y = np.zeros((xq.shape[0], wq.shape[0]), dtype="float32")
    wide = xq.astype(np.int64)
    for j, row in enumerate(wq):
        y[:, j] = np.dot(wide, row.astype(np.int64)) * (xs.astype(float) * float(ws[j]))
    return y


# ----------------------------------------------------------------------------------------------------- pack_int4

wrong(
    "pack_int4",
    "puts the first code into the upper half",
    fails=["test_two_codes_in_a_byte"],
    edit={
        "packed = halves[:, ::2].copy()": "packed = halves[:, ::2] << 4",
        "|= halves[:, 1::2] << 4": "|= halves[:, 1::2]",
    },
)
wrong(
    "pack_int4",
    "lets the sign of the first code reach the upper half",
    fails=["test_two_codes_in_a_byte"],
    edit={"codes.view(np.uint8) & 15": "codes.astype(np.int8).view(np.uint8)"},
)
wrong(
    "pack_int4",
    "gives halves from 8 on as positive numbers",
    fails=["test_codes_come_back"],
    edit={"(halves ^ 8).astype(np.int8) - np.int8(8)": "halves.astype(np.int8)"},
)
wrong(
    "pack_int4",
    "gives the first halves first, and then the second ones",
    fails=["test_codes_come_back"],
    edit={
        "np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1)": (
            "np.concatenate([packed & 15, packed >> 4], axis=1)"
        )
    },
)


@right("pack_int4", "sums of halves, modulo 16")
def by_modulo(codes):
    n, k = codes.shape
    halves = np.zeros((n, k + k % 2), np.int64)
    halves[:, :k] = codes.astype(np.int64) % 16
    return (halves.reshape(n, -1, 2) * [1, 16]).sum(axis=2).astype(np.uint8)


@right("pack_int4", "a table of all bytes", replaces="unpack_int4")
def by_table(packed, k):
    both = [[(b % 16 + 8) % 16 - 8, (b // 16 + 8) % 16 - 8] for b in range(256)]
    return np.array(both, np.int8)[packed].reshape(packed.shape[0], 2 * packed.shape[1])[:, :k].copy()


# ----------------------------------------------------------------------------------------------- systolic_matmul

wrong(
    "systolic_matmul",
    "feeds a whole row of A in one cycle",
    fails=["test_numbers_come_from_next_door"],
    edit={"r = t - i - j": "r = t - j", "above[i - 1, j] if i": "below[i - 1, j] if i"},
)
wrong(
    "systolic_matmul",
    "lets a number of A reach all columns in one cycle",
    fails=["test_numbers_come_from_next_door"],
    edit={"r = t - i - j": "r = t - i"},
)
wrong(
    "systolic_matmul",
    "counts one cycle too many",
    fails=["test_product_of_the_grid"],
    edit={"return C, cycles": "return C, cycles + 1"},
)
wrong(
    "systolic_matmul",
    "counts cycles from 1",
    fails=["test_no_cell_works_twice_in_a_cycle"],
    edit={"mac(t, i, j": "mac(t + 1, i, j"},
)


@wrong(
    "systolic_matmul",
    "computes one entry of C after the other, each cell in a cycle of its own",
    fails=["test_product_of_the_grid"],
)
def entry_by_entry(A, W, mac):
    C, t = np.zeros((len(A), W.shape[1])), 0
    for r in range(C.shape[0]):
        for j in range(C.shape[1]):
            for i in range(len(W)):
                C[r, j] = mac(t, i, j, A[r, i], C[r, j])
                t += 1
    return C, t


wrong(
    "systolic_matmul",
    "adds up the products beside the grid, which hides the fault of a cell",
    fails=["test_result_is_what_the_cells_give"],
    edit={"C[r, j] = below[i, j]": "C[r, j] = sum(A[r, p] * W[p, j] for p in range(k))"},
)


@right("systolic_matmul", "registers that are shifted, from the bottom right")
def with_registers(A, W, mac):
    m, (k, n) = len(A), W.shape
    across = [[None] * n for _ in range(k)]
    down = [[0.0] * n for _ in range(k)]
    out, t, left = np.full((m, n), np.nan), 0, m * n
    while left:
        new = [[None] * n for _ in range(k)]
        for i in range(k - 1, -1, -1):
            for j in range(n - 1, -1, -1):
                new[i][j] = across[i][j - 1] if j else ((t - i, A[t - i, i]) if 0 <= t - i < m else None)
                if new[i][j] is not None:
                    r, a = new[i][j]
                    down[i][j] = mac(t, i, j, a, down[i - 1][j] if i > 0 else 0.0)
                    if i == k - 1:
                        out[r, j] = down[i][j]
                        left -= 1
        across = new
        t += 1
    return out, t


@right("systolic_matmul", "all products sorted by their cycle")
def by_schedule(A, W, mac):
    m, k = A.shape
    n = W.shape[1]
    work = sorted((r + i + j, i, j, r) for r in range(m) for i in range(k) for j in range(n))
    given = {}
    for t, i, j, r in work:
        given[r, i, j] = mac(t, i, j, float(A[r, i]), given[r, i - 1, j] if i > 0 else 0.0)
    C = np.array([[given[r, k - 1, j] for j in range(n)] for r in range(m)])
    return C, work[-1][0] + 1


# ------------------------------------------------------------------------------------------------ softmax_kernel

wrong(
    "softmax_kernel",
    "has zeros behind the end of the row",
    fails=["test_block_longer_than_the_row"],
    edit={'other=-float("inf")': "other=0.0"},
)
wrong(
    "softmax_kernel",
    "does not subtract the largest number",
    fails=["test_numbers_of_any_size"],
    edit={"tl.exp(z - tl.max(z, axis=0))": "tl.exp(z)"},
)
wrong(
    "softmax_kernel",
    "takes the length of a row for the distance between rows",
    fails=["test_rows_far_apart"],
    edit={"x + row * x_stride": "x + row * columns"},
)
wrong(
    "softmax_kernel",
    "leaves out the division by the sum",
    fails=["test_softmax_of_each_row"],
    edit={"e / tl.sum(e, axis=0)": "e"},
)
wrong(
    "softmax_kernel",
    "stores without the mask, behind the end of the row",
    fails=["test_rows_far_apart"],
    edit={"e / tl.sum(e, axis=0), mask=inside)": "e / tl.sum(e, axis=0))"},
)


@right("softmax_kernel", "zeros are loaded, and replaced before the maximum and before the sum")
@jit
def with_where(x, out, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    r = tl.program_id(axis=0)
    at = tl.arange(0, BLOCK)
    z = tl.load(x + (r * x_stride + at), mask=at < columns, other=0.0)
    z = tl.where(at < columns, z, float("-inf"))
    z -= tl.max(z, axis=0)
    e = tl.where(at < columns, tl.exp(z), 0.0)
    tl.store(out + (r * out_stride + at), e * (1.0 / tl.sum(e, axis=0)), mask=at < columns)


@right("softmax_kernel", "by the logarithm of the sum, with powers of two")
@jit
def with_logarithm(x, out, x_stride, out_stride, columns, BLOCK: tl.constexpr):
    start, end = x + tl.program_id(0) * x_stride, out + tl.program_id(0) * out_stride
    at = tl.arange(0, BLOCK)
    z = tl.load(start + at, mask=at < columns, other=-float("inf"))
    z = (z - tl.max(z, 0)) * 1.4426950408889634
    tl.store(end + at, tl.exp2(z - tl.log2(tl.sum(tl.exp2(z), 0))), mask=at < columns)
