"""Each dataset is what it says: shapes, ground truth, exact functions of the seed, the catalogue."""

import hashlib
import itertools
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import scipy.stats

from lsml_utils import datasets
from lsml_utils.datasets import catalogue
from lsml_utils.datasets.clicks import BLOCK, NUMERIC, ROW

CHUNKED = {
    "linear": lambda n, **more: datasets.linear_chunks(n, 4, **more),
    "blobs": datasets.blobs_chunks,
    "moons": datasets.moons_chunks,
    "shapes": lambda n, **more: datasets.shapes_chunks(n, size=24, **more),
    "clips": lambda n, **more: datasets.clips_chunks(n, size=16, **more),
    "reviews": datasets.reviews_chunks,
    "clicks": lambda n, **more: datasets.clicks(n, **more).chunks(5000),
}


def digest(value) -> str:
    """A hash of everything that a dataset holds."""
    state = hashlib.sha256()

    def feed(part):
        if isinstance(part, np.ndarray):
            state.update(repr((part.shape, part.dtype.str)).encode() + np.ascontiguousarray(part).tobytes())
        elif isinstance(part, list | tuple):
            for item in part:
                feed(item)
        else:
            state.update(repr(part).encode())

    feed([getattr(value, name) for name in value.__dataclass_fields__])
    return state.hexdigest()


@pytest.mark.parametrize("name", CHUNKED)
def test_a_chunk_needs_none_before_it(name):
    n = {"shapes": 600, "clips": 600, "reviews": 3000}.get(name, 20_000)
    in_order = [digest(chunk) for chunk in CHUNKED[name](n)]
    fresh = CHUNKED[name](n)
    assert len(fresh) == len(in_order) > 1
    backwards = [digest(fresh[k]) for k in reversed(range(len(fresh)))]
    assert backwards[::-1] == in_order
    assert len(set(in_order)) == len(in_order)


@pytest.mark.parametrize("name", CHUNKED)
def test_another_seed_gives_other_data(name):
    n = 300
    assert (
        digest(CHUNKED[name](n, seed=1)[0])
        == digest(CHUNKED[name](n, seed=1)[0])
        != digest(CHUNKED[name](n, seed=2)[0])
    )


def test_data_is_the_same_in_another_process():
    """Nothing depends on Python's hash randomisation or on what ran before."""
    code = (
        "from lsml_utils import datasets as d; import hashlib\n"
        "r = d.reviews(50); s = d.shapes(3); c = d.clicks(100).read(0, 100)\n"
        "h = hashlib.sha256(repr((r.texts, r.roles, s.boxes)).encode() + s.images.tobytes() + c.hashed.tobytes())\n"
        "print(h.hexdigest())"
    )
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert len(found) == 1 and len(found.pop()) == 65


@pytest.mark.parametrize(
    ("long", "short"),
    [
        (lambda n: datasets.blobs(n).X, 9000),
        (lambda n: datasets.moons(n).X, 9000),
        (lambda n: datasets.shapes(n, size=24).images, 300),
        (lambda n: datasets.clicks(n).read(0, 400).numeric, 400),
    ],
)
def test_row_i_does_not_depend_on_the_number_of_rows(long, short):
    assert np.array_equal(long(2 * short)[:short], long(short))


def test_review_i_does_not_depend_on_the_number_of_reviews():
    assert datasets.reviews(1500).texts[:1100] == datasets.reviews(1100).texts


@pytest.mark.parametrize("name", ["linear", "blobs", "moons", "clicks"])
def test_memory_does_not_grow_with_the_length(name):
    """The peak over twenty times as many rows is the same, give or take bookkeeping."""

    def peak(n):
        tracemalloc.start()
        for _ in CHUNKED[name](n):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(BLOCK)
    assert peak(20 * BLOCK) < 1.3 * peak(2 * BLOCK)


