"""A long past: a store filled through its own API, and what it takes to say what the tree was at a moment."""

import os
import random
import time
from collections.abc import Callable, Sequence, Sized
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.goals import Series
from guardd import clock
from guardd.model import FileState, Kind, Moment, Origin, RepoPath
from guardd.recovery.past import passages_since
from guardd.selection import SelectionRules
from guardd.store.appending import Observation
from guardd.store.codec import digest, encode
from guardd.store.repos import Repo
from guardd.store.store import Store
from guardd.store.trees import blobs_at

PATHS, VERSIONS = 100_000, 1_000_000
_BATCH = 10_000
_RUNS = 3


def as_of(bench: Bench) -> Series:
    """The tree at a moment, out of 100,000 paths with ten versions each, through a new connection each time."""
    state = bench.base / "past"
    fill(state, Path("/nowhere/repo"), [f"package_{number // 100}/module_{number}.py" for number in range(PATHS)], VERSIONS)
    return queries(state, Path("/nowhere/repo"))


def queries(state: Path, root: Path) -> Series:
    """Seconds of three looks, each time through a new connection.

    The tree's contents at the middle of the log; what became of each path since then; what changed in the log's last hundredth.
    """
    found: dict[str, list[float]] = {"guardd tree": [], "guardd passages": [], "guardd since": []}
    for _ in range(_RUNS):
        with Store(str(state), brief=True) as store:
            for name, look in _looks(store, repo_at(store, root), store.log.last_seq()).items():
                begun = time.perf_counter()
                answer = look()
                found[name].append(time.perf_counter() - begun)
                if not answer:
                    raise RuntimeError("the past is empty")
    return found


def _looks(store: Store, repo: Repo, last: int) -> dict[str, Callable[[], Sized]]:
    now = clock.now().wall_ns
    return {
        "guardd tree": lambda: blobs_at(store, repo.id, last // 2),
        "guardd passages": lambda: passages_since(store, repo, last // 2, now, changed_only=False),
        "guardd since": lambda: passages_since(store, repo, last - last // 100, now),
    }


def repo_at(store: Store, root: Path) -> Repo:
    """The repo with this root."""
    repo = store.repos.find(str(root))
    if repo is None:
        raise RuntimeError(f"{root} is not in the store")
    return repo


def fill(state: Path, root: Path, paths: Sequence[RepoPath], versions: int) -> None:
    """So many versions of these paths, each of a small content of its own, a second apart until now.

    Round by round, in another order each time; no batch has a path twice. Detection takes them for judged.
    """
    with Store(str(state), create=True, durable=False, brief=True) as store:
        repo = store.repos.add(str(root), SelectionRules())
        heads, order, chance = dict.fromkeys(paths, 0), list(paths), random.Random(1)
        seq = store.log.last_seq()
        for path in paths:
            heads[path] = store.log.head(repo.id, path).seq
        now = clock.now()
        begin = 0
        while begin < versions:
            numbers = range(begin, min(begin + _BATCH, versions, (begin // len(paths) + 1) * len(paths)))
            seen = []
            for number in numbers:
                if number % len(paths) == 0:
                    chance.shuffle(order)
                path = order[number % len(paths)]
                content = b"value = %d\n" % number
                hash_ = digest(content)
                state_of = FileState(Kind.FILE, hash_, len(content), 0o644)
                seen.append(Observation(path, heads[path], state_of, content=encode(hash_, content)))
                seq += 1
                heads[path] = seq
            ago = (versions - begin) * 1_000_000_000
            at = Moment(now.wall_ns - ago, now.boot_ns - ago, now.boot_id)
            recorded = store.log.record(repo.id, seen, Origin.WATCH if begin else Origin.BASELINE, at)
            if recorded.stale:
                raise RuntimeError(f"{len(recorded.stale)} versions were refused")
            begin = numbers.stop
        with store.db.transaction():
            store.incidents.move_cursor(repo.id, seq)
    os.sync()
