"""Power loss: the file system below store and repo ends in the middle of the work; what it had not made durable is gone."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import seeds
from tests.faults.disks import StageOnDisk, disk
from tests.faults.scenes import SCENES, Scene, noted
from tests.faults.stopper import Stop, Stopper


def _runs() -> Iterator[Any]:
    """Scene, seed, and how many losses in one prepared world."""
    for scene in SCENES:
        for seed in seeds(everyday=1 if scene.name == "capture" else 0, full=5):
            number, marks = (seed, ()) if isinstance(seed, int) else (seed.values[0], seed.marks)
            yield pytest.param(scene, number, 2, marks=marks, id=f"{scene.name}-{number}")


@pytest.mark.promise("no acknowledged version is lost", "power loss: the file system ends without writing its journal")
@pytest.mark.parametrize(("scene", "seed", "losses"), [*_runs()])
def test_a_power_loss_costs_nothing_that_could_be_read_before(
    scene: Scene, seed: int, losses: int, stopper: Stopper, tmp_path: Path, record_property: Any
) -> None:
    chance = random.Random(seed)
    lost = 0
    with disk(tmp_path) as failing:
        stage = StageOnDisk(scene, failing.mounted_at, stopper, disk=failing)
        for _ in range(losses):
            stop = Stop(chance.randint(1, stage.points), after=chance.random() < 0.5)
            stage.put_back()
            command = stage.begin(stop)
            if command.is_stopped:
                acknowledged = stage.acknowledged()
                failing.cut_power()
                command.kill()
                stage.power_comes_back()
                lost += 1
                with noted(f"{scene.name} stopped at {stop} of {stage.points}"):
                    stage.check(acknowledged)
        failing.unmount()
    record_property("faults", lost)
