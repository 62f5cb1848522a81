"""Many at once on one store: one after the other, or refused in one clear line; never a mixture."""

import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from guardd.store.lock import restore_lock
from guardd.store.soundness import check
from guardd.store.store import Store
from tests.faults import seeds
from tests.world import World, as_text, snapshot, wait_until

FILES = 120


@pytest.fixture
def filled(world: World) -> World:
    for number in range(FILES):
        world.write(f"p{number % 7}/m{number}.py", f"def f{number}():\n    return {number}\n" * 20)
    world.ctl("init", str(world.root))
    world.ctl("snapshot")
    return world


def sound(world: World) -> None:
    with Store(str(world.state)) as store:
        assert list(check(store)) == []
    assert not [path for path in world.root.rglob("*") if path.name.startswith(".guard")], "a temporary file was left"


def damage(world: World, marker: str) -> None:
    for path in sorted(world.root.rglob("*.py")):
        path.write_text(f"# {marker}\n" + path.read_text())


@pytest.mark.promise("bad input gets one clear line", "a second daemon on the same store")
def test_of_two_daemons_started_at_once_one_guards_and_the_other_says_why_not(filled: World) -> None:
    both = [filled.start(ready=False) for _ in range(2)]
    wait_until(lambda: any(one.process.poll() is not None for one in both), what="one of them ends")
    loser = next(one for one in both if one.process.poll() is not None)
    winner = next(one for one in both if one is not loser)
    winner.wait_ready()
    assert loser.process.wait() != 0
    wait_until(lambda: loser.lines, what="it said why")
    said = [line for line in loser.lines if "already runs" in line]
    assert len(said) == 1
    assert str(winner.process.pid) in said[0]
    filled.write("later.py", b"later = 1\n")
    filled.wait_captured("later.py", b"later = 1\n")
    sound(filled)


MADE = "made.py"


def make_it(exit_code: int) -> tuple[str, ...]:
    """A run that makes a file, and then passes or fails."""
    return "run", "--", sys.executable, "-c", f"open('{MADE}', 'w').write('made = 1\\n'); raise SystemExit({exit_code})"


class Asked(NamedTuple):
    """What a command said in the end, all of them with --json."""

    words: tuple[str, ...]
    code: int
    said: Any
    stderr: str

    @property
    def did_it(self) -> bool:
        return self.code == 0

    def gives_its_reason(self) -> bool:
        """Whether who asked knows why not all was done."""
        told = self.said if isinstance(self.said, dict) else {}
        return bool(self.stderr.strip() or told.get("skipped") or told.get("failed") or told.get("reasons"))


def asked_at_once(world: World, commands: Sequence[tuple[str, ...]], meanwhile: Callable[[], None]) -> list[Asked]:
    begun = [(words, world.begin_ctl(*words[:1], "--json", *words[1:])) for words in commands]
    meanwhile()
    ended = [(words, as_text(one.finish(100))) for words, one in begun]
    return [Asked(words, done.returncode, json.loads(done.stdout or "null"), done.stderr) for words, done in ended]


