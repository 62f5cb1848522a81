"""Proof that the daemon works: signs of life of its threads, and whether they are enough to say so."""

import time
from collections.abc import Iterable
from typing import NamedTuple

STUCK_S = 60.0
"""A thread that is at one piece of work for longer than this is stuck, until it moves on."""


class Sign(NamedTuple):
    """The last sign of life of a thread: when it moved on (monotonic seconds), and whether it is at work since then."""

    at_s: float
    busy: bool


class Life:
    """The signs of life of one thread: it leaves them, others look at the last one."""

    def __init__(self) -> None:
        self.sign = Sign(time.monotonic(), busy=False)

    def works(self) -> None:
        """The thread begins a piece of work, or went on to the next one."""
        self.sign = Sign(time.monotonic(), busy=True)

    def waits(self) -> None:
        """The thread went round, and waits for work."""
        self.sign = Sign(time.monotonic(), busy=False)


def is_proven(signs: Iterable[Sign], since_s: float, now_s: float, *, is_told: bool) -> bool:
    """Whether the daemon has proved since `since_s` that it works (monotonic seconds).

    Each thread moved on since then, or is at a piece of work that is younger than STUCK_S; and how things stand is told:
    it was written into the store, or that it cannot be is itself a state that is shown.
    """
    return is_told and all(sign.at_s > since_s or (sign.busy and now_s - sign.at_s < STUCK_S) for sign in signs)
