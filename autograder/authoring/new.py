"""`lsml new`: a module's three files, small and complete, for an author to change."""

from pathlib import Path

from autograder import curriculum
from autograder.errors import UserError

TEMPLATES = Path(__file__).parent / "templates"


def create(name: str, title: str, root: Path = curriculum.ROOT) -> list[Path]:
    """Write the notebook, the hidden tests and the answers of a new module; their paths. UserError."""
    if not curriculum.MODULE_NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot name a module: write two digits, _ and a lower-case topic, such as 27_bandits"
        )
    if not title.strip() or not title.isprintable():
        raise UserError("the title must be one line of text")
    if taken := [known for known in curriculum.names(root) if known[:2] == name[:2]]:
        raise UserError(f"the number {name[:2]} belongs to {taken[0]}; choose another")
    files = list(vars(curriculum.files(name, root)).values())
    for path in files:
        if path.exists():
            raise UserError(f"{path.relative_to(root)} is there already; nothing was written")
    for path in files:
        text = (TEMPLATES / path.name).read_text(encoding="utf-8")
        path.parent.mkdir(parents=True, exist_ok=True)
        filled = text.replace("NN_topic", name).replace("# NN TITLE", f"# {name[:2]} {title.strip()}")
        filled = filled.replace("### NN.", f"### {int(name[:2])}.")
        path.write_text(filled, encoding="utf-8", newline="\n")
    return files
