"""guardctl check: what is wrong with the files here, with what is staged, or with what changed since a revision."""

import gc
import os
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import colors, emit, files, say, warn, whoever_reads
from guardd.cli.paths import choose
from guardd.cli.progress import bar
from guardd.errors import Exit, GuardError, StoreError, UsageError
from guardd.escaping import printable

if TYPE_CHECKING:
    from guardd.checking.check import Conditions, Problem
    from guardd.checking.gittrees import GitTree
    from guardd.checking.memory import Memory
    from guardd.checking.trees import Tree
    from guardd.config.settings import RepoSettings, Settings
    from guardd.store.repos import Repo
    from guardd.store.store import Store

_NO_SUCH = "{} names no file that is checked; see 'include' and 'exclude' in the config"
_PATIENCE_S = 2.0
"""The longest wait for a store that others use: what it remembers is worth no more."""


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--staged", is_flag=True, help="What is staged in git, against HEAD: only new trouble counts.")
@click.option("--against", metavar="REV", help="What is on disk against a git revision: only new trouble counts.")
@click.option("--import", "modules", multiple=True, metavar="MODULE", help="Really import this module, too (repeatable).")
@click.option("--ignore", multiple=True, metavar="RULE", help="Leave out what this rule finds (repeatable).")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "sarif", "github"]), default="text", show_default=True,
    help="How to print what is found.",
)  # fmt: skip
@common_options
@pass_context
def command(
    context: Context,
    paths: tuple[str, ...],
    staged: bool,
    against: str | None,
    modules: tuple[str, ...],
    ignore: tuple[str, ...],
    form: str,
) -> int:
    """Markers, syntax, lost code, imports that do not resolve, undefined names; exit 1 if there are any.

    Works in any directory, guarded or not. Imports are resolved against the whole tree, whatever PATHs are given: they only
    choose what is reported.
    """
    if staged and against is not None:
        raise UsageError("--staged and --against exclude each other: the one is about the index, the other about the disk")
    if staged and modules:
        raise UsageError("--import imports what is on disk, and --staged looks at the index; give one of them")
    form = "json" if context.json else form
    context.json = context.json or form != "text"
    _know_rules(ignore)
    begun = time.monotonic()
    store = _store(context)
    context.repo = repo = _repo(context, store, in_git=staged or against is not None)
    settings = _settings(context)
    about = _about(settings, repo.path)
    with _trees(context, store, repo, about, staged=staged, against=against) as (before, after):
        known = {**after.blobs(), **(before.blobs() if before is not None else {})}
        chosen = set(choose(context, paths, known, _NO_SUCH)) if paths else None
        how = _conditions(repo.path, settings, about)
        lacking = _lacking(context, before, after, against or "HEAD", chosen)
        found = _check(context, store, before, after, how, chosen, lacking)
        if not staged:
            found += _imported(context, repo, about, modules, critical=chosen is None)
        found = sorted((one for one in found if one.rule not in ignore), key=lambda one: (one.path, one.line, one.rule))
        missed = _unread(context, before, after, chosen)
        with whoever_reads():
            _show(context, form, found, after)
    count = len(after.blobs() if chosen is None else chosen)
    with whoever_reads():
        _sum_up(context, found, count, time.monotonic() - begun, how)
    return Exit.PARTIAL if found or missed else Exit.DONE


def _know_rules(names: Sequence[str]) -> None:
    from guardd.checking.sarif import ABOUT

    for name in names:
        if name not in ABOUT:
            raise UsageError(f"there is no rule {name!r}; the rules are {', '.join(ABOUT)}")


def _store(context: Context) -> "Store | None":
    """The store, made if it can be: it remembers what was found. One that cannot be used is done without."""
    from guardd.store.store import Store

    try:
        return Store(context.state_dir, create=True, durable=False, brief=True, patience_s=_PATIENCE_S)
    except StoreError as error:
        if context.verbose:
            warn(context, f"without a store, so nothing is remembered: {error}")
        return None


