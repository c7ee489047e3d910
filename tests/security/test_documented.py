"""docs/security.md and the tests say the same: each test that it names exists, each attack here is named in it."""

import re
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.findall(r"`((?:tests/\w+/)?test_\w+\.py)(?:::(test_\w+))?`", PAGE)
# Controls and kindness beside an attack, not attacks.
CONTROLS = {
    "test_documented.py",
    "test_what_was_given_may_come_back",
    "test_what_helpers_see_is_whole",
    "test_a_stream_is_not_drawn_further_than_it_lasts",
    "test_forking_does_not_count_what_is_shared_twice",
    "test_mapped_files_do_not_count_as_memory",
    "test_right_answers_still_get_their_points_beside_all_this",
    "test_the_search_would_find_a_canary_where_one_belongs",
    "test_without_the_layer_the_attack_succeeds",
}


def functions(path):
    return set(re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE))


def test_every_test_that_the_page_names_exists():
    assert NAMED
    for file, function in NAMED:
        path = ROOT / file if file.startswith("tests/") else HERE / file
        assert path.is_file(), file
        assert not function or function in functions(path), f"{file}::{function}"


def test_every_attack_is_named_on_the_page():
    named = {function for _, function in NAMED}
    for path in HERE.glob("test_*.py"):
        if path.name not in CONTROLS:
            assert functions(path) - named - CONTROLS == set(), path.name
