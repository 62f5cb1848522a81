"""Restore: what goes back, what is left alone, and what is said about it."""

import os
import random
import re
import signal
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from tests.e2e.test_daemon import git
from tests.fork_server import Begun
from tests.world import PROGRAMS, World, snapshot, wait_until


@pytest.fixture
def guarded(world: World) -> World:
    """Three files captured an hour ago as far as the log is concerned; the daemon is dead, the store is the truth."""
    world.write("a.py", b"a = 1\n")
    world.write("sub/b.py", b"b = 1\n")
    world.write("sub/c.py", b"c = 1\n")
    world.start().stop()
    age(world, 3600)
    return world


def age(world: World, seconds: int) -> None:
    """Let everything in the log have happened that much earlier."""
    import apsw

    from guardd.store.appending import row_checksum

    db = apsw.Connection(str(world.state / "guard.db"))
    db.set_busy_timeout(10_000)  # a daemon may be writing
    back = seconds * 1_000_000_000
    with db:
        db.execute("UPDATE versions SET time_ns = time_ns - ?", (back,))
        rows = db.execute(
            "SELECT v.seq, p.path, v.kind, b.hash, v.mode, v.mtime_ns, v.time_ns, v.origin FROM versions v "
            "JOIN paths p ON p.id = v.path_id LEFT JOIN blobs b ON b.id = v.blob_id"
        ).fetchall()
        for row in rows:
            fields = [b"" if field is None else field for field in row]
            db.execute("UPDATE versions SET checksum = ? WHERE seq = ?", (row_checksum(*fields), row[0]))
    db.close()


def test_since_brings_back_changed_and_deleted_files_and_takes_born_ones_away(guarded: World) -> None:
    before = snapshot(guarded.root)
    guarded.write("a.py", b"damaged\n")
    (guarded.root / "sub" / "b.py").unlink()
    guarded.write("born/new.py")
    report = guarded.json("restore", "--since", "10m", "--yes")
    assert snapshot(guarded.root) == before
    assert sorted(report["restored"]) == ["a.py", "sub/b.py"]
    assert report["removed"] == ["born/new.py"]
    assert not (guarded.root / "born").exists()
    assert report["verify"] == {
        "hash_ok": True, "markers_left": 0, "syntax_errors": 0, "commands": [],
        "imports_before": 0, "imports_after": 0, "imports_new": [], "imports_in": "tree",
    }  # fmt: skip
    assert report["dry_run"] is False
    assert isinstance(report["restore_id"], int)
    assert report["seconds"] >= 0


def test_undo_and_undo_of_undo_go_back_and_forth(guarded: World) -> None:
    before = snapshot(guarded.root)
    guarded.write("a.py", b"damaged\n")
    guarded.write("born.py")
    (guarded.root / "sub" / "c.py").unlink()
    after = snapshot(guarded.root)
    first = guarded.json("restore", "--since", "10m", "--yes")["restore_id"]
    second = guarded.json("undo", "--yes")["restore_id"]
    assert snapshot(guarded.root) == after
    guarded.json("undo", str(second), "--yes")
    assert snapshot(guarded.root) == before
    assert second == first + 1
    guarded.ctl("undo", "--yes", check=3)
    assert f"restore {first} was taken back by {second}" in guarded.ctl("undo", str(first), "--dry-run").stderr


def test_a_dry_run_writes_nothing_and_says_what_would_happen(guarded: World) -> None:
    guarded.write("a.py", b"damaged\n")
    guarded.write("born.py")
    after = snapshot(guarded.root)
    report = guarded.json("restore", "--since", "10m", "--dry-run")
    assert (report["dry_run"], report["restored"], report["removed"], report["restore_id"]) == (True, ["a.py"], ["born.py"], None)
    assert snapshot(guarded.root) == after
    text = guarded.ctl("restore", "--since", "10m", "--dry-run", "--diff").stdout
    assert "-damaged" in text
    assert "+a = 1" in text
    assert "~ a.py  (unchanged since" in text


