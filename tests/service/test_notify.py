"""What the service manager is told, and how."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from guardd.model import RepoState
from guardd.service.herald import Herald, status_line
from guardd.service.notify import Notifier
from guardd.service.proof import Sign
from guardd.store.repos import Live


def receiver(address: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(address)
    made.settimeout(5)
    return made


@pytest.mark.parametrize("abstract", [False, True])
def test_a_message_arrives_at_a_path_and_at_an_abstract_address(tmp_path: Path, abstract: bool) -> None:
    name = str(tmp_path / "notify")
    with receiver("\0" + name[1:] if abstract else name) as manager:
        Notifier("@" + name[1:] if abstract else name).send("READY=1", "STATUS=über alles")
        assert manager.recv(4096).decode() == "READY=1\nSTATUS=über alles"


def test_the_variables_are_taken_out_of_the_environment_and_a_watchdog_for_another_process_is_not_ours() -> None:
    environment = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7", "HOME": "/h"}
    assert Notifier.take(dict(environment), 8).watchdog_s is None
    notifier = Notifier.take(environment, 7)
    assert notifier.watchdog_s == 30
    assert notifier.is_heard
    assert environment == {"HOME": "/h"}
    assert not Notifier.take(environment, 7).is_heard


@pytest.mark.parametrize("microseconds", ["", "0", "soon", "-1"])
def test_without_a_real_period_there_is_no_watchdog(microseconds: str) -> None:
    assert Notifier.take({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": microseconds}, 1).watchdog_s is None


def test_a_manager_that_is_gone_is_logged_once_and_stops_no_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notifier = Notifier(str(tmp_path / "gone"))
    notifier.send("STATUS=a")
    notifier.send("STATUS=b")
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == ["manager not told"]


def live(state: RepoState, *reasons: str) -> Live:
    return Live(state, reasons, 0, 0, 0)


@pytest.mark.parametrize(
    ("said", "files", "incidents", "line"),
    [
        ([live(RepoState.PROTECTED)] * 2, 3571, 0, "protected: 2 repos, 3,571 files; 0 incidents open"),
        ([live(RepoState.STARTING)], 1, 1, "starting: 1 repo, 1 file; 1 incident open"),
        ([], 0, 0, "starting: 0 repos, 0 files; 0 incidents open"),
        (
            [live(RepoState.PROTECTED), live(RepoState.DEGRADED, "watch-limit: a\nb")], 5, 2,
            "degraded: 2 repos (1 protected), 5 files; 2 incidents open; watch-limit: a\\nb",
        ),
        ([live(RepoState.DEGRADED), live(RepoState.DESYNCED)], 0, 0, "desynced: 2 repos, 0 files; 0 incidents open"),
    ],
)  # fmt: skip
def test_the_status_is_one_line_that_begins_with_the_worst_state(said: list[Live], files: int, incidents: int, line: str) -> None:
    assert status_line(said, files, incidents) == line


@pytest.fixture
def told(tmp_path: Path) -> Callable[[], list[str]]:
    """The messages that came since the last look."""
    manager = receiver(str(tmp_path / "notify"))
    manager.setblocking(False)

    def look() -> list[str]:
        found = []
        try:
            while True:
                found.append(manager.recv(4096).decode())
        except BlockingIOError:
            return found

    return look


def test_a_reload_is_told_only_once_the_daemon_is_ready(tmp_path: Path, told: Callable[[], list[str]]) -> None:
    herald = Herald(Notifier(str(tmp_path / "notify")))
    with herald.reloading():
        pass
    assert told() == [], "READY=1 after a reload would be the first one"
    herald.ready()
    herald.ready()
    assert [message.splitlines()[0] for message in told()] == ["READY=1"]
    with herald.reloading():
        assert [message.splitlines()[0] for message in told()] == ["RELOADING=1"]
    assert told() == ["READY=1"]


def test_the_watchdog_is_fed_on_proof_alone(tmp_path: Path, told: Callable[[], list[str]]) -> None:
    herald = Herald(Notifier(str(tmp_path / "notify"), watchdog_s=60))
    assert herald.feed_every_s == 15
    asleep = Sign(herald.fed_s - 1, busy=False)
    assert not herald.feed([asleep], is_told=True)
    assert told() == []
    assert herald.feed([Sign(herald.fed_s + 0.001, busy=False)], is_told=True)
    assert told() == ["WATCHDOG=1"]
