"""Completion answers what a shell asks, with what the store knows, and never with an error."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from tests.world import PROGRAMS, World

from guardd.cli.main import COMMANDS
from guardd.cli.shells import NAMES
from guardd.timespec import parse, parse_duration


def answer(world: World, shell: str, line: str, cwd: Path | None = None) -> list[str]:
    """What guardctl answers when the cursor stands at the end of this line, as the shell's own script asks it."""
    words = line.split(" ")
    text = " ".join(words) if shell != "bash" else "\n".join(words)
    at = words[-1] if shell == "fish" else str(len(words) - 1)
    asked = {"_GUARDCTL_COMPLETE": f"{shell}_complete", "COMP_WORDS": text, "COMP_CWORD": at}
    done = world.ctl(cwd=cwd, env=asked)
    assert done.stderr == ""
    lines = done.stdout.strip().splitlines()  # a blank line stands for nothing
    if shell == "zsh":
        return [value.replace("\\:", ":") for value in lines[1::3]]
    return [one.partition(",")[2].partition("\t")[0] for one in lines]


@pytest.fixture
def guarded(world: World) -> World:
    world.write("a.py", b"a = 1\n")
    world.ctl("init")
    world.ctl("snapshot", "--label", "before: all, of it")
    world.write("a.py", b"a = 2\n")
    world.ctl("restore", "--since", "snapshot:1", "--yes")
    return world


@pytest.mark.parametrize("shell", NAMES)
def test_each_shell_completes_commands_options_and_values(guarded: World, shell: str) -> None:
    assert answer(guarded, shell, "guardctl ") == list(COMMANDS)
    assert answer(guarded, shell, "guardctl restore --only") == ["--only-damaged"]
    assert {"10m", "1h", "today", "yesterday", "snapshot:1"} <= set(answer(guarded, shell, "guardctl restore --since "))
    assert answer(guarded, shell, "guardctl undo ") == ["1"]


def test_each_kind_of_value_is_completed(guarded: World) -> None:
    assert answer(guarded, "zsh", "guardctl res") == ["restore", "resume"]
    assert answer(guarded, "zsh", "guardctl incidents app") == ["approve"]
    assert answer(guarded, "zsh", "guardctl log --until snap") == ["snapshot:1"]
    assert answer(guarded, "zsh", "guardctl restore --incident ") == ["last"]
    assert answer(guarded, "zsh", "guardctl incidents show l") == ["last"]
    assert answer(guarded, "zsh", "guardctl log --repo ") == [str(guarded.root)]
    assert answer(guarded, "zsh", f"guardctl --repo {guarded.root} show a.py --at s", guarded.root.parent) == ["snapshot:1"]
    assert answer(guarded, "zsh", "guardctl completion ") == list(NAMES)


def test_what_is_proposed_is_what_the_command_takes(guarded: World) -> None:
    tonight = time.mktime((*time.localtime()[:3], 23, 59, 59, 0, 0, -1))  # 14:30 may be still to come today
    assert all(parse(value, int(tonight) * 1_000_000_000) for value in answer(guarded, "zsh", "guardctl log --since "))
    assert all(parse_duration(value) for value in answer(guarded, "zsh", "guardctl pause "))


def test_where_nothing_is_known_nothing_is_said(world: World) -> None:
    for command in ("restore", "log", "diff"):
        assert answer(world, "zsh", f"guardctl {command} --incident ") == ["last"]
    for line in ("guardctl undo ", "guardctl log --repo "):
        assert answer(world, "zsh", line) == []
    for line in ("guardctl nonsense x", "guardctl log --nonsense "):
        answer(world, "zsh", line)
    world.state.mkdir()
    (world.state / "guard.db").write_bytes(b"no database" * 1000)
    assert answer(world, "fish", "guardctl undo ") == []
    world.config.parent.mkdir(parents=True)
    world.config.write_text("[daemon]\nstate_dir = 3\n")
    del world.env["GUARD_STATE_DIR"]
    assert answer(world, "fish", "guardctl log --repo ") == []


def test_bash_completes_after_the_colon_that_splits_its_words(guarded: World) -> None:
    guarded.ctl("snapshot")
    assert answer(guarded, "bash", "guardctl log --since snapshot : 2") == ["2"]
    assert answer(guarded, "bash", "guardctl log --since snapshot :") == ["2", "1"]
    assert answer(guarded, "bash", "guardctl restore --from git :") == ["HEAD", "HEAD~1"]
    assert answer(guarded, "bash", "guardctl log --since snapshot : 2 --unt") == ["--until"]


def test_the_scripts_are_those_of_their_shell_and_complete_in_it(guarded: World) -> None:
    for shell in NAMES:
        script = guarded.ctl("completion", shell).stdout
        assert f"_GUARDCTL_COMPLETE={shell}_complete" in script
        assert guarded.json("completion", shell)["script"] == script
    guarded.ctl("completion", "tcsh", check=2)
    line = (
        'eval "$(guardctl completion bash)"; COMP_WORDS=(guardctl restore --since snap); COMP_CWORD=3; '
        '_guardctl_completion guardctl; echo "${COMPREPLY[@]}"; complete -p guardctl'
    )
    env = {**guarded.env, "PATH": f"{PROGRAMS}:{guarded.env['PATH']}"}
    done = subprocess.run(["bash", "-c", line], env=env, cwd=guarded.root, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "snapshot:1"
    for shell, words in (("zsh", ["-n"]), ("fish", ["--no-execute"])):
        if shutil.which(shell):
            subprocess.run([shell, *words], input=guarded.ctl("completion", shell).stdout, text=True, check=True)


def test_completing_a_command_imports_no_other(guarded: World) -> None:
    script = "import sys; from guardd.cli.main import run\ntry: run([])\nfinally: print(list(sys.modules), file=sys.stderr)"
    env = {**guarded.env, "_GUARDCTL_COMPLETE": "bash_complete", "COMP_WORDS": "guardctl r", "COMP_CWORD": "1"}
    done = subprocess.run(
        [PROGRAMS / "python", "-c", script], env=env, cwd=guarded.root, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["plain,restore", "plain,run", "plain,resume", "plain,replay"]
    loaded = done.stderr
    assert not any(f"guardd.cli.{name}'" in loaded for name in COMMANDS), loaded
    assert "pydantic" not in loaded
