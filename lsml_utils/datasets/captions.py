"""Rendered scenes with a sentence each. Some pairs of colour and shape can be held out, to be met later."""

from dataclasses import dataclass

import numpy as np

from lsml_utils.datasets.chunks import Chunks, spans, stream
from lsml_utils.datasets.kinds import Described

COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle", "cross")
PLACES = ("top left", "top right", "bottom left", "bottom right")
HELD_OUT = ((0, 1), (2, 3), (3, 0), (4, 2))  # colour, shape
RGB = np.array(
    [(220, 40, 40), (40, 180, 60), (50, 80, 230), (230, 220, 50), (160, 50, 200), (240, 240, 240)], np.float32
)
TEMPLATES = (
    "a {colour} {shape} at the {place}",
    "there is a {colour} {shape} in the {place} corner",
    "the {shape} in the {place} is {colour}",
    "at the {place} one sees a {colour} {shape}",
)
WORDS = tuple(
    sorted(
        {word for text in TEMPLATES for word in text.split() if "{" not in word}
        | {word for place in PLACES for word in place.split()}
        | set(COLOURS)
        | set(SHAPES)
    )
)
LENGTH = 10  # words of the longest sentence
CHUNK = 512  # pictures


@dataclass(frozen=True, repr=False)
class Captions(Described):
    """images: (n, s, s, 3) uint8. colour, shape, place: (n,) int64, what is seen, as numbers into the names. template:
    (n,) int64, how it is said. held_out: pairs (colour, shape) that `pairs="usual"` leaves out. words: the vocabulary.
    """

    images: np.ndarray
    colour: np.ndarray
    shape: np.ndarray
    place: np.ndarray
    template: np.ndarray
    colours: tuple[str, ...] = COLOURS
    shapes: tuple[str, ...] = SHAPES
    places: tuple[str, ...] = PLACES
    held_out: tuple[tuple[int, int], ...] = HELD_OUT
    words: tuple[str, ...] = WORDS

    def __len__(self) -> int:
        return len(self.images)

    @property
    def texts(self) -> list[str]:
        """The n sentences."""
        return [caption(*told) for told in zip(self.colour, self.shape, self.place, self.template, strict=True)]


def caption(colour: int, shape: int, place: int, template: int = 0) -> str:
    """The sentence that says this in one of four ways.

    >>> caption(0, 1, 2)
    'a red square at the bottom left'
    """
    return TEMPLATES[template].format(colour=COLOURS[colour], shape=SHAPES[shape], place=PLACES[place])


def caption_tokens(texts: list[str]) -> np.ndarray:
    """Sentences as numbers of words, (n, 10) int64: 1 + the place in `words`, then 0 up to the end.

    >>> caption_tokens(["a red circle"])[0, 2:4].tolist()
    [5, 0]
    """
    number = {word: i + 1 for i, word in enumerate(WORDS)}
    table = np.zeros((len(texts), LENGTH), np.int64)
    for row, text in zip(table, texts, strict=True):
        found = [number[word] for word in text.split()]
        row[: len(found)] = found
    return table


def captions(n: int, size: int = 32, pairs: str = "all", noise: float = 12.0, seed: int = 0) -> Captions:
    """n pictures of one coloured shape in one quarter of a grey, noisy ground, with a sentence each.

    size: height and width in pixels, at least 16. pairs: "all", "usual" (without the four pairs of colour and shape in
    `held_out`) or "held out" (these alone). Shapes are turned and differ in size, shade and place within the quarter.
    noise: standard deviation added to each channel, of 255. Picture i depends on size, pairs, noise and seed only.

    >>> data = captions(3)
    >>> data.images.shape, len(data.texts)
    ((3, 32, 32, 3), 3)
    """
    parts = list(captions_chunks(n, size, pairs, noise, seed))
    names = ("images", "colour", "shape", "place", "template")
    return Captions(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def captions_chunks(n: int, size: int = 32, pairs: str = "all", noise: float = 12.0, seed: int = 0) -> Chunks:
    """`captions` in chunks of 512 pictures.

    >>> len(captions_chunks(1000))
    2
    """
    every = [(c, s) for c in range(len(COLOURS)) for s in range(len(SHAPES))]
    chosen = {"all": every, "usual": [pair for pair in every if pair not in HELD_OUT], "held out": list(HELD_OUT)}
    if n < 1 or size < 16 or pairs not in chosen or noise < 0:
        wanted = f"at least 1, 16, one of {', '.join(map(repr, chosen))}, at least 0"
        raise ValueError(f"n = {n}, size = {size}, pairs = {pairs!r}, noise = {noise}: {wanted}")
    bounds = spans(n, CHUNK)

    def make(k: int) -> Captions:
        count = bounds[k][1] - bounds[k][0]  # a whole chunk is drawn, so that no picture depends on n
        drawn = _draw(stream("captions", seed, k + 1), np.array(chosen[pairs]), size, noise)
        return Captions(**{name: value[:count] for name, value in drawn.items()})

    return Chunks(len(bounds), make, n)


def _draw(rng: np.random.Generator, pairs: np.ndarray, size: int, noise: float) -> dict[str, np.ndarray]:
    pair = pairs[rng.integers(len(pairs), size=CHUNK)]
    place, template = rng.integers(len(PLACES), size=CHUNK), rng.integers(len(TEMPLATES), size=CHUNK)
    radius = rng.uniform(0.13, 0.22, CHUNK) * size
    centre = (np.stack([place % 2, place // 2]) + 0.5) * size / 2 + rng.uniform(-0.06, 0.06, (2, CHUNK)) * size
    angle = rng.uniform(-0.4, 0.4, CHUNK)
    colour = RGB[pair[:, 0]] * rng.uniform(0.8, 1.05, (CHUNK, 1)) + rng.uniform(-15, 15, (CHUNK, 3))
    grey = rng.uniform(40, 140, (CHUNK, 1, 1, 1))
    grid = np.arange(size, dtype=np.float32)
    dx, dy = grid[None, None, :] - centre[0][:, None, None], grid[None, :, None] - centre[1][:, None, None]
    cos, sin = (part[:, None, None] for part in (np.cos(angle), np.sin(angle)))
    u, v = ((dx * cos + dy * sin) / radius[:, None, None], (dy * cos - dx * sin) / radius[:, None, None])
    upright = -v  # rows count downwards
    inside = np.select(
        [(pair[:, 1] == s)[:, None, None] for s in range(4)],
        [
            u**2 + v**2 <= 1,
            np.maximum(abs(u), abs(v)) <= 0.85,
            (upright >= -0.7) & (1.6 * abs(u) + upright <= 1),
            ((abs(u) <= 0.3) | (abs(v) <= 0.3)) & (np.maximum(abs(u), abs(v)) <= 1),
        ],
    )
    images = np.where(inside[..., None], colour[:, None, None, :], grey).astype(np.float32)
    images += np.float32(noise) * rng.standard_normal(images.shape, dtype=np.float32)
    return {
        "images": np.clip(images, 0, 255).astype(np.uint8),
        "colour": pair[:, 0].astype(np.int64),
        "shape": pair[:, 1].astype(np.int64),
        "place": place,
        "template": template,
    }
