"""Resolution: which imports of a tree lead nowhere, and did lead somewhere before."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from guardd.analysis.imports import Missing, Modules
from guardd.analysis.layout import Layout
from guardd.analysis.sources import Facts, Import
from guardd.analysis.stdlib import STDLIB
from guardd.checking.facts import TreeFacts
from guardd.checking.trees import Tree
from guardd.errors import GuardError
from guardd.model import PYTHON, RepoPath


class Resolution:
    """The imports of one tree, and what they find in it."""

    def __init__(
        self,
        tree: Tree,
        source_roots: Sequence[str],
        facts: TreeFacts,
        installed: Callable[[], frozenset[str] | None],
        layout: Callable[[], Layout],
    ) -> None:
        self.tree = tree
        self.facts = facts
        self.installed = installed
        self._missing: dict[tuple[RepoPath, int, str, tuple[str, ...] | None, bool, bool], list[Missing]] = {}
        self.modules = Modules(tree.blobs(), source_roots, self.facts_of, tree.outside.has, installed, layout)

    def facts_of(self, path: RepoPath) -> Facts | None:
        """The facts of a file of this tree."""
        return self.facts.of(self.tree, path)

    def missing(self, path: RepoPath) -> Iterator[tuple[Missing, Import]]:
        """What the imports of a file ask for and do not get."""
        return self._missing_of(path, self.facts.imports(self.tree, path), repathed=self.facts.is_repathed(self.tree, path))

    def missing_to(self, path: RepoPath, known: Facts | None) -> Iterator[tuple[Missing, Import]]:
        """The same for a file of these facts, whatever is at its place in the tree."""
        imports = known.imports if known is not None and known.parses else ()
        return self._missing_of(path, imports, repathed=known is not None and known.repathed)

    def _missing_of(self, path: RepoPath, imports: Iterable[Import], *, repathed: bool) -> Iterator[tuple[Missing, Import]]:
        folder = path.rpartition("/")[0]
        for one in imports:
            if one.guarded:
                continue
            key = (folder, one.level, one.module, one.names, repathed, path.endswith(".pyi"))
            missing = self._missing.get(key)  # neighbours import alike, and their folder decides where an import leads
            if missing is None:
                missing = self.modules.missing(path, one)
                if missing and self._may_be_generated(path, one):
                    missing = []
                self._missing[key] = missing
            for each in missing:
                yield (each if each.line == one.line else each._replace(line=one.line)), one

    def _may_be_generated(self, path: RepoPath, one: Import) -> bool:
        """Whether git ignores a file that this import may be waiting for: then it is made some time, and not kept."""
        folders = path.split("/")[:-1]
        roots = ["/".join(folders[: len(folders) + 1 - one.level])] if one.level else ["", "src"]
        parts = one.module.split(".") if one.module else []
        ends = [parts[: at + 1] for at in range(len(parts))] + [[*parts, name] for name in one.names or () if name != "*"]
        return any(self.tree.outside.is_ignored("/".join([*filter(None, [root]), *end])) for root in roots for end in ends)


def newly_missing(
    then: Resolution | None, now: Resolution, origins: Mapping[RepoPath, RepoPath], changed: Sequence[RepoPath]
) -> Iterator[tuple[RepoPath, Missing]]:
    """What imports do not get now and did get before, in any file: in one that no one touched, if its module was."""
    paths: Iterable[RepoPath] = now.tree.blobs() if then is None or _may_break_others(then, now, origins, changed) else changed
    python = [path for path in paths if path.endswith(PYTHON)]
    now.facts.learn(now.tree, python)
    for path in python:
        missing = list(now.missing(path))
        if missing:
            known = _Known(then, origins.get(path), now, path)
            yield from ((path, what) for what, one in missing if known.is_new(what, one))


class _Known:
    """What was already known of the imports of a file: of those that did not resolve before, none is new."""

    def __init__(self, then: Resolution | None, origin: RepoPath | None, now: Resolution, path: RepoPath) -> None:
        self._then = then if origin is not None else None
        self._origin = origin or ""
        self._missing: set[str] = set()
        self._failing: set[tuple[int, str, tuple[str, ...] | None]] = set()
        self._lines: set[bytes] = set()
        self._lines_now: list[bytes] = []
        if self._then is not None:
            missing = list(self._then.missing(self._origin))
            self._missing = {one.what for one, _ in missing}
            self._failing = {_statement(one) for _, one in missing}
            before = self._then.facts_of(self._origin)
            if before is None or not before.parses:  # of its imports only the text is known
                self._lines = {line.strip() for line in _lines(self._then.tree, self._origin)}
                self._lines_now = _lines(now.tree, path)

    def is_new(self, missing: Missing, one: Import) -> bool:
        """Whether this import did resolve before, or was not there."""
        if missing.what in self._missing or _statement(one) in self._failing:
            return False
        if b"".join(self._lines_now[missing.line - 1 : missing.line]).strip() in self._lines:
            return False
        # what led into the tree before is not a third party's now
        return missing.sure or (self._then is not None and self._then.modules.is_ours(self._origin, one.level, one.module))


def _statement(one: Import) -> tuple[int, str, tuple[str, ...] | None]:
    return one.level, one.module, one.names


def _lines(tree: Tree, path: RepoPath) -> list[bytes]:
    try:
        return tree.read(path).splitlines()
    except GuardError:
        return []


def _may_break_others(
    then: Resolution, now: Resolution, origins: Mapping[RepoPath, RepoPath], changed: Sequence[RepoPath]
) -> bool:
    """Whether these changes can break an import in a file that was not changed: seldom, and only then all must be parsed."""
    if then.tree.blobs().keys() - now.tree.blobs().keys():
        return True
    for path in changed:
        if not path.endswith(PYTHON):
            continue
        origin = origins.get(path)
        if origin is None:
            if path in then.tree.blobs() or _may_hide_another(path, now):  # what it was there is not known
                return True
        elif _may_bind_less(then.facts_of(origin), now.facts_of(path)):
            return True
    return False


def _may_hide_another(born: RepoPath, now: Resolution) -> bool:
    """Whether a new module has, or is in a package that has, the name of one outside of the tree."""
    installed = now.installed()
    names = {part.partition(".")[0] for part in born.split("/")}
    return installed is None or not names.isdisjoint(installed) or not names.isdisjoint(STDLIB)


def _may_bind_less(then: Facts | None, now: Facts | None) -> bool:
    if now is None or not now.parses or now.dynamic:  # it may bind anything
        return False
    if then is None or not then.parses or then.dynamic:
        return True
    opened = ((then.reopened, now.reopened), (then.repathed, now.repathed), (then.injects, now.injects))
    is_less_open = any(before and not after for before, after in opened)
    lists_less = now.listed is not None and (then.listed is None or bool(then.listed - now.listed))
    return is_less_open or lists_less or bool(then.exports - now.exports) or bool(_stars(then) - _stars(now))


def _stars(facts: Facts) -> set[tuple[int, str]]:
    return {(one.level, one.module) for one in facts.imports if one.names == ("*",)}