def test_the_time_that_is_shown_of_a_version_is_it_for_at_and_what_was_before_it_for_since(guarded: World) -> None:
    for content in (b"one = 1\n", b"two = 2\n", b"three = 3\n"):
        guarded.write("a.py", content)
        guarded.ctl("log")
    three, two, *_ = (one["time"] for one in guarded.versions("a.py"))
    assert [one["time"] for one in guarded.json("log", "a.py", "--since", two)] == [three, two]
    assert guarded.ctl_bytes("show", "a.py", "--at", two) == b"two = 2\n"
    guarded.ctl("restore", "a.py", "--at", two, "--yes", "--no-verify")
    assert (guarded.root / "a.py").read_bytes() == b"two = 2\n"
    guarded.ctl("restore", "a.py", "--since", two, "--yes", "--no-verify")
    assert (guarded.root / "a.py").read_bytes() == b"one = 1\n"


def test_keep_new_leaves_what_was_born_since(guarded: World) -> None:
    guarded.write("a.py", b"damaged\n")
    guarded.write("born.py")
    report = guarded.json("restore", "--since", "10m", "--keep-new", "--yes")
    assert report["removed"] == []
    assert (guarded.root / "born.py").exists()
    assert (guarded.root / "a.py").read_bytes() == b"a = 1\n"


def test_paths_directories_and_globs_choose(guarded: World) -> None:
    for path in ("a.py", "sub/b.py", "sub/c.py"):
        guarded.write(path, b"damaged\n")
    assert guarded.json("restore", "sub/b.py", "--since", "10m", "--yes")["restored"] == ["sub/b.py"]
    assert guarded.json("restore", "*/c.py", "--since", "10m", "--yes")["restored"] == ["sub/c.py"]
    assert guarded.json("restore", "sub", "--since", "10m", "--yes")["unchanged"] == 2
    done = guarded.ctl("restore", "../a.py", "--since", "10m", "--yes", cwd=guarded.root / "sub")
    assert "restored 1 file" in done.stdout
    assert "no version of nothing.py" in guarded.ctl("restore", "nothing.py", "--since", "10m", "--yes", check=3).stderr
    assert "outside of the repo" in guarded.ctl("restore", "/etc/passwd", "--since", "10m", "--yes", check=2).stderr


def test_the_plan_tells_unchanged_edited_deleted_and_renamed_since(guarded: World) -> None:
    guarded.write("d.py", b"d = 1\n")
    guarded.ctl("log")
    age(guarded, 3600)
    for path in ("a.py", "sub/b.py"):
        guarded.write(path, b"damaged\n")
    guarded.ctl("log")
    guarded.write("sub/b.py", b"damaged\nedited = 1\n")
    (guarded.root / "sub" / "c.py").unlink()
    os.rename(guarded.root / "d.py", guarded.root / "renamed.py")
    text = guarded.ctl("restore", "--since", "10m", "--dry-run").stdout
    found = dict(re.findall(r"[~-] (\S+)  \(([a-z ]+)", text))
    assert found == {
        "a.py": "unchanged since", "sub/b.py": "edited since", "sub/c.py": "deleted since", "d.py": "renamed since",
        "renamed.py": "unchanged since",
    }  # fmt: skip
    assert "renamed since to renamed.py" in text


def test_merge_keeps_edits_made_after_the_damage_and_leaves_conflicts_alone(world: World) -> None:
    original = "".join(f"line_{number} = {number}\n" for number in range(40))
    world.write("clean.py", original)
    world.write("conflict.py", original)
    world.start().stop()
    age(world, 3600)
    damaged = original.replace("line_5 = 5\n", "# REMOVED_SYNTAX_ERROR: line_5 = 5\n")
    for path in ("clean.py", "conflict.py"):
        world.write(path, damaged)
    world.ctl("log")
    world.write("clean.py", damaged + "good_edit = True\n")
    world.write("conflict.py", damaged.replace("# REMOVED_SYNTAX_ERROR: line_5 = 5", "mine = 5"))
    report = world.json("restore", "--since", "10m", "--merge", "--yes", check=1)
    assert (world.root / "clean.py").read_text() == original + "good_edit = True\n"
    assert "mine = 5" in (world.root / "conflict.py").read_text()
    assert [entry["path"] for entry in report["skipped"]] == ["conflict.py"]
    assert "conflict" in report["skipped"][0]["reason"]


def test_merge_without_git_says_so(guarded: World) -> None:
    guarded.write("a.py", b"damaged\n")
    guarded.ctl("log")
    guarded.write("a.py", b"damaged\nedited\n")
    guarded.env["PATH"] = "/nonexistent"
    assert "git is not installed" in guarded.ctl("restore", "--since", "10m", "--merge", "--yes", check=2).stderr


