"""guardd under launchd, macOS's manager: its agent installed, removed and looked at."""

import os
import plistlib
from typing import NamedTuple

from guardd.service.supervision import Step, UnitStanding, ask, order, place
from guardd.service.units import Placing

LABEL = "guardd"


def agent(placing: Placing, log: str) -> str:
    """The property list of the agent (launchd.plist(5)); what guardd logs goes to `log`."""
    words = [placing.program, *(["--config", placing.config] if placing.config else [])]
    keys: dict[str, object] = {
        "Label": LABEL,
        "ProgramArguments": words,
        "RunAtLoad": True,
        "KeepAlive": True,
        "ThrottleInterval": 10,
        "ExitTimeOut": 20,
        "ProcessType": "Background",
        "Umask": 0o077,
        "SoftResourceLimits": {"NumberOfFiles": 65536, "Core": 0},
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    if placing.state_dir:
        keys["EnvironmentVariables"] = {"GUARD_STATE_DIR": placing.state_dir}
    return plistlib.dumps(keys, sort_keys=False).decode()


class Launchd(NamedTuple):
    """launchd for the user whose home and uid these are."""

    home: str
    uid: int

    @property
    def file(self) -> str:
        """The property list."""
        return os.path.join(self.home, "Library", "LaunchAgents", f"{LABEL}.plist")

    def files(self, placing: Placing) -> dict[str, str]:
        """What is to be written: path -> text."""
        return {self.file: agent(placing, os.path.join(self.home, "Library", "Logs", "guardd.log"))}

    def install(self, placing: Placing, *, start: bool) -> list[Step]:
        """Write the agent; with `start`, load it, in place of one that is loaded."""
        steps = [place(path, text) for path, text in self.files(placing).items()]
        if not start:
            return [*steps, Step("it is loaded at the next login")]
        ask("launchctl", "bootout", f"gui/{self.uid}/{LABEL}")  # fails where none is loaded
        return [*steps, order(f"loaded and started {LABEL}", "launchctl", "bootstrap", f"gui/{self.uid}", self.file)]

    def uninstall(self) -> list[Step]:
        """Stop, unload and remove the agent; no step where there is none."""
        if not os.path.exists(self.file):
            return []
        loaded = self.standing().active == "active"
        steps = [order(f"stopped and unloaded {LABEL}", "launchctl", "bootout", f"gui/{self.uid}/{LABEL}")] if loaded else []
        os.unlink(self.file)
        return [*steps, Step(f"removed {self.file}")]

    def standing(self) -> UnitStanding:
        """How the agent stands."""
        loaded = ask("launchctl", "print", f"gui/{self.uid}/{LABEL}").returncode == 0
        installed = os.path.exists(self.file)
        enabled = "enabled" if installed else ""
        return UnitStanding("launchd", "user", LABEL, self.file, installed, enabled, "active" if loaded else "inactive")
