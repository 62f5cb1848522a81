"""The daemon under a service manager: what it tells over a real socket, and what it does on signals."""

import contextlib
import ctypes
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.manager import Manager
from tests.world import PROGRAMS, Daemon, World, snapshot, wait_until

_PTRACE_ATTACH = 16
_PTRACE_DETACH = 17
_WALL = 0x40000000


@pytest.fixture
def manager(world: World, tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    world.env["NOTIFY_SOCKET"] = str(tmp_path / "notify")
    yield made
    world.close()
    made.close()


def fill(world: World, count: int) -> None:
    for number in range(count):
        world.write(f"p{number % 40}/m{number}.py", f"x = {number}\n" * 100)


def test_ready_comes_after_the_baseline_with_a_live_status_a_fed_watchdog_and_stopping(world: World, manager: Manager) -> None:
    fill(world, 1000)
    world.env["WATCHDOG_USEC"] = "2000000"
    daemon = world.start()
    wait_until(lambda: manager.index("READY=1") >= 0, what="READY=1")
    assert world.status()["files"] == 1000
    before = [message for message in manager.messages[: manager.index("READY=1")] if message.startswith("STATUS=starting")]
    assert before, "what came before it says that the baseline goes on"
    wait_until(lambda: "protected: 1 repo, 1,000 files; 0 incidents open" in manager.statuses(), what="the status")
    fed = manager.count("WATCHDOG=1")
    wait_until(lambda: manager.count("WATCHDOG=1") > fed + 3, what="the watchdog fed, although nothing is to be done")
    world.write("new.py")
    wait_until(lambda: "protected: 1 repo, 1,001 files; 0 incidents open" in manager.statuses(), what="one file more")
    assert manager.count("READY=1") == 1
    assert daemon.stop() == 0
    wait_until(lambda: manager.index("STOPPING=1") > 0, what="STOPPING=1")


def test_a_missing_repo_keeps_the_others_from_nothing_and_the_status_says_it(
    world: World, manager: Manager, tmp_path: Path
) -> None:
    world.write("a.py")
    world.env["WATCHDOG_USEC"] = "2000000"
    world.configure(f'[[repo]]\npath = "{tmp_path / "missing"}"\n')
    daemon = world.start_configured()
    wait_until(lambda: manager.count("READY=1") == 1, what="READY=1")
    wait_until(lambda: manager.count("WATCHDOG=1") > 0, what="the watchdog fed")
    assert [event["repo"] for event in daemon.events("ready")] == [str(world.root)]
    wait_until(lambda: manager.statuses()[-1].startswith("degraded: 2 repos (1 protected)"), what="the status")
    assert f"root-unusable: {tmp_path / 'missing'}" in manager.statuses()[-1] or "root-missing" in manager.statuses()[-1]
    (tmp_path / "missing").mkdir()
    daemon.wait_ready(2)
    wait_until(lambda: manager.statuses()[-1].startswith("protected: 2 repos"), what="both protected")
    assert manager.count("READY=1") == 1


def test_a_reload_is_told_and_takes_on_what_the_config_says_of_the_log(world: World, manager: Manager) -> None:
    world.write("a.py")
    world.configure("[daemon]\nlog_level = 'warning'\n")
    daemon = world.start_command([str(PROGRAMS / "guardd")], ready=False)
    wait_until(lambda: manager.count("READY=1") == 1)
    assert daemon.events("ready") == []
    world.configure("[daemon]\nlog_level = 'debug'\n")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: manager.count("READY=1") == 2)
    assert manager.index("RELOADING=1") > 0
    assert any(re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", message) for message in manager.messages)
    world.write("a.py", b"a = 2\n")
    wait_until(lambda: daemon.events("captured"), what="a line that only debug has")
    world.configure("[daemon]\nlog_level = 'debug'\nlog_format = 'console'\n")
    daemon.process.send_signal(signal.SIGHUP)
    world.write("a.py", b"a = 3\n")
    wait_until(lambda: any(re.search(r"\bcaptured\b.*versions=1", line) for line in daemon.lines), what="a line for people")
    world.config.write_text("[daemon]\nlog_level = 'error'\nlog_format = 3\n")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: manager.count("READY=1") == 4)
    world.write("a.py", b"a = 4\n")
    world.wait_captured("a.py", b"a = 4\n")
    lines = len(daemon.lines)
    wait_until(lambda: any("versions=1" in line for line in daemon.lines[lines - 2 :]), what="a bad file changes nothing")


def children(daemon: Daemon) -> list[str]:
    listed = Path(f"/proc/{daemon.process.pid}/task").glob("*/children")
    return [pid for one in listed for pid in one.read_text().split()]


def test_child_processes_inherit_nothing_of_the_manager(world: World, manager: Manager) -> None:
    world.env["WATCHDOG_USEC"] = "60000000"
    world.write("a.py", b"def f():\n    return 1\n")
    daemon = world.start()
    world.write("a.py", b"def f():\n    return (1\n")

    def parsing() -> list[str]:  # one that is not a program of its own yet has our environment
        return [pid for pid in children(daemon) if b"source_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    wait_until(parsing, what="a parsing process")
    environment = Path(f"/proc/{parsing()[0]}/environ").read_bytes()
    assert b"GUARD_STATE_DIR" in environment
    assert b"NOTIFY_SOCKET" not in environment
    assert b"WATCHDOG" not in environment


def dump_of(daemon: Daemon) -> dict[str, Any]:
    before = len(daemon.events("state dump"))
    daemon.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: len(daemon.events("state dump")) > before, what="the state dump")
    return daemon.events("state dump")[-1]


