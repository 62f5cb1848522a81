"""The daemon's life: start, refusals, death, and the states that `status` shows."""

import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from benchmarks.make_tree import copy_packages, copy_stdlib
from tests import fork_server
from tests.world import PROGRAMS, World, snapshot, wait_until

from guardd.store.codec import DENSE, digest
from guardd.store.store import Store


def git(folder: Path, *words: str) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always"]
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True, env=env).stdout


def test_a_second_daemon_is_refused_with_the_pid_of_the_first(world: World) -> None:
    first = world.start()
    second = world.start(ready=False)
    assert second.process.wait(15) == 4
    wait_until(lambda: second.lines)
    assert f"pid {first.process.pid}" in second.lines[-1]


def test_a_daemon_killed_in_its_baseline_goes_on_where_it_was(world: World) -> None:
    for number in range(1500):
        world.write(f"p{number % 40}/m{number}.py", f"x = {number}\n" * 200)
    daemon = world.start(ready=False)
    wait_until(lambda: (world.state / "guard.db").exists() and daemon.events("baseline"), what="some of the baseline")
    daemon.kill()
    assert world.status()["state"] == "stopped"
    world.start()
    status = world.status()
    assert (status["state"], status["files"], status["versions"]) == ("protected", 1500, 1500)
    assert {entry["origin"] for entry in world.json("log")} == {"baseline"}
    assert world.heads() == snapshot(world.root)


def test_a_store_is_made_compact_once_there_is_time(world: World) -> None:
    copy_packages(world.root)
    daemon = world.start()
    wait_until(lambda: daemon.events("compacted"), what="that it was compacted")
    with Store(str(world.state)) as store:
        assert store.db.rows("SELECT DISTINCT level FROM frames") == [(DENSE,)]
    assert world.heads() == snapshot(world.root)
    world.ctl("fsck")


def test_status_tells_protected_and_stopped(world: World) -> None:
    world.write("a.py")
    daemon = world.start()
    assert world.status()["state"] == "protected", "from the moment on that guardd says it is ready"
    document = world.json("status")
    assert document["daemon"] == {"running": True, "pid": daemon.process.pid, "version": document["daemon"]["version"]}
    assert document["store"]["blobs"] == 1
    assert document["incidents_open"] == 0
    repo = document["repos"][0]
    assert set(repo) >= {"path", "state", "reasons", "files", "versions", "dirty", "last_scan"}
    assert (repo["path"], repo["reasons"], repo["files"], repo["versions"]) == (str(world.root), [], 1, 1)
    assert daemon.stop() == 0
    stopped = world.json("status")
    assert stopped["daemon"]["running"] is False
    assert stopped["daemon"]["pid"] is None
    assert stopped["repos"][0]["state"] == "stopped"
    assert stopped["repos"][0]["reasons"]


def test_status_tells_starting_until_the_baseline_is_complete(world: World) -> None:
    copy_stdlib(world.root)
    daemon = world.start(ready=False)
    states = []
    while not daemon.events("ready"):
        done = world.ctl("status", "--json", check=None)  # 4: there is no store yet
        repos = json.loads(done.stdout)["repos"] if done.returncode == 0 else []
        states += [repo["state"] for repo in repos if not daemon.events("ready")]
    assert states
    assert set(states[:-1]) <= {"starting", "stopped"}, "stopped: it has not said anything so far"
    assert "starting" in states
    assert world.status()["state"] == "protected"


@pytest.mark.promise("errors become a state", "the root of a repo is moved away")
def test_a_root_that_is_moved_away_degrades_and_loses_nothing(world: World, tmp_path: Path) -> None:
    world.write("a.py")
    world.write("sub/b.py")
    world.start()
    os.rename(world.root, tmp_path / "away")
    wait_until(lambda: any("root" in reason for reason in world_status_elsewhere(world)["reasons"]))
    assert world_status_elsewhere(world)["state"] == "degraded"
    assert world_status_elsewhere(world)["files"] == 2
    os.rename(tmp_path / "away", world.root)
    wait_until(lambda: world.status()["state"] == "protected")
    world.write("a.py", b"later = 1\n")
    world.wait_captured("a.py", b"later = 1\n")
    assert world.status()["files"] == 2


