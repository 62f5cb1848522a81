"""The wall clock is set back, ahead, or changes for daylight saving: order, `--since` and retention keep their word."""

import json
import random
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd.errors import UsageError
from guardd.model import ABSENT, FileState, Kind, Moment, Origin
from guardd.selection import SelectionRules
from guardd.store.appending import Observation
from guardd.store.codec import digest, encode
from guardd.store.retention import DAY_NS, HOUR_NS, Policy
from guardd.store.space import collect
from guardd.store.store import Store
from guardd.timespec import Elapsed, Instant, parse
from tests.faults import MEMORY, seeds
from tests.faults.set_clock import SetClock
from tests.world import World

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
YEAR = 365 * DAY_NS
START = Moment(1_750_000_000 * SECOND, 5_000 * SECOND, "boot-1")
POLICY = Policy(3 * DAY_NS, 30 * DAY_NS, YEAR, 1 << 40)
POLICIES = (
    POLICY,
    Policy(12 * HOUR_NS, 3 * DAY_NS, 8 * DAY_NS, 1 << 40),
    Policy(0, 5 * DAY_NS, 5 * DAY_NS, 1 << 40),
    Policy(0, 0, YEAR, 1 << 40),
)
STEPS = (-YEAR, -HOUR_NS, -2 * SECOND, 0, 0, 0, 0, 2 * SECOND, HOUR_NS, YEAR)
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC")


class Written(NamedTuple):
    """A version: its place in the log, when it truly was, what the clock showed (None: an inode told), and the content."""

    seq: int
    true_ns: int
    shown_ns: int | None
    boot: int
    content: bytes


@pytest.fixture
def state() -> Iterator[Path]:
    """A state dir where a sync costs nothing."""
    with tempfile.TemporaryDirectory(prefix="guard-clocks-", dir=MEMORY) as folder:
        yield Path(folder)


