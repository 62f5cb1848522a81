"""The checkup: everything that protection needs, each check with its cure."""

import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from guardd.alerting.endpoint import endpoint, exposed
from guardd.config.alerts import AlertSettings
from guardd.errors import ConfigError
from guardd.model import RepoState
from guardd.selection import Selection, SelectionRules
from guardd.service.standing import RepoStanding, Standing, standing
from guardd.store.database import SOUND_SQLITE, sqlite_version
from guardd.store.store import Store
from guardd.timespec import format_instant

_WATCH_LIMIT = "/proc/sys/fs/inotify/max_user_watches"
_INSTANCE_LIMIT = "/proc/sys/fs/inotify/max_user_instances"
_INSTANCES = 128
"""The kernel's default; editors and their language servers take some 20 of them."""

_ENOUGH_BYTES = 100 * 1024 * 1024
_BEGIN_OF_TIME = 1_700_000_000
"""Before guard existed: a clock that says so is wrong."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was looked at, whether it is as it should be, and the cure if not."""

    name: str
    ok: bool
    message: str
    cure: str = ""


def check_limits(root: str, rules: SelectionRules) -> list[Check]:
    """Whether the kernel lets this user watch a repo, and whether it can be read."""
    selection = Selection(root, rules)
    directories, unreadable = 0, []
    pending = [""]
    while pending:
        folder = pending.pop()
        directories += 1
        try:
            with os.scandir(os.path.join(root, folder)) as listing:
                names = [entry.name for entry in listing if entry.is_dir(follow_symlinks=False)]
        except OSError:
            unreadable.append(folder)
            continue
        below = (f"{folder}/{name}" if folder else name for name in names)
        pending += [path for path in below if selection.wants_dir(path)]
    checks = []
    if sys.platform == "linux":
        with open(_WATCH_LIMIT, encoding="ascii") as file:
            limit = int(file.read())
        wanted = max(524_288, 2 * directories)
        seen = f"{directories:,} directories to watch, the kernel allows {limit:,}"
        cure = f"run 'sudo sysctl fs.inotify.max_user_watches={wanted}'"
        checks.append(Check(f"watches for {root}", limit > directories * 1.2, seen, cure))
    seen = f"all {directories:,} directories can be read"
    if unreadable:
        more = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        seen = f"{unreadable[0] or root}{more} cannot be read"
    checks.append(Check(f"permissions in {root}", not unreadable, seen, "give this user the right to read it, or exclude it"))
    return checks


def check_up(store: Store, now_ns: int, targets: Sequence[AlertSettings] = ()) -> list[Check]:
    """Everything that explains why protection is not complete, or why people would not hear of it."""
    now = standing(store, now_ns)
    checks = [
        Check(
            "sqlite",
            sqlite_version() >= SOUND_SQLITE,
            f"SQLite {'.'.join(map(str, sqlite_version()))}",
            "run 'pip install -U apsw'",
        ),
        _check_store(store),
        _check_privacy(store),
        _check_disk(store),
        Check("clock", time.time() > _BEGIN_OF_TIME, time.strftime("%Y-%m-%d %H:%M:%S %z"), "set the system's clock"),
        Check("git", True, shutil.which("git") or "not found: --merge and --from git:REV need it"),
        Check(
            "daemon",
            now.pid is not None,
            f"guardd runs (pid {now.pid})" if now.pid is not None else "guardd is not running",
            "start 'guardd'",
        ),
    ]
    if sys.platform == "linux":
        checks.append(_check_instances(len(now.repos)))
    for repo, standing_ in zip(store.repos.all(), now.repos, strict=True):
        checks.append(_check_repo(standing_))
        if os.path.isdir(repo.path):
            checks += check_limits(repo.path, repo.rules)
    checks += check_targets(targets, now, store)
    if not now.repos:
        checks.append(Check("repos", False, "no repo is guarded", "run 'guardctl init' in a repo"))
    return checks


def _check_store(store: Store) -> Check:
    verdict = store.db.value("PRAGMA quick_check(1)")
    return Check("store", verdict == "ok", f"{store.path}: {verdict}", "run 'guardctl fsck --repair'")


def _check_privacy(store: Store) -> Check:
    """Whether others can look into the copies of someone's source."""
    open_to_others = [path for path in (store.state_dir, store.path) if os.stat(path).st_mode & 0o077]
    seen = f"others can read {open_to_others[0]}" if open_to_others else f"{store.state_dir} is closed to others"
    return Check("privacy", not open_to_others, seen, f"run 'chmod -R go= {store.state_dir}'")


def _check_disk(store: Store) -> Check:
    free = shutil.disk_usage(store.state_dir).free
    return Check("disk", free > _ENOUGH_BYTES, f"{free // 2**20:,} MiB free for the store", "free some space, or lower 'quota'")


def _check_instances(repos: int) -> Check:
    try:
        with open(_INSTANCE_LIMIT, encoding="ascii") as file:
            limit = int(file.read())
    except OSError as error:
        return Check("watch instances", True, f"not known: {_INSTANCE_LIMIT}: {error.strerror}")
    seen = f"the kernel allows {limit:,} for all programs of this user, guardd takes one a repo"
    cure = f"run 'sudo sysctl fs.inotify.max_user_instances={max(1024, 2 * limit)}'"
    return Check("watch instances", limit >= _INSTANCES + repos - 1, seen, cure)


def check_targets(targets: Sequence[AlertSettings], now: Standing, store: Store) -> list[Check]:
    """Whether each alert target can be read from the config, closed to others, and takes what is sent to it."""
    if not targets:
        return [Check("alerts", True, "no target: add an [[alert]] to the config, so that people are told")]
    return [_check_target(one, now, store) for one in targets]


def _check_target(settings: AlertSettings, now: Standing, store: Store) -> Check:
    name, waiting = f"alerts to {settings.label}", now.pending.get(settings.label, 0)
    files = exposed(settings)
    if files:
        return Check(name, False, f"others can read {files[0]}", f"run 'chmod 600 {files[0]}'")
    failing = next((one for one in now.failing if one.target == settings.label), None)
    if failing is not None:
        last = store.outbox.next(settings.label)
        seen = f"no message taken since {format_instant(failing.since_ns)}, {waiting} wait: {last.answer if last else ''}"
        return Check(name, False, seen, f"run 'guardctl alerts test {settings.label}', and mend what it says")
    if settings.needs_service:
        return Check(name, True, f"only guardd itself can read its URL; {waiting} wait")
    try:
        kind = endpoint(settings).kind
    except ConfigError as error:
        return Check(name, False, "; ".join(error.problems), "mend it in the config, then 'guardctl alerts test'")
    return Check(name, True, f"{kind}; {waiting} wait")


def _check_repo(repo: RepoStanding) -> Check:
    said = "; ".join(repo.reasons)
    cure = "wait for the baseline" if repo.state is RepoState.STARTING else said
    return Check(f"repo {repo.path}", repo.state is RepoState.PROTECTED, repo.state, cure)
