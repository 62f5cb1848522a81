"""guardctl run on a real terminal: Ctrl-C, questions, a command that talks to the person, Ctrl-Z."""

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.world import PROGRAMS, World, snapshot

from guardd.selection import SelectionRules
from guardd.store.store import Store

# What waits is exec'ed: dash loses a signal that comes in the middle of its vfork(2).
_APPEND = "echo 'x = 1' >> a.py"


@pytest.fixture
def guarded(world: World) -> World:
    world.write("a.py", "a = 1\n")
    with Store(str(world.state), create=True) as store:
        store.repos.add(str(world.root), SelectionRules())
    return world


def talk(world: World, words: Sequence[str | Path], dialog: Sequence[tuple[bytes, bytes]]) -> tuple[int, str]:
    """A program on a terminal of its own: what is typed once it has shown something; its exit code and what was shown."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        words, env={**world.env, "TERM": "dumb", "PS1": "ready> "}, cwd=world.root, stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # one system call
    )  # fmt: skip
    os.close(slave)
    shown, seen = b"", 0
    lines = list(dialog)
    deadline = time.monotonic() + 60
    while True:
        while lines and lines[0][0] in shown[seen:]:
            awaited, typed = lines.pop(0)
            seen = shown.index(awaited, seen) + len(awaited)
            os.write(master, typed)
        assert time.monotonic() < deadline, (lines, shown)
        if not select.select([master], [], [], 1)[0]:
            continue
        try:
            part = os.read(master, 4096)
        except OSError:  # EIO: the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert not lines, (lines, shown)
    return process.wait(30), shown.decode()


@pytest.mark.parametrize(
    ("script", "dialog", "code", "stays"),
    [
        (f"{_APPEND}; echo go; exec sleep 100", [(b"go", b"\x03"), (b"[Y/n]", b"\n")], 130, False),
        (f"{_APPEND}; echo go; exec sleep 100", [(b"go", b"\x03"), (b"[Y/n]", b"n\n")], 130, True),
        (
            f"trap '' INT; {_APPEND}; echo go; exec sleep 100",
            [(b"go", b"\x03"), (b"kills it", b"\x03"), (b"[Y/n]", b"y\n")],
            130,
            False,
        ),
        ("printf 'who? '; read name; echo \"x = $name\" >> a.py", [(b"who? ", b"1\n")], 0, True),
        (f"{_APPEND}; printf 'who? '; read name", [(b"who? ", b"\x03"), (b"[Y/n]", b"\n")], 130, False),
    ],
    ids=["ctrl-c", "ctrl-c, kept", "ctrl-c twice", "a question", "ctrl-c at a question"],
)
def test_the_terminal_is_the_commands_as_long_as_it_needs_it(
    guarded: World, script: str, dialog: list[tuple[bytes, bytes]], code: int, *, stays: bool
) -> None:
    found, shown = talk(guarded, [PROGRAMS / "guardctl", "run", "--", "sh", "-c", script], dialog)
    assert found == code, shown
    assert snapshot(guarded.root) == {"a.py": b"a = 1\nx = 1\n" if stays else b"a = 1\n"}, shown


def test_ctrl_z_stops_both_and_fg_goes_on_with_both(guarded: World) -> None:
    # No fork while the key is pressed: a shell that is stopped in the middle of a vfork(2) cannot say that it is.
    script = 'echo go; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; read name; echo "x = $name" >> a.py'
    run = f"{PROGRAMS / 'guardctl'} run -- sh -c '{script}'\n".encode()
    dialog = [(b"ready> ", run), (b"go\r\n", b"\x1a"), (b"Stopped", b"fg\n"), (b"guardctl", b"1\n"), (b"kept the", b"exit\n")]
    found, shown = talk(guarded, ["bash", "--norc", "--noprofile", "-i"], dialog)
    assert found == 0, shown
    assert snapshot(guarded.root) == {"a.py": b"a = 1\nx = 1\n"}, shown
