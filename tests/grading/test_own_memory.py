"""The grader's own memory is bounded while hidden tests run, and only then."""

import contextlib
import sys
from dataclasses import replace

import numpy as np
import pytest

from autograder.grading import own_memory, plugin
from autograder.submission import LocalSubmission

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
HUGE = (own_memory.JUDGING_MB + 256) << 20
TESTS = f'''
import numpy as np
import pytest
from autograder.judging import close

@pytest.mark.exercise("{{name}}")
def test_{{name}}(submission):
    """It needs more memory than there may be."""
    np.empty({HUGE}, np.uint8)
'''


def test_what_asks_for_more_gets_a_memory_error_and_the_limit_ends_with_the_block():
    with own_memory.bounded(64):
        with pytest.raises(MemoryError):
            np.empty(128 << 20, np.uint8)
        np.empty(16 << 20, np.uint8)
    np.empty(128 << 20, np.uint8)


def test_hidden_tests_run_under_it(tmp_path, module):
    path = tmp_path / "hidden_tests.py"
    path.write_text("".join(TESTS.format(name=exercise.name) for exercise in module.exercises))
    with LocalSubmission([]) as answers:
        judged = replace(module, files=replace(module.files, hidden_tests=path))
        outcomes = plugin.run(judged, lambda *args: contextlib.nullcontext(answers), answers)
    assert outcomes and all(isinstance(outcome.error, MemoryError) for outcome in outcomes)
    np.empty(HUGE, np.uint8)  # not touched: it costs nothing
