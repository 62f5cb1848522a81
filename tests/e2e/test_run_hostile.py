"""guardctl run against commands and surroundings that mean no good: nothing is lost, and nothing untrue is said."""

# ruff: noqa: F811  # a fixture is imported, and is the name of an argument

import os
import shlex
import shutil
import subprocess

import pytest
from tests.e2e.test_run import guarded, run, start, state  # noqa: F401  # a fixture
from tests.world import PROGRAMS, World, snapshot, wait_until


def test_a_run_is_decided_though_no_one_reads_what_it_says(guarded: World) -> None:
    before = state(guarded.root)
    read, write = os.pipe()
    os.close(read)  # as in `guardctl run ... 2>&1 | head -1`
    script = "echo '(' > pkg/c.py; trap '' TERM PIPE; sleep 100 & exit 0"
    command = [str(PROGRAMS / "guardctl"), "run", "--", "sh", "-c", script]
    ended = subprocess.run(command, env=guarded.env, cwd=guarded.root, stdout=write, stderr=write, timeout=60, check=False)
    os.close(write)
    assert ended.returncode == 1
    assert state(guarded.root) == before
    assert guarded.status()["run"] is None


def test_a_dead_run_whose_command_lives_is_not_said_to_be_over(guarded: World) -> None:
    ready = guarded.root.parent / "ready"
    process = start(guarded, "--", "sh", "-c", f"kill -KILL $PPID; echo '(' > pkg/c.py; echo $$ > {ready}; exec sleep 1000")
    wait_until(lambda: ready.exists() and ready.read_text())
    process.wait()
    try:
        told = guarded.ctl("run", "--rollback", "1")
        assert f"still at work here, and free to change more: sleep 1000 (pid {ready.read_text().strip()})" in told.stderr
        assert "rolled back 1 file" in told.stderr
    finally:
        os.kill(int(ready.read_text()), 9)


def test_a_dead_run_that_took_the_repo_away_is_not_said_to_have_changed_nothing(guarded: World) -> None:
    files, _ = state(guarded.root)
    start(guarded, "--", "sh", "-c", "cd / && rm -r $OLDPWD; kill -KILL $PPID").wait()
    told = guarded.ctl("--repo", str(guarded.root), "run", "--rollback", "1", check=2, cwd=guarded.root.parent)
    assert f"mkdir {guarded.root}" in told.stderr
    guarded.root.mkdir()
    guarded.ctl("run", "--rollback", "1")
    del files["notes.txt"]
    assert snapshot(guarded.root) == files


_ORDINARY = "-dac_override,-dac_read_search,-sys_admin"
"""What root may and others may not."""


def as_ordinary_user(world: World, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A guardctl run that no file mode lets through, whoever runs the tests."""
    command = [str(PROGRAMS / "guardctl"), "run", *arguments]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set", _ORDINARY, "--inh-caps", _ORDINARY, *command]
    return subprocess.run(command, env=world.env, cwd=world.root, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root reads everything")
@pytest.mark.parametrize(
    "script",
    [
        "echo '(' > pkg/a.py; mkdir -p pkg/deep; echo '(' > pkg/deep/d.py; chmod 000 pkg/deep pkg/a.py pkg",
        "echo '(' > use.py; chmod -R a-w .; chmod 600 pkg; exit 1",
        "echo '(' > use.py; chmod 000 .",
    ],
)
def test_what_a_command_made_unreadable_is_neither_kept_nor_left_so(guarded: World, script: str) -> None:
    (guarded.root / "notes.txt").unlink()  # its mode is not guard's to put back
    before = state(guarded.root)
    told = as_ordinary_user(guarded, "--", "sh", "-c", script)
    assert told.returncode == 1, told.stderr
    assert "unreadable now, so it cannot be checked" in told.stderr
    assert state(guarded.root) == before, told.stderr


def test_what_a_verify_command_does_to_the_commands_files_counts_and_goes_back(guarded: World) -> None:
    before = state(guarded.root)
    for verify in ("echo 'y = 1' >> pkg/a.py; exit 1", "echo '(' > pkg/a.py"):
        told = run(guarded, "--verify", shlex.join(["sh", "-c", verify]), "--", "sh", "-c", "echo 'x = 1' >> pkg/a.py", check=1)
        assert (told["changed"], told["concurrent"], told["restored"]) == (1, [], ["pkg/a.py"])
        assert state(guarded.root) == before
    assert [one["rule"] for one in told["findings"]] == ["syntax"]
