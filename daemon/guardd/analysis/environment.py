"""What the interpreter of a tree can import besides its Python files, read from folders alone: installed and compiled modules."""

import glob
import os
import re
import sys
import time
from collections.abc import Iterator

from guardd.model import RepoPath
from guardd.regular import read_regular

_USUAL = (".venv", "venv", "env", ".env", ".conda", "virtualenv", ".virtualenv")
_IN_FOLDERS = ("*venv*", "*.pixi/envs/*", ".tox/*", ".nox/*")
_PATTERNS = ("lib/python3*/site-packages", "lib/python3*/dist-packages", "lib/python3/dist-packages", "Lib/site-packages")
_OF_THE_SYSTEM = ("/usr/local/lib/python3*/*-packages", "~/.local/lib/python3*/site-packages")
_EDITABLE = re.compile(r"'([A-Za-z_]\w*)(?:\.[\w.]*)?'")
_BASIC = {
    "pip",
    "setuptools",
    "wheel",
    "pkg_resources",
    "_distutils_hack",
    "distutils-precedence",
    "_virtualenv",
    "__pycache__",
    "README",
}
_IMPORTABLE = (".py", ".so", ".pyd", ".pyc", ".pyx", ".c", ".cc", ".cpp", ".cxx", ".f90")
_TICK_NS = 100_000_000
_DEEPEST_NAMESPACE = 3


def installed_names(root: str, python: str | None) -> frozenset[str] | None:
    """The top-level modules that are installed for the tree at `root`; None where its environment is not known.

    Of a namespace package also the modules in it ("zope", "zope.interface"), and the name with a dot ("zope."): these are all.

    `python` is the interpreter that the config names (relative to the root), else environments in the root are looked for, and
    what they have between them counts. One that nothing was installed into says nothing.
    """
    folders = _folders(root, python)
    if folders is None:
        return None
    names = frozenset(name for folder in folders for name in _names(folder))
    return names if {name.partition(".")[0] for name in names} - _BASIC else None


class InstalledNames:
    """The same, read anew only when something was installed or removed."""

    def __init__(self, root: str, python: str | None) -> None:
        self._root = root
        self._python = python
        self._key: object = ()
        self._names: frozenset[str] | None = None

    def __call__(self) -> frozenset[str] | None:
        """The names as of now."""
        folders = _folders(self._root, self._python)
        key = None if folders is None else [(folder, _mtime_ns(folder)) for folder in folders]
        if key != self._key:
            self._key = key
            self._names = installed_names(self._root, self._python)
        return self._names


