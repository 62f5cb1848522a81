"""Retention: for every kept instant, what was in force stays in force."""

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from guardd.store.retention import DAY_NS, HOUR_NS, Aged, Policy, Taken, expired, expired_adopted, over_quota

POLICY = Policy(3 * DAY_NS, 30 * DAY_NS, 365 * DAY_NS, 1 << 30)
NOW = 20_000 * DAY_NS + 7 * HOUR_NS + 123


def history(*ages_ns: int, path_id: int = 1) -> list[Aged]:
    """Versions of one path, made this long ago, oldest first."""
    return [Aged(seq, path_id, NOW - age, 100) for seq, age in enumerate(sorted(ages_ns, reverse=True), start=1)]


def age(seq: int, time_ns: int, now: int = NOW) -> int:
    return now - time_ns


def kept(versions: list[Aged], now: int = NOW, pinned: frozenset[int] = frozenset()) -> list[Aged]:
    gone = set(expired(versions, POLICY, partial(age, now=now), pinned))
    return [version for version in versions if version.seq not in gone]


def in_force(versions: list[Aged], instant: int) -> int | None:
    return max((version.seq for version in versions if version.time_ns <= instant), default=None)


def kept_instants(moment: int) -> list[int]:
    """Some instants of every kind, around a moment."""
    return [
        instant
        for step, horizon in ((1, POLICY.keep_all_ns), (HOUR_NS, POLICY.keep_hourly_ns), (DAY_NS, POLICY.keep_daily_ns))
        for instant in (moment // step * step, moment // step * step + step)
        if NOW - horizon <= instant <= NOW
    ]


ages = st.lists(st.integers(0, 500 * DAY_NS), min_size=1, max_size=30, unique=True)


@given(ages)
def test_what_was_in_force_at_a_kept_instant_stays_in_force(found: list[int]) -> None:
    before = history(*found)
    after = kept(before)
    for version in before:
        for instant in kept_instants(version.time_ns):
            assert in_force(after, instant) == in_force(before, instant)


@given(ages)
def test_a_second_time_removes_nothing_more(found: list[int]) -> None:
    once = kept(history(*found))
    assert kept(once) == once


@given(ages, st.integers(0, 400 * DAY_NS))
def test_the_newest_version_of_a_path_always_stays_whatever_the_clock_says(found: list[int], later: int) -> None:
    versions = history(*found)
    assert versions[-1] in kept(versions, NOW + later)


@given(ages, st.sets(st.integers(1, 30)))
def test_pinned_versions_stay(found: list[int], pins: set[int]) -> None:
    versions = history(*found)
    assert {version for version in versions if version.seq in pins} <= set(kept(versions, pinned=frozenset(pins)))


def test_what_is_pinned_keeps_nothing_else() -> None:
    versions = history(800 * DAY_NS, 700 * DAY_NS, 600 * DAY_NS, 500 * DAY_NS, 0)
    assert [one.seq for one in kept(versions, pinned=frozenset({2}))] == [2, 4, 5]


def test_a_version_two_years_old_that_was_in_force_until_yesterday_stays() -> None:
    assert len(kept(history(730 * DAY_NS, DAY_NS))) == 2


def test_everything_of_the_last_three_days_stays() -> None:
    versions = history(*(minute * 60_000_000_000 for minute in range(0, 3 * 24 * 60, 7)))
    assert kept(versions) == versions


def test_older_ones_thin_to_one_an_hour_and_then_one_a_day() -> None:
    minute = 60_000_000_000
    hourly = history(*(10 * DAY_NS + number * minute for number in range(24 * 60)))
    assert 24 <= len(kept(hourly)) <= 26
    daily = history(*(100 * DAY_NS + number * 10 * minute for number in range(10 * 24 * 6)))
    assert 10 <= len(kept(daily)) <= 12
    ancient = history(*(400 * DAY_NS + number * minute for number in range(1000)))
    assert len(kept(ancient)) == 1


def test_a_clock_that_was_wrong_or_is_wrong_now_removes_nothing_early() -> None:
    recent = history(*(number * HOUR_NS // 7 for number in range(100)))
    assert kept(recent, now=NOW - 1000 * DAY_NS) == recent
    behind = [Aged(1, 1, NOW - 10 * DAY_NS - 5, 1), Aged(2, 1, NOW - 365 * DAY_NS, 1)]
    true_ages = {1: 12 * DAY_NS, 2: 10 * DAY_NS}
    assert list(expired(behind, POLICY, lambda seq, time_ns: true_ages[seq])) == [], "it was in force for two days"
    ahead = [Aged(1, 1, NOW, 1), Aged(2, 1, NOW + 365 * DAY_NS, 1)]  # between the two someone set it
    for superseded, gone in ((1, []), (364, []), (366, [1])):
        assert list(expired(ahead, POLICY, lambda seq, time_ns, days=superseded: days * DAY_NS)) == gone  # type: ignore[misc]


def test_a_version_stays_for_midnight_also_when_what_succeeds_it_is_of_a_clock_an_hour_back() -> None:
    midnight, minute = NOW // DAY_NS * DAY_NS - 100 * DAY_NS, HOUR_NS // 60
    true_times = {1: midnight - 30 * minute, 2: midnight + 10 * minute, 3: midnight + 20 * minute}
    shown = {1: true_times[1], 2: true_times[2], 3: true_times[3] - HOUR_NS}
    versions = [Aged(seq, 1, shown[seq], 1) for seq in true_times]
    before = versions
    for _ in range(2):  # the second time, version 3 succeeds version 1
        gone = list(expired(before, POLICY, lambda seq, time_ns: NOW - true_times[seq]))
        before = [one for one in before if one.seq not in gone]
        assert [one.seq for one in before] == [1, 3]


def test_over_quota_frees_what_was_superseded_longest_ago_and_never_the_newest() -> None:
    versions = history(50 * HOUR_NS, 40 * HOUR_NS, HOUR_NS) + history(60 * HOUR_NS, 2 * HOUR_NS, path_id=2)
    versions[3:] = [Aged(version.seq + 10, 2, version.time_ns, 100) for version in versions[3:]]
    assert list(over_quota(versions, 150, age)) == [1, 11]
    assert set(over_quota(versions, 300, age)) == {1, 2, 11}
    assert list(over_quota(versions, 150, age, pinned={1})) == [11, 2]
    assert list(over_quota(versions, 0, age)) == []


def test_a_quota_that_cannot_be_met_spares_the_last_day() -> None:
    versions = history(50 * HOUR_NS, 40 * HOUR_NS, 30 * HOUR_NS, 3 * HOUR_NS, HOUR_NS)
    assert list(over_quota(versions, 10**9, age)) == [1, 2]


def test_each_path_has_a_newest_version_of_its_own() -> None:
    ancient = [Aged(seq, path_id, NOW - 400 * DAY_NS + seq, 1) for path_id in (1, 2) for seq in (path_id * 10, path_id * 10 + 1)]
    assert set(expired(ancient, POLICY, age)) == {10, 20}


def test_a_kept_instant_counts_for_what_is_in_force_at_it_and_not_for_what_ends_there() -> None:
    edge = NOW - POLICY.keep_all_ns
    for end, stays in ((edge, False), (edge + 1, True)):
        versions = [Aged(1, 1, edge - 2, 1), Aged(2, 1, end, 1)]
        assert (versions[0] in kept(versions)) == stays
    hour = NOW // HOUR_NS * HOUR_NS - 240 * HOUR_NS
    for begin, end, stays in (
        (hour - 5, hour, False),
        (hour - 5, hour + 1, True),
        (hour, hour + 1, True),
        (hour + 1, hour + 5, False),
    ):
        versions = [Aged(1, 1, begin, 1), Aged(2, 1, end, 1)]
        assert (versions[0] in kept(versions)) == stays


def test_an_adopted_version_goes_when_daily_ones_do_unless_it_is_the_last_hope() -> None:
    edge = NOW - POLICY.keep_daily_ns
    adopted = [Taken(1, edge - 1, 1, False), Taken(2, edge, 1, False), Taken(3, edge - 1, 1, True), Taken(4, NOW, 1, False)]
    assert list(expired_adopted(adopted, POLICY, age)) == [1]


def test_over_quota_adopted_versions_count_from_when_they_were_adopted() -> None:
    adopted = [Taken(91, NOW - 50 * HOUR_NS, 100, False), Taken(92, NOW - 90 * HOUR_NS, 100, True)]
    versions = history(80 * HOUR_NS, 60 * HOUR_NS, 40 * HOUR_NS)
    assert list(over_quota(versions, 300, age, adopted=adopted)) == [1, 91, 2]
    assert list(over_quota(versions, 101, age, adopted=adopted)) == [1, 91]
    assert list(over_quota(versions, 100, age, adopted=adopted)) == [1]


def test_how_long_ago_something_was_is_asked_by_its_place_in_the_log() -> None:
    days_ago = {1: 500, 2: 490, 3: 480, 4: 470}

    def by_place(seq: int, time_ns: int) -> int:
        return days_ago[seq] * DAY_NS

    adopted = [Taken(1, NOW, 100, False), Taken(4, NOW - HOUR_NS, 100, False)]
    versions = [Aged(2, 1, NOW - HOUR_NS, 100), Aged(3, 1, NOW, 100)]
    assert list(expired_adopted(adopted, POLICY, by_place)) == [1, 4]
    assert list(over_quota(versions, 300, by_place, adopted=adopted)) == [1, 2, 4]


def test_the_last_day_that_is_spared_is_a_day() -> None:
    for ago, gone in ((DAY_NS, []), (DAY_NS + 1, [1])):
        assert list(over_quota(history(50 * HOUR_NS, ago), 10**9, age)) == gone


def test_a_full_hour_by_the_clock_of_what_succeeds_a_version_keeps_it() -> None:
    minute, hour = HOUR_NS // 60, NOW // HOUR_NS * HOUR_NS
    ahead = hour + 5 * HOUR_NS + 5 * minute  # for 50 minutes: without a full hour by the clock that was ahead then
    true_ages = {1: 10 * DAY_NS, 2: 10 * DAY_NS - 50 * minute, 3: 0}
    for at, gone in ((hour + 20 * minute, []), (hour + 55 * minute, [1])):
        before = [Aged(1, 1, ahead, 100), Aged(2, 1, at, 100), Aged(3, 1, NOW, 100)]
        found = list(expired(before, POLICY, lambda seq, time_ns: true_ages[seq]))
        assert [seq for seq in found if seq == 1] == gone
