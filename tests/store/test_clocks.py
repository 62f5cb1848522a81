"""How old something is, at the least, whatever was done to the clocks."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd.model import Moment
from guardd.store.clocks import GAP_NS, PROBATION_NS, Ages, Stretch

DAY = GAP_NS
HOUR = DAY // 24
YEAR = 365 * DAY
Y = 20_000 * DAY  # when it begins, by a right clock


def stretch(seq: int, boot: str, booted: int, first: int | None, last: int) -> Stretch:
    """One whose clock told that the boot was at `booted`."""
    return Stretch(seq, boot, Y + booted, None if first is None else Y + first, Y + last)


def now(boot: str, wall: int, uptime: int) -> Moment:
    return Moment(Y + wall, uptime, boot)


@pytest.mark.parametrize(
    ("name", "stretches", "moment", "asked", "expected"),
    [
        ("nothing in the log", [], now("a", 5 * DAY, 5 * DAY), (0, 0), 5 * DAY),
        ("one boot", [stretch(1, "a", 0, 0, DAY)], now("a", 5 * DAY, 5 * DAY), (1, DAY), 4 * DAY),
        ("set a year ahead now", [stretch(1, "a", 0, 0, DAY)], now("a", YEAR + 5 * DAY, 5 * DAY), (1, DAY), 4 * DAY),
        ("set a year back now", [stretch(1, "a", 0, 0, DAY)], now("a", 5 * DAY - YEAR, 5 * DAY), (1, DAY), 4 * DAY),
        (
            "a year ahead for a while",
            [stretch(1, "a", 0, 0, DAY), stretch(4, "a", YEAR, YEAR + DAY, YEAR + 2 * DAY), stretch(9, "a", 0, 3 * DAY, 4 * DAY)],
            now("a", 5 * DAY, 5 * DAY), (5, YEAR + 2 * DAY), 3 * DAY,
        ),
        ("slept for three weeks", [stretch(1, "a", 0, 0, DAY)], now("a", 22 * DAY, 22 * DAY), (1, DAY), 21 * DAY),
        ("off overnight", [stretch(1, "a", 0, 0, DAY)], now("b", DAY + 16 * HOUR, HOUR), (1, DAY), 16 * HOUR),
        ("off for three weeks", [stretch(1, "a", 0, 0, DAY)], now("b", 22 * DAY, HOUR), (1, DAY), DAY),
        (
            "off for three weeks, a week ago",
            [stretch(1, "a", 0, 0, DAY), stretch(4, "b", 22 * DAY, 22 * DAY, 29 * DAY)],
            now("b", 30 * DAY, 8 * DAY), (1, DAY), 29 * DAY,
        ),
        (
            "booted a year ahead, right again later in the same boot",
            [stretch(1, "a", 0, 0, DAY), stretch(4, "b", YEAR + DAY, YEAR + DAY, YEAR + DAY),
             stretch(9, "b", DAY, DAY + HOUR, 2 * DAY)],
            now("b", 30 * DAY, 29 * DAY), (1, DAY), 30 * DAY,  # a day that never was: the gap
        ),
        (
            "booted a year ahead, right again since the next boot",
            [stretch(1, "a", 0, 0, DAY), stretch(4, "b", YEAR, YEAR, YEAR + HOUR), stretch(9, "c", 2 * DAY, 2 * DAY, 3 * DAY)],
            now("c", 30 * DAY, 28 * DAY), (1, DAY), 29 * DAY + HOUR,
        ),
        (
            "an earlier boot, and just now set a year ahead",
            [stretch(1, "a", 0, 0, DAY), stretch(4, "b", DAY, DAY, 2 * DAY)],
            now("b", YEAR + 30 * DAY, 29 * DAY), (1, DAY), 29 * DAY,
        ),
        (
            "a boot that fell back to 1970, long ago",
            [stretch(1, "a", 0, 0, 3 * DAY), stretch(4, "b", -20_000 * DAY, HOUR - 20_000 * DAY, 2 * HOUR - 20_000 * DAY),
             stretch(9, "c", 5 * DAY, 5 * DAY, 29 * DAY)],
            now("c", 30 * DAY, 25 * DAY), (5, 2 * HOUR - 20_000 * DAY), 26 * DAY,  # and it may have been just before c
        ),
        (
            "the first boot of all began in 1970, until its clock was put right",
            [stretch(1, "a", -20_000 * DAY, -20_000 * DAY, HOUR - 20_000 * DAY), stretch(4, "a", 0, 3 * HOUR, 8 * HOUR),
             stretch(9, "b", DAY, DAY, DAY + HOUR)],
            now("b", 20 * DAY, 19 * DAY), (2, HOUR - 20_000 * DAY), 20 * DAY - HOUR,
        ),
        (
            "400 days away, and the battery of the clock empty at the next boot",
            [stretch(1, "a", -402 * DAY, -402 * DAY, -400 * DAY),
             stretch(4, "b", -20_000 * DAY, -20_000 * DAY, HOUR - 20_000 * DAY), stretch(9, "b", 0, 3 * HOUR, 8 * HOUR),
             stretch(12, "c", DAY, DAY, DAY + HOUR)],
            now("c", 20 * DAY, 19 * DAY), (5, HOUR - 20_000 * DAY), 20 * DAY - HOUR,
        ),
        (
            "the same, and put right by the next boot only",
            [stretch(1, "a", -402 * DAY, -402 * DAY, -400 * DAY),
             stretch(4, "b", -20_000 * DAY, -20_000 * DAY, HOUR - 20_000 * DAY), stretch(12, "c", DAY, DAY, DAY + HOUR)],
            now("c", 20 * DAY, 19 * DAY), (5, HOUR - 20_000 * DAY), 20 * DAY,  # a day that never was: the gap
        ),
        (
            "found by the first scan of a boot whose clock is a year ahead",
            [stretch(1, "a", 0, 0, DAY), stretch(4, "b", YEAR, None, DAY + HOUR)],
            now("b", YEAR + HOUR, HOUR), (4, DAY + HOUR), 0,
        ),
        (
            "the same, an hour later, with a version in between",
            [stretch(1, "a", 0, 0, DAY), stretch(4, "b", YEAR, YEAR + HOUR, YEAR + HOUR)],
            now("b", YEAR + 2 * HOUR, 2 * HOUR), (4, DAY + HOUR), HOUR,
        ),
        ("a virtual machine put back", [stretch(1, "a", 0, 0, DAY)], now("a", 2 * DAY, HOUR), (1, DAY), HOUR - DAY),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_ages(name: str, stretches: list[Stretch], moment: Moment, asked: tuple[int, int], expected: int) -> None:
    seq, time = asked
    assert Ages(stretches, moment)(seq, Y + time) == expected, name


@st.composite
def lives(draw: st.DrawFn, *, steps: bool) -> tuple[list[Stretch], Moment, list[tuple[int, int, int]], int, int]:
    """Stretches, now, (place, time that was noted, true time) of each record, true now, reboots."""
    spans = draw(st.lists(st.tuples(st.integers(60, 20 * 86_400), st.booleans(), st.sampled_from((0, -YEAR, -DAY, DAY, YEAR)))))
    wrong, booted, boots = 0, 0, 0
    stretches: list[Stretch] = []
    records = []
    true_times = [0, *accumulate(seconds * 10**9 for seconds, _, _ in spans)]
    for seq, (true, (_, is_reboot, step)) in enumerate(zip(true_times, [(0, False, 0), *spans], strict=True), start=1):
        if is_reboot:
            booted, boots = true - 30 * 10**9, boots + 1
        wrong += step if steps else 0
        shown = Y + true + wrong
        last = stretches[-1] if stretches else None
        if last is None or last.boot_id != str(boots) or last.offset_ns != Y + booted + wrong:
            stretches.append(Stretch(seq, str(boots), Y + booted + wrong, shown, shown))
        else:
            stretches[-1] = Stretch(last.first_seq, last.boot_id, last.offset_ns, last.first_ns, shown)
        records.append((seq, shown, true))
    true_now = true_times[-1] + draw(st.integers(0, 100)) * HOUR
    wrong += draw(st.sampled_from((0, YEAR, -YEAR))) if steps else 0
    return stretches, Moment(Y + true_now + wrong, true_now - booted, str(boots)), records, true_now, boots


@given(lives(steps=False))
def test_under_a_right_clock_ages_are_never_too_high_and_exact_in_the_end(
    life: tuple[list[Stretch], Moment, list[tuple[int, int, int]], int, int],
) -> None:
    stretches, moment, records, true_now, boots = life
    age = Ages(stretches, moment)
    for seq, shown, true in records:
        assert age(seq, shown) <= true_now - true
        if not boots or true_now - true < DAY:
            assert age(seq, shown) == true_now - true
    later = Moment(moment.wall_ns + PROBATION_NS + DAY, moment.boot_ns + PROBATION_NS + DAY, moment.boot_id)
    for seq, shown, true in records:
        assert Ages(stretches, later)(seq, shown) == later.wall_ns - Y - true, "a week later all is counted"


@given(lives(steps=True))
def test_a_clock_that_was_set_makes_nothing_older_by_more_than_a_day_a_reboot(
    life: tuple[list[Stretch], Moment, list[tuple[int, int, int]], int, int],
) -> None:
    """Within the week of probation; what is older than that by all that is sure is old by the most cautious clock."""
    stretches, moment, records, true_now, boots = life
    age = Ages(stretches, moment)
    for seq, shown, true in records:
        if not boots:
            assert age(seq, shown) == true_now - true
        elif true_now - true <= PROBATION_NS - boots * DAY:
            assert age(seq, shown) <= true_now - true + boots * DAY


@st.composite
def wrong_lives(draw: st.DrawFn) -> tuple[list[Stretch], Moment, list[tuple[int, int, int]], int]:
    """Stretches, now, (place, time that was noted, true time) of each record, true now: of clocks that are wrong, and step.

    Of two lives the store cannot tell apart: one in which a clock lay behind for a whole boot and showed nothing that had been
    before, and one in which the machine was off for so long. So the first is not among them; nor one whose clock is ahead now.
    """
    true, highest, boots = 0, -(1 << 62), draw(st.lists(wrong_boot, min_size=1, max_size=6))
    stretches: list[Stretch] = []
    records = []
    for number, (off, parts) in enumerate(boots):
        true += off * HOUR
        booted = true
        errors = [error * DAY for error, _ in parts]
        if max(errors) < 0 and booted + max(errors) >= highest:
            errors[-1] = 0  # by NTP
        if number == len(boots) - 1:
            errors[-1] = min(errors[-1], 0)
        for error, (_, hours) in zip(errors, parts, strict=True):
            first, true = true + HOUR, true + HOUR * (1 + hours)
            stretches.append(stretch(len(records) + 1, str(number), booted + error, first + error, true + error))
            records += [(len(records) + 1 + n, Y + at + error, at) for n, at in enumerate((first, true))]
        highest = max(highest, *(one.last_ns - Y for one in stretches))
    return stretches, now(str(len(boots) - 1), true + errors[-1], true - booted), records, true


wrong_parts = st.tuples(st.sampled_from((0, 0, -20_000, -400, -10, -1, 1, 10, 400)), st.integers(0, 300))
wrong_boot = st.tuples(st.sampled_from((1, 1, 16, 60, 20 * 24, 400 * 24)), st.lists(wrong_parts, min_size=1, max_size=3))


@given(wrong_lives())
def test_a_clock_that_lay_behind_or_ahead_makes_nothing_older_by_more_than_a_day_a_boot(
    life: tuple[list[Stretch], Moment, list[tuple[int, int, int]], int],
) -> None:
    stretches, moment, records, true_now = life
    age = Ages(stretches, moment)
    for seq, shown, true in records:
        since = {one.boot_id for one in stretches if one.first_seq > seq}
        assert age(seq, shown) <= true_now - true + len(since) * DAY
