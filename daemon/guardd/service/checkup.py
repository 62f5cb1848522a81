"""The checkup: everything that protection needs, each check with its cure."""

import os
import shutil
import sys
import time
from dataclasses import dataclass

from guardd.model import RepoState
from guardd.selection import Selection, SelectionRules
from guardd.service.installing import login_name, unit_standing
from guardd.service.standing import RepoStanding, standing
from guardd.service.supervision import health
from guardd.store.database import SOUND_SQLITE, sqlite_version
from guardd.store.store import Store

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


def check_up(store: Store, now_ns: int) -> list[Check]:
    """Everything that explains why protection is not complete."""
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
        Check("unit", *health(unit_standing(login_name()), running=now.pid is not None)),
    ]
    if sys.platform == "linux":
        checks.append(_check_instances(len(now.repos)))
    for repo, standing_ in zip(store.repos.all(), now.repos, strict=True):
        checks.append(_check_repo(standing_))
        if os.path.isdir(repo.path):
            checks += check_limits(repo.path, repo.rules)
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


def _check_repo(repo: RepoStanding) -> Check:
    said = "; ".join(repo.reasons)
    cure = "wait for the baseline" if repo.state is RepoState.STARTING else said
    return Check(f"repo {repo.path}", repo.state is RepoState.PROTECTED, repo.state, cure)
