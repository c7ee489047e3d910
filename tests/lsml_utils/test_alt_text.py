"""What a figure says to people who do not see it."""

import matplotlib as mpl
import numpy as np
import pytest

from lsml_utils import alt_text, plotting

mpl.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


def said(draw, **options):
    figure, ax = plt.subplots(**options)
    draw(ax)
    return alt_text.of_figure(figure)


def test_curves_with_their_ends_and_scales():
    ax = plotting.curves({"slow": [1.0, 0.5], "fast": [1.0, 1e-7]}, xlabel="step", ylabel="$J$", logy=True)
    text = alt_text.of_figure(ax.figure)
    assert text == "J against step (logarithmic: y). slow goes from 1 to 0.5; fast goes from 1 to 1e-07."


def test_a_path_on_a_plane_has_two_numbers_at_each_end():
    path = np.array([[1.0, 2.0], [0.5, 1.0], [0.0, 0.25]])
    ax = plotting.contours(lambda p: p @ p, (-1, 1), (-1, 1), paths={"gd": path}, minimum=(0, 0), title="Down")
    text = alt_text.of_figure(ax.figure)
    assert "gd goes from (1, 2) to (0, 0.25); minimum: 1 point" in text
    assert text.startswith("Down. θ₁ against θ₀.") and text.endswith("With contour lines.")


def test_rules_points_and_gaps():
    def draw(ax):
        ax.axvline(3.0, label="limit")
        ax.axhline(7.0, label="level")
        ax.plot([0, 1, 2], [np.nan, 4.0, 5.0], label="late")
        ax.plot([0, 1, 2], [1.0, 9.0, 2.0], "o", linestyle="none", label="measured")
        ax.axvline(1.0)

    text = said(draw)
    assert "limit: a straight line at 3; level: a straight line at 7" in text
    assert "late goes from 4 to 5; measured: 3 points from 1 to 9." in text
    assert "A curve" not in text


def test_many_curves_are_counted():
    text = said(lambda ax: [ax.plot([0, 1], [0, i], label=f"run {i}") for i in range(1, 11)])
    assert "run 6 goes from 0 to 6; and 4 more." in text and "run 7" not in text


def test_bars_with_their_names():
    assert said(lambda ax: ax.bar(["mine", "peer"], [2.0, 0.5])) == "mine: 2, peer: 0.5."
    assert said(lambda ax: ax.barh(["mine", "peer"], [2.0, 0.5])) == "mine: 2, peer: 0.5."
    assert said(lambda ax: ax.hist([1, 1, 2], bins=20)) == "20 bars from 0 to 2."


def test_points_and_regions():
    ax = plotting.decision_regions(lambda P: P[:, 0] > 0, np.eye(3)[:, :2], [0, 1, 1], title="Two classes")
    text = alt_text.of_figure(ax.figure)
    assert "Two classes. 0: 1 point; 1: 2 points. With an image" in text


def test_pictures_are_told_by_their_titles():
    figure = plotting.image_grid(np.zeros((8, 4, 4)), titles=list("abcdefgh"))
    assert alt_text.of_figure(figure) == "8 pictures of 4 by 4 pixels: a, b, c, d, e, f, and 2 more."


def test_pictures_without_titles_have_a_size_and_boxes():
    figure = plotting.image_grid(np.zeros((2, 3, 5)), boxes=[[[0, 0, 1, 1], [1, 1, 2, 2]], [[0, 0, 1, 1]]])
    assert alt_text.of_figure(figure) == "2 pictures of 5 by 3 pixels with 3 boxes."


def test_questions_formulas_and_legends_of_several():
    def draw(ax):
        ax.set_title("Does it fall?")
        ax.plot([], [], label="each of forty")
        ax.plot([0, 1, 2], [-0.0, 1.0, -0.0], label="slope $m^{1.43}$ of {a}")

    assert said(draw) == "Does it fall? each of forty; slope m^1.43 of {a} goes from 0 to 0."


def test_panels_are_numbered_and_colour_bars_are_none():
    figure, (left, right) = plt.subplots(1, 2)
    figure.suptitle("Both")
    left.set_title("First", loc="left")
    figure.colorbar(right.imshow(np.eye(2)), ax=right)
    right.set_xlabel("column")
    assert alt_text.of_figure(figure) == "Both. Panel 1: First. Panel 2: column. With an image."


def test_an_empty_figure_says_so():
    assert alt_text.of_figure(plt.figure()) == "An empty figure."


@pytest.mark.parametrize("of", [[], [np.nan], [np.inf, -np.inf]])
def test_no_curve_is_too_odd(of):
    assert isinstance(said(lambda ax: ax.plot(of, label="odd")), str)


def test_names_and_dates_along_an_axis():
    assert said(lambda ax: ax.plot(["a", "b", "c"], [1, 2, 3], label="L")) == "L goes from 1 to 3."
    days = np.array(["2026-01-01", "2026-01-02", "2026-01-03"], dtype="datetime64[D]")
    assert said(lambda ax: ax.plot(days, [1, 2, 3], label="L")) == "L goes from 1 to 3."
    assert said(lambda ax: ax.pie([1, 2])) == "An empty figure."


def test_what_has_no_label_is_told_without():
    def draw(ax):
        ax.plot([0, 1, 2], [1, 2, 3])[0].set_label(None)
        ax.scatter([0, 1], [1, 2]).set_label(None)

    assert said(draw) == "A curve goes from 1 to 3. 2 points."


def test_a_notebook_keeps_the_text_beside_its_picture(monkeypatch):
    from IPython.core.formatters import PNGFormatter
    from IPython.core.pylabtools import retina_figure
    from matplotlib.figure import Figure

    formatter = PNGFormatter()
    formatter.for_type(Figure, lambda figure: retina_figure(figure, base64=True))
    plotting._with_alt_text(formatter)
    ax = plotting.curves({"loss": [1.0, 0.5]}, xlabel="step")
    data, metadata = formatter(ax.figure)
    assert data and metadata["alt"] == "step. loss goes from 1 to 0.5." and metadata["width"] > 100

    def break_down(figure):
        raise ValueError("a kind of figure that nobody knows")

    monkeypatch.setattr(alt_text, "of_figure", break_down)
    data, metadata = formatter(ax.figure)
    assert data and "alt" not in metadata, "the picture is shown all the same"
