"""Stamps: the time that the name of a backup, or of a folder of backups, says. Pure."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS

DATE = r"(?:19|20)\d\d(?:[-_.]\d\d[-_.]\d\d|\d\d\d\d)"
"""What a date in a name looks like, whether it is one or not."""

_STAMP = re.compile(
    r"""(?<!\d)(?P<year>(?:19|20)\d\d)(?P<apart>[-_.]?)(?P<month>\d\d)(?P=apart)(?P<day>\d\d)
        (?:(?:[T_\-.@ ]|_at_)?(?P<hour>\d\d)[-_:.h]?(?P<minute>\d\d)(?:[-_:.m]?(?P<second>\d\d)(?:[._]\d{1,9})?)?
           (?P<zone>Z|[ _-]?(?:UTC|GMT)|[+-](?:0\d|1[0-4]):?(?:00|30|45))?)?
        (?!\d)""",
    re.VERBOSE | re.IGNORECASE,
)
_EPOCH = re.compile(r"(?<!\d)1\d{9}(?:\d{3})?(?!\d)")
_BACKWARDS = re.compile(r"(?<!\d)\d\d[-_.]\d\d[-_.](?:19|20)\d\d(?!\d)")
_FIRST_EPOCH = 1_200_000_000
"""2008: a smaller number of ten digits is none that a backup made since would bear."""


class Undatable(ValueError):
    """A name that says when, but not so that one could be sure; the message is the reason."""


def stamp_of(text: str, zone: tzinfo | None, now_ns: int) -> int | None:
    """The time that a name says, ns since the epoch; None where it says none. A date alone is its midnight.

    `zone` is meant where the name tells none itself (None: the local one). Raises Undatable: no such day, two times, a day and
    a month that could be each other, a time that is not yet.
    """
    found = {_from_match(match, zone) for match in _STAMP.finditer(text)}
    rest = _STAMP.sub(" ", text)
    found |= {_from_epoch(match[0]) for match in _EPOCH.finditer(rest) if int(match[0][:10]) >= _FIRST_EPOCH}
    if match := _BACKWARDS.search(rest):
        raise Undatable(f"{match[0]} may be day and month, or month and day")
    if len(found) > 1:
        raise Undatable(f"its name tells {len(found)} different times")
    if not found:
        return None
    time_ns = found.pop()
    if time_ns > now_ns + _DAY_NS:
        raise Undatable("the time in its name is still to come")
    return min(time_ns, now_ns)


def _from_match(match: "re.Match[str]", zone: tzinfo | None) -> int:
    day = match["year"], match["month"], match["day"]
    clock = match["hour"] or 0, match["minute"] or 0, match["second"] or 0
    try:
        local = datetime(*map(int, (*day, *clock)), tzinfo=_zone(match["zone"]) or zone)  # type: ignore[misc, arg-type]  # six numbers; no zone: the local one
        return int(local.timestamp()) * _SECOND_NS
    except (ValueError, OverflowError) as error:
        raise Undatable(f"{match[0]} is no time that there was") from error


def _zone(text: str | None) -> tzinfo | None:
    if not text:
        return None
    if text[0] not in "+-":
        return UTC
    digits = text[1:].replace(":", "")
    if not digits.isdecimal():  # -UTC
        return UTC
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(offset if text[0] == "+" else -offset)


def _from_epoch(digits: str) -> int:
    return int(digits) * (_SECOND_NS if len(digits) == 10 else 1_000_000)
