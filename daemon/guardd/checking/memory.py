"""What is remembered of the files on disk, so that those which have not changed need not be read again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from blake3 import blake3

from guardd.errors import StoreError
from guardd.model import RepoPath
from guardd.store.repos import Repo
from guardd.store.store import Store
from guardd.store.trees import blobs_at

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Look:
    """A look at files: the packed StatKey of each that had one which can be trusted, and the address of its content."""

    keys: dict[RepoPath, bytes | None] = field(default_factory=dict)
    addresses: dict[RepoPath, bytes] = field(default_factory=dict)


class Memory(Protocol):
    """Where looks are kept."""

    def recall(self) -> Look:
        """The last look."""

    def keep(self, look: Look) -> None:
        """Remember this one instead."""


class LogMemory:
    """The log of a guarded repo, which captures keep: a check only reads it."""

    def __init__(self, store: Store, repo: Repo) -> None:
        self._store = store
        self._repo = repo

    def recall(self) -> Look:
        """The present heads."""
        heads = blobs_at(self._store, self._repo.id)
        return Look({path: key for path, key in self._store.log.keys(self._repo.id).items() if path in heads}, heads)

    def keep(self, look: Look) -> None:
        """Nothing: what is not captured yet is a capture's to tell."""


class CheckMemory:
    """A tree that no one guards, beside what was found in its contents. `how` tells ways to address contents apart."""

    def __init__(self, store: Store, root: str, how: str) -> None:
        self._store = store
        self._key = blake3(repr(("tree", how, root)).encode("utf-8", "surrogatepass")).digest()

    def recall(self) -> Look:
        """The look that was kept; an empty one where there is none, or the store cannot tell."""
        try:
            text = self._store.checked.get([self._key], _VERSION).get(self._key)
        except StoreError:
            text = None
        if text is None:
            return Look()
        known: Mapping[RepoPath, tuple[str, str]] = json.loads(text)
        return Look(
            {path: bytes.fromhex(key) for path, (key, _) in known.items()},
            {path: bytes.fromhex(address) for path, (_, address) in known.items()},
        )

    def keep(self, look: Look) -> None:
        """Remember the files whose keys can be trusted."""
        known = {path: (key.hex(), look.addresses[path].hex()) for path, key in look.keys.items() if key is not None}
        try:
            self._store.checked.put({self._key: json.dumps(known, separators=(",", ":"))}, _VERSION)
        except StoreError:  # full, read-only, in use by others for long: it is but a cache
            return
