"""Imports, statically: which of them name a module, or a name in it, that is not there. Not sure means: it is there."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import NamedTuple

from guardd.analysis.layout import Layout
from guardd.analysis.module_files import ModuleFiles, above, folders_of, joined
from guardd.analysis.sources import Facts, Import
from guardd.analysis.stdlib import STDLIB
from guardd.model import RepoPath

_MOST_STARS = 20_000
"""So many modules are asked for names of one that has them by stars (0.3 s); from then on it may have any. 400 modules that
each take all of all others would keep detection busy for hours."""

NO_MODULE = "there is no module"
"""How `Missing.what` begins where a module is missing, and not a name in one."""

_ALWAYS_THERE = ("__main__", "__mp_main__")
_OF_ALL_MODULES = {
    *dir(ModuleType("")),
    *dir(ModuleType),
    "__file__",
    "__path__",
    "__cached__",
    "__builtins__",
    "__annotations__",
    "__conditional_annotations__",
}


class Missing(NamedTuple):
    """An import that does not resolve: what is missing, in words. `sure` is false where it may be a third party's module."""

    line: int
    what: str
    sure: bool = True


class _Found(NamedTuple):
    """Where a module may be: the `places` (paths without suffix) that have it; `is_broken` if there is surely none.

    No places and not broken: it may be anywhere. `sure` as in Missing.
    """

    places: tuple[RepoPath, ...] = ()
    is_broken: bool = False
    sure: bool = True


_ANYWHERE = _Found()
_BROKEN = _Found(is_broken=True)


