"""lsml_utils can be imported anywhere: quickly, without a home, without writing, without heavy libraries."""

import os
import subprocess
import sys

import pytest

import lsml_utils

PARTS = (
    "from lsml_utils import checking, datasets, demo_size, device, engines, hashing, own, plotting, ranks, scaling\n"
)


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", PARTS + code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_importing_loads_no_heavy_library():
    heavy = ("torch", "sklearn", "scipy", "matplotlib", "pooch", "IPython", "distributed", "pyspark")
    done = run(f"import sys; print([name for name in {heavy} if name in sys.modules])")
    assert done.stdout == "[]\n", done.stderr


def test_importing_writes_nothing_and_needs_no_home(tmp_path):
    """Every file that is opened for writing, and every folder that is made, would be named."""
    watch = (
        "import sys\n"
        "def hook(event, args):\n"
        "    if event == 'open' and isinstance(args[1], str) and set(args[1]) & set('wax+'): print('writes', args)\n"
        "    if event in ('os.mkdir', 'os.rename', 'os.remove'): print(event, args)\n"
        "sys.addaudithook(hook)\n"
    )
    homes = ("HOME", "USERPROFILE", "XDG_CACHE_HOME")
    environment = {key: value for key, value in os.environ.items() if key not in homes}
    environment |= {"HOME": str(tmp_path / "missing"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", watch + PARTS + "print('done')"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert list(tmp_path.iterdir()) == []


def test_starting_and_checking_work_without_a_home(tmp_path):
    code = "checking.start('01', total=1)\nwith checking.check('a'):\n    checking.expect_close(1.0, 1.0)\n"
    done = run(code, HOME=str(tmp_path / "missing"), PYTHONIOENCODING="utf-8")
    assert done.stdout == "✓ a passes its check (1 of 1)\n"


def test_main_prints_the_machine_and_the_datasets():
    done = subprocess.run(
        [sys.executable, "-m", "lsml_utils"],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},  # a Windows console's encoding
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("cp1252")
    assert "CPU cores" in text and "cifar10" in text and "python_help" in text


@pytest.mark.parametrize(("setting", "size"), [(None, 100), ("small", 7), ("full", 100)])
def test_demo_size(monkeypatch, setting, size):
    monkeypatch.setenv("LSML_DEVICE", "cpu")
    monkeypatch.delenv("LSML_DEMO", raising=False)
    if setting:
        monkeypatch.setenv("LSML_DEMO", setting)
    assert lsml_utils.demo_size(full=100, small=7, gpu=1000) == size


def test_demo_size_on_a_gpu(monkeypatch):
    monkeypatch.delenv("LSML_DEMO", raising=False)
    monkeypatch.setattr("lsml_utils.device.best", lambda: "cuda")
    assert lsml_utils.demo_size(full=100, small=7, gpu=1000) == 1000
    assert lsml_utils.demo_size(full=100, small=7) == 100


def test_an_unknown_part_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        lsml_utils.nothing  # noqa: B018
