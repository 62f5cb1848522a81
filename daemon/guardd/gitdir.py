"""Where git keeps what it knows of a directory: found as git does, by looking, without running it."""

import os
import stat


def git_dir_of(top: str) -> str | None:
    """The git directory of the work tree whose top is `top`; None if it is no such top.

    `.git` is that directory, or for worktrees and submodules a file that names it (gitrepository-layout(5)).
    """
    path = os.path.join(top, ".git")
    if os.path.isdir(path):
        return path if os.path.exists(os.path.join(path, "HEAD")) else None
    text = os.fsdecode(read_plain(path, 4096) or b"")
    if not text.startswith("gitdir:") or "\0" in text:
        return None
    return os.path.normpath(os.path.join(top, text.removeprefix("gitdir:").strip()))


def read_plain(path: str, most: int) -> bytes | None:
    """Up to so many bytes of a regular file; None where there is none. For a FIFO's one could wait forever."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            return file.read(most) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except OSError:
        return None
