"""What a module says of another one, and of its own exercises, is there."""

import re

from autograder import curriculum

NUMBERS = {name[:2] for name in curriculum.names()}
# "module 12", "modules 01, 02 and 03": what stands behind the word, also over the end of a line.
MODULES = re.compile(r"\bmodules? (\d\d(?:(?:, and |, | and | or | to )\d\d)*)\b", re.IGNORECASE)
# `name` of module 03, `name` (module 03), module 03's `name`.
NAMED = re.compile(r"`(\w+)` (?:of |from |in |\()module (\d\d)|module (\d\d)'s `(\w+)`")
EXERCISE = re.compile(r"\b[Ee]xercises? \d+\.\d+(?:(?: to | and |, )\d+\.\d+)*")


def texts(name):
    """What an author wrote for a module, by file, each paragraph on one line."""
    return {
        path.name: " ".join(re.sub(r"\n\s*#? ?", " ", path.read_text(encoding="utf-8")).split())
        for path in vars(curriculum.files(name)).values()
    }


def test_each_module_that_is_named_exists(module):
    for file, text in texts(module.name).items():
        for found in MODULES.finditer(text):
            unknown = set(re.findall(r"\d\d", found[1])) - NUMBERS
            assert not unknown, f"{module.name}/{file}: {text[max(found.start() - 60, 0) : found.end() + 20]}"


def test_what_is_named_of_another_module_is_there(module):
    for file, text in texts(module.name).items():
        for found in NAMED.finditer(text):
            number, name = found[2] or found[3], found[1] or found[4]
            other = curriculum.files(curriculum.resolve(number)).notebook.read_text(encoding="utf-8")
            assert re.search(rf"\b{name}\b", other), f"{module.name}/{file}: {found[0]}"


def test_exercises_that_are_named_by_number_are_there(module):
    text = texts(module.name)["notebook.py"]
    there = set(re.findall(r"### (\d+\.\d+) `", text))
    assert {number for found in EXERCISE.finditer(text) for number in re.findall(r"[\d.]+\d", found[0])} <= there


def test_each_skill_is_written_in_one_way():
    found = {skill for name in curriculum.names() for skill in curriculum.load(name).skills}
    assert len({re.sub(r"\W", "", skill.lower()) for skill in found}) == len(found)


def test_each_module_has_a_legend(module):
    assert any("| symbol |" in cell.source for cell in module.cells if cell.role == "prose")
