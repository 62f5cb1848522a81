"""The import counts of a restore: exact where that is known soon, and no reason to wait for a tree that no one has looked at."""

from pathlib import Path

from guardd.analysis.sources import VERSION, Parsers
from guardd.checking.check import Conditions
from guardd.checking.facts import TreeFacts
from guardd.checking.trees import LogTree
from guardd.model import FileState, Kind, Moment, Origin, RepoPath
from guardd.recovery.resolving import count_imports
from guardd.selection import SelectionRules
from guardd.store.appending import Observation
from guardd.store.codec import digest, encode
from guardd.store.repos import Repo
from guardd.store.store import Store

OTHERS = {f"other{number}.py": f"from lib import new\nNUMBER = {number}\n".encode() for number in range(60)}


def record(store: Store, repo: Repo, files: dict[RepoPath, bytes]) -> dict[RepoPath, FileState]:
    states = {path: FileState(Kind.FILE, digest(content), len(content), 0o644) for path, content in files.items()}
    seen = [
        Observation(path, store.log.head(repo.id, path).seq, states[path], content=encode(states[path].blob, content))
        for path, content in files.items()
    ]
    store.log.record(repo.id, seen, Origin.WATCH, Moment(10**18, 10**9, "boot"))
    return states


def test_a_small_restore_waits_for_no_tree_that_no_one_has_looked_at(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    with Store(str(tmp_path / "state"), create=True) as store:
        repo = store.repos.add(str(tmp_path), SelectionRules())
        how = Conditions(repo.path)
        damaged = record(store, repo, {"lib.py": b"def new():\n    return 2\n"} | OTHERS)
        record(store, repo, {"lib.py": b"def old():\n    return 1\n"})
        replaced = {"lib.py": damaged["lib.py"]}

        counted = count_imports(store, repo, how, replaced)
        assert counted is not None
        assert (counted.before, counted.after, counted.whole_tree) == (0, 0, False)
        assert not any(store.facts.get(damaged[path].blob, VERSION) for path in OTHERS)

        tree = LogTree(store, repo.id, repo.path)
        with Parsers() as parsers:
            TreeFacts(parsers, store).learn(tree, tree.blobs())
        counted = count_imports(store, repo, how, replaced)
        assert counted is not None
        assert (counted.before, counted.after, counted.whole_tree) == (0, len(OTHERS), True)
        assert counted.new == tuple((path, "lib has no 'new'") for path in sorted(OTHERS))
