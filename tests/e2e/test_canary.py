"""`guardctl doctor --canary`: protection shown on files of its own, and nothing of it left in anyone's way."""

import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.damage import hollow
from tests.e2e.test_daemon import git
from tests.fork_server import Begun
from tests.world import Daemon, World, as_text, snapshot, wait_until

from guardd import clock
from guardd.config import load
from guardd.selection import is_canary
from guardd.service.canary import trial_of, try_out
from guardd.service.checkup import Check
from guardd.store.store import Store

CODE = "def f_{0}(value):\n    total = value + {0}\n    other = total * 2\n    return other\n" * 8
STEPS = ["captured", "flagged", "put back", "removed"]


@pytest.fixture
def watched(world: World) -> tuple[World, Daemon]:
    for number in range(8):
        world.write(f"m{number}.py", CODE.format(number))
    world.configure('[response]\nsettle = "0.2s"\n')
    return world, world.start_configured()


def canary(world: World, *words: str, check: int = 0) -> dict[str, Any]:
    """Step -> its check."""
    found = world.json("doctor", "--canary", *words, check=check)
    return {one["name"].split()[1] if one["name"].split()[1] != "put" else "put back": one
            for one in found if one["name"].startswith("canary ")}  # fmt: skip


def fly(world: World, tell: Callable[[Check], object]) -> list[Check]:
    """A canary in this process: `tell` may do something between two of its steps."""
    told: list[Check] = []
    with Store(str(world.state)) as store:
        repo = store.repos.find(str(world.root))
        assert repo
        trial = trial_of(load(str(world.config)), 20.0)
        try_out(store, repo, trial, lambda one: (told.append(one), tell(one)), threading.Event().wait)
    return told


def folders(world: World) -> list[Path]:
    return list(world.root.glob("guardd_canary_*"))


def wait_judged(world: World) -> None:
    """Until the daemon has captured what there is, and detection has read all of it."""
    with Store(str(world.state)) as store:
        wait_until(lambda: world.heads() == snapshot(world.root))
        wait_until(lambda: store.incidents.cursor(1) == store.log.last_seq())


