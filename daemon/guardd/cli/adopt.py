"""guardctl adopt: take backup files that are there already as versions of the files that they were made of."""

import os
import time
from collections.abc import Sequence
from datetime import tzinfo

import click

from guardd.cli.asking import confirm
from guardd.cli.capturing import capture
from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit, files, iso, say, size, when
from guardd.cli.paths import chooser, relative
from guardd.errors import Exit, NothingMatched, UsageError
from guardd.escaping import printable
from guardd.rescue.adopting import BackupTree, Gathered, Read, Where, adopt, gather
from guardd.rescue.backups import Unclear
from guardd.rescue.health import Looks, looks_of
from guardd.selection import Selection

_SHOWN = 20


@click.command()
@click.argument("path", required=False, type=click.Path())
@click.option(
    "--suffix", "suffixes", multiple=True, metavar="GLOB",
    help="What follows a file's name in that of its backup ('.bak-*', '_backup.py'); default: all that is usual.",
)  # fmt: skip
@click.option(
    "--map", "maps", multiple=True, metavar="FROM=TO",
    help="The folder FROM is a tree of backups of the folder TO of the repo: backups/2025-09-17=src",
)  # fmt: skip
@click.option(
    "--zone", metavar="ZONE", help="The time zone of times in names that tell none (default: the local one): UTC, Europe/Rome."
)
@click.option("--dry-run", "-n", is_flag=True, help="Show which backup belongs to which file, keep nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@common_options
@pass_context
def command(
    context: Context, path: str | None, suffixes: tuple[str, ...], maps: tuple[str, ...], zone: str | None,
    dry_run: bool, yes: bool,
) -> int:  # fmt: skip
    """Take backup files (x.py.backup_20250917_084026, x.py.bak, x.py~) into the store, as versions of x.py.

    Each is a version at the time in its name, or in that of its folder, else at its mtime. The backups of PATH, or below it;
    default: of the whole repo. Nothing in the repo is changed; then 'guardctl restore --best' can use them.
    """
    started = time.monotonic()
    where = _where(context, path, suffixes, maps, zone)
    capture(context)
    repo, store = context.repo, context.store
    gathered = gather(store, repo, Selection(repo.path, repo.rules), where, context.now.wall_ns)
    looks = looks_of([(one.pair.path, one.text) for one in gathered.new], context.settings.detection.markers)
    if not context.json:
        _show(context, gathered, looks, zone, whole=dry_run or context.verbose > 0)
    if gathered.new and not dry_run and context.on_terminal and not context.quiet:
        confirm(context, f"Adopt {files(len(gathered.new))}?", yes=yes)
    numbers = adopt(store, repo, gathered.new, context.now) if not dry_run else []
    if context.json:
        seconds = round(time.monotonic() - started, 3)
        emit(context, _document(gathered, looks, numbers, dry_run=dry_run, seconds=seconds))
    if not any((gathered.new, gathered.known, gathered.unclear, gathered.passed_over, gathered.troubled)):
        raise NothingMatched("no backup file was found; name what they end in by --suffix, or where they are by --map FROM=TO")
    if numbers:
        paths = {one.pair.path for one in gathered.new}
        say(context, f"adopted {len(numbers):,} version{'s' * (len(numbers) > 1)} of {files(len(paths))}", fg="green", bold=True)
        say(context, "put damaged files back with: guardctl restore --best")
    return Exit.PARTIAL if gathered.troubled else Exit.DONE


def _where(context: Context, path: str | None, suffixes: Sequence[str], maps: Sequence[str], zone: str | None) -> Where:
    chosen = chooser(context, [path] if path is not None else [])
    return Where(
        lambda path, source: chosen(path) or chosen(source), tuple(_tree(context, one) for one in maps), suffixes, _zone(zone)
    )


def _tree(context: Context, words: str) -> BackupTree:
    folder, equals, to = words.rpartition("=")
    if not equals or not folder:
        raise UsageError(f"--map {words}: say FROM=TO, as in --map backups/2025-09-17=src")
    place = os.path.realpath(os.path.join(context.cwd, folder))
    if not os.path.isdir(place):
        raise UsageError(f"--map {words}: there is no folder {folder}")
    if place == context.repo.path:
        raise UsageError(f"--map {words}: {folder} is the repo itself; name a folder of backups")
    if context.repo.path.startswith(place.rstrip("/") + "/"):
        raise UsageError(f"--map {words}: the repo itself lies in {folder}; name a folder of nothing but backups")
    return BackupTree(place, relative(context, to or "."))


def _zone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(f"--zone {name}: there is no such time zone; try UTC, or Europe/Rome") from error


def _show(context: Context, gathered: Gathered, looks: Sequence[Looks], zone: str | None, *, whole: bool) -> None:
    pairs = list(zip(gathered.new, looks, strict=True))
    if pairs:
        say(context, f"{files(len(pairs))} to adopt, times in names taken as {zone or time.strftime('%Z (local)')}:", bold=True)
    for one, looked in pairs if whole else pairs[:_SHOWN]:
        gone = "" if one.pair.is_known else ", not there now"
        about = f"{size(one.state.size)}, {looked.words}{gone}"
        say(
            context,
            f"  {printable(one.pair.source)} -> {printable(one.pair.path)}  {when(one.time_ns)} ({one.pair.dated_by})  {about}",
        )
    if len(pairs) > _SHOWN and not whole:
        say(context, f"  and {len(pairs) - _SHOWN} more (-v shows all)")
    if gathered.known:
        say(context, f"{files(len(gathered.known))} known already, with the same content:")
    for one in gathered.known if whole else gathered.known[:_SHOWN]:
        known_as = f"version {one.known_as} of {printable(one.pair.path)}" if one.known_as else "another backup"
        say(context, f"  {printable(one.pair.source)}: {known_as}")
    if len(gathered.known) > _SHOWN and not whole:
        say(context, f"  and {len(gathered.known) - _SHOWN} more (-v shows all)")
    _show_left(context, "not adopted, decide yourself (a copy called FILE.bak beside FILE is taken)", gathered.unclear, "yellow")
    _show_left(context, "passed over", gathered.passed_over, "yellow")
    for trouble in gathered.troubled:
        click.echo(f"guardctl: {printable(trouble.source)} not adopted: {printable(trouble.reason)}", err=True)


def _show_left(context: Context, title: str, left: Sequence[Unclear], color: str) -> None:
    if left:
        say(context, f"{title}:", fg=color)
    for one in left:
        say(context, f"  {printable(one.source)}: {printable(one.reason)}")


def _document(
    gathered: Gathered, looks: Sequence[Looks], numbers: Sequence[int], *, dry_run: bool, seconds: float
) -> dict[str, object]:
    known_numbers: Sequence[int | None] = numbers or [None] * len(looks)
    found = zip(gathered.new, looks, known_numbers, strict=True)
    return {
        "dry_run": dry_run,
        "adopted": [
            {**_pair(one), "seq": seq, "parses": looked.parses, "marker": looked.marker, "known": one.pair.is_known}
            for one, looked, seq in found
        ],
        "unchanged": [{**_pair(one), "seq": one.known_as or None} for one in gathered.known],
        "unclear": [{"backup": one.source, "reason": one.reason} for one in gathered.unclear],
        "skipped": [{"backup": one.source, "reason": one.reason} for one in gathered.passed_over + gathered.troubled],
        "seconds": seconds,
    }


def _pair(one: Read) -> dict[str, object]:
    pair = one.pair
    return {
        "backup": pair.source,
        "path": pair.path,
        "time": iso(one.time_ns),
        "time_from": pair.dated_by,
        "size": one.state.size,
    }
