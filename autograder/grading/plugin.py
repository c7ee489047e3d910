"""Runs a module's hidden tests through pytest: in this process, which no student's code ever enters.

Only the module's own file is collected; no ini file, conftest, cache or plugin of anyone else's is read. Each test
function gets an `Outcome` for each of its parameter sets, which `grade` makes into results.
"""

import contextlib
import hashlib
import inspect
import io
import os
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _pytest.runner import runtestprotocol

from autograder import judging
from autograder.curriculum import Module
from autograder.grading import own_memory
from autograder.submission import (
    MissingName,
    SandboxFault,
    StudentCrashed,
    StudentError,
    StudentMemory,
    StudentMisbehaved,
    StudentTimeout,
    SubmissionError,
)

# What a test may end in; "broken" is an error of the test itself, which may be the student's doing (an answer so large
# that the test has no memory for it) or ours (a full disk). A "fault" is the sandbox's.
CAUSES = ("passed", "failed", "error", "timeout", "memory", "crashed", "broken", "fault")
FORGEABLE_SHARE = 0.2

_OFF = (
    "cacheprovider debugging doctest faulthandler junitxml legacypath logging monkeypatch pastebin pytester recwarn "
    "setuponly setupplan stepwise subtests terminal threadexception tmpdir unittest unraisableexception warnings"
)
_one_at_a_time = threading.Lock()  # pytest keeps its state in the process


@dataclass(frozen=True)
class Spec:
    """What `@pytest.mark.exercise(...)` says of a hidden test; the module author's page explains each."""

    exercise: str
    weight: float = 1
    core: bool = False
    hint: int | None = None
    forgeable: bool = False
    depends: tuple[str, ...] = ()
    memory_mb: int | None = None
    seconds: float | None = None
    name: str = ""  # of the test function
    sentence: str = ""  # its docstring: what a student reads when it fails


@dataclass
class Outcome:
    """How one test function ended with one set of parameters. `calls` are what it asked of the student's process."""

    spec: Spec
    item: str  # the name with the parameters' ids
    cause: str = "fault"
    error: BaseException | None = None
    calls: tuple = ()
    comparison: judging.Comparison | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    void: bool = False  # it does not count, and the test is run again


class BrokenTests(Exception):
    """The hidden tests of a module cannot be run: a mistake of their author, never of a student."""


def specs(module: Module) -> list[Spec]:
    """Every hidden test of a module, in the file's order. BrokenTests where the file breaks a rule."""
    judge = _Judge(module)
    _run(module.files.hidden_tests, judge, ["--collect-only"])
    return judge.specs


def run(
    module: Module,
    open_submission: Callable[["Outcome", Sequence["Spec"]], contextlib.AbstractContextManager],
    reference: Any,
    *,
    secret: str = "lsml",
    data_dir: Path | None = None,
    exercises: Collection[str] | None = None,
    tests: Collection[str] | None = None,
    enough: Callable[["Outcome"], bool] | None = None,
) -> list[Outcome]:
    """Run the hidden tests of some exercises (None: of all), up to the first whose outcome is `enough`.

    Of these, only the `tests` of these names, if they are given.

    `open_submission(outcome, following)` is entered before each run of a test and left when its outcome is known; it
    yields the Submission. `following` are the specs of the runs after this one.
    """
    judge = _Judge(module, open_submission, reference, secret, data_dir, exercises, tests, enough)
    _run(module.files.hidden_tests, judge, [])
    return judge.outcomes


