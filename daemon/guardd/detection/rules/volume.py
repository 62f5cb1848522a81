"""volume: many files changed fast, and nothing explains it."""

from collections.abc import Sequence

from guardd.model import Finding, Suspect

NAME = "volume"


def volume(suspects: Sequence[Suspect], approve_above: int) -> Finding | None:
    """Catches an unexplained bulk change of more than `approve_above` files: it stays open until someone approves it.

    Never more than a warning: volume says nothing about damage. What git, a formatter or a restore did is explained and does
    not count, nor do new files.
    """
    if len(suspects) <= approve_above:
        return None
    return Finding(NAME, f"{len(suspects)} files changed at once, and nothing explains it", damage=False)
