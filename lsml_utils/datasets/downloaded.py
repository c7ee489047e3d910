"""Real data that is downloaded on first use: MNIST and CIFAR-10."""

import tarfile
from dataclasses import dataclass

import numpy as np

from lsml_utils.datasets.downloading import Remote
from lsml_utils.datasets.kinds import Described

MNIST = Remote(
    name="MNIST",
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
    sha256="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    size=11_490_434,
    instead="datasets.digits() (the same ten digits, 8 × 8 pixels)",
)
CIFAR10 = Remote(  # the binary version: the one for Python is a pickle
    name="CIFAR-10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9dddda3db29a59bca1dd",
    size=170_052_171,
    instead="datasets.shapes(n, size=32) (rendered colour pictures with known content)",
)
SPLITS = ("train", "test")


@dataclass(frozen=True, repr=False)
class Images(Described):
    """images: (n, h, w) uint8 for grey or (n, h, w, 3) uint8 for colour, 0..255. y: (n,) int64 class numbers.
    names: of the classes."""

    images: np.ndarray
    y: np.ndarray
    names: tuple[str, ...]


def mnist(split: str = "train") -> Images:
    """Handwritten digits: images (60000, 28, 28) uint8 and y in 0..9 for "train", 10,000 for "test". Downloads 11 MiB
    once.

    Raises DatasetUnavailable, in one line, where it is neither here nor to be had.
    Source: LeCun, Cortes and Burges, The MNIST database, 1998.

    >>> mnist("holdout")
    Traceback (most recent call last):
    ValueError: split = 'holdout': it must be one of train, test
    """
    _known(split)
    with np.load(MNIST.fetch(), allow_pickle=False) as file:
        images, y = file[f"x_{split}"], file[f"y_{split}"].astype(np.int64)
    return Images(images=images, y=y, names=tuple("0123456789"))


def cifar10(split: str = "train") -> Images:
    """Small colour photographs of ten classes: images (50000, 32, 32, 3) uint8 and y in 0..9 for "train", 10,000 for
    "test". Downloads 162 MiB once. torch wants (n, 3, 32, 32): `images.transpose(0, 3, 1, 2)`.

    Raises DatasetUnavailable, in one line, where it is neither here nor to be had.
    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.

    >>> cifar10("holdout")
    Traceback (most recent call last):
    ValueError: split = 'holdout': it must be one of train, test
    """
    _known(split)
    wanted = [f"data_batch_{i}.bin" for i in range(1, 6)] if split == "train" else ["test_batch.bin"]
    found = {}
    with tarfile.open(CIFAR10.fetch()) as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            if member.isfile() and name in (*wanted, "batches.meta.txt"):
                found[name] = archive.extractfile(member).read()
    records = np.frombuffer(b"".join(found[name] for name in wanted), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    names = tuple(found["batches.meta.txt"].decode().split())
    return Images(images=np.ascontiguousarray(images), y=records[:, 0].astype(np.int64), names=names)


def _known(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"split = {split!r}: it must be one of {', '.join(SPLITS)}")
