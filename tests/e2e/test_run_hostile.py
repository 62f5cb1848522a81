"""guardctl run against commands and surroundings that mean no good: nothing is lost, and nothing untrue is said."""

# ruff: noqa: F811  # a fixture is imported, and is the name of an argument

import os
import shlex
import shutil
import subprocess

import pytest
from tests import fork_server
from tests.e2e.test_run import Here, guarded, here, modes, run, start, state, told_by  # noqa: F401  # fixtures
from tests.world import PROGRAMS, World, snapshot, wait_until


def test_a_run_is_decided_though_no_one_reads_what_it_says(guarded: World) -> None:
    before = state(guarded.root)
    read, write = os.pipe()
    os.close(read)  # as in `guardctl run ... 2>&1 | head -1`
    script = "echo '(' > pkg/c.py; trap '' TERM PIPE; sleep 100 & exit 0"
    command = [str(PROGRAMS / "guardctl"), "run", "--", "sh", "-c", script]
    with open(os.devnull, "rb") as nothing:
        code = fork_server.begin(command, guarded.env, guarded.root, (nothing.fileno(), write, write)).wait(60)
    os.close(write)
    assert code == 1
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


@pytest.mark.promise("no acknowledged version is lost", "a command that takes away its own rights to what it changed")
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


@pytest.mark.parametrize(
    ("script", "aside"),
    [
        ("mv pkg pkg2; ln -s pkg2 pkg", {"pkg": "pkg.run-1"}),
        ("rm -r pkg; touch pkg pkg.run-1", {"pkg": "pkg.run-1.2"}),
        ("rm -r pkg; mkfifo pkg", {"pkg": "pkg.run-1"}),
        ("rm use.py; mkdir use.py; touch use.py/x use.py/born.py", {"use.py": "use.py.run-1"}),
        ("rm use.py pkg/a.py; mkfifo use.py; mkdir -p pkg/a.py/deep/er", {"use.py": "use.py.run-1"}),
        ("rm use.py pkg/a.py; mkdir use.py pkg/a.py; touch use.py/born.py; ln -s nowhere pkg/a.py/b.py", {}),
        ("rm use.py pkg/a.py; ln -s nowhere use.py; ln pkg/b.py pkg/a.py", {}),
        ("rm -r empty; ln -s pkg empty", {"empty": "empty.run-1"}),
    ],
)  # fmt: skip
def test_what_a_command_left_in_the_way_is_moved_aside_and_all_comes_back(
    guarded: World, here: Here, script: str, aside: dict[str, str]
) -> None:
    contents, before = state(guarded.root)
    told = told_by(here, "run", "--", "sh", "-c", f"{script}; exit 1", check=1)
    assert (told["outcome"], told["not_restored"]) == ("rolled-back", [])
    assert {one["path"]: one["to"] for one in told["moved_aside"]} == aside
    assert set(told["not_guarded"]) == ({"pkg.run-1"} if "pkg.run-1.2" in aside.values() else set())
    left = modes(guarded.root)
    assert {path: mode for path, mode in left.items() if not path.partition(".run-")[1]} == before
    assert set(aside.values()) <= left.keys()
    assert all((guarded.root / path).is_file() and (guarded.root / path).read_bytes() == it for path, it in contents.items())


def test_what_was_put_in_the_way_after_a_run_stays(guarded: World, here: Here) -> None:
    script = "rm use.py; rm -r secret; mkdir use.py; touch use.py/x secret"
    assert here("run", "--allow-protected", "--", "sh", "-c", script)[0] == 0
    (guarded.root / "secret").unlink()
    (guarded.root / "secret").symlink_to("pkg")
    told = told_by(here, "run", "--rollback", "1", check=1)
    assert told["moved_aside"] == [{"path": "use.py", "to": "use.py.run-1"}]
    assert [one["path"] for one in told["not_restored"]] == ["secret/keys.py"]
    assert (guarded.root / "use.py").is_file()
    assert (guarded.root / "secret").is_symlink()
    assert "use.py -> use.py.run-1" not in here("run", "--rollback", "1")[2]


@pytest.mark.promise("no acknowledged version is lost", "a command that removes the store")
@pytest.mark.parametrize("removal", ["rm -r {0}", "rm {0}/guard.db", "rm {0}/*; exit 1"])
def test_a_command_that_removes_the_store_is_rolled_back_and_the_store_comes_back(
    guarded: World, here: Here, removal: str
) -> None:
    assert here("run", "--", "sh", "-c", "echo 'y = 1' >> use.py")[0] == 0
    before = state(guarded.root)
    code, _, said = here("run", "--", "sh", "-c", f"echo '(' > use.py; rm -r pkg; {removal.format(guarded.state)}")
    assert code == 1, said
    assert "was removed while the command ran; it was written anew" in said
    assert state(guarded.root) == before
    assert guarded.state.stat().st_mode & 0o777 == 0o700
    assert (guarded.state / "guard.db").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in guarded.state.glob("*.new*")) == []
    assert here("fsck")[0] == 0
    assert [one["run"] for one in told_by(here, "log", "use.py")][-2:] == [1, None]
    assert here("undo", "1", "--yes", "--no-verify")[0] == 0
    assert (guarded.root / "use.py").read_bytes() == b"(\n"
    assert not (guarded.root / "pkg").exists()


def test_a_store_that_cannot_come_back_is_not_promised_to_help(guarded: World, here: Here) -> None:
    before = state(guarded.root)
    script = f"echo '(' > use.py; rm -r {guarded.state}; mkdir -m 700 {guarded.state}; touch {guarded.state}/guard.db"
    code, _, said = here("run", "--", "sh", "-c", script)
    assert code == 4
    assert "was removed while the command ran, with all that was kept" in said
    assert "rolled back 1 file" in said
    assert "guardctl undo" not in said
    assert state(guarded.root) == before
    code, _, said = here("init")
    assert code == 0, said
    script = f"echo '(' > use.py; rm -r {guarded.state}; touch {guarded.state}"
    code, _, said = here("run", "--", "sh", "-c", script)
    assert code == 4
    assert "neither kept nor rolled back: see 'git diff'" in said
    assert "--rollback" not in said
