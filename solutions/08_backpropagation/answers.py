"""Wrong and right answers that prove the hidden tests of module 08, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

# What an answer may use stands in the reference's cells, which are not here.
# ruff: noqa: F821

import itertools
import math
import random
from collections import deque

import numpy as np
import torch

from autograder.answers import equivalent, right, wrong

# ------------------------------------------------------------------------------------------------- gradient_check

wrong(
    "gradient_check",
    "takes one-sided differences",
    fails=["test_check_is_the_largest_relative_error"],
    edit={"for step in (eps, -eps):": "for step in (eps, 0.0):", "/ (2 * eps)": "/ eps"},
)
wrong(
    "gradient_check",
    "divides by eps in place of 2 eps",
    fails=["test_check_is_the_largest_relative_error"],
    edit={"/ (2 * eps)": "/ eps"},
)
wrong(
    "gradient_check",
    "returns the largest absolute error",
    fails=["test_check_is_the_largest_relative_error"],
    edit={"np.abs(differences - gradient).max() / size": "np.abs(differences - gradient).max()"},
)
wrong(
    "gradient_check",
    "divides by at least 1, so that small gradients seem right",
    fails=["test_check_does_not_depend_on_the_scale"],
    edit={"np.abs([differences, gradient]).max()": "np.abs([[*differences.flat, 1.0], [*gradient.flat, 1.0]]).max()"},
)
wrong(
    "gradient_check",
    "moves theta itself, and moves it back",
    fails=["test_check_leaves_theta_while_f_runs"],
    edit={
        "moved = np.array(theta)": "moved, before = theta, theta[i]",
        "values.append(f(moved))": "values.append(f(moved)); moved[i] = before",
    },
)


wrong(
    "gradient_check",
    "fills one array again for each call of f",
    fails=["test_check_gives_f_an_array_of_its_own"],
    edit={
        "differences = np.empty(theta.shape)": "differences, moved = np.empty(theta.shape), np.empty(theta.shape)",
        "moved = np.array(theta)": "moved[...] = theta",
    },
)


@right("gradient_check", "rows of the unit matrix, f called on all plus steps first")
def check_by_unit_vectors(f, theta, gradient, eps=1e-5):
    units = np.eye(theta.size).reshape(theta.size, *theta.shape)
    plus = [float(f(theta + eps * unit)) for unit in units]
    minus = [float(f(theta - eps * unit)) for unit in units]
    found = (np.array(plus) - np.array(minus)).reshape(theta.shape) / eps / 2
    largest = float(max(np.max(np.abs(found)), np.max(np.abs(gradient))))
    return 0.0 if largest == 0 else float(np.max(np.abs(found - gradient))) / largest


@right("gradient_check", "plain Python numbers, flat")
def check_in_python(f, theta, gradient, eps=1e-5):
    flat, slopes = theta.ravel().tolist(), gradient.ravel().tolist()
    worst = size = 0.0
    for i, slope in enumerate(slopes):
        up, down = list(flat), list(flat)
        up[i], down[i] = flat[i] + eps, flat[i] - eps
        up, down = (np.array(values).reshape(theta.shape) for values in (up, down))
        n = float(f(up) - f(down)) / (2 * eps)
        worst, size = max(worst, abs(n - slope)), max(size, abs(n), abs(slope))
    return worst / size if size else 0.0


# ---------------------------------------------------------------------------------------------------- mlp_forward

wrong(
    "mlp_forward",
    "puts the activation behind the last layer, too",
    fails=["test_outputs_of_all_layers"],
    edit={"if len(outputs) < len(weights) - 1:": "if True:"},
)
wrong(
    "mlp_forward",
    "leaves out the biases",
    fails=["test_outputs_of_all_layers"],
    edit={"H @ W + b": "H @ W + 0 * b"},
)
wrong(
    "mlp_forward",
    "returns the logits only",
    fails=["test_outputs_of_all_layers"],
    edit={"return outputs": "return outputs[-1:]"},
)
wrong(
    "mlp_forward",
    "returns what stands before the activations",
    fails=["test_outputs_of_all_layers"],
    edit={
        "H = H @ W + b\n": "H = H @ W + b\n        outputs.append(H)\n",
        "        outputs.append(H)\n    return": "    return",
        "if len(outputs) < len(weights) - 1:": "if len(outputs) < len(weights):",
    },
)
wrong(
    "mlp_forward",
    "applies the activation in place to what it has already returned, as a leaky relu",
    fails=["test_outputs_of_all_layers"],
    edit={"np.maximum(H, 0)": "np.maximum(H, 0.01 * H)"},
)
wrong(
    "mlp_forward",
    "computes in float64 whatever came",
    fails=["test_outputs_of_every_kind"],
    edit={"outputs, H = [], X": "outputs, H = [], np.asarray(X, dtype=np.float64)"},
)


@right("mlp_forward", "einsum, written into arrays of its own")
def forward_by_einsum(X, weights, biases, activation="tanh"):
    bend = {"tanh": np.tanh, "relu": lambda a: a * (a > 0)}
    if activation not in bend:
        raise ValueError(activation)
    layers = [np.array(X)]
    for i in range(len(weights)):
        a = np.einsum("ij,jk->ik", layers[-1], weights[i])
        a += biases[i]
        layers.append(bend[activation](a) if i + 1 < len(weights) else a)
    return layers[1:]


@right("mlp_forward", "torch tensors")
def forward_in_torch(X, weights, biases, activation="tanh"):
    if activation != "tanh" and activation != "relu":
        raise ValueError("activation")
    h, found = torch.from_numpy(np.array(X)), []
    for W, b in list(zip(weights, biases, strict=True))[:-1]:
        h = torch.nn.functional.linear(h, torch.from_numpy(np.array(W)).T, torch.from_numpy(np.array(b)))
        h = torch.tanh(h) if activation == "tanh" else torch.relu(h)
        found.append(h.numpy())
    last = h @ torch.from_numpy(np.array(weights[-1])) + torch.from_numpy(np.array(biases[-1]))
    return [*found, last.numpy()]


# --------------------------------------------------------------------------------------------------- mlp_backward

wrong(
    "mlp_backward",
    "sums over the rows and does not divide by m",
    fails=["test_gradient_of_one_layer"],
    edit={"    delta /= m\n": ""},
)
wrong(
    "mlp_backward",
    "divides by the number of logits in place of the number of rows",
    fails=["test_gradient_of_one_layer"],
    edit={"delta /= m\n": "delta /= delta.size\n"},
)
wrong(
    "mlp_backward",
    "has the sign of Y - P",
    fails=["test_gradient_of_one_layer"],
    edit={"delta /= m\n": "delta /= -m\n"},
)
wrong(
    "mlp_backward",
    "divides by m in each layer again",
    fails=["test_gradient_of_one_layer", "test_gradient_of_deep_networks"],
    edit={"H.T @ delta)": "H.T @ delta / m)"},
)
wrong(
    "mlp_backward",
    "leaves out the derivative of the activation",
    fails=["test_gradient_of_deep_networks"],
    edit={'(1 - H * H if activation == "tanh" else H > 0)': "1"},
)
wrong(
    "mlp_backward",
    "derives tanh at its output, as 1 - tanh(h)^2",
    fails=["test_gradient_of_deep_networks"],
    edit={"1 - H * H if": "1 - np.tanh(H) ** 2 if"},
)
wrong(
    "mlp_backward",
    "takes the mean of the deltas for the biases",
    fails=["test_gradient_of_one_layer"],
    edit={"delta.sum(axis=0)": "delta.mean(axis=0)"},
)
wrong(
    "mlp_backward",
    "returns the gradients from the last layer to the first",
    fails=["test_gradient_of_deep_networks"],
    edit={
        "grad_weights.insert(0, H.T @ delta)": "grad_weights.append(H.T @ delta)",
        "grad_biases.insert(0, delta.sum(axis=0))": "grad_biases.append(delta.sum(axis=0))",
    },
)
wrong(
    "mlp_backward",
    "takes the exponentials of the logits without a shift",
    fails=["test_gradient_of_large_logits"],
    edit={"delta = softmax(outputs[-1])": "E = np.exp(outputs[-1])\n    delta = E / E.sum(axis=1, keepdims=True)"},
)


wrong(
    "mlp_backward",
    "takes the largest label of the batch for the number of classes",
    fails=["test_gradient_where_a_class_has_no_row"],
    edit={
        "delta[np.arange(m), y] -= 1": "delta = delta - np.eye(int(y.max()) + 1, dtype=delta.dtype)[y]",
    },
)


@right("mlp_backward", "one-hot labels and einsum, from the front with a recursion")
def backward_by_recursion(X, y, outputs, weights, activation="tanh"):
    if activation not in {"tanh", "relu"}:
        raise ValueError(activation)
    Y = np.eye(outputs[-1].shape[1], dtype=X.dtype)[y]
    deltas = {len(weights) - 1: (softmax(outputs[-1]) - Y) / np.asarray(len(X), dtype=X.dtype)}
    for i in range(len(weights) - 2, -1, -1):
        slope = 1 - outputs[i] ** 2 if activation == "tanh" else np.sign(outputs[i])
        deltas[i] = np.einsum("ik,jk->ij", deltas[i + 1], weights[i + 1]) * slope
    ins = [X, *outputs[:-1]]
    return (
        [np.einsum("ij,ik->jk", ins[i], deltas[i]) for i in range(len(weights))],
        [np.ones(len(X), X.dtype) @ deltas[i] for i in range(len(weights))],
    )


@right("mlp_backward", "row by row, added up")
def backward_by_rows(X, y, outputs, weights, activation="tanh"):
    if activation not in ("tanh", "relu"):
        raise ValueError
    L, m = len(weights), len(X)
    gW = [np.zeros(W.shape, X.dtype) for W in weights]
    gb = [np.zeros(W.shape[1], X.dtype) for W in weights]
    P = softmax(outputs[-1])
    for i in range(m):
        delta = P[i].copy()
        delta[int(y[i])] -= 1
        delta = delta / m
        for k in range(L - 1, -1, -1):
            h = X[i] if k == 0 else outputs[k - 1][i]
            gW[k] += np.outer(h, delta)
            gb[k] += delta
            if k:
                delta = weights[k] @ delta
                delta = delta * (1 - h * h) if activation == "tanh" else np.where(h != 0, delta, 0)
    return gW, gb


# ----------------------------------------------------------------------------------------------------- train_step

wrong(
    "train_step",
    "adds the gradient in place of subtracting it",
    fails=["test_step_goes_down"],
    edit={
        "W1 - lr * grad_W1, b1 - lr * grad_b1, w2 - lr * grad_w2, float(b2 - lr * grad_b2)": (
            "W1 + lr * grad_W1, b1 + lr * grad_b1, w2 + lr * grad_w2, float(b2 + lr * grad_b2)"
        )
    },
)
wrong(
    "train_step",
    "multiplies the output's delta by the output, not by the layer's input",
    fails=["test_step_of_the_output_weights"],
    edit={"H.T @ delta": "q.T @ delta + 0 * w2"},
)
wrong(
    "train_step",
    "does not divide by the rows",
    fails=["test_step_goes_down"],
    edit={"(q - y) / len(y)": "q - y"},
)
wrong(
    "train_step",
    "leaves out the derivative of tanh",
    fails=["test_step_goes_down"],
    edit={"np.outer(delta, w2) * (1 - H**2)": "np.outer(delta, w2)"},
)
wrong(
    "train_step",
    "takes the derivative of the sigmoid, h (1 - h), for that of tanh",
    fails=["test_step_goes_down"],
    edit={"np.outer(delta, w2) * (1 - H**2)": "np.outer(delta, w2) * H * (1 - H)"},
)
wrong(
    "train_step",
    "takes the mean of the deltas for the output's bias",
    fails=["test_step_goes_down"],
    edit={"grad_b2 = delta.sum()": "grad_b2 = delta.mean()"},
)


wrong(
    "train_step",
    "moves the output's weights before the hidden layer's derivative is taken",
    fails=["test_step_goes_down"],
    edit={
        "    delta1 = np.outer(": "    w2 = w2 - lr * grad_w2\n    delta1 = np.outer(",
        "w2 - lr * grad_w2, float": "w2, float",
    },
)


@right("train_step", "row by row")
def step_by_rows(X, y, W1, b1, w2, b2, lr):
    m = X.shape[0]
    gW, gb, gw, g = np.zeros(W1.shape), np.zeros(b1.shape), np.zeros(w2.shape), 0.0
    for i in range(m):
        h = np.tanh(X[i] @ W1 + b1)
        d = 1 / (1 + math.exp(-(h @ w2 + b2))) - float(y[i])
        gw += d * h / m
        g += float(d) / m
        inner = d * w2 * (1 - h) * (1 + h)
        gW += X[i][:, None] * inner / m
        gb += inner / m
    return W1 - lr * gW, b1 - lr * gb, w2 - lr * gw, b2 - lr * g


@right("train_step", "torch.autograd")
def step_in_torch(X, y, W1, b1, w2, b2, lr):
    made = [torch.tensor(np.array(p, dtype=float), requires_grad=True) for p in (W1, b1, w2, b2)]
    a = torch.tanh(torch.tensor(np.array(X)) @ made[0] + made[1]) @ made[2] + made[3]
    target = torch.tensor(np.array(y, dtype=float))
    torch.nn.functional.binary_cross_entropy_with_logits(a, target).backward()
    with torch.no_grad():
        new = [p - lr * p.grad for p in made]
    return new[0].numpy(), new[1].numpy(), new[2].numpy(), new[3].item()


# --------------------------------------------------------------------------------------------------------- Tensor

wrong(
    "Tensor",
    "overwrites a gradient where it should add to it",
    fails=["test_shared_tensors"],
    edit={"parent.grad += g.sum(axis=short, keepdims=True)": "parent.grad = g.sum(axis=short, keepdims=True)"},
)
wrong(
    "Tensor",
    "passes a gradient on before it is complete",
    fails=["test_shared_tensors"],
    edit={
        "                waiting.append((node, True))\n": "                order.insert(0, node)\n",
        "waiting.pop()": "waiting.pop(0)",
    },
)
wrong(
    "Tensor",
    "finds the order by recursion",
    fails=["test_deep_graphs"],
    edit={
        "order, seen, waiting = [], set(), [(self, False)]": (
            "order, seen, waiting = [], set(), []\n"
            "\n"
            "        def visit(node):\n"
            "            if id(node) not in seen:\n"
            "                seen.add(id(node))\n"
            "                for parent in node._parents:\n"
            "                    visit(parent)\n"
            "                order.append(node)\n"
            "\n"
            "        visit(self)"
        ),
    },
)
wrong(
    "Tensor",
    "does not sum over the axes of length 1 that were repeated",
    fails=["test_broadcasting"],
    edit={"parent.grad += g.sum(axis=short, keepdims=True)": "parent.grad = parent.grad + g"},
)
wrong(
    "Tensor",
    "adds to the gradients of an earlier backward",
    fails=["test_backward_replaces"],
    edit={
        "node.grad = np.zeros(node.data.shape)": (
            "node.grad = np.zeros(node.data.shape) if node.grad is None or node._parents or node is self else node.grad"
        ),
    },
)
wrong(
    "Tensor",
    "passes on the gradient of a product without the other factor",
    fails=["test_each_operation"],
    edit={"(g * other.data, g * self.data)": "(g * self.data, g * other.data)"},
)
wrong(
    "Tensor",
    "exchanges the two factors in the gradients of a matrix product",
    fails=["test_each_operation"],
    edit={"(g @ other.data.T, self.data.T @ g)": "((other.data @ g.T).T, (g.T @ self.data))"},
)
wrong(
    "Tensor",
    "keeps the caller's seed as a gradient, without a copy",
    fails=["test_arrays_are_not_shared"],
    edit={"self.grad += 1.0 if seed is None else seed": "self.grad = self.grad + 1.0 if seed is None else seed"},
)
wrong(
    "Tensor",
    "lets two tensors share one gradient array",
    fails=["test_arrays_are_not_shared"],
    edit={
        "node.grad = np.zeros(node.data.shape)": "node.grad = None",
        "self.grad += 1.0 if seed is None else seed": (
            "self.grad = np.ones(self.data.shape) if seed is None else np.array(seed)"
        ),
        "                g = g.sum(axis=tuple(range(g.ndim - parent.data.ndim)))\n": (
            "                if g.ndim > parent.data.ndim:\n"
            "                    g = g.sum(axis=tuple(range(g.ndim - parent.data.ndim)))\n"
        ),
        "                parent.grad += g.sum(axis=short, keepdims=True)": (
            "                g = g.sum(axis=short, keepdims=True) if short else g\n"
            "                parent.grad = g if parent.grad is None else parent.grad + g"
        ),
    },
)
wrong(
    "Tensor",
    "keeps the array that it was given",
    fails=["test_data_of_every_kind"],
    edit={"np.array(data, dtype=np.float64)": "np.asarray(data, dtype=np.float64)"},
)


@right("Tensor", "counts of the users in place of an order, closures that add")
class Node:
    def __init__(self, data):
        self.data = np.array(data).astype(float)
        self.grad, self.sources = None, []

    def new(self, data, *sources):
        made = Node(data)
        made.sources = list(sources)
        return made

    def __add__(self, other):
        other = other if isinstance(other, Node) else Node(other)
        return self.new(self.data + other.data, (self, lambda g: g), (other, lambda g: g))

    def __mul__(self, other):
        other = other if isinstance(other, Node) else Node(other)
        return self.new(self.data * other.data, (self, lambda g: g * other.data), (other, lambda g: g * self.data))

    def __radd__(self, other):
        return self + other

    def __rmul__(self, other):
        return self * other

    def __matmul__(self, other):
        x, z = self.data, other.data
        return self.new(np.dot(x, z), (self, lambda g: np.dot(g, z.T)), (other, lambda g: np.dot(x.T, g)))

    def tanh(self):
        t = np.tanh(self.data)
        return self.new(t, (self, lambda g: g / np.cosh(np.clip(self.data, -300, 300)) ** 2))

    def relu(self):
        return self.new(np.where(self.data > 0, self.data, 0.0), (self, lambda g: np.where(self.data > 0, g, 0.0)))

    def sum(self, axis=None):
        def spread(g):
            if axis is not None:
                g = np.expand_dims(g, axis)
            return g * np.ones(self.data.shape)

        return self.new(np.sum(self.data, axis=axis), (self, spread))

    def backward(self, seed=None):
        users, waiting = {id(self): 0}, [self]
        while waiting:
            node = waiting.pop()
            node.grad = np.zeros(node.data.shape)
            for source, _ in node.sources:
                if id(source) not in users:
                    users[id(source)] = 0
                    waiting.append(source)
                users[id(source)] += 1
        self.grad = np.ones(self.data.shape) if seed is None else np.array(seed, dtype=float)
        ready = deque([self])
        while ready:
            node = ready.popleft()
            for source, rule in node.sources:
                g = np.asarray(rule(node.grad))
                while g.ndim > source.data.ndim:
                    g = g.sum(axis=0)
                for axis, length in enumerate(source.data.shape):
                    if length == 1 and g.shape[axis] != 1:
                        g = g.sum(axis=axis, keepdims=True)
                source.grad = source.grad + g
                users[id(source)] -= 1
                if users[id(source)] == 0:
                    ready.append(source)


@right("Tensor", "numbered tensors, the largest number first")
class Numbered:
    made = 0

    def __init__(self, data, grad_of=()):
        self.data = np.asarray(np.array(data), dtype=np.float64).copy()
        self.grad, self.grad_of = None, grad_of
        Numbered.made += 1
        self.number = Numbered.made

    def __add__(self, other):
        other = other if hasattr(other, "grad_of") else Numbered(float(other))
        return Numbered(self.data + other.data, ((self, np.positive), (other, np.positive)))

    __radd__ = __add__

    def __mul__(self, other):
        if not hasattr(other, "grad_of"):
            return Numbered(self.data * other, ((self, lambda g: g * other),))
        return Numbered(self.data * other.data, ((self, lambda g: g * other.data), (other, lambda g: g * self.data)))

    __rmul__ = __mul__

    def __matmul__(self, other):
        return Numbered(
            np.einsum("ij,jk->ik", self.data, other.data),
            (
                (self, lambda g: np.einsum("ik,jk->ij", g, other.data)),
                (other, lambda g: np.einsum("ij,ik->jk", self.data, g)),
            ),
        )

    def tanh(self):
        v = np.tanh(self.data)
        return Numbered(v, ((self, lambda g: g * (1 - v) * (1 + v)),))

    def relu(self):
        return Numbered(self.data.clip(0), ((self, lambda g: g * np.sign(self.data.clip(0))),))

    def sum(self, axis=None):
        axes = tuple(range(self.data.ndim)) if axis is None else (axis % self.data.ndim,)
        kept = [1 if i in axes else n for i, n in enumerate(self.data.shape)]
        return Numbered(self.data.sum(axis=axes), ((self, lambda g: g.reshape(kept) + 0 * self.data),))

    def backward(self, seed=None):
        graph, waiting = {self.number: self}, [self]
        while waiting:
            for parent, _ in waiting.pop().grad_of:
                if parent.number not in graph:
                    graph[parent.number] = parent
                    waiting.append(parent)
        sums = {number: np.zeros(node.data.shape) for number, node in graph.items()}
        sums[self.number] = sums[self.number] + (1.0 if seed is None else seed)
        for number in sorted(graph, reverse=True):
            graph[number].grad = np.array(sums[number])
            for parent, rule in graph[number].grad_of:
                g = rule(sums[number])
                have, want = g.shape, (1,) * (g.ndim - parent.data.ndim) + parent.data.shape
                over = tuple(i for i, (a, b) in enumerate(zip(have, want, strict=True)) if a != b)
                sums[parent.number] = sums[parent.number] + g.sum(axis=over, keepdims=True).reshape(parent.data.shape)


# ----------------------------------------------------------------------------------------------------- initialise

wrong(
    "initialise",
    "multiplies by the variance in place of its root",
    fails=["test_variance_of_the_weights"],
    edit={"* np.sqrt(variance)": "* variance"},
)
wrong(
    "initialise",
    "counts the inputs only, for tanh, too",
    fails=["test_variance_of_the_weights"],
    edit={"2 / (n_in + n_out)": "1 / n_in"},
)
wrong(
    "initialise",
    "takes Glorot's variance for relu, too",
    fails=["test_variance_of_the_weights"],
    edit={'2 / (n_in + n_out) if activation == "tanh" else 2 / n_in': "2 / (n_in + n_out)"},
)
wrong(
    "initialise",
    "gives all layers of a shape the same weights",
    fails=["test_law_of_the_weights"],
    edit={"rng.standard_normal((n_in, n_out))": "np.random.default_rng(seed).standard_normal((n_in, n_out))"},
)
wrong(
    "initialise",
    "draws from a uniform distribution",
    fails=["test_law_of_the_weights"],
    edit={"rng.standard_normal((n_in, n_out))": "rng.uniform(-(3**0.5), 3**0.5, (n_in, n_out))"},
)
wrong(
    "initialise",
    "takes the seed plus the layer's number as a seed, so that seeds share layers",
    fails=["test_seeds_of_the_weights"],
    edit={
        "rng.standard_normal((n_in, n_out))": (
            "np.random.default_rng(seed + len(weights)).standard_normal((n_in, n_out))"
        ),
    },
)


wrong(
    "initialise",
    "sets the seed of NumPy's global generator",
    fails=["test_initialise_leaves_the_global_generator"],
    edit={"rng = np.random.default_rng(seed)": "np.random.seed(seed); rng = np.random"},
)


equivalent(
    "initialise",
    diff="""- variance = 2 / (n_in + n_out) if activation == 'tanh' else 2 / n_in
