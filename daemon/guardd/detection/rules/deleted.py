"""deleted: mass removal outside of git, and modules moved away from under those who import them."""

from collections.abc import Sequence

from guardd.model import Finding, Suspect

NAME = "deleted"
FEWEST_IMPORTERS = 3
"""Files that import a moved module by its old name: one or two may be dead code, three are a break."""


def deleted(gone: Sequence[Suspect], moved_to: dict[str, str], importers: int, least: int) -> dict[str, Finding]:
    """Path -> finding for files that are gone: removed ones from `least` on, moved ones if other code still imports them.

    Must not catch what git removed (left out before), a few files removed by hand, nor a move after which all imports were
    brought along (`importers` counts the files that were not).
    """
    removed = [one for one in gone if one.path not in moved_to]
    found = {}
    if len(removed) >= least:
        found.update({one.path: Finding(NAME, f"deleted, with {len(removed) - 1} others") for one in removed})
    if len(moved_to) >= least and importers >= FEWEST_IMPORTERS:
        found.update(
            {one.path: Finding(NAME, f"moved to {moved_to[one.path]}; {importers} files still import what was moved")
             for one in gone if one.path in moved_to}
        )  # fmt: skip
    return found