def test_from_git_puts_a_revision_back_and_runs_nothing_of_a_hostile_config(world: World) -> None:
    git(world.root, "init", "-q")
    world.write("a.py", b"committed = 1\n")
    tool = world.write("tool.py", b"tool = 1\n")
    tool.chmod(0o755)
    git(world.root, "add", ".")
    git(world.root, "commit", "-qm", "first")
    world.write("a.py", b"never seen by git\n")
    world.write("untracked.py")
    tool.write_bytes(b"damaged\n")
    world.start().stop()
    trap = world.root.parent / "trap"
    for key in ("core.fsmonitor", "core.pager", "core.sshCommand", "diff.external", "filter.x.smudge", "core.hooksPath"):
        git(world.root, "config", key, f"touch {trap}")
    world.write(".gitattributes", "*.py filter=x\n")
    report = world.json("restore", "--from", "git:HEAD", "--yes")
    assert sorted(report["restored"]) == ["a.py", "tool.py"]
    assert (world.root / "a.py").read_bytes() == b"committed = 1\n"
    assert tool.stat().st_mode & 0o777 == 0o755
    assert (world.root / "untracked.py").exists()
    assert not trap.exists()
    world.ctl("undo", "--yes")
    assert (world.root / "a.py").read_bytes() == b"never seen by git\n"
    for source in ("git:nothing", "git:", "svn:1", "git:--help"):
        assert world.ctl("restore", "--from", source, "--yes", check=2).stderr.count("\n") == 1


def test_from_git_knows_a_repo_that_is_a_folder_of_a_git_repo(world: World) -> None:
    above = world.root.parent
    git(above, "init", "-q")
    world.write("sub/a.py", b"committed = 1\n")
    git(above, "add", "repo")
    git(above, "commit", "-qm", "first")
    world.write("sub/a.py", b"damaged\n")
    world.start().stop()
    assert world.json("restore", "sub", "--from", "git:HEAD", "--yes")["restored"] == ["sub/a.py"]
    assert (world.root / "sub/a.py").read_bytes() == b"committed = 1\n"


def test_a_restore_in_the_middle_of_a_merge_is_refused_unless_told(world: World) -> None:
    git(world.root, "init", "-q")
    world.write("a.py", b"a = 1\n")
    world.start().stop()
    age(world, 3600)
    world.write("a.py", b"damaged\n")
    (world.root / ".git" / "MERGE_HEAD").write_text("0" * 40)
    assert "git merge is under way" in world.ctl("restore", "--since", "10m", "--yes", check=2).stderr
    world.ctl("restore", "--since", "10m", "--yes", "--anyway")
    assert (world.root / "a.py").read_bytes() == b"a = 1\n"


def test_without_a_terminal_and_without_yes_it_refuses(guarded: World) -> None:
    guarded.write("a.py", b"damaged\n")
    assert "--yes" in guarded.ctl("restore", "--since", "10m", check=2).stderr
    assert (guarded.root / "a.py").read_bytes() == b"damaged\n"


def test_nothing_changed_is_exit_3_and_says_so(guarded: World) -> None:
    done = guarded.ctl("restore", "--since", "10m", "--yes", check=3)
    assert "nothing has changed since" in done.stdout


def test_a_moment_before_guard_was_there_goes_to_the_baseline_and_removes_nothing(world: World) -> None:
    world.write("a.py", b"a = 1\n")
    world.write("b.py", b"b = 1\n")
    world.start().stop()
    world.write("a.py", b"damaged\n")
    report = world.json("restore", "--since", "3d", "--yes")
    assert (report["restored"], report["removed"]) == (["a.py"], [])
    assert snapshot(world.root) == {"a.py": b"a = 1\n", "b.py": b"b = 1\n"}


def test_a_file_that_is_edited_during_the_first_baseline_is_not_taken_for_born(world: World) -> None:
    for number in range(2000):
        world.write(f"p{number % 40}/m{number}.py", f"x = {number}\n" * 100)
    daemon = world.start(ready=False)
    wait_until(lambda: daemon.events("starting"))
    while not daemon.events("ready"):
        world.write("p39/m1999.py", f"edited = {time.monotonic()}\n")
    daemon.stop()
    assert world.json("restore", "--since", "1d", "--yes", "--no-verify", check=None)["removed"] == []
    assert (world.root / "p39/m1999.py").exists()


