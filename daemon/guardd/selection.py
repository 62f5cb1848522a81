"""Selection: which paths of a repo guard keeps (include, exclude, built-in exclusions, .gitignore)."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from blake3 import blake3

from guardd.model import RepoPath
from guardd.regular import read_regular

DEFAULT_INCLUDE = ("*.py", "*.pyi")

BUILTIN_EXCLUDE = (
    ".venv/", ".tox/", ".nox/", ".eggs/", "*.egg-info/", "__pycache__/", "__pypackages__/", "site-packages/",
    "node_modules/", ".mypy_cache/", ".pytest_cache/", ".ruff_cache/", ".hypothesis/", ".ipynb_checkpoints/",
    ".direnv/", ".pixi/", "/build/", "/dist/",
)  # fmt: skip
"""Excluded unless the config's `exclude` takes one back (`!/build/`): environments, caches, build folders."""

NEVER = frozenset({".git", ".hg", ".svn", ".jj", ".bzr"})
"""Version control's own directories: never kept, never written, whatever the config says."""

TEMPORARY = ".guardd-"
"""How the names of files begin that a restore has in hand: never kept themselves."""

_MOST_OF_PATTERNS = 1 << 20
"""Bytes that are read of a .gitignore."""

CANARY = "guardd_canary_"
"""How the directory at the top of a repo begins in which `guardctl doctor --canary` damages files of its own."""

CANARY_PATHS = CANARY + "*/*"
"""The same as a glob, as SQLite has them."""

ENVIRONMENT_MARKS = frozenset({"pyvenv.cfg", "conda-meta"})
"""A directory that holds one of these names is an environment (PEP 405, conda), whatever it is called."""


class SelectionRules(NamedTuple):
    """The settings that a selection is made of; patterns are gitignore's, the last match wins."""

    include: tuple[str, ...] = DEFAULT_INCLUDE
    exclude: tuple[str, ...] = ()
    respect_gitignore: bool = False
    max_file_size: int = 16 * 1024 * 1024

    @property
    def fingerprint(self) -> str:
        """Equal for equal rules: a scan under new rules meets paths that are new to guard but not to the repo."""
        return blake3(repr(self).encode()).hexdigest(8)


class Selection:
    """Which paths of the repo at `root` guard keeps. Answers about directories are remembered.

    Reads the disk only for `.gitignore` files, and only with `respect_gitignore`.
    """

    def __init__(self, root: str, rules: SelectionRules) -> None:
        self.rules = rules
        self._suffixes = _plain_suffixes(rules.include)
        self._include = None if self._suffixes else _Patterns(rules.include)
        self._builtin_names = frozenset(p.rstrip("/") for p in BUILTIN_EXCLUDE if p[0] not in "/*")
        self._exclude = _Patterns((*BUILTIN_EXCLUDE, *rules.exclude)) if rules.exclude else None
        self._gitignore = _GitIgnore(root) if rules.respect_gitignore else None
        self._dirs: dict[RepoPath, bool] = {"": True}

    def wants_dir(self, path: RepoPath) -> bool:
        """Whether files below the directory `path` (`""` is the root) can be wanted, going by its name and those above."""
        known = self._dirs.get(path)
        if known is None:
            parent, _, name = path.rpartition("/")
            known = self._dirs[path] = self.wants_dir(parent) and self._admits_dir(path, name)
        return known

    def wants_name(self, path: RepoPath) -> bool:
        """Whether a file `path` is wanted, given that its directory is."""
        if self._suffixes is not None:
            if not path.endswith(self._suffixes):
                return False
        elif path.startswith(TEMPORARY, path.rfind("/") + 1) or not self._includes(path):
            return False
        if self._exclude is not None and self._exclude.match(path):
            return False
        return self._gitignore is None or not self._gitignore.ignores(path)

    @property
    def suffixes(self) -> tuple[str, ...] | None:
        """Where names alone decide: how those of wanted files end, given that their directories are wanted. Else None."""
        return self._suffixes if self._exclude is None and self._gitignore is None else None

    def wants(self, path: RepoPath) -> bool:
        """Whether a file `path` is wanted, going by its name and the directories above it."""
        return self.wants_name(path) and self.wants_dir(path.rpartition("/")[0])

    def forget(self) -> None:
        """Read the `.gitignore` files anew: one of them changed."""
        self._dirs = {"": True}
        if self._gitignore is not None:
            self._gitignore.forget()

    def _includes(self, path: RepoPath) -> bool:
        return self._include is None or self._include.match(path)

    def _admits_dir(self, path: RepoPath, name: str) -> bool:
        if name in NEVER:
            return False
        if self._exclude is not None:
            if self._exclude.match(path + "/"):
                return False
        elif name in self._builtin_names or name.endswith(".egg-info") or path in ("build", "dist"):
            return False
        return self._gitignore is None or not self._gitignore.ignores(path + "/")


