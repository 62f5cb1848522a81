"""The daemon by itself: single saves, memory and CPU at rest."""

import time

from benchmarks.bench import OURS, Bench
from benchmarks.goals import Series
from benchmarks.guard import Guard, wait_past
from benchmarks.processes import children_memory, cpu_seconds, memory
from benchmarks.trees import copy, sources

SAVES = 200
_REST_S = 70.0
"""After the first upkeep, which comes a minute after the start, and what detection does in the minute after the last change."""

_SETTLE_S = 10.0
_IDLE_S = 30.0
_PACE_S = 0.1
"""Between two saves; faster than people."""


def rest(bench: Bench) -> Series:
    """After the baseline has come to rest: memory, CPU, then saves."""
    tree = copy(bench.tree, bench.base / "saved")
    guard = Guard(bench.base / "guard", tree.root)
    guard.forget()
    with guard.running() as daemon:
        guard.wait_compact()
        time.sleep(_REST_S)
        found = {"guardd memory": [memory(daemon.pid)], "guardd children": [children_memory(daemon.pid)]}
        before = cpu_seconds(daemon.pid)
        time.sleep(_IDLE_S)
        found["guardd idle"] = [100 * (cpu_seconds(daemon.pid) - before) / _IDLE_S]
        found[OURS] = saves(guard)
        guard.wait_quiet()
        time.sleep(_SETTLE_S)
        found["guardd memory after saves"] = [memory(daemon.pid)]
    return found


def saves(guard: Guard, count: int = SAVES) -> list[float]:
    """Seconds from the close of a file until its version is committed, seen through a connection of our own."""
    paths = sources(guard.root)
    taken = []
    with guard.store() as store:
        for number in range(count):
            before = store.log.last_seq()
            with paths[number * 7 % len(paths)].open("ab") as file:
                file.write(b"# save %d\n" % number)
            taken.append(wait_past(store, before))
            time.sleep(_PACE_S)
    return taken
