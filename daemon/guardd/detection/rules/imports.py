"""import: an import was added, or pointed elsewhere, that does not resolve."""

import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

from guardd.analysis.imports import Modules
from guardd.analysis.sources import Facts, Import
from guardd.detection.change import Change
from guardd.detection.rules.code_loss import dangling
from guardd.model import Finding

_STATEMENT = re.compile(rb"\s*(?:from\s+[\w.]+\s+)?import\b")
_BACKPORTS = {"typing_extensions", "importlib_metadata", "importlib_resources"}
_WORD = re.compile(r"\w+")


class Imports:
    """Catches added imports of modules that are not there, or of names that a module of the tree does not bind.

    And imports that are gone, or point elsewhere, while the code still uses the names that they bound.
    Must not catch: imports that were broken before, that may fail (try/except ImportError, TYPE_CHECKING), or of third-party
    modules where the tree's environment is not known: people change from one library to another. Only what was imported from
    the tree itself before, under the same name, is not taken for a third party's all at once, nor is a module of the tree or
    of the standard library that got a longer name (`import json_unified`).
    """

    name: ClassVar = "import"
    needs_facts: ClassVar = True

    def __init__(self, modules: Modules) -> None:
        self._modules = modules

    def look(self, change: Change) -> Iterator[Finding]:
        """One finding for each import that does not resolve, up to ten."""
        then, now = change.facts_before, change.facts_after
        if then is None or now is None or not now.parses:
            return
        known = _keys(then)
        gone = known - _keys(now)
        ours = {name for level, module, name in gone if self._modules.is_ours(change.path, level, module)}
        plain = {module for level, module, name in gone if not name and self._modules.is_known(change.path, module)}
        found = 0
        if left := sorted(dangling(change) & _imported(change.lines_before)):
            found += 1
            yield Finding(self.name, f"nothing imports {', '.join(map(repr, left[:3]))} any more, and the code still uses it")
        for one in now.imports:
            added = _only_new(one, known)
            if added is None:
                continue
            for missing in self._modules.missing(change.path, added):
                if (missing.sure or not ours.isdisjoint(added.names or ()) or _is_respelled(plain, added.module)) and found < 10:
                    found += 1
                    yield Finding(self.name, missing.what, missing.line)


def _is_respelled(gone: set[str], module: str) -> bool:
    return module not in _BACKPORTS and any(module.startswith(f"{one}_") for one in gone)


def _keys(facts: Facts) -> set[tuple[int, str, str]]:
    return {(one.level, one.module, name) for one in facts.imports for name in one.names or ("",)}


def _imported(lines: Sequence[bytes]) -> set[str]:
    """The words of the import statements: the names that they bind are among them."""
    found, inside = set(), False
    for line in lines:
        inside = inside or _STATEMENT.match(line) is not None
        if inside:
            found |= set(_WORD.findall(line.partition(b"#")[0].decode("utf-8", "replace")))
            inside = line.rstrip().endswith((b"(", b",", b"\\"))
    return found


def _only_new(one: Import, known: set[tuple[int, str, str]]) -> Import | None:
    """The part of an import statement that was not there before."""
    if one.names is None:
        return None if (one.level, one.module, "") in known else one
    names = tuple(name for name in one.names if (one.level, one.module, name) not in known)
    return Import(one.line, one.level, one.module, names, one.guarded) if names else None
