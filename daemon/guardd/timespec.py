"""Time expressions: `10m`, `14:30`, `yesterday`, `@1700000000`, `incident:7` -> a moment. Pure; nothing is guessed."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

from guardd.errors import UsageError

EXAMPLES = "10m, 2h30m, 3d ago, 14:30, yesterday, 2026-01-31T09:00, @1700000000, incident:7, snapshot:3"

_SECOND_NS = 1_000_000_000
_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d{1,9})?)s)?", re.ASCII)
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?) ?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)  # fmt: skip
_EPOCH = re.compile(r"@(\d{1,12})(?:\.(\d{1,9}))?", re.ASCII)
_INCIDENT = re.compile(r"incident:(\d{1,12})", re.ASCII)
_SNAPSHOT = re.compile(r"snapshot:(\d{1,12})", re.ASCII)
_LONGEST_NS = 200 * 366 * 86_400 * _SECOND_NS
_LONGEST_TEXT = 64


@dataclass(frozen=True, slots=True)
class Elapsed:
    """A duration back from now, in ns: resolved by a clock that no one can set."""

    ns: int


@dataclass(frozen=True, slots=True)
class Instant:
    """An absolute time, ns since the epoch, UTC."""

    ns: int


@dataclass(frozen=True, slots=True)
class BeforeIncident:
    """The moment before an incident began."""

    incident: int


@dataclass(frozen=True, slots=True)
class AtSnapshot:
    """The place in the log that a snapshot labelled: what was there when it was taken."""

    snapshot: int


TimeSpec = Elapsed | Instant | BeforeIncident | AtSnapshot


def parse(text: str, now_ns: int, zone: tzinfo | None = None) -> TimeSpec:
    """What a time expression means at `now_ns`, in `zone` (None: the machine's). Raises UsageError with examples.

    A local time that a clock change repeats is its first; one that a clock change skips is refused, as is the future.
    """
    words = text.strip()
    if not words or len(words) > _LONGEST_TEXT:
        raise _not_understood(text)
    if incident := _INCIDENT.fullmatch(words):
        return BeforeIncident(int(incident[1]))
    if snapshot := _SNAPSHOT.fullmatch(words):
        return AtSnapshot(int(snapshot[1]))
    back = words.removesuffix("ago").rstrip() if words.endswith(" ago") else words
    if _is_duration(back):
        return Elapsed(parse_duration(back))
    try:
        ns = _absolute(words, now_ns, zone)
    except (ValueError, OverflowError, OSError) as error:
        raise _not_understood(text) from error
    if ns is None:
        raise _not_understood(text)
    if ns > now_ns:
        hint = f"; {words} is still to come today, write the date before it" if _CLOCK.fullmatch(words) else ""
        raise UsageError(f"{text!r} is in the future{hint}; examples: {EXAMPLES}")
    return Instant(ns)


def parse_duration(text: str) -> int:
    """A duration as ns: `90s`, `1.5s`, `10m`, `2h30m`, `3d`, `1w`; units descend, each at most once. Raises UsageError."""
    words = text.strip()
    if not _is_duration(words):
        raise UsageError(f"{text!r} is no duration; examples: 90s, 1.5s, 10m, 2h30m, 3d, 1w")
    match = _DURATION.fullmatch(words)
    parts = match.groups() if match else ()
    total = sum(_unit_ns(part, seconds) for part, seconds in zip(parts, _UNITS.values(), strict=True) if part)
    if total > _LONGEST_NS:
        raise UsageError(f"{text!r} is longer than 200 years; examples: 90s, 10m, 3d, 1w")
    return total


def format_duration(ns: int) -> str:
    """A duration in the largest unit that it is so many of: what `parse_duration` reads as the same."""
    if not ns:
        return "0s"
    for unit, seconds in _UNITS.items():
        if ns % (seconds * _SECOND_NS) == 0:
            return f"{ns // (seconds * _SECOND_NS)}{unit}"
    whole, fraction = divmod(ns, _SECOND_NS)
    return f"{whole}.{fraction:09}".rstrip("0") + "s"


def format_instant(ns: int, zone: tzinfo | None = None) -> str:
    """ISO 8601 with UTC offset, to the microsecond: the form of times in JSON. Rounded up: by then, it had happened."""
    seconds, rest = divmod(ns, _SECOND_NS)
    moment = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=-(-rest // 1000))
    return moment.astimezone(zone).isoformat(timespec="microseconds")


def _unit_ns(number: str, seconds: int) -> int:
    whole, _, fraction = number.partition(".")
    return (int(whole) * _SECOND_NS + int(fraction.ljust(9, "0"))) * seconds


def _is_duration(words: str) -> bool:
    return bool(words) and len(words) <= _LONGEST_TEXT and _DURATION.fullmatch(words) is not None


def _absolute(words: str, now_ns: int, zone: tzinfo | None) -> int | None:
    today = datetime.fromtimestamp(now_ns // _SECOND_NS, UTC).astimezone(zone).date()
    if words in ("today", "yesterday"):
        return _local(datetime.combine(today - timedelta(days=words == "yesterday"), time()), zone)
    if clock := _CLOCK.fullmatch(words):
        return _local(datetime.combine(today, time(int(clock[1]), int(clock[2]), int(clock[3] or 0))), zone)
    if epoch := _EPOCH.fullmatch(words):
        return int(epoch[1]) * _SECOND_NS + int((epoch[2] or "").ljust(9, "0"))
    if iso := _ISO.fullmatch(words):
        return _iso(iso[1], iso[2] or "00:00", iso[3], zone)
    return None


def _iso(date: str, clock: str, offset: str | None, zone: tzinfo | None) -> int:
    clock, _, fraction = clock.partition(".")
    ns = int(fraction.ljust(9, "0"))
    if offset is not None:
        moment = datetime.fromisoformat(f"{date}T{clock}{offset}")
        return int(moment.timestamp()) * _SECOND_NS + ns
    return _local(datetime.fromisoformat(f"{date}T{clock}"), zone) + ns


def _local(naive: datetime, zone: tzinfo | None) -> int:
    """A local time as ns. Raises ValueError where a clock change skips it."""
    moment = naive.replace(tzinfo=zone) if zone else naive.astimezone()
    if datetime.fromtimestamp(moment.timestamp(), UTC).astimezone(zone).replace(tzinfo=None) != naive:
        raise ValueError("no such local time")
    return int(moment.timestamp()) * _SECOND_NS


def _not_understood(text: str) -> UsageError:
    return UsageError(f"{text[:80]!r} is no time; examples: {EXAMPLES}")
