"""The demo: it plays the founding incident for real, and leaves nothing behind."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.world import PROGRAMS, World, some_of, wait_until

from guardd.service.demo import FILES


@pytest.fixture
def stage(world: World, tmp_path: Path) -> World:
    (tmp_path / "tmp").mkdir()
    world.env["TMPDIR"] = str(tmp_path / "tmp")
    return world


def left_behind(world: World) -> list[str]:
    folder = world.env["TMPDIR"]
    return [*(str(path) for path in Path(folder).iterdir()), *(one for one in world.processes() if "guardd" in one)]


def play(stage: World, count: int) -> dict[str, Any]:
    """The demo's document, of so many files to damage."""
    if count == FILES:
        whole: dict[str, Any] = stage.json("demo")
        return whole
    smaller = f"import guardd.service.demo as demo; demo.FILES = {count}; from guardd.cli.main import main; main()"
    command = [str(PROGRAMS / "python"), "-c", smaller, "demo", "--json"]
    done = subprocess.run(command, env=stage.env, cwd=stage.root, capture_output=True, text=True, check=True)
    part: dict[str, Any] = json.loads(done.stdout)
    return part


@pytest.mark.parametrize("count", some_of([200, FILES], 200))
def test_the_demo_damages_recognises_tells_and_puts_back(stage: World, count: int) -> None:
    shown = play(stage, count)
    assert shown["restored"]
    assert shown["files"] > count
    assert [one["stage"] for one in shown["messages"]] == ["opened", "updated", "resolved"]
    assert shown["messages"][1]["incident"]["damaged"] == count
    assert set(shown["seconds"]) == {"tree", "ready", "script", "recognised", "alert", "settled", "restore", "all"}
    assert left_behind(stage) == []
    assert not stage.state.exists(), "the user's own store is not touched"


@pytest.mark.parametrize("number", some_of([signal.SIGINT, signal.SIGTERM, signal.SIGHUP], signal.SIGHUP))
def test_the_demo_cleans_up_when_it_is_interrupted(stage: World, number: int) -> None:
    process = subprocess.Popen(
        [PROGRAMS / "guardctl", "demo"], env=stage.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # as in a terminal
    )  # fmt: skip
    wait_until(lambda: list(Path(stage.env["TMPDIR"]).glob("guardd-demo-*/state/guard.db")), what="the demo's guardd runs")
    process.send_signal(number)
    assert process.wait(20) == 130
    wait_until(lambda: left_behind(stage) == [], what="nothing is left behind")
