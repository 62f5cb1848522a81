"""A snapshot is an exact place in the log: going back to it gives the tree as it was when it was taken."""

from functools import partial

import apsw
import pytest
from tests.world import World, snapshot

from guardd import clock
from guardd.store.retention import Policy
from guardd.store.space import collect
from guardd.store.store import Store


@pytest.fixture
def guarded(world: World) -> World:
    world.write("a.py", b"a = 1\n")
    world.write("pkg/b.py", b"b = 1\n")
    world.start().stop()
    return world


def test_a_snapshot_is_gone_back_to_exactly_without_a_daemon(guarded: World) -> None:
    guarded.write("a.py", b"a = 2\n")
    before = snapshot(guarded.root)
    taken = guarded.json("snapshot", "--label", "before the script")
    assert taken["label"] == "before the script"
    guarded.write("a.py", b"")
    (guarded.root / "pkg/b.py").unlink()
    guarded.write("new.py", b"n = 1\n")
    words = taken["restore"].split()
    assert words[0] == "guardctl"
    guarded.ctl(*words[1:], "--yes")
    assert snapshot(guarded.root) == before


def test_a_snapshot_beside_the_daemon_holds_what_was_written_right_before(guarded: World) -> None:
    guarded.start()
    for number in range(3):
        guarded.write("a.py", f"a = {number}\n")
        taken = guarded.json("snapshot")
        guarded.write("a.py", b"broken = (\n")
        assert guarded.ctl_bytes("show", "a.py", "--at", f"snapshot:{taken['id']}") == f"a = {number}\n".encode()
        assert "-a =" in guarded.ctl("diff", "--since", f"snapshot:{taken['id']}").stdout


def test_log_shows_snapshots_where_they_lie_and_the_list_says_how_to_go_back(guarded: World) -> None:
    for label in ("reads\x1b[31m\n", "writes " + "x" * 500):
        guarded.ctl("snapshot", "--label", label)
    guarded.write("a.py", b"a = 2\n")
    lines = guarded.ctl("log").stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if "snapshot:2" in line)
    assert "a.py" in lines[at - 1]
    assert "writes xxx" in lines[at]
    assert "1 more" in lines[at]
    assert len(lines[at]) < 300
    assert len(lines) == 4
    assert "snapshot:" not in guarded.ctl("log", "--limit", "1").stdout
    assert "snapshot:2" in guarded.ctl("log", "--since", "snapshot:2").stdout
    listed = guarded.ctl("snapshot", "--list").stdout
    assert "guardctl restore --since snapshot:1" in listed
    assert "reads\\x1b[31m\\n" in listed
    assert [one["id"] for one in guarded.json("snapshot", "--list")] == [2, 1]
    assert all(entry["kind"] for entry in guarded.json("log"))


def test_a_snapshot_of_elsewhere_or_of_nothing_is_refused(guarded: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    guarded.ctl("init", str(other))
    guarded.ctl("snapshot", "--repo", str(other))
    for number in ("1", "9"):
        refused = guarded.ctl("restore", "--since", f"snapshot:{number}", "--yes", check=2)
        assert "guardctl snapshot --list" in refused.stderr
    assert "no snapshot so far" in guarded.ctl("snapshot", "--list").stdout
    guarded.ctl("snapshot", "--list", "--label", "x", check=2)


def test_retention_forgets_snapshots_that_are_the_same_place_and_no_other(guarded: World) -> None:
    with Store(str(guarded.state)) as store:
        repo = store.repos.find(str(guarded.root))
        assert repo
        day = 86_400_000_000_000

        def age(now_ns: int, seq: int, time_ns: int) -> int:
            return now_ns - time_ns

        first, again = store.labels.add(repo.id, "first", 10 * day), store.labels.add(repo.id, "again", 10 * day)
        guarded.write("a.py", b"a = 2\n")
        guarded.ctl("log")
        later = store.labels.add(repo.id, "later", 11 * day)
        assert store.labels.prune(3 * day, 365 * day, partial(age, 12 * day)) == 0
        assert store.labels.prune(3 * day, 365 * day, partial(age, 20 * day)) == 1
        assert [one.id for one in store.labels.of_repo(repo.id)] == [later.id, first.id]
        assert store.labels.prune(3 * day, 365 * day, partial(age, 376 * day)) == 1
        assert store.labels.get(again.id) is None
        assert [one.id for one in store.labels.of_repo(repo.id)] == [later.id]
        now = clock.now()
        in_years = now._replace(wall_ns=now.wall_ns + 800 * day, boot_ns=now.boot_ns + 800 * day)
        collect(store, Policy(3 * day, 30 * day, 365 * day, 1 << 40), in_years)
    assert guarded.json("snapshot", "--list") == []
    assert guarded.json("snapshot")["id"] > later.id


def test_a_store_of_an_earlier_version_gets_its_snapshots(guarded: World) -> None:
    old = apsw.Connection(str(guarded.state / "guard.db"))
    old.execute("DROP INDEX blobs_by_frame")
    for column in ("place", "frame_id"):
        old.execute(f"ALTER TABLE blobs DROP COLUMN {column}")
    for table in ("purging", "watched", "frames", "adopted", "runs", "checked", "labels", "deliveries", "alerts", "targets"):
        old.execute(f"DROP TABLE {table}")
    old.execute("ALTER TABLE live DROP COLUMN awake_ns; PRAGMA user_version = 2")
    old.close()
    assert guarded.json("snapshot")["id"] == 1
