"""Time expressions mean what they say, or are refused."""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd.errors import UsageError
from guardd.timespec import AtSnapshot, BeforeIncident, Elapsed, Instant, format_duration, format_instant, parse, parse_duration

BERLIN = ZoneInfo("Europe/Berlin")
SECOND = 1_000_000_000
NOON = int(datetime(2026, 7, 15, 12, 0, tzinfo=BERLIN).timestamp()) * SECOND


def instant(*fields: int) -> Instant:
    return Instant(int(datetime(*fields, tzinfo=BERLIN).timestamp()) * SECOND)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90s", Elapsed(90 * SECOND)),
        ("1.5s", Elapsed(1_500_000_000)),
        ("10m", Elapsed(600 * SECOND)),
        ("10m ago", Elapsed(600 * SECOND)),
        ("2h30m", Elapsed(9000 * SECOND)),
        ("3d", Elapsed(259_200 * SECOND)),
        ("1w", Elapsed(604_800 * SECOND)),
        (" 5s ", Elapsed(5 * SECOND)),
        ("08:30", instant(2026, 7, 15, 8, 30)),
        ("08:30:15", instant(2026, 7, 15, 8, 30, 15)),
        ("today", instant(2026, 7, 15)),
        ("yesterday", instant(2026, 7, 14)),
        ("2026-07-10", instant(2026, 7, 10)),
        ("2026-07-10T08:40", instant(2026, 7, 10, 8, 40)),
        ("2026-07-10 08:40:26", instant(2026, 7, 10, 8, 40, 26)),
        ("2026-07-10T08:40:26.5", Instant(instant(2026, 7, 10, 8, 40, 26).ns + 500_000_000)),
        ("2026-07-10T06:40:26Z", instant(2026, 7, 10, 8, 40, 26)),
        ("2026-07-10T08:40:26+02:00", instant(2026, 7, 10, 8, 40, 26)),
        ("@1700000000", Instant(1_700_000_000 * SECOND)),
        ("@1700000000.123456789", Instant(1_700_000_000_123_456_789)),
        ("incident:7", BeforeIncident(7)),
        ("snapshot:12", AtSnapshot(12)),
    ],
)
def test_each_form_means_what_the_manual_says(text: str, meant: object) -> None:
    assert parse(text, NOON, BERLIN) == meant


@pytest.mark.parametrize(
    "text",
    ["", "10", "10 m", "m", "10m5h", "5m5m", "-5m", "1.5h", "ten minutes", "14:30pm", "24:00", "9:30", "2026-13-01", "2026-02-30",
     "15.07.2026", "@", "@-5", "@1e9", "incident:", "incident:x", "snapshot:", "snapshot:-1", "now", "last week", "10M", "1y",
     "٣d", "10m ago ago", "0000-01-01",
     "9999-12-31T23:59", "12:01", "@9999999999", "x" * 1000, "9999999999999w"],
)  # fmt: skip
def test_anything_else_and_the_future_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse(text, NOON, BERLIN)
    assert "\n" not in str(refusal.value)
    assert "10m" in str(refusal.value)


def test_a_clock_time_still_to_come_today_gets_a_hint() -> None:
    with pytest.raises(UsageError, match="still to come today"):
        parse("14:30", NOON, BERLIN)


def test_a_local_time_that_does_not_exist_is_refused_and_one_that_comes_twice_is_its_first() -> None:
    with pytest.raises(UsageError):
        parse("2026-03-29T02:30", NOON, BERLIN)
    first = datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    assert parse("2025-10-26T02:30", NOON, BERLIN) == Instant(int(first.timestamp()) * SECOND)


@given(st.text(max_size=30))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    with suppress(UsageError):
        parse(text, NOON, BERLIN)


@given(st.integers(0, 60), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_durations_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    text = f"{days}d{hours}h{minutes}m{seconds}s"
    assert (
        parse_duration(text)
        == timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds) // timedelta(seconds=1) * SECOND
    )


