"""kill -9 of the daemon in the middle of its work: what it had acknowledged is there, and the next one makes up for the rest."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from guardd.store.soundness import check
from guardd.store.store import Store
from tests.faults import seeds
from tests.faults.scenes import Versions, noted, readable
from tests.faults.stopper import Stop, Stopped, Stopper
from tests.world import World, snapshot, wait_until

FILES = 60
MARKED = b"# REMOVED_SYNTAX_ERROR: "


class Killed:
    """A tree whose daemon is killed again and again, at the `at`-th commit, sync or change of a name after `arm`."""

    def __init__(self, world: World, stopper: Stopper, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self._stopper = stopper
        self._arm = world.config.with_name("arm")  # not on the disk of repo or store, which may fail
        self._log = world.config.with_name("guardd.log")
        self.command: Stopped

    def start(self, at: int) -> None:
        self._arm.unlink(missing_ok=True)
        stop = Stop(at, after=self.chance.random() < 0.5, armed_by=self._arm)
        self.command = self._stopper.begin(["guardd"], self.world.env, self.world.root, self._log, stop)
        self.wait(lambda: '"ready"' in self.command.output, "ready")

    def arm(self) -> None:
        self._arm.touch()

    def burst(self, at: int) -> None:
        """Change files until it comes to its point `at`, or a moment later, or until some time has passed (0: at no point)."""
        self.arm()
        for _ in range(self.chance.randrange(5, 4 * FILES)):
            step(self.world.root, self.chance)
            if self.command.has_come(0):
                break
        self.command.has_come(2.0 if at else self.chance.random() * 0.3)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        wait_until(lambda: condition() or self.command.has_come(0), what=f"{what}: {self.command.output[-2000:]}")
        assert not self.command.has_come(0), self.command.output

    def kill(self, before: Callable[[], object] = lambda: None) -> tuple[Versions, bool]:
        """What was acknowledged by then, and whether it was at a point that it was killed; `before` goes in between."""
        at_a_point = self.command.has_come(0)
        acknowledged = readable(self.world.state)
        before()
        self.command.kill()
        return acknowledged, at_a_point

    def check(self, acknowledged: Versions) -> None:
        with Store(str(self.world.state)) as store:
            assert list(check(store)) == []
        found = readable(self.world.state)
        assert {place for place, state in acknowledged.items() if found.get(place) != state} == set(), "acknowledged, and lost"

    def leftovers(self) -> list[Path]:
        return [path for path in self.world.root.rglob("*") if path.name.startswith(".guard")]


def step(root: Path, chance: random.Random) -> None:
    """One change of a burst: a file rewritten, saved as editors do, removed, moved, or made in a new folder."""
    path = root / f"p{chance.randrange(6)}" / f"m{chance.randrange(FILES // 6)}.py"
    path.parent.mkdir(exist_ok=True)
    content = b"x = %d\n" % chance.randrange(10**9) * chance.randrange(1, 200)
    match chance.randrange(6):
        case 0:
            path.unlink(missing_ok=True)
        case 1 if path.exists():
            path.rename(path.with_name(f"moved{chance.randrange(5)}.py"))
        case 2 | 3:
            saved = path.with_name("save.tmp")
            saved.write_bytes(content)
            os.replace(saved, path)
        case 4 if not (fresh := root / f"fresh{chance.randrange(100)}").exists():
            fresh.mkdir()
            (fresh / "m.py").write_bytes(content)
        case _:
            path.write_bytes(content)


@pytest.mark.promise("no acknowledged version is lost", "kill -9 of the daemon at a commit or a sync, in the middle of a burst")
@pytest.mark.parametrize("seed", seeds(everyday=1, full=12))
def test_a_daemon_killed_in_a_burst_loses_nothing_and_the_next_one_catches_up(
    seed: int, world: World, stopper: Stopper, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(seed)
    world.configure("")
    for _ in range(FILES):
        step(world.root, chance)
    killed = Killed(world, stopper, chance)
    kills = 3 if seed == seeds(1, 1)[0] else 12
    at_points = 0
    for number in range(kills):
        at = chance.choice((0, chance.randint(1, 12), chance.randint(1, 40)))
        killed.start(at)
        killed.wait(lambda: world.heads() == snapshot(world.root), "the disk is caught up with")
        killed.burst(at)
        acknowledged, at_a_point = killed.kill()
        at_points += at_a_point
        with noted(f"kill {number} at {at}"):
            killed.check(acknowledged)
            assert killed.leftovers() == []
        for _ in range(chance.randrange(10)):
            step(world.root, chance)
    world.start_configured()
    wait_until(lambda: world.heads() == snapshot(world.root), what="the last one catches up")
    record_property("faults", kills)
    assert at_points


@pytest.mark.promise("a restore leaves each file old or new", "kill -9 of the daemon in the middle of its own restore")
@pytest.mark.parametrize("seed", seeds(everyday=1, full=30))
def test_a_daemon_killed_in_its_own_restore_tears_nothing_and_the_next_one_completes_it(
    seed: int, world: World, stopper: Stopper
) -> None:
    chance = random.Random(seed)
    world.configure('[response]\nsettle = "0.1s"\nauto_restore = "all"\nmax_rounds = 20\n')
    for number in range(FILES):
        world.write(f"p{number % 6}/m{number}.py", f"def f{number}(x):\n    return x + {number}\n" * 30)
    whole = snapshot(world.root)
    killed = Killed(world, stopper, chance)
    killed.start(at=chance.randint(1, 6 * FILES))
    killed.wait(lambda: world.heads() == whole, "captured")
    damaged = {}
    for path, content in whole.items():
        damaged[path] = b"".join(MARKED + line for line in content.splitlines(keepends=True))
        (world.root / path).write_bytes(damaged[path])
    killed.arm()
    wait_until(lambda: killed.command.has_come(0) or files(world.root) == whole, what="it is at its restore")
    killed.command.has_come(0.5)
    acknowledged, _ = killed.kill()
    killed.check(acknowledged)
    found = files(world.root)
    assert found.keys() == whole.keys()
    assert [path for path, content in found.items() if content not in (whole[path], damaged[path])] == []
    daemon = world.start_configured()
    wait_until(lambda: files(world.root) == whole, what=f"it is restored all the same: {daemon.lines}")
    wait_until(lambda: world.status()["interrupted_restore"] is None, what="the restore is over")
    assert killed.leftovers() == []
    wait_until(lambda: world.status()["state"] == "protected")
    assert world.heads() == whole
    wait_until(lambda: {one["state"] for one in world.json("incidents", "list")} == {"restored"}, what="the incident is over")


def files(root: Path) -> dict[str, bytes]:
    """As `snapshot`, beside a restore, whose temporary files come and go."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("m*.py")}
