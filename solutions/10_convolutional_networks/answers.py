"""Wrong and right answers that prove the hidden tests of module 10, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821, E501

import itertools
import math
import os
import pickle
from collections import Counter

import numpy as np
import torch
from torch import nn

from autograder.answers import equivalent, right, wrong

equivalent(
    "ResidualBlock",
    diff="~ ResidualBlock.forward: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags",
)
equivalent(
    "ResidualBlock",
    diff="~ ResidualBlock.forward: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags",
)
equivalent(
    "ConvNet",
    diff="~ ConvNet.forward: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags",
)
equivalent(
    "ConvNet",
    diff="~ ConvNet.forward: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags",
)
equivalent(
    "BatchNorm2d",
    diff="~ BatchNorm2d.forward: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags",
)
equivalent(
    "BatchNorm2d",
    diff="~ BatchNorm2d.forward: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags",
)
equivalent(
    "evaluate",
    diff="~ evaluate: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags",
)
equivalent(
    "evaluate",
    diff="~ evaluate: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags",
)
equivalent(
    "train",
    diff="~ train: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags",
)
equivalent(
    "train",
    diff="~ train: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags",
)
equivalent(
    "temporal_conv",
    diff="~ temporal_conv: a view is refused (hasattr(x, 'flags') and not x.flags.c_contiguous)",
    reason="a tensor has no flags",
)
equivalent(
    "temporal_conv",
    diff="~ temporal_conv: a read-only array is refused (hasattr(x, 'flags') and not x.flags.writeable)",
    reason="a tensor has no flags",
)
equivalent(
    "BatchNorm2d",
    diff="~ BatchNorm2d.__init__: RuntimeError is raised in place of ValueError",
    reason="only forward raises a ValueError",
)
equivalent(
    "ConvNet",
    diff="~ ConvNet.forward: RuntimeError is raised in place of ValueError",
    reason="only __init__ raises a ValueError",
)

# ---------------------------------------------------------------------------------------------------- count_costs

wrong(
    "count_costs",
    "gives a filter of a grouped convolution all channels",
    fails=["test_costs_of_residuals_and_groups", "test_costs_of_any_stack"],
    edit={"(shape[0] // groups)": "shape[0]"},
)
wrong(
    "count_costs",
    "counts a bias for each place",
    fails=["test_costs_of_single_layers"],
    edit={'out * layer["bias"]\n            multiply': 'out * layer["bias"] * height * width\n            multiply'},
)
wrong(
    "count_costs",
    "counts multiplications and additions apart",
    fails=["test_costs_of_single_layers"],
    edit={
        "weights * height * width": "2 * weights * height * width",
        '+= layer["out"] * shape[0]': '+= 2 * layer["out"] * shape[0]',
    },
)
wrong(
    "count_costs",
    "rounds sizes up",
    fails=["test_costs_of_single_layers"],
    edit={"(side + 2 * padding - kernel) // stride": "-(-(side + 2 * padding - kernel) // stride)"},
)
wrong(
    "count_costs",
    "counts the outputs of flatten as new activations",
    fails=["test_costs_of_single_layers"],
    edit={"            continue\n": ""},
)
wrong(
    "count_costs",
    "forgets the sum of a residual",
    fails=["test_costs_of_residuals_and_groups"],
    edit={'            shape = body["shape"]\n': '            shape = body["shape"]\n            continue\n'},
)
wrong(
    "count_costs",
    "divides with floats and rounds towards zero",
    fails=["test_costs_of_what_no_machine_can_hold", "test_costs_refuse"],
    edit={"(side + 2 * padding - kernel) // stride": "int((side + 2 * padding - kernel) / stride)"},
)


wrong(
    "count_costs",
    "divides the channels by the groups with floats",
    fails=["test_costs_of_what_no_machine_can_hold"],
    edit={"out * (shape[0] // groups) * kernel**2": "int(out * (shape[0] / groups) * kernel**2)"},
)


@right("count_costs", "a table of functions, one for each kind")
def costs_by_table(layers, shape):
    def window(layer, shape):
        if len(shape) != 3:
            raise ValueError(shape)
        k, s, p = layer["kernel"], layer["stride"], layer["padding"]
        sides = [divmod(side + 2 * p - k, s)[0] + 1 for side in shape[1:]]
        if sides[0] <= 0 or sides[1] <= 0:
            raise ValueError(sides)
        return sides

    def of_conv(layer, shape):
        sides = window(layer, shape)
        if shape[0] % layer["groups"] != 0 or layer["out"] % layer["groups"] != 0:
            raise ValueError(layer)
        each = shape[0] // layer["groups"] * layer["kernel"] * layer["kernel"]
        new = (layer["out"], sides[0], sides[1])
        return layer["out"] * (each + int(layer["bias"])), each * math.prod(new), math.prod(new), new

    def of_linear(layer, shape):
        (n,) = shape
        return layer["out"] * n + layer["out"] * int(layer["bias"]), layer["out"] * n, layer["out"], (layer["out"],)

    def of_pool(layer, shape):
        new = (shape[0], *window(layer, shape))
        return 0, 0, math.prod(new), new

    def of_average(layer, shape):
        c, _, _ = shape
        return 0, 0, c, (c, 1, 1)

    def of_residual(layer, shape):
        sides = [walk(layer["body"], shape), walk(layer["shortcut"], shape)]
        if sides[0][3] != sides[1][3]:
            raise ValueError("sides")
        added = [a + b for a, b in zip(sides[0][:3], sides[1][:3], strict=True)]
        return added[0], added[1], added[2] + math.prod(sides[0][3]), sides[0][3]

    table = {"conv": of_conv, "linear": of_linear, "pool": of_pool, "average": of_average, "residual": of_residual}
    table["relu"] = lambda layer, shape: (0, 0, math.prod(shape), shape)
    table["norm"] = lambda layer, shape: (2 * shape[0], 0, math.prod(shape), shape)
    table["flatten"] = lambda layer, shape: (0, 0, 0, (math.prod(shape),))

    def walk(layers, shape):
        total = [0, 0, 0]
        for layer in layers:
            if layer["kind"] not in table:
                raise ValueError(layer["kind"])
            *costs, shape = table[layer["kind"]](layer, shape)
            total = [a + b for a, b in zip(total, costs, strict=True)]
        return (*total, shape)

    *total, out = walk(layers, tuple(shape))
    return {"shape": out, **dict(zip(("parameters", "multiply_adds", "activations"), total, strict=True))}


@right("count_costs", "a Counter, and a stack of layers that wait")
def costs_by_counter(layers, shape):
    found = Counter(parameters=0, multiply_adds=0, activations=0)
    for layer in layers:
        kind, before = layer["kind"], shape
        if kind == "residual":
            one, other = count_costs(layer["body"], shape), count_costs(layer["shortcut"], shape)
            shape = one.pop("shape")
            if other.pop("shape") != shape:
                raise ValueError("shapes")
            found.update(one)
            found.update(other)
        elif kind in ("conv", "pool", "average"):
            if len(shape) < 3:
                raise ValueError("images are needed")
            if kind == "average":
                shape = (shape[0], 1, 1)
            else:
                shape = tuple(
                    max(0, (side + 2 * layer["padding"] - layer["kernel"] + layer["stride"]) // layer["stride"])
                    for side in shape[1:]
                )
                shape = (layer.get("out", before[0]), *shape)
                if 0 in shape:
                    raise ValueError("too small")
            if kind == "conv":
                if any(c % layer["groups"] for c in (before[0], layer["out"])):
                    raise ValueError("groups")
                filters = before[0] * layer["out"] * layer["kernel"] ** 2 // layer["groups"]
                found["parameters"] += filters + (layer["out"] if layer["bias"] else 0)
                found["multiply_adds"] += filters * shape[1] * shape[2]
        elif kind == "linear":
            if len(shape) > 1:
                raise ValueError("flatten first")
            found["multiply_adds"] += shape[0] * layer["out"]
            found["parameters"] += (shape[0] + (1 if layer["bias"] else 0)) * layer["out"]
            shape = (layer["out"],)
        elif kind == "norm":
            found["parameters"] += shape[0] + shape[0]
        elif kind == "flatten":
            shape = (math.prod(shape),)
            found["activations"] -= shape[0]
        elif kind != "relu":
            raise ValueError(kind)
        found["activations"] += math.prod(shape)
    return {**found, "shape": shape}


# ---------------------------------------------------------------------------------------------------- BatchNorm2d

wrong(
    "BatchNorm2d",
    "puts the biased variance into the running one",
    fails=["test_norm_remembers"],
    edit={"var * n / (n - 1)": "var"},
)
wrong(
    "BatchNorm2d",
    "normalises with the unbiased variance",
    fails=["test_norm_in_train_mode"],
    edit={
        "((wide - mean[:, None, None]) ** 2).mean(dim=(0, 2, 3))": "((wide - mean[:, None, None]) ** 2).sum(dim=(0, 2, 3)) / (n - 1)",
        "(var * n / (n - 1) - self": "(var - self",
    },
)
wrong(
    "BatchNorm2d",
    "divides by the variance and not by its root",
    fails=["test_norm_in_train_mode"],
    edit={"torch.sqrt(var + self.eps)": "(var + self.eps)"},
)
wrong(
    "BatchNorm2d",
    "takes momentum for the share of the old value",
    fails=["test_norm_remembers"],
    edit={"self.eps, self.momentum = eps, momentum": "self.eps, self.momentum = eps, 1 - momentum"},
)
wrong(
    "BatchNorm2d",
    "detaches mean and variance",
    fails=["test_norm_gradients"],
    edit={
        "            with torch.no_grad():\n": "            mean, var = mean.detach(), var.detach()\n            with torch.no_grad():\n"
    },
)
wrong(
    "BatchNorm2d",
    "lets gradients flow into the running values",
    fails=["test_norm_gradients"],
    edit={"with torch.no_grad():": "with torch.enable_grad():"},
)
wrong(
    "BatchNorm2d",
    "takes the mean of the squares minus the square of the mean",
    fails=["test_norm_keeps_its_digits"],
    edit={
        "((wide - mean[:, None, None]) ** 2).mean(dim=(0, 2, 3))": "((wide**2).mean(dim=(0, 2, 3)) - mean**2).clamp(min=0)"
    },
)
wrong(
    "BatchNorm2d",
    "uses the batch in eval mode, too",
    fails=["test_norm_remembers"],
    edit={"if self.training:": "if self.training or x.shape[0] > 0:"},
)
wrong(
    "BatchNorm2d",
    "normalises each image alone",
    fails=["test_norm_in_train_mode"],
    edit={
        "mean = wide.mean(dim=(0, 2, 3))": "mean = wide.mean(dim=(2, 3))",
        "((wide - mean[:, None, None]) ** 2).mean(dim=(0, 2, 3))": "((wide - mean[:, :, None, None]) ** 2).mean(dim=(2, 3))",
        "self.running_mean += self.momentum * (mean - ": "self.running_mean += self.momentum * (mean.mean(dim=0) - ",
        "(var * n / (n - 1) - ": "(var.mean(dim=0) * n / (n - 1) - ",
        "            mean, var = self.running_mean, self.running_var": "            mean, var = self.running_mean[None], self.running_var[None]",
        "scale = self.weight / torch.sqrt(var + self.eps)": "scale = self.weight / torch.sqrt(var + self.eps)",
        "(scale[:, None, None] * (wide - mean[:, None, None]) +": "(scale[:, :, None, None] * (wide - mean[:, :, None, None]) +",
    },
)
wrong(
    "BatchNorm2d",
    "adds eps to the root instead of the variance",
    fails=["test_norm_gradients", "test_norm_of_every_shape"],
    edit={"torch.sqrt(var + self.eps)": "(torch.sqrt(var) + self.eps)"},
)
wrong(
    "BatchNorm2d",
    "computes in the dtype that came",
    fails=["test_norm_of_every_kind"],
    edit={"wide = x.to(self.weight.dtype)": "wide = x", "if n == 1": "if n <= 1"},
)
wrong(
    "BatchNorm2d",
    "keeps the running values as plain attributes",
    fails=["test_norm_state"],
    edit={
        'self.register_buffer("running_mean", torch.zeros(channels))': "self.running_mean = torch.zeros(channels)",
        'self.register_buffer("running_var", torch.ones(channels))': "self.running_var = torch.ones(channels)",
    },
)


@right("BatchNorm2d", "torch's variance, and lerp for what is remembered")
class NormByLerp(nn.Module):
    def __init__(self, channels, eps=1e-5, momentum=0.1):
        super().__init__()
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.weight = nn.Parameter(torch.ones(channels))
        self.settings = eps, momentum

    def forward(self, x):
        if x.dim() != 4 or x.size(1) != self.bias.numel():
            raise ValueError(x.shape)
        eps, momentum = self.settings
        y = x.type(self.bias.dtype)
        mean, var = self.running_mean.clone(), self.running_var.clone()
        if self.training:
            if x.size(0) * x.size(2) * x.size(3) < 2:
                raise ValueError("too few")
            var, mean = torch.var_mean(y, dim=(0, 2, 3), correction=0)
            unbiased = torch.var(y, dim=(0, 2, 3), correction=1)
            self.running_mean.lerp_(mean.detach(), momentum)
            self.running_var.lerp_(unbiased.detach(), momentum)
        shape = (1, -1, 1, 1)
        y = (y - mean.view(shape)) * torch.rsqrt(var.view(shape) + eps)
        return (y * self.weight.view(shape) + self.bias.view(shape)).type(x.dtype)


@right("BatchNorm2d", "channel by channel, in rows")
class NormByChannels(nn.Module):
    def __init__(self, channels, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum, self.channels = eps, momentum, channels
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x):
        if len(x.shape) != 4 or x.shape[1] != self.channels:
            raise ValueError("shape")
        n, out = x.shape[0] * x.shape[2] * x.shape[3], []
        if self.training and n == 1:
            raise ValueError("n = 1")
        means, variances = [], []
        for c in range(self.channels):
            row = x[:, c].to(self.weight.dtype).reshape(-1)
            mean, var = self.running_mean[c], self.running_var[c]
            if self.training:
                mean = row.sum() / n
                var = torch.dot(row - mean, row - mean) / n
            means.append(mean.detach().clone())
            variances.append(var.detach().clone())
            row = (row - mean) / (var + self.eps) ** 0.5 * self.weight[c] + self.bias[c]
            out.append(row.reshape(x.shape[0], *x.shape[2:]).to(x.dtype))
        if self.training:
            m = self.momentum
            self.running_mean = (1 - m) * self.running_mean + m * torch.stack(means)
            self.running_var = (1 - m) * self.running_var + m * torch.stack(variances) * n / (n - 1)
        return torch.stack(out, dim=1)


# ------------------------------------------------------------------------------------------------------- evaluate

wrong(
    "evaluate",
    "evaluates in the mode that the network is in",
    fails=["test_evaluation_in_eval_mode"],
    edit={"    net.eval()\n": ""},
)
wrong(
    "evaluate",
    "takes the mean of the batches' means",
    fails=["test_evaluation_in_eval_mode"],
    edit={
        'F.cross_entropy(logits, classes, reduction="sum").item()': "F.cross_entropy(logits, classes).item()",
        "return loss / len(X)": "return loss / math.ceil(len(X) / batch_size)",
    },
)
wrong(
    "evaluate",
    "leaves the network in eval mode",
    fails=["test_evaluation_changes_nothing"],
    edit={"part.training = training": "part.training = False"},
)
wrong(
    "evaluate",
    "puts the whole network into train mode afterwards, a frozen part included",
    fails=["test_evaluation_changes_nothing"],
    edit={"            part.training = training": "            net.train(training or not part.training)"},
)
wrong(
    "evaluate",
    "forgets to restore the mode after an error",
    fails=["test_evaluation_after_an_error"],
    edit={
        "    finally:\n        for part, training in modes:\n            part.training = training\n": (
            "    except ZeroDivisionError:\n        raise\n    for part, training in modes:\n        part.training = training\n"
        )
    },
)
wrong(
    "evaluate",
    "records gradients, and keeps the logits of all batches",
    fails=["test_evaluation_lets_go", "test_evaluation_of_every_size"],
    edit={
        "with torch.no_grad():": "with torch.enable_grad():",
        "net.eval()": "net.eval()\n    kept = []",
        "loss += F": "kept.append(logits)\n                loss += F",
    },
)


@right("evaluate", "split, inference mode, log-probabilities")
def evaluate_by_splits(net, X, y, batch_size=256):
    before = {name: part.training for name, part in net.named_modules()}
    total, hits = [], 0
    try:
        net.train(False)
        with torch.inference_mode():
            for inputs, classes in zip(X.split(batch_size), y.split(batch_size), strict=True):
                logs = net(inputs).log_softmax(dim=-1)
                total += (-logs[torch.arange(len(classes)), classes]).tolist()
                hits += int((logs.max(dim=1).indices == classes).sum())
    finally:
        for name, part in net.named_modules():
            part.training = before[name]
    return math.fsum(total) / len(X), hits / len(X)


@right("evaluate", "without F, one weighted mean")
def evaluate_weighted(net, X, y, batch_size=256):
    modes = [part.training for part in net.modules()]
    loss = accuracy = 0.0
    try:
        net.eval()
        for start in range(0, len(y), batch_size):
            with torch.no_grad():
                out = net(X[start : start + batch_size])
                classes = y[start : start + batch_size]
                share = len(classes) / len(y)
                loss += share * float((out.logsumexp(1) - out.gather(1, classes[:, None])[:, 0]).mean())
                accuracy += (out.argmax(1) == classes).double().sum().item()
                del out
    finally:
        for part, mode in zip(net.modules(), modes, strict=True):
            part.training = mode
    return loss, accuracy / len(y)


# -------------------------------------------------------------------------------------------------- ResidualBlock

wrong(
    "ResidualBlock",
    "adds after the last relu",
    fails=["test_block_computes"],
    edit={"F.relu(inner + self.shortcut(x))": "F.relu(inner) + self.shortcut(x)"},
)
wrong(
    "ResidualBlock",
    "leaves out the shortcut",
    fails=["test_block_starts_as_the_identity"],
    edit={"inner + self.shortcut(x)": "inner + 0 * self.shortcut(x)"},
)
wrong(
    "ResidualBlock",
    "has no relu between norm1 and conv2",
    fails=["test_block_computes"],
    edit={"F.relu(self.norm1(self.conv1(x)))": "self.norm1(self.conv1(x))"},
)
wrong(
    "ResidualBlock",
    "starts norm2 at 1",
    fails=["test_block_starts_as_the_identity", "test_block_lets_the_signal_through"],
    edit={"nn.init.zeros_(": "nn.init.ones_("},
)
wrong(
    "ResidualBlock",
    "has a shortcut only where the number of channels changes",
    fails=["test_block_starts_as_the_identity"],
    edit={"if c_in != c_out or stride != 1:": "if c_in != c_out:"},
)
wrong(
    "ResidualBlock",
    "gives the stride to both convolutions",
    fails=["test_block_computes"],
    edit={
        "nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)": "nn.Conv2d(c_out, c_out, 3, stride, padding=1, bias=False)"
    },
)
wrong(
    "ResidualBlock",
    "has biases in its convolutions",
    fails=["test_block_starts_as_the_identity"],
    edit={"nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)": "nn.Conv2d(c_in, c_out, 3, stride, padding=1)"},
)
wrong(
    "ResidualBlock",
    "ignores the norm that is passed in",
    fails=["test_block_of_every_shape"],
    edit={"self.norm1 = norm(c_out)": "self.norm1 = nn.BatchNorm2d(c_out)"},
)


@right("ResidualBlock", "an empty nn.Sequential as the identity, clamp for relu")
class BlockBySequences(nn.Module):
    def __init__(self, c_in, c_out, stride=1, norm=nn.BatchNorm2d):
        super().__init__()
        self.shortcut = nn.Sequential()
        if not (c_in == c_out and stride == 1):
            self.shortcut.append(nn.Conv2d(c_in, c_out, kernel_size=1, stride=stride, bias=False))
            self.shortcut.append(norm(c_out))
        self.norm2, self.norm1 = norm(c_out), norm(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, kernel_size=3, padding="same", bias=False)
        self.conv1 = nn.Conv2d(c_in, c_out, kernel_size=3, stride=stride, padding=1, bias=False)
        self.norm2.weight.data.fill_(0)

    def forward(self, x):
        out = self.conv1(x)
        out = self.norm1(out).clamp(min=0)
        out = self.norm2(self.conv2(out))
        return (out + self.shortcut(x)).clamp(min=0)


@right("ResidualBlock", "built from a PlainBlock, without a shortcut where none is needed")
class BlockFromPlain(PlainBlock):
    def __init__(self, c_in, c_out, stride=1, norm=nn.BatchNorm2d):
        super().__init__(c_in, c_out, stride)
        self.norm1, self.norm2 = norm(c_out), norm(c_out)
        with torch.no_grad():
            self.norm2.weight *= 0
        self.shortcut = None
        if c_in != c_out or stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride=stride, bias=False), norm(c_out))

    def forward(self, x):
        out = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        out = out + (x if self.shortcut is None else self.shortcut(x))
        return torch.relu(out)


# -------------------------------------------------------------------------------------------------------- ConvNet

wrong(
    "ConvNet",
    "has no dropout",
    fails=["test_network_drops_features"],
    edit={"nn.Dropout(dropout)": "nn.Dropout(0.0)"},
)
wrong(
    "ConvNet",
    "drops numbers before the mean over the places",
    fails=["test_network_drops_features"],
    edit={
        "x = self.blocks(self.stem(x))": "x = self.dropout(self.blocks(self.stem(x)))",
        "self.head(self.dropout(features))": "self.head(features)",
    },
)
wrong(
    "ConvNet",
    "takes dropout for the share that is kept",
    fails=["test_network_drops_features"],
    edit={"nn.Dropout(dropout)": "nn.Dropout(1 - dropout)"},
)
wrong(
    "ConvNet",
    "drops whole channels of the batch, also in eval mode",
    fails=["test_network_drops_features"],
    edit={"self.dropout(features)": "F.dropout(features, self.dropout.p, True)"},
)
wrong(
    "ConvNet",
    "halves the first stage, too",
    fails=["test_network_computes_logits", "test_network_of_every_shape"],
    edit={"2 if stage > 0 and i == 0": "2 if i == 0"},
)
wrong(
    "ConvNet",
    "halves in each block",
    fails=["test_network_of_every_shape"],
    edit={"stage > 0 and i == 0": "stage > 0"},
)
wrong(
    "ConvNet",
    "rounds sides down",
    fails=["test_network_computes_logits", "test_network_parameters"],
    edit={"math.ceil(side / 2 ** (len(widths) - 1))": "side // 2 ** (len(widths) - 1)"},
)
wrong(
    "ConvNet",
    "takes the largest number of each channel",
    fails=["test_network_computes_logits"],
    edit={"x.mean(dim=(2, 3))": "x.amax(dim=(2, 3))"},
)
wrong(
    "ConvNet",
    "keeps its blocks in a list, where torch does not see them",
    fails=["test_network_parameters"],
    edit={
        "self.blocks = nn.Sequential(*blocks)": "self.hidden = (nn.Sequential(*blocks),)",
        "self.blocks(self.stem(x))": "self.hidden[0](self.stem(x))",
    },
)


@right("ConvNet", "adaptive pooling, blocks appended one by one")
class NetByAppending(nn.Module):
    def __init__(
        self, c_in, classes, widths=(8, 16, 32), depth=1, block=PlainBlock, dropout=0.0, head="pool", size=None
    ):
        super().__init__()
        if head not in {"pool", "flatten"}:
            raise ValueError(head)
        if dropout < 0 or dropout >= 1:
            raise ValueError(dropout)
        self.stem = nn.Sequential()
        self.stem.append(nn.Conv2d(c_in, widths[0], 3, 1, 1, bias=False))
        self.stem.append(nn.BatchNorm2d(widths[0]))
        self.stem.append(nn.ReLU(inplace=True))
        self.blocks = nn.Sequential()
        features, last = widths[-1], widths[0]
        for width in widths:
            for _ in range(depth):
                halves = len(self.blocks) >= depth and len(self.blocks) % depth == 0
                self.blocks.append(block(last, width, 1 + halves))
                last = width
        if head == "flatten":
            if size is None:
                raise ValueError("size")
            high, wide = size
            for _ in widths[1:]:
                high, wide = (high + 1) // 2, (wide + 1) // 2
            features = features * high * wide
        self.features = nn.Sequential(nn.AdaptiveAvgPool2d(1) if head == "pool" else nn.Identity(), nn.Flatten())
        self.features.append(nn.Dropout(p=dropout))
        self.head = nn.Linear(features, classes)

    def forward(self, x):
        return self.head(self.features(self.blocks(self.stem(x))))


@right("ConvNet", "its own dropout, reshape, a list of strides first")
class NetByStrides(nn.Module):
    def __init__(
        self, c_in, classes, widths=(8, 16, 32), depth=1, block=PlainBlock, dropout=0.0, head="pool", size=None
    ):
        super().__init__()
        if head == "flatten":
            if size is None:
                raise ValueError("no size")
            places = math.prod(-(-side // 2 ** (len(widths) - 1)) for side in size)
        elif head == "pool":
            places = 1
        else:
            raise ValueError("head")
        if not 0.0 <= dropout < 1.0:
            raise ValueError("dropout")
        all_widths = [w for w in widths for _ in range(depth)]
        strides = [2 if i % depth == 0 and i > 0 else 1 for i in range(len(all_widths))]
        pairs = zip([widths[0], *all_widths[:-1]], all_widths, strides, strict=True)
        self.stem = nn.Sequential(
            nn.Conv2d(c_in, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        self.blocks = nn.Sequential(*itertools.starmap(block, pairs))
        self.head = nn.Linear(widths[-1] * places, classes)
        self.rate, self.kind = dropout, head

    def forward(self, x):
        x = self.blocks(self.stem(x))
        x = x.reshape(x.shape[0], -1) if self.kind == "flatten" else x.sum(dim=(2, 3)) / (x.shape[2] * x.shape[3])
        if self.training and self.rate > 0:
            x = x * (torch.rand_like(x) >= self.rate) / (1 - self.rate)
        return self.head(x)


# ---------------------------------------------------------------------------------------------------------- train

wrong(
    "train",
    "starts Adam's moments anew after an interruption",
    fails=["test_resumed_is_uninterrupted"],
    edit={'        optimizer.load_state_dict(kept["optimizer"])\n': ""},
)
wrong(
    "train",
    "forgets the random generator",
    fails=["test_resumed_is_uninterrupted"],
    edit={'        torch.set_rng_state(kept["random"])\n': ""},
)
wrong(
    "train",
    "saves parameters and forgets the running statistics",
    fails=["test_resumed_is_uninterrupted"],
    edit={
        'net.load_state_dict(kept["net"])': 'net.load_state_dict(kept["net"], strict=False)',
        '{"net": net.state_dict(), ': '{"net": dict(net.named_parameters()), ',
    },
)
wrong(
    "train",
    "counts the steps anew after an interruption",
    fails=["test_resumed_is_uninterrupted"],
    edit={'        losses = kept["losses"]\n': ""},
)
wrong(
    "train",
    "writes over the old checkpoint",
    fails=["test_a_checkpoint_is_whole_or_old"],
    edit={'torch.save(state, f"{path}.new")\n            os.replace(f"{path}.new", path)': "torch.save(state, path)"},
)
wrong(
    "train",
    "keeps the learning rate constant",
    fails=["test_training_takes_the_steps"],
    edit={"lr * (1 + math.cos(math.pi * t / steps)) / 2": "lr"},
)
wrong(
    "train",
    "adds up the gradients of all steps",
    fails=["test_training_takes_the_steps"],
    edit={"        optimizer.zero_grad()\n": ""},
)
wrong(
    "train",
    "clears the gradients only after a step, and so adds those that were there before",
    fails=["test_training_of_every_kind"],
    edit={
        "        optimizer.zero_grad()\n": "",
        "        optimizer.step()\n": "        optimizer.step()\n        optimizer.zero_grad()\n",
    },
)
wrong(
    "train",
    "does not put the network into train mode",
    fails=["test_training_of_every_kind"],
    edit={"        net.train()\n": ""},
)
wrong(
    "train",
    "puts the network into train mode once, and not before each step",
    fails=["test_training_of_every_kind"],
    edit={
        "        net.train()\n": "",
        "losses = torch.device(device).type, []\n": "losses = torch.device(device).type, []\n    net.train()\n",
    },
)
wrong(
    "train",
    "converts the weights themselves to bfloat16",
    fails=["test_mixed_precision"],
    edit={
        "net.to(device)\n": 'net.to(device, torch.bfloat16 if precision == "bfloat16" else None)\n',
        "net(inputs.to(device))": 'net(inputs.to(device, torch.bfloat16 if precision == "bfloat16" else inputs.dtype))',
    },
)
wrong(
    "train",
    "ignores the precision",
    fails=["test_mixed_precision"],
    edit={'enabled=precision == "bfloat16"': "enabled=False"},
)
wrong(
    "train",
    "writes no checkpoint at the end",
    fails=["test_checkpoints_are_files"],
    edit={"((t + 1) % every == 0 or t + 1 == steps)": "(t + 1) % every == 0"},
)


equivalent(
    "train",
    diff="""- kept = torch.load(path, map_location='cpu')
