"""Trees: the files of a repo at one moment, wherever they are kept."""

import os
from collections.abc import Mapping
from functools import cached_property
from typing import Protocol

from guardd.model import RepoPath
from guardd.selection import is_canary
from guardd.store.store import Store
from guardd.store.trees import blobs_at

_COMPILED = (".so", ".pyd", ".pyc", ".pyx")


class Tree(Protocol):
    """The files of a repo at one moment."""

    def blobs(self) -> Mapping[RepoPath, bytes]:
        """Every regular selected file, and the hash of its content."""

    def read(self, path: RepoPath) -> bytes:
        """The content of one of them. Raises GuardError where it cannot be had (any more)."""

    def is_compiled(self, folder: RepoPath, name: str) -> bool:
        """Whether a folder holds an extension module of this name."""


class LogTree:
    """The tree as the log has it at a place; without one, its present heads."""

    def __init__(self, store: Store, repo_id: int, root: str, place: int | None = None) -> None:
        self._store = store
        self._repo_id = repo_id
        self._place = place
        self._compiled = CompiledModules(root)

    def blobs(self) -> Mapping[RepoPath, bytes]:
        """Every regular file that the log has, and the hash of its content; the canary's aside."""
        return self._blobs

    @cached_property
    def _blobs(self) -> dict[RepoPath, bytes]:
        found = blobs_at(self._store, self._repo_id, self._place)
        return {path: blob for path, blob in found.items() if not is_canary(path)}

    def read(self, path: RepoPath) -> bytes:
        """A file's content, from the store."""
        return self._store.blobs.read(self._blobs[path])

    def is_compiled(self, folder: RepoPath, name: str) -> bool:
        """Whether a folder on disk holds an extension module of this name: guard keeps none of them."""
        return self._compiled.has(folder, name)


class CompiledModules:
    """The extension modules in the folders of a tree on disk; each folder is listed once."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: dict[RepoPath, frozenset[str]] = {}

    def has(self, folder: RepoPath, name: str) -> bool:
        """Whether a folder holds one of this name."""
        if folder not in self._known:
            self._known[folder] = self._names(folder)
        return name in self._known[folder]

    def _names(self, folder: RepoPath) -> frozenset[str]:
        try:
            entries = os.listdir(os.path.join(self._root, folder))
        except (OSError, ValueError):
            return frozenset()
        return frozenset(entry.partition(".")[0] for entry in entries if entry.endswith(_COMPILED))
