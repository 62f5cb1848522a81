"""guardd under systemd: its unit installed, removed and looked at, for a user's manager or the system's."""

import glob
import os
import pwd
import re
from typing import NamedTuple

from guardd.errors import GuardError
from guardd.service.supervision import STARTED, Step, UnitStanding, ask, order, place
from guardd.service.units import SYSTEM_UNIT, USER_UNIT, Placing, drop_in, system_unit, template, user_unit

_SYSTEM_DIR = "/etc/systemd/system"
_ALIVE = ("initializing", "starting", "running", "degraded", "maintenance", "stopping")
"""What `systemctl is-system-running` says of a manager that is there."""


def answers(*scope: str) -> bool:
    """Whether a manager answers: the system's, or with `--user` that of this user."""
    return ask("systemctl", *scope, "is-system-running").stdout.strip() in _ALIVE


def version() -> int:
    """The version of systemd; 0 where there is none."""
    found = re.match(r"systemd (\d+)", ask("systemctl", "--version").stdout)
    return int(found[1]) if found else 0


def lingers(user: str) -> bool:
    """Whether the units of a user run while they are not logged in."""
    return ask("loginctl", "show-user", user, "--property=Linger", "--value").stdout.strip() == "yes"


def enable_linger() -> Step:
    """Have the units of this user run while they are not logged in."""
    return order("guardd goes on when you are logged out (loginctl enable-linger)", "loginctl", "enable-linger")


class UserSystemd(NamedTuple):
    """The manager of this user; `folder` is where it looks for units."""

    folder: str

    @classmethod
    def here(cls) -> "UserSystemd":
        """That of whoever runs this process ($XDG_CONFIG_HOME: systemd.unit(5))."""
        named = os.environ.get("XDG_CONFIG_HOME", "")
        config = named if os.path.isabs(named) else os.path.join(os.path.expanduser("~"), ".config")
        return cls(os.path.join(config, "systemd", "user"))

    @property
    def file(self) -> str:
        """The unit file."""
        return os.path.join(self.folder, USER_UNIT)

    def files(self, placing: Placing) -> dict[str, str]:
        """What is to be written: path -> text."""
        return {self.file: user_unit(template(USER_UNIT), placing)}

    def install(self, placing: Placing, *, start: bool) -> list[Step]:
        """Write the unit, and enable and start it where the manager of this user answers."""
        steps = [place(path, text) for path, text in self.files(placing).items()]
        if not answers("--user"):
            cure = f"log in as this user, then run 'systemctl --user daemon-reload; systemctl --user enable --now {USER_UNIT}'"
            return [*steps, Step("no systemd manager of this user answers here", ok=False, cure=cure)]
        return steps + _enable(["systemctl", "--user"], USER_UNIT, start=start)

    def uninstall(self) -> list[Step]:
        """Stop, disable and remove the unit; no step where there is none."""
        if not os.path.exists(self.file):
            return []
        control = ["systemctl", "--user"] if answers("--user") else []
        return _remove(control, USER_UNIT, [self.file])

    def standing(self) -> UnitStanding:
        """How the unit stands."""
        enabled, active = _look(["systemctl", "--user"], USER_UNIT)
        linger = lingers(pwd.getpwuid(os.getuid()).pw_name)
        return UnitStanding("systemd", "user", USER_UNIT, self.file, os.path.exists(self.file), enabled, active, linger)


class SystemSystemd(NamedTuple):
    """The system's manager, for guardd as `user`; `folder` is where it looks for units."""

    user: str
    folder: str = _SYSTEM_DIR

    @property
    def unit(self) -> str:
        """The user's instance of the unit."""
        return SYSTEM_UNIT.replace("@", f"@{self.user}")

    @property
    def file(self) -> str:
        """The unit file, which all users share."""
        return os.path.join(self.folder, SYSTEM_UNIT)

    @property
    def drop_in(self) -> str:
        """The file with what is the user's own."""
        return os.path.join(self.folder, f"{self.unit}.d", "guardd.conf")

    def files(self, placing: Placing) -> dict[str, str]:
        """What is to be written: path -> text. Together, in this order, they are one valid unit."""
        return {self.file: system_unit(template(SYSTEM_UNIT), placing), self.drop_in: drop_in(placing)}

    def install(self, placing: Placing, *, start: bool) -> list[Step]:
        """Write the unit, and what is the user's own, and enable and start it; for root."""
        steps = [place(path, text) for path, text in self.files(placing).items()]
        if not answers():
            cure = f"once systemd runs, run 'systemctl enable --now {self.unit}'"
            return [*steps, Step("systemd does not answer here", ok=False, cure=cure)]
        return steps + _enable(["systemctl"], self.unit, start=start)

    def uninstall(self) -> list[Step]:
        """Stop, disable and remove the user's instance, and the unit with the last one; no step where there is none."""
        if not os.path.exists(self.drop_in):
            return []
        others = set(glob.glob(os.path.join(glob.escape(self.folder), "guardd@*.service.d"))) - {os.path.dirname(self.drop_in)}
        files = [self.drop_in] if others else [self.drop_in, self.file]
        return _remove(["systemctl"] if answers() else [], self.unit, files)

    def standing(self) -> UnitStanding:
        """How the unit stands."""
        enabled, active = _look(["systemctl"], self.unit)
        return UnitStanding("systemd", "system", self.unit, self.file, os.path.exists(self.drop_in), enabled, active)


def make_state_dir(path: str, user: str) -> None:
    """Make a user's state dir, with the folders above it that are missing, as theirs: their unit may not write above it."""
    missing = []
    folder = path
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    owner = pwd.getpwnam(user)
    try:
        for folder in reversed(missing):
            os.mkdir(folder, 0o700)
            os.chown(folder, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    except OSError as error:
        raise GuardError(f"the state dir {path} cannot be made ({error.strerror}); make it yourself, for {user} alone") from error


def _enable(control: list[str], unit: str, *, start: bool) -> list[Step]:
    """Enabled, and started without waiting for the baseline; a guardd that ran under an older unit file begins anew."""
    steps = [order("systemd read its units anew", *control, "daemon-reload")]
    if not start:
        return [*steps, order(f"enabled {unit}", *control, "enable", unit)]
    was_active = ask(*control, "is-active", unit).stdout.strip() in STARTED
    steps.append(order(f"enabled and started {unit}", *control, "enable", "--now", "--no-block", unit))
    if was_active:
        steps.append(order(f"restarted {unit}", *control, "restart", "--no-block", unit))
    return steps


def _remove(control: list[str], unit: str, files: list[str]) -> list[Step]:
    steps = [order(f"stopped and disabled {unit}", *control, "disable", "--now", unit)] if control else []
    for path in files:
        try:
            os.unlink(path)
            if path.endswith(".d/guardd.conf"):
                os.rmdir(os.path.dirname(path))
        except FileNotFoundError:
            continue
        except OSError as error:
            steps.append(Step(f"{path} is not removed ({error.strerror})", ok=False, cure=f"remove {path}"))
        else:
            steps.append(Step(f"removed {path}"))
    return [*steps, order("systemd read its units anew", *control, "daemon-reload")] if control else steps


def _look(control: list[str], unit: str) -> tuple[str, str]:
    return ask(*control, "is-enabled", unit).stdout.strip(), ask(*control, "is-active", unit).stdout.strip()
