"""The history of files in git: which contents it had of them, newest first, by one walk over the commits."""

import os
import select
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

from guardd.errors import GuardError, UsageError
from guardd.gitcommand import Objects, ask, kill, run, start
from guardd.gitdir import git_dir_of
from guardd.model import RepoPath

_MOST_COMMITS = 5000
_MOST_S = 20.0
_MOST_OF_ONE = 300
"""Contents of one file, read only until one is healthy: whoever needs an older one names the revision."""

_LOG = (
    "log", "HEAD", "--raw", "-z", "-m", "--no-renames", "--no-abbrev", "--no-ext-diff", "--no-textconv", "--no-show-signature",
    "--no-color", "--no-notes", f"--max-count={_MOST_COMMITS}", "--format=%x01%H %ct",
)  # fmt: skip
"""`-m`: what a merge made of a file is no parent's. A rename is a new file, with the content that it had then."""

_REGULAR = ("100644", "100755", "100664")


class Committed(NamedTuple):
    """A content that a commit gave a file; `mode` as git has it, `time_ns` the commit's."""

    object_id: str
    mode: int
    commit: str
    time_ns: int


@dataclass(slots=True)
class Walked:
    """What the walk found of the wanted paths: their contents newest first, which of them HEAD has, which have older contents."""

    contents: dict[RepoPath, list[Committed]] = field(default_factory=dict)
    in_head: set[RepoPath] = field(default_factory=set)
    cut: set[RepoPath] = field(default_factory=set)

    def add(self, path: RepoPath, one: Committed) -> None:
        """The next older content of a path."""
        versions = self.contents.setdefault(path, [])
        if any(one.object_id == each.object_id for each in versions):
            return
        if len(versions) < _MOST_OF_ONE:
            versions.append(one)
        else:
            self.cut.add(path)

    def was_removed(self, path: RepoPath) -> bool:
        """Whether a commit took the file away: then it is gone on purpose."""
        return path in self.contents and path not in self.in_head


class GitHistory:
    """The history of one repo; of one that is not git's, nothing. Holds a git process as long as it is open.

    `trouble`: why git, which is there, could not be asked (no program, a damaged repo, one of another owner).
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._objects = Objects(root)
        self._is_git = _is_in_work_tree(root)
        self.trouble: str | None = None

    def walk(self, wanted: Collection[RepoPath]) -> Walked:
        """The contents of these files, as far as some thousands of commits and some seconds reach; then as HEAD has them."""
        found = Walked()
        if not self._is_git or not wanted:
            return found
        try:
            top = os.fsdecode(ask(self._root, ["rev-parse", "--show-prefix"], "git cannot be asked")).rstrip("\n")
            if run(self._root, ["rev-parse", "--verify", "--quiet", "HEAD"]).returncode:  # no commit yet: then it is no source
                return found
            listing = ask(self._root, ["ls-tree", "-r", "-z", "--full-tree", "HEAD"], "git cannot list HEAD")
        except UsageError as error:
            self.trouble = str(error)
            return found
        oldest_ns = 0
        for time_ns, path, one in self._changes(top):
            oldest_ns = time_ns
            if path in wanted and one is not None:
                found.add(path, one)
        for entry in listing.split(b"\0"):
            about, _, name = entry.partition(b"\t")
            path = os.fsdecode(name).removeprefix(top)
            if path in wanted and (not top or os.fsdecode(name).startswith(top)):
                mode, kind, object_id = about.decode().split()
                found.in_head.add(path)
                if kind == "blob" and mode in _REGULAR and path not in found.contents:  # older than the walk went
                    found.contents[path] = [Committed(object_id, int(mode, 8), "HEAD", oldest_ns)]
        return found

    def read(self, object_id: str) -> bytes:
        """The content of an object. Raises GuardError."""
        return self._objects.read(object_id)

    def _changes(self, top: str) -> Iterator[tuple[int, RepoPath, Committed | None]]:
        """(time, path, content or None where it went) of each change that a commit made, newest first."""
        fields = self._fields([*_LOG, "--", "."] if top else [*_LOG, "--"])
        commit, time_ns = "", 0
        for text in fields:
            if text.startswith(b"\x01"):
                commit, seconds = text[1:].decode().split()
                time_ns = int(seconds) * 1_000_000_000
            elif text.startswith(b":"):
                _, mode, _, object_id, _ = text[1:].decode().split()
                path = os.fsdecode(next(fields, b""))
                if path.startswith(top):
                    yield (
                        time_ns,
                        path[len(top) :],
                        Committed(object_id, int(mode, 8), commit, time_ns) if mode in _REGULAR else None,
                    )

    def _fields(self, words: Sequence[str]) -> Iterator[bytes]:
        """What git says, at its NULs, until it has said all or its time is over."""
        deadline = time.monotonic() + _MOST_S
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        process = start(self._root, words, stdin=nothing, stdout=pipe, stderr=nothing, bufsize=0)
        try:
            if process.stdout is None:
                raise AssertionError("git was started with a pipe")
            rest = b""
            while (left := deadline - time.monotonic()) > 0 and select.select([process.stdout], [], [], left)[0]:
                part = os.read(process.stdout.fileno(), 1 << 20)
                if not part:
                    break
                *whole, rest = (rest + part).split(b"\0")
                yield from (text.lstrip(b"\n") for text in whole)
        finally:
            kill(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._objects.close()


def _is_in_work_tree(root: str) -> bool:
    folder = root
    while git_dir_of(folder) is None:
        if folder == (folder := os.path.dirname(folder)):
            return False
    return True


def readable(history: GitHistory, object_id: str) -> bytes | None:
    """The content of an object; None where git cannot tell."""
    try:
        return history.read(object_id)
    except GuardError:
        return None