@pytest.mark.parametrize(("n", "d", "condition"), [(50, 3, 1.0), (20_000, 5, 1e4), (8191, 8, 50.0), (9, 9, 7.0)])
def test_linear_has_the_condition_number_asked_for(n, d, condition):
    data = datasets.linear(n, d, condition=condition, noise=0.0, seed=3)
    eigenvalues = np.linalg.eigvalsh(data.X.T @ data.X / n)
    assert eigenvalues[-1] == pytest.approx(1.0, rel=1e-9)
    assert eigenvalues[-1] / eigenvalues[0] == pytest.approx(condition, rel=1e-6)
    assert data.y == pytest.approx(data.X @ data.theta)
    assert (data.X.shape, data.y.shape, data.theta.shape) == ((n, d), (n,), (d,))


def test_linear_noise_has_its_standard_deviation():
    """The standard error of a standard deviation from 20,000 draws is 0.5 %: five of them are allowed."""
    data = datasets.linear(20_000, 3, noise=0.5)
    assert np.std(data.y - data.X @ data.theta) == pytest.approx(0.5, rel=0.025)


def test_linear_refuses_what_cannot_be():
    with pytest.raises(ValueError, match=r"condition = 0\.5"):
        datasets.linear(10, 2, condition=0.5)


def test_blobs_lie_around_their_centres():
    data = datasets.blobs(6000, d=3, k=4, spread=0.5)
    for j in range(4):
        # 1,500 points: the mean is known to 0.5/sqrt(1500) = 0.013
        assert np.abs(data.X[data.y == j].mean(axis=0) - data.centers[j]).max() < 0.08


def test_moons_without_noise_lie_on_two_half_circles():
    data = datasets.moons(500, noise=0.0)
    radius = np.where(data.y == 0, np.hypot(*data.X.T), np.hypot(data.X[:, 0] - 1, data.X[:, 1] - 0.5))
    assert radius == pytest.approx(1.0)
    assert (data.X[data.y == 0, 1] >= 0).all() and (data.X[data.y == 1, 1] <= 0.5).all()


class TestGraph:
    data = datasets.graph(20_000, communities=3, degree=8, mixing=0.2, seed=5)

    def test_edges_go_both_ways_and_join_two_nodes(self):
        W = self.data.W
        assert W.format == "csr" and W.dtype == np.float64 and W.has_canonical_format
        assert (W != W.T).nnz == 0 and W.diagonal().sum() == 0 and set(W.data) == {1.0}

    def test_the_share_of_edges_between_communities_is_the_mixing(self):
        """80,000 edges: the standard error of the share is 0.0014, that of the mean degree 0.04: five are allowed."""
        a, b = self.data.W.nonzero()
        assert abs((self.data.y[a] != self.data.y[b]).mean() - 0.2) < 0.007
        assert abs(self.data.W.sum() / 20_000 - 8) < 0.1  # a loop, or an edge twice, in about 1 of 800 draws

    def test_edges_are_spread_over_all_nodes_alike(self):
        """Degrees are nearly Poisson: mean and variance are equal, in every community."""
        degrees = np.diff(self.data.W.indptr)
        for j in range(3):
            mine = degrees[self.data.y == j]
            assert abs(mine.mean() - 8) < 0.25 and abs(mine.var() / 8 - 1) < 0.1

    def test_another_seed_gives_another_graph(self):
        once, again, other = (datasets.graph(300, seed=seed) for seed in (1, 1, 2))
        assert (once.W != again.W).nnz == 0 and np.array_equal(once.y, again.y)
        assert (once.W != other.W).nnz > 0

    def test_memory_grows_with_the_edges(self):
        tracemalloc.start()
        datasets.graph(20_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 50 * 8 * 200_000  # an (n, n) array of bytes would take 400 MB

    @pytest.mark.parametrize("mixing", [0.0, 1.0])
    def test_mixing_has_two_ends(self, mixing):
        data = datasets.graph(500, communities=2, mixing=mixing)
        a, b = data.W.nonzero()
        assert len(a) > 0 and ((data.y[a] != data.y[b]) == bool(mixing)).all()
        assert datasets.graph(1, communities=1).W.nnz == 0

    @pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 3}, {"n": 9, "mixing": 1.5}, {"n": 9, "communities": 0}])
    def test_impossible_graphs_are_refused(self, wrong):
        with pytest.raises(ValueError, match="it must lie between"):
            datasets.graph(**wrong)


