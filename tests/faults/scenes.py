"""What is at work when a fault comes: trees with a past, commands on them, and what must hold afterwards."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from guardd.model import FileState
from guardd.store.codec import digest
from guardd.store.soundness import check
from guardd.store.store import Store
from tests.e2e.test_restore import age
from tests.faults.stopper import Stop, Stopped, Stopper
from tests.world import World, snapshot

Part = Literal["all", "repo", "store"]

Versions = dict[tuple[int, str], FileState]
"""What the log says by sequence number and path."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A command on a prepared world. `finish`: the ways to complete it when it was stopped; `forgets`: it drops versions."""

    name: str
    prepare: Callable[[World], None]
    words: tuple[str, ...]
    finish: tuple[tuple[str, ...], ...] = ()
    exits: tuple[int, ...] = (0,)
    forgets: bool = False


def first_tree(world: World) -> None:
    for number in range(24):
        body = "".join(f"def f{at}(x):\n    return x + {at * number}\n\n\n" for at in range(12))
        world.write(f"p{number % 4}/m{number}.py", f"# file {number}\n{body}")
    world.write("p0/sub/deep.py", "deep = 1\n").chmod(0o755)
    (world.root / "p1/link.py").symlink_to("m1.py")


def change(world: World, word: str) -> None:
    """Some files rewritten, some gone, some new."""
    for path in sorted(world.root.rglob("m*.py"))[:14]:
        path.write_bytes(path.read_bytes().replace(b"return", word.encode()))
    for path in sorted(world.root.rglob("m2?.py")):
        path.unlink(missing_ok=True)
    for number in range(4):
        world.write(f"new/{word}{number}.py", f"{word} = {number}\n")


def unguarded(world: World) -> None:
    world.configure("")
    first_tree(world)
    world.ctl("init")


def guarded(world: World) -> None:
    world.configure("[retention]\nkeep_all = '1h'\nkeep_hourly = '1h'\nkeep_daily = '1h'\n")
    first_tree(world)
    world.ctl("init")
    world.ctl("snapshot", "--label", "first")


def changed(world: World) -> None:
    guarded(world)
    change(world, "yield")


def known(world: World) -> None:
    changed(world)
    world.ctl("snapshot", "--label", "second")


def restored(world: World) -> None:
    known(world)
    world.ctl(*_RESTORE)


def aged(world: World) -> None:
    known(world)
    change(world, "raise")
    world.ctl("snapshot")
    age(world, 40 * 86_400)
    (world.root / "p0/m0.py").write_bytes(b"last = 1\n")
    world.ctl("snapshot")


def kept_run(world: World) -> None:
    guarded(world)
    script = "import pathlib\nfor p in pathlib.Path('.').rglob('m*.py'): p.write_bytes(p.read_bytes() + b'\\nz = 1\\n')"
    world.ctl("run", "--ignore-exit", "--", sys.executable, "-c", script)


def older_schema(world: World) -> None:
    unguarded(world)
    for folder in ("p0", "p1", "p2", "p3"):  # so few at once that no frame is made: the older schema knows of none
        world.ctl("show", f"{folder}/m{folder[1]}.py")
    old = sqlite3.connect(world.state / "guard.db")
    old.executescript(
        """
        DROP INDEX blobs_by_frame; DROP TABLE frames;
        ALTER TABLE blobs DROP COLUMN frame_id; ALTER TABLE blobs DROP COLUMN place;
        DROP TABLE watched; DROP TABLE runs; DROP TABLE adopted; DROP TABLE checked; DROP TABLE purging;
        PRAGMA user_version = 3;
        """
    )
    old.close()


def broken_content(world: World) -> None:
    """A blob whose bytes are wrong: a row to be mended."""
    known(world)
    db = sqlite3.connect(world.state / "guard.db")
    with db:
        db.execute("UPDATE blobs SET data = zeroblob(length(data)) WHERE id = (SELECT max(id) FROM blobs WHERE codec <> 3)")
    db.close()


def broken_database(world: World) -> None:
    """An index that is not what it says: the database has to be built anew, with nothing of it lost."""
    known(world)
    db = sqlite3.connect(world.state / "guard.db")
    (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'versions_by_blob'").fetchone()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    with (world.state / "guard.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 64)


_QUICK = ("--yes", "--no-verify")
_RESTORE = ("restore", "--since", "snapshot:1", *_QUICK)
_RESUME = ("restore", "--resume", *_QUICK)

SCENES = (
    Scene("baseline", unguarded, ("snapshot",)),
    Scene("capture", changed, ("snapshot",)),
    Scene("restore", known, _RESTORE, (_RESUME, _RESTORE)),
    Scene("restore of what was not captured", changed, _RESTORE, (_RESTORE,)),
    Scene("undo", restored, ("undo", *_QUICK), (_RESUME, ("undo", "1", *_QUICK))),
    Scene("run --rollback", kept_run, ("run", "--rollback", "1"), (("run", "--rollback", "1"),)),
    Scene("gc", aged, ("gc",), forgets=True),
    Scene("purge", known, ("purge", "p0/m0.py", "--yes"), forgets=True),
    Scene("migration", older_schema, ("status",), exits=(0, 1)),
    Scene("fsck --repair of rows", broken_content, ("fsck", "--repair")),
    Scene("fsck --repair of the database", broken_database, ("fsck", "--repair")),
)


