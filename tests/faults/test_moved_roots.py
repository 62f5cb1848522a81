"""The directory of a running repo is moved away, and something else may be put there: no deletion, no alarm, no restore."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.test_daemon import world_status_elsewhere
from tests.faults.test_mounts import caught_up, filled
from tests.fork_server import PROGRAMS
from tests.world import World, snapshot, wait_until

WHAT_TAKES_ITS_PLACE = {
    "nothing": "root-missing",
    "an empty directory": "unmounted",
    "a link to another directory": "root-missing",
}
"""And what status says then."""


@pytest.fixture
def guarded(world: World) -> World:
    filled(world)
    world.configure('[response]\nsettle = "0.1s"\nauto_restore = "all"\n')
    return world


def take_its_place(world: World, what: str) -> Path:
    """Move the root away, and put this there; where it is now."""
    away, other = world.root.parent / "away", world.root.parent / "other"
    other.mkdir()
    (other / "o.py").write_text("other = 1\n")
    world.root.rename(away)
    if what == "an empty directory":
        world.root.mkdir()
    elif what == "a link to another directory":
        world.root.symlink_to(other)
    return away


def move_back(world: World, away: Path) -> None:
    if world.root.is_symlink():
        world.root.unlink()
    elif world.root.exists():
        world.root.rmdir()
    away.rename(world.root)


def elsewhere(world: World, *words: str, check: int | None = 0) -> "subprocess.CompletedProcess[str]":
    return world.ctl("--repo", str(world.root), *words, cwd=world.root.parent, check=check)


def is_as_it_was_put(world: World, what: str) -> None:
    if what == "an empty directory":
        assert list(world.root.iterdir()) == []
    elif what == "nothing":
        assert not os.path.lexists(world.root)
    else:
        assert world.root.is_symlink()
    assert snapshot(world.root.parent / "other") == {"o.py": b"other = 1\n"}


@pytest.mark.promise("no false alarm", "the root of a running repo is moved away, and something else takes its place")
@pytest.mark.parametrize(
    "what", [one if "empty" in one else pytest.param(one, marks=pytest.mark.faults) for one in WHAT_TAKES_ITS_PLACE]
)
def test_a_root_that_is_moved_away_is_no_deletion_and_nothing_is_made_where_it_was(guarded: World, what: str) -> None:
    whole = snapshot(guarded.root)
    daemon = guarded.start_configured()
    away = take_its_place(guarded, what)
    wait_until(lambda: WHAT_TAKES_ITS_PLACE[what] in str(daemon.events("state")[-1]["reasons"]), what="it is said")
    assert world_status_elsewhere(guarded)["state"] == "degraded"
    for words in (["log"], ["snapshot"]):  # they look at the disk first
        elsewhere(guarded, *words, check=None)
    is_as_it_was_put(guarded, what)
    assert guarded.heads() == whole
    how = "--dry-run" if what == "an empty directory" else "--yes"  # with --yes, someone wants the files back in it
    refused = elsewhere(guarded, "restore", "--since", "1h", how, check=2)
    assert len(refused.stderr.splitlines()) == 1
    assert guarded.heads() == whole
    is_as_it_was_put(guarded, what)
    move_back(guarded, away)
    caught_up(guarded, daemon)
    assert len(guarded.versions("p0/m0.py")) == 1


@pytest.mark.faults
@pytest.mark.promise("no false alarm", "guardd starts where an empty directory has taken the root's place")
def test_an_empty_directory_that_guardd_finds_at_its_start_is_no_deletion(guarded: World) -> None:
    whole = snapshot(guarded.root)
    guarded.start_configured().stop()
    away = take_its_place(guarded, "an empty directory")
    daemon = guarded.start_command([str(PROGRAMS / "guardd")], ready=False)
    wait_until(lambda: "unmounted" in str(world_status_elsewhere(guarded)["reasons"]), what="it is said")
    assert guarded.heads() == whole
    is_as_it_was_put(guarded, "an empty directory")
    move_back(guarded, away)
    caught_up(guarded, daemon)


@pytest.mark.faults
@pytest.mark.promise("no false alarm", "a person restores into a directory that was made where the root had been")
@pytest.mark.parametrize("is_running", [True, False])
def test_who_makes_the_directory_anew_may_restore_into_it(guarded: World, is_running: bool) -> None:
    whole = snapshot(guarded.root)
    daemon = guarded.start_configured()
    take_its_place(guarded, "nothing")
    if not is_running:
        daemon.stop()
    told = elsewhere(guarded, "restore", "--since", "1h", "--yes", check=2)
    assert f"mkdir {guarded.root}" in told.stderr
    guarded.root.mkdir()
    if is_running:
        wait_until(lambda: "unmounted" in str(world_status_elsewhere(guarded)["reasons"]), what="it is said")
    elsewhere(guarded, "restore", "--since", "1h", "--yes")
    assert snapshot(guarded.root) == whole
    assert guarded.json("incidents", "list") == []
    if is_running:
        caught_up(guarded, daemon)
