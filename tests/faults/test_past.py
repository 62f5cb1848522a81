"""For every kept T, `restore --at T` gives the tree that was: a model tree held against capture, log, retention and restore.

Kept are all instants that retention's policy names; what retention or purge may take, the model forgets too.
"""

import os
import random
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from guardd import clock
from guardd.capture.capturer import Capturer
from guardd.model import ABSENT, FileState, Kind, Moment, Origin
from guardd.recovery.past import passages_since
from guardd.recovery.plan import Action, Plan, plan_return
from guardd.recovery.planning import plan_undo
from guardd.recovery.report import Report
from guardd.recovery.restore import carry_out
from guardd.rescue.adopting import Where, adopt, gather
from guardd.selection import Selection, SelectionRules
from guardd.store.retention import DAY_NS, HOUR_NS, Policy
from guardd.store.space import collect, compact, purge, repack
from guardd.store.store import Store
from guardd.timespec import Instant, format_instant, parse
from tests.faults import seeds

Leaf = tuple[Kind, bytes, int]
"""What is at a path: a file's content and permission bits, or a link's target."""
Tree = dict[str, Leaf]

FOLDERS = ("", "pkg/", "pkg/sub/", "a.py/")
PATHS = tuple(f"{folder}{name}" for folder in FOLDERS for name in ("a.py", "b.py", "c.py", "m\udcff.pyi"))
COMES_AND_GOES = "now_and_then.py"
"""The one file that is excluded and included again: only its newest version is held against the disk."""

