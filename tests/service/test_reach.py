"""What guardd can reach is looked at in its own view of the disk, which a sandbox makes smaller than ours."""

import os
import subprocess

import pytest
from tests.service.test_checkup import doctor
from tests.world import PROGRAMS, World

from guardd.service.reach import may_write


def test_a_repo_that_only_guardd_may_not_write_to_is_named(world: World) -> None:
    world.write("a.py")
    world.configure("")
    sealed = ["unshare", "-m", "sh", "-c", f"mount --bind -o ro '{world.root}' '{world.root}' && exec \"$@\"", "sh"]
    if subprocess.run([*sealed, "true"], check=False, capture_output=True).returncode:
        pytest.skip("mounting needs root")
    world.start_command([*sealed, str(PROGRAMS / "guardd")])
    check = doctor(world)[f"restores in {world.root}"]
    assert not check["ok"]
    assert "guardctl service install --system" in check["cure"]
    assert not any(name.startswith("restores in") and not one["ok"] for name, one in doctor(world, *sealed).items()), (
        "what no one may write to is no matter of guardd's sandbox"
    )


def test_a_repo_that_guardd_may_write_to_is_in_order(world: World) -> None:
    world.write("a.py")
    world.configure("")
    world.start_configured()
    assert doctor(world)[f"restores in {world.root}"]["ok"]


def test_where_we_may_not_look_nothing_is_claimed(world: World) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert may_write(gone.pid, str(world.root)) is None
    assert may_write(os.getpid(), str(world.root / "missing")) is None