class TestClicks:
    def test_any_way_of_reading_gives_the_same_rows(self):
        log = datasets.clicks(BLOCK + 1000, seed=5)
        across = log.read(BLOCK - 10, BLOCK + 10)
        pieces = [log.read(BLOCK - 10, BLOCK), log.read(BLOCK, BLOCK + 10)]
        assert np.array_equal(across.hashed, np.concatenate([piece.hashed for piece in pieces]))
        assert np.array_equal(across.y, np.concatenate([piece.y for piece in pieces]))

    def test_the_file_holds_the_log(self, tmp_path):
        log = datasets.clicks(BLOCK + 123)
        mapped = log.memmap(tmp_path / "deep" / "clicks.npy")
        whole = log.read(0, log.rows)
        assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
        assert mapped.shape == (log.rows,) and mapped.dtype == ROW
        for name in ROW.names:
            assert np.array_equal(mapped[name], getattr(whole, name))
        assert (tmp_path / "deep" / "clicks.npy").stat().st_size == 60 * log.rows + mapped.offset
        assert np.array_equal(np.load(tmp_path / "deep" / "clicks.npy", mmap_mode="r")["y"], whole.y)

    def test_the_file_is_written_once(self, tmp_path):
        path = tmp_path / "clicks.npy"
        datasets.clicks(1000).memmap(path)
        before = path.stat().st_mtime_ns
        datasets.clicks(1000).memmap(path)
        assert path.stat().st_mtime_ns == before
        assert [file.name for file in tmp_path.iterdir()] == ["clicks.npy"]

    @pytest.mark.parametrize("other", [{"seed": 1}, {"rows": 999}, {"buckets": 2**10}])
    def test_another_log_under_that_name_is_refused(self, tmp_path, other):
        datasets.clicks(1000).memmap(tmp_path / "clicks.npy")
        with pytest.raises(ValueError, match="another log"):
            datasets.clicks(**{"rows": 1000, **other}).memmap(tmp_path / "clicks.npy")

    def test_an_interrupted_write_leaves_nothing(self, tmp_path, monkeypatch):
        log = datasets.clicks(3 * BLOCK)
        made = type(log)._block

        def fails(self, number):
            if number == 2:
                raise KeyboardInterrupt
            return made(self, number)

        monkeypatch.setattr(type(log), "_block", fails)
        with pytest.raises(KeyboardInterrupt):
            log.memmap(tmp_path / "clicks.npy")
        assert list(tmp_path.iterdir()) == []

    def test_clicks_come_from_the_model_that_it_names(self):
        """(y - p) sums to 0 within five standard deviations, in every tenth of the true probabilities."""
        log = datasets.clicks(100_000, seed=2)
        rows = log.read(0, 100_000)
        p = log.probability(rows)
        for part in np.array_split(np.argsort(p), 10):
            assert abs((rows.y[part] - p[part]).sum()) < 5 * np.sqrt((p[part] * (1 - p[part])).sum())
        assert 0.1 < rows.y.mean() < 0.4

    def test_the_sparse_matrix_gives_the_same_logits(self):
        log = datasets.clicks(2000, buckets=2**8)
        rows = log.read(0, 2000)
        X = rows.X
        assert X.shape == (2000, NUMERIC + 2**8)
        p = log.probability(rows)
        assert log.bias + X @ log.theta == pytest.approx(np.log(p / (1 - p)), rel=1e-5, abs=1e-5)
        assert X.sum(axis=1) - rows.numeric.sum(axis=1) == pytest.approx(6.0, abs=1e-4)

    def test_buckets_are_within_bounds(self):
        rows = datasets.clicks(50_000, buckets=64).read(0, 50_000)
        assert rows.hashed.min() >= 0 and rows.hashed.max() < 64
        assert len(np.unique(rows.hashed)) == 64

    def test_rows_outside_are_refused(self):
        with pytest.raises(ValueError, match="rows 5 to 11 of a log of 10"):
            datasets.clicks(10).read(5, 11)

    @pytest.mark.parametrize("arguments", [{"rows": 0}, {"rows": 10, "buckets": 100}])
    def test_impossible_logs_are_refused(self, arguments):
        with pytest.raises(ValueError, match="power of two"):
            datasets.clicks(**arguments)


