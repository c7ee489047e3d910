"""A sandbox that starts in the background, while the grader's own process imports what it needs: each takes seconds.

To read a module takes time as well, so the sandbox begins first. The process that reads notebooks gets ready last,
when the grader has nothing left to do but wait: there may be no more than two cores.
"""

import contextlib
import tempfile
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from autograder import curriculum
from autograder.curriculum import Module
from autograder.grading import rebuild
from autograder.sandbox import Limits, Sandbox, open_sandbox, sharing


class Opening:
    """Begins to open a sandbox of this kind, with what the cells of the modules of these names import.

    A context manager. `data` is the folder that tests share with the sandbox, `expected` the modules. UserError where
    one of them is malformed.
    """

    def __init__(self, kind: str, limits: Limits, names: Iterable[str] = ()):
        self.kind, self.limits, self.names = kind, limits, tuple(names)
        self._modules: Future[tuple[Module, ...]] = Future()

    def __enter__(self) -> "Opening":
        with contextlib.ExitStack() as stack:
            self.data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lsml-data-")))
            self._workers = stack.enter_context(ThreadPoolExecutor(2, "lsml-opening"))
            self._begun = self._workers.submit(self._open)
            stack.callback(self._close_unused)
            stack.callback(self._modules.cancel)  # for the sandbox that waits for them
            self._modules.set_result(tuple(curriculum.load(name) for name in self.names))
            self._stack = stack.pop_all()
        return self

    @property
    def expected(self) -> tuple[Module, ...]:
        """The modules of these names."""
        return self._modules.result()

    def __exit__(self, *failure) -> None:
        self._stack.close()

    def prepare_reader(self) -> None:
        """Let the process that reads notebooks get ready in the background."""
        self._workers.submit(rebuild.get_ready, self.names)

    def sandbox(self) -> Sandbox:
        """The sandbox, which the caller closes; a fresh one at each further call. May raise SandboxUnavailable."""
        begun, self._begun = self._begun, None
        return begun.result() if begun is not None else self._open()

    def _open(self) -> Sandbox:
        box = open_sandbox(self.kind, self.limits, self.data)
        try:
            for module in self.expected:
                box.share(sharing.named(*(cell.source for cell in module.reference_cells)))
                box.share(sharing.received(module.files.hidden_tests.read_text(encoding="utf-8")))
        except BaseException:
            box.close()
            raise
        return box

    def _close_unused(self) -> None:
        if self._begun is not None:
            with contextlib.suppress(Exception):  # there is none
                self._begun.result().close()
