"""A page that draws the map of the modules: what each needs, and how far one person is."""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from autograder.desk import layout
from autograder.desk.standing import Standing, what_next


def render(found: Sequence[Standing]) -> str:
    """The whole page, HTML that loads nothing from anywhere."""
    drawing = layout.drawing([standing.module for standing in found])
    environment = Environment(
        loader=PackageLoader("autograder.desk"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["points"] = lambda points: f"{points:.2f}".rstrip("0").rstrip(".")
    return environment.get_template("progress.html.j2").render(
        boxes=list(zip(drawing.boxes, found, strict=True)),
        arrows=drawing.arrows,
        next=what_next(found),
        width=drawing.size[0],
        height=drawing.size[1],
        box=(layout.WIDTH, layout.HEIGHT),
        score=sum(standing.score for standing in found),
        max_score=sum(standing.module.max_score for standing in found),
    )