def is_canary(path: RepoPath) -> bool:
    """Whether a path is one of the canary's: no one's work, damaged on purpose and gone in a moment."""
    return path.startswith(CANARY) and "/" in path


def marks_environment(names: Iterable[str]) -> bool:
    """Whether a directory that holds `names` is a virtual or conda environment."""
    return not ENVIRONMENT_MARKS.isdisjoint(names)


def matcher(patterns: Sequence[str]) -> Callable[[RepoPath], bool]:
    """Whether a path matches gitignore patterns."""
    return _Patterns(patterns).match if patterns else lambda path: False


class _Patterns:
    """Gitignore patterns for paths of any bytes: pathspec takes no surrogates, so what is no UTF-8 is matched as U+FFFD."""

    def __init__(self, patterns: Sequence[str]) -> None:
        from pathspec import GitIgnoreSpec  # 50 ms to import, and most repos never need it

        self._spec = GitIgnoreSpec.from_lines(map(_utf8, patterns))

    def match(self, path: RepoPath) -> bool:
        """Whether the path matches."""
        return self._spec.match_file(_utf8(path))

    def verdict(self, path: RepoPath) -> bool | None:
        """What the last pattern that matches says: in, or (with `!`) out; None where none matches."""
        return self._spec.check_file(_utf8(path)).include


def _utf8(text: str) -> str:
    return text if text.isascii() else os.fsencode(text).decode("utf-8", "replace")


class _GitIgnore:
    """The repo's `.gitignore` files and `.git/info/exclude`: the deepest file that has an opinion decides (gitignore(5))."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._specs: dict[RepoPath, _Patterns | None] = {}

    def ignores(self, path: RepoPath) -> bool:
        """Whether git would ignore `path` (directories end in `/`), given that no directory above it is ignored."""
        folder = path.rstrip("/").rpartition("/")[0]
        while True:
            spec = self._spec_of(folder)
            if spec is not None:
                verdict = spec.verdict(path[len(folder) + 1 :] if folder else path)
                if verdict is not None:
                    return verdict
            if not folder:
                return False
            folder = folder.rpartition("/")[0]

    def forget(self) -> None:
        self._specs.clear()

    def _spec_of(self, folder: RepoPath) -> "_Patterns | None":
        if folder not in self._specs:
            lines = _lines(os.path.join(self._root, folder, ".gitignore"))
            if not folder:
                lines = _lines(os.path.join(self._root, ".git/info/exclude")) + lines
            self._specs[folder] = _tolerant(lines) if lines else None
        return self._specs[folder]


def _tolerant(lines: Sequence[str]) -> _Patterns:
    """The patterns without those that are none: git passes over them, and so must a scan."""
    try:
        return _Patterns(lines)
    except (ValueError, re.error):
        return _Patterns([line for line in lines if _is_pattern(line)])


def _is_pattern(line: str) -> bool:
    try:
        _Patterns([line])
    except (ValueError, re.error):
        return False
    return True


def _lines(path: str) -> list[str]:
    try:
        return os.fsdecode(read_regular(path, _MOST_OF_PATTERNS)).splitlines()
    except (OSError, ValueError):
        return []


def _plain_suffixes(include: Sequence[str]) -> tuple[str, ...] | None:
    """The suffixes of patterns that are all of the form `*.py`; None where one asks for more."""
    plain = [p[1:] for p in include if p.startswith("*.") and not set(p[1:]) & set("*?[]!/\\ ")]
    return tuple(plain) if len(plain) == len(include) else None
