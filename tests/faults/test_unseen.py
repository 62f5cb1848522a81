"""What guard did not look for may have been there: backups of it are offered, of files known to be absent they are not."""

import os
import time
from collections.abc import Callable

import pytest

from guardd.recovery.past import passage_since, passages_since
from guardd.selection import SelectionRules
from guardd.store.store import Store
from tests.world import World

PROMISE = "the past is what it was"
OLD_NS = 10 * 86_400 * 1_000_000_000


def offered(world: World, time_ns: int, path: str = "gen/made.py") -> bytes | None:
    """What a restore to this moment would make of a path that is not there now."""
    with Store(str(world.state)) as store:
        repo = store.repos.find(str(world.root))
        assert repo
        place = store.log.place_at(time_ns)
        listed = {one.path: one for one in passages_since(store, repo, place, time_ns)}.get(path)
        alone = passage_since(store, repo, path, place, time_ns)
        assert (listed and listed.then) == (alone and alone.then)
        return store.blobs.read(alone.then.state.blob) if alone and alone.then and alone.then.state.present else None


def adopted(world: World, content: bytes = b"made = 1\n", path: str = "gen/made.py") -> None:
    """Adopt a backup of ten days ago."""
    backup = world.write(path + ".bak", content)
    then = time.time_ns() - OLD_NS
    os.utime(backup, ns=(then, then))
    world.ctl("adopt", "--yes")
    backup.unlink()


def captured(world: World) -> int:
    """Capture, then a moment at which nothing has changed since."""
    if not world.state.exists():
        with Store(str(world.state), create=True) as store:
            store.repos.add(str(world.root), SelectionRules())
    world.ctl("snapshot")
    return time.time_ns()


def without_a_rule(world: World) -> None:
    world.configure("", 'exclude = ["gen/"]')


def with_rules_that_want_it(world: World) -> None:
    world.configure("")


def with_gitignore(world: World) -> None:
    world.configure("", "respect_gitignore = true")
    (world.root / ".gitignore").write_text("gen/\n")


def without_gitignore(world: World) -> None:
    (world.root / ".gitignore").unlink()


@pytest.mark.promise(PROMISE, "a file that the rules left out is gone when they want it, and a backup of it is adopted")
@pytest.mark.parametrize(("left_out", "wanted"), [(without_a_rule, with_rules_that_want_it), (with_gitignore, without_gitignore)])
def test_a_backup_of_what_was_left_out_is_offered_until_guard_had_looked(
    world: World, left_out: Callable[[World], None], wanted: Callable[[World], None]
) -> None:
    world.write("a.py")
    world.write("gen/made.py", b"made = 1\n")
    left_out(world)
    ignored = captured(world)
    (world.root / "gen/made.py").unlink()
    wanted(world)
    watched = captured(world)
    adopted(world)
    assert offered(world, ignored) == b"made = 1\n", "guard cannot know that it was not there"
    assert offered(world, watched) is None, "guard had looked, and there was none"
    world.write("gen/made.py", b"made = 2\n")
    captured(world)
    assert offered(world, ignored) == b"made = 1\n", "nor does that it was made later tell"
    assert offered(world, watched) is None


@pytest.mark.promise(PROMISE, "a backup of a file that the rules left out after guard had looked is adopted")
@pytest.mark.parametrize("left_out", [without_a_rule, with_gitignore])
def test_what_guard_knew_under_earlier_rules_it_still_knows(world: World, left_out: Callable[[World], None]) -> None:
    world.write("a.py")
    world.configure("", "respect_gitignore = true" if left_out is with_gitignore else "")
    watched = captured(world)
    adopted(world)
    assert offered(world, watched) is None
    left_out(world)
    ignored = captured(world)
    assert offered(world, ignored) == b"made = 1\n", "it may be there again, and guard does not look"
    assert offered(world, watched) == (b"made = 1\n" if left_out is with_gitignore else None)