def test_a_root_that_is_gone_says_what_to_do_and_one_made_anew_gets_everything_back(guarded: World, tmp_path: Path) -> None:
    before = snapshot(guarded.root)
    os.rename(guarded.root, tmp_path / "lost")
    refused = guarded.ctl("restore", "--since", "10m", "--yes", "--repo", str(guarded.root), cwd=tmp_path, check=2)
    assert "mkdir" in refused.stderr
    guarded.root.mkdir()
    guarded.ctl("restore", "--since", "10m", "--yes")
    assert snapshot(guarded.root) == before


def test_directories_and_files_that_swapped_places_come_back(world: World) -> None:
    world.write("x.py", b"file = 1\n")
    world.write("y.py/inner.py", b"inner = 1\n")
    world.start().stop()
    age(world, 3600)
    before = snapshot(world.root)
    (world.root / "x.py").unlink()
    world.write("x.py/now_a_folder.py")
    (world.root / "y.py" / "inner.py").unlink()
    (world.root / "y.py").rmdir()
    world.write("y.py", b"now a file\n")
    world.ctl("restore", "--since", "10m", "--yes")
    assert snapshot(world.root) == before


def test_what_is_in_the_way_is_reported_and_left(guarded: World, tmp_path: Path) -> None:
    (guarded.root / "a.py").unlink()
    guarded.write("a.py/notes.txt", b"not guarded\n")
    for name in ("b.py", "c.py"):
        (guarded.root / "sub" / name).unlink()
    (guarded.root / "sub").rmdir()
    (tmp_path / "target").mkdir()
    (guarded.root / "sub").symlink_to(tmp_path / "target")
    report = guarded.json("restore", "--since", "10m", "--yes", check=1)
    reasons = {entry["path"]: entry["reason"] for entry in report["failed"]}
    assert set(reasons) == {"a.py", "sub/b.py", "sub/c.py"}
    assert "directory" in reasons["a.py"]
    assert "symlink" in reasons["sub/b.py"]
    assert list((tmp_path / "target").iterdir()) == []
    assert (guarded.root / "a.py" / "notes.txt").read_bytes() == b"not guarded\n"


def test_verify_commands_of_the_config_are_run_and_their_failure_is_exit_1(guarded: World) -> None:
    guarded.config.parent.mkdir(parents=True, exist_ok=True)
    guarded.config.write_text(f'[[repo]]\npath = "{guarded.root}"\nverify = ["test -f a.py", "false", "/no/such/program"]\n')
    guarded.write("a.py", b"damaged\n")
    report = guarded.json("restore", "--since", "10m", "--yes", check=1)
    assert [(one["command"], one["exit"]) for one in report["verify"]["commands"]] == [
        ("test -f a.py", 0), ("false", 1), ("/no/such/program", 127),
    ]  # fmt: skip


def test_verify_counts_markers_and_syntax_errors_that_came_back(world: World) -> None:
    world.write("broken.py", b"def f(:\n")
    world.write("marked.py", b"# REMOVED_SYNTAX_ERROR: x\n")
    world.start().stop()
    age(world, 3600)
    for path in ("broken.py", "marked.py"):
        world.write(path, b"fine = 1\n")
    assert world.json("restore", "--since", "10m", "--yes")["verify"] == {
        "hash_ok": True, "markers_left": 1, "syntax_errors": 1, "commands": [],
        "imports_before": 0, "imports_after": 0, "imports_new": [], "imports_in": "tree",
    }  # fmt: skip


def test_a_restore_beside_a_running_daemon_leaves_no_trace_but_its_own(world: World) -> None:
    for number in range(50):
        world.write(f"m{number}.py", b"good = 1\n")
    world.start()
    age(world, 3600)
    for number in range(50):
        world.write(f"m{number}.py", b"damaged = 1\n")
    for number in range(50):
        world.wait_captured(f"m{number}.py", b"damaged = 1\n")
    world.ctl("restore", "--since", "10m", "--yes")
    world.write("last.py", b"last = 1\n")
    world.wait_captured("last.py", b"last = 1\n")
    entries = world.json("log")
    for number in range(50):
        origins = [entry["origin"] for entry in entries if entry["path"] == f"m{number}.py"]
        assert origins == ["restore", "watch", "baseline"]


