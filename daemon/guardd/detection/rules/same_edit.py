"""same-edit: one near-identical edit over many files."""

from collections import Counter
from collections.abc import Sequence

from guardd.model import Finding, Suspect

NAME = "same-edit"
_FEWEST = 10
_SHARE = 0.6


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
