"""The storm: whatever happens to a tree, every head equals the disk afterwards, and later edits are still seen."""

import os
import random
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from tests.world import Daemon, World, snapshot, wait_until

SECONDS = 15.0
EVERYDAY_SECONDS = 4.0


class Storm:
    """Seeded random changes to a tree."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.outside = root.parent / "outside"
        self.outside.mkdir()

    def folders(self) -> list[Path]:
        return [Path(folder) for folder, _, _ in os.walk(self.root)]

    def some_name(self) -> str:
        return self.random.choice("abcdefgh") + self.random.choice(["", ".py", ".py", ".pyi", ".txt"])

    def place(self) -> Path:
        return self.random.choice(self.folders()) / self.some_name()

    def existing(self) -> Path | None:
        found = [path for folder in self.folders() for path in folder.iterdir()]
        return self.random.choice(found) if found else None

    def content(self) -> str:
        return f"x = {self.random.random()}\n" * self.random.randrange(0, 40)

    def step(self) -> None:
        action = self.random.choice(
            [self.write, self.write, self.write, self.append, self.mkdir, self.move, self.move, self.remove,
             self.rename_over, self.swap, self.move_out_and_in, self.link, self.truncate]
        )  # fmt: skip
        with suppress(OSError):  # the storm does not plan
            action()

    def write(self) -> None:
        self.place().write_text(self.content())

    def append(self) -> None:
        path = self.existing()
        if path and path.is_file():
            with path.open("a") as file:
                file.write(self.content())

    def truncate(self) -> None:
        path = self.existing()
        if path and path.is_file():
            os.truncate(path, 0)

    def mkdir(self) -> None:
        deep = self.place()
        for _ in range(self.random.randrange(1, 4)):
            deep = deep / self.some_name()
        deep.mkdir(parents=True)
        (deep / "inner.py").write_text(self.content())

    def move(self) -> None:
        path = self.existing()
        if path:
            os.rename(path, self.place())

    def remove(self) -> None:
        path = self.existing()
        if path and path.is_dir() and not path.is_symlink():
            if len(self.folders()) > 12:
                shutil.rmtree(path)
        elif path:
            path.unlink()

    def rename_over(self) -> None:
        temp = self.place().with_name("temp.tmp")
        temp.write_text(self.content())
        os.replace(temp, self.place())

    def swap(self) -> None:
        """A file where a directory was, a directory where a file was."""
        path = self.existing()
        if path is None or path.is_symlink():
            return
        if path.is_dir():
            shutil.rmtree(path)
            path.write_text(self.content())
        else:
            path.unlink()
            path.mkdir()
            (path / "swapped.py").write_text(self.content())

    def move_out_and_in(self) -> None:
        path = self.existing()
        if path and path.is_dir() and not path.is_symlink():
            away = self.outside / f"{self.random.random()}"
            os.rename(path, away)
            (away / "edited_outside.py").write_text(self.content())
            path.mkdir()
            (path / "again.py").write_text(self.content())
            if self.random.random() < 0.5:
                path.joinpath("again.py").unlink()
                path.rmdir()
                os.rename(away, self.place())

    def link(self) -> None:
        os.symlink(self.random.choice(["/etc", "a.py", "nowhere"]), self.place())


def wanted(root: Path) -> dict[str, bytes]:
    return {path: content for path, content in snapshot(root).items() if path.endswith((".py", ".pyi"))}


def rage(world: World, daemon: Daemon, seed: int, seconds: float) -> None:
    storm = Storm(world.root, seed)
    end = time.monotonic() + seconds
    stopped_until = 0.0
    while time.monotonic() < end:
        for _ in range(storm.random.randrange(1, 30)):
            storm.step()
        now = time.monotonic()
        if stopped_until and now > stopped_until:
            daemon.process.send_signal(signal.SIGCONT)
            stopped_until = 0.0
        elif not stopped_until and storm.random.random() < 0.03:
            daemon.process.send_signal(signal.SIGSTOP)
            stopped_until = now + storm.random.random() * 2
        time.sleep(storm.random.random() * 0.02)  # the storm's own pace, not a wait for anything
    daemon.process.send_signal(signal.SIGCONT)


def links(root: Path) -> dict[str, bytes]:
    """Symlinks to directories, which a walk does not list among the files."""
    found = {}
    for folder, folders, _ in os.walk(root):
        for name in folders:
            path = os.path.join(folder, name)
            if os.path.islink(path) and name.endswith((".py", ".pyi")):
                found[os.path.relpath(path, root)] = os.fsencode(os.readlink(path))
    return found


def weather(world: World, seed: int, seconds: float = SECONDS) -> None:
    world.write("a.py")
    daemon = world.start()
    rage(world, daemon, seed, seconds)
    disk = wanted(world.root) | links(world.root)
    try:
        wait_until(lambda: world.heads() == disk, 20)
    except AssertionError:
        heads = world.heads()
        wrong = {path for path in heads.keys() | disk.keys() if heads.get(path) != disk.get(path)}
        said = "".join(daemon.lines[-10:])
        raise AssertionError(f"seed {seed}: heads differ from the disk at {sorted(wrong)[:10]}\n{said}") from None
    for folder in [world.root, *(path for path in world.root.rglob("*") if path.is_dir() and not path.is_symlink())]:
        if folder.name in ("build", "dist"):
            continue
        (folder / "later.py").write_text(f"later = {seed}\n")
    disk = wanted(world.root) | links(world.root)
    wait_until(lambda: world.heads() == disk, 20, f"seed {seed}: edits after the storm are seen")
    assert daemon.stop() == 0


def test_after_a_storm_every_head_equals_the_disk_and_later_edits_are_seen(tmp_path: Path) -> None:
    """Three at once, each with a daemon of its own: they take the processor from each other, which makes them rougher."""
    worlds = [World(tmp_path / str(seed)) for seed in (1, 2, 3)]
    try:
        with ThreadPoolExecutor(len(worlds)) as threads:
            list(threads.map(weather, worlds, (1, 2, 3), [EVERYDAY_SECONDS] * 3))
    finally:
        for world in worlds:
            world.close()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 150))
def test_after_any_storm_every_head_equals_the_disk(world: World, seed: int) -> None:
    weather(world, seed)
