"""same_code: a formatter, an import sorter, or a codemod that only says the same in newer words."""

import builtins
from collections.abc import Callable

from guardd.analysis.sources import Import
from guardd.detection.change import Change

_BUILTINS = frozenset(dir(builtins))


def same_code(change: Change, resolves: Callable[[Import], bool]) -> str | None:
    """Why a change leaves the code what it was; None where that cannot be told.

    `shape` is equal for equal code, imports sorted, docstrings indented anew (black, ruff format, isort). pyupgrade and
    `from __future__` leave every statement and definition in place and bring no name but built-in ones and imported ones, from
    modules that are there: `resolves` tells of an import. A module that neither the tree nor an environment names does not
    resolve, also where no environment is known and it may be a third party's: the change is then not excused here. A name that
    the tree has somewhere else resolves where no environment says otherwise.
    """
    then, now = change.facts_before, change.facts_after
    if then is None or now is None or not then.parses or not now.parses:
        return None
    if then.shape == now.shape:
        return "the same code in another layout"
    if then.skeleton == now.skeleton:
        imported = {name for one in now.imports for name in (*(one.names or ()), *one.module.split("."))}
        if not now.names - then.names - _BUILTINS - imported - _aliases(change):
            before = {(one.level, one.module) for one in then.imports}
            if all(resolves(one) for one in now.imports if (one.level, one.module) not in before):
                return "the same statements, with no new name"
    return None


def _aliases(change: Change) -> set[str]:
    """The words of added import lines: the names that `import ... as name` binds are among them."""
    lines = (line.decode("utf-8", "replace") for _, line in change.added if b"import" in line)
    return {word.strip(",()") for line in lines for word in line.split()}
