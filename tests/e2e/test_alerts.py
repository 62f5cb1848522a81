"""Alerts, from damage on a real tree to what a real server receives, however badly it behaves."""

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.alerting import limits
from tests.manager import Manager
from tests.receiver import Answer, Received, Receiver, Wire, answer, drop, hang, redirect, slow_down
from tests.world import Daemon, World, wait_until

from guardd.store.store import Store

FILES = 60


@pytest.fixture
def chat() -> Any:
    with Receiver() as receiver:
        yield receiver


def grow_tree(world: World) -> None:
    for number in range(FILES):
        world.write(f"pkg/m{number}.py", f"def f{number}(x):\n    y = x + {number}\n    return y\n")


def damage(world: World, first: int = 0, count: int = 20) -> None:
    for number in range(first, first + count):
        path = world.root / f"pkg/m{number}.py"
        path.write_text("".join(f"# REMOVED_SYNTAX_ERROR: {line}\n" for line in path.read_text().splitlines()))


def guard(world: World, *alerts: str, more: str = "") -> Daemon:
    grow_tree(world)
    world.configure("".join(f"[[alert]]\n{one}\n" for one in alerts) + more)
    return world.start_configured()


def documents(requests: list[Received]) -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in requests]


def stages(requests: list[Received]) -> list[str]:
    return [one["stage"] for one in documents(requests)]


def put_right(world: World) -> None:
    world.ctl("restore", "--incident", "last", "--yes")


