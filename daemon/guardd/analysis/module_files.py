"""The Python files of a tree, as the import system sees them: which folder holds a module of which name."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from guardd.model import PYTHON, RepoPath

_INITS = ("/__init__.py", "/__init__.pyi")


class ModuleFiles:
    """Files, the folders that have any below them, and for each name the folders that hold a file or a folder of it."""

    def __init__(self, paths: Iterable[RepoPath]) -> None:
        self._files: set[RepoPath] = set()
        self._folders: Counter[RepoPath] = Counter()
        self._holders: defaultdict[str, Counter[RepoPath]] = defaultdict(Counter)
        for path in paths:
            self.add(path)

    def __contains__(self, path: RepoPath) -> bool:
        return path in self._files

    def add(self, path: RepoPath) -> None:
        """A file is there now."""
        if path.endswith(PYTHON) and path not in self._files:
            self._files.add(path)
            self._count(path, 1)

    def remove(self, path: RepoPath) -> None:
        """A file is there no more."""
        if path in self._files:
            self._files.discard(path)
            self._count(path, -1)

    def has(self, place: RepoPath, name: str) -> bool:
        """Whether a folder holds a module or a folder of this name."""
        path = joined(place, name)
        return path + ".py" in self._files or path in self._folders or path + ".pyi" in self._files

    def holders(self, name: str) -> Mapping[RepoPath, int]:
        """The folders that hold a module or a folder of this name."""
        return self._holders.get(name, {})

    def is_folder(self, place: RepoPath) -> bool:
        """Whether there are files below."""
        return place in self._folders

    def is_package(self, folder: RepoPath) -> bool:
        """Whether a folder has an `__init__`."""
        return any(joined(folder, init[1:]) in self._files for init in _INITS)

    def of(self, module: RepoPath) -> list[RepoPath]:
        """The files that say what a module binds: a stub or the source, either may."""
        if not module:
            return [init[1:] for init in _INITS if init[1:] in self._files]
        return [module + end for end in (*PYTHON, *_INITS) if module + end in self._files]

    def _count(self, path: RepoPath, change: int) -> None:
        folder, _, name = path.rpartition("/")
        self._hold(folder, name.partition(".")[0], change)
        for one in folders_of(path):
            before = self._folders[one]
            self._folders[one] += change
            if not before or not self._folders[one]:
                above, _, name = one.rpartition("/")
                self._hold(above, name, change)
            if not self._folders[one]:
                del self._folders[one]

    def _hold(self, folder: RepoPath, name: str, change: int) -> None:
        holders = self._holders[name]
        holders[folder] += change
        if not holders[folder]:
            del holders[folder]
        if not holders:
            del self._holders[name]


def above(importer: RepoPath, level: int) -> RepoPath | None:
    """The folder that a relative import of this level starts from; None above the top."""
    parts = importer.split("/")[:-1]
    return "/".join(parts[: len(parts) - level + 1]) if level - 1 <= len(parts) else None


def folders_of(path: RepoPath) -> Iterator[RepoPath]:
    """The folders around a path, the innermost first, without the top."""
    folder = path.rpartition("/")[0]
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]


def joined(folder: RepoPath, name: str) -> RepoPath:
    """The path of a name in a folder."""
    return f"{folder}/{name}" if folder else name