def writing(root: Path, restore: Begun, old: bytes) -> bool:
    """Whether a restore has begun to write, or is over."""
    return restore.poll() is not None or any(root.rglob(".guardd-*")) or (root / "p0/m0.py").read_bytes() == old


@pytest.mark.faults  # every day it is killed at some of its commits and renames (tests/faults/test_killed.py)
def test_killed_at_any_instant_each_file_is_old_or_new_and_resume_completes(world: World) -> None:
    old, new = b"old = 1\n" * 200, b"new = 2\n" * 200
    for number in range(250):
        world.write(f"p{number % 20}/m{number}.py", old)
    world.start().stop()
    age(world, 3600)
    chance = random.Random(7)
    torn = 0
    for _ in range(3):
        for path in snapshot(world.root):
            (world.root / path).write_bytes(new)
        restore = world.begin_ctl("restore", "--since", "10m", "--yes", "--no-verify")
        wait_until(partial(writing, world.root, restore, old))
        threading.Event().wait(chance.random() * 0.25)  # a random instant of the writing, not a wait for anything
        restore.send_signal(signal.SIGKILL)
        restore.finish()
        contents = {content for path, content in snapshot(world.root).items() if path.endswith(".py")}
        assert contents <= {old, new}
        if contents == {old, new}:
            torn += 1
            assert world.status()["interrupted_restore"]
        world.ctl("restore", "--resume", "--yes", "--no-verify", check=None)
        world.ctl("restore", "--since", "10m", "--yes", "--no-verify", check=None)
        assert set(snapshot(world.root).values()) == {old}, "complete, and no temporary file is left"
        assert world.status()["interrupted_restore"] is None
    assert world.json("fsck")["damaged"] == []


def test_an_edit_in_the_instant_of_the_restore_is_never_lost(world: World) -> None:
    for number in range(200):
        world.write(f"m{number}.py", b"good = 1\n")
    world.start().stop()
    age(world, 3600)
    for number in range(200):
        world.write(f"m{number}.py", b"damaged = 1\n")
    stop = threading.Event()
    written: dict[str, set[bytes]] = {}

    def edit() -> None:
        chance, count = random.Random(3), 0
        while not stop.is_set():
            path, count = f"m{chance.randrange(200)}.py", count + 1
            content = b"edit = %d\n" % count
            temp = world.root / f"{path}.tmp"
            temp.write_bytes(content)
            os.replace(temp, world.root / path)
            written.setdefault(path, set()).add(content)
            time.sleep(0.002)  # the editor's pace

    editor = threading.Thread(target=edit)
    editor.start()
    world.ctl("restore", "--since", "10m", "--yes", "--no-verify", check=None)
    stop.set()
    editor.join()
    world.ctl("log")
    for path, contents in written.items():
        last = (world.root / path).read_bytes()
        assert last in contents | {b"good = 1\n"}
    assert not list(world.root.glob(".guardd-*"))


def test_two_restores_at_once_come_one_after_the_other(guarded: World) -> None:
    for path in ("a.py", "sub/b.py", "sub/c.py"):
        guarded.write(path, b"damaged\n")
    commands = [guarded.begin_ctl("restore", "--since", "10m", "--yes") for _ in range(5)]
    ended = [command.finish() for command in commands]
    codes = [one.returncode for one in ended]
    assert 0 in codes
    assert set(codes) <= {0, 1, 3}, ended
    assert not any(b"Traceback" in one.stderr for one in ended)
    assert snapshot(guarded.root) == {"a.py": b"a = 1\n", "sub/b.py": b"b = 1\n", "sub/c.py": b"c = 1\n"}


def test_export_writes_the_tree_of_a_moment_into_an_empty_directory(guarded: World, tmp_path: Path) -> None:
    before = snapshot(guarded.root)
    guarded.write("a.py", b"damaged\n")
    guarded.write("born.py")
    (guarded.root / "sub" / "b.py").unlink()
    guarded.ctl("export", str(tmp_path / "out"), "--at", "10m")
    assert snapshot(tmp_path / "out") == before
    assert "not empty" in guarded.ctl("export", str(tmp_path / "out"), "--at", "10m", check=2).stderr
    assert "inside of the repo" in guarded.ctl("export", str(guarded.root / "x"), "--at", "10m", check=2).stderr


