"""Hooks take a snapshot before agents and git act, and are never in anyone's way."""

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.world import PROGRAMS, World, snapshot

from guardd.hooks.git import HOOKS
from guardd.hooks.pre_commit import document, installed, removed


@pytest.fixture
def guarded(world: World) -> World:
    world.write("a.py", b"a = 1\n")
    world.env["HOME"] = str(world.root.parent)
    for who in ("AUTHOR", "COMMITTER"):
        world.env |= {f"GIT_{who}_NAME": "someone", f"GIT_{who}_EMAIL": "someone@example.org"}
    world.ctl("init")
    world.ctl("log")
    return world


def git(world: World, *words: str, cwd: Path | None = None, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *words], cwd=cwd or world.root, env=world.env, capture_output=True, text=True,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
    return done


def labels(world: World) -> list[str]:
    return [one["label"] for one in world.json("snapshot", "--list")]


def json_at(world: World, folder: Path, *words: str) -> Any:
    return json.loads(world.ctl(*words, "--json", cwd=folder).stdout)


def call(
    world: World, told: object, *options: str, cwd: Path | None = None, text: str | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the hook as Claude Code does: JSON on stdin."""
    given = (json.dumps(told) if text is None else text).encode()
    return world.ctl("hook", "claude-code", "--run", "--timeout", "60", *options, cwd=cwd, given=given, check=None)


def told(world: World, tool: str, cwd: Path | None = None, **given: Any) -> dict[str, Any]:
    return {
        "session_id": "abc", "transcript_path": "/tmp/t.jsonl", "cwd": str(cwd or world.root), "permission_mode": "default",
        "hook_event_name": "PreToolUse", "tool_name": tool, "tool_input": given,
    }  # fmt: skip


# -- Claude Code ------------------------------------------------------------------------------------------------


def test_what_an_agent_did_is_taken_back_to_right_before_its_call(guarded: World) -> None:
    guarded.write("a.py", b"a = 'not captured yet'\n")
    before = snapshot(guarded.root)
    done = call(guarded, told(guarded, "Bash", command="python fix.py --all\nrm x", description="fix"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    guarded.write("a.py", b"# REMOVED_SYNTAX_ERROR\n")
    assert labels(guarded) == ["claude-code: Bash: python fix.py --all\\nrm x"]
    guarded.ctl("restore", "--since", "snapshot:1", "--yes")
    assert snapshot(guarded.root) == before


def test_labels_say_what_is_about_to_happen_and_nothing_else(guarded: World) -> None:
    calls: list[tuple[str, Any, str]] = [
        ("Write", {"file_path": "ROOT/src/a.py", "content": "x"}, "claude-code: Write: src/a.py"),
        ("NotebookEdit", {"notebook_path": "ROOT/n.ipynb"}, "claude-code: NotebookEdit: n.ipynb"),
        ("mcp__fs__move", {"from": "ü", "to": 2}, 'claude-code: mcp__fs__move: {"from": "ü", "to": 2}'),
        ("Bash", {"command": "echo \x1b]0;x\x07 \udc80 \ud800"}, "claude-code: Bash: echo \\x1b]0;x\\x07 \\x80 \\ud800"),
        ("Bash", {"command": "x" * 10_000}, "claude-code: Bash: " + "x" * 180 + "…"),
        ("Bash", ["no", "object"], "claude-code: Bash"),
    ]
    for tool, given, _ in calls:
        document = told(guarded, tool) | {"tool_input": json.loads(json.dumps(given).replace("ROOT", str(guarded.root)))}
        assert call(guarded, document).returncode == 0
    assert labels(guarded)[::-1] == [label for _, _, label in calls]


def test_the_repo_of_a_file_outside_of_the_working_directory_is_taken_too(guarded: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other")
    other.env = guarded.env
    other.write("b.py")
    guarded.ctl("init", str(other.root))
    call(guarded, told(guarded, "Write", file_path=str(other.root / "new.py")))
    assert labels(other) == ["claude-code: Write: new.py"]
    assert len(labels(guarded)) == 1
    call(guarded, told(guarded, "Bash", cwd=guarded.root.parent, command="ls"))  # an agent above a repo writes into it too
    assert len(labels(guarded)) == 2


def test_whatever_stdin_says_a_snapshot_is_taken_and_nothing_is_stopped(guarded: World) -> None:
    texts = ("", "{", "[]", '{"cwd": 3, "tool_input": 7}', "[" * 100_000, '{"cwd": "\\u0000"}', "\x00")
    for text in texts:
        done = call(guarded, None, text=text)
        assert done.returncode == 0
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 1
    assert len(labels(guarded)) == len(texts)


def test_outside_of_guarded_repos_nothing_is_said(guarded: World, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    done = call(guarded, told(guarded, "Bash", cwd=tmp_path / "elsewhere", command="ls"), "--strict", cwd=tmp_path / "elsewhere")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    guarded.env["GUARD_STATE_DIR"] = str(tmp_path / "none")
    done = call(guarded, told(guarded, "Bash", command="ls"), "--strict")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_store_that_cannot_be_used_stops_no_tool(guarded: World) -> None:
    (guarded.state / "guard.db").write_bytes(b"no database" * 1000)
    done = call(guarded, told(guarded, "Bash", command="ls"))
    assert done.returncode == 0
    assert done.stderr.startswith("guardctl hook: no snapshot: ")
    assert len(done.stderr.splitlines()) == 1
    assert call(guarded, told(guarded, "Bash", command="ls"), "--strict").returncode == 1


def test_a_store_in_use_is_not_waited_for(guarded: World) -> None:
    guarded.write("a.py", b"a = 2\n")
    other = apsw.Connection(str(guarded.state / "guard.db"))
    other.execute("BEGIN IMMEDIATE")
    done = call(guarded, told(guarded, "Bash", command="ls"), "--timeout", "0.7")
    assert done.returncode == 0
    assert done.stderr == "guardctl hook: no snapshot within 0.7 s; guardd keeps what changes all the same\n"
    assert call(guarded, told(guarded, "Bash", command="ls"), "--timeout", "0.7", "--strict").returncode == 1
    other.execute("ROLLBACK")
    other.close()
    assert labels(guarded) == []


def test_settings_that_are_printed_call_the_program_that_printed_them(guarded: World) -> None:
    settings = json.loads(guarded.ctl("hook", "claude-code").stdout)
    [group] = settings["hooks"]["PreToolUse"]
    for tool in ("Bash", "Write", "Edit", "MultiEdit", "NotebookEdit", "mcp__"):
        assert tool in group["matcher"]
    [hook] = group["hooks"]
    done = subprocess.run(
        ["sh", "-c", hook["command"]], cwd=guarded.root, env={**guarded.env, "PATH": "/usr/bin:/bin"}, text=True,
        input=json.dumps(told(guarded, "Bash", command="ls")), capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert labels(guarded) == ["claude-code: Bash: ls"]
    assert not (guarded.root / ".claude").exists()


def test_installing_keeps_all_other_settings_and_is_done_once(guarded: World) -> None:
    path = guarded.root / ".claude" / "settings.json"
    path.parent.mkdir()
    mine = {"model": "x", "hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "check ü"}]}],
            "Stop": [{"hooks": []}]}, "permissions": {"allow": ["Bash(ls:*)"]}}  # fmt: skip
    path.write_text(json.dumps(mine, indent=4, ensure_ascii=False) + "\n")
    path.chmod(0o640)
    before = path.read_bytes()
    assert guarded.json("hook", "claude-code", "--install")["changed"] is True
    after = path.read_bytes()
    found = json.loads(after)
    assert list(found) == list(mine)
    assert found["hooks"]["PreToolUse"][0] == mine["hooks"]["PreToolUse"][0]  # type: ignore[index]  # a literal of many kinds
    assert len(found["hooks"]["PreToolUse"]) == 2
    assert b'\n    "model"' in after
    assert path.stat().st_mode & 0o777 == 0o640
    assert guarded.json("hook", "claude-code", "--install")["changed"] is False
    assert path.read_bytes() == after
    guarded.ctl("hook", "claude-code", "--uninstall")
    assert path.read_bytes() == before
    assert guarded.json("hook", "claude-code", "--uninstall")["changed"] is False
    assert [one.name for one in path.parent.iterdir()] == ["settings.json"]


def test_an_older_hook_of_ours_is_replaced_and_a_file_of_nothing_else_goes_again(guarded: World) -> None:
    path = guarded.root / ".claude" / "settings.json"
    guarded.ctl("hook", "claude-code", "--install")
    text = path.read_text()
    path.write_text(text.replace(str(PROGRAMS), "/opt/old"))
    guarded.ctl("hook", "claude-code", "--install")
    assert path.read_text() == text
    guarded.ctl("hook", "claude-code", "--uninstall")
    assert not path.exists()


def test_the_users_own_settings_may_be_a_link_and_stay_one(guarded: World) -> None:
    home = guarded.root.parent
    (home / ".claude").mkdir()
    (home / "dotfiles.json").write_text("{}")
    (home / ".claude" / "settings.json").symlink_to(home / "dotfiles.json")
    guarded.ctl("hook", "claude-code", "--install", "--user", cwd=home)
    assert (home / ".claude" / "settings.json").is_symlink()
    assert "--run" in (home / "dotfiles.json").read_text()
    assert not (guarded.root / ".claude").exists()


def test_settings_that_cannot_be_kept_whole_are_refused_in_one_line(guarded: World) -> None:
    path = guarded.root / ".claude" / "settings.json"
    path.parent.mkdir()
    for content in (
        b'{"a": 1, // comment\n}', b"[]", b'{"hooks": []}', b'{"hooks": {"PreToolUse": {}}}', b'{"a": 1, "a": 2}', b"[" * 100_000,
        b'{"a": NaN}', b"\xff\xfe",
    ):  # fmt: skip
        path.write_bytes(content)
        done = guarded.ctl("hook", "claude-code", "--install", check=2)
        assert str(path) in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert path.read_bytes() == content


def test_a_link_out_of_the_repo_is_not_followed(guarded: World, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (guarded.root / ".claude").symlink_to(tmp_path / "outside")
    assert "leads out" in guarded.ctl("hook", "claude-code", "--install", check=2).stderr
    assert list((tmp_path / "outside").iterdir()) == []


def test_one_thing_at_a_time(guarded: World, tmp_path: Path) -> None:
    for kind in ("claude-code", "git", "pre-commit"):
        guarded.ctl("hook", kind, "--install", "--uninstall", check=2)
        guarded.ctl("hook", kind, "--install", cwd=tmp_path, check=2)
    guarded.ctl("hook", "git", "--instal", check=2)


# -- git --------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_git(guarded: World) -> World:
    git(guarded, "init", "-q", "-b", "main")
    git(guarded, "add", ".")
    git(guarded, "commit", "-q", "-m", "one")
    return guarded


def test_git_has_a_snapshot_taken_before_a_commit_a_merge_and_a_rebase(in_git: World) -> None:
    assert in_git.json("hook", "git", "--install")["installed"] == list(HOOKS)
    git(in_git, "checkout", "-q", "-b", "topic")
    in_git.write("b.py")
    git(in_git, "add", ".")
    git(in_git, "commit", "-q", "-m", "two")
    git(in_git, "checkout", "-q", "main")
    in_git.write("c.py")
    git(in_git, "add", ".")
    git(in_git, "commit", "-q", "-m", "three")
    git(in_git, "checkout", "-q", "topic")
    git(in_git, "rebase", "-q", "main")
    git(in_git, "checkout", "-q", "-b", "other", "main~1")
    git(in_git, "merge", "-q", "--no-ff", "--no-edit", "topic")
    found = labels(in_git)
    assert found[::-1] == ["git: pre-commit", "git: pre-commit", "git: pre-rebase main", "git: pre-merge-commit"]
    number = next(one["id"] for one in in_git.json("snapshot", "--list") if "pre-rebase" in one["label"])
    in_git.ctl("restore", "--at", f"snapshot:{number}", "--yes")
    assert {path for path in snapshot(in_git.root) if path.endswith(".py")} == {"a.py", "b.py"}


def test_git_goes_on_whatever_becomes_of_guard(in_git: World) -> None:
    in_git.ctl("hook", "git", "--install")
    (in_git.state / "guard.db").write_bytes(b"no database" * 1000)
    git(in_git, "commit", "-q", "--allow-empty", "-m", "two")
    hook = in_git.root / ".git" / "hooks" / "pre-commit"
    hook.write_text(hook.read_text().replace(str(PROGRAMS), "/not/there"))
    git(in_git, "commit", "-q", "--allow-empty", "-m", "three")
    assert git(in_git, "rev-list", "--count", "HEAD").stdout == "3\n"


def test_a_hook_of_someone_elses_is_never_touched(in_git: World) -> None:
    folder = in_git.root / ".git" / "hooks"
    theirs = {"pre-commit": "#!/bin/sh\nexit 0\n", "pre-rebase": "#!/bin/sh\n# what it does\nexec other\n"}
    for name, text in theirs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    done = in_git.ctl("hook", "git", "--install", check=1)
    assert "pre-merge-commit is installed now" in done.stdout
    lines = [line.partition("add this line to it: ")[2] for line in done.stderr.splitlines()]
    assert len(lines) == 2
    assert {name: (folder / name).read_text() for name in theirs} == theirs
    (folder / "pre-commit").write_text(f"#!/bin/sh\n{lines[0]}\nexit 0\n")
    assert [Path(one["path"]).name for one in in_git.json("hook", "git", "--install", check=1)["left"]] == ["pre-rebase"]
    git(in_git, "commit", "-q", "--allow-empty", "-m", "two")
    assert labels(in_git) == ["git: pre-commit"]
    assert "by hand" in in_git.ctl("hook", "git", "--uninstall", check=1).stderr
    assert (folder / "pre-rebase").read_text() == theirs["pre-rebase"]
    assert not (folder / "pre-merge-commit").exists()


def test_installing_twice_changes_nothing_and_mends_what_is_outdated(in_git: World) -> None:
    in_git.ctl("hook", "git", "--install")
    hook = in_git.root / ".git" / "hooks" / "pre-commit"
    text = hook.read_text()
    assert in_git.json("hook", "git", "--install")["installed"] == []
    hook.write_text(text.replace(str(PROGRAMS), "/opt/old"))
    hook.chmod(0o644)
    (hook.parent / "pre-rebase").chmod(0o644)
    assert in_git.json("hook", "git", "--install")["installed"] == ["pre-commit", "pre-rebase"]
    assert hook.read_text() == text
    assert os.access(hook, os.X_OK)
    assert in_git.json("hook", "git", "--uninstall")["removed"] == list(HOOKS)
    assert not hook.exists()
    assert "there was none" in in_git.ctl("hook", "git", "--uninstall").stdout


def test_worktrees_submodules_and_a_hooks_path_are_found_as_git_finds_them(in_git: World, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    git(in_git, "worktree", "add", "-q", str(tree))
    in_git.ctl("init", str(tree))
    assert json_at(in_git, tree, "hook", "git", "--install")["folder"] == str(in_git.root / ".git" / "hooks")
    git(in_git, "commit", "-q", "--allow-empty", "-m", "in the tree", cwd=tree)
    assert [one["label"] for one in json.loads(in_git.ctl("snapshot", "--list", "--json", cwd=tree).stdout)] == [
        "git: pre-commit"
    ]
    assert labels(in_git) == []
    source = tmp_path / "source"
    git(in_git, "clone", "-q", str(in_git.root), str(source))
    git(in_git, "submodule", "add", "-q", str(source), "sub")
    sub = in_git.root / "sub"
    hooks = in_git.root / ".git" / "modules" / "sub" / "hooks"
    assert json_at(in_git, sub, "hook", "git", "--install")["folder"] == str(hooks)
    git(in_git, "commit", "-q", "--allow-empty", "-m", "in the submodule", cwd=sub)
    assert labels(in_git) == ["git: pre-commit"]
    git(in_git, "config", "core.hooksPath", ".githooks")
    assert in_git.json("hook", "git", "--install")["folder"] == str(in_git.root / ".githooks")
    git(in_git, "commit", "-q", "--allow-empty", "-m", "from the hooks path")
    assert len(labels(in_git)) == 2
    git(in_git, "config", "core.hooksPath", str(tmp_path / "shared"))
    assert "other repos share" in in_git.ctl("hook", "git", "--install", check=2).stderr
    assert not (tmp_path / "shared").exists()


def test_a_repo_below_the_top_of_the_work_tree_is_captured_too(world: World) -> None:
    world.write("back/a.py")
    git(world, "init", "-q")
    world.ctl("init", "back")
    world.json("hook", "git", "--install", "--repo", str(world.root / "back"))
    done = subprocess.run([world.root / ".git/hooks/pre-commit"], cwd=world.root, env=world.env, check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(json_at(world, world.root / "back", "snapshot", "--list")) == 1


def test_without_git_the_hooks_say_what_to_do(guarded: World) -> None:
    assert "git init" in guarded.ctl("hook", "git", "--install", check=2).stderr
    assert "pre-rebase" in guarded.ctl("hook", "git").stdout
    guarded.env["PATH"] = "/nonexistent"
    assert "guardctl snapshot" in guarded.ctl("hook", "git", "--install", check=2).stderr


# -- pre-commit -------------------------------------------------------------------------------------------------


def test_the_entry_is_first_of_the_repos_and_leaves_no_trace_when_taken_out(in_git: World) -> None:
    path = in_git.root / ".pre-commit-config.yaml"
    text = (
        "# ours\ndefault_stages: [pre-commit]\nrepos:  # in order\n\n  # formatters\n  - repo: local\n    hooks:\n"
        "      - {id: x, name: x, entry: x, language: system}\nfail_fast: false\n"
    )
    path.write_text(text)
    assert in_git.json("hook", "pre-commit", "--install")["changed"] is True
    added = path.read_text()
    assert added.index("guard-snapshot") < added.index("id: x")
    assert all(line in added.splitlines() for line in text.splitlines())
    assert in_git.json("hook", "pre-commit", "--install")["changed"] is False
    in_git.ctl("hook", "pre-commit", "--uninstall")
    assert path.read_text() == text


def test_a_file_of_our_own_is_made_and_goes_again(in_git: World) -> None:
    path = in_git.root / ".pre-commit-config.yaml"
    printed = in_git.ctl("hook", "pre-commit").stdout
    in_git.ctl("hook", "pre-commit", "--install")
    assert path.read_text() == printed
    assert in_git.json("hook", "pre-commit", "--install")["changed"] is False
    [line] = [line for line in printed.splitlines() if "entry:" in line]
    words = shlex.split(json.loads(line.partition("entry: ")[2]))  # as pre-commit splits it
    subprocess.run(words, cwd=in_git.root, env=in_git.env, check=True)
    assert labels(in_git) == ["pre-commit"]
    in_git.ctl("hook", "pre-commit", "--uninstall")
    assert not path.exists()


@pytest.mark.parametrize(
    "words",
    [["guardctl"], ["/not here/guardctl", "--config", "/it's; $HOME"], ["/none/python", "-m", "guardd.cli"], ["false"]],
    ids=["not on the PATH", "not in its place", "as a module", "another guardctl"],
)  # fmt: skip
def test_an_entry_that_is_committed_stops_no_one(tmp_path: Path, words: list[str]) -> None:
    command = shlex.join(words)
    [line] = [line for line in document(command).splitlines() if "entry:" in line]
    entry = shlex.split(json.loads(line.partition("entry: ")[2]))
    done = subprocess.run(entry, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, check=False, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    for text in ("", "repos:\n- repo: x\n  hooks: []\n"):
        added = installed(text, command).text or ""
        assert installed(added, "other") == installed(text, "other"), "it is ours to replace"
        assert (removed(added).text or "") == text


def test_a_hook_keeps_no_tool_from_running_where_guardctl_is_missing_or_does_not_know_it(guarded: World) -> None:
    hook = json.loads(guarded.ctl("hook", "claude-code").stdout)["hooks"]["PreToolUse"][0]["hooks"][0]["command"]
    for command in (hook.replace(str(PROGRAMS), "/opt/not here"), hook.replace("hook claude-code", "hook no-such")):
        assert command != hook
        done = subprocess.run(["sh", "-c", command], cwd=guarded.root, env=guarded.env, check=False, capture_output=True)
        assert done.returncode == 0


def test_a_file_that_would_take_more_than_adding_lines_is_left_alone(in_git: World) -> None:
    path = in_git.root / ".pre-commit-config.yaml"
    for text in ("repos: []\n", "{repos: [{repo: local}]}\n", "repos:\n- {repo: x}\n---\na: 1\n---\n", "repos:\n", "a: 1\n"):
        path.write_text(text)
        assert "by hand" in in_git.ctl("hook", "pre-commit", "--install", check=2).stderr
        assert path.read_text() == text


def test_an_entry_that_was_changed_by_hand_stays(in_git: World) -> None:
    path = in_git.root / ".pre-commit-config.yaml"
    in_git.ctl("hook", "pre-commit", "--install")
    path.write_text(path.read_text().replace("always_run: true", "always_run: false"))
    text = path.read_text()
    assert in_git.json("hook", "pre-commit", "--install")["changed"] is False
    assert "by hand" in in_git.ctl("hook", "pre-commit", "--uninstall", check=2).stderr
    assert path.read_text() == text


def test_a_guardctl_on_the_path_is_called_by_its_name(guarded: World, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "guardctl").symlink_to(PROGRAMS / "guardctl")
    guarded.env["PATH"] = f"{folder}:{os.environ['PATH']}"
    assert '"command": "guardctl hook claude-code --run || :"' in guarded.ctl("hook", "claude-code").stdout
    guarded.env |= {"VIRTUAL_ENV": str(PROGRAMS.parent), "PATH": f"{PROGRAMS}:/usr/bin:/bin"}
    assert f'"command": "{PROGRAMS}/guardctl hook' in guarded.ctl("hook", "claude-code").stdout
    module = subprocess.run(
        [PROGRAMS / "python", "-m", "guardd.cli", "hook", "claude-code"],
        env=guarded.env,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "-m guardd.cli hook claude-code --run" in module
