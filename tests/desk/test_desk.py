"""What a person has done, what is next, the map, and hints one by one."""

import json
import re
import shutil
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from autograder import curriculum
from autograder.cli import main
from autograder.desk import hints, layout, page
from autograder.desk.standing import Standing, standings, what_next
from autograder.grading import kept
from autograder.grading.report import ExerciseResult, Report
from autograder.sandbox import Limits


def graded(name, right, root=curriculum.ROOT):
    """A Report in which the first exercises have all their points."""
    module = curriculum.load(name, root)
    results = tuple(
        ExerciseResult(e.name, *(("passed", float(e.points)) if i < right else ("unanswered", 0.0)), e.points, e.extra)
        for i, e in enumerate(module.exercises)
    )
    score = sum(result.score for result in results if not result.extra)
    return Report(f"{name}.ipynb", name, "graded", score, module.max_score, 0.5, results)


@pytest.fixture
def root(tmp_path):
    """A course of two modules, with a notebook of the first one in work/."""
    for name in ("00_orientation", "01_gradient_descent"):
        shutil.copytree(curriculum.ROOT / "solutions" / name, tmp_path / "solutions" / name)
    shutil.copytree(curriculum.ROOT / "course" / "00_orientation", tmp_path / "work" / "00_orientation")
    return tmp_path


def test_a_report_is_kept_until_the_notebook_changes(root):
    name, path = "00_orientation", kept.notebook("00_orientation", root)
    assert kept.get(name, Limits(), root) is None
    report = graded(name, 2, root)
    kept.put(report, kept.own(path, root), Limits(), root)
    assert kept.get(name, Limits(), root) == kept.Kept(report, True)
    assert not kept.get(name, replace(Limits(), call_seconds=1.0), root).current
    kept.put(replace(report, status="grader_fault", score=None), kept.own(path, root), Limits(), root)
    assert kept.get(name, Limits(), root).report == report, "a fault says nothing of the notebook"
    path.write_bytes(path.read_bytes() + b"\n")
    assert kept.get(name, Limits(), root) == kept.Kept(report, False)
    (root / kept.FOLDER / f"{name}.json").write_text('{"key": 1, "report": {"exercises": 3}}')
    assert kept.get(name, Limits(), root) is None


def test_only_the_notebooks_in_work_are_ones_own(root, tmp_path):
    path = kept.notebook("00_orientation", root)
    elsewhere = tmp_path / "00_orientation.ipynb"
    elsewhere.write_bytes(path.read_bytes())
    assert kept.own(path, root) == path.read_bytes()
    assert kept.own(elsewhere, root) is None and kept.own(path.with_name("copy.ipynb"), root) is None
    path.unlink()
    assert kept.own(path, root) is None


def test_where_a_person_stands(root):
    none, one = standings(Limits(), root)
    assert not none.begun and not none.done and none.report is None and one.share == 0.0
    assert what_next([none, one]) == "Next: module 00 · Orientation."
    kept.put(graded("00_orientation", 1, root), kept.own(kept.notebook("00_orientation", root), root), Limits(), root)
    some, one = standings(Limits(), root)
    assert some.begun and not some.done and some.current and some.score == 1.0
    assert what_next([some, one]) == "Next: standardize in module 00 · Orientation."
    whole = replace(some, report=graded("00_orientation", 3, root))
    assert whole.done and whole.share == 1.0, "the extra is not needed"
    assert what_next([whole, one]) == "Next: module 01 · Gradient descent."
    last = replace(one, report=graded("01_gradient_descent", 99, root))
    assert what_next([whole, last]).startswith("Every module is done")


def test_what_is_next_is_what_one_is_ready_for():
    found = {name[:2]: Standing(curriculum.load(name), None) for name in curriculum.names()}
    for number in ("00", "01", "02"):
        module = found[number].module
        found[number] = Standing(module, graded(module.name, 99))
    left = [found[number] for number in found if number != "03"]
    assert "module 04" in what_next(list(left))
    unready = [found[number] for number in ("00", "01", "02", "06", "05")]
    assert "module 05" in what_next(unready), "06 needs more than is done"
    without = [one for one in left if one.done or not {"00", "01", "02"}.issuperset(one.module.needs)]
    assert "module 06" in what_next(without), "one that needs others, where nothing else is left"


@pytest.mark.parametrize("name", curriculum.names())
def test_every_module_says_what_it_needs_and_trains(name):
    module = curriculum.load(name)
    numbers = [other[:2] for other in curriculum.names()]
    assert len(module.skills) >= 3 and all(skill and "*" not in skill for skill in module.skills)
    assert all(number in numbers and number < name[:2] for number in (*module.needs, *module.helped_by))


def test_the_map_has_every_module_behind_what_it_needs():
    found = [Standing(curriculum.load(name), None) for name in curriculum.names()]
    boxes = {box.number: box for box in layout.placed([one.module for one in found])}
    assert len({(box.x, box.y) for box in boxes.values()}) == len(found)
    for box in boxes.values():
        for number in (*box.module.needs, *box.module.helped_by):
            assert boxes[number].x < box.x
    html = page.render(found)
    drawing = ElementTree.fromstring(re.search(r"<svg.*?</svg>", html, re.DOTALL)[0])
    assert drawing.get("aria-label") and len(drawing.findall("g")) == len(found)
    assert all(one.module.title in html for one in found)
    assert "http:" not in html and "https:" not in html and "src=" not in html


def test_the_commands(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(kept, "FOLDER", tmp_path)
    monkeypatch.setattr(hints, "FOLDER", tmp_path)
    monkeypatch.setattr(curriculum, "ROOT", tmp_path)  # where the page's path is told from

    def lsml(*arguments):
        status = main(list(arguments))
        return status, *capsys.readouterr()

    status, out, _ = lsml("progress")
    assert status == 0 and "Next: module 00" in out and (tmp_path / "progress.html").stat().st_size > 5000
    for number, rest in ((1, "2 more"), (2, "1 more"), (3, "")):
        status, out, _ = lsml("hint", "01", "mse_gradient")
        assert status == 0 and f"Hint {number}" in out and rest in out
    status, out, err = lsml("hint", "01", "mse_gradient")
    assert (status, out) == (2, "") and "no more hints than the 3" in err and "lsml hint 01 mse_gradient 1" in err
    assert lsml("hint", "01", "mse_gradient", "2")[0] == 0
    assert lsml("hint", "01", "mse_gradient")[0] == 2, "looking back takes nothing back"
    assert "has hints 1 to 3" in lsml("hint", "01", "mse_gradient", "4")[2]
    assert "has no exercise 'mse'" in lsml("hint", "01", "mse")[2]
    (tmp_path / "hints.json").write_text(json.dumps(["damaged"]))
    assert "Hint 1" in lsml("hint", "01", "mse_gradient")[1]


def test_every_hint_is_found():
    for name in curriculum.names():
        module = curriculum.load(name)
        for exercise in module.exercises:
            found = hints.hints(module, exercise)
            assert len(found) == exercise.hints and all(hint.title and hint.text for hint in found)
