"""The other end of NOTIFY_SOCKET, for tests."""

import socket
import threading
from pathlib import Path


class Manager:
    """The other end of NOTIFY_SOCKET: every message, as it comes."""

    def __init__(self, path: Path) -> None:
        self.messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while message := self._socket.recv(4096):
            self.messages.append(message.decode())

    def index(self, assignment: str) -> int:
        """Where the first message with this line is; -1 while there is none."""
        return next((at for at, message in enumerate(self.messages) if assignment in message.splitlines()), -1)

    def statuses(self) -> list[str]:
        return [
            line.removeprefix("STATUS=") for message in list(self.messages) for line in message.splitlines() if "STATUS=" in line
        ]

    def count(self, assignment: str) -> int:
        return sum(assignment in message.splitlines() for message in list(self.messages))

    def close(self) -> None:
        self._socket.close()