def world_status_elsewhere(world: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.ctl("status", "--json", cwd=world.root.parent).stdout)["repos"][0]
    return found


@pytest.mark.promise("errors become a state", "the tree is unmounted")
def test_an_unmounted_tree_is_no_deletion_and_no_restore_goes_into_it(world: World) -> None:
    mounted = world.root / "mounted"
    mounted.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "guardtest", mounted], check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        world.write("mounted/a.py")
        world.write("plain.py")
        daemon = world.start()
        daemon.stop()
    finally:
        subprocess.run(["umount", mounted], check=True)
    world.start(ready=False)
    wait_until(lambda: world.status()["state"] == "degraded")
    assert "unmounted" in world.status()["reasons"][0]
    assert world.status()["files"] == 2
    refused = world.ctl("restore", "--since", "1h", "--yes", check=2)
    assert "mount it" in refused.stderr
    assert list(mounted.iterdir()) == []


@pytest.mark.promise("errors become a state", "more directories than the kernel watches")
def test_a_tree_over_the_watch_limit_is_degraded_says_the_cure_and_is_polled(world: World) -> None:
    for number in range(30):
        world.write(f"p{number}/m.py")
    limited = 'echo 10 > /proc/sys/user/max_inotify_watches && exec "$@"'
    command = ["unshare", "-U", "-r", "sh", "-c", limited, "sh", str(PROGRAMS / "guardd"), "--repo", str(world.root)]
    if subprocess.run(
        ["unshare", "-U", "-r", "sh", "-c", "echo 10 > /proc/sys/user/max_inotify_watches"], check=False
    ).returncode:
        pytest.skip("user namespaces are not to be had here")
    world.start_command(command)
    wait_until(lambda: world.status()["state"] == "degraded")
    reasons = " ".join(world.status()["reasons"])
    assert "watch-limit" in reasons
    assert "sysctl fs.inotify.max_user_watches=" in reasons
    world.write("p29/m.py", b"polled = 1\n")
    world.wait_captured("p29/m.py", b"polled = 1\n")


@pytest.mark.promise("errors become a state", "the disk of the store gets full")
def test_a_full_disk_degrades_keeps_heads_readable_and_recovers_by_itself(world: World) -> None:
    world.state.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "guardtest", str(world.state)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        world.write("a.py", b"precious = 1\n")
        daemon = world.start()
        filler = world.state / "filler"
        subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1M"], capture_output=True, check=False)
        for number in range(60):
            world.write(f"big{number}.py", os.urandom(400_000))
        wait_until(lambda: any("store-full" in line for line in daemon.lines), 60, "store-full in the log")
        assert world.ctl_bytes("show", "a.py") == b"precious = 1\n"
        for number in range(60):
            (world.root / f"big{number}.py").unlink()
        filler.unlink()
        world.write("a.py", b"after = 1\n")
        world.wait_captured("a.py", b"after = 1\n")
        wait_until(lambda: not any("store-full" in reason for reason in world.status()["reasons"]))
        assert world.json("fsck")["damaged"] == []
        daemon.stop()
    finally:
        world.close()
        subprocess.run(["umount", "-l", world.state], check=True)


