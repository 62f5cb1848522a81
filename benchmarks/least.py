"""The least that Python can do for a goal: the same system calls and the same C libraries, and nothing of guardd.

No log, no locks, no rules, no look at what changed meanwhile, no verification: who does all that guardd promises, in Python, is
not quicker than these.
"""

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # all else is imported where it is used: `command` is what a start takes
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import ThreadPoolExecutor
    from types import ModuleType

    import apsw

LEAST = "python3 least"
LEAST_PREVIEW = "python3 least preview"
"""The names of the series."""

_FRAME_BYTES = 3 * 1024 * 1024
_THREADS = min(4, os.cpu_count() or 1)
_SWAPPERS = 8
_IN_CLOSE_WRITE = 0x8
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # fcntl.h, linux/fs.h

_TABLES = """
    CREATE TABLE frames (id INTEGER PRIMARY KEY, data BLOB);
    CREATE TABLE blobs (id INTEGER PRIMARY KEY, hash BLOB, size INTEGER, frame_id INTEGER, place INTEGER);
    CREATE UNIQUE INDEX blobs_by_hash ON blobs (hash);
    CREATE TABLE paths (id INTEGER PRIMARY KEY, path BLOB, stat BLOB);
    CREATE TABLE versions (seq INTEGER PRIMARY KEY, path_id INTEGER, blob_id INTEGER);
"""

_Read = tuple[str, os.stat_result, bytes, bytes]


def run(*words: object, stdin: str = "") -> float:
    """Seconds of one of these as a process of its own."""
    return _timed(words, stdin)[0]


def run_inside(*words: object) -> float:
    """The same, from when it had started and set its watches until all was durable."""
    return _timed(words, "")[1]


def _timed(words: "Sequence[object]", stdin: str) -> tuple[float, float]:
    import subprocess

    from benchmarks.processes import clean_environment

    env = clean_environment() | {"PYTHONPATH": os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}
    begun = time.perf_counter()
    command = [sys.executable, "-c", "from benchmarks.least import main; main()", *map(str, words)]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None
        inside = float(process.stdout.readline())  # all is done; guardd, too, is measured until it says `ready`
        taken = time.perf_counter() - begun
        if process.wait():
            raise RuntimeError(f"{words} failed")
    return taken, inside


def scan(root: str) -> int:
    """List every folder and look at every source in it; how many there are."""
    found = 0
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.name.endswith(".py"):
                    entry.stat(follow_symlinks=False)
                    found += 1
    return found