+ kept = torch.load(path)""",
    reason="all is on the CPU where there is no GPU",
)


@right("train", "a pickled checkpoint of arrays, a scheduler's formula in a function")
def train_with_pickle(
    net, X, y, steps, batch_size=32, lr=0.01, seed=0, precision="float32", device="cpu", path=None, every=100,
    transform=None, on_step=None,
):  # fmt: skip
    autocast = {"float32": False, "bfloat16": True}
    if precision not in autocast:
        raise ValueError(precision)
    net.to(device)
    adam = torch.optim.AdamW(net.parameters(), lr=lr)
    history = []
    if path is not None and os.path.isfile(path):
        with open(path, "rb") as file:
            weights, moments, random, history = pickle.load(file)
        net.load_state_dict(weights)
        adam.load_state_dict(moments)
        torch.set_rng_state(torch.from_numpy(random))
    else:
        torch.manual_seed(seed)

    def save():
        state = {key: value.detach().clone() for key, value in net.state_dict().items()}
        with open(path + "~", "wb") as file:
            pickle.dump((state, adam.state_dict(), torch.get_rng_state().numpy(), list(history)), file)
        os.rename(path + "~", path)

    while len(history) < steps:
        t = len(history)
        net.train()
        adam.param_groups[0]["lr"] = 0.5 * lr * (1 + np.cos(np.pi * t / steps))
        rows = batch_rows(len(X), batch_size, seed, t)
        inputs, classes = X[rows], y[rows].to(device)
        if transform is not None:
            inputs = transform(inputs, t)
        adam.zero_grad()
        if autocast[precision]:
            with torch.autocast(device_type=torch.device(device).type, dtype=torch.bfloat16):
                loss = nn.functional.cross_entropy(net(inputs.to(device)), classes)
        else:
            loss = nn.CrossEntropyLoss()(net(inputs.to(device)), classes)
        loss.backward()
        adam.step()
        history.append(float(loss.detach()))
        if path and (len(history) % every == 0 or len(history) == steps):
            save()
        if on_step is not None:
            on_step(t, history[-1])
    return history


@right("train", "a LambdaLR that goes into the checkpoint, too")
def train_with_scheduler(
    net, X, y, steps, batch_size=32, lr=0.01, seed=0, precision="float32", device="cpu", path=None, every=100,
    transform=None, on_step=None,
):  # fmt: skip
    if precision not in ("bfloat16", "float32"):
        raise ValueError("precision")
    net = net.to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: (1 + math.cos(math.pi * t / steps)) / 2)
    torch.manual_seed(seed)
    losses, first = [], 0
    if path and os.path.exists(path):
        saved = torch.load(path, weights_only=False)
        for name, part in (("net", net), ("optimizer", optimizer), ("schedule", schedule)):
            part.load_state_dict(saved[name])
        torch.random.set_rng_state(saved["rng"])
        losses, first = saved["losses"], saved["step"]
    for t in range(first, steps):
        net.train()
        rows = torch.as_tensor(batch_rows(len(y), batch_size, seed, t))
        x = X.index_select(0, rows)
        x = x if transform is None else transform(x, t)
        with torch.autocast(torch.device(device).type, enabled=precision != "float32", dtype=torch.bfloat16):
            logits = net(x.to(device))
            loss = F.cross_entropy(logits, y.index_select(0, rows).to(device))
        for part in net.parameters():
            part.grad = None
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach().item())
        if path and ((t + 1) % every == 0 or t == steps - 1):
            saved = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
            torch.save({**saved, "rng": torch.random.get_rng_state(), "losses": losses, "step": t + 1}, path + ".part")
            os.replace(path + ".part", path)
        if on_step:
            on_step(t, losses[-1])
    return losses


# -------------------------------------------------------------------------------------------------------- augment

wrong(
    "augment",
    "draws one change for the whole batch",
    fails=["test_each_image_is_mirrored_and_shifted"],
    edit={"(2, B, 1), endpoint": "(2, 1, 1), endpoint", "rng.random((B, 1))": "rng.random((1, 1))"},
)
wrong(
    "augment",
    "never shifts by +pad",
    fails=["test_each_image_is_mirrored_and_shifted"],
    edit={"rng.integers(-pad, pad, (2, B, 1), endpoint=True)": "rng.integers(-pad, max(pad, 1), (2, B, 1))"},
)
wrong(
    "augment",
    "lets what leaves on one side come in on the other",
    fails=["test_each_image_is_mirrored_and_shifted"],
    edit={"((0, 0), (0, 0), (pad, pad), (pad, pad)))": '((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="wrap")'},
)
wrong(
    "augment",
    "turns pictures upside down instead of mirroring them",
    fails=["test_each_image_is_mirrored_and_shifted"],
    edit={
        "rows = np.arange(H) + pad - dy": "rows = np.arange(H) - dy\n    rows = np.where(mirrored, H - 1 - rows, rows) + pad",
        "columns = np.where(mirrored, W - 1 - columns, columns) + pad": "columns = columns + pad",
    },
)
wrong(
    "augment",
    "moves each channel on its own",
    fails=["test_each_image_is_mirrored_and_shifted"],
    edit={
        "    padded = np.pad": "    images = np.stack([np.roll(images[:, c], c, axis=-1) for c in range(C)], axis=1)\n    padded = np.pad",
    },
)
wrong(
    "augment",
    "shifts as far to the right as down",
    fails=["test_each_image_is_mirrored_and_shifted"],
    edit={"    padded = np.pad": "    dx = dy\n    padded = np.pad"},
)
wrong(
    "augment",
    "mirrors all pictures or none",
    fails=["test_draws_are_uniform_and_independent"],
    edit={"rng.random((B, 1)) < 0.5": "np.full((B, 1), rng.random() < 0.5)"},
)
wrong(
    "augment",
    "makes a table of indices for each number",
    fails=["test_augment_of_many_images"],
    edit={
        "return padded[B, C, rows[:, None, :, None], columns[:, None, None, :]]": (
            "tables = [np.array(part) for part in np.broadcast_arrays(B, C, rows[:, None, :, None], columns[:, None, None, :])]\n"
            "    return padded[tuple(tables)]"
        )
    },
)


@wrong(
    "augment",
    "takes seed + i for image i, so neighbouring seeds share their draws",
    fails=["test_draws_are_uniform_and_independent"],
)
def augment_by_neighbours(images, seed, pad=2):
    if pad < 0:
        raise ValueError("pad")
    H, W = images.shape[2:]
    padded, out = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad))), np.empty_like(images, order="C")
    for i, image in enumerate(padded):
        rng = np.random.default_rng(seed + i)
        dy, dx = rng.integers(-pad, pad, 2, endpoint=True)
        image = image[:, :, ::-1] if rng.random() < 0.5 else image
        out[i] = image[:, pad - dy : pad - dy + H, pad - dx : pad - dx + W]
    return out


equivalent(
    "augment",
    diff="""- mirrored = rng.random((B, 1)) < 0.5