@contextlib.contextmanager
def stopped(thread: int) -> Iterator[None]:
    """One thread of another process stopped, the others going on (ptrace(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(_PTRACE_ATTACH, thread, None, None):
        pytest.skip(f"no thread may be stopped here: {os.strerror(ctypes.get_errno())}")
    os.waitpid(thread, _WALL)
    try:
        yield
    finally:
        if libc.ptrace(_PTRACE_DETACH, thread, None, None):
            os.waitpid(thread, _WALL)  # it has died: its process is not gone before its tracer knows


@pytest.mark.parametrize("name", ["guard-capture", "guard-detect"])
def test_a_daemon_with_a_thread_that_stopped_does_not_feed_its_watchdog(world: World, manager: Manager, name: str) -> None:
    world.env["WATCHDOG_USEC"] = "1000000"
    world.write("a.py")
    world.configure("[daemon]\nlog_level = 'debug'\n")
    daemon = world.start_configured()
    wait_until(lambda: manager.count("WATCHDOG=1") > 3, what="the watchdog fed")
    thread = next(one for one in dump_of(daemon)["threads"] if one["name"] == name)
    with stopped(thread["id"]):
        wait_until(lambda: daemon.events("watchdog not fed"), what="that it was not fed")
        fed = manager.count("WATCHDOG=1")
        wait_until(lambda: len(daemon.events("watchdog not fed")) > 4, what="that it is not fed")
        assert manager.count("WATCHDOG=1") == fed
    wait_until(lambda: manager.count("WATCHDOG=1") > fed, what="the watchdog fed again, as the thread goes on")


def test_sigusr1_writes_the_state_dump_in_one_line_whatever_the_log_level(world: World, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("a.py", "b.py"):
        world.write(name)
    world.configure(f"[[repo]]\npath = '{other}'\n[daemon]\nlog_level = 'error'\n")
    daemon = world.start_command([str(PROGRAMS / "guardd")], ready=False)
    wait_until(lambda: world.state.exists() and world.ctl("status", "--json", check=None).stdout.count("protected") == 2)
    dump = dump_of(daemon)
    repos = {one["path"]: one for one in dump["repos"]}
    assert set(repos) == {str(world.root), str(other)}
    about = repos[str(world.root)]
    assert (about["state"], about["reasons"], about["dirty"], about["files"], about["unjudged"]) == ("protected", [], 0, 2, 0)
    assert about["last_scan"].endswith("+00:00")
    alive = {thread["name"] for thread in dump["threads"] if thread["alive"]}
    assert alive >= {"MainThread", "guard-capture", "guard-detect", "guard-respond", "guard-upkeep", "guard-signals"}
    assert dump["rss_bytes"] > 10_000_000
    assert dump["store"]["blobs"] == 1
    assert (dump["incidents_open"], dump["troubles"]) == ([], {})
    world.config.write_text("nonsense")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "config" in dump_of(daemon)["troubles"], what="a trouble in the dump")


def test_sigterm_in_a_baseline_ends_it_and_the_next_start_goes_on(world: World) -> None:
    fill(world, 3000)
    daemon = world.start(ready=False)
    wait_until(lambda: daemon.events("baseline"), what="some of the baseline")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(10) == 0
    assert daemon.events("ready") == []
    assert daemon.events("stopped")[0]["clean"]
    assert 0 < world.status()["files"] < 3000
    world.start()
    assert world.status()["files"] == 3000
    assert {entry["origin"] for entry in world.json("log", "--limit", "10000")} == {"baseline"}


def test_sigterm_in_a_storm_drains_and_loses_nothing(world: World) -> None:
    fill(world, 500)
    daemon = world.start()
    stop = threading.Event()

    def storm() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            world.write(f"p{count % 40}/m{count % 500}.py", f"x = {count}\n" * 200)

    writer = threading.Thread(target=storm)
    writer.start()
    wait_until(lambda: world.status()["versions"] > 700, what="the storm under way")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(10) == 0
    stop.set()
    writer.join()
    world.start()
    wait_until(lambda: world.heads() == snapshot(world.root))


def test_sigterm_during_detection_ends_it_and_the_next_start_judges_what_was_left(world: World) -> None:
    code = "".join(f"def f{number}(a, b):\n    return [a + {number}, b * {number}]\n" for number in range(12_000))
    for number in range(8):
        world.write(f"m{number}.py", f"import os\n{code}")
    daemon = world.start()
    for number in range(8):
        world.write(f"m{number}.py", f"import os\n{code[: len(code) // 3]}def broken(:\n")
    wait_until(lambda: children(daemon), what="a parsing process at work")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(10) == 0
    world.start()
    wait_until(lambda: world.json("status")["incidents_open"] == 1, 60, "the incident, seen after the start at the latest")


def test_a_second_daemon_does_not_disturb_what_the_first_one_told(world: World, manager: Manager) -> None:
    world.write("a.py")
    world.start()
    wait_until(lambda: manager.count("READY=1") == 1)
    second = world.start(ready=False)
    assert second.process.wait(15) == 4
    assert (manager.count("READY=1"), manager.index("STOPPING=1")) == (1, -1)


@pytest.mark.long
@pytest.mark.parametrize("name", ["MainThread", "guard-capture", "guard-detect"])
def test_sigterm_ends_a_daemon_within_ten_seconds_although_a_thread_hangs(world: World, name: str) -> None:
    world.write("a.py")
    daemon = world.start()
    thread = next(one for one in dump_of(daemon)["threads"] if one["name"] == name)
    with stopped(thread["id"]):
        daemon.process.send_signal(signal.SIGTERM)
        # Only who traces a thread may see it end; the process is gone once its lock is.
        wait_until(lambda: not world.json("status")["daemon"]["running"], 10, "the end")