@dataclass(slots=True)
class Stage:
    """A scene's world, prepared once and put back for each fault; `points`: how many its command comes by.

    `part`: what of it lies in `base`, all of it, or only its repo or its store, with the rest in `elsewhere`.
    """

    scene: Scene
    base: Path
    stopper: Stopper
    part: Part = "all"
    elsewhere: Path | None = None
    world: World = field(init=False)
    points: int = field(init=False, default=0)
    before: dict[str, bytes] = field(init=False, default_factory=dict)
    after: dict[str, bytes] = field(init=False, default_factory=dict)
    needed: Versions = field(init=False, default_factory=dict)
    contents: set[bytes] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self.world = self._make_world()
        self.scene.prepare(self.world)
        self.save()
        self.before = snapshot(self.world.root)
        damaged = self.readable() if self.scene.name.startswith("fsck") else {}
        command = self.begin(Stop())
        code, self.points = command.end
        assert code in self.scene.exits, command.output
        self.after = snapshot(self.world.root)
        self.needed = self.readable()
        self.contents = self._contents()
        assert self.points >= 1
        assert damaged.keys() <= self.needed.keys()

    def _make_world(self) -> World:
        if self.part == "all":
            return World(self.live)
        assert self.elsewhere is not None
        if self.part == "repo":
            return World(self.elsewhere, root=self.live / "repo")
        self.live.mkdir()
        return World(self.elsewhere, state=self.live / "state")

    @property
    def log(self) -> Path:
        """What the command said; beside its world, which a fault may take away."""
        return self.base.with_name(self.base.name + ".log")

    @property
    def live(self) -> Path:
        return self.base / "live"

    @property
    def saved(self) -> Path:
        return self.base.with_name(self.base.name + ".saved")

    def save(self) -> None:
        """Keep the world as it is now, for `put_back`."""
        for live, saved in self._copied():
            shutil.copytree(live, saved, symlinks=True)

    def put_back(self) -> None:
        for live, saved in self._copied():
            shutil.rmtree(live)
            shutil.copytree(saved, live, symlinks=True)

    def _copied(self) -> Iterator[tuple[Path, Path]]:
        """Each folder that is kept by copying it, and its copy."""
        yield self.live, self.saved
        if self.part != "all":
            assert self.elsewhere is not None
            yield self.elsewhere, self.elsewhere.with_name(self.elsewhere.name + ".saved")

    def begin(self, stop: Stop, words: Sequence[str] = ()) -> Stopped:
        said = ["guardctl", *(words or self.scene.words)]
        return self.stopper.begin(said, self.world.env, self.world.root, self.log, stop)

    def carry_out(self, words: Sequence[str]) -> tuple[int, str]:
        command = self.begin(Stop(), words)
        return command.end[0], command.output

    def acknowledged(self) -> Versions:
        """Every version that another connection can read right now, its content included; where none can, those from before."""
        is_closed = self.scene.name.startswith(("migration", "fsck"))
        return self.needed if is_closed else self.readable()

    def readable(self) -> Versions:
        return readable(self.world.state)

    def check(self, acknowledged: Versions, *, is_over: bool = False) -> None:
        """Right after the fault, then, unless the command `is_over` by itself, after it was completed."""
        kept = {place: state for place, state in acknowledged.items() if not self.scene.forgets or place in self.needed}
        is_mended = not self.scene.name.startswith("fsck")
        self._check_store(kept, is_sound=is_mended)
        self._check_tree(self.before, self.after)
        if not is_over:
            self._complete()
        self._check_store(kept, is_sound=True)
        assert snapshot(self.world.root) == self.after
        if self.scene.name == "purge":
            assert self._contents() == self.contents
        both = (self.world.root, self.world.state)
        left = [path for folder in both for path in folder.rglob("*") if path.name.startswith(".guardd-")]
        assert not left

    def _complete(self) -> None:
        ways = self.scene.finish or (self.scene.words,)
        said = []
        for words in ways:
            code, output = self.carry_out(words)
            said.append((words, code, output))
            if code in self.scene.exits or "there is nothing to roll back" in output:  # killed when all was done
                return
        raise AssertionError(said)

    def _contents(self) -> set[bytes]:
        """The hash of every content in the store, needed or not."""
        with Store(str(self.world.state)) as store:
            return {row[0] for row in store.db.rows("SELECT hash FROM blobs")}

    def _check_store(self, kept: Versions, *, is_sound: bool) -> None:
        with Store(str(self.world.state)) as store:
            damages = list(check(store)) if is_sound else []
            assert not damages, damages
        found = self.readable()
        lost = {place: state for place, state in kept.items() if found.get(place) != state}
        assert not lost

    def _check_tree(self, old: dict[str, bytes], new: dict[str, bytes]) -> None:
        found = {path: content for path, content in snapshot(self.world.root).items() if "/.guardd-" not in "/" + path}
        for path in old.keys() | new.keys() | found.keys():
            assert found.get(path) in (old.get(path), new.get(path)), path


@contextmanager
def noted(what: str) -> Iterator[None]:
    """Say with whatever fails inside where that was."""
    try:
        yield
    except BaseException as error:
        error.add_note(what)
        raise


def readable(state: Path) -> Versions:
    """Every version in a store whose content reads as its hash says."""
    from guardd.store.blobs import MissingBlob
    from guardd.store.codec import BrokenBlob

    found: Versions = {}
    if not (state / "guard.db").exists():
        return found
    with Store(str(state)) as store, store.db.snapshot():
        rows = store.db.rows("SELECT v.seq, p.path FROM versions v JOIN paths p ON p.id = v.path_id")
        for seq, path in rows:
            version = store.log.version(seq)
            assert version is not None
            if version.state.present:
                try:
                    assert digest(store.blobs.read(version.state.blob)) == version.state.blob
                except (BrokenBlob, MissingBlob):
                    continue
            found[seq, os.fsdecode(path)] = version.state
    return found
