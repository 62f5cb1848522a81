"""Trees of real code, and breakages of their imports that really fail: for the tests that hold resolution against the truth."""

import ast
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from guardd.analysis.environment import CompiledModules, InstalledNames
from guardd.analysis.imports import Modules
from guardd.analysis.layout import LayoutOf
from guardd.analysis.sources import Facts, Import, Parsers

_BRANCHES = (ast.Try, ast.TryStar, ast.If, ast.With, ast.AsyncWith, ast.Match, ast.While)
KINDS = ("typo in a module", "typo in a name", "wrong level", "module renamed", "name removed")


@dataclass
class Tree:
    """A tree on disk, its facts and its modules."""

    root: Path
    roots: tuple[str, ...]
    parsers: Parsers
    alone: bool = False
    facts: dict[str, Facts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        paths = sorted(
            str(path.relative_to(self.root)) for suffix in ("*.py", "*.pyi") for path in self.root.rglob(suffix) if path.is_file()
        )
        self._learn(paths)
        self.modules = Modules(
            paths, (), self.facts.get, CompiledModules(str(self.root)).has, InstalledNames(str(self.root), sys.executable),
            LayoutOf(str(self.root)),
        )  # fmt: skip
        self._oracle: subprocess.Popen[str] | None = None

    def _learn(self, paths: Iterable[str]) -> None:
        paths = list(paths)
        self.facts.update(zip(paths, map(Facts.from_json, self.parsers.ask([self.read(path) for path in paths])), strict=True))

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def write(self, files: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
        """Put these contents (None: no file) in place; what was there."""
        before = {path: self.read(path) if (self.root / path).exists() else None for path in files}
        for path, content in files.items():
            if content is None:
                (self.root / path).unlink()
                self.modules.remove(path)
                self.facts.pop(path, None)
            else:
                (self.root / path).write_bytes(content)
                self.modules.add(path)
        self._learn(path for path, content in files.items() if content is not None)
        self.modules.refresh()
        return before

    def findings(self, paths: Iterable[str] | None = None) -> dict[tuple[str, int], tuple[str, Import]]:
        """What does not resolve, by file and line."""
        return {
            (path, one.line): (missing.what, one)
            for path in (self.facts if paths is None else paths)
            for one in self.facts[path].imports
            for missing in self.modules.missing(path, one)
            if missing.sure
        }

    def package(self, path: str) -> str:
        """The package of a module, as Python calls it."""
        root = next(root for root in self.roots if not root or path.startswith(root + "/"))
        return path.removeprefix(root).lstrip("/").rpartition("/")[0].replace("/", ".")

    def really_fails(self, path: str, statement: str) -> str:
        """What Python says of an import statement in this file, "" if it carries it out."""
        if self._oracle is None:
            command = [sys.executable, "-I", *(("-S",) if self.alone else ()), str(Path(__file__).with_name("import_oracle.py"))]
            command += [str(self.root / root) for root in self.roots] + (["--alone"] if self.alone else [])
            self._oracle = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._oracle.stdin is not None
        assert self._oracle.stdout is not None
        self._oracle.stdin.write(f"{self.package(path)}\t{statement}\n")
        self._oracle.stdin.flush()
        return self._oracle.stdout.readline().strip()

    def close(self) -> None:
        if self._oracle is not None:
            self._oracle.communicate()


@dataclass(frozen=True)
class Breakage:
    """What is done to a tree, and the statement that fails by it."""

    kind: str
    path: str
    line: int
    statement: str
    word: str
    files: Mapping[str, bytes | None]

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}:{self.line}: {self.statement}"


def breakages(tree: Tree, count: int, seed: int) -> list[Breakage]:
    """So many breakages of a tree, all kinds alike, each of which Python itself fails on."""
    chance = random.Random(seed)
    statements = [one for path in sorted(tree.facts) if path.endswith(".py") for one in _plain_imports(tree, path)]
    found: list[Breakage] = []
    for attempt in range(count * 30):
        path, node, alias = chance.choice(statements)
        one = _broken(tree, KINDS[attempt % len(KINDS)], path, node, alias, chance)
        if one is None or any((one.path, one.line) == (other.path, other.line) for other in found):
            continue
        before = tree.write(one.files)
        if one.word in tree.really_fails(one.path, one.statement):
            found.append(one)
        tree.write(before)
        if len(found) == count:
            break
    return found


def _plain_imports(tree: Tree, path: str) -> Iterator[tuple[str, ast.ImportFrom, str]]:
    """The `from ... import` of the tree's own modules that nothing guards: no condition, no context, no handler around them."""
    try:
        parsed = ast.parse(tree.read(path))
    except (SyntaxError, ValueError):
        return
    pending: list[ast.AST] = [parsed]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.ImportFrom) and any(one in tree.facts for one in _files_of(tree, path, node)):
            yield from ((path, node, alias.name) for alias in node.names if alias.name != "*")
        pending += [one for one in ast.iter_child_nodes(node) if not isinstance(one, _BRANCHES)]


