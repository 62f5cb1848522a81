"""The rows of a table of which some pages cannot be read."""

from collections.abc import Iterator

from guardd.errors import StoreDamaged
from guardd.store.database import Database, Row

LARGEST_KEY = 1 << 40
"""Larger ones are noise: at 1,000 versions a second it takes 34 years to get here."""

_ONE_BY_ONE = 512
"""Rows of 8 bytes, the least that ours take, on a page of 4096."""


def readable_rows(old: Database, select: str) -> Iterator[Row]:
    """The rows of a query that can be read; it gives those of a table from a key on, the key first, by rising key.

    Past an unreadable place the next keys are tried one by one, as many as a page may hold, and then by galloping. On a damaged
    page keys may be in any order.
    """
    low = 0
    while low < LARGEST_KEY:
        try:
            for row in old.each(select, (low,)):
                if row[0] < LARGEST_KEY:
                    yield row
                    low = max(low, row[0] + 1)
        except StoreDamaged:
            low = _next_readable(old, select + " LIMIT 1", low + 1)
        else:
            return


def _next_readable(old: Database, select: str, low: int) -> int:
    """The first key from `low` on from which rows can be read; beyond `_ONE_BY_ONE`, to within a page."""
    for key in range(low, low + _ONE_BY_ONE):
        if _can_read(old, select, key):
            return key
    low, step = low + _ONE_BY_ONE, 1
    while low + step < LARGEST_KEY and not _can_read(old, select, low + step):
        step *= 2
    bad, good = low, low + step
    while bad < good:
        middle = (bad + good) // 2
        bad, good = (bad, middle) if _can_read(old, select, middle) else (middle + 1, good)
    return good


def _can_read(old: Database, select: str, key: int) -> bool:
    try:
        old.rows(select, (key,))
    except StoreDamaged:
        return False
    return True
