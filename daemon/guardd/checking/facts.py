"""The facts of the contents of trees, by hash: from memory, from a store, or from the parsing processes."""

from collections.abc import Iterable, Sequence
from itertools import islice

from guardd.analysis.sources import UNKNOWN, VERSION, Facts, Parsers
from guardd.checking.trees import Tree
from guardd.errors import GuardError, StoreError
from guardd.model import RepoPath
from guardd.store.store import Store

_AT_ONCE = 400
"""Contents that are in memory at one time while they are parsed."""


class TreeFacts:
    """The facts of the files of trees. Without a store, or with one that cannot be written, nothing is remembered for later.

    `deadline` (time.monotonic): what was not parsed by then has unknown facts, and `in_time` turns false.
    """

    def __init__(self, parsers: Parsers, store: Store | None = None, deadline: float | None = None) -> None:
        self._parsers = parsers
        self._store = store
        self._deadline = deadline
        self._known: dict[bytes, Facts] = {}
        self.in_time = True

    def learn(self, tree: Tree, paths: Iterable[RepoPath]) -> None:
        """Find the facts of these files of a tree, many at once: one by one they take much longer."""
        blobs = tree.blobs()
        wanted = {blobs[path]: path for path in paths if path in blobs and path.endswith((".py", ".pyi"))}
        unknown = iter([(hash_, path) for hash_, path in wanted.items() if not self._recall(hash_)])
        while batch := list(islice(unknown, _AT_ONCE)):
            self._parse(tree, batch)

    def of(self, tree: Tree, path: RepoPath) -> Facts | None:
        """The facts of one file of a tree; None where it is none of Python's, or cannot be read."""
        hash_ = tree.blobs().get(path)
        if hash_ is None:
            return None
        if hash_ not in self._known:
            self.learn(tree, [path])
        return self._known.get(hash_)

    def _recall(self, hash_: bytes) -> bool:
        if hash_ not in self._known and self._store is not None:
            text = self._store.facts.get(hash_, VERSION)
            if text is not None:
                self._known[hash_] = Facts.from_json(text)
        return hash_ in self._known

    def _parse(self, tree: Tree, batch: Sequence[tuple[bytes, RepoPath]]) -> None:
        contents: dict[bytes, bytes] = {}
        for hash_, path in batch:
            try:
                contents[hash_] = tree.read(path)
            except GuardError:  # gone, or damaged in the store, which fsck tells of
                continue
        answers = self._parsers.ask(list(contents.values()), self._deadline) if contents else []
        found = dict(zip(contents, answers, strict=True))
        self._known.update((hash_, Facts.from_json(text)) for hash_, text in found.items())
        if self._deadline is not None and UNKNOWN in answers:  # it may be for want of time: ask again some other day
            self.in_time = False
            found = {hash_: text for hash_, text in found.items() if text != UNKNOWN}
        self._keep(found)

    def _keep(self, found: dict[bytes, str]) -> None:
        if self._store is None:
            return
        try:
            with self._store.db.transaction():
                self._store.facts.put(found, VERSION)
        except StoreError:
            self._store = None
