"""A script rewrites 25,000 files: when all is captured, when damage is an incident, how much memory the peak takes."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from benchmarks import least
from benchmarks.bench import OURS, Bench
from benchmarks.goals import Series
from benchmarks.guard import Guard, wait_for
from benchmarks.least import LEAST
from benchmarks.processes import children_memory, peak_memory, sampled, settle_disk
from benchmarks.trees import Tree, copy, sources
from guardd.store.codec import digest

SCRIPT = "guardd script"
_JUDGED_S = 300.0
"""For so long detection is let judge, which parses each file before and after: what it keeps at hand is bounded well before."""

DAMAGES = ("hollow", "import", "syntax")
"""Told by lines, by a module that is nowhere, by the parser: each of the three ways to find out."""

_PROGRAM = """
import pathlib, sys, time
how = sys.argv[1]
paths = [pathlib.Path(line) for line in sys.stdin.read().splitlines()]
begun = time.time()
print(begun, flush=True)
for number, path in enumerate(paths):
    text = path.read_bytes()
    if how == "edit":
        text += b"REWRITTEN = %d\\n" % number
    elif how == "hollow":
        text = b"".join(b"# REMOVED_SYNTAX_ERROR: " + line for line in text.splitlines(keepends=True))
    elif how == "import":
        text = text.replace(b"import os\\n", b"import os_ssot_unified\\n", 1)
    elif how == "syntax":
        text = text.replace(b"import os\\n", b"import (os\\n", 1)
    path.write_bytes(text)
print(time.time(), flush=True)
"""


def rewritten(bench: Bench) -> Series:
    """Work, not damage: every file gets a line more. From the last write to all captured, beside the script's time by itself.

    In the first round detection is let judge for five minutes, too: that is the peak of memory.
    """
    found: dict[str, list[float]] = {OURS: [], SCRIPT: [], LEAST: [], "guardd peak memory": [], "guardd children": []}
    for number in range(bench.pairs):
        tree = copy(bench.tree, bench.base / "rewritten")
        found[SCRIPT].append(_alone(tree))
        settle_disk(bench.base)
        shutil.rmtree(bench.base / "least", ignore_errors=True)
        found[LEAST].append(max(0.0, least.run_inside("store", tree.root, bench.base / "least") - found[SCRIPT][-1]))
        tree = copy(bench.tree, bench.base / "rewritten")
        guard = Guard(bench.base / "guard", tree.root)
        guard.forget()
        with guard.running() as daemon:
            guard.wait_quiet()
            place = guard.last_seq()
            with sampled(partial(children_memory, daemon.pid), 0.25) as children, script(tree, "edit") as process:
                ended = _times(process)[1]
                captured = all_captured(guard, tree, place)
                if number == 0:
                    with suppress(TimeoutError):
                        guard.wait_quiet(timeout_s=_JUDGED_S)
            found["guardd peak memory"].append(peak_memory(daemon.pid))
            found["guardd children"].append(max(children))
        _verify(guard, tree)
        found[OURS].append(max(0.0, captured - ended))
    return found


def _alone(tree: Tree) -> float:
    """Seconds that the script takes where no one watches."""
    with script(tree, "edit") as process:
        begun, ended = _times(process)
    return ended - begun


def _times(process: "subprocess.Popen[str]") -> tuple[float, float]:
    """When a script wrote its first file, and its last."""
    assert process.stdout is not None
    return float(process.stdout.readline()), float(process.stdout.readline())


def all_captured(guard: Guard, tree: Tree, place: int) -> float:
    """When the last version of a burst was there (seconds since the epoch), which has one for each file at least."""
    with guard.store() as store:
        last, at = place, time.time()
        while last < place + tree.files or time.time() - at < 1.0:
            now = store.log.last_seq()
            if now != last:
                last, at = now, time.time()
            elif time.time() - at > 60:
                raise TimeoutError(f"only {last - place} versions of {tree.files} files")
            time.sleep(0.01)
    return at


def _verify(guard: Guard, tree: Tree) -> None:
    with guard.store() as store:
        repo = store.repos.find(str(guard.root))
        assert repo is not None
        for path in sources(tree.root):
            if store.log.head(repo.id, str(path.relative_to(tree.root))).state.blob != digest(path.read_bytes()):
                raise RuntimeError(f"{path} was not captured")


@contextmanager
def script(tree: Tree, how: str) -> Iterator["subprocess.Popen[str]"]:
    """The script over every file; it says when it begins and when it has ended, and is ended with the block."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        process.stdin.write("".join(f"{path}\n" for path in sources(tree.root)))
        process.stdin.close()
        process.stdin = None
        try:
            yield process
        finally:
            process.kill()


def opened(bench: Bench) -> Series:
    """Damage by that script, in three ways by turns: from before its first write until the incident, while it goes on."""
    tree = copy(bench.tree, bench.base / "damaged")
    guard = Guard(bench.base / "guard", tree.root)
    guard.prepare()
    fresh = bench.base / "fresh-state"
    shutil.copytree(guard.state, fresh)
    found: list[float] = []
    for number in range(7 * len(DAMAGES)):
        found.append(_until_open(guard, tree, DAMAGES[number % len(DAMAGES)]))
        _mend(bench.tree.root, tree.root)
        guard.forget()
        shutil.copytree(fresh, guard.state)
    return {OURS: found} | {f"guardd {kind}": found[number :: len(DAMAGES)] for number, kind in enumerate(DAMAGES)}


def _until_open(guard: Guard, tree: Tree, kind: str) -> float:
    with guard.running() as daemon:
        guard.wait_quiet()
        with script(tree, kind) as process:
            assert process.stdout is not None
            begun = float(process.stdout.readline())
            wait_for(lambda: daemon.times("incident opened"), f"an incident of {kind}", every_s=0.01)
        return daemon.times("incident opened")[0] - begun


def _mend(whole: Path, damaged: Path) -> None:
    """Bring back what the script got to."""
    for path in sources(damaged):
        before = whole / path.relative_to(damaged)
        if path.stat().st_mtime_ns != before.stat().st_mtime_ns:
            shutil.copy2(before, path)
