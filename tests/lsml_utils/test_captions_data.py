"""captions shows what its sentences say."""

import numpy as np
import pytest

from lsml_utils import datasets


def test_pictures_show_what_is_said():
    """The coloured pixels lie in the quarter that is named, and their mean colour is nearest to the named one."""
    data = datasets.captions(300, noise=0.0)
    from lsml_utils.datasets.captions import RGB

    for image, colour, place in zip(data.images.astype(float), data.colour, data.place, strict=True):
        ground = image[[0, 0, -1, -1], [0, -1, 0, -1]].mean(axis=0)
        shown = np.abs(image - ground).sum(axis=2) > 60
        rows, columns = np.nonzero(shown)
        assert (columns.mean() > 15.5, rows.mean() > 15.5) == (place % 2 == 1, place // 2 == 1)
        assert np.argmin(np.linalg.norm(RGB - image[shown].mean(axis=0), axis=1)) == colour


def test_shapes_differ_in_how_they_fill_their_box():
    data = datasets.captions(2000, noise=0.0, seed=1)
    ground = data.images[:, 0, 0].astype(float)  # a corner may be covered by a large shape
    shown = np.abs(data.images - ground[:, None, None]).sum(axis=3) > 60
    shares = []
    for mask in shown:
        rows, columns = np.nonzero(mask)
        shares.append(mask.sum() / max(1, np.ptp(rows) + 1) / max(1, np.ptp(columns) + 1) if len(rows) else 0)
    means = [np.mean(np.array(shares)[data.shape == s]) for s in range(4)]
    assert means[0] > 0.7 and means[1] > 0.6 and means[2] < 0.6 and means[3] < 0.6


def test_held_out_pairs_stay_out():
    pairs = {which: datasets.captions(1500, pairs=which) for which in ("all", "usual", "held out")}
    seen = {which: set(zip(data.colour.tolist(), data.shape.tolist(), strict=True)) for which, data in pairs.items()}
    assert len(seen["all"]) == 24 and len(seen["usual"]) == 20
    assert seen["held out"] == set(datasets.captions(1).held_out) == seen["all"] - seen["usual"]


def test_sentences_and_their_numbers():
    data = datasets.captions(400)
    table = datasets.caption_tokens(data.texts)
    assert table.shape == (400, 10) and set(data.template.tolist()) == {0, 1, 2, 3}
    for text, row, colour, shape in zip(data.texts, table, data.colour, data.shape, strict=True):
        assert " ".join(data.words[k - 1] for k in row if k) == text
        assert data.colours[colour] in text and data.shapes[shape] in text
    assert datasets.caption(5, 3, 1, 2) == "the cross in the top right is white"


def test_captions_are_functions_of_their_seed():
    whole, few = datasets.captions(600), datasets.captions(520)
    assert np.array_equal(whole.images[:520], few.images) and whole.texts[:520] == few.texts
    chunks = list(datasets.captions_chunks(600))
    assert [len(chunk) for chunk in chunks] == [512, 88] and np.array_equal(chunks[1].images, whole.images[512:])
    assert not np.array_equal(datasets.captions(5, seed=1).images, datasets.captions(5, seed=2).images)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"size": 15}, {"pairs": "some"}, {"noise": -1.0}])
def test_impossible_captions_are_refused(wrong):
    with pytest.raises(ValueError, match="at least"):
        datasets.captions_chunks(**{"n": 2} | wrong)
