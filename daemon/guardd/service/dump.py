"""The state dump: all that the daemon knows of itself at one moment, for the log."""

import os
import resource
import sys
import threading
from collections.abc import Mapping, Sequence

from guardd import __version__
from guardd.errors import StoreError
from guardd.model import Reason
from guardd.service.guard import Guard
from guardd.service.proof import Sign
from guardd.store.store import Store
from guardd.timespec import format_instant

_PATIENCE_S = 2.0
_MOST_COUNTED = 10_000
"""Of the versions that wait for detection: a storm has no more."""


def state_dump(
    state_dir: str, guards: Sequence[Guard], troubles: Mapping[str, Reason], signs: Mapping[str, Sign], now_s: float
) -> dict[str, object]:
    """The state of the daemon, ready for JSON; `signs` are those of its threads by name, `now_s` is time.monotonic's.

    What the store does not tell in time is left out, and why stands under `store`: a dump is for the moment when things hang.
    """
    repos = {guard.repo.id: _about_guard(guard) for guard in guards}
    dump: dict[str, object] = {
        "version": __version__,
        "pid": os.getpid(),
        "rss_bytes": resident_bytes(),
        "troubles": {what: str(reason) for what, reason in list(troubles.items())},
        "threads": [_about_thread(thread, signs.get(thread.name), now_s) for thread in threading.enumerate()],
        "repos": list(repos.values()),
    }
    try:
        with Store(state_dir, durable=False, patience_s=_PATIENCE_S) as store:
            dump |= _from_store(store, repos)
    except StoreError as error:
        dump["store"] = {"path": state_dir, "error": str(error)}
    return dump


def resident_bytes() -> int:
    """The memory of this process that is in RAM; elsewhere than on Linux the most that it ever was."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _about_guard(guard: Guard) -> dict[str, object]:
    live = guard.live()
    return {
        "path": guard.repo.path,
        "state": live.state,
        "reasons": list(live.reasons),
        "dirty": live.dirty,
        "lag_seconds": live.lag_ns / 1e9,
        "baseline": guard.begun,
    }


def _about_thread(thread: threading.Thread, sign: Sign | None, now_s: float) -> dict[str, object]:
    about: dict[str, object] = {"name": thread.name, "id": thread.native_id, "alive": thread.is_alive()}
    if sign is not None:
        about |= {"busy": sign.busy, "moved_seconds_ago": round(now_s - sign.at_s, 3)}
    return about


def _from_store(store: Store, repos: Mapping[int, dict[str, object]]) -> dict[str, object]:
    """What the store tells of the whole, and of each repo, into which it is written: `unjudged` versions wait for detection."""
    incidents = []
    for repo_id, about in repos.items():
        repo = store.repos.find(str(about["path"]))
        cursor = store.incidents.cursor(repo_id)
        about["last_scan"] = format_instant(repo.scan_ns) if repo is not None and repo.scan_ns else None
        about["files"], about["versions"] = store.repos.counts(repo_id)
        about["unjudged"] = None if cursor is None else len(store.log.next_versions(repo_id, cursor, _MOST_COUNTED))
        incidents += [
            {"id": one.id, "repo": about["path"], "severity": one.severity, "files": one.files, "damaged": one.damaged}
            for one in store.incidents.open(repo_id)
        ]
    size = store.size()
    return {"incidents_open": incidents, "store": {"path": store.path, "bytes": size.bytes, "blobs": size.blobs}}
