"""Bringing the store up to the disk before a command that needs the truth about it."""

import os

from guardd.capture.capturer import Capturer
from guardd.cli.context import Context
from guardd.cli.output import warn
from guardd.cli.progress import bar
from guardd.errors import StoreFull, UsageError
from guardd.escaping import printable
from guardd.model import Origin, RepoPath
from guardd.store import ballast
from guardd.store.lock import daemon_lock


def capture(
    context: Context, paths: list[RepoPath] | None = None, *, must_be_there: bool = True, just_to_read: bool = False,
    refilled: bool = False,
) -> None:  # fmt: skip
    """Capture the repo (or just these paths) now, as the daemon would. Says on stderr what could not be read.

    `just_to_read`: whoever only shows what is stored goes on without a repo, and without room for more in the store.
    `refilled`: a directory that was made anew, and is empty, is right, as someone said who wants files back in it: from now on
    the others are gone.
    Raises UsageError where the repo is an empty mount point, or is gone and must be there.
    """
    try:
        if just_to_read:
            _capture(context, paths, must_be_there=False)
        else:
            ballast.backing(context.state_dir, lambda: _capture(context, paths, must_be_there=must_be_there, refilled=refilled))
    except StoreFull as error:
        if not just_to_read:
            raise
        warn(context, f"{error}; this is what was kept until now")


def _capture(context: Context, paths: list[RepoPath] | None, *, must_be_there: bool, refilled: bool = False) -> None:
    running = daemon_lock(context.state_dir).holder() is not None
    root = context.repo.path
    if not os.path.isdir(root) or os.path.islink(root):
        if must_be_there:
            raise UsageError(f"{root} is not there; bring it back (move, mount), or make it to restore into it: mkdir {root}")
        warn(context, f"{printable(root)} is not there; this is what was kept of it")
        return
    if not running:
        context.take_rules_from_config()
    capturer = Capturer(context.store, context.repo)
    try:
        if paths is not None:
            wanted = [path for path in paths if capturer.selection.wants(path)]
            looked = capturer.look(wanted, Origin.SCAN if running else Origin.OFFLINE)
            hidden: dict[RepoPath, str] = {}
        else:
            with bar(context, "capturing") as progress:
                origin = Origin.SCAN if running else Origin.OFFLINE
                found, looked = capturer.scan(origin, on_progress=progress, refilled=refilled)
            if found.unmounted:
                where = ", ".join(printable(path) or context.repo.path for path in sorted(found.unmounted))
                ways = "to restore into it: 'guardctl restore --since T --yes'; " if "" in found.unmounted else ""
                raise UsageError(
                    f"{where} is empty and not the directory that held its files; mount it, or move it back "
                    f"({ways}really gone? put a file there)"
                )
            hidden = found.unreadable
    finally:
        capturer.close()
    for path, error in hidden.items():
        warn(context, f"{printable(path) or '.'}: {error}; what is below it is not up to date")
    for path, trouble in looked.troubled.items():
        warn(context, f"{printable(path)}: {trouble.value}; its newest version may be older than the disk")
    if looked.again:
        first, more = printable(looked.again[0]), len(looked.again) - 1
        files = f"{first} and {more:,} more" if more else first
        warn(context, f"{files}: changed or restored by another process meanwhile; its newest version may not be what is on disk")
