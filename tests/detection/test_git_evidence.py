"""Git's own files read without git: held against the real one."""

import os
import subprocess
from pathlib import Path

import pytest

from guardd.detection.benign.git import GitEvidence, Held

NEVER = 1 << 62


def git(cwd: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@b", "-c", "gc.auto=0", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


def holds(evidence: GitEvidence, path: str, content: bytes, written_ns: int = NEVER) -> bool:
    return evidence.holds(path, lambda: content, written_ns, len(content), written_ns=written_ns) is Held.YES


@pytest.fixture(params=["2", "3", "4", "sha256", "packed", "worktree", "subdirectory"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A work tree with a commit, in each of the forms that git may keep it."""
    root = tmp_path / "repo"
    root.mkdir()
    git(root, "init", "-q", *(["--object-format=sha256"] if request.param == "sha256" else []))
    for number in range(40):
        path = root / f"pkg/sub{number % 3}/module_with_a_name_{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x = %d\n" % number)
    git(root, "add", "-A")
    if request.param in "234":
        git(root, "update-index", "--index-version", request.param)
    if request.param == "3":
        (root / "intended.py").write_bytes(b"later\n")
        git(root, "add", "-N", "intended.py")
    git(root, "commit", "-qm", "one")
    if request.param == "packed":
        git(root, "gc", "-q", "--prune=now")
    if request.param == "worktree":
        git(root, "worktree", "add", "-q", str(tmp_path / "linked"))
        return tmp_path / "linked"
    return root / "pkg" if request.param == "subdirectory" else root


def test_every_committed_content_is_held_and_no_other(tree: Path) -> None:
    evidence = GitEvidence(str(tree))
    paths = [path for path in tree.rglob("*.py") if path.name != "intended.py"]
    assert len(paths) == 40
    for path in paths:
        name = path.relative_to(tree).as_posix()
        assert holds(evidence, name, path.read_bytes())
        assert not holds(evidence, name, path.read_bytes() + b"# REMOVED\n")
        assert not evidence.removed(name, path.read_bytes, 0)
        stat = path.stat()
        known = evidence.holds(
            name, lambda: b"not asked for: the index knows it", stat.st_mtime_ns, stat.st_size, written_ns=NEVER
        )
        assert known is Held.YES


def test_what_git_removes_is_told_from_what_someone_else_does(tree: Path) -> None:
    evidence = GitEvidence(str(tree))
    by_git, by_hand = sorted(path for path in tree.rglob("*.py") if path.name != "intended.py")[:2]
    contents = {path: path.read_bytes() for path in (by_git, by_hand)}
    git(tree, "rm", "-q", str(by_git.relative_to(tree)))
    by_hand.unlink()
    assert evidence.removed(by_git.relative_to(tree).as_posix(), lambda: contents[by_git], 0)
    assert not evidence.removed(by_hand.relative_to(tree).as_posix(), lambda: contents[by_hand], 0)


def test_what_is_added_to_git_after_it_was_written_is_not_excused(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_bytes(b"damaged\n")
    written = tmp_path.joinpath("a.py").stat().st_mtime_ns
    os.utime(tmp_path / "a.py", ns=(written - 1_000_000_000, written - 1_000_000_000))
    git(tmp_path, "add", "-A")
    evidence = GitEvidence(str(tmp_path))
    assert not holds(evidence, "a.py", b"damaged\n", written - 1_000_000_000)
    assert evidence.holds("a.py", lambda: b"damaged\n", written - 1_000_000_000, 8, written_ns=None) is Held.YES
    born = max(one.stat().st_mtime_ns for one in (tmp_path / ".git/objects").rglob("*") if one.is_file())
    at_once = [evidence.holds("a.py", lambda: b"damaged\n", 0, 0, written_ns=born + ns) for ns in (-1, 0, 4_000_000, 20_000_000)]
    assert at_once == [Held.NO, Held.UNSURE, Held.UNSURE, Held.YES], "within a tick of the clock no one can tell which came first"


def test_what_git_has_for_another_path_only_excuses_nothing(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    for name, content in (("a.py", b"a = 1\n"), ("b.py", b"b = 1\n"), ("empty.py", b"")):
        (tmp_path / name).write_bytes(content)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    (tmp_path / "a.py").write_bytes(b"a = 2\n")
    git(tmp_path, "stash", "-q")
    evidence = GitEvidence(str(tmp_path))
    assert holds(evidence, "a.py", b"a = 1\n")
    assert holds(evidence, "a.py", b"a = 2\n"), "a stash is in no index"
    assert holds(evidence, "empty.py", b"")
    assert not holds(evidence, "a.py", b"")
    assert not holds(evidence, "a.py", b"b = 1\n")


def test_a_sparse_checkout_takes_away_what_its_index_still_names(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    for name in ("kept/a.py", "gone/b.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(name.encode())
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    git(tmp_path, "sparse-checkout", "set", "kept")
    assert not (tmp_path / "gone/b.py").exists()
    evidence = GitEvidence(str(tmp_path))
    assert evidence.removed("gone/b.py", lambda: b"gone/b.py", 0)
    assert not evidence.removed("kept/a.py", lambda: b"kept/a.py", 0)


def test_contents_that_git_converts_are_known_by_what_its_index_says(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitattributes").write_text("*.py ident\n")
    (tmp_path / "a.py").write_bytes(b"# $Id$\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    (tmp_path / "a.py").unlink()
    git(tmp_path, "checkout", "-q", "--", "a.py")
    content, stat = (tmp_path / "a.py").read_bytes(), (tmp_path / "a.py").stat()
    assert content.startswith(b"# $Id: ")
    evidence = GitEvidence(str(tmp_path))
    held = evidence.holds("a.py", lambda: content, stat.st_mtime_ns, stat.st_size, written_ns=NEVER)
    assert held is Held.YES
    git(tmp_path, "rm", "-q", "a.py")
    assert evidence.removed("a.py", lambda: content, stat.st_mtime_ns)


@pytest.mark.parametrize("index", [b"", b"DIRC", b"DIRC\0\0\0\2\0\0\0\xff" + b"x" * 70, b"\xff" * 4000])
def test_a_torn_index_is_no_evidence_and_no_error(tmp_path: Path, index: bytes) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".git/index").write_bytes(index)
    (tmp_path / ".git/objects/pack/pack-1.idx").write_bytes(index)
    evidence = GitEvidence(str(tmp_path))
    assert not holds(evidence, "a.py", b"x\n")
    assert not evidence.is_conflicted("a.py")
    assert not evidence.is_busy("a.py")
    (tmp_path / ".git/index.lock").touch()
    assert evidence.is_busy("a.py")
    os.utime(tmp_path / ".git/index.lock", (1, 1))
    assert not evidence.is_busy("a.py"), "a git that died left it"
    os.utime(tmp_path / ".git/index.lock", (1 << 32, 1 << 32))
    assert not evidence.is_busy("a.py"), "left under a clock that was set"


def test_a_tree_without_git_has_no_evidence(tmp_path: Path) -> None:
    evidence = GitEvidence(str(tmp_path))
    assert not holds(evidence, "a.py", b"")
    assert not evidence.removed("a.py", lambda: b"", 0)
