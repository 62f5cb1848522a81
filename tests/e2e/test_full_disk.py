"""A store whose disk is full: people are told while there is still room, and again when it is over."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.receiver import Receiver
from tests.world import World, wait_until


@pytest.fixture
def small(world: World) -> Iterator[World]:
    world.state.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m,mode=700", "tmpfs", world.state], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs rights that this machine does not give")
    yield world
    world.close()
    subprocess.run(["umount", "-l", world.state], check=True)


def titles(chat: Receiver) -> list[str]:
    return [one.json["title"] for one in chat.requests]


def fill(folder: Path, leave: int) -> Path:
    """Take all room but so many bytes; where none is to be left, what a daemon takes meanwhile leaves none either."""
    path = folder / "filler"
    found = os.statvfs(folder)
    try:
        path.write_bytes(b"x" * (found.f_bavail * found.f_frsize - leave))
    except OSError as error:
        if leave or error.errno != errno.ENOSPC:
            raise
    return path


def test_a_full_disk_is_told_and_so_is_its_end(small: World) -> None:
    with Receiver() as chat:
        for number in range(20):
            small.write(f"m{number}.py", f"x = {number}\n")
        small.configure(f'[[alert]]\nurl = "json://127.0.0.1:{chat.port}/"\n')
        daemon = small.start_configured()
        filler = fill(small.state, 64 * 1024)
        for number in range(40):
            small.write(f"big{number}.py", os.urandom(15_000).hex())
        wait_until(lambda: any("not fully protected" in title for title in titles(chat)), what="it is told")
        filler.unlink()
        wait_until(lambda: any("protected again" in title for title in titles(chat)), 60, "and so is its end")
        wait_until(lambda: small.status()["state"] == "protected")
        assert daemon.stop() == 0


def test_a_daemon_starts_on_a_full_disk_with_the_room_of_the_ballast(small: World) -> None:
    small.write("a.py")
    small.start().stop()
    fill(small.state, 0)
    daemon = small.start()
    wait_until(lambda: any("disk-almost-full" in str(one["reasons"]) for one in daemon.events("state")), what="it says so")
    assert "disk-almost-full" in str(small.status()["reasons"])


def test_a_full_disk_is_never_green_though_the_daemon_cannot_write_how_it_is(small: World) -> None:
    small.write("a.py")
    small.start()
    (small.state / "ballast").unlink()
    fill(small.state, 0)
    status = small.status()
    assert status["state"] == "degraded"
    assert any(reason.startswith("store-full:") for reason in status["reasons"])
