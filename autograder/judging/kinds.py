"""Arrays as they come in practice, several shapes of one kind at a time."""

import numpy as np

from autograder.judging.arguments import frozen, stepped


def kinds(rng: np.random.Generator, *shapes: tuple[int, ...]) -> dict[str, tuple[np.ndarray, ...]]:
    """Arrays as they come in practice, name -> one array of each shape.

    Standard normal in float64 (strided with a step of 2 along the first axis and of -3 along the last; in Fortran
    order; read-only) and float32; whole numbers from -9 to 9 in int64 and int8, from 0 to 255 in uint8. No axis may
    have length 0.
    """
    normal = [np.asarray(rng.standard_normal(shape)) for shape in shapes]
    whole = [np.asarray(rng.integers(-9, 10, shape)) for shape in shapes]
    return {
        "strided": tuple(stepped(array) for array in normal),
        "Fortran order": tuple(np.array(array, order="F") for array in normal),
        "read-only": tuple(frozen(array) for array in normal),
        "float32": tuple(array.astype(np.float32) for array in normal),
        "int64": tuple(whole),
        "int8": tuple(array.astype(np.int8) for array in whole),
        "uint8": tuple(np.asarray(rng.integers(0, 256, shape, np.uint8)) for shape in shapes),
    }
