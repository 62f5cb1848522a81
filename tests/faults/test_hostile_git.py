"""A hostile `.git`: none of the programs that it names is run, and nothing in it makes guardd or guardctl wait for ever."""

import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from guardd import gitcommand
from guardd.errors import GuardError, UsageError
from guardd.hooks.git import find_places
from guardd.recovery.sources import git_files
from guardd.rescue.history import GitHistory
from tests.world import World, wait_until

RUNS = "nothing of the repo runs"
LINE = "bad input gets one clear line"
WHOLE = b"def f():\n    return 1\n\n\nx = f()\n"
DAMAGED = b"# REMOVED_SYNTAX_ERROR: def f():\n"
HOOKS = (
    "applypatch-msg", "pre-applypatch", "post-applypatch", "pre-commit", "pre-merge-commit", "prepare-commit-msg", "commit-msg",
    "post-commit", "pre-rebase", "post-checkout", "post-merge", "pre-push", "reference-transaction", "push-to-checkout",
    "pre-auto-gc", "post-rewrite", "sendemail-validate", "fsmonitor-watchman", "post-index-change",
)  # fmt: skip
PLUMBING = ("rev-parse", "ls-tree", "ls-files", "cat-file", "log", "rev-list", "diff-index", "merge-file", "config", "status")


def git(root: Path, *words: str, env: dict[str, str] | None = None) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always", *words]
    env = {**os.environ, **(env or {})}
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True, env=env).stdout.strip()


def committed(world: World, count: int = 6) -> None:
    """A repo with a submodule and a work tree of its own inside, two commits, and a conflict-free index."""
    git(world.root, "init", "-q", "-b", "main")
    for number in range(count):
        world.write(f"m{number}.py", WHOLE)
    world.write(".gitattributes", "*.py filter=trap diff=trap merge=trap\n")
    git(world.root, "add", ".")
    git(world.root, "commit", "-qm", "first")
    other = world.root.parent / "other"
    other.mkdir()
    git(other, "init", "-q", "-b", "main")
    (other / "s.py").write_bytes(WHOLE)
    git(other, "add", ".")
    git(other, "commit", "-qm", "first")
    git(world.root, "submodule", "--quiet", "add", str(other), "sub")
    git(world.root, "worktree", "add", "-q", "-b", "side", "tree")
    world.write(".git/info/exclude", "tree/\n")
    world.write("m0.py", WHOLE + b"y = 2\n")
    git(world.root, "add", "m0.py", "sub", ".gitmodules")
    git(world.root, "commit", "-qm", "second")


class Trap:
    """A program that leaves a mark, named wherever a git config may name one."""

    def __init__(self, world: World) -> None:
        self.marks = world.root.parent / "marks"
        self.marks.mkdir()
        self.script = world.root.parent / "trap"
        self.script.write_text(f'#!/bin/sh\ntouch {shlex.quote(str(self.marks))}/"$(basename "$0")-${{1##*/}}"\ncat\n')
        self.script.chmod(0o755)

    @property
    def sprung(self) -> list[str]:
        return sorted(os.listdir(self.marks))

    def set(self, git_dir: Path) -> None:
        """Into the config and the hooks of this git directory, of the config that it includes, and of its work tree."""
        hooks = git_dir / "hooks"
        hooks.mkdir(exist_ok=True)
        for name in HOOKS:
            (hooks / name).unlink(missing_ok=True)
            (hooks / name).symlink_to(self.script)
        included = git_dir / "included"
        included.write_text(self._settings("included"))
        conditional = git_dir / "conditional"
        conditional.write_text(self._settings("conditional"))
        config = git_dir / "config"
        with config.open("a") as file:
            file.write(self._settings("config"))
            file.write(f'[include]\n\tpath = {included}\n[includeIf "gitdir:/"]\n\tpath = {conditional}\n')
            file.write("[extensions]\n\tworktreeConfig = true\n")
        (git_dir / "config.worktree").write_text(self._settings("worktree"))

    def _settings(self, name: str) -> str:
        trap = f'"{self.script} {name}'
        aliases = "".join(f'\t{word} = "!{self.script} {name}-alias-{word}"\n' for word in PLUMBING)
        return f"""
[core]
\tfsmonitor = {trap}-fsmonitor"
\tpager = {trap}-pager"
\teditor = {trap}-editor"
\tsshCommand = {trap}-ssh"
\tgitProxy = {trap}-proxy"
\taskPass = {trap}-askpass"
\talternateRefsCommand = {trap}-alternates"
[diff]
\texternal = {trap}-external"
[diff "trap"]
\tcommand = {trap}-command"
\ttextconv = {trap}-textconv"
[merge "trap"]
\tdriver = {trap}-merge"
[filter "trap"]
\tclean = {trap}-clean"
\tsmudge = {trap}-smudge"
\tprocess = {trap}-process"
\trequired = true
[log]
\tshowSignature = true
[gpg]
\tprogram = {self.script}
[pager]
\tlog = {trap}-pager-log"
[credential]
\thelper = "!{self.script} {name}-credential"
[uploadpack]
\tpackObjectsHook = {trap}-pack"
[alias]
{aliases}"""


