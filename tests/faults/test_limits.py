"""Limits of the system: too few descriptors, too few inotify watches, no memory for a parsing process."""

import random
import resource
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from guardd.analysis.sources import Facts, Parsers
from tests.faults import seeds
from tests.fork_server import PROGRAMS
from tests.world import Daemon, World, snapshot, wait_until

OLD, NEW = b"old = 1\n" * 50, b"new = 2\n" * 50


@pytest.mark.promise("a restore leaves each file old or new", "a limit of a few file descriptors")
@pytest.mark.parametrize("seed", seeds(everyday=1, full=20))
def test_a_restore_with_few_descriptors_tears_nothing(seed: int, world: World, record_property: Any) -> None:
    for number in range(60):
        world.write(f"p{number % 12}/m{number}.py", OLD)
    world.configure("")
    world.ctl("init")
    world.ctl("snapshot")
    for path in world.root.rglob("*.py"):
        path.write_bytes(NEW)
    world.ctl("snapshot")
    limit = random.Random(seed).randint(8, 40)
    words = ["restore", "--since", "snapshot:1", "--yes", "--no-verify"]
    done = subprocess.run(
        ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", PROGRAMS / "guardctl", *words],
        cwd=world.root, env=world.env, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    said = f"{limit} descriptors: {done.returncode} {done.stdout} {done.stderr}"
    assert set(snapshot(world.root).values()) <= {OLD, NEW}, said
    assert "Traceback" not in done.stderr or "guardd" not in done.stderr, said
    assert done.returncode in (0, 1, 4), said
    assert not (done.returncode == 0 and NEW in snapshot(world.root).values()), said
    assert "is sound" in world.ctl("fsck").stdout
    world.ctl(*words)
    assert set(snapshot(world.root).values()) == {OLD}
    assert not list(world.root.rglob(".guardd-*"))
    record_property("faults", 1)


@pytest.mark.promise(
    "errors become a state", "a ready daemon is left the descriptors that it has open, and none beyond, in the midst of damage"
)
@pytest.mark.parametrize("seed", seeds(everyday=1, full=6))
def test_a_daemon_out_of_descriptors_says_so_and_makes_up_for_it_when_it_has_some(seed: int, world: World) -> None:
    chance = random.Random(seed)
    for number in range(30):
        world.write(f"p{number % 12}/m{number}.py", f"def f{number}(x):\n    return x + {number}\n" * 20)
    world.configure('[response]\nsettle = "0.1s"\n')
    daemon = world.start_configured()
    pid = daemon.process.pid
    wait_until(lambda: _state(daemon) == "protected")
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    few = _lowest_without(_open_files(pid)) + chance.choice((0, 0, 1, 2, 5))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, limits[1]))
    for path in sorted(world.root.rglob("*.py")):
        path.write_bytes(b"".join(b"# REMOVED_SYNTAX_ERROR: " + line for line in path.read_bytes().splitlines(keepends=True)))
    wait_until(lambda: _state(daemon) == "degraded", what="it is said")
    status = world.status()
    assert status["state"] == "degraded"
    assert [reason for reason in status["reasons"] if reason.startswith("few-descriptors: ") and "LimitNOFILE" in reason], status
    assert [reason for reason in status["reasons"] if not reason.startswith(("few-descriptors: ", "rescan: "))] == []
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    [incident] = world.wait_settled(daemon)
    assert incident["damaged"] == 30, incident
    wait_until(lambda: _state(daemon) == "protected", 60, f"it recovers without a hand: {daemon.lines}")
    assert world.status()["state"] == "protected"
    assert world.heads() == snapshot(world.root)
    assert "Traceback" not in "".join(daemon.lines)
    assert daemon.stop() == 0


def _state(daemon: Daemon) -> str:
    """The newest that it has said of its repo; to ask guardctl again and again would cost more than all else."""
    return str(daemon.events("state")[-1]["state"])


def _open_files(pid: int) -> set[int]:
    return {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}


def _lowest_without(used: set[int]) -> int:
    """The limit under which none of the lower numbers is free."""
    return next(number for number in range(len(used) + 1) if number not in used)


@pytest.mark.promise("errors become a state", "a daemon started with 5 to 50 descriptors")
@pytest.mark.parametrize("limit", [16, *(pytest.param(one, marks=pytest.mark.faults) for one in range(5, 51) if one != 16)])
def test_a_daemon_that_starts_with_few_descriptors_guards_or_says_why_not(limit: int, world: World) -> None:
    for number in range(60):
        world.write(f"p{number % 12}/m{number}.py", OLD)
    command = [str(PROGRAMS / "guardd"), "--repo", str(world.root), "--log-format", "json"]
    daemon = world.start_command(["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *command], ready=False)
    wait_until(
        lambda: daemon.process.poll() is not None or daemon.events("ready") or daemon.events("state"), 30, "it starts or ends"
    )
    if daemon.process.poll() is not None:
        plain = [line for line in daemon.lines if not line.startswith("{")]
        assert len(plain) == 1, daemon.lines
        assert plain[0].startswith("guardd: "), plain
        assert "ulimit -n" in plain[0]
        assert daemon.process.poll() == 1
        assert limit < 36
        return
    assert limit > 26
    wait_until(lambda: snapshot(world.root) == world.heads(), what="it captures all the same")
    assert not [line for line in daemon.lines if not line.startswith("{")], daemon.lines
    assert daemon.stop() == 0


@pytest.mark.promise("errors become a state", "a user namespace with 100 inotify watches for 150 directories")
@pytest.mark.faults
def test_too_few_watches_are_said_and_made_up_for(world: World) -> None:
    limited = ["unshare", "-U", "-r", "sh", "-c", 'echo 100 > /proc/sys/user/max_inotify_watches && exec "$@"', "sh"]
    if subprocess.run([*limited, "true"], check=False, capture_output=True).returncode:
        pytest.skip("a limit of inotify watches of its own needs user namespaces")
    for number in range(150):
        world.write(f"d{number}/m.py", OLD)
    daemon = world.start_command([*limited, str(PROGRAMS / "guardd"), "--repo", str(world.root)])
    wait_until(lambda: world.status()["state"] == "degraded", what="it is said")
    assert any("watch" in reason for reason in world.status()["reasons"]), world.status()
    for number in range(150):
        world.write(f"d{number}/m.py", NEW)
    wait_until(lambda: set(world.heads().values()) == {NEW}, 60, "what is not watched is polled")
    assert daemon.stop() == 0


@pytest.mark.promise("errors become a state", "no memory for a parsing process")
def test_a_parser_without_memory_costs_that_file_only() -> None:
    others = _children()
    with Parsers(timeout_s=20.0) as parsers:
        assert Facts.from_json(next(iter(parsers.ask([b"x = 1\n"])))).parses is True
        workers = _children() - others
        assert workers
        for pid in workers:
            size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
            resource.prlimit(pid, resource.RLIMIT_AS, (size + 2**20, size + 2**20))
        large = b"".join(b"x%d = [%d, 'a']\n" % (at, at) for at in range(60_000))
        begun = time.monotonic()
        found = [Facts.from_json(text) for text in parsers.ask([large, b"y = 2\n", b"def f(): pass\n"])]
        assert time.monotonic() - begun < 60
    assert found[0].parses is None
    assert [one.parses for one in found[1:]] == [True, True]


def _children() -> set[int]:
    return {int(pid) for folder in Path("/proc/self/task").iterdir() for pid in (folder / "children").read_text().split()}
