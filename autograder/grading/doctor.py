"""What this machine can do: Python, packages, GPU, and each layer of the sandbox, with a remedy where it cannot."""

import importlib.metadata
import platform
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from autograder import interrupts
from autograder.curriculum import ROOT


@dataclass(frozen=True)
class Check:
    """One thing looked at. `ok` is None for what is good to know and no one's need."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""


def checks(root: Path = ROOT) -> Iterator[Check]:
    """Every check, one at a time."""
    with (root / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    yield python_check(project["requires-python"])
    for line in project["dependencies"]:
        yield package_check(Requirement(line))
    yield gpu_check()
    from autograder.sandbox import self_test

    for layer in self_test("bubblewrap"):
        yield Check(f"sandbox: {layer.name}", layer.ok, layer.detail, layer.remedy)


def python_check(wanted: str) -> Check:
    """Whether this Python is new enough."""
    version = platform.python_version()
    # A pre-release of a later version is new enough for us.
    ok = SpecifierSet(wanted).contains(re.match(r"[\d.]+", version)[0])
    return Check(
        "Python", ok, f"{version} at {sys.executable}", f"install Python {wanted} and run `make setup` with it"
    )


def package_check(requirement: Requirement) -> Check:
    """Whether a package is there in a version that will do."""
    remedy = "run `make setup`, or `pip install -e .` in this checkout"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Check(requirement.name, False, f"not installed, {requirement.specifier} is needed", remedy)
    ok = requirement.specifier.contains(version, prereleases=True)
    return Check(requirement.name, ok, version if ok else f"{version}, {requirement.specifier} is needed", remedy)


def gpu_check() -> Check:
    """Which accelerator torch sees; the course needs none."""
    try:
        with interrupts.at_once():
            import torch
    except ImportError:
        return Check("GPU", None, "unknown without torch")
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Check("GPU", None, f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        return Check("GPU", None, "Apple's, through torch's mps")
    return Check("GPU", None, "none; everything runs without one")