+ mirrored = rng.random((B, 1)) <= 0.5""",
    reason="the generator draws exactly 0.5 once in 2^53 times",
)
equivalent(
    "augment",
    diff="""- mirrored = rng.random((B, 1)) < 0.5
+ mirrored = rng.random((B, 1)) < 0.5 + 1e-09""",
    reason="one draw in 10^9 is another one",
)
equivalent(
    "augment",
    diff="""- columns = np.arange(W) - dx
+ columns = np.arange(W) + dx""",
    reason="dx is as likely as -dx",
)
equivalent(
    "augment",
    diff="""- rows = np.arange(H) + pad - dy
+ rows = np.arange(H) + pad + dy""",
    reason="dy is as likely as -dy",
)
equivalent(
    "temporal_conv",
    diff="""- if late < T:
+ if late <= T:""",
    reason="nothing is added to no frame",
)


@right("augment", "image by image, windows of one padded image")
def augment_by_windows(images, seed, pad=2):
    if pad < 0:
        raise ValueError("pad")
    rng, out = np.random.default_rng(seed), np.empty_like(images, order="C")
    _, C, H, W = images.shape
    for k, image in enumerate(images):
        dy, dx = rng.integers(-pad, pad + 1, 2)
        frame = np.zeros((C, H + 2 * pad, W + 2 * pad), images.dtype)
        frame[:, pad : pad + H, pad : pad + W] = image[:, :, ::-1] if rng.integers(2) else image
        out[k] = frame[:, pad - dy : pad - dy + H, pad - dx : pad - dx + W]
    return out


@right("augment", "slices from one picture to the other, from Python's generator")
def augment_by_slices(images, seed, pad=2):
    import random

    if pad < 0:
        raise ValueError("pad")
    draw = random.Random(f"{seed} augment")
    out = np.zeros(images.shape, images.dtype)
    H, W = images.shape[2:]
    for old, new in zip(images, out, strict=True):
        source = np.flip(old, axis=2) if draw.random() < 0.5 else old
        dy, dx = draw.randint(-pad, pad), draw.randint(-pad, pad)
        if abs(dy) >= H or abs(dx) >= W:
            continue
        new[:, max(dy, 0) : H + min(dy, 0), max(dx, 0) : W + min(dx, 0)] = source[
            :, max(-dy, 0) : H + min(-dy, 0), max(-dx, 0) : W + min(-dx, 0)
        ]
    return out


# -------------------------------------------------------------------------------------------- non_max_suppression

wrong(
    "non_max_suppression",
    "does not take the intersection off the union",
    fails=["test_overlap_of_boxes"],
    edit={"size_a[:, None] + size_b - both": "size_a[:, None] + size_b"},
)
wrong(
    "non_max_suppression",
    "counts one pixel more in each direction",
    fails=["test_overlap_of_boxes"],
    edit={
        "np.maximum(high - low, 0)": "np.maximum(high - low + 1, 0)",
        "np.maximum(box[:, 2:] - box[:, :2], 0)": "np.maximum(box[:, 2:] - box[:, :2] + 1, 0)",
    },
)
wrong(
    "non_max_suppression",
    "multiplies two negative sides",
    fails=["test_overlap_of_boxes"],
    edit={"np.maximum(high - low, 0).prod(axis=2)": "(high - low).prod(axis=2)"},
)
wrong(
    "non_max_suppression",
    "divides 0 by 0 for two empty boxes",
    fails=["test_overlap_of_boxes"],
    edit={"both / np.where(both > 0, union, 1)": "both / union"},
)
wrong(
    "non_max_suppression",
    "computes in the dtype of the boxes",
    fails=["test_overlap_of_every_kind"],
    edit={"np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)": "np.asarray(a), np.asarray(b)"},
)
wrong(
    "non_max_suppression",
    "drops a box at exactly the threshold",
    fails=["test_suppression_of_ties_and_borders"],
    edit={"[0] > threshold": "[0] >= threshold"},
)
wrong(
    "non_max_suppression",
    "takes the larger index first where scores are equal",
    fails=["test_suppression_of_ties_and_borders"],
    edit={
        'np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")': 'np.argsort(np.asarray(scores, dtype=np.float64), kind="stable")[::-1]'
    },
)
wrong(
    "non_max_suppression",
    "begins with the smallest score",
    fails=["test_suppression_keeps_the_best"],
    edit={"np.argsort(-np.asarray(": "np.argsort(np.asarray("},
)
wrong(
    "non_max_suppression",
    "ignores the labels",
    fails=["test_suppression_of_ties_and_borders"],
    edit={"if labels is not None:": "if labels is not None and len(labels) < 0:"},
)


@wrong(
    "non_max_suppression",
    "lets boxes that were dropped suppress others",
    fails=["test_suppression_keeps_the_best"],
)
def suppression_by_dropped(boxes, scores, threshold=0.5, labels=None):
    order, kept = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable"), []
    for place, i in enumerate(order):
        before = order[:place]
        near = iou(boxes[[i]], boxes[before])[0] > threshold
        if labels is not None:
            near &= labels[before] == labels[i]
        if not near.any():
            kept.append(i)
    return np.array(kept, dtype=np.int64)


@wrong(
    "non_max_suppression",
    "computes the overlaps of all pairs",
    fails=["test_suppression_of_many_boxes"],
)
def suppression_of_all_pairs(boxes, scores, threshold=0.5, labels=None):
    near = iou(boxes, boxes) > threshold
    if labels is not None:
        near &= np.equal.outer(labels, labels)
    left, kept = np.ones(len(boxes), bool), []
    for i in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable"):
        if left[i]:
            kept.append(i)
            left &= ~near[i]
    return np.array(kept, dtype=np.int64)


equivalent(
    "non_max_suppression",
    diff="""- near = iou(boxes[[best]], boxes[order])[0] > threshold
