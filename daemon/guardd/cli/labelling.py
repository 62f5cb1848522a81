"""Snapshots among the versions of a log: which are worth a line, and where. Pure."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from guardd.model import Origin, Version
from guardd.store.labels import Label
from guardd.store.log import Change

Entry = tuple[Version, Change]
"""A version with what it did to its path."""


class Between(NamedTuple):
    """The snapshots between two versions that are shown: the newest, and how many `more` there are at the same place."""

    newest: Label
    more: int


def interleave(entries: Iterable[Entry], labels: Iterable[Label], *, to_the_end: bool) -> Iterator[Entry | Between]:
    """Both newest first: of the snapshots between two versions only the newest, as an agent that reads takes hundreds.

    `to_the_end`: also those before the oldest version that is shown.
    """
    waiting = iter(labels)
    ahead = next(waiting, None)
    for entry in entries:
        version, _ = entry
        if version.origin is Origin.ADOPT:  # it has no place in the log to be before or after
            yield entry
            continue
        newest, more = ahead, -1
        while ahead is not None and ahead.seq >= version.seq:
            more += 1
            ahead = next(waiting, None)
        if newest is not None and more >= 0:
            yield Between(newest, more)
        yield entry
    if to_the_end and ahead is not None:
        yield Between(ahead, sum(1 for _ in waiting))
