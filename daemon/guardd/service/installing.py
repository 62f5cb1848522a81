"""Which manager keeps guardd running here, and what is filled into its unit."""

import os
import pwd
import sys
from collections.abc import Sequence

from guardd.config import locate, locate_state
from guardd.config.places import default_state_dir, is_named
from guardd.errors import UsageError
from guardd.service import systemd
from guardd.service.launchd import Launchd
from guardd.service.supervision import Supervisor, UnitStanding, program
from guardd.service.units import Placing


def supervisor(*, system: bool, user: str, platform: str = sys.platform) -> Supervisor:
    """The kind of manager that this platform has, whether it runs or not; `user` is whose guardd it is."""
    if platform == "darwin":
        if system:
            raise UsageError("--system is for systemd; launchd keeps guardd running without it")
        return Launchd(os.path.expanduser("~"), os.getuid())
    return systemd.SystemSystemd(user) if system else systemd.UserSystemd.here()


def is_managed(platform: str = sys.platform) -> bool:
    """Whether such a manager runs here at all."""
    return platform == "darwin" or systemd.answers() or systemd.answers("--user")


def unit_standing(user: str) -> UnitStanding:
    """How guardd's unit stands: the user's own, else the system's for them; without manager where there is none."""
    if not is_managed():
        return UnitStanding("", "user")
    own = supervisor(system=False, user=user).standing()
    if own.installed or sys.platform == "darwin":
        return own
    of_system = supervisor(system=True, user=user).standing()
    return of_system if of_system.installed else own


def placing_of(config: str | None, repos: Sequence[str], home: str) -> Placing:
    """Where things lie. `config` is the option's; `home` whose guardd it is, and which finds the usual places by itself."""
    path, state_dir = locate(config), os.environ.get("GUARD_STATE_DIR", "")
    located = locate_state(path)
    usual_config = os.path.join(home, ".config", "guard", "config.toml")
    is_usual = not is_named(config) and (sys.platform == "darwin" or path == usual_config)
    if os.environ.get("XDG_STATE_HOME") and located == default_state_dir():
        state_dir = located  # a variable of this shell, which no manager has
    return Placing(
        program(), "" if is_usual else path, os.path.abspath(state_dir) if state_dir else "", (located, *repos), systemd.version()
    )


def take_home_of(user: str) -> str:
    """The home of a user; of another one than us, what follows is looked for there and not in ours. Raises UsageError."""
    try:
        about = pwd.getpwnam(user)
    except KeyError as error:
        raise UsageError(f"there is no user {user!r}; name one with --user NAME") from error
    if about.pw_uid != os.geteuid():
        os.environ["HOME"] = about.pw_dir
        for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
            os.environ.pop(name, None)
    return about.pw_dir


def login_name() -> str:
    """Who is meant by "me": whoever called sudo, else the owner of this process."""
    return (os.geteuid() == 0 and os.environ.get("SUDO_USER")) or pwd.getpwuid(os.geteuid()).pw_name
