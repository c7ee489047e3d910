"""A page that draws the map of the modules: what each needs, and how far one person is."""

import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from autograder.desk.standing import Standing, what_next

WIDTH, HEIGHT, GAP_X, GAP_Y = 178, 58, 46, 18  # of a box and between boxes, in units of the drawing


@dataclass(frozen=True)
class Box:
    """A module on the map: its upper left corner, and the lines of its title."""

    standing: Standing
    x: int
    y: int
    lines: tuple[str, ...]

    @property
    def number(self) -> str:
        """Such as "01"."""
        return self.standing.module.name[:2]


def render(found: Sequence[Standing]) -> str:
    """The whole page, HTML that loads nothing from anywhere."""
    boxes = placed(found)
    known = {box.number: box for box in boxes}
    before: dict[str, set[str]] = {}  # of each module, all that must come before it
    arrows = []
    for box in boxes:
        module = box.standing.module
        needs = [need for need in module.needs if need in known]
        before[box.number] = set(needs).union(*(before[need] for need in needs))
        direct = [need for need in needs if not any(need in before[other] for other in needs)]
        arrows += [(_arrow(known[need], box), "needs") for need in direct]
        arrows += [(_arrow(known[help], box), "helped") for help in module.helped_by if help in known]
    environment = Environment(
        loader=PackageLoader("autograder.desk"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["points"] = lambda points: f"{points:.2f}".rstrip("0").rstrip(".")
    return environment.get_template("progress.html.j2").render(
        boxes=boxes,
        arrows=arrows,
        next=what_next(found),
        width=max(box.x for box in boxes) + WIDTH + 2,
        height=max(box.y for box in boxes) + HEIGHT + 2,
        box=(WIDTH, HEIGHT),
        score=sum(standing.score for standing in found),
        max_score=sum(standing.module.max_score for standing in found),
    )


def placed(found: Sequence[Standing]) -> list[Box]:
    """Each module in the column behind those that it needs and those that help."""
    column: dict[str, int] = {}
    for standing in found:  # a module needs lower numbers only
        module = standing.module
        earlier = (*module.needs, *module.helped_by)
        column[module.name[:2]] = 1 + max((column.get(number, -1) for number in earlier), default=-1)
    rows = {number: itertools.count() for number in column.values()}
    return [
        Box(
            standing,
            1 + column[standing.module.name[:2]] * (WIDTH + GAP_X),
            1 + next(rows[column[standing.module.name[:2]]]) * (HEIGHT + GAP_Y),
            tuple(textwrap.wrap(standing.module.title, 22)[:2]),
        )
        for standing in found
    ]


def _arrow(start: Box, end: Box) -> str:
    """The path of a curve from the right side of a box to the left side of another, in a column further right."""
    (a, b), (c, d) = (start.x + WIDTH, start.y + HEIGHT // 2), (end.x, end.y + HEIGHT // 2)
    return f"M {a} {b} C {a + GAP_X} {b}, {c - GAP_X} {d}, {c} {d}"
