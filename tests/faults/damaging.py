"""A small store with all that a store can hold, copies of it that are damaged by chance, and what of them can be read."""

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from guardd.capture.capturer import Capturer
from guardd.errors import GuardError
from guardd.model import Origin
from guardd.selection import SelectionRules
from guardd.store.codec import QUICK
from guardd.store.space import compact
from guardd.store.store import Store
from tests.world import snapshot

PAGE = 4096
_HEADER = 100
"""Bytes of the database's header, without which SQLite does not take the file for a database."""

Known = dict[int, tuple[str, bytes]]
"""Place in the log -> path, and hash of what it had; empty where it was gone."""


@dataclass(frozen=True, slots=True)
class Template:
    """A store, the tree that it guards, and all that was ever in it. The newest versions lie in the WAL alone."""

    state: Path
    root: Path
    contents: dict[bytes, bytes]
    versions: Known
    disk: dict[str, bytes]

    def contents_of(self, path: str) -> set[bytes]:
        """Every content that a path had."""
        return {self.contents[hash_] for name, hash_ in self.versions.values() if name == path and hash_}

    def copy(self, state: Path) -> None:
        """Another store like this one, and the tree as it was."""
        shutil.copytree(self.state, state)
        shutil.rmtree(self.root)
        for path, content in self.disk.items():
            target = self.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def make_template(folder: Path) -> Template:
    """Frames (quick and dense), chains of deltas, whole blobs, deletions and a snapshot; part of it in the WAL alone."""
    chance = random.Random(0)
    root, live = folder / "tree", folder / "live"
    root.mkdir(parents=True)
    store = Store(str(live), create=True)
    repo = store.repos.add(str(root), SelectionRules())
    capturer = Capturer(store, repo)
    contents: dict[bytes, bytes] = {}

    def capture() -> None:
        capturer.scan(Origin.SCAN)

    for batch in range(3):
        for number in range(8):
            path = root / f"part{batch}" / f"m{number}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(_line(chance) for _ in range(chance.randrange(20, 120))))
        capture()
        if batch == 1:
            compact(store, lambda: True)
    for round_ in range(6):
        for path in chance.sample(sorted(root.rglob("*.py")), 6):
            lines = path.read_text().splitlines(keepends=True)
            lines.insert(chance.randrange(len(lines)), _line(chance))
            path.write_text("".join(lines))
        (root / f"noise{round_}.py").write_bytes(b"# " + chance.randbytes(300).hex().encode() + b"\n")
        if round_ == 3:
            (root / "noise1.py").unlink()
            store.db.run("PRAGMA wal_checkpoint(TRUNCATE)")
        capture()
    store.labels.add(repo.id, "whole", 0)
    assert store.db.value("SELECT count(*) FROM frames WHERE level > ?", (QUICK,))
    for (hash_,) in store.db.rows("SELECT hash FROM blobs"):
        contents[hash_] = store.blobs.read(hash_)
    versions = known_versions(store)
    state = folder / "state"
    state.mkdir(mode=0o700)
    for name in ("guard.db", "guard.db-wal"):  # as a kill leaves them
        shutil.copy2(live / name, state / name)
    capturer.close()
    store.close()
    return Template(state, root, contents, versions, snapshot(root))


def _line(chance: random.Random) -> str:
    return f"value_{chance.randrange(10**6)} = compute({chance.random()}, {chance.choice('abcdef')!r})\n"


def known_versions(store: Store) -> Known:
    """Every version that can be read, whichever way the database gives it."""
    found: Known = {}
    for seq in range(1, 400):
        try:
            version = store.log.version(seq)
        except (GuardError, ValueError, TypeError, OverflowError):
            continue
        if version is not None:
            found[seq] = version.path, version.state.blob if version.state.present else b""
    return found


def readable(state: Path, template: Template) -> tuple[set[bytes], set[int]]:
    """The hashes whose content, and the places whose version, can be had as they were out of a damaged store."""
    hashes: set[bytes] = set()
    try:
        with Store(str(state)) as store:
            for hash_, content in template.contents.items():
                try:
                    found = store.blobs.read(hash_)
                except GuardError:
                    continue
                assert found == content, "a content was given out that is not what its hash was made of"
                hashes.add(hash_)
            versions = known_versions(store)
    except GuardError:
        return set(), set()
    return hashes, {seq for seq, known in versions.items() if template.versions.get(seq) == known}


def rows_left(state: Path) -> set[int]:
    """The places in the log of which a damaged store still says anything."""
    try:
        with Store(str(state)) as store:
            return set(known_versions(store))
    except GuardError:
        return set()


# -- damage ----------------------------------------------------------------------------------------------------------


def flip_bits(file: Path, chance: random.Random) -> int:
    """Some single bits anywhere in a file."""
    content = bytearray(file.read_bytes())
    count = chance.choice((1, 1, 1, 2, 5, 20))
    for _ in range(count):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)
    return count


def flip_in_one_page(file: Path, chance: random.Random) -> int:
    """Some bits of one page: a sector that is going."""
    content = bytearray(file.read_bytes())
    page = chance.randrange(len(content) // PAGE) * PAGE
    count = chance.randrange(2, 30)
    for _ in range(count):
        content[page + chance.randrange(PAGE)] ^= 1 << chance.randrange(8)
    file.write_bytes(content)
    return count


def truncate(file: Path, chance: random.Random) -> int:
    """The end is gone, at a page or in the midst of one."""
    size = file.stat().st_size
    cut = chance.randrange(size // 3, size)
    with file.open("r+b") as opened:
        opened.truncate(cut // PAGE * PAGE if chance.random() < 0.5 else cut)
    return 1


def swap_pages(file: Path, chance: random.Random) -> int:
    """Two pages lie where the other should."""
    content = bytearray(file.read_bytes())
    one, other = (PAGE * page for page in chance.sample(range(len(content) // PAGE), 2))
    content[one : one + PAGE], content[other : other + PAGE] = content[other : other + PAGE], content[one : one + PAGE]
    file.write_bytes(content)
    return 2


def lose_page(file: Path, chance: random.Random) -> int:
    """A page reads as zeros, or as noise."""
    content = bytearray(file.read_bytes())
    page = chance.randrange(len(content) // PAGE) * PAGE
    content[page : page + PAGE] = bytes(PAGE) if chance.random() < 0.5 else chance.randbytes(PAGE)
    file.write_bytes(content)
    return 1


DAMAGES = (flip_bits, flip_bits, flip_in_one_page, truncate, swap_pages, lose_page)


def damage(state: Path, chance: random.Random) -> int:
    """Damage the database or its WAL; how many faults it was."""
    file = state / chance.choice(("guard.db", "guard.db", "guard.db", "guard.db-wal"))
    return chance.choice(DAMAGES)(file, chance)