def _run(tests: Path, judge: "_Judge", options: list[str]) -> None:
    if not tests.is_file():
        raise BrokenTests(f"there are no hidden tests at {tests.parent.name}/{tests.name}")
    # From the folder above the module's, so that pytest imports them under a name of this module's own.
    arguments = ["-c", os.devnull, f"--rootdir={tests.parents[1]}", "--noconftest", "--import-mode=importlib"]
    arguments += [f"--confcutdir={tests.parent}"]  # or pytest lists every folder from the root of the disk on
    arguments += ["--capture=no", *(part for name in _OFF.split() for part in ("-p", f"no:{name}"))]
    with _one_at_a_time, own_memory.bounded(), _quiet(), _only_our_pytest(tests):
        status = pytest.main([*arguments, *options, str(tests)], plugins=[judge])
    if judge.broken:
        raise BrokenTests(judge.broken)
    if status == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise BrokenTests(f"pytest ended with {status!r}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what tests and reference print or warn of."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _only_our_pytest(tests: Path) -> Iterator[None]:
    """Keep out what the environment says to pytest, and any other file that was imported under this one's name."""
    ours = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": "", "PY_COLORS": "0"}
    ours |= {"CI": "", "BUILD_NUMBER": ""}  # where these are set, pytest compares two long texts for hours
    before = {name: os.environ.get(name) for name in [*ours, "PYTEST_CURRENT_TEST", "PYTEST_VERSION"]}
    os.environ.update(ours)
    mask = os.umask(0o022)  # the student's process is another user, and reads what is put into data_dir
    name, stamp = f"{tests.parent.name}.{tests.stem}", (str(tests), tests.stat().st_mtime_ns)
    if _imported.get(name) != stamp:
        sys.modules.pop(name, None)
        _imported[name] = stamp
    try:
        yield
    finally:
        os.umask(mask)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_imported: dict[str, tuple[str, int]] = {}


class _Judge:
    """The pytest plugin: fixtures, selection, and what became of each test."""

    def __init__(
        self,
        module,
        open_submission=None,
        reference=None,
        secret="",
        data_dir=None,
        exercises=None,
        tests=None,
        enough=None,
    ):
        self.module, self.open_submission, self.secret = module, open_submission, secret
        self._reference, self._data_dir = reference, data_dir
        self.exercises, self.enough = None if exercises is None else frozenset(exercises), enough
        self.tests = None if tests is None else frozenset(tests)
        self.specs: list[Spec] = []
        self.outcomes: list[Outcome] = []
        self.broken = ""
        self._spec_of: dict[str, Spec] = {}
        self._order: list[Spec] = []  # of the runs
        self._submission: Any = None

    @pytest.fixture
    def submission(self, request: pytest.FixtureRequest) -> Iterator[Any]:
        with self.open_submission(self.outcomes[-1], self._order[len(self.outcomes) :]) as submission:
            submission.calls.clear()
            self._submission = submission
            yield submission

    @pytest.fixture
    def reference(self) -> Any:
        return self._reference

    @pytest.fixture
    def rng(self, request: pytest.FixtureRequest, submission: Any) -> np.random.Generator:
        # It asks for the submission, so that nothing is drawn before the student's code has been loaded.
        return np.random.default_rng(seed(self.secret, self.module.name, request.node.name))

    @pytest.fixture
    def data_dir(self, request: pytest.FixtureRequest) -> Iterator[Path]:
        folder = self._data_dir / request.node.originalname
        folder.mkdir(exist_ok=True)
        yield folder
        for file in sorted(folder.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()

    def pytest_configure(self, config: pytest.Config) -> None:
        config.option.tbstyle = "native"  # pytest's own is not read, and parses every file on the way: 0.2 s each
        config.addinivalue_line("markers", "exercise(name, **says): which exercise a hidden test judges")

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makeitem(self, name: str, obj: Any) -> list | None:
        """Leave out what judges other exercises before its parameters are multiplied out, and tests not asked for."""
        judged = [mark.args[0] for mark in getattr(obj, "pytestmark", ()) if mark.name == "exercise" and mark.args]
        if judged and self.tests is not None and name not in self.tests:
            return []
        return [] if self.exercises is not None and judged and self.exercises.isdisjoint(judged) else None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.broken:
            self.broken = f"hidden tests of {self.module.name}: {str(report.longrepr).strip().splitlines()[-1]}"

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.broken:  # the file cannot be imported, so there are none
            return
        try:
            for item in items:
                self._spec_of[item.nodeid] = _spec(item, self.module)
            self.specs = list(dict.fromkeys(self._spec_of[item.nodeid] for item in items))
            if self.tests is None:
                _check(self.specs, self.module, self.exercises)
        except BrokenTests as error:
            self.broken = str(error)
            items.clear()
            return
        order = {exercise.name: i for i, exercise in enumerate(self.module.exercises)}
        items.sort(key=lambda item: order[self._spec_of[item.nodeid].exercise])
        self._order = [self._spec_of[item.nodeid] for item in items]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run a test, and again while its outcome is void. Nobody reads pytest's own reports: none is logged."""
        runtestprotocol(item, log=False, nextitem=nextitem)
        while self.outcomes[-1].void:
            self.outcomes.pop()
            runtestprotocol(item, log=False, nextitem=nextitem)
        return True

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        parameters = dict(getattr(item, "callspec", None).params) if hasattr(item, "callspec") else {}
        self.outcomes.append(Outcome(self._spec_of[item.nodeid], item.name, parameters=parameters))
        self._submission = None
        self._reference.calls.clear()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        with judging.failures() as failed:
            try:
                return (yield)
            finally:
                self.outcomes[-1].comparison = failed[-1] if failed else None

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> None:
        outcome = self.outcomes[-1]
        if call.when == "teardown":
            if call.excinfo is not None:
                outcome.cause, outcome.error = "fault", call.excinfo.value
            return
        if call.when == "setup" and call.excinfo is None:
            return
        outcome.error = call.excinfo.value if call.excinfo is not None else None
        outcome.calls = tuple(self._submission.calls) if self._submission is not None else ()
        outcome.cause = cause_of(outcome.error, self._reference.calls)
        if self.enough is not None and self.enough(outcome):
            item.session.shouldfail = "what is wanted is known"


def cause_of(error: BaseException | None, reference_calls: Sequence = ()) -> str:
    """In which of the CAUSES a test ended that raised this error."""
    if error is None:
        return "passed"
    if isinstance(error, SubmissionError):
        if any(call.error is error for call in reference_calls):
            return "broken"
        kinds = {
            StudentTimeout: "timeout",
            StudentMemory: "memory",
            StudentCrashed: "crashed",
            StudentMisbehaved: "crashed",
            StudentError: "error",
            MissingName: "error",
        }
        return next((cause for kind, cause in kinds.items() if isinstance(error, kind)), "fault")
    if isinstance(error, AssertionError | pytest.fail.Exception):
        return "failed"
    return "fault" if isinstance(error, SandboxFault) else "broken"


def seed(secret: str, module: str, test: str) -> int:
    """The seed of a hidden test's inputs: the same for every student, unknown without the class's secret."""
    return int.from_bytes(hashlib.sha256(repr((secret, module, test)).encode()).digest(), "big")


def _spec(item: pytest.Item, module: Module) -> Spec:
    name = getattr(item, "originalname", item.name)
    marks = list(item.iter_markers("exercise"))
    where = f"hidden tests of {module.name}: {name}"
    if len(marks) != 1 or len(marks[0].args) != 1:
        raise BrokenTests(f'{where} must be marked once, as @pytest.mark.exercise("NAME")')
    says = dict(marks[0].kwargs)
    unknown = says.keys() - {known.name for known in fields(Spec)} | says.keys() & {"exercise", "name", "sentence"}
    if unknown:
        raise BrokenTests(f"{where}: @pytest.mark.exercise knows no {', '.join(sorted(unknown))}")
    if "depends" in says:
        says["depends"] = (says["depends"],) if isinstance(says["depends"], str) else tuple(says["depends"])
    sentence = " ".join(inspect.cleandoc(item.function.__doc__ or "").split("\n\n")[0].split())
    spec = Spec(marks[0].args[0], name=name, sentence=sentence, **says)
    for problem in _problems(spec, module):
        raise BrokenTests(f"{where}: {problem}")
    return spec


def _problems(spec: Spec, module: Module) -> Iterator[str]:
    known = {exercise.name: exercise for exercise in module.exercises}
    for name in (spec.exercise, *spec.depends):
        if name not in known:
            yield f"the module has no exercise {name!r}"
            return
    if not spec.sentence:
        yield "its docstring, the sentence that a student reads, is missing"
    if not spec.weight > 0:
        yield "weight must be above 0"
    if spec.hint is not None and not 1 <= spec.hint <= known[spec.exercise].hints:
        yield f"there is no hint {spec.hint} of {spec.exercise}; it has {known[spec.exercise].hints}"
    for name in ("memory_mb", "seconds"):
        if getattr(spec, name) is not None and not getattr(spec, name) > 0:
            yield f"{name} must be above 0"
    if spec.core and spec.forgeable:
        yield "what the student's process says about itself cannot be core"


def _check(found: list[Spec], module: Module, wanted: Collection[str] | None) -> None:
    """The rules that bind the tests of an exercise together. `wanted`: these exercises only (None: all)."""
    for exercise in module.exercises:
        if wanted is not None and exercise.name not in wanted:
            continue
        own = [spec for spec in found if spec.exercise == exercise.name]
        if not own:
            raise BrokenTests(f"hidden tests of {module.name}: no test judges {exercise.name!r}")
        forgeable = sum(spec.weight for spec in own if spec.forgeable)
        if forgeable > FORGEABLE_SHARE * sum(spec.weight for spec in own) + 1e-9:
            raise BrokenTests(
                f"hidden tests of {module.name}: what can be forged carries more than a fifth of {exercise.name}"
            )
