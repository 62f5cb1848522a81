"""A long time of mixed work with random kills of the daemon: nothing is lost, and nothing of it grows. `make soak`."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.make_tree import copy_packages

from guardd.store.codec import digest
from guardd.store.soundness import check
from guardd.store.store import Store
from tests.faults import seeds
from tests.faults.soaking import Series, slope
from tests.world import World, snapshot, wait_until

MINUTES = float(os.environ.get("GUARD_SOAK_MINUTES", "10"))
CYCLE_S = min(60.0, MINUTES * 60 / 4)
PROBE = "probe.py"
MARKED = b"# REMOVED_SYNTAX_ERROR: "


class Soak:
    """Work on a tree of 140 modules under git, with a daemon that is killed whenever so many files more were written."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.begun = time.monotonic()
        self.may_kill = True
        self.kills = self.checks = self.steps = 0
        self.acknowledged: dict[int, tuple[str, bytes]] = {}
        self.rss = Series("RSS of the daemon", "MiB")
        self.fds = Series("open files of the daemon", "fds")
        self.wal = Series("WAL", "MiB")
        self.latency = Series("close to durable", "ms")
        copy_packages(world.root)
        self.git("init", "-q")
        self.git("add", "-A")
        self.git("commit", "-qm", "one")
        self.git("checkout", "-qb", "other")
        for path in self.some(60):
            path.write_bytes(path.read_bytes() + b"\nOTHER = True\n")
        self.git("commit", "-qam", "two")
        self.branches = ["main", "other"]
        self.daemon = world.start()
        self.store = Store(str(world.state))
        repo = self.store.repos.find(str(world.root))
        assert repo
        self.repo_id = repo.id
        self._draw_kill()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def git(self, *words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main", "-c", "gc.auto=0")
        subprocess.run(["git", *who, *words], cwd=self.world.root, env=self.world.env, check=True, capture_output=True)

    def some(self, most: int) -> list[Path]:
        there = sorted(path for path in self.world.root.rglob("*.py") if path.name != PROBE)
        return self.random.sample(there, min(len(there), self.random.randrange(1, most + 1)))

    def write(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        self._until_kill -= 1
        if self._until_kill <= 0 and self.may_kill:
            self.kill()

    def kill(self) -> None:
        """Kill -9: what was acknowledged is there afterwards."""
        before = self.note_acknowledged()
        self.daemon.kill()
        self.kills += 1
        found = self.store.log.version(before)
        assert found, f"version {before} was acknowledged and is lost"
        if found.state.present:
            self.store.blobs.read(found.state.blob)
        self.daemon = self.world.start(ready=False)
        self._draw_kill()

    def note_acknowledged(self) -> int:
        """Keep what the log has by now: nothing of it may ever go, for retention keeps all for three days. The newest."""
        newest = max(self.acknowledged, default=0)
        while found := self.store.log.next_versions(self.repo_id, newest, 1000):
            self.acknowledged |= {one.seq: (one.path, one.state.blob) for one in found}
            newest = found[-1].seq
        return newest

    def lost(self) -> list[int]:
        """The versions that were acknowledged and are not in the log as they were."""
        there = ((seq, self.store.log.version(seq)) for seq in self.acknowledged)
        return [seq for seq, one in there if one is None or (one.path, one.state.blob) != self.acknowledged[seq]]

    def _draw_kill(self) -> None:
        self._until_kill = self.random.randrange(20, 400)

    # -- what is done -----------------------------------------------------------------------------------------------

    def edit(self) -> None:
        for path in self.some(20):
            lines = path.read_bytes().splitlines(keepends=True)[:4000]
            at = self.random.randrange(len(lines) + 1)
            self.write(path, b"".join([*lines[:at], b"# edited %d\n" % self.random.randrange(10**9), *lines[at:]]))

    def come_and_go(self) -> None:
        fresh = [self.world.root / f"fresh_{self.random.randrange(100)}.py" for _ in range(5)]
        for path in fresh:
            self.write(path, b"fresh = %d\n" % self.random.randrange(10**9))
        for path in self.random.sample(fresh, 2):
            path.unlink(missing_ok=True)

    def check_out(self) -> None:
        self.git("checkout", "-qf", self.random.choice(self.branches))

    def burst_and_restore(self) -> None:
        taken = self.world.json("snapshot")
        before = snapshot(self.world.root)
        for path in self.some(100):
            self.write(path, b"".join(MARKED + line for line in path.read_bytes().splitlines(keepends=True)))
        done = self.world.ctl("restore", "--at", f"snapshot:{taken['id']}", "--yes", "--json", check=None)
        assert snapshot(self.world.root) == before, done.stdout
        assert done.returncode in (0, 3), done.stderr  # 3: what was to be damaged was empty

    def run(self) -> None:
        """A command that damages is rolled back, one that does not is kept."""
        before = snapshot(self.world.root)
        is_good = self.random.random() < 0.5
        line = "ran = 1" if is_good else "ran = ("
        chosen = [str(path) for path in self.some(15)]
        done = self.world.ctl(
            "run", "--", "sh", "-c", f'for f; do printf "\\n{line}\\n" >> "$f"; done', "sh", *chosen, check=None
        )
        assert (snapshot(self.world.root) == before) is not is_good, (done.returncode, done.stderr)

    def gc(self) -> None:
        self.world.ctl("gc")

    def step(self) -> None:
        doings = (self.edit, self.come_and_go, self.check_out, self.burst_and_restore, self.run, self.gc)
        self.random.choices(doings, (10, 5, 2, 2, 2, 1))[0]()
        self.steps += 1

    # -- what is looked at ------------------------------------------------------------------------------------------

    def sample(self) -> None:
        """One value of each series. Only the life of a daemon that is no longer killed tells whether it grows."""
        self.daemon.wait_ready()
        content = b"probe = %d\n" % self.random.randrange(10**12)
        wanted = digest(content)
        (self.world.root / PROBE).write_bytes(content)
        closed = time.monotonic()
        while self.store.log.head(self.repo_id, PROBE).state.blob != wanted:
            assert time.monotonic() - closed < 60, "an edit was not captured within a minute"
            time.sleep(0.002)
        self.latency.add(self.seconds, (time.monotonic() - closed) * 1000)
        self.wal.add(self.seconds, (self.world.state / "guard.db-wal").stat().st_size / 2**20)
        if not self.may_kill:
            process = Path("/proc", str(self.daemon.process.pid))
            status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
            self.rss.add(self.seconds, int(status["VmRSS"].split()[0]) / 1024)
            self.fds.add(self.seconds, len(list((process / "fd").iterdir())))

    def check(self) -> None:
        self.daemon.wait_ready()
        wait_until(lambda: self.world.heads() == python_of(self.world.root), 60, f"heads are the disk after {self.steps} steps")
        assert not list(self.world.root.rglob(".guard*")), "a temporary file was left in the tree"
        self.note_acknowledged()
        self.checks += 1

    def figures(self) -> list[str]:
        """What it came to, in one line each."""
        done = (
            f"soak: {self.seconds / 60:.1f} min, {self.steps} steps, {self.kills} kills, {self.checks} times head = disk, "
            f"{self.store.log.last_seq():,} versions, store {self.store.bytes() / 2**20:.1f} MiB"
        )
        return [done, *(str(series) for series in (self.rss, self.fds, self.wal, self.latency))]

    def cycle(self) -> None:
        end = self.seconds + CYCLE_S
        while self.seconds < end:
            self.step()
            self.sample()
        self.check()


def python_of(root: Path) -> dict[str, bytes]:
    return {path: content for path, content in snapshot(root).items() if path.endswith((".py", ".pyi"))}


@pytest.mark.promise(
    "no acknowledged version is lost", "a soak: mixed work, random kill -9 of the daemon, head = disk each minute"
)
@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", seeds(1, 1))
def test_after_a_long_time_of_mixed_work_nothing_is_lost_and_nothing_grew(
    world: World, seed: int, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    """In the first half the daemon is killed at random, in the second half it lives on, so that what it leaks would show."""
    soak = Soak(world, seed)
    while soak.seconds < MINUTES * 60:
        soak.may_kill = soak.seconds < MINUTES * 30
        soak.cycle()
    record_property("faults", soak.kills)
    record_property("measured", soak.figures())
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(soak.figures()) + "\n")
    assert list(check(soak.store)) == []
    assert soak.lost() == []
    soak.store.close()
    assert soak.daemon.stop() == 0
    assert soak.rss.rise < 24, "the daemon grows"
    assert soak.fds.rise < 3, "the daemon leaks open files"
    assert soak.wal.rise < 8, "the WAL grows"
    assert soak.latency.rise < 50, "captures become slower"


def test_what_rises_is_told_from_what_only_jumps() -> None:
    jumps = [(float(at), 40.0 + (30.0 if at % 7 == 0 else at % 3)) for at in range(1000)]
    assert abs(slope(jumps)) < 0.001
    assert slope([(at, value + at / 100) for at, value in jumps]) == pytest.approx(0.01, abs=0.001)
    leaking = Series("leak", "fds", [(at, value + at / 100) for at, value in jumps])
    assert leaking.rise == pytest.approx(10, abs=1)