_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where a sync costs nothing: on a disk a seed of the full form took 75 s, of which 70 s were waiting for it."""

BODIES = st.one_of(
    st.binary(max_size=40),
    st.integers(0, 6).map(lambda n: b"".join(b"def f%d(x):\n    return x * %d\n" % (at, n) for at in range(30))),
    st.integers(0, 3).map(lambda n: bytes([n]) * 70_000),
)
paths = st.sampled_from(PATHS)


class Past(RuleBasedStateMachine):
    """One repo, one store, and what the tree was at each instant."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="guard-past-", dir=_MEMORY))
        self.root = self.base / "repo"
        self.root.mkdir()
        self.skew_ns = 0
        self.now_is = mock.patch.object(clock, "now", self._now)
        self.real_now = clock.now
        self.now_is.start()
        self.store = Store(str(self.base / "state"), create=True)
        self.repo = self.store.repos.add(str(self.root), SelectionRules())
        self.pasts: list[tuple[int, int, Tree]] = []  # (time, place in the log, tree), in order
        self.changed_ns: dict[int, int] = {}  # which past -> the time of the first version after it
        self.chance = random.Random(0)
        self.horizon_ns = {"all": 0, "hourly": 0, "daily": 0}
        self.purged: set[str] = set()
        self.adopted: dict[tuple[str, int], bytes] = {}
        self.run: tuple[int, int] | None = None  # a run that is under way, and the past that it began from
        self.dirty = True
        self.restored: tuple[int, int, int] | None = (
            None  # a restore that can be taken back, the past before it, the past after it
        )

    def teardown(self) -> None:
        try:
            if self.pasts:
                self.every_kept_moment_is_what_it_was()
                self.every_version_reads()
                self.restore_one()
        finally:
            self.store.close()
            self.now_is.stop()
            shutil.rmtree(self.base)

    def _now(self) -> Moment:
        now = self.real_now()
        return now._replace(wall_ns=now.wall_ns + self.skew_ns, boot_ns=now.boot_ns + self.skew_ns)

    # -- the tree -----------------------------------------------------------------------------------------------

    @initialize(before=st.dictionaries(paths, BODIES, max_size=4), seed=st.integers(0, 1 << 32))
    def begin(self, before: dict[str, bytes], seed: int) -> None:
        self.chance.seed(seed)
        for path, body in before.items():
            self._put(path, body)
        self.scan()

    @rule(path=paths, body=BODIES)
    def write(self, path: str, body: bytes) -> None:
        self._put(path, body)

    @rule(path=paths, body=st.binary(min_size=1, max_size=20))
    def append(self, path: str, body: bytes) -> None:
        if (self.root / path).is_file() and not (self.root / path).is_symlink():
            with (self.root / path).open("ab") as file:
                file.write(body)
            self.dirty = True

    @rule(path=paths)
    def delete(self, path: str) -> None:
        self._clear(self.root / path)

    @rule(path=paths, other=paths)
    def rename(self, path: str, other: str) -> None:
        source, target = self.root / path, self.root / other
        if os.path.lexists(source) and not _is_below(other, path) and not _is_below(path, other):
            self._make_way(target)
            source.rename(target)
            self.dirty = True

    @rule(folder=st.sampled_from(FOLDERS[1:]), to=st.sampled_from(("pkg2", "pkg/deeper", "pkg", "a.py")))
    def rename_folder(self, folder: str, to: str) -> None:
        source, target = self.root / folder.rstrip("/"), self.root / to
        if source.is_dir() and not os.path.lexists(target) and not _is_below(to, folder.rstrip("/")):
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
            self.dirty = True

    @rule(path=paths, mode=st.sampled_from((0o644, 0o755, 0o600, 0o444)))
    def change_mode(self, path: str, mode: int) -> None:
        if (self.root / path).is_file() and not (self.root / path).is_symlink():
            (self.root / path).chmod(mode)
            self.dirty = True

    @rule(path=paths, to=st.sampled_from(("b.py", "nowhere", "../..", "/etc/hostname")))
    def replace_by_link(self, path: str, to: str) -> None:
        self._make_way(self.root / path)
        (self.root / path).symlink_to(to)

    @rule(path=paths, name=st.sampled_from(("b.py", "d.py")), body=BODIES)
    def replace_by_folder(self, path: str, name: str, body: bytes) -> None:
        if path.count("/") < 3:
            self._put(f"{path}/{name}", body)

    @precondition(lambda self: self.pasts)
    @rule(data=st.data())
    def rewrite_with_what_was(self, data: st.DataObject) -> None:
        _, _, tree = data.draw(st.sampled_from(self.pasts))
        files = sorted((path, leaf) for path, leaf in tree.items() if leaf[0] is Kind.FILE)
        if files:
            path, (_, content, _) = data.draw(st.sampled_from(files))
            self._put(path, content)

    @rule(body=BODIES, wanted=st.booleans())
    def exclude_or_include(self, body: bytes, wanted: bool) -> None:
        self._capture(Origin.SCAN)  # what a first scan under other rules meets counts as known before
        self._put(COMES_AND_GOES, body)
        self.repo = self.store.repos.add(str(self.root), SelectionRules(exclude=() if wanted else (COMES_AND_GOES,)))
        self._capture(Origin.SCAN)

    # -- guard --------------------------------------------------------------------------------------------------

    @rule()
    def scan(self) -> None:
        self._capture(Origin.SCAN)

    @precondition(lambda self: self.skew_ns == 0)  # it takes the times of inodes, which have no skew
    @rule()
    def scan_after_a_pause_of_the_daemon(self) -> None:
        self._capture(Origin.OFFLINE)

    @rule(some=st.lists(paths, unique=True))
    def look_at_some(self, some: list[str]) -> None:
        capturer = Capturer(self.store, self.repo)
        capturer.look(some, Origin.WATCH)
        capturer.close()
        self._capture(Origin.SCAN)  # a moment is one of the whole tree

    @rule(hours=st.sampled_from((0.01, 1, 5, 30, 200)))
    def time_goes_by(self, hours: float) -> None:
        self.skew_ns += int(hours * HOUR_NS)

    @rule(
        keep_all=st.sampled_from((0, 2, 24, 1000)), hourly=st.sampled_from((0, 24, 100)), daily=st.sampled_from((0, 240, 5000)),
    )  # fmt: skip
    def collect(self, keep_all: int, hourly: int, daily: int) -> None:
        hourly = max(keep_all, hourly)  # the config refuses what falls
        daily = max(hourly, daily)
        now = clock.now()
        policy = Policy(keep_all * HOUR_NS, hourly * HOUR_NS, daily * HOUR_NS, 1 << 40)
        collect(self.store, policy, now)
        for name, hours in (("all", keep_all), ("hourly", hourly), ("daily", daily)):
            self.horizon_ns[name] = max(self.horizon_ns[name], now.wall_ns - hours * HOUR_NS)
        self.restored = None

    @precondition(lambda self: self.run is None and self.pasts and not self.dirty)
    @rule()
    def begin_a_run(self) -> None:
        """Its beginning is pinned: retention must leave the way back to it."""
        at = len(self.pasts) - 1
        if self.pasts[at][1] == self.store.log.last_seq():
            self.run = self.store.runs.begin(self.repo.id, "true", os.getpid(), clock.now().wall_ns).id, at

    @precondition(lambda self: self.run is not None)
    @rule()
    def end_the_run(self) -> None:
        assert self.run
        self.store.runs.drop(self.run[0])
        self.run = None

    @rule(path=paths)
    def purge(self, path: str) -> None:
        if path in self.store.log.paths(self.repo.id) or path in self.store.adopted.paths(self.repo.id):
            purge(self.store, self.repo.id, [path])
            assert not list(self.store.log.versions_of(self.repo.id, path))
            self.purged.add(path)
            self.adopted = {key: content for key, content in self.adopted.items() if key[0] != path}
            self.dirty, self.restored = True, None

    @rule(least=st.sampled_from((0.5, 1.0)))
    def compact_and_repack(self, least: float) -> None:
        compact(self.store, lambda: True)
        assert repack(self.store, least) == set()

    @rule()
    def close_and_reopen(self) -> None:
        self.store.close()
        self.store = Store(str(self.base / "state"))
        found = self.store.repos.find(str(self.root))
        assert found
        self.repo = found

    @rule(path=st.sampled_from(("b.py", "pkg/b.py", "d.py")), body=BODIES, days=st.integers(1, 1000))
    def adopt(self, path: str, body: bytes, days: int) -> None:
        folder = (self.root / path).parent
        if not folder.is_dir() or folder.resolve() != folder:
            return
        backup = folder / f"{Path(path).name}.bak"
        backup.write_bytes(body)
        then = time.time() - days * 86_400
        os.utime(backup, (then, then))
        gathered = gather(self.store, self.repo, Selection(str(self.root), self.repo.rules), Where(), clock.now().wall_ns)
        numbers = adopt(self.store, self.repo, gathered.new, clock.now())
        self.adopted |= {(one.pair.path, number): one.text for one, number in zip(gathered.new, numbers, strict=True)}
        backup.unlink()

    @precondition(lambda self: self.pasts)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        self._capture(Origin.SCAN)
        kept = list(self._kept())
        then, tree = data.draw(st.sampled_from(kept))
        report = carry_out(self.store, self.repo, self._plan(then), "test")
        self.dirty = True
        self._is_now(tree, report)
        before = len(self.pasts) - 1
        self._capture(Origin.SCAN)
        if report.restore_id is not None:
            self.restored = report.restore_id, before, len(self.pasts) - 1

    def restore_one(self) -> None:
        """Not a plan only: the tree that was is on disk."""
        then, tree = self.chance.choice(list(self._kept()))
        self._is_now(tree, carry_out(self.store, self.repo, self._plan(then), "test"))

    @precondition(lambda self: self.restored is not None and not self.dirty)
    @rule()
    def undo(self) -> None:
        """Each file of the restore is what it was before; what others have made since stays, also where it is in the way."""
        assert self.restored
        restore_id, before, after = self.restored
        restore = self.store.restores.get(restore_id)
        assert restore
        old, wanted = self._comparable(self.pasts[before][2]), self._disk()
        for path in _differing(old, self._comparable(self.pasts[after][2])):
            _put(wanted, path, old.get(path))
        report = carry_out(self.store, self.repo, plan_undo(self.store, restore), "test", undoes=restore_id)
        self._is_now(wanted, report)
        self.restored = None
        self._capture(Origin.SCAN)

    # -- what must hold -----------------------------------------------------------------------------------------

    def every_kept_moment_is_what_it_was(self) -> None:
        self._capture(Origin.SCAN)
        now = self._heads()
        for then, tree in self._kept():
            found = dict(now)
            for item in self._plan(then).items:
                assert item.action is not Action.SKIP or not self._counts(item.path), item
                if item.action is not Action.LEAVE:
                    self._take(found, item.path, item.target)
            differing = _differing(self._comparable(found), self._comparable(tree))
            assert not differing, (differing, then, self.horizon_ns, [one[:2] for one in self.pasts])

    def every_version_reads(self) -> None:
        for version in self.store.log.versions(self.repo.id):
            if version.state.present:
                self.store.blobs.read(version.state.blob)
        for (path, number), content in self.adopted.items():
            found = self.store.adopted.get(self.repo.id, number)
            if found is not None:  # retention may take one that is not the last hope
                assert self.store.blobs.read(found.version.state.blob) == content, path

    @precondition(lambda self: not self.dirty)
    @invariant()
    def head_is_disk(self) -> None:
        excluded = bool(self.repo.rules.exclude)
        heads, disk = self._heads(), self._disk()
        if excluded:
            heads.pop(COMES_AND_GOES, None)
            disk.pop(COMES_AND_GOES, None)
        assert heads == disk

    # -- helpers ------------------------------------------------------------------------------------------------

    def _capture(self, origin: Origin) -> None:
        capturer = Capturer(self.store, self.repo)
        _, looked = capturer.scan(origin)
        capturer.close()
        assert not looked.again
        assert not looked.troubled
        self.repo = self.store.repos.find(str(self.root)) or self.repo
        self.dirty = False
        self.head_is_disk()
        if self.pasts:
            first = next(iter(self.store.log.next_versions(self.repo.id, self.pasts[-1][1], 1)), None)
            if first is not None:
                self.changed_ns[len(self.pasts) - 1] = first.time_ns
        now = clock.now().wall_ns
        self.pasts.append((now, self.store.log.last_seq(), self._disk()))
        tick = self.base / "tick"
        tick.touch()
        while tick.stat().st_mtime_ns + self.skew_ns <= now:  # until files get a later time than this moment
            time.sleep(0.0005)
            tick.touch()

    def _kept(self) -> Iterator[tuple[int, Tree]]:
        """The instants that must still be known, with their trees."""
        for at, (then, _, tree) in enumerate(self.pasts):
            until = self.pasts[at + 1][0] if at + 1 < len(self.pasts) else clock.now().wall_ns
            is_pinned = self.run is not None and at == self.run[1]
            between = range(max(then, self.horizon_ns["all"]), self.changed_ns.get(at, until) - 1000)  # as it is rounded up
            if between:
                yield self.chance.choice(between), tree
            if then >= self.horizon_ns["all"] or at + 1 == len(self.pasts) or is_pinned:
                yield then, tree
                continue
            for name, step in (("hourly", HOUR_NS), ("daily", DAY_NS)):
                boundary = -(-then // step) * step
                # Between two captures the log has the time of the later one's reading, which is right before it.
                if self.horizon_ns[name] <= boundary < until - 60_000_000_000:
                    yield boundary, tree

    def _is_now(self, wanted: Tree, report: Report) -> None:
        """What others made, or had guard forget, stays, also where it is in the way: then that is said."""
        disk, wanted = self._disk(), self._comparable(wanted)
        blocked = {path for path in wanted if any(_is_below(one, path) or _is_below(path, one) for one in disk.keys() - {path})}
        assert {path for path, _ in report.failed if self._counts(path)} == blocked, (blocked, report)
        assert not [one for one in report.skipped if self._counts(one[0])], report
        differing = _differing(self._comparable(disk), {path: wanted[path] for path in wanted.keys() - blocked})
        assert not differing, (differing, report)

    def _plan(self, then: int) -> Plan:
        spec = parse(format_instant(then), clock.now().wall_ns)  # as a command line has it
        assert isinstance(spec, Instant)
        place = self.store.log.place_at(spec.ns)
        if self.run is not None and then == self.pasts[self.run[1]][0] < self.horizon_ns["all"]:
            return plan_return(self.store.log.passages(self.repo.id, place))  # kept for the roll-back, which asks the log alone
        return plan_return(passages_since(self.store, self.repo, place, spec.ns))

    def _counts(self, path: str) -> bool:
        return path != COMES_AND_GOES and path not in self.purged

    def _comparable(self, tree: Tree) -> Tree:
        return {path: leaf for path, leaf in tree.items() if self._counts(path)}

    def _disk(self) -> Tree:
        tree: Tree = {}
        for folder, _, _ in os.walk(self.root):
            for entry in os.scandir(folder):
                path = os.path.relpath(entry.path, self.root)
                if entry.is_symlink() and path.endswith((".py", ".pyi")):
                    tree[path] = Kind.LINK, os.fsencode(os.readlink(entry.path)), 0o777
                elif entry.is_file(follow_symlinks=False) and path.endswith((".py", ".pyi")):
                    mode = stat.S_IMODE(entry.stat().st_mode)
                    tree[path] = Kind.FILE, Path(entry.path).read_bytes(), mode
        return tree

    def _heads(self) -> Tree:
        tree: Tree = {}
        for path, head in self.store.log.heads(self.repo.id, self.store.log.paths(self.repo.id)).items():
            self._take(tree, path, head.state)
        return tree

    def _take(self, tree: Tree, path: str, state: FileState) -> None:
        if state == ABSENT:
            tree.pop(path, None)
        else:
            tree[path] = state.kind, self.store.blobs.read(state.blob), 0o777 if state.kind is Kind.LINK else state.mode

    def _put(self, path: str, body: bytes) -> None:
        target = self.root / path
        if not target.is_file() or target.is_symlink():
            self._make_way(target)
        elif not os.access(target, os.W_OK):
            target.chmod(0o644)
        target.write_bytes(body)
        self.dirty = True

    def _make_way(self, target: Path) -> None:
        for above in reversed(target.relative_to(self.root).parents[:-1]):
            if (self.root / above).is_symlink() or not (self.root / above).is_dir():
                self._clear(self.root / above)
            (self.root / above).mkdir(exist_ok=True)
        self._clear(target)

    def _clear(self, target: Path) -> None:
        self.dirty = True
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True) if not _is_below_a_file(target) else None


