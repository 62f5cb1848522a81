"""guardd and guardctl as real processes under a clock that the test sets, and under which time goes by as it says."""

import subprocess
import sys
from pathlib import Path

from tests.world import Daemon, World

_PROGRAM = """
import sys
from pathlib import Path
from guardd import clock
real, says = clock.now, Path(sys.argv.pop(1))
def now():
    passed, wrong = map(int, says.read_text().split())
    found = real()
    return found._replace(wall_ns=found.wall_ns + passed + wrong, boot_ns=found.boot_ns + passed)
clock.now = now
if sys.argv.pop(1) == "guardd":
    from guardd.service.main import main
else:
    from guardd.cli import main
sys.exit(main())
"""


class SetClock:
    """The clock of the programs that are started by it: by so much more time has passed, and so wrong is the wall clock."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._says = world.root.parent / "clock"
        self._passed_ns = self._wrong_ns = 0
        self._say()

    def pass_time(self, ns: int) -> None:
        self._passed_ns += ns
        self._say()

    def set_wrong(self, ns: int) -> None:
        """Ahead of the right time by so much."""
        self._wrong_ns = ns
        self._say()

    def start(self) -> Daemon:
        return self._world.start_command([*self._command("guardd"), "--repo", str(self._world.root)])

    def ctl(self, *words: str) -> str:
        command = [*self._command("guardctl"), *words]
        done = subprocess.run(command, check=False, cwd=self._world.root, env=self._world.env, capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def _command(self, program: str) -> list[str]:
        return [sys.executable, "-c", _PROGRAM, str(self._says), program]

    def _say(self) -> None:
        fresh = Path(f"{self._says}.new")
        fresh.write_text(f"{self._passed_ns} {self._wrong_ns}")
        fresh.rename(self._says)
