"""Rendered shapes with boxes and masks: pictures for detection and segmentation whose truth is known to the pixel."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lsml_utils.datasets.chunks import Chunks, spans, stream
from lsml_utils.datasets.kinds import Described

NAMES = ("circle", "square", "triangle", "cross")
CHUNK = 256  # images
LEAST_VISIBLE = 0.5  # share of an object that later ones must leave in sight


@dataclass(frozen=True, repr=False)
class Shapes(Described):
    """images: (n, s, s, 3) uint8. masks: (n, s, s) uint8, the class number + 1 of each pixel, 0 for background.
    instances: (n, s, s) uint8, the number of the object at each pixel from 1, 0 for background. boxes: n arrays (k, 4)
    int64 of x0, y0, x1, y1 in pixels, x1 and y1 one past the last, tight around what is visible. labels: n arrays (k,)
    int64 in 0..3. names: of the classes. Object j of an image is boxes[j], labels[j], and instances == j + 1."""

    images: np.ndarray
    masks: np.ndarray
    instances: np.ndarray
    boxes: list[np.ndarray]
    labels: list[np.ndarray]
    names: tuple[str, ...] = NAMES

    def __len__(self) -> int:
        return len(self.images)


def shapes(n: int, size: int = 64, most: int = 4, noise: float = 8.0, seed: int = 0) -> Shapes:
    """n pictures of 1 to `most` circles, squares, triangles and crosses, turned, coloured and partly hiding each
    other.

    size: height and width in pixels, at least 16. noise: standard deviation added to each channel, of 255. Colours say
    nothing about classes. Image i depends on size, most, noise and seed only, not on n.

    >>> data = shapes(3)
    >>> data.images.shape, data.boxes[0].shape[1]
    ((3, 64, 64, 3), 4)
    """
    parts = list(shapes_chunks(n, size, most, noise, seed))
    return Shapes(
        images=np.concatenate([part.images for part in parts]),
        masks=np.concatenate([part.masks for part in parts]),
        instances=np.concatenate([part.instances for part in parts]),
        boxes=[boxes for part in parts for boxes in part.boxes],
        labels=[labels for part in parts for labels in part.labels],
    )


def shapes_chunks(n: int, size: int = 64, most: int = 4, noise: float = 8.0, seed: int = 0) -> Chunks:
    """`shapes` in chunks of 256 images.

    >>> len(shapes_chunks(1000))
    4
    """
    if n < 1 or size < 16 or not 1 <= most <= 255:
        raise ValueError(f"n = {n}, size = {size}, most = {most}: at least 1, 16 and 1 (and at most 255 objects)")
    bounds = spans(n, CHUNK)

    def make(k: int) -> Shapes:
        drawn = [_draw(stream("shapes", seed, i + 1), size, most, noise) for i in range(*bounds[k])]
        images, masks, instances, boxes, labels = zip(*drawn, strict=True)
        return Shapes(np.stack(images), np.stack(masks), np.stack(instances), list(boxes), list(labels))

    return Chunks(len(bounds), make, n)


def _draw(rng: np.random.Generator, size: int, most: int, noise: float):
    y, x = np.mgrid[:size, :size].astype(np.float32)
    background = rng.uniform(20, 110, 3)
    slope = rng.uniform(-30, 30, (2, 3)) / size
    tint = background - slope.sum(axis=0) * size / 2
    image = x[..., None] * slope[0].astype(np.float32) + y[..., None] * slope[1].astype(np.float32)
    image += tint.astype(np.float32)
    instances = np.zeros((size, size), np.uint8)
    areas, labels = [], []
    for _ in range(rng.integers(1, most + 1)):
        label, pixels, colour = _object(rng, x, y, size)
        left = [np.count_nonzero((instances == j + 1) & ~pixels) for j in range(len(areas))]
        if any(count < LEAST_VISIBLE * area for count, area in zip(left, areas, strict=True)):
            continue  # it would hide another too far
        instances[pixels] = len(areas) + 1
        image[pixels] = colour
        areas.append(np.count_nonzero(pixels))
        labels.append(label)
    image += np.float32(noise) * rng.standard_normal(image.shape, dtype=np.float32)
    image = np.clip(image, 0, 255).astype(np.uint8)
    labels = np.array(labels, np.int64)
    masks = np.concatenate([[0], labels + 1]).astype(np.uint8)[instances]
    return image, masks, instances, _tight_boxes(instances, len(labels)), labels


def _object(rng, x, y, size):
    """One object: its class, its pixels (size, size) bool, its colour."""
    label = int(rng.integers(len(NAMES)))
    radius = rng.uniform(0.12, 0.24) * size
    centre = rng.uniform(radius, size - 1 - radius, 2)
    angle = rng.uniform(0, 2 * np.pi)
    colour = rng.uniform(60, 255, 3)
    colour[rng.integers(3)] = 255  # brighter than any background
    dx, dy = x - centre[0], y - centre[1]
    u, v = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
    return label, _inside(NAMES[label], u / radius, v / radius), colour


def _inside(name: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Which points lie in the shape of radius 1 around the origin."""
    if name == "circle":
        return u**2 + v**2 <= 1
    if name == "square":
        return np.maximum(abs(u), abs(v)) <= np.sqrt(0.5)
    if name == "triangle":
        return (v >= -0.5) & (np.sqrt(3) * abs(u) + v <= 1)
    return ((abs(u) <= 0.3) & (abs(v) <= 0.95)) | ((abs(v) <= 0.3) & (abs(u) <= 0.95))


def _tight_boxes(instances: np.ndarray, count: int) -> np.ndarray:
    boxes = np.zeros((count, 4), np.int64)
    for j in range(count):
        rows, columns = np.nonzero(instances == j + 1)
        boxes[j] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return boxes


def one_hot(masks: np.ndarray, names: Sequence[str] = NAMES) -> np.ndarray:
    """Masks (n, s, s) of class numbers + 1 as (n, len(names) + 1, s, s) float32, channel 0 the background.

    >>> one_hot(np.array([[[0, 2]]])).shape
    (1, 5, 1, 2)
    """
    channels = np.arange(len(names) + 1, dtype=masks.dtype)
    return (masks[:, None] == channels[None, :, None, None]).astype(np.float32)
