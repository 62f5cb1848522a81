"""same-edit: one near-identical edit over many files."""

from collections import Counter
from collections.abc import Iterator, Sequence

from guardd.model import Finding, Suspect

NAME = "same-edit"
_FEWEST = 10
_SHARE = 0.6


def shared_edit(suspects: Sequence[Suspect]) -> Iterator[tuple[Suspect, Finding]]:
    """Undamaged suspects whose edit is the one that was damage in most damaged ones (in ten at least), with the finding."""
    damaged = [one for one in suspects if one.damaged]
    edits = Counter(one.edit for one in damaged if one.edit)
    edit, count = edits.most_common(1)[0] if edits else ("", 0)
    if count >= _FEWEST and count >= _SHARE * len(damaged):
        for one in suspects:
            if one.edit == edit and not one.damaged and not one.returned:
                yield one, Finding(NAME, f"the edit that damaged {count} others: {edit!r}…")


def same_edit(suspects: Sequence[Suspect]) -> Finding | None:
    """Catches a script at work: ten files at least, and six in ten of all, whose added lines begin alike.

    No damage by itself, a codemod does just that; it raises how sure guard is of damage that other rules found.
    """
    edits = Counter(one.edit for one in suspects if one.edit)
    if not edits:
        return None
    edit, count = edits.most_common(1)[0]
    if count < _FEWEST or count < _SHARE * len(suspects):
        return None
    return Finding(NAME, f"{count} files share one edit: {edit!r}…", damage=False)
