"""Power loss: the file system below store and repo ends in the middle of the work; what it had not made durable is gone."""

import fcntl
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults import seeds
from tests.faults.scenes import SCENES, Scene, Stage
from tests.faults.stopper import Stop, Stopper

_EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), fs/ext4/ext4.h
_NOLOGFLUSH = 2  # what the journal holds in memory is lost, too
_IMAGE_BYTES = 64 * 1024 * 1024


class Disk:
    """An ext4 with a journal in a file, mounted by a loop device."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "disk.img"
        self.mounted_at = folder / "disk"
        self.mounted_at.mkdir()
        with self.image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True, capture_output=True)

    def mount(self) -> bool:
        """Whether this machine lets us."""
        done = subprocess.run(["mount", "-o", "loop", self.image, self.mounted_at], check=False, capture_output=True)
        return done.returncode == 0

    def unmount(self) -> None:
        if os.path.ismount(self.mounted_at):
            subprocess.run(["umount", self.mounted_at], check=True)

    def cut_power(self) -> None:
        fd = os.open(self.mounted_at, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, struct.pack("=I", _NOLOGFLUSH))
        finally:
            os.close(fd)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("a power loss needs root, mkfs.ext4 and a loop device")
    made = Disk(tmp_path)
    if not made.mount():
        pytest.skip("a power loss needs a loop device, which this machine does not give")
    yield made
    if os.path.ismount(made.mounted_at):  # lazily: where a test failed, something may still be at work on it
        subprocess.run(["umount", "-l", made.mounted_at], check=True)


@pytest.fixture(scope="module")
def stopper() -> Iterator[Stopper]:
    with Stopper() as one:
        yield one


@dataclass(slots=True)
class StageOnDisk(Stage):
    """A stage that lies on a disk of its own, which is put back as a whole."""

    disk: Disk

    def save(self) -> None:
        self.disk.unmount()
        subprocess.run(["cp", "--sparse=always", self.disk.image, self._saved], check=True)
        assert self.disk.mount()

    def put_back(self) -> None:
        self.disk.unmount()
        subprocess.run(["cp", "--sparse=always", self._saved, self.disk.image], check=True)
        assert self.disk.mount()

    def power_comes_back(self) -> None:
        self.disk.unmount()
        assert self.disk.mount(), "its journal is replayed"

    @property
    def _saved(self) -> Path:
        return self.disk.image.with_suffix(".saved")


def _runs() -> Iterator[Any]:
    """Scene, seed, and how many losses in one prepared world."""
    for scene in SCENES:
        for seed in seeds(everyday=1 if scene.name == "capture" else 0, full=5):
            number, marks = (seed, ()) if isinstance(seed, int) else (seed.values[0], seed.marks)
            yield pytest.param(scene, number, 2, marks=marks, id=f"{scene.name}-{number}")


@pytest.mark.promise("no acknowledged version is lost", "power loss: the file system ends without writing its journal")
@pytest.mark.parametrize(("scene", "seed", "losses"), [*_runs()])
def test_a_power_loss_costs_nothing_that_could_be_read_before(
    scene: Scene, seed: int, losses: int, stopper: Stopper, disk: Disk, record_property: Any
) -> None:
    stage = StageOnDisk(scene, disk.mounted_at, stopper, disk)
    chance = random.Random(seed)
    lost = 0
    for _ in range(losses):
        stop = Stop(chance.randint(1, stage.points), after=chance.random() < 0.5)
        stage.put_back()
        command = stage.begin(stop)
        if command.is_stopped:
            acknowledged = stage.acknowledged()
            disk.cut_power()
            command.kill()
            stage.power_comes_back()
            lost += 1
            try:
                stage.check(acknowledged)
            except BaseException as error:
                error.add_note(f"{scene.name} stopped at {stop} of {stage.points}")
                raise
    record_property("faults", lost)
    disk.unmount()