def _differing(found: Tree, wanted: Tree) -> dict[str, tuple[str, str]]:
    """The paths that differ: what is there, and what was wanted."""
    paths = sorted({path for path, _ in found.items() ^ wanted.items()})
    return {path: (_told(found.get(path)), _told(wanted.get(path))) for path in paths}


def _told(leaf: Leaf | None) -> str:
    return "nothing" if leaf is None else f"{leaf[0]} {leaf[2]:o} {len(leaf[1])} bytes {leaf[1][:40]!r}"


def _put(tree: Tree, path: str, leaf: Leaf | None) -> None:
    if leaf is None:
        tree.pop(path, None)
    else:
        tree[path] = leaf


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _is_below_a_file(target: Path) -> bool:
    return any(os.path.lexists(above) and not above.is_dir() for above in target.parents)


@pytest.mark.promise("the past is what it was", "random work on a tree, captured, collected, purged, repacked, restored, undone")
@pytest.mark.parametrize("seed", seeds(everyday=1, full=24))
def test_restore_at_any_kept_moment_gives_the_tree_that_was(seed: int) -> None:
    class Seeded(Past):
        pass

    hypothesis.seed(seed)(Seeded)
    everyday = seed == seeds(everyday=1, full=1)[0]
    run_state_machine_as_test(
        Seeded,
        settings=settings(
            max_examples=6 if everyday else 25, stateful_step_count=20 if everyday else 50, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
