"""The best version of a damaged file: which of the contents that are left of it goes back, and why. Pure."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from guardd.model import PYTHON, FileState, RepoPath

_NAMED = 2
"""Newer contents that were passed over are named, so many of them."""


class Source(StrEnum):
    """Where a content is from."""

    LOG = "log"
    ADOPTED = "adopted"
    GIT = "git"


class Candidate(NamedTuple):
    """A content that a path had. `name` is what its source calls it: a version's number, a backup file, a commit.

    `key` finds it there. Of a candidate from git the state is not known before it is read.
    """

    path: RepoPath
    time_ns: int
    source: Source
    name: str
    key: str = ""
    state: FileState | None = None

    @property
    def words(self) -> str:
        """The source for people."""
        return {Source.LOG: "log version", Source.ADOPTED: "adopted backup", Source.GIT: "git"}[self.source] + f" {self.name}"


class Judged(NamedTuple):
    """A candidate that was read. `ailment`: what is wrong with it by itself; `hollow`: nothing is, but nothing is in it.

    `unresolved`: what its imports do not find in the tree as it will be.
    """

    candidate: Candidate
    ailment: str | None = None
    hollow: bool = False
    unresolved: tuple[str, ...] = ()

    @property
    def complaint(self) -> str:
        """What speaks against it."""
        if self.ailment is not None:
            return self.ailment
        return f"its imports do not resolve ({self.unresolved[0]})" if self.unresolved else "is only comments, or empty"


class Choice(NamedTuple):
    """The candidate that goes back, what may be said of it, and the newer ones that were passed over."""

    judged: Judged
    passed_over: tuple[Judged, ...] = ()

    def why(self, when: Callable[[int], str], damage: str) -> str:
        """The reason for people: what is wrong now, what goes back, what was not good enough."""
        one = self.judged.candidate
        good = "is only comments, as all that is left of it" if self.judged.hollow else "parses, no marker"
        if one.path.endswith(PYTHON):
            missing = len(self.judged.unresolved)
            good += (
                f", but of its imports {missing} never resolved ({self.judged.unresolved[0]})" if missing else ", imports resolve"
            )
        text = f"{damage}; from {one.words} of {when(one.time_ns)}: {good}"
        named = [f"{each.candidate.words} {each.complaint}" for each in self.passed_over[:_NAMED]]
        more = len(self.passed_over) - len(named)
        return text + (f"; newer: {', '.join(named)}{f' and {more} more' if more else ''}" if named else "")


def newest_first(candidates: Sequence[Candidate]) -> list[Candidate]:
    """In the order in which they are tried. At the same time, what guard saw itself comes before what it was told."""
    order = list(Source)
    return sorted(candidates, key=lambda one: (-one.time_ns, order.index(one.source)))


def choose(judged: Sequence[Judged], *, is_all: bool, last_resort: bool) -> Choice | None:
    """The newest healthy one of the candidates judged so far, newest first; None: none of them is (yet) good enough.

    Where all were judged and none is healthy, `last_resort` takes the newest of those that parse, have no marker and ask for
    the least that is not there: a file that always had a broken import is better than its ruins.
    """
    for at, one in enumerate(judged):
        if one.ailment is None and not one.hollow and not one.unresolved:
            return Choice(one, tuple(judged[:at]))
    if not is_all or not last_resort:
        return None
    sound = [at for at, one in enumerate(judged) if one.ailment is None]
    if not sound:
        return None
    at = min(sound, key=lambda at: (judged[at].hollow, len(judged[at].unresolved), at))
    return Choice(judged[at], tuple(judged[:at]))