+ variance = 2 / (n_in + n_out) if activation == 'tanh' else 2 / (n_in + 1e-08)""",
    reason="the variance moves by less than 1e-8 of itself, which no number of draws shows",
)

equivalent(
    "initialise",
    diff="""- variance = 2 / (n_in + n_out) if activation == 'tanh' else 2 / n_in
+ variance = 2 / (n_in + n_out + 1e-08) if activation == 'tanh' else 2 / n_in""",
    reason="the variance moves by less than 1e-8 of itself, which no number of draws shows",
)


@right("initialise", "one stream for each layer")
def initialise_by_layers(widths, seed, activation="tanh"):
    if activation != "tanh" and activation != "relu":
        raise ValueError(activation)
    weights = []
    for layer in range(1, len(widths)):
        n_in, n_out = widths[layer - 1], widths[layer]
        sd = (2.0 / (n_in + (n_out if activation == "tanh" else 0))) ** 0.5
        weights.append(np.random.default_rng([seed, layer]).normal(0.0, sd, size=(n_in, n_out)))
    return weights, [np.zeros(n) for n in widths[1:]]


@right("initialise", "Python's generator, number by number")
def initialise_in_python(widths, seed, activation="tanh"):
    if activation not in {"tanh", "relu"}:
        raise ValueError("activation")
    draw, weights, biases = random.Random(f"weights {seed}"), [], []
    for n_in, n_out in itertools.pairwise(widths):
        sd = math.sqrt(2 / n_in) if activation == "relu" else math.sqrt(2 / (n_in + n_out))
        weights.append(np.array([[draw.gauss(0, sd) for _ in range(n_out)] for _ in range(n_in)]))
        biases.append(np.zeros((n_out,)))
    return weights, biases


# -------------------------------------------------------------------------------------------------------- dropout

wrong(
    "dropout",
    "keeps the share p in place of dropping it",
    fails=["test_share_that_is_dropped"],
    edit={">= p": "< p", "kept / (1 - p)": "kept / max(p, 1e-3)"},
)
wrong(
    "dropout",
    "does not divide the kept entries by 1 - p",
    fails=["test_share_that_is_dropped"],
    edit={"(kept / (1 - p))": "kept"},
)
wrong(
    "dropout",
    "drops in use, too",
    fails=["test_share_that_is_dropped"],
    edit={"    if training:\n": "    if True:\n"},
)
wrong(
    "dropout",
    "multiplies by 1 - p in use",
    fails=["test_share_that_is_dropped"],
    edit={"factor = np.ones_like(H)": "factor = np.full_like(H, 1 if training else 1 - p)"},
)
wrong(
    "dropout",
    "drops whole columns",
    fails=["test_law_of_dropout"],
    edit={".random(H.shape)": ".random(H.shape[-1:])", "(kept / (1 - p))": "np.broadcast_to(kept / (1 - p), H.shape)"},
)
wrong(
    "dropout",
    "drops exactly the share p of the entries",
    fails=["test_law_of_dropout"],
    edit={
        "np.random.default_rng(seed).random(H.shape) >= p": (
            "np.random.default_rng(seed).permutation(H.size).reshape(H.shape) >= round(p * H.size)"
        ),
    },
)


wrong(
    "dropout",
    "sets the seed of NumPy's global generator",
    fails=["test_dropout_leaves_the_global_generator"],
    edit={"np.random.default_rng(seed).random(H.shape)": "(np.random.seed(seed), np.random.random(H.shape))[1]"},
)


@right("dropout", "a binomial draw, and a select")
def dropout_by_binomial(H, p, seed, training=True):
    if p < 0 or p >= 1:
        raise ValueError("p")
    if not training or p == 0:
        return H.copy(), np.ones(H.shape, H.dtype)
    kept = np.random.default_rng([seed, 99]).binomial(1, 1 - p, size=H.shape).astype(bool)
    factor = np.where(kept, H.dtype.type(1 / (1 - p)), H.dtype.type(0))
    return np.multiply(H, factor), factor


@right("dropout", "entry by entry")
def dropout_by_loops(H, p, seed, training=True):
    if not (0 <= p < 1):
        raise ValueError(p)
    draw = random.Random(f"dropout {seed}")
    factor = np.zeros(H.shape, dtype=H.dtype)
    for i in np.ndindex(H.shape):
        if not training:
            factor[i] = 1
        elif draw.random() >= p:
            factor[i] = 1 / (1 - p)
    return factor * H, factor


# --------------------------------------------------------------------------------------------------- checkpointed

wrong(
    "checkpointed",
    "stores the input of every layer",
    fails=["test_few_arrays_are_stored"],
    edit={"if layer % segment == 0:": "if True:"},
)
wrong(
    "checkpointed",
    "keeps the inputs that it computes again",
    fails=["test_few_arrays_are_stored"],
    edit={
        "kept, h = {}, x": "kept, h, everything = {}, x, []",
        "g = backward(start + len(inputs) - 1, inputs.pop(), g)": (
            "everything.append(inputs[-1])\n            g = backward(start + len(inputs) - 1, inputs.pop(), g)"
        ),
    },
)
wrong(
    "checkpointed",
    "computes the output of each segment again, which nobody needs",
    fails=["test_second_pass_is_the_only_one"],
    edit={
        "g = loss_gradient(h)": "g, extra = loss_gradient(h), forward",
        "inputs = [kept.pop(start)]": "inputs = [kept.pop(start)]\n        extra(start, inputs[0])",
    },
)
wrong(
    "checkpointed",
    "computes each input again from the checkpoint",
    fails=["test_second_pass_is_the_only_one"],
    edit={
        (
            "        for layer in range(start, min(start + segment, depth) - 1):\n"
            "            inputs.append(forward(layer, inputs[-1]))\n"
        ): ("        end, first = min(start + segment, depth), inputs[0]\n"),
        ("        while inputs:\n            g = backward(start + len(inputs) - 1, inputs.pop(), g)\n"): (
            "        for last in reversed(range(start, end)):\n"
            "            h = first\n"
            "            for layer in range(start, last):\n"
            "                h = forward(layer, h)\n"
            "            g = backward(last, h, g)\n"
        ),
    },
)
wrong(
    "checkpointed",
    "gives backward the output of the layer",
    fails=["test_checkpoints_give_the_gradient"],
    edit={
        "g = backward(start + len(inputs) - 1, inputs.pop(), g)": (
            "k = start + len(inputs) - 1\n            g = backward(k, forward(k, inputs.pop()), g)"
        ),
    },
)
wrong(
    "checkpointed",
    "forgets the last segment where it is shorter",
    fails=["test_checkpoints_give_the_gradient"],
    edit={"reversed(range(0, depth, segment))": "reversed(range(0, max(depth - depth % segment, 1), segment))"},
)


equivalent(
    "checkpointed",
    diff="~ checkpointed: segment becomes min(x, 100)",
    reason="shorter segments than asked for keep to the same bounds on arrays and calls where these are so long",
)


@right("checkpointed", "a recursion over the segments, the last one kept from the first pass")
def by_recursion(forward, backward, loss_gradient, x, depth, segment):
    def down(start, h):
        end = min(start + segment, depth)
        out = h
        if end == depth:
            inputs = []
            for layer in range(start, end):
                inputs.append(out)
                out = forward(layer, out)
            g = loss_gradient(out)
        else:
            for layer in range(start, end):
                out = forward(layer, out)
            g = down(end, out)
            del out
            inputs = [h]
            for layer in range(start, end - 1):
                inputs.append(forward(layer, inputs[-1]))
        for layer in reversed(range(start, end)):
            g = backward(layer, inputs.pop(), g)
        return g

    return down(0, x)


@right("checkpointed", "a list of all inputs with gaps, that are filled and emptied")
def with_gaps(forward, backward, loss_gradient, x, depth, segment):
    inputs = [None] * (depth + 1)
    inputs[0] = x
    for layer in range(depth):
        inputs[layer + 1] = forward(layer, inputs[layer])
        if layer % segment:
            inputs[layer] = None
    g = loss_gradient(inputs.pop())
    layer = depth - 1
    while layer >= 0:
        if inputs[layer] is None:
            start = layer - layer % segment
            for again in range(start, layer):
                inputs[again + 1] = forward(again, inputs[again])
        g = backward(layer, inputs.pop(), g)
        layer -= 1
    return np.array(g)