+ near = iou(boxes[[best]], boxes[order])[-1] > threshold""",
    reason="there is one row",
)


@right("non_max_suppression", "each box against those that were kept")
def suppression_by_kept(boxes, scores, threshold=0.5, labels=None):
    boxes, scores = np.array(boxes, dtype=float).reshape(-1, 4), np.array(scores, dtype=float)
    names = np.zeros(len(boxes), int) if labels is None else np.array(labels)
    kept = []
    for i in np.lexsort((np.arange(len(boxes)), -scores)).tolist():
        rivals = [j for j in kept if names[j] == names[i]]
        if not rivals or iou(boxes[i : i + 1], boxes[rivals]).max() <= threshold:
            kept.append(i)
    return np.array(kept, dtype=np.int64)


@right("non_max_suppression", "iou by four columns, one box of a after the other", replaces="iou")
def iou_by_columns(a, b):
    a, b = np.array(a, dtype=float), np.array(b, dtype=float)
    found = np.zeros((len(a), len(b)))
    x0, y0, x1, y1 = b.reshape(-1, 4).T
    for i, (left, top, right_, bottom) in enumerate(a):
        wide, high = np.minimum(x1, right_) - np.maximum(x0, left), np.minimum(y1, bottom) - np.maximum(y0, top)
        meet = (wide > 0) & (high > 0)
        both = wide[meet] * high[meet]
        found[i, meet] = both / ((right_ - left) * (bottom - top) + (x1 - x0)[meet] * (y1 - y0)[meet] - both)
    return found


@right("non_max_suppression", "a mask of what is left, Python's sort")
def suppression_by_mask(boxes, scores, threshold=0.5, labels=None):
    n, kept = len(boxes), []
    left = np.ones(n, dtype=bool)
    values = np.asarray(scores).tolist()
    for i in sorted(range(n), key=lambda i: -values[i]):
        if not left[i]:
            continue
        kept.append(i)
        gone = iou(boxes[i : i + 1], boxes)[0] > threshold
        if labels is not None:
            gone &= np.asarray(labels) == labels[i]
        left &= ~gone
    return np.fromiter(kept, dtype=np.int64, count=len(kept))


# ------------------------------------------------------------------------------------------------------- mean_iou

wrong(
    "mean_iou",
    "numbers the pairs in the dtype of the classes",
    fails=["test_mean_iou_of_every_kind"],
    edit={
        "true.astype(np.int64) * classes + predicted.astype(np.int64)": "true * np.asarray(classes).astype(true.dtype) + predicted"
    },
)
wrong(
    "mean_iou",
    "counts a class that nobody has as 0",
    fails=["test_mean_iou_without_some_classes"],
    edit={"np.full(classes, np.nan)": "np.zeros(classes)", "present = each[either > 0]": "present = each"},
)
wrong(
    "mean_iou",
    "leaves out a class that is nowhere true, although it is predicted",
    fails=["test_mean_iou_without_some_classes"],
    edit={
        "np.divide(both, either, out=each, where=either > 0)\n    present = each[either > 0]": (
            "seen = table.sum(axis=1) > 0\n    np.divide(both, either, out=each, where=seen)\n    present = each[seen]"
        )
    },
)
wrong(
    "mean_iou",
    "divides by the true pixels, which is the recall",
    fails=["test_mean_iou_of_all_pixels_together"],
    edit={"table.sum(axis=0) + table.sum(axis=1) - both": "np.maximum(table.sum(axis=1), table.sum(axis=0) > 0)"},
)
wrong(
    "mean_iou",
    "returns the share of right pixels as the mean",
    fails=["test_mean_iou_of_all_pixels_together"],
    edit={"float(present.mean())": "float(both.sum() / table.sum())"},
)
wrong(
    "mean_iou",
    "does not take the intersection off the union",
    fails=["test_mean_iou_of_all_pixels_together"],
    edit={"table.sum(axis=1) - both": "table.sum(axis=1)"},
)
wrong(
    "mean_iou",
    "looks for `ignore` among the predictions, too",
    fails=["test_mean_iou_ignores"],
    edit={"counted = true != ignore": "counted = (true != ignore) & (predicted != ignore)"},
)
wrong(
    "mean_iou",
    "makes a list of all batches first",
    fails=["test_mean_iou_of_a_stream"],
    edit={
        "    for predicted, true in batches:": "    for predicted, true in [(a.copy(), b.copy()) for a, b in batches]:"
    },
)


wrong(
    "mean_iou",
    "takes the mean of the batches' means",
    fails=["test_mean_iou_of_all_pixels_together"],
    edit={
        "    counts = np.zeros(classes**2, dtype=np.int64)\n": "    counts, means = np.zeros(classes**2, dtype=np.int64), []\n",
        "        counts += np.bincount(pairs.ravel(), minlength=classes**2)\n": (
            "        own = np.bincount(pairs.ravel(), minlength=classes**2)\n"
            "        counts, own = counts + own, own.reshape(classes, classes)\n"
            "        both, either = own.diagonal(), own.sum(axis=0) + own.sum(axis=1) - own.diagonal()\n"
            "        means += [np.mean(both[either > 0] / either[either > 0])] if either.any() else []\n"
        ),
        "float(present.mean()) if len(present)": "float(np.mean(means)) if means",
    },
)


equivalent(
    "mean_iou",
    diff="""- np.divide(both, either, out=each, where=either > 0)
