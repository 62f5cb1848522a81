"""What keeps guardd running: the nouns that systemd and launchd have in common, and what is to be said of them."""

import os
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple, Protocol

from guardd.errors import GuardError
from guardd.service.units import Placing

STARTED = ("active", "activating", "reloading")
"""What a manager says of a unit that was started, be it not ready yet."""

_ANSWER_S = 60.0
"""The longest that a manager may take to answer: `disable --now` waits until guardd has stopped."""


class Step(NamedTuple):
    """One thing that was done, or could not be done, and then its cure."""

    what: str
    ok: bool = True
    cure: str = ""


class UnitStanding(NamedTuple):
    """How guardd's unit stands with its manager ("systemd", "launchd"; empty: there is none here).

    `scope` is user or system, `enabled` and `active` are the manager's own words (empty: it does not say), `linger` whether the
    user's units run while they are logged out (None: that is no question here).
    """

    manager: str
    scope: str
    unit: str = ""
    file: str = ""
    installed: bool = False
    enabled: str = ""
    active: str = ""
    linger: bool | None = None


class Supervisor(Protocol):
    """A manager that can keep guardd running."""

    def files(self, placing: Placing) -> dict[str, str]:
        """What is to be written: path -> text."""

    def install(self, placing: Placing, *, start: bool) -> list[Step]:
        """Write the unit and enable it; with `start`, start it too."""

    def uninstall(self) -> list[Step]:
        """Stop, disable and remove the unit; no step where there is none."""

    def standing(self) -> UnitStanding:
        """How the unit stands."""


def health(now: UnitStanding, *, running: bool) -> tuple[bool, str, str]:
    """Whether guardd will be there tomorrow: (as it should be, what is seen, the cure if not); `running`: it is there now."""
    if not now.manager:
        return True, "no systemd here: guardd is kept running by whoever starts it", ""
    control = "systemctl --user" if now.scope == "user" else "sudo systemctl"
    if not now.installed:
        seen = "not installed: guardd runs until its terminal or session ends" if running else "not installed"
        return running, f"{seen} ('guardctl service install' keeps it running)", "run 'guardctl service install'"
    if now.manager == "launchd":
        return now.active == "active", f"{now.file}: {now.active or 'not loaded'}", "run 'guardctl service install' again"
    seen = f"{now.unit} is {now.enabled or 'of unknown enablement'}, {now.active or 'of unknown activity'}"
    if now.enabled != "enabled":
        return False, seen, f"run '{control} enable --now {now.unit}'"
    if now.active not in STARTED:
        return False, seen, f"run '{control} status {now.unit}' to see why, then '{control} restart {now.unit}'"
    if now.linger is False:
        seen += "; it ends when you log out ('loginctl enable-linger' keeps it)"
    return True, seen, ""


def ask(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run a manager's program and take its answer; 127 where it is missing, 124 where it does not answer."""
    try:
        return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=_ANSWER_S)
    except FileNotFoundError:
        return subprocess.CompletedProcess(words, 127, "", f"{words[0]} is missing")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 124, "", f"no answer within {_ANSWER_S:.0f} s")


def order(what: str, *words: str) -> Step:
    """Have a manager's program do something: the step `what`, or the line that failed and what it said."""
    done = ask(*words)
    if done.returncode == 0:
        return Step(what)
    said = " ".join((done.stderr or done.stdout).split()) or f"exit {done.returncode}"
    return Step(f"'{' '.join(words)}' failed: {said}", ok=False, cure=f"run '{' '.join(words)}' yourself")


def place(path: str, text: str) -> Step:
    """Write a unit file, whole or not at all. Raises GuardError where it cannot be written."""
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
        fd, temporary = tempfile.mkstemp(dir=folder, prefix=".guardd-")
        try:
            with open(fd, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), 0o644)  # managers of all users read it
                os.fsync(file.fileno())
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise GuardError(f"{path} cannot be written ({error.strerror}); make its directory writable") from error
    return Step(f"wrote {path}")


def program() -> str:
    """The absolute path of guardd: the one beside this guardctl, as it was called. Raises GuardError."""
    for folder in (os.path.dirname(os.path.abspath(sys.argv[0])), os.path.dirname(sys.executable)):
        beside = os.path.join(folder, "guardd")
        if os.access(beside, os.X_OK) and os.path.isfile(beside):
            return beside
    found = shutil.which("guardd")
    if found is None:
        raise GuardError("the program guardd is not found beside guardctl nor in PATH; install guardd anew")
    return os.path.abspath(found)
