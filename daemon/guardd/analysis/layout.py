"""How a tree is laid out, as its build files say: where imports start from, which modules a build makes, what it requires."""

import ast
import configparser
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from guardd.model import RepoPath
from guardd.regular import read_regular

_LARGEST = 1 << 20
"""Bytes of a build file that are read."""

_LARGEST_PARSED = 1 << 18
"""Characters of one that a parser of TOML or Python is given: it takes a second for what was made to keep it busy."""

_DEEPEST = 3
_SKIPPED = re.compile(r"\.|(?:node_modules|__pycache__|site-packages|build|dist|venv|env)$")
_BUILD_FILES = ("pyproject.toml", "setup.py", "setup.cfg", "pytest.ini", "tox.ini", ".gitignore", "meson.build", "CMakeLists.txt")
_REQUIREMENTS = re.compile(r"(?:.*requirements.*\.(?:txt|in)|Pipfile|environment\.ya?ml|constraints.*\.txt)$")
_GENERATED = re.compile(r"\b([A-Za-z_]\w*+)\.(?:py|pyi|pyx|so|pyd|c|cpp|\*)(?![\w.])")
_EXTENSION = re.compile(
    r"\b(?:\w*(?:Extension|set_source|extension_module|pybind11_add_module|nanobind_add_module)|(?=\w*[Pp]ython)\w*_add_library)"
    r"\(\s*(?:name\s*=\s*)?[\"']?([\w.]+)"
)
"""Both begin at words only: tried from each letter of a long one, they would take for ever."""

_KEY = r"""(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_EACH_KEY = re.compile(_KEY)
_KEYS = re.compile(rf"{_KEY}(?:[ \t]*+\.[ \t]*+{_KEY})*+")
_DEEPEST_KEY = 50
"""A parser of TOML takes the square of a dotted key's length: minutes for one of 600 KB."""

_MOST_LINES = 10_000
"""Of an ini file: what a parser has to say of so many bad lines takes the square of their number."""
_REQUIREMENT = re.compile(r"^[\s\-]*([A-Za-z][\w.-]*)")
_SAYS_WHAT_IT_NEEDS = re.compile(r"depend|require|packages$|deps|extras", re.IGNORECASE)
_MADE_BY_TOOLS = frozenset({"_version"})
"""What setuptools-scm, hatch-vcs and their like write, often at the build alone."""


class Layout(NamedTuple):
    """What build files say.

    `roots`: the folders that imports start from; `renamed`: packages that lie in a folder of another name; `built`: the last
    names of modules that a build or a tool makes; `required`: what the tree says it needs, as names of modules.
    """

    roots: tuple[RepoPath, ...] = ()
    renamed: frozenset[str] = frozenset()
    built: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()


