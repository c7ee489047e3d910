"""A figure in words, for people who do not see it: what its panels show, and where its curves begin and end."""

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
        titles = _some([_title(ax) for ax in pictures if _title(ax)])
        panels.append(f"{_count(len(pictures), 'picture')}{f': {titles}' if titles else ''}.")
    panels = [panel for panel in panels if panel]
    if len(panels) > 1:
        panels = [f"Panel {number}: {panel}" for number, panel in enumerate(panels, 1)]
    title = _plain(figure.get_suptitle())
    return " ".join([f"{title}."] * bool(title) + panels) or "An empty figure."


def _panel(ax) -> str:
    x, y = _plain(ax.get_xlabel()), _plain(ax.get_ylabel())
    logarithmic = [name for name, scale in (("x", ax.get_xscale()), ("y", ax.get_yscale())) if "log" in scale]
    axes = f"{y} against {x}" if x and y else x or y
    if logarithmic:
        axes = f"{axes or 'Axes'} (logarithmic: {' and '.join(logarithmic)})"
    sentences = [_title(ax), axes, _some(_curves(ax), "; "), _some(_bars(ax)), _some(_clouds(ax), "; "), _surfaces(ax)]
    return " ".join(f"{sentence.rstrip('.')}." for sentence in sentences if sentence)


def _curves(ax) -> Iterable[str]:
    import numpy as np

    plane = _holds_contours(ax)
    for line in ax.lines:
        label = "" if line.get_label().startswith("_") else _plain(line.get_label())
        x, y = (np.asarray(values, dtype=float) for values in line.get_data(orig=False))
        x, y = x[np.isfinite(y)], y[np.isfinite(y)]
        if not label and (len(y) < 3 or len(ax.lines) > MOST):
            continue  # a rule, a mark, or one of many
        name = label or "A curve"
        if len(y) == 2 and (x[0] == x[1] or y[0] == y[1]):
            yield f"{name}: a straight line at {x[0] if x[0] == x[1] else y[0]:.3g}"
        elif len(y) < 2 or line.get_linestyle() in ("None", "none", "", " "):
            yield f"{name}: {_count(len(y), 'point')}" + (f" from {min(y):.3g} to {max(y):.3g}" if len(y) > 1 else "")
        elif plane:
            yield f"{name} goes from ({x[0]:.3g}, {y[0]:.3g}) to ({x[-1]:.3g}, {y[-1]:.3g})"
        else:
            yield f"{name} goes from {y[0]:.3g} to {y[-1]:.3g}"


def _bars(ax) -> Iterable[str]:
    from matplotlib.container import BarContainer

    for bars in ax.containers:
        if isinstance(bars, BarContainer) and len(bars):
            lying = bars.orientation == "horizontal"
            lengths = [bar.get_width() if lying else bar.get_height() for bar in bars]
            names = [_plain(tick.get_text()) for tick in (ax.get_yticklabels() if lying else ax.get_xticklabels())]
            if len(lengths) <= MOST and len(lengths) == len(names) and all(names):
                yield from (f"{name}: {length:.3g}" for name, length in zip(names, lengths, strict=True))
            else:
                yield f"{_count(len(lengths), 'bar')} from {min(lengths):.3g} to {max(lengths):.3g}"


def _clouds(ax) -> Iterable[str]:
    from matplotlib.collections import PathCollection

    for cloud in ax.collections:
        if isinstance(cloud, PathCollection) and len(cloud.get_offsets()):
            label = "" if cloud.get_label().startswith("_") else f"{_plain(cloud.get_label())}: "
            yield f"{label}{_count(len(cloud.get_offsets()), 'point')}"


def _surfaces(ax) -> str:
    from matplotlib.quiver import Quiver

    found = ["an image"] if ax.images else []
    found += ["contour lines"] if _holds_contours(ax) else []
    found += ["arrows"] if any(isinstance(one, Quiver) for one in ax.collections) else []
    return f"With {' and '.join(found)}" if found else ""


def _holds_contours(ax) -> bool:
    from matplotlib.contour import ContourSet

    return any(isinstance(one, ContourSet) for one in ax.collections)


def _title(ax) -> str:
    return " ".join(filter(None, (_plain(ax.get_title(where)) for where in ("left", "center", "right"))))


def _some(parts: Iterable[str], between: str = ", ") -> str:
    parts = list(parts)
    more = [f"and {len(parts) - MOST} more"] if len(parts) > MOST else []
    return between.join([*parts[:MOST], *more])


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _plain(text: str) -> str:
    """One line, without the dollars of formulas."""
    return " ".join(text.replace("$", "").split())