def test_two_repos_are_guarded_by_one_daemon_and_overlapping_ones_are_refused(world: World, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.py").write_text("b = 1\n")
    world.write("a.py")
    daemon = world.start("--repo", str(world.root), "--repo", str(other), ready=False)
    daemon.wait_ready(repos=2)
    assert {event["repo"] for event in daemon.events("ready")} == {str(world.root), str(other)}
    daemon.stop()
    refused = world.start(
        "--repo", str(world.root), "--repo", str(world.root / "sub" / ".."), "--repo", str(tmp_path), ready=False
    )
    assert refused.process.wait(15) == 2
    world.config.parent.mkdir(parents=True)
    (world.root / "sub").mkdir()
    world.config.write_text(f'[[repo]]\npath = "{world.root}"\n[[repo]]\npath = "{world.root}/sub"\n')
    done = world.ctl("config", "check", check=4)
    assert "overlaps" in done.stderr
    assert f"{world.config}:4:" in done.stderr


def test_worktrees_submodules_and_nested_repos_are_guarded(world: World, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q")
    (library / "lib.py").write_text("lib = 1\n")
    git(library, "add", ".")
    git(library, "commit", "-qm", "lib")
    main = tmp_path / "main"
    git(tmp_path, "clone", "-q", str(library), str(main))
    shutil.rmtree(world.root)
    git(main, "worktree", "add", "-q", str(world.root), "-b", "work")
    git(world.root, "submodule", "add", "-q", str(library), "vendor/library")
    nested = world.root / "nested"
    nested.mkdir()
    git(nested, "init", "-q")
    (nested / "n.py").write_text("n = 1\n")
    world.start()
    assert set(world.heads()) == {"lib.py", "vendor/library/lib.py", "nested/n.py"}
    for path in ("vendor/library/lib.py", "nested/n.py"):
        world.write(path, b"edited = 1\n")
        world.wait_captured(path, b"edited = 1\n")


def test_a_stopped_daemon_catches_up_with_what_it_missed(world: World) -> None:
    world.write("a.py")
    daemon = world.start()
    daemon.process.send_signal(signal.SIGSTOP)
    for number in range(200):
        world.write(f"sub{number}/m.py", f"x = {number}\n")
    daemon.process.send_signal(signal.SIGCONT)
    wait_until(lambda: world.heads() == snapshot(world.root))


@pytest.mark.promise("nobody else reads the store", "the modes of the store; a state dir that a group may write to")
def test_the_store_is_closed_to_others_and_one_that_is_open_is_refused(world: World) -> None:
    world.write("a.py")
    world.start().stop()
    assert world.state.stat().st_mode & 0o777 == 0o700
    for path in world.state.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    world.state.chmod(0o770)
    assert "chmod 700" in world.ctl("status", check=4).stderr


def test_stop_captures_what_was_hinted_and_is_prompt(world: World) -> None:
    daemon = world.start()
    world.write("last.py", b"last = 1\n")
    begun = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - begun < 10
    world.start().stop()
    assert world.heads() == {"last.py": b"last = 1\n"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--repo", "/does/not/exist"], 2), ([], 2), (["--config", "/does/not/exist"], 4), (["--nonsense"], 2)],
)
def test_a_daemon_that_cannot_start_says_why_in_one_line(world: World, arguments: list[str], code: int) -> None:
    done = fork_server.Begun([str(PROGRAMS / "guardd"), *arguments], world.env, world.root).finish()
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_json_logs_carry_the_ready_event_and_escape_what_is_not_printable(world: World) -> None:
    world.write("new\nline.py", b"x" * 10)
    os.mkfifo(world.root / "pipe\x1b.py")
    daemon = world.start()
    assert daemon.events("ready")[0]["repo"] == str(world.root)
    assert not any("\x1b" in line for line in daemon.lines)


def test_a_tree_on_an_overlay_is_guarded_and_a_copy_up_is_no_change(world: World, tmp_path: Path) -> None:
    lower, upper, work = (tmp_path / name for name in ("lower", "upper", "work"))
    for folder in (lower / "sub", upper, work):
        folder.mkdir(parents=True)
    (lower / "sub" / "a.py").write_text("a = 1\n")
    (lower / "b.py").write_text("b = 1\n")
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    if subprocess.run(["mount", "-t", "overlay", "guardtest", "-o", options, world.root], check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        world.start()
        world.write("sub/a.py", b"a = 2\n")
        world.wait_captured("sub/a.py", b"a = 2\n")
        (world.root / "b.py").chmod(0o600)
        wait_until(lambda: len(world.versions("b.py")) == 2)
        assert world.heads() == snapshot(world.root)
        assert len(world.versions("sub/a.py")) == 2
    finally:
        world.close()
        subprocess.run(["umount", "-l", world.root], check=True)


def test_under_the_journal_lines_carry_their_priority(world: World) -> None:
    os.mkfifo(world.root / "pipe.py")
    reader, writer = os.pipe()
    found = os.fstat(writer)
    env = {**world.env, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
    command = [str(PROGRAMS / "guardd"), "--repo", str(world.root)]
    with open(os.devnull, "rb") as nothing:
        process = fork_server.begin(command, env, world.root, (nothing.fileno(), writer, writer))
    os.close(writer)
    with os.fdopen(reader) as lines:
        seen = [lines.readline() for _ in range(4)]
        process.send_signal(signal.SIGTERM)
        process.wait(15)
    assert seen[0].startswith('<6>{"')
    assert any(line.startswith("<4>") and "passed over" in line for line in seen)


@pytest.mark.faults  # every day there is one such burst in tests/faults/test_daemon_killed.py
@pytest.mark.promise("no acknowledged version is lost", "kill -9 of the daemon in a burst, again and again")
def test_killed_again_and_again_in_a_burst_it_loses_no_acknowledged_version(world: World) -> None:
    chance = random.Random(5)
    for number in range(100):
        world.write(f"m{number}.py", b"x = 0\n")
    world.start().stop()
    acknowledged: dict[int, bytes] = {}
    for generation in range(1, 6):
        daemon = world.start()
        for number in range(100):
            world.write(f"m{number}.py", b"generation = %d\n" % generation * chance.randrange(1, 50))
            if number == chance.randrange(20, 100):
                break
        with Store(str(world.state)) as store:
            repo = store.repos.find(str(world.root))
            assert repo
            acknowledged |= {version.seq: version.state.blob for version in store.log.versions(repo.id)}
        daemon.kill()
    with Store(str(world.state)) as store:
        for seq, blob in acknowledged.items():
            version = store.log.version(seq)
            assert version
            assert version.state.blob == blob
            assert digest(store.blobs.read(blob)) == blob
    assert world.json("fsck")["damaged"] == []
    world.start()
    assert world.heads() == snapshot(world.root)


def test_ten_guardctl_at_once_beside_a_daemon_and_a_writer_all_answer(world: World) -> None:
    for number in range(50):
        world.write(f"m{number}.py", b"x = 0\n")
    world.start()
    stop = threading.Event()

    def write() -> None:
        count = 0
        while not stop.wait(0.005):
            count += 1
            world.write(f"m{count % 50}.py", f"x = {count}\n")

    writer = threading.Thread(target=write)
    writer.start()
    words = [
        ["log"],
        ["status"],
        ["diff", "--since", "1h"],
        ["show", "m1.py"],
        ["gc"],
        ["fsck"],
        ["log", "m2.py"],
        ["doctor"],
        ["gc"],
        ["log"],
    ]
    commands = [world.begin_ctl(*one) for one in words]
    ended = [command.finish(90) for command in commands]
    stop.set()
    writer.join()
    assert [one for one in ended if one.returncode != 0] == []
    wait_until(lambda: world.heads() == snapshot(world.root))


def test_sighup_takes_up_and_drops_repos_and_a_bad_config_keeps_the_old_ones(world: World, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.py").write_text("b = 1\n")
    world.write("a.py")
    world.ctl("init")
    daemon = world.start("--log-format", "json")
    world.ctl("init", str(other))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_ready(repos=2)
    good = world.config.read_text()
    world.config.write_text("[daemon]\nlog_level = 1\n")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: all("config-rejected" in "".join(repo["reasons"]) for repo in world.json("status")["repos"]))
    world.config.write_text(good)  # still guarded all the while
    world.write("a.py", b"a = 2\n")
    world.wait_captured("a.py", b"a = 2\n")
    world.config.write_text(f'[[repo]]\npath = "{other}"\n')
    daemon.process.send_signal(signal.SIGHUP)
    states = {str(other): "protected", str(world.root): "stopped"}
    wait_until(lambda: {repo["path"]: repo["state"] for repo in world.json("status")["repos"]} == states)
    assert daemon.stop() == 0


@pytest.mark.promise("no acknowledged version is lost", "whatever else the daemon opens: its locks on the store stay")
@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="/proc/locks is Linux's")
def test_the_daemon_keeps_its_locks_on_the_store(world: World) -> None:
    """SQLite's lock on byte 128 of the index says that it is in use: without it the next one to open it cuts it to nothing."""
    world.write("a.py")
    for _ in range(2):  # the second time it looks at a log that is there
        daemon = world.start()
        world.write("a.py", os.urandom(8).hex().encode())
        world.ctl("log")
        world.ctl("fsck")
        inode = os.stat(world.state / "guard.db-shm").st_ino
        held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        pid = str(daemon.process.pid)
        assert [words for words in held if words[4] == pid and words[5].endswith(f":{inode}") and words[6] == "128"]
        daemon.kill()
