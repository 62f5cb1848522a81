"""Frames: neighbouring files compressed together are read one by one, outlive each other, and go when they must."""

import random
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from benchmarks.make_tree import copy_packages
from hypothesis import given
from hypothesis import strategies as st

from guardd import clock
from guardd.capture.capturer import Capturer
from guardd.errors import GuardError, StoreError
from guardd.model import Moment, Origin
from guardd.selection import SelectionRules
from guardd.store.codec import DENSE, FRAME_BYTES, QUICK, Codec, Frame, FrameReader, digest, divide, pack
from guardd.store.repos import Repo
from guardd.store.retention import DAY_NS, Policy
from guardd.store.soundness import Damage, check, repair
from guardd.store.space import collect, compact, purge
from guardd.store.store import Store

ALL = Policy(0, 0, 0, 1 << 40)


def in_years() -> Moment:
    now = clock.now()
    return now._replace(wall_ns=now.wall_ns + 800 * DAY_NS, boot_ns=now.boot_ns + 800 * DAY_NS)


class Captured:
    """A small real tree, with its baseline in a store."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tree"
        copy_packages(self.root, ["asyncio", "email"])
        self.store = Store(str(folder / "state"), create=True)
        self.repo: Repo = self.store.repos.add(str(self.root), SelectionRules())
        self.capture()

    def capture(self) -> None:
        capturer = Capturer(self.store, self.repo)
        capturer.scan(Origin.SCAN)
        capturer.close()

    def contents(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*.py")}

    def stored(self) -> dict[str, bytes]:
        paths = self.store.log.paths(self.repo.id)
        heads = self.store.log.heads(self.repo.id, paths)
        read = dict(self.store.blobs.read_many(head.state.blob for head in heads.values() if head.state.present))
        found = {path: read[head.state.blob] for path, head in heads.items() if head.state.present}
        return {path: content for path, content in found.items() if isinstance(content, bytes)}

    def frames(self) -> list[Frame]:
        return [Frame(*row) for row in self.store.db.rows("SELECT size, level, data FROM frames")]


@pytest.fixture
def captured(tmp_path: Path) -> Iterator[Captured]:
    made = Captured(tmp_path)
    yield made
    made.store.close()


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=30))
def test_each_content_lies_in_its_frame_where_its_blob_says(contents: list[bytes]) -> None:
    packed = pack([(digest(content), content) for content in contents])
    frame = packed[0].frame
    assert frame is not None
    reader = FrameReader(frame)
    assert [reader.part(blob.place, blob.size) for blob in packed] == contents
    assert [FrameReader(frame).part(blob.place, blob.size) for blob in reversed(packed)] == contents[::-1]


@given(st.lists(st.integers(0, FRAME_BYTES // 2), max_size=60))
def test_contents_are_divided_in_their_order_into_parts_of_about_a_frame(sizes: list[int]) -> None:
    contents = [(b"%d" % number, bytes(size)) for number, size in enumerate(sizes)]
    parts = divide(contents)
    assert [one for part in parts for one in part] == contents
    assert all(parts)
    assert all(sum(len(content) for _, content in part) <= 2.1 * FRAME_BYTES for part in parts)
    assert len(parts) <= 1 + sum(sizes) / FRAME_BYTES


@pytest.mark.promise("errors become a state", "a zstd bomb for a frame")
def test_a_bomb_in_a_frame_unpacks_to_no_more_than_the_frame_says() -> None:
    frame = pack([(b"", bytes(50_000_000))])[0].frame
    assert frame is not None
    assert FrameReader(Frame(1000, 1, frame.data)).part(0, 50_000_000) == bytes(1000)
    assert FrameReader(Frame(1000, 1, frame.data[:8])).part(0, 1000) == b""


def test_a_baseline_goes_into_few_frames_and_each_file_reads_back(captured: Captured) -> None:
    assert captured.stored() == captured.contents()
    assert 1 <= len(captured.frames()) <= 2
    whole = captured.store.db.value("SELECT count(*) FROM blobs WHERE codec <> ?", (Codec.FRAME,))
    assert whole == 0
    assert list(check(captured.store)) == []


def test_an_edit_is_a_delta_against_a_part_of_a_frame(captured: Captured) -> None:
    edited = captured.root / "asyncio" / "tasks.py"
    edited.write_bytes(edited.read_bytes() + b"\nedited = True\n")
    captured.capture()
    assert captured.store.db.value("SELECT max(length(data)) FROM blobs WHERE codec = ?", (Codec.DELTA,)) < 200
    assert captured.stored() == captured.contents()


def test_the_same_content_in_many_files_is_kept_once_also_while_batches_are_under_way(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(700):
        (root / f"copy_{number}.py").write_bytes(b"content = %d\n" % (number % 20) * 100)
    store = Store(str(tmp_path / "state"), create=True)
    Capturer(store, store.repos.add(str(root), SelectionRules())).scan(Origin.SCAN)
    assert store.size().blobs == 20
    assert store.db.value("SELECT sum(size) FROM frames") == sum(len(b"content = %d\n" % number) * 100 for number in range(20))
    store.close()


def test_a_frame_is_written_anew_once_less_than_half_of_it_is_needed(captured: Captured) -> None:
    kept = sorted(captured.contents())[::5]
    before = sum(len(frame.data) for frame in captured.frames())
    for path in captured.contents().keys() - set(kept):
        (captured.root / path).unlink()
    captured.capture()
    collect(captured.store, ALL, in_years())
    assert captured.stored() == captured.contents()
    assert sorted(captured.stored()) == kept
    assert sum(len(frame.data) for frame in captured.frames()) < before / 2
    assert list(check(captured.store)) == []


def test_purge_takes_a_secret_out_of_its_frame_and_leaves_the_neighbours(captured: Captured) -> None:
    secret = (captured.root / "asyncio" / "locks.py").read_bytes()
    assert any(secret in FrameReader(frame).part(0, frame.size) for frame in captured.frames())
    purge(captured.store, captured.repo.id, ["asyncio/locks.py"])
    assert not any(secret in FrameReader(frame).part(0, frame.size) for frame in captured.frames())
    neighbours = captured.contents()
    del neighbours["asyncio/locks.py"]
    assert captured.stored() == neighbours


def test_of_a_damaged_frame_what_lies_before_the_damage_stays_and_fsck_names_the_rest(captured: Captured) -> None:
    chance = random.Random(1)
    with apsw.Connection(captured.store.path) as db:
        frame_id, data = db.execute("SELECT id, data FROM frames ORDER BY length(data) DESC").fetchone()
        middle = len(data) * 2 // 3
        db.execute(
            "UPDATE frames SET data = ? WHERE id = ?", (data[:middle] + chance.randbytes(40) + data[middle + 40 :], frame_id)
        )
    captured.store.blobs.let_go()
    whole = captured.stored()
    damages = list(check(captured.store))
    named = {path for damage in damages for _, path in damage.versions}
    assert named == captured.contents().keys() - whole.keys()
    assert named
    assert len(whole) > len(named) / 3, "what lies before the damage can be read"
    assert all(content == captured.contents()[path] for path, content in whole.items())
    repair(captured.store, damages)
    assert list(check(captured.store)) == []
    captured.capture()
    assert captured.stored() == captured.contents(), "what is on disk comes back with the next scan"


def test_a_thrifty_look_for_bases_leaves_out_frames_of_which_little_is_asked_for(captured: Captured) -> None:
    blobs = captured.store.blobs
    heads = [head.state.blob for head in captured.store.log.heads(captured.repo.id, captured.contents()).values()]
    blobs.let_go()
    assert blobs.bases(heads[:1], thrifty=True) == {}
    assert blobs.bases(heads, thrifty=True).keys() == set(heads)
    assert blobs.bases(heads[:1], thrifty=True).keys() == set(heads[:1]), "its frame is at hand"


def test_many_are_read_with_the_reason_of_each_that_cannot_be(captured: Captured) -> None:
    some = [head.state.blob for head in captured.store.log.heads(captured.repo.id, list(captured.contents())[:300]).values()]
    read = dict(captured.store.blobs.read_many([*some, b"none such" * 3]))
    assert isinstance(read.pop(b"none such" * 3), GuardError)
    assert {hash_: digest(content) for hash_, content in read.items() if isinstance(content, bytes)} == {one: one for one in some}


def test_large_files_are_captured_without_a_frame_growing_beyond_bounds(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(30):
        (root / f"large_{number}.py").write_bytes(random.Random(number).randbytes(900_000))
    store = Store(str(tmp_path / "state"), create=True)
    _, looked = Capturer(store, store.repos.add(str(root), SelectionRules())).scan(Origin.SCAN)
    assert len(looked.written) == 30
    assert store.db.value("SELECT max(size) FROM frames") <= 2.1 * FRAME_BYTES
    assert list(check(store)) == []
    store.close()


def test_what_gc_puts_elsewhere_while_it_is_read_still_reads(captured: Captured) -> None:
    kept = sorted(captured.contents())[::5]
    for path in captured.contents().keys() - set(kept):
        (captured.root / path).unlink()
    captured.capture()
    heads = captured.store.log.heads(captured.repo.id, kept).values()
    captured.store.blobs.let_go()
    reading = captured.store.blobs.read_many([head.state.blob for head in heads])
    found = dict([next(reading)])
    captured.store.blobs.let_go()
    with Store(captured.store.state_dir) as other:
        collect(other, ALL, in_years())
    found |= dict(reading)
    assert all(isinstance(content, bytes) and digest(content) == hash_ for hash_, content in found.items())


def test_repair_takes_nothing_away_that_reads_by_now(captured: Captured) -> None:
    blob = captured.store.log.head(captured.repo.id, "asyncio/locks.py").state.blob
    repair(captured.store, [Damage("as it looked while gc was at work", blob=blob)])
    assert captured.stored() == captured.contents()


def test_what_was_lost_and_is_on_disk_still_comes_back_into_as_few_frames(captured: Captured) -> None:
    with apsw.Connection(captured.store.path) as db:
        db.execute("UPDATE frames SET data = zeroblob(length(data))")
    captured.store.blobs.let_go()
    repair(captured.store, list(check(captured.store)))
    captured.capture()
    assert captured.stored() == captured.contents()
    assert len(captured.frames()) <= 2


def test_a_damaged_size_is_damage_and_not_a_crash(captured: Captured) -> None:
    (captured.root / "single.py").write_bytes(b"value = 1\n" * 50)
    captured.capture()
    with apsw.Connection(captured.store.path) as db:
        db.execute("UPDATE blobs SET size = ? WHERE codec = ?", ((1 << 63) - 1, Codec.ZSTD))
    assert {path for damage in check(captured.store) for _, path in damage.versions} == {"single.py"}


def test_frames_are_compressed_densely_when_there_is_time_and_no_reader_notices(captured: Captured) -> None:
    before = sum(len(frame.data) for frame in captured.frames())
    assert {frame.level for frame in captured.frames()} == {QUICK}
    assert compact(captured.store, lambda: False) == 0
    with Store(captured.store.state_dir) as other:
        first = next(iter(captured.contents()))
        assert captured.stored()[first] == captured.contents()[first]
        assert compact(other, lambda: True) == len(captured.frames())
        assert compact(other, lambda: True) == 0
    assert captured.stored() == captured.contents()
    assert {frame.level for frame in captured.frames()} == {DENSE}
    assert sum(len(frame.data) for frame in captured.frames()) < 0.9 * before
    assert list(check(captured.store)) == []


def test_a_damaged_frame_is_left_as_it_is_for_fsck(captured: Captured) -> None:
    with apsw.Connection(captured.store.path) as db:
        db.execute("UPDATE frames SET data = substr(data, 1, length(data) / 2)")
    before = captured.frames()
    assert compact(captured.store, lambda: True) == 0
    assert [frame.data for frame in captured.frames()] == [frame.data for frame in before]


def test_a_large_file_is_recorded_after_all_that_changed_before_it(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    store = Store(str(tmp_path / "state"), create=True)
    capturer = Capturer(store, store.repos.add(str(root), SelectionRules()))
    capturer.scan(Origin.SCAN)
    for number in range(300):
        (root / f"small_{number}.py").write_bytes(b"small = %d\n" % number)
    (root / "large.py").write_bytes(b"# " + bytes(2_000_000))
    heard: list[str] = []
    paths = [f"small_{number}.py" for number in range(300)] + ["large.py"]
    capturer.look(paths, Origin.WATCH, on_written=heard.extend)
    assert heard == paths
    newest = store.log.newest()
    assert newest is not None
    assert newest.path == "large.py"
    capturer.close()
    store.close()


def test_a_secret_in_a_damaged_frame_goes_with_the_repair(captured: Captured) -> None:
    secret = (captured.root / "asyncio" / "locks.py").read_bytes()
    with apsw.Connection(captured.store.path) as db:
        db.execute("UPDATE frames SET data = substr(data, 1, length(data) * 9 / 10)")
    captured.store.blobs.let_go()
    with pytest.raises(StoreError, match="fsck --repair"):
        purge(captured.store, captured.repo.id, ["asyncio/locks.py"])
    assert any(secret in FrameReader(frame).part(0, frame.size) for frame in captured.frames())
    repair(captured.store, list(check(captured.store)))
    assert not any(secret in FrameReader(frame).part(0, frame.size) for frame in captured.frames())
    assert list(check(captured.store)) == []
