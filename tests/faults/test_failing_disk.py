"""A disk that gets full, read-only, or fails in the middle of a command: one line says so, and nothing is lost or torn."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardd.store import ballast
from tests.e2e.test_full_disk import fill
from tests.faults import seeds
from tests.faults.disks import StageOnDisk, disk, small_disk
from tests.faults.scenes import SCENES, Part, Scene, Stage, noted
from tests.faults.stopper import Stop, Stopped, Stopper
from tests.world import World, wait_until

_PARTS: dict[Part, tuple[str, ...]] = {
    "all": tuple(scene.name for scene in SCENES),
    "repo": ("capture", "restore", "restore of what was not captured", "undo", "run --rollback"),
    "store": ("capture", "restore", "undo", "gc", "purge", "migration"),
}
"""What lies on the disk that fails, and the commands that this may hurt."""


_EVERY_DAY = ("restore", "gc")


def _runs(full: int, *, faults: tuple[str, ...], stops: int, everyday_stops: int) -> Iterator[Any]:
    """Scene, what of it lies on the disk that fails, seed, fault, how often its command is begun to be stopped.

    All of a scene on the disk so often, a part of it half as often. In the everyday suite, two scenes meet the last fault.
    """
    for scene in (one for one in SCENES if one.name in _EVERY_DAY):
        for seed in seeds(everyday=1, full=1):
            yield pytest.param(
                scene, "all", seed, faults[-1], everyday_stops, id=f"{scene.name}-all-{seed}-{faults[-1]}-everyday"
            )
    for part, names in _PARTS.items():
        for scene in (one for one in SCENES if one.name in names):
            for seed in seeds(everyday=0, full=full if part == "all" else full // 2):
                for fault in faults:
                    name = f"{scene.name}-{part}-{seed.values[0]}-{fault}"
                    yield pytest.param(scene, part, *seed.values, fault, stops, marks=seed.marks, id=name)


def _let_it_fail(command: Stopped) -> None:
    """Its end is an exit code of the contract and no traceback."""
    command.go_on()
    code, _ = command.end
    assert code in (0, 1, 4), command.output
    assert "Traceback" not in command.output
    complaints = [line for line in command.output.splitlines() if line.startswith("guardctl: ")]
    assert code != 4 or complaints, command.output


@pytest.mark.promise("errors become a state", "the disk of store, of repo, or of both gets full in the middle of a command")
@pytest.mark.parametrize(
    ("scene", "part", "seed", "fault", "stops"), [*_runs(full=4, faults=("full",), stops=4, everyday_stops=1)]
)
def test_a_disk_that_gets_full_tears_nothing(
    scene: Scene, part: Part, seed: int, fault: str, stops: int, stopper: Stopper, tmp_path: Path, record_property: Any
) -> None:
    chance = random.Random(seed)
    faults = 0
    with small_disk(tmp_path / "disk", "4m" if part == "repo" else "24m") as folder:
        stage = Stage(scene, folder, stopper, part, tmp_path / "rest")
        for _ in range(stops):
            stop = Stop(chance.randint(1, stage.points), after=chance.random() < 0.5)
            stage.put_back()
            command = stage.begin(stop)
            if command.is_stopped:
                with noted(f"{scene.name}, {fault}, stopped at {stop} of {stage.points}"):
                    acknowledged = stage.acknowledged()
                    filler = fill(folder, chance.choice((0, 0, 4096, 40_000)))
                    _let_it_fail(command)
                    filler.unlink()
                    stage.check(acknowledged, is_over=command.end[0] == 0)
                    faults += 1
    record_property("faults", faults)


@pytest.mark.promise("errors become a state", "the disk of store, of repo, or of both turns read-only, or fails, in mid-command")
@pytest.mark.parametrize(
    ("scene", "part", "seed", "fault", "stops"), [*_runs(full=4, faults=("read-only", "EIO"), stops=3, everyday_stops=3)]
)
def test_a_disk_that_fails_tears_nothing(
    scene: Scene, part: Part, seed: int, fault: str, stops: int, stopper: Stopper, tmp_path: Path, record_property: Any
) -> None:
    chance = random.Random(seed)
    with disk(tmp_path) as failing:
        stage = StageOnDisk(scene, failing.mounted_at, stopper, part, tmp_path / "rest", disk=failing)
        for attempt in range(stops):  # from run to run a command has some points more or less: earlier ones then
            stop = Stop(chance.randint(1, -(-stage.points // (attempt + 1))), after=chance.random() < 0.5)
            stage.put_back()
            command = stage.begin(stop)
            if command.is_stopped:
                break
        assert command.is_stopped
        with noted(f"{scene.name} stopped at {stop} of {stage.points}"):
            acknowledged = stage.acknowledged()
            if fault == "EIO":
                failing.cut_power()
            else:
                failing.refuse_writes()
            _let_it_fail(command)
            stage.power_comes_back()
            stage.check(acknowledged, is_over=command.end[0] == 0)
        failing.unmount()
    record_property("faults", 1)


@pytest.mark.promise("errors become a state", "no room at all for the store but its reserve, for a whole command")
@pytest.mark.parametrize(
    "scene", [pytest.param(one, marks=pytest.mark.faults, id=one.name) for one in SCENES if one.name in _PARTS["store"]]
)
def test_the_reserve_is_room_enough_for_a_command(scene: Scene, stopper: Stopper, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "40m") as folder:
        stage = Stage(scene, folder, stopper, "store", tmp_path / "rest")
        stage.put_back()
        acknowledged = stage.readable() if scene.name != "migration" else stage.needed
        assert ballast.lay(str(stage.world.state))
        fill(folder, 0)
        command = stage.begin(Stop())
        assert command.end[0] in scene.exits, command.output
        stage.check(acknowledged, is_over=True)


@pytest.mark.promise("errors become a state", "no room at all for the store, no reserve, with and without a daemon")
@pytest.mark.parametrize("is_running", [False, True], ids=["no daemon", "daemon"])
def test_what_is_stored_can_be_read_on_a_full_disk(is_running: bool, world: World, tmp_path: Path) -> None:
    with small_disk(world.state, "40m"):
        world.write("a.py", "first = 1\n")
        daemon = world.start()
        if not is_running:
            daemon.stop()
        (world.state / "ballast").unlink()
        filler = fill(world.state, 0)
        world.write("a.py", "second = 2\n")
        world.write("large.py", os.urandom(200_000).hex())
        number = str(world.versions("a.py")[-1]["seq"])
        assert world.ctl("show", "a.py", "--version", number).stdout == "first = 1\n"
        assert "no space left" in world.ctl("show", "large.py", check=3).stderr
        world.ctl("diff", "--since", "10m")
        world.ctl("export", str(tmp_path / "saved"), "--at", "1s")
        assert (tmp_path / "saved" / "a.py").exists()
        refused = world.ctl("snapshot", check=4)
        assert refused.stderr.startswith("guardctl: no space left")
        assert refused.stderr.count("\n") == 1
        if is_running:
            wait_until(lambda: world.status()["state"] == "degraded", what="it is said")
            assert any(reason.startswith("store-full:") for reason in world.status()["reasons"])
        filler.unlink()
        if is_running:
            wait_until(lambda: world.status()["state"] == "protected", 60, "it recovers without a hand")
        world.ctl("snapshot")
        assert world.heads() == {path: (world.root / path).read_bytes() for path in ("a.py", "large.py")}
        world.close()