def _repo(context: Context, store: "Store | None", *, in_git: bool) -> "Repo":
    """The tree that is meant: `--repo`, else the guarded repo around here, else git's work tree, else this folder."""
    from guardd.gitcommand import environment, top_of
    from guardd.selection import SelectionRules
    from guardd.store.repos import Repo

    start = os.path.realpath(context.repo_option or context.cwd)
    if not os.path.isdir(start):
        raise UsageError(f"{printable(start)} is no directory; name one with --repo")
    guarded = _guarded(context, store, start)
    root = start if context.repo_option else guarded.path if guarded else None
    if root is None or (in_git and not context.repo_option):
        top = top_of(start, environment(context.cwd))
        if top is not None and (root is None or len(top) > len(root)):  # a git repo inside of the guarded one
            root = top
    root = root or start
    if guarded is not None and guarded.path == root:
        return guarded
    about = _about(_settings(context), root)
    return Repo(0, root, about.selection_rules() if about else SelectionRules(), "", 0, 0)


def _settings(context: Context) -> "Settings | None":
    """The config; None where there is no file: the defaults are had without the 80 ms that it takes to load them."""
    from guardd.config import locate
    from guardd.config.places import is_named

    return context.settings if is_named(context.config) or os.path.lexists(locate(context.config)) else None


def _about(settings: "Settings | None", root: str) -> "RepoSettings | None":
    return next((one for one in settings.repo if one.path == root), None) if settings is not None else None


def _conditions(root: str, settings: "Settings | None", about: "RepoSettings | None") -> "Conditions":
    from guardd.checking.check import Conditions

    return Conditions.of(root, settings.detection, about) if settings is not None else Conditions(root)


def _guarded(context: Context, store: "Store | None", start: str) -> "Repo | None":
    if store is None:
        return None
    context.store = store
    return store.repos.find(start) if context.repo_option else context.repo_around(start)


@contextmanager
def _trees(
    context: Context, store: "Store | None", repo: "Repo", about: "RepoSettings | None", *, staged: bool, against: str | None
) -> "Iterator[tuple[Tree | None, Tree]]":
    """The tree to hold it against, and the tree to check."""
    from guardd.checking.trees import DiskTree
    from guardd.selection import Selection

    selection = Selection(repo.path, about.selection_rules() if about else repo.rules)
    if not staged and against is None:
        yield None, DiskTree(repo.path, selection, _memory(store, repo))
        return
    from guardd.checking.gittrees import Git

    with Git(repo.path, selection, context.cwd) as git:
        if against is not None:
            yield git.revision(against), DiskTree(repo.path, selection, _memory(store, repo, git.format), git.address)
        else:
            yield git.head(), git.index()


def _memory(store: "Store | None", repo: "Repo", how: str = "") -> "Memory | None":
    """Where it is remembered how the files were; `how` names git's way to address contents."""
    from guardd.checking.memory import CheckMemory, LogMemory

    if store is None:
        return None
    return LogMemory(store, repo) if repo.id and not how else CheckMemory(store, repo.path, how)


def _check(
    context: Context,
    store: "Store | None",
    before: "Tree | None",
    after: "Tree",
    how: "Conditions",
    chosen: Collection[str] | None,
    lacking: Collection[str],
) -> "list[Problem]":
    from guardd.analysis.sources import Parsers
    from guardd.checking.check import Problem, problems
    from guardd.checking.facts import TreeFacts
    from guardd.checking.gittrees import GitTree

    with bar(context, "checking") as progress:
        total, done = len(after.blobs()), 0

        def go_on() -> None:  # called in the threads that wait for the parsers; a lost count does no harm
            nonlocal done
            done += 1
            progress(done, max(done, total))

        with Parsers(go_on=go_on) as parsers, _uncollected():
            found = problems(before, after, how, TreeFacts(parsers, store), chosen, lacking)
    if isinstance(after, GitTree):
        open_ = [path for path in after.unmerged if chosen is None or path in chosen]
        found += [
            Problem(path, 0, "conflict-marker", "is unmerged in git's index; resolve it, then 'git add' it") for path in open_
        ]
    return found


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector: hundreds of thousands of facts have no cycles, and it took a sixth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _imported(
    context: Context, repo: "Repo", about: "RepoSettings | None", modules: Sequence[str], *, critical: bool
) -> "list[Problem]":
    """What really happens at the import of these modules, and of those that the config calls critical."""
    if not modules and not (critical and about is not None and about.critical_modules):
        return []
    from guardd.checking.probing import probe_repo
    from guardd.config.settings import RepoSettings

    about = about or RepoSettings(path=repo.path)
    probes = probe_repo(about if critical else about.model_copy(update={"critical_modules": ()}), modules)
    for one in probes:
        if one.problem is None and context.verbose:
            warn(context, f"{one.module} was imported in {one.seconds:.1f} s{' without network' if one.offline else ''}")
        elif one.stack and not context.json and not context.quiet:
            click.echo(f"where the import of {printable(one.module)} was in the end:", err=True)
            for line in one.stack:
                click.echo(f"  {printable(line)}", err=True)
    return [one.problem for one in probes if one.problem is not None]


