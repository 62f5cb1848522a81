"""Every row of the table and the groups that measure them: the one place where goals stand."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from benchmarks import bursting, looking_back, resting, restoring, slowing, storing
from benchmarks.bench import OURS, Bench
from benchmarks.goals import Row, Series, p95, p99, worst
from benchmarks.least import LEAST, LEAST_PREVIEW
from benchmarks.trees import LARGE, MIDDLE, STDLIB


@dataclass(frozen=True, slots=True)
class Group:
    """What is measured together: rows may share the rounds that they are measured in. `trees` are those that it runs on."""

    name: str
    measure: Callable[[Bench], Series]
    trees: tuple[str, ...]


GROUPS = (
    Group("baseline", storing.baseline, (STDLIB, MIDDLE, LARGE)),
    Group("again", storing.again, (STDLIB, MIDDLE, LARGE)),
    Group("edits", storing.edits, (STDLIB,)),
    Group("restore", restoring.restore, (STDLIB, MIDDLE)),
    Group("checkout", slowing.checkout, (STDLIB,)),
    Group("collect", slowing.collecting, (STDLIB,)),
    Group("grep", slowing.reading, (MIDDLE,)),
    Group("rewritten", bursting.rewritten, (MIDDLE,)),
    Group("opened", bursting.opened, (MIDDLE,)),
    Group("rest", resting.rest, (STDLIB, MIDDLE, LARGE)),
    Group("commands", restoring.commands, (STDLIB, MIDDLE)),
    Group("as-of", looking_back.as_of, (STDLIB,)),
)

_BASELINE = "baseline: stored, durable, watched"
_RESCAN = "rescan, nothing changed (the scan in a long-lived process)"
_RESTORE = f"restore of {restoring.FILES:,} files, whole command, no daemon"
_STORE = "store after the baseline (checkpointed, without the ballast)"
_EDIT = "bytes for a one-line edit (checkpointed, rows and indexes included)"
_REWRITTEN = "every file rewritten: last write until all is captured"
_OPENED = "damage of every file by a script: first write until the incident"

ROWS = (
    Row("baseline", _BASELINE, OURS, "git add + commit", 0.25, least=LEAST),
    Row("baseline", _BASELINE, OURS, "restic backup", 0.50, least=LEAST),
    Row("baseline", _BASELINE, OURS, "cp -a", 1.3, least=LEAST),
    Row("baseline", _BASELINE, OURS, "cp -a, synced"),
    Row("baseline", _BASELINE, OURS, "borg create"),
    Row("baseline", _STORE, "guardd store", "restic repository", 0.85, "MB"),
    Row("baseline", _STORE, "guardd store", "borg repository", unit="MB"),
    Row("baseline", "ballast: reserved space, given back when the disk is full", "guardd ballast", unit="MB"),
    Row("again", _RESCAN, OURS, "restic backup", 0.05, least=LEAST),
    Row("again", _RESCAN, OURS, "git status", 4, least=LEAST),
    Row("again", _RESCAN, OURS, "borg create"),
    Row("again", "the same as a whole command, guardctl log", "guardd guardctl log", "git status"),
    Row("again", "start of the daemon, nothing changed, until ready", "guardd start", "inotifywait"),
    Row("again", "start of the daemon, nothing changed, until ready", "guardd start", "watchman"),
    Row("edits", _EDIT, OURS, "git loose objects", 0.08, "B"),
    Row("edits", _EDIT, OURS, "restic snapshots", 0.10, "B"),
    Row("restore", _RESTORE, OURS, "git checkout -- .", 1.0, least=LEAST),
    Row("restore", _RESTORE, OURS, "restic restore", 0.25, least=LEAST),
    Row("restore", "the same beside a running daemon", "guardd daemon running", "git checkout -- ."),
    Row(
        "checkout",
        f"git checkout of {restoring.FILES:,} files while guardd runs",
        OURS,
        slowing.WITHOUT,
        1.05,
        least=slowing.WATCHED,
    ),
    Row("collect", "pytest --collect-only while guardd runs", OURS, slowing.WITHOUT, 1.01, least=slowing.WATCHED),
    Row("grep", "grep -r while guardd runs", OURS, slowing.WITHOUT, 1.01, least=slowing.WATCHED),
    Row("rewritten", _REWRITTEN, OURS, bursting.SCRIPT, 0.5, least=LEAST),
    Row("rewritten", "memory of guardd at that peak (VmHWM)", "guardd peak memory", goal=200, unit="MB", pick=worst),
    Row("rewritten", "memory of its parsing processes then (PSS, most)", "guardd children", unit="MB", pick=worst),
    Row("opened", f"{_OPENED}, p95", OURS, goal=1.0, pick=p95),
    Row("opened", "the same, median", OURS),
    *(Row("opened", f"the same, damage by {kind}, worst", f"guardd {kind}", pick=worst) for kind in bursting.DAMAGES),
    Row("rest", "single save, close to durable, p50", OURS, goal=0.020, pick=median),
    Row("rest", "single save, close to durable, p99", OURS, goal=0.100, pick=p99),
    Row("rest", "memory of guardd at rest (RSS)", "guardd memory", goal={STDLIB: 60, MIDDLE: 90, LARGE: 160}, unit="MB"),
    Row("rest", "memory of its parsing processes then (PSS)", "guardd children", unit="MB"),
    Row("rest", f"memory of guardd after {resting.SAVES} saves (RSS)", "guardd memory after saves", unit="MB"),
    Row("again", "memory of inotifywait (RSS)", "inotifywait memory", unit="MB"),
    Row("again", "memory of watchman (RSS)", "watchman memory", unit="MB"),
    Row("rest", "CPU at rest", "guardd idle", goal=0.1, unit="%"),
    Row("commands", "guardctl status, whole command", "guardd status", goal=0.100, least=LEAST),
    Row(
        "commands", "guardctl restore --incident last --dry-run, whole command", "guardd dry-run", goal=0.250, least=LEAST_PREVIEW
    ),
    Row("as-of", "the tree at the middle of 1,000,000 versions of 100,000 paths", "guardd tree", goal=0.300),
    Row("as-of", "what became of each path since then (restore, export)", "guardd passages", goal=0.300),
    Row("as-of", "what changed in the last 10,000 of those versions (restore --since)", "guardd since"),
)


def rows_of(group: str) -> list[Row]:
    """The rows that a group measures."""
    return [row for row in ROWS if row.group == group]
