"""A figure in words, for people who do not see it: what its panels show, and where its curves begin and end."""

import re
from collections.abc import Iterable

MOST = 6  # curves, bars or pictures that are told one by one


def of_figure(figure) -> str:
    """What a matplotlib Figure shows.

    >>> from lsml_utils import plotting
    >>> ax = plotting.curves({"slow": [1, 0.5], "fast": [1, 0.1]}, xlabel="step", ylabel="loss", title="Loss falls")
    >>> of_figure(ax.figure)
    'Loss falls. loss against step. slow goes from 1 to 0.5; fast goes from 1 to 0.1.'
    """
    axes = [ax for ax in figure.axes if ax.get_visible() and ax.get_label() != "<colorbar>"]
    pictures = [ax for ax in axes if ax.images and not ax.axison]
    panels = [_panel(ax) for ax in axes if ax not in pictures]
    if pictures:
        panels.append(_sentences([_pictures(pictures)]))
    panels = [panel for panel in panels if panel]
    if len(panels) > 1:
        panels = [f"Panel {number}: {panel}" for number, panel in enumerate(panels, 1)]
    title = _plain(figure.get_suptitle())
    return " ".join(filter(None, [_sentences([title]), *panels])) or "An empty figure."


def _pictures(axes) -> str:
    sizes = {ax.images[0].get_size() for ax in axes}
    of = " of {1} by {0} pixels".format(*sizes.pop()) if len(sizes) == 1 else ""
    boxes = sum(len(ax.patches) for ax in axes)
    drawn = f" with {_count(boxes, 'box', 'boxes')}" if boxes else ""
    titles = _some([_title(ax) for ax in axes if _title(ax)])
    return f"{_count(len(axes), 'picture')}{of}{drawn}{f': {titles}' if titles else ''}"


def _panel(ax) -> str:
    x, y = _plain(ax.get_xlabel()), _plain(ax.get_ylabel())
    logarithmic = [name for name, scale in (("x", ax.get_xscale()), ("y", ax.get_yscale())) if "log" in scale]
    axes = f"{y} against {x}" if x and y else x or y
    if logarithmic:
        axes = f"{axes or 'Axes'} (logarithmic: {' and '.join(logarithmic)})"
    sentences = [_title(ax), axes, _some(_curves(ax), "; "), _some(_bars(ax)), _some(_clouds(ax), "; "), _surfaces(ax)]
    return _sentences(sentences)


def _sentences(parts: Iterable[str]) -> str:
    return " ".join(part if part[-1] in ".?!" else f"{part}." for part in parts if part)


def _curves(ax) -> Iterable[str]:
    import numpy as np

    plane = _holds_contours(ax)
    for line in ax.lines:
        label = _label(line)
        x, y = (np.asarray(values, dtype=float) for values in line.get_data(orig=False))
        x, y = x[np.isfinite(y)], y[np.isfinite(y)]
        if not label and (len(y) < 3 or len(ax.lines) > MOST):
            continue  # a rule, a mark, or one of many
        name = label or "A curve"
        if not len(y):
            yield name  # a line of the legend that stands for others
            continue
        if len(y) == 2 and (x[0] == x[1] or y[0] == y[1]):
            yield f"{name}: a straight line at {_number(x[0] if x[0] == x[1] else y[0])}"
        elif len(y) == 1 or line.get_linestyle() in ("None", "none", "", " "):
            yield f"{name}: {_count(len(y), 'point')}" + (
                f" from {_number(min(y))} to {_number(max(y))}" if len(y) > 1 else ""
            )
        elif plane:
            yield f"{name} goes from ({_number(x[0])}, {_number(y[0])}) to ({_number(x[-1])}, {_number(y[-1])})"
        else:
            yield f"{name} goes from {_number(y[0])} to {_number(y[-1])}"


def _bars(ax) -> Iterable[str]:
    from matplotlib.container import BarContainer

    for bars in ax.containers:
        if isinstance(bars, BarContainer) and len(bars):
            lying = bars.orientation == "horizontal"
            lengths = [bar.get_width() if lying else bar.get_height() for bar in bars]
            names = [_plain(tick.get_text()) for tick in (ax.get_yticklabels() if lying else ax.get_xticklabels())]
            if len(lengths) <= MOST and len(lengths) == len(names) and all(names):
                yield from (f"{name}: {_number(length)}" for name, length in zip(names, lengths, strict=True))
            else:
                yield f"{_count(len(lengths), 'bar')} from {_number(min(lengths))} to {_number(max(lengths))}"


def _clouds(ax) -> Iterable[str]:
    from matplotlib.collections import PathCollection

    for cloud in ax.collections:
        if isinstance(cloud, PathCollection) and len(cloud.get_offsets()):
            label = _label(cloud)
            yield f"{label and f'{label}: '}{_count(len(cloud.get_offsets()), 'point')}"


def _surfaces(ax) -> str:
    from matplotlib.quiver import Quiver

    found = ["an image"] if ax.images else []
    found += ["contour lines"] if _holds_contours(ax) else []
    found += ["arrows"] if any(isinstance(one, Quiver) for one in ax.collections) else []
    return f"With {' and '.join(found)}" if found else ""


def _holds_contours(ax) -> bool:
    from matplotlib.contour import ContourSet

    return any(isinstance(one, ContourSet) for one in ax.collections)


def _label(artist) -> str:
    """Its name in a legend; empty where it is in none."""
    label = artist.get_label() or "_"
    return "" if label.startswith("_") else _plain(label)


def _title(ax) -> str:
    return " ".join(filter(None, (_plain(ax.get_title(where)) for where in ("left", "center", "right"))))


def _some(parts: Iterable[str], between: str = ", ") -> str:
    parts = list(parts)
    more = [f"and {len(parts) - MOST} more"] if len(parts) > MOST else []
    return between.join([*parts[:MOST], *more])


def _count(n: int, one: str, more: str | None = None) -> str:
    return f"{n} {one if n == 1 else more or one + 's'}"


def _number(value: float) -> str:
    return f"{value + 0.0:.3g}"  # no -0


def _plain(text: str) -> str:
    """One line, without the dollars and braces of formulas."""
    parts = text.split("$")
    parts[1::2] = [re.sub(r"[{}]", "", formula) for formula in parts[1::2]]
    return " ".join("".join(parts).split())