def store(root: str, state: str) -> float:
    """Watch every folder, read every source, hash it, compress it in frames on all cores, keep it durably."""
    import ctypes
    from concurrent.futures import ThreadPoolExecutor
    from itertools import chain

    libc = ctypes.CDLL(None)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    paths: list[str] = []
    for folder, folders, names in os.walk(root):
        libc.inotify_add_watch(watch, os.fsencode(folder), _IN_CLOSE_WRITE)
        folders.sort()
        paths += [os.path.join(folder, name) for name in sorted(names) if name.endswith(".py")]
    db = _database(state)
    begun = time.perf_counter()
    with ThreadPoolExecutor(_THREADS) as pool, db:
        share = -(-len(paths) // (16 * _THREADS))
        parts = pool.map(_read_all, [paths[begin : begin + share] for begin in range(0, len(paths), share)])
        _keep(db, pool, chain.from_iterable(parts))
    return time.perf_counter() - begun


def restore(root: str, state: str) -> float:
    """Of the paths on stdin, keep what is to be overwritten, write what was there before, swap both, remove the other."""
    import ctypes
    from concurrent.futures import ThreadPoolExecutor
    from itertools import chain

    begun = time.perf_counter()
    paths = sys.stdin.read().splitlines()
    scan(root)
    db = _database(state)
    places = {path: place for path, *place in db.execute(
        "SELECT path, frame_id, place, size FROM paths p JOIN versions v ON v.path_id = p.id JOIN blobs b ON b.id = v.blob_id"
    )}  # fmt: skip
    with ThreadPoolExecutor(_THREADS) as pool, db:
        share = -(-len(paths) // _THREADS)
        _keep(db, pool, chain.from_iterable(pool.map(_read_all, [paths[at : at + share] for at in range(0, len(paths), share)])))
    for path, content in _contents(db, {path: places[path.encode()] for path in paths}):
        with open(f"{path}.part", "wb") as file:
            file.write(content)
    libc = ctypes.CDLL(None)
    fd = os.open(root, os.O_RDONLY)
    libc.syncfs(fd)

    def swap(path: str) -> None:
        one, other = os.fsencode(path), os.fsencode(f"{path}.part")
        libc.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE)
        os.unlink(other)

    with ThreadPoolExecutor(_SWAPPERS) as pool:
        list(pool.map(swap, paths))
    libc.syncfs(fd)
    return time.perf_counter() - begun


def command(state: str) -> float:
    """Start, with click, open the store, ask it one thing."""
    begun = time.perf_counter()
    import click  # noqa: F401

    _database(state).execute("SELECT max(seq) FROM versions").fetchone()
    return time.perf_counter() - begun


def preview(root: str, state: str, files: str) -> float:
    """Start, with click, look at every source, ask the store of so many files what is there of each, write a line for each."""
    begun = time.perf_counter()
    import click  # noqa: F401

    scan(root)
    db = _database(state)
    rows = db.execute(
        "SELECT path, hash, size FROM paths p JOIN versions v ON v.path_id = p.id JOIN blobs b ON b.id = v.blob_id LIMIT ?",
        (int(files),),
    ).fetchall()
    with open(os.devnull, "w") as file:
        file.write("".join(f"    ~ {os.fsdecode(path)}  ({size:,} B)\n" for path, _, size in rows))
    return time.perf_counter() - begun


def _database(state: str) -> "apsw.Connection":
    import apsw

    os.makedirs(state, exist_ok=True)
    is_new = not os.path.exists(os.path.join(state, "least.db"))
    db = apsw.Connection(os.path.join(state, "least.db"))
    db.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0")
    if is_new:
        db.execute(_TABLES)
    return db


def _read_all(paths: "Sequence[str]") -> list[_Read]:
    from blake3 import blake3

    found = []
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        about = os.fstat(fd)
        content = os.read(fd, about.st_size + 1)
        os.close(fd)
        found.append((path, about, blake3(content).digest(), content))
    return found


def _keep(db: "apsw.Connection", pool: "ThreadPoolExecutor", reads: "Iterable[_Read]") -> None:
    ids: dict[bytes, int] = dict(db.execute("SELECT hash, id FROM blobs"))
    last = db.execute("SELECT coalesce(max(seq), 0) FROM versions").fetchone()[0]
    frame_id = db.execute("SELECT coalesce(max(id), 0) FROM frames").fetchone()[0] + 1
    frame: list[bytes] = []
    size, frames, blobs, rows, versions = 0, [], [], [], []
    for seq, (path, about, hash_, content) in enumerate(reads, last + 1):
        if hash_ not in ids:
            ids[hash_] = len(ids) + 1
            blobs.append((ids[hash_], hash_, len(content), frame_id + len(frames), size))
            frame.append(content)
            size += len(content)
            if size > _FRAME_BYTES:
                frames.append(pool.submit(_compress, frame))
                frame, size = [], 0
        rows.append((seq, os.fsencode(path), b"%d %d %d" % (about.st_ino, about.st_size, about.st_mtime_ns)))
        versions.append((seq, seq, ids[hash_]))
    frames.append(pool.submit(_compress, frame))
    db.executemany("INSERT INTO frames VALUES (?, ?)", ((frame_id + at, one.result()) for at, one in enumerate(frames)))
    db.executemany("INSERT INTO blobs VALUES (?, ?, ?, ?, ?)", blobs)
    db.executemany("INSERT INTO paths VALUES (?, ?, ?)", rows)
    db.executemany("INSERT INTO versions VALUES (?, ?, ?)", versions)


def _zstd() -> "ModuleType":
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def _compress(contents: "Sequence[bytes]") -> bytes:
    made: bytes = _zstd().compress(b"".join(contents), 1)
    return made


def _contents(db: "apsw.Connection", places: dict[str, list[int]]) -> "Iterator[tuple[str, bytes]]":
    zstd = _zstd()
    at_hand, frame = 0, b""
    for path, (frame_id, place, size) in sorted(places.items(), key=lambda item: item[1]):
        if frame_id != at_hand:
            at_hand, frame = (
                frame_id,
                zstd.decompress(db.execute("SELECT data FROM frames WHERE id = ?", (frame_id,)).fetchone()[0]),
            )
        yield path, frame[place : place + size]


def main() -> None:
    """Do what the words say, say how long it took inside, and end without tidying up."""
    what, *rest = sys.argv[1:]
    print({"store": store, "restore": restore, "command": command, "preview": preview}[what](*rest), flush=True)
    os._exit(0)