+ np.divide(both, either, out=each, where=either >= 0)""",
    reason="0 / 0 is nan, as it stands there before",
)
equivalent(
    "mean_iou",
    diff="""- return (float(present.mean()) if len(present) else math.nan, each)
+ return (float(present.mean()), each)""",
    reason="the mean of no number is nan",
)


@right("mean_iou", "three counts of each class, no table")
def mean_iou_by_counts(batches, classes, ignore=None):
    both, one, other = np.zeros((3, classes), dtype=np.int64)
    for predicted, true in batches:
        if np.shape(predicted) != np.shape(true):
            raise ValueError("shapes")
        predicted, true = np.ravel(predicted), np.ravel(true)
        if ignore is not None:
            keep = true != ignore
            predicted, true = predicted[keep], true[keep]
        if any(len(side) and (side.max() >= classes or side.min() < 0) for side in (predicted, true)):
            raise ValueError("class")
        both += np.bincount(true[predicted == true].astype(np.int64), minlength=classes)
        one += np.bincount(predicted.astype(np.int64), minlength=classes)
        other += np.bincount(true.astype(np.int64), minlength=classes)
    either = one + other - both
    with np.errstate(invalid="ignore"):
        each = np.where(either > 0, both / either, np.nan)
    return (float(np.nanmean(each)) if (either > 0).any() else float("nan")), each


@right("mean_iou", "np.add.at, then one class after the other")
def mean_iou_by_add_at(batches, classes, ignore=None):
    table = np.zeros((classes, classes), int)
    for predicted, true in iter(batches):
        if predicted.shape != true.shape:
            raise ValueError
        keep = np.ones(true.shape, bool) if ignore is None else true != ignore
        pair = predicted[keep].astype(int), true[keep].astype(int)
        for side in pair:
            if ((side < 0) | (side >= classes)).any():
                raise ValueError(side)
        np.add.at(table, pair, 1)
    each = []
    for c in range(classes):
        either = table[c].sum() + table[:, c].sum() - table[c, c]
        each.append(table[c, c] / either if either else math.nan)
    present = [value for value in each if not math.isnan(value)]
    return math.fsum(present) / len(present) if present else math.nan, np.array(each, dtype=np.float64)


# -------------------------------------------------------------------------------------------------- temporal_conv

wrong(
    "temporal_conv",
    "turns the kernel round",
    fails=["test_temporal_conv_is_causal"],
    edit={"late = (K - 1 - k) * dilation": "late = k * dilation"},
)
wrong(
    "temporal_conv",
    "ignores the dilation",
    fails=["test_temporal_conv_is_causal"],
    edit={"(K - 1 - k) * dilation": "(K - 1 - k)"},
)
wrong(
    "temporal_conv",
    "sees later frames",
    fails=["test_temporal_conv_is_causal"],
    edit={"out[:, late:] +=": "out[:, : T - late] +=", "x[:, : T - late], weight": "x[:, late:], weight"},
)
wrong(
    "temporal_conv",
    "lets no gradient through to the kernel",
    fails=["test_temporal_conv_of_every_shape"],
    edit={"x[:, : T - late], weight[:, :, k])": "x[:, : T - late], weight[:, :, k].detach())"},
)
wrong(
    "temporal_conv",
    "fails where a tap lies before the first frame",
    fails=["test_temporal_conv_of_every_shape"],
    edit={"if late < T:": "if late < T or x[:, late] is None:"},
)


@wrong("temporal_conv", "stacks the frames once for each tap", fails=["test_temporal_conv_of_a_long_clip"])
def temporal_by_stacks(x, weight, dilation=1):
    K = weight.shape[2]
    late = (K - 1) * dilation
    padded = torch.cat([x.new_zeros(x.shape[0], late, *x.shape[2:]), x], dim=1)
    taps = torch.stack([padded[:, k * dilation : k * dilation + x.shape[1]] for k in range(K)], dim=-1)
    return torch.einsum("btchwk,ock->btohw", taps, weight)


@right("temporal_conv", "frame by frame")
def temporal_by_frames(x, weight, dilation=1):
    K, frames = weight.shape[2], []
    for t in range(x.shape[1]):
        total = x.new_zeros(x.shape[0], weight.shape[0], *x.shape[3:])
        for k in range(K):
            before = t - (K - 1 - k) * dilation
            if before >= 0:
                total = total + torch.tensordot(x[:, before], weight[:, :, k], dims=([1], [1])).movedim(-1, 1)
        frames.append(total)
    return torch.stack(frames, dim=1)


@right("temporal_conv", "a padded clip and products of matrices")
def temporal_by_products(x, weight, dilation=1):
    B, T, C, H, W = x.shape
    K = weight.shape[2]
    padded = torch.cat([torch.zeros(B, (K - 1) * dilation, C, H, W, dtype=x.dtype), x], dim=1)
    out = 0
    for k in range(K):
        part = padded[:, k * dilation : k * dilation + T].reshape(B, T, C, H * W)
        out = out + weight[:, :, k] @ part
    return out.reshape(B, T, len(weight), H, W)
