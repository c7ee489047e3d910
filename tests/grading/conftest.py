"""A toy course with one exercise of every kind, notebooks of it, and one grader for all tests."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autograder import curriculum

TOY = Path(__file__).parent / "toy"
collect_ignore = ["toy"]


@pytest.fixture(scope="session")
def module():
    return curriculum.load("00_toy", TOY)


def code(source, **more):
    """A code cell that a student added."""
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None, **more}


def released(module, answers=()):
    """The module's notebook as a list of cells, with some of its exercises answered: {name: source}, or all."""
    answers = {e.name: e.solution for e in module.exercises} if answers == "all" else dict(answers)
    cells = []
    for cell in module.cells:
        source = cell.source
        if cell.role == "exercise":
            source = answers.get(cell.name, module.exercise(cell.name).released)
        metadata = {"lsml": {"role": cell.role, "name": cell.name}, "nbgrader": {"grade_id": cell.id}}
        made = code(source, id=cell.id, metadata=metadata)
        if cell.cell_type == "markdown":
            made = {"cell_type": "markdown", "id": cell.id, "metadata": metadata, "source": source}
        cells.append(made)
    return cells


def index(cells, name):
    """Where the cell with that id stands."""
    return next(i for i, cell in enumerate(cells) if cell.get("id") == name)


def as_notebook(cells, module="00_toy", **more):
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"lsml": {"module": module}} if module else {},
        "cells": cells,
        **more,
    }


@pytest.fixture
def write(tmp_path):
    """Write a notebook and give its path."""

    def write(cells, name="00_toy.ipynb", **more):
        path = tmp_path / name
        path.write_text(json.dumps(as_notebook(cells, **more)), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def grader():
    from autograder.grading import Grader
    from autograder.sandbox import Limits

    # Patient: nothing here may fail because the machine is busy.
    with Grader(secret="toy", limits=Limits(notebook_seconds=300.0, memory_mb=256), root=TOY) as grader:
        yield grader


@pytest.fixture
def impatient(grader, monkeypatch):
    """The same grader for code that never ends: it does not wait for it for long."""
    limits = replace(grader.limits, cell_seconds=2.0, call_seconds=1.0, notebook_seconds=30.0)
    monkeypatch.setattr(grader, "limits", limits)
    return grader
