"""commands says what it names, where it names it."""

import time

import numpy as np
import pytest

from lsml_utils import datasets


def bands(wave, rate):
    """Energies of a piece of a wave below 1 kHz, from 1 to 3 kHz, and above 3 kHz."""
    power = np.abs(np.fft.rfft(wave)) ** 2
    f = np.fft.rfftfreq(len(wave), 1 / rate)
    return np.array([power[(f >= low) & (f < high)].sum() for low, high in ((60, 1000), (1000, 3000), (3000, 8000))])


def test_each_phone_sounds_where_it_stands():
    """Voiced phones are strongest below 1 kHz, hisses above 3 kHz; in the pauses there is the noise and no more."""
    data = datasets.commands(60, noise=0.01, seed=2)
    for wave, phones, starts in zip(data.waves, data.phones, data.starts, strict=True):
        assert len(starts) == len(phones) + 1 and starts[-1] < len(wave)
        assert np.std(wave[: starts[0] - 160]) < 0.02 > np.std(wave[starts[-1] + 160 :])
        for phone, start, end in zip(phones, starts[:-1], starts[1:], strict=True):
            middle = (start + end) // 2
            low, _, high = bands(wave[middle - 200 : middle + 200], data.rate)
            assert (high > 3 * low) == (data.names[phone - 1] in ("s", "sh"))


def test_resonances_tell_vowels_apart_and_speakers_move_them():
    """The first resonance of a is above that of i; that of one speaker is the same in other commands."""
    data = datasets.commands(200, noise=0.0, seed=1)
    tops = {}
    for i, (wave, phones, starts) in enumerate(zip(data.waves, data.phones, data.starts, strict=True)):
        for phone, start, end in zip(phones, starts[:-1], starts[1:], strict=True):
            piece = wave[(start + end) // 2 - 256 : (start + end) // 2 + 256] * np.hanning(512)
            power = np.abs(np.fft.rfft(piece, 4096))[: int(1100 / 16000 * 4096)]
            tops.setdefault(data.names[phone - 1], []).append((np.argmax(power) / 4096 * 16000, data.speaker[i]))
    means = {name: np.mean([top for top, _ in found]) for name, found in tops.items()}
    assert means["a"] > 1.3 * means["e"] > 1.3 * 1.2 * means["i"]


def test_equal_neighbours_are_parted():
    data = datasets.commands(400, noise=0.0)
    gaps = 0
    for wave, phones, starts in zip(data.waves, data.phones, data.starts, strict=True):
        for place in starts[1:-1][phones[1:] == phones[:-1]]:
            assert np.abs(wave[place - 20 : place + 20]).max() < 0.2 * np.abs(wave).max()
            gaps += 1
    assert gaps > 100


def test_commands_are_functions_of_their_seed_and_quick():
    began = time.process_time()
    whole = datasets.commands(300)
    assert time.process_time() - began < 5  # 1,500 in 5 s is asked for; 300 leave room for a slow machine
    few = datasets.commands(70)
    for i in (0, 63, 64, 69):
        assert np.array_equal(few.waves[i], whole.waves[i]) and np.array_equal(few.phones[i], whole.phones[i])
    parts = list(datasets.commands_chunks(70))
    assert [len(part) for part in parts] == [64, 6] and np.array_equal(parts[1].waves[5], few.waves[69])
    assert not np.array_equal(datasets.commands(1, seed=1).phones[0], datasets.commands(1, seed=2).phones[0])
    assert set(datasets.commands(50, speakers=(7, 9)).speaker) == {7, 8}
    lengths = [len(phones) for phones in whole.phones]
    assert (min(lengths), max(lengths)) == (3, 7) and whole.waves[0].dtype == np.float32
    counts = np.bincount(np.concatenate(whole.phones), minlength=9)
    assert counts[0] == 0 and counts[1:].min() > 0.8 * counts.sum() / 8


@pytest.mark.parametrize("wrong", [{"n": 0}, {"speakers": (3, 3)}, {"speakers": (-1, 3)}, {"noise": -1.0}])
def test_impossible_commands_are_refused(wrong):
    with pytest.raises(ValueError, match="at least"):
        datasets.commands_chunks(**{"n": 2} | wrong)
