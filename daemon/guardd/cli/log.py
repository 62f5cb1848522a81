"""guardctl log: the versions that were kept, newest first."""

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice

import click

from guardd.cli import completing
from guardd.cli.capturing import capture
from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.labelling import Between, Entry, interleave
from guardd.cli.moments import Place, before_incident, moment, place
from guardd.cli.naming import number_of
from guardd.cli.output import emit, iso, page, say, size, when
from guardd.cli.paths import choose
from guardd.cli.ran import tell_of_interrupted
from guardd.errors import Exit
from guardd.escaping import printable
from guardd.model import Origin, RepoPath, Version
from guardd.recovery.past import known_paths
from guardd.store.log import Change
from guardd.store.runs import RunFinder

_SIGNS = {Change.CREATED: ("+", "green"), Change.MODIFIED: ("~", "yellow"), Change.DELETED: ("-", "red")}

_FEW = 100
"""So many paths are asked for one by one; 40 us each, while reading past a version of another path takes 3 us."""


@click.command()
@click.argument("paths", nargs=-1, type=click.Path())
@click.option(
    "--since",
    metavar="T",
    shell_complete=completing.moments,
    help="Only versions after this moment (10m, 14:30, yesterday, 2026-01-31T09:00).",
)
@click.option("--until", metavar="T", shell_complete=completing.moments, help="Only versions up to this moment.")
@click.option(
    "--incident",
    metavar="ID|last",
    shell_complete=completing.incidents,
    help="Only versions that are part of this incident.",
)
@click.option("--limit", "-n", type=click.IntRange(min=1), metavar="N", help="At most so many.")
@common_options
@pass_context
def command(
    context: Context, paths: tuple[str, ...], since: str | None, until: str | None, incident: str | None, limit: int | None
) -> int:
    """The versions that were kept, newest first: of the given files, directories and globs, or of all.

    Snapshots stand between the versions that they lie between (of several, the newest); 'guardctl snapshot --list' has them all.
    """
    context.take_repo_of(incident, paths)
    begin = moment(context, since) if since else None
    end = moment(context, until) if until else None
    capture(context, just_to_read=True)
    tell_of_interrupted(context)
    after = place(context, begin, since=True) if begin else None
    upto = place(context, end) if end else None
    repo = context.repo
    chosen = set(choose(context, paths, known_paths(context.store, repo))) if paths else None
    meant = number_of(context, incident) if incident is not None else None
    if meant is not None:
        after = after or before_incident(context, meant)
    adopted = _adopted(context, after, upto) if meant is None else []
    found = (
        entry
        for entry in _by_time(_logged(context, chosen, after.seq if after else 0, upto.seq if upto else None), adopted)
        if (chosen is None or entry[0].path in chosen)
        and (meant is None or context.store.incidents.of_version(repo.id, entry[0].path, entry[0].seq) == meant)
    )
    shown = list(islice(found, limit)) if limit else found
    if context.json:
        runs = context.store.runs.finder(repo.id)
        emit(context, [_document(context, *entry, runs) for entry in shown])
        return Exit.DONE
    if after or upto:
        span = [f"since {when(after.time_ns)}"] if after else []
        span += [f"until {when(upto.time_ns)}"] if upto else []
        say(context, f"{', '.join(span)}:")
    labels = context.store.labels.of_repo(repo.id, after.seq if after else 0, upto.seq if upto else None)
    is_whole = not (isinstance(shown, list) and len(shown) == limit)
    page(context, _lines(context, interleave(shown, labels, to_the_end=is_whole)))
    return Exit.DONE


def _logged(context: Context, chosen: set[RepoPath] | None, after: int, until: int | None) -> Iterator[Entry]:
    """The log's versions of the chosen paths in (after, until], newest first; others with them, where so many are chosen."""
    log, repo = context.store.log, context.repo
    if chosen is None or len(chosen) > _FEW:
        return log.changes(repo.id, after, until)
    of_each = [log.versions_of(repo.id, path, after, until) for path in chosen]
    return ((version, log.change_of(version)) for version in merge(*of_each, key=lambda version: version.seq, reverse=True))


def _adopted(context: Context, after: Place | None, upto: Place | None) -> list[Version]:
    """The adopted versions between two moments, latest first: by their time, as they have no place in the log."""
    begin, end = after.time_ns if after else 0, upto.time_ns if upto else 1 << 62
    of_repo = context.store.adopted.of_repo(context.repo.id)
    return [one.version for one in of_repo if begin < one.version.time_ns <= end]


def _by_time(logged: Iterable[Entry], adopted: Sequence[Version]) -> Iterator[Entry]:
    """Both, newest first: the order of the log is kept, an adopted version comes before what was seen earlier."""
    # What was there before an adopted version was, or was not, backed up: whether it made its path cannot be known.
    waiting = [(version, Change.MODIFIED) for version in reversed(adopted)]
    for entry in logged:
        while waiting and waiting[-1][0].time_ns > entry[0].time_ns:
            yield waiting.pop()
        yield entry
    yield from reversed(waiting)


def _document(context: Context, version: Version, change: Change, runs: RunFinder) -> dict[str, object]:
    run = runs.of(version.path, version.seq)
    return {
        "seq": version.seq,
        "path": version.path,
        "time": iso(version.time_ns),
        "origin": version.origin,
        "kind": change,
        "size": version.state.size,
        "blob": version.state.blob.hex() or None,
        "incident": None
        if version.origin is Origin.ADOPT
        else context.store.incidents.of_version(context.repo.id, version.path, version.seq),
        "run": run.id if run else None,
    }


def _lines(context: Context, entries: Iterable[Entry | Between]) -> Iterator[str]:
    runs, told = context.store.runs.finder(context.repo.id), None
    for entry in entries:
        if isinstance(entry, Between):
            yield _snapshot_line(entry)
            continue
        version, change = entry
        run = runs.of(version.path, version.seq)
        if run is not None and run.id != told:
            told = run.id
            name = click.style(f"run {run.id}", fg="cyan")
            yield f"{'':>8}  {when(run.from_ns)}  {name}, {run.state}: {printable(run.command)}"
        sign, color = _SIGNS[change]
        kept = _source(context, version) if version.state.stored else "  (only its hash is kept)"
        path = click.style(f"{sign} {printable(version.path)}", fg=color)
        yield f"{version.seq:>8}  {when(version.time_ns)}  {version.origin:<8}  {size(version.state.size):>9}  {path}{kept}"


def _source(context: Context, version: Version) -> str:
    """Which backup an adopted version was taken from."""
    adopted = context.store.adopted.get(context.repo.id, version.seq) if version.origin is Origin.ADOPT else None
    return f"  (from {printable(adopted.source)})" if adopted is not None else ""


def _snapshot_line(one: Between) -> str:
    more = f"  (and {one.more} more here)" if one.more else ""
    name = click.style(f"snapshot:{one.newest.id}", fg="cyan")
    return f"{'':>8}  {when(one.newest.time_ns)}  {name}  {one.newest.label}{more}".rstrip()
