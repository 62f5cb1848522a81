"""docs/scripting.md names the keys of each command's JSON: those, and no others."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.world import World, wait_until

from guardd.cli.main import run

PAGE = Path(__file__).parents[2] / "docs" / "scripting.md"

OF_A_RUN = {"run", "command_exit", "changed", "reasons", "concurrent", "restore_id", "seconds"}
ELSEWHERE = OF_A_RUN | {
    "since", "target", "reason", "path", "from", "until", "exit", "output", "command", "what", "versions", "seq", "run",
    "id", "incident", "pid", "message", "source", "action", "why", "plan",
}  # fmt: skip
"""Keys that are there only when a target is dead, a file left out, a repo paused, a command verified or run, damage back, ..."""

_SOURCE = (
    "def work_{0}(value):\n    first = value + {0}\n    second = first * 2\n    return second\n\n\nTOTAL_{0} = work_{0}(1)\n"
)


def documented() -> dict[str, set[str]]:
    """Command -> the keys in its row."""
    found: dict[str, set[str]] = {}
    for commands, row in re.findall(r"^\| (`[^|]*`) \| (.*) \|$", PAGE.read_text(), re.MULTILINE):
        keys = set(re.findall(r'"(\w+)"', row))
        if keys:
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", commands), keys)
    return found


def keys_of(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield key
            yield from keys_of(value)
    elif isinstance(document, list):
        for one in document:
            yield from keys_of(one)


@pytest.fixture
def damaged(world: World) -> World:
    """A world with an incident of six files, told to a target that is not there."""
    for number in range(6):
        world.write(f"pkg/part{number}.py", _SOURCE.format(number))
    world.configure('[[alert]]\nname = "nowhere"\ntype = "json"\nurl = "http://127.0.0.1:9/"\n')
    daemon = world.start_configured()
    for number in range(6):
        lines = _SOURCE.format(number).splitlines()
        world.write(f"pkg/part{number}.py", "".join(f"# REMOVED_SYNTAX_ERROR: {line}\n" for line in lines))
    world.wait_settled(daemon)
    wait_until(lambda: world.json("alerts", "list"), what="an alert queued")
    return world


@pytest.fixture
def ask(damaged: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., set[str]]:
    """The keys of a command's document; the commands are called in this process, as starting twenty takes its time."""
    for name, value in damaged.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(damaged.root)

    def asked(*words: str, exit_code: int | None = 0) -> set[str]:
        capsys.readouterr()
        code = run([*words, "--json"])
        assert exit_code in (None, code), words
        return set(keys_of(json.loads(capsys.readouterr().out)))

    return asked


def test_the_documented_keys_are_those_of_the_documents(damaged: World, ask: Callable[..., set[str]]) -> None:
    promised = documented()
    incident = promised["incidents list"]
    shown = promised["incidents show"] | incident | promised["alerts list"]
    rows: list[tuple[set[str], list[str]]] = [
        (promised["status"], ["status"]),
        (incident, ["incidents", "list"]),
        (shown, ["incidents", "show", "last"]),
        (promised["log"], ["log"]),
        (promised["show"], ["show", "pkg/part1.py"]),
        (promised["diff"], ["diff", "--incident", "1"]),
        (promised["alerts list"], ["alerts", "list"]),
        (promised["replay"] | incident, ["replay", "--since", "1h"]),
        (promised["restore"], ["restore", "--incident", "1", "--yes"]),
        (promised["undo"], ["undo", "--yes"]),
        (promised["export"], ["export", str(damaged.root.parent / "out"), "--at", "0s"]),
        (promised["pause"], ["pause", "1m", "--reason", "x"]),
        (promised["status"], ["status"]),
        (promised["resume"], ["resume"]),
        (promised["fsck"], ["fsck"]),
        (promised["gc"], ["gc"]),
        (promised["purge"], ["purge", "pkg/part5.py", "--yes"]),
        (promised["init"], ["init"]),
        (promised["config check"], ["config", "check"]),
        (promised["config show"], ["config", "show"]),
    ]
    for wanted, command in rows:
        found = ask(*command)
        assert found - wanted == set(), f"{command}: not in docs/scripting.md"
        assert wanted - found - ELSEWHERE == set(), f"{command}: in docs/scripting.md only"
    damaged.write("pkg/part4.py.bak", "x = 1\n")
    damaged.write("pkg/part4.py_backup", "x = 1\n")
    (damaged.root / "pkg" / "link.py.bak").symlink_to("part4.py")
    assert ask("adopt") | {"unchanged"} == promised["adopt"]
    assert ask("adopt", "--dry-run") >= {"unchanged"}
    damaged.write("pkg/part3.py", "<<<<<<< ours\nx = 1\n=======\nx = 2\n>>>>>>> theirs\n")
    assert ask("check", exit_code=1) == promised["check"]
    assert ask("restore", "--best", "--dry-run") - promised["restore"] == set()
    bulk = ("run", "--verify", "true", "--json", "--", "sh", "-c", "echo 'x = (' > pkg/part1.py")
    kept = set(keys_of(json.loads(damaged.ctl(*bulk, check=1).stdout)))
    assert kept | {"exit", "output", "command"} == promised["run"]
    assert ask("incidents", "show", "last") >= OF_A_RUN
    assert ask("doctor", exit_code=None) == promised["doctor"]
    assert ask("alerts", "test", exit_code=1) == promised["alerts test"]
