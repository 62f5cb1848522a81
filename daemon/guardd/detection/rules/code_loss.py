"""code-loss: definitions and statements that are gone, or turned into comments."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

from guardd.analysis.sources import Facts
from guardd.detection.change import Change
from guardd.model import Finding

_GENERATED = re.compile(rb"(?im)^\W*.*\b(DO NOT (EDIT|MODIFY)|@generated|(auto-?)?generated (by|from|code))\b")
_GENERATED_NAMES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")
_TOP = 600

FEWEST_COMMENTED = 3
_COMMENTED_SHARE = 0.1
_FEWEST_LOST = 10
_LOST_SHARE = 0.4
_FEWEST_OF_SMALL = 2
_NEARLY_ALL = 0.9
_FEWEST_DEFINITIONS = 3
_DEFINITIONS_SHARE = 0.3


class CodeLoss:
    """Catches hollowed files.

    That is: a tenth of the code commented out (three lines at least, prints and logging aside), four in ten statements gone
    (ten at least, or nearly all of a small file), three in ten definitions (three at least) with none come in their place, or
    a definition that the code still uses. A file that is all comments parses, and one that was broken before may parse again
    because its code is gone: so this rule counts and does not ask whether the file parses; where a side does not, lines of
    code stand in for statements.
    Must not catch: generated files made anew, renamed definitions (as many come as go), layout (statements are counted, not
    lines), a file of a few lines. People do remove half of a file, or move it to another: it takes several files in a minute,
    and definitions that turn up elsewhere in the burst are taken off again (bursts.py).
    """

    name: ClassVar = "code-loss"
    needs_facts: ClassVar = False  # lines turned to comments are seen without; the rest once the facts are there

    def look(self, change: Change) -> Iterator[Finding]:
        """At most one finding: the gravest that holds."""
        code_before, _ = change.code_lines
        commented = change.commented_out
        if len(commented) >= FEWEST_COMMENTED and len(commented) >= _COMMENTED_SHARE * code_before:
            yield Finding(self.name, f"{len(commented)} of {code_before} lines of code are commented out", commented[0][0])
            return
        if not change.is_parsed or (change.code_lines[1] and _is_generated(change)):
            return
        then, now = _amounts(change)
        lost = then - now
        if (lost >= _FEWEST_LOST and lost >= _LOST_SHARE * then) or (lost >= _FEWEST_OF_SMALL and lost >= _NEARLY_ALL * then):
            yield Finding(self.name, f"{then - now} of {then} statements are gone")
            return
        gone = lost_definitions(change)
        of = len(change.facts_before.definitions) if change.facts_before else 0
        if len(gone) >= _FEWEST_DEFINITIONS and len(gone) >= _DEFINITIONS_SHARE * of:
            yield Finding(self.name, f"{len(gone)} of {of} definitions are gone: {', '.join(sorted(set(gone))[:5])}")
            return
        if still_used := sorted(dangling(change) & set(change.facts_before.definitions if change.facts_before else ())):
            yield Finding(self.name, f"gone, and the code still uses it: {', '.join(still_used[:5])}")


def _is_generated(change: Change) -> bool:
    """Whether the file says, by its name or at its top, that a program wrote it, and has written it again."""
    return change.path.endswith(_GENERATED_NAMES) or all(
        _GENERATED.search(content[:_TOP]) for content in (change.before, change.after)
    )


def dangling(change: Change) -> frozenset[str]:
    """The names that the code uses, that something in it bound before, and that nothing binds now."""
    then, now = change.facts_before, change.facts_after
    if then is None or now is None or not then.parses or not now.parses or _stars(now) - _stars(then):
        return frozenset()
    return now.unbound - then.unbound


def _stars(facts: Facts) -> set[tuple[int, str]]:
    """The modules that names are imported from by a star: a new one may bind anything."""
    return {(one.level, one.module) for one in facts.imports if one.names == ("*",)}


def lost_definitions(change: Change) -> list[str]:
    """The names of definitions that are gone, less as many as came new: a rename loses none.

    None where a side is beyond the parsers: that tells nothing of what is in it.
    """
    before, after = change.facts_before, change.facts_after
    if before is None or after is None or before.parses is None or after.parses is None:
        return []
    then, now = Counter(before.definitions), Counter(after.definitions)
    gone = sorted((then - now).elements())
    return gone[: max(0, len(gone) - (now - then).total())]


def _amounts(change: Change) -> tuple[int, int]:
    then, now = change.facts_before, change.facts_after
    if then is not None and now is not None and then.parses and now.parses:
        return then.statements, now.statements
    return change.code_lines