class LayoutOf:
    """The layout of the tree at `root`.

    Its build files are looked for and read again only when one of them, or what is at the top, has changed.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._layout = Layout()
        self._files: list[RepoPath] = []
        self._seen: tuple[int, ...] = ()

    def __call__(self) -> Layout:
        """As the build files say now."""
        if self._mtimes("", *self._files) != self._seen:
            top = self._mtimes("")  # each before what it is about is read: what changes meanwhile is seen the next time
            self._files = _build_files(self._root)
            self._seen = top + self._mtimes(*self._files)
            self._layout = read_layout({path: _text(os.path.join(self._root, path)) for path in self._files})
        return self._layout

    def _mtimes(self, *paths: RepoPath) -> tuple[int, ...]:
        return tuple(_mtime_ns(os.path.join(self._root, path)) for path in paths)


def read_layout(files: Mapping[RepoPath, str]) -> Layout:
    """The layout that build files (by path) tell of."""
    roots: dict[RepoPath, None] = {}
    renamed, built, required = set[str](), set(_MADE_BY_TOOLS), set[str]()
    for path, text in files.items():
        folder, _, name = path.rpartition("/")
        said = _READERS.get(name, _requirements if _REQUIREMENTS.match(name) else _nothing)(text)
        found = ["", "src", *said.roots] if name in {"pyproject.toml", "setup.py"} else said.roots
        roots.update((place, None) for one in found if (place := _below(folder, one)) is not None)
        renamed |= said.renamed
        required |= {re.sub(r"[-.]+", "_", word).lower() for word in said.required}
        built |= {*said.built, *_GENERATED.findall(text), *(one.rpartition(".")[2] for one in _EXTENSION.findall(text))}
    built -= {"__init__", "setup", "conftest"}
    return Layout(tuple(roots), frozenset(renamed), frozenset(built), frozenset(required))


def _build_files(root: str) -> list[RepoPath]:
    """The build files of a tree and of the projects in it, not far below its top."""
    found: list[RepoPath] = []
    pending: list[tuple[RepoPath, int]] = [("", 0)]
    while pending:
        folder, depth = pending.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as listing:
                entries = sorted(listing, key=lambda one: one.name)
        except OSError:
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name in _BUILD_FILES or _REQUIREMENTS.match(entry.name):
                found.append(path)
            elif depth < _DEEPEST and not _SKIPPED.match(entry.name) and entry.is_dir(follow_symlinks=False):
                pending.append((path, depth + 1))
    return sorted(found, key=lambda path: (path.count("/"), path))


def _toml(text: str) -> Mapping[str, object]:
    """The tables of a file; none of one that is no TOML, or that was made to keep its reader busy."""
    if len(text) > _LARGEST_PARSED or any(len(_EACH_KEY.findall(found.group())) > _DEEPEST_KEY for found in _KEYS.finditer(text)):
        return {}
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):  # ValueError: also numbers of more digits than Python reads
        return {}


def _pyproject(text: str) -> Layout:
    toml = _toml(text)
    if not toml:
        return Layout()
    directories = _mapping(_at(toml, "tool.setuptools.package-dir"))
    places = [
        *_strings(_at(toml, "tool.setuptools.packages.find.where")),
        *_strings(directories.get("")),
        *_strings(_at(toml, "tool.pytest.ini_options.pythonpath")),
        *_strings(_at(toml, "tool.pdm.build.package-dir")),
        *_strings(_at(toml, "tool.maturin.python-source")),
        *_strings(_at(toml, "tool.uv.build-backend.module-root")),
        *_strings(_at(toml, "tool.hatch.build.dev-mode-dirs")),
        *_strings(_at(toml, "tool.hatch.build.sources")),
        *_strings(_at(toml, "tool.hatch.build.targets.wheel.sources")),
    ]
    packages = [
        *_strings(_at(toml, "tool.hatch.build.targets.wheel.packages")),
        *_strings(_at(toml, "tool.hatch.build.packages")),
        *_strings(_at(toml, "tool.scikit-build.wheel.packages")),
    ]
    places += [os.path.dirname(package.rstrip("/")) for package in packages]
    for package in _mappings(_at(toml, "tool.poetry.packages")):
        places += _strings(package.get("from", "."))
    extensions = _mappings(_at(toml, "tool.setuptools.ext-modules"))
    built = [*(str(one.get("name", "")) for one in extensions), *_strings(_at(toml, "tool.maturin.module-name"))]
    return Layout(
        tuple(places), _renamed(directories), frozenset(one.rpartition(".")[2] for one in built), frozenset(_needed(toml, ""))
    )


def _pipfile(text: str) -> Layout:
    return Layout(required=frozenset(_needed(_toml(text), "")))


def _setup_py(text: str) -> Layout:
    """What the literals in a setup.py say: it is not run."""
    if len(text) > _LARGEST_PARSED:
        return Layout()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Layout()
    keywords = [node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg is not None]
    directories = {key: value for node in keywords if node.arg == "package_dir" for key, value in _literal_items(node.value)}
    places = [*_strings(directories.get("")), *(text for node in keywords if node.arg == "where" for text in _texts(node.value))]
    places += [
        text
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("find_")
        for one in node.args[:1]
        for text in _texts(one)
    ]
    needed = {
        match.group(1)
        for node in keywords
        if "require" in (node.arg or "")
        for text in _texts(node.value)
        if (match := _REQUIREMENT.match(text)) is not None
    }
    return Layout(tuple(places), _renamed(directories), required=frozenset(needed))


def _ini(text: str) -> Layout:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_file(islice(text.splitlines(keepends=True), _MOST_LINES))
    except (configparser.Error, ValueError):
        return Layout()
    options = {(section, key): parser.get(section, key) for section in parser.sections() for key in parser.options(section)}
    directories = dict(_pairs(options.get(("options", "package_dir"), "")))
    places = [directories.get("", ""), *options.get(("options.packages.find", "where"), "").split()]
    places += [place for section in ("pytest", "tool:pytest") for place in options.get((section, "pythonpath"), "").split()]
    needed = {
        match.group(1)
        for (section, key), value in options.items()
        if _SAYS_WHAT_IT_NEEDS.search(f"{section} {key}")
        for line in value.splitlines()
        if (match := _REQUIREMENT.match(line)) is not None
    }
    return Layout(tuple(place for place in places if place), _renamed(directories), required=frozenset(needed))


def _requirements(text: str) -> Layout:
    return Layout(required=frozenset(found.group(1) for line in text.splitlines() if (found := _REQUIREMENT.match(line))))


def _nothing(_: str) -> Layout:
    return Layout()


_READERS: dict[str, Callable[[str], Layout]] = {
    "pyproject.toml": _pyproject,
    "Pipfile": _pipfile,
    "setup.py": _setup_py,
    "setup.cfg": _ini,
    "pytest.ini": _ini,
    "tox.ini": _ini,
}


def _renamed(directories: Mapping[str, object]) -> frozenset[str]:
    """Packages whose folder has another name (setuptools' package-dir): nothing can be told of them."""
    return frozenset(
        package.partition(".")[0]
        for package, folder in directories.items()
        if package and os.path.basename(str(folder).rstrip("/")) != package.rpartition(".")[2]
    )


def _needed(toml: Mapping[str, object], above: str) -> Iterator[str]:
    """The distributions in all tables and lists that are called dependencies, or the like."""
    for key, value in toml.items():
        where = f"{above} {key}"
        says = _SAYS_WHAT_IT_NEEDS.search(where) is not None and "setuptools" not in where and "wheel" not in where
        if isinstance(value, dict):
            if says:
                yield key
                yield from value
            yield from _needed(value, where)
        elif says:
            yield key
            yield from (match.group(1) for text in _strings(value) if (match := _REQUIREMENT.match(text)) is not None)


def _at(toml: Mapping[str, object], dotted: str) -> object:
    found: object = toml
    for key in dotted.split("."):
        found = _mapping(found).get(key)
    return found


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> list[Mapping[str, object]]:
    return [_mapping(one) for one in value] if isinstance(value, list) else []


def _strings(value: object) -> list[str]:
    found = value if isinstance(value, list) else [value]
    return [one for one in found if isinstance(one, str)]


def _texts(node: ast.expr) -> Iterator[str]:
    return (one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str))


def _literal_items(node: ast.expr) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(value, ast.Constant):
                yield str(key.value), str(value.value)


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, is_pair, value = line.partition("=")
        if is_pair:
            yield name.strip(), value.strip()


def _below(folder: RepoPath, place: str) -> RepoPath | None:
    """A folder that a build file in `folder` names, as a path in the tree; None if it lies outside."""
    path = os.path.normpath(os.path.join(folder, place))
    return None if os.path.isabs(path) or path == ".." or path.startswith("../") else "" if path == "." else path


def _mtime_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _text(path: str) -> str:
    try:
        return read_regular(path, _LARGEST).decode(errors="replace").replace("\r\n", "\n")
    except OSError:
        return ""
