"""The checkup: everything that protection needs, each check with its cure."""

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from guardd.alerting.endpoint import endpoint, exposed
from guardd.config.alerts import AlertSettings
from guardd.errors import ConfigError, StoreDamaged
from guardd.model import Moment, RepoState
from guardd.selection import Selection, SelectionRules
from guardd.service.installing import login_name, unit_standing
from guardd.service.reach import may_write
from guardd.service.standing import RepoStanding, Standing, standing
from guardd.service.supervision import health
from guardd.store.database import SOUND_SQLITE, sqlite_version
from guardd.store.repos import Repo
from guardd.store.store import Store
from guardd.timespec import format_instant

_WATCH_LIMITS = {
    "fs.inotify.max_user_watches": "/proc/sys/fs/inotify/max_user_watches",
    "user.max_inotify_watches": "/proc/sys/user/max_inotify_watches",  # the same in a user namespace
}
_INSTANCE_LIMITS = {
    "fs.inotify.max_user_instances": "/proc/sys/fs/inotify/max_user_instances",
    "user.max_inotify_instances": "/proc/sys/user/max_inotify_instances",
}
_ROOM = 1.2
"""Editors and file servers of the same user take watches too."""

_ENOUGH_BYTES = 100 * 1024 * 1024
_ENOUGH_FILES = 1000
_BEGIN_OF_TIME_NS = 1_700_000_000 * 1_000_000_000
"""Before guard existed: a clock that says so is wrong."""

_CLOCK_STEP_NS = 60 * 1_000_000_000


class Check(NamedTuple):
    """One check: what was looked at, whether it is as it should be, and the cure if not; how long it took, where that tells."""

    name: str
    ok: bool
    message: str
    cure: str = ""
    seconds: float | None = None


def check_limits(root: str, rules: SelectionRules) -> list[Check]:
    """Whether the kernel lets this user watch a repo, and whether it can be read."""
    found = _survey(root, rules)
    watches = _check_watches(f"watches for {root}", found.directories)
    return [*watches, _check_permissions(root, found)]


def check_up(store: Store, moment: Moment, targets: Sequence[AlertSettings] = ()) -> Iterator[Check]:
    """Everything that explains why protection is not complete, or why people would not hear of it."""
    yield _check_sqlite()
    soundness = _check_store(store)
    yield soundness
    yield _check_privacy(store)
    yield _check_disk(store)
    if not soundness.ok:
        return  # what follows would be read from it
    yield _check_clock(store, moment.wall_ns)
    yield Check("git", True, shutil.which("git") or "not found: only --merge and --from git:REV need it")
    now = standing(store, moment)
    running = f"guardd runs (pid {now.pid})" if now.pid is not None else "guardd is not running"
    yield Check("daemon", now.pid is not None, running, "start 'guardd'")
    yield Check("unit", *health(unit_standing(login_name()), running=now.pid is not None))
    yield from _check_repos(store, now)
    yield from check_targets(targets, now, store)


class _Survey(NamedTuple):
    """How many directories of a repo are to be watched, and those that cannot be read."""

    directories: int
    unreadable: tuple[str, ...]


