# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Gallery of `lsml_utils`
#
# Every figure helper, table and card once, with data of the course. Open this file as a notebook in JupyterLab to see
# them in your own theme; `python docs/gallery/gallery.py` writes the pictures that docs/lsml_utils.md shows.

# %%
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from lsml_utils import checking, datasets, device, plotting, scaling
from lsml_utils.checking import check, expect_close, expect_unchanged

plotting.use()

# %% [markdown]
# ## Figures
# `curves`: training curves and the like.

# %%
_, axes = plt.subplots(1, 2, figsize=(9.6, 3.6), num="curves")
steps = np.arange(200)
losses = {f"learning rate {lr}": (1 - lr) ** steps + 1e-6 for lr in (0.02, 0.05, 0.1, 0.2)}
plotting.curves(losses, xlabel="step", ylabel="loss − minimum", logy=True, title="Four learning rates", ax=axes[0])
sine = {f"phase {k}": (np.linspace(0, 6, 100), np.sin(np.linspace(0, 6, 100) + k)) for k in range(7)}
plotting.curves(sine, xlabel="x", ylabel="y", title="All seven colours and dashes", ax=axes[1])

# %% [markdown]
# `contours`: a loss, and the paths of optimisers through it.

# %%
data = datasets.linear(300, 2, condition=20.0, seed=1)


def loss(theta):
    return np.mean((data.X @ theta - data.y) ** 2) / 2


def descend(lr, steps=40):
    path = [data.theta + np.array([2.0, 2.0])]
    for _ in range(steps):
        path.append(path[-1] - lr * data.X.T @ (data.X @ path[-1] - data.y) / len(data.y))
    return np.array(path)


plt.figure(num="contours", figsize=(6.4, 4.4))
(x, y), paths = data.theta, {f"lr = {lr}": descend(lr) for lr in (0.3, 1.0, 1.9)}
plotting.contours(
    loss, (x - 3, x + 3), (y - 2.5, y + 2.5), paths=paths, minimum=data.theta, title="Gradient descent", ax=plt.gca()
)

# %% [markdown]
# `decision_regions`: what a classifier says everywhere.

# %%
_, axes = plt.subplots(1, 2, figsize=(9.6, 4.0), num="decision_regions")
moons = datasets.moons(200, noise=0.2)
plotting.decision_regions(SVC().fit(moons.X, moons.y).predict, moons.X, moons.y, title="moons", ax=axes[0])
blobs = datasets.blobs(240, k=4, seed=8)
nearest = KNeighborsClassifier(9).fit(blobs.X, blobs.y)
plotting.decision_regions(nearest.predict, blobs.X, blobs.y, title="blobs", ax=axes[1])

# %% [markdown]
# `image_grid`: pictures, with titles, boxes and masks.

# %%
digits = datasets.digits()
figure = plotting.image_grid(digits.images[:16], titles=digits.y[:16])
figure.set_label("image_grid")

# %%
shapes = datasets.shapes(6, seed=3)
figure = plotting.image_grid(shapes.images, columns=6, boxes=shapes.boxes, size=1.7)
figure.set_label("image_grid_boxes")

# %%
figure = plotting.image_grid(shapes.images, columns=6, masks=shapes.masks, size=1.7)
figure.set_label("image_grid_masks")

# %% [markdown]
# `confusion_matrix`: counts, shaded by the share of their row.

# %%
_, axes = plt.subplots(1, 2, figsize=(9.6, 4.6), num="confusion_matrix", width_ratios=(1, 1.6))
predicted = SVC(gamma=0.0003).fit(digits.X[:900], digits.y[:900]).predict(digits.X[900:])
plotting.confusion_matrix([[50, 3, 0], [4, 41, 9], [0, 1, 12]], labels=["cat", "dog", "owl"], title="three", ax=axes[0])
plotting.confusion_matrix(confusion_matrix(digits.y[900:], predicted), title="ten digits", ax=axes[1])

# %% [markdown]
# `scaling.measure`: a table and a log-log plot; here one curve is stopped, because its next point would take too long.


# %%
def loops(A):
    n = len(A)
    return [[sum(A[i, k] * A[k, j] for k in range(n)) for j in range(n)] for i in range(n)]


measured = scaling.measure(
    {"loops": loops, "einsum": lambda A: np.einsum("ik,kj->ij", A, A), "numpy @": lambda A: A @ A},
    sizes=[8, 16, 32, 64, 128, 256, 512],
    setup=lambda n: (np.random.default_rng(0).standard_normal((n, n)),),
    budget=6.0,
    label="rows n",
    threads=1,
)
measured.table()

# %%
_, axes = plt.subplots(1, 2, figsize=(9.6, 4.0), num="scaling")
measured.plot(peer="numpy @", ax=axes[0])
measured.plot(peer="numpy @", what="memory", ax=axes[1])

# %%
if "ipykernel" not in sys.modules:
    folder = Path(__file__).parent
    for number in plt.get_fignums():
        plt.figure(number).savefig(folder / f"{plt.figure(number).get_label()}.png")

# %% [markdown]
# ## Tables

# %%
datasets.list()

# %%
device.describe()

# %% [markdown]
# ## Checks
# One that passes, one whose answer is wrong, one that raises, one without an answer. Each of the last three stops Run
# All, so the notebook is told to go on (the tag "raises-exception").


# %%
def mse_gradient(X, y, theta):
    return X.T @ (X @ theta - y) / (2 * len(y))


def softmax(Z):
    shifted = Z - Z.max(axis=2)
    return np.exp(shifted) / np.exp(shifted).sum()


def predict(X):
    # YOUR CODE HERE
    raise NotImplementedError("predict: write your answer here")


checking.start("gallery", total=4)
X, y, theta = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([1.0, 2.0, 3.0]), np.array([0.5, -0.5])

with check("a check that passes"), expect_unchanged(X=X):
    expect_close(X @ theta, [-0.5, -0.5, -0.5])

# %% tags=["raises-exception"]
with check("mse_gradient"):
    expect_close(
        mse_gradient(X, y, theta),
        [-26.5 / 3, -34 / 3],
        hint="The loss has the factor 1/(2m), and the derivative of a square gives a 2.",
        mistakes={"You divided by 2m: the 2 of the square cancels it.": [-26.5 / 6, -34 / 6]},
    )

# %% tags=["raises-exception"]
with check("softmax"):
    expect_close(softmax(X).sum(axis=1), [1.0, 1.0, 1.0])

# %% tags=["raises-exception"]
with check("predict"):
    expect_close(predict(X), y)
