"""The pulse of a watch: whether heartbeats that are sent through it come back. Pure: the clock is an argument."""

SILENT_NS = 35 * 1_000_000_000
"""Three heartbeats (10 s each) may be late before events are taken to arrive no more."""


class Pulse:
    """Proof that events arrive. Times are monotonic, ns.

    A watch that has just begun proves nothing: `heard_ns` is None until its first beat comes back. Once it was lost, it is
    `silent` until a beat has really come back.
    """

    def __init__(self) -> None:
        self.heard_ns: int | None = None
        self._begun_ns: int | None = None
        self._lost = False

    def begin(self, now_ns: int) -> None:
        """The watch begins, or begins anew."""
        self._begun_ns = now_ns
        self.heard_ns = None

    def hear(self, now_ns: int) -> None:
        """A beat came back."""
        self.heard_ns = now_ns
        self._lost = False

    def lose(self) -> None:
        """The watch is known not to work."""
        self._lost = True

    def overdue(self, now_ns: int) -> bool:
        """Whether no beat has come back for so long that the watch should begin anew."""
        since_ns = self._begun_ns if self.heard_ns is None else self.heard_ns
        return since_ns is not None and now_ns - since_ns > SILENT_NS

    def silent(self, now_ns: int) -> bool:
        """Whether events are taken to arrive no more."""
        return self._lost or self.overdue(now_ns)
