"""Whatever changes is hinted, or a problem says what is not watched: on real trees and the real kernel."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.world import wait_until
from watchdog.observers.polling import PollingObserver

from guardd.errors import Interrupted
from guardd.selection import Selection, SelectionRules
from guardd.watching import RepoWatch
from guardd.watching.portable import portable_observer
from guardd.watching.pulse import SILENT_NS


class Sink:
    """Collects hints, with when they came."""

    def __init__(self) -> None:
        self.hints: list[tuple[str, str, bool | str]] = []
        self.blocked = threading.Event()
        self.blocked.set()

    def changed(self, path: str, *, settled: bool) -> None:
        self.blocked.wait()
        self.hints.append(("changed", path, settled))

    def rescan(self, folder: str, why: str) -> None:
        self.blocked.wait()
        self.hints.append(("rescan", folder, why))

    def covers(self, path: str) -> bool:
        """Whether the path was hinted, by itself or with a folder above it."""
        for kind, hinted, _ in list(self.hints):
            if hinted == path or (kind == "rescan" and (not hinted or path.startswith(hinted + "/"))):
                return True
        return False

    def clear(self) -> None:
        self.hints.clear()


class Watched:
    def __init__(self, base: Path, rules: SelectionRules | None = None) -> None:
        self.root = base / "repo"
        self.root.mkdir()
        self.beat_dir = base / "beat"
        self.sink = Sink()
        self.watch = RepoWatch(
            str(self.root), Selection(str(self.root), rules or SelectionRules()), self.sink, str(self.beat_dir)
        )

    def write(self, path: str, content: str = "x = 1\n") -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)

    def wait_covered(self, path: str) -> None:
        wait_until(lambda: self.sink.covers(path), 15, f"{path} hinted; got {self.sink.hints[-10:]}")

    def wait_quiet(self) -> None:
        """Until everything that happened so far has come through: a heartbeat sent now comes after it."""
        sent = time.monotonic_ns()
        self.watch.beat()
        wait_until(lambda: (self.watch.pulse.heard_ns or 0) > sent, 15)

    def codes(self) -> set[str]:
        return {reason.code for reason in self.watch.problems()}


def test_a_watch_has_no_pulse_until_a_beat_comes_back(watched: Watched) -> None:
    watched.watch.stop()
    shutil.rmtree(watched.beat_dir, ignore_errors=True)
    watched.watch.start()
    assert watched.watch.pulse.heard_ns is None
    watched.wait_quiet()
    assert watched.watch.pulse.heard_ns is not None


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.sink.blocked.set()
    made.watch.stop()


def test_save_move_and_delete_are_hinted_as_settled(watched: Watched) -> None:
    watched.write("a.py")
    watched.write("b.py")
    watched.watch.start()
    watched.write("a.py", "y = 2\n")
    os.rename(watched.root / "b.py", watched.root / "c.py")
    watched.wait_quiet()
    assert {("changed", name, True) for name in ("a.py", "b.py", "c.py")} <= set(watched.sink.hints)
    watched.sink.clear()
    (watched.root / "c.py").unlink()
    watched.wait_covered("c.py")


def test_a_file_kept_open_is_hinted_while_it_is_written(watched: Watched) -> None:
    watched.watch.start()
    with (watched.root / "long.py").open("w") as file:
        file.write("x = 1\n")
        file.flush()
        watched.wait_covered("long.py")
        watched.sink.clear()
        os.ftruncate(file.fileno(), 0)
        watched.wait_covered("long.py")


def test_unwanted_names_and_excluded_trees_give_no_hint(watched: Watched) -> None:
    watched.write(".git/objects/x.py")
    watched.write("__pycache__/x.py")
    watched.watch.start()
    watched.write(".git/objects/x.py", "changed\n")
    watched.write("__pycache__/x.py", "changed\n")
    watched.write("notes.txt")
    watched.wait_quiet()
    assert watched.sink.hints == []


def test_reading_a_tree_gives_no_events(watched: Watched) -> None:
    for number in range(100):
        watched.write(f"p{number}/m.py")
    watched.watch.start()
    for path in watched.root.rglob("*.py"):
        path.read_text()
    watched.wait_quiet()
    assert watched.sink.hints == []


def test_nested_directories_made_at_once_are_watched_to_the_bottom(watched: Watched) -> None:
    watched.watch.start()
    watched.write("a/b/c/d/e/deep.py")
    watched.wait_covered("a/b/c/d/e/deep.py")
    watched.wait_quiet()
    watched.sink.clear()
    watched.write("a/b/c/d/e/deep.py", "again = 1\n")
    watched.wait_covered("a/b/c/d/e/deep.py")


def test_a_directory_moved_within_the_repo_reports_under_its_new_name_only(watched: Watched) -> None:
    watched.write("old/sub/m.py")
    watched.watch.start()
    os.rename(watched.root / "old", watched.root / "new")
    watched.wait_covered("old/sub/m.py")
    watched.wait_covered("new/sub/m.py")
    watched.wait_quiet()
    watched.sink.clear()
    watched.write("new/sub/m.py", "y = 1\n")
    watched.wait_covered("new/sub/m.py")
    assert not watched.sink.covers("old/sub/m.py")


def test_a_directory_moved_out_is_silent_and_one_moved_in_is_seen(watched: Watched, tmp_path: Path) -> None:
    watched.write("gone/m.py")
    watched.watch.start()
    os.rename(watched.root / "gone", tmp_path / "outside")
    watched.wait_covered("gone/m.py")
    watched.wait_quiet()
    watched.sink.clear()
    (tmp_path / "outside" / "m.py").write_text("edited = 1\n")
    watched.wait_quiet()
    assert watched.sink.hints == []
    os.rename(tmp_path / "outside", watched.root / "back")
    watched.wait_covered("back/m.py")


def test_the_late_farewell_of_a_directory_that_was_held_open_does_not_blind_its_successor(watched: Watched) -> None:
    watched.write("p/d/m.py")
    watched.watch.start()
    held = os.open(watched.root / "p" / "d", os.O_RDONLY)
    shutil.rmtree(watched.root / "p")
    watched.write("p/d/m.py", "successor = 1\n")
    watched.wait_covered("p/d/m.py")
    watched.wait_quiet()
    os.close(held)  # only now does the kernel say that the old one is gone
    watched.wait_quiet()
    watched.sink.clear()
    watched.write("p/d/m.py", "later = 1\n")
    watched.wait_covered("p/d/m.py")


def test_the_sequence_that_kills_the_stock_emitter_is_survived(watched: Watched, tmp_path: Path) -> None:
    watched.write("src/m.py")
    watched.watch.start()
    os.rename(watched.root / "src", watched.root / "out")
    (watched.root / "src").mkdir()
    (watched.root / "src").rmdir()
    shutil.rmtree(watched.root / "out")
    watched.wait_quiet()
    watched.sink.clear()
    watched.write("src/m.py", "back = 1\n")
    watched.wait_covered("src/m.py")
    assert watched.watch.alive


class Stalling(Selection):
    """Holds the emitter's thread up, as a stopped process would."""

    def __init__(self, root: str) -> None:
        super().__init__(root, SelectionRules())
        self.go = threading.Event()
        self.go.set()

    def wants_name(self, path: str) -> bool:
        self.go.wait(60)
        return super().wants_name(path)


