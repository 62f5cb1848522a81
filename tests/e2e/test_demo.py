"""The demo: it plays the founding incident for real, and leaves nothing behind."""

import signal
import subprocess
from pathlib import Path

import pytest
from tests.world import PROGRAMS, World, some_of, wait_until


@pytest.fixture
def stage(world: World, tmp_path: Path) -> World:
    (tmp_path / "tmp").mkdir()
    world.env["TMPDIR"] = str(tmp_path / "tmp")
    return world


def left_behind(world: World) -> list[str]:
    folder = world.env["TMPDIR"]
    return [*(str(path) for path in Path(folder).iterdir()), *(one for one in world.processes() if "guardd" in one)]


def test_the_demo_damages_recognises_tells_and_puts_back(stage: World) -> None:
    shown = stage.json("demo")
    assert shown["restored"]
    assert shown["files"] > 1_381
    assert [one["stage"] for one in shown["messages"]] == ["opened", "updated", "resolved"]
    assert shown["messages"][1]["incident"]["damaged"] == 1_381
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
