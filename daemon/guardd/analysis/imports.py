"""Imports, statically: which of them name a module, or a name in it, that is not there. Not sure means: it is there."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from guardd.analysis.sources import Facts, Import
from guardd.model import RepoPath

_SUFFIXES = (".py", ".pyi")
_DEEPEST_STARS = 5
_MADE_BY_MODULES = {"os.path"}
"""Modules that no file stands for: another one puts them into `sys.modules`."""


@dataclass(frozen=True, slots=True)
class Missing:
    """An import that does not resolve: what is missing, in words. `sure` is false where it may be a third party's module."""

    line: int
    what: str
    sure: bool = True


class Modules:
    """The modules of a tree, and what they bind.

    `paths` are its Python files, `source_roots` the folders besides the top, `src` and the importer's own ancestors that
    imports start from. `facts_of` gives the facts of a file's present content (None: not known), `is_compiled` tells whether
    a folder holds an extension module of this name, `installed` the top-level names of the tree's environment (None: not known).
    """

    def __init__(
        self,
        paths: Iterable[RepoPath],
        source_roots: Sequence[str],
        facts_of: Callable[[RepoPath], Facts | None],
        is_compiled: Callable[[RepoPath, str], bool],
        installed: Callable[[], frozenset[str] | None],
    ) -> None:
        self._files: set[RepoPath] = set()
        self._folders: Counter[RepoPath] = Counter()
        self._roots = ("", "src", *(root.strip("/").removeprefix("./").removeprefix(".") for root in source_roots))
        self._facts_of = facts_of
        self._is_compiled = is_compiled
        self._installed = installed
        for path in paths:
            self.add(path)

    def add(self, path: RepoPath) -> None:
        """A file is there now."""
        if path.endswith(_SUFFIXES) and path not in self._files:
            self._files.add(path)
            self._folders.update(_folders_of(path))

    def remove(self, path: RepoPath) -> None:
        """A file is there no more."""
        if path in self._files:
            self._files.discard(path)
            self._folders.subtract(_folders_of(path))

    def missing(self, importer: RepoPath, one: Import) -> list[Missing]:
        """What an import statement of the file `importer` asks for and does not get; nothing for one that may fail."""
        if one.guarded or one.module in _MADE_BY_MODULES:
            return []
        parts = one.module.split(".") if one.module else []
        if one.level:
            base = _above(importer, one.level)
            return [] if base is None else self._missing_from([base], parts, one, "." * one.level + one.module)
        if not parts:
            return []
        roots = [root for root in self._candidates(importer) if self._has(root, parts[0])]
        if not roots:
            return self._missing_top(parts[0], one)
        if not any(self._is_regular(root, parts[0]) for root in roots) and self._elsewhere(parts[0]):
            return []
        return self._missing_from(roots, parts, one, one.module)

    def is_ours(self, importer: RepoPath, level: int, module: str) -> bool:
        """Whether an import of this module leads into the tree."""
        return bool(level) or any(self._has(root, module.partition(".")[0]) for root in self._candidates(importer))

    def is_known(self, importer: RepoPath, module: str) -> bool:
        """Whether an absolute import of this module leads into the tree or the standard library."""
        return module.partition(".")[0] in sys.stdlib_module_names or self.is_ours(importer, 0, module)

    def names_of(self, path: RepoPath) -> list[str]:
        """The dotted names that a file can be imported by."""
        stem = path.rpartition(".")[0].removesuffix("/__init__")
        return [
            stem[len(root) :].lstrip("/").replace("/", ".") for root in self._roots if not root or stem.startswith(root + "/")
        ]

    def _missing_from(self, roots: Sequence[RepoPath], parts: Sequence[str], one: Import, shown: str) -> list[Missing]:
        """What is missing if every one of these roots lacks it."""
        problems: list[Missing] = []
        for root in roots:
            place = root
            for part in parts:
                if not self._has(place, part):
                    problems = [Missing(one.line, f"there is no module {shown!r}")]
                    break
                place = _join(place, part)
            else:
                problems = [
                    Missing(one.line, f"{shown} has no {name!r}") for name in one.names or () if not self._binds(place, name)
                ]
            if not problems:
                return []
        return problems

    def _missing_top(self, top: str, one: Import) -> list[Missing]:
        if top in sys.stdlib_module_names or top == "__main__":
            return []
        installed = self._installed()
        if installed is None:
            known_below = any(folder.endswith("/" + top) for folder in self._folders) or any(
                path.endswith(f"/{top}.py") for path in self._files
            )
            return [] if known_below else [Missing(one.line, f"there is no module {one.module!r}", sure=False)]
        return [] if top in installed else [Missing(one.line, f"there is no module {one.module!r}")]

    def _elsewhere(self, top: str) -> bool:
        installed = self._installed()
        return top in sys.stdlib_module_names or installed is None or top in installed

    def _candidates(self, importer: RepoPath) -> Iterator[RepoPath]:
        yield from dict.fromkeys((*self._roots, *_folders_of(importer)))

    def _has(self, place: RepoPath, name: str) -> bool:
        path = _join(place, name)
        return (
            any(path + suffix in self._files for suffix in _SUFFIXES) or self._folders[path] > 0 or self._is_compiled(place, name)
        )

    def _is_regular(self, place: RepoPath, name: str) -> bool:
        path = _join(place, name)
        return any(f"{path}{end}" in self._files for end in (*_SUFFIXES, *(f"/__init__{suffix}" for suffix in _SUFFIXES)))

    def _binds(self, module: RepoPath, name: str, depth: int = 0) -> bool:
        """Whether a module (a file, or a folder) has this name, or may have it."""
        if name == "*" or (name.startswith("__") and name.endswith("__")) or self._has(module, name):
            return True
        files = [f"{module}{end}" for end in (*_SUFFIXES, "/__init__.py", "/__init__.pyi") if f"{module}{end}" in self._files]
        for path in files:
            facts = self._facts_of(path)
            if facts is None or not facts.parses or facts.dynamic or name in facts.exports:
                return True
            for one in facts.imports:
                if one.names == ("*",) and self._star_binds(path, one, name, depth):
                    return True
        return not files and self._folders[module] <= 0

    def _star_binds(self, importer: RepoPath, one: Import, name: str, depth: int) -> bool:
        if depth >= _DEEPEST_STARS:
            return True
        parts = one.module.split(".") if one.module else []
        roots = [_above(importer, one.level)] if one.level else list(self._candidates(importer))
        places = [_join(root, "/".join(parts)) if parts else root for root in roots if root is not None]
        known = [place for place in places if self._folders[place] > 0 or self._is_file(place)]
        return not known or any(self._binds(place, name, depth + 1) for place in known)

    def _is_file(self, module: RepoPath) -> bool:
        return any(module + suffix in self._files for suffix in _SUFFIXES)


def _above(importer: RepoPath, level: int) -> RepoPath | None:
    """The folder that a relative import of this level starts from; None above the top."""
    parts = importer.split("/")[:-1]
    return "/".join(parts[: len(parts) - level + 1]) if level - 1 <= len(parts) else None


def _folders_of(path: RepoPath) -> Iterator[RepoPath]:
    folder = path.rpartition("/")[0]
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]


def _join(folder: RepoPath, name: str) -> RepoPath:
    return f"{folder}/{name}" if folder else name
