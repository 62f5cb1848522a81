"""Telling the service manager: sd_notify(3), spoken over its socket by ourselves."""

import os
import socket
from collections.abc import MutableMapping
from typing import Self

from guardd.logs import log

_PATIENCE_S = 1.0
"""How long a message may wait for a manager that does not read: guarding goes on without it."""

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """The way to the manager that started this process; without one, nothing is sent.

    `watchdog_s`: how long the manager waits between two feedings before it takes us for dead; None: it does not watch.
    """

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self.watchdog_s = watchdog_s
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._failed = False

    @classmethod
    def take(cls, environment: MutableMapping[str, str], pid: int) -> Self:
        """What the environment says of the manager; it is taken out of there, as it is not meant for child processes."""
        address, microseconds, for_pid = (environment.pop(name, "") for name in _VARIABLES)
        is_watched = microseconds.isdecimal() and int(microseconds) > 0 and for_pid in ("", str(pid))
        return cls(address if address.startswith(("/", "@")) else "", int(microseconds) / 1e6 if is_watched else None)

    @property
    def is_heard(self) -> bool:
        """Whether there is a manager to tell."""
        return bool(self._address)

    def send(self, *assignments: str) -> None:
        """Send assignments, as `READY=1`; one that cannot be sent is logged, once for each time that it begins to fail."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(_PATIENCE_S)
                sender.connect(self._address)
                sender.sendall("\n".join(assignments).encode("utf-8", "backslashreplace"))
        except OSError as error:
            if not self._failed:
                log.warning("manager not told", what=assignments[0], error=str(error))
            self._failed = True
        else:
            self._failed = False


def manager_environment() -> Notifier:
    """The manager that started this process."""
    return Notifier.take(os.environ, os.getpid())