def _survey(root: str, rules: SelectionRules) -> _Survey:
    selection = Selection(root, rules)
    directories, unreadable = 0, []
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as listing:
                names = [entry.name for entry in listing if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:  # it went while we looked
            continue
        except OSError:
            directories += 1
            unreadable.append(folder)
            continue
        directories += 1
        below = (f"{folder}/{name}" if folder else name for name in names)
        pending += [path for path in below if selection.wants_dir(path)]
    return _Survey(directories, tuple(unreadable))


def _check_sqlite() -> Check:
    version = sqlite_version()
    return Check("sqlite", version >= SOUND_SQLITE, f"SQLite {'.'.join(map(str, version))}", "run 'pip install -U apsw'")


def _check_store(store: Store) -> Check:
    """Whether SQLite finds its file in order: 0.1 s for 100 MB; `fsck` checks every content too."""
    try:
        verdict = str(store.db.value("PRAGMA quick_check(1)"))
    except StoreDamaged as error:
        verdict = str(error)
    return Check("store", verdict == "ok", f"{store.path}: {verdict}", "run 'guardctl fsck --repair'")


def _check_privacy(store: Store) -> Check:
    """Whether others can look into the copies of someone's source."""
    open_to_others = [path for path in (store.state_dir, store.path) if os.stat(path).st_mode & 0o077]
    seen = f"others can read {open_to_others[0]}" if open_to_others else f"{store.state_dir} is closed to others"
    return Check("privacy", not open_to_others, seen, f"run 'chmod -R go= {store.state_dir}'")


def _check_disk(store: Store) -> Check:
    """Whether the store can grow: bytes and files left on its disk."""
    disk = os.statvfs(store.state_dir)
    free = disk.f_bavail * disk.f_frsize
    seen = f"{free // 2**20:,} MiB free for the store"
    if disk.f_files and disk.f_favail < _ENOUGH_FILES:
        return Check("disk", False, f"{seen}, but only {disk.f_favail} more files", "remove some files from that disk")
    return Check("disk", free > _ENOUGH_BYTES, seen, "free some space, or lower 'quota'")


def _check_clock(store: Store, now_ns: int) -> Check:
    """Whether the clock can be right: not before guard existed, nor before what the log has already seen."""
    newest = store.log.newest()
    said = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(now_ns // 1_000_000_000))
    cure = "set the system's clock, and let NTP keep it"
    if newest is not None and now_ns < newest.time_ns - _CLOCK_STEP_NS:
        behind = (newest.time_ns - now_ns) // 1_000_000_000
        return Check("clock", False, f"{said} is {behind} s before the newest version in the log", cure)
    return Check("clock", now_ns > _BEGIN_OF_TIME_NS, said, cure)


def _check_repos(store: Store, now: Standing) -> Iterator[Check]:
    repos = store.repos.all()
    if not repos:
        yield Check("repos", False, "no repo is guarded", "run 'guardctl init' in a repo")
        return
    if sys.platform == "linux":
        yield _check_instances(len(repos) if now.pid is None else 0)
    by_path = {one.path: one for one in now.repos}
    found: dict[str, _Survey] = {}
    for repo in repos:
        if repo.path in by_path:
            yield _check_repo(by_path[repo.path])
        found |= _surveyed(repo)
        if repo.path in found:
            yield _check_permissions(repo.path, found[repo.path])
        if now.pid is not None and repo.path in by_path and by_path[repo.path].state is not RepoState.STOPPED:
            yield from _check_restores(repo.path, now.pid)
    if found:
        yield from _check_watches("watches", sum(one.directories for one in found.values()))


def _surveyed(repo: Repo) -> dict[str, _Survey]:
    return {repo.path: _survey(repo.path, repo.rules)} if os.path.isdir(repo.path) else {}


def _check_permissions(root: str, found: _Survey) -> Check:
    seen = f"all {found.directories:,} directories can be read"
    if found.unreadable:
        more = f" and {len(found.unreadable) - 1} more" if len(found.unreadable) > 1 else ""
        seen = f"{found.unreadable[0] or root}{more} cannot be read"
    cure = "give this user the right to read it, or exclude it"
    return Check(f"permissions in {root}", not found.unreadable, seen, cure)


def _check_restores(root: str, pid: int) -> list[Check]:
    """Whether guardd itself can put files back: the system's unit may write only to the repos that it was installed with."""
    is_open = may_write(pid, root)
    if is_open is None or not os.access(root, os.W_OK):
        return []
    seen = (
        "guardd can write there" if is_open else "guardd sees it read-only, and you do not: its sandbox does not name this repo"
    )
    cure = "run 'guardctl service install --system' again (in a container: mount it writable), so that auto_restore works there"
    return [Check(f"restores in {root}", is_open, seen, cure)]


def _check_watches(name: str, directories: int) -> list[Check]:
    """Whether the kernel's limit, which is one for all repos and programs of a user, has room for these directories."""
    if sys.platform != "linux":
        return []
    key, limit = _lowest(_WATCH_LIMITS)
    if limit is None:
        return [Check(name, True, f"{directories:,} directories to watch, the kernel's limit is not known")]
    seen = f"{directories:,} directories to watch, the kernel allows {limit:,}"
    cure = f"run 'sudo sysctl {key}={max(524_288, 2 * directories)}' (in /etc/sysctl.d it stays)"
    return [Check(name, limit > directories * _ROOM, seen, cure)]


def _check_instances(needed: int) -> Check:
    """Whether so many more of the kernel's event queues can be had by this user."""
    key, limit = _lowest(_INSTANCE_LIMITS)
    if limit is None:
        return Check("watch instances", True, "the kernel's limit is not known")
    used = _instances_used()
    seen = f"{used:,} of {limit:,} in use by programs of this user, guardd takes one a repo"
    cure = f"run 'sudo sysctl {key}={max(1024, 2 * limit)}' (in /etc/sysctl.d it stays)"
    return Check("watch instances", used + needed <= limit, seen, cure)


def _lowest(limits: dict[str, str]) -> tuple[str, int | None]:
    """The limit that is reached first, and its name for sysctl(8)."""
    found: dict[str, int] = {}
    for key, path in limits.items():
        with suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            found[key] = int(file.read())
    key = min(found, key=found.__getitem__, default="")
    return key, found.get(key)


def _instances_used() -> int:
    """How many event queues the processes of this user have open, as far as it may look."""
    used = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        folder = f"/proc/{pid}/fd"
        with suppress(OSError):  # it ended, or it is not ours to look at
            if os.stat(f"/proc/{pid}").st_uid == os.geteuid():
                for fd in os.listdir(folder):
                    with suppress(OSError):
                        used += os.readlink(f"{folder}/{fd}") == "anon_inode:inotify"
    return used


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
    if said.startswith("retired:"):
        return Check(f"repo {repo.path}", True, said)
    cure = "wait for the baseline" if repo.state is RepoState.STARTING else said
    return Check(f"repo {repo.path}", repo.state is RepoState.PROTECTED, repo.state, cure)
