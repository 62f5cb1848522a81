"""Signals, heard in a thread of its own."""

import signal
import socket
import threading
from collections.abc import Callable, Mapping

import structlog

log = structlog.get_logger()


def hear(actions: Mapping[int, Callable[[], None]]) -> None:
    """Carry out the action of each signal as it comes, in the thread guard-signals. Call it from the main thread.

    A Python handler would run in the main thread: not while that waits for the disk or the store, and perhaps while it holds
    the very lock that the action needs. So the C handler writes to a socket (signal.set_wakeup_fd), and the thread reads.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in actions:
        signal.signal(number, lambda _number, _frame: None)

    def listen() -> None:
        with writer:  # kept open for the C handler
            while numbers := reader.recv(64):
                for number in numbers:
                    if number in actions:
                        _carry_out(number, actions[number])

    threading.Thread(target=listen, name="guard-signals", daemon=True).start()


def _carry_out(number: int, action: Callable[[], None]) -> None:
    try:
        action()
    except Exception as error:  # the outermost loop of this thread: the next signal must be heard
        log.error("signal failed", signal=signal.Signals(number).name, error=str(error), exc_info=True)
