"""Patients of an invented hospital, and the public register of an invented town that they live in."""

from dataclasses import dataclass

import numpy as np

from lsml_utils.datasets.chunks import spans, stream
from lsml_utils.datasets.kinds import Described
from lsml_utils.hashing import mix64

BLOCK = 1024  # patients drawn from one random stream
PEOPLE = 3  # people in the register for each patient
COLUMNS = ("postcode", "age", "sex", "job")
POSTCODES, AGES, JOBS, LONGEST = 100, 90, 12, 400
DIAGNOSES = (
    "back pain",
    "high blood pressure",
    "asthma",
    "migraine",
    "diabetes",
    "depression",
    "broken bone",
    "thyroid disorder",
    "epilepsy",
    "psoriasis",
    "HIV",
    "Huntington's disease",
)
# Odds at the age of 45, and how they grow: log odds for 45 years more.
ODDS = np.array([30, 25, 12, 10, 9, 8, 6, 4, 2, 1.5, 0.5, 0.1])
GROWTH = np.array([0.5, 1.5, -0.5, -0.7, 1.2, 0, -0.3, 0.3, -0.2, 0, -0.2, 0])


@dataclass(frozen=True, repr=False)
class Patients(Described):
    """Nobody of these lives or lived. n patients, and a register of 3n people of the town, the patients among them.

    rows: (n, 4) int64, a patient's postcode (0 to 99; the tens are the district), age (0 to 89), sex (0, 1) and job
    (0 to 11; four neighbouring numbers are a group). diagnosis: (n,) int64, a number in `names`. days: (n,) int64,
    the days in hospital, 1 to 400. person: (n,) uint64, who it is: the truth, which no release holds.
    register: (3n, 4) int64 and register_person: (3n,) uint64, what anybody may look up, sorted by its rows.

    The truth: postcodes follow Zipf's law with exponent 0.7; ages are uniform up to 59 and thin out linearly to 90; sex
    and job are uniform; these are independent, and a third of the people are patients. `probability` has the law of
    the diagnosis. Days are 1 + the whole part of a log-normal number (median e, standard deviation 1 of the logarithm),
    at most 400, whatever else is known.
    """

    rows: np.ndarray
    diagnosis: np.ndarray
    days: np.ndarray
    person: np.ndarray
    register: np.ndarray
    register_person: np.ndarray
    columns: tuple[str, ...] = COLUMNS
    names: tuple[str, ...] = DIAGNOSES

    @property
    def heights(self) -> list[list[np.ndarray]]:
        """For each column, coarser and coarser classes: heights[j][h][value]. h = 0 is the value itself, the last h one
        class for all.

        >>> [len(column) for column in patients(1).heights]
        [3, 5, 2, 3]
        """
        postcode, age, sex, job = (np.arange(size) for size in (POSTCODES, AGES, 2, JOBS))
        return [
            [postcode, postcode // 10, 0 * postcode],
            [age, age // 5, age // 15, age // 45, 0 * age],
            [sex, 0 * sex],
            [job, job // 4, 0 * job],
        ]

    @staticmethod
    def probability(rows: np.ndarray) -> np.ndarray:
        """The true law of the diagnosis of these patients, rows (n, 4): (n, 12) float64; it depends on the age alone.

        >>> Patients.probability(np.array([[3, 45, 0, 1]])).argmax()
        np.int64(0)
        """
        weight = ODDS * np.exp(GROWTH * (rows[:, 1, None] - 45) / 45)
        return weight / weight.sum(axis=1, keepdims=True)


def patients(n: int, seed: int = 0) -> Patients:
    """Generated patients and the register of their town; the law is known (see `help(datasets.patients(1))`).

    n: at least 1. seed: an integer >= 0. A patient does not depend on how many there are.

    >>> patients(5).register.shape
    (15, 4)
    """
    if n < 1 or seed < 0:
        raise ValueError(f"n = {n}, seed = {seed}: at least one patient, and no negative seed")
    parts = [_block(start // BLOCK, stop - start, seed) for start, stop in spans(n, BLOCK)]
    rows, diagnosis, days, person, register, everybody = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((everybody, *register.T[::-1]))
    return Patients(rows, diagnosis, days, person, register[order], everybody[order])


def _block(number: int, count: int, seed: int) -> tuple[np.ndarray, ...]:
    rng, people = stream("patients", seed, number + 1), PEOPLE * BLOCK
    weight = stream("patients", seed).permutation(np.arange(1, POSTCODES + 1) ** -0.7)
    below = np.cumsum(weight / weight.sum())
    postcode = np.minimum(np.searchsorted(below, rng.random(people), "right"), POSTCODES - 1)
    ages = np.minimum(1.0, (AGES - np.arange(AGES)) / 30)
    age = np.minimum(np.searchsorted(np.cumsum(ages / ages.sum()), rng.random(people), "right"), AGES - 1)
    register = np.stack([postcode, age, rng.integers(2, size=people), rng.integers(JOBS, size=people)], axis=1)
    everybody = mix64(np.arange(people) + number * people, seed)
    chosen = PEOPLE * np.arange(BLOCK) + rng.integers(PEOPLE, size=BLOCK)
    rows = register[chosen]
    law = np.cumsum(Patients.probability(rows), axis=1)
    diagnosis = np.minimum((rng.random(BLOCK)[:, None] > law).sum(axis=1), len(DIAGNOSES) - 1)
    days = np.minimum(1 + rng.lognormal(1.0, 1.0, BLOCK).astype(np.int64), LONGEST)
    mine, theirs = slice(count), slice(PEOPLE * count)
    return rows[mine], diagnosis[mine], days[mine], everybody[chosen[mine]], register[theirs], everybody[theirs]
