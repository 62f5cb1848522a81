"""guardctl gc: apply retention now, give space back."""

import click

from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit, say, size
from guardd.errors import Exit
from guardd.service.settings import policy_of
from guardd.store import ballast
from guardd.store.space import collect, over_quota_by


@click.command()
@common_options
@pass_context
def command(context: Context) -> int:
    """Apply retention and the quota now. The newest version of a file always stays."""
    policy = policy_of(context.settings)
    freed = ballast.backing(context.state_dir, lambda: collect(context.store, policy, context.now))
    excess = over_quota_by(context.store, policy)
    if context.json:
        emit(context, {"versions": freed.versions, "blobs": freed.blobs, "bytes": freed.bytes, "over_quota": excess})
    say(context, f"removed {freed.versions:,} versions and {freed.blobs:,} blobs, gave {size(freed.bytes)} back")
    if excess:
        say(
            context,
            f"the store is still {size(excess)} over its quota: what is left may not go; raise 'quota' or exclude files",
            fg="red",
        )
    return Exit.PARTIAL if excess else Exit.DONE
