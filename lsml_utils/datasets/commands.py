"""Short spoken commands of an invented language: where each phone begins is known to the sample."""

from dataclasses import dataclass

import numpy as np

from lsml_utils.datasets.chunks import Chunks, spans, stream
from lsml_utils.datasets.kinds import Described

RATE = 16_000
PHONES = ("a", "e", "i", "o", "u", "m", "s", "sh")
CHUNK = 64  # utterances
STEP = 80  # samples between two settings of the voice, 5 ms
# Of each phone and, in row 0, of silence: three resonances in Hz, their loudness, and hiss: its centre in Hz, loudness.
VOICES = np.array(
    [
        (500, 1500, 2500, 0, 0, 0, 4000, 0),
        (750, 1250, 2550, 1, 0.6, 0.3, 4000, 0),
        (500, 1850, 2500, 1, 0.5, 0.3, 4000, 0),
        (290, 2250, 3000, 1, 0.4, 0.3, 4000, 0),
        (480, 850, 2450, 1, 0.6, 0.15, 4000, 0),
        (310, 700, 2250, 1, 0.35, 0.1, 4000, 0),
        (260, 1000, 2200, 0.8, 0.15, 0.08, 4000, 0),
        (400, 1600, 2500, 0, 0, 0, 5600, 0.4),
        (400, 1600, 2500, 0, 0, 0, 3900, 0.4),
    ],
    np.float32,
)
BANDWIDTHS = (80.0, 110.0, 160.0)  # Hz: how fast each resonance dies away after a pulse of the voice


@dataclass(frozen=True, repr=False)
class Commands(Described):
    """waves: n arrays (samples,) float32, about -1 to 1. phones: n arrays (S,) int64, the phones said, 1..8 (0 is left
    for a blank). starts: n arrays (S + 1,) int64, the sample at which each phone begins, last the end of the last one.
    speaker: (n,) int64. rate: samples a second. names: of the phones; phone p is names[p - 1]."""

    waves: list[np.ndarray]
    phones: list[np.ndarray]
    starts: list[np.ndarray]
    speaker: np.ndarray
    rate: int = RATE
    names: tuple[str, ...] = PHONES

    def __len__(self) -> int:
        return len(self.waves)


def commands(n: int, speakers: tuple[int, int] = (0, 40), noise: float = 0.1, seed: int = 0) -> Commands:
    """n commands of 3 to 7 phones each, drawn evenly, said by speakers of the range `speakers` (the end not included).

    A speaker has a pitch and a length of the vocal tract of their own, which scales all resonances, and is the same for
    every seed. Each command has a speed and a melody. Between two equal phones the voice stops for a moment. Before and
    after is a pause. noise: standard deviation of what is added everywhere. Utterance i depends on speakers, noise and
    seed only, not on n. It is much easier than real speech.

    >>> data = commands(3)
    >>> len(data.waves), len(data.starts[0]) - len(data.phones[0])
    (3, 1)
    """
    parts = list(commands_chunks(n, speakers, noise, seed))
    return Commands(
        waves=[wave for part in parts for wave in part.waves],
        phones=[phones for part in parts for phones in part.phones],
        starts=[starts for part in parts for starts in part.starts],
        speaker=np.concatenate([part.speaker for part in parts]),
    )


def commands_chunks(n: int, speakers: tuple[int, int] = (0, 40), noise: float = 0.1, seed: int = 0) -> Chunks:
    """`commands` in chunks of 64 utterances.

    >>> len(commands_chunks(1000))
    16
    """
    first, end = speakers
    if n < 1 or not 0 <= first < end or noise < 0:
        raise ValueError(f"n = {n}, speakers = {speakers}, noise = {noise}: at least 1, a range from 0 on, at least 0")
    bounds = spans(n, CHUNK)

    def make(k: int) -> Commands:
        drawn = [_plan(stream("commands", seed, i + 1), first, end) for i in range(*bounds[k])]
        return Commands(
            waves=_say(drawn, noise),
            phones=[plan["phones"] for plan in drawn],
            starts=[plan["starts"] for plan in drawn],
            speaker=np.array([plan["speaker"] for plan in drawn], np.int64),
        )

    return Chunks(len(bounds), make, n)


