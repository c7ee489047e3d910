"""What a command leaves alone while it starts is done again afterwards."""

import gc

import pytest

from autograder import startup


def test_garbage_is_collected_again_after_imports():
    with startup.importing():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_garbage_is_collected_again_after_an_import_that_fails():
    with pytest.raises(ImportError), startup.importing():
        import no_such_module  # noqa: F401
    assert gc.isenabled()


def test_whoever_collects_none_is_not_made_to():
    gc.disable()
    try:
        with startup.importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