def _lacking(context: Context, before: "Tree | None", after: "Tree", rev: str, chosen: Collection[str] | None) -> set[str]:
    """The files whose earlier content git does not have here (a partial clone, which must not fetch it now), and say so."""
    from guardd.checking.gittrees import GitTree

    if not isinstance(before, GitTree):
        return set()
    now = after.blobs()
    lacking = before.lacking([path for path, blob in before.blobs().items() if now.get(path) != blob])
    changed = sorted(path for path in lacking if path in now and (chosen is None or path in chosen))
    for path in changed:
        warn(context, f"{printable(path)}: git does not have here what it was in {printable(rev)}; it was checked by itself")
    if changed:
        warn(context, f"'git diff {printable(rev)}' fetches what a partial clone lacks")
    return lacking


def _unstaged(context: Context, before: "Tree | None", after: "GitTree", chosen: Collection[str] | None) -> bool:
    """Say what is staged and git does not have, and whether there was any."""
    then = before.blobs() if before is not None else {}
    changed = [path for path, blob in after.blobs().items() if then.get(path) != blob and (chosen is None or path in chosen)]
    lacking = after.lacking(changed)
    for path in sorted(lacking):
        warn(context, f"{printable(path)}: git does not have here what is staged of it; it was not checked")
    return bool(lacking)


def _unread(context: Context, before: "Tree | None", after: "Tree", chosen: Collection[str] | None) -> bool:
    """Say what could not be read, and whether there was any: then the check is not whole."""
    from guardd.checking.gittrees import GitTree
    from guardd.checking.trees import DiskTree

    if isinstance(after, GitTree):
        return _unstaged(context, before, after, chosen)
    if not isinstance(after, DiskTree):
        return False
    for path, why in after.too_large.items():
        warn(context, f"{printable(path)}: {why}; it was not checked")
    missed = {path: why for path, why in after.unread.items() if chosen is None or path in chosen}
    for path, why in missed.items():
        warn(context, f"{printable(path) or '.'}: {why}; it was not checked")
    return bool(missed)


def _show(context: Context, form: str, found: "Sequence[Problem]", after: "Tree") -> None:
    if form == "json":
        emit(context, [{"path": one.path, "line": one.line, "rule": one.rule, "message": one.message} for one in found])
    elif form == "sarif":
        from guardd.checking.sarif import sarif

        emit(context, sarif(found, context.repo.path))
    elif form == "github":
        from guardd.checking.annotations import annotation

        for one in found:
            click.echo(annotation(one))
    elif not context.quiet or found:
        from guardd.cli.findings import lines

        for line in lines(found, lambda path: _content(after, path)):
            click.echo(line, color=colors(context))


def _content(tree: "Tree", path: str) -> bytes | None:
    try:
        return tree.read(path) if path in tree.blobs() else None
    except GuardError:
        return None


def _sum_up(context: Context, found: "Sequence[Problem]", count: int, seconds: float, how: "Conditions") -> None:
    from guardd.analysis.environment import installed_names
    from guardd.cli.findings import summary

    text = f"checked {files(count)} in {seconds:.1f} s: {summary(found)}"
    if context.json:
        if sys.stderr.isatty() and not context.quiet:
            click.echo(text, err=True)
    else:
        say(context, text, fg="red" if found else "green")
        if installed_names(how.root, how.python) is None:
            say(context, "third-party imports were not judged: no environment was found (.venv, or 'python' in its [[repo]])")
