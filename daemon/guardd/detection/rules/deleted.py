"""deleted: mass removal outside of git, and modules moved away from under those who import them."""

from guardd.model import Finding, RepoPath

NAME = "deleted"
_FEWEST_IMPORTERS = 3
"""Files that import a moved module by its old name: one or two may be dead code, three are a break."""


def deleted(count: int, least: int) -> Finding | None:
    """The finding for each of `count` files that were removed within the window, from `least` on.

    Must not catch what git removed nor what was moved (neither is counted), nor a few files removed by hand.
    """
    return Finding(NAME, "deleted with many others, and not by git") if count >= least else None


def moved(to: RepoPath, importers: int) -> Finding | None:
    """The finding for one of many files that were moved, while so many others still import them by their old names.

    Must not catch a move after which the imports were brought along.
    """
    if importers < _FEWEST_IMPORTERS:
        return None
    return Finding(NAME, f"moved to {to}; {importers} files still import what was moved with it")


def came_from(path: RepoPath) -> Finding:
    """The finding for what a file became that was moved from this path."""
    return Finding(NAME, f"came from {path}")
