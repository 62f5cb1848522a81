"""What imports can find although no tree holds it: compiled modules, links, and files that guard was told to leave out."""

import os
from collections.abc import Iterable

from guardd.model import PYTHON, RepoPath
from guardd.selection import Selection

_BUILT = (".so", ".pyd", ".pyc", ".pyx", ".c", ".cc", ".cpp", ".cxx", ".f90")
"""Compiled modules, and what they are compiled from."""


class Outside:
    """The importable things in the folders of a tree on disk that are not selected; each folder is listed once.

    `links` are further ones that are known, as git's links and submodules.
    """

    def __init__(self, root: str, selection: Selection, links: Iterable[RepoPath] = ()) -> None:
        self._root = root
        self._selection = selection
        self._known: dict[RepoPath, frozenset[str]] = {}
        self._links = {_stem(path) for path in links}
        self._ignoring: Selection | None = None

    def has(self, folder: RepoPath, name: str) -> bool:
        """Whether a folder holds one of this name."""
        if folder not in self._known:
            self._known[folder] = self._names(folder)
        path = f"{folder}/{name}" if folder else name
        return name in self._known[folder] or path in self._links

    def is_ignored(self, module: RepoPath) -> bool:
        """Whether git would ignore the file of this module (a path without suffix): it may be generated, some time."""
        if self._ignoring is None:
            self._ignoring = Selection(self._root, self._selection.rules._replace(respect_gitignore=True))
        return not self._ignoring.wants(f"{module}.py") or not self._ignoring.wants_dir(module)

    def _names(self, folder: RepoPath) -> frozenset[str]:
        try:
            with os.scandir(os.path.join(self._root, folder)) as entries:
                return frozenset(entry.name.partition(".")[0] for entry in entries if self._is_importable(folder, entry))
        except (OSError, ValueError):
            return frozenset()

    def _is_importable(self, folder: RepoPath, entry: os.DirEntry[str]) -> bool:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.name.endswith(_BUILT):
            return True
        if entry.is_symlink():
            return entry.name.endswith(PYTHON) or entry.is_dir()
        if entry.is_dir(follow_symlinks=False):
            return not self._selection.wants_dir(path) or self._is_other_package(path)
        return entry.name.endswith(PYTHON) and not self._selection.wants(path)

    def _is_other_package(self, folder: RepoPath) -> bool:
        """Whether a folder has no file that a tree could hold, but is more than what is left of files that are gone."""
        try:
            names = set(os.listdir(os.path.join(self._root, folder))) - {"__pycache__"}
        except OSError:
            return False
        return bool(names) and not any(self._selection.wants(f"{folder}/{name}") for name in names)


def _stem(path: RepoPath) -> RepoPath:
    return path.removesuffix(".py").removesuffix(".pyi")
