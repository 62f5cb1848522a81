"""Other users of the machine: they read nothing of the store, plant nothing in it, and what is theirs is not run."""

import codecs
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import fork_server
from tests.fork_server import PROGRAMS
from tests.world import World, snapshot, wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user needs root")
PROMISE = "nobody else reads the store"
WHOLE = b"def f(x):\n    y = x + 1\n    return y\n" * 5


@pytest.fixture
def open_world() -> Iterator[World]:
    """A world that everyone can reach: those of tmp_path are for their owner alone."""
    base = Path(tempfile.mkdtemp(prefix="guard-users-"))
    base.chmod(0o755)
    made = World(base)
    yield made
    made.close()
    shutil.rmtree(base)


def nobody() -> int:
    return pwd.getpwnam("nobody").pw_uid


def as_nobody(world: World, *words: str, program: str = "guardctl", umask: int = 0o022) -> tuple[int, str]:
    """Exit code and words of a program that another user runs; forked, for a Python in root's home is none of theirs."""
    fork_server.import_all()
    for encoding in ("ascii", "latin-1", "utf-8-sig", "unicode_escape"):
        codecs.lookup(encoding)
    with tempfile.TemporaryFile() as said:
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                for number in (1, 2):
                    os.dup2(said.fileno(), number)
                os.umask(umask)
                os.setgroups([])
                os.setresgid(nobody(), nobody(), nobody())
                os.setresuid(nobody(), nobody(), nobody())
                os.environ.clear()
                os.environ.update(world.env)
                os.chdir(world.root.parent)
                code = be(program, words)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read().decode()


def be(program: str, words: tuple[str, ...]) -> int:
    from guardd.cli.main import main as guardctl
    from guardd.service.main import main as guardd

    sys.argv = [program, *words]
    sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
    try:
        (guardctl if program == "guardctl" else guardd)()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


