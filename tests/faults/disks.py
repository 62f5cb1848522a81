"""Disks that fail on purpose: a small one that gets full, an ext4 of which the power is cut, or that refuses writes."""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.scenes import Stage

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

    def refuse_writes(self) -> None:
        """As the kernel does after an error on the disk: read-only from here on, also for files that are open to be written."""
        subprocess.run(["mount", "-o", "remount,abort", self.mounted_at], check=True, capture_output=True)


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """An ext4 of its own; the test is skipped where there can be none."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("a disk that fails needs root, mkfs.ext4 and a loop device")
    made = Disk(folder)
    if not made.mount():
        pytest.skip("a disk that fails needs a loop device, which this machine does not give")
    try:
        yield made
    finally:
        unmount_anyhow(made.mounted_at)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A tmpfs of this size at a folder; the test is skipped where there can be none."""
    folder.mkdir(mode=0o700, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", folder]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs rights that this machine does not give")
    try:
        yield folder
    finally:
        unmount_anyhow(folder)


def unmount_anyhow(folder: Path) -> None:
    """Lazily: where a test failed, something may still be at work on it. `os.path.ismount` does not tell a bind mount."""
    subprocess.run(["umount", "-l", folder], check=False, capture_output=True)
    assert not os.path.ismount(folder)


@dataclass(slots=True)
class StageOnDisk(Stage):
    """A stage that lies on a disk of its own, which is put back as a whole."""

    disk: Disk = field(kw_only=True)

    def save(self) -> None:
        Stage.save(self)
        self.disk.unmount()
        subprocess.run(["cp", "--sparse=always", self.disk.image, self.saved], check=True)
        assert self.disk.mount()

    def put_back(self) -> None:
        Stage.put_back(self)
        self.disk.unmount()
        subprocess.run(["cp", "--sparse=always", self.saved, self.disk.image], check=True)
        assert self.disk.mount()

    def _copied(self) -> Iterator[tuple[Path, Path]]:
        return (pair for pair in Stage._copied(self) if pair[0] != self.live)

    def power_comes_back(self) -> None:
        self.disk.unmount()
        assert self.disk.mount(), "its journal is replayed"