class TestShapes:
    data = datasets.shapes(120, size=40, most=5, seed=4)

    def test_boxes_are_tight_around_the_visible_pixels(self):
        for instances, boxes in zip(self.data.instances, self.data.boxes, strict=True):
            assert len(boxes) == instances.max() >= 1
            for j, (x0, y0, x1, y1) in enumerate(boxes):
                visible = instances == j + 1
                assert not visible[:y0].any() and not visible[y1:].any()
                assert not visible[:, :x0].any() and not visible[:, x1:].any()
                assert all(edge.any() for edge in (visible[y0], visible[y1 - 1], visible[:, x0], visible[:, x1 - 1]))

    def test_masks_carry_the_class_of_each_object(self):
        for masks, instances, labels in zip(self.data.masks, self.data.instances, self.data.labels, strict=True):
            assert np.array_equal(masks > 0, instances > 0)
            for j, label in enumerate(labels):
                assert set(np.unique(masks[instances == j + 1])) == {label + 1}

    def test_every_class_and_every_number_of_objects_occurs(self):
        assert set(np.concatenate(self.data.labels)) == {0, 1, 2, 3}
        assert {len(boxes) for boxes in self.data.boxes} >= {1, 2, 3}

    def test_objects_stand_out_from_the_background(self):
        for image, instances in zip(self.data.images, self.data.instances, strict=True):
            assert image[instances > 0].max(axis=1).mean() > image[instances == 0].max(axis=1).mean() + 50

    def test_one_hot_sums_to_one(self):
        assert (datasets.one_hot(self.data.masks).sum(axis=1) == 1).all()


class TestClips:
    data = datasets.clips(600, frames=6, size=16, noise=0.0, seed=3)

    def test_each_frame_is_the_one_before_moved_by_the_same_step(self):
        steps = {0: (0, 1), 1: (1, 0), 2: (0, -1), 3: (-1, 0)}  # down, right
        for frames, direction in zip(self.data.frames, self.data.y, strict=True):
            down, right = steps[int(direction)]
            fits = [
                all(
                    np.array_equal(np.roll(a, (speed * down, speed * right), (0, 1)), b)
                    for a, b in itertools.pairwise(frames)
                )
                for speed in (1, 2, 3)
            ]
            assert sum(fits) >= 1

    def test_a_single_frame_does_not_show_the_direction(self):
        """Where the shape stands is uniform for each direction: its brightest row and column, by chi-squared."""
        for direction in range(4):
            frames = self.data.frames[self.data.y == direction][:, 2].astype(float)
            for axis in (1, 2):
                profile = frames.sum(axis=axis)
                phase = np.angle(profile @ np.exp(2j * np.pi * np.arange(16) / 16))  # of the middle, on the circle
                counts = np.histogram(phase, bins=4, range=(-np.pi, np.pi))[0]
                assert scipy.stats.chisquare(counts).pvalue > 1e-6

    def test_every_direction_and_shape_occurs(self):
        assert set(self.data.y) == set(self.data.shape) == {0, 1, 2, 3}
        assert datasets.clips(5, seed=1).frames.shape == (5, 8, 24, 24)

    @pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 1, "frames": 1}, {"n": 1, "size": 8}])
    def test_impossible_clips_are_refused(self, wrong):
        with pytest.raises(ValueError, match="at least"):
            datasets.clips(**wrong)


