"""Storing a tree: the baseline, looking again with nothing changed, and what small edits add."""

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import least
from benchmarks.bench import OURS, Bench, is_here
from benchmarks.goals import Series
from benchmarks.guard import Guard, rescan, wait_past
from benchmarks.least import LEAST
from benchmarks.peers import Borg, Copy, Git, Inotifywait, Restic, Watchman
from benchmarks.trees import Tree, copy, sources

EDITS = 1_000
_PER_SNAPSHOT = 100
_RACY_S = 2.5
"""Past the 2 s within which no one trusts a file's times (git neither)."""


def baseline(bench: Bench) -> Series:
    """A first capture of everything, and the stores after it."""
    guard, root, base = bench.guard(), bench.tree.root, bench.base
    git, restic, borg, cp = Git(base, root), Restic(base, root), Borg(base, root), Copy(base, root)
    found: dict[str, list[float]] = dict(bench.compare({
        OURS: guard.baseline, "git add + commit": git.commit, "restic backup": restic.first_backup,
        "borg create": borg.first_backup, "cp -a": cp.run, LEAST: lambda: least_baseline(base / "least", root),
    }))  # fmt: skip
    found["cp -a, synced"] = cp.synced
    guard.prepare(compact=True)
    found["guardd store"] = [guard.store_bytes() / 1e6]
    for name, repository in (("restic repository", restic), ("borg repository", borg)):
        if is_here(name):
            found[name] = [repository.bytes() / 1e6]
    found["guardd ballast"] = [sum(path.stat().st_size for path in guard.state.glob("ballast")) / 1e6]
    return found


def again(bench: Bench) -> Series:
    """Nothing has changed: a scan, a command that begins with one, a start of the daemon; the peers' second looks."""
    guard, root, base = bench.guard(), bench.tree.root, bench.base
    git, restic, borg = Git(base, root), Restic(base, root), Borg(base, root)
    inotifywait, watchman = Inotifywait(root), Watchman(base, root)
    guard.prepare()
    for name, first in (("git", git.commit), ("restic", restic.first_backup), ("borg", borg.first_backup)):
        if is_here(name):
            first()
    time.sleep(_RACY_S)
    guard.ctl("log", "--limit", "1", "--json")  # this scan takes the files of the last 2 s for proven
    with guard.capturer() as capturer:
        rescan(capturer)
        found = dict(bench.compare({
            OURS: lambda: rescan(capturer), LEAST: lambda: _scanned(root), "git status": lambda: git.run("status", "--porcelain"),
            "restic backup": restic.backup, "borg create": borg.backup,
            "guardd guardctl log": lambda: guard.ctl("log", "--limit", "1", "--json"),
            "guardd start": guard.start, "inotifywait": inotifywait.establish, "watchman": watchman.establish,
        }))  # fmt: skip
    found["inotifywait memory"], found["watchman memory"] = inotifywait.memories, watchman.memories
    return found


def least_baseline(state: Path, root: Path) -> float:
    """Seconds of the least that stores a tree."""
    shutil.rmtree(state, ignore_errors=True)
    return least.run("store", root, state)


def _scanned(root: Path) -> float:
    begun = time.perf_counter()
    least.scan(str(root))
    return time.perf_counter() - begun


def edits(bench: Bench) -> Series:
    """A thousand one-line edits of random files, saved one by one: bytes that each adds, with all that goes with it."""
    found: dict[str, list[float]] = {}
    tree = copy(bench.tree, bench.base / "edited")
    guard = Guard(bench.base / "guard", tree.root)
    guard.prepare(compact=True)  # else what that gives back would hide what the edits add
    before = guard.store_bytes()
    with guard.running():
        _edit_and_wait(guard, tree)
        guard.wait_quiet()
    found[OURS] = [(guard.store_bytes() - before) / EDITS]
    if is_here("git"):
        found["git loose objects"] = [_git_blobs(bench, copy(bench.tree, tree.root))]
    if is_here("restic"):
        found["restic snapshots"] = [_restic_snapshots(bench, copy(bench.tree, tree.root))]
    return found


def _edit_and_wait(guard: Guard, tree: Tree) -> None:
    with guard.store() as store:
        for path, content in one_line_edits(tree):
            place = store.log.last_seq()
            path.write_bytes(content)
            wait_past(store, place)


def _git_blobs(bench: Bench, tree: Tree) -> float:
    """Bytes of a loose blob for each edit: no trees, no commits, which is the least that git can keep them with."""
    git = Git(bench.base, tree.root)
    git.init()
    kept = bench.base / "kept"
    kept.mkdir()
    listing = []
    for number, (path, content) in enumerate(one_line_edits(tree)):
        path.write_bytes(content)
        (kept / str(number)).write_bytes(content)
        listing.append(f"{kept / str(number)}\n")
    git.run("hash-object", "-w", "--no-filters", "--stdin-paths", stdin="".join(listing))
    return git.loose_bytes() / EDITS


def _restic_snapshots(bench: Bench, tree: Tree) -> float:
    """Bytes for each edit with a snapshot after every hundred, in which only the last edit of a file is kept."""
    restic = Restic(bench.base, tree.root)
    restic.first_backup()
    before = restic.bytes()
    for number, (path, content) in enumerate(one_line_edits(tree), 1):
        path.write_bytes(content)
        if number % _PER_SNAPSHOT == 0:
            restic.backup()
    return (restic.bytes() - before) / EDITS


def one_line_edits(tree: Tree, count: int = EDITS, seed: int = 1) -> Iterator[tuple[Path, bytes]]:
    """A random file with one line changed, so many times; each on top of the edits before."""
    chance = random.Random(seed)
    paths = [path for path in sources(tree.root) if path.stat().st_size > 200]
    for number in range(count):
        path = chance.choice(paths)
        lines = path.read_bytes().split(b"\n")
        at = chance.randrange(len(lines))
        lines[at] += b"  # edit %d" % number
        yield path, b"\n".join(lines)