@pytest.mark.promise("nothing of the repo runs", "modules of the repo in the place of those that deliver its alerts")
def test_an_alert_is_delivered_from_within_a_repo_that_has_a_queue_module(
    world: World, chat: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    for name in ("queue", "json", "contextlib", "threading", "guardd/__init__"):
        world.write(f"{name}.py", f"open({str(ran)!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(world.root)
    guard(world, f'url = "json://127.0.0.1:{chat.port}/hook"')
    damage(world)
    assert documents(chat.wait(1))[0]["stage"] == "opened"
    assert not ran.exists()


def test_a_burst_is_told_once_and_so_is_its_end(world: World, chat: Receiver) -> None:
    daemon = guard(world, f'url = "json://127.0.0.1:{chat.port}/hook"')
    damage(world)
    opened = documents(chat.wait(1))[0]
    assert opened["stage"] == "opened"
    assert opened["severity"] in ("high", "critical")
    assert opened["commands"] == ["guardctl incidents show 1", "guardctl restore --incident 1"]
    assert opened["top_files"]
    assert "REMOVED_SYNTAX_ERROR" in opened["hunk"]
    assert opened["repo"] == str(world.root)
    world.wait_settled(daemon)
    updated = documents(chat.wait(2))[1]
    assert (updated["stage"], updated["incident"]["damaged"], updated["incident"]["files_in_repo"]) == ("updated", 20, FILES)
    assert (len(updated["top_files"]), updated["more_files"]) == (10, 10)
    assert world.ctl("restore", "--incident", "1", "--yes", cwd=world.root.parent), "what it says to type works anywhere"
    resolved = documents(chat.wait(3))[2]
    assert (resolved["stage"], resolved["incident"]["state"], resolved["hunk"]) == ("resolved", "restored", None)
    assert len({one["dedup_key"] for one in (opened, updated, resolved)}) == 3
    assert len({one["thread"] for one in (opened, updated, resolved)}) == 1
    told = [
        one for one in world.json("incidents", "show", "1")["alerts"] if one["state"] != "dropped"
    ]  # a newer update came first
    assert [(one["stage"], one["state"]) for one in told] == [("opened", "sent"), ("updated", "sent"), ("resolved", "sent")]
    assert [one["id"] for one in world.json("alerts", "list") if one["state"] == "sent"] == [one["id"] for one in told][::-1]
    assert world.json("status")["alerts"] == {"pending": 0, "failing": []}
    assert daemon.stop() == 0
    assert len(chat.requests) == 3


class SlackLike:
    """Answers as Slack does: first as its script says, then `ok`, but to no more than one message a second."""

    def __init__(self, *script: Answer) -> None:
        self.taken = 0
        self.too_fast = 0
        self._script = list(script)
        self._last_s = 0.0

    def __call__(self, wire: Wire) -> None:
        if self._script:
            self._script.pop(0)(wire)
        elif time.monotonic() - self._last_s < 1:
            self.too_fast += 1
            slow_down(1)(wire)
        else:
            self._last_s = time.monotonic()
            answer(200, "ok")(wire)
            self.taken += 1


def test_the_whole_path_with_a_manager_and_a_slack_that_misbehaves(world: World, chat: Receiver, tmp_path: Path) -> None:
    manager = Manager(tmp_path / "notify")
    world.env["NOTIFY_SOCKET"] = str(tmp_path / "notify")
    bad = (slow_down(0.2), answer(500), hang, redirect(f"{chat.url}/elsewhere"), drop)
    chat.always = slack = SlackLike(*bad)
    (tmp_path / "webhook").write_text("https://hooks.slack.com/services/T0/B0/SECRET")
    guard(world, f'url_file = "{tmp_path}/webhook"\nbase_url = "{chat.url}"\ntimeout = "0.5s"')
    assert manager.index("READY=1") >= 0
    damage(world)
    wait_until(lambda: slack.taken >= 2, what="the burst was told")
    wait_until(lambda: any("1 incident open" in status for status in manager.statuses()), what="the manager knows too")
    put_right(world)
    wait_until(lambda: slack.taken >= 3, what="its end was told")
    wait_until(lambda: world.json("status")["alerts"]["pending"] == 0)
    assert (slack.taken, slack.too_fast) == (3, 0)
    assert {one.path for one in chat.requests} == {"/services/T0/B0/SECRET"}, "no redirect was followed"
    told = [one.json for one in chat.requests[len(bad) :]]
    assert ["Resolved" in one["text"] for one in told] == [False, False, True]
    for payload in [one.json for one in chat.requests]:
        limits.slack(payload)
    manager.close()


def test_a_dead_server_delays_nothing_and_hears_of_it_when_it_is_back(world: World, chat: Receiver) -> None:
    chat.always = drop
    daemon = guard(world, f'url = "json://127.0.0.1:{chat.port}/hook"')
    damage(world)
    world.wait_settled(daemon)
    put_right(world)
    wait_until(lambda: world.json("status")["alerts"]["failing"], what="status says that the target does not answer")
    assert any(one["state"] == "pending" and "connection" in one["answer"] for one in world.json("alerts", "list"))
    assert "no message taken" in world.ctl("doctor", check=1).stdout
    assert daemon.stop() == 0
    chat.always = answer()
    before = len(chat.requests)
    world.start_configured()
    wait_until(lambda: world.json("status")["alerts"] == {"pending": 0, "failing": []}, what="all was delivered")
    assert stages(chat.requests[before:]) == ["opened", "resolved"]


def test_an_incident_is_told_though_the_daemon_was_killed_before_it_could(world: World, chat: Receiver) -> None:
    chat.always = hang
    daemon = guard(world, f'url = "json://127.0.0.1:{chat.port}/hook"\ntimeout = "1s"')
    damage(world)
    wait_until(lambda: daemon.events("incident opened"))
    daemon.kill()
    hung = len(chat.requests)
    chat.always = answer()
    world.start_configured()
    wait_until(lambda: "opened" in [one["stage"] for one in documents(chat.requests[hung:]) if one["incident"]])
    wait_until(lambda: world.json("status")["alerts"]["pending"] == 0)
    taken = documents(chat.requests[hung:])
    assert max(Counter(one["dedup_key"] for one in taken).values()) == 1
    assert any("crashed" in one["title"] for one in taken), "and that guardd was away"


def test_loss_of_protection_is_told_and_so_is_its_end(world: World, chat: Receiver) -> None:
    guard(world, f'url = "json://127.0.0.1:{chat.port}/hook"')
    away = world.root.with_name("away")
    world.root.rename(away)
    lost = documents(chat.wait(1))[0]
    assert (lost["stage"], lost["incident"]) == ("opened", None)
    assert "not fully protected" in lost["title"]
    assert "guardctl doctor" in lost["commands"]
    away.rename(world.root)
    found = documents(chat.wait(2))[1]
    assert (found["stage"], found["thread"]) == ("resolved", lost["thread"])


def test_a_target_that_stays_dead_is_told_to_the_others(world: World, chat: Receiver) -> None:
    with Receiver(always=drop) as dead:
        guard(
            world, f'name = "ours"\nurl = "json://127.0.0.1:{chat.port}/"',
            f'name = "theirs"\nurl = "json://127.0.0.1:{dead.port}/"\ndead_after = "1s"',
        )  # fmt: skip
        damage(world)
        wait_until(lambda: any("theirs takes no message" in one["title"] for one in documents(chat.requests)))
        dead.always = answer()
        wait_until(lambda: any("theirs works again" in one["title"] for one in documents(chat.requests)), 60)


def test_no_secret_is_ever_shown(world: World, chat: Receiver) -> None:
    chat.always = answer(403)
    (world.root.parent / "url").write_text(f"json://127.0.0.1:{chat.port}/SECRET-1\n")
    daemon = guard(
        world, f'name = "a"\nurl_file = "{world.root.parent}/url"', f'name = "b"\nurl = "json://127.0.0.1:{chat.port}/SECRET-2"',
        'name = "c"\nurl_env = "CHAT"',
        f'name = "d"\nurl = "json://u:SECRET-4@127.0.0.1:{chat.port}/"\nsecret = "SECRET-5"',
    )  # fmt: skip
    damage(world)
    wait_until(lambda: len(world.json("status")["alerts"]["failing"]) == 4, what="all of them failed")
    shown = [
        world.ctl(*words, check=None)
        for words in (("config", "show"), ("config", "check"), ("alerts", "list"), ("alerts", "test"), ("doctor",), ("status",),
                      ("-v", "-v", "alerts", "test", "a"))
    ]  # fmt: skip
    processes = world.processes()
    assert any("guardd.alerting.delivery" in one for one in processes), processes
    everything = "".join([*daemon.lines, *(one.stdout + one.stderr for one in shown), *processes])
    assert "$CHAT" in everything
    assert "SECRET" not in everything
    config = world.config.read_text()
    for wrong in ('min_severty = "x"', "min_severity = 3", 'quiet_hours = "x"', 'type = "x"', 'url_file = "/x"'):
        world.config.write_text(config + wrong + "\n")
        said = world.ctl("config", "check", check=4).stderr
        assert "SECRET" not in said
        assert f"{world.config}:" in said
    for wrong in ('"SECRET-4@', '"json://u:SECRET#SECRET@', '"json://u:SECRET/SECRET@', '"json://[SECRET@'):
        world.config.write_text(config.replace('"json://u:SECRET-4@', wrong))
        assert "SECRET" not in world.ctl("config", "check", check=4).stderr


def test_testing_the_targets_says_what_they_answered(world: World, chat: Receiver) -> None:
    daemon = guard(world, f'url = "json://127.0.0.1:{chat.port}/hook"')
    assert "HTTP 200" in world.ctl("alerts", "test").stdout
    assert stages(chat.wait(1)) == ["test"]
    chat.always = answer(403, "invalid token")
    assert "HTTP 403: invalid token" in world.ctl("alerts", "test", "json", check=1).stdout
    assert world.json("alerts", "test", check=1) == [{"target": "json", "ok": False, "answer": "HTTP 403: invalid token"}]
    assert "the config has json" in world.ctl("alerts", "test", "nothing", check=2).stderr
    world.config.write_text(world.config.read_text().partition("[[alert]]")[0])
    world.ctl("alerts", "test", check=3)
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.events("config reloaded"))
    damage(world)
    world.wait_settled(daemon)
    assert world.json("alerts", "list") == []


def test_a_delivering_process_that_dies_is_started_again(world: World, chat: Receiver) -> None:
    chat.always = hang
    daemon = guard(world, f'url = "json://127.0.0.1:{chat.port}/hook"')
    damage(world)
    chat.wait(1)
    pid = int((world.state / "alerts.lock").read_text())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: daemon.events("delivering process ended"), what="the log says so")
    chat.always = answer()
    wait_until(lambda: {"opened", "updated"} <= set(stages(chat.requests[1:])), what="all was delivered")
    assert not any("alerting-failed" in one for event in daemon.events("state") for one in event["reasons"]), "once is no state"


def test_a_target_under_a_new_name_hears_of_what_is_open(world: World, chat: Receiver) -> None:
    with Receiver(always=drop) as dead:
        daemon = guard(world, f'name = "old"\nurl = "json://127.0.0.1:{dead.port}/"')
        damage(world)
        world.wait_settled(daemon)
        world.config.write_text(world.config.read_text().replace("old", "new").replace(str(dead.port), str(chat.port)))
        daemon.process.send_signal(signal.SIGHUP)
        chat.wait(1)
        assert stages(chat.requests) == ["opened"]
        wait_until(lambda: world.json("status")["alerts"]["failing"] == [], what="the old name is forgotten")


def test_the_canary_alarms_no_one(world: World, chat: Receiver) -> None:
    guard(world, f'url = "json://127.0.0.1:{chat.port}/hook"')
    assert world.ctl("doctor", "--canary").stdout.count("canary") >= 4
    assert [one["note"] for one in world.incidents()] == ["canary"]
    world.ctl("alerts", "test")
    wait_until(lambda: unassigned(world) == 0, what="all that was queued was looked at")
    assert stages(chat.requests) == ["test"]


def unassigned(world: World) -> int:
    with Store(str(world.state)) as store:
        return len(store.outbox.unassigned())