@given(st.integers(0, NOON))
def test_what_is_printed_can_be_read_back_to_the_microsecond(ns: int) -> None:
    assert parse(format_instant(ns, BERLIN), NOON, BERLIN) == Instant(-(-ns // 1000) * 1000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("12:01", "'12:01' is in the future; 12:01 is still to come today, write the date before it; examples: 10m, "),
        ("2026-07-15T12:01", "'2026-07-15T12:01' is in the future; examples: 10m, "),
        ("x" * 1000, f"'{'x' * 80}' is no time; examples: 10m, "),
        ("10mago", "'10mago' is no time; examples: 10m, "),
        ("0" * 63 + "1s", "'" + "0" * 63 + "1s' is no time; examples: 10m, "),
    ],
)
def test_a_refusal_says_what_was_not_understood_and_why(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse(text, NOON, BERLIN)
    assert str(refusal.value).startswith(message)
    assert str(refusal.value).endswith("incident:7, snapshot:3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("soon", "'soon' is no duration; examples: 90s, 1.5s, 10m, 2h30m, 3d, 1w"),
        ("73201d", "'73201d' is longer than 200 years; examples: 90s, 10m, 3d, 1w"),
        ("73200d1s", "'73200d1s' is longer than 200 years; examples: 90s, 10m, 3d, 1w"),
    ],
)
def test_a_duration_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_duration(text)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0s"), (1, "0.000000001s"), (3 * SECOND // 2, "1.5s"), (60 * SECOND, "1m"), (5400 * SECOND, "90m"),
     (7200 * SECOND, "2h"), (3 * 86_400 * SECOND, "3d"), (7 * 86_400 * SECOND, "1w"), (365 * 86_400 * SECOND, "365d")],
)  # fmt: skip
def test_a_duration_is_written_in_its_largest_unit(ns: int, text: str) -> None:
    assert format_duration(ns) == text


@given(st.integers(0, 73_200 * 86_400 * SECOND))
def test_a_written_duration_is_read_as_the_same(ns: int) -> None:
    assert parse_duration(format_duration(ns)) == ns


def test_the_longest_forms_are_understood() -> None:
    assert parse_duration("73200d") == 73_200 * 86_400 * SECOND
    assert parse("0" * 62 + "1s", NOON, BERLIN) == Elapsed(SECOND)
    assert parse("12:00", NOON, BERLIN) == Instant(NOON), "now is not the future"
    assert parse("@1700000000.5", NOON, BERLIN) == Instant(1_700_000_000_500_000_000)


def test_a_day_and_a_printed_time_are_those_of_the_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    late = ZoneInfo("Pacific/Kiritimati")  # UTC+14: another day than where this machine may be
    assert parse("today", NOON, late) == Instant(int(datetime(2026, 7, 16, tzinfo=late).timestamp()) * SECOND)
    midnight = instant(2026, 7, 16)
    assert parse("today", midnight.ns - 1, BERLIN) == instant(2026, 7, 15), "a day lasts to its last nanosecond"
    assert parse("today", midnight.ns, BERLIN) == midnight
    assert format_instant(NOON + 1000, BERLIN) == "2026-07-15T12:00:00.000001+02:00"
    assert format_instant(NOON + 1001, BERLIN) == "2026-07-15T12:00:00.000002+02:00"
    assert format_instant(NOON + 999_999_999, BERLIN) == "2026-07-15T12:00:01.000000+02:00"
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert format_instant(NOON) == "2026-07-15T06:00:00.000000-04:00"
        assert format_instant(NOON, BERLIN) == "2026-07-15T12:00:00.000000+02:00"
        second = int(datetime(2026, 11, 1, 6, 30, tzinfo=UTC).timestamp()) * SECOND  # 1:30 for the second time
        assert format_instant(second, BERLIN) == "2026-11-01T07:30:00.000000+01:00"
        assert parse("05:30", NOON) == instant(2026, 7, 15, 11, 30)
        assert parse("today", NOON, late) == Instant(int(datetime(2026, 7, 16, tzinfo=late).timestamp()) * SECOND)
        with pytest.raises(UsageError):
            parse("2026-03-08T02:30", NOON)
    finally:
        monkeypatch.undo()
        time.tzset()
