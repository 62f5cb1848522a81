"""The checkup: each check fails where it should, and names a cure that is one."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests import fork_server
from tests.world import PROGRAMS, World, wait_until

from guardd import clock
from guardd.model import FileState, Kind, Moment, Origin
from guardd.selection import SelectionRules
from guardd.service.checkup import check_limits, check_up
from guardd.store.appending import Observation
from guardd.store.codec import digest, encode
from guardd.store.store import Store

MINUTE = 60 * 1_000_000_000


def doctor(world: World, *before: str) -> dict[str, dict[str, Any]]:
    """Name -> check, of doctor run by a command, if one is given."""
    command = [*before, str(PROGRAMS / "guardctl"), "doctor", "--json"]
    done = fork_server.Begun(command, world.env, world.root).finish()
    assert done.returncode in (0, 1), done.stderr
    checks = json.loads(done.stdout)
    assert all(one["ok"] or one["cure"] for one in checks)
    assert (done.returncode == 1) is any(not one["ok"] for one in checks)
    return {one["name"]: one for one in checks}


def in_namespace(setup: str) -> Sequence[str]:
    """A command that runs another under limits of its own; skips where that is not to be had."""
    if subprocess.run(["unshare", "-U", "-r", "sh", "-c", setup], check=False, capture_output=True).returncode:
        pytest.skip("user namespaces are not to be had here")
    return ["unshare", "-U", "-r", "sh", "-c", f'{setup} && exec "$@"', "sh"]


@pytest.fixture
def known(world: World) -> World:
    for number in range(30):
        world.write(f"p{number}/m.py")
    world.ctl("init")
    return world


def test_a_watch_limit_that_is_too_low_for_all_repos_together_is_named_with_its_sysctl(known: World) -> None:
    checks = doctor(known, *in_namespace("echo 33 > /proc/sys/user/max_inotify_watches"))
    assert checks["watches"]["message"] == "31 directories to watch, the kernel allows 33"
    assert checks["watches"]["cure"].startswith("run 'sudo sysctl user.max_inotify_watches=524288'")
    assert doctor(known)["watches"]["ok"]
    assert doctor(known, *in_namespace("echo 60 > /proc/sys/user/max_inotify_watches"))["watches"]["ok"]
    other = known.root.parent / "other"
    (other / "deep" / "er").mkdir(parents=True)
    for number in range(30):
        (other / f"d{number}").mkdir()
    known.ctl("init", str(other))
    assert not doctor(known, *in_namespace("echo 60 > /proc/sys/user/max_inotify_watches"))["watches"]["ok"]


def test_no_event_queue_to_be_had_is_named_with_its_sysctl(known: World) -> None:
    checks = doctor(known, *in_namespace("echo 0 > /proc/sys/user/max_inotify_instances"))
    assert checks["watch instances"]["cure"].startswith("run 'sudo sysctl user.max_inotify_instances=1024'")
    assert not checks["watch instances"]["ok"]


def test_a_directory_that_cannot_be_read_is_named(known: World) -> None:
    without_rights = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if without_rights and subprocess.run([*without_rights, "true"], check=False, capture_output=True).returncode:
        pytest.skip("root reads everything, and setpriv is not to be had here")
    (known.root / "p7").chmod(0)
    try:
        check = doctor(known, *without_rights)[f"permissions in {known.root}"]
    finally:
        (known.root / "p7").chmod(0o755)
    assert (check["ok"], check["message"]) == (False, "p7 cannot be read")
    assert doctor(known)[f"permissions in {known.root}"]["ok"]


def test_directories_that_are_excluded_need_no_watch(tmp_path: Path) -> None:
    for name in ("src/a/b", ".venv/lib/c", "gen/d"):
        (tmp_path / name).mkdir(parents=True)
    seen = check_limits(str(tmp_path), SelectionRules(exclude=("/gen/",)))
    assert any(check.message.startswith("4 directories to watch") for check in seen), "the top, src, src/a, src/a/b"


@pytest.mark.parametrize(("mount", "said"), [("size=24m", "MiB free"), ("size=300m,nr_inodes=60", "more files")])
def test_a_disk_with_little_room_is_named(world: World, mount: str, said: str) -> None:
    world.state.mkdir(mode=0o700)
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"{mount},mode=700", "guardtest", str(world.state)], check=False, capture_output=True
    ).returncode:
        pytest.skip("mounting needs root")
    try:
        world.ctl("init")
        disk = doctor(world)["disk"]
    finally:
        subprocess.run(["umount", world.state], check=True)
    assert not disk["ok"]
    assert said in disk["message"]


def test_a_clock_that_is_before_the_log_or_before_guard_is_named(tmp_path: Path) -> None:
    now, content = clock.now(), encode(digest(b"x"), b"x")
    with Store(str(tmp_path / "state"), create=True) as store:
        repo = store.repos.add(str(tmp_path), SelectionRules())

        def clock_at(now_ns: int) -> tuple[bool, str]:
            (found,) = [
                check
                for check in check_up(store, Moment(now_ns, now.boot_ns, now.boot_id, now.awake_ns))
                if check.name == "clock"
            ]
            return found.ok, found.message

        assert clock_at(now.wall_ns)[0]
        assert not clock_at(1_000_000_000_000_000_000)[0]
        later = Moment(now.wall_ns + 60 * MINUTE, now.boot_ns + 60 * MINUTE, now.boot_id)
        store.log.record(
            repo.id, [Observation("a.py", 0, FileState(Kind.FILE, content.hash, 1), content=content)], Origin.SCAN, later
        )
        ok, message = clock_at(now.wall_ns)
        assert not ok
        assert message.endswith("is 3600 s before the newest version in the log")
        assert clock_at(later.wall_ns - 1)[0], "a moment's difference is none"


@pytest.mark.parametrize("first", [1, 0], ids=["does not open", "does open"])
def test_a_damaged_store_is_a_check_that_fails_with_its_cure(known: World, first: int) -> None:
    known.start_configured().stop()
    database = known.state / "guard.db"
    content = bytearray(database.read_bytes())
    pages = len(content) // 4096
    for page in range(first or pages - 2, pages):
        content[page * 4096 : page * 4096 + 64] = b"\xaa" * 64
    database.write_bytes(content)
    checks = doctor(known)
    assert not checks["store"]["ok"]
    assert checks["store"]["cure"] == "run 'guardctl fsck --repair'"


def test_without_git_nothing_fails(known: World) -> None:
    known.env["PATH"] = "/nowhere"
    known.start_command([str(PROGRAMS / "guardd")])
    checks = doctor(known)
    assert checks["git"]["message"].startswith("not found: only --merge")
    assert all(one["ok"] for one in checks.values())


def test_a_degraded_repo_is_explained_by_its_reasons(known: World) -> None:
    known.start_configured()
    away = known.root.rename(known.root.with_name("away"))
    known.root = away  # where commands run; the store still knows the old place
    wait_until(lambda: "root" in str(doctor(known)[f"repo {away.with_name('repo')}"]["cure"]))
    check = doctor(known)[f"repo {away.with_name('repo')}"]
    assert (check["ok"], check["message"]) == (False, "degraded")