def git_dirs(world: World) -> list[Path]:
    dirs = [world.root / ".git", world.root / ".git/modules/sub", world.root / ".git/worktrees/tree"]
    assert all((one / "HEAD").exists() for one in dirs)
    return dirs


COMMANDS: list[list[str]] = [
    ["status"], ["doctor"], ["log"], ["log", "m1.py"], ["show", "m1.py"], ["diff", "--since", "1h"], ["check"],
    ["check", "--staged"], ["check", "--against", "HEAD"], ["check", "--against", "HEAD~1"], ["check", "--format", "sarif"],
    ["snapshot"], ["snapshot", "--list"], ["adopt", "--dry-run"], ["incidents", "list"], ["replay", "--since", "1h"],
    ["hook", "git"], ["hook", "git", "--run", "pre-commit"], ["hook", "git", "--uninstall"], ["hook", "git", "--install"],
    ["hook", "pre-commit"], ["hook", "pre-commit", "--install"], ["hook", "pre-commit", "--run"],
    ["hook", "claude-code", "--install"], ["hook", "claude-code", "--run"], ["pause", "1s"], ["resume"], ["gc"], ["fsck"],
    ["restore", "--best", "--dry-run"], ["restore", "--best", "--yes"],
    ["restore", "m2.py", "--from", "git:HEAD", "--dry-run", "--diff"],
    ["restore", "m2.py", "--from", "git:HEAD~1", "--yes"], ["restore", "m0.py", "--since", "1h", "--merge", "--yes"],
    ["restore", "sub", "--from", "git:HEAD", "--dry-run"], ["undo", "--yes"], ["run", "--", "true"],
    ["check", "--repo", "{sub}", "--staged"],
    ["check", "--repo", "{tree}", "--against", "HEAD"], ["check", "--repo", "{sub}", "--against", "HEAD"],
]  # fmt: skip
"""Every command that may look at a git repo, with what makes it do so."""

EVERYDAY = (["check", "--staged"], ["check", "--against", "HEAD"], ["restore", "--best", "--yes"], ["hook", "git", "--install"])


@pytest.mark.promise(
    RUNS, "a .git that names a program wherever git takes one, its submodule and its work tree too: all commands"
)
@pytest.mark.parametrize("commands", [pytest.param(COMMANDS, marks=pytest.mark.faults), EVERYDAY], ids=["all", "some"])
def test_no_program_that_a_repo_names_is_run_by_guardctl(
    world: World, commands: list[list[str]], record_property: Callable[[str, object], None]
) -> None:
    committed(world)
    world.ctl("init")
    world.ctl("log")
    world.write("m1.py", DAMAGED)
    world.write("m2.py", DAMAGED)
    trap = Trap(world)
    for one in git_dirs(world):
        trap.set(one)
    subprocess.run(["git", "status"], cwd=world.root, capture_output=True, check=False)
    assert trap.sprung, "a git that is not ours falls into it"
    for mark in trap.sprung:
        (trap.marks / mark).unlink()
    refused = {}
    for words in commands:
        named = [word.format(sub=world.root / "sub", tree=world.root / "tree") for word in words]
        done = world.ctl(*named, check=None, given=b"{}")
        assert trap.sprung == [], words
        assert "Traceback" not in done.stderr, (words, done.stderr)
        if done.returncode not in (0, 1, 3):
            refused[" ".join(words)] = done.stderr
    assert refused == {}
    record_property("faults", len(commands))


@pytest.mark.faults
@pytest.mark.promise(RUNS, "the daemon through an edit, a checkout and damage beside a hostile .git")
def test_no_program_that_a_repo_names_is_run_by_the_daemon(world: World) -> None:
    committed(world)
    world.configure('[response]\nauto_restore = "all"\n')
    trap = Trap(world)
    settings = {one: (one / "config").read_text() for one in git_dirs(world) if (one / "config").exists()}
    for one in git_dirs(world):
        trap.set(one)
    daemon = world.start_configured()
    world.write("m3.py", WHOLE + b"z = 3\n")
    world.wait_captured("m3.py", WHOLE + b"z = 3\n")
    env = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.hooksPath", "GIT_CONFIG_VALUE_0": "/dev/null"}
    armed = {one: (one / "config").read_text() for one in settings}
    for one, text in settings.items():  # what people's own git runs is not ours to judge
        (one / "config").write_text(text)
    git(world.root, "stash", "-q", env=env)
    git(world.root, "checkout", "-q", "HEAD~1", env=env)
    for one, text in armed.items():
        (one / "config").write_text(text)
    world.wait_captured("m0.py", WHOLE)
    for number in range(6):
        world.write(f"m{number}.py", DAMAGED)
    wait_until(lambda: (world.root / "m5.py").read_bytes() == WHOLE, what="the damage is put back")
    assert trap.sprung == []
    assert daemon.stop() == 0
    assert trap.sprung == []


