"""Someone swaps what lies in a repo for links that lead out of it while guard reads and writes there."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from guardd.beneath import Root
from guardd.capture.reading import Seen, key_of, read
from guardd.errors import GuardError
from guardd.model import ABSENT, FileState, Kind, StatKey
from guardd.recovery.apply import Applied, Step, apply
from guardd.store.codec import digest
from guardd.store.store import Store
from tests.faults import attacker, seeds
from tests.world import World

SECRET = b"secret = 'of a file outside'\n"
LINKED = "linked.py"
ROUNDS = 100


def plant(outside: Path) -> None:
    """Files outside, under each name that is restored inside."""
    for name in ("a.py", "b.py", "gone.py", "sub/c.py", "sub/gone.py", "pkg/a.py", "pkg/sub/c.py"):
        (outside / name).parent.mkdir(parents=True, exist_ok=True)
        (outside / name).write_bytes(SECRET)
    (outside / LINKED).write_bytes(b"linked = 1\n")


def standing(outside: Path) -> dict[str, tuple[Any, ...]]:
    """All that would tell of a touch. A hard link made by the attacker changes ctime and count of what it links to."""
    found = {}
    for path in (outside, *outside.rglob("*")):
        at = path.lstat()
        touched = (at.st_ctime_ns, at.st_nlink) if path.name != LINKED else ()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (at.st_ino, at.st_mode, at.st_uid, at.st_gid, at.st_size, at.st_mtime_ns, *touched, content)
    return found


def plant_repo(world: World, content: bytes) -> None:
    """The repo anew, for an attack leaves it in whatever state it had when it was ended."""
    for left in (world.root, *world.root.parent.glob(f"{world.root.name}.*")):
        if left.is_symlink():
            left.unlink()
        shutil.rmtree(left, ignore_errors=True)
    for path in ("a.py", "b.py", "gone.py", "sub/c.py", "sub/gone.py"):
        world.write(f"pkg/{path}", content)


@contextmanager
def attacked(root: Path, outside: Path, seed: int, *tricks: str) -> Iterator[None]:
    command = [sys.executable, "-I", "-S", attacker.__file__, str(root), str(outside), str(seed), *tricks]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == b"ready\n"
            yield
            assert process.poll() is None, "the attack went on to the end"
        finally:
            process.kill()


def read_many(hashes: Iterable[bytes]) -> Iterator[tuple[bytes, bytes | GuardError]]:
    for hash_ in hashes:
        yield hash_, CONTENTS[hash_]


CONTENTS = {digest(content): content for content in (b"restored = %d\n" % number for number in range(ROUNDS))}


def state_of(number: int) -> FileState:
    content = b"restored = %d\n" % number
    return FileState(Kind.FILE, digest(content), len(content), 0o644)


def expected(root: Root, path: str) -> StatKey | None:
    try:
        return key_of(root.lstat(path))
    except OSError:
        return None


def steps_of(root: Root, number: int) -> list[Step]:
    """Files replaced, born and removed."""
    target = state_of(number)
    present = [Step(path, target, expected(root, path)) for path in ("pkg/a.py", "pkg/b.py", "pkg/sub/c.py")]
    born = [Step(path, target, None) for path in (f"pkg/n{number}.py", f"pkg/sub/deep{number}/d.py")]
    removed = [Step(path, ABSENT, expected(root, path)) for path in ("pkg/gone.py", "pkg/sub/gone.py", f"pkg/n{number - 1}.py")]
    return [*present, *born, *removed]


def make_empty(root: Root, folder: str, name: str) -> None:
    above = root.open_dir(folder)
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, dir_fd=above))
    finally:
        os.close(above)


def one_round(root: Root, number: int) -> Applied:
    for folder in ("pkg", "pkg/sub"):
        with suppress(OSError):
            make_empty(root, folder, "gone.py")
    for path in ("pkg/a.py", "pkg/sub/c.py", "pkg/sub/gone.py"):
        seen = read(root, path, 1 << 20)
        assert not (isinstance(seen, Seen) and seen.content == SECRET), f"{path} was read through a link"
    return apply(steps_of(root, number), root, read_many, tag="t")


@pytest.mark.promise(
    "only inside the repo is written", "folders, files, temporary files and the root swapped for links meanwhile"
)
@pytest.mark.parametrize("by_steps", [False, True], ids=["openat2", "by steps"])
@pytest.mark.parametrize("seed", seeds(everyday=1, full=15))
def test_whatever_is_swapped_for_links_nothing_outside_is_touched(
    tmp_path: Path, seed: int, by_steps: bool, record_property: Any
) -> None:
    base, outside = tmp_path / "repo", tmp_path / "outside"
    (base / "pkg/sub").mkdir(parents=True)
    plant(outside)
    before = standing(outside)
    done = failed = 0
    rng = random.Random(seed)
    tricks = rng.sample(attacker.TRICKS, rng.randrange(2, len(attacker.TRICKS)))
    with Root(str(base), by_steps=by_steps) as root, attacked(base, outside, seed, *tricks):
        for number in range(ROUNDS):
            applied = one_round(root, number)
            done += len(applied.done)
            failed += len(applied.failed) + len(applied.changed)
    record_property("faults", ROUNDS)
    assert standing(outside) == before
    assert set(os.listdir(tmp_path)) <= {"repo", "outside", "repo.aside", "repo.moved"}
    assert done
    assert failed, f"{tricks} never met a step"


@pytest.mark.promise(
    "only inside the repo is written", "guardctl restore, undo and status while the repo and its root are swapped for links"
)
@pytest.mark.parametrize("seed", seeds(everyday=1, full=6))
def test_commands_in_a_repo_under_attack_neither_write_nor_store_what_is_outside(
    world: World, tmp_path: Path, seed: int, record_property: Any
) -> None:
    outside = tmp_path / "outside"
    plant(outside)
    plant_repo(world, b"first = 1\n")
    world.configure("")
    world.ctl("init")
    world.ctl("snapshot")
    before = standing(outside)
    rounds = 2 if seed == 1 else 8
    for number in range(rounds):
        plant_repo(world, b"edited = %d\n" % number)
        with attacked(world.root, outside, seed * 100 + number):
            for words in (["restore", "--at", "snapshot:1", "--yes", "--no-verify"], ["undo", "--yes"], ["status"]):
                done = world.ctl("--repo", str(world.root), *words, check=None, cwd=tmp_path)
                assert "Traceback" not in done.stderr, done.stderr
    record_property("faults", rounds)
    assert standing(outside) == before
    with Store(str(world.state)) as store:
        repo = store.repos.find(str(world.root))
        assert repo
        kept = [store.blobs.read(version.state.blob) for version in store.log.versions(repo.id) if version.state.present]
    assert kept
    assert SECRET not in kept