def _plan(rng: np.random.Generator, first: int, end: int) -> dict:
    """Who says what, and when; the generator goes with it, for the noise."""
    count = int(rng.integers(3, 8))
    phones = rng.integers(1, len(PHONES) + 1, count)
    speed = rng.uniform(0.8, 1.25)
    lengths = np.maximum(8, np.rint(rng.uniform(9, 19, count) / speed)).astype(np.int64)  # in steps of 5 ms
    before, after = rng.integers(10, 21, 2)
    speaker = int(rng.integers(first, end))
    voice = stream("commands speaker", speaker)
    tract, pitch = voice.uniform(0.8, 1.25), voice.uniform(90, 220)
    starts = before + np.concatenate([[0], np.cumsum(lengths)])
    total = int(starts[-1] + after)
    said = np.zeros(total + 1, np.int64)  # one more, to interpolate to
    said[starts[0] : starts[-1]] = np.repeat(phones, lengths)
    again = starts[1:-1][phones[1:] == phones[:-1]]
    loud = np.ones(total + 1)
    for offset in range(-3, 3):
        loud[again + offset] = 0
    melody = pitch * (1 + 0.12 * np.sin(rng.uniform(0, 6) + np.arange(total + 1) * rng.uniform(0.01, 0.04)))
    return {
        "phones": phones,
        "starts": starts * STEP,
        "speaker": speaker,
        "said": said,
        "loud": loud * rng.uniform(0.7, 1.0),
        "tract": tract,
        "melody": melody,
        "rng": rng,
    }


def _say(plans: list[dict], noise: float) -> list[np.ndarray]:
    """The waves: all utterances in one go, one after the other."""
    steps = [len(plan["said"]) - 1 for plan in plans]
    settings, pitch = [], []
    for plan in plans:
        wanted = VOICES[plan["said"]] * np.array([plan["tract"]] * 3 + [1] * 5, np.float32)
        wanted[:, [3, 4, 5, 7]] *= plan["loud"][:, None]
        for column in (0, 1, 2, 6):  # a silence has no resonances of its own: it keeps those beside it
            quiet = plan["said"] == 0
            wanted[quiet, column] = np.interp(np.flatnonzero(quiet), np.flatnonzero(~quiet), wanted[~quiet, column])
        padded = np.pad(wanted, ((2, 2), (0, 0)), mode="edge")  # the mouth moves: a mean over 25 ms
        settings.append(sum(padded[i : i + len(wanted)] for i in range(5)) / 5)
        pitch.append(plan["melody"])
    at = np.linspace(0, 1, STEP, endpoint=False, dtype=np.float32)

    def spread(columns: list[np.ndarray]) -> np.ndarray:
        """From a setting for each step to one for each sample."""
        left = np.concatenate([column[:-1] for column in columns])[:, None]
        right = np.concatenate([column[1:] for column in columns])[:, None]
        return (left + (right - left) * at).ravel()

    frequency = spread([column.astype(np.float64) for column in pitch])
    turns = np.cumsum(frequency / RATE)
    since = ((turns % 1) / frequency).astype(np.float32)  # seconds since the last pulse of the voice
    wave = np.zeros(len(since), np.float32)
    for k, bandwidth in enumerate(BANDWIDTHS):
        resonance, loud = (spread([setting[:, column] for setting in settings]) for column in (k, 3 + k))
        wave += (
            loud * np.exp(np.float32(-np.pi * bandwidth) * since) * np.sin(np.float32(2 * np.pi) * resonance * since)
        )
    white = np.concatenate(
        [plan["rng"].standard_normal(STEP * n, np.float32) for plan, n in zip(plans, steps, strict=True)]
    )
    slow = np.convolve(white, np.hanning(14).astype(np.float32)[1:-1], "same") / 2  # about 1,300 Hz wide
    centre, loud = (spread([setting[:, column] for setting in settings]) for column in (6, 7))
    phase = np.cumsum(centre.astype(np.float64) / RATE) % 1
    wave += loud * slow * np.cos(np.float32(2 * np.pi) * phase.astype(np.float32))
    wave *= np.float32(0.45)
    wave += np.concatenate(
        [
            np.float32(noise) * plan["rng"].standard_normal(STEP * n, np.float32)
            for plan, n in zip(plans, steps, strict=True)
        ]
    )
    return np.split(wave, STEP * np.cumsum(steps)[:-1])