class Lived:
    """A store whose wall clock is set by chance between versions of one path; the true time of each is known."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self.store, self.chance = store, chance
        self.repo = store.repos.add("/repo", SelectionRules())
        self.now = START
        self.true_ns = 0
        self.written: list[Written] = []
        self.steps = 0
        self.boots = 1

    def pass_time(self, ns: int, step_ns: int = 0) -> None:
        self.true_ns += ns
        self.steps += step_ns != 0
        self.now = Moment(self.now.wall_ns + ns + step_ns, self.now.boot_ns + ns, self.now.boot_id)

    def reboot(self, off_ns: int, step_ns: int = 0) -> None:
        """The machine is off for so long, and comes back with another clock."""
        self.pass_time(off_ns, step_ns)
        self.boots += 1
        self.now = Moment(self.now.wall_ns, MINUTE, f"boot-{self.boots}")

    def write(self, origin: Origin = Origin.WATCH, time_ns: int | None = None) -> None:
        content = b"x = %d\n" % len(self.written) + self.chance.randbytes(20).hex().encode()
        head = self.store.log.head(self.repo.id, "a.py")
        state = FileState(Kind.FILE, digest(content), len(content), 0o644)
        seen = Observation("a.py", head.seq, state, None, content=encode(state.blob, content), time_ns=time_ns)
        self.store.log.record(self.repo.id, [seen], origin, self.now)
        shown_ns = self.now.wall_ns if time_ns is None else None
        self.written.append(Written(self.store.log.last_seq(), self.true_ns, shown_ns, self.boots, content))

    def content_at(self, place: int) -> bytes | None:
        passage = self.store.log.passage(self.repo.id, "a.py", place)
        then = passage.then if passage else None
        return self.store.blobs.read(then.state.blob) if then and then.state != ABSENT else None


def lived(state: Path, chance: random.Random, count: int, longest_ns: int, steps: tuple[int, ...] = STEPS) -> Lived:
    made = Lived(Store(str(state), create=True), chance)
    for _ in range(count):
        made.pass_time(chance.randrange(10 * SECOND, longest_ns), chance.choice(steps))
        made.write()
    return made


@pytest.mark.promise("the past is what it was", "the wall clock is set an hour back, a year ahead and so on while versions come")
@pytest.mark.parametrize("seed", seeds(5, 200))
def test_order_is_the_sequence_and_since_counts_elapsed_time_however_the_clock_is_set(
    state: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(seed)
    made = lived(state, chance, 25, 20 * MINUTE)
    record_property("faults", made.steps)
    with made.store:
        listed = list(made.store.log.next_versions(made.repo.id, 0, 1000))
        assert [version.seq for version in listed] == [one.seq for one in made.written]
        made.pass_time(chance.randrange(SECOND, MINUTE), chance.choice(STEPS))
        for _ in range(30):
            back = chance.randrange(0, made.true_ns)
            spec = parse(f"{back / SECOND:.9f}s" if back % 2 else f"{back // SECOND}s", made.now.wall_ns)
            assert isinstance(spec, Elapsed)
            before = [one.seq for one in made.written if one.true_ns <= made.true_ns - spec.ns]
            assert made.store.log.place_before(spec.ns, made.now) == max(before, default=0)
            if before:
                assert made.content_at(max(before)) == made.written[len(before) - 1].content


@pytest.mark.promise("no acknowledged version is lost", "gc while the wall clock is or was wrong, a year ahead too")
@pytest.mark.parametrize("seed", seeds(4, 200))
def test_retention_removes_nothing_early_however_the_clock_was_set(
    state: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """What was in force at an instant that is kept, by true ages, is there after gc, whatever the clock showed."""
    chance = random.Random(seed)
    policy = chance.choice(POLICIES)
    made = Lived(Store(str(state), create=True), chance)
    with made.store:
        for _ in range(40):
            made.pass_time(chance.randrange(10 * SECOND, chance.choice((HOUR_NS, 12 * HOUR_NS))), chance.choice(STEPS))
            made.write()
            if chance.random() < 0.2:
                collect(made.store, policy, made.now)
        made.pass_time(chance.randrange(SECOND, HOUR_NS), chance.choice(STEPS))
        record_property("faults", made.steps)
        collect(made.store, policy, made.now)
        assert_nothing_went_early(made, policy)


@pytest.mark.promise(
    "no acknowledged version is lost", "gc after reboots with a wrong clock, and files that changed while guardd was off"
)
@pytest.mark.parametrize("seed", seeds(4, 200))
def test_retention_removes_nothing_early_after_reboots_with_another_clock(
    state: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """A reboot with another clock makes guard believe in a day that never was, at most."""
    chance = random.Random(seed)
    made = Lived(Store(str(state), create=True), chance)
    believed = 0
    for _ in range(20):
        step = chance.choice(STEPS)
        if chance.random() < 0.3:
            made.reboot(chance.randrange(MINUTE, 20 * HOUR_NS), step)
            if made.true_ns < 7 * DAY_NS:  # by then all of it is younger than a wrong clock must be to be believed
                believed += DAY_NS
            if chance.random() < 0.5:  # found by the first scan, with the time that the inode tells
                made.write(Origin.OFFLINE, made.now.wall_ns - chance.choice((HOUR_NS, YEAR)))
        else:
            made.pass_time(chance.randrange(10 * SECOND, 8 * HOUR_NS), step)
            made.write()
    record_property("faults", made.steps)
    with made.store:
        policy = POLICY._replace(keep_all_ns=30 * DAY_NS, keep_hourly_ns=30 * DAY_NS)
        collect(made.store, policy, made.now)
        assert_nothing_went_early(made, policy, believed)


def assert_nothing_went_early(made: Lived, policy: Policy, believed_ns: int = 0) -> None:
    """Where guard may believe that so much more time has passed."""
    now_ns = made.true_ns + believed_ns
    left = {version.seq for version in made.store.log.next_versions(made.repo.id, 0, 1000)}
    for one, successor in pairwise(made.written):
        ago = f"version {one.seq} was superseded {(made.true_ns - successor.true_ns) / HOUR_NS:.1f} h ago"
        if successor.true_ns > now_ns - policy.keep_all_ns:
            assert one.seq in left, ago
        for step, horizon in ((HOUR_NS, now_ns - policy.keep_hourly_ns), (DAY_NS, now_ns - policy.keep_daily_ns)):
            if saw_full(step, one, successor, horizon):
                assert one.seq in left, f"{ago}, and was in force at a full {step / HOUR_NS} h"
        if one.seq in left:
            assert made.content_at(one.seq) == one.content
    assert made.written[-1].seq in left


def saw_full(step: int, one: Written, successor: Written, horizon: int) -> bool:
    """Whether a version was in force, not before `horizon` (true), when a clock showed a full hour or day.

    It must be one by the clock that timed it, and by the clock that timed its successor.
    """
    if one.shown_ns is None or successor.shown_ns is None or one.boot != successor.boot:
        return False
    begin = max(one.true_ns, horizon)
    offsets = (one.shown_ns - one.true_ns, successor.shown_ns - successor.true_ns)
    return all(-(-(begin + offset) // step) * step < successor.true_ns + offset for offset in offsets)


WRONG = {"an hour back": -HOUR_NS, "a year ahead": YEAR, "a year back": -YEAR}


@pytest.mark.faults
@pytest.mark.promise(
    "the past is what it was", "the clock of a running guardd, and of guardctl, is set an hour back, a year ahead or back"
)
@pytest.mark.parametrize("wrong", WRONG)
def test_log_and_restore_since_go_by_elapsed_time_while_the_clock_is_set(world: World, wrong: str) -> None:
    clock = SetClock(world)
    texts = [b"edit = %d\n" % number for number in range(5)]
    world.write("a.py", texts[0])
    daemon = clock.start()
    for text, minutes, wrong_ns in (
        (texts[1], 60, 0), (texts[2], 20, 0), (texts[3], 10, WRONG[wrong]), (texts[4], 2, WRONG[wrong]),
    ):  # fmt: skip
        clock.set_wrong(wrong_ns)
        clock.pass_time(minutes * MINUTE)
        world.write("a.py", text)
        world.wait_captured("a.py", text)
    for wrong_ns in (WRONG[wrong], 0):  # while it is wrong, and once it is right again
        clock.set_wrong(wrong_ns)
        logged = json.loads(clock.ctl("log", "a.py", "--json"))
        assert [world.ctl_bytes("show", "a.py", "--version", str(one["seq"])) for one in logged[-5:]] == texts[::-1]
        assert json.loads(clock.ctl("log", "a.py", "--since", "20m", "--json")) == logged[:-2]
        for since, text in (("20m", texts[1]), ("6m", texts[2]), ("50m", texts[0])):
            clock.ctl("restore", "a.py", "--since", since, "--yes")
            assert (world.root / "a.py").read_bytes() == text, since
    assert daemon.stop() == 0


@pytest.mark.faults
@pytest.mark.promise("no acknowledged version is lost", "guardctl gc while the clock is an hour back, a year ahead or back")
@pytest.mark.parametrize("wrong", WRONG)
def test_gc_under_a_clock_that_was_set_takes_nothing_that_was_there_a_moment_ago(world: World, wrong: str) -> None:
    clock = SetClock(world)
    clock.ctl("init")
    for number in range(5):
        world.write("a.py", f"x = {number}\n")
        clock.ctl("log")
    before = [one["seq"] for one in world.versions("a.py")]
    assert len(before) == 5
    clock.set_wrong(WRONG[wrong])
    for text in ("x = 'by another clock'", "x = 'a little later'"):
        world.write("a.py", text)
        clock.ctl("log", "a.py")
        clock.ctl("gc")
    with Store(str(world.state)) as store:
        assert store.db.value("SELECT max(offset_ns) - min(offset_ns) FROM clocks") > HOUR_NS // 2, "the clock was set"
    clock.set_wrong(0)
    clock.ctl("gc")
    assert [one["seq"] for one in world.versions("a.py")][2:] == before


@given(
    st.sampled_from(ZONES),
    st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1)),
    st.integers(0, 48 * 3600),
)
def test_a_duration_is_elapsed_time_and_a_local_time_is_what_that_zone_shows(zone: str, noon: datetime, back_s: int) -> None:
    """`2h` before a change of daylight saving is two hours, and 14:30 is what a clock on the wall showed, or is refused."""
    info = ZoneInfo(zone)
    now = noon.replace(tzinfo=UTC)
    now_ns = int(now.timestamp()) * SECOND
    assert parse(f"{back_s}s", now_ns, info) == Elapsed(back_s * SECOND)
    then = (now - timedelta(seconds=back_s)).replace(microsecond=0)
    local = then.astimezone(info)
    found = parse(local.strftime("%Y-%m-%dT%H:%M:%S"), now_ns, info)
    assert isinstance(found, Instant)
    shown = datetime.fromtimestamp(found.ns // SECOND, UTC).astimezone(info)
    assert shown.replace(tzinfo=None) == local.replace(tzinfo=None)
    assert found.ns <= int(then.timestamp()) * SECOND, "of a local time that comes twice it is the first"
    exact = parse(local.isoformat(timespec="seconds"), now_ns, info)
    assert exact == Instant(int(then.timestamp()) * SECOND)


@pytest.mark.promise("bad input gets one clear line", "local times that daylight saving skips")
@pytest.mark.parametrize(("zone", "skipped"), [("Europe/Berlin", "2026-03-29T02:30"), ("America/New_York", "2026-03-08T02:30")])
def test_a_local_time_that_never_was_is_refused(zone: str, skipped: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        parse(skipped, 1_790_000_000 * SECOND, ZoneInfo(zone))


@pytest.mark.parametrize(("word", "hours"), [("today", 23), ("yesterday", 23 + 24)])
def test_the_day_of_a_change_is_as_long_as_it_was(word: str, hours: int) -> None:
    """The end of 29 March 2026 in Berlin: that day had 23 hours."""
    midnight = datetime(2026, 3, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    now_ns = (int(midnight.timestamp()) - 1) * SECOND
    found = parse(word, now_ns, ZoneInfo("Europe/Berlin"))
    assert isinstance(found, Instant)
    assert now_ns + SECOND - found.ns == hours * HOUR_NS
