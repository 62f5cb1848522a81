"""Where git keeps what it knows of a directory: found as git does, by looking, without running it."""

import os

from guardd.regular import read_regular


def git_dir_of(top: str) -> str | None:
    """The git directory of the work tree whose top is `top`; None if it is no such top.

    `.git` is that directory, or for worktrees and submodules a file that names it (gitrepository-layout(5)).
    """
    path = os.path.join(top, ".git")
    if os.path.isdir(path):
        return path if os.path.exists(os.path.join(path, "HEAD")) else None
    try:
        text = os.fsdecode(read_regular(path, 4096))
    except OSError:
        return None
    if not text.startswith("gitdir:") or "\0" in text:
        return None
    return os.path.normpath(os.path.join(top, text.removeprefix("gitdir:").strip()))


def common_dir_of(git_dir: str) -> str:
    """Where a git directory keeps what all work trees of a repo share: itself, but for one of `git worktree`."""
    try:
        text = os.fsdecode(read_regular(os.path.join(git_dir, "commondir"), 4096)).strip()
    except OSError:
        return git_dir
    return os.path.normpath(os.path.join(git_dir, text)) if text and "\0" not in text else git_dir
