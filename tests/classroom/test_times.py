"""A moment that a person writes is understood in one way, or refused."""

from datetime import UTC, datetime

import pytest

from autograder.classroom import times
from autograder.errors import UserError

PARIS = times.zone("Europe/Paris")
NIGHT = datetime(2026, 11, 20, 22, 59)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20 23:59 +0100", NIGHT),
        ("2026-11-20 23:59 +01:00", NIGHT),
        ("2026-11-20 23:59+01:00", NIGHT),
        ("2026-11-20 17:59 -0500", NIGHT),
        ("2026-11-20T22:59Z", NIGHT),
        ("2026-11-20 22:59 UTC", NIGHT),
        ("2026-11-20 11:59 PM", NIGHT),
        ("2026-11-20 11:59 PM +0100", NIGHT),
        ("2026-11-20 23:59", NIGHT),
        ("  2026-11-20   23:59 Europe/Paris ", NIGHT),
        ("20 November 2026 22:59 Europe/London", NIGHT),
        ("20-Nov-2026 23:59", NIGHT),
        ("Friday, 20 November 2026, 11:59 PM", NIGHT),
        ("20.11.2026 23:59", NIGHT),
        ("2026-10-25 02:30 +0100", datetime(2026, 10, 25, 1, 30)),
    ],
)
def test_clear_times(text, moment):
    assert times.parse(text, PARIS) == moment


@pytest.mark.parametrize(
    "text",
    [
        "01.12.2026 23:59", "01/12/2026 23:59", "26-11-12 10:00", "2026-11-20 23:59 PST", "2026-11-20 23:59 CET",
        "2026-11-20 23:59 IST", "2026-11-20 23:59 GMT+3", "2026-11-20", "23:59", "5", "", " ", "sometime",
        "Friday 23:59", "2026-11-20 11 PM", "2026-13-01 10:00", "2026-11-20 25:00", "2026-11-20 23:59 Europe/Atlantis",
        "2026-11-20 23:59 +0100 Europe/Paris", "2026-03-29 02:30", "2026-10-25 02:30", "9999-12-31 23:59 -1200",
        "1" * 500, "2026-11-20 23:59 +9900", "0000-01-01 00:00",
    ],
)  # fmt: skip
def test_unclear_times_are_refused_with_a_line(text):
    with pytest.raises(UserError) as caught:
        times.parse(text, PARIS)
    assert "\n" not in str(caught.value)


def test_both_zones_are_shown():
    assert times.show(NIGHT, PARIS) == "2026-11-20 23:59 +0100 (Europe/Paris; 2026-11-20 22:59 UTC)"
    assert times.show(NIGHT, UTC) == "2026-11-20 22:59 UTC"


def test_time_stamps_of_nbgrader_are_read_as_nbgrader_reads_them():
    assert times.timestamp("2026-01-10 12:00:00.123456 UTC\n") == datetime(2026, 1, 10, 12, 0, 0, 123456)
    assert times.timestamp("2026-01-10 12:00:00 Europe/Paris") == datetime(2026, 1, 10, 11)
    assert times.timestamp("2026-01-10 12:00:00 +0100") == datetime(2026, 1, 10, 11)
    with pytest.raises(ValueError):
        times.timestamp("yesterday, I think")