@pytest.mark.promise("the store is sound or says what is damaged", "ten guardctl at once beside the daemon")
@pytest.mark.parametrize("seed", seeds(1, 12))
def test_ten_guardctl_at_once_each_do_what_was_asked_or_say_why_not(
    filled: World, seed: int, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(seed)
    if chance.random() < 0.7:
        filled.start()
    whole = snapshot(filled.root)
    damage(filled, "changed")
    damaged = snapshot(filled.root)
    edited = dict.fromkeys(chance.sample(sorted(whole), chance.choice((0, 5))), b"edited = 1\n")
    restore_all, restore_some = ("restore", "--since", "1h", "--yes"), ("restore", "p1", "--since", "1h", "--yes")
    run, labelled = make_it(chance.choice((0, 0, 1))), ("snapshot", "--label", "again")
    asked = [
        ("snapshot",), labelled, ("gc",), ("log", "--limit", "5"), ("status",), ("fsck",), ("diff", "--since", "1h"),
        restore_all, restore_some, run,
    ]  # fmt: skip
    chance.shuffle(asked)
    record_property("faults", len(asked))

    def edit() -> None:
        for path, content in edited.items():
            fresh = Path(filled.root, f"{path}.new")
            fresh.write_bytes(content)
            fresh.rename(filled.root / path)  # as an editor saves

    ended = {one.words: one for one in asked_at_once(filled, asked, edit)}
    for one in ended.values():
        assert one.code in (0, 1, 2, 3), one
        assert "Traceback" not in one.stderr, one
        assert one.did_it or one.gives_its_reason(), one
        assert one.code != 2 or len(one.stderr.splitlines()) == 1, one

    found = snapshot(filled.root)
    made = found.pop(MADE, None)
    assert found.keys() == whole.keys()
    for path, content in found.items():
        assert content in (whole[path], damaged[path], edited.get(path)), path
    for words, below in ((restore_all, ""), (restore_some, "p1/")):
        if ended[words].did_it:
            left = [path for path in found if path.startswith(below) and path not in edited and found[path] != whole[path]]
            assert left == [], f"{words} says that it did it"
    taken_back = MADE in (ended[restore_all].said or {}).get("removed", ())
    assert (made == b"made = 1\n") == (ended[run].did_it and not taken_back), ended[run]
    assert made is None or made == b"made = 1\n"
    listed = {one["id"]: one["label"] for one in filled.json("snapshot", "--list")}
    taken = {ended[words].said["id"]: label for words, label in ((("snapshot",), ""), (labelled, "again")) if ended[words].did_it}
    assert listed == {1: "", **taken}
    filled.ctl("snapshot")
    assert filled.heads() == snapshot(filled.root)
    sound(filled)


@pytest.mark.promise("a restore leaves each file old or new", "two restores at once, to two different moments")
@pytest.mark.parametrize("seed", seeds(1, 12))
def test_two_restores_at_once_leave_each_file_as_one_of_them_wanted_it(filled: World, seed: int) -> None:
    chance = random.Random(seed)
    wanted, ids = [], []
    for state in ("first", "second"):
        damage(filled, f"{state} {seed}")
        ids.append(filled.json("snapshot")["id"])
        wanted.append(snapshot(filled.root))
    damage(filled, "ruined")
    ruined = snapshot(filled.root)
    chance.shuffle(ids)
    begun = [filled.begin_ctl("restore", "--at", f"snapshot:{id_}", "--yes") for id_ in ids]
    for done in [as_text(one.finish(100)) for one in begun]:
        assert done.returncode in (0, 1, 2), done
        assert "Traceback" not in done.stderr
    found = snapshot(filled.root)
    assert found.keys() == ruined.keys()
    for path, content in found.items():
        assert content in (wanted[0][path], wanted[1][path]), path
    sound(filled)
    assert filled.heads() == found, "the log says what is on disk"


@pytest.mark.promise("bad input gets one clear line", "a restore while another writes into the repo, and does not end")
@pytest.mark.faults
def test_a_restore_beside_one_that_does_not_end_is_refused_in_one_line(filled: World) -> None:
    damage(filled, "ruined")
    before = snapshot(filled.root)
    with Store(str(filled.state)) as store:
        repo = store.repos.find(str(filled.root))
        assert repo
    lock = restore_lock(str(filled.state), repo.id)
    assert lock.try_acquire()
    with lock:
        refused = filled.ctl("restore", "--since", "1h", "--yes", check=2)
    assert len(refused.stderr.splitlines()) == 1
    assert "another restore (pid" in refused.stderr
    assert snapshot(filled.root) == before


@pytest.mark.promise("a restore leaves each file old or new", "a restore while a burst goes on, and gc beside it")
@pytest.mark.parametrize("seed", seeds(1, 12))
def test_a_restore_in_a_burst_with_gc_beside_it_loses_no_edit(
    filled: World, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """Whatever the burst wrote last is on disk, or what the restore put there; and if it is not on disk, then it is kept."""
    chance = random.Random(seed)
    if chance.random() < 0.5:
        filled.start()
    whole = snapshot(filled.root)
    taken = filled.json("snapshot")["id"]
    damage(filled, "ruined")
    restore = filled.begin_ctl("restore", "--at", f"snapshot:{taken}", "--yes", "--json")
    collecting = filled.begin_ctl("gc")
    written: dict[str, bytes] = {}
    while restore.poll() is None:
        path = chance.choice(sorted(whole))
        if path not in written:
            fresh = Path(filled.root, f"{path}.new")
            fresh.write_bytes(f"# burst {len(written)}\n".encode() + whole[path])
            written[path] = fresh.read_bytes()
            fresh.rename(filled.root / path)  # as an editor saves
        elif collecting.poll() is not None:
            collecting.finish()
            collecting = filled.begin_ctl("gc")
    record_property("faults", len(written))
    done = as_text(restore.finish())
    assert done.returncode in (0, 1), done
    assert as_text(collecting.finish()).returncode == 0
    found = snapshot(filled.root)
    assert found.keys() == whole.keys()
    filled.ctl("snapshot")
    for path, content in found.items():
        assert content in (whole[path], written.get(path)), path
    with Store(str(filled.state)) as store:
        from guardd.store.codec import digest

        lost = [path for path, content in written.items() if found[path] != content and not store.blobs.holds(digest(content))]
    assert lost == [], "an edit that the restore overwrote was not kept"
    sound(filled)
    assert filled.heads() == found