@pytest.mark.promise(LINE, "a FIFO in the place of a file of git's that git opens")
@pytest.mark.parametrize(
    "place",
    [
        p if p == "HEAD" else pytest.param(p, marks=pytest.mark.faults)
        for p in ("HEAD", "index", "config", "packed-refs", "shallow")
    ],
)
def test_a_fifo_among_gits_files_is_told_in_one_line(world: World, place: str) -> None:
    committed(world, 2)
    world.ctl("init")
    world.ctl("log")
    target = world.root / ".git" / place
    target.unlink(missing_ok=True)
    os.mkfifo(target)
    began = time.monotonic()
    for words in (["check", "--staged"], ["restore", "m0.py", "--from", "git:HEAD", "--yes"], ["hook", "git", "--install"]):
        done = world.ctl(*words, check=2)
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "no regular file" in done.stderr
    for words in (["check"], ["log"], ["restore", "--best", "--dry-run"], ["status"]):
        done = world.ctl(*words, check=None)
        assert done.returncode in (0, 1, 3), (words, done.stderr)
    assert time.monotonic() - began < 40, "nothing waited for the FIFO"


@pytest.mark.faults
@pytest.mark.promise(LINE, "git hangs: at a FIFO that its config includes, and at one among its objects")
def test_a_git_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitcommand, "LIMIT_S", 0.5)
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_bytes(b"a = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    content = git(tmp_path, "rev-parse", "HEAD:a.py")
    loose = tmp_path / ".git/objects" / content[:2] / content[2:]
    loose.unlink()
    os.mkfifo(loose)
    with pytest.raises(GuardError, match="git does not answer in"):
        list(git_files(str(tmp_path), "HEAD", lambda path: True))
    with GitHistory(str(tmp_path)) as history:
        (found,) = history.walk({"a.py"}).contents["a.py"]
        with pytest.raises(GuardError, match="git does not answer in"):
            history.read(found.object_id)
    os.mkfifo(tmp_path / "included")
    git(tmp_path, "config", "include.path", str(tmp_path / "included"))
    with pytest.raises(UsageError, match="git does not answer in"):
        find_places(str(tmp_path))
    with GitHistory(str(tmp_path)) as history:
        assert history.walk({"a.py"}).contents == {}
        assert "git does not answer in" in str(history.trouble)
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.path.exists(path)]
    assert not [line for line in running if b"cat-file" in line and str(tmp_path).encode() in line]
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and _works_in(pid, tmp_path)]


@pytest.mark.promise(LINE, "git ends, and leaves a program that holds its output open")
def test_what_git_left_running_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitcommand, "LIMIT_S", 0.3)
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nsleep 20 &\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    folder = tmp_path / "repo"
    folder.mkdir()
    began = time.monotonic()
    with pytest.raises(UsageError, match="git does not answer in"):
        gitcommand.run(str(folder), ["status"])
    assert time.monotonic() - began < 10
    wait_until(lambda: not [pid for pid in os.listdir("/proc") if pid.isdigit() and _works_in(pid, folder)])


def test_nothing_in_the_place_of_a_file_of_git_is_nothing_to_refuse(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".git/info/exclude").unlink(missing_ok=True)
    (tmp_path / ".git/info").mkdir(exist_ok=True)
    (tmp_path / ".git/info/exclude").symlink_to("/dev/null")
    assert gitcommand.top_of(str(tmp_path)) == str(tmp_path)
    (tmp_path / ".git/shallow").symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="no regular file"):
        gitcommand.run(str(tmp_path), ["status"])


def test_a_history_that_cannot_be_listed_is_told_and_one_without_a_commit_is_no_trouble(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with GitHistory(str(tmp_path)) as history:
        assert history.walk({"a.py"}).contents == {}
        assert history.trouble is None
        (tmp_path / "a.py").write_bytes(b"a = 1\n")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-qm", "first")
        tree = git(tmp_path, "rev-parse", "HEAD^{tree}")
        (tmp_path / ".git/objects" / tree[:2] / tree[2:]).unlink()
        assert history.walk({"a.py"}).contents == {}
        assert "git cannot list HEAD" in str(history.trouble)


def _works_in(pid: str, folder: Path) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(folder)
    except OSError:
        return False
