"""The systemd units: templates, and what of this machine is filled in. Pure, but for reading the templates."""

import os
from typing import NamedTuple

from guardd.errors import GuardError, UsageError

USER_UNIT = "guardd.service"
SYSTEM_UNIT = "guardd@.service"

_EXEC_START = "ExecStart=/usr/bin/guardd\n"
_GROWING_DELAYS = 254
"""The version of systemd that brought RestartSteps= and RestartMaxDelaySec= (systemd.service(5))."""


class Placing(NamedTuple):
    """Where things lie on this machine: absolute paths. Empty: where guardd looks for it anyway.

    `writable`: what a restore and the store write to. `systemd`: the version of systemd, 0 where it is not known.
    """

    program: str
    config: str = ""
    state_dir: str = ""
    writable: tuple[str, ...] = ()
    systemd: int = 0


def template(name: str) -> str:
    """A unit as it is shipped. Raises GuardError where the package lacks it."""
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in (os.path.join(here, "templates"), os.path.join(here, "..", "..", "..", "systemd")):  # a wheel, a checkout
        try:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            continue
    raise GuardError(f"the unit {name} is missing in {here}; install guardd anew")


def user_unit(text: str, placing: Placing) -> str:
    """The user unit, filled in. Raises UsageError for a path that no unit can name."""
    return _filled(text, _exec_start(placing) + _environment(placing) + _delays(placing))


def system_unit(text: str, placing: Placing) -> str:
    """The system's unit for all users: nothing of `placing` but what is the machine's own; the rest is in the drop-in of each."""
    return _filled(text, _EXEC_START + _delays(placing))


def drop_in(placing: Placing) -> str:
    """What is one user's own, for their instance of the system unit; a path that is missing keeps nothing from starting."""
    paths = "".join(f"ReadWritePaths={quoted('-' + path)}\n" for path in placing.writable)
    return f"[Service]\nExecStart=\n{_exec_start(placing)}{_environment(placing)}{paths}"


def quoted(text: str) -> str:
    """A word of a unit file (systemd.syntax(7)): quoted where it must be, with nothing that systemd would fill in."""
    if any(ord(char) < 32 or "\udc80" <= char <= "\udcff" for char in text):
        raise UsageError(f"{text!r} cannot stand in a systemd unit; use a path without control characters")
    plain = text.replace("%", "%%")
    if plain and not any(char in " '\"\\;#" for char in plain):
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _filled(text: str, lines: str) -> str:
    if _EXEC_START not in text:
        raise GuardError("the template of the unit has no ExecStart= to fill in; install guardd anew")
    return text.replace(_EXEC_START, lines)


def _exec_start(placing: Placing) -> str:
    words = ["--config", placing.config] if placing.config else []
    more = [quoted(word).replace("$", "$$") for word in words]  # variables are filled in behind the program's name
    return f"ExecStart={' '.join([quoted(placing.program), *more])}\n"


def _environment(placing: Placing) -> str:
    return f"Environment={quoted('GUARD_STATE_DIR=' + placing.state_dir)}\n" if placing.state_dir else ""


def _delays(placing: Placing) -> str:
    """Delays between restarts that grow, where systemd knows them."""
    return "RestartSteps=5\nRestartMaxDelaySec=1min\n" if placing.systemd >= _GROWING_DELAYS else ""
