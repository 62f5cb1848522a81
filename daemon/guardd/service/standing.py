"""How things stand: the daemon and each repo, as the store and the lock tell it, also while the daemon is dead."""

import os
from collections.abc import Iterable
from typing import NamedTuple

from guardd import __version__
from guardd.model import Incident, Moment, RepoState
from guardd.store.database import is_disk_full
from guardd.store.incidents import Pause, Relapse
from guardd.store.lock import daemon_lock, restore_lock
from guardd.store.outbox import Failing
from guardd.store.repos import Live, Repo
from guardd.store.runs import Run
from guardd.store.store import Store, StoreSize

_STALE_NS = 45 * 1_000_000_000
"""The daemon speaks every 10 s; after this long a silence it hangs, or is stopped. While the machine sleeps, no one speaks."""

_WORSE = (RepoState.PROTECTED, RepoState.STARTING, RepoState.DEGRADED, RepoState.DESYNCED, RepoState.STOPPED)


class RepoStanding(NamedTuple):
    """One repo: its state with the reasons, what is kept of it, the restore that was interrupted (its id), its pause.

    `run` is the one that is under way, or was interrupted; `incidents` are those that wait for an answer, oldest first.
    """

    path: str
    state: RepoState
    reasons: tuple[str, ...]
    files: int
    versions: int
    dirty: int
    lag_ns: int
    interrupted: int | None
    scan_ns: int
    pause: Pause | None
    run: Run | None
    incidents: tuple[Incident, ...]
    relapse: Relapse | None


class Standing(NamedTuple):
    """The daemon (`pid` None: not running), the repos, the store, how many incidents wait for an answer.

    `pending` counts the alerts on their way to each target, `failing` are the targets that do not take them.
    """

    pid: int | None
    version: str
    repos: tuple[RepoStanding, ...]
    store_path: str
    size: StoreSize
    incidents_open: int
    pending: dict[str, int]
    failing: tuple[Failing, ...]


def standing(store: Store, now: Moment) -> Standing:
    """How things stand at this moment."""
    pid = daemon_lock(store.state_dir).holder()
    repos = tuple(_repo_standing(store, repo, now, running=pid is not None) for repo in store.repos.all())
    outbox = store.outbox
    return Standing(
        pid, __version__, repos, store.path, store.size(), sum(len(repo.incidents) for repo in repos), outbox.pending(),
        tuple(outbox.failing()),
    )  # fmt: skip


def states(store: Store, roots: Iterable[str], now: Moment) -> list[tuple[Repo | None, RepoState, tuple[str, ...]]]:
    """The state, with reasons, of each repo that a running daemon has to guard; None: it could not take it up so far."""
    found = [store.repos.find(root) for root in roots]
    return [(repo, *_state(store, store.repos.live(repo.id) if repo else None, now, running=True)) for repo in found]


def _repo_standing(store: Store, repo: Repo, now: Moment, *, running: bool) -> RepoStanding:
    files, versions = store.repos.counts(repo.id)
    live = store.repos.live(repo.id)
    state, reasons = _state(store, live, now, running=running)
    if running and live is None and not os.path.isdir(repo.path):
        state, reasons = (
            RepoState.STOPPED,
            ("retired: its directory is gone, and guardd is not asked to guard it; what was stored of it is kept",),
        )
    dirty, lag_ns = (live.dirty, live.lag_ns) if live and running else (0, 0)
    pause = store.incidents.pause_at(repo.id, now.wall_ns)
    run = store.runs.alive(repo.id) or store.runs.interrupted(repo.id)
    interrupted = _interrupted(store, repo)
    return RepoStanding(
        repo.path, state, reasons, files, versions, dirty, lag_ns, interrupted, repo.scan_ns, pause, run,
        tuple(store.incidents.open(repo.id)), store.incidents.relapse(repo.id),
    )  # fmt: skip


def _interrupted(store: Store, repo: Repo) -> int | None:
    unfinished = store.restores.unfinished(repo.id)
    if not unfinished or restore_lock(store.state_dir, repo.id).holder() is not None:
        return None
    return unfinished[-1].id


def _state(store: Store, live: Live | None, now: Moment, *, running: bool) -> tuple[RepoState, tuple[str, ...]]:
    if not running:
        return RepoState.STOPPED, ("stopped: guardd is not running; start it with 'guardd'",)
    if live is None:
        return RepoState.STOPPED, (
            "not-guarded: the running guardd does not guard this repo; 'guardctl init' there, then 'pkill -HUP guardd' "
            "(one that was started with --repo guards only that: start it without)",
        )
    silent_ns = now.awake_ns - live.awake_ns
    if silent_ns > _STALE_NS:
        return RepoState.DESYNCED, (
            f"silent: guardd has said nothing for {silent_ns // 1_000_000_000} s; look at its log, restart it",
        )
    if is_disk_full(store.state_dir) and not any(reason.startswith("store-full:") for reason in live.reasons):
        # What the daemon knows of it by now it cannot write.
        full = "store-full: no space is left for the store; free some space; captures wait until then"
        return max(live.state, RepoState.DEGRADED, key=_WORSE.index), (*live.reasons, full)
    return live.state, live.reasons
