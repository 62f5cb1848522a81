"""A tree as the log has it now, but for some of its files: as it was, or will be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from guardd.checking.trees import LogTree
from guardd.model import RepoPath


@dataclass(frozen=True, slots=True)
class Overlay:
    """The heads, with other contents (None: no file) at some paths. `read_blob` gives a content by its hash."""

    heads: LogTree
    other: Mapping[RepoPath, bytes | None]
    read_blob: Callable[[bytes], bytes]

    def blobs(self) -> Mapping[RepoPath, bytes]:
        """Every regular file, and the hash of its content."""
        return {path: blob for path, blob in {**self.heads.blobs(), **self.other}.items() if blob is not None}

    def read(self, path: RepoPath) -> bytes:
        """A file's content."""
        blob = self.other.get(path)
        return self.heads.read(path) if blob is None else self.read_blob(blob)

    def is_compiled(self, folder: RepoPath, name: str) -> bool:
        """Whether a folder on disk holds an extension module of this name."""
        return self.heads.is_compiled(folder, name)