class TestReviews:
    data = datasets.reviews(800, seed=7)

    def test_spans_do_not_overlap_and_lie_inside(self):
        for kind in ("entities", "roles"):
            for tokens, spans in zip(self.data.tokens, getattr(self.data, kind), strict=True):
                taken = [i for span in spans for i in range(span.start, span.stop)]
                assert len(taken) == len(set(taken)) and all(0 <= i < len(tokens) for i in taken)

    def test_each_review_has_one_action_an_agent_and_a_theme(self):
        for roles in self.data.roles:
            labels = [span.label for span in roles]
            assert labels.count("ACTION") == labels.count("AGENT") == labels.count("THEME") == 1
            assert len(labels) == len(set(labels))

    def test_the_tags_say_the_same_as_the_spans(self):
        for tokens, spans, tags in zip(self.data.tokens, self.data.entities, self.data.tags("entities"), strict=True):
            assert len(tags) == len(tokens)
            assert sum(tag.startswith("B-") for tag in tags) == len(spans)
            assert sum(tag != "O" for tag in tags) == sum(span.stop - span.start for span in spans)

    def test_sentiment_follows_from_the_main_clauses(self):
        """An oracle that reads the text: drops subordinate clauses, then takes good words, turned by a negation."""
        from lsml_utils.datasets.reviews import BAD, GOOD

        for text, sentiment in zip(self.data.texts, self.data.sentiment, strict=True):
            verdicts = set()
            for sentence in text.rstrip(".").split(". "):
                clauses = [c for c in sentence.split(", ") if not c.lower().startswith(("although", "even if"))]
                for words in (clause.split() for clause in clauses):
                    if "recommend" in words:
                        verdicts.add("not" not in words)
                    for word in set(words) & {*GOOD, *BAD}:
                        verdicts.add((word in GOOD) != ("not" in words))
            assert verdicts == {bool(sentiment)}

    def test_both_sentiments_and_all_labels_occur(self):
        from lsml_utils.datasets.reviews import ENTITIES, ROLES

        assert 0.4 < self.data.sentiment.mean() < 0.6
        assert {span.label for spans in self.data.roles for span in spans} == set(ROLES)
        assert {span.label for spans in self.data.entities for span in spans} == set(ENTITIES)

    def test_agents_come_before_and_after_their_action(self):
        order = set()
        for roles in self.data.roles:
            starts = {span.label: span.start for span in roles}
            order.add(starts["AGENT"] < starts["ACTION"])
        assert order == {True, False}


@pytest.mark.parametrize("name", ["diabetes", "breast_cancer", "wine", "digits"])
def test_bundled_tables_are_what_the_catalogue_says(name):
    data = getattr(datasets, name)()
    entry = next(entry for entry in catalogue.ENTRIES if entry[0] == name)
    assert entry[1] == f"{len(data.X):,}" == f"{len(data.y):,}"
    if name != "digits":
        assert data.X.shape[1] == len(data.feature_names) and f"{data.X.shape[1]} features" in entry[2]
        assert entry[2].startswith(f"{len(data.target_names)} classes" if data.target_names else "regression")
    kibibytes = (data.X.nbytes + data.y.nbytes) / 1024
    assert entry[3] == f"{kibibytes:.0f} KiB"


def test_the_catalogue_names_every_dataset():
    names = {entry[0] for entry in catalogue.ENTRIES}
    public = {name for name in datasets.__all__ if name.islower() and not name.endswith("_chunks")}
    assert names == public - {"batches", "caption", "caption_tokens", "data_folder", "one_hot"}


def test_python_help_is_english_text():
    data = datasets.python_help()
    assert len(data.text) > 300_000 and data.text.count(" the ") > 3000
    assert "for" in data.topics and "characters" in repr(data)


def test_the_table_shows_as_text_and_as_html():
    table = datasets.list()
    assert "mnist" in repr(table) and "<table" in table._repr_html_()


def test_a_dataset_says_its_shapes():
    assert repr(datasets.moons(5)) == "Points(X: 5×2 float64, y: 5 int64, centers: None)"
    empty = datasets.graph(5, degree=0)
    assert repr(empty) == "Graph(W: 5×5 float64, 0 entries, y: 5 int64)"