def test_a_moment_is_looked_up_after_what_changed_while_the_daemon_was_off(guarded: World, tmp_path: Path) -> None:
    guarded.write("a.py", b"edited before the moment\n")
    time.sleep(0.05)  # the kernel's clock for inodes ticks every few ms
    moment = f"@{time.time():.6f}"
    time.sleep(0.05)
    guarded.write("sub/b.py", b"damaged after it\n")
    assert [one["path"] for one in guarded.json("diff", "--at", moment)] == ["sub/b.py"]
    guarded.ctl("export", str(tmp_path / "then"), "--at", moment)
    assert (tmp_path / "then" / "a.py").read_bytes() == b"edited before the moment\n"
    report = guarded.json("restore", "--at", moment, "--yes")
    assert report["restored"] == ["sub/b.py"]
    assert report["at"]
    assert (guarded.root / "a.py").read_bytes() == b"edited before the moment\n"


def test_a_broken_config_is_refused_before_the_first_write_unless_nothing_is_to_be_verified(guarded: World) -> None:
    guarded.configure("[daemon\n")
    guarded.write("a.py", b"damaged\n")
    refused = guarded.ctl("restore", "--since", "10m", "--yes", check=4)
    assert "--no-verify" in refused.stderr
    assert (guarded.root / "a.py").read_bytes() == b"damaged\n"
    report = guarded.json("restore", "--since", "10m", "--yes", "--no-verify")
    assert report["restored"] == ["a.py"]
    assert guarded.json("doctor", check=1)[0]["cure"]


def test_verify_counts_what_is_broken_beside_what_is_only_newer_than_our_python(world: World) -> None:
    world.write("newer.py", b"type Alias[T] = list[T]\nvalue = t'{Alias}'\n")
    world.write("broken.py", b"def f(:\n")
    world.start().stop()
    age(world, 3600)
    for path in ("newer.py", "broken.py"):
        world.write(path, b"fine = 1\n")
    assert world.json("restore", "--since", "10m", "--yes")["verify"]["syntax_errors"] == 1


def test_nothing_is_verified_where_nothing_was_written(guarded: World) -> None:
    guarded.configure("", f'verify = ["touch {guarded.root}/was_run"]')
    guarded.ctl("restore", "a.py", "--since", "10m", "--yes", check=None)
    assert not (guarded.root / "was_run").exists()


def test_a_rebase_of_the_git_repo_around_ours_is_under_way_here_too(world: World) -> None:
    top = world.root.parent / "around"
    world.root.rename(top)
    world.root = top / "pkg"
    world.write("a.py", b"a = 1\n")
    git(top, "init", "-q", "-b", "main")
    git(top, "add", "-A")
    git(top, "commit", "-qm", "one")
    git(top, "checkout", "-qb", "other")
    world.write("a.py", b"a = 2\n")
    git(top, "commit", "-qam", "two")
    git(top, "checkout", "-q", "main")
    world.write("a.py", b"a = 3\n")
    git(top, "commit", "-qam", "three")
    world.start().stop()
    with pytest.raises(subprocess.CalledProcessError):
        git(top, "rebase", "other")
    assert "rebase is under way" in world.ctl("restore", "--since", "1s", "--yes", check=2).stderr
    git(top, "rebase", "--abort")
    world.ctl("restore", "--since", "1s", "--yes", check=None)


def test_what_is_no_file_in_the_way_is_named_so(guarded: World) -> None:
    (guarded.root / "a.py").unlink()
    os.mkfifo(guarded.root / "a.py")
    report = guarded.json("restore", "--since", "10m", "--yes", check=1)
    assert [(one["path"], "in the way" in one["reason"]) for one in report["failed"]] == [("a.py", True)]


