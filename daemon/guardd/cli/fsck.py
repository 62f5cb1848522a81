"""guardctl fsck: check every stored byte against its hash."""

import click

from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit, printable, say
from guardd.errors import Exit
from guardd.store.soundness import Damage, check, repair


@click.command()
@click.option("--repair", "mend", is_flag=True, help="Take out what is damaged, keep all that is whole.")
@common_options
@pass_context
def command(context: Context, mend: bool) -> int:
    """Check every blob and row of the store against its hash; exit 1 if something is damaged."""
    store = context.store
    damages = list(check(store))
    left = damages
    if damages and mend:
        repair(store, damages)
        left = list(check(store))
    if context.json:
        emit(context, {"damaged": [_document(one) for one in damages], "repaired": mend and not left})
    for one in damages:
        say(context, one.what, fg="red")
        for seq, path in one.versions:
            say(context, f"  version {seq} of {printable(path)}")
    if not damages:
        say(context, f"{store.path} is sound: {store.size().blobs:,} blobs, every version and head checked")
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


def _document(one: Damage) -> dict[str, object]:
    return {"what": one.what, "versions": [{"seq": seq, "path": path} for seq, path in one.versions]}
