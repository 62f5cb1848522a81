"""What is known of the files of trees, by the hash of their contents: from memory, from a store, or by a look at them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice

from guardd.analysis.markers import DEFAULT_MARKERS, marker_pattern
from guardd.analysis.sources import UNKNOWN, VERSION, Facts, Import, Parsers
from guardd.analysis.undefined import undefined_names
from guardd.checking.content import Content, Trouble, to_json, troubles_of, version_of
from guardd.checking.trees import Tree
from guardd.errors import GuardError, StoreError
from guardd.model import PYTHON, RepoPath
from guardd.store.store import Store

_AT_ONCE = 400
"""Contents that are in memory at one time while they are parsed."""


class TreeFacts:
    """What is known of the files of trees. Without a store, or with one that cannot be written, nothing is kept for later.

    `deadline` (time.monotonic; may be moved): what was not parsed by then has unknown facts, and `in_time` turns false. It is for
    those who want no more than facts, and soon: `troubles` may lack what is not known yet.
    """

    def __init__(self, parsers: Parsers, store: Store | None = None, deadline: float | None = None) -> None:
        self._parsers = parsers
        self._store = store
        self.deadline = deadline
        self._known: dict[bytes, Content] = {}
        self._whole: dict[bytes, Facts] = {}
        self.in_time = True
        self.judge_by(DEFAULT_MARKERS)

    def judge_by(self, markers: Sequence[str]) -> None:
        """Take these markers from now on; the default ones are taken without."""
        self._markers = marker_pattern(markers)
        self._known = {}
        self._version = version_of(markers)

    def learn(self, tree: Tree, paths: Iterable[RepoPath]) -> None:
        """Look at these files of a tree, many at once: one by one they take much longer."""
        self._look_at(tree, self.recall(tree, paths))

    def recall(self, tree: Tree, paths: Iterable[RepoPath]) -> dict[bytes, RepoPath]:
        """Remember what was kept of these files of a tree; the contents, each with a file, that are not known by now."""
        unknown = {hash_: path for hash_, path in _python(tree, paths).items() if hash_ not in self._known}
        kept = self._kept(unknown) if unknown else {}
        for hash_, content in zip(kept, Content.all_from_json(kept.values()), strict=True):
            self._known[hash_] = content
            del unknown[hash_]
        return unknown

    def without_facts(self, hashes: Iterable[bytes]) -> set[bytes]:
        """Those of these contents that would have to be parsed."""
        wanted = set(hashes)
        return wanted - self._ask(lambda store: store.facts.get_many(wanted, VERSION)).keys()

    def learn_whole(self, tree: Tree, paths: Iterable[RepoPath]) -> None:
        """Look at these files so closely that they can be compared with others."""
        self._look_at(tree, {hash_: path for hash_, path in _python(tree, paths).items() if hash_ not in self._whole}, whole=True)

    def of(self, tree: Tree, path: RepoPath) -> Facts | None:
        """The facts of one file, without those that a comparison needs; None where it is no Python, or cannot be read."""
        content = self._content(tree, path)
        return content.facts if content is not None else None

    def imports(self, tree: Tree, path: RepoPath) -> tuple[Import, ...]:
        """The imports of one file, without those that may fail; none of one that does not parse."""
        content = self._content(tree, path)
        return content.imports if content is not None else ()

    def is_repathed(self, tree: Tree, path: RepoPath) -> bool:
        """Whether one file changes where its imports start from."""
        content = self._content(tree, path)
        return content is not None and content.repathed

    def whole(self, tree: Tree, path: RepoPath) -> Facts | None:
        """All facts of one file; None as in `of`."""
        hash_ = tree.blobs().get(path, b"")
        if hash_ not in self._whole:
            self.learn_whole(tree, [path])
        return self._whole.get(hash_)

    def troubles(self, tree: Tree, path: RepoPath) -> tuple[Trouble, ...]:
        """What is wrong with the content of one file by itself."""
        if path.endswith(PYTHON):
            content = self._content(tree, path)
            return content.troubles if content is not None else ()
        try:
            return tuple(troubles_of(tree.read(path), None, self._markers))
        except GuardError:
            return ()

    def _content(self, tree: Tree, path: RepoPath) -> Content | None:
        hash_ = tree.blobs().get(path, b"")
        if hash_ not in self._known:
            self.learn(tree, [path])
        return self._known.get(hash_)

    def _kept(self, hashes: Iterable[bytes]) -> dict[bytes, bytes]:
        return self._ask(lambda store: store.checked.get(hashes, self._version))

    def _ask(self, ask: Callable[[Store], dict[bytes, bytes]]) -> dict[bytes, bytes]:
        """What the store answers. One that cannot (full, read-only, damaged, in use for long) is done without: it is a cache."""
        try:
            return ask(self._store) if self._store is not None else {}
        except StoreError:
            self._store = None
            return {}

    def _look_at(self, tree: Tree, wanted: Mapping[bytes, RepoPath], *, whole: bool = False) -> None:
        left = iter(wanted.items())
        while batch := dict(islice(left, _AT_ONCE)):
            texts = self._stored_facts(batch)
            is_enough = self.deadline is not None and not whole
            unread = {hash_: path for hash_, path in batch.items() if hash_ not in texts} if is_enough else batch
            contents = _read(tree, unread)
            unparsed = {hash_: content for hash_, content in contents.items() if hash_ not in texts}
            parsed = (
                dict(zip(unparsed, self._parsers.ask(list(unparsed.values()), self.deadline), strict=True)) if unparsed else {}
            )
            self._keep_facts(parsed)
            if is_enough:
                self._take_soon(texts | parsed)
            else:
                self._take(contents, {hash_: texts.get(hash_) or parsed[hash_] for hash_ in contents}, whole=whole)

    def _stored_facts(self, hashes: Iterable[bytes]) -> dict[bytes, str]:
        """The facts of contents as JSON: those that detection, checks and restores have kept."""
        stored = self._ask(lambda store: store.facts.get_many(hashes, VERSION))
        return {hash_: text.decode() for hash_, text in stored.items()}

    def _take_soon(self, texts: Mapping[bytes, str]) -> None:
        self.in_time = self.in_time and UNKNOWN not in texts.values()
        self._known |= {hash_: Content.from_json(to_json(text, ())) for hash_, text in texts.items()}

    def _take(self, contents: Mapping[bytes, bytes], texts: Mapping[bytes, str], *, whole: bool) -> None:
        found = {hash_: Facts.from_json(text) for hash_, text in texts.items()}
        if whole:
            self._whole |= found
        if self.deadline is not None:
            self._take_soon(texts)
            return
        undefined = undefined_names({hash_: (contents[hash_], facts) for hash_, facts in found.items()})
        told: dict[bytes, str] = {}
        for hash_, facts in found.items():
            troubles = tuple(troubles_of(contents[hash_], facts, self._markers, (undefined or {}).get(hash_, ())))
            told[hash_] = to_json(texts[hash_], troubles)
            self._known[hash_] = Content.from_json(told[hash_])
        if undefined is not None:
            self._keep({hash_: text for hash_, text in told.items() if texts[hash_] != UNKNOWN})

    def _keep(self, told: Mapping[bytes, str]) -> None:
        def keep(store: Store) -> dict[bytes, bytes]:
            store.checked.put(told, self._version)
            return {}

        self._ask(keep)

    def _keep_facts(self, parsed: Mapping[bytes, str]) -> None:
        """Whole facts are kept of what the store holds, so that they go with it; what no parser could tell is asked again."""
        sure = {hash_: text for hash_, text in parsed.items() if text != UNKNOWN}  # else the machine was busy, perhaps

        def keep(store: Store) -> dict[bytes, bytes]:
            with store.db.transaction():
                store.facts.put({hash_: sure[hash_] for hash_ in store.blobs.held(sure)}, VERSION)
            return {}

        if sure:
            self._ask(keep)


def _read(tree: Tree, wanted: Mapping[bytes, RepoPath]) -> dict[bytes, bytes]:
    contents: dict[bytes, bytes] = {}
    for hash_, path in wanted.items():
        with suppress(GuardError):  # gone, too large, or damaged in the store, which fsck tells of
            contents[hash_] = tree.read(path)
    return contents


def _python(tree: Tree, paths: Iterable[RepoPath]) -> dict[bytes, RepoPath]:
    blobs = tree.blobs()
    return {blobs[path]: path for path in paths if path in blobs and path.endswith(PYTHON)}
