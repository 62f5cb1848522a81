"""An `index.lock` that is no git at work must not keep detection waiting for ever."""

import subprocess
import threading

import pytest

from tests.faults import seeds
from tests.world import World, wait_until

WHOLE = b"def f():\n    return 1\n\n\nx = f()\n"
DAMAGED = b"# REMOVED_SYNTAX_ERROR: def f():\n"


@pytest.mark.promise("errors become a state", "damage beside an index.lock that is made, or touched, again and again")
@pytest.mark.parametrize("seed", seeds(everyday=0, full=2))
def test_no_lock_keeps_damage_from_being_seen(world: World, seed: int) -> None:
    subprocess.run(["git", "init", "-q"], cwd=world.root, check=True)
    for number in range(6):
        world.write(f"m{number}.py", WHOLE)
        world.write(f"gone{number}.py", WHOLE + b"y = %d\n" % number)
    world.start()
    lock = world.root / ".git/index.lock"
    lock.touch()
    seen = threading.Event()

    def disturb() -> None:
        while not seen.wait(0.2):
            if seed % 2:
                lock.unlink()
            lock.touch()

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    try:
        for number in range(6):
            world.write(f"m{number}.py", DAMAGED)
        wait_until(world.incidents, 90, "the damage is seen")
    finally:
        seen.set()
        disturbing.join()
