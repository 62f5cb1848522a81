"""Power loss under the daemon: the file system of repo and store ends in the middle of a burst that is being captured."""

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import seeds
from tests.faults.disks import disk
from tests.faults.scenes import noted
from tests.faults.stopper import Stopper
from tests.faults.test_daemon_killed import FILES, Killed, step
from tests.faults.test_disk_under_daemon import python_of
from tests.world import World, wait_until

LOSSES = 5


@pytest.mark.promise(
    "no acknowledged version is lost", "power loss under the daemon, at a commit or a sync, in the middle of a burst"
)
@pytest.mark.parametrize("seed", seeds(everyday=0, full=12))
def test_a_power_loss_under_the_daemon_costs_nothing_acknowledged_and_the_next_one_catches_up(
    seed: int, stopper: Stopper, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(seed)
    at_points = 0
    with disk(tmp_path) as failing:
        world = World(tmp_path / "world", root=failing.mounted_at / "repo", state=failing.mounted_at / "state")
        world.configure("")
        try:
            for _ in range(FILES):
                step(world.root, chance)
            killed = Killed(world, stopper, chance)
            for number in range(LOSSES):
                at = 0 if number == 0 else chance.randint(1, chance.choice((4, 12, 40)))
                killed.start(at)
                killed.wait(lambda: world.heads() == python_of(world), "the disk is caught up with")
                if chance.random() < 0.5:
                    subprocess.run(["sync", "-f", world.root], check=True)
                killed.burst(at)
                acknowledged, at_a_point = killed.kill(before=failing.cut_power)
                at_points += at_a_point
                failing.unmount()
                assert failing.mount(), "its journal is replayed"
                with noted(f"power loss {number} at {at}"):
                    killed.check(acknowledged)
            daemon = world.start_configured()
            wait_until(lambda: world.heads() == python_of(world), what="the last one catches up")
            wait_until(lambda: world.status()["state"] == "protected")
            assert daemon.stop() == 0
        finally:
            world.close()
        failing.unmount()
    record_property("faults", LOSSES)
    assert at_points
