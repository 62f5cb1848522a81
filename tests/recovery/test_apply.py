"""Apply and the file operations beneath a root: old or new, never torn, never outside."""

import os
import resource
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.world import snapshot

import guardd.recovery.apply
from guardd.beneath import Root
from guardd.capture.reading import key_of
from guardd.errors import GuardError
from guardd.model import ABSENT, FileState, Kind, StatKey
from guardd.recovery.apply import Applied, Step, apply, leftovers
from guardd.store.codec import digest

BLOBS: dict[bytes, bytes] = {}


def file(content: bytes, mode: int = 0o644) -> FileState:
    BLOBS[digest(content)] = content
    return FileState(Kind.FILE, digest(content), len(content), mode)


def key(path: Path) -> StatKey:
    return key_of(os.lstat(path))


@pytest.fixture(params=["openat2", "by steps"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    (tmp_path / "repo").mkdir()
    with Root(str(tmp_path / "repo"), by_steps=request.param == "by steps") as opened:
        yield opened


def read_many(hashes: Iterable[bytes]) -> Iterator[tuple[bytes, bytes | GuardError]]:
    """As a store that has lost one content, from last to first: the order is its own."""
    for hash_ in reversed(list(hashes)):
        yield hash_, GuardError("blob is damaged") if hash_ == digest(b"lost") else BLOBS[hash_]


def put(root: Root, *steps: Step) -> Applied:
    return apply(steps, root, read_many, tag="t")


@pytest.mark.promise("only inside the repo is written", "paths that are absolute, lead upwards, or hold a NUL")
@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../x", "./a", "a//b", "a/", "a\0b"])
def test_a_path_that_could_lead_outside_is_no_path(root: Root, path: str) -> None:
    with pytest.raises(OSError, match="not a path inside"):
        root.open_read(path)


@pytest.mark.promise("only inside the repo is written", "symbolic links in any place of a path")
def test_no_link_in_any_place_of_a_path_is_followed(root: Root, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.py").write_text("secret")
    os.symlink(tmp_path / "outside", os.path.join(root.path, "folder"))
    os.symlink(tmp_path / "outside" / "secret.py", os.path.join(root.path, "file.py"))
    for path in ("folder/secret.py", "file.py"):
        with pytest.raises(OSError, match="symbolic links"):
            root.open_read(path)
    with pytest.raises(OSError):  # noqa: PT011  # ELOOP or ENOTDIR, by kernel
        root.open_dir("folder/new", create=True)
    assert root.readlink("file.py") == os.fsencode(tmp_path / "outside" / "secret.py")


def test_files_links_and_removals_are_put_in_place_with_their_modes(root: Root) -> None:
    base = Path(root.path)
    (base / "old.py").write_bytes(b"old")
    (base / "gone").mkdir()
    (base / "gone" / "g.py").write_bytes(b"g")
    BLOBS[digest(b"target")] = b"target"
    done = put(
        root,
        Step("old.py", file(b"new", 0o6755), key(base / "old.py")),
        Step("deep/er/born.py", file(b"born", 0o600), None),
        Step("gone/g.py", ABSENT, key(base / "gone" / "g.py")),
        Step("link.py", FileState(Kind.LINK, digest(b"target"), 6, 0o777), None),
        Step("never.py", ABSENT, None),
    )
    assert done.failed == []
    assert done.changed == []
    assert set(done.done) == {"old.py", "deep/er/born.py", "gone/g.py", "link.py", "never.py"}
    assert snapshot(base) == {"old.py": b"new", "deep/er/born.py": b"born", "link.py": b"target"}
    assert os.stat(base / "old.py").st_mode & 0o7777 == 0o755
    assert os.stat(base / "deep/er/born.py").st_mode & 0o777 == 0o600
    assert not (base / "gone").exists()
    assert done.done["old.py"] == key(base / "old.py")


@pytest.mark.promise("a restore leaves each file old or new", "files edited between the plan and the write")
def test_what_is_not_what_was_expected_is_left_alone(root: Root) -> None:
    base = Path(root.path)
    for name in ("edited.py", "removal.py"):
        (base / name).write_bytes(b"old")
    keys = {name: key(base / name) for name in ("edited.py", "removal.py")}
    for name in keys:
        (base / name).write_bytes(b"newer edit")
    (base / "appeared.py").write_bytes(b"appeared")
    done = put(
        root,
        Step("edited.py", file(b"target"), keys["edited.py"]),
        Step("removal.py", ABSENT, keys["removal.py"]),
        Step("appeared.py", file(b"target"), None),
        Step("vanished.py", file(b"target"), keys["edited.py"]),
    )
    assert sorted(done.changed) == ["appeared.py", "edited.py", "removal.py", "vanished.py"]
    assert snapshot(base) == {"edited.py": b"newer edit", "removal.py": b"newer edit", "appeared.py": b"appeared"}


def test_a_blob_that_cannot_be_read_fails_its_file_only(root: Root) -> None:
    base = Path(root.path)
    (base / "a.py").write_bytes(b"old")

    done = put(root, Step("a.py", file(b"lost"), key(base / "a.py")), Step("b.py", file(b"fine"), None))
    assert done.failed == [("a.py", "blob is damaged")]
    assert snapshot(base) == {"a.py": b"old", "b.py": b"fine"}


def test_the_longest_names_and_any_bytes_work(root: Root) -> None:
    names = ["x" * 252 + ".py", os.fsdecode(b"\xff\xfe.py"), "new\nline.py", "d" * 255 + "/" + "e" * 255]
    done = put(root, *(Step(name, file(b"content"), None) for name in names))
    assert done.failed == []
    assert set(snapshot(Path(root.path))) == set(names)


def test_many_directories_need_few_descriptors(root: Root) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 50, hard))
    try:
        done = put(root, *(Step(f"d{number}/m.py", file(b"content"), None) for number in range(300)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert done.failed == []
    assert len(snapshot(Path(root.path))) == 300


@pytest.mark.promise("a restore leaves each file old or new", "the disk of the repo gets full in a restore")
def test_a_full_disk_leaves_every_file_old_or_new_and_says_so(tmp_path: Path) -> None:
    base = tmp_path / "small"
    base.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "guardtest", base], check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        for number in range(20):
            (base / f"{number}.py").write_bytes(b"old")
        contents = {f"{number}.py": bytes([number]) * 100_000 for number in range(20)}
        with Root(str(base)) as opened:
            done = put(opened, *(Step(path, file(content), key(base / path)) for path, content in contents.items()))
        assert done.failed
        assert all("disk is full" in reason for _, reason in done.failed)
        for path, content in snapshot(base).items():
            assert content in (b"old", contents[path]), "no temporary file, no torn file"
    finally:
        subprocess.run(["umount", base], check=True)


@pytest.mark.promise("no acknowledged version is lost", "temporary files of a killed restore, one of them an edit")
def test_leftovers_of_a_killed_restore_go_but_never_what_is_not_stored(root: Root) -> None:
    base = Path(root.path)
    (base / "sub").mkdir()
    (base / "sub" / ".guardd-7-1.tmp").write_bytes(b"stored")
    (base / ".guardd-7-2.tmp").write_bytes(b"an edit of this instant")
    (base / ".guardd-7-3.tmp.part").write_bytes(b"half")
    (base / ".guardd-8-1.tmp").write_bytes(b"of another restore")
    kept = leftovers(root, ["", "sub", "not-there"], "7", lambda path: path == "sub/.guardd-7-1.tmp")
    assert kept == [".guardd-7-2.tmp"]
    assert set(snapshot(base)) == {".guardd-7-2.tmp", ".guardd-8-1.tmp"}


def test_many_files_of_many_folders_are_swapped_in_at_the_same_time_and_each_is_told_of(root: Root) -> None:
    base = Path(root.path)
    steps = []
    for number in range(120):
        path = base / f"d{number % 3}" / f"f{number:03}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"old")
        steps.append(Step(f"d{number % 3}/f{number:03}.py", file(b"new %d" % (number % 7)), key(path)))
    edited = [steps[5].path, steps[64].path]
    for edit in edited:
        (base / edit).write_bytes(b"an edit made meanwhile")
    done = put(root, *steps)
    assert done.failed == []
    assert done.changed == sorted(edited)
    assert done.done == {step.path: key(base / step.path) for step in steps if step.path not in edited}
    expected = {step.path: b"an edit made meanwhile" if step.path in edited else BLOBS[step.target.blob] for step in steps}
    assert snapshot(base) == expected


@pytest.mark.promise("a restore leaves each file old or new", "an interrupt while a thread that writes is starting")
@pytest.mark.parametrize(("kind", "slow"), [("guard-write", "_write_all"), ("guard-swap", "move_to_free_name")])
def test_after_an_interrupt_no_thread_writes_any_more(root: Root, monkeypatch: pytest.MonkeyPatch, kind: str, slow: str) -> None:
    start, act = threading.Thread.start, getattr(guardd.recovery.apply, slow)

    def start_and_be_interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name.startswith(kind):
            raise KeyboardInterrupt  # most of the time it finds the main thread here: waiting for the new one to run

    def take_long(*words: Any) -> None:
        time.sleep(0.002)
        act(*words)

    monkeypatch.setattr(threading.Thread, "start", start_and_be_interrupted)
    monkeypatch.setattr(guardd.recovery.apply, slow, take_long)
    with pytest.raises(KeyboardInterrupt):
        put(root, *(Step(f"m{number}.py", file(b"%d" % number), None) for number in range(32)))
    left = snapshot(Path(root.path))
    for thread in threading.enumerate():
        if thread.name.startswith(kind):
            thread.join()
    assert snapshot(Path(root.path)) == left
