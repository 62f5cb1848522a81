"""How much slower other people's work is while the daemon runs."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from benchmarks.bench import OURS, Bench, is_here
from benchmarks.goals import Series
from benchmarks.guard import Guard
from benchmarks.peers import Git, Inotifywait
from benchmarks.processes import clean_environment, settle_disk, timed
from benchmarks.restoring import FILES
from benchmarks.trees import copy, sources

WITHOUT = "without guardd"
WATCHED = "inotifywait alone"
"""What any watcher costs others: nothing of what happened is even looked at."""

_BLOCKS, _IN_A_BLOCK = 8, 4
_QUIET_S = 0.6


def checkout(bench: Bench) -> Series:
    """`git checkout` to and fro between two branches that differ in 1,250 files."""
    if not is_here("git"):
        return {}
    tree = copy(bench.tree, bench.base / "switched")
    git = Git(bench.base, tree.root, inside=True)
    git.commit()
    git.run("checkout", "-q", "-b", "other")
    for path in sources(tree.root)[:FILES]:
        with path.open("ab") as file:
            file.write(b"CHANGED = 1\n")
    git.run("commit", "-qam", "other")
    guard = Guard(bench.base / "guard", tree.root)
    guard.prepare()

    def switch(place: int) -> float:
        settle_disk(bench.base)
        return git.run("checkout", "-q", ("main", "other")[place % 2])

    return _in_blocks(guard, switch, captures=True)


def reading(bench: Bench) -> Series:
    """`grep -r` over the tree, warm."""
    guard = bench.guard()
    guard.prepare()
    command = ["grep", "-r", "--include=*.py", "-c", "REMOVED_SYNTAX_ERROR_NOT_THERE", "."]

    def grep(_: int) -> float:
        begun = time.perf_counter()
        subprocess.run(command, cwd=bench.tree.root, check=False, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begun

    grep(0)
    return _in_blocks(guard, grep)


def collecting(bench: Bench) -> Series:
    """`pytest --collect-only` of 200 test modules beside the tree's files, with warm caches."""
    tree = copy(bench.tree, bench.base / "collected")
    make_tests(tree.root / "suite", 200)
    guard = Guard(bench.base / "guard", tree.root)
    guard.prepare()
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "suite"]

    def collect(_: int) -> float:
        return timed(command, tree.root, clean_environment())

    collect(0)
    return _in_blocks(guard, collect)


def make_tests(folder: Path, modules: int) -> None:
    """Test modules of twelve tests each."""
    folder.mkdir()
    for number in range(modules):
        tests = "".join(f"def test_{case}():\n    assert {case} + {number} == {case + number}\n\n\n" for case in range(12))
        (folder / f"test_{number}.py").write_text(f"import json\nimport pathlib\n\n\n{tests}")


def _in_blocks(guard: Guard, run: Callable[[int], float], *, captures: bool = False) -> Series:
    """Blocks with the daemon, without, with a bare watcher, in turn; runs of the same place are a pair. Who begins alternates."""
    scenes = {OURS: lambda: _resting(guard), WITHOUT: nullcontext, WATCHED: Inotifywait(guard.root).running}
    found: dict[str, list[float]] = {name: [] for name in scenes if name in (OURS, WITHOUT) or is_here(name)}
    for block in range(_BLOCKS):
        for name in found if block % 2 else reversed(list(found)):
            with scenes[name]():
                for number in range(2):  # the first after a change of scene warm up
                    run(number)
                for number in range(_IN_A_BLOCK):
                    if captures and name == OURS:
                        guard.wait_quiet()
                    elif captures:
                        time.sleep(_QUIET_S)  # git meets its own racy entries and the disk's work as it does beside guardd
                    found[name].append(run(number))
                if captures and name == OURS:
                    guard.wait_quiet()
    return found


@contextmanager
def _resting(guard: Guard) -> Iterator[None]:
    with guard.running():
        guard.wait_quiet()
        yield
