"""Where each module stands on the map of the course, and the lines between them."""

import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from autograder.curriculum import Module

WIDTH, HEIGHT, GAP_X, GAP_Y = 178, 58, 46, 18  # of a box and between boxes, in units of the drawing


@dataclass(frozen=True)
class Box:
    """A module on the map: its upper left corner, and the lines of its title."""

    module: Module
    x: int
    y: int
    lines: tuple[str, ...]

    @property
    def number(self) -> str:
        """Such as "01"."""
        return self.module.name[:2]


@dataclass(frozen=True)
class Drawing:
    """The whole map. `arrows`: the path of each line, and whether it "needs" or is "helped"."""

    boxes: tuple[Box, ...]
    arrows: tuple[tuple[str, str], ...]

    @property
    def size(self) -> tuple[int, int]:
        """Its width and height."""
        return max(box.x for box in self.boxes) + WIDTH + 2, max(box.y for box in self.boxes) + HEIGHT + 2


def drawing(modules: Sequence[Module]) -> Drawing:
    """The map of these modules, in the order of the course."""
    boxes = placed(modules)
    known = {box.number: box for box in boxes}
    before: dict[str, set[str]] = {}  # of each module, all that must come before it
    arrows = []
    for box in boxes:
        needs = [need for need in box.module.needs if need in known]
        before[box.number] = set(needs).union(*(before[need] for need in needs))
        direct = [need for need in needs if not any(need in before[other] for other in needs)]
        arrows += [(_arrow(known[need], box), "needs") for need in direct]
        arrows += [(_arrow(known[help], box), "helped") for help in box.module.helped_by if help in known]
    return Drawing(tuple(boxes), tuple(arrows))


def placed(modules: Sequence[Module]) -> list[Box]:
    """Each module in the column behind those that it needs and those that help."""
    column: dict[str, int] = {}
    for module in modules:  # a module needs lower numbers only
        earlier = (*module.needs, *module.helped_by)
        column[module.name[:2]] = 1 + max((column.get(number, -1) for number in earlier), default=-1)
    rows = {number: itertools.count() for number in column.values()}
    return [
        Box(
            module,
            1 + column[module.name[:2]] * (WIDTH + GAP_X),
            1 + next(rows[column[module.name[:2]]]) * (HEIGHT + GAP_Y),
            tuple(textwrap.wrap(module.title, 22)[:2]),
        )
        for module in modules
    ]


def _arrow(start: Box, end: Box) -> str:
    """The path of a curve from the right side of a box to the left side of another, in a column further right."""
    (a, b), (c, d) = (start.x + WIDTH, start.y + HEIGHT // 2), (end.x, end.y + HEIGHT // 2)
    return f"M {a} {b} C {a + GAP_X} {b}, {c - GAP_X} {d}, {c} {d}"