def test_directories_made_anew_are_as_open_as_the_one_above(guarded: World) -> None:
    guarded.root.chmod(0o755)
    (guarded.root / "sub" / "b.py").unlink()
    (guarded.root / "sub" / "c.py").unlink()
    (guarded.root / "sub").rmdir()
    subprocess.run(
        ["sh", "-c", 'umask 077; exec "$0" restore --since 10m --yes', PROGRAMS / "guardctl"],
        env=guarded.env, cwd=guarded.root, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert (guarded.root / "sub").stat().st_mode & 0o777 == 0o755


def test_what_a_restore_has_in_hand_is_no_version_of_anything(world: World) -> None:
    for number in range(100):
        world.write(f"m{number}.txt", b"good\n")
    world.configure("", 'include = ["*"]')
    world.start_configured().wait_ready()
    before = world.json("log")[0]["seq"]
    world.json("pause", "1h")
    for number in range(100):
        world.write(f"m{number}.txt", b"damaged\n")
    world.ctl("log")
    moment = next(entry["time"] for entry in world.json("log") if entry["seq"] == before)
    world.ctl("restore", "--at", moment, "--yes")
    world.write("last.txt", b"last\n")
    world.wait_captured("last.txt", b"last\n")
    assert {entry["path"] for entry in world.json("log")} == {*(f"m{number}.txt" for number in range(100)), "last.txt"}


def without_overrides(*words: str | Path) -> list[str | Path]:
    """A command that runs as people's do, bound by permissions, also where the tests run as root."""
    if os.geteuid() != 0:
        return [*words]
    dropped = "-dac_override,-dac_read_search,-fowner"
    return ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}", *words]


def test_what_may_not_be_read_degrades_and_what_may_not_be_written_fails_alone(world: World) -> None:
    world.write("open/a.py", b"a = 1\n")
    world.write("closed/b.py", b"b = 1\n")
    secret = world.write("open/secret.py", b"secret = 1\n")
    secret.chmod(0)
    daemon = world.start_command(without_overrides(PROGRAMS / "guardd", "--repo", world.root))  # type: ignore[arg-type]  # paths
    wait_until(lambda: world.status()["state"] == "degraded")
    assert any(reason.startswith("unreadable-file: open/secret.py") for reason in world.status()["reasons"])
    secret.chmod(0o644)
    world.wait_captured("open/secret.py", b"secret = 1\n")
    wait_until(lambda: world.status()["state"] == "protected")
    (world.root / "closed").chmod(0)
    wait_until(lambda: any(reason.startswith("unreadable-directory: closed") for reason in world.status()["reasons"]))
    (world.root / "closed").chmod(0o755)
    wait_until(lambda: world.status()["state"] == "protected")
    assert world.status()["files"] == 3
    daemon.stop()
    age(world, 3600)
    for path in ("open/a.py", "closed/b.py"):
        world.write(path, b"damaged\n")
    (world.root / "closed").chmod(0o555)
    words = without_overrides(PROGRAMS / "guardctl", "restore", "--since", "10m", "--yes")
    done = subprocess.run(words, env=world.env, cwd=world.root, capture_output=True, text=True, check=False)
    (world.root / "closed").chmod(0o755)
    assert done.returncode == 1
    assert "closed/b.py: no permission; make the directory writable" in done.stderr
    assert (world.root / "open/a.py").read_bytes() == b"a = 1\n"
    assert (world.root / "closed/b.py").read_bytes() == b"damaged\n"


def test_a_dry_run_shows_the_diff_of_contents_that_only_the_restore_would_store(world: World) -> None:
    git(world.root, "init", "-q")
    world.write("a.py", "".join(f"line_{number} = {number}\n" for number in range(30)))
    git(world.root, "add", "-A")
    git(world.root, "commit", "-qm", "one")
    (world.root / "a.py").write_text("committed_before_guard = 1\n")
    world.start().stop()
    shown = world.ctl("restore", "a.py", "--from", "git:HEAD", "--dry-run", "--diff").stdout
    assert "+line_7 = 7" in shown
    assert "fsck" not in shown


def test_a_moment_before_guard_knew_the_repo_is_answered_with_a_word_of_caution(world: World) -> None:
    (world.root / "a.py").write_text("x = 1\n")
    world.start().stop()
    caution = f"guard has known {world.root} only since "
    for words in (
        ["show", "a.py", "--at", "99d"],
        ["diff", "--since", "99d"],
        ["export", str(world.root.parent / "x"), "--at", "99d"],
    ):
        assert caution in world.ctl(*words).stderr, words
    assert caution in world.ctl("restore", "--since", "99d", "--dry-run").stdout
    assert caution not in world.ctl("show", "none.py", "--at", "99d", check=None).stderr, "an error is one line"
    world.ctl("snapshot")
    assert caution not in world.ctl("diff", "--since", "0s").stderr
