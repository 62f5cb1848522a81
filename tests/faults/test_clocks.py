"""The wall clock is set back, ahead, or changes for daylight saving: order, `--since` and retention keep their word."""

import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
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
from tests.faults import seeds
from tests.world import World

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
YEAR = 365 * DAY_NS
START = Moment(1_750_000_000 * SECOND, 5_000 * SECOND, "boot-1")
POLICY = Policy(3 * DAY_NS, 30 * DAY_NS, YEAR, 1 << 40)
STEPS = (-YEAR, -HOUR_NS, -2 * SECOND, 0, 0, 0, 0, 2 * SECOND, HOUR_NS, YEAR)
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC")


class Lived:
    """A store whose wall clock is set by chance between versions of one path; the true time of each is known."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self.store, self.chance = store, chance
        self.repo = store.repos.add("/repo", SelectionRules())
        self.now = START
        self.true_ns = 0
        self.written: list[tuple[int, int, bytes]] = []
        """Place in the log, true time, content."""
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
        self.written.append((self.store.log.last_seq(), self.true_ns, content))

    def content_at(self, place: int) -> bytes | None:
        passage = self.store.log.passage(self.repo.id, "a.py", place)
        then = passage.then if passage else None
        return self.store.blobs.read(then.state.blob) if then and then.state != ABSENT else None


def lived(state: Path, chance: random.Random, count: int, longest_ns: int, steps: tuple[int, ...] = STEPS) -> Lived:
    state.mkdir(mode=0o700)
    made = Lived(Store(str(state), create=True), chance)
    for _ in range(count):
        made.pass_time(chance.randrange(10 * SECOND, longest_ns), chance.choice(steps))
        made.write()
    return made


@pytest.mark.promise("the past is what it was", "the wall clock is set an hour back, a year ahead and so on while versions come")
@pytest.mark.parametrize("seed", seeds(5, 200))
def test_order_is_the_sequence_and_since_counts_elapsed_time_however_the_clock_is_set(
    tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(seed)
    made = lived(tmp_path / "state", chance, 25, 20 * MINUTE)
    record_property("faults", made.steps)
    with made.store:
        listed = list(made.store.log.next_versions(made.repo.id, 0, 1000))
        assert [version.seq for version in listed] == [seq for seq, _, _ in made.written]
        made.pass_time(chance.randrange(SECOND, MINUTE), chance.choice(STEPS))
        for _ in range(30):
            back = chance.randrange(0, made.true_ns)
            spec = parse(f"{back / SECOND:.9f}s" if back % 2 else f"{back // SECOND}s", made.now.wall_ns)
            assert isinstance(spec, Elapsed)
            before = [seq for seq, at, _ in made.written if at <= made.true_ns - spec.ns]
            assert made.store.log.place_before(spec.ns, made.now) == max(before, default=0)
            if before:
                assert made.content_at(max(before)) == made.written[len(before) - 1][2]


@pytest.mark.promise("no acknowledged version is lost", "gc while the wall clock is or was wrong, a year ahead too")
@pytest.mark.parametrize("seed", seeds(4, 200))
def test_retention_removes_nothing_early_however_the_clock_was_set(
    tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """What was in force within the last three true days is there after gc, whatever the clock showed meanwhile and shows now."""
    chance = random.Random(seed)
    made = lived(tmp_path / "state", chance, 30, 12 * HOUR_NS)
    made.pass_time(chance.randrange(SECOND, HOUR_NS), chance.choice(STEPS))
    record_property("faults", made.steps)
    with made.store:
        collect(made.store, POLICY, made.now)
        assert_nothing_went_early(made, made.true_ns - POLICY.keep_all_ns)


@pytest.mark.promise(
    "no acknowledged version is lost", "gc after reboots with a wrong clock, and files that changed while guardd was off"
)
@pytest.mark.parametrize("seed", seeds(4, 200))
def test_retention_removes_nothing_early_after_reboots_with_another_clock(
    tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """A reboot with another clock makes guard believe in a day that never was, at most."""
    chance = random.Random(seed)
    (tmp_path / "state").mkdir(mode=0o700)
    made = Lived(Store(str(tmp_path / "state"), create=True), chance)
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
        collect(made.store, POLICY._replace(keep_all_ns=30 * DAY_NS, keep_hourly_ns=30 * DAY_NS), made.now)
        assert_nothing_went_early(made, made.true_ns + believed - 30 * DAY_NS)


def assert_nothing_went_early(made: Lived, horizon: int) -> None:
    left = {version.seq for version in made.store.log.next_versions(made.repo.id, 0, 1000)}
    for (seq, _, content), (_, superseded, _) in zip(made.written, made.written[1:], strict=False):
        if superseded > horizon:
            assert seq in left, f"version {seq} was superseded {(made.true_ns - superseded) / HOUR_NS:.1f} h ago"
            assert made.content_at(seq) == content
    assert made.written[-1][0] in left


_A_YEAR_AHEAD = f"""
import sys
from guardd import clock
from guardd.cli.main import run
real = clock.now
clock.now = lambda: real()._replace(wall_ns=real().wall_ns + {YEAR})
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.faults
@pytest.mark.promise("no acknowledged version is lost", "guardctl gc while the clock is a year ahead")
def test_gc_under_a_clock_a_year_ahead_takes_nothing_that_was_there_a_moment_ago(world: World) -> None:
    world.ctl("init")
    for number in range(5):
        world.write("a.py", f"x = {number}\n")
        world.ctl("log")
    before = [one["seq"] for one in world.versions("a.py")]
    assert len(before) == 5
    for text in ("x = 'in a year'", "x = 'a little later'"):
        world.write("a.py", text)
        for words in (["log", "a.py"], ["gc"]):
            command = [sys.executable, "-c", _A_YEAR_AHEAD, *words]
            done = subprocess.run(command, check=False, cwd=world.root, env=world.env, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    with Store(str(world.state)) as store:
        assert store.db.value("SELECT max(offset_ns) - min(offset_ns) FROM clocks") > YEAR // 2, "the clock was set"
    world.ctl("gc")
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