def _broken(tree: Tree, kind: str, path: str, node: ast.ImportFrom, name: str, chance: random.Random) -> Breakage | None:
    module = node.module or ""
    if kind == "typo in a module" and module:
        word = _misspelt(module.rpartition(".")[2], chance)
        return _edited(tree, kind, path, node, (name, name), ".".join([*module.split(".")[:-1], word]), node.level, word)
    if kind == "typo in a name":
        word = _misspelt(name, chance)
        return _edited(tree, kind, path, node, (name, word), module, node.level, word)
    if kind == "wrong level" and node.level:
        level = max(1, node.level + chance.choice([-1, 1]))
        return _edited(tree, kind, path, node, (name, name), module, level, "") if level != node.level else None
    target = next((one for one in _files_of(tree, path, node) if one in tree.facts), None)
    if target is None:
        return None
    statement = f"from {'.' * node.level}{module} import {name}"
    if kind == "module renamed" and not target.endswith("/__init__.py") and "/" in target:
        files = {target: None, target.removesuffix(".py") + "_renamed.py": tree.read(target)}
        return Breakage(kind, path, node.lineno, statement, module.rpartition(".")[2], files) if target != path else None
    if kind == "name removed":
        content = _without(tree.read(target), name)
        return Breakage(kind, path, node.lineno, statement, name, {target: content}) if content and target != path else None
    return None


def _misspelt(word: str, chance: random.Random) -> str:
    at = chance.randrange(1, len(word)) if len(word) > 1 else 1
    return f"{word[:at]}{word[at - 1]}{word[at:]}" if chance.random() < 0.5 else f"{word}_unified"


def _edited(
    tree: Tree, kind: str, path: str, node: ast.ImportFrom, name: tuple[str, str], module: str, level: int, word: str
) -> Breakage | None:
    """One statement in the text changed, line numbers kept."""
    aliases = [ast.alias(name[1] if one.name == name[0] else one.name, one.asname) for one in node.names]
    changed = ast.unparse(ast.ImportFrom(module or None, aliases, level))
    lines = tree.read(path).splitlines(keepends=True)
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    rest = lines[last][node.end_col_offset :]
    if first != last and rest.strip():
        return None
    text = lines[first][: node.col_offset] + changed.encode() + rest + b"\n" * (last - first)
    content = b"".join([*lines[:first], text, *lines[last + 1 :]])
    if module == (node.module or "") and level == node.level and name[0] == name[1]:
        return None
    return Breakage(kind, path, node.lineno, f"from {'.' * level}{module} import {name[1]}", word, {path: content})


def _files_of(tree: Tree, path: str, node: ast.ImportFrom) -> list[str]:
    parts = (node.module or "").split(".") if node.module else []
    if node.level:
        folder = path.split("/")[:-1]
        bases = ["/".join(folder[: len(folder) - node.level + 1])]
    else:
        bases = list(tree.roots)
    places = ["/".join(filter(None, [base, *parts])) for base in bases]
    return [f"{place}{end}" for place in places for end in (".py", "/__init__.py")]


def _without(content: bytes, name: str) -> bytes | None:
    """A module with the one definition of a name renamed; None if it is bound otherwise, or used by the module itself."""
    parsed = ast.parse(content)
    definitions = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    defined = [one for one in parsed.body if isinstance(one, definitions) and one.name == name]
    assigned = [one for one in parsed.body if isinstance(one, ast.Assign) and [ast.unparse(to) for to in one.targets] == [name]]
    uses = [one for one in ast.walk(parsed) if isinstance(one, ast.Name) and one.id == name]
    lines = content.splitlines(keepends=True)
    if len(defined) == 1 and not assigned:
        at = defined[0].lineno - 1
        lines[at] = lines[at].replace(name.encode(), f"{name}_gone".encode(), 1)
    elif len(assigned) == 1 and not defined and len(uses) == 1:
        at = assigned[0].lineno - 1
        lines[at] = lines[at].replace(name.encode(), f"{name}_gone".encode(), 1)
    else:
        return None
    return b"".join(lines)


def without_overlap(found: Iterable[Breakage]) -> list[Breakage]:
    """Those that can be done to one tree together: none touches a file of another one, or of a statement that it breaks."""
    taken: set[str] = set()
    chosen = []
    for one in found:
        files = {*one.files, one.path}
        if taken.isdisjoint(files):
            taken |= files
            chosen.append(one)
    return chosen


def statement_of(one: Import) -> str:
    """An import statement as text."""
    names = ", ".join(one.names or ())
    return f"from {'.' * one.level}{one.module} import {names}" if one.names is not None else f"import {one.module}"


def copy_package(source: Path, destination: Path, skipped: Iterable[str] = ()) -> None:
    """Copy an installed package, extension modules too, but for its folders of these names."""
    for folder, folders, files in os.walk(source):
        folders[:] = [name for name in folders if name not in {"__pycache__", *skipped}]
        for name in files:
            if name.endswith((".py", ".pyi", ".so", ".typed")):
                target = destination / Path(folder).relative_to(source) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(Path(folder, name).read_bytes())
