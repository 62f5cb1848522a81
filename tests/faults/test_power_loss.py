"""Power loss: the file system below store and repo ends in the middle of the work; what it had not made durable is gone."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import seeds
from tests.faults.disks import StageOnDisk, disk
from tests.faults.scenes import SCENES, Part, Scene, noted
from tests.faults.stopper import Stop, Stopper


def _runs() -> Iterator[Any]:
    """Scene, what of it lies on the disk that loses power, and seed."""
    for scene in SCENES:
        yield from _seeded(scene, "all", everyday=scene.name == "capture", full=5)
        if scene.name in ("restore", "undo", "run --rollback"):
            yield from _seeded(scene, "repo", everyday=False, full=3)


def _seeded(scene: Scene, part: Part, *, everyday: bool, full: int) -> Iterator[Any]:
    for seed in seeds(everyday=int(everyday), full=full):
        number, marks = (seed, ()) if isinstance(seed, int) else (seed.values[0], seed.marks)
        yield pytest.param(scene, part, number, marks=marks, id=f"{scene.name}-{part}-{number}")


@pytest.mark.promise("no acknowledged version is lost", "power loss: the file system ends without writing its journal")
@pytest.mark.parametrize(("scene", "part", "seed"), [*_runs()])
def test_a_power_loss_costs_nothing_that_could_be_read_before(
    scene: Scene, part: Part, seed: int, stopper: Stopper, tmp_path: Path, record_property: Any
) -> None:
    chance = random.Random(seed)
    lost = 0
    with disk(tmp_path) as failing:
        stage = StageOnDisk(scene, failing.mounted_at, stopper, part, tmp_path / "rest", disk=failing)
        for _ in range(2):
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
