"""The facts of stored contents: from memory, from the store, or from the parsing processes."""

from collections import OrderedDict
from collections.abc import Iterable

from guardd.analysis.sources import UNKNOWN, VERSION, Facts, Parsers
from guardd.store.store import Store

_REMEMBERED = 256


class FactsOfBlobs:
    """The facts of contents by hash. `flush` writes those that were to be kept into the store, inside the caller's transaction.

    They are 3 KB a content, beside a delta of 60 bytes, and 2 ms to find again: kept are those of what is suspect.
    """

    def __init__(self, store: Store, parsers: Parsers) -> None:
        self._store = store
        self._parsers = parsers
        self._known: OrderedDict[bytes, Facts] = OrderedDict()
        self._new: dict[bytes, str] = {}
        self._kept: set[bytes] = set()

    def of(self, hashes: Iterable[bytes]) -> dict[bytes, Facts]:
        """The facts of these contents; those that the store cannot read are left out."""
        found: dict[bytes, Facts] = {}
        unknown: list[bytes] = []
        for hash_ in dict.fromkeys(hashes):
            facts = self._known.get(hash_) or self._stored(hash_)
            if facts is not None:
                found[hash_] = facts
            else:
                unknown.append(hash_)
        read = self._store.blobs.read_many(unknown)
        unparsed = {hash_: content for hash_, content in read if isinstance(content, bytes)}  # of the others status and fsck tell
        for hash_, text in zip(unparsed, self._parsers.ask(list(unparsed.values())), strict=True) if unparsed else ():
            found[hash_] = Facts.from_json(text)
            if text != UNKNOWN:  # the machine was busy, perhaps: to be asked again some day
                self._new[hash_] = text
        for hash_, facts in found.items():
            self._known[hash_] = facts
            self._known.move_to_end(hash_)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found

    def rest(self) -> None:
        """Keep nothing in memory that the store has."""
        self._known.clear()

    def forget_new(self) -> None:
        """Do not keep what was found anew: nothing is written in a replay."""
        self._new = {}
        self._kept.clear()

    def keep(self, hashes: Iterable[bytes]) -> None:
        """The facts of these are asked for again: by a restore, by who looks at the incident."""
        self._kept.update(hashes)

    def flush(self) -> None:
        """Write what was found anew and is to be kept into the store."""
        self._store.facts.put({hash_: self._new[hash_] for hash_ in self._kept if hash_ in self._new}, VERSION)
        self.forget_new()

    def _stored(self, hash_: bytes) -> Facts | None:
        if hash_ in self._new:
            return Facts.from_json(self._new[hash_])
        text = self._store.facts.get(hash_, VERSION)
        return Facts.from_json(text) if text is not None else None
