"""Reads a moment that a person wrote, and says one without ambiguity.

The gradebook keeps moments in UTC without a zone, as nbgrader does. nbgrader's own reader takes "+0100" for a hundred
seconds and a zone that it does not know for UTC, so it reads only what nbgrader itself wrote.
"""

import re
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from dateutil import parser, tz
from nbgrader.utils import parse_utc

from autograder.errors import UserError

EXAMPLE = "2026-12-01 23:59 +0100"
UTC_NAMES = ("UTC", "GMT", "Z")
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")
_ORDERS = (False, False), (False, True), (True, False), (True, True)
_NAME_AND_OFFSET = re.compile(r"\b[A-Z]{3,5}\s?[+-]\d")
# What the text leaves out is taken from these; where the results differ, it has left something out.
_DEFAULTS = datetime(2001, 1, 1, 1, 1), datetime(2004, 2, 29, 2, 2)


def zone(name: str) -> ZoneInfo:
    """A time zone by its name, such as Europe/Paris. UserError where there is none."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise UserError(f"{name!r} is not a time zone; write it as Europe/Paris or UTC") from None


def parse(text: str, local: tzinfo) -> datetime:
    """A moment, in UTC without a zone; what names no zone is meant in `local`.

    UserError where it is none or could be more than one: a date without a time of day, 01.12.2026, PST, an hour that
    the clocks skip or repeat.
    """
    words = text.split()
    said = f"{text.strip()!r} is not a time that can be read in one way only"
    named = zone(words[-1]) if words and "/" in words[-1] and not words[-1][0].isdigit() else None
    when = " ".join(words[:-1] if named else words)
    found: set[datetime] = set()
    try:
        if _NAME_AND_OFFSET.search(when):
            raise ValueError("some take GMT+3 for three hours before Greenwich")
        for default in _DEFAULTS:
            for day_first, year_first in _ORDERS[:1] if _ISO_DATE.match(when) else _ORDERS:
                order = {"dayfirst": day_first, "yearfirst": year_first}
                zones = {"tzinfos": lambda name, offset: _zone_of(name, offset, local)}
                found.add(parser.parse(when, default=default, **order, **zones))
    except (ValueError, OverflowError, TypeError):
        raise UserError(f"{said}; write it as {EXAMPLE!r}") from None
    if len(found) != 1:
        raise UserError(f"{said}: give year, month, day and time of day, as in {EXAMPLE!r}")
    (moment,) = found
    if named:
        if moment.tzinfo is not local:
            raise UserError(f"{said}: it names two time zones")
        moment = moment.replace(tzinfo=named)
    try:
        exists, in_utc = tz.datetime_exists(moment), moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise UserError(f"{said}; write it as {EXAMPLE!r}") from None
    if not exists or tz.datetime_ambiguous(moment):
        often = "show it twice" if exists else "skip it"
        raise UserError(f"{said}: the clocks of {moment.tzinfo} {often}; give the offset, as in {EXAMPLE!r}")
    return in_utc


def _zone_of(name: str | None, offset: int | None, local: tzinfo) -> tzinfo:
    """For dateutil: the zone of what it read. ValueError for a name that stands for several (PST, IST, CST)."""
    if name is None:
        return local if offset is None else tz.tzoffset(None, offset)
    if name in UTC_NAMES and not offset:
        return UTC
    raise ValueError(f"the zone {name} is not clear")


def show(moment: datetime, local: tzinfo) -> str:
    """A moment of the gradebook in a zone and in UTC."""
    in_utc = moment.replace(tzinfo=UTC)
    there = in_utc.astimezone(local)
    if there.utcoffset() == in_utc.utcoffset():
        return f"{in_utc:%Y-%m-%d %H:%M} UTC"
    return f"{there:%Y-%m-%d %H:%M %z} ({local}; {in_utc:%Y-%m-%d %H:%M} UTC)"


def read_timestamp(directory: Path) -> datetime | None:
    """When a submission was handed in, by its timestamp.txt; None where there is none that can be read."""
    path = directory / "timestamp.txt"
    try:
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 200:
            return timestamp(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, OverflowError):
        pass
    return None


def timestamp(text: str) -> datetime:
    """A timestamp.txt, in UTC without a zone: one that is clear, or else as nbgrader reads it. ValueError if none."""
    try:
        return parse(text, UTC)
    except UserError:
        return parse_utc(text.strip())
