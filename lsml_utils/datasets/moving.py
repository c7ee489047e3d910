"""Clips of one moving shape: the direction stands in the order of the frames, and in no single frame."""

from dataclasses import dataclass

import numpy as np

from lsml_utils.datasets.chunks import Chunks, spans, stream
from lsml_utils.datasets.kinds import Described
from lsml_utils.datasets.shapes import NAMES, _inside

DIRECTIONS = ("right", "down", "left", "up")
STEPS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])  # x, y
CHUNK = 256  # clips


@dataclass(frozen=True, repr=False)
class Clips(Described):
    """frames: (n, t, s, s) uint8, grey, in the order of time. y: (n,) int64, the direction, 0..3. shape: (n,) int64,
    which of circle, square, triangle and cross moves, 0..3. names: of the directions."""

    frames: np.ndarray
    y: np.ndarray
    shape: np.ndarray
    names: tuple[str, ...] = DIRECTIONS


def clips(n: int, frames: int = 8, size: int = 24, noise: float = 8.0, seed: int = 0) -> Clips:
    """n clips of a shape that moves right, down, left or up, by 1 to 3 pixels a frame.

    frames: of each clip, at least 2. size: height and width in pixels, at least 16. noise: standard deviation added to
    each pixel, of 255. What leaves on one side comes in on the other, and the first place is uniform. So each frame
    has the same distribution for every direction, and so have the frames without their order for two opposite ones.
    Clip i depends on frames, size, noise and seed only, not on n.

    >>> clips(3).frames.shape
    (3, 8, 24, 24)
    """
    parts = list(clips_chunks(n, frames, size, noise, seed))
    return Clips(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("frames", "y", "shape")))


def clips_chunks(n: int, frames: int = 8, size: int = 24, noise: float = 8.0, seed: int = 0) -> Chunks:
    """`clips` in chunks of 256 clips.

    >>> len(clips_chunks(1000))
    4
    """
    if n < 1 or frames < 2 or size < 16:
        raise ValueError(f"n = {n}, frames = {frames}, size = {size}: at least 1, 2 and 16")
    bounds = spans(n, CHUNK)

    def make(k: int) -> Clips:
        drawn = [_draw(stream("clips", seed, i + 1), frames, size, noise) for i in range(*bounds[k])]
        clip, y, shape = zip(*drawn, strict=True)
        return Clips(np.stack(clip), np.array(y, np.int64), np.array(shape, np.int64))

    return Chunks(len(bounds), make, n)


def _draw(rng: np.random.Generator, frames: int, size: int, noise: float):
    direction, shape = int(rng.integers(len(DIRECTIONS))), int(rng.integers(len(NAMES)))
    radius, angle = rng.uniform(0.14, 0.24) * size, rng.uniform(0, 2 * np.pi)
    dark, bright = rng.uniform(10, 80), rng.uniform(140, 245)
    speed, start = int(rng.integers(1, 4)), rng.integers(size, size=2)
    y, x = np.mgrid[:size, :size] - size // 2
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    still = np.where(_inside(NAMES[shape], u / radius, v / radius), bright, dark)
    places = start + speed * np.arange(frames)[:, None] * STEPS[direction]
    clip = np.stack([np.roll(still, (dy, dx), axis=(0, 1)) for dx, dy in places])
    clip += noise * rng.standard_normal(clip.shape)
    return np.clip(clip, 0, 255).astype(np.uint8), direction, shape
