"""Restores that were killed or interrupted: shown, finished, taken back as one, and never forgotten by accident."""

import json
import signal
import subprocess
import time

import pytest
from tests.e2e.test_restore import age, without_overrides
from tests.fork_server import PROGRAMS
from tests.world import World, as_text, snapshot, some_of

OLD, NEW = b"old = 1\n" * 200, b"new = 2\n" * 200


@pytest.fixture
def damaged(world: World) -> World:
    """300 files, rewritten ten minutes and more after their baseline; the daemon is dead."""
    for number in range(300):
        world.write(f"p{number % 20}/m{number}.py", OLD)
    world.start().stop()
    age(world, 3600)
    for path in snapshot(world.root):
        (world.root / path).write_bytes(NEW)
    return world


def tear(world: World, number: signal.Signals) -> "subprocess.CompletedProcess[str]":
    """Stop a restore by a signal in the middle of its writing: some files are old by then and some are new."""
    words = ["restore", "--since", "10m", "--yes", "--no-verify"]
    first = world.root / "p0/m0.py"
    for _ in range(10):
        restore = world.begin_ctl(*words)
        while restore.poll() is None and first.read_bytes() != OLD:
            time.sleep(0.0005)  # three hundred swaps take some 20 ms
        restore.send_signal(number)
        done = as_text(restore.finish())
        contents = {content for path, content in snapshot(world.root).items() if path.endswith(".py")}
        assert contents <= {OLD, NEW}
        if contents == {OLD, NEW}:
            assert world.status()["interrupted_restore"]
            return done
        world.ctl("restore", "--resume", "--yes", "--no-verify", check=None)  # it was over already: once more
        world.ctl("undo", "--yes", "--no-verify")
    raise AssertionError("no restore could be stopped in the middle")


@pytest.mark.parametrize("again", some_of([["restore", "--resume"], ["restore", "--since", "10m"]], ["restore", "--resume"]))
def test_what_was_killed_and_finished_is_taken_back_as_one(damaged: World, again: list[str]) -> None:
    tear(damaged, signal.SIGKILL)
    damaged.ctl(*again, "--yes", "--no-verify")
    assert set(snapshot(damaged.root).values()) == {OLD}
    assert damaged.status()["interrupted_restore"] is None
    damaged.ctl("undo", "--yes", "--no-verify")
    assert set(snapshot(damaged.root).values()) == {NEW}
    damaged.ctl("undo", "--yes", check=3)


def test_edits_made_between_the_kill_and_the_end_are_what_an_undo_brings_back(damaged: World) -> None:
    tear(damaged, signal.SIGKILL)
    still_new = next(path for path, content in sorted(snapshot(damaged.root).items()) if content == NEW and path.endswith(".py"))
    damaged.write(still_new, b"mine = 1\n")
    damaged.ctl("restore", "--since", "10m", "--yes", "--no-verify")
    damaged.ctl("undo", "--yes", "--no-verify")
    after = snapshot(damaged.root)
    assert after.pop(still_new) == b"mine = 1\n"
    assert set(after.values()) == {NEW}


def test_an_unrelated_restore_leaves_the_interrupted_one_to_be_finished(damaged: World) -> None:
    tear(damaged, signal.SIGKILL)
    damaged.write("other.py", b"1\n")
    damaged.ctl("log", "other.py")
    number = damaged.versions("other.py")[0]["seq"]
    damaged.write("other.py", b"2\n")
    damaged.ctl("restore", "other.py", "--version", str(number), "--yes", "--no-verify")
    assert damaged.status()["interrupted_restore"]
    damaged.ctl("restore", "--resume", "--yes", "--no-verify")
    assert {content for path, content in snapshot(damaged.root).items() if path != "other.py"} == {OLD}
    assert damaged.status()["interrupted_restore"] is None


def test_the_interrupt_key_leaves_nothing_behind_and_says_how_to_go_on(damaged: World) -> None:
    done = tear(damaged, signal.SIGINT)
    assert done.returncode == 130
    assert "guardctl restore --resume" in done.stderr
    assert "guardctl undo" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(damaged.root.rglob(".guardd-*"))
    restore_id = damaged.status()["interrupted_restore"]
    damaged.ctl("undo", str(restore_id), "--yes", "--no-verify")
    assert set(snapshot(damaged.root).values()) == {NEW}
    assert damaged.status()["interrupted_restore"] is None


@pytest.mark.faults
@pytest.mark.promise("a restore leaves each file old or new", "a killed restore is resumed while a file of it cannot be read")
@pytest.mark.parametrize("readable", [0, 1])
def test_a_file_that_cannot_be_read_is_not_taken_for_restored(damaged: World, readable: int) -> None:
    tear(damaged, signal.SIGKILL)
    waiting = [path for path, content in snapshot(damaged.root).items() if content == NEW and path.endswith(".py")][readable:]
    for path in waiting:
        (damaged.root / path).chmod(0)
    words = without_overrides(PROGRAMS / "guardctl", "restore", "--resume", "--yes", "--no-verify", "--json")
    done = subprocess.run(words, env=damaged.env, cwd=damaged.root, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    assert {one["path"] for one in json.loads(done.stdout)["skipped"]} == set(waiting)
    assert damaged.status()["interrupted_restore"], "it can be resumed"
    for path in waiting:
        (damaged.root / path).chmod(0o644)
    damaged.ctl("restore", "--resume", "--yes", "--no-verify")
    assert set(snapshot(damaged.root).values()) == {OLD}
    assert not damaged.status()["interrupted_restore"]