def test_a_canary_is_captured_flagged_and_put_back_with_times_and_leaves_only_its_trace(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    git(world.root, "init", "-q")
    git(world.root, "add", "-A")
    git(world.root, "commit", "-qm", "first")
    before = snapshot(world.root)
    running = world.begin_ctl("doctor", "--canary")
    while running.poll() is None:
        assert git(world.root, "status", "--porcelain") == "", "git sees nothing of it"
        time.sleep(0.02)
    done = as_text(running.finish())
    assert done.returncode == 0, done
    out = done.stdout
    assert [out.index(f"canary {step} in {world.root}") for step in STEPS] == sorted(
        out.index(f"canary {step}") for step in STEPS
    )
    assert snapshot(world.root) == before
    wait_judged(world)
    (incident,) = world.incidents()
    assert (incident["state"], incident["note"], incident["damaged"]) == ("restored", "canary", 5)
    assert all(is_canary(member["path"]) for member in incident["members"])
    assert world.json("status")["incidents_open"] == 0
    world.ctl("incidents", "show", "last", check=3)
    world.ctl("undo", "--yes", check=3)
    steps = canary(world)
    assert list(steps) == STEPS
    assert all(0 < steps[step]["seconds"] < 10 for step in STEPS[:3])
    assert "5 files, byte for byte, by this command" in steps["put back"]["message"]
    assert daemon.stop() == 0
    world.start_configured()
    wait_judged(world)
    assert len(world.incidents()) == 2, "that its files went was no incident, before or after a restart"


def test_the_last_incident_and_restore_stay_a_persons_own(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    before = snapshot(world.root)
    for number in range(6):
        world.write(f"m{number}.py", hollow((world.root / f"m{number}.py").read_bytes(), random.Random(1)) or b"")
    world.wait_settled(daemon)
    damaged = snapshot(world.root)
    canary(world)
    assert [one["state"] for one in world.incidents()] == ["open", "restored"]
    mine, others = world.incidents()
    assert not any(is_canary(member["path"]) for member in mine["members"])
    assert all(is_canary(member["path"]) for member in others["members"])
    assert snapshot(world.root) == damaged, "a canary restores nothing of anyone's"
    world.ctl("restore", "--incident", "last", "--yes")
    assert snapshot(world.root) == before
    canary(world)
    world.ctl("undo", "--yes")
    assert snapshot(world.root) == damaged


def test_damage_that_comes_while_the_canary_is_out_is_an_incident_of_its_own(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched

    def do_damage(one: Check) -> None:
        if one.name.startswith("canary captured"):
            for number in range(6):
                world.write(f"m{number}.py", hollow((world.root / f"m{number}.py").read_bytes(), random.Random(1)) or b"")

    told = fly(world, do_damage)
    assert all(one.ok for one in told), told
    wait_until(lambda: daemon.events("incident settled"))
    members = [{is_canary(member["path"]) for member in incident["members"]} for incident in world.incidents()]
    assert sorted(map(sorted, members)) == [[False], [True]]
    assert world.json("status")["incidents_open"] == 1


def test_auto_restore_may_be_quicker(world: World) -> None:
    world.write("m.py")
    world.configure('[response]\nsettle = "0.1s"\nauto_restore = "all"\n', about_repo='verify = ["false"]')
    daemon = world.start_configured()

    def let_it(one: Check) -> None:
        if one.name.startswith("canary flagged"):
            wait_until(lambda: daemon.events("auto-restored"))

    told = {one.name.removesuffix(f" in {world.root}"): one for one in fly(world, let_it)}
    assert all(one.ok for one in told.values()), told
    assert told["canary put back"].message.startswith("5 files, byte for byte, by auto-restore")
    (incident,) = world.incidents()
    assert (incident["state"], incident["note"]) == ("restored", "canary")


@pytest.mark.parametrize(
    ("config", "files"),
    [("[detection.thresholds]\ndamaged = 12\n", 12), ('[detection]\nmarkers = ["re:^XX"]\n', 5),
     ('[detection]\nmarkers = ["re:^XX", "OOPS"]\n[detection.thresholds]\ndamaged = 1\nprotected = 1\n', 1)],
)  # fmt: skip
def test_what_is_planted_follows_the_config(world: World, config: str, files: int) -> None:
    world.write("m.py")
    world.write(".gitignore", "*.log\n")
    world.configure(config, about_repo='respect_gitignore = true\nprotected = ["*.py"]')
    world.start_configured()
    assert f"{files} files, byte for byte" in canary(world)["put back"]["message"]
    assert folders(world) == []


def test_a_daemon_that_is_stopped_fails_and_all_is_cleaned_up(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    before = snapshot(world.root)
    daemon.process.send_signal(signal.SIGSTOP)
    steps = canary(world, "--deadline", "0.5s", check=1)
    assert list(steps) == ["removed", "captured"]
    assert steps["captured"]["message"] == "5 of 5 files were not captured within 0.5 s"
    assert "status" in steps["captured"]["cure"]
    assert snapshot(world.root) == before
    daemon.process.send_signal(signal.SIGCONT)
    wait_judged(world)
    assert world.incidents() == []
    daemon.stop()
    assert "not running" in canary(world, check=1)["planted"]["message"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_cleans_up_first(watched: tuple[World, Daemon], number: int) -> None:
    world, daemon = watched
    before = snapshot(world.root)
    daemon.process.send_signal(signal.SIGSTOP)
    running = start_canary(world)
    wait_until(lambda: len(list(world.root.glob("guardd_canary_*/canary_*.py"))) == 5)
    running.send_signal(number)
    done = running.finish(20)
    assert (done.returncode, done.stderr) == (130, b"guardctl: interrupted; the canary's files are removed\n")
    assert snapshot(world.root) == before
    assert folders(world) == []


def start_canary(world: World) -> Begun:
    return world.begin_ctl("doctor", "--canary", "--deadline", "60s")


def test_what_a_killed_canary_left_goes_with_the_next_but_nothing_of_others(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    daemon.process.send_signal(signal.SIGSTOP)
    running = start_canary(world)
    wait_until(lambda: len(list(world.root.glob("guardd_canary_*/canary_*.py"))) == 5)
    again = canary(world, check=1)
    assert f"another canary (pid {running.pid})" in again["planted"]["message"]
    running.kill()
    running.finish()
    (left,) = folders(world)
    precious = world.write("guardd_canary_0badcafe/mine.py", "mine = 1\n")
    elsewhere = world.root.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "canary_000.py").write_text("theirs = 1\n")
    (world.root / "guardd_canary_deadbeef").symlink_to(elsewhere)
    world.write("guardd_canary_notes/canary_000.py", "notes = 1\n")
    daemon.process.send_signal(signal.SIGCONT)
    found = world.json("doctor", "--canary", check=1)
    leftovers = {one["name"].split()[2]: one for one in found if one["name"].startswith("canary leftover")}
    assert {name: one["ok"] for name, one in leftovers.items()} == {
        left.name: True, "guardd_canary_0badcafe": False, "guardd_canary_deadbeef": False,
    }  # fmt: skip
    assert "'mine.py', which no canary planted" in leftovers["guardd_canary_0badcafe"]["message"]
    assert precious.read_text() == "mine = 1\n"
    assert (elsewhere / "canary_000.py").read_text() == "theirs = 1\n"
    assert (world.root / "guardd_canary_notes" / "canary_000.py").exists()
    assert not left.exists()
    assert [one["ok"] for one in found if one["name"].startswith(("canary captured", "canary flagged", "canary put"))] == [
        True
    ] * 3


def test_it_refuses_where_it_would_be_in_the_way_and_says_why(watched: tuple[World, Daemon]) -> None:
    world, _ = watched
    world.ctl("pause", "1h")
    assert "is paused" in canary(world, check=1)["planted"]["message"]
    world.ctl("resume")
    with Store(str(world.state)) as store:
        id_, _ = store.restores.begin(1, "of someone", [], clock.now())
        assert "a restore of this repo is under way" in canary(world, check=1)["planted"]["message"]
        store.restores.finish(id_)
    assert folders(world) == []


def test_it_refuses_while_real_damage_goes_on(world: World) -> None:
    for number in range(8):
        world.write(f"m{number}.py", CODE.format(number))
    world.configure('[response]\nsettle = "1h"\n')
    daemon = world.start_configured()
    for number in range(6):
        world.write(f"m{number}.py", hollow((world.root / f"m{number}.py").read_bytes(), random.Random(1)) or b"")
    wait_until(lambda: daemon.events("incident opened"))
    refused = canary(world, check=1)["planted"]
    assert refused["message"] == "incident 1 is open and still growing: there is real damage to look at"
    assert "guardctl incidents show 1" in refused["cure"]
    assert folders(world) == []


@pytest.mark.parametrize("about", ['include = ["src/**/*.py"]', 'exclude = ["guardd_*"]', "respect_gitignore = true"])
def test_a_repo_that_would_not_keep_its_files_is_named_with_the_cure(world: World, about: str) -> None:
    world.write("src/m.py")
    world.write(".gitignore", "guardd_canary_*\n")
    world.configure("", about_repo=about)
    world.start_configured()
    failed = canary(world, check=1)["planted"]
    assert "is not what the config (or .gitignore) has guard keep" in failed["message"]
    assert "'/guardd_canary_*/*.py' in 'include'" in failed["cure"]
    assert folders(world) == []


def test_without_a_repo_that_is_meant_each_one_is_tried(world: World, tmp_path: Path) -> None:
    world.write("a.py")
    other = tmp_path / "other"
    other.mkdir()
    daemon = world.start("--repo", str(world.root), "--repo", str(other), ready=False)
    daemon.wait_ready(2)
    done = world.ctl("doctor", "--canary", cwd=tmp_path)
    assert f"canary put back in {other}" in done.stdout
    assert f"canary put back in {world.root}" in done.stdout
    assert f"canary put back in {other}" not in world.ctl("doctor", "--canary").stdout
    only = world.ctl("doctor", "--canary", "--repo", str(other)).stdout
    assert f"canary put back in {world.root}" not in only
    other.rename(tmp_path / "away")
    gone = world.ctl("doctor", "--canary", "--repo", str(other), check=1).stdout
    assert f"{other} cannot be written (No such file or directory)" in gone
