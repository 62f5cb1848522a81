"""A tree as the log has it now, but for some of its files: as it was, or will be."""

from collections.abc import Callable, Mapping

from guardd.checking.trees import LogTree
from guardd.model import RepoPath


class Overlay:
    """The heads, with other contents (None: no file) at some paths. `read_blob` gives a content by its hash."""

    def __init__(self, heads: LogTree, other: Mapping[RepoPath, bytes | None], read_blob: Callable[[bytes], bytes]) -> None:
        self._blobs = {path: blob for path, blob in {**heads.blobs(), **other}.items() if blob is not None}
        self._read_blob = read_blob
        self.outside = heads.outside

    def blobs(self) -> Mapping[RepoPath, bytes]:
        """Every regular file, and the hash of its content."""
        return self._blobs

    def read(self, path: RepoPath) -> bytes:
        """A file's content."""
        return self._read_blob(self._blobs[path])
