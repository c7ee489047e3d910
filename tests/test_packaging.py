"""What installs the course says the same thing in each of its files."""

import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
# What `make test` installs; `make test-full` adds triton.
EXTRAS = re.search(r"^ENGINES := (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
GROUPS = ("test", "hub", "book", *EXTRAS, "triton")
# Packages that conda-forge names differently from PyPI.
CONDA_NAMES = {"torch": "pytorch", "playwright": "playwright-python", "psycopg2-binary": "psycopg2"}


def requirements(*groups: str) -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for group in groups:
        lines += project["optional-dependencies"][group]
    return {Requirement(line).name: Requirement(line) for line in lines}


def suite_versions() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if "==" in line]
    here = [one for one in pinned if one.marker is None or one.marker.evaluate()]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in here}


def test_environment_yml_asks_for_the_same_packages_as_pyproject():
    *environment, by_pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    ours = ("python>=", "bubblewrap", "configurable-http-proxy", "openjdk", "pip")
    conda = {line for line in environment if not line.startswith(ours)} | set(by_pip["pip"])
    pip = {f"{CONDA_NAMES.get(name, name)}{r.specifier}" for name, r in requirements(*GROUPS).items()}
    assert conda == pip
    assert "bubblewrap" in environment


def test_every_requirement_has_a_lower_bound_and_a_tested_version_above_it():
    tested = suite_versions()
    for name, requirement in requirements(*GROUPS).items():
        assert str(requirement.specifier).startswith(">="), f"{name} has no lower bound"
        assert canonicalize_name(name) in tested, f"{name} is missing from constraints.txt"
        assert requirement.specifier.contains(tested[canonicalize_name(name)])


def test_the_suite_runs_with_the_suite_versions():
    tested = suite_versions()
    for name in requirements("test", "book", *EXTRAS):
        assert Version(version(name)).public == tested[canonicalize_name(name)], f"{name}: run `make setup`"


def test_every_extra_is_known_to_make():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = re.search(r"^KNOWN_EXTRAS := (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert set(known) == set(project["optional-dependencies"]) - {"test", "hub", "book", "benchmarks"}
    assert set(known) == {*EXTRAS, "triton"}


def test_make_help_lists_every_target_on_a_line():
    listed = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert [line.split()[1] for line in listed.splitlines()] == targets


def test_nothing_committed_names_this_machine_or_a_package_registry():
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout.split("\0")
    home = str(Path.home())
    machine = rf"{re.escape(str(ROOT))}/|(?<![}}\w]){re.escape(home)}/\w"
    forbidden = re.compile(rf"{machine}|files\.pythonhosted|pypi\.org|registry\.npmjs|deb\.debian")
    for name in filter(None, files):
        path = ROOT / name
        if path.is_file() and path.suffix not in {".png"} and path != Path(__file__):
            found = forbidden.search(path.read_text(errors="replace"))
            assert not found, f"{name} holds {found.group()}"
            assert path.stat().st_size < 1_000_000, f"{name} is over 1 MB"
