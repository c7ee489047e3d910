"""Where a person stands in the course: each module with its score, and what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autograder import curriculum
from autograder.curriculum import Module
from autograder.grading import kept
from autograder.grading.report import Report


@dataclass(frozen=True)
class Standing:
    """One module. `report` is the last one, None where there is none; `current`: the notebook is still the same."""

    module: Module
    report: Report | None
    current: bool = True

    @property
    def score(self) -> float:
        """The points so far, without extras."""
        return self.report.score if self.report is not None else 0.0

    @property
    def share(self) -> float:
        """The points so far, from 0 to 1."""
        return self.score / self.module.max_score if self.module.max_score else 1.0

    @property
    def begun(self) -> bool:
        """Whether any exercise has been answered."""
        return self.report is not None and any(
            e.verdict not in ("unanswered", "untested") for e in self.report.exercises
        )

    @property
    def done(self) -> bool:
        """Whether every exercise that counts has all its points."""
        return self.report is not None and self.score == self.module.max_score


def standings(limits, root: Path = curriculum.ROOT) -> list[Standing]:
    """Every module of the course, in order. `limits`: those that notebooks are graded with."""
    found = []
    for name in curriculum.names(root):
        last = kept.get(name, limits, root)
        module = curriculum.load(name, root)
        found.append(Standing(module, last.report, last.current) if last else Standing(module, None))
    return found


def what_next(found: Sequence[Standing]) -> str:
    """One sentence: the exercise to go on with, or the next module whose needs are met."""
    for standing in found:
        if standing.begun and not standing.done:
            counted = [e for e in standing.report.exercises if not e.extra and e.verdict != "passed"]
            what = f"{counted[0].id} in module" if counted else "module"
            return f"Next: {what} {standing.module.title}."
    done = {standing.module.name[:2] for standing in found if standing.done}
    left = [standing for standing in found if not standing.done]
    ready = [standing for standing in left if done.issuperset(standing.module.needs)]
    first = next(iter(ready or left), None)
    return f"Next: module {first.module.title}." if first else "Every module is done. Well done."
