"""More changes than the kernel's queue holds: all of them are captured, and what was not seen to change is not deleted."""

import os
import signal
from pathlib import Path

import pytest

from guardd.store.store import Store
from tests.faults import seeds
from tests.world import World, snapshot, wait_until

FILES = 10_000
"""Twice as many events, and more: a file that is rewritten was changed and was closed."""
_TIMEOUT_S = 120


@pytest.mark.promise("no false alarm", "20,000 events and more while the daemon stands still: the kernel's queue overflows")
@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", seeds(everyday=0, full=1))
def test_what_an_overflowing_queue_lost_is_captured_and_not_taken_for_deleted(seed: int, world: World) -> None:
    for number in range(FILES):
        folder = world.root / f"p{number % 200}"
        folder.mkdir(exist_ok=True)
        (folder / f"m{number}.py").write_bytes(b"value = %d\n" % number)
    daemon = world.start(ready=False)
    daemon.wait_ready(timeout_s=_TIMEOUT_S)
    daemon.process.send_signal(signal.SIGSTOP)
    (world.root / "p7").rename(world.root / "moved")
    for number, path in enumerate(sorted(world.root.glob("p*/*.py"))):
        content = b"# seed %d\n" % seed + path.read_bytes()
        if number % 2 == seed % 2:
            path.write_bytes(content)
        else:
            saved = path.with_name("save.tmp")
            saved.write_bytes(content)
            os.replace(saved, path)
    disk = snapshot(world.root)
    daemon.process.send_signal(signal.SIGCONT)
    wait_until(lambda: world.heads() == disk, _TIMEOUT_S, "all is captured")
    with Store(str(world.state)) as store:
        repo = store.repos.find(str(world.root))
        assert repo
        wait_until(lambda: (store.incidents.cursor(repo.id) or 0) >= store.log.last_seq(), _TIMEOUT_S, "all is judged")
    wait_until(lambda: world.status()["state"] == "protected", _TIMEOUT_S)
    assert [one for one in world.json("incidents", "list") if "delet" in one["summary"]] == []
    world.write("p1/later.py", b"later = 1\n")
    world.wait_captured("p1/later.py", b"later = 1\n")
    assert daemon.stop() == 0
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    assert limit >= FILES * 2 or any("overflow" in line for line in daemon.lines), "the queue did overflow"
