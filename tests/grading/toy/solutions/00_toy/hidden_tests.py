import numpy as np
import pytest

from autograder.judging import close, raises_student, student_side


@pytest.mark.exercise("mean_square", weight=3, core=True, hint=2)
@pytest.mark.parametrize("n", [1, 7, 100])
def test_mean_of_squares(submission, reference, rng, n):
    """The mean of the squares is right for any length."""
    x = rng.normal(size=n)
    assert close(submission.mean_square(x), reference.mean_square(x), rtol=1e-6)  # float32 will do


@pytest.mark.exercise("mean_square")
def test_integers(submission):
    """Integers do not overflow."""
    assert close(submission.mean_square(np.full(4, 100, dtype=np.int8)), 10_000.0, rtol=1e-12)


@pytest.mark.exercise("last", core=True)
def test_last_row(submission, rng):
    """The last row is returned, however many there are."""
    for n in (1, 2, 5):
        x = rng.normal(size=(n, 3))
        assert close(submission.last(x), x[-1])


@pytest.mark.exercise("root_mean_square", weight=2, core=True, depends=["mean_square"])
def test_root(submission, rng):
    """The root of the mean of the squares is right."""
    x = rng.normal(size=9)
    assert close(submission.root_mean_square(x), np.linalg.norm(x) / 3, rtol=1e-12)


@pytest.mark.exercise("root_mean_square")
def test_empty(submission):
    """Empty input raises ValueError."""
    with raises_student(ValueError):
        submission.root_mean_square(np.zeros(0))


@pytest.mark.exercise("solve", core=True)
def test_solves(submission, rng):
    """a * x is b."""
    a, b = (float(value) for value in rng.uniform(1, 2, size=2))
    assert abs(submission.solve(a, b) * a - b) <= 1e-12


@pytest.mark.exercise("total", weight=4, core=True, memory_mb=64)
def test_one_chunk_at_a_time(submission):
    """A stream far larger than the memory can be summed."""
    chunks = (np.ones(1_000_000) for _ in range(20))
    assert close(submission.total(chunks), 2e7)


@student_side
def unchanged(chunks):
    before = [chunk.copy() for chunk in chunks]
    student.total(chunks)  # noqa: F821
    return all((a == b).all() for a, b in zip(before, chunks, strict=True))


@pytest.mark.exercise("total", forgeable=True)
def test_leaves_its_input_alone(submission, rng):
    """The chunks are not modified."""
    assert submission.run(unchanged, [rng.normal(size=3)]) is True


@student_side
def total_of_file(path):
    return student.total(iter(np.load(path, mmap_mode="r")))  # noqa: F821


@pytest.mark.exercise("total")
def test_reads_from_disk(submission, rng, data_dir):
    """Chunks that lie on disk are summed as well."""
    chunks = rng.normal(size=(5, 100))
    np.save(data_dir / "chunks.npy", chunks)
    assert close(submission.run(total_of_file, str(data_dir / "chunks.npy")), chunks.sum(), rtol=1e-10, atol=1e-10)


@pytest.mark.exercise("Counter", core=True, seconds=8)
def test_counts(submission, rng):
    """The count is the sum of what was added."""
    counter = submission.Counter()
    numbers = [int(k) for k in rng.integers(1, 9, size=4)]
    for k in numbers:
        counter.add(k)
    assert counter.count == sum(numbers)
