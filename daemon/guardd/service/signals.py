"""Signals, heard in a thread of its own."""

import signal
import socket
import threading
from collections.abc import Callable, Mapping

from guardd.logs import log

_ROOM = 65_536
"""Bytes, one a signal: a storm of them must not push SIGTERM out."""


def hear(actions: Mapping[int, Callable[[], None]]) -> None:
    """Carry out the action of each signal as it comes, in the thread guard-signals. Call it from the main thread.

    A Python handler would run in the main thread: not while that waits for the disk or the store, and perhaps while it holds
    the very lock that the action needs. So the C handler writes to a socket (signal.set_wakeup_fd), and the thread reads. Actions
    must not wait: what came meanwhile is carried out once for each signal, in the order of `actions`.
    """
    reader, writer = socket.socketpair()
    writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in actions:
        signal.signal(number, lambda _number, _frame: None)

    def listen() -> None:
        with writer:  # kept open for the C handler
            while numbers := reader.recv(_ROOM):
                for number, action in actions.items():
                    if number in numbers:
                        _carry_out(number, action)

    threading.Thread(target=listen, name="guard-signals", daemon=True).start()


def _carry_out(number: int, action: Callable[[], None]) -> None:
    try:
        action()
    except Exception as error:  # the outermost loop of this thread: the next signal must be heard
        log.error("signal failed", signal=signal.Signals(number).name, error=str(error), exc_info=True)
