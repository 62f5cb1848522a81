"""import: an import was added, or pointed elsewhere, that does not resolve."""

from collections.abc import Iterator
from typing import ClassVar

from guardd.analysis.imports import Modules
from guardd.analysis.sources import Facts, Import
from guardd.detection.change import Change
from guardd.model import Finding


class Imports:
    """Catches added imports of modules that are not there, or of names that a module of the tree does not bind.

    Must not catch: imports that were broken before, that may fail (try/except ImportError, TYPE_CHECKING), or of third-party
    modules where the tree's environment is not known, unless they took the place of an import that is gone.
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
        replaced = bool(known - _keys(now))
        found = 0
        for one in now.imports:
            added = _only_new(one, known)
            for missing in self._modules.missing(change.path, added) if added else ():
                if (missing.sure or replaced) and found < 10:
                    found += 1
                    yield Finding(self.name, missing.what, missing.line)


def _keys(facts: Facts) -> set[tuple[int, str, str]]:
    return {(one.level, one.module, name) for one in facts.imports for name in one.names or ("",)}


def _only_new(one: Import, known: set[tuple[int, str, str]]) -> Import | None:
    """The part of an import statement that was not there before."""
    if one.names is None:
        return None if (one.level, one.module, "") in known else one
    names = tuple(name for name in one.names if (one.level, one.module, name) not in known)
    return Import(one.line, one.level, one.module, names, one.guarded) if names else None
