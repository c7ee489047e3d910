"""The benchmarks run, at their smallest; what they measure is for people to read."""

import subprocess
import sys

import pytest

from autograder import curriculum

CASES = {
    "class_throughput": "--students 2 --only right --stock 0 --otter 0 --no-looping --workers 1",
    "grading_latency": "--repeat 1 --stock 0 --module 00_orientation",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_it_prints_how_much_more_than_a_plain_process_the_grader_takes(name, tmp_path):
    command = [sys.executable, curriculum.ROOT / "benchmarks" / f"{name}.py", *CASES[name].split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "plain" in done.stdout and "lsml" in done.stdout
