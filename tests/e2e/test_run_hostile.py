"""guardctl run against commands and surroundings that mean no good: nothing is lost, and nothing untrue is said."""

import os
import subprocess

from tests.e2e.test_run import Here, guarded, here, register, run, start, state  # noqa: F401  # fixtures
from tests.world import PROGRAMS, World, snapshot, wait_until


def test_a_run_is_decided_though_no_one_reads_what_it_says(guarded: World) -> None:  # noqa: F811
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


def test_a_dead_run_whose_command_lives_is_not_said_to_be_over(guarded: World) -> None:  # noqa: F811
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


def test_a_dead_run_that_took_the_repo_away_is_not_said_to_have_changed_nothing(guarded: World) -> None:  # noqa: F811
    files, _ = state(guarded.root)
    start(guarded, "--", "sh", "-c", "cd / && rm -r $OLDPWD; kill -KILL $PPID").wait()
    told = guarded.ctl("--repo", str(guarded.root), "run", "--rollback", "1", check=2, cwd=guarded.root.parent)
    assert f"mkdir {guarded.root}" in told.stderr
    guarded.root.mkdir()
    guarded.ctl("run", "--rollback", "1")
    del files["notes.txt"]
    assert snapshot(guarded.root) == files
