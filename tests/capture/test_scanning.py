"""The stat pass: it gives signs of life all the way, however long the disk takes over it."""

import shutil
import time
from pathlib import Path

import pytest

from guardd.capture.capturer import Capturer
from guardd.capture.reading import key_of
from guardd.capture.scanning import scan
from guardd.errors import Interrupted
from guardd.model import Origin, pack_key
from guardd.selection import Selection, SelectionRules
from guardd.store.store import Store

FILES, FOLDERS = 1000, 30


@pytest.fixture
def tree(tmp_path: Path) -> str:
    for number in range(FOLDERS):
        (tmp_path / f"p{number}").mkdir()
    (tmp_path / "many").mkdir()
    for number in range(FILES):
        (tmp_path / "many" / f"m{number}.py").touch()
    return str(tmp_path)


@pytest.mark.parametrize(
    ("folder", "gone", "fewest"),
    [("", 0, FOLDERS + FILES // 100), ("many", 0, FILES // 100), ("p0", FILES, FILES // 100)],
    ids=["each directory", "in a large directory", "over what is gone"],
)
def test_a_scan_gives_a_sign_of_life_every_few_looks_at_the_disk(tree: str, folder: str, gone: int, fewest: int) -> None:
    signs: list[None] = []
    known: dict[str, bytes | None] = {f"p0/gone{number}.py": None for number in range(gone)}
    found = scan(tree, Selection(tree, SelectionRules()), known, folder, go_on=lambda: signs.append(None))
    assert len(found.missing) == gone
    assert len(signs) >= fewest


def test_a_scan_ends_where_the_sign_of_life_says_so(tree: str) -> None:
    def stop() -> None:
        raise Interrupted("guardd was told to stop")

    with pytest.raises(Interrupted):
        scan(tree, Selection(tree, SelectionRules()), {}, go_on=stop)


@pytest.mark.parametrize("path", ["m.py", "sub/m.py"])
def test_an_empty_directory_that_was_so_before_its_files_were_there_is_none_out_of_which_they_were_deleted(
    tmp_path: Path, path: str
) -> None:
    mount_point, real = tmp_path / "repo" / "data", tmp_path / "real"
    mount_point.mkdir(parents=True)
    _until_later(tmp_path)
    (real / path).parent.mkdir(parents=True)
    (real / path).touch()
    known = {f"data/{path}": _packed(real / path)}
    root = str(tmp_path / "repo")
    selection = Selection(root, SelectionRules())
    found = scan(root, selection, dict(known))
    assert (found.unmounted, found.missing) == ({"data"}, [])
    (mount_point / "x.txt").touch()
    (mount_point / "x.txt").unlink()
    found = scan(root, selection, dict(known))
    assert (found.unmounted, [one.path for one in found.missing]) == (set(), [f"data/{path}"])


@pytest.mark.parametrize(("seen_s_ago", "is_unmounted"), [(0, True), (3 * 3600, False), (-30 * 86_400, False)])
def test_old_files_that_were_seen_since_an_empty_directory_changed_were_never_in_it(
    tmp_path: Path, seen_s_ago: int, is_unmounted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.py").touch()
    known = {"data/m.py": _packed(tmp_path / "m.py")}
    _until_later(tmp_path)
    (tmp_path / "repo" / "data").mkdir(parents=True)
    root = str(tmp_path / "repo")
    now_ns = time.time_ns() + 2 * 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: now_ns)
    seen_ns = now_ns - seen_s_ago * 10**9
    found = scan(root, Selection(root, SelectionRules()), dict(known), seen_ns=seen_ns)
    assert bool(found.unmounted) is is_unmounted
    assert bool(found.missing) is not is_unmounted


@pytest.mark.parametrize("folder", ["", "pkg"])
def test_an_empty_root_that_was_made_since_it_was_scanned_never_held_the_files(tmp_path: Path, folder: str) -> None:
    root = tmp_path / "repo"
    (root / "pkg").mkdir(parents=True)
    (root / "pkg/m.py").touch()
    known = {"pkg/m.py": _packed(root / "pkg/m.py")}

    def scanned(root_seen_ns: int) -> tuple[set[str], list[str]]:
        found = scan(str(root), Selection(str(root), SelectionRules()), dict(known), folder, root_seen_ns=root_seen_ns)
        return found.unmounted, [one.path for one in found.missing]

    seen_ns = _until_later(tmp_path)
    _until_later(tmp_path)
    root.rename(tmp_path / "away")
    root.mkdir()
    assert scanned(seen_ns) == ({""}, [])
    assert scanned(time.time_ns()) == (set(), ["pkg/m.py"]), "it was there when all was last seen"
    assert scanned(0) == (set(), ["pkg/m.py"]), "no one knows"
    (root / "data.txt").touch()
    assert scanned(seen_ns) == (set(), ["pkg/m.py"])
    shutil.rmtree(root)
    shutil.rmtree(tmp_path / "away/pkg")
    (tmp_path / "away").rename(root)
    assert scanned(seen_ns) == (set(), ["pkg/m.py"]), "it is the one that held them"


def test_what_a_moved_directory_brought_or_took_is_dated_by_the_move(tmp_path: Path) -> None:
    root, aside = tmp_path / "repo", tmp_path / "aside"
    for path in ("stays.py", "kept/a.py", "kept/sub/b.py", "moved/deep/c.py", "replaced/sub/d.py", "replaced/sub/e.py"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    (aside / "sub").mkdir(parents=True)
    (aside / "sub" / "d.py").touch()
    (aside / "sub" / "f.py").touch()
    known: dict[str, bytes | None] = {str(path.relative_to(root)): _packed(path) for path in root.rglob("*.py")}
    (root / "kept/sub/new.py").touch()
    (root / "kept/a.py").write_bytes(b"a = 1\n")
    _until_later(tmp_path)
    between_ns = (tmp_path / "tick").stat().st_ctime_ns
    _until_later(tmp_path)
    (root / "moved").rename(root / "elsewhere")
    (root / "replaced").rename(tmp_path / "gone")
    aside.rename(root / "replaced")
    found = scan(str(root), Selection(str(root), SelectionRules()), known)
    after = {one.path: one.changed_ns > between_ns for one in found.differing + found.missing}
    assert after == {
        "kept/a.py": False, "kept/sub/new.py": False, "elsewhere/deep/c.py": True, "moved/deep/c.py": True,
        "replaced/sub/d.py": True, "replaced/sub/e.py": True, "replaced/sub/f.py": True,
    }  # fmt: skip


def _packed(path: Path) -> bytes:
    key = key_of(path.stat())
    return pack_key(key.dev, key.ino, key.size, key.mtime_ns, key.ctime_ns)


def _until_later(folder: Path) -> int:
    """Until a file gets a later time than those that are there; that time."""
    first = folder / "tick"
    first.touch()
    begun = first.stat().st_ctime_ns
    while first.stat().st_ctime_ns == begun:
        first.touch()
    return first.stat().st_ctime_ns


@pytest.mark.parametrize("key", [b"", b"\xff\0", bytes(39)])
def test_a_damaged_key_costs_a_look_and_no_more(tmp_path: Path, key: bytes) -> None:
    root = tmp_path / "repo"
    (root / "gone").mkdir(parents=True)
    for path in ("a.py", "gone/b.py"):
        (root / path).touch()
    with Store(str(tmp_path / "state"), create=True) as store:
        capturer = Capturer(store, store.repos.add(str(root), SelectionRules()))
        capturer.scan(Origin.SCAN)
        store.db.run("UPDATE paths SET stat = ?, racy = 0", (key,))
        (root / "a.py").write_bytes(b"a = 1\n")
        (root / "gone/b.py").unlink()
        found, looked = capturer.scan(Origin.SCAN)
        capturer.close()
        assert not found.unmounted
        assert sorted(looked.written) == ["a.py", "gone/b.py"]
