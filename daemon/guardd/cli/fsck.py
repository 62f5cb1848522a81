"""guardctl fsck: check every stored byte against its hash."""

from collections.abc import Sequence

import click

from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit, say
from guardd.errors import Exit, StoreDamaged
from guardd.escaping import one_line, printable
from guardd.store.salvage import rebuild
from guardd.store.soundness import Damage, check, repair
from guardd.store.store import Store

_SHOWN = 20
"""Damages, and versions of each, without -v."""


@click.command()
@click.option("--repair", "mend", is_flag=True, help="Take out what is damaged, keep all that is whole.")
@common_options
@pass_context
def command(context: Context, mend: bool) -> int:
    """Check every blob and row of the store against its hash; exit 1 if something is damaged."""
    damages = _check(context.state_dir)
    left, salvaged, lost = damages, None, 0
    if damages and mend:
        if any(damage.structural for damage in damages):
            salvaged = rebuild(context.state_dir)
        with Store(context.state_dir) as store:
            lost = repair(store, list(check(store)))
        left = _check(context.state_dir)
    if context.json:
        emit(context, {"damaged": [_document(one) for one in damages], "repaired": mend and not left})
    _name(context, damages)
    if salvaged:
        say(
            context,
            f"built anew from {salvaged.rows:,} rows that could be read; the damaged store is {printable(salvaged.kept_aside)}",
        )
    if lost:
        say(context, f"{lost:,} versions could not be saved: their rows were damaged, or the names of their files lost", fg="red")
    if not damages:
        say(
            context,
            f"{printable(context.store.path)} is sound: {context.store.size().blobs:,} blobs, every version and head checked",
        )
    elif mend and not left:
        say(context, "repaired; run 'guardctl status', and 'guardctl log' to see what is left of these paths")
    elif mend:
        say(
            context,
            f"{len(left)} damages are left; save what is whole with 'guardctl export DIR --at 1m', then move the store away",
        )
    else:
        say(context, "run 'guardctl fsck --repair'")
    return Exit.PARTIAL if left else Exit.DONE


def _name(context: Context, damages: Sequence[Damage]) -> None:
    """Each damage and its versions; without -v the first of them."""
    most = None if context.verbose else _SHOWN
    for one in damages[:most]:
        say(context, one_line(one.what), fg="red")
        for seq, path in one.versions[:most]:
            say(context, f"  version {seq} of {printable(path)}")
        if len(one.versions) > len(one.versions[:most]):
            say(context, f"  and {len(one.versions) - _SHOWN:,} versions more: -v names them all")
    if len(damages) > len(damages[:most]):
        say(context, f"and {len(damages) - _SHOWN:,} damages more: -v names them all", fg="red")


def _check(state_dir: str) -> list[Damage]:
    try:
        with Store(state_dir) as store:
            return list(check(store))
    except StoreDamaged as error:  # it cannot even be opened
        return [Damage(f"database: {error.__cause__}", structural=True)]


def _document(one: Damage) -> dict[str, object]:
    return {"what": one.what, "versions": [{"seq": seq, "path": path} for seq, path in one.versions]}
