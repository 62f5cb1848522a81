"""Putting 1,250 changed files back: guardctl restore as a whole command, beside git and restic."""

import random
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks import least
from benchmarks.bench import OURS, Bench, is_here
from benchmarks.damage import FOUNDING_FILES, hollow
from benchmarks.goals import Series
from benchmarks.guard import Guard, wait_for
from benchmarks.least import LEAST, LEAST_PREVIEW
from benchmarks.peers import Git, Restic
from benchmarks.trees import copy, sources

FILES = 1_250


def restore(bench: Bench) -> Series:
    """Each round damages the same files anew, puts them back, and compares every byte; guardd begins from a fresh baseline."""
    tree = copy(bench.tree, bench.base / "damaged")
    paths = sources(tree.root)[:FILES]
    contents = {path: path.read_bytes() for path in paths}
    guard, git, restic = Guard(bench.base / "guard", tree.root), Git(bench.base, tree.root), Restic(bench.base, tree.root)
    if is_here("git"):
        git.commit()
    if is_here("restic"):
        restic.init()
        restic.backup_files(paths)
    kept = bench.base / "least"
    least.run("store", tree.root, kept)
    return bench.compare({
        OURS: lambda: _restored(guard, contents),
        LEAST: lambda: _least(kept, tree.root, contents),
        "guardd daemon running": lambda: _restored_beside_daemon(guard, contents),
        "git checkout -- .": lambda: _put_back(contents, lambda: git.run("checkout", "-q", "--", ".")),
        "restic restore": lambda: _put_back(contents, restic.restore),
    })  # fmt: skip


def damage(paths: Iterable[Path]) -> None:
    """A line more in each, that was never there before: nothing that is overwritten is in a store yet."""
    for path in paths:
        with path.open("ab") as file:
            file.write(b"# damaged at %d\n" % time.time_ns())


def _put_back(contents: dict[Path, bytes], run: Callable[[], float]) -> float:
    damage(contents)
    taken = run()
    for path, content in contents.items():
        if path.read_bytes() != content:
            raise RuntimeError(f"{path} is not back")
    return taken


def _least(kept: Path, root: Path, contents: dict[Path, bytes]) -> float:
    state = kept.with_name("least-now")
    shutil.rmtree(state, ignore_errors=True)
    shutil.copytree(kept, state)
    return _put_back(contents, lambda: least.run("restore", root, state, stdin="".join(f"{path}\n" for path in contents)))


def _restored(guard: Guard, contents: dict[Path, bytes]) -> float:
    """Nothing of the damage is stored, and nothing known of any content: the command's own scan finds and stores it."""
    guard.prepare()
    guard.ctl("log", "--limit", "1", "--json")  # what the peers did meanwhile is not the damage
    since = _moment()
    return _put_back(contents, lambda: guard.ctl("restore", "--since", since, "--yes", "--json"))


def _restored_beside_daemon(guard: Guard, contents: dict[Path, bytes]) -> float:
    guard.forget()
    with guard.running():
        guard.wait_quiet(judged=False)
        since = _moment()

        def run() -> float:
            guard.wait_quiet(judged=False)
            return guard.ctl("restore", "--since", since, "--yes", "--json")

        return _put_back(contents, run)


def _moment() -> str:
    """Now, as guardctl takes it, and well apart from what comes before and after."""
    time.sleep(0.1)
    now = time.time()
    time.sleep(0.1)
    return f"@{now:.3f}"


def commands(bench: Bench) -> Series:
    """Commands that must feel instant, beside a running daemon: after 1,381 files were hollowed behind a marker."""
    tree = copy(bench.tree, bench.base / "hollowed")
    guard = Guard(bench.base / "guard", tree.root)
    guard.forget()
    found: dict[str, list[float]] = {}
    with guard.running() as daemon:
        guard.wait_quiet()
        state = bench.base / "least"
        least.run("store", tree.root, state)
        found["guardd status"], found[LEAST] = [], []
        for _ in range(4 * bench.pairs + 1):
            found["guardd status"].append(guard.ctl("status"))
            found[LEAST].append(least.run("command", state))
        hollow_files(tree.root)
        wait_for(lambda: daemon.times("incident settled"), "the incident settled")
        guard.wait_quiet()
        dry_run = ("restore", "--incident", "last", "--dry-run")
        found["guardd dry-run"], found[LEAST_PREVIEW] = [], []
        for _ in range(2 * bench.pairs + 1):
            found["guardd dry-run"].append(guard.ctl(*dry_run))
            found[LEAST_PREVIEW].append(least.run("preview", tree.root, state, FOUNDING_FILES))
    return found


def hollow_files(root: Path, count: int = FOUNDING_FILES) -> None:
    """The founding incident: code turned to comments behind a marker."""
    chance, done = random.Random(1), 0
    for path in sources(root):
        before = path.read_bytes()
        after = hollow(before, chance) if b"\0" not in before else None
        if after is not None and done < count:
            path.write_bytes(after)
            done += 1
