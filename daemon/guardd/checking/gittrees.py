"""Trees in git: the index, and revisions. Addressed by object id, so that what is equal need not be read."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from guardd.checking.outside import Outside
from guardd.errors import UsageError
from guardd.escaping import printable
from guardd.gitcommand import Objects, ask, environment, run
from guardd.model import RepoPath
from guardd.selection import ENVIRONMENT_MARKS, Selection, is_canary

_REGULAR = ("100644", "100755", "100664")


class _Entry(NamedTuple):
    mode: str
    object_id: str
    stage: int
    path: RepoPath


class GitTree:
    """The regular selected files of an index or a revision; contents are git's own (no line-ending conversion).

    `objects` names its objects to git-rev-list(1).
    """

    def __init__(self, git: "Git", objects: str | None, entries: Iterable[_Entry], unmerged: Iterable[RepoPath] = ()) -> None:
        self._git = git
        self._objects = objects
        self.unmerged = sorted(path for path in unmerged if git.selection.wants(path))
        entries = list(entries)
        environments = tuple(folder for folder in {_environment(one.path) for one in entries} if folder)
        wanted = git.selection.wants
        self._blobs = {
            one.path: bytes.fromhex(one.object_id)
            for one in entries
            if one.mode in _REGULAR and wanted(one.path) and not one.path.startswith(environments) and not is_canary(one.path)
        }
        self.outside = Outside(git.root, git.selection, [one.path for one in entries if one.mode not in _REGULAR])

    def blobs(self) -> Mapping[RepoPath, bytes]:
        """Every file, and the id of its object."""
        return self._blobs

    def read(self, path: RepoPath) -> bytes:
        """A file's content, from git's objects."""
        return self._git.read(self._blobs[path].hex())

    def lacking(self, paths: Iterable[RepoPath]) -> set[RepoPath]:
        """Those of these files whose content git does not have here: a partial clone fetches it when it needs it."""
        asked = [path for path in paths if path in self._blobs]
        if not asked or self._objects is None:
            return set()
        missing = self._git.missing(self._objects)
        return {path for path in asked if self._blobs[path] in missing}


class Git:
    """The git repo around a root, asked with plumbing commands alone. Raises UsageError where there is none.

    `cwd` is where the command was given: git's own variables (GIT_DIR, and GIT_INDEX_FILE, as hooks get it) are honoured.
    """

    def __init__(self, root: str, selection: Selection, cwd: str) -> None:
        self.root = root
        self.selection = selection
        self._env = environment(cwd)
        self._objects = Objects(root, self._env)
        said = ask(
            root,
            ["rev-parse", "--show-object-format"],
            f"{printable(root)} is in no git repo; leave out what needs one",
            self._env,
        )
        self.format = said.decode().strip()
        self._hash = hashlib.sha256 if self.format == "sha256" else hashlib.sha1

    def address(self, content: bytes) -> bytes:
        """The object id that git gives to a content (gitformat-pack(5): the header is part of what is hashed)."""
        return self._hash(b"blob %d\0" % len(content) + content, usedforsecurity=False).digest()

    def index(self) -> GitTree:
        """What is staged. Of what a merge left open, ours is taken; what was only announced (`git add -N`) is not there."""
        entries = list(_staged(ask(self.root, ["ls-files", "-s", "-z"], "git cannot list its index", self._env)))
        announced = self._announced(entries)
        open_ = {one.path: one for one in reversed(entries) if one.stage}  # the lowest stage last: base, ours, theirs
        ours = {one.path: one for one in entries if one.stage == 2}
        merged = [one for one in entries if not one.stage and one.path not in announced]
        return GitTree(self, "--indexed-objects", [*merged, *(open_ | ours).values()], open_)

    def revision(self, rev: str) -> GitTree:
        """What a revision holds. Raises UsageError for what names none."""
        if rev.startswith("-"):
            raise UsageError(f"{rev} is no revision; try HEAD")
        words = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{tree}}"]
        tree = os.fsdecode(ask(self.root, words, f"git has no revision {rev!r} here; see 'git log'", self._env)).strip()
        return GitTree(self, tree, _listed(ask(self.root, ["ls-tree", "-r", "-z", tree], f"git cannot list {rev!r}", self._env)))

    def head(self) -> GitTree:
        """What HEAD holds: nothing before the first commit."""
        if run(self.root, ["rev-parse", "--verify", "--quiet", "HEAD^{tree}"], self._env).returncode:
            return GitTree(self, None, [])
        return self.revision("HEAD")

    def missing(self, objects: str) -> set[bytes]:
        """The ids of the objects below these that are not here (git-rev-list(1)): nothing is fetched for the answer."""
        words = ["rev-list", "--objects", "--missing=print", objects]
        listing = ask(self.root, words, "git cannot say which objects it has; run 'git fsck'", self._env)
        return {bytes.fromhex(line[1:].decode()) for line in listing.splitlines() if line.startswith(b"?")}

    def read(self, object_id: str) -> bytes:
        """The content of an object. Raises GuardError where git does not have it."""
        return self._objects.read(object_id)

    def close(self) -> None:
        """End the process that reads objects."""
        self._objects.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _announced(self, entries: Iterable[_Entry]) -> set[RepoPath]:
        """The files that `git add -N` announced: they are listed as empty, and not compared with anything.

        Without a look at the disk, for which git would run the programs that a hostile config names as filters.
        """
        empty = self.address(b"").hex()
        announced = {one.path for one in entries if one.object_id == empty}
        if announced:
            no_tree = self._hash(b"tree 0\0", usedforsecurity=False).hexdigest()
            words = ["diff-index", "--cached", "--ita-invisible-in-index", "--name-only", "--relative", "-z", no_tree]
            listing = ask(self.root, words, "git cannot list what is staged", self._env)
            announced -= {os.fsdecode(name) for name in listing.split(b"\0")}
        return announced


def _staged(listing: bytes) -> Iterator[_Entry]:
    """`ls-files -s -z`: mode, object, stage, then the path after a tab."""
    for record in filter(None, listing.split(b"\0")):
        about, _, name = record.partition(b"\t")
        mode, object_id, stage = about.decode().split()
        yield _Entry(mode, object_id, int(stage), os.fsdecode(name))


def _listed(listing: bytes) -> Iterator[_Entry]:
    """`ls-tree -r -z`: mode, type, object, then the path after a tab."""
    for record in filter(None, listing.split(b"\0")):
        about, _, name = record.partition(b"\t")
        mode, _, object_id = about.decode().split()
        yield _Entry(mode, object_id, 0, os.fsdecode(name))


def _environment(path: RepoPath) -> str:
    """The folder, with a slash, that this path makes an environment of; empty where it does not."""
    parts = path.split("/")
    at = next((at for at, part in enumerate(parts) if part in ENVIRONMENT_MARKS), 0)
    return "/".join(parts[:at]) + "/" if at else ""
