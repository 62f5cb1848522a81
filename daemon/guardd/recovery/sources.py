"""Git as a source of contents: any revision's files, and three-way merges. The repo's own config cannot run anything."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator

from guardd.errors import GuardError, UsageError
from guardd.gitcommand import Objects, ask, run
from guardd.gitdir import git_dir_of
from guardd.model import RepoPath

_UNDER_WAY = {
    "rebase-merge": "rebase", "rebase-apply": "rebase", "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick", "REVERT_HEAD": "revert", "BISECT_LOG": "bisect",
}  # fmt: skip


def git_files(root: str, rev: str, wanted: Callable[[RepoPath], bool]) -> Iterator[tuple[RepoPath, int, bytes]]:
    """(path, mode, content) of the wanted files of a revision; links come with mode S_IFLNK.

    Contents are git's own (no line-ending conversion). Raises UsageError for a bad revision.
    """
    if rev.startswith("-"):
        raise UsageError(f"git:{rev} is no revision; try git:HEAD")
    named = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{tree}}"]
    resolved = ask(root, named, f"git has no revision {rev!r} here")
    tree = resolved.decode().strip()
    listing = ask(root, ["ls-tree", "-r", "-z", "--full-tree", tree], f"git cannot list {rev!r}")
    top = os.fsdecode(ask(root, ["rev-parse", "--show-prefix"], "this is no git repo")).rstrip("\n")
    yield from _contents(root, [entry for entry in _entries(listing, top) if wanted(entry[0])])


def merge(ours: bytes, base: bytes, theirs: bytes) -> bytes | None:
    """The three-way merge by `git merge-file`; None on conflict."""
    with tempfile.TemporaryDirectory(prefix="guard-merge-") as folder:
        paths = []
        for name, content in (("ours", ours), ("base", base), ("theirs", theirs)):
            paths.append(os.path.join(folder, name))
            with open(paths[-1], "wb") as file:
                file.write(content)
        done = run(folder, ["merge-file", "-p", "-q", *paths])
    if done.returncode == 0:
        return done.stdout
    if 0 < done.returncode < 128:
        return None
    return None if b"binary" in done.stderr else _refuse(done)


def git_operation(root: str) -> str | None:
    """The git operation (rebase, merge, ...) that is under way in the work tree which `root` is, or is a folder of; or None."""
    folder = root
    while (git_dir := git_dir_of(folder)) is None:
        if folder == (folder := os.path.dirname(folder)):
            return None
    return next((what for name, what in _UNDER_WAY.items() if os.path.lexists(os.path.join(git_dir, name))), None)


def _entries(listing: bytes, top: str) -> Iterator[tuple[RepoPath, int, str]]:
    for entry in listing.split(b"\0"):
        if entry:
            about, _, name = entry.partition(b"\t")
            mode, kind, object_id = about.decode().split()
            path = os.fsdecode(name)
            if kind == "blob" and path.startswith(top):
                yield path[len(top) :], int(mode, 8), object_id


def _contents(root: str, entries: list[tuple[RepoPath, int, str]]) -> Iterator[tuple[RepoPath, int, bytes]]:
    with Objects(root) as objects:
        for path, mode, object_id in entries:
            yield path, mode, objects.read(object_id)


def _refuse(done: "subprocess.CompletedProcess[bytes]") -> bytes:
    raise GuardError(f"git merge-file failed: {done.stderr.decode(errors='replace').strip()}")