def test_an_overflowing_queue_ends_in_a_scan_and_later_edits_are_seen(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    selection = Stalling(str(watched.root))
    overflows: list[int] = []
    beat_dir = str(tmp_path / "beat")
    watched.watch = RepoWatch(str(watched.root), selection, watched.sink, beat_dir, lambda: overflows.append(1))
    watched.watch.start()
    try:
        selection.go.clear()
        watched.write("first.py")
        for number in range(int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())):
            os.close(os.open(watched.root / f"{number % 100}.py", os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        watched.write("made_meanwhile/m.py")
        selection.go.set()
        wait_until(lambda: any("overflow" in str(why) for _, _, why in watched.sink.hints))
        assert overflows, "and it is counted"
        watched.wait_quiet()
        watched.sink.clear()
        watched.write("made_meanwhile/m.py", "later = 1\n")
        watched.wait_covered("made_meanwhile/m.py")
    finally:
        selection.go.set()
        watched.watch.stop()


def test_a_root_that_goes_is_a_problem_and_one_that_comes_back_is_scanned(watched: Watched, tmp_path: Path) -> None:
    watched.watch.start()
    os.rename(watched.root, tmp_path / "elsewhere")
    wait_until(lambda: watched.codes() == {"root-missing"})
    watched.root.mkdir()
    wait_until(lambda: not watched.codes())
    wait_until(lambda: any(kind == "rescan" and folder == "" for kind, folder, _ in watched.sink.hints))
    watched.sink.clear()
    watched.write("new.py")
    watched.wait_covered("new.py")


def test_a_root_replaced_in_one_step_is_noticed(watched: Watched, tmp_path: Path) -> None:
    watched.watch.start()
    other = tmp_path / "other"
    other.mkdir()
    (other / "other.py").write_text("x = 1\n")
    os.rename(watched.root, tmp_path / "aside")
    os.rename(other, watched.root)
    watched.wait_covered("other.py")
    wait_until(lambda: not watched.codes())
    watched.sink.clear()
    watched.write("later.py")
    watched.wait_covered("later.py")


def test_a_root_that_became_a_link_is_a_problem_and_not_followed(watched: Watched, tmp_path: Path) -> None:
    watched.watch.start()
    os.rename(watched.root, tmp_path / "elsewhere")
    watched.root.symlink_to(tmp_path / "elsewhere")
    wait_until(lambda: watched.codes() == {"root-missing"})
    watched.root.unlink()


def test_a_file_where_a_directory_was_and_back(watched: Watched) -> None:
    watched.write("x.py/inner.py")
    watched.watch.start()
    shutil.rmtree(watched.root / "x.py")
    (watched.root / "x.py").write_text("file = 1\n")
    watched.wait_covered("x.py")
    watched.wait_quiet()
    watched.sink.clear()
    (watched.root / "x.py").unlink()
    watched.write("x.py/inner.py")
    watched.wait_covered("x.py/inner.py")


def test_an_environment_made_in_the_tree_is_left_out_and_taken_back_when_it_is_none_any_more(watched: Watched) -> None:
    watched.watch.start()
    watched.write("env/pyvenv.cfg")
    watched.wait_quiet()
    watched.write("env/lib/m.py")
    watched.wait_quiet()
    watched.sink.clear()
    watched.write("env/lib/m.py", "changed = 1\n")
    watched.wait_quiet()
    assert watched.sink.hints == []
    (watched.root / "env" / "pyvenv.cfg").unlink()
    watched.wait_covered("env/lib/m.py")
    watched.wait_quiet()
    watched.sink.clear()
    watched.write("env/lib/m.py", "again = 1\n")
    watched.wait_covered("env/lib/m.py")


def test_the_heartbeat_comes_through_and_stop_is_prompt(watched: Watched) -> None:
    watched.watch.start()
    watched.wait_quiet()
    assert watched.watch.alive
    begun = time.monotonic()
    watched.watch.stop()
    assert time.monotonic() - begun < 2
    assert not watched.watch.alive
    watched.watch.start()
    watched.write("after.py")
    watched.wait_covered("after.py")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # that it dies loudly is the point
def test_a_handler_that_fails_is_not_hidden_and_a_new_start_hints_again(watched: Watched) -> None:
    watched.watch.start()
    changed = watched.sink.changed

    def fail(path: str, *, settled: bool) -> None:
        raise RuntimeError("broken sink")

    watched.sink.changed = fail  # type: ignore[method-assign]
    watched.write("a.py")
    wait_until(lambda: not watched.watch.alive)
    watched.sink.changed = changed  # type: ignore[method-assign]
    watched.watch.stop()
    watched.watch.start()
    watched.write("b.py")
    watched.wait_covered("b.py")


def test_a_directory_mounted_twice_is_hinted_under_both_names(watched: Watched) -> None:
    watched.write("real/m.py")
    (watched.root / "twin").mkdir()
    if subprocess.run(["mount", "--bind", watched.root / "real", watched.root / "twin"], check=False).returncode:
        pytest.skip("bind mounts need root")
    try:
        watched.watch.start()
        watched.write("real/m.py", "changed = 1\n")
        watched.wait_covered("real/m.py")
        watched.wait_covered("twin/m.py")
    finally:
        subprocess.run(["umount", watched.root / "twin"], check=True)


def test_the_portable_observer_hints_what_changed(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    (root / "package").mkdir(parents=True)
    (root / "package" / "m.py").write_text("x = 1\n")
    (tmp_path / "beat").mkdir()
    sink = Sink()
    watch = RepoWatch(str(root), Selection(str(root), SelectionRules()), sink, str(tmp_path / "beat"))
    observer = portable_observer(
        str(root), Selection(str(root), SelectionRules()), watch.handler, str(tmp_path / "beat"), PollingObserver(timeout=0.05)
    )
    observer.start()
    try:
        (root / "package" / "m.py").write_text("changed = 1\n")
        wait_until(lambda: sink.covers("package/m.py"))
        (root / "fresh.py").write_text("x = 1\n")
        wait_until(lambda: sink.covers("fresh.py"))
    finally:
        observer.stop()
        observer.join()


@pytest.mark.skipif(sys.platform != "linux", reason="only inotify needs a walk")
def test_a_walk_that_takes_long_is_no_silence_and_ends_where_it_is_told_to(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    for number in range(10):
        (watched.root / f"p{number}").mkdir()

    def is_overdue() -> bool:
        return watched.watch.pulse.overdue(time.monotonic_ns() + 2 * SILENT_NS)

    def stop() -> None:
        raise Interrupted("told to stop")

    with pytest.raises(Interrupted):
        watched.watch.start(stop)
    assert not watched.watch.alive
    watched.watch.stop()
    during: list[bool] = []
    watched.watch.start(lambda: during.append(is_overdue()))
    try:
        assert len(during) > 10
        assert not any(during)
        assert is_overdue(), "from now on a beat must come back"
    finally:
        watched.watch.stop()