class CompiledModules:
    """What can be imported from the folders of the tree at `root` besides the Python files that guard keeps.

    Extension modules, and what they are built from; folders without Python files; files that the selection leaves out, or that
    came a moment ago. What they hold is not known. A folder is listed again when it has changed, or when it
    had just changed as it was listed: the kernel's clock ticks too slowly for its mtime to tell.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: dict[RepoPath, tuple[int, frozenset[str]]] = {}

    def has(self, folder: RepoPath, name: str) -> bool:
        """Whether a folder holds one of this name."""
        path = os.path.join(self._root, folder)
        mtime_ns = _mtime_ns(path)
        known = self._known.get(folder)
        if known is not None and known[0] == mtime_ns:
            return name in known[1]
        names = frozenset(_compiled_in(path) if mtime_ns else ())
        if time.time_ns() - mtime_ns > _TICK_NS:
            self._known[folder] = (mtime_ns, names)
        return name in names


def _compiled_in(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(_IMPORTABLE):
                    yield entry.name.partition(".")[0]
                elif "." not in entry.name and entry.is_dir() and _holds_something(entry.path):
                    yield entry.name
    except (OSError, ValueError):
        return


def _holds_something(folder: str) -> bool:
    """Whether there is more in a folder than what is left of Python files that are gone."""
    try:
        return any(name != "__pycache__" for name in os.listdir(folder))
    except OSError:
        return False


def _folders(root: str, python: str | None) -> list[str] | None:
    """The folders that hold what is installed; None where they are not known."""
    prefixes = _named(root, python) if python is not None else environments(root)
    folders = [folder for prefix in prefixes for folder in _site_packages(prefix)]
    return None if not folders or any(_sees_the_system(prefix) for prefix in prefixes) else folders


def _named(root: str, python: str) -> list[str]:
    return [os.path.dirname(os.path.dirname(os.path.join(root, os.path.expanduser(python))))]


def environments(root: str) -> list[str]:
    """The environments in the root, the usual names first; else the one that is active, if it is not merely ours.

    pre-commit activates the environment that it made for guardctl.
    """
    escaped = glob.escape(root)
    candidates = [os.path.join(root, name) for name in _USUAL]
    candidates += [path for pattern in _IN_FOLDERS for path in sorted(glob.glob(os.path.join(escaped, pattern)))]
    candidates += glob.glob(os.path.join(escaped, ".*venv*"))
    found = [path for path in dict.fromkeys(candidates) if _is_environment(path)]
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    if not found and active and _is_environment(active) and not os.path.samefile(active, sys.prefix):
        found = [active]
    return found


def _is_environment(path: str) -> bool:
    return os.path.exists(os.path.join(path, "pyvenv.cfg")) or os.path.isdir(os.path.join(path, "conda-meta"))


def _site_packages(prefix: str) -> list[str]:
    found = [folder for pattern in _PATTERNS for folder in sorted(glob.glob(os.path.join(glob.escape(prefix), pattern)))]
    if found and not _is_environment(prefix):
        found += [folder for pattern in _OF_THE_SYSTEM for folder in glob.glob(os.path.expanduser(pattern))]
    return found


def _sees_the_system(prefix: str) -> bool:
    text = _text(os.path.join(prefix, "pyvenv.cfg"))
    return re.search(r"(?mi)^include-system-site-packages\s*=\s*true", text) is not None


def _names(folder: str, *, depth: int = 0) -> Iterator[str]:
    try:
        entries = os.listdir(folder)
    except OSError:
        return
    for entry in entries:
        if entry.endswith((".pth", ".egg-link")):
            if not depth:
                yield from _names_of_pth(os.path.join(folder, entry))
        elif not entry.endswith((".dist-info", ".egg-info")):
            yield entry.partition(".")[0]
            if entry.startswith("_") and "editable" in entry and entry.endswith(".py"):
                yield from _names_of_code(_text(os.path.join(folder, entry)))
            elif entry.isidentifier():
                yield from _names_below(os.path.join(folder, entry), entry)


def _names_below(folder: str, package: str) -> Iterator[str]:
    """The dotted names of what a namespace package holds, and its own with a dot: that all is known of it."""
    try:
        entries = os.listdir(folder)
    except OSError:  # a file
        return
    if package.count(".") > _DEEPEST_NAMESPACE or any(entry.startswith("__init__.") for entry in entries):
        return
    yield package + "."
    for entry in entries:
        name = f"{package}.{entry.partition('.')[0]}"
        yield name
        if entry.isidentifier():
            yield from _names_below(os.path.join(folder, entry), name)


def _names_of_code(text: str) -> Iterator[str]:
    """The packages that a finder of an editable install names; what else they hold is not known."""
    for name in _EDITABLE.findall(text):
        yield name
        yield name + ".*"


def _names_of_pth(path: str) -> Iterator[str]:
    """Each line is a folder that imports also start from, or code (site(3))."""
    for line in _text(path).splitlines():
        if line.strip() and not line.startswith(("import ", "import\t", "#")):
            yield from _names(os.path.join(os.path.dirname(path), line.strip()), depth=1)
        else:
            yield from _names_of_code(line)


def _mtime_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except (OSError, ValueError):
        return 0


def _text(path: str) -> str:
    try:
        return read_regular(path, 1 << 20).decode(errors="replace").replace("\r\n", "\n")
    except OSError:
        return ""
