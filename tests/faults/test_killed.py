"""kill -9 at every commit and at every change of a name: what was acknowledged is there, and what was torn is completed."""

import random
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.faults import MEMORY, seeds
from tests.faults.scenes import SCENES, Scene, Stage, noted
from tests.faults.stopper import Stop, Stopper

_EVERY_DAY = ("restore", "purge", "fsck --repair of the database")


def _runs() -> Iterator[Any]:
    """Scene, seed, and how many kills in one prepared world."""
    for scene in SCENES:
        if scene.name in _EVERY_DAY:
            yield from (pytest.param(scene, seed, 3, id=f"{scene.name}-{seed}-3") for seed in seeds(everyday=1, full=1))
        for seed in seeds(everyday=0, full=10):
            yield pytest.param(scene, *seed.values, 10, marks=seed.marks, id=f"{scene.name}-{seed.values[0]}-10")


@pytest.fixture(scope="module")
def stage_of(stopper: Stopper) -> Iterator[Callable[[Scene], Stage]]:
    """Each scene's stage, prepared once for all of its tests: they begin with putting it back."""
    with tempfile.TemporaryDirectory(prefix="guard-killed-", dir=MEMORY) as folder:
        yield cache(lambda scene: Stage(scene, Path(folder, scene.name), stopper))


@pytest.mark.promise("no acknowledged version is lost", "kill -9 at a commit, a rename or a sync")
@pytest.mark.parametrize(("scene", "seed", "kills"), [*_runs()])
def test_killed_at_any_point_loses_nothing_and_is_completed(
    scene: Scene, seed: int, kills: int, stage_of: Callable[[Scene], Stage], record_property: Any
) -> None:
    stage = stage_of(scene)
    chance = random.Random(seed)
    killed = 0
    for _ in range(kills):
        stop = Stop(chance.randint(1, stage.points), after=chance.random() < 0.5)
        stage.put_back()
        command = stage.begin(stop)
        if command.is_stopped:
            acknowledged = stage.acknowledged()
            command.kill()
            killed += 1
            with noted(f"{scene.name} stopped at {stop} of {stage.points}"):
                stage.check(acknowledged)
    record_property("faults", killed)
    assert killed >= kills // 2