class Modules:
    """The modules of a tree, and what they bind.

    `paths` are its Python files, `source_roots` the folders besides the top, `src`, those of the `layout` and the importer's own
    ancestors that imports start from. `facts_of` gives the facts of a file's present content (None: not known), `is_compiled`
    tells whether a folder holds an extension module of this name, `installed` the top-level names of the tree's environment
    (None: not known). What they answered is remembered until `refresh`.
    """

    def __init__(
        self,
        paths: Iterable[RepoPath],
        source_roots: Sequence[str],
        facts_of: Callable[[RepoPath], Facts | None],
        is_compiled: Callable[[RepoPath, str], bool],
        installed: Callable[[], frozenset[str] | None],
        layout: Callable[[], Layout] = Layout,
    ) -> None:
        self._files = ModuleFiles(paths)
        self._configured = tuple(_tidy(root) for root in source_roots)
        self._facts_of = facts_of
        self._is_compiled = is_compiled
        self._installed = installed
        self._read_layout = layout
        self.refresh()

    def refresh(self) -> None:
        """Ask anew what files hold, what is compiled or installed, and how the tree is laid out."""
        self._layout: Layout | None = None
        self._names_installed: tuple[frozenset[str] | None] | None = None
        self._facts: dict[RepoPath, Facts | None] = {}
        self._compiled: dict[tuple[RepoPath, str], bool] = {}
        self._forget()

    def _forget(self) -> None:
        self._roots_of: dict[RepoPath, tuple[tuple[RepoPath, ...], tuple[RepoPath, ...]]] = {}
        self._found: dict[tuple[RepoPath, int, str], _Found] = {}
        self._bound: dict[tuple[RepoPath, str], bool] = {}
        self._stars_followed: Counter[RepoPath] = Counter()

    def add(self, path: RepoPath) -> None:
        """A file is there now, or has a new content."""
        self._facts.pop(path, None)
        self._files.add(path)
        self._forget()

    def remove(self, path: RepoPath) -> None:
        """A file is there no more."""
        self._facts.pop(path, None)
        self._files.remove(path)
        self._forget()

    @property
    def _roots(self) -> tuple[RepoPath, ...]:
        return tuple(dict.fromkeys(("", *self._configured, "src", *self._laid_out.roots)))

    @property
    def _laid_out(self) -> Layout:
        if self._layout is None:
            self._layout = self._read_layout()
        return self._layout

    @property
    def _environment(self) -> frozenset[str] | None:
        if self._names_installed is None:
            self._names_installed = (self._installed(),)
        return self._names_installed[0]

    def missing(self, importer: RepoPath, one: Import) -> list[Missing]:
        """What an import statement of the file `importer` asks for and does not get; nothing for one that may fail."""
        if one.guarded:
            return []
        shown = "." * one.level + one.module
        found = self._find(importer, one.level, one.module)
        if found.is_broken:
            return [Missing(one.line, f"{NO_MODULE} {shown!r}", found.sure)]
        if not found.places:
            return []
        problems: list[Missing] = []
        for place in found.places:
            problems = [
                Missing(one.line, f"{shown} has no {name!r}", found.sure)
                for name in one.names or ()
                if not self._has_name(place, name) and not self._may_be_in_stub(importer, place)
            ]
            if not problems:
                return []
        return problems

    def is_ours(self, importer: RepoPath, level: int, module: str) -> bool:
        """Whether an import of this module leads into the tree."""
        strong, weak = self._candidates(importer)
        return bool(level) or any(self._has(root, module.partition(".")[0]) for root in (*strong, *weak))

    def is_known(self, importer: RepoPath, module: str) -> bool:
        """Whether an absolute import of this module leads into the tree or the standard library."""
        return module.partition(".")[0] in STDLIB or self.is_ours(importer, 0, module)

    def names_of(self, path: RepoPath) -> list[str]:
        """The dotted names that a file can be imported by."""
        stem = path.rpartition(".")[0].removesuffix("/__init__")
        return [
            stem[len(root) :].lstrip("/").replace("/", ".") for root in self._roots if not root or stem.startswith(root + "/")
        ]

    def _find(self, importer: RepoPath, level: int, module: str) -> _Found:
        key = (importer.rpartition("/")[0], level, module)
        found = self._found.get(key)
        if found is None:
            parts = module.split(".") if module else []
            found = self._find_relative(importer, level, parts) if level else self._find_absolute(importer, parts)
            self._found[key] = found
        if found.is_broken and not level and self._is_repathed(importer, module):
            return _ANYWHERE
        return found

    def _find_relative(self, importer: RepoPath, level: int, parts: list[str]) -> _Found:
        base = above(importer, level)
        if base is None:  # above the top, which may itself be a package, unless a package begins below it
            return _BROKEN if self._files.is_package(importer.partition("/")[0]) and not self._files.is_package("") else _ANYWHERE
        return self._walk([base], parts)

    def _find_absolute(self, importer: RepoPath, parts: list[str]) -> _Found:
        """Where an absolute import may lead: Python takes the first root that has its first part."""
        if not parts:  # no statement can say so, what is damaged in the store can
            return _ANYWHERE
        top = parts[0]
        if top in _ALWAYS_THERE or top in self._laid_out.renamed:
            return _ANYWHERE
        holders = self._files.holders(top)
        if not holders and self._is_elsewhere_for_sure(top):
            return _ANYWHERE
        strong, weak = ([root for root in roots if root in holders] for roots in self._candidates(importer))
        found = self._find_below(strong, weak, parts)
        if found.is_broken:  # what is compiled is looked for on disk, so only where it may matter
            strong, weak = ([root for root in roots if self._has(root, top)] for roots in self._candidates(importer))
            found = self._find_below(strong, weak, parts)
        return found

    def _find_below(self, strong: list[RepoPath], weak: list[RepoPath], parts: list[str]) -> _Found:
        if not strong and not weak:
            return self._find_top(parts)
        if not self._is_first(strong, parts) and self._is_elsewhere(parts):
            return _ANYWHERE
        return self._walk([*strong, *weak], parts)

    def _is_elsewhere_for_sure(self, top: str) -> bool:
        installed = self._environment
        return top in STDLIB or (installed is not None and top in installed)

    def _is_first(self, strong: list[RepoPath], parts: list[str]) -> bool:
        """Whether what the tree has under this name comes before what else there may be."""
        if parts[0] in STDLIB:
            return any(root in {"", *self._configured} and self._is_regular(root, parts[0]) for root in strong)
        return any(self._leads_to_source(root, parts) for root in strong)

    def _leads_to_source(self, root: RepoPath, parts: list[str]) -> bool:
        """Whether a module, or one above it, is more than a folder here: a namespace may have other parts elsewhere."""
        place = root
        for part in parts:
            if self._is_regular(place, part):
                return True
            place = joined(place, part)
            if not self._files.is_folder(place):
                return False
        return False

    def _is_elsewhere(self, parts: list[str]) -> bool:
        """Whether a module may be another's, for all that is known; of namespaces in the environment we know what they hold."""
        installed, dotted = self._environment, parts[0]
        if installed is None or dotted in STDLIB or dotted.lower() in self._laid_out.required:
            return True
        for part in parts[1:]:
            if f"{dotted}.*" in installed or f"{dotted}." not in installed:
                break
            dotted = f"{dotted}.{part}"
        return dotted in installed

    def _find_top(self, parts: list[str]) -> _Found:
        """A module that none of the importer's roots has: another's, or one of a root that we do not know of."""
        top = parts[0]
        installed = self._environment
        if self._is_elsewhere_for_sure(top) or self._files.is_package(""):
            return _ANYWHERE
        is_sure = installed is not None and top.lower() not in self._laid_out.required
        roots = sorted(self._files.holders(top))
        if roots:
            return self._walk(roots, parts) if is_sure else _ANYWHERE
        return _Found(is_broken=True, sure=is_sure)

    def _is_repathed(self, importer: RepoPath, module: str) -> bool:
        """Whether the importer itself says where this module is to be looked for."""
        facts = self._facts_at(importer) if importer in self._files else None
        strong, weak = self._candidates(importer)
        top = module.partition(".")[0]
        return facts is not None and facts.repathed and not any(self._is_regular(root, top) for root in (*strong, *weak))

    def _walk(self, roots: Sequence[RepoPath], parts: Sequence[str]) -> _Found:
        """The places of a module below these roots; broken if all of them lack it."""
        places: list[RepoPath] = []
        for root in roots:
            place = root
            for part in parts:
                if not self._has(place, part):
                    if self._may_be_made(place, part):
                        return _ANYWHERE
                    break
                place = joined(place, part)
            else:
                places.append(place)
        return _Found(tuple(places)) if places else _BROKEN

    def _may_be_made(self, place: RepoPath, part: str) -> bool:
        """Whether a module below a package may come from elsewhere: built, generated, or put there by the package."""
        if part in self._laid_out.built or part.endswith(("_pb2", "_pb2_grpc")):
            return True
        package = place
        while package:
            if any(self._reopens(path, part) for path in self._files.of(package)) or self._is_opaque(package):
                return True
            package = package.rpartition("/")[0]
        return False

    def _reopens(self, path: RepoPath, part: str) -> bool:
        facts = self._facts_at(path)
        return facts is not None and (facts.reopened or any(name.rpartition(".")[2] == part for name in facts.placed))

    def _is_opaque(self, place: RepoPath) -> bool:
        """Whether this is an extension module, of which nothing is known."""
        return not self._files.of(place) and not self._files.is_folder(place) and self._compiled_at(*_split(place))

    def _candidates(self, importer: RepoPath) -> tuple[tuple[RepoPath, ...], tuple[RepoPath, ...]]:
        """The roots of a file's imports; and the packages around it, which are roots only if it is run as a program."""
        folder = importer.rpartition("/")[0]
        known = self._roots_of.get(folder)
        if known is None:
            around = [*folders_of(importer)]
            weak = tuple(one for one in around if self._files.is_package(one))
            strong = dict.fromkeys((*self._roots, *(one for one in around if one not in weak), *(f"{one}/src" for one in around)))
            known = self._roots_of[folder] = (tuple(strong), tuple(one for one in weak if one not in strong))
        return known

    def _has(self, place: RepoPath, name: str) -> bool:
        return self._files.has(place, name) or self._compiled_at(place, name)

    def _compiled_at(self, place: RepoPath, name: str) -> bool:
        key = (place, name)
        known = self._compiled.get(key)
        if known is None:
            known = self._compiled[key] = self._is_compiled(place, name)
        return known

    def _is_regular(self, place: RepoPath, name: str) -> bool:
        return bool(self._files.of(joined(place, name))) or self._is_opaque(joined(place, name))

    def _facts_at(self, path: RepoPath) -> Facts | None:
        if path not in self._facts:
            self._facts[path] = self._facts_of(path)
        return self._facts[path]

    def _has_name(self, module: RepoPath, name: str) -> bool:
        """Whether a module has this name, or may have it."""
        known = self._bound.get((module, name))
        if known is None:
            known = self._bound[module, name] = self._binds(module, name)
        return known

    def _binds(self, module: RepoPath, name: str) -> bool:
        """Whether a module (a file, or a folder) binds this name, itself or through stars, which may come round."""
        asked: set[RepoPath] = set()
        pending = [module]
        while pending:
            if self._stars_followed[module] > _MOST_STARS:
                return True
            one = pending.pop()
            if one not in asked:
                asked.add(one)
                starred = self._starred(one, name)
                if starred is None:
                    return True
                self._stars_followed[module] += len(starred)
                pending += starred
        return False

    def _starred(self, module: RepoPath, name: str) -> list[RepoPath] | None:
        """None where a module has, or may have, this name by itself; else the modules that may give it this one by a star."""
        if name == "*" or name in _OF_ALL_MODULES or self._has(module, name):
            return None
        files = self._files.of(module)
        if all(path.endswith(".pyi") for path in files) and self._compiled_at(*_split(module)):
            return None  # a stub beside an extension module need not name all
        if not files:
            return [] if self._files.is_folder(module) or not module else None
        if any(self._file_binds(path, name) for path in files) or self._may_be_made_in(module, name):
            return None
        giving: list[RepoPath] = []
        for path in files:
            facts = self._facts_at(path)
            for star in facts.imports if facts is not None else ():
                if star.names == ("*",):
                    found = self._find(path, star.level, star.module)
                    if not found.places and (not found.is_broken or not found.sure):
                        return None
                    giving += [place for place in found.places if self._gives(place, name)]
        return giving

    def _may_be_in_stub(self, importer: RepoPath, module: RepoPath) -> bool:
        """Whether a stub asks a source, for names that types alone need: another stub may have them (types-requests)."""
        return importer.endswith(".pyi") and not any(path.endswith(".pyi") for path in self._files.of(module))

    def _may_be_made_in(self, module: RepoPath, name: str) -> bool:
        return self._files.is_package(module) and self._may_be_made(module, name)

    def _file_binds(self, path: RepoPath, name: str) -> bool:
        """Whether a file has, or may have, this name, stars aside."""
        facts = self._facts_at(path)
        if facts is None or not facts.parses or facts.dynamic or name in facts.exports:
            return True
        is_derived = any(name.startswith(own) for own in facts.exports)
        return is_derived and any(self._imports_injector(path, one) for one in facts.imports if one.names)

    def _imports_injector(self, importer: RepoPath, one: Import) -> bool:
        """Whether a module takes from another one what may bind names in it, derived from its own (zope's `_use_c_impl`)."""
        places = self._find(importer, one.level, one.module).places
        facts = [self._facts_at(path) for place in places for path in self._files.of(place)]
        return any(known is not None and known.injects for known in facts)

    def _gives(self, module: RepoPath, name: str) -> bool:
        """Whether a module gives a name, if it has it, to those who import all it has (language reference, 7.11)."""
        facts = [self._facts_at(path) for path in self._files.of(module)]
        is_listed = any(one is not None and one.listed is not None and name in one.listed for one in facts)
        is_open = not facts or any(one is None or not one.parses or one.listed is None for one in facts)
        return is_listed or (is_open and not self._is_hidden(name, facts))

    def _is_hidden(self, name: str, facts: list[Facts | None]) -> bool:
        """Whether a star leaves out a name: with an underscore, and no `__all__` that could have it nevertheless."""
        return (
            name.startswith("_")
            and bool(facts)
            and all(
                one is not None and bool(one.parses) and not one.dynamic and "__all__" not in one.exports | one.names
                for one in facts
            )
        )


def _tidy(root: str) -> RepoPath:
    return root.strip("/").removeprefix("./").removeprefix(".")


def _split(place: RepoPath) -> tuple[RepoPath, str]:
    folder, _, name = place.rpartition("/")
    return folder, name
