"""A damaged frame of the write-ahead log ends it for SQLite: the commits behind it are gone, but not without a word."""

import random
from pathlib import Path

import pytest

from guardd.store.soundness import check
from guardd.store.store import Store
from tests.faults import seeds
from tests.faults.damaging import PAGE, Template, make_template
from tests.faults.test_store_repair import NAMED
from tests.world import World

_FRAME = 24 + PAGE
SAID = "at the end of its log cannot be read"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make_template(tmp_path_factory.mktemp("template"))


def said_of(state: Path) -> bool:
    with Store(str(state)) as store:
        return any(SAID in damage.what for damage in check(store))


@pytest.mark.promise(NAMED, "a bit of the content of a frame of the write-ahead log")
@pytest.mark.parametrize("seed", seeds(3, 60))
def test_commits_behind_a_damaged_frame_are_missed(template: Template, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    state = tmp_path / "state"
    template.copy(state)
    log = state / "guard.db-wal"
    content = bytearray(log.read_bytes())
    frames = (len(content) - 32) // _FRAME
    assert frames > 20
    frame = chance.randrange(frames)
    place = 32 + frame * _FRAME + chance.choice([chance.randrange(16, 24), chance.randrange(24, _FRAME)])
    content[place] ^= 1 << chance.randrange(8)
    log.write_bytes(content)
    with Store(str(state)) as store:
        found = [damage.what for damage in check(store)]
    assert any(SAID in what for what in found)
    assert not said_of(state), "what was lost is lost: it is said once"


@pytest.mark.promise("no false alarm", "a log of which the last transaction never ended, over an older and longer one")
@pytest.mark.parametrize("cut", seeds(2, 20))
def test_a_transaction_that_never_ended_is_no_damage(template: Template, tmp_path: Path, cut: int) -> None:
    state = tmp_path / "state"
    template.copy(state)
    assert not said_of(state)
    template_log = template.state / "guard.db-wal"
    log = state / "guard.db-wal"
    (state / "guard.db").write_bytes((template.state / "guard.db").read_bytes())
    log.write_bytes(template_log.read_bytes()[: -cut * _FRAME])
    assert not said_of(state)


@pytest.mark.promise(NAMED, "a bit of the write-ahead log that a killed daemon left")
def test_a_daemon_says_that_commits_are_lost(world: World) -> None:
    world.write("a.py")
    daemon = world.start()
    world.write("a.py", b"a = 2\n")
    world.wait_captured("a.py", b"a = 2\n")
    daemon.kill()
    log = world.state / "guard.db-wal"
    content = bytearray(log.read_bytes())
    ends = range(32 + _FRAME, len(content) + 1, _FRAME)
    live = sum(content[end - _FRAME + 8 : end - _FRAME + 16] == content[16:24] for end in ends)  # the rest is of an older log
    assert live > 8
    content[32 + (live - 4) * _FRAME + 100] ^= 1
    log.write_bytes(content)
    again = world.start()
    assert again.events("commits lost")
    again.stop()
    assert not world.start().events("commits lost")