@needs_root
@pytest.mark.promise(PROMISE, "another user with every command, and with the files themselves; umask 000")
def test_another_user_gets_nothing_out_of_a_store_nor_into_it(open_world: World) -> None:
    world = open_world
    world.write("a.py", b"secret = 1\n")
    daemon = world.start_command(["sh", "-c", f"umask 000; exec {PROGRAMS}/guardd --repo {world.root}"])
    world.write("a.py", b"secret = 2\n")
    world.wait_captured("a.py", b"secret = 2\n")
    everything = [world.state, *world.state.rglob("*")]
    assert not [path for path in everything if stat.S_ISSOCK(path.lstat().st_mode)], "there is no socket to ask at"
    for words in (["status"], ["log"], ["show", "a.py"], ["restore", "--since", "1h", "--yes"], ["fsck", "--repair"], ["gc"]):
        code, said = as_nobody(world, "--repo", str(world.root), *words)
        assert (code, said.count("\n")) == (4, 1), (words, code, said)
        assert "belongs to another user" in said
    code, said = as_nobody(world, "--repo", str(world.root), program="guardd")
    assert (code, said.count("\n")) == (4, 1), said
    for path in everything:
        done = subprocess.run(
            ["cat", str(path)], user=nobody(), group=nobody(), extra_groups=[], capture_output=True, check=False
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (1, b""), path
    assert world.heads() == snapshot(world.root)
    assert daemon.stop() == 0


@needs_root
@pytest.mark.promise(PROMISE, "a state dir that a group, or everyone, may write to; one that another user made")
@pytest.mark.parametrize(
    ("mode", "owner"), [(0o770, "nobody"), (0o720, "nobody"), (0o707, "nobody"), (0o1777, "nobody"), (0o700, "root")]
)
def test_a_state_dir_that_others_could_plant_something_in_is_refused(open_world: World, mode: int, owner: str) -> None:
    world = open_world
    world.state.mkdir()
    os.chown(world.state, nobody() if owner == "nobody" else 0, -1)
    world.state.chmod(mode)
    for program, words in (("guardd", ["--repo", str(world.root)]), ("guardctl", ["--repo", str(world.root), "snapshot"])):
        code, said = as_nobody(world, *words, program=program)
        assert (code, said.count("\n")) == (4, 1), said
        assert "others may write" in said if owner == "nobody" else "another user" in said, said
    assert list(world.state.iterdir()) == []


@pytest.mark.faults
@needs_root
@pytest.mark.promise("nothing of the repo runs", "a repo of another user's, whose git config names programs")
def test_a_repo_of_another_users_is_guarded_and_none_of_its_programs_runs(open_world: World) -> None:
    world = open_world
    sprung, trap = world.root.parent / "sprung", world.root.parent / "trap"
    trap.write_text(f'#!/bin/sh\ntouch "{sprung}"\nexec cat\n')
    trap.chmod(0o755)
    for number in range(12):
        world.write(f"m{number}.py", WHOLE)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], cwd=world.root, check=True)
    with (world.root / ".git/config").open("a") as config:
        config.write(
            f"[core]\n\tfsmonitor = {trap}\n\tpager = {trap}\n\tsshCommand = {trap}\n\thooksPath = {trap.parent}\n"
            f'[diff]\n\texternal = {trap}\n[diff "t"]\n\ttextconv = {trap}\n[filter "f"]\n\tclean = {trap}\n\tsmudge = {trap}\n'
            f"[gpg]\n\tprogram = {trap}\n[credential]\n\thelper = {trap}\n[alias]\n\tls-files = !{trap}\n"
        )
    world.write(".gitattributes", "*.py diff=t filter=f\n")
    for name in ("post-checkout", "pre-commit", "post-index-change", "fsmonitor-watchman"):
        shutil.copy(trap, world.root / ".git/hooks" / name)
    for path in (world.root, *world.root.rglob("*")):
        os.chown(path, nobody(), -1, follow_symlinks=False)
    world.configure("", "respect_gitignore = true")
    daemon = world.start_configured()
    for number in range(12):
        path = world.root / f"m{number}.py"
        path.write_bytes(b"".join(b"# REMOVED_SYNTAX_ERROR: " + line for line in WHOLE.splitlines(True)))
    wait_until(lambda: daemon.events("incident settled"), what="the damage is seen")
    for words in (["check", "--staged"], ["check", "--against", "HEAD"], ["restore", "--from", "git:HEAD", "--dry-run"]):
        done = world.ctl(*words, check=2)
        assert done.stderr.count("\n") == 1, done.stderr
        assert "belongs to another user; if you trust it: git config --global --add safe.directory" in done.stderr
    best = world.ctl("restore", "--best", "--dry-run", check=None)
    assert "without git's history: git does nothing in" in best.stderr
    world.ctl("restore", "--incident", "last", "--yes")
    assert {path.read_bytes() for path in world.root.glob("*.py")} == {WHOLE}
    assert {path.stat().st_uid for path in world.root.glob("*.py")} == {nobody()}, "root's files would be of no use to them"
    assert not sprung.exists()


@pytest.mark.promise(PROMISE, "a config and credential files that others can read or write")
def test_a_config_or_a_credential_that_others_can_read_is_warned_about_everywhere(world: World) -> None:
    url, secret = world.root.parent / "url", world.root.parent / "secret"
    url.write_text("json://127.0.0.1:1/s3cr3t")
    secret.write_text("s3cr3t")
    inline = '[[alert]]\nname = "inline"\nurl = "json://127.0.0.1:1/s3cr3t"\n'
    world.configure(f'{inline}[[alert]]\nname = "filed"\nurl_file = "{url}"\nsecret_file = "{secret}"\n')
    for mode in (0o644, 0o620, 0o600):
        for path in (world.config, url, secret):
            path.chmod(mode)
        daemon = world.start_configured()
        warned = " ".join(event["what"] for event in daemon.events("exposed"))
        checked, doctor = world.ctl("config", "check"), world.ctl("doctor", check=None)
        daemon.stop()
        expected = {0o644: f"run 'chmod 600 {world.config}'", 0o620: f"run 'chmod go-w {world.config}'"}
        for said in (warned, checked.stdout, doctor.stdout):
            assert (expected[mode] in said) if mode in expected else ("chmod" not in said), (oct(mode), said)
            assert "s3cr3t" not in said
        for path in (url, secret):
            assert (f"chmod 600 {path}" in warned) == (mode == 0o644)
    assert "others can read" not in doctor.stdout
