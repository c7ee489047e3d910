"""The figure helpers: what they draw, with whose colours, and that nothing is written on stderr."""

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from lsml_utils import plotting

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context():
        plotting.use()
        yield
    plt.close("all")


def luminance(colour) -> float:
    """Relative luminance as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_and_lines_stand_out_from_the_paper():
    """WCAG asks 4.5 of text; lines are thick and dashed, and the lightest is meant for few uses."""
    assert contrast(plotting.INK, plotting.PAPER) > 7
    assert contrast(plotting.MUTED, plotting.PAPER) > 4.5
    assert all(contrast(colour, plotting.PAPER) > 2.1 for colour in plotting.COLOURS)


def test_figures_have_paper_of_their_own_in_any_theme():
    assert plt.figure().get_facecolor()[3] == 1.0
    assert mpl.rcParams["savefig.facecolor"] == plotting.PAPER


@pytest.mark.parametrize("kind", ["deuteranopia", "protanopia"])
def test_neighbouring_colours_differ_for_the_colour_blind(kind):
    """Simulated in linear RGB (Viénot, Brettel and Mollon 1999). The first four are used most; dashes differ too."""
    matrix = {
        "deuteranopia": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
        "protanopia": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    }[kind]
    seen = [
        np.clip(np.array(matrix) @ np.array(mpl.colors.to_rgb(c)) ** 2.2, 0, 1) ** (1 / 2.2) for c in plotting.COLOURS
    ]
    for i in range(4):
        for j in range(i):
            assert np.linalg.norm(seen[i] - seen[j]) > 0.14
    assert len(set(map(str, plotting.DASHES))) == len(plotting.DASHES) == len(plotting.COLOURS)


def test_curves():
    lines = {"a": [3.0, 1.0], "b": ([10, 20], torch.tensor([2.0, 1.0], requires_grad=True))}
    ax = plotting.curves(lines, xlabel="step", ylabel="loss", title="t", logy=True)
    first, second = ax.get_lines()
    assert first.get_xydata().tolist() == [[0, 3], [1, 1]] and second.get_xydata().tolist() == [[10, 2], [20, 1]]
    assert first.get_linestyle() != second.get_linestyle() and first.get_color() != second.get_color()
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale(), ax.get_xscale()) == ("step", "loss", "log", "linear")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_curves_take_the_axes_they_are_given():
    _, axes = plt.subplots(1, 2)
    assert plotting.curves({"a": [1, 2]}, ax=axes[1]) is axes[1]


def test_a_legend_of_many_lines_hides_no_curve():
    ax = plotting.curves({str(k): np.arange(10) * k for k in range(6)}, xlabel="x")
    ax.figure.canvas.draw()
    legend = ax.get_legend().get_window_extent()
    assert legend.y1 <= ax.xaxis.label.get_window_extent().y0 + 1


def test_contours_draw_paths_and_the_minimum():
    path = np.array([[1.0, 1.0], [0.5, 0.2], [0.0, 0.0]])
    ax = plotting.contours(lambda t: t[0] ** 2 + 10 * t[1] ** 2, (-2, 2), (-1, 1), paths={"p": path}, minimum=(0, 0))
    assert ax.get_xlim() == (-2, 2) and ax.get_ylim() == (-1, 1)
    assert ax.get_lines()[0].get_xydata().tolist() == path.tolist()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["p", "minimum"]


def test_contours_stand_a_function_with_infinities():
    plotting.contours(lambda t: np.inf if t[0] > 1 else t @ t, (-2, 2), (-1, 1))


def test_decision_regions_ask_about_the_whole_plane():
    asked = []

    def predict(points):
        asked.append(points)
        return np.where(points[:, 0] > 0, "right", "left")

    X, y = np.array([[-1.0, 0.0], [1.0, 2.0]]), np.array(["left", "right"])
    ax = plotting.decision_regions(predict, X, y)
    (points,) = asked
    assert points.shape[1] == 2 and points.min(axis=0)[0] < -1 and points.max(axis=0)[1] > 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["left", "right"]


def test_decision_regions_stand_one_class_and_one_column_of_points():
    plotting.decision_regions(lambda P: np.zeros(len(P)), np.zeros((3, 2)), [0, 0, 0])


def test_image_grid_shows_each_image_with_its_title():
    figure = plotting.image_grid(np.random.default_rng(0).random((5, 4, 4)), titles="abcde", columns=3)
    assert [ax.get_title() for ax in figure.axes] == list("abcde")


@pytest.mark.parametrize("images", [np.zeros((2, 4, 4, 1)), torch.zeros(2, 4, 4), [np.zeros((4, 4, 3), np.uint8)] * 2])
def test_image_grid_takes_grey_colour_and_tensors(images):
    assert len(plotting.image_grid(images).axes) == 2


def test_image_grid_draws_boxes_around_pixels():
    figure = plotting.image_grid(
        np.zeros((1, 8, 8, 3)), boxes=[np.array([[2, 3, 5, 7]])], masks=np.ones((1, 8, 8), int)
    )
    (box,) = figure.axes[0].patches
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((1.5, 2.5), 3, 4)
    assert len(figure.axes[0].images) == 2


def test_confusion_matrix_shows_its_counts_and_stands_an_empty_row():
    ax = plotting.confusion_matrix([[1200, 3], [0, 0]], labels=["no", "yes"])
    assert [text.get_text() for text in ax.texts] == ["1,200", "3", "0", "0"]
    assert ax.get_ylabel() == "true"


def test_the_gallery_shows_every_helper_and_its_pictures_are_there():
    source = (GALLERY / "gallery.py").read_text(encoding="utf-8")
    helpers = ["curves", "contours", "decision_regions", "image_grid", "confusion_matrix"]
    assert all(f"plotting.{name}(" in source for name in helpers) and ".plot(" in source
    page = (GALLERY.parent / "lsml_utils.md").read_text(encoding="utf-8")
    for name in [*helpers, "image_grid_boxes", "image_grid_masks", "scaling"]:
        assert (GALLERY / f"{name}.png").is_file() and f"gallery/{name}.png" in page


def test_drawing_says_nothing_on_stderr():
    """A warning there would cost points in stock nbgrader."""
    code = (
        "from lsml_utils import plotting; import matplotlib; matplotlib.use('Agg'); plotting.use()\n"
        "plotting.curves({'θ': [1, 2]}, xlabel='λ × n', title='T').figure.canvas.draw()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
