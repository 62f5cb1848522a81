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


_DEALS = 10
"""So many seeds one after the other come by every point of a scene, before and after it."""


def _runs() -> Iterator[Any]:
    """Scene, seed, and whether it is to take its share of every point, in one prepared world."""
    for scene in SCENES:
        if scene.name in _EVERY_DAY:
            yield from (pytest.param(scene, seed, False, id=f"{scene.name}-{seed}-3") for seed in seeds(everyday=1, full=1))
        for seed in seeds(everyday=0, full=_DEALS):
            yield pytest.param(scene, *seed.values, True, marks=seed.marks, id=f"{scene.name}-{seed.values[0]}")


def _stops(points: int, seed: int, *, is_dealt: bool) -> list[Stop]:
    """Where to kill: at three points; or at every tenth, before and after it, and at others by chance until it is ten."""
    chance = random.Random(seed)
    every = [Stop(at, after) for at in range(1, points + 1) for after in (False, True)]
    if not is_dealt:
        return chance.sample(every, min(3, len(every)))
    dealt = every[seed % _DEALS :: _DEALS]
    return dealt + chance.choices(every, k=max(0, 10 - len(dealt)))


def test_ten_seeds_come_by_every_point() -> None:
    for points in (1, 7, 100):
        met = {stop for seed in range(4, 4 + _DEALS) for stop in _stops(points, seed, is_dealt=True)}
        assert len(met) == 2 * points


@pytest.fixture(scope="module")
def stage_of(stopper: Stopper) -> Iterator[Callable[[Scene], Stage]]:
    """Each scene's stage, prepared once for all of its tests: they begin with putting it back."""
    with tempfile.TemporaryDirectory(prefix="guard-killed-", dir=MEMORY) as folder:
        yield cache(lambda scene: Stage(scene, Path(folder, scene.name), stopper))


@pytest.mark.promise("no acknowledged version is lost", "kill -9 at a commit, a rename or a sync")
@pytest.mark.parametrize(("scene", "seed", "is_dealt"), [*_runs()])
def test_killed_at_any_point_loses_nothing_and_is_completed(
    scene: Scene, seed: int, is_dealt: bool, stage_of: Callable[[Scene], Stage], record_property: Any
) -> None:
    stage = stage_of(scene)
    stops = _stops(stage.points, seed, is_dealt=is_dealt)
    killed = 0
    for stop in stops:
        stage.put_back()
        command = stage.begin(stop)
        if command.is_stopped:
            acknowledged = stage.acknowledged()
            command.kill()
            killed += 1
            with noted(f"{scene.name} stopped at {stop} of {stage.points}"):
                stage.check(acknowledged)
    record_property("faults", killed)
    assert killed >= len(stops) // 2
