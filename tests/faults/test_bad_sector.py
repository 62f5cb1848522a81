"""A disk that fails once, among successes: a bad sector, a sync that fails and then says that all is well."""

import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.faults import MEMORY, seeds
from tests.faults.scenes import SCENES, Scene, Stage, noted
from tests.faults.stopper import Stop, Stopper
from tests.fork_server import PROGRAMS
from tests.world import Daemon, World, snapshot, wait_until

FILES = 20

_SHIM = Path(__file__).with_name("bad_sector.c")


def _runs() -> Iterator[Any]:
    """Scene, seed, and how many failures in one prepared world."""
    for scene in SCENES:
        for seed in seeds(everyday=0, full=2):
            yield pytest.param(scene, *seed.values, 10, marks=seed.marks, id=f"{scene.name}-{seed.values[0]}-10")


@pytest.fixture(scope="module")
def stage_of(stopper: Stopper) -> Iterator[Callable[[Scene], Stage]]:
    """Each scene's stage, prepared once for all of its tests: they begin with putting it back."""
    with tempfile.TemporaryDirectory(prefix="guard-sector-", dir=MEMORY) as folder:
        yield cache(lambda scene: Stage(scene, Path(folder, scene.name), stopper))


@pytest.mark.promise(
    "errors become a state", "one commit, rename, sync or open of a command fails with EIO, and all others succeed"
)
@pytest.mark.parametrize(("scene", "seed", "failures"), [*_runs()])
def test_one_error_of_the_disk_is_one_line_and_tears_nothing(
    scene: Scene, seed: int, failures: int, stage_of: Callable[[Scene], Stage], record_property: Any
) -> None:
    stage = stage_of(scene)
    chance = random.Random(seed)
    for _ in range(failures):
        stage.put_back()
        acknowledged = stage.acknowledged()
        stop = Stop(chance.randint(1, stage.points), fails=True)
        command = stage.begin(stop)
        code, _ = command.end
        with noted(f"{scene.name} failing at {stop.at} of {stage.points}: exit {code}, {command.output}"):
            assert code in (0, 1, 4)
            assert "Traceback" not in command.output
            complaints = [line for line in command.output.splitlines() if line.startswith("guardctl: ")]
            assert len(complaints) <= 1
            assert code != 4 or complaints
            stage.check(acknowledged)
    record_property("faults", failures)


class BadSector:
    """A daemon for which one file, or directory, of its repo cannot be read."""

    def __init__(self, world: World, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("a disk with one bad sector needs a C compiler (cc)")
        shim = folder / "bad_sector.so"
        built = subprocess.run([compiler, "-shared", "-fPIC", "-o", shim, _SHIM, "-ldl"], check=False, capture_output=True)
        if built.returncode:
            pytest.skip(f"a disk with one bad sector needs the C library's headers: {built.stderr.decode()[-200:]}")
        self.world = world
        self._where = folder / "bad"
        self._command = ["env", f"LD_PRELOAD={shim}", f"BAD_SECTOR={self._where}", str(PROGRAMS / "guardd")]

    def start(self, *, ready: bool = True) -> Daemon:
        return self.world.start_command(self._command, ready=ready)

    def hits(self, path: Path) -> None:
        self._where.write_text(str(path.resolve()))

    def is_gone(self) -> None:
        self._where.unlink()


@pytest.fixture
def sector(world: World, tmp_path: Path) -> BadSector:
    folder = tmp_path / "sector"
    folder.mkdir()
    for number in range(FILES):
        world.write(f"p/m{number}.py", f"first = {number}\n")
    world.configure("")
    return BadSector(world, folder)


@pytest.mark.promise("no false alarm", "a source cannot be read any more (EIO), while the daemon runs and when it starts")
@pytest.mark.faults
def test_a_source_that_cannot_be_read_is_told_and_not_taken_for_deleted(sector: BadSector, world: World) -> None:
    daemon = sector.start()
    wait_until(lambda: world.status()["state"] == "protected")
    sector.hits(world.root / "p/m3.py")
    for number in range(FILES):
        world.write(f"p/m{number}.py", f"second = {number}\n")
    kept = snapshot(world.root) | {"p/m3.py": b"first = 3\n"}
    told = "unreadable-file: p/m3.py: the disk reports an error for it"
    wait_until(lambda: told in str(world.status()["reasons"]), what="it is told")
    wait_until(lambda: world.heads() == kept, what="all others are captured")
    assert daemon.stop() == 0
    daemon = sector.start(ready=False)
    wait_until(lambda: told in str(world.status()["reasons"]), what="it is told after a start, too")
    assert world.heads() == kept
    sector.is_gone()
    world.write("p/m3.py", "third = 3\n")
    wait_until(lambda: world.heads() == snapshot(world.root), what="it is captured")
    wait_until(lambda: world.status()["state"] == "protected", what="it recovers without a hand")
    assert len(world.versions("p/m3.py")) == 2, "no deletion in between"
    assert world.json("incidents", "list") == []
    assert daemon.stop() == 0


@pytest.mark.promise("no false alarm", "a directory cannot be listed any more (EIO) when the daemon starts")
@pytest.mark.faults
def test_a_directory_that_cannot_be_listed_is_told_and_not_taken_for_empty(sector: BadSector, world: World) -> None:
    daemon = sector.start()
    whole = world.heads()
    assert daemon.stop() == 0
    sector.hits(world.root / "p")
    daemon = sector.start(ready=False)
    wait_until(lambda: "unreadable-directory: p: " in str(world.status()["reasons"]), what="it is told")
    assert world.heads() == whole
    sector.is_gone()
    wait_until(lambda: world.status()["state"] == "protected", 60, "it recovers without a hand")
    assert {len(world.versions(path)) for path in whole} == {1}, "no deletion in between"
    assert world.json("incidents", "list") == []
    assert daemon.stop() == 0
